"""`sealift mount`: the folder is the source, to every system call; it is left as it should be, however it ends."""

import contextlib
import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import stat
import subprocess
import threading
from pathlib import Path

import pytest
import shipments
from mounted import command, is_mounted, mounted, need_fuse

from sealift.errors import Lost
from sealift.formats import age_keys
from sealift.formats import manifest as mf
from sealift.reading.health import read_health

MIB = 1 << 20


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    need_fuse()
    base = tmp_path_factory.mktemp("mount")
    source = shipments.corpus(base / "source")
    (source / "odd/inside").symlink_to("../text/part-00/doc-000.txt")
    made = shipments.Origin(base / "origin", source, 2, 1, groups=2)
    made.pack()
    return made


@pytest.fixture(scope="module")
def at(origin, tmp_path_factory):
    with mounted(origin, tmp_path_factory.mktemp("at") / "corpus") as mount:
        yield mount.folder


def by_group(origin):
    groups = {0: [], 1: []}
    for mount in origin.mounts:
        groups[mf.decode_manifest(Path(mount, "sealift", mf.MANIFEST).read_bytes()).group].append(mount)
    return list(groups.values())


def test_the_folder_is_the_source(origin, at):
    shipments.same(origin.source, at)


def test_the_folder_is_the_source_when_drives_are_missing(origin, tmp_path):
    kept = [mount for mounts in by_group(origin) for mount in mounts[1:]]
    with mounted(origin, tmp_path / "corpus", "--health", str(tmp_path / "health.json"), mounts=kept) as mount:
        shipments.same(origin.source, mount.folder)
        assert mount.end() == 0
        said = mount.said()
    health = read_health((tmp_path / "health.json").read_bytes(), "health")
    assert sorted(each.state for each in health.drives) == ["missing", "missing"]
    assert f"unmounted; {health.rebuilt_blocks} blocks of 1 MiB rebuilt" in said
    for each in health.drives:
        assert f"drive {each.drive} (serial {each.serial}, {each.carrier}) is missing: " in said


def test_copies_keep_hard_links_modes_and_times(origin, at, tmp_path):
    subprocess.run(["cp", "-a", at, tmp_path / "copy"], check=True)
    if os.geteuid():
        pytest.skip("files of mode 0000 are copied by root")
    shipments.same(origin.source, tmp_path / "copy", without=(b"",))


def test_links_follow_as_they_do_anywhere(origin, at):
    assert (at / "odd/inside").read_bytes() == (origin.source / "text/part-00/doc-000.txt").read_bytes()
    with pytest.raises(FileNotFoundError):
        (at / "odd/dangling").read_bytes()
    assert (at / "big/large.bin").stat().st_nlink == 2
    assert (at / "big/large.bin").stat().st_ino == (at / "text/another-name.bin").stat().st_ino
    inodes = {entry.inode() for entry in os.scandir(at / "images")}
    assert inodes == {path.stat().st_ino for path in (at / "images").iterdir()}


def test_random_places_of_files_and_maps_of_them(origin, at):
    import mmap

    rng = random.Random(7)
    for name in ("big/large.bin", "odd/sparse"):
        content = (origin.source / name).read_bytes()
        with open(at / name, "rb", buffering=0) as file:
            for _ in range(100):
                place, count = rng.randrange(len(content) + 10), rng.choice([1, 100, 70_000, 2 * MIB])
                assert os.pread(file.fileno(), count, place) == content[place : place + count]
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                assert mapped[-100:] == content[-100:]


def read_all(folder, names, out):
    out.put([Path(folder, name).read_bytes() for name in names])


def test_processes_and_threads_read_at_once(origin, tmp_path):
    names = ["big/large.bin", "odd/sparse", "text/part-01/doc-001.txt", "images/0003.jpg", "big/large.bin"]
    wanted = [(origin.source / name).read_bytes() for name in names]
    with mounted(origin, tmp_path / "corpus") as mount:  # nothing of it is in the kernel's cache yet
        out = multiprocessing.get_context("fork").Queue()
        children = [
            multiprocessing.get_context("fork").Process(
                target=read_all, args=(mount.folder, names[i:] + names[:i], out)
            )
            for i in range(2)
        ]
        got = []
        threads = [
            threading.Thread(target=lambda: got.append([Path(mount.folder, name).read_bytes() for name in names]))
            for _ in range(3)
        ]
        for each in [*children, *threads]:
            each.start()
        for i, found in enumerate(sorted((out.get(timeout=60) for _ in children), key=lambda f: f != wanted)):
            assert found == wanted[i:] + wanted[:i]
        for each in [*children, *threads]:
            each.join()
        assert got == [wanted] * 3


