"""The release: a second person's signature that lets exactly one declaration leave.

    NAME.toml.sig           SSHSIG of the author over the declaration, namespace `sealift-declaration`
    NAME.release.json       ReleaseRecord, canonical JSON; the author's signature is in it
    NAME.release.json.sig   SSHSIG over it, namespace `sealift-release`

What holds of a Release that `check_release` returns: it is signed in its namespace by an allowed signer; it
releases exactly the bytes of this declaration, so that any change of a party, carrier or serial needs a new
one; the declaration is complete, and signed by the author whom it names, an allowed signer too; and the officer is
another person, by key, by name, by the e-mail address and by the names under which the allowed signers file knows
the keys. A key that is valid for a time only is
judged at the time that the release states, as git does: whoever must not sign any more is struck from the
file, not left to run out.

A release is signed only through an open gate (gate.py), for exactly the declaration that the gate was asked about, by
somebody whom the rules let release; it binds the rules file, and says which rules differ from those shipped and which
were opened by a person.

What is not here: files (stages/release.py), and what the gate looks at.
"""

from __future__ import annotations

import fnmatch
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec
from blake3 import blake3
from msgspec import Meta

from sealift.errors import BadInput, FormatError, KeyInvalid, Refused, SignatureInvalid
from sealift.formats import canonical, sshsig, strict, typed
from sealift.formats.canonical import Record
from sealift.trade import declaration as declarations
from sealift.trade import glyphs, people, persons
from sealift.trade.rules import MAX_BYTES as MAX_RULES_FILE
from sealift.trade.rules import MAX_RULES

if TYPE_CHECKING:
    from sealift.formats.allowed_signers import AllowedSigners, Person
    from sealift.trade.declaration import Declaration
    from sealift.trade.gate import Verdict
    from sealift.trade.signing import Signer

NAMESPACE = "sealift-release"
AUTHOR_NAMESPACE = "sealift-declaration"
MAX_RELEASE = 1 << 20
TIME = "%Y-%m-%dT%H:%M:%SZ"

Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Line = Annotated[
    str, Meta(min_length=1, max_length=500, pattern=r"\A[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*\Z")
]


class DeclarationBytes(Record, frozen=True, kw_only=True):
    """Length and BLAKE3 of the declaration that is released."""

    bytes: Annotated[int, Meta(ge=1, le=declarations.MAX_BYTES)]
    blake3: Digest


