"""A drive store written from the protocol's text alone, in words of its own, keeps the contract and serves the stages.

It takes nothing of sealift but the protocol, its limits and its errors, and no message has more in it than the name
it is of: whatever comes to ask for more of the words of an error fails here.
"""

import errno
import itertools
import os

import pytest

from sealift.drives.base import MAX_DEPTH, PART, Entry, split
from sealift.errors import Busy, DriveFault, FormatError
from sealift.stages import verify
from sealift.stages.pack import run as pack
from sealift.testing import DriveStoreTests, Origin

COUNT = itertools.count()


class Shelf:
    """The medium: bytes by name, or in place of them the kind of what is no file; folders are names, too."""

    def __init__(self):
        self.things, self.times, self.holder, self.made = {}, {}, None, False

    def put(self, name, thing):
        for depth in range(1, len(parts := name.split("/"))):
            self.things.setdefault("/".join(parts[:depth]), "folder")
        self.things[name], self.times[name], self.made = thing, next(COUNT), True


class Opened:
    lasting, read_from = True, "medium"

    def __init__(self, data, time):
        self._data, self.length, self.stamp = data, len(data), (time,)

    def read_at(self, offset, length):
        return self._data[offset : offset + length]

    def readinto_at(self, offset, buffer):
        data = self.read_at(offset, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def will_need(self, offset, length):
        pass

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Begun:
    def __init__(self, drive, name):
        self._drive, self._name, self._data = drive, name, bytearray()
        drive.shelf.put(name + PART, b"")

    def write_at(self, offset, buffers):
        for piece in filter(None, map(bytes, buffers)):
            self._data.extend(bytes(max(0, offset - len(self._data))))
            self._data[offset : offset + len(piece)] = piece
            offset += len(piece)

    def open_back(self):
        return None

    def publish(self):
        self._drive.must_be_free(self._name)
        self._drive.shelf.put(self._name, bytes(self._data))
        self.abandon()

    def abandon(self):
        self._drive.shelf.things.pop(self._name + PART, None)


class OwnDrive:
    """drives.base.Drive over a Shelf."""

    def __init__(self, mount, shelf=None):
        self.mount, self.shelf, self._descriptor = mount, shelf or Shelf(), None

    def _above(self, name):
        parts = split(name)
        return ["/".join(parts[:depth]) for depth in range(1, len(parts))]

    def _look(self, name):
        for each in self._above(name):
            if self.shelf.things.get(each, "folder") != "folder":
                raise FormatError(each)
        if isinstance(thing := self.shelf.things.get(name), str):
            raise FormatError(name)
        return thing

    def exists(self):
        return self.shelf.made

    def read_small(self, name, limit):
        data = self._look(name)
        if data is not None and len(data) > limit:
            raise FormatError(name)
        return data

    def size(self, name):
        data = self._look(name)
        return None if data is None else len(data)

    def open_read(self, name, *, direct=False):  # noqa: ARG002 -- there is no cache
        data = self._look(name)
        if data is None:
            raise DriveFault(name, drive=self.mount) from OSError(errno.ENOENT, "")
        return Opened(data, self.shelf.times[name])

    def walk(self, limit):
        for number, (name, thing) in enumerate(sorted(self.shelf.things.items())):
            if number == limit or name.count("/") >= MAX_DEPTH:
                raise FormatError(name)
            kind, size = (thing, 0) if isinstance(thing, str) else ("file", len(thing))
            yield Entry(os.fsencode(name), kind, size)

    def filesystem(self):
        return ("shelf", self.mount)

    def serial(self):
        return self.mount.rpartition("/")[2]

    def free_bytes(self):
        return 1 << 40

    def total_bytes(self):
        return 1 << 40

    def lock(self):
        if self.shelf.holder not in {None, self}:
            raise Busy("")
        self.shelf.holder, self.shelf.made = self, True
        if self._descriptor is None:
            self._descriptor = os.memfd_create("shelf", 0)
        return self._descriptor

    def unlock(self):
        if self._descriptor is not None:
            os.close(self._descriptor)
            self.shelf.holder = self._descriptor = None

    def must_be_free(self, name):
        for each in (*self._above(name), name, name + PART):
            thing = self.shelf.things.get(each)
            if thing is not None and (thing != "folder" if each in self._above(name) else isinstance(thing, str)):
                raise DriveFault(each, drive=self.mount) from OSError(errno.EEXIST, "")

    def _may_write(self, name):
        assert self.shelf.holder is self
        self.must_be_free(name)

    def create(self, name, *, direct=False):  # noqa: ARG002 -- there is no cache
        self._may_write(name)
        return Begun(self, name)

    def sync_folder(self, name):
        pass

    def write_small(self, name, data):
        self._may_write(name)
        self.shelf.put(name, data)

    def remove(self, name):
        self._may_write(name)
        self.shelf.things.pop(name, None)


class TestOwnDrive(DriveStoreTests):
    @pytest.fixture
    def drive(self):
        made = OwnDrive("own")
        yield made
        made.unlock()

    def reopen(self, drive):
        return OwnDrive(drive.mount, drive.shelf)

    def plant(self, drive, name, kind):
        drive.shelf.put(name, kind)


class Shelves:
    """What Origin asks of a fleet: mounts, their serial numbers, and a drive for each."""

    def __init__(self, count):
        self._shelves = {f"/mnt/own-{number}": Shelf() for number in range(count)}
        self.mounts, self.serials = list(self._shelves), {each: OwnDrive(each).serial() for each in self._shelves}

    def open(self, mount):
        return OwnDrive(mount, self._shelves[mount])


def test_what_is_packed_onto_them_is_intact_and_what_rots_is_found(tmp_path):
    source, fleet = tmp_path / "source", Shelves(3)
    source.mkdir()
    (source / "one.bin").write_bytes(os.urandom(300_000))
    origin = Origin(tmp_path / "origin", source, fleet)
    assert pack.run(origin.options(), pack.Events()).exit_code == 0
    seal = origin.seal()
    drives = [fleet.open(each) for each in fleet.mounts]
    assert verify.verify(drives, allowed=origin.allowed, seal=seal).state == "intact"
    drive = next(each for each in drives if "packs/0000" in each.shelf.things)
    rotten = next(name for name in drive.shelf.things if name.startswith("packs/0000/"))
    drive.shelf.put(rotten, "link")
    report = verify.verify(drives, allowed=origin.allowed, seal=seal)
    assert report.state == "recoverable"
    assert [(each.mount, each.path) for each in report.faults] == [(drive.mount, rotten)]
