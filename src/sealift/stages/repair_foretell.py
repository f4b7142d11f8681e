"""How much a dry run of repair says that would be read for a stripe. Nothing is read here but lengths."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from sealift.formats import manifest as mf
from sealift.formats.manifest import BLOCK
from sealift.stages.rebuild import SLAB

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealift.drives.base import Drive
    from sealift.stages.rebuild import StripeWork
    from sealift.stages.repair_plan import Plan


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
