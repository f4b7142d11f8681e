"""All storage hosts in one picture, of real hosts with real drives; and of hosts that lie."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import serving
import shipments
from lying_host import lying
from serving import TOKEN, Said

from sealift.errors import BadInput
from sealift.formats import hosts as hosts_file
from sealift.formats import manifest as mf
from sealift.reading.survey import survey
from sealift.stages.fleet import client as clients
from sealift.stages.fleet.locations import _candidates, _still

WAY = ("--json",)


def fleet(*words, **how):
    """Exit code, the object, and stderr of `sealift fleet --json`."""
    done = subprocess.run(
        [sys.executable, "-m", "sealift", "fleet", *map(str, words), *how.pop("also", WAY)],
        capture_output=True, text=True, check=False, timeout=120, **how,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout, done.stderr


def known(packed, folder):
    """Options of somebody who knows the token, the seal and the signers."""
    return ("--token-file", serving.token_file(folder), "--seal", packed.seal_file, "--allowed-signers", packed.allowed)


@pytest.fixture
def two(drives, tmp_path):
    """Two hosts: drives 0 and 1 on one, 2 on the other."""
    file = serving.token_file(tmp_path)
    with (
        serving.serving(*drives[:2], token=TOKEN, file=file) as first,
        serving.serving(drives[2], token=TOKEN, file=file) as second,
    ):
        yield first, second


@pytest.fixture(scope="module")
def both(packed, tmp_path_factory):
    """The same two hosts, whose drives nobody changes."""
    file = serving.token_file(tmp_path_factory.mktemp("both"))
    mounts = packed.origin.mounts
    with (
        serving.serving(*mounts[:2], token=TOKEN, file=file) as first,
        serving.serving(mounts[2], token=TOKEN, file=file) as second,
    ):
        yield first, second


def test_all_hosts_are_merged_into_one_verdict(two, packed, tmp_path, drives):
    code, said, _ = fleet(two[0].url, two[1].url, *known(packed, tmp_path))
    assert (code, said["state"], said["verified"]) == (0, "complete", False)
    assert [(host["url"], host["drives"], host["trouble"]) for host in said["hosts"]] == [
        (two[0].url, 2, ""), (two[1].url, 1, ""),
    ]  # fmt: skip
    assert [(each["host"], each["mount"], each["group"], each["slot"]) for each in said["drives"]] == [
        (two[0].url, str(drives[0]), 0, 0), (two[0].url, str(drives[1]), 0, 1), (two[1].url, str(drives[2]), 0, 2),
    ]  # fmt: skip
    assert all(each["inspected"] and each["standing"] == "member" and not each["damaged"] for each in said["drives"])
    (group,) = said["groups"]
    assert group["recoverable_bytes"] == group["readable_bytes"] == group["total_bytes"]
    assert said["signature"]["ok"]


def test_a_drive_that_is_not_served_for_a_key_that_lies_on_it_is_told(packed, tmp_path, drives):
    shutil.copy(packed.origin.root / "identity", drives[1] / "key.txt")
    with serving.serving(*drives[:2], token=TOKEN, file=serving.token_file(tmp_path)) as host:
        _, said, _ = fleet(host.url, *known(packed, tmp_path))
    assert f"{drives[1]}: key.txt holds an identity or a private key" in said["hosts"][0]["trouble"]
    assert len(said["drives"]) == 1


@pytest.mark.long
def test_the_same_as_inspect_says_of_all_drives_in_one_host(two, packed, tmp_path, drives):
    file = drives[2] / "sealift" / "packs" / "0000"
    next(file.iterdir()).unlink()
    shutil.rmtree(drives[0] / "sealift")
    _, said, _ = fleet(two[0].url, two[1].url, *known(packed, tmp_path))
    words = ["inspect", *map(str, drives), "--seal", str(packed.seal_file), "--allowed-signers", str(packed.allowed)]
    done = subprocess.run([sys.executable, "-m", "sealift", *words, "--json"], capture_output=True, check=False)
    alone = json.loads(done.stdout)
    assert said["state"] == alone["state"]
    for key in ("total_bytes", "readable_bytes", "recoverable_bytes", "unrecoverable", "missing"):
        assert said["groups"][0][key] == alone["groups"][0][key], key


@pytest.mark.long
def test_a_host_that_is_gone_is_named_and_what_is_left_is_judged(two, packed, tmp_path):
    two[1].process.kill()
    two[1].process.wait()
    code, said, _ = fleet(two[0].url, two[1].url, *known(packed, tmp_path))
    assert (code, said["state"]) == (3, "recoverable")
    assert said["hosts"][1]["trouble"] == "connection refused"
    assert [row["drive"] for row in said["groups"][0]["missing"]] == ["g0s2"]
    code, said, _ = fleet(two[1].url, *known(packed, tmp_path))
    assert code == 6


@pytest.mark.long
def test_too_few_drives_are_unseen_and_at_last_lost(both, packed, tmp_path):
    code, said, _ = fleet(both[1].url, *known(packed, tmp_path))
    assert (code, said["state"]) == (6, "unseen")
    code, said, _ = fleet(both[1].url, *known(packed, tmp_path), "--final")
    assert (code, said["state"]) == (4, "lost")


def test_without_a_seal_nobody_says_that_this_is_all(both, tmp_path):
    code, said, _ = fleet(both[0].url, both[1].url, "--token-file", serving.token_file(tmp_path))
    assert (code, said["state"], said["seal"], said["signature"]) == (6, "unseen", None, None)
    assert any("there is no seal" in notice for notice in said["notices"])


def verify(packed, *mounts):
    words = ["verify", *map(str, mounts), "--seal", str(packed.seal_file), "--allowed-signers", str(packed.allowed)]
    return subprocess.run([sys.executable, "-m", "sealift", *words, "--json"], capture_output=True, check=False).stdout


@pytest.mark.long
def test_reports_of_verify_are_merged_and_their_damage_counts(drives, packed, tmp_path):
    file = serving.token_file(tmp_path)
    rotten = next((drives[0] / "sealift/packs/0000").iterdir())
    data = bytearray(rotten.read_bytes())
    data[100] ^= 1
    rotten.write_bytes(data)
    reports = []
    for name, mounts in (("one", drives[:2]), ("two", drives[2:])):
        reports.append(tmp_path / name)
        reports[-1].write_bytes(verify(packed, *mounts))
    with (
        serving.serving(*drives[:2], token=TOKEN, file=file, reports=(str(reports[0]),)) as first,
        serving.serving(drives[2], token=TOKEN, file=file, reports=(str(reports[1]),)) as second,
    ):
        words = (first.url, second.url, *known(packed, tmp_path))
        code, said, _ = fleet(*words)
        assert (code, said["state"], said["verified"]) == (3, "recoverable", True)
        assert [each["damaged"] for each in said["drives"]] == [True, False, False]
        assert all(each["verified"] for each in said["drives"])
        assert [(fault["kind"], fault["block"]) for fault in said["faults"]] == [("rotten", 0)]
        assert said["groups"][0]["readable_bytes"] < said["groups"][0]["recoverable_bytes"]
        shutil.rmtree(drives[1] / "sealift")
        while len(first.names()) == 2:
            time.sleep(0.1)
        code, said, _ = fleet(*words)
        assert [each["name"][-4:] for each in said["drives"]] == ["g0s0", "g0s2"], (
            "what was read once and is gone is gone"
        )
        assert (code, said["state"]) == (6, "unseen"), "two of three, and one of them rotten in a block"
        assert fleet(*words, "--final")[0] == 4


@pytest.mark.parametrize("how", ["words", "--json"])
def test_nobody_need_read_the_report_for_the_file_to_be_written(both, packed, tmp_path, how):
    out = tmp_path / "fleet.toml"
    words = [
        "fleet",
        both[0].url,
        both[1].url,
        *known(packed, tmp_path),
        "--out",
        out,
        *([how] if how[0] == "-" else []),
    ]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "sealift", *map(str, words)],
            stdout=gone,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, len(tomllib.loads(out.read_text())["drive"])) == (0, 3)
    assert done.stderr.endswith(f"wrote {out}\n")


def test_the_locations_file_has_what_reading_wants(both, packed, tmp_path):
    out = tmp_path / "fleet.toml"
    asked = (both[0].url, both[1].url, *known(packed, tmp_path), "--out", out)
    out.write_text("mine\n")
    code, _, said = fleet(*asked)
    assert (code, out.read_text()) == (1, "mine\n"), "an identity may lie there"
    assert "is no locations file" in said
    damaged = 'type = "sealift-locations"\nmine\n'
    out.write_text(damaged)
    code, _, said = fleet(*asked)
    assert code == 0
    assert (tmp_path / "fleet.1.toml").read_text() == damaged
    assert "fleet.1.toml" in said
    written = tomllib.loads(out.read_text())
    assert (written["type"], written["version"]) == ("sealift-locations", 1)
    assert [row.pop("name").rpartition("-")[2] for row in written["drive"]] == ["g0s0", "g0s1", "g0s2"]
    shipment = packed.origin.manifests()[0][0].shipment
    hosts = [both[0].url, both[0].url, both[1].url]
    assert written["drive"] == [
        {"at": f"{host}{shipment}-g0s{slot}/", "token_file": "token"} for slot, host in enumerate(hosts)
    ]
    for row in written["drive"]:
        done = serving.curl("-H", f"Authorization: Bearer {TOKEN}", f"{row['at']}sealift/drive.json")
        assert json.loads(done.stdout)["shipment"] == shipment


@pytest.mark.long
def test_a_token_file_of_two_lines_goes_from_the_host_to_its_readers(drives, packed, tmp_path):
    file = serving.token_file(tmp_path, TOKEN, "f" * 40)  # as while a token is replaced
    with serving.serving(*drives, token=TOKEN, file=file) as host:
        words = (*known(packed, tmp_path)[2:], "--out", tmp_path / "fleet.toml")
        assert fleet(host.url, "--token-file", file, *words)[0] == 0
        (shipment,) = {drive["shipment"] for drive in host.index()["drives"]}
        found = survey([str(tmp_path / "fleet.toml")])
        assert (found.shipment, sorted(found.groups[0].copies)) == (shipment, [0, 1, 2])
        Path(file).write_text(f"{TOKEN}\nnot a token\n")
        code, _, said = fleet(host.url, "--token-file", file, *words)
        assert (code, "something else than tokens" in said) == (1, True)


def test_names_of_locations_are_short_and_each_given_once():
    given = []
    for _ in range(30):
        given.append(next(name for name in _candidates("x" * 80) if name not in given))
    assert len(set(given)) == 30
    assert max(map(len, given)) == 64


@pytest.mark.long
def test_hosts_of_one_name_and_drives_that_are_shown_twice_are_told(both, packed, tmp_path):
    """Two addresses of one host: the same drives, by the same name."""
    (tmp_path / "out").mkdir()
    with lying(both[0], same) as again:
        words = (*known(packed, tmp_path), "--out", tmp_path / "out/fleet.toml")
        code, said, _ = fleet(both[0].url, again.url, both[1].url, *words)
        assert (code, said["state"]) == (0, "complete"), "they are counted once"
        shipment = said["shipment"]
        alike, *twice = said["notices"]
        assert alike.startswith(
            f"{both[0].url}, {again.url}, {both[1].url} call themselves {said['hosts'][0]['name']!r}: "
        )
        assert [text.partition(" ")[0] for text in twice] == ["g0s0", "g0s1"]
        assert f"{both[0].url}{shipment}-g0s0, {again.url}{shipment}-g0s0" in twice[0]
        rows = tomllib.loads((tmp_path / "out/fleet.toml").read_text())["drive"]
        ports = [both[0].port] * 2 + [int(again.url.rstrip("/").rpartition(":")[2])] * 2 + [both[1].port]
        assert [row["name"].rpartition("-")[0] for row in rows] == [f"127.0.0.1-{port}" for port in ports]
        _, printed, _ = fleet(both[0].url, again.url, both[1].url, *known(packed, tmp_path), also=())
        assert f"note: {alike}" in printed


@pytest.mark.parametrize(
    ("media", "says"), [("AA", "one drive (serial A)"), ("AB", "as a copy of it"), ("A", "or a copy")]
)
def test_a_drive_that_is_shown_twice_is_one_or_a_copy(both, media, says):
    from sealift.stages import host_index
    from sealift.stages.fleet import look

    index = host_index.decode(both[1].ask("/").body)
    heard = []
    for number in range(2):
        medium = media[number] if number < len(media) else None
        drive = msgspec.structs.replace(index.drives[0], medium=medium)
        client = clients.HostClient(hosts_file.HostRow(url=f"http://host-{number}/"))
        heard.append(look._Heard(client, msgspec.structs.replace(index, drives=[drive], host=f"h{number}")))
        heard[-1].views[drive.name] = SimpleNamespace(group=0, slot=2, name="g0s2")
    (said,) = look._alike(heard)
    assert says in said
    assert "http://host-0:80/" in said
    assert not look._alike(heard[:1])


@pytest.mark.long
def test_a_hosts_file_over_tls(drives, packed, tmp_path):
    tls = serving.certificates(tmp_path / "tls")
    file = serving.token_file(tmp_path)
    (tmp_path / "other").mkdir()
    with serving.serving(*drives, tls=tls, token=TOKEN, file=file) as host:
        rows = f'[[host]]\nurl = "{host.url}"\ntoken_file = "token"\nca_file = "tls/ca.pem"\n'
        (tmp_path / "hosts.toml").write_text(f'type = "sealift-hosts"\nversion = 1\n{rows}')
        words = ("--seal", packed.seal_file, "--allowed-signers", packed.allowed, "--out", "../fleet.toml")
        code, _, said = fleet("--hosts", "../hosts.toml", *words, cwd=tmp_path / "other")
        assert code == 0, said
        row = tomllib.loads((tmp_path / "fleet.toml").read_text())["drive"][0]
        assert (row["token_file"], row["ca_file"]) == ("token", "tls/ca.pem")
        stranger = serving.certificates(tmp_path / "stranger")[0]
        code, _, said = fleet(host.url, "--token-file", file, "--ca-file", stranger)
        assert (code, "its certificate does not hold" in said) == (6, True)
        plain = host.url.replace("https:", "http:")
        code, _, said = fleet(plain, "--token-file", file)
        assert (code, "then its address begins with https://" in said) == (6, True)
        code, _, said = fleet(plain, host.url, "--token-file", file, "--ca-file", tls[0])
        assert (code, "could be read on the way" in " ".join(said.split())) == (1, True)


GOOD = 'type = "sealift-hosts"\nversion = 1\n[[host]]\nurl = "https://a:1/"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "missing"),
        (GOOD.replace("version = 1", "version = 2"), "version: must be 1"),
        (GOOD.partition("[[host]]")[0], "host"),
        (GOOD + 'token = "secret-of-mine"\n', "no such field"),
        (GOOD.replace("https://a:1/", "ftp://a/"), "not the URL"),
        (GOOD.replace("https://a:1/", "https://user:pa55@a/"), "not the URL"),
        (GOOD.replace("https://a:1/", "https://a/../b/"), "not the URL"),
        (GOOD.replace("https://a:1/", "https://a:99999/"), "not the URL"),
        (GOOD.replace("https://a:1/", "https://a/?token=x"), "not the URL"),
        (GOOD + '[[host]]\nurl = "https://A:1"\n', "host[1] has it, too"),
        (GOOD.replace("https:", "http:") + 'ca_file = "x"\n', "not asked over https"),
        ("[" * 4000, "not TOML"),
    ],
)
def test_a_hosts_file_that_is_none(text, says):
    assert hosts_file.parse(GOOD.encode(), "x").host[0].url == "https://a:1/"
    with pytest.raises(BadInput, match="hosts file") as caught:
        hosts_file.parse(text.encode(), "x")
    assert says in str(caught.value)
    assert "pa55" not in str(caught.value)
    assert "secret-of-mine" not in str(caught.value)


@pytest.mark.long
def test_bad_arguments_are_told(tmp_path, packed):
    token = serving.token_file(tmp_path)
    (tmp_path / "empty").touch()
    for words in ((), ("ftp://x",), ("http://u:p@x",), ("http://x", "--token-file", "/none"), ("--hosts", "/none"),
                  ("http://x", "--token-file", tmp_path / "empty"), ("https://x", "--ca-file", token),
                  ("http://127.0.0.1:1", "http://127.0.0.1:1"), ("http://x", "--out", "/no/such/file")):  # fmt: skip
        code, _, said = fleet(*words)
        assert code == 1, words
        assert "sealift: error:" in said, (words, said)
        assert "u:p" not in said


# Hosts that lie


def same(_path, answer, _handler):
    return answer


def test_a_host_that_tells_the_truth_through_another_is_believed(both, packed, tmp_path):
    with lying(both[1], same) as host:
        code, said, _ = fleet(both[0].url, host.url, *known(packed, tmp_path))
        assert (code, said["state"]) == (0, "complete")


def trickle(path, answer, handler):
    if path == "/":
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.5)
        return None
    return answer


def endless(path, answer, handler):
    if path == "/":
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            handler.wfile.write(b" " * (1 << 20))
    return answer


def many_headers(path, answer, handler):
    if path == "/":
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000)
        return None
    return answer


def junk(path, answer, handler):
    if path == "/":
        handler.wfile.write(os.urandom(1000))
        return None
    return answer


def index_of(change):
    def lie(path, answer, _handler):
        if path != "/":
            return answer
        body = json.dumps(change(json.loads(answer.body))).encode()
        return Said(200, answer.headers, body)

    return lie


def report_of(change):
    def lie(path, answer, _handler):
        if not path.startswith("/inspect/"):
            return answer
        return Said(200, answer.headers, json.dumps(change(json.loads(answer.body))).encode())

    return lie


def status(number, of="/", **headers):
    def lie(path, answer, _handler):
        return Said(number, {"content-length": "2", **headers}, b"no") if path.startswith(of) else answer

    return lie


def swapped(path, answer, _handler):
    """The drive's small files have a byte changed."""
    if path.endswith("/sealift/manifest.json") and answer.body:
        return Said(answer.status, answer.headers, answer.body.replace(b'"group": 0', b'"group": 1'))
    return answer


