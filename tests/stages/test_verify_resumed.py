"""What an interrupted verify believes when it goes on: only what cannot have become other bytes unnoticed."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets
from lying_host import lying
from serving import serving

from sealift.drives import medium
from sealift.drives.http import HttpDrive
from sealift.drives.object_prefix import ObjectReadFile
from sealift.errors import Interrupted
from sealift.stages.verify import verify
from sealift.stages.verify_state import State


def as_it_is(_path, answer, _handler):
    return answer


def bare(_path, answer, _handler):
    """A server that says nothing of a file but its length."""
    answer.headers.pop("etag", None)
    answer.headers.pop("server", None)
    return answer


def mtime_and_length(_path, answer, _handler):
    """As nginx tells an ETag."""
    answer.headers["server"] = "nginx"
    if "etag" in answer.headers:
        _, size, mtime, _ = answer.headers["etag"].strip('"').split("-")
        answer.headers["etag"] = f'"{mtime}-{size}"'
    return answer


def another(_path, answer, _handler):
    """An ETag of the form of ours, by somebody of whom nobody knows what it is made of."""
    answer.headers["server"] = "another"
    return answer


def named(report):
    return {fault.path for fault in report.faults}


HOSTS = {"serve": as_it_is, "bare": bare, "nginx": mtime_and_length, "another": another}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    return fleets.make(tmp_path_factory.mktemp("resumed"), seed=5, lengths=[[3000, 50], [70]])


@pytest.fixture(scope="module")
def served(fleet):
    with serving(*fleet.mounts) as host:
        yield host


@pytest.mark.long
@pytest.mark.parametrize("kind", HOSTS)
def test_what_a_host_gave_counts_only_if_nothing_can_have_taken_its_place(fleet, served, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(State, "forget", State.flush)  # as if every run had been stopped at its very end
    with lying(served, HOSTS[kind]) as host:
        places = [f"{host.url}{name}/" for name in served.names()]

        def run():
            return verify(places, allowed=fleet.allowed, state=str(tmp_path / "state"))

        first, second = run(), run()
        assert (first.state, second.state, first.bytes_resumed) == ("intact", "intact", 0)
        told = [notice for notice in second.notices if "again in this run" in notice]
        if kind == "serve":
            assert (second.bytes_read, second.bytes_resumed, told) == (0, first.bytes_read, [])
        else:
            assert (second.bytes_read, second.bytes_resumed, len(told)) == (first.bytes_read, 0, 1)
        path = next(Path(fleet.mounts[0]).rglob("*.tar.zst.age"))
        before = os.stat(path)
        fleets.flip(path, 9)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as cp -a and rsync -a leave a copy
        try:
            assert named(run()) == {str(path.relative_to(Path(fleet.mounts[0], "sealift")))}
        finally:
            fleets.flip(path, 9)


def test_an_interruption_says_what_will_be_read_again(fleet, served, tmp_path):
    with lying(served, bare) as host:
        places = [f"{host.url}{name}/" for name in served.names()]

        def stop(now):
            if now.done == now.total:
                raise KeyboardInterrupt

        with pytest.raises(Interrupted, match="read again") as caught:
            verify(places, allowed=fleet.allowed, state=str(tmp_path / "state"), progress=stop)
    assert all(place in str(caught.value) for place in places)


def test_what_older_versions_remembered_of_such_hosts_is_not_believed(fleet, served, tmp_path, monkeypatch):
    monkeypatch.setattr(State, "forget", State.flush)
    with lying(served, bare) as host:
        places = [f"{host.url}{name}/" for name in served.names()]
        with monkeypatch.context() as old:
            old.setattr("sealift.drives.http_client.Meta.lasting", True)
            verify(places, allowed=fleet.allowed, state=str(tmp_path / "state"))
        assert verify(places, allowed=fleet.allowed, state=str(tmp_path / "state")).bytes_resumed == 0


def test_a_filesystem_without_a_time_of_change_is_read_again(fleet, tmp_path, monkeypatch):
    monkeypatch.setattr(State, "forget", State.flush)
    monkeypatch.setattr(medium, "keeps_ctime", lambda _descriptor: False)
    runs = [verify(fleet.mounts, allowed=fleet.allowed, state=str(tmp_path / "state")) for _ in range(2)]
    assert [(run.state, run.bytes_resumed) for run in runs] == [("intact", 0)] * 2
    assert any("again in this run" in notice for notice in runs[1].notices)


def test_a_host_tells_no_time_of_change_that_its_filesystem_does_not_keep(fleet, served, monkeypatch):
    drive = HttpDrive(f"{served.url}{served.names()[0]}/")
    assert drive.open_read("manifest.json").lasting
    with open(Path(fleet.mounts[0], "sealift/manifest.json"), "rb") as file:
        assert medium.keeps_ctime(file.fileno())
        monkeypatch.setattr(medium, "_WITHOUT_CTIME", {magic_of(file.fileno())})
        assert not medium.keeps_ctime(file.fileno())


def magic_of(descriptor):
    import ctypes

    answer = ctypes.create_string_buffer(512)
    assert ctypes.CDLL(None).fstatfs(descriptor, answer) == 0
    return ctypes.c_long.from_buffer(answer).value & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("etag", "lasting"),
    [
        ('"d41d8cd98f00b204e9800998ecf8427e"', True),
        ('"d41d8cd98f00b204e9800998ecf8427e-3"', True),
        ("*", False),
        ('W/"d41d8cd98f00b204e9800998ecf8427e"', False),
        ('"18eb7dc03ec1bb32-40000000"', False),
        ('"1"', False),
    ],
)
def test_of_a_store_a_digest_counts(etag, lasting):
    file = ObjectReadFile.__new__(ObjectReadFile)
    file._etag = etag
    assert file.lasting == lasting
