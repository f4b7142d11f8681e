"""NAME.part, where NAME is a file of the drive, is what an interrupted write left: repair says so, and removes it."""

import errno
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets

from sealift.cli.main import run as sealift
from sealift.drives.memory import MemoryDrive
from sealift.formats import manifest as mf
from sealift.stages import repair as stage
from sealift.stages.verify import verify

PACK = mf.pack_name(0, 0, 2)  # of g0s0
OURS = [f"{PACK}.part", "OPEN-ME.txt.part", "seal/seal.json.part"]
NOT_OURS = ["notes.part", "seal/x.part", f"{mf.pack_name(1, 0, 2)}.part", f"{PACK}.part.part", f"{PACK}.bak"]


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = fleets.make(tmp_path / "mnt", seed=95, lengths=[[mf.BLOCK + 9, 50], [70, 60]])
    (tmp_path / "signers").write_bytes(made.allowed_bytes)
    monkeypatch.setenv("SEALIFT_ALLOWED_SIGNERS", str(tmp_path / "signers"))
    return made


@pytest.fixture
def ask(fleet, capsys):
    def run(command, *more, code):
        assert sealift([command, *fleet.mounts, *more]) == code
        return capsys.readouterr().out

    return run


def contents(fleet):
    return {path: path.read_bytes() for path in fleet.root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", OURS)
def test_what_an_interrupted_write_left_is_repairs_to_remove(fleet, ask, name):
    whole = contents(fleet)
    fleet.path(0, 0, name).write_bytes(b"half")
    for command in ("verify", "inspect"):
        words = ask(command, code=3)
        assert f"next: an interrupted write left {name}: `sealift repair` goes on, and removes what is left" in words
        assert "nobody signed" not in words
    told = f"g0s0 at {fleet.mount(0, 0)}: {{}}, left by an interrupted write: {name}"
    words = ask("repair", "--dry-run", code=3)
    assert words.startswith("dry run: nothing was written")
    assert told.format("would be removed") in words
    assert fleet.path(0, 0, name).read_bytes() == b"half"
    words = ask("repair", code=0)
    assert words.startswith("repaired: ")
    assert told.format("removed") in words
    assert contents(fleet) == whole
    assert "removed" not in ask("repair", code=0)


@pytest.mark.parametrize("name", NOT_OURS)
def test_a_name_that_sealift_does_not_write_is_nobodys_and_stays(fleet, ask, name):
    fleet.path(0, 0, name).write_bytes(b"precious")
    (fault,) = verify(fleet.mounts, allowed=fleet.allowed, remember=False).faults
    assert fault.detail == "a file that the manifest does not name"
    for command in ("verify", "inspect"):
        assert "nobody signed what is unexpected: move it away" in ask(command, code=3)
    words = ask("repair", code=3)
    assert f"not signed: g0s0 {name}" in words
    assert "removed" not in words.replace("removes nothing", "")
    assert fleet.path(0, 0, name).read_bytes() == b"precious"


def test_beside_a_pack_that_is_written_anew_it_is_told_as_well(fleet, ask):
    whole = contents(fleet)
    fleets.flip(fleet.path(0, 0, PACK), 3)
    fleet.path(0, 0, f"{PACK}.part").write_bytes(b"precious")
    words = ask("repair", "--dry-run", code=3)
    assert f"would be removed, left by an interrupted write: {PACK}.part" in words
    assert "not signed" not in words
    words = ask("repair", code=0)
    assert f"removed, left by an interrupted write: {PACK}.part" in words
    assert contents(fleet) == whole


def test_where_it_cannot_be_removed_it_is_left(fleet):
    """In the place of the pack stands a folder: nothing is begun there."""
    path = fleet.path(0, 0, PACK)
    path.unlink()
    path.mkdir()
    fleet.path(0, 0, f"{PACK}.part").write_bytes(b"half")
    report = stage.repair(fleet.mounts, allowed=fleet.allowed)
    assert {fault.path for fault in report.left} == {PACK, f"{PACK}.part"}
    assert (report.removed, stage.exit_code(report)) == ([], 3)


def test_a_drive_that_takes_no_writes_keeps_it():
    made = fleets.make(Path("/nowhere"), seed=95, lengths=[[70, 60]], on_disk=False)
    drives = made.memory()
    drives[0].put(f"{PACK}.part", b"half")
    drives[0] = MemoryDrive(
        drives[0].mount, drives[0].medium, lambda operation, *_: errno.EROFS if operation == "create" else None
    )
    report = stage.repair(drives, allowed=made.allowed)
    assert [fault.path for fault in report.left] == [f"{PACK}.part"]
    assert [each.drive for each in report.unwritable] == ["g0s0"]
    assert stage.exit_code(report) == 3
