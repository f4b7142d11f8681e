"""Test drives before they are trusted: write, flush, read back and compare, all of them at once as packing will.

What holds: each drive is tested by a process of its own, so that one that fails, lies, fills up or never answers is
named and takes nothing from the others; one that says nothing for `patience` seconds is left. Only a file of the test's
own is written (drives/trial.py), and nothing stays of it. Every byte is compared; no two pages of a test are alike, so
that a page which lies elsewhere, or was there before, shows. A drive on which another process of sealift works is not
tested beside it.

Rates are bytes a second of the calls alone, not of making and comparing the bytes: the drive's, not this program's.
A sound short test says nothing about the rest of the medium, and a drive that pretends to be larger than it is passes:
packing reads back what it has written.

What is not here: words, and the file for the plan (formats/drive_tests.py).
"""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from sealift.drives import apart, block
from sealift.drives.base import ALIGN, aligned_buffer
from sealift.drives.local import LocalDrive
from sealift.drives.trial import TrialFile
from sealift.errors import BadInput, FormatError, SealiftError
from sealift.formats import drive_tests, smart, typed
from sealift.stages.drives_list import plain
from sealift.stages.drives_look import is_hidden
from sealift.trade.signing import read_limited

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealift.drives.base import Source
    from sealift.drives.block import Disk
    from sealift.formats.block_tools import Mount

    Progress = Callable[[dict[str, int]], None]  # bytes done by mount, of twice the size

CHUNK = 4 << 20  # bytes of a write and of a read
DEFAULT = 4 << 30
PATIENCE = 180.0  # the kernel tries a failing sector again for a minute or two
_WORD = 8  # bytes


class Smart(msgspec.Struct, frozen=True, kw_only=True):
    """What a drive said of itself before and after, and what of it got worse."""

    before: smart.Health
    after: smart.Health
    worse: list[str]


class Tested(msgspec.Struct, frozen=True, kw_only=True):
    """One drive. `fault`: why it is not to be trusted, None where it did all it should."""

    mount: str
    drive: drive_tests.TestedDrive
    smart: Smart
    fault: str | None


class _Result(msgspec.Struct, kw_only=True):
    """What the process of a drive has to say; kept by its parent as it grows."""

    done: int = 0  # bytes, writing and reading together
    written: int = 0
    compared: int = 0
    write_seconds: float = 0.0
    read_seconds: float = 0.0
    stall: float = 0.0
    read_from: str = "cache"
    fault: str | None = None


@dataclass
class _Place:
    """A mount that is tested."""

    mount: str
    found: Mount
    disk: Disk | None

    @property
    def name(self) -> str:
        return self.disk.name if self.disk is not None else plain(os.path.abspath(self.mount))


