"""Rows by the hundred million, put in order within a stated memory: an external merge sort over Arrow.

Rows are gathered until they make a run, sorted, and written to a file without a name in the folder given: nothing is
left of it after a kill. Then all runs are merged range by range: the keys noted while a run was written say where a
range ends, so that each holds about `RUN` bytes, and Arrow sorts what the runs have of it. What is one run at most
touches no disk. Rows are measured in bytes, for a path has up to 4096 of them (docs/adr/0013).

What is spilled is encrypted by a key that is only in memory: at the destination the names of files are nowhere else
in the clear. Memory: two runs, a block of each open file, and what Arrow takes to sort one run. Time: each row is
written and read once up to `RUN` * `FAN` bytes, twice up to `FAN` times as many.

What is not here: what the rows are. Keys are columns of bytes and of numbers, without nulls.
"""

from __future__ import annotations

import io
import os
import tempfile
from bisect import bisect_left
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sealift.errors import SealiftError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa

RUN = 32 << 20
"""Bytes that are sorted at once."""
FAN = 128
"""Runs that are merged at once: as many files are open."""
_BLOCK = 128 << 10  # bytes of a run that are read at once
_MARKS = 1024  # keys kept of a run, or up to twice as many
_ROWS, _OUT = 16384, 4 << 20  # rows and bytes of a batch that is given out

_Key = tuple[Any, ...]


