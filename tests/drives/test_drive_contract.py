"""One contract, kept by LocalDrive and MemoryDrive alike."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealift.drives.base import ALIGN, MAX_DEPTH, Drive, aligned_buffer, errno_of, is_missing, split
from sealift.drives.local import LocalDrive
from sealift.drives.memory import MemoryDrive
from sealift.errors import Busy, DriveFault, FormatError


class LocalWorld:
    """Makes drives in folders, and plants what a hostile one would hold."""

    def __init__(self, path):
        self.path = path

    def drive(self) -> Drive:
        self.path.mkdir(exist_ok=True)
        return LocalDrive(str(self.path))

    def plant(self, name, kind):
        place = self.path / "sealift" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if kind == "link":
            secret = self.path / "secret"
            secret.write_bytes(b"not for reading")
            place.symlink_to(secret)
        elif kind == "folder":
            place.mkdir()
        else:
            os.mkfifo(place)


class MemoryWorld:
    def __init__(self):
        self.first = MemoryDrive("m")

    def drive(self) -> Drive:
        return MemoryDrive("m", self.first.medium)

    def plant(self, name, kind):
        self.first.put(name, kind)


@pytest.fixture(params=["local", "memory"])
def world(request, tmp_path):
    return LocalWorld(tmp_path / "mnt") if request.param == "local" else MemoryWorld()


NAME = "packs/0000/0000000.parity"


def test_an_empty_mount_is_no_drive_yet(world):
    drive = world.drive()
    assert not drive.exists()
    assert drive.read_small("drive.json", 100) is None
    assert drive.size(NAME) is None
    assert list(drive.walk(10)) == []
    with pytest.raises(DriveFault) as caught:
        drive.open_read(NAME)
    assert is_missing(caught.value)
    assert not drive.exists()


@given(
    st.binary(max_size=3 * ALIGN),
    st.lists(st.tuples(st.integers(0, 4 * ALIGN), st.integers(0, 2 * ALIGN)), max_size=5),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_what_was_written_is_read(tmp_path_factory, data, windows, direct):
    for world in (LocalWorld(tmp_path_factory.mktemp("m") / "mnt"), MemoryWorld()):
        drive = world.drive()
        drive.lock()
        drive.write_small(NAME, data)
        assert drive.read_small(NAME, len(data)) == data
        assert drive.size(NAME) == len(data)
        with drive.open_read(NAME, direct=direct) as file:
            assert file.length == len(data)
            for offset, length in windows:
                assert file.read_at(offset, length) == data[offset : offset + length]
                for buffer in (memoryview(bytearray(length)), aligned_buffer(length)):
                    expected = data[offset : offset + len(buffer)]
                    assert file.readinto_at(offset, buffer) == len(expected)
                    assert bytes(buffer[: len(expected)]) == expected
        drive.unlock()


@given(st.lists(st.tuples(st.integers(0, 70_000), st.lists(st.binary(max_size=5000), max_size=4)), max_size=6))
@settings(max_examples=40, deadline=None)
def test_pieces_written_anywhere_add_up(tmp_path_factory, writes):
    for world in (LocalWorld(tmp_path_factory.mktemp("m") / "mnt"), MemoryWorld()):
        drive = world.drive()
        drive.lock()
        model = bytearray()
        part = drive.create(NAME)
        for offset, pieces in writes:
            part.write_at(offset, [memoryview(piece) for piece in pieces])
            joined = b"".join(pieces)
            if joined:
                model.extend(bytes(max(0, offset - len(model))))
                model[offset : offset + len(joined)] = joined
        part.flush()
        assert drive.size(NAME) is None
        part.publish()
        assert drive.read_small(NAME, 1 << 20) == model
        drive.unlock()


def test_more_buffers_than_one_call_takes(world):
    drive = world.drive()
    drive.lock()
    part = drive.create(NAME)
    part.write_at(3, [memoryview(bytes([i % 251])) for i in range(3000)])
    part.publish()
    assert drive.read_small(NAME, 10_000) == bytes(3) + bytes(i % 251 for i in range(3000))


def test_a_leftover_part_is_replaced_and_never_read(world):
    drive = world.drive()
    drive.lock()
    drive.create(NAME).write_at(0, [memoryview(b"half of it")])
    assert drive.size(NAME) is None
    part = drive.create(NAME)
    part.write_at(0, [memoryview(b"whole")])
    part.publish()
    drive.sync_folder(NAME)
    assert drive.read_small(NAME, 100) == b"whole"
    with pytest.raises(ValueError, match="no name"):
        drive.open_read(NAME + ".part")


def test_an_abandoned_file_leaves_nothing(world):
    drive = world.drive()
    drive.lock()
    drive.write_small(NAME, b"before")
    part = drive.create(NAME)
    part.write_at(0, [memoryview(b"after")])
    part.abandon()
    part.abandon()
    assert drive.read_small(NAME, 100) == b"before"
    assert [entry.name for entry in drive.walk(10) if entry.kind == "file"] == [NAME.encode()]


def test_remove_and_replace(world):
    drive = world.drive()
    drive.lock()
    drive.write_small("drive.json", b"one")
    first = drive.open_read("drive.json").stamp
    drive.write_small("drive.json", b"two")
    assert drive.open_read("drive.json").stamp != first
    drive.remove("drive.json")
    drive.remove("drive.json")
    assert drive.read_small("drive.json", 100) is None


def test_the_lock_excludes_and_is_given_up(world):
    drive, other = world.drive(), world.drive()
    drive.lock()
    assert drive.exists()
    assert drive.lock() == drive.lock()
    with pytest.raises(Busy):
        other.lock()
    drive.unlock()
    drive.unlock()
    other.lock()
    other.unlock()


def test_nothing_is_written_without_the_lock(world):
    drive = world.drive()
    for write in (drive.create, drive.remove):
        with pytest.raises(AssertionError):
            write(NAME)


def test_a_long_file_is_refused_before_it_is_read(world):
    drive = world.drive()
    drive.lock()
    drive.write_small("drive.json", bytes(101))
    with pytest.raises(FormatError, match="at most 100"):
        drive.read_small("drive.json", 100)


@pytest.mark.parametrize("kind", ["link", "folder", "other"])
def test_what_is_no_regular_file_is_named_and_not_opened(world, kind):
    world.plant("drive.json", kind)
    drive = world.drive()
    for read in (lambda: drive.read_small("drive.json", 100), lambda: drive.size("drive.json")):
        with pytest.raises(FormatError, match=r"drive\.json"):
            read()
    for direct in (False, True):
        with pytest.raises(FormatError, match=r"drive\.json"):
            drive.open_read("drive.json", direct=direct)
    assert [(entry.name, entry.kind) for entry in drive.walk(10)] == [(b"drive.json", kind)]


@pytest.mark.parametrize("kind", ["link", "other"])
def test_a_folder_that_is_none_is_not_entered(world, kind):
    world.plant("packs", kind)
    drive = world.drive()
    with pytest.raises(FormatError):
        drive.size(NAME)
    with pytest.raises(FormatError):
        drive.read_small(NAME, 100)
    with pytest.raises(FormatError):
        drive.open_read(NAME)
    drive.lock()
    with pytest.raises(FormatError):
        drive.create(NAME)


def test_walk_is_bounded(world):
    drive = world.drive()
    drive.lock()
    for number in range(5):
        drive.write_small(f"packs/{number:04d}/{number:07d}.parity", b"x")
    assert len(list(drive.walk(11))) == 11
    with pytest.raises(FormatError, match="more than 10"):
        list(drive.walk(10))


def test_walk_goes_only_so_deep(world):
    drive = world.drive()
    drive.lock()
    drive.write_small("/".join("x" * MAX_DEPTH), b"x")
    assert len(list(drive.walk(100))) == MAX_DEPTH
    drive.write_small("/".join("y" * (MAX_DEPTH + 1)), b"x")
    with pytest.raises(FormatError, match="deep"):
        list(drive.walk(100))


def test_space_is_told(world):
    drive = world.drive()
    assert 0 < drive.free_bytes() <= drive.total_bytes()


def test_two_mounts_of_one_filesystem_are_the_same(world):
    assert world.drive().filesystem() == world.drive().filesystem()


@pytest.mark.parametrize("name", ["", "/etc/passwd", "..", "a/../b", "a//b", "./a", "a/", "a\0b", "x.part"])
def test_names_that_could_leave_are_our_own_fault(world, name):
    with pytest.raises(ValueError, match="no name"):
        split(name)
    with pytest.raises(ValueError, match="no name"):
        world.drive().open_read(name)


def test_a_planned_fault_carries_its_errno():
    drive = MemoryDrive("/mnt/a", plan=lambda operation, _name, _offset: 5 if operation == "read" else None)
    drive.put(NAME, b"x")
    with drive.open_read(NAME) as file, pytest.raises(DriveFault, match="input/output") as caught:
        file.read_at(0, 1)
    assert errno_of(caught.value) == 5
    assert caught.value.drive == "/mnt/a"
    assert caught.value.hint is not None
