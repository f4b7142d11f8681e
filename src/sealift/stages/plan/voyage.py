"""A voyage in time, from the scan to the last erased drive: a discrete-event model. Pure.

The events are in events.py and need simpy (extra `plan`); the closed form does not.

How it goes, and what waits for what:

- scan: every host walks the whole source before it packs.
- pack: groups in their order, each on the next host that is free. A group takes as long as the slowest of: its source
  bytes by the host's processors, the bytes of its slowest drive written and read back, its source bytes from a source
  that gives `source_rate` to all hosts together (the group that began first gets what it can take).
- seal: when every group is signed. It goes ahead by network, and nothing is opened without it.
- hand-over: when the last of a carrier's drives is signed; then the carrier leaves, at its stated departure if that is
  later. `missed` names carriers whose drives are not ready at a stated departure.
- the way: ground, flight, customs, ground; or courier, customs. A late carrier comes later by what is stated.
- receive: each of `people` plugs in one drive after the other, whoever arrived first; then the drive is inspected.
- readable: data packs of drives that are here are read directly, so c of a group's n drives are c/n of its data; from
  k on the rest is rebuilt, and all of it is. The first batch comes `open_seconds` after the first drive.
- verify: drives side by side, each as fast as it reads, all together no faster than the hosts there.
- repair: drives of a lost carrier are rebuilt onto new ones, a group at a time on each host there, once everything that
  comes is here and the lost carrier is overdue.
- source free: when all is verified, and rebuilt where a carrier was lost: then the receipt can be signed.
- ingest (if any), training from when all is readable; the weights go home as the first carrier travels; erase, all
  drives side by side, after the receipt and once nothing waits for the drives any more.

`simulate` gives the base case, the same always; `percentiles` draws what has a low and a high among the planner's
numbers; `cases` plays every carrier late, and lost. `seconds` is the time to all data in closed form. Idle cost is what
the rented servers cost from the beginning of the lease until they can begin, by what they wait for.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Literal

import numpy as np
from msgspec import Struct, structs

from sealift.errors import BadInput
from sealift.stages.plan.geometry import Geometry, Wanted, counts
from sealift.stages.plan.terms import DAY, HOUR, MINUTE, Outcome, Setting, Terms, Value, check, way

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sealift.stages.plan.defaults import Number, Numbers

MOST_DRAWS = 10_000
_BY_CARRIER = ("customs_days", "courier_days", "flight_hours")  # drawn anew for each carrier


class Case(Struct, frozen=True, kw_only=True):
    """What one carrier's fate makes of the voyage."""

    what: Literal["as planned", "late", "lost"]
    carrier: str
    outcome: Outcome


class Percentile(Struct, frozen=True, kw_only=True):
    """Times that so many percent of the drawn voyages do not exceed, in seconds; None: they never happen."""

    percent: int
    first_batch: float | None
    half: float | None
    all: float | None
    source_free: float | None


def simulate(wanted: Wanted, geometry: Geometry, terms: Terms, numbers: Numbers) -> Outcome:
    """The voyage with every number at its value. BadInput names every fault of `terms`."""
    check(wanted, geometry, terms)
    return _played(wanted, geometry, terms, numbers.__getitem__)


def cases(wanted: Wanted, geometry: Geometry, terms: Terms, numbers: Numbers) -> tuple[Case, ...]:
    """As planned; then each carrier that has drives late by `late_days`; then each of them lost. BadInput."""
    check(wanted, geometry, terms)
    known = _Number(numbers, None)
    table = counts(wanted, geometry).sum(axis=0)
    names = sorted(carrier.name for carrier in wanted.carriers)
    has = [name for name, count in zip(names, table, strict=True) if count and name not in terms.lost]

    def played(what: Literal["as planned", "late", "lost"], name: str, terms: Terms) -> Case:
        return Case(what=what, carrier=name, outcome=_played(wanted, geometry, terms, known))

    on_time = {name: {who: time for who, time in terms.late.items() if who != name} for name in has}
    late = numbers["late_days"] * DAY
    return (
        played("as planned", "", terms),
        *(played("late", name, structs.replace(terms, late=on_time[name] | {name: late})) for name in has),
        *(played("lost", name, structs.replace(terms, late=on_time[name], lost=(*terms.lost, name))) for name in has),
    )


