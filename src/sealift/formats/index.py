"""The index of a group and its table of packs: Parquet columns, and the row batches that become them.

members.parquet: a row a member, sorted by path (bytes), then by start. A file in one piece is one row; a larger one
has a row a segment, each with its own BLAKE3, and the digest of the whole file in the last. packs.parquet: a row a
pack, in order of stripe and role: how long it is, and how many members and samples it holds.

Builders know nothing of Parquet (it would cost each 60 MB); they hand over columnar batches (`Rows.encode`), which
become Arrow arrays without a Python object a row (`to_arrow`). docs/spec/index.md specifies the columns.
"""

from __future__ import annotations

import itertools
from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from sealift.errors import FormatError
from sealift.formats import typed, zstd

if TYPE_CHECKING:
    import pyarrow as pa

FILE, SYMLINK, HARDLINK, DIRECTORY = 0, 1, 2, 3
KINDS = ("file", "symlink", "hardlink", "dir")
CHANGED, SPARSE = 1, 2
SAMPLE_KEY = b"sealift.sample_key"  # of the table of packs' metadata: the --sample-key of the packing, if there was one
BATCH = 8192
ROW_GROUP = 131072  # rows of the largest row group that is read
ROWS = 16384  # of those that are written: looking one path up decodes one of them
FIRSTS = b"sealift.firsts"  # of members.parquet's metadata: the first path of every row group
MAX_FIRSTS = 1 << 28


class Row(NamedTuple):
    """One member: where it lies and what it must hash to."""

    path: bytes
    kind: int  # FILE, SYMLINK, HARDLINK, DIRECTORY
    size: int  # of the whole file, bytes
    mode: int  # permission bits
    mtime: int  # ns since the epoch
    start: int  # first byte of the file in this segment
    length: int  # bytes of the file in this segment
    stripe: int
    role: int
    offset: int  # of the content in the pack's tar stream
    stored: int  # bytes of content there: `length`, or map and extents of a sparse one
    flags: int  # CHANGED: the source changed while it was read; SPARSE: content is a GNU.sparse 1.0 map and extents
    link: bytes  # target of a link
    blake3: bytes  # of the segment; empty for what has no content
    file_blake3: bytes  # of the whole file, in the last segment of several


_INTS = ("kind", "size", "mode", "mtime", "start", "length", "stripe", "role", "offset", "stored", "flags")
_BYTES = ("path", "link", "blake3", "file_blake3")


