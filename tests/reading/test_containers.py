"""Rows of Parquet files, samples of tar shards and runs of tokens: as at the source, in any order of training."""

import io
import itertools
import random
import tarfile
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shipments

from sealift.errors import BadInput, FormatError
from sealift.reading.containers import ParquetRows, TarShards, Tokens

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader  # noqa: E402

from sealift.integrations.torch import ShipmentDataset  # noqa: E402


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    base, rng = tmp_path_factory.mktemp("containers"), random.Random(3)
    source = base / "source"
    for number in range(5):
        (source / "rows").mkdir(parents=True, exist_ok=True)
        table = pa.table({"id": list(range(number * 1000, number * 1000 + 150)), "text": ["x" * 300] * 150})
        pq.write_table(table, source / f"rows/{number}.parquet", row_group_size=40)
        shipments.write(
            source / f"tokens/{number}.bin", np.arange(number * 500, number * 500 + 333, dtype="<u2").tobytes()
        )
        with tarfile.open(source / f"{number}.tar", "w") as tar:
            for entry in range(60):
                for suffix, data in (("txt", b"%d" % (number * 100 + entry)), ("bin", rng.randbytes(5000))):
                    info = tarfile.TarInfo(f"./s/{entry:04d}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    shipments.write(source / "wrong.parquet", b"no Parquet at all, and yet so called")
    shipments.write(source / "wrong.tar", b"no tar" * 500)
    shipments.write(source / "odd.tok", b"123")
    made = shipments.Origin(base / "origin", source, 2, 1)
    made.pack()
    return made


@pytest.fixture(scope="module")
def shipment(origin):
    with origin.shipment() as opened:
        yield opened


def rows(sample):
    return sample.files["id"]


def tokens(sample):
    return " ".join(map(str, sample.files["tokens"]))


def entries(sample):
    assert len(sample.files["bin"]) == 5000
    return int(sample.files["txt"])


CASES = {
    "rows": (
        lambda: ParquetRows("rows/*.parquet", columns=["id"]),
        rows,
        [n * 1000 + i for n in range(5) for i in range(150)],
    ),
    "tokens": (
        lambda: Tokens("tokens/*.bin", dtype="uint16", length=33, stride=32),
        tokens,
        [" ".join(map(str, range(n * 500 + at, n * 500 + at + 33))) for n in range(5) for at in range(0, 301, 32)],
    ),
    "tar": (lambda: TarShards("[0-9].tar"), entries, [n * 100 + i for n in range(5) for i in range(60)]),
}


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_each_once_in_an_order_that_resumes(shipment, case):
    source, decode, wanted = CASES[case]

    def made(**more):
        given = {"batch_size": 10, "seed": 2, "rank": 0, "world_size": 1, "window": 3000}
        return ShipmentDataset(shipment, source=source(), decode=decode, **(given | more))

    whole = list(made())
    assert Counter(itertools.chain(*whole)) == Counter(wanted)
    assert whole != list(made(seed=3))
    halves = [list(made(rank=rank, world_size=2)) for rank in range(2)]
    assert [one + two for one, two in zip(*halves, strict=True)] == whole
    for stop in (1, 4, len(whole)):
        assert list(made(state=made().state(stop))) == whole[stop:]
    loader = DataLoader(
        made(), batch_size=None, num_workers=2, multiprocessing_context="spawn" if case == "tar" else "fork"
    )
    assert list(loader) == whole


def test_lost_drives_change_nothing(origin, shipment):
    with origin.shipment(origin.mounts[1:], origin.seal()) as degraded:
        for source, decode, _ in CASES.values():
            one, other = (
                list(ShipmentDataset(each, batch_size=10, source=source(), decode=decode, rank=0, world_size=1))
                for each in (shipment, degraded)
            )
            assert one == other
        assert degraded.health().rebuilt_blocks


def test_a_column_that_is_not_there_is_told(shipment):
    made = ParquetRows("rows/*.parquet", columns=["id", "nocol"])(shipment)
    with pytest.raises(BadInput, match="has no column 'nocol'") as caught:
        made.load(0, 0, 1)
    assert "it has id" in caught.value.hint


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (ParquetRows("nothing/*"), BadInput),
        (ParquetRows("wrong.parquet"), FormatError),
        (TarShards("wrong.tar"), FormatError),
        (Tokens("odd.tok", dtype="uint16", length=1), FormatError),
    ],
)
def test_what_is_not_of_its_kind_is_told(shipment, source, error):
    with pytest.raises(error):
        source(shipment)
    with pytest.raises(BadInput):
        Tokens("*", dtype="float32", length=4)
