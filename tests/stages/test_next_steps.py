"""What inspect, verify and repair say of odd company, a lost seal, folders of packs: true, and with what to do."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets

from sealift.cli import repair_words
from sealift.cli.main import run as sealift
from sealift.cli.unpack import tell
from sealift.drives.memory import Medium, MemoryDrive
from sealift.formats import manifest as mf
from sealift.reading.survey_views import NOBODYS_PACKS
from sealift.stages import repair as repairing
from sealift.stages import verify_names
from sealift.stages.inspect import inspect
from sealift.stages.unpack import Result
from sealift.stages.verify import verify
from sealift.stages.verify_report import Fault, exit_code, to_json

BLOCK = mf.BLOCK


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SEALIFT_ALLOWED_SIGNERS", raising=False)


@pytest.fixture
def fleet(tmp_path):
    made = fleets.make(tmp_path / "mnt", seed=81, geometry=((2, 1),), lengths=[[BLOCK + 9, 50], [70, 60]])
    (tmp_path / "signers").write_bytes(made.allowed_bytes)
    return made


@pytest.fixture
def ask(fleet, tmp_path, capsys):
    def run(command, *mounts, code, more=()):
        signers = ["--allowed-signers", str(tmp_path / "signers")]
        assert sealift([command, *(mounts or fleet.mounts), *signers, *more]) == code
        return capsys.readouterr().out

    return run


def steps(words):
    return [line.removeprefix("next: ") for line in words.splitlines() if line.startswith("next: ")]


def pack(slot, stripe, n=3, data=2):
    return mf.pack_name(stripe, mf.role_of(stripe, slot, n), data)


@pytest.fixture
def foreign(tmp_path):
    return fleets.make(tmp_path / "foreign", seed=82, lengths=[[30, 20]]).mounts[0]


def test_a_complete_shipment_stays_complete_beside_a_foreign_mount(fleet, foreign, tmp_path, ask):
    (tmp_path / "empty").mkdir()
    report = inspect([*fleet.mounts, foreign, str(tmp_path / "empty")], allowed=fleet.allowed)
    assert (report.state, exit_code(report)) == ("complete", 0)
    words = ask("inspect", *fleet.mounts, foreign, code=0)
    assert words.startswith("complete:")
    assert f"{foreign}: PULL: foreign" in words
    assert steps(words) == [f"pull {foreign}: it does not belong to this shipment as it was sealed"]
    assert inspect([*fleet.mounts[1:], foreign], allowed=fleet.allowed).state == "recoverable"
    (fleet.path(0, 0, "stray")).touch()
    assert inspect([*fleet.mounts, foreign], allowed=fleet.allowed).state == "recoverable"


def test_what_is_lost_whatever_comes_is_told_by_inspect_without_final(fleet, ask):
    for slot in (0, 1):
        fleet.path(0, slot, pack(slot, 0)).unlink()
    words = ask("inspect", code=4)
    assert words.startswith("LOST: some data cannot be recovered, whatever is still to come")
    assert "--fetch-list" in steps(words)[0]
    assert inspect(fleet.mounts[1:], allowed=fleet.allowed).state == "unseen", "the third may be whole"


def test_inspect_does_not_say_not_complete_where_every_drive_is_here(fleet, ask):
    fleet.path(0, 1, mf.OPEN_ME).unlink()
    assert ask("inspect", code=3).startswith("recoverable: every drive is here, not all of it as it should be")
    assert ask("inspect", *fleet.mounts[1:], code=3).startswith("recoverable: not complete")


@pytest.mark.parametrize("what", ["rot", "absent", "foreign", "stray", "lost", "unseen", "intact"])
def test_verify_says_what_to_do_next(fleet, foreign, ask, what):
    mounts, more, code, says = list(fleet.mounts), [], 3, ""
    if what == "rot":
        fleets.flip(fleet.path(0, 1, pack(1, 0)), 3)
        says = "`sealift repair` makes the drives whole"
    elif what == "absent":
        mounts, more, says = mounts[1:], ["--final"], "`sealift repair --onto MNT` makes it anew"
    elif what == "foreign":
        mounts, code, says = [*mounts, foreign], 0, f"pull {foreign}"
    elif what == "stray":
        fleet.path(0, 1, "stray").touch()
        says = "nobody signed what is unexpected: move it away"
    elif what == "lost":
        fleets.flip(fleet.path(0, 1, pack(1, 0)), 3)
        fleets.flip(fleet.path(0, 0, pack(0, 0)), 3)
        code, says = 4, "what must be sent again; unpack restores the rest and names the lost. what is packed again is"
    elif what == "unseen":
        mounts, code, says = mounts[1:], 6, "mount what is still to come"
    else:
        code = 0
    words = ask("verify", *mounts, code=code, more=more)
    if what == "intact":
        assert steps(words) == []
    else:
        assert any(says in line for line in steps(words)), words
        assert len(steps(words)) == 1, words
        assert words.splitlines()[-1].startswith("next: ")
    honest = "something is damaged or gone" not in words
    assert honest == (what not in {"rot", "absent"})


@pytest.mark.parametrize("what", ["packs", "OPEN-ME.txt"])
def test_what_stands_in_the_place_of_what_was_signed_is_no_mere_company(fleet, ask, tmp_path, what):
    fleet.path(0, 1, what).rename(tmp_path / "aside")
    if what == "packs":
        fleet.path(0, 1, what).write_bytes(b"?")
    else:
        fleet.path(0, 1, what).mkdir()
    for command in ("verify", "inspect"):
        words = ask(command, code=3)
        assert "as it was signed" not in words
        assert any("`sealift repair` makes the drives whole" in line for line in steps(words)), words


@pytest.mark.parametrize("what", ["foreign", "stray", "empty", "rot"])
def test_repair_says_of_what_it_does_not_mend_who_can(fleet, foreign, ask, tmp_path, what):
    mounts = list(fleet.mounts)
    if what == "foreign":
        mounts.append(foreign)
    elif what == "empty":
        (tmp_path / "empty").mkdir()
        mounts.append(str(tmp_path / "empty"))
    elif what == "stray":
        fleet.path(0, 1, "stray").touch()
    else:
        fleets.flip(fleet.path(0, 0, pack(0, 0)), 3)
        fleets.flip(fleet.path(0, 1, pack(1, 0)), 3)
    words = ask("repair", *mounts, code={"rot": 4, "foreign": 0}.get(what, 3))
    says = {
        "foreign": f"pull {foreign}",
        "stray": f"nobody signed sealift/stray on {fleet.mount(0, 1)}, and repair removes nothing: move it away",
        "empty": f"leave {tmp_path / 'empty'} away",
        "rot": "--fetch-list says what must be sent again. what is packed again is a shipment of its own: unpack it",
    }[what]
    assert any(says in line for line in steps(words)), words
    if what == "stray":
        assert words.startswith("what was signed is whole, of everything on the drives here")
    elif what == "foreign":
        assert words.startswith("whole: nothing is wrong, and nothing was written")
    assert "still wrong" not in words or what not in {"foreign", "stray"}


def test_repair_says_of_many_files_that_nobody_signed_in_one_line(fleet, ask):
    for number in range(17):
        fleet.path(0, 1, f"journal-{number:02}.age").touch()
    fleet.path(0, 0, "stray").touch()
    told = [line for line in steps(ask("repair", code=3)) if "nobody signed" in line]
    assert len(told) == 2, told
    assert any(
        f"nobody signed 17 files on {fleet.mount(0, 1)} (sealift/journal-00.age and 16 more" in line for line in told
    )
    assert any("nobody signed sealift/stray on" in line for line in told)


def test_repair_says_how_much_it_read(fleet, ask):
    assert "read 0 B" not in ask("repair", code=0)
    fleets.flip(fleet.path(0, 1, mf.OPEN_ME), 3)
    words = ask("repair", code=0)
    assert "to find what is wrong" in words
    assert "read 0 B" not in words
    assert "read 0 B" not in ask("repair", code=0, more=["--dry-run"])
    fleet.path(0, 1, mf.SUMS).unlink()
    assert "about 0 B" not in ask("repair", code=3, more=["--dry-run"])


def without_seal(fleet, slot):
    shutil.rmtree(fleet.path(0, slot, "seal"))


def test_a_drive_without_the_seal_is_told_and_gets_it_back(fleet, ask):
    without_seal(fleet, 1)
    for command in ("verify", "inspect"):
        words = ask(command, code=0)
        assert f"note: {fleet.mount(0, 1)}: g0s1 has no copy of the seal, and others here have it" in words
    report = repairing.repair(fleet.mounts, allowed=fleet.allowed)
    assert (report.state, sorted(each.path for each in report.repaired)) == ("repaired", sorted(mf.SEAL_FILES))
    for name, data in fleet.seal_files.items():
        assert fleet.path(0, 1, name).read_bytes() == data
    assert repairing.repair(fleet.mounts, allowed=fleet.allowed).state == "whole"
    assert "no copy of the seal" not in ask("verify", code=0)


def test_drives_of_which_none_has_the_seal_are_intact_and_get_the_one_that_is_given(fleet):
    for slot in range(3):
        without_seal(fleet, slot)
    assert repairing.repair(fleet.mounts, allowed=fleet.allowed).state == "whole"
    report = verify(fleet.mounts, allowed=fleet.allowed, seal=fleet.seal_files, remember=False)
    assert report.state == "intact"
    report = repairing.repair(fleet.mounts, allowed=fleet.allowed, seal=fleet.seal_files)
    assert (report.state, report.repaired_files) == ("repaired", 3 * len(mf.SEAL_FILES))
    assert verify(fleet.mounts, allowed=fleet.allowed, remember=False).state == "intact"


def test_a_seal_that_does_not_hold_is_put_on_no_drive(fleet):
    without_seal(fleet, 1)
    for slot in (0, 2):
        fleets.flip(fleet.path(0, slot, mf.SEAL_FILES[0]), 20)
    repairing.repair(fleet.mounts, allowed=fleet.allowed)
    assert not fleet.path(0, 1, "seal").exists()


# Folders with packs that were sent again


def bag_of(fleet, folder, *places):
    for slot, stripe in places:
        path = folder / "sealift" / pack(slot, stripe)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(fleet.groups[0].files[slot][pack(slot, stripe)])
    return str(folder)


def test_a_folder_of_packs_is_read_and_the_drive_is_mended_in_one_run(fleet, ask, tmp_path):
    """Two of three packs of a stripe are rotten: one comes back in a folder, and both drives are mended at once."""
    for slot in (0, 1):
        fleets.flip(fleet.path(0, slot, pack(slot, 0)), 3)
    bag = bag_of(fleet, tmp_path / "bag", (1, 0))
    before = sorted(path.relative_to(bag) for path in Path(bag).rglob("*"))
    words = ask("repair", *fleet.mounts, bag, code=0)
    assert words.startswith("repaired: everything on the drives here is as it was signed")
    assert "still wrong" not in words
    assert "conflict" not in words
    assert f"note: {bag} holds packs of g0s1 and nothing else of a drive: they are read, and nothing is" in words
    assert sorted(path.relative_to(bag) for path in Path(bag).rglob("*")) == before
    assert verify(fleet.mounts, allowed=fleet.allowed, remember=False).state == "intact"


def test_a_pack_of_any_stripe_that_is_brought_is_known_for_what_it_is(tmp_path):
    """A drive is known by packs of a few stripes; of a folder to which one pack was brought it is that one."""
    fleet = fleets.make(tmp_path / "mnt", seed=83, geometry=((2, 1),), lengths=[[9, 9]] * 17)
    for stripe in (1, 15, 16):
        for slot in (0, 1):
            fleets.flip(fleet.path(0, slot, pack(slot, stripe)), 3)
    bags = []
    for stripe in (1, 15, 16):
        assert repairing.repair(fleet.mounts + bags, allowed=fleet.allowed, dry_run=True).state == "lost"
        bags.append(bag_of(fleet, tmp_path / f"bag-{stripe}", (1, stripe)))
    report = repairing.repair(fleet.mounts + bags, allowed=fleet.allowed)
    assert (report.state, report.left, repairing.exit_code(report)) == ("repaired", [], 0)
    assert verify(fleet.mounts, allowed=fleet.allowed, remember=False).state == "intact"


def test_verify_and_inspect_know_a_folder_of_packs_for_no_drive(fleet, ask, tmp_path):
    """What it has counts, the drive is missing, and nothing is in conflict; a pack in it that is no good is named."""
    bag = bag_of(fleet, tmp_path / "bag", (1, 0))
    for report in (
        verify([*fleet.mounts[:1], fleet.mounts[2], bag], allowed=fleet.allowed, seal=fleet.seal_files, remember=False),
        inspect([*fleet.mounts[:1], fleet.mounts[2], bag], allowed=fleet.allowed, seal=fleet.seal_files),
    ):
        (group,) = report.groups
        assert [each.drive for each in group.missing] == ["g0s1"]
        assert [(each.mount, each.bag) for each in group.present if each.bag] == [(bag, True)]
        assert (report.faults, report.signature is None or report.signature.ok) == ([], True)
    words = ask("verify", fleet.mounts[0], fleet.mounts[2], bag, code=6)
    assert f"packs of g0s1, and nothing else of it, {bag}: read" in words
    for slot in (0, 1):
        fleets.flip(fleet.path(0, slot, pack(slot, 0)), 3)
    words = ask("verify", *fleet.mounts, bag, code=3)
    assert "conflict" not in words
    bag_of(fleet, tmp_path / "bag", (1, 1))
    fleets.flip(Path(bag) / "sealift" / pack(1, 1), 3)
    words = ask("verify", *fleet.mounts, bag, code=3)
    assert f"packs of g0s1, and nothing else of it, {bag}: NO GOOD: rotten {pack(1, 1)}" in words


def test_a_folder_of_packs_is_not_the_drive(fleet, tmp_path):
    """Drives 0 and 1 are lost; all packs of drive 1 come in a folder; drive 0 is rebuilt from that onto a new drive."""
    bag = bag_of(fleet, tmp_path / "bag", (1, 0), (1, 1))
    (tmp_path / "new").mkdir()
    report = repairing.repair([fleet.mounts[2], bag], allowed=fleet.allowed)
    assert (report.missing, report.short, repairing.exit_code(report)) == (["g0s0", "g0s1"], [], 3)
    onto = [f"g0s0={tmp_path / 'new'}"]
    report = repairing.repair([fleet.mounts[2], bag], allowed=fleet.allowed, onto=onto, allow_same_filesystem=True)
    assert (report.rebuilt, report.missing, report.left) == (["g0s0"], ["g0s1"], [])
    report = repairing.repair([fleet.mounts[2], bag, str(tmp_path / "new")], allowed=fleet.allowed)
    assert (report.missing, report.left, report.repaired) == (["g0s1"], [], [])
    assert not (tmp_path / "bag" / "sealift" / mf.MANIFEST).exists()


def test_a_folder_without_enough_packs_is_not_counted_as_the_drive(fleet, tmp_path):
    bag = bag_of(fleet, tmp_path / "bag", (1, 1))
    report = repairing.repair([fleet.mounts[2], bag], allowed=fleet.allowed)
    assert (report.short, repairing.exit_code(report)) == ([0], 6)


@pytest.mark.parametrize("packs", [2, 1], ids=["all-packs", "half-of-them"])
def test_a_drive_that_lost_all_its_small_files_is_one_if_it_has_most_of_its_packs(packs):
    """Where it is a filesystem of its own: a folder of packs is only read."""
    fleet = fleets.make(Path("/nowhere"), seed=84, geometry=((2, 1),), lengths=[[70, 60]] * 2, on_disk=False)
    drives = fleet.memory()
    files, serial = drives[1].medium.files, fleet.groups[0].manifest.drives[1].serial
    drives[1].medium.serial = serial
    for name in list(files):
        if not name.startswith("packs/") or (packs == 1 and name == pack(1, 1)):
            files.pop(name)
    report = repairing.repair(drives, allowed=fleet.allowed)
    if packs == 1:
        assert (report.missing, set(files)) == (["g0s1"], {pack(1, 0)})
        return
    assert (report.state, report.missing, repairing.exit_code(report)) == ("repaired", [], 0)
    assert not mf.decode_card(bytes(files[mf.CARD])).rebuilt
    for name in [name for name in files if not name.startswith("packs/")]:
        files.pop(name)
    for of in ("OF A COURIER", None):  # packs on a disk of somebody's
        drives[1].medium.serial = of
        report = repairing.repair(drives, allowed=fleet.allowed)
        assert (report.missing, all(name.startswith("packs/") for name in files)) == (["g0s1"], True)
    drives[1].medium.serial = serial
    twin = MemoryDrive("/mnt/twin", Medium())  # the drive itself, which lost a pack of them
    twin.medium.files |= fleet.memory()[1].medium.files
    twin.medium.files.pop(pack(1, 0))
    twin.medium.exists = True
    report = repairing.repair([*drives, twin], allowed=fleet.allowed)
    assert (report.state, {each.mount for each in report.repaired}) == ("repaired", {"/mnt/twin"})
    assert all(name.startswith("packs/") for name in files)
    twin.medium.files.clear()
    twin.medium.exists = False
    assert repairing.repair(drives, allowed=fleet.allowed, seal=fleet.seal_files).state == "repaired"
    assert set(mf.SEAL_FILES) <= files.keys(), "the seal, too, at once"
    assert repairing.repair(drives, allowed=fleet.allowed, seal=fleet.seal_files).repaired_files == 0
    assert verify(drives, allowed=fleet.allowed, remember=False).state == "intact"


def test_a_drive_without_anything_that_could_be_signed_is_not_known_and_no_forgery(fleet):
    """Nobody has checked a signature; and it spoils no verdict over the others."""
    for name in (mf.MANIFEST, mf.SIGNATURE, mf.CARD):
        fleet.path(0, 1, name).unlink()
    alone = verify(fleet.mounts[1:2], allowed=fleet.allowed, seal=fleet.seal_files, remember=False)
    assert (alone.signature.ok, alone.state, exit_code(alone)) == (True, "unseen", 6)
    others = {"allowed": fleet.allowed, "seal": fleet.seal_files, "remember": False}
    seen, part = verify([fleet.mounts[0], fleet.mounts[2]], **others), json.dumps(to_json(alone)).encode()
    joined = verify([fleet.mounts[0], fleet.mounts[2]], parts=[("part.json", part)], **others)
    assert (joined.signature.ok, joined.state) == (True, seen.state)
    unsealed = verify(fleet.mounts[1:2], allowed=fleet.allowed, remember=False)
    assert (unsealed.signature.ok, exit_code(unsealed)) == (False, 5), "nor is it known whose it is"


def test_a_drive_that_lost_its_small_files_but_one_is_still_a_drive(fleet):
    for name in fleet.groups[0].files[1].keys() - {mf.SUMS}:
        if not name.startswith("packs/"):
            fleet.path(0, 1, name).unlink()
    report = repairing.repair(fleet.mounts, allowed=fleet.allowed)
    assert report.state == "repaired"
    assert verify(fleet.mounts, allowed=fleet.allowed, remember=False).state == "intact"


def test_what_nobody_signed_is_named_by_its_uppermost_folder_and_never_as_all_of_sealift(fleet, ask, monkeypatch):
    fleet.path(0, 1, "packs/a" + "/a" * 30).mkdir(parents=True)
    monkeypatch.setattr(verify_names, "MAX_UNEXPECTED", 5)
    monkeypatch.setattr(verify_names, "MAX_STRANGE", 40)
    for number in range(50):
        fleet.path(0, 0, f"packs/0000/junk{number}").touch()
    for number in range(9):
        fleet.path(0, 2, f"junk{number}").touch()
    told = [line for line in steps(ask("repair", code=3)) if "nobody signed" in line]
    assert told[0].startswith(
        f"nobody signed over 5 files on {fleet.mount(0, 0)}, most of them in sealift/packs/0000, "
    )
    assert told[1] == (
        f"nobody signed sealift/packs/a on {fleet.mount(0, 1)}, and repair removes nothing: move it away yourself"
    )
    assert told[2].startswith(f"nobody signed over 5 files on {fleet.mount(0, 2)}, most of them in sealift/ itself")
    for command in ("inspect", "verify"):
        words = ask(command, code=3)
        assert "`sealift repair` makes the drives whole" not in words
        assert "nobody signed what is unexpected: move it away" in words
    shutil.move(fleet.path(0, 1, "packs/a"), fleet.root / "aside")
    assert not any(str(fleet.mount(0, 1)) in line for line in steps(ask("repair", code=3)))


@pytest.mark.parametrize("how", ["all zero", "a bit in each"])
def test_a_drive_that_nothing_tells_which_it_is_is_left_away_and_made_anew(fleet, ask, tmp_path, how):
    for path in fleet.path(0, 1, "").rglob("*"):
        if path.is_file() and how == "all zero":
            path.write_bytes(bytes(path.stat().st_size))
        elif path.is_file():
            fleets.flip(path, 8 * (path.stat().st_size // 2))
    where = f"nothing on {fleet.mount(0, 1)} tells which drive it is"
    for command in ("inspect", "verify", "repair"):
        told = steps(ask(command, code=3, more=["--final"] * (command != "repair")))
        assert [line for line in told if where in line and "--onto MNT` makes that anew" in line], told
        false = ("ask the origin", "whole seal", "drives whole")
        assert not any(words in line for line in told for words in false), told
    (tmp_path / "new").mkdir()
    new = str(tmp_path / "new")
    told = steps(ask("repair", code=3, more=["--onto", new, "--allow-same-filesystem"]))
    assert not any("without --onto" in line for line in told), told
    words = ask("verify", *fleet.mounts, new, code=3)
    assert words.startswith("recoverable: every byte is as it was signed, and something else stands or lies among it")
    words = ask("repair", *fleet.mounts, new, code=3)
    assert words.startswith("what was signed is whole, of everything on the drives here that can be told")
    assert steps(words) == [f"{where}, so much of it is damaged. leave it away: no drive is missing without it"]
    ask("repair", fleet.mount(0, 0), fleet.mount(0, 2), new, code=0)


@pytest.mark.parametrize("how", ["link", "pipe", "rotten"])
def test_a_brought_pack_that_is_no_file_is_not_called_rotten(fleet, ask, tmp_path, how):
    bag = bag_of(fleet, tmp_path / "bag", (1, 0))
    path = Path(bag, "sealift", pack(1, 0))
    if how == "rotten":
        fleets.flip(path, 3)
    else:
        path.rename(tmp_path / "aside")
        path.symlink_to(tmp_path / "aside") if how == "link" else os.mkfifo(path)
    says = "once more: its packs are rotten" if how == "rotten" else f"as a file: sealift/{pack(1, 0)} is a link,"
    for command in ("inspect", "verify", "repair"):
        words = ask(command, *fleet.mounts, bag, code=3)
        (step,) = steps(words)
        assert step.startswith(f"bring what is at {bag} {says}")
        assert how == "rotten" or "rotten" not in words


def test_packs_of_two_drives_in_one_folder_are_told_as_that_and_not_as_damaged(tmp_path, capsys):
    fleet = fleets.make(tmp_path / "mnt", seed=84, geometry=((2, 1),), lengths=[[BLOCK + 9, 50]] * 4)
    (tmp_path / "signers").write_bytes(fleet.allowed_bytes)
    bag = bag_of(fleet, tmp_path / "bag", (1, 0), (1, 1))
    bag_of(fleet, tmp_path / "bag", (0, 2))
    for command, code in (("inspect", 3), ("verify", 3), ("repair", 0)):
        assert sealift([command, *fleet.mounts, bag, "--allowed-signers", str(tmp_path / "signers")]) == code
        words = capsys.readouterr().out
        assert f"{bag}: packs of several drives are in one folder" in words
        assert "otherwise than signed" not in words
        assert "rotten" not in words
        assert "drives whole" not in words
    (fault,) = verify([*fleet.mounts, bag], allowed=fleet.allowed, remember=False).faults
    assert (fault.kind, fault.path, fault.detail.partition(":")[0]) == ("unexpected", pack(0, 2), "a pack of g0s0")


def test_a_drive_on_which_sealift_is_no_folder_has_that_moved_away(fleet, ask):
    shutil.rmtree(fleet.path(0, 1, ""))
    Path(fleet.mount(0, 1), "sealift").touch()
    told = steps(ask("repair", code=3))
    assert f"sealift on {fleet.mount(0, 1)} is no folder, and repair removes nothing: move it away yourself" in told


def test_a_drive_that_lost_its_small_files_is_mended_where_it_stands(fleet, ask):
    """Its medium tells no serial number, so that it may be packs that were brought, and nothing more."""
    for path in fleet.path(0, 1, "").rglob("*"):
        if path.is_file() and "packs" not in path.parts:
            path.unlink()
    where = fleet.mount(0, 1)
    way = f"{where} holds most packs of g0s1. if it is that drive, and lost its small files: put manifest.json of"
    for command, code in (("verify", 6), ("inspect", 3), ("repair", 3)):
        told = steps(ask(command, code=code))
        assert told[0].startswith(way), told
        assert not any("still to come" in line for line in told)
        assert all("--onto MNT" in line for line in told[1:])
    shutil.copy(fleet.path(0, 0, mf.MANIFEST), fleet.path(0, 1, mf.MANIFEST))
    assert ask("repair", code=0).startswith("repaired: ")
    assert ask("verify", code=0).startswith("intact: ")


def test_packs_that_were_brought_are_not_told_to_be_that_drive(fleet, ask, tmp_path):
    few = bag_of(fleet, tmp_path / "few", (1, 0))
    most = bag_of(fleet, tmp_path / "most", (1, 0), (1, 1))
    for bag, mounts in ((few, [fleet.mount(0, 0), fleet.mount(0, 2), few]), (most, [*fleet.mounts, most])):
        for command in ("inspect", "repair"):
            words = ask(command, *mounts, code=3 if bag == few else 0)
            assert "if it is that drive" not in words


@pytest.mark.parametrize("ignored", ["packs are there, and nothing here says whose: all drives", "a drive of shipment"])
def test_unpack_sends_to_inspect_where_drives_of_a_group_are_here_and_lost_what_says_so(capsys, ignored):
    why = NOBODYS_PACKS if ignored in NOBODYS_PACKS else ignored
    group = {"group": 0, "drives": ["g0s0"], "files": 3, "bytes": 5}
    tell(Result(missing_groups=[group], ignored=[("/mnt/d0", why)]), "out")
    said = capsys.readouterr().err
    assert ("of drives that are ignored `sealift inspect` says what they lack" in said) == (why == NOBODYS_PACKS)
    assert ("mounted too, but for those that are mounted and ignored" in said) == (why == NOBODYS_PACKS)


@pytest.mark.parametrize("missing", [[], ["g0s2 (serial S2)"]])
def test_unpack_names_the_fetch_list_also_where_drives_are_missing(capsys, missing):
    tell(Result(failed=[(b"a", "lost")], missing_drives=missing), "out")
    assert "`sealift repair MNT... --fetch-list` says what must be sent again" in capsys.readouterr().err


@pytest.fixture
def two_groups(tmp_path):
    """Mounts of both groups, and the signers."""
    made = fleets.make(tmp_path / "mnt", seed=82, geometry=((2, 1), (2, 1)), lengths=[[BLOCK + 9, 50]])
    (tmp_path / "signers").write_bytes(made.allowed_bytes)
    return made


def test_of_a_group_without_any_drive_no_fetch_list_is_promised(two_groups, tmp_path, capsys):
    mounts, signers = list(two_groups.mounts[:3]), ["--allowed-signers", str(tmp_path / "signers")]
    anew = "where all its drives are lost, what was in it is packed anew at the origin"
    for command in ("inspect", "verify"):
        assert sealift([command, *mounts, *signers, "--final"]) == 4
        (told,) = steps(capsys.readouterr().out)
        assert told.startswith("unpack restores the rest; ")
        assert anew in told
        assert "--fetch-list" not in told
    assert sealift(["repair", *mounts, *signers, "--fetch-list"]) == 0
    assert f"{anew}, from the same source, as a shipment of its own" in capsys.readouterr().err
    (tmp_path / "new").mkdir()
    onto = ["--onto", str(tmp_path / "new"), "--allow-same-filesystem"]
    assert sealift(["repair", *mounts, *signers, *onto]) == 1
    assert "no drive is missing of the groups that are here; nothing was written" in capsys.readouterr().err
    for slot, stripe in ((0, 0), (1, 0)):
        two_groups.path(0, slot, pack(slot, stripe)).unlink()
    assert sealift(["verify", *mounts, *signers, "--final"]) == 4
    told = steps(capsys.readouterr().out)
    assert any("--fetch-list` says what must be sent again" in line for line in told), told
    assert any(anew in line for line in told), told


def test_repair_asks_for_the_seal_where_it_is_gone_from_all_drives(fleet, ask):
    for slot in range(3):
        shutil.rmtree(fleet.path(0, slot, "seal"))
    assert steps(ask("repair", code=0)) == [
        "no drive here has the whole seal: give the file that was sent ahead (--seal FILE)"
    ]


def test_what_nobody_signed_does_not_hide_what_is_wrong(fleet, ask):
    for number in range(1100):
        fleet.path(0, 0, f"stray{number:04d}").touch()
    for slot in range(3):
        fleet.path(0, slot, mf.SIGNATURE).unlink()
    lines = ask("repair", code=5).splitlines()
    strays = [at for at, line in enumerate(lines) if line.startswith("  not signed: ")]
    wrong = [at for at, line in enumerate(lines) if line.startswith("  still wrong: ")]
    assert wrong
    assert max(wrong) < min(strays)
    assert sum("a file that the manifest does not name" in lines[at] for at in strays) == 5
    assert lines[strays[5]] == f"  not signed: 995 more on {fleet.mount(0, 0)} (--json names them)"
    assert "holds most of 100 more" in lines[strays[6]]


@pytest.mark.parametrize("how", ["gone", "altered"])
def test_one_drive_without_its_manifest_is_told_of_as_one(fleet, tmp_path, capsys, how):
    manifest = fleet.path(0, 0, mf.MANIFEST)
    if how == "gone":
        manifest.unlink()
    else:
        fleets.flip(manifest, 800)
    sealift(["verify", fleet.mount(0, 0), "--allowed-signers", str(tmp_path / "signers")])
    told = capsys.readouterr().err
    where = fleet.mount(0, 0)
    one = "is gone from {}: it is of shipment" if how == "gone" else "on {} is not the one that the seal names"
    assert one.format(where) in told
    assert "they" not in told.splitlines()[0]


@pytest.mark.parametrize(
    ("names", "said"),
    [(["drive.json"], "1 of its small files is"), (["drive.json", "B3SUMS"], "2 of its small files are")],
)
def test_what_a_drive_lacks_that_nothing_tells_which_it_is_is_counted(names, said):
    where = "/mnt/x"
    faults = [Fault(kind="rotten", block=None, drive=where, mount=where, path=name, detail="zeros") for name in names]
    (line,) = repair_words._left(faults)
    assert f"{said} damaged or gone" in line
