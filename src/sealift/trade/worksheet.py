"""The worksheet: a TOML file in which a person decides about hits, one table for each entry that was hit.

What holds: it names the screening that it is of, by id and digest, and is taken for no other. A person writes
`disposition`, `rationale`, `differentiators` and, once, `second_reviewer`; whom and what it is about is shown as
comments and, where it is needed to find the hit again, as values that must stay. Parties of the same name share a
table. What is left `potential`, or taken out, stays open. Every fault is named at once, by its place. Nothing is
decided by leaving a default.

What is not here: the record (screening.py), signing.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated, Any, Literal

import blake3
from msgspec import Meta, Struct, field

from sealift.errors import BadInput
from sealift.formats import strict
from sealift.trade import screening
from sealift.trade.lists import TIME
from sealift.trade.screening import Decision, Hit, Party, ScreeningRecord, same_person
from sealift.trade.template import WIDTH, toml_value

if TYPE_CHECKING:
    from datetime import datetime

MAX_FILE = 32 << 20
TYPE: Literal["sealift-screening-worksheet"] = "sealift-screening-worksheet"
HEAD = """\
Hits that want a decision. For each, look whether the party is the one on the list, and write
    disposition       "false_positive": somebody else; "true_match": the same; "potential": not decided
    rationale         why, in a sentence that will be read in ten years
    differentiators   of a false positive: what sets them apart, each with its source
and above, in second_reviewer, who looks at the decisions after you. Then
    sealift screen DECLARATION --dispose THIS-FILE --sign-with KEY --by "YOUR NAME\""""


