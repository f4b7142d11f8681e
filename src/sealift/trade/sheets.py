"""The carrier's sheet, made from a declaration for people on the way; and words that it shares with other papers.

Every sheet shows the whole shipment, whoever carries which part of it: its totals, weight and customs value, all
parties, all carriers, all drives, its leg, the shipment that it answers or who may answer it, and the related shipments
with the totals of all of them; the carrier's own drives are only marked. A sheet says DRAFT at its head and foot unless
it is given the checked release of exactly this declaration; a rehearsal's texts say REHEARSAL. Tests hold all of this.

What is not here: which papers are due, the drive's label (labels.py), and printing.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from sealift.errors import BadInput, Refused
from sealift.formats.sizes import counted
from sealift.trade import totals
from sealift.trade.consistency import ROLES

if TYPE_CHECKING:
    from sealift.trade.declaration import Declaration
    from sealift.trade.release import Release
    from sealift.trade.sections import Carrier, Intermediate, Party, Replaced

WIDTH = 96
DRAFT = "DRAFT - NOT RELEASED - THESE DRIVES MAY NOT LEAVE"
REHEARSAL = "REHEARSAL - SCRATCH DRIVES ONLY - NOT A SHIPMENT"
BASIS = "Prepared from the user's statements; not legal advice."
EMPTY = "(not filled in)"
_NOW = 5  # carriers that are named as those who carry now


def sheet(declaration: Declaration, carrier: str, release: Release | None = None) -> str:
    """The plain-text sheet that `carrier` takes along, of lines up to WIDTH columns where names allow.

    Raises BadInput when no such carrier is declared, Refused when `release` is of another declaration.
    """
    names = [row.name for row in declaration.carriers]
    if carrier not in names:
        raise BadInput(f"{carrier!r} is no carrier of {declaration.consignment_id}", hint=f"one of {', '.join(names)}")
    check_release_is_of(declaration, release)
    above = marks(declaration, release)
    blocks = [
        [
            *above,
            f"Carrier's sheet for {carrier}",
            f"Shipment {declaration.consignment_id}, {leg_text(declaration)}",
        ],
        _totals(declaration),
        _parties(declaration),
        _wrapped("End use", f"{declaration.end_use.class_ or EMPTY}: {declaration.end_use.text or EMPTY}")
        + _wrapped("Data", declaration.data.summary or EMPTY)
        + _wrapped("Licence", declaration.data.licence_basis or EMPTY)
        + _wrapped("Personal data", declaration.data.personal_data or EMPTY)
        + _way_home(declaration),
        _carriers(declaration, carrier),
        _drives(declaration, carrier),
        [
            f"Declaration BLAKE3 {declaration.digest}",
            release.summary if release is not None else "Not released.",
            BASIS,
            *above,
        ],
    ]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def check_release_is_of(declaration: Declaration, release: Release | None) -> None:
    """Refused when a release is given that is of another declaration."""
    if release is not None and release.declaration_digest != declaration.digest:
        raise Refused("this release is of another declaration, or of an earlier state of this one")


def marks(declaration: Declaration, release: Release | None) -> list[str]:
    """What every paper says first: that it is a rehearsal's, and that it is a draft."""
    return ([REHEARSAL] if declaration.rehearsal else []) + ([DRAFT] if release is None else [])


def leg_text(declaration: Declaration) -> str:
    """The leg in words; of a return leg with the shipment that it answers: "return leg in reply to SL-..."."""
    if declaration.leg == "return":
        return f"return leg in reply to {declaration.in_reply_to or EMPTY}"
    return f"{declaration.leg} leg" if declaration.leg else f"leg {EMPTY}"


def declared_otherwise(declaration: Declaration, found: int) -> str | None:
    """The beginning of a sentence, where `found` bytes are not about what is declared; None where they are.

    An empty field is a draft's, and not compared. About is a tenth more or less.
    """
    declared = declaration.data.source_bytes
    if not declared or abs(found - declared) * 10 <= declared:
        return None
    return f"the declaration, and with it every sheet, says {size(declared)} of data (data.source_bytes); {size(found)}"


def size(count: int) -> str:
    """Bytes in full and in a decimal unit: "15,360,950,534,144 bytes (15.4 TB)"."""
    return f"{count:,} bytes ({rounded(count)})" if count >= 10**6 else f"{count:,} bytes"


def rounded(count: int) -> str:
    """Bytes in a decimal unit: 15.4 TB."""
    for power, unit in ((15, "PB"), (12, "TB"), (9, "GB"), (6, "MB")):
        if count >= 10**power:
            return f"{count / 10**power:.1f} {unit}"
    return f"{count:,} bytes"


