"""The record of keys that were proved: to whom a sample was sealed, who opened it, and what is accepted.

    NAME.keys.json        KeysRecord, canonical JSON
    NAME.keys.json.sig    SSHSIG of who records, namespace `sealift-keys`

Drives that nobody at the destination can open are the one loss that parity does not mend. So before they leave, each
recipient opens a sample that was sealed for exactly the key that the drives are sealed for, and sends back the code in
it. What holds: the record knows a code by its digest alone; a recipient passes by the code of a challenge that was made
for that very key, of this consignment, not too long ago, and once. What a pass proves is that the key opened something
after the challenge was made; so its age is that of the challenge, and an answer that was kept back looks no fresher.
A challenge stays open beside later ones: an interrupted or repeated run makes no sample void that was sent. A record is
never changed: the next one supersedes it and names its digest, and the old one is kept. One that was made by a clock
that was ahead is superseded like any other; what it has of later than now counts no more (`in_time`).

`standing` says what of it still holds a release. Who signs may invent a pass: it is their word, signed, as a receipt
is. Docs: docs/spec/keys.md. What is not here: the sample and its answer (key_sample.py), files (stages/keys.py).
"""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple, Self

from blake3 import blake3
from msgspec import Meta
from msgspec.structs import replace

from sealift.errors import BadInput, FormatError, KeyInvalid, Refused
from sealift.formats import age, age_header, age_keys, canonical, strict
from sealift.formats.canonical import Record
from sealift.trade import clocks, key_sample, people
from sealift.trade.key_sample import ChallengeId, ConsignmentId, Line, MaybeLine, Sample
from sealift.trade.lists import Time  # noqa: TC001 -- msgspec reads it
from sealift.trade.screening import CLOCKS_DIFFER, Digest, Long, person

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sealift.formats.allowed_signers import AllowedSigners, Signer
    from sealift.trade.key_sample import KeyAnswer

NAMESPACE: Final = "sealift-keys"
MAX_RECORD: Final = 4 << 20  # bytes
MAX_CHALLENGES: Final = 32  # of a recipient
MAX_AGE_DAYS: Final = 30  # of a challenge, for its answer to count
_FUTURE: Final = "the record of keys is of {}, which is in the future: challenge again by a clock that is right"
INDEPENDENT: Final = 2  # persons, each with a key of their own, who must be able to open the drives


class Holder(NamedTuple):
    """One to whom the drives are sealed: a person, their organisation ("" if none is stated), and the key's text."""

    name: str
    organisation: str
    recipient: str

    @classmethod
    def of(cls, name: str, organisation: str, recipient: str) -> Self:
        """A holder with the key in its one form, without a comment. BadInput, KeyInvalid."""
        person("recipient", name)
        if organisation.strip():
            person("organisation", organisation)
        try:
            key = str(age_keys.parse_recipient(recipient))
        except KeyInvalid as error:
            raise KeyInvalid(f"recipient {name}: {error}", hint=error.hint) from error
        return cls(name.strip(), organisation.strip(), key)

    @property
    def words(self) -> str:
        """Name and organisation."""
        return f"{self.name} ({self.organisation})" if self.organisation else self.name


# --- the record ------------------------------------------------------------------------------------------


class Pass(Record, frozen=True, kw_only=True):
    """That the right code came back: when it was recorded, and by whom."""

    at: Time
    by: Line


class Challenge(Record, frozen=True, kw_only=True):
    """A sample that was sealed; `code_blake3` is key_sample.digest of the code in it."""

    challenge_id: ChallengeId
    made_at: Time
    code_blake3: Digest
    passed: Pass | None


class Recipient(Record, frozen=True, kw_only=True):
    """One to whom the drives are sealed, and the samples that were sealed for them, the oldest first."""

    name: Line
    organisation: MaybeLine
    recipient: Annotated[str, Meta(min_length=1, max_length=age_keys.MAX_KEY_TEXT)]
    challenges: Annotated[tuple[Challenge, ...], Meta(min_length=1, max_length=MAX_CHALLENGES)]

    @property
    def holder(self) -> Holder:
        """Who it is."""
        return Holder(self.name, self.organisation, self.recipient)

    @property
    def proof(self) -> Challenge | None:
        """The newest challenge that was passed."""
        return next((each for each in reversed(self.challenges) if each.passed), None)