def percentiles(
    wanted: Wanted,
    geometry: Geometry,
    terms: Terms,
    numbers: Numbers,
    *,
    percents: Iterable[int] = (10, 50, 90),
    draws: int = 100,
    seed: int = 0,
) -> tuple[Percentile, ...]:
    """Over voyages in which what has a low and a high is drawn from a triangle with its value on top.

    Nearest rank, so that each is a time that was drawn. BadInput as `simulate`, and for too few or many draws.
    """
    check(wanted, geometry, terms)
    ranks = list(percents)
    if not 1 <= draws <= MOST_DRAWS or not all(1 <= percent <= 100 for percent in ranks):
        raise BadInput(
            f"percentiles {ranks} of {draws:,} draws", hint=f"1 to {MOST_DRAWS:,} draws, percentiles from 1 to 100"
        )
    streams = np.random.SeedSequence(seed).spawn(draws)
    drawn = [_played(wanted, geometry, terms, _Number(numbers, np.random.default_rng(stream))) for stream in streams]

    def rank(percent: int, times: Iterable[float | None]) -> float | None:
        came = sorted(time for time in times if time is not None)  # in all draws, or in none: no loss is drawn
        return came[-(-percent * draws // 100) - 1] if came else None

    return tuple(
        Percentile(
            percent=percent,
            first_batch=rank(percent, (each.first_batch for each in drawn)),
            half=rank(percent, (each.half for each in drawn)),
            all=rank(percent, (each.all for each in drawn)),
            source_free=rank(percent, (each.source_free for each in drawn)),
        )
        for percent in ranks
    )


def on_time(
    wanted: Wanted, geometry: Geometry, terms: Terms, numbers: Numbers, *, draws: int = 100, seed: int = 0
) -> float:
    """The share of drawn voyages, nothing lost and no carrier late, of which all data is readable by the deadline.

    Drawn as `percentiles`. BadInput as `simulate`, and without a deadline.
    """
    check(wanted, geometry, terms)
    if terms.deadline is None:
        raise BadInput("being in time wants a deadline", hint="terms.deadline")
    streams = np.random.SeedSequence(seed).spawn(draws)
    times = (_played(wanted, geometry, terms, _Number(numbers, np.random.default_rng(each))).all for each in streams)
    return sum(time is not None and time <= terms.deadline for time in times) / draws


class Line(Struct, frozen=True, kw_only=True):
    """Seconds to all data: `fixed`, and `growing` with the size of the corpus, at this geometry."""

    fixed: float
    growing: float

    @property
    def seconds(self) -> float:
        """Both."""
        return self.fixed + self.growing


def line(wanted: Wanted, geometry: Geometry, terms: Terms, numbers: Numbers) -> Line:
    """The time to all data in closed form, with what grows with the corpus told apart. No check of `terms`.

    It is what `simulate` gives where nothing queues but drives at the dock: equal groups, carriers that all have drives
    of the last group, leave as soon as they can and are equally long on the way, none late or lost, a source that keeps
    up. Where the source limits, hosts are taken to be busy to the end; where carriers differ, the slowest counts, and
    the drives that make k of every group are taken to be plugged in first.
    """
    setting = Setting(wanted, geometry, terms, numbers.__getitem__)
    rounds = -(-geometry.groups // terms.hosts)
    packing = rounds * max(setting.group_seconds(group) for group in range(geometry.groups))
    if terms.source_rate is not None:
        packing = max(packing, terms.source_bytes / terms.source_rate)
    table = counts(wanted, geometry).sum(axis=0)
    carriers = sorted(wanted.carriers, key=lambda carrier: carrier.name)
    ways = [
        sum(step.seconds for step in way(carrier, numbers.__getitem__))
        for carrier, count in zip(carriers, table, strict=True)
        if count
    ]
    plugged = -(-geometry.data * geometry.groups // terms.people)  # k of every group, dealt round
    return Line(
        fixed=terms.speeds.start_seconds
        + numbers["hand_over_hours"] * HOUR
        + max(ways)
        + plugged * numbers["receive_minutes_a_drive"] * MINUTE
        + terms.speeds.inspect_seconds,
        growing=terms.files / terms.speeds.scan_files + packing,
    )


def seconds(wanted: Wanted, geometry: Geometry, terms: Terms, numbers: Numbers) -> float:
    """The time to all data in closed form, cheap enough for every geometry: see `line`."""
    return line(wanted, geometry, terms, numbers).seconds


def require() -> None:
    """BadInput where what plays a voyage is not installed."""
    if importlib.util.find_spec("simpy") is None:
        raise BadInput("not installed: simpy", hint="pip install 'sealift[plan]'")


def _played(wanted: Wanted, geometry: Geometry, terms: Terms, number: Value) -> Outcome:
    require()
    from sealift.stages.plan.events import Voyage

    return Voyage(wanted, geometry, terms, number).run()


class _Number:
    """Values of the planner's numbers; with a generator, drawn where they have a low and a high."""

    def __init__(self, numbers: Numbers, random: np.random.Generator | None) -> None:
        self._numbers, self._random = numbers, random
        self._known: dict[str, Number] = {number.name: number for number in numbers.everything}
        self._drawn: dict[str, float] = {}

    def __call__(self, name: str) -> float:
        value, known = self._numbers[name], self._known[name]
        low = value if known.low is None else known.low
        high = value if known.high is None else known.high
        if self._random is None or low >= high:
            return value
        if name in _BY_CARRIER or name not in self._drawn:
            self._drawn[name] = float(self._random.triangular(low, value, high))
        return self._drawn[name]
