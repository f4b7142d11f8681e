"""What a journal tells: its rows, as records. What they hold together, and how they get there, is in journal.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sealift.stages.pack.queue import Cursor


Kind = Literal["failed", "full", "lied", "new", "lacks"]


class PackRow(NamedTuple):
    """A committed pack; parity packs have no members."""

    stripe: int
    role: int
    length: int
    header: bytes
    blake3: bytes
    blocks: int
    plain: int
    tar: int
    members: int
    samples: int
    source_bytes: int
    files: int


class Owed(msgspec.Struct, frozen=True, array_like=True):
    """A drive that is set aside, or new: it lacks the stripes from `since` on, until they are rebuilt on it.

    `kind`: failed or full (it may come back), lied (it is not taken back by itself), new (it is empty), lacks (it
    works, and packs that were on it are not there: it lacks these alone, as long as no stripe is committed without it).
    """

    slot: int
    serial: str
    mount: str
    since: int
    kind: Kind
    reason: str


class Slow(NamedTuple):
    """A drive that writes slowly, in bytes a second, beside the median of its group."""

    slot: int
    serial: str
    mount: str
    rate: int
    median: int


class Misread(NamedTuple):
    """A drive that gave other bytes than were written, or none: packs, and blocks of them, whatever came of these.

    It stays when they are rebuilt or packed again, and when another drive takes its place.
    """

    slot: int
    serial: str
    mount: str
    packs: int
    blocks: int


class ReadBackState(NamedTuple):
    """How far a group was read back: stripes; blocks compared and repaired; whether any came from a cache.

    `stripes` were read in some way, the first `whole` of them all through. Of `blocks`, `again` are of stripes that
    had been read before. `found` blocks were wrong: `repaired`, in stripes `packed_again`, or wrong still.
    """

    stripes: int = 0
    blocks: int = 0
    repaired: int = 0
    cached: bool = False
    whole: int = 0
    again: int = 0
    found: int = 0
    packed_again: int = 0


class Wrong(NamedTuple):
    """A pack that read back other than it was written: how many blocks of it, and how often."""

    stripe: int
    role: int
    slot: int
    blocks: int
    times: int


class Lacks(NamedTuple):
    """A drive of a signed group that lacked packs when it was looked at last: of which stripes, and that in words."""

    slot: int
    serial: str
    mount: str
    stripes: list[int]
    reason: str


class Medium(NamedTuple):
    """Which medium, and where it was."""

    serial: str
    mount: str


class Told(NamedTuple):
    """Members that changed while they were read; that are not whole, and why; that were skipped, and why."""

    changed: list[bytes]
    incomplete: list[tuple[bytes, str]]
    skipped: list[tuple[bytes, str]]

    @classmethod
    def of(cls, rows: Iterable[tuple[bytes, str | None]]) -> Self:
        """Rows of TOLD. One that changed and for which there is a reason, too, is not whole."""
        rows = [(bytes(path), reason) for path, reason in rows]
        changed = {path for path, reason in rows if reason is None}
        why: dict[bytes, str] = {}
        skipped = []
        for path, reason in rows:
            if reason is not None and path in changed:
                why.setdefault(path, reason)
            elif reason is not None:
                skipped.append((path, reason))
        return cls(sorted(changed - why.keys()), sorted(why.items()), skipped)


TOLD = "SELECT path, reason FROM told GROUP BY path, reason ORDER BY path, min(rowid)"


class GroupState(NamedTuple):
    """Where a group stands: waiting, packing (with its cursor) or signed."""

    number: int
    state: str
    stripes: int
    files_end: int | None
    cursor: Cursor
    source_bytes: int
    seconds: float
