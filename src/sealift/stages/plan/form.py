"""A plan as the declaration form that people go on with: carriers, goods, drives and size, the rest left to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from sealift.stages.plan.defaults import defaults
from sealift.trade import codes, declaration, sections, sheets

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from sealift.stages.plan.document import Plan


def declared(
    plan: Plan, consignment_id: str, day: date, public_key: str, questions: Sequence[str] = ()
) -> sections.Content:
    """The form; its drives are in the plan's order, which makes them drive i of N, and what pack deals them by.

    Drives that are alike are one kind of goods, with the HS code where such drives are found: who classifies them
    puts their name to it, or another code.
    """
    kinds = _kinds(plan)
    return replace(
        declaration.blank(consignment_id, day, public_key=public_key, questions=questions),
        data=sections.DataSummary(source_bytes=plan.bytes),
        carriers=[sections.Carrier(name=carrier.name) for carrier in plan.carriers],
        goods=[_goods(name, *key) for key, name in kinds.items()],
        drives=[
            sections.Drive(
                serial=drive.serial,
                carrier=drive.carrier,
                goods=kinds[drive.kind, drive.make, drive.model, drive.capacity_bytes],
                capacity_bytes=drive.capacity_bytes,
                make=drive.make,
                model=drive.model,
            )
            for drive in plan.drives
        ],
    )


def suggested(plan: Plan) -> dict[tuple[str, str], str]:
    """What the plan counted on and nobody has weighed: texts by the goods' name and field, to stand beside it."""
    numbers, found = {each.name: each for each in defaults().everything}, {}
    for name, kind in {name: key[0] for key, name in _kinds(plan).items()}.items():
        if (number := numbers.get(f"{kind}_weight")) is None:
            continue
        grams = round(1000 * plan.numbers.get(number.name, number.value))
        source = "as the plan says" if number.name in plan.numbers else f"{number.how}, {number.date}"
        counted = f"The plan counted on {grams:,} g, {number.note} ({number.name}; {source})"
        found[name, "net_grams"] = f"{counted}. Weigh one, and write what it weighs."
    return found


def _kinds(plan: Plan) -> dict[tuple[str, str, str, int], str]:
    """A name for each kind of drive: those that are alike are one kind of goods."""
    kinds: dict[tuple[str, str, str, int], str] = {}
    for drive in plan.drives:
        kinds.setdefault((drive.kind, drive.make, drive.model, drive.capacity_bytes), f"{drive.kind}{len(kinds) + 1}")
    return kinds


_WORDS = {"ssd": "Solid state drive", "hdd": "Hard disk drive"}


def _goods(name: str, kind: Any, make: str, model: str, capacity_bytes: int) -> sections.Goods:
    code = codes.HS_OF_KIND.get(kind, "")
    described = [_WORDS.get(kind, ""), sheets.rounded(capacity_bytes), f"{make} {model}".strip()]
    return sections.Goods(
        name=name,
        description=", ".join(filter(None, described)),
        kind=kind,
        hs_code=f"{code[:4]}.{code[4:]}" if code else "",
        hs_version="HS 2022" if code else "",
    )
