"""The declaration: who ships what to whom, for what use, on which drives, carried by whom.

A declaration is a TOML file that people fill in; it is bound as its exact bytes (`digest` is their BLAKE3),
so it has no canonical form, and every change, of a comment too, makes it another declaration. One shipment
has one declaration. What holds:

- `parse` accepts a file only when every value is of its type and within its limits and no field is unknown;
  it names all faults at once. A draft may have empty fields; `problems` names everything that a full one
  still wants.
- Every party is required: shipper, consignee, end user, and of each its ultimate parent and the parent's
  country.
- A return leg names the outbound shipment that it answers; an outbound one may name who may answer it (homeward.py).
- There is no monetary value and no threshold here: the record has no field for either.
- One number means one thing: rows are counted from 1, as on labels, so drives[3] is "drive 3 of N".

What is not here: files, signatures (release.py), sheets (sheets.py), labels (labels.py), screening. The software
records statements and gives no legal advice.
"""

from __future__ import annotations

import re
import secrets
from typing import Annotated, Any, Literal

import blake3
import msgspec
from msgspec import Meta, Struct, field

from sealift.errors import DeclarationInvalid, KeyInvalid
from sealift.formats import seal, sshsig, strict
from sealift.trade import homeward
from sealift.trade.template import HELP, render

MAX_BYTES = 1 << 20
MAX_DRIVES = 10_000
MAX_CARRIERS = 1_000

TYPE: Literal["sealift-declaration"] = "sealift-declaration"
LEGS = ("outbound", "return")
END_USE_CLASSES = ("training", "fine-tuning", "evaluation", "inference", "storage", "other")
PERSONAL_DATA = ("none", "some", "sensitive")
# ISO 3166-1 alpha-2, the 249 codes officially assigned
_CODES = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW
BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI
FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN
IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME
MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF
PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV
SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE
YT ZA ZM ZW
"""
COUNTRIES = frozenset(_CODES.split())

Text = Annotated[str, Meta(max_length=500)]
LongText = Annotated[str, Meta(max_length=4000)]
KeyText = Annotated[str, Meta(max_length=sshsig.MAX_KEY_LINE)]
Id = Annotated[str, Meta(max_length=64, pattern=r"\A([A-Za-z0-9][A-Za-z0-9._-]{2,63})?\Z")]
CarrierName = Annotated[str, Meta(max_length=64, pattern=r"\A[^,=]*\Z")]  # as in --carrier NAME=MNT,MNT
Serial = Annotated[str, Meta(max_length=64, pattern=r"\A[!-~]*\Z")]
Country = Annotated[str, Meta(max_length=2)]
KeyLine = Annotated[str, Meta(max_length=strict.MAX_LINE)]
Bytes = Annotated[int, Meta(ge=0, le=1 << 62)]

NO_HOLD = "none"  # of legal_hold

OPTIONAL = frozenset({"rehearsal", "in_reply_to", "other_shipments", "legal_hold", "carriers.legal_name"})


class _Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the tables of a declaration; every field may be empty in a draft."""


class Author(_Section, frozen=True, kw_only=True):
    """Who wrote the declaration; releases by this key are refused."""

    name: Text = ""
    email: Text = ""
    public_key: KeyText = ""


class Party(_Section, frozen=True, kw_only=True):
    """A company or person of the shipment."""

    legal_name: Text = ""
    address: Text = ""
    country: Country = ""
    contact: Text = ""
    ultimate_parent: Text = ""
    parent_hq_country: Country = ""


class EndUse(_Section, frozen=True, kw_only=True):
    """What the data and the drives are used for."""

    text: LongText = ""
    class_: Literal["", "training", "fine-tuning", "evaluation", "inference", "storage", "other"] = field(
        default="", name="class"
    )


class Carrier(_Section, frozen=True, kw_only=True):
    """Who carries some of the drives; `legal_name` where the name is not already one."""

    name: CarrierName = ""
    legal_name: Text = ""
    contact: Text = ""
    country: Country = ""


class Drive(_Section, frozen=True, kw_only=True):
    """One drive, by its serial number."""

    serial: Serial = ""
    carrier: CarrierName = ""
    capacity_bytes: Bytes = 0
    make: Text = ""
    model: Text = ""


class DataSummary(_Section, frozen=True, kw_only=True):
    """What is on the drives."""

    summary: LongText = ""
    licence_basis: LongText = ""
    personal_data: Literal["", "none", "some", "sensitive"] = ""
    source_bytes: Bytes = 0


class Return(_Section, frozen=True, kw_only=True):
    """Of an outbound shipment: for whom the leg home is encrypted, and whose signatures on it are accepted."""

    recipients: Annotated[list[KeyLine], Meta(max_length=seal.MAX_RETURN)] = []
    signers: Annotated[list[KeyLine], Meta(max_length=seal.MAX_RETURN)] = []  # PRINCIPAL KEYTYPE KEY


