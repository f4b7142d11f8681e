"""The digest of a file that is packed in segments by several builders: a thread reads it behind them, in order.

Right behind them, so most of it comes from the page cache. Of an object it reads what the builder fetched (spool.py),
and fetches what it does not find there; it must fit the ETag where that is a digest. The digest is needed when the last
segment's stripe is committed; a resumed packing reads the committed part again. Several files are read at the same
time, and the MD5 of an object, which is slower than all else, has a thread of its own.

Holds: a digest without CHANGED is of the bytes that were packed. Every segment that is read here is compared with the
digest that its builder made of it, in this run or in one before; length and time of a file do not say that its bytes
are the same. A file that differs is CHANGED; an object, of which all bytes are of one version, ends the packing where
two readings of it do not agree.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from blake3 import blake3

from sealift.drives.hashing import Hashing
from sealift.errors import SourceFault
from sealift.formats.index import CHANGED
from sealift.stages.pack.source import Nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sealift.formats.index import Row
    from sealift.stages.pack.source import Opened, Reader
    from sealift.stages.pack.spool import Spool
    from sealift.stages.pack.units import Unit

_PIECE = 1 << 20
FILES = 4  # that are read at the same time


class Packed(NamedTuple):
    """A segment that is committed: where it is in its file, and BLAKE3 of what was packed of it."""

    start: int
    length: int
    blake3: bytes


class _Read(NamedTuple):
    """BLAKE3 of a file up to the end of a segment, CHANGED or 0, BLAKE3 of the segment, and the tag of an object."""

    whole: bytes
    flags: int
    own: bytes
    tag: bytes


class Follower:
    """Hashes files as their segments are handed out; what cannot be read counts as zeros and marks the file."""

    def __init__(self, reader: Reader, spool: Spool | None = None) -> None:
        self._reader, self._spool = reader, spool
        self._settled = threading.Event()
        if spool is not None:
            spool.clear()
        self._pool = ThreadPoolExecutor(FILES, thread_name_prefix="digest")
        self._last: dict[bytes, Future[_Read]] = {}  # of each file, what comes before its next segment
        self._hashers: dict[bytes, tuple[blake3, Any]] = {}  # and what the source holds an object to, or None
        self._results: dict[bytes, Future[_Read]] = {}
        self._segments: dict[tuple[bytes, int], Future[_Read]] = {}
        self._flags: dict[bytes, int] = {}
        self._unlike: set[bytes] = set()  # files of which a segment was packed with other bytes than were read here
        self._failure: SourceFault | None = None
        self._stop = False

    def follow(self, unit: Unit) -> None:
        """A segment was handed out: hash its bytes after those before it."""
        self._settled.clear()
        job = self._submit(unit.path, [(unit, b"")], spooled=True)
        if unit.start + unit.length == unit.size:
            self._results[unit.path] = job
        self._segments[unit.path, unit.start] = job

    def settle(self) -> None:
        """All segments that were handed out are built: what is not in the spool does not come any more."""
        self._settled.set()

    def resume(self, unit: Unit, committed: Iterable[Packed]) -> None:
        """Hash again what is committed of the file of which `unit` is the rest: all that is before it, in order."""
        again = [
            (msgspec.structs.replace(unit, start=each.start, length=each.length, part=unit.path), each.blake3)
            for each in committed
        ]
        self._submit(unit.path, again, spooled=False)

    def digest(self, path: bytes) -> tuple[bytes, int]:
        """BLAKE3 of the whole file, and CHANGED or 0; waits for it. After `compare` of all segments. SourceFault."""
        read = self._results.pop(path).result()
        self._hashers.pop(path, None)
        self._last.pop(path, None)
        self.check()
        return read.whole, CHANGED if path in self._unlike else read.flags

    def compare(self, row: Row) -> None:
        """A segment that was handed out is packed, as `row`: was it read here with the same bytes? Waits. SourceFault.

        Where a file was not, its digest comes with CHANGED.
        """
        read = self._segments.pop((row.path, row.start)).result()
        self.check()
        if read.own == row.blake3:
            return
        if read.tag and not (read.flags or row.flags & CHANGED):
            raise _otherwise(row.path, row.start)
        self._unlike.add(row.path)

    def check(self) -> None:
        """SourceFault, where the source failed meanwhile."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Stop reading."""
        self._stop = True
        self._pool.shutdown()

    def _submit(self, path: bytes, segments: Sequence[tuple[Unit, bytes]], *, spooled: bool) -> Future[_Read]:
        # jobs begin in the order in which they were submitted, so that the one that is waited for has a thread
        job = self._pool.submit(self._run, segments, self._last.get(path), spooled=spooled)
        self._last[path] = job
        return job

    def _run(self, segments: Sequence[tuple[Unit, bytes]], before: Future[_Read] | None, *, spooled: bool) -> _Read:
        """Read segments of one file that follow each other, and what was packed of them, where that is known."""
        if before is not None:
            wait([before])
        first, own = segments[0][0], b""
        if first.path not in self._hashers:
            self._hashers[first.path] = blake3(), self._reader.checksum(first)
        for unit, packed in segments:
            own, flags = blake3().digest(), self._flags.get(unit.path, 0)
            try:
                own, flags = self._segment(unit, flags, spooled=spooled)
                if packed and own != packed and not flags:
                    flags = self._unlike_packed(unit, own)
            except SourceFault as error:
                self._failure = error
            self._flags[unit.path] = flags
        return _Read(self._hashers[first.path][0].digest(), self._flags[first.path], own, first.tag)

    def _segment(self, unit: Unit, flags: int, *, spooled: bool) -> tuple[bytes, int]:
        """Add a segment to the hash of its file; its own digest, and CHANGED or 0. SourceFault."""
        hasher, checksum = self._hashers[unit.path]
        own = blake3() if unit.start else hasher  # what a file begins with has one digest, of both
        hashing = Hashing()

        def update(piece: memoryview) -> None:
            hasher.update(piece)
            if own is not hasher:
                own.update(piece)
            if checksum is not None:
                hashing.update(checksum, bytes(piece))

        try:
            rest = self._spooled(unit, update) if spooled else unit
            if rest.length and not self._fetched(rest, update):
                flags = CHANGED
            hashing.wait()
            if checksum is not None and not flags and unit.start + unit.length == unit.size:
                flags = 0 if self._reader.sound(unit, checksum) else CHANGED
        finally:
            hashing.close()
        return own.digest(), flags

    def _unlike_packed(self, unit: Unit, read: bytes) -> int:
        """CHANGED, of a segment that was packed with other bytes by a run before. SourceFault.

        An object is read once more, as it is of the version that was packed: who is to blame is told by that.
        """
        if unit.tag and not self._stop:
            again = blake3()

            def update(piece: memoryview) -> None:
                again.update(piece)

            if self._fetched(unit, update) and again.digest() != read:
                raise _otherwise(unit.path, unit.start)
        return CHANGED

    def _spooled(self, unit: Unit, update: Callable[[memoryview], None]) -> Unit:
        """Hash what is found in the spool; what is left of the segment."""
        done = 0
        if self._spool is not None and unit.tag:
            for piece in self._spool.read(unit, lambda: self._stop or self._settled.is_set()):
                update(piece)
                done += len(piece)
        return msgspec.structs.replace(unit, start=unit.start + done, length=unit.length - done)

    def _fetched(self, unit: Unit, update: Callable[[memoryview], None]) -> bool:
        """Hash a segment from the source; whether it was all there, as it was scanned. SourceFault."""
        try:
            opened: Opened = self._reader.open(unit)
        except OSError:
            opened = Nothing()
        with closing(opened):
            return self._hash(unit, opened, update) and opened.same(unit)

    def _hash(self, unit: Unit, opened: Opened, update: Callable[[memoryview], None]) -> bool:
        """The segment, in which zeros stand for what cannot be read; whether all of it could be."""
        start, end, whole = unit.start, unit.start + unit.length, True
        buffer = memoryview(bytearray(min(_PIECE, unit.length)))
        while start < end and not self._stop:
            piece = buffer[: min(_PIECE, end - start)]
            try:
                count = opened.read([piece], start)
            except OSError:
                count = 0
            if not count:
                whole, count = False, len(piece)
                piece[:] = bytes(count)
            update(piece[:count])
            start += count
        return whole


def _otherwise(path: bytes, start: int) -> SourceFault:
    """Of an object that is read twice, and differs."""
    return SourceFault(
        f"{os.fsdecode(path)!r}: bytes at {start:,} were others when they were read once more; committed stripes are "
        "safe",
        hint="run the same command again; if it stays so, look at memory, network and the state folder's disk, or ask "
        "the store's operator",
    )
