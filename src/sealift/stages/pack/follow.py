"""The digest of a file that is packed in segments by several builders: one thread reads it behind them, in order.

Right behind them, so most of it comes from the page cache. The digest is needed when the last segment's stripe is
committed; a resumed packing reads the committed part again.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from blake3 import blake3

from sealift.formats.index import CHANGED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealift.stages.pack.queue import UnitQueue
    from sealift.stages.pack.units import Unit

_PIECE = 1 << 20


class Follower:
    """Hashes files as their segments are handed out; what cannot be read counts as zeros and marks the file."""

    def __init__(self, source: bytes, beside: Mapping[bytes, bytes]) -> None:
        """`beside` has members that lie elsewhere than in the source: where."""
        self._source, self._beside = source, beside
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="digest")
        self._hashers: dict[bytes, blake3] = {}
        self._results: dict[bytes, Future[tuple[bytes, int]]] = {}
        self._flags: dict[bytes, int] = {}
        self._buffer = memoryview(bytearray(_PIECE))
        self._stop = False

    def follow(self, unit: Unit) -> None:
        """A segment was handed out: hash its bytes after those before it."""
        job = self._pool.submit(self._run, unit.path, unit.start, unit.length, unit.mtime, unit.size)
        if unit.start + unit.length == unit.size:
            self._results[unit.path] = job

    def resume(self, queue: UnitQueue) -> None:
        """Hash the committed part of the file at the front of `queue` again."""
        unit = queue.front()
        self._pool.submit(self._run, unit.path, 0, queue.cursor.offset, unit.mtime, unit.size)

    def digest(self, path: bytes) -> tuple[bytes, int]:
        """BLAKE3 of the whole file, and CHANGED or 0; waits for it."""
        result = self._results.pop(path).result()
        self._hashers.pop(path, None)
        return result

    def close(self) -> None:
        """Stop reading."""
        self._stop = True
        self._pool.shutdown()

    def _run(self, path: bytes, start: int, length: int, mtime: int, size: int) -> tuple[bytes, int]:
        hasher = self._hashers.setdefault(path, blake3())
        flags, end, buffer = self._flags.get(path, 0), start + length, self._buffer
        try:
            place = self._beside.get(path, self._source + b"/" + path)
            fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            fd = -1
        try:
            while start < end and not self._stop:
                piece = buffer[: min(_PIECE, end - start)]
                try:
                    count = os.preadv(fd, [piece], start) if fd >= 0 else 0
                except OSError:
                    count = 0
                if not count:
                    flags, count = CHANGED, len(piece)
                    piece[:] = bytes(count)
                hasher.update(piece[:count])
                start += count
            if fd >= 0:
                status = os.fstat(fd)
                if (status.st_mtime_ns, status.st_size) != (mtime, size):
                    flags = CHANGED
        finally:
            if fd >= 0:
                os.close(fd)
        self._flags[path] = flags
        return hasher.digest(), flags
