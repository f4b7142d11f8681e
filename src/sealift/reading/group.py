"""Bytes of a group's packs: read from a drive where they are good, rebuilt from the stripe where they are not.

    read        bytes of a pack as its drive gives them, or by parity from what others give: not checked
    verified    bytes of a pack, checked block by block against the signed hashes, rebuilt where needed

A drive in another host that is slow is raced against parity (hedge.py), and its bytes are what came first.

Strictly read-only. Knows no key: it deals in ciphertext and parity. Every rebuilt block is counted, and each drive
that is not here or fails is logged once. One that failed is left alone for half a minute, and then asked again: it
may have been plugged in or mended. Safe for threads, not across a fork.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import Counter, OrderedDict
from concurrent.futures import wait
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from blake3 import blake3

from sealift.drives.base import is_missing
from sealift.drives.ranges import RemoteDrive, RemoteFile, Workers
from sealift.errors import DriveFault, FormatError, Lost, Unreached
from sealift.formats import manifest, parity
from sealift.formats.manifest import (
    BLOCK,
    PACK,
    PACKS,
    PackRecord,
)
from sealift.reading.hedge import SLOW_IN_A_ROW, Got, Hedge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealift.drives.base import Drive, ReadFile
    from sealift.reading.survey_views import GroupView

_OPEN_FILES = 64
_REBUILT = 32  # blocks kept after a rebuild: a reader comes back for the next chunk of the same block
_ASK_AGAIN = 30.0  # seconds for which a drive that failed, or a pack that was not there, is not asked
_TOGETHER = 256 << 10  # bytes from which on the drives of a stripe are read at the same time
_MAX_PACKS = 100_000  # that are told by name in health()

_ATTACH = "attach more drives of this group; what else is on these drives can still be read"
_DAMAGED = (
    "all drives of this group are here, and more of them is damaged than parity holds: `sealift repair` mends what it"
    " can, and with --fetch-list says what the origin has to send again; what else is on them can still be read"
)

_REBUILT_OF = "drive %s (serial %s) %s: what it should hold is rebuilt from parity, where that can be"

log = logging.getLogger("sealift.group")  # of its own: what one worker has told, others need not (unpack)


def _not_in(host: str, drives: Sequence[Drive]) -> list[Drive]:
    """Those that do not stand in a host; "" is none."""
    return [each for each in drives if not (host and isinstance(each, RemoteDrive) and each.host_name == host)]


class Held:
    """An open file that closes when nobody holds it any more; reads only."""

    def __init__(self, file: ReadFile) -> None:
        self.file = file
        self._closer = weakref.finalize(self, file.close)

    @property
    def length(self) -> int:
        """As drives.base.ReadFile."""
        return self.file.length

    def read_at(self, offset: int, length: int) -> bytes:
        """As drives.base.ReadFile."""
        return self.file.read_at(offset, length)

    def readinto_at(self, offset: int, buffer: memoryview) -> int:
        """As drives.base.ReadFile."""
        return self.file.readinto_at(offset, buffer)

    def will_need(self, offset: int, length: int, make: Callable[[int, memoryview], object] | None = None) -> None:
        """As drives.base.ReadFile; `make` as of a RemoteFile, and of no other: there is no thread that reads."""
        if isinstance(self.file, RemoteFile):
            self.file.will_need(offset, length, make)
        else:
            self.file.will_need(offset, length)

    def close(self) -> None:
        """Close now; again does nothing."""
        self._closer()


class Fault(NamedTuple):
    """How often a drive failed to read, and what it said first."""

    times: int
    reason: str


class GroupReader:
    """One group on the drives that are here: `drives` maps a slot to the drives that hold its packs.

    The view's manifest has been trusted by the caller; everything else is checked against it.
    """

    def __init__(self, view: GroupView) -> None:
        record = view.manifest
        self.manifest = record
        self.drives: dict[int, list[Drive]] = {
            slot: sorted((each.drive for each in views), key=lambda drive: isinstance(drive, RemoteDrive))
            for slot, views in view.copies.items()
        }  # those that are mounted here first
        self.data, self.parity, self.n = record.geometry.data, record.geometry.parity, record.n
        self.rebuilt: Counter[str] = Counter()  # blocks rebuilt, by the id of the drive that should have had them
        self.packs: Counter[tuple[int, int]] = Counter()  # and by (stripe, role), of the first that were
        self.faults: dict[str, Fault] = {}  # by mount
        self.wrong: dict[str, str] = {}  # mount of a drive: of which pack it gave other bytes first
        self.lacks: dict[str, str] = {}  # mount of one in another host -> a pack that it has not
        self.hedged: Counter[str] = Counter()  # reads that parity answered for a slow drive, by mount
        self.early: Counter[str] = Counter()  # and for one that had not answered yet, by its id
        self.awaited = threading.Event()  # set: no drive is still to come (survey_late.py)
        self.awaited.set()
        self.unreached: Callable[[], Sequence[tuple[str, str]]] = tuple  # locations that may have drives of it, and why
        self._told_absent = False
        self._lock = threading.RLock()
        self._files: OrderedDict[tuple[int, str], Held | float] = OrderedDict()  # or since when it is not there
        self._resting: dict[int, float] = {}  # drives that failed -> when they are asked again
        self._odd: set[tuple[int, str]] = set()  # packs of which a host says that they are longer than was signed
        self._slow: Counter[int] = Counter()  # drives -> times in a row that parity was faster
        self._hedge = Hedge()
        self._cache: OrderedDict[tuple[int, int, int], bytes] = OrderedDict()
        self._counted: dict[tuple[int, int], int] = {}  # pack -> the last block that count_rebuilt counted
        self._scratch = threading.local()
        self._pool: Workers | None = None
        self._packs, self._blocks = view.open_pages()

    def close(self) -> None:
        """Close every file."""
        self._hedge.close()
        with self._lock:
            for file in self._files.values():
                if isinstance(file, Held):
                    file.close()
            self._files.clear()
            self._packs.close()
            self._blocks.close()
            if self._pool is not None:
                self._pool.close()
                self._pool = None

    def take(self, view: GroupView) -> None:
        """Read from drives, too, that have come to the view since; they were late, and have one race to lose."""
        with self._lock:
            drives = dict(self.drives)
            for slot, views in view.copies.items():
                new = [each.drive for each in views if each.drive not in drives.get(slot, ())]
                self._slow.update({id(drive): SLOW_IN_A_ROW - 1 for drive in new})
                drives[slot] = sorted([*drives.get(slot, ()), *new], key=lambda drive: isinstance(drive, RemoteDrive))
            self.drives = drives

    def record(self, stripe: int, role: int) -> PackRecord:
        """The signed record of a pack; FormatError when no drive has a good page of packs.bin."""
        with self._lock:
            place = stripe * self.n + role
            record = PackRecord(*PACK.unpack(self._packs.get(place, place + 1)))
        if record.length > manifest.MAX_PACK:
            raise FormatError(f"{PACKS}: pack {stripe}/{role} is {record.length} bytes long")
        return record

    def _handle(self, drive: Drive, stripe: int, role: int, *, odd: bool = False) -> Held | None:
        """The pack, open; None where its drive rests, or has not got it, or (but with `odd`) not as it was signed."""
        name = manifest.pack_name(stripe, role, self.data)
        key = (id(drive), name)
        now = time.monotonic()
        with self._lock:
            if self._resting.get(id(drive), 0.0) > now or (key in self._odd and not odd):
                return None
            known = self._files.get(key)
            if isinstance(known, Held):
                self._files.move_to_end(key)
                return known
            if known is not None and known + _ASK_AGAIN > now:
                return None
        file: Held | float
        try:  # without the lock: nobody else waits for a slow host
            file = Held(drive.open_later(name) if isinstance(drive, RemoteDrive) else drive.open_read(name))
        except FormatError:
            file = now
        except DriveFault as error:
            self._failed(drive, error, stripe, role)
            return None
        with self._lock:
            self._files[key] = file
            if len(self._files) > _OPEN_FILES:
                self._files.popitem(last=False)  # closed when its last reader lets go
        return file if isinstance(file, Held) else None

    def _failed(self, drive: Drive, error: DriveFault, stripe: int, role: int) -> None:
        """A drive did not read: it rests, and is opened anew when it is asked again. One that lacks a pack does not."""
        with self._lock:
            if is_missing(error):
                name = manifest.pack_name(stripe, role, self.data)
                self._files[id(drive), name] = time.monotonic()
                if isinstance(drive, RemoteDrive):
                    self.lacks.setdefault(drive.mount, name)
                return
            known = self.faults.get(drive.mount)
            self.faults[drive.mount] = Fault(1, str(error)) if known is None else Fault(known.times + 1, known.reason)
            self._rest(drive)
        if known is None:
            log.warning("%s; reading goes on from the other drives of group %d", error, self.manifest.group)

    def _is_as_signed(self, drive: Drive, held: Held, stripe: int, role: int) -> bool:
        """Whether a host says of a pack that it is as long as was signed.

        Else it is read from there only where nobody else gives it, block by block (`_good_block`).
        """
        said = held.file.known_length if isinstance(held.file, RemoteFile) else None
        signed = self.record(stripe, role).length
        if said is None or said <= signed:  # what is cut shows where it ends
            return True
        name = manifest.pack_name(stripe, role, self.data)
        why = f"{drive.mount}: {name}: its host says that it is {said:,} bytes long, and {signed:,} were signed"
        with self._lock:
            self._odd.add((id(drive), name))
            known = self.faults.get(drive.mount)
            self.faults[drive.mount] = Fault(1, why) if known is None else Fault(known.times + 1, known.reason)
        if known is None:
            log.warning("%s; reading goes on from the other drives of group %d", why, self.manifest.group)
        return False

    def _rest(self, drive: Drive) -> None:
        self._resting[id(drive)] = time.monotonic() + _ASK_AGAIN
        for key in [key for key in self._files if key[0] == id(drive)]:
            del self._files[key]

    def _note_pace(self, drive: Drive, got: Got | None) -> None:
        """Parity was faster than a drive, or was not; one that is slow time and again rests."""
        with self._lock:
            if got is None or got.came != "hedged":
                del self._slow[id(drive)]
                return
            first = drive.mount not in self.hedged
            self.hedged[drive.mount] += 1
            self._slow[id(drive)] += 1
            if self._slow[id(drive)] >= SLOW_IN_A_ROW:
                self._rest(drive)
        if first:
            nobody = drive.nobody if isinstance(drive, RemoteDrive) else ""
            what = f"gives nothing now, {nobody}" if nobody else "is slow"
            log.warning("%s %s: what it does not give in time is read from the other drives", drive.mount, what)

    def _note_rebuilt(self, stripe: int, role: int, blocks: int) -> None:
        row = self.manifest.drives[manifest.slot_of(stripe, role, self.n)]
        first = row.id not in self.rebuilt
        self.rebuilt[row.id] += blocks
        if (stripe, role) in self.packs or len(self.packs) < _MAX_PACKS:
            self.packs[stripe, role] += blocks
        if first and row.slot in self.drives:
            failed = any(drive.mount in self.faults for drive in self.drives[row.slot])
            log.warning(_REBUILT_OF, row.id, row.serial, "fails to read" if failed else "is damaged")
        elif first and not self._told_absent:  # all that are not here, whichever is asked for first
            self._told_absent = True
            for each in self.manifest.drives:
                if each.slot not in self.drives:
                    log.warning(_REBUILT_OF, each.id, each.serial, "is not here")

    def read(self, stripe: int, role: int, offset: int, buffer: memoryview) -> Got | None:
        """len(buffer) bytes at `offset` of a pack, unchecked: from a drive, or by parity if none has them, or in time.

        They are in `buffer`, or elsewhere in memory. None if neither gives all of it. Who finds that what was `rebuilt`
        is good says `count_rebuilt`.
        """
        slow: list[str] = []
        slot = manifest.slot_of(stripe, role, self.n)
        early = [] if slot in self.drives or self.awaited.is_set() else [self.manifest.drives[slot].id]
        for drive in self.drives.get(slot, ()):
            got = self._read_from(drive, stripe, role, offset, buffer)
            if got is not None:
                return got
            if self._slow[id(drive)] >= SLOW_IN_A_ROW:  # and so was not asked
                slow.append(drive.mount)
        if not self._guess_into(stripe, role, offset, buffer):
            return None
        with self._lock:
            self.hedged.update(slow)
            self.early.update(early)
        return Got("hedged" if slow or early else "rebuilt", [(0, buffer)])

    def _read_from(self, drive: Drive, stripe: int, role: int, offset: int, buffer: memoryview) -> Got | None:
        held = self._handle(drive, stripe, role)
        if held is None:
            return None
        try:
            if not isinstance(held.file, RemoteFile):
                return Got("drive", [(0, buffer)]) if held.readinto_at(offset, buffer) == len(buffer) else None
            assert isinstance(drive, RemoteDrive), "what it opens are RemoteFiles"
            rebuild = partial(self._guess_into, stripe, role, offset, beside=drive.host_name)
            got = self._hedge.read(held.file, offset, len(buffer), rebuild)
        except DriveFault as error:
            self._failed(drive, error, stripe, role)
            return None
        if got is not None and got.came == "drive" and not self._is_as_signed(drive, held, stripe, role):
            return None
        self._note_pace(drive, got)
        return got

    def window(self, stripe: int, role: int) -> int | None:
        """Bytes that whoever reads on asks a pack's first drive for at a time, where it stands in another host."""
        first = self.drives.get(manifest.slot_of(stripe, role, self.n), ())[:1]
        return next((drive.window for drive in first if isinstance(drive, RemoteDrive)), None)

    def will_need(
        self,
        stripe: int,
        role: int,
        offset: int,
        length: int,
        make: Callable[[int, memoryview], object] | None = None,
    ) -> None:
        """These bytes of a pack will be asked for soon: its drive may begin to read them.

        A drive in another host calls `make` with where they begin and what came, in a thread of its own; whoever reads
        exactly these gets what it made beside them (Got.made).
        """
        for drive in self.drives.get(manifest.slot_of(stripe, role, self.n), ())[:1]:
            if file := self._handle(drive, stripe, role):
                file.will_need(offset, length, make)

    def _guess_into(self, stripe: int, role: int, offset: int, buffer: memoryview, *, beside: str = "") -> bool:
        """Fill `buffer` from `offset` of a pack by parity, of bytes that nobody has checked; False if too few.

        Drives in other hosts that do not give theirs soon are passed over, unless there are too few without them; those
        in hosts that are known to be slow are asked last. With `beside`, a host that is slow just now, no drive of that
        is asked: what it would send is what is waited for.
        """
        have: dict[int, np.ndarray] = {}
        others, late = self._others(stripe, role, beside), list[int]()
        patience: float | None = self._hedge.pace.patience
        while len(have) < self.data <= len(have) + len(others) + len(late):
            if len(have) + len(others) < self.data:
                others, late, patience = others + late, [], None
            batch, others = others[: self.data - len(have)], others[self.data - len(have) :]
            columns = [self._column(len(have) + place, len(buffer)) for place in range(len(batch))]
            answers = self._all(stripe, batch, offset, columns, patience, beside)
            have |= {other: column for other, column, there in zip(batch, columns, answers, strict=True) if there}
            late += [other for other, there in zip(batch, answers, strict=True) if there is None]
            if len(have) < self.data:  # a column that was not filled is free for the next one
                have = {other: column.copy() for other, column in have.items()}
        if len(have) < self.data:
            return False
        parity.rebuild(self.data, self.parity, have, {role: buffer})
        return True

    def _others(self, stripe: int, role: int, beside: str) -> list[int]:
        """Roles of which a pack may be asked for in the place of this one, those in hosts that are slow behind."""
        slow: dict[int, bool] = {}
        for other in range(self.n):
            drives = _not_in(beside, self.drives.get(manifest.slot_of(stripe, other, self.n), ()))
            if other != role and (drives or not self.record(stripe, other).length):
                slow[other] = all(isinstance(each, RemoteDrive) and each.slow for each in drives) if drives else False
        return sorted(slow, key=lambda other: (slow[other], other))

    def _column(self, place: int, length: int) -> np.ndarray:
        """Memory of this thread, used again: fresh pages cost more than coding."""
        kept: dict[int, np.ndarray] = self._scratch.__dict__.setdefault("columns", {})
        if place not in kept or len(kept[place]) < length:
            kept[place] = np.empty(length, dtype=np.uint8)
        return kept[place][:length]

    def _all(
        self, stripe: int, roles: list[int], offset: int, columns: list[np.ndarray], patience: float | None, beside: str
    ) -> list[bool | None]:
        """Fill a column of each of the roles, zeros after its end; whether it could be, None: not so soon."""

        def fill(role: int, column: np.ndarray) -> bool | None:
            length = max(0, min(len(column), self.record(stripe, role).length - offset))
            column[length:] = 0
            return not length or self._column_from(stripe, role, offset, column.data[:length], patience, beside)

        far = any(isinstance(drive, RemoteDrive) for drives in self.drives.values() for drive in drives[:1])
        if not far and len(columns[0]) < _TOGETHER:
            return [fill(*each) for each in zip(roles, columns, strict=True)]
        with self._lock:
            if self._pool is None:
                self._pool = Workers(2 * self.n, "sealift-stripe")
            coming = [self._pool.submit(partial(fill, *each)) for each in zip(roles, columns, strict=True)]
        wait(coming)  # also where one has failed: then nobody writes into the columns any more
        return [each.result() for each in coming]

    def _column_from(
        self, stripe: int, role: int, offset: int, buffer: memoryview, patience: float | None, beside: str
    ) -> bool | None:
        """Fill `buffer` from a drive that is not in the host `beside`; False if none has it, None if not so soon."""
        answer: bool | None = False
        for drive in _not_in(beside, self.drives.get(manifest.slot_of(stripe, role, self.n), ())):
            held = self._handle(drive, stripe, role)
            if held is None:
                continue
            try:
                if isinstance(held.file, RemoteFile):
                    asked = held.file.ask(offset, len(buffer))
                    if not asked.wait(patience):
                        answer = None
                        continue
                    if asked.into(buffer) == len(buffer) and self._is_as_signed(drive, held, stripe, role):
                        return True
                elif held.readinto_at(offset, buffer) == len(buffer):
                    return True
            except DriveFault as error:
                self._failed(drive, error, stripe, role)
        return answer

    def count_rebuilt(self, stripe: int, role: int, offset: int, length: int) -> None:
        """Bytes of a pack were rebuilt, and proved by their tags: what health() tells."""
        first, last = offset // BLOCK, (offset + length - 1) // BLOCK
        with self._lock:
            if self._counted.get((stripe, role), -1) == first:
                first += 1  # the block in which the last range ended
            self._counted[stripe, role] = last
            if first <= last:
                self._note_rebuilt(stripe, role, last - first + 1)

    def is_block(self, stripe: int, role: int, number: int, data: memoryview) -> bool:
        """Whether `data` is a block of a pack, by its signed hash; FormatError when no drive has that hash whole."""
        return blake3(data).digest() == self._hash(self.record(stripe, role), number)

    def block(self, stripe: int, role: int, number: int) -> bytes:
        """One block of a pack, checked against the signed hash, from a drive or rebuilt; Lost if neither can be."""
        key = (stripe, role, number)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        data = self._good_block(stripe, role, number)
        if data is None:
            try:
                data = self._rebuild(stripe, role, number)
            except Lost:
                if self.awaited.is_set():
                    raise
                self.awaited.wait()  # its requests have deadlines
                return self.block(stripe, role, number)
            with self._lock:
                self._note_rebuilt(stripe, role, 1)
                self._cache[key] = data
                if len(self._cache) > _REBUILT:
                    self._cache.popitem(last=False)
        return data

    def _good_block(self, stripe: int, role: int, number: int) -> bytes | None:
        record = self.record(stripe, role)
        length = min(BLOCK, record.length - number * BLOCK)
        wanted = self._hash(record, number)
        for drive in self.drives.get(manifest.slot_of(stripe, role, self.n), ()):
            file = self._handle(drive, stripe, role, odd=True)
            if file is None:
                continue
            try:
                data = file.read_at(number * BLOCK, length)
            except DriveFault as error:
                self._failed(drive, error, stripe, role)
                continue
            if len(data) == length and blake3(data).digest() == wanted:
                return data
            self.wrong.setdefault(drive.mount, manifest.pack_name(stripe, role, self.data))
        return None

    def _hash(self, record: PackRecord, number: int) -> bytes:
        with self._lock:
            return self._blocks.get(record.first_block + number, record.first_block + number + 1)

    def _rebuild(self, stripe: int, role: int, number: int) -> bytes:
        have: dict[int, np.ndarray] = {}
        bad: list[int] = []  # slots
        for other in range(self.n):
            if other == role or len(have) == self.data:
                continue
            length = min(BLOCK, self.record(stripe, other).length - number * BLOCK)
            column = np.zeros(BLOCK, dtype=np.uint8)
            if length > 0:
                data = self._good_block(stripe, other, number)
                if data is None:
                    bad.append(manifest.slot_of(stripe, other, self.n))
                    continue
                column[:length] = np.frombuffer(data, dtype=np.uint8)
            have[other] = column
        record = self.record(stripe, role)
        name = manifest.pack_name(stripe, role, self.data)
        if len(have) < self.data:
            raise self._not_had(f"block {number} of {name}", manifest.slot_of(stripe, role, self.n), bad)
        out = np.empty(BLOCK, dtype=np.uint8)
        parity.rebuild(self.data, self.parity, have, {role: out})
        data = out[: min(BLOCK, record.length - number * BLOCK)].tobytes()
        if blake3(data).digest() != self._hash(record, number):
            raise Lost(f"block {number} of {name} was rebuilt and does not match its signed hash")
        return data

    def _not_had(self, what: str, slot: int, others: Sequence[int]) -> Lost:
        """Why a block cannot be had that neither its drive nor enough of the others gave.

        Nothing is known of what a host keeps back that does not answer, so that nothing is said to be lost with it.
        """
        ids = {each: self.manifest.drives[each].id for each in (slot, *others)}
        why = {
            ids[each]: self.faults[drive.mount].reason
            for each in ids
            for drive in self.drives.get(each, ())
            if isinstance(drive, RemoteDrive) and drive.mount in self.faults
        }
        absent = sum(each not in self.drives for each in ids)
        why |= dict(self.unreached()[:absent])  # whichever of the absent these have, nobody can say
        if len(ids) - len(why) <= self.parity and why:
            reason = next(iter(why.values()))
            return Unreached(
                f"{what} of drive {ids[slot]} cannot be had now: {', '.join(why)} did not give it ({reason})",
                hint="see to the hosts and the way to them, and run the same command again",
            )
        rest = ", ".join(ids[each] for each in others)
        lack = "does not have its own" if len(others) == 1 else "do not have theirs"
        return Lost(
            f"{what} of drive {ids[slot]} is lost: {rest} {lack} either, and parity holds {self.parity}",
            hint=_ATTACH if len(self.drives) < self.n else _DAMAGED,
        )

    def verified(self, stripe: int, role: int, offset: int, length: int) -> bytes:
        """`length` bytes of a pack, every block of them checked or rebuilt; Lost if one cannot be."""
        first, last = offset // BLOCK, (offset + length - 1) // BLOCK
        data = b"".join(self.block(stripe, role, number) for number in range(first, last + 1))
        start = offset - first * BLOCK
        return data[start : start + length]

    def copies(self) -> list[Drive]:
        """Every drive here, in order of slots, those that are mounted here first: each has the group's own files."""
        every = [drive for slot in sorted(self.drives) for drive in self.drives[slot]]
        return sorted(every, key=lambda drive: isinstance(drive, RemoteDrive))
