"""The one way from a location to a drive: a folder in which one is mounted, or s3://BUCKET/PREFIX.

Whatever takes locations (pack, seal, inspect, verify, ls, cat, mount, unpack, train, Shipment.open) opens them here and
nowhere else. Opening a folder looks at it; opening an object store asks it nothing yet. BadInput for what is neither.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from sealift.drives.local import LocalDrive
from sealift.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Hashable

    from sealift.drives.base import Drive

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def is_store(location: str) -> bool:
    """Whether it names something else than a folder of this host; BadInput where nobody here can open it."""
    found = _SCHEME.match(location)
    if found is None:
        return False
    if found[1].lower() != "s3":
        raise BadInput(
            f"{found[0]}... is no location that sealift opens",
            hint="give the folder where a drive is mounted, or s3://BUCKET/PREFIX",
        )
    return True


def open_drive(location: str) -> Drive:
    """The drive at a location; BadInput where there is no such folder, or the location is not well formed."""
    if is_store(location):
        from sealift.drives.objects import ObjectDrive

        return ObjectDrive(location)
    return LocalDrive(location)


def identity(location: str) -> Hashable:
    """Equal for two names of one place; the location itself where nothing is to be learnt."""
    if is_store(location):
        from sealift.drives.objects import parse

        return "s3", *parse(location)
    try:
        status = os.stat(location)
    except (OSError, ValueError):
        return location
    return status.st_dev, status.st_ino


def upload_memory(location: str) -> int:
    """Bytes that writing there takes beside the caller's own buffers: 0 for a folder."""
    if is_store(location):
        from sealift.drives.objects import UPLOAD_MEMORY

        return UPLOAD_MEMORY
    return 0
