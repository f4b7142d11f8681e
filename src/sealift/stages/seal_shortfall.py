"""What of the source as it was listed a shipment lacks: counted for its seal, so that nobody frees it unknowing.

    listed      paths that the scan dealt to a group, in every state folder, and that its manifest does not count
    not listed  what the walk met and could not carry: no permission, names that are too long. Not what holds no bytes
    told        files that are not whole, or changed meanwhile, by the journals of the state folders that are given
    later       what came since, or was rewritten, by the look of the one that saw most of it

Of a group that was packed by a state folder which is not given, or is lost, only the first is known.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, UnsetType

from sealift.formats.seal import Shortfall
from sealift.stages.pack.scan import summary_of
from sealift.stages.pack.walk import HOLDS_NOTHING
from sealift.stages.status import look

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.stages.pack.scan import Summary
    from sealift.stages.seal_groups import Packed


def shortfall(states: Sequence[str], groups: Sequence[Packed]) -> Shortfall | UnsetType:
    """Of all `groups` of a shipment, in order, and their state folders; UNSET where nothing is known to lack."""
    each = [look(state) for state in dict.fromkeys(states)]
    summaries = [found for state in states if (found := _summary(state, groups)) is not None]
    if summaries:
        skipped = sum(reason not in HOLDS_NOTHING for _, reason in summaries[0].skipped)
        for share, packed in zip(summaries[0].shares, groups, strict=True):
            skipped += max(0, share.members - packed.manifest.totals.files)
    else:
        told = {path for found in each for path, reason in found.told.skipped if reason not in HOLDS_NOTHING}
        skipped = len(told)
    incomplete = {path for found in each for path, _ in found.told.incomplete}
    changed = {path for found in each for path in found.told.changed} - incomplete
    later = max(found.later for found in each)
    if not (skipped or incomplete or changed or later):
        return UNSET
    return Shortfall(skipped=skipped, incomplete=len(incomplete), changed=len(changed), later=later)


def _summary(state: str, groups: Sequence[Packed]) -> Summary | None:
    """Of the scan that the manifests name."""
    try:
        found = summary_of(os.path.join(state, "scan"))
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    its = found.digest == groups[0].manifest.scan and len(found.shares) == len(groups)
    return found if its else None
