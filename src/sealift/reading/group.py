"""Bytes of a group's packs: read from a drive where they are good, rebuilt from the stripe where they are not.

    fetch     bytes of a pack as its drive gives them: not checked; short or None when the drive does not answer
    verified  bytes of a pack, checked block by block against the signed hashes, rebuilt where needed
    file      one of the files that every drive of the group has, from whichever copy is good

Strictly read-only. Knows no key: it deals in ciphertext and parity. Every rebuilt block is counted. Safe for threads.
"""

from __future__ import annotations

import threading
import weakref
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

import numpy as np
from blake3 import blake3

from sealift.errors import DriveFault, FormatError, Lost
from sealift.formats import manifest, parity
from sealift.formats.manifest import (
    BLOCK,
    PACK,
    PACKS,
    PackRecord,
)

if TYPE_CHECKING:
    from sealift.drives.base import Drive, ReadFile
    from sealift.reading.survey_views import GroupView

_OPEN_FILES = 64
_REBUILT = 32  # blocks kept after a rebuild: a reader comes back for the next chunk of the same block


class Held:
    """An open file that closes when nobody holds it any more; reads only."""

    def __init__(self, file: ReadFile) -> None:
        self._file, self.length = file, file.length
        self._closer = weakref.finalize(self, file.close)

    def read_at(self, offset: int, length: int) -> bytes:
        """As drives.base.ReadFile."""
        return self._file.read_at(offset, length)

    def close(self) -> None:
        """Close now; again does nothing."""
        self._closer()


class GroupReader:
    """One group on the drives that are here: `drives` maps a slot to the drives that hold its packs.

    The view's manifest has been trusted by the caller; everything else is checked against it.
    """

    def __init__(self, view: GroupView) -> None:
        record = view.manifest
        self.manifest = record
        self.drives: dict[int, list[Drive]] = {
            slot: [each.drive for each in views] for slot, views in view.copies.items()
        }
        self.data, self.parity, self.n = record.geometry.data, record.geometry.parity, record.n
        self.rebuilt: Counter[str] = Counter()  # blocks rebuilt, by the id of the drive that should have had them
        self._lock = threading.RLock()
        self._files: OrderedDict[tuple[int, str], Held | None] = OrderedDict()
        self._cache: OrderedDict[tuple[int, int, int], bytes] = OrderedDict()
        self._packs, self._blocks = view.open_pages()

    def close(self) -> None:
        """Close every file."""
        with self._lock:
            for file in self._files.values():
                if file is not None:
                    file.close()
            self._files.clear()
            self._packs.close()
            self._blocks.close()

    def record(self, stripe: int, role: int) -> PackRecord:
        """The signed record of a pack; FormatError when no drive has a good page of packs.bin."""
        with self._lock:
            place = stripe * self.n + role
            record = PackRecord(*PACK.unpack(self._packs.get(place, place + 1)))
        if record.length > manifest.MAX_PACK:
            raise FormatError(f"{PACKS}: pack {stripe}/{role} is {record.length} bytes long")
        return record

    def _handle(self, drive: Drive, stripe: int, role: int) -> Held | None:
        name = manifest.pack_name(stripe, role, self.data)
        key = (id(drive), name)
        with self._lock:
            if key in self._files:
                self._files.move_to_end(key)
                return self._files[key]
            try:
                file: Held | None = Held(drive.open_read(name))
            except (DriveFault, FormatError):
                file = None
            self._files[key] = file
            if len(self._files) > _OPEN_FILES:
                self._files.popitem(last=False)  # closed when its last reader lets go
            return file

    def fetch(self, stripe: int, role: int, offset: int, length: int) -> bytes | None:
        """`length` bytes of a pack as the first drive that answers has them, unchecked; None if none does."""
        for drive in self.drives.get(manifest.slot_of(stripe, role, self.n), ()):
            file = self._handle(drive, stripe, role)
            if file is None:
                continue
            try:
                data = file.read_at(offset, length)
            except DriveFault:
                continue
            if len(data) == length:
                return data
        return None

    def block(self, stripe: int, role: int, number: int) -> bytes:
        """One block of a pack, checked against the signed hash, from a drive or rebuilt; Lost if neither can be."""
        key = (stripe, role, number)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        data = self._good_block(stripe, role, number)
        if data is None:
            data = self._rebuild(stripe, role, number)
            with self._lock:
                slot = manifest.slot_of(stripe, role, self.n)
                self.rebuilt[self.manifest.drives[slot].id] += 1
                self._cache[key] = data
                if len(self._cache) > _REBUILT:
                    self._cache.popitem(last=False)
        return data

    def _good_block(self, stripe: int, role: int, number: int) -> bytes | None:
        record = self.record(stripe, role)
        length = min(BLOCK, record.length - number * BLOCK)
        wanted = self._hash(record, number)
        for drive in self.drives.get(manifest.slot_of(stripe, role, self.n), ()):
            file = self._handle(drive, stripe, role)
            if file is None:
                continue
            try:
                data = file.read_at(number * BLOCK, length)
            except DriveFault:
                continue
            if len(data) == length and blake3(data).digest() == wanted:
                return data
        return None

    def _hash(self, record: PackRecord, number: int) -> bytes:
        with self._lock:
            return self._blocks.get(record.first_block + number, record.first_block + number + 1)

    def _rebuild(self, stripe: int, role: int, number: int) -> bytes:
        have: dict[int, np.ndarray] = {}
        bad: list[str] = []
        for other in range(self.n):
            if other == role or len(have) == self.data:
                continue
            length = min(BLOCK, self.record(stripe, other).length - number * BLOCK)
            column = np.zeros(BLOCK, dtype=np.uint8)
            if length > 0:
                data = self._good_block(stripe, other, number)
                if data is None:
                    bad.append(self.manifest.drives[manifest.slot_of(stripe, other, self.n)].id)
                    continue
                column[:length] = np.frombuffer(data, dtype=np.uint8)
            have[other] = column
        record = self.record(stripe, role)
        name = manifest.pack_name(stripe, role, self.data)
        if len(have) < self.data:
            drive = self.manifest.drives[manifest.slot_of(stripe, role, self.n)].id
            raise Lost(
                f"block {number} of {name} of drive {drive} is lost: {', '.join(bad)} do not have theirs either, and "
                f"parity holds {self.parity}",
                hint="attach more drives of this group; what else is on these drives can still be read",
            )
        out = np.empty(BLOCK, dtype=np.uint8)
        parity.rebuild(self.data, self.parity, have, {role: out})
        data = out[: min(BLOCK, record.length - number * BLOCK)].tobytes()
        if blake3(data).digest() != self._hash(record, number):
            raise Lost(f"block {number} of {name} was rebuilt and does not match its signed hash")
        return data

    def verified(self, stripe: int, role: int, offset: int, length: int) -> bytes:
        """`length` bytes of a pack, every block of them checked or rebuilt; Lost if one cannot be."""
        first, last = offset // BLOCK, (offset + length - 1) // BLOCK
        data = b"".join(self.block(stripe, role, number) for number in range(first, last + 1))
        start = offset - first * BLOCK
        return data[start : start + length]

    def copies(self) -> list[Drive]:
        """Every drive here, in order of slots: each has the group's own files."""
        return [drive for slot in sorted(self.drives) for drive in self.drives[slot]]
