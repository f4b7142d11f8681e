"""Sorting rows by the hundred million within DuckDB's stated memory.

DuckDB merges all sorted runs at once, and the merge pins blocks of every run: 256 MiB serve for ten million rows;
at fifty it gives up (docs/adr/0012). So rows are first dealt to ranges, by splitters from a sample, into files beside
the state; then range after range is sorted alone. Each row is written once more and read once more, whatever their
number: time is linear, and memory is DuckDB's and that of `_PENDING` rows.

What is not here: what the rows are. Keys are columns of bytes and of numbers, without nulls.
"""

from __future__ import annotations

import os
import shutil
from bisect import bisect_left
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa

RANGE = 2_000_000
"""Rows that are sorted at once: well below what DuckDB merges in SORT_MEMORY."""
_MOST = 256  # files open at once
_PENDING = 1 << 17  # rows held until their files are written, over all files


def sorted_batches(
    connection: Any, batches: Iterable[pa.RecordBatch], schema: pa.Schema, rows: int,
    key: Sequence[str], sample: Iterable[pa.RecordBatch], folder: str, batch: int,
) -> Iterator[pa.RecordBatch]:  # fmt: skip
    """`batches` in order of `key`, in batches of about `batch` rows.

    `rows` is their number, or an upper bound; `sample` has the columns of `key`, and is read only if they are many.
    `folder` is made and removed. One range too large, by a sample that misleads, is sorted all the same.
    """
    import pyarrow as pa

    if rows <= RANGE:
        yield from _sorted(connection, pa.RecordBatchReader.from_batches(schema, iter(batches)), key, batch)
        return
    os.makedirs(folder)
    try:
        splitters = _splitters(sample, key, min(_MOST, -(-rows // RANGE)))
        for path in _deal(batches, schema, key, splitters, folder):
            with pa.OSFile(path) as file, pa.ipc.open_stream(file) as reader:
                yield from _sorted(connection, reader, key, batch)
            os.unlink(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sorted(connection: Any, rows: pa.RecordBatchReader, key: Sequence[str], batch: int) -> Iterator[pa.RecordBatch]:  # noqa: ARG001 -- DuckDB finds `rows` by its name
    yield from connection.sql(f"SELECT * FROM rows ORDER BY {', '.join(key)}").to_arrow_reader(batch)  # noqa: S608


def _splitters(sample: Iterable[pa.RecordBatch], key: Sequence[str], parts: int) -> list[tuple[Any, ...]]:
    """Where the ranges but the first begin."""
    seen = sorted(row for each in sample for row in zip(*(each.column(name).to_pylist() for name in key), strict=True))
    return sorted({seen[len(seen) * part // parts] for part in range(1, parts)}) if seen else []


def _deal(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, key: Sequence[str], splitters: list[Any], folder: str
) -> list[str]:
    """Every row in the file of its range; the files, in order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    paths = [os.path.join(folder, f"{number:03d}.arrow") for number in range(len(splitters) + 1)]
    pending: list[list[pa.RecordBatch]] = [[] for _ in paths]
    counts = [0] * len(paths)
    order = [(name, "ascending") for name in key]
    with ExitStack() as stack:
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        writers = [stack.enter_context(pa.ipc.new_stream(path, schema, options=options)) for path in paths]

        def flush(number: int) -> None:
            if pending[number]:
                writers[number].write_table(pa.Table.from_batches(pending[number], schema).combine_chunks())
            pending[number], counts[number] = [], 0

        for each in batches:
            if not each.num_rows:
                continue
            rows = each.take(pc.sort_indices(each, sort_keys=order))
            columns = [rows.column(name) for name in key]

            def at(place: int, columns: list[Any] = columns) -> tuple[Any, ...]:
                return tuple(column[place].as_py() for column in columns)

            start, number = 0, 0
            while start < rows.num_rows:
                number = bisect_left(splitters, at(start), lo=number)
                if number < len(splitters) and splitters[number] == at(start):
                    number += 1
                stop = rows.num_rows
                if number < len(splitters):
                    stop = bisect_left(range(rows.num_rows), splitters[number], lo=start, key=at)
                pending[number].append(rows.slice(start, stop - start))
                counts[number] += stop - start
                if counts[number] >= _PENDING // len(paths):
                    flush(number)
                start = stop
        for number in range(len(paths)):
            flush(number)
    return paths
