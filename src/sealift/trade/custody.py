"""What a custody log says: who holds which drive since when, and everything in it that people must look at.

A log is a set of events, each of which names the newest events that its writer had seen; so it is a directed graph
without cycles, of which any two copies merge to their union, in any order. What holds of the Account that `assess`
returns:

- An event counts when at least one of the keys that it names has signed it and is an allowed signer's; it stays in the
  graph in any case, so that what was written after it is not torn.
- The events of one drive (but for statements of a discrepancy) are in line when each builds upon the one before. Two of
  which neither builds upon the other are a conflict: the drive was in two hands.
- Every fault is a Finding; `holds` is False for a digest or signature that is not good, and then nothing else that the
  record says can be relied on. A finding that people can settle is open until an event by whoever may settle it names
  the events that it is about, for the same drives (custody_settle.py).
- The same log, declaration, signers and time give the same account.

What cannot be seen: an event that its two sides never showed to anybody, and a copy that lacks the newest events,
unless a checkpoint of them is given or the drives that they are about turn up elsewhere.

What is not here: reading the files (stages/custody_log.py), words for people (cli/custody_words.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sealift.errors import SignatureInvalid
from sealift.formats.allowed_signers import is_one_name
from sealift.trade import persons
from sealift.trade.clocks import SKEW, is_ahead
from sealift.trade.custody_event import NAMESPACE, Checkpoint
from sealift.trade.custody_graph import Finding, Graph, bits, newest
from sealift.trade.custody_settle import Judge, settle
from sealift.trade.custody_terms import an as _of_event
from sealift.trade.custody_terms import have_left, identities, told

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sealift.formats import sshsig
    from sealift.formats.allowed_signers import AllowedSigners, Signer
    from sealift.trade.custody_event import CustodyEvent, Entry, Party
    from sealift.trade.custody_graph import Copy, Kind
    from sealift.trade.custody_terms import Terms

BY_NETWORK = "NETWORK-"  # begins the serial number under which a plain directory is declared; nobody carries it


@dataclass(frozen=True)
class Row:
    """An event in its place: `number` from 1, which sides signed with which key, and whether it counts."""

    number: int
    entry: Entry
    released: Signer | None
    received: Signer | None

    @property
    def event(self) -> CustodyEvent:
        """The event."""
        return self.entry.event

    @property
    def sides(self) -> tuple[tuple[Party, Signer | None], ...]:
        """Who was to sign, each with the key that did; one where one person states something."""
        both = ((self.event.released_by, self.released), (self.event.received_by, self.received))
        return both if self.event.changes_hands else both[:1]

    @property
    def by_hand(self) -> list[Party]:
        """Sides that signed by hand on paper, not by key; the other side vouches for the photograph."""
        return [party for party, _ in self.sides if not party.key_fingerprint]

    @property
    def counts(self) -> bool:
        """Somebody whom the allowed signers name has signed it."""
        return self.released is not None or self.received is not None

    @property
    def by_two(self) -> bool:
        """Two keys have signed it, and by the allowed signers they are not one person's."""
        one, two = self.released, self.received
        return one is not None and two is not None and not persons.same(one.person, two.person)


class Held(NamedTuple):
    """Who has a drive by which event, and the number of the last seal put on it ("" for none)."""

    by: Party
    row: Row
    seal: str


@dataclass(frozen=True)
class DriveState:
    """A drive: whose it is (none: nobody's yet; several: in conflict), all its events, and whether it has arrived."""

    serial: str
    declared: bool
    held: tuple[Held, ...] = ()
    events: tuple[str, ...] = ()
    arrived: bool = False


@dataclass(frozen=True)
class Account:
    """Everything a log says; no row stands before one that it builds upon. `away`: drives that have left the origin."""

    consignment_id: str
    checkpoint: Checkpoint
    rows: Sequence[Row]
    drives: Sequence[DriveState]
    findings: Sequence[Finding]
    away: frozenset[str] = frozenset()

    @property
    def open(self) -> list[Finding]:
        """Findings that nobody has settled."""
        return [finding for finding in self.findings if finding.open]

    @property
    def exit_code(self) -> int:
        """5: a digest or signature does not hold; 3: something to look at; 0: whole."""
        return 5 if any(not each.holds for each in self.findings) else 3 if self.open else 0


