"""The one way from a location to a drive: a folder in which one is mounted, http(s)://HOST/PATH/, or s3://BUCKET/PREFIX.

Whatever takes locations (pack, seal, inspect, verify, ls, cat, mount, unpack, train, Shipment.open) opens them here and
nowhere else. Where several drives are taken, the path of a locations file stands for all that it lists, in any mix
(docs/spec/locations.md). Opening a folder looks at it; opening what is elsewhere asks nobody yet. BadInput for what is
none of these.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from sealift.drives.local import LocalDrive
from sealift.drives.ranges import RemoteDrive
from sealift.errors import BadInput, SealiftError
from sealift.formats import locations as forms

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from sealift.drives.base import Drive

NOTES = ".sealift-ingest-"  # what all notes and locks of an ingest begin with
COPYING = NOTES + "packs-"  # what the notes of an ingest of packs begin with, before the shipment


def is_store(location: str) -> bool:
    """Whether it names something else than a folder of this host; BadInput where nobody here can open it."""
    scheme = forms.scheme_of(location)
    if scheme in {"s3", "http", "https"}:
        return True
    if scheme:
        raise BadInput(
            f"{scheme}://... is no location that sealift opens",
            hint="give the folder where a drive is mounted, http(s)://HOST/PATH/, or s3://BUCKET/PREFIX",
        )
    return False


def is_list(location: str) -> bool:
    """Whether it is the path of a file, which may be a locations file and is no drive."""
    return not is_store(location) and os.path.isfile(location)


def open_drive(location: str) -> Drive:
    """The drive at a location; BadInput where there is no such folder, or the location is not well formed."""
    return _open(forms.DriveRow(at=location), "", forms.REQUESTS)


def _open(row: forms.DriveRow, folder: str, requests: int) -> Drive:
    """The drive of a row of a locations file in `folder`."""
    scheme = forms.scheme_of(row.at) if is_store(row.at) else ""
    if scheme == "s3":
        from sealift.drives.objects import ObjectDrive

        return ObjectDrive(row.at, name=row.name, requests=requests)
    if scheme:
        from sealift.drives.http import HttpDrive, Way

        beside = [os.path.join(folder, each) if each else "" for each in (row.token_file, row.ca_file)]
        return HttpDrive(Way(row.at, row.name, beside[0], row.token_env, beside[1], requests))
    return LocalDrive(os.path.join(folder, row.at))


def open_to_write(location: str) -> Drive:
    """The same, where something is to be written; BadInput where that cannot be, too."""
    drive = open_drive(location)
    if forms.scheme_of(location) in {"http", "https"}:
        raise BadInput(
            f"{location} is read over HTTP, and nothing is written there",
            hint="give the folder in which the drive is mounted, on the host where it stands",
        )
    return drive


def open_drives(location: str) -> tuple[list[Drive], list[str]]:
    """The drive at a location, or all drives of a locations file; and what of that cannot be used, in words.

    BadInput as open_drive, for a file that is no locations file, and where nothing of one can be used.
    """
    if not is_list(location):
        return [open_drive(location)], []
    from sealift.trade.signing import read_limited

    listed = forms.parse(read_limited(location, forms.MAX_FILE, "locations file"), location)
    drives: list[Drive] = []
    notices: list[str] = []
    last: BadInput | None = None
    for row in listed.drive:
        try:
            drive = _open(row, os.path.dirname(location), listed.requests)
            if isinstance(drive, RemoteDrive):
                drive.check()  # its token and CA stand in files of their own
        except BadInput as error:
            notices.append(f"{row.name or row.at} of {location} is left out: {error}")
            last = error
        else:
            drives.append(drive)
            if forms.scheme_of(row.at) == "http" and (row.token_file or row.token_env):
                notices.append(f"{row.name or row.at}: its token goes over http, which anybody on the way can read")
    if last is not None and not drives:
        raise last
    return drives, notices


def identity(location: str) -> Hashable:
    """Equal for two names of one place; the location itself where nothing is to be learnt."""
    scheme = forms.scheme_of(location) if is_store(location) else ""
    if scheme == "s3":
        from sealift.drives.objects import parse

        return "s3", *parse(location)
    if scheme:
        return forms.web(location)
    try:
        status = os.stat(location)
    except (OSError, ValueError):
        return location
    return status.st_dev, status.st_ino


def place_of(drive: Drive) -> Hashable:
    """The same of an open drive."""
    return identity(drive.at if isinstance(drive, RemoteDrive) else drive.mount)


def upload_memory(location: str) -> int:
    """Bytes that writing there takes beside the caller's own buffers: 0 for a folder."""
    if forms.scheme_of(location) == "s3":
        from sealift.drives.objects import UPLOAD_MEMORY

        return UPLOAD_MEMORY
    return 0


def drive_beneath(place: str, drives: Iterable[Drive]) -> str | None:
    """Where the drive is mounted on which `place` would lie; None where it lies on none, or is no folder of this host.

    Within its folder; or on its filesystem, where one is mounted there and not merely a folder that holds a drive.
    """
    if is_store(place):
        return None
    real = os.path.realpath(place)
    there = real
    while not os.path.lexists(there) and there != os.path.dirname(there):
        there = os.path.dirname(there)
    for drive in drives:
        if not isinstance(drive, LocalDrive):
            continue
        root = os.path.realpath(drive.mount)
        if os.path.commonpath([root, real]) == root:
            return drive.mount
        with contextlib.suppress(OSError):
            if os.path.ismount(root) and root != "/" and os.stat(there).st_dev == os.stat(root).st_dev:
                return drive.mount
    return None


def refuse_on_a_drive(place: str, drives: Iterable[Drive]) -> None:
    """BadInput where a copy would be written onto a drive of the shipment: they are read, and carried on."""
    if (mount := drive_beneath(place, drives)) is not None:
        raise BadInput(
            f"{place} is on {mount}, a drive of the shipment: nothing is copied onto what it is copied from",
            hint="give a folder of another disk with --to; nothing was written",
        )


def is_being_copied(drive: Drive, shipment: str) -> bool:
    """Whether beside it lie the notes of an ingest of packs that has not ended. Asks a bucket; never raises."""
    name = COPYING + shipment
    if isinstance(drive, LocalDrive):
        return os.path.isdir(os.path.join(os.path.dirname(os.path.abspath(drive.mount)), name))
    if not isinstance(drive, RemoteDrive) or forms.scheme_of(drive.at) != "s3":
        return False
    from sealift.drives.object_prefix import ObjectPrefix

    try:
        return any(True for _ in ObjectPrefix(drive.at.rstrip("/").rpartition("/")[0]).objects(beneath=name))
    except SealiftError:
        return False


def refuse_other_file(path: str) -> None:
    """BadInput where something else than a locations file stands at `path`: none is put in its place."""
    if not os.path.lexists(path):
        return
    try:
        with open(path, "rb") as file:
            data = file.read(forms.MAX_FILE)
    except OSError as error:
        raise BadInput(f"--out {path}: {(error.strerror or str(error)).lower()}") from error
    if data.strip() and b"sealift-locations" not in data:
        raise BadInput(
            f"--out {path} is there, and is no locations file; nothing was changed",
            hint="give another name, or move it away",
        )