class Waiver(Record, frozen=True, kw_only=True):
    """That somebody accepts the risk of fewer than two independent recipients, and why."""

    accepted_by: Line
    reason: Long
    at: Time


class KeysRecord(Record, frozen=True, kw_only=True):
    """What the one who records signs."""

    type: Literal["sealift-keys"] = "sealift-keys"
    version: Literal[1] = 1
    consignment_id: ConsignmentId
    supersedes: Digest | None
    recipients: Annotated[tuple[Recipient, ...], Meta(min_length=1, max_length=age_header.MAX_STANZAS)]
    waiver: Waiver | None
    by: Line
    at: Time

    @property
    def holders(self) -> list[Holder]:
        """To whom the drives are sealed, in order."""
        return [each.holder for each in self.recipients]


class Before(NamedTuple):
    """A record that is there, and its bytes."""

    record: KeysRecord
    data: bytes


class Checked(NamedTuple):
    """A record whose signature holds, and by whom."""

    record: KeysRecord
    signer: Signer


def path_beside(file: str) -> str:
    """Where the record of the declaration in `file` lies: NAME.toml has NAME.keys.json."""
    return file.removesuffix(".toml") + ".keys.json"


def encode(record: KeysRecord) -> bytes:
    """Canonical bytes; what is signed. FormatError: the record contradicts itself."""
    data = canonical.encode(record)
    decode(data)
    return data


def decode(data: bytes) -> KeysRecord:
    """Parse and check a record's own consistency; FormatError otherwise. Says nothing about who signed it."""
    name = "keys.json"
    record = canonical.decode(data, KeysRecord, limit=MAX_RECORD, name=name)
    strict.check_texts(record, name)
    waived = (record.waiver.accepted_by, record.waiver.reason) if record.waiver else ()
    key_sample.check_trimmed((record.by, *waived), name)
    at = key_sample.time_of(record.at, name)
    for each in record.recipients:
        _check(each, at, name)
    keys = [each.recipient for each in record.recipients]
    ids = [challenge.challenge_id for each in record.recipients for challenge in each.challenges]
    if len(set(keys)) != len(keys) or len(set(ids)) != len(ids):
        raise FormatError(f"{name}: a key or a challenge is in it twice")
    if record.waiver is not None:
        if independent(record.holders):
            raise FormatError(f"{name}: a waiver beside recipients who are independent")
        if key_sample.time_of(record.waiver.at, name) > at:
            raise FormatError(f"{name}: its waiver is later than the record")
    return record


def _check(each: Recipient, at: datetime, name: str) -> None:
    """FormatError unless key, names and times of a recipient are what they may be in a record made at `at`."""
    by = [challenge.passed.by for challenge in each.challenges if challenge.passed]
    key_sample.check_trimmed((each.name, each.organisation, *by), name)
    try:
        right = str(age_keys.parse_recipient(each.recipient)) == each.recipient
    except KeyInvalid as error:
        raise FormatError(f"{name}: the key of {each.name} is none: {error}") from error
    if not right:
        raise FormatError(f"{name}: the key of {each.name} is not in its one form")
    before = None
    for challenge in each.challenges:
        made = key_sample.time_of(challenge.made_at, name)
        passed = key_sample.time_of(challenge.passed.at, name) if challenge.passed else made
        if not (before or made) <= made <= passed <= at:
            raise FormatError(f"{name}: the times of {challenge.challenge_id} are in no possible order")
        before = made


def check_record(data: bytes, signature: bytes, allowed: AllowedSigners) -> Checked:
    """The record in `data`, if an allowed signer for `sealift-keys` signed it, who was one at the time it states.

    Raises FormatError, SignatureInvalid.
    """
    record = decode(data)
    return Checked(record, allowed.signer(data, signature, NAMESPACE, _time(record.at)))


