"""The rules by which a shipment is released: one readable file, versioned, that people may change and never silently.

    rules.toml    the rules that are shipped; `sealift release --new-rules FILE` writes a copy to edit

A rule is asked of people (`holds_on`: the answer that holds) or computed (`check`: what is looked at). What holds of
the Rules that `parse` returns: every id is there once, every rule is one or the other, every check is one that gate.py
has; `changed` names each rule that differs from those shipped, or is missing, or was added, and the settings that
differ. The file is bound by its exact bytes.

`kept` reads the rules of a release that was given before, by whatever version of the software: it asks for their
structure, names what it does not know, and holds them to none of today's promises.

What is not here: evaluating them (gate.py). The rules are questions with their sources, and no legal advice.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import blake3
from msgspec import Meta, Struct

from sealift.errors import BadInput
from sealift.formats import strict
from sealift.trade.sections import Date, LongText, Name, Text

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BYTES = 1 << 20
MAX_RULES = 1_000

Check = Literal[
    "complete", "author", "revision", "status", "screening", "keys", "countries", "parent-training", "important-data",
    "us-bulk-sensitive", "keys-apart",
]  # fmt: skip
OpenedBy = Literal["nothing", "resolver", "authorisation"]
Days = Annotated[int, Meta(ge=0, le=3660)]
Principals = Annotated[list[Text], Meta(max_length=100)]
_OF_COUNTRIES = ("countries", "parent-training")
_SETTINGS = ("edition", "officers", "list_days", "keys_days", "status_days")


class Rule(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rule; `opened_by` says what else than mending it opens it."""

    id: Name
    question: LongText
    source: LongText
    as_of: Date
    check: Check | None = None
    holds_on: Literal["yes", "no"] | None = None
    opened_by: OpenedBy | None = None
    officers: Principals = []
    countries: Annotated[list[Annotated[str, Meta(pattern=r"\A[A-Z]{2}\Z")]], Meta(max_length=300)] = []

    @property
    def opens(self) -> OpenedBy:
        """`opened_by`, or what it is where that is not said: a resolver of an answer, nothing of a check."""
        return self.opened_by or ("nothing" if self.check else "resolver")


