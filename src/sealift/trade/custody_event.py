"""One event of custody, the signatures under it, and the checkpoint that stands for a whole log.

    DIGEST.json           CustodyEvent, canonical JSON; DIGEST is the BLAKE3 of its bytes, and the event's id
    DIGEST-SIGNED.sig     SSHSIG over it, namespace `sealift-custody`; SIGNED begins the BLAKE3 of the signature file

What holds of an event that `decode` returns: it names the newest events that its writer had seen, by digest, so that
its own digest stands for all of them; both sides are named, each with a key or with the photograph of a paper that
was signed by hand, at least one of them with a key; where drives change hands the two sides are two; no drive is in
it twice; it is about drives, or says which keys were issued to whom. Nothing is said of whether it is true, signed or
in place: custody.py looks at that.

What is not here: files (stages/custody_log.py), clocks, what people fill in (custody_form.py), docs/spec/custody.md
says the same to the byte.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Literal, NamedTuple

from blake3 import blake3
from msgspec import UNSET, Meta, UnsetType

from sealift.errors import BadInput, FormatError
from sealift.formats import canonical, strict
from sealift.formats.canonical import Record
from sealift.formats.manifest import FileRef, Name, ShipmentId  # noqa: TC001 -- msgspec reads the annotations
from sealift.formats.unlock import KeyCount, Recipients, Time  # noqa: TC001 -- the same

NAMESPACE = "sealift-custody"
MAX_EVENT = 2 << 20  # bytes; 10,000 serial numbers of 64 characters take 1.2 MiB
MAX_NEWEST = 1_000  # events that one event names as the newest, as many as there may be carriers
MAX_ITEMS = 1_000
MAX_SERIALS = 10_000  # of all items, as many as a declaration has drives
MAX_PHOTOS = 100
MAX_RESOLVES = 1_000
MAX_COUNT = 10_000  # events of a log
MAX_SHOWN_NEWEST = 16  # newest events of a checkpoint that goes into one QR code
TIME = "%Y-%m-%dT%H:%M:%SZ"

EventType = Literal[
    "seal", "handover", "customs_inspection", "load", "arrive", "unseal", "verify", "discrepancy", "return", "unlock"
]
PASSING: frozenset[str] = frozenset({"handover", "return", "arrive", "customs_inspection"})  # from hand to hand
SealClass = Literal["", "I", "S", "H"]
SealChecked = Literal["intact", "broken", "missing", "not_checked", "no_seal"]
Condition = Literal["good", "damaged", "not_checked"]
Shock = Literal["none", "clear", "tripped"]
HashSample = Literal["not_taken", "match", "mismatch"]

Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Line = Annotated[
    str, Meta(min_length=1, max_length=500, pattern=r"\A[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*\Z")
]
MaybeLine = Annotated[str, Meta(max_length=500, pattern=r"\A[^\x00-\x1f\x7f]*\Z")]
SealNumber = Annotated[str, Meta(max_length=64, pattern=r"\A[ -~]*\Z")]
Serial = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"\A[!-~]*\Z")]
ConsignmentId = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{2,63}\Z")]
Zone = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"\A[A-Za-z0-9_+:/-]*\Z")]
MaybeFingerprint = Annotated[str, Meta(pattern=r"\A(SHA256:[A-Za-z0-9+/]{43})?\Z")]
MaybeSha256 = Annotated[str, Meta(pattern=r"\A([0-9a-f]{64})?\Z")]


class Checkpoint(Record, frozen=True, kw_only=True):
    """A log, or what its writer had of it: how many events, and the digests of the newest, sorted.

    The newest are those that no other event of the log names. Their digests stand for every event behind them.
    """

    events: Annotated[int, Meta(ge=0, le=MAX_COUNT)]
    newest: Annotated[list[Digest], Meta(max_length=MAX_NEWEST)]


class Party(Record, frozen=True, kw_only=True):
    """One side: a person, and either the key with which they sign or the photograph of what they signed by hand."""

    name: Line
    org: Line
    id_kind: Line
    key_fingerprint: MaybeFingerprint
    paper_sha256: MaybeSha256

    def same(self, other: Party) -> bool:
        """True if it is the same person, by key where both have one, else by name and organisation."""
        if self.key_fingerprint and other.key_fingerprint:
            return self.key_fingerprint == other.key_fingerprint
        return self.person == other.person

    @property
    def person(self) -> tuple[str, str]:
        """Name and organisation, but for case and spaces."""
        return " ".join(self.name.casefold().split()), " ".join(self.org.casefold().split())

    @property
    def words(self) -> str:
        """Name and organisation."""
        return f"{self.name} ({self.org})"


class Item(Record, frozen=True, kw_only=True):
    """Drives that travel under one seal, and what was found of it; numbers are as they stand on the seals."""

    serials: Annotated[list[Serial], Meta(min_length=1, max_length=MAX_SERIALS)]
    seal_before: SealNumber
    seal_after: SealNumber
    seal_class: SealClass
    seal_checked: SealChecked
    condition: Condition
    shock_indicator: Shock


class Unlocked(Record, frozen=True, kw_only=True):
    """Keys of a shipment's packs that were issued to a job: `file` is the issued file, `seal` the seal.json."""

    shipment: ShipmentId
    seal: FileRef
    job: Name
    recipients: Recipients
    valid_until: Time
    keys: KeyCount
    file: FileRef


