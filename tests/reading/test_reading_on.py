"""A pack read from front to back, in windows that whoever fetched them has opened: the same bytes as at random."""

import random
import shutil
import threading
from types import SimpleNamespace

import pytest
import shipments
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from storage_host import nginx

from sealift.drives import local_file, ranges
from sealift.formats import age, age_header, manifest
from sealift.formats.age_keys import generate_identity, parse_identities, parse_recipient
from sealift.reading import pack as reading
from sealift.reading.hedge import Got
from sealift.reading.keys import IdentityKeys

N = 3
SMALL = 2 * age.CHUNK  # windows


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    base, rng = tmp_path_factory.mktemp("on"), random.Random(3)
    shipments.write(base / "source/noise.bin", rng.randbytes(5_000_000))
    shipments.write(base / "source/text.txt", b"".join(b"%d\n" % rng.randrange(10**9) for _ in range(400_000)))
    for number in range(40):
        shipments.write(base / f"source/{number:02d}", rng.randbytes(rng.randrange(200_000)))
    made = shipments.Origin(base / "origin", base / "source", 2, 1, options={"pack_size": 8 << 20})
    made.pack()
    return made


@pytest.fixture(scope="module")
def host(origin, tmp_path_factory):
    with nginx(tmp_path_factory.mktemp("host") / "nginx", origin.root) as made:
        yield made


@pytest.fixture(scope="module")
def tars(origin):
    """The tar stream of every pack, read whole."""
    with origin.shipment() as shipment:
        return {pack: shipment.content(pack).read(0, shipment.content(pack).size) for pack, _, _ in shipment.packs()}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(reading, "_WINDOW", SMALL)
    monkeypatch.setattr(ranges, "WINDOW", SMALL)


def places(origin, host, far):
    if not far:
        return [str(origin.root / f"d{slot:02d}") for slot in range(N)]
    return [f"{host.url}/d{slot:02d}/" for slot in range(N)]


@pytest.mark.parametrize("far", [False, True])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_read_in_whatever_steps(origin, host, tars, small, far, data):
    with origin.shipment(places(origin, host, far)) as shipment:
        for _ in range(data.draw(st.integers(1, 6))):
            pack = data.draw(st.sampled_from(sorted(tars)))
            content, tar = shipment.content(pack), tars[pack]
            place = data.draw(st.integers(0, len(tar) - 1))
            if data.draw(st.booleans()):
                content.read_until(data.draw(st.integers(place, len(tar))))
            steps = data.draw(st.lists(st.integers(1, 5 * age.CHUNK), min_size=1, max_size=12))
            for step in steps:  # one after the other
                stop = min(place + step, len(tar))
                assert content.read(place, stop - place) == tar[place:stop]
                place = stop
            whole = data.draw(st.integers(0, 1_500_000))
            got = b"".join(map(bytes, content.pieces(place, min(whole, len(tar) - place))))
            assert got == tar[place : place + whole]


def test_who_fetches_opens_and_who_reads_waits(origin, host, tars, small, monkeypatch):
    by = {True: 0, False: 0}
    plain = age.Opener.open_run

    def counted(self, first, sealed, out, *, last):
        by[threading.current_thread() is threading.main_thread()] += len(sealed)
        return plain(self, first, sealed, out, last=last)

    monkeypatch.setattr(age.Opener, "open_run", counted)
    with origin.shipment(places(origin, host, far=True)) as shipment:
        for pack, tar in tars.items():
            assert b"".join(map(bytes, shipment.content(pack).pieces(0, len(tar)))) == tar
    assert by[False] > 5_000_000, "the noise at least"
    assert by[True] < by[False] / 5


def test_a_window_that_is_wrong_is_rebuilt_as_any_other_bytes(origin, tars, small, tmp_path):
    for slot in range(N):
        shutil.copytree(origin.root / f"d{slot:02d}", tmp_path / f"d{slot:02d}")
    spoilt = next((tmp_path / "d00/sealift/packs").rglob("*.age"))
    data = bytearray(spoilt.read_bytes())
    for place in range(len(data) // 3, len(data), 1_000_000):
        data[place] ^= 1
    spoilt.write_bytes(data)
    with nginx(tmp_path / "nginx", tmp_path) as host, origin.shipment(places(origin, host, far=True)) as shipment:
        for pack, tar in tars.items():
            assert b"".join(map(bytes, shipment.content(pack).pieces(0, len(tar)))) == tar
        assert shipment.rebuilt_blocks


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("step", [70_000, 1 << 17, 1 << 20, 3 << 20])
@pytest.mark.parametrize("name", ["noise.bin", "text.txt"])
def test_a_file_that_is_read_in_steps_is_read_once(origin, host, monkeypatch, far, step, name):
    read = [0]
    plain = local_file.LocalReadFile.readinto_at

    def counted(self, offset, buffer):
        read[0] += len(buffer)
        return plain(self, offset, buffer)

    monkeypatch.setattr(local_file.LocalReadFile, "readinto_at", counted)
    opened, run = [0], age.Opener.open_run

    def counted_run(self, first, sealed, out, *, last):
        opened[0] += len(sealed)
        return run(self, first, sealed, out, last=last)

    monkeypatch.setattr(age.Opener, "open_run", counted_run)
    true = (origin.source / name).read_bytes()
    with origin.shipment(places(origin, host, far)) as shipment:
        before = [0, 0] if far else [read[0], opened[0]]
        had = sum(each.bytes for each in shipment.health().locations)
        with shipment.open_file(name) as file:
            assert b"".join(iter(lambda: file.read(step), b"")) == true
        came = sum(each.bytes for each in shipment.health().locations) - had if far else read[0] - before[0]
        assert came < 1.1 * len(true) + 3_000_000, "and some of what lies behind it"
        assert opened[0] - before[1] < 1.1 * len(true) + 3_000_000


class OnePack:
    """What PackReader asks of a group, of one pack in memory."""

    manifest = SimpleNamespace(group=0)

    def __init__(self, data):
        self.data = data
        start = age_header.parse_header(data).payload_start
        self.signed = manifest.PackRecord(len(data), 0, reading.blake3(data[:start]).digest(), bytes(32))

    def record(self, _stripe, _role):
        return self.signed

    def window(self, _stripe, _role):
        return None

    def will_need(self, *_):
        pass

    def read(self, _stripe, _role, offset, buffer):
        data = self.data[offset : offset + len(buffer)]
        return Got("drive", [(0, memoryview(data))]) if len(data) == len(buffer) else None


@pytest.mark.parametrize("chunks", [1, 2, 31])
@pytest.mark.parametrize("more", [1, 50, 4000, age.CHUNK - 1])
def test_a_read_that_is_longer_than_the_longest_by_a_little(chunks, more):
    secret, public = generate_identity()
    identities = parse_identities(secret.encode())
    true = random.Random(chunks).randbytes(chunks * age.CHUNK + more)
    data = age.encrypt(true, [parse_recipient(public)])
    reader = reading.PackReader(OnePack(data), 0, 0, IdentityKeys(identities))
    assert reader.read(0, chunks * age.CHUNK) == true[: chunks * age.CHUNK]
    assert reader.read(0, len(true)) == true
