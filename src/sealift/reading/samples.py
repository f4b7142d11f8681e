"""The samples of a pack, found in the headers of its tar: no index is asked, so that reading begins at once.

A sample is a run of files with one key (formats/samples.py), and its id is the pack and where its first header stands:
from there it is found again at random. Headers are authenticated with everything else in the pack. A file that was cut
into segments belongs to the sample that begins with its first one, and is read whole by its path.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_right, insort
from collections import OrderedDict
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from sealift.errors import BadInput, FormatError
from sealift.formats import tar
from sealift.formats.samples import COMMENT, key_function, parse_segment
from sealift.reading.member import PackId
from sealift.reading.order import Units
from sealift.reading.pack import Buffers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sealift.reading.pack import PackContent
    from sealift.reading.shipment import Shipment

MAX_SAMPLE_BYTES = 1 << 30  # of a sample that is given out in memory
_PAX_LIMIT = 1 << 20
_ONLY_MTIME = re.compile(rb"\d+ mtime=-?[0-9.]+\n").fullmatch


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
    content: bytes | None = None  # where it was asked for, and lies as it is in one frame


def files(content: PackContent, place: int = 0, *, contents: bool = False) -> Iterator[Found]:
    """The regular files of a pack from the header at `place` on, in order. Lost, FormatError.

    `content` is used by nobody else meanwhile. Frames in which no header stands are not read, and without `contents`
    of raw frames only the headers.
    """
    header, pax = place, dict[bytes, bytes]()
    base, frame = place, memoryview(b"")
    while True:
        if not base <= place < base + len(frame):
            base, frame = content.frame(place) if contents or not content.is_raw(place) else (place, memoryview(b""))
        at = place - base
        inside = at + tar.BLOCK <= len(frame)
        block = bytes(frame[at : at + tar.BLOCK]) if inside else content.read(place, tar.BLOCK)
        kind, digits = block[156:157], block[124:135]
        if block[257:262] != b"ustar" or not digits.isdigit():
            if any(block):
                raise FormatError(f"no tar header at offset {place}")
            return
        size, data = int(digits, 8), place + tar.BLOCK
        if kind == tar.REGULAR and not pax and not block[345]:
            name = block[: block.index(0)] if not block[99] else block[:100]
            at += tar.BLOCK
            whole = bytes(frame[at : at + size]) if contents and at + size <= len(frame) else None
            yield Found(name, header, data, size, size, "", whole)
        elif kind == tar.PAX:
            if size > _PAX_LIMIT:
                raise FormatError(f"pax records of {size} bytes; at most {_PAX_LIMIT} are allowed")
            inside = at + tar.BLOCK + size <= len(frame)
            body = bytes(frame[at + tar.BLOCK :][:size]) if inside else content.read(data, size)
            if not _ONLY_MTIME(body):  # most have nothing else, and a sample has no use for it
                pax = tar.parse_pax(body)
            place = data + size + (-size & 511)
            continue
        elif kind == tar.REGULAR:
            member = tar.parse_header(block, place, pax)
            size = member.size
            found = _found(member, header)
            if found is not None:
                yield found
        header = place = data + size + (-size & 511)
        pax = {}


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
        if file.content is not None:
            data = file.content
        elif file.how == "segment":
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


class Source(Protocol):
    """What is a sample, and where they are: what an order is made over, and a reader reads by."""

    name: str  # the same words for the same samples: a state is good for no other

    def units(self) -> Units:
        """Packs or container files of the groups that are here."""

    def load(self, unit: int, lo: int, hi: int) -> list[Sample]:
        """Samples lo..hi-1 of a unit, in their order there. Lost, FormatError, BadInput."""


class PackSamples:
    """Samples as the packing kept them together: the units are packs. Not safe for threads.

    Holds the packs that were read last, each with its seek table and where every so many samples begin: a pack that
    several lanes read is walked once. All are read with the same memory.
    """

    _KEPT = 256  # packs that are kept open: more than there are lanes, or each is walked anew for every window

    def __init__(self, shipment: Shipment) -> None:
        self._shipment, self.name = shipment, "files"
        tables = []
        for number, group in sorted(shipment.groups.items()):
            counts, data = group.counts(), group.manifest.geometry.data
            places = np.flatnonzero(counts.samples)
            stripe, role = places // data, places % data
            slot = (stripe + role) % group.reader.n
            tables.append(
                (np.full_like(places, number), stripe, role, slot, counts.samples[places], counts.tar[places])
            )
        columns = [np.concatenate(each) for each in zip(*tables, strict=True)]
        self._group, self._stripe, self._role, self._slot, self._samples, self._tar = columns
        self._buffers = Buffers()
        self._walks: OrderedDict[int, _Walk] = OrderedDict()

    def units(self) -> Units:
        """Every pack that has samples."""
        key = (self._group << 40 | self._stripe << 8 | self._role).astype(np.uint64)
        return Units(key, self._samples, self._tar, self._group, self._slot, {})

    def pack(self, unit: int) -> PackId:
        """Which pack a unit is."""
        return PackId(int(self._group[unit]), int(self._stripe[unit]), int(self._role[unit]))

    def load(self, unit: int, lo: int, hi: int) -> list[Sample]:
        """Samples lo..hi-1 of a pack."""
        pack, told = self.pack(unit), int(self._samples[unit])
        walk = self._walk_of(unit, pack)
        number, place = walk.mark(lo)
        if number < lo:
            place = next((run[0].header for number, _, run in walk.samples(number, place) if number == lo), -1)
        found = list[Sample]()
        if place >= 0:
            walk.content.read_until(place + (hi - lo) * int(self._tar[unit]) // told)
            for number, key, run in walk.samples(lo, place, contents=True):
                if number == hi:
                    walk.note(number, run[0].header)
                    break
                found.append(load(self._shipment, pack, walk.content, key, run))
        if len(found) < hi - lo or number == hi == told:
            raise FormatError(f"pack {tuple(pack)} has not the {told} samples that the table of packs says")
        return found

    def _walk_of(self, unit: int, pack: PackId) -> _Walk:
        if unit in self._walks:
            self._walks.move_to_end(unit)
        else:
            group = self._shipment.groups[pack.group]
            content = group.content(pack.stripe, pack.role, self._buffers)
            self._walks[unit] = _Walk(content, key_function(group.counts().sample_key))
            if len(self._walks) > self._KEPT:
                self._walks.popitem(last=False)
        return self._walks[unit]


class _Walk:
    """A pack whose samples are counted by walking its headers, and where some of them were found to begin."""

    _EVERY = 64  # samples between places that are remembered

    def __init__(self, content: PackContent, key_of: Callable[[bytes], bytes]) -> None:
        self.content, self._key_of = content, key_of
        self._marks = [(0, 0)]

    def mark(self, number: int) -> tuple[int, int]:
        """The last sample up to `number` of which it is known where it begins, and where."""
        return self._marks[bisect_right(self._marks, number, key=itemgetter(0)) - 1]

    def note(self, number: int, place: int) -> None:
        """Sample `number` begins at `place`."""
        if self.mark(number)[0] != number:
            insort(self._marks, (number, place))

    def samples(self, number: int, place: int, *, contents: bool = False) -> Iterator[tuple[int, bytes, list[Found]]]:
        """The samples from `number` on, which begins at `place`: number, key and files of each."""
        for at, (key, run) in enumerate(runs(files(self.content, place, contents=contents), self._key_of), number):
            if at % self._EVERY == 0:
                self.note(at, run[0].header)
            yield at, key, run
