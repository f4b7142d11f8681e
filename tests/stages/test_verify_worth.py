"""What a report says of each reading to somebody who was not there: when, against which seal, how many faults."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets

from sealift.errors import BadInput
from sealift.formats import manifest as mf
from sealift.stages import verify_read
from sealift.stages.inspect import inspect
from sealift.stages.verify import verify
from sealift.stages.verify_report import read_part

FLEET = fleets.make(Path("/nowhere"), seed=31, geometry=((2, 1),), on_disk=False)
SEAL = blake3(FLEET.seal_files["seal/seal.json"]).hexdigest()


def look(drives, **more):
    return verify(drives, allowed=FLEET.allowed, remember=False, **more).groups[0].present


def test_a_reading_says_when_and_against_which_seal():
    before = datetime.now(UTC).replace(microsecond=0)
    present = look(FLEET.memory())
    for drive in present:
        read_at = datetime.strptime(drive.read_at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        assert before <= read_at <= datetime.now(UTC)
    assert {(drive.against, drive.faults, drive.rebuilt) for drive in present} == {(SEAL, 0, False)}


def test_without_a_seal_that_holds_it_is_against_none():
    assert {drive.against for drive in look(FLEET.memory(with_seal=False))} == {None}
    assert {drive.against for drive in look(FLEET.memory(with_seal=False), seal=FLEET.seal_files)} == {SEAL}


def test_faults_are_counted_where_they_are_and_too_many_to_list_count():
    drives = FLEET.memory()
    drives[0].put(mf.SUMS, b"rubbish")
    for number in range(1500):
        drives[1].put(f"stray-{number}", b"")
    assert [drive.faults for drive in look(drives)] == [1, 1001, 0]


def test_what_the_survey_saw_and_a_conflict_are_faults_of_the_drive_too():
    drives = FLEET.memory()
    del drives[0].medium.files[mf.CARD]
    fake = FLEET.memory()[1]
    fake.mount = "/mnt/fake"
    pack = mf.pack_name(0, mf.role_of(0, 1, 3), 2)
    fake.put(pack, bytes(len(fake.medium.files[pack])))
    counts = {drive.mount: drive.faults for drive in look([*drives, fake])}
    blocks = -(-len(fake.medium.files[pack]) // mf.BLOCK)
    assert counts == {"/mnt/g0s0": 1, "/mnt/g0s1": 0, "/mnt/g0s2": 0, "/mnt/fake": 1}
    drives[1].put(pack, fake.medium.files[pack])
    counts = {drive.mount: drive.faults for drive in look([*drives, fake])}
    assert counts == {"/mnt/g0s0": 1, "/mnt/g0s1": blocks + 1, "/mnt/g0s2": 0, "/mnt/fake": blocks + 1}


def test_more_faults_than_are_kept_are_counted(monkeypatch):
    monkeypatch.setattr(verify_read, "MAX_FAULTS", 3)
    drives = FLEET.memory()
    for number in range(9):
        drives[1].put(f"stray-{number}", b"")
    assert [drive.faults for drive in look(drives)] == [0, 9, 0]


def test_an_inspection_is_no_reading():
    (group,) = inspect(FLEET.memory(), allowed=FLEET.allowed).groups
    assert {(drive.read_at, drive.against, drive.faults) for drive in group.present} == {(None, None, None)}


@pytest.mark.parametrize("when", ["2026-02-30T00:00:00Z", "yesterday", "2026-11-20T10:00:00Z\n"])
def test_a_report_with_a_time_that_is_none_is_refused(when):
    report = verify(FLEET.memory(), allowed=FLEET.allowed, remember=False)
    report.groups[0].present[0].read_at = when
    with pytest.raises(BadInput, match=r"there is no time|matching regex"):
        read_part(msgspec.json.encode(report), "x.json")


def test_a_report_of_an_earlier_sealift_is_read_and_says_nothing_of_it():
    report = msgspec.to_builtins(verify(FLEET.memory(), allowed=FLEET.allowed, remember=False))
    for drive in report["groups"][0]["present"]:
        for key in ("read_at", "against", "faults", "rebuilt"):
            del drive[key]
    (drive, *_) = read_part(msgspec.json.encode(report), "x.json").groups[0].present
    assert (drive.verified, drive.read_at, drive.against, drive.faults) == (True, None, None, None)
