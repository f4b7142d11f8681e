"""Opens what lies beneath a folder, and follows no symbolic link, in whichever component of a name.

Whoever may write in a source could put a link in the place of a folder between the scan and the reading, or while it is
scanned, and have files of elsewhere packed. So every name is opened from a descriptor of the source by openat2 with
RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS: one call, as before. Where the kernel has none (before 5.6, or forbidden by a
container), folders are walked one by one, and the last one is kept, for the next name mostly lies in it.

What is refused for a link is OSError with ELOOP, in words for whoever packs. No numpy and no Arrow here: builders read.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Generator

_OPENAT2 = 437  # the same everywhere
_NO_SYMLINKS, _BENEATH = 0x04, 0x08
_AT = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = _AT | os.O_DIRECTORY
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LINK = "is a symbolic link now, and none is followed"
_ABOVE = "a folder above it is a symbolic link now, and none is followed"
_libc = ctypes.CDLL(None, use_errno=True)


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_SIZE = ctypes.c_size_t(ctypes.sizeof(_How))


class Beneath:
    """A folder from which names are opened; safe from any thread. Close it, or use it in a `with`."""

    def __init__(self, name: bytes) -> None:
        self._root = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._hows: dict[int, _How] = {}
        self._at = ctypes.c_int(self._root)
        self._lock = threading.Lock()
        self._last: tuple[bytes, int] | None = None  # a folder that was walked to
        self._walks = False
        try:
            os.close(self._openat2(b".", _FOLDER))
        except OSError:
            self._walks = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the folder; what was opened stays open."""
        self._keep(None)
        os.close(self._root)

    def open(self, path: bytes, flags: int) -> int:
        """A descriptor of what is called `path`, relative to the folder; `flags` have O_NOFOLLOW. OSError."""
        try:
            return self._plainly(path, flags)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR} and (why := self._link_in(path)):
                raise OSError(errno.ELOOP, why) from None
            raise

    def status(self, path: bytes) -> os.stat_result:
        """Of what is called `path`, also of a symbolic link. OSError."""
        fd = self.open(path, _AT)
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def link(self, path: bytes) -> bytes:
        """What a symbolic link says. OSError."""
        fd = self.open(path, _AT)
        try:
            return os.readlink(b"", dir_fd=fd)
        except FileNotFoundError:  # what the system says of a descriptor of anything else
            raise OSError(errno.EINVAL, "is no symbolic link any more") from None
        finally:
            os.close(fd)

    def entries(self, folder: bytes) -> Generator[os.DirEntry[str]]:
        """What is in a folder, b"" for this one; statuses are asked for from the very folder. OSError."""
        fd = self.open(folder or b".", _LIST)
        try:
            with os.scandir(fd) as entries:
                yield from entries
        finally:
            os.close(fd)

    def _plainly(self, path: bytes, flags: int) -> int:
        return self._walked(path, flags) if self._walks else self._openat2(path, flags)

    def _openat2(self, path: bytes, flags: int) -> int:
        how = self._hows.get(flags)
        if how is None:
            how = self._hows[flags] = _How(flags, 0, _NO_SYMLINKS | _BENEATH)
        while (fd := _libc.syscall(_OPENAT2, self._at, path, ctypes.byref(how), _SIZE)) < 0:
            code = ctypes.get_errno()
            if code != errno.EINTR:
                raise OSError(code, os.strerror(code))
        return int(fd)

    def _walked(self, path: bytes, flags: int) -> int:
        folder, _, name = path.rpartition(b"/")
        with self._lock:
            if not folder:
                return os.open(name, flags, dir_fd=self._root)
            if self._last is None or self._last[0] != folder:
                self._keep((folder, self._walk_to(folder)))
            assert self._last is not None
            return os.open(name, flags, dir_fd=self._last[1])

    def _walk_to(self, folder: bytes) -> int:
        at = os.dup(self._root)
        for name in folder.split(b"/"):
            try:
                below = os.open(name, _FOLDER, dir_fd=at)
            finally:
                os.close(at)
            at = below
        return at

    def _keep(self, last: tuple[bytes, int] | None) -> None:
        if self._last is not None:
            os.close(self._last[1])
        self._last = last

    def _link_in(self, path: bytes) -> str | None:
        """Words for the first component that is a symbolic link; None where none is, or is any more."""
        parts = path.split(b"/")
        for count in range(1, len(parts) + 1):
            try:
                fd = self._plainly(b"/".join(parts[:count]), _AT)
            except OSError:
                return None
            try:
                if stat.S_ISLNK(os.fstat(fd).st_mode):
                    return _LINK if count == len(parts) else _ABOVE
            finally:
                os.close(fd)
        return None
