"""The small files of the drives that are attached are looked at before they get a seal, and the hints help."""
# ruff: noqa: F811

import itertools
import os
import shutil
import sys
import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from test_seal_stage import Yard, packed, refused, yard  # noqa: F401 -- fixtures

from sealift.cli.status import answer, show
from sealift.errors import BadInput, DriveFault, Refused
from sealift.formats import canonical
from sealift.formats import manifest as mf
from sealift.stages import repair, seal_drives, seal_known, seal_mounts
from sealift.stages.lacking import WRITTEN_AGAIN
from sealift.stages.pack.journal import Journal
from sealift.stages.seal_known import Known
from sealift.stages.status import look

LEAVE = "leave that mount away"
NAMES = (mf.SIGNATURE, *mf.GROUP_FILES, *mf.OWN_FILES)


def card(mount):
    return mf.decode_card(on(mount, mf.CARD).read_bytes())


def group(yard, number=0):
    return [mount for mount in yard.mounts if card(mount).group == number]


def on(mount, name):
    return Path(mount, "sealift", name)


def kept(yard, name):
    return Path(yard.state, "groups", "0000", "closed", name)


def flip(path):
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 16] = bytes(each ^ 1 for each in data[middle : middle + 16])
    path.write_bytes(data)


def mend(yard):
    repair.repair(group(yard), allowed=yard.allowed)


@pytest.mark.parametrize("name", [mf.SIGNATURE, mf.MANIFEST, mf.MEMBERS_INDEX, mf.BLOCKS])
def test_what_no_drive_has_is_written_again_by_pack_as_the_hint_says(tmp_path, name):
    yard = Yard(tmp_path).make()  # a copy has another source, and packing does not go on with it
    for mount in group(yard):
        flip(on(mount, name)) if name in {mf.SIGNATURE, mf.BLOCKS} else on(mount, name).unlink()
    error = refused(yard, Refused, name, *yard.mounts)
    assert all(f"{mount}: drive {card(mount).id}: " in str(error) for mount in group(yard))
    assert error.hint.startswith("`sealift pack` once more, with all drives of the group, ")
    assert LEAVE not in error.hint
    assert yard.pack(yard.mounts, yard.state, read_back="none").exit_code == 0
    yard.seal(*yard.mounts)


@pytest.mark.parametrize("name", [mf.SIGNATURE, mf.BLOCKS])
def test_what_no_drive_has_and_the_state_folder_has_is_said_to_be_written_again(tmp_path, capsys, name):
    """By status and by a seal without mounts, until it is; what the state folder has not either is gone."""
    yard = Yard(tmp_path).make()
    for mount in group(yard):
        flip(on(mount, name))
    refused(yard, Refused, name, *yard.mounts)
    error = refused(yard, Refused, "none of them had")
    assert error.hint == f"keep the source. {WRITTEN_AGAIN}"
    assert "cannot be had" not in str(error)
    step = "signed; next: sealift pack once more, with all drives, which writes again what none of them had\n"
    show(look(yard.state))
    said = capsys.readouterr().out
    assert f"none of them had {name} as signed. {WRITTEN_AGAIN}\n" in said
    assert said.endswith(step)
    assert answer(look(yard.state))["groups"][0]["gone_kept"]
    if name in mf.GROUP_FILES:
        flip(kept(yard, name))
        assert "looks again, and says what helps" in refused(yard, Refused, "cannot be had from them").hint
        show(look(yard.state))
        said = capsys.readouterr().out
        assert f"none of them had {name} as signed: that cannot be had from them. keep the source\n" in said
        assert said.endswith(": it says what is still gone\n")
        assert "signed, and more is lost or wrong, as far as is known, than the drives give back; next: " in said
        flip(kept(yard, name))
    yard.pack(yard.mounts, yard.state, read_back="none")
    show(look(yard.state))
    assert capsys.readouterr().out.endswith("next: sealift release and seal\n")
    yard.seal()


