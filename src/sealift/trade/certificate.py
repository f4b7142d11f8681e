"""The certificate: one drive, how it was sanitized, what the drive itself confirmed, and what was read back.

    SERIAL-TIME.certificate.json        Certificate, canonical JSON
    SERIAL-TIME.certificate.json.sig    SSHSIG over it, namespace `sealift-certificate`
    SERIAL-TIME.certificate.txt         the same for people (`as_text`); it proves nothing
    SERIAL-TIME.log.jsonl               every command and its answer, bound by length and BLAKE3

What holds: there is no certificate of a failure. Its two facts, that the drive confirmed the end of its work and that
what was read back held nothing of what was there, are fields without which it does not parse; an overwritten or
discarded drive is `clear` and never `purge`, and a discarded one was read as a whole. The fields are those of NIST SP
800-88 Rev. 2, 4.6. `validation` is `accept`, or `escalate` where somebody should look before the drive goes anywhere:
always where nothing but a label says which drive it was. What is to be rejected has no certificate.
docs/spec/certificate.md says the same to the byte.

What is not here: erasing (stages/erase.py), and whether it might be done (erasure.py).
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import blake3
from msgspec import Meta

from sealift.errors import FormatError, Refused
from sealift.formats import canonical, strict
from sealift.formats.canonical import Record
from sealift.formats.manifest import Count, FileRef, Name, ShipmentId, Text  # noqa: TC001 -- msgspec reads them
from sealift.trade.receipt import State, TimeText, instant

if TYPE_CHECKING:
    from sealift.formats.allowed_signers import AllowedSigners

NAMESPACE = "sealift-certificate"
MAX_CERTIFICATE = 256 << 10
MAX_LOG = 1 << 30
_LINES = 100

Method = Literal["clear", "purge"]
Words = Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"\A[^\x00-\x1f\x7f]*\Z")]
MaybeWords = Annotated[str, Meta(max_length=1000, pattern=r"\A[^\x00-\x1f\x7f]*\Z")]
TechniqueName = Literal[
    "overwrite",
    "discard",
    "ata-security-erase",
    "ata-sanitize-block",
    "ata-sanitize-crypto",
    "ata-sanitize-overwrite",
    "nvme-sanitize-block",
    "nvme-sanitize-crypto",
    "nvme-sanitize-overwrite",
]
_TOLD = {
    "drive": "as the drive tells it",
    "contents": "as the drive.json that stood on it before names it",
    "label": "read from its label by a person",
}
CLEAR_ONLY = frozenset({"overwrite", "discard", "ata-security-erase"})


class Media(Record, frozen=True, kw_only=True):
    """The drive. `serial_from`: who said which one it is.

    `drive`: its own commands; `contents`: the drive.json that stood on it before; `label`: only a person, who read it.
    """

    manufacturer: Text
    model: Text
    serial: Name
    serial_from: Literal["drive", "contents", "label"]
    firmware: Text
    kind: Literal["hard disk", "solid state", "loop device"]
    size_bytes: Annotated[int, Meta(ge=1, le=1 << 62)]
    source: Words  # where it comes from: shipment, consignment, which drive of it


class Tool(Record, frozen=True, kw_only=True):
    """What gave the command, and what called it."""

    name: Name
    version: Name
    sealift: Name


class Completion(Record, frozen=True, kw_only=True):
    """What the drive confirmed, in its own terms."""

    confirmed_by: Words
    answer: Words


class Verification(Record, frozen=True, kw_only=True):
    """What was read back from the medium, and compared. `markers` were written before, and had to be gone."""

    mode: Literal["sample", "full"]
    result: Literal["passed"] = "passed"
    read_from: Literal["medium"] = "medium"
    places: Annotated[int, Meta(ge=1)]
    bytes: Annotated[int, Meta(ge=1)]
    of_bytes: Annotated[int, Meta(ge=1)]
    expected: Literal["zeros", "nothing of before"]
    markers: Annotated[int, Meta(ge=1)]


class Person(Record, frozen=True, kw_only=True):
    """Who did it, and signs."""

    name: Name
    title: Name
    date: TimeText
    place: Name
    contact: Name


class Delivery(Record, frozen=True, kw_only=True):
    """The receipt that permitted it: of the drive's group (None: of the whole shipment), and who signed it."""

    receipt: FileRef
    at: TimeText
    group: Count | None
    state: State
    signer: Name
    fingerprint: Name


