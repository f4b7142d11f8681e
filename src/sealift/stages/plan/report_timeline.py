"""A voyage as bars on a time axis: rows of who did what, in lanes that do not overlap, and marks. Pure.

    chart       rows, marks and ticks, all in percent of the axis

What holds: bars of one lane never overlap. What is past the end of the axis is cut there and says so, so that a month
of training or a deadline far away leaves the voyage readable. Many carriers or hosts that did the same at the same time
share a row, which names them; the rest beyond MOST_ROWS is counted.
"""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING, NamedTuple

from sealift.stages.plan.report_words import span
from sealift.stages.plan.terms import DAY, HOUR, MINUTE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sealift.stages.plan.terms import Outcome, Span

MOST_ROWS = 40  # of carriers
MOST_HOSTS = 8  # that have a row each
MOST_ALONE = 16  # carriers that have a row each
_STRETCH = 3.0  # the axis ends at so many times the voyage; what comes later is cut
_NARROW = 560.0  # px of the axis on paper: labels that fit there fit everywhere
_LETTER = 6.4  # px, at the size of labels
_GROUP = re.compile(r"(pack|rebuild) group (\d+)")
_KINDS = {  # of bars: class, and what the legend says
    "scan": "scan the source",
    "pack": "pack a group (in its colour)",
    "wait": "hand-over, waiting",
    "way": "carriage, flight, ground",
    "customs": "customs",
    "receive": "receive: plug in, inspect",
    "verify": "verify",
    "rebuild": "rebuild what was lost",
    "train": "ingest, train",
    "home": "pack the weights",
    "erase": "erase",
}
_KIND = {
    "hand-over": "wait", "waiting": "wait", "late": "wait", "carriage": "way", "flight": "way", "ground": "way",
    "ingest": "train", "pack weights": "home",
}  # fmt: skip


class Bar(NamedTuple):
    """`left` and `width` in percent of the axis; `label` is empty where it would not fit."""

    left: float
    width: float
    lane: int
    kind: str
    group: int | None
    label: str
    told: str
    cut: bool


class Row(NamedTuple):
    """Who, and the bars; `part` is one of origin, carriers, destination."""

    part: str
    names: tuple[str, ...]
    more: int  # that are like these and not named
    bars: tuple[Bar, ...]
    lanes: int


class Mark(NamedTuple):
    """A moment; `line` is where its label stands, so that labels do not overlap."""

    left: float
    what: str
    seconds: float
    line: int
    flip: bool  # the label is left of the line
    cut: bool  # it is past the end


class Tick(NamedTuple):
    """Of the axis."""

    left: float
    label: str


class Chart(NamedTuple):
    """Everything in percent of the axis, which is `seconds` long."""

    rows: tuple[Row, ...]
    marks: tuple[Mark, ...]
    ticks: tuple[Tick, ...]
    legend: tuple[tuple[str, str], ...]
    left_out: int  # rows
    lines: int  # of marks
    seconds: float
    cut: bool


def chart(outcome: Outcome, carriers: Sequence[str], *, deadline: float | None, lease: float | None) -> Chart:
    """Of the base case. `carriers` are the names of those who carry; times are seconds from the start of packing."""
    spans = outcome.spans
    moments = [
        (what, time)
        for what, time in (
            ("sealed", outcome.sealed),
            ("lease begins", lease),
            ("first batch", outcome.first_batch),
            ("half", outcome.half),
            ("all", outcome.all),
            ("deadline", deadline),
        )
        if time is not None
    ]
    core = max([each.end for each in spans if not _late(each)] + [time for what, time in moments if what != "deadline"])
    last = max([each.end for each in spans] + [time for _, time in moments])
    seconds = max(min(last * 1.02, core * _STRETCH), 1.0)
    rows, left_out = _rows(spans, set(carriers), seconds)
    kinds = {bar.kind for row in rows for bar in row.bars}
    return Chart(
        rows=rows,
        marks=(marks := _marks(moments, seconds)),
        ticks=_ticks(seconds),
        legend=tuple((kind, words) for kind, words in _KINDS.items() if kind in kinds),
        left_out=left_out,
        lines=max((mark.line for mark in marks), default=0) + 1,
        seconds=seconds,
        cut=last > seconds,
    )


def _late(one: Span) -> bool:
    """Of what may take much longer than the voyage."""
    return one.who in {"cluster", "weights"} and not one.what.startswith("rebuild")


# --- rows ------------------------------------------------------------------------------------------------


