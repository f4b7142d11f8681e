"""Read-back: committed packs are read again from the medium, a stripe behind the writers, and compared by block.

    none     nothing is read
    sample   of every pack the first and the last block, and of the others one in SHARE, drawn at random
    full     every block

Of packs, that is; the small files are read by whoever writes them (small.py).

Reads go past the caches (open_read(direct=True)); where a drive has no medium of its own they cannot, and `cached`
says so. A block that is other than it was written, or that does not read, makes its pack wrong: the journal has it
before the next stripe is read, `repair` rebuilds it from the stripe, it is read again, and nothing is signed before
it is whole. A drive of which LIES packs were wrong is set aside, and nothing on it is counted on. What a drive that is
set aside already does not read is owed with the rest.

Blocks that a rebuild meets on a drive that it reads are taken the same way (`met`): whoever gave other bytes than were
written is named at once, in the journal, and in the account at the end, whether its pack is rebuilt or packed again.
After LIES packs it is set aside, too, when the rebuild is over (`distrust`): until then it may serve as a source.

Each stripe is read once, by whichever run comes to it; what was only sampled is read all through by a run that is to
(`full`). But for a drive that gave other bytes than were written: who did so once may have lost what it gave rightly
before, so all of it is read again, in the same mode (a sample with `none`), before its group is signed (`doubt`;
docs/adr/0030). And when a packing goes on, the last RECENT bytes of each drive that were read are read once more
(docs/adr/0031): a drive may have answered from its own cache, and may have lost that in a power cut. What is older is
for `sealift verify`. A stripe that is `gone` is packed again at once: what comes after it would be, too.

Who asks is told how much of it this run read. Of a group that is signed, what no run has read is read by the next one,
too (SignedReadBack): there nothing is rebuilt, for packing writes nothing more; what is wrong is told. A drive that
reads nothing any more, not even its first file, fails, as one does that takes no writes.

Memory is one buffer of PIECE a drive. `start` waits for the stripe before, so reading never falls further behind.
"""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, NamedTuple

from blake3 import blake3

from sealift.drives.base import ALIGN, aligned_buffer
from sealift.errors import DriveFault
from sealift.formats import manifest
from sealift.formats.manifest import BLOCK
from sealift.formats.sizes import counted
from sealift.stages.lacking import beyond, is_emptied
from sealift.stages.pack.crew import FAULTS, silence
from sealift.stages.pack.hashes import StripeHashes
from sealift.stages.pack.journal_rows import Wrong
from sealift.stages.rebuild import StripeWork, rebuild, sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sealift.drives.base import Drive, ReadFile
    from sealift.stages.pack.crew import Crew
    from sealift.stages.pack.journal import Journal
    from sealift.stages.rebuild import Noticed

Mode = Literal["none", "sample", "full"]
MODES: tuple[Mode, ...] = ("none", "sample", "full")
LIES = 3
RECENT = 4 << 30  # bytes of each drive; caches of drives and of controllers hold less
PIECE = 4 * BLOCK
_OR_AGAIN = "it is rebuilt where the other drives give it, and else its stripe is packed again from the source"
_AS_FAR = "what the other drives give of it is rebuilt"  # how many more are wrong is not known in the midst of it
_OWED_TOO = "the drive is set aside already, and owes that pack too"
BUFFER = {"none": 0, "sample": BLOCK, "full": PIECE}  # bytes a drive


class _Found(NamedTuple):
    """What reading one pack gave: blocks compared, those that were wrong, whether a cache may have answered."""

    blocks: int
    wrong: int
    cached: bool
    silent: str | None = None  # why the drive reads nothing any more: nothing is known of the pack


