"""The two index files of a group: rows by path, and what each pack holds; decrypted as they are read.

    AnyCopy        an index file as plaintext, from whichever drive's copy authenticates
    Members        members.parquet: rows of one path, or of all paths from one on
    pack_counts    packs.parquet, in columns

Nothing is loaded whole: Members holds the few row groups that were used last (131,072 rows each), so that opening takes
as long for a thousand million members as for one. Rows are checked before they leave; whatever Arrow raises over a
hostile file is a FormatError. Safe for threads.
"""

from __future__ import annotations

import io
import os
import threading
from bisect import bisect_left
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from blake3 import blake3

from sealift.drives.ranges import SOON, RemoteDrive, RemoteFile, is_beside, read_soon
from sealift.errors import AgeError, DriveFault, FormatError, IdentityMismatch, Lost, Refused, Unreached
from sealift.formats import age, age_header, index, manifest
from sealift.formats.index import Row
from sealift.formats.samples import MAX_SAMPLE_KEY
from sealift.reading.group import Held
from sealift.reading.origin_copies import name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow.parquet as pq
    from numpy.typing import NDArray

    from sealift.drives.base import Drive
    from sealift.reading.group import GroupReader
    from sealift.reading.keys import Keys

BATCH = 8192
_KEPT = 16  # row groups of the index that are held


class AnyCopy(io.RawIOBase):
    """An index file as plaintext, from whichever drive's copy authenticates; seekable."""

    def __init__(self, reader: GroupReader, name: str, ref: manifest.IndexRef, keys: Keys) -> None:
        super().__init__()
        self._name, self._ref, self._keys, self._group = name, ref, keys, reader.manifest.group
        self._drives = reader.copies()
        self._late: list[Drive] = []  # which did not answer soon, and are asked again when no other is left
        self._hurry = True
        self._readers: list[age.Reader] = []  # copies that opened, the one that served last in front
        self._from: dict[int, Drive] = {}  # of readers, by their id
        self._others: list[str] = []  # mounts of copies that are something else than the manifest says
        self._unreached: dict[str, DriveFault] = {}  # by mount, of those in other hosts that did not give theirs
        self._at = 0
        if not self._open_another():
            raise self._lost()
        self.size = self._readers[0].size

    def _lost(self) -> Lost | Refused:
        sent = name_of(self._group, self._name)
        attach = (
            "attach another drive of this group: every drive carries the whole group's index; or, with the same file"
            f" from the origin, {sent}, beside the seal file here, as it was sent ahead, `sealift repair MNT... --seal"
            " FILE` puts it on the drives"
        )
        if not self._others and self._unreached:
            first = next(iter(self._unreached.values()))
            return Unreached(
                f"{self._name} cannot be had now: {', '.join([*self._unreached][:5])} did not give it ({first})",
                hint=first.hint or "see to the hosts and the way to them, and run the same command again",
            )
        if not self._others:
            return Lost(f"no drive here has a copy of {self._name} that can be read", hint=attach)
        return Refused(
            f"{self._name} on {', '.join(self._others[:5])} is not the one that the signed manifest names; no drive"
            " here has that one",
            hint=f"{attach}; `sealift verify` says what else is amiss",
        )

    def _open_another(self) -> bool:
        """Open the next copy whose header is the signed one and put it in front; False when there is none left."""
        mismatch: IdentityMismatch | None = None
        while self._drives or self._late:
            if not self._drives:
                self._drives, self._late, self._hurry = self._late, [], False
            drive = self._drives.pop(0)
            if self._hurry and is_beside(drive, self._late):  # it would come by the way that is full
                self._late.append(drive)
                continue
            try:
                file = Held(
                    drive.open_later(self._name) if isinstance(drive, RemoteDrive) else drive.open_read(self._name)
                )
                read = self._reading(drive, file)
                head = read(0, min(self._ref.bytes, age_header.MAX_HEADER + age_header.NONCE))
                header = age_header.parse_header(head)
                digest = blake3(head[: header.payload_start]).hexdigest()
                if file.length == self._ref.bytes and digest == self._ref.header:
                    key = self._keys.of_index(header, self._group, self._name)
                    self._readers.insert(0, age.Reader(read, file.length, file_key=key))
                    self._from[id(self._readers[0])] = drive
                    return True
                self._others.append(drive.mount)
            except IdentityMismatch as error:
                mismatch = error
            except FormatError:
                self._others.append(drive.mount)
            except DriveFault as error:
                self._note_unreached(drive, error)
                continue
        if mismatch is not None and not self._readers:
            raise mismatch
        return False

    def _note_unreached(self, drive: Drive, error: DriveFault) -> None:
        if isinstance(drive, RemoteDrive) and drive not in self._late:
            self._unreached.setdefault(drive.mount, error)

    def _reading(self, drive: Drive, file: Held) -> Callable[[int, int], bytes]:
        """read_at of a file, which does not wait for a slow host as long as there are others to ask."""

        def read(offset: int, length: int) -> bytes:
            if not (self._hurry and isinstance(file.file, RemoteFile)):
                return file.read_at(offset, length)
            data = read_soon(file.file, offset, length, SOON)
            if data is None:
                self._late += [] if drive in self._late else [drive]
                raise DriveFault(f"{drive.mount}: no answer within {SOON:g} seconds", drive=drive.mount)
            return data

        return read

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to `offset` from start, position or end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        """Fill `buffer` from any copy; Refused or Lost when none is good here."""
        count = self._from_any(buffer)
        if count is None and len(buffer) > age.CHUNK:  # copies may be rotten at different chunks: one at a time
            count = self._from_any(memoryview(buffer)[: age.CHUNK - self._at % age.CHUNK])
        if count is None:
            raise self._lost()
        self._at += count
        return count

    def _from_any(self, buffer: Any) -> int | None:
        """Bytes read at the current place from the first copy that authenticates there; None if none does."""
        tried: set[int] = set()
        while True:
            for reader in self._readers:
                if id(reader) in tried:
                    continue
                tried.add(id(reader))
                try:
                    reader.seek(self._at)
                    count = reader.readinto(buffer)
                except AgeError:
                    if self._from[id(reader)].mount not in self._others:
                        self._others.append(self._from[id(reader)].mount)
                    continue
                except DriveFault as error:
                    self._note_unreached(self._from[id(reader)], error)
                    continue
                self._readers.remove(reader)
                self._readers.insert(0, reader)
                return count
            if not self._open_another():
                return None

    def read(self, size: int | None = -1, /) -> bytes:
        """`size` bytes, or all that are left; a bytearray, which Arrow takes as it is."""
        left = max(0, self.size - self._at)
        out = bytearray(left if size is None or size < 0 else min(size, left))
        done = 0
        while done < len(out):
            count = self.readinto(memoryview(out)[done:])
            if not count:
                break
            done += count
        return out  # type: ignore[return-value]


