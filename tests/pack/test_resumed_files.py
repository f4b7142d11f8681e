"""The digest of a file that is cut is of what was packed of it, or the file is named, however it is rewritten.

The property: bytes of any part are rewritten, with the file's length and time kept, at any moment of a packing that is
stopped or not. What unpack gives is what the segments are, and what is of no one moment was named by pack.
"""

import os
from pathlib import Path

import pytest
import shipments
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealift.errors import DriveFault, SealiftError
from sealift.formats.index import CHANGED
from sealift.stages.pack import follow, group, work

MIB = shipments.MIB
SIZE = 5 * MIB + 12_345
HUGE = b"huge"


class StopError(Exception):
    pass


def quietly(path, at, data):
    """Rewrite bytes of a file, with its length and its time of modification kept."""
    status = path.stat()
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def origin_of(root):
    shipments.write(root / "source/before", b"before")
    shipments.write(root / "source/huge", os.urandom(SIZE))
    shipments.write(root / "source/later", b"later")
    return shipments.Origin(root / "origin", root / "source", 2, 1)


@pytest.fixture
def origin(tmp_path):
    return origin_of(tmp_path)


def stopped_after(origin, monkeypatch, stripe, **options):
    """Pack until a stripe is committed, and no further."""
    commit = group.GroupPacker._commit_stripe

    def stopped(packer, number, *rest):
        commit(packer, number, *rest)
        if number == stripe:
            raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(group.GroupPacker, "_commit_stripe", stopped)
        with pytest.raises(StopError):
            origin.pack(**options)


def restored(origin, target, result):
    """What unpack gives: it gives all, as the segments are signed, and names what pack named."""
    done = origin.unpack(target)
    assert (done.failed, done.refused) == ([], [])
    assert set(done.changed) == {*result.changed, *dict(result.incomplete)}
    there = (target / "huge").read_bytes()
    with origin.shipment() as shipment:
        rows = list(shipment.rows(["huge"]))
    assert len(rows) > 2
    for row in rows:
        assert blake3(there[row.start : row.start + row.length]).digest() == row.blake3
    assert rows[-1].flags & CHANGED or rows[-1].file_blake3 == blake3(there).digest()
    return there


@pytest.mark.parametrize("where", ["first", "committed", "last"])
def test_what_is_rewritten_behind_a_packing_that_stopped_is_told_and_restored_as_it_was_packed(
    origin, tmp_path, monkeypatch, where
):
    old = (origin.source / "huge").read_bytes()
    stopped_after(origin, monkeypatch, 1)
    at = {"first": 0, "committed": MIB + 17, "last": SIZE - 7}[where]
    quietly(origin.source / "huge", at, b"CHANGED")
    result = origin.pack()
    there = restored(origin, tmp_path / "restored", result)
    if where == "last":  # not packed yet: the file is as it is now, all of it
        assert (result.exit_code, result.changed) == (0, [])
        assert there == (origin.source / "huge").read_bytes()
    else:
        assert (result.exit_code, result.changed, result.skipped) == (2, [HUGE], [])
        assert there == old


@pytest.mark.long
@pytest.mark.parametrize("how", ["chmod", "link", "written with the same bytes", "copied"])
def test_a_file_with_the_same_bytes_is_not_accused(origin, tmp_path, monkeypatch, how):
    path = origin.source / "huge"
    stopped_after(origin, monkeypatch, 1)
    if how == "chmod":
        path.chmod(0o600)
    elif how == "link":
        os.link(path, tmp_path / "another")
    elif how == "copied":
        status = path.stat()
        (tmp_path / "copy").write_bytes(path.read_bytes())
        os.utime(tmp_path / "copy", ns=(status.st_atime_ns, status.st_mtime_ns))
        (tmp_path / "copy").rename(path)
    else:
        quietly(path, 0, path.read_bytes())
    result = origin.pack()
    assert (result.exit_code, result.changed, result.skipped) == (0, [], [])
    assert restored(origin, tmp_path / "restored", result) == path.read_bytes()


