"""The receipt from what verify found: reports of every host in, the receiver's signed statement out.

    weigh    reports + the seal -> a state for every drive and group (pure)
    make     -> ReceiptRecord, signed, and checked as its reader will (trade/receipt.py)
    write    -> NAME.receipt.json(.sig); the one that was there is kept

What holds: a receipt never says more than the reports. A reading of a drive counts if it was read to its end, under
exactly this seal and the manifest that it names, at a time between the sealing (but for what two clocks may differ)
and now, and if the report says how many faults it found; whatever else is there counts as not read, and why is told.
Of one medium the newest reading counts.
The same reports in any order, merged on the way or not, say the same. docs/spec/receipt.md has the rules by number.

Reports are not signed: the receiver answers for them, and the receipt names them by digest. One that contradicts itself
or the seal is refused (receive_report.py). What is not here: reading drives (verify.py), who is told what
(trade/discrepancy.py), words.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from blake3 import blake3
from msgspec import UNSET, UnsetType

from sealift.errors import BadInput, FormatError, NotAllHere, Refused
from sealift.formats import manifest as mf
from sealift.formats.manifest import FileRef
from sealift.formats.sshsig import MAX_ARMORED
from sealift.reading import trust
from sealift.reading.survey_views import Survey
from sealift.stages import verify_join as join
from sealift.stages.origin import carriers, of_seal
from sealift.stages.receive_report import contradiction
from sealift.stages.verify_report import VerifyReport
from sealift.trade import clocks, source_release
from sealift.trade import receipt as receipts
from sealift.trade.receipt import Receipt, ReceiptDrive, ReceiptGroup, ReceiptRecord, Receiver, State
from sealift.trade.signing import make_folder, read_limited, write_pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgspec import UnsetType

    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.formats.seal import SealGroup
    from sealift.reading.trust import TrustedSeal
    from sealift.stages.verify_join import Case
    from sealift.stages.verify_report import GroupReport, Present, Report
    from sealift.trade.receipt import ReadFrom
    from sealift.trade.signing import Signer

CLOCKS = timedelta(seconds=2)  # for which the next receipt waits, so that it is later than the one that it supersedes
MAX_NOTES = 1_000


class Weighed(NamedTuple):
    """What the reports come to. `why` says of a drive that is in a report, and does not count, why it does not."""

    groups: list[ReceiptGroup]
    reports: list[FileRef]
    why: dict[str, str]
    notes: list[str]


class Made(NamedTuple):
    """A receipt that was made, or was there already and says the same (`new` is false), and where it lies."""

    receipt: Receipt
    path: str
    new: bool
    superseded: str | None


class _Slot(NamedTuple):
    """A drive's place: its state, when that was read, and the readings that count, one a medium."""

    state: State
    read_at: str
    readings: list[Present]
    made_on: str | UnsetType = UNSET  # of another medium that was read in its place


def weigh(trusted: TrustedSeal, parts: Sequence[tuple[str, bytes]], now: datetime, *, final: bool = False) -> Weighed:
    """A state for each group of which something was read; with `final`, when no more drives will come, for all.

    `parts` are names and bytes of reports of verify or inspect. BadInput for a file that is none, or is not of this
    shipment and these manifests, or that contradicts itself; Refused where one saw a seal that supersedes this one.
    """
    given = {blake3(data).hexdigest(): (name, data) for name, data in sorted(parts, reverse=True)}
    if not 1 <= len(given) <= receipts.MAX_REPORTS:
        raise BadInput(
            f"{len(given):,} reports are given; 1 to {receipts.MAX_REPORTS:,} are wanted",
            hint="what `sealift verify --json` printed, of each host",
        )
    found = Survey(trusted.seal.shipment, [], [], trusted.seal, trusted, "file", [], [])
    known, reports = join.cases(found, [given[digest] for digest in sorted(given)])
    for name, report in reports:
        _not_superseded(name, report, trusted)
        if (wrong := contradiction(report, trusted.seal.groups)) is not None:
            raise BadInput(
                f"{name} contradicts itself or the seal: {wrong}",
                hint="give the file as `sealift verify --json` wrote it: the receiver who signs answers for it",
            )
    rules = _Rules(trusted, reports, now)
    why: dict[str, str] = {}
    groups = []
    for sealed in trusted.seal.groups:
        group = _group(sealed, known[sealed.group], rules, why, final=final)
        if group is not None:
            groups.append(group)
    files = [FileRef(bytes=len(given[digest][1]), blake3=digest) for digest in sorted(given)]
    return Weighed(groups, files, why, _notes(reports, rules))


