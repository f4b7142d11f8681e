"""Repair: whatever parity can hold is whole again, byte for byte; what was right was not written; beyond, no harm."""

import itertools
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets

from sealift.cli import repair_words
from sealift.errors import BadInput, NotAllHere, SignatureInvalid
from sealift.formats import canonical
from sealift.formats import fetch as lists
from sealift.formats import manifest as mf
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages import fetch as fetching
from sealift.stages import repair as stage
from sealift.stages.pack import openme
from sealift.stages.repair_files import SMALL
from sealift.stages.verify import verify
from sealift.stages.verify_report import to_json

BLOCK = mf.BLOCK
FLEET = fleets.make(
    Path("/nowhere"),
    seed=5,
    geometry=((2, 2),),
    lengths=[[2 * BLOCK + 9, BLOCK], [70, 0], [60, 50], [40, 30]],
    on_disk=False,
)
GROUP = FLEET.groups[0]
NAMES = [(slot, name) for slot, files in enumerate(GROUP.files) for name in [*files, *mf.SEAL_FILES]]


@pytest.fixture(autouse=True)
def _state(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


def mend(drives, fleet=FLEET, **more):
    return stage.repair(drives, allowed=fleet.allowed, **more)


def expected(slot, fleet=FLEET, group=0):
    return fleet.groups[group].files[slot] | fleet.seal_files


def rebuilt(card):
    """What a drive that was rebuilt says of that, in two files."""
    return {mf.CARD: canonical.encode(card), mf.REBUILT: mf.encode_rebuilt(card.rebuilt)}


def contents(drive):
    return {name: data if isinstance(data, str) else bytes(data) for name, data in drive.medium.files.items()}


def spoil(drive, name, how, at=0):
    data = bytes(drive.medium.files[name])
    if how == "remove":
        drive.medium.files.pop(name)
    elif how == "flip":
        place = at % (len(data) * 8)
        drive.put(name, data[: place // 8] + bytes([data[place // 8] ^ 1 << place % 8]) + data[place // 8 + 1 :])
    elif how == "cut":
        drive.put(name, data[: at % len(data)])
    elif how == "grow":
        drive.put(name, data + bytes(1 + at % 100))
    else:
        drive.medium.files[name] = how


def test_nothing_is_written_where_nothing_is_wrong():
    drives = FLEET.memory()
    versions = [dict(drive.medium.versions) for drive in drives]
    report = mend(drives)
    assert (report.state, stage.exit_code(report), report.repaired, report.bytes_written) == ("whole", 0, [], 0)
    assert [dict(drive.medium.versions) for drive in drives] == versions
    assert all(drive.medium.holder is None for drive in drives)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(NAMES), st.sampled_from(["remove", "flip", "cut", "grow"]), st.integers(0, 1 << 40))
def test_any_file_of_a_drive_is_whole_again_and_no_other_is_written(place, how, at):
    slot, name = place
    drives = FLEET.memory()
    spoil(drives[slot], name, how, at)
    before = [dict(drive.medium.versions) for drive in drives]
    report = mend(drives)
    for number, drive in enumerate(drives):
        assert contents(drive) == expected(number), (number, name)
    written = {
        (n, each)
        for n, drive in enumerate(drives)
        for each, v in drive.medium.versions.items()
        if before[n].get(each) != v
    }
    assert written == {place}
    assert (report.state, [(each.drive, each.path) for each in report.repaired]) == ("repaired", [(f"g0s{slot}", name)])
    assert stage.exit_code(report) == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(NAMES), st.sampled_from(["link", "other"]))
def test_what_is_no_file_is_named_and_nothing_is_written(place, how):
    """Sealift makes neither links nor pipes: what stands there is somebody's."""
    slot, name = place
    drives = FLEET.memory()
    spoil(drives[slot], name, how)
    before = [contents(drive) for number, drive in enumerate(drives) if number != slot]
    report = mend(drives)
    assert [contents(drive) for number, drive in enumerate(drives) if number != slot] == before
    assert drives[slot].medium.files[name] == how
    assert [(each.drive, each.path) for each in report.in_the_way] == [(f"g0s{slot}", name)]
    assert (report.state, report.repaired, stage.exit_code(report)) == ("damaged", [], 3)


@pytest.mark.long
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 2)), max_size=8), st.booleans())
def test_rot_up_to_m_in_every_column_is_mended_and_more_is_named(bad, one_gone):
    drives = FLEET.memory()
    hit = {}
    for slot, stripe, block in bad:
        role = mf.role_of(stripe, slot, 4)
        if block * BLOCK < len(GROUP.packs[stripe][role]):
            name = mf.pack_name(stripe, role, 2)
            spoil(drives[slot], name, "flip", block * BLOCK * 8 + 5)
            hit.setdefault((stripe, block), set()).add(slot)
    here = drives[1:] if one_gone else drives
    if one_gone:
        for (stripe, block), slots in hit.items():
            if block * BLOCK < len(GROUP.packs[stripe][mf.role_of(stripe, 0, 4)]):
                slots.add(0)
            else:
                slots.discard(0)
    before = [contents(drive) for drive in drives]
    report = mend(here)
    hopeless = {(stripe, slot) for (stripe, _), slots in hit.items() if len(slots) > 2 for slot in slots}
    for slot, drive in enumerate(drives):
        if one_gone and slot == 0:
            continue
        for name, data in expected(slot).items():
            stripe = int(name[-20:].rpartition("/")[2][:7]) if name.startswith("packs/") else None
            kept = before[slot][name] if (stripe, slot) in hopeless else data
            assert contents(drive)[name] == kept
    assert {(each.stripe, int(each.drive[-1])) for each in report.lost} == {
        (stripe, slot) for stripe, slot in hopeless if not (one_gone and slot == 0)
    }
    if one_gone:
        assert stage.exit_code(report) == (6 if report.lost else 3)
    else:
        assert stage.exit_code(report) == (4 if report.lost else 0)
    state = "lost" if hopeless else "recoverable" if one_gone else "intact"
    assert verify(here, allowed=FLEET.allowed, remember=False, final=True).state == state


