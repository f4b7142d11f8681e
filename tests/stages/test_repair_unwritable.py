"""A drive that cannot be written is named, with what stays wrong on it; all the others are mended, and that is told."""

import errno
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets

from sealift.cli import inspect as inspect_words
from sealift.cli import repair_words
from sealift.cli.main import run as sealift
from sealift.drives.base import fault
from sealift.drives.local import LocalDrive
from sealift.drives.memory import Medium, MemoryDrive, MemoryPartFile
from sealift.formats import manifest as mf
from sealift.stages import repair as stage
from sealift.stages.repair_unwritable import Unreadable
from sealift.stages.verify import verify
from sealift.stages.verify_report import to_json

BLOCK = mf.BLOCK
FLEET = fleets.make(
    Path("/nowhere"), seed=81, geometry=((2, 2),), lengths=[[2 * BLOCK + 9, BLOCK], [BLOCK, 7], [70, 9]], on_disk=False
)
GROUP = FLEET.groups[0]
CODES = {
    errno.EROFS: "read-only",
    errno.EIO: "failed",
    errno.ENOSPC: "full",
    errno.ENODEV: "gone",
    errno.EACCES: "denied",
    errno.EPERM: "denied",
}


@pytest.fixture(autouse=True)
def _state(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


def mend(drives, fleet=FLEET, **more):
    return stage.repair(drives, allowed=fleet.allowed, **more)


def pack(slot, stripe):
    return mf.pack_name(stripe, mf.role_of(stripe, slot, GROUP.n), GROUP.data)


def flip(drive, name):
    data = bytearray(drive.medium.files[name])
    data[3] ^= 4
    drive.put(name, bytes(data))


def unwritable(code, operations=("create", "write", "publish", "sync")):
    return lambda doing, _name, _at: code if doing in operations else None


@pytest.mark.parametrize("onto", [False, True])
@pytest.mark.parametrize("code", CODES)
def test_only_a_drive_that_may_be_at_fault_is_to_be_replaced(code, onto, capsys):
    drives = FLEET.memory()
    if onto:
        new = type(drives[0])("/mnt/new", type(drives[0].medium)())
        new.plan = unwritable(code)
        report = mend(drives[1:], onto=[new])
    else:
        flip(drives[0], pack(0, 0))
        drives[0].plan = unwritable(code)
        report = mend(drives)
    assert [bad.why for bad in report.unwritable] == [CODES[code]]
    repair_words.show(report)
    step = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("next: g0s0"))
    if CODES[code] == "denied":
        assert "give yourself the right to write there" in step
        assert "nothing says that the drive is at fault" in step
    assert ("another empty drive" in step or "--onto" in step) == (CODES[code] != "denied")
    assert ("cable" in step) == (CODES[code] == "failed")


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("operations", [("create",), ("write",), ("publish",), ("sync",)])
def test_the_others_are_mended_though_one_cannot_be_written(code, operations):
    drives = FLEET.memory()
    for slot, stripe in ((0, 0), (0, 2), (1, 0), (2, 1)):
        flip(drives[slot], pack(slot, stripe))
    flip(drives[3], mf.OPEN_ME)
    flip(drives[0], mf.SUMS)
    drives[0].plan = unwritable(code, operations)
    report = mend(drives)
    assert {(each.drive, each.path) for each in report.repaired} == {
        ("g0s1", pack(1, 0)),
        ("g0s2", pack(2, 1)),
        ("g0s3", mf.OPEN_ME),
    }
    (bad,) = report.unwritable
    assert (bad.drive, bad.mount, bad.why, bad.onto, bad.spare) == ("g0s0", "/mnt/g0s0", CODES[code], False, True)
    assert (bad.serial, bad.files) == (FLEET.serial(0, 0), 3)
    assert {(each.drive, each.path) for each in report.left} == {
        ("g0s0", pack(0, 0)),
        ("g0s0", pack(0, 2)),
        ("g0s0", mf.SUMS),
    }
    assert (report.state, stage.exit_code(report), report.lost) == ("damaged", 3, [])
    drives[0].plan = None
    assert mend(drives).state in {"repaired", "whole"}
    assert all(drive.medium.holder is None for drive in drives)


