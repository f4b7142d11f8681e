"""What the records of an audit bundle hold together, and which rules of the house they keep.

    judge    names and bytes of a bundle, allowed signers, a time -> findings, each of one file, and what holds

What holds: each signature is judged in its one namespace at the time that its record states; each binding between two
records by length and digest; each rule of the house at the time at which it had to hold, by the functions that hold it
when the records are made. Nothing is raised for what the bytes say, whoever wrote them. The same files, signers and
time give the same findings.

What is not here: what the origin makes (audit_origin.py), the archive and its index (audit.py), words for people
(cli/audit.py).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from sealift.errors import FormatError, SealiftError, SignatureInvalid
from sealift.formats import audit
from sealift.formats.sizes import counted
from sealift.reading import trust
from sealift.stages import audit_later, audit_origin, audit_where, custody_log, erase_known
from sealift.stages.audit_case import Case, Entry, Finding, Judged, State, about, some
from sealift.trade import audit as audits
from sealift.trade import (
    certificate,
    clocks,
    custody,
    custody_event,
    erasure,
    persons,
    receipt,
    release,
    source_release,
)
from sealift.trade.custody_terms import Reign, Terms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.formats.audit import Kind
    from sealift.trade.custody import Account, Row
    from sealift.trade.custody_event import Party
    from sealift.trade.source_release import SourceRelease


def judge(files: Mapping[str, bytes], allowed: AllowedSigners, now: datetime) -> Judged:
    """Look at every record; `now` is the aware time after which nothing in it can have happened."""
    judged = Judged()
    shipments = [Case(each, files, allowed, now, judged) for each in audit.shipments(files)]
    for each in shipments:
        audit_origin.look(each)
        _custody(each)
        audit_origin.fallen(each)
        audit_where.left_unsealed(each)
        _receipts(each)
        _source_releases(each)
        audit_where.carriers(each)
        _drives(each)
        _certificates(each)
        _bound(each)
    _replies(shipments, judged)
    return judged


def _replies(shipments: Sequence[Case], judged: Judged) -> None:
    """Whether each return leg answers the seal that it names."""
    seals = {sealed.ground.file.blake3: sealed for each in shipments for sealed in each.seals}
    for each in shipments:
        for sealed in each.seals:
            reply = sealed.trusted.seal.in_reply_to
            if not reply:
                continue
            outbound = seals.get(reply.seal.blake3)
            if outbound is None:
                text = f"the seal of {reply.consignment_id} that it answers is not here"
                judged.findings.append(Finding(sealed.path, "missing", text))
                continue
            mine = outbound.trusted.declaration
            of = [one.trusted for case in shipments if case.id == mine.consignment_id for one in case.seals]
            later = [one.seal for one in of if one.declaration.revision > mine.revision]
            try:
                trust.check_reply(sealed.trusted, outbound.trusted, later)
            except SealiftError as error:
                judged.findings.append(Finding(sealed.path, "wrong", str(error)))
            else:
                judged.holds.append(f"{each.id} answers {reply.consignment_id}")


# --- custody

_TRAVELLED: tuple[Kind, ...] = ("receipt", "certificate")  # nobody writes one of drives that are still at home


def _custody(case: Case) -> None:
    beneath = f"{case.folder}custody/"
    named = {path.removeprefix(beneath): data for path, data in case.files.items() if path.startswith(beneath)}
    terms = case.terms = _terms(case)
    if not named:
        went = [each.path for kind in _TRAVELLED for each in case.of(kind)]
        carried = [serial for serial in case.serials() if not serial.startswith(custody.BY_NETWORK)]
        if went and carried:
            names = some([path.rpartition("/")[2] for path in went])
            case.say(beneath, "look", f"no custody log is here, and by {names} the drives have travelled")
        else:
            case.say(beneath, "pending", "no custody log is here")
        return
    if len(case.of("custody-event")) > custody_event.MAX_COUNT or len(named) > custody_log.MAX_FILES:
        case.say(beneath, "wrong", f"more than {custody_event.MAX_COUNT:,} events: no custody log has so many")
        return
    for name, data in sorted(named.items()):
        wanted = name[65:81] if name.endswith(".sig") else name[:64]
        if not audits.digest(data).startswith(wanted):
            case.say(beneath + name, "wrong", "it is not what its name says: it was altered")
    places = {name[:64]: name for name in sorted(named, key=len, reverse=True)}  # of each event: itself, or a signature
    copy = custody_log.of_files(sorted(named.items()))
    serials = case.serials()
    found = custody.assess(
        copy, consignment_id=case.id, serials=serials, allowed=case.allowed, now=case.now, terms=terms
    )
    case.account = found
    settled = []
    for each in found.findings:
        if not each.open:
            by = next(row for row in found.rows if row.entry.digest == each.settled_by)
            whom = "by the officer " if each.by_officer else ""
            text = f"{each.text}{about(each.serials)}; settled {whom}in event {by.number}: {by.event.reason}"
            if each.by_officer:
                case.say(f"{beneath}{each.events[0]}.json", "look", text)
            else:
                settled.append(text)
            continue
        if each.kind == "unheld":
            due: State = "look" if case.of("receipt") else "pending"
            case.say(beneath, due, f"{each.text}{about(each.serials)}")
            continue
        if each.kind == "revision":
            case.say(beneath, "missing", f"{each.text}{about(each.serials)}")
            continue
        digest = next((d for d in each.events if f"{d}.json" in named), each.events[0] if each.events else "")
        path = beneath + places.get(digest, "")
        wrong = each.kind == "unreleased" or not each.holds
        case.say(path, "wrong" if wrong else "look", f"{each.text}{about(each.serials)}")
    _unlocked(case, found, beneath)
    hands = [(row, party) for row in found.rows if row.counts for party in row.by_hand]
    if found.exit_code == 0:
        events = f"custody: {counted(len(found.rows), 'event')}"
        if hands:
            keyed = sum(signer is not None for row in found.rows for _, signer in row.sides)
            case.hold(f"{events}, {counted(keyed, 'side')} signed by key, {len(hands):,} by hand on paper, not by key")
        else:
            case.hold(f"{events}, each signed by key by those whom it names")
        for text in settled:
            case.hold(f"custody: {text}")
    _by_hand(case, hands)


def _by_hand(case: Case, hands: Sequence[tuple[Row, Party]]) -> None:
    """Who signed by hand, with their photographs, which are their signatures, or that these are not here."""
    kept: dict[bool, list[str]] = {True: [], False: []}
    for row, party in hands:
        path = f"{case.folder}photographs/{party.paper_sha256}"
        here = hashlib.sha256(case.files.get(path, b"")).hexdigest() == party.paper_sha256
        kept[here].append(f"{party.words} in event {row.number}")
        if path not in case.files:
            text = f"the photograph of the paper that {party.words} signed by hand, not by key, in event {row.number}"
            case.say(path, "missing", f"{text}, {row.entry.digest[:12]}, is not here")
    for here, words in ((True, "the photograph is here"), (False, "the photograph is NOT here")):
        if kept[here]:
            case.hold(f"custody: by hand on paper, not by key; {words}: {some(kept[here])}")


def _terms(case: Case) -> Terms | None:
    """Releases as `sealift custody` has them, of what the bundle has; None where it has no declaration."""
    parsed = [each for _, each in case.revisions.values()]
    if not parsed:
        return None
    reigns = [
        Reign(release.released_at(each.release.record), each.declaration.revision, each.declaration,
              audit_origin.against(case, each), "", each.release.principal, each.release.record.officer,
              each.release.person, case.ended.get(each.entry.digest, ()))
        for each in case.released
    ]  # fmt: skip
    for entry in case.of("release"):
        record = entry.record
        if record.declaration.blake3 not in case.revisions:
            lacks = f"declaration.r{record.revision}.toml, which {entry.path.rpartition('/')[2]} releases, is not here"
            reigns.append(Reign(release.released_at(record), record.revision, None, (), lacks))
    top = max([*(each.revision for each in parsed), *(each.revision for each in reigns)])
    lacking = {number: f"declaration.r{number}.toml, or a release of it, is not here" for number in range(1, top)}
    return Terms(max(parsed, key=lambda each: each.revision), reigns, lacking, case.origin)


def _unlocked(case: Case, found: Account, beneath: str) -> None:
    """Keys were issued for a seal that is here, of its shipment."""
    jobs = 0
    for row in found.rows:
        if not row.event.unlock or not row.counts:
            continue
        said, path = row.event.unlock, f"{beneath}{row.entry.digest}.json"
        sealed = next((each for each in case.seals if each.ground.file == said.seal), None)
        if sealed is None:
            if case.find("seal", said.seal.blake3) is None:
                case.say(f"{case.folder}seal/", "missing", f"the seal for which keys were issued to job {said.job}")
            continue
        seal = sealed.trusted.seal
        why = ""
        if seal.shipment != said.shipment:
            why = f"keys of shipment {said.shipment} were issued by the seal of {seal.shipment}"
        if why:
            case.say(path, "wrong", why)
        elif clocks.is_ahead(trust.sealed_at(seal), row.event.at):
            text = f"keys were issued at {row.event.at_utc}, before the shipment was sealed at {seal.sealed_at}"
            case.say(path, "look", f"{text}; they name the seal, which was there: a clock was wrong")
        else:
            jobs += 1
    if jobs:
        case.hold(f"custody: keys were issued {counted(jobs, 'time')}, each for a seal that is here")


# --- receipts, and the release of the source


def _receipts(case: Case) -> None:
    for entry, signature in case.signed("receipt"):
        found = case.attempt(entry.path, receipt.check_receipt, entry.data, signature, case.allowed)
        if found is None:
            continue
        sealed = next((each for each in case.seals if each.ground.file == found.record.seal), None)
        if sealed is None:
            case.say(entry.path, "missing", f"the seal that it is of (BLAKE3 {found.record.seal.blake3}) is not here")
            continue
        why = source_release.objections_to(sealed.ground, found, case.now + clocks.SKEW)
        for each in why:
            case.say(entry.path, "wrong", f"it {each}")
        if not why:
            case.receipts.append((entry, found))
            verified = sum(group.state in receipt.VERIFIED for group in found.record.groups)
            case.hold(
                f"receipt of {found.record.at} by {found.record.received_by.name}: {verified:,} of"
                f" {found.record.groups_total:,} groups verified"
            )
    late = audit_later.late(case)
    for entry, one in case.receipts:
        if one.file.blake3 in late:
            text = f"it is of {late[one.file.blake3]}: what it speaks of is to be verified under the newer one"
            case.say(entry.path, "look", text)
    if case.seals and not case.of("receipt"):
        case.say(f"{case.folder}receipt.1.json", "pending", "nobody has signed a receipt yet")


def _source_releases(case: Case) -> None:
    for entry, signature in case.signed("source-release"):
        check = source_release.check_source_release
        found = case.attempt(entry.path, check, entry.data, signature, case.allowed)
        if found is not None:
            case.freed.append((entry, found))
            if _freed_right(case, entry, found):
                case.hold(f"the source may be freed, as {found.principal} signed at {found.record.at}")
    if case.receipts and not case.of("source-release"):
        path = f"{case.folder}source-release.1.json"
        case.say(path, "pending", "nobody has signed that the source may be freed")


def _freed_right(case: Case, entry: Entry, found: SourceRelease) -> bool:
    record = found.record
    sealed = next((each for each in case.seals if each.ground.file == record.seal), None)
    if sealed is None:
        case.say(entry.path, "missing", f"the seal that it is of (BLAKE3 {record.seal.blake3}) is not here")
        return False
    digests = {each.file.blake3 for _, each in case.receipts}
    absent = [row.receipt.blake3 for row in record.receipts if row.receipt.blake3 not in digests]
    if absent:
        case.say(entry.path, "missing", f"receipts on which it rests are not here, or do not hold: {some(absent)}")
        return False
    at = receipt.instant(record.at, "source-release.json")
    then = [each for _, each in case.receipts if each.record.seal == record.seal and each.at <= at]
    why = source_release.objections(sealed.ground, then, at, accept_missing=True)  # which it has to say, below
    if any(persons.same(found.person, each.person) for each in then):
        why.append(f"{found.principal} signed a receipt that was there: who received does not free the source, too")
    why += [f"group {row.group}: {row.why}" for row in source_release.lacking(sealed.ground, then)]
    why += audit_later.freed(case, sealed, at)
    seal = sealed.trusted.seal
    if (record.shipment, record.rehearsal, record.declaration, record.groups_total, record.shortfall) != (
        seal.shipment, seal.rehearsal, seal.declaration, len(seal.groups), seal.shortfall,
    ):  # fmt: skip
        why.append("it contradicts the seal that it names")
    if not why and source_release.counted(then) != record.receipts:
        why.append("it rests on other receipts than those that counted then")
    for each in why:
        case.say(entry.path, "wrong", each)
    return not why


def _drives(case: Case) -> None:
    """Every declared drive: received, or said to be lost; a drive of which nobody says anything is named."""
    if not case.receipts or not case.seals:
        return
    states = audit_later.last_word(case)
    findings = case.account.findings if case.account else ()
    officers = {each.settled_by for each in findings if each.by_officer}
    told = {
        serial
        for row in (case.account.rows if case.account else ())
        if row.counts and row.event.event_type == "discrepancy" and row.entry.digest not in officers
        for serial in row.event.serials
    }
    due: State = "look" if case.freed or case.of("certificate") else "pending"
    came = audit_where.came(case.account, case.terms, case.allowed) if case.account and case.terms else {}
    for serial in case.serials():
        state, of, remade = states.get(serial, ("unseen", None, False))
        path = next((e.path for e, one in case.receipts if one is of), f"{case.folder}receipt.1.json")
        if state == "unseen" and serial not in told:
            case.say(path, due, f"drive {serial} is declared, and neither received nor said to be missing")
        elif state == "lost" and serial not in told:
            case.say(path, "look", f"drive {serial} is lost, and no discrepancy of it is in the custody log")
        elif remade and case.account and serial not in told and serial not in came:
            text = f"of drive {serial} only what was made again on another medium was read; by the custody log it never"
            case.say(path, "look", f"{text} came to the site, and no discrepancy of it is there")
    audit_where.whereabouts(case, states, came)


# --- erasure


def _certificates(case: Case) -> None:
    done, media, late = list[str](), list[_Medium](), audit_later.late(case)
    declared = {drive.serial for _, each in case.revisions.values() for drive in each.drives}
    for entry, signature in case.signed("certificate"):
        path = entry.path.removesuffix(".json") + ".log.jsonl"
        log = case.files.get(path)
        if log is None:
            case.say(path, "missing", f"the log that {entry.path} binds is not here")
            continue
        try:
            found = certificate.check_certificate(entry.data, signature, log, case.allowed)
        except (SignatureInvalid, FormatError) as error:
            case.say(entry.path, "wrong", str(error))
            continue
        except SealiftError as error:  # the certificate holds, and its log does not
            case.say(path, "wrong", str(error))
            continue
        media.append(_Medium(entry.path, found.record, _marks(log)))
        if _erased_right(case, entry, found.record):
            serial = found.record.media.serial
            done.append(serial)
            if serial not in declared:
                case.say(
                    entry.path,
                    "look",
                    f"{serial} was erased as a drive of the shipment, and no revision here declares it",
                )
            if (why := late.get(found.record.delivery_verified.receipt.blake3)) is not None:
                case.say(entry.path, "look", f"{serial} was erased on a receipt that is of {why}")
            never = _never_read(case, found.record)
            if never and never not in found.record.validation_reasons:
                case.say(entry.path, "look", f"{serial} was erased, and {never}")
            if found.record.validation == "escalate":
                reasons = "; ".join(found.record.validation_reasons)
                case.say(entry.path, "look", f"somebody should look at {found.record.media.serial}: {reasons}")
    _compare(case, media)
    if done:
        case.hold(f"erased: {_erased(case, set(done))}, each after the receipt that permitted it")


def _never_read(case: Case, record: certificate.Certificate) -> str:
    """That by the receipts of then, the erased drive itself had not come; "" where one says that it was read."""
    begun, shipment = receipt.instant(record.begun_at, "certificate.json"), record.shipment
    then = [each for _, each in case.receipts if each.at <= begun and each.record.shipment == shipment]
    return erasure.never_read(record.media.serial, then)


def _erased(case: Case, serials: set[str]) -> str:
    """How many of the shipment's drives, a drive with two certificates once; and which others."""
    drives = case.serials()
    others = sorted(serials - set(drives))
    text = f"{len(serials) - len(others):,} of {counted(len(drives), 'drive')}"
    return text + (f", and {counted(len(others), 'other')} ({some(others)})" if others else "")


