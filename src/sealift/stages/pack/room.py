"""Whether the corpus fits: sampled before, measured while packing.

Headroom on a drive is a running upper bound of the index, hashes and manifest, and one pack, so that repair can
write beside. Where not even a sample says that everything fits, packing is refused before it begins.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from sealift.errors import BadInput, DriveFault
from sealift.formats import zstd
from sealift.formats.index import FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealift.drives.base import Drive
    from sealift.stages.pack.fleet import Deal
    from sealift.stages.pack.scan import Summary
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
    deal: Deal,
    group: int,
    parity: int,
    summary: Summary,
    source: bytes,
    folder: str,
    notice: Callable[[str], None],
    *,
    packed: tuple[int, int, int, int, int],
    several: bool,
) -> None:
    """BadInput when a group's share could not fit even as sampled; a notice when only the sample says that it does."""
    share = summary.shares[group]
    drives = deal.drives(group)
    data = len(drives) - parity
    free = min(each.drive.free_bytes() for each in drives)
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
            f"the drives hold {max(room, 0):,}",
            hint="more or larger drives, less --parity, or several groups (--group-size); nothing was written",
        )
    notice(f"only the sample says that {what} fits: {left:,} bytes at {ratio:.2f} of their size, into {room:,}")


def sample_ratio(folder: str, group: int, source: bytes) -> float:
    """Packed bytes for a byte of source, estimated from the beginnings of up to 256 files, weighted by size."""
    import pyarrow.parquet as pq

    from sealift.stages.pack.deal import group_file

    chooser = random.Random(0)  # noqa: S311 -- a sample, not a secret
    chosen: list[tuple[bytes, int]] = []
    seen = 0
    with pq.ParquetFile(group_file(folder, group)) as file:
        for batch in file.iter_batches(16384, columns=["path", "kind", "size"]):
            for path, kind, size in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if kind != FILE or not size:
                    continue
                seen += 1
                if len(chosen) < _SAMPLES:
                    chosen.append((path, size))
                elif (place := chooser.randrange(seen)) < _SAMPLES:
                    chosen[place] = (path, size)
    total = weighted = 0.0
    for path, size in chosen:
        try:
            with open(source + b"/" + path, "rb") as file:
                data = file.read(_SAMPLE)
        except OSError:
            continue
        if data:
            total += size
            weighted += size * min(1.0, len(zstd.compress(data)) / len(data))
    return weighted / total if total else 1.0


def headroom(drives: Sequence[Drive], members: int, blocks: int, pack_size: int) -> None:
    """DriveFault unless every drive has room for its next pack, one pack beside, and index and hashes."""
    rows = members * _INDEX_ROW + blocks * 33 + _FIXED
    frees = {drive.mount: drive.free_bytes() for drive in drives}
    smallest = min(frees, key=frees.__getitem__)
    needed = rows + min(pack_size, 1 << 32) + _FIXED
    if frees[smallest] < needed:
        unused = sum(free - frees[smallest] for free in frees.values())
        raise DriveFault(
            f"{smallest} is full: {frees[smallest]:,} bytes free, {needed:,} needed for the next pack, index and "
            f"hashes; {unused:,} bytes of the larger drives stay unused; every committed stripe is safe",
            drive=smallest,
            hint="pack with larger drives, or in more groups; a smaller --pack-size leaves less unused",
        )
