"""repair on the nodes of a Ray cluster: each host mends its own drives, and reads others where they are served."""

import json
import shutil
from pathlib import Path

import fleet as fleets
import placed_work
import pytest
import serving

from sealift.cli import main
from sealift.errors import BadInput
from sealift.formats.manifest import BLOCK
from sealift.stages import placed, repair_hosts
from sealift.stages.placed_pass import Events
from sealift.stages.repair import exit_code
from sealift.stages.repair_hosts import repair_on
from sealift.stages.verify import verify
from sealift.stages.verify_hosts import verify_on
from sealift.stages.verify_report import to_json

LENGTHS = [[BLOCK + 3000, 2000], [70, 60], [50, 50], [900, 0]]


@pytest.fixture
def shipment(cluster, tmp_path):
    """Group 0 (2 + 1): g0s1 on host b, the others on a; group 1 (1 + 1) on b."""
    made = fleets.make(tmp_path, seed=7, geometry=((2, 1), (1, 1)), lengths=LENGTHS)
    for mount in made.mounts:
        name = Path(mount).name
        shutil.move(mount, cluster.home("a" if name in {"g0s0", "g0s2"} else "b") / f"d-{name}")
    return made


def drive(cluster, name):
    (found,) = cluster.base.glob(f"?/d-{name}")
    return found


def spoil(cluster, name, block=0):
    pack = next(drive(cluster, name).glob("sealift/packs/0000/0000000.*"))
    data = bytearray(pack.read_bytes())
    data[block * BLOCK] ^= 1
    pack.write_bytes(data)
    return pack


def mend(hosts, shipment, tmp_path, *more, **options):
    given = {"allowed": shipment.allowed, "state": str(tmp_path / "state")} | options
    return repair_on(hosts, ["~/d-*", *more], **given)


def whole(cluster, shipment):
    mounts = sorted(str(path) for path in cluster.base.glob("?/d-*"))
    return verify(mounts, allowed=shipment.allowed, remember=False).state == "intact"


@pytest.fixture
def served(cluster, shipment, tmp_path):
    """All drives are served, as by both hosts; a locations file that each host has."""
    folder = tmp_path / "fleet"
    folder.mkdir()
    token = serving.token_file(folder)
    with serving.serving(*sorted(cluster.base.glob("?/d-*")), token=serving.TOKEN, file=token) as host:
        yield serving.locations_file(host, folder)


def test_a_host_mends_what_its_own_drives_give(cluster, hosts, shipment, tmp_path):
    spoil(cluster, "g1s0")
    dry = mend(hosts, shipment, tmp_path, dry_run=True)
    assert (dry.repaired_files, exit_code(dry), whole(cluster, shipment)) == (1, 3, False)
    done = mend(hosts, shipment, tmp_path)
    b = next(host.name for host in hosts.hosts() if host.key == cluster.name("b"))
    assert [(each.drive, each.mount) for each in done.repaired] == [("g1s0", f"{b}:{drive(cluster, 'g1s0')}")]
    assert (done.state, exit_code(done), done.missing) == ("repaired", 0, [])
    assert whole(cluster, shipment)


def test_what_takes_drives_of_another_host_is_left_and_not_lost(cluster, hosts, shipment, tmp_path):
    pack = spoil(cluster, "g0s0")
    before = pack.read_bytes()
    left = mend(hosts, shipment, tmp_path)
    assert (left.state, exit_code(left), left.lost, left.short, left.missing) == ("damaged", 3, [], [], [])
    (fault,) = left.left
    assert (fault.drive, fault.path, fault.block) == ("g0s0", str(pack.relative_to(pack.parents[2])), 0)
    assert "cannot be read from its host: g0s1 (serial " in fault.detail
    assert pack.read_bytes() == before


@pytest.mark.long
def test_drives_of_other_hosts_are_read_over_http(cluster, hosts, shipment, served, tmp_path):
    spoil(cluster, "g0s0")
    spoil(cluster, "g0s1", block=0)
    shutil.rmtree(drive(cluster, "g0s2") / "sealift/index")
    report = verify_on(hosts, ["~/d-*"], allowed=shipment.allowed, state=str(tmp_path / "state"))
    given = ("report", json.dumps(to_json(report)).encode())
    done = mend(hosts, shipment, tmp_path, str(served), report=given)
    assert done.lost, "block 0 of two of three drives: more than parity holds, and all of them can be read"
    assert (exit_code(done), done.scope) == (4, "report")
    fresh = fleets.make(tmp_path / "fresh", seed=7, geometry=((2, 1), (1, 1)), lengths=LENGTHS)
    name = next((drive(cluster, "g0s1") / "sealift/packs/0000").glob("0000000.*")).name
    shutil.copy(fresh.path(0, 1, f"packs/0000/{name}"), drive(cluster, "g0s1") / f"sealift/packs/0000/{name}")
    done = mend(hosts, shipment, tmp_path, str(served))
    assert (done.state, exit_code(done)) == ("repaired", 0)
    assert whole(cluster, shipment)


