"""The manifest (signed root of a group), drive.json, pack records, and the names of everything on a drive.

    sealift/manifest.json        Manifest, the same bytes on all n drives
    sealift/manifest.json.sig    SSHSIG over it, namespace `sealift`
    sealift/drive.json           DriveCard: which row of the manifest's drive table this drive is
    sealift/packs.bin            PACK records, role by role, stripe by stripe, under a hash tree (paged.py)
    sealift/blocks.bin           BLAKE3 of every 1 MiB block of every pack, in the order of the pack records
    sealift/packs/0000/0000000.tar.zst.age | .parity

A pack's place (stripe, role) is the place of its record, so a pack moved elsewhere is not the pack named there.
docs/spec/drive.md and docs/spec/manifest.md say the same to the byte.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from msgspec import UNSET, Meta, UnsetType, structs

from sealift.errors import FormatError
from sealift.formats import canonical, paged
from sealift.formats.canonical import Record

if TYPE_CHECKING:
    from collections.abc import Callable

NAMESPACE = "sealift"
BLOCK = 1 << 20
MAX_DRIVES = 255  # slots of a group; GF(256) has no more Cauchy rows and columns
MAX_MANIFEST = 1 << 20
MAX_CARD = 1 << 14
MAX_STRIPES = 10_000_000
MAX_PACK = 1 << 32

ROOT = "sealift"
MANIFEST, SIGNATURE, CARD = "manifest.json", "manifest.json.sig", "drive.json"
REBUILT = "rebuilt.json"  # on a drive that was rebuilt: what drive.json says of that, once more
OPEN_ME, SUMS, PACKS, BLOCKS = "OPEN-ME.txt", "B3SUMS", "packs.bin", "blocks.bin"
MEMBERS_INDEX, PACKS_INDEX = "index/members.parquet.age", "index/packs.parquet.age"
GROUP_FILES = (PACKS, BLOCKS, MEMBERS_INDEX, PACKS_INDEX)  # the same on every drive of the group
OWN_FILES = (OPEN_ME, SUMS)  # one a drive, digests in its row
SEAL_FILES = (
    "seal/seal.json",
    "seal/seal.json.sig",
    "seal/declaration.toml",
    "seal/release.json",
    "seal/release.json.sig",
)

FIXED_FILES = frozenset({MANIFEST, SIGNATURE, CARD, REBUILT, *OWN_FILES, *GROUP_FILES, *SEAL_FILES})
PACK_FILE = re.compile(r"packs/([0-9]{4,5})/([0-9]{7,8})\.(?:tar\.zst\.age|parity)", re.ASCII)
PACK_ENTRY = re.compile(PACK_FILE.pattern.encode())  # the same of a name as a drive lists it

# length, first block, digest of age header and nonce (zeros for parity and absent packs), BLAKE3 of the pack
PACK = struct.Struct("<QQ32s32s")
PACKS_MAGIC, BLOCKS_MAGIC = b"SLPACKS\0", b"SLBLOCKS"

Hex32 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
ShipmentId = Annotated[str, Meta(pattern=r"\A[0-9a-f]{16}\Z")]
DriveId = Annotated[str, Meta(pattern=r"\Ag[0-9]{1,6}s[0-9]{1,3}\Z")]
Text = Annotated[str, Meta(max_length=256, pattern=r"\A[^\x00-\x1f\x7f]*\Z")]
Name = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"\A[^\x00-\x1f\x7f]*\Z")]
Count = Annotated[int, Meta(ge=0, le=(1 << 62))]


class FileRef(Record, frozen=True, kw_only=True):
    """Length in bytes and BLAKE3 of one file."""

    bytes: Count
    blake3: Hex32


class IndexRef(Record, frozen=True, kw_only=True):
    """An index file: length, BLAKE3, and the digest of its age header with the 16-byte nonce."""

    bytes: Count
    blake3: Hex32
    header: Hex32


class TreeRef(Record, frozen=True, kw_only=True):
    """A paged file: length, BLAKE3, number of records and root of its hash tree."""

    bytes: Count
    blake3: Hex32
    records: Count
    root: Hex32


class DeclarationRef(Record, frozen=True, kw_only=True):
    """Which declaration the group was packed under: its id, and the bytes it had when the group was signed."""

    id: Name
    bytes: Count
    blake3: Hex32
    rehearsal: bool


class InReplyTo(Record, frozen=True, kw_only=True):
    """Which outbound shipment a return leg answers: its ids, and length and BLAKE3 of its seal.json."""

    shipment: ShipmentId
    consignment_id: Name
    seal: FileRef


class Geometry(Record, frozen=True, kw_only=True):
    """How the group is coded: Cauchy Reed-Solomon over GF(256), polynomial 0x11d."""

    data: Annotated[int, Meta(ge=1, le=MAX_DRIVES)]
    parity: Annotated[int, Meta(ge=0, le=MAX_DRIVES)]
    code: Literal["cauchy-0x11d"] = "cauchy-0x11d"
    block: Literal[1048576] = 1048576
    stripes: Annotated[int, Meta(ge=0, le=MAX_STRIPES)]
    files_end: Annotated[int, Meta(ge=0, le=MAX_STRIPES)]  # stripes from here on hold only directories


class DriveRow(Record, frozen=True, kw_only=True):
    """One drive of the group's table."""

    slot: Annotated[int, Meta(ge=0, lt=MAX_DRIVES)]
    id: DriveId
    number: Annotated[int, Meta(ge=1)]  # i of N
    serial: Name
    label: Name
    carrier: Text
    open_me: FileRef
    sums: FileRef


