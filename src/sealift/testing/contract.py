"""DriveStoreTests: what every implementation of drives.base.Drive must do, as a pytest class to subclass.

Holds what base.py says of Drive, ReadFile and PartFile, by calls of that protocol alone, so that what passes here
serves packing, verify, repair and reading alike. A subclass gives the fixture `drive`, a drive with nothing on it,
and `reopen`; with `plant` it also shows what its medium holds besides regular files. Faults of a medium are not
here: a drive cannot be asked to have one (see FleetSimulator); nor is what becomes durable when, nor what becomes of
files longer than `long_file`. A test that fails says which sentence of the protocol does not hold; of the words of an
error only the name that it is of is looked at.
"""

from __future__ import annotations

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealift.drives.base import ALIGN, MAX_DEPTH, PART, aligned_buffer, is_in_the_way, is_missing
from sealift.errors import Busy, DriveFault, FormatError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealift.drives.base import Drive, Entry, Kind

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

NAME = "packs/0000/0000000.parity"
SMALL = "drive.json"
PIECE = 1 << 20
WHOLE = "what was written is what is read, whole and in any window: read_small, read_at, readinto_at"
UNPUBLISHED = "PartFile: a file is not there under its name before publish"
IRREGULAR = "FormatError for what is no regular file, or has no folder above it: read_small, size, open_read"
IN_THE_WAY = "DriveFault (is_in_the_way) where something is that is no regular file, or above it no folder: "
STAYS = "what is no regular file stays as it is, and nothing else is left beside it"
PARTS = "what was abandoned, or left as NAME.part and begun again, is no longer there: create, abandon"

# Examples share one drive, which is what a drive sees too: every one writes NAME anew. And several classes, one for
# each implementation, run the same inherited test.
_SETTINGS = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


