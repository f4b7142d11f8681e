"""Keys proved before departure, with their files: samples sealed, answers taken, the record signed and written.

    NAME.keys.json (.sig)               the record; the one before is kept: NAME.keys.N.json
    DIR/WHO.KC-....sample.age           a sample, to be sent to whom it names
    DIR/WHO.KC-....sample.answer.json   its answer, where it was opened

What holds: the record is on the medium before a sample is, so that whatever sample is seen can be answered; a sample
that an interruption kept from being written is only one more that nobody answers. The record before is followed only
if its signature holds: by the key that signs now, or by an allowed signer. A code is in its sample, in its answer and
nowhere else. Nothing is overwritten but the record, which is kept. What is not here: words for people (cli/keys.py),
what holds of a record (trade/keys.py).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from sealift.errors import BadInput, FormatError, IdentityMismatch, Refused, SignatureInvalid
from sealift.formats import canonical, sshsig
from sealift.formats.allowed_signers import AllowedSigners
from sealift.trade import declaration as declarations
from sealift.trade import key_sample, keys, people, persons, signing
from sealift.trade.keys import Before, Checked, Given, Holder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.formats.age import Identity
    from sealift.formats.allowed_signers import Person
    from sealift.trade.declaration import Declaration
    from sealift.trade.key_sample import KeyAnswer
    from sealift.trade.keys import KeysRecord, Outcome, Problem
    from sealift.trade.signing import Signer

_SAMPLE = ".age"
_ANSWER = ".answer.json"


@dataclass(frozen=True)
class Result:
    """What stands in the record now, what was written, and what became of each answer."""

    record: KeysRecord
    path: str
    superseded: str | None = None
    written: bool = False
    samples: list[tuple[Holder, str, str]] = field(default_factory=list)
    """Whose, which challenge, and the file."""
    outcomes: list[Outcome] = field(default_factory=list)
    aside: str = ""
    """What is to be told where the record before was made by a clock that was ahead of this one."""


class Answered(NamedTuple):
    """An answer, its file, and whether that was there already."""

    answer: KeyAnswer
    path: str
    there: bool


def challenge(
    path: str, folder: str, signer: Signer, *, by: str, allowed: AllowedSigners | None = None,
    now: datetime | None = None,
) -> Result:  # fmt: skip
    """Seal a sample for each recipient of the declaration in `path` into `folder`, and write its record.

    Raises BadInput, KeyInvalid, FormatError, Refused.
    """
    declaration, target = _load(path), keys.path_beside(path)
    holders = declared(declaration)
    if not holders:
        raise BadInput(
            f"{path} names no recipient: nobody is there to open a sample",
            hint="encryption.recipients: who can open the drives, each with a name and an age recipient",
        )
    before, now = _before(target, signer, allowed), now or datetime.now(UTC)
    _make_folder(folder)
    record, sealed = keys.challenge(declaration.consignment_id, holders, before, by=by, now=now)
    superseded = _write(record, target, signer, allowed)
    samples = []
    for each in sealed:
        file = os.path.join(folder, each.file)
        signing.write_new(file, each.data)
        samples.append((each.holder, each.challenge_id, file))
    aside = keys.set_aside(before.record, now) if before is not None else ""
    return Result(record, target, superseded, written=True, samples=samples, aside=aside)


def answer(sample: str, identities: Sequence[Identity], out: str | None = None) -> Answered:
    """Open a sample, and write the answer beside it or to `out`; one that is there and the same is let be.

    Raises BadInput, AgeError and FormatError for what is no sample, IdentityMismatch.
    """
    data = signing.read_limited(sample, key_sample.MAX_SAMPLE, "sample")
    try:
        answered = key_sample.unseal(data, identities).answer
    except IdentityMismatch as error:
        hint = "the one who sent it can say for which key it was sealed; another identity: --identity FILE"
        raise IdentityMismatch(
            f"{sample}: it is sealed for another key than that of this identity", hint=hint
        ) from error
    except FormatError as error:
        hint = "have it sent again, as a file that no program changes on the way"
        raise type(error)(f"{sample}: {error}", hint=error.hint or hint) from error
    target, text = out or sample.removesuffix(_SAMPLE) + _ANSWER, canonical.encode(answered)
    there = os.path.lexists(target) and signing.read_limited(target, key_sample.MAX_ANSWER, "answer") == text
    if not there:
        signing.write_new(target, text)
    return Answered(answered, target, there)


def load_answer(path: str) -> Given:
    """The answer in a file, as it was sent back. BadInput."""
    data = signing.read_limited(path, key_sample.MAX_ANSWER, "answer")
    try:
        return Given(path, key_sample.decode_answer(data))
    except FormatError as error:
        hint = "have it sent again, as a file; or have the code read out (--spoken)"
        raise BadInput(f"answer {path}: {error}", hint=hint) from error


def check(
    path: str, given: Sequence[Given], signer: Signer, *, by: str, waive: str | None = None,
    allowed: AllowedSigners | None = None, now: datetime | None = None,
) -> Result:  # fmt: skip
    """Take answers, and a waiver where `waive` gives the reason, into the record of the declaration in `path`.

    Right answers are recorded, whatever the others are. Raises BadInput, KeyInvalid, FormatError, Refused.
    """
    now, target = now or datetime.now(UTC), keys.path_beside(path)
    before = _before(target, signer, allowed)
    if before is None:
        raise BadInput(f"{target}: nobody was sent a sample yet", hint="sealift keys challenge DECLARATION ...")
    parsed = _load(path)
    _same(before.record, parsed, target)
    authors = people.same(by, parsed.author.name) or persons.same(_whose(signer, allowed), persons.author(parsed))
    if waive is not None and authors:
        raise Refused(
            "the author alone does not accept that nobody else can open the drives",
            hint="somebody else records it, by their name (--by) and with a key of their own (--sign-with)",
        )
    following, outcomes = keys.take(before, given, by=by, now=now)
    if waive is not None:
        waived = keys.waive(Before(following or before.record, before.data), waive, by=by, now=now)
        following = waived
    if following is None:
        return Result(before.record, target, outcomes=outcomes)
    superseded = _write(following, target, signer, allowed)
    aside = keys.set_aside(before.record, now)
    return Result(following, target, superseded, written=True, outcomes=outcomes, aside=aside)


def _whose(signer: Signer, allowed: AllowedSigners | None) -> Person:
    """Who signs: without allowed signers nothing but a key is known."""
    return (allowed or AllowedSigners(())).person(signer.public_key.fingerprint)


def load_checked(path: str, allowed: AllowedSigners) -> Checked | None:
    """The record beside the declaration in `path` with its signature checked; None where there is none.

    Raises BadInput, FormatError, SignatureInvalid.
    """
    target = keys.path_beside(path)
    if not os.path.lexists(target):
        return None
    data, _ = _read(target)
    return check_at(target, data, allowed)


def check_at(target: str, data: bytes, allowed: AllowedSigners) -> Checked:
    """The record `data`, which lies at `target`, by the signature beside it. SignatureInvalid, FormatError."""
    refused = SignatureInvalid(f"{target}: there is no signature beside it")
    for signature in signing.signatures(target, data):
        try:
            return keys.check_record(data, signature, allowed)
        except SignatureInvalid as error:
            refused = error
    raise refused


def standing(
    path: str, allowed: AllowedSigners, *, now: datetime | None = None
) -> tuple[list[Problem], Checked | None]:
    """What about keys holds the release of the declaration in `path`, and the record that it is told from.

    Raises BadInput, KeyInvalid, FormatError, SignatureInvalid.
    """
    declaration, checked = _load(path), load_checked(path, allowed)
    holders = declared(declaration)
    return keys.standing(checked, declaration.consignment_id, holders, now or datetime.now(UTC)), checked


def declared(declaration: Declaration) -> list[Holder]:
    """Who can open the drives, as declared; rows without a key are a draft's. BadInput, KeyInvalid."""
    rows = declaration.encryption.recipients
    return [Holder.of(row.name, row.organisation, row.recipient) for row in rows if row.recipient]


