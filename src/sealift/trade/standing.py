"""Whether a release, though its signatures hold, stands: what speaks against it, and since when.

    held_then    rules that held when it was released, by records that it binds -> why it should not have been given
    ended        an authorisation that opened the gate                         -> since when it has ended
    later        screenings after the one that it binds                        -> what they found since, and what got
                 lost of what is here

What holds: `held_then` is the gate again, at the time that the release states; lists of countries and currencies,
which change, are not asked again. In `later` a hit on somebody whom the released revision names holds until a record
that screened them too decides it, with the signatures that this wants; a draft that names somebody else, and a record
that nobody signed who may, take nothing away (screening_past.py). Whom the released revision does not name is nothing
to it. What speaks against a release counts whoever wrote it. Pure: the same arguments, the same answer.

What is not here: the signatures (release.py), what lies in a folder (stages/standing.py) or a bundle
(stages/audit_origin.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from sealift.trade import consistency, gate, screening, screening_past
from sealift.trade.lists import moment

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from sealift.trade.declaration import Declaration
    from sealift.trade.release import ReleaseRecord
    from sealift.trade.rules import Kept
    from sealift.trade.screening import Hit, ScreeningRecord
    from sealift.trade.screening_past import Remembered
    from sealift.trade.sections import Content

_ELSEWHERE = {"complete", "screening", "keys"}  # checked with the release, and with the records that it binds
_SHOWN = 3
Screened = screening_past.Screened


class Against(NamedTuple):
    """Why a release does not stand; `since` is an aware time, None where it never did.

    `record` is the BLAKE3 of the screening that says so, "" where none does. `vague`: it came after `since`, and how
    long after nobody knows, because its clock was behind.
    """

    text: str
    since: datetime | None = None
    record: str = ""
    vague: bool = False


@dataclass(frozen=True)
class Standing:
    """What speaks against a release, and what could not be looked at, in words; nothing against it: it stands.

    `ended`: why drives leave the origin by it no more, though it stands for those that have left. `aged`: what was new
    enough when it was released, and is not any more; that holds nothing.
    """

    against: tuple[Against, ...] = ()
    unlooked: tuple[str, ...] = ()
    ended: tuple[Against, ...] = ()
    aged: tuple[str, ...] = ()

    @property
    def why(self) -> tuple[str, ...]:
        """What speaks against it."""
        return tuple(each.text for each in self.against)

    @property
    def why_none_leaves(self) -> tuple[str, ...]:
        """What speaks against leaving the origin by it."""
        return (*self.why, *(each.text for each in self.ended))


def held_then(
    parsed: Declaration, record: ReleaseRecord, principal: str | None, kept: Kept, facts: gate.Facts, at: datetime, *,
    unlooked: Collection[str] = (),
) -> list[str]:  # fmt: skip
    """Why the gate was not open for the release of `parsed` at `at`, by the rules that it binds.

    `principal` is under which name the officer is an allowed signer, None where nobody has looked; `unlooked` are ids
    of rules whose records are not there.
    """
    # of another version's rule only the name is known, and today's rule of that name is another one
    aside = {*kept.unread, *unlooked}
    verdict = gate.evaluate(parsed, kept.rules, facts, at)
    held = [row for row in verdict.held if row.rule.check not in _ELSEWHERE or _waiver(row, facts)]
    why = [f"it was released while rule {row.rule.id} held: {row.why}" for row in held if row.rule.id not in aside]
    if principal is not None and (other := verdict.may_release(principal)):
        why.append(other)
    resolved = [row.rule.id for row in verdict.resolved if row.rule.id not in aside]
    if [each for each in record.resolved if each not in aside] != resolved:
        why.append("it names other rules as opened by a person than the declaration's answers do")
    return why


def ended(parsed: Declaration, kept: Kept, released: datetime) -> list[Against]:
    """When authorisations end by which rules were open for the release of `parsed`; each of them once.

    The last day of one ends when it has ended everywhere on Earth: whose day is meant it does not say.
    """
    facts = gate.Facts(author=[], screening=[], keys=[], revision=[])
    opened: dict[int, list[str]] = {}
    approvals = list(parsed.authorisations)
    for row in gate.evaluate(parsed, kept.rules, facts, released).resolved if kept.known else []:
        approval = gate.rests_on(parsed, row.rule.id)
        if row.rule.opens == "authorisation" and approval is not None and row.rule.id not in kept.unread:
            opened.setdefault(approvals.index(approval), []).append(row.rule.id)
    found = []
    for number, rules in opened.items():
        each = approvals[number]
        day = consistency.day(each.expiry)
        if day is not None and day.year < date.max.year:
            over = datetime(day.year, day.month, day.day, 12, tzinfo=UTC) + timedelta(days=1)
            text = f"{each.authority}, {each.number}, which opened {', '.join(rules)}, ended on {each.expiry}"
            found.append(Against(text, over))
    return found


def _waiver(row: gate.Row, facts: gate.Facts) -> bool:
    """Whether a row of keys is held by the waiver alone, which nobody else looks at."""
    return row.rule.check == "keys" and facts.waiver is not None and not facts.keys


def later(
    parsed: Content, bound: ScreeningRecord | None, digest: str, released: datetime, here: Sequence[Screened],
    now: datetime,
) -> list[Against]:  # fmt: skip
    """What screenings after the one that is bound (`bound`, BLAKE3 `digest`) say against the release of `parsed`.

    Those that the bound one supersedes are before it. After it are those that supersede it in their turn, whatever
    their clocks said, and of all others what is later than it; where it is missing, later than the release. A hit
    counts from when the first of them had it, which is no time before the release, nor after `now`.
    """
    names = [(*subject.names, *subject.native) for subject in screening.subjects(parsed)]
    records = screening_past.ordered(None, screening_past.only(here, names))
    after = _after(records, bound, digest, released)
    least = released if bound is None else moment(bound.at)

    def since(each: Screened) -> datetime:
        return min(max(least, moment(each.record.at)), max(least, now))

    def said(each: Screened, why: Sequence[str], first: Iterable[Screened]) -> Against:
        behind = moment(each.record.at) < least
        text = f"the screening of {each.record.at}, which is later{', whatever its clock said' if behind else ''}"
        vague = any(moment(one.record.at) < least for one in (each, *first))
        return Against(f"{text}: {_shown(why)}", min(map(since, (each, *first))), each.digest, vague)

    open_hits = [old for old in screening_past.remembered(records) if old.of.digest != digest]
    found = [said(*each) for each in _true([each for each in records if each.digest in after], open_hits)]
    for each in records:
        mine = [old for old in open_hits if old.of.digest == each.digest]
        not_true = [old for old in mine if not _is_true(old.hit)]
        if each.digest in after and not_true:
            found.append(said(each, _open(not_true, each, records), [old.first for old in not_true]))
        elif each.digest not in after:
            found += _lost([old for old in mine if _is_gone(old, records)])
    return found


def _after(
    records: Sequence[Screened], bound: ScreeningRecord | None, digest: str, released: datetime
) -> dict[str, None]:
    """Digests of those of `records`, which are in order, that are after the bound one."""
    by_digest = {each.digest: each for each in records}
    before = {digest}
    at = by_digest.get(digest)
    while at is not None and at.before and at.before not in before:
        before.add(at.before)
        at = by_digest.get(at.before)
    since = moment(bound.at) if bound is not None else released
    found: dict[str, None] = {}
    for each in records:
        follows = each.before == digest or each.before in found
        if each.digest not in before and (follows or moment(each.record.at) >= since):
            found[each.digest] = None
    return found


def _true(
    records: Sequence[Screened], open_hits: Sequence[Remembered]
) -> Iterator[tuple[Screened, list[str], list[Screened]]]:
    """Whom a person found on a list, which is for good: the screening that says so first, and who had the hit first."""
    said = set[tuple[str, tuple[str, str]]]()
    for each in records:
        why, first = list[str](), list[Screened]()
        for party in each.record.parties:
            for hit in party.hits:
                if _is_true(hit) and (party.party_ref, hit.key) not in said:
                    said.add((party.party_ref, hit.key))
                    by = hit.decision.by if hit.decision else ""
                    why.append(f"{party.party_ref} is {hit.name!r} ({hit.list}, {hit.entry_id}), as {by} decided")
                    first += [old.first for old in open_hits if screening_past.again(old, party, hit)]
        if why:
            yield each, why, first


def _is_true(hit: Hit) -> bool:
    return hit.decision is not None and hit.decision.disposition == "true_match"


def _open(hits: Sequence[Remembered], of: Screened, records: Sequence[Screened]) -> list[str]:
    """What is open of the hits of one screening, by party."""
    found = []
    for ref in dict.fromkeys(old.party.party_ref for old in hits if old.hit.decision is None):
        mine = [old for old in hits if old.party.party_ref == ref and old.hit.decision is None]
        more = f", and {len(mine) - 1:,} more" if len(mine) > 1 else ""
        gone = " for good, and a later one does not have it" if _is_gone(mine[0], records) else ""
        first = mine[0].hit
        found.append(f"{ref} may be {first.name!r} ({first.list}, {first.entry_id}){more}: nobody has decided{gone}")
    if any(old.hit.decision is not None for old in hits):
        found.append(f"decisions on hits want the signature of {of.record.second_reviewer or 'a second person'}")
    return found


def _shown(why: Sequence[str]) -> str:
    more = f"; and {len(why) - _SHOWN:,} more" if len(why) > _SHOWN else ""
    return f"{'; '.join(why[:_SHOWN])}{more}"


def _is_gone(old: Remembered, records: Sequence[Screened]) -> bool:
    """Whether a record after the one that has a hit is of the party too, and so should have it, and has not."""
    after = records[[each.digest for each in records].index(old.of.digest) + 1 :]
    return any(
        screening_past.same_name(old.party, party)
        and not any(screening_past.again(old, party, hit) for hit in party.hits)
        for each in after
        for party in each.record.parties
    )


def _lost(lost: Sequence[Remembered]) -> list[Against]:
    """Hits from before the one that is bound, which nobody has decided about, and that later ones do not have."""
    if not lost:
        return []
    of, first = lost[0].of.record, lost[0]
    more = f", and {len(lost) - 1:,} more" if len(lost) > 1 else ""
    text = (
        f"the screening of {of.at}: {first.party.party_ref} may be {first.hit.name!r} ({first.hit.list},"
        f" {first.hit.entry_id}){more}: nobody has decided for good, and a later one does not have it"
    )
    return [Against(text, moment(of.at), first.of.digest)]