@pytest.mark.parametrize("count", [1, 2])
def test_every_choice_of_lost_drives_is_rebuilt_onto_empty_ones(count):
    for slots in itertools.combinations(range(4), count):
        drives = FLEET.memory()
        fresh = [type(drives[0])(f"/mnt/new{slot}", type(drives[0].medium)(serial=f"NEW-{slot}")) for slot in slots]
        left = [drive for slot, drive in enumerate(drives) if slot not in slots]
        untouched = [dict(drive.medium.versions) for drive in left]
        report = mend(left, onto=fresh)
        assert (report.rebuilt, report.missing, stage.exit_code(report)) == ([f"g0s{slot}" for slot in slots], [], 0)
        for slot, drive in zip(slots, fresh, strict=True):
            card = mf.decode_card(drive.medium.files[mf.CARD])
            assert card.rebuilt.serial == f"NEW-{slot}"
            assert contents(drive) == expected(slot) | rebuilt(card)
            assert GROUP.manifest.is_card(slot, card)
        assert [dict(drive.medium.versions) for drive in left] == untouched
        after = verify(left + fresh, allowed=FLEET.allowed, remember=False)
        assert (after.state, after.faults) == ("intact", [])
        assert sum("rebuilt at" in notice for notice in after.notices) == count


def failing(operation, nth, code=28):
    """A plan that fails the nth call of an operation."""
    calls = itertools.count()
    return lambda doing, _name, _at: code if doing == operation and next(calls) == nth else None


