"""The source, walked once, ordered and dealt to groups, on disk in the state folder.

    scan/raw.parquet       what the walk saw, in the order of the walk
    scan/g0000000.parquet  the members of a group in the order in which they are packed, then its directories
    scan/summary.json      counts, bytes and the digest of all groups' orders: the same on every host that packs

Memory is one batch and DuckDB's stated limit, however many files there are. Samples stay together: members are
sorted by sample key; all names of an inode follow the first of them. Groups are contiguous runs of that order with
equal shares of bytes, cut between samples. Directories are dealt by path, each to one group.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from blake3 import blake3

from sealift.errors import BadInput
from sealift.formats.index import DIRECTORY, FILE, HARDLINK, SYMLINK
from sealift.stages.pack.durable import sync
from sealift.stages.pack.only import narrow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from sealift.stages.pack.only import Selection

SORT_MEMORY = 128 << 20  # what DuckDB takes; with Arrow and its own overhead, the 256 MiB that packing announces
BATCH = 16384
_SAMPLE = 50_000  # rows that say where ranges begin, when there are too many to sort at once
_MIN_TIME, _MAX_TIME = -(1 << 63), (1 << 63) - 1  # ns: years 1677 to 2262; a file beyond is told as changed
_PER_MEMBER = 1024  # what a member costs beside its bytes, when groups are dealt
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


@dataclass
class _Batch:
    paths: list[bytes] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    ints: dict[str, array[int]] = field(
        default_factory=lambda: {name: array("q") for name in ("kind", "size", "mode", "mtime", "dev", "ino", "sparse")}
    )
    ranks: array[int] = field(default_factory=lambda: array("Q"))

    def table(self) -> pa.RecordBatch:
        import numpy as np
        import pyarrow as pa

        ints = {name: np.frombuffer(values, dtype=np.int64) for name, values in self.ints.items()}
        return pa.record_batch(
            [
                pa.array(self.paths, pa.binary()),
                pa.array(self.keys, pa.binary()),
                *[pa.array(values) for values in ints.values()],
                pa.array(np.frombuffer(self.ranks, dtype=np.uint64)),
            ],
            names=["path", "key", *ints, "rank"],
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
    raw = os.path.join(folder, "raw.parquet")
    linked = _write_raw(source, raw, key_function(sample_key), seed if order == "shuffled" else None, skipped, progress)
    if only is not None:
        narrow(raw, only, skipped)
    from sealift.stages.pack.deal import group_file

    shares, digest = _deal(raw, folder, weights, linked=linked)
    os.unlink(raw)
    sync(*(group_file(folder, group) for group in range(len(weights))))
    summary = Summary(digest=digest, shares=shares, skipped=skipped)
    with open(done + ".part", "wb") as file:
        file.write(msgspec.json.encode(summary))
        file.flush()
        os.fsync(file.fileno())
    os.rename(done + ".part", done)
    sync(folder, os.path.dirname(folder))
    return summary


def _write_raw(
    source: bytes,
    raw: str,
    key_of: Callable[[bytes], bytes],
    seed: int | None,
    skipped: list[tuple[bytes, str]],
    progress: Callable[[int, int], None],
) -> bool:
    """The walk as Parquet; whether any inode has several names."""
    import pyarrow.parquet as pq

    writer: Any = None
    prefix = b"" if seed is None else seed.to_bytes(8, "little")
    linked, files, size = False, 0, 0
    batch = _Batch()

    def flush() -> None:
        nonlocal writer, batch
        table = batch.table()
        if writer is None:
            writer = pq.ParquetWriter(raw, table.schema, compression="zstd", use_dictionary=False)
        writer.write_batch(table)
        batch = _Batch()
        progress(files, size)

    for path, kind, status in walk(source, skipped):
        multiple = kind == FILE and status.st_nlink > 1  # names of a symbolic link are carried as links of their own
        linked |= multiple
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
        files += kind != DIRECTORY
        size += status.st_size if kind == FILE else 0
        if len(batch.paths) == BATCH:
            flush()
    flush()
    writer.close()
    return linked


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


_JOIN = """LEFT JOIN (SELECT dev, ino, min(path) AS path, arg_min(key, path) AS key, arg_min(rank, path) AS rank
           FROM read_parquet($raw) WHERE dev <> -1 OR ino <> -1 GROUP BY dev, ino) p
           ON s.dev = p.dev AND s.ino = p.ino AND (s.dev <> -1 OR s.ino <> -1)"""


def connect(temporary: str, memory: int = SORT_MEMORY) -> Any:
    """A DuckDB connection that sorts within `memory` bytes and spills to `temporary`."""
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"SET memory_limit = '{memory >> 20}MiB'")
    connection.execute("SET threads = 2")
    connection.execute(f"SET temp_directory = '{temporary.replace(chr(39), chr(39) * 2)}'")
    return connection


def _deal(raw: str, folder: str, weights: list[int], *, linked: bool) -> tuple[list[GroupShare], str]:
    from sealift.stages.pack.deal import Dealer

    temporary = os.path.join(folder, "tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # what a kill left
    connection = connect(temporary)
    join = _JOIN if linked else ""
    first = "coalesce(p.path, s.path)" if linked else "s.path"
    key = "coalesce(p.key, s.key)" if linked else "s.key"
    rank = "coalesce(p.rank, s.rank)" if linked else "s.rank"
    hard = f"CASE WHEN s.path <> {first} THEN {HARDLINK} ELSE s.kind END"
    members = f"""
        SELECT s.path, {hard} AS kind, CASE WHEN s.path <> {first} THEN 0 ELSE s.size END AS size, s.mode, s.mtime,
               s.sparse, {key} AS key, {rank} AS rank{f", {first} AS first" if linked else ""}
        FROM read_parquet($raw) s {join} WHERE s.kind <> {DIRECTORY}"""  # noqa: S608 -- constants of this module
    order = ("rank", "key", "first", "path") if linked else ("rank", "key", "path")
    folders = f"""
        SELECT path, kind, size, mode, mtime, sparse, key FROM read_parquet($raw) WHERE kind = {DIRECTORY}"""  # noqa: S608

    def count(what: str, of: str) -> int:
        query = f"SELECT {what} FROM read_parquet($raw) s {of}"  # noqa: S608
        return int(connection.sql(query, params={"raw": raw}).fetchall()[0][0] or 0)

    files = f"{join} WHERE s.kind <> {DIRECTORY}"
    size = count(f"sum(CASE WHEN s.path <> {first} THEN 0 ELSE s.size END)", files)
    many = count("count(*)", files)
    weight = size + _PER_MEMBER * many
    directories = count("count(*)", f"WHERE s.kind = {DIRECTORY}")
    with Dealer(folder, weights, weight, directories, _PER_MEMBER) as dealer:
        for batch in _ordered(connection, raw, members, many, order, temporary):
            dealer.members(batch)
        for batch in _ordered(connection, raw, folders, directories, ("path",), temporary):
            dealer.folders(batch)
        shares, digest = dealer.finish()
    connection.close()
    return shares, digest


def _ordered(
    connection: Any, raw: str, query: str, rows: int, order: tuple[str, ...], temporary: str
) -> Iterator[pa.RecordBatch]:
    """What `query` gives, `rows` in number, in that order."""
    from sealift.stages.pack.bigsort import sorted_batches

    def read(what: str) -> Any:  # on a connection of its own: it is read from while others sort
        return connection.cursor().sql(what, params={"raw": raw}).to_arrow_reader(BATCH)

    def sample() -> Iterator[pa.RecordBatch]:
        share = 100 * _SAMPLE / max(rows, _SAMPLE)
        yield from read(f"SELECT {', '.join(order)} FROM ({query}) USING SAMPLE {share:.6f} PERCENT (bernoulli)")  # noqa: S608

    source = read(query)
    ranges = os.path.join(temporary, "ranges")
    yield from sorted_batches(connection, source, source.schema, rows, order, sample(), ranges, BATCH)
