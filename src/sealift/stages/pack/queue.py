"""The ordered units of one group, handed out from the front; the cursor says where the front is.

A sample goes into one pack. A lone file that is larger than an eighth of a pack is cut into segments when the rest
of the pack cannot hold it, so that the packs of a stripe end equally long; near the end of the group a cut also
spreads what is left over all packs. docs/adr/0002 has the reasons. Nothing is handed out twice, and what was handed
out is a run from the front, so a committed stripe is described by one cursor.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sealift.formats import zstd
from sealift.formats.index import DIRECTORY, FILE, HARDLINK
from sealift.stages.pack.units import Unit, bound

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SAMPLE = 65536  # members; a larger sample is taken member by member
_ROWS = 8192
_LOOKAHEAD = 4 << 20  # bytes of plaintext handed out at a time, about one slab
_UNITS = 4096


class Cursor(NamedTuple):
    """The front of the queue: next row, next byte of its file, next part number."""

    row: int = 0
    offset: int = 0
    part: int = 0


@dataclass
class _Sample:
    units: list[Unit]
    rows: int
    bound: int


class UnitQueue:
    """Units of the group whose scan is `path`; `source` is looked into only to name segments."""

    def __init__(
        self,
        path: str,
        source: bytes,
        *,
        rows: int,
        remaining: int,
        cursor: Cursor,
        capacity: int,
        pack_size: int,
        data: int,
    ) -> None:
        self._path, self._source = path, source
        self._capacity, self._pack_size, self._data = capacity, pack_size, data
        self._end = rows
        self.cursor = cursor
        self.remaining = remaining  # bytes of source not handed out
        self.skipped: list[tuple[bytes, str]] = []  # files that were dropped; whoever commits takes them
        self._samples = self._read_samples(cursor.row)
        self._pending: deque[_Sample] = deque()
        self._part_names: tuple[bytes, bytes] = (b"", b"")

    @property
    def empty(self) -> bool:
        """Whether everything was handed out."""
        return self._head() is None

    def front(self) -> Unit:
        """The unit at the front; only where the queue is not empty."""
        sample = self._head()
        assert sample is not None
        return sample.units[0]

    def take(self, room: int) -> list[Unit]:
        """Units whose bound fits into `room` bytes of plaintext; none when the pack should be closed."""
        share = max(self._pack_size // 16, self.remaining // self._data)
        batch = min(_LOOKAHEAD, max(1 << 16, self.remaining // (4 * self._data)))
        taken: list[Unit] = []
        used = 0
        while (sample := self._head()) is not None and used < batch and len(taken) < _UNITS:
            if used + sample.bound <= room and not sample.units[0].start:
                self._pending.popleft()
                taken += sample.units
                used += sample.bound
                self.cursor = Cursor(self.cursor.row + sample.rows)
                self.remaining -= sum(unit.length for unit in sample.units)
                continue
            if not taken and self._divisible(sample):
                if not sample.units[0].start and not self._readable(sample):
                    continue
                return self._cut(sample, room, max(share, self._pack_size // 8))
            break
        return taken

    def _divisible(self, sample: _Sample) -> bool:
        first = sample.units[0]
        return len(sample.units) == 1 and first.kind == FILE and first.size > self._pack_size // 8

    def _cut(self, sample: _Sample, room: int, most: int) -> list[Unit]:
        """The next segment of the file at the front: at most `most` bytes of it, none if that would be a scrap."""
        unit = sample.units[0]
        spare = bound(unit) - unit.length
        length = min(unit.length, room - spare, most)
        if length < min(unit.length, self._pack_size // 16):
            return []
        if length < unit.length and length > zstd.FRAME:
            length -= length % zstd.FRAME
        part = b"%b.part-%06d" % (self._part_name(unit), self.cursor.part)
        segment = Unit(
            unit.path,
            unit.kind,
            unit.size,
            unit.mode,
            unit.mtime,
            unit.start,
            length,
            unit.links,
            part,
            unit.sparse,
            unit.sample and unit.start == 0,
        )
        self.remaining -= length
        if length == unit.length:
            self._pending.popleft()
            self.cursor = Cursor(self.cursor.row + sample.rows)
        else:
            unit.start += length
            unit.length -= length
            sample.bound = bound(unit)
            self.cursor = Cursor(self.cursor.row, unit.start, self.cursor.part + 1)
        return [segment]

    def _readable(self, sample: _Sample) -> bool:
        """Whether a file that is about to be cut opens at all; one that does not is dropped, and told, here."""
        unit = sample.units[0]
        try:
            os.close(os.open(self._source + b"/" + unit.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK))
        except OSError as error:
            self.skipped += [(path, (error.strerror or str(error)).lower()) for path in (unit.path, *unit.links)]
            self._pending.popleft()
            self.cursor = Cursor(self.cursor.row + sample.rows)
            self.remaining -= unit.length
            return False
        return True

    def _part_name(self, unit: Unit) -> bytes:
        """Stem of a segment's name: NAME.part-, or a digest where that collides or is too long for any of its names."""
        if self._part_names[0] != unit.path:
            clash = any(self._clashes(path) for path in (unit.path, *unit.links))
            self._part_names = (unit.path, digest_name(unit.path) if clash else unit.path)
        return self._part_names[1]

    def _clashes(self, path: bytes) -> bool:
        folder, _, name = path.rpartition(b"/")
        if len(name) > 240:
            return True
        try:
            with os.scandir(self._source + b"/" + folder) as entries:
                return any(entry.name.startswith(name + b".part-") for entry in entries)
        except OSError:
            return False

    def _head(self) -> _Sample | None:
        if not self._pending:
            sample = next(self._samples, None)
            if sample is None:
                return None
            if sample.bound > self._capacity and len(sample.units) > 1:
                self._pending.extend(_Sample([unit], 1 + len(unit.links), bound(unit)) for unit in sample.units)
            else:
                self._pending.append(sample)
            first = self._pending[0]
            if self.cursor.offset:  # resumed within a file
                unit = first.units[0]
                unit.start, unit.length = self.cursor.offset, unit.size - self.cursor.offset
                first.bound = bound(unit)
        return self._pending[0]

    def _read_samples(self, start: int) -> Iterator[_Sample]:
        sample: _Sample | None = None
        for unit, first in self._read_units(start):
            cost = bound(unit)
            if sample is not None and not first and len(sample.units) < MAX_SAMPLE and sample.bound <= self._capacity:
                sample.units.append(unit)
                sample.rows += 1 + len(unit.links)
                sample.bound += cost
                continue
            if sample is not None:
                yield sample
            unit.sample = first
            sample = _Sample([unit], 1 + len(unit.links), cost)
        if sample is not None:
            yield sample

    def _read_units(self, start: int) -> Iterator[tuple[Unit, bool]]:
        """Units from row `start` on; further names of an inode are gathered into the unit of its first."""
        waiting: tuple[Unit, bool] | None = None
        for path, kind, size, mode, mtime, sparse, first in self._read_rows(start):
            if kind == HARDLINK and waiting is not None:
                waiting[0].links.append(path)
                continue
            if waiting is not None:
                yield waiting
            waiting = (
                Unit(path, kind, size, mode, mtime, 0, size, [], b"", bool(sparse), sample=False),
                first or kind == DIRECTORY,
            )
        if waiting is not None:
            yield waiting

    def _read_rows(self, start: int) -> Iterator[tuple[bytes, int, int, int, int, int, bool]]:
        import pyarrow.parquet as pq

        with pq.ParquetFile(self._path, pre_buffer=False) as file:
            row = 0
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if row + count <= start:
                    row += count
                    continue
                for batch in file.iter_batches(_ROWS, row_groups=[group]):
                    stop = min(batch.num_rows, self._end - row)
                    skip = max(0, start - row)
                    if skip < stop:
                        part = batch.slice(skip, stop - skip)
                        yield from zip(*(column.to_pylist() for column in part.columns), strict=True)
                    row += batch.num_rows
                    if row >= self._end:
                        return


def digest_name(path: bytes) -> bytes:
    """The stem that stands in for a path whose segments cannot carry its own name."""
    from blake3 import blake3

    folder, _, _ = path.rpartition(b"/")
    return (folder + b"/" if folder else b"") + b".sealift-" + blake3(path).hexdigest(16).encode()
