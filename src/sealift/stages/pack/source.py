"""What is packed: a folder, or what is beneath s3://BUCKET/PREFIX. Nothing else in packing knows which.

    Source   where it is; what lies beneath it, walked; readers of it. `spool` takes what they fetch of segments
    Reader   reads members, for one pack at a time: those that come next are known to it beforehand (`ahead`)
    Opened   one member while it is read

What a reader raises: OSError for one member alone, which is skipped and told; SourceFault where the store fails, which
ends the packing. Bytes are of the member as it is when it is opened, as far as it was scanned, and `same` says whether
that is what was scanned; of an object that is read in segments, by several, all are of the version that was scanned.
The bucket's side is in bucket.py. No numpy and no Arrow here: builders read.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Protocol

from sealift.errors import BadInput
from sealift.formats import tar
from sealift.stages.pack.beneath import Beneath
from sealift.stages.pack.walk import held_time, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sealift.stages.pack.spool import Spool
    from sealift.stages.pack.units import Files, Unit
    from sealift.stages.pack.walk import Seen

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_NOT_REGULAR = "is no regular file any more"
_OTHER = "was another name of a file, and is another file now: it is not packed"
_STORE = b"s3://"


# what is said where a medium fails, or the way to it, and not one file
_MEDIUM = {"EIO", "ESTALE", "ENODEV", "ENXIO", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "EREMOTEIO"}


def medium_fails(error: OSError) -> bool:
    """Whether it is the medium that fails, or the way to it, and not the file that is at fault."""
    return errno.errorcode.get(error.errno or 0) in _MEDIUM


class Opened(Protocol):
    """A member, or a segment of one, while it is read."""

    @property
    def size(self) -> int:
        """Of the whole member, in bytes, as it was opened."""

    def read(self, views: list[memoryview], offset: int) -> int:
        """Fill the views from `offset` of the member; how many bytes: fewer only at its end. OSError, SourceFault."""

    def same(self, unit: Unit) -> bool:
        """Whether it is as it was scanned, and was until now. SourceFault."""

    def extents(self, start: int, length: int) -> list[tuple[int, int]] | None:
        """Data extents of a segment relative to its start, or None where there is no hole worth keeping."""

    def close(self) -> None:
        """Nothing more is read."""


class Reader(Protocol):
    """Reads members, those of one pack."""

    def ahead(self, work: Sequence[Unit | Files]) -> None:
        """These are read next, in this order."""

    far: bool  # whether it is worth knowing long before what is read next

    @property
    def waits(self) -> bool:
        """Whether what is read next would have to be waited for."""

    def whole(self, path: bytes, size: int, mtime: int, tag: bytes, content: memoryview) -> bool:
        """Fill `content`, of `size` bytes, with a member that is as it was scanned; False where anything else is so."""

    def open(self, unit: Unit) -> Opened:
        """Open a file, or the segment of one. OSError, SourceFault."""

    def check_name(self, path: bytes, opened: Opened) -> None:
        """OSError where `path` was another name of what is open, and is not any more."""

    def require(self, unit: Unit) -> None:
        """OSError where a file cannot be opened; SourceFault."""

    def peek(self, path: bytes, tag: bytes, start: int, length: int) -> bytes:
        """Up to `length` bytes, for a sample: none of what is no file any more. OSError, SourceFault."""

    def link(self, path: bytes) -> bytes:
        """The target of a symbolic link. OSError."""

    def clashes(self, path: bytes) -> bool:
        """Whether there are names beside `path` that its segments could have. SourceFault."""

    def checksum(self, unit: Unit) -> Any:
        """A hasher for all bytes of the object of which it is a segment; None where there is nothing to hold to."""

    def sound(self, unit: Unit, checksum: Any) -> bool:
        """Whether all bytes of an object are what its tag says, as far as it says it. SourceFault."""


class Source(Protocol):
    """Where members come from. `beside` has members that lie in a file of this host instead: where."""

    name: bytes  # a real path, or s3://...
    beside: dict[bytes, bytes]
    spool: Spool | None  # where a builder's source keeps what it fetched of members that are cut; None: nowhere
    at_once: int  # members that are worth reading at the same time

    def check(self) -> None:
        """BadInput where there is none; SourceFault where the store says why not."""

    def memory(self, packs: int) -> int:
        """Bytes that reading takes in a process that makes so many packs."""

    def walk(
        self, stack: list[bytes], key_of: Callable[[bytes], bytes], seed: int | None, seconds: float
    ) -> Iterator[Seen]:
        """As walk.walk; what is on the stack beside b"" is for the source alone to understand. SourceFault."""

    def reader(self) -> Reader:
        """A reader for the members of a pack."""


def is_store(location: str) -> bool:
    """Whether it names something else than a folder; BadInput for what is no source."""
    from sealift.drives import locations  # which builders do without

    if locations.is_store(location) and not location.startswith("s3://"):
        raise BadInput(f"{location} is no source", hint="SOURCE is a folder, or s3://BUCKET/PREFIX")
    return location.startswith("s3://")


def located(location: str) -> bytes:
    """What a source is called wherever it is kept: the real path of a folder, or s3://BUCKET/PREFIX. BadInput."""
    if not is_store(location):
        return os.fsencode(os.path.realpath(location))
    from sealift.drives.objects import parse

    return str(parse(location)).encode()