def _rows(spans: Sequence[Span], carriers: set[str], seconds: float) -> tuple[tuple[Row, ...], int]:
    """Origin, carriers, destination; and how many rows were left out.

    Carriers may have the names of the other rows: what is done tells them apart, and weights go after they are packed.
    """
    sent = min((each.end for each in spans if (each.who, each.what) == ("cluster", "pack weights")), default=math.inf)
    places: dict[tuple[str, str], list[Span]] = {}
    for each in spans:
        if each.what == "scan":
            key = ("origin", "scan")
        elif each.what.startswith("pack group"):
            key = ("origin", each.who)
        elif each.what.startswith("rebuild") or each.what in {"ingest", "train", "pack weights", "erase"}:
            key = ("destination", "cluster")
        elif each.who in carriers and not (each.who == "weights" and each.begin >= sent):
            key = ("carriers", each.who)
        else:
            key = ("destination", "weights, on their way home")
        places.setdefault(key, []).append(each)
    hosts = [name for part, name in places if part == "origin" and name != "scan"]
    if len(hosts) > MOST_HOSTS:
        together = [one for name in hosts for one in places.pop(("origin", name))]
        places["origin", f"{len(hosts):,} hosts"] = _union(together)
    by_part: dict[str, list[Row]] = {"origin": [], "carriers": [], "destination": []}
    carrying = [item for item in places.items() if item[0][0] == "carriers"]
    for (part, name), found in places.items():
        if part != "carriers":
            by_part[part].append(_row(part, (name,), 0, found, seconds))
    by_part["carriers"] = _carriers(sorted((name, found) for (_, name), found in carrying), seconds)
    left_out = max(0, len(by_part["carriers"]) - MOST_ROWS)
    by_part["carriers"] = by_part["carriers"][:MOST_ROWS]
    return tuple(itertools.chain.from_iterable(by_part.values())), left_out


def _carriers(found: list[tuple[str, list[Span]]], seconds: float) -> list[Row]:
    """A row each; when they are many, a row for those that did the same within a minute."""
    alike: dict[object, list[tuple[str, list[Span]]]] = {}
    for name, spans in found:
        same = tuple((each.what, each.begin // MINUTE, each.end // MINUTE) for each in spans)
        alike.setdefault(same if len(found) > MOST_ALONE else name, []).append((name, spans))
    return [
        _row("carriers", tuple(name for name, _ in members[:4]), max(0, len(members) - 4), members[0][1], seconds)
        for members in alike.values()
    ]


def _union(spans: Iterable[Span]) -> list[Span]:
    """Bars of many hosts as one, where somebody works."""
    from msgspec.structs import replace

    out: list[Span] = []
    for each in sorted(spans, key=lambda each: each.begin):
        if out and each.begin <= out[-1].end:
            out[-1] = replace(out[-1], end=max(out[-1].end, each.end))
        else:
            out.append(replace(each, what="pack groups"))
    return out


def _row(part: str, names: tuple[str, ...], more: int, spans: Sequence[Span], seconds: float) -> Row:
    ends: list[float] = []  # of lanes
    bars: list[Bar] = []
    for each in sorted(spans, key=lambda each: (each.begin, each.end)):
        lane = next((at for at, end in enumerate(ends) if end <= each.begin), len(ends))
        ends[lane : lane + 1] = [each.end]
        if each.begin < seconds:
            bars.append(_bar(each, lane, seconds))
    return Row(part, names, more, tuple(bars), max(1, len(ends)))


def _bar(one: Span, lane: int, seconds: float) -> Bar:
    grouped = _GROUP.fullmatch(one.what)
    group = int(grouped[2]) if grouped else None
    kind = grouped[1] if grouped else _KIND.get(one.what, one.what.split(" ")[0])
    label = one.what if group is None else f"g{group}"
    left, right = 100 * one.begin / seconds, min(100.0, 100 * one.end / seconds)
    cut = one.end > seconds
    label += f" → {span(one.end)}" if cut else ""
    fits = (right - left) / 100 * _NARROW >= len(label) * _LETTER + 4
    told = f"{one.what}: {span(one.end - one.begin)}, from {span(one.begin)} to {span(one.end)}"
    return Bar(left, max(right - left, 0.15), lane, kind, group, label if fits else "", told, cut)


# --- marks and ticks -------------------------------------------------------------------------------------


def _marks(moments: list[tuple[str, float]], seconds: float) -> tuple[Mark, ...]:
    """In the order of time, each label in the first line where it overlaps none."""
    taken: list[list[tuple[float, float]]] = []
    out: list[Mark] = []
    for what, time in sorted(moments, key=lambda each: each[1]):
        left = min(100.0, 100 * time / seconds)
        wide = 100 * (len(what) + len(span(time)) + 2) * _LETTER / _NARROW
        flip = left + wide > 100
        begin, end = (left - wide, left) if flip else (left, left + wide)
        line = 0
        while line < len(taken) and any(begin < b and a < end for a, b in taken[line]):
            line += 1
        if line == len(taken):
            taken.append([])
        taken[line].append((begin, end))
        out.append(Mark(left, what, time, line, flip, time > seconds))
    return tuple(out)


def _ticks(seconds: float) -> tuple[Tick, ...]:
    """A dozen at most, at whole minutes, hours or, where there are more than four, days."""
    for unit, words, steps in ((MINUTE, "{} min", (1, 2, 5, 10, 15, 20, 30)), (HOUR, "{} h", (1, 2, 3, 6, 12))):
        for step in steps:
            if seconds / (step * unit) <= 12 and seconds <= 4 * DAY:
                return _every(step, unit, words, seconds)
    days = (step * 10**power for power in itertools.count() for step in (1, 2, 5))
    return _every(next(step for step in days if seconds <= 12 * DAY * step), DAY, "day {:,}", seconds)


def _every(step: int, unit: float, words: str, seconds: float) -> tuple[Tick, ...]:
    count = int(seconds / (step * unit))
    ticks = (Tick(100 * at * step * unit / seconds, words.format(at * step)) for at in range(count + 1))
    return tuple(each for each in ticks if each.left <= 95)