class _Medium(NamedTuple):
    """The medium of a certificate; `marks` tell it from every other until it is pulled or its host starts again."""

    path: str
    record: certificate.Certificate
    marks: frozenset[str]


def _marks(log: bytes) -> frozenset[str]:
    """By a log's first line: the kernel's number of the medium, and the file of a loop device, within one boot."""
    begun = erase_known.begun(log)
    mark, drive = begun.get("medium"), begun.get("drive")
    if not isinstance(mark, str):
        return frozenset()
    file = isinstance(drive, str) and drive.startswith("/") and not drive.startswith("/dev/")
    return frozenset({mark, f"{mark.rpartition('/')[0]} {drive}"} if file else {mark})


def _compare(case: Case, media: Sequence[_Medium]) -> None:
    """Certificates of all folders and hosts: one medium is one serial number, and one serial number one medium."""
    by_mark, by_serial = dict[str, _Medium](), dict[str, _Medium]()
    for each in media:
        serial, size = each.record.media.serial, each.record.media.size_bytes
        twins = (by_mark[mark] for mark in sorted(each.marks & by_mark.keys()))
        twin = next((one for one in twins if one.record.media.serial != serial), None)
        if twin is not None:
            of = f"{twin.path} says is {twin.record.media.serial}"
            case.say(each.path, "wrong", f"{serial} is the medium that {of}: one of them was not erased")
        first = by_serial.setdefault(serial, each)
        if first.record.media.size_bytes != size:
            was = f"{first.record.media.size_bytes:,} bytes in {first.path}"
            case.say(each.path, "look", f"{serial} has {size:,} bytes, and {was}: two media under one serial number")
        for mark in each.marks:
            by_mark.setdefault(mark, each)