class ReadBack:
    """Reads the committed stripes of one group again; `start` from the committing thread, the rest from one other."""

    def __init__(self, mode: Mode, crew: Crew, journal: Journal, folder: str, data: int) -> None:
        self.mode: Mode = mode
        self._crew, self._journal, self._folder, self._data = crew, journal, folder, data
        self._number = crew.number
        self._readers = [ThreadPoolExecutor(1, thread_name_prefix=f"read-back-{slot}") for slot in range(crew.n)]
        self._buffers: dict[int, memoryview] = {}
        self._stripe = -1
        self._jobs: list[tuple[int, int, Future[_Found]]] = []
        self._told_cached = False
        self._read_now: set[int] = set()  # stripes that this run has read, and that are still what it read
        self._met: dict[tuple[int, int, int], int] = {}  # stripe, role, slot: wrong blocks that a rebuild has met
        self._named: set[tuple[int, int, int]] = set()  # of these, what was told by this run
        self._lock = threading.Lock()
        self.found = bool(journal.wrong(self._number))

    @property
    def stripes(self) -> int:
        """How many of the stripes that are committed this run has read."""
        return len(self._read_now)

    def forget(self, stripe: int) -> None:
        """The stripes from `stripe` on are packed again: what was read of them is not what they will be."""
        self._read_now = {each for each in self._read_now if each < stripe}
        self._named = {each for each in self._named if each[0] < stripe}

    def catch_up(self, stripes: int) -> None:
        """Read what an earlier run committed and did not read, or not as this mode wants it, or only just read."""
        if self.mode != "none":
            for stripe in range(self._first(), stripes):
                self.start(stripe)

    def _first(self) -> int:
        """The first stripe that `catch_up` reads: RECENT bytes of each drive before what is unread."""
        first, size = self._first_unread(), 0
        while first and size < RECENT:
            first -= 1
            size += max(pack.length for pack in self._journal.stripe(self._number, first))
        return first

    def _first_unread(self) -> int:
        known = self._journal.read_back(self._number)
        return known.whole if self.mode == "full" else known.stripes

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
            self._read_now.add(stripe)

    def _note(self, stripe: int, jobs: Sequence[tuple[int, int, Future[_Found]]], upto: int) -> None:
        blocks, cached = 0, False
        jobs = self._heard(jobs, stripe)
        wrong = self._all_wrong(stripe, {role: (slot, job.result().wrong) for role, slot, job in jobs})
        if upto:  # what was known before, and was not written since, did not lie once more
            known = self._pending()
            wrong = [each._replace(times=0) if (stripe, each.role) in known else each for each in wrong]
        for _, slot, job in jobs:
            found = job.result()
            blocks += found.blocks
            cached |= found.cached
            if found.cached and not self._told_cached:
                self._told_cached = True
                where = self._crew.mounts.get(slot)
                self._crew.note(None, f"read-back of {where} reads what a cache holds: there is no medium beneath")
        whole = upto if self.mode == "full" else 0
        named = [(each, self._crew.medium(each.slot)) for each in wrong]
        self._journal.note_read_back(self._number, stripe, blocks, named, cached=cached, upto=upto, whole=whole)
        if wrong:
            self.found = True
            self.distrust()
            self._crew.require()

    def _heard(
        self, jobs: Sequence[tuple[int, int, Future[_Found]]], since: int
    ) -> Sequence[tuple[int, int, Future[_Found]]]:
        """Those of drives that read something; the others fail, and do not lie: they owe what comes from `since` on."""
        self._crew.until(job for _, _, job in jobs)
        for _, slot, job in jobs:
            if (why := job.result().silent) is not None:
                self._fails(slot, since, why)
        return [each for each in jobs if each[2].result().silent is None]

    def _fails(self, slot: int, since: int, why: str) -> None:
        """DriveFault as `Crew.fail`."""
        self._crew.fail(slot, since, why)

    def distrust(self) -> None:
        """Set aside the drives that lied too often; `Crew.require` says whether there are more than parity holds."""
        for slot, times in self._journal.lies(self._number).items():
            if times >= LIES:
                self._crew.distrust(slot, f"{times} packs on it were not as they were written")

    def _pending(self) -> set[tuple[int, int]]:
        """Stripe and role of the packs that are known to be wrong, and not repaired yet."""
        return {(each.stripe, each.role) for each in self._journal.wrong(self._number)}

    def _all_wrong(self, stripe: int, found: Mapping[int, tuple[int, int]]) -> list[Wrong]:
        """The packs of a stripe that read back wrong, of `found`: role -> slot and how many blocks; they are told."""
        bad = {role: each for role, each in found.items() if each[1]}
        then = self._then(stripe, {slot for slot, _ in bad.values()}) if bad else ""
        return [self._wrong(stripe, role, slot, blocks, then) for role, (slot, blocks) in bad.items()]

    def gone(self) -> int | None:
        """The first stripe of which more packs are known to be wrong, or owed, than parity holds."""
        wrong: dict[int, set[int]] = {}
        for each in self._journal.wrong(self._number):
            wrong.setdefault(each.stripe, set()).add(each.slot)
        for stripe, slots in sorted(wrong.items()):
            owing = {slot for slot, owed in self._crew.owed.items() if owed.since <= stripe}
            if len(slots | owing) > self._crew.parity:
                return stripe
        return None

    def _then(self, stripe: int, slots: set[int]) -> str:
        """What becomes of packs of `stripe` on these drives, as far as it can be said already."""
        crew = self._crew
        lacks = slots | {each.slot for each in self._journal.wrong(self._number) if each.stripe == stripe}
        lacks |= {slot for slot, owed in crew.owed.items() if owed.since <= stripe or crew.drives[slot] is None}
        if len(lacks) <= crew.parity:
            return "it is rebuilt"
        return _OR_AGAIN

    def _wrong(self, stripe: int, role: int, slot: int, blocks: int, then: str) -> Wrong:
        """A pack that read back wrong, and somebody is told."""
        name = manifest.pack_name(stripe, role, self._data)
        many, were = counted(blocks, "block"), "it was" if blocks == 1 else "they were"
        works = self._crew.drive(slot) is not None
        if not works:
            self._crew.skip(slot, stripe)
        self._crew.note(
            slot,
            f"drive {self._crew.name(slot)}: {many} of {name} did not read back as {were} written; "
            f"{then if works else _OWED_TOO}",
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
            with self._crew.asked(slot):
                opened = drive.open_read(manifest.pack_name(stripe, role, self._data), direct=True)
            with opened as file:
                if file.length != hashes.lengths[role]:
                    return _Found(count, count, cached=False)
                runs = [(0, count)] if whole else [(block, block + 1) for block in sample(count)]
                blocks = wrong = 0
                for first, stop in _pieces(runs):
                    blocks += stop - first
                    wrong += self._compare(slot, file, first, stop, hashes(role, first, stop))
                    if wrong and (why := silence(drive)) is not None:
                        return _Found(0, 0, cached=False, silent=why)
                return _Found(blocks, wrong, cached=file.read_from == "cache")
        except FAULTS:
            if (why := silence(drive)) is not None:
                return _Found(0, 0, cached=False, silent=why)
            return _Found(count, count, cached=False)

    def _compare(self, slot: int, file: ReadFile, first: int, stop: int, hashes: bytes) -> int:
        """How many of these blocks are wrong; one that does not read is."""
        if slot not in self._buffers:
            self._buffers[slot] = aligned_buffer(BUFFER[self.mode] or BLOCK)
        buffer = self._buffers[slot]
        length = min(file.length, stop * BLOCK) - first * BLOCK
        if length > len(buffer):
            return sum(self._compare(slot, file, b, b + 1, hashes[(b - first) * 32 :][:32]) for b in range(first, stop))
        try:
            with self._crew.asked(slot):
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
            first = self._first()  # from here on all of a stripe is read by `catch_up`
            for stripe in stripes:
                if stripe >= first:
                    continue
                role = manifest.role_of(stripe, slot, self._crew.n)
                self._note(stripe, self._submit(stripe, {role: slot}, whole=self.mode == "full"), 0)

    def doubt(self, progress: Callable[[int, int], None]) -> bool:
        """Read all of those drives again that have been wrong since that was done last; whether more of them is.

        `progress` is told before each stripe, in this thread, of how many bytes of packs were gone through, of how
        many. DriveFault as `wait`.
        """
        if not (suspects := self.suspects()):
            return False
        self.found = False
        stripes = self._journal.group(self._number).stripes
        for slot in suspects:
            what = "its packs are all read" if self.mode == "full" else "a sample of its packs is read"
            self._crew.note(
                slot,
                f"drive {self._crew.name(slot)} did not give what was written to it, so {what} again, in "
                f"{counted(stripes, 'stripe')}: what was right before may be so no more",
            )
        lengths = Counter[int]()
        for pack in self._journal.packs(self._number):
            if manifest.slot_of(pack.stripe, pack.role, self._crew.n) in suspects:
                lengths[pack.stripe] += pack.length
        done, total, pending = 0, lengths.total(), self._pending()
        for stripe in range(stripes):
            progress(done, total)
            done += lengths[stripe]
            roles = {manifest.role_of(stripe, slot, self._crew.n): slot for slot in suspects}
            unknown = {role: slot for role, slot in roles.items() if (stripe, role) not in pending}
            self._note(stripe, self._heard(self._submit(stripe, unknown, whole=self.mode == "full"), stripes), 0)
        read = [serial for slot, serial in suspects.items() if self._crew.drive(slot) is not None]
        self._journal.settle_doubts(self._number, read)
        return self.found

    def suspects(self) -> dict[int, str]:
        """By slot, serial numbers of the drives that are to be read again: they were wrong since, and are here."""
        crew = self._crew
        return {
            each.slot: each.serial
            for each in self._journal.doubted(self._number)
            if crew.drive(each.slot) is not None and crew.places[each.slot].serial == each.serial
        }

    def repair(self) -> bool:
        """Rebuild the packs that read back wrong and read them again; False when some could not be rebuilt."""
        self.wait()
        while wrong := [each for each in self._journal.wrong(self._number) if self._crew.drive(each.slot) is not None]:
            lost = self._rebuild(wrong)
            self.distrust()
            self._crew.require()
            again = [each for each in wrong if (each.stripe, each.role) not in lost]
            for each in again:
                if self._crew.drive(each.slot) is not None:
                    stripes = self._journal.group(self._number).stripes
                    jobs = self._heard(self._submit(each.stripe, {each.role: each.slot}, whole=True), stripes)
                    if jobs and not any(job.result().wrong for _, _, job in jobs):
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
                noticed=self.met,
            )
        except DriveFault as error:
            slot = self._crew.slot_of(error.drive)
            self._crew.fail(slot, min(each.stripe for each in wrong if each.slot == slot), error)
            return set()
        finally:
            self.settle()
        return {(each.stripe, each.role) for each in done.lost}

    def met(self, each: Noticed) -> None:
        """A rebuild read a block that is not as it was written, or could not; from any thread.

        Its drive is named once for each pack, and the pack is repaired like those that reading back finds.
        """
        slot = self._crew.slot_of(each.mount)
        if not self._counted_on(slot, each):
            return
        key = (each.stripe, each.role, slot)
        with self._lock:
            self._met[key] = self._met.get(key, 0) + 1
            if self._met[key] > 1:
                return
            self.found = True
            self._note_met({key: 1})
            if key in self._named:
                return
            self._named.add(key)
        name = manifest.pack_name(each.stripe, each.role, self._data)
        works = self._crew.drive(slot) is not None
        self._crew.note(
            slot,
            f"drive {self._crew.name(slot)}: {name} is not as it was written, seen at its block {each.block} when a "
            f"pack of another drive was rebuilt; {_AS_FAR if works else _OWED_TOO}",
            fault=True,
        )

    def settle(self) -> None:
        """After a rebuild: how many blocks of each pack it met that were wrong."""
        with self._lock:
            met, self._met = self._met, {}
            self._note_met({key: blocks for key, blocks in met.items() if blocks > 1})

    def _note_met(self, met: Mapping[tuple[int, int, int], int]) -> None:
        """Into the journal: for each stripe, role and slot how many blocks are known to be wrong by now."""
        pending = self._pending()
        for (stripe, role, slot), blocks in met.items():
            lies = int((stripe, role) not in pending and self._crew.drive(slot) is not None)
            wrong = Wrong(stripe, role, slot, blocks, lies)
            self._journal.note_read_back(self._number, stripe, 0, [(wrong, self._crew.medium(slot))], cached=False)

    def _counted_on(self, slot: int, each: Noticed) -> bool:
        """Whether this block was counted on: not where its drive was replaced, or owes the pack already."""
        if each.mount != self._crew.mounts.get(slot):
            return False
        owed = self._crew.owed.get(slot)
        if owed is None:
            return True
        return each.kind == "rotten" and (each.stripe < owed.since or owed.kind == "lacks")

    def close(self) -> None:
        """Stop the threads; what was not noted is read again by the next run."""
        self._crew.until([job for _, _, job in self._jobs if not job.cancel()])
        for reader in self._readers:
            reader.shutdown()
        self._buffers.clear()