def open_parquet(stream: io.RawIOBase, what: str) -> pq.ParquetFile:
    """`stream` as Parquet, its metadata within limits; FormatError names it as `what`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.PythonFile(stream, mode="r"), pre_buffer=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FormatError(f"{what} does not open as Parquet: {error}") from error
    metadata = file.metadata
    if any(metadata.row_group(n).num_rows > index.ROW_GROUP for n in range(metadata.num_row_groups)):
        raise FormatError(f"{what}: a row group has over {index.ROW_GROUP} rows")
    return file


def checked(batches: Iterator[Any], schema: Any) -> Iterator[Any]:
    """Batches of a Parquet file from a drive: of this schema, nothing null; Arrow's errors become ours."""
    import pyarrow as pa

    try:
        for batch in batches:
            if not batch.schema.equals(schema):
                raise FormatError("index: columns are not those of the specification")
            if any(column.null_count for column in batch.columns):
                raise FormatError("index: a value is missing")
            yield batch
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FormatError(f"index: does not read as Parquet: {error}") from error


class PackCounts(NamedTuple):
    """What every data pack of a group holds, in order of stripe and role; absent packs have length 0."""

    length: NDArray[np.int64]  # bytes of the pack
    plain: NDArray[np.int64]  # bytes in age
    tar: NDArray[np.int64]  # bytes of tar
    members: NDArray[np.int64]
    samples: NDArray[np.int64]
    sample_key: str | None  # the --sample-key of the packing


