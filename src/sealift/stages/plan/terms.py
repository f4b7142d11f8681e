"""What a voyage is timed with besides its geometry (speeds, hosts, departures, the lease), and its times. Pure.

Seconds count from the moment at which packing is started; bytes of drives are packed bytes with parity in them. What is
not stated here comes from the planner's numbers. `check` names every fault at once. No value of goods is known here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from msgspec import Struct, field

from sealift.errors import BadInput
from sealift.formats.sizes import counted
from sealift.stages.plan.geometry import drive_bytes, placement

if TYPE_CHECKING:
    from sealift.stages.plan.geometry import Carrier, Geometry, Wanted

Value = Callable[[str], float]  # of a planner's number by its name

ReadBack = Literal["none", "sample", "full"]
Gpu = Literal["h100", "h200"]
READ_BACK: dict[ReadBack, float] = {
    "none": 0.0,
    "sample": 1 / 64,
    "full": 1.0,
}  # share of a drive; stages/pack/readback
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
MOST_SECONDS = 100 * 365.25 * DAY
MOST_HOSTS = 10_000
MOST = 1e18


class Speeds(Struct, frozen=True, kw_only=True):
    """What one host does of this corpus by its processors alone; calibrate.py measures it. Rates a second."""

    scan_files: float
    pack_bytes: float  # of the source
    verify_bytes: float  # of drives, all of the host's together
    start_seconds: float = 0.0  # of packing, before and after all that is paid by the file and the byte
    inspect_seconds: float = 0.0  # of a drive that was plugged in
    open_seconds: float = 0.0  # from a drive that is mounted to the first batch


class DriveSpeed(Struct, frozen=True, kw_only=True):
    """Bytes a second that a drive was measured to take and to give."""

    write: float
    read: float


class Terms(Struct, frozen=True, kw_only=True):
    """What is told about a voyage. Times in seconds, from the start of packing.

    `late` are carriers with the seconds by which they come later, `lost` those that never come. A lease that begins at
    None begins with the first arrival.
    """

    source_bytes: int
    files: int
    speeds: Speeds
    hosts: int = 1  # that pack, each one group after the other
    hosts_there: int = 1  # that verify and rebuild
    source_rate: float | None = None  # bytes a second that the source gives to all hosts together
    read_back: ReadBack = "sample"
    drive_speeds: Mapping[str, DriveSpeed] = field(default_factory=dict)  # by drive; others by the planner's numbers
    departures: Mapping[str, float] = field(default_factory=dict)  # by carrier; others when their drives are sealed
    people: int = 1  # who receive drives
    late: Mapping[str, float] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    lease_begins: float | None = None
    gpus: int = 0
    gpu: Gpu = "h100"
    train_gpu_hours: float = 0.0
    train_rate: float | None = None  # bytes of the source a second, in place of GPU-hours
    ingest_rate: float | None = None  # bytes a second; None: trained where it stands
    return_bytes: int = 0  # of weights that go home; 0: nothing does
    deadline: float | None = None  # for all data to be readable


class Span(Struct, frozen=True, kw_only=True):
    """Somebody did something from `begin` to `end`, in seconds: a bar of a chart."""

    who: str
    what: str
    begin: float
    end: float


class Idle(Struct, frozen=True, kw_only=True):
    """What the rented servers cost while they wait, in USD, by what they wait for; None: it never comes."""

    first_batch: float | None
    half: float | None
    all: float | None


class Outcome(Struct, frozen=True, kw_only=True):
    """Times of one voyage, in seconds from the start of packing; None for what never happens."""

    sealed: float
    first_arrival: float | None
    first_batch: float | None
    half: float | None
    all: float | None
    verified: float | None  # everything that came
    repaired: float | None  # equal to `verified` where nothing was lost
    source_free: float | None
    trained: float | None
    home: float | None  # the weights, verified
    erased: float | None
    idle: Idle
    in_time: bool | None  # None without a deadline
    missed: tuple[str, ...]  # carriers whose drives are not ready when they were to leave
    spans: tuple[Span, ...]


class Step(NamedTuple):
    """A part of a carrier's way, in seconds."""

    what: str
    seconds: float


def way(carrier: Carrier, number: Value) -> tuple[Step, ...]:
    """What a carrier's drives go through from door to door, without the hand-over."""
    if carrier.means == "courier":
        return Step("carriage", number("courier_days") * DAY), Step("customs", number("customs_days") * DAY)
    ground = number("ground_hours") * HOUR / 2
    return (
        Step("ground", ground),
        Step("flight", number("flight_hours") * HOUR),
        Step("customs", number("customs_days") * DAY),
        Step("ground", ground),
    )


class Setting:
    """How long what takes, of one geometry."""

    def __init__(self, wanted: Wanted, geometry: Geometry, terms: Terms, number: Value) -> None:
        self.terms, self.geometry = terms, geometry
        self.places = placement(wanted, geometry)
        self.kinds = sorted({place.drive.kind for place in self.places})
        default = {
            kind: DriveSpeed(write=number(f"{kind}_write_rate"), read=number(f"{kind}_read_rate"))
            for kind in self.kinds
        }
        self.speed = [terms.drive_speeds.get(place.drive.name, default[place.drive.kind]) for place in self.places]
        self.drive_bytes = drive_bytes(wanted, geometry)
        self.share = [each / sum(self.drive_bytes) for each in self.drive_bytes]  # of the data
        self._by_drives = [0.0] * geometry.groups  # seconds
        for place, speed in zip(self.places, self.speed, strict=True):
            size = self.drive_bytes[place.group]
            time = size / speed.write + READ_BACK[terms.read_back] * size / speed.read
            self._by_drives[place.group] = max(self._by_drives[place.group], time)

    def source_bytes(self, group: int) -> float:
        """Of a group."""
        return self.terms.source_bytes * self.share[group]

    def group_seconds(self, group: int) -> float:
        """For which a host and its drives pack a group, when the source keeps up."""
        return max(self.source_bytes(group) / self.terms.speeds.pack_bytes, self._by_drives[group])


