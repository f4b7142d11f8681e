"""Screenings one after the other: what an earlier one found counts until a person has decided about it.

    chain       a record and those that it supersedes, back to the first; and the one that is named and is not here
    ordered     all records in the order in which they count: that of `supersedes`; clocks order what is not chained
    only        records with nothing but what they say of some parties
    remembered  hits that no later record has decided about: each next screening has them, found again or not
    dropped     of these, those of a party that the last record has, which lacks the hit
    found       parties of an earlier record that a person found on a list, and the last one does not

What holds: a hit is got rid of by no list that lacks its entry, neither by a shorter one nor by a newer one. A false
positive that a second person signed is decided; a true match is for good. A party is known again by its name, under
whatever path and with whatever country it is declared; an entry by its content, or by its id and the name that was hit.
Records that the last one does not supersede count as older than those that it does. What speaks against somebody counts
whoever signed it; a record that no allowed signer signed takes nothing away. Pure.

What is not here: signatures (screening.py), files (stages/screen.py).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from sealift.trade import names as naming
from sealift.trade.lists import stable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sealift.trade.screening import Hit, Party, ScreeningRecord, Supersedes


class Screened(NamedTuple):
    """A screening of the consignment, by the BLAKE3 of its bytes.

    `signed`: an allowed signer signed it; `reviewed`: so did a second person, who is not the declaration's author.
    """

    record: ScreeningRecord
    digest: str
    signed: bool
    reviewed: bool

    @property
    def before(self) -> str:
        """The BLAKE3 of the one that it supersedes; "" where it supersedes none."""
        return self.record.supersedes.blake3 if self.record.supersedes is not None else ""


class Remembered(NamedTuple):
    """A hit that nobody has decided about for good, and the screenings that have it last and first."""

    of: Screened
    party: Party
    hit: Hit
    first: Screened


def chain(last: Screened, here: Sequence[Screened]) -> tuple[list[Screened], Supersedes | None]:
    """`last` and all that it supersedes, the first of them first; and which one is named and is not among `here`."""
    by_digest = {each.digest: each for each in here}
    found, digests, at = [last], {last.digest}, last
    while (before := at.record.supersedes) is not None:
        there = by_digest.get(before.blake3)
        if there is None or there.digest in digests or there.record.screening_id != before.screening_id:
            return found[::-1], before
        found.append(there)
        digests.add(there.digest)
        at = there
    return found[::-1], None


def ordered(last: Screened | None, here: Sequence[Screened]) -> list[Screened]:
    """All of `here` in the order in which they count; where there is a `last` one, to that."""
    linked = chain(last, here)[0] if last is not None else []
    digests = {each.digest for each in linked}
    others = {each.digest: each for each in here if each.digest not in digests}
    places = _places(others)
    return [*sorted(others.values(), key=lambda one: (*places[one.digest], one.digest)), *linked]


def _places(records: Mapping[str, Screened]) -> dict[str, tuple[str, int]]:
    """Of each of `records` the latest time in it and those before it, and how many these are.

    By that none stands before one that it supersedes, however slow the clock of its screener was.
    """
    found: dict[str, tuple[str, int]] = {}
    for digest in records:
        way: dict[str, None] = {}
        at = digest
        while at in records and at not in found and at not in way:
            way[at] = None
            at = records[at].before
        time, depth = found.get(at, ("", 0))
        for each in reversed(way):
            time, depth = max(time, records[each].record.at), depth + 1
            found[each] = (time, depth)
    return found


def only(records: Sequence[Screened], parties: Sequence[Sequence[str]]) -> list[Screened]:
    """`records` with the parties alone that have a name in common with one of `parties`, each of which is its names.

    Of anybody else nothing that a record says or leaves out has a part in it.
    """
    wanted = frozenset[str]().union(*(_compared(tuple(names)) for names in parties))
    return [
        each._replace(
            record=msgspec.structs.replace(
                each.record, parties=tuple(party for party in each.record.parties if wanted & _forms(party))
            )
        )
        for each in records
    ]


def remembered(records: Sequence[Screened]) -> list[Remembered]:
    """Every hit of `records`, which are in order, that none of them after it has, and nobody decided about.

    One that no allowed signer signed adds hits; it takes the place of none.
    """
    found: list[Remembered] = []
    for each in records:
        hits = [(party, hit) for party in each.record.parties for hit in party.hits]
        by_key: dict[tuple[str, str], list[int]] = {}
        for number, (_, hit) in enumerate(hits):
            for key in _keys(hit):
                by_key.setdefault(key, []).append(number)
        first: dict[int, Screened] = {}
        kept = []
        for old in found:
            near = {number for key in _keys(old.hit) for number in by_key.get(key, ())}
            found_again = [number for number in sorted(near) if again(old, *hits[number])]
            for number in found_again:
                first.setdefault(number, old.first)
            if not (found_again and each.signed):
                kept.append(old)
        found = kept + [
            Remembered(each, party, hit, first.get(number, each))
            for number, (party, hit) in enumerate(hits)
            if not _cleared(each, hit) and (each.signed or number not in first)
        ]
    return found


def dropped(records: Sequence[Screened]) -> list[Remembered]:
    """Of `remembered`, those that the last of `records` has the party of, and not the hit."""
    last = records[-1]
    return [
        old
        for old in remembered(records)
        if old.of.digest != last.digest and any(same_name(old.party, party) for party in last.record.parties)
    ]


def found(records: Sequence[Screened]) -> Iterator[Remembered]:
    """Parties of the last of `records` that an earlier one found on a list, and the last one does not."""
    last = records[-1].record
    true = [party for party in last.parties if party.disposition == "true_match"]
    seen: set[tuple[str, tuple[str, str]]] = set()
    for each in records[:-1]:
        for party in each.record.parties:
            for hit in party.hits:
                if hit.decision is None or hit.decision.disposition != "true_match":
                    continue
                now = next((one for one in last.parties if same_name(party, one)), None)
                if now is None or any(same_name(party, one) for one in true) or (now.party_ref, hit.key) in seen:
                    continue
                seen.add((now.party_ref, hit.key))
                yield Remembered(each, now, hit, each)


def same_name(one: Party, other: Party) -> bool:
    """True if two parties have a name in common, as names are compared."""
    return bool(_forms(one) & _forms(other))


def alike(one: Hit, other: Hit) -> bool:
    """True if two hits are of the same entry: the same content; or the same name, and the same id or everything else.

    Ids that are numbers of rows move when a row is taken out, and entries are changed under their ids.
    """
    if stable(one.list) != stable(other.list):
        return False
    if one.entry_blake3 == other.entry_blake3:
        return True
    facts = [(each.entry_kind, each.entry_countries, each.entry_birth_dates, each.source) for each in (one, other)]
    named = one.name in (other.name, *other.entry_names) or other.name in (one.name, *one.entry_names)
    return named and (one.entry_id == other.entry_id or facts[0] == facts[1])


def again(old: Remembered, party: Party, hit: Hit) -> bool:
    """True if a hit of a party is one that was found before."""
    return alike(old.hit, hit) and same_name(old.party, party)


def _cleared(of: Screened, hit: Hit) -> bool:
    return hit.decision is not None and hit.decision.disposition == "false_positive" and of.reviewed


def _keys(hit: Hit) -> set[tuple[str, str]]:
    """Two hits that are alike have one of them in common."""
    return {(stable(hit.list), each) for each in (hit.entry_blake3, hit.name, *hit.entry_names)}


def _forms(party: Party) -> frozenset[str]:
    return _compared((*party.query_as_typed, *party.native_script))


@lru_cache(maxsize=1 << 10)
def _compared(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(naming.normalised(names))
