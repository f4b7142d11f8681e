"""One picture of the shipment.

The drives here, the other hosts' reports, and the groups that the seal knows of.

What holds: a Case is one group with every copy of every slot that anybody has, whoever has it; `report` adds
up its columns. Another host's report is taken only when it names the same shipment and the same manifests. A
drive that was only inspected is there, and is not verified. Nothing is read here but pack records.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from blake3 import blake3

from sealift.drives.ranges import RemoteDrive
from sealift.errors import BadInput, FormatError
from sealift.formats import manifest as mf
from sealift.formats import seal as seals
from sealift.formats import typed
from sealift.reading import survey_mixed
from sealift.reading.trust import sealed_at
from sealift.stages.verify_report import (
    Fault,
    GroupReport,
    Missing,
    Present,
    Report,
    SealReport,
    Signature,
    SupersededBy,
    VerifyReport,
    path_of,
    read_part,
)
from sealift.stages.verify_verdict import GroupVerdict, add_run, common_damage, judge
from sealift.trade import clocks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sealift.formats.seal import SealGroup
    from sealift.reading.origin_copies import OriginCopies
    from sealift.reading.survey import DriveView, GroupView, Problem, Survey
    from sealift.stages.verify_read import DriveCheck
    from sealift.stages.verify_verdict import Damage, LostPack

INDEXES = (mf.MEMBERS_INDEX, mf.PACKS_INDEX)
_CARRIED = (*INDEXES, mf.BLOCKS)  # what a report names among what a drive lacks
NO_SEAL = "there is no seal: whole groups may be missing, and nobody can say that this is all"
_PART_HINT = "give reports of this shipment only, made against the same seal"


class Judged(NamedTuple):
    """What is to be said of a group: its report, and what the verdict on the shipment is made of."""

    report: GroupReport
    lost: bool  # see Case.is_lost
    absent: bool  # a drive of it is nowhere, or in a host that did not give all of it, or was rebuilt and is wanted
    verified: bool


@dataclass(eq=False)
class Case:
    """One group that is known of."""

    group: int
    digest: str
    data: int
    parity: int
    stripes: int
    rows: dict[int, Missing]  # slot -> the drive that belongs there, as far as it is known
    total_bytes: int
    view: GroupView | None = None
    trusted: bool = False
    part_readable: int = 0
    copies: dict[int, list[Present]] = field(default_factory=dict)
    spare: list[str] = field(default_factory=list)  # of INDEXES: no drive has it, and the origin's copy is at hand
    _hashes: bool | None = None  # whether the drives here have all of blocks.bin together; None: not looked at

    @property
    def absent(self) -> set[int]:
        """Slots of which there is no copy anywhere, but on what stands apart: a drive that was replaced, or a bag."""
        here = {slot for slot, copies in self.copies.items() if any(not copy.apart for copy in copies)}
        return set(range(self.data + self.parity)) - here

    @property
    def unreached(self) -> set[int]:
        """Slots of which every copy stands in a host that did not give all of it."""
        return {slot for slot, copies in self.copies.items() if all(copy.unreached is not None for copy in copies)}

    @property
    def awaited(self) -> set[int]:
        """Slots of which every copy was rebuilt onto another medium, or stands apart: what was signed may have more."""
        return {slot for slot, each in self.copies.items() if all(copy.stands_in or copy.apart for copy in each)}

    @property
    def verified(self) -> bool:
        """Whether every slot that is anywhere has a copy of which every byte was read."""
        return all(any(copy.verified for copy in copies) for copies in self.copies.values())

    def without_index(self, *, final: bool) -> list[str]:
        """Of INDEXES those that no drive that was looked at has as signed; with `final`, of those that answered."""
        copies = [copy for each in self.copies.values() for copy in each if not final or copy.unreached is None]
        return [name for name in INDEXES if copies and all(name in copy.lacks for copy in copies)]

    def without_hashes(self, *, final: bool) -> bool:
        """Whether some of blocks.bin is on none of these: what is damaged cannot be proved when it is rebuilt."""
        copies = [copy for each in self.copies.values() for copy in each if not final or copy.unreached is None]
        if not copies or any(mf.BLOCKS not in copy.lacks for copy in copies):
            return False
        if self._hashes is None:
            self._hashes = self.view is not None and has_hashes(self.view)
        return not self._hashes

    def damage(self, *, final: bool) -> dict[int, Damage]:
        """Slot -> what no copy of it has whole; with `final`, so counts what a host did not give.

        Without, what a drive lacks that was rebuilt, or replaced, does not count: the one that was signed may come.
        """
        come = set[int]() if final else self.awaited
        return {
            slot: common_damage([as_damage(copy, unreached=final) for copy in copies])
            for slot, copies in self.copies.items()
            if slot not in come
        }

    def lengths(self, stripe: int) -> list[int] | None:
        """Length of each role's pack; None when no drive of the group is here. FormatError."""
        if self.view is None:
            return None
        n = self.data + self.parity
        return [mf.pack_at(self.view.packs, stripe, role, n).length for role in range(n)]

    def judge(self, *, final: bool) -> GroupVerdict:
        """Add up the columns, counting drives that are nowhere as lost (final), or as whole."""
        gone = self.absent - self.copies.keys() if final else set[int]()
        geometry = (self.data, self.parity, self.stripes)
        verdict = judge(geometry, self.damage(final=final), gone, self.lengths, sizes_known=self.view is not None)
        if self.view is None and len(gone) > self.parity:
            return verdict._replace(lost_bytes=max(1, verdict.lost_bytes), erased_bytes=self.total_bytes)
        return verdict

    def is_lost(self, *, final: bool) -> bool:
        """Whether a byte of the group's data cannot be had.

        Without `final`, whatever the drives not seen hold.
        """
        if not self.copies:
            return final and self.total_bytes > 0
        verdict = self.judge(final=final)
        # Where records or indexes are damaged on all drives here, one that is yet to come may have them whole.
        unreadable = (
            verdict.unknown > 0
            or bool(set(self.without_index(final=final)) - set(self.spare))
            or (self._is_damaged(final=final) and self.without_hashes(final=final))
        )
        return verdict.lost_bytes > 0 or (unreadable and (final or not (self.absent | self.unreached | self.awaited)))

    def _is_damaged(self, *, final: bool) -> bool:
        """Whether a block of a data pack is on drives that are here, and whole on none."""
        geometry, known = (self.data, self.parity, self.stripes), self.view is not None
        damage = {slot: each for slot, each in self.damage(final=final).items() if each}
        return judge(geometry, damage, set(), self.lengths, sizes_known=known).erased_bytes > 0

    def judged(self, *, final: bool) -> Judged:
        """All of it."""
        unreached = self.unreached
        rest = [copies for slot, copies in self.copies.items() if not (final and slot in unreached)]
        verified = all(any(copy.verified for copy in copies) for copies in rest)
        lost = self.is_lost(final=final)
        wanted = bool(self.awaited) and not lost and self.is_lost(final=True)
        return Judged(self.report(), lost, bool(self.absent | unreached) or wanted, verified)

    def report(self) -> GroupReport:
        """What is here or in other reports, in bytes of packed data."""
        here = self.judge(final=True) if self.copies else GroupVerdict(self.total_bytes, self.total_bytes, [], 0)
        # Stripes whose records are damaged on every drive here are of unknown length: their share is an estimate.
        unknown = -(-self.total_bytes * here.unknown // max(1, self.stripes))
        readable = self.total_bytes - here.erased_bytes - unknown
        recoverable = self.total_bytes - here.lost_bytes - unknown
        if self.view is None and self.copies:  # their lengths are the other host's knowledge
            readable, recoverable = self.part_readable, self.total_bytes if not here.lost_bytes else self.part_readable
        gone = [name for name in self.without_index(final=True) if name not in self.spare]
        if self.copies and here.unknown and not self.unreached:
            gone.append(mf.PACKS)
        if self.without_hashes(final=True) and not self.unreached:
            gone.append(mf.BLOCKS)
        return GroupReport(
            group=self.group,
            manifest=self.digest,
            trusted=self.trusted,
            data=self.data,
            parity=self.parity,
            stripes=self.stripes,
            present=[copy for slot in sorted(self.copies) for copy in self.copies[slot]],
            missing=[self.rows[slot] for slot in sorted(self.absent) if slot in self.rows],
            total_bytes=self.total_bytes,
            readable_bytes=max(0, readable),
            recoverable_bytes=max(0, recoverable),
            unrecoverable=[(each.stripe, each.role, each.first, each.last) for each in here.lost],
            gone=gone,
            spare=self.spare,
            only_folders=bool(here.lost) and not here.unknown and all(map(self._is_of_folders, here.lost)),
        )

    def _is_of_folders(self, lost: LostPack) -> bool:
        """Whether a pack holds directories alone; not known of a group without any drive here."""
        return self.view is not None and lost.stripe >= self.view.manifest.geometry.files_end


def superseded(check: DriveCheck, checks: Sequence[DriveCheck]) -> Fault | None:
    """All that is to be said of a drive that is not as signed, where another here in the same slot is.

    To its last bit where they were read, else by names and lengths. It is an old copy, one that was replaced, or one
    that is damaged: nothing depends on it, and the verdict is that of the good one.
    """
    same = [each for each in checks if (each.group, each.slot) == (check.group, check.slot) and each is not check]
    good = next((each for each in same if _is_good(each)), None)
    if good is None or check.view.apart or _is_good(check) or not (check.damage or check.view.problems or check.faults):
        return None
    if check.away is not None or any(each.kind == "unreached" for each in check.view.problems):
        return None  # nothing is known of it
    row = check.group.manifest.drives[check.slot].id
    why = f"is {row} as it was signed, and this is not"
    if good.read_at is None:  # inspect: nobody has read it
        why = f"has all of {row}, by name and length, and this has not"
    detail = f"{good.view.mount} {why}: an old, a replaced or a damaged copy of it"
    return fault_at(check.view, b"drive.json", "superseded", detail, None)


def _is_good(check: DriveCheck) -> bool:
    """Whether nothing is wrong with a drive, as far as it was looked at."""
    return not (check.damage or check.faults or check.omitted or check.view.problems or check.away)


def has_hashes(group: GroupView) -> bool:
    """Whether the drives of a group have all pages of blocks.bin together, or a host keeps back what they lack."""
    packs, blocks = group.open_pages()
    try:
        for _ in blocks.pages():
            pass
    except FormatError:
        return blocks.unanswered is not None
    finally:
        packs.close()
        blocks.close()
    return True


def as_damage(copy: Present, *, unreached: bool = False) -> Damage:
    """The damage of a report's drive, and what its host did not give; a hostile order of runs does no harm."""
    damage: Damage = {}
    more = copy.unreached if unreached and copy.unreached is not None else []
    for stripe, first, last in sorted([*copy.damage, *more]):
        add_run(damage.setdefault(stripe, []), first, last)
    return damage


def present_checked(check: DriveCheck, *, verified: bool) -> Present:
    """The entry of a drive that was looked at; it counts as verified only where its host gave everything."""
    entry = present(check.view, check.group, check.slot, verified=verified, damage=check.damage)
    wrong = {each.path for each in check.faults if each.kind != "unreached"}
    entry.lacks = [name for name in _CARRIED if name.encode() in wrong]
    if check.away is None and all(problem.kind != "unreached" for problem in check.view.problems):
        return entry
    return msgspec.structs.replace(entry, verified=False, unreached=as_runs(check.unreached))


def as_runs(damage: Damage) -> list[tuple[int, int, int]]:
    """As a report has it."""
    return [(stripe, first, last) for stripe, runs in sorted(damage.items()) for first, last in runs]


def present(view: DriveView, group: GroupView, slot: int, *, verified: bool, damage: Damage) -> Present:
    """The entry of a drive that is here."""
    row = group.manifest.drives[slot]
    return Present(
        drive=row.id,
        slot=slot,
        number=row.number,
        carrier=row.carrier,
        serial=row.serial,
        label=row.label,
        mount=words(view.mount),
        verified=verified,
        damage=as_runs(damage),
        medium=view.drive.serial(),
        rebuilt=view.rebuilt is not None,
        predecessor=None if view.predecessor is None else words(view.predecessor),
        bag=view.bag,
        at=address(view),
    )


def rows_of(sealed: SealGroup) -> list[Missing]:
    """The drives of a group as the seal names them, by slot."""
    return [
        Missing(drive=each.id, number=each.number, carrier=each.carrier, serial=each.serial, label=each.label)
        for each in sealed.drives
    ]


def cases(found: Survey, parts: Sequence[tuple[str, bytes]]) -> tuple[dict[int, Case], list[tuple[str, Report]]]:
    """Every group that the drives here, the seal and the parts know of.

    Copies of the parts are in it already.

    `parts` are names and bytes of other hosts' reports. Raises BadInput when one is not of this shipment.
    """
    known: dict[int, Case] = {}
    for view in found.groups:
        rows = {
            row.slot: Missing(drive=row.id, number=row.number, carrier=row.carrier, serial=row.serial, label=row.label)
            for row in view.manifest.drives
        }
        shape = view.manifest.geometry
        total = view.manifest.totals.packed_bytes
        known[view.group] = Case(
            view.group, view.digest, shape.data, shape.parity, shape.stripes, rows, total, view, view.trusted
        )
    for sealed in found.absent:
        rows = dict(enumerate(rows_of(sealed)))
        total, trusted = sealed.totals.packed_bytes, found.trusted is not None
        known[sealed.group] = Case(
            sealed.group, sealed.manifest.blake3, sealed.data, sealed.parity, sealed.stripes, rows, total, None, trusted
        )
    reports = [(name, read_part(data, name)) for name, data in parts]
    for name, report in reports:
        _join(found, known, name, report)
    return known, reports


def _join(found: Survey, known: dict[int, Case], name: str, report: Report) -> None:
    if found.shipment is None:
        found.shipment = report.shipment
    if report.shipment != found.shipment:
        raise BadInput(f"{name} is of shipment {report.shipment}, not of {found.shipment}", hint=_PART_HINT)
    for group in report.groups:
        case = known.get(group.group)
        if case is None:
            if found.seal is not None:
                raise BadInput(f"{name}: the seal knows of no group {group.group}", hint=_PART_HINT)
            rows = {drive.slot: _missing(drive) for drive in group.present}
            for row in group.missing:
                slot = row.drive.rpartition("s")[2]
                if slot.isdecimal() and len(slot) < 4:
                    rows.setdefault(int(slot), row)
            shape = (group.data, group.parity, group.stripes)
            case = Case(group.group, group.manifest, *shape, rows, group.total_bytes, None, group.trusted)
            known[group.group] = case
        if (group.manifest, group.data, group.parity, group.stripes) != (
            case.digest,
            case.data,
            case.parity,
            case.stripes,
        ):
            raise BadInput(f"{name} has another manifest for group {group.group}", hint=_PART_HINT)
        case.part_readable = max(case.part_readable, group.readable_bytes)
        for drive in group.present:
            known_row = case.rows.get(drive.slot)
            if known_row is not None and _identity(drive) != _identity(known_row):
                raise BadInput(
                    f"{name} says that slot {drive.slot} of group {group.group} is drive {drive.drive}, serial "
                    f"{drive.serial}; the manifest says {known_row.drive}, serial {known_row.serial}",
                    hint=_PART_HINT,
                )
            copy = msgspec.structs.replace(drive, part=drive.part or name, verified=drive.verified and group.trusted)
            case.copies.setdefault(drive.slot, []).append(copy)


def refuse_other_seals(found: Survey, reports: Sequence[tuple[str, Report]]) -> None:
    """BadInput, with both seals, where a report was made against another seal than is used here, or than another was.

    A report without a seal says nothing that a seal could contradict: its drives are held against their manifests.
    """
    ours = (found.seal and blake3(seals.encode_seal(found.seal)).hexdigest()) or ""
    whose = "the seal here"
    for name, report in reports:
        stated = {report.seal.blake3} if report.seal is not None else set[str]()
        stated |= {copy.against for group in report.groups for copy in group.present if copy.against is not None}
        for theirs in sorted(stated):
            if ours and theirs != ours:
                raise BadInput(
                    f"{name} was made against the seal with BLAKE3 {theirs[:16]}, and {whose} has BLAKE3 {ours[:16]}",
                    hint="one of them was superseded, or is not the shipment's: verify there again with this --seal",
                )
            if not ours:
                ours, whose = theirs, f"that of {name}"


def _identity(drive: Present | Missing) -> tuple[str, int, str]:
    return drive.drive, drive.number, drive.serial


def _missing(drive: Present) -> Missing:
    return Missing(
        drive=drive.drive, number=drive.number, carrier=drive.carrier, serial=drive.serial, label=drive.label
    )


def groups_unknown(found: Survey, known: dict[int, Case], reports: Sequence[tuple[str, Report]]) -> int:
    """How many groups there must be of which nobody says anything."""
    return max(0, groups_total(found, reports) - len(known))


def groups_total(found: Survey, reports: Sequence[tuple[str, Report]]) -> int:
    """Groups of the whole shipment, by the seal, or as far as anybody knows."""
    return max([found.groups_total, *(report.groups_total for _, report in reports)])


def drives_total(found: Survey, reports: Sequence[tuple[str, Report]]) -> int:
    """Drives of the whole shipment: the N of "drive i of N"."""
    if found.seal is not None:
        return sum(len(group.drives) for group in found.seal.groups)
    here = [group.manifest.drives_total for group in found.groups]
    return max([0, *here, *(report.drives_total for _, report in reports)])


# Reports


def note_spares(known: Mapping[int, Case], origin: OriginCopies) -> None:
    """Look for the origin's copies of those indexes that no drive has."""
    for case in known.values():
        if case.view is not None and case.trusted:
            record = case.view.manifest
            case.spare = [name for name in case.without_index(final=False) if origin.has(record, name)]


def fault(view: DriveView, problem: Problem) -> Fault:
    """A problem of the survey as a fault."""
    return fault_at(view, problem.path.encode(), problem.kind, problem.detail, problem.block)


def fault_at(view: DriveView, path: bytes, kind: str, detail: str, block: int | None) -> Fault:
    """A finding of a check as a fault."""
    fields = {
        "drive": words(view.name),
        "block": block,
        "kind": kind,
        "detail": words(detail),
        "mount": words(view.mount),
        "at": address(view),
    }
    return typed.convert(fields | path_of(path), Fault)


def address(view: DriveView) -> str | None:
    """Where a drive that is elsewhere is asked."""
    return words(view.drive.at) if isinstance(view.drive, RemoteDrive) else None


def words(text: str) -> str:
    """Text that JSON can carry, whatever bytes a mount's name has, and no longer than a report allows."""
    return text.encode(errors="surrogateescape").decode(errors="replace")[:2000]


def seal_notices(found: Survey) -> list[str]:
    """Which of several sealed shipments this is about; that the seal is from the future; drives not made to their end.

    And those that have no copy of the seal, which others have.
    """
    told = clocks.seal_ahead(sealed_at(found.seal), datetime.now(UTC)) if found.seal is not None else ""
    if told:
        told += "; no reading of before that time counts for a receipt: if this one is right, the origin seals again"
    half = [view for view in found.views if view.rebuilt and view.slot is not None and mf.MANIFEST not in view.small]
    whole = {view.name for view in found.views if view.slot is not None and mf.MANIFEST in view.small}
    made = [
        f"{view.mount}: {view.name} was being rebuilt here, and not to its end: `sealift repair` of all drives goes on"
        for view in half
        if view.name not in whole  # beside one that has it all nothing is written to it
    ]
    return (
        survey_mixed.told(found)
        + [told] * bool(told)
        + made
        + [
            f"{view.mount}: {view.name} has no copy of the seal, and others here have it: it was not attached when the"
            " shipment was sealed, or has lost it; `sealift repair` puts it there"
            for view in found.unsealed
            if view not in half
        ]
    )


def not_needed(faults: Sequence[Fault]) -> list[str]:
    """Locations that did not give what was asked for, where every drive was seen whole elsewhere."""
    why: dict[str, str] = {}
    for each in faults:
        if each.kind == "unreached":
            why.setdefault(f"{each.part}: {each.mount}" if each.part else each.mount, each.detail)
    return [words(f"{mount} gave not all, and nothing is missing without it: {why[mount]}") for mount in sorted(why)]


def part_faults(reports: Sequence[tuple[str, Report]]) -> list[Fault]:
    """The faults of other hosts' reports, marked with where they come from."""
    return [msgspec.structs.replace(each, part=each.part or name) for name, report in reports for each in report.faults]


def seal_report(found: Survey, reports: Sequence[tuple[str, Report]] = ()) -> SealReport | None:
    """The seal that was used, and which one on a drive, here or in other hosts, supersedes it."""
    seal, trusted = found.seal, found.trusted
    if seal is None or found.seal_source is None:
        return None
    newer = [each.seal.superseded_by for _, each in reports if each.seal and each.seal.superseded_by]
    if found.superseded is not None:
        revision, digest, mount = found.superseded
        newer.insert(0, SupersededBy(revision=revision, blake3=digest, mount=words(mount)))
    return SealReport(
        source=found.seal_source,
        trusted=trusted is not None,
        blake3=blake3(seals.encode_seal(seal)).hexdigest(),
        sealed_at=seal.sealed_at,
        consignment=seal.consignment_id,
        rehearsal=seal.rehearsal,
        signer=trusted.signer.principal if trusted else None,
        officer=trusted.officer if trusted else None,
        in_reply_to=seal.in_reply_to.consignment_id if seal.in_reply_to else None,
        superseded_by=max(newer, key=lambda each: each.revision, default=None),
        shortfall=seal.shortfall or None,
    )


def signature(found: Survey, reports: Sequence[tuple[str, Report]]) -> Signature:
    """Whether every manifest that is used is signed by an allowed signer, and no seal was refused.

    It does not hold, too, when drives are here whose shipment nobody knows. (Drives of another shipment are foreign,
    and named: see reading.survey.refuse_others. One that lost all that could be signed, beside a seal that holds, is
    merely not known.)
    """
    signers = [group.signer for group in found.groups if group.signer is not None]
    ok = len(signers) == len(found.groups) and all(group.trusted for group in found.groups)
    ok = ok and not (found.seal_failures and found.trusted is None)
    unknown = [view for view in found.views if view.standing not in {"empty", "foreign"}]
    ok = ok and (bool(found.groups) or all(found.trusted is not None and not view.small for view in unknown))
    ok = ok and all(not isinstance(each, VerifyReport) or each.signature.ok for _, each in reports)
    first = signers[0] if signers else None
    return Signature(ok=ok, signer=first.principal if first else None, fingerprint=first.fingerprint if first else None)
