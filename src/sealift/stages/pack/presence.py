"""Whether what is committed is on the drives: every pack that the journal knows, with its length; nothing is read.

Looked at when a packing goes on and before a group is signed, so that a manifest is never signed over packs that are
not there. A drive that lacks some is set aside and owes these, durably; catching up (catchup.py) rebuilds them. What
more drives lack than parity holds is told, and packed again by the same command: taking packs away is no fault of a
drive, and who did it may want to put them back first.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from sealift.errors import DriveFault
from sealift.formats import manifest
from sealift.formats.sizes import counted
from sealift.stages.lacking import lacking

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealift.drives.base import Drive
    from sealift.formats.manifest import Manifest
    from sealift.stages.pack.crew import Crew
    from sealift.stages.pack.journal import Journal

_SHOWN = 8


def pack_lengths(journal: Journal, number: int, n: int) -> list[array[int]]:
    """Of group `number` and its `n` drives: by slot, by stripe, how long a pack is; 0 where there is none."""
    lengths = [array("q", bytes(8 * journal.group(number).stripes)) for _ in range(n)]
    for row in journal.packs(number):
        lengths[manifest.slot_of(row.stripe, row.role, n)][row.stripe] = row.length
    return lengths


def table_lengths(read_at: Callable[[int, int], bytes], record: Manifest) -> list[array[int]]:
    """The same of a signed group, from packs.bin, which is checked up to its manifest. FormatError, DriveFault."""
    pages, n, stripes = manifest.table_of_packs(read_at, record), record.n, record.geometry.stripes
    lengths = [array("q", bytes(8 * stripes)) for _ in range(n)]
    for stripe in range(stripes):
        for role in range(n):
            lengths[manifest.slot_of(stripe, role, n)][stripe] = manifest.pack_at(pages, stripe, role, n).length
    return lengths


class Presence:
    """The packs of one group as the journal has them when this is made, to be looked for on its drives."""

    def __init__(self, crew: Crew, journal: Journal, data: int) -> None:
        self._crew, self._data = crew, data
        self._stripes = journal.group(crew.number).stripes
        self._lengths = pack_lengths(journal, crew.number, crew.n)
        self._found: dict[int, list[int]] = {}  # by slot: the stripes that it lacks
        self._new: set[int] = set()  # slots of which nobody knew before

    def look(self, slot: int, drive: Drive) -> None:
        """Look for the packs of one drive, and set it aside where some are not there. DriveFault, FormatError."""
        found = lacking(drive, slot, self._crew.n, self._data, self._lengths[slot]) if self._stripes else None
        self._found[slot] = found.stripes if found else []
        if found:
            if slot not in self._crew.owed:
                self._new.add(slot)
            self._crew.lack(slot, found.stripes[0], found.text)

    def require(self) -> None:
        """After all drives were looked at: DriveFault when more of them lack a stripe than parity holds.

        Not when all of that was told before: then it is packed again.
        """
        lost = self._lost() if self._new else []
        if not lost:
            return
        crew, number = self._crew, self._crew.number
        names = "; ".join(crew.describe(each) for each in crew.owed.values())
        again = self._stripes - lost[0]
        rest = "; by their lengths the other stripes are there, or can be rebuilt" * (len(lost) < self._stripes)
        raise DriveFault(
            f"group {number}: more drives than parity holds ({crew.parity}) lack {listed(lost)} of "
            f"{self._stripes}: {names}. nothing was signed{rest}",
            drive=crew.mounts.get(min(self._new), ""),
            hint="put back what was taken away (is the right filesystem mounted?), and run the same command again; "
            f"what is still missing then is packed again from the source, with everything after it: "
            f"{counted(again, 'stripe')} from {lost[0]} on",
        )

    def _lost(self) -> list[int]:
        """Stripes that more drives lack than parity holds, whether these were looked at now or owed them before."""
        lacks = array("i", bytes(4 * self._stripes))
        for slot, owed in self._crew.owed.items():
            lengths = self._lengths[slot]
            for stripe in self._found.get(slot, range(owed.since, self._stripes)):
                lacks[stripe] += bool(lengths[stripe])
        return [stripe for stripe, count in enumerate(lacks) if count > self._crew.parity]


def listed(stripes: list[int]) -> str:
    """Stripes, for people."""
    more = f" and {len(stripes) - _SHOWN} more" if len(stripes) > _SHOWN else ""
    return f"stripe{'' if len(stripes) == 1 else 's'} {', '.join(map(str, stripes[:_SHOWN]))}{more}"