def check(wanted: Wanted, geometry: Geometry, terms: Terms) -> None:
    """BadInput that names everything in `terms` that no voyage can be timed with."""
    speeds = terms.speeds
    faults = [
        *_whole("source_bytes", terms.source_bytes, 0, 1 << 62),
        *_whole("files", terms.files, 0, 1 << 62),
        *_whole("hosts", terms.hosts, 1, MOST_HOSTS),
        *_whole("hosts_there", terms.hosts_there, 1, MOST_HOSTS),
        *_whole("people", terms.people, 1, MOST_HOSTS),
        *_whole("gpus", terms.gpus, 0, 1 << 30),
        *_whole("return_bytes", terms.return_bytes, 0, 1 << 60),
        *_rate("speeds.scan_files", speeds.scan_files),
        *_rate("speeds.pack_bytes", speeds.pack_bytes),
        *_rate("speeds.verify_bytes", speeds.verify_bytes),
        *_time("speeds.start_seconds", speeds.start_seconds),
        *_time("speeds.inspect_seconds", speeds.inspect_seconds),
        *_time("speeds.open_seconds", speeds.open_seconds),
        *_time("train_gpu_hours", terms.train_gpu_hours, most=MOST),
    ]
    for name in ("source_rate", "train_rate", "ingest_rate"):
        if (rate := getattr(terms, name)) is not None:
            faults += _rate(name, rate)
    if terms.lease_begins is not None:
        faults += _time("lease_begins", terms.lease_begins)
    if terms.deadline is not None:
        faults += _deadline(terms.deadline)
    if terms.read_back not in READ_BACK:
        faults.append(f"read_back: {terms.read_back!r} is not one of {', '.join(READ_BACK)}")
    if terms.gpu not in get_args(Gpu):
        faults.append(f"gpu: {terms.gpu!r} is not one of {', '.join(get_args(Gpu))}")
    faults += _training(terms) + _named(wanted, terms)
    if geometry.drives_used > len(wanted.drives):
        faults.append(f"geometry: {geometry.drives_used:,} drives, and {len(wanted.drives):,} are there")
    if faults:
        count = counted(len(faults), "problem")
        raise BadInput(
            f"the voyage has {count}:\n  " + "\n  ".join(faults),
            hint="seconds count from the start of packing; rates are bytes or files a second",
        )


def _training(terms: Terms) -> list[str]:
    if terms.train_rate is not None and terms.train_gpu_hours:
        return ["train_rate: train_gpu_hours says already how long training takes"]
    if terms.train_gpu_hours and not terms.gpus:
        return ["gpus: 0, and training takes GPU-hours"]
    return []


def _named(wanted: Wanted, terms: Terms) -> list[str]:
    """Faults of what is told by the names of carriers and drives."""
    carriers, drives = {each.name for each in wanted.carriers}, {each.name for each in wanted.drives}
    faults: list[str] = []
    for what, times in (("departures", terms.departures), ("late", terms.late)):
        for name, seconds in times.items():
            faults += _time(f"{what}[{name}]", seconds)
            faults += [] if name in carriers else [f"{what}[{name}]: no such carrier"]
    faults += [f"lost: no carrier {name!r}" for name in terms.lost if name not in carriers]
    faults += [f"lost: {name!r} cannot be late as well" for name in terms.lost if name in terms.late]
    for name, speed in terms.drive_speeds.items():
        faults += _rate(f"drive_speeds[{name}].write", speed.write) + _rate(f"drive_speeds[{name}].read", speed.read)
        faults += [] if name in drives else [f"drive_speeds[{name}]: no such drive"]
    return faults


def _number(where: str, value: Any) -> list[str]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return [f"{where}: {value!r} is no number"]
    return [] if math.isfinite(value) else [f"{where}: {value} is no number to count with"]


def _whole(where: str, value: Any, least: int, most: int) -> list[str]:
    if isinstance(value, bool) or not isinstance(value, int):
        return [f"{where}: {value!r} is no whole number"]
    return [] if least <= value <= most else [f"{where}: {value:,} is not between {least:,} and {most:,}"]


def _rate(where: str, value: Any) -> list[str]:
    if faults := _number(where, value):
        return faults
    return [] if 0 < value <= MOST else [f"{where}: {value:g} is not more than 0 and at most {MOST:g}"]


def _time(where: str, value: Any, *, most: float = MOST_SECONDS) -> list[str]:
    if faults := _number(where, value):
        return faults
    return [] if 0 <= value <= most else [f"{where}: {value:g} is not between 0 and {most:g}"]


def _deadline(value: Any) -> list[str]:
    faults = _number("deadline", value)
    return faults or ([] if value > 0 else [f"deadline: {value:g} s from the start of packing is in the past"])