class RulesFile(Record, frozen=True, kw_only=True):
    """The rules by which it was released; `changed` names what differs from those shipped with the software."""

    edition: Annotated[str, Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")]
    bytes: Annotated[int, Meta(ge=1, le=MAX_RULES_FILE)]
    blake3: Digest
    changed: Annotated[list[_Line], Meta(max_length=3 * MAX_RULES)]


class Evidence(Record, frozen=True, kw_only=True):
    """Length and BLAKE3 of another record that the gate looked at."""

    bytes: Annotated[int, Meta(ge=1, le=1 << 30)]
    blake3: Digest


class ReleaseRecord(Record, frozen=True, kw_only=True):
    """What the officer signs."""

    type: Literal["sealift-release"] = "sealift-release"
    version: Literal[1] = 1
    consignment_id: _Line
    rehearsal: bool
    revision: Annotated[int, Meta(ge=1, le=10_000)]
    declaration: DeclarationBytes
    author_signature: Annotated[str, Meta(max_length=sshsig.MAX_ARMORED, pattern=r"\A[\n -~]*\Z")]  # its .sig file
    rules: RulesFile
    resolved: Annotated[list[_Line], Meta(max_length=MAX_RULES)]
    screening: Evidence | None
    keys: Evidence | None
    officer: _Line
    reason: _Line
    reference: _Line
    released_at: Annotated[str, Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")]


class SignedRelease(NamedTuple):
    """The two files of a release."""

    record: ReleaseRecord
    data: bytes
    signature: bytes


class Release(NamedTuple):
    """A release that `check_release` has accepted, and by whom it is: the allowed signer's line, key and person.

    `author` is the person who signed the declaration.
    """

    record: ReleaseRecord
    principal: str
    fingerprint: str
    person: Person
    author: Person

    @property
    def declaration_digest(self) -> str:
        """BLAKE3 of the declaration it releases."""
        return self.record.declaration.blake3

    @property
    def summary(self) -> str:
        """One line: by whom, when, with which reference."""
        r = self.record
        who = f"{r.officer} ({self.principal}, {self.fingerprint})"
        return f"Released by {who} at {r.released_at}, reference {r.reference}."


def make_release(
    declaration: Declaration, signer: Signer, verdict: Verdict, allowed: AllowedSigners, *, author_signature: bytes,
    officer: str, reason: str, reference: str, now: datetime, screening: bytes | None = None, keys: bytes | None = None,
) -> SignedRelease:  # fmt: skip
    """Sign the release of `declaration` by `officer`, for which `verdict` must be open; `now` is an aware time.

    `author_signature` is that of `sign_declaration`; `screening` and `keys` are the records that the gate looked at.
    Raises Refused when the declaration is incomplete, or not signed by its author, the gate is closed, officer and
    author are one person, or the rules do not let this person release; SignatureInvalid when `allowed` does not know
    the key for releases; BadInput for texts that are empty, too long or of several lines; KeyInvalid when the key does
    not sign.
    """
    faults = declarations.problems(declaration)
    if faults:
        raise Refused(
            "an incomplete declaration is not released:\n  " + "\n  ".join(faults[: strict.MAX_SHOWN]),
            hint="sealift declare --check FILE",
        )
    if verdict.declaration != declaration.digest or verdict.rehearsal != declaration.rehearsal:
        raise Refused("the gate was asked about another declaration")
    if not verdict.open:
        raise Refused(
            "the gate is closed:\n  " + "\n  ".join(f"{row.rule.id}: {row.why}" for row in verdict.held),
            hint="sealift release --check FILE",
        )
    values = {
        "consignment_id": declaration.consignment_id,
        "rehearsal": declaration.rehearsal,
        "revision": declaration.revision,
        "declaration": _reference(declaration.raw),
        "author_signature": author_signature.decode("ascii", errors="replace"),
        "rules": {
            "edition": verdict.rules.edition,
            "bytes": len(verdict.rules.raw),
            "blake3": verdict.rules.digest,
            "changed": verdict.rules.changed,
        },
        "resolved": [row.rule.id for row in verdict.resolved],
        "screening": _reference(screening),
        "keys": _reference(keys),
        "officer": officer,
        "reason": reason,
        "reference": reference,
        "released_at": now.astimezone(UTC).strftime(TIME),
    }
    for name in ("officer", "reason", "reference"):
        if strict.unprintable(str(values[name])) or not str(values[name]).strip():
            raise BadInput(f"--{name}: one line of printable text is wanted")
        if why := glyphs.unpainted(str(values[name])):
            raise BadInput(f"--{name}: {why}", hint="it is printed on every paper; nothing was signed")
    try:
        record = typed.convert(values, ReleaseRecord)
    except msgspec.ValidationError as error:
        raise BadInput("officer, reason and reference are one line of text each, of up to 500 characters") from error
    _another_person(declaration, signer.public_key, officer)
    data = canonical.encode(record)
    decode(data)
    signature = signer.sign(data, NAMESPACE)
    released = check_release(declaration, data, signature, allowed)
    if why := verdict.may_release(released.principal):
        raise Refused(why, hint="somebody whom the rules name releases it")
    return SignedRelease(record, data, signature)


def _reference(data: bytes | None) -> dict[str, Any] | None:
    return None if data is None else {"bytes": len(data), "blake3": blake3(data).hexdigest()}


def check_release(declaration: Declaration | bytes, data: bytes, signature: bytes, allowed: AllowedSigners) -> Release:
    """The release in `data` if it holds for exactly this declaration (parsed, or its file's bytes).

    Raises FormatError for a record that is not canonical, SignatureInvalid for a signature that is not an
    allowed signer's, DeclarationInvalid for bytes that are no complete declaration, Refused otherwise.
    """
    record = decode(data)
    raw = declaration if isinstance(declaration, bytes) else declaration.raw
    declaration = declarations.parse(raw, draft=False)
    if (record.declaration.bytes, record.declaration.blake3) != (len(raw), declaration.digest):
        raise Refused(
            f"the release is not of this declaration: it is of BLAKE3 {record.declaration.blake3}",
            hint="a declaration that was changed after its release needs a new one (sealift release)",
        )
    said = (declaration.consignment_id, declaration.rehearsal, declaration.revision)
    if (record.consignment_id, record.rehearsal, record.revision) != said:
        raise Refused("the release names another shipment or revision than the declaration")
    signer = allowed.signer(data, signature, NAMESPACE, released_at(record))
    _another_person(declaration, signer.key, record.officer)
    check_author(declaration, record.author_signature.encode(), allowed, released_at(record))
    author = persons.author(declaration)
    names = signer.principal.casefold().split(",")
    email = declaration.author.email.casefold()
    if persons.same(signer.person, author) or any(fnmatch.fnmatchcase(email, name) for name in names):
        raise Refused(
            f"the key that released this is, by the allowed signers, the author's: {signer.principal}",
            hint="another person must release it",
        )
    return Release(record, signer.principal, signer.fingerprint, signer.person, author)


def sign_declaration(declaration: Declaration, signer: Signer) -> bytes:
    """The author's signature over a complete declaration; Refused where it is not, or `signer` is not its author."""
    faults = declarations.problems(declaration)
    if faults:
        raise Refused(
            "an incomplete declaration is not signed:\n  " + "\n  ".join(faults[: strict.MAX_SHOWN]),
            hint="sealift declare --check FILE",
        )
    if signer.public_key != _author(declaration):
        raise Refused(
            f"{signer.path}: its key, {signer.public_key.fingerprint}, is not that of the declared author,"
            f" {declaration.author.name}",
            hint="whoever wrote the declaration signs it; author.public_key is the line of their .pub file",
        )
    return signer.sign(declaration.raw, AUTHOR_NAMESPACE)


def check_author(declaration: Declaration, signature: bytes, allowed: AllowedSigners, at: datetime) -> str:
    """The name under which `allowed` knows the author, who signed exactly this declaration.

    Raises SignatureInvalid for a signature that is not an allowed signer's, Refused for one by another key than the
    declaration names.
    """
    try:
        signer = allowed.signer(declaration.raw, signature, AUTHOR_NAMESPACE, at)
    except SignatureInvalid as error:
        raise SignatureInvalid(
            f"the author's signature of the declaration: {error}",
            hint=f"its author signs it (sealift declare --check FILE --sign-with KEY), and the allowed signers name"
            f" their key for {AUTHOR_NAMESPACE}",
        ) from error
    if signer.key != _author(declaration):
        raise Refused(
            f"the declaration is signed by {signer.principal}, and names another key as its author's",
            hint="its author signs it: sealift declare --check FILE --sign-with KEY",
        )
    return signer.principal


def path_beside(file: str) -> str:
    """Where the release of the declaration in `file` lies: NAME.toml has NAME.release.json."""
    return file.removesuffix(".toml") + ".release.json"


def decode(data: bytes) -> ReleaseRecord:
    """Parse the canonical bytes of a release; FormatError otherwise. Says nothing about who signed it."""
    record = canonical.decode(data, ReleaseRecord, limit=MAX_RELEASE, name="release.json")
    strict.check_texts(msgspec.structs.replace(record, author_signature=""), "release.json")  # that one has lines
    released_at(record)
    return record


def released_at(record: ReleaseRecord) -> datetime:
    """When the release says that it was made; FormatError when there is no such time."""
    try:
        return datetime.strptime(record.released_at, TIME).replace(tzinfo=UTC)
    except ValueError as error:
        raise FormatError(f"release.json: there is no time {record.released_at!r}") from error


def author_path(file: str) -> str:
    """Where the author's signature of the declaration in `file` lies."""
    return file + ".sig"


def _author(declaration: Declaration) -> sshsig.PublicKey:
    try:
        return sshsig.parse_public_key(declaration.author.public_key)
    except KeyInvalid as error:  # a complete declaration has one; a lenient caller must not slip through
        raise Refused(f"the author's key cannot be compared: {error}") from error


def _another_person(declaration: Declaration, key: sshsig.PublicKey, officer: str) -> None:
    if key == _author(declaration):
        raise Refused(
            "the author of a declaration cannot release it: this is the author's own key",
            hint="a named officer, another person, releases it with a key of their own",
        )
    if people.same(officer, declaration.author.name):
        raise Refused(
            f"the author of a declaration cannot release it: {officer!r} may be the author's name",
            hint="a named officer, another person, releases it",
        )
