"""The report of a plan: one self-contained HTML page, with pictures where people would rather look than read.

    page      the page of a plan
    require   what it is made with is there

What holds: the page asks the network for nothing and runs nothing (no script, no font, no picture from elsewhere, and a
policy in it that says so). Every text of the plan is data: it is escaped, kept to its own direction of writing, and
wrapped, however long it is. Colours never stand alone. The same plan gives the same bytes, and they are UTF-8 whatever
names of files hold. What a table does not show it counts. jinja2 (the extra `plan`) is imported when a page is made.

Nothing is reckoned here but what follows from the plan: what a carrier that is lost takes of each group, and which
drives are alike. Words for amounts are in report_words.py, pictures in report_charts.py and report_timeline.py.
"""

from __future__ import annotations

import importlib.resources
import importlib.util
import math
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from sealift import __version__
from sealift.errors import BadInput
from sealift.formats.sizes import counted
from sealift.stages.plan import choose, front, geometry, report_timeline, report_words, told
from sealift.stages.plan.odds import near_one
from sealift.stages.plan.terms import DAY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from sealift.stages.plan.alternatives import Alternative
    from sealift.stages.plan.choose import Planned
    from sealift.stages.plan.front import Choice
    from sealift.stages.plan.odds import Odds, SingleLoss
    from sealift.stages.plan.terms import Outcome

MOST_FRONT = 200  # rows of a table
MOST_PIPS = 24  # drives of parity that are drawn one by one
FEW_DRIVES = 24  # whose names are on the map


def require() -> None:
    """BadInput with a hint when what the page is made with is not installed."""
    if importlib.util.find_spec("jinja2") is None:
        raise BadInput("--report needs jinja2", hint="pip install 'sealift[plan]', or leave --report away")


def page(found: Planned) -> str:
    """The HTML of the whole page. BadInput when the extra is missing."""
    require()
    import jinja2

    from sealift.stages.plan import report_charts

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        each.__name__: each
        for each in (
            report_words.bits, report_words.chance, report_words.exactly, report_words.later, report_words.money,
            report_words.one_in, report_words.percent, report_words.runs, report_words.size, report_words.span,
            near_one,
        )
    }  # fmt: skip
    environment.filters |= {"count": lambda value: f"{value:,}", "name": choose.name}
    environment.globals |= {"counted": counted}
    start, until, lease = found.voyage.start, _since(found, found.voyage.deadline), _lease(found)
    ways = [(_letter(at), each) for at, each in enumerate(found.comparison.alternatives)]
    carrying = sorted({place.carrier for place in found.places})
    html = environment.from_string(_template()).render(
        p=found,
        version=__version__,
        geometry=found.chosen.geometry,
        carrying=carrying,
        verdict=verdict(found),
        moment=lambda seconds: report_words.moment(start, seconds),
        until=until,
        map=_map(found, carrying),
        widest=max(Counter((place.carrier, place.group) for place in found.places).values()),
        few=len(found.places) <= FEW_DRIVES,
        known={drive.name: drive for drive in found.plan.drives},
        spares=_spares(found),
        carriers=(lost := _carriers(found, carrying)),
        drives=(drives := _drives(found)),
        scale=_scale(
            [found.chosen.odds, *(each.odds for each in lost), *(each.odds for each in drives)], found.most_loss
        ),
        timeline=report_timeline.chart(found.outcome, carrying, deadline=until, lease=lease),
        ways=ways,
        parts=list(dict.fromkeys(part.what for _, way in ways for part in way.parts)),
        part=_part,
        cost_chart=report_charts.cost_chart(ways, None if until is None else until / DAY),
        odds_chart=report_charts.odds_chart(found.choices, found.front, found.chosen, found.most_loss),
        size_chart=report_charts.size_chart(found.corpus.sizes) if any(found.corpus.sizes) else "",
        front=sorted(found.front, key=_by_drives)[:MOST_FRONT],
        survives=lambda choice: ", or ".join(map(str, geometry.holds(found.wanted, choice.geometry))),
        speeds=_speeds(found),
        told=_told(found),
    )
    return html.encode("utf-8", "backslashreplace").decode()  # names of files that are not UTF-8


def _template() -> str:
    return importlib.resources.files("sealift.stages.plan").joinpath("report.html").read_text(encoding="utf-8")


def _letter(at: int) -> str:
    return chr(ord("A") + at) if at < 26 else str(at + 1)


def _by_drives(each: Choice) -> tuple[float, ...]:
    return each.geometry.drives_used, each.geometry.overhead, each.odds.loss, each.seconds


def _since(found: Planned, time: datetime | None) -> float | None:
    """Seconds from the start of packing."""
    return None if time is None or found.voyage.start is None else (time - found.voyage.start).total_seconds()


def _lease(found: Planned) -> float | None:
    """When rented servers begin to cost: as told, or with the first arrival; None where none are rented."""
    told_for = _since(found, found.voyage.lease_begins)
    if told_for is not None:
        return max(told_for, 0.0)
    return found.outcome.first_arrival if found.voyage.training.gpus else None


