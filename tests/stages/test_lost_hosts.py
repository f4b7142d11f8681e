"""A host of a cluster that dies before it has said which drives stand there: it is in the report like the others."""

import json
import os
import shutil
from pathlib import Path

import fleet as fleets
import hosts_here
import pytest
import shipments

from sealift.cli import main, pack_words
from sealift.errors import NotAllHere
from sealift.formats.manifest import BLOCK
from sealift.stages import placed, placement, verify_hosts
from sealift.stages.pack.hosts import pack_on
from sealift.stages.placed_pass import Events
from sealift.stages.placement import Host

LENGTHS = [[BLOCK + 3000, 2000], [70, 60], [50, 50], [900, 0]]
WHEN = ["", "look"]  # before it was asked anything, and while it looks for drives
SAID = "host a: LOST (its node died); it did not say which drives stand there"
NEXT = "next: see to a, or have its drives stand on another host, and run the same command: what was done counts"
ROW = {"name": "a", "state": "lost", "why": "its node died", "drives": [], "owed": []}


@pytest.fixture
def hosts(tmp_path, monkeypatch):
    """Group 0 (2 + 1): g0s1 on a, the others on b; group 1 (1 + 1): a drive each."""
    made = fleets.make(tmp_path, seed=23, geometry=((2, 1), (1, 1)), lengths=LENGTHS)
    there = hosts_here.Hosts(tmp_path / "hosts", "a", "b")
    for mount in made.mounts:
        name = Path(mount).name
        shutil.move(mount, there.home("a" if name in {"g0s1", "g1s0"} else "b") / f"d-{name}")
    (tmp_path / "signers").write_bytes(made.allowed_bytes)
    (tmp_path / "to").mkdir()
    monkeypatch.setattr(placement, "place", lambda *_: there)
    monkeypatch.setattr(placed, "_BETWEEN", 0.0)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "states"))
    there.shipment = made
    return there


def run(capsys, tmp_path, command, *options):
    words = [command, "--ray", "auto", "~/d-*", "--allowed-signers", str(tmp_path / "signers"), *options]
    code = main.run(words)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("dies", WHEN)
@pytest.mark.parametrize(
    ("command", "codes", "rest"), [("verify", 6, []), ("repair", 6, []), ("ingest", 3, ["--packs"])]
)
def test_it_is_in_the_report_as_lost(hosts, tmp_path, capsys, command, codes, rest, dies):
    hosts.dies["a"] = dies
    given = [*rest, "--to", str(tmp_path / "to")] if rest else rest
    code, out, err = run(capsys, tmp_path, command, *given, "--json")
    answer = json.loads(out)
    assert ROW in answer["hosts"]
    assert [row["state"] for row in answer["hosts"] if row["name"] == "b"] == ["done"]
    shutil.rmtree(tmp_path / "to")
    (tmp_path / "to").mkdir()
    again, out, err = run(capsys, tmp_path, command, *given)
    said = (out + err).splitlines()
    assert {SAID, NEXT} <= set(said)
    assert not [line for line in said if "mount what is still to come" in line]
    assert (code, again) == (codes, codes)


def test_final_is_not_believed_and_the_same_command_goes_on(hosts, tmp_path):
    options = {"allowed": hosts.shipment.allowed, "state": str(tmp_path / "state"), "final": True}
    hosts.dies["a"] = "look"
    report = verify_hosts.verify_on(hosts, ["~/d-*"], **options)
    assert (report.state, report.final) == ("unseen", False), "what a has may be all that is not here"
    del hosts.dies["a"]
    report = verify_hosts.verify_on(hosts, ["~/d-*"], **options)
    assert (report.state, report.final) == ("intact", True)
    assert report.bytes_resumed > 0, "what b had read was not forgotten"


def test_repair_is_not_done_while_a_host_is_lost(hosts, tmp_path, capsys):
    """Without the seal nobody knows what stands there: what is here is whole, and is not all."""
    for name in ("g0s1", "g1s0"):
        shutil.move(hosts.home("a") / f"d-{name}", hosts.home("b") / f"d-{name}")
    hosts.dies["a"] = "look"
    code, out, _ = run(capsys, tmp_path, "repair")
    assert (code, "not every host came to its end" in out) == (6, True)
    assert "nobody signed" not in out


