"""The screening record: who was screened against which lists, what was found, who decided what about it, and why.

    NAME.screening.json              ScreeningRecord, canonical JSON
    NAME.screening.json.sig          SSHSIG of the screener, namespace `sealift-screening`
    NAME.screening.json.second.sig   SSHSIG of the second reviewer over the same bytes, same namespace

What holds: every party, parent and carrier that the declaration names is in the record, with the names as they were
typed and as they were compared, though nothing was found; each hit is `potential` until a named person decides, with
a reason, and a decision to clear or to confirm wants a second person's signature. A decision is carried over to the
next screening only where the party's names and country and the whole entry are the same. A record is never changed:
the next one supersedes it, names it by digest, and the old one is kept. It screens what the declaration says of
names; a changed serial number needs no new screening. `standing` says what of it still holds a release.

Docs: docs/spec/screening.md. What is not here: files (stages/screen.py), the gate, the worksheet (worksheet.py).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from msgspec import Meta

from sealift.errors import BadInput, FormatError, Refused
from sealift.formats import canonical, strict
from sealift.formats.canonical import Record
from sealift.trade import names as naming
from sealift.trade import people, persons, sections
from sealift.trade.likeness import Relation  # noqa: TC001 -- msgspec reads them
from sealift.trade.lists import MAX_TEXT, Kind, ListFile, Time, current, moment, own_day

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sealift.formats.allowed_signers import AllowedSigners, Signer
    from sealift.trade.sections import Content

NAMESPACE = "sealift-screening"
MAX_RECORD = 32 << 20
MAX_HITS = 20_000  # of a record
MAX_LISTS = 100
MAX_AGE_DAYS = 7
MAX_OWN_AGE_DAYS = 31  # of a list by its own day, though somebody states that it was the current one later
CLOCKS_DIFFER = timedelta(days=1)  # a date is stated in local time; clocks are set wrong by less

Trigger = Literal["onboard", "change", "list_update", "release"]
Disposition = Literal["no_hit", "potential", "false_positive", "true_match"]
Line = Annotated[str, Meta(min_length=1, max_length=500)]
MaybeLine = Annotated[str, Meta(max_length=500)]
Long = Annotated[str, Meta(min_length=1, max_length=4000)]
Name = Annotated[str, Meta(min_length=1, max_length=naming.MAX_NAME)]
Form = Annotated[str, Meta(min_length=1, max_length=10 * naming.MAX_NAME)]  # Han grows when it is read out
Share = Annotated[float, Meta(ge=0, le=1)]
Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Id = Annotated[str, Meta(pattern=r"\ASC-[0-9]{8}-[0-9A-F]{12}\Z")]


class Subject(NamedTuple):
    """Somebody to be screened. `party_ref` is the declaration's path; `country` an ISO code or ""."""

    party_ref: str
    names: tuple[str, ...]
    native: tuple[str, ...] = ()
    country: str = ""
    kind: Kind = ""
    birth_date: str = ""

    @property
    def asked(self) -> tuple[object, ...]:
        """What makes it another question: all but the kind, which this program guesses from the name."""
        return (self.party_ref, self.names, self.native, self.country, self.birth_date)


def subjects(declaration: Content) -> Iterator[Subject]:
    """Everybody whom the declaration names: parties with their parents and owners, the site, whoever is on the way.

    And who sends and receives the related shipments: they are of the same ultimate parent or end user.

    A new field that names somebody is a line here.
    """
    for role in ("shipper", "consignee", "end_user", "agent"):
        party: sections.Party = getattr(declaration, role)
        if role == "agent" and party == sections.Party():
            continue
        yield from _with_parent(role, party)
        for number, owner in enumerate(party.owners, start=1):
            yield _subject(f"{role}.owners[{number}]", owner.name, country=owner.country)
    for number, holder in enumerate(declaration.encryption.recipients, start=1):
        yield _subject(f"encryption.recipients[{number}]", holder.name, country="")
        if holder.organisation.strip():
            yield _subject(f"encryption.recipients[{number}].organisation", holder.organisation, country="")
    for what, name in (
        ("encryption.key_holder", declaration.encryption.key_holder),
        ("site.access_controller", declaration.site.access_controller),
    ):
        if name.strip():
            yield _subject(what, name, country="")
    if declaration.site.operator.strip():
        yield _subject("site.operator", declaration.site.operator, country=declaration.site.country)
    for number, each in enumerate(declaration.intermediates, start=1):
        yield from _with_parent(f"intermediates[{number}]", each)
    for number, other in enumerate(declaration.related_shipments, start=1):
        for what, name in (("shipper", other.shipper), ("consignee", other.consignee)):
            if name.strip():
                yield _subject(f"related_shipments[{number}].{what}", name, country="")
    for number, carrier in enumerate(declaration.carriers, start=1):
        yield _subject(
            f"carriers[{number}]", carrier.legal_name or carrier.name, native=_native(carrier.native_name),
            country=carrier.country, birth_date=carrier.birth_date,
        )  # fmt: skip
        if carrier.ultimate_parent.strip():
            ref = f"carriers[{number}].ultimate_parent"
            yield _subject(ref, carrier.ultimate_parent, country=carrier.parent_hq_country)