# --- the first lines -------------------------------------------------------------------------------------


def verdict(found: Planned) -> tuple[bool, str]:
    """Whether the plan is as safe as wanted and in time, and that in words."""
    one, outcome, start = found.chosen.odds, found.outcome, found.voyage.start
    deadline = _since(found, found.voyage.deadline)
    wanted = f"a loss of bytes with probability {report_words.one_in(found.most_loss)} at most was asked for"
    if deadline is None:
        time = "No deadline was told."
    elif outcome.all is None:
        time = "Not in time: not all data arrives."
    else:
        early = report_words.span(abs(deadline - outcome.all))
        side = "after" if outcome.all > deadline else "before"
        share = found.on_time or 0.0
        verdict = "In time" if share >= choose.HALF else "Not in time"
        time = f"{verdict}, in {share:.0%} of drawn voyages it is: as planned, all data is readable {early} {side} the"
        time += f" deadline of {report_words.moment(start, deadline)}."
    bare = found.wanted.survive != geometry.Survive() and not front.spare(found.chosen)
    if bare:
        time += f" Nothing is to spare after the loss of {found.wanted.survive}."
    if found.met:
        return True, f"As safe as wanted: {wanted}. {time}"
    safe = one.loss + 2 * one.loss_error <= found.most_loss
    return False, f"{'As' if safe else 'Not as'} safe as wanted: {wanted}. {time}"


# --- where drives go -------------------------------------------------------------------------------------


def _map(found: Planned, carrying: Sequence[str]) -> list[tuple[str, str, list[list[geometry.Place]]]]:
    """Each carrier with its means and its drives, by group; groups in which it has none are empty."""
    means = {carrier.name: carrier.means for carrier in found.wanted.carriers}
    table: dict[str, list[list[geometry.Place]]] = {
        name: [[] for _ in range(found.chosen.geometry.groups)] for name in carrying
    }
    for place in found.places:
        table[place.carrier][place.group].append(place)
    return [(name, means[name], groups) for name, groups in table.items()]


def _spares(found: Planned) -> list[str]:
    used = {place.drive.name for place in found.places}
    return [drive.name for drive in found.wanted.drives if drive.name not in used]


# --- what each single loss does --------------------------------------------------------------------------


class Taken(NamedTuple):
    """Of so many groups, so many drives are gone; `pips` are drawn, empty where they would be too many."""

    drives: int
    parity: int
    groups: int
    pips: tuple[str, ...]


class CarrierLost(NamedTuple):
    """What is gone with a carrier, the odds that are left; and the times when it is late or lost."""

    name: str
    drives: int
    taken: tuple[Taken, ...]
    share_lost: float  # of the bytes, by this loss alone
    odds: Odds
    late: Outcome | None
    lost: Outcome | None


class DrivesAlike(NamedTuple):
    """Drives of which the loss of any one leaves the same odds, as far as they are shown."""

    words: str
    names: tuple[str, ...]
    odds: Odds


def _carriers(found: Planned, carrying: Sequence[str]) -> list[CarrierLost]:
    one = found.chosen.geometry
    table = geometry.counts(found.wanted, one)
    column = {carrier: at for at, carrier in enumerate(sorted(each.name for each in found.wanted.carriers))}
    each_group = geometry.drive_bytes(found.wanted, one)
    left = {loss.name: loss.odds for loss in found.single if loss.what == "carrier"}
    fate = {(case.what, case.carrier): case.outcome for case in found.cases}
    out: list[CarrierLost] = []
    for name in carrying:
        gone = table[:, column[name]].tolist()
        dead = [size * lost / one.size for lost, size in zip(gone, each_group, strict=True) if lost > one.parity]
        out.append(
            CarrierLost(
                name=name,
                drives=sum(gone),
                taken=tuple(_taken(lost, one.parity, gone.count(lost)) for lost in sorted(set(gone), reverse=True)),
                share_lost=math.fsum(dead) / sum(each_group),
                odds=left[name],
                late=fate.get(("late", name)),
                lost=fate.get(("lost", name)),
            )
        )
    return out


def _taken(lost: int, parity: int, groups: int) -> Taken:
    pips = ("gone",) * min(lost, parity) + ("left",) * max(parity - lost, 0) + ("beyond",) * max(lost - parity, 0)
    return Taken(lost, parity, groups, pips if len(pips) <= MOST_PIPS else ())


def _drives(found: Planned) -> list[DrivesAlike]:
    place = {each.drive.name: each for each in found.places}
    alike: dict[tuple[str, str], list[SingleLoss]] = {}
    for loss in found.single:
        if loss.what == "drive":
            alike.setdefault((report_words.chance(loss.odds), near_one(loss.odds.share_lost)), []).append(loss)
    classes = sorted(alike.values(), key=lambda losses: -losses[0].odds.loss)
    most = max(classes, key=len)
    out: list[DrivesAlike] = []
    for losses in classes:
        numbers = report_words.runs(sorted(place[each.name].number for each in losses))
        words = f"{'drive' if len(losses) == 1 else 'drives'} {numbers}"
        if losses is most:
            words = "every drive" if len(classes) == 1 else "every other drive"
        names = tuple(sorted((each.name for each in losses), key=lambda name: place[name].number))
        out.append(DrivesAlike(words, names, max((each.odds for each in losses), key=lambda odds: odds.loss)))
    return out