def all_of_them(report):
    """Every drive of the group is here, it says."""
    report["groups"][0]["present"] += [
        report["groups"][0]["present"][0]
        | {"drive": row["drive"], "slot": int(row["drive"][-1]), "number": row["number"], "serial": row["serial"]}
        for row in report["groups"][0]["missing"]
    ]
    report["groups"][0]["missing"] = []
    return report


def without_groups(report):
    return report | {"groups": []}


def other_manifest(report):
    report["groups"][0]["manifest"] = "00" * 32
    return report


def thousands(index):
    """As many drives as an index may have, all but the first not there."""
    first = index["drives"][0]
    more = [first | {"name": f"{first['shipment']}-g{number}s0"} for number in range(1, 10_000)]
    return index | {"drives": [first, *more]}


def nowhere(index):
    return index | {"drives": [index["drives"][0] | {"name": index["drives"][0]["name"][:-1] + "1"}]}


@pytest.mark.long
@pytest.mark.parametrize(
    ("lie", "says", "state"),
    [
        (junk, "does not speak HTTP", "recoverable"),
        (many_headers, "does not speak HTTP", "recoverable"),
        (endless, "more than 16,777,216 bytes", "recoverable"),
        (status(500), "answers 500", "recoverable"),
        (status(401), "does not take the token", "recoverable"),
        (status(200), "not the index", "recoverable"),
        (status(302, location="http://127.0.0.1:9/"), "redirects elsewhere, which is not followed", "recoverable"),
        (status(503, "/inspect/"), "does not say how its drives are", "recoverable"),
        (status(200, "/inspect/"), "does not say how its drives are", "recoverable"),
        (index_of(lambda index: index | {"drives": []}), "", "recoverable"),
        (index_of(nowhere), "", "recoverable"),
        pytest.param(
            index_of(thousands), "10,000 drives; the first 1,000 were looked at", "recoverable", marks=pytest.mark.long
        ),
        (swapped, "", "recoverable"),
        (report_of(all_of_them), "", "complete"),
        (report_of(without_groups), "nobody looked at its packs", "recoverable"),
        (report_of(other_manifest), "", "recoverable"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_host_that_lies_is_named_and_the_others_are_used(both, packed, tmp_path, lie, says, state):
    with lying(both[1], lie) as host:
        code, said, _ = fleet(both[0].url, host.url, *known(packed, tmp_path))
        assert said["hosts"][0]["trouble"] == ""
        assert says in said["hosts"][1]["trouble"]
        assert said["groups"][0]["group"] == 0
        assert {each["drive"] for each in said["drives"] if each["host"] == both[0].url} == {"g0s0", "g0s1"}
        assert (said["state"], code) == (state, {"complete": 0, "recoverable": 3}[state])


def test_what_a_host_says_of_drives_that_it_does_not_serve_is_not_believed(both, packed, tmp_path):
    with lying(both[1], report_of(all_of_them)) as host:
        code, said, _ = fleet(host.url, *known(packed, tmp_path))
        assert (code, said["state"]) == (6, "unseen")
        assert [row["drive"] for row in said["groups"][0]["missing"]] == ["g0s0", "g0s1"]


def test_a_token_goes_nowhere_but_to_its_host(both, packed, tmp_path):
    with lying(both[1], same) as elsewhere, lying(both[0], status(307, location=elsewhere.url)) as host:
        code, _, said = fleet(host.url, *known(packed, tmp_path))
        assert (code, "redirects elsewhere" in said) == (6, True)
        assert host.asked
        assert elsewhere.asked == []


def test_a_wrong_token_is_told(both, packed, tmp_path):
    (tmp_path / "wrong").write_text("f" * 40 + "\n")
    code, _, said = fleet(both[0].url, "--token-file", tmp_path / "wrong")
    assert (code, "does not take the token" in said, "f" * 40 in said) == (6, True, False)


def test_a_host_that_let_go_of_all_idle_connections_is_asked_on_a_new_one():
    """Servers do, while another host takes a minute."""
    together = threading.Barrier(2)

    def answer(number, connection):
        with connection:
            connection.recv(1 << 16)
            if number < 2:
                together.wait(10)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def serve(listening):
        with contextlib.suppress(OSError):
            for number in range(3):
                threading.Thread(target=answer, args=(number, listening.accept()[0])).start()

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(2) as pool:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        row = hosts_file.HostRow(url=f"http://127.0.0.1:{listening.getsockname()[1]}")
        with contextlib.closing(clients.HostClient(row)) as client:
            assert list(pool.map(lambda _: client.get("", 10), range(2))) == [b"ok", b"ok"]
            time.sleep(0.2)
            assert client.get("", 10) == b"ok"


def test_a_host_that_trickles_is_left(both, packed, tmp_path, monkeypatch):
    monkeypatch.setattr(clients, "SECONDS", 2.0)
    with lying(both[1], trickle) as host:
        client = clients.HostClient(hosts_file.HostRow(url=host.url, token_file=serving.token_file(tmp_path)))
        begun = time.monotonic()
        with pytest.raises(clients.HostFault, match="in time"):
            client.get("", 10_000, seconds=2.0)
        assert time.monotonic() - begun < 5
        with pytest.raises(clients.HostFault, match="in time"):
            client.get("healthz", 10_000)


@pytest.mark.long
def test_a_host_that_is_always_late_is_left(both, packed, tmp_path, monkeypatch):
    def late(_path, answer, _handler):
        time.sleep(1.5)
        return answer

    monkeypatch.setattr(clients, "PATIENCE", 0.8)
    with lying(both[1], late) as host:
        client = clients.HostClient(hosts_file.HostRow(url=host.url, token_file=serving.token_file(tmp_path)))
        assert client.get("healthz", 10) == client.get("healthz", 10) == b"ok\n"
        with pytest.raises(clients.HostFault, match="too slow"):
            client.get("healthz", 10)
        patient = clients.HostClient(client.row)
        for _ in range(3):
            patient.get("healthz", 10, seconds=60)
        client.close()
        patient.close()


def test_a_host_is_asked_by_many_threads_and_its_connections_are_used_again(both):
    row = hosts_file.HostRow(url=both[0].url)
    client = clients.HostClient(row)
    client._token = TOKEN
    name = both[0].names()[0]
    for method in ("HEAD", "GET", "HEAD"):
        assert client.ask(method, f"{name}/sealift/drive.json", 10_000).status == 200
        kept = client._idle[0]
    assert client.ask("GET", f"{name}/sealift/drive.json", 10_000).body
    assert client._idle == [kept], "also after an answer without a body"
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda _: client.ask("HEAD", f"{name}/sealift/drive.json", 0).status, range(100))
        assert set(found) == {200}
    assert not client.dead
    client.close()


@pytest.mark.long
def test_drives_of_another_shipment_are_shown_and_not_counted(drives, packed, tmp_path):
    other = shipments.Origin(tmp_path / "other", shipments.corpus(tmp_path / "source", seed=3), 2, 1)
    other.pack()
    file = serving.token_file(tmp_path)
    with serving.serving(*drives, other.mounts[0], token=TOKEN, file=file) as host:
        code, said, _ = fleet(host.url, *known(packed, tmp_path), "--out", tmp_path / "out.toml")
        assert (code, said["state"]) == (0, "complete")
        assert [each["standing"] for each in said["drives"]] == ["member"] * 3 + ["elsewhere"]
        assert len(tomllib.loads((tmp_path / "out.toml").read_text())["drive"]) == 3
        _, printed, _ = fleet(host.url, *known(packed, tmp_path), also=())
        assert f"of shipment {other.manifests()[0][0].shipment}" in printed


@pytest.mark.long
def test_an_old_drive_that_calls_itself_a_new_one(drives, packed, tmp_path):
    other = shipments.Origin(tmp_path / "other", shipments.corpus(tmp_path / "source", seed=3), 2, 1)
    other.pack()
    liar = Path(other.mounts[1], "sealift", mf.CARD)
    shutil.copy(drives[1] / "sealift" / mf.CARD, liar)
    file = serving.token_file(tmp_path)
    with serving.serving(drives[0], other.mounts[1], drives[2], token=TOKEN, file=file) as host:
        code, said, _ = fleet(host.url, *known(packed, tmp_path))
        assert (code, said["state"]) == (3, "recoverable")
        assert [each["standing"] for each in said["drives"]] == ["member", "foreign", "member"]


def test_words_for_people(both, packed, tmp_path):
    code, printed, said = fleet(both[0].url, "http://127.0.0.1:1", *known(packed, tmp_path), also=())
    assert code == 3
    assert printed.startswith("recoverable:")
    assert "http://127.0.0.1:1/: 0 drives: connection refused" in printed
    assert "g0s0 drive 1 of 3, serial SERd00, carrier-0" in printed
    assert "g0s2 drive 3 of 3, serial SERd02, carrier-2: NOT HERE" in printed
    assert "asking 2 hosts" in said


def test_the_report_is_the_record(both, packed, tmp_path):
    from sealift.stages.fleet.look import FleetReport

    _, said, _ = fleet(both[0].url, both[1].url, *known(packed, tmp_path))
    msgspec.convert(said, FleetReport)


@pytest.mark.long
def test_a_host_that_is_down_keeps_its_rows_and_names_stay(packed, drives, tmp_path):
    """Written while all answer, and again while one is down: the same file. Hosts that are not asked go."""
    out = tmp_path / "fleet.toml"
    file = serving.token_file(tmp_path)
    words = (*known(packed, tmp_path), "--out", out)
    with serving.serving(*drives[:2], token=TOKEN, file=file) as first:
        with serving.serving(drives[2], token=TOKEN, file=file) as second:
            assert fleet(first.url, second.url, *words)[0] == 0
            whole = out.read_text()
            mine = whole.replace(tomllib.loads(whole)["drive"][0]["name"], "rack-1")  # a name that somebody gave
            out.write_text(mine.replace("version = 1", "version = 1\nrequests = 4"))
        code, _, said = fleet(first.url, second.url, *words)
        assert code == 3
        assert f"{second.url} does not answer: its 1 drive in {out} stay there as before" in said
        now = tomllib.loads(out.read_text())
        assert now.pop("requests") == 4
        assert now == tomllib.loads(mine)
        assert tomllib.loads((tmp_path / "fleet.1.toml").read_text())["requests"] == 4
        _, _, said = fleet(first.url, *words)
        assert "no longer in" in said
        assert f"{second.url}{now['drive'][2]['at'].split('/')[3]}/" in said
        assert tomllib.loads(out.read_text())["drive"] == now["drive"][:2], "a host that is not asked goes"


def test_a_name_that_says_another_drive_is_not_kept():
    drive = SimpleNamespace(drive="g0s1")
    kept = [
        name for name in ("", "vm-g0s0", "vm-g0s1", "vm-g0s1-2", "rack-1", "g0s0", "vm-g0s12") if _still(name, drive)
    ]
    assert kept == ["vm-g0s1", "vm-g0s1-2", "rack-1"]
