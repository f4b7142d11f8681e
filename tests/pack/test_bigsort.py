"""More rows than are sorted at once come out as one sort would have them."""

import os
import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealift.stages.pack import bigsort, scan

SCHEMA = pa.schema([("path", pa.binary()), ("start", pa.int64()), ("rest", pa.int64())])


def batches(rows, size):
    for at in range(0, len(rows), size):
        paths, starts = zip(*rows[at : at + size], strict=True)
        yield pa.record_batch([pa.array(paths, pa.binary()), starts, range(len(starts))], schema=SCHEMA)
        yield pa.record_batch([[], [], []], schema=SCHEMA)


def run(folder, rows, size, sample, ranges):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bigsort, "RANGE", ranges)
        connection = scan.connect(str(folder / "spill"))
        place = str(folder / "ranges")
        out = list(
            bigsort.sorted_batches(
                connection, batches(rows, size), SCHEMA, len(rows), ("path", "start"), batches(sample, size), place, 7
            )
        )
        connection.close()
    assert not os.path.exists(place)
    return [row for batch in out for row in zip(*(batch.column(n).to_pylist() for n in (0, 1)), strict=True)]


paths = st.binary(max_size=3) | st.sampled_from([b"a", b"a/b", b"a\xff", b"\0", "é".encode()])
many = st.lists(st.tuples(paths, st.integers(0, 5)), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(many, st.integers(1, 20), st.data())
def test_ranges_give_what_one_sort_gives(tmp_path_factory, rows, size, data):
    sample = data.draw(st.lists(st.sampled_from(rows), max_size=10) | st.just(rows) | many)
    ranges = data.draw(st.integers(1, 70))
    assert run(tmp_path_factory.mktemp("sort"), rows, size, sample, ranges) == sorted(rows)


def test_nothing_is_left_when_it_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(bigsort, "RANGE", 10)
    rows = [(b"%d" % random.randrange(1000), n) for n in range(100)]
    connection = scan.connect(str(tmp_path / "spill"))
    place = str(tmp_path / "ranges")
    going = bigsort.sorted_batches(
        connection, batches(rows, 9), SCHEMA, 100, ("path", "start"), batches(rows, 9), place, 5
    )
    next(going)
    assert os.listdir(place)
    going.close()
    assert not os.path.exists(place)


@pytest.mark.parametrize("linked", [False, True])
def test_a_scan_in_ranges_is_dealt_as_one_in_one_piece(tmp_path, monkeypatch, linked):
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
    for name, ranges in (("one", 1 << 30), ("many", 9)):
        monkeypatch.setattr(bigsort, "RANGE", ranges)
        for order in ("path", "shuffled"):
            found = scan.scan(
                os.fsencode(source), str(tmp_path / name / order), weights=[1, 2], order=order, seed=5,
                sample_key=None, progress=lambda *_: None,
            )  # fmt: skip
            digests.add((order, found.digest))
    assert len(digests) == 2
