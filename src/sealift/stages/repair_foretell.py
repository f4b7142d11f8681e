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
from sealift.stages.rebuild import SLAB
from sealift.stages.repair_look import bag_damage
from sealift.stages.repair_plan import still_damaged
from sealift.stages.verify_verdict import LAST, LostPack, add_lost, columns, common_damage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealift.drives.base import Drive
    from sealift.reading.survey import GroupView
    from sealift.stages.rebuild import StripeWork
    from sealift.stages.repair_look import Seen
    from sealift.stages.repair_plan import Plan
    from sealift.stages.verify_verdict import Damage

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
    """Bytes: what the wanted packs still have; where slabs of them are damaged, as many others as solve these."""
    manifest, lengths = plan.group.manifest, work.lengths
    n, data = manifest.n, manifest.geometry.data
    name = {role: mf.pack_name(work.stripe, role, data) for role in work.wanted}
    fresh = {id(each.drive) for each in plan.onto}
    old = [(role, drive) for role, drives in work.wanted.items() for drive in drives if id(drive) not in fresh]
    read = sum(min(size_of(drive, name[role]) or 0, lengths[role]) for role, drive in old)
    runs: dict[int, list[tuple[int, int]]] = {role: [(0, -(-lengths[role] // SLAB))] for role in work.wanted}
    for task in plan.tasks:
        role = mf.role_of(work.stripe, task.slot, n)
        if role in runs and (role, task.view.drive) in old:
            ends = [
                (first * BLOCK // SLAB, last * BLOCK // SLAB + 1) for first, last in task.damage.get(work.stripe, [])
            ]
            runs[role] = [(first, min(stop, runs[role][0][1])) for first, stop in ends]
    points = {-(-length // SLAB) for length in lengths} | {
        edge for each in runs.values() for run in each for edge in run
    }
    for start, stop in pairwise(sorted(points)):
        bad = {role for role, each in runs.items() if any(first <= start < last for first, last in each)}
        known = sum(length <= start * SLAB or (role in runs and role not in bad) for role, length in enumerate(lengths))
        others = [
            role
            for role, length in enumerate(lengths)
            if role not in runs and length > start * SLAB and mf.slot_of(work.stripe, role, n) in plan.group.copies
        ]
        for role in others[: max(0, data - known)] if bad else ():
            read += min(lengths[role], stop * SLAB) - start * SLAB
    return read
