"""Two trees, entry by entry: content, kind, mode, times, link targets and which names share an inode.

What holds: memory is one directory's names on each level, one piece of a file, and the inodes with several names; the
trees are only read, and no symbolic link is followed. What differs is counted, and the first differences are named.
What is not here: extended attributes and owners, which a shipment does not carry.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

_PIECE = 1 << 20
_NAMED = 100


@dataclass
class Comparison:
    """What was the same, what was not.

    `leaves` are entries that are no directories; `absent` counts those that were not restored, where that may be.
    """

    files: int = 0
    size: int = 0  # bytes that were compared
    leaves: int = 0
    absent: int = 0
    differences: int = 0
    named: list[str] = field(default_factory=list)

    def differ(self, path: bytes, how: str) -> None:
        """Count a difference."""
        self.differences += 1
        if len(self.named) < _NAMED:
            self.named.append(f"{os.fsdecode(path).encode(errors='backslashreplace').decode()}: {how}")


def compare(
    source: str, restored: str, *, passed_over: AbstractSet[bytes] = frozenset(), partial: bool = False
) -> Comparison:
    """Compare `restored` with `source`.

    `passed_over` are paths that were not packed as they are now. With `partial`, entries may be absent, and the
    modes and times of directories, which another group brings, are not compared.
    """
    result = Comparison()
    inodes: dict[tuple[int, int], tuple[int, int]] = {}
    back: dict[tuple[int, int], tuple[int, int]] = {}
    pending = [b""]
    top = os.fsencode(source), os.fsencode(restored)
    while pending:
        folder = pending.pop()
        for path, ours, theirs in _pairs(top, folder):
            if path in passed_over:
                continue
            if ours is None:
                if not (partial and path.startswith(b".sealift-unpack-")):
                    result.differ(path, "restored, and not in the source")
                continue
            if theirs is None:
                if partial:
                    result.absent += _count(ours)
                else:
                    result.differ(path, "not restored")
                continue
            if _same(path, ours, theirs, result, partial=partial):
                pending.append(path)
            else:
                result.leaves += 1
            _links(path, (ours, theirs), inodes, back, result)
    return result


def leaves(folder: str) -> Iterator[bytes]:
    """Paths, beneath `folder`, of everything that is no directory."""
    pending = [b""]
    while pending:
        above = pending.pop()
        with os.scandir(os.path.join(os.fsencode(folder), above)) as entries:
            for entry in entries:
                path = os.path.join(above, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                else:
                    yield path


def _pairs(
    top: tuple[bytes, bytes], folder: bytes
) -> Iterator[tuple[bytes, os.DirEntry[bytes] | None, os.DirEntry[bytes] | None]]:
    sides = []
    for base in top:
        with os.scandir(os.path.join(base, folder) if folder else base) as entries:
            sides.append({entry.name: entry for entry in entries})
    for name in sorted(sides[0].keys() | sides[1].keys()):
        yield os.path.join(folder, name), sides[0].get(name), sides[1].get(name)


def _count(entry: os.DirEntry[bytes]) -> int:
    """Entries that are no directories at or beneath `entry`."""
    if not entry.is_dir(follow_symlinks=False):
        return 1
    with os.scandir(entry.path) as entries:
        return sum(_count(each) for each in entries)


def _same(
    path: bytes, ours: os.DirEntry[bytes], theirs: os.DirEntry[bytes], result: Comparison, *, partial: bool
) -> bool:
    """Compare one entry; true for a directory that is one on both sides."""
    one, two = ours.stat(follow_symlinks=False), theirs.stat(follow_symlinks=False)
    kind = stat.S_IFMT(one.st_mode)
    if kind != stat.S_IFMT(two.st_mode):
        result.differ(path, "of another kind")
        return False
    folder = kind == stat.S_IFDIR
    if not (folder and partial):
        if kind != stat.S_IFLNK and stat.S_IMODE(one.st_mode) != stat.S_IMODE(two.st_mode):
            result.differ(path, f"mode {stat.S_IMODE(two.st_mode):o}, not {stat.S_IMODE(one.st_mode):o}")
        if one.st_mtime_ns != two.st_mtime_ns:
            result.differ(path, f"mtime {two.st_mtime_ns}, not {one.st_mtime_ns} ns")
    if kind == stat.S_IFLNK and os.readlink(ours.path) != os.readlink(theirs.path):
        result.differ(path, "links elsewhere")
    elif kind == stat.S_IFREG:
        result.files += 1
        result.size += one.st_size
        if one.st_size != two.st_size:
            result.differ(path, f"{two.st_size:,} bytes, not {one.st_size:,}")
        elif not _same_bytes(ours.path, theirs.path):
            result.differ(path, "other content")
    return folder


def _same_bytes(one: bytes, two: bytes) -> bool:
    with open(one, "rb", buffering=0) as left, open(two, "rb", buffering=0) as right:
        while True:
            a, b = left.read(_PIECE), right.read(_PIECE)
            if a != b:
                return False
            if not a:
                return True


def _links(
    path: bytes,
    entries: tuple[os.DirEntry[bytes], os.DirEntry[bytes]],
    inodes: dict[tuple[int, int], tuple[int, int]],
    back: dict[tuple[int, int], tuple[int, int]],
    result: Comparison,
) -> None:
    """Names that share an inode in the source share one where they were restored, and no others do."""
    one, two = (entry.stat(follow_symlinks=False) for entry in entries)
    if stat.S_ISDIR(one.st_mode) or max(one.st_nlink, two.st_nlink) < 2:
        return
    left, right = (one.st_dev, one.st_ino), (two.st_dev, two.st_ino)
    if inodes.setdefault(left, right) != right or back.setdefault(right, left) != left:
        result.differ(path, "hard-linked otherwise")
