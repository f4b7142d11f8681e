"""Ranges of files that stand behind a network: fetched ahead, several at once, in memory that is used again.

    Workers      threads that fetch from one host: their number is how many requests it gets at once
    Ranges       those, what was fetched ahead, and what the host gave so far
    RemoteDrive  what all drives behind a network have
    RemoteFile   drives.base.ReadFile over the ranges of one file; who asks waits only where the answer is used

Who asks ahead may say what is to be made of the bytes (deciphered, say): the thread that fetched them does it, while
they are near its core, and whoever asks for exactly these gets that beside them.

What holds: what was asked for ahead is not asked for again; what was fetched and is not used again soon is let go, so
that of one host at most AHEAD ranges and a few more are held. A thread that waits for a host keeps no process from
ending. How a range is fetched, and that it is of the file that was opened, is for the subclasses. Safe for threads; a
forked child makes Ranges of its own.
"""

from __future__ import annotations

import os
import queue
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections import OrderedDict
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from sealift.drives.base import aligned_buffer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sealift.drives.base import Source
    from sealift.drives.host_pace import HostPace

PIECE = 2 << 20  # about, of a long range: pieces are fetched at the same time
WINDOW = 2 * PIECE  # and of one of which something is made: fewer requests, each of which costs a millisecond
_LONGEST = 3 * PIECE  # a piece may be
_SMALLER = 4  # times, of a host that is slow: what is waited for is not behind so much else
AHEAD = 24  # ranges of one host that are asked for and not used yet: two and the next one of several readers
_READ = 8  # files of which the last piece is kept
SOON = 2.0  # seconds for which a host is waited for that has no more than others have
_SLOW_FOR = 10.0  # seconds for which one that was waited for in vain is asked last
_SPARE = 16  # pieces of memory that are kept for the next ranges, in this process

_spare: list[memoryview] = []


class Lent:
    """Memory of a piece, `view`; used again when nobody holds this any more: fresh pages cost more than copying."""

    def __init__(self, length: int) -> None:
        try:
            self._memory = _spare.pop()
        except IndexError:
            self._memory = aligned_buffer(_LONGEST)
        self.view = self._memory[:length]

    @property
    def nbytes(self) -> int:
        """Memory that this takes."""
        return len(self._memory)

    def __del__(self) -> None:
        if len(_spare) < _SPARE:
            _spare.append(self._memory)


class Workers:
    """Up to `most` threads, made when needed; they end by `close`, or with the process, whatever they wait for."""

    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = self._given = 0  # and jobs that are not done

    def submit(self, job: Callable[[], Any]) -> Future[Any]:
        """Have a thread run it; what comes of it. RuntimeError where no thread can be had."""
        coming: Future[Any] = Future()
        self.put(partial(settle, coming, job))
        return coming

    def put(self, job: Callable[[], object]) -> None:
        """Have a thread run what raises nothing. RuntimeError where no thread can be had: it is not run then."""
        with self._lock:
            if self._threads < min(self._most, self._given + 1):
                try:
                    threading.Thread(target=self._run, name=self._name, daemon=True).start()
                    self._threads += 1
                except RuntimeError:
                    if not self._threads:
                        raise
            self._given += 1
        self._jobs.put(job)

    def close(self) -> None:
        """Have the threads end when they have done what they were given; nothing is given to them any more.

        Takes no lock: a forked child lets go of its parent's workers, whose lock may be held for ever.
        """
        for _ in range(self._most):
            self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            with self._lock:
                self._given -= 1
            del job  # what it holds is not held until the next one comes


def settle(coming: Future[Any], job: Callable[[], Any]) -> None:
    """Run it, unless it was cancelled, and have the future tell what came of it."""
    if coming.set_running_or_notify_cancel():
        try:
            coming.set_result(job())
        except BaseException as error:  # noqa: BLE001 -- it is for whoever waits
            coming.set_exception(error)
            del coming, job  # which the error would hold by its traceback, and they it


