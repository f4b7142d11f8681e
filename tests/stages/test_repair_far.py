"""repair beside drives in other hosts that fail: these are named, and what they would give is not lost."""

import json
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets
from faulty_proxy import proxy
from storage_host import nginx

from sealift.cli.main import run as sealift
from sealift.drives import http_client, ranges
from sealift.errors import NotAllHere
from sealift.formats import manifest as mf
from sealift.stages import repair as stage

BLOCK = mf.BLOCK


@pytest.fixture(autouse=True)
def _soon(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    monkeypatch.setattr(http_client, "PATIENCE", 0.05)
    monkeypatch.setattr(http_client, "GONE", 0.05)
    monkeypatch.setattr(ranges, "SOON", 0.2)


@pytest.fixture
def fleet(tmp_path):
    made = fleets.make(tmp_path / "mnt", seed=95, geometry=((2, 2),), lengths=[[BLOCK + 3, 9], [70, 5]])
    (tmp_path / "signers").write_bytes(made.allowed_bytes)
    (tmp_path / "s.seal").write_bytes(made.bundle)
    return made


@pytest.fixture
def hosts(fleet, tmp_path):
    """Proxies before the hosts of drives 1, 2 and 3, and the locations file that lists them."""
    with ExitStack() as stack:
        host = stack.enter_context(nginx(tmp_path / "nginx", fleet.root))
        made = {slot: stack.enter_context(proxy(host.url)) for slot in (1, 2, 3)}
        text = 'type = "sealift-locations"\nversion = 1\n'
        for slot, each in made.items():
            text += f'[[drive]]\nname = "host-{slot}"\nat = "{each.endpoint}/g0s{slot}/"\n'
        (tmp_path / "fleet.toml").write_text(text)
        yield made


def at_packs(fault):
    return lambda method, path, _number: fault if method == "GET" and "/packs/" in path else None


def rotten(fleet):
    """One block of drive 0 that only the others have."""
    path = fleet.path(0, 0, mf.pack_name(0, mf.role_of(0, 0, 4), 2))
    fleets.flip(path, 8 * 5)
    return path


def run(fleet, tmp_path, capsys, *more, mounts=None):
    places = [*(mounts or [fleet.mount(0, 0)]), str(tmp_path / "fleet.toml")]
    known = ["--allowed-signers", str(tmp_path / "signers"), "--seal", str(tmp_path / "s.seal")]
    code = sealift(["repair", *places, *known, *more])
    told = capsys.readouterr()
    return code, told.out, told.err


@pytest.mark.long
@pytest.mark.parametrize("faults", [("cut", "cut"), ("500", "flip"), ("flip", "flip"), ("403", "404")])
def test_what_hosts_do_not_give_now_is_not_lost(fleet, hosts, tmp_path, capsys, faults):
    path = rotten(fleet)
    hosts[1].plan, hosts[3].plan = map(at_packs, faults)
    hosts[2].plan = at_packs("500")
    code, out, _ = run(fleet, tmp_path, capsys)
    assert (code, "LOST" in out, "lost:" in out, "fetch-list" in out) == (6, False, False, False)
    assert out.startswith("not whole yet: what is still wrong can be had from drives in other hosts")
    assert "not given now: g0s0 packs/" in out
    assert "next: see to the host or the way to host-1 (" in out
    for slot in (1, 2, 3):
        assert f"g0s{slot}, host-{slot} at http://127.0.0.1" in out
    assert "run the same command again" in out
    assert ("`sealift verify` on that host" in out) == ("flip" in faults)
    answer = json.loads(run(fleet, tmp_path, capsys, "--json")[1])
    assert (answer["state"], answer["lost"], len(answer["away"])) == ("damaged", [], 3)
    assert answer["waits"][0]["path"] in str(path)
    for each in hosts.values():
        each.plan = at_packs(None)
    assert run(fleet, tmp_path, capsys)[0] == 0
    assert run(fleet, tmp_path, capsys)[1].startswith("whole")


def test_what_no_host_could_give_is_lost_all_the_same(fleet, hosts, tmp_path, capsys):
    for slot in (0, 2, 3):
        fleets.flip(fleet.path(0, slot, mf.pack_name(0, mf.role_of(0, slot, 4), 2)), 8 * 5)
    hosts[1].plan = at_packs("500")
    head, first, *_ = (tmp_path / "fleet.toml").read_text().split("[[drive]]")
    (tmp_path / "fleet.toml").write_text(f"{head}[[drive]]{first}")
    code, out, _ = run(fleet, tmp_path, capsys, mounts=[fleet.mount(0, slot) for slot in (0, 2, 3)])
    assert (code, "LOST" in out, "not given now" in out) == (4, True, False)
    assert "see to the host or the way to host-1 (" in out


def test_a_host_that_fails_and_was_not_needed_is_named(fleet, hosts, tmp_path, capsys):
    rotten(fleet)
    hosts[1].plan = at_packs("500")
    code, out, _ = run(fleet, tmp_path, capsys)
    assert (code, out.startswith("repaired")) == (0, True)
    assert "next: see to the host or the way to host-1 (" in out
    hosts[2].plan = lambda _method, _path, _number: "page"
    code, out, _ = run(fleet, tmp_path, capsys)
    assert (code, "missing: g0s2" in out) == (3, True)
    assert "next: see to the host or the way to host-2 (" in out


def test_an_index_that_only_hosts_have_is_not_lost(fleet, hosts, tmp_path, capsys):
    fleet.path(0, 0, mf.MEMBERS_INDEX).unlink()
    for each in hosts.values():
        each.plan = lambda method, path, _number: "500" if method == "GET" and "/index/" in path else None
    code, out, _ = run(fleet, tmp_path, capsys)
    assert (code, "LOST" in out) == (6, False)
    assert "still wrong: g0s0 index/members.parquet.age: missing, no drive here has it whole, and a host" in out
    assert "see to the host or the way to host-1" in out
    for each in hosts.values():
        each.plan = at_packs(None)
    assert run(fleet, tmp_path, capsys)[0] == 0


def test_a_fetch_list_waits_for_hosts_that_keep_something_back(fleet, hosts, tmp_path, capsys):
    rotten(fleet)
    for slot in (1, 3):
        hosts[slot].plan = at_packs("cut")
    code, out, err = run(fleet, tmp_path, capsys, "--fetch-list")
    assert (code, out) == (6, "")
    assert "host-1" in err
    assert "see to the host" in err
    assert "no pack need be sent again" not in err
    for slot in (1, 3):
        hosts[slot].plan = at_packs("flip")
    code, out, err = run(fleet, tmp_path, capsys, "--fetch-list")
    assert (code, json.loads(out)["packs"] != []) == (0, True)
    assert "host-1 (other bytes than were signed)" in err
    places = [fleet.mount(0, 0), str(tmp_path / "fleet.toml")]
    hosts[1].plan = lambda _method, _path, _number: "500"
    with pytest.raises(NotAllHere):
        stage.fetch(places, allowed=fleet.allowed)


def test_a_host_that_lies_is_not_for_repair_to_mend(fleet, hosts, tmp_path, capsys):
    hosts[1].plan = at_packs("flip")
    (tmp_path / "new").mkdir()
    onto = ["--onto", f"g0s0={tmp_path / 'new'}", "--allow-same-filesystem"]
    known = ["--allowed-signers", str(tmp_path / "signers"), "--seal", str(tmp_path / "s.seal")]
    code = sealift(["repair", str(tmp_path / "fleet.toml"), *known, *onto])
    out = capsys.readouterr().out
    assert code in {0, 3}
    assert "rebuilt: g0s0" in out
    assert "without --onto mends" not in out
    assert "see to the host or the way to host-1 (what it gives of packs/" in out
    assert "`sealift verify` on that host tells" in out


def test_the_address_of_a_host_that_is_lost_may_be_taken_off_the_list(fleet, hosts, tmp_path, capsys):
    hosts[3].plan = lambda *_: "500"
    (tmp_path / "new").mkdir()
    code, out, _ = run(fleet, tmp_path, capsys, "--onto", str(tmp_path / "new"), "--allow-same-filesystem")
    assert code == 3
    assert out.startswith("rebuilt: g0s3")
    assert "where it was the address of what is rebuilt now (g0s3), take it off the list" in out
