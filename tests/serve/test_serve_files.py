"""Files of drives over real HTTPS: every range of every file, and nothing but these files."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

import hypothesis.strategies as st
import pytest
import serving
import shipments
from hypothesis import HealthCheck, given, settings
from prometheus_client.parser import text_string_to_metric_families
from serving import ODD, files_of, first_pack

from sealift.formats import manifest as mf
from sealift.stages.serve import ranges

MIB = 1 << 20


def metric(host, name, **labels):
    """The value of a sample; 0 where there is none."""
    text = host.ask("/metrics").body.decode()
    found = [
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return sum(found)


@pytest.fixture(scope="module")
def connection(host):
    with_one = host.connection()
    yield with_one
    with_one.close()


def test_every_file_of_every_drive_is_served_as_it_is(host, packed):
    assert len(host.names()) == 3
    for name, mount in zip(host.names(), packed.origin.mounts, strict=True):
        for file in files_of(mount):
            answer = host.ask(f"/{name}/sealift/{file}")
            assert (answer.status, answer.body) == (200, Path(mount, "sealift", file).read_bytes()), file
            head = host.ask(f"/{name}/sealift/{file}", "HEAD")
            assert (head.status, head.body) == (200, b"")
            assert int(head.headers["content-length"]) == len(answer.body)
            assert head.headers["etag"] == answer.headers["etag"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_range_of_any_file_is_the_files_bytes(host, packed, connection, data):
    mount = packed.origin.mounts[data.draw(st.integers(0, 2))]
    name = next(each["name"] for each in host.index()["drives"] if each["mount"] == mount)
    file = data.draw(st.sampled_from(files_of(mount)))
    whole = Path(mount, "sealift", file).read_bytes()
    size = len(whole)
    edge = st.one_of(st.integers(0, size + 2), st.sampled_from([0, 1, size - 1, size, (1 << 20) - 1, 1 << 20]))
    start, end = data.draw(edge), data.draw(edge)
    text, first, last = data.draw(
        st.sampled_from(
            [
                (f"bytes={start}-{end}", start, min(end, size - 1)),
                (f"bytes={start}-", start, size - 1),
                (f"bytes=-{end}", max(0, size - end), size - 1),
            ]
        )
    )
    key = {"Range": text, "Authorization": f"Bearer {host.token}"}
    connection.request("GET", f"/{name}/sealift/{file}", headers=key)
    answer = connection.getresponse()
    body = answer.read()
    if first > last or first >= size:
        assert answer.status == 416
        assert answer.getheader("Content-Range") == f"bytes */{size}"
    else:
        assert answer.status == 206
        assert answer.getheader("Content-Range") == f"bytes {first}-{last}/{size}"
        assert body == whole[first : last + 1]


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, None), ("", None), ("items=0-1", None), ("bytes=0-0", (0, 1)), ("bytes=9-9", (9, 1)),
        ("bytes=9-", (9, 1)), ("bytes=0-99", (0, 10)), ("bytes=-3", (7, 3)), ("bytes=-99", (0, 10)),
        (" BYTES = 2-3 ", (2, 2)), ("bytes=10-", "no"), ("bytes=10-10", "no"), ("bytes=10-12", "no"),
        ("bytes=5-4", "no"), ("bytes=-0", "no"), ("bytes=-", "no"), ("bytes=0-1,2-3", "no"), ("bytes=+1-2", "no"),
        ("bytes=1_0-", "no"), ("bytes=0x1-", "no"), ("bytes=" + "9" * 20 + "-", "no"),
    ],
)  # fmt: skip
def test_ranges_of_ten_bytes(header, span):
    if span == "no":
        with pytest.raises(ranges.NotSatisfiable):
            ranges.parse(header, 10)
    else:
        assert ranges.parse(header, 10) == span
    with pytest.raises(ranges.NotSatisfiable):
        ranges.parse("bytes=-5", 0)


def test_bodies_of_several_reads(drives):
    target = drives[0] / "sealift" / first_pack(drives[0])
    whole = random.Random(1).randbytes(3 * MIB + 12345)
    target.write_bytes(whole)
    with serving.serving(drives[0]) as host:
        path = f"/{host.names()[0]}/sealift/{first_pack(drives[0])}"
        assert host.ask(path).body == whole
        spans = [(0, MIB), (1, MIB), (5, 2 * MIB + 4), (MIB - 1, 3 * MIB), (MIB, 2 * MIB - 1), (777, 3 * MIB + 12344)]
        for first, last in spans:
            assert host.ask(path, Range=f"bytes={first}-{last}").body == whole[first : last + 1]
        assert host.ask(path, Range=f"bytes=-{2 * MIB + 1}").body == whole[-2 * MIB - 1 :]


@given(st.text(alphabet="bytes=-, 0123456789\t\u0663x", max_size=30) | st.text(max_size=30), st.integers(0, 1 << 70))
def test_no_range_header_asks_for_more_than_the_file(header, size):
    try:
        span = ranges.parse(header, size)
    except ranges.NotSatisfiable:
        return
    if span is not None:
        assert 0 <= span.start < size
        assert 0 < span.length <= size - span.start


def test_curl_reads_ranges_over_tls(host, packed, tmp_path):
    shipments.need("curl")
    name, mount = host.names()[0], packed.origin.mounts[0]
    file = first_pack(mount)
    whole = Path(mount, "sealift", file).read_bytes()
    url = f"{host.url}{name}/sealift/{file}"
    known = ("--cacert", host.ca, "-H", f"Authorization: Bearer {host.token}")
    assert serving.curl(*known, url).stdout == whole
    assert serving.curl(*known, "-r", "100000-200000", url).stdout == whole[100000:200001]
    (tmp_path / "half").write_bytes(whole[:77777])
    assert serving.curl(*known, "-C", "-", "-o", tmp_path / "half", url).returncode == 0, "a download goes on"
    assert (tmp_path / "half").read_bytes() == whole
    assert serving.curl("-H", f"Authorization: Bearer {host.token}", url).returncode == 60, "a CA that nobody knows"


def test_several_ranges_in_one_request_are_refused(host, packed):
    path = f"/{host.names()[0]}/sealift/{first_pack(packed.origin.mounts[0])}"
    for text in ("bytes=0-1,3-4", "bytes=" + ",".join(["0-"] * 500), "bytes=0-,0-"):
        answer = host.ask(path, Range=text)
        assert answer.status == 416
        assert len(answer.body) < 100
    assert host.ask(path, Range="lines=1-2").status == 200, "units that we do not know are ignored"
    for text in ("bytes=", "bytes=a-b", "bytes=5-4", "bytes=--1", "bytes=\u00b2-".encode("latin-1").decode("latin-1")):
        assert host.ask(path, Range=text).status == 416, text


def test_a_range_of_a_file_that_has_become_another_one(drives):
    with serving.serving(drives[0]) as host:
        name, file = host.names()[0], first_pack(drives[0])
        path = f"/{name}/sealift/{file}"
        etag = host.ask(path, "HEAD").headers["etag"]
        assert host.ask(path, Range="bytes=0-9", If_Range=etag).status == 206
        assert host.ask(path, Range="bytes=0-9", If_Match=etag).status == 206
        target = drives[0] / "sealift" / file
        other = target.read_bytes()[::-1]
        target.with_name("new").write_bytes(other)
        target.with_name("new").replace(target)
        assert host.ask(path, Range="bytes=0-9", If_Match=etag).status == 412
        whole = host.ask(path, Range="bytes=0-9", If_Range=etag)
        assert (whole.status, whole.body) == (200, other)


def test_nothing_but_the_files_of_the_layout_is_found(drives):
    (drives[0] / "secret.txt").write_text("beside")
    (drives[0] / "sealift/secret.txt").write_text("among")
    (drives[0] / "sealift/journal.age").write_text("ours, of packing")
    with serving.serving(drives[0]) as host:
        (name,) = host.names()
        for path in ODD:
            with socket.create_connection(("127.0.0.1", host.port), timeout=10) as sock:
                line = f"GET {path.replace('NAME', name)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                sock.sendall(line.encode("utf-8"))
                said = b"".join(iter(lambda sock=sock: sock.recv(65536), b""))
            assert said.split(b" ", 2)[1] in {b"404", b"400"}, (path, said[:200])
            assert not any(each in said for each in (b"beside", b"among", b"root:"))
        assert host.ask(f"/{name}/sealift/drive.json").status == 200


@pytest.mark.long
@pytest.mark.parametrize("what", ["link", "fifo", "folder", "socket", "linked-folder", "dangling"])
def test_what_is_no_regular_file_is_not_opened(drives, tmp_path, what):
    file = first_pack(drives[0])
    target = drives[0] / "sealift" / file
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / target.name).write_bytes(b"not of the drive")
    if what == "linked-folder":
        target.parent.rename(tmp_path / "moved")
        target.parent.symlink_to(outside)
    else:
        target.unlink()
        if what in {"link", "dangling"}:
            target.symlink_to(outside / target.name if what == "link" else "/nowhere")
        elif what == "fifo":
            os.mkfifo(target)
        elif what == "folder":
            target.mkdir()
        else:
            place = os.getcwd()
            os.chdir(target.parent)
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(target.name)
            os.chdir(place)
    with serving.serving(drives[0]) as host:
        (name,) = host.names()
        for method in ("GET", "HEAD"):
            begun = time.monotonic()
            answer = host.ask(f"/{name}/sealift/{file}", method)
            assert answer.status == 404
            assert b"not of the drive" not in answer.body
            assert time.monotonic() - begun < 5
        assert metric(host, "sealift_errors_total", what="no-file") == 2


def test_other_methods_and_bodies_are_refused(host):
    path = f"/{host.names()[0]}/sealift/drive.json"
    for method in ("POST", "PUT", "DELETE", "PROPFIND", "OPTIONS", "PATCH"):
        assert host.ask(path, method).status == 405, method
        assert host.ask("/", method).status == 405, method
    assert host.ask(path, body=b"x").status == 400


def test_headers_have_a_limit(host):
    answer = None
    connection = host.connection()
    try:
        connection.request("GET", "/healthz", headers={"X": "a" * 60_000})
        answer = connection.getresponse().status
    except OSError:
        pass  # it may close before it has read all of them
    finally:
        connection.close()
    assert answer in {None, 431}
    assert host.ask("/healthz").status == 200


def settled(host, wanted, name, **labels):
    """Whether a count is what is wanted, at once or soon."""
    for _ in range(100):
        if metric(host, name, **labels) == wanted:
            return True
        time.sleep(0.1)
    return False


def test_slow_clients_keep_nobody_and_cost_little(drives):
    big = drives[0] / "sealift" / first_pack(drives[0])
    with big.open("r+b") as file:
        file.truncate(300 << 20)
    with serving.serving(drives[0]) as host:
        (name,) = host.names()
        path = f"/{name}/sealift/{first_pack(drives[0])}"
        slow = []
        for _ in range(20):
            sock = socket.create_connection(("127.0.0.1", host.port), timeout=10)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            slow.append(sock)
        begun = time.monotonic()
        assert host.ask(path, Range="bytes=0-999").status == 206
        assert time.monotonic() - begun < 3
        assert settled(host, 20, "sealift_responses_in_flight")
        status = Path(f"/proc/{host.process.pid}/status").read_text()
        assert int(status.partition("VmRSS:")[2].split()[0]) < 500_000, "20 of 16 MiB at most, and Python"
        for sock in slow:
            sock.close()
        assert settled(host, 0, "sealift_responses_in_flight")
        assert settled(host, 20, "sealift_errors_total", what="client-left")
        assert not [link for link in os.scandir(f"/proc/{host.process.pid}/fd") if "sealift/" in os.readlink(link.path)]


@pytest.mark.long
def test_whoever_does_not_end_the_headers_or_asks_nothing_is_cut_off(host):
    with (
        socket.create_connection(("127.0.0.1", host.port), timeout=60) as silent,
        contextlib.closing(host.connection()) as dribble,
        contextlib.closing(host.connection()) as idle,
    ):
        dribble.connect()
        dribble.sock.sendall(b"GET / HTTP/1.1\r\nHo")
        idle.request("GET", "/healthz")
        idle.getresponse().read()
        begun = time.monotonic()
        for sock in (dribble.sock, idle.sock, silent):
            sock.settimeout(60)
            with contextlib.suppress(OSError):
                sock.recv(1000)
        assert time.monotonic() - begun < 45
    assert host.ask("/healthz").status == 200


def test_nothing_is_held_open_between_requests(drives):
    with serving.serving(drives[0]) as host:
        connection = host.connection()
        connection.request("GET", f"/{host.names()[0]}/sealift/drive.json")
        connection.getresponse().read()
        time.sleep(0.1)
        opened = [os.readlink(each.path) for each in os.scandir(f"/proc/{host.process.pid}/fd")]
        assert not [path for path in opened if path.startswith(str(drives[0]))], "it can be unmounted"
        connection.close()


@pytest.mark.long
def test_a_body_that_cannot_be_finished_cuts_its_connection(drives):
    shipments.need("curl")
    target = drives[0] / "sealift" / first_pack(drives[0])
    with target.open("r+b") as file:
        file.truncate(64 << 20)
    with serving.serving(drives[0]) as host:
        (name,) = host.names()
        url = f"{host.url}{name}/sealift/{first_pack(drives[0])}"
        words = ["curl", "-sS", "--limit-rate", "8M", "-o", "/dev/null", url]
        slow = subprocess.Popen(words, stderr=subprocess.PIPE)
        time.sleep(1)
        with target.open("r+b") as file:
            file.truncate(10)
        assert slow.wait(timeout=30) in {18, 56}, "a part of a file never looks like the whole"
        slow.stderr.close()
        assert metric(host, "sealift_errors_total", what="cut") == 1
        assert metric(host, "sealift_responses_in_flight") == 0


def test_metrics_count_bytes_and_requests_a_drive(drives):
    with serving.serving(*drives) as host:
        names = host.names()
        file = first_pack(drives[0])
        for _ in range(3):
            host.ask(f"/{names[0]}/sealift/{file}", Range="bytes=0-999")
        host.ask(f"/{names[1]}/sealift/drive.json")
        host.ask(f"/{names[0]}/sealift/packs/9999/9999999.parity")
        host.ask('/no"such\\name/sealift/drive.json')
        assert metric(host, "sealift_sent_bytes_total", drive=names[0]) == 3000
        assert metric(host, "sealift_requests_total", drive=names[0], status="206") == 3
        assert metric(host, "sealift_requests_total", drive=names[0], status="404") == 1
        assert metric(host, "sealift_requests_total", drive="", status="404") == 1, "names of requests are no labels"
        assert metric(host, "sealift_read_seconds_count", drive=names[0]) == 3
        assert metric(host, "sealift_answer_seconds_count", drive=names[1]) == 1
        assert metric(host, "sealift_drive_up") == 3


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_the_answers_under_way_are_given(drives, number):
    target = drives[0] / "sealift" / first_pack(drives[0])
    with target.open("r+b") as file:
        file.truncate(40 << 20)
    with serving.serving(drives[0]) as host:
        connection = host.connection()
        connection.request("GET", f"/{host.names()[0]}/sealift/{first_pack(drives[0])}")
        answer = connection.getresponse()
        begun = answer.read(1 << 20)
        host.process.send_signal(number)
        time.sleep(1)
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", host.port), timeout=5)
        assert len(begun) + len(answer.read()) == 40 << 20
        connection.close()
        assert host.process.wait(timeout=30) == 0
        for _ in range(100):  # its last words come by a thread
            if "stopped" in host.lines[-1]:
                break
            time.sleep(0.1)
        assert "stopped" in host.lines[-1]


def test_many_at_once_get_their_own_bytes(host, packed):
    from concurrent.futures import ThreadPoolExecutor

    draw = random.Random(5)
    names = host.names()
    wanted = []
    for _ in range(200):
        place = draw.randrange(3)
        file = draw.choice(files_of(packed.origin.mounts[place]))
        size = Path(packed.origin.mounts[place], "sealift", file).stat().st_size
        first = draw.randrange(size)
        wanted.append((place, file, first, draw.randrange(first, size)))

    def fetch(each):
        place, file, first, last = each
        answer = host.ask(f"/{names[place]}/sealift/{file}", Range=f"bytes={first}-{last}")
        return answer.body == Path(packed.origin.mounts[place], "sealift", file).read_bytes()[first : last + 1]

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(fetch, wanted))


def test_names_of_the_layout_are_those_that_packing_gives(packed):
    for mount in packed.origin.mounts:
        assert all(map(mf.is_drive_file, files_of(mount)))
    assert all(
        mf.is_drive_file(mf.pack_name(stripe, role, 2)) for stripe in (0, 999, 1000, 9_999_999) for role in (0, 2)
    )
