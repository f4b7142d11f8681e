"""The source, walked once (walk.py), ordered and dealt to groups, on disk in the state folder.

    scan/g0000000.parquet  the members of a group in the order in which they are packed, then its directories
    scan/summary.json      counts, bytes and the digest of all groups' orders, the same on every host that packs; when

Memory is that of three Sorters (stages/sorting.py), however many files there are. Samples stay together: members are
sorted by sample key; all names of an inode follow the first of them. Groups are contiguous runs of that order with
equal shares of bytes, cut between samples. Directories are dealt by path, each to one group.
"""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Any

import msgspec

from sealift.errors import BadInput, Refused
from sealift.formats import typed
from sealift.formats.index import DIRECTORY, FILE, binary
from sealift.stages.pack.durable import sync
from sealift.stages.pack.only import narrow
from sealift.stages.pack.walk import FORM, KINDS, MAX_TIME, MIN_TIME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import pyarrow as pa

    from sealift.stages.pack.only import Selection
    from sealift.stages.pack.walk import Seen

SUMMARY = "summary.json"
_SPARSE = 65536  # bytes of a file, from which on it is worth asking for its holes


class GroupShare(msgspec.Struct):
    """What was dealt to one group."""

    members: int = 0
    directories: int = 0
    files: int = 0
    bytes: int = 0


class Summary(msgspec.Struct):
    """What a scan found; kept beside it as JSON. Paths are bytes, base64 in JSON."""

    digest: str
    shares: list[GroupShare]
    skipped: list[tuple[bytes, str]]
    outdated: list[bytes] = []  # of --only: not what was packed first
    privileged: int = 0  # files with setuid or setgid bits, which are not carried
    beyond: int = 0  # files and folders of times that are not held, and carried as the first or last that is
    listed_at: int = 0  # when the walk began, in seconds; 0: an older sealift did not say


def summary_of(folder: str) -> Summary:
    """Of a finished scan; OSError, msgspec.MsgspecError or UnicodeDecodeError where it cannot be had."""
    with open(os.path.join(folder, SUMMARY), "rb") as file:
        return typed.decode(file.read(), Summary)


def scan(
    seen: Iterable[Seen],
    folder: str,
    *,
    weights: list[int],
    progress: Callable[[int, int], None],
    only: Selection | None = None,
) -> Summary:
    """Order and deal what was seen; write `folder`/g*.parquet and summary.json; `weights` are the groups' shares.

    `only` narrows it. BadInput when there is nothing; the next call looks again. `progress(files, bytes)` is called now
    and then. An existing finished scan is returned as it is, and nothing is walked: a shipment is one snapshot, and
    resuming must not see another tree. What is otherwise by then is told (again.py).
    """
    done = os.path.join(folder, SUMMARY)
    if os.path.exists(done):
        return summary_of(folder)
    os.makedirs(folder, exist_ok=True)
    begun = int(time.time())
    skipped: list[tuple[bytes, str]] = []
    outdated: list[bytes] = []
    privileged, beyond = [0], [0]
    rows = _rows(seen, skipped, privileged, beyond, progress)
    if only is not None:
        rows = narrow(rows, os.path.join(folder, "seen.parquet"), only, skipped, outdated)
    from sealift.stages.pack.deal import group_file
    from sealift.stages.pack.order import arrange

    shares, digest = arrange(rows, folder, weights)
    if not any(share.members or share.directories for share in shares):
        raise _nothing(skipped, only)
    sync(*(group_file(folder, group) for group in range(len(weights))))
    summary = Summary(
        digest=digest,
        shares=shares,
        skipped=sorted(skipped),
        outdated=sorted(outdated),
        privileged=privileged[0] if only is None else 0,
        beyond=beyond[0] if only is None else 0,
        listed_at=begun,
    )
    with open(done + ".part", "wb") as file:
        file.write(msgspec.json.encode(summary))
        file.flush()
        os.fsync(file.fileno())
    os.rename(done + ".part", done)
    sync(folder, os.path.dirname(folder))
    return summary


