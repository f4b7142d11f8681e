"""Whether the corpus fits: reckoned before a byte is written, and before each stripe, in the same way.

A drive keeps free, before a stripe, its pack of it and a running upper bound of the index, hashes and manifest. A pack
is `--pack-size` at most, no more than all that is left, and no more than its share of that, the largest piece that is
not cut, and what it may be ahead of the others.
Where not even a sample says that everything fits, packing is refused before it begins, and nothing is on the drives.
"""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sealift.errors import BadInput, DriveFault
from sealift.formats import zstd
from sealift.formats.index import FILE, HARDLINK
from sealift.formats.manifest import BLOCK
from sealift.stages.pack.crew import FAULTS
from sealift.stages.pack.group import DEPTH, SLAB

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealift.stages.pack.crew import Crew
    from sealift.stages.pack.fleet import Attached, Deal
    from sealift.stages.pack.scan import GroupShare
    from sealift.stages.pack.source import Source
    from sealift.trade.declaration import Declaration

_INDEX_ROW = 256  # bytes a member in the index, an upper bound for names of usual length
_SAMPLES, _SAMPLE = 256, 1 << 16
_FIXED = 4 << 20
_MEMBER = 1536  # bytes of tar for a member, beside what it holds
_AHEAD = (DEPTH + 1) * SLAB  # bytes that a pack may be ahead of the others: its slabs, and what it was handed out
_LARGEST = 1 << 32  # bytes of a pack that are asked for, whatever --pack-size says


def weights(deal: Deal, declaration: Declaration) -> list[int]:
    """The share of each group: its smallest drive's capacity where the declaration knows it, else equal."""
    capacity = {drive.serial: drive.capacity_bytes for drive in declaration.drives}
    smallest = [min(capacity.get(place.serial, 0) for place in group) for group in deal.groups]
    return [size >> 20 for size in smallest] if all(size >> 20 for size in smallest) else [1] * len(smallest)


