"""Papers of the way and of the arrival: custody form, discrepancy report, delivery and sanitization certificates.

What holds beside what every paper holds (paper.py): each is made from a record that somebody checked, says which by
its digest, and says no more than the record; a certificate of delivery is of a drive that was verified, and of no
other. The paper proves nothing: the signed record does. A custody form has the code of the log's checkpoint, and a side
that signs by hand is never shown as signed by key.

What is not here: signatures, and what became of a drive (receipt.py, certificate.py, custody_event.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sealift.errors import Refused
from sealift.trade import certificate as certificates
from sealift.trade import custody_event as events
from sealift.trade import custody_sheet, paper, sheets
from sealift.trade.custody_event import Entry
from sealift.trade.paper import DASH, Cell, Column, said
from sealift.trade.receipt import VERIFIED, is_whole
from sealift.trade.typeset import qr_svg

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sealift.trade.certificate import Certificate
    from sealift.trade.custody_event import CustodyEvent, Item
    from sealift.trade.declaration import Declaration
    from sealift.trade.paper import Block, Frame, Paper
    from sealift.trade.receipt import Receipt, ReceiptDrive, ReceiptGroup

BY_HAND = "signs by hand, not by key"
_STATES = {
    "intact": "every byte was read, and is as it was signed",
    "rebuilt": "something was wrong or it did not come, and it was made again and verified",
    "lost": "it did not come or is damaged, and was not made again",
    "unseen": "nobody has read enough of it yet to say",
}


# --- custody


def custody_form(frame: Frame, what: Entry | CustodyEvent, name: str) -> Paper:
    """The form of a recorded event, or of one that is yet to be: what both sides sign by hand, and take along.

    Raises Refused for an event of another consignment, BadInput for a checkpoint of too many newest events.
    """
    event, digest = (what.event, what.digest) if isinstance(what, Entry) else (what, None)
    content = frame.declaration
    if event.consignment_id != content.consignment_id:
        raise Refused(f"the event is of {event.consignment_id}, not of {content.consignment_id}")
    seen = custody_sheet.checkpoint(what)
    text = events.qr_text(content.consignment_id, seen)
    kind = event.event_type.replace("_", " ")
    happened: list[tuple[str, Cell]] = [
        ("Event", f"{kind}: {digest}" if digest else [kind, custody_sheet.NOT_RECORDED]),
        ("At", f"{event.at_utc} (UTC), time zone {event.local_timezone}"),
        ("Place", event.place),
        ("Reason", event.reason),
    ]
    if event.officer_ref:
        opened = "it was opened" if event.inspection_opened else "nothing was opened"
        happened.append(("Customs", f"{event.officer_ref}; {opened}"))
    if event.hash_sample_result != "not_taken":
        happened.append(("Read and compared", event.hash_sample_result))
    happened += [("Photograph, SHA-256", each) for each in event.photo_sha256]
    happened += [("Settles event", each) for each in event.resolves]
    signs = [_side("Stated by", event.released_by, recorded=digest is not None)]
    if event.changes_hands:
        sides = (("Released by", event.released_by), ("Received by", event.received_by))
        signs = [_side(title, side, recorded=digest is not None) for title, side in sides]
    confirms = f"Checkpoint of {sheets.counted(seen.events, 'event')}; whoever signs confirms it."
    blocks = [
        paper.pairs("This event", happened),
        _items(event, frame.whole.drives),
        paper.code("Checkpoint of the custody log", qr_svg(text), [confirms, text]),
        paper.signatures(signs),
    ]
    return frame.paper(name, "Custody form", blocks, about=kind)


def _items(event: CustodyEvent, total: int) -> Block:
    columns = [
        Column("serial numbers", fr=1.6),
        Column("drives", mm=11, number=True),
        Column("seal before", fr=1),
        Column("seal after", fr=1),
        Column("condition", mm=22),
        Column("shock indicator", mm=22),
    ]
    rows = [_item(item) for item in event.items]
    foot: list[Cell] = [
        f"of {sheets.counted(total, 'drive')} of the shipment",
        f"{len(event.serials):,}",
        "",
        "",
        "",
        "",
    ]
    return paper.table("Drives in this event", columns, rows, foot=[foot])


def _item(item: Item) -> list[Cell]:
    after = [item.seal_after or "none"]
    if item.seal_after and item.seal_class:
        after.append(f"ISO 17712 class {item.seal_class}")
    before = [item.seal_before or "none", item.seal_checked.replace("_", " ")]
    condition, shock = item.condition.replace("_", " "), item.shock_indicator.replace("_", " ")
    return [" ".join(item.serials), f"{len(item.serials):,}", before, after, condition, shock]


def _side(title: str, party: events.Party, *, recorded: bool) -> tuple[str, list[str]]:
    how = f"signs by key {party.key_fingerprint}" if party.key_fingerprint else BY_HAND
    known = [party.words, f"identified by {party.id_kind}", how]
    if recorded and party.paper_sha256:
        known.append(f"photograph of the signed paper, SHA-256 {party.paper_sha256}")
    return title, known


# --- arrival


class DriveFact(NamedTuple):
    """What became of a drive: its number from 1, serial number, carrier, group, and a state; `why` may be empty."""

    number: int
    serial: str
    carrier: str
    group: str
    state: str
    why: str


class GroupFact(NamedTuple):
    """What that means for the data of a group of `data` and `parity` drives, of which `whole` are as they should be."""

    group: int
    state: str
    data: int
    parity: int
    whole: int
    means: str


class Facts(NamedTuple):
    """A discrepancy: what was stated by whom and when, and what it means. `todo` and `tell` are sentences."""

    at: str
    received_by: str
    drives: Sequence[DriveFact]
    groups: Sequence[GroupFact]
    means: Sequence[str]
    todo: Sequence[str]
    tell: Sequence[str]


def newest(receipts: Sequence[Receipt]) -> list[tuple[Receipt, ReceiptGroup]]:
    """Of each group what the newest receipt says of it, in the order of the groups, whatever order these come in."""
    found: dict[int, tuple[Receipt, ReceiptGroup]] = {}
    for receipt in sorted(receipts, key=lambda each: (each.record.at, each.file.blake3)):
        found |= {group.group: (receipt, group) for group in receipt.record.groups}
    return [found[number] for number in sorted(found)]


def facts(declaration: Declaration, receipts: Sequence[Receipt]) -> Facts:
    """What the newest receipts say of every declared drive and of every group; a drive that none names is unseen."""
    groups = newest(receipts)
    states = {drive.serial: (drive, group) for _, group in groups for drive in group.drives}
    drives = []
    for number, declared in enumerate(declaration.drives, start=1):
        if declared.serial in states:
            drive, group = states[declared.serial]
            why = "" if drive.state == "intact" else _STATES[drive.state]
            drives.append(DriveFact(number, declared.serial, declared.carrier, str(group.group), drive.state, why))
        else:
            drives.append(DriveFact(number, declared.serial, declared.carrier, DASH, "unseen", "no receipt names it"))
    data = [_group_fact(group) for _, group in groups]
    latest = max(receipts, key=lambda each: each.record.at).record
    covered = len(data) == latest.groups_total
    means = [f"group {each.group}: {each.means}" for each in data if each.state != "intact"]
    means += (
        [] if covered else [f"{latest.groups_total - len(data):,} of {latest.groups_total:,} groups: no receipt yet"]
    )
    free = covered and all(group.state in VERIFIED for _, group in groups)
    by = latest.received_by
    return Facts(
        at=latest.at,
        received_by=f"{by.name}, {by.organisation}; {by.contact}",
        drives=drives,
        groups=data,
        means=means,
        todo=_todo({drive.state for drive in drives}, free=free),
        tell=list(_tell(declaration, [drive for drive in drives if drive.state in {"lost", "unseen"}])),
    )


def _group_fact(group: ReceiptGroup) -> GroupFact:
    whole = sum(drive.state in VERIFIED for drive in group.drives)
    means = {
        "intact": "every byte is there",
        "rebuilt": "every byte of data is there, some of it from parity, and was verified",
        "lost": "some data cannot be had from what came",
        "unseen": "not enough of it has been read to say",
    }[group.state]
    return GroupFact(group.group, group.state, group.data, group.parity, whole, means)


def _todo(states: set[str], *, free: bool) -> list[str]:
    found = []
    if "unseen" in states:
        found.append("Look for what has not come, and wait for it; verify it, and make the receipt again.")
    if "lost" in states:
        found.append("Make again what parity can give (sealift repair), and verify it.")
    if not free:
        found.append("The source is NOT to be freed: it may be the only other copy of what is not verified.")
    return found or ["Nothing: every byte of data was verified."]


def _tell(declaration: Declaration, gone: Sequence[DriveFact]) -> Iterator[str]:
    yield f"{said(declaration.shipper.legal_name)}, {said(declaration.shipper.contact)}: all of this"
    yield f"{said(declaration.author.name)}, {said(declaration.author.email)}: the author of the declaration"
    for carrier in declaration.carriers:
        serials = [drive.serial for drive in gone if drive.carrier == carrier.name]
        if serials:
            yield f"{carrier.name}, {said(carrier.contact)}: {', '.join(serials)}"
    if gone:
        yield "Who released the declaration: declared goods are not where they were declared to go"


def discrepancy_report(frame: Frame, facts: Facts) -> Paper:
    """Every drive that is not as it was sent, what of each carrier came, what it means, what to do, whom to tell."""
    states = sorted({drive.state for drive in facts.drives})
    columns = [Column("carrier", fr=1), Column("drives", mm=16, number=True)]
    columns += [Column(state, mm=22, number=True) for state in states]
    carriers = list(dict.fromkeys(drive.carrier for drive in facts.drives))
    rows = [_came(carrier, [each for each in facts.drives if each.carrier == carrier], states) for carrier in carriers]
    wrong = [drive for drive in facts.drives if drive.state != "intact"]
    drives: list[list[Cell]] = [
        [f"{each.number} of {frame.whole.drives:,}", each.serial, said(each.carrier), each.group, each.state, each.why]
        for each in wrong
    ]
    groups: list[list[Cell]] = [
        [str(each.group), each.state, f"{each.whole} of {each.data + each.parity}", f"{each.data}", each.means]
        for each in facts.groups
    ]
    listed = [
        Column("drive", mm=20),
        Column("serial number", fr=1),
        Column("carrier", fr=1),
        Column("group", mm=13),
        Column("state", mm=22),
        Column("why", fr=1),
    ]
    of_data = [
        Column("group", mm=13),
        Column("state", mm=22),
        Column("drives whole", mm=24),
        Column("needed", mm=15),
        Column("what it means", fr=1),
    ]
    blocks = [
        paper.pairs("Stated", [("At", facts.at), ("By", facts.received_by)]),
        paper.words("What it means", list(facts.means), warning=True),
        paper.table("What came, by carrier", columns, rows, foot=[_came("All", facts.drives, states)]),
        paper.table("Drives that are not as they were sent", listed, drives),
        paper.table("Data, by group", of_data, groups),
        paper.words("What to do", list(facts.todo)),
        paper.words("Whom to tell", list(facts.tell)),
        paper.signatures([("For the receiver", [facts.received_by])]),
    ]
    return frame.paper("discrepancy-report", "Discrepancy report", blocks)


def _came(who: str, drives: Sequence[DriveFact], states: Sequence[str]) -> list[Cell]:
    counts = [sum(drive.state == state for drive in drives) for state in states]
    return [said(who), f"{len(drives):,}", *(f"{count:,}" if count else DASH for count in counts)]


def delivery_certificate(frame: Frame, receipt: Receipt, group: ReceiptGroup, drive: ReceiptDrive) -> Paper:
    """That one drive was delivered and verified, by the signed receipt. Refused for a drive that was not verified."""
    check_receipt_is_of(frame, receipt)
    if drive.state not in VERIFIED:
        raise Refused(f"drive {drive.number}, {drive.serial}, is {drive.state}: its delivery was not verified")
    record = receipt.record
    declared = {each.serial: each for each in frame.declaration.drives}.get(drive.serial)
    about = f"drive {drive.number} of {record.drives_total:,}"
    by = record.received_by
    rows: list[tuple[str, Cell]] = [
        ("Drive", f"{about}, {drive.id}, serial number {drive.serial}"),
        ("Make and model", f"{said(declared.make)} {said(declared.model)}" if declared else "not in the declaration"),
        ("Carrier", said(declared.carrier) if declared else DASH),
        ("State", f"{drive.state}: {_STATES[drive.state]}"),
        ("Its group", f"group {group.group}, {group.data} drives of data and {group.parity} of parity: {group.state}"),
        ("Received by", f"{by.name}, {by.organisation}; {by.contact}"),
        ("At", record.at),
        ("Signed by", f"{receipt.principal}, key {receipt.fingerprint}"),
        ("Receipt", f"{receipt.file.bytes:,} bytes, BLAKE3 {receipt.file.blake3}"),
        ("Of the shipment", record.shipment),
        ("Its seal", f"BLAKE3 {record.seal.blake3}"),
    ]
    partial = "The receipt covers every group of the shipment."
    if not is_whole(record):
        partial = "The receipt is partial: it does not say of every group of the shipment that its data was verified."
    blocks = [
        paper.pairs("Delivery verified", rows),
        paper.words("", [partial, _PROOF.format(record="the signed receipt")]),
        paper.signatures([("For the receiver", [f"{by.name}, {by.organisation}"])]),
    ]
    return frame.paper(f"delivery-drive-{drive.number}", "Delivery verification certificate", blocks, about=about)


_PROOF = "This paper is made from {record}, which is what counts."


def check_receipt_is_of(frame: Frame, receipt: Receipt) -> None:
    """Refused when a receipt is of another declaration."""
    if receipt.record.declaration.blake3 != frame.declaration.digest:
        raise Refused(
            f"the receipt of {receipt.record.at} is not of this declaration: it is of BLAKE3 "
            f"{receipt.record.declaration.blake3}",
            hint="give the declaration that the shipment was sealed under",
        )


def sanitization_certificate(frame: Frame, record: Certificate, signer: str, blake3: str, number: int) -> Paper:
    """The certificate of one drive, `signer` who signed it; `number` is the drive's row, or 0 if it is not declared.

    Raises Refused for a certificate of another consignment.
    """
    content = frame.declaration
    if record.consignment_id != content.consignment_id:
        raise Refused(f"the certificate of {record.media.serial} is of {record.consignment_id}, not of this shipment")
    about = f"drive {number} of {frame.whole.drives:,}" if number else f"serial number {record.media.serial}"
    proof = f"{_PROOF.format(record='the signed certificate')} Its log has every command and its answer."
    blocks = [
        paper.pairs("Sanitization, fields of NIST SP 800-88 Rev. 2, 4.6", certificates.rows(record)),
        paper.pairs("Signature", [("Signed by", signer), ("BLAKE3 of the record", blake3)]),
        paper.words("", [proof]),
        paper.signatures([(each.title, [each.name, each.contact]) for each in record.people]),
    ]
    when = record.ended_at.replace("-", "").replace(":", "")
    what = f"drive-{number}" if number else "undeclared"
    return frame.paper(f"sanitization-{what}-{when}", "Certificate of sanitization", blocks, about=about)
