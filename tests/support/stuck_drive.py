"""A drive that hangs: a folder shown through FUSE by a process that can be stopped in the middle.

    python stuck_drive.py MOUNTPOINT FOLDER

While the process is stopped (SIGSTOP), whatever asks the filesystem waits in the kernel, as for a dead disk. While
there is FOLDER/.fails, every read fails.
"""
# ruff: noqa: ARG002 -- operations of FUSE have the arguments that they have

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from mounted import umount

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def stuck(folder: Path, place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Show `folder` at `place`; the process to stop."""
    place.mkdir()
    daemon = subprocess.Popen([sys.executable, __file__, str(place), str(folder)])
    deadline = time.monotonic() + 20
    while not os.path.ismount(place):
        assert daemon.poll() is None, "the filesystem ended"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    try:
        yield daemon
    finally:
        daemon.send_signal(signal.SIGCONT)
        umount(place, lazy=True)
        daemon.wait(20)


def serve(mountpoint: str, folder: str) -> None:
    """Show it until unmounted; nothing is kept in a cache of the kernel."""
    import mfusepy

    class Through(mfusepy.Operations):
        use_ns = True

        def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
            try:
                status = os.lstat(folder + path)
            except OSError as error:
                raise mfusepy.FuseOSError(error.errno or 5) from error
            wanted = ("st_mode", "st_size", "st_nlink", "st_uid", "st_gid")
            times = {f"st_{kind}time": getattr(status, f"st_{kind}time_ns") for kind in "amc"}
            return {name: getattr(status, name) for name in wanted} | times

        def readdir(self, path: str, fh: int) -> list[str]:
            return [".", "..", *os.listdir(folder + path)]

        def open(self, path: str, flags: int) -> int:
            return os.open(folder + path, os.O_RDONLY)

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            if os.path.exists(folder + "/.fails"):  # bad sectors everywhere
                raise mfusepy.FuseOSError(errno.EIO)
            return os.pread(fh, size, offset)

        def release(self, path: str, fh: int) -> int:
            os.close(fh)
            return 0

    options = {"direct_io": True, "attr_timeout": 0, "entry_timeout": 0, "negative_timeout": 0}
    mfusepy.FUSE(Through(), mountpoint, foreground=True, nothreads=False, **options)


if __name__ == "__main__":
    serve(*sys.argv[1:])
