"""What stands at a destination of `sealift ingest` and is none of this shipment's: counted, the first few named, left.

It was there before, or was put there meanwhile; nothing here changes it, or reads what is in it. Of drives (`--packs`)
names alone are looked at, those that drives of the sealed shipment have; what is wrong within them verify says. Memory:
SHOWN names.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sealift.drives.base import PART
from sealift.drives.locations import NOTES, is_store
from sealift.drives.object_prefix import ObjectPrefix
from sealift.errors import FormatError
from sealift.formats import manifest as mf
from sealift.stages.ingest_seal import is_kept

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealift.formats.seal import Seal

SHOWN = 20
_BELOW = 6  # folders that a drive has at most above a file, one more being foreign as a whole


@dataclass
class Foreign:
    """How many there are, and the names of the first, beneath the destination."""

    count: int = 0
    first: list[bytes] = field(default_factory=list)

    def add(self, name: bytes) -> None:
        """One more."""
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(name)


def beside_drives(to: str, seal: Seal) -> Foreign:
    """What lies beneath `to` under names that no drive of the shipment has there. DriveFault, OSError.

    A file that a killed run left half written (.part) is ours: the next one writes it anew.
    """
    ids = {drive.id for group in seal.groups for drive in group.drives}
    found = Foreign()
    for name in _names(to):
        drive, _, rest = name.partition(b"/")
        try:
            root, _, file = rest.decode().partition("/")
            if drive.decode() in ids and root == mf.ROOT and mf.is_drive_file(file.removesuffix(PART)):
                continue
        except UnicodeDecodeError:
            pass
        if not (drive.startswith(NOTES.encode()) or is_kept(name.decode(errors="replace"))):
            found.add(name)
    return found


def _names(to: str) -> Iterator[bytes]:
    """Of objects beneath a prefix; or of files in a folder, and of folders that are too deep for a drive's."""
    if is_store(to):
        try:
            for page in ObjectPrefix(to).objects():
                yield from (each["path"].encode(errors="surrogateescape") for each in page)
        except FormatError:  # a name that is no path: foreign, and nothing behind it is listed
            yield b"(names that are no paths)"
        return
    root = os.fsencode(to)
    pending = [b""]
    while pending:
        folder = pending.pop()
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in sorted(entries, key=lambda each: each.name):
                name = folder + entry.name
                if not entry.is_dir(follow_symlinks=False):
                    yield name
                elif name.count(b"/") < _BELOW:
                    pending.append(name + b"/")
                else:
                    yield name + b"/"
