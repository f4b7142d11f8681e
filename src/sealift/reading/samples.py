"""The samples of a pack, found in the headers of its tar: no index is asked, so that reading begins at once.

A sample is a run of files with one key (formats/samples.py), and its id is the pack and where its first header stands:
from there it is found again at random. Headers are authenticated with everything else in the pack. A file that was cut
into segments belongs to the sample that begins with its first one, and is read whole by its path.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from sealift.errors import BadInput, FormatError
from sealift.formats import tar
from sealift.formats.samples import COMMENT, parse_segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sealift.reading.pack import PackContent
    from sealift.reading.shipment import PackId, Shipment

MAX_SAMPLE_BYTES = 1 << 30  # of a sample that is given out in memory
_PAX_LIMIT = 1 << 20


class Sample(NamedTuple):
    """One sample, in memory: `files` by what their names have after the key, "jpg" or "seg.png"."""

    key: str
    files: dict[str, bytes]
    pack: PackId
    offset: int  # of its first header in the pack's tar: (pack, offset) is its id


class Found(NamedTuple):
    """A file in a pack, as its headers say."""

    path: bytes
    header: int  # where its first header stands in the tar
    data: int  # and its content
    stored: int  # bytes there
    size: int  # bytes of the file
    how: str  # "" as it is; "sparse": map and extents; "segment": the first of a file in segments


def files(content: PackContent, place: int = 0) -> Iterator[Found]:
    """The regular files of a pack from the header at `place` on, in order. Lost, FormatError.

    `content` is used by nobody else meanwhile. Frames in which no header stands are not read.
    """
    header, pax = place, dict[bytes, bytes]()
    base, frame = content.frame(place)
    while True:
        if not base <= place < base + len(frame):
            base, frame = content.frame(place)
        at = place - base
        block = frame[at : at + tar.BLOCK] if at + tar.BLOCK <= len(frame) else content.read(place, tar.BLOCK)
        if not pax and block[156:157] == tar.REGULAR and block[257:262] == b"ustar" and not block[345]:
            digits = block[124:135]  # what most headers are: a short name, and nothing that ustar cannot say
            if not digits.isdigit():
                raise FormatError(f"tar header at offset {place} has a field that is no number")
            size = int(digits, 8)
            yield Found(block[: block.index(0)] if not block[99] else block[:100], header, place + 512, size, size, "")
            header = place = place + 512 + size + (-size & 511)
            continue
        if not any(block):
            return
        member = tar.parse_header(block, place, pax)
        place = member.data + member.size + tar.padding(member.size)
        if member.kind == tar.PAX:
            if member.size > _PAX_LIMIT:
                raise FormatError(f"pax records of {member.size} bytes; at most {_PAX_LIMIT} are allowed")
            pax = tar.parse_pax(content.read(member.data, member.size))
            continue
        if member.kind == tar.REGULAR:
            found = _found(member, header)
            if found is not None:
                yield found
        header, pax = place, {}


def _found(member: tar.Member, header: int) -> Found | None:
    """What a header with pax records is of; None for a segment that is not its file's first."""
    size, path, how = member.size, member.name, ""
    if b"GNU.sparse.realsize" in member.pax:
        digits = member.pax[b"GNU.sparse.realsize"]
        if not digits.isdigit() or len(digits) > 19:
            raise FormatError("the size of a sparse file is no number")
        size, how = int(digits), "sparse"
    if COMMENT in member.pax:
        segment = parse_segment(member.pax[COMMENT])
        if segment.start:
            return None
        size, path, how = segment.size, segment.path, "segment"
    return Found(path, header, member.data, member.size, size, how)


def runs(found: Iterator[Found], key_of: Callable[[bytes], bytes]) -> Iterator[tuple[bytes, list[Found]]]:
    """Samples: files that follow each other and have one key."""
    key, run = b"", list[Found]()
    for file in found:
        other = key_of(file.path)
        if run and other != key:
            yield key, run
            run = []
        key = other
        run.append(file)
    if run:
        yield key, run


def load(shipment: Shipment, pack: PackId, content: PackContent, key: bytes, run: list[Found]) -> Sample:
    """A sample in memory; BadInput when it is over MAX_SAMPLE_BYTES, Lost, FormatError."""
    total = sum(file.size for file in run)
    if total > MAX_SAMPLE_BYTES:
        raise BadInput(
            f"sample {os.fsdecode(key)!r} has {total:,} bytes; at most {MAX_SAMPLE_BYTES:,} are given out in memory",
            hint="read what is in it as samples: Parquet rows, tar entries, tokens; or a part of it by Shipment.read",
        )
    held: dict[str, bytes] = {}
    for file in run:
        if file.how == "segment":
            data = shipment.read(file.path)
        elif file.how == "sparse":
            data = content.read_sparse(file.data, file.stored, file.size)
        else:
            data = content.read(file.data, file.size)
        held[suffix(file.path, key)] = data
    return Sample(os.fsdecode(key), held, pack, run[0].header)


def suffix(path: bytes, key: bytes) -> str:
    """What a file is called in its sample: its name after the key and a dot; all of it where the key is elsewhere."""
    rest = path[len(key) :] if path.startswith(key) else path.rpartition(b"/")[2]
    return os.fsdecode(rest.removeprefix(b"."))
