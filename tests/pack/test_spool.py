"""What a builder fetched of a segment is what its follower hashes, from an encrypted file that is gone at once."""

import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import loops
import msgspec
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from sealift.errors import SourceFault
from sealift.formats.index import CHANGED, FILE, Row
from sealift.stages.pack import follow, source, spool, units

MIB = 1 << 20
UNIT = units.Unit(b"a/huge.bin", FILE, 0, 0o100644, 0, 0, 0, [], b"a/huge.bin.part-000000", False, b"tag")  # noqa: FBT003


def segment(start, data, size=None):
    return msgspec.structs.replace(
        UNIT, start=start, length=len(data), size=start + len(data) if size is None else size
    )


@pytest.fixture
def kept(tmp_path):
    return spool.Spool.begun(str(tmp_path))


def write(kept, unit, pieces, *, wait=None):
    with closing(kept.writer(unit)) as writer:
        for piece in pieces:
            writer.add(memoryview(piece))
            if wait is not None:
                wait()


def read(kept, unit, over=lambda: True):
    return b"".join(bytes(piece) for piece in kept.read(unit, over))


@given(st.lists(st.binary(max_size=3000), max_size=8), st.integers(0, 1 << 40), st.integers(0, 2 * MIB + 5))
def test_what_is_written_is_read_and_nothing_stays(tmp_path_factory, pieces, start, more):
    kept = spool.Spool.begun(str(tmp_path_factory.mktemp("state")))
    pieces = [*pieces, os.urandom(more)]
    data = b"".join(pieces)
    unit = segment(start, data)
    write(kept, unit, pieces)
    assert len(data) < 64 or data not in b"".join(each.read_bytes() for each in _files(kept))
    assert read(kept, unit) == data
    assert _files(kept) == []
    kept.remove()


def _files(kept):
    from pathlib import Path

    return list(Path(kept.folder).iterdir())


def test_it_is_read_while_it_is_written(kept):
    """The reader first: it waits for the file, and for every piece."""
    pieces = [bytes([n]) * (n * 50_001) for n in range(1, 30)]
    data, taken, over = b"".join(pieces), threading.Semaphore(0), threading.Event()
    unit = segment(7, data)

    def reading():
        out = bytearray()
        for piece in kept.read(unit, over.is_set):
            out += piece
            taken.release()
        return bytes(out)

    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(reading)
        write(kept, unit, pieces, wait=lambda: taken.acquire(timeout=10))
        assert job.result(10) == data


@pytest.mark.parametrize("opened", [False, True])
def test_what_ends_short_is_given_up(kept, opened):
    """As where the object was replaced, or the disk is full: what was read by then is good, and the disk is free."""
    data = os.urandom(3 * MIB)
    unit, over, first = segment(0, data), threading.Event(), threading.Event()

    def reading():
        out = bytearray()
        for piece in kept.read(unit, over.is_set):
            out += piece
            first.set()
        return bytes(out)

    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(reading) if opened else None
        writer = kept.writer(unit)
        writer.add(memoryview(data[:MIB]))
        assert job is None or first.wait(10)
        writer.close()
        assert _files(kept) == []
        over.set()
        if job is None:
            job = pool.submit(reading)
        got = job.result(10)
        assert bool(got) == opened, "the first piece may be less than was added at once"
        assert data[:MIB].startswith(got)


def test_another_run_cannot_read_it_and_removes_it(kept, tmp_path):
    data = os.urandom(MIB)
    write(kept, segment(0, data), [data])
    assert read(spool.Spool(kept.folder, os.urandom(32)), segment(0, data)) != data
    write(kept, segment(0, data), [data])
    again = spool.Spool.begun(str(tmp_path))
    assert _files(again) == []
    assert again.key != kept.key


def test_where_no_folder_can_be_made_nothing_is_kept_and_nothing_ends(tmp_path):
    (tmp_path / "spool").write_bytes(b"a file in its place")
    kept = spool.Spool.begun(str(tmp_path))
    write(kept, segment(0, b"data"), [b"data"])
    assert read(kept, segment(0, b"data")) == b""
    kept.remove()
    assert (tmp_path / "spool").read_bytes() == b"a file in its place"


