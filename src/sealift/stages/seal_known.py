"""What is known of the drives when a shipment is sealed: what packing found, and what is seen of those that are here.

Packs that are missing and packs that read back wrong are added up, stripe by stripe: of neither there is anything to
be had. A drive counts for what it was when it was looked at last; what is seen of one now takes the place of that, here
and in the state folders, so that it is known when the drive is away. So it is with small files: what none of the drives
of a group had is gone, until one that has them all is seen. What is wrong stays wrong until pack reads it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from sealift.drives.local import nothing_mounted
from sealift.errors import Refused, SealiftError
from sealift.formats.manifest import GROUP_FILES, MANIFEST, SIGNATURE, drive_id, is_medium_of
from sealift.stages.lacking import LOST, TOO_MANY, WRITTEN_AGAIN, beyond
from sealift.stages.pack.journal import SMALL_FILES, Journal
from sealift.stages.pack.journal_rows import Lacks
from sealift.stages.pack.presence import listed
from sealift.stages.pack.settle import last_mount
from sealift.stages.status import look

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sealift.drives.base import Drive
    from sealift.formats.manifest import Manifest
    from sealift.stages.status import GroupStatus, LackingDrive

ALL_ALIKE = (*GROUP_FILES, SIGNATURE, MANIFEST)  # small files that are the same on every drive of a group


class Known:
    """What these state folders know of the drives of their signed groups."""

    def __init__(self, states: Sequence[str]) -> None:
        self._groups: dict[int, list[tuple[str, GroupStatus]]] = {}  # by number: state folders that have it signed
        self._sealed = False  # by one of them
        for state in dict.fromkeys(states):
            status = look(state)
            self._sealed |= status.sealed
            for group in status.groups:
                if group.state == "signed":
                    self._groups.setdefault(group.group, []).append((state, group))
        self._seen: dict[tuple[int, int], list[int]] = {}  # by group and slot: stripes that a drive lacks, seen now
        self._every: set[int] = set()  # groups of which the small files of every drive are seen now

    def place_of(self, drive: Drive, *, by_mount: bool = True) -> tuple[int, int] | None:
        """Group and slot of the drive that should be at a mount, whatever is there now.

        As the medium's serial number tells, or else, `by_mount`, the mounts at which packing saw the drives last; but
        not once they were sealed, and may have left. None where nobody knows, and for a medium that tells that it is
        none of theirs.
        """
        told = drive.serial()
        places = {
            place.serial: (group, slot)
            for group, known in self._groups.items()
            for _, status in known
            for slot, place in enumerate(status.places)
        }
        for serial, place in places.items():
            if is_medium_of(told, serial):
                return place
        if self._sealed or not by_mount or (told is not None and not nothing_mounted(drive.mount)):
            return None
        names = {os.path.abspath(drive.mount), os.path.realpath(drive.mount)}
        for state in {state for known in self._groups.values() for state, _ in known}:
            with contextlib.suppress(SealiftError, sqlite3.Error), closing(Journal(state)) as journal:
                for serial, place in places.items():
                    if (mount := last_mount(journal, serial)) and os.path.abspath(mount) in names:
                        return place
        return None

    def saw(self, group: int, slot: int, mount: str, stripes: list[int], text: str) -> None:
        """What a drive was seen to lack, or that it lacks nothing: durably, where the state folder takes it."""
        self._seen[group, slot] = stripes
        for state, status in self._groups[group]:
            if stripes or any(each.slot == slot for each in status.lacking):
                with contextlib.suppress(SealiftError, sqlite3.Error), closing(Journal(state)) as journal:
                    journal.note_lacks(group, Lacks(slot, status.places[slot].serial, mount, stripes, text))

    def saw_small(self, manifest: Manifest, wrong: Mapping[int, Collection[str]]) -> None:
        """By slot of drives that are seen, the small files that are not as they were signed: durably, as above.

        What none of all drives of a group has is gone; of a group of which one drive has all of them, nothing is.
        """
        group, every = manifest.group, len(wrong) == manifest.n
        gone = [name for name in ALL_ALIKE if every and all(name in names for names in wrong.values())]
        text = f"none of them had {', '.join(gone)} as signed" if gone else ""
        if every:
            self._every.add(group)
        for state, status in self._groups[group]:
            if not (any(wrong.values()) or (wrong and (status.spoilt or status.gone))):
                continue
            with contextlib.suppress(SealiftError, sqlite3.Error), closing(Journal(state)) as journal:
                amiss = {slot for slot, names in wrong.items() if names}
                journal.note_spoilt(group, (journal.spoilt(group) - wrong.keys()) | amiss)
                if every or not all(wrong.values()):
                    journal.note_gone(group, SMALL_FILES, text)
                if all((group, slot) in self._seen for slot in range(manifest.n)):
                    journal.note_gone(group, "packs", "")  # of an earlier version, as in pack/signed.py

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
            hint=LOST if missing or wrong else f"keep the source. {TOO_MANY}",
        )

    def require_not_gone(self, group: int) -> None:
        """Refused where none of the drives of a group had what each should have, and not all of them are seen now."""
        if group in self._every or not any(status.gone for _, status in self._groups[group]):
            return
        now = [each for state, _ in self._groups[group] if (each := look(state).groups[group]).gone]
        if not now:
            return
        said = "; ".join(dict.fromkeys(what for each in now for what in each.gone))
        told = f"when the drives were looked at last, group {group}: {said}"
        if all(each.gone_kept for each in now):
            raise Refused(f"{told}; nothing was written", hint=f"keep the source. {WRITTEN_AGAIN}")
        raise Refused(
            f"{told}: that cannot be had from them; nothing was written",
            hint="keep the source. `sealift pack` once more, with all drives, looks again, and says what helps",
        )

    def _lacking(self, group: int) -> list[LackingDrive]:
        """Drives of a group that are not seen now, and lacked packs when they were looked at last."""
        return [
            each for _, status in self._groups[group] for each in status.lacking if (group, each.slot) not in self._seen
        ]

    def notices(self) -> list[str]:
        """What drives that are not seen now lacked when they were looked at last."""
        return [
            f"{told}. up to parity the others hold it: `sealift repair` with all mounts of the group, or with `--onto "
            "MNT` for one on which nothing is, mends that, and `sealift pack` once more looks again"
            for group in sorted(self._groups)
            for told in dict.fromkeys(each.text for each in self._lacking(group))
        ]