class HoldStatement(Record, frozen=True, kw_only=True):
    """What a declaration says of a legal hold: nothing, or that there is none."""

    declaration: FileRef
    legal_hold: Literal["", "none"]
    released: bool


class HoldCheck(Record, frozen=True, kw_only=True):
    """Every declaration that was looked at, and when."""

    at: TimeText
    declarations: Annotated[list[HoldStatement], Meta(min_length=1, max_length=_LINES)]


class Certificate(Record, frozen=True, kw_only=True):
    """What the operator signs, one drive each."""

    type: Literal["sealift-certificate"] = "sealift-certificate"
    version: Literal[1] = 1
    shipment: ShipmentId
    consignment_id: Name
    rehearsal: bool
    media: Media
    method: Method
    technique: TechniqueName
    standard: Words
    tool: Tool
    begun_at: TimeText
    ended_at: TimeText
    completion: Completion
    verification: Verification
    validation: Literal["accept", "escalate"]
    validation_reasons: Annotated[list[Words], Meta(max_length=_LINES)]
    not_checked: Annotated[list[Words], Meta(min_length=1, max_length=_LINES)]
    people: Annotated[list[Person], Meta(min_length=1, max_length=10)]
    destination: MaybeWords
    delivery_verified: Delivery
    legal_hold_checked: HoldCheck
    log: FileRef


class Trusted(NamedTuple):
    """A certificate that `check_certificate` has accepted, and by whom it is signed."""

    record: Certificate
    principal: str
    fingerprint: str


def encode(record: Certificate) -> bytes:
    """Canonical bytes; what is signed. FormatError: the record contradicts itself."""
    data = canonical.encode(record)
    decode(data)
    return data


def decode(data: bytes) -> Certificate:
    """Parse and check a certificate's own consistency; FormatError otherwise. Says nothing about who signed it."""
    name = "certificate.json"
    record = canonical.decode(data, Certificate, limit=MAX_CERTIFICATE, name=name)
    strict.check_texts(record, name)
    begun, ended = instant(record.begun_at, name), instant(record.ended_at, name)
    if begun > ended or instant(record.delivery_verified.at, name) > begun:
        raise FormatError(f"{name}: it ended before it began, or began before the delivery was verified")
    if instant(record.legal_hold_checked.at, name) > begun:
        raise FormatError(f"{name}: the legal hold was looked at only after it had begun")
    for person in record.people:
        instant(person.date, name)
    if record.technique in CLEAR_ONLY and record.method != "clear":
        raise FormatError(f"{name}: {record.technique} clears; it does not purge")
    checked = record.verification
    if checked.of_bytes != record.media.size_bytes or checked.bytes > checked.of_bytes:
        raise FormatError(f"{name}: what was read back does not fit the drive's size")
    if checked.mode == "full" and checked.bytes != checked.of_bytes:
        raise FormatError(f"{name}: a full reading reads every byte")
    if record.technique == "discard" and (checked.mode, checked.expected) != ("full", "zeros"):
        raise FormatError(f"{name}: a discard counts only where every byte was read back as zero")
    if record.technique == "overwrite" and checked.expected != "zeros":
        raise FormatError(f"{name}: an overwritten drive reads back as zeros")
    if (record.validation == "escalate") != bool(record.validation_reasons):
        raise FormatError(f"{name}: it is escalated exactly if there is a reason to")
    if record.media.serial_from == "label" and record.validation != "escalate":
        raise FormatError(f"{name}: only a label says which drive it was, so it is escalated and not accepted")
    if record.delivery_verified.state not in {"intact", "rebuilt"}:
        raise FormatError(f"{name}: the delivery was not verified")
    if all(each.legal_hold != "none" for each in record.legal_hold_checked.declarations):
        raise FormatError(f"{name}: nobody said that there is no legal hold")
    return record


