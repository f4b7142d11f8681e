"""What lies beneath a mounted folder: its filesystem, block device and serial number.

Linux only, reads /proc and /sys.

Nothing here is trusted for more than telling people which drive is meant and refusing one filesystem given
twice.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import stat
import subprocess

# Linux, magic.h: vfat, exfat, FUSE, 9p tell the mtime as ctime, or what some program says it is
_WITHOUT_CTIME = {0x4D44, 0x2011BAB0, 0x65735546, 0x01021997}
_IN_MEMORY = {0x01021994, 0x858458F6, 0x958458F6}  # tmpfs (devtmpfs is one), ramfs, hugetlbfs
_libc = ctypes.CDLL(None, use_errno=True)
_SYS_BLOCK = "/sys/dev/block"
_LAYERS = 8  # partition on LUKS on a dm target on a partition on a disk is five


def _source(descriptor: int) -> str | None:
    """What is mounted where `descriptor` lies, from /proc; None when not to be had."""
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as file:
            found = re.search(r"^mnt_id:\s*(\d+)$", file.read(), re.MULTILINE)
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                left, _, right = line.partition(" - ")
                if found and left.split(" ", 1)[0] == found[1]:
                    source = right.split(" ")[1]
                    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), source)
    except (OSError, ValueError, IndexError):
        return None
    return None


def is_memory(descriptor: int) -> bool:
    """Whether the file lies in a filesystem that has no medium (tmpfs), so that no read comes from one."""
    return _kind(descriptor) in _IN_MEMORY


def keeps_ctime(descriptor: int) -> bool:
    """Whether the time of a file's last change is the kernel's own there, and nothing that a copying tool may set."""
    kind = _kind(descriptor)
    return kind is not None and kind not in _WITHOUT_CTIME


def _kind(descriptor: int) -> int | None:
    """The magic number of its filesystem; None when not to be had."""
    answer = ctypes.create_string_buffer(512)  # struct statfs, which begins with it
    if _libc.fstatfs(descriptor, answer) != 0:
        return None
    return ctypes.c_long.from_buffer(answer).value & 0xFFFFFFFF


def _device(descriptor: int) -> int | None:
    """Device number of the block device beneath: of the mount's source (btrfs hides its own), else st_dev."""
    source = _source(descriptor)
    if source is not None and source.startswith("/"):
        with contextlib.suppress(OSError):
            status = os.stat(source)
            if stat.S_ISBLK(status.st_mode):
                return status.st_rdev
    device = os.fstat(descriptor).st_dev
    return device if os.major(device) else None


def filesystem(descriptor: int) -> tuple[object, ...]:
    """Equal for two mounts (or bind mounts, or subvolumes) of one filesystem."""
    device = _device(descriptor)
    if device is not None:
        return ("device", device)
    return ("anonymous", os.fstat(descriptor).st_dev, os.fstatvfs(descriptor).f_fsid)


def serial(descriptor: int) -> str | None:
    """Serial number of the one physical medium beneath, or None (loop device, tmpfs, array of several)."""
    device = _device(descriptor)
    if device is None:
        return None
    place = _physical(os.path.realpath(f"{_SYS_BLOCK}/{os.major(device)}:{os.minor(device)}"))
    if place is None or os.path.isdir(f"{place}/loop"):
        return None
    return serial_of(place)


def serial_of(place: str, told: str | None = None) -> str | None:
    """Serial number of the disk at `place` in /sys; `told` is what lsblk says, which is asked otherwise."""
    for name in ("serial", "device/serial"):
        found = _clean(_read(f"{place}/{name}"))
        if found:
            return found
    by_udev = _from_lsblk(os.path.basename(place)) if told is None else _clean(told.encode())
    return by_udev or _clean(_read(f"{place}/device/vpd_pg80")[4:])


def _physical(place: str) -> str | None:
    """Down from a partition or a mapped device to the disk; None when several disks are beneath, or none."""
    for _ in range(_LAYERS):
        if not os.path.isdir(place):
            return None
        if os.path.exists(f"{place}/partition"):
            place = os.path.dirname(place)
            continue
        try:
            slaves = os.listdir(f"{place}/slaves")
        except OSError:
            slaves = []
        if not slaves:
            return place
        if len(slaves) > 1:
            return None
        place = os.path.realpath(f"{place}/slaves/{slaves[0]}")
    return None


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(512)
    except OSError:
        return b""


def _clean(data: bytes) -> str | None:
    """A serial as people type it: printable, without the padding around it."""
    text = data.decode("ascii", "replace").strip(" \0\t\n")
    return text if text and text.isprintable() and len(text) <= 256 else None


def _from_lsblk(disk: str) -> str | None:
    try:
        done = subprocess.run(["lsblk", "-dno", "SERIAL", f"/dev/{disk}"], capture_output=True, check=False, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return _clean(done.stdout) if done.returncode == 0 else None
