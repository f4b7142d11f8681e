"""The Range header of a request (RFC 9110, section 14), one range at most. Pure.

What holds: a request costs at most the bytes of the file once. Several ranges in one request, of which an answer may be
many times the file, are refused like a range that lies outside of it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_UNIT = re.compile(r"\s*bytes\s*=", re.IGNORECASE)
_ONE = re.compile(r"\s*bytes\s*=\s*(?:([0-9]{1,19})-([0-9]{0,19})|-([0-9]{1,19}))\s*", re.IGNORECASE | re.ASCII)


class Span(NamedTuple):
    """`length` bytes from `start`."""

    start: int
    length: int


class NotSatisfiable(ValueError):
    """To be answered with 416."""


def parse(header: str | None, size: int) -> Span | None:
    """The bytes that are asked for of a file of `size` bytes; None: all of it, and no range was asked for.

    NotSatisfiable: beyond the end, several ranges, or none that can be read. A unit other than bytes is ignored, as the
    RFC demands.
    """
    if header is None or not _UNIT.match(header):
        return None
    found = _ONE.fullmatch(header)
    if found is None:
        raise NotSatisfiable
    first, last, suffix = found.groups()
    if suffix is not None:
        length = min(int(suffix), size)
        if not length:
            raise NotSatisfiable
        return Span(size - length, length)
    start, end = int(first), int(last) if last else size - 1
    if start >= size or end < start:
        raise NotSatisfiable
    return Span(start, min(end, size - 1) - start + 1)
