"""Hosts that lie about lengths, or are no hosts of drives at all: told as what they are, and the others used."""

import json
import shutil
from contextlib import ExitStack

import pytest
from faulty_proxy import proxy
from storage_host import nginx
from test_slow_hosts import N, content, files_of, origin  # noqa: F401 -- a fixture

from sealift.cli import main
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages.inspect import inspect
from sealift.stages.verify import verify


@pytest.fixture
def hosts(origin, tmp_path):  # noqa: F811
    with nginx(tmp_path / "nginx", origin.root) as host, ExitStack() as stack:
        yield [stack.enter_context(proxy(host.url)) for _ in range(N)]


def places(hosts):
    return [f"{host.endpoint}/d{number:02d}/" for number, host in enumerate(hosts)]


def run(origin, capsys, *words):  # noqa: F811
    keys = ["--allowed-signers", str(origin.root / "allowed"), "--seal", str(origin.root / "s.seal")]
    code = main.run([*map(str, words), *keys])
    return code, *capsys.readouterr()


def test_a_host_that_says_ten_times_the_length_is_refused_and_told(origin, hosts, caplog, tmp_path):  # noqa: F811
    hosts[0].plan = lambda *_: "tenfold"
    first = places(hosts)[0]
    with origin.shipment(places(hosts), origin.sealed) as shipment:
        assert files_of(shipment) == content(origin)
        assert [each.mount for each in shipment.health().drives] == [first]
    assert any(
        "its host says that it is" in record.getMessage() and first in record.getMessage() for record in caplog.records
    )
    report = inspect(places(hosts), seal=origin.sealed)
    assert report.state == "recoverable"
    assert all("two lengths" in fault.detail and fault.mount == first for fault in report.faults)
    allowed = AllowedSigners.parse(origin.allowed)
    report = verify(places(hosts), allowed=allowed, seal=origin.sealed, remember=False)
    assert {(fault.mount, fault.kind) for fault in report.faults} == {(first, "unreached")}
    assert all("two lengths" in fault.detail for fault in report.faults), "and not: it was replaced"


def test_what_only_such_a_host_has_is_read_and_checked_block_by_block(origin, hosts):  # noqa: F811
    hosts[0].plan = lambda *_: "tenfold"
    with origin.shipment(places(hosts)[:2], origin.sealed) as shipment:
        assert files_of(shipment) == content(origin)


@pytest.mark.parametrize("plan", ["page", "same"])
def test_a_page_in_the_place_of_every_file_is_no_drive(origin, hosts, capsys, tmp_path, plan):  # noqa: F811
    words = "a web page (HTML)" if plan == "page" else "the same bytes whatever is asked for"
    hosts[0].plan = lambda *_: "page" if plan == "page" else "json"
    code, out, _ = run(origin, capsys, "verify", *places(hosts), "--state", tmp_path / "state")
    assert code == 6
    assert f"what answers there is no drive: it {'sends' if plan == 'page' else 'gives'} {words}" in out
    assert "rotten" not in out
    assert "non-canonical" not in out
    assert "mount what is still to come" not in out
    with origin.shipment(places(hosts), origin.sealed) as shipment:
        ((mount, why),) = shipment.ignored
        assert (mount, words in why) == (places(hosts)[0], True)
        assert files_of(shipment) == content(origin)


def test_a_page_in_the_place_of_one_file_is_told_as_such(origin, hosts, capsys, tmp_path):  # noqa: F811
    hosts[0].plan = lambda _method, path, _number: "page" if path.endswith("drive.json") else None
    code, out, _ = run(origin, capsys, "verify", *places(hosts), "--state", tmp_path / "state")
    assert code == 6
    assert f"next: see to the host or the way to {places(hosts)[0]} (it sends a web page (HTML))" in out
    report = verify(places(hosts), allowed=AllowedSigners.parse(origin.allowed), seal=origin.sealed, remember=False)
    assert all("it sends a web page" in fault.detail for fault in report.faults)


