"""MemoryDrive: a drive without a filesystem, for tests of everything above drives/.

It keeps the same contract as LocalDrive, and fails when told to: `plan(operation, name, offset)` returns an
errno to fail with, or None. What stands for links, FIFOs and devices is a Kind in place of bytes. Nothing is
durable, so sync_folder only counts. One process: a lock excludes other MemoryDrives over the same
`Medium`, and its descriptor is an empty file in memory, for children to inherit.
"""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Self

from sealift.drives.base import (
    KIND_WORDS,
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
)
from sealift.errors import Busy, FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Operation = Literal["open", "read", "size", "walk", "create", "write", "publish", "sync", "remove", "lock"]
Plan = Callable[[Operation, str, int], int | None]

_numbers = itertools.count(1)


class Medium:
    """What stays when a MemoryDrive is mounted again.

    Files by name beneath sealift/, or a Kind for what is none.
    """

    def __init__(self, *, serial: str | None = None, capacity: int = 1 << 40) -> None:
        self.number = next(_numbers)
        self.serial, self.capacity = serial, capacity
        self.exists = False
        self.files: dict[str, bytes | bytearray | Kind] = {}
        self.versions: dict[str, int] = {}
        self.holder: MemoryDrive | None = None


class MemoryReadFile:
    """drives.base.ReadFile over bytes."""

    def __init__(self, drive: MemoryDrive, name: str, data: bytes, version: int) -> None:
        self._drive, self._name, self._data = drive, name, data
        self.length = len(data)
        self.stamp: tuple[int, ...] = (drive.medium.number, version)

    @property
    def lasting(self) -> bool:
        """Each writing counts."""
        return True

    @property
    def read_from(self) -> Source:
        """Always `cache`: memory is no medium."""
        return "cache"

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes at `offset`."""
        length = max(0, min(length, self.length - offset))
        self._drive._maybe_fail("read", self._name, offset, f"reading {self._name} at {offset}")  # noqa: SLF001
        return self._data[offset : offset + length]

    def readinto_at(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`."""
        data = self.read_at(offset, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def will_need(self, offset: int, length: int) -> None:
        """It is in memory."""

    def close(self) -> None:
        """Nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class MemoryPartFile:
    """drives.base.PartFile over a bytearray."""

    def __init__(self, drive: MemoryDrive, name: str) -> None:
        self._drive, self.name = drive, name
        self._data: bytearray | None = bytearray()
        drive.medium.files[name + PART] = self._data

    def write_at(self, offset: int, buffers: Sequence[memoryview]) -> None:
        """Write the buffers one after the other from `offset`."""
        assert self._data is not None, "the file is closed"
        for view in filter(len, buffers):
            self._drive._maybe_fail("write", self.name, offset, f"writing {self.name} at {offset}")  # noqa: SLF001
            self._data.extend(bytes(max(0, offset - len(self._data))))
            self._data[offset : offset + view.nbytes] = view
            offset += view.nbytes

    def open_back(self) -> MemoryReadFile:
        """What was written so far."""
        assert self._data is not None, "the file is closed"
        return MemoryReadFile(self._drive, self.name, bytes(self._data), 0)

    def publish(self) -> None:
        """Rename over the name."""
        self._drive._maybe_fail("publish", self.name, 0, f"publishing {self.name}")  # noqa: SLF001
        self._drive._keep_strange(self.name)  # noqa: SLF001
        assert self._data is not None, "the file is closed"
        del self._drive.medium.files[self.name + PART]
        self._drive.put(self.name, bytes(self._data))
        self._data = None

    def abandon(self) -> None:
        """Remove; never raises."""
        if self._data is not None:
            self._drive.medium.files.pop(self.name + PART, None)
            self._data = None


class MemoryDrive:
    """drives.base.Drive over a Medium."""

    def __init__(self, mount: str = "memory", medium: Medium | None = None, plan: Plan | None = None) -> None:
        self.mount = mount
        self.medium = medium or Medium()
        self.plan = plan
        self.synced: list[str] = []
        self._lock: weakref.finalize[..., MemoryDrive] | None = None
        self._fd = -1

    def _maybe_fail(self, operation: Operation, name: str, offset: int, doing: str) -> None:
        code = self.plan(operation, name, offset) if self.plan else None
        if code is not None:
            safe = SAFE_READING if operation in {"open", "read", "size", "walk"} else SAFE_WRITING
            error = OSError(code, "planned")
            raise fault(self.mount, doing, error, safe=safe) from error

    def put(self, name: str, data: bytes | Kind) -> None:
        """Place a file, or something that is none, under `name`, past every check."""
        self.medium.exists = True
        self.medium.files[name] = data
        self.medium.versions[name] = next(_numbers)

    def _get(self, name: str) -> bytes | bytearray | None:
        components = split(name)
        for depth in range(1, len(components)):
            if "/".join(components[:depth]) in self.medium.files:
                raise FormatError(f"{self.mount}: {'/'.join(components[:depth])} is not a folder")
        data = self.medium.files.get(name)
        if isinstance(data, str) or (data is None and any(n.startswith(name + "/") for n in self.medium.files)):
            what = KIND_WORDS[data if isinstance(data, str) else "folder"]
            raise FormatError(f"{self.mount}: {name} is not a regular file but {what}")
        return data

    def _keep_strange(self, name: str) -> None:
        """DriveFault where what is there under a name is no regular file."""
        there = self.medium.files.get(name)
        if there is None and any(each.startswith(name + "/") for each in self.medium.files):
            there = "folder"
        if isinstance(there, str):
            raise obstacle(self.mount, name, KIND_WORDS[there])

    # Reading

    def exists(self) -> bool:
        """Whether there is a sealift/ folder."""
        return self.medium.exists

    def read_small(self, name: str, limit: int) -> bytes | None:
        """The whole file, None when there is none."""
        self._maybe_fail("open", name, 0, f"opening {name}")
        data = self._get(name)
        if data is None:
            return None
        if len(data) > limit:
            raise FormatError(f"{self.mount}: {name} is {len(data):,} bytes long; at most {limit:,} are allowed")
        self._maybe_fail("read", name, 0, f"reading {name} at 0")
        return bytes(data)

    def size(self, name: str) -> int | None:
        """Length in bytes, None when there is none."""
        self._maybe_fail("size", name, 0, f"looking at {name}")
        data = self._get(name)
        return None if data is None else len(data)

    def open_read(self, name: str, *, direct: bool = False) -> MemoryReadFile:
        """Open for reading; `direct` changes nothing here."""
        del direct
        self._maybe_fail("open", name, 0, f"opening {name}")
        data = self._get(name)
        if data is None:
            error = FileNotFoundError(2, "planned")
            raise fault(self.mount, f"opening {name}", error, safe=SAFE_READING) from error
        return MemoryReadFile(self, name, bytes(data), self.medium.versions.get(name, 0))

    def walk(self, limit: int) -> Iterator[Entry]:
        """Everything beneath sealift/, folders before what is in them."""
        self._maybe_fail("walk", "", 0, "listing sealift/")
        seen: set[str] = set()
        for name, data in sorted(self.medium.files.items()):
            above = name.split("/")[:-1]
            entries = [("/".join(above[: depth + 1]), "folder") for depth in range(len(above))]
            for place, kind in [*entries, (name, "")]:
                if place in seen:
                    continue
                seen.add(place)
                if len(seen) > limit:
                    raise FormatError(f"{self.mount}: more than {limit:,} files and folders in sealift/")
                yield _entry(place, "folder" if kind else data)
                if kind and place.count("/") + 1 >= MAX_DEPTH:
                    raise FormatError(f"{self.mount}: folders in sealift/ are over {MAX_DEPTH} deep")

    # Identity

    def filesystem(self) -> tuple[object, ...]:
        """One medium, one filesystem."""
        return ("memory", self.medium.number)

    def serial(self) -> str | None:
        """As the medium was made."""
        return self.medium.serial

    def free_bytes(self) -> int:
        """Capacity less what is there."""
        used = sum(len(data) for data in self.medium.files.values() if not isinstance(data, str))
        return max(0, self.medium.capacity - used)

    def total_bytes(self) -> int:
        """The capacity."""
        return self.medium.capacity

    # Writing

    def lock(self) -> int:
        """Lock for writing."""
        self._maybe_fail("lock", "", 0, "locking sealift/")
        if self.medium.holder not in {None, self}:
            raise Busy(f"{self.mount}: another process works on this drive")
        self.medium.holder, self.medium.exists = self, True
        if self._lock is None:
            self._fd = os.memfd_create("sealift-lock", 0)  # inheritable
            self._lock = weakref.finalize(self, os.close, self._fd)
        return self._fd

    def unlock(self) -> None:
        """Give the lock up; again does nothing."""
        if self._lock is not None:
            self._lock()
            self._lock = None
        if self.medium.holder is self:
            self.medium.holder = None

    def create(self, name: str, *, direct: bool = False) -> MemoryPartFile:  # noqa: ARG002 -- there is no cache
        """Begin NAME.part, in place of a leftover one."""
        assert self.medium.holder is self, "a drive is written only under its lock"
        self._maybe_fail("create", name, 0, f"creating {name}")
        components = split(name)
        for depth in range(1, len(components)):
            there = self.medium.files.get(above := "/".join(components[:depth]))
            if there is not None:
                raise obstacle(self.mount, above, KIND_WORDS[there if isinstance(there, str) else "file"])
        self._keep_strange(name)
        self._keep_strange(name + PART)
        return MemoryPartFile(self, name)

    def sync_folder(self, name: str) -> None:
        """Note that it was asked for."""
        self._maybe_fail("sync", name, 0, f"syncing the folder of {name}")
        self.synced.append(name.rpartition("/")[0])

    def write_small(self, name: str, data: bytes) -> None:
        """Write beside, rename."""
        part = self.create(name)
        try:
            part.write_at(0, [memoryview(data)])
            part.publish()
        except BaseException:
            part.abandon()
            raise
        self.sync_folder(name)

    def remove(self, name: str) -> None:
        """Remove the file, if it is there."""
        assert self.medium.holder is self, "a drive is written only under its lock"
        self._maybe_fail("remove", name, 0, f"removing {name}")
        split(name)
        self._keep_strange(name)
        self.medium.files.pop(name, None)


def _entry(name: str, data: bytes | bytearray | Kind) -> Entry:
    encoded = name.encode("utf-8", "surrogateescape")
    return Entry(encoded, data, 0) if isinstance(data, str) else Entry(encoded, "file", len(data))
