"""A report says where to look and is old: nothing else is called whole; a dry run says what the run does."""

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets
import shipments

from sealift.cli import repair_words
from sealift.cli.main import run as sealift
from sealift.formats import manifest as mf
from sealift.reading.health import Health, PackHealth
from sealift.stages import repair as stage
from sealift.stages.verify import verify
from sealift.stages.verify_report import to_json

BLOCK = mf.BLOCK
SCRATCH = "--allow-same-filesystem"
STRIPES = 3
FLEET = fleets.make(
    Path("/nowhere"), seed=31, geometry=((2, 2),), lengths=[[BLOCK + 9, BLOCK]] * STRIPES, on_disk=False
)
GROUP = FLEET.groups[0]


@pytest.fixture(autouse=True)
def _state(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


def mend(drives, **more):
    return stage.repair(drives, allowed=FLEET.allowed, **more)


def fetch(drives, **more):
    return stage.fetch(drives, allowed=FLEET.allowed, **more)


def reported(drives):
    return ("r.json", json.dumps(to_json(verify(drives, allowed=FLEET.allowed, remember=False))).encode())


def pack(slot, stripe):
    return mf.pack_name(stripe, mf.role_of(stripe, slot, 4), 2)


def flip(drive, name, at=7):
    data = bytearray(drive.medium.files[name])
    data[at] ^= 1
    drive.put(name, bytes(data))


def without_packs(drive):
    for name in [name for name in drive.medium.files if name.startswith("packs/")]:
        drive.medium.files.pop(name)


def contents(drive):
    return {name: bytes(data) for name, data in drive.medium.files.items()}


def named(record):
    return {(each.stripe, each.role) for each in record.packs}


def test_packs_that_went_after_the_report_are_not_called_whole():
    drives = FLEET.memory()
    told = reported(drives)
    for drive in drives[:3]:
        without_packs(drive)
    report = mend(drives, report=told)
    assert (report.state, stage.exit_code(report)) == ("lost", 4)
    assert named(fetch(drives, report=told)) == named(fetch(drives)) != set()
    without_packs(drives[3])
    for name, data in GROUP.files[0].items():
        drives[0].put(name, data)
    for name, data in GROUP.files[1].items():
        drives[1].put(name, data)
    report = mend(drives, report=told)
    assert (report.state, stage.exit_code(report)) == ("repaired", 0)
    cards = [mf.decode_card(drive.medium.files[mf.CARD]) for drive in drives]
    assert [bool(card.rebuilt) for card in cards] == [False, False, True, True], "these two were made here"
    for slot, (drive, card) in enumerate(zip(drives, cards, strict=True)):
        assert GROUP.manifest.is_card(slot, card)
        signed = {name: data for name, data in contents(drive).items() if name not in {mf.CARD, mf.REBUILT}}
        assert signed | {mf.CARD: GROUP.files[slot][mf.CARD]} == GROUP.files[slot] | FLEET.seal_files


@pytest.mark.parametrize("kind", ["verify", "health"])
def test_what_is_not_there_in_its_length_is_looked_at_whatever_the_report_names(kind):
    drives = FLEET.memory()
    told = reported(drives)
    if kind == "health":
        told = ("h.json", Health(shipment=FLEET.shipment, rebuilt_blocks=0, packs=[]).encode())
    drives[0].medium.files.pop(pack(0, 1))
    drives[1].put(pack(1, 2), GROUP.files[1][pack(1, 2)][:-1])
    drives[2].medium.files.pop(mf.OPEN_ME)
    flip(drives[3], pack(3, 0))
    report = mend(drives, report=told)
    assert {(each.drive, each.path) for each in report.repaired} == {
        ("g0s0", pack(0, 1)),
        ("g0s1", pack(1, 2)),
        ("g0s2", mf.OPEN_ME),
    }
    assert report.state == "repaired"
    repair_words.show(report)


@pytest.mark.parametrize("kind", ["verify", "health"])
def test_rot_that_is_met_besides_is_mended_without_the_report(kind, capsys):
    drives = FLEET.memory()
    flip(drives[0], pack(0, 1))
    told = reported(drives)
    if kind == "health":
        role = mf.role_of(1, 0, 4)
        met = PackHealth(group=0, stripe=1, role=role, blocks=1)
        told = ("h.json", Health(shipment=FLEET.shipment, rebuilt_blocks=1, packs=[met]).encode())
    flip(drives[2], pack(2, 1))
    report = mend(drives, report=told)
    assert [(each.drive, each.path) for each in report.repaired] == [("g0s0", pack(0, 1))]
    assert [(each.drive, each.path) for each in report.left] == [("g0s2", pack(2, 1))]
    repair_words.show(report)
    words = capsys.readouterr().out
    assert "next: `sealift repair` without --report mends what was met" in words
    assert "ask the origin" not in words
    again = mend(drives)
    assert ([each.drive for each in again.repaired], stage.exit_code(again)) == (["g0s2"], 0)


def test_a_fetch_list_from_a_report_reads_the_stripes_that_the_report_names():
    drives = FLEET.memory()
    flip(drives[0], pack(0, 2))
    told = reported(drives)
    for slot in (1, 2):
        flip(drives[slot], pack(slot, 2))
    assert mend(drives, report=told).state == "lost"
    assert named(fetch(drives, report=told)) == named(fetch(drives))
    assert len(named(fetch(drives))) == 1


@pytest.mark.parametrize("alone", [False, True])
def test_a_pack_that_was_brought_and_has_rotted_is_named(tmp_path, capsys, monkeypatch, alone):
    """Beside others that tell whose they are; or alone, when nobody can say more than that it is none of these."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    fleet = fleets.make(tmp_path / "mnt", seed=45, geometry=((2, 1),), lengths=[[BLOCK, BLOCK]] * 2)
    (tmp_path / "signers").write_bytes(fleet.allowed_bytes)
    bag, names = tmp_path / "bag", [mf.pack_name(stripe, mf.role_of(stripe, 1, 3), 2) for stripe in range(2)]
    for name in names[alone:]:
        (bag / "sealift" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(fleet.path(0, 1, name), bag / "sealift" / name)
    fleets.flip(bag / "sealift" / names[1], 99)
    here = [fleet.mounts[0], str(bag)]
    assert sealift(["repair", *here, "--allowed-signers", str(tmp_path / "signers"), SCRATCH]) == 6
    words = " ".join(capsys.readouterr().out.split())
    assert names[1] in words
    assert ("came otherwise than signed" in words) is not alone
    assert (f"bring what is at {bag} once more" in words) is alone
    sealift(["verify", *here, "--allowed-signers", str(tmp_path / "signers")])
    assert names[1] in capsys.readouterr().out


@pytest.mark.parametrize("worse", [0, 1])
def test_of_two_that_are_rotten_the_better_is_mended_from_both(tmp_path, capsys, monkeypatch, worse):
    """A drive that was rebuilt, and the one that it replaced, beside the only other: none can be pulled."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    fleet = fleets.make(tmp_path / "mnt", seed=44, geometry=((2, 1),), lengths=[[BLOCK + 3, BLOCK]] * 3)
    (tmp_path / "signers").write_bytes(fleet.allowed_bytes)
    signers, twin = ["--allowed-signers", str(tmp_path / "signers")], tmp_path / "twin"
    shutil.copytree(fleet.mounts[1], twin)
    both = [fleet.mounts[1], str(twin)]
    for stripe, path in ((0, both[worse]), (1, both[worse]), (2, both[1 - worse])):
        fleets.flip(Path(path) / "sealift" / mf.pack_name(stripe, mf.role_of(stripe, 1, 3), 2), 99)
    here = [fleet.mounts[0], *both]
    assert sealift(["verify", *here, *signers]) == 6
    assert " ".join(capsys.readouterr().out.split()).count("g0s1 is here more than once") == 1
    before = shipments.picture(both[worse])
    for extra in (["--dry-run"], []):
        assert sealift(["repair", *here, *signers, SCRATCH, *extra]) == 3
        words = " ".join(capsys.readouterr().out.split())
        assert f"{both[worse]}: {both[1 - worse]} is the same drive, lacks less" in words
        assert "lost:" not in words
    assert shipments.picture(both[worse]) == before
    assert sealift(["repair", fleet.mounts[0], both[1 - worse], *signers, SCRATCH, "--dry-run"]) == 3
    assert "would be written" not in capsys.readouterr().out


def test_of_two_drives_in_a_slot_of_which_a_report_tells_one_is_written():
    drives = FLEET.memory()
    twin = FLEET.memory()[1]
    twin.mount = "/mnt/twin"
    told = reported([*drives, twin])
    for drive in (drives[1], twin):
        drive.medium.files.pop(pack(1, 0))
    before = contents(twin)
    report = mend([*drives, twin], report=told)
    assert (report.state, [each.mount for each in report.repaired]) == ("repaired", ["/mnt/g0s1"])
    assert contents(twin) == before


@pytest.mark.long
def test_the_words_of_a_fetch_list_say_on_what_it_rests(tmp_path):
    fleet = fleets.make(tmp_path, seed=2, geometry=((2, 1), (2, 1)), lengths=[[BLOCK + 3, 9]])
    (tmp_path / "signers").write_bytes(fleet.allowed_bytes)
    mounts = fleet.mounts[:3]

    def run(command, *arguments):
        return subprocess.run(
            [sys.executable, "-m", "sealift", command, *mounts, *arguments, "--allowed-signers", tmp_path / "signers"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    told = tmp_path / "told.json"
    told.write_text(run("verify", "--json").stdout)
    done = run("repair", "--fetch-list")
    assert done.returncode == 0, done.stderr
    assert "every byte of the packs of 1 group can be recovered" in done.stderr
    assert "of one other group no drive is here" in done.stderr
    done = run("repair", "--fetch-list", "--report", told)
    assert done.returncode == 0, done.stderr
    assert "every byte of the packs" not in done.stderr
    assert f"that rests on {told}" in done.stderr
    assert "whether these still hold what they held when it was made, nobody has looked" in done.stderr
    done = run("repair", "--report", told)
    first = (
        "whole, as far as it is here: nothing is wrong with what the report names; of the rest every file is there in "
        "its length, and no more was looked at, and nothing was written; of group 1 no drive is here"
    )
    assert (done.returncode, done.stdout.startswith(first)) == (6, True), done.stdout


CUTS = st.tuples(st.integers(0, 3), st.integers(0, STRIPES - 1), st.sampled_from(["remove", "flip", "cut"]))


def spoil(drives, cuts):
    for slot, stripe, how in cuts:
        name = pack(slot, stripe)
        if how == "remove":
            drives[slot].medium.files.pop(name, None)
        elif name in drives[slot].medium.files and how == "flip":
            flip(drives[slot], name, 0)
        elif name in drives[slot].medium.files:
            drives[slot].put(name, bytes(drives[slot].medium.files[name])[: BLOCK - 5])


def told_of(report):
    return (
        {(each.drive, each.path) for each in report.repaired},
        {(each.stripe, each.role, each.first, each.last) for each in report.lost},
        report.bytes_written,
        {(fault.drive, fault.path) for fault in report.left},
    )


@pytest.mark.long
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CUTS, max_size=9), st.booleans(), st.booleans())
def test_a_dry_run_says_what_the_run_does(cuts, one_gone, by_report):
    drives = FLEET.memory()
    spoil(drives, cuts[: len(cuts) // 2] if by_report else cuts)
    here = drives[1:] if one_gone else drives
    more = {"report": reported(here)} if by_report else {}
    spoil(drives, cuts if by_report else [])
    before = [contents(drive) for drive in drives]
    said = mend(here, dry_run=True, **more)
    assert [contents(drive) for drive in drives] == before
    done = mend(here, **more)
    if by_report:  # which rot it meets beside, only rebuilding tells
        assert told_of(said)[:3] == told_of(done)[:3]
    else:
        assert told_of(said) == told_of(done)
        assert said.bytes_read == done.bytes_read
    assert bool(said.lost) == bool(done.lost)
    if done.lost:
        assert stage.exit_code(said) == stage.exit_code(done)


@pytest.mark.parametrize("slots", list(itertools.combinations(range(1, 4), 2)))
def test_a_dry_run_of_a_rebuild_sees_the_packs_that_are_not_there(slots, capsys):
    drives = FLEET.memory()
    for slot in slots:
        drives[slot].medium.files.pop(pack(slot, 1))

    def onto():
        return type(drives[0])("/mnt/new", type(drives[0].medium)())

    said, done = mend(drives[1:], onto=[onto()], dry_run=True), mend(drives[1:], onto=[onto()])
    assert told_of(said)[:2] == told_of(done)[:2]
    assert [(each.drive, each.stripe) for each in said.lost] == [("g0s0", 1)]
    assert stage.exit_code(said) == stage.exit_code(done) == 6
    repair_words.show(said)
    words = capsys.readouterr().out
    assert words.startswith("dry run: nothing was written; more is missing than parity holds")
    assert "nothing was read: what has rotted there is met when the drive is rebuilt" in words


def test_a_dry_run_says_what_nobody_could_prove():
    drives = FLEET.memory()
    flip(drives[1], pack(1, 0))
    for drive in drives:
        drive.put(mf.BLOCKS, bytes(len(GROUP.files[0][mf.BLOCKS])))
    said, done = mend(drives, dry_run=True), mend(drives)
    assert told_of(said) == told_of(done)
    assert [each.path for each in said.gone] == [mf.BLOCKS]