def test_it_is_the_same_where_its_lock_cannot_be_had():
    drives = FLEET.memory()
    flip(drives[0], pack(0, 0))
    flip(drives[1], pack(1, 0))

    def lock():
        error = OSError(errno.EROFS, "read-only")
        raise fault("/mnt/g0s0", "locking sealift/", error, safe="it is safe") from error

    drives[0].lock = lock
    report = mend(drives)
    assert [each.drive for each in report.repaired] == ["g0s1"]
    assert [(each.drive, each.why) for each in report.unwritable] == [("g0s0", "read-only")]


def test_of_two_new_drives_the_good_one_is_rebuilt():
    drives = FLEET.memory()
    fresh = [type(drives[0])(f"/mnt/new{slot}", type(drives[0].medium)()) for slot in range(2)]
    fresh[0].plan = unwritable(errno.EIO, ("write",))
    report = mend(drives[2:], onto=fresh)
    assert (report.rebuilt, report.missing, stage.exit_code(report)) == (["g0s1"], ["g0s0"], 3)
    assert [(each.drive, each.onto) for each in report.unwritable] == [("g0s0", True)]


def test_a_group_that_cannot_do_without_it_is_not_told_to_leave_it_away():
    drives = FLEET.memory()
    flip(drives[2], mf.OPEN_ME)
    drives[2].plan = unwritable(errno.EIO)
    assert [each.spare for each in mend(drives[1:]).unwritable] == [True]
    assert [each.spare for each in mend(drives[2:]).unwritable] == [False]


@pytest.mark.parametrize(("code", "words"), [
    (errno.EROFS, "mount it writable"),
    (errno.ENOSPC, "free room on it"),
    (errno.EIO, "see `dmesg`"),
])  # fmt: skip
def test_the_command_says_what_was_mended_what_was_not_and_what_to_do(tmp_path, capsys, monkeypatch, code, words):
    fleet = fleets.make(tmp_path / "mnt", seed=82, geometry=((2, 1),), lengths=[[BLOCK + 3, 9]])
    (tmp_path / "signers").write_bytes(fleet.allowed_bytes)
    for slot in (0, 1):
        fleets.flip(fleet.path(0, slot, mf.SUMS), 9)
    create = LocalDrive.create

    def broken(drive, name, **more):
        if drive.mount == fleet.mount(0, 0):
            error = OSError(code, "no")
            raise fault(drive.mount, f"creating {name}", error, safe="it is safe") from error
        return create(drive, name, **more)

    monkeypatch.setattr(LocalDrive, "create", broken)
    command = ["repair", *fleet.mounts, "--allowed-signers", str(tmp_path / "signers")]
    assert sealift(command) == 3
    said = capsys.readouterr().out
    who = f"g0s0 (serial {fleet.serial(0, 0)}) at {fleet.mount(0, 0)}"
    assert f"NOT WRITTEN: {who}: 1 file still to be written there; creating B3SUMS: " in said
    assert f"g0s1 at {fleet.mount(0, 1)}: 1 file" in said
    assert f"next: {who}: {words}" in said
    assert "--onto NEW makes g0s0 on an empty drive from the others" in said
    fleets.flip(fleet.path(0, 1, mf.SUMS), 9)
    assert sealift([*command, "--json"]) == 3
    answer = json.loads(capsys.readouterr().out)
    assert [each["drive"] for each in answer["unwritable"]] == ["g0s0"]
    assert [each["drive"] for each in answer["repaired"]] == ["g0s1"]


