"""What a dry run of repair says of a stripe: what could not be made again, and how much would be read for the rest.

What holds: it is what the run would say, if the drives hold what they are known to hold (`known`): as they were read,
or, where a lost drive is to be rebuilt and the others are read only then, by names and lengths. Nothing is read here
but lengths, and the hashes of blocks.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from sealift.errors import FormatError
from sealift.formats import manifest as mf
from sealift.formats.manifest import BLOCK
from sealift.stages.repair_look import bag_damage
from sealift.stages.verify_verdict import LAST, LostPack, add_lost, columns, common_damage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from sealift.drives.base import Drive
    from sealift.reading.survey import DriveView, GroupView
    from sealift.stages.rebuild import StripeWork
    from sealift.stages.repair_look import Seen
    from sealift.stages.repair_plan import Plan
    from sealift.stages.verify_verdict import Damage, Run

NOT_READ = (
    "of the other drives names and lengths were looked at, and nothing was read: what has rotted there is met when the"
    " drive is rebuilt, and what it takes away is named then"
)


def known(group: GroupView, seen: Sequence[Seen] | None) -> dict[int, Damage]:
    """By the id of a view, what it has not whole; None of `seen`: nothing was read."""
    if seen is not None:
        return {id(each.view): each.lacks for each in seen if each.group is group}
    views = [view for views in group.copies.values() for view in views]
    with ThreadPoolExecutor(max_workers=32) as pool:
        return dict(zip(map(id, views), pool.map(partial(bag_damage, group), views), strict=True))


def lost(plan: Plan, work: StripeWork) -> list[LostPack]:
    """What of the wanted packs cannot be made again, since more of their stripe is gone there than parity holds."""
    manifest = plan.group.manifest
    runs = {role: hit for role in range(manifest.n) if (hit := _gone(plan, work.stripe, role))}
    listed: list[LostPack] = []
    for first, last, bad in columns(runs, work.lengths):
        for role in bad if len(bad) > manifest.geometry.parity else ():
            if role in work.wanted:
                add_lost(listed, LostPack(work.stripe, role, first, last))
    return listed


def unproved(work: StripeWork) -> set[tuple[int, int]]:
    """Wanted packs (stripe, role) that nobody could prove: their hashes are damaged on every drive."""
    return {(work.stripe, role) for role in work.wanted if not _has_hashes(work, role)}


def _has_hashes(work: StripeWork, role: int) -> bool:
    try:
        work.hashes(role, 0, -(-work.lengths[role] // BLOCK))
    except FormatError:
        return False
    return True


def _gone(plan: Plan, stripe: int, role: int) -> list[Run]:
    """Blocks of a pack that no copy here has whole."""
    copies = plan.group.copies.get(mf.slot_of(stripe, role, plan.group.manifest.n), [])
    if not copies:
        return [(0, LAST)]
    return common_damage([{stripe: _lacks(plan, view, stripe)} for view in copies]).get(stripe, [])


def _lacks(plan: Plan, view: DriveView, stripe: int) -> list[Run]:
    return plan.known.get(id(view), {}).get(stripe, [])


def reads(plan: Plan, work: StripeWork, size_of: Callable[[Drive, str], int | None]) -> int:
    """Bytes that rebuild.py reads of a stripe: the wanted packs, as far as they are there; what solves the rest.

    Of a pack the copies are read in turn, each block until one has it whole.
    """
    manifest, lengths = plan.group.manifest, work.lengths
    held: list[list[tuple[int, list[Run]]]] = []  # of each role: what a copy gives, and what is not whole of it
    for role in range(manifest.n):
        name, held_here = mf.pack_name(work.stripe, role, manifest.geometry.data), []
        for view in plan.group.copies.get(mf.slot_of(work.stripe, role, manifest.n), []):
            runs = _lacks(plan, view, work.stripe)
            size = min(size_of(view.drive, name) or 0, lengths[role]) if runs else lengths[role]
            held_here.append((size, runs))
        held.append(held_here)
    bad = [_gone(plan, work.stripe, role) for role in range(manifest.n)]
    edges = {edge for copies in held for _, runs in copies for first, last in runs for edge in (first, last + 1)}
    read = 0
    for start, stop in _runs(work, edges):
        begin, end = start * BLOCK, stop * BLOCK
        asked = set(work.wanted)
        others = [role for role, copies in enumerate(held) if role not in asked and lengths[role] > begin and copies]
        while others and (short := _short(work, bad, asked, start, manifest.geometry.data)):
            asked.update(others[:short])
            del others[:short]
        for role in asked:
            for size, runs in held[role]:
                read += max(0, min(size, end) - begin)
                if not _covers(runs, start):
                    break
    return read


def _runs(work: StripeWork, edges: set[int]) -> Iterator[tuple[int, int]]:
    """Runs of blocks, start to stop, in each of which the same packs are whole, and the same have ended."""
    count = -(-max(work.lengths[role] for role in work.wanted) // BLOCK)
    edges = edges | {0, count} | {-(-length // BLOCK) for length in work.lengths}
    return pairwise(sorted(edge for edge in edges if edge <= count))


def _covers(runs: Sequence[Run], block: int) -> bool:
    return any(first <= block <= last for first, last in runs)


def _short(work: StripeWork, bad: Sequence[Sequence[Run]], asked: Collection[int], block: int, data: int) -> int:
    """How many more packs must be read so that this block can be solved, where a wanted pack lacks it."""

    def whole(role: int) -> bool:
        if block * BLOCK >= work.lengths[role]:
            return True  # zeros, and known
        return role in asked and not _covers(bad[role], block)

    return 0 if all(map(whole, work.wanted)) else max(0, data - sum(map(whole, range(len(bad)))))
