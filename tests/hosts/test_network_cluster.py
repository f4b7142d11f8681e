"""Storage hosts on a network of their own, each with its Ray node: killed, cut off and restored while they work."""

import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import fleet as fleets
import netcluster
import pytest

from sealift.formats.manifest import BLOCK
from sealift.stages.verify import verify

pytestmark = pytest.mark.long
LENGTHS = [[BLOCK + 3000, 2000], [70, 60], [50, 50], [900, 0]]
OF_B = ("g0s1", "g1s0", "g1s1")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with netcluster.started(tmp_path_factory.mktemp("net")) as made:
        yield made


@pytest.fixture
def site(running, tmp_path):
    """Group 0 (2 + 1): g0s1 on host b, the others on a; group 1 (1 + 1) on b. What b does comes to a stop."""
    made = fleets.make(tmp_path, seed=13, geometry=((2, 1), (1, 1)), lengths=LENGTHS)
    for name in ("a", "b"):
        for each in running.home(name).glob("d-*"):
            shutil.rmtree(each)
    shutil.rmtree(running.home("head") / "state", ignore_errors=True)
    for mount in made.mounts:
        name = Path(mount).name
        shutil.move(mount, running.home("b" if name in OF_B else "a") / f"d-{name}")
    (tmp_path / "signers").write_bytes(made.allowed_bytes)
    if not running.hosts["b"].processes:
        running.hosts["b"].restore()
        running.start("b")
    return SimpleNamespace(cluster=running, shipment=made, given={"allowed": str(tmp_path / "signers")})


def drive(site, name):
    (found,) = site.cluster.folder.glob(f"?/d-{name}")
    return found


def spoil(pack):
    pack.write_bytes(bytes([pack.read_bytes()[0] ^ 1]) + pack.read_bytes()[1:])


def whole(site, drives):
    return verify(sorted(map(str, drives)), allowed=site.shipment.allowed, remember=False).state == "intact"


def begin(site, stage, to):
    (site.cluster.home("b") / "stuck").write_text({"verify": "3", "repair": "0", "ingest": "2"}[stage])
    if stage == "repair":
        spoil(next(drive(site, "g1s0").glob("sealift/packs/0000/0000000.*")))
        spoil(next(drive(site, "g0s1").glob("sealift/packs/0000/0000000.*")))
    under_way = site.cluster.run(stage, "~/d-*", to=str(to), **site.given)
    under_way.wait_for("stuck", "b")
    return under_way


@pytest.mark.parametrize("stage", ["verify", "repair", "ingest"])
def test_a_host_is_killed_and_its_drives_go_on_in_another(site, stage, tmp_path):
    to = tmp_path / "to"
    under_way = begin(site, stage, to)
    site.cluster.hosts["b"].kill()
    for name in OF_B:
        shutil.move(drive(site, name), site.cluster.home("a") / f"d-{name}")
    told = under_way.wait_for("notice", "b is lost (its node died), with g0s1")
    assert told < 40, "by the settings of the guide"
    result = under_way.result()
    assert ["b", "lost", "its node died", []] in result["hosts"]
    assert [row[1:] for row in result["hosts"] if row[0] == "a"] == [["done", "", []]] * 2
    assert result["state"] == {"verify": "intact", "repair": "repaired", "ingest": None}[stage]
    drives = to.iterdir() if stage == "ingest" else site.cluster.folder.glob("?/d-*")
    assert whole(site, drives)


def test_a_link_that_is_cut_for_a_while_is_told_and_nothing_is_lost(site, tmp_path):
    to, b = tmp_path / "to", site.cluster.hosts["b"]
    under_way = begin(site, "ingest", to)
    b.cut()
    under_way.wait_for("notice", "nothing is heard of b for 1")
    b.restore()
    site.cluster.home("b").joinpath("stuck").unlink()
    lines = []
    until = time.monotonic() + 60
    while not any("b is heard again" in line or "b is lost" in line for line in lines):
        assert time.monotonic() < until
        lines = [str(line[1]) for line in under_way.lines()]
        time.sleep(0.1)
    site.cluster.hosts["b"].kill()
    under_way.wait_for("notice", "b is lost")
    result = under_way.result()
    assert ["b", "lost", "its node died", ["g0s1", "g1s0", "g1s1"]] in result["hosts"]
    site.cluster.hosts["b"].restore()
    site.cluster.start("b")
    done = site.cluster.run("ingest", "~/d-*", to=str(to), **site.given).result()
    assert sorted(row[:2] for row in done["hosts"]) == [["a", "done"], ["b", "done"]]
    assert whole(site, to.iterdir())


def test_reset_connections_lose_no_host(site, tmp_path):
    head, b = site.cluster.hosts["head"], site.cluster.hosts["b"]
    under_way = begin(site, "ingest", tmp_path / "to")
    for _ in range(3):
        head.run("ss", "-K", "dst", b.address)
        time.sleep(3)
    told = [line[1] for line in under_way.lines() if line[0] == "notice"]
    assert not [text for text in told if text.startswith("b ")], "neither lost nor silent"
    b.kill()
    under_way.wait_for("notice", "b is lost (its node died)")
    result = under_way.result()
    assert ["b", "lost", "its node died", ["g0s1", "g1s0", "g1s1"]] in result["hosts"]


def test_a_folder_that_one_host_has_for_itself_is_refused(site, tmp_path):
    to = tmp_path / "to"
    to.mkdir()
    site.cluster.hosts["b"].kill()
    site.cluster.hosts["b"].restore()
    mount = f'mount -t tmpfs none {to} && exec "$@"'
    site.cluster.start("b", "unshare", "--mount", "sh", "-c", mount, "sh")
    (site.cluster.home("b") / "stuck").unlink(missing_ok=True)
    refused = site.cluster.run("ingest", "~/d-*", to=str(to), **site.given).result()
    name, _, why = refused.partition(": ")
    assert name.startswith("b"), "and more, while the one before it counts as alive"
    assert why.startswith(f"{to} is not the same there as here: it lacks what was just written\nhint: --to is")
    assert os.listdir(to) == []
    site.cluster.hosts["b"].kill()
