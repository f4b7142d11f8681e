"""Disks that record every write and flush, in one order over all of them: what a power cut leaves can be made anew.

    python recording_disk.py MOUNTPOINT FOLDER

shows every file of FOLDER as a file of the same name beneath MOUNTPOINT (FUSE). Loop devices stand on those, and
filesystems on the loop devices. What reaches a disk is appended to FOLDER.log as HEAD records: a write with its
bytes, or a flush, by which all that was written to that disk before is durable. One thread serves all disks, so the
order of the log is the order in which the kernel was answered.

`Cut` makes the disks as they are when power goes at a place of the log: what was flushed is there; of what was
written since, to each disk for itself, all, nothing, or any part, as disks with a volatile cache may keep it.
"""
# ruff: noqa: ARG002 -- operations of FUSE have the arguments that they have

from __future__ import annotations

import errno
import os
import shutil
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from mounted import umount

if TYPE_CHECKING:
    import random

HEAD = struct.Struct("<QQQ")  # disk, offset, length; a flush has offset FLUSH
FLUSH = (1 << 64) - 1
SECTOR = 4096


class Record(NamedTuple):
    """One write, or a flush (offset None); `start` is where its bytes begin in the log."""

    disk: int
    offset: int | None
    start: int
    length: int


def records(log: Path) -> list[Record]:
    """The log, without its bytes."""
    found = []
    with open(log, "rb") as file:
        while len(head := file.read(HEAD.size)) == HEAD.size:
            disk, offset, length = HEAD.unpack(head)
            found.append(Record(disk, None if offset == FLUSH else offset, file.tell(), length))
            file.seek(length, os.SEEK_CUR)
    return found


def cut(base: list[Path], log: Path, everything: list[Record], at: int, keep: str, rng: random.Random, out: Path):
    """Disks in the folder `out` as they are when power goes before record `at`.

    `keep`: what of the unflushed writes survives: "all", "none" or "some".
    """
    out.mkdir()
    before = everything[:at]
    last = {record.disk: place for place, record in enumerate(before) if record.offset is None}
    with open(log, "rb") as source:
        for disk, image in enumerate(base):
            made = out / image.name
            subprocess.run(["cp", "--sparse=always", image, made], check=True)
            with open(made, "r+b") as target:
                for place, record in enumerate(before):
                    if record.disk != disk or record.offset is None:
                        continue
                    length = record.length
                    if place > last.get(disk, -1) and keep != "all":
                        if keep == "none" or rng.random() < 0.5:
                            continue
                        if rng.random() < 0.2:
                            length = rng.randrange(length // SECTOR + 1) * SECTOR
                    source.seek(record.start)
                    target.seek(record.offset)
                    target.write(source.read(length))
    return [out / image.name for image in base]


class Disks:
    """Recorded disks, with a filesystem on each, mounted; a context manager."""

    def __init__(self, images: list[Path], mounts: list[str]) -> None:
        self.folder = images[0].parent
        self.log = Path(f"{self.folder}.log")
        self._fuse = Path(f"{self.folder}.fuse")
        self._images, self._mounts = images, mounts

    def __enter__(self) -> Self:
        self._fuse.mkdir()
        self._daemon = subprocess.Popen([sys.executable, __file__, str(self._fuse), str(self.folder)])
        deadline = time.monotonic() + 20
        while not os.path.ismount(self._fuse):
            assert self._daemon.poll() is None, "the recording filesystem ended"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self._mounted: list[str] = []
        try:
            for image, mount in zip(self._images, self._mounts, strict=True):
                subprocess.run(["mount", "-o", "loop,nodiscard", self._fuse / image.name, mount], check=True)
                self._mounted.append(mount)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for mount in self._mounted:
            umount(mount, lazy=any(error))
        umount(self._fuse)
        self._daemon.wait(20)
        self._fuse.rmdir()


class Mounted:
    """Plain images, mounted; a context manager."""

    def __init__(self, images: list[Path], mounts: list[str]) -> None:
        self._images, self._mounts = images, mounts

    def __enter__(self) -> None:
        self._mounted: list[str] = []
        try:
            for image, mount in zip(self._images, self._mounts, strict=True):
                alike = ",nouuid" if image.suffix == ".xfs" else ""  # a cut before this one may be held by its failure
                subprocess.run(["mount", "-o", "loop" + alike, image, mount], check=True)
                self._mounted.append(mount)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *error: object) -> None:
        for mount in self._mounted:  # the frames of an error may hold files open
            umount(mount, lazy=any(error))


def copy(images: list[Path], folder: Path) -> list[Path]:
    """Sparse copies: the base of a log."""
    folder.mkdir()
    for image in images:
        subprocess.run(["cp", "--sparse=always", image, folder / image.name], check=True)
    return [folder / image.name for image in images]


def unavailable() -> str | None:
    """Why there can be no recorded disks here, or None."""
    if os.geteuid() != 0:
        return "needs root: loop devices are mounted"
    if not os.path.exists("/dev/fuse") or not os.path.exists("/dev/loop-control"):
        return "this kernel has no FUSE or no loop devices"
    missing = [tool for tool in ("mkfs.ext4", "mkfs.xfs", "fusermount3", "mount") if shutil.which(tool) is None]
    try:
        import mfusepy  # noqa: F401
    except (ImportError, OSError):
        missing.append("the Python package mfusepy with libfuse3")
    return f"not installed: {', '.join(missing)}" if missing else None


def serve(mountpoint: str, folder: str) -> None:
    """Show and record until unmounted."""
    import mfusepy

    names = sorted(os.listdir(folder))

    class Recorder(mfusepy.Operations):
        use_ns = True

        def __init__(self) -> None:
            self.files = [os.open(os.path.join(folder, name), os.O_RDWR) for name in names]
            self.log = open(f"{folder}.log", "wb", buffering=0)  # noqa: SIM115 -- open as long as the process lives

        def _disk(self, path: str) -> int:
            try:
                return names.index(path[1:])
            except ValueError:
                raise mfusepy.FuseOSError(errno.ENOENT) from None

        def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
            if path == "/":
                return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
            size = os.fstat(self.files[self._disk(path)]).st_size
            return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": size}

        def readdir(self, path: str, fh: int) -> list[str]:
            return [".", "..", *names]

        def open(self, path: str, flags: int) -> int:
            return self._disk(path)

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            return os.pread(self.files[fh], size, offset)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            os.pwrite(self.files[fh], data, offset)
            self.log.write(HEAD.pack(fh, offset, len(data)) + data)
            return len(data)

        def fsync(self, path: str, datasync: int, fh: int) -> int:
            self.log.write(HEAD.pack(fh, FLUSH, 0))
            return 0

        def truncate(self, path: str, length: int, fh: int | None = None) -> int:
            raise mfusepy.FuseOSError(errno.EPERM)

    mfusepy.FUSE(Recorder(), mountpoint, foreground=True, nothreads=True, allow_other=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
