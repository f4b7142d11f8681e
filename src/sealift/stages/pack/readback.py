"""Read-back: committed packs are read again from the medium, a stripe behind the writers, and compared by block.

    none     nothing is read
    sample   of every pack the first and the last block, and of the others one in SHARE, drawn at random
    full     every block

Reads go past the caches (open_read(direct=True)); where a drive has no medium of its own they cannot, and `cached`
says so. A block that is other than it was written, or that does not read, makes its pack wrong: the journal has it
before the next stripe is read, `repair` rebuilds it from the stripe, it is read again, and nothing is signed before
it is whole. A drive of which LIES packs were wrong is set aside, and nothing on it is counted on. What a drive that is
set aside already does not read is owed with the rest.

Each stripe is read once, by whichever run comes to it; what was only sampled is read all through by a run that is to
(`full`). Who asks is told how much of it this run read. Of a group that is signed, what no run has read is read by the
next one, too (SignedReadBack): there nothing is rebuilt, for nothing more is written by packing; what is wrong is told.

Memory is one buffer of PIECE a drive. `start` waits for the stripe before, so reading never falls further behind.
"""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, NamedTuple

from blake3 import blake3

from sealift.drives.base import ALIGN, aligned_buffer
from sealift.errors import DriveFault
from sealift.formats import manifest
from sealift.formats.manifest import BLOCK
from sealift.stages.pack.crew import FAULTS
from sealift.stages.pack.hashes import StripeHashes
from sealift.stages.pack.journal import Wrong
from sealift.stages.rebuild import StripeWork, rebuild

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sealift.drives.base import Drive, ReadFile
    from sealift.stages.pack.crew import Crew
    from sealift.stages.pack.journal import Journal

Mode = Literal["none", "sample", "full"]
MODES: tuple[Mode, ...] = ("none", "sample", "full")
SHARE = 64
LIES = 3
PIECE = 4 * BLOCK
BUFFER = {"none": 0, "sample": BLOCK, "full": PIECE}  # bytes a drive


class _Found(NamedTuple):
    """What reading one pack gave: blocks compared, those that were wrong, whether a cache may have answered."""

    blocks: int
    wrong: int
    cached: bool


