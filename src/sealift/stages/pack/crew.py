"""The n drives of a group while it is packed: which are written, and which are set aside because they failed.

Holds: once `fail` has returned, the drive is in the journal as owing every stripe from the one in which it failed, or
from the one that was being committed then, so no stripe that it lacks is ever taken for whole on it; and no more than
m drives lack a stripe that is committed (`check` before each commit). One drive more than m: `fail` raises, and with it
whatever was being written ends. Safe to use from all threads; who is to be told of it is told by `news`, in the
coordinating thread, which tells it while it waits, too (`until`): a drive that hangs keeps everything else waiting.

What is not here: what fails (stripe.py, copies.py, close.py), and how a drive is brought back (catchup.py).
"""

from __future__ import annotations

import contextlib
import errno
import queue
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from sealift.drives import hung
from sealift.drives.base import ALIGN, aligned_buffer, errno_of, is_missing, reason
from sealift.errors import DriveFault, FormatError
from sealift.formats.manifest import CARD, drive_id
from sealift.stages.pack.journal_rows import Medium, Owed
from sealift.stages.pack.network import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from concurrent.futures import Future

    from sealift.drives.base import Drive
    from sealift.drives.hung import Silent
    from sealift.stages.pack.fleet import Place
    from sealift.stages.pack.journal import Journal
    from sealift.stages.pack.journal_rows import Kind

FAULTS = (DriveFault, FormatError)  # what a drive that fails or is damaged raises
_FULL = {errno.ENOSPC, errno.EDQUOT}
_SHOWN = 5  # runs of stripes
_TELL = 0.25  # seconds between two looks at what there is to tell
_ROOM = 64 << 20  # bytes; more than what a write may want that does not fit


def _nobody() -> None:
    """Nobody coordinates, so nothing is told."""


class News(NamedTuple):
    """Something to tell of a drive, or of the group; `fault` where somebody is to be called."""

    slot: int | None
    text: str
    fault: bool


