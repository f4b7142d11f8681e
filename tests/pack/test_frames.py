"""How large frames are: large where that compresses better, small where it does not, so that a part costs little."""

import random

import numpy as np
import shipments

from sealift.reading.shipment import PackId
from sealift.stages.pack.stream import FLUSH_AT, FLUSH_DENSE_AT
from sealift.stages.pack.workers import MOST_BESIDE


def frames_of(tmp_path, write):
    for number in range(500):
        shipments.write(tmp_path / f"source/{number:04d}", write(random.Random(number)))
    origin = shipments.Origin(tmp_path / "origin", tmp_path / "source", 1, 1, options={"pack_size": 16 << 20})
    origin.pack()
    with origin.shipment() as shipment:
        return np.diff(shipment.content(PackId(0, 0, 0))._raw)


def test_text_lies_in_large_frames(tmp_path):
    sizes = frames_of(tmp_path, lambda rng: b" ".join(b"%d" % rng.randrange(5000) for _ in range(4000)))
    assert min(sizes[:-1]) >= FLUSH_AT


def test_what_hardly_shrinks_lies_in_small_ones(tmp_path):
    """Pictures: their headers shrink, by just enough to be worth it. Some frames are on their way before that shows."""
    sizes = frames_of(tmp_path, lambda rng: rng.randbytes(20_000))
    assert sizes[0] >= FLUSH_AT
    assert max(sizes[MOST_BESIDE + 2 : -1]) < FLUSH_DENSE_AT + 2 * 20_000
    assert np.mean(sizes[MOST_BESIDE + 2 : -1]) >= FLUSH_DENSE_AT
