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
import ctypes
import errno
import fcntl
import mmap
import os
import stat
import weakref
from typing import TYPE_CHECKING, Self

from sealift.drives import medium
from sealift.drives.base import (
    ALIGN,
    MAX_DEPTH,
    PART,
    SAFE_READING,
    SAFE_WRITING,
    Entry,
    Kind,
    Source,
    fault,
    obstacle,
    split,
    what_is,
)
from sealift.errors import BadInput, Busy, DriveFault, FormatError
from sealift.formats.manifest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_IOV_MAX = 1024


def _open_quietly(name: str, flags: int, folder: int) -> int:
    """Open without touching the access time, where this user may ask for that."""
    try:
        return os.open(name, flags | os.O_NOATIME, dir_fd=folder)
    except PermissionError:
        return os.open(name, flags, dir_fd=folder)


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


def _open_file(name: str, folder: int, *, direct: bool) -> int:
    """A descriptor for reading, past the caches with `direct` where the filesystem has that. OSError."""
    if direct:
        with contextlib.suppress(OSError):
            return _open_quietly(name, _FILE | os.O_DIRECT, folder)
    return _open_quietly(name, _FILE, folder)


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
            os.fsync(self._fd)
            descriptor = _open_file(self._last + PART, self._folder, direct=True)
        except OSError as error:
            raise self._fault(f"reading back {self.name}", error) from error
        return LocalReadFile(descriptor, self._mount, self.name, direct=True)

    def publish(self) -> None:
        """fsync, rename over the name, close; the folder's fsync is `LocalDrive.sync_folder`."""
        try:
            os.fsync(self._fd)
            _keep_strange(self._folder, self._mount, self.name)
            os.rename(self._last + PART, self._last, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except OSError as error:
            raise self._fault(f"publishing {self.name}", error) from error
        self._close()

    def abandon(self) -> None:
        """Close and remove; never raises."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.unlink(self._last + PART, dir_fd=self._folder)
            self._close()

    def _close(self) -> None:
        for descriptor in (self._fd, self._folder):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._fd = self._folder = -1

    def _fault(self, doing: str, error: OSError) -> Exception:
        return fault(self._mount, doing, error, safe=SAFE_WRITING)


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
                below = _open_quietly(part, _FOLDER, descriptor)
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
            descriptor = _open_file(last, folder, direct=direct)
        finally:
            os.close(folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FormatError(f"{self.mount}: {name} is not a regular file")
        return descriptor

    def exists(self) -> bool:
        """Whether there is a sealift/ folder."""
        try:
            os.close(self._folder([ROOT]))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise fault(self.mount, f"opening {ROOT}/", error, safe=SAFE_READING) from error
        return True

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

    def create(self, name: str, *, direct: bool = False) -> LocalPartFile:
        """Begin NAME.part, in place of a leftover one, in folders that are made if needed."""
        *above, last = split(name)
        self._require_place(f"creating {name}")
        try:
            folder = self._make_folders(above)
            try:
                _keep_strange(folder, self.mount, name)
                _keep_strange(folder, self.mount, name + PART)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(last + PART, dir_fd=folder)
                descriptor = os.open(last + PART, _NEW, 0o644, dir_fd=folder)
            except BaseException:
                os.close(folder)
                raise
        except OSError as error:
            raise fault(self.mount, f"creating {name}", error, safe=SAFE_WRITING) from error
        return LocalPartFile(descriptor, folder, self.mount, name, direct=direct)

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

    def remove(self, name: str) -> None:
        """Remove the file, if it is there; durable after sync_folder."""
        assert self._lock is not None, "a drive is written only under its lock"
        *above, last = split(name)
        try:
            folder = self._folder([ROOT, *above])
            try:
                _keep_strange(folder, self.mount, name)
                os.unlink(last, dir_fd=folder)
            finally:
                os.close(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise fault(self.mount, f"removing {name}", error, safe=SAFE_WRITING) from error


def _keep_strange(folder: int, mount: str, name: str) -> None:
    """DriveFault where what is there under a name is no regular file: it is not ours to replace or remove."""
    try:
        mode = os.stat(name.rpartition("/")[2], dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise obstacle(mount, name, what_is(mode))


def _kind(entry: os.DirEntry[str]) -> tuple[Kind, int]:
    if entry.is_symlink():
        return "link", 0
    if entry.is_dir(follow_symlinks=False):
        return "folder", 0
    if entry.is_file(follow_symlinks=False):
        return "file", entry.stat(follow_symlinks=False).st_size
    return "other", 0