def _with_parent(ref: str, party: sections.Party | sections.Intermediate) -> Iterator[Subject]:
    yield _subject(ref, party.legal_name, native=_native(party.native_name), country=party.country)
    yield _subject(f"{ref}.ultimate_parent", party.ultimate_parent, country=party.parent_hq_country)


def _native(name: str) -> tuple[str, ...]:
    return (name,) if name.strip() else ()


def _subject(party_ref: str, *names: str, native: tuple[str, ...] = (), country: str, birth_date: str = "") -> Subject:
    kind: Kind = "organisation" if any(map(naming.is_firm, (*names, *native))) else ""
    return Subject(party_ref, tuple(filter(str.strip, names)), native, country, kind, birth_date)


# --- the record ------------------------------------------------------------------------------------------


class Features(Record, frozen=True, kw_only=True):
    """Why an entry was hit (the similarities), and what else was looked at (the relations)."""

    whole: Share
    words: Share
    country: Relation
    birth_date: Relation
    kind: Relation


class Decision(Record, frozen=True, kw_only=True):
    """What a named person decided about a hit, and why."""

    disposition: Literal["false_positive", "true_match"]
    rationale: Long
    differentiators: Annotated[tuple[Line, ...], Meta(max_length=20)]
    by: Line
    at: Time
    carried_from: Id | None  # the screening in which it was decided, if that is an earlier one


class Hit(Record, frozen=True, kw_only=True):
    """An entry that may be the party. `rank` orders hits: the score, and what country, birth date and kind add."""

    entry_id: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]
    list: Annotated[str, Meta(min_length=1, max_length=255)]
    source: Annotated[str, Meta(max_length=MAX_TEXT)]
    name: Name
    query: Name
    score: Share
    rank: float
    features: Features
    why: Annotated[str, Meta(max_length=1000)]
    entry_kind: Kind
    entry_names: tuple[Name, ...]
    entry_countries: tuple[str, ...]
    entry_birth_dates: tuple[str, ...]
    entry_programs: tuple[str, ...]
    entry_blake3: Digest
    decision: Decision | None

    @property
    def key(self) -> tuple[str, str]:
        """By which a worksheet names it: list and entry."""
        return self.list, self.entry_id


class Party(Record, frozen=True, kw_only=True):
    """One who was screened; `hits` are in the order of their rank, and none says so."""

    party_ref: Line
    query_as_typed: Annotated[tuple[Name, ...], Meta(min_length=1)]
    native_script: tuple[Name, ...]
    normalised: Annotated[tuple[Form, ...], Meta(min_length=1)]
    country: Annotated[str, Meta(max_length=2)]
    kind: Kind
    birth_date: MaybeLine
    disposition: Disposition
    hits: tuple[Hit, ...]

    @property
    def subject(self) -> Subject:
        """What was asked."""
        typed = (self.query_as_typed, self.native_script, self.country, self.kind, self.birth_date)
        return Subject(self.party_ref, *typed)


class Threshold(Record, frozen=True, kw_only=True):
    """From where on an entry is a hit."""

    whole: Share
    words: Share
    lone_word: Share


