"""A sealed shipment on mounted drives: what is in it, and the bytes of its members. The key holder's door.

Opens only with the seal, believed by allowed signers: whatever needs an identity refuses a shipment without it.
Nothing is written anywhere. Bytes that leave `read` have authenticated at their place, or were rebuilt from
verified blocks; every rebuilt block is counted (`rebuilt_blocks`).
"""

from __future__ import annotations

import heapq
import io
import os
import re
from bisect import bisect_left
from dataclasses import dataclass
from fnmatch import translate
from typing import TYPE_CHECKING, Any

import numpy as np
from blake3 import blake3

from sealift.errors import AgeError, BadInput, DriveFault, FormatError, IdentityMismatch, Lost, SealInvalid
from sealift.formats import age, index, manifest
from sealift.formats.index import CHANGED, DIRECTORY, FILE, SPARSE, Row
from sealift.formats.manifest import Manifest
from sealift.reading.group import GroupReader, Held
from sealift.reading.pack import PackContent, PackReader
from sealift.reading.survey import survey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow.parquet as pq

    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.formats.manifest import DriveRow
    from sealift.formats.seal import SealDrive
    from sealift.reading import trust

_BATCH = 8192
_FRAMES = ("stripe", "role", "frames_packed", "frames_raw")
_MAX_FRAMES = 1 << 27


class Group:
    """One group that is here: its reader, its index and its table of packs, opened with an identity."""

    def __init__(self, reader: GroupReader, identities: Sequence[age.Identity]) -> None:
        self.reader, self.manifest, self._identities = reader, reader.manifest, identities
        self._frames: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        self._table: Any = None
        self._starts: list[tuple[int, int]] = []
        self._members: Any = None
        self._firsts: dict[int, bytes] = {}  # row group of the index -> its first path

    def stream(self, name: str) -> io.RawIOBase:
        """The plaintext of an index file, from whichever copy authenticates."""
        ref = self.manifest.members_index if name == manifest.MEMBERS_INDEX else self.manifest.packs_index
        return AnyCopy(self.reader, name, ref, self._identities)

    def parquet(self, name: str) -> pq.ParquetFile:
        """An index file, decrypted as it is read; any drive's copy serves."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            file = pq.ParquetFile(pa.PythonFile(self.stream(name), mode="r"), pre_buffer=False)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise FormatError(f"{name} of group {self.manifest.group} does not open as Parquet: {error}") from error
        metadata = file.metadata
        if any(metadata.row_group(n).num_rows > index.ROW_GROUP for n in range(metadata.num_row_groups)):
            raise FormatError(f"{name} of group {self.manifest.group}: a row group has over {index.ROW_GROUP} rows")
        return file

    def batches(self, size: int = _BATCH) -> Iterator[Any]:
        """The index in Arrow batches of at most `size` rows, columns as specified, none null; FormatError."""
        file = self.parquet(manifest.MEMBERS_INDEX)
        yield from _checked(file.iter_batches(size), index.members_schema())

    def rows(self) -> Iterator[Row]:
        """Every row of the index, in order of path and start; FormatError for one that is out of limits."""
        for batch in self.batches():
            yield from self._check(batch)

    def find(self, path: bytes) -> list[Row]:
        """The rows of one path, in order of start; empty if it is not in this group."""
        if self._members is None:
            self._members = self.parquet(manifest.MEMBERS_INDEX)
        found: list[Row] = []
        groups = range(self._members.metadata.num_row_groups)
        begin = max(0, bisect_left(groups, path, key=self._first) - 1)
        for number in groups[begin:]:
            if number > begin and self._first(number) > path:
                break
            batches = self._members.iter_batches(_BATCH, row_groups=[number])
            for batch in _checked(batches, index.members_schema()):
                if not batch.num_rows:
                    continue
                first, last = batch.column(0)[0].as_py(), batch.column(0)[-1].as_py()
                if first <= path <= last:
                    found += [row for row in self._check(batch) if row.path == path]
        return found

    def _first(self, number: int) -> bytes:
        """The first path of a row group of the index; read, not taken from its statistics.

        Python's way to these aborts the process where a footer is hostile (pyarrow 26: its ColumnChunkMetaData
        throws what nobody catches); reading rows reports it.
        """
        import pyarrow as pa

        if number not in self._firsts:
            batches = self._members.iter_batches(1, row_groups=[number], columns=["path"])
            for batch in _checked(batches, pa.schema([index.members_schema().field(0)])):
                if batch.num_rows:
                    self._firsts[number] = batch.column(0)[0].as_py()
                    break
            else:
                raise FormatError(f"index: row group {number} has no rows")
        return self._firsts[number]

    def _check(self, batch: Any) -> Iterator[Row]:
        geometry = self.manifest.geometry
        if [(f.name, f.type) for f in batch.schema] != [(f.name, f.type) for f in index.members_schema()]:
            raise FormatError("index: columns are not those of the specification")
        if any(column.null_count for column in batch.columns):
            raise FormatError("index: a column has nulls")
        for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            row = Row(*values)
            index.check_row(row, geometry.data, geometry.stripes)
            yield row

    def content(self, stripe: int, role: int) -> PackContent:
        """The tar stream of a pack."""
        packed, raw = self._frames_of(stripe, role)
        return PackContent(PackReader(self.reader, stripe, role, self._identities), packed, raw)

    def _frames_of(self, stripe: int, role: int) -> tuple[np.ndarray, np.ndarray]:
        """Frame lengths of a pack, from the row group of the table of packs that has its stripe."""
        if (stripe, role) not in self._frames:
            if self._table is None:
                self._table = self.parquet(manifest.PACKS_INDEX)
            metadata = self._table.metadata
            place = stripe * self.manifest.geometry.data + role
            start = 0
            for number in range(metadata.num_row_groups):
                count = metadata.row_group(number).num_rows
                if place < start + count:
                    self._frames, frames = {}, 0
                    for batch in _checked(self._table.iter_batches(64, row_groups=[number]), index.packs_schema()):
                        for s, r, p, w in zip(*(batch.column(name) for name in _FRAMES), strict=True):
                            self._frames[s.as_py(), r.as_py()] = (np.asarray(p.values), np.asarray(w.values))
                            frames += len(p.values) + len(w.values)
                            if frames > _MAX_FRAMES:
                                raise FormatError("table of packs: too many frames in one row group")
                    break
                start += count
        try:
            return self._frames[stripe, role]
        except KeyError as error:
            raise FormatError(f"table of packs: no row for pack {stripe}/{role}") from error


def _checked(batches: Iterator[Any], schema: Any) -> Iterator[Any]:
    """Batches of a Parquet file from a drive: of this schema, nothing null; Arrow's errors become ours."""
    import pyarrow as pa

    try:
        for batch in batches:
            if not batch.schema.equals(schema):
                raise FormatError("index: columns are not those of the specification")
            children = [column.values for column in batch.columns if pa.types.is_list(column.type)]
            if any(column.null_count for column in (*batch.columns, *children)):
                raise FormatError("index: a value is missing")
            yield batch
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FormatError(f"index: does not read as Parquet: {error}") from error


