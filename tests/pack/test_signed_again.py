"""The same command on a group that is signed: what its drives lack by now is told, not called packed and signed."""

import errno
import json
import shutil
from pathlib import Path

import pytest
from test_failing_drives import Packing
from test_presence import packs_of

from sealift.cli import pack_words
from sealift.cli import status as status_cli
from sealift.cli.main import run as command
from sealift.errors import BadInput, Lost, SignatureInvalid
from sealift.formats import manifest as mf
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages import repair
from sealift.stages.status import look


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    packing = Packing(tmp_path_factory.mktemp("signed"))
    assert packing.pack().exit_code == 0
    packing.kept = {mount: packing.fleet.snapshot(mount) for mount in packing.mounts}
    return packing


@pytest.fixture
def unread(tmp_path):
    """One of its own: of what was read back whole before, only what was wrong is read again."""
    packing = Packing(tmp_path)
    assert packing.pack().exit_code == 0
    packing.notices.clear()
    return packing


@pytest.fixture
def packing(signed):
    signed.notices.clear()
    yield signed
    for mount, kept in signed.kept.items():
        shutil.rmtree(f"{mount}/sealift", ignore_errors=True)
        signed.fleet.replay(mount, kept)


def some(packing, mount):
    for name in packs_of(packing, mount)[:2]:
        packing.fleet.remove(mount, name)


def manifest_and_some(packing, mount):
    some(packing, mount)
    packing.fleet.remove(mount, mf.MANIFEST)


def all_of_it(packing, mount):
    shutil.rmtree(f"{mount}/sealift")


def all_but_folders(packing, mount):
    for path in Path(mount, "sealift").rglob("*"):
        if path.is_file():
            path.unlink()


EMPTIED = [all_of_it, all_but_folders]
HARM = [some, manifest_and_some, *EMPTIED]


@pytest.mark.parametrize("harm", HARM)
def test_more_than_parity_holds_is_an_error_and_no_next_step(packing, harm):
    for mount in packing.mounts[:2]:
        harm(packing, mount)
    with pytest.raises(Lost, match=r"is signed, and more of its drives than parity holds \(1\) lack stripe") as error:
        packing.pack()
    assert all(mount in str(error.value) for mount in packing.mounts[:2])
    assert packing.mounts[2] not in str(error.value)
    assert "do not free the source" in str(error.value)
    assert error.value.exit_code == 4
    told = " ".join([*packing.notices, str(error.value), error.value.hint])
    assert "--onto" not in told
    assert "rebuilds" not in told


@pytest.mark.parametrize("harm", HARM)
def test_what_parity_holds_is_told_with_what_mends_it(packing, harm, capsys):
    harm(packing, packing.mounts[1])
    result = packing.pack()
    assert (result.exit_code, result.lacking) == (3, ["g0s1"])
    told = next(text for text in packing.notices if "packing writes nothing more" in text)
    assert packing.mounts[1] in told
    assert ("--onto" in told) == (harm in EMPTIED)
    if harm in EMPTIED:
        how = f"nothing is on it. group 0 is signed: `sealift repair` of the others with `--onto {packing.mounts[1]}`"
        assert any(how in text for text in packing.notices)
        assert packing.pack(read_back="full").exit_code == 3
        assert all("`sealift repair` of the others" in text for text in packing.notices if "repair" in text)
    pack_words.summarize(result, packing.origin.pack_options())
    said = capsys.readouterr().err
    assert "g0s1" in said
    assert "sealift release" not in said


def test_put_back_it_is_packed_and_signed(packing):
    for mount in packing.mounts[:2]:
        some(packing, mount)
    with pytest.raises(Lost):
        packing.pack()
    for mount in packing.mounts[:2]:
        packing.fleet.replay(mount, packing.kept[mount])
    assert packing.pack().exit_code == 0


def test_without_a_manifest_anywhere_nobody_is_sent_to_repair(packing):
    for mount in packing.mounts:
        packing.fleet.remove(mount, mf.MANIFEST)
    assert packing.pack().exit_code == 0
    told = [text for text in packing.notices if "has no manifest.json" in text]
    assert len(told) == 3
    assert not any("repair" in text for text in packing.notices)
    assert all("closed has it" in text for text in told)
    assert any("manifest.json was not as signed on 3 of its 3 drives" in text for text in packing.notices)
    assert [packing.fleet.snapshot(mount) for mount in packing.mounts] == list(packing.kept.values())


