"""What this host says of its drives: the index, its own inspect, and reports of verify that lie here.

What holds: whatever takes long or may hang is done by sealift itself in a process of its own (`sealift inspect`,
`sealift drives`), which ends when its time is over; one of a kind runs at a time, and what it said is given for a while
to everybody who asks. A report is given as its file stands, read through the same parser that `--part` has, and again
when the file changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from sealift.errors import BadInput, SealiftError
from sealift.formats import typed
from sealift.formats.smart import unknown
from sealift.stages.drives_list import Listing
from sealift.stages.host_index import HostDrive, HostFolder, HostIndex, HostReport
from sealift.stages.verify_join import words
from sealift.stages.verify_report import MAX_PART, VerifyReport, read_part
from sealift.trade.signing import read_limited

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.stages.drives_list import DriveRow
    from sealift.stages.serve.places import Place, Places

FRESH = 15.0  # seconds for which an inspect is given again
HEALTH = 300.0  # seconds for which the drives' health is
_INSPECT, _DRIVES = 600.0, 60.0  # seconds that they get
_HEALTH_WAIT = 5.0  # seconds that an index waits for the drives' health
MAX_SAID = 64 << 20


class Report(NamedTuple):
    """A report of verify: its bytes, and what the index says of it."""

    data: bytes
    row: HostReport


class Failed(Exception):
    """A process of its own did not give what was asked for; the message says why."""


class Host:
    """The answers about this host; used from the event loop's thread."""

    def __init__(self, name: str, places: Places, reports: Sequence[str]) -> None:
        self.name, self.places, self._files = name, places, list(reports)
        self._reports: dict[int, tuple[tuple[int, ...], Report | None]] = {}
        self._inspected: dict[str, tuple[float, bytes]] = {}
        self._busy = asyncio.Lock()
        self._health: dict[str, DriveRow] = {}
        self._asked = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def index(self) -> HostIndex:
        """Everything that is known now."""
        rows = await self._drives()
        places = self.places.places
        return HostIndex(
            host=self.name,
            at=_time(time.time()),
            drives=[_drive(place, rows.get(place.seen.real)) for place in places if place.served],
            folders=[
                HostFolder(mount=words(place.mount), trouble=place.seen.trouble) for place in places if not place.served
            ],
            reports=[each.row for each in await asyncio.to_thread(self.reports) if each],
        )

    def reports(self) -> list[Report | None]:
        """The reports, in the order in which they were given; None for one that cannot be read now. May block."""
        return [self.report(number) for number in range(len(self._files))]

    def report(self, number: int) -> Report | None:
        """One of them."""
        if not 0 <= number < len(self._files):
            return None
        try:
            status = os.stat(self._files[number])
            stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            if number not in self._reports or self._reports[number][0] != stamp:
                self._reports[number] = stamp, load_report(self._files[number], number, status.st_mtime)
        except (OSError, SealiftError):
            self._reports[number] = (), None
        return self._reports[number][1]

    def strays(self) -> list[tuple[str, str]]:
        """Files of reports, and their shipments, of which no drive is known here. May block."""
        here = {place.seen.known.shipment for place in self.places.places if place.seen.known}
        found = [(path, each.row.shipment) for path, each in zip(self._files, self.reports(), strict=True) if each]
        return [(path, shipment) for path, shipment in found if shipment is not None and shipment not in here]

    async def inspect(self, shipment: str) -> bytes:
        """What `sealift inspect --json` says of the drives of this shipment here. Failed."""
        async with self._busy:
            at, said = self._inspected.get(shipment, (float("-inf"), b""))
            if time.monotonic() - at < FRESH:
                return said
            mounts = [
                place.mount
                for place in self.places.places
                if place.answers and place.seen.known and place.seen.known.shipment in {shipment, None}
            ]
            if not mounts:
                raise Failed(f"no drive of shipment {shipment} is here")
            said = await sealift(["inspect", "--json", "--shipment", shipment, "--", *mounts], _INSPECT, {0, 3, 4, 6})
            self._inspected.clear()  # what was said of another shipment is not kept beside it: it may be large
            self._inspected[shipment] = time.monotonic(), said
            return said

    async def _drives(self) -> dict[str, DriveRow]:
        """Folder -> the drive beneath, as `sealift drives` has it; what was last known where the new answer is late."""
        if self._asking is None and time.monotonic() - self._asked > HEALTH:
            self._asking = asyncio.create_task(self._ask_drives())
        if self._asking is not None:
            await asyncio.wait({self._asking}, timeout=_HEALTH_WAIT)
        return self._health

    async def _ask_drives(self) -> None:
        with contextlib.suppress(Failed, msgspec.MsgspecError):
            listing = typed.decode(await sealift(["drives", "--json"], _DRIVES, {0}), Listing)
            self._health = {mount: row for row in listing.drives for each in row.volumes for mount in each.mounts}
        self._asked, self._asking = time.monotonic(), None


def load_report(path: str, number: int, written: float) -> Report:
    """A report in a file; BadInput unless it is one of `sealift verify`."""
    data = read_limited(path, MAX_PART, "--report")
    report = read_part(data, path)
    if not isinstance(report, VerifyReport):
        raise BadInput(f"--report {path}: not a report of verify", hint="`sealift verify ... --json > FILE` writes one")
    return Report(data, HostReport(number=number, at=_time(written), shipment=report.shipment, state=report.state))


def _drive(place: Place, row: DriveRow | None) -> HostDrive:
    known = place.seen.known
    assert known is not None, "a place has a name while it has a drive"
    assert place.name is not None, "the same"
    health = row.health if row is not None else unknown("nobody could ask the drive")
    return HostDrive(
        name=place.name,
        mount=words(place.mount),
        state=known.state,
        shipment=known.shipment,
        consignment=known.consignment,
        group=known.group,
        slot=known.slot,
        drive=known.drive,
        number=known.number,
        drives_total=known.drives_total,
        serial=known.serial,
        label=known.label,
        carrier=known.carrier,
        medium=row.serial if row is not None else None,
        total_bytes=place.seen.total_bytes,
        health=health.verdict,
        health_why=health.why[:2000],
        trouble=place.trouble[:2000],
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def sealift(arguments: Sequence[str], seconds: float, codes: set[int]) -> bytes:
    """Stdout of a command of this very program. Failed: it took too long, said too much, or exits otherwise."""
    # without our settings, as of allowed signers: whoever asks judges
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SEALIFT_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sealift", *arguments,
        env=clean,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the server, which ends it
    )  # fmt: skip
    assert process.stdout is not None, "a pipe was asked for"
    try:
        async with asyncio.timeout(seconds):
            pieces, size = [], 0
            while piece := await process.stdout.read(1 << 20):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_SAID:
                    raise Failed(f"sealift {arguments[0]} said more than {MAX_SAID:,} bytes")
            code = await process.wait()
    except TimeoutError:
        raise Failed(f"sealift {arguments[0]} took longer than {seconds:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
    if code not in codes:
        raise Failed(f"sealift {arguments[0]} ended with code {code}")
    return b"".join(pieces)
