"""Pictures of a plan as inline SVG, made by hand: points on axes, and the sizes of files. Pure.

    odds_chart   overhead against the probability of a loss, all geometries
    cost_chart   days against cost, all ways to do the job
    size_chart   how large files are

What holds: the same input gives the same bytes; there is no script and no reference to anything; every text is
escaped; colours are classes of the page, so that they follow its light and dark. Labels that would overlap another are
left away, or moved and led back with a line. An axis is logarithmic where values span much; a probability of 0 stands
on a line of its own beneath it.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from sealift.stages.plan.report_words import many, money, one_in, percent, superscript

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sealift.stages.plan.alternatives import Alternative
    from sealift.stages.plan.front import Choice

WIDE = 900.0  # of every picture, in its own units
_LEFT, _RIGHT, _TOP, _BOTTOM = 122.0, 16.0, 14.0, 44.0
_LETTER = 6.6  # width of one, at the size of labels
_LEAST = 1e-300  # probability that is drawn as one


class Box(NamedTuple):
    """Where something stands, so that nothing else does."""

    x0: float
    y0: float
    x1: float
    y1: float

    def meets(self, other: Box) -> bool:
        """They overlap."""
        return self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1


class Axis(NamedTuple):
    """From `low` to `high`, drawn from `begin` to `end`."""

    low: float
    high: float
    log: bool
    begin: float
    end: float

    def at(self, value: float) -> float:
        """Where a value stands; what is outside stands at the end."""
        if self.log:
            value, low, high = (math.log10(max(each, _LEAST)) for each in (value, self.low, self.high))
        else:
            low, high = self.low, self.high
        share = min(max((value - low) / (high - low), 0.0), 1.0)
        return self.begin + share * (self.end - self.begin)

    def ticks(self, most: int = 8) -> list[float]:
        """Round values, `most` of them or fewer."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            step = max(1, math.ceil((last - first + 1) / most))
            powers = list(range(last, first - 1, -step))[::-1]
            if len(powers) >= 3:
                return [10.0**power for power in powers]
            finer = (part * 10.0**power for power in range(first - 1, last + 1) for part in (1, 2, 5))
            return [value for value in finer if self.low <= value <= self.high * (1 + 1e-9)]
        each = _round_step((self.high - self.low) / most)
        begin, end = math.ceil(self.low / each - 1e-9), math.floor(self.high / each + 1e-9)
        return [each * at for at in range(begin, end + 1)]


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(max(least, _LEAST)))
    return next(part * power for part in (1.0, 2.0, 5.0, 10.0) if part * power >= least * (1 - 1e-9))


def _axis(values: Iterable[float], begin: float, end: float, *, spread: float = 30.0) -> Axis:
    """From 0, or logarithmic where all are more than 0 and the most is `spread` times the least."""
    found = list(values) or [0.0]
    low, high = min(found), max(found)
    if low > 0 and high / low > spread:
        return Axis(low / 1.5, high * 1.5, log=True, begin=begin, end=end)
    return Axis(0.0, high * 1.08 or 1.0, log=False, begin=begin, end=end)


