"""What lies beneath the source, folder by folder, in columns: the part of a scan that several processes share.

A walk takes folders from a stack and puts those that it finds onto it; after `seconds` it leaves the rest of the stack
to others. Nothing is opened but folders, and no symbolic link is followed, nor one that took the place of a folder
(beneath.py). What is found is put in order elsewhere (scan.py). No numpy and no Arrow here: builders walk too.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from array import array
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from blake3 import blake3

from sealift.formats.index import DIRECTORY, FILE, SYMLINK
from sealift.stages.pack.beneath import Beneath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

BATCH, _BATCH_BYTES = 16384, 2 << 20  # entries at once, unless their paths are long
_LONGEST = 256  # bytes of a name and its slash
MAX_PATH = 4095  # bytes: PATH_MAX of Linux without the NUL; what is longer no system call takes
MIN_TIME, MAX_TIME = -(1 << 63), (1 << 63) - 1  # ns: years 1677 to 2262; what is beyond is carried as the end
FORM = 12  # bits of a mode below those that say what it is
KINDS = [
    {stat.S_IFREG: FILE, stat.S_IFDIR: DIRECTORY, stat.S_IFLNK: SYMLINK}.get(form << FORM, -1) for form in range(16)
]
_SPECIAL = {
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}
HOLDS_NOTHING = frozenset(f"is a {special}" for special in (*_SPECIAL.values(), "special file"))  # reasons of `skipped`


class Seen(msgspec.Struct, tag="seen", array_like=True):
    """Entries in columns, as the system tells of them: lengths are array("i"), other numbers array("q") or ("Q")."""

    path_lengths: bytes
    paths: bytes  # relative to the source
    key_lengths: bytes
    keys: bytes  # of samples
    ranks: bytes  # places in a shuffle, in which a sample stays together; empty for an order by path
    modes: bytes
    sizes: bytes
    blocks: bytes  # of 512 bytes
    links: bytes
    mtimes: bytes  # ns
    devices: bytes
    inodes: bytes
    skipped: list[tuple[bytes, str]]  # what is there and cannot be carried, and why
    tag_lengths: bytes = b""  # of objects: what says which version was seen; empty for files
    tags: bytes = b""


class Status(NamedTuple):
    """What stands for an os.stat_result where something else than a file was seen."""

    st_mode: int
    st_size: int
    st_mtime_ns: int
    st_blocks: int
    st_nlink: int = 1
    st_dev: int = 0
    st_ino: int = 0


def held_time(mtime: int) -> int:
    """A time as it is carried, in ns."""
    return min(max(mtime, MIN_TIME), MAX_TIME)


def walk(
    source: bytes, stack: list[bytes], key_of: Callable[[bytes], bytes], seed: int | None, seconds: float
) -> Iterator[Seen]:
    """Entries of the folders on `stack` and beneath, until it is empty or time is up.

    Folders are relative to `source`, which is b""; `seed` is of a shuffle. At least one folder is walked; what is left
    of `stack` was not.
    """
    end = time.monotonic() + seconds
    paths: list[bytes] = []
    stats: list[os.stat_result] = []
    skipped: list[tuple[bytes, str]] = []
    length = 0
    with Beneath(source) as tree:
        while stack:
            for more_paths, more_stats in _entries(tree, stack, skipped):
                paths += more_paths
                stats += more_stats
                length += sum(map(len, more_paths))
                if len(paths) >= BATCH or length >= _BATCH_BYTES:
                    yield columns(paths, stats, skipped, key_of, seed)
                    paths, stats, skipped, length = [], [], [], 0
            if time.monotonic() > end:
                break
    if paths or skipped:
        yield columns(paths, stats, skipped, key_of, seed)


def _entries(
    tree: Beneath, stack: list[bytes], skipped: list[tuple[bytes, str]]
) -> Iterator[tuple[list[bytes], list[os.stat_result]]]:
    """The entries of the folder on top of the stack; of a large one, a part at once."""
    folder = stack.pop()
    prefix = folder + b"/" if folder else b""
    most = min(BATCH, _BATCH_BYTES // (len(prefix) + _LONGEST))
    deep = len(prefix) + _LONGEST > MAX_PATH
    paths: list[bytes] = []
    stats: list[os.stat_result] = []
    try:
        with closing(tree.entries(folder)) as entries:
            for entry in entries:
                path = prefix + os.fsencode(entry.name)
                try:
                    if deep and len(path) > MAX_PATH:
                        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
                    status = entry.stat(follow_symlinks=False)
                except OSError as error:
                    skipped.append((path, (error.strerror or str(error)).lower()))
                    continue
                kind = KINDS[status.st_mode >> FORM]
                if kind == DIRECTORY:
                    stack.append(path)
                elif kind < 0:
                    special = _SPECIAL.get(stat.S_IFMT(status.st_mode), "special file")
                    skipped.append((path, f"is a {special}"))
                    continue
                paths.append(path)
                stats.append(status)
                if len(paths) == most:
                    yield paths, stats
                    paths, stats = [], []
    except OSError as error:
        skipped.append((folder or b".", (error.strerror or str(error)).lower()))
    yield paths, stats


def columns(
    paths: list[bytes],
    stats: Sequence[os.stat_result | Status],
    skipped: list[tuple[bytes, str]],
    key_of: Callable[[bytes], bytes],
    seed: int | None,
    tags: Sequence[bytes] = (),
) -> Seen:
    """Entries in columns."""
    keys = list(map(key_of, paths))
    prefix = b"" if seed is None else seed.to_bytes(8, "little")
    times = [each.st_mtime_ns for each in stats]
    try:
        mtimes = array("q", times)
    except OverflowError:
        mtimes = array("q", map(held_time, times))
    return Seen(
        path_lengths=array("i", map(len, paths)).tobytes(),
        paths=b"".join(paths),
        key_lengths=array("i", map(len, keys)).tobytes(),
        keys=b"".join(keys),
        ranks=b"" if seed is None else b"".join(blake3(prefix + key).digest(8) for key in keys),
        modes=array("q", [each.st_mode for each in stats]).tobytes(),
        sizes=array("q", [each.st_size for each in stats]).tobytes(),
        blocks=array("q", [each.st_blocks for each in stats]).tobytes(),
        links=array("Q", [each.st_nlink for each in stats]).tobytes(),
        mtimes=mtimes.tobytes(),
        devices=array("Q", [each.st_dev for each in stats]).tobytes(),
        inodes=array("Q", [each.st_ino for each in stats]).tobytes(),
        skipped=skipped,
        tag_lengths=array("i", map(len, tags)).tobytes(),
        tags=b"".join(tags),
    )
