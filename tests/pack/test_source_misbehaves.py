"""A source that changes, disappears, is unreadable or holds what is no file: told, and the rest is carried."""

import errno
import os
import pickle
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import shipments

from sealift.stages.pack import run as packing
from sealift.stages.pack import source as sources
from sealift.stages.pack import work


def packed_after(origin, monkeypatch, change, **options):
    """Pack with `change()` between the scan and the first byte that is read."""
    real = packing.scan

    def scan(*args, **kwargs):
        summary = real(*args, **kwargs)
        change()
        return summary

    monkeypatch.setattr(packing, "scan", scan)
    result = origin.pack(**options)
    monkeypatch.setattr(packing, "scan", real)
    return result


def unpacked(origin, target, *, failed=()):
    restored = origin.unpack(target)
    assert [path for path, _ in restored.failed] == sorted(failed)
    return restored


@pytest.fixture
def origin(tmp_path):
    source = tmp_path / "source"
    for number in range(30):
        shipments.write(source / f"steady-{number:02d}", b"steady %d\n" % number * 500)
    shipments.write(source / "small", b"s" * 10_000)
    shipments.write(source / "large", os.urandom(1_200_000))
    shipments.write(source / "huge", os.urandom(5 * shipments.MIB))
    with open(source / "sparse", "wb") as file:
        file.seek(3_000_000)
        file.write(b"end")
    shipments.write(source / "folder" / "inside", b"inside")
    return shipments.Origin(tmp_path / "origin", source, 2, 1)


SIZED = ["small", "large", "huge", "sparse"]


@pytest.mark.parametrize("how", ["grow", "shrink", "empty", "touch", "rewrite"])
def test_files_that_change_are_told_and_restored_as_they_were_read(origin, tmp_path, monkeypatch, how):
    sizes = {name: (origin.source / name).stat().st_size for name in SIZED}

    def change():
        for name, size in sizes.items():
            path = origin.source / name
            if how == "grow":
                with open(path, "ab") as file:
                    file.write(b"more" * 100_000)
            elif how == "shrink":
                os.truncate(path, size // 3)
            elif how == "empty":
                os.truncate(path, 0)
            elif how == "touch":
                os.utime(path, ns=(5, 5))
            else:
                path.write_bytes(b"\x55" * size)

    result = packed_after(origin, monkeypatch, change, accept_missing=True)
    lacks = {path for path, _ in result.incomplete}
    assert sorted([*result.changed, *lacks]) == sorted(map(os.fsencode, SIZED))
    assert b"huge" in lacks or how not in {"shrink", "empty"}, "a segment keeps its length"
    assert result.skipped == []
    restored = unpacked(origin, tmp_path / "restored")
    assert set(restored.changed) == set(result.changed) | lacks
    for name, size in sizes.items():
        now, then = (origin.source / name).read_bytes(), (tmp_path / "restored" / name).read_bytes()
        keep = min(len(now), len(then), size)
        assert then[:keep] == now[:keep]
        assert not then[keep:].strip(b"\0"), "what is gone reads as zeros"
        assert (os.fsencode(name) in lacks) == (len(then) > keep), "and is told as that"
    for other in ["folder/inside", "steady-07"]:
        assert (tmp_path / "restored" / other).read_bytes() == (origin.source / other).read_bytes()


def replace(path: Path, how: str) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if how == "fifo":
        os.mkfifo(path)
    elif how == "symlink":
        path.symlink_to("/etc/passwd")
    elif how == "folder":
        path.mkdir()
    elif how == "device" and os.geteuid() == 0:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))


@pytest.mark.parametrize("how", ["gone", "fifo", "symlink", "folder", "device"])
def test_files_that_are_replaced_are_skipped_with_a_reason(origin, tmp_path, monkeypatch, how):
    names = ["small", "large", "sparse"]
    for name in names:
        (origin.source / f"another-{name}").hardlink_to(origin.source / name)
    names += [f"another-{name}" for name in names]

    def change():
        for name in names:
            replace(origin.source / name, how)

    result = packed_after(origin, monkeypatch, change, accept_missing=True)
    told = [*result.changed, *(path for path, _ in (*result.incomplete, *result.skipped))]
    assert sorted(told) == sorted(map(os.fsencode, names)), "each once"
    assert all(reason for _, reason in (*result.incomplete, *result.skipped))
    unpacked(origin, tmp_path / "restored")
    assert (tmp_path / "restored" / "huge").read_bytes() == (origin.source / "huge").read_bytes()
    assert not any((tmp_path / "restored" / name).is_symlink() for name in names)


