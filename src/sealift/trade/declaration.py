"""The declaration: who ships what to whom, for what use, on which drives, carried by whom.

A declaration is a TOML file that people fill in; it is bound as its exact bytes (`digest` is their BLAKE3),
so it has no canonical form, and every change, of a comment too, makes it another declaration. One shipment
has one declaration. What holds:

- `parse` accepts a file only when every value is of its type and within its limits and no field is unknown;
  it names all faults at once. A draft may have empty fields; `problems` names everything that a full one
  still wants.
- Every party is required: shipper, consignee, end user, and of each its ultimate parent and the parent's
  country; and whether there are related shipments, which ones if there are.
- A return leg names the outbound shipment that it answers; an outbound one may name who may answer it (homeward.py).
- Values and weights are stated of goods, for customs and for totals; nothing that splits drives between carriers reads
  them (a contract in pyproject.toml holds it), and there is no threshold anywhere.
- Later code lists change nothing about what is complete: `parse` looks at none (codes.py).
- One number means one thing: rows are counted from 1, as on labels, so drives[3] is "drive 3 of N".

The tables are in sections.py, what fields must hold together in consistency.py, sums in totals.py. What is not here:
files, signatures (release.py), sheets (sheets.py), labels (labels.py), screening. The software records statements and
gives no legal advice.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import blake3
from msgspec import Struct

from sealift.errors import DeclarationInvalid, KeyInvalid
from sealift.formats import sshsig, strict
from sealift.trade import codes, consistency, glyphs, homeward, lookalikes
from sealift.trade.explained import HELP
from sealift.trade.sections import (
    Amount,
    Answer,
    Author,
    CarrierName,
    Content,
    Country,
    Currency,
    Date,
    Digest,
    Encryption,
    HsCode,
    Id,
    Name,
    Percent,
    Return,
    Serial,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from sealift.formats import seal

MAX_BYTES = 4 << 20  # 10,000 drives take 2 MiB
TYPE: Literal["sealift-declaration"] = "sealift-declaration"
NO_HOLD = "none"  # of legal_hold


class Declaration(Content, frozen=True, kw_only=True):
    """A parsed declaration with its exact bytes."""

    raw: bytes

    @property
    def return_leg(self) -> seal.ReturnLeg | None:
        """What it says of the leg home, in the form that the seal has; None if nothing. KeyInvalid if wrong."""
        return homeward.parse(self.return_.recipients, self.return_.signers)

    @property
    def digest(self) -> str:
        """BLAKE3 of the file's exact bytes, in hexadecimal."""
        return digest(self.raw)

    @property
    def capacity_bytes(self) -> int:
        """Capacity of all drives together."""
        return sum(drive.capacity_bytes for drive in self.drives)

    def serials_of(self, carrier: str) -> list[str]:
        """Serial numbers of the drives of `carrier`, in the order of the declaration."""
        return [drive.serial for drive in self.drives if drive.carrier == carrier]


def digest(data: bytes) -> str:
    """BLAKE3 in hexadecimal, as a declaration is bound."""
    return blake3.blake3(data).hexdigest()


# --- reading ---------------------------------------------------------------------------------------------


def parse(data: bytes, *, draft: bool) -> Declaration:
    """The declaration in a file's bytes. A draft may leave fields empty; a full one must be complete.

    Raises DeclarationInvalid whose `problems` names every fault at once.
    """
    declaration, faults = _read(data) if draft else _whole(data)
    if faults or declaration is None:
        raise _invalid(faults)
    return declaration


def parse_draft(data: bytes) -> Declaration:
    """`parse`, of what may be a draft."""
    return parse(data, draft=True)


def review(data: bytes) -> tuple[Declaration | None, list[str]]:
    """What can be read of a file, and everything that keeps it from being complete today; never raises.

    Today: codes of countries and currencies are compared with the lists of the day (codes.py); a name that cannot be
    read with certainty (lookalikes.py) is none, and a text that no paper can print (glyphs.py) is none either, though
    declarations that have one may have been released before.

    The declaration is None when the bytes are not TOML at all.
    """
    declaration, faults = _whole(data)
    if declaration is not None:
        faults += today(declaration)
    return declaration, faults


