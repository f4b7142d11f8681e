"""What a rebuilt drive lacks, the medium in whose place it stands may still have: nothing is lost whatever comes."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets

from sealift.cli import inspect as inspect_words
from sealift.cli import repair_words
from sealift.drives.memory import Medium, MemoryDrive
from sealift.formats import manifest as mf
from sealift.stages import repair as repairing
from sealift.stages.inspect import inspect
from sealift.stages.verify import verify
from sealift.stages.verify_report import exit_code

BLOCK = mf.BLOCK
FLEET = fleets.make(Path("/nowhere"), seed=41, geometry=((2, 2),), lengths=[[BLOCK + 9, BLOCK]] * 2, on_disk=False)
GROUP = FLEET.groups[0]


@pytest.fixture(autouse=True)
def _state(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


def check(drives, **more):
    return verify(drives, allowed=FLEET.allowed, remember=False, **more)


def mend(drives, **more):
    return repairing.repair(drives, allowed=FLEET.allowed, **more)


def pack(slot, stripe):
    return mf.pack_name(stripe, mf.role_of(stripe, slot, 4), 2)


@pytest.fixture
def fleet():
    """Drive 0 is away, and was rebuilt while drives 1 and 2 lacked a pack of stripe 1: old, successor, the others."""
    old, *others = FLEET.memory()
    for slot in (1, 2):
        others[slot - 1].medium.files.pop(pack(slot, 1))
    new = MemoryDrive("/mnt/new", Medium(serial="NEW"))
    report = mend(others, onto=[new])
    assert (report.rebuilt, repairing.exit_code(report)) == ([], 6)
    return old, new, others


def test_verify_and_inspect_wait_for_the_medium_that_was_replaced(fleet):
    old, new, others = fleet
    for report in (check([*others, new]), inspect([*others, new], allowed=FLEET.allowed)):
        assert (report.state, exit_code(report)) == ("unseen", 6)
        steps = list(inspect_words.next_steps(report))
        assert any("g0s0 was rebuilt, and lacks what nothing here gives: the medium on which" in step for step in steps)
    assert exit_code(check([*others, new], final=True)) == 4
    assert exit_code(inspect([*others, new], allowed=FLEET.allowed, final=True)) == 4
    assert check([*others, new, old]).state == "recoverable"


def test_what_lacks_on_drives_that_were_not_rebuilt_is_lost(fleet):
    old, new, others = fleet
    others[2].medium.files.pop(pack(3, 1))
    assert exit_code(check([*others, new])) == 4
    assert exit_code(check([*others, new, old])) == 4


def test_repair_waits_for_it_and_mends_all_once_it_is_there(fleet, capsys):
    old, new, others = fleet
    report = mend([*others, new])
    assert (report.state, report.replaced, repairing.exit_code(report)) == ("lost", ["g0s0"], 6)
    repair_words.show(report)
    words = capsys.readouterr().out
    assert words.startswith("more is missing than parity holds, and drives that are not here may have it")
    assert (
        "next: mount the medium on which g0s0 was packed before it was rebuilt, if that is another, or --fetch-list"
        in words
    )
    assert repairing.exit_code(mend([*others, new], dry_run=True)) == 6
    report = mend([*others, new, old])
    assert (report.lost, report.replaced, repairing.exit_code(report)) == ([], [], 0)
    assert check([*others, old]).state == "intact"


@pytest.mark.parametrize("known", [True, False], ids=["its-own-medium", "a-medium-without-serial"])
def test_a_drive_that_was_made_in_place_is_waited_for_only_where_its_medium_may_be_another(known):
    """It says that it was rebuilt, as all of it was; but nothing else has what it lacks where it is that medium."""
    drives = FLEET.memory()
    for drive, row in zip(drives, GROUP.manifest.drives, strict=True):
        drive.medium.serial = row.serial if known else None
    for slot, stripes in ((0, (0, 1)), (1, (1,)), (2, (1,))):
        for stripe in stripes:
            drives[slot].medium.files.pop(pack(slot, stripe))
    expected = (["g0s0"], 6) if not known else ([], 4)
    for again in (False, True):
        report = mend(drives)
        assert (report.state, report.replaced, repairing.exit_code(report)) == ("lost", *expected)
        assert any("no pack of g0s0 was there: it is made anew" in notice for notice in report.notices) is not again
        assert mf.decode_card(bytes(drives[0].medium.files[mf.CARD])).rebuilt is not None
    seen = check(drives)
    assert exit_code(seen) == expected[1]
    assert any("was rebuilt, and lacks" in step for step in inspect_words.next_steps(seen)) is not known


@pytest.mark.parametrize("gone", [False, True], ids=["rotten", "gone"])
def test_what_is_lost_stays_lost_when_most_of_a_drive_is_mended_where_it_stands(gone):
    """Some of its packs were there, in whatever state: no other medium may have them, though none tells its number."""
    fleet = fleets.make(Path("/nowhere"), seed=43, geometry=((2, 2),), lengths=[[BLOCK, 900]] * 5, on_disk=False)
    drives = fleet.memory()
    for slot, stripe in ((0, 0), (1, 0), (2, 0), (0, 1), (0, 2), (0, 3)):
        old = bytes(drives[slot].medium.files.pop(pack(slot, stripe)))
        if not gone:
            drives[slot].put(pack(slot, stripe), b"?" + old[1:])
    given = {"allowed": fleet.allowed, "seal": fleet.seal_files}
    assert exit_code(verify(drives, remember=False, **given)) == 4
    for dry_run in (True, False, False):
        report = repairing.repair(drives, dry_run=dry_run, **given)
        assert (report.state, report.replaced, repairing.exit_code(report)) == ("lost", [], 4)
        assert not mf.decode_card(bytes(drives[0].medium.files[mf.CARD])).rebuilt
        assert exit_code(verify(drives, remember=False, **given)) == 4


def test_a_dry_run_says_what_would_be_read_also_where_nothing_can_be_written(capsys):
    drives = FLEET.memory()
    for slot in (0, 1, 2):
        drives[slot].put(pack(slot, 1), b"?" + bytes(drives[slot].medium.files[pack(slot, 1)][1:]))
    report = mend(drives, dry_run=True)
    assert (report.state, report.repaired_files, report.bytes_read > 0) == ("lost", 0, True)
    repair_words.show(report)
    assert re.search("repairing it would read about [0-9.]+ [kM]?B$", capsys.readouterr().out, re.MULTILINE)


def test_a_whole_successor_changes_nothing():
    old, *others = FLEET.memory()
    new = MemoryDrive("/mnt/new", Medium(serial="NEW"))
    assert mend(others, onto=[new]).rebuilt == ["g0s0"]
    assert (check([*others, new]).state, mend([*others, new]).replaced) == ("intact", [])
    for slot in (1, 2, 3):
        others[slot - 1].medium.files.pop(pack(slot, 1))
    assert exit_code(check([*others, new])) == 4
    assert (mend([*others, new]).replaced, old.medium.files[mf.CARD] is not None) == ([], True)
