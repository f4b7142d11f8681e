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
from sealift.stages.repair_plan import still_damaged
from sealift.stages.verify_verdict import LAST, LostPack, add_lost, columns, common_damage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from sealift.drives.base import Drive
    from sealift.reading.survey import GroupView
    from sealift.stages.rebuild import StripeWork
    from sealift.stages.repair_look import Seen
    from sealift.stages.repair_plan import Plan
    from sealift.stages.verify_verdict import Damage, Run

NOT_READ = (
    "of the other drives names and lengths were looked at, and nothing was read: what has rotted there is met when the"
    " drive is rebuilt, and what it takes away is named then"
)


def known(group: GroupView, seen: Sequence[Seen] | None) -> dict[int, Damage]:
    """Slot -> what no drive here has whole of it; None of `seen`: nothing was read."""
    if seen is not None:
        return still_damaged(group, seen, ())
    with ThreadPoolExecutor(max_workers=32) as pool:
        of = dict(zip(group.views, pool.map(partial(bag_damage, group), group.views), strict=True))
    return {slot: common_damage([of[view] for view in views]) for slot, views in group.copies.items()}


def lost(plan: Plan, work: StripeWork) -> list[LostPack]:
    """What of the wanted packs cannot be made again, since more of their stripe is gone there than parity holds."""
    manifest, runs = plan.group.manifest, {}
    for role in range(manifest.n):
        slot = mf.slot_of(work.stripe, role, manifest.n)
        hit = plan.known.get(slot, {}).get(work.stripe) if slot in plan.group.copies else [(0, LAST)]
        if hit:
            runs[role] = hit
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


def reads(plan: Plan, work: StripeWork, size_of: Callable[[Drive, str], int | None]) -> int:
    """Bytes that rebuild.py reads of a stripe: all that the wanted packs still have; of others what solves the rest."""
    manifest, lengths, copies = plan.group.manifest, work.lengths, plan.group.copies
    slots = [mf.slot_of(work.stripe, role, manifest.n) for role in range(manifest.n)]
    bad = [plan.known.get(slot, {}).get(work.stripe, []) if slot in copies else [(0, LAST)] for slot in slots]
    name = [mf.pack_name(work.stripe, role, manifest.geometry.data) for role in range(manifest.n)]
    fresh = {id(each.drive) for each in plan.onto}
    old = [(role, drive) for role, drives in work.wanted.items() for drive in drives if id(drive) not in fresh]
    read = sum(min(size_of(drive, name[role]) or 0, lengths[role]) for role, drive in old)
    there = list(lengths)  # what a drive gives of a pack that is read for others
    for role in {role for role, slot in enumerate(slots) if bad[role] and slot in copies} - set(work.wanted):
        there[role] = min(size_of(copies[slots[role]][0].drive, name[role]) or 0, lengths[role])
    for start, stop in _runs(work, bad):
        begin, end = start * BLOCK, stop * BLOCK
        asked = set(work.wanted)
        others = [role for role in range(manifest.n) if role not in asked and lengths[role] > begin]
        others = [role for role in others if slots[role] in copies]
        while others and (short := _short(work, bad, asked, start, manifest.geometry.data)):
            read += sum(max(0, min(there[role], end) - begin) for role in others[:short])
            asked.update(others[:short])
            del others[:short]
    return read


def _runs(work: StripeWork, bad: Sequence[Sequence[Run]]) -> Iterator[tuple[int, int]]:
    """Runs of blocks, start to stop, in each of which the same packs are whole, and the same have ended."""
    count = -(-max(work.lengths[role] for role in work.wanted) // BLOCK)
    edges = {edge for runs in bad for first, last in runs for edge in (first, last + 1)}
    edges |= {0, count} | {-(-length // BLOCK) for length in work.lengths}
    return pairwise(sorted(edge for edge in edges if edge <= count))


def _short(work: StripeWork, bad: Sequence[Sequence[Run]], asked: Collection[int], block: int, data: int) -> int:
    """How many more packs must be read so that this block can be solved, where a wanted pack lacks it."""

    def whole(role: int) -> bool:
        if block * BLOCK >= work.lengths[role]:
            return True  # zeros, and known
        return role in asked and not any(first <= block <= last for first, last in bad[role])

    return 0 if all(map(whole, work.wanted)) else max(0, data - sum(map(whole, range(len(bad)))))
