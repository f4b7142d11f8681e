"""Hosts and links that fail while drives in them are looked at: no drive is called damaged, and nothing is lost."""

import http.server
import json
import os
import random
import sys
import threading
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import shipments
from faulty_proxy import proxy
from storage_host import free_port, nginx

from sealift.cli import main
from sealift.drives import http_client, ranges
from sealift.drives.objects import ObjectDrive
from sealift.errors import Lost, NotAllHere, Unreached
from sealift.formats import seal as seals
from sealift.formats.allowed_signers import AllowedSigners
from sealift.reading import trust
from sealift.stages import receive
from sealift.stages.inspect import inspect
from sealift.stages.verify import verify
from sealift.stages.verify_report import exit_code, read_part, to_json

N = 3


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    base, rng = tmp_path_factory.mktemp("unreached"), random.Random(9)
    for number in range(6):
        shipments.write(base / f"source/{number:02d}.bin", rng.randbytes(900_000))
    made = shipments.Origin(base / "origin", base / "source", 2, 1, options={"pack_size": 2 << 20})
    made.pack()
    made.sealed = made.seal()
    (made.root / "s.seal").write_bytes(seals.encode_bundle(made.sealed))
    return made


@pytest.fixture(scope="module")
def seal(origin):
    return origin.sealed


@pytest.fixture(scope="module")
def host(origin, tmp_path_factory):
    with nginx(tmp_path_factory.mktemp("host") / "nginx", origin.root) as made:
        yield made


@pytest.fixture
def hosts(host, monkeypatch):
    """A proxy a drive, as if each stood in a host of its own; nobody is asked for long."""
    monkeypatch.setattr(http_client, "PATIENCE", 0.05)
    monkeypatch.setattr(http_client, "GONE", 0.05)
    monkeypatch.setattr(ranges, "SOON", 0.2)
    with ExitStack() as stack:
        yield [stack.enter_context(proxy(host.url)) for _ in range(N)]


def places(hosts):
    return [f"{host.endpoint}/d{number:02d}/" for number, host in enumerate(hosts)]


def check(seal, origin, hosts, tmp_path, **more):
    given = {"allowed": AllowedSigners.parse(origin.allowed), "seal": seal, "state": str(tmp_path / "state")}
    return verify(places(hosts), **given | more)


def at_packs(fault, first=0):
    """A plan that fails what is read of packs, once the survey has seen what each begins with."""
    return lambda method, path, number: fault if method == "GET" and "/packs/" in path and number >= first else None


def all_of(fault):
    return lambda *_: fault


def kinds(report):
    return {fault.kind for fault in report.faults}


@pytest.mark.long
@pytest.mark.parametrize("fault", ["cut", "401"])
def test_hosts_that_fail_in_the_middle_lose_nothing(seal, origin, hosts, tmp_path, fault):
    for each in hosts:
        each.plan = at_packs(fault, 1)
    report = check(seal, origin, hosts, tmp_path)
    assert (report.state, exit_code(report), kinds(report)) == ("unseen", 6, {"unreached"})
    assert not report.groups[0].missing
    for drive in report.groups[0].present:
        assert (drive.verified, drive.damage, drive.read_at) == (False, [], None)
        assert drive.unreached
    for each in hosts:
        each.plan = all_of(None)
    again = check(seal, origin, hosts, tmp_path)
    assert (again.state, again.faults) == ("intact", [])
    assert again.bytes_resumed == 0, "nginx tells a copy with times kept by the same ETag: what it gave is read again"
    assert any("again in this run" in notice for notice in again.notices)
    assert check(seal, origin, hosts, tmp_path).bytes_resumed == 0, "a pass that ended is forgotten"


def test_with_final_it_counts_as_a_drive_that_never_comes(seal, origin, hosts, tmp_path):
    hosts[0].plan = at_packs("cut", 1)
    assert check(seal, origin, hosts, tmp_path, final=True).state == "recoverable"
    hosts[1].plan = at_packs("cut", 1)
    assert check(seal, origin, hosts, tmp_path, final=True, remember=False).state == "lost"


def test_what_does_not_hold_is_named_beside_it(seal, origin, hosts, tmp_path):
    cut, flip = at_packs("cut", 1), at_packs("flip")
    hosts[0].plan = lambda method, path, number: (cut if "/0000000" in path else flip)(method, path, number)
    report = check(seal, origin, hosts, tmp_path)
    assert report.state == "unseen"
    assert kinds(report) == {"unreached", "rotten"}
    assert report.groups[0].present[0].damage


