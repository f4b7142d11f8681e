"""What a storage host says of itself: which drives stand where, how they are, which reports there are.

What holds: `decode` takes only what `encode` writes of these records: within their limits, names and numbers in their
forms, no name twice. It is not signed; whoever reads it believes it as far as the files of the drives themselves bear
it out. docs/spec/serve.md says the same. Pure: no clock, no network.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from sealift.errors import FormatError
from sealift.formats import typed
from sealift.formats.manifest import MAX_DRIVES, Count, DriveId, ShipmentId
from sealift.formats.smart import Verdict  # noqa: TC001 -- msgspec reads it when it runs
from sealift.formats.strict import check_texts
from sealift.stages.drives_look import State  # noqa: TC001 -- the same

MAX_INDEX = 16 << 20
MAX_ROWS = 10_000
NAME = r"[0-9a-f]{16}-g[0-9]{1,6}s[0-9]{1,3}(?:\.[0-9]{1,5})?|unnamed-[0-9a-f]{8}(?:\.[0-9]{1,5})?"
_Name = Annotated[str, Meta(pattern=rf"\A(?:{NAME})\Z")]
_Words = Annotated[str, Meta(max_length=2048)]
_Time = Annotated[str, Meta(pattern=r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")]


class HostDrive(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One drive that is served under /NAME/, by its own word; null where it does not say."""

    name: _Name
    mount: _Words
    state: State
    shipment: ShipmentId | None
    consignment: _Words | None
    group: Count | None
    slot: Annotated[int, Meta(ge=0, lt=MAX_DRIVES)] | None
    drive: DriveId | None
    number: Count | None
    drives_total: Count | None
    serial: _Words | None  # of the drive that was packed
    label: _Words | None
    carrier: _Words | None
    medium: _Words | None  # serial number that the medium itself tells
    total_bytes: Count  # of its filesystem
    health: Verdict  # by the drive's own SMART data
    health_why: _Words
    trouble: _Words  # why it does not answer, or what is wrong with it; empty: nothing


class HostFolder(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A folder in which no drive is served now, and why."""

    mount: _Words
    trouble: _Words


class HostReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A report of `sealift verify` that is under /report/NUMBER; `at`: when its file was written."""

    number: Annotated[int, Meta(ge=0, lt=MAX_ROWS)]
    at: _Time
    shipment: ShipmentId | None
    state: Literal["intact", "recoverable", "unseen", "lost"]


class HostIndex(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What / answers."""

    type: Literal["sealift-host"] = "sealift-host"
    version: Literal[1] = 1
    host: _Words
    at: _Time
    drives: Annotated[list[HostDrive], Meta(max_length=MAX_ROWS)]
    folders: Annotated[list[HostFolder], Meta(max_length=MAX_ROWS)]
    reports: Annotated[list[HostReport], Meta(max_length=MAX_ROWS)]


def encode(index: HostIndex) -> bytes:
    """The JSON of it."""
    return msgspec.json.encode(index)


def decode(data: bytes) -> HostIndex:
    """What a host answered; FormatError for anything that `encode` would not write."""
    if len(data) > MAX_INDEX:
        raise FormatError(f"an index of {len(data):,} bytes; at most {MAX_INDEX:,} are allowed")
    try:
        index = typed.decode(data, HostIndex)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"not the index of a storage host: {str(error)[:300]}") from error
    check_texts(index, "the index of a storage host")
    names = [drive.name for drive in index.drives]
    if len(set(names)) != len(names):
        raise FormatError("the index of a storage host has a name twice")
    return index