# --- persons ---------------------------------------------------------------------------------------------


def independent(holders: Sequence[Holder]) -> bool:
    """True if at least two different persons are among them, each with a key of their own."""
    return any(
        one.recipient != other.recipient and not people.same(one.name, other.name)
        for one, other in itertools.combinations(holders, INDEPENDENT)
    )


# --- challenge -------------------------------------------------------------------------------------------


class Sealed(NamedTuple):
    """A sample on its way: whose, which, the name of its file, and the age file's bytes."""

    holder: Holder
    challenge_id: str
    file: str
    data: bytes


def challenge(
    consignment_id: str, holders: Sequence[Holder], before: Before | None, *, by: str, now: datetime
) -> tuple[KeysRecord, list[Sealed]]:
    """A new sample for each of `holders`, and the record that knows them; `holders` are all of the consignment's.

    What `before` knows of the same name, organisation and key stays: earlier challenges are open until they are
    MAX_AGE_DAYS old, and the newest pass is kept however old. A waiver stays where the recipients are the same. What
    `before` has of later than now, by more than two clocks may differ, stays away (`in_time`). Raises BadInput for no
    or too many recipients, a key that is there twice, and too many open challenges; KeyInvalid for keys that one
    shipment cannot be sealed for (check_recipients); Refused for the record of another consignment.
    """
    person("by", by)
    _countable(holders)
    now = now.replace(microsecond=0)
    known: dict[Holder, tuple[Challenge, ...]] = {}
    waiver = None
    if before is not None:
        _same_consignment(before.record, consignment_id)
        counting, now = in_time(before.record, now)
        known = {each.holder: each.challenges for each in counting.recipients}
        waiver = counting.waiver if set(known) == set(holders) else None
    recipients, sealed = [], []
    for each in holders:
        sample = Sample(
            consignment_id=consignment_id,
            challenge_id=key_sample.new_challenge_id(now),
            name=each.name,
            organisation=each.organisation,
            made_at=key_sample.stated(now),
            code=key_sample.new_code(),
        )
        made = Challenge(
            challenge_id=sample.challenge_id,
            made_at=sample.made_at,
            code_blake3=key_sample.digest(consignment_id, sample.challenge_id, each.recipient, sample.code),
            passed=None,
        )
        kept = _kept(each, known.get(each, ()), now)
        recipients.append(Recipient(**each._asdict(), challenges=(*kept, made)))
        file = f"{_file_name(each.name)}.{sample.challenge_id}.sample.age"
        sealed.append(Sealed(each, sample.challenge_id, file, key_sample.seal(sample, each.recipient)))
    record = KeysRecord(
        consignment_id=consignment_id,
        supersedes=_digest(before),
        recipients=tuple(recipients),
        waiver=waiver,
        by=by.strip(),
        at=key_sample.stated(now),
    )
    return record, sealed


def _countable(holders: Sequence[Holder]) -> None:
    if not 1 <= len(holders) <= age_header.MAX_STANZAS:
        raise BadInput(f"1 to {age_header.MAX_STANZAS} recipients, not {len(holders)}", hint="--recipient NAME=age1...")
    seen: dict[str, Holder] = {}
    for each in holders:
        if each.recipient in seen:
            raise BadInput(
                f"{each.words} and {seen[each.recipient].words} have one key",
                hint="each recipient makes a key of their own (age-keygen)",
            )
        seen[each.recipient] = each
    age.check_recipients([age_keys.parse_recipient(each.recipient) for each in holders])


def _kept(holder: Holder, challenges: Sequence[Challenge], now: datetime) -> list[Challenge]:
    """Those that may still be answered or counted, and the newest that was passed."""
    newest = next((each for each in reversed(challenges) if each.passed), None)
    kept = [each for each in challenges if each is newest or not _old(each, now, MAX_AGE_DAYS)]
    if len(kept) >= MAX_CHALLENGES:
        raise BadInput(
            f"{holder.words} has {len(kept)} samples that were made in the last {MAX_AGE_DAYS} days",
            hint="have one of them answered; any of them will do",
        )
    return kept


