"""A plan as the declaration form that people go on with: carriers, drives and size filled in, the rest left to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sealift.trade import declaration

if TYPE_CHECKING:
    from sealift.stages.plan.document import Plan


def declared(plan: Plan, consignment_id: str, public_key: str) -> declaration.Content:
    """The form; its drives are in the plan's order, which makes them drive i of N, and what pack deals them by."""
    return declaration.Content(
        type=declaration.TYPE,
        version=1,
        consignment_id=consignment_id,
        author=declaration.Author(public_key=public_key),
        data=declaration.DataSummary(source_bytes=plan.bytes),
        carriers=[declaration.Carrier(name=carrier.name) for carrier in plan.carriers],
        drives=[
            declaration.Drive(
                serial=drive.serial,
                carrier=drive.carrier,
                capacity_bytes=drive.capacity_bytes,
                make=drive.make,
                model=drive.model,
            )
            for drive in plan.drives
        ],
    )
