"""Samples that lie in files of their own kind: rows of Parquet files, samples of tar shards, runs of tokens.

    ShipmentDataset(shipment, batch_size=512, source=ParquetRows("train/*.parquet", columns=["text"]))
    ShipmentDataset(shipment, batch_size=512, source=TarShards("shards/*.tar"))
    ShipmentDataset(shipment, batch_size=512, source=Tokens("tokens/*.bin", dtype="uint16", length=1025))

A unit of the order is one file. How many samples each has is found when the dataset is made: of Parquet files from the
footers, of tar shards from every header in them (a read for each that is not near the one before), of token files from
their lengths. Opening takes as long as that; what was found is kept with the source object, and goes to workers with
it. The samples of a file have the file's path as key, those of tar shards their own.

Files are read where they stand, through Shipment.open_file, so that all that is said there holds here.
"""

from __future__ import annotations

import os
import tarfile
from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from sealift.errors import BadInput, FormatError, NotAllHere
from sealift.formats import manifest
from sealift.formats.samples import default_key
from sealift.reading.order import Units, draw
from sealift.reading.samples import Sample, suffix
from sealift.reading.shipment import Member, PackId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.reading.samples import Source
    from sealift.reading.shipment import Shipment

_KEPT = 8  # files that are kept open


class _Containers(ABC):
    """Files that match a pattern, each with so many samples; a call opens them over a shipment."""

    def __init__(self, pattern: str, name: str) -> None:
        self.pattern, self.name = pattern, f"{name} {pattern}"
        self._found: list[tuple[Member, int, int]] | None = None  # and its group and number of samples
        self._of = ""  # the shipment and the groups that it was found in
        self._shipment: Any = None
        self._open: OrderedDict[int, Any] = OrderedDict()

    def __call__(self, shipment: Shipment) -> Source:
        """The samples of a shipment; BadInput, NotAllHere: nothing matches; FormatError: a file is not of its kind."""
        here = f"{shipment.seal.seal.shipment} {sorted(shipment.groups)}"
        self._shipment = shipment
        self._open.clear()
        if self._found is None or self._of != here:
            self._found, self._of = self._look(shipment), here
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shipment": None, "_open": OrderedDict()}

    def _look(self, shipment: Shipment) -> list[tuple[Member, int, int]]:
        found: dict[bytes, tuple[int, list[Any]]] = {}
        for number, row in shipment.rows_of(self.pattern):
            if row.kind == 0:
                found.setdefault(row.path, (number, []))[1].append(row)
        if not found and shipment.missing:
            raise NotAllHere(
                f"no file of the groups that are here matches {self.pattern!r}; {shipment.away}",
                hint="give a drive of each group",
            )
        if not found:
            raise BadInput(
                f"no file of this shipment matches {self.pattern!r}", hint="`sealift ls --path` takes it too"
            )
        members = [(Member.of(rows), group) for group, rows in found.values()]
        return [(member, group, self._count(shipment, member)) for member, group in members]

    def units(self) -> Units:
        """A row a file, in order of path."""
        assert self._found is not None
        groups = self._shipment.groups
        several: dict[int, frozenset[int]] = {}
        slots = []
        for number, (member, group, _) in enumerate(self._found):
            own = {manifest.slot_of(row.stripe, row.role, groups[group].reader.n) for row in member.rows}
            slots.append(own.pop() if len(own) == 1 else -1)
            if slots[-1] < 0:
                several[number] = frozenset(own)
        return Units(
            np.array([draw("path", member.path) for member, _, _ in self._found], dtype=np.uint64),
            np.array([count for _, _, count in self._found], dtype=np.int64),
            np.array([member.size for member, _, _ in self._found], dtype=np.int64),
            np.array([group for _, group, _ in self._found], dtype=np.int64),
            np.array(slots, dtype=np.int64),
            several,
        )

    def load(self, unit: int, lo: int, hi: int) -> list[Sample]:
        """Samples lo..hi-1 of a file."""
        assert self._found is not None
        member, group, _ = self._found[unit]
        if unit not in self._open:
            self._open[unit] = self._opened(member)
            if len(self._open) > _KEPT:
                self._open.popitem(last=False)
        self._open.move_to_end(unit)
        pack = PackId(group, member.rows[0].stripe, member.rows[0].role)
        return [Sample(key, files, pack, place) for key, files, place in self._read(self._open[unit], member, lo, hi)]

    @abstractmethod
    def _count(self, shipment: Shipment, member: Member) -> int:
        """How many samples a file has; FormatError."""

    def _opened(self, member: Member) -> Any:
        return self._shipment.open_file(member)

    @abstractmethod
    def _read(self, opened: Any, member: Member, lo: int, hi: int) -> list[tuple[str, dict[str, Any], int]]:
        """Key, files and place in the file of samples lo..hi-1; FormatError, Lost."""


