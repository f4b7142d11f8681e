"""LocalDrive: one mounted filesystem, hostile until shown otherwise.

Holds: everything is opened beneath MOUNT/sealift, component by component, with O_NOFOLLOW, O_NONBLOCK and
O_CLOEXEC; what is not a regular file is never opened (a device node acts when it is opened); reading changes
nothing, not even access times where the system allows. The mount's own folder stays open, so that a
filesystem mounted there later is not taken for this one; nor is anything written on to one that is unmounted
meanwhile (umount -l), which that folder would still reach. Writing goes to NAME.part, is fsynced, then renamed; where
either name is there and no regular file, that is somebody else's, and stays.
What there must be on a drive is not here, and bulk data is never copied in Python: callers bring the buffers.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import stat
import weakref
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from sealift.drives import hung, medium
from sealift.drives.base import (
    MAX_DEPTH,
    PART,
    SAFE_READING,
    SAFE_WRITING,
    Entry,
    Kind,
    fault,
    obstacle,
    split,
    what_is,
)
from sealift.drives.local_file import LocalPartFile, LocalReadFile, keep_strange, open_file, open_quietly
from sealift.errors import BadInput, Busy, DriveFault, FormatError
from sealift.formats.manifest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

P = ParamSpec("P")
T = TypeVar("T")


def nothing_mounted(path: str) -> bool:
    """Whether a folder is part of what is mounted above it: no drive is mounted there. False where nobody knows."""
    try:
        here = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            above = os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here)
            try:
                return not os.path.sameopenfile(here, above) and _mount_of(here) == _mount_of(above)
            finally:
                os.close(above)
        finally:
            os.close(here)
    except (OSError, ValueError):
        return False


def _mount_of(descriptor: int) -> str:
    """Which mount a descriptor is on: the kernel's number for it (proc(5), mnt_id), or else its device."""
    with contextlib.suppress(OSError), open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("mnt_id:"):
                return line
    return str(os.fstat(descriptor).st_dev)


def _asks(method: Callable[Concatenate[LocalDrive, P], T]) -> Callable[Concatenate[LocalDrive, P], T]:
    """One that a drive which hangs does not answer: who waits for it is told (hung.py)."""

    @functools.wraps(method)
    def asking(drive: LocalDrive, /, *given: P.args, **named: P.kwargs) -> T:
        with hung.asked(drive.mount):
            return method(drive, *given, **named)

    return asking


