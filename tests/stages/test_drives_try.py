"""`drives test` on real filesystems: drives that are good, lie, fail, fill up, hang; and that nothing stays."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import loops
import pytest
from mounted import umount

from sealift.cli import main
from sealift.drives.local import LocalDrive
from sealift.errors import BadInput
from sealift.formats import drive_tests, smart
from sealift.stages import drives_test as stage

pytestmark = pytest.mark.root
SIZE = 3 * stage.CHUNK


@pytest.fixture
def made(tmp_path):
    with loops.loops(tmp_path) as found:
        yield found


def mounted(made, name, kind="ext4", size=None, *options):
    """Mount point and image of a new drive."""
    image, device = made.drive(f"{name}.img", kind, size)
    return str(made.mount(device, name, *options)), image


def once_written(monkeypatch, what):
    """Do `what(bytes of the test, its mount)` when a drive has flushed everything, in its own process."""
    real = stage._read_back

    def spy(file, wanted, *rest):
        what(wanted, file.mount)
        real(file, wanted, *rest)

    monkeypatch.setattr(stage, "_read_back", spy)


def page_of(wanted, number, page):
    """The bytes of one page of a chunk, as they were written."""
    buffer = bytearray(stage.CHUNK)
    wanted.fill(memoryview(buffer), number)
    return bytes(buffer[page * 4096 : (page + 1) * 4096])


def alter(image, page, new):
    """Exchange a page on the medium itself, beneath the filesystem and the block device."""
    place = Path(image).read_bytes().find(page)
    assert place >= 0
    with open(image, "r+b") as file:
        file.seek(place)
        file.write(new)


def test_good_drives_of_two_filesystems(made):
    drives = [mounted(made, "a"), mounted(made, "b", "xfs")]
    before = [sorted(os.listdir(mount)) for mount, _ in drives]
    tested = stage.try_drives([mount for mount, _ in drives], size=SIZE)
    for each, (mount, image), kind in zip(tested, drives, ("ext4", "xfs"), strict=True):
        row = each.drive
        assert (each.mount, each.fault, row.fault) == (mount, None, "")
        assert (row.name, row.filesystem, row.together, row.bytes, row.read_from) == (image, kind, 2, SIZE, "medium")
        assert row.write_bytes_per_second > 0
        assert row.read_bytes_per_second > 0
        assert 0 < row.worst_stall < 60
        assert each.smart.after.verdict == "unknown"
    assert [sorted(os.listdir(mount)) for mount, _ in drives] == before


def test_every_page_of_a_test_is_another(tmp_path):
    wanted = stage._Bytes(1)
    pages = {page_of(wanted, chunk, page) for chunk in range(3) for page in range(stage.CHUNK // 4096)}
    assert len(pages) == 3 * stage.CHUNK // 4096
    assert page_of(wanted, 1, 7) != page_of(stage._Bytes(2), 1, 7)


def flipped(page):
    return page[:100] + bytes([page[100] ^ 0x10]) + page[101:]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("flip", "1 bytes in 1 pages of 4 KiB"),
        ("drop", "in 1 pages of 4 KiB"),
        ("other place", "in 1 pages of 4 KiB"),
    ],
)
def test_a_drive_that_lies_is_named_and_the_others_go_on(made, monkeypatch, how, words):
    liar, image = mounted(made, "liar")
    good, _ = mounted(made, "good")

    def lie(wanted, mount):
        page = page_of(wanted, 1, 5)
        new = {"flip": flipped(page), "drop": bytes(4096), "other place": page_of(wanted, 2, 5)}[how]
        if mount == liar:
            alter(image, page, new)

    once_written(monkeypatch, lie)
    lied, fine = stage.try_drives([liar, good], size=SIZE)
    assert lied.fault.startswith(f"{liar}: it lies: ")
    assert words in lied.fault
    first = stage.CHUNK + 5 * 4096
    assert any(f"the first at byte {first + at:,} of" in lied.fault for at in range(4096))
    assert (lied.drive.bytes, fine.fault, fine.drive.bytes) == (stage.CHUNK, None, SIZE)


def in_memory(made, name):
    """Mount point, image, and the folder in memory where it is."""
    store = made.memory(f"{name}-store", 80 << 20)
    image = made.image("img", 64 << 20, store=store)
    loops.run("mkfs.ext4", "-q", image)
    return str(made.mount(made.attach(image), name)), image, store


def test_a_medium_that_fails_while_it_is_read(made, monkeypatch):
    mount, image, store = in_memory(made, "a")

    def cut(_wanted, _mount):
        os.truncate(image, 1 << 20)
        loops.run("mount", "-o", "remount,size=2M", store)

    once_written(monkeypatch, cut)
    (failed,) = stage.try_drives([mount], size=SIZE)
    assert "input/output error" in failed.fault
    assert failed.drive.bytes < SIZE


def test_a_medium_that_fails_while_it_is_written(made, monkeypatch):
    mount, image, store = in_memory(made, "a")
    good, _ = mounted(made, "good")
    real = stage._write

    def spy(file, *rest):
        if file.mount == mount:
            os.truncate(image, 1 << 20)
            loops.run("mount", "-o", "remount,size=2M", store)
        real(file, *rest)

    monkeypatch.setattr(stage, "_write", spy)
    failed, fine = stage.try_drives([mount, good], size=SIZE)
    assert any(words in failed.fault for words in ("input/output error", "read-only", "full"))  # the kernel's choice
    assert fine.fault is None


def test_a_drive_without_room_is_told_before_it_is_written(made):
    mount, _ = mounted(made, "a", "ext4", 8 << 20)
    (failed,) = stage.try_drives([mount], size=SIZE)
    assert f"bytes are free, and the test wants {SIZE:,}" in failed.fault
    assert failed.drive.write_bytes_per_second == 0


def test_a_drive_that_fills_up_is_named(made, monkeypatch):
    mount, _ = mounted(made, "a", "ext4", 8 << 20)
    monkeypatch.setattr(LocalDrive, "free_bytes", lambda _self: 1 << 40)
    (failed,) = stage.try_drives([mount], size=SIZE)
    assert "the drive is full" in failed.fault
    assert os.statvfs(mount).f_bfree > 1000


def test_a_drive_that_is_read_only_is_named(made):
    mount, _ = mounted(made, "a", "ext4", None, "-o", "ro")
    good, _ = mounted(made, "good")
    failed, fine = stage.try_drives([mount, good], size=SIZE)
    assert "mounted read-only" in failed.fault
    assert fine.fault is None


def test_a_drive_that_hangs_is_left_and_the_others_go_on(made):
    """Frozen, a filesystem takes no write, and who writes cannot be killed."""
    mount, _ = mounted(made, "a")
    good, _ = mounted(made, "good")
    loops.run("fsfreeze", "--freeze", mount)
    try:
        begun = time.monotonic()
        failed, fine = stage.try_drives([mount, good], size=SIZE, patience=2)
        assert time.monotonic() - begun < 8
        assert "no answer within 2 s, while writing at byte 0" in failed.fault
        assert fine.fault is None
    finally:
        loops.run("fsfreeze", "--unfreeze", mount)


def test_a_drive_that_sealift_works_on_is_not_tested_beside_it(made):
    mount, _ = mounted(made, "a")
    drive = LocalDrive(mount)
    drive.lock()
    (failed,) = stage.try_drives([mount], size=SIZE)
    assert "another process works on this drive" in failed.fault
    drive.unlock()
    assert stage.try_drives([mount], size=SIZE)[0].fault is None


def test_places_that_are_no_drive(made, tmp_path):
    mount, _ = mounted(made, "a")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInput, match="nothing is mounted there"):
        stage.try_drives([mount, str(tmp_path / "folder")], size=SIZE)
    again = tmp_path / "again"
    again.mkdir()
    loops.run("mount", "--bind", mount, again)
    try:
        with pytest.raises(BadInput, match="are on one drive"):
            stage.try_drives([mount, str(again)], size=SIZE)
    finally:
        umount(again)


def said(**more):
    return smart.Health(**{"verdict": "good", "counts": {"pending": 0, "crc_errors": 2}, **more})


@pytest.mark.parametrize(
    ("after", "fault"),
    [
        (said(), None),
        (said(verdict="doubtful", why="8 pending", counts={"pending": 8, "crc_errors": 2}), "pending rose from 0 to 8"),
        (said(counts={"pending": 0, "crc_errors": 3}), "crc_errors rose from 2 to 3"),
        (said(verdict="failing", why="it says so"), "it says so"),
        (smart.unknown("gone"), None),
        (said(counts={}), None),
    ],
)
def test_a_drive_whose_own_counts_rise_is_not_to_be_trusted(made, monkeypatch, after, fault):
    mount, _ = mounted(made, "a")
    answers = [[said()], [after]]
    monkeypatch.setattr(stage.block, "health", lambda _disks: answers.pop(0))
    (tested,) = stage.try_drives([mount], size=SIZE)
    assert (tested.fault is None) == (fault is None)
    assert fault is None or fault in tested.fault
    assert tested.smart.before == said()


def test_killed_it_leaves_nothing(made):
    mount, _ = mounted(made, "a", "ext4", 512 << 20)
    free = os.statvfs(mount).f_bfree
    command = [sys.executable, "-m", "sealift", "drives", "test", mount, "--bytes", "256MiB"]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    until = time.monotonic() + 20
    while os.statvfs(mount).f_bfree > free - 2000:
        assert time.monotonic() < until
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert os.listdir(mount) == ["lost+found"]
    while os.statvfs(mount).f_bfree < free - 100:  # ext4 gives large files back when it gets to it
        assert time.monotonic() < until
        time.sleep(0.05)


def test_interrupted_its_processes_end_too(made):
    mount, _ = mounted(made, "a", "ext4", 512 << 20)
    command = [sys.executable, "-m", "sealift", "drives", "test", mount, "--bytes", "300MiB"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    free, until = os.statvfs(mount).f_bfree, time.monotonic() + 20
    while os.statvfs(mount).f_bfree > free - 2000:
        assert time.monotonic() < until
        time.sleep(0.01)
    (tester,) = loops.children(child.pid)
    child.send_signal(signal.SIGINT)  # to the parent alone
    assert child.wait(10) == 130
    child.stderr.close()
    assert not loops.is_there(tester)


def test_the_command_records_for_the_plan_and_adds(made, capsys):
    one, image = mounted(made, "a")
    two, other = mounted(made, "b", "ext4", 8 << 20)
    kept = made.root / "drives.json"
    assert main.run(["drives", "test", one, "--bytes", "8MiB", "--record", str(kept)]) == 0
    first = drive_tests.decode(kept.read_bytes())
    assert [drive.name for drive in first.drives] == [image]
    assert main.run(["drives", "test", two, "--bytes", "8MiB", "--record", str(kept), "--json"]) == 3
    out = capsys.readouterr().out
    both = drive_tests.decode(kept.read_bytes())
    assert both.drives[0] == first.drives[0]
    assert [drive.name for drive in both.drives] == sorted([image, other])
    assert "bytes are free" in both.drives[1].fault
    answer = json.loads(out[out.index('{"drives"') :])
    assert answer["drives"][0]["fault"] == both.drives[1].fault
    assert main.run(["drives", "test", one, two, "--bytes", "8MiB"]) == 3
    assert f"{one} ({image}): good: wrote" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["another file", "no folder"])
def test_a_record_that_cannot_be_kept_is_said_before_the_test(made, monkeypatch, capsys, what):
    path = made.root / "kept"
    path.write_text("precious")
    monkeypatch.setattr(stage, "try_drives", None)
    given = path if what == "another file" else made.root / "absent" / "kept"
    assert main.run(["drives", "test", "/", "--record", str(given)]) == 1
    assert "--record" in capsys.readouterr().err
    assert path.read_text() == "precious"


def test_memory_is_no_medium_and_it_says_so(capsys):
    loops.need_loops()
    assert main.run(["drives", "test", "/dev/shm", "--bytes", "8MiB"]) == 0
    assert "says nothing of a medium" in capsys.readouterr().out
