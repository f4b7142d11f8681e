"""A drive that is not the one that was signed is never taken for it: one that was replaced, one that is made here."""

import sys
from pathlib import Path

import pytest
from msgspec import UNSET
from msgspec.structs import replace

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets

from sealift.cli import inspect as inspect_words
from sealift.drives.memory import Medium, MemoryDrive
from sealift.formats import canonical
from sealift.formats import manifest as mf
from sealift.stages import repair as repairing
from sealift.stages import repair_group
from sealift.stages.inspect import inspect
from sealift.stages.verify import verify
from sealift.stages.verify_report import Fault, exit_code

BLOCK = mf.BLOCK
FLEET = fleets.make(Path("/nowhere"), seed=47, geometry=((2, 2),), lengths=[[BLOCK + 9, BLOCK]] * 4, on_disk=False)
GROUP = FLEET.groups[0]
ROW = GROUP.manifest.drives[2]
PACKS = {name for name in GROUP.files[2] if name.startswith("packs/")}


@pytest.fixture(autouse=True)
def _state(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


def check(drives, fleet=FLEET, **more):
    return verify(drives, allowed=fleet.allowed, seal=fleet.seal_files, remember=False, **more)


def mend(drives, fleet=FLEET, **more):
    return repairing.repair(drives, allowed=fleet.allowed, seal=fleet.seal_files, **more)


def card_of(drive):
    return mf.decode_card(drive.medium.files[mf.CARD])


def empty(mount="/mnt/new", serial=None):
    return MemoryDrive(mount, Medium(serial=serial))


# --- one that was replaced while packing ------------------------------------------------------------------


def predecessor(packs=2, slot=2, mount="/mnt/old"):
    """What is left of a drive that was set aside: drive.json with its own serial number, some packs, the journal."""
    old = empty(mount)
    old.put(mf.CARD, canonical.encode(replace(GROUP.manifest.card(slot), serial="SN-OLD")))
    old.put("journal.age", b"copy")
    for name in sorted(each for each in GROUP.files[slot] if each.startswith("packs/"))[:packs]:
        old.put(name, GROUP.files[slot][name])
    return old


def others(*slots):
    return [drive for slot, drive in enumerate(FLEET.memory()) if slot not in (slots or {2})]


@pytest.mark.parametrize("packs", [0, 2, 4])
def test_in_place_of_the_signed_one_it_is_named_and_the_signed_one_is_missing(packs):
    drives = [*others(), predecessor(packs)]
    for report in (check(drives), inspect(drives, allowed=FLEET.allowed, seal=FLEET.seal_files)):
        (fault,) = report.faults
        assert (fault.kind, fault.mount) == ("replaced", "/mnt/old")
        assert f"says that it is drive SN-OLD, and g0s2 was signed as {ROW.serial}" in fault.detail
        assert [row.drive for row in report.groups[0].missing] == ["g0s2"]
        assert report.groups[0].recoverable_bytes == report.groups[0].total_bytes
        steps = list(inspect_words.next_steps(report))
        assert any(step.startswith("pull /mnt/old, and only that") for step in steps)
        assert not any("makes the drives whole" in step for step in steps)
    assert (check(drives).state, exit_code(check(drives))) == ("unseen", 6)
    assert (check(drives, final=True).state, exit_code(check(drives, final=True))) == ("recoverable", 3)


def test_of_several_all_are_to_be_pulled_and_only_these():
    report = check([*others(1, 2), predecessor(slot=1, mount="/mnt/d1"), predecessor(mount="/mnt/n1")])
    (step,) = [step for step in inspect_words.next_steps(report) if "pull" in step]
    assert step.startswith("pull /mnt/d1 and /mnt/n1, and only these; /mnt/d1: says that it is drive SN-OLD, and g0s1 ")
    assert "; /mnt/n1: says that it is drive SN-OLD, and g0s2 was signed as " in step


@pytest.mark.parametrize(
    ("mounts", "far", "alone", "words"),
    [
        (["/a"], set(), True, "pull /a, and only that: why"),
        (["/a"], set(), False, "pull /a: why"),
        (["s3://a"], {"s3://a"}, True, "leave s3://a away, and only that: why"),
        (["/a", "s3://a", "/b"], {"s3://a"}, True, "pull /a and /b, and leave s3://a away, and only these; /a: why; "),
        (["/a", "/b", "/c"], set(), False, "pull /a, /b and /c; /a: why; /b: why; /c: why"),
        ([f"/{number}" for number in range(21)], set(), True, "pull /0, /1, /2, "),
        ([f"/{number}" for number in range(21)], set(), True, "/18, /19 and 1 more, and only these; /0: why; "),
    ],
)
def test_what_is_to_be_pulled_is_told_at_once(mounts, far, alone, words):
    faults = [Fault(drive="", block=None, kind="replaced", mount=mount, detail="why") for mount in mounts]
    (step,) = inspect_words._pull(faults, far, alone=alone)
    assert words in step


def test_a_drive_of_another_shipment_is_pulled_beside_it():
    other = fleets.make(Path("/nowhere"), seed=48, geometry=((2, 2),), lengths=[[BLOCK]] * 4, on_disk=False).memory()[0]
    other.mount = "/mnt/other"
    steps = list(inspect_words.next_steps(check([*others(), predecessor(), other])))
    assert any(step.startswith("pull /mnt/other: it does not belong") for step in steps), steps
    assert any(step.startswith("pull /mnt/old: says that it is drive") for step in steps), steps


def test_it_is_not_shown_with_the_other_serial_number(capsys):
    inspect_words.show_groups(check([*others(), predecessor()]))
    lines = capsys.readouterr().out.splitlines()
    (own,) = [line for line in lines if "/mnt/old: PULL" in line]
    assert own.startswith("  in the place of g0s2: serial SN-OLD, /mnt/old: PULL: ")
    assert sum(f"serial {ROW.serial}" in line for line in lines) == 1, "the one that is NOT HERE"


def test_beside_the_signed_one_nothing_is_wrong_but_that_it_is_there():
    drives = [*FLEET.memory(), predecessor()]
    report = check(drives)
    assert (report.state, [fault.kind for fault in report.faults]) == ("intact", ["replaced"])
    drives[2].medium.files.pop(sorted(PACKS)[3])
    assert "conflict" not in {fault.kind for fault in check(drives).faults}
    before = dict(drives[-1].medium.files)
    report = mend(drives)
    assert (report.state, report.repaired_files) == ("repaired", 1)
    assert drives[-1].medium.files == before


@pytest.mark.parametrize("packs", [0, 2, 4])
def test_repair_refuses_it_and_onto_makes_the_signed_one(packs):
    old, here = predecessor(packs), others()
    before = dict(old.medium.files)
    report = mend([*here, old])
    assert (report.missing, report.repaired_files, repairing.exit_code(report)) == (["g0s2"], 0, 3)
    (told,) = [notice for notice in report.notices if "/mnt/old" in notice]
    assert "SN-OLD" in told
    assert ROW.serial in told
    assert "--onto" in told
    new = empty()
    assert mend([*here, old], onto=[new]).rebuilt == ["g0s2"]
    assert card_of(new).rebuilt
    assert old.medium.files == before
    assert check([*here, new]).state == "intact"


def test_its_packs_are_read_where_nothing_else_has_them():
    here = others()[1:]
    here[0].medium.files = {n: d for n, d in here[0].medium.files.items() if not n.startswith("packs/")}
    drives = [*here, predecessor(packs=4)]
    assert check(drives, final=True).state == "recoverable"
    assert mend(drives, onto=[("g0s2", empty())]).rebuilt == ["g0s2"]


@pytest.mark.parametrize("kept", [mf.MANIFEST, mf.OPEN_ME])
def test_a_signed_drive_of_which_drive_json_is_spoilt_in_the_serial_number_is_mended(kept):
    drives = FLEET.memory()
    drives[2].put(mf.CARD, canonical.encode(replace(GROUP.manifest.card(2), serial="SN-0LD")))
    for name in {mf.MANIFEST, mf.OPEN_ME} - {kept}:
        del drives[2].medium.files[name]
    assert "replaced" not in {fault.kind for fault in check(drives).faults}
    assert mend(drives).state == "repaired"
    assert card_of(drives[2]) == GROUP.manifest.card(2)


# --- one that is made here --------------------------------------------------------------------------------


def carded(mount="/mnt/new"):
    """A blank drive, with nothing on it but drive.json of the real one."""
    new = empty(mount)
    new.put(mf.CARD, GROUP.files[2][mf.CARD])
    return new


def lacking(drive, packs):
    for name in sorted(PACKS)[:packs]:
        del drive.medium.files[name]
    return drive


@pytest.mark.parametrize(("packs", "made"), [(1, False), (2, False), (3, False), (4, True)])
def test_a_drive_that_has_no_pack_is_made_and_says_so_and_one_that_is_mended_does_not(packs, made):
    drives = FLEET.memory()
    lacking(drives[2], packs)
    assert mend(drives).state == "repaired"
    assert bool(card_of(drives[2]).rebuilt) == made
    assert (mf.REBUILT in drives[2].medium.files) == made
    report = check(drives)
    assert report.state == "intact"
    assert any("g0s2, rebuilt at" in notice for notice in report.notices) == made
    assert next(copy for copy in report.groups[0].present if copy.slot == 2).rebuilt == made


def test_a_blank_drive_with_the_others_drive_json_is_made_and_says_so():
    drives = [*others(), carded()]
    assert mend(drives).state == "repaired"
    assert card_of(drives[-1]).rebuilt
    report = check(drives)
    assert (report.state, any("rebuilt at" in notice for notice in report.notices)) == ("intact", True)


def test_one_rotten_block_of_every_pack_is_mended():
    drives = FLEET.memory()
    for name in PACKS:
        data = bytearray(drives[2].medium.files[name])
        data[-3] ^= 4
        drives[2].put(name, bytes(data))
    assert mend(drives).repaired_files == len(PACKS)
    assert not card_of(drives[2]).rebuilt


def test_the_only_pack_of_a_drive_is_mended_where_it_rotted_and_made_where_it_is_gone():
    fleet = fleets.make(Path("/nowhere"), seed=50, geometry=((2, 2),), lengths=[[70, 60]], on_disk=False)
    for gone in (False, True):
        drives = fleet.memory()
        (name,) = (name for name in drives[2].medium.files if name.startswith("packs/"))
        if gone:
            del drives[2].medium.files[name]
        else:
            drives[2].put(name, bytes(len(drives[2].medium.files[name])))
        assert mend(drives, fleet).state == "repaired"
        assert bool(card_of(drives[2]).rebuilt) == gone


def test_what_cannot_be_made_is_not_said_to_be():
    fleet = fleets.make(Path("/nowhere"), seed=49, geometry=((2, 2),), lengths=[[BLOCK, BLOCK]] * 2, on_disk=False)
    blank = empty()
    blank.put(mf.CARD, fleet.groups[0].files[2][mf.CARD])
    assert mend([blank, fleet.memory()[3]], fleet).lost
    assert not card_of(blank).rebuilt
    assert mf.REBUILT not in blank.medium.files


def test_a_drive_that_is_made_says_so_before_its_first_pack_is_there(monkeypatch):
    drives = [*others(), carded()]

    def stop(*_):
        assert card_of(drives[-1]).rebuilt
        assert mf.REBUILT in drives[-1].medium.files
        raise StoppedError

    monkeypatch.setattr(repair_group.GroupRepair, "_landed", stop)
    with pytest.raises(StoppedError):
        mend(drives)


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_drive_that_is_made_in_several_runs_says_so(after, monkeypatch):
    drives = [*others(), carded()]
    landed, count = repair_group.GroupRepair._landed, []

    def stop(self, stripe, role, drive):
        landed(self, stripe, role, drive)
        count.append(stripe)
        if len(count) == after:
            raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(repair_group.GroupRepair, "_landed", stop)
        with pytest.raises(StoppedError):
            mend(drives)
    assert mend(drives).state in {"repaired", "damaged"}
    assert card_of(drives[-1]).rebuilt


@pytest.mark.long
@pytest.mark.parametrize("spoilt", [b"", b"{}", "gone", "without", "bit"])
@pytest.mark.parametrize("onto", [True, False])
def test_the_note_outlives_drive_json(spoilt, onto):
    here, new = others(), empty() if onto else carded()
    assert not mend(here, onto=[new]).lost if onto else mend([*here, new]).state == "repaired"
    before = card_of(new)
    assert before.rebuilt
    data = new.medium.files[mf.CARD]
    if spoilt == "gone":
        del new.medium.files[mf.CARD]
    elif spoilt == "without":
        new.put(mf.CARD, canonical.encode(replace(before, rebuilt=UNSET)))
    else:
        new.put(mf.CARD, data.replace(b"{", b"[", 1) if spoilt == "bit" else spoilt)
    report = check([*here, new])
    assert report.state == "recoverable"
    assert any("rebuilt at" in notice for notice in report.notices)
    assert mend([*here, new]).state == "repaired"
    assert card_of(new) == before


def test_the_note_outlives_rebuilt_json():
    """Whatever is in it, that it is there says what it says; and without it drive.json does."""
    here, new = others(), empty()
    mend(here, onto=[new])
    note = card_of(new).rebuilt
    new.put(mf.REBUILT, b"rot")
    new.put(mf.CARD, b"")
    mend([*here, new])
    assert card_of(new).rebuilt
    assert mf.decode_rebuilt(new.medium.files[mf.REBUILT]) == card_of(new).rebuilt
    new.put(mf.CARD, canonical.encode(replace(card_of(new), rebuilt=note)))
    del new.medium.files[mf.REBUILT]
    assert (check([*here, new]).state, mend([*here, new]).state) == ("intact", "whole")


def test_nothing_is_made_in_a_folder_on_which_nothing_is_mounted(tmp_path):
    fleet = fleets.make(tmp_path, seed=48, geometry=((2, 2),), lengths=[[BLOCK + 9, BLOCK]] * 2)
    here = Path(fleet.mounts[2], "sealift")
    card = (here / mf.CARD).read_bytes()
    for path in sorted(here.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (here / mf.CARD).write_bytes(card)
    fleet.path(0, 1, mf.OPEN_ME).write_bytes(b"cut")
    report = mend(fleet.mounts, fleet)
    assert [path.name for path in here.rglob("*")] == [mf.CARD]
    assert (report.state, repairing.exit_code(report)) == ("damaged", 3)
    assert any(f"{fleet.mounts[2]}: nothing is mounted there" in notice for notice in report.notices)
    assert [each.path for each in report.repaired] == [mf.OPEN_ME], "the others are mended"
    assert mend(fleet.mounts, fleet, allow_same_filesystem=True).state == "repaired"
    assert mf.decode_card((here / mf.CARD).read_bytes()).rebuilt
