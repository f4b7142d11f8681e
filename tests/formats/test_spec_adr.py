"""What docs/adr/0002 measured of the queue, in small: parity over data, divided by m/k."""

from __future__ import annotations

import pathlib
import random
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sealift.stages.pack.queue import Cursor, UnitQueue
from sealift.stages.pack.source import Directory
from sealift.stages.pack.units import capacity_of

ADR = (pathlib.Path(__file__).parents[2] / "docs" / "adr" / "0002-samples-segments-and-equal-packs.md").read_text()
MIB, PACK, K = 1 << 20, 1 << 30, 6


def rows(path, sizes, members):
    count = len(sizes)
    numbers = {"kind": [0] * count, "size": sizes, "mode": [0o644] * count, "mtime": [0] * count, "sparse": [0] * count}
    columns = {
        "path": [b"f%07d.%d" % divmod(i, members) for i in range(count)],
        **{name: pa.array(values, pa.int64()) for name, values in numbers.items()},
        "first": [i % members == 0 for i in range(count)],
    }
    pq.write_table(pa.table(columns), path)


def overhead(path, sizes, members=1, *, cut=True):
    """The least full pack of a stripe asks; a member costs its length and a header."""
    rows(path, sizes, members)
    capacity = capacity_of(PACK, 1)
    queue = UnitQueue(
        str(path),
        Directory(b"/nonexistent"),
        rows=len(sizes),
        remaining=sum(sizes),
        cursor=Cursor(),
        capacity=capacity,
        pack_size=PACK,
        data=K,
    )
    queue._readable = lambda _sample: True  # there is no source
    if not cut:
        queue._divisible = lambda _sample: False
    data = parity = 0
    while not queue.empty:
        fill, asking = [0] * K, set(range(K))
        while asking:
            role = min(asking, key=fill.__getitem__)
            units = queue.take(capacity - fill[role])
            if not units:
                asking.remove(role)
            fill[role] += sum(512 + unit.length + -unit.length % 512 for unit in units)
        assert max(fill) > 0
        data, parity = data + sum(fill), parity + max(fill)
    assert data >= sum(sizes)
    return K * parity / data


def drawn(count, low, high):
    chooser = random.Random(1)
    return [int(chooser.uniform(low, high) * MIB) for _ in range(count)]


CASES = {
    "files of 100 to 900 MiB, 400 GB": (drawn(760, 100, 900), 1),
    "files of 100 to 900 MiB, 40 GB": (drawn(76, 100, 900), 1),
    "files of 80 to 120 MiB, 60 GB": (drawn(600, 80, 120), 1),
    "samples of two files of 100 to 200 MiB, 120 GB": (drawn(760, 100, 200), 2),
    "samples of two files of 250 to 350 MiB, 120 GB": (drawn(380, 250, 350), 2),
    "seven files of 500 MiB": ([500 * MIB] * 7, 1),
    "one file of 900 MiB": ([900 * MIB], 1),
}


@pytest.mark.parametrize("case", CASES)
def test_parity_costs_what_the_record_says(case, tmp_path):
    told = re.search(rf"^\| {re.escape(case)} \| ([\d.]+) \| ([\d.]+) \|$", ADR, re.MULTILINE)
    for cut, figure in zip((True, False), map(float, told.groups()), strict=True):
        assert overhead(tmp_path / "rows", *CASES[case], cut=cut) == pytest.approx(figure, rel=0.02)


def test_one_large_file_is_spread_over_all_packs(tmp_path):
    assert "| one file of 20 GiB | 1.01 |" in ADR
    assert overhead(tmp_path / "rows", [20 << 30]) == pytest.approx(1.01, rel=0.02)
