"""What `sealift drives test --record FILE` keeps: how fast and how true each drive was, for the plan.

What holds: one canonical form (canonical.py); a drive is there once, by its name, which is its serial number or, of a
drive that tells none, the path that `sealift drives` names it by. Rates are bytes a second of writing and of reading
past the page cache, measured while `together` drives were tested at once. A drive that failed is there too, with its
fault, so that a plan does not take it for one that was never tested.

What is not here: testing (stages/drives_test.py).
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from sealift.errors import FormatError
from sealift.formats import canonical
from sealift.formats.canonical import Record
from sealift.formats.manifest import Count, Text  # noqa: TC001 -- msgspec reads them

MAX_FILE = 16 << 20
MAX_DRIVES = 10_000

Name = Annotated[str, Meta(min_length=1, max_length=4096, pattern=r"\A[^\x00-\x1f\x7f]*\Z")]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Time = Annotated[str, Meta(pattern=r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")]


class TestedDrive(Record, frozen=True, kw_only=True):
    """One drive; rates are 0 where the test did not get so far."""

    __test__ = False  # of pytest's

    name: Name
    serial: Text
    model: Text
    size: Count
    rotational: bool
    filesystem: Text
    at: Time
    together: Annotated[int, Meta(ge=1, le=MAX_DRIVES)]
    bytes: Count  # that were written, read back and found as they were written
    write_bytes_per_second: Count
    read_bytes_per_second: Count
    worst_stall: Seconds  # the longest that one write, flush or read took
    read_from: Literal["medium", "cache"]
    fault: Annotated[str, Meta(max_length=1000, pattern=r"\A[^\x00-\x1f\x7f]*\Z")]  # empty: the drive is good


class DriveTests(Record, frozen=True, kw_only=True):
    """The file."""

    type: Literal["sealift-drive-tests"] = "sealift-drive-tests"
    version: Literal[1] = 1
    drives: Annotated[list[TestedDrive], Meta(max_length=MAX_DRIVES)]


def encode(record: DriveTests) -> bytes:
    """Canonical bytes."""
    return canonical.encode(record)


def decode(data: bytes) -> DriveTests:
    """Parse; FormatError."""
    record = canonical.decode(data, DriveTests, limit=MAX_FILE, name="the record of drive tests")
    names = [drive.name for drive in record.drives]
    if sorted(set(names)) != names:
        raise FormatError(
            "the record of drive tests: drives are not in the order of their names, or one is there twice"
        )
    return record


def added(record: DriveTests, tested: list[TestedDrive]) -> DriveTests:
    """The record with these drives, each in the place of an older test of it."""
    by_name = {drive.name: drive for drive in [*record.drives, *tested]}
    return DriveTests(drives=[by_name[name] for name in sorted(by_name)])
