"""DriveStoreTests finds stores that keep most of the contract: each wrong in one thing fails the test that names it.

And the failure says in the protocol's words what was expected.
"""

import inspect
import os
from pathlib import Path

import pytest

from sealift.drives.base import Entry
from sealift.drives.local import LocalDrive
from sealift.drives.local_file import LocalPartFile, LocalReadFile
from sealift.errors import DriveFault, FormatError
from sealift.testing import DriveStoreTests

MIB = 1 << 20
LONG = "test_a_long_file_reads_as_it_was_written_to_its_end"
HINTS = "test_what_will_be_needed_may_be_told_of_any_place"
CLOSED = "test_a_file_may_be_closed_again"
NAMES = "test_names_are_listed_as_they_were_written"
EMPTY = "test_an_empty_mount_is_no_drive_yet"
STAMP = "test_remove_and_replace"
LIMIT = "test_a_long_file_is_refused_before_it_is_read"
WALK, DEPTH = "test_walk_is_bounded", "test_walk_goes_only_so_deep"
WRITES = "test_pieces_written_anywhere_add_up"
LOCK, UNLOCKED = "test_the_lock_excludes_and_is_given_up", "test_nothing_is_written_without_the_lock"
IRREGULAR = "test_what_is_no_regular_file_is_named_and_not_opened"

read_at, readinto_at, write_at = LocalReadFile.read_at, LocalReadFile.readinto_at, LocalPartFile.write_at
will_need, close = LocalReadFile.will_need, LocalReadFile.close


def store(**methods):
    """A LocalDrive whose open and new files have these methods in place of their own."""
    read = type("Read", (LocalReadFile,), {name: each for name, each in methods.items() if name != "write_at"})
    part = type("Part", (LocalPartFile,), {name: each for name, each in methods.items() if name == "write_at"})

    class Store(LocalDrive):
        def open_read(self, name, *, direct=False):
            opened = super().open_read(name, direct=direct)
            opened.__class__ = read
            return opened

        def create(self, name, *, direct=False):
            made = super().create(name, direct=direct)
            made.__class__ = part
            return made

    return Store


def writes_zeros(limit):
    def write(self, offset, buffers):
        write_at(self, offset, [memoryview(bytes(len(each))) for each in buffers] if offset >= limit else buffers)

    return store(write_at=write)


def reads_zeros(limit):
    def read(self, offset, length):
        data = read_at(self, offset, length)
        return data[: max(0, limit - offset)].ljust(len(data), b"\0")

    return store(read_at=read)


def fills_with_zeros(limit):
    def fill(self, offset, buffer):
        got, first = readinto_at(self, offset, buffer), max(0, limit - offset)
        if first < got:
            buffer[first:got] = bytes(got - first)
        return got

    return store(readinto_at=fill)


def takes_no_hint_past_the_end():
    def need(self, offset, length):
        if offset + length > self.length:
            raise ValueError("past the end")
        will_need(self, offset, length)

    return store(will_need=need)


def closes_once():
    def shut(self):
        if getattr(self, "_shut", False):
            raise ValueError("it is closed")
        self._shut = True
        close(self)

    return store(close=shut, __exit__=lambda self, *_: close(self), __del__=close)


def folds_names():
    class Store(LocalDrive):
        def _open(self, name, *, direct=False):
            return super()._open(name.lower(), direct=direct)

        def size(self, name):
            return super().size(name.lower())

        def create(self, name, *, direct=False):
            return super().create(name.lower(), direct=direct)

        def remove(self, name):
            super().remove(name.lower())

    return Store


class StampsByLength(LocalDrive):
    def open_read(self, name, *, direct=False):
        file = super().open_read(name, direct=direct)
        file.stamp = (file.length,)
        return file


class ReadsAll(LocalDrive):
    def read_small(self, name, limit):
        return super().read_small(name, limit + 1)


class WalksOneMore(LocalDrive):
    def walk(self, limit):
        return super().walk(limit + 1)


class WalksToTheEnd(LocalDrive):
    def walk(self, limit):
        given = list(super().walk(limit + 1))
        yield from given
        if len(given) > limit:
            raise FormatError("there are more")


class WalksAnyDepth(LocalDrive):
    def walk(self, limit):  # noqa: ARG002 -- endless
        for above, folders, files in os.walk(Path(self.mount, "sealift")):
            for each in folders + files:
                yield Entry(os.fsencode(os.path.join(above, each)), "file" if each in files else "folder", 0)


class SaysNotWhy(LocalDrive):
    def open_read(self, name, *, direct=False):
        try:
            return super().open_read(name, direct=direct)
        except DriveFault as error:
            raise DriveFault(str(error), drive=self.mount) from None


class LocksForItself(LocalDrive):
    def lock(self):
        descriptor = super().lock()
        os.set_inheritable(descriptor, False)  # noqa: FBT003
        return descriptor