def ranges(numbers: list[int]) -> str:
    """Ascending numbers in short: 1, 4-6, 9; the word none for no numbers."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs) or "none"


def _totals(declaration: Declaration) -> list[str]:
    whole = totals.total(declaration)
    return [
        "THE WHOLE SHIPMENT",
        f"  {counted(len(declaration.drives), 'drive')} by {counted(len(declaration.carriers), 'carrier')}",
        f"  capacity {size(declaration.capacity_bytes)}",
        f"  weight {totals.grams(whole.gross_grams)} gross, {totals.grams(whole.net_grams)} net",
        f"  customs value {', '.join(totals.money(whole.customs)) or EMPTY}",
        f"  data about {size(declaration.data.source_bytes)}",
        *_related(declaration),
    ]


def _related(declaration: Declaration) -> list[str]:
    """The other shipments of the same parent or end user, and what all of them are together."""
    if not declaration.related_shipments:
        said = {"none": "none", "listed": EMPTY, "": EMPTY}[declaration.related]
        return _wrapped("Related shipments", said)
    lines = ["  Related shipments of the same parent or end user:"]
    for row in declaration.related_shipments:
        value: totals.Money = {}
        totals.add(value, row.currency, totals.amount(row.value))
        parts = (
            row.shipped_on or EMPTY, f"{row.shipper or EMPTY} to {row.consignee or EMPTY}",
            counted(row.drives, "drive"), size(row.capacity_bytes), totals.grams(row.gross_grams),
            ", ".join(totals.money(value)) or EMPTY,
        )  # fmt: skip
        lines += _wrapped(f"  {row.consignment_id or EMPTY}", "; ".join(parts))
    return [*lines, *_wrapped("All of these shipments together", together(declaration))]


def together(declaration: Declaration) -> str:
    """What this shipment and the related ones are in all."""
    all_ = totals.with_related(declaration)
    parts = [counted(all_.drives, "drive"), size(all_.capacity_bytes), f"{totals.grams(all_.gross_grams)} gross"]
    return "; ".join([*parts, ", ".join(totals.money(all_.customs)) or EMPTY])


def before(declaration: Declaration, old: Replaced) -> tuple[str, str]:
    """Whose place it was, and who had it, until when and why; and who has it now: of carriers, all that there are."""
    now, they = "", "now"
    if old.role in ROLES:
        now = getattr(declaration, old.role).legal_name
    elif old.role == "site":
        now = declaration.site.operator
    elif old.role in {"carriers", "intermediates"}:  # who of them took the place, nobody says
        rows: list[Carrier | Intermediate] = getattr(declaration, old.role)
        names = [row.legal_name or getattr(row, "name", "") for row in rows]
        they = f"all {old.role} now:"
        now = ", ".join(names[:_NOW]) + (f" and {len(names) - _NOW:,} more" if len(names) > _NOW else "")
    is_now = f"; {they} {now}" if now else ""
    said = f"{old.legal_name or EMPTY}, until revision {old.since_revision}: {old.reason or EMPTY}{is_now}"
    return (old.role or EMPTY).replace("_", " "), said


def _way_home(declaration: Declaration) -> list[str]:
    """Who may read and sign what comes back, where an outbound declaration says so."""
    back = declaration.return_
    if not back.recipients and not back.signers:
        return []
    signers = ", ".join(line.split()[0] if line.split() else EMPTY for line in back.signers) or EMPTY
    return _wrapped("Leg home", f"for {counted(len(back.recipients), 'recipient')}, signed by {signers}")


def _parties(declaration: Declaration) -> list[str]:
    rows: list[tuple[str, Party]] = [
        ("Shipper", declaration.shipper),
        ("Consignee", declaration.consignee),
        ("End user", declaration.end_user),
    ]
    lines = ["PARTIES"]
    for title, party in rows:
        lines += _wrapped(title, _party(party))
    if declaration.agent.legal_name:
        lines += _wrapped("Agent", _party(declaration.agent))
    for each in declaration.intermediates:
        lines += _wrapped(f"On the way, {each.role or EMPTY}", _party(each))
    site = declaration.site
    lines += _wrapped("Site", "; ".join(part or EMPTY for part in (site.operator, site.address, site.country)))
    for old in declaration.replaced:
        role, said = before(declaration, old)
        lines += _wrapped(f"Before, {role}", said)
    return lines


def _party(party: Party | Intermediate) -> str:
    parent = f"ultimate parent {party.ultimate_parent or EMPTY} ({party.parent_hq_country or EMPTY})"
    names = f"{party.legal_name or EMPTY} ({party.native_name})" if party.native_name else party.legal_name or EMPTY
    parts = (party.address, party.country, party.contact)
    return "; ".join([names, *(part or EMPTY for part in parts), parent])


def _carriers(declaration: Declaration, carrier: str) -> list[str]:
    carried: dict[str, list[int]] = {}
    for number, drive in enumerate(declaration.drives, start=1):
        carried.setdefault(drive.carrier, []).append(number)
    lines = ["ALL CARRIERS"]
    for row in declaration.carriers:
        mark = ">" if row.name == carrier else " "
        who = "; ".join(part for part in (row.legal_name, row.contact, row.country) if part)
        lines += _wrapped(f"{mark} {row.name or EMPTY}", f"drives {ranges(carried.get(row.name, []))}; {who}")
    return lines


def _drives(declaration: Declaration, carrier: str) -> list[str]:
    total = len(declaration.drives)
    yours = [i for i, drive in enumerate(declaration.drives, start=1) if drive.carrier == carrier]
    lines = ["ALL DRIVES", f"  drives {ranges(yours)} of {total}: yours, marked >"]
    for number, drive in enumerate(declaration.drives, start=1):
        mark = ">" if drive.carrier == carrier else " "
        what = f"{drive.make} {drive.model}".strip() or EMPTY
        lines.append(
            f"{mark} {number:>4} of {total}  {drive.serial or EMPTY:<24}  {drive.carrier or EMPTY:<16}"
            f"  {size(drive.capacity_bytes)}  {what}"
        )
    return lines


def _wrapped(title: str, text: str) -> list[str]:
    return textwrap.wrap(f"{title}: {text}", WIDTH, initial_indent="  ", subsequent_indent="      ")
