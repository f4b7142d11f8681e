"""The release of the source: the origin's signed statement that what it kept of a shipment may be freed.

    NAME.source-release.json        SourceReleaseRecord, canonical JSON
    NAME.source-release.json.sig    SSHSIG over it, namespace `sealift-source-release`

The source is not to be freed before the receiver's signed receipts say that everything was verified. `objections` says
what is wrong with the papers, `lacking` which groups are not there, and only where both are empty there is anything to
sign:

1. Every receipt is of this shipment, consignment and declaration, and of exactly this seal: the groups and drives that
   it names are the seal's.
2. None is older than the seal by more than two clocks may differ, and none is from the future.
3. None is signed by the declaration's author, by who sealed or released, or by anybody else whom a record that is at
   hand binds to the origin, with whichever of their keys: the origin cannot receive from itself (persons.py).
4. The declaration that the seal binds states no legal hold. The seal states no shortfall, or whoever signs accepts it:
   what was not packed, or not as it was, only the source has.
5. Of every group the newest receipt says of every drive that it is intact or rebuilt. A drive that is lost though
   parity has what it held is not verified: nobody has made it again, and until somebody has, the source is the only
   other copy.

What holds of a SourceRelease that `check_source_release` returns: it is canonical and consistent, names for every group
the receipt that counts, and an allowed signer signed it, none of those who signed these, with whichever key. Whether
the receipts are what it says they are, `objections` and `lacking` tell whoever has them. docs/spec/source-release.md
says the same to the byte.

What is not here: signatures of receipts (receipt.py has checked them), files, and freeing anything: sealift deletes no
source.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import blake3
from msgspec import UNSET, Meta, UnsetType

from sealift.errors import FormatError, Refused
from sealift.formats import canonical, strict
from sealift.formats.canonical import Record
from sealift.formats.manifest import Count, FileRef, Name, ShipmentId
from sealift.formats.seal import Shortfall  # noqa: TC001 -- msgspec reads the fields
from sealift.trade import clocks, persons
from sealift.trade.declaration import NO_HOLD
from sealift.trade.receipt import MAX_GROUPS, VERIFIED, WEAKEST, Receiver, TimeText, instant, newest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sealift.formats.allowed_signers import AllowedSigners, Person
    from sealift.formats.seal import Seal, SealGroup
    from sealift.trade.declaration import Declaration
    from sealift.trade.persons import Origin
    from sealift.trade.receipt import Receipt, ReceiptGroup

NAMESPACE = "sealift-source-release"
AHEAD = "is still to come: a clock is wrong"  # ends an objection to a receipt
ONLY_THERE = "that is nowhere but there"  # ends an objection to what the seal says was not sent
MAX_SOURCE_RELEASE = 8 << 20
MAX_RECEIPTS = 1_000
_NAME = "source-release.json"

Fingerprint = Annotated[str, Meta(pattern=r"\ASHA256:[A-Za-z0-9+/]{43}\Z")]


class CountedReceipt(Record, frozen=True, kw_only=True):
    """A receipt that counts: its bytes, when and by whom, and the groups of which it is the newest."""

    receipt: FileRef
    at: TimeText
    received_by: Receiver
    fingerprint: Fingerprint
    groups: Annotated[list[Count], Meta(min_length=1, max_length=MAX_GROUPS)]


class SourceReleaseRecord(Record, frozen=True, kw_only=True):
    """What the origin signs; `shortfall`, as in the seal, where the source is freed though it has more than that."""

    type: Literal["sealift-source-release"] = "sealift-source-release"
    version: Literal[1] = 1
    shipment: ShipmentId
    consignment_id: Name
    rehearsal: bool
    declaration: FileRef
    seal: FileRef
    groups_total: Annotated[int, Meta(ge=1, le=MAX_GROUPS)]
    shortfall: Shortfall | UnsetType = UNSET
    receipts: Annotated[list[CountedReceipt], Meta(min_length=1, max_length=MAX_RECEIPTS)]
    released_by: Receiver
    at: TimeText


class SourceRelease(NamedTuple):
    """A release of the source that `check_source_release` has accepted, and by whom it is signed."""

    record: SourceReleaseRecord
    principal: str
    fingerprint: str
    person: Person
    file: FileRef


class Ground(NamedTuple):
    """What receipts are held against: a seal that holds, the file seal.json, and the declaration that it binds.

    `origin`: who cannot receive.
    """

    seal: Seal
    file: FileRef
    declaration: Declaration
    origin: Origin


class Lacking(NamedTuple):
    """A group that is not verified, and why; the time of the receipt that counts (None: no receipt speaks of it).

    `state` is that of the group; or `lost` or `unseen` where only a drive of it is.
    """

    group: int
    state: str | None
    at: str | None
    why: str


def refuse_origin(fingerprint: str, origin: Origin, allowed: AllowedSigners) -> None:
    """Refused for a key of somebody of the origin: it cannot receive from itself."""
    if whose := origin.whose(allowed.person(fingerprint)):
        raise Refused(
            f"the key {fingerprint} is that of {whose}: the origin cannot receive from itself",
            hint="whoever received and verified the drives signs, with a key of their own",
        )


def refuse_carrier(fingerprint: str, carriers: Iterable[tuple[frozenset[str], str]], allowed: AllowedSigners) -> None:
    """Refused for a key of somebody who carries drives: neither end of the way is theirs to vouch for."""
    if name := persons.carrier_of(allowed.person(fingerprint), carriers):
        raise Refused(
            f"the key {fingerprint} is that of {name}, who carries drives of this shipment: a carrier neither receives"
            " them nor frees the source",
            hint="whoever received and verified the drives signs a receipt, somebody of the origin the release of the"
            " source, each with a key of their own",
        )


# --- may the source be freed?


def objections(
    ground: Ground, receipts: Sequence[Receipt], now: datetime, *, accept_missing: bool = False
) -> list[str]:
    """What is wrong with the papers, by rules 1 to 4, a sentence each; each names the receipt by time and signer.

    `accept_missing`: that something was not sent is none of it.
    """
    found = []
    for receipt in receipts:
        name = f"the receipt of {receipt.record.at} by {receipt.principal}"
        found += [f"{name} {why}" for why in objections_to(ground, receipt, now)]
    hold = ground.declaration.legal_hold.strip()
    if hold and hold != NO_HOLD:
        found.append(f"the declaration states a legal hold: {hold}")
    if ground.seal.shortfall and not accept_missing:
        found.append(f"of the source {ground.seal.shortfall.words}: {ONLY_THERE}")
    return found


def objections_to(ground: Ground, receipt: Receipt, now: datetime) -> list[str]:
    """What is wrong with one receipt, by rules 1 to 3; each ends a sentence that begins with its name."""
    record, seal = receipt.record, ground.seal
    if record.shipment != seal.shipment:
        return [f"is of shipment {record.shipment}, and the seal is of {seal.shipment}"]
    if record.seal != ground.file:
        return ["is of another seal of this shipment: this one was superseded, or supersedes it"]
    found = []
    drives = sum(len(group.drives) for group in seal.groups)
    facts = (record.consignment_id, record.rehearsal, record.declaration, record.groups_total, record.drives_total)
    if facts != (seal.consignment_id, seal.rehearsal, seal.declaration, len(seal.groups), drives):
        found.append("contradicts the seal that it names")
    found += [
        f"has group {group.group} otherwise than the seal"
        for group in record.groups
        if group.group >= len(seal.groups) or not _is(group, seal.groups[group.group])
    ][:1]
    if clocks.is_ahead(instant(seal.sealed_at, "seal.json"), receipt.at):
        found.append(f"is older than the seal, which is of {seal.sealed_at}")
    if receipt.at > now:
        found.append(AHEAD)
    if whose := ground.origin.whose(receipt.person):
        found.append(f"is signed by {whose}: the origin cannot receive from itself")
    return found


def _is(group: ReceiptGroup, sealed: SealGroup) -> bool:
    said = (group.manifest, group.data, group.parity, [(each.id, each.number, each.serial) for each in group.drives])
    drives = [(each.id, each.number, each.serial) for each in sealed.drives]
    return said == (sealed.manifest, sealed.data, sealed.parity, drives)


def lacking(ground: Ground, receipts: Sequence[Receipt]) -> list[Lacking]:
    """The groups of the seal that are not verified, in order (rule 5)."""
    last = newest(receipts)
    found = []
    for sealed in ground.seal.groups:
        if sealed.group not in last:
            found.append(Lacking(sealed.group, None, None, "no receipt that holds speaks of it"))
            continue
        receipt, group = last[sealed.group]
        open_ = [each for each in group.drives if each.state not in VERIFIED]
        if group.state in VERIFIED and not open_:
            continue
        open_states = [group.state] if group.state not in VERIFIED else [each.state for each in open_]
        state = "lost" if "lost" in open_states else "unseen"
        drives = ", ".join(f"{each.id} ({each.serial}) is {each.state}" for each in open_[:5])
        more = f" and {len(open_) - 5:,} more" if len(open_) > 5 else ""
        found.append(Lacking(sealed.group, state, receipt.record.at, f"{_WHY[state]}: {drives}{more}"))
    return found


_WHY = {
    "lost": "not everything that was sent was verified, and what is lost was not made again",
    "unseen": "not all of it was read",
}


# --- the record


def ways(receipts: Sequence[Receipt]) -> dict[str, int]:
    """How many drives were read in which way, by the receipts that count; "": that does not say."""
    drives = [drive for _, group in newest(receipts).values() for drive in group.drives if drive.read_at]
    found = Counter(str(drive.read_from or "") for drive in drives)
    return {way: found[way] for way in (*reversed(WEAKEST), "") if found[way]}


def counted(receipts: Sequence[Receipt]) -> list[CountedReceipt]:
    """The receipts that count, with the groups of which each is the newest; sorted by digest."""
    groups: dict[str, list[int]] = {}
    by_digest = {receipt.file.blake3: receipt for receipt in receipts}
    for number, (receipt, _) in sorted(newest(receipts).items()):
        groups.setdefault(receipt.file.blake3, []).append(number)
    return [
        CountedReceipt(
            receipt=by_digest[digest].file,
            at=by_digest[digest].record.at,
            received_by=by_digest[digest].record.received_by,
            fingerprint=by_digest[digest].fingerprint,
            groups=groups[digest],
        )
        for digest in sorted(groups)
    ]


def encode(record: SourceReleaseRecord) -> bytes:
    """Canonical bytes; what is signed. FormatError: the record contradicts itself."""
    data = canonical.encode(record)
    decode(data)
    return data


def decode(data: bytes) -> SourceReleaseRecord:
    """Parse and check a record's own consistency; FormatError otherwise. Says nothing about who signed it."""
    record = canonical.decode(data, SourceReleaseRecord, limit=MAX_SOURCE_RELEASE, name=_NAME)
    strict.check_texts(record, _NAME)
    at = instant(record.at, _NAME)
    digests = [each.receipt.blake3 for each in record.receipts]
    if digests != sorted(set(digests)):
        raise FormatError(f"{_NAME}: the receipts are not sorted by digest, each once")
    if any(instant(each.at, _NAME) > at for each in record.receipts):
        raise FormatError(f"{_NAME}: a receipt is later than the release that rests on it")
    if any(each.groups != sorted(set(each.groups)) for each in record.receipts):
        raise FormatError(f"{_NAME}: the groups of a receipt are not in order, each once")
    if sorted(number for each in record.receipts for number in each.groups) != list(range(record.groups_total)):
        raise FormatError(f"{_NAME}: not every group of the shipment has exactly one receipt")
    return record


