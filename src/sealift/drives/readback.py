"""Whether a drive that says that it erased did: markers before, the same places read afterwards.

Places are drawn at random for every erasure: the drive is cut into up to SECTIONS sections, of each two places of PLACE
bytes are read, and besides the first and the last of the drive. Nobody knows beforehand which they are. On a drive of
less than SECTIONS x 2 x PLACE bytes (125 MiB) that is every byte.

What holds: before the drive is asked to erase, a marker of MARKER random bytes is written at the first place of every
section and at both ends, flushed, and read from the drive again. So there is something to be erased at every marker,
whatever stood there, and a drive whose log of an earlier erasure is taken for this one's is found out. Afterwards every
place must hold what the technique leaves: zeros, or, where it leaves what it likes, no 512 bytes of what was there.

What is not here: asking the drive to erase.
"""

from __future__ import annotations

import os
import random
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from sealift.drives.base import aligned_buffer
from sealift.errors import DriveFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sealift.drives.device import Device

SECTIONS = 1000
PLACE = 64 << 10  # bytes
MARKER = 4096  # bytes: a page, the largest block of a drive
CHUNK = 4 << 20  # bytes of a read of everything
_SECTOR = 512


class Place(NamedTuple):
    """Bytes of the drive that are read."""

    offset: int
    length: int


class Read(NamedTuple):
    """What was read back and found right."""

    places: int
    bytes: int


@dataclass
class Witness:
    """Places of one erasure, and what was there before. `seed` draws the places, `key` makes the markers."""

    size: int
    seed: int = field(default_factory=lambda: secrets.randbits(64))
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    before: dict[int, bytes] = field(default_factory=dict)  # offset of a sector: its digest, unless all of it is alike

    def __post_init__(self) -> None:
        self.places = sorted(_places(self.size, self.seed))
        self.marked = sorted(_marked(self.size, self.places))

    def marker(self, offset: int, length: int) -> bytes:
        """The marker at `offset`: nobody without the key can tell it from noise, or make it again."""
        return blake3(offset.to_bytes(8, "little"), key=self.key).digest(length=length)

    def mark(self, device: Device, *, remember: bool, say: Callable[[int], None]) -> None:
        """Write the markers, and see that the drive keeps them; `remember` what stood at the places besides.

        `say` gets the bytes read so far. DriveFault: it keeps nothing.
        """
        buffer = aligned_buffer(PLACE)
        done = 0
        for place in self.places if remember else []:
            part = buffer[: place.length]
            device.read(place.offset, part)
            self._note(place.offset, part)
            done += place.length
            say(done)
        for place in self.marked:
            part = buffer[: place.length]
            part[:] = self.marker(place.offset, place.length)
            device.write(place.offset, part)
            say(done)
        device.flush()
        for place in self.marked:
            part = buffer[: place.length]
            part[:] = bytes(place.length)  # what a read leaves as it was is no right answer
            device.read(place.offset, part)
            if part != self.marker(place.offset, place.length):
                raise DriveFault(
                    f"{device.node}: it does not keep what is written to it, at byte {place.offset:,}",
                    drive=device.node,
                    hint="a drive that cannot be written cannot be shown to be erased: destroy it",
                )
            self._note(place.offset, part)
            say(done)

    def _note(self, offset: int, data: memoryview) -> None:
        for at in range(0, len(data), _SECTOR):
            sector = bytes(data[at : at + _SECTOR])
            if sector.count(sector[0]) != len(sector):  # all alike tells nothing: it may be what erasing leaves
                self.before[offset + at] = blake3(sector).digest()

    def look(self, device: Device, *, zeros: bool, whole: bool, say: Callable[[int], None]) -> Read:
        """Read the places and compare; `say` gets the bytes read so far. DriveFault: it did not erase.

        `whole`: read everything, which only zeros allow: the rest has nothing to be compared with.
        """
        assert zeros or not whole
        buffer = aligned_buffer(CHUNK)
        count = done = 0
        for place in _everything(self.size) if whole else self.places:
            part = buffer[: place.length]
            part[:8] = os.urandom(min(8, len(part)))  # what a read leaves as it was is no right answer
            device.read(place.offset, part)
            wrong = _first_not_zero(part) if zeros else self._first_of_before(place, part)
            if wrong is not None:
                raise self._fault(device, place.offset + wrong, bytes(part[wrong : wrong + 16]), zeros=zeros)
            count, done = count + 1, done + place.length
            say(done)
        return Read(count, done)

    def _first_of_before(self, place: Place, data: memoryview) -> int | None:
        for at in range(0, place.length, _SECTOR):
            known = self.before.get(place.offset + at)
            if known is not None and blake3(data[at : at + _SECTOR]).digest() == known:
                return at
        return None

    def _fault(self, device: Device, offset: int, found: bytes, *, zeros: bool) -> DriveFault:
        marked = next((p for p in self.marked if p.offset <= offset < p.offset + p.length), None)
        ours = marked is not None and found in self.marker(marked.offset, marked.length)
        what = "what was written there before" if ours or not zeros else "something that is not zero"
        return DriveFault(
            f"{device.node}: it said that it was erased, and it was not: at byte {offset:,} there still is {what}",
            drive=device.node,
            hint="there is no certificate; use another technique, or destroy the drive",
        )


def _places(size: int, seed: int) -> set[Place]:
    draw = random.Random(seed)  # noqa: S311 -- the seed is the system's
    slots = -(-size // PLACE)
    sections = max(1, min(SECTIONS, slots // 2))
    chosen = {0, slots - 1}
    for section in range(sections):
        first, end = slots * section // sections, slots * (section + 1) // sections
        chosen.update(draw.sample(range(first, end), min(2, end - first)))
    return {_place(slot, size) for slot in chosen}


def _place(slot: int, size: int) -> Place:
    return Place(slot * PLACE, min(PLACE, size - slot * PLACE))


def _marked(size: int, places: list[Place]) -> set[Place]:
    """The head of the first place of every section, and the very end of the drive."""
    sections = max(1, min(SECTIONS, -(-size // PLACE) // 2))
    heads: dict[int, Place] = {}
    for place in places:
        heads.setdefault(place.offset * sections // size, place)
    last = places[-1]
    tail = max(last.offset, last.offset + (last.length - MARKER) // MARKER * MARKER) if last.length > MARKER else None
    marks = {Place(place.offset, min(MARKER, place.length)) for place in heads.values()}
    if tail is not None:
        marks.add(Place(tail, last.offset + last.length - tail))
    return marks


def _everything(size: int) -> Iterator[Place]:
    for offset in range(0, size, CHUNK):
        yield Place(offset, min(CHUNK, size - offset))


def _first_not_zero(data: memoryview) -> int | None:
    import numpy as np

    whole = len(data) // 8 * 8
    if not np.frombuffer(data[:whole], np.uint64).any() and not any(data[whole:]):
        return None
    return int(np.flatnonzero(np.frombuffer(data, np.uint8))[0])
