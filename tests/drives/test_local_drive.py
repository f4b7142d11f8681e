"""What only a real filesystem shows: links, devices, caches, locks across processes, errors of the system."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import os
import pickle
import socket
import subprocess
import sys

import pytest

from sealift.drives import medium
from sealift.drives.base import ALIGN, HUGE, aligned_buffer, errno_of, fault
from sealift.drives.local import LocalDrive
from sealift.drives.local_file import LocalReadFile
from sealift.errors import BadInput, Busy, DriveFault, FormatError


@pytest.fixture
def mount(tmp_path):
    (tmp_path / "mnt").mkdir()
    return tmp_path / "mnt"


def test_a_mount_that_is_none(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "absent", "a\0b"):
        with pytest.raises(BadInput):
            LocalDrive(str(path))


def test_sealift_itself_may_be_no_link(mount, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "drive.json").write_text("secret")
    (mount / "sealift").symlink_to(tmp_path / "elsewhere")
    drive = LocalDrive(str(mount))
    for act in (
        drive.exists,
        drive.lock,
        lambda: drive.read_small("drive.json", 100),
        lambda: list(drive.walk(9)),
    ):
        with pytest.raises(FormatError):
            act()


def test_a_link_that_takes_a_files_place_in_between_is_not_followed(mount, tmp_path, monkeypatch):
    (tmp_path / "secret").write_bytes(b"secret")
    (mount / "sealift").mkdir()
    (mount / "sealift" / "drive.json").symlink_to(tmp_path / "secret")
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda path, *, dir_fd=None, **_: real(path, dir_fd=dir_fd))
    drive = LocalDrive(str(mount))
    for direct in (False, True):
        with pytest.raises((DriveFault, FormatError)):
            drive.open_read("drive.json", direct=direct)


def test_sockets_and_devices_are_not_opened(mount, monkeypatch):
    (mount / "sealift").mkdir()
    drive = LocalDrive(str(mount))
    monkeypatch.chdir(mount / "sealift")
    with socket.socket(socket.AF_UNIX) as planted:
        planted.bind("drive.json")
    with pytest.raises(FormatError):
        drive.read_small("drive.json", 100)
    if os.geteuid() == 0:
        try:
            os.mknod("packs.bin", 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero: endless
        except PermissionError:
            return
        with pytest.raises(FormatError):
            drive.open_read("packs.bin", direct=True)


def test_reading_leaves_the_access_time(mount):
    drive = LocalDrive(str(mount))
    drive.lock()
    drive.write_small("drive.json", b"x")
    path = mount / "sealift" / "drive.json"
    os.utime(path, (1, 1))
    drive.read_small("drive.json", 10)
    drive.open_read("drive.json", direct=True).read_at(0, 1)
    assert os.stat(path).st_atime == 1


def test_a_filesystem_without_direct_reads_is_read_through_the_cache(mount, monkeypatch):
    drive = LocalDrive(str(mount))
    drive.lock()
    drive.write_small("drive.json", b"abc" * 5000)
    real = os.preadv

    def refuse(descriptor, buffers, offset):
        import fcntl

        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "refused")
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", refuse)
    with drive.open_read("drive.json", direct=True) as file:
        buffer = aligned_buffer(16384)
        assert file.readinto_at(0, buffer) == 15000
        assert bytes(buffer[:15000]) == b"abc" * 5000
        assert file.read_from == "cache"


def test_memory_is_no_medium(mount):
    drive = LocalDrive(str(mount))
    drive.lock()
    drive.write_small("drive.json", b"x")
    with drive.open_read("drive.json") as file:
        assert file.read_from == "cache"
    if os.path.isdir("/dev/shm") and os.access("/dev/shm", os.W_OK):
        descriptor = os.open("/dev/shm", os.O_TMPFILE | os.O_RDWR)
        with LocalReadFile(descriptor, "m", "x", direct=True) as file:
            assert file.read_from == "cache"


def test_two_folders_of_one_filesystem_are_one_filesystem(mount, tmp_path):
    assert LocalDrive(str(mount)).filesystem() == LocalDrive(str(tmp_path)).filesystem()
    assert LocalDrive(str(mount)).filesystem() != LocalDrive("/proc").filesystem()


def test_a_child_that_inherits_the_lock_holds_it(mount):
    drive = LocalDrive(str(mount))
    descriptor = drive.lock()
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=[descriptor]
    )
    drive.unlock()
    other = LocalDrive(str(mount))
    with pytest.raises(Busy):
        other.lock()
    child.communicate()
    other.lock()
    other.unlock()


def test_a_drive_travels_to_another_process(mount):
    drive = pickle.loads(pickle.dumps(LocalDrive(str(mount))))
    assert drive.mount == str(mount)
    assert not drive.exists()


def test_descriptors_are_closed(mount):
    before = len(os.listdir("/proc/self/fd"))
    drive = LocalDrive(str(mount))
    drive.lock()
    drive.write_small("packs/0000/0000000.parity", b"x" * 10000)
    for direct in (False, True):
        with drive.open_read("packs/0000/0000000.parity", direct=direct) as file:
            file.read_at(1, 5000)
    with pytest.raises(DriveFault):
        drive.open_read("packs/0001/0001000.parity")
    with pytest.raises(FormatError):
        drive.open_read("packs")
    drive.create("drive.json").abandon()
    next(drive.walk(10))
    drive.unlock()
    del drive
    assert len(os.listdir("/proc/self/fd")) == before


def written_direct(mount, monkeypatch, refuses=()):
    """Whether each write of a pack that ends in half a sector went past the cache; `refuses` says what the system does
    not take: "ask" to be asked for it, "write" to write so."""
    drive, went = LocalDrive(str(mount)), []
    drive.lock()
    part = drive.create("packs/0000/0000000.parity", direct=True)
    plain_write, plain_fcntl = os.pwritev, fcntl.fcntl

    def write(descriptor, buffers, offset):
        direct = bool(plain_fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)
        if direct and "write" in refuses:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        went.append(direct)
        return plain_write(descriptor, buffers, offset)

    def ask(descriptor, command, value=0):
        if command == fcntl.F_SETFL and value & os.O_DIRECT and "ask" in refuses:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return plain_fcntl(descriptor, command, value)

    monkeypatch.setattr(os, "pwritev", write)
    monkeypatch.setattr(fcntl, "fcntl", ask)
    buffer = aligned_buffer(3 * ALIGN)
    buffer[:] = bytes(range(1, 4)) * ALIGN
    for start, stop in ((0, ALIGN), (ALIGN, 2 * ALIGN), (2 * ALIGN, 2 * ALIGN + 256)):
        part.write_at(start, [buffer[start:stop]])
    part.write_at(0, [memoryview(bytes(buffer[:ALIGN]))])  # memory that may not be written
    part.publish()
    assert drive.read_small("packs/0000/0000000.parity", 1 << 20) == bytes(buffer[: 2 * ALIGN + 256])
    drive.unlock()
    return went


@pytest.mark.parametrize("refuses", [(), ("ask",), ("write",)])
def test_packs_are_written_past_the_cache_where_the_system_takes_it(tmp_path, monkeypatch, refuses):
    here = os.path.join(tmp_path, "probe")
    try:
        os.close(os.open(here, os.O_WRONLY | os.O_CREAT | os.O_DIRECT))
    except OSError as error:
        pytest.skip(f"no direct I/O in {tmp_path}: {error}")
    went = written_direct(tmp_path, monkeypatch, refuses)
    assert went == ([True, True, False, False] if not refuses else [False] * 4)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EIO, "medium or its connection"),
        (errno.ENOSPC, "full"),
        (errno.EROFS, "read-only"),
        (errno.ENODEV, "went away"),
        (errno.ESTALE, "went away"),
        (errno.EXDEV, "cross-device"),
    ],
)
def test_every_errno_has_its_sentence(mount, monkeypatch, code, words):
    drive = LocalDrive(str(mount))
    drive.lock()

    def fail(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    part = drive.create("drive.json")
    monkeypatch.setattr(os, "pwritev", fail)
    with pytest.raises(DriveFault, match=words) as caught:
        part.write_at(0, [memoryview(b"x")])
    assert str(mount) in str(caught.value)
    assert "safe" in str(caught.value)
    assert caught.value.hint
    assert errno_of(caught.value) == code
    part.abandon()


def test_a_fault_without_errno_still_says_something():
    assert "odd" in str(fault("/m", "reading x", OSError("odd"), safe="nothing was changed"))


def test_serials_are_found_beneath_partitions_and_mappings(tmp_path, monkeypatch):
    disk = tmp_path / "devices" / "sda"
    (disk / "device").mkdir(parents=True)
    (disk / "device" / "serial").write_bytes(b"  WD-123  \n")
    (disk / "slaves").mkdir()
    (disk / "sda1" / "slaves").mkdir(parents=True)
    (disk / "sda1" / "partition").write_text("1")
    luks = tmp_path / "devices" / "dm-0"
    (luks / "slaves").mkdir(parents=True)
    (luks / "slaves" / "sda1").symlink_to(disk / "sda1")
    raid = tmp_path / "devices" / "md0"
    (raid / "slaves").mkdir(parents=True)
    (raid / "slaves" / "sda").symlink_to(disk)
    (raid / "slaves" / "sdb").symlink_to(disk)
    block = tmp_path / "block"
    block.mkdir()
    monkeypatch.setattr(medium, "_SYS_BLOCK", str(block))
    for minor, place in enumerate((disk, disk / "sda1", luks, raid)):
        (block / f"8:{minor}").symlink_to(place)
        monkeypatch.setattr(medium, "_device", lambda _fd, minor=minor: os.makedev(8, minor))
        assert medium.serial(0) == (None if place == raid else "WD-123")


def test_a_device_that_is_none_has_no_serial(monkeypatch):
    monkeypatch.setattr(medium, "_device", lambda _fd: os.makedev(4000, 1))
    assert medium.serial(0) is None


def test_a_file_that_is_forgotten_keeps_no_drive_from_being_unmounted(tmp_path):
    (tmp_path / "sealift").mkdir()
    (tmp_path / "sealift/x").write_bytes(b"data")
    before = set(os.listdir("/proc/self/fd"))
    file = LocalDrive(str(tmp_path)).open_read("x")
    assert file.read_at(0, 4) == b"data"
    assert set(os.listdir("/proc/self/fd")) > before
    del file
    gc.collect()
    assert set(os.listdir("/proc/self/fd")) <= before


def test_nothing_is_written_to_what_is_not_mounted_there_any_more(mount):
    """As after umount -l: the folder that was opened still answers, and is no longer what stands at its path."""
    drive = LocalDrive(str(mount))
    drive.lock()
    part = drive.create("packs/0000/0000000.parity")
    mount.rename(mount.parent / "detached")
    mount.mkdir()
    for act in (lambda: drive.create("B3SUMS"), lambda: drive.sync_folder("packs/0000/0000000.parity")):
        with pytest.raises(DriveFault, match="what was mounted there is no longer") as caught:
            act()
        assert errno_of(caught.value) == errno.ENODEV
        assert "mount it again at the same place" in caught.value.hint
    part.abandon()
    drive.unlock()
    with pytest.raises(DriveFault, match="no longer"):
        drive.lock()
    assert list(mount.iterdir()) == []
    mount.rmdir()
    with pytest.raises(DriveFault, match="no longer"):
        drive.lock()


@pytest.mark.parametrize("size", [1, ALIGN, HUGE // 2, HUGE // 2 + 1, HUGE - 1, HUGE, 2 * HUGE + 5])
def test_memory_for_direct_reads_is_a_forked_childs_own(size):
    """Readers decipher into such memory, and workers of a loader are forked from whoever has read before."""
    buffer = aligned_buffer(size)
    assert len(buffer) == -(-size // ALIGN) * ALIGN
    assert ctypes.addressof(ctypes.c_char.from_buffer(buffer)) % (HUGE if size > HUGE // 2 else ALIGN) == 0
    buffer[:] = b"p" * len(buffer)
    child = os.fork()
    if not child:
        buffer[:] = b"c" * len(buffer)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert buffer == b"p" * len(buffer)