def source_of(name: bytes, beside: dict[bytes, bytes] | None = None) -> Source:
    """The source that `located` named; nothing is opened yet. BadInput where its settings cannot be used."""
    if not name.startswith(_STORE):
        return Directory(name, beside)
    from sealift.stages.pack.bucket import BucketSource

    return BucketSource(name, beside)


def check_apart(source: bytes, state: str, to: Sequence[str]) -> None:
    """BadInput where what is written would lie within the source, or the source within a shipment."""
    from sealift.drives import locations

    if source.startswith(_STORE):
        within = [("--to", place, located(place)) for place in to if place.startswith("s3://")]
    else:
        folders = [("--state", state), *(("--to", mount) for mount in to if not locations.is_store(mount))]
        within = [(what, place, os.fsencode(os.path.realpath(place))) for what, place in folders]
    for what, place, real in within:
        if real == source or real.startswith(source + b"/") or source == b"/":
            raise BadInput(
                f"{what} {place} lies within the source {os.fsdecode(source)}",
                hint="a shipment cannot hold itself",
            )
        if source.startswith(real + b"/sealift/"):
            raise BadInput(
                f"the source lies within {place}/sealift", hint="pack the original, not a drive of a shipment"
            )


class File:
    """An open file of this host."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.size = os.fstat(fd).st_size

    def read(self, views: list[memoryview], offset: int) -> int:
        """As Opened."""
        total = os.preadv(self._fd, views, offset)
        size = sum(map(len, views))
        while 0 < total < size:  # short reads are rare: a signal, or the end of a file that shrank
            skip, rest = total, []
            for view in views:
                if skip < len(view):
                    rest.append(view[skip:])
                skip = max(0, skip - len(view))
            count = os.preadv(self._fd, rest, offset + total)
            if not count:
                break
            total += count
        return total

    def same(self, unit: Unit) -> bool:
        """As Opened."""
        try:
            status = os.fstat(self._fd)
        except OSError:  # of a filesystem that failed meanwhile
            return False
        return (status.st_size, held_time(status.st_mtime_ns)) == (unit.size, unit.mtime)

    def is_like(self, other: os.stat_result) -> bool:
        """Whether that is of this very file, or of one of its length and time: inodes may be numbered anew."""
        own = os.fstat(self._fd)
        alike = stat.S_ISREG(other.st_mode) and (own.st_size, own.st_mtime_ns) == (other.st_size, other.st_mtime_ns)
        return alike or os.path.samestat(own, other)

    def extents(self, start: int, length: int) -> list[tuple[int, int]] | None:
        """As Opened."""
        return extents(self._fd, start, length)

    def close(self) -> None:
        """As Opened."""
        os.close(self._fd)


class Directory:
    """A folder of this host: Source, and Reader."""

    at_once = 1
    far = waits = False
    spool: Spool | None = None  # the system keeps what was just read

    def __init__(self, name: bytes, beside: dict[bytes, bytes] | None = None) -> None:
        self.name, self.beside = name, beside or {}
        self._opened: Beneath | None = None

    def check(self) -> None:
        """As Source."""
        try:
            there = stat.S_ISDIR(os.stat(self.name).st_mode)
            if there:
                os.scandir(self.name).close()
        except OSError as error:
            raise BadInput(
                f"{os.fsdecode(self.name)}: {(error.strerror or str(error)).lower()}; nothing was written",
                hint="SOURCE is the folder whose contents are packed, or s3://BUCKET/PREFIX. Is it mounted there, and "
                "does its medium work?",
            ) from error
        if not there:
            raise BadInput(
                f"{os.fsdecode(self.name)} is no directory",
                hint="SOURCE is the folder whose contents are packed, or s3://BUCKET/PREFIX",
            )

    def memory(self, packs: int) -> int:
        """As Source."""
        del packs
        return 0

    def walk(
        self, stack: list[bytes], key_of: Callable[[bytes], bytes], seed: int | None, seconds: float
    ) -> Iterator[Seen]:
        """As Source: the stack is of folders."""
        return walk(self.name, stack, key_of, seed, seconds)

    def reader(self) -> Directory:
        """As Source."""
        return self

    @property
    def _tree(self) -> Beneath:
        """The folder from which paths are opened."""
        if self._opened is None:
            self._opened = Beneath(self.name)
        return self._opened

    def _open(self, path: bytes) -> int:
        if path in self.beside:
            return os.open(self.beside[path], _OPEN)
        return self._tree.open(path, _OPEN)

    def ahead(self, work: Sequence[Unit | Files]) -> None:
        """As Reader: the system reads ahead."""

    def whole(self, path: bytes, size: int, mtime: int, tag: bytes, content: memoryview) -> bool:
        """As Reader."""
        del tag
        try:
            fd = self._tree.open(path, _OPEN)
            try:
                count = os.preadv(fd, [content], 0)
                status = os.fstat(fd)
            finally:
                os.close(fd)
        except OSError:
            return False
        if status.st_mtime_ns != mtime != held_time(status.st_mtime_ns):
            return False
        return count == size == status.st_size and stat.S_ISREG(status.st_mode)

    def open(self, unit: Unit) -> File:
        """As Reader; by another name of the inode, where the first one went and that one is what was scanned."""
        try:
            return self._file(unit.path)
        except OSError:
            for link in unit.links:
                with suppress(OSError):
                    other = self._file(link)
                    if other.same(unit):
                        return other
                    other.close()
            raise

    def _file(self, path: bytes) -> File:
        fd = self._open(path)
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return File(fd)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        raise OSError(0, _NOT_REGULAR)

    def check_name(self, path: bytes, opened: Opened) -> None:
        """As Reader."""
        there = os.lstat(self.beside[path]) if path in self.beside else self._tree.status(path)
        if not (isinstance(opened, File) and opened.is_like(there)):
            raise OSError(0, _OTHER)

    def require(self, unit: Unit) -> None:
        """As Reader."""
        self.open(unit).close()

    def peek(self, path: bytes, tag: bytes, start: int, length: int) -> bytes:
        """As Reader."""
        del tag
        fd = self._open(path)
        try:
            return os.pread(fd, length, start) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
        finally:
            os.close(fd)

    def link(self, path: bytes) -> bytes:
        """As Reader."""
        return self._tree.link(path)

    def clashes(self, path: bytes) -> bool:
        """As Reader."""
        folder, _, name = path.rpartition(b"/")
        try:
            with closing(self._tree.entries(folder)) as entries:
                return any(os.fsencode(entry.name).startswith(name + b".part-") for entry in entries)
        except OSError:
            return False

    def checksum(self, unit: Unit) -> None:
        """As Reader: nobody says what a file's bytes should be."""
        del unit

    def sound(self, unit: Unit, checksum: Any) -> bool:
        """As Reader."""
        del unit, checksum
        return True