def _load(path: str) -> Declaration:
    data = signing.read_limited(path, declarations.MAX_BYTES, "declaration")
    return declarations.parse(data, draft=True)


def _same(record: KeysRecord, declaration: Declaration, target: str) -> None:
    if record.consignment_id != declaration.consignment_id:
        raise Refused(
            f"{target} is of another consignment, {record.consignment_id}", hint="give the declaration that it is of"
        )


def _make_folder(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise BadInput(f"--to {folder}: {why}", hint="give a folder in which the samples are written") from error


def _read(target: str) -> tuple[bytes, KeysRecord]:
    data = signing.read_limited(target, keys.MAX_RECORD, "record of keys")
    try:
        return data, keys.decode(data)
    except FormatError as error:
        hint = "a kept one, NAME.keys.N.json, may be whole; else move it away and challenge anew"
        raise FormatError(f"{target}: {error}", hint=hint) from error


def _before(target: str, signer: Signer, allowed: AllowedSigners | None) -> Before | None:
    """The record that is there, if its signature holds; None where there is none."""
    if not os.path.lexists(target):
        return None
    data, record = _read(target)
    why = "there is no signature beside it"
    for signature in signing.signatures(target, data):
        try:
            if sshsig.verify(data, signature, keys.NAMESPACE) == signer.public_key:
                return Before(record, data)
            if allowed is not None:
                keys.check_record(data, signature, allowed)
                return Before(record, data)
            why = "another key signed it, and no allowed signers are given (--allowed-signers)"
        except SignatureInvalid as error:
            why = str(error)
    raise Refused(f"{target}: {why}", hint="it is not followed: mend that, or move it away and challenge anew")


def _write(record: KeysRecord, target: str, signer: Signer, allowed: AllowedSigners | None) -> str | None:
    data = keys.encode(record)
    signature = signer.sign(data, keys.NAMESPACE)
    if allowed is not None:  # better now than when the drives are to leave
        keys.check_record(data, signature, allowed)
    return signing.write_successor(target, data, signature)
