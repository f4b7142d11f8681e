"""A source that is not there any more, or fails, is not packed as one from which all was deleted."""

import fcntl
import os
import struct
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import shipments
from loops import loops
from test_source_misbehaves import packed_after

from sealift.errors import BadInput, SourceFault
from sealift.stages.pack import unread, work

_SHUTDOWN, _NO_LOG = 0x8004587D, 2  # EXT4_IOC_SHUTDOWN


class StopError(Exception):
    pass


@pytest.fixture
def origin(tmp_path):
    source = tmp_path / "source"
    for number in range(40):
        shipments.write(source / f"f{number:02d}", os.urandom(100_000))
    return shipments.Origin(tmp_path / "origin", source, 2, 1, 2)


def first_group_alone(origin, monkeypatch):
    """One group is signed, and nothing of the other is packed."""
    real, seen = work._Group.pack, []

    def once(group):
        seen.append(group)
        if len(seen) > 1:
            raise StopError
        real(group)

    with monkeypatch.context() as patch:
        patch.setattr(work._Group, "pack", once)
        with pytest.raises(StopError):
            origin.pack()


def shut_down(mount):
    fd = os.open(mount, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", _NO_LOG))
    finally:
        os.close(fd)


def everything(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_an_unmounted_source_ends_the_next_run_and_nothing_is_skipped_for_good(origin, tmp_path, monkeypatch):
    first_group_alone(origin, monkeypatch)
    before = {mount: everything(mount) for mount in map(Path, origin.mounts)}
    origin.source.rename(tmp_path / "elsewhere")
    origin.source.mkdir()
    with pytest.raises(BadInput, match=r"of \d+ paths still to be packed \d+ are gone since") as caught:
        origin.pack()
    assert "mounted" in caught.value.hint
    assert "--accept-missing" in caught.value.hint
    assert {mount: everything(mount) for mount in before} == before
    origin.source.rmdir()
    (tmp_path / "elsewhere").rename(origin.source)
    result = origin.pack()
    assert (result.exit_code, result.skipped) == (0, [])
    origin.unpack(tmp_path / "out")
    shipments.same(origin.source, tmp_path / "out")


def test_what_is_gone_of_what_is_packed_already_is_no_reason(origin, tmp_path, monkeypatch):
    first_group_alone(origin, monkeypatch)
    for number in range(20):
        (origin.source / f"f{number:02d}").unlink()
    assert origin.pack().skipped == []


def test_what_is_meant_to_be_gone_is_accepted_and_named(origin, tmp_path, monkeypatch):
    first_group_alone(origin, monkeypatch)
    for number in range(25, 40):
        (origin.source / f"f{number:02d}").unlink()
    with pytest.raises(BadInput, match="15 are gone"):
        origin.pack()
    result = origin.pack(accept_missing=True)
    assert (result.exit_code, len(result.skipped)) == (2, 15)
    assert all(group["state"] == "signed" for group in result.groups)


def test_a_few_that_went_are_named_as_ever(origin, monkeypatch):
    first_group_alone(origin, monkeypatch)
    (origin.source / "f39").unlink()
    result = origin.pack()
    assert [path for path, _ in result.skipped] == [b"f39"]


@pytest.mark.root
def test_a_medium_that_dies_under_the_source_stops_the_packing_which_goes_on_when_it_works(tmp_path, monkeypatch):
    with loops(tmp_path) as made:
        _, device = made.drive("source.img", "ext4", 64 * shipments.MIB)
        source = made.mount(device, "mounted")
        (source / "lost+found").rmdir()
        for number in range(40):
            shipments.write(source / f"f{number:02d}", os.urandom(200_000))
        subprocess.run(["sync", "-f", source], check=True)
        origin = shipments.Origin(tmp_path / "origin", source, 2, 1)
        with pytest.raises(SourceFault, match=r"40 files of 40 that stripe 0 .* input/output error"):
            packed_after(origin, monkeypatch, lambda: shut_down(source))
        monkeypatch.undo()
        subprocess.run(["umount", source], check=True)
        made.mount(device, "mounted")
        assert origin.pack().exit_code == 0
        origin.unpack(tmp_path / "out")
        shipments.same(source, tmp_path / "out")


def pack(members=0, size=0, skipped=(), failing=0, failing_bytes=0):
    return SimpleNamespace(
        members=members, source_bytes=size, skipped=[(path, "why") for path in skipped], failing=failing,
        failing_bytes=failing_bytes,
    )  # fmt: skip


def names(count, of="f"):
    return [b"%s%d" % (of.encode(), number) for number in range(count)]


NOTHING = pack()
GIB = 1 << 30


@pytest.mark.parametrize(
    ("packs", "queue", "stops"),
    [
        ([pack(1, 10), pack()], NOTHING, False),
        ([pack(0, 0, names(1))], NOTHING, False),  # the last file of all went
        ([pack(9, 90, names(99))], NOTHING, False),
        ([pack(899, 90, names(100))], NOTHING, True),
        ([pack(900, 90, names(100))], NOTHING, False),
        ([pack(400, 1, names(50)), pack(400, 1, names(50, "g"))], NOTHING, True),
        ([pack(5, GIB, [b"one"] * 200, 1, 200)], NOTHING, False),  # one file with a bad region
        ([pack(10, GIB, names(2), 2, 2000)], NOTHING, False),
        ([pack(10, GIB, names(3), 3, 3000)], NOTHING, True),
        ([pack(28, GIB, names(3), 3, 3000)], NOTHING, False),
        ([pack(1, 6 * GIB, names(1), 1, GIB)], NOTHING, True),
        ([pack(1, 6 * GIB, names(1), 1, GIB // 2)], NOTHING, False),
        ([pack(1, GIB)], pack(0, 0, names(1), 1, GIB), True),
    ],
)
def test_when_a_stripe_is_not_to_be_kept(packs, queue, stops):
    if not stops:
        unread.require(0, 7, packs, queue)
        return
    with pytest.raises(SourceFault, match=r"that stripe 7 of group 0 is made of"):
        unread.require(0, 7, packs, queue)
