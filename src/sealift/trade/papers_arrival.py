"""Papers of the way and of the arrival: custody form, discrepancy report, delivery and sanitization certificates.

What holds beside what every paper holds (paper.py): each is made from a record that somebody checked, says which by
its digest, and says no more than the record; a certificate of delivery is of a drive that was verified itself, and of
no other. The paper proves nothing: the signed record does. A custody form has the code of the log's checkpoint, and a
side that signs by hand is never shown as signed by key.

What is not here: signatures, and what became of a drive (receipt.py, certificate.py, custody_event.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sealift.errors import Refused
from sealift.formats.sizes import counted
from sealift.trade import certificate as certificates
from sealift.trade import custody_event as events
from sealift.trade import custody_sheet, paper
from sealift.trade.custody_event import Entry
from sealift.trade.paper import DASH, Cell, Column, said
from sealift.trade.receipt import is_whole
from sealift.trade.typeset import qr_svg

if TYPE_CHECKING:
    from sealift.trade.certificate import Certificate
    from sealift.trade.custody_event import CustodyEvent, Item
    from sealift.trade.discrepancy import Discrepancy, Line
    from sealift.trade.paper import Block, Frame, Paper
    from sealift.trade.receipt import Receipt, ReceiptDrive, ReceiptGroup

BY_HAND = "signs by hand, not by key"
_STATES = {
    "intact": "every byte was read, and is as it was signed",
    "rebuilt": "something was wrong, and it was made again and verified",
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
        (
            "Event",
            f"{kind}: {digest}"
            if digest
            else [f"{kind}, form {custody_sheet.form_id(event)}", custody_sheet.NOT_RECORDED],
        ),
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
    confirms = f"Checkpoint of {counted(seen.events, 'event')}; whoever signs confirms it."
    blocks = [
        paper.pairs("This event", happened),
        _unlocked(event) if event.unlock else _items(event, frame.whole.drives),
        paper.code("Checkpoint of the custody log", qr_svg(text), [confirms, text]),
        paper.signatures(signs),
    ]
    return frame.paper(name, "Custody form", blocks, about=custody_sheet.about(content, what))


def _unlocked(event: CustodyEvent) -> Block:
    return paper.pairs("Keys issued in this event", list(custody_sheet.unlocked(event)))


def _items(event: CustodyEvent, total: int) -> Block:
    columns = [
        Column("serial numbers", fr=2.4, whole=True),
        Column("drives", mm=11, number=True),
        Column("seal before", fr=1),
        Column("seal after", fr=1),
        Column("condition", mm=22),
        Column("shock indicator", mm=22),
    ]
    rows = [_item(item) for item in event.items]
    foot: list[Cell] = [
        f"of {counted(total, 'drive')} of the shipment",
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


_CAME = ("intact", "rebuilt", "remade", "damaged", "missing", "unread")


def discrepancy_report(frame: Frame, report: Discrepancy) -> Paper:
    """Every drive that is not as it was sent, what of each carrier came, what it means, what to do, whom to tell.

    Raises Refused for a report of another consignment.
    """
    content = frame.declaration
    if report.consignment_id != content.consignment_id:
        raise Refused(f"the receipt is of {report.consignment_id}, not of {content.consignment_id}")
    wrong = [(part.carrier, line) for part in report.carriers for line in part.drives]
    drives: list[list[Cell]] = [
        [f"{line.number} of {report.drives_total:,}", line.serial, said(carrier), line.drive, line.what, _why(line)]
        for carrier, line in wrong
    ]
    listed = [
        Column("drive", mm=20),
        Column("serial number", fr=1, whole=True),
        Column("carrier", fr=1),
        Column("place", mm=16),
        Column("state", mm=18),
        Column("read, why", fr=1),
    ]
    blocks = [
        paper.pairs("Stated", [("At", report.at), ("By", report.received_by), ("Shipment", report.shipment)]),
        paper.words("What it means", report.means, warning=True),
        _came(report),
        paper.table("Drives that are not as they were sent", listed, drives),
        _data(report),
        paper.words("What to do", report.todo),
        paper.words("Whom to tell", [f"{each.who}, {each.contact}: {each.about}" for each in report.tell]),
        paper.signatures([("For the receiver", [report.received_by])]),
    ]
    return frame.paper("discrepancy-report", "Discrepancy report", blocks)


def _why(line: Line) -> str:
    had = line.had and f"by the custody log {line.had} had it last"
    return ", ".join(text for text in (line.read_at and f"read {line.read_at}", line.why, had) if text) or DASH


def _came(report: Discrepancy) -> Block:
    columns = [Column("carrier", fr=1), Column("sent", mm=16, number=True)]
    columns += [Column(state, mm=18, number=True) for state in _CAME]
    counts = [[part.expected, *(getattr(part, state) for state in _CAME)] for part in report.carriers]
    rows = [[said(part.carrier), *map(_counted, row)] for part, row in zip(report.carriers, counts, strict=True)]
    all_ = [sum(column) for column in zip(*counts, strict=True)]
    return paper.table("What came, by carrier", columns, rows, foot=[["All", *map(_counted, all_)]])


def _counted(count: int) -> str:
    return f"{count:,}" if count else DASH


def _data(report: Discrepancy) -> Block:
    columns = [
        Column("group", mm=16),
        Column("state", fr=1),
        Column("drives whole or made again", mm=24),
        Column("needed for all data", mm=32),
        Column("still wanted", mm=24),
    ]
    rows = [
        [
            str(each.group),
            each.state,
            f"{each.whole} of {each.data + each.parity}",
            str(each.data),
            _counted(each.needs),
        ]
        for each in report.groups
    ]
    return paper.table("Data, by group", columns, rows)


def delivery_certificate(frame: Frame, receipt: Receipt, group: ReceiptGroup, drive: ReceiptDrive) -> Paper:
    """That one drive was delivered and verified, by the signed receipt; Refused for one that was not itself."""
    check_receipt_is_of(frame, receipt)
    if not drive.came:
        state = "was made again on another medium" if drive.remade else f"is {drive.state}"
        raise Refused(f"drive {drive.number}, {drive.serial}, {state}: its delivery was not verified")
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
    told = [(label, value or DASH) for label, value in certificates.rows(record)]
    proof = f"{_PROOF.format(record='the signed certificate')} Its log has every command and its answer."
    blocks = [
        paper.pairs("Sanitization, fields of NIST SP 800-88 Rev. 2, 4.6", told),
        paper.pairs("Signature", [("Signed by", signer), ("BLAKE3 of the record", blake3)]),
        paper.words("", [proof]),
        paper.signatures([(each.title, [each.name, each.contact]) for each in record.people]),
    ]
    when = record.ended_at.replace("-", "").replace(":", "")
    what = f"drive-{number}" if number else "undeclared"
    return frame.paper(f"sanitization-{what}-{when}", "Certificate of sanitization", blocks, about=about)
