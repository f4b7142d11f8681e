"""HttpDrive over real servers (nginx, and Python's own with ranges), and over a proxy that lies and fails."""

import errno
import functools
import http.server
import os
import pickle
import random
import re
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from faulty_proxy import proxy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from storage_host import free_port, make_certificates, nginx

from sealift.drives import http_client, locations, object_client
from sealift.drives.base import errno_of, is_missing
from sealift.drives.host_pace import HostPace
from sealift.drives.http import HttpDrive, Way
from sealift.drives.ranges import AHEAD, PIECE
from sealift.errors import BadInput, DriveFault, FormatError

NAME = "packs/0000/0000000.tar.zst.age"
BIG = random.Random(3).randbytes(3 * PIECE + 123_457)
TOKEN = "s3cret.Token_1~+/="


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    """A folder with one drive, d, and the nginx that serves it."""
    base = tmp_path_factory.mktemp("host")
    drive = base / "www" / "d" / "sealift" / "packs" / "0000"
    drive.mkdir(parents=True)
    (drive / NAME.rpartition("/")[2]).write_bytes(BIG)
    (drive.parents[1] / "drive.json").write_bytes(b"{}" * 50)
    (drive.parents[1] / "B3SUMS").write_bytes(b"")
    with nginx(base / "nginx", base / "www") as host:
        yield host


@pytest.fixture
def drive(stand):
    return HttpDrive(f"{stand.url}/d/", patience=1)


@pytest.fixture
def through(stand):
    """The drive behind a proxy, and the proxy."""
    with proxy(stand.url) as made:
        yield HttpDrive(f"{made.endpoint}/d/", patience=1), made


def fails(function, *arguments, within=6.0):
    begun = time.monotonic()
    with pytest.raises(DriveFault) as caught:
        function(*arguments)
    assert time.monotonic() - begun < within
    assert caught.value.hint
    assert "nothing was changed" in str(caught.value)
    return caught.value


# --- what is there


def test_what_there_is_and_what_not(drive, stand):
    assert drive.exists()
    assert not HttpDrive(f"{stand.url}/e/").exists()
    assert drive.size(NAME) == len(BIG)
    assert drive.size("manifest.json") is None
    assert drive.read_small("manifest.json", 100) is None
    assert drive.read_small("B3SUMS", 0) == b""
    assert drive.read_small("drive.json", 100) == b"{}" * 50
    with pytest.raises(FormatError, match="at most 99"):
        drive.read_small("drive.json", 99)
    with pytest.raises(DriveFault) as caught:
        drive.open_read("manifest.json")
    assert is_missing(caught.value)
    with pytest.raises(DriveFault) as caught:
        drive.open_later("manifest.json").read_at(0, 10)
    assert is_missing(caught.value)
    with pytest.raises(ValueError, match="no name"):
        drive.size("../d/sealift/drive.json")
    assert list(drive.walk(10)) == []
    assert drive.filesystem() == ("http", stand.url)


_ranges = st.lists(st.tuples(st.integers(0, len(BIG) + 10), st.integers(0, 2 * PIECE)), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_ranges, st.booleans(), st.booleans())
def test_any_range_is_the_files(drive, windows, ahead, later):
    file = drive.open_later(NAME) if later else drive.open_read(NAME)
    for start, length in windows:
        if ahead:
            file.will_need(start, length)
        asked = file.ask(start, length)
        assert file.read_at(start, length) == BIG[start : start + length]
        buffer = bytearray(length)
        assert buffer[: asked.into(memoryview(buffer))] == BIG[start : start + length]
    assert file.length == len(BIG)
    assert file.read_from == "cache"


def test_ranges_by_many_threads_at_once(drive):
    rng = random.Random(1)
    windows = [(rng.randrange(len(BIG)), rng.randrange(2 * PIECE)) for _ in range(60)]
    with drive.open_read(NAME, direct=True) as file, ThreadPoolExecutor(12) as pool:
        for (start, length), got in zip(windows, pool.map(lambda window: file.read_at(*window), windows), strict=True):
            assert got == BIG[start : start + length]
    assert drive.traffic.bytes > len(BIG)