@pytest.mark.parametrize("names", [[mf.MANIFEST], [mf.MANIFEST, mf.SIGNATURE]], ids=len)
def test_a_manifest_that_is_altered_on_all_drives_is_put_back_from_the_state_folder(yard, names):
    for mount, name in itertools.product(group(yard), names):
        flip(on(mount, name))
    error = refused(yard, Refused, "its manifest is not the one that is sealed", *yard.mounts)
    folder = kept(yard, mf.MANIFEST).parent
    assert f"copy {mf.MANIFEST} and {mf.SIGNATURE} from {folder}, where they are as they were signed" in error.hint
    assert LEAVE not in error.hint
    for name in (mf.MANIFEST, mf.SIGNATURE):
        shutil.copy(kept(yard, name), on(group(yard)[0], name))
    mend(yard)
    yard.seal(*yard.mounts)


@pytest.mark.parametrize("how", ["gone", "longer", "as long"])
@pytest.mark.parametrize("name", NAMES)
def test_a_small_file_that_one_drive_lacks_is_mended_by_repair(yard, name, how):
    mount = next(mount for mount in group(yard) if on(mount, name).read_bytes())  # B3SUMS of one without packs is empty
    if how == "gone":
        on(mount, name).unlink()
    elif how == "as long":
        flip(on(mount, name))
    else:
        with on(mount, name).open("ab") as file:
            file.write(b"x")
    error = refused(yard, Refused, f"{mount}: drive {card(mount).id}: .*{name}", *yard.mounts)
    assert str(error).count(": drive ") == 1
    assert "`sealift repair`" in error.hint
    assert LEAVE in error.hint
    yard.seal(*(each for each in yard.mounts if each != mount))
    mend(yard)
    yard.seal(*yard.mounts)


@pytest.mark.parametrize("name", mf.OWN_FILES)
def test_a_file_that_each_drive_has_alone_is_made_again_by_repair_of_all(yard, name):
    for mount in group(yard):
        on(mount, name).unlink()
    error = refused(yard, Refused, f"{name} is not there", *yard.mounts)
    assert "`sealift repair`" in error.hint
    mend(yard)
    yard.seal(*yard.mounts)


def test_an_index_that_nobody_has_is_not_said_to_be_on_the_drives(yard):
    name = mf.MEMBERS_INDEX
    for mount in group(yard):
        on(mount, name).write_bytes(b"")
    flip(kept(yard, name))
    error = refused(yard, Refused, f"{name} is 0 bytes long instead of", *yard.mounts)
    assert f"{kept(yard, name)} is not as it was signed either: no drive of group 0 has {name}" in error.hint
    assert LEAVE not in error.hint


@pytest.mark.parametrize("lost", [True, False])
def test_an_index_that_the_state_lacks_is_looked_for_on_the_drives_that_are_attached(yard, lost):
    name, (first, second, third) = mf.MEMBERS_INDEX, group(yard)
    kept(yard, name).unlink() if lost else flip(kept(yard, name))
    for mount in (first, second):
        flip(on(mount, name))
    for mounts, hint in (
        ([], "every drive of group 0 should have a whole copy"),
        ([third], f"{third} has a whole copy (sealift/{name}); copy it from there"),
    ):
        with pytest.raises(BadInput, match="no such file" if lost else "not as it was signed") as caught:
            yard.seal(*mounts)
        assert hint in caught.value.hint
    flip(on(third, name))
    error = refused(yard, Refused, f"{third}: drive g0s2: {name} is not as it was signed", *yard.mounts)
    assert f"no drive of group 0 has {name}" in error.hint
    flip(on(third, name))
    error = refused(yard, Refused, f"{second}: drive g0s1: {name} is not as it was signed", *yard.mounts)
    assert error.hint.startswith("`sealift repair` with all mounts of the group takes from another drive")
    mend(yard)
    shutil.copy(on(third, name), kept(yard, name))
    yard.seal(*yard.mounts)