def changed(*, hosts: bool = False) -> Refused:
    """What to raise where drives were begun under another listing than that of the source as it is now."""
    anew = "the same command with --discard-group removes it from its drives, and begins another shipment, for which"
    anew += " drives of groups that are signed have to be erased first"
    if hosts:
        anew = "another --state begins another shipment, and on its host `sealift pack --discard-group` without --ray"
        anew += " takes it off its drives"
    return Refused(
        "the source is not what it was when these drives were begun, and the state that knew it is lost",
        hint=f"put the source back as it was; or give the unfinished group up: {anew}",
    )


def _nothing(skipped: list[tuple[bytes, str]], only: Selection | None) -> BadInput:
    what = "nothing of what --only wants is in the source" if only else "no file, link or folder is in the source"
    if skipped:
        path, reason = skipped[0]
        more = f", and {len(skipped) - 1} more" if len(skipped) > 1 else ""
        what += f"; skipped: {os.fsdecode(path)!r} ({reason}){more}"
    return BadInput(f"{what}; nothing was written", hint="is it mounted there, and is it the folder you mean?")


def _rows(
    seen: Iterable[Seen],
    skipped: list[tuple[bytes, str]],
    privileged: list[int],
    beyond: list[int],
    progress: Callable[[int, int], None],
) -> Iterator[pa.RecordBatch]:
    """What was seen in batches of the schema SEEN; files that run as somebody else are added to `privileged`.

    To `beyond` what is of a time that is not held.
    """
    import numpy as np

    files = size = 0
    for batch in seen:
        skipped += batch.skipped
        rows = rows_of(batch)
        modes = np.frombuffer(batch.modes, dtype=np.int64)
        special = (modes & (stat.S_ISUID | stat.S_ISGID) != 0) & (modes >> FORM == stat.S_IFREG >> FORM)
        mtimes = np.frombuffer(batch.mtimes, dtype=np.int64)
        beyond[0] += int(np.count_nonzero((mtimes == MIN_TIME) | (mtimes == MAX_TIME)))
        privileged[0] += int(np.count_nonzero(special))
        files += int(np.count_nonzero(np.asarray(rows.column("kind")) != DIRECTORY))
        size += int(np.asarray(rows.column("size")).sum())
        yield rows
        progress(files, size)


def rows_of(seen: Seen) -> pa.RecordBatch:
    """Rows of the schema SEEN; no object is made of a row, for there may be a billion of them."""
    import numpy as np
    import pyarrow as pa

    from sealift.stages.pack.order import SEEN

    def column(values: bytes) -> Any:
        return np.frombuffer(values, dtype=np.int64)

    modes, sizes = column(seen.modes), column(seen.sizes)
    kinds = np.array(KINDS, dtype=np.int64)[modes >> FORM]
    files = kinds == FILE
    sparse = files & (sizes >= _SPARSE) & (column(seen.blocks) * 512 < sizes)
    several = files & (column(seen.links) > 1)  # names of a symbolic link are carried as links of their own
    columns = {
        "kind": kinds,
        "size": np.where(files, sizes, 0),
        "mode": modes & np.where(files, 0o1777, 0o7777),  # owners are not carried, nor whatever runs as them
        "mtime": column(seen.mtimes),
        "sparse": sparse.astype(np.int64),
        "dev": np.where(several, column(seen.devices), -1),
        "ino": np.where(several, column(seen.inodes), -1),
        "rank": np.frombuffer(seen.ranks, dtype="<u8") if seen.ranks else np.zeros(len(modes), dtype=np.uint64),
    }
    names = [binary(seen.path_lengths, seen.paths), binary(seen.key_lengths, seen.keys)]
    tags = binary(seen.tag_lengths or bytes(4 * len(modes)), seen.tags)
    return pa.record_batch([*names, *map(pa.array, columns.values()), tags], schema=SEEN)