def test_what_was_asked_for_ahead_is_asked_for_once(through):
    drive, made = through
    file = drive.open_later(NAME)
    file.will_need(100, PIECE)
    file.will_need(100, PIECE)
    assert file.read_at(100, PIECE) == BIG[100 : 100 + PIECE]
    assert len(made.seen) == 1
    buffer = memoryview(bytearray(PIECE))
    assert file.ask(PIECE + 50, 50).into(buffer) == 50
    assert len(made.seen) == 1, "the end of a piece that was just read is still there"
    assert buffer[:50] == BIG[PIECE + 50 : PIECE + 100]
    file.ask(PIECE + 50, PIECE).wait()
    assert len(made.seen) == 2, "and only the rest is fetched"
    for number in range(3 * AHEAD):
        file.will_need(number, 1)
    assert file.read_at(3, 1) == BIG[3:4]


def test_a_range_a_little_longer_than_a_piece_is_one_request(through):
    drive, made = through
    assert drive.open_later(NAME).ask(0, PIECE + 70_000).wait(5)
    assert len(made.seen) == 1


def test_connections_are_used_again(drive, stand):
    before = len(stand.lines())
    opened = set()
    real = http_client._Connection.open

    def counted(connection):
        opened.add(id(connection))
        real(connection)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http_client._Connection, "open", counted)
        for _ in range(20):
            drive.size("nothing")
            drive.size(NAME)
            drive.read_small("drive.json", 100)
            drive.open_later(NAME).read_at(5, 10)
    assert len(opened) <= 1
    time.sleep(0.1)
    assert len(stand.lines()) - before >= 80


@pytest.mark.parametrize("left", [1e-9, 0.9999985, 0.9999995, 1.0, 9.9999996, 10.0000001])
def test_no_time_that_is_left_is_one_that_the_kernel_does_not_take(left, monkeypatch):
    here, there = socket.socketpair()
    with here, there:
        line = http_client._Timed(here, HostPace("x", 1))
        monkeypatch.setattr(line, "_left", lambda: left)
        there.sendall(b"abc")
        assert line.receive(memoryview(bytearray(3)), whole=True) == 3


# --- servers


class _Ranges(http.server.SimpleHTTPRequestHandler):
    """Python's own server, with ranges: HTTP/1.0, a connection a request, no ETag."""

    def log_message(self, *_):
        pass

    def send_head(self):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        path = self.translate_path(self.path)
        if not wanted or not os.path.isfile(path):
            return super().send_head()
        file = open(path, "rb")  # noqa: SIM115 -- the caller closes it
        size = os.fstat(file.fileno()).st_size
        start, stop = int(wanted[1]), min(int(wanted[2]) + 1, size)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        file.seek(start)
        self.left = stop - start
        return file

    def copyfile(self, source, outputfile):
        outputfile.write(source.read(getattr(self, "left", -1)))


def test_a_plain_server_with_ranges_serves(stand):
    root = str(stand.folder.parent / "www")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Ranges, directory=root)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        drive = HttpDrive(f"http://127.0.0.1:{server.server_port}/d/")
        file = drive.open_read(NAME)
        assert file.read_at(len(BIG) - 3 * PIECE, 3 * PIECE) == BIG[-3 * PIECE :]
        assert drive.read_small("drive.json", 100) == b"{}" * 50
        server.shutdown()


