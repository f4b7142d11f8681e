"""DriveStoreTests finds stores that keep most of the contract: each wrong in one thing fails the test that names it."""

import os
from pathlib import Path

import pytest

from sealift.drives.local import LocalDrive
from sealift.drives.local_file import LocalPartFile, LocalReadFile
from sealift.testing import DriveStoreTests

MIB = 1 << 20
LONG = "test_a_long_file_reads_as_it_was_written_to_its_end"
HINTS = "test_what_will_be_needed_may_be_told_of_any_place"
CLOSED = "test_a_file_may_be_closed_again"
NAMES = "test_names_are_listed_as_they_were_written"
IRREGULAR = "test_what_is_no_regular_file_is_named_and_not_opened"

read_at, readinto_at, write_at = LocalReadFile.read_at, LocalReadFile.readinto_at, LocalPartFile.write_at
will_need, close = LocalReadFile.will_need, LocalReadFile.close


def store(**methods):
    """A LocalDrive whose open and new files have these methods in place of their own."""
    read = type("Read", (LocalReadFile,), {name: each for name, each in methods.items() if name != "write_at"})
    part = type("Part", (LocalPartFile,), {name: each for name, each in methods.items() if name == "write_at"})

    class Store(LocalDrive):
        def open_read(self, name, *, direct=False):
            return read(self._open(name, direct=direct), self.mount, name, direct=direct)

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


WRONG = [
    pytest.param(writes_zeros(MIB), LONG, id="writes zeros from 1 MiB on"),
    *(pytest.param(reads_zeros(each * MIB), LONG, id=f"reads zeros from {each} MiB on") for each in (4, 8, 16, 24)),
    *(pytest.param(fills_with_zeros(each * MIB), LONG, id=f"fills with zeros from {each} MiB") for each in (4, 16, 24)),
    pytest.param(takes_no_hint_past_the_end(), HINTS, id="a hint past the end raises"),
    pytest.param(closes_once(), CLOSED, id="closing again raises"),
    pytest.param(folds_names(), NAMES, id="folds names"),
]


def check(drive, name):
    """Run a test of the contract as pytest does, with and without `direct` where it has that."""
    test = getattr(DriveStoreTests(), name)
    for given in [{}] if name == NAMES else [{"direct": False}, {"direct": True}]:
        test(drive=drive, **given)


@pytest.mark.parametrize(("wrong", "name"), WRONG)
def test_a_store_that_is_wrong_in_one_thing_is_found(tmp_path, wrong, name):
    with pytest.raises((AssertionError, ValueError)):
        check(wrong(str(tmp_path)), name)


@pytest.mark.parametrize("name", [LONG, HINTS, CLOSED, NAMES])
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