def test_where_no_other_host_has_drives_the_lost_one_is_named(hosts, tmp_path, capsys):
    shutil.rmtree(hosts.home("b"))
    hosts.home("b").mkdir()
    hosts.dies["a"] = "look"
    code, _, err = run(capsys, tmp_path, "verify")
    assert code == NotAllHere.exit_code
    assert "no drive of sealift stands on any host that answers (a: its node died)" in err
    assert "hint: have these hosts up again" in err


def _two_to_pack(tmp_path):
    """Two groups of two drives, one group on each host."""
    source = tmp_path / "source"
    for number in range(6):
        shipments.write(source / f"{number}.bin", os.urandom(1 << 16))
    origin = shipments.Origin(tmp_path / "origin", source, 1, 1, groups=2)
    hosts = hosts_here.Hosts(tmp_path / "hosts", "a", "b")
    mounts = [hosts.home("ab"[place % 2]) / Path(mount).name for place, mount in enumerate(origin.mounts)]
    serials = {}
    for mount in mounts:
        mount.mkdir()
        serials[str(mount)] = f"SER{mount.name}"
    options = origin.pack_options(to=["~/d*"], state=str(tmp_path / "state"), serials=serials)
    return hosts, options


@pytest.mark.parametrize("dies", ["", "_look"])
def test_a_host_that_dies_before_packing_has_its_row(tmp_path, monkeypatch, capsys, dies):
    monkeypatch.setattr(placed, "_BETWEEN", 0.0)
    hosts, options = _two_to_pack(tmp_path)
    hosts.dies["a"] = dies
    result = pack_on(hosts, options, Events())
    assert [(row.name, row.state) for row in result.hosts] == [("b", "done"), ("a", "lost")]
    assert result.exit_code == 6
    pack_words.summarize(result, options)
    said = [line.strip() for line in capsys.readouterr().err.splitlines()]
    assert {SAID, NEXT} <= set(said)
    notices = []
    del hosts.dies["a"]
    result = pack_on(hosts, options, Events(notice=notices.append))
    assert (result.exit_code, [row["state"] for row in result.groups]) == (0, ["signed", "signed"])
    assert "a: group 0 is packed and signed" in notices, "a host does not know how many are by now"


def test_hosts_that_all_die_before_packing_have_their_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(placed, "_BETWEEN", 0.0)
    hosts, options = _two_to_pack(tmp_path)
    hosts.dies |= {"a": "_look", "b": "_look"}
    result = pack_on(hosts, options, Events())
    assert {row.name: row.state for row in result.hosts} == {"a": "lost", "b": "lost"}, "none of them has any work"


def test_an_unfit_host_has_failed_where_it_is_meant_and_is_only_told_where_it_may_be_none():
    class Ray:
        def __init__(self, error=None, version=None, marked=True):
            self._error, self._version = error, version
            self._resources = {"sealift": 1} if marked else {}

        def nodes(self):
            row = {"Alive": True, "NodeManagerAddress": "::", "NodeManagerHostname": "h"}
            return [row | {"NodeName": name, "NodeID": name, "Resources": self._resources} for name in ("a", "b")]

        def wait(self, refs, **_):
            return refs, []

        def kill(self, _):
            pass

        def get(self, host, **_):
            if host.name == "a" and self._error:
                raise self._error
            return placement.__version__ if host.name == "b" else self._version

    class Actor:
        def __init__(self, host):
            self.version = self
            self.remote = lambda: host

    def left_out(**given):
        notices = []
        there = placement.place("head:1", notices.append)
        there._ray, there._take = Ray(**given), Actor
        assert [host.name for host in there.hosts()] == ["b"]
        assert [text.startswith("a is left out: ") for text in notices] == [True]
        return there.left_out

    died = type("ActorDiedError", (Exception,), {})("The actor died because its node has died.")
    assert left_out(error=died) == {Host("a", "a"): placement.Gone("its node died")}
    assert left_out(error=died, marked=False) == {Host("a", "a"): placement.Gone("its node died")}
    ((_, why),) = left_out(version="0.0").items()
    assert str(why).startswith("it has sealift 0.0")
    assert left_out(version="0.0", marked=False) == {}, "a node that nobody said is a storage host"
