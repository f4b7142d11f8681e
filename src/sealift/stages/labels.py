"""Labels for the drives of a plan: group, slot and place in the row from the plan, ids from declaration and packing.

What holds of the labels that `labels` returns: there is one for each drive, in the plan's order; plan and declaration
agree on every drive, its serial number and its carrier; where a packing is given, it packs just these drives in these
places, and its shipment is named. Every drive has a serial number, for it is what ties a label to a drive.

The day by which a drive is to be read is `packed` and the planner's `ssd_retention` later, which the plan may state
otherwise: what enterprise SSDs keep without power at 40 C at the end of their life (JESD218; defaults.toml). A hard
disk has no such day: magnetic recordings are designed to last for about ten years at a temperature of use (Charap, Lu
and He, IEEE Trans. Magn. 33, 1997), which is longer than any voyage, and no maker states a day.

What is not here: files, but for the packing's journal; how a label looks (trade/labels.py).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from sealift.errors import BadInput
from sealift.formats import strict
from sealift.formats.manifest import drive_id
from sealift.stages import status
from sealift.stages.plan.defaults import defaults
from sealift.trade import labels as papers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from sealift.stages.plan.document import Plan
    from sealift.trade.declaration import Declaration
    from sealift.trade.release import Release

_AGREE = (
    "sealift declare --new FILE --plan PLAN writes a declaration of the plan's drives; correct the one that is wrong"
)


class Labels(NamedTuple):
    """The labels of all drives; `read_by` is None of a hard disk. `shipment` is None before packing has begun."""

    pdf: bytes
    shipment: str | None
    texts: tuple[str, ...]
    read_by: tuple[date | None, ...]

    @property
    def pages(self) -> int:
        """Pages of the PDF."""
        return -(-len(self.texts) // papers.PER_PAGE)


def labels(
    plan: Plan, declaration: Declaration, release: Release | None, *, packed: date, state: str | None = None
) -> Labels:
    """Labels for all drives; `packed` is the day on which they were written, `state` the folder of pack.

    Raises BadInput that names every drive on which plan, declaration and packing differ or that has no serial number,
    and Refused when `release` is of another declaration; and what typeset raises.
    """
    _raise(f"the plan and declaration {declaration.consignment_id} have", _AGREE, _differences(plan, declaration))
    shipment = _packing(plan, declaration, state) if state is not None else None
    numbers = defaults().with_values(plan.numbers)
    days = numbers["ssd_retention"]
    try:
        until = packed + timedelta(days=int(days))
    except OverflowError as error:
        raise BadInput(
            f"{days:g} days after {packed} there is no date",
            hint="look at --packed, and at ssd_retention under [numbers] of the plan",
        ) from error
    read_by = tuple(until if drive.kind == "ssd" else None for drive in plan.drives)
    made = [
        papers.label(
            declaration, number, papers.Place(drive.group, drive.slot, last), shipment=shipment, release=release
        )
        for number, (drive, last) in enumerate(zip(plan.drives, read_by, strict=True), 1)
    ]
    note = f"read by: {int(days)} days without power from {packed} ({numbers.used[0].source})."
    pdf = papers.pdf(declaration, made, note if any(read_by) else "", packed, release)
    return Labels(pdf, shipment, tuple(each.text for each in made), read_by)


def _raise(what: str, hint: str, faults: Iterator[str]) -> None:
    if found := list(faults):
        raise BadInput(f"{what} {strict.shown(found)}", hint=hint)


def _differences(plan: Plan, declaration: Declaration) -> Iterator[str]:
    """Drives that are not the same in both, or are not known yet."""
    planned, declared = plan.drives, declaration.drives
    if len(planned) != len(declared):
        yield f"drives: {len(planned):,} in the plan, {len(declared):,} in the declaration"
    for number, (ours, theirs) in enumerate(zip(planned, declared, strict=False), 1):
        for field in ("serial", "carrier"):
            here, there = getattr(ours, field), getattr(theirs, field)
            if here != there:
                yield f"drives[{number}].{field}: {here or 'none'} in the plan, {there or 'none'} in the declaration"
        if not ours.serial and not theirs.serial:
            yield f"drives[{number}].serial: {ours.name} has none; fill in the same in both, as the drive reports it"


def _packing(plan: Plan, declaration: Declaration, state: str) -> str:
    """The shipment that is packed in `state`; BadInput unless it is this one."""
    config = status.look(state).config
    if config.consignment_id != declaration.consignment_id:
        raise BadInput(
            f"{state} is the packing of {config.consignment_id}, not of {declaration.consignment_id}",
            hint="give the folder that pack was given as --state with this declaration",
        )
    packed = {
        (group, slot): (place.number, place.serial, place.carrier)
        for group, places in enumerate(config.groups)
        for slot, place in enumerate(places)
    }
    _raise(
        f"the plan and the packing in {state} have",
        "put the plan and the declaration right; of a drive that was replaced, give the serial number of the new one",
        _packed_otherwise(plan, packed),
    )
    return config.shipment


def _packed_otherwise(plan: Plan, packed: dict[tuple[int, int], tuple[int, str, str]]) -> Iterator[str]:
    planned = {
        (drive.group, drive.slot): (number, drive.serial, drive.carrier) for number, drive in enumerate(plan.drives, 1)
    }
    for place in sorted({*planned, *packed}):
        ours, theirs = planned.get(place), packed.get(place)
        if ours != theirs:
            yield f"{drive_id(*place)}: {_drive(ours)} in the plan, {_drive(theirs)} in the packing"


def _drive(row: tuple[int, str, str] | None) -> str:
    return "none" if row is None else f"drive {row[0]}, serial {row[1]}, carrier {row[2]}"