class Supersedes(Record, frozen=True, kw_only=True):
    """The screening before."""

    screening_id: Id
    blake3: Digest


class ScreeningRecord(Record, frozen=True, kw_only=True):
    """What the screener signs."""

    type: Literal["sealift-screening"] = "sealift-screening"
    version: Literal[1] = 1
    screening_id: Id
    consignment_id: Line
    declaration_blake3: Digest
    trigger: Trigger
    supersedes: Supersedes | None
    algorithm: Line
    algorithm_version: Line
    threshold: Threshold
    lists: Annotated[tuple[ListFile, ...], Meta(min_length=1, max_length=MAX_LISTS)]
    parties: Annotated[tuple[Party, ...], Meta(min_length=1)]
    screener: Line
    second_reviewer: MaybeLine
    at: Time
    valid_until: Time

    @property
    def hits(self) -> int:
        """How many there are, of all parties."""
        return sum(len(party.hits) for party in self.parties)

    @property
    def open_hits(self) -> int:
        """How many of them nobody has decided about."""
        return sum(hit.decision is None for party in self.parties for hit in party.hits)

    @property
    def wants_second(self) -> bool:
        """True if a decision is in it: it wants the signature of a second person."""
        return any(hit.decision is not None for party in self.parties for hit in party.hits)


def disposition(hits: Sequence[Hit]) -> Disposition:
    """That of a party: the worst of its hits."""
    if not hits:
        return "no_hit"
    decided = {hit.decision.disposition if hit.decision else "potential" for hit in hits}
    return "true_match" if "true_match" in decided else "potential" if "potential" in decided else "false_positive"


# --- checking --------------------------------------------------------------------------------------------


class Checked(NamedTuple):
    """A record whose signature holds, and by whom; `reviewer` is who signed it as the second, None where nobody did."""

    record: ScreeningRecord
    signer: Signer
    reviewer: Signer | None


def path_beside(file: str) -> str:
    """Where the screening of the declaration in `file` lies: NAME.toml has NAME.screening.json."""
    return file.removesuffix(".toml") + ".screening.json"


def decode(data: bytes) -> ScreeningRecord:
    """Parse the canonical bytes of a record; FormatError otherwise. Says nothing about who signed it."""
    record = canonical.decode(data, ScreeningRecord, limit=MAX_RECORD, name="screening.json")
    for party in record.parties:
        if party.disposition != disposition(party.hits):
            raise FormatError(f"screening.json: {party.party_ref} says {party.disposition}; its hits do not")
        decisions = [hit.decision for hit in party.hits if hit.decision]
        said = [text for one in decisions for text in (one.rationale, *one.differentiators, one.by)]
        found = [text for hit in party.hits for text in (hit.name, hit.query, hit.why, hit.entry_id, hit.list)]
        if any(map(strict.unprintable, [party.party_ref, *party.query_as_typed, *said, *found])):
            raise FormatError(f"screening.json: a text of {party.party_ref} is not one line of printable text")
    if len({party.party_ref for party in record.parties}) != len(record.parties):
        raise FormatError("screening.json: a party is in it twice")
    if any(map(strict.unprintable, (record.screener, record.second_reviewer, record.consignment_id))):
        raise FormatError("screening.json: a name is not one line of printable text")
    times = [record.at, record.valid_until, *(file.fetched for file in record.lists)]
    times += [hit.decision.at for party in record.parties for hit in party.hits if hit.decision]
    for text in times:
        try:
            moment(text)
        except ValueError as error:
            raise FormatError(f"screening.json: there is no time {text!r}") from error
    return record


def check_screening(data: bytes, signature: bytes, second: bytes | None, allowed: AllowedSigners) -> Checked:
    """The record in `data` if its signature holds; and its second reviewer's, where there is one.

    Rules: 1. the bytes are canonical; 2. an allowed signer for `sealift-screening` signed them, who was one at the
    time that the record states; 3. the second signature, if given, is over the same bytes by another person
    (persons.py), an allowed signer too. Raises FormatError, SignatureInvalid, Refused.
    """
    record = decode(data)
    at = moment(record.at)
    signer = allowed.signer(data, signature, NAMESPACE, at)
    if second is None:
        return Checked(record, signer, None)
    reviewer = allowed.signer(data, second, NAMESPACE, at)
    if persons.same(reviewer.person, signer.person):
        raise Refused(
            f"the second signature on the screening is the screener's own: {reviewer.principal}",
            hint="another person looks at the decisions and signs them (sealift screen --second)",
        )
    if same_person(record.screener, record.second_reviewer):
        raise Refused("the second reviewer of the screening is its screener, by name")
    return Checked(record, signer, reviewer)


