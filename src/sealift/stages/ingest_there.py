"""Which groups a copying of packs need not have drives of: those that stand at its destination as a whole.

What holds: a group counts where the folder (or prefix) of every drive of it has all small files and all packs, by names
and signed lengths, under a manifest that the seal binds. A copying checks every block before a pack appears, and writes
the manifest last, so that says that it came to its end there; what is in the packs since, `verify` reads. Nothing is
written. Memory: the names of one group's packs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sealift.drives.locations import is_store, open_to_write
from sealift.errors import BadInput, FormatError, SealInvalid
from sealift.formats import manifest as mf
from sealift.reading.group import GroupReader
from sealift.reading.survey import survey
from sealift.stages.repair_files import SMALL
from sealift.stages.repair_plan import card_of

if TYPE_CHECKING:
    from sealift.drives.base import Drive
    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.formats.seal import SealGroup
    from sealift.reading.survey import GroupView
    from sealift.stages.ingest import Result


def count_there(
    result: Result, to: str, groups: dict[int, SealGroup], allowed: AllowedSigners, seal: dict[str, bytes]
) -> None:
    """Count those of `groups` that are whole at `to`, and ask for nothing of them any more. DriveFault of it."""
    wanted = {*result.short_groups, *(each["group"] for each in result.missing_groups)}
    for number in sorted(wanted & groups.keys()):
        drives = _drives(to, groups[number])
        sizes = {} if drives is None else _packs(drives, number, allowed, seal)
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


def _packs(drives: list[Drive], number: int, allowed: AllowedSigners, seal: dict[str, bytes]) -> dict[str, list[int]]:
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
            lengths = _of(group, reader, row.slot)
            if lengths is None:
                return {}
            sizes[row.id] = lengths
    except FormatError:
        return {}
    finally:
        reader.close()
    return sizes


def _of(group: GroupView, reader: GroupReader, slot: int) -> list[int] | None:
    """Lengths of the packs of a drive; None where it lacks something. FormatError."""
    manifest = group.manifest
    limit = 2 * manifest.geometry.stripes + 1000
    there = {entry.name: entry.size for entry in group.drives[slot].drive.walk(limit) if entry.kind == "file"}
    if any(name.encode() not in there for name in SMALL) or there[mf.MANIFEST.encode()] != len(group.manifest_bytes):
        return None
    lengths = []
    for stripe in range(manifest.geometry.stripes):
        role = mf.role_of(stripe, slot, manifest.n)
        length = reader.record(stripe, role).length
        if length and there.get(mf.pack_name(stripe, role, manifest.geometry.data).encode()) != length:
            return None
        lengths += [length] if length else []
    return lengths