class Crew:
    """The drives of group `number`, by slot; None stands for one that is not attached, which must be owed already.

    `unwritable`: slots whose drive is here and takes nothing; owed already, too, and only read. `old`: by slot, drives
    that another one replaced, and that are still here: they are read where their successor lacks something.
    """

    def __init__(
        self,
        number: int,
        places: Sequence[Place],
        drives: Sequence[Drive | None],
        parity: int,
        journal: Journal,
        *,
        unwritable: AbstractSet[int] = frozenset(),
        old: Mapping[int, Sequence[Drive]] | None = None,
    ) -> None:
        self.number, self.places, self.parity = number, places, parity
        self.drives = list(drives)
        self.unwritable, self._old = unwritable, old or {}
        self._journal = journal
        self._owed = journal.owed(number)
        self._lock = threading.RLock()
        self._news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._broken: DriveFault | None = None
        self._leaving = False
        self._tell: Callable[[], None] = _nobody
        self._teller: threading.Thread | None = None
        self._hints: dict[int, str | None] = {}  # by slot: what the fault said is to be done
        self.mounts = {slot: drive.mount for slot, drive in enumerate(drives) if drive is not None}
        self._slots = {mount: slot for slot, mount in self.mounts.items()}
        hung.again(self._slots)

    @property
    def n(self) -> int:
        """Drives of the group."""
        return len(self.drives)

    @property
    def owed(self) -> Mapping[int, Owed]:
        """What is set aside, by slot."""
        with self._lock:
            return dict(self._owed)

    def drive(self, slot: int) -> Drive | None:
        """The drive in `slot` while it is written; None when it is set aside."""
        return None if slot in self._owed else self.drives[slot]

    def working(self) -> Iterator[tuple[int, Drive]]:
        """The drives that are written, with their slots."""
        for slot in range(self.n):
            drive = self.drive(slot)
            if drive is not None:
                yield slot, drive

    def slot_of(self, mount: str) -> int:
        """The slot of the drive at `mount`."""
        return next(slot for slot, drives in self.sources().items() if mount in [drive.mount for drive in drives])

    def sources(self) -> dict[int, list[Drive]]:
        """By slot, every drive that can be read: those set aside, those that cannot be written, those replaced."""
        here = {slot: [] if drive is None else [drive] for slot, drive in enumerate(self.drives)}
        return {slot: found for slot, each in here.items() if (found := [*each, *self._old.get(slot, ())])}

    def successors(self) -> dict[int, Owed]:
        """By slot, new drives that lack what the one before them may still have, which is not here to be read."""
        return {slot: each for slot, each in self.owed.items() if each.kind == "new" and not self._old.get(slot)}

    def fail(self, slot: int, stripe: int, error: BaseException | str, kind: Kind | None = None) -> None:
        """Set a drive aside from `stripe` on, durably; DriveFault when that is one more than parity holds."""
        with self._lock:
            known = self._owed.get(slot)
            if known is not None:
                self.skip(slot, stripe)
            else:
                full = isinstance(error, BaseException) and full_disk(error)
                # the stripe that is being committed meanwhile does not get onto it any more
                since = min(stripe, self._committed())
                self._set_aside(slot, since, kind or ("full" if full else "failed"), error)
            self.require()

    def lack(self, slot: int, since: int, why: str) -> None:
        """Set aside, durably, a drive on which packs are not there that were, the first one in stripe `since`.

        How many lack a stripe is for the caller to say, once every drive was looked at (presence.py).
        """
        with self._lock:
            known = self._owed.get(slot)
            if known is None:
                self._set_aside(slot, since, "lacks", why)
            elif since < known.since:
                self._change(msgspec.structs.replace(known, since=since))

    def distrust(self, slot: int, why: str) -> None:
        """Set aside, durably, a drive that works and gives other bytes than were written: nothing on it is counted on.

        Whether that is one more than parity holds is for `require` to say.
        """
        with self._lock:
            if self.drive(slot) is not None:
                self._set_aside(slot, 0, "lied", why)

    def _set_aside(self, slot: int, since: int, kind: Kind, error: BaseException | str) -> None:
        mount = self.mounts.get(slot, "")
        why = reason(error, mount)
        if kind == "full" and self._has_room(slot):
            why += ". its filesystem has room: what is full is beneath it (an image, a thin volume), or a quota"
        owed = Owed(slot, self.places[slot].serial, mount, since, kind, why)
        if isinstance(error, DriveFault):
            self._hints[slot] = error.hint
        self._change(owed)
        self._news.put(News(slot, self._notice(owed), fault=True))

    def _has_room(self, slot: int) -> bool:
        """Whether a drive that took no more says that much more would fit; only asked of one that answers."""
        drive = self.drives[slot]
        with contextlib.suppress(*FAULTS):
            return drive is not None and drive.free_bytes() > _ROOM
        return False

    def _notice(self, owed: Owed) -> str:
        return notice(self.number, self.n, self.parity, len(self._owed), owed)

    def _committed(self) -> int:
        return self._journal.group(self.number).stripes

    def skip(self, slot: int, stripe: int) -> None:
        """A drive that is set aside does not get `stripe` either; from `since` on, nothing on it is counted on."""
        with self._lock:
            known = self._owed[slot]
            kind: Kind = "failed" if known.kind == "lacks" else known.kind
            if stripe < known.since or kind != known.kind:
                self._change(msgspec.structs.replace(known, since=min(stripe, known.since), kind=kind))

    def advance(self, slot: int, since: int) -> None:
        """Stripes below `since` are whole on a drive that is being brought back."""
        with self._lock:
            self._change(msgspec.structs.replace(self._owed[slot], since=since))

    def fail_again(self, slot: int, error: BaseException) -> None:
        """A drive that was being brought back failed once more: it stays set aside, for this reason."""
        with self._lock:
            known = self._owed[slot]
            owed = once_more(known, error, self.mounts.get(slot, known.mount))
            self._change(owed)
            self._news.put(News(slot, self._notice(owed), fault=True))

    def back(self, slot: int) -> None:
        """A drive lacks nothing any more, and is written again."""
        with self._lock:
            self._journal.restored(self.number, slot)
            del self._owed[slot]

    def reload(self) -> None:
        """Read anew what the journal says is owed; after stripes were cut back."""
        with self._lock:
            self._owed = self._journal.owed(self.number)
            self._broken = None

    def _change(self, owed: Owed) -> None:
        self._journal.owe(self.number, owed)
        self._owed[owed.slot] = owed

    def require(self) -> None:
        """DriveFault, which names all of them, when more drives are set aside than parity holds."""
        with self._lock:
            if len(self._owed) <= self.parity:
                return
            if self._broken is None:
                names = "; ".join(self.describe(owed) for owed in self._owed.values())
                many = "1 drive is" if len(self._owed) == 1 else f"{len(self._owed)} drives are"
                self._broken = DriveFault(
                    f"group {self.number}: {many} set aside, and parity holds {self.parity}: "
                    f"{names}. {self.standing()}",
                    drive=next(reversed(self._owed.values())).mount,
                    hint=self._what_to_do(),
                )
            raise self._broken

    def _what_to_do(self) -> str:
        if all(owed.serial.startswith(PREFIX) for owed in self._owed.values()):  # nothing that has a cable
            return next(iter(self._hints.values()), None) or "put right what can be and run the same command again"
        return to_do(self._owed.values())

    def standing(self) -> str:
        """As the function, of now, with these drives set aside."""
        with self._lock:
            since = {slot: owed.since for slot, owed in self._owed.items()}
            wrong = [(each.stripe, each.slot) for each in self._journal.wrong(self.number)]
            return standing(self._committed(), self.parity, since, wrong)

    def everywhere(self, stripe: int, step: Callable[[int, Drive], None]) -> None:
        """One step on all drives that work, at once; one that fails is set aside from `stripe` on."""

        def guarded(slot: int, drive: Drive) -> None:
            try:
                step(slot, drive)
            except FAULTS as error:
                self.fail(slot, stripe, error)

        with ThreadPoolExecutor(self.n) as pool:
            jobs = [pool.submit(guarded, slot, drive) for slot, drive in self.working()]
            try:
                self.until(jobs)
            except BaseException:  # what was begun cannot be stopped: who is waited for is told, here and not in `pool`
                self.leave()
                self.until(jobs)
                raise
            for job in jobs:
                job.result()

    def check(self, stripe: int) -> None:
        """Before `stripe` is committed: DriveFault unless all but m drives hold it."""
        with self._lock:
            self.require()
            for slot in self._owed:
                self.skip(slot, stripe)

    def note(self, slot: int | None, text: str, *, fault: bool = False) -> None:
        """Something else that is to be told."""
        self._news.put(News(slot, text, fault))

    def news(self) -> Iterator[News]:
        """What there is to tell since this was asked last; for the coordinating thread."""
        while not self._news.empty():
            yield self._news.get()
        for each in hung.look(hung.LEAVING if self._leaving else hung.SILENCE, self._slots):
            yield News(self._slots[each.mount], self._silence(each), fault=not each.answers)

    def leave(self) -> None:
        """From here on packing only waits for what was begun to end: who is waited for is named, once more."""
        if not self._leaving:
            self._leaving = True
            hung.again(self._slots)

    def asked(self, slot: int) -> hung.asked:
        """Inside, the drive in `slot` is asked for something that it may never answer."""
        return hung.asked(self.mounts[slot])

    def _silence(self, silent: Silent) -> str:
        slot = self._slots[silent.mount]
        drive, seconds = f"drive {self.name(slot)}", f"{silent.seconds:.0f} s"
        if silent.answers:
            return f"{drive} answers again, after {seconds}"
        waits = "this stops as soon as it answers" if self._leaving else "the others wait for it"
        look = "its cable and its bay"
        if self.places[slot].serial.startswith(PREFIX):
            look = "the network"
        return f"{drive} has answered nothing for {seconds}, and {waits}: look at `dmesg`, {look}"

    @contextlib.contextmanager
    def coordinated(self, tell: Callable[[], None]) -> Iterator[None]:
        """Inside, this is the coordinating thread: it calls `tell` while it waits (`until`)."""
        self._tell, self._teller = tell, threading.current_thread()
        try:
            yield
        finally:  # whoever tells holds this crew: without a cycle a drive that is pulled is let go at once
            self._tell, self._teller = _nobody, None

    def until(self, jobs: Iterable[Future[Any]]) -> None:
        """Wait until these are done; the coordinating thread tells meanwhile what there is to tell."""
        jobs = list(jobs)
        while wait(jobs, timeout=_TELL).not_done:
            if threading.current_thread() is self._teller:
                self._tell()

    def medium(self, slot: int) -> Medium:
        """Which medium is in `slot`, and where."""
        return Medium(self.places[slot].serial, self.mounts.get(slot, ""))

    def name(self, slot: int) -> str:
        """Which drive: id, serial, mount."""
        where = f", {self.mounts[slot]}" if self.mounts.get(slot) else ""
        return f"{drive_id(self.number, slot)} (serial {self.places[slot].serial}{where})"

    def describe(self, owed: Owed) -> str:
        """Which drive, and what happened."""
        return describe(self.number, owed)