class ReadBack:
    """Reads the committed stripes of one group again; `start` from the committing thread, the rest from one other."""

    def __init__(self, mode: Mode, crew: Crew, journal: Journal, folder: str, data: int) -> None:
        self.mode: Mode = mode
        self._crew, self._journal, self._folder, self._data = crew, journal, folder, data
        self._number = crew.number
        self._readers = [ThreadPoolExecutor(1, thread_name_prefix=f"read-back-{slot}") for slot in range(crew.n)]
        self._buffers: dict[int, memoryview] = {}
        self._random = random.SystemRandom()
        self._stripe = -1
        self._jobs: list[tuple[int, int, Future[_Found]]] = []
        self._told_cached = False
        self.stripes = 0  # that this run has read
        self.found = bool(journal.wrong(self._number))

    def catch_up(self, stripes: int) -> None:
        """Read what an earlier run committed and did not read, or not as this mode wants it."""
        if self.mode != "none":
            known = self._journal.read_back(self._number)
            for stripe in range(known.whole if self.mode == "full" else known.stripes, stripes):
                self.start(stripe)

    def start(self, stripe: int) -> None:
        """Begin to read a stripe that is committed; the one before is done when this returns."""
        if self.mode != "none":
            self.wait()
            self._stripe = stripe
            roles = {manifest.role_of(stripe, slot, self._crew.n): slot for slot, _ in self._crew.working()}
            self._jobs = self._submit(stripe, roles, whole=self.mode == "full")

    def _submit(self, stripe: int, roles: dict[int, int], *, whole: bool) -> list[tuple[int, int, Future[_Found]]]:
        hashes = StripeHashes(self._folder, stripe, self._journal.stripe(self._number, stripe))
        return [
            (role, slot, self._readers[slot].submit(self._read, slot, stripe, role, hashes, whole=whole))
            for role, slot in roles.items()
            if hashes.lengths[role] and self._crew.drive(slot) is not None
        ]

    def wait(self) -> None:
        """Until what was begun is read and noted; a drive that lied too often is set aside."""
        jobs, self._jobs = self._jobs, []
        stripe, self._stripe = self._stripe, -1
        if stripe >= 0:
            self._note(stripe, jobs, stripe + 1)
            self.stripes += 1

    def _note(self, stripe: int, jobs: Sequence[tuple[int, int, Future[_Found]]], upto: int) -> None:
        blocks, cached, wrong = 0, False, []
        for role, slot, job in jobs:
            found = job.result()
            blocks += found.blocks
            cached |= found.cached
            if found.wrong:
                wrong.append(self._wrong(stripe, role, slot, found.wrong))
            if found.cached and not self._told_cached:
                self._told_cached = True
                where = self._crew.mounts.get(slot)
                self._crew.note(None, f"read-back of {where} reads what a cache holds: there is no medium beneath")
        whole = upto if self.mode == "full" else 0
        self._journal.note_read_back(self._number, upto, blocks, wrong, cached=cached, whole=whole)
        if wrong:
            self.found = True
            self._distrust({each.slot for each in wrong})

    def _distrust(self, slots: set[int]) -> None:
        """Set aside, of these drives, those that lied too often."""
        lies = self._journal.lies(self._number)
        for slot in slots:
            if lies[slot] >= LIES and self._crew.drive(slot) is not None:
                why = f"{lies[slot]} packs read back other than they were written"
                self._crew.fail(slot, 0, why, "lied")

    def _wrong(self, stripe: int, role: int, slot: int, blocks: int) -> Wrong:
        """A pack that read back wrong, and somebody is told."""
        name = manifest.pack_name(stripe, role, self._data)
        many, were = ("1 block", "it was") if blocks == 1 else (f"{blocks} blocks", "they were")
        works = self._crew.drive(slot) is not None
        if not works:
            self._crew.skip(slot, stripe)
        then = "it is rebuilt" if works else "the drive is set aside already, and owes that pack too"
        self._crew.note(
            slot,
            f"drive {self._crew.name(slot)}: {many} of {name} did not read back as {were} written; {then}",
            fault=True,
        )
        return Wrong(stripe, role, slot, blocks, int(works))  # one that is known to fail does not lie

    def _read(self, slot: int, stripe: int, role: int, hashes: StripeHashes, *, whole: bool) -> _Found:
        drive = self._crew.drive(slot)
        if drive is None:
            return _Found(0, 0, cached=False)
        count = -(-hashes.lengths[role] // BLOCK)
        hashes(role, 0, 0)  # raises where the state folder, and not the drive, is damaged
        try:
            with drive.open_read(manifest.pack_name(stripe, role, self._data), direct=True) as file:
                if file.length != hashes.lengths[role]:
                    return _Found(count, count, cached=False)
                runs = [(0, count)] if whole else self._sample(count)
                blocks = wrong = 0
                for first, stop in _pieces(runs):
                    blocks += stop - first
                    wrong += self._compare(slot, file, first, stop, hashes(role, first, stop))
                return _Found(blocks, wrong, cached=file.read_from == "cache")
        except FAULTS:
            return _Found(count, count, cached=False)

    def _sample(self, count: int) -> list[tuple[int, int]]:
        chosen = {0, count - 1}
        if count > 2:
            chosen.update(self._random.sample(range(1, count - 1), min(count - 2, -(-count // SHARE))))
        return [(block, block + 1) for block in sorted(chosen)]

    def _compare(self, slot: int, file: ReadFile, first: int, stop: int, hashes: bytes) -> int:
        """How many of these blocks are wrong; one that does not read is."""
        if slot not in self._buffers:
            self._buffers[slot] = aligned_buffer(BUFFER[self.mode] or BLOCK)
        buffer = self._buffers[slot]
        length = min(file.length, stop * BLOCK) - first * BLOCK
        if length > len(buffer):
            return sum(self._compare(slot, file, b, b + 1, hashes[(b - first) * 32 :][:32]) for b in range(first, stop))
        try:
            got = file.readinto_at(first * BLOCK, buffer[: -(-length // ALIGN) * ALIGN])
        except DriveFault:
            if stop - first == 1:
                return 1
            return sum(self._compare(slot, file, b, b + 1, hashes[(b - first) * 32 :][:32]) for b in range(first, stop))
        wrong = 0
        for number in range(stop - first):
            start, end = number * BLOCK, min((number + 1) * BLOCK, length)
            right = end <= got and blake3(buffer[start:end]).digest() == hashes[number * 32 : number * 32 + 32]
            wrong += not right
        return wrong

    def check(self, slot: int, stripes: Iterable[int]) -> None:
        """Read packs of one drive again, in this mode: what was just rebuilt on it."""
        if self.mode != "none":
            for stripe in stripes:
                role = manifest.role_of(stripe, slot, self._crew.n)
                self._note(stripe, self._submit(stripe, {role: slot}, whole=self.mode == "full"), 0)

    def repair(self) -> bool:
        """Rebuild the packs that read back wrong and read them again; False when some could not be rebuilt."""
        self.wait()
        while wrong := [each for each in self._journal.wrong(self._number) if self._crew.drive(each.slot) is not None]:
            lost = self._rebuild(wrong)
            again = [each for each in wrong if (each.stripe, each.role) not in lost]
            for each in again:
                if self._crew.drive(each.slot) is not None:
                    jobs = self._submit(each.stripe, {each.role: each.slot}, whole=True)
                    if not any(job.result().wrong for _, _, job in jobs):
                        self._journal.repaired(self._number, each.stripe, each.role)
                    self._note(each.stripe, jobs, 0)
            if lost:
                self.found = False  # until something is found again: trying at every stripe would not help
                return False
        self.found = False
        return True

    def _rebuild(self, wrong: Sequence[Wrong]) -> set[tuple[int, int]]:
        """Rebuild these packs in place; those (stripe, role) that could not be."""
        try:
            done = rebuild(
                stripe_works(self._crew, self._journal, self._folder, {(w.stripe, w.role): w.slot for w in wrong}),
                self._data,
                self._crew.n - self._data,
                self._crew.sources(),
            )
        except DriveFault as error:
            slot = self._crew.slot_of(error.drive)
            self._crew.fail(slot, min(each.stripe for each in wrong if each.slot == slot), error)
            return set()
        self.notice_rot((each.mount, each.stripe, each.role) for each in done.noticed)
        return {(each.stripe, each.role) for each in done.lost}

    def notice_rot(self, noticed: Iterable[tuple[str, int, int]]) -> None:
        """Packs of which a rebuild read wrong blocks: they are repaired like those that read-back finds."""
        counts: dict[tuple[int, int, int], int] = {}
        for mount, stripe, role in noticed:
            slot = self._crew.slot_of(mount)
            if self._crew.drive(slot) is not None:
                counts[stripe, role, slot] = counts.get((stripe, role, slot), 0) + 1
        if counts:
            known = {(each.stripe, each.role) for each in self._journal.wrong(self._number)}
            wrong = [Wrong(*key, blocks, 1) for key, blocks in counts.items() if key[:2] not in known]
            self._journal.note_read_back(self._number, 0, 0, wrong, cached=False)
            self.found = True

    def close(self) -> None:
        """Stop the threads; what was not noted is read again by the next run."""
        for _, _, job in self._jobs:
            job.cancel()
        for reader in self._readers:
            reader.shutdown()
        self._buffers.clear()


class SignedReadBack(ReadBack):
    """Of a group that is signed, with all of its drives: nothing is set aside or rebuilt."""

    def __init__(self, mode: Mode, crew: Crew, journal: Journal, folder: str, data: int) -> None:
        super().__init__(mode, crew, journal, folder, data)
        self._spoilt: dict[int, dict[str, int]] = {}  # by slot: packs, and how many blocks of each are wrong

    def run(self) -> None:
        """Read what was wrong before, and what no run has read as this mode wants it; tell which drives are wrong."""
        for each in self._journal.wrong(self._number):
            jobs = self._submit(each.stripe, {each.role: each.slot}, whole=True)
            if jobs and not any(job.result().wrong for _, _, job in jobs):
                self._journal.repaired(self._number, each.stripe, each.role)
            self._note(each.stripe, jobs, 0)
        self.catch_up(self._journal.group(self._number).stripes)
        self.wait()
        for slot, packs in sorted(self._spoilt.items()):
            blocks, first = sum(packs.values()), next(iter(packs))
            more = f" and of {len(packs) - 1} more of its packs" if len(packs) > 1 else ""
            many = "1 block" if blocks == 1 else f"{blocks} blocks"
            self._crew.note(
                slot,
                f"drive {self._crew.name(slot)}: {many} of {first}{more} did not read back as written. "
                f"group {self._number} is signed, and packing writes nothing more to it: "
                f"`sealift repair` of its drives rebuilds them{self._as_far()}",
                fault=True,
            )

    def _as_far(self) -> str:
        """Of how many stripes more packs are wrong than parity holds: of these only where the same blocks are not."""
        packs = Counter(each.stripe for each in self._journal.wrong(self._number))
        over = sum(count > self._crew.parity for count in packs.values())
        if not over:
            return ""
        many = "1 stripe" if over == 1 else f"{over} stripes"
        return (
            f" as far as parity holds: of {many} more packs are wrong than that ({self._crew.parity}), and what it "
            "cannot give is gone from these drives. do not free the source"
        )

    def _wrong(self, stripe: int, role: int, slot: int, blocks: int) -> Wrong:
        self._spoilt.setdefault(slot, {})[manifest.pack_name(stripe, role, self._data)] = blocks
        return Wrong(stripe, role, slot, blocks, 1)

    def _distrust(self, slots: set[int]) -> None:
        del slots


def stripe_works(crew: Crew, journal: Journal, folder: str, wanted: dict[tuple[int, int], int]) -> Iterator[StripeWork]:
    """Work for `rebuild`: (stripe, role) -> slot whose drive shall have that pack; checked by the journal's hashes."""
    by_stripe: dict[int, dict[int, Sequence[Drive]]] = {}
    for (stripe, role), slot in sorted(wanted.items()):
        drive = crew.drives[slot]
        if drive is not None:
            by_stripe.setdefault(stripe, {})[role] = [drive]
    for stripe, roles in by_stripe.items():
        hashes = StripeHashes(folder, stripe, journal.stripe(crew.number, stripe))
        yield StripeWork(stripe, hashes.lengths, hashes, roles)


def _pieces(runs: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    step = PIECE // BLOCK
    for first, stop in runs:
        for start in range(first, stop, step):
            yield start, min(start + step, stop)