class SignedReadBack(ReadBack):
    """Of a group that is signed, with all of its drives: nothing is set aside or rebuilt."""

    def __init__(self, mode: Mode, crew: Crew, journal: Journal, folder: str, data: int) -> None:
        super().__init__(mode, crew, journal, folder, data)
        self._spoilt: dict[int, dict[str, int]] = {}  # by slot: packs, and how many blocks of each are wrong

    def run(self, progress: Callable[[int, int], None]) -> None:
        """Read what was wrong before, what no run has read as this mode wants it, and who is in doubt; tell of it.

        `progress` as of `doubt`.
        """
        for each in self._journal.wrong(self._number):
            jobs = self._heard(self._submit(each.stripe, {each.role: each.slot}, whole=True), each.stripe)
            if jobs and not any(job.result().wrong for _, _, job in jobs):
                self._journal.repaired(self._number, each.stripe, each.role)
            self._note(each.stripe, jobs, 0)
        self.catch_up(self._journal.group(self._number).stripes)
        self.wait()
        self.doubt(progress)
        for slot, packs in sorted(self._spoilt.items()):
            blocks, first = sum(packs.values()), next(iter(packs))
            more = f" and of {len(packs) - 1} more of its packs" if len(packs) > 1 else ""
            many, drive = counted(blocks, "block"), self._crew.drives[slot]
            how = "`sealift repair` of its drives rebuilds them from what is right on the others"
            if drive is not None and is_emptied(drive):
                how = f"`sealift repair` of the others with `--onto {drive.mount}` makes it anew, for it is empty"
            self._crew.note(
                slot,
                f"drive {self._crew.name(slot)}: {many} of {first}{more} did not read back as written. "
                f"group {self._number} is signed, and packing writes nothing more to it: {how}{self._as_far()}",
                fault=True,
            )

    def _first(self) -> int:
        """Nothing twice: a drive that was synced, and signed, is for `sealift verify`."""
        return self._first_unread()

    def _as_far(self) -> str:
        """Of how many stripes more packs are short than parity holds: of wrong ones only where the same blocks are."""
        if not (over := beyond(self._journal.short(self._number), self._crew.parity)):
            return ""
        return (
            f" as far as parity holds: of {counted(len(over), 'stripe')} more packs are missing or wrong than that "
            f"({self._crew.parity}), and what it cannot give is gone from these drives. do not free the source"
        )

    def _wrong(self, stripe: int, role: int, slot: int, blocks: int, then: str) -> Wrong:
        del then
        self._spoilt.setdefault(slot, {})[manifest.pack_name(stripe, role, self._data)] = blocks
        return Wrong(stripe, role, slot, blocks, 1)

    def _fails(self, slot: int, since: int, why: str) -> None:
        """DriveFault: packing writes nothing more to them, so nothing is owed."""
        del since
        crew, mount = self._crew, self._crew.mounts[slot]
        raise DriveFault(
            f"drive {crew.name(slot)} of group {self._number}, which is signed, reads nothing any more: {why}",
            drive=mount,
            hint="see `dmesg`, its cable and bay, and run the same command again, which reads on. if it stays so, it "
            "does not leave: the destination rebuilds as many drives of a group as parity holds",
        )

    def distrust(self) -> None:
        """Nobody: packing writes nothing more to them."""


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