class Content(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that a rules file says."""

    type: Literal["sealift-rules"]
    version: Literal[1]
    edition: Date
    officers: Principals = []
    list_days: Days = 7
    keys_days: Days = 30
    status_days: Days = 30
    rules: Annotated[list[Rule], Meta(max_length=MAX_RULES)] = []


class Rules(Content, frozen=True, kw_only=True):
    """Parsed rules with their exact bytes."""

    raw: bytes

    @property
    def digest(self) -> str:
        """BLAKE3 of the file's exact bytes, in hexadecimal."""
        return blake3.blake3(self.raw).hexdigest()

    @property
    def questions(self) -> list[Rule]:
        """Those that are asked of people."""
        return [rule for rule in self.rules if rule.check is None]

    @property
    def changed(self) -> list[str]:
        """What differs from the rules shipped: "id", "id (added)", "id (missing)", settings by name; in their order."""
        ours, theirs = {rule.id: rule for rule in shipped().rules}, {rule.id: rule for rule in self.rules}
        found = [name for name in _SETTINGS if getattr(self, name) != getattr(shipped(), name)]
        found += [name for name, rule in theirs.items() if name in ours and rule != ours[name]]
        found += [f"{name} (added)" for name in theirs if name not in ours]
        return found + [f"{name} (missing)" for name in ours if name not in theirs]


class Kept(Struct, frozen=True, kw_only=True):
    """Rules by which somebody released before, as far as this version of the software understands them.

    `strange` is what it does not, `unread` are the ids of rules that were left out for it. `known`: the version of the
    file is one whose rules this software can evaluate at all.
    """

    rules: Rules
    strange: list[str]
    unread: frozenset[str]
    known: bool

    @property
    def told(self) -> str:
        """What somebody must look at: what is not known, or why today's software would not release by it; or ""."""
        if self.strange:
            more = f" and {len(self.strange) - 5:,} more" if len(self.strange) > 5 else ""
            return f"of another version of sealift; what this one does not know: {'; '.join(self.strange[:5])}{more}"
        try:
            parse(self.rules.raw)
        except BadInput as error:
            return f"by which today's sealift would not release: {error}"
        return ""


def kept(data: bytes) -> Kept:
    """Rules that a release binds by their digest, to be looked at again. BadInput where it is no file of rules.

    What today's version promises and a house may not strike is not asked: these rules were good when they were used.
    """
    tree, fault = strict.load(data, MAX_BYTES)
    if tree is None:
        raise _bad([fault], _KEPT)
    known, strange, unread = _known(tree)
    faults: list[str] = []
    values = strict.values(tree, Content, "", faults, lambda _kind, _error: "")
    faults += _twice(values.get("rules", []))
    if faults:
        raise _bad(faults, _KEPT)
    return Kept(rules=Rules(**values, raw=data), strange=strange, unread=frozenset(unread), known=known)


_KEPT = "give the file exactly as it was kept with the release"


def _known(tree: dict[str, Any]) -> tuple[bool, list[str], list[str]]:
    """Take out of a file what another version of the software may have put in, and say what that was."""
    strange, unread, known = list[str](), list[str](), True
    version = tree.get("version")
    if isinstance(version, int) and not isinstance(version, bool) and version > 1:
        strange.append(f"version {version}")
        tree["version"], known = 1, False
    fields = {item.encode_name for item in strict.fields_of(Content)}
    for key in sorted(tree.keys() - fields):
        strange.append(f"the field {strict.short(key)}")
        del tree[key]
    rows = tree.get("rules")
    if not isinstance(rows, list) or len(rows) > MAX_RULES or not all(isinstance(row, dict) for row in rows):
        return known, strange, unread
    tree["rules"] = []
    for number, row in enumerate(rows, start=1):
        if odd := _odd(row):
            strange.append(f"rules[{number}]: {', '.join(odd)}")
            unread.append(str(row.get("id", "")))
        else:
            tree["rules"].append(row)
    return known, strange, unread


def _odd(row: dict[str, Any]) -> list[str]:
    """What of a rule this version does not know: fields, and words where it has a fixed choice."""
    fields = {item.encode_name for item in strict.fields_of(Rule)}
    odd = [strict.short(key) for key in sorted(row.keys() - fields)]
    for key, words in (("check", get_args(Check)), ("holds_on", ("yes", "no")), ("opened_by", get_args(OpenedBy))):
        word = row.get(key)
        if isinstance(word, str) and word not in words:
            odd.append(f"{key} = {strict.short(word)}")
    if ("check" in row) == ("holds_on" in row):
        odd.append("check and holds_on")
    return odd


def _twice(rules: list[Rule]) -> list[str]:
    seen: set[str] = set()
    found = []
    for rule in rules:
        if rule.id in seen:
            found.append(f"rules: {rule.id!r} is there twice")
        seen.add(rule.id)
    return found


def parse(data: bytes) -> Rules:
    """The rules in a file's bytes, to release by. BadInput that names every fault at once."""
    return _read(data, _weakened)


def _read(data: bytes, further: Callable[[dict[str, Any]], list[str]]) -> Rules:
    tree, fault = strict.load(data, MAX_BYTES)
    faults = [fault] if tree is None else []
    values: dict[str, Any] = {}
    if tree is not None:
        values = strict.values(tree, Content, "", faults, lambda _kind, _error: "")
        faults += _inconsistent(values.get("rules", []))
        faults += _struck(values.get("rules", [])) + further(values)
    if not faults and not values.get("edition"):
        faults.append("edition: empty; wants a day, such as 2026-11-26")
    if faults:
        raise _bad(faults, "sealift release --new-rules FILE writes those that are shipped")
    return Rules(**values, raw=data)


def _bad(faults: list[str], hint: str) -> BadInput:
    return BadInput(f"the rules have {strict.shown(faults)}", hint=hint)


# What the software promises whoever looks at a release, and no house may strike: a rule for each of these checks,
# opened by nothing else than here. Wording, source, countries, days and officers are a house's own, and so is every
# question.
_PROMISED: dict[str, tuple[OpenedBy, ...]] = {
    "complete": ("nothing",),
    "author": ("nothing",),
    "revision": ("nothing",),
    "status": ("nothing",),
    "screening": ("nothing",),
    "keys": ("nothing",),
    "parent-training": ("authorisation", "nothing"),
    "countries": ("authorisation", "nothing"),
}


def _struck(rules: list[Rule]) -> list[str]:
    """A fault for each promised check that no rule makes, or that is opened more easily than is promised."""
    found = []
    for check, allowed in _PROMISED.items():
        made = [rule for rule in rules if rule.check == check]
        if not made:
            found.append(f"rules: none has the check {check}; it cannot be struck")
        found += [
            f"rules: {rule.id} is opened by {rule.opens}; the check {check} wants {' or '.join(allowed)}"
            for rule in made
            if rule.opens not in allowed
        ]
    return found


_LONGEST = {"list_days": 31, "keys_days": 90, "status_days": 90}


def _weakened(values: dict[str, Any]) -> list[str]:
    """A fault for each setting beyond what is promised, each shipped question turned round, and countries that lack."""
    found = [f"{name}: {values[name]}; at most {most}" for name, most in _LONGEST.items() if values.get(name, 0) > most]
    ours = {rule.id: rule for rule in shipped().rules}
    for rule in values.get("rules", []):
        mine = ours.get(rule.id)
        if mine is None:
            continue
        if rule.holds_on != mine.holds_on:
            found.append(f"rules: {rule.id} is shipped with holds_on = {mine.holds_on}; another rule has another id")
    for mine in (rule for rule in shipped().rules if rule.countries):
        # under whatever id: a rule that is struck and written anew is about no fewer
        asked = {code for rule in values.get("rules", []) if rule.check == mine.check for code in rule.countries}
        if left := sorted(set(mine.countries) - asked):
            found.append(
                f"rules: {mine.id} lacks the countries {', '.join(left)}; to those that are shipped may be added"
            )
    return found


def _inconsistent(rules: list[Rule]) -> list[str]:
    found, seen = [], set()
    for number, rule in enumerate(rules, start=1):
        where = f"rules[{number}]"
        if rule.id in seen:
            found.append(f"{where}.id: {rule.id!r} is there twice")
        seen.add(rule.id)
        empty = [name for name in ("id", "question", "source", "as_of") if not getattr(rule, name).strip()]
        found += [f"{where}.{name}: empty" for name in empty]
        if (rule.check is None) == (rule.holds_on is None):
            found.append(f"{where}: wants one of check and holds_on")
        if rule.countries and rule.check not in _OF_COUNTRIES:
            found.append(f"{where}.countries: belongs to the checks {' and '.join(_OF_COUNTRIES)}")
        if rule.check in _OF_COUNTRIES and not rule.countries:
            found.append(f"{where}.countries: empty; wants the countries that it is about")
        if rule.check is not None and rule.opened_by == "resolver":
            found.append(f"{where}.opened_by: a resolver answers a question; of a check it is authorisation or nothing")
        if rule.officers and rule.opens == "nothing":
            found.append(f"{where}.officers: nothing but mending it opens this rule, so nobody can")
    return found


@functools.cache
def shipped() -> Rules:
    """The rules that come with this version."""
    from importlib.resources import files  # which takes 20 ms; most commands only name what a rule is

    return _read((files("sealift.trade") / "rules.toml").read_bytes(), lambda _values: [])
