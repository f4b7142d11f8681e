"""An empty filesystem on a whole device, made only on the very device that was shown.

What holds, in this order:

1. The device is opened by its node and not by a link, for writing and O_EXCL: the kernel refuses what is mounted, or
   held by RAID, LVM or a pool, in any namespace. While it is open, its number is nobody else's.
2. Number, size, sequence (which the kernel never gives twice) and serial number, or backing file, are read anew and
   compared with what was shown. Anything else, and nothing is written.
3. The first and the last 4 MiB are overwritten, where every partition table and signature lies, and flushed.
4. mkfs gets the open device and not a name, and is not told to force: it opens O_EXCL itself, and refuses what is not
   blank (mkfs.xfs), so that somebody who was quicker in between is noticed.
5. What is there now is read again before it is called done.

Call in a process of its own (apart.py): a device may hang. What is not here: whether it may be done, and who said so.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
from typing import TYPE_CHECKING, Literal

from sealift.drives import apart, block, medium
from sealift.errors import DriveFault, Refused
from sealift.formats import block_tools

if TYPE_CHECKING:
    from sealift.drives.block import Disk

Filesystem = Literal["xfs", "ext4"]
MKFS: dict[Filesystem, list[str]] = {
    "xfs": ["mkfs.xfs", "-q"],
    # no room kept for root; an inode for 1 MiB, the smallest pack; nothing left to be done behind the first packing
    "ext4": [
        "mkfs.ext4", "-q", "-m", "0", "-T", "largefile", "-E", "lazy_itable_init=0,lazy_journal_init=0",
    ],
}  # fmt: skip
_WIPED = 4 << 20
_SIZE, _SEQUENCE, _REREAD = 0x80081272, 0x80081280, 0x125F  # BLKGETSIZE64, BLKGETDISKSEQ, BLKRRPART
_UNCHANGED = "nothing was written to it"


def held(disk: Disk) -> str | None:
    """What the kernel says when the device is asked for alone; None when it can be had. It is only opened.

    In a process of its own, as `make`.
    """
    try:
        os.close(os.open(disk.node, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        if error.errno == errno.EBUSY:
            return "the kernel, a pool or another program holds it"
        return f"it cannot be opened: {(error.strerror or '').lower()}"
    return None


def make(disk: Disk, filesystem: Filesystem) -> str:
    """Make it; the new filesystem's UUID. Refused: it is not that device, or is held; DriveFault."""
    try:
        alone = os.open(disk.node, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        why = "it is in use by now" if error.errno == errno.EBUSY else (error.strerror or "").lower()
        raise Refused(f"{disk.name}: {disk.node}: {why}; {_UNCHANGED}") from error
    try:
        if differs := difference(disk, alone):
            raise Refused(f"{disk.name}: {differs}; {_UNCHANGED}", hint="look at `sealift drives` again")
        kept = os.open(f"/proc/self/fd/{alone}", os.O_RDWR | os.O_CLOEXEC)  # not alone, so that mkfs may have it
    except BaseException:
        os.close(alone)
        raise
    try:
        try:
            _wipe(alone, disk.device.size)
        finally:
            os.close(alone)
        _mkfs(disk, kept, filesystem)
        os.fsync(kept)
        return _made(disk, kept, filesystem)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise DriveFault(f"{disk.name}: {why}; what was on it is gone, or a part of it", drive=disk.name) from error
    finally:
        os.close(kept)


def difference(disk: Disk, descriptor: int) -> str | None:
    """How the open device is another than the one that was shown; None: it is that one."""
    status = os.fstat(descriptor)
    if not stat.S_ISBLK(status.st_mode):
        return f"{disk.node} is no block device any more"
    number = os.major(status.st_rdev), os.minor(status.st_rdev)
    if number != disk.device.number:
        return f"{disk.node} has the number {number[0]}:{number[1]} now, and had {disk.device.number}"
    size = _asked(descriptor, _SIZE)
    if size != disk.device.size:
        return f"{disk.node} has {size or 0:,} bytes now, and had {disk.device.size:,}"
    if disk.sequence is not None and _asked(descriptor, _SEQUENCE) not in {None, disk.sequence}:
        return f"another medium is at {disk.node} than the one that was shown"
    place = f"/sys/dev/block/{number[0]}:{number[1]}"
    if disk.backing is not None:
        now = block.backing_of(disk.device.kernel)
        return None if now == disk.backing else f"{disk.node} has the backing file {now or 'of nobody'} now"
    if disk.device.kind == "disk" and disk.serial is not None:
        serial = medium.serial_of(os.path.realpath(place))
        return None if serial == disk.serial else f"{disk.node} tells the serial number {serial} now"
    return None


def _asked(descriptor: int, what: int) -> int | None:
    answer = bytearray(8)
    try:
        fcntl.ioctl(descriptor, what, answer)
    except OSError:
        return None  # a kernel before 5.15 has no sequence
    return int.from_bytes(answer, "little")


def _wipe(descriptor: int, size: int) -> None:
    zeros = bytes(min(_WIPED, size))
    for offset in {0, max(0, size - len(zeros))}:
        done = 0
        while done < len(zeros):
            done += os.pwrite(descriptor, zeros[done:], offset + done)
    os.fsync(descriptor)
    try:
        fcntl.ioctl(descriptor, _REREAD)  # partitions that were
    except OSError:
        return  # a device that has none


def _mkfs(disk: Disk, descriptor: int, filesystem: Filesystem) -> None:
    name, *options = MKFS[filesystem]
    command = [apart.tool(name) or name, *options, f"/proc/self/fd/{descriptor}"]
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL, pass_fds=[descriptor])
    if done.returncode:
        words = block_tools.text(" ".join(done.stderr.decode(errors="replace").split())) or f"exit {done.returncode}"
        raise DriveFault(
            f"{disk.name}: {name}: {words.replace(command[-1], disk.node)}; what was on it is gone",
            drive=disk.name,
            hint="look at `dmesg`; the same command again begins anew",
        )


def _made(disk: Disk, descriptor: int, filesystem: Filesystem) -> str:
    command = [apart.tool("blkid") or "blkid", "-p", "-o", "export", f"/proc/self/fd/{descriptor}"]
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL, pass_fds=[descriptor])
    found = block_tools.parse_blkid(done.stdout)
    if done.returncode or found.kind != filesystem or found.uuid is None:
        raise DriveFault(
            f"{disk.name}: {MKFS[filesystem][0]} said that it was done, and there is no {filesystem} on it",
            drive=disk.name,
            hint="the drive does not keep what it is given: do not use it",
        )
    return found.uuid
