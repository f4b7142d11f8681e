"""Pack as planned: what is asked for, declared, attached and dealt is what the plan says, or nothing is written.

The plan is checked in itself when it is read (stages/plan/document.py). A drive that another has replaced since stands
for its successor; a drive that is set aside need not be declared any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sealift.errors import BadInput
from sealift.stages.pack.settle import successor
from sealift.stages.pack.source import located

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from sealift.stages.pack.fleet import Attached, Deal
    from sealift.stages.pack.run import Options
    from sealift.stages.plan.document import Plan
    from sealift.trade.declaration import Declaration


def check_options(options: Options, plan: Plan) -> None:
    """BadInput where the options are not the plan's, or the plan is not ready to be followed."""
    if plan.nameless:
        first, count = plan.nameless[0], len(plan.nameless)
        more = f" and {count - 1} more have" if count > 1 else " has"
        raise BadInput(
            f"the plan: drives[{first}] ({plan.drives[first - 1].name}){more} no serial number; nothing was written",
            hint="fill in serial = of every [[drives]], as the drive reports it (smartctl -i, or lsblk -o SERIAL)",
        )
    if options.network:
        raise BadInput("--network and --plan: what goes by network is on no drives", hint="leave one of them away")
    wanted = {
        "--parity": (options.parity, plan.parity),
        "--group-size": (options.group_size, plan.size),
        "--pack-size": (options.pack_size, plan.pack_size),
        "--order": (options.order, plan.order),
        "--seed": (options.seed, plan.seed),
    }
    for name, (given, planned) in wanted.items():
        if given != planned:
            raise _contradicts(f"{name} {given}", f"has {planned}", name)
    if plan.source and located(options.source) != located(plan.source):
        raise _contradicts(f"SOURCE {options.source}", f"is for {plan.source}", "SOURCE")


def check_drives(
    options: Options,
    plan: Plan,
    declaration: Declaration,
    attached: Sequence[Attached],
    now: Mapping[str, str],
    owed: Container[str],
) -> None:
    """BadInput unless declaration and attached drives are the plan's; `now` has the successor of a replaced drive."""
    carriers = {successor(now, drive.serial): drive.carrier for drive in plan.drives}
    declared = {drive.serial: drive.carrier for drive in declaration.drives}
    named = f"declaration {declaration.consignment_id}"
    hint = "the declaration's drives are the plan's: sealift declare --new FILE --plan PLAN writes them so"
    for serial, carrier in carriers.items():
        if serial not in declared and serial not in owed:
            raise BadInput(f"the plan has drive {serial}, and {named} does not name it", hint=hint)
        if declared.get(serial, carrier) != carrier:
            raise BadInput(
                f"drive {serial}: the plan says carrier {carrier!r}, {named} says {declared[serial]!r}", hint=hint
            )
    if other := [serial for serial in declared if serial not in carriers]:
        raise BadInput(f"{named} names drive {other[0]}, and the plan does not have it", hint=hint)
    for each in attached:
        if each.serial not in carriers:
            raise BadInput(
                f"{each.mount}: drive {each.serial} is not in the plan; nothing was written",
                hint="attach a drive of the plan; a drive that takes another's place: --replace OLD=MNT",
            )
        told = options.carriers.get(each.mount, "")
        if told and told != carriers[each.serial]:
            given = f"--carrier {told}={each.mount}"
            raise _contradicts(given, f"gives drive {each.serial} to {carriers[each.serial]}", "--carrier")


def check_dealt(plan: Plan, deal: Deal, now: Mapping[str, str], *, begun: bool) -> None:
    """BadInput unless every drive has the number, group and slot that the plan gives it."""
    planned = {
        (drive.group, drive.slot): (number, successor(now, drive.serial)) for number, drive in enumerate(plan.drives, 1)
    }
    places = {
        (group, slot): (place.number, place.serial)
        for group, each in enumerate(deal.groups)
        for slot, place in enumerate(each)
    }
    if places == planned:
        return
    at = min(place for place in {*planned, *places} if planned.get(place) != places.get(place))
    what, where = "this packing, which has begun," if begun else "the declaration", f"group {at[0]}, slot {at[1]}"
    raise BadInput(
        f"{where}: the plan has {_drive(planned.get(at))}, {what} {_drive(places.get(at))}; nothing was written",
        hint="go on with the plan that it began with, or begin another shipment with another --state"
        if begun
        else "the declaration lists the drives in the plan's order: sealift declare --new FILE --plan PLAN does",
    )


def _drive(place: tuple[int, str] | None) -> str:
    return "no drive" if place is None else f"drive {place[0]}, serial {place[1]}"


def _contradicts(given: str, planned: str, option: str) -> BadInput:
    return BadInput(
        f"{given} contradicts the plan, which {planned}; nothing was written",
        hint=f"leave {option} away to follow the plan, or change the plan",
    )