class LocalDrive:
    """drives.base.Drive over a mounted filesystem (or a folder that stands in for one)."""

    def __init__(self, mount: str) -> None:
        self.mount = mount
        try:
            self._base = os.open(mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            why = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
            raise BadInput(f"{mount}: {why}", hint="give the folder where the drive is mounted") from error
        self._closer = weakref.finalize(self, os.close, self._base)
        self._lock: int | None = None
        self._serial: str | None = None
        self._asked = False  # for the serial number: lsblk is asked once
        self._durable: set[tuple[str, ...]] = set()  # folders whose names this process has fsynced

    def __reduce__(self) -> tuple[type[LocalDrive], tuple[str]]:
        return LocalDrive, (self.mount,)

    def __repr__(self) -> str:
        return f"LocalDrive({self.mount!r})"

    # Reading

    def _folder(self, components: Sequence[str]) -> int:
        """Descriptor of a folder beneath the mount. FileNotFoundError, FormatError or another OSError."""
        descriptor = os.dup(self._base)
        for depth, part in enumerate(components):
            try:
                below = open_quietly(part, _FOLDER, descriptor)
            except OSError as error:
                if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                    what = "/".join(components[: depth + 1])
                    raise FormatError(f"{self.mount}: {what} is not a folder") from error
                raise
            finally:
                os.close(descriptor)
            descriptor = below
        return descriptor

    def _open(self, name: str, *, direct: bool = False) -> int:
        """Descriptor of a regular file. FileNotFoundError, FormatError or another OSError."""
        *above, last = split(name)
        folder = self._folder([ROOT, *above])
        try:
            if not stat.S_ISREG(mode := os.stat(last, dir_fd=folder, follow_symlinks=False).st_mode):
                raise FormatError(f"{self.mount}: {name} is not a regular file but {what_is(mode)}")
            descriptor = open_file(last, folder, direct=direct)
        finally:
            os.close(folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FormatError(f"{self.mount}: {name} is not a regular file")
        return descriptor

    @_asks
    def exists(self) -> bool:
        """Whether there is a sealift/ folder."""
        try:
            os.close(self._folder([ROOT]))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise fault(self.mount, f"opening {ROOT}/", error, safe=SAFE_READING) from error
        return True

    @_asks
    def read_small(self, name: str, limit: int) -> bytes | None:
        """The whole file, None when there is none."""
        try:
            descriptor = self._open(name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise fault(self.mount, f"opening {name}", error, safe=SAFE_READING) from error
        with LocalReadFile(descriptor, self.mount, name, direct=False) as file:
            if file.length > limit:
                raise FormatError(f"{self.mount}: {name} is {file.length:,} bytes long; at most {limit:,} are allowed")
            return file.read_at(0, file.length)

    @_asks
    def size(self, name: str) -> int | None:
        """Length in bytes, None when there is none. Does not open the file."""
        *above, last = split(name)
        try:
            folder = self._folder([ROOT, *above])
            try:
                status = os.stat(last, dir_fd=folder, follow_symlinks=False)
            finally:
                os.close(folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise fault(self.mount, f"looking at {name}", error, safe=SAFE_READING) from error
        if not stat.S_ISREG(status.st_mode):
            raise FormatError(f"{self.mount}: {name} is not a regular file but {what_is(status.st_mode)}")
        return status.st_size

    @_asks
    def open_read(self, name: str, *, direct: bool = False) -> LocalReadFile:
        """Open for reading.

        `direct` reads from the medium (O_DIRECT), or drops the cache around every read.
        """
        try:
            descriptor = self._open(name, direct=direct)
        except OSError as error:
            raise fault(self.mount, f"opening {name}", error, safe=SAFE_READING) from error
        return LocalReadFile(descriptor, self.mount, name, direct=direct)

    def walk(self, limit: int) -> Iterator[Entry]:
        """Everything beneath sealift/, folders before what is in them, never following anything."""
        pending: list[list[str]] = [[]]
        count = 0
        while pending:
            above = pending.pop()
            try:
                with hung.asked(self.mount):
                    folder = self._folder([ROOT, *above])
                try:
                    with os.scandir(folder) as entries:
                        for entry in entries:
                            count += 1
                            if count > limit:
                                raise FormatError(f"{self.mount}: more than {limit:,} files and folders in {ROOT}/")
                            kind, size = _kind(entry)
                            yield Entry(os.fsencode("/".join([*above, entry.name])), kind, size)
                            if kind == "folder" and len(above) + 1 >= MAX_DEPTH:
                                raise FormatError(f"{self.mount}: folders in {ROOT}/ are over {MAX_DEPTH} deep")
                            if kind == "folder":
                                pending.append([*above, entry.name])
                finally:
                    os.close(folder)
            except FileNotFoundError:
                continue  # removed while we walked, or no sealift/ at all: `exists` tells
            except OSError as error:
                raise fault(self.mount, f"listing {'/'.join([ROOT, *above])}/", error, safe=SAFE_READING) from error

    # Identity of the medium

    def filesystem(self) -> tuple[object, ...]:
        """Device number of the block device.

        Or of the filesystem with its id where there is no block device.
        """
        return medium.filesystem(self._base)

    def serial(self) -> str | None:
        """Serial number of the physical medium behind partitions, LUKS and dm.

        None for loop, tmpfs and arrays.
        """
        if not self._asked:
            self._serial, self._asked = medium.serial(self._base), True
        return self._serial

    @_asks
    def _space(self) -> os.statvfs_result:
        try:
            return os.fstatvfs(self._base)
        except OSError as error:
            raise fault(self.mount, "asking for its size", error, safe=SAFE_READING) from error

    def free_bytes(self) -> int:
        """Bytes that this user may still write."""
        space = self._space()
        return space.f_bavail * space.f_frsize

    @property
    def read_only(self) -> bool:
        """Whether it is mounted so. DriveFault."""
        return bool(self._space().f_flag & os.ST_RDONLY)

    def total_bytes(self) -> int:
        """Bytes of the whole filesystem."""
        space = self._space()
        return space.f_blocks * space.f_frsize

    # Writing, under the lock

    @_asks
    def _require_place(self, doing: str) -> None:
        """DriveFault unless what is mounted there is still what was opened: what was unmounted lazily still answers."""
        try:
            now = os.stat(self.mount)
            if os.path.samestat(now, os.fstat(self._base)):
                return
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise fault(self.mount, doing, error, safe=SAFE_WRITING) from error
        raise DriveFault(
            f"{self.mount}: {doing}: what was mounted there is no longer; {SAFE_WRITING}",
            drive=self.mount,
            hint="mount it again at the same place and run the same command again",
        ) from OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    @_asks
    def lock(self) -> int:
        """Make sealift/ if needed and flock it.

        The descriptor is inherited by children, and with it the lock.
        """
        if self._lock is not None:
            return self._lock
        self._require_place(f"making {ROOT}/")
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(ROOT, 0o755, dir_fd=self._base)
            os.fsync(self._base)
            descriptor = self._folder([ROOT])
        except OSError as error:
            raise fault(self.mount, f"making {ROOT}/", error, safe=SAFE_WRITING) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise Busy(f"{self.mount}: another process works on this drive") from error
        except OSError as error:
            os.close(descriptor)
            raise fault(self.mount, f"locking {ROOT}/", error, safe=SAFE_WRITING) from error
        os.set_inheritable(descriptor, True)  # noqa: FBT003
        self._lock = descriptor
        return descriptor

    def unlock(self) -> None:
        """Give the lock up; again does nothing. A child that inherited it holds it until it ends."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _make_folders(self, above: Sequence[str]) -> int:
        """Descriptor of the folder that holds a file, made if needed; every new name is fsynced."""
        assert self._lock is not None, "a drive is written only under its lock"
        descriptor = os.dup(self._lock)
        for depth, part in enumerate(above):
            try:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=descriptor)
                below = os.open(part, _FOLDER, dir_fd=descriptor)
                if tuple(above[: depth + 1]) not in self._durable:  # one left by a crash may not be, either
                    os.fsync(descriptor)
                    self._durable.add(tuple(above[: depth + 1]))
            except OSError as error:
                if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                    there = what_is(os.stat(part, dir_fd=descriptor, follow_symlinks=False).st_mode)
                    raise obstacle(self.mount, "/".join(above[: depth + 1]), there) from error
                raise
            finally:
                os.close(descriptor)
            descriptor = below
        return descriptor

    @_asks
    def create(self, name: str, *, direct: bool = False) -> LocalPartFile:
        """Begin NAME.part, in place of a leftover one, in folders that are made if needed."""
        *above, last = split(name)
        self._require_place(f"creating {name}")
        try:
            folder = self._make_folders(above)
            try:
                keep_strange(folder, self.mount, name)
                keep_strange(folder, self.mount, name + PART)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(last + PART, dir_fd=folder)
                descriptor = os.open(last + PART, _NEW, 0o644, dir_fd=folder)
            except BaseException:
                os.close(folder)
                raise
        except OSError as error:
            raise fault(self.mount, f"creating {name}", error, safe=SAFE_WRITING) from error
        return LocalPartFile(descriptor, folder, self.mount, name, direct=direct)

    @_asks
    def sync_folder(self, name: str) -> None:
        """Make durable (fsync) the folder that holds `name`."""
        *above, _ = split(name)
        self._require_place(f"syncing the folder of {name}")
        try:
            folder = self._folder([ROOT, *above])
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise fault(self.mount, f"syncing the folder of {name}", error, safe=SAFE_WRITING) from error

    def write_small(self, name: str, data: bytes) -> None:
        """Write beside, fsync, rename, fsync the folder."""
        part = self.create(name)
        try:
            if data:
                part.write_at(0, [memoryview(data)])
            part.publish()
        except BaseException:
            part.abandon()
            raise
        self.sync_folder(name)

    @_asks
    def remove(self, name: str) -> None:
        """Remove the file, if it is there; durable after sync_folder."""
        assert self._lock is not None, "a drive is written only under its lock"
        *above, last = split(name)
        try:
            folder = self._folder([ROOT, *above])
            try:
                keep_strange(folder, self.mount, name)
                os.unlink(last, dir_fd=folder)
            finally:
                os.close(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise fault(self.mount, f"removing {name}", error, safe=SAFE_WRITING) from error


def _kind(entry: os.DirEntry[str]) -> tuple[Kind, int]:
    if entry.is_symlink():
        return "link", 0
    if entry.is_dir(follow_symlinks=False):
        return "folder", 0
    if entry.is_file(follow_symlinks=False):
        return "file", entry.stat(follow_symlinks=False).st_size
    return "other", 0