@pytest.mark.parametrize("how", ["gone", "cut", "too long"])
def test_a_drive_without_its_card_is_known_by_its_manifest(yard, how):
    mount = group(yard)[1]
    match = "drive.json is not there, and manifest.json says that it is a drive of group 0"
    if how == "gone":
        on(mount, mf.CARD).unlink()
    else:
        os.truncate(on(mount, mf.CARD), 30 if how == "cut" else mf.MAX_CARD + 1)
        match = "drive.json (does not parse|is 16,385 bytes long)"
    error = refused(yard, Refused, f"{mount}: {match}", *yard.mounts)
    assert "`sealift repair` with all mounts of the group makes it again" in error.hint
    repair.repair(yard.mounts, allowed=yard.allowed)
    yard.seal(*yard.mounts)


def test_a_copy_of_a_drive_is_not_another_one(yard):
    first, second, _ = group(yard)
    shutil.rmtree(second)
    shutil.copytree(first, second, symlinks=True)
    error = refused(yard, Refused, "one of them is a copy", *yard.mounts)
    assert f"{first} and {second} both say that they are drive g0s0 (serial SER0)" in str(error)
    assert "not among those given: g0s1 (serial SER1); " in str(error)
    assert "`sealift repair` of the others" in error.hint
    assert "written over that drive: clear it, and `sealift repair` of the others with `--onto MNT`" in error.hint


def test_a_copy_beside_all_drives_is_left_away(yard, tmp_path):
    first = group(yard)[0]
    shutil.copytree(first, tmp_path / "copy")
    error = refused(yard, Refused, "one of them is a copy; nothing was written", *yard.mounts, str(tmp_path / "copy"))
    assert error.hint.endswith("leave the other mount away")
    yard.seal(*yard.mounts)


def test_a_drive_that_is_given_under_two_names_is_one(yard, tmp_path):
    (tmp_path / "name").symlink_to(yard.mounts[1])
    made = yard.seal(*yard.mounts[:3], str(tmp_path / "name"), f"{yard.mounts[0]}/")
    assert [mount for mount, _, _ in made.drives] == yard.mounts[:3]


def test_nobody_reads_on_where_a_drive_failed(yard, monkeypatch):
    def read(drive, name, ref, seen):
        if drive.mount == yard.mounts[1]:
            raise DriveFault("it went away", drive=drive.mount)
        for _ in range(1000):
            seen(0)
            time.sleep(0.01)
        return True

    monkeypatch.setattr(seal_drives, "is_as_written", read)
    begun = time.monotonic()
    with pytest.raises(DriveFault, match="it went away"):
        yard.seal(*yard.mounts)
    assert time.monotonic() - begun < 5


def test_the_small_files_are_read_and_that_is_told(yard):
    told = []
    yard.seal(*yard.mounts, progress=lambda *each: told.append((*each[:2], dict(each[2]))))
    done, total, drives = told[-1]
    assert done == total == sum(drives.values())
    assert sorted(drives) == yard.mounts


# --- what was seen is known when the drives are left away ------------------------------------------------


def packs(mount):
    return sorted(path for path in Path(mount, "sealift", "packs").rglob("*") if path.is_file())


def two_filled(yard):
    """Two drives of group 0 that have the pack of a stripe, which is one more than parity holds; and the third one.

    They were packed where they are: the yard is a copy.
    """
    with closing(Journal(yard.state)) as journal:
        journal.set("mounts", msgspec.json.encode(dict(zip(yard.serials, yard.mounts, strict=True))))
    one, two, *more = sorted(group(yard), key=lambda mount: not packs(mount))
    return one, two, more[0]


def short(yard, *mounts):
    """The refusal of more that is short than parity holds, with what helps, also with no mount."""
    for given in (mounts, ()):
        error = refused(yard, Refused, r"more drives of group 0 than parity holds \(1\) lack stripe 0: ", *given)
        assert "keep the source" in error.hint
        assert LEAVE not in error.hint
        yield str(error)


