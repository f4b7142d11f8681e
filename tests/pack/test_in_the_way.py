"""What stands where a pack is to be written and is no file of sealift's is named and left; packing goes on."""

import errno
import os
from pathlib import Path

import pytest
from test_failing_drives import Packing, owed

from sealift.errors import DriveFault
from sealift.formats import manifest as mf
from sealift.stages.pack.journal import Journal


def link(path):
    path.symlink_to("/nowhere")


def planted(path, plant):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # of a stripe that was not committed
    plant(path)
    return path


PLANTS = [link, os.mkfifo, Path.mkdir]


def next_pack(packing, slot):
    """Where a drive gets the pack of the stripe that comes next."""
    journal = Journal(str(packing.origin.state))
    stripe = journal.group(0).stripes
    journal.close()
    n, data = packing.origin.n, packing.origin.data
    return Path(packing.mounts[slot], "sealift", mf.pack_name(stripe, mf.role_of(stripe, slot, n), data))


def ended_by_moving_away(packing, path, slot):
    """Assert that the drive is set aside and it is named and stays, and that all ends well when it was moved away."""
    before = path.lstat()
    result = packing.pack()
    (row,) = owed(result)
    assert (result.exit_code, row["drive"]) == (3, f"g0s{slot}")
    assert f"{path.relative_to(packing.mounts[slot] + '/sealift')} is " in row["reason"]
    assert any(what in row["reason"] for what in ("a symbolic link", "a named pipe", "a folder"))
    now = path.lstat()
    assert (now.st_ino, now.st_mode, now.st_mtime_ns) == (before.st_ino, before.st_mode, before.st_mtime_ns)
    path.rename(packing.origin.root / "moved")
    assert packing.pack().exit_code == 0
    packing.ends_well()


@pytest.mark.parametrize("plant", PLANTS)
def test_where_packing_goes_on(tmp_path, plant):
    packing = Packing(tmp_path, size=12)  # so that there is a next stripe, however late the second drive fails
    for mount in packing.mounts[:2]:
        packing.fleet.fail(mount, "write", errno.EIO, nth=6, lasting=True)
    with pytest.raises(DriveFault):
        packing.pack()
    for mount in packing.mounts[:2]:
        packing.fleet.heal(mount)
    path = planted(next_pack(packing, 2), plant)
    ended_by_moving_away(packing, path, 2)


@pytest.mark.long
@pytest.mark.parametrize("plant", PLANTS)
def test_where_a_drive_that_comes_back_is_rebuilt(tmp_path, plant):
    packing = Packing(tmp_path)
    packing.fleet.fail(packing.mounts[1], "write", errno.EIO, nth=6, lasting=True)
    (row,) = owed(packing.pack())
    packing.fleet.heal(packing.mounts[1])
    stripe, n = row["since_stripe"], packing.origin.n
    path = Path(packing.mounts[1], "sealift", mf.pack_name(stripe, mf.role_of(stripe, 1, n), packing.origin.data))
    planted(path, plant)
    ended_by_moving_away(packing, path, 1)


def test_a_file_in_place_of_the_folder_of_packs(tmp_path):
    packing = Packing(tmp_path)
    packing.fleet.fail(packing.mounts[1], "write", errno.EIO, nth=6, lasting=True)
    packing.pack()
    packing.fleet.heal(packing.mounts[1])
    packs = Path(packing.mounts[1], "sealift/packs")
    packs.rename(tmp_path / "packs")
    packs.write_bytes(b"?")
    result = packing.pack()
    assert (result.exit_code, [row["drive"] for row in owed(result)]) == (3, ["g0s1"])
    assert packs.read_bytes() == b"?"
    packs.unlink()
    (tmp_path / "packs").rename(packs)
    assert packing.pack().exit_code == 0
    packing.ends_well()