def test_a_source_that_does_not_read_is_not_called_rotten():
    drives = FLEET.memory()
    name = pack(2, 0)
    drives[2].plan = lambda doing, path, _at: errno.EIO if doing == "read" and path == name else None
    flip(drives[3], pack(3, 2))
    del drives[1].medium.files[pack(1, 1)]
    new = type(drives[0])("/mnt/new", type(drives[0].medium)())
    report = mend(drives[1:], onto=[new])
    assert report.rebuilt == ["g0s0"]
    kinds = {(fault.drive, fault.path, fault.kind) for fault in report.left}
    assert ("g0s2", name, "unreadable") in kinds
    assert not {("g0s2", name, "rotten")} & kinds
    assert {kind for drive, _, kind in kinds if drive == "g0s1"} <= {"missing"}
    assert {kind for drive, _, kind in kinds if drive == "g0s3"} <= {"rotten"}


@pytest.mark.parametrize("code", [errno.EIO, errno.ENODEV])
@pytest.mark.parametrize("spare", [True, False], ids=["enough-others", "too-few"])
def test_a_drive_that_dies_while_others_are_rebuilt_from_it_is_named_once(code, spare, capsys):
    fleet = fleets.make(Path("/nowhere"), seed=52, geometry=((2, 2),), lengths=[[70, 60]] * 30, on_disk=False)
    drives, begun = fleet.memory(), [0]

    def dies(operation, name, _offset):
        begun[0] += operation == "read" and name.startswith("packs/")
        return code if operation in {"open", "read"} and begun[0] > 5 else None

    drives[3].plan = dies
    lost = [0] if spare else [0, 1]
    new = [type(drives[0])(f"/mnt/new{slot}", type(drives[0].medium)()) for slot in lost]
    here = [drive for slot, drive in enumerate(drives) if slot not in lost]
    report = stage.repair(here, allowed=fleet.allowed, onto=new)
    row = fleet.groups[0].manifest.drives[3]
    (silent,) = report.unreadable
    assert (silent.drive, silent.serial, silent.mount) == ("g0s3", row.serial, "/mnt/g0s3")
    assert [each for each in report.left if each.mount == silent.mount] == []
    assert stage.exit_code(report) == (3 if spare else 6)
    assert report.rebuilt == (["g0s0"] if spare else [])
    repair_words.show(report)
    out = capsys.readouterr().out
    assert f"  NOT READ: g0s3 (serial {row.serial}) at /mnt/g0s3 gave nothing any more; " in out
    assert f"next: g0s3 (serial {row.serial}) at /mnt/g0s3: plug it in and mount it again" in out
    drives[3].plan = None
    report = stage.repair(here, allowed=fleet.allowed, onto=new)
    assert (report.unreadable, stage.exit_code(report)) == ([], 0)


class Liar(MemoryDrive):
    """Acknowledges what is written to packs and keeps zeros."""

    def create(self, name, *, direct=False):
        part = super().create(name, direct=direct)
        if name.startswith("packs/"):
            write = part.write_at
            part.write_at = lambda offset, buffers: write(offset, [memoryview(bytes(len(each))) for each in buffers])
        return part


def test_what_a_drive_keeps_is_read_before_anything_is_replaced_by_it():
    """Block 0 of a pack is rotten on A, block 1 of its stripe on B. A lies, B cannot be written: nothing gets worse."""
    fleet = fleets.make(Path("/nowhere"), seed=53, geometry=((3, 1),), lengths=[[2 * BLOCK] * 3], on_disk=False)
    drives = [Liar(drive.mount, drive.medium) for drive in fleet.memory()]
    names = [mf.pack_name(0, mf.role_of(0, slot, 4), 3) for slot in range(4)]
    for slot, at in ((0, 3), (1, BLOCK + 3)):
        data = bytearray(drives[slot].medium.files[names[slot]])
        data[at] ^= 4
        drives[slot].put(names[slot], bytes(data))
    kept = bytes(drives[0].medium.files[names[0]])
    drives[1].plan = unwritable(errno.EROFS)
    report = stage.repair(drives, allowed=fleet.allowed)
    assert {bad.drive: bad.why for bad in report.unwritable} == {"g0s0": "failed", "g0s1": "read-only"}
    assert (report.state, stage.exit_code(report), report.repaired) == ("damaged", 3, [])
    assert bytes(drives[0].medium.files[names[0]]) == kept
    drives = [MemoryDrive(drive.mount, drive.medium) for drive in drives]
    assert stage.exit_code(stage.repair(drives, allowed=fleet.allowed)) == 0


