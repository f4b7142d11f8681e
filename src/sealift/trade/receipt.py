"""The receipt: the receiver's signed statement of what was verified, drive by drive and group by group.

    NAME.receipt.json        ReceiptRecord, canonical JSON
    NAME.receipt.json.sig    SSHSIG over it, namespace `sealift-receipt`

    intact    every byte was read, and is as it was signed
    rebuilt   of a drive: something was wrong or the drive did not come, and it was made again and verified;
              of a group: not all its drives are intact, and every byte of data can be had all the same: it was read
              and is as it was signed, or parity gives it from bytes that were
    lost      it did not come or is damaged, and was not made again; of a group: some data cannot be had
    unseen    nobody has read enough of it yet to say

A drive that was made again on another medium is none that came: `made_on` says so, of what was read in its place.

What holds of a Receipt that `check_receipt` returns: it is canonical and consistent, and an allowed signer signed it in
its namespace, with a key that was valid at the time that it states. It speaks of the groups that it names and of no
others; it covers the shipment where it names all of them. Of each drive it says when it was read; what became of the
drive since, nobody has said. Of several receipts `newest` says which one counts for a group. docs/spec/receipt.md says
the same to the byte.

What is not here: verifying and making one (stages/receive.py), and what it permits (erasure.py, source_release.py).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import blake3
from msgspec import UNSET, Meta, UnsetType

from sealift.errors import BadInput, FormatError
from sealift.formats import canonical, manifest, strict, typed
from sealift.formats.canonical import Record
from sealift.formats.manifest import Count, DriveId, FileRef, Name, ShipmentId, Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sealift.formats.allowed_signers import AllowedSigners, Person

NAMESPACE = "sealift-receipt"
MAX_RECEIPT = 64 << 20
MAX_GROUPS = 100_000
MAX_REPORTS = 1_000
MAX_TEXT = 256  # characters, as of a name in a manifest
TIME = "%Y-%m-%dT%H:%M:%SZ"

State = Literal["intact", "rebuilt", "lost", "unseen"]
ReadFrom = Literal["medium", "cache", "network"]
WEAKEST = ("network", "cache", "medium")  # first what says least of the medium itself
VERIFIED = frozenset({"intact", "rebuilt"})
_LEAST = ("lost", "unseen", "rebuilt", "intact")  # of two receipts of one second, what says less counts
TimeText = Annotated[str, Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")]
MaybeTime = Annotated[str, Meta(pattern=r"\A([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?\Z")]
_Width = Annotated[int, Meta(ge=0, le=manifest.MAX_DRIVES)]


class Receiver(Record, frozen=True, kw_only=True):
    """Who says it."""

    name: Name
    organisation: Name
    contact: Name


class ReceiptDrive(Record, frozen=True, kw_only=True):
    """One drive of a group, in the order of slots."""

    id: DriveId
    number: Annotated[int, Meta(ge=1)]
    serial: Name
    state: State
    read_at: MaybeTime  # when its last byte was read; empty: nobody has read it
    # that came from the medium past every cache, through a cache of the host where it is mounted, or over a network
    read_from: ReadFrom | UnsetType = UNSET  # not there: nobody has read it, or said how
    made_on: Text | UnsetType = UNSET  # another medium was read in its place: the serial that it tells, or ""

    @property
    def came(self) -> bool:
        """It was read itself, and is as it was signed, be it mended."""
        return self.state in VERIFIED and self.made_on is UNSET

    @property
    def remade(self) -> bool:
        """Its data is there and verified, on another medium: of the drive itself this says nothing."""
        return self.state in VERIFIED and self.made_on is not UNSET


class ReceiptGroup(Record, frozen=True, kw_only=True):
    """One group: of which manifest, and what became of its data."""

    group: Count
    manifest: FileRef
    data: Annotated[int, Meta(ge=1, le=manifest.MAX_DRIVES)]
    parity: _Width
    state: State
    drives: Annotated[list[ReceiptDrive], Meta(min_length=1, max_length=manifest.MAX_DRIVES)]


class ReceiptRecord(Record, frozen=True, kw_only=True):
    """What the receiver signs."""

    type: Literal["sealift-receipt"] = "sealift-receipt"
    version: Literal[1] = 1
    shipment: ShipmentId
    consignment_id: Name
    rehearsal: bool
    declaration: FileRef
    seal: FileRef
    received_by: Receiver
    at: TimeText
    reports: Annotated[list[FileRef], Meta(min_length=1, max_length=MAX_REPORTS)]
    groups_total: Annotated[int, Meta(ge=1, le=MAX_GROUPS)]
    drives_total: Annotated[int, Meta(ge=1)]
    groups: Annotated[list[ReceiptGroup], Meta(min_length=1, max_length=MAX_GROUPS)]


class Receipt(NamedTuple):
    """A receipt that `check_receipt` has accepted, by whom it is signed, and length and digest of its bytes."""

    record: ReceiptRecord
    principal: str
    fingerprint: str
    person: Person
    file: FileRef

    @property
    def at(self) -> datetime:
        """When it says that it was made."""
        return instant(self.record.at, "receipt.json")


def person(name: str, organisation: str, contact: str) -> Receiver:
    """Who says it; BadInput for a text that is not one line, or empty."""
    values = {"name": name, "organisation": organisation, "contact": contact}
    for field, text in values.items():
        if strict.unprintable(text) or not text.strip() or len(text) > MAX_TEXT:
            raise BadInput(f"{field}: one line of printable text is wanted, of at most {MAX_TEXT} characters")
    return typed.convert(values, Receiver)


def encode(record: ReceiptRecord) -> bytes:
    """Canonical bytes; what is signed. FormatError: the record contradicts itself."""
    data = canonical.encode(record)
    decode(data)
    return data


def decode(data: bytes) -> ReceiptRecord:
    """Parse and check a receipt's own consistency; FormatError otherwise. Says nothing about who signed it."""
    record = canonical.decode(data, ReceiptRecord, limit=MAX_RECEIPT, name="receipt.json")
    strict.check_texts(record, "receipt.json")
    instant(record.at, "receipt.json")
    digests = [each.blake3 for each in record.reports]
    if digests != sorted(set(digests)):
        raise FormatError("receipt.json: the reports are not sorted by digest, each once")
    numbers = [group.group for group in record.groups]
    if numbers != sorted(set(numbers)) or numbers[-1] >= record.groups_total:
        raise FormatError("receipt.json: groups are not in order, or there are more than the shipment has")
    for group in record.groups:
        _check(group, record.at)
    drives = [drive for group in record.groups for drive in group.drives]
    if len({drive.serial.casefold() for drive in drives}) != len(drives):
        raise FormatError("receipt.json: two drives have the same serial")
    if len({drive.number for drive in drives}) != len(drives) or len(drives) > record.drives_total:
        raise FormatError("receipt.json: two drives have the same number, or there are more than the shipment has")
    if any(drive.number > record.drives_total for drive in drives):
        raise FormatError("receipt.json: a drive's number is beyond the drives of the shipment")
    return record