@pytest.mark.parametrize("operation", ["create", "write", "publish", "sync"])
def test_a_rebuild_that_is_stopped_anywhere_goes_on(operation):
    rng = random.Random(operation)
    fleet = fleets.make(Path("/nowhere"), seed=6, geometry=((2, 1),), lengths=[[BLOCK, 5]] * 6, on_disk=False)
    drives = fleet.memory()
    new = type(drives[0])("/mnt/new", type(drives[0].medium)())
    report, faults = None, []
    while report is None or (report.unwritable and len(faults) < 60):
        new.plan = failing(operation, rng.randrange(1, 6))
        report = mend(drives[:2], fleet, onto=[new])
        for bad in report.unwritable:
            assert (bad.drive, bad.mount, bad.why, bad.onto) == ("g0s2", "/mnt/new", "full", True)
            assert (report.rebuilt, report.missing, stage.exit_code(report)) == ([], ["g0s2"], 3)
            faults.append(bad)
    assert faults
    assert report.rebuilt == ["g0s2"]
    card = mf.decode_card(contents(new)[mf.CARD])
    assert contents(new) == expected(2, fleet) | rebuilt(card)
    again = mend(drives[:2], fleet, onto=[new])
    assert (again.repaired, again.rebuilt) == ([], ["g0s2"])


@pytest.mark.parametrize("operation", ["create", "write", "publish", "sync"])
@pytest.mark.parametrize("code", [5, 28, 30])
def test_a_drive_that_fails_while_it_is_mended_keeps_what_it_had(operation, code):
    pack = mf.pack_name(0, mf.role_of(0, 1, 4), 2)
    for nth in range(12):
        drives = FLEET.memory()
        spoil(drives[1], pack, "flip", 5)
        spoil(drives[1], mf.OPEN_ME, "cut", 3)
        before = contents(drives[1])
        drives[1].plan = failing(operation, nth, code)
        report = mend(drives)
        if not report.unwritable:
            assert report.state == "repaired"
            break
        (bad,) = report.unwritable
        assert (bad.drive, bad.mount, stage.exit_code(report)) == ("g0s1", "/mnt/g0s1", 3)
        assert "safe" in bad.detail
        now = contents(drives[1])
        assert not [name for name in now if name.endswith(".part")]
        assert all(now[name] in (before[name], data) for name, data in expected(1).items())
        assert all(drive.medium.holder is None for drive in drives)
        drives[1].plan = None
        assert mend(drives).state in {"repaired", "whole"}
        assert contents(drives[1]) == expected(1)
    assert nth > 0


def test_a_drive_that_holds_no_pack_is_rebuilt_too():
    fleet = fleets.make(Path("/nowhere"), seed=7, geometry=((3, 1),), lengths=[[400, 0, 0]], on_disk=False)
    drives = fleet.memory()
    assert expected(1, fleet)[mf.SUMS] == b""
    new = type(drives[0])("/mnt/new", type(drives[0].medium)())
    report = mend([drives[0], *drives[2:]], fleet, onto=[new])
    assert (report.rebuilt, report.left) == (["g0s1"], [])


def test_rot_met_while_rebuilding_is_told_and_gone_around():
    drives = FLEET.memory()
    spoil(drives[2], mf.pack_name(0, mf.role_of(0, 2, 4), 2), "flip", 99)
    new = type(drives[0])("/mnt/new", type(drives[0].medium)())
    report = mend(drives[1:], onto=[new])
    assert report.rebuilt == ["g0s0"]
    assert [(fault.drive, fault.block) for fault in report.left] == [("g0s2", 0)]
    assert stage.exit_code(report) == 3


def test_a_target_that_is_not_empty_is_refused():
    drives = FLEET.memory()
    other = fleets.make(Path("/nowhere"), seed=9, on_disk=False).memory()[0]
    with pytest.raises(BadInput, match="holds drive g0s0 of shipment"):
        mend(drives[1:], onto=[other])
    stranger = type(drives[0])("/mnt/x", type(drives[0].medium)())
    stranger.put("mine.txt", b"mine")
    with pytest.raises(BadInput, match="files of which no"):
        mend(drives[1:], onto=[stranger])
    small = type(drives[0])("/mnt/x", type(drives[0].medium)(capacity=BLOCK))
    with pytest.raises(BadInput, match="bytes are needed for g0s0"):
        mend(drives[1:], onto=[small])
    with pytest.raises(BadInput, match="no drive is missing"):
        mend(drives, onto=[type(drives[0])("/mnt/x", type(drives[0].medium)())])
    assert stranger.medium.files == {"mine.txt": b"mine"}
    assert small.medium.files == {}


