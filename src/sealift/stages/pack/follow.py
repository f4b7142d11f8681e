"""The digest of a file that is packed in segments by several builders: a thread reads it behind them, in order.

Right behind them, so most of it comes from the page cache. Of an object it reads what the builder fetched (spool.py),
and fetches what it does not find there; it must be what the builder had, and fit the ETag where that is a digest. The
digest is needed when the last segment's stripe is committed; a resumed packing reads the committed part again. Several
files are read at the same time, and the MD5 of an object, which is slower than all else, has a thread of its own.
"""

from __future__ import annotations

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
    from collections.abc import Callable

    from sealift.stages.pack.queue import UnitQueue
    from sealift.stages.pack.source import Opened, Reader
    from sealift.stages.pack.spool import Spool
    from sealift.stages.pack.units import Unit

_PIECE = 1 << 20
FILES = 4  # that are read at the same time


class _Read(NamedTuple):
    """BLAKE3 of a file up to the end of a segment, CHANGED or 0, and BLAKE3 of the segment of an object."""

    whole: bytes
    flags: int
    own: bytes


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
        self._segments: dict[tuple[bytes, int], Future[_Read]] = {}  # of objects
        self._flags: dict[bytes, int] = {}
        self._failure: SourceFault | None = None
        self._stop = False

    def follow(self, unit: Unit) -> None:
        """A segment was handed out: hash its bytes after those before it."""
        self._settled.clear()
        job = self._submit(unit, spooled=True)
        if unit.start + unit.length == unit.size:
            self._results[unit.path] = job
        if unit.tag:
            self._segments[unit.path, unit.start] = job

    def settle(self) -> None:
        """All segments that were handed out are built: what is not in the spool does not come any more."""
        self._settled.set()

    def resume(self, queue: UnitQueue) -> None:
        """Hash the committed part of the file at the front of `queue` again."""
        unit = queue.front()
        before = msgspec.structs.replace(unit, start=0, length=queue.cursor.offset, part=unit.path)
        self._submit(before, spooled=False)

    def digest(self, path: bytes) -> tuple[bytes, int]:
        """BLAKE3 of the whole file, and CHANGED or 0; waits for it. SourceFault."""
        whole, flags, _ = self._results.pop(path).result()
        self._hashers.pop(path, None)
        self._last.pop(path, None)
        self.check()
        return whole, flags

    def segment(self, path: bytes, start: int) -> bytes | None:
        """BLAKE3 of a segment of an object, as it was read here; None of a file's. Waits for it. SourceFault."""
        job = self._segments.pop((path, start), None)
        if job is None:
            return None
        _, flags, own = job.result()
        self.check()
        return None if flags else own

    def check(self) -> None:
        """SourceFault, where the source failed meanwhile."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Stop reading."""
        self._stop = True
        self._pool.shutdown()

    def _submit(self, unit: Unit, *, spooled: bool) -> Future[_Read]:
        # jobs begin in the order in which they were submitted, so that the one that is waited for has a thread
        job = self._pool.submit(self._run, unit, self._last.get(unit.path), spooled=spooled)
        self._last[unit.path] = job
        return job

    def _run(self, unit: Unit, before: Future[_Read] | None, *, spooled: bool) -> _Read:
        if before is not None:
            wait([before])
        if unit.path not in self._hashers:
            self._hashers[unit.path] = blake3(), self._reader.checksum(unit)
        (hasher, checksum), own = self._hashers[unit.path], blake3()
        flags = self._flags.get(unit.path, 0)
        hashing = Hashing()

        def update(piece: memoryview) -> None:
            hasher.update(piece)
            if unit.tag:
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
        except SourceFault as error:
            self._failure = error
        finally:
            hashing.close()
        self._flags[unit.path] = flags
        return _Read(hasher.digest(), flags, own.digest())

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
