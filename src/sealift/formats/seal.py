"""The seal (signed root of a shipment) and the one file in which it travels.

    seal/seal.json           Seal: every group's manifest, the declaration and its release
    seal/seal.json.sig       SSHSIG over it, namespace `sealift`
    seal/declaration.toml    the released declaration, its exact bytes
    seal/release.json        the release, and
    seal/release.json.sig    the officer's SSHSIG over it, namespace `sealift-release`

For the network the five files travel as one: SHIPMENT.seal, a plain ustar archive with exactly these names in this
order, mode 0644, owner 0, time 0, so that `tar x` and `ssh-keygen -Y verify` open and check it. Reading re-encodes
and compares. docs/spec/seal.md says the same to the byte.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType, field, structs

from sealift.errors import FormatError
from sealift.formats import canonical
from sealift.formats.canonical import Record
from sealift.formats.manifest import (
    MAX_DRIVES,
    SEAL_FILES,
    Count,
    DriveId,
    FileRef,
    Hex32,
    InReplyTo,
    Name,
    ShipmentId,
    Text,
    Totals,
)
from sealift.formats.sizes import counted
from sealift.formats.sshsig import MAX_KEY_LINE

MAX_SEAL = 64 << 20
MAX_DECLARATION = 4 << 20
MAX_SMALL = 1 << 20
MAX_RETURN = 20  # recipients, and signers, of the leg home
MAX_BUNDLE = MAX_SEAL + MAX_DECLARATION + 4 * MAX_SMALL  # the fourth MAX_SMALL is for headers and padding
LIMITS = dict(zip(SEAL_FILES, (MAX_SEAL, MAX_SMALL, MAX_DECLARATION, MAX_SMALL, MAX_SMALL), strict=True))
_TAR = 512

TimeText = Annotated[str, Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")]
RecipientText = Annotated[str, Meta(min_length=1, max_length=4000, pattern=r"\A[ -~]*\Z")]


class SealDrive(Record, frozen=True, kw_only=True):
    """One drive, named so that it can be missed."""

    id: DriveId
    number: Annotated[int, Meta(ge=1)]
    serial: Name
    label: Name
    carrier: Text


class SealGroup(Record, frozen=True, kw_only=True):
    """One group: the digest of its manifest, and what is needed to say what is missing when all of it is.

    `first_sealed_at` is there where the key that signed the manifest is not valid any more at `sealed_at`: when the
    seal was made that first named it.
    """

    group: Count
    manifest: FileRef
    first_sealed_at: TimeText | UnsetType = UNSET
    data: Annotated[int, Meta(ge=1, le=MAX_DRIVES)]
    parity: Annotated[int, Meta(ge=0, le=MAX_DRIVES)]
    stripes: Count
    totals: Totals
    drives: Annotated[list[SealDrive], Meta(min_length=1, max_length=MAX_DRIVES)]


class ReturnSigner(Record, frozen=True, kw_only=True):
    """Who may sign the leg home: a name, and an SSH public key as it stands in a .pub file, without comment."""

    principal: Name
    key: Annotated[str, Meta(min_length=1, max_length=MAX_KEY_LINE, pattern=r"\A[ -~]*\Z")]


class ReturnLeg(Record, frozen=True, kw_only=True):
    """What the origin says of the leg home: for whom it is encrypted, and who may sign it."""

    recipients: Annotated[list[RecipientText], Meta(min_length=1, max_length=MAX_RETURN)]
    signers: Annotated[list[ReturnSigner], Meta(min_length=1, max_length=MAX_RETURN)]


class Shortfall(Record, frozen=True, kw_only=True):
    """What of the source as it was listed is not in the shipment, or not as it is there; the origin knows the names.

    `skipped` are paths in no pack; `incomplete` files in which zeros stand for what could not be read; `changed` files
    that were otherwise by then, and are packed as they were read; `later` paths that came since the source was listed,
    or were rewritten since they were packed, when it was looked at last. Not all are 0.
    """

    skipped: Count
    incomplete: Count
    changed: Count
    later: Count

    @property
    def words(self) -> str:
        """For people, as the end of a sentence that begins with the source."""
        each = (
            (self.skipped, "path", "{} not packed"),
            (self.incomplete, "file", "{} not whole, with zeros for what could not be read"),
            (self.changed, "file", "changed meanwhile and {} packed as read"),
            (self.later, "path", "came since it was listed, or changed since, and {} not sent"),
        )
        return "; ".join(f"{counted(n, of)} {what.format('is' if n == 1 else 'are')}" for n, of, what in each if n)

    @property
    def told(self) -> str:
        """The sentence for whoever has the shipment, and not the source."""
        return f"of the source, the origin says, {self.words}: the origin knows their names"


class Seal(Record, frozen=True, kw_only=True):
    """The signed root of a shipment.

    `return_` is there where an outbound shipment names who may answer it, `in_reply_to` on a return leg, `shortfall`
    where not all that was listed is in it.
    """

    type: Literal["sealift-seal"] = "sealift-seal"
    version: Literal[1] = 1
    shipment: ShipmentId
    consignment_id: Name
    rehearsal: bool
    sealed_at: TimeText
    scan: Hex32
    order: Literal["path", "shuffled"]
    seed: Count
    declaration: FileRef
    release: FileRef
    release_signature: FileRef
    return_: ReturnLeg | UnsetType = field(default=UNSET, name="return")
    in_reply_to: InReplyTo | UnsetType = UNSET
    shortfall: Shortfall | UnsetType = UNSET
    groups: Annotated[list[SealGroup], Meta(min_length=1, max_length=100_000)]


def but_for_times(seal: Seal) -> Seal:
    """What a seal says, whenever it says that: two of one content are equal."""
    groups = [structs.replace(group, first_sealed_at=UNSET) for group in seal.groups]
    return structs.replace(seal, sealed_at="", groups=groups)


def encode_seal(seal: Seal) -> bytes:
    """Canonical bytes; what is signed."""
    return canonical.encode(seal)


def decode_seal(data: bytes) -> Seal:
    """Parse and check a seal's own consistency; FormatError otherwise. Says nothing about who signed it."""
    seal = canonical.decode(data, Seal, limit=MAX_SEAL, name="seal.json")
    if [group.group for group in seal.groups] != list(range(len(seal.groups))):
        raise FormatError(f"seal.json: groups are not 0 to {len(seal.groups) - 1} in order")
    if any(len(group.drives) != group.data + group.parity for group in seal.groups):
        raise FormatError("seal.json: a group's drives do not fit its geometry")
    if any(group.first_sealed_at and group.first_sealed_at >= seal.sealed_at for group in seal.groups):
        raise FormatError("seal.json: a manifest was first sealed when this seal was made, or later")
    if seal.shortfall and not any(structs.astuple(seal.shortfall)):
        raise FormatError("seal.json: a shortfall of nothing")
    if seal.in_reply_to and seal.return_:
        raise FormatError("seal.json: a return leg is not answered, and names nobody who may")
    if seal.in_reply_to and seal.in_reply_to.shipment == seal.shipment:
        raise FormatError("seal.json: the shipment answers itself")
    drives = [drive for group in seal.groups for drive in group.drives]
    for what in ("id", "number", "serial"):
        if len({getattr(drive, what) for drive in drives}) != len(drives):
            raise FormatError(f"seal.json: two drives have the same {what}")
    return seal


