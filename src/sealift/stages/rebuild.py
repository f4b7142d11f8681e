"""Packs rebuilt from the rest of their stripe, slab by slab: what repair does, and packing when a drive is replaced.

    a slab of a stripe:  read what the wanted packs still have -> check -> (where blocks are bad: read k others ->
                         check -> solve -> check) -> write beside
    all slabs written:   fsync -> rename over the name -> fsync the folder

What holds: no byte is used or written that its block hash does not cover, wherever it came from; a pack appears
under its name only when every block of it was proved, and what lay there before is untouched until then. Blocks that
cannot be had are named and their pack is left as it is. Memory is n x slab_of(n) x AHEAD. Every drive has a
reader, every target a writer, so that the slowest drive sets the pace and not the sum of all.

What is not here: which packs are wrong (stages/repair.py, stages/pack), small files, what is signed.
"""

from __future__ import annotations

import contextlib
import errno
import queue
import threading
from collections import OrderedDict
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from blake3 import blake3

from sealift.drives.base import ALIGN, aligned_buffer, errno_of, is_in_the_way, is_missing, reason
from sealift.drives.ranges import RemoteDrive
from sealift.errors import DriveFault, FormatError
from sealift.formats import manifest as mf
from sealift.formats import parity as code
from sealift.formats.manifest import BLOCK
from sealift.stages.verify_verdict import LostPack, add_lost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sealift.drives.base import Drive, PartFile, ReadFile

MAX_SLAB = 4  # blocks
AHEAD = 3  # slabs in flight
GIVE_UP = 32  # blocks that a drive fails one after the other before it is asked for nothing more
FAR = 2 * BLOCK  # bytes of a drive in another host that are read at a time: longer ranges take a detour in memory
MAX_NOTICED = 10_000
_Why = Literal["unreadable", "missing"]
_GONE = {errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN, errno.ESHUTDOWN, errno.ENOMEDIUM}