def today(declaration: Content) -> list[str]:
    """What keeps a declaration from being complete today alone, which the gate asks, too; each with its path."""
    return codes.faults(declaration) + lookalikes.faults(declaration) + glyphs.faults(declaration)


def _whole(data: bytes) -> tuple[Declaration | None, list[str]]:
    """As `_read`, with what keeps it from being complete."""
    declaration, faults = _read(data)
    if declaration is not None:
        named = {fault.partition(":")[0] for fault in faults}
        faults += [problem for problem in problems(declaration) if problem.partition(":")[0] not in named]
    return declaration, faults


def _invalid(faults: list[str]) -> DeclarationInvalid:
    """The error that carries `faults`; its text names them all, up to strict.MAX_SHOWN."""
    return DeclarationInvalid(
        f"the declaration has {strict.shown(faults)}",
        problems=faults,
        hint="sealift declare --new FILE writes a template that explains every field",
    )


def _read(data: bytes) -> tuple[Declaration | None, list[str]]:
    """A declaration (with defaults where a value is unusable) and what is wrong with its form."""
    tree, fault = strict.load(data, MAX_BYTES)
    if tree is None:
        return None, [fault]
    faults: list[str] = []
    values: dict[str, Any] = {"type": TYPE, "version": 1} | strict.values(tree, Content, "", faults, _wants)
    if not tree.get("consignment_id"):
        faults.append("consignment_id: empty; wants an id, such as SL-2026-4F7K2Q")
    return Declaration(**values, raw=data), faults


def _wants(kind: Any, error: str) -> str:
    """The validator's complaint in the words of the person who fills in the form."""
    if kind is Id or "[A-Za-z0-9._-]" in error:
        return "must be 3 to 64 letters, digits, dots, hyphens or underscores, such as SL-2026-4F7K2Q"
    if kind is Serial and "regex" in error:
        return "must be printable ASCII without spaces, as smartctl prints it"
    if kind is CarrierName and "regex" in error:
        return "must have no comma and no equals sign"
    for special, want in _WANTED:
        if kind is special and ("regex" in error or "length" in error):
            return want
    if kind is Percent or kind is Amount:
        return 'must be a number in quotes, such as "5760.00"'
    return ""


_WANTED = (
    (Digest, "must be 64 hexadecimal digits"),
    (Date, "must be a day, such as 2026-11-20, in quotes"),
    (Currency, "must be three capital letters of ISO 4217, such as EUR"),
    (HsCode, "must be 6 to 12 digits, with or without points and with nothing else between them, such as 8523.51"),
    (Country, "must be two capital letters, such as DE"),
    (Name, "must be letters, digits, dots, hyphens or underscores, at most 64"),
)


# --- completeness ----------------------------------------------------------------------------------------


def problems(declaration: Content) -> list[str]:
    """Everything that a well-typed declaration still wants, each with its path.

    It stays so whatever code lists say later: those are looked at by `review` alone.
    """
    found: list[str] = []
    _empties(declaration, "", found)
    author = declaration.author
    if author.public_key:
        try:
            sshsig.parse_public_key(author.public_key)
        except KeyInvalid as error:
            found.append(f"author.public_key: {error}")
    if author.email and not re.fullmatch(r"[^@\s]+@[^@\s]+", author.email):
        found.append(f"author.email: {author.email!r} is no e-mail address")
    for check in (_leg, _carriers, _drives):
        check(declaration, found)
    return found + consistency.faults(declaration)


def notes(declaration: Content) -> list[str]:
    """What is unusual and may be right all the same, each with its path; it holds nothing."""
    return consistency.notes(declaration) + codes.notes(declaration)