def replace_option(owed: Owed) -> str:
    """The option that puts a new drive in the place of one that is owed."""
    return f"--replace {owed.serial}=MNT"


def no_room(kind: str, reason: str) -> bool:
    """Whether a drive that is owed wants room: also a new one that was too small from the first."""
    return kind == "full" or (kind == "new" and reason.startswith("is full"))


def to_do(owed: Iterable[Owed]) -> str:
    """What to do about drives that are set aside: as a hint."""
    owed = list(owed)
    kinds = {"full" if no_room(each.kind, each.reason) else each.kind for each in owed if each.kind != "lied"}
    again = sorted({_AGAIN.get(kind, "put it right (cable, bay, mount)") for kind in kinds})
    options = ", ".join(map(replace_option, owed))
    if not again:
        return f"a drive that lies is not taken back; put a new one in its place: {options}"
    first = f"{'; '.join(again)}, and run the same command again"
    return f"{first}; for each drive that is dead or lies, add a new one: {options}"


_AGAIN = {"full": "free room on it", "lacks": "put back what was taken away"}


def describe(group: int, owed: Owed) -> str:
    """Which drive of a group, and what happened."""
    where = f", {owed.mount}" if owed.mount else ""
    return f"{drive_id(group, owed.slot)} (serial {owed.serial}{where}): {owed.reason}"