class Room:
    """What a group's drives need, while `data` packs of a stripe grow equally long."""

    def __init__(self, number: int, share: GroupShare, *, data: int, parity: int, pack_size: int, folder: str) -> None:
        self._number, self._share, self._folder = number, share, folder
        self._data, self._parity, self._pack_size = data, parity, pack_size
        self._ratio = 1.0  # of what is left, if only the sample says that it fits

    def check(
        self,
        drives: Sequence[Attached],
        source: Source,
        notice: Callable[[str], None],
        *,
        packed: tuple[int, int, int, int, int],
        aside: int,
        several: bool,
    ) -> None:
        """BadInput when it could not fit even as sampled; a notice when only the sample says that it does.

        `drives`, one at least, are those that are looked at, `aside` as many as are set aside, `packed` is
        Journal.totals.
        """
        share, data = self._share, self._data
        frees = {each.mount: each.drive.free_bytes() for each in drives}
        order = sorted(frees.values())
        index = (share.members + share.directories) * _INDEX_ROW
        left = share.bytes - packed[4]
        raw = left + _MEMBER * max(0, share.members + share.directories - packed[2])
        room = data * (order[0] - index - _FIXED)
        if not packed[2]:  # as `headroom` will reckon; it can do without as many drives as parity holds
            free = order[min(max(0, self._parity - aside), len(order) - 1)]
            hashes = (data + self._parity) * (raw // data // BLOCK + 1) * 33
            spare = free - index - hashes - 2 * _FIXED
            if raw > max(spare, data * (spare - self._most)):
                room = min(room, max(spare, data * (spare - self._uneven)))
        if raw <= room:
            return
        ratio = sample_ratio(self._folder, self._number, source)
        what = f"group {self._number}" if several else "the corpus"
        if raw * ratio > room:
            raise BadInput(
                f"{what} does not fit: {left:,} bytes, about {int(raw * ratio):,} packed as sampled; "
                f"the drives hold {max(room, 0):,}{_smallest(frees)}",
                hint=_more(begun=bool(packed[2])),
            )
        self._ratio = ratio
        notice(f"only the sample says that {what} fits: {left:,} bytes at {ratio:.2f} of their size, into {room:,}")

    def needed(self, members: int, blocks: int, source_bytes: int) -> int:
        """Bytes that a drive must have free when so much of the group is packed: its next pack, index and hashes."""
        return beside(members, blocks, self._next_pack(members, source_bytes))

    def _next_pack(self, members: int, source_bytes: int) -> int:
        share, most = self._share, self._most
        rows = max(0, share.members + share.directories - members)
        left = int((max(0, share.bytes - source_bytes) + _MEMBER * rows) * self._ratio)
        even = left // self._data
        if min(left, even) >= most:
            return most
        return min(most, left, even + self._uneven)

    @property
    def _most(self) -> int:
        """Bytes of a pack that are asked for, whatever is left."""
        return min(self._pack_size, _LARGEST)

    @property
    def _uneven(self) -> int:
        """By how much a pack may be longer than its share."""
        return min(self._most, self._piece + _AHEAD)

    @cached_property
    def _piece(self) -> int:
        """The most bytes that go into one pack together: a sample, or a part of a file that is cut."""
        import pyarrow.parquet as pq

        from sealift.stages.pack.deal import group_file

        most, open_yet = 0, 0
        with pq.ParquetFile(group_file(self._folder, self._number), pre_buffer=False) as file:
            for batch in file.iter_batches(16384, columns=["size", "kind", "first"]):
                content = np.asarray(batch.column("size")) * (np.asarray(batch.column("kind")) != HARDLINK)
                sizes = np.minimum(content, self._pack_size // 8) + _MEMBER
                starts = np.flatnonzero(batch.column("first").to_numpy(zero_copy_only=False))
                if not len(starts) or starts[0]:
                    open_yet += int(sizes[: starts[0] if len(starts) else None].sum())
                most = max(most, open_yet)
                if len(starts):
                    sums = np.add.reduceat(sizes, starts)
                    most, open_yet = max(most, int(sums.max())), int(sums[-1])
        return most


def _more(*, begun: bool) -> str:
    """What helps where it does not fit."""
    if begun:
        return (
            "free room on the drives, and run the same command again; or pack anew, with another --state, on more or "
            "larger drives; all that is committed is safe"
        )
    return (
        "more or larger drives, less --parity, several groups (--group-size), or a smaller --pack-size, of which less "
        "is kept free; nothing was written"
    )


def _smallest(frees: dict[str, int]) -> str:
    """Which drive it is that leaves the room of the others unused, where one does by more than a tenth."""
    least, *others = sorted(frees, key=frees.__getitem__)
    if not others or frees[others[0]] * 9 <= frees[least] * 10:
        return ""
    return (
        f", for each is filled as far as the smallest: {least} has {frees[least]:,} bytes free, the next one "
        f"{frees[others[0]]:,}"
    )


def sample_ratio(folder: str, group: int, source: Source) -> float:
    """Packed bytes for a byte of source, estimated from the beginnings of up to 256 files, weighted by size."""
    import pyarrow.parquet as pq

    from sealift.stages.pack.deal import group_file

    chooser = random.Random(0)  # noqa: S311 -- a sample, not a secret
    chosen: list[tuple[Any, ...]] = []  # path, size and tag, which scans of before there were any lack
    seen = 0
    with pq.ParquetFile(group_file(folder, group), pre_buffer=False) as file:
        names = [name for name in ("path", "kind", "size", "tag") if name in file.schema_arrow.names]
        for batch in file.iter_batches(16384, columns=names):
            for path, kind, size, *tags in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if kind != FILE or not size:
                    continue
                seen += 1
                if len(chosen) < _SAMPLES:
                    chosen.append((path, size, *tags))
                elif (place := chooser.randrange(seen)) < _SAMPLES:
                    chosen[place] = (path, size, *tags)
    total = weighted = 0.0
    reader = source.reader()

    def beginning(each: tuple[Any, ...]) -> bytes:
        try:
            return reader.peek(each[0], b"".join(each[2:]), 0, min(each[1], _SAMPLE))
        except OSError:
            return b""

    with ThreadPoolExecutor(source.at_once) as pool:
        read = list(pool.map(beginning, chosen))
    for (_, size, *_), data in zip(chosen, read, strict=True):
        if data:
            total += size
            weighted += size * min(1.0, len(zstd.compress(data)) / len(data))
    return weighted / total if total else 1.0


def beside(members: int, blocks: int, pack: int) -> int:
    """Bytes that a drive must have free before a pack of `pack` bytes: for that, and for index and hashes so far."""
    return _INDEX_ROW * members + blocks * 33 + _FIXED + min(pack, _LARGEST) + _FIXED


def _parts(pack_size: int) -> str:
    return f"the next pack ({pack_size:,} at most) and for index and hashes, which {2 * _FIXED:,} at least are kept for"


def headroom(crew: Crew, room: Room, stripe: int, members: int, blocks: int, source_bytes: int) -> None:
    """Before `stripe`: every drive has room for its next pack, and for index and hashes.

    A drive that has not is set aside, as long as parity holds it; DriveFault when more of them are full than that.
    """
    needed = room.needed(members, blocks, source_bytes)
    pack = needed - beside(members, blocks, 0)
    frees: dict[int, int] = {}
    for slot, drive in list(crew.working()):
        try:
            frees[slot] = drive.free_bytes()
        except FAULTS as error:
            crew.fail(slot, stripe, error)
    full = sorted((slot for slot in frees if frees[slot] < needed), key=frees.__getitem__)
    if len(full) + len(crew.owed) > crew.parity and full:
        mount, least = crew.mounts[full[0]], frees[full[0]]
        unused = sum(free - least for free in frees.values())
        names = ", ".join(crew.mounts[slot] for slot in full)
        raise DriveFault(
            f"{names} {'is' if len(full) == 1 else 'are'} full: {least:,} bytes free, {needed:,} needed for "
            f"{_parts(pack)}; {unused:,} bytes of the larger drives stay unused; all that is committed is safe",
            drive=mount,
            hint="free room there, and run the same command again; for a single smaller drive, a larger one in its "
            "place: --replace OLD=MNT; or pack anew, with another --state, on larger drives, in more groups, or with a "
            "smaller --pack-size, which leaves less unused",
        )
    for slot in full:
        crew.fail(slot, stripe, f"is full: {frees[slot]:,} bytes free, {needed:,} needed for {_parts(pack)}", "full")