def before_next(account: Account) -> Checkpoint:
    """What the next event is to name: the newest of the events that count, and how many there are up to them."""
    graph = Graph({row.entry.digest: row.entry for row in account.rows})
    counting = behind = 0
    for at, row in enumerate(account.rows):
        if row.counts:
            counting |= 1 << at
            behind |= graph.behind[at]
    heads = sorted(account.rows[at].entry.digest for at in bits(counting & ~behind))
    return Checkpoint(events=(counting | behind).bit_count(), newest=heads)


def assess(
    copy: Copy,
    *,
    consignment_id: str,
    serials: Iterable[str],
    allowed: AllowedSigners,
    now: datetime,
    checkpoints: Iterable[Checkpoint] = (),
    final: bool = False,
    terms: Terms | None = None,
) -> Account:
    """Check a log against the declared drives and the allowed signers; nothing is raised for what it says.

    With `terms`, drives that go on before they may, or to somebody whom nobody declared, show too.

    `now` is an aware time, against which events of the future show. With `final` every declared drive must have
    arrived. Each of `checkpoints` must be of this log or of what it was before.
    """
    ours = {digest: each for digest, each in copy.entries.items() if each.event.consignment_id == consignment_id}
    found = list(copy.findings)
    found += [
        Finding("consignment", f"an event of {each.event.consignment_id}, not of {consignment_id}", (digest,))
        for digest, each in sorted(copy.entries.items())
        if digest not in ours
    ]
    graph = Graph(ours)
    rows = []
    for number, entry in enumerate(graph.order, start=1):
        row, faults = _signed(number, entry, copy.signatures.get(entry.digest, ()), allowed)
        rows.append(row)
        found += faults
        found += graph.faults(entry)
    altered = {digest for each in copy.findings if each.kind == "altered" for digest in each.events}
    found += [
        Finding(
            "orphan", "a signature of an event that is not here: removed, or its writing was interrupted", (digest,)
        )
        for digest in sorted(set(copy.signatures) - set(copy.entries) - altered)
    ]
    for checkpoint in checkpoints:
        found += graph.compare(checkpoint)
    found += _by_hand(rows)
    found += _names(rows)
    found += _clocks(rows, graph, now)
    judge, away = None if terms is None else Judge(terms, rows, allowed), frozenset[str]()
    chains = _Chains(graph, rows, judge)
    if judge is not None:
        found += told(rows, chains.come, chains.begun, judge.terms, judge.faces)
        away = have_left(rows, chains.come, chains.begun, judge.terms, judge.faces)
    found += chains.findings
    drives = _drives(chains, list(serials))
    found += _declared(drives, final=final)
    settled = settle(found, rows, chains, judge)
    return Account(consignment_id, newest(ours), rows, drives, settled, away)


# --- signatures ------------------------------------------------------------------------------------------


def _signed(
    number: int, entry: Entry, signatures: Sequence[bytes], allowed: AllowedSigners
) -> tuple[Row, list[Finding]]:
    event, digest = entry.event, entry.digest
    found: list[Finding] = []
    by: dict[str, Signer] = {}
    for signature in signatures:
        try:
            signer = allowed.signer(entry.data, signature, NAMESPACE, event.at)
        except SignatureInvalid as error:
            found.append(Finding("signature", f"a signature under it does not hold: {error}", (digest,)))
            continue
        by[signer.fingerprint] = signer
    keys = {event.released_by.key_fingerprint, event.received_by.key_fingerprint} - {""}
    strangers = [signer for fingerprint, signer in by.items() if fingerprint not in keys]
    found += [
        Finding("signature", f"signed by {each.principal} ({each.fingerprint}), who is neither side of it", (digest,))
        for each in strangers
    ]
    row = Row(number, entry, by.get(event.released_by.key_fingerprint), by.get(event.received_by.key_fingerprint))
    if not row.counts:
        found.append(
            Finding("unsigned", "nobody whose signature counts has signed it, so it counts for nothing", (digest,))
        )
        return row, found
    for side, words in (("released", event.released_by), ("received", event.received_by)):
        if words.key_fingerprint and getattr(row, side) is None:
            text = f"not yet signed by {words.words}, who {side} the drives"
            found.append(Finding("uncountersigned", text, (digest,), tuple(event.serials)))
    if row.released and row.received and _one_person(row.released, row.received) and event.changes_hands:
        text = f"both sides are signed by keys of {row.released.principal}, one person"
        found.append(Finding("one-signer", text, (digest,), tuple(event.serials)))
    return row, found