class Rows:
    """A growing batch of rows; columns are made of it at the end, all at once."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._runs: list[dict[str, Any]] = []  # columns of files that came together
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, row: Row) -> None:
        """Append one row."""
        self._rows.append(row)
        self._length += 1

    def add_files(
        self,
        paths: list[bytes],
        sizes: list[int],
        modes: list[int],
        mtimes: list[int],
        *,
        stripe: int,
        role: int,
        offsets: list[int],
        digests: list[bytes],
    ) -> None:
        """Append whole files of one pack, as they were scanned; all lists are equally long."""
        count = len(paths)
        same = dict.fromkeys(_INTS, 0) | {"stripe": stripe, "role": role}
        self._runs.append(
            {name: [value] * count for name, value in same.items()}
            | {"link": [b""] * count, "file_blake3": [b""] * count}
            | {"path": paths, "size": sizes, "mode": modes, "mtime": mtimes, "length": sizes}
            | {"offset": offsets, "stored": sizes, "blake3": digests}
        )
        self._length += count

    def encode(self) -> tuple[bytes, int]:
        """The batch as bytes (zstd over msgpack of columns), and the length of the columns."""
        columns: dict[str, Any] = {}
        single = zip(*self._rows, strict=True) if self._rows else [()] * len(Row._fields)
        for name, first in zip(Row._fields, single, strict=True):
            values = [*first, *itertools.chain.from_iterable(run[name] for run in self._runs)]
            if name in _BYTES:
                columns[name] = (array("i", map(len, values)).tobytes(), b"".join(values))
            else:
                columns[name] = array("q", values).tobytes()
        plain = msgspec.msgpack.encode(columns)
        return zstd.compress(plain), len(plain)


def to_arrow(batch: bytes, size: int) -> pa.RecordBatch:
    """An encoded batch of `size` bytes of columns as Arrow, in the columns of `members_schema` plus none."""
    import numpy as np
    import pyarrow as pa

    columns = msgspec.msgpack.decode(zstd.decompress(batch, size))
    schema = members_schema()
    arrays = []
    for field in schema:
        if field.name in _INTS:
            values = np.frombuffer(columns[field.name], dtype=np.int64)
            arrays.append(pa.array(values.astype(field.type.to_pandas_dtype()), type=field.type))
            continue
        arrays.append(binary(*columns[field.name]))
    return pa.record_batch(arrays, schema=schema)


def binary(lengths: bytes, data: bytes) -> pa.Array:
    """A column of bytes, from the lengths of its values (array("i")) and the values, one after the other."""
    import numpy as np
    import pyarrow as pa

    ends = np.cumsum(np.frombuffer(lengths, dtype=np.int32), dtype=np.int32)
    offsets = np.concatenate([np.zeros(1, dtype=np.int32), ends])
    return pa.Array.from_buffers(pa.binary(), len(ends), [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(data)])


def members_schema() -> pa.Schema:
    """Columns of members.parquet."""
    import pyarrow as pa

    types = {
        "kind": pa.uint8(), "mode": pa.uint16(), "stripe": pa.uint32(), "role": pa.uint16(), "flags": pa.uint8(),
    }  # fmt: skip
    return pa.schema([(name, pa.binary() if name in _BYTES else types.get(name, pa.int64())) for name in Row._fields])


def packs_schema() -> pa.Schema:
    """Columns of packs.parquet."""
    import pyarrow as pa

    return pa.schema(
        [
            ("stripe", pa.uint32()),
            ("role", pa.uint16()),
            ("length", pa.int64()),
            ("plain", pa.int64()),
            ("tar", pa.int64()),
            ("members", pa.int64()),
            ("samples", pa.int64()),
        ]
    )


def members_writer(sink: Any) -> Any:
    """A Parquet writer for members.parquet: delta-coded paths, page index."""
    import pyarrow.parquet as pq

    encodings = {"path": "DELTA_BYTE_ARRAY", "mtime": "DELTA_BINARY_PACKED", "offset": "DELTA_BINARY_PACKED"}
    return pq.ParquetWriter(
        sink, members_schema(), compression="zstd", use_dictionary=["kind", "mode", "stripe", "role", "flags", "start"],
        column_encoding=encodings, write_page_index=True, data_page_size=64 << 10, store_schema=False,
    )  # fmt: skip


def encode_firsts(paths: list[bytes]) -> bytes:
    """The first path of every row group, for the metadata: zstd over msgpack, its length in front."""
    plain = msgspec.msgpack.encode(paths)
    return len(plain).to_bytes(8, "little") + zstd.compress(plain)


def decode_firsts(data: bytes, count: int) -> list[bytes]:
    """What `encode_firsts` wrote of `count` row groups, in order; FormatError."""
    size = int.from_bytes(data[:8], "little")
    if size > MAX_FIRSTS:
        raise FormatError("index: the first paths of its row groups are longer than is allowed")
    try:
        paths = typed.unpack(zstd.decompress(data[8:], size), list[bytes])
    except msgspec.MsgspecError as error:
        raise FormatError(f"index: the first paths of its row groups do not parse: {error}") from error
    if len(paths) != count or any(one > other for one, other in itertools.pairwise(paths)):
        raise FormatError("index: the first paths are not those of its row groups")
    return paths


def check_row(row: Row, data: int, stripes: int) -> None:
    """FormatError unless a row read from an index stays within its group; paths are checked by whoever uses them."""
    if (
        row.kind > DIRECTORY
        or not row.path
        or row.role >= data
        or row.stripe >= stripes
        or min(row.size, row.start, row.length, row.offset, row.stored) < 0
        or row.start + row.length > row.size
        or len(row.blake3) not in {0, 32}
        or len(row.file_blake3) not in {0, 32}
    ):
        raise FormatError(f"index: the row of {row.path!r} is out of limits")
