"""One odd entry on one drive is a fault of that drive: all else is mended, and what is not ours to remove is named."""

import itertools
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets

from sealift.cli.main import run as sealift
from sealift.errors import Busy
from sealift.formats import manifest as mf
from sealift.stages import repair as stage
from sealift.stages.repair_plan import Events

BLOCK = mf.BLOCK


@pytest.fixture(autouse=True)
def _state(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.fixture
def fleet(tmp_path):
    return fleets.make(tmp_path / "mnt", seed=51, geometry=((2, 2),), lengths=[[2 * BLOCK + 9, BLOCK], [70, 9]])


@pytest.fixture
def tight(tmp_path):
    return fleets.make(tmp_path / "mnt", seed=51, geometry=((2, 1),), lengths=[[2 * BLOCK + 9, BLOCK], [70, 9]])


def pack(fleet, slot, stripe):
    group = fleet.groups[0]
    return mf.pack_name(stripe, mf.role_of(stripe, slot, group.n), group.data)


def packs_is_a_file(fleet):
    packs = fleet.path(0, 1, "packs")
    packs.rename(fleet.root / "packs-aside")
    packs.write_bytes(b"?")
    return "packs"


def packs_folder_is_a_link(fleet):
    folder = fleet.path(0, 1, "packs/0000")
    folder.rename(fleet.root / "0000-aside")
    folder.symlink_to(fleet.root / "0000-aside")
    return "packs/0000"


def pack_is_a_folder(fleet):
    path = fleet.path(0, 1, pack(fleet, 1, 0))
    path.unlink()
    (path / "below").mkdir(parents=True)
    return pack(fleet, 1, 0)


def is_a_link(name, part=""):
    def odd(fleet):
        path = fleet.path(0, 1, name(fleet))
        path.rename(fleet.root / "aside")
        (path.parent / (path.name + part)).symlink_to(fleet.root / "aside")
        return name(fleet) + part

    odd.__name__ = f"{name.__name__}_is_a_link{part}"
    return odd


def is_a_pipe(name, part=""):
    def odd(fleet):
        path = fleet.path(0, 1, name(fleet))
        path.unlink()
        os.mkfifo(path.parent / (path.name + part))
        return name(fleet) + part

    odd.__name__ = f"{name.__name__}_is_a_pipe{part}"
    return odd


def first_pack(fleet):
    return pack(fleet, 1, 0)


def open_me(_fleet):
    return mf.OPEN_ME


def card(_fleet):
    return mf.CARD


def the_manifest(_fleet):
    return mf.MANIFEST


def hashes(_fleet):
    return mf.BLOCKS


def the_index(_fleet):
    return mf.MEMBERS_INDEX


def part_is_a_folder(fleet):
    path = fleet.path(0, 1, pack(fleet, 1, 0))
    path.unlink()
    (path.parent / (path.name + ".part")).mkdir()
    return pack(fleet, 1, 0) + ".part"


def part_of_open_me_is_a_folder(fleet):
    fleet.path(0, 1, mf.OPEN_ME).unlink()
    fleet.path(0, 1, mf.OPEN_ME + ".part").mkdir()
    return mf.OPEN_ME + ".part"


def open_me_is_a_folder(fleet):
    path = fleet.path(0, 1, mf.OPEN_ME)
    path.unlink()
    path.mkdir()
    return mf.OPEN_ME


def index_is_a_file(fleet):
    folder = fleet.path(0, 1, "index")
    folder.rename(fleet.root / "index-aside")
    folder.write_bytes(b"")
    return "index"


SHOWN_BY_WRITING = [
    part_is_a_folder,
    part_of_open_me_is_a_folder,
    is_a_link(first_pack, ".part"),
    is_a_pipe(open_me, ".part"),
]
ODD = [
    packs_is_a_file,
    packs_folder_is_a_link,
    pack_is_a_folder,
    open_me_is_a_folder,
    index_is_a_file,
    *(is_a_link(name) for name in (first_pack, open_me, card, the_manifest, hashes, the_index)),
    *(is_a_pipe(name) for name in (first_pack, open_me, card, the_manifest, hashes, the_index)),
    *SHOWN_BY_WRITING,
]


@pytest.mark.parametrize("odd", ODD)
def test_it_is_told_and_everything_else_is_mended(fleet, odd):
    path = odd(fleet)
    fleets.flip(fleet.path(0, 0, pack(fleet, 0, 1)), 9)
    fleets.flip(fleet.path(0, 1, mf.SUMS), 9)
    kept = fleet.path(0, 1, path).lstat()
    dry = stage.repair(fleet.mounts, allow_same_filesystem=True, allowed=fleet.allowed, dry_run=True)
    report = stage.repair(fleet.mounts, allow_same_filesystem=True, allowed=fleet.allowed)
    assert {(each.drive, each.path) for each in report.repaired} >= {("g0s0", pack(fleet, 0, 1)), ("g0s1", mf.SUMS)}
    now = fleet.path(0, 1, path).lstat()
    assert (now.st_ino, now.st_mtime_ns) == (kept.st_ino, kept.st_mtime_ns)
    if odd not in SHOWN_BY_WRITING:
        assert [each.path for each in dry.in_the_way] == [path]
    assert [(each.mount, each.path) for each in report.in_the_way] == [(fleet.mount(0, 1), path)]
    told = [fault for fault in report.left if fault.path == path]
    assert len(told) == 1
    assert (told[0].drive, told[0].kind) == ("g0s1", "unexpected")
    assert "move it away" in told[0].detail
    if (fleet.root / "aside").exists():
        assert fleet.path(0, 1, path).readlink() == fleet.root / "aside", "and a link leads where it did"
    assert report.left == told, "and what is beneath it is not named once more"
    assert (report.state, stage.exit_code(report), report.lost) == ("damaged", 3, [])
    parts = [name for _, _, names in os.walk(fleet.root) for name in names if name.endswith(".part")]
    assert set(parts) <= {os.path.basename(path)}


@pytest.mark.parametrize("odd", ODD[:3])
def test_moved_away_the_same_command_ends_it(fleet, odd):
    path = fleet.path(0, 1, odd(fleet))
    stage.repair(fleet.mounts, allow_same_filesystem=True, allowed=fleet.allowed)
    path.rename(fleet.root / "moved")
    report = stage.repair(fleet.mounts, allow_same_filesystem=True, allowed=fleet.allowed)
    assert (report.state, stage.exit_code(report)) == ("repaired", 0)
    assert stage.repair(fleet.mounts, allow_same_filesystem=True, allowed=fleet.allowed).state == "whole"


def test_the_command_says_what_to_move(fleet, tmp_path, capsys):
    (tmp_path / "signers").write_bytes(fleet.allowed_bytes)
    path = packs_is_a_file(fleet)
    assert (
        sealift(["repair", *fleet.mounts, "--allow-same-filesystem", "--allowed-signers", str(tmp_path / "signers")])
        == 3
    )
    words = capsys.readouterr().out
    assert f"next: move sealift/{path} on {fleet.mount(0, 1)} away" in words
    assert words.count("\nnext: ") == 1


def test_what_stays_damaged_behind_it_is_lost_where_it_is_needed(tight):
    """d1's packs cannot be written, and another pack of the same column is rotten: 2+1 cannot give that."""
    packs_is_a_file(tight)
    fleets.flip(tight.path(0, 0, pack(tight, 0, 0)), 9)
    for dry_run in (True, False):
        report = stage.repair(tight.mounts, allowed=tight.allowed, dry_run=dry_run)
        assert report.state == "lost"
        assert stage.exit_code(report) == 4
        assert {each.stripe for each in report.lost} == {0}


def test_two_drives_whose_packs_are_in_the_way_are_lost_though_nothing_was_tried(tight):
    for slot in (0, 1):
        packs = tight.path(0, slot, "packs")
        packs.rename(tight.root / f"packs-{slot}")
        packs.write_bytes(b"?")
    report = stage.repair(tight.mounts, allowed=tight.allowed)
    assert (report.state, stage.exit_code(report)) == ("lost", 4)
    assert {each.stripe for each in report.lost} == {0, 1}


def test_drives_in_memory_tell_the_same():
    for kind in ("file", "link", "folder"):
        fleet = fleets.make(Path("/nowhere"), seed=52, geometry=((2, 1),), lengths=[[BLOCK, 5]], on_disk=False)
        drives = fleet.memory()
        name = pack(fleet, 1, 0)
        del drives[1].medium.files[name]
        where = name if kind == "folder" else "packs/0000"
        drives[1].put(where, b"?" if kind == "file" else kind)
        report = stage.repair(drives, allowed=fleet.allowed)
        assert [each.path for each in report.in_the_way] == [where]
        assert drives[1].medium.files[where] == (b"?" if kind == "file" else kind)


def test_a_dry_run_says_exactly_what_is_read_where_a_pack_is_cut_short():
    """In packs of unequal length: a block that some packs of its stripe do not reach takes fewer others to solve."""
    lengths = [[2 * BLOCK + 9, BLOCK, BLOCK + 1], [5 * BLOCK, 3 * BLOCK + 7, BLOCK]]
    fleet = fleets.make(Path("/nowhere"), seed=8, geometry=((3, 2),), lengths=lengths, on_disk=False)
    for stripe, slot, lost in itertools.product(range(2), range(5), (None, 1)):
        drives = fleet.memory()
        whole = drives[slot].medium.files[pack(fleet, slot, stripe)]
        drives[slot].put(pack(fleet, slot, stripe), whole[: len(whole) // 2])
        here = [drive for number, drive in enumerate(drives) if number != lost]
        said = stage.repair(here, allowed=fleet.allowed, dry_run=True)
        done = stage.repair(here, allowed=fleet.allowed)
        assert (said.bytes_read, said.bytes_written) == (done.bytes_read, done.bytes_written), (stripe, slot, lost)
        assert (done.bytes_written > 0) == (slot != lost)


@pytest.mark.parametrize("lengths", [[[5 * BLOCK] * 2], [[5 * BLOCK, 0]]])
def test_a_dry_run_ends_where_more_packs_are_good_than_it_takes(lengths):
    """Wanted packs that are damaged elsewhere, or have ended, count for a block: more than k of them may."""
    fleet = fleets.make(Path("/nowhere"), seed=9, geometry=((2, 3),), lengths=lengths, on_disk=False)
    drives = fleet.memory()
    for block, slot in enumerate((0, 1, 2, 4)):
        name = pack(fleet, slot, 0)
        data = bytearray(drives[slot].medium.files.get(name, b""))
        if data:
            data[block * BLOCK + 3] ^= 1
            drives[slot].put(name, bytes(data))
    said = stage.repair(drives, allowed=fleet.allowed, dry_run=True)
    done = stage.repair(drives, allowed=fleet.allowed)
    assert (said.bytes_read, said.bytes_written) == (done.bytes_read, done.bytes_written)
    assert done.state == "repaired"


@pytest.mark.parametrize("onto", [False, True])
def test_a_dry_run_counts_what_is_read_of_packs_that_were_brought(onto):
    """Of copies of a pack each is read until one has the block whole: a folder of packs beside the drive, or alone."""
    lengths = [[4 * BLOCK + 9, 3 * BLOCK, 5 * BLOCK]]
    fleet = fleets.make(Path("/nowhere"), seed=10, geometry=((3, 2),), lengths=lengths, on_disk=False)
    for drive_block, bag_block in itertools.product((None, 1, 2), repeat=2):
        drives = fleet.memory()
        name = pack(fleet, 1, 0)
        bag = type(drives[0])("/mnt/bag", type(drives[0].medium)())
        for drive, block in ((bag, bag_block), (drives[1], drive_block)):
            data = bytearray(drives[1].medium.files[name])
            if block is not None:
                data[block * BLOCK + 3] ^= 1
            drive.put(name, bytes(data))
        if drive_block is None and not onto:
            del drives[1].medium.files[name]
        given = [{"onto": [("g0s1", type(drives[0])("/mnt/new", type(drives[0].medium)()))]}] if onto else [{}]
        here = [drives[0], *drives[2:], bag] if onto else [*drives, bag]
        said, done = (stage.repair(here, allowed=fleet.allowed, dry_run=dry, **given[0]) for dry in (True, False))
        assert done.state == ("rebuilt" if onto else "repaired")
        assert said.bytes_written == done.bytes_written
        if not onto or bag_block is None:  # of a new drive's dry run, that the bag has rotted is not known
            assert said.bytes_read == done.bytes_read, (drive_block, bag_block)


@pytest.mark.long
def test_a_dry_run_foretells_what_is_read_and_written(tmp_path):
    """Missing, rotten in one block, cut, grown; one or two of a stripe; where packs are of unequal length."""
    lengths = [[9 * BLOCK + 5, 7 * BLOCK, 3 * BLOCK], [6 * BLOCK] * 3]
    how = {
        "missing": lambda path: path.unlink(),
        "rotten": lambda path: fleets.flip(path, 8 * (path.stat().st_size // 2)),
        "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
        "grown": lambda path: os.truncate(path, path.stat().st_size + 5),
    }
    for number, (one, two) in enumerate(itertools.combinations(how, 2)):
        fleet = fleets.make(tmp_path / str(number), seed=number, geometry=((3, 2),), lengths=lengths)
        how[one](fleet.path(0, 1, mf.pack_name(0, mf.role_of(0, 1, 5), 3)))
        how[two](fleet.path(0, 2, mf.pack_name(number % 2, mf.role_of(number % 2, 2, 5), 3)))
        told = stage.repair(fleet.mounts, allow_same_filesystem=True, allowed=fleet.allowed, dry_run=True)
        done = stage.repair(fleet.mounts, allow_same_filesystem=True, allowed=fleet.allowed)
        assert (done.state, told.bytes_written) == ("repaired", done.bytes_written)
        assert told.bytes_read == done.bytes_read, (one, two)
        (tmp_path / str(number) / "new").mkdir()
        new = str(tmp_path / str(number) / "new")
        given = {"allowed": fleet.allowed, "onto": [new], "allow_same_filesystem": True}
        told = stage.repair(fleet.mounts[:3] + fleet.mounts[4:], **given, dry_run=True)
        done = stage.repair(fleet.mounts[:3] + fleet.mounts[4:], **given)
        assert told.bytes_read == done.bytes_read


@pytest.mark.parametrize("step", ["verify", "rebuild"])
def test_while_a_repair_looks_or_writes_another_one_is_told_so(tight, step):
    """Else it would write again what the first has mended since it looked."""
    fleets.flip(tight.path(0, 1, pack(tight, 1, 0)), 800)
    told = []

    def meanwhile(now, *_):
        if now == step and not told:
            told.append(now)
            with pytest.raises(Busy, match="another process works on this drive"):
                stage.repair(tight.mounts, allowed=tight.allowed)
            assert stage.repair(tight.mounts, allowed=tight.allowed, dry_run=True).dry_run, "it only looks"

    report = stage.repair(tight.mounts, allowed=tight.allowed, events=Events(progress=meanwhile))
    assert (told, report.state, report.repaired_files) == ([step], "repaired", 1)
    assert stage.repair(tight.mounts, allowed=tight.allowed).state == "whole", "nobody holds them any more"