class AnyCopy(io.RawIOBase):
    """An index file as plaintext, from whichever drive's copy authenticates; seekable."""

    def __init__(
        self, reader: GroupReader, name: str, ref: manifest.IndexRef, identities: Sequence[age.Identity]
    ) -> None:
        super().__init__()
        self._name, self._ref, self._identities = name, ref, identities
        self._drives = reader.copies()
        self._readers: list[age.Reader] = []  # copies that opened, the one that served last in front
        self._at = 0
        if not self._open_another():
            raise self._lost()
        self.size = self._readers[0].size

    def _lost(self) -> Lost:
        return Lost(
            f"no drive here has a good copy of {self._name}",
            hint="attach another drive of this group: every drive carries the whole group's index",
        )

    def _open_another(self) -> bool:
        """Open the next copy whose header is the signed one and put it in front; False when there is none left."""
        mismatch: IdentityMismatch | None = None
        while self._drives:
            try:
                file = Held(self._drives.pop(0).open_read(self._name))
                head = file.read_at(0, min(file.length, age.MAX_HEADER + age.NONCE))
                start = age.parse_header(head).payload_start
                if file.length == self._ref.bytes and blake3(head[:start]).hexdigest() == self._ref.header:
                    self._readers.insert(0, age.Reader(file.read_at, file.length, self._identities))
                    return True
            except IdentityMismatch as error:
                mismatch = error
            except (DriveFault, FormatError):
                continue
        if mismatch is not None and not self._readers:
            raise mismatch
        return False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:
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
                except (AgeError, DriveFault):
                    continue
                self._readers.remove(reader)
                self._readers.insert(0, reader)
                return count
            if not self._open_another():
                return None

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self.size - self._at)
        out = bytearray(left if size is None or size < 0 else min(size, left))
        done = 0
        while done < len(out):
            count = self.readinto(memoryview(out)[done:])
            if not count:
                break
            done += count
        return bytes(out[:done])


@dataclass
class Missing:
    """A group of the seal of which no drive is here."""

    group: int
    drives: list[str]  # id, serial, carrier
    files: int
    bytes: int