class CustodyEvent(Record, frozen=True, kw_only=True):
    """What both sides sign."""

    type: Literal["sealift-custody-event"] = "sealift-custody-event"
    version: Literal[1] = 1
    consignment_id: ConsignmentId
    log_checkpoint: Checkpoint
    event_type: EventType
    at_utc: Annotated[str, Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")]
    local_timezone: Zone
    place: Line
    released_by: Party
    received_by: Party
    reason: Line
    items: Annotated[list[Item], Meta(max_length=MAX_ITEMS)]
    photo_sha256: Annotated[list[Digest], Meta(max_length=MAX_PHOTOS)]
    hash_sample_result: HashSample
    officer_ref: MaybeLine
    inspection_opened: bool
    resolves: Annotated[list[Digest], Meta(max_length=MAX_RESOLVES)]
    unlock: Unlocked | UnsetType = UNSET  # there in an unlock, and in nothing else

    @property
    def serials(self) -> list[str]:
        """Serial numbers of all items, in their order."""
        return [serial for item in self.items for serial in item.serials]

    @property
    def changes_hands(self) -> bool:
        """The two sides are two persons; else it is one person's statement, and one signature is all of them."""
        return not self.released_by.same(self.received_by)

    @property
    def passes(self) -> bool:
        """Whoever received has the drives afterwards; by an event of another kind nobody comes to have them."""
        return self.event_type in PASSING

    @property
    def moves(self) -> bool:
        """It takes part in the chain of its drives; a discrepancy only says something, and an unlock is of no drive."""
        return self.event_type not in {"discrepancy", "unlock"}

    @property
    def at(self) -> datetime:
        """When it says that it happened; FormatError when there is no such time."""
        try:
            return datetime.strptime(self.at_utc, TIME).replace(tzinfo=UTC)
        except ValueError as error:
            raise FormatError(f"custody event: there is no time {self.at_utc!r}") from error


class Entry(NamedTuple):
    """An event with its exact bytes and its digest."""

    digest: str
    event: CustodyEvent
    data: bytes


def digest_of(data: bytes) -> str:
    """BLAKE3 in hexadecimal."""
    return blake3(data).hexdigest()


def encode(event: CustodyEvent) -> Entry:
    """The event in its canonical bytes, decoded once more; FormatError for one that breaks a rule."""
    data = canonical.encode(event)
    return Entry(digest_of(data), decode(data), data)


def decode(data: bytes) -> CustodyEvent:
    """Parse the canonical bytes of an event, and check what it says against itself; FormatError otherwise."""
    event = canonical.decode(data, CustodyEvent, limit=MAX_EVENT, name="custody event")
    if fault := next(iter(faults(event)), None):
        raise FormatError(f"custody event: {fault}")
    return event


def faults(event: CustodyEvent, *, on_paper_first: bool = False) -> list[str]:
    """Everything in which a well-typed event contradicts itself, by field.

    With `on_paper_first` a side without a key may lack the photograph: the paper is yet to be signed.
    """
    found = _unprintable(event)
    try:
        _ = event.at
    except FormatError:
        found.append(f"at_utc: there is no time {event.at_utc!r}")
    seen = event.log_checkpoint
    if seen.newest != sorted(set(seen.newest)) or bool(seen.newest) != bool(seen.events):
        found.append("log_checkpoint.newest: not the digests of the newest events, sorted, each once")
    elif seen.events < len(seen.newest):
        found.append("log_checkpoint.events: fewer than the newest")
    sides = {"released_by": event.released_by, "received_by": event.received_by}
    for name, side in sides.items():
        neither = not side.key_fingerprint and not side.paper_sha256
        if (neither and not on_paper_first) or (side.key_fingerprint and side.paper_sha256):
            found.append(f"{name}: either a key or the photograph of a signature on paper is wanted, and not both")
    if not any(side.key_fingerprint for side in sides.values()):
        found.append("released_by: neither side has a key, and somebody must sign with one")
    if event.event_type in {"handover", "return"} and not event.changes_hands:
        found.append("received_by: in a handover or return drives go to another person")
    if not event.changes_hands and event.released_by != event.received_by:
        found.append("received_by: is the person who released them, and said otherwise")
    if event.resolves != sorted(set(event.resolves)):
        found.append("resolves: not sorted, each once")
    if event.photo_sha256 != sorted(set(event.photo_sha256)):
        found.append("photo_sha256: not sorted, each once")
    if bool(event.officer_ref) != (event.event_type == "customs_inspection"):
        found.append("officer_ref: belongs to a customs inspection, which must have it")
    if event.inspection_opened and event.event_type != "customs_inspection":
        found.append("inspection_opened: belongs to a customs inspection")
    if event.event_type == "verify" and event.hash_sample_result == "not_taken":
        found.append("hash_sample_result: match or mismatch is wanted of a verification")
    return found + _items(event) + _unlock(event)


def _unlock(event: CustodyEvent) -> list[str]:
    said = event.unlock
    if (event.event_type == "unlock") != bool(said):
        return ["unlock: belongs to an unlock, which must have it"]
    found = []
    if bool(event.items) == bool(said):
        found.append("items: at least one is wanted" if not said else "items: keys are of a shipment, and of no drive")
    if not said:
        return found
    if event.changes_hands:
        found.append("received_by: an unlock is one person's statement, who issues the keys")
    if said.recipients != sorted(set(said.recipients)):
        found.append("unlock.recipients: not sorted, each once")
    try:
        datetime.strptime(said.valid_until, TIME).replace(tzinfo=UTC)
    except ValueError:
        found.append(f"unlock.valid_until: there is no time {said.valid_until!r}")
    if said.valid_until <= event.at_utc:
        found.append("unlock.valid_until: before the keys were issued")
    return found


def _items(event: CustodyEvent) -> list[str]:
    found = []
    if len(event.serials) > MAX_SERIALS:
        found.append(f"items: {len(event.serials):,} drives; at most {MAX_SERIALS:,} are allowed")
    row_of: dict[str, int] = {}
    for number, item in enumerate(event.items, start=1):
        where = f"items[{number}]"
        for serial in item.serials:
            if serial in row_of:
                found.append(f"{where}.serials: {serial} is in items[{row_of[serial]}] too")
            row_of.setdefault(serial, number)
        if (item.seal_checked == "no_seal") != (not item.seal_before):
            found.append(f"{where}.seal_checked: no_seal is for drives without a seal before, and for no others")
        if event.event_type == "seal" and not item.seal_after:
            found.append(f"{where}.seal_after: the number of the new seal is wanted")
        if event.event_type == "unseal" and item.seal_after:
            found.append(f"{where}.seal_after: an unsealing leaves no seal")
    return found


def _unprintable(event: CustodyEvent) -> list[str]:
    texts = {"place": event.place, "reason": event.reason, "officer_ref": event.officer_ref}
    texts |= {"unlock.job": event.unlock.job} if event.unlock else {}
    for side in ("released_by", "received_by"):
        party: Party = getattr(event, side)
        texts |= {f"{side}.name": party.name, f"{side}.org": party.org, f"{side}.id_kind": party.id_kind}
    return [
        f"{name}: holds the character U+{ord(bad):04X}; one line of printable text is wanted"
        for name, text in texts.items()
        if (bad := strict.unprintable(text))
    ]


# --- the checkpoint as a line of text, in a QR code -------------------------------------------------------

_QR = re.compile(r"\ASEALIFT-CUSTODY:1:([A-Za-z0-9][A-Za-z0-9._-]{2,63}):(0|[1-9][0-9]{0,4})((?::[0-9A-F]{64})*)\Z")


def qr_text(consignment_id: str, checkpoint: Checkpoint) -> str:
    """The text of the QR code: SEALIFT-CUSTODY:1:ID:EVENTS:NEWEST, digests in capitals and joined by colons.

    Capitals, digits and these signs are what a QR code holds in its compact alphanumeric mode (ISO/IEC 18004, 7.3.4).
    Raises BadInput when there are more than MAX_SHOWN_NEWEST newest events.
    """
    if len(checkpoint.newest) > MAX_SHOWN_NEWEST:
        raise BadInput(
            f"the log has {len(checkpoint.newest)} newest events, too many for one QR code",
            hint="the next event joins them: record one, and the checkpoint is that event's digest",
        )
    return ":".join(
        ["SEALIFT-CUSTODY", "1", consignment_id, str(checkpoint.events), *(each.upper() for each in checkpoint.newest)]
    )


def parse_qr_text(text: str) -> tuple[str, Checkpoint]:
    """Consignment and checkpoint of a QR code's text; BadInput unless it is exactly what `qr_text` writes."""
    found = _QR.match(text)
    digests = found[3].lower().split(":")[1:] if found else []
    wrong = not found or digests != sorted(set(digests)) or len(digests) > MAX_SHOWN_NEWEST
    if not found or wrong or bool(digests) != (found[2] != "0") or not len(digests) <= int(found[2]) <= MAX_COUNT:
        raise BadInput(
            f"{text[:80]!r} is no checkpoint of a custody log",
            hint="it is the text of the QR code: SEALIFT-CUSTODY:1:CONSIGNMENT:EVENTS:DIGEST",
        )
    return found[1], Checkpoint(events=int(found[2]), newest=digests)
