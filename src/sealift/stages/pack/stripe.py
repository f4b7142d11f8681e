"""One stripe on its way to n drives: parity is coded beside the builders' slabs, a thread a drive writes.

A drive that fails is set aside (crew.py), and the stripe goes on without it; one too many ends it. `failure` is what
a thread ran into, for the coordinating thread to raise. A file is fsynced, renamed, and its folder fsynced by
`publish`; nothing is there under its name before.
"""

from __future__ import annotations

import functools
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from blake3 import blake3

from sealift.errors import SealiftError
from sealift.formats import manifest, parity
from sealift.formats.manifest import BLOCK
from sealift.stages.pack.crew import FAULTS
from sealift.stages.pack.units import Credit, Filled

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from sealift.drives.base import PartFile
    from sealift.stages.pack.crew import Crew
    from sealift.stages.pack.workers import Fleet
    from sealift.stages.rates import Rates


class StripeWriter:
    """The n packs of one stripe on their way to n drives, or to those of them that are not set aside."""

    def __init__(
        self, fleet: Fleet, crew: Crew, rates: Rates[int], writers: Sequence[ThreadPoolExecutor], stripe: int
    ) -> None:
        self._fleet, self._crew, self._rates, self._writers, self._stripe = fleet, crew, rates, writers, stripe
        self._parts: dict[int, PartFile] = {}  # by role
        self._filled: dict[int, dict[int, int]] = {}  # column -> role -> bytes
        self._ended: dict[int, int] = {}  # role -> columns
        self._next = 0  # first column that is not coded
        self._done: set[int] = set()
        self._freed = 0
        self._lock = threading.Lock()
        self._coder = ThreadPoolExecutor(1, thread_name_prefix="parity")
        self._futures: list[Future[None]] = []
        self.parity_hash = [blake3() for _ in range(fleet.parity)]
        self.parity_blocks = [bytearray() for _ in range(fleet.parity)]
        self.parity_length = 0
        self.failure: BaseException | None = None
        self.written = [0] * fleet.n  # by slot

    def filled(self, message: Filled) -> None:
        """A builder filled a slab."""
        self._filled.setdefault(message.column, {})[message.role] = message.length
        self._advance()

    def ended(self, role: int, columns: int) -> None:
        """A pack is complete after `columns` slabs."""
        self._ended[role] = columns
        self._advance()

    def _advance(self) -> None:
        while True:
            column = self._next
            lengths = self._filled.get(column, {})
            waiting = [
                role
                for role in range(self._fleet.data)
                if role not in lengths and self._ended.get(role, 1 << 62) > column
            ]
            if waiting or not lengths:
                return
            del self._filled[column]
            self._next += 1
            self._futures.append(self._coder.submit(self._code, column, lengths))

    def _code(self, column: int, lengths: dict[int, int]) -> None:
        """Parity of one column, its hashes, and the writes of all n."""
        try:
            if self.failure is not None:
                return
            fleet = self._fleet
            slot, longest = column % fleet.setup.depth, max(lengths.values())
            memory = fleet.memory
            have = {
                role: (memory[role, slot] if role in lengths else fleet.zeros)[:longest] for role in range(fleet.data)
            }
            want = {fleet.data + j: memory[fleet.data + j, slot][:longest] for j in range(fleet.parity)}
            parity.rebuild(fleet.data, fleet.parity, have, want)
            for j in range(fleet.parity):
                coded = memoryview(want[fleet.data + j])
                for start in range(0, longest, BLOCK):
                    self.parity_blocks[j] += blake3(coded[start : start + BLOCK]).digest()
                self.parity_hash[j].update(coded)
                lengths[fleet.data + j] = longest
            self.parity_length += longest
            pending = [len(lengths)]
            for role, length in lengths.items():
                place = manifest.slot_of(self._stripe, role, fleet.n)
                job = self._writers[place].submit(self._write, place, role, column, memory[role, slot], length)
                job.add_done_callback(functools.partial(self._wrote, column, pending))
        except BaseException as error:  # noqa: BLE001 -- handed to the coordinating thread
            self.failure = self.failure or error

    def _write(self, place: int, role: int, column: int, slab: NDArray[np.uint8], length: int) -> None:
        if self.failure is not None:
            return
        drive = self._crew.drive(place)
        if drive is None:
            return
        begun = time.monotonic()
        try:
            with self._crew.asked(place):
                part = self._parts.get(role)
                if part is None:
                    name = manifest.pack_name(self._stripe, role, self._fleet.data)
                    part = self._parts[role] = drive.create(name, direct=True)
                part.write_at(column * self._fleet.setup.slab, [slab[:length].data])
        except FAULTS as error:
            self._fail(place, role, error)
            return
        self._rates.add(place, length, time.monotonic() - begun)
        self.written[place] += length

    def _fail(self, place: int, role: int, error: BaseException) -> None:
        """Set a drive aside; raises when it is one too many. What was begun on it goes, if it still can."""
        try:
            self._crew.fail(place, self._stripe, error)
        finally:
            self._abandon(place, role)

    def _wrote(self, column: int, pending: list[int], job: Future[None]) -> None:
        error = job.exception()
        if error is not None:
            self.failure = self.failure or error
        with self._lock:
            pending[0] -= 1
            if pending[0]:
                return
            self._done.add(column)
            while self._freed in self._done:
                self._done.remove(self._freed)
                self._freed += 1
            credit = Credit(self._freed + self._fleet.setup.depth)
        for builder in self._fleet.builders:
            builder.send(credit)

    def drain(self) -> None:
        """Return when everything that was filled has been written to the drives' files (not yet synced)."""
        self._crew.until(self._futures)
        for future in self._futures:
            future.result()
        self._coder.shutdown()
        self._crew.until([writer.submit(int) for writer in self._writers])  # each does one thing at a time
        if self.failure is not None:
            raise self.failure

    def abandon(self) -> None:
        """Give up: remove what was written, in the drives' threads, for a drive may hang in this, too."""
        self.failure = self.failure or SealiftError("abandoned")
        self._coder.shutdown()
        places = {role: manifest.slot_of(self._stripe, role, self._fleet.n) for role in range(self._fleet.n)}
        self._crew.until([self._writers[place].submit(self._abandon, place, role) for role, place in places.items()])

    def _abandon(self, place: int, role: int) -> None:
        part = self._parts.pop(role, None)
        if part is not None:
            with self._crew.asked(place):
                part.abandon()

    def publish(self) -> None:
        """Fsync n files and rename them; then fsync n folders. All drives at once; one that fails is set aside."""
        jobs = [
            self._writers[manifest.slot_of(self._stripe, role, self._fleet.n)].submit(self._finish, role)
            for role in list(self._parts)
        ]
        for job in jobs:
            job.result()

    def _finish(self, role: int) -> None:
        place = manifest.slot_of(self._stripe, role, self._fleet.n)
        drive = self._crew.drive(place)
        if drive is None:
            self._abandon(place, role)
            return
        begun = time.monotonic()
        try:
            with self._crew.asked(place):
                self._parts[role].publish()
                drive.sync_folder(manifest.pack_name(self._stripe, role, self._fleet.data))
        except FAULTS as error:
            self._fail(place, role, error)
            return
        self._rates.add(place, 0, time.monotonic() - begun)
