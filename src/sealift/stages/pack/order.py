"""What the walk saw, put in the order in which it is packed, and dealt to groups.

Members by rank (their place in a shuffle; all 0 in order of path), sample key and path: a sample stays together. All
names of an inode stand where the first of them by path does: that one is packed, the others are links to it.
Directories by path. Memory is that of three Sorters (stages/sorting.py), however many rows there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sealift.formats.index import DIRECTORY, HARDLINK
from sealift.stages.pack.deal import Dealer
from sealift.stages.sorting import Sorter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sealift.stages.pack.scan import GroupShare

_PER_MEMBER = 1024  # what a member costs beside its bytes, when groups are dealt
_OWN = ("kind", "size", "mode", "mtime", "sparse")
SEEN = pa.schema(
    [("path", pa.binary()), ("key", pa.binary())]
    + [(name, pa.int64()) for name in (*_OWN, "dev", "ino")]
    + [("rank", pa.uint64()), ("tag", pa.binary())]
)
"""What the walk saw: `dev` and `ino` are -1 unless the inode may have other names; `tag` is empty but for objects."""
_SCHEMA = pa.schema(
    [("rank", pa.uint64()), ("key", pa.binary()), ("path", pa.binary()), ("alias", pa.binary())]
    + [(name, pa.int64()) for name in _OWN]
    + [("tag", pa.binary())]
)
"""Members to be put in order: `path` is the one of the inode's names that is packed, `alias` another one, or empty."""
_ORDER = ("rank", "key", "path", "alias")


def arrange(seen: Iterable[pa.RecordBatch], folder: str, weights: list[int]) -> tuple[list[GroupShare], str]:
    """Write `folder`/g*.parquet, of shares like `weights`; what each group got, and the digest of the whole order."""
    weight = directories = 0
    with (
        Sorter(_SCHEMA, _ORDER, folder) as members,
        Sorter(SEEN, ("path",), folder) as folders,
        Sorter(SEEN, ("dev", "ino", "path"), folder) as linked,
    ):
        for batch in seen:
            kinds = np.asarray(batch.column("kind"))
            several = (np.asarray(batch.column("dev")) != -1) | (np.asarray(batch.column("ino")) != -1)
            found = batch.filter(pa.array(kinds == DIRECTORY))
            directories += found.num_rows
            folders.add(found)
            linked.add(batch.filter(pa.array(several)))
            single = _members(batch.filter(pa.array(~several & (kinds != DIRECTORY))))
            weight += _weight(single)
            members.add(single)
        for batch in _packed_once(linked.batches()):
            weight += _weight(batch)
            members.add(batch)
        with Dealer(folder, weights, weight, directories, _PER_MEMBER) as dealer:
            for batch in members.batches():
                dealer.members(_under_own_path(batch))
            for batch in folders.batches():
                dealer.folders(batch)
            return dealer.finish()


def _weight(members: pa.RecordBatch) -> int:
    return int(np.asarray(members.column("size")).sum()) + _PER_MEMBER * int(members.num_rows)


def _members(batch: pa.RecordBatch) -> pa.RecordBatch:
    """What the walk saw of members with one name."""
    alias = pa.repeat(pa.scalar(b"", pa.binary()), batch.num_rows)
    return pa.record_batch([alias if name == "alias" else batch.column(name) for name in _SCHEMA.names], schema=_SCHEMA)


def _packed_once(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Names by inode and path as members: the first of an inode is packed, the others are links to it."""
    last: pa.RecordBatch | None = None  # the first name of the inode that the rows before ended with
    for batch in batches:
        rows = batch if last is None else pa.concat_batches([last, batch])
        known = rows.num_rows - batch.num_rows
        dev, ino = (np.asarray(rows.column(name)) for name in ("dev", "ino"))
        begins = np.concatenate([[True], (dev[1:] != dev[:-1]) | (ino[1:] != ino[:-1])])
        numbers = np.arange(rows.num_rows)
        first = np.maximum.accumulate(np.where(begins, numbers, 0))
        again, leader = pa.array((first != numbers)[known:]), rows.take(pa.array(first[known:]))
        columns = {name: batch.column(name) for name in (*_OWN, "tag")} | {
            "rank": leader.column("rank"),
            "key": leader.column("key"),
            "path": leader.column("path"),
            "alias": pc.if_else(again, batch.column("path"), pa.scalar(b"", pa.binary())),
            "kind": pc.if_else(again, HARDLINK, batch.column("kind")),
            "size": pc.if_else(again, 0, batch.column("size")),
        }
        yield pa.record_batch([columns[name].cast(_SCHEMA.field(name).type) for name in _SCHEMA.names], schema=_SCHEMA)
        last = rows.take(pa.array(first[-1:]))


def _under_own_path(batch: pa.RecordBatch) -> pa.RecordBatch:
    alias = batch.column("alias")
    named = pc.not_equal(alias, b"")
    if not pc.any(named).as_py():
        return batch
    path = pc.if_else(named, alias, batch.column("path"))
    return batch.set_column(batch.schema.get_field_index("path"), "path", path)