@dataclass
class Traffic:
    """What a location was asked for and gave, in this process since it was opened."""

    requests: int = 0
    retries: int = 0  # requests that were sent again
    bytes: int = 0  # of files, without headers
    nobody: str = ""  # what a request failed with first for which nobody was there, though it was sent again

    def __post_init__(self) -> None:
        self._lock, self._pid = threading.Lock(), os.getpid()

    def add(self, *, requests: int = 0, retries: int = 0, size: int = 0, nobody: str = "") -> None:
        """Count; a forked child counts its own, and its parent's lock may be held by a thread that is not here."""
        if self._pid != os.getpid():
            self.requests = self.retries = self.bytes = 0
            self.nobody = ""
            self.__post_init__()
        with self._lock:
            self.requests += requests
            self.retries += retries
            self.bytes += size
            self.nobody = self.nobody or nobody


class RemoteDrive(ABC):
    """A drives.base.Drive that is reached over a network: its address, and what it was asked for and gave."""

    mount: str
    at: str
    host_name: str  # the same of all that stands in one host
    traffic: Traffic

    @property
    def slow(self) -> bool:
        """Whether its host gives so slowly that it is asked for less at once."""
        return False

    @property
    def window(self) -> int:
        """Bytes that whoever reads on asks for at a time: a request each."""
        return PIECE // _SMALLER if self.slow else WINDOW

    @property
    def was_slow(self) -> bool:
        """Whether it was `slow` at any time in this process."""
        return False

    @property
    def nobody(self) -> str:
        """Why nobody was there, since this was opened and in this process; empty where somebody always was."""
        return self.traffic.nobody

    @property
    def away(self) -> str:
        """Why nobody is there now, as far as this process has asked; empty where somebody is."""
        return ""

    def check(self) -> None:  # noqa: B027 -- most have nothing to check
        """BadInput where a file that is needed to reach it cannot be used."""

    @abstractmethod
    def open_later(self, name: str) -> RemoteFile:
        """As open_read; whether the file is there may show only when it is read. DriveFault."""


def is_beside(drive: object, others: Iterable[object]) -> bool:
    """Whether a drive stands in the same host as one of the others."""
    hosts = {each.host_name for each in others if isinstance(each, RemoteDrive)}
    return isinstance(drive, RemoteDrive) and drive.host_name in hosts


class _Come:
    """A range that came, a Lent or a buffer, and what was made of it."""

    def __init__(self, data: Any, made: object = None) -> None:
        self.data, self.made = data, made

    @property
    def view(self) -> memoryview:
        return self.data.view if isinstance(self.data, Lent) else memoryview(self.data)


class _Fetch(NamedTuple):
    """A range that was asked for: where it begins and ends, and what comes of it."""

    start: int
    stop: int
    coming: Future[_Come]

    @property
    def failed(self) -> bool:
        return self.coming.done() and (self.coming.cancelled() or self.coming.exception() is not None)


class _Part(NamedTuple):
    """Bytes low..high-1 of a file, and what gives them."""

    low: int
    high: int
    fetch: _Fetch


