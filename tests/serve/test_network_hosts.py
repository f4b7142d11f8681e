"""Two storage hosts with drives of their own and two compute hosts, on a network that is cut, slowed and killed."""

import hashlib
import json
import re
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import loops
import netns
import pytest
import serving
import shipments

from sealift.formats import seal as seals
from sealift.reading.shipment import Shipment

SEED, BATCH, RANKS = 7, 16, 2
READ = """
import hashlib, sys, time
from pathlib import Path
from torch.utils.data import DataLoader
from sealift.integrations.torch import ShipmentDataset
from sealift.reading.shipment import Shipment

base, where, rank, workers = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
shipment = Shipment.open(
    [where], identity=(base / "origin/identity").read_bytes(), allowed_signers=(base / "origin/allowed").read_bytes(),
    seal=str(base / "sent.seal"),
)
def named(samples):
    parts = [s.key.encode() + b"=" + hashlib.sha256(b"".join(s.files.values())).digest() for s in samples]
    return hashlib.sha256(b"|".join(parts)).hexdigest()
dataset = ShipmentDataset(shipment, batch_size=%d, seed=%d, window=65536, collate=named, rank=rank, world_size=%d)
for number, batch in enumerate(DataLoader(dataset, batch_size=None, num_workers=workers), start=1):
    print(batch, flush=True)
    while number == 3 and not Path(sys.argv[5]).exists():
        time.sleep(0.02)
print(shipment.health().encode().decode(), flush=True)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A sealed shipment of 2+2 on four filesystems of their own, two for each storage host; not to be changed."""
    netns.need()
    loops.need_loops()
    pytest.importorskip("torch")
    base = tmp_path_factory.mktemp("network")
    for number in range(400):
        data = hashlib.shake_256(str(number).encode()).digest(20_000 + 97 * number)
        shipments.write(base / f"source/d{number % 7}/{number:04d}.bin", data)
    with loops.loops(base) as made:
        origin = shipments.Origin(base / "origin", base / "source", 2, 2, options={"allow_same_filesystem": False})
        for number, mount in enumerate(origin.mounts):
            _, device = made.drive(f"{number}.img", "ext4")
            made.mount(device, f"origin/{Path(mount).name}")
        origin.pack()
        (base / "sent.seal").write_bytes(seals.encode_bundle(origin.seal()))
        (base / "read.py").write_text(READ % (BATCH, SEED, RANKS))
        yield SimpleNamespace(base=base, origin=origin)


@pytest.fixture
def hosts(site, tmp_path):
    """Two storage hosts that serve, two compute hosts, and the locations file that `sealift fleet` wrote on one."""
    token = serving.token_file(tmp_path)
    with netns.network() as net:
        storage, compute = [net.host(), net.host()], [net.host(), net.host()]
        here = SimpleNamespace(storage=storage, compute=compute, token=token, folder=tmp_path, site=site)
        for number in range(2):
            serve(here, number)
        here.locations = tmp_path / "fleet.toml"
        assert fleet(here, "--out", here.locations)[0] == 0
        yield here


def serve(here, number):
    """`sealift serve` with the host's two drives."""
    host, mounts = here.storage[number], here.site.origin.mounts[2 * number : 2 * number + 2]
    words = ("serve", *mounts, "--listen", f"{host.address}:8443", "--token-file", here.token)
    started = host.start(here.folder, sys.executable, "-m", "sealift", *words)
    until = time.monotonic() + 60
    while "serves 2 drives" not in started.err.read_text():
        assert started.process.poll() is None, started.err.read_text()
        assert time.monotonic() < until, started.err.read_text()
        time.sleep(0.05)


def fleet(here, *words):
    """Exit code, object and words of `sealift fleet` on a compute host."""
    urls = [f"http://{host.address}:8443" for host in here.storage]
    known = ("--token-file", here.token, "--seal", here.site.base / "sent.seal")
    known += ("--allowed-signers", here.site.origin.root / "allowed", "--json")
    done = here.compute[0].run(sys.executable, "-m", "sealift", "fleet", *urls, *known, *words)
    assert "Traceback" not in done.stderr
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


