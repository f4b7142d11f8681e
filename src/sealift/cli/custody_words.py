"""Words and JSON for `sealift handover` and `sealift custody`. What is not here: any judgement (trade/custody.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sealift.cli import common
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sealift.formats.allowed_signers import Signer
    from sealift.trade.custody import Account, DriveState, Row
    from sealift.trade.custody_event import CustodyEvent, Party
    from sealift.trade.custody_graph import Finding

SHORT = 12  # digits of a digest on a screen; sealift handover takes them


def party_answer(party: Party, signer: Signer | None) -> dict[str, Any]:
    """One side as JSON."""
    return {
        "name": party.name,
        "org": party.org,
        "id_kind": party.id_kind,
        "by": "key" if party.key_fingerprint else "hand",
        "fingerprint": party.key_fingerprint or None,
        "paper_sha256": party.paper_sha256 or None,
        "signer": signer.principal if signer else None,
    }


def event_answer(row: Row) -> dict[str, Any]:
    """One event as JSON."""
    event = row.event
    return {
        "number": row.number,
        "digest": row.entry.digest,
        "event_type": event.event_type,
        "at_utc": event.at_utc,
        "local_timezone": event.local_timezone,
        "place": event.place,
        "reason": event.reason,
        "released_by": party_answer(event.released_by, row.released),
        "received_by": party_answer(event.received_by, row.received),
        "serials": event.serials,
        "unlock": unlock_answer(event),
        "counts": row.counts,
    }


def unlock_answer(event: CustodyEvent) -> dict[str, Any] | None:
    """Which keys were issued to whom, as JSON; None of an event in which none were."""
    if not event.unlock:
        return None
    said = event.unlock
    return {
        "shipment": said.shipment,
        "seal_blake3": said.seal.blake3,
        "job": said.job,
        "recipients": said.recipients,
        "valid_until": said.valid_until,
        "keys": said.keys,
        "file_bytes": said.file.bytes,
        "file_blake3": said.file.blake3,
    }


def drive_answer(drive: DriveState) -> dict[str, Any]:
    """One drive as JSON."""
    return {
        "serial": drive.serial,
        "declared": drive.declared,
        "held_by": [
            {
                "name": held.by.name,
                "org": held.by.org,
                "since": held.row.event.at_utc,
                "event": held.row.entry.digest,
                "seal": held.seal,
            }
            for held in drive.held
        ],
        "arrived": drive.arrived,
        "events": list(drive.events),
    }


def finding_answer(finding: Finding) -> dict[str, Any]:
    """One finding as JSON."""
    return {
        "kind": finding.kind,
        "text": finding.text,
        "events": list(finding.events),
        "serials": list(finding.serials),
        "settled_by": finding.settled_by,
    }


def show_account(account: Account) -> None:
    """The timeline, the drives by who has them, and what there is to look at, to stderr."""
    from sealift.trade.custody_graph import SETTLED_BY

    say = common.say
    say(f"{account.consignment_id}: {counted(len(account.rows), 'event')}")
    for row in account.rows:
        say(f"  {row_line(row)}")
    say("drives:")
    for who, serials in _holders(account.drives).items():
        say(f"  {who}: {_list(serials)}")
    settled = [each for each in account.findings if not each.open]
    _show_settled("settled", [each for each in settled if not each.by_officer])
    _show_settled("settled by the officer", [each for each in settled if each.by_officer])
    show_findings(account.open)
    kinds = {each.kind for each in account.open}
    by = {SETTLED_BY.get(each) for each in kinds - {"awaited"}}
    if kinds & {"uncountersigned", "awaited"}:
        say("hint: whoever has not signed yet does, on any copy: sealift handover LOG --countersign DIGITS ...")
    if by & {"two", "receiver"}:
        say("hint: what is cleared up, a next event of the same drives settles: `resolves` names the events' digits,")
        say(
            "      `reason` says how, and two persons sign it with keys: one whom the declaration names, and no carrier"
        )
        say("      (a `discrepancy`, of drives at rest, is then no further one)")
    if "officer" in by:
        say("hint: that drives went on as they might not, the officer alone settles whose key signed the release, and")
        say("      who had no part in it: `resolves` of an event of the same drives; `discrepancy` is one")
    if not account.open:
        say("whole: every event holds, and nothing is open")


def _show_settled(title: str, settled: Sequence[Finding]) -> None:
    if settled:
        common.say(f"{title}:")
        common.say_list((f"{finding_line(each)}; by {str(each.settled_by)[:SHORT]}" for each in settled), len(settled))


def show_drive(account: Account, serial: str) -> None:
    """One drive: its events, with its seals, who has it, and what there is to look at; BadInput for an unknown one."""
    found = [drive for drive in account.drives if drive.serial == serial]
    if not found:
        from sealift.errors import BadInput

        raise BadInput(f"{serial!r} is neither declared nor in the log")
    for row in account.rows:
        for item in row.event.items:
            if serial in item.serials:
                checked = f" ({item.seal_checked.replace('_', ' ')})" if item.seal_before else ""
                before = _seal(item.seal_before) + checked
                condition = item.condition.replace("_", " ")
                common.say(row_line(row))
                common.say(f"       {before}, then {_seal(item.seal_after)}; condition {condition}")
    for who, serials in _holders(found).items():
        common.say(f"{_list(serials)}: {who}")
    show_findings([each for each in account.open if serial in each.serials or not each.serials])


def show_findings(findings: Sequence[Finding]) -> None:
    """Open findings, one a line; those that do not hold first."""
    if findings:
        common.say("to look at:")
        ordered = sorted(findings, key=lambda each: each.holds)
        common.say_list((finding_line(each) for each in ordered), len(ordered))


def row_line(row: Row) -> str:
    """An event in one line: number, digest, time, what, where, whose hands."""
    event = row.event
    at = f"{event.at_utc}{_local(event)}"
    hands = event.released_by.words
    if event.changes_hands:
        hands += f" -> {event.received_by.words}"
    signed = ", ".join(_signed(row))
    what = event.event_type.replace("_", " ")
    about = counted(len(event.serials), "drive")
    if event.unlock:
        said = event.unlock
        about = f"{counted(said.keys, 'key')} for job {said.job} until {said.valid_until}"
    return f"{row.number:>3}  {row.entry.digest[:SHORT]}  {at}  {what}: {about}, {hands}, {event.place}; {signed}"


def finding_line(finding: Finding) -> str:
    """A finding in one line."""
    where = f" (event {' '.join(each[:SHORT] for each in finding.events[:4])})" if finding.events else ""
    drives = f"{_list(finding.serials)}: " if finding.serials else ""
    return f"{finding.kind}: {drives}{finding.text}{where}"


def _signed(row: Row) -> Iterable[str]:
    if not row.counts:
        yield "NOT SIGNED"
        return
    for party, signer in row.sides:
        if signer:
            yield f"signed by {signer.principal}"
        elif party.key_fingerprint:
            yield f"NOT YET SIGNED by {party.name}"
        else:
            yield f"by hand on paper, not by key: {party.name}"


def _local(event: CustodyEvent) -> str:
    """The time at the place, where its zone is known: " (14:30 +08:00)"."""
    from sealift.trade.custody_form import zone as zone_of

    zone = zone_of(event.local_timezone)
    if zone is None:
        return ""
    try:
        at = event.at.astimezone(zone)
    except OverflowError:
        return ""
    offset = at.strftime("%z")
    return f" ({at:%H:%M} {offset[:3]}:{offset[3:5]})"


def _holders(drives: Sequence[DriveState]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for drive in drives:
        since = [f"{held.by.words} since {held.row.event.at_utc}, {_seal(held.seal)}" for held in drive.held]
        who = " AND ALSO ".join(since) or "nobody"
        who += "" if drive.declared else ", NOT DECLARED"
        found.setdefault(who, []).append(drive.serial)
    return found


def _seal(number: str) -> str:
    return f"seal {number}" if number else "no seal"


def _list(serials: Sequence[str]) -> str:
    shown = " ".join(serials[:8])
    return shown + (f" and {len(serials) - 8:,} more" if len(serials) > 8 else "")