def slab_of(n: int) -> int:
    """Bytes of each of n packs that are worked on at a time: long where packs are few, as each wakes n threads."""
    return BLOCK * max(1, min(MAX_SLAB, 64 // n))


class _Stopped(Exception):
    """Another part of the rebuild failed or was interrupted: a slab that was not written must not seem to be."""


class StripeWork(NamedTuple):
    """What is wanted of one stripe.

    `lengths` by role; `hashes(role, first, stop)` gives the BLAKE3 digests of those blocks, 32 bytes each, and may
    raise FormatError; `wanted`: role -> the drives that shall have this pack. A drive that is among the sources gives
    the blocks it still has whole.
    """

    stripe: int
    lengths: Sequence[int]
    hashes: Callable[[int, int, int], bytes]
    wanted: Mapping[int, Sequence[Drive]]


class Noticed(NamedTuple):
    """A block of a drive that was read for a rebuild, and was not as its hash says (rotten), or did not read.

    `kind` as of Fault: rotten, unreadable or missing.
    """

    mount: str
    stripe: int
    role: int
    block: int
    kind: Literal["rotten", "unreadable", "missing"] = "rotten"


class Progress(NamedTuple):
    """Bytes so far: read, and written; by mount of the target."""

    read: int
    written: int
    targets: dict[str, int]


@dataclass
class Rebuilt:
    """What came of it. `lost` are blocks that could not be had: their packs were not touched.

    Nor were those of `withheld`, which could be had if drives in other hosts gave what was signed; `hosts` says of each
    that does not what it did first (mount -> in words), whether others had it or not.
    """

    packs: int = 0
    blocks: int = 0  # solved from others; the rest of a pack was copied
    bytes_read: int = 0
    bytes_written: int = 0
    lost: list[LostPack] = field(default_factory=list)
    withheld: list[LostPack] = field(default_factory=list)
    hosts: dict[str, str] = field(default_factory=dict)
    unproved: set[tuple[int, int]] = field(default_factory=set)  # stripe, role: hashes that it takes are on no drive
    noticed: list[Noticed] = field(default_factory=list)


def rebuild(
    works: Iterable[StripeWork],
    data: int,
    parity: int,
    sources: Mapping[int, Sequence[Drive]],
    *,
    progress: Callable[[Progress], object] = lambda _progress: None,
    landed: Callable[[int, int, Drive], object] = lambda _stripe, _role, _drive: None,
    refused: Callable[[int, int, Drive, str], object] | None = None,
    failed: Callable[[Drive, DriveFault], object] | None = None,
    noticed: Callable[[Noticed], object] = lambda _noticed: None,
) -> Rebuilt:
    """Rebuild every wanted pack from `sources` (slot -> drives that hold its packs); needs the targets' locks.

    `landed(stripe, role, drive)` is called when a pack is durable under its name, in any order, from other threads.
    `refused(stripe, role, drive, why)`: something that we did not write stands where the pack belongs (a folder, or
    above it what is none); the others go on. Without it, that is raised. `failed(drive, error)`: a target fails; it is
    written no more, what was renamed there stays, the rest is as it was, and the other targets go on. Without it, that
    is raised as DriveFault. `noticed` is called as soon as a block that is read to solve others is found wrong, from
    other threads, so that it is known whatever comes of the rebuild.
    """
    run = _Run(data, parity, sources, progress, landed, refused, failed, noticed)
    try:
        run.all(works)
    finally:
        run.close()
    return run.result


class _Sources:
    """Open packs of the drives that are read, and which drives answer no more."""

    def __init__(self, drives: Mapping[int, Sequence[Drive]], data: int) -> None:
        self._drives, self._data = drives, data
        self._readers = {slot: ThreadPoolExecutor(1, thread_name_prefix=f"read-{slot}") for slot in drives}
        self._open: dict[int, OrderedDict[tuple[int, int], ReadFile | _Why]] = {slot: OrderedDict() for slot in drives}
        self._failed: dict[str, int] = {}
        self._why: dict[str, str] = {}  # mount -> what it last failed with
        self.hosts: dict[str, str] = {}  # as of Rebuilt
        self.bytes_read = 0
        self._lock = threading.Lock()

    def has(self, slot: int) -> bool:
        """Whether a drive of this slot is here."""
        return bool(self._drives.get(slot))

    def read(self, slot: int, stripe: int, role: int, offset: int, column: _Column) -> Future[None]:
        """Fill a column from the first copy that has each block whole."""
        return self._readers[slot].submit(self._read, slot, stripe, role, offset, column)

    def _read(self, slot: int, stripe: int, role: int, offset: int, column: _Column) -> None:
        for number, drive in enumerate(self._drives[slot]):
            column.away |= isinstance(drive, RemoteDrive)
            if self._failed.get(drive.mount, 0) >= GIVE_UP:
                continue
            self._why.pop(drive.mount, None)
            file = self._file(slot, number, drive, stripe, role)
            if isinstance(file, str):
                column.why = column.why or file
            else:
                self._fill(file, drive, offset, column)
            if all(column.good):
                return
            if isinstance(drive, RemoteDrive):
                self._not_given(drive, mf.pack_name(stripe, role, self._data), column)

    def _not_given(self, drive: RemoteDrive, name: str, column: _Column) -> None:
        """Note what a host did in place of giving what was signed; without hashes nobody can say that it was not."""
        why = self._why.get(drive.mount, "" if column.proves else None)
        if why is not None:
            self.hosts.setdefault(
                drive.mount, reason(why, drive.mount) or f"what it gives of {name} is not what was signed"
            )

    def _fill(self, file: ReadFile, drive: Drive, offset: int, column: _Column) -> None:
        target = column.memory if not any(column.good) else column.spare()
        try:
            want = target[: -(-column.length // ALIGN) * ALIGN]
            got = min(_read(file, offset, want, FAR if isinstance(drive, RemoteDrive) else len(want)), column.length)
            self._failed[drive.mount] = 0
            with self._lock:
                self.bytes_read += got
            column.take(target, got)
        except DriveFault as error:
            self._why[drive.mount] = str(error)
            if errno_of(error) in _GONE:
                self._failed[drive.mount] = GIVE_UP
                column.why = column.why or "unreadable"
                return
            self._by_block(file, drive, offset, column)

    def _by_block(self, file: ReadFile, drive: Drive, offset: int, column: _Column) -> None:
        """Block by block, where the slab as a whole did not read."""
        answered = False
        for number in range(len(column.good)):
            if not column.good[number]:
                try:
                    piece = file.read_at(offset + number * BLOCK, min(BLOCK, column.length - number * BLOCK))
                except DriveFault:
                    column.unread.add(number)
                    continue
                column.take_block(number, piece)
                answered = True
        self._failed[drive.mount] = 0 if answered else self._failed.get(drive.mount, 0) + len(column.good)

    def _file(self, slot: int, number: int, drive: Drive, stripe: int, role: int) -> ReadFile | _Why:
        """The open pack, or why there is none."""
        files, key = self._open[slot], (stripe, number)
        if key not in files:
            file: ReadFile | _Why
            try:
                file = drive.open_read(mf.pack_name(stripe, role, self._data), direct=True)
            except FormatError as error:
                file, self._why[drive.mount] = "missing", str(error)
            except DriveFault as error:
                file = "missing" if is_missing(error) else "unreadable"
                self._why[drive.mount] = str(error)
            files[key] = file
            while len(files) > 4 * len(self._drives[slot]):
                old = files.popitem(last=False)[1]
                if not isinstance(old, str):
                    old.close()
        return files[key]

    def close(self) -> None:
        for reader in self._readers.values():
            reader.shutdown()
        for files in self._open.values():
            for file in files.values():
                if not isinstance(file, str):
                    file.close()


def _read(file: ReadFile, offset: int, buffer: memoryview, step: int) -> int:
    done = 0
    while done < len(buffer):
        got = file.readinto_at(offset + done, buffer[done : done + step])
        done += got
        if got < step:
            break
    return done


class _Column:
    """The bytes of one role in one slab: `length` of them, and which blocks are as their hashes say."""

    def __init__(self, memory: memoryview, length: int, hashes: bytes | None) -> None:
        self.memory, self.length, self._hashes = memory, length, hashes
        blocks = -(-length // BLOCK)
        self.good = [False] * blocks
        self.read = False
        self.unread: set[int] = set()  # blocks that did not read
        self.why: _Why | None = None  # why no copy was there to read
        self.away = False  # a drive in another host was asked
        self.proves = hashes is not None

    def spare(self) -> memoryview:
        """Another buffer, for a second copy of a drive; rare."""
        return aligned_buffer(len(self.memory))

    def take(self, data: memoryview, got: int) -> None:
        """Keep the blocks of `data` (which may be this column's own memory) that are right."""
        for number in range(-(-got // BLOCK)):
            start, stop = number * BLOCK, min((number + 1) * BLOCK, self.length)
            if stop <= got and not self.good[number]:
                self._check(number, data[start:stop], own=data is self.memory)

    def take_block(self, number: int, piece: bytes) -> None:
        """Keep one block if it is right."""
        if len(piece) == min(BLOCK, self.length - number * BLOCK):
            self._check(number, memoryview(piece), own=False)

    def _check(self, number: int, piece: memoryview, *, own: bool) -> None:
        if self._hashes is not None and blake3(piece).digest() == self._hashes[number * 32 : number * 32 + 32]:
            self.good[number] = True
            if not own:
                self.memory[number * BLOCK : number * BLOCK + len(piece)] = piece

    def pad(self, size: int) -> None:
        """Zeros after the end of the pack, as the code reads it."""
        if self.length < size:
            self.memory[self.length : size] = bytes(size - self.length)

    def whole(self, number: int) -> bool:
        """Whether block `number` can be used; beyond the end of the pack it is zeros, and known."""
        return number >= len(self.good) or self.good[number]

    def kind(self, number: int) -> Literal["rotten", "unreadable", "missing"]:
        """What is wrong with a block that is not good."""
        return self.why or ("unreadable" if number in self.unread else "rotten")

    def prove(self, number: int) -> bool:
        """Check a block that was solved into this column's memory."""
        self._check(number, self.memory[number * BLOCK : min((number + 1) * BLOCK, self.length)], own=True)
        return self.good[number]


@dataclass
class _Stripe:
    """A stripe whose wanted packs are under way."""

    work: StripeWork
    left: int  # slabs
    parts: dict[tuple[int, int], PartFile] = field(default_factory=dict)  # (role, place in wanted)
    lost: set[int] = field(default_factory=set)
    refused: set[tuple[int, int]] = field(default_factory=set)  # (role, place in wanted)


class _Run:
    """One rebuild: slabs are worked on AHEAD at a time, each in its own memory."""

    def __init__(
        self,
        data: int,
        parity: int,
        sources: Mapping[int, Sequence[Drive]],
        progress: Callable[[Progress], object],
        landed: Callable[[int, int, Drive], object],
        refused: Callable[[int, int, Drive, str], object] | None,
        failed: Callable[[Drive, DriveFault], object] | None,
        noticed: Callable[[Noticed], object],
    ) -> None:
        self._data, self._parity, self._n = data, parity, data + parity
        self._slab_bytes = slab_of(self._n)
        self._sources = _Sources(sources, data)
        self._mounts = {slot: [drive.mount for drive in drives] for slot, drives in sources.items()}
        self._progress, self._landed, self._refused, self._failed = progress, landed, refused, failed
        self._noticed = noticed
        self._dead: set[str] = set()  # mounts of targets that failed
        self._slabs = ThreadPoolExecutor(AHEAD, thread_name_prefix="slab")
        self._writers: dict[str, ThreadPoolExecutor] = {}
        self._memory: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        for _ in range(AHEAD):
            self._memory.put(aligned_buffer(self._n * self._slab_bytes))
        self._lock = threading.Lock()
        self._open: list[_Stripe] = []
        self._jobs: set[Future[None]] = set()
        self._targets: dict[str, int] = {}
        self._stopped = False
        self.result = Rebuilt()

    def all(self, works: Iterable[StripeWork]) -> None:
        for work in works:
            wanted = {
                role: left
                for role, drives in work.wanted.items()
                if work.lengths[role] and (left := [drive for drive in drives if drive.mount not in self._dead])
            }
            if not wanted:
                continue
            longest = max(work.lengths[role] for role in wanted)
            count = -(-longest // self._slab_bytes)
            stripe = _Stripe(work._replace(wanted=wanted), count)
            with self._lock:
                self._open.append(stripe)
            for number in range(count):
                self._settle(AHEAD)
                self._jobs.add(self._slabs.submit(self._slab, stripe, number))
        self._settle(0)

    def _settle(self, most: int) -> None:
        """Wait until at most `most` jobs are under way; raise what one raised."""
        while self._jobs:
            done, self._jobs = wait(
                self._jobs, timeout=0 if len(self._jobs) <= most else 0.5, return_when=FIRST_COMPLETED
            )
            for job in done:
                job.result()
            self._tell()
            if len(self._jobs) <= most and not done:
                return

    def _tell(self) -> None:
        self.result.bytes_read, self.result.hosts = self._sources.bytes_read, dict(self._sources.hosts)
        self._progress(Progress(self.result.bytes_read, self.result.bytes_written, dict(self._targets)))

    def _slab(self, stripe: _Stripe, number: int) -> None:
        if self._stopped:
            raise _Stopped
        memory = self._memory.get()
        try:
            columns = self._solve(stripe, number, memory)
            self._write(stripe, number, columns)
        finally:
            self._memory.put(memory)
        with self._lock:
            stripe.left -= 1
            last = stripe.left == 0
        if last:
            self._publish(stripe)

    def _solve(self, stripe: _Stripe, number: int, memory: memoryview) -> dict[int, _Column]:
        """The wanted columns of a slab, every block of them right, or lost and said so."""
        work, offset = stripe.work, number * self._slab_bytes
        size = min(self._slab_bytes, max(work.lengths) - offset)
        size = -(-size // BLOCK) * BLOCK
        columns = {role: self._column(work, role, offset, memory) for role in range(self._n)}
        self._fetch(work, offset, columns, [role for role in work.wanted if columns[role].length])
        if all(all(columns[role].good) for role in work.wanted):
            return {role: columns[role] for role in work.wanted}
        blocks = size // BLOCK
        while short := self._short(columns, blocks, work.wanted):
            others = [role for role, column in columns.items() if column.length and not column.read]
            others = [role for role in others if self._sources.has(mf.slot_of(work.stripe, role, self._n))]
            if not others:
                break
            self._fetch(work, offset, columns, others[:short])
        for column in columns.values():
            column.pad(size)
        self._code(stripe, offset // BLOCK, blocks, columns)
        return {role: columns[role] for role in work.wanted}

    def _column(self, work: StripeWork, role: int, offset: int, memory: memoryview) -> _Column:
        length = max(0, min(self._slab_bytes, work.lengths[role] - offset))
        first = offset // BLOCK
        hashes: bytes | None = None
        with contextlib.suppress(FormatError):  # damaged on every drive: nothing of this pack can be proved
            hashes = work.hashes(role, first, first + -(-length // BLOCK)) if length else b""
        place = role * self._slab_bytes
        return _Column(memory[place : place + self._slab_bytes], length, hashes)

    def _fetch(self, work: StripeWork, offset: int, columns: dict[int, _Column], roles: Sequence[int]) -> None:
        jobs = []
        for role in roles:
            slot = mf.slot_of(work.stripe, role, self._n)
            columns[role].read = True
            if self._sources.has(slot):
                jobs.append(self._sources.read(slot, work.stripe, role, offset, columns[role]))
        wait(jobs)
        for job in jobs:
            job.result()
        for role in roles:
            if role not in work.wanted:
                self._notice(work, role, offset // BLOCK, columns[role])

    def _notice(self, work: StripeWork, role: int, first: int, column: _Column) -> None:
        mounts = self._mounts[mf.slot_of(work.stripe, role, self._n)]
        bad = [first + number for number, good in enumerate(column.good) if not good]
        if not column.proves and column.why is None:
            bad = [each for each in bad if each - first in column.unread]  # of what was read nothing is known
        found = [Noticed(mounts[0], work.stripe, role, number, column.kind(number - first)) for number in bad]
        with self._lock:
            self.result.noticed += found[: MAX_NOTICED - len(self.result.noticed)]
        for each in found:
            self._noticed(each)

    def _short(self, columns: dict[int, _Column], blocks: int, wanted: Mapping[int, object]) -> int:
        """How many more columns must be read before every block can be solved that is to be."""
        most = 0
        for number in range(blocks):
            if all(columns[role].whole(number) for role in wanted):
                continue
            most = max(most, self._data - sum(column.whole(number) for column in columns.values()))
        return most

    def _code(self, stripe: _Stripe, first: int, blocks: int, columns: dict[int, _Column]) -> None:
        """Solve runs of blocks in which the same columns are whole."""
        start = 0
        while start < blocks:
            pattern = self._pattern(columns, start, stripe.work.wanted)
            stop = start + 1
            while stop < blocks and self._pattern(columns, stop, stripe.work.wanted) == pattern:
                stop += 1
            have, bad = pattern
            if bad and len(have) < self._data:
                self._give_up(stripe, bad, first, start, stop, columns)
            elif bad:
                piece = slice(start * BLOCK, stop * BLOCK)
                code.rebuild(
                    self._data,
                    self._parity,
                    {role: columns[role].memory[piece] for role in have},
                    {role: columns[role].memory[piece] for role in bad},
                )
                self._prove(stripe, bad, first, range(start, stop), columns)
            start = stop

    def _pattern(
        self, columns: dict[int, _Column], number: int, wanted: Mapping[int, object]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        bad = tuple(role for role in wanted if not columns[role].whole(number))
        have = tuple(role for role, column in columns.items() if column.whole(number)) if bad else ()
        return have[: self._data], bad

    def _prove(
        self, stripe: _Stripe, bad: Sequence[int], first: int, numbers: range, columns: dict[int, _Column]
    ) -> None:
        for role in bad:
            for number in numbers:
                if number >= len(columns[role].good):
                    break
                if columns[role].prove(number):
                    with self._lock:
                        self.result.blocks += 1
                else:
                    self._give_up(stripe, [role], first, number, number + 1, columns)

    def _give_up(
        self, stripe: _Stripe, bad: Sequence[int], first: int, start: int, stop: int, columns: dict[int, _Column]
    ) -> None:
        short = [column for column in columns.values() if not column.whole(start)]
        whole, away = len(columns) - len(short), sum(column.away for column in short)
        blind = sum(not (column.proves or column.away) for column in short)
        listed = self.result.withheld if whole < self._data <= whole + away else self.result.lost
        with self._lock:
            for role in bad:
                stripe.lost.add(role)
                if not columns[role].proves or whole < self._data <= whole + away + blind != whole + away:
                    self.result.unproved.add((stripe.work.stripe, role))
                    continue
                last = min(stop, len(columns[role].good)) - 1
                add_lost(listed, LostPack(stripe.work.stripe, role, first + start, first + last))

    def _write(self, stripe: _Stripe, number: int, columns: dict[int, _Column]) -> None:
        jobs = [
            self._writer(drive).submit(self._write_one, stripe, role, place, drive, number, column)
            for role, column in columns.items()
            if column.length and role not in stripe.lost
            for place, drive in enumerate(stripe.work.wanted[role])
        ]
        wait(jobs)  # all of them, before the memory is used again
        for job in jobs:
            job.result()

    def _writer(self, drive: Drive) -> ThreadPoolExecutor:
        with self._lock:
            if drive.mount not in self._writers:
                self._writers[drive.mount] = ThreadPoolExecutor(1, thread_name_prefix=f"write-{drive.mount[-20:]}")
            return self._writers[drive.mount]

    def _write_one(self, stripe: _Stripe, role: int, place: int, drive: Drive, number: int, column: _Column) -> None:
        if self._stopped:
            raise _Stopped
        if role in stripe.lost or (role, place) in stripe.refused or drive.mount in self._dead:
            return
        part = stripe.parts.get((role, place))
        if part is None:
            name = mf.pack_name(stripe.work.stripe, role, self._data)
            try:
                part = stripe.parts[role, place] = drive.create(name, direct=True)
            except (FormatError, DriveFault) as error:
                self._refuse(stripe, role, place, drive, error)
                return
        try:
            part.write_at(number * self._slab_bytes, [column.memory[: column.length]])
        except DriveFault as error:
            self._fail(drive, error)
            return
        with self._lock:
            self.result.bytes_written += column.length
            self._targets[drive.mount] = self._targets.get(drive.mount, 0) + column.length

    def _publish(self, stripe: _Stripe) -> None:
        """All slabs are written: make the packs durable under their names, those of which nothing is lost."""
        jobs = []
        for (role, place), part in stripe.parts.items():
            drive = stripe.work.wanted[role][place]
            jobs.append(self._writer(drive).submit(self._finish, stripe, role, place, drive, part))
        for job in jobs:
            job.result()
        with self._lock:
            self._open.remove(stripe)

    def _refuse(self, stripe: _Stripe, role: int, place: int, drive: Drive, error: FormatError | DriveFault) -> None:
        """One odd entry on one drive does not end the work on all: raise only what is something else."""
        if self._refused is None or not is_in_the_way(error):
            self._fail(drive, error)
            return
        stripe.refused.add((role, place))
        self._refused(stripe.work.stripe, role, drive, str(error))

    def _fail(self, drive: Drive, error: FormatError | DriveFault) -> None:
        """One drive that fails does not end the work on the others: raise only where nobody wants to be told."""
        if self._failed is None or not isinstance(error, DriveFault):
            raise error
        with self._lock:
            told, self._dead = drive.mount in self._dead, self._dead | {drive.mount}
        if not told:
            self._failed(drive, error)

    def _finish(self, stripe: _Stripe, role: int, place: int, drive: Drive, part: PartFile) -> None:
        if role in stripe.lost or drive.mount in self._dead:
            part.abandon()
            return
        try:
            part.publish()
        except DriveFault as error:
            self._refuse(stripe, role, place, drive, error)
            part.abandon()
            return
        try:
            drive.sync_folder(mf.pack_name(stripe.work.stripe, role, self._data))
        except DriveFault as error:
            self._fail(drive, error)
            return
        with self._lock:
            self.result.packs += 1
        self._landed(stripe.work.stripe, role, drive)

    def close(self) -> None:
        """Wait for what is under way, and remove what was not finished."""
        self._stopped = True
        self._slabs.shutdown(cancel_futures=True)
        for writer in self._writers.values():
            writer.shutdown(cancel_futures=True)
        self._sources.close()
        for stripe in self._open:
            for part in stripe.parts.values():
                part.abandon()
        self._tell()