def test_small_files_that_no_drive_has_are_known_until_pack_looks_again(tmp_path):
    yard = Yard(tmp_path).make()  # as above
    for mount, name in itertools.product(group(yard), (mf.PACKS, mf.BLOCKS)):
        on(mount, name).unlink()
    refused(yard, Refused, "packs.bin is not there, blocks.bin is not there", *yard.mounts)
    for mounts in ([], group(yard, 1)):
        error = refused(yard, Refused, "group 0: none of them had packs.bin, blocks.bin as signed; nothing", *mounts)
        assert error.hint == f"keep the source. {WRITTEN_AGAIN}"
    assert yard.pack(yard.mounts, yard.state).exit_code == 0
    yard.seal()
    yard.seal(*yard.mounts)


def test_small_files_that_one_drive_has_again_are_not_gone(yard):
    name, first = mf.MEMBERS_INDEX, group(yard)[0]
    data = on(first, name).read_bytes()
    for mount in group(yard):
        on(mount, name).unlink()
    refused(yard, Refused, f"{name} is not there", *yard.mounts)
    on(first, name).write_bytes(data)
    yard.seal(first)
    (told,) = [told for told in yard.notices if "small files" in told]
    assert told.startswith("g0s1, g0s2: small files there were not as they were signed")
    mend(yard)
    yard.seal(*yard.mounts)
    yard.seal()
    assert not [told for told in yard.notices if "small files" in told]


def test_a_manifest_of_another_group_on_all_drives_is_known(yard):
    for mount, name in itertools.product(group(yard), (mf.MANIFEST, mf.SIGNATURE)):
        shutil.copy(on(group(yard, 1)[0], name), on(mount, name))
    refused(yard, Refused, "its manifest is not the one that is sealed", *yard.mounts)
    refused(yard, Refused, "group 0: none of them had manifest.json as signed; nothing")


@pytest.mark.parametrize(
    "names", [[mf.CARD], [mf.MANIFEST], [mf.CARD, mf.MANIFEST], [mf.PACKS], [mf.CARD, mf.PACKS]], ids="+".join
)
@pytest.mark.parametrize("how", ["gone", "altered"])
def test_packs_are_looked_for_whatever_else_is_wrong_on_a_drive(yard, names, how):
    one, two, three = two_filled(yard)
    shutil.copytree(yard.folder, yard.folder.with_name("before"))
    for mount in (one, two):
        packs(mount)[0].unlink()
        for name in names:
            on(mount, name).unlink() if how == "gone" else flip(on(mount, name))
    for told in [*short(yard, *yard.mounts), *short(yard, three)]:
        assert "g0s" in told
        assert all(f"{mount}" in told for mount in (one, two))
        assert told.count("1 of its 1 packs is not on it") == 2
    for mount in (one, two):
        shutil.rmtree(mount)
        shutil.copytree(yard.folder.with_name("before") / Path(mount).name, mount)
    yard.seal(*yard.mounts)
    yard.seal()
    assert not [told for told in yard.notices if "looked at last" in told or "small files" in told]


def test_drives_that_were_emptied_are_known(yard):
    one, two, three = two_filled(yard)
    shutil.copytree(two, f"{two}.kept")
    shutil.rmtree(f"{one}/sealift")
    drive = f"{one}: no drive of a shipment"
    error = refused(yard, BadInput, drive, *yard.mounts)
    assert str(error) == drive
    assert f"`--onto {one}`" in error.hint
    shutil.rmtree(two)
    os.mkdir(two)
    for told in [*short(yard, *yard.mounts), *short(yard, three), *short(yard, two)]:
        assert all(f"{mount}" in told for mount in (one, two))
        assert told.count("nothing of the shipment is on it") == 2
    shutil.rmtree(two)
    shutil.copytree(f"{two}.kept", two)
    yard.seal(*(mount for mount in yard.mounts if mount != one))
    (told,) = [told for told in yard.notices if "looked at last" in told]
    assert f"{one}): nothing of the shipment is on it, when it was looked at last" in told


