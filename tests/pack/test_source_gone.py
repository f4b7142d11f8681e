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
from test_again import StopError
from test_source_misbehaves import packed_after

from sealift.errors import BadInput, SourceFault
from sealift.stages.pack import source as sources
from sealift.stages.pack import work
from sealift.stages.pack.unread import Unread

_SHUTDOWN, _NO_LOG = 0x8004587D, 2  # EXT4_IOC_SHUTDOWN


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


def pack(members=0, size=0, skipped=(), unread=0, failing=0, failing_bytes=0):
    return SimpleNamespace(
        members=members, source_bytes=size, skipped=[(path, "why") for path in skipped], unread=unread,
        failing=list(skipped)[:failing], failing_bytes=failing_bytes,
    )  # fmt: skip


def names(count, of="f"):
    return [b"%s%d" % (of.encode(), number) for number in range(count)]


NOTHING = pack()
GIB = 1 << 30


@pytest.mark.parametrize(
    ("packs", "queue", "stops"),
    [
        ([pack(1, 10), pack()], NOTHING, False),
        ([pack(0, 0, names(1), 5)], NOTHING, False),  # the last file of all went
        ([pack(0, 0, names(2), 5)], NOTHING, False),
        ([pack(0, 0, names(3), 5)], NOTHING, True),
        ([pack(9, 90, names(99), 9)], NOTHING, False),  # many, and next to nothing of the bytes
        ([pack(899, 90, names(100), 9)], NOTHING, True),
        ([pack(900, 90, names(100), 9)], NOTHING, False),
        ([pack(400, 1, names(50)), pack(400, 1, names(50, "g"))], NOTHING, True),
        ([pack(5, GIB, [b"one"] * 200, GIB, 1, 200)], NOTHING, False),  # one file with a bad region
        ([pack(1, GIB, [b"cut"], GIB, 1, 200), pack(1, GIB, [b"cut"], GIB, 1, 200)], NOTHING, False),
        ([pack(10, GIB, names(2), 2000, 2, 2000)], NOTHING, False),
        ([pack(4, 6000, names(2), 2000, 2, 2000)], NOTHING, True),
        ([pack(10, GIB, names(3), 3000, 3, 3000)], NOTHING, True),
        ([pack(28, GIB, names(3), 3000, 3, 3000)], NOTHING, False),
        ([pack(1, 6 * GIB, names(1), GIB, 1, GIB)], NOTHING, True),
        ([pack(1, 9 * GIB, names(1), GIB // 2, 1, GIB // 2)], NOTHING, False),
        ([pack(1, GIB)], pack(0, 0, names(1), GIB, 1, GIB), True),
    ],
)
def test_when_a_stripe_is_not_to_be_kept(packs, queue, stops):
    if not stops:
        Unread().require(0, 7, packs, queue)
        return
    with pytest.raises(SourceFault, match=r"that stripe 7 of group 0 is made of"):
        Unread().require(0, 7, packs, queue)


def test_what_is_too_little_in_each_stripe_is_too_much_in_all_of_them():
    """A folder of large files that is not mounted any more: one of them in each stripe."""
    run = Unread()
    run.require(0, 0, [pack(9, 100)], NOTHING)
    run.require(0, 1, [pack(9, 100)], pack(0, 0, [b"a"], 50))
    run.require(0, 2, [pack(9, 100)], pack(0, 0, [b"b"], 50))
    with pytest.raises(SourceFault):
        run.require(1, 0, [pack(9, 100)], pack(0, 0, [b"c"], 50))


def test_one_file_that_went_stops_nothing_however_many_stripes_it_was_cut_into():
    run = Unread()
    for stripe in range(200):
        run.require(0, stripe, [pack(1, 100, [b"cut"], 100)], NOTHING)


def test_a_folder_of_large_files_that_is_not_mounted_any_more_is_seen_beside_many_small_ones(tmp_path, monkeypatch):
    source = tmp_path / "source"
    for number in range(300):
        shipments.write(source / f"a{number:03d}", b"small")
    for number in range(4):
        shipments.write(source / "zsub" / f"{number}", os.urandom(900_000))
    origin = shipments.Origin(tmp_path / "origin", source, 2, 1, 2)
    first_group_alone(origin, monkeypatch)
    for number in range(4):
        (source / "zsub" / f"{number}").unlink()
    with pytest.raises(BadInput, match=r"gone since the source was listed at \S+ \([\d,]+ bytes\), such as 'zsub/"):
        origin.pack()


def test_a_few_small_ones_that_went_of_few_stop_nothing(tmp_path, monkeypatch):
    source = tmp_path / "source"
    for number in range(5):
        shipments.write(source / f"f{number}", os.urandom(700_000))
    origin = shipments.Origin(tmp_path / "origin", source, 2, 1, 2)
    first_group_alone(origin, monkeypatch)
    (source / "f4").unlink()
    assert [path for path, _ in origin.pack().skipped] == [b"f4"]


def test_a_file_is_packed_by_another_of_its_names_where_the_first_one_went(tmp_path, monkeypatch):
    source = tmp_path / "source"
    shipments.write(source / "a-small", b"content" * 100)
    shipments.write(source / "b-cut", os.urandom(5 * shipments.MIB))
    for name in ("a-small", "b-cut"):
        for number in range(3):
            (source / f"z-{name}-{number}").hardlink_to(source / name)
    content = {name: (source / name).read_bytes() for name in ("a-small", "b-cut")}
    origin = shipments.Origin(tmp_path / "origin", source, 2, 1)

    def change():
        for name in content:
            (source / name).unlink()
        (source / "z-b-cut-1").unlink()

    result = packed_after(origin, monkeypatch, change)
    assert ([path for path, _ in result.skipped], result.incomplete, result.changed) == ([b"z-b-cut-1"], [], [])
    origin.unpack(tmp_path / "out")
    for name, data in content.items():
        assert (tmp_path / "out" / name).read_bytes() == data
        assert (tmp_path / "out" / f"z-{name}-2").read_bytes() == data


def test_another_name_that_is_another_file_by_now_is_not_taken_for_it(tmp_path, monkeypatch):
    source = tmp_path / "source"
    shipments.write(source / "a", b"content" * 100)
    shipments.write(source / "steady", b"steady")
    (source / "z").hardlink_to(source / "a")
    origin = shipments.Origin(tmp_path / "origin", source, 2, 1)

    def change():
        (source / "a").unlink()
        (source / "z").unlink()
        shipments.write(source / "z", b"another")

    result = packed_after(origin, monkeypatch, change)
    assert [path for path, _ in result.skipped] == [b"a", b"z"]


def test_a_filesystem_that_failed_meanwhile_says_that_a_file_is_not_as_it_was_scanned(tmp_path):
    shipments.write(tmp_path / "f", b"content")
    opened = sources.File(os.open(tmp_path / "f", os.O_RDONLY))
    status = os.stat(tmp_path / "f")
    unit = SimpleNamespace(size=7, mtime=status.st_mtime_ns)
    assert opened.same(unit)
    opened.close()
    assert not opened.same(unit)  # EBADF stands for EIO


def test_a_source_that_cannot_be_looked_at_is_said_why(tmp_path, monkeypatch):
    def denied(_path):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", denied)
        with pytest.raises(BadInput, match="permission denied"):
            sources.Directory(os.fsencode(tmp_path)).check()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(BadInput, match="too many levels of symbolic links"):
        sources.Directory(os.fsencode(tmp_path / "loop")).check()
