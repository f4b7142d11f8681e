"""The file that `drives test --record` keeps for the plan."""

import msgspec
import pytest

from sealift.errors import FormatError
from sealift.formats import drive_tests


def row_of(name, **more):
    values = {
        "name": name, "serial": name, "model": "M", "size": 1 << 40, "rotational": True, "filesystem": "xfs",
        "at": "2026-11-25T12:00:00Z", "together": 2, "bytes": 1 << 20, "write_bytes_per_second": 5,
        "read_bytes_per_second": 6, "worst_stall": 0.25, "read_from": "medium", "fault": "",
    }  # fmt: skip
    return drive_tests.TestedDrive(**values | more)


def test_a_record_comes_back():
    record = drive_tests.DriveTests(drives=[row_of("A"), row_of("B", fault="it lies")])
    data = drive_tests.encode(record)
    assert drive_tests.decode(data) == record
    assert data.startswith(b'{\n  "type": "sealift-drive-tests",\n  "version": 1,\n')


def test_a_drive_tested_again_takes_the_place_of_its_older_test():
    record = drive_tests.added(
        drive_tests.DriveTests(drives=[row_of("B"), row_of("C")]), [row_of("C", bytes=7), row_of("A")]
    )
    assert [(drive.name, drive.bytes) for drive in record.drives] == [("A", 1 << 20), ("B", 1 << 20), ("C", 7)]


@pytest.mark.parametrize(
    "drives", [[row_of("B"), row_of("A")], [row_of("A"), row_of("A")]], ids=["out of order", "twice"]
)
def test_every_drive_is_there_once_and_in_order(drives):
    with pytest.raises(FormatError, match="order"):
        drive_tests.decode(drive_tests.encode(drive_tests.DriveTests(drives=drives)))


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"version": 1', b'"version": 2'), (b"drive-tests", b"other"), (b'"size"', b'"sise"'), (b"0.25", b"-1.0")],
)
def test_what_it_is_not_is_refused(old, new):
    data = drive_tests.encode(drive_tests.DriveTests(drives=[row_of("A")]))
    assert old in data
    with pytest.raises(FormatError):
        drive_tests.decode(data.replace(old, new))


def test_names_that_would_reach_a_screen_as_control_are_refused():
    data = msgspec.json.format(msgspec.json.encode(drive_tests.DriveTests(drives=[row_of("A\n")])), indent=2) + b"\n"
    with pytest.raises(FormatError):
        drive_tests.decode(data)
