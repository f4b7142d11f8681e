"""Drives that go, fail and come in training: what parity holds changes no loss; what it does not is said, and kept."""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess

import pytest
import shipments
from trainings import BATCH, SAMPLES, checkpoints, curve, train

torch = pytest.importorskip("torch")

from sealift.cli import main  # noqa: E402
from sealift.errors import Interrupted, Lost  # noqa: E402
from sealift.reading.health import read_health  # noqa: E402

DROPOUT = {"dropout": 0.1}
EPOCH = SAMPLES // BATCH  # steps
_SHUTDOWN, _NO_LOG = 0x8004587D, 2  # EXT4_IOC_SHUTDOWN


@pytest.fixture
def drives(port, tmp_path):
    """A copy of the port's, to be damaged."""
    for name in ("d00", "d01", "d02"):
        shutil.copytree(port / name, tmp_path / "drives" / name)
    return tmp_path / "drives"


@pytest.fixture
def mounted(drives):
    """The drives as real filesystems, on loop devices."""
    if os.geteuid() != 0 or not os.path.exists("/dev/loop-control"):
        pytest.fail("needs root and loop devices") if os.environ.get("CI") else pytest.skip("needs root, loop devices")
    shipments.need("mkfs.ext4", "mount", "umount")
    with contextlib.ExitStack() as stack:
        for name in ("d00", "d01", "d02"):
            image, mount = drives.parent / f"{name}.img", drives / name
            run("truncate", "-s", "48M", image)
            run("mkfs.ext4", "-q", "-d", mount, image)
            shutil.rmtree(mount)
            mount.mkdir()
            run("mount", "-o", "loop", image, mount)
            stack.callback(subprocess.run, ["umount", "-l", mount], check=False, capture_output=True)
        yield drives


def run(*words):
    subprocess.run(list(map(str, words)), check=True, capture_output=True)


def unmount(mount):
    run("umount", "-l", mount)


def fail(mount):
    """The kernel answers with EIO from now on."""
    descriptor = os.open(mount, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, _SHUTDOWN, _NO_LOG.to_bytes(4, "little"))
    finally:
        os.close(descriptor)


@pytest.mark.long
@pytest.mark.root
def test_a_drive_that_fails_in_training_changes_no_loss_and_is_named(whole, config, mounted):
    path = config(model=DROPOUT, data={"drives": [f"{mounted}/*"]})
    answer, _ = train(path, lambda step: fail(mounted / "d01") if step == 5 else None)
    assert curve(path) == curve(whole[0])
    [drive] = answer["health"]["drives"]
    assert drive["serial"] == "SERd01"
    assert drive["state"] in {"failing", "damaged"}  # what fails when it is opened has not failed to read
    assert drive["rebuilt_blocks"] > 0
    written = (path.with_suffix("") / "final/health.json").read_bytes()
    assert read_health(written, "it").encode() == written == (checkpoints(path)[-1] / "health.json").read_bytes()


@pytest.mark.long
@pytest.mark.root
def test_a_drive_that_is_unmounted_in_training_changes_no_loss_and_is_missing_in_the_next_start(whole, config, mounted):
    """What reads keeps the filesystem, as the kernel does; who comes after finds an empty folder."""
    path = config(model=DROPOUT, data={"drives": [f"{mounted}/*"]})

    def happens(step):
        if step == 5:
            unmount(mounted / "d01")
        if step == EPOCH + 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train(path, happens)
    answer, _ = train(path)
    assert curve(path) == curve(whole[0])
    assert [(drive["serial"], drive["state"]) for drive in answer["health"]["drives"]] == [("SERd01", "missing")]
    assert answer["health"]["rebuilt_blocks"] > 0


@pytest.mark.long
@pytest.mark.root
def test_more_than_parity_holds_is_an_error_and_the_last_step_is_kept(whole, config, mounted):
    path = config(model=DROPOUT, data={"drives": [f"{mounted}/*"], "workers": 1}, training={"checkpoint_every": 1000})

    def happens(step):
        if step == 5:
            fail(mounted / "d00")
            fail(mounted / "d02")

    words = []
    with pytest.raises(Lost, match=r"is lost: .* and parity holds 1") as caught:
        train(path, happens, words=words)
    assert caught.value.exit_code == 4
    (last,) = checkpoints(path)
    step = int(last.name.removeprefix("step-"))
    assert EPOCH <= step < 2 * EPOCH, "of the second epoch only what the kernel still held could be read"
    assert f"stopped at step {step}: {last} is whole" in words[-1]
    for name in ("d00", "d02"):
        unmount(mounted / name)
        shutil.copyfile(mounted.parent / f"{name}.img", mounted.parent / "again.img")  # the first is still held
        run("mount", "-o", "loop", mounted.parent / "again.img", mounted / name)
        mounted.parent.joinpath("again.img").unlink()
    train(path)
    assert curve(path) == curve(whole[0])


def test_a_drive_that_was_never_here_is_told_by_the_command(config, drives, capsys):
    shutil.rmtree(drives / "d01")
    path = config(model=DROPOUT, data={"drives": [f"{drives}/*"]}, training={"steps": 3})
    assert main.run(["train", str(path)]) == 0
    err = capsys.readouterr().err
    assert re.search(r"drive g0s\d \(serial SERd01\) is not here; \d+ blocks of it rebuilt from parity", err)
    assert "final/health.json, for sealift repair --report" in err


def steps(path, epoch):
    return len([each for each in curve(path) if each[1] == epoch])


@pytest.mark.long
def test_drives_that_are_late_are_read_when_they_come(config, drives):
    """One of three to begin with; the others arrive while the first epoch is read, and are found at its end."""
    late = [drives / name for name in ("d01", "d02")]
    for each in late:
        each.rename(each.with_suffix(".late"))
    path = config(data={"drives": [f"{drives}/d0?"]})
    seen = []

    def arrive(step):
        if step == 1:
            seen.append(step)
            for each in late:
                each.with_suffix(".late").rename(each)

    answer, words = train(path, arrive)
    assert seen
    assert re.search(r"[\d,]+ samples are owed: read when their drives are here", "\n".join(words))
    assert "epoch 0: drives have come, and their samples are read now" in words
    assert steps(path, 0) == EPOCH, "all of the epoch, and nothing twice"
    assert answer["owed"] == 0


@pytest.mark.long
def test_drives_that_do_not_come_are_owed_at_the_end_of_each_epoch(config, drives):
    shutil.rmtree(drives / "d01")
    shutil.rmtree(drives / "d02")
    path = config(data={"drives": [f"{drives}/d0?"]})
    answer, words = train(path)
    ends = [re.fullmatch(r"epoch (\d+) ends, and (\d+) samples are owed", word) for word in words]
    told = {int(each[1]): int(each[2]) for each in ends if each}
    assert 0 in told
    assert steps(path, 0) == (SAMPLES - told[0]) // BATCH < EPOCH
    assert answer["owed"] == told[0]
