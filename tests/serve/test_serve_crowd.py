"""Many connections to a storage host that may have few files open: they never take a drive away, nor the host."""

import contextlib
import errno
import os
import resource
import socket
import time

import pytest
import serving

from sealift.drives.base import SAFE_READING, fault
from sealift.drives.local import LocalDrive
from sealift.errors import BadInput
from sealift.stages.serve import places, run

LIMIT, CROWD = 700, 900


@contextlib.contextmanager
def crowd(port, count):
    """Connections on which nothing is ever said."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * count)), hard))
    waiting = []
    try:
        for _ in range(count):
            each = socket.socket()
            waiting.append(each)
            each.settimeout(0)
            each.connect_ex(("127.0.0.1", port))
        yield
    finally:
        for each in waiting:
            each.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def until(what, seconds):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.1)


def healthy(host):
    with contextlib.suppress(OSError):
        return host.ask("/healthz").status == 200
    return False


@pytest.mark.long
@pytest.mark.parametrize("secure", [True, False])
def test_idle_connections_take_neither_a_drive_nor_the_host(drives, tmp_path, secure):
    """Over TLS granian counts none of them before its handshake, and stops at the limit for ever."""
    tls = serving.certificates(tmp_path) if secure else None
    with serving.serving(*drives, tls=tls, open_files=LIMIT) as host:
        names = host.names()
        assert any("at most 100 connections at a time" in line for line in host.lines), host.lines
        known = host.connection()
        known.connect()
        with contextlib.closing(known), crowd(host.port, CROWD):
            end = time.monotonic() + 4
            asked = 0
            while time.monotonic() < end:
                known.request("GET", f"/{names[asked % 3]}/sealift/drive.json")
                answer = known.getresponse()
                assert (answer.status, bool(answer.read())) == (200, True), "who is here already is served"
                asked += 1
                time.sleep(0.02)
            assert asked > 20
            assert len(os.listdir(f"/proc/{host.process.pid}/fd")) < LIMIT
        until(lambda: healthy(host), 15)
        assert host.names() == names
        assert not [line for line in host.lines if "is gone" in line or "too many open files" in line]
        if secure:
            until(lambda: host.lines[-1] == "there is room for connections again", 15)


def test_a_limit_that_is_far_too_low_is_refused(drives, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    with pytest.raises(BadInput, match="may have 256 files open") as told:
        run.check(run.Options([str(drives[0])], f"127.0.0.1:{serving.free_port()}"), {}, print)
    assert "LimitNOFILE" in told.value.hint


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
@pytest.mark.parametrize("where", ["_open", "_folder"])
def test_what_fails_for_want_of_descriptors_says_nothing_of_a_drive(drives, monkeypatch, number, where):
    before = places.look_again(str(drives[0]), places.Seen(None, None))
    assert before.known.state in {"sealed", "packed"}

    def full(*_args, **_more):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(LocalDrive, where, full)
    for known in (before, places.Seen(None, None)):
        with pytest.raises((places.DriveFault, OSError)) as told:
            places.look_again(str(drives[0]), known)
        assert places.is_crowded(told.value)


def test_no_identity_is_overlooked_for_want_of_descriptors(drives, monkeypatch):
    def full(*_args, **_more):
        raise OSError(errno.EMFILE, "too many open files")

    (drives[0] / "key.txt").write_text("AGE-SECRET-KEY-1ABC\n")
    monkeypatch.setattr(places.os, "open", full)
    with pytest.raises(OSError, match="too many"):
        places.holds_identity(str(drives[0] / "key.txt"))


def test_work_of_a_drive_is_done_again_when_there_is_room():
    asked = []

    def work():
        if not asked:
            raise fault("/mnt/d1", "opening drive.json", OSError(errno.EMFILE, ""), safe=SAFE_READING) from OSError(
                errno.EMFILE, "too many open files"
            )
        return "done"

    assert places._roomy(asked.append, work) == "done"
    assert len(asked) == 1
    with pytest.raises(places.Crowded):
        places._roomy(lambda _: None, lambda: asked.clear() or work())
