"""No symbolic link is followed to what is packed: whichever component of a name became one, and whenever."""

import errno
import math
import os
import random
import threading
import time
from contextlib import suppress

import pytest
import shipments

from sealift.formats.samples import default_key
from sealift.stages.pack import run as packing
from sealift.stages.pack.beneath import Beneath
from sealift.stages.pack.source import Directory
from sealift.stages.pack.walk import walk

OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@pytest.fixture
def tree(tmp_path):
    shipments.write(tmp_path / "source" / "a" / "b" / "c" / "file", b"inside")
    shipments.write(tmp_path / "outside" / "b" / "c" / "file", b"SECRET")
    (tmp_path / "source" / "a" / "b" / "c" / "link").symlink_to("file")
    (tmp_path / "outside" / "b" / "c" / "link").symlink_to("/secret")
    return tmp_path


@pytest.fixture(params=["one call", "walked"])
def beneath(tree, request):
    with Beneath(os.fsencode(tree / "source")) as made:
        made._walks |= request.param == "walked"
        yield made


def names(folder):
    return sorted(os.fsencode(entry.name) for entry in folder)


def test_names_are_opened(beneath):
    for _ in range(2):
        fd = beneath.open(b"a/b/c/file", OPEN)
        assert os.read(fd, 100) == b"inside"
        os.close(fd)
        assert beneath.link(b"a/b/c/link") == b"file"
        assert beneath.status(b"a/b/c/file").st_size == 6
        assert names(beneath.entries(b"a/b/c")) == [b"file", b"link"]
        assert names(beneath.entries(b"")) == [b"a"]
    with pytest.raises(OSError, match="no symbolic link any more"):
        beneath.link(b"a/b/c/file")
    for gone in (b"a/b/gone", b"a/gone/c", b"gone"):
        with pytest.raises(FileNotFoundError):
            beneath.open(gone, OPEN)
    with pytest.raises(NotADirectoryError):
        beneath.open(b"a/b/c/file/x", OPEN)


@pytest.mark.parametrize("which", ["a", "a/b", "a/b/c", "a/b/c/file"])
@pytest.mark.parametrize("absolute", [True, False])
def test_a_link_in_whichever_component_is_refused(tree, beneath, which, absolute):
    place = tree / "source" / which
    os.rename(place, tree / "moved")
    to = tree / "outside" / which.removeprefix("a").lstrip("/")
    place.symlink_to(to if absolute else os.path.relpath(to, place.parent))
    assert (tree / "source/a/b/c/file").read_bytes() == b"SECRET", "what following it would read"
    words = "^.Errno 40. is a symbolic link now" if which.endswith("file") else "a folder above it is a symbolic link"
    with pytest.raises(OSError, match=words) as caught:
        beneath.open(b"a/b/c/file", OPEN)
    assert caught.value.errno == errno.ELOOP
    if not which.endswith("file"):
        for act in (beneath.link, beneath.status, lambda path: list(beneath.entries(path.rpartition(b"/")[0]))):
            with pytest.raises(OSError, match="symbolic link now"):
                act(b"a/b/c/link")


def test_no_descriptor_stays_open(beneath):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        for path in (b"a/b/c/file", b"a/b/c/gone", b"a/b/c/link", b"a/b/c/file/x", b"a/b"):
            with suppress(OSError):
                os.close(beneath.open(path, OPEN))
            with suppress(OSError):
                beneath.link(path)
        names(beneath.entries(b"a"))
    beneath._keep(None)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_walk_does_not_go_into_a_folder_that_became_a_link(tree):
    os.rename(tree / "source/a/b", tree / "moved")
    (tree / "source/a/b").symlink_to(tree / "outside/b")
    stack = [b"a/b", b"a/b/c"]  # found while they were folders
    (seen,) = walk(os.fsencode(tree / "source"), stack, default_key, None, math.inf)
    assert seen.paths == b""
    assert {path for path, _ in seen.skipped} == {b"a/b", b"a/b/c"}
    assert all("symbolic link now" in reason for _, reason in seen.skipped)


def test_a_path_longer_than_any_call_takes_is_skipped(tmp_path):
    at = os.open(tmp_path, os.O_RDONLY)
    for _ in range(22):
        os.mkdir("q" * 200, dir_fd=at)
        below = os.open("q" * 200, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    seen = list(walk(os.fsencode(tmp_path), [b""], default_key, None, math.inf))
    ((path, reason),) = [each for one in seen for each in one.skipped]
    assert (len(path) > 4095, reason) == (True, "file name too long")


def test_a_race_never_gives_what_is_elsewhere(tree):
    reader, stop = Directory(os.fsencode(tree / "source")), threading.Event()
    content, place = memoryview(bytearray(6)), tree / "source" / "a"

    def swap():
        while not stop.is_set():
            os.rename(place, tree / "moved")
            place.symlink_to(tree / "outside")
            time.sleep(chooser.random() / 5000)  # at random: two threads in step may meet in one state for good
            place.unlink()
            os.rename(tree / "moved", place)
            time.sleep(chooser.random() / 5000)

    chooser = random.Random(0)
    thread = threading.Thread(target=swap)
    thread.start()
    try:
        mtime, got = os.stat(tree / "outside/b/c/file").st_mtime_ns, 0
        for _ in range(3000):
            reader.whole(b"a/b/c/file", 6, mtime, b"", content)
            assert bytes(content) in {bytes(6), b"inside"}
            with suppress(OSError):
                assert reader.link(b"a/b/c/link") == b"file"
                got += 1
    finally:
        stop.set()
        thread.join()
    assert got


@pytest.mark.parametrize("size", [6_000, 1_200_000, 5 << 20])
def test_a_folder_that_becomes_a_link_between_listing_and_reading_is_skipped_and_named(tmp_path, monkeypatch, size):
    """Small files, large ones, and such as are cut; links and further names in it, too."""
    source, elsewhere = tmp_path / "source", tmp_path / "elsewhere"
    shipments.write(source / "a-other", os.urandom(3000))
    for number in range(3):
        shipments.write(source / "dir" / f"f{number}", os.urandom(size))
        shipments.write(elsewhere / f"f{number}", b"SECRET" * (size // 6 + 1))
    (source / "dir" / "link").symlink_to("f1")
    (elsewhere / "link").symlink_to("/secret")
    (source / "dir" / "z-other").hardlink_to(source / "a-other")
    (elsewhere / "z-other").hardlink_to(source / "a-other")
    origin = shipments.Origin(tmp_path / "origin", source, 2, 1)
    real = packing.scan

    def scan(*args, **kwargs):
        summary = real(*args, **kwargs)
        os.rename(source / "dir", tmp_path / "moved")
        (source / "dir").symlink_to(elsewhere)
        return summary

    monkeypatch.setattr(packing, "scan", scan)
    result = origin.pack(accept_missing=True)
    assert {path for path, _ in result.skipped} >= {b"dir/f0", b"dir/f1", b"dir/f2", b"dir/link"}
    assert all("a symbolic link now" in reason for _, reason in result.skipped)
    assert result.exit_code == 2
    restored = tmp_path / "restored"
    assert origin.unpack(restored).failed == []
    assert (restored / "a-other").read_bytes() == (source / "a-other").read_bytes()
    assert not (restored / "dir" / "link").is_symlink()
    for path in [path for path in restored.rglob("*") if path.is_file()]:
        assert b"SECRET" not in path.read_bytes()