def test_nothing_is_asked_of_a_host_that_is_gone(seal, origin, hosts, tmp_path):
    gone = []

    def plan(method, path, number):
        if path.endswith("/B3SUMS"):
            gone.append(path)
        return "elsewhere http://127.0.0.1:9/" if gone else None

    hosts[0].plan = plan
    report = check(seal, origin, hosts, tmp_path)
    assert report.state == "unseen"
    assert kinds(report) == {"unreached"}
    asked = hosts[0].seen[next(place for place, (_, path) in enumerate(hosts[0].seen) if path in gone) :]
    assert not [path for _, path in asked if "/packs/" in path]
    assert len(report.groups[0].present[0].unreached) == report.groups[0].stripes


def test_a_receipt_of_it_stays_partial(seal, origin, hosts, tmp_path):
    hosts[0].plan = at_packs("cut", 1)
    report = json.dumps(to_json(check(seal, origin, hosts, tmp_path))).encode()
    trusted = trust.open_seal(seal, AllowedSigners.parse(origin.allowed))
    weighed = receive.weigh(trusted, [("a", report)], datetime.now(UTC))
    assert [drive.state for drive in weighed.groups[0].drives].count("unseen") == 1
    assert weighed.groups[0].state == "unseen"
    assert list(weighed.why.values()) == ["its host did not give all of it"]
    assert read_part(report, "a").groups[0].present[0].unreached


def test_inspect_counts_it_as_not_here(seal, origin, hosts):
    def heads(method, path, _number):
        return "500" if method == "HEAD" and "/packs/" in path else None

    hosts[0].plan = heads
    assert inspect(places(hosts), seal=seal).state == "recoverable"
    hosts[1].plan = heads
    report = inspect(places(hosts), seal=seal)
    assert (report.state, exit_code(report), kinds(report)) == ("unseen", 6, {"unreached"})
    assert inspect(places(hosts), seal=seal, final=True).state == "lost"


def test_all_locations_that_fail_are_told_each(seal, origin, hosts):
    for each, fault in zip(hosts, ["401", "500", "elsewhere http://127.0.0.1:9/"], strict=True):
        each.plan = all_of(fault)
    with pytest.raises(NotAllHere) as caught:
        inspect(places(hosts), seal=seal)
    assert caught.value.exit_code == 6
    for place, why in zip(places(hosts), ["wants a token", "failed (500)", "redirects"], strict=True):
        assert any(place in part and why in part for part in str(caught.value).split("; ")), why