def test_what_cannot_be_had_from_the_drives_is_known_until_they_are_looked_at_once_more(packing, capsys):
    for mount in packing.mounts[:2]:
        some(packing, mount)
    with pytest.raises(Lost):
        packing.pack()
    (group,) = look(str(packing.origin.state)).groups
    assert group.lost
    status_cli.show(look(str(packing.origin.state)))
    said = capsys.readouterr().out
    assert "more packs are missing or wrong, as far as is known, than parity holds (1): keep the source" in said
    assert "release and seal" not in said
    packing.fleet.replay(packing.mounts[0], packing.kept[packing.mounts[0]])
    packing.pack(to=[packing.mounts[0], packing.mounts[2]])
    assert look(str(packing.origin.state)).groups[0].lost == [], "one is whole, and so is another: that is enough"
    for mount in packing.mounts[:2]:
        some(packing, mount)
    with pytest.raises(Lost):
        packing.pack()
    with pytest.raises(Lost):
        packing.pack(to=[packing.mounts[2]])
    assert look(str(packing.origin.state)).groups[0].lost, "of those that lack it nothing was seen"
    packing.fleet.replay(packing.mounts[0], packing.kept[packing.mounts[0]])
    packing.pack()
    assert look(str(packing.origin.state)).groups[0].lost == []


def test_packs_that_rotted_on_more_drives_than_parity_holds_are_not_promised(unread, capsys):
    packs = [{name[:18]: name for name in packs_of(unread, mount)} for mount in unread.mounts[:2]]  # by stripe
    stripe = min(packs[0].keys() & packs[1].keys())
    for mount, name in zip(unread.mounts, (each[stripe] for each in packs), strict=False):
        unread.fleet.put(mount, name, bytes(len(unread.fleet.read(mount, name))))
    result = unread.pack(read_back="full")
    assert result.exit_code == 4
    told = [text for text in unread.notices if "did not read back" in text]
    assert told
    assert all("as far as parity holds: of 1 stripe more packs are missing or wrong" in text for text in told)
    capsys.readouterr()
    assert command(["status", "--state", str(unread.origin.state)]) == 0
    said = "".join(capsys.readouterr())
    assert "next: sealift repair with all drives, sealift pack once more, which says what is still gone" in said
    assert "release and seal" not in said
    pack_words.summarize(result, unread.origin.pack_options())
    assert "repair once: what it calls lost (exit 4) is gone from these drives" in capsys.readouterr().err


def test_of_what_is_gone_for_good_there_is_one_next_step(unread, capsys, tmp_path):
    """Where one drive lacks a pack, and more than parity holds are wrong beside it."""
    stripe = packs_of(unread, unread.mounts[0])[0].split(".")[0]
    for mount in unread.mounts:
        (name,) = [name for name in packs_of(unread, mount) if name.startswith(stripe)]
        if mount == unread.mounts[2]:
            unread.fleet.remove(mount, name)
        else:
            unread.fleet.put(mount, name, bytes(len(unread.fleet.read(mount, name))))
    result = unread.pack(read_back="full", notify=f"cat >> {tmp_path}/heard")
    assert (result.exit_code, result.lacking, result.read_back["beyond"]) == (4, ["g0s2"], 1)
    assert json.loads((tmp_path / "heard").read_text().splitlines()[-1])["exit_code"] == 4
    capsys.readouterr()
    pack_words.summarize(result, unread.origin.pack_options())
    said = capsys.readouterr().err
    assert (
        "packed and signed, and not all there: g0s2\nof 1 stripe more packs are wrong than parity holds. repair" in said
    )
    assert "next" not in said


def crossed(tmp_path):
    """Two drives failed; their successors are declared in their places."""
    packing = Packing(tmp_path, data=2, parity=2)
    old = packing.mounts[:2]
    for number, mount in enumerate(old):
        packing.fleet.fail(mount, "write", errno.EIO, nth=6 + number, lasting=True)
    assert packing.pack().exit_code == 3
    for mount, new in zip(old, packing.spares, strict=True):
        packing.declare(mount, new)
        packing.fleet.go_away(mount)
    return packing, [packing.origin.serial(mount) for mount in old]


