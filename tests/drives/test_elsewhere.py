"""A store that redirects: no other host hears of it, whatever obstore would do, and it is told."""

import http.server
import threading
import time

import pytest

from sealift.drives.bucket import Bucket
from sealift.drives.elsewhere import kept_from, redirects
from sealift.drives.objects import ObjectDrive
from sealift.errors import DriveFault, SourceFault

PATIENCE = 0.2
AMAZON = "s3.eu-central-1.amazonaws.com"
PROXY = {"HTTPS_PROXY": "http://proxy:3128"}
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")


@pytest.fixture(autouse=True)
def store(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    for name, value in {**KEYS, "AWS_SESSION_TOKEN": "token", "AWS_REGION": "eu-central-1"}.items():
        monkeypatch.setenv(name, value)


class _Server(http.server.ThreadingHTTPServer):
    def __init__(self, host):
        self.seen, self.status, self.to = [], 200, ""
        super().__init__((host, 0), _Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self):
        return f"http://{self.server_address[0]}:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.command, self.path))
        self.send_response_only(self.server.status)
        if self.server.to:
            self.send_header("Location", self.server.to + self.path)
        self.send_header("ETag", '"5d41402abc4b2a76b9719d911017c592"')
        self.send_header("Last-Modified", "Thu, 26 Nov 2026 21:54:18 GMT")
        self.send_header("Content-Length", "5")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"hello")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815


@pytest.fixture
def servers(monkeypatch):
    """The store, and another host; the store redirects to it when `status` says so."""
    made = [_Server("127.0.0.1"), _Server("127.0.0.2")]
    monkeypatch.setenv("AWS_ENDPOINT_URL", made[0].url)
    yield made
    for server in made:
        server.shutdown()
        server.server_close()


def _drive():
    return ObjectDrive("s3://bucket/p", patience=PATIENCE)


def _source():
    return Bucket("s3://bucket/p", patience=PATIENCE)


def _write(size):
    drive = _drive()
    drive.lock()
    try:
        part = drive.create("packs/0000/0000000.tar.zst.age")
        try:
            part.write_at(0, [memoryview(bytes(size))])
            part.publish()
        finally:
            part.abandon()
    finally:
        drive.unlock()


DOING = {
    "small": lambda: _drive().read_small("drive.json", 100),
    "open": lambda: _drive().open_read("packs/0000/0000000.tar.zst.age"),
    "exists": lambda: _drive().exists(),
    "walk": lambda: list(_drive().walk(10)),
    "put": lambda: _write(5),
    "put in parts": lambda: _write(9 << 20),
    "source": lambda: _source().get("name", b"", 0, 5),
    "source, looked at": lambda: _source().look("name"),
    "source, listed": lambda: _source().page(b"p/"),
}
CASES = [
    *((what, "http", status) for what in DOING for status in (303, 307)),
    *(("small", scheme, status) for scheme in ("http", "https") for status in (301, 302, 308)),
]


@pytest.mark.parametrize(("what", "scheme", "status"), CASES)
def test_no_other_host_is_asked_and_it_is_told(servers, what, scheme, status):
    store, other = servers
    store.status, store.to = status, other.url.replace("http", scheme)
    with pytest.raises((DriveFault, SourceFault), match="redirects to another place, which is not followed"):
        DOING[what]()
    assert store.seen
    assert other.seen == []


@pytest.mark.parametrize("what", ["small", "put in parts", "source"])
def test_a_store_that_redirects_is_not_asked_until_the_patience_ends(servers, monkeypatch, what):
    """obstore takes the redirect for a host that is away, which it would wait for."""
    store, other = servers
    store.status, store.to = 307, other.url
    monkeypatch.setitem(globals(), "PATIENCE", 60.0)
    begun = time.monotonic()
    with pytest.raises((DriveFault, SourceFault), match="redirects to another place, which is not followed"):
        DOING[what]()
    assert time.monotonic() - begun < 20
    assert other.seen == []


@pytest.mark.parametrize("to", ["", "http://127.0.0.1:{port}/x", "http://a.127.0.0.1/x", "http://[::", None])
def test_what_is_no_redirect_to_another_host_is_none(servers, to):
    """A store that denies it, one that answers as itself, an address that is none, and one that says nothing."""
    store, _ = servers
    store.status, store.to = (307, to.format(port=store.server_port)) if to else (403, "")
    if to is None:
        store.shutdown()
        store.server_close()
    assert not redirects("bucket", store.url)


def test_a_store_that_answers_is_asked_as_before(servers):
    assert _source().whole("name", b"", 5).data == b"hello"
    assert _drive().read_small("drive.json", 100) == b"hello"


@pytest.mark.parametrize(
    ("environment", "endpoint", "excluded"),
    [
        ({}, "https://store.example:9000", ["store.example"]),
        ({}, "http://[fd00::2]:9000", ["fd00::2"]),
        ({}, "", [AMAZON]),
        ({"AWS_S3_EXPRESS": "true"}, "", [AMAZON, AMAZON.replace("s3", "s3express-euc1-az1", 1)]),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "t"}, "", [AMAZON, "sts.eu-central-1.amazonaws.com"]),
        (
            {"AWS_WEB_IDENTITY_TOKEN_FILE": "t", "AWS_ENDPOINT_URL_STS": "https://roles.example"},
            "https://a.b",
            ["a.b", "roles.example"],
        ),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://localhost:99/keys"}, "https://a.b", ["a.b", "localhost"]),
        ({"AWS_METADATA_ENDPOINT": "http://keys.example"}, "https://a.b", ["a.b", "keys.example"]),
        ({**PROXY, "NO_PROXY": "a.b,.amazonaws.com"}, "https://a.b", ["a.b"]),
        ({"HTTP_PROXY": "http://proxy:3128"}, "https://a.b", ["a.b"]),
        ({"AWS_METADATA_ENDPOINT": "http://keys.example", **KEYS}, "https://a.b", ["a.b"]),
        (PROXY, "https://a.b", None),
        ({**PROXY, "AWS_WEB_IDENTITY_TOKEN_FILE": "t", "NO_PROXY": "a.b"}, "https://a.b", None),
        ({"ALL_PROXY": "http://proxy:3128"}, "http://a.b", None),
    ],
)  # fmt: skip
def test_only_the_store_and_what_gives_its_keys_are_asked(monkeypatch, environment, endpoint, excluded):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    bucket = "corpora--euc1-az1--x-s3"
    given = kept_from(bucket, endpoint, "eu-central-1").get("proxy_excludes")
    machine = {"169.254.169.254", "169.254.170.2"}
    assert (None if given is None else set(given.split(","))) == (None if excluded is None else {*excluded, *machine})