class Tokens(_Containers):
    """Runs of `length` tokens of files that hold nothing else: `dtype` is "uint8", "uint16" or "uint32", little-endian.

    A sample begins every `stride` tokens (every `length`, unless given); tokens at the end that do not make one are
    left out. Its only file, "tokens", is an array of them.
    """

    def __init__(self, pattern: str, *, dtype: str, length: int, stride: int | None = None) -> None:
        if dtype not in {"uint8", "uint16", "uint32"} or length < 1 or (stride is not None and stride < 1):
            raise BadInput(
                f"tokens of {dtype}, {length} at a time",
                hint='dtype is "uint8", "uint16" or "uint32", length 1 or more',
            )
        self._type, self._length, self._stride = np.dtype(dtype).newbyteorder("<"), length, stride or length
        super().__init__(pattern, f"tokens {dtype} {length} {self._stride}")

    def _count(self, shipment: Shipment, member: Member) -> int:  # noqa: ARG002 -- its length says it
        if member.size % self._type.itemsize:
            raise FormatError(f"{member.path!r} has {member.size} bytes: no file of {self._type} tokens")
        return max(0, (member.size // self._type.itemsize - self._length) // self._stride + 1)

    def _read(self, opened: Any, member: Member, lo: int, hi: int) -> list[tuple[str, dict[str, Any], int]]:
        wide = self._type.itemsize
        opened.seek(lo * self._stride * wide)
        tokens = np.frombuffer(opened.read(((hi - 1 - lo) * self._stride + self._length) * wide), dtype=self._type)
        starts = [number * self._stride for number in range(hi - lo)]
        return [
            (member.path, {"tokens": tokens[start : start + self._length]}, (lo * self._stride + start) * wide)
            for start in starts
        ]


class ParquetRows(_Containers):
    """Rows of Parquet files, of all `columns` or those named: a sample's files are its columns' values, by name."""

    def __init__(self, pattern: str, *, columns: Sequence[str] | None = None) -> None:
        self._columns = None if columns is None else list(columns)
        super().__init__(pattern, f"rows {self._columns}")

    def _parquet(self, shipment: Shipment, member: Member) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(pa.PythonFile(shipment.open_file(member), mode="r"), pre_buffer=False)
        except (pa.ArrowException, ValueError) as error:
            raise FormatError(f"{member.path!r} does not open as Parquet: {error}") from error

    def _count(self, shipment: Shipment, member: Member) -> int:
        return int(self._parquet(shipment, member).metadata.num_rows)

    def _opened(self, member: Member) -> Any:
        file = self._parquet(self._shipment, member)
        names = file.schema_arrow.names
        if missing := [name for name in self._columns or [] if name not in names and name.split(".")[0] not in names]:
            raise BadInput(f"{member.path!r} has no column {missing[0]!r}", hint=f"it has {', '.join(names)[:300]}")
        rows = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
        return file, np.concatenate(([0], np.cumsum(rows))), {}

    def _read(self, opened: Any, member: Member, lo: int, hi: int) -> list[tuple[str, dict[str, Any], int]]:
        import pyarrow as pa

        file, ends, kept = opened
        found: list[dict[str, Any]] = []
        for number in range(int(np.searchsorted(ends, lo, side="right")) - 1, int(np.searchsorted(ends, hi))):
            if number not in kept:
                kept.clear()  # the row group that is being read, and no other
                try:
                    kept[number] = file.read_row_group(number, columns=self._columns, use_threads=False)
                except (pa.ArrowException, ValueError) as error:
                    raise FormatError(f"{member.path!r} does not read as Parquet: {error}") from error
            base = int(ends[number])
            found += kept[number].slice(max(0, lo - base), min(hi, int(ends[number + 1])) - max(lo, base)).to_pylist()
        return [(member.path, row, lo + number) for number, row in enumerate(found)]


class TarShards(_Containers):
    """The samples of tar files, as WebDataset writes them: entries that follow each other and have one key."""

    def __init__(self, pattern: str) -> None:
        self._entries: dict[str, list[tuple[str, list[tuple[str, int, int]]]]] = {}  # path -> key, its files
        super().__init__(pattern, "tar")

    def _count(self, shipment: Shipment, member: Member) -> int:
        runs: list[tuple[str, list[tuple[str, int, int]]]] = []
        try:
            with tarfile.open(fileobj=shipment.open_file(member), mode="r:") as tar:
                for entry in tar:
                    if not entry.isreg():
                        continue
                    path = os.fsencode(entry.name)
                    key = os.fsdecode(default_key(path))
                    if not runs or runs[-1][0] != key:
                        runs.append((key, []))
                    runs[-1][1].append((suffix(path, os.fsencode(key)), entry.offset_data, entry.size))
        except (tarfile.TarError, ValueError) as error:
            raise FormatError(f"{member.path!r} does not read as tar: {error}") from error
        self._entries[member.path] = runs
        return len(runs)

    def _read(self, opened: Any, member: Member, lo: int, hi: int) -> list[tuple[str, dict[str, Any], int]]:
        found = []
        for key, entries in self._entries[member.path][lo:hi]:
            held = {}
            for name, offset, size in entries:
                opened.seek(offset)
                held[name] = opened.read(size)
            found.append((key, held, entries[0][1]))
        return found
