"""A storage host that holds all of a group, at the end of a link that the kernel makes slow: everything comes."""

import random
import sys
import time
from types import SimpleNamespace

import netns
import pytest
import serving
import shipments

from sealift.formats import seal as seals

pytestmark = pytest.mark.long
N, SIZE = 3, 1_500_000


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    base, rng = tmp_path_factory.mktemp("link"), random.Random(17)
    for number in range(30):
        shipments.write(base / f"source/{number:02d}.bin", rng.randbytes(SIZE // 30))
    made = shipments.Origin(base / "origin", base / "source", 2, 1, options={"pack_size": 1 << 20})
    made.pack()
    (made.root / "s.seal").write_bytes(seals.encode_bundle(made.seal()))
    return made


@pytest.fixture
def site(origin, tmp_path):
    with netns.network() as net:
        storage, compute = net.host(), net.host()
        token = serving.token_file(tmp_path)
        words = ("serve", *origin.mounts, "--listen", f"{storage.address}:8443", "--token-file", token)
        started = storage.start(tmp_path, sys.executable, "-m", "sealift", *words)
        until = time.monotonic() + 60
        while "serves 3 drives" not in started.err.read_text():
            assert time.monotonic() < until, started.err.read_text()
            time.sleep(0.05)
        here = SimpleNamespace(storage=storage, compute=compute, folder=tmp_path, origin=origin)
        known = ("--token-file", token, "--out", tmp_path / "fleet.toml")
        assert command(here, "fleet", f"http://{storage.address}:8443", *known).returncode == 0
        yield here


def command(here, *words, timeout=300):
    keys = ("--seal", here.origin.root / "s.seal", "--allowed-signers", here.origin.root / "allowed")
    return here.compute.run(sys.executable, "-m", "sealift", *words, *keys, timeout=timeout)


@pytest.mark.parametrize("rate", ["4mbit", "800kbit"])
def test_unpack_and_verify_get_all_and_say_at_what_rate(site, rate):
    site.storage.slow(rate)
    to = site.folder / "out"
    identity = ("--identity", site.origin.root / "identity")
    done = command(site, "unpack", site.folder / "fleet.toml", "--to", to, *identity)
    assert done.returncode == 0, done.stderr
    assert shipments.picture(to) == shipments.picture(site.origin.source)
    assert "did not answer in time" not in done.stderr
    assert "is slow, it gives" in done.stderr or rate == "4mbit"
    if rate == "800kbit":
        return
    done = command(site, "verify", site.folder / "fleet.toml", "--state", site.folder / "state")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("intact")