def _empties(section: Struct, path: str, found: list[str]) -> None:
    for item in strict.fields_of(type(section)):
        value, where = getattr(section, item.name), path + item.encode_name
        if item.name == "raw":
            continue
        want = HELP[_ROW.sub("", where)].want
        if isinstance(value, Struct):
            _empties(value, where + ".", found)
        elif isinstance(value, list):
            for number, row in enumerate(value, start=1):
                if isinstance(row, Struct):
                    _empties(row, f"{where}[{number}].", found)
            if not value and where in _AT_LEAST_ONE:
                found.append(f"{where}: none; {want or f'at least one [[{where}]] is wanted'}")
        elif want and where not in _ELSEWHERE and (value == 0 or (isinstance(value, str) and not value.strip())):
            asked = f" ({section.question})" if isinstance(section, Answer) and section.question else ""
            found.append(f"{where}: empty{asked}; {want}")


_ROW = re.compile(r"\[\d+\]")
_AT_LEAST_ONE = frozenset({"carriers", "goods", "drives", "encryption.recipients"})
_ELSEWHERE = frozenset({"in_reply_to"})  # whether it may be empty depends on the leg


def _leg(declaration: Content, found: list[str]) -> None:
    back = declaration.return_
    if declaration.leg == "return":
        if not declaration.in_reply_to:
            found.append(f"in_reply_to: empty; {HELP['in_reply_to'].want}")
        elif declaration.in_reply_to == declaration.consignment_id:
            found.append("in_reply_to: names this shipment itself")
        if back != Return():
            found.append("return: belongs to an outbound shipment; a return leg is not answered")
        return
    if declaration.in_reply_to:
        found.append('in_reply_to: belongs to a return leg (leg = "return")')
    found += homeward.faults(back.recipients, back.signers)


def _carriers(declaration: Content, found: list[str]) -> None:
    carrying = {drive.carrier for drive in declaration.drives}
    consistency.unique(found, "carriers", [carrier.name for carrier in declaration.carriers])
    for number, carrier in enumerate(declaration.carriers, start=1):
        if carrier.name and declaration.drives and carrier.name not in carrying:
            found.append(f"carriers[{number}].name: {carrier.name!r} carries no drive")


def _drives(declaration: Content, found: list[str]) -> None:
    consistency.unique(found, "drives", [drive.serial for drive in declaration.drives], "serial")
    for field_name, rows in (("carrier", declaration.carriers), ("goods", declaration.goods)):
        names = [row.name for row in rows if row.name]
        choice = f"one of {', '.join(names[:20])}" if names else "there are none yet"
        known = set(names)
        for number, drive in enumerate(declaration.drives, start=1):
            value = getattr(drive, field_name)
            if value and value not in known:
                what = "carrier" if field_name == "carrier" else "name of goods"
                found.append(f"drives[{number}].{field_name}: {value!r} is no {what}; {choice}")


# --- writing ---------------------------------------------------------------------------------------------


SCHEME = "age (C2SP): X25519 or ML-KEM-768 with X25519, HKDF-SHA-256, ChaCha20-Poly1305, in chunks of 64 KiB"
MODULE = "OpenSSL, through the Python package cryptography"


def blank(consignment_id: str, day: date, *, public_key: str = "", questions: Sequence[str] = ()) -> Content:
    """The empty form of `day`, with what is the same for every shipment; `template.render` makes a file of it.

    `questions` are ids of rules, each of which gets a row to answer it in.
    """
    return Content(
        type=TYPE,
        version=1,
        consignment_id=consignment_id,
        status_as_of=day.isoformat(),
        retention_until=consistency.default_retention(day).isoformat(),
        author=Author(public_key=public_key),
        encryption=Encryption(scheme=SCHEME, module=MODULE),
        answers=[Answer(question=question) for question in questions],
    )


def new_consignment_id(year: int) -> str:
    """A random id like SL-2026-4F7K2Q: about 10^9 a year, in letters that are not mistaken."""
    import secrets

    return f"SL-{year:04d}-" + "".join(secrets.choice(_ID_LETTERS) for _ in range(6))


_ID_LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