class Row(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One table: an entry of a list, and the parties that it may be."""

    parties: Annotated[list[screening.Line], Meta(min_length=1, max_length=screening.MAX_HITS)]
    entry_id: screening.Line
    disposition: Literal["potential", "false_positive", "true_match"] = "potential"
    rationale: Annotated[str, Meta(max_length=4000)] = ""
    differentiators: Annotated[list[screening.Line], Meta(max_length=20)] = []
    list_name: screening.Line = field(name="list")


class Sheet(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file."""

    type: Literal["sealift-screening-worksheet"]
    version: Literal[1]
    screening_id: str
    screening_blake3: str
    second_reviewer: screening.MaybeLine = ""
    hits: Annotated[list[Row], Meta(max_length=screening.MAX_HITS)] = []


def path_beside(record: str) -> str:
    """Where the worksheet of a screening's record lies: NAME.screening.json has NAME.screening.toml."""
    return record.removesuffix(".json") + ".toml"


def render(record: ScreeningRecord, data: bytes) -> str:
    """The worksheet of `record`, whose bytes are `data`: every hit, decided or not, the nearest first."""
    rows: dict[tuple[object, ...], tuple[Hit, list[Party]]] = {}
    for party in record.parties:
        for hit in party.hits:
            alike = (party.query_as_typed, party.native_script, party.country, hit.key)
            rows.setdefault(alike, (hit, []))[1].append(party)
    lines = [f"# {line}".rstrip() for line in HEAD.split("\n")]
    lines += [
        "",
        f"type = {toml_value(TYPE)}",
        "version = 1",
        f"screening_id = {toml_value(record.screening_id)}",
        f"screening_blake3 = {toml_value(blake3.blake3(data).hexdigest())}",
        f"second_reviewer = {toml_value(record.second_reviewer)}",
    ]
    for hit, parties in sorted(rows.values(), key=lambda row: (row[0].decision is not None, -row[0].rank)):
        lines += ["", *_table(hit, parties)]
    return "\n".join(lines) + "\n"


def _table(hit: Hit, parties: list[Party]) -> list[str]:
    party, decision = parties[0], hit.decision
    listed = [hit.entry_kind, *hit.entry_countries[:5], *(f"born {born}" for born in hit.entry_birth_dates[:3])]
    shown = [
        f"declared: {', '.join((*party.query_as_typed, *party.native_script))} ({party.country or 'no country'})",
        f"listed:   {hit.name} ({', '.join(filter(None, listed)) or 'nothing more'}), {hit.source}",
        *([f"          also {'; '.join(hit.entry_names[:8])}"] if hit.entry_names else []),
        *([f"          {'; '.join(hit.entry_programs[:8])}"] if hit.entry_programs else []),
        f"score {hit.score:.2f}: {hit.why}",
        *([f"decided by {decision.by} at {decision.at}"] if decision else []),
    ]
    return [
        *(f"# {line}" for text in shown for line in textwrap.wrap(text, WIDTH, subsequent_indent=" " * 10)),
        "[[hits]]",
        f"parties = {_one_line([each.party_ref for each in parties])}",
        f"list = {toml_value(hit.list)}",
        f"entry_id = {toml_value(hit.entry_id)}",
        f"disposition = {toml_value(decision.disposition if decision else 'potential')}",
        f"rationale = {toml_value(decision.rationale if decision else '')}",
        f"differentiators = {_one_line(list(decision.differentiators) if decision else [])}",
    ]


def _one_line(texts: list[str]) -> str:
    return "[" + ", ".join(map(toml_value, texts)) + "]" if len(texts) < 4 else str(toml_value(texts))


def read(
    data: bytes, record: ScreeningRecord, record_data: bytes, *, by: str, now: datetime
) -> tuple[dict[tuple[str, tuple[str, str]], Decision | None], str]:
    """Decisions of a filled-in worksheet by party_ref and Hit.key, and the second reviewer's name.

    A decision that is as it was stays whose it was. Raises BadInput with every fault at once.
    """
    tree, fault = strict.load(data, MAX_FILE)
    if tree is None:
        raise BadInput(f"the worksheet is {fault}", hint="mend the worksheet; nothing was decided")
    faults: list[str] = []
    found: dict[str, Any] = strict.values(tree, Sheet, "", faults, lambda _kind, _error: "")
    if not faults:
        sheet = Sheet(**found)
        _same_screening(sheet, record, record_data)
        decisions = _decisions(sheet, record, by, now, faults)
        reviewer = sheet.second_reviewer.strip()
        if any(decisions.values()) and not reviewer:
            faults.append("second_reviewer: empty; wants the name of another person, who looks at the decisions")
        if reviewer and same_person(reviewer, by):
            faults.append(f"second_reviewer: {reviewer!r} is the one who decides; another person is wanted")
    if faults:
        raise BadInput(f"the worksheet has {strict.shown(faults)}", hint="mend the worksheet; nothing was decided")
    return decisions, reviewer


def _same_screening(sheet: Sheet, record: ScreeningRecord, data: bytes) -> None:
    digest = blake3.blake3(data).hexdigest()
    if (sheet.screening_id, sheet.screening_blake3) != (record.screening_id, digest):
        raise BadInput(
            f"the worksheet is of the screening {sheet.screening_id[:64]!r}; the record is {record.screening_id}",
            hint="take the worksheet that was written beside the record",
        )


def _decisions(
    sheet: Sheet, record: ScreeningRecord, by: str, now: datetime, faults: list[str]
) -> dict[tuple[str, tuple[str, str]], Decision | None]:
    hits = {(party.party_ref, hit.key): hit for party in record.parties for hit in party.hits}
    made: dict[tuple[str, tuple[str, str]], Decision | None] = {}
    for number, row in enumerate(sheet.hits, start=1):
        where = f"hits[{number}]"
        faults += _faults(row, where)
        for ref in row.parties:
            key = (ref, (row.list_name, row.entry_id))
            if key not in hits:
                faults.append(f"{where}: {ref} has no hit {row.entry_id!r} of {row.list_name!r} in the screening")
            elif key in made:
                faults.append(f"{where}: {ref} has {row.entry_id!r} of {row.list_name!r} in another table too")
            else:
                made[key] = _decision(row, hits[key].decision, by, now)
    return made


def _faults(row: Row, where: str) -> list[str]:
    """What a decision still wants."""
    if row.disposition == "potential":
        empty = not row.rationale.strip() and not row.differentiators
        return [] if empty else [f"{where}.disposition: potential, and yet it has a reason; what is decided?"]
    faults = []
    if not row.rationale.strip():
        faults.append(f"{where}.rationale: empty; a {row.disposition} wants the reason")
    if row.disposition == "false_positive" and not any(text.strip() for text in row.differentiators):
        faults.append(f"{where}.differentiators: none; a false_positive wants what sets the two apart")
    if any(not text.strip() for text in row.differentiators):
        faults.append(f"{where}.differentiators: one of them is empty")
    return faults


def _decision(row: Row, old: Decision | None, by: str, now: datetime) -> Decision | None:
    if row.disposition == "potential":
        return None
    said = (row.disposition, row.rationale, tuple(row.differentiators))
    if old is not None and said == (old.disposition, old.rationale, old.differentiators):
        return old
    return Decision(
        disposition=row.disposition,
        rationale=row.rationale,
        differentiators=tuple(row.differentiators),
        by=by,
        at=now.strftime(TIME),
        carried_from=None,
    )