def try_drives(
    mounts: Sequence[str], *, size: int = DEFAULT, patience: float = PATIENCE, progress: Progress | None = None
) -> list[Tested]:
    """Test the drives mounted there, in that order; `size` bytes each, rounded up to whole chunks.

    BadInput, before anything is written: nothing is mounted there, or two places are one drive.
    """
    import numpy as np  # noqa: F401 -- before the forks, once for all of them

    size = max(CHUNK, -(-size // CHUNK) * CHUNK)
    places = _places(mounts)
    disks = [place.disk for place in places if place.disk is not None]
    before = _health(places, disks)
    results = _run(places, size, patience, progress)
    after = _health(places, disks)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [
        _tested(place, result, Smart(before=was, after=is_, worse=_worse(was, is_)), len(places), now)
        for place, result, was, is_ in zip(places, results, before, after, strict=True)
    ]


def _places(mounts: Sequence[str]) -> list[_Place]:
    disks = block.discover()
    places, seen = [], dict[object, str]()
    for mount in mounts:
        disk, found = block.of_mount(disks, mount)
        if found is None:
            raise BadInput(
                f"{mount}: nothing is mounted there, so another disk than you think would be tested",
                hint="give the folder where the drive is mounted, and no link to it",
            )
        key = disk.node if disk is not None else found.number
        if key in seen:
            raise BadInput(f"{mount} and {seen[key]} are on one drive", hint="name each drive once")
        seen[key] = mount
        places.append(_Place(mount, found, disk))
    return places


def _health(places: Sequence[_Place], disks: list[Disk]) -> list[smart.Health]:
    found = dict(zip([disk.node for disk in disks], block.health(disks), strict=True))
    none = smart.unknown("it has no drive of its own")
    return [none if place.disk is None else found[place.disk.node] for place in places]


def _worse(before: smart.Health, after: smart.Health) -> list[str]:
    ranks = {"unknown": 0, "good": 1, "doubtful": 2, "failing": 3}
    found = [
        f"{name} rose from {before.counts[name]:,} to {count:,}"
        for name, count in sorted(after.counts.items())
        if count > before.counts.get(name, count)
    ]
    if ranks[after.verdict] > ranks[before.verdict] > 0:
        found.append(f"it was {before.verdict}, and is {after.verdict}")
    return found


# --- one process a drive ---------------------------------------------------------------------------------


def _run(places: list[_Place], size: int, patience: float, progress: Progress | None) -> list[_Result]:
    results = [_Result() for _ in places]
    rests = [b""] * len(places)

    def heard(number: int, said: bytes) -> None:
        *lines, rests[number] = (rests[number] + said).split(b"\n")
        for line in lines:
            results[number] = typed.decode(line, _Result)
        if progress is not None:
            progress({place.mount: result.done for place, result in zip(places, results, strict=True)})

    jobs = [partial(_test, place.mount, place.found, size) for place in places]
    together = max(1, len(jobs))
    answers = apart.run(jobs, seconds=patience, limit=1, heard=heard, together=together)
    for result, answer in zip(results, answers, strict=True):
        if answer.trouble or answer.code:
            doing = "reading" if result.written == size else "writing"
            result.fault = f"{answer.trouble or 'the test ended by itself'}, while {doing} at byte {_at(result):,}"
    return results


def _at(result: _Result) -> int:
    return result.compared or result.written


def _test(mount: str, found: Mount, size: int, descriptor: int) -> None:
    """In the process of the drive: its result so far, a line for every chunk."""
    result = _Result()

    def say() -> None:
        os.write(descriptor, msgspec.json.encode(result) + b"\n")

    try:
        if is_hidden(found):
            result.fault = f"{mount}: another filesystem is mounted over it"
            return
        drive = LocalDrive(mount)
        if drive.exists():
            drive.lock()  # nobody packs meanwhile; goes with this process
        free = drive.free_bytes()
        if free < size:
            result.fault = f"{mount}: {free:,} bytes are free, and the test wants {size:,} (--bytes)"
            return
        with TrialFile(mount) as file:
            bytes_ = _Bytes(secrets.randbits(64))
            _write(file, bytes_, size, result, say)
            _read_back(file, bytes_, size, result, say)
    except (SealiftError, OSError) as error:
        result.fault = str(error)
    finally:
        say()


class _Bytes:
    """What is written: random words, another permutation of them for every chunk, made as fast as memory is."""

    def __init__(self, seed: int) -> None:
        import numpy as np

        draw = np.random.default_rng(seed)
        self._base = draw.integers(0, 1 << 64, CHUNK // _WORD, dtype=np.uint64)
        self._draw = draw
        self._masks: list[Any] = []

    def fill(self, buffer: memoryview, number: int) -> None:
        """The bytes of chunk `number`; no page of it is like another of the test."""
        import numpy as np

        while len(self._masks) <= number:
            self._masks.append(self._draw.integers(0, 1 << 64, dtype=np.uint64))
        np.bitwise_xor(self._base, self._masks[number], out=np.frombuffer(buffer, np.uint64))


def _write(file: TrialFile, wanted: _Bytes, size: int, result: _Result, say: Callable[[], None]) -> None:
    buffer = aligned_buffer(CHUNK)
    for number in range(size // CHUNK):
        wanted.fill(buffer, number)
        result.write_seconds += _timed(partial(file.write, number * CHUNK, buffer), result)
        result.written += CHUNK
        result.done += CHUNK
        say()
    result.write_seconds += _timed(file.flush, result)


def _read_back(file: TrialFile, wanted: _Bytes, size: int, result: _Result, say: Callable[[], None]) -> None:
    import numpy as np

    buffer, right = aligned_buffer(CHUNK), aligned_buffer(CHUNK)
    for number in range(size // CHUNK):
        offset = number * CHUNK
        buffer[:] = bytes(1) * CHUNK  # what a read leaves as it was is no right answer
        result.read_seconds += _timed(partial(file.read, offset, buffer), result)
        result.read_from = file.read_from
        wanted.fill(right, number)
        if not np.array_equal(np.frombuffer(buffer, np.uint64), np.frombuffer(right, np.uint64)):
            wrong = np.flatnonzero(np.frombuffer(buffer, np.uint8) != np.frombuffer(right, np.uint8))
            pages = len(np.unique(wrong // ALIGN))
            result.fault = (
                f"{file.mount}: it lies: {len(wrong):,} bytes in {pages} pages of 4 KiB came back other than they were"
                f" written and flushed, the first at byte {offset + int(wrong[0]):,} of the test's file"
            )
            return
        result.compared += CHUNK
        result.done += CHUNK
        say()


def _timed(work: Callable[[], object], result: _Result) -> float:
    begun = time.monotonic()
    work()
    took = time.monotonic() - begun
    result.stall = max(result.stall, took)
    return took


# --- what comes of it ------------------------------------------------------------------------------------


def _tested(place: _Place, result: _Result, health: Smart, together: int, now: str) -> Tested:
    disk = place.disk
    fault = result.fault
    if fault is None and health.after.verdict == "failing":
        fault = f"{place.mount}: {health.after.why}"
    if fault is None and health.worse:
        fault = f"{place.mount}: while it was tested, its SMART data got worse: {'; '.join(health.worse)}"
    source: Source = "medium" if result.read_from == "medium" else "cache"
    row = drive_tests.TestedDrive(
        name=place.name,
        serial=(disk.serial or "") if disk is not None else "",
        model=(disk.model or "") if disk is not None else "",
        size=disk.device.size if disk is not None else 0,
        rotational=disk is not None and disk.device.rotational,
        filesystem=plain(place.found.kind),
        at=now,
        together=together,
        bytes=result.compared,
        write_bytes_per_second=_rate(result.written, result.write_seconds),
        read_bytes_per_second=_rate(result.compared, result.read_seconds),
        worst_stall=round(result.stall, 6),
        read_from=source,
        fault=plain(fault or "")[:1000],
    )
    return Tested(mount=place.mount, drive=row, smart=health, fault=fault)


def _rate(count: int, seconds: float) -> int:
    return int(count / seconds) if seconds > 0 else 0


def read_record(path: str) -> drive_tests.DriveTests:
    """What is in the file of --record; nothing, where it is not there. BadInput: another file, or no place for it."""
    if not os.path.lexists(path):
        if not os.path.isdir(os.path.dirname(path) or "."):
            raise BadInput(f"--record {path}: there is no such folder to write it in")
        return drive_tests.DriveTests(drives=[])
    try:
        return drive_tests.decode(read_limited(path, drive_tests.MAX_FILE, "--record"))
    except FormatError as error:
        raise BadInput(f"--record {path}: {error}", hint="give a file that is not there yet") from error


def write_record(path: str, tested: Sequence[Tested]) -> None:
    """Add the drives to the file, each in the place of an older test of it; whole, or as it was. BadInput."""
    data = drive_tests.encode(drive_tests.added(read_record(path), [each.drive for each in tested]))
    beside = f"{path}.{os.getpid()}.tmp"
    try:
        with open(beside, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        if os.path.lexists(beside):
            os.unlink(beside)