def once_more(known: Owed, error: BaseException, mount: str) -> Owed:
    """What is owed by a drive that is set aside already, and failed again: for this reason now."""
    kind: Kind = "full" if full_disk(error) else "failed"
    if known.kind in {"new", "lied"}:  # what is on it is counted on no more than before
        kind = known.kind
    why = known.reason if kind == "lied" else reason(error, mount)
    return Owed(known.slot, known.serial, mount, known.since, kind, why)


def notice(group: int, n: int, parity: int, aside: int, owed: Owed) -> str:
    """What a person is told when a drive is set aside: what happened, what is safe, what to do.

    Of the `n` drives of the group `aside` are set aside, this one among them.
    """
    if owed.kind == "lacks":
        return (
            f"drive {describe(group, owed)}. nothing is signed before these are rebuilt from "
            "the other drives: when this command packs on, or by the same one again; or, with a new drive at MNT, by "
            f"the same command with {replace_option(owed)}"
        )
    safe = "nothing that is committed is on it" if not owed.since else f"stripes below {owed.since} were written to it"
    if owed.kind == "lied":
        safe = "nothing on it is counted on"
    left = parity - aside
    more = "no other drive" if not left else "one more drive" if left == 1 else f"{left} more drives"
    others = f"the other {n - aside} go on, and {more} of group {group} may fail"
    if left < 0:
        others = f"more drives of group {group} are set aside than parity holds"
    again = "the same command again once it works; or, with a new drive at MNT, "
    if owed.kind == "lied":
        again = "it is not taken back, for it would lie again; with a new drive at MNT, "
    elif no_room(owed.kind, owed.reason):
        again = "free room on it, and the same command again; or, with a larger drive at MNT, "
    return (
        f"drive {describe(group, owed)}. it is set aside: {safe}; {others}. "
        f"then: {again}the same command with {replace_option(owed)}"
    )