# --- standing --------------------------------------------------------------------------------------------

Why = Literal[
    "missing", "changed", "newer_list", "stale", "no_latin_name", "unresolved", "true_match", "unreviewed",
    "predecessor", "left_out", "doubtful_name",
]  # fmt: skip


class Problem(NamedTuple):
    """One reason why a screening does not let a shipment go. `where` is a party_ref, a list's name, or ""."""

    kind: Why
    where: str
    reason: str


def standing(
    declaration: Content,
    checked: Checked | None,
    lists: Sequence[ListFile],
    now: datetime,
    *,
    max_age_days: int = MAX_AGE_DAYS,
) -> list[Problem]:
    """Everything in a screening that holds the release of `declaration` at `now`, each with its reason; [] is clear.

    `lists` are the list files at hand: the screening must have been against each of them; [] asks only how old those
    of the record are. Rules: 1. there is a record, of this consignment; 2. it is of exactly the parties of the
    declaration, with their names and countries; 3. no list that is at hand is missing in it; 4. each of its lists was
    the current one within `max_age_days`, by the user's statement of when it was fetched, or else by its own day, never
    by a modification time alone; none is older than 31 days by its own day, or of the future; and it is still valid;
    5. everybody has a name in Latin letters, which most lists have only; 6. every hit is decided, none as a true match;
    7. where one is decided, a second person signed. Pure: the same arguments, the same answer.
    """
    if checked is None:
        return [Problem("missing", "", "nobody has been screened: sealift screen FILE --list LIST ...")]
    record = checked.record
    found: list[Problem] = []
    if record.consignment_id != declaration.consignment_id:
        found.append(Problem("changed", "", f"the screening is of another consignment, {record.consignment_id}"))
    found += _changed(declaration, record)
    screened = {file.sha256 for file in record.lists}
    if checked.reviewer is not None and not is_reviewed(checked, declaration):
        found.append(Problem("unreviewed", "", "the second signature on the decisions is the declaration's author's"))
    found += [
        Problem("newer_list", file.name, f"the list at hand (fetched {file.fetched}) is not the one that was screened")
        for file in lists
        if file.sha256 not in screened
    ]
    return found + record_problems(record, now, reviewed=checked.reviewer is not None, max_age_days=max_age_days)


def is_reviewed(checked: Checked, declaration: Content | None) -> bool:
    """Whether a second person signed a record, who is not the author of the declaration, where that is known."""
    author = persons.author(declaration) if declaration is not None else None
    return checked.reviewer is not None and (author is None or not persons.same(checked.reviewer.person, author))


def record_problems(
    record: ScreeningRecord, now: datetime, *, reviewed: bool, max_age_days: int = MAX_AGE_DAYS
) -> list[Problem]:
    """Rules 4 to 7 of `standing`: what a record says against itself. `reviewed`: a second person signed it."""
    found = _stale(record, now, max_age_days)
    for party in record.parties:
        found += _without_latin(party) + _undecided(party)
    if record.wants_second and not reviewed:
        who = record.second_reviewer or "a second person"
        found.append(Problem("unreviewed", "", f"decisions on hits want the signature of {who}"))
    return found


def is_of(declaration: Content, record: ScreeningRecord) -> bool:
    """Whether a record is of exactly the parties of a declaration."""
    return not _changed(declaration, record)


def _changed(declaration: Content, record: ScreeningRecord) -> list[Problem]:
    screened = {party.party_ref: party.subject for party in record.parties}
    found = []
    for subject in subjects(declaration):
        old = screened.pop(subject.party_ref, None)
        if old is None:
            found.append(Problem("missing", subject.party_ref, f"{_named(subject)} has not been screened"))
        elif old.asked != subject.asked:
            found.append(
                Problem("changed", subject.party_ref, f"screened was {_named(old)}, declared is {_named(subject)}")
            )
    found += [
        Problem("changed", ref, f"screened was {_named(old)}, who is no longer declared")
        for ref, old in screened.items()
    ]
    return found