@pytest.mark.long
@pytest.mark.parametrize("how", ["file", "gone", "fifo", "symlink", "folder"])
def test_another_name_that_is_another_file_by_now_is_told_and_not_packed_as_the_old_one(
    origin, tmp_path, monkeypatch, how
):
    for name in SIZED:
        (origin.source / f"z-{name}").hardlink_to(origin.source / name)
        (origin.source / f"zz-{name}").hardlink_to(origin.source / name)

    def change():
        for name in SIZED:
            replace(origin.source / f"z-{name}", how)
            if how == "file":
                (origin.source / f"z-{name}").write_bytes(b"another file")

    result = packed_after(origin, monkeypatch, change, accept_missing=True)
    assert ({path for path, _ in result.skipped}, result.changed) == ({b"z-%b" % os.fsencode(n) for n in SIZED}, [])
    assert result.exit_code == 2
    restored = origin.unpack(tmp_path / "restored")
    assert (restored.failed, restored.refused) == ([], [])
    assert not [path for path in (tmp_path / "restored").iterdir() if path.name.startswith("z-")]
    for name in SIZED:
        assert (tmp_path / "restored" / f"zz-{name}").samefile(tmp_path / "restored" / name)
        assert (tmp_path / "restored" / name).read_bytes() == (origin.source / name).read_bytes()


def test_the_first_name_that_is_another_file_by_now_does_not_stand_for_the_others(origin, tmp_path, monkeypatch):
    for name in SIZED:
        (origin.source / f"z-{name}").hardlink_to(origin.source / name)

    def change():
        for name in SIZED:
            (origin.source / name).unlink()
            (origin.source / name).write_bytes(b"another file")

    result = packed_after(origin, monkeypatch, change, accept_missing=True)
    assert sorted([*result.changed, *dict(result.incomplete)]) == sorted(map(os.fsencode, SIZED))
    assert {path for path, _ in result.skipped} == {b"z-%b" % os.fsencode(name) for name in SIZED}
    assert origin.unpack(tmp_path / "restored").failed == []


def test_other_names_of_a_file_that_is_touched_or_moved_are_its_names_still(origin, tmp_path, monkeypatch):
    """The same inode, whatever its time; or a file that another program has written anew, with the same bytes."""
    for name in SIZED:
        (origin.source / f"z-{name}").hardlink_to(origin.source / name)

    def change():
        os.utime(origin.source / "small", ns=(5, 5))
        shutil.copy2(origin.source / "z-large", origin.source / "copy")
        (origin.source / "copy").rename(origin.source / "z-large")

    result = packed_after(origin, monkeypatch, change)
    assert (result.changed, result.skipped) == ([b"small"], [])
    assert origin.unpack(tmp_path / "restored").failed == []
    assert (tmp_path / "restored/z-large").read_bytes() == (origin.source / "z-large").read_bytes()


@pytest.mark.long
@pytest.mark.parametrize("how", ["gone", "fifo", "symlink", "folder"])
def test_a_segmented_file_that_is_replaced_leaves_the_rest(origin, tmp_path, monkeypatch, how):
    result = packed_after(origin, monkeypatch, lambda: replace(origin.source / "huge", how))
    assert [*result.changed, *(path for path, _ in (*result.incomplete, *result.skipped))] == [b"huge"]
    restored = origin.unpack(tmp_path / "restored")
    assert {path for path, _ in restored.failed} <= {b"huge"}
    assert (tmp_path / "restored" / "large").read_bytes() == (origin.source / "large").read_bytes()


def test_a_folder_that_disappears(origin, tmp_path, monkeypatch):
    result = packed_after(origin, monkeypatch, lambda: shutil.rmtree(origin.source / "folder"))
    assert [path for path, _ in result.skipped] == [b"folder/inside"]
    unpacked(origin, tmp_path / "restored")


def test_what_is_no_file_is_told_by_kind(origin, tmp_path):
    os.mkfifo(origin.source / "fifo")
    here = os.open(".", os.O_RDONLY)
    os.chdir(origin.source)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("socket")
    finally:
        os.chdir(here)
        os.close(here)
    kinds = {b"fifo": "is a fifo", b"socket": "is a socket"}
    if os.geteuid() == 0:
        os.mknod(origin.source / "null", 0o600 | 0o020000, os.makedev(1, 3))
        os.mknod(origin.source / "disk", 0o600 | 0o060000, os.makedev(7, 0))
        kinds |= {b"null": "is a character device", b"disk": "is a block device"}
    result = origin.pack()
    assert dict(result.skipped) == kinds
    unpacked(origin, tmp_path / "restored")
    assert not (tmp_path / "restored" / "fifo").exists()


def test_a_resumed_packing_sees_the_scan_that_it_began_with(origin, tmp_path, monkeypatch):
    class StopError(Exception):
        pass

    def stop(*_args, **_kwargs):
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(work, "close_group", stop)
        with pytest.raises(StopError):
            origin.pack()
    shipments.write(origin.source / "afterwards", b"not in the snapshot")
    (origin.source / "steady-01").unlink()
    result = origin.pack()
    assert (result.skipped, result.exit_code) == ([], 2)
    assert result.since.paths == [(b"afterwards", "came"), (b"steady-01", "is gone")]
    unpacked(origin, tmp_path / "restored")
    assert not (tmp_path / "restored" / "afterwards").exists()
    assert (tmp_path / "restored" / "steady-01").exists()