class LocksAnew(LocalDrive):
    def lock(self):
        descriptor = os.dup(super().lock())
        os.set_inheritable(descriptor, True)  # noqa: FBT003
        return descriptor


class LocksNobodyOut(LocalDrive):
    def lock(self):
        if self._lock is None:
            os.makedirs(place := Path(self.mount, "sealift"), exist_ok=True)
            self._lock = os.open(place, os.O_RDONLY)
            os.set_inheritable(self._lock, True)  # noqa: FBT003
        return self._lock


class NeedsNoLock(LocalDrive):
    def write_small(self, name, data):
        self.lock()
        super().write_small(name, data)


def writes_gaps_of_nothing():
    def write(self, offset, buffers):
        write_at(self, offset, buffers)
        os.truncate(self.fileno(), max(os.fstat(self.fileno()).st_size, offset))

    return store(write_at=write)


READ = "what was written is what is read"
WRONG = [
    pytest.param(writes_zeros(MIB), LONG, READ, id="writes zeros from 1 MiB on"),
    *(pytest.param(reads_zeros(n * MIB), LONG, READ, id=f"reads zeros from {n} MiB on") for n in (4, 8, 16, 24)),
    *(pytest.param(fills_with_zeros(n * MIB), LONG, READ, id=f"fills with zeros from {n} MiB") for n in (4, 16, 24)),
    pytest.param(takes_no_hint_past_the_end(), HINTS, "will_need: never raises", id="a hint past the end raises"),
    pytest.param(closes_once(), CLOSED, "close: again does nothing", id="closing again raises"),
    pytest.param(folds_names(), NAMES, "by the names as they were written", id="folds names"),
    pytest.param(StampsByLength, STAMP, "stamp: another once the file was replaced", id="a stamp of the length"),
    pytest.param(ReadsAll, LIMIT, "read_small: FormatError for a file of more than", id="no limit"),
    pytest.param(WalksOneMore, WALK, "more than limit entries; nothing was raised", id="walks one more"),
    pytest.param(WalksToTheEnd, WALK, "before one more is given", id="walks to the end first"),
    pytest.param(WalksAnyDepth, DEPTH, "a name has more than MAX_DEPTH", id="walks any depth"),
    pytest.param(SaysNotWhy, EMPTY, "__cause__ is an OSError with ENOENT", id="a fault without a cause"),
    pytest.param(writes_gaps_of_nothing(), WRITES, "no bytes write nothing", id="an empty write makes a gap"),
    pytest.param(LocksForItself, LOCK, "open and inheritable", id="a descriptor that is not inherited"),
    pytest.param(LocksAnew, LOCK, "again gives the same descriptor", id="another descriptor"),
    pytest.param(LocksNobodyOut, LOCK, "lock: Busy while another Drive", id="a lock that keeps nobody out"),
    pytest.param(NeedsNoLock, UNLOCKED, "write_small: needs the lock; AssertionError", id="writes without the lock"),
]


class Local(DriveStoreTests):
    def reopen(self, drive):
        return type(drive)(drive.mount)


def check(drive, name):
    """Run a test of the contract as pytest does, with and without `direct` where it has that."""
    test = getattr(Local(), name)
    for given in [{"direct": False}, {"direct": True}] if "direct" in inspect.signature(test).parameters else [{}]:
        test(drive=drive, **given)


@pytest.mark.parametrize(("wrong", "name", "rule"), WRONG)
def test_a_store_that_is_wrong_in_one_thing_is_found_and_the_rule_is_told(tmp_path, wrong, name, rule):
    with pytest.raises(AssertionError, match=rule):
        check(wrong(str(tmp_path)), name)


@pytest.mark.parametrize("name", sorted({each.values[1] for each in WRONG}))
def test_and_one_that_is_right_is_not(tmp_path, name):
    check(store()(str(tmp_path)), name)


class WithFifo(DriveStoreTests):
    patience = 0.5

    def plant(self, drive, name, kind):
        assert kind == "other"
        place = Path(drive.mount, "sealift", name)
        place.parent.mkdir()
        os.mkfifo(place)


def opens_whatever_is_there():
    class Store(LocalDrive):
        def read_small(self, name, limit):
            return Path(self.mount, "sealift", name).read_bytes()[:limit]

    return Store


def test_a_store_that_opens_a_fifo_fails_its_test_and_does_not_hold_up_the_others(tmp_path):
    with pytest.raises(pytest.fail.Exception, match=r"not come back after 0\.5 s"):
        getattr(WithFifo(), IRREGULAR)(drive=opens_whatever_is_there()(str(tmp_path)), kind="other")
    os.close(os.open(tmp_path / "sealift/drive.json", os.O_RDWR))  # its thread reads the end, and ends


def test_and_one_that_only_looks_at_it_passes(tmp_path):
    getattr(WithFifo(), IRREGULAR)(drive=LocalDrive(str(tmp_path)), kind="other")