def test_nothing_is_put_onto_a_new_drive_when_too_many_are_missing():
    drives = FLEET.memory()
    new = type(drives[0])("/mnt/new", type(drives[0].medium)())
    with pytest.raises(NotAllHere, match="3 of its 4 drives are missing, and 2 can be rebuilt"):
        mend(drives[:1], onto=[new])
    assert contents(new) == {}


def test_nobody_trusted_signed_nothing_is_written():
    drives = FLEET.memory()
    spoil(drives[0], mf.SUMS, "flip")
    nobody = AllowedSigners.parse(b"")
    with pytest.raises(SignatureInvalid, match="nothing was written"):
        stage.repair(drives, allowed=nobody)
    assert contents(drives[0])[mf.SUMS] != expected(0)[mf.SUMS]


def test_a_foreign_drive_and_files_nobody_signed_are_left_alone():
    drives = FLEET.memory()
    foreign = fleets.make(Path("/nowhere"), seed=9, on_disk=False).memory()[1]
    before = contents(foreign)
    drives[0].put("packs/0000/extra", b"?")
    spoil(drives[0], mf.SUMS, "flip")
    report = mend([*drives, foreign])
    assert contents(foreign) == before
    assert contents(drives[0]) == expected(0) | {"packs/0000/extra": b"?"}
    assert {(fault.kind, fault.path) for fault in report.left} == {
        ("foreign", mf.MANIFEST),
        ("unexpected", "packs/0000/extra"),
    }
    assert (report.state, stage.exit_code(report)) == ("damaged", 3)


@pytest.mark.parametrize("stripe", [0, 1, 4, 99])
@pytest.mark.parametrize("kind", ["tar.zst.age", "parity"])
@pytest.mark.parametrize("spoilt", [False, True])
def test_what_is_only_called_like_a_pack_is_left_alone_and_told(stripe, kind, spoilt):
    """Of a stripe that there is not, or of the kind that this drive does not have there; or absent by its length."""
    name = f"packs/0000/{stripe:07d}.{kind}"
    for slot in range(4):
        drives = FLEET.memory()
        if name in GROUP.files[slot]:
            continue
        drives[slot].put(name, b"?")
        if spoilt:
            spoil(drives[slot], mf.SUMS, "flip")
            spoil(drives[slot], mf.pack_name(0, mf.role_of(0, slot, 4), 2), "flip")
        report = mend(drives)
        assert contents(drives[slot]) == expected(slot) | {name: b"?"}
        assert [(fault.kind, fault.path) for fault in report.left] == [("unexpected", name)]
        assert (report.state, stage.exit_code(report), len(report.repaired)) == ("damaged", 3, 2 * spoilt)


def test_of_two_drives_in_one_slot_a_damaged_one_is_not_written():
    drives = FLEET.memory()
    twin = FLEET.memory()[1]
    twin.mount = "/mnt/twin"
    spoil(twin, mf.pack_name(0, mf.role_of(0, 1, 4), 2), "flip")
    before = contents(twin)
    report = mend([*drives, twin])
    assert contents(twin) == before
    assert (report.state, report.left, stage.exit_code(report)) == ("whole", [], 0)
    assert any("/mnt/twin" in notice and "pull it" in notice for notice in report.notices)
    spoil(drives[1], mf.pack_name(0, mf.role_of(0, 1, 4), 2), "flip")
    report = mend([*drives, twin])
    assert contents(twin) == before
    assert report.state == "repaired"
    assert any("/mnt/twin: /mnt/g0s1 is the same drive" in notice for notice in report.notices)