def test_a_plain_server_without_ranges_is_told(stand):
    root = str(stand.folder.parent / "www")
    handler = functools.partial(
        type("H", (_Ranges,), {"send_head": http.server.SimpleHTTPRequestHandler.send_head}), directory=root
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        error = fails(HttpDrive(f"http://127.0.0.1:{server.server_port}/d/").open_read(NAME).read_at, 5, 10)
        assert "does not answer with the range" in str(error)
        assert "sealift serve" in error.hint
        server.shutdown()


def test_an_empty_file(stand):
    file = HttpDrive(f"{stand.url}/d/").open_later("B3SUMS")
    assert file.read_at(0, 10) == b""
    assert file.length == 0


# --- what hosts and networks do


@pytest.mark.parametrize("fault", ["500", "503", "429", "reset", "cut", "noise"])
def test_reading_gets_over_a_fault_that_passes(through, fault):
    drive, made = through
    made.plan = lambda _method, _path, number: fault if number == 0 else None
    if fault == "noise":  # no fault of the network, and not asked again
        assert "does not speak HTTP" in str(fails(drive.open_later(NAME).read_at, 5, 100_000))
        return
    assert drive.open_later(NAME).read_at(5, 100_000) == BIG[5:100_005]
    assert drive.size(NAME) == len(BIG)
    assert drive.read_small("drive.json", 100) == b"{}" * 50
    assert drive.traffic.retries >= 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("500", r"the host failed \(500\), time and again"),
        ("404", "there is no such file"),
        ("401", "wants a token, or does not take this one"),
        ("403", "refuses"),
        ("418", r"error \(418\)"),
        ("reset", "cut, time and again"),
        ("cut", "cut, time and again"),
        ("short", "another range"),
        ("whole", "does not answer with the range"),
        ("range", "another range"),
        ("longer", "another range"),
        ("unsaid", "how long its answer is"),
        ("chunks", "how long its answer is"),
        ("encoded", "Content-Encoding"),
        ("newer", "replaced while it was read"),
        ("tenfold", "it gives the same file two lengths"),
        ("page", r"it sends a web page \(HTML\)"),
        ("elsewhere http://127.0.0.1:9/", "redirects to another place"),
        ("noise", "does not speak HTTP"),
    ],
)
def test_a_fault_that_stays_is_told_in_time(through, fault, why):
    drive, made = through
    file = drive.open_read(NAME)
    made.plan = lambda *_: fault
    error = fails(file.read_at, 5, 100_000)
    assert re.search(why, str(error))
    assert f"{drive.mount}: reading {NAME} at 5" in str(error)
    assert errno_of(error)
    made.plan = lambda *_: None
    assert file.read_at(5, 10) == BIG[5:15]


@pytest.mark.long
@pytest.mark.parametrize("fault", ["hang", "dribble", "head", "slow"])
def test_no_host_is_waited_for_beyond_a_deadline(through, fault, monkeypatch):
    monkeypatch.setattr(http_client, "_SILENT", 1.0)
    drive, made = through
    file = drive.open_read(NAME)
    made.plan = lambda *_: fault
    error = fails(file.read_at, 5, 100_000, within=5.0)
    assert "did not answer in time" in str(error)
    assert errno_of(error) == errno.ENODEV, "verify asks it for nothing more"
    made.plan = lambda *_: None
    assert file.read_at(5, 10) == BIG[5:15]


def test_what_comes_behind_an_answer_is_never_taken_for_the_next(through):
    drive, made = through
    file = drive.open_read(NAME)
    made.plan = lambda *_: "behind"
    for length in (10, 100_000):
        for _ in range(5):
            assert file.read_at(5, length) == BIG[5 : 5 + length]
            time.sleep(0.02)


def test_a_small_file_that_claims_to_be_long_takes_no_memory(through):
    drive, made = through
    made.plan = lambda *_: "longer"
    with pytest.raises(FormatError, match="at most 1,000"):
        drive.read_small("drive.json", 1000)


@pytest.mark.long
def test_nobody_there_is_told_soon():
    begun = time.monotonic()
    error = fails(HttpDrive(f"http://127.0.0.1:{free_port()}/d/").exists)
    assert "nobody answers" in str(error)
    assert time.monotonic() - begun < 5
    assert "name of the host" in str(fails(HttpDrive("http://no-such-host.invalid/d/").exists))