def _old(each: Challenge, now: datetime, days: int) -> bool:
    return now - _time(each.made_at) > timedelta(days=days)


def _file_name(name: str) -> str:
    """The letters and digits of a name, as far as a file's name has room for them."""
    words = "".join(c if c.isalnum() else " " for c in name).split()
    return "-".join(words)[:40] or "recipient"


# --- answers ---------------------------------------------------------------------------------------------


class Given(NamedTuple):
    """An answer as it came: where from (a file's name, or what was typed), and the answer file or the code alone."""

    source: str
    answer: KeyAnswer | str


class Outcome(NamedTuple):
    """What became of an answer: who passed by it and which challenge, or why it was refused.

    `repeated`: it is right, and stands in the record already; it does not count again.
    """

    source: str
    holder: Holder | None
    challenge_id: str
    refused: str = ""
    repeated: bool = False


def take(before: Before, given: Sequence[Given], *, by: str, now: datetime) -> tuple[KeysRecord | None, list[Outcome]]:
    """The record that follows from answers, and what became of each; None where not one of them is right.

    An answer is right if, in this order: 1. it is of this consignment; 2. its challenge is in the record; 3. it names
    the recipient whose challenge that is; 4. its code is the one in that sample; 5. it was not recorded before; 6. the
    challenge is not older than MAX_AGE_DAYS. A code alone is looked for among all challenges. BadInput for a name that
    is none, and where a recipient was sent no sample but by a clock that was ahead.
    """
    person("by", by)
    first, now = _answerable(before.record, now.replace(microsecond=0))
    record, outcomes = first, []
    for each in given:
        found, refused = _judge(record, each.answer, now)
        if found is None:
            outcomes.append(Outcome(each.source, None, "", refused))
            continue
        holder, challenge = found
        repeated = refused == _spent(challenge, now) and challenge.passed is not None
        outcomes.append(Outcome(each.source, holder, challenge.challenge_id, refused, repeated))
        if not refused:
            record = _passed(record, challenge, Pass(at=key_sample.stated(now), by=by.strip()))
    if record is first:
        return None, outcomes
    return _follow(record, before, by, now), outcomes


_Found = tuple[Holder, Challenge]


def _judge(record: KeysRecord, answer: KeyAnswer | str, now: datetime) -> tuple[_Found | None, str]:
    """Whose challenge an answer is of, as far as that is known, and why it does not count ("" if it does)."""
    pairs = [(each.holder, challenge) for each in record.recipients for challenge in each.challenges]
    code = answer if isinstance(answer, str) else answer.code
    opened = next((pair for pair in pairs if _fits(record, *pair, code)), None)
    if isinstance(answer, str):
        if opened is None:
            return None, "it is the code of no sample of this record: a wrong one, or one that is too old"
        return opened, _spent(opened[1], now)
    if answer.consignment_id != record.consignment_id:
        return None, f"it is of another consignment, {answer.consignment_id}"
    asked = next((pair for pair in pairs if pair[1].challenge_id == answer.challenge_id), None)
    if asked is None:
        return None, f"there is no challenge {answer.challenge_id} in this record: it is too old, or of another record"
    named = (answer.name, answer.organisation)
    if named != asked[0][:2]:
        return asked, f"it names {answer.name!r}, and {answer.challenge_id} is the challenge of {asked[0].words}"
    if opened is not None and opened != asked:
        whose = f"{opened[0].words} ({opened[1].challenge_id})"
        return asked, f"its code is that of another sample, the one for {whose}: they were swapped"
    if opened is None:
        return asked, "its code is wrong: the sample was not opened"
    return asked, _spent(asked[1], now)


def _fits(record: KeysRecord, holder: Holder, challenge: Challenge, code: str) -> bool:
    found = key_sample.digest(record.consignment_id, challenge.challenge_id, holder.recipient, code)
    return found == challenge.code_blake3


