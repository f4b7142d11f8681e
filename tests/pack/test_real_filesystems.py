"""Real filesystems on loop devices fail while they are packed: the kernel's own errors, and what is made of them."""

import contextlib
import fcntl
import os
import subprocess
import time
from pathlib import Path

import pytest
import shipments
from test_failing_drives import Packing, owed
from test_presence import stopped

from sealift.drives.local import LocalDrive
from sealift.stages.pack import group as groups

pytestmark = pytest.mark.root
_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN
_NO_LOG = 2


def unavailable() -> str | None:
    if os.geteuid() != 0:
        return "needs root, for loop devices and mounts"
    if not os.path.exists("/dev/loop-control"):
        return "this system has no loop devices"
    return None


@pytest.fixture
def packing(tmp_path):
    """A packing of 24 stripes onto three real filesystems, and a fourth for the new drive."""
    if why := unavailable():
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    shipments.need("mkfs.ext4", "mkfs.xfs", "e2fsck", "findmnt", "mount", "umount")
    made = Packing(tmp_path, size=32)
    made.images = tmp_path / "images"
    made.images.mkdir()
    with contextlib.ExitStack() as stack:
        made.image = {}
        for number, mount in enumerate([*made.mounts, made.spares[0]]):
            kind, size = ("xfs", 320 << 20) if number == 2 else ("ext4", 96 << 20)
            store = made.images / str(number)
            store.mkdir()
            run("mount", "-t", "tmpfs", "-o", "size=400M", "tmpfs", store)
            stack.callback(run, "umount", "-l", store)
            image = made.image[mount] = store / "img"
            with open(image, "wb") as file:
                file.truncate(size)
            run(f"mkfs.{kind}", "-q", image)
            run("mount", "-o", "loop", image, mount)
            stack.callback(subprocess.run, ["umount", "-l", mount], check=False, capture_output=True)
        yield made


def run(*words):
    subprocess.run(list(map(str, words)), check=True, capture_output=True)


def pack(packing, **changes):
    return packing.pack(open_drive=LocalDrive, allow_same_filesystem=False, read_back="full", **changes)


def after(monkeypatch, stripe, what):
    """Do `what` once when `stripe` was committed."""
    commit, done = groups.GroupPacker._commit_stripe, []

    def spy(self, number, *rest):
        commit(self, number, *rest)
        if number == stripe and not done:
            done.append(number)
            what()

    monkeypatch.setattr(groups.GroupPacker, "_commit_stripe", spy)


def fails(packing, mount, *words):
    """Assert that packing goes on without the drive at `mount`, for a reason that has one of `words`."""
    result = pack(packing)
    assert result.exit_code == 3
    (row,) = owed(result)
    assert (row["mount"], row["serial"]) == (mount, packing.origin.serial(mount))
    assert any(word in row["reason"] for word in words), row
    assert result.groups[0]["stripes"] > row["since_stripe"]
    packing.unsigned()
    return row


def goes_on_with_another(packing, mount):
    """Put the fourth filesystem in the place of `mount`, and assert that all is well."""
    new = packing.spares[0]
    packing.declare(mount, new)
    assert pack(packing, replace={packing.origin.serial(mount): new}).exit_code == 0
    packing.origin.mounts[packing.origin.mounts.index(mount)] = new
    packing.ends_well()


def test_a_truncated_backing_file_gives_input_output_errors(packing, monkeypatch):
    """What the drive held is gone and what is written does not arrive; what it had is rebuilt from the others."""
    mount = packing.mounts[0]
    image = packing.image[mount]

    def cut():
        os.truncate(image, 1 << 20)
        run("mount", "-o", "remount,size=2M", image.parent)  # or the loop device would make the file longer again

    after(monkeypatch, 3, cut)
    fails(packing, mount, "input/output", "full", "read-only", "other than they were written")
    goes_on_with_another(packing, mount)


@pytest.mark.long
def test_a_filesystem_that_fills_up_is_set_aside_and_goes_on_when_there_is_room(packing, monkeypatch):
    mount = packing.mounts[1]
    ballast = Path(mount, "ballast")

    def fill():
        with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 20))

    after(monkeypatch, 4, fill)
    fails(packing, mount, "full")
    ballast.unlink()
    assert pack(packing).exit_code == 0
    packing.ends_well()