def test_the_text_of_another_version_is_taken_from_a_neighbour(monkeypatch):
    drives = FLEET.memory()
    monkeypatch.setattr(openme, "_TEXT", openme._TEXT.replace("CHECK", "LOOK"))
    spoil(drives[1], mf.OPEN_ME, "flip")
    report = mend(drives)
    assert report.state == "repaired"
    assert contents(drives[1]) == expected(1)


def test_pages_damaged_on_every_drive_in_other_places_are_gathered():
    fleet = fleets.make(Path("/nowhere"), seed=4, geometry=((2, 1),), lengths=[[1, 1]] * 600, on_disk=False)
    drives = fleet.memory()
    for slot, drive in enumerate(drives):
        spoil(drive, mf.PACKS, "flip", (1 + slot) * 16384 * 8 + 3)
    report = mend(drives, fleet)
    assert report.state == "repaired"
    assert [contents(drive) for drive in drives] == [expected(slot, fleet) for slot in range(3)]


def test_dry_run_says_what_would_be_done_and_does_nothing():
    drives = FLEET.memory()
    name = mf.pack_name(0, mf.role_of(0, 1, 4), 2)
    spoil(drives[1], name, "flip")
    spoil(drives[2], mf.OPEN_ME, "remove")
    before = [contents(drive) for drive in drives]
    report = mend(drives, dry_run=True)
    assert [contents(drive) for drive in drives] == before
    assert {(each.drive, each.path) for each in report.repaired} == {("g0s1", name), ("g0s2", mf.OPEN_ME)}
    assert report.bytes_written == len(expected(1)[name]) + len(expected(2)[mf.OPEN_ME])
    assert (report.state, stage.exit_code(report)) == ("damaged", 3)
    new = type(drives[0])("/mnt/new", type(drives[0].medium)())
    plan = mend([drives[0], drives[2], drives[3]], onto=[new], dry_run=True)
    assert new.medium.files == {}
    assert plan.missing == ["g0s1"]
    assert {each.path for each in plan.repaired} == set(expected(1))


def test_more_drives_missing_than_parity_holds_is_not_recoverable_from_here():
    drives = FLEET.memory()
    report = mend(drives[3:])
    assert (report.short, report.state, stage.exit_code(report)) == ([0], "lost", 6)
    assert (stage.exit_code(mend(drives[2:])), mend(drives[2:]).short) == (3, [])


def test_drives_whose_packs_are_known_zeros_are_not_counted_as_lost():
    """One short pack in a group: its parity alone gives it back, although two of three drives are gone."""
    fleet = fleets.make(Path("/nowhere"), seed=6, geometry=((2, 1),), lengths=[[70, 0]], on_disk=False)
    drives = fleet.memory()
    kept = drives[mf.slot_of(0, 2, 3)]
    report = mend([kept], fleet)
    assert (report.short, report.state, stage.exit_code(report)) == ([], "damaged", 3)
    new = [type(kept)(f"/mnt/new{each}", type(kept.medium)()) for each in range(2)]
    report = mend([kept], fleet, onto=new)
    assert (report.missing, report.short, stage.exit_code(report)) == ([], [], 0)
    assert verify([kept, *new], allowed=fleet.allowed, remember=False).state == "intact"
    other = drives[mf.slot_of(0, 1, 3)]  # its pack is empty: nothing of the 70 bytes is here
    assert mend([other], fleet).short == [0]


def test_a_report_of_verify_says_where_to_look(tmp_path):
    drives = FLEET.memory()
    name = mf.pack_name(0, mf.role_of(0, 1, 4), 2)
    spoil(drives[1], name, "flip")
    told = json.dumps(to_json(verify(drives, allowed=FLEET.allowed, remember=False))).encode()
    spoil(drives[2], mf.OPEN_ME, "flip")  # after the report, and of the same length: not looked for
    report = mend(drives, report=("r.json", told))
    assert [(each.drive, each.path) for each in report.repaired] == [("g0s1", name)]
    assert report.verified_bytes == len(expected(1)[name]), "that pack was read, and nothing else"
    less = json.dumps(to_json(verify(drives[:3], allowed=FLEET.allowed, remember=False))).encode()
    with pytest.raises(BadInput, match="says nothing of g0s3"):
        mend(drives, report=("r.json", less))
    with pytest.raises(BadInput):
        mend(drives, report=("r.json", b"{}"))


