"""Verify of drives in hosts that cut, delay and drip: in time, and never in silence."""

import random
import time
from contextlib import ExitStack

import pytest
import shipments
from faulty_proxy import proxy
from storage_host import nginx

from sealift.cli import common
from sealift.drives import http_client, ranges, waiting
from sealift.drives.http import HttpDrive
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages import verify_far
from sealift.stages.verify import verify

N = 3


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """Ten stripes of small packs."""
    base, rng = tmp_path_factory.mktemp("verifyslow"), random.Random(13)
    for number in range(20):
        shipments.write(base / f"source/{number:02d}.bin", rng.randbytes(1_000_000))
    made = shipments.Origin(base / "origin", base / "source", 2, 1, options={"pack_size": 1 << 20})
    made.pack()
    made.sealed = made.seal()
    return made


@pytest.fixture
def hosts(origin, tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "SOON", 0.2)
    with nginx(tmp_path / "nginx", origin.root) as host, ExitStack() as stack:
        yield [stack.enter_context(proxy(host.url)) for _ in range(N)]


def places(hosts):
    return [f"{host.endpoint}/d{number:02d}/" for number, host in enumerate(hosts)]


def check(origin, mounts):
    begun = time.monotonic()
    allowed = AllowedSigners.parse(origin.allowed)
    return verify(mounts, allowed=allowed, seal=origin.sealed, remember=False), time.monotonic() - begun


def packs(origin):
    return len(list((origin.root / "d00").rglob("packs/*/*")))


@pytest.mark.long
def test_a_host_that_cuts_every_pack_is_given_up_soon_and_waited_for_aloud(origin, hosts, monkeypatch, caplog):
    """Patience is had for the first files, and then a look for each; not once more for each of them."""
    monkeypatch.setattr(waiting, "AFTER", 0.3)
    monkeypatch.setattr(waiting, "_POLL", 0.1)
    hosts[0].plan = lambda method, path, _number: "cut" if method == "GET" and "/packs/" in path else None
    report, took = check(origin, [HttpDrive(places(hosts)[0], patience=3.0), *origin.mounts[1:]])
    assert report.state == "unseen"
    assert {fault.kind for fault in report.faults} == {"unreached"}
    assert took < 9, "patience for what the survey looks at, and for the first packs at once; not for each"
    told = [record.getMessage() for record in caplog.records]
    assert any(each.startswith("still waiting after 0 s: ") and places(hosts)[0] in each for each in told), told


@pytest.mark.long
def test_with_answers_that_take_long_their_times_do_not_add_up(origin, hosts):
    count = packs(origin)
    assert count >= 8
    for each in hosts:
        each.plan = lambda *_: time.sleep(0.15)
    report, took = check(origin, places(hosts))
    assert report.state == "intact"
    assert took < 0.15 * (count + 20), "a round trip a pack and less; there were three"
    asked = [path for method, path in hosts[0].seen if method == "HEAD" and "/packs/" in path]
    assert not asked, "the first range says how long it is"


def test_what_is_read_ahead_is_read_once(origin, hosts):
    report, _ = check(origin, places(hosts))
    assert report.state == "intact"
    by_path = [path for method, path in hosts[0].seen if method == "GET" and "/packs/" in path]
    twice = [path for path in set(by_path) if by_path.count(path) > 1]
    assert len(twice) <= 2, "but for those of which the survey has seen the first block"


@pytest.mark.long
def test_a_host_that_drips_is_read_to_the_end(origin, hosts, monkeypatch):
    monkeypatch.setattr(http_client, "_SILENT", 0.5)
    monkeypatch.setattr(http_client, "PATIENCE", 0.5)
    hosts[0].plan = lambda *_: "rate 400000"
    report, _ = check(origin, [places(hosts)[0], *origin.mounts[1:]])
    assert report.state == "intact"


def test_a_pack_that_is_not_there_is_missing(origin, hosts):
    hosts[0].plan = lambda _method, path, _number: "404" if "/0000003" in path else None
    report, _ = check(origin, places(hosts))
    (fault,) = report.faults
    assert (fault.kind, fault.detail) == ("missing", "there is no such file")


def test_of_a_slow_host_nothing_is_asked_ahead(origin, hosts):
    drive = HttpDrive(places(hosts)[0])
    files = verify_far.FarFiles(drive, drive.size)
    assert files.step > 1 << 20
    drive.host.pace.took(1 << 20, 100)
    assert files.step == 1 << 20
    files.begin("B3SUMS", 10)
    assert not hosts[0].seen


def test_what_is_left_does_not_jump_where_one_stalls(capsys):
    now = 0.0
    meter = common.Meter(clock=lambda: now, terminal=False)
    done, total, left = 0, 100_000_000_000, []
    for second in range(200):
        now = float(second)
        stalls = second % 20 >= 8  # twelve seconds of twenty give next to nothing
        done += 1_000 if stalls else 100_000_000
        meter.update("verify", done, total)
        if second > 60:
            left.append(meter._left(now, done, total))
    seen = [each for each in left if each is not None]
    assert max(seen) < 1.6 * min(seen)
    for second in range(200, 230):
        now = float(second)
        meter.update("verify", done, total)
    assert meter._left(now, done, total) is None, "nothing moves, and nobody can say"
    assert " left" not in capsys.readouterr().err.splitlines()[-1]