def test_a_new_drive_that_lies_is_not_called_rebuilt(capsys):
    drives = FLEET.memory()
    report = mend(drives[1:], onto=[Liar("/mnt/new", Medium())])
    assert (report.rebuilt, stage.exit_code(report)) == ([], 3)
    (bad,) = report.unwritable
    assert (bad.mount, bad.why, bad.onto) == ("/mnt/new", "failed", True)
    repair_words.show(report)
    assert "does not read as it was written a moment ago" in capsys.readouterr().out


def test_a_dry_run_foresees_what_shows_without_writing(tmp_path, monkeypatch, capsys):
    fleet = fleets.make(tmp_path, seed=54, geometry=((2, 2),), lengths=[[BLOCK, 9]])
    name = mf.pack_name(0, mf.role_of(0, 1, 4), 2)
    fleets.flip(fleet.path(0, 1, name), 3)
    monkeypatch.setattr(LocalDrive, "read_only", property(lambda drive: drive.mount == fleet.mounts[1]))
    report = mend(fleet.mounts, fleet, dry_run=True, allow_same_filesystem=True)
    assert [(bad.drive, bad.why, bad.files) for bad in report.unwritable] == [("g0s1", "read-only", 1)]
    assert (report.repaired_files, report.state, stage.exit_code(report)) == (0, "damaged", 3)
    repair_words.show(report)
    assert "  NOT WRITTEN: g0s1 " in (said := capsys.readouterr().out)
    assert "next: g0s1 " in said
    assert said.startswith("dry run: not whole yet: ")

    drives = FLEET.memory()
    flip(drives[0], pack(0, 0))
    drives[0].medium.capacity = sum(len(data) for data in drives[0].medium.files.values()) + 5
    new = type(drives[0])("/mnt/new", Medium())
    (bad,) = mend(drives, dry_run=True).unwritable
    assert (bad.why, bad.mount) == ("full", "/mnt/g0s0")
    assert mend([drives[0], *drives[2:]], onto=[new], dry_run=True).unwritable == []


def test_a_drive_of_which_a_region_is_bad_is_not_called_silent():
    """Its pack is solved from the others, block after block, and it takes it."""
    fleet = fleets.make(Path("/nowhere"), seed=55, geometry=((2, 1),), lengths=[[40 * BLOCK] * 2], on_disk=False)
    drives = fleet.memory()
    name = mf.pack_name(0, mf.role_of(0, 0, 3), 2)
    bad = lambda operation, path, _at: errno.EIO if (operation, path) == ("read", name) else None  # noqa: E731
    drives[0].plan = bad
    flip(drives[0], name)
    publish = MemoryPartFile.publish

    def mended(part):
        publish(part)
        drives[0].plan = None if part.name == name else drives[0].plan

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryPartFile, "publish", mended)
        patch.setattr(MemoryPartFile, "open_back", lambda _part: None)
        report = stage.repair(drives, allowed=fleet.allowed)
    assert (report.state, report.unreadable, report.left, stage.exit_code(report)) == ("repaired", [], [], 0)


def test_the_others_are_whole_and_one_is_silent_is_said_so(capsys):
    drives = FLEET.memory()
    answer = mend(drives)
    answer.unreadable = [Unreadable("g0s1", "SER", "/mnt/g0s1", "no answer")]
    answer.state = stage.state_of(answer)
    repair_words.show(answer)
    assert (answer.state, stage.exit_code(answer)) == ("damaged", 3)
    assert "nobody signed" not in capsys.readouterr().out