def test_what_a_report_names_and_nobody_can_look_at_is_not_called_whole(capsys):
    """A host is lost, and with it all drives of a group: what the report says of it is still so."""
    fleet = fleets.make(Path("/nowhere"), seed=6, geometry=((2, 1), (2, 1)), lengths=[[BLOCK, BLOCK]], on_disk=False)
    drives = fleet.memory()
    first, second = drives[:3], drives[3:]
    spoil(first[1], mf.pack_name(0, mf.role_of(0, 1, 3), 2), "flip")
    told = verify([*first, *second], allowed=fleet.allowed, remember=False)
    given = {"report": ("r.json", json.dumps(to_json(told)).encode()), "seal": fleet.seal_files}
    away = mend(second, fleet, **given)
    assert (away.state, away.unseen, stage.exit_code(away)) == ("damaged", ["g0s1"], 6)
    repair_words.show(away)
    assert capsys.readouterr().out.startswith("not whole yet: what the report names was not all looked at")
    there = mend([*first, *second], fleet, **given)
    assert (there.state, there.unseen, stage.exit_code(there)) == ("repaired", [], 0)
    assert stage.exit_code(mend(second, fleet, **given)) == 6, "the report says so, and nobody can look"


@pytest.mark.long
@pytest.mark.parametrize("name", [*SMALL, None])
def test_a_dry_run_says_the_lengths_of_small_files(name):
    """Of each, and of all that are written on to a drive that is rebuilt whole."""
    answers = []
    for dry_run in (True, False):
        drives = FLEET.memory()
        if name is None:
            new = type(drives[0])("/mnt/new", type(drives[0].medium)())
            report = mend(drives[1:], onto=[new], dry_run=dry_run, seal=FLEET.seal_files)
        else:
            drives[1].medium.files.pop(name)
            report = mend(drives, dry_run=dry_run, seal=FLEET.seal_files)
        answers.append(sorted((each.path, each.bytes) for each in report.repaired))
    assert answers[0] == answers[1] != []
    assert name in {None, *dict(answers[1])}


def test_what_a_report_names_and_is_whole_by_now_is_not_written():
    drives = FLEET.memory()
    name = mf.pack_name(0, mf.role_of(0, 1, 4), 2)
    for slot, path in ((1, name), (1, mf.OPEN_ME), (2, mf.MEMBERS_INDEX), (3, mf.CARD), (0, mf.SEAL_FILES[0])):
        spoil(drives[slot], path, "flip")
    spoil(drives[0], mf.SUMS, "remove")
    told = ("r.json", json.dumps(to_json(verify(drives, allowed=FLEET.allowed, remember=False))).encode())
    first = mend(drives, report=told)
    assert (first.state, first.repaired_files) == ("repaired", 6)
    versions = [dict(drive.medium.versions) for drive in drives]
    again = mend(drives, report=told)
    assert (again.scope, again.state, stage.exit_code(again)) == ("report", "whole", 0)
    assert (again.repaired, again.bytes_written, again.rebuilt_blocks, again.left) == ([], 0, 0, [])
    assert [dict(drive.medium.versions) for drive in drives] == versions
    spoil(drives[1], name, "cut", 5)
    third = mend(drives, report=told)
    assert [each.path for each in third.repaired] == [name]
    assert [contents(drive) for drive in drives] == [expected(slot) for slot in range(4)]