class Ranges:
    """The threads of one host, what they fetch ahead, and of what was read the last pieces."""

    def __init__(self, workers: Workers, pace: HostPace | None = None) -> None:
        self.workers, self._pace = workers, pace
        self._lock = threading.Lock()
        self._ahead: OrderedDict[tuple[object, int], _Fetch] = OrderedDict()
        self._read: OrderedDict[object, _Fetch] = OrderedDict()  # of a file the last one
        self._slow_until = 0.0
        weakref.finalize(self, workers.close)

    def get(
        self,
        key: object,
        start: int,
        stop: int,
        fetch: Callable[[int, int], Any],
        *,
        again: bool,
        make: Callable[[int, memoryview], object] | None = None,
    ) -> list[_Part]:
        """What gives bytes start..stop-1 of a file, each once: ranges that were asked for, and new ones for the rest.

        With `again` also the last piece that was read of it, in which a reader's next chunk often begins. `make` is
        called with each new range, and where that begins, by the thread that fetched it; it must not raise.
        """
        with self._lock:
            known = self._near(key, start, stop)
            if again and key in self._read:
                known.append(self._read[key])
            holes, parts = [(start, stop)], []
            for each in known:
                left: list[tuple[int, int]] = []
                for low, high in holes:
                    first, last = max(low, each.start), min(high, each.stop)
                    if first >= last:
                        left.append((low, high))
                        continue
                    parts.append(_Part(first, last, each))
                    left += [hole for hole in ((low, first), (last, high)) if hole[0] < hole[1]]
                holes = left
            size = PIECE if make is None else WINDOW
            if self._pace is not None and self._pace.slow:
                size = PIECE // _SMALLER
            for low, high in holes:
                for at, until in pieces(low, high, size):
                    made = _Fetch(at, until, self.workers.submit(partial(_fetched, fetch, make, at, until)))
                    parts.append(_Part(at, until, made))
                    self._ahead[key, at] = made
                    self._ahead.move_to_end((key, at))
            while len(self._ahead) > AHEAD:
                self._ahead.popitem(last=False)[1].coming.cancel()
        return sorted(parts)

    def _near(self, key: object, start: int, stop: int) -> list[_Fetch]:
        return [
            each
            for name, each in self._ahead.items()
            if name[0] == key and each.start < stop and start < each.stop and not each.failed
        ]

    @property
    def is_slow(self) -> bool:
        """Whether the host was waited for in vain a moment ago, so that nobody need find out once more."""
        return time.monotonic() < self._slow_until

    def was_slow(self, *, slow: bool) -> None:
        """The host was waited for in vain, or was not."""
        self._slow_until = time.monotonic() + _SLOW_FOR if slow else 0.0

    def near(self, key: object, start: int, stop: int) -> bool:
        """Whether something of bytes start..stop-1 of a file is fetched ahead."""
        with self._lock:
            return bool(self._near(key, start, stop))

    def used(self, key: object, parts: list[_Part], stop: int) -> None:
        """What ends before `stop` was read, and is not kept but for the last piece."""
        with self._lock:
            for _, _, each in parts:
                if each.stop <= stop and self._ahead.get((key, each.start)) is each:
                    del self._ahead[key, each.start]
                    self._read[key] = each
                    self._read.move_to_end(key)
            while len(self._read) > _READ:
                self._read.popitem(last=False)


def _fetched(
    fetch: Callable[[int, int], Any], make: Callable[[int, memoryview], object] | None, start: int, stop: int
) -> _Come:
    come = _Come(fetch(start, stop))
    if make is not None:
        come.made = make(start, come.view)
    return come


