"""A perfect model of a signed group: it kept every byte of every drive, and compares.

Nothing is worked out from what was done to the drives: what is damaged is what differs from what was signed, and what
is lost follows from the code alone: a column is gone where more of its data is bad than parity is good. rebuilt.json
alone is not compared: nobody signed it, and what it says stands in drive.json.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from sealift.errors import FormatError
from sealift.formats import manifest as mf
from sealift.formats.manifest import BLOCK

Files = dict[str, bytes]
SHARED = (mf.MANIFEST, mf.SIGNATURE, *mf.GROUP_FILES)
SAMPLED = 8  # of a drive's packs may be asked what drive it is


@dataclass
class Model:
    """What the drives of one group held when it was signed, by slot."""

    data: int
    parity: int
    signed: list[Files]

    def __post_init__(self) -> None:
        self.n = self.data + self.parity
        self.record = mf.decode_manifest(self.signed[0][mf.MANIFEST])
        self.stripes = self.record.geometry.stripes
        self.files = [dict(each) for each in self.signed]  # of the shipment; what a drive that was rebuilt has, too

    def pack(self, stripe: int, role: int) -> tuple[int, str]:
        """The slot and the name of a pack."""
        return mf.slot_of(stripe, role, self.n), mf.pack_name(stripe, role, self.data)

    def bad_blocks(self, now: dict[int, Files]) -> dict[tuple[int, int], set[int]]:
        """(stripe, block) -> the roles that are not as they were signed; slots that are not in `now` are."""
        found: dict[tuple[int, int], set[int]] = {}
        for stripe in range(self.stripes):
            for role in range(self.n):
                slot, name = self.pack(stripe, role)
                want = self.signed[slot].get(name, b"")
                have = now.get(slot, {}).get(name, b"")
                for block in range(-(-len(want) // BLOCK)):
                    window = slice(block * BLOCK, (block + 1) * BLOCK)
                    # a longer file has the same bytes in its last block
                    if want[window] != have[window][: len(want[window])]:
                        found.setdefault((stripe, block), set()).add(role)
        return found

    def lost(self, now: dict[int, Files]) -> dict[tuple[int, int], set[int]]:
        """The columns that cannot be solved, with what is bad in them; slots that are not in `now` are lost."""
        return {
            (stripe, block): roles
            for (stripe, block), roles in self.bad_blocks(now).items()
            if sum(role < self.data for role in roles) > self._good_parity(stripe, block, roles)
        }

    def _good_parity(self, stripe: int, block: int, bad: set[int]) -> int:
        there = 0
        for role in set(range(self.data, self.n)) - bad:
            slot, name = self.pack(stripe, role)
            there += len(self.signed[slot].get(name, b"")) > block * BLOCK
        return there

    def stand_ins(self, now: dict[int, Files], serials: dict[int, str]) -> set[int]:
        """Slots whose drive says that it was rebuilt, on another medium: the one that was signed may have more."""
        rows = self.record.drives
        return {slot for slot, files in now.items() if serials[slot] != rows[slot].serial and self._says_rebuilt(files)}

    def _says_rebuilt(self, files: Files) -> bool:
        with contextlib.suppress(KeyError, FormatError):
            if mf.decode_card(files[mf.CARD]).rebuilt:
                return True
        with contextlib.suppress(KeyError, FormatError):
            return bool(mf.decode_rebuilt(files[mf.REBUILT]))
        return False

    def state(self, now: dict[int, Files], serials: dict[int, str], *, final: bool) -> str:
        """What verify must say; `serials` by slot, of the media that are here."""
        gone = set(range(self.n)) - now.keys()
        awaited = gone | self.stand_ins(now, serials)
        assumed = now if final else now | {slot: self.files[slot] for slot in awaited}
        if self.lost(assumed):
            return "lost"
        if not final and (gone or self.lost(now)):
            return "unseen"
        return "recoverable" if gone or self.differs(now) else "intact"

    def lost_packs(self, now: dict[int, Files]) -> set[tuple[int, int]]:
        """(stripe, role) of the packs, data and parity, that have a block that cannot be had."""
        return {(stripe, role) for (stripe, _), roles in self.lost(now).items() for role in roles}

    def differs(self, now: dict[int, Files]) -> set[tuple[int, str]]:
        """(slot, name) of every file that is not as it should be: other bytes, gone, or too many."""
        return {
            (slot, name)
            for slot, files in now.items()
            for name in files.keys() | self.files[slot].keys()
            if name != mf.REBUILT and files.get(name) != self.files[slot].get(name)
        }

    def has_no_pack(self, slot: int, files: Files) -> bool:
        """Whether none of a drive's packs is there, in whatever state: what repair makes then says so."""
        return not any(name.startswith("packs/") and name in files for name in self.signed[slot])

    def is_told(self, now: dict[int, Files]) -> bool:
        """Whether what sealift promises applies: one drive has all that is shared, and each can be told apart."""
        whole = any(all(files.get(name) == self.signed[slot][name] for name in SHARED) for slot, files in now.items())
        return whole and all(self._is_identified(slot, files) for slot, files in now.items())

    def _is_identified(self, slot: int, files: Files) -> bool:
        card = files.get(mf.CARD) == self.files[slot][mf.CARD]
        for stripe in {self.stripes * i // SAMPLED for i in range(SAMPLED)}:
            name = mf.pack_name(stripe, mf.role_of(stripe, slot, self.n), self.data)
            want = self.signed[slot].get(name, b"")
            if want and files.get(name, b"")[: len(want)][:BLOCK] == want[:BLOCK]:
                return True
        return card
