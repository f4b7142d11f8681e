"""Samples: members that share directory and name up to its first dot; and how a segment says what it is one of.

    train/0001.jpg  train/0001.cls  train/0001.seg.png      one sample, train/0001

Packers keep the members of a sample together (docs/spec/data-pack.md); readers find samples again in the names of a
pack's members, by the same key. In a pack a sample is a run of files with one key: links are passed over, and so is a
segment that is not a file's first, for its sample begins in another pack.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from sealift.errors import BadInput, FormatError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_SAMPLE_KEY = 4096  # bytes of --sample-key
COMMENT = b"comment"  # POSIX's pax record for what other programs are to pass over
_SEGMENT = re.compile(rb"sealift segment (\d{1,19}) (\d{1,19}) (.+)", re.DOTALL)


def default_key(path: bytes) -> bytes:
    """Directory and name up to its first dot (leading dots do not count): what makes members one sample."""
    folder, slash, name = path.rpartition(b"/")
    dots = len(name) - len(name.lstrip(b"."))
    return folder + slash + name[:dots] + name[dots:].partition(b".")[0]


def key_function(pattern: str | None) -> Callable[[bytes], bytes]:
    """The sample key of a path: the pattern's first group (or its whole match); the path itself without a match."""
    if pattern is None:
        return default_key
    try:
        compiled = re.compile(os.fsencode(pattern))
    except re.error as error:
        raise BadInput(
            f"--sample-key {pattern!r} is no regular expression: {error}",
            hint="Python's syntax; its first group, or the whole match, is the sample's key",
        ) from error

    def key(path: bytes) -> bytes:
        match = compiled.search(path)
        return path if match is None else (match[1] if compiled.groups and match[1] is not None else match[0])

    return key


class Segment(NamedTuple):
    """Which part of which file a segment is."""

    start: int  # first byte of the file in it
    size: int  # of the whole file, bytes, as it was scanned
    path: bytes


def segment_comment(segment: Segment) -> bytes:
    """The pax comment of a segment's header."""
    return b"sealift segment %d %d %b" % segment


def parse_segment(comment: bytes) -> Segment:
    """What `segment_comment` wrote; FormatError."""
    match = _SEGMENT.fullmatch(comment)
    if match is None:
        raise FormatError("a pax comment that says of no segment what it is")
    return Segment(int(match[1]), int(match[2]), match[3])
