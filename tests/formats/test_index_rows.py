"""Batches of index rows survive builders, Arrow and Parquet; rows out of limits are refused."""

import io

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealift.errors import FormatError
from sealift.formats import index
from sealift.formats.index import Row, Rows

INT64 = st.integers(0, 2**63 - 1)
ROWS = st.builds(
    Row,
    path=st.binary(min_size=1, max_size=300),
    kind=st.integers(0, 3),
    size=INT64,
    mode=st.integers(0, 0o7777),
    mtime=st.integers(-(2**63), 2**63 - 1),
    start=INT64,
    length=INT64,
    stripe=st.integers(0, 2**32 - 1),
    role=st.integers(0, 254),
    offset=INT64,
    stored=INT64,
    flags=st.integers(0, 3),
    link=st.binary(max_size=300),
    blake3=st.sampled_from([b"", bytes(range(32))]),
    file_blake3=st.sampled_from([b"", bytes(32)]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=40))
def test_rows_survive(rows):
    batch = Rows()
    for row in rows:
        batch.add(row)
    assert len(batch) == len(rows)
    arrow = index.to_arrow(*batch.encode())
    assert arrow.schema.equals(index.members_schema())
    sink = io.BytesIO()
    writer = index.members_writer(sink)
    writer.write_batch(arrow)
    writer.close()
    back = pq.read_table(io.BytesIO(sink.getvalue()))
    assert back.schema.equals(index.members_schema())
    assert [Row(*row.values()) for row in back.to_pylist()] == rows


GOOD = Row(b"a/b", index.FILE, 100, 0o644, 5, 0, 100, 3, 1, 512, 100, 0, b"", bytes(32), b"")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": 4},
        {"path": b""},
        {"role": 2},
        {"stripe": 10},
        {"size": -1},
        {"start": 1},
        {"length": 101},
        {"length": -1},
        {"offset": -1},
        {"stored": -1},
        {"blake3": bytes(31)},
        {"file_blake3": bytes(33)},
    ],
)
def test_rows_out_of_limits(change):
    index.check_row(GOOD, 2, 10)
    with pytest.raises(FormatError):
        index.check_row(GOOD._replace(**change), 2, 10)