@settings(max_examples=200, deadline=None)
@given(st.sets(st.frozensets(st.integers(0, 5), min_size=2, max_size=6), min_size=1, max_size=5), st.integers(1, 2))
def test_the_fewest_packs_are_the_fewest(short, parity):
    short = {bad for bad in short if len(bad) > parity}
    if not short:
        return
    chosen = fetching.fewest(short, parity)
    assert all(len(bad - set(chosen)) <= parity for bad in short)
    for fewer in itertools.combinations(range(6), len(chosen) - 1):
        assert any(len(bad - set(fewer)) > parity for bad in short)
    greedy = fetching._greedy(set(short), parity)
    assert all(len(bad - set(greedy)) <= parity for bad in short)


def test_what_the_fetch_list_names_makes_everything_recoverable():
    drives = FLEET.memory()
    here = drives[2:]
    spoil(here[0], mf.pack_name(0, mf.role_of(0, 2, 4), 2), "flip", 1)
    record = stage.fetch(here, allowed=FLEET.allowed)
    assert lists.decode_list(lists.encode_list(record)) == record
    assert len(record.packs) == 1
    assert {each.role for each in record.contents} <= {0, 1}
    bag = type(drives[0])("/mnt/bag", type(drives[0].medium)())
    for each in record.packs:
        slot = int(each.drive.partition("s")[2])
        bag.put(each.path, FLEET.groups[0].files[slot][each.path])
    new = type(drives[0])("/mnt/new", type(drives[0].medium)())
    assert not mend([*here, bag]).lost
    assert stage.fetch([*here, bag], allowed=FLEET.allowed).packs == []
    assert stage.fetch(drives[1:], allowed=FLEET.allowed).contents == []
    assert new.medium.files == {}


@pytest.mark.long
def test_the_command_mends_folders_and_prints_its_object(tmp_path):
    fleet = fleets.make(tmp_path, seed=2, geometry=((2, 1),), lengths=[[BLOCK + 3, 9]])
    (tmp_path / "signers").write_bytes(fleet.allowed_bytes)
    fleets.flip(fleet.path(0, 1, mf.SUMS), 7)
    for path in fleet.path(0, 2, "packs").rglob("*.age"):
        path.unlink()

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "sealift", "repair", *arguments, "--allowed-signers", str(tmp_path / "signers")],
            capture_output=True, text=True, check=False, env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "s")},
        )  # fmt: skip

    done = run(*fleet.mounts, "--dry-run")
    assert done.returncode == 3, done.stderr
    assert "would be written" in done.stdout
    assert "blocks" not in done.stdout
    done = run(*fleet.mounts, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["state"] == "repaired"
    assert answer["shipment"] == fleet.shipment
    done = run(*fleet.mounts, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "whole: nothing is wrong, and nothing was written"
    done = run(*fleet.mounts)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "whole: nothing is wrong, and nothing was written")
    new = tmp_path / "new"
    new.mkdir()
    done = run(*fleet.mounts[:2], "--onto", f"g0s2={new}", "--allow-same-filesystem")
    assert done.returncode == 0, done.stderr
    assert "g0s2" in done.stdout
    for stripe in (0, 1):
        name = mf.pack_name(stripe, mf.role_of(stripe, 2, 3), 2)
        if name in fleet.groups[0].files[2]:
            assert (new / "sealift" / name).read_bytes() == fleet.groups[0].files[2][name]
    done = run(fleet.mounts[0])
    assert (done.returncode, done.stdout.startswith("more is missing than parity holds")) == (6, True), done.stdout
    done = run(fleet.mounts[0], "--fetch-list")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["type"] == "sealift-fetch-list"
    assert run(*fleet.mounts, "--fetch-list", "--dry-run").returncode == 1


def test_without_a_seal_it_is_said_that_nobody_knows_whether_this_is_all():
    drives = FLEET.memory()
    assert not any("no seal" in notice for notice in mend(drives).notices)
    for drive in drives:
        for name in mf.SEAL_FILES:
            del drive.medium.files[name]
    report = mend(drives)
    assert (report.state, stage.exit_code(report)) == ("whole", 0)
    assert any(notice.startswith("there is no seal: whole groups may be missing") for notice in report.notices)