class DriveStoreTests:
    """The contract. A subclass named Test... gives `drive` and `reopen`, and `plant` where there is something to."""

    keeps_replaced = True
    """Whether an open file outlives its replacement; where it cannot, reading it fails, and never gives other bytes."""

    long_file = (24 << 20) + 77
    """Bytes of the longest file that is written and read, once with `direct` and once without; it is held in memory."""

    patience = 10.0
    """Seconds that one call may take where something is that is no regular file: opening a FIFO may wait for ever."""

    @pytest.fixture
    def drive(self) -> Drive:
        """A drive with nothing on it, not locked."""
        pytest.fail(f"{type(self).__name__} must give a fixture named drive: an empty Drive")

    def reopen(self, drive: Drive) -> Drive:
        """Another Drive over the same medium, as a second process would open it."""
        pytest.fail(f"{type(self).__name__} must have reopen(drive): another Drive over the medium of {drive.mount}")

    def plant(self, drive: Drive, name: str, kind: Kind) -> None:
        """Put a link, a folder or what is neither (FIFO, socket, device) under `name`; skips where none can be."""
        pytest.skip(f"{drive.mount} can hold no {kind} under {name}")

    def _in_time(self, act: Callable[[], T]) -> T:
        """What `act` gives or raises; the test fails where it is not back in time, and does not wait for its thread."""
        given: list[T] = []
        raised: list[BaseException] = []

        def run() -> None:
            try:
                given.append(act())
            except BaseException as error:  # noqa: BLE001 -- raised again where the test looks at it
                raised.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(self.patience)
        if raised:
            raise raised[0]
        if not given:
            pytest.fail(f"a call has not come back after {self.patience:g} s: it opens what is no regular file")
        return given[0]

    def _in_the_way(self, drive: Drive, call: str, act: Callable[[], object], name: str) -> None:
        """A DriveFault of this drive that tells what stands in the way, in time."""
        error = _refused(DriveFault, IN_THE_WAY + call, lambda: self._in_time(act), name)
        assert is_in_the_way(error), f"{IN_THE_WAY}{call}; its __cause__ is an OSError of such an errno"
        assert error.drive == drive.mount, "the drive of a DriveFault is the mount"

    def _walked(self, drive: Drive) -> list[tuple[bytes, Kind]]:
        """Names and kinds of all that is on the drive, in time."""
        return [(entry.name, entry.kind) for entry in self._in_time(lambda: list(drive.walk(10)))]

    # Reading

    def test_what_is_written_can_be_read_before_it_has_its_name(self, drive: Drive) -> None:
        """Or not at all; and once it was, writing goes on, and it is published as it is."""
        drive.lock()
        part, data = drive.create(NAME, direct=True), aligned_buffer(2 * ALIGN)
        data[:] = os.urandom(2 * ALIGN)
        part.write_at(0, [data])
        back = part.open_back()
        if back is not None:
            with back:
                assert back.length == 2 * ALIGN, "open_back: as long as what was written"
                assert back.read_at(0, 3 * ALIGN) == bytes(data), "open_back: what was written is read, before publish"
            assert drive.size(NAME) is None, UNPUBLISHED
        part.write_at(2 * ALIGN, [memoryview(b"more")])
        part.publish()
        drive.sync_folder(NAME)
        with drive.open_read(NAME) as file:
            assert file.read_at(0, 3 * ALIGN) == bytes(data) + b"more", "open_back: writing may go on afterwards"
        drive.unlock()

    def test_an_empty_mount_is_no_drive_yet(self, drive: Drive) -> None:
        """Nothing is there, and asking makes nothing."""
        assert not drive.exists(), "exists: no sealift/ folder before lock made it"
        assert drive.read_small(SMALL, 100) is None, "read_small: None when there is no such file"
        assert drive.size(NAME) is None, "size: None when there is no such file"
        assert list(drive.walk(10)) == [], "walk: nothing where there is nothing"
        rule = "open_read: DriveFault (is_missing) when there is no such file"
        error = _refused(DriveFault, rule, lambda: drive.open_read(NAME), NAME)
        assert is_missing(error), f"{rule}; its __cause__ is an OSError with ENOENT"
        assert error.drive == drive.mount, "the drive of a DriveFault is the mount"
        assert not drive.exists(), "reading never changes anything"

    @given(
        st.binary(max_size=3 * ALIGN),
        st.lists(st.tuples(st.integers(0, 4 * ALIGN), st.integers(0, 2 * ALIGN)), max_size=5),
        st.booleans(),
    )
    @_SETTINGS
    def test_what_was_written_is_read(
        self, drive: Drive, data: bytes, windows: list[tuple[int, int]], direct: bool
    ) -> None:
        """Whole and in any window, through the cache or beyond it, into aligned buffers and others."""
        drive.lock()
        drive.write_small(NAME, data)
        assert drive.read_small(NAME, len(data)) == data, WHOLE
        assert drive.size(NAME) == len(data), "size: length in bytes"
        with drive.open_read(NAME, direct=direct) as file:
            assert file.length == len(data), "length: in bytes"
            for offset, length in windows:
                assert file.read_at(offset, length) == data[offset : offset + length], WHOLE
                for buffer in (memoryview(bytearray(length)), aligned_buffer(length)):
                    expected = data[offset : offset + len(buffer)]
                    got = file.readinto_at(offset, buffer)
                    assert got == len(expected), "readinto_at: fewer than asked for only at the end of the file"
                    assert bytes(buffer[:got]) == expected, WHOLE
            assert file.read_from in {"medium", "cache"}, "read_from: medium or cache"
        file.close()
        drive.unlock()

    @pytest.mark.parametrize("direct", [False, True])
    def test_a_read_is_as_long_as_was_asked_for_whoever_else_reads(self, drive: Drive, direct: bool) -> None:
        """Short only at the end of the file, however long it is; and from several threads, each where it asked."""
        drive.lock()
        data = random.Random(3).randbytes((3 << 20) + 77)  # noqa: S311 -- any bytes will do
        drive.write_small(NAME, data)

        def read(offset: int) -> bool:
            buffer = aligned_buffer(length)
            got = file.readinto_at(offset, buffer[:length])
            whole = data[offset : offset + length]
            return bytes(buffer[:got]) == whole and file.read_at(offset, length) == whole

        length = 1 << 20
        with drive.open_read(NAME, direct=direct) as file, ThreadPoolExecutor(4) as pool:
            assert file.read_at(0, 4 << 20) == data, "read_at: fewer than asked for only at the end of the file"
            right = list(pool.map(read, [place * ALIGN for place in range(0, len(data) // ALIGN, 16)]))
            assert all(right), "ReadFile: safe to use from several threads at once"
        drive.unlock()

    @pytest.mark.parametrize("direct", [False, True])
    def test_a_long_file_reads_as_it_was_written_to_its_end(self, drive: Drive, direct: bool) -> None:
        """Written as a pack is, piece by piece out of the same memory; read so, and across the pieces."""
        drive.lock()
        data = random.Random(4).randbytes(self.long_file)  # noqa: S311 -- any bytes will do
        part, slab = drive.create(NAME, direct=direct), aligned_buffer(PIECE)
        for offset in range(0, len(data), PIECE):
            piece = data[offset : offset + PIECE]
            slab[: len(piece)] = piece
            part.write_at(offset, [slab[: len(piece)]])
        part.publish()
        drive.sync_folder(NAME)
        with drive.open_read(NAME, direct=direct) as file:
            assert file.length == len(data), "length: in bytes, of all that was written"
            for shift in (0, 7):
                for offset in range(shift, len(data), PIECE):
                    whole = data[offset : offset + PIECE]
                    filled = bytes(slab[: file.readinto_at(offset, slab)]) == whole
                    assert (offset, filled, file.read_at(offset, PIECE) == whole) == (offset, True, True), WHOLE
        drive.unlock()

    @pytest.mark.parametrize("direct", [False, True])
    def test_what_will_be_needed_may_be_told_of_any_place(self, drive: Drive, direct: bool) -> None:
        """It never raises, past the end neither; and what is read then is the same."""
        drive.lock()
        drive.write_small(NAME, b"whole")
        with drive.open_read(NAME, direct=direct) as file:
            for offset, length in ((0, 5), (3, PIECE), (5, 1), (PIECE, PIECE), (0, 0)):
                _goes_well("will_need: never raises", partial(file.will_need, offset, length))
            assert file.read_at(0, 100) == b"whole", "will_need: changes nothing"

    @pytest.mark.parametrize("direct", [False, True])
    def test_a_file_may_be_closed_again(self, drive: Drive, direct: bool) -> None:
        """With or without a with block."""
        drive.lock()
        drive.write_small(NAME, b"whole")
        file = drive.open_read(NAME, direct=direct)
        file.close()
        _goes_well("close: again does nothing", file.close)
        with drive.open_read(NAME, direct=direct) as file:
            file.close()
        _goes_well("close: again does nothing", file.close)

    def test_a_long_file_is_refused_before_it_is_read(self, drive: Drive) -> None:
        """A limit is a limit on memory."""
        drive.lock()
        drive.write_small(SMALL, bytes(101))
        rule = "read_small: FormatError for a file of more than limit bytes"
        _refused(FormatError, rule, lambda: drive.read_small(SMALL, 100), SMALL)
        assert drive.read_small(SMALL, 101) == bytes(101), "read_small: the whole file where it has limit bytes"

    @pytest.mark.parametrize("kind", ["link", "folder", "other"])
    def test_what_is_no_regular_file_is_named_and_not_opened(self, drive: Drive, kind: Kind) -> None:
        """A FIFO would block, a device would act, a link would lead elsewhere."""
        self.plant(drive, SMALL, kind)
        for read in (lambda: drive.read_small(SMALL, 100), lambda: drive.size(SMALL)):
            _refused(FormatError, IRREGULAR, partial(self._in_time, read), SMALL)
        for direct in (False, True):
            opened = partial(drive.open_read, SMALL, direct=direct)
            _refused(FormatError, IRREGULAR, partial(self._in_time, opened), SMALL)
        assert self._walked(drive) == [(SMALL.encode(), kind)], "walk: everything, by its kind"

    @pytest.mark.parametrize("kind", ["link", "other"])
    def test_a_folder_that_is_none_is_not_entered(self, drive: Drive, kind: Kind) -> None:
        """Neither to read nor to write."""
        self.plant(drive, "packs", kind)
        for read in (lambda: drive.size(NAME), lambda: drive.read_small(NAME, 100), lambda: drive.open_read(NAME)):
            _refused(FormatError, IRREGULAR, partial(self._in_time, read), "packs")
        drive.lock()
        self._in_the_way(drive, "create", lambda: drive.create(NAME), "packs")
        self._in_the_way(drive, "write_small", lambda: drive.write_small(NAME, b"ours"), "packs")
        assert self._walked(drive) == [(b"packs", kind)], STAYS

    @pytest.mark.parametrize("kind", ["link", "folder", "other"])
    @pytest.mark.parametrize("end", ["", PART])
    def test_what_is_no_regular_file_is_not_replaced(self, drive: Drive, kind: Kind, end: str) -> None:
        """Nobody here made it, so it stays, whatever is written or removed there; and it is named."""
        self.plant(drive, SMALL + end, kind)
        drive.lock()
        self._in_the_way(drive, "create", lambda: drive.create(SMALL), SMALL + end)
        self._in_the_way(drive, "write_small", lambda: drive.write_small(SMALL, b"ours"), SMALL + end)
        if not end:
            self._in_the_way(drive, "remove", lambda: drive.remove(SMALL), SMALL)
        assert self._walked(drive) == [((SMALL + end).encode(), kind)], STAYS

    @pytest.mark.parametrize("kind", ["link", "folder", "other"])
    def test_nor_is_one_that_came_while_the_file_was_written(self, drive: Drive, kind: Kind) -> None:
        """And what was written goes."""
        drive.lock()
        part = drive.create(SMALL)
        self.plant(drive, SMALL, kind)
        self._in_the_way(drive, "publish", part.publish, SMALL)
        self._in_time(part.abandon)
        assert self._walked(drive) == [(SMALL.encode(), kind)], STAYS

    def test_walk_tells_kinds_and_sizes_folders_first(self, drive: Drive) -> None:
        """Every name once, beneath what holds it."""
        drive.lock()
        for number in range(5):
            drive.write_small(f"packs/{number % 2:04d}/{number:07d}.parity", bytes(number))
        found = list(drive.walk(8))
        names = [entry.name for entry in found]
        assert len(set(names)) == len(names) == 8, "walk: everything beneath sealift/, once"
        for place, entry in enumerate(found):
            above = entry.name.rpartition(b"/")[0]
            assert not above or above in names[:place], "walk: folders before what is in them"
            size = int(entry.name[-14:-7]) if entry.kind == "file" else 0
            kind = "file" if entry.name.endswith(b".parity") else "folder"
            assert (entry.kind, entry.size) == (kind, size), "Entry: its kind, and its size, 0 unless it is a file"

    def test_names_are_listed_as_they_were_written(self, drive: Drive) -> None:
        """Capitals and small letters stay what they are."""
        drive.lock()
        names = ["B3SUMS", "OPEN-ME.txt", "seal/Seal.json"]
        for name in names:
            drive.write_small(name, name.encode())
        told = sorted(os.fsdecode(entry.name) for entry in drive.walk(10) if entry.kind == "file")
        assert told == names, "walk: by the names as they were written"
        assert [drive.read_small(name, 100) for name in names] == [name.encode() for name in names], WHOLE

    def test_walk_is_bounded(self, drive: Drive) -> None:
        """A hostile drive of endless entries ends."""
        drive.lock()
        for number in range(5):
            drive.write_small(f"packs/{number:04d}/{number:07d}.parity", b"x")
        rule = "walk: FormatError where there are more than limit entries"
        assert len(list(drive.walk(11))) == 11, f"{rule}, and not where there are as many"
        given: list[Entry] = []

        def walk() -> None:
            for entry in drive.walk(10):
                given.append(entry)  # noqa: PERF402 -- what was given before it is refused counts

        _refused(FormatError, rule, walk)
        assert len(given) <= 10, f"{rule}, before one more is given"

    def test_walk_goes_only_so_deep(self, drive: Drive) -> None:
        """And one of endless folders."""
        drive.lock()
        drive.write_small("/".join("x" * MAX_DEPTH), b"x")
        rule = "walk: FormatError where a name has more than MAX_DEPTH components"
        assert len(list(drive.walk(100))) == MAX_DEPTH, f"{rule}, and not where it has as many"
        drive.write_small("/".join("y" * (MAX_DEPTH + 1)), b"x")
        _refused(FormatError, rule, lambda: list(drive.walk(100)))

    @pytest.mark.parametrize("name", ["", "/etc/passwd", "..", "a/../b", "a//b", "./a", "a/", "a\0b", "x" + PART])
    def test_names_that_could_leave_are_our_own_fault(self, drive: Drive, name: str) -> None:
        """ValueError, as no file on a drive can cause it."""
        drive.lock()
        rule = "ValueError for a name that could leave sealift/ or is that of a .part, as split raises it"
        given = {"read_small": (name, 100), "write_small": (name, b"x")}
        for call in ("open_read", "size", "read_small", "create", "write_small", "remove"):
            _refused(ValueError, f"{call}: {rule}", partial(getattr(drive, call), *given.get(call, (name,))))

    # Identity and space

    def test_two_mounts_of_one_filesystem_are_the_same(self, drive: Drive) -> None:
        """What tells two drives from one drive given twice."""
        other = self.reopen(drive)
        assert other.filesystem() == drive.filesystem(), "filesystem: equal for two mounts of one filesystem"
        assert other.serial() == drive.serial(), "serial: of the medium, whoever asks"

    def test_space_is_told(self, drive: Drive) -> None:
        """Free is a part of all."""
        free = drive.free_bytes()
        assert 0 < free <= drive.total_bytes(), "free_bytes: what may still be written, of total_bytes"

    # Writing

    @given(st.lists(st.tuples(st.integers(0, 70_000), st.lists(st.binary(max_size=5000), max_size=4)), max_size=6))
    @_SETTINGS
    def test_pieces_written_anywhere_add_up(self, drive: Drive, writes: list[tuple[int, list[bytes]]]) -> None:
        """In any order, overlapping, with gaps, which read as zeros; and nothing is there before it is published."""
        drive.lock()
        drive.remove(NAME)
        model = bytearray()
        part = drive.create(NAME)
        for offset, pieces in writes:
            part.write_at(offset, [memoryview(piece) for piece in pieces])
            joined = b"".join(pieces)
            if joined:
                model.extend(bytes(max(0, offset - len(model))))
                model[offset : offset + len(joined)] = joined
        assert drive.size(NAME) is None, UNPUBLISHED
        part.publish()
        drive.sync_folder(NAME)
        rule = "write_at: in any order, over what was written too; gaps read as zeros, and no bytes write nothing"
        assert drive.read_small(NAME, 1 << 20) == bytes(model), rule
        drive.unlock()

    @given(
        st.lists(
            st.tuples(st.integers(0, 3), st.integers(1, 3 * ALIGN), st.booleans(), st.sampled_from([0, 0, 0, 1, 512])),
            max_size=6,
        )
    )
    @_SETTINGS
    def test_what_is_written_past_the_cache_is_the_same(
        self, drive: Drive, writes: list[tuple[int, int, bool, int]]
    ) -> None:
        """Aligned pieces and others, in one file: what is read does not tell how it was written."""
        drive.lock()
        drive.remove(NAME)
        model = bytearray()
        part = drive.create(NAME, direct=True)
        for number, (place, length, whole, shift) in enumerate(writes):
            offset = place * ALIGN + shift
            buffer = aligned_buffer(length)
            buffer[:] = bytes([number + 1]) * len(buffer)
            piece = buffer if whole else buffer[:length]
            part.write_at(offset, [piece])
            model.extend(bytes(max(0, offset + len(piece) - len(model))))
            model[offset : offset + len(piece)] = piece
        part.publish()
        drive.sync_folder(NAME)
        for direct in (False, True):
            with drive.open_read(NAME, direct=direct) as file:
                assert file.read_at(0, len(model) + 1) == bytes(model), WHOLE
        drive.unlock()

    def test_more_buffers_than_one_call_takes(self, drive: Drive) -> None:
        """IOV_MAX is for the drive to know."""
        drive.lock()
        part = drive.create(NAME)
        part.write_at(3, [memoryview(bytes([i % 251])) for i in range(3000)])
        part.publish()
        rule = "write_at: the buffers, as many as there are, one after the other"
        assert drive.read_small(NAME, 10_000) == bytes(3) + bytes(i % 251 for i in range(3000)), rule

    def test_a_published_file_is_seen_by_others(self, drive: Drive) -> None:
        """And by nobody before."""
        drive.lock()
        other = self.reopen(drive)
        part = drive.create(NAME)
        part.write_at(0, [memoryview(b"whole")])
        assert other.size(NAME) is None, UNPUBLISHED
        part.publish()
        drive.sync_folder(NAME)
        assert other.read_small(NAME, 100) == b"whole", "publish: it is there under its name, for others too"

    def test_a_leftover_part_is_replaced_and_never_read(self, drive: Drive) -> None:
        """What a crash leaves is in nobody's way."""
        drive.lock()
        drive.create(NAME).write_at(0, [memoryview(b"half of it, and longer")])
        assert drive.size(NAME) is None, UNPUBLISHED
        part = drive.create(NAME)
        part.write_at(0, [memoryview(b"whole")])
        part.publish()
        drive.sync_folder(NAME)
        assert drive.read_small(NAME, 100) == b"whole", "create: in place of any leftover"
        assert [entry.name for entry in drive.walk(10) if entry.kind == "file"] == [NAME.encode()], PARTS

    def test_an_abandoned_file_leaves_nothing(self, drive: Drive) -> None:
        """What was there before stays."""
        drive.lock()
        drive.write_small(NAME, b"before")
        part = drive.create(NAME)
        part.write_at(0, [memoryview(b"after")])
        _goes_well("abandon: never raises", part.abandon)
        _goes_well("abandon: again does nothing", part.abandon)
        assert drive.read_small(NAME, 100) == b"before", "abandon: removes NAME.part, and nothing else"
        assert [entry.name for entry in drive.walk(10) if entry.kind == "file"] == [NAME.encode()], PARTS

    def test_an_open_file_outlives_its_replacement(self, drive: Drive) -> None:
        """Repair renames over what others read."""
        drive.lock()
        drive.write_small(NAME, b"before")
        with drive.open_read(NAME) as file:
            drive.write_small(NAME, b"afterwards")
            rule = "read_at: of a file that was replaced since it was opened"
            assert file.length == 6, "length: when it was opened"
            if self.keeps_replaced:
                assert file.read_at(0, 100) == b"before", f"{rule}, its own bytes (keeps_replaced)"
            else:
                _refused(DriveFault, f"{rule}, DriveFault (not keeps_replaced)", lambda: file.read_at(0, 100))
        assert drive.read_small(NAME, 100) == b"afterwards", "write_small: in place of the file"

    def test_remove_and_replace(self, drive: Drive) -> None:
        """The stamp tells another file under the same name."""
        drive.lock()
        drive.write_small(SMALL, b"one")
        with drive.open_read(SMALL) as first, drive.open_read(SMALL) as again:
            assert first.stamp == again.stamp, "stamp: equal each time the same file is opened"
        drive.write_small(SMALL, b"two")
        with drive.open_read(SMALL) as second:
            assert first.stamp != second.stamp, "stamp: another once the file was replaced, by as many bytes too"
        drive.remove(SMALL)
        _goes_well("remove: nothing happens when there is none", lambda: drive.remove(SMALL))
        drive.sync_folder(SMALL)
        assert drive.read_small(SMALL, 100) is None, "remove: removes the file"

    # The lock

    def test_the_lock_excludes_and_is_given_up(self, drive: Drive) -> None:
        """One writer; taking it again changes nothing."""
        other = self.reopen(drive)
        descriptor = drive.lock()
        assert drive.exists(), "lock: makes sealift/ if needed"
        assert drive.lock() == descriptor, "lock: again gives the same descriptor"
        rule = "lock: the descriptor is open and inheritable"
        _goes_well(rule, lambda: os.fstat(descriptor))
        assert os.get_inheritable(descriptor), rule
        rule = "lock: Busy while another Drive on the same medium has it"
        _refused(Busy, rule, other.lock)
        drive.unlock()
        _goes_well("unlock: again does nothing", drive.unlock)
        _goes_well("unlock: gives the lock up, for others to take", other.lock)
        _refused(Busy, rule, drive.lock)
        other.unlock()

    def test_nothing_is_written_without_the_lock(self, drive: Drive) -> None:
        """A fault of ours."""
        drive.lock()
        drive.write_small(NAME, b"before")
        drive.unlock()
        rule = "needs the lock; AssertionError without it"
        _refused(AssertionError, f"create: {rule}", lambda: drive.create(NAME))
        _refused(AssertionError, f"write_small: {rule}", lambda: drive.write_small(NAME, b"after"))
        _refused(AssertionError, f"remove: {rule}", lambda: drive.remove(NAME))
        assert drive.read_small(NAME, 100) == b"before", "without the lock nothing is written"


def _goes_well(rule: str, act: Callable[[], object]) -> None:
    """`act` raises nothing; the test fails with the rule where it does."""
    try:
        act()
    except Exception as error:
        raise AssertionError(f"{rule}; raised was {error!r}") from error


def _refused(kind: type[E], rule: str, act: Callable[[], object], name: str = "") -> E:
    """The error of this kind that `act` raises, naming `name`; the test fails with the rule where there is none."""
    try:
        given = act()
    except kind as error:
        raised = error
    except Exception as error:
        raise AssertionError(f"{rule}; raised was {error!r}") from error
    else:
        raise AssertionError(f"{rule}; nothing was raised, and {given!r} given")
    assert name in str(raised), f"{rule}; and its message names {name}, and is {str(raised)!r}"
    return raised
