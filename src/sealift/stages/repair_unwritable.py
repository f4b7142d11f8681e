"""Drives that fail while repair writes or reads them: each is told with what stays wrong on it; the others are mended.

What holds: the first fault of a drive ends the writing there, and nothing else; what came under its name before stays.
What was planned for it and was not written is in the report as it was found. What is not here: the words (cli).
"""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING, Literal

import msgspec

from sealift.drives.base import SAFE_WRITING, errno_of, fault, reason
from sealift.drives.local import LocalDrive
from sealift.errors import DriveFault

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sealift.drives.base import Drive
    from sealift.formats.manifest import DriveRow
    from sealift.reading.survey import Survey
    from sealift.stages.verify_report import Fault

Why = Literal["read-only", "full", "denied", "gone", "failed"]
_WHY: dict[int, Why] = {
    errno.EROFS: "read-only",
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
    errno.EACCES: "denied",
    errno.EPERM: "denied",
}
_GONE = {errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN, errno.ESHUTDOWN, errno.ENOMEDIUM}


class Unwritable(msgspec.Struct):
    """A drive that failed when it was written: what is wrong on it is in `left`, or it is still missing (`onto`).

    `files` of it are still to be written. `spare`: its group can do without it, so that it can be made anew from the
    others.
    """

    drive: str
    serial: str  # as signed
    mount: str
    why: Why
    detail: str
    files: int
    onto: bool
    spare: bool = True


class Unreadable(msgspec.Struct):
    """A drive that did not read: here and there, or not any more while others were rebuilt from it.

    The latter counts as not here.
    """

    drive: str
    serial: str  # as signed
    mount: str
    detail: str


def failing(found: Survey, faults: Iterable[Fault]) -> list[Unreadable]:
    """Of these faults, the drives here whose medium failed; what is rotten was read, and is not meant."""
    rows = {row.id: row for group in found.groups for row in group.manifest.drives}
    first: dict[str, Unreadable] = {}
    for each in faults:
        row = rows.get(each.drive)
        if each.did_not_read and row is not None:
            told = Unreadable(row.id, row.serial, each.mount, reason(each.detail, each.mount))
            first.setdefault(each.mount, told)
    return list(first.values())


def foreseen(drive: Drive, needed: int) -> DriveFault | None:
    """Why a drive would not take `needed` more bytes, as far as it shows without writing there."""
    try:
        if isinstance(drive, LocalDrive) and drive.read_only:
            code, doing = errno.EROFS, "writing"
        elif (free := drive.free_bytes()) < needed:
            code, doing = errno.ENOSPC, f"writing {needed:,} bytes where {free:,} are free"
        else:
            return None
    except DriveFault as error:
        return error
    cause = OSError(code, errno.errorcode[code])
    told = fault(drive.mount, doing, cause, safe=SAFE_WRITING)
    told.__cause__ = cause
    return told


class Failing:
    """The drives of one repair that have failed. Safe for threads."""

    def __init__(self) -> None:
        self._faults: dict[int, DriveFault] = {}  # by id of the drive
        self._lock = threading.Lock()

    def note(self, drive: Drive, error: DriveFault) -> None:
        """It is written no more."""
        with self._lock:
            self._faults.setdefault(id(drive), error)

    def __contains__(self, drive: Drive) -> bool:
        return id(drive) in self._faults

    def of(self, drives: Collection[Drive]) -> int:
        """How many of these have failed."""
        return sum(drive in self for drive in drives)

    def told(self, drive: Drive, row: DriveRow, files: int, *, onto: bool, spare: bool) -> Unwritable:
        """What the report has of a drive that failed."""
        error = self._faults[id(drive)]
        code = errno_of(error) or 0
        why = "gone" if code in _GONE else _WHY.get(code, "failed")
        return Unwritable(row.id, row.serial, drive.mount, why, str(error), files, onto, spare)