@pytest.mark.parametrize(
    ("what", "sealed"), [("nothing", True), ("another shipment's", True), ("another shipment's", False)]
)
def test_what_is_mounted_where_a_drive_was_is_not_that_drive_that_may_have_left(yard, what, sealed):
    """What is there tells nothing of it once it was sealed, and never does where it says that it is another one's."""
    if sealed:
        yard.seal(*yard.mounts)
    for mount in two_filled(yard)[:2]:
        os.rename(mount, f"{mount}.left")
        os.mkdir(mount)
        if what != "nothing":
            shutil.copytree(f"{mount}.left", mount, dirs_exist_ok=True)
            other = msgspec.structs.replace(card(mount), shipment="0123456789abcdef")
            on(mount, mf.CARD).write_bytes(canonical.encode(other))
    refused(yard, BadInput, "no drive of a shipment|drive g.s. of another shipment", *yard.mounts)
    yard.notices.clear()
    yard.seal()
    assert not [told for told in yard.notices if "looked at last" in told]


def test_a_place_where_nothing_is_mounted_yet_is_no_drive_that_was_emptied(yard, monkeypatch):
    one, two, three = two_filled(yard)
    for mount in (one, two):
        os.rename(mount, f"{mount}.away")
        os.mkdir(mount)
    monkeypatch.setattr(seal_mounts, "nothing_mounted", lambda mount: mount in {one, two})
    for mounts in (yard.mounts, [one, two], [one, two, three]):
        refused(yard, BadInput, f"{one}: no drive of a shipment", *mounts)
    yard.seal()
    assert not [told for told in yard.notices if "looked at last" in told]


def test_copies_of_a_drive_in_the_place_of_others_are_known(yard):
    one, two, three = two_filled(yard)
    for mount in (one, two):
        shutil.rmtree(mount)
        shutil.copytree(three, mount)
    for told in [*short(yard, *yard.mounts), *short(yard, three)]:
        assert told.count(f"a copy of drive {card(three).id} is there") == 2


def test_copies_that_are_all_in_the_place_of_others_are_known(yard):
    one, two, three = two_filled(yard)
    drives = {mount: card(mount).id for mount in (one, two)}
    for mount in (one, two):
        shutil.rmtree(mount)
        shutil.copytree(three, mount)
    for told in short(yard, one, two):
        assert all(f"drive {name}" in told for name in drives.values())


def test_all_mounts_that_are_no_drive_are_named(yard, tmp_path):
    strange = [str(tmp_path / name) for name in ("one", "two")]
    for mount in strange:
        os.mkdir(mount)
    error = refused(yard, BadInput, "no drive of a shipment", *strange, *yard.mounts)
    assert all(f"{mount}: no drive of a shipment" in str(error) for mount in strange)
    assert all(f"`--onto {mount}`" in error.hint for mount in strange)
    yard.seal()
    assert not [told for told in yard.notices if "looked at last" in told]


class Medium:
    """A drive that is asked for what it is, and where."""

    def __init__(self, mount, serial):
        self.mount, self._serial = mount, serial

    def serial(self):
        return self._serial


def test_what_should_be_at_a_mount_is_told_by_the_medium_or_by_where_it_was(yard, monkeypatch):
    known = Known([yard.state])
    first, mount = card(yard.mounts[0]), str(Path(yard.mounts[0]).resolve())
    monkeypatch.setattr(seal_known, "last_mount", lambda _journal, serial: mount if serial == first.serial else "")
    last = card(yard.mounts[5])
    assert known.place_of(Medium(mount, last.serial.lower())) == (last.group, last.slot)
    assert known.place_of(Medium(mount, None)) == (first.group, first.slot)
    assert known.place_of(Medium(mount, "DISK")) == (first.group, first.slot)  # a folder, of whatever disk
    monkeypatch.setattr(seal_known, "nothing_mounted", lambda _mount: False)
    assert known.place_of(Medium(mount, "DISK")) is None
    assert known.place_of(Medium("/mnt", None)) is None