class Content(_Section, frozen=True, kw_only=True):
    """Everything a declaration says, in the order of the file."""

    type: Literal["sealift-declaration"]
    version: Literal[1]
    consignment_id: Id = ""
    rehearsal: bool = False
    leg: Literal["", "outbound", "return"] = ""
    in_reply_to: Id = ""
    other_shipments: Annotated[list[Id], Meta(max_length=1000)] = []
    legal_hold: Text = ""
    author: Author = Author()
    shipper: Party = Party()
    consignee: Party = Party()
    end_user: Party = Party()
    end_use: EndUse = EndUse()
    data: DataSummary = DataSummary()
    return_: Return = field(default=Return(), name="return")
    carriers: Annotated[list[Carrier], Meta(max_length=MAX_CARRIERS)] = []
    drives: Annotated[list[Drive], Meta(max_length=MAX_DRIVES)] = []


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
        return blake3.blake3(self.raw).hexdigest()

    @property
    def capacity_bytes(self) -> int:
        """Capacity of all drives together."""
        return sum(drive.capacity_bytes for drive in self.drives)

    def serials_of(self, carrier: str) -> list[str]:
        """Serial numbers of the drives of `carrier`, in the order of the declaration."""
        return [drive.serial for drive in self.drives if drive.carrier == carrier]


# --- reading ---------------------------------------------------------------------------------------------


def parse(data: bytes, *, draft: bool) -> Declaration:
    """The declaration in a file's bytes. A draft may leave fields empty; a full one must be complete.

    Raises DeclarationInvalid whose `problems` names every fault at once.
    """
    declaration, faults = _read(data) if draft else review(data)
    if faults or declaration is None:
        raise _invalid(faults)
    return declaration


def review(data: bytes) -> tuple[Declaration | None, list[str]]:
    """What can be read of a file, and everything that keeps it from being complete; never raises.

    The declaration is None when the bytes are not TOML at all.
    """
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
    return ""


# --- completeness ----------------------------------------------------------------------------------------


def problems(declaration: Content) -> list[str]:
    """Everything that a well-typed declaration still wants, each with its path."""
    found: list[str] = []
    _empties(declaration, "", found)
    for name in ("shipper", "consignee", "end_user"):
        party: Party = getattr(declaration, name)
        _country(f"{name}.country", party.country, found)
        _country(f"{name}.parent_hq_country", party.parent_hq_country, found)
    author = declaration.author
    if author.public_key:
        try:
            sshsig.parse_public_key(author.public_key)
        except KeyInvalid as error:
            found.append(f"author.public_key: {error}")
    if author.email and not re.fullmatch(r"[^@\s]+@[^@\s]+", author.email):
        found.append(f"author.email: {author.email!r} is no e-mail address")
    if declaration.consignment_id in declaration.other_shipments:
        found.append("other_shipments: names this shipment itself")
    _leg(declaration, found)
    _carriers(declaration, found)
    _drives(declaration, found)
    return found


def _empties(section: Struct, path: str, found: list[str]) -> None:
    for item in msgspec.structs.fields(section):
        value, where = getattr(section, item.name), path + item.encode_name
        if isinstance(value, Struct):
            _empties(value, where + ".", found)
        elif isinstance(value, list) and where in {"carriers", "drives"}:
            if not value:
                found.append(f"{where}: none; at least one [[{where}]] is wanted")
            for number, row in enumerate(value, start=1):
                _empties(row, f"{where}[{number}].", found)
        elif _ROW.sub("", where) not in OPTIONAL and (value == 0 or (isinstance(value, str) and not value.strip())):
            found.append(f"{where}: empty; {HELP[_ROW.sub('', where)].want}")


_ROW = re.compile(r"\[\d+\]")


def _country(where: str, code: str, found: list[str]) -> None:
    if code and code not in COUNTRIES:
        found.append(f"{where}: {code!r} is no country of ISO 3166; wants two capital letters, such as DE")


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
    seen: dict[str, int] = {}
    carrying = {drive.carrier for drive in declaration.drives}
    for number, carrier in enumerate(declaration.carriers, start=1):
        where = f"carriers[{number}]"
        _country(f"{where}.country", carrier.country, found)
        if not carrier.name:
            continue
        if carrier.name.casefold() in seen:
            found.append(f"{where}.name: {carrier.name!r} is the name of carriers[{seen[carrier.name.casefold()]}] too")
        elif declaration.drives and carrier.name not in carrying:
            found.append(f"{where}.name: {carrier.name!r} carries no drive")
        seen.setdefault(carrier.name.casefold(), number)


def _drives(declaration: Content, found: list[str]) -> None:
    names = [carrier.name for carrier in declaration.carriers if carrier.name]
    choice = f"one of {', '.join(names[:20])}" if names else "there are none yet"
    known = set(names)
    seen: dict[str, int] = {}
    for number, drive in enumerate(declaration.drives, start=1):
        where = f"drives[{number}]"
        if drive.carrier and drive.carrier not in known:
            found.append(f"{where}.carrier: {drive.carrier!r} is no carrier; {choice}")
        if drive.serial and drive.serial.casefold() in seen:
            found.append(f"{where}.serial: {drive.serial!r} is that of drives[{seen[drive.serial.casefold()]}] too")
        seen.setdefault(drive.serial.casefold(), number)


# --- writing ---------------------------------------------------------------------------------------------


def template(consignment_id: str, *, public_key: str = "") -> str:
    """The empty form, every field explained, with the shipment's id and the author's key if given.

    A filled form is written by `render` of a Content.
    """
    author = Author(public_key=public_key)
    return render(Content(type=TYPE, version=1, consignment_id=consignment_id, author=author))


def new_consignment_id(year: int) -> str:
    """A random id like SL-2026-4F7K2Q: about 10^9 a year, in letters that are not mistaken."""
    return f"SL-{year:04d}-" + "".join(secrets.choice(_ID_LETTERS) for _ in range(6))


_ID_LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
