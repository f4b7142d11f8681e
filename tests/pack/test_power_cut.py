"""The power fails at a random instant of a packing: filesystems of the drives and of the state folder, all at once.

A packing runs on recorded disks (recording_disk.py). For an instant of the record, the disks are made as they would be
found: everything that was flushed, and all, nothing or some of the writes since, for each disk on its own. Then they
are mounted, their journals replayed by the kernel, and held to what is promised: a drive whose manifest is signed is
whole; the same command again ends in a shipment that verifies and restores.
"""

from __future__ import annotations

import gc
import os
import pickle
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import recording_disk as disks
import shipments

from sealift.drives.local_file import LocalPartFile, LocalReadFile
from sealift.errors import Refused
from sealift.formats import manifest as mf
from sealift.formats import sshsig
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages import unpack as unpacking
from sealift.stages.pack import close
from sealift.stages.verify import verify

PACKER = str(Path(shipments.__file__).with_name("packer.py"))
FILESYSTEMS = ("ext4", "xfs", "ext4", "ext4")  # of three drives and the state folder
SIZES = {"ext4": 96 << 20, "xfs": 320 << 20}
KEEP = ("none", "some", "all")

pytestmark = pytest.mark.root


class Recording:
    """Disks before a packing, the log of it, and how far the log was when the packing said that it was done."""

    def __init__(self, origin: shipments.Origin, base: list[Path], work: Path) -> None:
        self.origin, self.base = origin, base
        images = disks.copy(base, work)
        with disks.Disks(images, mounts_of(origin)) as recorded:
            self.log = recorded.log
            begun = self.log.stat().st_size
            self.told = run_packer(origin)
            done = self.log.stat().st_size
        self.records = disks.records(self.log)
        self.begun = sum(record.start <= begun for record in self.records)
        self.done = sum(record.start <= done for record in self.records)
        flushes = [at for at, record in enumerate(self.records[: self.done]) if record.offset is None]
        self.edges = [at for at in flushes if at >= self.begun]
        shutil.rmtree(work)

    def instant(self, rng: random.Random) -> int:
        """Before a flush is done, after it, or anywhere."""
        kind = rng.randrange(3)
        if kind == 2:
            return rng.randrange(self.begun, self.done)
        return rng.choice(self.edges) + kind

    def cut(self, at: int, keep: str, rng: random.Random, out: Path) -> list[Path]:
        """The disks when power fails at `at`."""
        return disks.cut(self.base, self.log, self.records, at, keep, rng, out)


def mounts_of(origin: shipments.Origin) -> list[str]:
    return [*origin.mounts, str(origin.state.parent)]


