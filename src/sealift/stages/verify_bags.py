"""Folders of packs that were brought: what is another drive's, or no file, is told as that, and not as damaged.

A folder is read as packs of one drive (reading/survey_slots.py): two drives of a group
may have different packs under one name.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from blake3 import blake3

from sealift.drives.ranges import RemoteDrive
from sealift.errors import DriveFault, FormatError
from sealift.formats import manifest as mf
from sealift.reading.survey_views import STRANGE_PACKS, Problem
from sealift.stages.verify_read import Found

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.reading.survey_views import Survey
    from sealift.stages.verify_read import DriveCheck

MIXED = "packs of several drives are in one folder"
ONE_FOLDER = "those of one are read, and the others lie there unused: put those of each drive into a folder of its own"
NO_FILE = "a link, or no file at all, in the place of a pack that was brought: links are not followed"
_OTHERWISE = {"rotten", "truncated", "extended", "unexpected"}


def tell_mixed(checks: Sequence[DriveCheck]) -> None:
    """Put one fault that says whose it is in the place of all those of a pack that is another drive's."""
    for check in checks:
        if not check.view.bag or isinstance(check.view.drive, RemoteDrive):
            continue
        paths = {each.path for each in check.faults if each.kind in _OTHERWISE and mf.PACK_ENTRY.fullmatch(each.path)}
        for path in sorted(paths):
            if whose := _whose(check, os.fsdecode(path)):
                check.faults = [each for each in check.faults if each.path != path]
                check.faults.append(Found(path, "unexpected", f"a pack of {' or '.join(whose)}: {MIXED}", None))


def tell_no_files(found: Survey) -> None:
    """Of a folder in which no pack is one of these groups, say so where the one that was looked at is no file."""
    for view in found.views:
        for place, problem in enumerate(view.problems):
            if problem.detail != STRANGE_PACKS:
                continue
            with contextlib.suppress(DriveFault):
                try:
                    view.drive.size(problem.path)
                except FormatError:
                    view.problems[place] = Problem(problem.path, "unexpected", NO_FILE)


def _whose(check: DriveCheck, name: str) -> list[str]:
    """The other drives of the group whose pack of this name begins as the one that is here."""
    match, group = mf.PACK_FILE.fullmatch(name), check.group
    n, data = group.manifest.n, group.manifest.geometry.data
    if match is None or (stripe := int(match[2])) >= group.manifest.geometry.stripes:
        return []
    whose = []
    try:
        with check.view.drive.open_read(name) as file:
            start, length = file.read_at(0, mf.BLOCK), file.length
        for role in range(n):
            record, slot = mf.pack_at(group.packs, stripe, role, n), mf.slot_of(stripe, role, n)
            if slot == check.slot or record.length != length or mf.pack_name(stripe, role, data) != name:
                continue
            if group.blocks.get(record.first_block, record.first_block + 1) == blake3(start).digest():
                whose.append(mf.drive_id(group.manifest.group, slot))
    except (FormatError, DriveFault):
        return []
    return whose