class Picture:
    """An SVG in the making; `put` keeps labels apart."""

    def __init__(self, high: float, title: str) -> None:
        self.high = high
        self._title = title
        self._parts: list[Markup] = []
        self._taken: list[Box] = []

    def add(self, form: str, *values: object) -> None:
        """Markup with values in it, which are escaped."""
        shown = [f"{each:.1f}" if isinstance(each, float) else each for each in values]
        self._parts.append(Markup(form).format(*shown))  # noqa: S704 -- forms are literals of this file

    def line(self, kind: str, x0: float, y0: float, x1: float, y1: float) -> None:
        """A straight one."""
        self.add('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>', kind, x0, y0, x1, y1)

    def text(self, kind: str, x: float, y: float, words: str, anchor: str = "start") -> None:
        """One line of text, at its baseline."""
        self.add('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>', kind, x, y, anchor, words)

    def dot(self, kind: str, x: float, y: float, radius: float, told: str) -> None:
        """A point, and what a pointer is told."""
        self.add('<circle class="{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>', kind, x, y, radius, told)
        self._taken.append(Box(x - radius, y - radius, x + radius, y + radius))

    def put(self, kind: str, x: float, y: float, words: str, *, must: bool = False) -> None:
        """A label beside a point where there is room; one that must be there is led back to its point from afar."""
        wide = len(words) * _LETTER
        for far in (0.0, 18.0, 36.0, 54.0, 72.0, 90.0) if must else (0.0, 12.0):
            for over, right in itertools.product((-far, far) if far else (0.0,), (True, False)):
                box = Box(x + 9, y + over - 8, x + 11 + wide, y + over + 8)
                if not right:
                    box = Box(x - 11 - wide, box.y0, x - 9, box.y1)
                outside = box.x0 < _LEFT or box.x1 > WIDE - 2 or box.y0 < 2 or box.y1 > self.high - _BOTTOM
                if outside or any(box.meets(other) for other in self._taken):
                    continue
                self._taken.append(box)
                if far > 12:
                    self.line("lead", x, y, box.x0 if right else box.x1, y + over)
                self.text(kind, box.x0 + 1 if right else box.x1 - 1, y + over + 4, words, "start" if right else "end")
                return

    def frame(self, x: Axis, y: Axis, x_labels: Sequence[tuple[float, str]], y_labels: Sequence[tuple[float, str]],
              x_title: str, y_title: str) -> None:  # fmt: skip
        """Grid, labels and titles of both axes."""
        for value, words in y_labels:
            self.line("grid", _LEFT, y.at(value), WIDE - _RIGHT, y.at(value))
            self.text("tick", _LEFT - 8, y.at(value) + 4, words, "end")
        for value, words in x_labels:
            self.line("grid", x.at(value), _TOP, x.at(value), self.high - _BOTTOM)
            self.text("tick", x.at(value), self.high - _BOTTOM + 17, words, "middle")
        self.text("title", (_LEFT + WIDE - _RIGHT) / 2, self.high - 6, x_title, "middle")
        self.add(
            '<text class="title" transform="translate(14 {}) rotate(-90)" text-anchor="middle">{}</text>',
            (_TOP + self.high - _BOTTOM) / 2, y_title,
        )  # fmt: skip

    def markup(self) -> Markup:
        """The whole of it."""
        body = Markup("\n").join(self._parts)
        return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">\n{}\n</svg>').format(
            int(WIDE), int(self.high), self._title, body
        )


def odds_chart(choices: Sequence[Choice], front: Sequence[Choice], chosen: Choice, most_loss: float) -> Markup:
    """All geometries: those of the front are full, the chosen one is marked, what is wanted is a line."""
    picture = Picture(400.0, "Probability of a loss against overhead, for every geometry")
    losses = [max(each.odds.loss, 100 * _LEAST) for each in choices if each.odds.loss > 0]
    seen = [*losses, *([most_loss] if most_loss > 0 else [])] or [1e-6]
    none = any(each.odds.loss <= 0 for each in choices)
    floor = picture.high - _BOTTOM
    y = Axis(10 ** math.floor(math.log10(min(seen)) - 0.1), min(1.0, 10 ** math.ceil(math.log10(max(seen)) + 0.1)),
             log=True, begin=floor - (34 if none else 0), end=_TOP)  # fmt: skip
    if y.low >= y.high:
        y = y._replace(low=y.high / 10)
    x = _axis((each.geometry.overhead for each in choices), _LEFT, WIDE - _RIGHT, spread=math.inf)
    labels = [(each, _loss_tick(each)) for each in y.ticks()]
    picture.frame(x, y, [(each, percent(each)) for each in x.ticks()], labels,
                  "overhead: parity for data", "probability that some byte is lost")  # fmt: skip
    if none:
        picture.line("grid", _LEFT, floor - 12, WIDE - _RIGHT, floor - 12)
        picture.text("tick", _LEFT - 8, floor - 8, "none", "end")

    def at(one: Choice) -> tuple[float, float]:
        return x.at(one.geometry.overhead), y.at(one.odds.loss) if one.odds.loss > 0 else floor - 12

    wanted = y.at(most_loss) if most_loss > 0 else floor - 12
    picture.line("wanted", _LEFT, wanted, WIDE - _RIGHT, wanted)
    _best_line(picture, front, at)
    kept = set(front)
    for each in sorted(choices, key=lambda each: (each in kept, each == chosen)):
        kind = "chosen" if each == chosen else "front" if each in kept else "other"
        picture.dot(f"dot {kind}", *at(each), 8.0 if each == chosen else 4.5, _told(each))
        if not each.odds.exact:
            over, under = (y.at(max(each.odds.loss + by * each.odds.loss_error, y.low)) for by in (2, -2))
            picture.line("error", at(each)[0], over, at(each)[0], under)
    picture.put("name strong", *at(chosen), f"{name(chosen)}, chosen", must=True)
    picture.put("name wanted-name", WIDE - _RIGHT + 6, wanted - 10, f"wanted: {one_in(most_loss)} at most")
    for each in sorted(front, key=lambda each: (each.odds.loss, each.geometry.overhead)):
        if each != chosen:
            picture.put("name", *at(each), name(each))
    return picture.markup()


