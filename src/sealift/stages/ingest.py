"""`sealift ingest --packs`: drives copied verbatim to where the destination keeps things, rebuilt on the way.

    survey -> plan: every pack of every drive -> copy_pack, many at once -> small files, the manifest last -> Result

What holds: every block of a pack is compared with its signed hash before the pack appears at the destination, wherever
it came from; what is missing or rotten here is rebuilt from the rest of its stripe, so that with parity enough all n
drives of a group come to stand there, in folders (or prefixes) gGsS that any reader opens. A bucket has said the digest
of what it holds; a folder's packs were fsynced. A copy in a bucket may be read for its own: what is missing there comes
by parity. Nothing is written over: what stands there already counts where it is what belongs there, which is read and
compared, and is named and left where it is not. No key is needed.

The unit of work is a pack: `copy_pack` is a function of a group, a pack and a drive to write to, and knows nothing of
the others. On several hosts each copies its share of the drives (ingest_hosts.py). A pack that was copied is noted at
the destination, beside the drives (Notes and ObjectNotes of unpack): a run that goes on, on this host or another, reads
what may be another by now (ingest_there.Standing), and nothing else of what is noted. Memory: a copy holds 2 x CHUNK,
and an upload that of drives.objects beside it; COPIES of them are under way.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter, deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from msgspec import UNSET

from sealift.drives.base import aligned_buffer, is_in_the_way
from sealift.drives.locations import COPYING, is_store, open_to_write, place_of, refuse_on_a_drive
from sealift.errors import BadInput, DriveFault, FormatError, Interrupted, Lost, SealInvalid
from sealift.formats import locations as places
from sealift.formats import manifest as mf
from sealift.formats.manifest import BLOCK
from sealift.reading.group import GroupReader
from sealift.reading.survey import refuse_others, survey, unused
from sealift.reading.survey_mixed import refuse_mixed
from sealift.stages.foreign import Foreign, beside_drives
from sealift.stages.ingest_seal import bring_up
from sealift.stages.ingest_there import Standing, count_there, digest_of, mark_of
from sealift.stages.repair_files import SMALL, SmallFiles
from sealift.stages.repair_plan import card_of
from sealift.stages.unpack_notes import Notes
from sealift.stages.unpack_objects import ALTERED, MANY, OTHER, TRIES, ObjectNotes, is_one, is_worth_a_try, told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from msgspec import UnsetType

    from sealift.drives.base import Drive
    from sealift.drives.object_prefix import Put
    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.formats.manifest import DriveRow, RebuiltNote
    from sealift.formats.seal import SealGroup
    from sealift.reading.survey import GroupView, Survey
    from sealift.stages.verify_report import HostRow

NOTE = COPYING
CHUNK = 2 * BLOCK  # read, checked and written at a time
COPIES = 8  # packs under way
_A_DRIVE = 2  # of which so many are read from one drive
_AHEAD = 4 * CHUNK  # bytes of which a drive is told before they are read
_POLL = 0.2


class Unit(NamedTuple):
    """One pack of one drive."""

    group: int
    slot: int
    stripe: int

    @property
    def name(self) -> str:
        """How it is noted when it is there."""
        return f"pack {self.group} {self.slot} {self.stripe}"


class Copied(NamedTuple):
    """What came of a pack: written, there already, `other`: not taken by the destination, None: it cannot be had."""

    put: Put | None
    size: int = 0  # bytes
    rebuilt: int = 0  # blocks of it that came by parity
    mark: str = ""  # by which a folder's pack is told from another that is put in its place
    why: str = ""


@dataclass
class Options:
    """What `sealift ingest --packs` was asked for."""

    mounts: list[str]
    to: str
    allowed: AllowedSigners
    seal: dict[str, bytes] | None


@dataclass
class Events:
    """How a run tells what it does; `progress` gets bytes so far, of how many, and by drive."""

    notice: Callable[[str], None] = lambda _text: None
    progress: Callable[[int, int, dict[str, int]], None] = lambda _done, _total, _drives: None


@dataclass
class Result:
    """What stands at the destination; the JSON of `sealift ingest --packs` is made of it."""

    shipment: str
    drives: dict[str, str] = field(default_factory=dict)  # id -> location, of those that were copied or rebuilt
    packs: int = 0  # that are there now,
    size: int = 0  # their bytes,
    there: int = 0  # and those of them that were there before
    rebuilt_blocks: int = 0
    failed: list[tuple[str, str, str]] = field(default_factory=list)  # location, file, why it cannot be had
    refused: list[tuple[str, str, str]] = field(default_factory=list)  # the same: why the destination did not take it
    missing_drives: list[str] = field(default_factory=list)  # of the groups that are here
    short_groups: list[int] = field(default_factory=list)  # of which too few drives are here to rebuild the others
    missing_groups: list[dict[str, Any]] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)
    foreign: Foreign = field(default_factory=Foreign)  # what else is there
    out_of_reach: list[str] = field(default_factory=list)  # drives that were needed on a host, and stand on another
    hosts: list[HostRow] = field(default_factory=list)  # of a cluster
    resealed: int = 0  # drives there whose seal was superseded by the one that is used, and is replaced
    seconds: float = 0.0


class Share(NamedTuple):
    """Of a copying by several hosts (ingest_hosts.py) what one does.

    Which drives it has come to stand at the destination; which other drives it may read for that; and what drives of
    these groups stand on other hosts, by group and slot.
    """

    drives: frozenset[tuple[int, int]]
    beside: list[Drive]
    stands: dict[int, dict[int, str]]

    def out_of_reach(self, group: GroupView) -> list[str]:
        """Drives of a group that stand on other hosts, and cannot be read from here."""
        return [name for slot, name in self.stands.get(group.group, {}).items() if slot not in group.copies]


class Noted(Protocol):
    """Where it is noted what is done."""

    done: dict[str, str]  # with the mark, or for a bucket the moment of the note

    def note(self, job: str, mark: str = "") -> None:
        """It stands at the destination, durable."""


class _Stopped(Exception):
    """The run ends: nothing more is copied."""


def copy_pack(
    reader: GroupReader,
    drive: Drive,
    stripe: int,
    role: int,
    tell: Callable[[int], None] = lambda _size: None,
) -> Copied:
    """Write one pack to `drive`, under its lock; `tell` gets the bytes of each step. DriveFault of that drive."""
    name, record = mf.pack_name(stripe, role, reader.data), reader.record(stripe, role)
    try:
        size = drive.size(name)
        if size is not None:
            same = size == record.length and digest_of(drive, name) == record.blake3
            return Copied("there", record.length) if same else Copied("other", why=ALTERED)
        part = drive.create(name, direct=True)
    except (FormatError, DriveFault) as error:
        if not is_in_the_way(error):
            raise
        return Copied("other", why=OTHER)
    buffer = aligned_buffer(CHUNK)
    try:
        for at in range(0, record.length, CHUNK):
            length = min(CHUNK, record.length - at)
            reader.will_need(stripe, role, at + length, min(_AHEAD, record.length - at - length))
            for offset, block in _blocks(reader, stripe, role, at, buffer[:length]):
                part.write_at(offset, [block])
            tell(length)
        part.publish()
    except (Lost, FormatError) as error:
        return Copied(None, why=str(error))
    finally:
        part.abandon()  # which does nothing to what was published
    drive.sync_folder(name)
    return Copied("written", record.length, reader.packs[stripe, role])


def _blocks(
    reader: GroupReader, stripe: int, role: int, at: int, buffer: memoryview
) -> Iterator[tuple[int, memoryview]]:
    """The blocks of a pack from byte `at`, each as it was signed, from its drive or by parity. Lost, FormatError."""
    got = reader.read(stripe, role, at, buffer)
    for start in range(0, len(buffer), BLOCK):
        length, number = min(BLOCK, len(buffer) - start), (at + start) // BLOCK
        block = None if got is None else got.piece(start, length)
        if got is None or block is None or not reader.is_block(stripe, role, number, block):
            block = memoryview(reader.block(stripe, role, number))
        elif got.came == "rebuilt":
            reader.count_rebuilt(stripe, role, at + start, length)
        yield at + start, block


def ingest(options: Options, events: Events) -> Result:
    """Copy every drive that is here, and those that can be rebuilt, to `options.to`. SealiftError, Interrupted."""
    begun = time.monotonic()
    found, result = _begin(options, events)
    result.missing_groups = missing_groups(found.absent)
    with told(), notes_of(options.to, result.shipment) as notes:
        _copy(_Run(options, events, found, notes, result))
        assert found.trusted is not None, "as _begin found"
        result.foreign = beside_drives(options.to, found.trusted.seal)
        sealed = {group.group: group for group in found.trusted.seal.groups}
        count_there(result, options.to, sealed, options.allowed, dict(found.trusted.files), notes.done)
        end(result, notes)
    result.seconds = time.monotonic() - begun
    return result


def copy_share(options: Options, share: Share, notes: Noted, events: Events) -> Result:
    """On one host of several: its share of it, noted by whoever keeps the notes. Errors as of ingest."""
    found, result = _begin(options, events, share)
    with told():
        _copy(_Run(options, events, found, notes, result, share))
    for group in found.groups:
        names = {row.id for row in group.manifest.drives}
        if group.group in result.short_groups or any(os.path.basename(at) in names for at, _, _ in result.failed):
            result.out_of_reach += share.out_of_reach(group)
    return result


def _begin(options: Options, events: Events, share: Share | None = None) -> tuple[Survey, Result]:
    found = _look(options, share.beside if share is not None else [])
    assert found.trusted is not None, "without a seal it was refused"
    result = Result(found.trusted.seal.shipment, ignored=unused(found))
    for mount, why in result.ignored:
        events.notice(f"{mount} is ignored: {why}")
    for notice in found.notices:
        events.notice(notice)
    return found, result


def _copy(run: _Run) -> None:
    try:
        run.all()
    finally:
        run.close()


def missing_groups(absent: Sequence[SealGroup]) -> list[dict[str, Any]]:
    """What of the seal is nowhere here, for a result."""
    return [
        {
            "group": group.group,
            "drives": [f"{each.id} (serial {each.serial}, {each.carrier or 'no carrier'})" for each in group.drives],
            "files": group.totals.files,
            "bytes": group.totals.source_bytes,
        }
        for group in absent
    ]


def notes_of(to: str, shipment: str) -> Notes | ObjectNotes:
    """The notes of a destination, under their lock. BadInput, Busy, DriveFault."""
    if is_store(to):
        return ObjectNotes(to, shipment, [], note=NOTE)
    return Notes(to, shipment, [], note=NOTE, beside=True)


def _look(options: Options, beside: Sequence[Drive]) -> Survey:
    """What is here, which must be sealed, and none of which may stand where it would be copied to."""
    found = survey([*options.mounts, *beside], allowed=options.allowed, seal=options.seal)
    refuse_others(found)
    if options.seal is None:
        refuse_mixed(found)
    if found.trusted is None or not any(group.trusted for group in found.groups):
        raise SealInvalid(
            "no seal that is of these drives" if found.trusted else found.why_no_seal,
            hint="--seal FILE, as the origin sent it ahead by network",
        )
    refuse_on_a_drive(options.to, [view.drive for view in found.views if view.standing != "empty"])
    return found


def end(result: Result, notes: Notes | ObjectNotes) -> None:
    """Without open ends nothing of the notes stays."""
    whole = not (result.failed or result.refused)
    if whole and not (result.missing_groups or result.short_groups or any(host.owed for host in result.hosts)):
        notes.remove()


class _Target:
    """One drive as it comes to stand at the destination."""

    def __init__(self, group: GroupView, row: DriveRow, location: str) -> None:
        self.group, self.row, self.location = group, row, location
        own = (view for view in group.copies.get(row.slot, ()) if not view.apart)
        view = next(own, None)  # what stands apart is only read
        if not is_store(location):
            try:
                os.makedirs(location, exist_ok=True)
            except OSError as error:
                hint = "--to takes a folder that you may write to"
                raise BadInput(f"{location}: {error.strerror}", hint=hint) from error
        self.drive = open_to_write(location)
        card = card_of(self.drive)
        if card is not None and not group.manifest.is_card(row.slot, card):
            raise BadInput(
                f"{location} holds another drive, {card.id} of shipment {card.shipment}",
                hint="give another place with --to; nothing there was changed",
            )
        self.note: RebuiltNote | UnsetType = UNSET
        if card is not None:
            self.note = card.rebuilt
        elif view is None:
            self.note = mf.RebuiltNote(at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), serial="")
        elif view.rebuilt is not None and (view.card is None or group.manifest.is_card(row.slot, view.card)):
            self.note = view.rebuilt


class _Run:
    """One ingest of packs: what there is to do, what is under way, what came of it."""

    def __init__(
        self,
        options: Options,
        events: Events,
        found: Survey,
        notes: Noted,
        result: Result,
        share: Share | None = None,
    ) -> None:
        self._events, self._found, self._notes, self._result = events, found, notes, result
        self._share = share
        self._to, self._allowed = options.to.rstrip("/"), options.allowed
        self._readers = {group.group: GroupReader(group) for group in found.groups if group.trusted}
        self._targets: dict[tuple[int, int], _Target] = {}
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._bytes: Counter[str] = Counter()  # by location
        self._total = self._faults = 0

    def close(self) -> None:
        """Give up locks and close files."""
        for target in self._targets.values():
            target.drive.unlock()
        for reader in self._readers.values():
            reader.close()

    def all(self) -> None:
        """Everything that can be had."""
        self._place()
        queues = {key: deque(self._units(target)) for key, target in self._targets.items()}
        with ThreadPoolExecutor(COPIES, thread_name_prefix="small") as pool:
            list(pool.map(self._claim, self._targets.values()))
        self._copy(queues)
        with ThreadPoolExecutor(COPIES, thread_name_prefix="small") as pool:
            list(pool.map(self._finish, self._targets.values()))
        self._result.rebuilt_blocks = sum(sum(reader.rebuilt.values()) for reader in self._readers.values())

    def _place(self) -> None:
        """Which drives come to stand where, locked; drives that cannot be made yet are named."""
        sources = {place_of(view.drive): view.mount for view in self._found.views}
        for group in self._found.groups:
            if not group.trusted:
                continue
            here, rows = group.copies, group.manifest.drives
            stands = self._share.stands.get(group.group, {}) if self._share is not None else {}
            if self._share is not None:
                rows = [row for row in rows if (group.group, row.slot) in self._share.drives]
            short = len(here) < group.manifest.geometry.data
            if short and any(row.slot not in here for row in rows):
                self._result.short_groups.append(group.group)
            for row in rows:
                if row.slot not in here and row.slot not in stands:
                    named = f"{row.id} (serial {row.serial}, {row.carrier or 'no carrier'})"
                    self._result.missing_drives.append(named)
                if short and row.slot not in here:
                    continue
                target = _Target(group, row, f"{self._to}/{row.id}")
                if (place := place_of(target.drive)) in sources and not is_store(target.location):
                    raise BadInput(
                        f"{target.location} is {sources[place]}: nothing is copied onto itself",
                        hint="`sealift repair` makes a mounted drive whole",
                    )
                target.drive.lock()
                self._targets[group.group, row.slot] = target
                self._result.drives[row.id] = target.location

    def _units(self, target: _Target) -> Iterator[Unit]:
        """Packs of a drive that are to be copied, or read; what is noted as done, and as it was, is neither."""
        group, slot = target.group.group, target.row.slot
        manifest, reader = target.group.manifest, self._readers[group]
        limit = 2 * manifest.geometry.stripes + 1000
        there = Standing(target.drive, limit)
        for stripe in range(manifest.geometry.stripes):
            role = mf.role_of(stripe, slot, manifest.n)
            try:
                length = reader.record(stripe, role).length
            except FormatError:
                length = -1  # copy_pack says what is wrong
            if not length:
                continue
            self._total += max(0, length)
            unit, name = Unit(group, slot, stripe), mf.pack_name(stripe, role, manifest.geometry.data)
            mark = self._notes.done.get(unit.name)
            if mark is not None and there.is_as_noted(name, length, mark):
                self._count(unit, Copied("there", length))
                self._tell(target.location, length)
            else:
                yield unit

    def _claim(self, target: _Target) -> None:
        """drive.json first: so that nobody takes a half-copied drive for something else."""
        files = SmallFiles(self._found, target.group)
        with contextlib.suppress(FormatError):  # something else stands there, which is told at the end
            if target.drive.size(mf.CARD) is None:
                files.write(target.drive, target.row.slot, mf.CARD, target.note)

    # Copying

    def _copy(self, queues: dict[tuple[int, int], deque[Unit]]) -> None:
        """COPIES at once, of each drive a few; this thread gathers and notes. Interrupted."""
        running: dict[Future[Copied], Unit] = {}
        busy: Counter[tuple[int, int]] = Counter()
        with ThreadPoolExecutor(COPIES, thread_name_prefix="copy") as pool:
            try:
                while running or any(queues.values()):
                    for key in sorted(queues, key=lambda key: busy[key]):
                        if len(running) < COPIES and busy[key] < _A_DRIVE and queues[key]:
                            unit = queues[key].popleft()
                            running[pool.submit(self._one, unit)] = unit
                            busy[key] += 1
                    done, _ = wait(running, _POLL, FIRST_COMPLETED)
                    for future in done:
                        unit = running.pop(future)
                        busy[unit.group, unit.slot] -= 1
                        self._count(unit, future.result(), note=True)
                    self._progress()
            except BaseException as error:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                if isinstance(error, KeyboardInterrupt):
                    raise Interrupted(
                        "interrupted; what was copied is noted at the destination", hint="run the same command again"
                    ) from error
                raise

    def _one(self, unit: Unit) -> Copied:
        target, reader = self._targets[unit.group, unit.slot], self._readers[unit.group]
        role = mf.role_of(unit.stripe, unit.slot, reader.n)

        def tell(size: int) -> None:
            if self._stop.is_set():
                raise _Stopped
            self._tell(target.location, size)

        for left in reversed(range(TRIES)):
            try:
                copied = copy_pack(reader, target.drive, unit.stripe, role, tell)
                name = mf.pack_name(unit.stripe, role, reader.data)
                stands = copied.put in {"written", "there"}
                return copied._replace(mark=mark_of(target.drive, name)) if stands else copied
            except FormatError as error:  # the record of the pack, on every drive
                return Copied(None, why=str(error))
            except DriveFault as error:
                if not is_one(error):
                    raise
                fault, last = error, not left or not is_worth_a_try(error)
                self._again(fault, last=last)
                if last:
                    break
        return Copied("other", why=str(fault))

    def _again(self, fault: DriveFault, *, last: bool) -> None:
        """A pack was not taken; when that has happened to MANY, it is the destination that fails."""
        with self._lock:
            self._faults += last
            many = self._faults >= MANY
        if many:
            raise fault

    def _tell(self, location: str, size: int) -> None:
        with self._lock:
            self._bytes[location] += size

    def _progress(self) -> None:
        with self._lock:
            self._events.progress(sum(self._bytes.values()), self._total, dict(self._bytes))

    def _count(self, unit: Unit, copied: Copied, *, note: bool = False) -> None:
        result, target = self._result, self._targets[unit.group, unit.slot]
        manifest = target.group.manifest
        name = mf.pack_name(unit.stripe, mf.role_of(unit.stripe, unit.slot, manifest.n), manifest.geometry.data)
        if copied.put is None:
            result.failed.append((target.location, name, copied.why))
        elif copied.put == "other":
            result.refused.append((target.location, name, copied.why))
        else:
            result.packs += 1
            result.size += copied.size
            result.there += copied.put == "there"
            if note:
                self._notes.note(unit.name, copied.mark)

    # Small files

    def _finish(self, target: _Target) -> None:
        """The small files of a drive, the manifest last: what reads it knows by that that all was tried."""
        files, slot = SmallFiles(self._found, target.group), target.row.slot
        assert self._found.trusted is not None, "as _begin found"
        if bring_up(self._to, target.drive, self._found.trusted, self._allowed):
            with self._lock:
                self._result.resealed += 1
        for name in SMALL:
            try:
                size = target.drive.size(name)
            except FormatError:
                size = -1
            if size is not None:
                if not files.is_good(target.drive, slot, name, target.note):
                    self._result.refused.append((target.location, name, OTHER if size < 0 else ALTERED))
                continue
            if files.write(target.drive, slot, name, target.note) is None:
                self._result.failed.append((target.location, name, "no drive here has it whole"))


def write_locations(path: str, to: str, result: Result) -> str | None:
    """A locations file of what stands at `to`, and what a file of ours at `path` knows there of other groups.

    The new name of what was there, if anything else was; that is kept. BadInput.
    """
    from sealift.trade.signing import write_over

    rows = [
        places.DriveRow(name=each, at=at) if is_store(at) else places.DriveRow(at=os.path.abspath(at))
        for each, at in result.drives.items()
    ]
    before = _rows_of(path)
    place = to.rstrip("/") if is_store(to) else os.path.abspath(to)
    names = {row.name or row.at for row in rows}
    earlier = [row for row in before or [] if row.at.rpartition("/")[0] == place and (row.name or row.at) not in names]
    rows += earlier  # of batches that came before
    if before == rows:
        return None
    return write_over(path, places.encode(rows), keep=before is None or any(row not in rows for row in before))


def _rows_of(path: str) -> list[places.DriveRow] | None:
    """The rows of a locations file that is as we write them; None where anything else is there, or nothing."""
    try:
        with open(path, "rb") as file:
            data = file.read(places.MAX_FILE + 1)
        rows = places.parse(data, path).drive
    except (OSError, ValueError, BadInput):
        return None
    return rows if places.encode(rows) == data else None