@pytest.mark.long
def test_unreadable_files_and_folders_are_told_to_who_may_not_read_them(tmp_path):
    if os.geteuid() == 0:
        shipments.need("setpriv")
    base = tmp_path / "unreadable"
    source = base / "source"
    shipments.write(source / "open", b"open")
    shipments.write(source / "closed", b"closed", 0o000)
    shipments.write(source / "huge", os.urandom(3 * shipments.MIB), 0o000)
    shipments.write(source / "locked" / "inside", b"inside")
    (source / "locked").chmod(0o000)
    origin = shipments.Origin(base / "origin", source, 2, 1)
    who = []
    if os.geteuid() == 0:  # root without the capabilities that let it read everything
        who = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    (base / "options").write_bytes(pickle.dumps(origin.pack_options()))
    packer = Path(shipments.__file__).with_name("packer.py")
    try:
        done = subprocess.run(
            [*who, sys.executable, "-B", str(packer), str(base / "options")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        from sealift.stages.pack.journal import Journal

        journal = Journal(str(origin.state))
        changed, incomplete, skipped = journal.told()
        journal.close()
        told = dict(skipped) | dict(incomplete) | dict.fromkeys(changed, "changed")
        assert told.keys() == {b"closed", b"huge"}
        assert origin.unpack(tmp_path / "restored").failed == []
        assert (tmp_path / "restored" / "open").read_bytes() == b"open"
        assert not (tmp_path / "restored" / "locked" / "inside").exists()
    finally:
        (source / "locked").chmod(0o755)


def test_a_read_error_of_the_source_becomes_zeros_and_is_told(origin, tmp_path, monkeypatch):
    """The digest's reader runs in this process: what it cannot read must not end it."""
    real = os.preadv

    def preadv(fd, views, offset):
        if offset >= 2 * shipments.MIB:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, views, offset)

    monkeypatch.setattr(sources.os, "preadv", preadv)
    result = origin.pack()
    monkeypatch.undo()
    assert result.skipped == []
    assert b"huge" in result.changed or b"huge" in dict(result.incomplete)
    restored = origin.unpack(tmp_path / "restored")
    assert restored.failed == []
    assert b"huge" in restored.changed


def test_one_time_that_is_not_held_is_told_as_one(tmp_path):
    file, far = tmp_path / "source" / "far", 13_569_465_600 * 10**9  # in 2400
    shipments.write(file, b"far")
    os.utime(file, ns=(0, far))
    if os.stat(file).st_mtime_ns != far:
        pytest.skip("this filesystem holds no such time")
    said: list[str] = []
    shipments.Origin(tmp_path / "origin", file.parent, 2, 1).pack(said)
    assert "1 time before 1677 or after 2262 is carried as the first or last between these" in said


@pytest.mark.long
def test_a_time_that_is_not_held_is_no_change(origin, tmp_path):
    """It is told once, and carried as the last that is; neither packing nor unpack calls the file changed."""
    shipments.write(tmp_path / "probe", b"")
    far = 13_569_465_600 * 10**9  # in 2400
    os.utime(tmp_path / "probe", ns=(0, far))
    if os.stat(tmp_path / "probe").st_mtime_ns != far:
        pytest.skip("this filesystem holds no such time")
    for name in [*SIZED, "steady-03"]:
        os.utime(origin.source / name, ns=(0, far))
    said: list[str] = []
    result = origin.pack(said)
    assert (result.changed, result.skipped, result.exit_code) == ([], [], 0)
    assert sum("5 times before 1677 or after 2262" in text for text in said) == 1
    restored = unpacked(origin, tmp_path / "restored")
    assert restored.changed == []
    assert (tmp_path / "restored" / "huge").stat().st_mtime_ns == (1 << 63) - 1
    assert origin.pack().exit_code == 0


def test_bits_that_are_not_carried_are_told_once_and_counted(origin, tmp_path):
    os.chmod(origin.source / "small", 0o4755)
    os.chmod(origin.source / "steady-00", 0o2755)
    os.chmod(origin.source / "folder", 0o2755)  # a folder's are carried
    os.symlink("small", origin.source / "link")
    notices: list[str] = []
    assert origin.pack(notices).groups[0]["state"] == "signed"
    (told,) = [text for text in notices if "setuid" in text]
    assert told.startswith("2 files have setuid or setgid bits")
    assert origin.pack(again := []).groups[0]["state"] == "signed"
    assert not [text for text in again if "setuid" in text]
    unpacked(origin, tmp_path / "restored")
    assert (tmp_path / "restored" / "small").stat().st_mode & 0o7777 == 0o755


@pytest.mark.long
@pytest.mark.parametrize(("share", "told"), [(0.85, True), (0.95, False), (1.05, False), (1.2, True), (0, False)])
def test_what_is_declared_is_compared_with_what_was_found(origin, share, told):
    found = sum(path.stat().st_size for path in origin.source.rglob("*") if path.is_file())
    text = origin.declaration.read_text()
    origin.declaration.write_text(text.replace("source_bytes = 1\n", f"source_bytes = {int(found * share)}\n"))
    assert origin.declaration.read_text() != text
    notices: list[str] = []
    origin.pack(notices)
    lines = [text for text in notices if "data.source_bytes" in text]
    assert len(lines) == told
    assert all("were found in the source" in text and f"{found:,} bytes" in text for text in lines)
