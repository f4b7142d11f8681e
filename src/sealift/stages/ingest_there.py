"""What stands at the destination of a copying of packs: packs that are noted, and groups that need no drives any more.

What holds: a noted pack is as it was where its file is the very one (inode, length, mtime, ctime; none of these where
the filesystem keeps no ctime of its own), or where the store says that it took the object before it was noted, by its
own clock. Every other is read. A group counts where the folder (or prefix) of every drive of it has all small files and
all packs, by names and signed lengths, under a manifest that the seal binds, and every pack is as it was noted, or is
read and is as it was signed. Nothing is written. Memory: the names of one group's packs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sealift.drives.locations import is_store, open_to_write
from sealift.drives.objects import ObjectDrive
from sealift.errors import BadInput, FormatError, SealInvalid
from sealift.formats import manifest as mf
from sealift.reading.group import GroupReader
from sealift.reading.survey import survey
from sealift.stages import repair_files
from sealift.stages.repair_files import SMALL
from sealift.stages.repair_plan import card_of
from sealift.stages.unpack_objects import ALTERED, written_at

if TYPE_CHECKING:
    from sealift.drives.base import Drive
    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.formats.seal import SealGroup
    from sealift.reading.survey import GroupView
    from sealift.stages.ingest import Result


class Standing:
    """The files of one drive at a destination."""

    def __init__(self, drive: Drive, limit: int) -> None:
        self._drive = drive
        self._at: dict[str, int] | None = None  # by the clock of a store
        if isinstance(drive, ObjectDrive):
            listed = [(each["path"], each["size"], written_at(each)) for page in drive.objects() for each in page]
            self._at = {name: at for name, _, at in listed}
            self.sizes = {name: size for name, size, _ in listed}
        else:
            entries = (entry for entry in drive.walk(limit) if entry.kind == "file")
            self.sizes = {os.fsdecode(entry.name): entry.size for entry in entries}

    def is_as_noted(self, name: str, length: int, mark: str) -> bool:
        """Whether a pack is certainly what it was when it was noted with `mark`."""
        if self.sizes.get(name) != length or not mark:
            return False
        return self._at[name] < int(mark) if self._at is not None else mark_of(self._drive, name) == mark


def mark_of(drive: Drive, name: str) -> str:
    """What tells this file of a folder from any other; empty where nothing does, and of a bucket, which keeps time."""
    if isinstance(drive, ObjectDrive):
        return ""
    with drive.open_read(name) as file:
        return "-".join(f"{part:x}" for part in file.stamp[1:]) if file.lasting else ""


def count_there(
    result: Result,
    to: str,
    groups: dict[int, SealGroup],
    allowed: AllowedSigners,
    seal: dict[str, bytes],
    done: dict[str, str],
) -> None:
    """Count those of `groups` that are whole at `to`, and ask for nothing of them any more. DriveFault of it.

    A pack that is not as it was noted (`done`), and is not as it was signed, is named.
    """
    wanted = {*result.short_groups, *(each["group"] for each in result.missing_groups)}
    for number in sorted(wanted & groups.keys()):
        drives = _drives(to, groups[number])
        sizes = {} if drives is None else _packs(drives, number, allowed, seal, done, result)
        if not sizes:
            continue
        result.short_groups = [each for each in result.short_groups if each != number]
        result.missing_groups = [each for each in result.missing_groups if each["group"] != number]
        names = {row.id for row in groups[number].drives}
        result.missing_drives = [each for each in result.missing_drives if each.split(" ")[0] not in names]
        for name in names - result.drives.keys():
            result.packs += len(sizes[name])
            result.there += len(sizes[name])
            result.size += sum(sizes[name])
            result.drives[name] = f"{to.rstrip('/')}/{name}"
    result.drives = dict(sorted(result.drives.items()))


def _drives(to: str, group: SealGroup) -> list[Drive] | None:
    """The drives of a group at a destination; None where not all are there."""
    drives = []
    for row in group.drives:
        location = f"{to.rstrip('/')}/{row.id}"
        if not is_store(to) and not os.path.isdir(location):
            return None
        drive = open_to_write(location)
        if card_of(drive) is None:
            return None
        drives.append(drive)
    return drives


def _packs(
    drives: list[Drive],
    number: int,
    allowed: AllowedSigners,
    seal: dict[str, bytes],
    done: dict[str, str],
    result: Result,
) -> dict[str, list[int]]:
    """The lengths of all packs by drive; empty where anything is not there as it was signed."""
    try:
        found = survey(list(drives), allowed=allowed, seal=seal)
    except (BadInput, SealInvalid):
        return {}
    group = next((each for each in found.groups if each.group == number and each.trusted), None)
    if group is None or group.missing:
        return {}
    reader = GroupReader(group)
    try:
        sizes: dict[str, list[int]] = {}
        for row in group.manifest.drives:
            lengths = _of(group, reader, row.slot, done, result)
            if lengths is None:
                return {}
            sizes[row.id] = lengths
    except FormatError:
        return {}
    finally:
        reader.close()
    return sizes


def _of(group: GroupView, reader: GroupReader, slot: int, done: dict[str, str], result: Result) -> list[int] | None:
    """Lengths of the packs of a drive; None where it lacks something. FormatError."""
    manifest, drive = group.manifest, group.drives[slot].drive
    there = Standing(drive, 2 * manifest.geometry.stripes + 1000)
    if any(name not in there.sizes for name in SMALL) or there.sizes[mf.MANIFEST] != len(group.manifest_bytes):
        return None
    lengths, packs = [], []
    for stripe in range(manifest.geometry.stripes):
        role = mf.role_of(stripe, slot, manifest.n)
        record, name = reader.record(stripe, role), mf.pack_name(stripe, role, manifest.geometry.data)
        if record.length and there.sizes.get(name) != record.length:
            return None
        if record.length:
            lengths.append(record.length)
            packs.append((name, record, done.get(f"pack {group.group} {slot} {stripe}", "")))
    others = [
        name
        for name, record, mark in packs
        if not there.is_as_noted(name, record.length, mark) and digest_of(drive, name) != record.blake3
    ]
    result.refused += [(drive.mount, name, ALTERED) for name in others]
    return None if others else lengths


def digest_of(drive: Drive, name: str) -> bytes:
    """BLAKE3 of a file at the destination, read past the cache."""
    with drive.open_read(name, direct=True) as file:
        return repair_files.digest_of(file)