def check_source_release(data: bytes, signature: bytes, allowed: AllowedSigners) -> SourceRelease:
    """The release in `data`, if an allowed signer signed it, who did not sign a receipt of it.

    FormatError, SignatureInvalid, Refused.
    """
    record = decode(data)
    signer = allowed.signer(data, signature, NAMESPACE, instant(record.at, _NAME))
    for each in record.receipts:
        _refuse(signer.fingerprint, each.fingerprint, allowed)
    file = FileRef(bytes=len(data), blake3=blake3.blake3(data).hexdigest())
    return SourceRelease(record, signer.principal, signer.fingerprint, signer.person, file)


def refuse_receiver(fingerprint: str, receipts: Sequence[Receipt], allowed: AllowedSigners) -> None:
    """Refused for a key of whoever signed a receipt: who received does not free the source, too."""
    for each in receipts:
        _refuse(fingerprint, each.fingerprint, allowed)


def _refuse(freeing: str, receiving: str, allowed: AllowedSigners) -> None:
    if persons.same(allowed.person(freeing), allowed.person(receiving)):
        whose = f"the key {freeing}" if freeing == receiving else f"{freeing} is of one person with {receiving}, which"
        raise Refused(
            f"{whose} signed a receipt of this shipment: who received it does not free the source, too",
            hint="somebody of the origin signs, with a key of their own",
        )
