"""A group of the seal of which no drive is here: repair says so, and that all that is here is whole."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets

from sealift.cli import repair_words
from sealift.formats import manifest as mf
from sealift.stages import repair as stage
from sealift.stages.verify import verify
from sealift.stages.verify_report import exit_code

BLOCK = mf.BLOCK
FLEET = fleets.make(Path("/nowhere"), seed=52, geometry=((2, 1), (2, 1)), lengths=[[BLOCK, 900]] * 3, on_disk=False)


@pytest.fixture(autouse=True)
def _state(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


def mend(drives, **more):
    return stage.repair(drives, allowed=FLEET.allowed, seal=FLEET.seal_files, **more)


def rot(drive, slot, stripe):
    name = mf.pack_name(stripe, mf.role_of(stripe, slot, 3), 2)
    drive.put(name, b"?" + bytes(drive.medium.files[name][1:]))


def words(report, capsys):
    repair_words.show(report)
    return capsys.readouterr().out


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_is_here_is_whole_and_the_drives_that_are_not_are_named(dry_run, capsys):
    drives = FLEET.memory()[:3]
    report = mend(drives, dry_run=dry_run)
    seen = verify(drives, allowed=FLEET.allowed, seal=FLEET.seal_files, remember=False)
    assert (report.state, stage.exit_code(report)) == (seen.state, exit_code(seen)) == ("unseen", 6)
    assert (report.missing, report.unseen) == (["g1s0", "g1s1", "g1s2"], [])
    assert report.absent == seen.groups[1].missing
    told = words(report, capsys)
    first = "whole, as far as it is here: nothing is wrong, and nothing was written; of group 1 no drive is here\n"
    assert told.startswith(first)
    serials = ", ".join(f"g1s{slot} (serial {FLEET.serial(1, slot)})" for slot in range(3))
    assert f"group 1: NOT HERE: {serials}\n" in told
    assert "next: mount drives of group 1 and run the same command again, or run it where they stand" in told


def test_what_is_mended_is_said_first(capsys):
    drives = FLEET.memory()[:3]
    rot(drives[1], 1, 0)
    report = mend(drives, dry_run=True)
    assert (report.state, stage.exit_code(report)) == ("damaged", 6)
    report = mend(drives)
    assert (report.state, stage.exit_code(report), report.repaired_files) == ("unseen", 6, 1)
    told = words(report, capsys)
    first = (
        "repaired, as far as it is here: everything on the drives here is as it was signed; of group 1 no drive is here"
    )
    assert told.startswith(first)
    assert "next: sealift verify reads everything once more, from the medium" in told


def test_a_drive_that_is_missing_of_a_group_that_is_here_is_told_apart(capsys):
    drives = FLEET.memory()
    report = mend([drives[0], drives[2]])
    assert (report.state, report.missing_here, stage.exit_code(report)) == ("damaged", ["g0s1"], 6)
    told = words(report, capsys)
    assert told.startswith("not whole yet: all that is still wrong can be recovered; of group 1 no drive is here\n")
    assert "\nmissing: g0s1\ngroup 1: NOT HERE: g1s0 (" in told
    assert "next: --onto MNT rebuilds a missing drive onto an empty one\n" in told
    report = mend([drives[0], drives[2], *drives[3:]])
    assert (report.state, report.missing, stage.exit_code(report)) == ("damaged", ["g0s1"], 3)


@pytest.mark.parametrize("others", [[], [3, 4]], ids=["none-of-the-other-group", "not-all-of-it"])
def test_what_is_lost_of_a_group_that_is_here_comes_with_no_drive_of_another(others, capsys):
    drives = FLEET.memory()
    for slot in (0, 1):
        rot(drives[slot], slot, 0)
    here = [*drives[:3], *(drives[each] for each in others)]
    report = mend(here)
    seen = verify(here, allowed=FLEET.allowed, seal=FLEET.seal_files, remember=False)
    assert (report.state, stage.exit_code(report), exit_code(seen)) == ("lost", 4, 4)
    assert words(report, capsys).startswith("LOST: more is gone than parity holds")


@pytest.mark.parametrize("missing", [1, 2])
def test_what_is_lost_whatever_is_still_to_come_is_said_to_be(missing, capsys):
    """Beyond parity on the drives that are here: the one that is not could not give it either."""
    fleet = fleets.make(Path("/nowhere"), seed=53, geometry=((3, 1),), lengths=[[BLOCK, 900, 800]] * 3, on_disk=False)
    drives = fleet.memory()[: 4 - missing]
    name = mf.pack_name(1, mf.role_of(1, 0, 4), 3)
    drives[0].put(name, b"?" + bytes(drives[0].medium.files[name][1:]))
    for code in (6, 4):
        report = stage.repair(drives, allowed=fleet.allowed, seal=fleet.seal_files)
        seen = verify(drives, allowed=fleet.allowed, seal=fleet.seal_files, remember=False)
        assert (report.state, stage.exit_code(report), exit_code(seen)) == ("lost", code, code)
        assert words(report, capsys).startswith("LOST: " if code == 4 else "more is missing than parity holds")
        name = mf.pack_name(1, mf.role_of(1, 1, 4), 3)
        drives[1].put(name, b"?" + bytes(drives[1].medium.files[name][1:]))


def test_without_a_seal_nobody_knows_of_another_group():
    drives = FLEET.memory(with_seal=False)[:3]
    report = stage.repair(drives, allowed=FLEET.allowed)
    assert (report.state, report.absent, stage.exit_code(report)) == ("whole", [], 0)
