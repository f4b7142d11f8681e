"""Packs rebuilt from the rest of their stripe, block by block: what repair does, and packing when a drive is replaced.

    a block of a stripe:  read what the wanted packs still have -> check -> (where that is bad: read k others -> check
                          -> solve -> check) -> write beside
    all blocks written:   fsync -> rename over the name -> fsync the folder

What holds: no byte is used or written that its block hash does not cover, wherever it came from; a pack appears
under its name only when every block of it was proved, and what lay there before is untouched until then. Blocks that
cannot be had are named and their pack is left as it is. Memory is n x BLOCK x AHEAD, so that what was read is still
in the cache that the cores share when it is solved. Every drive has a reader, and several targets are written at the
same time, so that the slowest drive sets the pace and not the sum of all. A target is written by one thread at a time,
and a pack from front to back, as a bucket and a shingled disk want it. Who is interrupted or meets an error waits until
nobody writes any more, however often he is: only then the drives are given up. A source that hangs is not waited for.

What is not here: reading (rebuild_sources.py), which packs are wrong (stages/repair.py, stages/pack), small files, what
is signed.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from blake3 import blake3

from sealift.drives.base import aligned_buffer, is_in_the_way
from sealift.drives.ranges import Workers
from sealift.errors import DriveFault, FormatError
from sealift.formats import manifest as mf
from sealift.formats import parity as code
from sealift.formats.manifest import BLOCK
from sealift.formats.sizes import rate_text
from sealift.stages.latch import Latch
from sealift.stages.rates import Rates
from sealift.stages.rebuild_sources import Column, Sources
from sealift.stages.verify_verdict import LostPack, add_lost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sealift.drives.base import Drive, PartFile

AHEAD = 3  # blocks of a stripe in flight
MAX_NOTICED = 10_000
SHARE = 64  # blocks of which one is read back, of a sample
_chance = random.SystemRandom()
_TELL = 0.2  # seconds between two words of progress
_LEAVE = 5.0  # and for which threads that read are waited for at the end


def sample(count: int) -> list[int]:
    """Of `count` blocks the first and the last, and of the others one in SHARE, drawn at random."""
    chosen = {0, count - 1}
    if count > 2:
        chosen.update(_chance.sample(range(1, count - 1), min(count - 2, -(-count // SHARE))))
    return sorted(chosen)


class _Stopped(Exception):
    """Another part of the rebuild failed or was interrupted: a block that was not written must not seem to be."""


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


class Slow(NamedTuple):
    """A drive that is read, or written, at less than half the rate of its like, in bytes a second: all wait for it."""

    mount: str
    written: bool
    rate: int
    median: int

    @property
    def words(self) -> str:
        """For people, and what to look at."""
        does, done = ("takes", "written") if self.written else ("gives", "read")
        return (
            f"{self.mount} is slow: it {does} {rate_text(self.rate)}, the median of the drives that are {done} "
            f"{rate_text(self.median)}, and the rebuild waits for it. look at its port, cable and `dmesg`, or its host"
        )


class Progress(NamedTuple):
    """Bytes so far: read, and written; by mount of the target."""

    read: int
    written: int
    targets: dict[str, int]


@dataclass
class Rebuilt:
    """What came of it. `lost` are blocks that could not be had: their packs were not touched.

    Nor were those of `withheld`, which could be had if drives in other hosts gave what was signed; `hosts` says of each
    that does not what it did first (mount -> in words), whether others had it or not. `silent` are drives here that
    did not read any more (mount -> what they said last), `failed` those that did not read something, these and others
    (mount -> what they said first).
    """

    packs: int = 0
    blocks: int = 0  # solved from others; the rest of a pack was copied
    bytes_read: int = 0
    bytes_written: int = 0
    lost: list[LostPack] = field(default_factory=list)
    withheld: list[LostPack] = field(default_factory=list)
    hosts: dict[str, str] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    unproved: set[tuple[int, int]] = field(default_factory=set)  # stripe, role: hashes that it takes are on no drive
    noticed: list[Noticed] = field(default_factory=list)


def rebuild(
    works: Iterable[StripeWork],
    data: int,
    parity: int,
    sources: Mapping[int, Sequence[Drive]],
    *,
    progress: Callable[[Progress], object] = lambda _progress: None,
    landing: Callable[[Drive], object] = lambda _drive: None,
    landed: Callable[[int, int, Drive], object] = lambda _stripe, _role, _drive: None,
    refused: Callable[[int, int, Drive, str], object] | None = None,
    failed: Callable[[Drive, DriveFault], object] | None = None,
    noticed: Callable[[Noticed], object] = lambda _noticed: None,
    slow: Callable[[Slow], object] = lambda _slow: None,
    read_back: bool = False,
) -> Rebuilt:
    """Rebuild every wanted pack from `sources` (slot -> drives that hold its packs); needs the targets' locks.

    `works` is gone through by other threads, one at a time. `landing(drive)` is called before a pack gets its name, and
    `landed(stripe, role, drive)` when it is durable under it, in any order, from other threads, of one drive one at a
    time: until they return no other pack appears there.
    `refused(stripe, role, drive, why)`: something that we did not write stands where the pack belongs (a folder, or
    above it what is none); the others go on. Without it, that is raised. `failed(drive, error)`: a target fails; it is
    written no more, what was renamed there stays, the rest is as it was, and the other targets go on. Without it, that
    is raised as DriveFault. `noticed` is called as soon as a block that is read to solve others is found wrong, from
    other threads, so that it is known whatever comes of the rebuild. `slow` names a drive once, after a minute or more
    in which it was read or written much slower than the others (rates.py); in the thread that calls this. With
    `read_back` packs are read from the medium before they get their names: one that takes the place of another whole, a
    new one by `sample`; a drive that gives other bytes has failed.
    """
    run = _Run(data, parity, sources, progress, landing, landed, refused, failed, noticed, slow, read_back)
    try:
        run.all(works)
    finally:
        run.close()
    return run.result


@dataclass
class _Part:
    """A pack that is being written, and the digests of those of its blocks that are."""

    file: PartFile
    digests: dict[int, bytes] = field(default_factory=dict)


@dataclass
class _Stripe:
    """A stripe whose wanted packs are under way."""

    work: StripeWork
    next: int = 0  # block that is to be written
    parts: dict[tuple[int, int], _Part] = field(default_factory=dict)  # (role, place in wanted)
    lost: dict[int, list[tuple[int, bool]]] = field(default_factory=dict)  # role -> blocks to name; whether withheld
    refused: set[tuple[int, int]] = field(default_factory=set)  # (role, place in wanted)

    def blocks(self, role: int) -> int:
        """Of a pack."""
        return -(-self.work.lengths[role] // BLOCK)

    @property
    def count(self) -> int:
        """Blocks of the longest wanted pack."""
        return max(map(self.blocks, self.work.wanted))

    @property
    def alone(self) -> bool:
        """Whether one pack is written to one drive: who solved a block writes it then, too."""
        return sum(map(len, self.work.wanted.values())) == 1


class _Target:
    """A drive that is written, by who has its lock; and a thread for where several drives are at once."""

    def __init__(self, mount: str) -> None:
        self.lock, self.writer = threading.Lock(), Workers(1, f"write-{mount[-20:]}")


class _Run:
    """One rebuild: AHEAD threads, each with its own memory, take the blocks in their order."""

    def __init__(
        self,
        data: int,
        parity: int,
        sources: Mapping[int, Sequence[Drive]],
        progress: Callable[[Progress], object],
        landing: Callable[[Drive], object],
        landed: Callable[[int, int, Drive], object],
        refused: Callable[[int, int, Drive, str], object] | None,
        failed: Callable[[Drive, DriveFault], object] | None,
        noticed: Callable[[Noticed], object],
        slow: Callable[[Slow], object],
        read_back: bool,
    ) -> None:
        self._data, self._parity, self._n = data, parity, data + parity
        self._sources = Sources(sources, data)
        self._mounts = {slot: [drive.mount for drive in drives] for slot, drives in sources.items()}
        self._progress, self._refused, self._failed = progress, refused, failed
        self._landing, self._landed = landing, landed
        self._noticed, self._slow, self._back = noticed, slow, read_back
        self._rates, self._named = Rates[str](), set[tuple[str, bool]]()  # of targets; who was told to be slow
        self._dead: set[str] = set()  # mounts of targets that failed
        self._threads = Workers(AHEAD, "rebuild")
        self._ended = Latch(0)
        self._error: BaseException | None = None  # what a thread ran into first
        self._lock, self._taking, self._turn = threading.Lock(), threading.Lock(), threading.Condition()
        self._open: list[_Stripe] = []
        self._targets: dict[str, _Target] = {}
        self._written: dict[str, int] = {}
        self._stopped = False
        self.result = Rebuilt()

    def all(self, works: Iterable[StripeWork]) -> None:
        todo, self._ended = self._todo(works), Latch(AHEAD)
        for _ in range(AHEAD):
            self._ended.put(self._threads, partial(self._take, todo))
        while not self._ended.over(_TELL):
            if self._ended.error is not None:  # no thread could be had
                self._stop()
            self._tell()
        if self._error is not None:
            raise self._error
        self._ended.wait()
        self._tell()
        self.result.silent, self.result.failed = self._sources.silent(), dict(self._sources.failed)

    def _todo(self, works: Iterable[StripeWork]) -> Iterator[tuple[_Stripe, int]]:
        """Every block of every stripe of which something is wanted that a target can still take."""
        for work in works:
            wanted = {
                role: left
                for role, drives in work.wanted.items()
                if work.lengths[role] and (left := [drive for drive in drives if drive.mount not in self._dead])
            }
            if not wanted:
                continue
            stripe = _Stripe(work._replace(wanted=wanted))
            with self._lock:
                self._open.append(stripe)
            for block in range(stripe.count):
                yield stripe, block

    def _take(self, todo: Iterator[tuple[_Stripe, int]]) -> None:
        """One thread: block after block, until none is left, or another one has failed."""
        try:
            memory = aligned_buffer(self._n * BLOCK)
            while (taken := self._next(todo)) is not None:
                stripe, block = taken
                columns = self._solve(stripe, block, memory)
                self._write(stripe, block, columns)
                if block == stripe.count - 1:
                    self._publish(stripe)
        except _Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 -- it is raised in the thread that waits
            with self._lock:
                self._error = self._error or error
            self._stop()

    def _next(self, todo: Iterator[tuple[_Stripe, int]]) -> tuple[_Stripe, int] | None:
        with self._taking:
            if self._stopped:
                raise _Stopped
            return next(todo, None)

    def _stop(self) -> None:
        self._stopped = True
        with self._turn:
            self._turn.notify_all()

    def _tell(self) -> None:
        self.result.bytes_read, self.result.hosts = self._sources.bytes_read, dict(self._sources.hosts)
        with self._lock:
            written = dict(self._written)
        self._progress(Progress(self.result.bytes_read, self.result.bytes_written, written))
        for is_target, rates in ((False, self._sources.rates), (True, self._rates)):
            for mount, (rate, median) in rates.judge().items():
                if (mount, is_target) not in self._named:
                    self._named.add((mount, is_target))
                    self._slow(Slow(mount, is_target, rate, median))

    def _solve(self, stripe: _Stripe, block: int, memory: memoryview) -> dict[int, Column]:
        """The wanted columns of a block, each of them right, or lost and said so."""
        work = stripe.work
        pieces = {role: memory[role * BLOCK : (role + 1) * BLOCK] for role in range(self._n)}
        columns = {role: Column(piece, work, role, block) for role, piece in pieces.items()}
        wanted = {role: columns[role] for role in work.wanted}
        self._fetch(work, block, columns, [role for role, column in wanted.items() if column.length])
        if all(column.good for column in wanted.values()):
            return wanted
        while (short := self._data - sum(column.good for column in columns.values())) > 0:
            others = [role for role, column in columns.items() if column.length and not column.read]
            slots = {role: mf.slot_of(work.stripe, role, self._n) for role in others}
            others = sorted(
                (role for role in others if self._sources.has(slots[role])),
                key=lambda role: self._sources.is_late(slots[role]),
            )
            if not others:
                break
            self._fetch(work, block, columns, others[:short])
        self._code(stripe, block, columns)
        return wanted

    def _fetch(self, work: StripeWork, block: int, columns: dict[int, Column], roles: Sequence[int]) -> None:
        slots = {role: mf.slot_of(work.stripe, role, self._n) for role in roles}
        here = {role: slot for role, slot in slots.items() if self._sources.has(slot)}
        latch = Latch(len(here))
        for role, slot in here.items():
            self._sources.read(latch, slot, work.stripe, role, block * BLOCK, columns[role])
        latch.wait()
        if self._stopped:  # nothing is told any more: a source may have hung until its drives were given up
            raise _Stopped
        for role, slot in slots.items():
            columns[role].read = True
            if role not in work.wanted:
                self._notice(Noticed(self._mounts[slot][0], work.stripe, role, block), columns[role])

    def _notice(self, found: Noticed, column: Column) -> None:
        unknown = not column.proves and column.why is None and not column.unread  # it was read, and nobody can say
        if column.good or unknown:
            return
        found = found._replace(kind=column.kind())
        with self._lock:
            if len(self.result.noticed) < MAX_NOTICED:
                self.result.noticed.append(found)
        self._noticed(found)

    def _code(self, stripe: _Stripe, block: int, columns: dict[int, Column]) -> None:
        """Solve what is wanted and not good from k columns that are."""
        bad = [role for role in stripe.work.wanted if not columns[role].good]
        have = [role for role, column in columns.items() if column.good][: self._data]
        if len(have) < self._data:
            self._give_up(stripe, bad, block, columns)
            return
        size = max(column.length for column in columns.values())
        for column in columns.values():
            column.pad(size)
        code.rebuild(
            self._data,
            self._parity,
            {role: columns[role].memory[:size] for role in have},
            {role: columns[role].memory[:size] for role in bad},
        )
        proved = [role for role in bad if columns[role].check()]
        with self._lock:
            self.result.blocks += len(proved)
        if len(proved) < len(bad):
            self._give_up(stripe, [role for role in bad if role not in proved], block, columns)

    def _give_up(self, stripe: _Stripe, bad: Sequence[int], block: int, columns: dict[int, Column]) -> None:
        short = [column for column in columns.values() if not column.good]
        whole, away = len(columns) - len(short), sum(column.away for column in short)
        blind = sum(not (column.proves or column.away) for column in short)
        withheld = whole < self._data <= whole + away
        with self._lock:
            for role in bad:
                blocks = stripe.lost.setdefault(role, [])
                if not columns[role].proves or whole < self._data <= whole + away + blind != whole + away:
                    self.result.unproved.add((stripe.work.stripe, role))
                else:
                    blocks.append((block, withheld))

    def _write(self, stripe: _Stripe, block: int, columns: dict[int, Column]) -> None:
        """When the block before it is on its way to all targets; returns when this one is there."""
        with self._turn:
            while stripe.next != block and not self._stopped:
                self._turn.wait(1.0)
        if self._stopped:
            raise _Stopped
        latch = self._at_each(
            stripe,
            [
                (drive, partial(self._write_one, stripe, role, place, block, column))
                for role, column in columns.items()
                if column.length and role not in stripe.lost
                for place, drive in enumerate(stripe.work.wanted[role])
            ],
        )
        with self._turn:
            stripe.next += 1
            self._turn.notify_all()
        latch.wait()  # for all of them, before the memory is used again

    def _at_each(self, stripe: _Stripe, jobs: Sequence[tuple[Drive, Callable[[], object]]]) -> Latch:
        """Have it done at each target, after what was to be done there before, and at several at the same time."""
        latch = Latch(len(jobs))
        for drive, job in jobs:
            if stripe.alone:
                latch.run(job)
            else:
                latch.put(self._target(drive).writer, job)
        return latch

    def _target(self, drive: Drive) -> _Target:
        with self._lock:
            if drive.mount not in self._targets:
                self._targets[drive.mount] = _Target(drive.mount)
            return self._targets[drive.mount]

    def _write_one(self, stripe: _Stripe, role: int, place: int, block: int, column: Column) -> None:
        drive = stripe.work.wanted[role][place]
        with self._target(drive).lock:
            if self._stopped:
                raise _Stopped
            if role in stripe.lost or (role, place) in stripe.refused or drive.mount in self._dead:
                return
            part = stripe.parts.get((role, place))
            if part is None:
                try:
                    file = drive.create(mf.pack_name(stripe.work.stripe, role, self._data), direct=True)
                except (FormatError, DriveFault) as error:
                    self._refuse(stripe, role, place, drive, error)
                    return
                part = stripe.parts[role, place] = _Part(file)
            begun = time.monotonic()
            try:
                part.file.write_at(block * BLOCK, [column.memory[: column.length]])
            except DriveFault as error:
                self._fail(drive, error)
                return
            self._rates.add(drive.mount, column.length, time.monotonic() - begun)
            part.digests[block] = column.digest
        with self._lock:
            self.result.bytes_written += column.length
            self._written[drive.mount] = self._written.get(drive.mount, 0) + column.length

    def _publish(self, stripe: _Stripe) -> None:
        """All blocks are written: make the packs durable under their names, those of which nothing is lost."""
        with self._lock:
            for role, blocks in sorted(stripe.lost.items()):
                for block, withheld in sorted(blocks):
                    listed = self.result.withheld if withheld else self.result.lost
                    add_lost(listed, LostPack(stripe.work.stripe, role, block, block))
        self._at_each(
            stripe,
            [
                (drive, partial(self._finish, stripe, role, place))
                for role, drives in stripe.work.wanted.items()
                for place, drive in enumerate(drives)
            ],
        ).wait()
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

    def _finish(self, stripe: _Stripe, role: int, place: int) -> None:
        drive = stripe.work.wanted[role][place]
        with self._target(drive).lock:
            if self._stopped:
                raise _Stopped
            part = stripe.parts.get((role, place))
            if part is None:
                return
            if len(part.digests) < stripe.blocks(role) or drive.mount in self._dead:
                part.file.abandon()
                return
            try:
                if self._back:
                    self._read_back(stripe, role, drive, part)
                self._landing(drive)
                begun = time.monotonic()
                part.file.publish()
            except DriveFault as error:
                self._refuse(stripe, role, place, drive, error)
                part.file.abandon()
                return
            self._rates.add(drive.mount, 0, time.monotonic() - begun)
            try:
                drive.sync_folder(mf.pack_name(stripe.work.stripe, role, self._data))
            except DriveFault as error:
                self._fail(drive, error)
                return
            with self._lock:
                self.result.packs += 1
            self._landed(stripe.work.stripe, role, drive)

    def _read_back(self, stripe: _Stripe, role: int, drive: Drive, part: _Part) -> None:
        """DriveFault where the medium does not give what was written."""
        name, buffer = mf.pack_name(stripe.work.stripe, role, self._data), aligned_buffer(BLOCK)
        try:
            replaces = drive.size(name) is not None
        except FormatError:
            replaces = False  # it is in the way, which shows when it gets its name
        back = part.file.open_back()
        if back is None:
            return
        with back:
            for block in range(stripe.blocks(role)) if replaces else sample(stripe.blocks(role)):
                if self._stopped:
                    raise _Stopped
                length = min(BLOCK, stripe.work.lengths[role] - block * BLOCK)
                got = back.readinto_at(block * BLOCK, buffer)
                if got < length or blake3(buffer[:length]).digest() != part.digests[block]:
                    raise DriveFault(
                        f"{drive.mount}: {name}: block {block} does not read as it was written a moment ago; nothing"
                        " took its name",
                        drive=drive.mount,
                        hint="look at `dmesg`, cable and bay; a drive that does it again is of no use",
                    )

    def close(self) -> None:
        """Wait for who writes, and remove what was not finished."""
        while True:
            try:
                self._stop()
                for target in list(self._targets.values()):
                    with target.lock:  # nobody writes there any more: who takes it from now on sees that it is over
                        pass
                for stripe in list(self._open):
                    for part in list(stripe.parts.values()):
                        part.file.abandon()
                break
            except KeyboardInterrupt:  # once more
                continue
        if self._ended.over(_LEAVE):  # what still reads ends with the process
            for workers in [self._threads, *(target.writer for target in self._targets.values())]:
                workers.close()
            self._sources.close()
        self._tell()
