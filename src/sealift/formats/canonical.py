"""One canonical byte form for every JSON record.

The form is: keys in the record's own order (dictionaries sorted), two spaces of indentation, UTF-8, one final
newline. `decode` re-encodes what it parsed and compares, so that a lenient parser hides no flipped bit, no
duplicate key and no spare space. Unknown keys are errors for the same reason. Pure: bytes in, records out.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from sealift.errors import FormatError
from sealift.formats import typed

T = TypeVar("T")

_encoder = msgspec.json.Encoder(order="deterministic")


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every record on a drive: frozen, strict, keys in the order of the fields."""


def encode(record: Any) -> bytes:
    """The canonical bytes of `record`."""
    return msgspec.json.format(_encoder.encode(record), indent=2) + b"\n"


def decode(data: bytes, kind: type[T], *, limit: int, name: str = "record") -> T:
    """Parse canonical bytes; `limit` is the longest form accepted, in bytes.

    Raises FormatError when the bytes are too long, do not parse as `kind`, or are not its canonical form.
    """
    if not data:
        raise FormatError(f"{name} is empty")
    if len(data) > limit:
        raise FormatError(f"{name} is {len(data):,} bytes long; at most {limit:,} are allowed")
    try:
        record = typed.decode(data, kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"{name} does not parse: {error}") from error
    if encode(record) != data:
        raise FormatError(f"{name} is not in canonical form")
    return record