@pytest.mark.long
def test_a_filesystem_that_becomes_read_only_is_set_aside_and_goes_on_when_it_is_not(packing, monkeypatch):
    """As ext4 does by itself when it meets an error."""
    mount = packing.mounts[0]
    run("mount", "-o", "remount,errors=remount-ro", mount)
    device = subprocess.run(["findmnt", "-no", "SOURCE", mount], check=True, capture_output=True, text=True).stdout
    trigger = Path("/sys/fs/ext4", os.path.basename(device.strip()), "trigger_fs_error")
    if not trigger.exists():
        why = "this kernel has no trigger_fs_error"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    after(monkeypatch, 3, lambda: trigger.write_text("a test"))
    fails(packing, mount, "read-only", "input/output")
    assert pack(packing).exit_code == 3, "it still is"
    run("umount", "-l", mount)
    subprocess.run(["e2fsck", "-fy", packing.image[mount]], check=False, capture_output=True)
    for _ in range(200):  # the one that was pulled lives on in the kernel until nothing of it is held
        if not subprocess.run(["losetup", "-j", packing.image[mount]], capture_output=True, check=True).stdout:
            break
        time.sleep(0.1)
    run("mount", "-o", "loop", packing.image[mount], mount)
    again = pack(packing)
    assert again.exit_code == 0, again.groups
    packing.ends_well()


@pytest.mark.parametrize("place", [0, 2])
def test_a_filesystem_that_is_gone_is_set_aside_and_goes_on_when_it_is_mounted_again(packing, monkeypatch, place):
    """Shut down as the kernel does when a drive is pulled; ext4 and xfs."""
    mount = packing.mounts[place]

    def pull():
        descriptor = os.open(mount, os.O_RDONLY)
        fcntl.ioctl(descriptor, _SHUTDOWN, _NO_LOG.to_bytes(4, "little"))
        os.close(descriptor)

    after(monkeypatch, 3, pull)
    fails(packing, mount, "input/output", "read-only")
    packing.notices.clear()
    assert pack(packing).exit_code == 3
    assert not any("nothing is mounted" in text for text in packing.notices), packing.notices
    run("umount", "-l", mount)
    result = pack(packing)
    assert result.exit_code == 3
    assert not any(Path(mount).iterdir()), "an empty mount point is not the drive"
    run("mount", "-o", "loop", packing.image[mount], mount)
    assert pack(packing).exit_code == 0
    packing.ends_well()


@pytest.mark.long
@pytest.mark.parametrize("place", [0, 2])
def test_a_filesystem_that_is_unmounted_lazily_is_named_and_gets_nothing_more(packing, monkeypatch, place):
    """umount -l: what is open there goes on to answer, and nobody would find what is written."""
    mount = packing.mounts[place]
    after(monkeypatch, 3, lambda: run("umount", "-l", mount))
    fails(packing, mount, "what was mounted there is no longer")
    result = pack(packing)
    assert result.exit_code == 3
    assert any(f"is not at {mount}: nothing is mounted there" in text for text in packing.notices), packing.notices
    assert not any(Path(mount).iterdir()), "an empty mount point is not the drive"
    for _ in range(200):
        if not subprocess.run(["losetup", "-j", packing.image[mount]], capture_output=True, check=True).stdout:
            break
        time.sleep(0.1)
    run("mount", "-o", "loop", packing.image[mount], mount)
    assert pack(packing).exit_code == 0
    packing.ends_well()


@pytest.mark.long
def test_a_filesystem_that_is_mounted_read_only_gives_what_a_new_drive_lacks(packing, monkeypatch):
    stopped(packing, monkeypatch, 3, open_drive=LocalDrive, allow_same_filesystem=False)
    kept, dead, new = packing.mounts[0], packing.mounts[1], packing.spares[0]
    run("mount", "-o", "remount,ro", kept)
    run("umount", "-l", dead)
    packing.declare(dead, new)
    replace = {packing.origin.serial(dead): new}
    result = pack(packing, replace=replace)
    assert result.exit_code == 3
    (row,) = owed(result)
    assert (row["mount"], row["kind"]) == (kept, "failed")
    assert not any("packed again" in text for text in packing.notices)
    run("mount", "-o", "remount,rw", kept)
    assert pack(packing, replace=replace).exit_code == 0
    packing.origin.mounts[1] = new
    packing.ends_well()