def standing(stripes: int, parity: int, since: Mapping[int, int], wrong: Iterable[tuple[int, int]]) -> str:
    """What is true of the first `stripes`, which are committed.

    The drive in a slot lacks those from `since` on, and what it has of a stripe is `wrong`, as (stripe, slot).
    """
    if not stripes:
        return "nothing was committed yet"
    bad: dict[int, set[int]] = {}
    for stripe, slot in wrong:
        bad.setdefault(stripe, set()).add(slot)
    edges = {0, stripes, *since.values(), *bad, *(stripe + 1 for stripe in bad)}
    alike: dict[int, list[range]] = {}  # runs of stripes, by how many drives lack them
    for first, stop in pairwise(sorted(edge for edge in edges if edge <= stripes)):
        lacking = len(bad.get(first, set()) | {slot for slot, begin in since.items() if begin <= first})
        runs = alike.setdefault(min(lacking, parity + 1), [])
        joined = bool(runs) and runs[-1].stop == first
        runs.append(range(runs.pop().start if joined else first, stop))
    said = []
    for lacking, runs in sorted(alike.items()):
        spare = parity - lacking
        of = "the group's drives" if not lacking else "the drives that have them"
        if spare < 0:
            said.append(f"{_stripes(runs)} cannot be counted on")
            continue
        if not lacking and not spare:
            if_no = f"none of {of} is lost"
        elif spare:
            if_no = f"no more than {spare} of {of} {'are' if spare > 1 else 'is'} lost for good"
        else:
            if_no = "no other drive is lost"
        said.append(f"{_stripes(runs)} can be read if {if_no}")
    return f"committed is this: {'; '.join(said)}. what is lost is packed again from the source, so keep it"


def _stripes(runs: Sequence[range]) -> str:
    """Stripes in words: stripe 3; stripes 0 to 4, 7."""
    named = [f"{each.start}" if len(each) == 1 else f"{each.start} to {each.stop - 1}" for each in runs[:_SHOWN]]
    rest = sum(map(len, runs[_SHOWN:]))
    many = "stripe" if len(runs) == 1 and len(runs[0]) == 1 else "stripes"
    return f"{many} {', '.join(named)}" + (f" and {rest:,} more" if rest else "")


def listen(drive: Drive) -> None:
    """FAULTS where a drive does not read even its first file: it reads nothing any more. A bad spot is no silence."""
    try:
        with drive.open_read(CARD, direct=True) as file:
            file.readinto_at(0, aligned_buffer(ALIGN))
    except DriveFault as error:
        if not is_missing(error):
            raise


def silence(drive: Drive) -> str | None:
    """What a drive says that reads nothing any more; None where it does. In words: an error would hold what it met."""
    try:
        listen(drive)
    except FAULTS as error:
        return reason(error, drive.mount)
    return None


def full_disk(error: BaseException) -> bool:
    """Whether a drive failed because it is full."""
    return errno_of(error) in _FULL
