"""A repair's plan for one group, carried out: packs first, then small files, the manifest last.

What holds: a drive that fails is written no more, and is told; what stands in the way of a file stops that file alone;
what cannot be had is named in the report. A dry run goes the same way and writes nothing (repair_foretell.py). What is
not here: which plan it is (repair_plan.py, repair_onto.py), making packs (rebuild.py), small files (repair_files.py).
"""

from __future__ import annotations

import contextlib
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import UNSET

from sealift.drives.base import PART, is_in_the_way, reason
from sealift.drives.ranges import RemoteDrive
from sealift.errors import DriveFault, FormatError
from sealift.formats import manifest as mf
from sealift.formats.sizes import counted
from sealift.reading.origin_copies import PATTERNS, name_of
from sealift.reading.survey_views import DriveView
from sealift.stages import rebuild as rebuilding
from sealift.stages import repair_far as far_away
from sealift.stages import repair_foretell as foretell
from sealift.stages import repair_plan as planning
from sealift.stages import verify_join as join
from sealift.stages.rebuild import StripeWork
from sealift.stages.repair_files import SMALL, note_of, put_note
from sealift.stages.repair_plan import (
    MAX_LISTED,
    MET,
    NOWHERE,
    GoneFile,
    InTheWay,
    Obstacle,
    Removed,
    Repaired,
    card_of,
)
from sealift.stages.repair_unwritable import Failing, Unreadable, failing, foreseen
from sealift.stages.verify import run_checks
from sealift.stages.verify_read import DriveCheck
from sealift.stages.verify_report import Fault
from sealift.stages.verify_state import State

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from msgspec import UnsetType

    from sealift.drives.base import Drive
    from sealift.formats.manifest import DriveRow, RebuiltNote
    from sealift.stages.repair_files import SmallFiles
    from sealift.stages.repair_plan import Events, Onto, Plan, RepairReport, Task
    from sealift.stages.verify import Progress


@contextlib.contextmanager
def held(views: Iterable[DriveView]) -> Iterator[None]:
    """Nobody else writes to these while they are looked at and mended; Busy.

    Else what another repair has mended since it was looked at would be written again. One that cannot be locked cannot
    be written either, which is told when it is to be.
    """
    drives: list[Drive] = []
    try:
        for view in views:
            with contextlib.suppress(DriveFault, FormatError):
                view.drive.lock()
                drives.append(view.drive)
        yield
    finally:
        for drive in drives:
            drive.unlock()


