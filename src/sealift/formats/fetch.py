"""The fetch list: which packs must be sent again when more is lost than parity holds.

    packs       the fewest packs whose very bytes, had from wherever they still are (a late drive, a copy), make
                everything recoverable: put under their paths into a folder, they are given to `repair` as a mount
    contents    the data packs with blocks that nobody has: where those bytes are nowhere, the origin packs what they
                held once more, under fresh keys, as a shipment of its own (`pack --only`)

One canonical JSON record. It names no file of the corpus: only the origin's state knows what a pack holds. Pure.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from sealift.errors import FormatError
from sealift.formats import canonical
from sealift.formats.canonical import Record
from sealift.formats.manifest import MAX_DRIVES, MAX_STRIPES, Count, DriveId, Hex32, ShipmentId

MAX_LIST = 256 << 20
MAX_PACKS = 1_000_000


class FetchGroup(Record, frozen=True, kw_only=True):
    """A group that packs are of, by the digest of its manifest."""

    group: Count
    manifest: Hex32


class FetchPack(Record, frozen=True, kw_only=True):
    """One pack: its place in its group, the drive it was on, its path beneath sealift/ there, its bytes."""

    group: Count
    stripe: Annotated[int, Meta(ge=0, lt=MAX_STRIPES)]
    role: Annotated[int, Meta(ge=0, lt=MAX_DRIVES)]
    drive: DriveId
    path: Annotated[str, Meta(max_length=64, pattern=r"\Apacks/[0-9]{4,5}/[0-9]{7,8}\.(tar\.zst\.age|parity)\Z")]
    bytes: Count


class FetchList(Record, frozen=True, kw_only=True):
    """What must be sent again of one shipment; both lists by group, stripe, role."""

    type: Literal["sealift-fetch-list"] = "sealift-fetch-list"
    version: Literal[1] = 1
    shipment: ShipmentId
    groups: Annotated[list[FetchGroup], Meta(max_length=100_000)]
    packs: Annotated[list[FetchPack], Meta(max_length=MAX_PACKS)]
    contents: Annotated[list[FetchPack], Meta(max_length=MAX_PACKS)]


def encode_list(record: FetchList) -> bytes:
    """Canonical bytes."""
    return canonical.encode(record)


def decode_list(data: bytes, name: str = "fetch list") -> FetchList:
    """Parse and check; FormatError, in which it is called `name`."""
    record = canonical.decode(data, FetchList, limit=MAX_LIST, name=name)
    known = {each.group for each in record.groups}
    for key, packs in (("packs", record.packs), ("contents", record.contents)):
        places = [(each.group, each.stripe, each.role) for each in packs]
        if places != sorted(set(places)):
            raise FormatError(f"{name}: {key} are not in the order of group, stripe and role, or occur twice")
        if not {each.group for each in packs} <= known:
            raise FormatError(f"{name}: {key} name a group that `groups` does not")
    return record
