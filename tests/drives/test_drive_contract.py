"""LocalDrive, MemoryDrive and a simulated drive over either keep the contract that sealift.testing ships."""

import os
from pathlib import Path

import pytest

from sealift.drives.base import errno_of, split
from sealift.drives.local import LocalDrive
from sealift.drives.memory import MemoryDrive
from sealift.errors import DriveFault
from sealift.testing import DriveStoreTests, FleetSimulator


def plant_in_folder(mount, name, kind):
    place = Path(mount, "sealift", name)
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind == "link":
        Path(mount, "secret").write_bytes(b"not for reading")
        place.symlink_to(Path(mount, "secret"))
    elif kind == "folder":
        place.mkdir()
    else:
        os.mkfifo(place)


class TestLocalDrive(DriveStoreTests):
    @pytest.fixture
    def drive(self, tmp_path):
        return LocalDrive(str(tmp_path))

    def reopen(self, drive):
        return LocalDrive(drive.mount)

    def plant(self, drive, name, kind):
        plant_in_folder(drive.mount, name, kind)


class TestMemoryDrive(DriveStoreTests):
    @pytest.fixture
    def drive(self):
        return MemoryDrive("m")

    def reopen(self, drive):
        return MemoryDrive("m", drive.medium)

    def plant(self, drive, name, kind):
        drive.put(name, kind)


class TestSimulatedFolder(DriveStoreTests):
    @pytest.fixture
    def drive(self, tmp_path):
        self.fleet = FleetSimulator.on_folders(tmp_path, 1)
        return self.fleet.open(self.fleet.mounts[0])

    def reopen(self, drive):
        return self.fleet.open(drive.mount)

    def plant(self, drive, name, kind):
        plant_in_folder(drive.mount, name, kind)


class TestSimulatedMemory(DriveStoreTests):
    @pytest.fixture
    def drive(self):
        self.fleet = FleetSimulator.in_memory(1)
        return self.fleet.open(self.fleet.mounts[0])

    def reopen(self, drive):
        return self.fleet.open(drive.mount)

    def plant(self, drive, name, kind):
        drive._inner.put(name, kind)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "..", "a/../b", "a//b", "./a", "a/", "a\0b", "x.part"])
def test_names_that_could_leave_have_no_components(name):
    with pytest.raises(ValueError, match="no name"):
        split(name)


def test_a_planned_fault_carries_its_errno():
    drive = MemoryDrive("/mnt/a", plan=lambda operation, _name, _offset: 5 if operation == "read" else None)
    drive.put("packs.bin", b"x")
    with drive.open_read("packs.bin") as file, pytest.raises(DriveFault, match="input/output") as caught:
        file.read_at(0, 1)
    assert errno_of(caught.value) == 5
    assert caught.value.drive == "/mnt/a"
    assert caught.value.hint is not None
