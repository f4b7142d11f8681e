"""Papers of the decision to let a shipment go: end-use statement, screening report, red flags and release.

What holds beside what every paper holds (paper.py): nothing is called cleared or decided that a record does not say;
the screening report has every list with its digest, every party, and every hit with who decided what of it, and says so
where nobody checked its signature; the worksheet has every answer of the declaration, and of every rule that was
evaluated what it came to and why.

What is not here: screening (screening.py), evaluating rules, and who may release (release.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, get_args

from sealift.formats.sizes import counted
from sealift.trade import paper, sheets
from sealift.trade.gate import State
from sealift.trade.glyphs import isolated
from sealift.trade.paper import Cell, Column, said
from sealift.trade.sheets import EMPTY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.trade.gate import Row, Verdict
    from sealift.trade.paper import Block, Frame, Paper
    from sealift.trade.screening import Hit, Problem, ScreeningRecord

# --- end use

_STATEMENTS = (
    "The goods and the data on them are for the end use, the site and the end user named here, and for nothing else.",
    "They will not be re-exported, handed on or used otherwise without every authorisation that this needs.",
    "They will not be used for chemical, biological or nuclear weapons, or for missiles that can carry these.",
    "They go to nobody of whom the undersigned knows or should know that they would use them so.",
    "The ultimate parent that is named for each party, and the country of its headquarters, are right.",
)


def end_use_statement(frame: Frame) -> Paper:
    """What the end user states and signs by hand: use, site, what computes there, data, who can open the drives."""
    content = frame.declaration
    site, data, encryption = content.site, content.data, content.encryption
    computes = (
        f"{site.gpu_count:,} x {said(site.chips)}, ECCN {said(site.chip_eccn)}" if site.chips else "nothing stated"
    )
    people = {"": EMPTY, "none": "none"}.get(
        data.personal_data,
        f"{data.personal_data}: about {data.person_count:,} people, sensitive of {data.sensitive_count:,} of them; "
        f"transferred on: {said(data.transfer_tool)}",
    )
    use: list[tuple[str, Cell]] = [
        ("End user", said(content.end_user.legal_name)),
        ("End use", f"{said(content.end_use.class_)}: {said(content.end_use.text)}"),
        ("Site", f"{said(site.operator)}, {said(site.address)}, {said(site.country)}"),
        ("What computes there", computes),
        ("Who decides on access", said(site.access_controller)),
    ]
    holders = [f"{said(each.name)} ({said(each.organisation)})" for each in encryption.recipients] or [EMPTY]
    what: list[tuple[str, Cell]] = [
        ("Data", f"{said(data.summary)}; about {sheets.size(data.source_bytes)}"),
        ("Licence", said(data.licence_basis)),
        ("Personal data", people),
        ("Important data (CAC)", said(data.important_data)),
        ("Bulk US sensitive data", said(data.us_bulk_sensitive)),
        ("Encryption", f"{said(encryption.scheme)}; {said(encryption.module)}"),
        ("Keys are held by", said(encryption.key_holder)),
        ("Keys travel separately", said(encryption.keys_travel_separately)),
        ("Who can open the drives", [*holders]),
    ]
    what += [("Legal hold", said(content.legal_hold)), ("Records are kept until", said(content.retention_until))]
    return frame.paper(
        "end-use-statement",
        "End-use statement",
        [
            paper.pairs("End use", use),
            paper.pairs("Data and keys", what),
            paper.signatures(
                [("For the end user", [said(content.end_user.legal_name)])],
                title="The undersigned states for the end user",
                paragraphs=_numbered(_STATEMENTS),
            ),
        ],
    )


def _numbered(texts: Sequence[str]) -> list[str]:
    return [f"{number}. {text}" for number, text in enumerate(texts, start=1)]


# --- screening


class Screened(NamedTuple):
    """A screening as its report shows it. Empty `signer`: nobody checked the signature.

    `problems` hold the release: of this record, and of those before it.
    """

    record: ScreeningRecord
    blake3: str
    signer: str
    reviewer: str
    problems: Sequence[Problem]


def screening_report(frame: Frame, screened: Screened) -> Paper:
    """Lists with digests, parties, hits and decisions; and what of it still holds the release."""
    record = screened.record
    unchecked = "not checked: no allowed signers were given"
    second = (
        f"{record.second_reviewer}, {screened.reviewer or 'has not signed'}" if record.second_reviewer else "none named"
    )
    identity: list[tuple[str, Cell]] = [
        (
            "Screening",
            f"{record.screening_id}, {record.at}, valid until {record.valid_until}, because of: {record.trigger}",
        ),
        ("BLAKE3 of the record", screened.blake3),
        ("Declaration screened", f"BLAKE3 {record.declaration_blake3}"),
        ("Screener", f"{record.screener}; signature {screened.signer or unchecked}"),
        ("Second reviewer", second),
        ("Method", f"{record.algorithm} {record.algorithm_version}"),
    ]
    found = [f"{problem.where + ': ' if problem.where else ''}{problem.reason}" for problem in screened.problems]
    holds = paper.words("What holds the release", found, warning=True)
    clear = paper.words(
        "What holds the release", [f"Nothing in this screening and in those before it, on {frame.day.isoformat()}."]
    )
    hits = [(party.party_ref, hit) for party in record.parties for hit in party.hits]
    blocks = [paper.pairs("Screening", identity), holds if found else clear, _lists(record), _screened_parties(record)]
    blocks += [_hits(hits)] if hits else [paper.words("Hits", ["None."])]
    return frame.paper("screening-report", "Screening report", blocks)


def _lists(record: ScreeningRecord) -> Block:
    columns = [
        Column("list, SHA-256", fr=1),
        Column("published", mm=24),
        Column("fetched", mm=31),
        Column("rows", mm=16, number=True),
    ]
    rows: list[list[Cell]] = [
        [[each.name, each.sha256], each.published or paper.DASH, each.fetched, f"{each.rows:,}"]
        for each in record.lists
    ]
    return paper.table("Lists", columns, rows)


def _screened_parties(record: ScreeningRecord) -> Block:
    columns = [
        Column("party", mm=42),
        Column("names as typed", fr=2),
        Column("country", mm=14),
        Column("hits", mm=10, number=True),
        Column("disposition", mm=26),
    ]
    rows: list[list[Cell]] = [
        [
            _ref(party.party_ref),
            [*party.query_as_typed, *party.native_script],
            party.country or paper.DASH,
            f"{len(party.hits):,}",
            party.disposition.replace("_", " "),
        ]
        for party in record.parties
    ]
    return paper.table("Parties", columns, rows)


def _ref(party: str) -> list[str]:
    """Where a party stands in the declaration, a line a part: a word of it is not broken."""
    first, *rest = party.split(".")
    return [first, *(f".{each}" for each in rest)]


def _hits(hits: Sequence[tuple[str, Hit]]) -> Block:
    columns = [
        Column("party", mm=27),
        Column("entry", fr=1),
        Column("score", mm=10, number=True),
        Column("why it is a hit", fr=1),
        Column("decision", fr=1.4),
    ]
    rows: list[list[Cell]] = [
        [
            _ref(party),
            [
                isolated(hit.name),
                f"{hit.list}, {hit.entry_id}",
                ", ".join((*hit.entry_countries, *hit.entry_programs)),
            ],
            f"{hit.score:.3f}",
            [f"searched: {hit.query}", hit.why],
            _decision(hit),
        ]
        for party, hit in hits
    ]
    return paper.table("Hits", columns, rows)


def _decision(hit: Hit) -> list[str]:
    decision = hit.decision
    if decision is None:
        return ["potential: nobody has decided"]
    apart = [f"- {each}" for each in decision.differentiators]
    return [f"{decision.disposition.replace('_', ' ')}: {decision.rationale}", *apart, f"{decision.by}, {decision.at}"]


# --- red flags and release


def worksheet(frame: Frame, verdict: Verdict | str) -> Paper:
    """Answers, licences, the verdict of every rule (or why the rules were not evaluated), who released and why."""
    content = frame.declaration
    blocks: list[Block] = []
    if isinstance(verdict, str):
        blocks.append(
            paper.words("Verdict", [f"The rules were not evaluated for this paper: {verdict}."], warning=True)
        )
    else:
        blocks += _verdict(verdict, stands=not frame.against)
    blocks.append(_answers(frame))
    if content.authorisations:
        columns = [Column("authority", fr=1), Column("number", fr=1), Column("until", mm=19), Column("for", fr=1)]
        rows: list[list[Cell]] = [
            [said(each.authority), said(each.number), said(each.expiry), [", ".join(each.covers), each.conditions]]
            for each in content.authorisations
        ]
        blocks.append(paper.table("Authorisations", columns, rows))
    return frame.paper("red-flags-and-release", "Red-flag worksheet and release", [*blocks, _released(frame)])


def _verdict(verdict: Verdict, *, stands: bool) -> list[Block]:
    counts = {state: sum(row.state == state for row in verdict.rows) for state in get_args(State)}
    shown = ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)
    summed = f"{counted(len(verdict.rows), 'rule')}: {shown or 'none looked at'}. "
    opened = (
        "Nothing holds the release." if stands else "Nothing held the release when it was given; it does not stand."
    )
    summed += opened if verdict.open else "The gate is closed."
    differ = list(verdict.rules.changed) or ["none"]
    edition = f"edition {verdict.rules.edition}, BLAKE3 {verdict.rules.digest}"
    by: list[tuple[str, Cell]] = [("Rules", edition), ("Not as they are shipped", differ)]
    columns = [
        Column("rule", mm=30),
        Column("question", fr=1.4),
        Column("answer", mm=15),
        Column("evidence", fr=1),
        Column("verdict", mm=17),
        Column("why", fr=1.2),
    ]
    rows: list[list[Cell]] = [
        [row.rule.id, _question(row), row.answer or paper.DASH, row.evidence or paper.DASH, row.state, row.why]
        for row in verdict.rows
    ]
    strong = [number for number, row in enumerate(verdict.rows) if row.state == "held"]
    return [
        paper.words("Verdict", [summed], warning=not (verdict.open and stands)),
        paper.pairs("", by),
        paper.table("Rules", columns, rows, strong=strong),
    ]


def _question(row: Row) -> list[str]:
    return [row.rule.question, f"{row.rule.source}, as of {row.rule.as_of}"]


def _answers(frame: Frame) -> Block:
    answers = frame.declaration.answers
    if not answers:
        return paper.words("Answers of the declaration", ["None are given."])
    columns = [
        Column("question", mm=38),
        Column("answer", mm=16),
        Column("evidence", fr=1),
        Column("who decided that it may go, and when", mm=55),
    ]
    rows = [
        [
            said(each.question),
            said(each.answer),
            each.evidence or paper.DASH,
            f"{each.resolver}, {each.resolved_on}" if each.resolver else paper.DASH,
        ]
        for each in answers
    ]
    return paper.table("Answers of the declaration", columns, rows)


def _released(frame: Frame) -> Block:
    release = frame.release
    if release is None:
        why = ["The release does not stand:", *frame.against] if frame.against else []
        return paper.words("Release", [*why, "Not released: these drives may not leave."], warning=True)
    record = release.record
    rows: list[tuple[str, Cell]] = [
        ("Released by", f"{record.officer}, {record.released_at}"),
        ("Why", record.reason),
        ("Reference", record.reference),
        ("Signed by", f"{release.principal}, key {release.fingerprint}"),
        ("By rules of", f"{record.rules.edition}, BLAKE3 {record.rules.blake3}"),
        ("Not as they are shipped", list(record.rules.changed) or ["none"]),
        ("Rules that a person opened", ", ".join(record.resolved) or "none"),
        ("Screening looked at", f"BLAKE3 {record.screening.blake3}" if record.screening else "none"),
        ("Proof of keys looked at", f"BLAKE3 {record.keys.blake3}" if record.keys else "none"),
        ("Author, who may not", said(frame.declaration.author.name)),
    ]
    return paper.pairs("Release", rows)
