"""A storage host: who may ask it, what it says of its drives, and drives that come, go, hang and are exchanged."""

import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import loops
import mounted
import pytest
import serving
import stuck_drive
from hypothesis import given
from hypothesis import strategies as st
from serving import TOKEN

from sealift.cli.main import run as sealift
from sealift.errors import BadInput, FormatError, Refused
from sealift.formats import locations
from sealift.stages import host_index
from sealift.stages.serve import places, run, tokens

OTHER = "f" * 40


def until(what, seconds=10.0):
    """Wait until it holds."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.1)


def card(host, name):
    return host.ask(f"/{name}/sealift/drive.json")


# Who may ask


def test_nothing_answers_without_a_token_but_health(host):
    name = host.names()[0]
    paths = ["/", "/metrics", f"/{name}/sealift/drive.json", "/report/0", "/inspect/0123456789abcdef", "/nothing"]
    wrong = [
        {"Authorization": ""},
        *({"Authorization": value} for value in (
            "Bearer", "Bearer ", f"Bearer {OTHER}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN, f"Basic {TOKEN}",
            "Bearer " + "a" * 9000, f"Bearer {TOKEN.upper()}", "Bearer \u00ff",
        )),
    ]  # fmt: skip
    for path in paths:
        for headers in wrong:
            answer = host.ask(path, **headers)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer"), (path, headers)
    assert host.ask("/healthz", Authorization="").body == b"ok\n"
    assert host.ask("/", Authorization=f"bearer {TOKEN}").status == 200


@pytest.mark.long
def test_a_token_is_replaced_while_it_runs(drives, tmp_path):
    file = serving.token_file(tmp_path, OTHER)
    with serving.serving(drives[0], token=OTHER, file=file) as host:
        assert host.ask("/").status == 200
        serving.token_file(tmp_path, OTHER, TOKEN)
        until(lambda: host.ask("/", Authorization=f"Bearer {TOKEN}").status == 200)
        assert host.ask("/").status == 200, "both serve"
        Path(file).write_text("no\n")
        time.sleep(1.5)
        assert host.ask("/").status == 200, "what cannot be read changes nothing"
        serving.token_file(tmp_path, TOKEN)
        until(lambda: host.ask("/").status == 401)
        time.sleep(1.2)
        host.ask("/")
        assert sum("read again" in line for line in host.lines) == 2, "when it has changed, and no more"
        assert not any(OTHER in line or TOKEN in line for line in host.lines)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"short\n",
        b"x" * 600,
        b"with a space in it\n",
        b"\xff" * 20,
        b"x" * 16 + b"\x00",
        (b"y" * 20 + b"\n") * 65,
    ],
)
def test_a_token_file_that_is_none(data):
    with pytest.raises(BadInput, match="1 to 64 tokens"):
        tokens.parse(data, "file")


@pytest.mark.parametrize("token", [TOKEN, "b" * 43 + "=", "name:0123456789abcdef", "a" * 512, "A-b.c_d~e+f/g=:h=i"])
def test_a_token_that_a_host_takes_is_one_that_a_reader_sends(token):
    """One alphabet; such as `openssl rand -base64 32` gives."""
    data = f"\n {token} \r\n{TOKEN}\n".encode()
    assert tokens.parse(data, "file")
    assert locations.token_of(data) == token


@given(
    st.text(st.characters(max_codepoint=0x100), min_size=10, max_size=20) | st.text("=:ab", min_size=14, max_size=520)
)
def test_what_a_reader_does_not_send_no_host_takes(text):
    data = text.encode("latin-1", "replace")
    try:
        taken = bool(tokens.parse(data, "file"))
    except BadInput:
        taken = False
    sent = locations.token_of(data)
    assert taken == (sent is not None and all(16 <= len(each) <= 512 for each in data.decode("latin-1").split()))


def write(text):
    return lambda path: path.write_text(text)


GONE = {
    "removed": lambda path: path.unlink(),
    "empty": write(""),
    "a comment": write(f"# tokens\n{TOKEN}\n"),
    "too short": write("short\n"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("how", GONE)
def test_a_file_without_tokens_lets_nobody_in(tmp_path, monkeypatch, how):
    """But for a moment: whoever replaces it does that in steps."""
    clock = Clock(monkeypatch)
    path, said = Path(serving.token_file(tmp_path, TOKEN)), []
    known = tokens.Tokens(str(path), said.append)
    bearer = f"Bearer {TOKEN}".encode()
    GONE[how](path)
    clock.now += tokens.LOOK
    assert known.accept(bearer)
    assert not known.closed
    clock.now += tokens.GRACE + tokens.LOOK
    assert not known.accept(bearer)
    assert known.closed
    assert any("no token counts any more" in text for text in said)
    assert not any(TOKEN in text for text in said)
    clock.now += 3600
    assert not known.accept(bearer)
    if path.is_dir():
        path.rmdir()
    path.write_text(OTHER + "\n")
    clock.now += tokens.LOOK
    assert (known.accept(f"Bearer {OTHER}".encode()), known.accept(bearer), known.closed) == (True, False, False)


def test_what_was_revoked_long_ago_is_not_let_in_once_more(tmp_path, monkeypatch):
    """Nobody has asked meanwhile."""
    clock = Clock(monkeypatch)
    path = Path(serving.token_file(tmp_path, TOKEN))
    known = tokens.Tokens(str(path))
    path.write_text("")
    monkeypatch.setattr(tokens.time, "time", lambda: path.stat().st_ctime + 60)
    clock.now += 60
    assert not known.accept(f"Bearer {TOKEN}".encode())


def test_a_file_that_is_replaced_in_steps_drops_nobody(tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    path = Path(serving.token_file(tmp_path, TOKEN))
    known = tokens.Tokens(str(path))
    for step in (path.unlink, lambda: path.write_text(""), lambda: path.write_text(f"{OTHER}\n{TOKEN}\n")):
        step()
        clock.now += tokens.LOOK
        assert known.accept(f"Bearer {TOKEN}".encode())
    clock.now += 60
    assert known.accept(f"Bearer {OTHER}".encode())


class Clock:
    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(tokens.time, "monotonic", lambda: self.now)


@pytest.mark.long
def test_health_says_that_nobody_is_let_in(drives, tmp_path):
    file = serving.token_file(tmp_path, TOKEN)
    with serving.serving(drives[0], token=TOKEN, file=file) as host:
        assert (host.ask("/healthz").status, host.ask("/").status) == (200, 200)
        Path(file).write_text("")
        deadline = time.monotonic() + 20
        while host.ask("/healthz").status == 200 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert (host.ask("/healthz").status, host.ask("/").status) == (503, 401)
        assert any("no token counts any more" in line for line in host.lines)


def test_a_token_file_that_is_an_identity_is_refused():
    with pytest.raises(Refused, match="identity"):
        tokens.parse(b"# created\nAGE-SECRET-KEY-1QQQQ\n", "file")


# What is refused at the start


def test_without_a_token_only_this_host_may_ask(drives):
    code, said = serving.refused(drives[0], "--listen", "0.0.0.0:8443")
    assert (code, "without a token" in said, "hint:" in said) == (1, True, True)
    code, said = serving.refused(drives[0], "--listen", "[::]:8443")
    assert code == 1


def test_a_port_that_another_has(drives):
    with serving.serving(drives[0]) as host:
        code, said = serving.refused(drives[1], "--listen", f"127.0.0.1:{host.port}")
        assert (code, "already in use" in said) == (1, True)


@pytest.mark.long
@pytest.mark.parametrize(
    "listen", ["", "8443", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:99999", "no.such.host.invalid:1", ":1", "x y:1"]
)
def test_addresses_that_are_none(drives, listen):
    code, said = serving.refused(drives[0], "--listen", listen)
    assert (code, "hint:" in said, "Traceback" in said) == (1, True, False)


def test_addresses_of_this_host():
    for listen, host in (("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("localhost", None)):
        port = serving.free_port()
        found = run.address(f"{listen}:{port}")
        assert found[1] == port
        assert host is None or found[0] == host
        ready = run.Ready(*found, "https", None, [], run.Options([], ""), run.Room(0, 1))
        assert ready.url in {f"https://127.0.0.1:{port}/", f"https://[::1]:{port}/"}
        assert ready.address_of("x-g0s0") == f"{ready.url}x-g0s0/"
    for everywhere in ("0.0.0.0", "::"):
        ready = run.Ready(everywhere, 8443, "https", None, [], run.Options([], ""), run.Room(0, 1))
        assert ready.address_of("x-g0s0") == f"https://{socket.gethostname()}:8443/x-g0s0/"


def test_the_address_of_each_drive_is_said_and_one_without_a_drive_sends_there(drives, packed, capsys):
    with serving.serving(*drives[:2]) as host:
        told = {
            str(drive): f"{drive}: read at {host.url}{name}/"
            for drive, name in zip(drives, sorted(host.names()), strict=False)
        }
        assert set(told.values()) <= set(host.lines), host.lines
        bare = f"{host.url}d01/"
        places = [line.rpartition(" ")[2] for line in told.values()]
        sealift(["inspect", *places, bare, "--allowed-signers", str(packed.allowed)])
    said = capsys.readouterr().out
    assert f"next: leave {bare} away, or give the address of a drive: `sealift serve` says each at its start" in said
    assert "--onto` makes one" not in said


@pytest.mark.long
def test_an_identity_on_a_storage_host_is_refused(drives, packed, tmp_path):
    here = ("--listen", "127.0.0.1:8443")
    identity = packed.origin.root / "identity"
    assert serving.refused(drives[0], *here, "--token-file", identity)[0] == 5
    assert serving.refused(drives[0], *here, "--tls-cert", identity, "--tls-key", identity)[0] == 5
    code, said = serving.refused(drives[0], *here, SOME_KEY=identity.read_text())
    assert (code, "SOME_KEY" in said, "AGE-SECRET" in said) == (5, True, False)
    shutil.copy(identity, drives[1] / "key.txt")
    code, said = serving.refused(drives[1], *here)
    assert (code, "key.txt" in said, "AGE-SECRET" in said) == (5, True, False)


def test_a_drive_with_an_identity_is_refused_and_the_others_are_served(drives, packed, tmp_path):
    key, name = drives[1] / "sealift/x.txt", f"{packed.origin.manifests()[0][0].shipment}-g0s1"
    empty = tmp_path / "empty"
    empty.mkdir()
    for each in (key, empty / "key"):
        shutil.copy(packed.origin.root / "identity", each)
    with serving.serving(*drives[:2], empty) as host:
        assert any(f"{drives[1]}: sealift/x.txt holds an identity" in line for line in host.lines)
        assert "serves 1 drive;" in host.lines[-1]
        assert len(host.names()) == 1
        assert "sealift/x.txt holds" in host.index()["folders"][0]["trouble"]
        page = host.ask("/metrics").body.decode()
        for metric in (f'identity_found{{drive="{name}"}} 1', f'identity_found{{drive="{empty}"}} 1'):
            assert f"sealift_{metric}\n" in page
        assert f'sealift_drive_up{{drive="{name}"}} 0\n' in page
        refused = card(host, name)
        assert (refused.status, b"private key" in refused.body) == (503, True)
        key.unlink()
        until(lambda: card(host, name).status == 200)
        until(lambda: any(f"{drives[1]}: {name} is served" in line for line in host.lines))
        assert f'sealift_drive_up{{drive="{name}"}} 1' in host.ask("/metrics").body.decode()


@pytest.mark.long
def test_an_identity_that_comes_later_keeps_its_drive_away(drives, packed):
    aside = drives[1].with_name("aside")
    with serving.serving(*drives[:2]) as host:
        served = host.names()
        drives[1].rename(aside)
        drives[1].mkdir()
        until(lambda: len(host.names()) == 1)
        shutil.copy(packed.origin.root / "signing", aside / "id_ed25519")
        drives[1].rmdir()
        aside.rename(drives[1])
        until(lambda: "private key" in host.index()["folders"][0]["trouble"])
        assert len(host.names()) == 1
        answers = {card(host, name).body for name in served}
        assert any(b"private key" in each for each in answers), "and not that it was here and is gone"
        (drives[1] / "id_ed25519").unlink()
        until(lambda: len(host.names()) == 2)


@pytest.mark.parametrize("where", ["key.txt", "sealift/key.txt", "sealift/seal/id_ed25519", "sealift/index/key"])
def test_an_identity_is_found_wherever_it_lies_on_a_drive(drives, packed, where):
    assert places.identity_on(str(drives[0])) == ""
    (drives[0] / where).parent.mkdir(exist_ok=True)
    shutil.copy(packed.origin.root / ("signing" if "id_" in where else "identity"), drives[0] / where)
    assert places.identity_on(str(drives[0])) == where
    assert places.look_again(str(drives[0]), places.Seen(None, None)).identity


def test_an_identity_that_comes_to_lie_on_a_drive_is_told_and_never_served(drives, packed):
    with serving.serving(*drives[:2]) as host:
        names = host.names()
        metric = f'sealift_identity_found{{drive="{names[1]}"}} 1'
        assert metric not in host.ask("/metrics").body.decode()
        shutil.copy(packed.origin.root / "identity", drives[1] / "sealift/key.txt")
        until(lambda: "identity" in host.index()["drives"][1]["trouble"])
        assert metric in host.ask("/metrics").body.decode()
        assert any(f"{drives[1]}: sealift/key.txt holds an identity" in line for line in host.lines)
        assert host.ask(f"/{names[1]}/sealift/key.txt").status == 404
        assert card(host, names[1]).status == 200, "what is served holds none"
        assert not any("AGE-SECRET" in line for line in host.lines)


def test_an_identity_that_is_written_over_a_file_is_found_later(drives, packed, monkeypatch):
    """Then no file comes, and its folder does not change."""
    (drives[0] / "notes").write_text("nothing")
    first = places.look_again(str(drives[0]), places.Seen(None, None))
    assert places.look_again(str(drives[0]), first) is first
    (drives[0] / "notes").write_bytes((packed.origin.root / "identity").read_bytes())
    assert places.look_again(str(drives[0]), first) is first
    later = places.look_again(str(drives[0]), first._replace(until=time.monotonic()))
    assert later.left.startswith("notes holds")
    assert later.known == first.known
    (drives[0] / "notes").unlink()
    assert places.look_again(str(drives[0]), later).left == ""


def test_an_identity_under_a_name_that_is_served_takes_its_drive_away(drives, packed):
    page = drives[0] / "sealift" / "OPEN-ME.txt"
    text = page.read_bytes()
    first = places.look_again(str(drives[0]), places.Seen(None, None))
    assert first.known, "that it speaks of identities is none"
    page.unlink()
    page.write_bytes(text + (packed.origin.root / "identity").read_bytes())
    second = places.look_again(str(drives[0]), first)
    assert (second.known, second.identity) == (first.known, True)
    page.unlink()
    page.write_bytes(text)
    assert places.look_again(str(drives[0]), second).known == first.known


def test_health_is_that_of_what_can_be_served(drives):
    away = drives[0].with_name("away")
    with serving.serving(drives[0]) as host:
        assert host.ask("/healthz").body == b"ok\n"
        name = host.names()[0]
        drives[0].rename(away)
        assert card(host, name).status == 503
        answer = host.ask("/healthz")
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        away.rename(drives[0])
        until(lambda: host.ask("/healthz").status == 200)


@pytest.mark.long
def test_bad_files_are_told_without_a_traceback(drives, tmp_path):
    here = ("--listen", "127.0.0.1:8443")
    junk = tmp_path / "junk"
    junk.write_bytes(os.urandom(100))
    ca, cert, key = serving.certificates(tmp_path / "tls")
    _, _, other = serving.certificates(tmp_path / "other")
    for words in (
        ("--tls-cert", cert), ("--tls-key", key), ("--tls-cert", cert, "--tls-key", other),
        ("--tls-cert", junk, "--tls-key", key),
        ("--tls-cert", cert, "--tls-key", tmp_path), ("--token-file", junk), ("--token-file", tmp_path / "none"),
        ("--report", junk), ("--report", "/dev/zero"), ("--report", ca),
    ):  # fmt: skip
        code, said = serving.refused(drives[0], *here, *words)
        assert (code, "sealift: error:" in said, "Traceback" in said) == (1, True, False), (words, said)
    assert serving.refused(tmp_path / "no-such", *here)[0] == 1


# What it says of itself


def test_the_index_says_which_drive_stands_where(host, packed):
    answer = host.ask("/")
    assert answer.headers["content-type"] == "application/json"
    index = host_index.decode(answer.body)
    shipment = packed.origin.manifests()[0][0].shipment
    assert [drive.name for drive in index.drives] == [f"{shipment}-g0s{slot}" for slot in range(3)]
    for slot, drive in enumerate(index.drives):
        assert (drive.mount, drive.shipment, drive.group, drive.slot) == (packed.origin.mounts[slot], shipment, 0, slot)
        assert (drive.serial, drive.carrier, drive.number) == (f"SERd0{slot}", f"carrier-{slot}", slot + 1)
        assert (drive.state, drive.trouble) == ("packed", "")
        assert drive.total_bytes > 0


def test_inspect_is_what_the_command_says(host, packed):
    shipment = packed.origin.manifests()[0][0].shipment
    said = json.loads(host.ask(f"/inspect/{shipment}").body)
    done = subprocess.run(
        [sys.executable, "-m", "sealift", "inspect", *packed.origin.mounts, "--json", "--shipment", shipment],
        capture_output=True, check=False,
    )  # fmt: skip
    expected = json.loads(done.stdout)
    assert said["groups"] == expected["groups"]
    assert said["groups"][0]["missing"] == []
    assert host.ask("/inspect/" + "0" * 16).status == 503


def test_a_report_of_verify_is_served_as_it_is_and_read_again(drives, packed, tmp_path):
    words = ["verify", str(drives[0]), "--seal", str(packed.seal_file), "--allowed-signers", str(packed.allowed)]
    said = subprocess.run([sys.executable, "-m", "sealift", *words, "--json"], capture_output=True, check=False).stdout
    report = tmp_path / "report.json"
    report.write_bytes(said)
    with serving.serving(drives[0], reports=(str(report),)) as host:
        (row,) = host.index()["reports"]
        assert (row["number"], row["state"]) == (0, "unseen")
        assert host.ask("/report/0").body == said
        assert host.ask("/report/1").status == 404
        report.write_bytes(b"{}")
        assert host.index()["reports"] == []
        assert host.ask("/report/0").status == 404
        report.with_name("new").write_bytes(said + b"\n")
        report.with_name("new").rename(report)
        assert host.ask("/report/0").body == said + b"\n"
        assert not any("--report" in line for line in host.lines)


def test_a_report_of_another_shipment_is_named(drives, packed, tmp_path):
    words = ["verify", str(drives[0]), "--seal", str(packed.seal_file), "--allowed-signers", str(packed.allowed)]
    said = subprocess.run([sys.executable, "-m", "sealift", *words, "--json"], capture_output=True, check=False).stdout
    report = tmp_path / "report.json"
    report.write_bytes(said.replace(json.loads(said)["shipment"].encode(), b"0123456789abcdef"))
    with serving.serving(drives[0], reports=(str(report),)) as host:
        assert f"note: --report {report} is of shipment 0123456789abcdef, of which no drive is here" in host.lines


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index | {"more": 1},
        lambda index: index | {"type": "sealift-other"},
        lambda index: index | {"drives": index["drives"] * 2},
        lambda index: index | {"host": "a\nb"},
        lambda index: index | {"at": "yesterday"},
        lambda index: index | {"drives": [index["drives"][0] | {"name": "../../etc"}]},
        lambda index: index | {"drives": [index["drives"][0] | {"slot": 255}]},
        lambda index: index | {"drives": [index["drives"][0] | {"mount": "x" * 3000}]},
    ],
)
def test_an_index_that_is_none(host, change):
    good = host.index()
    host_index.decode(json.dumps(good).encode())
    with pytest.raises(FormatError):
        host_index.decode(json.dumps(change(good)).encode())
    for data in (b"", b"[]", b"\xff", b"[" * 100_000, b" " * (host_index.MAX_INDEX + 1)):
        with pytest.raises(FormatError):
            host_index.decode(data)


# Drives that come and go


def test_a_drive_that_is_pulled_and_one_that_comes(drives):
    away = drives[1].with_name("away")
    with serving.serving(*drives) as host:
        names = host.names()
        drives[1].rename(away)
        assert card(host, names[1]).status == 503, "by the next request, not by the next look"
        assert card(host, names[0]).status == card(host, names[2]).status == 200
        until(lambda: host.names() == [names[0], names[2]])
        assert host.index()["folders"][0]["mount"] == str(drives[1])
        assert card(host, names[1]).status == 503
        assert card(host, names[1]).headers["retry-after"]
        assert card(host, names[1][:-1] + "9").status == 404, "what was never here"
        away.rename(drives[1])
        until(lambda: card(host, names[1]).status == 200)
        assert [line for line in host.lines if line.endswith(f"{names[1]} is gone")]


def test_a_drive_in_another_bay_keeps_its_address(drives):
    empty = drives[0].with_name("empty")
    empty.mkdir()
    with serving.serving(drives[0], empty) as host:
        (name,) = host.names()
        empty.rmdir()
        drives[0].rename(empty)
        drives[0].mkdir()
        until(lambda: card(host, name).status == 200)
        assert host.index()["drives"][0]["mount"] == str(empty)


def test_drives_that_change_bays_among_themselves_keep_their_addresses(drives):
    aside = drives[0].with_name("aside")

    def turn(*mounts):
        mounts[0].rename(aside)
        for to, what in itertools.pairwise(mounts):
            what.rename(to)
        aside.rename(mounts[-1])

    with serving.serving(*drives) as host:
        names = sorted(host.names())
        cards = {name: card(host, name).body for name in names}
        for mounts in (drives[:2], drives, drives[::-1], drives[1:]):
            turn(*mounts)
            until(lambda: all(card(host, name).body == body for name, body in cards.items()))
            until(lambda: sorted(host.names()) == names)
        known = set(re.findall(r'sealift_drive_up{drive="(.*)"}', host.ask("/metrics").body.decode()))
        assert known == set(names), "none had another name for a while"


def test_a_drive_that_is_exchanged_is_never_served_under_the_others_name(drives):
    with serving.serving(drives[0]) as host:
        (name,) = host.names()
        drives[0].rename(drives[0].with_name("first"))
        drives[1].rename(drives[0])
        answer = card(host, name)
        assert answer.status == 503, answer.body
        until(lambda: host.names() == [name[:-1] + "1"])
        assert json.loads(card(host, name[:-1] + "1").body)["slot"] == 1


def test_two_drives_that_say_the_same_have_two_names(drives):
    shutil.rmtree(drives[1])
    shutil.copytree(drives[0], drives[1])
    shutil.rmtree(drives[2] / "sealift")
    with serving.serving(*drives, drives[0]) as host:
        first, second = host.names()
        assert second == f"{first}.2"
        assert card(host, second).body == card(host, first).body
        shutil.rmtree(drives[0] / "sealift")
        until(lambda: host.names() == [second])


def test_a_folder_that_is_given_twice_is_one(drives, tmp_path):
    (tmp_path / "link").symlink_to(drives[1])
    mounts = [str(drives[1]), f"{drives[0]}/", str(tmp_path / "link"), str(drives[0]), str(drives[2])]
    assert run._folders(mounts) == [mounts[0], mounts[1], mounts[4]]


def test_a_drive_without_a_card_is_served_all_the_same(drives):
    (drives[0] / "sealift/drive.json").write_text("rotten")
    with serving.serving(drives[0]) as host:
        (row,) = host.index()["drives"]
        assert row["name"].startswith("unnamed-")
        assert (row["state"], row["shipment"]) == ("damaged", None)
        assert host.ask(f"/{row['name']}/sealift/manifest.json").status == 200


@pytest.mark.long
@pytest.mark.root
def test_real_mounts_come_and_go_while_it_runs(drives, tmp_path):
    loops.need_loops()
    place = tmp_path / "bay"
    place.mkdir()
    with serving.serving(place) as host:
        assert host.names() == []
        for number in (0, 1):
            subprocess.run(["mount", "--bind", drives[number], place], check=True)
            try:
                until(host.names)
                (name,) = host.names()
                connection = host.connection()
                connection.request("GET", f"/{name}/sealift/packs.bin")
                assert connection.getresponse().read() == (drives[number] / "sealift/packs.bin").read_bytes()
            finally:
                # not lazily: nothing holds it but for the moment in which it is looked at
                until(lambda: subprocess.run(["umount", place], check=False).returncode == 0)
            connection.request("GET", f"/{name}/sealift/packs.bin")
            assert connection.getresponse().status == 503
            connection.close()
            until(lambda: not host.names())


@pytest.mark.long
def test_a_drive_whose_reads_fail_is_told_and_the_others_are_served(drives, tmp_path):
    mounted.need_fuse()
    place = tmp_path / "bad"
    with stuck_drive.stuck(drives[0], place) as daemon, serving.serving(place, drives[1]) as host:
        bad, good = host.names()
        path = f"/{bad}/sealift/{serving.first_pack(drives[0])}"
        assert host.ask(path).status == 200
        (drives[0] / ".fails").touch()
        answer = host.ask(path)
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        row = next(each for each in host.index()["drives"] if each["name"] == bad)
        assert "input/output error" in row["trouble"]
        up = {line for line in host.ask("/metrics").body.decode().splitlines() if line.startswith("sealift_drive_up{")}
        assert up == {f'sealift_drive_up{{drive="{bad}"}} 0', f'sealift_drive_up{{drive="{good}"}} 1'}
        assert card(host, good).status == 200
        (drives[0] / ".fails").unlink()
        assert host.ask(path).status == 200
        assert next(each for each in host.index()["drives"] if each["name"] == bad)["trouble"] == ""
        daemon.kill()  # and now it is gone for good: its mount is still there, and says so to everybody who asks
        until(lambda: host.names() == [good])
        assert host.ask(path).status == 503
        assert "not connected" in host.index()["folders"][0]["trouble"]


@pytest.mark.long
def test_a_drive_that_hangs_keeps_nobody_else(drives, tmp_path):
    mounted.need_fuse()
    place = tmp_path / "stuck"
    with stuck_drive.stuck(drives[0], place) as daemon, serving.serving(place, drives[1]) as host:
        hung, good = host.names()
        assert card(host, hung).status == 200
        daemon.send_signal(signal.SIGSTOP)
        waiting = [host.connection() for _ in range(30)]
        for connection in waiting:
            connection.request("GET", f"/{hung}/sealift/drive.json")
        begun = time.monotonic()
        assert card(host, good).status == 200
        assert time.monotonic() - begun < 2
        for connection in waiting:
            connection.sock.settimeout(40)
            assert connection.getresponse().status == 503
            connection.close()
        begun = time.monotonic()
        assert card(host, hung).status == 503
        assert time.monotonic() - begun < 2, "while it hangs it is not waited for"
        assert "does not answer" in next(row for row in host.index()["drives"] if row["name"] == hung)["trouble"]
        assert host.ask(f"/inspect/{good[:16]}").status == 200
        daemon.send_signal(signal.SIGCONT)
        until(lambda: card(host, hung).status == 200)
        daemon.send_signal(signal.SIGSTOP)
        connection = host.connection()
        connection.request("GET", f"/{hung}/sealift/drive.json")
        time.sleep(0.5)
        host.process.send_signal(signal.SIGTERM)
        time.sleep(25)
        with serving.serving(place, drives[1]) as another:  # while it hangs: it is told, and the others are served
            assert another.names() == [good]
            assert another.index()["folders"][0]["trouble"] == "it does not answer"
        daemon.send_signal(signal.SIGCONT)
        assert host.process.wait(timeout=30) == 0
        connection.close()