def shown(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main.main([str(each) for each in arguments])
    return ended.value.code, capsys.readouterr().out


def test_what_stands_on_the_screen(seal, origin, hosts, tmp_path, capsys):
    given = [*places(hosts), "--seal", origin.root / "s.seal", "--allowed-signers", origin.root / "allowed"]
    hosts[0].plan, hosts[1].plan = all_of("401"), at_packs("cut", 1)
    code, out = shown(capsys, "verify", *given, "--state", tmp_path / "state")
    assert code == 6
    line = next(line for line in out.splitlines() if line.startswith(f"  {places(hosts)[0]}"))
    assert line.endswith(
        "unreached sealift/ (looking at manifest.json: the host wants a token, or does not take this one)"
    )
    line = next(line for line in out.splitlines() if places(hosts)[1] in line)
    assert "NOT READ: unreached packs/" in line
    assert "the connection was cut" in line
    assert "and run the same command again: what was read counts" in out
    assert not any(word in out for word in ("PULL", "repair", "sent again", "LOST", "mount what"))
    hosts[1].plan = all_of("500")
    code, out = shown(capsys, "inspect", *given)
    assert code == 6
    assert "the host failed (500)" in out
    assert "wants a token" in out


def test_reading_says_that_hosts_are_not_reached(seal, origin, hosts):
    with origin.shipment(places(hosts), seal) as shipment:
        for each in hosts[:2]:
            each.plan = at_packs("cut")
        with pytest.raises(Unreached, match=r"cannot be had now: g0s\d, g0s\d did not give it \(.* was cut") as caught:
            shipment.read_many([each for each in shipment.members() if each.kind == "file"])
    assert "see to the hosts" in caught.value.hint


def test_reading_says_which_locations_gave_nothing(seal, origin, hosts):
    """They are absent, and whether what they have is lost nobody knows: more drives are not what is wanted."""
    for each in hosts[:2]:
        each.plan = all_of("401")
    with origin.shipment(places(hosts), seal) as shipment:
        assert {why for _, why in shipment.ignored} == {
            "looking at manifest.json: the host wants a token, or does not take this one"
        }
        with pytest.raises(Unreached, match="cannot be had now") as caught:
            shipment.read_many([each for each in shipment.members() if each.kind == "file"])
    assert "wants a token" in str(caught.value)
    assert all(place in str(caught.value) for place in places(hosts)[:2])
    with origin.shipment(places(hosts)[2:], seal) as shipment, pytest.raises(Lost, match="parity holds 1") as lost:
        shipment.read_many([each for each in shipment.members() if each.kind == "file"])
    assert not isinstance(lost.value, Unreached)
    assert "attach more drives" in lost.value.hint


def test_a_drive_whose_host_refuses_the_token_is_not_to_be_repaired(seal, origin, hosts, capsys):
    """Nobody knows which one it is, and it may be as good as any."""
    given = ["--allowed-signers", origin.root / "allowed", "--seal", origin.root / "s.seal"]
    hosts[0].plan = all_of("401")
    code, out = shown(capsys, "inspect", *places(hosts), *given)
    assert code == 3
    assert "see to the host" in out
    assert "sealift repair" not in out
    assert shown(capsys, "verify", *places(hosts), *given)[0] == 6, "it is to read every drive"
    code, out = shown(capsys, "inspect", *places(hosts)[1:], *given, "--final")
    assert "`sealift repair --onto MNT` makes it anew" in out, "what is nowhere is made again"


@pytest.mark.parametrize("named", [False, True])
def test_a_drive_of_another_shipment_elsewhere_is_left_away(seal, origin, host, tmp_path, capsys, named):
    import fleet as fleets

    other = fleets.make(tmp_path / "other", seed=82, lengths=[[30, 20]])
    given = ["--allowed-signers", origin.root / "allowed", "--seal", origin.root / "s.seal"]
    with nginx(tmp_path / "nginx", Path(other.mounts[0])) as strange:
        at = [f"{host.url}/d{number:02d}/" for number in range(N)]
        there = f"{strange.url}/"
        if named:
            there = str(tmp_path / "there.toml")
            Path(there).write_text(
                f'type = "sealift-locations"\nversion = 1\n[[drive]]\nat = "{strange.url}/"\nname = "bay-7"\n'
            )
        _, out = shown(capsys, "inspect", *at, there, *given)
    place = "bay-7" if named else there
    assert f"leave {place} away: it does not belong" in out
    assert f"{place}: LEAVE AWAY: foreign" in out
    assert "pull" not in out.lower()


def test_a_drive_whose_host_refuses_is_not_called_damaged(seal, origin, hosts, caplog):
    with origin.shipment(places(hosts), seal) as shipment:
        hosts[0].plan = at_packs("401")
        shipment.read_many([each for each in shipment.members() if each.kind == "file"])
    assert any("fails to read: what it should hold is rebuilt" in text for text in caplog.messages)
    assert not any("is damaged" in text for text in caplog.messages)


def test_an_index_that_no_host_gives_is_not_reached(seal, origin, hosts):
    for each in hosts:
        each.plan = lambda _method, path, _number: "cut" if "/index/" in path else None
    with (
        pytest.raises(Unreached, match=r"index/.* cannot be had now: .* did not give it"),
        origin.shipment(places(hosts), seal) as shipment,
    ):
        list(shipment.members())


def test_an_index_of_hosts_that_give_no_ranges_is_told_as_that(seal, origin):
    """They were reached: another server is wanted, and no look at the network."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    beneath = partial(Quiet, directory=str(origin.root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), beneath) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = [f"http://127.0.0.1:{server.server_address[1]}/{Path(mount).name}/" for mount in origin.mounts]
        with pytest.raises(Unreached, match="answer with the range") as caught, origin.shipment(at, seal) as shipment:
            list(shipment.members())
        server.shutdown()
    assert "not reached" not in str(caught.value)
    assert "a server that answers ranges" in caught.value.hint


@pytest.mark.long
def test_files_that_hosts_keep_back_are_not_lost_and_come_with_the_same_command(seal, origin, hosts, tmp_path, capsys):
    for each in hosts[:2]:
        each.plan = at_packs("401")
    given = ["--allowed-signers", origin.root / "allowed", "--seal", origin.root / "s.seal"]
    command = ["unpack", *places(hosts), "--to", tmp_path / "out", "--identity", origin.root / "identity", *given]
    code, out = shown(capsys, *command, "--json")
    failed = json.loads(out)["failed"]
    assert code == 6
    assert failed
    assert all(each["unreached"] and "did not give it" in each["reason"] for each in failed)
    for each in hosts[:2]:
        each.plan = all_of(None)
    assert shown(capsys, *command)[0] == 0
    assert shipments.picture(tmp_path / "out") == shipments.picture(origin.source)


def test_a_store_that_fails_in_the_middle_loses_nothing(seal, origin, bucket, tmp_path, monkeypatch):
    """Drives copied to a bucket, whose store then fails: as of a host, nothing is damaged."""
    import obstore
    from obstore.store import S3Store

    endpoint = os.environ["AWS_ENDPOINT_URL"]
    for number in range(N):
        store = S3Store(bucket, prefix=f"d{number}", endpoint=endpoint, client_options={"allow_http": True})
        for path in Path(origin.mounts[number]).rglob("*"):
            if path.is_file():
                obstore.put(store, str(path.relative_to(origin.mounts[number])), path)

    def drives():
        return [ObjectDrive(f"s3://{bucket}/d{number}", patience=0.3) for number in range(N)]

    given = {"allowed": AllowedSigners.parse(origin.allowed), "seal": seal}
    with proxy(endpoint) as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL", store.endpoint)
        store.plan = at_packs("500", 1)
        report = verify(drives(), **given, state=str(tmp_path / "state"))
        assert (report.state, exit_code(report), kinds(report)) == ("unseen", 6, {"unreached"})
        assert all((drive.verified, drive.damage) == (False, []) for drive in report.groups[0].present)
        store.plan = all_of(None)
        report = verify(drives(), **given, state=str(tmp_path / "state"))
        assert (report.state, report.faults) == ("intact", [])


def nowhere():
    """A location at which nobody listens."""
    return f"http://127.0.0.1:{free_port()}/x/"


def test_a_location_too_many_that_does_not_answer_is_a_note(seal, origin, hosts, tmp_path, capsys):
    given = {"allowed": AllowedSigners.parse(origin.allowed), "seal": seal, "state": str(tmp_path / "state")}
    mounts = [*origin.mounts, nowhere()]
    report = verify(mounts, **given)
    assert (report.state, exit_code(report)) == ("intact", 0)
    (note,) = [each for each in report.notices if mounts[-1] in each]
    assert note.startswith(f"{mounts[-1]} gave not all, and nothing is missing without it: ")
    assert "nobody answers" in note
    assert inspect(mounts, seal=seal).state == "complete"
    assert any(mounts[-1] in each for each in inspect(mounts, seal=seal).notices)
    keys = ["--seal", origin.root / "s.seal", "--allowed-signers", origin.root / "allowed"]
    for command in ("verify", "inspect"):
        code, out = shown(capsys, command, *mounts, *keys)
        assert code == 0
        assert f"note: {mounts[-1]} gave not all" in out
        assert "next:" not in out


def test_a_second_copy_that_does_not_answer_is_a_note(seal, origin, hosts, tmp_path):
    mounts = [*origin.mounts, places(hosts)[0]]
    given = {"allowed": AllowedSigners.parse(origin.allowed), "seal": seal, "state": str(tmp_path / "state")}
    for plan in (all_of("500"), at_packs("cut", 1)):
        hosts[0].plan = plan
        report = verify(mounts, **given)
        assert (report.state, exit_code(report)) == ("intact", 0)
        assert any(mounts[-1] in each for each in report.notices)
        assert not report.bytes_resumed, "a pass that ended is forgotten"
    hosts[0].plan = lambda method, path, _number: "500" if method == "HEAD" and "/packs/" in path else None
    assert inspect(mounts, seal=seal).state == "complete"


def test_without_a_seal_or_with_drives_missing_it_stays_unseen(seal, origin, hosts, tmp_path):
    given = {"allowed": AllowedSigners.parse(origin.allowed), "remember": False}
    assert verify([*origin.mounts, nowhere()], **given).state == "unseen"
    assert verify([*origin.mounts[1:], nowhere()], seal=seal, **given).state == "unseen"
    assert inspect([*origin.mounts[1:], nowhere()], seal=seal).state == "recoverable"