@pytest.mark.parametrize("wanted", [("look", "open", "read"), ("read",)])
def test_a_place_that_does_not_say_which_drive_it_is_is_to_be_seen_to(capsys, wanted):
    """And nothing of it is asked of the origin: one of those that are missing may be there."""
    drives = FLEET.memory()
    drives[1].plan = unwritable(errno.EIO, wanted)
    answer = mend(drives)
    repair_words.show(answer)
    told = capsys.readouterr().out
    advice = [line for line in told.splitlines() if line.startswith("next: ")]
    assert advice[0].startswith(f"next: {drives[1].mount} cannot be read: ")
    assert all(word in advice[0] for word in ("input/output error", "`dmesg`, its cable and bay", "leave it away"))
    assert "ask the origin" not in told
    assert (stage.exit_code(answer), answer.missing) == (3, ["g0s1"])
    seen = verify(drives, allowed=FLEET.allowed)
    steps = list(inspect_words.next_steps(seen))
    assert f"next: {steps[0]}" == advice[0]
    assert not any("cannot be read" in step for step in steps[1:])


def test_blocks_that_a_rebuild_meets_on_one_drive_are_one_line(capsys):
    drives, new = FLEET.memory()[:3], MemoryDrive("/mnt/new", Medium())
    for stripe in range(3):
        flip(drives[0], mf.pack_name(stripe, mf.role_of(stripe, 0, 4), 2))
    answer = mend(drives, onto=[new])
    repair_words.show(answer)
    told = capsys.readouterr().out
    (line,) = [line for line in told.splitlines() if "still wrong" in line]
    assert line.startswith(f"  still wrong: g0s0 at {drives[0].mount}: packs/")
    assert f"and {len(answer.left) - 1} more block" in line


@pytest.mark.parametrize("by_report", [False, True])
def test_a_medium_that_failed_is_told_last_though_all_of_it_is_mended(capsys, monkeypatch, by_report):
    drives = FLEET.memory()
    name, publish = pack(1, 0), MemoryPartFile.publish
    drives[1].plan = lambda doing, path, _at: errno.EIO if (doing, path) == ("read", name) else None
    flip(drives[2], pack(2, 1))
    if by_report:
        seen = verify(drives, allowed=FLEET.allowed)
        more = {"report": ("verify.json", json.dumps(to_json(seen)).encode())}
    else:
        more = {}

    def mended(part):
        publish(part)
        drives[1].plan = None if part.name == name else drives[1].plan

    monkeypatch.setattr(MemoryPartFile, "publish", mended)
    monkeypatch.setattr(MemoryPartFile, "open_back", lambda _part: None)
    row = GROUP.manifest.drives[1]
    who = f"g0s1 (serial {row.serial}) at /mnt/g0s1"
    for dry_run, written in ((True, "would be"), (False, "was")):
        report = mend(drives, dry_run=dry_run, **more)
        (bad,) = report.failing
        assert (bad.drive, bad.serial, bad.mount) == ("g0s1", row.serial, "/mnt/g0s1")
        assert "input/output error" in bad.detail
        assert stage.exit_code(report) == (3 if dry_run else 0)
        repair_words.show(report)
        told = capsys.readouterr().out.splitlines()
        assert f"  DID NOT READ: {who}: {bad.detail}" in told
        assert told[-1].startswith(
            f"next: {who} FAILS: blocks of it did not read, and what {written} written there may"
        )
        assert "--onto NEW makes g0s1" in told[-1]
    assert "but on a medium that fails" in told[0]
    report = mend(drives)
    assert (report.state, report.failing) == ("whole", [])


def test_what_is_rotten_is_no_failing_medium():
    drives = FLEET.memory()
    flip(drives[0], pack(0, 0))
    drives[1].plan = lambda doing, path, _at: errno.EACCES if (doing, path) == ("open", pack(1, 0)) else None
    assert mend(drives, dry_run=True).failing == []


