"""What Origin makes is packed and sealed as it stands, says that it is a rehearsal, and passes for nothing else."""

import errno

import pytest

from sealift.errors import Refused
from sealift.stages.pack import run as packing
from sealift.stages.verify import verify
from sealift.testing import FleetSimulator, Origin
from sealift.trade import declaration as declarations


@pytest.fixture(params=["memory", "folders"])
def fleet(request, tmp_path):
    if request.param == "memory":
        return FleetSimulator.in_memory(2)
    return FleetSimulator.on_folders(tmp_path / "drives", 2)


@pytest.fixture
def origin(fleet, tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source/a.txt").write_bytes(b"words " * 1000)
    return Origin(tmp_path / "origin", tmp_path / "source", fleet)


def declared(origin):
    with open(origin.declaration, "rb") as file:
        return declarations.parse(file.read(), draft=False)


def pack(origin, **changes):
    return packing.run(origin.options(**changes), packing.Events())


def test_what_is_packed_is_sealed_and_intact_also_after_a_drive_was_replaced(fleet, origin):
    first, second = fleet.mounts
    fleet.fail(first, "rename", errno.EIO, lasting=True)
    assert pack(origin, read_back="none").exit_code == 3
    new = fleet.replace(first)
    origin.replace(first, new)
    assert origin.mounts == [new, second]
    assert [drive.serial for drive in declared(origin).drives] == ["SIM-02", "SIM-01"]
    assert pack(origin, read_back="none", replace={first: new}).exit_code == 0
    report = verify(fleet.drives, allowed=origin.allowed, seal=origin.seal())
    assert (report.state, report.seal.rehearsal) == ("intact", True)


def test_it_is_declared_as_a_rehearsal_and_packed_as_nothing_else(origin):
    assert declared(origin).rehearsal
    with pytest.raises(Refused, match="declares itself a rehearsal"):
        pack(origin, rehearsal=False)


def test_replacing_what_is_not_there_is_refused(fleet, origin):
    first, second = fleet.mounts
    for old, new in ((first, second), (first, "/mnt/none"), ("/mnt/none", first)):
        with pytest.raises(ValueError, match="give one of"):
            origin.replace(old, new)
    assert [drive.serial for drive in declared(origin).drives] == ["SIM-00", "SIM-01"]
