"""What the drives of a signed group lacked is known when they are away, and is added to what read back wrong."""

import random
import shutil
import sqlite3
from collections import defaultdict
from contextlib import closing

import pytest
from test_failing_drives import Packing
from test_presence import pack_of

from sealift.cli import status as status_cli
from sealift.errors import BadInput, Lost, Refused
from sealift.formats import manifest as mf
from sealift.stages.pack.journal import Journal
from sealift.stages.pack.journal_rows import Medium, Wrong
from sealift.stages.seal_known import Known
from sealift.stages.status import look

PARITY = 2


@pytest.fixture
def packing(tmp_path):
    packing = Packing(tmp_path, data=2, parity=PARITY)
    assert packing.pack().exit_code == 0
    packing.kept = {mount: packing.fleet.snapshot(mount) for mount in packing.mounts}
    return packing


def rot(packing, mount, stripe):
    name = pack_of(packing, mount, stripe)
    packing.fleet.put(mount, name, bytes(len(packing.fleet.read(mount, name))))


def remove(packing, mount, stripe):
    packing.fleet.remove(mount, pack_of(packing, mount, stripe))


def packed(packing, *mounts, **changes):
    """Exit code of packing with these drives, and what it says."""
    packing.notices.clear()
    try:
        return packing.pack(to=list(mounts or packing.mounts), **changes).exit_code, "\n".join(packing.notices)
    except Lost as error:
        return error.exit_code, "\n".join([*packing.notices, str(error), error.hint])


def sealed(packing):
    """What `seal` says without mounts: None where nothing stands in its way."""
    known = Known([str(packing.origin.state)])
    try:
        known.require(mf.decode_manifest(packing.kept[packing.mounts[0]][mf.MANIFEST]), "")
    except Refused as error:
        return f"{error}; {error.hint}"
    return None


@pytest.mark.parametrize("seed", range(6))
def test_what_is_missing_and_what_is_wrong_is_added_up_over_all_runs_in_any_order(packing, seed):
    draw, state = random.Random(seed), str(packing.origin.state)
    (group,) = look(state).groups
    gone, known = defaultdict(set), defaultdict(set)  # by stripe: slots; on the drives, and as the journal must have it
    for _ in range(5):
        slot, stripe = draw.randrange(4), draw.randrange(min(2, group.stripes))
        if slot not in gone[stripe]:
            gone[stripe].add(slot)
            if draw.random() < 0.5:
                remove(packing, packing.mounts[slot], stripe)
            else:
                rot(packing, packing.mounts[slot], stripe)
                journal, medium = Journal(state), Medium(group.places[slot].serial, packing.mounts[slot])
                role = mf.role_of(stripe, slot, 4)
                journal.note_read_back(0, stripe, 1, [(Wrong(stripe, role, slot, 1, 1), medium)], cached=False)
                journal.close()
                known[stripe].add(slot)
        here = draw.sample(range(4), draw.choice([1, 2, 3]))
        for each in gone:
            known[each] |= gone[each] & {*here}
        code, told = packed(packing, *(packing.mounts[slot] for slot in here), read_back="none")
        lost = sorted(each for each, slots in known.items() if len(slots) > PARITY)
        assert code == (4 if lost else 3 if any(known.values()) else 0)
        (group,) = look(state).groups
        assert group.lost == lost
        assert (sealed(packing) is not None) == bool(lost)
        if lost and group.lacking and len(lost) > look(state).read_back["beyond"]:
            assert "do not free the source" in told


def test_a_pack_that_goes_after_two_were_found_wrong_is_one_too_many(packing):
    for mount in packing.mounts[:2]:
        rot(packing, mount, 0)
    code, told = packed(packing, read_back="full")
    assert (code, "do not free the source" in told) == (3, False)
    assert sealed(packing) is None
    remove(packing, packing.mounts[2], 0)
    code, told = packed(packing)
    assert code == 4
    assert "is signed, and more of its drives than parity holds (2) lack stripe 0 of" in told
    assert all(f"{drive} (serial" in told for drive in ("g0s0", "g0s1", "g0s2"))
    assert "do not free the source" in told
    assert "what repair has called lost is gone" in told
    assert "lack stripe 0, or have other bytes there: drive g0s2" in sealed(packing)
    assert "g0s0, g0s1: not as written" in sealed(packing)


