"""verify on the nodes of a Ray cluster: the same answers as in one host, and hosts that die."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import fleet as fleets
import msgspec
import placed_work
import pytest

from sealift.cli import main
from sealift.errors import BadInput, Interrupted, NotAllHere, SealInvalid
from sealift.formats.manifest import BLOCK
from sealift.reading.trust import open_seal
from sealift.stages import placed, verify_hosts
from sealift.stages.placed import Stand, dealt
from sealift.stages.placed_pass import Events
from sealift.stages.placement import Host
from sealift.stages.receive import weigh
from sealift.stages.verify import verify
from sealift.stages.verify_hosts import verify_on
from sealift.stages.verify_report import exit_code, to_json

LENGTHS = [[BLOCK + 3000, 2000], [70, 60], [50, 50], [900, 0]]


@pytest.fixture
def shipment(cluster, tmp_path):
    """Two groups, 2 + 1 and 1 + 1; g0s1 and g1s0 stand on host b, the others on a."""
    made = fleets.make(tmp_path, seed=5, geometry=((2, 1), (1, 1)), lengths=LENGTHS)
    for mount in made.mounts:
        name = Path(mount).name
        shutil.move(mount, cluster.home("b" if name in {"g0s1", "g1s0"} else "a") / f"d-{name}")
    return made


def drive(cluster, host, name):
    return cluster.home(host) / f"d-{name}"


def check(hosts, shipment, tmp_path, notices=None, on=lambda *_: None, **options):
    notice = (lambda _: None) if notices is None else notices.append
    given = {"allowed": shipment.allowed, "state": str(tmp_path / "state")} | options
    return verify_on(hosts, ["~/d-*"], **given, events=Events(on, notice))


def bare(report):
    """What must not depend on where drives stand."""
    groups = [msgspec.to_builtins(group) for group in report.groups]
    for group in groups:
        for each in group["present"]:
            for name in ("mount", "part", "read_at"):
                del each[name]
    faults = {(fault.drive, fault.path, fault.kind, fault.block) for fault in report.faults}
    return report.state, groups, faults, report.drives_total, report.signature, report.seal, report.bytes_read


def damage(cluster):
    """Two of three drives of group 0 have block 0 of a stripe's packs damaged: it is lost, and only there."""
    for host, name in (("a", "g0s0"), ("b", "g0s1")):
        pack = next(drive(cluster, host, name).glob("sealift/packs/0000/0000000.*"))
        data = bytearray(pack.read_bytes())
        data[0] ^= 1
        pack.write_bytes(data)


@pytest.mark.parametrize(("wrong", "final"), [(None, False), ("damage", False), ("missing", False), ("missing", True)])
def test_the_verdict_is_that_of_one_host(cluster, hosts, shipment, tmp_path, wrong, final):
    if wrong == "damage":
        damage(cluster)
    if wrong == "missing":
        shutil.rmtree(drive(cluster, "b", "g0s1"))
    mounts = sorted(str(path) for host in ("a", "b") for path in cluster.home(host).glob("d-*"))
    seal = shipment.seal_files if wrong else None
    alone = verify(mounts, allowed=shipment.allowed, seal=seal, final=final, remember=False)
    assert bare(check(hosts, shipment, tmp_path, seal=seal, final=final)) == bare(alone)
    assert alone.state == {None: "intact", "damage": "lost", "missing": "recoverable" if final else "unseen"}[wrong]


def test_the_report_says_which_host_has_which_drive(cluster, hosts, shipment, tmp_path):
    told = []
    report = check(hosts, shipment, tmp_path, on=lambda *now: told.append(now))
    names = {host.key: host.name for host in hosts.hosts()}
    where = {each.drive: each.part for group in report.groups for each in group.present}
    a, b = names[cluster.name("a")], names[cluster.name("b")]
    assert where == {"g0s0": a, "g0s1": b, "g0s2": a, "g1s0": b, "g1s1": a}
    assert {row.name: (row.state, len(row.drives)) for row in report.hosts} == {a: ("done", 3), b: ("done", 2)}
    step, progress, _ = told[-1]
    assert step == "verify"
    assert progress.drives.keys() <= {a, b}
    assert progress.done == sum(progress.drives.values()) <= progress.total
    assert exit_code(report) == 0
    given = ("report", json.dumps(to_json(report)).encode())
    weighed = weigh(open_seal(shipment.seal_files, shipment.allowed), [given], datetime.now(UTC))
    assert [group.state for group in weighed.groups] == ["intact", "intact"], "a receipt may rest on it"