def _spent(challenge: Challenge, now: datetime) -> str:
    if challenge.passed is not None:
        return f"it was recorded at {challenge.passed.at}, and counts once; a newer proof wants a new challenge"
    if _old(challenge, now, MAX_AGE_DAYS):
        return f"its challenge was made at {challenge.made_at}, more than {MAX_AGE_DAYS} days ago: make a new one"
    return ""


def _passed(record: KeysRecord, passed: Challenge, how: Pass) -> KeysRecord:
    rows = []
    for each in record.recipients:
        new = tuple(replace(one, passed=how) if one is passed else one for one in each.challenges)
        rows.append(replace(each, challenges=new))
    return replace(record, recipients=tuple(rows))


def waive(before: Before, reason: str, *, by: str, now: datetime) -> KeysRecord:
    """The record in which `by` accepts that no two recipients are independent. BadInput where two are, or no reason."""
    person("by", by)
    counting, now = _answerable(before.record, now.replace(microsecond=0))
    if independent(before.record.holders):
        raise BadInput("two independent recipients are there: there is nothing to waive", hint="leave the waiver away")
    text = " ".join(reason.split())
    if not text or len(text) > 4000 or strict.unprintable(text):
        raise BadInput("a waiver wants a reason, in one line of up to 4000 characters", hint="say why one is enough")
    waiver = Waiver(accepted_by=by.strip(), reason=text, at=key_sample.stated(now))
    return _follow(replace(counting, waiver=waiver), before, by, now)


def _follow(record: KeysRecord, before: Before, by: str, now: datetime) -> KeysRecord:
    return replace(record, supersedes=_digest(before), by=by.strip(), at=key_sample.stated(now))


def _digest(before: Before | None) -> str | None:
    return blake3(before.data).hexdigest() if before is not None else None


def _same_consignment(record: KeysRecord, consignment_id: str) -> None:
    if record.consignment_id != consignment_id:
        raise Refused(
            f"the record of keys is of another consignment, {record.consignment_id}",
            hint="move it away, or give the declaration that it is of",
        )


# --- clocks ----------------------------------------------------------------------------------------------


def in_time(record: KeysRecord, now: datetime) -> tuple[KeysRecord, datetime]:
    """What of the record before goes into the next one at `now`, and the time that this one states.

    Where `now` is before it by no more than two clocks may differ, all of it, and its own time. By more, a clock was
    ahead there, or is behind here: challenges, passes and a waiver that are still to come are left out, since no record
    has what is later than itself. They stay in the one that is kept. A recipient may have no challenge left.
    """
    at = _time(record.at)
    if not clocks.is_ahead(at, now):
        return record, max(at, now)
    rows = []
    for each in record.recipients:
        made = (one for one in each.challenges if _time(one.made_at) <= now)
        left = (replace(one, passed=None) if one.passed and _time(one.passed.at) > now else one for one in made)
        rows.append(replace(each, challenges=tuple(left)))
    waiver = record.waiver if record.waiver and _time(record.waiver.at) <= now else None
    return replace(record, recipients=tuple(rows), waiver=waiver), now


def set_aside(before: KeysRecord, now: datetime) -> str:
    """What is to be told where a record is followed that is ahead of `now`; "" of any other."""
    if not clocks.is_ahead(_time(before.at), now):
        return ""
    left = in_time(before, now)[0]
    samples, answers = (
        [sum(one is not None for row in each.recipients for one in what(row)) for each in (before, left)]
        for what in (lambda row: row.challenges, lambda row: [one.passed for one in row.challenges])
    )
    gone = f"samples ({samples[0] - samples[1]:,}) and answers ({answers[0] - answers[1]:,})"
    waived = ", and its waiver" if before.waiver is not left.waiver else ""
    return (
        f"the clock says {key_sample.stated(now)}, and the record that was there says that it was made at {before.at}:"
        f" one of the clocks was wrong. What it has of later than now counts no more: {gone}{waived}. Where this clock"
        " is the wrong one, set it, and put the record that was kept, with its .sig, back in its place"
    )