def test_drives_that_are_looked_at_one_by_one_are_added_up(packing, capsys):
    first, second, third, last = packing.mounts
    for mount in (first, second, third):
        remove(packing, mount, 0)
    code, told = packed(packing, first, second)
    assert (code, "do not free the source" in told) == (3, False)
    code, told = packed(packing, last)
    assert code == 3, "what is known of the others is not forgotten"
    assert "1 of its" in told
    assert told.count(", when it was looked at last, and it is not here. group 0 is signed") == 2
    status_cli.show(look(str(packing.origin.state)))
    said = capsys.readouterr().out
    assert "all groups are packed and signed; next: sealift repair with all drives, sealift pack once more" in said
    assert sealed(packing) is None
    assert [each.partition(" (")[0] for each in Known([str(packing.origin.state)]).notices()] == [
        "drive g0s0",
        "drive g0s1",
    ]
    for mounts in ([third], [last]):
        code, told = packed(packing, *mounts)
        assert code == 4
        assert "is signed, and more of its drives than parity holds (2) lack stripe 0 of" in told
        assert "do not free the source" in told
    assert "more drives of group 0 than parity holds (2) lack stripe 0: drive g0s0" in sealed(packing)
    status_cli.show(look(str(packing.origin.state)))
    said = capsys.readouterr().out
    assert (
        "of stripe 0 more packs are missing or wrong, as far as is known, than parity holds (2): keep the source"
        in said
    )
    assert "release and seal" not in said
    assert "all groups are packed and signed, and more is lost or wrong, as far as is known, than the drives" in said
    (answer,) = status_cli.answer(look(str(packing.origin.state)))["groups"]
    assert answer["lost"] == [0]
    assert [(each["drive"], each["packs"]) for each in answer["lacking"]] == [("g0s0", 1), ("g0s1", 1), ("g0s2", 1)]
    packing.fleet.replay(third, packing.kept[third])
    assert packed(packing, third)[0] == 3
    assert sealed(packing) is None, "a look at a drive that is whole again takes it from the count"
    for mount in (first, second):
        packing.fleet.replay(mount, packing.kept[mount])
    assert packed(packing)[0] == 0
    assert not look(str(packing.origin.state)).groups[0].lacking


def test_a_drive_that_was_empty_is_not_whole_when_it_is_away(packing):
    mount = packing.mounts[1]
    for name in packing.fleet.names(mount):
        packing.fleet.remove(mount, name)
    assert packed(packing)[0] == 3
    code, told = packed(packing, packing.mounts[0], packing.mounts[2])
    assert code == 3
    assert "drive g0s1 (serial" in told
    assert "attach it, and the same command looks again" in told


def test_a_journal_that_never_kept_it_opens(packing):
    path = str(packing.origin.state / "journal.sqlite")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP TABLE lacks")
        database.execute("INSERT INTO settings VALUES ('gone-0', ?)", (b'{"packs": "more of them than parity holds"}',))
    (group,) = look(str(packing.origin.state)).groups
    assert (group.lacking, group.lost, len(group.gone)) == ([], [], 1)
    assert sealed(packing) is None
    assert packed(packing, *packing.mounts[:3])[0] == 0
    assert len(look(str(packing.origin.state)).groups[0].gone) == 1
    assert packed(packing)[0] == 0
    assert look(str(packing.origin.state)).groups[0].gone == [], "all of them were looked at"


def test_of_a_group_that_was_taken_over_it_is_known_too(packing):
    """Though the one drive that is here does not tell any more which packs it had."""
    shipment = packing.origin.manifests()[0][0].shipment
    shutil.rmtree(packing.origin.state)
    assert packed(packing, shipment=shipment)[0] == 0
    mount = packing.mounts[2]
    for name in packing.fleet.names(mount):
        packing.fleet.remove(mount, name)
    for here in (mount, packing.mounts[0]):
        code, told = packed(packing, here)
        assert code == 3
        assert "drive g0s2 (serial" in told
    assert [each.drive for each in look(str(packing.origin.state)).groups[0].lacking] == ["g0s2"]


def replace(packing, mount, files):
    there = packing.fleet.snapshot(mount)
    for name in there.keys() - files.keys():
        packing.fleet.remove(mount, name)
    for name in files:
        if there.get(name) != files[name]:
            packing.fleet.put(mount, name, files[name])


@pytest.mark.parametrize("what", ["manifest", "copy"])
def test_drives_that_pack_refuses_are_known_when_they_are_away(packing, what):
    whole, *bad = packing.mounts
    for mount in bad[:3]:
        if what == "manifest":
            packing.fleet.rot(mount, mf.MANIFEST)
        else:
            replace(packing, mount, packing.kept[whole])
    for mount in bad[:3]:
        with pytest.raises((Refused, BadInput)) as error:
            packing.pack(to=[whole, mount])
        assert mount in str(error.value)
    assert all(mount in sealed(packing) for mount in bad[:3])
    with pytest.raises((Refused, BadInput)) as error:
        packing.pack()
    assert all(f"{mount}: " in str(error.value) for mount in bad[:3]), "all at once"
    for mount in bad[:3]:
        replace(packing, mount, packing.kept[mount])
    assert packed(packing)[0] == 0
    assert sealed(packing) is None


def test_small_files_that_were_gone_are_not_told_as_other_bytes_for_ever(packing):
    mount = packing.mounts[1]
    packing.fleet.remove(mount, mf.OPEN_ME)
    assert packed(packing)[0] == 3
    packing.fleet.put(mount, mf.OPEN_ME, packing.kept[mount][mf.OPEN_ME])
    assert packed(packing)[0] == 0
    assert look(str(packing.origin.state)).groups[0].misread == []