def test_nothing_can_be_written(at):
    calls = [
        lambda: (at / "new").write_bytes(b""),
        lambda: os.open(at / "odd/-rf", os.O_WRONLY | os.O_APPEND),
        lambda: os.mkdir(at / "new"),
        lambda: os.unlink(at / "odd/-rf"),
        lambda: os.rename(at / "odd/-rf", at / "odd/other"),
        lambda: os.chmod(at / "odd/-rf", 0o600),
        lambda: os.truncate(at / "odd/-rf", 0),
        lambda: os.symlink("x", at / "new"),
        lambda: os.utime(at / "odd/-rf"),
        lambda: os.setxattr(at / "odd/-rf", "user.x", b""),
    ]
    for call in calls:
        with pytest.raises(OSError, match="Read-only") as caught:
            call()
        assert caught.value.errno == errno.EROFS


def test_attributes_sizes_and_room(origin, at):
    digest = shipments.digest(os.fsencode(origin.source / "big/large.bin"))
    for name in ("big/large.bin", "text/another-name.bin"):
        assert os.getxattr(at / name, "user.sealift.blake3") == digest.encode()
        assert os.listxattr(at / name) == ["user.sealift.blake3"]
    assert os.listxattr(at / "text") == []
    for path, name in ((at / "text", "user.sealift.blake3"), (at / "odd/-rf", "user.other")):
        with pytest.raises(OSError) as caught:  # noqa: PT011 -- its number is looked at
            os.getxattr(path, name)
        assert caught.value.errno == errno.ENODATA
    room = os.statvfs(at)
    assert room.f_bavail == room.f_bfree == 0
    assert room.f_blocks * room.f_frsize >= (origin.source / "big/large.bin").stat().st_size
    assert room.f_flag & os.ST_RDONLY


def test_others_may_read_what_modes_allow_if_wanted(origin, tmp_path):
    if os.geteuid():
        pytest.skip("another user is needed, and root to become it")
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o711)
    for more, good in (((), False), (("--allow-other",), True)):
        with mounted(origin, tmp_path / f"corpus{good}", *more) as mount:
            for name, allowed in (("odd/-rf", good), ("big/large.bin", False)):  # of mode 0600
                done = subprocess.run(["cat", mount.folder / name], capture_output=True, check=False, **nobody)
                assert (done.returncode == 0) == allowed, (name, done.stderr)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_unmounts_even_when_a_file_is_open(origin, tmp_path, number):
    with mounted(origin, tmp_path / "corpus") as mount:
        file = os.open(mount.folder / "odd/-rf", os.O_RDONLY)
        assert mount.end(number) == 0
        assert not is_mounted(mount.folder)
        assert mount.said().splitlines()[-1] == "unmounted; every drive was here, and nothing had to be rebuilt"
        assert "Traceback" not in mount.said()
        with contextlib.suppress(OSError):  # what stood behind it is gone
            os.close(file)


def test_fusermount_ends_it(origin, tmp_path):
    with mounted(origin, tmp_path / "corpus") as mount:
        subprocess.run(["fusermount3", "-u", mount.folder], check=True)
        assert mount.process.wait(30) == 0
        assert "unmounted; " in mount.said()
        lines = mount.said().splitlines()
        assert len(lines) == 2, lines  # one when it is ready, one at the end


def test_what_is_lost_is_an_io_error_and_one_line_and_the_rest_reads(origin, tmp_path):
    first, second = by_group(origin)
    with mounted(origin, tmp_path / "corpus", mounts=[first[0], *second]) as mount:
        good, bad = 0, []
        for folder, _, names in os.walk(os.fsencode(mount.folder)):
            for name in names:
                path = folder + b"/" + name
                if not stat.S_ISREG(os.lstat(path).st_mode):
                    continue
                try:
                    content = Path(os.fsdecode(path)).read_bytes()
                except OSError as error:
                    assert error.errno == errno.EIO  # noqa: PT017 -- most files are read
                    bad.append(os.path.relpath(os.fsdecode(path), mount.folder))
                    continue
                relative = os.path.relpath(os.fsdecode(path), mount.folder)
                assert content == (origin.source / relative).read_bytes()
                good += 1
        assert good
        assert bad
        for name in bad:
            with pytest.raises(OSError, match="Input/output"):
                (mount.folder / name).read_bytes()
            shown = name.encode(errors="backslashreplace").decode()
            assert sum(line.startswith(f"/{shown}: ") for line in mount.said().split("\n/")) <= 1
        assert mount.said().count("is lost: ") == len(bad)
        assert "hint: attach more drives" in mount.said()
        assert mount.end() == 0


def test_a_group_that_is_not_here_is_told(origin, tmp_path):
    with mounted(origin, tmp_path / "corpus", mounts=by_group(origin)[0]) as mount:
        assert "group 1 has no drive here: " in mount.said()
        assert set(shipments.picture(mount.folder)) < set(shipments.picture(origin.source))