def pieces(start: int, stop: int, size: int = PIECE) -> list[tuple[int, int]]:
    """A range in equal parts of about `size`, none a small rest."""
    count = max(1, round((stop - start) / size))
    step = -(-(stop - start) // count)
    return [(at, min(at + step, stop)) for at in range(start, stop, step)]


class Asked:
    """Bytes of a file that are on their way."""

    def __init__(self, file: RemoteFile, start: int, stop: int, parts: list[_Part]) -> None:
        self._file, self._start, self._stop, self._parts = file, start, stop, parts
        self._late: list[Any] = []  # what was fetched by whoever wanted the parts

    @property
    def futures(self) -> list[Future[Any]]:
        """What is waited for."""
        return [part.fetch.coming for part in self._parts]

    def wait(self, seconds: float | None = None) -> bool:
        """Whether all have come, or failed, within so many seconds."""
        return not wait(self.futures, seconds).not_done

    def parts(self) -> list[tuple[int, memoryview]]:
        """Where they are in memory, each part with its place among them, in order and without gaps; DriveFault.

        Fewer than were asked for only at the end of the file. The memory is used again when nobody holds this.
        """
        found: list[tuple[int, memoryview]] = []
        for low, high, each in self._parts:
            # cancelled: room was made in the memory of its host before a thread had begun with it
            if each.coming.cancelled():
                self._late.append(come := _Come(self._file.fetch(each.start, each.stop)))
            else:
                come = each.coming.result()
            data = come.view
            found.append((low - self._start, data[low - each.start : high - each.start]))
        self._file.ranges.used(self._file.key, self._parts, self._stop)
        return found

    def take_made(self) -> object:
        """What was made of exactly these bytes when they came, once; or None. For whoever has their `parts`."""
        if len(self._parts) != 1 or self._late:
            return None
        fetch = self._parts[0].fetch
        if (fetch.start, fetch.stop) != (self._start, self._stop):
            return None
        come = fetch.coming.result()
        made, come.made = come.made, None
        return made

    def into(self, buffer: memoryview) -> int:
        """Copy them; how many there are: fewer only at the end of the file. DriveFault."""
        count = 0
        for place, part in self.parts():
            buffer[place : place + len(part)] = part
            count += len(part)
        return count


class RemoteFile(ABC):
    """drives.base.ReadFile over ranges of one file; another in its place is not read.

    `look` has asked for length and stamp when a file is opened; where it was not, the first range tells.
    """

    key: object  # of the file among those of its Ranges

    @property
    @abstractmethod
    def ranges(self) -> Ranges:
        """Of this process."""

    @property
    @abstractmethod
    def length(self) -> int:
        """When it was opened, in bytes. DriveFault, where nobody has asked before."""

    @property
    @abstractmethod
    def known_length(self) -> int | None:
        """The same, as far as it is known."""

    @property
    @abstractmethod
    def stamp(self) -> tuple[int, ...]:
        """Changes when the file is replaced. DriveFault, where nobody has asked before."""

    @property
    @abstractmethod
    def lasting(self) -> bool:
        """As drives.base.ReadFile. DriveFault, where nobody has asked before."""

    @property
    @abstractmethod
    def read_from(self) -> Source:
        """As drives.base.ReadFile."""

    @abstractmethod
    def fetch(self, start: int, stop: int) -> Any:
        """Bytes start..stop-1, fewer only at the end of the file, in a Lent or a buffer. DriveFault."""

    def fetch_into(self, start: int, view: memoryview) -> int:
        """The same into `view`; how many."""
        got = self.fetch(start, start + len(view))
        data = got.view if isinstance(got, Lent) else memoryview(got)
        view[: len(data)] = data
        return len(data)

    def _clip(self, offset: int, length: int) -> int:
        known = self.known_length
        return offset + max(0, length if known is None else min(length, known - offset))

    def ask(
        self,
        offset: int,
        length: int,
        *,
        again: bool = True,
        make: Callable[[int, memoryview], object] | None = None,
    ) -> Asked:
        """Begin to fetch them, where that has not begun; never waits, and never raises.

        With `again` bytes that were read a moment ago are not fetched once more; `make` as of Ranges.get.
        """
        stop = self._clip(offset, length)
        got = self.ranges.get(self.key, offset, stop, self.fetch, again=again, make=make) if stop > offset else []
        return Asked(self, offset, stop, got)

    def will_need(self, offset: int, length: int, make: Callable[[int, memoryview], object] | None = None) -> None:
        """Begin to fetch them, and to make of them what whoever asks for exactly these gets beside them."""
        self.ask(offset, length, again=False, make=make)

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes at `offset`."""
        buffer = bytearray(self._clip(offset, length) - offset)
        return bytes(buffer[: self.readinto_at(offset, memoryview(buffer))])

    def readinto_at(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer`; long ranges in pieces, several at a time."""
        stop = self._clip(offset, len(buffer))
        if stop <= offset:
            return 0
        if stop - offset <= PIECE * 3 // 2 and not self.ranges.near(self.key, offset, stop):
            return self.fetch_into(offset, buffer[: stop - offset])
        asked = self.ask(offset, stop - offset, again=False)
        asked.wait()
        return asked.into(buffer)

    def close(self) -> None:  # noqa: B027 -- most hold nothing
        """Close; again does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_soon(file: RemoteFile, offset: int, length: int, seconds: float) -> bytes | None:
    """`length` bytes at `offset`, fewer at the end of the file; None if they do not come in time. DriveFault.

    A host that did not give some in time a moment ago is asked, and not waited for: what it gives meanwhile is there.
    """
    asked, known = file.ask(offset, length), file.ranges.is_slow
    if not asked.wait(0 if known else seconds):
        if not known:
            file.ranges.was_slow(slow=True)
        return None
    file.ranges.was_slow(slow=False)
    buffer = memoryview(bytearray(length))
    return bytes(buffer[: asked.into(buffer)])