def _scale(shown: Sequence[Odds], most_loss: float) -> Callable[[float], float]:
    """Of a probability, how long its bar is in percent: logarithmic, up to certainty; 0 has no bar."""
    least = min([each.loss for each in shown if each.loss > 0] + [most_loss or 1.0, 0.1])
    decades = -math.log10(max(least, 1e-300)) + 0.5

    def scale(loss: float) -> float:
        return 100 * max(0.0, 1 + math.log10(max(loss, 1e-300)) / decades)

    return scale


# --- what it was made from -------------------------------------------------------------------------------


def _part(way: Alternative, what: str) -> float | None:
    """What a part of a way's cost is; None where it has no such part."""
    found = [part.usd for part in way.parts if part.what == what]
    return sum(found) if found else None


def _speeds(found: Planned) -> list[tuple[str, str]]:
    """What a host does of this corpus, by the calibration."""
    one, calibration = found.chosen.geometry, found.calibration
    shape = choose.shape(found.corpus, calibration.text_packed)
    cores = found.voyage.cores or calibration.cores
    speeds = calibration.speeds(shape, data=one.data, parity=one.parity, cores=cores)
    size, span = report_words.size, report_words.span
    return [
        ("scan", f"{report_words.many(speeds.scan_files)} files a second"),
        ("pack", f"{size(speeds.pack_bytes)} of the source a second"),
        ("verify", f"{size(speeds.verify_bytes)} of drives a second"),
        ("read, in training", f"{size(calibration.read_bytes(shape, cores=cores))} of the source a second"),
        ("start of packing", span(speeds.start_seconds)),
        ("look at drives plugged in", span(speeds.inspect_seconds)),
        ("from mounted drives to the first batch", span(speeds.open_seconds)),
    ]


class Told(NamedTuple):
    """A line of what was told; `by` is who said so."""

    what: str
    values: tuple[str, ...]
    stated: bool


_WORDS = {
    "bytes": "corpus on paper", "files": "files on paper", "packed_share": "packed bytes for a byte",
    "bays": "bays of a host", "hosts": "hosts that pack", "cores": "cores of a host",
    "source_rate": "what the source gives a second", "hosts_there": "hosts at the destination",
    "people": "people who receive drives", "survive": "the loss to survive", "start": "start of packing",
    "deadline": "deadline", "lease_begins": "the lease begins", "read_back": "read back while packing",
    "pack_size": "size of a pack", "order": "order", "seed": "seed", "buy_drives": "drives are bought for this voyage",
    "near": "the cluster stands in the cloud of", "numbers": "numbers stated", "carriers": "carriers",
    "drives": "drives", "gpus": "GPUs", "gpu": "kind of GPU", "gpu_hours": "GPU-hours of training",
    "rate": "what training takes a second", "ingest_rate": "copied first, a second",
    "return_bytes": "weights that go home",
}  # fmt: skip
_SIZES = {"bytes", "source_rate", "pack_size", "rate", "ingest_rate", "return_bytes"}


def _told(found: Planned) -> list[Told]:
    """Everything that a planner may be told, and what it was, the training within."""
    return [*_fields(found.voyage), *_fields(found.voyage.training)]


def _fields(record: msgspec.Struct) -> Iterator[Told]:
    for field in msgspec.structs.fields(record):
        value = getattr(record, field.name)
        if field.name == "training":
            continue
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        yield Told(_WORDS[field.name], tuple(_values(field.name, value)), value != default)


def _values(name: str, value: Any) -> Iterator[str]:
    """A value in words: the rows of one that has rows."""
    if value is None or value == ():
        yield "not told"
    elif name == "carriers":
        for each in value:
            most = "" if each.most_drives is None else f", {counted(each.most_drives, 'drive')} at most"
            departs = "" if each.departs is None else f", leaves at {told.text(each.departs)}"
            yield f"{each.name}: {each.means}{most}{departs}"
    elif name == "drives":
        for each in value:
            kind = " ".join(filter(None, (each.make, each.model, each.kind)))
            called = f", {each.name or each.serial}" if each.name or each.serial else ""
            yield f"{each.count:,} × {report_words.size(told.size(each.capacity))} {kind}{called}"
    elif name == "numbers":
        yield from [f"{key} = {report_words.exactly(each)}" for key, each in value.items()] or ["none"]
    elif name == "near":
        yield from value
    elif hasattr(value, "astimezone"):
        yield told.text(value)
    elif isinstance(value, bool):
        yield "yes" if value else "no"
    elif name in _SIZES:
        yield report_words.size(told.size(value))
    elif name in {"files", "seed", "bays", "hosts", "hosts_there", "people", "cores", "gpus"}:
        yield f"{told.count(value):,}"
    elif isinstance(value, float):
        yield f"{value:,.15g}"
    else:
        yield str(value)
