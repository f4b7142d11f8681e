"""A shipment in a bucket under PyTorch's DataLoader: workers by fork, after the parent has read from it."""

import random

import pytest
import shipments
from test_torch import dataset, number_of

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores, on purpose


@pytest.fixture
def shipment(bucket, tmp_path):
    rng = random.Random(1)
    for number in range(120):
        shipments.write(tmp_path / f"source/{number:04d}.txt", b"%d" % number)
        shipments.write(tmp_path / f"source/{number:04d}.bin", rng.randbytes(rng.randrange(20_000)))
    origin = shipments.Origin(tmp_path / "origin", tmp_path / "source", 1, 0)
    text = origin.declaration.read_text()
    origin.declaration.write_text(text.replace('serial = "SERd00"', 'serial = "NETWORK-1"'))
    origin.serial = lambda _mount: ""
    origin.mounts = [f"s3://{bucket}/corpus"]
    origin.pack(network=True)
    from sealift.drives.locations import open_drive

    drive = open_drive(origin.mounts[0])
    manifest = drive.read_small("manifest.json", 1 << 20)
    from sealift.formats import manifest as mf

    origin.manifests = lambda _mounts=None: [(mf.decode_manifest(manifest), manifest)]
    with origin.shipment() as opened:
        yield opened


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.long)])
def test_workers_of_either_kind_read_what_the_parent_read(shipment, context):
    made = dataset(shipment, batch_size=8, decode=number_of)
    assert shipment.read("0007.txt") == b"7"
    here = list(DataLoader(made, batch_size=None))
    assert sorted(number for batch in here for number in batch) == list(range(120))
    for _ in range(2):
        loader = DataLoader(made, batch_size=None, num_workers=2, multiprocessing_context=context, timeout=60)
        assert list(loader) == here
    assert shipment.read("0008.txt") == b"8"
