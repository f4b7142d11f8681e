"""kill -9 at random moments: the same command again ends in a shipment that verifies and restores.

No age header occurs twice over all that were ever written, no process and no shared memory stays behind.
"""

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import shipments

from sealift.errors import AgeError
from sealift.formats import age, age_header, age_keys

PACKER = str(Path(shipments.__file__).with_name("packer.py"))


def holders(folder: Path) -> set[int]:
    """Processes, other than this one, with something beneath `folder` open: packers and builders hold its locks."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            continue
        if int(pid) != os.getpid() and any(link.startswith(str(folder)) for link in links):
            found.add(int(pid))
    return found


def shared_memory() -> set[str]:
    """What lies in shared memory, but for the semaphores of process pools: tests beside this one have some."""
    return {name for name in os.listdir("/dev/shm") if not name.startswith("sem.mp-")}


def gone(folder: Path, shared: set[str]) -> None:
    """Assert that within a few seconds nobody holds a lock, and that shared memory is as it was."""
    deadline = time.monotonic() + 8
    while holders(folder) or shared_memory() - shared:
        assert time.monotonic() < deadline, (holders(folder), shared_memory() - shared)
        time.sleep(0.02)


class Headers:
    """Every age header with its nonce that was ever seen on a drive or in the state, with what it stood before."""

    def __init__(self, identity: str) -> None:
        self.identities = age_keys.parse_identities(identity.encode())
        self.secrets: dict[bytes, bytes] = {}  # file keys and nonces
        self.seen: dict[bytes, bytes] = {}
        self.stanzas: dict[bytes, bytes] = {}

    def collect(self, root: Path) -> None:
        for path in root.rglob("*"):
            if ".age" not in path.name or not path.is_file():
                continue
            data = path.read_bytes()
            try:
                header = age_header.parse_header(data[: age_header.MAX_HEADER])
            except AgeError:
                continue  # not yet written that far
            start = header.payload_start
            if len(data) < start:
                continue
            head = data[:start]
            known = self.seen.setdefault(head, data)
            common = min(len(known), len(data))
            assert known[:common] == data[:common], f"{path}: one header, two contents"
            if len(data) > len(known):
                self.seen[head] = data
            for secret in (age.unwrap(header, self.identities), head[-age_header.NONCE :]):
                assert self.secrets.setdefault(secret, head) == head, f"{path}: a file key or nonce occurs twice"
            for stanza in header.stanzas:
                share = stanza.encode()
                assert self.stanzas.setdefault(share, head) == head, f"{path}: a stanza occurs in two headers"


def packing(origin: shipments.Origin) -> subprocess.Popen:
    options = origin.root / "options"
    options.write_bytes(pickle.dumps(origin.pack_options()))
    return subprocess.Popen(
        [sys.executable, PACKER, str(options)], start_new_session=True, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )


def kill(process: subprocess.Popen, how: str, rng: random.Random) -> None:
    """SIGKILL the packer, one of its builders, or the whole group."""
    if how == "builder":
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        pids = children.read_text().split() if children.exists() else []
        if pids:
            os.kill(int(rng.choice(pids)), signal.SIGKILL)
            return
    if how == "all":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def origin_of(tmp_path: Path, size: int, groups: int = 1) -> shipments.Origin:
    source = shipments.corpus(tmp_path / "source")
    rng = random.Random(5)
    for number in range(size):
        shipments.write(source / "more" / f"{number:03d}.bin", rng.randbytes(rng.randrange(900_000)))
    return shipments.Origin(tmp_path / "origin", source, 2, 1, groups)


def ends_well(origin: shipments.Origin, tmp_path: Path, headers: Headers) -> None:
    result = origin.pack()
    assert [group["state"] for group in result.groups] == ["signed"] * origin.groups
    headers.collect(origin.root)
    before = shipments.picture(origin.source)
    assert result.files == sum(value[0] != "dir" for value in before.values()), "nothing is packed twice"
    assert sum(manifest.totals.source_bytes for manifest, _ in origin.manifests()) == result.source_bytes
    for mount in origin.mounts:
        left = [p.name for p in Path(mount, "sealift").rglob("*") if p.name.endswith(".part") or "journal" in p.name]
        assert left == []
    verify(origin)
    restored = origin.unpack(tmp_path / "restored")
    assert restored.failed == []
    assert restored.rebuilt_blocks == 0
    shipments.same(origin.source, tmp_path / "restored")


def verify(origin: shipments.Origin) -> None:
    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.stages import verify as stage

    report = stage.verify(origin.mounts, allowed=AllowedSigners.parse(origin.allowed), seal=origin.seal())
    assert report.faults == []
    assert report.state == "intact"


def kill_many(tmp_path: Path, seed: int, kills: int, groups: int) -> None:
    origin = origin_of(tmp_path, 120, groups)
    rng, headers, shared = random.Random(seed), Headers(origin.identity), shared_memory()
    finished = killed = 0
    for number in range(kills):
        process = packing(origin)
        how = ("packer", "builder", "all")[number % 3]
        while process.poll() is None and not (origin.state / "journal.sqlite").exists():
            time.sleep(0.005)
        try:
            process.wait(rng.uniform(0.0, 0.35))
            finished += process.returncode == 0
        except subprocess.TimeoutExpired:
            kill(process, how, rng)
            killed += 1
        _, told = process.communicate(timeout=60)
        assert b"Traceback" not in told, told.decode()
        gone(origin.root, shared)
        headers.collect(origin.root)
        if finished:
            break
    assert killed >= 3, told
    ends_well(origin, tmp_path, headers)
    assert len(headers.seen) > origin.manifests()[0][0].geometry.stripes


@pytest.mark.parametrize("seed", [0])
def test_kill_at_random_moments(tmp_path, seed):
    kill_many(tmp_path, seed, 7, 1 + seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 14))
def test_kill_at_random_moments_dozens_of_times(tmp_path, seed):
    kill_many(tmp_path, seed, 12, 1 + seed % 2)
