"""What an unpack has to do: the rows of the index that match what was asked for, gathered by pack.

The unit of work is a Job: rows of one pack, and a function of it, of the locations and of the target does it, in
whichever process; what comes of it is a Done. Which rows there are is the same for a folder and for a bucket.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from sealift.drives.waiting import waiting
from sealift.formats import index
from sealift.formats.index import HARDLINK, Row
from sealift.formats.manifest import pack_name, slot_of
from sealift.reading.patterns import matcher
from sealift.stages.sorting import Sorter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa

    from sealift.reading.shipment import Group, Shipment
    from sealift.stages.unpack_places import Met

T = TypeVar("T")
_JOB_ROWS = 50_000


@dataclass
class Job:
    """Rows of one pack, in order of their place in it."""

    group: int
    stripe: int
    role: int
    part: int
    rows: list[tuple[Any, ...]]

    @property
    def name(self) -> str:
        """How the job is noted when it is done."""
        return f"{self.group} {self.stripe} {self.role} {self.part}"

    @property
    def offset(self) -> int:
        """Where in the pack its first row lies; one of several jobs of a pack goes on where the one before ended."""
        return Row(*self.rows[0]).offset


@dataclass
class Done:
    """What a worker did with a job."""

    files: int = 0
    size: int = 0  # bytes
    rebuilt: int = 0
    failed: list[tuple[bytes, str]] = field(default_factory=list)
    unreached: list[bytes] = field(default_factory=list)  # of those that failed: no host that has them answers
    changed: list[bytes] = field(default_factory=list)
    faults: int = 0  # of the target, at single files
    there: int = 0  # of the files those that were there already, with these bytes
    refused: list[tuple[bytes, str]] = field(default_factory=list)  # what the target did not take, and why
    skipped: list[tuple[bytes, str]] = field(default_factory=list)  # what the target cannot hold, and why
    mark: str = ""  # the latest ctime of its files, in ns
    process: int = 0  # which did it, and what it has met of locations in other hosts by then
    met: dict[str, Met] = field(default_factory=dict)


Aliases = dict[bytes, bytes]


def source_of(group: Group, stripe: int, role: int) -> str:
    """Where the bytes of a pack are read, in words for whoever waits for them."""
    slot, reader = slot_of(stripe, role, group.reader.n), group.reader
    drives = ", ".join(drive.mount for drive in reader.drives.get(slot, ()))
    return f"{drives or f'group {group.manifest.group}'}: reading {pack_name(stripe, role, reader.data)}"


def awaited(pieces: Iterable[T], source: str) -> Iterator[T]:
    """The same; while one does not come, it is said that `source` is waited for."""
    each = iter(pieces)
    while True:
        with waiting(source):
            piece = next(each, None)
        if piece is None:
            return
        yield piece


def find_aliases(shipment: Shipment, patterns: Sequence[str]) -> Aliases:
    """Files that --path names only by another of their names: that one stands for the name they are packed under."""
    found: Aliases = {}
    matches = matcher(patterns)
    for group in shipment.groups.values() if patterns else ():
        for row in rows_of(group, patterns, HARDLINK):
            if not matches(row.link):
                found.setdefault(row.link, row.path)
    return found


def select(
    group: Group, patterns: Sequence[str], kinds: Sequence[int], aliases: Aliases | None = None
) -> Iterator[Any]:
    """Batches of the index with the rows of `kinds` that match the patterns, or are known by an alias."""
    import pyarrow as pa
    import pyarrow.compute as pc

    matches = matcher(patterns)
    for batch in group.batches():
        chosen = batch.filter(pc.is_in(batch.column("kind"), pa.array(kinds, pa.uint8())))
        if patterns and chosen.num_rows:
            wanted = [matches(path) or path in (aliases or {}) for path in chosen.column("path").to_pylist()]
            chosen = chosen.filter(pa.array(wanted))
        if chosen.num_rows:
            yield chosen


def jobs_of(
    number: int, group: Group, patterns: Sequence[str], folder: str, kinds: Sequence[int], aliases: Aliases
) -> Iterator[Job]:
    """Rows of `kinds` of a group, gathered by pack, in order of place; sorted on disk, not in memory."""
    job: Job | None = None
    geometry = group.manifest.geometry
    batches = select(group, patterns, kinds, aliases)
    for batch in in_order(batches, ("stripe", "role", "offset", "path"), folder):
        for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            row = Row(*values)
            index.check_row(row, geometry.data, geometry.stripes)
            if job is None or (job.stripe, job.role) != (row.stripe, row.role) or len(job.rows) >= _JOB_ROWS:
                if job is not None:
                    yield job
                same = job is not None and (job.stripe, job.role) == (row.stripe, row.role)
                job = Job(number, row.stripe, row.role, job.part + 1 if same and job is not None else 0, [])
            job.rows.append(tuple(row._replace(path=aliases.get(row.path, row.path))))
    if job is not None:
        yield job


def in_order(batches: Iterator[pa.RecordBatch], order: Sequence[str], folder: str) -> Iterator[pa.RecordBatch]:
    """The rows of batches by the columns `order`; what is more than fits is sorted in `folder`."""
    first = next(batches, None)
    if first is None:
        return
    with Sorter(first.schema, order, folder) as sorter:
        sorter.add(first)
        for batch in batches:
            sorter.add(batch)
        yield from sorter.batches()


def rows_of(group: Group, patterns: Sequence[str], kind: int, aliases: Aliases | None = None) -> Iterator[Row]:
    """The rows of one kind that match the patterns, or are known by an alias."""
    for batch in select(group, patterns, [kind], aliases):
        for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield Row(*values)