def _erased_right(case: Case, entry: Entry, record: certificate.Certificate) -> bool:
    """The papers that it names are here, say what it says of them, and permitted it when it began."""
    delivery = record.delivery_verified
    named = next((each for _, each in case.receipts if each.file == delivery.receipt), None)
    if named is None:
        text = f"the receipt that permitted it (BLAKE3 {delivery.receipt.blake3}) is not here, or does not hold"
        case.say(entry.path, "missing", text)
        return False
    declared = []
    for row in record.legal_hold_checked.declarations:
        known = case.revisions.get(row.declaration.blake3)
        if known is None:
            text = f"a declaration that was asked about a legal hold (BLAKE3 {row.declaration.blake3}) is not here"
            case.say(entry.path, "missing", text)
            return False
        of = next((each.release for each in case.released if each.declaration.digest == known[1].digest), None)
        declared.append(erasure.Declared(known[1], of if row.released else None))
        if known[1].legal_hold.strip() != row.legal_hold:
            case.say(entry.path, "wrong", f"{known[0]} says something else of a legal hold")
    begun = receipt.instant(record.begun_at, "certificate.json")
    then = [each for _, each in case.receipts if each.at <= begun and each.record.seal == named.record.seal]
    why = erasure.objection(record.media.serial, then, declared, begun, bears=named.record.shipment)
    facts = (record.shipment, record.rehearsal, delivery.at, delivery.fingerprint)
    if facts != (named.record.shipment, named.record.rehearsal, named.record.at, named.fingerprint):
        why = why or "it says something else of the receipt than that does"
    states = {group.group: group.state for group in named.record.groups}
    if delivery.group is not None and states.get(delivery.group) != delivery.state:
        why = why or f"the receipt says something else of group {delivery.group}"
    why = why or audit_later.hold(case, begun) or None  # one that whoever erased was not given, too
    if why:
        case.say(entry.path, "wrong", f"{record.media.serial} was erased, and might not have been: {why}")
    return why is None


# --- what is bound by digest alone


def _bound(case: Case) -> None:
    """Lists, photographs and reports are what their names say, and what a record names."""
    events = [entry.record for entry in case.of("custody-event")]
    papers = {side.paper_sha256 for each in events for side in (each.released_by, each.received_by)}
    wanted: dict[Kind, set[str]] = {
        "list": {row.sha256 for entry in case.of("screening") for row in entry.record.lists},
        "photograph": {each for event in events for each in event.photo_sha256} | papers,
        "report": {row.blake3 for entry in case.of("receipt") for row in entry.record.reports},
    }
    for path, data in sorted(case.files.items()):
        found = audit.describe(path)
        if found is None or found.kind not in wanted:
            continue
        digest = audits.digest(data) if found.kind == "report" else hashlib.sha256(data).hexdigest()
        if digest != path.rpartition("/")[2].removesuffix(".json"):
            case.say(path, "wrong", "it has another digest than its name says")
        elif digest not in wanted[found.kind]:
            case.say(path, "wrong", "no record here names it")