def test_beyond_parity_each_drive_that_failed_is_to_be_seen_to_and_no_missing_one_is_asked_for(capsys):
    """The only one that is missing is that which is made."""
    drives = FLEET.memory()[1:]
    new = MemoryDrive("/mnt/new", Medium())
    for drive, slot in zip(drives[:2], (1, 2), strict=True):
        name = pack(slot, 0)
        drive.plan = lambda doing, path, _at, name=name: errno.EIO if (doing, path) == ("read", name) else None
    report = mend(drives, onto=[new])
    assert [each.drive for each in report.failing] == ["g0s1", "g0s2"]
    assert (report.onto, report.missing, stage.exit_code(report)) == (["g0s0"], ["g0s0"], 6)
    repair_words.show(report)
    told = capsys.readouterr().out.splitlines()
    steps = [line for line in told if line.startswith("next: ")]
    assert "what did not read may have it" in told[0]
    for step, slot in zip(steps[:2], (1, 2), strict=True):
        assert step.startswith(f"next: g0s{slot} ")
        assert "see `dmesg`, its cable and bay, then the same command again" in step
    assert steps[2].startswith("next: --fetch-list says what must be sent again")
    assert len(steps) == 4


def failing_beyond_parity():
    """Drives of which two, and of parity 1 one too many, do not give a pack of the same stripe."""
    fleet = fleets.make(Path("/nowhere"), seed=83, geometry=((2, 1),), lengths=[[BLOCK + 3, 9]], on_disk=False)
    drives = fleet.memory()
    for slot, drive in enumerate(drives[:2]):
        name = mf.pack_name(0, mf.role_of(0, slot, 3), 2)
        drive.plan = lambda doing, path, _at, name=name: {("read", name): errno.EIO}.get((doing, path))
    return fleet, drives


def test_verify_sends_to_each_drive_that_did_not_read_before_anything_is_sent_again(capsys):
    """In the words of repair."""
    fleet, drives = failing_beyond_parity()
    report = verify(drives, allowed=fleet.allowed)
    assert report.state == "lost"
    steps = list(inspect_words.next_steps(report))
    for slot, step in enumerate(steps[:2]):
        assert step.startswith(f"g0s{slot} (serial {fleet.serial(0, slot)}) at {drives[slot].mount}: ")
        assert "see `dmesg`, its cable and bay, then the same command again: what reads then counts" in step
    assert steps[2].startswith("if it stays so, `sealift repair --fetch-list`")
    assert len(steps) == 3
    repair_words.show(mend(drives, fleet))
    told = capsys.readouterr().out.splitlines()
    assert [line for line in told if line.startswith("next: ")][:2] == [f"next: {step}" for step in steps[:2]]
    drives[1].plan = None
    steps = list(inspect_words.next_steps(verify(drives, allowed=fleet.allowed)))
    assert steps[0].startswith("g0s0 (serial ")
    assert "`sealift repair` makes the drives whole" in steps[1]


def test_verify_sends_nobody_to_the_cable_of_what_is_rotten_or_may_not_be_read():
    fleet, drives = failing_beyond_parity()
    flip(drives[0], mf.pack_name(0, mf.role_of(0, 0, 3), 2))
    name = mf.pack_name(0, mf.role_of(0, 1, 3), 2)
    drives[0].plan = None
    drives[1].plan = lambda doing, path, _at: errno.EACCES if (doing, path) == ("open", name) else None
    (step,) = inspect_words.next_steps(verify(drives, allowed=fleet.allowed))
    assert step.startswith("`sealift repair --fetch-list` says what must be sent again")


def test_no_copy_is_to_be_made_of_a_drive_that_does_not_read(capsys):
    """`cp -a` would stop where repair did."""
    fleet, drives = failing_beyond_parity()
    for drive in drives:
        flip(drive, mf.OPEN_ME)
        read = drive.plan or (lambda *_: None)
        drive.plan = lambda doing, path, at, read=read: errno.EROFS if doing == "create" else read(doing, path, at)
    report = mend(drives, fleet)
    assert [(bad.why, bad.spare) for bad in report.unwritable] == [("read-only", False)] * 3
    repair_words.show(report)
    steps = [line for line in capsys.readouterr().out.splitlines() if line.startswith("next: g0s")]
    for slot in (0, 1):
        told = [step for step in steps if step.startswith(f"next: g0s{slot} ")]
        assert "see `dmesg`, its cable and bay" in told[0]
        assert not any("cp -a" in step for step in told)
    assert any("cp -a" in step for step in steps if step.startswith("next: g0s2 "))