def _not_superseded(name: str, report: Report, trusted: TrustedSeal) -> None:
    newer = report.seal.superseded_by if report.seal is not None else None
    if newer is not None and newer.revision > trusted.declaration.revision:
        raise Refused(
            f"{name}: the seal given, of revision {trusted.declaration.revision}, is superseded: {newer.mount} has"
            f" a seal that holds, of revision {newer.revision}",
            hint=f"sealift verify MNT... --seal {newer.mount} --json > REPORT.json, then this with the same --seal",
        )


class _Rules:
    """Which readings count, and which are of one medium."""

    def __init__(self, trusted: TrustedSeal, reports: Sequence[tuple[str, Report]], now: datetime) -> None:
        self._seal = trusted.reference.seal.blake3
        self._sealed_at, self._said, self._now = trust.sealed_at(trusted.seal), trusted.seal.sealed_at, now
        self._groups: dict[int, list[GroupReport]] = {}
        self._drives: dict[str | None, set[str]] = {None: set()}  # serial number of a medium -> drives that it was
        for _, report in reports:
            for group in report.groups:
                self._groups.setdefault(group.group, []).append(group)
                for copy in group.present:
                    self._drives.setdefault(copy.medium, set()).add(copy.drive)

    def serial(self, copy: Present) -> str | None:
        """The serial number of the medium; None where it tells none, or one that several drives tell (of a hub)."""
        return copy.medium if len(self._drives[copy.medium]) == 1 else None

    def made_on(self, copy: Present) -> str | UnsetType:
        """The serial number of a medium on which a drive was made again, "" where it tells none; UNSET of the drive."""
        medium = self.serial(copy)
        return UNSET if not copy.rebuilt or mf.is_medium_of(medium, copy.serial) else medium or ""

    def medium(self, copy: Present) -> str:
        """What tells one medium of a drive's place from another."""
        return self.serial(copy) or copy.mount

    def vouched(self, case: Case) -> bool:
        """Whether one report says that the readings of it, which all still count, give every byte.

        Whoever has the drives knows how long each pack is; here every pack that is gone counts as long as any.
        """
        now = {(slot, self.medium(each)): each for slot, readings in case.copies.items() for each in readings}

        def counts(copy: Present) -> bool:
            found = now.get((copy.slot, self.medium(copy)))
            return found is not None and (found.read_at, found.damage) == (copy.read_at, sorted(copy.damage))

        return any(
            group.recoverable_bytes == group.total_bytes == case.total_bytes and all(map(counts, group.present))
            for group in self._groups.get(case.group, [])
            if group.trusted and group.present
        )

    def objection(self, copy: Present) -> str | None:
        """Why a reading does not count; None: it does."""
        if copy.predecessor is not None:
            return f"{copy.predecessor} was read in its place, which was replaced by it before the drives were signed"
        if copy.bag:
            return "packs of it were read that were brought for it, and not the drive"
        if copy.unreached is not None:
            return "its host did not give all of it"
        if not copy.verified:
            return "it was only looked at (inspect), or nobody trusted signed its manifest"
        if copy.read_at is None or copy.faults is None:
            return "the report does not say when it was read and what was wrong: an earlier sealift made it"
        if copy.against is None:
            return "it was read without a seal that holds"
        if copy.against != self._seal:
            return "it was read against another seal than this one"
        at = receipts.instant(copy.read_at, "report")
        if at > self._now:
            return f"it was read at {copy.read_at}, which is still to come: a clock is wrong"
        if clocks.is_ahead(self._sealed_at, at):  # though it was read against the seal, which was there before it
            return f"it was read at {copy.read_at}, before the shipment was sealed at {self._said}: a clock is wrong"
        return None


def _group(sealed: SealGroup, case: Case, rules: _Rules, why: dict[str, str], *, final: bool) -> ReceiptGroup | None:
    """What is said of a group; None: nothing, as nothing of it was read."""
    slots = [_slot(case.copies.get(slot, []), rules, final=final) for slot in range(len(sealed.drives))]
    for at, row in enumerate(sealed.drives):
        reasons = [why_not for copy in case.copies.get(at, []) if (why_not := rules.objection(copy))]
        if slots[at].state == "unseen" and reasons:
            why[row.id] = "; ".join(sorted(set(reasons)))
    case = dataclasses.replace(case, copies={at: slot.readings for at, slot in enumerate(slots) if slot.readings})
    if not case.copies and not final:
        return None
    return ReceiptGroup(
        group=sealed.group,
        manifest=sealed.manifest,
        data=sealed.data,
        parity=sealed.parity,
        state=_state(case, [slot.state for slot in slots], rules),
        drives=[
            ReceiptDrive(
                id=row.id,
                number=row.number,
                serial=row.serial,
                state=slot.state,
                read_at=slot.read_at,
                read_from=_read_from(slot),
                made_on=slot.made_on,
            )
            for row, slot in zip(sealed.drives, slots, strict=True)
        ],
    )