def _answerable(record: KeysRecord, now: datetime) -> tuple[KeysRecord, datetime]:
    """`in_time` for who records answers; BadInput where a recipient has no sample that is not still to come."""
    counting, at = in_time(record, now)
    if without := [each.holder.words for each in counting.recipients if not each.challenges]:
        raise BadInput(
            f"the clock says {key_sample.stated(now)}, and the record that is there was made at {record.at}, with"
            f" every sample for {without[0]}: one of the clocks was wrong; nothing was recorded",
            hint="set this clock if it is behind; if that one was ahead, send new samples: sealift keys challenge makes"
            " them, supersedes that record and keeps it",
        )
    return counting, at


def _time(text: str) -> datetime:
    return key_sample.time_of(text, "keys.json")


# --- standing --------------------------------------------------------------------------------------------

Why = Literal["missing", "changed", "unanswered", "stale", "alone"]


class Problem(NamedTuple):
    """One reason why the keys do not let a shipment go. `where` is a recipient's name and organisation, or ""."""

    kind: Why
    where: str
    reason: str


def standing(
    checked: Checked | None,
    consignment_id: str,
    holders: Sequence[Holder],
    now: datetime,
    *,
    max_age_days: int = MAX_AGE_DAYS,
) -> list[Problem]:
    """Everything about keys that holds the release of a consignment sealed to `holders` at `now`; [] is clear.

    Rules: 1. there is a record, of this consignment, not of the future; 2. it is of exactly these recipients, by name,
    organisation and key; 3. each of them passed; 4. by a challenge that was made at most `max_age_days` ago; 5. at
    least two of them are independent (other name, other key), or a waiver is recorded. Pure.
    """
    if checked is None:
        return [Problem("missing", "", "nobody was sent a sample to open")]
    return held(checked.record, consignment_id, holders, now, max_age_days=max_age_days)


def held(
    record: KeysRecord,
    consignment_id: str,
    holders: Sequence[Holder],
    now: datetime,
    *,
    max_age_days: int = MAX_AGE_DAYS,
) -> list[Problem]:
    """`standing`, of a record whose signature is not in question, because it was made here and now."""
    found: list[Problem] = []
    if record.consignment_id != consignment_id:
        found.append(Problem("changed", "", f"the record of keys is of another consignment, {record.consignment_id}"))
    if _time(record.at) > now + CLOCKS_DIFFER:
        found.append(Problem("stale", "", _FUTURE.format(record.at)))
    known = {each.holder: each for each in record.recipients}
    for holder in holders:
        if (recipient := known.get(holder)) is None:
            found.append(_unknown(holder, record))
        else:
            found += _unproved(recipient, now, max_age_days)
    found += [
        Problem("changed", holder.words, "was sent a sample, and is no recipient now")
        for holder in known
        if holder not in holders
    ]
    if not independent(holders) and (record.waiver is None or set(known) != set(holders)):
        why = "no two recipients are different persons with a key each: who loses the only key has lost the data"
        found.append(Problem("alone", "", why))
    return found


def _unknown(holder: Holder, record: KeysRecord) -> Problem:
    names = [each.words for each in record.holders if each.recipient == holder.recipient]
    if names:
        return Problem("changed", holder.words, f"this key was sent a sample as that of {names[0]}")
    if any(people.fold(each.name) == people.fold(holder.name) for each in record.holders):
        return Problem("changed", holder.words, "was sent a sample for another key")
    return Problem("missing", holder.words, "was sent no sample to open")


def _unproved(recipient: Recipient, now: datetime, days: int) -> list[Problem]:
    words, proof = recipient.holder.words, recipient.proof
    if proof is None:
        last = recipient.challenges[-1]
        return [Problem("unanswered", words, f"has not answered the sample of {last.made_at} ({last.challenge_id})")]
    if _old(proof, now, days):
        age_days = (now - _time(proof.made_at)) // timedelta(days=1)
        why = f"opened a sample of {proof.made_at}, {age_days:,} days ago; {days} are allowed"
        return [Problem("stale", words, why)]
    return []
