"""Whether the corpus fits: sampled before, measured while packing.

Headroom on a drive is a running upper bound of the index, hashes and manifest, and one pack, so that repair can
write beside. Where not even a sample says that everything fits, packing is refused before it begins.
"""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from sealift.errors import BadInput, DriveFault
from sealift.formats import zstd
from sealift.formats.index import FILE
from sealift.stages.pack.crew import FAULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealift.stages.pack.crew import Crew
    from sealift.stages.pack.fleet import Attached, Deal
    from sealift.stages.pack.scan import Summary
    from sealift.stages.pack.source import Source
    from sealift.trade.declaration import Declaration

_INDEX_ROW = 256  # bytes a member in the index, an upper bound for names of usual length
_SAMPLES, _SAMPLE = 256, 1 << 16
_FIXED = 4 << 20


def weights(deal: Deal, declaration: Declaration) -> list[int]:
    """The share of each group: its smallest drive's capacity where the declaration knows it, else equal."""
    capacity = {drive.serial: drive.capacity_bytes for drive in declaration.drives}
    smallest = [min(capacity.get(place.serial, 0) for place in group) for group in deal.groups]
    return [size >> 20 for size in smallest] if all(size >> 20 for size in smallest) else [1] * len(smallest)


def check(
    drives: Sequence[Attached],
    group: int,
    data: int,
    summary: Summary,
    source: Source,
    folder: str,
    notice: Callable[[str], None],
    *,
    packed: tuple[int, int, int, int, int],
    several: bool,
) -> None:
    """BadInput when a group's share could not fit even as sampled; a notice when only the sample says that it does.

    `drives`, one at least, are those that are looked at; `data` is k.
    """
    share = summary.shares[group]
    frees = {each.mount: each.drive.free_bytes() for each in drives}
    free = min(frees.values())
    rows = (share.members + share.directories) * _INDEX_ROW
    left = share.bytes - packed[4]
    room = data * (free - rows - _FIXED)
    raw = left + 1536 * (share.members - packed[2])
    if raw <= room:
        return
    ratio = sample_ratio(folder, group, source)
    what = f"group {group}" if several else "the corpus"
    if left * ratio > room:
        raise BadInput(
            f"{what} does not fit: {left:,} bytes, about {int(left * ratio):,} compressed as sampled; "
            f"the drives hold {max(room, 0):,}{_smallest(frees)}",
            hint="more or larger drives, less --parity, or several groups (--group-size); nothing was written",
        )
    notice(f"only the sample says that {what} fits: {left:,} bytes at {ratio:.2f} of their size, into {room:,}")


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


def beside(members: int, blocks: int, pack_size: int) -> int:
    """Bytes that a drive must have free before its next pack: for that, one more, index and hashes."""
    return _INDEX_ROW * members + blocks * 33 + _FIXED + min(pack_size, 1 << 32) + _FIXED


def _parts(pack_size: int) -> str:
    return f"the next pack ({pack_size:,} at most) and for index and hashes, which {2 * _FIXED:,} at least are kept for"


def headroom(crew: Crew, stripe: int, members: int, blocks: int, pack_size: int) -> None:
    """Before `stripe`: every drive has room for its next pack, one pack beside, and index and hashes.

    A drive that has not is set aside, as long as parity holds it; DriveFault when more of them are full than that.
    """
    needed = beside(members, blocks, pack_size)
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
            f"{_parts(pack_size)}; {unused:,} bytes of the larger drives stay unused; all that is committed is safe",
            drive=mount,
            hint="free room there, or pack with larger drives or in more groups; a smaller --pack-size leaves less "
            "unused; for a single smaller drive, a larger one in its place: --replace OLD=MNT",
        )
    for slot in full:
        crew.fail(
            slot, stripe, f"is full: {frees[slot]:,} bytes free, {needed:,} needed for {_parts(pack_size)}", "full"
        )
