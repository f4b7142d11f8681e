"""The folder that unpack writes to: every name is opened beneath it, whatever a member's name or link says.

Names are walked component by component from a descriptor of the folder, with O_NOFOLLOW; absolute names, empty
components, `.` and `..` are refused. A symbolic link that a member made is never followed by the next one.

Nothing that stands under a member's name is removed or written to, whoever made it: a file is written in the folder of
notes, under a name that nobody else's file has, and moved to its own name when it is whole, its digest is right and it
is on the medium; never over another one (FileExistsError). So what stands there is whole, or is not of this unpack.

    NOTES/new-XXXXXXXX/N   whole files of a job; those that a stopped run left are removed by the next one
    NOTES/part-DIGEST      a file that lies in several packs, which several jobs write, by the digest of its name
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import tempfile
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from sealift.drives import medium
from sealift.drives.waiting import waiting
from sealift.formats.index import SYMLINK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealift.formats.index import Row

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FOLDERS = 64
_MAX_PATH = 4096  # PATH_MAX of Linux: a source has no longer names
_NEW, _PART = "new-", b"part-"
_NOREPLACE = 1  # of renameat2
_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM}
_libc = ctypes.CDLL(None, use_errno=True)
_rename = getattr(_libc, "renameat2", None)


class UnsafeError(Exception):
    """A name that would leave the target, or can be none; or, as InTheWayError, that has no place in it."""


class InTheWayError(UnsafeError):
    """Something else stands in the place of a folder, or of the file that another one is a name of."""


class New(NamedTuple):
    """A file that has no name of its own yet: its name in the folder of notes, and a descriptor to write it with."""

    name: bytes
    fd: int


class Target:
    """Makes files beneath `path`, whose folder `notes` is there and no member's.

    Where it hangs, that is said. Not where `sync` takes long: a disk may have minutes of writing before it.

    Not for threads; several processes may share one.
    """

    def __init__(self, path: str, notes: str) -> None:
        self._reserved = os.fsencode(notes)
        self.path = path
        self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._notes = os.open(self._reserved, _FOLDER, dir_fd=self._root)
        self.keeps_ctime = medium.keeps_ctime(self._root)
        self._cache: OrderedDict[bytes, int] = OrderedDict()
        self._new: bytes | None = None  # the folder of this process in that of notes
        self._count = 0
        self.writing = waiting(f"{path}: writing")  # for who writes to what is made here

    def close(self) -> None:
        """Close every folder."""
        if self._new is not None:
            with contextlib.suppress(OSError):
                os.rmdir(self._new, dir_fd=self._notes)
            self._new = None
        for descriptor in (*self._cache.values(), self._notes, self._root):
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
            with self.writing:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=parent)
                return os.open(name, _FOLDER, dir_fd=parent)
        except OSError as error:
            if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
                raise
            raise InTheWayError(
                f"something else stands in the place of the folder {os.fsdecode(folder)!r} and was left"
            ) from error

    @contextlib.contextmanager
    def new(self, path: bytes, size: int) -> Iterator[New]:
        """A whole file of `size` bytes to be written, which is to be called `path`; it goes on an error."""
        self._split(path)
        with self.writing:
            if self._new is None:
                made = tempfile.mkdtemp(prefix=_NEW, dir=os.path.join(self.path, os.fsdecode(self._reserved)))
                self._new = os.fsencode(os.path.basename(made))
            self._count += 1
            name = b"%b/%d" % (self._new, self._count)
            fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._notes)
        try:
            if size:
                with self.writing:
                    os.ftruncate(fd, size)
            yield New(name, fd)
        except BaseException:
            self.discard(name)
            raise
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def part(self, path: bytes, size: int) -> Iterator[int]:
        """A descriptor to write a segment of a file with, all of which is `size` bytes long."""
        self._split(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with self.writing:
            fd = os.open(self.part_name(path), flags, 0o600, dir_fd=self._notes)
        try:
            if os.fstat(fd).st_size != size:
                with self.writing:
                    os.ftruncate(fd, size)
            yield fd
        finally:
            os.close(fd)

    @staticmethod
    def part_name(path: bytes) -> bytes:
        """What a file of several segments is called in the folder of notes, until all of it is here."""
        return _PART + blake3(path).hexdigest(16).encode()

    def has_part(self, path: bytes, size: int) -> bool:
        """Whether what was written of a file of several segments is there."""
        try:
            status = os.stat(self.part_name(path), dir_fd=self._notes, follow_symlinks=False)
        except OSError:
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size == size

    def part_digest(self, path: bytes) -> bytes:
        """BLAKE3 of a file of several segments, before it has its own name."""
        return _digest(self.part_name(path), self._notes)

    def publish(self, name: bytes, path: bytes) -> None:
        """Give a file in the folder of notes, which is on the medium, its own name. FileExistsError."""
        folder, last = self._split(path)
        parent = self._parent(folder)
        with self.writing:
            _move(name, self._notes, last, parent)

    def discard(self, name: bytes) -> None:
        """Remove a file in the folder of notes."""
        with contextlib.suppress(FileNotFoundError), self.writing:
            os.unlink(name, dir_fd=self._notes)

    def symlink(self, path: bytes, link: bytes, mtime: int) -> None:
        """A symbolic link that says `link`, made or found; nobody follows it here. FileExistsError."""
        if not link or b"\0" in link:
            raise UnsafeError("a symbolic link to nothing that can be")
        folder, name = self._split(path)
        parent = self._parent(folder)
        with self.writing:
            try:
                os.symlink(link, name, dir_fd=parent)
            except FileExistsError:
                if not self.has_link(path, link):
                    raise
                if os.stat(name, dir_fd=parent, follow_symlinks=False).st_mtime_ns == mtime:
                    return
            os.utime(name, ns=(mtime, mtime), dir_fd=parent, follow_symlinks=False)

    def hardlink(self, path: bytes, original: bytes) -> None:
        """Another name of a file that is already here, made, or found with the same bytes. FileExistsError."""
        folder, name = self._split(path)
        parent = self._parent(folder)
        source_folder, source = self._split(original)
        parent = os.dup(parent)  # the next folder may push it out
        try:
            source_parent = self._parent(source_folder)
            status = os.stat(source, dir_fd=source_parent, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                raise InTheWayError(f"the file it is another name of, {os.fsdecode(original)!r}, is no file here")
            try:
                with self.writing:
                    os.link(source, name, src_dir_fd=source_parent, dst_dir_fd=parent, follow_symlinks=False)
            except FileExistsError:
                there = os.stat(name, dir_fd=parent, follow_symlinks=False)
                if not os.path.samestat(there, status) and not (
                    self.has(path, status.st_size) and _digest(name, parent) == _digest(source, source_parent)
                ):
                    raise
        finally:
            os.close(parent)

    def has(self, path: bytes, size: int) -> bool:
        """Whether a file of this length is there; what is in it is not looked at."""
        try:
            folder, name = self._split(path)
            status = os.stat(name, dir_fd=self._parent(folder), follow_symlinks=False)
        except (UnsafeError, OSError):
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size == size

    def has_link(self, path: bytes, link: bytes) -> bool:
        """Whether a symbolic link that says `link` is there."""
        try:
            folder, name = self._split(path)
            return os.readlink(name, dir_fd=self._parent(folder)) == link
        except (UnsafeError, OSError):
            return False

    def holds(self, path: bytes, size: int, digest: bytes) -> bool:
        """Whether a file with these bytes is there, whoever brought it."""
        try:
            folder, name = self._split(path)
            return self.has(path, size) and _digest(name, self._parent(folder)) == digest
        except (UnsafeError, OSError):
            return False

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
            return (self.keeps_ctime and status.st_ctime_ns <= latest) or _digest(name, parent) == row.blake3
        except (UnsafeError, OSError):
            return False

    def ctime(self, path: bytes) -> int:
        """When a file was last changed, in ns."""
        folder, name = self._split(path)
        return os.stat(name, dir_fd=self._parent(folder), follow_symlinks=False).st_ctime_ns

    def metadata(self, path: bytes, mode: int, mtime: int) -> None:
        """Mode and time of a file that was found with the right bytes, as far as they are ours to set."""
        folder, name = self._split(path)
        parent = self._parent(folder)
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (mode, mtime):
            return
        with contextlib.suppress(PermissionError):
            fd = os.open(name, _READ, dir_fd=parent)
            try:
                self.stamp(fd, mode, mtime)
            finally:
                os.close(fd)

    def stamp(self, fd: int, mode: int, mtime: int) -> None:
        """Mode and time of an open file."""
        with self.writing:
            os.fchmod(fd, mode)
            os.utime(fd, ns=(mtime, mtime))

    def part_metadata(self, path: bytes, mode: int, mtime: int) -> None:
        """Mode and time of a file of several segments, before it has its own name."""
        fd = os.open(self.part_name(path), _READ, dir_fd=self._notes)
        try:
            self.stamp(fd, mode, mtime)
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
        with self.writing:
            os.utime(fd, ns=(mtime, mtime))
            os.fchmod(fd, mode)


def left(folder: str) -> Iterator[str]:
    """Folders of whole files that stopped runs left in the folder of notes."""
    for name in os.listdir(folder):
        if name.startswith(_NEW):
            yield os.path.join(folder, name)


def digest_of(path: bytes) -> bytes:
    """BLAKE3 of a file. OSError."""
    return _digest(path, None)


def _digest(name: bytes, folder: int | None) -> bytes:
    """BLAKE3 of a file."""
    with os.fdopen(os.open(name, _READ, dir_fd=folder), "rb") as file:
        hasher = blake3()
        buffer = bytearray(1 << 20)
        while count := file.readinto(buffer):
            hasher.update(memoryview(buffer)[:count])
        return hasher.digest()


def _move(name: bytes, folder: int, to: bytes, there: int) -> None:
    """Rename, and never over anything: FileExistsError. Where the filesystem has no such call, by a second name."""
    if _rename is not None and _rename(folder, name, there, to, _NOREPLACE) == 0:
        return
    code = ctypes.get_errno() if _rename is not None else errno.ENOSYS
    if code not in _UNSUPPORTED:
        raise OSError(code, os.strerror(code), os.fsdecode(to))
    try:
        os.link(name, to, src_dir_fd=folder, dst_dir_fd=there, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        with contextlib.suppress(FileNotFoundError):  # neither call: what is looked at is not there, or it is left
            os.stat(to, dir_fd=there, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fsdecode(to)) from None
        os.rename(name, to, src_dir_fd=folder, dst_dir_fd=there)
    else:
        os.unlink(name, dir_fd=folder)