def test_a_file_that_was_replaced_is_not_read_on(drive, stand):
    path = stand.folder.parent / "www" / "d" / "sealift" / "other"
    path.write_bytes(b"one" * 1000)
    file = drive.open_read("other")
    stamp = file.stamp
    path.write_bytes(b"two" * 1001)
    assert "replaced while it was read" in str(fails(file.read_at, 5, 10))
    assert drive.open_read("other").stamp != stamp


def test_no_more_requests_at_once_than_are_allowed(stand):
    with proxy(stand.url) as made:
        now, most, lock = 0, 0, threading.Lock()

        def plan(*_):
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.05)
            with lock:
                now -= 1

        made.plan = plan
        drives = [HttpDrive(Way(f"{made.endpoint}/{each}/", requests=3)) for each in ("d", "d/.")[:1] * 2]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda number: drives[number % 2].open_later(NAME).read_at(number, 3 * PIECE), range(16)))
        assert most == 3


def test_a_reader_that_waits_keeps_no_process_from_ending(stand):
    with proxy(stand.url) as made:
        made.plan = lambda *_: "hang"
        begun = time.monotonic()
        code = f"""
from sealift.drives.http import HttpDrive
import time
HttpDrive({made.endpoint + "/d/"!r}).open_later("x").will_need(0, 9)
time.sleep(0.3)
"""
        assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0
        assert time.monotonic() - begun < 8


# --- tokens, redirects, certificates


@pytest.fixture(scope="module")
def locked(tmp_path_factory, stand):
    """The same folder over TLS, behind a token."""
    base = tmp_path_factory.mktemp("locked")
    with nginx(base / "nginx", stand.folder.parent / "www", tls=True, token=TOKEN) as host:
        yield host


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    return str(path)


def test_a_token_and_a_ca_open_a_host(locked, token_file, monkeypatch):
    at = f"{locked.url}/d/"
    assert HttpDrive(Way(at, token_file=token_file, ca_file=locked.ca)).open_read(NAME).read_at(1, 9) == BIG[1:10]
    monkeypatch.setenv("SEALIFT_TOKEN_RACK_1", TOKEN)
    drive = HttpDrive(Way(at, "one", token_env="SEALIFT_TOKEN_RACK_1", ca_file=locked.ca))
    assert drive.exists()
    again = pickle.loads(pickle.dumps(drive))
    assert again.read_small("drive.json", 100)
    assert TOKEN not in repr(drive) + str(pickle.dumps(drive))
    assert repr(again) == "HttpDrive('one')"


def test_a_wrong_token_or_none_is_told_and_not_repeated(locked, tmp_path, token_file):
    assert "wants a token" in str(fails(HttpDrive(Way(f"{locked.url}/d/", ca_file=locked.ca)).exists))
    wrong = tmp_path / "wrong"
    wrong.write_text("hush-hush")
    error = fails(HttpDrive(Way(f"{locked.url}/d/", token_file=str(wrong), ca_file=locked.ca)).exists)
    assert "hush" not in f"{error}{error.hint}{error.__cause__}"
    assert "token_file" in error.hint


def test_a_token_that_expired_is_read_once_more(locked, tmp_path):
    path = tmp_path / "token"
    path.write_text(TOKEN)
    drive = HttpDrive(Way(f"{locked.url}/d/", token_file=str(path), ca_file=locked.ca))
    assert drive.exists()
    drive._secrets = "expired", drive._secrets[1]
    assert drive.exists()
    path.write_text("another")
    drive._secrets = "expired", drive._secrets[1]
    fails(drive.exists)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n \n",
        b"two tokens",
        b"a\nb c",
        b"\xff",
        b"a\n\xff",
        b"x" * 4097,
        b"a\n" * 65,
        b"\n" * 65_537,
        b"a\r\nX-Evil: 1",
    ],
)
def test_what_is_no_token_is_not_sent(locked, tmp_path, data):
    path = tmp_path / "token"
    path.write_bytes(data)
    with pytest.raises(BadInput) as caught:
        HttpDrive(Way(f"{locked.url}/d/", token_file=str(path), ca_file=locked.ca)).exists()
    assert "Evil" not in str(caught.value)