class Rank:
    """A rank on its compute host, and what it has printed so far."""

    def __init__(self, here, rank, workers=0):
        self._go = here.folder / f"go{rank}"
        words = (sys.executable, here.site.base / "read.py", here.site.base, here.locations, rank, workers, self._go)
        self.process, self._out, self._err = here.compute[rank].start(here.folder, *words)

    @property
    def lines(self):
        return self._out.read_text().splitlines()

    @property
    def errors(self):
        return self._err.read_text().splitlines()

    def wait(self, batches, seconds=120):
        """Until it has given so many batches."""
        until = time.monotonic() + seconds
        while len(self.lines) < batches and self.process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        assert len(self.lines) >= batches, self.errors

    def go_on(self):
        """It has stopped at its third batch; what is behind that is not read yet, but for what workers take ahead."""
        self._go.touch()

    def end(self):
        """Its batches, and what it says of drives."""
        assert self.process.wait(180) == 0, self.errors
        *batches, health = self.lines
        assert all(re.fullmatch("[0-9a-f]{64}", each) for each in batches)
        return batches, json.loads(health)


@pytest.fixture(scope="module")
def wanted(site):
    """The batches of both ranks, read from the drives where they are mounted."""
    from sealift.integrations.torch import ShipmentDataset

    shipment = Shipment.open(
        site.origin.mounts, identity=site.origin.identity.encode(), allowed_signers=site.origin.allowed,
        seal=str(site.base / "sent.seal"),
    )  # fmt: skip

    def named(samples):
        parts = [s.key.encode() + b"=" + hashlib.sha256(b"".join(s.files.values())).digest() for s in samples]
        return hashlib.sha256(b"|".join(parts)).hexdigest()

    options = {"batch_size": BATCH, "seed": SEED, "window": 65536, "collate": named, "world_size": RANKS}
    return [list(ShipmentDataset(shipment, rank=rank, **options)) for rank in range(RANKS)]


@pytest.mark.long
def test_a_storage_host_is_killed_and_training_goes_on_in_the_exact_order(hosts, wanted):
    ranks = [Rank(hosts, 0), Rank(hosts, 1, workers=2)]
    for rank in ranks:
        rank.wait(3)
    hosts.storage[1].kill()
    for rank in ranks:
        rank.go_on()
    for rank, batches in zip(ranks, wanted, strict=True):
        read, health = rank.end()
        assert read == batches
        if rank is ranks[0]:  # its reading is in the process that says it
            assert health["drives"], "it was needed, and not there"
            assert {each["serial"] for each in health["drives"]} <= {"SERd02", "SERd03"}
            assert {each["state"] for each in health["drives"]} <= {"slow", "failing"}, "and it is told:"
            assert all(any(each["drive"] in line for line in rank.errors) for each in health["drives"]), rank.errors


@pytest.mark.long
def test_a_link_that_is_cut_is_named_and_when_it_is_back_all_is_as_before(hosts, wanted):
    rank = Rank(hosts, 0)
    rank.wait(3)
    hosts.storage[0].cut()
    rank.go_on()
    code, said, _ = fleet(hosts)
    assert (code, [bool(each["trouble"]) for each in said["hosts"]]) == (3, [True, False])
    assert hosts.storage[0].address in said["hosts"][0]["url"]
    assert rank.end()[0] == wanted[0]
    hosts.storage[0].restore()
    code, said, _ = fleet(hosts)
    assert (code, said["state"]) == (0, "complete")


@pytest.mark.long
def test_a_slow_link_is_not_waited_for(hosts, wanted):
    hosts.storage[1].slow("400kbit")
    rank = Rank(hosts, 0)
    rank.go_on()
    read, health = rank.end()
    assert read == wanted[0]
    assert {each["state"] for each in health["drives"]} == {"slow"}
    assert {each["serial"] for each in health["drives"]} == {"SERd02", "SERd03"}


@pytest.mark.long
def test_a_host_that_comes_back_is_asked_again(hosts):
    """Verified over the network while it is away and after; nothing is written to a drive."""
    hosts.storage[1].processes[0].send_signal(signal.SIGTERM)
    hosts.storage[1].processes[0].wait(40)
    assert fleet(hosts)[0] == 3
    hosts.storage[1].processes.clear()
    serve(hosts, 1)
    assert fleet(hosts)[0] == 0