def stuck(cluster, host, files):
    (cluster.home(host) / "stuck").write_text(str(files))


@pytest.fixture(autouse=True)
def _not_stuck(cluster):
    yield
    for host in ("a", "b"):
        (cluster.home(host) / "stuck").unlink(missing_ok=True)


def lose_b(cluster, hosts, then=lambda: None):
    """Something to be told of progress, that kills host b once, when it has been heard."""
    b = next(host.name for host in hosts.hosts() if host.key == cluster.name("b"))

    def told(_step, progress, _hosts):
        if b in progress.drives and "b" in cluster.nodes:
            cluster.lose("b")
            then()

    return b, told


@pytest.mark.long
def test_a_lost_hosts_work_goes_on_where_its_drives_reappear(cluster, hosts, shipment, tmp_path, monkeypatch):
    monkeypatch.setattr(verify_hosts, "_read", placed_work.read)
    stuck(cluster, "b", 5)

    def move():
        for name in ("g0s1", "g1s0"):
            shutil.move(drive(cluster, "b", name), cluster.home("a") / f"d-moved-{name}")

    b, told = lose_b(cluster, hosts, move)
    notices = []
    report = check(hosts, shipment, tmp_path, notices, told)
    assert report.state == "intact"
    assert [(row.state, row.owed) for row in report.hosts if row.name == b] == [("lost", [])]
    assert report.bytes_resumed > 0, "what b had found good by then counts"
    assert any(text.startswith(f"{b} is lost (its node died), with g0s1 (serial ") for text in notices)
    assert sum("and its work goes on there" in text for text in notices) == 2


@pytest.mark.long
def test_what_does_not_reappear_is_owed_and_the_same_command_goes_on(cluster, hosts, shipment, tmp_path, monkeypatch):
    monkeypatch.setattr(verify_hosts, "_read", placed_work.read)
    stuck(cluster, "b", 5)
    b, told = lose_b(cluster, hosts)
    report = check(hosts, shipment, tmp_path, on=told, final=True)
    assert (report.state, exit_code(report), report.final) == ("unseen", 6, False), "not believed while b is owed"
    (row,) = [row for row in report.hosts if row.name == b]
    assert (row.state, row.why) == ("lost", "its node died")
    assert [name[:4] for name in row.owed] == ["g0s1", "g1s0"]
    (cluster.home("b") / "stuck").unlink()
    cluster.add("b")
    report = check(hosts, shipment, tmp_path, final=True)
    assert (report.state, exit_code(report)) == ("intact", 0)
    whole = sum(each.stat().st_size for each in cluster.base.glob("a/d-*/sealift/packs/*/*"))
    assert report.bytes_resumed > whole, "host a is not read again, nor what b had read"
    again = check(hosts, shipment, tmp_path)
    assert again.bytes_resumed == 0, "a pass that has ended is forgotten"


@pytest.mark.long
def test_a_host_whose_workers_die_is_not_tried_for_ever(cluster, hosts, shipment, tmp_path, monkeypatch):
    monkeypatch.setattr(verify_hosts, "_read", placed_work.read)
    (cluster.home("b") / "stuck").write_text("die")
    report = check(hosts, shipment, tmp_path)
    b = next(host.name for host in hosts.hosts() if host.key == cluster.name("b"))
    rows = [(row.why, len(row.owed)) for row in report.hosts if row.name == b]
    assert rows == [("its worker died", 2)] * 3
    assert exit_code(report) == 6


@pytest.mark.long
def test_a_host_that_dies_in_the_look_for_drives_is_lost_and_the_same_command_goes_on(
    cluster, hosts, shipment, tmp_path, monkeypatch
):
    """All that can die with it in one process is in tests/stages/test_lost_hosts.py."""
    monkeypatch.setattr(placed, "look", placed_work.look)
    dead = cluster.home("b") / "dead"
    dead.touch()
    try:
        report = check(hosts, shipment, tmp_path, final=True)
    finally:
        dead.unlink()
    b = next(host.name for host in hosts.hosts() if host.key == cluster.name("b"))
    assert [(row.state, row.why, row.unknown) for row in report.hosts if row.name == b] == [
        ("lost", "its worker died", True)
    ]
    assert (exit_code(report), report.final) == (6, False)
    report = check(hosts, shipment, tmp_path)
    assert (report.state, {row.state for row in report.hosts}) == ("intact", {"done"})