def pack_counts(open_file: Callable[[], pq.ParquetFile], geometry: manifest.Geometry) -> PackCounts:
    """The table of packs of a group; FormatError when it is not the table of this geometry."""
    schema = index.packs_schema()
    columns: dict[str, list[Any]] = {name: [] for name in schema.names}
    file = open_file()
    total = geometry.stripes * geometry.data
    if file.metadata.num_rows != total:
        raise FormatError(f"table of packs: {file.metadata.num_rows} rows for {total} data packs")
    for batch in checked(file.iter_batches(index.ROW_GROUP), schema):
        for name in schema.names:
            columns[name].append(np.asarray(batch.column(name), dtype=np.int64))
    arrays = {name: np.concatenate(parts) if parts else np.zeros(0, np.int64) for name, parts in columns.items()}
    places = np.arange(total)
    right = np.array_equal(arrays["stripe"], places // geometry.data)
    right = right and np.array_equal(arrays["role"], places % geometry.data)
    if not right or any(total and int(column.min()) < 0 for column in arrays.values()):
        raise FormatError("table of packs: rows out of order, or a number below 0")
    key = (file.metadata.metadata or {}).get(index.SAMPLE_KEY)
    if key is not None and len(key) > MAX_SAMPLE_KEY:
        raise FormatError(f"table of packs: a sample key of {len(key)} bytes")
    sample_key = None if key is None else os.fsdecode(key)
    length, plain, tar, members, samples = (arrays[name] for name in PackCounts._fields[:-1])
    return PackCounts(length, plain, tar, members, samples, sample_key)


class Members:
    """The rows of members.parquet of a group of this geometry, in order of path and start."""

    def __init__(self, open_file: Callable[[], pq.ParquetFile], geometry: manifest.Geometry) -> None:
        self._open_file, self._geometry = open_file, geometry
        self._file: Any = None
        self._firsts: dict[int, bytes] = {}  # row group -> its first path
        self._kept: OrderedDict[int, Any] = OrderedDict()  # row group -> its rows
        self._lock = threading.RLock()

    @property
    def file(self) -> pq.ParquetFile:
        """The open file."""
        with self._lock:
            if self._file is None:
                self._file = self._open_file()
                told = (self._file.metadata.metadata or {}).get(index.FIRSTS)
                if told is not None:
                    self._firsts = dict(enumerate(index.decode_firsts(told, self._file.metadata.num_row_groups)))
            return self._file

    def find(self, path: bytes) -> list[Row]:
        """The rows of one path, in order of start; empty if it is not in this group."""
        found = []
        for row in self.rows(path):
            if row.path != path:
                break
            found.append(row)
        return found

    def rows(self, start: bytes = b"") -> Iterator[Row]:
        """Rows of all paths from `start` on; FormatError for one that is out of limits."""
        begin = self._row_group(start) if start else 0
        count = 2 if start else BATCH  # few at first: most ask for one path
        for number in range(begin, self.file.metadata.num_row_groups):
            table = self._table(number)
            paths = table.column("path")
            place = bisect_left(paths, start, key=lambda value: value.as_py()) if number == begin and start else 0
            while place < table.num_rows:
                part = table.slice(place, count)
                for values in zip(*(column.to_pylist() for column in part.columns), strict=True):
                    row = Row(*values)
                    index.check_row(row, self._geometry.data, self._geometry.stripes)
                    yield row
                place, count = place + count, min(BATCH, count * 8)

    def _row_group(self, path: bytes) -> int:
        """The row group in which `path` begins, if it is anywhere."""
        groups = range(self.file.metadata.num_row_groups)
        return max(0, bisect_left(groups, path, key=self._first) - 1)

    def _table(self, number: int) -> Any:
        """A row group, whole: decoding its paths is most of what finding one costs."""
        import pyarrow as pa

        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
            file = self.file
            batches = list(
                checked(file.iter_batches(index.ROW_GROUP, row_groups=[number], use_threads=False),
                        index.members_schema())
            )  # fmt: skip
            if not batches or not sum(batch.num_rows for batch in batches):
                raise FormatError(f"index: row group {number} has no rows")
            table = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
            self._firsts[number] = table.column("path")[0].as_py()
            self._kept[number] = table
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return table

    def _first(self, number: int) -> bytes:
        """The first path of a row group of the index; read, not taken from its statistics.

        Python's way to these aborts the process where a footer is hostile (pyarrow 26: its ColumnChunkMetaData
        throws what nobody catches); reading rows reports it.
        """
        import pyarrow as pa

        with self._lock:
            if number not in self._firsts:
                batches = self.file.iter_batches(1, row_groups=[number], columns=["path"], use_threads=False)
                for batch in checked(batches, pa.schema([index.members_schema().field(0)])):
                    if batch.num_rows:
                        self._firsts[number] = batch.column(0)[0].as_py()
                        break
                else:
                    raise FormatError(f"index: row group {number} has no rows")
            return self._firsts[number]
