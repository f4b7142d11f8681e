"""Whether so much of a stripe could not be read that its source seems not to be there, or to fail.

What is not in a stripe when it is committed is skipped for good, and what a medium does not give is zeros on the
drives. One file that went or has a bad sector is no reason to stop packing for weeks: it is named, in the end. A folder
that is not mounted any more, a file server that does not answer or a disk that dies is: they look like many files that
went, or that fail. So a stripe is not committed, and the packing goes on with it when the source is there again, where
more than a tenth of it is missing, or of all that this run has read, and that is more than one file.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sealift.errors import SourceFault
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.stages.pack.queue import UnitQueue
    from sealift.stages.pack.units import Ended

_PART = 10  # one in so many,
_MANY = 100  # and this many files that cannot be read,
_FEW = 3  # or this many that are as much of the bytes, or of which the medium fails
_FAILING = 2  # or this many that are as much of the bytes, and of which the medium fails,
_FAILING_BYTES = 64 << 20  # or this much of a medium that fails


class _Hole:
    """What could not be read of a stripe, or of several."""

    def __init__(self) -> None:
        self.paths: set[bytes] = set()  # that could not be read, or not all of them
        self.failing: set[bytes] = set()  # of these, of which the medium fails
        self.packed = 0  # members
        self.unread = self.failing_bytes = self.size = 0  # in bytes; `size` with what was read

    def add(self, packs: Sequence[Ended], queue: UnitQueue) -> None:
        """Of a stripe of these packs, with what the queue dropped before."""
        self.packed += sum(pack.members for pack in packs)
        self.size += queue.unread + sum(pack.unread + pack.source_bytes for pack in packs)
        sources: list[Ended | UnitQueue] = [*packs, queue]
        for each in sources:
            self.paths |= {path for path, _ in each.skipped}
            self.failing |= {*each.failing}
            self.unread += each.unread
            self.failing_bytes += each.failing_bytes

    @property
    def is_large(self) -> bool:
        """Whether it looks like a source that is not there, or fails."""
        paths, failing, members = len(self.paths), len(self.failing), len(self.paths) + self.packed
        by_files = _PART * paths > members and (paths >= _MANY or failing >= _FEW)
        by_bytes = _PART * self.unread > self.size and (paths >= _FEW or failing >= _FAILING)
        return by_files or by_bytes or (self.failing_bytes >= _FAILING_BYTES and _PART * self.failing_bytes > self.size)


class Unread:
    """What a run could not read of its source."""

    def __init__(self) -> None:
        self._of_all = _Hole()

    def require(self, group: int, stripe: int, packs: Sequence[Ended], queue: UnitQueue) -> None:
        """SourceFault where a stripe of these packs, and of what the queue dropped before, should not be committed."""
        told = [*queue.skipped, *(each for pack in packs for each in pack.skipped)]
        of_this = _Hole()
        for each in (of_this, self._of_all):
            each.add(packs, queue)
        if not told or not (of_this.is_large or self._of_all.is_large):
            return
        path, reason = told[0]
        many = len(of_this.paths)
        raise SourceFault(
            f"{counted(many, 'file')} of {many + of_this.packed:,} that stripe {stripe} of group {group} is made "
            f"of cannot be read, or not all of {'it' if many == 1 else 'them'}, such as {os.fsdecode(path)!r}: "
            f"{reason}. nothing of this stripe was kept; what was packed before is safe",
            hint="see that the source is mounted, and that its medium does not fail (`dmesg`); then the same command "
            "packs this stripe again, and goes on. --accept-missing goes on without what cannot be read, and names it",
        )