def test_relative_places_stay_what_they_were(origin, tmp_path):
    (tmp_path / "at").mkdir()
    given = [os.path.relpath(mount, tmp_path) for mount in origin.mounts]
    process = subprocess.Popen(
        [*command(origin, "--health", "health.json", mounts=given), "--at", "at"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert "unmounts" in process.stderr.readline()
        shipments.same(origin.source, tmp_path / "at")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert json.loads((tmp_path / "health.json").read_bytes())["rebuilt_blocks"] == 0


def refused(origin, *more):
    done = subprocess.run([*command(origin), *more], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("sealift: error: ")
    assert "\nhint: " in done.stderr
    return done.stderr


def test_a_folder_that_does_not_serve_is_refused(origin, tmp_path):
    assert "no such file" in refused(origin, "--at", str(tmp_path / "none"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    assert "not empty" in refused(origin, "--at", str(tmp_path / "full"))
    assert "not a directory" in refused(origin, "--at", str(tmp_path / "full/file"))


def test_a_wrong_identity_is_refused_before_anything_is_shown(origin, tmp_path):
    (tmp_path / "other").write_text(age_keys.generate_identity()[0] + "\n")
    (tmp_path / "at").mkdir()
    line = [str(tmp_path / "other") if each == str(origin.root / "identity") else each for each in command(origin)]
    done = subprocess.run([*line, "--at", tmp_path / "at"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 5
    assert "hint: give the identity of one of the recipients" in done.stderr
    assert not is_mounted(tmp_path / "at")


def test_what_a_killed_mount_left_is_named(origin, tmp_path):
    with mounted(origin, tmp_path / "corpus") as mount:
        mount.process.kill()
        mount.process.wait(30)
        assert "fusermount3 -u" in refused(origin, "--at", str(mount.folder))


def test_without_fuse_it_says_what_to_install(origin, tmp_path):
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/mfusepy.py").write_text("raise ImportError('no mfusepy here')")
    (tmp_path / "at").mkdir()
    done = subprocess.run(
        [*command(origin), "--at", str(tmp_path / "at")],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(tmp_path / "hidden")},
    )  # fmt: skip
    assert done.returncode == 1
    assert "hint: apt install fuse3, and pip install 'sealift[mount]'" in done.stderr


def test_a_drive_that_goes_away_while_mounted_is_rebuilt_and_named(origin, tmp_path):
    drives = [shutil.copytree(mount, tmp_path / os.path.basename(mount)) for mount in by_group(origin)[0]]
    with mounted(origin, tmp_path / "corpus", mounts=list(map(str, drives))) as mount:
        first = next(path for path in (mount.folder / "images").iterdir())
        assert first.read_bytes() == (origin.source / "images" / first.name).read_bytes()
        shutil.rmtree(drives[1] / "sealift/packs")
        for path in (mount.folder / "images").iterdir():
            assert path.read_bytes() == (origin.source / "images" / path.name).read_bytes()
        assert mount.end() == 0


class InMemory:
    """What a MemberFile is to an open file of the mount; bytes from `lost` to `lost` + 1 MiB cannot be had."""

    def __init__(self, lost=None):
        self.content, self.reads, self.lost = random.Random(1).randbytes(32 * MIB), [], lost

    def seek(self, place):
        self.at = place

    def readinto(self, buffer):
        if self.lost is not None and self.at < self.lost + MIB and self.lost < self.at + len(buffer):
            raise Lost("gone")
        self.reads.append((self.at, len(buffer)))
        buffer[:] = self.content[self.at : self.at + len(buffer)]


def places_nearly_in_order():
    """Every MiB of 32, within a few MiB of its place, as threads come with what the kernel asked for ahead."""
    rng, places = random.Random(2), list(range(0, 32 * MIB, MIB))
    for at in range(3, 32, 3):
        part = places[at : at + 3]
        rng.shuffle(part)
        places[at : at + 3] = part
    return places


def take(handle, place, length=MIB):
    buffer = bytearray(length)
    handle.readinto(place, memoryview(buffer))
    return bytes(buffer)


def test_reading_on_is_in_order_and_once_whatever_thread_comes_first():
    need_fuse()
    from sealift.integrations.fuse import _Handle

    file = InMemory()
    handle = _Handle(file)
    for place in places_nearly_in_order():
        assert take(handle, place) == file.content[place : place + MIB]
    assert file.reads == sorted(file.reads)
    assert sum(length for _, length in file.reads) == len(file.content)
    for place in (5 * MIB, 5 * MIB + 100, 20 * MIB, 31 * MIB, 0):  # and anywhere
        assert take(handle, place, 100) == file.content[place : place + 100]


def test_what_is_lost_between_is_no_fault_of_what_follows():
    need_fuse()
    from sealift.integrations.fuse import _Handle

    file = InMemory(lost=10 * MIB)
    handle, bad = _Handle(file), []
    for place in places_nearly_in_order():
        try:
            assert take(handle, place) == file.content[place : place + MIB]
        except Lost:
            bad.append(place)
    assert bad == [10 * MIB]