def _check(group: ReceiptGroup, at: str) -> None:
    where = f"receipt.json: group {group.group}"
    if len(group.drives) != group.data + group.parity:
        raise FormatError(f"{where}: its drives do not fit its geometry")
    if [drive.id for drive in group.drives] != [manifest.drive_id(group.group, s) for s in range(len(group.drives))]:
        raise FormatError(f"{where}: its drives are not in the order of their slots")
    if (group.state == "intact") != all(drive.state == "intact" for drive in group.drives):
        raise FormatError(f"{where}: a group is intact exactly if all its drives are")
    for drive in group.drives:
        if drive.read_at and not instant(drive.read_at, "receipt.json") <= instant(at, "receipt.json"):
            raise FormatError(f"{where}: {drive.id} was read after the receipt was made")
        if (drive.state in VERIFIED and not drive.read_at) or (drive.state == "unseen" and drive.read_at):
            raise FormatError(f"{where}: {drive.id} is {drive.state}, and when it was read says otherwise")
        if drive.read_from is not UNSET and not drive.read_at:
            raise FormatError(f"{where}: nobody has read {drive.id}, and it says how")
        if drive.made_on is not UNSET and (drive.state not in {"rebuilt", "lost"} or not drive.read_at):
            raise FormatError(f"{where}: {drive.id} is {drive.state}, and made again on another medium")
        if drive.made_on is not UNSET and drive.made_on.casefold() == drive.serial.casefold():
            raise FormatError(f"{where}: {drive.id} was made again on another medium, which is itself")


def check_receipt(data: bytes, signature: bytes, allowed: AllowedSigners) -> Receipt:
    """The receipt in `data`, if an allowed signer signed it. FormatError, SignatureInvalid."""
    record = decode(data)
    signer = allowed.signer(data, signature, NAMESPACE, instant(record.at, "receipt.json"))
    file = FileRef(bytes=len(data), blake3=blake3.blake3(data).hexdigest())
    return Receipt(record, signer.principal, signer.fingerprint, signer.person, file)


def is_whole(record: ReceiptRecord) -> bool:
    """Whether it covers every group of the shipment, each verified."""
    return len(record.groups) == record.groups_total and all(group.state in VERIFIED for group in record.groups)


def newest(receipts: Iterable[Receipt]) -> dict[int, tuple[Receipt, ReceiptGroup]]:
    """By number of the group: the receipt that speaks of it last, and what it says; in whatever order they come."""
    found: dict[int, tuple[Receipt, ReceiptGroup]] = {}
    for receipt in sorted(receipts, key=lambda each: (each.record.at, each.file.blake3)):
        for group in receipt.record.groups:
            other = found.get(group.group)
            same = other is not None and other[0].record.at == receipt.record.at
            if other is None or not same or _LEAST.index(group.state) < _LEAST.index(other[1].state):
                found[group.group] = (receipt, group)
    return found


def instant(text: str, name: str) -> datetime:
    """The time in a record; FormatError when there is no such time."""
    try:
        return datetime.strptime(text, TIME).replace(tzinfo=UTC)
    except ValueError as error:
        raise FormatError(f"{name}: there is no time {text!r}") from error