@pytest.mark.long
def test_a_lost_hosts_drives_are_mended_where_they_reappear(cluster, hosts, shipment, tmp_path, monkeypatch):
    monkeypatch.setattr(repair_hosts, "_mend", placed_work.mend)
    monkeypatch.setattr(placed, "look", placed_work.look)
    spoil(cluster, "g1s0")
    spoil(cluster, "g0s1")  # takes g0s0 and g0s2, which stand on a
    (cluster.home("b") / "stuck").write_text("0")
    b, notices = next(host.name for host in hosts.hosts() if host.key == cluster.name("b")), []

    def told(_step, progress, _hosts):
        if progress.drives.get(b, 0) < placed_work.STUCK or "b" not in cluster.nodes:
            return
        cluster.lose("b")
        (cluster.home("b") / "stuck").unlink()
        for name in ("g0s1", "g1s0", "g1s1"):
            shutil.move(drive(cluster, name), cluster.home("a") / f"d-{name}")
        (cluster.home("a") / "dies").write_text("when it is asked what stands there now")

    done = mend(hosts, shipment, tmp_path, events=Events(told, notices.append))
    assert [(row.state, row.why, row.owed) for row in done.hosts if row.name == b] == [("lost", "its node died", [])], (
        notices
    )
    assert not (cluster.home("a") / "dies").exists()
    assert (exit_code(done), sorted(each.drive for each in done.repaired)) == (0, ["g0s1", "g1s0"])
    assert any(text.startswith(f"{b} is lost (its node died), with g0s1 (serial ") for text in notices)
    assert whole(cluster, shipment)


@pytest.mark.long
def test_what_does_not_reappear_is_owed_and_the_same_command_mends_it(cluster, hosts, shipment, tmp_path, monkeypatch):
    monkeypatch.setattr(repair_hosts, "_mend", placed_work.mend)
    spoil(cluster, "g1s0")
    (cluster.home("b") / "stuck").write_text("0")
    b = next(host.name for host in hosts.hosts() if host.key == cluster.name("b"))

    def told(_step, progress, _hosts):
        if progress.drives.get(b, 0) >= placed_work.STUCK and "b" in cluster.nodes:
            cluster.lose("b")

    left = mend(hosts, shipment, tmp_path, events=Events(told))
    assert (left.state, exit_code(left), left.lost) == ("damaged", 6, [])
    (row,) = [row for row in left.hosts if row.name == b]
    assert [name[:4] for name in row.owed] == ["g0s1", "g1s0", "g1s1"]
    (cluster.home("b") / "stuck").unlink()
    cluster.add("b")
    done = mend(hosts, shipment, tmp_path)
    assert (done.state, exit_code(done)) == ("repaired", 0), (done.left, done.missing, done.lost)
    assert whole(cluster, shipment)


def test_of_two_drives_in_one_slot_on_two_hosts_the_damaged_one_is_not_written(cluster, hosts, shipment, tmp_path):
    shutil.copytree(drive(cluster, "g1s0"), cluster.home("a") / "d-copy")
    pack = spoil(cluster, "g1s0")
    before = pack.read_bytes()
    left = mend(hosts, shipment, tmp_path)
    assert [fault.kind for fault in left.left] == ["rotten", "conflict"]
    assert pack.read_bytes() == before


def test_onto_and_fetch_lists_are_one_hosts(cluster, hosts, shipment, tmp_path, capfd):
    with pytest.raises(BadInput, match="--onto is one host's work"):
        mend(hosts, shipment, tmp_path, onto=["/mnt/new"])
    assert main.run(["repair", "--ray", cluster.address, "~/d-*", "--fetch-list"]) == 1
    assert "hint: sealift repair LOCATIONS --fetch-list" in capfd.readouterr().err


@pytest.mark.long
def test_the_command_says_what_each_host_did(cluster, shipment, tmp_path, capfd, monkeypatch):
    (tmp_path / "signers").write_bytes(shipment.allowed_bytes)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "states"))
    spoil(cluster, "g1s1")
    words = ["repair", "--ray", cluster.address, "~/d-*", "--allowed-signers", str(tmp_path / "signers")]
    assert main.run([*words, "--json"]) == 0
    out, err = capfd.readouterr()
    answer = json.loads(out)
    assert (answer["state"], [host["state"] for host in answer["hosts"]]) == ("repaired", ["done", "done"])
    assert "token" not in err