@pytest.mark.parametrize("form", ["{}\nnew.er-token\n", "\n {}\r\n\r\nolder", "{}", "{}\n" + "x" * 4096])
def test_of_several_tokens_the_first_is_used(locked, tmp_path, form):
    path = tmp_path / "token"
    path.write_text(form.format(TOKEN), newline="")
    assert HttpDrive(Way(f"{locked.url}/d/", token_file=str(path), ca_file=locked.ca)).exists()
    path.write_text("other\n" + TOKEN)
    fails(HttpDrive(Way(f"{locked.url}/d/", token_file=str(path), ca_file=locked.ca)).exists)


def test_a_certificate_that_does_not_hold_is_told(locked, tmp_path):
    at = f"{locked.url}/d/"
    error = fails(HttpDrive(at).exists)
    assert "certificate does not hold" in str(error)
    assert "of a locations file (docs/spec/locations.md), which is given in place of an address" in error.hint
    make_certificates(tmp_path)
    error = fails(HttpDrive(Way(at, ca_file=str(tmp_path / "ca.pem"))).exists)
    assert "ca_file" in error.hint
    assert "certificate does not hold" in str(
        fails(HttpDrive(Way(at.replace("127.0.0.1", "localhost"), ca_file=locked.ca)).exists)
    )
    (tmp_path / "odd").write_text("no certificate")
    with pytest.raises(BadInput, match="no certificates in PEM"):
        HttpDrive(Way(at, ca_file=str(tmp_path / "odd"))).exists()


def test_http_where_https_was_meant_and_the_other_way_round(stand, locked):
    assert "does not speak HTTP" in str(fails(HttpDrive(stand.url.replace("http:", "https:")).exists))
    fails(HttpDrive(locked.url.replace("https:", "http:")).exists)