def tar_header(name: str, length: int) -> bytes:
    """The 512 bytes before a file of `length` bytes in a plain ustar archive: mode 0644, owner 0, time 0."""
    header = bytearray(_TAR)
    fields = (
        (0, name.encode()),
        (100, b"0000644\0"),
        (108, b"0000000\0"),
        (116, b"0000000\0"),
        (124, b"%011o\0" % length),
        (136, b"00000000000\0"),
        (148, b" " * 8),
        (156, b"0"),
        (257, b"ustar\x0000"),
    )
    for offset, value in fields:
        header[offset : offset + len(value)] = value
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def encode_bundle(files: dict[str, bytes]) -> bytes:
    """The five files as the one ustar archive that travels by network."""
    out = bytearray()
    for name in SEAL_FILES:
        data = files[name]
        out += tar_header(name, len(data)) + data + bytes(-len(data) % _TAR)
    return bytes(out + bytes(2 * _TAR))


def decode_bundle(data: bytes) -> dict[str, bytes]:
    """The five files of a SHIPMENT.seal; FormatError unless it is byte for byte what encode_bundle writes."""
    if len(data) > MAX_BUNDLE:
        raise FormatError(f"seal file is {len(data):,} bytes long; at most {MAX_BUNDLE:,} are allowed")
    files: dict[str, bytes] = {}
    offset = 0
    for name in SEAL_FILES:
        size = data[offset + 124 : offset + 135]
        if len(size) != 11 or not all(0x30 <= byte <= 0x37 for byte in size):
            raise FormatError(f"seal file: no header where {name} should begin")
        length = int(size, 8)
        if length > LIMITS[name]:
            raise FormatError(f"seal file: {name} is {length:,} bytes long; at most {LIMITS[name]:,} are allowed")
        offset += _TAR
        files[name] = data[offset : offset + length]
        offset += length + -length % _TAR
    if encode_bundle(files) != data:
        raise FormatError("seal file is not in canonical form")
    return files