def _best_line(picture: Picture, front: Sequence[Choice], at: Callable[[Choice], tuple[float, float]]) -> None:
    """Steps along the least loss that so much overhead buys."""
    best: list[tuple[float, float]] = []
    lowest = math.inf
    for each in sorted(front, key=lambda each: (each.geometry.overhead, each.odds.loss)):
        if each.odds.loss < lowest:
            lowest = each.odds.loss
            best.append(at(each))
    path = [f"{x:.1f},{y:.1f}" for x, y in best[:1]]
    for (_, before), (x, y) in itertools.pairwise(best):
        path += [f"{x:.1f},{before:.1f}", f"{x:.1f},{y:.1f}"]
    picture.add('<polyline class="best" points="{}"/>', " ".join(path))


def name(choice: Choice) -> str:
    """A geometry as `plan --geometry` takes it."""
    one = choice.geometry
    return f"{one.groups}x{one.data}+{one.parity}"


def _told(each: Choice) -> str:
    one = each.geometry
    return f"{name(each)}: {one.drives_used} drives, {percent(one.overhead)} overhead, a loss: {one_in(each.odds.loss)}"


def _loss_tick(value: float) -> str:
    power = round(math.log10(value))
    if value >= 0.999:
        return "certain"
    if abs(math.log10(value) - power) > 1e-6:
        return one_in(value)
    return f"1 in {10**-power:,}" if power >= -6 else f"1 in 10{superscript(-power)}"


def cost_chart(ways: Sequence[tuple[str, Alternative]], deadline_days: float | None) -> Markup:
    """Every way that ends, by its letter: days to all data against cost; drives are marked."""
    ends = [(letter, each, each.days_to_all) for letter, each in ways if each.days_to_all is not None]
    picture = Picture(360.0, "Cost against days to all data, for every way to do the job")
    days = [time for _, _, time in ends]
    x = _axis([*days, *([deadline_days] if deadline_days is not None else [])], _LEFT, WIDE - _RIGHT)
    y = _axis((each.usd for _, each, _ in ends), picture.high - _BOTTOM, _TOP)
    picture.frame(
        x, y, [(each, f"{each:,.6g}") for each in x.ticks()], [(each, money(each)) for each in y.ticks(6)],
        "days to all data" + (", logarithmic" if x.log else ""), "cost in USD" + (", logarithmic" if y.log else ""),
    )  # fmt: skip
    if deadline_days is not None:
        picture.line("wanted", x.at(deadline_days), _TOP, x.at(deadline_days), picture.high - _BOTTOM)
        picture.put("name wanted-name", x.at(deadline_days) - 4, _TOP + 8, "deadline")
    for letter, each, time in ends:
        told = f"{letter} {each.title}: {time:.3g} days, {money(each.usd)}"
        picture.dot(f"dot {'chosen' if each.id == 'drives' else 'front'}", x.at(time), y.at(each.usd), 6.0, told)
    for letter, each, time in ends:
        kind = "name strong" if each.id == "drives" else "name"
        picture.put(kind, x.at(time), y.at(each.usd), f"{letter}  {each.title}", must=True)
    return picture.markup()


def size_chart(sizes: Sequence[int]) -> Markup:
    """Files by size: the first bar is empty files, then one for every doubling."""
    picture = Picture(190.0, "How many files are how large")
    bars = max(len(sizes), 12)
    x = Axis(0.0, float(bars), log=False, begin=_LEFT, end=WIDE - _RIGHT)
    y = Axis(0.0, float(max(sizes, default=1)) or 1.0, log=False, begin=picture.high - _BOTTOM, end=_TOP)
    labels = [(at + 0.0, words) for at, words in _SIZE_TICKS if at <= bars - 1]
    picture.frame(x, y, labels, [(each, many(each) if each else "0") for each in y.ticks(3)], "size of a file", "files")
    for at, count in enumerate(sizes):
        if count:
            top = min(y.at(float(count)), picture.high - _BOTTOM - 1.5)
            low, high = (0, 0) if at == 0 else (1 << (at - 1), (1 << at) - 1)
            told = f"{count:,} files of {low:,} to {high:,} bytes" if at else f"{count:,} empty files"
            picture.add(
                '<rect class="column" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>',
                x.at(at + 0.08), top, x.at(at + 0.92) - x.at(at + 0.08), picture.high - _BOTTOM - top, told,
            )  # fmt: skip
    return picture.markup()


_SIZE_TICKS = ((0.5, "empty"), (11, "1 KiB"), (21, "1 MiB"), (31, "1 GiB"), (41, "1 TiB"), (51, "1 PiB"))