def _named(subject: Subject) -> str:
    names = ", ".join(repr(name) for name in (*subject.names, *subject.native)) or "nobody"
    return f"{names} ({subject.country or 'no country'})"


def _stale(record: ScreeningRecord, now: datetime, days: int) -> list[Problem]:
    found = [Problem("stale", file.name, why) for file in record.lists if (why := _old(file, now, days))]
    if moment(record.at) > now + CLOCKS_DIFFER:
        found.append(Problem("stale", "", f"the screening is of {record.at}, which is in the future"))
    if not found and now > moment(record.valid_until):
        found.append(Problem("stale", "", f"the screening was valid until {record.valid_until}"))
    return found


def _old(file: ListFile, now: datetime, days: int) -> str | None:
    """Why a list is not new enough at `now`; None where it is."""
    fetched, own, at = moment(file.fetched), own_day(file), current(file)
    if fetched - now > CLOCKS_DIFFER:
        return f"fetched {file.fetched}, which is in the future"
    if own is not None and own - now > CLOCKS_DIFFER:
        return f"of {file.published}, by its own word, which is in the future"
    if at is None:
        return (
            "nobody says of when it is: it has no date of its own, and a modification time is nobody's word;"
            " screen again with --fetched DAY, the day on which you got it"
        )
    stated = file.fetched_from == "stated"
    if now - at > timedelta(days=days):
        old = _ago(now - at, days)
        if stated:
            return f"fetched {file.fetched}, {old}"
        return f"of {file.published}, by its own word, {old}; if its publisher has no newer one, --fetched DAY says so"
    if own is not None and now - own > timedelta(days=MAX_OWN_AGE_DAYS):
        old = _ago(now - own, MAX_OWN_AGE_DAYS)
        return f"of {file.published}, by its own word, {old}, whenever it was fetched"
    return None


def _ago(age: timedelta, allowed: int) -> str:
    """How long ago, and how long is allowed; with hours where the days alone are no more than that."""
    days = age // timedelta(days=1)
    if days > allowed:
        return f"{days:,} days ago; {allowed} are allowed"
    hours = (age - timedelta(days=days)) // timedelta(hours=1)
    more = {0: "some minutes", 1: "1 hour"}.get(hours, f"{hours} hours")
    return f"{days:,} days and {more} ago; {allowed} days are allowed"


def _without_latin(party: Party) -> list[Problem]:
    names = (*party.query_as_typed, *party.native_script)
    if any(map(naming.has_latin, names)):
        return []
    why = (
        f"{names[0]!r} has no spelling in Latin letters: beside a list that has only these it was compared letter by"
        " letter, which misses most Arabic names and some others; give the Latin spelling too, and screen again"
    )
    return [Problem("no_latin_name", party.party_ref, why)]


def _undecided(party: Party) -> list[Problem]:
    open_hits = [hit for hit in party.hits if hit.decision is None]
    true = [hit for hit in party.hits if hit.decision and hit.decision.disposition == "true_match"]
    found = []
    if open_hits:
        first = open_hits[0]
        more = f", and {len(open_hits) - 1:,} more" if len(open_hits) > 1 else ""
        why = f"may be {first.name!r} ({first.list}, {first.entry_id}){more}: nobody has decided"
        found.append(Problem("unresolved", party.party_ref, why))
    found += [
        Problem(
            "true_match", party.party_ref, f"is {hit.name!r} ({hit.list}, {hit.entry_id}), as {hit.decision.by} decided"
        )
        for hit in true
        if hit.decision
    ]
    return found


def person(what: str, name: str) -> str:
    """`name` if it can be a person's: one line of text; BadInput otherwise, which begins with `what`."""
    if not name.strip() or len(name) > 500 or strict.unprintable(name):
        raise BadInput(f"{what}: a person's name in one line of up to 500 characters is wanted")
    return name


def same_person(one: str, other: str) -> bool:
    """True if two names may be one person's (people.py)."""
    return people.same(one, other)
