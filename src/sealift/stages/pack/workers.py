"""The processes that walk the source and build packs, and the memory that they share with the coordinator.

They are started early, for an interpreter takes a tenth of a second to be ready: `Workers` before anything else is
looked at; `Fleet` tells them what to build, and in which memory. Before it does, a builder is given every lock that the
coordinator has, so that one whose coordinator was killed still keeps others out.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Self

from sealift.errors import SealiftError, SourceFault
from sealift.stages.pack import units
from sealift.stages.pack.walk import Seen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sealift.stages.pack.units import Setup


SHARED_EVERY = 0.01  # seconds that a process walks before its folders are shared out again; 40 ms are slower
MOST_BESIDE = 4  # threads that a builder can keep busy: it reads, hashes and enciphers what they make


class BuilderProcess:
    """One builder and the messages to it; `send` is safe from any thread."""

    def __init__(self, memory: int) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            theirs.set_inheritable(True)
            # a terminal's Ctrl-C is for the coordinator; a builder is born deaf to it, from its first import on
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "sealift.stages.pack.builder", str(theirs.fileno()), str(memory)],
                    pass_fds=[theirs.fileno(), memory],
                    stdin=subprocess.DEVNULL,
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self.connection = Connection(os.dup(self._socket.fileno()))
        self._lock = threading.Lock()

    def hold(self, locks: Sequence[int]) -> None:
        """Let it hold these locks, too, for as long as it lives."""
        starts = range(0, len(locks), units.MOST_FDS)
        self.send(units.Hold(len(starts)))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for start in starts:
                socket.send_fds(self._socket, [b"L"], locks[start : start + units.MOST_FDS])

    def send(self, message: units.ToBuilder) -> None:
        """Send; a builder that is gone shows when it is next heard."""
        with self._lock, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send_bytes(units.encoder.encode(message))

    def receive(self) -> units.FromBuilder:
        """The next message; SealiftError when it cannot go on, or is gone."""
        try:
            message: units.FromBuilder = units.from_builder.decode(self.connection.recv_bytes())
        except (EOFError, ConnectionResetError) as error:
            raise SealiftError(
                "a builder process ended before its work was done (killed, or out of memory)",
                hint="committed stripes are safe; run the same command again to go on",
            ) from error
        if isinstance(message, units.Failed) and message.hint is not None:
            raise SourceFault(message.reason, hint=message.hint or None)
        if isinstance(message, units.Failed):
            raise SealiftError(
                f"a builder process failed: {message.reason}",
                hint="committed stripes are safe; run the same command again",
            )
        return message

    def stop(self) -> None:
        """End the process at once; it owns nothing that outlives it."""
        self.process.kill()
        self.process.wait()
        self.connection.close()
        self._socket.close()


def count(data: int) -> int:
    """How many processes build, of `data` packs at a time: one a core."""
    return max(1, min(data, len(os.sched_getaffinity(0))))


def threads_beside(builders: int) -> int:
    """How many threads compress beside each builder: its share of the cores that no builder keeps busy."""
    return min(MOST_BESIDE, -(-len(os.sched_getaffinity(0)) // builders) - 1)


class Workers:
    """Processes that are on their way, and wait for work; a context manager that ends them."""

    def __init__(self, number: int) -> None:
        self.memory = os.memfd_create("sealift-slabs", os.MFD_CLOEXEC)
        self.processes: list[BuilderProcess] = []
        try:
            self.resize(number)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def resize(self, number: int) -> None:
        """Stop those that are too many, or start what is missing."""
        while len(self.processes) > number:
            self.processes.pop().stop()
        while len(self.processes) < number:
            self.processes.append(BuilderProcess(self.memory))

    def hear(
        self, whom: Sequence[BuilderProcess], seconds: float
    ) -> Iterator[tuple[BuilderProcess, units.FromBuilder]]:
        """A message of each that has something to say, within so many seconds."""
        ready = wait([process.connection for process in whom], timeout=seconds)
        for process in whom:
            if process.connection in ready:
                yield process, process.receive()

    def walk(self, source: bytes, sample_key: str | None, seed: int | None) -> Iterator[Seen]:
        """All that is beneath `source`, in no order; folders are shared out as they are found."""
        stack = [b""]
        busy: list[BuilderProcess] = []
        while stack or busy:
            idle = [process for process in self.processes if process not in busy]
            for number, process in enumerate(idle[: len(stack)]):
                share = -(-len(stack) // (len(idle) - number))
                folders, stack = stack[-share:], stack[:-share]
                process.send(units.Walk(source, folders, SHARED_EVERY, sample_key, seed))
                busy.append(process)
            for process, message in self.hear(list(busy), 60.0):
                if isinstance(message, units.Walked):
                    stack += message.folders
                    busy.remove(process)
                else:
                    assert isinstance(message, Seen)
                    yield message

    def close(self) -> None:
        """End them."""
        self.resize(0)
        if self.memory >= 0:
            os.close(self.memory)
            self.memory = -1


class Fleet:
    """Builders and the shared memory of slabs, for as long as a run packs groups of one geometry."""

    def __init__(self, workers: Workers, setup: Setup, parity_count: int, locks: Sequence[int]) -> None:
        import numpy as np

        self.setup, self.data, self.parity = setup, setup.data, parity_count
        self.n = setup.data + parity_count
        size = self.n * setup.depth * setup.slab
        os.ftruncate(workers.memory, size)
        self._map = mmap.mmap(workers.memory, size)
        self.memory: Any = np.frombuffer(self._map, dtype=np.uint8).reshape(self.n, setup.depth, setup.slab)
        self.zeros = np.zeros(setup.slab, dtype=np.uint8)
        self.workers, self.builders = workers, workers.processes
        for builder in self.builders:
            builder.hold(locks)
            builder.send(setup)

    def release(self) -> None:
        """Give the pages of the slabs back, between stripes; they come again when they are written."""
        self._map.madvise(mmap.MADV_REMOVE)

    def close(self) -> None:
        """Give the memory back."""
        del self.memory
        with contextlib.suppress(BufferError):
            self._map.close()
