"""The source, walked once, ordered and dealt to groups, on disk in the state folder.

    scan/g0000000.parquet  the members of a group in the order in which they are packed, then its directories
    scan/summary.json      counts, bytes and the digest of all groups' orders: the same on every host that packs

Memory is that of three Sorters (stages/sorting.py), however many files there are. Samples stay together: members are
sorted by sample key; all names of an inode follow the first of them. Groups are contiguous runs of that order with
equal shares of bytes, cut between samples. Directories are dealt by path, each to one group.
"""

from __future__ import annotations

import os
import re
import stat
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from blake3 import blake3

from sealift.errors import BadInput
from sealift.formats.index import DIRECTORY, FILE, SYMLINK
from sealift.stages.pack.durable import sync
from sealift.stages.pack.only import narrow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from sealift.stages.pack.only import Selection

BATCH, _BATCH_BYTES = 16384, 4 << 20  # members at once, unless their paths are long
_MIN_TIME, _MAX_TIME = -(1 << 63), (1 << 63) - 1  # ns: years 1677 to 2262; a file beyond is told as changed
_SPECIAL = {
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


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


@dataclass
class _Batch:
    """What the walk saw: `dev` and `ino` are -1 unless the inode may have other names."""

    paths: list[bytes] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    ints: dict[str, array[int]] = field(
        default_factory=lambda: {name: array("q") for name in ("kind", "size", "mode", "mtime", "sparse", "dev", "ino")}
    )
    ranks: array[int] = field(default_factory=lambda: array("Q"))
    length: int = 0  # bytes of paths and keys

    def table(self) -> pa.RecordBatch:
        import numpy as np
        import pyarrow as pa

        from sealift.stages.pack.order import SEEN

        return pa.record_batch(
            [
                pa.array(self.paths, pa.binary()),
                pa.array(self.keys, pa.binary()),
                *[pa.array(np.frombuffer(values, dtype=np.int64)) for values in self.ints.values()],
                pa.array(np.frombuffer(self.ranks, dtype=np.uint64)),
            ],
            schema=SEEN,
        )


def default_key(path: bytes) -> bytes:
    """Directory and name up to its first dot (leading dots do not count): what makes members one sample."""
    folder, slash, name = path.rpartition(b"/")
    dots = len(name) - len(name.lstrip(b"."))
    return folder + slash + name[:dots] + name[dots:].partition(b".")[0]


def key_function(pattern: str | None) -> Callable[[bytes], bytes]:
    """The sample key of a path: the pattern's first group (or its whole match); the path itself without a match."""
    if pattern is None:
        return default_key
    try:
        compiled = re.compile(os.fsencode(pattern))
    except re.error as error:
        raise BadInput(
            f"--sample-key {pattern!r} is no regular expression: {error}",
            hint="Python's syntax; its first group, or the whole match, is the sample's key",
        ) from error

    def key(path: bytes) -> bytes:
        match = compiled.search(path)
        return path if match is None else (match[1] if compiled.groups and match[1] is not None else match[0])

    return key


def walk(source: bytes, skipped: list[tuple[bytes, str]]) -> Iterator[tuple[bytes, int, os.stat_result]]:
    """Every entry beneath `source`: path relative to it, kind, lstat. What cannot be carried is told in `skipped`."""
    stack = [b""]
    while stack:
        folder = stack.pop()
        try:
            with os.scandir(source + b"/" + folder) as entries:
                for entry in entries:
                    path = folder + b"/" + entry.name if folder else entry.name
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except OSError as error:
                        skipped.append((path, (error.strerror or str(error)).lower()))
                        continue
                    kind = stat.S_IFMT(status.st_mode)
                    if kind == stat.S_IFREG:
                        yield path, FILE, status
                    elif kind == stat.S_IFDIR:
                        yield path, DIRECTORY, status
                        stack.append(path)
                    elif kind == stat.S_IFLNK:
                        yield path, SYMLINK, status
                    else:
                        skipped.append((path, f"is a {_SPECIAL.get(kind, 'special file')}"))
        except OSError as error:
            skipped.append((folder or b".", (error.strerror or str(error)).lower()))


def scan(
    source: bytes,
    folder: str,
    *,
    weights: list[int],
    order: str,
    seed: int,
    sample_key: str | None,
    progress: Callable[[int, int], None],
    only: Selection | None = None,
) -> Summary:
    """Walk, order and deal; write `folder`/g*.parquet and summary.json; `weights` are the groups' shares.

    `only` narrows it. `progress(files, bytes)` is called now and then. An existing finished scan is returned as it
    is: a shipment is one snapshot, and resuming must not see another tree.
    """
    done = os.path.join(folder, "summary.json")
    if os.path.exists(done):
        with open(done, "rb") as file:
            return msgspec.json.decode(file.read(), type=Summary)
    os.makedirs(folder, exist_ok=True)
    skipped: list[tuple[bytes, str]] = []
    outdated: list[bytes] = []
    seen = _seen(source, key_function(sample_key), seed if order == "shuffled" else None, skipped, progress)
    if only is not None:
        seen = narrow(seen, os.path.join(folder, "seen.parquet"), only, skipped, outdated)
    from sealift.stages.pack.deal import group_file
    from sealift.stages.pack.order import arrange

    shares, digest = arrange(seen, folder, weights)
    sync(*(group_file(folder, group) for group in range(len(weights))))
    summary = Summary(digest=digest, shares=shares, skipped=skipped, outdated=sorted(outdated))
    with open(done + ".part", "wb") as file:
        file.write(msgspec.json.encode(summary))
        file.flush()
        os.fsync(file.fileno())
    os.rename(done + ".part", done)
    sync(folder, os.path.dirname(folder))
    return summary


def _seen(
    source: bytes,
    key_of: Callable[[bytes], bytes],
    seed: int | None,
    skipped: list[tuple[bytes, str]],
    progress: Callable[[int, int], None],
) -> Iterator[pa.RecordBatch]:
    """The walk in batches of the schema SEEN."""
    prefix = b"" if seed is None else seed.to_bytes(8, "little")
    files, size = 0, 0
    batch = _Batch()
    for path, kind, status in walk(source, skipped):
        multiple = kind == FILE and status.st_nlink > 1  # names of a symbolic link are carried as links of their own
        key = key_of(path)
        batch.paths.append(path)
        batch.keys.append(key)
        ints = batch.ints
        ints["kind"].append(kind)
        ints["size"].append(status.st_size if kind == FILE else 0)
        ints["mode"].append(
            stat.S_IMODE(status.st_mode) & (~0o6000 if kind == FILE else 0o7777)
        )  # owners are not carried
        ints["mtime"].append(min(max(status.st_mtime_ns, _MIN_TIME), _MAX_TIME))
        ints["dev"].append(status.st_dev if multiple else -1)
        ints["ino"].append(_signed(status.st_ino) if multiple else -1)
        ints["sparse"].append(kind == FILE and status.st_size >= 65536 and status.st_blocks * 512 < status.st_size)
        batch.ranks.append(0 if seed is None else int.from_bytes(blake3(prefix + key).digest(8), "little"))
        batch.length += len(path) + len(key)
        files += kind != DIRECTORY
        size += status.st_size if kind == FILE else 0
        if len(batch.paths) == BATCH or batch.length >= _BATCH_BYTES:
            yield batch.table()
            batch = _Batch()
            progress(files, size)
    yield batch.table()
    progress(files, size)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
