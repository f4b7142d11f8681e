"""Several processes see what one sees, whatever the tree; what cannot be carried is told."""

from __future__ import annotations

import fcntl
import math
import os
import socket
from array import array

import pytest

from sealift.errors import BadInput
from sealift.formats.samples import default_key, key_function
from sealift.stages.pack import workers as workers_module
from sealift.stages.pack.units import Begin
from sealift.stages.pack.walk import Seen, walk
from sealift.stages.pack.workers import Workers


def entries(batches):
    """path -> (key, mode, size, mtime), and what was skipped."""
    found, skipped = {}, []
    for seen in batches:
        assert isinstance(seen, Seen)
        skipped += seen.skipped
        columns = [array("q", getattr(seen, name)) for name in ("modes", "sizes", "mtimes")]
        for lengths, data in ((seen.path_lengths, seen.paths), (seen.key_lengths, seen.keys)):
            texts, at = [], 0
            for length in array("i", lengths):
                texts.append(data[at : at + length])
                at += length
            assert at == len(data)
            columns.insert(len(columns) - 3, texts)
        for path, *rest in zip(*columns, strict=True):
            assert path not in found
            found[path] = tuple(rest)
    return found, sorted(skipped)


@pytest.fixture
def tree(tmp_path):
    for top in range(7):
        folder = tmp_path / f"d{top}" / "deep" / "er"
        folder.mkdir(parents=True)
        for number in range(40):
            (folder / f"{number}.tar.gz").write_bytes(b"x" * number)
    (tmp_path / "link").symlink_to("d0")
    os.mkfifo(tmp_path / "d1" / "fifo")
    (tmp_path / os.fsdecode(b"not\xffutf-8\n")).write_bytes(b"")
    os.utime(tmp_path / "link", ns=(0, -5), follow_symlinks=False)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
    return os.fsencode(tmp_path)


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("every", [-1.0, 0.01])
def test_processes_see_what_one_sees(tree, number, every, monkeypatch):
    monkeypatch.setattr(workers_module, "SHARED_EVERY", every)
    alone = entries(walk(tree, [b""], default_key, None, math.inf))
    assert len(alone[0]) == 7 * 43 + 2
    assert alone[1] == [(b"d1/fifo", "is a fifo"), (b"s", "is a socket")]
    assert alone[0][b"d3/deep/er/7.tar.gz"][0] == b"d3/deep/er/7"
    assert alone[0][b"link"][3] == -5
    with Workers(number) as workers:
        assert entries(workers.walk(tree, None, None)) == alone
        assert entries(workers.walk(tree, None, None)) == alone


def test_processes_come_and_go(tree):
    with Workers(1) as workers:
        first = workers.processes[0].process
        workers.resize(3)
        assert len(entries(workers.walk(tree, None, None))[0]) == 7 * 43 + 2
        assert [each.process.poll() for each in workers.processes] == [None] * 3
        workers.resize(1)
        assert [each.process for each in workers.processes] == [first]
    assert first.returncode == -9


def test_a_walk_stops_in_time_and_leaves_the_rest(tree):
    stack, parts = [b""], []
    while stack:
        parts += list(walk(tree, stack, default_key, None, -1.0))  # a folder at a time
    assert len(parts) > 7
    assert entries(parts) == entries(walk(tree, [b""], default_key, None, math.inf))


def test_ranks_are_those_of_samples(tree):
    batches = list(walk(tree, [b""], lambda _path: b"one", 7, math.inf))
    assert len({rank for seen in batches for rank in array("Q", seen.ranks)}) == 1


def test_a_folder_that_went_away_is_told(tree):
    found, skipped = entries(walk(tree, [b"d2", b"gone"], default_key, None, math.inf))
    assert (b"gone", "no such file or directory") in skipped
    assert len(found) == 42


def test_times_beyond_what_is_held_are_clamped(tmp_path):
    (tmp_path / "far").write_bytes(b"")
    (tmp_path / "near").write_bytes(b"")
    os.utime(tmp_path / "far", ns=(0, 1 << 63))
    if os.stat(tmp_path / "far").st_mtime_ns != 1 << 63:
        pytest.skip("this filesystem holds no such time")
    found, _ = entries(walk(os.fsencode(tmp_path), [b""], default_key, None, math.inf))
    assert found[b"far"][3] == (1 << 63) - 1
    assert found[b"near"][3] == os.stat(tmp_path / "near").st_mtime_ns


def test_a_key_is_a_groups_or_the_match():
    assert key_function("(a)|b")(b"xb") == b"b"
    assert key_function("x(.)")(b"xb") == b"b"
    assert key_function("x(.)")(b"no") == b"no"
    with pytest.raises(BadInput):
        key_function("(")


def test_a_builder_holds_locks_and_goes_with_its_coordinator(tmp_path):
    """Descriptors arrive, and a builder that is told to build before it knows what for builds nothing."""
    path = tmp_path / "lock"
    path.write_bytes(b"")
    fd = os.open(path, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with Workers(1) as workers:
        process = workers.processes[0]
        process.hold([fd] * 300)  # more than one message takes
        process.send(Begin(0, [0]))
        list(workers.walk(os.fsencode(tmp_path), None, None))  # it has read all before
        os.close(fd)
        other = os.open(path, os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
