"""Whether it fits is reckoned before a byte is written as it is while writing: what was accepted is packed whole."""

import os
import random
import sqlite3

import pytest
import shipments

from sealift.drives.local import LocalDrive
from sealift.errors import BadInput, DriveFault, SealiftError
from sealift.stages.pack.journal import Journal
from sealift.stages.pack.run import Events, run

MIB = 1 << 20
GIB = 1 << 30


@pytest.fixture
def capacity(monkeypatch):
    """Bytes that every drive holds; the test sets it."""
    size = [0]

    def free_bytes(self):
        used = sum(os.lstat(os.path.join(at, name)).st_size for at, _, names in os.walk(self.mount) for name in names)
        return max(0, size[0] - used)

    monkeypatch.setattr(LocalDrive, "free_bytes", free_bytes)
    return size


def origin_of(tmp_path, sizes, data):
    noise = random.Random(1)
    for number, size in enumerate(sizes):
        shipments.write(tmp_path / "source" / f"{number % 3}" / f"{number:05d}.bin", noise.randbytes(size))
    return shipments.Origin(tmp_path / "origin", tmp_path / "source", data=data, parity=1)


def on_drives(origin):
    return [shipments.picture(mount) for mount in origin.mounts]


CORPORA = {
    "megabytes": [MIB] * 7,
    "small": [3000] * 900,
    "one": [9 * MIB],
    "one large, and small": [9 * MIB] + [50_000] * 60,
    "empty": [0] * 40,
}


GEOMETRIES = [(1, GIB), (3, GIB), (3, 24 * MIB), (2, MIB)]
QUICK = {("megabytes", 1, GIB), ("small", 3, GIB)}
CASES = [
    pytest.param(*case, marks=() if case in QUICK else pytest.mark.long)
    for case in ((name, *geometry) for name in CORPORA for geometry in GEOMETRIES)
]


@pytest.mark.parametrize(("corpus", "data", "pack_size"), CASES)
def test_the_smallest_drives_that_are_accepted_are_large_enough(tmp_path, capacity, corpus, data, pack_size):
    sizes = CORPORA[corpus]
    origin = origin_of(tmp_path, sizes, data)
    before = on_drives(origin)
    least = 8 * MIB + sum(sizes) // data  # near it: every try looks at the source anew
    for capacity[0] in range(least - least % MIB - MIB, 40 * MIB, MIB):
        try:
            result = origin.pack(pack_size=pack_size)
        except BadInput as error:
            assert "does not fit" in str(error)  # noqa: PT017 -- the next size may do
            assert on_drives(origin) == before, "something was written"
            continue
        break
    assert result.exit_code == 0
    assert not [group for group in result.groups if group["owed"]]
    most = max(sizes)
    longest = min(sum(sizes), sum(sizes) / data + most + 16 * MIB)
    assert capacity[0] <= longest + 11 * MIB, "room for a whole --pack-size was asked for"


def test_what_is_said_of_drives_that_are_too_small_can_be_done(tmp_path, capacity):
    """Another --pack-size in the same state, after nothing was written."""
    origin = origin_of(tmp_path, [5 * MIB, 5 * MIB], 2)
    capacity[0] = 16 * MIB
    with pytest.raises(BadInput, match="does not fit") as caught:
        origin.pack(pack_size=GIB)
    assert "smaller --pack-size" in caught.value.hint
    assert origin.pack(pack_size=2 * MIB).exit_code == 0


def test_drives_that_fill_up_meanwhile_are_told_what_the_state_allows(tmp_path, capacity):
    origin = origin_of(tmp_path, [MIB] * 12, 2)
    capacity[0] = 40 * MIB
    told = []

    def progress(*_):
        told.append(1)
        capacity[0] = 10 * MIB

    with pytest.raises(DriveFault, match="are full") as caught:
        run(origin.pack_options(pack_size=2 * MIB), Events(packing=progress))
    assert "with another --state" in caught.value.hint
    assert "run the same command again" in caught.value.hint
    capacity[0] = 40 * MIB
    assert origin.pack(pack_size=2 * MIB).exit_code == 0


def test_the_full_disk_of_a_state_folder_is_called_full(tmp_path, monkeypatch):
    origin = origin_of(tmp_path, [100_000] * 30, 2)
    opened = Journal.__init__

    def small(self, folder):
        opened(self, folder)
        pages = self._db.execute("PRAGMA page_count").fetchone()[0]
        self._db.execute(f"PRAGMA max_page_count = {pages}")
        self.set("more", bytes(1 << 20))

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "__init__", small)
        with pytest.raises(SealiftError, match="no space left on its disk") as caught:
            origin.pack()
    assert "larger disk" in caught.value.hint
    assert origin.pack().exit_code == 0


def test_a_journal_that_cannot_be_opened_for_room_is_not_called_none(tmp_path, monkeypatch):
    def full(*_args, **_more):
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(sqlite3, "connect", full)
    with pytest.raises(SealiftError, match="no space left"):
        Journal(str(tmp_path))