def check_certificate(data: bytes, signature: bytes, log: bytes, allowed: AllowedSigners) -> Trusted:
    """The certificate in `data`, if it is signed and of exactly this log.

    Raises FormatError, SignatureInvalid, Refused where the log is another one.
    """
    record = decode(data)
    signer = allowed.signer(data, signature, NAMESPACE, instant(record.ended_at, "certificate.json"))
    if (len(log), blake3.blake3(log).hexdigest()) != (record.log.bytes, record.log.blake3):
        raise Refused(f"the log is not the one that the certificate of {record.media.serial} binds")
    return Trusted(record, signer.principal, signer.fingerprint)


# --- for people ------------------------------------------------------------------------------------------


def as_text(record: Certificate, name: str) -> str:
    """The certificate as lines for people; `name` is the file of the one that counts."""
    shown = rows(record)
    width = max(len(label) for label, _ in shown)
    lines = ["CERTIFICATE OF SANITIZATION", "fields of NIST SP 800-88 Rev. 2, section 4.6", ""]
    if record.rehearsal:
        lines = ["REHEARSAL: this drive is no goods", "", *lines]
    for label, value in shown:
        wrapped = textwrap.wrap(value, 96 - width, break_on_hyphens=False) or ["-"]
        lines.append(f"{label.ljust(width)}  {wrapped[0]}")
        lines += [f"{'':{width}}  {line}" for line in wrapped[1:]]
    lines += ["", f"This text is made from {name}, which is signed and is what counts:"]
    lines.append(f"  ssh-keygen -Y verify -n {NAMESPACE} -f SIGNERS -I WHO -s {name}.sig < {name}")
    lines.append("Prepared from what the tools, the drive and the people said; not legal advice.")
    return "\n".join(lines) + "\n"


def rows(record: Certificate) -> list[tuple[str, str]]:
    """Everything that it says, as labels and values; an empty label goes on with the one before."""
    return [*_media(record), *_work(record), *_papers(record)]


def _media(record: Certificate) -> list[tuple[str, str]]:
    media = record.media
    told = _TOLD[media.serial_from]
    return [
        ("manufacturer", media.manufacturer),
        ("model", media.model),
        ("serial number", f"{media.serial} ({told})"),
        ("firmware", media.firmware),
        ("media", f"{media.kind}, {media.size_bytes:,} bytes"),
        ("source", media.source),
    ]


def _work(record: Certificate) -> list[tuple[str, str]]:
    checked = record.verification
    share = "every byte" if checked.mode == "full" else f"{checked.places:,} places drawn at random, the ends included"
    count = f"{checked.bytes:,} of {checked.of_bytes:,} bytes"
    read = f"{count} read from the {checked.read_from}, expected {checked.expected}"
    rows = [
        ("method", record.method),
        ("technique", record.technique),
        ("standard", record.standard),
        ("tool", f"{record.tool.name} {record.tool.version}, sealift {record.tool.sealift}"),
        ("begun, ended", f"{record.begun_at}, {record.ended_at}"),
        ("confirmed by", f"{record.completion.confirmed_by}: {record.completion.answer}"),
        ("verification", f"{checked.result}: {share}, {read}; {checked.markers:,} markers written before are gone"),
        ("validation", record.validation),
    ]
    rows += [("", reason) for reason in record.validation_reasons]
    rows += [("not checked" if at == 0 else "", line) for at, line in enumerate(record.not_checked)]
    return rows


def _papers(record: Certificate) -> list[tuple[str, str]]:
    delivery = record.delivery_verified
    of = "the whole shipment" if delivery.group is None else f"group {delivery.group}"
    rows = [
        ("delivery", f"{of} {delivery.state}, signed {delivery.at} by {delivery.signer} ({delivery.fingerprint})"),
        ("receipt", f"{delivery.receipt.bytes:,} bytes, BLAKE3 {delivery.receipt.blake3}"),
    ]
    for each in record.legal_hold_checked.declarations:
        said = "no legal hold" if each.legal_hold else "nothing of a legal hold"
        where = f"in the declaration with BLAKE3 {each.declaration.blake3}, looked at {record.legal_hold_checked.at}"
        rows.append(("legal hold", f"{said}, {where}"))
    rows.append(("destination", record.destination))
    rows += [("by", f"{p.name}, {p.title}, {p.place}, {p.date}; {p.contact}") for p in record.people]
    rows.append(("log", f"{record.log.bytes:,} bytes, BLAKE3 {record.log.blake3}"))
    return rows