class GroupRepair:
    """One group's plan, carried out; packs that came under their names are added to `mended` (id of drive, stripe)."""

    def __init__(
        self,
        plan: Plan,
        files: SmallFiles,
        answer: RepairReport,
        events: Events,
        mended: set[tuple[int, int]],
        beside: set[int],
        *,
        dry_run: bool,
    ) -> None:
        self._plan, self._answer, self._events, self._dry = plan, answer, events, dry_run
        self._mended, self._beside = mended, beside
        self._todo: dict[int, set[int]] = {}  # by id of the drive: stripes whose packs are to be written
        self._obstacles: dict[tuple[str, str], Obstacle] = {}
        self._group, self._manifest = plan.group, plan.group.manifest
        self._geometry = plan.group.manifest.geometry
        self._failing = Failing()
        self._written: set[tuple[int, str]] = set()  # id of the drive, name
        self._files = files
        self._packs, self._blocks = plan.group.open_pages(cache=1024)
        self._lock = threading.RLock()  # the pages are read from several threads
        self._at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def run(self) -> None:
        """Packs first, then small files, the manifest last; what interrupted writes left goes."""
        drives = [task.view.drive for task in self._plan.tasks] + [each.drive for each in self._plan.onto]
        try:
            if not self._dry:
                for drive in drives:
                    with self._caught(drive):
                        drive.lock()
                for each in self._plan.onto:
                    with self._caught(each.drive):
                        self._claim(each)
            self._prepare()
            if self._dry:
                self._foresee()
            self._rebuild_packs()
            self._write_small()
            self._remove_halves()
            self._tell_obstacles()
            self._tell_unwritable()
        finally:
            self._packs.close()
            self._blocks.close()
            for drive in drives:
                drive.unlock()

    @contextlib.contextmanager
    def _caught(self, drive: Drive) -> Iterator[None]:
        """A drive that fails is written no more; nothing is done to one that has."""
        try:
            yield
        except DriveFault as error:
            self._failing.note(drive, error)

    def _claim(self, onto: Onto) -> None:
        """drive.json first: so that nobody takes the half-rebuilt drive for an empty one."""
        if onto.drive not in self._failing and card_of(onto.drive) is None:
            self._write_one(onto.drive, onto.row.slot, mf.CARD, note_of(onto.drive, self._at))
        if onto.drive not in self._failing:
            put_note(onto.drive, note_of(onto.drive, self._at))

    def _say_made(self, drive: Drive) -> None:
        """Before the first pack of a drive that is made here is there: from now on it says so."""
        task = next((task for task in self._plan.tasks if task.view.drive is drive), None)
        if task is None or not task.made or task.view.rebuilt is not None or drive in self._failing:
            return
        with self._caught(drive):
            task.view.rebuilt = note = note_of(drive, self._at)
            would = "would be" if self._dry else "is"
            self._answer.notices.append(
                f"{drive.mount}: no pack of {self._manifest.drives[task.slot].id} was there: it {would} made anew, and"
                f" its drive.json {'would say' if self._dry else 'says'} that it was rebuilt"
            )
            self._write_one(drive, task.slot, mf.CARD, note)
            if not self._dry:
                put_note(drive, note)

    def _prepare(self) -> None:
        """Which packs are to be written: not those that something stands in the way of, nor what was rebuilt before."""
        for task in self._plan.tasks:
            way = InTheWay(task.view.drive)
            self._todo[id(task.view.drive)] = {
                stripe
                for stripe in task.stripes
                if self._clear(way, task.view.drive, task.slot, self._name(stripe, task.slot))
            }
        checks = []
        for drive, row in self._plan.onto:
            way, there = InTheWay(drive), set[int]()
            todo = self._todo.setdefault(id(drive), set())
            for stripe in range(self._geometry.stripes):
                name, length = self._name(stripe, row.slot), self._length(stripe, row.slot)
                if length and self._clear(way, drive, row.slot, name):
                    (there if self._size(drive, name) == length else todo).add(stripe)
            check = DriveCheck(DriveView(drive.mount, drive), self._group, row.slot)
            check.only = there
            checks.append(check)
        self._prove(checks)

    def _foresee(self) -> None:
        """Of a dry run: drives that would not take what is to be written. A pack is written beside what it replaces."""
        places = [(task.view.drive, task.slot) for task in self._plan.tasks]
        for drive, slot in places + [(each.drive, each.row.slot) for each in self._plan.onto]:
            if isinstance(drive, RemoteDrive):
                continue  # what would be written if it stood here
            new, beside = 0, 0
            for stripe in self._todo[id(drive)]:
                length = self._length(stripe, slot)
                if self._size(drive, self._name(stripe, slot)) is None:
                    new += length
                else:
                    beside = max(beside, length)
            if (why := foreseen(drive, new + beside)) is not None:
                self._failing.note(drive, why)

    def _prove(self, checks: Sequence[DriveCheck]) -> None:
        """Packs that an earlier run left on a new drive are read: a name does not tell what happened to them since."""

        def tell(now: Progress) -> None:
            self._events.progress("prove", now.done, now.total, now.drives)

        checks = [check for check in checks if check.only]
        run_checks(checks, State(None), tell)
        for check in checks:
            self._todo[id(check.view.drive)] |= check.damage.keys()
            self._answer.verified_bytes += check.bytes_read

    def _clear(self, way: InTheWay, drive: Drive, slot: int, name: str) -> bool:
        """Whether a file can be written under its name; what is in its way is noted."""
        path = way.of(name)
        if path is not None:
            self._obstruct(drive, slot, path)
        return path is None

    def _obstruct(self, drive: Drive, slot: int, path: str) -> None:
        with self._lock:
            row = self._manifest.drives[slot].id
            self._obstacles.setdefault((drive.mount, path), Obstacle(row, drive.mount, path)).files += 1

    def _refused(self, stripe: int, role: int, drive: Drive, _why: str) -> None:
        """It showed only when the pack was to be written."""
        slot = mf.slot_of(stripe, role, self._manifest.n)
        name = self._name(stripe, slot)
        self._obstruct(drive, slot, InTheWay(drive).of(name) or name + PART)

    def _tell_obstacles(self) -> None:
        left = self._answer.left
        for each in self._obstacles.values():
            left[:] = [old for old in left if (old.mount, old.path, old.kind) != (each.mount, each.path, "unexpected")]
            belong = f"{counted(each.files, 'file')} that belong{'s' if each.files == 1 else ''}"
            detail = f"in the way of {belong} here; sealift did not make it and does not remove it: move it away"
            fault = Fault(
                drive=each.drive, block=None, kind="unexpected", path=each.path, detail=detail, mount=each.mount
            )
            left.append(fault)
            self._answer.in_the_way.append(each)

    def _name(self, stripe: int, slot: int) -> str:
        return mf.pack_name(stripe, mf.role_of(stripe, slot, self._manifest.n), self._geometry.data)

    def _length(self, stripe: int, slot: int) -> int:
        return self._record(stripe, mf.role_of(stripe, slot, self._manifest.n)).length

    @staticmethod
    def _size(drive: Drive, name: str) -> int | None:
        """Length of what is under the name; None where nothing is that counts."""
        try:
            return drive.size(name)
        except (FormatError, DriveFault):
            return None

    def _record(self, stripe: int, role: int) -> mf.PackRecord:
        with self._lock:
            return mf.pack_at(self._packs, stripe, role, self._manifest.n)

    def _wanted(self, stripe: int) -> dict[int, list[Drive]]:
        wanted: dict[int, list[Drive]] = {}
        places = [(task.view.drive, task.slot) for task in self._plan.tasks]
        for drive, slot in places + [(drive, row.slot) for drive, row in self._plan.onto]:
            if stripe in self._todo[id(drive)] and drive not in self._failing:
                wanted.setdefault(mf.role_of(stripe, slot, self._manifest.n), []).append(drive)
        return wanted

    def _works(self) -> Iterator[StripeWork]:
        n = self._manifest.n
        for stripe in sorted(set().union(*self._todo.values())):
            wanted = self._wanted(stripe)
            if not wanted:
                continue  # those that want something have failed
            records = [self._record(stripe, role) for role in range(n)]

            def hashes(role: int, first: int, stop: int, records: list[mf.PackRecord] = records) -> bytes:
                start = records[role].first_block
                with self._lock:
                    return self._blocks.get(start + first, start + stop)

            yield StripeWork(stripe, [record.length for record in records], hashes, wanted)

    def _rebuild_packs(self) -> None:
        if self._dry:
            unproved = set[tuple[int, int]]()
            for work in self._works():
                unproved |= self._foretell(work)
            self._tell_unproved(unproved)
            return
        sources = {slot: [view.drive for view in views] for slot, views in self._group.copies.items()}
        total = self._total()
        result = rebuilding.rebuild(
            self._works(),
            self._geometry.data,
            self._geometry.parity,
            sources,
            progress=lambda now: self._events.progress("rebuild", now.written, total, now.targets),
            landing=self._landing,
            landed=self._landed,
            refused=self._refused,
            failed=self._failing.note,
            slow=lambda slow: self._events.notice(slow.words),
            read_back=True,
        )
        answer = self._answer
        answer.rebuilt_blocks += result.blocks
        answer.bytes_read += result.bytes_read
        answer.lost += [planning.lost_blocks(self._manifest, lost) for lost in result.lost]
        answer.waits += [planning.lost_blocks(self._manifest, lost) for lost in result.withheld]
        answer.away = far_away.joined(answer.away, far_away.of_hosts(self._files.found, result.hosts))
        self._tell_unproved(result.unproved)
        own = [view for view in self._group.views if id(view) not in self._beside]
        for silent in own:
            if silent.slot is not None and silent.mount in result.silent:
                row, detail = self._manifest.drives[silent.slot], reason(result.silent[silent.mount], silent.mount)
                answer.unreadable.append(Unreadable(row.id, row.serial, silent.mount, detail))
        answer.failing += self._failing_besides(own, result)
        views = {view.mount: view for view in own if not view.apart}
        known = {(task.view.mount, stripe) for task in self._plan.tasks for stripe in task.damage}
        for each in result.noticed[: MAX_LISTED - len(answer.left)]:
            view = views.get(each.mount)
            if view is None or (each.mount, each.stripe) in known:
                continue  # a folder of packs need not have this one; what was seen before is told
            if each.mount in result.silent and each.kind == "unreadable":
                continue
            name = mf.pack_name(each.stripe, each.role, self._geometry.data)
            why = f"did not read, {MET}" if each.kind == "unreadable" else MET
            answer.left.append(join.fault_at(view, name.encode(), each.kind, why, each.block))

    def _failing_besides(self, own: Collection[DriveView], result: rebuilding.Rebuilt) -> list[Unreadable]:
        """Drives whose medium failed while others were rebuilt from them, but for those that are spoken of."""
        told = {each.mount for each in self._answer.failing} | result.silent.keys()
        faults = [
            join.fault_at(view, b"", "unreadable", result.failed[view.mount], None)
            for view in own
            if not view.apart and view.mount in result.failed and view.mount not in told
        ]
        return failing(self._files.found, faults)

    def _tell_unproved(self, packs: Collection[tuple[int, int]]) -> None:
        """What stays damaged because nobody could prove what it is rebuilt to."""
        if packs:
            self._lacking(mf.BLOCKS, wanted=True)
        for task in self._plan.tasks:
            names = {self._name(stripe, task.slot) for stripe, role in packs if self._slot(stripe, role) == task.slot}
            self._answer.left += [each for each in task.faults if each.path in names]

    def _slot(self, stripe: int, role: int) -> int:
        return mf.slot_of(stripe, role, self._manifest.n)

    def _total(self) -> int:
        """Bytes of packs that are to be written."""
        return sum(work.lengths[role] * len(drives) for work in self._works() for role, drives in work.wanted.items())

    def _foretell(self, work: StripeWork) -> set[tuple[int, int]]:
        """What a dry run says of a stripe; the packs (stripe, role) that nobody could prove."""
        self._answer.bytes_read += foretell.reads(self._plan, work, self._size)
        lost = foretell.lost(self._plan, work)
        self._answer.lost += [planning.lost_blocks(self._manifest, each) for each in lost]
        unproved = foretell.unproved(work)
        kept = {each.role for each in lost} | {role for _, role in unproved}
        work = work._replace(wanted={role: drives for role, drives in work.wanted.items() if role not in kept})
        for role, drives in work.wanted.items():
            for drive in drives:
                self._say_made(drive)
                self._say(drive, work.stripe, role, work.lengths[role])
        return unproved

    def _landing(self, drive: Drive) -> None:
        with self._lock:
            self._say_made(drive)

    def _landed(self, stripe: int, role: int, drive: Drive) -> None:
        with self._lock:
            self._mended.add((id(drive), stripe))
            self._say(drive, stripe, role, self._record(stripe, role).length)

    def _say(self, drive: Drive, stripe: int, role: int, length: int) -> None:
        slot = mf.slot_of(stripe, role, self._manifest.n)
        self._wrote(drive, slot, mf.pack_name(stripe, role, self._geometry.data), length)

    def _wrote(self, drive: Drive, slot: int, path: str, length: int) -> None:
        answer = self._answer
        self._written.add((id(drive), path))
        answer.repaired_files += 1
        answer.bytes_written += length
        if len(answer.repaired) < MAX_LISTED:
            answer.repaired.append(Repaired(self._manifest.drives[slot].id, drive.mount, path, length))

    def _write_small(self) -> None:
        for task in self._plan.tasks:
            if task.view.drive not in self._failing:
                with self._caught(task.view.drive):
                    self._write_small_of(task)
        for drive, row in self._plan.onto:
            if drive not in self._failing:
                with self._caught(drive):
                    self._finish(drive, row)

    def _write_small_of(self, task: Task) -> None:
        note = task.view.rebuilt or UNSET
        if note and mf.CARD in task.small and not self._dry:
            put_note(task.view.drive, note)
        way = InTheWay(task.view.drive)
        for name in task.small:
            if (id(task.view.drive), name) in self._written:
                continue  # drive.json, of a drive that is made
            if not self._clear(way, task.view.drive, task.slot, name):
                continue
            if self._write_one(task.view.drive, task.slot, name, note):
                continue
            why = self._lacking(name)
            kind = next((fault.kind for fault in task.faults if fault.path == name), "rotten")
            self._answer.left.append(join.fault_at(task.view, name.encode(), kind, why, None))

    def _remove_halves(self) -> None:
        """What was written in this run has taken the place of what was left of it."""
        for task in self._plan.tasks:
            drive, todo, kept = task.view.drive, list(task.halves), list[Fault]()
            with self._caught(drive):
                while todo and drive not in self._failing:
                    path = todo[0].path or ""
                    name = path.removesuffix(PART)
                    gone = self._dry or (id(drive), name) in self._written or self._abandon(drive, name)
                    half = todo.pop(0)
                    if gone:
                        self._answer.removed.append(Removed(half.drive, half.mount, path))
                    else:
                        kept.append(half)
            self._answer.left += [*kept, *todo]

    @staticmethod
    def _abandon(drive: Drive, name: str) -> bool:
        """Whether NAME.part could be removed: not where something stands in the place of NAME."""
        try:
            drive.create(name).abandon()
        except (FormatError, DriveFault) as error:
            if not is_in_the_way(error):
                raise
            return False
        return True

    def _lacking(self, name: str, *, wanted: bool = False) -> str:
        """Why a file could not be had; where every drive carries it and no host keeps it back, the group wants it."""
        if name in mf.SEAL_FILES:
            return planning.NO_SEAL_HERE
        if self._files.hosts:
            self._answer.away = far_away.joined(
                self._answer.away, far_away.of_hosts(self._files.found, self._files.hosts)
            )
            return far_away.OF_HOSTS
        if name in {mf.PACKS, *PATTERNS} or wanted:
            sent = name_of(self._manifest.group, name) if name in PATTERNS else ""
            gone = GoneFile(self._manifest.group, name, sent)
            self._answer.gone += [] if gone in self._answer.gone else [gone]
        return NOWHERE

    def _tell_unwritable(self) -> None:
        """Drives that failed, and what was found wrong on them and is still so."""
        answer, manifest = self._answer, self._manifest
        here = [task.view.drive for task in self._plan.tasks]
        away = sum(row.id in answer.missing and row.id not in answer.rebuilt for row in manifest.drives)
        spare = away + self._failing.of(here) <= self._geometry.parity
        for task in self._plan.tasks:
            drive = task.view.drive
            if drive not in self._failing:
                continue
            names = [*(self._name(stripe, task.slot) for stripe in sorted(task.stripes)), *task.small]
            owed = {name for name in names if (id(drive), name) not in self._written}
            told = {(fault.mount, fault.path) for fault in answer.left}
            faults = [each for each in task.faults if each.path in owed and (each.mount, each.path) not in told]
            answer.left += faults[: MAX_LISTED - len(answer.left)]
            row = manifest.drives[task.slot]
            answer.unwritable.append(self._failing.told(drive, row, len(owed), onto=False, spare=spare))
        for drive, row in self._plan.onto:
            if drive in self._failing:
                files = sum(1 for stripe in self._todo[id(drive)] if self._length(stripe, row.slot)) + len(SMALL)
                written = sum(place == id(drive) for place, _ in self._written)
                left = max(0, files - written)
                answer.unwritable.append(self._failing.told(drive, row, left, onto=True, spare=spare))

    def _write_one(self, drive: Drive, slot: int, name: str, note: RebuiltNote | UnsetType) -> bool:
        """Write a small file, or say that it would be; False when nobody has it whole."""
        if self._dry:
            written = self._files.size(slot, name, note) if self._files.can(slot, name) else None
        else:
            try:
                written = self._files.write(drive, slot, name, note)
            except (FormatError, DriveFault) as error:
                if not is_in_the_way(error):
                    raise
                self._obstruct(drive, slot, InTheWay(drive).of(name) or name + PART)
                return True
        if written is not None:
            self._wrote(drive, slot, name, written)
        return written is not None

    def _finish(self, drive: Drive, row: DriveRow) -> None:
        """The small files of a drive that was rebuilt."""
        note = note_of(drive, self._at)
        whole = not any(lost.drive == row.id for lost in self._answer.lost)
        way = InTheWay(drive)
        for name in SMALL:
            if self._files.is_good(drive, row.slot, name, note):
                continue
            if not self._clear(way, drive, row.slot, name) or self._write_one(drive, row.slot, name, note):
                continue
            if name not in mf.SEAL_FILES:
                whole = False
                why = self._lacking(name)
                fault = Fault(drive=row.id, block=None, kind="missing", path=name, detail=why, mount=drive.mount)
                self._answer.left.append(fault)
        if self._dry and any(place == id(drive) for place, _ in self._written):
            return
        if whole and not any(mount == drive.mount for mount, _ in self._obstacles):
            self._answer.rebuilt.append(row.id)