@pytest.mark.long
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_nowhere_and_takes_no_token_along(status, token_file):
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.server.server_port, self.headers.get("Authorization")))
            self.send_response(status)
            self.send_header("Location", f"http://127.0.0.1:{other.server_port}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815 -- http.server calls it

        def log_message(self, *_):
            pass

    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    first, other = servers
    for each in servers:
        threading.Thread(target=each.serve_forever, daemon=True).start()
    drive = HttpDrive(Way(f"http://127.0.0.1:{first.server_port}/d", token_file=token_file))
    for ask in (drive.exists, lambda: drive.read_small("drive.json", 9), lambda: drive.open_later(NAME).read_at(0, 5)):
        assert "not followed" in str(fails(ask))
    assert set(seen) == {(first.server_port, f"Bearer {TOKEN}")}
    for each in servers:
        each.shutdown()
        each.server_close()


def test_nothing_is_written_there(drive):
    for write in (
        drive.lock,
        lambda: drive.create(NAME),
        lambda: drive.write_small("x", b""),
        lambda: drive.remove("x"),
        lambda: drive.sync_folder("x"),
    ):
        with pytest.raises(BadInput, match="nothing is written there"):
            write()
    drive.unlock()


# --- processes


def test_a_forked_process_reads_what_its_parent_reads(drive):
    """While threads of the parent read, and with connections that it has open."""
    file = drive.open_read(NAME)
    assert file.read_at(0, 3 * PIECE) == BIG[: 3 * PIECE]
    over = threading.Event()

    def read_on():
        while not over.is_set():
            assert file.read_at(9, 2 * PIECE) == BIG[9 : 9 + 2 * PIECE]

    threads = [threading.Thread(target=read_on) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(10):
            child = os.fork()
            if not child:
                signal.alarm(20)
                good = file.read_at(number, 3 * PIECE) == BIG[number : number + 3 * PIECE] and drive.exists()
                os._exit(0 if good else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert file.read_at(5, 10) == BIG[5:15]


# --- any answer at all


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.builds(
            lambda status, said, ranged, more, body: (
                f"HTTP/1.1 {status} x\r\nContent-Length: {said}\r\nContent-Range: {ranged}\r\n{more}\r\n\r\n".encode(
                    "latin-1"
                )
                + body
            ),
            st.sampled_from(["206", "200", "404", "416", "500", "302", "100", "999", "0206", "-1"]),
            st.sampled_from(["10", "0", "11", "9", "-1", "1e3", "99999999999999999999", " 10", "10, 10", ""]),
            st.sampled_from(["bytes 5-14/100", "bytes 5-14/*", "bytes */100", "bytes 5-9/100", "items 5-14/100", "x"]),
            st.sampled_from(
                ["", "Transfer-Encoding: chunked", "Content-Encoding: br", "ETag: " + "x" * 9999, "a" * 70000]
            ),
            st.binary(max_size=20),
        ),
    )
)
def test_any_answer_gives_bytes_of_that_range_or_a_fault(answer):
    ours, theirs = socket.socketpair()
    theirs.sendall(answer)
    theirs.shutdown(socket.SHUT_WR)
    drive = HttpDrive(Way("http://127.0.0.1:1/d", requests=1), patience=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            http_client._Connection, "open", lambda self: setattr(self, "sock", http_client._Timed(ours, self._pace))
        )
        try:
            got = drive.open_later("x").read_at(5, 10)
        except DriveFault as error:
            assert error.hint  # noqa: PT017 -- either of two ends
        else:
            assert got in {answer.partition(b"\r\n\r\n")[2][:10], b""}
    theirs.close()
    ours.close()


# --- locations


def test_a_locations_file_stands_for_all_its_drives(tmp_path, stand, token_file):
    (tmp_path / "mnt").mkdir()
    listing = tmp_path / "fleet.toml"
    listing.write_text(
        f"""type = "sealift-locations"
version = 1
requests = 5
[[drive]]
name = "one"
at = "{stand.url}/d/"
token_file = "token"
[[drive]]
at = "mnt"
[[drive]]
at = "not-there"
[[drive]]
name = "three"
at = "s3://bucket/x"
[[drive]]
name = "four"
at = "https://host/x"
token_file = "nothing"
"""
    )
    drives, notices = locations.open_drives(str(listing))
    assert [drive.mount for drive in drives] == ["one", str(tmp_path / "mnt"), "three"]
    assert drives[0].way.requests == 5
    assert [locations.place_of(each)[0] for each in drives[::2]] == ["http", "s3"]
    assert len(notices) == 3
    assert "goes over http" in notices[0]
    assert "not-there" in notices[1]
    assert "four" in notices[2]
    assert locations.open_drives(str(tmp_path / "mnt"))[0][0].mount == str(tmp_path / "mnt")


def test_a_bucket_without_obstore_is_left_out_and_told(tmp_path, stand, monkeypatch):
    monkeypatch.setattr(object_client, "_loaded", None)
    monkeypatch.setitem(sys.modules, "obstore", None)
    listing = tmp_path / "fleet.toml"
    rows = f'[[drive]]\nat = "{stand.url}/d/"\n[[drive]]\nname = "b"\nat = "s3://bucket/x"\n'
    listing.write_text('type = "sealift-locations"\nversion = 1\n' + rows)
    drives, notices = locations.open_drives(str(listing))
    assert [drive.mount for drive in drives] == [f"{stand.url}/d/"]
    assert "obstore, which is not installed" in notices[0]


def test_a_locations_file_of_which_nothing_can_be_used_is_refused(tmp_path):
    listing = tmp_path / "fleet.toml"
    listing.write_text('type = "sealift-locations"\nversion = 1\n[[drive]]\nat = "nowhere"\n')
    with pytest.raises(BadInput, match="nowhere"):
        locations.open_drives(str(listing))
    listing.write_text("x = 1")
    with pytest.raises(BadInput, match="locations file"):
        locations.open_drives(str(listing))
