"""What is known of the drives when a shipment is sealed: what packing found, and what is seen of those that are here.

Packs that are missing and packs that read back wrong are added up, stripe by stripe: of neither there is anything to
be had. A drive counts for what it was when it was looked at last; what is seen of one now takes the place of that, here
and in the state folders, so that it is known when the drive is away. What is wrong stays wrong until pack reads it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from sealift.errors import Refused, SealiftError
from sealift.formats.manifest import drive_id
from sealift.stages.lacking import LOST, TOO_MANY, beyond
from sealift.stages.pack.journal import Journal
from sealift.stages.pack.journal_rows import Lacks
from sealift.stages.pack.presence import listed
from sealift.stages.status import look

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.formats.manifest import Manifest
    from sealift.stages.lacking import Lacking
    from sealift.stages.status import GroupStatus, LackingDrive


class Known:
    """What these state folders know of the drives of their signed groups."""

    def __init__(self, states: Sequence[str]) -> None:
        self._groups: dict[int, list[tuple[str, GroupStatus]]] = {}  # by number: state folders that have it signed
        for state in dict.fromkeys(states):
            for group in look(state).groups:
                if group.state == "signed":
                    self._groups.setdefault(group.group, []).append((state, group))
        self._seen: dict[tuple[int, int], list[int]] = {}  # by group and slot: stripes that a drive lacks, seen now

    def saw(self, group: int, slot: int, mount: str, lacks: Lacking | None) -> None:
        """What a drive was seen to lack, or that it lacks nothing: durably, where the state folder takes it."""
        stripes, text = (lacks.stripes, lacks.text) if lacks else ([], "")
        self._seen[group, slot] = stripes
        for state, status in self._groups[group]:
            if stripes or any(each.slot == slot for each in status.lacking):
                with contextlib.suppress(SealiftError, sqlite3.Error), closing(Journal(state)) as journal:
                    journal.note_lacks(group, Lacks(slot, status.places[slot].serial, mount, stripes, text))

    def require(self, manifest: Manifest, told: str) -> None:
        """Refused where of a stripe more packs are missing or wrong than parity holds; `told`: what is seen now."""
        group, parity = manifest.group, manifest.geometry.parity
        seen = [(stripe, slot) for (its, slot), each in self._seen.items() if its == group for stripe in each]
        missing = [(stripe, each.slot) for each in self._lacking(group) for stripe in each.stripes]
        wrong = [pair for _, status in self._groups[group] for pair in status.wrong]
        if not (lost := beyond([*seen, *missing, *wrong], parity)):
            return
        why = [told] if told else []
        why += dict.fromkeys(each.text for each in self._lacking(group))
        if lied := sorted({slot for stripe, slot in wrong if stripe in lost}):
            why.append(f"{', '.join(drive_id(group, slot) for slot in lied)}: not as written")
        raise Refused(
            f"more drives of group {group} than parity holds ({parity}) lack {listed(lost)}"
            f"{', or have other bytes there' if lied else ''}: {'; '.join(why)}; nothing was written",
            hint=LOST if missing or wrong else TOO_MANY,
        )

    def _lacking(self, group: int) -> list[LackingDrive]:
        """Drives of a group that are not seen now, and lacked packs when they were looked at last."""
        return [
            each for _, status in self._groups[group] for each in status.lacking if (group, each.slot) not in self._seen
        ]

    def notices(self) -> list[str]:
        """What drives that are not seen now lacked when they were looked at last."""
        return [
            f"{told}. up to parity the others hold it: `sealift repair` with all mounts of the group mends that, and "
            "`sealift pack` once more looks again"
            for group in sorted(self._groups)
            for told in dict.fromkeys(each.text for each in self._lacking(group))
        ]
