"""The reading side of a rebuild: a thread for each drive that is read, and columns, which say whether they are right.

What holds: a column is `good` only where every byte of it is as its signed hash says, whichever copy it came from. A
drive that is gone, or fails block after block, is asked for nothing more; one in another host that gave something else
than what was signed is named. How fast each gives is counted in `rates`.

What is not here: which blocks are wanted, solving and writing (rebuild.py).
"""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Literal

from blake3 import blake3

from sealift.drives.base import ALIGN, errno_of, is_missing, reason
from sealift.drives.ranges import RemoteDrive, Workers
from sealift.errors import DriveFault, FormatError
from sealift.formats import manifest as mf
from sealift.formats.manifest import BLOCK
from sealift.stages.rates import Rates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sealift.drives.base import Drive, ReadFile
    from sealift.stages.latch import Latch
    from sealift.stages.rebuild import StripeWork

GIVE_UP = 32  # blocks that a drive fails one after the other before it is asked for nothing more
SILENT = 8  # blocks, the last it was asked for, after which it is said to be silent
Why = Literal["unreadable", "missing"]
_GONE = {errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN, errno.ESHUTDOWN, errno.ENOMEDIUM}


class Sources:
    """Open packs of the drives that are read, and which drives answer no more."""

    def __init__(self, drives: Mapping[int, Sequence[Drive]], data: int) -> None:
        self._drives, self._data = drives, data
        self._readers = {slot: Workers(1, f"read-{slot}") for slot in drives}
        self._open: dict[int, OrderedDict[tuple[int, int], ReadFile | Why]] = {slot: OrderedDict() for slot in drives}
        self._failed: dict[str, int] = {}
        self._why: dict[str, str] = {}  # mount -> what it last failed with
        self.hosts: dict[str, str] = {}  # as of Rebuilt
        self.failed: dict[str, str] = {}  # as of Rebuilt
        self.bytes_read, self.rates = 0, Rates[str]()
        self._lock = threading.Lock()

    def has(self, slot: int) -> bool:
        """Whether a drive of this slot is here."""
        return bool(self._drives.get(slot))

    def is_late(self, slot: int) -> bool:
        """Whether it stands only in hosts that are slow, or did not give what was asked for last: asked last."""
        return all(
            isinstance(drive, RemoteDrive) and (drive.slow or self._failed.get(drive.mount, 0) > 0)
            for drive in self._drives[slot]
        )

    def silent(self) -> dict[str, str]:
        """As of Rebuilt: drives here that failed at the last blocks they were asked for, and now give nothing else."""
        found = {}
        for drive in (drive for drives in self._drives.values() for drive in drives):
            if isinstance(drive, RemoteDrive) or self._failed.get(drive.mount, 0) < SILENT:
                continue
            try:  # a drive with a bad region, be it a whole pack, is no silent one
                with drive.open_read(mf.MANIFEST, direct=True) as file:
                    file.read_at(0, ALIGN)
            except (FormatError, DriveFault) as error:
                if not is_missing(error):
                    found[drive.mount] = self._why.get(drive.mount) or str(error)
        return found

    def read(self, latch: Latch, slot: int, stripe: int, role: int, offset: int, column: Column) -> None:
        """Fill a column from the first copy that has it whole."""
        latch.put(self._readers[slot], partial(self._read, slot, stripe, role, offset, column))

    def _read(self, slot: int, stripe: int, role: int, offset: int, column: Column) -> None:
        for number, drive in enumerate(self._drives[slot]):
            column.away |= isinstance(drive, RemoteDrive)
            if self._failed.get(drive.mount, 0) >= GIVE_UP:
                column.why = column.why or "unreadable"
                continue
            if isinstance(drive, RemoteDrive):
                self._why.pop(drive.mount, None)
            file = self._file(slot, number, drive, stripe, role)
            if isinstance(file, str):
                column.why = column.why or file
            else:
                self._fill(file, drive, offset, column)
            if column.good:
                return
            if isinstance(drive, RemoteDrive):
                self._not_given(drive, mf.pack_name(stripe, role, self._data), column)

    def _not_given(self, drive: RemoteDrive, name: str, column: Column) -> None:
        """Note what a host did in place of giving what was signed; without hashes nobody can say that it was not."""
        why = self._why.get(drive.mount, "" if column.proves else None)
        if why is not None:
            self.hosts.setdefault(
                drive.mount, reason(why, drive.mount) or f"what it gives of {name} is not what was signed"
            )

    def _fill(self, file: ReadFile, drive: Drive, offset: int, column: Column) -> None:
        """Read it; from a medium once more where that failed, as not all that fails once is gone."""
        for again in (True,) if isinstance(drive, RemoteDrive) else (False, True):
            begun = time.monotonic()
            try:
                got = file.readinto_at(offset, column.memory[: -(-column.length // ALIGN) * ALIGN])
            except DriveFault as error:
                self._why[drive.mount] = str(error)
                if errno_of(error) in _GONE:
                    self._failed[drive.mount] = GIVE_UP
                    column.why = column.why or "unreadable"
                    return
                if again:
                    self._failed[drive.mount] = self._failed.get(drive.mount, 0) + 1
                    column.unread = True
                    self._note_failed(drive, error)
            else:
                self._failed[drive.mount] = 0
                self._why.pop(drive.mount, None)
                self.rates.add(drive.mount, got, time.monotonic() - begun)
                with self._lock:
                    self.bytes_read += min(got, column.length)
                if got >= column.length:
                    column.check()
                return

    def _file(self, slot: int, number: int, drive: Drive, stripe: int, role: int) -> ReadFile | Why:
        """The open pack, or why there is none."""
        files, key = self._open[slot], (stripe, number)
        if key not in files:
            file: ReadFile | Why
            try:
                file = drive.open_read(mf.pack_name(stripe, role, self._data), direct=True)
            except FormatError as error:
                file, self._why[drive.mount] = "missing", str(error)
            except DriveFault as error:
                file = "missing" if is_missing(error) else "unreadable"
                self._why[drive.mount] = str(error)
                if errno_of(error) in _GONE and not isinstance(drive, RemoteDrive):  # a host may answer the next time
                    self._failed[drive.mount] = GIVE_UP
                elif file == "unreadable":
                    self._failed[drive.mount] = self._failed.get(drive.mount, 0) + 1
                    self._note_failed(drive, error)
            files[key] = file
            while len(files) > 4 * len(self._drives[slot]):
                old = files.popitem(last=False)[1]
                if not isinstance(old, str):
                    old.close()
        return files[key]

    def _note_failed(self, drive: Drive, error: DriveFault) -> None:
        if not isinstance(drive, RemoteDrive):
            self.failed.setdefault(drive.mount, str(error))

    def close(self) -> None:
        """Have the readers end, and close what they have open."""
        for reader in self._readers.values():
            reader.close()
        for files in self._open.values():
            for file in files.values():
                if not isinstance(file, str):
                    file.close()


class Column:
    """A block of one role: `length` bytes of it, and whether they are as its hash says; beyond its pack, zeros."""

    def __init__(self, memory: memoryview, work: StripeWork, role: int, block: int) -> None:
        self.memory, self._place = memory, (work, role, block)
        self.length = max(0, min(BLOCK, work.lengths[role] - block * BLOCK))
        self.good = self.length == 0
        self._digest: bytes | None = None
        self._asked = self.length == 0  # for its hash
        self.read = False
        self.unread = False
        self.why: Why | None = None  # why no copy was there to read
        self.away = False  # a drive in another host was asked

    @property
    def proves(self) -> bool:
        """Whether there is a hash to check it by."""
        if not self._asked:
            work, role, block = self._place
            with contextlib.suppress(FormatError):  # damaged on every drive: nothing of this pack can be proved
                self._digest = work.hashes(role, block, block + 1)
            self._asked = True
        return self.length == 0 or self._digest is not None

    @property
    def digest(self) -> bytes:
        """What it must have; of one that is good, and not empty."""
        assert self._digest is not None, "it was proved"
        return self._digest

    def check(self) -> bool:
        """Whether what lies in its memory is right."""
        self.good = self.proves and blake3(self.memory[: self.length]).digest() == self._digest
        return self.good

    def pad(self, size: int) -> None:
        """Zeros after the end of the pack, as the code reads it."""
        if self.length < size:
            self.memory[self.length : size] = bytes(size - self.length)

    def kind(self) -> Literal["rotten", "unreadable", "missing"]:
        """What is wrong with one that is not good."""
        return self.why or ("unreadable" if self.unread else "rotten")