def _by_hand(rows: Sequence[Row]) -> list[Finding]:
    """Sides on paper whose person signs by key elsewhere: a photograph is easier to make up than a signature."""
    signs = [
        party
        for row in rows
        for party, signer in ((row.event.released_by, row.released), (row.event.received_by, row.received))
        if signer is not None
    ]
    keyed = {party.person for party in signs}
    found = []
    for row in rows:
        for party in (row.event.released_by, row.event.received_by):
            if row.counts and not party.key_fingerprint and party.person in keyed:
                text = f"{party.words} signs by key elsewhere in this log, and here is said to have signed by hand"
                found.append(Finding("by-hand", text, (row.entry.digest,), tuple(row.event.serials)))
    return found + _one_photograph(rows)


def _names(rows: Sequence[Row]) -> list[Finding]:
    """Keys that sign under two names, and names under which the keys of two people sign.

    Whose a key is decides who may settle, and to whom drives went.
    """
    first: dict[frozenset[str], tuple[Party, Row]] = {}
    named: dict[tuple[str, str], tuple[Signer, Row]] = {}
    found = []
    for row in rows:
        for party, signer in ((row.event.released_by, row.released), (row.event.received_by, row.received)):
            if signer is None:
                continue
            before, where = first.setdefault(signer.person.sure, (party, row))
            other, there = named.setdefault(party.person, (signer, row))
            if before.person != party.person:
                text = f"the key of {party.words} is that of {before.words} in event {where.number}"
            elif _two_people(signer, other):
                by = f"by a key of {signer.principal}, and in event {there.number} by one of {other.principal}"
                text = f"{party.words} signs {by}"
            else:
                continue
            found.append(Finding("names", text, (row.entry.digest,), tuple(row.event.serials)))
            break
    return found


def _two_people(one: Signer, two: Signer) -> bool:
    """The allowed signers name the keys' people, and each another."""
    return is_one_name(one.principal) and is_one_name(two.principal) and not persons.same(one.person, two.person)


def _one_photograph(rows: Sequence[Row]) -> list[Finding]:
    """Signatures by hand of which one photograph is to be the proof: a paper is of one event."""
    first: dict[str, Row] = {}
    found = []
    for row in rows:
        for photo in {row.event.released_by.paper_sha256, row.event.received_by.paper_sha256} - {""}:
            before = first.setdefault(photo, row) if row.counts else row
            if before is not row:
                text = f"one photograph ({photo[:12]}) is its signature by hand and that of event {before.number}"
                about = (before.entry.digest, row.entry.digest)
                found.append(Finding("by-hand", text, about, tuple(row.event.serials)))
    return found


def _one_person(one: Signer, two: Signer) -> bool:
    """By the allowed signers both keys are one person's."""
    return one.person.sure == two.person.sure


def side_of(event: CustodyEvent, key: sshsig.PublicKey) -> str | None:
    """Whose key it is: "released_by", "received_by", or None for neither side's."""
    for side in ("released_by", "received_by"):
        if getattr(event, side).key_fingerprint == key.fingerprint:
            return side
    return None


# --- drives ----------------------------------------------------------------------------------------------


