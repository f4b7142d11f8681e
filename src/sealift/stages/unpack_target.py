"""The folder that unpack writes to: every name is opened beneath it, whatever a member's name or link says.

Names are walked component by component from a descriptor of the folder, with O_NOFOLLOW; absolute names, empty
components, `.` and `..` are refused. A symbolic link that a member made is never followed by the next one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
from collections import OrderedDict
from typing import TYPE_CHECKING

from blake3 import blake3

from sealift.drives import medium
from sealift.formats.index import SYMLINK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealift.formats.index import Row

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDERS = 64
_MAX_PATH = 4096  # PATH_MAX of Linux: a source has no longer names
_libc = ctypes.CDLL(None, use_errno=True)


class UnsafeError(Exception):
    """A name that would leave the target, or passes through something that is no folder."""


class Target:
    """Writes beneath `path`, but not into its folder `reserved`. Not for threads; several processes may share one."""

    def __init__(self, path: str, reserved: str = "") -> None:
        self._reserved = os.fsencode(reserved) or None
        self.path = path
        self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.keeps_ctime = medium.keeps_ctime(self._root)
        self._cache: OrderedDict[bytes, int] = OrderedDict()

    def close(self) -> None:
        """Close every folder."""
        for descriptor in (*self._cache.values(), self._root):
            os.close(descriptor)
        self._cache.clear()

    def sync(self) -> None:
        """Make everything written so far durable (syncfs)."""
        if _libc.syncfs(self._root) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def _split(self, path: bytes) -> tuple[bytes, bytes]:
        if len(path) > _MAX_PATH:
            raise UnsafeError("its name is longer than any file's can be")
        parts = path.split(b"/")
        if parts[0] == self._reserved:
            raise UnsafeError("its name is that of unpack's own notes")
        if any(part in {b"", b".", b".."} or b"\0" in part for part in parts):
            raise UnsafeError(f"its name {os.fsdecode(path)!r} does not stay within the target")
        return b"/".join(parts[:-1]), parts[-1]

    def _parent(self, folder: bytes) -> int:
        """A descriptor of a folder beneath the root, made if needed."""
        if not folder:
            return self._root
        known, parts = folder, folder.split(b"/")
        below: list[bytes] = []
        while known and known not in self._cache:
            below.append(parts.pop())
            known = b"/".join(parts)
        descriptor = self._root
        if known:
            self._cache.move_to_end(known)
            descriptor = self._cache[known]
        for name in reversed(below):
            known = known + b"/" + name if known else name
            descriptor = self._cache[known] = self._open_folder(descriptor, name, known)
            if len(self._cache) > _FOLDERS:
                _, oldest = self._cache.popitem(last=False)
                os.close(oldest)
        return descriptor

    def _open_folder(self, parent: int, name: bytes, folder: bytes) -> int:
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=parent)
            return os.open(name, _FOLDER, dir_fd=parent)
        except PermissionError:
            raise
        except OSError as error:
            raise UnsafeError(f"{os.fsdecode(folder)!r} above it is no folder ({error.strerror})") from error

    @contextlib.contextmanager
    def file(self, path: bytes, size: int, *, whole: bool) -> Iterator[int]:
        """A descriptor to write a file with, `size` bytes long; a whole file is removed again on an error."""
        folder, name = self._split(path)
        parent = self._parent(folder)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        if whole:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=parent)
            flags |= os.O_EXCL
        fd = os.open(name, flags, 0o600, dir_fd=parent)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise UnsafeError("something that is no file stands in its place")
            if status.st_size != size:
                os.ftruncate(fd, size)
            yield fd
        except BaseException:
            if whole:
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=parent)
            raise
        finally:
            os.close(fd)

    def symlink(self, path: bytes, link: bytes, mtime: int) -> None:
        """A symbolic link that says `link`; nobody follows it here."""
        if not link or b"\0" in link:
            raise UnsafeError("a symbolic link to nothing that can be")
        folder, name = self._split(path)
        parent = self._parent(folder)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parent)
        os.symlink(link, name, dir_fd=parent)
        os.utime(name, ns=(mtime, mtime), dir_fd=parent, follow_symlinks=False)

    def hardlink(self, path: bytes, original: bytes) -> None:
        """Another name of a file that is already here."""
        folder, name = self._split(path)
        parent = self._parent(folder)
        source_folder, source = self._split(original)
        parent = os.dup(parent)  # the next folder may push it out
        try:
            source_parent = self._parent(source_folder)
            if not stat.S_ISREG(os.stat(source, dir_fd=source_parent, follow_symlinks=False).st_mode):
                raise UnsafeError(f"the file it is another name of, {os.fsdecode(original)!r}, is no file here")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=parent)
            os.link(source, name, src_dir_fd=source_parent, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(parent)

    def has(self, path: bytes, size: int | None) -> bool:
        """Whether a file of this length, or a symbolic link (None), is there; what is in it is not looked at."""
        try:
            folder, name = self._split(path)
            status = os.stat(name, dir_fd=self._parent(folder), follow_symlinks=False)
        except (UnsafeError, OSError):
            return False
        if size is None:
            return stat.S_ISLNK(status.st_mode)
        return stat.S_ISREG(status.st_mode) and status.st_size == size

    def is_still(self, row: Row, latest: int) -> bool:
        """Whether the file or symbolic link of a row is there, as it was written.

        Nobody has changed it where its ctime is not after `latest`, in ns; else, and where there is none, it is read.
        """
        try:
            folder, name = self._split(row.path)
            parent = self._parent(folder)
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if row.kind == SYMLINK:
                return stat.S_ISLNK(status.st_mode) and os.readlink(name, dir_fd=parent) == row.link
            if not stat.S_ISREG(status.st_mode) or status.st_size != row.size:
                return False
            return (self.keeps_ctime and status.st_ctime_ns <= latest) or self.digest(row.path) == row.blake3
        except (UnsafeError, OSError):
            return False

    def ctime(self, path: bytes) -> int:
        """When a file was last changed, in ns."""
        folder, name = self._split(path)
        return os.stat(name, dir_fd=self._parent(folder), follow_symlinks=False).st_ctime_ns

    def remove(self, path: bytes) -> None:
        """Remove a file that did not come out right."""
        folder, name = self._split(path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._parent(folder))

    def metadata(self, path: bytes, mode: int, mtime: int) -> None:
        """Mode and time of a file that is complete."""
        folder, name = self._split(path)
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=self._parent(folder))
        try:
            os.fchmod(fd, mode)
            os.utime(fd, ns=(mtime, mtime))
        finally:
            os.close(fd)

    def folder(self, path: bytes, mode: int = 0, mtime: int = 0) -> None:  # noqa: ARG002 -- the shape of folder_metadata
        """Make a folder, if it is not there."""
        folder, name = self._split(path)
        self._parent(folder + b"/" + name if folder else name)

    def folder_metadata(self, path: bytes, mode: int, mtime: int) -> None:
        """Mode and time of a folder, when nothing more is written into it."""
        folder, name = self._split(path)
        fd = self._parent(folder + b"/" + name if folder else name)
        os.utime(fd, ns=(mtime, mtime))
        os.fchmod(fd, mode)

    def digest(self, path: bytes) -> bytes:
        """BLAKE3 of a file that was written."""
        folder, name = self._split(path)
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=self._parent(folder))
        with os.fdopen(fd, "rb") as file:
            hasher = blake3()
            buffer = bytearray(1 << 20)
            while count := file.readinto(buffer):
                hasher.update(memoryview(buffer)[:count])
            return hasher.digest()
