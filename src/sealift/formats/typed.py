"""Bytes and plain values made objects of a type, safe for threads; all that decodes to a type of ours is here.

msgspec makes its plan of a type when it is first used, and two threads that do so at once crash the process (0.22, a
null pointer). So plans are made under a lock; what follows needs none.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_making = threading.Lock()
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    with _making:
        if (found := _decoders.get(kind)) is None:
            found = _decoders[kind] = msgspec.json.Decoder(kind)
    return found


def decode(data: bytes, kind: type[T]) -> T:
    """JSON as `kind`. Raises as msgspec.json.decode: MsgspecError, UnicodeDecodeError, RecursionError."""
    return _decoder(kind).decode(data)


def unpack(data: bytes | memoryview, kind: type[T]) -> T:
    """MessagePack as `kind`. Raises MsgspecError."""
    _decoder(kind)
    return msgspec.msgpack.decode(data, type=kind)


def convert(value: Any, kind: type[T]) -> T:
    """Lists, dicts, strings and numbers as `kind`. Raises msgspec.ValidationError."""
    _decoder(kind)
    return msgspec.convert(value, type=kind)
