"""ingest --packs on the nodes of a Ray cluster: drives come to stand in one place, and hosts die on the way."""

import json
import os
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import fleet as fleets
import ingests
import placed_work
import pytest
import serving

from sealift.cli import main
from sealift.errors import BadInput, Interrupted, SealiftError, SealInvalid
from sealift.formats.manifest import BLOCK, CARD
from sealift.stages import ingest, ingest_hosts
from sealift.stages.ingest_hosts import ingest_on
from sealift.stages.placed_pass import Events
from sealift.stages.verify import verify

LENGTHS = [[BLOCK + 3000, 2000], [70, 60], [50, 50], [900, 0]]
MOVED = ("g0s1", "g1s0", "g1s1")


@pytest.fixture
def shipment(cluster, tmp_path):
    """Group 0 (2 + 1): g0s1 on host b, the others on a; group 1 (1 + 1) on b."""
    made = fleets.make(tmp_path, seed=11, geometry=((2, 1), (1, 1)), lengths=LENGTHS)
    for mount in made.mounts:
        name = Path(mount).name
        shutil.move(mount, cluster.home("b" if name in MOVED else "a") / f"d-{name}")
    yield made
    for host in ("a", "b"):
        for name in ("stuck", "environment"):
            (cluster.home(host) / name).unlink(missing_ok=True)


def drive(cluster, name):
    (found,) = cluster.base.glob(f"?/d-{name}")
    return found


def copy(hosts, shipment, to, *more, notices=None, on=lambda *_: None, **changes):
    given = {"allowed": shipment.allowed, "seal": shipment.seal_files} | changes
    notice = (lambda _: None) if notices is None else notices.append
    return ingest_on(hosts, ingest.Options(["~/d-*", *more], str(to), **given), Events(on, notice))


def named(hosts, cluster, name):
    return next(host.name for host in hosts.hosts() if host.key == cluster.name(name))


def files(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file() and p.name != CARD}


def rot(pack):
    data = pack.read_bytes()
    pack.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def same(shipment, to, fresh):
    """Everything stands there, as it was packed; and no notes are left."""
    made = fleets.make(fresh, seed=11, geometry=((2, 1), (1, 1)), lengths=LENGTHS)
    assert sorted(os.listdir(to)) == [Path(mount).name for mount in made.mounts]
    for mount in made.mounts:
        assert files(to / Path(mount).name) == files(Path(mount))
    mounts = [str(path) for path in to.iterdir()]
    return verify(mounts, allowed=shipment.allowed, remember=False).state == "intact"


@pytest.mark.long
def test_each_host_copies_its_own_to_one_place(cluster, hosts, shipment, tmp_path):
    told, to = [], tmp_path / "to"
    result = copy(hosts, shipment, to, on=lambda *now: told.append(now))
    assert same(shipment, to, tmp_path / "fresh")
    assert (result.packs, result.there, result.failed, result.refused) == (19, 0, [], [])
    a, b = named(hosts, cluster, "a"), named(hosts, cluster, "b")
    assert {row.name: (row.state, len(row.drives)) for row in result.hosts} == {a: ("done", 2), b: ("done", 3)}
    step, progress, _ = told[-1]
    assert (step, progress.drives.keys() <= {a, b}) == ("copying", True)
    again = copy(hosts, shipment, to, seal=None)
    assert (again.packs, again.there) == (19, 19), "the seal on the drives serves"
    for name in ("g1s0", "g1s1", "g0s1", "g0s2"):
        shutil.move(drive(cluster, name), cluster.home("b") / f"away-{name}")
    last = copy(hosts, shipment, to, seal=None)
    assert (last.missing_groups, last.short_groups, last.missing_drives) == ([], [], []), "they are there as a whole"
    assert (last.packs, last.there, sorted(last.drives)) == (19, 19, sorted(again.drives))
    assert same(shipment, to, tmp_path / "fresh again")
    for away in cluster.home("b").glob("away-*"):
        shutil.rmtree(away)


