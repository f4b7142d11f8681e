"""What goes through a proxy of the environment: requests to a store do, requests to storage hosts never."""

import socket
import threading

import pytest

from sealift.drives.http import HttpDrive
from sealift.drives.object_client import Client
from sealift.errors import DriveFault


@pytest.fixture
def asked(monkeypatch):
    """What a proxy was asked that the environment names."""
    lines: list[bytes] = []

    def answer(listening):
        while True:
            try:
                connection = listening.accept()[0]
            except OSError:
                return
            with connection:
                lines.append(connection.recv(1 << 12).partition(b"\r\n")[0])

    with socket.create_server(("127.0.0.1", 0)) as listening:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{listening.getsockname()[1]}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        threading.Thread(target=answer, args=(listening,), daemon=True).start()
        yield lines
        listening.shutdown(socket.SHUT_RDWR)


def test_a_storage_host_is_asked_itself(asked):
    with pytest.raises(DriveFault):
        HttpDrive("http://storage.invalid:8443/d/", patience=0.5).read_small("drive.json", 100)
    assert asked == []


def test_a_store_is_asked_through_it(asked, monkeypatch):
    for name, value in {
        "AWS_ENDPOINT_URL": "http://store.invalid:9000",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = Client("bucket", "", 0.5, 2)
    with pytest.raises(Exception, match=r"store\.invalid"):  # of obstore's own classes
        client.native.head(client.store, "name")
    assert asked[0] == b"HEAD http://store.invalid:9000/bucket/name HTTP/1.1"
