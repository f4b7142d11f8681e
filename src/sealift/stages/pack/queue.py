"""The ordered units of one group, handed out from the front; the cursor says where the front is.

A sample goes into one pack. A lone file that is larger than an eighth of a pack is cut into segments when the rest
of the pack cannot hold it, so that the packs of a stripe end equally long; near the end of the group a cut also
spreads what is left over all packs. docs/adr/0002 has the reasons. Nothing is handed out twice, and what was handed
out is a run from the front, so a committed stripe is described by one cursor.

Most samples are of small files with one name each: where many follow each other they stay columns (`_Run`), and no
object is made of a file.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sealift.formats import zstd
from sealift.formats.index import DIRECTORY, FILE, HARDLINK
from sealift.stages.pack.source import medium_fails
from sealift.stages.pack.units import LARGE, Files, Unit, bound, digest_name, plain_bound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa

    from sealift.stages.pack.source import Reader

MAX_SAMPLE = 65536  # members; a larger sample is taken member by member
_ROWS = 8192
# bytes of plaintext handed out at a time, about one slab: what a builder makes of it in one pack, and a frame, must
# stay below two slabs, or it waits for one that only it can free, in another pack of the stripe
_LOOKAHEAD = 4 << 20
_UNITS = 4096
_FEW = 16  # files that are not worth a run of their own


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


class _Run:
    """Samples of small whole files, in columns; `rows` as `_read_batches` gives them, `starts` where samples begin."""

    def __init__(self, rows: pa.RecordBatch, starts: Any, cost: Any) -> None:
        self._paths: list[bytes] = rows.column("path").to_pylist()
        self._sizes, self._modes, self._mtimes = (_ints(rows, name).tolist() for name in ("size", "mode", "mtime"))
        self._tags: list[bytes] = _tags(rows)
        self._ends = np.append(starts[1:], rows.num_rows)  # of samples, in rows
        self._bounds = np.cumsum(cost)[self._ends - 1]
        self._place = 0  # of the next sample

    @property
    def empty(self) -> bool:
        """Whether all were taken."""
        return self._place == len(self._ends)

    def first(self) -> Unit:
        """The first file that was not taken."""
        row = self._begin()[0]
        return Files(self._paths, self._sizes, self._modes, self._mtimes, 0, self._tags).unit(row)

    def _begin(self) -> tuple[int, int]:
        """Row of the next sample, and bound of all before it."""
        last = self._place - 1
        return (0, 0) if last < 0 else (int(self._ends[last]), int(self._bounds[last]))

    def take(self, room: int, wanted: int, most: int) -> tuple[Files, int] | None:
        """The next samples, and their bound: what fits `room`, until it is `wanted` bytes or `most` files."""
        row, before = self._begin()
        fits = int(np.searchsorted(self._bounds, before + room, "right"))
        enough = int(np.searchsorted(self._bounds, before + wanted)) + 1
        stop = min(fits, enough, int(np.searchsorted(self._ends, row + most)) + 1, len(self._ends))
        if stop <= self._place:
            return None
        samples, self._place = stop - self._place, stop
        end, after = self._begin()
        run = slice(row, end)
        files = Files(self._paths[run], self._sizes[run], self._modes[run], self._mtimes[run], samples, self._tags[run])
        return files, after - before


class UnitQueue:
    """Units of the group whose scan is `path`; `reader` is asked only about files that are cut."""

    def __init__(
        self,
        path: str,
        reader: Reader,
        *,
        rows: int,
        remaining: int,
        cursor: Cursor,
        capacity: int,
        pack_size: int,
        data: int,
    ) -> None:
        self._path, self._reader = path, reader
        self._capacity, self._pack_size, self._data = capacity, pack_size, data
        self._end = rows
        self.cursor = cursor
        self.remaining = remaining  # bytes of source not handed out
        self.skipped: list[tuple[bytes, str]] = []  # files that were dropped; whoever commits takes them,
        self.failing: list[bytes] = []  # and these: as Ended has them
        self.unread = self.failing_bytes = 0
        self._samples = self._read_samples(cursor.row)
        self._pending: deque[_Sample | _Run] = deque()
        self._part_names: tuple[bytes, bytes] = (b"", b"")

    @property
    def empty(self) -> bool:
        """Whether everything was handed out."""
        return self._head() is None

    def front(self) -> Unit:
        """The unit at the front; only where the queue is not empty."""
        head = self._head()
        assert head is not None
        return head.first() if isinstance(head, _Run) else head.units[0]

    def take(self, room: int) -> list[Unit | Files]:
        """Units whose bound fits into `room` bytes of plaintext; none when the pack should be closed."""
        share = max(self._pack_size // 16, self.remaining // self._data)
        batch = min(_LOOKAHEAD, max(1 << 16, self.remaining // (4 * self._data)))
        taken: list[Unit | Files] = []
        used = count = 0
        while (sample := self._head()) is not None and used < batch and count < _UNITS:
            if isinstance(sample, _Run):
                found = sample.take(room - used, batch - used, _UNITS - count)
                if found is None:
                    break
                files, cost = found
                taken.append(files)
                used += cost
                count += len(files.paths)
                self._passed(sample if sample.empty else None, len(files.paths), sum(files.sizes))
                continue
            if used + sample.bound <= room and not sample.units[0].start:
                taken += sample.units
                used += sample.bound
                count += len(sample.units)
                self._passed(sample, sample.rows, sum(unit.length for unit in sample.units))
                continue
            if not taken and self._divisible(sample):
                if not sample.units[0].start and not self._readable(sample):
                    continue
                return self._cut(sample, room, max(share, self._pack_size // 8))
            break
        return taken

    def _passed(self, whole: _Sample | _Run | None, rows: int, size: int) -> None:
        """Rows at the front were handed out, and with them all of `whole`."""
        if whole is not None:
            self._pending.popleft()
        self.cursor = Cursor(self.cursor.row + rows)
        self.remaining -= size

    def _divisible(self, sample: _Sample) -> bool:
        first = sample.units[0]
        return len(sample.units) == 1 and first.kind == FILE and first.size > self._pack_size // 8

    def _cut(self, sample: _Sample, room: int, most: int) -> list[Unit | Files]:
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
            unit.tag,
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
            self._reader.require(unit)
        except OSError as error:
            self.skipped += [(path, (error.strerror or str(error)).lower()) for path in (unit.path, *unit.links)]
            self.unread += unit.length
            if medium_fails(error):
                self.failing.append(unit.path)
                self.failing_bytes += unit.length
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
        return len(path.rpartition(b"/")[2]) > 240 or self._reader.clashes(path)

    def _head(self) -> _Sample | _Run | None:
        if not self._pending:
            sample = next(self._samples, None)
            if sample is None:
                return None
            # one whose file was cut before did not fit then, though what is left of it may fit now
            apart = isinstance(sample, _Sample) and (sample.bound > self._capacity or self.cursor.offset > 0)
            if isinstance(sample, _Sample) and apart and len(sample.units) > 1:
                self._pending.extend(_Sample([unit], 1 + len(unit.links), bound(unit)) for unit in sample.units)
            else:
                self._pending.append(sample)
            first = self._pending[0]
            if self.cursor.offset and isinstance(first, _Sample):  # resumed within a file
                unit = first.units[0]
                unit.start, unit.length = self.cursor.offset, unit.size - self.cursor.offset
                first.bound = bound(unit)
        return self._pending[0]

    def _read_samples(self, start: int) -> Iterator[_Sample | _Run]:
        import pyarrow as pa

        rest: pa.RecordBatch | None = None
        for batch in self._read_batches(start):
            rows = batch if rest is None else pa.concat_batches([rest, batch])
            whole = self._whole(rows)
            yield from self._split(rows.slice(0, whole))
            rest = rows.slice(whole)
        if rest is not None:
            yield from self._split(rest)

    def _whole(self, rows: pa.RecordBatch) -> int:
        """How many of the rows are samples of which no more follows; a sample that is too large may be cut anywhere."""
        begins = np.flatnonzero(_begins(rows))
        if len(begins) and begins[-1]:
            return int(begins[-1])
        if rows.num_rows < MAX_SAMPLE and _cost(rows).sum() <= self._capacity:
            return 0
        return int(np.flatnonzero(_ints(rows, "kind") != HARDLINK)[-1])  # all names of an inode stay together

    def _split(self, rows: pa.RecordBatch) -> Iterator[_Sample | _Run]:
        """Whole samples: runs of the plain ones, and units of the others."""
        if not rows.num_rows:
            return
        begins, cost = _begins(rows), _cost(rows)
        again = _ints(rows, "kind") == HARDLINK
        plain = (_ints(rows, "kind") == FILE) & ~_ints(rows, "sparse").astype(bool) & ~np.append(again[1:], False)
        plain &= _ints(rows, "size") <= min(LARGE, self._pack_size // 8)  # what is larger may be cut
        plain[0] &= begins[0]
        begins[0] = True
        starts = np.flatnonzero(begins)
        plain = np.logical_and.reduceat(plain, starts) & (np.add.reduceat(cost, starts) <= self._capacity)
        turns = np.flatnonzero(np.diff(plain)) + 1
        for first, stop in zip([0, *turns], [*turns, len(starts)], strict=True):
            row, end = int(starts[first]), int(starts[stop]) if stop < len(starts) else rows.num_rows
            if plain[first] and end - row >= _FEW:
                yield _Run(rows.slice(row, end - row), starts[first:stop] - row, cost[row:end])
            else:
                yield from self._gather(_units(rows.slice(row, end - row)))

    def _gather(self, units: Iterable[tuple[Unit, bool]]) -> Iterator[_Sample]:
        sample: _Sample | None = None
        for unit, first in units:
            cost = bound(unit)
            if sample is not None and not first and len(sample.units) < MAX_SAMPLE and sample.bound <= self._capacity:
                sample.units.append(unit)
                sample.rows += 1 + len(unit.links)
                sample.bound += cost
                continue
            if sample is not None:
                yield sample
            sample = _Sample([unit], 1 + len(unit.links), cost)
        if sample is not None:
            yield sample

    def _read_batches(self, start: int) -> Iterator[pa.RecordBatch]:
        """Rows from `start` on to the end of the queue."""
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
                        yield batch.slice(skip, stop - skip)
                    row += batch.num_rows
                    if row >= self._end:
                        return


def _ints(rows: pa.RecordBatch, name: str) -> Any:
    return np.asarray(rows.column(name))


def _tags(rows: pa.RecordBatch) -> list[bytes]:
    """What says of objects which version was scanned; none of files, nor in scans of before there were any."""
    found: list[bytes] = rows.column("tag").to_pylist() if "tag" in rows.schema.names else []
    return found if any(found) else []


def _begins(rows: pa.RecordBatch) -> Any:
    """Where a sample begins."""
    first = rows.column("first").to_numpy(zero_copy_only=False)
    return first | (_ints(rows, "kind") == DIRECTORY)


def _cost(rows: pa.RecordBatch) -> Any:
    """The bound of each row, were it a whole file with one name."""
    paths = rows.column("path")
    offsets = np.frombuffer(paths.buffers()[1], dtype=np.int32)[paths.offset : paths.offset + rows.num_rows + 1]
    return plain_bound(np.diff(offsets).astype(np.int64), _ints(rows, "size"))


def _units(rows: pa.RecordBatch) -> Iterator[tuple[Unit, bool]]:
    """Units, and whether they begin a sample; further names of an inode are gathered into the unit of its first."""
    waiting: tuple[Unit, bool] | None = None
    names = ("path", "kind", "size", "mode", "mtime", "sparse", "first")
    columns = (rows.column(name).to_pylist() for name in names)
    tags = _tags(rows) or repeat(b"")
    for (path, kind, size, mode, mtime, sparse, first), tag in zip(zip(*columns, strict=True), tags, strict=False):
        if kind == HARDLINK and waiting is not None:
            waiting[0].links.append(path)
            continue
        if waiting is not None:
            yield waiting
        waiting = (
            Unit(path, kind, size, mode, mtime, 0, size, [], b"", bool(sparse), tag),
            first or kind == DIRECTORY,
        )
    if waiting is not None:
        yield waiting