class Nothing:
    """Opened, for a segment of what is gone: it keeps its place, and reads as nothing."""

    size = 0

    def read(self, views: list[memoryview], offset: int) -> int:
        """As Opened."""
        del views, offset
        return 0

    def same(self, unit: Unit) -> bool:
        """As Opened."""
        del unit
        return False

    def extents(self, start: int, length: int) -> None:
        """As Opened."""
        del start, length

    def close(self) -> None:
        """As Opened."""


def extents(fd: int, start: int, length: int) -> list[tuple[int, int]] | None:
    """Data extents of a segment relative to its start, or None where there is no hole worth keeping."""
    found: list[tuple[int, int]] = []
    place, end = start, start + length
    try:
        while place < end:
            try:
                data = os.lseek(fd, place, os.SEEK_DATA)
            except OSError:  # ENXIO: no data from here on
                break
            if data >= end:
                break
            hole = os.lseek(fd, data, os.SEEK_HOLE)
            if data < place or hole <= data:  # no file's answer
                return None
            # GNU tar begins every extent at a block of the archive, so all but the last fill whole blocks
            first = (data - start) // tar.BLOCK * tar.BLOCK
            last = min(length, hole - start + tar.padding(hole - start))
            if found and first <= sum(found[-1]):
                first = found.pop()[0]
            found.append((first, last - first))
            place = hole
            if len(found) > tar.MAX_EXTENTS:
                return None
    except OSError:
        return None
    return found if sum(size for _, size in found) < length else None