class Sorter:
    """Takes batches of `schema` in any order, and gives their rows out once, in order of the columns `key`.

    Runs are spilled in `folder`, which is made if need be; SealiftError when its disk does not take them or give them
    back.
    """

    def __init__(self, schema: pa.Schema, key: Sequence[str], folder: str) -> None:
        self._schema, self._key, self._folder = schema, key, folder
        self._pending: list[pa.RecordBatch] = []
        self._size = 0
        self._levels: list[list[_Run]] = [[]]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for run in self._runs():
            run.close()
        self._levels, self._pending = [[]], []

    def add(self, batch: pa.RecordBatch) -> None:
        """Rows, which may lie in memory until there are enough of them."""
        if not batch.num_rows:
            return
        self._pending.append(batch)
        self._size += batch.nbytes
        if self._size >= RUN:
            self._spill()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows in order; afterwards there are none."""
        if not self._runs():
            rows, self._pending, self._size = self._pending, [], 0
            yield from _in_order(rows, self._schema, self._key)
            return
        if self._pending:
            self._spill()
        yield from self._merged(self._runs())
        self.__exit__()

    def _runs(self) -> list[_Run]:
        return [run for level in self._levels for run in level]

    def _spill(self) -> None:
        rows, self._pending, self._size = self._pending, [], 0
        self._keep(0, _in_order(rows, self._schema, self._key))

    def _keep(self, level: int, rows: Iterable[pa.RecordBatch]) -> None:
        """One more run; as many as are merged at once become one of the next level."""
        with _told(self._folder):
            run = _Run(self._folder, self._schema, self._key)
            try:
                run.write(rows)
            except BaseException:
                run.close()
                raise
        if level == len(self._levels):
            self._levels.append([])
        self._levels[level].append(run)
        if len(self._levels[level]) == FAN:
            full = self._levels[level]
            self._keep(level + 1, self._merged(full))
            self._levels[level] = []
            for each in full:
                each.close()

    def _merged(self, runs: list[_Run]) -> Iterator[pa.RecordBatch]:
        with _told(self._folder):
            for run in runs:
                run.rewind()
        for bound in [*_bounds(runs), None]:
            with _told(self._folder):
                rows = [part for run in runs for part in run.below(bound)]
            yield from _in_order(rows, self._schema, self._key)


@contextmanager
def _told(folder: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise SealiftError(
            f"the list of files cannot be sorted in {folder}: {str(error).splitlines()[0]}",
            hint="see that its disk has room and is writable, then run the same command again; the drives are safe",
        ) from error


def _bounds(runs: list[_Run]) -> Iterator[_Key]:
    """Keys between which the runs have about RUN bytes."""
    size = 0
    for key, length in sorted(mark for run in runs for mark in run.marks):
        if size and size + length > RUN:
            yield key
            size = 0
        size += length


def _in_order(rows: list[pa.RecordBatch], schema: pa.Schema, key: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows in order, in batches; the list is emptied."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not rows:
        return
    table = pa.Table.from_batches(rows, schema).combine_chunks()
    rows.clear()
    places = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in key])
    step = _step(table, _OUT)
    for start in range(0, table.num_rows, step):
        yield from table.take(places.slice(start, step)).combine_chunks().to_batches()


def _step(rows: pa.Table | pa.RecordBatch, size: int) -> int:
    """How many rows have about `size` bytes."""
    return int(max(1, min(_ROWS, rows.num_rows * size // max(1, rows.nbytes))))


class _Run:
    """Sorted rows in a file: written once, then read from its beginning, as often as it is rewound."""

    def __init__(self, folder: str, schema: pa.Schema, key: Sequence[str]) -> None:
        self._schema, self._key = schema, key
        os.makedirs(folder, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 -- closed by close()
        self._secret = os.urandom(32)
        self.marks: list[tuple[_Key, int]] = []  # a first key, and the bytes of so many blocks from there on
        self._blocks, self._stride = 0, 1
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._next: pa.RecordBatch | None = None

    def close(self) -> None:
        self._next, self._batches = None, iter(())
        self._file.close()

    def write(self, rows: Iterable[pa.RecordBatch]) -> None:
        import pyarrow as pa

        options = pa.ipc.IpcWriteOptions(compression="lz4")
        sink = io.BufferedWriter(_Ciphered(self._file, self._secret), _BLOCK)
        with sink, pa.ipc.new_stream(sink, self._schema, options=options) as writer:
            for batch in rows:
                step = _step(batch, _BLOCK)
                for start in range(0, batch.num_rows, step):
                    block = batch.slice(start, step)
                    writer.write_batch(block)
                    self._mark(block)

    def _mark(self, block: pa.RecordBatch) -> None:
        if self._blocks % self._stride == 0:
            self.marks.append((self._at(block, 0), 0))
        key, length = self.marks[-1]
        self.marks[-1] = key, length + block.nbytes
        self._blocks += 1
        if len(self.marks) == 2 * _MARKS and self._blocks % self._stride == 0:  # all are whole: every other one will do
            pairs = zip(self.marks[::2], self.marks[1::2], strict=True)
            self.marks = [(key, length + more) for (key, length), (_, more) in pairs]
            self._stride *= 2

    def rewind(self) -> None:
        """Read from the beginning."""
        import pyarrow as pa

        self._file.seek(0)
        self._batches = iter(pa.ipc.open_stream(io.BufferedReader(_Ciphered(self._file, self._secret), _BLOCK)))
        self._next = next(self._batches, None)

    def below(self, bound: _Key | None) -> Iterator[pa.RecordBatch]:
        """The next rows, up to the first whose key is not less."""
        while self._next is not None:
            batch = self._next
            count = batch.num_rows
            if bound is not None and self._at(batch, count - 1) >= bound:
                count = bisect_left(range(count), bound, key=lambda place: self._at(batch, place))
            if count:
                yield batch.slice(0, count)
            if count < batch.num_rows:
                self._next = batch.slice(count)
                return
            self._next = next(self._batches, None)

    def _at(self, batch: pa.RecordBatch, place: int) -> _Key:
        return tuple(batch.column(name)[place].as_py() for name in self._key)


class _Ciphered(io.RawIOBase):
    """A file from its beginning on, AES-256 in counter mode: written once under its key, or read."""

    def __init__(self, file: Any, secret: bytes) -> None:
        self._file = file
        self._cipher = Cipher(algorithms.AES(secret), modes.CTR(bytes(16))).encryptor()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        out = memoryview(self._cipher.update(data))
        while out:
            out = out[self._file.write(out) :]
        return len(data)

    def readinto(self, buffer: Any) -> int:
        count: int = self._file.readinto(buffer)
        piece = memoryview(buffer)[:count]
        piece[:] = self._cipher.update(piece)
        return count