class Totals(Record, frozen=True, kw_only=True):
    """What the group holds: members (index rows), files by path, bytes at the source and on the drives."""

    members: Count
    files: Count
    source_bytes: Count
    packed_bytes: Count
    parity_bytes: Count


class Manifest(Record, frozen=True, kw_only=True):
    """The signed root of a group; `in_reply_to` is there on a return leg, and only there."""

    type: Literal["sealift-manifest"] = "sealift-manifest"
    version: Literal[1] = 1
    shipment: ShipmentId
    declaration: DeclarationRef
    in_reply_to: InReplyTo | UnsetType = UNSET
    group: Count
    groups: Annotated[int, Meta(ge=1, le=1_000_000)]
    drives_total: Annotated[int, Meta(ge=1)]
    scan: Hex32  # digest of the scan that dealt members to groups: the same for all groups of a shipment
    order: Literal["path", "shuffled"]
    seed: Count
    geometry: Geometry
    drives: Annotated[list[DriveRow], Meta(min_length=1, max_length=MAX_DRIVES)]
    packs: TreeRef
    blocks: TreeRef
    members_index: IndexRef
    packs_index: IndexRef
    totals: Totals

    @property
    def n(self) -> int:
        """Drives of the group: data plus parity."""
        return self.geometry.data + self.geometry.parity

    def small_files(self, slot: int) -> dict[str, FileRef]:
        """By name, length and digest of what the drive in `slot` has beside packs and what tells of itself."""
        row = self.drives[slot]
        return {name: self.group_file(name) for name in GROUP_FILES} | {OPEN_ME: row.open_me, SUMS: row.sums}

    def group_file(self, name: str) -> FileRef:
        """Length and digest of one of GROUP_FILES."""
        refs: dict[str, TreeRef | IndexRef] = {
            PACKS: self.packs,
            BLOCKS: self.blocks,
            MEMBERS_INDEX: self.members_index,
            PACKS_INDEX: self.packs_index,
        }
        ref = refs[name]
        return FileRef(bytes=ref.bytes, blake3=ref.blake3)

    def is_card(self, slot: int, card: DriveCard) -> bool:
        """Whether drive.json says what it must for `slot`, rebuilt or not."""
        return structs.replace(card, rebuilt=UNSET) == self.card(slot)

    def is_replaced(self, card: DriveCard) -> bool:
        """Whether drive.json is that of another drive in a slot of this table: one that was replaced while packing.

        It says slot and shipment as the table does, and another serial number. A drive that bears the manifest is no
        such drive, whatever its drive.json says: it was attached when the group was signed.
        """
        if (card.shipment, card.group) != (self.shipment, self.group) or card.slot >= self.n:
            return False
        row = self.drives[card.slot]
        return card.id == row.id and card.serial != row.serial

    def card(self, slot: int) -> DriveCard:
        """What drive.json of the drive in `slot` must say."""
        row = self.drives[slot]
        return DriveCard(
            shipment=self.shipment,
            declaration=self.declaration.id,
            group=self.group,
            slot=slot,
            id=row.id,
            number=row.number,
            drives_total=self.drives_total,
            serial=row.serial,
            label=row.label,
            carrier=row.carrier,
        )