def test_room_is_left_for_the_journal(tmp_path, monkeypatch):
    loops.need_loops()
    (tmp_path / "state").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "none", tmp_path / "state"], check=True)
    try:
        data = os.urandom(2 * MIB)
        kept = spool.Spool.begun(str(tmp_path / "state"))
        write(kept, segment(0, data), [data])
        assert (_files(kept), read(kept, segment(0, data))) == ([], b"")
        monkeypatch.setattr(spool, "RESERVE", 100 * MIB)
        monkeypatch.setattr(spool, "_LOOKED_AT", MIB)
        write(kept, segment(0, data), [data])
        assert read(kept, segment(0, data)) == data
        large = segment(0, bytes(150 * MIB))
        writer = kept.writer(large)
        for _ in range(150):
            writer.add(memoryview(data[:MIB]))
        found = os.statvfs(kept.folder)
        assert _files(kept) == []
        assert found.f_bavail * found.f_frsize > 190 * MIB
    finally:
        subprocess.run(["umount", tmp_path / "state"], check=True)


# --- the follower


class Store:
    """A Reader over objects in memory that notes what is fetched."""

    def __init__(self, objects):
        self.objects, self.fetched = objects, []

    def open(self, unit):
        self.fetched.append((unit.start, unit.length))
        return Opened(self.objects[unit.path])

    def checksum(self, _unit):
        return None


class Opened(source.Nothing):
    def __init__(self, data):
        self.data = data

    def read(self, views, offset):
        piece = self.data[offset : offset + len(views[0])]
        views[0][: len(piece)] = piece
        return len(piece)

    def same(self, _unit):
        return True


DATA = os.urandom(5 * MIB + 3)
CUTS = [(0, 2 * MIB), (2 * MIB, 4 * MIB), (4 * MIB, len(DATA))]
UNITS = [segment(start, DATA[start:stop], len(DATA)) for start, stop in CUTS]


def packed(unit, data=DATA, flags=0):
    """The row of a segment as its builder packed it."""
    end = unit.start + unit.length
    digest = blake3(data[unit.start : end]).digest()
    return Row(unit.path, FILE, unit.size, 0, 0, unit.start, unit.length, 0, 0, 0, unit.length, flags, b"", digest, b"")


@pytest.fixture
def followed(kept):
    store = Store({UNIT.path: DATA})
    made = follow.Follower(store, kept)
    yield store, made
    made.close()


def test_nothing_is_fetched_that_is_in_the_spool(kept, followed):
    store, follower = followed
    for unit in UNITS:
        follower.follow(unit)
        write(kept, unit, [DATA[unit.start : unit.start + unit.length]])
    for unit in UNITS:
        follower.compare(packed(unit))
    assert follower.digest(UNIT.path) == (blake3(DATA).digest(), 0)
    assert store.fetched == []


def test_the_rest_is_fetched_when_nothing_more_comes(kept, followed):
    """One segment is given up in its middle while it is read, one was never written."""
    store, follower = followed
    writer, half = kept.writer(UNITS[0]), 3 * MIB // 4
    writer.add(memoryview(DATA[:half]))
    for unit in UNITS:
        follower.follow(unit)
    while _files(kept):  # until it is being read
        pass
    writer.close()
    write(kept, UNITS[2], [DATA[CUTS[2][0] :]])
    follower.settle()
    for unit in UNITS:
        follower.compare(packed(unit))
    assert follower.digest(UNIT.path) == (blake3(DATA).digest(), 0)
    first, second = store.fetched
    assert first[0] in {0, half}
    assert sum(first) == 2 * MIB
    assert second == (2 * MIB, 2 * MIB)


def test_a_disk_that_gives_other_bytes_is_noticed(kept, followed):
    _, follower = followed
    write(kept, UNITS[0], [DATA[: 2 * MIB]])
    (path,) = _files(kept)
    with open(path, "r+b") as file:
        file.seek(MIB)
        byte = file.read(1)[0]
        file.seek(MIB)
        file.write(bytes([byte ^ 1]))
    follower.follow(UNITS[0])
    with pytest.raises(SourceFault, match="bytes at 0 were others when they were read once more"):
        follower.compare(packed(UNITS[0]))