def test_new_drives_take_the_places_in_which_they_are_declared(tmp_path):
    packing, old = crossed(tmp_path)
    with pytest.raises(BadInput, match="papers would number these drives otherwise") as error:
        packing.pack(replace=dict(zip(old, reversed(packing.spares), strict=True)))
    assert "--replace for the drive in whose place it is declared" in error.value.hint
    assert all(packing.origin.serial(mount) in str(error.value) for mount in packing.spares)
    assert not any(packing.fleet.names(mount) for mount in packing.spares), "nothing was written"
    assert packing.pack(replace=dict(zip(old, packing.spares, strict=True))).exit_code == 0
    packing.origin.mounts[:2] = packing.spares
    packing.ends_well()


def test_the_drive_that_was_replaced_is_known_as_that(tmp_path):
    """Given in place of the one that has its slot, with that one's serial number: before and after it is signed."""
    packing = Packing(tmp_path)
    old, new = packing.mounts[1], packing.spares[0]
    packing.fleet.fail(old, "write", errno.EIO, nth=6, lasting=True)
    assert packing.pack().exit_code == 3
    packing.fleet.heal(old)
    before = {mount: packing.fleet.snapshot(mount) for mount in (old, new)}
    assert packing.replace(old, new).exit_code == 0
    packing.fleet.come_back(old)
    kept = packing.fleet.snapshot(new)
    serials = [packing.origin.serial(mount) for mount in (old, new)]
    shutil.rmtree(f"{new}/sealift")
    packing.fleet.replay(new, before[old])
    with pytest.raises(BadInput, match=f"it is drive {serials[0]}, which was replaced by {serials[1]}"):
        packing.pack()
    assert packing.fleet.snapshot(new) == before[old]
    shutil.rmtree(f"{new}/sealift")
    packing.fleet.replay(new, kept)
    packing.notices.clear()
    assert packing.pack(to=[*packing.origin.mounts, old]).exit_code == 0
    assert any(f"drive {serials[0]} at {old} was replaced by {serials[1]}" in text for text in packing.notices)


def test_two_good_drives_at_each_others_mounts_are_told_apart_and_not_accused(packing):
    first, second = packing.mounts[:2]
    for mount, other in ((first, second), (second, first)):
        shutil.rmtree(f"{mount}/sealift")
        packing.fleet.replay(mount, packing.kept[other])
    with pytest.raises(BadInput, match=f"{first}: this is drive g0s1 of the shipment, expected g0s0") as caught:
        packing.pack()
    assert "the serial numbers of two drives were exchanged" in caught.value.hint
    assert not any("lack" in text or "is not on it" in text for text in packing.notices)
    assert [packing.fleet.snapshot(mount) for mount in (second, first)] == [
        packing.kept[mount] for mount in (first, second)
    ]


def test_a_card_of_another_drive_is_put_right_by_repair_as_the_hint_says(packing):
    first, second = packing.mounts[:2]
    cards = [packing.fleet.read(mount, mf.CARD) for mount in (first, second)]
    packing.fleet.put(first, mf.CARD, cards[1])
    packing.fleet.put(second, mf.CARD, cards[0])
    with pytest.raises(BadInput, match=f"{first}: this is drive g0s1 of the shipment, expected g0s0") as caught:
        packing.pack()
    assert "its drive.json is another drive's: `sealift repair` with all mounts of the group" in caught.value.hint
    repair.repair(packing.mounts, allowed=AllowedSigners.parse(packing.origin.allowed))
    assert [packing.fleet.read(mount, mf.CARD) for mount in (first, second)] == cards
    assert packing.pack().exit_code == 0


@pytest.mark.parametrize("mode", ["none", "sample"])
@pytest.mark.parametrize("name", [mf.CARD, mf.OPEN_ME])
def test_small_files_of_one_drive_alone_that_went_are_missed_in_any_mode(packing, mode, name):
    packing.fleet.remove(packing.mounts[1], name)
    result = packing.pack(read_back=mode)
    assert (result.exit_code, result.lacking) == (3, ["g0s1"])
    assert any(f"{name} did not read back" in text and "`sealift repair`" in text for text in packing.notices)
    result = packing.pack(read_back=mode, to=packing.mounts[:2])
    assert (result.exit_code, result.lacking) == (3, ["g0s1"])
    packing.fleet.replay(packing.mounts[1], packing.kept[packing.mounts[1]])
    assert packing.pack().exit_code == 0


