"""SimulatedDrive: any Drive with a will of its own, as its Bay says.

Every call of drives.base.Drive passes through `Bay.ask` first, which counts it, and fails it when it was told to; so
that what stands above sees exactly the faults that a real drive gives it. A write that fails has written its first
half; a drive that goes away keeps what it had, half-written files too. On a drive that was filled what is there and
what is free come to the same, whatever is written, replaced, removed or done to it at rest. Safe to use from several
threads.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import stat
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, Self

from sealift.drives.base import PART, SAFE_READING, SAFE_WRITING, fault
from sealift.drives.local import LocalDrive
from sealift.drives.memory import Medium, MemoryDrive
from sealift.formats.manifest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sealift.drives.base import Drive, Entry, PartFile, ReadFile, Source
    from sealift.errors import DriveFault

Operation = Literal["look", "open", "read", "lock", "create", "write", "fsync", "rename", "remove"]
Lie = Literal["flip", "drop"]

_READING = {"look", "open", "read"}
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Platter(Protocol):
    """The files of a drive beneath sealift/, past every check: what rot, thieves and accidents work on."""

    def names(self) -> list[str]:
        """Every regular file, half-written ones (NAME.part) too, sorted."""

    def read(self, name: str) -> bytes:
        """The whole file. KeyError when there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Put `data` under `name`, in place; what stands above may tell by nothing but its bytes.

        ValueError where something else than a regular file is there, or than a folder above.
        """

    def remove(self, name: str) -> None:
        """Take the file away. KeyError when there is none."""

    def open(self, mount: str) -> Drive:
        """A Drive over what is here."""


class MemoryPlatter:
    """Platter over a Medium."""

    def __init__(self) -> None:
        self._medium = Medium()

    def names(self) -> list[str]:
        """Every regular file."""
        return sorted(name for name, data in self._medium.files.items() if not isinstance(data, str))

    def read(self, name: str) -> bytes:
        """The whole file."""
        data = self._medium.files[name]
        if isinstance(data, str):
            raise KeyError(name)
        return bytes(data)

    def write(self, name: str, data: bytes) -> None:
        """Put `data`; the stamp stays, as it does when a medium rots."""
        if isinstance(self._medium.files.get(name), str):
            raise ValueError(f"{name} is no regular file")  # noqa: TRY004 -- as of a folder
        self._medium.exists = True
        self._medium.files[name] = data

    def remove(self, name: str) -> None:
        """Take the file away."""
        del self._medium.files[name]

    def open(self, mount: str) -> Drive:
        """A MemoryDrive."""
        return MemoryDrive(mount, self._medium)


class FolderPlatter:
    """Platter over a folder that stands in for a mount; made if needed. No link beneath it is followed."""

    def __init__(self, path: str) -> None:
        self._path = path
        os.makedirs(path, exist_ok=True)

    def names(self) -> list[str]:
        """Every regular file."""
        root = os.path.join(self._path, ROOT)
        if not os.path.lexists(root):
            return []
        return sorted(
            os.path.relpath(os.path.join(folder, name), root)
            for folder, _, names, descriptor in os.fwalk(root, follow_symlinks=False)
            for name in names
            if stat.S_ISREG(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode)
        )

    def _above(self, name: str, *, make: bool = False) -> int:
        """Descriptor of the folder that `name` is in."""
        above = os.open(self._path, _FOLDER & ~os.O_NOFOLLOW)
        for part in (ROOT, *name.split("/")[:-1]):
            try:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=above)
                below = os.open(part, _FOLDER, dir_fd=above)
            except NotADirectoryError:  # of a link, too
                raise ValueError(f"{self._path}: {name}: {part} is no folder, and no link is followed") from None
            finally:
                os.close(above)
            above = below
        return above

    def _open(self, name: str, flags: int) -> int:
        """Descriptor of a regular file; FileNotFoundError, ValueError for what is another thing."""
        above = self._above(name, make=bool(flags & os.O_CREAT))
        last = name.rpartition("/")[2]
        try:
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISREG(os.stat(last, dir_fd=above, follow_symlinks=False).st_mode):
                    raise ValueError(f"{self._path}: {name} is no regular file, and no link is followed")
            return os.open(last, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=above)
        finally:
            os.close(above)

    def read(self, name: str) -> bytes:
        """The whole file."""
        try:
            with open(self._open(name, os.O_RDONLY), "rb") as file:
                return file.read()
        except FileNotFoundError:
            raise KeyError(name) from None

    def write(self, name: str, data: bytes) -> None:
        """Put `data` in place, with the times that were."""
        try:
            descriptor, before = self._open(name, os.O_RDWR), True
        except FileNotFoundError:
            descriptor, before = self._open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL), False
        with open(descriptor, "r+b") as file:
            found = os.fstat(descriptor)
            file.write(data)
            file.truncate()
            file.flush()
            if before:
                os.utime(descriptor, ns=(found.st_atime_ns, found.st_mtime_ns))

    def remove(self, name: str) -> None:
        """Take the file away."""
        try:
            os.close(self._open(name, os.O_RDONLY))
            above = self._above(name)
        except FileNotFoundError:
            raise KeyError(name) from None
        try:
            os.unlink(name.rpartition("/")[2], dir_fd=above)
        finally:
            os.close(above)

    def open(self, mount: str) -> Drive:
        """A LocalDrive of the folder, whatever `mount` says: it is its path."""
        del mount
        return LocalDrive(self._path)


@dataclass
class Fault:
    """The `nth` next call of an operation fails with `code`, and all after it if it is `lasting`.

    `words`: the line of the script that told it; `fell`: whether a call met it.
    """

    operation: Operation
    code: int
    nth: int
    lasting: bool
    pattern: str  # of names, as fnmatch has them
    words: str = ""
    fell: bool = False


@dataclass
class Untruth:
    """The `nth` next write is acknowledged and kept otherwise, and all after it if it is `lasting`; as a Fault."""

    nth: int
    how: Lie
    lasting: bool
    pattern: str  # of names, as fnmatch has them
    words: str = ""
    fell: bool = False


@dataclass
class Bay:
    """What stands behind a mount, and what it is to do; one lock for all that several threads change."""

    mount: str
    serial: str
    platter: Platter
    told: Callable[[str], None]  # of every fault that was given
    faults: list[Fault] = field(default_factory=list)
    lies: list[Untruth] = field(default_factory=list)
    healed: list[Fault | Untruth] = field(default_factory=list)  # before they met a call
    counts: Counter[str] = field(default_factory=Counter)
    free: int | None = None  # bytes that fit yet; below 0 where more was put on it at rest
    rate: float | None = None  # bytes a second
    gone: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, operation: Operation, name: str, doing: str) -> None:
        """Count a call; DriveFault when it is to fail."""
        with self.lock:
            if self.gone:
                raise self.fault(operation, errno.ENODEV, doing)
            self.counts[operation] += 1
            for each in list(self.faults):
                if each.operation != operation or not fnmatch.fnmatchcase(name, each.pattern):
                    continue
                each.nth -= 1
                if each.nth > 0:
                    continue
                each.fell = True
                if not each.lasting:
                    self.faults.remove(each)
                code = errno.errorcode.get(each.code, str(each.code))
                self.told(f"{self.mount}: {operation} {self.counts[operation]}, of {name or ROOT}, failed with {code}")
                raise self.fault(operation, each.code, doing)

    def fault(self, operation: Operation, code: int, doing: str) -> DriveFault:
        """The fault that a drive of ours would raise."""
        error = OSError(code, os.strerror(code))
        wrapped = fault(self.mount, doing, error, safe=SAFE_READING if operation in _READING else SAFE_WRITING)
        wrapped.__cause__ = error
        return wrapped

    def wait(self, length: int) -> None:
        """Take as long for `length` bytes as a slow drive takes."""
        if self.rate is not None:
            time.sleep(length / self.rate)

    def room(self, wanted: int) -> int:
        """How many of `wanted` more bytes fit; they are taken."""
        with self.lock:
            if self.free is None:
                return wanted
            taken = max(0, min(wanted, self.free))
            self.free -= taken
            return taken

    def held(self, name: str) -> int:
        """Bytes of a file, which are free again when it goes; 0 where there is none, or nobody counts them."""
        if self.free is None:
            return 0
        try:
            return len(self.platter.read(name))
        except (KeyError, ValueError):  # it is no file, and stays
            return 0

    def give_back(self, length: int) -> None:
        """Bytes that are free again."""
        with self.lock:
            if self.free is not None:
                self.free += length

    def put(self, name: str, data: bytes) -> None:
        """Put a file there at rest, past the drive: it takes its room, and none stops it."""
        before = self.held(name)
        self.platter.write(name, data)
        self.give_back(before - self.held(name))

    def take(self, name: str) -> None:
        """Take a file away at rest. KeyError when there is none."""
        before = self.held(name)
        self.platter.remove(name)
        self.give_back(before)

    def lie(self, name: str) -> Lie | None:
        """Whether and how the write to a file that comes now is to be a lie."""
        with self.lock:
            told: Lie | None = None
            for each in list(self.lies):
                if not fnmatch.fnmatchcase(name, each.pattern):
                    continue
                each.nth -= 1
                if each.nth > 0:
                    continue
                told, each.fell = each.how, True
                if not each.lasting:
                    self.lies.remove(each)
                break  # as of faults: a second one is for the next write
            return told


class SimulatedReadFile:
    """drives.base.ReadFile that may fail."""

    def __init__(self, bay: Bay, inner: ReadFile, name: str) -> None:
        self._bay, self._inner, self._name = bay, inner, name
        self.length, self.stamp = inner.length, inner.stamp

    @property
    def lasting(self) -> bool:
        """As the drive beneath says."""
        return self._inner.lasting

    @property
    def read_from(self) -> Source:
        """As the drive beneath says."""
        return self._inner.read_from

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes at `offset`."""
        self._bay.ask("read", self._name, f"reading {self._name} at {offset}")
        self._bay.wait(length)
        return self._inner.read_at(offset, length)

    def readinto_at(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`."""
        self._bay.ask("read", self._name, f"reading {self._name} at {offset}")
        self._bay.wait(len(buffer))
        return self._inner.readinto_at(offset, buffer)

    def will_need(self, offset: int, length: int) -> None:
        """Asked of the drive; it may fail only when it is read."""
        self._inner.will_need(offset, length)

    def close(self) -> None:
        """Close."""
        self._inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SimulatedPartFile:
    """drives.base.PartFile that may fail, and lie."""

    def __init__(self, bay: Bay, inner: PartFile, name: str) -> None:
        self._bay, self._inner, self.name = bay, inner, name
        self._end = 0
        self._open = True

    def write_at(self, offset: int, buffers: Sequence[memoryview]) -> None:
        """Write; half of it where it fails, what fits where the drive is full."""
        data = memoryview(b"".join(buffers))
        doing = f"writing {self.name} at {offset}"
        try:
            self._bay.ask("write", self.name, doing)
        except Exception:
            if not self._bay.gone:
                half = data[: len(data) // 2]
                self._inner.write_at(offset, [half[: self._fits(offset, half)]])
            raise
        self._bay.wait(len(data))
        if (fits := self._fits(offset, data)) < len(data):
            self._inner.write_at(offset, [data[:fits]])
            self._bay.told(f"{self._bay.mount}: full, at {offset} of {self.name}")
            raise self._bay.fault("write", errno.ENOSPC, doing)
        how = self._bay.lie(self.name)
        if how is not None and data:
            self._bay.told(f"{self._bay.mount}: lied ({how}) about {len(data)} bytes at {offset} of {self.name}")
            data = memoryview(bytes(len(data)) if how == "drop" else _flipped(data))
        self._inner.write_at(offset, [data])

    def _fits(self, offset: int, data: memoryview) -> int:
        """How much of `data` there is room for at `offset`; the room is taken. A gap before it takes room, too."""
        if not data:
            return 0
        end = offset + len(data)
        grown = max(0, end - self._end)
        lacks = grown - self._bay.room(grown)
        fits = max(0, len(data) - lacks)
        if not fits:
            self._bay.give_back(grown - lacks)  # nothing is written, and so no gap either
        elif grown:
            self._end = end - lacks
        return fits

    def open_back(self) -> SimulatedReadFile | None:
        """Counts as an fsync; reading may fail as any other does."""
        self._bay.ask("fsync", self.name, f"reading back {self.name}")
        inner = self._inner.open_back()
        return None if inner is None else SimulatedReadFile(self._bay, inner, self.name)

    def publish(self) -> None:
        """Counts as an fsync and a rename; where either fails, the name is not there."""
        self._bay.ask("fsync", self.name, f"publishing {self.name}")
        self._bay.ask("rename", self.name, f"publishing {self.name}")
        replaced = self._bay.held(self.name)
        self._inner.publish()
        self._open = False
        self._bay.give_back(replaced)

    def abandon(self) -> None:
        """Remove; what is on a drive that went away stays there."""
        if not self._open:
            return
        self._open = False
        left = self._bay.platter.read(self.name + PART) if self._bay.gone else None
        self._inner.abandon()
        if left is None:
            self._bay.give_back(self._end)
        else:
            self._bay.platter.write(self.name + PART, left)


def _flipped(data: memoryview) -> bytes:
    """With one bit in the middle that is another."""
    out = bytearray(data)
    out[len(out) // 2] ^= 0x10
    return bytes(out)


class SimulatedDrive:
    """drives.base.Drive over the drive in a bay."""

    def __init__(self, bay: Bay) -> None:
        self._bay = bay
        self._inner = bay.platter.open(bay.mount)
        self.mount = bay.mount

    def __repr__(self) -> str:
        return f"SimulatedDrive({self.mount!r})"

    # Reading

    def exists(self) -> bool:
        """Whether there is a sealift/ folder."""
        self._bay.ask("look", "", f"opening {ROOT}/")
        return self._inner.exists()

    def read_small(self, name: str, limit: int) -> bytes | None:
        """The whole file, None when there is none."""
        self._bay.ask("open", name, f"opening {name}")
        data = self._inner.read_small(name, limit)
        if data is not None:
            self._bay.ask("read", name, f"reading {name} at 0")
            self._bay.wait(len(data))
        return data

    def size(self, name: str) -> int | None:
        """Length in bytes, None when there is none."""
        self._bay.ask("look", name, f"looking at {name}")
        return self._inner.size(name)

    def open_read(self, name: str, *, direct: bool = False) -> SimulatedReadFile:
        """Open for reading."""
        self._bay.ask("open", name, f"opening {name}")
        return SimulatedReadFile(self._bay, self._inner.open_read(name, direct=direct), name)

    def walk(self, limit: int) -> Iterator[Entry]:
        """Everything beneath sealift/."""
        self._bay.ask("look", "", f"listing {ROOT}/")
        yield from self._inner.walk(limit)

    # Identity

    def filesystem(self) -> tuple[object, ...]:
        """A filesystem of its own, though folders may share one."""
        return ("simulated", id(self._bay))

    def serial(self) -> str | None:
        """As the bay was given it."""
        return self._bay.serial

    def free_bytes(self) -> int:
        """What `fill` left, or what the drive beneath has."""
        self._bay.ask("look", "", "asking for its size")
        free = self._inner.free_bytes()
        return free if self._bay.free is None else max(0, min(free, self._bay.free))

    def total_bytes(self) -> int:
        """Of the drive beneath."""
        self._bay.ask("look", "", "asking for its size")
        return self._inner.total_bytes()

    # Writing

    def lock(self) -> int:
        """Lock for writing."""
        self._bay.ask("lock", "", f"locking {ROOT}/")
        return self._inner.lock()

    def unlock(self) -> None:
        """Give the lock up, even of a drive that went away."""
        self._inner.unlock()

    def create(self, name: str, *, direct: bool = False) -> SimulatedPartFile:
        """Begin NAME.part."""
        self._bay.ask("create", name, f"creating {name}")
        leftover = self._bay.held(name + PART)
        part = SimulatedPartFile(self._bay, self._inner.create(name, direct=direct), name)
        self._bay.give_back(leftover)
        return part

    def sync_folder(self, name: str) -> None:
        """Counts as an fsync."""
        self._bay.ask("fsync", name, f"syncing the folder of {name}")
        self._inner.sync_folder(name)

    def write_small(self, name: str, data: bytes) -> None:
        """Write beside, fsync, rename, fsync the folder: each may fail."""
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
        """Remove the file, if it is there."""
        self._bay.ask("remove", name, f"removing {name}")
        size = self._bay.held(name)
        self._inner.remove(name)
        self._bay.give_back(size)
