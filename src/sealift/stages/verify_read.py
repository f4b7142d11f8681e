"""One drive, read to its last byte against the signed records: what verify does in a thread for every drive.

What holds: every file beneath sealift/ is either compared byte for byte with what the manifest binds, or
named. A pack is compared block by block with blocks.bin, so a fault has its block; where the hashes
themselves are damaged on every drive, the pack as a whole is compared with its record. Reads are direct, in
large aligned buffers that are reused, one buffer ahead. Nothing is written. Errors of the drive become
faults; only a wrong use raises.

Of a drive in another host, what its host or the way to it did not give is `unreached`, and no damage: nothing is known
of it. Such a drive counts as not read (`away`), and what it has that does not hold is named all the same.

Bounds: a drive that fails BAD_IN_A_ROW blocks one after the other is not asked for the rest of that pack, and
after PACKS_IN_A_ROW such packs for nothing more; one that went away is asked for nothing more, and neither is a host
that did not give AWAY_IN_A_ROW files one after the other: the first was asked for again and again.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from sealift.drives.base import aligned_buffer, errno_of, is_missing
from sealift.drives.ranges import RemoteDrive
from sealift.errors import DriveFault, FormatError
from sealift.formats import manifest as mf
from sealift.formats import paged
from sealift.formats.manifest import BLOCK
from sealift.stages import verify_names, verify_state
from sealift.stages.verify_far import AHEAD, FarFiles
from sealift.stages.verify_verdict import LAST, Damage, Run, add_run

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator, Iterator
    from collections.abc import Set as AbstractSet

    from sealift.drives.base import ReadFile
    from sealift.formats.manifest import PackRecord
    from sealift.reading.survey_views import DriveView, GroupView, ProblemKind, SharedPages

CHUNK = 8 * BLOCK  # from a medium; measured against 1, 2 and 4 MiB: a quarter less time than with 1 MiB
WINDOW = 4 << 20  # of a paged file at a time
BAD_IN_A_ROW, PACKS_IN_A_ROW, AWAY_IN_A_ROW = 64, 16, 3
MAX_FAULTS = 10_000  # kept a drive; more are counted, and the damage is known all the same
MAX_RUNS = 200_000  # kept a drive; beyond, a pack is damaged from its first bad block to its last
_GONE = {errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN, errno.ESHUTDOWN, errno.ENOMEDIUM}


class Found(NamedTuple):
    """One fault of a drive; `path` beneath sealift/."""

    path: bytes
    kind: ProblemKind
    detail: str
    block: int | None


class Stopped(Exception):
    """The pass was asked to stop."""


class _DriveGone(Exception):
    """The drive answers no more."""


class _Unreached(Exception):
    """The host, or the way to it, did not give what was asked for; with `gone`, nothing else will come either."""

    def __init__(self, why: str, *, gone: bool = False) -> None:
        super().__init__(why)
        self.gone = gone


class DriveCheck:
    """The check of one drive of a group: its counters while it runs, its findings after."""

    def __init__(self, view: DriveView, group: GroupView, slot: int) -> None:
        self.view, self.group, self.slot = view, group, slot
        self.faults: list[Found] = []
        self.omitted = 0
        self.damage: Damage = {}
        self.unreached: Damage = {}  # packs that its host did not give: nothing is known of them
        self.away: str | None = None  # why something of it could not be had from its host; None: all of it could
        self.bytes_total = self.bytes_done = 0  # done: read in this run, or known from an earlier one
        self.bytes_read = self.bytes_resumed = 0
        self.bytes_unkept = 0  # found good, and not to be believed after an interruption
        self.bytes_again = 0  # of the same, from before one: read again
        self.from_cache = False
        self.read_at: datetime | None = None  # when the last byte was read
        self.only: AbstractSet[int] | None = None  # stripes of which the packs are read, and no other file
        self._runs = 0
        self._far = FarFiles(view.drive, view.drive.size) if isinstance(view.drive, RemoteDrive) else None
        self._in_vain = 0  # files in a row that its host did not give
        self._packs, self._blocks = group.open_pages(cache=64)
        self._manifest, self._n = group.manifest, group.manifest.n

    # What was found

    def note(self, path: str | bytes, kind: ProblemKind, detail: str, block: int | None = None) -> None:
        """Add a fault, or count it when there are too many; of what stands apart no more than of packs that are bad."""
        if self.view.predecessor is not None or (self.view.bag and kind == "missing"):
            return
        found = Found(os.fsencode(path) if isinstance(path, str) else path, kind, detail, block)
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(found)
        else:
            self.omitted += 1

    def _damaged(self, stripe: int, runs: list[Run]) -> None:
        if runs:
            if self._runs > MAX_RUNS:
                runs = [(runs[0][0], runs[-1][1])]
            self._runs += len(runs)
            self.damage[stripe] = runs

    def _failed(self, name: str | bytes, error: DriveFault) -> None:
        """Note that the drive failed; _Unreached where it is its host, or the way to it, that did."""
        self._maybe_unreached(error)
        self.note(name, "unreadable", str(error))

    def _maybe_unreached(self, error: DriveFault) -> None:
        if isinstance(self.view.drive, RemoteDrive) and not is_missing(error):
            raise _Unreached(str(error), gone=errno_of(error) in _GONE) from error

    def _not_reached(self, name: str | bytes, why: str, stripe: int | None = None, last: int = LAST) -> None:
        """Note a file that its host did not give, a pack with its last block."""
        self.away = self.away or why
        self.note(name, "unreached", why)
        if stripe is not None:
            self.unreached[stripe] = [(0, last)]

    # What should be there

    def packs(self) -> Iterator[tuple[int, str, PackRecord | None]]:
        """Stripe, name and record of every pack of this slot; None where no drive has the record whole."""
        data = self._manifest.geometry.data
        for stripe in range(self._manifest.geometry.stripes) if self.only is None else sorted(self.only):
            role = mf.role_of(stripe, self.slot, self._n)
            name = mf.pack_name(stripe, role, data)
            self._packs.unanswered = None
            try:
                record = mf.pack_at(self._packs, stripe, role, self._n)
            except FormatError:
                yield stripe, name, None
                continue
            if record.length:
                yield stripe, name, record

    def _without_record(self, stripe: int, name: str) -> None:
        """A pack of which no drive that answers has the record: whether one has, a host that does not keeps back."""
        if self._packs.unanswered is not None:
            self._not_reached(name, self._packs.unanswered, stripe)
            return
        self.note(name, "unreadable", "its record is damaged on every drive of the group that is here")
        self._damaged(stripe, [(0, LAST)])

    def size_of(self, name: str) -> int | None:
        """Length of a file, or None after noting why it is not there; _Unreached."""
        try:
            size = self.view.drive.size(name)
        except FormatError as error:
            self.note(name, "unexpected", str(error))
            return None
        except DriveFault as error:
            self._failed(name, error)
            return None
        if size is None:
            self.note(name, "missing", "there is no such file")
        return size

    def note_length(self, name: str, size: int, expected: int) -> None:
        """Note a length that is not the signed one."""
        if size < expected:
            self.note(name, "truncated", f"{size:,} bytes long, not {expected:,}", size // BLOCK)
        elif size > expected:
            self.note(name, "extended", f"{size:,} bytes long, not {expected:,}")

    def check_presence(self) -> None:
        """Everything that can be said without reading a file: what inspect does."""
        manifest, row = self._manifest, self._manifest.drives[self.slot]
        refs = {name: manifest.group_file(name) for name in mf.GROUP_FILES}
        away: str | None = None  # why nothing more is asked of the host
        try:
            self._check_ranges(refs[mf.PACKS].bytes)
        except _Unreached as error:
            away = str(error)
        for name, ref in (refs | {mf.OPEN_ME: row.open_me, mf.SUMS: row.sums}).items():
            try:
                size = self.size_of(name) if away is None else None
            except _Unreached as error:
                away = str(error)
            if away is not None:
                self._not_reached(name, away)
            elif size is not None:
                self.note_length(name, size, ref.bytes)
        for stripe, name, record in self.packs():
            if record is None:
                if self._packs.unanswered is None:
                    self._damaged(stripe, [(0, LAST)])
                else:
                    self._without_record(stripe, name)
                continue
            self.bytes_total += record.length
            try:
                if away is None:
                    self._check_length(stripe, name, record)
            except _Unreached as error:
                away = str(error)
            if away is not None:
                self._not_reached(name, away, stripe, record.blocks - 1)
        if away is None:
            self.check_names()

    def _check_ranges(self, length: int) -> None:
        """_Unreached where its host says other lengths in ranges."""
        try:
            if self._far is not None:
                self._far.look(mf.PACKS, length)
        except FormatError:
            return
        except DriveFault as error:
            self._maybe_unreached(error)

    def _check_length(self, stripe: int, name: str, record: PackRecord) -> None:
        size = self.size_of(name)
        if size is None:
            self._damaged(stripe, [(0, record.blocks - 1)])
            return
        self.note_length(name, size, record.length)
        if size < record.length:
            self._damaged(stripe, [(size // BLOCK, record.blocks - 1)])

    def check_names(self) -> None:
        """Name everything beneath sealift/ that does not belong there."""
        try:
            verify_names.check(self.view.drive, self._manifest, self.slot, self._packs, self)
        except FormatError as error:
            self.note(b"", "unexpected", str(error))
        except DriveFault as error:
            try:
                self._failed(b"", error)
            except _Unreached as why:
                self._not_reached(b"", str(why))

    # Reading

    def run(self, state: verify_state.State, stop: threading.Event) -> None:
        """Read and compare everything, or the packs of `only`. Raises Stopped when `stop` is set."""
        self._state, self._stop = state, stop
        self._key = verify_state.drive_key(self.view.drive)
        manifest, row = self._manifest, self._manifest.drives[self.slot]
        refs = [(name, ref) for name, ref in ((mf.OPEN_ME, row.open_me), (mf.SUMS, row.sums))]
        refs += [(name, manifest.group_file(name)) for name in mf.GROUP_FILES]
        if self.only is not None:
            refs = []
        self.bytes_total = sum(record.length for _, _, record in self.packs() if record is not None)
        self.bytes_total += sum(ref.bytes for _, ref in refs)
        self._buffers = [aligned_buffer(CHUNK), aligned_buffer(CHUNK)]
        with ThreadPoolExecutor(max_workers=1) as self._ahead:
            gone: str | None = None
            away: str | None = None
            for name, ref in refs:
                before = self.bytes_done
                try:
                    if away is not None:
                        self._not_reached(name, away)
                    elif gone is not None:
                        self.note(name, "unreadable", gone)
                    elif name in {mf.PACKS, mf.BLOCKS}:
                        self._check_pages(self._packs if name == mf.PACKS else self._blocks, name, ref.bytes)
                    else:
                        self._check_whole(name, ref)
                    self._in_vain = 0
                except _Unreached as error:
                    away = self._given_up(error)
                    self._not_reached(name, str(error))
                except _DriveGone as error:
                    gone = str(error)
                    self.note(name, "unreadable", gone)
                self.bytes_done = before + ref.bytes
            self._check_packs(gone, away)
        self._packs.close()
        self._blocks.close()
        if self.only is None and self.away is None:
            self.check_names()
        self.read_at = datetime.now(UTC)

    def _open(self, name: str, length: int) -> ReadFile | None:
        """The file, opened past the cache, or None after noting why not."""
        if self._far is None and self.size_of(name) is None:
            return None
        try:
            if self._far is not None:
                return self._far.open(name, length, unread=not self._was_good(name))
            return self.view.drive.open_read(name, direct=True)
        except FormatError as error:
            self.note(name, "unexpected", str(error))
        except DriveFault as error:
            self._maybe_gone(error)
            missing = self._far is not None and is_missing(error)
            self.note(name, "missing" if missing else "unreadable", "there is no such file" if missing else str(error))
        return None

    def _was_good(self, name: str) -> str | None:
        """The stamp with which an earlier run found it good."""
        return self._state.known(self.group.digest, self._key, self.slot, name)

    def _maybe_gone(self, error: DriveFault) -> None:
        """_Unreached of a drive in another host, whatever failed there; _DriveGone."""
        self._maybe_unreached(error)
        if errno_of(error) in _GONE:
            raise _DriveGone(str(error)) from error

    def _resumed(self, name: str, file: ReadFile, length: int) -> bool:
        """Whether an earlier run found this very file good."""
        was = self._was_good(name)
        if was == verify_state.UNKEPT or (was is not None and not file.lasting):
            self.bytes_again += length
            return False
        if was != repr(file.stamp[1:]):
            return False
        self.bytes_resumed += length
        self.bytes_done += length
        self.from_cache |= file.read_from != "medium"  # so it was then
        return True

    def _remember(self, name: str, file: ReadFile) -> None:
        if not file.lasting:
            self.bytes_unkept += file.length
        stamp = repr(file.stamp[1:]) if file.lasting else verify_state.UNKEPT
        self._state.remember(self.group.digest, self._key, self.slot, name, stamp)

    def _count(self, file: ReadFile, count: int) -> None:
        self.bytes_read += count
        self.bytes_done += count
        self.from_cache |= file.read_from != "medium"
        if self._stop.is_set():
            raise Stopped

    def _chunks(self, file: ReadFile, length: int) -> Generator[tuple[int, memoryview, int | DriveFault]]:
        """Offset, buffer, and bytes read or the fault, chunk by chunk; from a medium, the next is read meanwhile.

        What a cache or memory gives is read in blocks by the thread that hashes them: they are still in the core's own
        cache then (8.5 GB in 1.0 s, where chunks read ahead took 1.5 s; b3sum 1.1 s).
        """
        cached = file.read_from == "cache" and self._far is None
        step = BLOCK if cached else CHUNK if self._far is None else self._far.step

        def fill(offset: int, buffer: memoryview) -> int | DriveFault:
            try:
                return file.readinto_at(offset, buffer[:step])
            except DriveFault as error:
                return error

        def size(offset: int) -> int:
            return min(step, length - offset)

        coming = self._ahead.submit(fill, 0, self._buffers[0]) if length > step and not cached else None
        for turn, offset in enumerate(range(0, length, step)):
            buffer = self._buffers[0 if cached else turn % 2]
            got = fill(offset, buffer) if coming is None else coming.result()
            if offset + step < length and not cached:
                coming = self._ahead.submit(fill, offset + step, self._buffers[(turn + 1) % 2])
            try:
                yield (
                    offset,
                    buffer[: size(offset)],
                    got if isinstance(got, DriveFault) else min(got, size(offset)),
                )
            except GeneratorExit:
                if coming is not None:
                    coming.result()  # the buffer is in use until then
                raise

    def _check_whole(self, name: str, ref: mf.FileRef) -> None:
        """A file that is bound by one digest."""
        file = self._open(name, ref.bytes)
        if file is None:
            return
        with file:
            if file.length != ref.bytes:
                self.note_length(name, file.length, ref.bytes)
                return
            if self._resumed(name, file, ref.bytes):
                return
            digest = blake3()
            with contextlib.closing(self._chunks(file, ref.bytes)) as chunks:
                for _, buffer, got in chunks:
                    if isinstance(got, DriveFault):
                        self._maybe_gone(got)
                        self.note(name, "unreadable", str(got))
                        return
                    digest.update(buffer[:got])
                    self._count(file, got)
            if digest.hexdigest() == ref.blake3:
                self._remember(name, file)
            else:
                self.note(name, "rotten", "not what was signed")

    def _check_pages(self, shared: SharedPages, name: str, length: int) -> None:
        """A paged file.

        Each of this drive's own pages against the tree, whose upper pages any drive may give.
        """
        file = self._open(name, length)
        if file is None:
            return
        with file:
            self.note_length(name, file.length, length)
            if file.length == length and self._resumed(name, file, length):
                return
            before = len(self.faults) + self.omitted
            wrong: dict[int, tuple[ProblemKind, str]] = {}  # by block, one each: that it did not read before all else
            try:
                for place, error in self._wrong_pages(shared, file, length):
                    block = place * paged.PAGE // BLOCK
                    if error is None:
                        wrong.setdefault(block, ("rotten", f"page {place} is damaged"))
                    elif wrong.get(block, ("rotten",))[0] == "rotten":
                        wrong[block] = ("unreadable", str(error))
            finally:
                for block, (kind, detail) in wrong.items():
                    self.note(name, kind, detail, block)
            if len(self.faults) + self.omitted == before and file.length == length:
                self._remember(name, file)

    def _wrong_pages(self, shared: SharedPages, file: ReadFile, length: int) -> Iterator[tuple[int, DriveFault | None]]:
        """Each page that is not as signed, and why it did not read if it did not."""
        window, start = b"", 0
        for place in range(min(length, file.length) // paged.PAGE):
            error = None
            if place * paged.PAGE >= start + len(window):
                start = place * paged.PAGE
                window, error = self._window(file, start, length)
                self._count(file, len(window))
            page = window[place * paged.PAGE - start :][: paged.PAGE]
            if error is not None or not shared.matches(place, page):
                if error is None and shared.unanswered is not None:  # nobody who answers has what it is held against
                    raise _Unreached(shared.unanswered)
                yield place, error

    def _window(self, file: ReadFile, start: int, length: int) -> tuple[bytes, DriveFault | None]:
        """Pages from `start` on: one alone where the window around it does not read; zeros, and why, if it does not."""
        for size in (min(WINDOW, length - start), paged.PAGE):
            try:
                return file.read_at(start, size).ljust(paged.PAGE, b"\0"), None
            except DriveFault as error:
                self._maybe_gone(error)
                last = error
        return bytes(paged.PAGE), last

    def _check_packs(self, gone: str | None, away: str | None) -> None:
        failed = 0
        for stripe, name, record in self.packs() if self._far is None else self._announced(self._far):
            if record is None:
                self._without_record(stripe, name)
                continue
            if away is not None or gone is not None:
                if away is not None:
                    self._not_reached(name, away, stripe, record.blocks - 1)
                else:
                    self.note(name, "unreadable", gone or "")
                    self._damaged(stripe, [(0, record.blocks - 1)])
                self.bytes_done += record.length
                continue
            done = self.bytes_done
            try:
                failed = 0 if self._check_pack(stripe, name, record) else failed + 1
                self._in_vain = 0
                if failed == PACKS_IN_A_ROW:
                    gone = "the drive failed too many reads in a row to be asked again"
            except _Unreached as error:
                away = self._given_up(error)
                self._not_reached(name, str(error), stripe, record.blocks - 1)
                self.bytes_done = done + record.length
            except _DriveGone as error:
                gone = str(error)
                self.note(name, "unreadable", gone)
                self._damaged(stripe, [(0, record.blocks - 1)])

    def _given_up(self, error: _Unreached) -> str | None:
        """Why nothing more is asked of the host; None while more is."""
        self._in_vain += 1
        return str(error) if error.gone or self._in_vain >= AWAY_IN_A_ROW else None

    def _announced(self, far: FarFiles) -> Iterator[tuple[int, str, PackRecord | None]]:
        """As `packs`, those that come next on their way."""
        coming: deque[tuple[int, str, PackRecord | None]] = deque()
        for stripe, name, record in self.packs():
            if record is None:  # what is said of it holds until the next one
                yield from coming
                coming.clear()
            elif self.away is None and not self._was_good(name):
                far.begin(name, record.length)
            coming.append((stripe, name, record))
            if record is None or len(coming) > AHEAD:
                yield coming.popleft()
        yield from coming

    def _check_pack(self, stripe: int, name: str, record: PackRecord) -> bool:
        """Compare one pack.

        False when the drive failed so many blocks in a row that the rest was not asked for.
        """
        done = self.bytes_done
        file = self._open(name, record.length)
        if file is None:
            self._damaged(stripe, [(0, record.blocks - 1)])
            self.bytes_done = done + record.length
            return True
        with file:
            if file.length == record.length and self._resumed(name, file, record.length):
                return True
            self.note_length(name, file.length, record.length)
            try:
                hashes = self._blocks.get(record.first_block, record.first_block + record.blocks)
            except FormatError:
                return self._check_pack_as_a_whole(stripe, name, record, file)
            bad: list[Run] = []
            try:
                answered = self._compare(name, record, file, hashes, bad)
            finally:
                self._damaged(stripe, bad)
            if not bad and file.length == record.length:
                self._remember(name, file)
        self.bytes_done = done + record.length
        return answered

    def _compare(self, name: str, record: PackRecord, file: ReadFile, hashes: bytes, bad: list[Run]) -> bool:
        """Whether the drive kept answering; the runs of blocks that are not as signed are added to `bad`."""
        row = 0  # unreadable blocks one after the other
        with contextlib.closing(self._chunks(file, record.length)) as chunks:
            for offset, buffer, got in chunks:
                if isinstance(got, DriveFault):
                    self._maybe_gone(got)
                for at in range(0, len(buffer), BLOCK):
                    number, block = (offset + at) // BLOCK, buffer[at : at + BLOCK]
                    if offset + at + len(block) > file.length:
                        add_run(bad, number, number)  # told as truncated
                        continue
                    if isinstance(got, DriveFault):
                        fault = self._read_block(file, offset + at, block) if row < BAD_IN_A_ROW else got
                        row = row + 1 if fault else 0
                        if fault:
                            self.note(name, "unreadable", str(fault), number)
                            add_run(bad, number, number)
                            continue
                    if blake3(block).digest() != hashes[number * 32 : number * 32 + 32]:
                        self.note(name, "rotten", "not what was signed", number)
                        add_run(bad, number, number)
                if row >= BAD_IN_A_ROW:
                    self._not_asked(name, record, (offset + len(buffer)) // BLOCK, bad)
                    return False
                self._count(file, 0 if isinstance(got, DriveFault) else got)
        return True

    def _not_asked(self, name: str, record: PackRecord, first: int, bad: list[Run]) -> None:
        for number in range(first, record.blocks):
            self.note(name, "unreadable", "not asked for after so many failures", number)
            add_run(bad, number, number)

    def _read_block(self, file: ReadFile, offset: int, block: memoryview) -> DriveFault | None:
        """Read one block alone, where the chunk around it did not read."""
        try:
            got = file.read_at(offset, len(block))
        except DriveFault as error:
            self._maybe_gone(error)
            return error
        block[: len(got)] = got
        self._count(file, len(got))
        return None

    def _check_pack_as_a_whole(self, stripe: int, name: str, record: PackRecord, file: ReadFile) -> bool:
        """Where the block hashes are damaged on every drive: the pack's own digest, and no block to name."""
        digest = blake3()
        with contextlib.closing(self._chunks(file, record.length)) as chunks:
            for _, buffer, got in chunks:
                if isinstance(got, DriveFault):
                    self._maybe_gone(got)
                    self.note(name, "unreadable", str(got))
                    self._damaged(stripe, [(0, record.blocks - 1)])
                    return True
                digest.update(buffer[:got])
                self._count(file, got)
        if digest.digest() == record.blake3 and file.length == record.length:
            self._remember(name, file)
        elif digest.digest() != record.blake3:
            self.note(name, "rotten", "not what was signed; its block hashes are damaged, so no block can be named")
            self._damaged(stripe, [(0, record.blocks - 1)])
        return True
