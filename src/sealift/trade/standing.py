"""Whether a release, though its signatures hold, stands: what speaks against it, and since when.

    held_then    rules that held when it was released, by records that it binds -> why it should not have been given
    later        screenings after the one that it binds                        -> what they found since, and what got
                 lost between any two of all that are here

What holds: `held_then` is the gate again, at the time that the release states; lists of countries and currencies,
which change, are not asked again. In `later` what speaks against a release counts whoever wrote it, and what clears it
only with the signatures that it wants; a screening is got rid of neither by a later one without its lists, nor by one
that does not find again whom a person found on a list, or who may be on it and nobody has decided (screening_past.py).
Pure: the same arguments, the same answer.

What is not here: the signatures (release.py), what lies in a folder (stages/standing.py) or a bundle
(stages/audit_origin.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sealift.trade import gate, screening, screening_past
from sealift.trade.lists import left_out, moment

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sealift.trade.declaration import Declaration
    from sealift.trade.release import ReleaseRecord
    from sealift.trade.rules import Kept
    from sealift.trade.screening import ScreeningRecord

_ELSEWHERE = {"complete", "screening", "keys"}  # checked with the release, and with the records that it binds
_SPEAKS = {"unresolved", "true_match", "unreviewed"}
_SHOWN = 3
Screened = screening_past.Screened


class Against(NamedTuple):
    """Why a release does not stand; `since` is an aware time, None where it never did.

    `record` is the BLAKE3 of the screening that says so, "" where none does.
    """

    text: str
    since: datetime | None = None
    record: str = ""


@dataclass(frozen=True)
class Standing:
    """What speaks against a release, and what could not be looked at, in words; nothing against it: it stands."""

    against: tuple[Against, ...] = ()
    unlooked: tuple[str, ...] = ()

    @property
    def why(self) -> tuple[str, ...]:
        """What speaks against it."""
        return tuple(each.text for each in self.against)


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


def _waiver(row: gate.Row, facts: gate.Facts) -> bool:
    """Whether a row of keys is held by the waiver alone, which nobody else looks at."""
    return row.rule.check == "keys" and facts.waiver is not None and not facts.keys


def later(bound: ScreeningRecord | None, digest: str, released: datetime, here: Sequence[Screened]) -> list[Against]:
    """What screenings after the one that is bound (`bound`, BLAKE3 `digest`) say against the release of `released`.

    Those that the bound one supersedes are before it; of what there is where it is missing, what is later than the
    release. One that is superseded in its turn counts for whom a person found, and for lists that its successor lacks.
    """
    by_digest = {each.digest: each for each in here}
    before = {digest}
    at = by_digest.get(digest)
    while at is not None and at.record.supersedes is not None and at.record.supersedes.blake3 not in before:
        before.add(at.record.supersedes.blake3)
        at = by_digest.get(at.record.supersedes.blake3)
    since = moment(bound.at) if bound is not None else released
    after = [each for each in here if each.digest not in before and moment(each.record.at) >= since]
    found: list[Against] = []
    for each in sorted(after, key=lambda one: one.record.at):
        followed = any(
            one.record.supersedes is not None
            and one.record.supersedes.blake3 == each.digest
            and not left_out(each.record.lists, one.record.lists)
            for one in after
        )
        when = moment(each.record.at)
        why = [
            f"{problem.where} {problem.reason}".strip()
            for problem in screening.record_problems(each.record, when, reviewed=each.reviewed)
            if problem.kind in _SPEAKS and (problem.kind == "true_match" or not followed)
        ]
        if why:
            more = f"; and {len(why) - _SHOWN:,} more" if len(why) > _SHOWN else ""
            text = f"the screening of {each.record.at}, which is later: {'; '.join(why[:_SHOWN])}{more}"
            found.append(Against(text, when, each.digest))
    return [*found, *_lost(here)]


def _lost(here: Sequence[Screened]) -> list[Against]:
    """Hits that nobody has decided about, and that a screening which none supersedes does not have any more."""
    superseded = {each.record.supersedes.blake3 for each in here if each.record.supersedes is not None}
    found: dict[str, list[screening_past.Remembered]] = {}
    # each of them: nobody has looked at their signatures, and one that is made up must not hide another
    for last in (each for each in here if each.digest not in superseded):
        for old in screening_past.dropped(screening_past.ordered(last, here)):
            found.setdefault(old.of.digest, []).append(old)
    against = []
    for digest, lost in found.items():
        of, first = lost[0].of.record, lost[0]
        more = f", and {len(lost) - 1:,} more" if len(lost) > 1 else ""
        text = (
            f"the screening of {of.at}: {first.party.party_ref} may be {first.hit.name!r} ({first.hit.list},"
            f" {first.hit.entry_id}){more}: nobody has decided for good, and a later one does not have it"
        )
        against.append(Against(text, moment(of.at), digest))
    return against