@pytest.mark.parametrize("name", [mf.PACKS, mf.MEMBERS_INDEX, mf.SIGNATURE, mf.MANIFEST])
def test_small_files_that_went_from_one_drive_are_written_again_when_all_are_here(packing, name):
    packing.fleet.remove(packing.mounts[1], name)
    result = packing.pack(read_back="none", to=packing.mounts[:2])
    assert (result.exit_code, result.lacking) == (3, ["g0s1"])
    assert any("with all drives of the group the same command mends that" in text for text in packing.notices)
    result = packing.pack(read_back="none")
    assert (result.exit_code, result.lacking) == (0, [])
    told = f"{name} was not as signed on 1 of its 3 drives (g0s1): written again there, from the state folder"
    assert any(text.endswith(told) for text in packing.notices)
    assert [packing.fleet.snapshot(mount) for mount in packing.mounts] == list(packing.kept.values())


def test_small_files_that_cannot_be_written_again_are_left_to_repair(packing):
    """They are in the state folder, and the drive takes nothing."""
    packing.fleet.remove(packing.mounts[1], mf.PACKS)
    packing.fleet.fail(packing.mounts[1], "create", errno.EROFS, lasting=True)
    result = packing.pack(read_back="none")
    packing.fleet.heal(packing.mounts[1])
    assert (result.exit_code, result.lacking) == (3, ["g0s1"])
    assert "packs.bin did not read back" in packing.notices[-1]
    assert "`sealift repair`" in packing.notices[-1]


@pytest.mark.parametrize("name", [mf.PACKS, mf.BLOCKS, mf.PACKS_INDEX, mf.SIGNATURE])
def test_small_files_that_went_from_all_drives_are_written_again_in_any_mode(packing, name):
    for mount in packing.mounts[:2]:
        packing.fleet.remove(mount, name)
    packing.fleet.put(packing.mounts[2], name, packing.fleet.read(packing.mounts[2], name)[:-1])
    assert packing.pack().exit_code == 0
    assert [packing.fleet.snapshot(mount) for mount in packing.mounts] == list(packing.kept.values())


def test_a_state_that_lost_the_manifest_is_told_where_it_is_to_be_had(packing):
    path = packing.origin.state / "groups/0000/closed" / mf.MANIFEST
    whole = path.read_bytes()
    for spoilt in (whole[:-9], None):
        path.unlink() if spoilt is None else path.write_bytes(spoilt)
        with pytest.raises(BadInput, match=r"groups/0000/closed: ") as told:
            packing.pack()
        assert "copy manifest.json and manifest.json.sig from sealift/ of one of them" in told.value.hint
    path.write_bytes(whole)
    assert packing.pack().exit_code == 0


@pytest.mark.parametrize("how", ["gone", "cut", "other"])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        (mf.MEMBERS_INDEX, "is not sealed without it"),
        (mf.PACKS_INDEX, "is not sealed without it"),
        (mf.PACKS, "nothing else has it"),
        (mf.BLOCKS, "nothing else has it"),
    ],
)
def test_what_the_state_has_not_as_signed_is_told_before_the_group_is_sealed(packing, name, why, how):
    path = packing.origin.state / "groups/0000/closed" / name
    whole = path.read_bytes()
    packing.fleet.put(packing.mounts[0], name, one_letter(whole))
    path.unlink() if how == "gone" else path.write_bytes(one_letter(whole) if how == "other" else whole[:-1])
    try:
        packing.pack()
        (told,) = [text for text in packing.notices if why in text]
    finally:
        path.write_bytes(whole)
    assert told.startswith(f"{path} is not {'there' if how == 'gone' else 'as it was signed'}, ")
    assert f"{packing.mounts[1]} has a whole copy (sealift/{name}), copy it from there" in told


def one_letter(data):
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("mode", ["none", "sample", "full"])
@pytest.mark.parametrize("spoil", [one_letter, lambda _data: b""])
@pytest.mark.parametrize("name", [mf.MANIFEST, mf.SIGNATURE])
def test_a_state_folder_that_is_damaged_itself_is_no_measure_of_drives(packing, name, spoil, mode):
    path = packing.origin.state / "groups/0000/closed" / name
    whole = path.read_bytes()
    path.write_bytes(spoil(whole))
    packing.fleet.remove(packing.mounts[0], name)
    before = [packing.fleet.snapshot(mount) for mount in packing.mounts]
    try:
        with pytest.raises(
            (BadInput, SignatureInvalid), match=r"the state folder has not what group 0 was signed with: .*closed: "
        ):
            packing.pack(read_back=mode)
    finally:
        path.write_bytes(whole)
    assert [packing.fleet.snapshot(mount) for mount in packing.mounts] == before
