"""Who settles what a custody log shows: which events do, of which findings, for which drives.

What holds: who may settle which kind of finding is SETTLED_BY (custody_graph.py), and nothing else; that drives went on
as they might not, no event of those who did it settles, nor of those who stand in it by hand, under a name that may be
theirs. What is settled stays, with the event that settled it.

What is not here: what there is to settle (custody.py), and who is who by their keys (custody_terms.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sealift.trade import people, persons
from sealift.trade.custody_graph import SETTLED_BY, Finding, bits
from sealift.trade.custody_terms import Faces

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Protocol

    from sealift.formats.allowed_signers import AllowedSigners, Signer
    from sealift.trade.custody import Row
    from sealift.trade.custody_event import CustodyEvent
    from sealift.trade.custody_graph import Graph
    from sealift.trade.custody_terms import Terms

    class Chains(Protocol):
        """The events of every drive, as masks of places in `rows`."""

        @property
        def graph(self) -> Graph:
            """Who is behind whom."""

        @property
        def rows(self) -> Sequence[Row]:
            """The events, in order."""

        @property
        def masks(self) -> Mapping[str, int]:
            """By drive: the events that move it."""


class Judge:
    """Who is who in each event, by its time and by the keys, for whoever asks what it may settle."""

    def __init__(self, terms: Terms, rows: Sequence[Row], allowed: AllowedSigners) -> None:
        self.terms, self._rows = terms, {row.entry.digest: row for row in rows}
        self.faces = Faces(rows, terms, allowed)
        self._called: dict[frozenset[str], set[str]] = {}  # by person: the names under which they sign
        for row in rows:
            for party, signer in ((row.event.released_by, row.released), (row.event.received_by, row.received)):
                if signer is not None:
                    self._called.setdefault(signer.person.sure, set()).add(party.name)

    def may_settle(self, row: Row) -> bool:
        """One of the two is named, and carries nothing."""
        return self.terms.at(row.event.at).roles.may_settle(self.faces.event(row.event))

    def is_officer(self, row: Row, finding: Finding) -> bool:
        """One who signed it is the officer of a release, and had no part in what the finding is about."""
        events = [self._rows[digest] for digest in finding.events]
        return any(
            not each.person.sure.isdisjoint(self.terms.officers)
            and not any(self._took_part(each, event) for event in events)
            for each in _signers(row)
        )

    def _took_part(self, signer: Signer, row: Row) -> bool:
        """Somebody signed an event, or stands in it without a signature by key under a name that may be theirs."""
        if any(persons.same(signer.person, each.person) for each in _signers(row)):
            return True
        sides = ((row.event.released_by, row.released), (row.event.received_by, row.received))
        unsigned = [party for party, by in sides if by is None]
        names = [*self.terms.names(signer.person), *self._called.get(signer.person.sure, ())]
        return any(
            party.key_fingerprint in signer.person.sure or any(people.same(party.name, name) for name in names)
            for party in unsigned
        )

    def receives(self, row: Row) -> bool:
        """One of the two is named as one to whom drives go."""
        event = row.event
        return self.faces.receives(event, event.released_by) or self.faces.receives(event, event.received_by)

    def came(self, row: Row, serials: Iterable[str], chains: Chains) -> set[str]:
        """Drives that by this event, or one behind it, came to somebody to whom they go."""
        at = row.number - 1
        mask = chains.graph.behind[at] | 1 << at
        return {
            serial
            for serial in serials
            if any(self._brings(chains.rows[each].event) for each in bits(chains.masks.get(serial, 0) & mask))
        }

    def _brings(self, event: CustodyEvent) -> bool:
        return event.passes and self.faces.receives(event, event.received_by)


def _signers(row: Row) -> list[Signer]:
    """Who signed an event."""
    return [each for each in (row.released, row.received) if each is not None]


def settle(found: Sequence[Finding], rows: Sequence[Row], chains: Chains, judge: Judge | None) -> list[Finding]:
    """Findings with who settled them; one that is settled for some of its drives stays open for the others."""
    graph = chains.graph
    by_event: dict[str, list[Row]] = {}
    for row in rows:
        for digest in row.event.resolves if row.counts else ():
            if digest in graph.index and graph.follows(row.entry.digest, digest):
                by_event.setdefault(digest, []).append(row)
    out, acted = [], dict[str, set[str]]()  # by event: drives for which it settles something
    for finding in found:
        if finding.kind not in SETTLED_BY:
            out.append(finding)
            continue
        left, by = set(finding.serials), None
        for row in by_event.get(finding.events[0], ()):
            if all(row in by_event.get(digest, ()) for digest in finding.events[1:]) and _may(finding, row, judge):
                covered = _covered(finding, row, left, chains, judge)
                left -= covered
                by = row.entry.digest if covered or not finding.serials else by
                acted.setdefault(row.entry.digest, set()).update(covered)
        if by is None:
            out.append(replace(finding, text=finding.text + _not_settled(finding, rows, chains, judge)))
        elif left:
            out.append(replace(finding, serials=tuple(each for each in finding.serials if each in left)))
        else:
            out.append(replace(finding, settled_by=by))
    return [_is_said(each, acted) for each in out]


def _is_said(finding: Finding, acted: Mapping[str, set[str]]) -> Finding:
    """A discrepancy by which something is settled is, for the drives of which it is, no further one."""
    if finding.kind != "discrepancy" or not finding.open:
        return finding
    left = tuple(each for each in finding.serials if each not in acted.get(finding.events[0], ()))
    return replace(finding, serials=left) if left else replace(finding, settled_by=finding.events[0])


def _may(finding: Finding, row: Row, judge: Judge | None) -> bool:
    """Whoever signed an event may settle what is of this kind; who that is for which, SETTLED_BY says."""
    if SETTLED_BY[finding.kind] == "officer":
        return judge is not None and judge.is_officer(row, finding)
    return row.by_two and (judge is None or judge.may_settle(row))


def _covered(finding: Finding, row: Row, left: set[str], chains: Chains, judge: Judge | None) -> set[str]:
    """Drives for which an event settles a finding: what customs opened, the receiver who has the case does."""
    shared = left.intersection(row.event.serials)
    if judge is None or SETTLED_BY[finding.kind] != "receiver":
        return shared
    return judge.came(row, shared, chains) if judge.receives(row) else set()


def _not_settled(finding: Finding, rows: Sequence[Row], chains: Chains, judge: Judge | None) -> str:
    """Why an event whose `resolves` name a finding does not settle it: who wrote it believes that it does."""
    graph = chains.graph
    for row in reversed(rows):
        digest, named = row.entry.digest, set(row.event.resolves)
        if not named.intersection(finding.events):
            continue
        if SETTLED_BY[finding.kind] == "officer" and not _may(finding, row, judge):
            why = "the trade-compliance officer whose key signed the release has to sign that, and had no part in it"
        elif SETTLED_BY[finding.kind] != "officer" and not row.by_two:
            why = "two persons have to sign that with keys"
        elif not _may(finding, row, judge):
            why = "one of the two has to be somebody whom the declaration names, and not as a carrier"
        elif left := [each for each in finding.events if each not in named]:
            why = f"it has to name {left[0][:12]}, too"
        elif not all(each in graph.index and graph.follows(digest, each) for each in finding.events):
            why = "it was written without knowing of it"
        elif set(finding.serials).intersection(row.event.serials) and not _covered(
            finding, row, set(finding.serials), chains, judge
        ):
            why = "the receiver does, who sees the case, when it has come to them"
        else:
            why = "it is of other drives"
        return f"; event {row.number} names it, and does not settle it: {why}"
    return ""