def test_wrong_bytes_of_a_host_may_be_the_hosts(origin, hosts, capsys, tmp_path):  # noqa: F811
    hosts[0].plan = lambda method, path, number: "flip" if method == "GET" and "/packs/" in path and number else None
    code, out, _ = run(origin, capsys, "verify", *places(hosts), "--state", tmp_path / "state")
    assert code == 3
    assert "DAMAGED: rotten packs/" in out
    assert "PULL" not in out
    assert f"next: see to the host of {places(hosts)[0]}: it, or the way to it, may be at fault" in out
    assert "`sealift repair` makes the drives whole" not in out, "nothing is written to a drive behind an address"
    there = "where `sealift verify` on that host finds it, too, `sealift repair` there makes the drive whole"
    assert f"next: unpack and training rebuild what is damaged as they read; {there}" in out


def test_unpack_names_at_its_end_which_hosts_had_faults(origin, hosts, capsys, tmp_path):  # noqa: F811
    hosts[0].plan = lambda method, path, _number: "403" if method == "GET" and "/packs/" in path else None
    hosts[2].plan = lambda *_: "page"
    words = ["unpack", *places(hosts), origin.mounts[2], "--identity", origin.root / "identity", "--to"]
    code, _, err = run(origin, capsys, *words, tmp_path / "one")
    assert code == 0, err
    end = err[err.rindex("1.0 MB in ") :]
    assert (
        "2 locations gave not all that was asked for, as it was signed and in time, and the rest made up for it:" in end
    )
    assert f"{places(hosts)[0]}: failed " in end
    assert "the host refuses" in end
    assert f"{places(hosts)[2]}: gave nothing: " in end
    code, out, _ = run(origin, capsys, *words, tmp_path / "two", "--json")
    found = {each["location"]: each for each in json.loads(out)["locations"]}
    assert found[places(hosts)[0]]["state"] == "failing"
    assert found[places(hosts)[0]]["faults"] >= 1
    assert "refuses" in found[places(hosts)[0]]["why"]
    assert found[places(hosts)[2]]["state"] == "silent"


def test_unpack_names_at_its_end_a_host_that_has_no_packs(origin, hosts, capsys, tmp_path):  # noqa: F811
    hosts[0].plan = lambda _method, path, _number: "404" if "/packs/" in path else None
    words = ["unpack", *places(hosts), "--identity", origin.root / "identity", "--to"]
    code, _, err = run(origin, capsys, *words, tmp_path / "one")
    assert code == 0, err
    assert "1 location gave not all that was asked for" in err
    assert f"{places(hosts)[0]}: failed 1 time: it has no packs/" in err


def test_unpack_names_at_its_end_a_mounted_copy_that_is_rotten(origin, hosts, capsys, tmp_path):  # noqa: F811
    """Another copy of the same drive is whole, so that nothing had to be rebuilt."""
    copy = tmp_path / "d00"
    shutil.copytree(origin.mounts[0], copy)
    pack = next(path for path in sorted(copy.glob("sealift/packs/*/*")))
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    words = ["unpack", copy, *places(hosts), "--identity", origin.root / "identity", "--to", tmp_path / "out"]
    code, _, end = run(origin, capsys, *words)
    assert code == 0, end
    assert "rebuilt" not in end
    assert f"{copy}: failed 1 time: what it gives of packs/" in end


def test_unpack_names_at_its_end_which_host_gave_wrong_bytes(origin, hosts, capsys, tmp_path):  # noqa: F811
    hosts[0].plan = lambda method, path, _number: "flip" if method == "GET" and "/packs/" in path else None
    words = ["unpack", *places(hosts), "--identity", origin.root / "identity", "--to", tmp_path / "out"]
    code, _, end = run(origin, capsys, *words)
    assert code == 0, end
    assert (
        "1 location gave not all that was asked for, as it was signed and in time, and the rest made up for it:" in end
    )
    assert f"{places(hosts)[0]}: failed 1 time: what it gives of packs/" in end
    assert "is not what was signed; `sealift verify` there tells" in end
