"""Files of a LocalDrive that are open: a pack that is read, and one that is being written.

Holds: what is not a regular file is never opened (a device node acts when it is opened); reading changes nothing, not
even access times where the system allows. Writing goes to NAME.part, is fsynced, then renamed. Bulk data is never
copied in Python: callers bring the buffers. What is not here: which folder a name lies in (local.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import stat
from typing import TYPE_CHECKING, Self

from sealift.drives import hung, medium
from sealift.drives.base import ALIGN, PART, SAFE_READING, SAFE_WRITING, Source, fault, obstacle, what_is

if TYPE_CHECKING:
    from collections.abc import Sequence


_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_IOV_MAX = 1024


def open_quietly(name: str, flags: int, folder: int) -> int:
    """Open without touching the access time, where this user may ask for that."""
    try:
        return os.open(name, flags | os.O_NOATIME, dir_fd=folder)
    except PermissionError:
        return os.open(name, flags, dir_fd=folder)


class LocalReadFile:
    """drives.base.ReadFile over a descriptor."""

    def __init__(self, descriptor: int, mount: str, name: str, *, direct: bool) -> None:
        self._fd, self._mount, self._name = descriptor, mount, name
        status = os.fstat(descriptor)
        self.length = status.st_size
        self.stamp: tuple[int, ...] = (
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )
        self._kind: bool | None = None
        self._uncached = direct
        self._direct = bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)
        self._memory = medium.is_memory(descriptor) if direct else True
        if direct and not self._direct:
            self._forget(0, 0)

    @property
    def lasting(self) -> bool:
        """Nobody sets a ctime; some filesystems have none, and tell the mtime in its place."""
        if self._kind is None:
            self._kind = medium.keeps_ctime(self._fd)
        return self._kind

    @property
    def read_from(self) -> Source:
        """`medium` only for direct reads of a filesystem that has a medium."""
        return "medium" if self._direct and not self._memory else "cache"

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes at `offset`, fewer only at the end of the file."""
        length = max(0, min(length, self.length - offset))
        if length == 0:
            return b""
        if not self._direct:
            buffer = bytearray(length)
            return bytes(buffer[: self.readinto_at(offset, memoryview(buffer))])
        start = offset - offset % ALIGN
        with mmap.mmap(-1, -(-(offset + length - start) // ALIGN) * ALIGN) as window:
            with memoryview(window) as view:
                got = self._fill(start, view)
            return window[offset - start : min(offset - start + length, got)]

    def readinto_at(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer`.

        Direct reads want offset, length and address in multiples of ALIGN, others are copied.
        """
        if self._direct and not _is_aligned(offset, buffer):
            data = self.read_at(offset, len(buffer))
            buffer[: len(data)] = data
            return len(data)
        return self._fill(offset, buffer)

    def _fill(self, offset: int, buffer: memoryview) -> int:
        done = 0
        try:
            while done < len(buffer):
                try:
                    with hung.asked(self._mount):
                        got = os.preadv(self._fd, [buffer[done:]], offset + done)
                except OSError as error:
                    if error.errno != errno.EINVAL or not self._direct:
                        raise
                    self._go_cached()
                    continue
                done += got
                if got == 0 or (self._direct and got % ALIGN):
                    break
        except OSError as error:
            raise fault(self._mount, f"reading {self._name} at {offset + done}", error, safe=SAFE_READING) from error
        if self._uncached and not self._direct:
            self._forget(offset, done)
        return done

    def will_need(self, offset: int, length: int) -> None:
        """Begin to read into the page cache; direct reads have none."""
        if not self._uncached:
            with contextlib.suppress(OSError):
                os.posix_fadvise(self._fd, offset, length, os.POSIX_FADV_WILLNEED)

    def _go_cached(self) -> None:
        """The filesystem took O_DIRECT at open and refuses it at read: read through the cache, and say so."""
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
        fcntl.fcntl(self._fd, fcntl.F_SETFL, flags & ~os.O_DIRECT)
        self._direct = False
        self._forget(0, 0)

    def _forget(self, offset: int, length: int) -> None:
        with contextlib.suppress(OSError):
            os.posix_fadvise(self._fd, offset, length, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Close; again does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()  # one that is forgotten must not keep its drive from being unmounted

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_aligned(offset: int, buffer: memoryview) -> bool:
    if offset % ALIGN or len(buffer) % ALIGN or not len(buffer) or buffer.readonly:  # of constants no address is had
        return False
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer)) % ALIGN == 0


def open_file(name: str, folder: int, *, direct: bool) -> int:
    """A descriptor for reading, past the caches with `direct` where the filesystem has that. OSError."""
    if direct:
        with contextlib.suppress(OSError):
            return open_quietly(name, _FILE | os.O_DIRECT, folder)
    return open_quietly(name, _FILE, folder)


class LocalPartFile:
    """drives.base.PartFile over a descriptor and the descriptor of its folder."""

    def __init__(self, descriptor: int, folder: int, mount: str, name: str, *, direct: bool) -> None:
        self._fd, self._folder, self._mount, self.name = descriptor, folder, mount, name
        self._last = name.rsplit("/", 1)[-1]
        self._may_direct, self._direct = direct, False

    def fileno(self) -> int:
        """The descriptor, for writers that bring their own calls."""
        return self._fd

    def write_at(self, offset: int, buffers: Sequence[memoryview]) -> None:
        """Write all bytes of the buffers, one after the other, from `offset`."""
        left = [view.cast("B") if view.format != "B" or view.ndim != 1 else view for view in buffers]
        left.reverse()
        try:
            self._go(direct=self._may_direct and all(_is_aligned(offset, view) for view in left))
            while left:
                try:
                    with hung.asked(self._mount):
                        done = os.pwritev(self._fd, left[-1 : -_IOV_MAX - 1 : -1], offset)
                except OSError as error:
                    if error.errno != errno.EINVAL or not self._direct:
                        raise
                    self._may_direct = False
                    self._go(direct=False)
                    continue
                offset += done
                while left and done >= len(left[-1]):
                    done -= len(left.pop())
                if done:
                    left[-1] = left[-1][done:]
        except OSError as error:
            raise self._fault(f"writing {self.name} at {offset}", error) from error

    def _go(self, *, direct: bool) -> None:
        """Past the cache or through it, from the next write on; a filesystem that cannot do without it is let be."""
        if direct == self._direct:
            return
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
        try:
            fcntl.fcntl(self._fd, fcntl.F_SETFL, flags | os.O_DIRECT if direct else flags & ~os.O_DIRECT)
        except OSError as error:
            if error.errno != errno.EINVAL or not direct:
                raise
            self._may_direct = False
            return
        self._direct = direct

    def open_back(self) -> LocalReadFile:
        """fsync, and open what was written, as `open_read(direct=True)` does."""
        try:
            with hung.asked(self._mount):
                os.fsync(self._fd)
            descriptor = open_file(self._last + PART, self._folder, direct=True)
        except OSError as error:
            raise self._fault(f"reading back {self.name}", error) from error
        return LocalReadFile(descriptor, self._mount, self.name, direct=True)

    def publish(self) -> None:
        """fsync, rename over the name, close; the folder's fsync is `LocalDrive.sync_folder`."""
        try:
            with hung.asked(self._mount):
                os.fsync(self._fd)
                keep_strange(self._folder, self._mount, self.name)
                os.rename(self._last + PART, self._last, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except OSError as error:
            raise self._fault(f"publishing {self.name}", error) from error
        self._close()

    def abandon(self) -> None:
        """Close and remove; never raises."""
        if self._fd >= 0:
            with contextlib.suppress(OSError), hung.asked(self._mount):
                os.unlink(self._last + PART, dir_fd=self._folder)
            self._close()

    def _close(self) -> None:
        for descriptor in (self._fd, self._folder):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._fd = self._folder = -1

    def _fault(self, doing: str, error: OSError) -> Exception:
        return fault(self._mount, doing, error, safe=SAFE_WRITING)


def keep_strange(folder: int, mount: str, name: str) -> None:
    """DriveFault where what is there under a name is no regular file: it is not ours to replace or remove."""
    try:
        mode = os.stat(name.rpartition("/")[2], dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise obstacle(mount, name, what_is(mode))