@pytest.mark.long
def test_what_is_lost_is_rebuilt_over_http_and_named_without(cluster, hosts, shipment, tmp_path):
    shutil.rmtree(drive(cluster, "g0s2"))
    shutil.rmtree(drive(cluster, "g1s1"))
    pack = next(drive(cluster, "g0s0").glob("sealift/packs/0000/0000001.*"))
    to, folder = tmp_path / "to", tmp_path / "fleet"
    without = copy(hosts, shipment, to)
    assert (without.short_groups, without.rebuilt_blocks) == ([0], 5), "g1s1 came of g1s0, g0s2 takes both"
    (apart,) = {name[:4] for name in without.out_of_reach}  # a and b have one drive each: either takes g0s2
    assert apart in {"g0s0", "g0s1"}
    assert [name[:4] for name in without.missing_drives] == ["g0s2", "g1s1"]
    folder.mkdir()
    token = serving.token_file(folder)
    with serving.serving(*sorted(cluster.base.glob("?/d-*")), token=serving.TOKEN, file=token) as host:
        whole = copy(hosts, shipment, to, str(serving.locations_file(host, folder)))
        assert (whole.short_groups, whole.out_of_reach, whole.failed) == ([], [], [])
        assert same(shipment, to, tmp_path / "fresh")
        rot(pack)
    rotten = copy(hosts, shipment, tmp_path / "other")
    assert [(Path(at).name, path[:12]) for at, path, _ in rotten.failed] == [("g0s0", "packs/0000/0")]
    assert "g0s1" in {name[:4] for name in rotten.out_of_reach}, "its neighbours stand on b"


def stuck(cluster, host, packs):
    (cluster.home(host) / "stuck").write_text(str(packs))


def lose_b(cluster, b, then=lambda: None):
    def told(_step, progress, _hosts):
        if progress.drives.get(b, 0) >= placed_work.STUCK and "b" in cluster.nodes:
            cluster.lose("b")
            then()

    return told


@pytest.mark.long
def test_a_lost_hosts_drives_go_on_where_they_reappear(cluster, hosts, shipment, tmp_path, monkeypatch):
    monkeypatch.setattr(ingest_hosts, "_copy", placed_work.copy)
    shutil.rmtree(drive(cluster, "g1s1"))  # b rebuilds it
    rot(next(drive(cluster, "g0s1").glob("sealift/packs/0000/0000001.*")))  # takes g0s0 and g0s2, which stand on a
    stuck(cluster, "b", 3)
    parts, made = [], ingest_hosts._Copying._part_of
    monkeypatch.setattr(ingest_hosts._Copying, "_part_of", lambda *given: parts.append(made(*given)) or parts[-1])

    def move():
        for name in ("g0s1", "g1s0"):
            shutil.move(drive(cluster, name), cluster.home("a") / f"d-moved-{name}")

    b, notices, to = named(hosts, cluster, "b"), [], tmp_path / "to"
    result = copy(hosts, shipment, to, notices=notices, on=lose_b(cluster, b, move))
    assert [(row.state, row.why, row.owed) for row in result.hosts if row.name == b] == [("lost", "its node died", [])]
    assert any(text.startswith(f"{b} is lost (its node died), with g0s1 (serial ") for text in notices)
    assert (result.there >= 3, result.failed) == (True, []), "what b had copied counts"
    assert [len(part.done) for part in parts][:2] == [0, 0]
    assert len(parts[2].done) >= 3, "and is known there"
    assert same(shipment, to, tmp_path / "fresh")


@pytest.mark.long
def test_what_does_not_reappear_is_owed_and_is_rebuilt_by_the_same_command(
    cluster, hosts, shipment, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr(ingest_hosts, "_copy", placed_work.copy)
    shutil.move(drive(cluster, "g1s1"), cluster.home("a") / "d-g1s1")
    stuck(cluster, "b", 1)
    b, to = named(hosts, cluster, "b"), tmp_path / "to"
    result = copy(hosts, shipment, to, on=lose_b(cluster, b))
    (row,) = [row for row in result.hosts if row.name == b]
    assert (row.state, [name[:4] for name in row.owed]) == ("lost", ["g0s1", "g1s0"])
    (tmp_path / "signers").write_bytes(shipment.allowed_bytes)
    words = ["ingest", "--packs", "--ray", cluster.address, "~/d-*", "--to", str(to), "--json"]
    assert main.run([*words, "--allowed-signers", str(tmp_path / "signers")]) == 3
    answer = json.loads(capfd.readouterr().out)
    assert [name[:4] for name in answer["missing_drives"]] == ["g0s1", "g1s0"]
    assert same(shipment, to, tmp_path / "fresh"), "a rebuilt what b had"


@pytest.mark.long
def test_ctrl_c_keeps_what_was_copied(cluster, hosts, shipment, tmp_path, monkeypatch):
    monkeypatch.setattr(ingest_hosts, "_copy", placed_work.copy)
    stuck(cluster, "b", 2)
    b, to = named(hosts, cluster, "b"), tmp_path / "to"

    def stop(_step, progress, _hosts):
        if progress.drives.get(b, 0) >= placed_work.STUCK:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="is noted at the destination"):
        copy(hosts, shipment, to, on=stop)
    (cluster.home("b") / "stuck").unlink()
    assert copy(hosts, shipment, to).there >= 2
    assert same(shipment, to, tmp_path / "fresh")


