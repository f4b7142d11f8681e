"""A real S3 server for tests: one Ceph monitor, one OSD and radosgw on loopback, one set a test session.

`shared(folder)` starts it, or finds the one that another worker of the session started, and gives a Store. The daemons
are children of a process of their own (`python radosgw.py FOLDER`), which ends them when no test process holds
FOLDER/users any more: also when tests were killed. Where Ceph is not installed tests skip, and fail where CI is set.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

TOOLS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
_READY, _USERS, _LOG = "ready.json", "users", "supervisor.log"
_CONFIG = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon}/0]
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
ms bind msgr1 = false
ms mon client mode = crc
ms mon service mode = crc
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 2
osd pool default pgp num = 2
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data avail crit = 1
mon pg warn min per osd = 0
run dir = {folder}
admin socket = {folder}/$name.asok
pid file = {folder}/$name.pid
log file = {folder}/$name.log
[mon.a]
mon data = {folder}/mon
paxos propose interval = 0.1
paxos min wait = 0.01
[osd]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd max object name len = 2048
osd max object namespace len = 64
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw data = {folder}/rgw
rgw dns name = localhost
rgw enable usage log = false
rgw enable ops log = false
rgw thread pool size = 32
rgw gc obj min wait = 5
"""


@dataclass(frozen=True)
class Store:
    """An endpoint, and keys that may make buckets there."""

    endpoint: str
    access: str
    secret: str
    admin: str = ""  # CEPH_CONF of radosgw-admin

    @property
    def environment(self) -> dict[str, str]:
        """What sealift is told of it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": "us-east-1",
        }

    def ask(self, method: str, path: str, query: str = "") -> tuple[int, bytes]:
        """Status and body of a request for /BUCKET or /BUCKET/NAME."""
        from datetime import UTC, datetime

        from sealift.drives import uploads

        url = f"{self.endpoint}{path}" + (f"?{query}" if query else "")
        headers = uploads.signed(
            method, url, uploads.Keys(self.access, self.secret, "", "us-east-1"), datetime.now(UTC)
        )
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method=method, headers=headers), timeout=30) as got:
                return got.status, got.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def make_bucket(self) -> str:
        """A new bucket."""
        name = f"tests-{secrets.token_hex(5)}"
        assert self.ask("PUT", f"/{name}")[0] == 200
        return name

    def limited(self, kilobytes: int) -> Store:
        """The same server for another user, who may have so many kB there."""
        user, keys = f"user-{secrets.token_hex(4)}", (secrets.token_hex(10), secrets.token_hex(20))
        environment = {**os.environ, "CEPH_CONF": self.admin}
        for command in (
            ("user", "create", "--display-name", user, "--access-key", keys[0], "--secret-key", keys[1]),
            ("quota", "set", "--quota-scope", "user", "--max-size", str(kilobytes << 10)),
            ("quota", "enable", "--quota-scope", "user"),
        ):
            subprocess.run(
                ["radosgw-admin", *command, "--uid", user], env=environment, check=True, timeout=60, capture_output=True
            )
        return Store(self.endpoint, *keys)

    def uploads(self, bucket: str) -> int:
        """Uploads in parts that were begun there, and neither finished nor aborted."""
        return self.ask("GET", f"/{bucket}", "uploads=")[1].count(b"<UploadId>")


def need() -> None:
    """Skip where there is no Ceph or no obstore; where CI is set, they must be there."""
    import importlib.util

    import pytest

    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if importlib.util.find_spec("obstore") is None:
        missing.append("obstore")
    if missing and os.environ.get("CI"):
        pytest.fail(f"{', '.join(missing)} must be installed where CI is set")
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")


@contextlib.contextmanager
def shared(folder: Path) -> Iterator[Store]:
    """The server of this session, whose files are in `folder`, for as long as the block lasts."""
    folder.mkdir(exist_ok=True)
    with open(folder / _USERS, "ab") as users:
        with open(folder / "starting", "ab") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_SH)
            if not (folder / _READY).exists():
                _start(folder)
        yield Store(**json.loads((folder / _READY).read_text()))


def _start(folder: Path) -> None:
    with open(folder / _LOG, "wb") as log:
        process = subprocess.Popen([sys.executable, __file__, folder], stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (folder / _READY).exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"Ceph did not start: {(folder / _LOG).read_text()[-3000:]}")
        time.sleep(0.05)
    process.returncode = 0  # it outlives this one, which is not to warn of that


# --- the process that has the daemons


def _ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _tied() -> None:
    """A child goes when its parent does (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class _Cluster:
    def __init__(self, folder: Path) -> None:
        self._folder = folder / "ceph"
        shutil.rmtree(self._folder, ignore_errors=True)
        for name in ("mon", "osd", "rgw"):
            (self._folder / name).mkdir(parents=True)
        mon, self._port = _ports(2)
        self._fsid, self._mon = str(uuid.uuid4()), f"[v2:127.0.0.1:{mon}]"
        config = self._folder / "ceph.conf"
        config.write_text(_CONFIG.format(fsid=self._fsid, mon=mon, port=self._port, folder=self._folder))
        self._environment = {**os.environ, "CEPH_CONF": str(config)}
        self._daemons: list[subprocess.Popen[bytes]] = []

    def _run(self, *command: Any) -> None:
        subprocess.run(command, env=self._environment, check=True, timeout=60, stdout=subprocess.DEVNULL)

    def _serve(self, *command: str) -> None:
        self._daemons.append(
            subprocess.Popen([*command, "-f"], env=self._environment, preexec_fn=_tied, stdout=subprocess.DEVNULL)  # noqa: PLW1509 -- no thread runs
        )

    def start(self) -> Store:
        osd, keys = str(uuid.uuid4()), (secrets.token_hex(10), secrets.token_hex(20))
        monmap = self._folder / "monmap"
        self._run("monmaptool", "--create", "--fsid", self._fsid, "--addv", "a", self._mon, monmap)
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap)
        self._serve("ceph-mon", "-i", "a")
        self._run("ceph", "--connect-timeout", "30", "osd", "new", osd)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._serve("ceph-osd", "-i", "0")
        self._serve("radosgw", "-n", "client.rgw")
        endpoint = f"http://127.0.0.1:{self._port}"
        self._wait_for(endpoint)
        self._run(
            *("radosgw-admin", "user", "create", "--uid", "test", "--display-name", "test"),
            *("--access-key", keys[0], "--secret-key", keys[1]),
        )
        return Store(endpoint, *keys, str(self._folder / "ceph.conf"))

    def _wait_for(self, endpoint: str) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert all(daemon.poll() is None for daemon in self._daemons), "a daemon ended"
            with contextlib.suppress(OSError), urllib.request.urlopen(endpoint, timeout=5):
                return
            time.sleep(0.05)
        raise AssertionError("radosgw does not answer")

    def stop(self) -> None:
        for daemon in reversed(self._daemons):
            daemon.kill()
            daemon.wait()


def _supervise(folder: Path) -> None:
    cluster = _Cluster(folder)
    try:
        store = cluster.start()
        written = folder / "ready.new"
        written.write_text(json.dumps(store.__dict__))
        written.rename(folder / _READY)
        with open(folder / _USERS, "ab") as users:
            while True:
                time.sleep(0.5)
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
            (folder / _READY).unlink()
    finally:
        cluster.stop()


if __name__ == "__main__":
    _supervise(Path(sys.argv[1]))