class RebuiltNote(Record, frozen=True, kw_only=True):
    """That a drive is not the one that left the origin: when it was rebuilt, and the serial of its medium, if any."""

    at: Annotated[str, Meta(pattern=r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")]
    serial: Text


class DriveCard(Record, frozen=True, kw_only=True):
    """drive.json: which drive of the manifest's table this is. A claim: the packs decide the slot.

    `rebuilt` is there only on a drive that was rebuilt at the destination; `serial`, `label` and `carrier` are those
    of the drive whose place it takes.
    """

    type: Literal["sealift-drive"] = "sealift-drive"
    version: Literal[1] = 1
    shipment: ShipmentId
    declaration: Name
    group: Count
    slot: Annotated[int, Meta(ge=0, lt=MAX_DRIVES)]
    id: DriveId
    number: Annotated[int, Meta(ge=1)]
    drives_total: Annotated[int, Meta(ge=1)]
    serial: Name
    label: Name
    carrier: Text
    rebuilt: RebuiltNote | UnsetType = UNSET


class PackRecord(NamedTuple):
    """One record of packs.bin."""

    length: int
    first_block: int
    header: bytes
    blake3: bytes

    @property
    def blocks(self) -> int:
        """Number of blocks, the last one may be short."""
        return -(-self.length // BLOCK)


def encode_manifest(manifest: Manifest) -> bytes:
    """Canonical bytes; what is signed."""
    return canonical.encode(manifest)


def decode_manifest(data: bytes) -> Manifest:
    """Parse and check a manifest's own consistency; FormatError otherwise. Says nothing about who signed it."""
    manifest = canonical.decode(data, Manifest, limit=MAX_MANIFEST, name=MANIFEST)
    n = manifest.n
    if n > MAX_DRIVES or len(manifest.drives) != n:
        raise FormatError(f"{MANIFEST}: {len(manifest.drives)} drives in the table, geometry wants {n}")
    if [row.slot for row in manifest.drives] != list(range(n)):
        raise FormatError(f"{MANIFEST}: slots of the drive table are not 0 to {n - 1} in order")
    for what in ("id", "number", "serial"):
        values = [getattr(row, what) for row in manifest.drives]
        if len(set(values)) != n:
            raise FormatError(f"{MANIFEST}: two drives of the table have the same {what}")
    if any(row.id != drive_id(manifest.group, row.slot) for row in manifest.drives):
        raise FormatError(f"{MANIFEST}: a drive's id does not name its group and slot")
    if max(row.number for row in manifest.drives) > manifest.drives_total:
        raise FormatError(f"{MANIFEST}: a drive's number is beyond the shipment's {manifest.drives_total} drives")
    if manifest.in_reply_to and manifest.in_reply_to.shipment == manifest.shipment:
        raise FormatError(f"{MANIFEST}: the shipment answers itself")
    if manifest.group >= manifest.groups:
        raise FormatError(f"{MANIFEST}: group {manifest.group} of {manifest.groups}")
    geometry = manifest.geometry
    if geometry.files_end > geometry.stripes or manifest.packs.records != geometry.stripes * n:
        raise FormatError(f"{MANIFEST}: number of packs does not fit the geometry")
    for name, ref, record in ((PACKS, manifest.packs, PACK.size), (BLOCKS, manifest.blocks, paged.DIGEST)):
        if ref.records > paged.MAX_RECORDS or ref.bytes != paged.file_length(record, ref.records):
            raise FormatError(f"{MANIFEST}: length of {name} does not fit its records")
    return manifest


def decode_card(data: bytes) -> DriveCard:
    """Parse drive.json; FormatError otherwise."""
    return canonical.decode(data, DriveCard, limit=MAX_CARD, name=CARD)


def encode_rebuilt(note: RebuiltNote) -> bytes:
    """The bytes of rebuilt.json."""
    return canonical.encode(note)


def decode_rebuilt(data: bytes) -> RebuiltNote:
    """Parse rebuilt.json; FormatError otherwise."""
    return canonical.decode(data, RebuiltNote, limit=MAX_CARD, name=REBUILT)


def drive_id(group: int, slot: int) -> str:
    """The id of the drive in `slot` of `group`: g0s3."""
    return f"g{group}s{slot}"


def is_medium_of(medium: str | None, serial: str) -> bool:
    """Whether a medium that tells this serial number, None: none, is the one that the signed table has."""
    return medium is not None and medium.casefold() == serial.casefold()


def drive_label(shipment: str, number: int, total: int) -> str:
    """What is printed on drive `number` of `total`, short enough to be called across a room: cd072c-17of60."""
    return f"{shipment[:6]}-{number}of{total}"


def slot_of(stripe: int, role: int, n: int) -> int:
    """The slot on which role `role` of `stripe` lies: roles turn, so every drive holds data."""
    return (role + stripe) % n


def role_of(stripe: int, slot: int, n: int) -> int:
    """The role that lies on `slot` in `stripe`."""
    return (slot - stripe) % n


def pack_name(stripe: int, role: int, data: int) -> str:
    """Path of a pack beneath sealift/."""
    kind = "tar.zst.age" if role < data else "parity"
    return f"packs/{stripe // 1000:04d}/{stripe:07d}.{kind}"


def is_drive_file(name: str) -> bool:
    """Whether a drive may have a file of this name beneath sealift/: one of FIXED_FILES, or that of a pack."""
    if name in FIXED_FILES:
        return True
    found = PACK_FILE.fullmatch(name)
    stripe = int(found[2]) if found else 0
    return found is not None and (found[1], found[2]) == (f"{stripe // 1000:04d}", f"{stripe:07d}")


def table_of_packs(read_at: Callable[[int, int], bytes], manifest: Manifest) -> paged.PagedFile:
    """packs.bin, for `pack_at`: each page of it is checked up to what the manifest has signed."""
    return paged.PagedFile(
        read_at,
        magic=PACKS_MAGIC,
        record=PACK.size,
        count=manifest.packs.records,
        root=bytes.fromhex(manifest.packs.root),
        name=PACKS,
    )


def pack_at(packs: paged.PagedFile, stripe: int, role: int, n: int) -> PackRecord:
    """The record of one pack, checked up to the manifest; FormatError when damaged or out of limits."""
    place = stripe * n + role
    record = PackRecord(*PACK.unpack(packs.get(place, place + 1)))
    if record.length > MAX_PACK:
        raise FormatError(
            f"{PACKS}: pack {stripe}/{role} is {record.length} bytes long; at most {MAX_PACK} are allowed"
        )
    return record