@pytest.mark.long
def test_a_folder_that_is_another_one_on_a_host_is_refused(cluster, hosts, shipment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # processes of nodes have another one
    with pytest.raises(BadInput, match="is not the same there as here") as refused:
        copy(hosts, shipment, "/proc/self/cwd/to")
    assert "every host has under this path" in (refused.value.hint or "")
    assert os.listdir(tmp_path / "to") == []


def test_a_host_that_does_not_reach_the_store_says_so_soon_and_that_it_is_its_own_way(bucket, monkeypatch):
    monkeypatch.setattr(ingest_hosts, "_PATIENCE", 0.3)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(BadInput, match="nobody answers at the store's address") as refused:
        ingest_hosts._see(ingest_hosts._Mark(f"s3://{bucket}/x", "seen", "text"))
    assert "its own AWS_ENDPOINT_URL" in refused.value.hint


class Empty(BaseHTTPRequestHandler):
    """A store that has nothing."""

    def do_GET(self):
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.mark.long
def test_into_a_bucket_with_each_hosts_own_keys(cluster, hosts, shipment, tmp_path, bucket, s3, monkeypatch):
    monkeypatch.setattr(ingest_hosts, "_copy", placed_work.copy)
    monkeypatch.setattr(ingest_hosts, "_see", placed_work.see)
    lines = "\n".join(f"{name}={value}" for name, value in s3.environment.items())
    to = f"s3://{bucket}/drives"
    with HTTPServer(("127.0.0.1", 0), Empty) as nothing:  # another store, which has nothing
        threading.Thread(target=nothing.serve_forever, daemon=True).start()
        other = lines.replace(s3.endpoint, f"http://127.0.0.1:{nothing.server_port}")
        for name, text in (("a", lines), ("b", other)):
            (cluster.home(name) / "environment").write_text(text)
        with pytest.raises(SealiftError, match=named(hosts, cluster, "b")):
            copy(hosts, shipment, to)
        nothing.shutdown()
    assert ingests.objects(to, notes=True) == {}, "nothing was written"
    (cluster.home("b") / "environment").write_text(lines)
    result = copy(hosts, shipment, to)
    assert (result.packs, result.failed, result.refused) == (19, [], [])
    state = verify([f"{to}/{name}" for name in result.drives], allowed=shipment.allowed, remember=False).state
    assert state == "intact"
    assert not [name for name in ingests.objects(to, notes=True) if "sealift-ingest" in name]
    assert s3.uploads(bucket) == 0


@pytest.mark.long
def test_files_and_drives_without_a_seal_are_refused(cluster, hosts, shipment, tmp_path, capfd):
    words = ["ingest", "--ray", cluster.address, "~/d-*", "--to", str(tmp_path / "to"), "--identity", "key.txt"]
    assert main.run(words) == 1
    assert "files would take keys to the hosts of drives\nhint: --packs" in capfd.readouterr().err
    for path in cluster.base.glob("?/d-*/sealift/seal"):
        shutil.rmtree(path)
    with pytest.raises(SealInvalid, match="neither given nor on them"):
        copy(hosts, shipment, tmp_path / "to", seal=None)
    assert not (tmp_path / "to").exists()


@pytest.mark.long
def test_the_command_says_what_each_host_did(cluster, shipment, tmp_path, capfd):
    (tmp_path / "signers").write_bytes(shipment.allowed_bytes)
    words = ["ingest", "--packs", "--ray", cluster.address, "~/d-*", "--to", str(tmp_path / "to")]
    assert main.run([*words, "--allowed-signers", str(tmp_path / "signers"), "--out", str(tmp_path / "in.toml")]) == 0
    err = capfd.readouterr().err
    assert err.count("\nhost ") == 2
    assert "3 drives copied" in err
    assert verify([str(tmp_path / "in.toml")], allowed=shipment.allowed, remember=False).state == "intact"
