"""Whether so much of a stripe could not be read that its source seems not to be there, or to fail.

What is not in a stripe when it is committed is skipped for good, and what a medium does not give is zeros on the
drives. One file that went or has a bad sector is no reason to stop packing for weeks: it is named, in the end. A folder
that is not mounted any more, a file server that does not answer or a disk that dies is: they look like many files that
went, or that fail. So a stripe is not committed, and the packing goes on with it when the source is there again, where
more than a tenth of it is missing, and that is many files, or some of a medium that fails, or much of it.
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
_FAILING = 3  # or this many of a medium that fails,
_FAILING_BYTES = 64 << 20  # or this much of it


def require(group: int, stripe: int, packs: Sequence[Ended], queue: UnitQueue) -> None:
    """SourceFault where a stripe of these packs, and of what the queue dropped before, should not be committed."""
    told = [*queue.skipped, *(each for pack in packs for each in pack.skipped)]
    unread = len({path for path, _ in told})
    members = unread + sum(pack.members for pack in packs)
    failing = queue.failing + sum(pack.failing for pack in packs)
    failing_bytes = queue.failing_bytes + sum(pack.failing_bytes for pack in packs)
    size = queue.failing_bytes + sum(pack.source_bytes for pack in packs)
    many = unread >= _MANY and _PART * unread > members
    fails = failing >= _FAILING and _PART * failing > members
    if not many and not fails and not (failing_bytes >= _FAILING_BYTES and _PART * failing_bytes > size):
        return
    path, reason = told[0]
    raise SourceFault(
        f"{counted(unread, 'file')} of {members:,} that stripe {stripe} of group {group} is made of cannot be read, or "
        f"not all of {'it' if unread == 1 else 'them'}, such as {os.fsdecode(path)!r}: {reason}. nothing of this "
        "stripe was kept; what was packed before is safe",
        hint="see that the source is mounted, and that its medium does not fail (`dmesg`); then the same command packs "
        "this stripe again, and goes on. --accept-missing goes on without what cannot be read, and names it",
    )
