"""What a reader of the PyTorch dataset takes: a window a lane, and a little more, however much it reads."""

import multiprocessing
import random
import re
from pathlib import Path

import pytest
import shipments

pytest.importorskip("torch")

from sealift.integrations.torch import ShipmentDataset

MIB = 1 << 20
BESIDE = 24 * MIB  # buffers, the packs that are open, what the allocator keeps: whatever the lanes and the window


@pytest.fixture(scope="module", params=["noise", "text"])
def origin(tmp_path_factory, request):
    """What is stored as it is, and what is decompressed frame by frame."""
    base = tmp_path_factory.mktemp("memory")
    for number in range(1500):
        noise = random.Random(number).randbytes(100_000)
        shipments.write(
            base / f"source/{number:05d}.bin", noise if request.param == "noise" else noise[:50_000].hex().encode()
        )
    made = shipments.Origin(base / "origin", base / "source", 2, 1, options={"pack_size": MIB})
    made.pack()
    return made, made.seal()


def resident(name):
    return 1024 * int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


def grown(out, origin, seal, options):
    """Bytes that a process takes more than after opening, at most, while it reads an epoch."""
    with origin.shipment(seal=seal) as shipment:
        made = ShipmentDataset(shipment, batch_size=32, decode=lambda sample: len(sample.files["bin"]), **options)
        next(iter(ShipmentDataset(shipment, batch_size=1, lanes=1, turns=1, window=1)))  # what is imported once
        Path("/proc/self/clear_refs").write_text("5")  # the peak is now what it is
        before, read = resident("VmRSS"), 0
        for batch in made:
            read += sum(batch)
        assert read >= 140_000_000
        out.put(resident("VmHWM") - before)


@pytest.mark.long
@pytest.mark.parametrize(
    ("lanes", "turns", "window"), [(4, 1, MIB), (8, 2, 2 * MIB), (16, 4, MIB)], ids=["4 MiB", "32 MiB", "64 MiB"]
)
def test_a_reader_holds_about_a_window_a_lane(origin, lanes, turns, window):
    context = multiprocessing.get_context("fork")
    out = context.Queue()
    options = {"rank": 0, "world_size": 1, "lanes": lanes, "turns": turns, "window": window}
    process = context.Process(target=grown, args=(out, *origin, options))
    process.start()
    taken = out.get(timeout=300)
    process.join()
    assert taken < 1.15 * lanes * turns * window + BESIDE
