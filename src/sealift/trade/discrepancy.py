"""The discrepancy report: what was sealed and what came, carrier by carrier, what that means, what to do, whom to tell.

    seal + declaration + receipt -> Discrepancy -> lines for people, JSON, a form for the custody log

What holds: it is made from the signed seal and what a receipt says, so that who has these two can make it again; every
drive of the seal is counted, under the carrier that the seal names, and every one that is not as it was sent is listed.
Who had it last, the custody log says, where it is at hand, and they are told: a carrier may be newer than a seal.
It gives no advice on law and says nothing of why. Recording it is the custody log's matter: `form` fills in the form of
`sealift handover`.

What is not here: judging drives (stages/receive.py), files, the terminal.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec import UNSET, Struct

from sealift.formats import strict
from sealift.formats.sizes import counted
from sealift.trade import custody_form
from sealift.trade.receipt import VERIFIED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sealift.formats.seal import Seal
    from sealift.trade.declaration import Declaration
    from sealift.trade.receipt import ReceiptDrive, ReceiptGroup, ReceiptRecord

What = Literal["intact", "rebuilt", "remade", "damaged", "missing", "unread"]
_VERIFIED: frozenset[What] = frozenset({"intact", "rebuilt", "remade"})
WIDTH = 118
MAX_NAMED = 20  # drives by name in one sentence
NOT_ADVICE = "Prepared from the seal, the receipt and what people stated; not legal advice."


class Hand(NamedTuple):
    """Who had a drive last, by the custody log, how to reach them ("": not known); `home`: they are of the origin."""

    who: str
    contact: str
    home: bool = False

    @property
    def words(self) -> str:
        """Who, and that it is at the origin."""
        return f"{self.who}, at the origin," if self.home else self.who


class Line(Struct, frozen=True, kw_only=True):
    """A drive that is not as it was sent. `what`: unread drives are not here, or are here and nobody has read them.

    Of remade ones the data is here, on other media: of the declared goods themselves nobody has said that they are.
    `had`: who had it last, by the custody log, on the way or at the origin; None: it is not at hand, or does not say.
    """

    drive: str
    number: int
    group: int
    serial: str
    what: What
    read_at: str | None
    why: str | None
    had: str | None = None


class CarrierPart(Struct, frozen=True, kw_only=True):
    """What became of the drives that were sealed for one carrier: counts of all, and those not as they were sent."""

    carrier: str
    contact: str
    expected: int
    intact: int
    rebuilt: int
    remade: int
    damaged: int
    missing: int
    unread: int
    drives: list[Line]


class GroupPart(Struct, frozen=True, kw_only=True):
    """What that means for the data of one group; `needs`: as many more drives give every byte, whichever they are."""

    group: int
    state: str
    data: int
    parity: int
    whole: int
    needs: int


class Tell(Struct, frozen=True, kw_only=True):
    """Somebody who should hear of it."""

    who: str
    contact: str
    about: str


class Discrepancy(Struct, frozen=True, kw_only=True):
    """The whole report. `state`: all data is `verified`, `recoverable`, `unseen` (not enough is read) or `lost`."""

    shipment: str
    consignment_id: str
    rehearsal: bool
    at: str
    received_by: str
    drives_total: int
    state: Literal["verified", "recoverable", "unseen", "lost"]
    carriers: list[CarrierPart]
    groups: list[GroupPart]
    means: list[str]
    todo: list[str]
    tell: list[Tell]


def compare(
    seal: Seal, declaration: Declaration, officer: str, record: ReceiptRecord, why: Mapping[str, str],
    hands: Mapping[str, Hand] | None = None,
) -> Discrepancy | None:  # fmt: skip
    """What differs from what was sealed; None where every drive of the seal is intact.

    `officer` released the declaration; `why` says of drives by id why a reading of theirs does not count; `hands` by
    serial number who had them last; None: no custody log is at hand.
    """
    said = {group.group: group for group in record.groups}
    lines = list(_lines(seal, said, why, hands or {}))
    if all(line.what == "intact" for _, line in lines):
        return None
    groups = [_group(sealed.group, sealed.data, sealed.parity, said.get(sealed.group)) for sealed in seal.groups]
    carriers = [
        _carrier(name, [line for carrier, line in lines if carrier == name], declaration)
        for name in dict.fromkeys(carrier for carrier, _ in lines)
    ]
    wrong = [line for _, line in lines if line.what != "intact"]
    state = _state(groups)
    return Discrepancy(
        shipment=seal.shipment,
        consignment_id=seal.consignment_id,
        rehearsal=seal.rehearsal,
        at=record.at,
        received_by=f"{record.received_by.name} ({record.received_by.organisation}), {record.received_by.contact}",
        drives_total=record.drives_total,
        state=state,
        carriers=carriers,
        groups=groups,
        means=list(_means(groups)),
        todo=list(_todo(wrong, state)),
        tell=list(_tell(carriers, wrong, declaration, officer, hands)),
    )


def _lines(
    seal: Seal, said: Mapping[int, ReceiptGroup], why: Mapping[str, str], hands: Mapping[str, Hand]
) -> Iterator[tuple[str, Line]]:
    for sealed in seal.groups:
        group = said.get(sealed.group)
        for slot, row in enumerate(sealed.drives):
            drive = group.drives[slot] if group else None
            line = Line(
                drive=row.id,
                number=row.number,
                group=sealed.group,
                serial=row.serial,
                what=_what(drive),
                read_at=drive.read_at or None if drive else None,
                why=why.get(row.id),
                had=hands[row.serial].words if row.serial in hands else None,
            )
            yield row.carrier, line


def _what(drive: ReceiptDrive | None) -> What:
    if drive is None or drive.state == "unseen":
        return "unread"
    if drive.state == "lost":  # what was made again in its place, and is damaged, is no drive that came
        return "damaged" if drive.read_at and drive.made_on is UNSET else "missing"
    return "remade" if drive.remade else drive.state


def _carrier(name: str, lines: Sequence[Line], declaration: Declaration) -> CarrierPart:
    counts = {what: sum(line.what == what for line in lines) for what in _WORDS}
    contact = next((each.contact for each in declaration.carriers if each.name == name), "")
    wrong = [line for line in lines if line.what != "intact"]
    return CarrierPart(carrier=name, contact=contact, expected=len(lines), drives=wrong, **counts)


def _group(number: int, data: int, parity: int, group: ReceiptGroup | None) -> GroupPart:
    whole = sum(drive.state in VERIFIED for drive in group.drives) if group else 0
    state = group.state if group else "unseen"
    needs = max(0, data - whole) if state == "unseen" else 0
    return GroupPart(group=number, state=state, data=data, parity=parity, whole=whole, needs=needs)


def _state(groups: Sequence[GroupPart]) -> Literal["verified", "recoverable", "unseen", "lost"]:
    if any(group.state == "lost" for group in groups):
        return "lost"
    if any(group.needs for group in groups):
        return "unseen"
    return "verified" if all(group.whole == group.data + group.parity for group in groups) else "recoverable"


# --- what it means, what to do, whom to tell


def _means(groups: Sequence[GroupPart]) -> Iterator[str]:
    if _state(groups) == "verified":
        yield "every drive, or what was made again of it, was read to its end and is as it was signed"
    for group in groups:
        n = group.data + group.parity
        if group.state == "lost":
            yield f"group {group.group}: some data CANNOT be had from what came"
        elif group.needs:
            more = f"any {counted(group.needs, 'drive')} more of it"
            yield f"group {group.group}: {group.whole} of {n} drives are whole; {more} would give every byte"
        elif group.whole < n:
            spare = max(0, group.whole - group.data)
            left = f"{spare} more may be lost" if spare else "no other may be lost"
            yield f"group {group.group}: every byte can be had, from {group.whole} of {n} drives that are whole; {left}"


def _todo(wrong: Sequence[Line], state: str) -> Iterator[str]:
    remade = [line for line in wrong if line.what == "remade"]
    if state == "verified":
        yield "send the receipt" if remade else "nothing more here: send the receipt"
    if remade:
        yield (
            f"look for the declared drives {_serials(remade)}: only what was made again of them is here; and say in the"
            " custody log what became of them, if it does not say so (`sealift handover`, a discrepancy)"
        )
    if any(line.what == "unread" for line in wrong):
        yield "look for what is not here and wait for it; verify it, and make the receipt again with all reports"
    if any(line.what == "damaged" for line in wrong):
        yield "`sealift repair MNT...` mends damaged drives from the others of their group; then verify them again"
    if any(line.what == "missing" for line in wrong):
        yield "`sealift repair MNT... --onto MNT` makes a missing drive again on an empty one; then verify that one"
    if state == "lost":
        yield "`sealift repair MNT... --fetch-list` says what the origin must send again"
    if any(line.what not in _VERIFIED for line in wrong):
        yield "the source is NOT to be freed: it may be the only other copy of what is not verified"


def _tell(
    carriers: Sequence[CarrierPart], wrong: Sequence[Line], declaration: Declaration, officer: str,
    hands: Mapping[str, Hand] | None,
) -> Iterator[Tell]:  # fmt: skip
    keep = any(line.what not in _VERIFIED for line in wrong)
    about = "all of this; keep the source" if keep else "all of this"
    yield Tell(who=declaration.shipper.legal_name, contact=declaration.shipper.contact, about=about)
    yield Tell(
        who=declaration.author.name, contact=declaration.author.email, about="all of this, as author of the declaration"
    )
    yield from _tell_carriers(carriers, wrong, hands)
    if any(line.what in {"missing", "unread", "remade"} for line in wrong):
        about = "declared goods are not where they were declared to go"
        yield Tell(who=officer, contact="who released the declaration", about=about)


def _tell_carriers(
    carriers: Sequence[CarrierPart], wrong: Sequence[Line], hands: Mapping[str, Hand] | None
) -> Iterator[Tell]:
    """Who had the drives by the custody log; of which it says nothing, or is not at hand, who was to carry them."""
    had: dict[Hand, list[Line]] = {}
    for line in wrong:
        if hands and line.serial in hands:
            had.setdefault(hands[line.serial], []).append(line)
    for hand, lines in had.items():
        had_last = "drives that are with them at the origin" if hand.home else "drives that they had"
        about = f"{had_last}, by the custody log: {_serials(lines)}"
        yield Tell(who=hand.who, contact=hand.contact or "by the custody log", about=about)
    for each in carriers:
        lines = [line for line in each.drives if line.had is None]
        if lines:
            unsaid = "does not say" if hands is not None else "says, and is not at hand here (--custody LOG)"
            about = (
                f"drives that were sealed for them: {_serials(lines)}; who had them on the way the custody log {unsaid}"
            )
            yield Tell(who=each.carrier, contact=each.contact, about=about)


def _serials(lines: Sequence[Line]) -> str:
    named = ", ".join(line.serial for line in lines[:MAX_NAMED])
    return named + (f" and {len(lines) - MAX_NAMED:,} more" if len(lines) > MAX_NAMED else "")


# --- for people


_WORDS: dict[What, str] = {
    "intact": "intact",
    "rebuilt": "made again, and verified",
    "remade": "made again on another medium, and verified; not the drive itself",
    "damaged": "damaged",
    "missing": "did not come",
    "unread": "not here, or not read",
}


def as_text(report: Discrepancy) -> str:
    """The report as lines for people; they print, whatever the names in it are."""
    lines = ["REHEARSAL: these drives are no goods", ""] if report.rehearsal else []
    lines += [
        "DISCREPANCY REPORT",
        f"shipment {report.shipment}, consignment {report.consignment_id}: {counted(report.drives_total, 'drive')}",
        f"as of {report.at}, by {report.received_by}",
    ]
    for carrier in report.carriers:
        lines += [
            "",
            f"sealed for carrier {carrier.carrier or '(none)'}: {counted(carrier.expected, 'drive')} expected",
        ]
        counts = {what: getattr(carrier, what) for what in _WORDS}
        lines.append("  " + ", ".join(f"{count:,} {_WORDS[what]}" for what, count in counts.items() if count))
        for line in carrier.drives:
            why = f" ({line.why})" if line.why else ""
            read = f", read {line.read_at}" if line.read_at else ""
            number = f"drive {line.number} of {report.drives_total}"
            had = f"; by the custody log {line.had} had it last" if line.had else ""
            lines.append(f"  {line.drive} {number}, serial {line.serial}: {_WORDS[line.what].upper()}{read}{why}{had}")
    sections = [("what it means", report.means), ("what to do", report.todo)]
    sections.append(("whom to tell", [f"{each.who}, {each.contact}: {each.about}" for each in report.tell]))
    for title, each in sections:
        lines += ["", f"{title}:", *(wrapped for line in each for wrapped in _wrapped(line))]
    lines += ["", NOT_ADVICE]
    return "\n".join(map(_printable, lines)) + "\n"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)


def _printable(line: str) -> str:
    return "".join("\N{REPLACEMENT CHARACTER}" if strict.unprintable(each) else each for each in line)


# --- for the custody log


def form(report: Discrepancy, who: Mapping[str, str], here: Mapping[str, str]) -> str | None:
    """The form of `sealift handover` that records it, filled in but for the place; None where there is nothing new.

    `who` states it: name, org and the key's fingerprint. Drives that were made again have their record already, and
    those that are `here` (by id) and only unread are no discrepancy.
    """
    cases = []
    told: dict[What, list[Line]] = {}
    for carrier in report.carriers:
        lines = [line for line in carrier.drives if line.what not in _VERIFIED and line.drive not in here]
        cases += [[line.serial for line in lines]] if lines else []
        for line in lines:
            told.setdefault(line.what, []).append(line)
    if not cases:
        return None
    said = "; ".join(f"{_WORDS[what]}: {_serials(lines)}" for what, lines in told.items())
    return custody_form.discrepancy(report.consignment_id, cases, f"{said} (receipt of {report.at})", who)
