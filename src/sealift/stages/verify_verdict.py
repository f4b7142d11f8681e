"""The arithmetic of a group: from what is damaged or not here to what can still be had. Pure.

A column is what the n packs of a stripe have at one offset, taken block by block (1 MiB). The code is MDS:
with `erased` data packs among those that have bytes there, the column can be solved exactly when erased <=
parity packs that are whole there; packs shorter than the offset are known zeros, and parity is as long as the
longest. A block is taken as erased when no copy of its drive has it whole.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from sealift.errors import FormatError
from sealift.formats import manifest as mf
from sealift.formats.manifest import BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from collections.abc import Set as AbstractSet

Run = tuple[int, int]  # first and last block, both included
Damage = dict[int, list[Run]]  # stripe -> runs of damaged blocks of one drive's pack, ascending, disjoint

LAST = mf.MAX_PACK // BLOCK - 1  # no pack has a block beyond this one
MAX_LISTED = 1000


class LostPack(NamedTuple):
    """Blocks first..last of a data pack that cannot be had."""

    stripe: int
    role: int
    first: int
    last: int


class GroupVerdict(NamedTuple):
    """What the columns of a group add up to; bytes are bytes of data packs."""

    erased_bytes: int  # not whole on any drive: to be rebuilt, or lost
    lost_bytes: int
    lost: list[LostPack]  # the first MAX_LISTED
    unknown: int  # stripes whose pack records are damaged on every drive: nothing there can be checked


def add_run(runs: list[Run], first: int, last: int) -> None:
    """Append a run that begins at or after the last one's end, joining it where they touch."""
    if runs and first <= runs[-1][1] + 1:
        runs[-1] = (runs[-1][0], max(last, runs[-1][1]))
    else:
        runs.append((first, last))


def common_damage(copies: Sequence[Damage]) -> Damage:
    """What is damaged in every copy of a drive: a block that one copy has whole is not erased."""
    result = copies[0]
    for other in copies[1:]:
        result = {
            stripe: runs
            for stripe in result.keys() & other.keys()
            if (runs := _intersect(result[stripe], other[stripe]))
        }
    return result


def _intersect(left: list[Run], right: list[Run]) -> list[Run]:
    out: list[Run] = []
    i = j = 0
    while i < len(left) and j < len(right):
        first, last = max(left[i][0], right[j][0]), min(left[i][1], right[j][1])
        if first <= last:
            out.append((first, last))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return out


def judge(
    geometry: tuple[int, int, int],
    damage: dict[int, Damage],
    gone: AbstractSet[int],
    lengths: Callable[[int], Sequence[int] | None],
    *,
    sizes_known: bool = True,
) -> GroupVerdict:
    """Add up the columns of a group; `geometry` is data, parity and stripes.

    `damage` is by slot, `gone` are slots to count as erased throughout; every other slot counts as whole.
    `lengths` may raise FormatError where the records are damaged. Without `sizes_known` every pack counts as
    long, bytes mean only none or some, and one stripe of each turn stands for all undamaged ones.
    """
    data, parity, stripes = geometry
    n = data + parity
    erased = lost = unknown = 0
    listed: list[LostPack] = []
    for stripe in _stripes(stripes if sizes_known else min(stripes, n), damage, gone):
        runs: dict[int, list[Run]] = {}
        for slot in range(n):
            found = [(0, LAST)] if slot in gone else damage.get(slot, {}).get(stripe)
            if found:
                runs[mf.role_of(stripe, slot, n)] = found
        try:
            sizes = lengths(stripe)
        except FormatError:
            unknown += 1
            continue
        known = sizes if sizes is not None else [(LAST + 1) * BLOCK] * n
        for first, last, roles in columns(runs, known):
            bad = [role for role in roles if role < data]
            count = sum(min(known[role], (last + 1) * BLOCK) - first * BLOCK for role in bad)
            erased += count
            whole_parity = sum(1 for role in range(data, n) if role not in roles and known[role] > first * BLOCK)
            if len(bad) > whole_parity:
                lost += count
                for role in bad:
                    add_lost(listed, LostPack(stripe, role, first, min(last, (known[role] - 1) // BLOCK)))
    return GroupVerdict(erased, lost, listed, unknown)


def add_lost(listed: list[LostPack], new: LostPack) -> None:
    """Append, joining runs that touch, and no further than MAX_LISTED."""
    for index in range(len(listed) - 1, max(-1, len(listed) - mf.MAX_DRIVES), -1):
        old = listed[index]
        if (old.stripe, old.role, old.last + 1) == (new.stripe, new.role, new.first):
            listed[index] = old._replace(last=new.last)
            return
    if len(listed) < MAX_LISTED:
        listed.append(new)


def _stripes(stripes: int, damage: dict[int, Damage], gone: AbstractSet[int]) -> Iterable[int]:
    """Stripes in which anything is erased; the first `stripes` of them if whole drives are."""
    damaged = {stripe for by_stripe in damage.values() for stripe in by_stripe}
    if not gone:
        return sorted(damaged)
    return [*range(stripes), *sorted(stripe for stripe in damaged if stripe >= stripes)]


def columns(runs: dict[int, list[Run]], sizes: Sequence[int]) -> Iterable[tuple[int, int, list[int]]]:
    """Ranges of blocks in which the same roles are erased, of those that have bytes there."""
    edges: list[tuple[int, int, int]] = []
    for role, listed in runs.items():
        blocks = -(-sizes[role] // BLOCK)
        for first, last in listed:
            if first < blocks:
                edges += [(first, 1, role), (min(last, blocks - 1) + 1, 0, role)]
    # Where a pack ends, those that have bytes change: a range must not span it.
    ends = sorted({-(-size // BLOCK) for size in sizes})
    points = sorted({at for at, _, _ in edges} | set(ends))
    edges.sort()
    open_roles: set[int] = set()
    position = 0
    for start, stop in pairwise(points):
        while position < len(edges) and edges[position][0] <= start:
            _, begins, role = edges[position]
            (open_roles.add if begins else open_roles.discard)(role)
            position += 1
        if open_roles:
            yield start, stop - 1, sorted(open_roles)