class _Chains:
    """The events of every drive, one behind the other, and where they are not."""

    def __init__(self, graph: Graph, rows: Sequence[Row], judge: Judge | None) -> None:
        self.graph, self.rows, self._judge = graph, rows, judge
        self._who = identities(rows)
        self.masks: dict[str, int] = {}  # by drive: the events that move it
        self.named: dict[str, list[int]] = {}  # by drive: all its events
        self.seals: list[dict[str, str]] = []  # by event: the seal of each drive after it
        self.having: list[dict[str, tuple[Party, ...]]] = []  # by event: who has each drive after it
        self.come: list[list[str]] = []  # by event: drives that come to somebody who had them not
        self.begun: list[list[str]] = []  # by event: drives whose record begins with it
        self.findings: list[Finding] = []
        for at, row in enumerate(rows):
            self.seals.append({serial: item.seal_after for item in row.event.items for serial in item.serials})
            self.having.append({})
            self.come.append([])
            self.begun.append([])
            if row.counts:
                for serial in self.seals[at]:
                    self.named.setdefault(serial, []).append(at)
                self.findings += _said(row)
                if row.event.moves:
                    self._chain(at, row)

    def _chain(self, at: int, row: Row) -> None:
        behind = self.graph.behind[at]
        first: list[str] = []
        hands: dict[str, list[str]] = {}
        beside: dict[int, list[str]] = {}
        unlike: dict[tuple[str, str], list[str]] = {}
        early: list[str] = []
        for item in row.event.items:
            for serial in item.serials:
                before = self.masks.get(serial, 0)
                self.masks[serial] = before | 1 << at
                for other in bits(before & ~behind):
                    beside.setdefault(other, []).append(serial)
                last = self.maximal(before & behind)
                holders = self._hand_on(at, row.event, serial, last)
                if not last:
                    if row.event.event_type != "seal":
                        first.append(serial)
                    continue
                if row.event.event_type == "unseal" and not self._arrived(before & behind):
                    early.append(serial)
                if not any(self._same(row.event.released_by, each) for each in holders):
                    hands.setdefault(" or ".join(sorted({each.words for each in holders})), []).append(serial)
                seals = {self.seals[each][serial] for each in last}
                if item.seal_before not in seals:
                    wanted = " or ".join(sorted(each or "none" for each in seals))
                    unlike.setdefault((item.seal_before or "none", wanted), []).append(serial)
        self._tell(row, first, hands, unlike, beside)
        if early:
            text = "unsealed before they arrived"
            self.findings.append(Finding("seal-changed", text, (row.entry.digest,), tuple(early)))

    def _hand_on(self, at: int, event: CustodyEvent, serial: str, last: Sequence[int]) -> list[Party]:
        """Note who has a drive after an event; who had it before. Only an event that passes drives on changes that."""
        holders = [party for each in last for party in self.having[each][serial]]
        if event.passes or not holders:
            party = event.received_by if event.passes else event.released_by
            self.having[at][serial] = (party,)
            if not holders:
                self.begun[at].append(serial)
            elif not any(self._same(party, each) for each in holders):
                self.come[at].append(serial)
        else:
            mine = [each for each in holders if self._same(each, event.released_by)]
            self.having[at][serial] = tuple(mine[:1] or holders)
        return holders

    def _same(self, one: Party, two: Party) -> bool:
        who = {self._who.get(each.key_fingerprint) for each in (one, two)}
        return one.same(two) or (len(who) == 1 and who != {None})

    def _arrived(self, mask: int) -> bool:
        return any(self._arrives(self.rows[at].event) for at in bits(mask))

    def _arrives(self, event: CustodyEvent) -> bool:
        return event.event_type == "arrive" if self._judge is None else self._judge.faces.arrives(event)

    def _tell(
        self,
        row: Row,
        first: list[str],
        hands: Mapping[str, list[str]],
        unlike: Mapping[tuple[str, str], list[str]],
        beside: Mapping[int, list[str]],
    ) -> None:
        digest = row.entry.digest

        def tell(kind: Kind, text: str, serials: list[str], *others: str) -> None:
            self.findings.append(Finding(kind, text, (*others, digest), tuple(serials)))

        if first:
            tell("begins", f"their record begins with {_an(row)}, and not with their sealing", first)
        for holder, serials in hands.items():
            words = row.event.released_by.words
            key = " with another key" if words == holder else ""  # the same name, and not the same person
            tell("hands", f"released by {words}{key}, and {holder} had them", serials)
        for (found, wanted), serials in unlike.items():
            tell("seal", f"the seal was {found}, and should have been {wanted}", serials)
        for other, serials in sorted(beside.items()):
            there = self.rows[other]
            both = f"{_to(there)} (event {there.number}) and {_to(row)} (event {row.number})"
            twice = "; both name one photograph, of a paper that was entered twice" if _papers(there, row) else ""
            tell("conflict", f"{both}, and neither knows of the other{twice}", serials, there.entry.digest)

    def maximal(self, mask: int) -> list[int]:
        """Of the events in `mask` those that no other of them builds upon, in the order of the rows."""
        found = []
        while mask:
            at = mask.bit_length() - 1
            found.append(at)
            mask &= ~(self.graph.behind[at] | 1 << at)
        return found[::-1]

    def state(self, serial: str, *, declared: bool) -> DriveState:
        """What became of one drive."""
        mask = self.masks.get(serial, 0)
        held = tuple(
            Held(party, self.rows[at], self.seals[at][serial])
            for at in self.maximal(mask)
            for party in self.having[at][serial]
        )
        events = tuple(self.rows[at].entry.digest for at in self.named.get(serial, ()))
        return DriveState(serial, declared, held, events, self._arrived(mask))


