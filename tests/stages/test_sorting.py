"""Any number of rows, of any width, come out in order; what is spilled has no name and cannot be read."""

import errno
import math
import os
import random
import resource
import subprocess
import sys

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealift.errors import SealiftError
from sealift.formats.samples import default_key
from sealift.stages import sorting
from sealift.stages.pack import scan, walk

SCHEMA = pa.schema([("path", pa.binary()), ("start", pa.int64()), ("rest", pa.int64())])
KEY = ("path", "start")


def batches(rows, size):
    for at in range(0, len(rows), size):
        paths, starts = zip(*rows[at : at + size], strict=True)
        yield pa.record_batch([pa.array(paths, pa.binary()), starts, range(len(starts))], schema=SCHEMA)
        yield pa.record_batch([[], [], []], schema=SCHEMA)


def plain(out):
    return [row for batch in out for row in zip(*(batch.column(n).to_pylist() for n in (0, 1)), strict=True)]


paths = st.binary(max_size=3) | st.sampled_from([b"a", b"a/b", b"a\xff", b"\0", "é".encode(), b"x" * 200])
many = st.lists(st.tuples(paths, st.integers(-2, 5)), max_size=200)


@settings(max_examples=150, deadline=None)
@given(many, st.integers(1, 20), st.integers(1, 2000), st.integers(2, 5), st.integers(1, 300), st.integers(1, 8))
def test_rows_come_out_in_order_whatever_is_spilled(tmp_path_factory, rows, size, run, fan, block, marks):
    folder = tmp_path_factory.mktemp("sort")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("RUN", run), ("FAN", fan), ("_BLOCK", block), ("_MARKS", marks), ("_OUT", block)):
            patch.setattr(sorting, name, value)
        with sorting.Sorter(SCHEMA, KEY, str(folder)) as sorter:
            for batch in batches(rows, size):
                sorter.add(batch)
            assert plain(sorter.batches()) == sorted(rows)
            assert plain(sorter.batches()) == []
    assert os.listdir(folder) == []


@pytest.mark.long
@pytest.mark.parametrize("mixed", [pytest.param(False, marks=pytest.mark.long), True])
def test_a_range_of_a_merge_has_about_as_many_bytes_as_a_run(tmp_path, monkeypatch, mixed):
    monkeypatch.setattr(sorting, "_MARKS", 64)
    monkeypatch.setattr(sorting, "RUN", 1 << 14)
    monkeypatch.setattr(sorting, "_BLOCK", 1 << 8)
    monkeypatch.setattr(sorting, "FAN", 32)
    seen = []
    in_order = sorting._in_order

    def watched(rows, *rest):
        seen.append(sum(batch.nbytes for batch in rows))
        return in_order(rows, *rest)

    monkeypatch.setattr(sorting, "_in_order", watched)
    rows = [(b"%06d%0*d" % (number, random.randrange(1, 200), 0), 0) for number in range(12_000)]
    if mixed:
        random.shuffle(rows)
    with sorting.Sorter(SCHEMA, KEY, str(tmp_path)) as sorter:
        for batch in batches(rows, 50):
            sorter.add(batch)
        assert plain(sorter.batches()) == sorted(rows)
    assert max(seen) < 3 << 14
    assert len(seen) > 50


def opened(folder):
    """What lies in the files without a name in `folder` that this process has open."""
    found = []
    for each in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{each}")
        except OSError:
            continue
        if name.startswith(str(folder)):
            with open(f"/proc/self/fd/{each}", "rb") as file:
                found.append(file.read())
    return found


def test_what_is_spilled_has_no_name_and_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sorting, "RUN", 10_000)
    rows = [(b"secret-name-%d" % number, number) for number in range(5000)]
    with sorting.Sorter(SCHEMA, KEY, str(tmp_path)) as sorter:
        for batch in batches(rows, 100):
            sorter.add(batch)
        spilled = opened(tmp_path)
        assert os.listdir(tmp_path) == []
        assert sum(map(len, spilled)) > 10_000
        assert all(b"secret" not in each and b"path" not in each for each in spilled)
        assert len({each[:64] for each in spilled}) == len(spilled)  # no two begin alike: each has a key of its own
        next(sorter.batches())  # given up here
    assert opened(tmp_path) == []


