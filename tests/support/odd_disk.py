"""A disk that does not do what it says, as a file in FUSE on which a loop device can stand.

    python odd_disk.py MOUNTPOINT FILE HOW

shows FILE as MOUNTPOINT/disk. HOW is `lies`: writes of more than a page are said to be done, and are not; or `slow`:
each takes SLOW seconds. No page of it is in a cache of the kernel, so that what is read is what FILE has.
"""
# ruff: noqa: ARG002 -- operations of FUSE have the arguments that they have

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from mounted import umount

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLOW = 0.02
_PAGE = 4096


@contextlib.contextmanager
def disk(image: Path, how: str) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """The file, and the process that serves it."""
    place = image.with_suffix(f".{how}")
    place.mkdir()
    daemon = subprocess.Popen([sys.executable, __file__, str(place), str(image), how])
    deadline = time.monotonic() + 20
    while not os.path.ismount(place):
        assert daemon.poll() is None, "the filesystem ended"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    try:
        yield place / "disk", daemon
    finally:
        umount(place, lazy=True)
        daemon.wait(20)


def serve(mountpoint: str, image: str, how: str) -> None:
    """Show it until unmounted."""
    import mfusepy

    class Odd(mfusepy.Operations):
        use_ns = True

        def __init__(self) -> None:
            self.file = os.open(image, os.O_RDWR)

        def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
            if path == "/":
                return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
            if path != "/disk":
                raise mfusepy.FuseOSError(errno.ENOENT)
            return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": os.fstat(self.file).st_size}

        def readdir(self, path: str, fh: int) -> list[str]:
            return [".", "..", "disk"]

        def open(self, path: str, flags: int) -> int:
            return 0

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            return os.pread(self.file, size, offset)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            if how == "slow" and len(data) > _PAGE:
                time.sleep(SLOW)
            if how != "lies" or len(data) <= _PAGE:
                os.pwrite(self.file, data, offset)
            return len(data)

        def fsync(self, path: str, datasync: int, fh: int) -> int:
            return 0

    mfusepy.FUSE(Odd(), mountpoint, foreground=True, nothreads=True, allow_other=True, direct_io=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