def _slot(copies: Sequence[Present], rules: _Rules, *, final: bool) -> _Slot:
    media: dict[str, list[Present]] = {}
    for copy in copies:
        if rules.objection(copy) is None:
            media.setdefault(rules.medium(copy), []).append(copy)
    if not media:
        own = [copy for copy in copies if not copy.apart]
        return _Slot("lost" if final and not own else "unseen", "", [])
    last = {medium: _newest(each) for medium, each in media.items()}
    clean: dict[State, list[Present]] = {}
    for medium, reading in last.items():
        if _is_clean(reading):
            again = reading.rebuilt or not all(map(_is_clean, media[medium]))
            clean.setdefault("rebuilt" if again else "intact", []).append(reading)
    state: State = "intact" if "intact" in clean else "rebuilt" if clean else "lost"
    of = clean.get(state) or list(last.values())
    of = [each for each in of if rules.made_on(each) is UNSET] or of  # the drive itself, where it was read
    newest = max(of, key=lambda each: (str(each.read_at), rules.serial(each) or ""))
    return _Slot(state, str(newest.read_at), list(last.values()), rules.made_on(newest))


def _read_from(slot: _Slot) -> ReadFrom | UnsetType:
    """How it was read at that time: of several readings the way that says least, and nothing where one does not say."""
    ways = {each.read_from for each in slot.readings if each.read_at == slot.read_at}
    return UNSET if None in ways else next((way for way in receipts.WEAKEST if way in ways), UNSET)


def _is_clean(reading: Present) -> bool:
    return not reading.damage and reading.faults == 0


def _newest(readings: Sequence[Present]) -> Present:
    """The newest reading of a medium; of several of one second, all that they found."""
    at = max(str(each.read_at) for each in readings)
    last = [each for each in readings if each.read_at == at]
    ways = {each.read_from for each in last}
    return msgspec.structs.replace(
        last[0],
        damage=sorted({run for each in last for run in each.damage}),
        lacks=sorted({name for each in last for name in each.lacks}),
        faults=max(each.faults or 0 for each in last),
        read_from=None if None in ways else next(way for way in receipts.WEAKEST if way in ways),
        rebuilt=any(each.rebuilt for each in last),
    )


def _state(case: Case, drives: Sequence[State], rules: _Rules) -> State:
    if case.is_lost(final=False):
        return "lost"
    if "unseen" in drives:
        return "unseen"
    if set(drives) == {"intact"}:
        return "intact"
    if not case.copies or (case.is_lost(final=True) and not rules.vouched(case)):
        return "lost"
    return "rebuilt"


def _far(copy: Present) -> str:
    """That it was not a medium of the receiver's that was read; a bucket has no host on which that could be done."""
    if copy.in_bucket:
        return (
            f"{copy.drive} was read in a bucket, as the copy {copy.at}: what this says is said of the copy, not of the"
            " drive"
        )
    return f"{copy.drive} was read over the network, from {copy.at}: verify it on its own host"


def _notes(reports: Sequence[tuple[str, Report]], rules: _Rules) -> list[str]:
    """What else a receiver should know before signing, the same for the same reports in any order."""
    notes = set()
    for name, report in reports:
        here = [copy for group in report.groups for copy in group.present if copy.at is None]
        if isinstance(report, VerifyReport) and report.read_from == "cache" and here:
            notes.add(f"{name}: it was read through the cache there, not from the medium alone")
        for group in report.groups:
            for copy in group.present:
                if copy.at is not None and copy.verified:
                    notes.add(_far(copy))
                medium = None if copy.apart else rules.serial(copy)
                if medium and medium != copy.serial and not copy.rebuilt:
                    notes.add(f"{copy.drive} was packed on {copy.serial}, and was read on medium {medium}")
    return [join.words(note) for note in sorted(notes)[:MAX_NOTES]]


# --- signed, and written


