"""The paper form of an event of custody, as plain text: what both sides sign by hand, and take along.

Like every paper of a shipment it shows the whole of it: all drives, all carriers, whoever carries which part. It has
the text of the QR code of the checkpoint: of a recorded event that of the log with this event, of one that is yet to be
recorded that of the log before it, which the event is bound to. It says DRAFT unless a release of the declaration
holds, and REHEARSAL of a rehearsal. A form that is not recorded yet has an id, by which its pages are told from those
of another one: the first digits of the digest of what it says. A side that signs by hand is said to, and is never shown
as signed by key.

What is not here: the picture of the QR code, and pages.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from sealift.formats import canonical
from sealift.formats.sizes import counted
from sealift.trade import custody_event as events
from sealift.trade import sheets, totals
from sealift.trade.custody_event import Checkpoint, CustodyEvent, Entry, Item, Party

if TYPE_CHECKING:
    from sealift.trade.declaration import Declaration

NOT_RECORDED = "NOT YET RECORDED - to be signed by hand, photographed, and entered by sealift handover"
_LINE = "." * 40
_NAME = 40  # characters of a name at the head of a page


def form(declaration: Declaration, what: Entry | CustodyEvent, *, released: bool) -> str:
    """The form of a recorded event (an Entry), or of one that is yet to be recorded.

    `released`: a release of this declaration holds. Raises BadInput when the checkpoint has too many newest events.
    """
    event, digest = (what.event, what.digest) if isinstance(what, Entry) else (what, None)
    seen = checkpoint(what)
    marks = [sheets.REHEARSAL] * declaration.rehearsal + [sheets.DRAFT] * (not released)
    sides = {"STATED BY": event.released_by}
    if event.changes_hands:
        sides = {"RELEASED BY": event.released_by, "RECEIVED BY": event.received_by}
    blocks = [
        [
            *marks,
            f"Custody form: {event.event_type.replace('_', ' ')}",
            f"Shipment {declaration.consignment_id}, {sheets.leg_text(declaration)}",
            f"Event {digest}" if digest else f"Form {form_id(event)}: {NOT_RECORDED}",
        ],
        _whole(declaration),
        [
            "THIS EVENT",
            f"  At {event.at_utc} (UTC), time zone {event.local_timezone}",
            *_wrapped("Place", event.place),
            *_wrapped("Reason", event.reason),
            *_only_if(event),
        ],
        _unlocked(event)
        or [f"DRIVES IN THIS EVENT: {len(event.serials)} of {len(declaration.drives)}"]
        + [line for item in event.items for line in _item(item)],
        *(_side(title, party, recorded=digest is not None) for title, party in sides.items()),
        [
            f"CHECKPOINT of {counted(seen.events, 'event')}; whoever signs confirms it. QR code:",
            f"  {events.qr_text(declaration.consignment_id, seen)}",
            sheets.BASIS,
            f"End of form: {about(declaration, what)}",
            *marks,
        ],
    ]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def form_id(event: CustodyEvent) -> str:
    """Twelve digits that tell the form of an event that is not recorded yet from every other."""
    return events.digest_of(canonical.encode(event))[:12]


def about(declaration: Declaration, what: Entry | CustodyEvent) -> str:
    """What stands on every page: which event or form it is, of which drives, and who has them then."""
    event, which = (what.event, f"event {what.digest[:12]}") if isinstance(what, Entry) else (what, None)
    numbers = {drive.serial: number for number, drive in enumerate(declaration.drives, start=1)}
    own = sorted(numbers[serial] for serial in event.serials if serial in numbers)
    more = len(event.serials) - len(own)
    drives = f"{'drive' if len(own) == 1 else 'drives'} {sheets.ranges(own)} of {len(declaration.drives)}"
    drives += f" and {more} undeclared" if more else ""
    if event.unlock:
        drives = f"keys for job {event.unlock.job}"
    name = textwrap.shorten(event.received_by.name, _NAME, placeholder=" ...")
    who = f"{'to' if event.changes_hands else 'stated by'} {name}"
    kind = event.event_type.replace("_", " ")
    return f"{kind}, {which or f'form {form_id(event)}'}, {textwrap.shorten(drives, 3 * _NAME)}, {who}"


def checkpoint(what: Entry | CustodyEvent) -> Checkpoint:
    """The checkpoint for the code of a form: with a recorded event, or before one that is yet to be recorded."""
    if isinstance(what, Entry):
        return Checkpoint(events=what.event.log_checkpoint.events + 1, newest=[what.digest])
    return what.log_checkpoint


def _whole(declaration: Declaration) -> list[str]:
    carried: dict[str, list[int]] = {}
    for number, drive in enumerate(declaration.drives, start=1):
        carried.setdefault(drive.carrier, []).append(number)
    drives = counted(len(declaration.drives), "drive")
    carriers = counted(len(declaration.carriers), "carrier")
    size = sheets.size(declaration.capacity_bytes)
    whole = totals.total(declaration)
    lines = ["THE WHOLE SHIPMENT", f"  {drives} by {carriers}, capacity {size}"]
    value = ", ".join(totals.money(whole.customs)) or sheets.EMPTY
    lines.append(f"  weight {totals.grams(whole.gross_grams)} gross, customs value {value}")
    for carrier in declaration.carriers:
        lines += _wrapped(carrier.name or sheets.EMPTY, f"drives {sheets.ranges(carried.get(carrier.name, []))}")
    return [*lines, f"  Declaration BLAKE3 {declaration.digest}"]


def _only_if(event: CustodyEvent) -> list[str]:
    lines = []
    if event.officer_ref:
        opened = "opened" if event.inspection_opened else "nothing was opened"
        lines += _wrapped("Customs", f"{event.officer_ref}; {opened}")
    if event.hash_sample_result != "not_taken":
        lines += _wrapped("Read and compared", event.hash_sample_result)
    lines += [f"  Photograph SHA-256 {each}" for each in event.photo_sha256]
    return lines + [f"  Settles event {each}" for each in event.resolves]


def _unlocked(event: CustodyEvent) -> list[str]:
    pairs = unlocked(event)
    return ["KEYS ISSUED IN THIS EVENT", *(line for pair in pairs for line in _wrapped(*pair))] if pairs else []


def unlocked(event: CustodyEvent) -> list[tuple[str, str]]:
    """Which keys were issued to whom, as what a paper says of it, in order; nothing of an event in which none were."""
    if not event.unlock:
        return []
    said = event.unlock
    return [
        ("Keys", f"{said.keys:,}, of shipment {said.shipment}"),
        ("Seal, BLAKE3", said.seal.blake3),
        ("Job", said.job),
        *(("For", each) for each in said.recipients),
        ("Valid until", f"{said.valid_until} (UTC)"),
        ("Issued file, BLAKE3", said.file.blake3),
    ]


def _item(item: Item) -> list[str]:
    before = f"{item.seal_before} ({item.seal_checked.replace('_', ' ')})" if item.seal_before else "none"
    after = item.seal_after or "none"
    if item.seal_class and item.seal_after:
        after += f" (ISO 17712 class {item.seal_class})"
    condition = f"condition {item.condition.replace('_', ' ')}, shock indicator {item.shock_indicator}"
    return [
        *_wrapped(f"seal before {before}, after {after}; {condition}; serials", " ".join(item.serials)),
    ]


def _side(title: str, party: Party, *, recorded: bool) -> list[str]:
    how = f"signs by key {party.key_fingerprint}" if party.key_fingerprint else "signs by hand, not by key"
    if recorded and party.paper_sha256:
        how += f"; photograph SHA-256 {party.paper_sha256}"
    return [
        title,
        *_wrapped("Name", f"{party.words}; identified by {party.id_kind}"),
        *_wrapped("Signature", how),
        f"  by hand {_LINE}  date {_LINE[:16]}",
    ]


def _wrapped(title: str, text: str) -> list[str]:
    return textwrap.wrap(
        f"{title}: {text}", sheets.WIDTH, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False
    )
