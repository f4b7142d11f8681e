"""Screening a declaration: from parties and lists to a record, and from a record and decisions to the next one.

What holds: everybody whom the declaration names is searched for in every list, with all names; two who have the same
names are searched for once. So they are among entries that were hit before and that nobody has decided about for good
(screening_past.py): such a hit stays, though no list has the entry any more, until a person decides. Nothing is
decided: decisions are taken over from the record before, where names, country and entry are the same, or given by a
person. The same lists and declaration give the same parties and hits. Pure:
lists are in memory, the time is an argument; only the id is drawn.

What is not here: the record and what holds of it (screening.py), comparing (matching.py), files (stages/screen.py).
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import blake3
import msgspec

from sealift.errors import BadInput
from sealift.formats import strict
from sealift.trade import likeness, matching, screening_past
from sealift.trade import names as naming
from sealift.trade.lists import MAX_TEXT, TIME, Entry, ListFile, current, moment, stable
from sealift.trade.screening import (
    CLOCKS_DIFFER,
    MAX_AGE_DAYS,
    MAX_HITS,
    MAX_LISTS,
    Decision,
    Features,
    Hit,
    Party,
    ScreeningRecord,
    Subject,
    Supersedes,
    Threshold,
    Trigger,
    disposition,
    person,
    same_person,
    subjects,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sealift.trade.declaration import Declaration
    from sealift.trade.likeness import Relation
    from sealift.trade.lists import ScreeningList
    from sealift.trade.screening_past import Remembered
    from sealift.trade.sections import Content

KEPT_NAMES = 20  # of an entry, beside the one that was hit
BEFORE = "found before, on "  # so begins `why` of a hit that no list of today has
_Asked = tuple[tuple[str, ...], tuple[str, ...], str, str, str, str, str]  # whom, and beside which entry as it is


def screen(
    declaration: Declaration,
    lists: Sequence[ScreeningList],
    *,
    screener: str,
    now: datetime,
    before: tuple[ScreeningRecord, bytes] | None = None,
    carry: bool = True,
    remembered: Sequence[Remembered] = (),
    max_age_days: int = MAX_AGE_DAYS,
) -> ScreeningRecord:
    """Screen everybody in `declaration` against `lists`; `now` is an aware time.

    `before` is the record that this one supersedes, and its bytes; `carry` takes over its decisions where nothing
    changed, which a caller does who has checked its signature. `remembered` are hits of earlier records that stay.

    Raises BadInput for a party without a name that can be compared, a list from the future, two lists of one name, more
    hits than a record takes, a library that is not there.
    """
    version = matching.version()
    asked = _asked(declaration)
    files = tuple(file for each in lists for file in each.files)
    _check_lists(lists, files, now)
    decided = _decided(before[0]) if before is not None and carry else {}
    parties = _parties(asked, lists, decided, remembered)
    record = ScreeningRecord(
        screening_id=_new_id(now),
        consignment_id=declaration.consignment_id,
        declaration_blake3=declaration.digest,
        trigger=_trigger(before[0] if before is not None else None, asked, files),
        supersedes=_superseded(before),
        algorithm=matching.ALGORITHM,
        algorithm_version=version,
        threshold=Threshold(whole=matching.WHOLE, words=matching.WORDS, lone_word=matching.LONE),
        lists=files,
        parties=parties,
        screener=person("by", screener),
        second_reviewer="",
        at=now.astimezone(UTC).strftime(TIME),
        valid_until=_valid_until(files, now, max_age_days),
    )
    if before is None or not record.wants_second:
        return record
    # who looked at the decisions looks again; where that is who screens now, the one who screened then does
    second = before[0].second_reviewer
    second = before[0].screener if same_person(second, screener) else second
    return msgspec.structs.replace(record, second_reviewer=second)


def decided(
    record: ScreeningRecord, data: bytes, decisions: Mapping[tuple[str, tuple[str, str]], Decision | None], *,
    screener: str, second_reviewer: str, now: datetime,
) -> ScreeningRecord:  # fmt: skip
    """The record that follows `record` (whose bytes are `data`): with decisions, by party_ref and Hit.key.

    None makes a hit potential again; what is not in `decisions` stays. Raises BadInput for names that are no one's,
    or one.
    """
    parties = []
    for party in record.parties:
        hits = tuple(
            msgspec.structs.replace(hit, decision=decisions.get((party.party_ref, hit.key), hit.decision))
            for hit in party.hits
        )
        parties.append(msgspec.structs.replace(party, hits=hits, disposition=disposition(hits)))
    screener = person("by", screener)
    if second_reviewer and same_person(screener, second_reviewer):
        raise BadInput(
            f"second_reviewer: {second_reviewer!r} is the one who screens",
            hint="another person looks at the decisions and signs them (sealift screen --second)",
        )
    return msgspec.structs.replace(
        record,
        screening_id=_new_id(now),
        supersedes=_superseded((record, data)),
        parties=tuple(parties),
        screener=screener,
        second_reviewer=second_reviewer,
        at=now.astimezone(UTC).strftime(TIME),
    )


def _asked(declaration: Content) -> tuple[Subject, ...]:
    asked, faults = tuple(subjects(declaration)), []
    for subject in asked:
        if not subject.names:
            faults.append(f"{subject.party_ref}: has no name")
        faults += [
            f"{subject.party_ref}: {name!r} has no letter or digit that can be compared"
            for name in (*subject.names, *subject.native)
            if not any(naming.forms(name))
        ]
    if faults:
        raise BadInput(f"not everybody can be screened: {strict.shown(faults)}", hint="sealift declare --check FILE")
    return asked


def _check_lists(lists: Sequence[ScreeningList], files: Sequence[ListFile], now: datetime) -> None:
    if not files or len(files) > MAX_LISTS:
        raise BadInput(
            f"{len(files):,} list files; 1 to {MAX_LISTS} are wanted", hint="--list FILE, once for each list"
        )
    if len({each.name for each in lists}) != len(lists) or len({file.sha256 for file in files}) != len(files):
        raise BadInput(
            "two of the lists have one name, or are one file", hint="give each list once, under its own name"
        )
    for file in files:
        if moment(file.fetched) > now + CLOCKS_DIFFER:
            raise BadInput(
                f"list {file.name}: fetched at {file.fetched}, which is in the future",
                hint="is this host's clock right? a sealift-list TOML states when it was fetched",
            )


def _parties(
    asked: Sequence[Subject],
    lists: Sequence[ScreeningList],
    decided: Mapping[_Asked, Decision],
    remembered: Sequence[Remembered],
) -> tuple[Party, ...]:
    listed = [(each.name, entry) for each in lists for entry in each.entries]
    index = matching.Index([entry for _, entry in listed])
    former = _Former(remembered)
    searched: dict[tuple[str, ...], list[matching.Found]] = {}
    parties, total = [], 0
    for subject in asked:
        names = (*subject.names, *subject.native)
        if names not in searched:
            searched[names] = index.search(names)
        total += len(searched[names])
        if total > MAX_HITS:
            raise BadInput(
                f"more than {MAX_HITS:,} hits; {subject.party_ref} alone has {len(searched[names]):,}",
                hint="a name of one or two letters is like many others: give it in full",
            )
        hits = [_hit(subject, *listed[found.entry], found.scores, decided) for found in searched[names]]
        kept = former.hits(subject, hits, decided)
        total, hits = total + len(kept), [*hits, *kept]
        hits.sort(key=lambda hit: (-hit.rank, -hit.score, hit.list, hit.entry_id))
        parties.append(
            Party(
                party_ref=subject.party_ref,
                query_as_typed=subject.names,
                native_script=subject.native,
                normalised=tuple(naming.normalised(names)),
                country=subject.country,
                kind=subject.kind,
                birth_date=subject.birth_date,
                disposition=disposition(hits),
                hits=tuple(hits),
            )
        )
    return tuple(parties)


class _Former:
    """Entries that were hit before, searched for as those of the lists are."""

    def __init__(self, remembered: Sequence[Remembered]) -> None:
        self._remembered = remembered
        self._entries = [_entry(old.hit) for old in remembered]
        self._index = matching.Index(self._entries) if remembered else None
        self._of_form: dict[str, list[int]] = {}
        for number, old in enumerate(remembered):
            for form in old.party.normalised:
                self._of_form.setdefault(form, []).append(number)

    def hits(self, subject: Subject, fresh: Sequence[Hit], decided: Mapping[_Asked, Decision]) -> list[Hit]:
        """Those of `subject` that are not among `fresh`: near to it, or of a party of that name."""
        if self._index is None:
            return []
        names = (*subject.names, *subject.native)
        scores = {found.entry: found.scores for found in self._index.search(names)}
        for number in (number for form in naming.normalised(names) for number in self._of_form.get(form, ())):
            if number not in scores:  # another version of the comparison may not find it again
                hit = self._remembered[number].hit
                scores[number] = matching.Scores(hit.features.whole, hit.features.words, hit.name, hit.query)
        made: list[Hit] = []
        for number in sorted(scores):
            old = self._remembered[number]
            again = _hit(subject, old.hit.list, self._entries[number], scores[number], {})
            key = _key(subject, old.hit.list, old.hit.entry_id, old.hit.entry_blake3)
            again = msgspec.structs.replace(
                again,
                entry_blake3=old.hit.entry_blake3,
                why=f"{_origin(old)}; {again.why}"[:1000],
                decision=decided.get(key),
            )
            if not any(screening_past.alike(again, one) for one in (*fresh, *made)):
                made.append(_apart(again, old, (*fresh, *made)))
        return made


def _entry(hit: Hit) -> Entry:
    """The entry of a hit, as far as the record has it."""
    return Entry(
        entry_id=hit.entry_id,
        source=hit.source,
        kind=hit.entry_kind,
        names=(hit.name, *hit.entry_names),
        countries=hit.entry_countries,
        birth_dates=hit.entry_birth_dates,
        programs=hit.entry_programs,
    )


def _origin(old: Remembered) -> str:
    """Where it was found, which is said again as long as it stays."""
    if old.hit.why.startswith(BEFORE):
        return old.hit.why.partition("; ")[0]
    digest = next((file.sha256[:16] for file in old.of.record.lists if file.name == old.hit.list), "not known")
    return (
        f"{BEFORE}{old.hit.list} of SHA-256 {digest} ({old.of.record.screening_id}), and not decided for good: it is"
        " not on the list that was given now"
    )


def _apart(hit: Hit, old: Remembered, others: Sequence[Hit]) -> Hit:
    """With an id of its own, where another entry has taken its id: rows are counted anew when one is taken out."""
    if all(hit.key != other.key for other in others):
        return hit
    own = f"{hit.entry_id[: MAX_TEXT - 40]} ({old.of.record.screening_id})"
    return msgspec.structs.replace(hit, entry_id=own)


def _hit(
    subject: Subject, listed: str, entry: Entry, scores: matching.Scores, decided: Mapping[_Asked, Decision]
) -> Hit:
    relations: dict[str, Relation] = {
        "country": likeness.country(subject.country, entry.countries),
        "birth_date": likeness.birth_date(subject.birth_date, entry.birth_dates),
        "kind": likeness.kind(subject.kind, entry.kind),
    }
    whole, words = round(min(scores.whole, 1.0), 4), round(min(scores.words, 1.0), 4)
    features = Features(whole=whole, words=words, **relations)
    digest = blake3.blake3(msgspec.json.encode(entry, order="deterministic")).hexdigest()
    others = [name for name in entry.names if name != scores.name]
    return Hit(
        entry_id=entry.entry_id,
        list=listed,
        source=entry.source,
        name=scores.name,
        query=scores.query,
        score=max(whole, words),
        rank=round(max(whole, words) + likeness.weight(relations), 4),
        features=features,
        why=_why(features, subject, entry),
        entry_kind=entry.kind,
        entry_names=tuple(others[:KEPT_NAMES]),
        entry_countries=entry.countries,
        entry_birth_dates=entry.birth_dates,
        entry_programs=entry.programs,
        entry_blake3=digest,
        decision=decided.get(_key(subject, listed, entry.entry_id, digest)),
    )


def _why(features: Features, subject: Subject, entry: Entry) -> str:
    """One line for a person: which similarity reached its limit, and what else is alike or not."""
    said = []
    if features.whole >= matching.WHOLE:
        said.append(f"the whole name is alike by {features.whole:.2f} (limit {matching.WHOLE:.2f})")
    if features.words >= matching.WORDS:
        said.append(f"every word has its like, by {features.words:.2f} or more (limit {matching.WORDS:.2f})")
    for what, relation, own, theirs in (
        ("country", features.country, subject.country, entry.countries),
        ("birth date", features.birth_date, subject.birth_date, entry.birth_dates),
        ("kind", features.kind, subject.kind, (entry.kind,)),
    ):
        if relation != "unknown":
            words = {"same": "is the same", "near": "is a year apart", "different": "differs"}[relation]
            beside = f" ({own}; list: {', '.join(theirs[:3])})" if relation != "same" else f" ({own})"
            said.append(f"{what} {words}{beside[:200]}")
    return "; ".join(said)[:1000]


def _key(subject: Subject, listed: str, entry_id: str, digest: str) -> _Asked:
    return (*subject[1:4], subject.birth_date, stable(listed), entry_id, digest)


def _decided(record: ScreeningRecord) -> dict[_Asked, Decision]:
    """Decisions of an earlier record by what they were about: names, country, birth date, and the entry as it was."""
    found = {}
    for party in record.parties:
        for hit in party.hits:
            if hit.decision is not None:
                origin = hit.decision.carried_from or record.screening_id
                decision = msgspec.structs.replace(hit.decision, carried_from=origin)
                found[_key(party.subject, hit.list, hit.entry_id, hit.entry_blake3)] = decision
    return found


def _trigger(before: ScreeningRecord | None, asked: Sequence[Subject], files: Sequence[ListFile]) -> Trigger:
    if before is None:
        return "onboard"
    if [party.subject.asked for party in before.parties] != [subject.asked for subject in asked]:
        return "change"
    if {file.sha256 for file in before.lists} != {file.sha256 for file in files}:
        return "list_update"
    return "release"


def _superseded(before: tuple[ScreeningRecord, bytes] | None) -> Supersedes | None:
    if before is None:
        return None
    record, data = before
    return Supersedes(screening_id=record.screening_id, blake3=blake3.blake3(data).hexdigest())


def _valid_until(files: Sequence[ListFile], now: datetime, days: int) -> str:
    """When the first of its lists is too old, or the screening itself."""
    oldest = min([now, *(current(file) or moment(file.fetched) for file in files)])
    return (oldest + timedelta(days=days)).astimezone(UTC).strftime(TIME)


def _new_id(now: datetime) -> str:
    return f"SC-{now.astimezone(UTC):%Y%m%d}-{secrets.token_hex(6).upper()}"
