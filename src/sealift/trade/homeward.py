"""The leg home as the origin states it: for whom it is encrypted, and whose signatures on it are accepted.

What holds of the ReturnLeg that `parse` returns: every recipient is one of age, and one file may be for all of them;
every signer is one plain name with one SSH public key, no pattern and no option, none twice. It is in one form,
whatever comments the declaration has, so that the seal's copy can be compared with it.

What is not here: who may state it (the declaration, and the officer who releases it), and the check of a reply
(reading/trust.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sealift.errors import KeyInvalid
from sealift.formats.allowed_signers import AllowedSigners
from sealift.formats.seal import ReturnLeg, ReturnSigner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.formats.age import Recipient

_MAX_NAME = 256


def parse(recipients: Sequence[str], signers: Sequence[str]) -> ReturnLeg | None:
    """What the lists say, or None when both are empty; KeyInvalid when something is wrong with them."""
    if not recipients and not signers:
        return None
    if found := faults(recipients, signers):
        raise KeyInvalid("; ".join(found))
    return ReturnLeg(
        recipients=[plain(text) for text in recipients],
        signers=[_signer(line) for line in signers],
    )


def faults(recipients: Sequence[str], signers: Sequence[str]) -> list[str]:
    """Everything that is wrong with the lists, by path; one alone is wrong too."""
    found: list[str] = []
    if bool(recipients) != bool(signers):
        empty, wants = ("signers", "who may sign it") if recipients else ("recipients", "for whom it is encrypted")
        found.append(f"return.{empty}: empty; the leg home wants {wants} too, or nothing at all")
    parsed = _recipients(recipients, found) if recipients else []
    keys: dict[str, int] = {}
    for number, line in enumerate(signers, start=1):
        try:
            key = _signer(line).key
        except KeyInvalid as error:
            found.append(f"return.signers[{number}]: {error}")
            continue
        if key in keys:
            found.append(f"return.signers[{number}]: the key of signers[{keys[key]}] again")
        keys.setdefault(key, number)
    for number, text in enumerate(map(str, parsed), start=1):
        if text in map(str, parsed[: number - 1]):
            found.append(f"return.recipients: {text} is there twice")
    return found


def _recipients(texts: Sequence[str], found: list[str]) -> list[Recipient]:
    from sealift.formats import age, age_keys  # who only reads drives does without

    parsed: list[Recipient] = []
    for number, text in enumerate(texts, start=1):
        try:
            parsed.append(age_keys.parse_recipient(text))
        except KeyInvalid as error:
            found.append(f"return.recipients[{number}]: {error}")
    if parsed:
        try:
            age.check_recipients(parsed)
        except KeyInvalid as error:
            found.append(f"return.recipients: {error}")
    return parsed


def accepted(leg: ReturnLeg) -> AllowedSigners:
    """The signers as allowed signers, by whom a reply must be signed."""
    return AllowedSigners.parse("".join(f"{each.principal} {each.key}\n" for each in leg.signers).encode())


def plain(recipient: str) -> str:
    """A recipient in the one form in which a ReturnLeg has it; KeyInvalid."""
    from sealift.formats import age_keys

    return str(age_keys.parse_recipient(recipient))


def _signer(line: str) -> ReturnSigner:
    hint = "like: trainer@example.org ssh-ed25519 AAAA..."
    try:
        lines = AllowedSigners.parse(line.encode()).lines
    except KeyInvalid as error:
        raise KeyInvalid(str(error).partition(": ")[2] or str(error), hint=hint) from error
    if len(lines) != 1:
        raise KeyInvalid("not NAME KEYTYPE KEY", hint=hint)
    (found,) = lines
    if found.namespaces is not None or found.valid_after is not None or found.valid_before is not None:
        raise KeyInvalid("options are not used here: a name and a key", hint=hint)
    if len(found.principals) > _MAX_NAME or any(c.isspace() or c in '*?!,"#' for c in found.principals):
        raise KeyInvalid(f"{found.principals[:64]!r} is not one plain name", hint=hint)
    return ReturnSigner(principal=found.principals, key=found.key.line)