@pytest.mark.long
def test_ctrl_c_keeps_what_was_found_good(cluster, hosts, shipment, tmp_path, monkeypatch):
    monkeypatch.setattr(verify_hosts, "_read", placed_work.read)
    stuck(cluster, "b", 5)

    def stop(_step, progress, _hosts):
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="is remembered"):
        check(hosts, shipment, tmp_path, on=stop)
    (cluster.home("b") / "stuck").unlink()
    report = check(hosts, shipment, tmp_path)
    assert (report.state, report.bytes_resumed > 0) == ("intact", True)


@pytest.mark.long
def test_no_drive_and_another_shipment_are_told(cluster, hosts, shipment, tmp_path):
    other = fleets.make(tmp_path / "other", seed=6, geometry=((1, 1),), lengths=LENGTHS)
    with pytest.raises(SealInvalid, match="the drives here"):
        check(hosts, shipment, tmp_path, seal=other.seal_files, allowed=other.allowed)
    with pytest.raises(BadInput, match="is no folder of the hosts"):
        verify_on(hosts, ["https://host/d1/"], allowed=shipment.allowed)
    cluster.clear()
    with pytest.raises(NotAllHere, match="no drive of sealift stands on any host"):
        check(hosts, shipment, tmp_path)


def test_drives_of_two_shipments_are_refused_without_a_seal(cluster, hosts, shipment, tmp_path):
    other = fleets.make(tmp_path / "other", seed=6, geometry=((1, 1),), lengths=LENGTHS)
    shutil.rmtree(drive(cluster, "b", "g0s1"))
    shutil.rmtree(drive(cluster, "b", "g1s0"))
    shutil.move(other.mount(0, 0), drive(cluster, "b", "g0s0"))
    with pytest.raises(BadInput, match="of several shipments"):
        check(hosts, shipment, tmp_path)
    report = check(hosts, shipment, tmp_path, seal=shipment.seal_files)
    assert [fault.kind for fault in report.faults] == ["foreign"]


def test_two_sealed_shipments_that_stand_on_one_host_are_refused_without_a_seal(cluster, hosts, shipment, tmp_path):
    """Most drives there are of one of them, which says nothing."""
    other = fleets.make(tmp_path / "other", seed=6, geometry=((1, 1),), lengths=LENGTHS)
    for slot in (0, 1):
        shutil.move(other.mount(0, slot), drive(cluster, "a", f"other{slot}"))
    allowed = type(other.allowed).parse(shipment.allowed_bytes + other.allowed_bytes)
    with pytest.raises(BadInput, match=f"of several shipments .*{other.shipment} on "):
        check(hosts, shipment, tmp_path, allowed=allowed)
    report = check(hosts, shipment, tmp_path, allowed=allowed, seal=shipment.seal_files)
    assert (report.state, {fault.kind for fault in report.faults}) == ("intact", {"foreign"})


@pytest.mark.long
def test_the_command_prints_the_verdict_and_the_hosts(cluster, hosts, shipment, tmp_path, capfd, monkeypatch):
    (tmp_path / "signers").write_bytes(shipment.allowed_bytes)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "states"))
    words = ["verify", "--ray", cluster.address, "~/d-*", "--allowed-signers", str(tmp_path / "signers")]
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert main.run(words) == 0
    out, err = capfd.readouterr()
    assert out.count("\nhost ") == 2
    assert "3 drives read" in out
    assert "asks nobody for a token" in err


def test_who_has_no_token_gets_nothing(cluster, hosts, shipment, tmp_path):
    (tmp_path / "signers").write_bytes(shipment.allowed_bytes)
    words = ["verify", "--ray", cluster.address, "~/d-*", "--allowed-signers", str(tmp_path / "signers")]
    other = {"RAY_AUTH_TOKEN": "f" * 64, "RAY_NUM_REDIS_GET_RETRIES": "1"}
    command = [sys.executable, "-m", "sealift", *words]
    done = subprocess.run(command, env=os.environ | other, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 1
    assert "token is missing or incorrect" in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr


def stand(group, slot, place):
    return Stand(f"/mnt/{place}", (place,), "", group, slot, f"g{group}s{slot}")


def test_what_two_hosts_see_is_dealt_by_groups():
    one, two = Host("one", "1"), Host("two", "2")
    both = [stand(group, slot, f"{group}{slot}") for group in range(4) for slot in range(3)]
    own = stand(9, 0, "own")
    given = dealt({one: [*both, own], two: both})
    assert sorted(given[one] + given[two]) == sorted([*both, own])
    groups = [{each.group for each in stands} for stands in given.values()]
    assert not groups[0] & groups[1]
    assert abs(len(given[one]) - len(given[two])) <= 3
