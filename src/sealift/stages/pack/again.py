"""What came, went or was rewritten in a source since it was listed: looked at when a packing goes on.

A shipment is one snapshot: what came later is not packed, and whoever frees the source must know of it. So the folder
is walked once more, and rows of both walks are put in order of path and compared. Memory is that of one Sorter, and of
the first names that are told. What packing has told of already is not told twice, nor is a folder of which only the
time is another. A bucket is not listed again (that is told): its listing may take hours, and costs money.

Where much of what is still to be packed is gone, nothing is packed (`require`): a source that is not mounted looks like
one from which all was deleted, and what is skipped once, is skipped for good.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sealift.errors import BadInput
from sealift.formats.index import DIRECTORY, FILE, HARDLINK
from sealift.formats.sizes import counted
from sealift.stages.pack.deal import group_file
from sealift.stages.pack.journal import LATER
from sealift.stages.pack.scan import SUMMARY, rows_of
from sealift.stages.pack.sealed import seals_of
from sealift.stages.pack.source import is_store
from sealift.stages.pack.walk import HOLDS_NOTHING
from sealift.stages.sorting import Sorter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sealift.errors import Refused
    from sealift.stages.pack.scan import Summary
    from sealift.stages.pack.walk import Seen
    from sealift.stages.pack.work import Work

MOST = 1000  # names of each kind that are kept
_PART = 10  # one in so many of all that was listed, or one in two of what is still to be packed,
_FEW = 3  # and this many paths, or two that are as much of the bytes; or more than half of all is gone
CAME, GONE, REWRITTEN = "came", "is gone", "was rewritten"
_LISTED, _NOW = 0, 1
_OWN = ("kind", "size", "mtime")
_SCHEMA = pa.schema([("path", pa.binary()), *((name, pa.int64()) for name in ("side", "owed", *_OWN))])


class Since(msgspec.Struct):
    """What is otherwise than it was listed; of the first names what happened."""

    listed_at: str
    came: int = 0
    gone: int = 0
    rewritten: int = 0
    paths: list[tuple[bytes, str]] = []
    listed: tuple[int, int] = (0, 0)  # how many paths, and bytes of them, were
    owed: tuple[int, int] = (0, 0)  # of them are in groups that are not signed, and not packed yet
    missing: tuple[int, int] = (0, 0)  # of these are gone
    first_missing: bytes = b""
    later: int = 0  # paths that came, or were rewritten after they were packed
    unread: list[tuple[bytes, str]] = []  # what could not be looked at, and why: the first ones

    @property
    def total(self) -> int:
        """How many paths."""
        return self.came + self.gone + self.rewritten

    @property
    def unsent(self) -> int:
        """How many are not in the shipment as they are now; what only went is in it, or was skipped and told."""
        return self.came + self.rewritten

    @property
    def counts(self) -> str:
        """In words."""
        was = "was rewritten" if self.rewritten == 1 else "were rewritten"
        each = ((self.came, "came"), (self.gone, "went"), (self.rewritten, was))
        return ", ".join(f"{count:,} {what}" for count, what in each if count)


def look_again(work: Work, seen: Iterable[Seen]) -> Since | None:
    """Compare what is `seen` now with the listing that `work` goes on with; None where nothing is to be looked at."""
    options, config = work.options, work.config
    seals = seals_of(config.consignment_id, options.declaration, options.state)
    if any(found.shipment == config.shipment for found in seals):
        return None  # nothing more goes into it, and the source may have been freed
    if is_store(options.source):
        work.events.notice(
            f"{options.source} was listed at {_when(work, work.summary)}, and is not listed again: objects that came"
            " since are not packed"
        )
        return None
    files = size = 0
    unread: list[tuple[bytes, str]] = []

    def now() -> Iterator[pa.RecordBatch]:
        nonlocal files, size
        for batch in seen:
            unread.extend(each for each in batch.skipped if each[1] not in HOLDS_NOTHING and len(unread) < _FEW)
            rows = rows_of(batch)
            files += int(np.count_nonzero(np.asarray(rows.column("kind")) != DIRECTORY))
            size += int(np.asarray(rows.column("size")).sum())
            work.events.scanning(files, size)
            yield rows

    since = _compared(work, work.summary, now())
    if since is not None:
        since.unread = unread
    work.journal.set(LATER, b"%d" % (since.later if since else 0))
    return since


def require(work: Work, since: Since) -> None:
    """BadInput where so much of what is still to be packed is gone that the source may not be there, or not whole."""
    if work.options.accept_missing or not _is_a_hole(since):
        return
    (missing, size), (owed, _) = since.missing, since.owed
    why = "".join(f". {os.fsdecode(path)!r}: {reason}" for path, reason in since.unread[:1])
    raise BadInput(
        f"{work.options.source}: of {counted(owed, 'path')} still to be packed {missing:,} "
        f"{'is' if missing == 1 else 'are'} gone since the source was listed at {since.listed_at} ({size:,} bytes), "
        f"such as {os.fsdecode(since.first_missing)!r}{why}. nothing was written, and what was packed before is safe",
        hint="is it mounted there, with all that belongs to it? then the same command goes on. if that is meant to be "
        "gone, --accept-missing packs what is left, and names what is not",
    )


def _is_a_hole(since: Since) -> bool:
    (missing, size), (owed, owed_size), (listed, listed_size) = since.missing, since.owed, since.listed
    by_paths = missing >= _FEW and (_PART * missing > listed or 2 * missing > owed)
    by_bytes = missing >= _FEW - 1 and (_PART * size > listed_size or 2 * size > owed_size)
    return by_paths or by_bytes or (missing > 0 and 2 * since.gone > listed)


def since_then(work: Work, summary: Summary, own: str, refusal: Refused) -> Since | None:
    """What is otherwise in the source as this host has scanned it, in the folder `own`, than in the others' listing.

    Raises `refusal` where more is gone or rewritten than is as it was: then it is another source.
    """
    now = (batch for group in range(len(summary.shares)) for batch in _listed(own, group))
    found = _compared(work, summary, now)
    total = sum(share.members + share.directories for share in summary.shares)
    if found is not None and 2 * (found.gone + found.rewritten) > total:
        raise refusal
    return found


def _when(work: Work, summary: Summary) -> str:
    listed_at = summary.listed_at or int(os.stat(os.path.join(work.scan_folder, SUMMARY)).st_mtime)
    return datetime.fromtimestamp(listed_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _compared(work: Work, summary: Summary, now: Iterable[pa.RecordBatch]) -> Since | None:
    told = work.journal.told()
    known = {*told.changed, *(path for path, _ in (*told.incomplete, *told.skipped)), *work.source.beside}
    since = Since(_when(work, summary), paths=[])
    kept = {CAME: 0, GONE: 0, REWRITTEN: 0}
    with Sorter(_SCHEMA, ("path", "side"), work.scan_folder) as rows:
        for group, share in enumerate(summary.shares):
            state = work.journal.group(group)
            packed = share.members + share.directories if state.state == "signed" else state.cursor.row
            for batch in _listed(work.scan_folder, group):
                owed = max(0, batch.num_rows - max(0, packed))
                side = _side(batch, _LISTED, owed)
                rows.add(side)
                since.listed = _plus(since.listed, batch.num_rows, _bytes(side))
                since.owed = _plus(since.owed, owed, _bytes(side.slice(batch.num_rows - owed)))
                packed -= batch.num_rows
        for batch in now:
            rows.add(_side(batch, _NOW))
        for path, what, size in _differences(rows.batches()):
            if path in known or (what == CAME and work.options.only is not None):
                continue
            since.came += what == CAME
            since.gone += what == GONE
            since.rewritten += what == REWRITTEN
            since.later += what == CAME or (what == REWRITTEN and size is None)
            if what == GONE and size is not None:
                since.missing = _plus(since.missing, 1, size)
                since.first_missing = since.first_missing or path
            kept[what] += 1
            if kept[what] <= MOST:
                since.paths.append((path, what))
    if since.total:
        work.events.notice(
            f"it was listed at {since.listed_at}, and this goes on with that listing; since then {since.counts}: named"
            " at the end"
        )
    return since if since.total else None


def _plus(sums: tuple[int, int], paths: int, size: int) -> tuple[int, int]:
    return sums[0] + paths, sums[1] + size


def _bytes(rows: pa.RecordBatch) -> int:
    """Of files; another name of one has none of its own."""
    return int(np.maximum(np.asarray(rows.column("size")), 0).sum())


def _listed(folder: str, group: int) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(group_file(folder, group), pre_buffer=False) as file:
        yield from file.iter_batches(columns=["path", *_OWN])


def _side(batch: pa.RecordBatch, side: int, owed: int = 0) -> pa.RecordBatch:
    """The schema's columns; the last `owed` rows are still to be packed.

    Another name of a file is a file of which the length is not kept: -1.
    """
    columns: dict[str, Any] = {name: batch.column(name) for name in ("path", *_OWN)}
    other = pc.equal(columns["kind"], HARDLINK)
    columns["size"] = pc.if_else(other, -1, columns["size"])
    columns["kind"] = pc.if_else(other, FILE, columns["kind"])
    columns["side"] = pa.repeat(pa.scalar(side, pa.int64()), batch.num_rows)
    columns["owed"] = pa.array(np.arange(batch.num_rows) >= batch.num_rows - owed)
    return pa.record_batch([columns[name].cast(_SCHEMA.field(name).type) for name in _SCHEMA.names], schema=_SCHEMA)


def _differences(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[bytes, str, int | None]]:
    """Paths that are on one side alone, or not the same on both, in order; and their bytes, if still to be packed.

    Rows come by path and side.
    """
    held: pa.RecordBatch | None = None  # the last row so far: what is beside it comes with the next batch
    before: bytes | None = None  # the path of the row before that one
    for batch in batches:
        rows = batch if held is None else pa.concat_batches([held, batch])
        if not rows.num_rows:
            continue
        yield from _of(rows, before, last=False)
        if rows.num_rows > 1:
            before = rows.column("path")[rows.num_rows - 2].as_py()
        held = rows.slice(rows.num_rows - 1)
    if held is not None:
        yield from _of(held, before, last=True)


def _of(rows: pa.RecordBatch, before: bytes | None, *, last: bool) -> Iterator[tuple[bytes, str, int | None]]:
    """Of all rows but the last one, which is held; or of that one."""
    count, paths = rows.num_rows, rows.column("path")
    side, owed, kind, size, mtime = (np.asarray(rows.column(name)) for name in ("side", "owed", *_OWN))
    follows = np.asarray(pc.equal(paths.slice(1), paths.slice(0, count - 1))) if count > 1 else np.empty(0, dtype=bool)
    first = np.concatenate([[before is not None and paths[0].as_py() == before], follows]).astype(bool)
    second = np.concatenate([follows, [False]]).astype(bool)
    came, gone = (side == _NOW) & ~first, (side == _LISTED) & ~second
    pair = second & (side == _LISTED)
    after = np.minimum(np.arange(count) + 1, count - 1)
    unlike = (kind != kind[after]) | (
        (kind != DIRECTORY) & ((mtime != mtime[after]) | ((size != size[after]) & (size != -1) & (size[after] != -1)))
    )
    rewritten = pair & unlike
    told = came | gone | rewritten
    if not last:
        told[-1] = False
    for place in np.flatnonzero(told):
        what = CAME if came[place] else GONE if gone[place] else REWRITTEN
        yield paths[int(place)].as_py(), what, max(0, int(size[place])) if owed[place] else None
