"""The provenance record of a return leg: an in-toto Statement v1 in canonical JSON, a member of the shipment.

    subject      the files of the checkpoint, with SHA-256 and BLAKE3
    predicate    which shipment brings them, what it answers, and what made them: code, config, metrics

What holds: bytes in, records out; `encode` writes the one form that `decode` reads. The shipment's manifest and seal
vouch for the record as for every member; it is not signed by itself. docs/spec/provenance.md says the same. What is not
here: where the answers come from (stages/pack/provenance.py).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType, field

from sealift.formats import canonical
from sealift.formats.canonical import Record
from sealift.formats.manifest import Count, FileRef, Hex32, InReplyTo, Name, ShipmentId  # noqa: TC001 -- msgspec reads them

MEMBER = "provenance.json"
STATEMENT: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
PREDICATE: Literal["urn:sealift:provenance:v1"] = "urn:sealift:provenance:v1"
MAX_PROVENANCE = 512 << 20
MAX_SUBJECTS = 1_000_000


class Digests(Record, frozen=True, kw_only=True):
    """An in-toto DigestSet, of a file's whole content."""

    sha256: Hex32
    blake3: Hex32


class Annotations(Record, frozen=True, kw_only=True):
    """A path that is not UTF-8, in base64; `name` is absent then."""

    path_b64: Annotated[str, Meta(min_length=1)]


class Subject(Record, frozen=True, kw_only=True):
    """An in-toto ResourceDescriptor: one file, by its path beneath the checkpoint's folder."""

    name: Annotated[str, Meta(min_length=1)] | UnsetType = UNSET
    digest: Digests
    annotations: Annotations | UnsetType = UNSET


class GroupRef(Record, frozen=True, kw_only=True):
    """A group of the outbound shipment, by its manifest, which binds its index."""

    group: Count
    manifest: FileRef


class Predicate(Record, frozen=True, kw_only=True):
    """Which shipment this is, what it answers, and what made the files."""

    shipment: ShipmentId
    consignment_id: Name
    rehearsal: bool
    in_reply_to: InReplyTo
    groups: Annotated[list[GroupRef], Meta(min_length=1, max_length=100_000)]
    code: str | dict[str, Any] | None
    config: dict[str, Any]
    metrics: dict[str, Any]


class Statement(Record, frozen=True, kw_only=True):
    """The whole record."""

    type_: Literal["https://in-toto.io/Statement/v1"] = field(default=STATEMENT, name="_type")
    subject: Annotated[list[Subject], Meta(min_length=1, max_length=MAX_SUBJECTS)]
    predicate_type: Literal["urn:sealift:provenance:v1"] = field(default=PREDICATE, name="predicateType")
    predicate: Predicate


def encode(statement: Statement) -> bytes:
    """Canonical bytes."""
    return canonical.encode(statement)


def decode(data: bytes) -> Statement:
    """Parse canonical bytes; FormatError otherwise. Says nothing about who vouches for them."""
    return canonical.decode(data, Statement, limit=MAX_PROVENANCE, name=MEMBER)