def run_packer(origin: shipments.Origin) -> str:
    """Pack in a process of its own; why it failed, or nothing."""
    options = origin.root / "options"
    options.write_bytes(pickle.dumps(origin.pack_options(allow_same_filesystem=False)))
    done = subprocess.run([sys.executable, PACKER, str(options)], capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    why = disks.unavailable()
    if why and os.environ.get("CI"):
        pytest.fail(why)
    if why:
        pytest.skip(why)
    root = tmp_path_factory.mktemp("power")
    origin = shipments.Origin(root / "origin", shipments.corpus(root / "source"), 2, 1)
    origin.state = origin.root / "s" / "state"
    origin.state.parent.mkdir()
    base = root / "base"
    base.mkdir()
    images = [base / f"disk{number}.{kind}" for number, kind in enumerate(FILESYSTEMS)]
    for image, kind in zip(images, FILESYSTEMS, strict=True):
        with open(image, "wb") as file:
            file.truncate(SIZES[kind])
        subprocess.run([f"mkfs.{kind}", "-q", image], check=True)
    made = Recording(origin, images, root / "first")
    assert made.told == ""
    assert len(made.edges) > 50, "a packing flushes"
    return made


def held(origin: shipments.Origin) -> int:
    """Assert that drives whose manifest is signed have every byte that it names; how many there are.

    What else an interrupted packing left on them is no harm: the next run takes it away (`restores`).
    """
    allowed = AllowedSigners.parse(origin.allowed)
    count = 0
    for mount in origin.mounts:
        place = Path(mount, "sealift")
        try:
            data, signature = (place / mf.MANIFEST).read_bytes(), (place / mf.SIGNATURE).read_bytes()
            sshsig.verify(data, signature, mf.NAMESPACE)
        except (FileNotFoundError, Refused):
            continue
        count += 1
        report = verify([mount], allowed=allowed, remember=False)
        assert [each for each in report.faults if each.mount == mount and each.kind != "unexpected"] == []
        del report
    gc.collect()  # closes the drives, so that they can be unmounted
    return count


def restores(origin: shipments.Origin, target: Path) -> None:
    """Assert that what is packed verifies and restores."""
    seal = origin.seal()
    report = verify(origin.mounts, allowed=AllowedSigners.parse(origin.allowed), seal=seal, remember=False)
    assert (report.faults, report.state) == ([], "intact")
    left = [p.name for m in origin.mounts for p in Path(m, "sealift").rglob("*")]
    assert [name for name in left if name.endswith(".part") or name.startswith("journal")] == []
    result = origin.unpack(target, seal=seal)
    assert (result.failed, result.rebuilt_blocks) == ([], 0)
    shipments.same(origin.source, target)
    del report, result
    gc.collect()
    shutil.rmtree(target)


@pytest.fixture(autouse=True)
def _let_go(monkeypatch):
    """Nothing of this process may hold a file of a drive open once it is checked, or it cannot be unmounted."""
    monkeypatch.setattr(unpacking, "ProcessPoolExecutor", shipments.Inline)
    monkeypatch.setattr(LocalReadFile, "__del__", LocalReadFile.close, raising=False)


def one_cut(recording: Recording, tmp_path: Path, rng: random.Random, keep: str, at: int) -> None:
    """Cut, hold, go on, hold."""
    images = recording.cut(at, keep, rng, tmp_path / "cut")
    with disks.Mounted(images, mounts_of(recording.origin)):
        held(recording.origin)
        assert run_packer(recording.origin) == ""
        assert held(recording.origin) == 3
        restores(recording.origin, tmp_path / "restored")


def two_cuts(recording: Recording, tmp_path: Path, rng: random.Random, keep: str, at: int) -> None:
    """The power fails again while the same command goes on."""
    images = recording.cut(at, keep, rng, tmp_path / "cut")
    again = Recording(recording.origin, images, tmp_path / "again")
    assert again.told == ""
    one_cut(again, tmp_path / "second", rng, rng.choice(KEEP), again.instant(rng))


@pytest.mark.parametrize("keep", KEEP)
def test_power_fails_at_some_instant(recording, tmp_path, keep):
    rng = random.Random(KEEP.index(keep))
    one_cut(recording, tmp_path, rng, keep, recording.instant(rng))


def test_power_fails_right_after_packing_said_that_it_was_done(recording, tmp_path):
    images = recording.cut(recording.done, "none", random.Random(0), tmp_path / "cut")
    with disks.Mounted(images, mounts_of(recording.origin)):
        assert held(recording.origin) == 3
        restores(recording.origin, tmp_path / "restored")
        assert run_packer(recording.origin) == ""


def test_a_recording_without_its_flushes_is_not_enough(recording, tmp_path):
    """The proof can fail: disks that forget everything that was ever written hold no drive."""
    forgetful = [record for record in recording.records if record.offset is not None]
    images = disks.cut(
        recording.base, recording.log, forgetful, len(forgetful), "none", random.Random(0), tmp_path / "c"
    )
    with disks.Mounted(images, mounts_of(recording.origin)):
        assert held(recording.origin) == 0


class Stop(BaseException):
    """Ends a packing at once, as a kill does."""


@pytest.mark.long
def test_a_closing_that_is_cut_short_twice_leaves_no_manifest_over_other_bytes(tmp_path, monkeypatch):
    """First when the manifests are out and the journal's copies still there, then while the same is made anew."""
    origin = shipments.Origin(tmp_path / "origin", shipments.corpus(tmp_path / "source"), 2, 1)

    def stop(*_: object) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(close, "_remove_copies", stop)
        with pytest.raises(Stop):
            origin.pack()
    assert held(origin) == 3
    with monkeypatch.context() as patch:
        publish = LocalPartFile.publish
        patch.setattr(LocalPartFile, "publish", lambda part: stop() if "index/packs" in part.name else publish(part))
        with pytest.raises(Stop):
            origin.pack()
    held(origin)
    origin.pack()
    assert held(origin) == 3
    restores(origin, tmp_path / "restored")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(int(os.environ.get("SEALIFT_POWER_CUTS", "60"))))
def test_power_fails_at_many_instants(recording, tmp_path, seed):
    rng = random.Random(1000 + seed)
    one_cut(recording, tmp_path, rng, rng.choice(KEEP), recording.instant(rng))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(int(os.environ.get("SEALIFT_POWER_CUTS", "60"))))
def test_power_fails_again_while_packing_goes_on(recording, tmp_path, seed):
    rng = random.Random(2000 + seed)
    (tmp_path / "second").mkdir()
    two_cuts(recording, tmp_path, rng, rng.choice(KEEP), recording.instant(rng))
