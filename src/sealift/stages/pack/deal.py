"""Deals the ordered members of a shipment to its groups: contiguous runs, equal shares, cut between samples."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow.compute as pc
from blake3 import blake3

from sealift.formats.index import FILE, HARDLINK

if TYPE_CHECKING:
    import pyarrow as pa

    from sealift.stages.pack.scan import GroupShare


def group_file(folder: str, group: int) -> str:
    """The Parquet file with a group's members in packing order, directories last."""
    return os.path.join(folder, f"g{group:07d}.parquet")


class Dealer:
    """Feed it the members in order, then the directories in order; it writes a Parquet file a group."""

    def __init__(self, folder: str, weights: list[int], weight: int, directories: int, per_member: int) -> None:
        from sealift.stages.pack.scan import GroupShare

        shares = np.cumsum(np.array(weights, dtype=np.float64)) / sum(weights)
        self._limits = [*(int(share * weight) for share in shares[:-1]), 1 << 62]
        self._folder_limits = [*(int(share * directories) for share in shares[:-1]), 1 << 62]
        self._folder, self._per_member = folder, per_member
        self._writers: list[Any] = [None] * len(weights)
        self._schema: Any = None
        self.shares: list[GroupShare] = [GroupShare() for _ in weights]
        self._group = 0
        self._weight = 0
        self._last_key: bytes | None = None
        self._columns = {name: blake3() for name in ("path", "length", "kind", "size", "mode", "mtime", "tag")}
        self._tagged = False  # the digest of files is what it was before there were tags

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers:
            if writer is not None:
                writer.close()

    def members(self, batch: pa.RecordBatch) -> None:
        """The next members in packing order (everything but directories)."""
        self._digest(batch)
        sizes, first = self._sizes(batch), self._first_of_sample(batch)
        cumulative = self._weight + np.cumsum(sizes + self._per_member)
        before = cumulative - (sizes + self._per_member)
        start, count = 0, batch.num_rows
        while start < count:
            cut = count
            over = np.flatnonzero((before[start:] >= self._limits[self._group]) & first[start:])
            if len(over):
                cut = start + int(over[0])
            self._write(self._group, batch, start, cut, first)
            start = cut
            if cut < count:
                self._group += 1
        self._weight = int(cumulative[-1]) if count else self._weight

    def folders(self, batch: pa.RecordBatch) -> None:
        """The next directories by path."""
        self._digest(batch)
        if self._group >= 0:  # the first batch of directories: deal from the first group again
            self._group, self._weight = -1, 0
            self._place = 0
        start, count = 0, batch.num_rows
        while start < count:
            if self._weight >= self._folder_limits[self._place]:
                self._place += 1
                continue
            cut = min(count, start + self._folder_limits[self._place] - self._weight)
            self._write(self._place, batch, start, cut, np.ones(count, dtype=bool))
            self.shares[self._place].directories += cut - start
            self._weight += cut - start
            start = cut

    def finish(self) -> tuple[list[GroupShare], str]:
        """What each group got, and the digest of the whole order."""
        for group, writer in enumerate(self._writers):
            if writer is None:
                self._open(group)
        total = blake3()
        for name, hasher in self._columns.items():
            if name != "tag" or self._tagged:
                total.update(name.encode() + hasher.digest())
        for share in self.shares:
            total.update(b"%d/%d," % (share.members, share.directories))
        return self.shares, total.hexdigest()

    def _sizes(self, batch: pa.RecordBatch) -> Any:
        return np.asarray(batch.column("size"), dtype=np.int64)

    def _first_of_sample(self, batch: pa.RecordBatch) -> Any:
        keys, count = batch.column("key"), batch.num_rows
        if not count:
            return np.empty(0, dtype=bool)
        begins = keys[0].as_py() != self._last_key
        self._last_key = keys[count - 1].as_py()
        return np.concatenate([[begins], np.asarray(pc.not_equal(keys.slice(1), keys.slice(0, count - 1)))])

    def _digest(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows:
            data, lengths = _bytes_of(batch.column("path"))
            self._columns["path"].update(data)
            self._columns["length"].update(lengths)
            tags, lengths = _bytes_of(batch.column("tag"))
            if len(tags):
                self._tagged = True
            if self._tagged:  # all are tagged, or none is
                self._columns["tag"].update(lengths)
                self._columns["tag"].update(tags)
            for name in ("kind", "size", "mode", "mtime"):
                self._columns[name].update(np.asarray(batch.column(name), dtype=np.int64).tobytes())

    def _write(self, group: int, batch: pa.RecordBatch, start: int, stop: int, first: Any) -> None:
        import pyarrow as pa

        part = batch.slice(start, stop - start)
        if not part.num_rows:
            return
        columns = [part.column(name) for name in ("path", "kind", "size", "mode", "mtime", "sparse")]
        out = pa.record_batch(
            [
                columns[0],
                *[pa.array(np.asarray(column, dtype=np.int64)) for column in columns[1:]],
                pa.array(first[start:stop]),
                part.column("tag"),
            ],
            names=["path", "kind", "size", "mode", "mtime", "sparse", "first", "tag"],
        )
        self._open(group).write_batch(out)
        kinds = np.asarray(part.column("kind"), dtype=np.int64)
        share = self.shares[group]
        if self._group >= 0:
            share.members += part.num_rows
            share.files += int(((kinds == FILE) | (kinds == HARDLINK)).sum())
            share.bytes += int(self._sizes(part).sum())

    def _open(self, group: int) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._writers[group] is None:
            ints = [(name, pa.int64()) for name in ("kind", "size", "mode", "mtime", "sparse")]
            schema = pa.schema([("path", pa.binary()), *ints, ("first", pa.bool_()), ("tag", pa.binary())])
            self._writers[group] = pq.ParquetWriter(
                group_file(self._folder, group), schema, compression="zstd", use_dictionary=False
            )
        return self._writers[group]


def _bytes_of(column: Any) -> tuple[memoryview, bytes]:
    """The bytes of a binary column, one after the other, and their lengths."""
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1]
    return memoryview(data or b"")[int(ends[0]) : int(ends[-1])], np.diff(ends).tobytes()
