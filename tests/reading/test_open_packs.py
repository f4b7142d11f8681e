"""Packs that are kept open: how many, in how much memory, and the same bytes whatever is let go meanwhile."""

import random
import threading

import pytest
import shipments

from sealift.reading.member import PackId
from sealift.reading.pack import OpenPacks


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    base, rng = tmp_path_factory.mktemp("open"), random.Random(2)
    for number in range(300):
        shipments.write(base / f"source/{number:04d}", rng.randbytes(rng.randrange(90_000)))
    made = shipments.Origin(base / "origin", base / "source", 2, 1, options={"pack_size": 1 << 20})
    made.pack()
    return made


@pytest.fixture
def shipment(origin):
    with origin.shipment() as opened:
        yield opened


def test_key_and_seek_table_stay_when_buffers_go(origin, shipment):
    packs = [pack for pack, _, _ in shipment.packs()]
    assert len(packs) > 10
    kept = {}
    for pack in packs:
        kept[pack] = shipment.content(pack)
        kept[pack].read(0, 100_000)
    shipment._open.WARM = 3
    for pack in packs:
        assert shipment.content(pack) is kept[pack]
        kept[pack].read(0, 100_000)
    assert sum(content._buffers.nbytes > 0 for content in kept.values()) == 3
    for path in origin.source.iterdir():
        assert shipment.read(path.name) == path.read_bytes()


def test_memory_is_bounded(shipment):
    packs = [pack for pack, _, _ in shipment.packs()]
    shipment._open.MOST = 600_000
    for pack in packs:
        shipment.content(pack).read(0, 100_000)
        before = list(shipment._open._warm.values())[:-1]  # the last one may be as large as it must
        assert sum(each.nbytes for each in before) <= 600_000
    shipment._open.MOST = 5 * shipment.content(packs[0]).least_nbytes
    for pack in packs:
        shipment.content(pack)
    assert sum(each.least_nbytes for each in shipment._open._cold.values()) <= shipment._open.MOST // 2


def test_one_that_is_being_read_from_keeps_its_buffers(shipment):
    packs = [pack for pack, _, _ in shipment.packs()]
    shipment._open.WARM = 1
    content = shipment.content(packs[0])
    with content.lock:
        pieces = content.pieces(0, content.size)
        first = bytes(next(pieces))
        for pack in packs[1:]:
            shipment.content(pack).read(0, 1000)
        assert content._buffers.nbytes > 0
        assert first + b"".join(map(bytes, pieces)) == content.read(0, content.size)


@pytest.mark.parametrize("warm", [1, 2])
def test_threads_that_cool_each_others_packs(origin, monkeypatch, warm):
    monkeypatch.setattr(OpenPacks, "WARM", warm)
    paths = sorted(origin.source.iterdir())
    wrong = []
    with origin.shipment() as shipment:

        def work(seed):
            chosen = random.Random(seed)
            for _ in range(120):
                path = chosen.choice(paths)
                if shipment.read(path.name) != path.read_bytes():
                    wrong.append(path)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(shipment._open._warm) <= warm + 5
    assert not wrong


def test_a_pack_that_is_not_there_leaves_nothing(shipment):
    with pytest.raises(ZeroDivisionError):
        shipment._open.get(PackId(9, 9, 9), lambda: 1 // 0)
    assert PackId(9, 9, 9) not in shipment._open._warm