def path_of(folder: str, consignment_id: str) -> str:
    """Where the receipt of a consignment lies."""
    return os.path.normpath(os.path.join(folder, f"{consignment_id}.receipt.json"))


def receive(
    trusted: TrustedSeal,
    weighed: Weighed,
    receiver: Receiver,
    signer: Signer,
    allowed: AllowedSigners,
    folder: str,
    now: datetime,
    *,
    seal: str | None = None,
    custody: str | None = None,
) -> Made:
    """Sign what was weighed as `receiver`, and write it into `folder`; the seal lies at `seal`, a log at `custody`.

    A receipt that is there is kept under a number; one that says the same but for its time stays as it is. Raises
    NotAllHere when nothing was read, Refused for a key of somebody of the origin or of a carrier, SignatureInvalid for
    one that does not count, BadInput for a folder that cannot be written.
    """
    if not weighed.groups:
        first = next(iter(sorted(weighed.why.items())), None)
        said = f": {first[0]}: {first[1]}" if first else ""
        hint = "sealift verify MNT... --seal FILE --json > REPORT.json, with this seal; then this again"
        if told := clocks.seal_ahead(trust.sealed_at(trusted.seal), now):
            said += f"; {told}"
            hint = (
                "if this clock is right, the origin sets its own and runs `sealift seal` again, which makes a new seal"
                f" to read against; if this one is behind, set it. {hint}"
            )
        raise NotAllHere(f"no drive was read to its end against this seal{said}", hint=hint)
    source_release.refuse_origin(signer.public_key.fingerprint, of_seal(trusted, seal, allowed), allowed)
    source_release.refuse_carrier(signer.public_key.fingerprint, carriers(trusted, custody, allowed, now), allowed)
    path = path_of(folder, trusted.seal.consignment_id)
    before = _before(path, allowed)
    record = record_of(trusted, weighed, receiver, now)
    if before is not None:
        if _same(before, record, signer):
            return Made(before, path, new=False, superseded=None)
        record = msgspec.structs.replace(record, at=_later(path, before, now).strftime(receipts.TIME))
    data = receipts.encode(record)
    signature = signer.sign(data, receipts.NAMESPACE)
    receipt = receipts.check_receipt(data, signature, allowed)
    make_folder(folder)
    return Made(receipt, path, new=True, superseded=write_pair(path, data, signature))


def record_of(trusted: TrustedSeal, weighed: Weighed, receiver: Receiver, now: datetime) -> ReceiptRecord:
    """What the receiver signs of what was weighed, which must speak of a group."""
    seal = trusted.seal
    return ReceiptRecord(
        shipment=seal.shipment,
        consignment_id=seal.consignment_id,
        rehearsal=seal.rehearsal,
        declaration=seal.declaration,
        seal=trusted.reference.seal,
        received_by=receiver,
        at=now.astimezone(UTC).strftime(receipts.TIME),
        reports=weighed.reports,
        groups_total=len(seal.groups),
        drives_total=sum(len(group.drives) for group in seal.groups),
        groups=weighed.groups,
    )


def _before(path: str, allowed: AllowedSigners) -> Receipt | None:
    """The receipt that is there, if there is one that holds; another is kept, and not looked at further."""
    if not (os.path.lexists(path) and os.path.lexists(path + ".sig")):
        return None
    data = read_limited(path, receipts.MAX_RECEIPT, "receipt")
    signature = read_limited(path + ".sig", MAX_ARMORED, "the receipt's signature")
    with contextlib.suppress(FormatError, Refused):
        return receipts.check_receipt(data, signature, allowed)
    return None


def _same(before: Receipt, record: ReceiptRecord, signer: Signer) -> bool:
    return (
        before.fingerprint == signer.public_key.fingerprint
        and msgspec.structs.replace(before.record, at=record.at) == record
    )


def _later(path: str, before: Receipt, now: datetime) -> datetime:
    """A time after that of the receipt which is superseded: the later of two counts."""
    ahead = before.at + timedelta(seconds=1) - now
    if ahead > CLOCKS:
        raise Refused(
            f"{path}: the receipt that is there says {before.record.at}, which is still to come: the clock by which it"
            " was signed was ahead, or this host's is behind; nothing was written",
            hint=f"look at both clocks. If this one is behind, set it. If that one was ahead, move {path} and its .sig"
            " out of the folder, verify again what was read in the future, and sign the next receipt; tell the origin"
            " to strike the one that it has",
        )
    if ahead > timedelta(0):
        time.sleep(ahead.total_seconds())
        return before.at + timedelta(seconds=1)
    return now
