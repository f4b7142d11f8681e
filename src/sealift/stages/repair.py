"""Repair: what is damaged or gone is made again from what is left, and proved against the signed manifest.

    survey -> read every drive (verify), or take a report of verify -> plan -> packs (rebuild.py) -> small files
    --onto: survey -> a missing drive's place -> packs -> small files, the manifest last

What holds: no key is needed; nothing is written where nothing is wrong, and nothing that the manifest does not cover;
a file appears under its name when it was proved. Where more is lost than parity holds, what is lost is named, all
else is repaired, and nothing is harmed. It may be stopped anywhere: the same call goes on. Drives that belong to
something else (foreign, replayed, two manifests, in conflict) are not written, and files that nobody signed are not
removed. What is not here: the fetch list (fetch.py), small files (repair_files.py), the terminal.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import UNSET

from sealift.formats import manifest as mf
from sealift.reading.survey import survey
from sealift.stages import rebuild as rebuilding
from sealift.stages import repair_plan as planning
from sealift.stages import verify_join as join
from sealift.stages.fetch import fetch_list
from sealift.stages.rebuild import StripeWork
from sealift.stages.repair_files import SMALL, SmallFiles
from sealift.stages.repair_plan import MAX_LISTED, Events, LostBlocks, Onto, Plan, Repaired, RepairReport, card_of
from sealift.stages.verify_report import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sealift.drives.base import Drive
    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.formats.fetch import FetchList
    from sealift.formats.manifest import DriveRow, RebuiltNote
    from sealift.reading.survey import Survey
    from sealift.stages.verify_verdict import LostPack


def repair(
    places: Sequence[str | Drive],
    *,
    allowed: AllowedSigners,
    seal: dict[str, bytes] | None = None,
    shipment: str | None = None,
    onto: Sequence[str | Drive] = (),
    report: tuple[str, bytes] | None = None,
    dry_run: bool = False,
    state: str | None = None,
    events: Events | None = None,
) -> RepairReport:
    """Mend the drives at `places`, or with `onto` rebuild missing drives onto other media.

    `onto`: MNT, or ID=MNT to say which of several missing drives. `report`: name and bytes of what verify said of
    these drives (--json), so that they are not all read again first. `state` as in verify. Raises BadInput, Refused
    when a signature or the seal does not hold, DriveFault when a drive that is written fails, Interrupted.
    """
    begun = time.monotonic()
    events = events or Events()
    targets = [planning.target(each) for each in onto]
    folders = {planning.folder_of(drive) for _, drive in targets}
    here = [each for each in places if planning.folder_of(each) not in folders]
    found = survey(here, allowed=allowed, seal=seal, shipment=shipment)
    planning.check_trust(found)
    answer = RepairReport(shipment=found.shipment, dry_run=dry_run, notices=list(found.notices))
    answer.missing = [row.id for group in found.groups for row in group.missing]
    if targets:
        plans = planning.place(found, targets)
        planning.check_targets(found, plans, events)
    else:
        seen = planning.look(found, report, state, events)
        answer.verified_bytes = sum(each.bytes_read for each in seen)
        plans = planning.plan(seen, answer)
        answer.left += planning.beyond(found)
    for plan in plans:
        _Repair(plan, found, answer, events, dry_run=dry_run).run()
    answer.missing = [each for each in answer.missing if each not in answer.rebuilt]
    for group in found.groups:
        gone = {row.slot for row in group.missing if row.id in answer.missing}
        if planning.is_short(group, gone):
            answer.short.append(group.group)
    answer.state = _state(answer)
    answer.seconds = time.monotonic() - begun
    return answer


def fetch(
    places: Sequence[str | Drive],
    *,
    allowed: AllowedSigners,
    seal: dict[str, bytes] | None = None,
    shipment: str | None = None,
    report: tuple[str, bytes] | None = None,
    state: str | None = None,
    events: Events | None = None,
) -> FetchList:
    """What must be sent again; drives that are not here count as gone. Writes nothing; parameters as `repair`."""
    found = survey(places, allowed=allowed, seal=seal, shipment=shipment)
    planning.check_trust(found)
    seen = planning.look(found, report, state, events or Events())
    return fetch_list(found, [(each.group, each.slot, each.damage) for each in seen])


def exit_code(report: RepairReport) -> int:
    """0: nothing is wrong any more; 3: something is, all recoverable; 4: lost; 6: lost unless missing drives come."""
    if report.lost or report.short:
        return 6 if report.missing else 4
    return 3 if report.left or report.missing or (report.dry_run and report.repaired_files) else 0


def _state(report: RepairReport) -> str:
    if report.lost or report.short:
        return "lost"
    if report.left or report.missing or (report.dry_run and report.repaired_files):
        return "damaged"
    return "repaired" if report.repaired_files else "whole"


# Doing it


class _Repair:
    """One group's plan, carried out."""

    def __init__(self, plan: Plan, found: Survey, answer: RepairReport, events: Events, *, dry_run: bool) -> None:
        self._plan, self._answer, self._events, self._dry = plan, answer, events, dry_run
        self._group, self._manifest = plan.group, plan.group.manifest
        self._geometry = plan.group.manifest.geometry
        self._files = SmallFiles(found, plan.group)
        self._packs, self._blocks = plan.group.open_pages(cache=1024)
        self._lock = threading.RLock()  # the pages are read from several threads
        self._at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def run(self) -> None:
        """Packs first, then small files, the manifest last."""
        drives = [task.view.drive for task in self._plan.tasks] + [each.drive for each in self._plan.onto]
        try:
            if not self._dry:
                for drive in drives:
                    drive.lock()
                for each in self._plan.onto:
                    self._claim(each)
            self._rebuild_packs()
            self._write_small()
        finally:
            self._packs.close()
            self._blocks.close()
            for drive in drives:
                drive.unlock()

    def _claim(self, onto: Onto) -> None:
        """drive.json first: so that nobody takes the half-rebuilt drive for an empty one."""
        if card_of(onto.drive) is None:
            self._files.write(onto.drive, onto.row.slot, mf.CARD, self._note(onto.drive))

    def _note(self, drive: Drive) -> RebuiltNote:
        card = card_of(drive)
        if card is not None and card.rebuilt:
            return card.rebuilt
        return mf.RebuiltNote(at=self._at, serial=drive.serial() or "")

    def _record(self, stripe: int, role: int) -> mf.PackRecord:
        with self._lock:
            return mf.pack_at(self._packs, stripe, role, self._manifest.n)

    def _wanted(self, stripe: int) -> dict[int, list[Drive]]:
        wanted: dict[int, list[Drive]] = {}
        for task in self._plan.tasks:
            if stripe in task.stripes:
                wanted.setdefault(mf.role_of(stripe, task.slot, self._manifest.n), []).append(task.view.drive)
        for drive, row in self._plan.onto:
            role = mf.role_of(stripe, row.slot, self._manifest.n)
            length = self._record(stripe, role).length
            # what has its name was proved and fsynced before it had it
            if length and drive.size(mf.pack_name(stripe, role, self._geometry.data)) != length:
                wanted.setdefault(role, []).append(drive)
        return wanted

    def _works(self) -> Iterator[StripeWork]:
        n = self._manifest.n
        damaged = sorted({stripe for task in self._plan.tasks for stripe in task.stripes})
        stripes = range(self._geometry.stripes) if self._plan.onto else damaged
        for stripe in stripes:
            if wanted := self._wanted(stripe):
                records = [self._record(stripe, role) for role in range(n)]

                def hashes(role: int, first: int, stop: int, records: list[mf.PackRecord] = records) -> bytes:
                    start = records[role].first_block
                    with self._lock:
                        return self._blocks.get(start + first, start + stop)

                yield StripeWork(stripe, [record.length for record in records], hashes, wanted)

    def _rebuild_packs(self) -> None:
        if self._dry:
            for work in self._works():
                self._foretell(work)
            return
        sources = {slot: [view.drive for view in views] for slot, views in self._group.copies.items()}
        total = self._total()
        result = rebuilding.rebuild(
            self._works(),
            self._geometry.data,
            self._geometry.parity,
            sources,
            progress=lambda now: self._events.progress("rebuild", now.written, total, now.targets),
            landed=self._landed,
        )
        answer = self._answer
        answer.rebuilt_blocks += result.blocks
        answer.bytes_read += result.bytes_read
        for lost in result.lost:
            answer.lost.append(self._lost(lost))
        for each in result.noticed[: MAX_LISTED - len(answer.left)]:
            view = next(view for view in self._group.views if view.mount == each.mount)
            name = mf.pack_name(each.stripe, each.role, self._geometry.data)
            answer.left.append(join.fault_at(view, name.encode(), "rotten", "met while rebuilding", each.block))

    def _total(self) -> int:
        """Bytes of packs that are to be written."""
        return sum(work.lengths[role] * len(drives) for work in self._works() for role, drives in work.wanted.items())

    def _foretell(self, work: StripeWork) -> None:
        """What a pack would cost: its own bytes and k others, or k others where it is damaged."""
        k, answer = self._geometry.data, self._answer
        fresh = {id(each.drive) for each in self._plan.onto}
        for role, drives in work.wanted.items():
            length = work.lengths[role]
            for drive in drives:
                answer.bytes_read += k * length if id(drive) in fresh else length + k * min(rebuilding.SLAB, length)
                self._say(drive, work.stripe, role, length)

    def _landed(self, stripe: int, role: int, drive: Drive) -> None:
        with self._lock:
            self._say(drive, stripe, role, self._record(stripe, role).length)

    def _say(self, drive: Drive, stripe: int, role: int, length: int) -> None:
        slot = mf.slot_of(stripe, role, self._manifest.n)
        self._wrote(drive, slot, mf.pack_name(stripe, role, self._geometry.data), length)

    def _wrote(self, drive: Drive, slot: int, path: str, length: int) -> None:
        answer = self._answer
        answer.repaired_files += 1
        answer.bytes_written += length
        if len(answer.repaired) < MAX_LISTED:
            answer.repaired.append(Repaired(self._manifest.drives[slot].id, drive.mount, path, length))

    def _lost(self, lost: LostPack) -> LostBlocks:
        slot = mf.slot_of(lost.stripe, lost.role, self._manifest.n)
        name = mf.pack_name(lost.stripe, lost.role, self._geometry.data)
        row = self._manifest.drives[slot].id
        return LostBlocks(self._manifest.group, lost.stripe, lost.role, row, name, lost.first, lost.last)

    def _write_small(self) -> None:
        for task in self._plan.tasks:
            card = card_of(task.view.drive)
            note = card.rebuilt if card is not None else UNSET
            for name in task.small:
                written = (
                    self._files.size(task.slot, name)
                    if self._dry
                    else self._files.write(task.view.drive, task.slot, name, note)
                )
                if written is not None:
                    self._wrote(task.view.drive, task.slot, name, written)
                    continue
                why = "no drive here has it whole" if name not in mf.SEAL_FILES else "there is no seal to take it from"
                self._answer.left.append(join.fault_at(task.view, name.encode(), "rotten", why, None))
        for drive, row in self._plan.onto:
            self._finish(drive, row)

    def _finish(self, drive: Drive, row: DriveRow) -> None:
        """The small files of a drive that was rebuilt."""
        if self._dry:
            for name in SMALL:
                self._wrote(drive, row.slot, name, self._files.size(row.slot, name))
            return
        note = self._note(drive)
        whole = not any(lost.drive == row.id for lost in self._answer.lost)
        for name in SMALL:
            if self._files.is_good(drive, row.slot, name, note):
                continue
            written = self._files.write(drive, row.slot, name, note)
            if written is not None:
                self._wrote(drive, row.slot, name, written)
            elif name not in mf.SEAL_FILES:
                whole = False
                detail = "no drive here has it whole"
                fault = Fault(drive=row.id, block=None, kind="missing", path=name, detail=detail, mount=drive.mount)
                self._answer.left.append(fault)
        if whole:
            self._answer.rebuilt.append(row.id)
