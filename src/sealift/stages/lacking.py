"""Which packs of a drive are not there, or not as long as they were written: one walk of its folders, nothing is read.

It is what pack looks at before it signs and when it goes on, and seal before a drive gets the seal. Whether the bytes
are right is for read-back and verify. What more drives of a group are short of than parity holds is told here, too.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from sealift.errors import DriveFault, FormatError
from sealift.formats import manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sealift.drives.base import Drive

TOO_MANY = (  # what to do where more drives of a signed group lack a stripe than parity holds
    "put back what was taken away (are the right filesystems mounted?), and run the same command again, with the "
    "mounts of all of them; if it is gone, these drives cannot leave as they are: pack anew, with another --state, "
    "onto drives that are empty"
)
STILL_GONE = (  # what to do where more packs of a stripe read back wrong than parity holds
    "`sealift repair` with all mounts of the group mends what parity gives, and `sealift pack` once more reads it "
    "again; what is gone then is packed anew, with another --state, onto drives that are empty"
)
LOST = (  # what to do where more packs of a stripe are missing or wrong, taken together, than parity holds
    "keep the source. put back what was taken away (are the right filesystems mounted?); `sealift repair` with all "
    "mounts of the group mends what parity gives, and `sealift pack` once more, with all of them, looks again. what "
    "repair has called lost is gone: these drives cannot leave as they are; pack anew, with another --state, onto "
    "drives that are empty"
)
WRITTEN_AGAIN = (  # what to do where no drive of a signed group has a small file that the state folder has
    "the state folder has that as it was signed: `sealift pack` once more, with all drives of the group, writes it to "
    "them again, or says what is to be put right first"
)
ENTRIES = 20_000_000  # of a drive that are looked at: more than its packs can be


class Lacking(NamedTuple):
    """What a drive lacks: the stripes, in order; how many packs it should have; what there is of the first one."""

    stripes: list[int]
    of: int
    first: str

    @property
    def text(self) -> str:
        """For people."""
        count = len(self.stripes)
        if count == 1:
            return f"1 of its {self.of} packs is not on it: {self.first}"
        return f"{count} of its {self.of} packs are not on it: {self.first}, and {count - 1} more"


def beyond(short: Iterable[tuple[int, int]], parity: int) -> list[int]:
    """The stripes, in order, of which more slots are `short`, as (stripe, slot), than parity holds."""
    counts = Counter(stripe for stripe, _ in set(short))
    return sorted(stripe for stripe, count in counts.items() if count > parity)


def is_emptied(drive: Drive) -> bool:
    """Whether no file of ours is on a drive: `repair` knows it by nothing, and only `--onto` fills it."""
    try:
        return not drive.exists() or all(entry.kind == "folder" for entry in drive.walk(ENTRIES))
    except (DriveFault, FormatError):
        return False


def lacking(drive: Drive, slot: int, n: int, data: int, lengths: Sequence[int]) -> Lacking | None:
    """What the drive in `slot` lacks; `lengths` are those of its packs by stripe, 0 where there is none.

    FormatError, DriveFault: it cannot be looked at.
    """
    there = array("q", [-1]) * len(lengths)
    for entry in drive.walk(ENTRIES):
        found = manifest.PACK_ENTRY.fullmatch(entry.name)
        if found and (stripe := int(found[2])) < len(lengths):
            name = manifest.pack_name(stripe, manifest.role_of(stripe, slot, n), data)
            if entry.name == os.fsencode(name):
                there[stripe] = entry.size  # 0 of what is no file
    missing = [stripe for stripe, length in enumerate(lengths) if length and there[stripe] != length]
    if not missing:
        return None
    stripe = missing[0]
    first = manifest.pack_name(stripe, manifest.role_of(stripe, slot, n), data)
    if there[stripe] >= 0:
        first += f" ({there[stripe]:,} bytes long instead of {lengths[stripe]:,})"
    return Lacking(missing, sum(1 for length in lengths if length), first)