def _said(row: Row) -> list[Finding]:
    """What an event says by itself that people must look at."""
    event = row.event
    found: list[Finding] = []

    def tell(kind: Kind, text: str, serials: Sequence[str]) -> None:
        found.append(Finding(kind, text, (row.entry.digest,), tuple(serials)))

    for item in event.items if event.moves else ():
        if item.seal_checked in {"broken", "missing"}:
            tell("seal", f"seal {item.seal_before} was {item.seal_checked}", item.serials)
        if item.seal_checked == "not_checked":
            tell("seal", f"seal {item.seal_before} was not looked at", item.serials)
        new = event.event_type == "seal" and not item.seal_before
        if item.seal_after != item.seal_before and not (new or event.inspection_opened or event.event_type == "unseal"):
            after = item.seal_after or "none"
            where = f" at customs, {event.officer_ref}" if event.officer_ref else ""
            tell("seal-changed", f"seal {item.seal_before or 'none'} became {after}{where}", item.serials)
        if event.inspection_opened and not item.seal_after:
            tell("opened", f"opened by customs, {event.officer_ref}, and not sealed again", item.serials)
        elif event.inspection_opened:
            tell("opened", f"opened by customs, {event.officer_ref}, now under seal {item.seal_after}", item.serials)
    for item in event.items:
        if item.condition == "damaged":
            tell("condition", "damaged", item.serials)
        if item.shock_indicator == "tripped":
            tell("condition", "the shock indicator had tripped", item.serials)
    if event.hash_sample_result == "mismatch":
        tell("hash-sample", "what was read of them is not what was signed", event.serials)
    if event.event_type == "discrepancy":
        tell("discrepancy", event.reason, event.serials)
    return found


def _clocks(rows: Sequence[Row], graph: Graph, now: datetime) -> list[Finding]:
    """Events that are earlier than what they build upon, or later than now, by more than SKEW."""
    found = []
    for row in rows:
        event = row.event
        before = [graph.entries[each].event.at for each in event.log_checkpoint.newest if each in graph.entries]
        text = ""
        if before and event.at < max(before) - SKEW:
            text = f"at {event.at_utc}, and what it builds upon was later; a clock was wrong"
        elif is_ahead(event.at, now):
            text = f"at {event.at_utc}, which is still to come; a clock is wrong"
        if text and row.counts:
            found.append(Finding("clock", text, (row.entry.digest,), tuple(event.serials)))
    return found


def _drives(chains: _Chains, serials: Sequence[str]) -> list[DriveState]:
    """The declared drives in their order, and then the others that the log names."""
    declared = dict.fromkeys(serials)
    others = sorted(set(chains.named) - set(declared))
    return [chains.state(each, declared=True) for each in declared] + [
        chains.state(each, declared=False) for each in others
    ]


def _declared(drives: Sequence[DriveState], *, final: bool) -> list[Finding]:
    """Drives that the declaration and the log do not have both; with `final` those that have not arrived."""
    found: list[Finding] = []
    carried = [each for each in drives if each.declared and not each.serial.startswith(BY_NETWORK)]
    unheld = [each.serial for each in carried if not each.held]
    undeclared = [each.serial for each in drives if not each.declared]
    missing = [each.serial for each in carried if each.held and not each.arrived]
    if unheld:
        found.append(Finding("unheld", "declared, and in nobody's hands by this log", (), tuple(unheld)))
    if undeclared:
        found.append(Finding("undeclared", "in this log, and not declared", (), tuple(undeclared)))
    if final and missing:
        found.append(Finding("missing", "have not arrived", (), tuple(missing)))
    return found


def _papers(one: Row, other: Row) -> set[str]:
    """Photographs of signed papers that both events name."""
    sides = [{row.event.released_by.paper_sha256, row.event.received_by.paper_sha256} for row in (one, other)]
    return (sides[0] & sides[1]) - {""}


def _to(row: Row) -> str:
    """What happened, and to whom drives went by it."""
    return _an(row) + (f" to {row.event.received_by.name}" if row.event.changes_hands else "")


def _an(row: Row) -> str:
    return _of_event(row.event)
