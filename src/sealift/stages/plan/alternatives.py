"""The same job three ways, side by side: drives, a network link, each appliance service that takes orders. Pure.

The job: all of the corpus, as packed (no parity), readable on the rented cluster. For each way the days to the first
batch and to all of it, the cost with its parts, and what that way cannot do. What holds:

- Every number comes from the planner's numbers or the terms, and those used are listed with their sources; a number
  without authority says so there. No value of goods is an input, and there are no thresholds.
- A lease at a stated time costs from then until all is there, whichever way. Without one it begins, with drives, at the
  first arrival, and otherwise once all is there: who sends by network need not rent before.
- A link and a service need room for the whole corpus at the destination, which is not counted; drives are their own.
- A service ends in its cloud. Unless the cluster stands there (`near`), what it brings goes on over the link.
- Where the terms say nothing else, drives are bought for this voyage and not sold after it.

Break-even is in closed form, with these drives, carriers and hosts: `seconds` of drives grows by the byte as in
voyage.Line, that of a link is proportional to the bytes; costs grow by the parts that say so.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct

from sealift.errors import BadInput
from sealift.stages.plan.defaults import Number  # noqa: TC001 -- msgspec resolves the fields of records
from sealift.stages.plan.geometry import Geometry, Wanted, placement
from sealift.stages.plan.terms import DAY, HOUR, MINUTE, Outcome, Terms
from sealift.stages.plan.voyage import line, simulate

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sealift.stages.plan.defaults import Numbers, Service

FIRST = 1 << 30  # bytes that are there before a first batch: one pack
_DRIVES_CANNOT = (
    "without people at both ends, and a corpus where drives can be plugged in",
    "cross a border undeclared: customs may open, delay or hold a carrier",
)
_LINK_CANNOT = ("begin before there is room for the whole corpus at the destination", "be faster than the link")


class Part(Struct, frozen=True, kw_only=True):
    """A part of a cost, in USD. `growing` is what is proportional to the size of the corpus; the rest is fixed.

    The rest is below 0 where it is time that one has: servers that are rented from a date on do not wait before.
    """

    what: str
    usd: float
    growing: float = 0.0


def _grows(what: str, usd: float) -> Part:
    return Part(what=what, usd=usd, growing=usd)


class Alternative(Struct, frozen=True, kw_only=True):
    """One way to do the job. Days are None for what never happens; `cannot` completes "it cannot"."""

    id: str
    title: str
    days_to_first_batch: float | None
    days_to_all: float | None
    parts: tuple[Part, ...]
    cannot: tuple[str, ...]
    note: str = ""

    @property
    def usd(self) -> float:
        """The sum of the parts."""
        return math.fsum(part.usd for part in self.parts)


class BreakEven(Struct, frozen=True, kw_only=True):
    """Where drives and the link change places. Sizes are packed bytes; None: never, the link stays ahead.

    Costs are straight lines through this size: servers that wait here are taken to wait at any other size, too.
    """

    faster_from_bytes: float | None  # from this size on drives are faster
    cheaper_from_bytes: float | None  # and cheaper
    link_rate: float | None  # b/s at which the link takes as long as drives; None: at no rate


class Comparison(Struct, frozen=True, kw_only=True):
    """The ways side by side, drives first; services without an offer are named in `closed`."""

    alternatives: tuple[Alternative, ...]
    break_even: BreakEven
    closed: tuple[str, ...]
    used: tuple[Number, ...]


def compare(
    wanted: Wanted,
    geometry: Geometry,
    terms: Terms,
    numbers: Numbers,
    *,
    near: Collection[str] = (),
    buy_drives: bool = True,
    labels: Mapping[str, int] | None = None,
) -> Comparison:
    """All ways for one plan. `near` are ids of services in whose cloud the cluster stands. BadInput.

    `labels` has the capacity of each drive as it is sold, in bytes, where it is not that of the geometry.
    """
    ids = {service.id for service in numbers.services}
    if unknown := sorted(set(near) - ids):
        raise BadInput(
            f"no such service: {', '.join(map(repr, unknown))}", hint=f"one or more of {', '.join(sorted(ids))}"
        )
    outcome = simulate(wanted, geometry, terms, numbers)
    drives = _drives(wanted, geometry, terms, numbers, outcome, labels=(labels or {}) if buy_drives else None)
    link = _link(wanted.packed_bytes, terms, numbers)
    offered = [service for service in numbers.services if numbers[f"{service.id}_open"]]
    services = [_service(each, wanted, terms, numbers, outcome, near=each.id in near) for each in offered]
    return Comparison(
        alternatives=(drives, link, *services),
        break_even=_break_even(wanted, geometry, terms, numbers, drives, link),
        closed=tuple(service.title for service in numbers.services if service not in offered),
        used=numbers.used,
    )


def link_seconds(size: float, numbers: Numbers) -> float | None:
    """For which `size` bytes are on the link; None: it carries nothing."""
    rate = numbers["link_rate"] * numbers["link_utilisation"]
    return size * 8 / rate if rate > 0 else None


def _drives(
    wanted: Wanted,
    geometry: Geometry,
    terms: Terms,
    numbers: Numbers,
    outcome: Outcome,
    *,
    labels: Mapping[str, int] | None,
) -> Alternative:
    """`labels` has the capacity that is paid for, by drive; None: no drive is bought."""
    places = placement(wanted, geometry)
    means = {carrier.name: carrier.means for carrier in wanted.carriers}
    trips = sum(means[name] != "courier" for name in {place.carrier for place in places})
    hours = numbers["hand_over_hours"] * len({place.carrier for place in places})
    hours_a_drive = numbers["receive_minutes_a_drive"] * MINUTE / HOUR
    parts = [
        Part(what="hand-over", usd=hours * numbers["person_hour"]),
        _grows("receiving", hours_a_drive * len(places) * numbers["person_hour"]),
    ]
    if labels is not None:
        price = math.fsum(
            labels.get(place.drive.name, place.drive.capacity_bytes) / 1e12 * numbers[f"{place.drive.kind}_price"]
            for place in places
        )
        parts.append(_grows("drives", price))
    if trips:
        parts.append(Part(what="trips", usd=trips * numbers["trip_price"]))
    if sent := [place for place in places if means[place.carrier] == "courier"]:
        weight = math.fsum(numbers[f"{place.drive.kind}_weight"] for place in sent)
        parts.append(_grows("courier, there and back", 2 * weight * numbers["courier_price"]))
    if outcome.idle.all:
        grows = 0.0
        if terms.lease_begins is not None:
            grows = _rented(line(wanted, geometry, terms, numbers).growing, terms, numbers)
        parts.append(Part(what="idle servers", usd=outcome.idle.all, growing=grows))
    return Alternative(
        id="drives",
        title=f"{_counted(len(places), 'drive')} with {_counted(len({place.carrier for place in places}), 'carrier')}",
        days_to_first_batch=_days(outcome.first_batch),
        days_to_all=_days(outcome.all),
        parts=tuple(parts),
        cannot=_DRIVES_CANNOT,
        note=f"{_counted(geometry.groups, 'group')} of {geometry.data}+{geometry.parity}",
    )


def _link(size: int, terms: Terms, numbers: Numbers) -> Alternative:
    time = link_seconds(size, numbers)
    return Alternative(
        id="link",
        title=f"a link of {numbers['link_rate'] / 1e9:g} Gb/s, {numbers['link_utilisation']:.0%} used",
        days_to_first_batch=_days(link_seconds(min(size, FIRST), numbers)),
        days_to_all=_days(time),
        parts=(*_sent(size, numbers), *_idle(time, time, terms, numbers)),
        cannot=_LINK_CANNOT,
        note="" if time is not None else "it carries nothing at that utilisation",
    )


def _sent(size: int, numbers: Numbers) -> tuple[Part, ...]:
    """What sending costs."""
    time = link_seconds(size, numbers)
    return (
        _grows("egress", size / 1e9 * numbers["egress_price"]),
        _grows("port", (time or 0.0) / HOUR * numbers["link_port_hour"]),
    )


def _idle(time: float | None, growing: float | None, terms: Terms, numbers: Numbers) -> tuple[Part, ...]:
    """Servers that were rented before all was there; `growing` is what of the time is proportional to the size."""
    if terms.lease_begins is None or time is None or time <= terms.lease_begins or not terms.gpus:
        return ()
    usd = _rented(time - terms.lease_begins, terms, numbers)
    return (Part(what="idle servers", usd=usd, growing=_rented(growing or 0.0, terms, numbers)),)


def _rented(seconds: float, terms: Terms, numbers: Numbers) -> float:
    """USD of all servers for so long."""
    return seconds / HOUR * terms.gpus * numbers[f"{terms.gpu}_gpu_hour"]


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def _service(
    service: Service, wanted: Wanted, terms: Terms, numbers: Numbers, outcome: Outcome, *, near: bool
) -> Alternative:
    """One service, with the way on from its cloud where the cluster is elsewhere."""
    size, known = wanted.packed_bytes, {number.name for number in numbers.everything}
    if f"{service.id}_rate" in known:
        upload = size * 8 / numbers[f"{service.id}_rate"]
        time = outcome.sealed + (numbers["hand_over_hours"] + numbers["ground_hours"]) * HOUR + upload
        fee = _grows("terminal", upload / HOUR * numbers[f"{service.id}_hour"])
        note = "drives are packed, brought to a site and read there; drives and the trip are not counted"
    else:
        count = math.ceil(size / numbers[f"{service.id}_capacity"])
        time = numbers[f"{service.id}_days"] * DAY
        fee = _grows("fee", count * numbers[f"{service.id}_fee"])
        note = f"{_counted(count, 'appliance')} at once, if so many are to be had"
    first: float | None = time
    total: float | None = time
    parts = [fee]
    if not near:
        begin, end = link_seconds(min(size, FIRST), numbers), link_seconds(size, numbers)
        first = None if begin is None else time + begin
        total = None if end is None else time + end
        parts += _sent(size, numbers)
        note += "; then over the link to the cluster"
    return Alternative(
        id=service.id,
        title=service.title,
        days_to_first_batch=_days(first),
        days_to_all=_days(total),
        parts=(*parts, *_idle(total, None if near else link_seconds(size, numbers), terms, numbers)),
        cannot=(f"go everywhere: {service.cannot}", _LINK_CANNOT[0]),
        note=note,
    )


def _break_even(
    wanted: Wanted, geometry: Geometry, terms: Terms, numbers: Numbers, drives: Alternative, link: Alternative
) -> BreakEven:
    size, along = wanted.packed_bytes, line(wanted, geometry, terms, numbers)
    on_link = link_seconds(size, numbers)
    utilisation = numbers["link_utilisation"]
    faster: float | None = 0.0  # a link that carries nothing is behind at any size
    if on_link is not None:
        slope = (on_link - along.growing) / size
        faster = along.fixed / slope if slope > 0 else None
    fixed, grows = _split(drives)
    link_fixed, link_grows = _split(link)
    slope = (link_grows - grows) / size
    cheaper = max(0.0, (fixed - link_fixed) / slope) if slope > 0 else None
    return BreakEven(
        faster_from_bytes=faster,
        cheaper_from_bytes=cheaper,
        link_rate=size * 8 / (utilisation * along.seconds) if utilisation > 0 else None,
    )


def _split(way: Alternative) -> tuple[float, float]:
    """USD that are fixed, and that grow."""
    grows = math.fsum(part.growing for part in way.parts)
    return way.usd - grows, grows


def _days(time: float | None) -> float | None:
    return None if time is None else time / DAY
