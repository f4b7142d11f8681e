"""Events of custody as a graph: who builds upon whom, what is torn out of it; a finding, and who may settle which.

What holds of a Graph: its order is decided by the graph, the times and the digests alone, and has no event before one
that it builds upon; there is no cycle, since nobody can name a digest before it is made. A set of events has one
checkpoint, and a checkpoint one set.

What is not here: signatures, drives, and what people must make of it (custody.py).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from sealift.trade.custody_event import Checkpoint, Entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Kind = Literal[
    "altered", "signature", "unsigned", "consignment", "count",  # does not hold
    "gap", "checkpoint", "orphan", "unexpected", "undeclared", "unheld", "missing", "revision",  # of log or declaration
    "uncountersigned", "one-signer", "by-hand", "names", "conflict", "hands", "begins", "clock",  # people settle it
    "unreleased", "awaited", "stranger", "carrier", "onward", "seal", "seal-changed", "opened", "condition",
    "hash-sample", "discrepancy",
]  # fmt: skip
HOLDS_NOT: frozenset[str] = frozenset({"altered", "signature", "unsigned", "consignment", "count"})
Settler = Literal["two", "receiver", "officer"]  # two persons, one of them named and no carrier; or more than that
SETTLED_BY: Mapping[Kind, Settler] = MappingProxyType({
    "uncountersigned": "two", "one-signer": "two", "by-hand": "two", "names": "two", "conflict": "two", "begins": "two",
    "clock": "two", "seal": "two", "seal-changed": "two", "condition": "two", "hash-sample": "two",
    "discrepancy": "two",
    "opened": "receiver",  # who sees the case
    "hands": "officer", "unreleased": "officer", "stranger": "officer", "carrier": "officer",  # they went unlawfully
    "onward": "officer",
    "awaited": "officer",  # or so it looks, until whoever took them signs
})  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """Something to look at: its kind, a sentence, the events and drives that it is about, and who settled it."""

    kind: Kind
    text: str
    events: tuple[str, ...] = ()
    serials: tuple[str, ...] = ()
    settled_by: str | None = None

    @property
    def holds(self) -> bool:
        """False when a digest or a signature is not good."""
        return self.kind not in HOLDS_NOT

    @property
    def open(self) -> bool:
        """Nobody has settled it."""
        return self.settled_by is None

    @property
    def by_officer(self) -> bool:
        """The officer settled it, and it is to be looked at all the same."""
        return not self.open and SETTLED_BY.get(self.kind) == "officer"


@dataclass(frozen=True)
class Copy:
    """What was read of one copy of a log: good events by digest, signatures by event, and what is wrong with files."""

    entries: Mapping[str, Entry]
    signatures: Mapping[str, Sequence[bytes]]
    findings: Sequence[Finding] = ()


def newest(entries: Mapping[str, Entry]) -> Checkpoint:
    """The checkpoint of a set of events: their number, and those that no other of them names."""
    named = {digest for entry in entries.values() for digest in entry.event.log_checkpoint.newest}
    return Checkpoint(events=len(entries), newest=sorted(set(entries) - named))


class Graph:
    """Events in an order of which only the graph, the times and the digests decide, and who is behind whom.

    `behind[i]` has bit j set when event j is among those that event i builds upon.
    """

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self.entries = entries
        self.order = _sorted(entries)
        self.index = {entry.digest: i for i, entry in enumerate(self.order)}
        self.behind: list[int] = []
        self.torn: list[bool] = []  # something that it builds upon is not here
        for entry in self.order:
            mask, torn = 0, False
            for digest in entry.event.log_checkpoint.newest:
                before = self.index.get(digest)
                if before is None:
                    torn = True
                else:
                    mask |= self.behind[before] | 1 << before
                    torn |= self.torn[before]
            self.behind.append(mask)
            self.torn.append(torn)

    def follows(self, later: str, earlier: str) -> bool:
        """The event `later` builds upon the event `earlier`."""
        return bool(self.behind[self.index[later]] >> self.index[earlier] & 1)

    def faults(self, entry: Entry) -> list[Finding]:
        """Events that this one names and that are not here, and a number of events that is not theirs."""
        at, seen = self.index[entry.digest], entry.event.log_checkpoint
        gone = [digest for digest in seen.newest if digest not in self.index]
        if gone:
            text = f"it builds upon {some(gone)}, which {'is' if len(gone) == 1 else 'are'} not in this log"
            return [Finding("gap", text, (entry.digest, *gone))]
        count = self.behind[at].bit_count()
        if not self.torn[at] and count < seen.events:  # more there are where its writer's copy had a gap
            return [
                Finding("count", f"it says that {seen.events} events were before it; {count} were", (entry.digest,))
            ]
        return []

    def compare(self, checkpoint: Checkpoint) -> list[Finding]:
        """What keeps `checkpoint` from being of this log, or of what it was before."""
        gone = [digest for digest in checkpoint.newest if digest not in self.index]
        if gone:
            text = f"{some(gone)} of a checkpoint of {checkpoint.events} events is not in this log: events are missing"
            return [Finding("checkpoint", text, tuple(gone))]
        at = [self.index[digest] for digest in checkpoint.newest]
        mask = 0
        for each in at:
            mask |= self.behind[each] | 1 << each
        count = mask.bit_count()
        if count < checkpoint.events and not any(self.torn[each] for each in at):
            text = f"a checkpoint says {checkpoint.events} events up to {some(checkpoint.newest)}; there are {count}"
            return [Finding("checkpoint", text, tuple(checkpoint.newest))]
        return []


def _sorted(entries: Mapping[str, Entry]) -> list[Entry]:
    """Each after those that it names; of those that are free, the earliest time and then the smaller digest first."""
    waits = dict.fromkeys(entries, 0)
    next_of: dict[str, list[str]] = {digest: [] for digest in entries}
    for digest, entry in entries.items():
        for before in entry.event.log_checkpoint.newest:
            if before in entries:
                waits[digest] += 1
                next_of[before].append(digest)
    free = [(entries[digest].event.at_utc, digest) for digest, count in waits.items() if not count]
    heapq.heapify(free)
    order = []
    while free:
        _, digest = heapq.heappop(free)
        order.append(entries[digest])
        for after in next_of[digest]:
            waits[after] -= 1
            if not waits[after]:
                heapq.heappush(free, (entries[after].event.at_utc, after))
    return order  # all of them: a cycle of digests cannot be made


def bits(mask: int) -> Iterator[int]:
    """Places of the bits that are set, the lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def some(digests: Sequence[str]) -> str:
    """The first digits of up to four digests, for a sentence."""
    shown = " and ".join(each[:12] for each in digests[:4])
    return shown + (f" and {len(digests) - 4} more" if len(digests) > 4 else "")