@pytest.mark.parametrize("tag", [b"", b"tag"], ids=["file", "object"])
@pytest.mark.parametrize("place", range(len(UNITS)))
def test_what_was_packed_otherwise_is_never_what_the_digest_is_of(kept, tag, place):
    """By this run, or by one before; zeros that its builder packed are such bytes, too."""
    units = [msgspec.structs.replace(unit, tag=tag) for unit in UNITS]
    other = bytearray(DATA)
    other[units[place].start] ^= 1
    for flags in (0, CHANGED):
        with closing(follow.Follower(Store({UNIT.path: DATA}))) as follower:
            for unit in units:
                follower.follow(unit)
            rows = [packed(unit, bytes(other), flags if unit is units[place] else 0) for unit in units]
            if tag and not flags:
                with pytest.raises(SourceFault, match="read once more"):
                    [follower.compare(row) for row in rows]
                continue
            for row in rows:
                follower.compare(row)
            assert follower.digest(UNIT.path)[1] == CHANGED
    if place < len(units) - 1:
        rest = units[-1]
        for data, flags in ((DATA, 0), (bytes(other), CHANGED)):
            with closing(follow.Follower(Store({UNIT.path: DATA}))) as follower:
                before = [
                    follow.Packed(row.start, row.length, row.blake3) for row in (packed(u, data) for u in units[:-1])
                ]
                follower.resume(rest, before)
                follower.follow(rest)
                follower.compare(packed(rest))
                assert follower.digest(UNIT.path) == (blake3(DATA).digest(), flags)


def test_an_object_that_reads_otherwise_each_time_ends_a_packing_that_goes_on():
    """What was packed of it is right, and the network is not: nothing is told of the object."""
    store, first = Store({UNIT.path: bytes(len(DATA))}), packed(UNITS[0])
    opened = store.open

    def again(unit):
        done = opened(unit)
        store.objects[UNIT.path] = DATA
        return done

    store.open = again
    with closing(follow.Follower(store)) as follower:
        follower.resume(UNITS[1], [follow.Packed(first.start, first.length, first.blake3)])
        follower.follow(UNITS[1])
        with pytest.raises(SourceFault, match="bytes at 0 were others"):
            follower.compare(packed(UNITS[1]))


def test_a_store_that_fails_meanwhile_is_told(kept, followed):
    store, follower = followed
    store.open = lambda _unit: (_ for _ in ()).throw(SourceFault("gone"))
    follower.follow(UNITS[0])
    follower.settle()
    with pytest.raises(SourceFault, match="gone"):
        follower.compare(packed(UNITS[0]))


def test_an_object_that_is_gone_counts_as_zeros_and_is_marked(kept, followed):
    store, follower = followed
    store.open = lambda _unit: (_ for _ in ()).throw(OSError(2, "gone"))
    for unit in UNITS:
        follower.follow(unit)
    write(kept, UNITS[0], [DATA[: 2 * MIB]])
    follower.settle()
    digest, flags = follower.digest(UNIT.path)
    assert (digest, flags) == (blake3(DATA[: 2 * MIB] + bytes(len(DATA) - 2 * MIB)).digest(), CHANGED)


def test_a_file_that_is_slow_to_come_holds_up_no_other(kept):
    """But the segments of one file are hashed in order, whichever is there first."""
    other = msgspec.structs.replace(segment(0, DATA), path=b"other", part=b"other.part-000000")
    store, go = Store({UNIT.path: DATA, b"other": DATA}), threading.Event()
    opened = store.open

    def slowly(unit):
        if unit.path == UNIT.path and not unit.start:
            assert go.wait(10)
        return opened(unit)

    store.open = slowly
    with closing(follow.Follower(store, kept)) as follower:
        for unit in (*UNITS, other):
            follower.follow(unit)
        follower.settle()
        assert follower.digest(b"other") == (blake3(DATA).digest(), 0)
        go.set()
        assert follower.digest(UNIT.path) == (blake3(DATA).digest(), 0)
    assert [start for start, _ in store.fetched if start] == [cut[0] for cut in CUTS[1:]]
