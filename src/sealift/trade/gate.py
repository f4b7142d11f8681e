"""The gate: every rule looked at, what holds the shipment, and who may open it. No flag goes around it.

    clear      the rule holds nothing
    resolved   it would hold, and a named person (or a licence, or counsel) has opened it, on paper
    held       it holds: the shipment is not released

What holds of a Verdict that `evaluate` returns: there is a row for every rule of the file, in its order, and then for
every shipped rule that it lacks and that an answer of the declaration would hold: a flag that is up is not taken down
by striking the question. An answer that is missing or unknown is held, whatever else is written; what holds is opened
only in the way that the rule says, by somebody else than the author, not in the future nor longer ago than what is
declared may be, and by an authorisation only while it has not expired; `open` is true exactly if no row is held. The
declaration of a rehearsal has no goods, and no row: it is released as what it is.

Pure: the same arguments, the same verdict. What the rules ask is in rules.toml; facts that lie in other files (the
author's signature, screening, keys, the revision before) are looked at by their own modules and come as `Facts`:
reasons that hold. What is not here: signing (release.py) and files (stages/release.py). It records answers and gives
no legal advice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sealift.trade import consistency, declaration, people, persons
from sealift.trade.rules import shipped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date, datetime

    from sealift.formats.allowed_signers import Person
    from sealift.trade.declaration import Declaration
    from sealift.trade.keys import Waiver
    from sealift.trade.rules import Rule, Rules
    from sealift.trade.sections import Authorisation

State = Literal["clear", "resolved", "held"]


@dataclass(frozen=True)
class Facts:
    """What other records say against a release, in words; nothing said is nothing against it.

    `None`: nobody has looked, which holds.
    """

    author: Sequence[str] | None = None
    screening: Sequence[str] | None = None
    keys: Sequence[str] | None = None
    revision: Sequence[str] | None = None
    waiver: Waiver | None = None  # of the second independent recipient, in the record of keys
    waived_by: Person | None = None  # who signed that record, where it was looked at


class Row(NamedTuple):
    """One rule and what came of it; `answer` and `evidence` are as declared, `why` says why it is as it is."""

    rule: Rule
    state: State
    answer: str
    evidence: str
    why: str


@dataclass(frozen=True)
class Verdict:
    """What came of all rules, and by which file."""

    rules: Rules
    declaration: str  # BLAKE3 of its bytes
    rehearsal: bool
    rows: list[Row] = field(default_factory=list)

    @property
    def held(self) -> list[Row]:
        """The rows that hold."""
        return [row for row in self.rows if row.state == "held"]

    @property
    def resolved(self) -> list[Row]:
        """The rows that a person opened."""
        return [row for row in self.rows if row.state == "resolved"]

    @property
    def open(self) -> bool:
        """Whether nothing holds; never where a rule was not looked at."""
        looked = self.rehearsal or [row.rule for row in self.rows][: len(self.rules.rules)] == self.rules.rules
        return looked and not self.held

    def may_release(self, principal: str) -> str:
        """Why the rules do not let `principal` (names of an allowed signer, with commas) release; "" where they do."""
        names = set(principal.split(","))
        if self.rules.officers and not names & set(self.rules.officers):
            return f"the rules name {', '.join(self.rules.officers)} to release, and not {principal}"
        for row in self.resolved:
            if row.rule.officers and not names & set(row.rule.officers):
                return f"rule {row.rule.id} was opened, and then only {', '.join(row.rule.officers)} may release"
        return ""


class _Found(NamedTuple):
    """Why a check holds ("" where it does not), and the answer that it has of the declaration."""

    why: str
    answer: str = ""


def evaluate(parsed: Declaration, rules: Rules, facts: Facts, now: datetime) -> Verdict:
    """Look at every rule; `now` is an aware time."""
    if parsed.rehearsal:
        return Verdict(rules, parsed.digest, rehearsal=True)
    today = now.astimezone(UTC).date()

    def look(rule: Rule) -> Row:
        return (
            _asked(rule, parsed, rules.status_days, today)
            if rule.check is None
            else _computed(rule, parsed, rules, facts, today)
        )

    rows = [look(rule) for rule in rules.rules]
    return Verdict(rules, parsed.digest, rehearsal=False, rows=[*rows, *filter(_raised, map(look, _struck(rules)))])


def _struck(rules: Rules) -> list[Rule]:
    """The rules shipped that this file does not have."""
    kept = {rule.id for rule in rules.rules}
    return [rule for rule in shipped().rules if rule.id not in kept]


def _raised(row: Row) -> bool:
    """Whether the declaration itself answers a rule so that it holds, or somebody opened it: struck or not."""
    return row.state != "clear" and bool(row.answer)


# --- questions -------------------------------------------------------------------------------------------


def _asked(rule: Rule, parsed: Declaration, days: int, today: date) -> Row:
    given = next((answer for answer in parsed.answers if answer.question == rule.id), None)
    if given is None or not given.answer:
        return Row(rule, "held", "", "", "nobody has answered")
    row = Row(rule, "held", given.answer, given.evidence, "")
    if given.answer == "unknown":
        return row._replace(why="the answer is unknown")
    if given.answer != rule.holds_on:
        return row._replace(state="clear")
    if rule.opens == "authorisation":
        return _authorised(row, parsed, today)
    if rule.opens == "nothing":
        return row._replace(why=f"the answer is {given.answer}")
    wanted = ((given.evidence, "on what evidence"), (given.resolver, "who looked into it"), (given.resolved_on, "when"))
    for missing, what in wanted:
        if not missing.strip():
            return row._replace(why=f"the answer is {given.answer}, and it is not said {what}")
    if people.same(given.resolver, parsed.author.name):
        return row._replace(why=f"the answer is {given.answer}, and the author alone does not resolve it")
    on = consistency.day(given.resolved_on)
    if on is None or on > today:
        return row._replace(why=f"resolved on {given.resolved_on}, which is still to come")
    if (age := (today - on).days) > days:
        return row._replace(why=f"resolved on {given.resolved_on}, {age:,} days ago; {days} are allowed")
    return row._replace(state="resolved", why=f"resolved by {given.resolver} on {given.resolved_on}")


def _authorised(row: Row, parsed: Declaration, today: date) -> Row:
    """Held, unless an authorisation covers the rule and has not expired."""
    covering = [each for each in parsed.authorisations if row.rule.id in each.covers]
    for each in covering:
        ends = consistency.day(each.expiry)
        if ends is not None and ends >= today and each.number.strip() and each.authority.strip():
            return row._replace(state="resolved", why=f"{each.authority}, {each.number}, until {each.expiry}")
    expired = f"; {covering[0].authority}, {covering[0].number}, ended {covering[0].expiry}" if covering else ""
    because = f"{row.why}: " if row.why else f"the answer is {row.answer}: " if row.answer else ""
    return row._replace(why=f"{because}no authorisation that covers {row.rule.id} holds today{expired}")


def rests_on(parsed: Declaration, rule: str) -> Authorisation | None:
    """Of the authorisations that cover a rule the one that holds longest."""
    covering = [
        (ends, each)
        for each in parsed.authorisations
        if rule in each.covers and each.number.strip() and each.authority.strip()
        and (ends := consistency.day(each.expiry)) is not None
    ]  # fmt: skip
    return max(covering, key=lambda pair: pair[0], default=(None, None))[1]


# --- checks ----------------------------------------------------------------------------------------------


def _computed(rule: Rule, parsed: Declaration, rules: Rules, facts: Facts, today: date) -> Row:
    assert rule.check is not None
    found = _CHECKS[rule.check](rule, parsed, rules, facts, today)
    row = Row(rule, "clear" if not found.why else "held", found.answer, "", found.why)
    if rule.check == "keys" and not found.why and facts.waiver is not None:
        return _waived(row, parsed, facts)
    return _authorised(row, parsed, today) if found.why and rule.opens == "authorisation" else row


def _waived(row: Row, parsed: Declaration, facts: Facts) -> Row:
    """Nobody independent can open the drives too: somebody else than the author has accepted that, or it holds."""
    waiver = facts.waiver
    assert waiver is not None
    words = f"no two recipients are independent; {waiver.accepted_by} accepted it at {waiver.at}: {waiver.reason}"
    if people.same(waiver.accepted_by, parsed.author.name):
        return row._replace(state="held", why=f"{words}; and the author alone does not accept it")
    if facts.waived_by is not None and persons.same(facts.waived_by, persons.author(parsed)):
        return row._replace(
            state="held", why=f"{words}; and the author's own key signed that, which is nobody else's word"
        )
    return row._replace(state="resolved", why=words)


def _complete(_rule: Rule, parsed: Declaration, rules: Rules, _facts: Facts, _today: date) -> _Found:
    """As `sealift declare --check`; and no answer is unknown, of a question that the rules have struck neither."""
    faults = declaration.problems(parsed) + declaration.today(parsed)
    asked = {rule.id for rule in [*rules.rules, *shipped().rules]}
    faults += [
        f"the answer to {answer.question}, which is not in these rules, is unknown"
        for answer in parsed.answers
        if answer.answer == "unknown" and answer.question not in asked
    ]
    return _Found(_listed(faults))


def _revision(_rule: Rule, _parsed: Declaration, _rules: Rules, facts: Facts, _today: date) -> _Found:
    return _Found(_looked(facts.revision))


def _author(_rule: Rule, _parsed: Declaration, _rules: Rules, facts: Facts, _today: date) -> _Found:
    return _Found(_looked(facts.author))


def _screening(_rule: Rule, _parsed: Declaration, _rules: Rules, facts: Facts, _today: date) -> _Found:
    return _Found(_looked(facts.screening))


def _keys(_rule: Rule, _parsed: Declaration, _rules: Rules, facts: Facts, _today: date) -> _Found:
    return _Found(_looked(facts.keys))


def _status(_rule: Rule, parsed: Declaration, rules: Rules, _facts: Facts, today: date) -> _Found:
    on = consistency.day(parsed.status_as_of)
    if on is None:
        return _Found("status_as_of is empty")
    age = (today - on).days
    if age > rules.status_days:
        return _Found(f"status_as_of is {age:,} days ago; {rules.status_days} are allowed", parsed.status_as_of)
    return _Found("status_as_of is still to come" if age < 0 else "", parsed.status_as_of)


def _places(parsed: Declaration, *, carriers: bool) -> list[tuple[str, str]]:
    """Path and code of every country of a party, its parent, its owners, the site and whoever is on the way."""
    rows: list[tuple[str, Any]] = [(name, getattr(parsed, name)) for name in consistency.ROLES]
    rows += [(f"intermediates[{number}]", row) for number, row in enumerate(parsed.intermediates, start=1)]
    if carriers:
        rows += [(f"carriers[{number}]", row) for number, row in enumerate(parsed.carriers, start=1)]
    found = [
        (f"{where}.{what}", getattr(party, what)) for where, party in rows for what in ("country", "parent_hq_country")
    ]
    found += [
        (f"{where}.owners[{number}].country", owner.country)
        for where, party in rows
        for number, owner in enumerate(getattr(party, "owners", ()), start=1)
    ]
    return [*found, ("site.country", parsed.site.country)]


def _countries(rule: Rule, parsed: Declaration, _rules: Rules, _facts: Facts, _today: date) -> _Found:
    hit = [f"{where} is {code}" for where, code in _places(parsed, carriers=True) if code in rule.countries]
    return _Found(_listed(hit))


def _parent_training(rule: Rule, parsed: Declaration, _rules: Rules, _facts: Facts, _today: date) -> _Found:
    """House rule 4. Of everybody but the carriers: by parent, by owner and by own country."""
    hit = [f"{where} is {code}" for where, code in _places(parsed, carriers=False) if code in rule.countries]
    if not hit or parsed.end_use.class_ not in {"training", "fine-tuning"}:
        return _Found("", parsed.end_use.class_)
    return _Found(f"{_listed(hit)}; the end use is {parsed.end_use.class_}", parsed.end_use.class_)


def _field(name: str) -> Callable[[Rule, Declaration, Rules, Facts, date], _Found]:
    def check(_rule: Rule, parsed: Declaration, _rules: Rules, _facts: Facts, _today: date) -> _Found:
        answer = getattr(parsed.data, name)
        return _Found("" if answer == "no" else f"data.{name} is {answer or 'empty'}", answer)

    return check


def _keys_apart(_rule: Rule, parsed: Declaration, _rules: Rules, _facts: Facts, _today: date) -> _Found:
    answer = parsed.encryption.keys_travel_separately
    why = "" if answer == "yes" else f"encryption.keys_travel_separately is {answer or 'empty'}"
    return _Found(why, answer)


_CHECKS: dict[str, Callable[[Rule, Declaration, Rules, Facts, date], _Found]] = {
    "complete": _complete,
    "author": _author,
    "revision": _revision,
    "status": _status,
    "screening": _screening,
    "keys": _keys,
    "countries": _countries,
    "parent-training": _parent_training,
    "important-data": _field("important_data"),
    "us-bulk-sensitive": _field("us_bulk_sensitive"),
    "keys-apart": _keys_apart,
}
_SHOWN = 3


def _looked(reasons: Sequence[str] | None) -> str:
    return "nobody has looked" if reasons is None else _listed(reasons)


def _listed(reasons: Sequence[str]) -> str:
    more = f"; and {len(reasons) - _SHOWN:,} more" if len(reasons) > _SHOWN else ""
    return "; ".join(reasons[:_SHOWN]) + more