class Shipment:
    """A sealed shipment; `groups` are those that are here, `missing` those of which nothing is.

    `absent` names the drives that are not here of the groups that are.
    """

    def __init__(
        self, seal: trust.TrustedSeal, groups: dict[int, Group], missing: list[Missing], absent: list[str]
    ) -> None:
        self.seal, self.groups, self.missing, self.absent = seal, groups, missing, absent

    @classmethod
    def open(
        cls,
        mounts: Sequence[str],
        *,
        identities: Sequence[age.Identity],
        allowed: AllowedSigners,
        seal: dict[str, bytes] | None,
    ) -> Shipment:
        """Open what is mounted at `mounts`; SealInvalid without a seal that holds, SignatureInvalid, BadInput."""
        if not identities:
            raise BadInput("no identity is given", hint="--identity FILE, the identity of one of the recipients")
        found = survey(mounts, allowed=allowed, seal=seal)
        if found.trusted is None:
            raise SealInvalid(
                "; ".join(found.seal_failures) or "no seal: neither given nor on these drives",
                hint="--seal FILE, as the origin sent it ahead by network",
            )
        groups = {v.group: Group(GroupReader(v), identities) for v in found.groups if v.trusted and v.drives}
        missing = [
            Missing(
                sealed.group,
                [_named(drive) for drive in sealed.drives],
                sealed.totals.files,
                sealed.totals.source_bytes,
            )
            for sealed in found.trusted.seal.groups
            if sealed.group not in groups
        ]
        if not groups:
            raise SealInvalid(
                "none of these drives belongs to the shipment of this seal",
                hint="give the seal of this shipment, or mount its drives; `sealift inspect MNT...` says what is here",
            )
        absent = [_named(row) for view in found.groups if view.group in groups for row in view.missing]
        return cls(found.trusted, groups, missing, absent)

    def close(self) -> None:
        """Close every file."""
        for group in self.groups.values():
            group.reader.close()

    @property
    def rebuilt_blocks(self) -> int:
        """Blocks that were rebuilt from parity so far."""
        return sum(sum(group.reader.rebuilt.values()) for group in self.groups.values())

    def members(self, patterns: Sequence[str] = ()) -> Iterator[tuple[Group, Row]]:
        """Every member by path, segments of a file as its rows; only those that match one of `patterns`, if any."""
        matches = matcher(patterns)
        streams = [
            ((row.path, row.start, number, group, row) for row in group.rows()) for number, group in self.groups.items()
        ]
        for path, _, _, group, row in heapq.merge(*streams, key=lambda item: item[:3]):
            if matches(path):
                yield group, row

    def find(self, path: bytes) -> tuple[Group, list[Row]]:
        """The group and the rows of a path; BadInput if it is not in the groups that are here."""
        for group in self.groups.values():
            rows = group.find(path)
            if rows:
                return group, rows
        names = os.fsdecode(path)
        hint = "`sealift ls` lists what is here"
        if self.missing:
            hint += f"; {len(self.missing)} of the shipment's groups are not here, and it may be in one of them"
        raise BadInput(f"{names!r} is not in this shipment", hint=hint)

    def read(self, path: bytes, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Bytes start..end-1 of a file, in order; hard links are followed, symbolic ones are not."""
        group, rows = self.find(path)
        if rows[0].kind == index.HARDLINK:
            group, rows = self.find(rows[0].link)
        if rows[0].kind != FILE:
            raise BadInput(f"{os.fsdecode(path)!r} is a {index.KINDS[rows[0].kind]}, not a file")
        end = rows[0].size if end is None else min(end, rows[0].size)
        at = 0
        for row in rows:
            if row.start != at:
                raise FormatError(f"index: segments of {os.fsdecode(path)!r} do not join")
            at += row.length
            if row.start < end and row.start + row.length > start and row.length:
                low, high = max(start, row.start) - row.start, min(end, at) - row.start
                yield from read_segment(group.content(row.stripe, row.role), row, low, high)


def _named(drive: SealDrive | DriveRow) -> str:
    return f"{drive.id} (serial {drive.serial}, {drive.carrier or 'no carrier'})"


def read_segment(content: PackContent, row: Row, low: int, high: int) -> Iterator[bytes]:
    """Bytes low..high-1 of a segment; holes as zeros."""
    if not row.flags & SPARSE:
        for piece in content.pieces(row.offset + low, high - low):
            yield bytes(piece)
        return
    at = low
    for offset, piece in content.extents(row):
        begin, stop = max(offset, low), min(offset + len(piece), high)
        if begin >= stop:
            continue
        yield from _zeros(begin - at)
        yield bytes(piece[begin - offset : stop - offset])
        at = stop
    yield from _zeros(high - at)


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield bytes(min(count, 1 << 20))
        count -= 1 << 20


def matcher(patterns: Sequence[str]) -> Any:
    """A test of paths: shell patterns over the whole path (`*` crosses `/`); a folder's name takes what is in it."""
    if not patterns:
        return lambda _path: True
    compiled = [re.compile(translate(pattern.rstrip("/"))) for pattern in patterns]
    folders = [re.compile(translate(pattern.rstrip("/") + "/*")) for pattern in patterns]

    def matches(path: bytes) -> bool:
        text = os.fsdecode(path)
        return any(pattern.match(text) for pattern in (*compiled, *folders))

    return matches


__all__ = ["CHANGED", "DIRECTORY", "Group", "Manifest", "Missing", "Shipment", "matcher", "read_segment"]
