"""Plans of small and large shipments, as the planner would write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sealift.stages.plan import document, geometry

if TYPE_CHECKING:
    from collections.abc import Sequence

MIB = 1 << 20


def make(
    drives: int,
    carriers: Sequence[str],
    shape: tuple[int, int, int],
    survive: tuple[int, int],
    *,
    capacity: int = 10**10,
    packed: int = 4 * MIB,
    **more: Any,
) -> document.Plan:
    """`shape` is data, parity, groups; `survive` is carriers, drives. Drives are D0, D1 ..., with serials S-D0 ..."""
    wanted = geometry.Wanted(
        drives=tuple(geometry.Drive(name=f"D{i}", capacity_bytes=capacity, model="Type 1") for i in range(drives)),
        carriers=tuple(geometry.Carrier(name=name) for name in carriers),
        bays=shape[0] + shape[1],
        packed_bytes=packed,
        survive=geometry.Survive(carriers=survive[0], drives=survive[1]),
    )
    found = geometry.search(wanted, lambda _bytes, _blocks: MIB)
    chosen = next(each for each in found if (each.data, each.parity, each.groups) == shape)
    known = {drive.name: document.Known(drive.capacity_bytes, f"S-{drive.name}", "Maker") for drive in wanted.drives}
    return document.draft(wanted, chosen, **{"size": packed, "files": 1000, "pack_size": MIB, "known": known} | more)