@pytest.mark.parametrize("call", ["write", "readinto"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_is_told(tmp_path, monkeypatch, call, number):
    monkeypatch.setattr(sorting, "RUN", 10_000)
    real, countdown = getattr(sorting._Ciphered, call), [3]

    def failing(self, data):
        countdown[0] -= 1
        if countdown[0] < 0:
            raise OSError(number, os.strerror(number))
        return real(self, data)

    monkeypatch.setattr(sorting._Ciphered, call, failing)

    def sort():
        with sorting.Sorter(SCHEMA, KEY, str(tmp_path)) as sorter:
            for batch in batches([(b"%d" % random.randrange(10**9), n) for n in range(20_000)], 500):
                sorter.add(batch)
            plain(sorter.batches())

    with pytest.raises(SealiftError, match=os.strerror(number)) as told:
        sort()
    assert str(tmp_path) in str(told.value)
    assert opened(tmp_path) == []


WIDE = """
import sys
import pyarrow as pa
from sealift.stages.sorting import Sorter
schema = pa.schema([("path", pa.binary()), ("key", pa.binary())])
count = 0
with Sorter(schema, ("key", "path"), sys.argv[1]) as sorter:
    for number in range(0, 60_000, 100):
        wide = [b"%08d" % (each * 7919 % 60_000) + b"x" * 4000 for each in range(number, number + 100)]
        sorter.add(pa.record_batch([pa.array(wide, pa.binary()), pa.array(wide, pa.binary())], schema=schema))
    for batch in sorter.batches():
        names = [name[:8] for name in batch.column("path").to_pylist()]
        assert names == [b"%08d" % each for each in range(count, count + len(names))]
        count += len(names)
assert count == 60_000
with open("/proc/self/status") as file:
    print(next(int(line.split()[1]) for line in file if line.startswith("VmHWM")))
"""


@pytest.mark.long
def test_memory_does_not_grow_with_the_width_of_rows(tmp_path):
    """480 MB of rows of 8 KB: DuckDB gave up at 160 MB of them within 128 MiB."""
    done = subprocess.run([sys.executable, "-c", WIDE, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 320 << 20  # a hundred of it is Python and Arrow


def test_as_many_files_are_open_as_are_merged_at_once(tmp_path, monkeypatch):
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(sorting, "RUN", 100)
    rows = [(b"%d" % random.randrange(10**9), n) for n in range(3 * sorting.FAN)]
    with sorting.Sorter(SCHEMA, KEY, str(tmp_path)) as sorter:
        for batch in batches(rows, 1):
            sorter.add(batch)
        assert len(opened(tmp_path)) <= 2 * sorting.FAN < soft
        assert plain(sorter.batches()) == sorted(rows)


@pytest.mark.parametrize("linked", [False, True])
def test_a_scan_that_is_spilled_is_dealt_as_one_that_is_not(tmp_path, monkeypatch, linked):
    source = tmp_path / "source"
    for number in range(60):
        path = source / f"d{number % 7}/{number * 37 % 60:02d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * number)
        if linked and number % 5 == 0:
            os.link(path, source / f"d{number % 3}" / f"again{number}") if (
                source / f"d{number % 3}"
            ).is_dir() else None
    digests = set()
    for name, run in (("one", 1 << 30), ("many", 300)):
        monkeypatch.setattr(sorting, "RUN", run)
        for order in ("path", "shuffled"):
            seen = walk.walk(os.fsencode(source), [b""], default_key, 5 if order == "shuffled" else None, math.inf)
            found = scan.scan(seen, str(tmp_path / name / order), weights=[1, 2], progress=lambda *_: None)
            digests.add((order, found.digest))
    assert len(digests) == 2