def stop(*_given, **_named):
    raise KeyboardInterrupt


@pytest.mark.long
def test_what_is_rewritten_before_stripes_are_packed_again_is_told(origin, tmp_path, monkeypatch):
    """Too many packs of a stripe went, so that it is packed anew; what was packed before it was rewritten."""
    with monkeypatch.context() as patch:
        patch.setattr(work, "close_group", stop)
        with pytest.raises(KeyboardInterrupt):
            origin.pack()
    quietly(origin.source / "huge", 100, b"CHANGED")
    for mount in origin.mounts[:2]:
        for pack in Path(mount).glob("sealift/packs/0000/0000001*"):
            pack.unlink()
    with pytest.raises(DriveFault, match="lack stripe 1"):
        origin.pack()
    result = origin.pack()
    assert result.repacked
    assert (result.exit_code, result.changed) == (2, [HUGE])
    restored(origin, tmp_path / "restored", result)


@pytest.mark.long
@pytest.mark.parametrize("moment", ["before", "behind"])
def test_what_is_rewritten_between_builder_and_follower_is_told(origin, tmp_path, monkeypatch, moment):
    """In one run, and whichever of the two reads first."""
    real, done = follow.Follower._fetched, []

    def rewritten(follower, unit, update):
        if unit.start and not done:
            done.append(unit.start)
            if moment == "behind":  # its builder may have read it or not: this makes sure of it
                follower._settled.wait(20)
            quietly(origin.source / "huge", unit.start, b"CHANGED")
        return real(follower, unit, update)

    monkeypatch.setattr(follow.Follower, "_fetched", rewritten)
    result = origin.pack()
    assert done
    there = restored(origin, tmp_path / "restored", result)
    if moment == "behind":
        assert (result.exit_code, result.changed) == (2, [HUGE])
        assert b"CHANGED" not in there
    else:
        assert there == (origin.source / "huge").read_bytes() or result.changed == [HUGE]


def test_a_state_folder_without_what_was_packed_is_told(origin, monkeypatch):
    stopped_after(origin, monkeypatch, 1)
    (origin.state / "groups/0000/stripes/0000001.rows").write_bytes(b"")
    with pytest.raises(SealiftError, match="what was packed of 'huge' is not all in it") as caught:
        origin.pack()
    assert "the packs on the drives are safe" in caught.value.hint


CHANGES = st.tuples(st.integers(0, 3), st.integers(0, SIZE - 1), st.integers(1, 70_000))


@pytest.mark.long
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=st.lists(CHANGES, max_size=3), stop=st.lists(st.integers(0, 3), max_size=3, unique=True))
def test_whatever_is_rewritten_at_any_moment_unpack_gives_what_was_packed(tmp_path_factory, changes, stop):
    root = tmp_path_factory.mktemp("rewritten")
    origin, path = origin_of(root), root / "source/huge"
    versions = [path.read_bytes()]
    commit = group.GroupPacker._commit_stripe

    def committed(packer, number, *rest):
        commit(packer, number, *rest)
        for moment, at, length in list(changes):
            if moment == number:
                changes.remove((moment, at, length))
                quietly(path, at, os.urandom(min(length, SIZE - at)))
                versions.append(path.read_bytes())
        if number in stop:
            stop.remove(number)
            raise StopError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group.GroupPacker, "_commit_stripe", committed)
        while True:
            try:
                result = origin.pack()
            except StopError:
                continue
            break
    there = restored(origin, root / "restored", result)
    assert len(there) == SIZE
    assert set(result.changed) <= {HUGE}
    assert result.exit_code == (2 if result.changed else 0)
    if len(versions) == 1:
        assert not result.changed
        assert there == versions[0]
    for place in range(0, SIZE, 4096):  # nothing else than what stood there at some moment
        assert any(there[place] == version[place] for version in versions)
