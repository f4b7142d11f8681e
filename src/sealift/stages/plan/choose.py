"""From what is told, and what the corpus is, to the plan: all geometries weighed, one chosen, with the reasons. Pure.

    weigh     every geometry that fits and survives, with its odds and its time
    plan      the one to follow, its voyage, what each loss does, the other ways to do the job, and shipment.toml

What holds:
- Every geometry that `geometry.search` finds is weighed; where there is none, the error says what is missing.
- Times are those of the event model (voyage.py), departures and partial arrival included; with a deadline, geometries
  that meet it come before all others. Of more than MOST_PLAYED geometries time is the closed form's, and that is said.
- Capacities are what labels say, and of each the share that an empty filesystem has free is planned with: the number
  `filesystem_share`, or less where a drive that is here shows less.
- Prices are used for the comparison alone. The choice, and shipment.toml to the byte, are the same whatever they are.
- The same input gives the same plan: nothing is drawn but with stated seeds, and no clock is read.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from sealift.errors import BadInput, NotAllHere
from sealift.stages.plan import alternatives, defaults, document, geometry, missing, odds, told, voyage
from sealift.stages.plan.alternatives import Comparison  # noqa: TC001 -- msgspec resolves the fields of records
from sealift.stages.plan.calibrate import BUSY, Calibration, Shape
from sealift.stages.plan.corpus import Corpus  # noqa: TC001
from sealift.stages.plan.defaults import Number, Numbers  # noqa: TC001
from sealift.stages.plan.front import Choice, front, recommend, spare
from sealift.stages.plan.odds import Odds, SingleLoss
from sealift.stages.plan.terms import DAY, HOUR, DriveSpeed, Outcome, Terms, way
from sealift.stages.plan.voyage import Case, Percentile  # noqa: TC001

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from sealift.stages.plan.told import Voyage

_GEOMETRY = re.compile(r"(\d{1,5})\s*[x×]\s*(\d{1,5})\s*\+\s*(\d{1,5})", re.ASCII)
HALF = 0.5  # share of drawn voyages from which on a plan counts as in time
MOST_PLAYED = 400  # geometries of which the voyage is played: some 15 ms each


class Planned(Struct, frozen=True, kw_only=True):
    """A plan and the reasons to trust it. Times are seconds from the start of packing, bytes are packed bytes."""

    voyage: told.Voyage
    corpus: Corpus
    calibration: Calibration
    wanted: geometry.Wanted
    most_loss: float  # the probability of a loss that is wanted at most
    choices: tuple[Choice, ...]  # every geometry that fits and survives the stated loss
    front: tuple[Choice, ...]  # of which no other is better in overhead, drives, odds and time
    chosen: Choice
    why: str  # the chosen one
    survives: str  # what its overhead survives, with what probability
    met: bool  # it is as safe as wanted, keeps a drive to spare after the stated loss, and is in time
    on_time: float | None  # probability that all is readable by the deadline if nothing is lost; None without one
    in_time: Odds | None  # that not every byte is there by the deadline; None without one
    single: tuple[SingleLoss, ...]
    outcome: Outcome
    cases: tuple[Case, ...]
    percentiles: tuple[Percentile, ...]
    comparison: Comparison
    numbers: tuple[Number, ...]  # those that were used
    warnings: tuple[str, ...]
    plan: document.Plan

    @property
    def places(self) -> tuple[geometry.Place, ...]:
        """Where every drive goes."""
        return geometry.placement(self.wanted, self.chosen.geometry)

    @property
    def holds(self) -> tuple[geometry.Survive, ...]:
        """The largest losses that cost no byte."""
        return geometry.holds(self.wanted, self.chosen.geometry)


class Weighed(NamedTuple):
    """Every geometry with its odds and time, and what they were reckoned with."""

    wanted: geometry.Wanted
    headroom: geometry.Headroom
    hazards: odds.Hazards
    choices: tuple[Choice, ...]
    known: dict[str, document.Known]


def shape(corpus: Corpus, text_packed: float) -> Shape:
    """What packing of a corpus costs, when what compresses becomes `text_packed` of itself as in the calibration."""
    stiff = 1.0 if text_packed >= 1 else (corpus.share - text_packed) / (1 - text_packed)
    return Shape(files=corpus.files, bytes=corpus.bytes, incompressible=min(max(stiff, 0.0), 1.0))


def weigh(
    asked: Voyage,
    corpus: Corpus,
    numbers: Numbers,
    terms: Callable[[geometry.Geometry], Terms],
) -> Weighed:
    """All geometries that fit and survive, with their odds and the time to all data.

    NotAllHere says what is missing where there are none; BadInput names faults of what is asked.
    """
    wanted, headroom, known, found = _search(asked, corpus, numbers)
    ways = [sum(step.seconds for step in way(carrier, numbers.__getitem__)) for carrier in wanted.carriers]
    hazards = odds.hazards_of(wanted, numbers, days=(numbers["hand_over_hours"] * HOUR + max(ways)) / DAY)
    draws = max(odds.FEWEST, odds.DRAWS // len(found))  # where they are not exact: as many in all as for one geometry
    choices: list[Choice] = []
    played = len(found) <= MOST_PLAYED
    for each in found:
        time = voyage.simulate(wanted, each, terms(each), numbers).all if played else None
        seconds = voyage.seconds(wanted, each, terms(each), numbers) if time is None else time
        choices.append(Choice(geometry=each, odds=odds.odds(wanted, each, hazards, draws=draws), seconds=seconds))
    return Weighed(wanted=wanted, headroom=headroom, hazards=hazards, choices=tuple(choices), known=known)


def check(asked: Voyage, corpus: Corpus) -> None:
    """NotAllHere says what is missing where no geometry does; BadInput names faults. It is quick."""
    _search(asked, corpus, defaults.defaults().with_values(asked.numbers))


def _search(
    asked: Voyage, corpus: Corpus, numbers: Numbers
) -> tuple[geometry.Wanted, geometry.Headroom, dict[str, document.Known], tuple[geometry.Geometry, ...]]:
    """What is wanted, and every geometry that fits and survives: one at least."""
    drives = told.fleet(asked.drives)
    share = min([numbers["filesystem_share"], *(each.free / each.capacity for each in drives if each.free is not None)])
    loss, _ = told.loss(asked.survive)
    wanted = geometry.Wanted(
        drives=tuple(
            geometry.Drive(
                name=each.name, capacity_bytes=max(1, int(each.capacity * share)), kind=each.kind, model=each.model
            )
            for each in drives
        ),
        carriers=tuple(
            geometry.Carrier(name=each.name, means=each.means, most_drives=each.most_drives) for each in asked.carriers
        ),
        bays=asked.bays or 0,
        packed_bytes=corpus.packed_bytes,
        survive=loss,
    )
    headroom = geometry.as_packed(
        members=corpus.members, packed_bytes=corpus.packed_bytes, pack_size=told.size(asked.pack_size)
    )
    found = geometry.search(wanted, headroom)
    if not found and (small := [each for each in wanted.drives if each.capacity_bytes <= headroom(1, 1)]):
        raise BadInput(
            f"{small[0].name} has no room for a pack: {small[0].capacity_bytes:,} bytes, of which "
            f"{headroom(1, 1):,} stay free for a pack beside, index and hashes",
            hint="larger drives, or a smaller pack_size in --voyage: 1GiB where it is not said",
        )
    if not found:
        lacking = missing.missing(wanted, headroom)
        whole = replace(lacking.drive, capacity_bytes=round(lacking.drive.capacity_bytes / share))
        raise NotAllHere(
            f"no geometry carries this and survives {wanted.survive}; {replace(lacking, drive=whole).sentence(wanted)}",
            hint="each of these is enough by itself; nothing was written",
        )
    known = {each.name: document.Known(each.capacity, each.serial, each.make) for each in drives}
    return wanted, headroom, known, found


def plan(
    asked: Voyage,
    corpus: Corpus,
    calibration: Calibration,
    *,
    chosen: str | None = None,
    speeds: Mapping[str, DriveSpeed] | None = None,
) -> Planned:
    """The plan of a voyage that is `told.ready`. `chosen` is a geometry that people chose, "5x12+3"; `speeds` by drive.

    NotAllHere says what is missing; BadInput names faults.
    """
    numbers = defaults.defaults().with_values(asked.numbers)
    of = shape(corpus, calibration.text_packed)
    names = {each.name for each in told.fleet(asked.drives)}
    measured = {name: speed for name, speed in (speeds or {}).items() if name in names}

    def terms(one: geometry.Geometry) -> Terms:
        return _terms(asked, corpus, calibration, of, one, measured)

    weighed = weigh(asked, corpus, numbers, terms)
    wanted, choices = weighed.wanted, weighed.choices
    _, most_loss = told.loss(asked.survive)
    best, why, met = _choose(weighed, most_loss, _until(asked), chosen)
    if not best.odds.exact:
        best = replace(best, odds=odds.odds(wanted, best.geometry, weighed.hazards))
        met = met and best.odds.loss <= most_loss
        choices = tuple(best if each.geometry == best.geometry else each for each in choices)
    its = terms(best.geometry)
    outcome = voyage.simulate(wanted, best.geometry, its, numbers)
    cases = voyage.cases(wanted, best.geometry, its, numbers)
    single = odds.single_losses(wanted, best.geometry, weighed.hazards)
    comparison = alternatives.compare(
        wanted,
        best.geometry,
        its,
        numbers,
        near=asked.near,
        buy_drives=asked.buy_drives,
        labels={name: each.capacity_bytes for name, each in weighed.known.items()},
    )
    on_time = None
    if its.deadline is not None:
        on_time = voyage.on_time(wanted, best.geometry, its, numbers) * _punctual(weighed, cases, its.deadline)
    drawn = voyage.percentiles(wanted, best.geometry, its, numbers)
    out = Planned(
        voyage=asked,
        corpus=corpus,
        calibration=calibration,
        wanted=wanted,
        most_loss=most_loss,
        choices=choices,
        front=front(choices),
        chosen=best,
        why=why,
        survives=odds.survives(wanted, best.geometry, best.odds),
        met=met and (spare(best) or wanted.survive == geometry.Survive()) and (on_time is None or on_time >= HALF),
        on_time=on_time,
        in_time=None if on_time is None else _in_time(best.odds, on_time),
        single=single,
        outcome=outcome,
        cases=cases,
        percentiles=drawn,
        comparison=comparison,
        numbers=numbers.used,
        warnings=(),
        plan=_document(asked, corpus, weighed, best, why, drawn),
    )
    return replace(out, warnings=(*_helps(weighed, out, terms), *_warnings(out)))


def name(one: geometry.Geometry) -> str:
    """A geometry as `plan` takes it: groups x data+parity."""
    return f"{one.groups}x{one.data}+{one.parity}"


# --- the choice ------------------------------------------------------------------------------------------


def _until(asked: Voyage) -> float | None:
    """Seconds from the start of packing to the deadline."""
    return _since(asked, asked.deadline)


def _since(asked: Voyage, time: datetime | None) -> float | None:
    return None if time is None or asked.start is None else (time - asked.start).total_seconds()


def _choose(weighed: Weighed, most_loss: float, until: float | None, chosen: str | None) -> tuple[Choice, str, bool]:
    """The choice, why, and whether it is as safe as wanted and in time."""
    if chosen is not None:
        best = _named(weighed.choices, chosen)
        return best, "it was chosen by hand", best.odds.loss <= most_loss
    timely = [each for each in weighed.choices if until is None or each.seconds <= until]
    found = recommend(timely or weighed.choices, most_loss=most_loss)
    why = found.reason
    if until is not None and not timely:
        why += "; none of them is in time for the deadline"
    elif until is not None and len(timely) < len(weighed.choices):
        why += f" ({len(weighed.choices) - len(timely):,} that are not in time for the deadline are left out)"
    return found.choice, why, found.met and (until is None or bool(timely))


def _named(choices: tuple[Choice, ...], text: str) -> Choice:
    found = _GEOMETRY.fullmatch(text.strip())
    if found is None:
        raise BadInput(f"{text[:64]!r} is no geometry", hint="groups x data+parity, such as 5x12+3")
    wanted = tuple(map(int, found.groups()))
    for each in choices:
        one = each.geometry
        if (one.groups, one.data, one.parity) == wanted:
            return each
    raise BadInput(
        f"{text[:64]}: no geometry that fits and survives the stated loss",
        hint="those that do are in the table, and all of them in --json: choices",
    )


def _terms(
    asked: Voyage,
    corpus: Corpus,
    calibration: Calibration,
    of: Shape,
    one: geometry.Geometry,
    speeds: Mapping[str, DriveSpeed],
) -> Terms:
    training = asked.training

    def rate(amount: int | str | None) -> float | None:
        return None if amount is None else float(told.size(amount))

    return Terms(
        source_bytes=corpus.bytes,
        files=corpus.files,
        speeds=calibration.speeds(of, data=one.data, parity=one.parity, cores=asked.cores),
        hosts=asked.hosts,
        hosts_there=asked.hosts_there,
        source_rate=rate(asked.source_rate),
        read_back=asked.read_back,
        drive_speeds=speeds,
        departures={each.name: since for each in asked.carriers if (since := _since(asked, each.departs)) is not None},
        people=asked.people,
        lease_begins=None if (begins := _since(asked, asked.lease_begins)) is None else max(begins, 0.0),
        gpus=training.gpus,
        gpu=training.gpu,
        train_gpu_hours=training.gpu_hours,
        train_rate=rate(training.rate),
        ingest_rate=rate(training.ingest_rate),
        return_bytes=told.size(training.return_bytes),
        deadline=_until(asked),
    )


def _punctual(weighed: Weighed, cases: Sequence[Case], deadline: float) -> float:
    """The probability that no carrier is late whose delay, alone, makes all of it late: a coin for each."""
    late = dict(zip((each.name for each in weighed.wanted.carriers), weighed.hazards.carrier_late, strict=True))
    matters = [
        each.carrier
        for each in cases
        if each.what == "late" and (each.outcome.all is None or each.outcome.all > deadline)
    ]
    return math.prod(1 - late[name] for name in matters)


def _in_time(loss: Odds, on_time: float) -> Odds:
    """That not every byte is there by the deadline: lost, or on a voyage that takes longer; the two by themselves."""
    share = 1 - on_time
    return Odds(
        loss=1 - (1 - loss.loss) * on_time,
        share_lost=loss.share_lost,
        exact=False,
        loss_error=max(math.sqrt(share * on_time / 100), 0.005),
    )


def _document(
    asked: Voyage, corpus: Corpus, weighed: Weighed, best: Choice, why: str, drawn: tuple[Percentile, ...]
) -> document.Plan:
    """shipment.toml: nothing of it depends on a price. Times are those that half of the drawn voyages do not exceed."""
    prices = defaults.prices(asked.numbers)
    middle = next(each for each in drawn if each.percent == 50)

    def hours(time: float | None) -> float | None:
        return None if time is None else round(time / HOUR, 3)

    return document.draft(
        weighed.wanted,
        best.geometry,
        source=corpus.source,
        size=corpus.bytes,
        files=corpus.files,
        pack_size=told.size(asked.pack_size),
        order=asked.order,
        seed=asked.seed,
        known=weighed.known,
        numbers={key: value for key, value in asked.numbers.items() if key not in prices},
        forecast=document.Forecast(
            why=why,
            loss_probability=best.odds.loss,
            lost_share=best.odds.share_lost,
            hours_to_first_batch=hours(middle.first_batch),
            hours_to_half=hours(middle.half),
            hours_to_all=hours(middle.all),
        ),
    )


# --- what is to be known ---------------------------------------------------------------------------------


def _helps(weighed: Weighed, found: Planned, terms: Callable[[geometry.Geometry], Terms]) -> list[str]:
    """What would make a plan that is not in time, or not as safe as wanted, so."""
    out: list[str] = []
    if found.on_time is not None and found.on_time < HALF:
        out.append(_late(weighed, found, terms(found.chosen.geometry)))
    loss = found.chosen.odds.loss
    if loss > found.most_loss:
        out.append(
            f"NOT AS SAFE AS WANTED: some byte is lost with probability {loss:.2g}, and {found.most_loss:.2g} at most "
            f"is wanted{_safer(weighed, found)}"
        )
    survive = weighed.wanted.survive
    if not spare(found.chosen) and survive != geometry.Survive():
        out.append(
            f"NOTHING TO SPARE: {survive} may be lost if all that is left reads whole and works, which at this size is "
            f"not to be expected{_more_drives(weighed)}"
        )
    return out


def _late(weighed: Weighed, found: Planned, its: Terms) -> str:
    """Not in time: and with how many hosts it would be, or what takes so long."""
    one, numbers, outcome = found.chosen.geometry, defaults.defaults().with_values(found.voyage.numbers), found.outcome
    share = 0.0 if found.on_time is None else found.on_time
    said = f"NOT IN TIME: all data is readable by the deadline in {share:.0%} of voyages"
    for hosts in range(its.hosts + 1, one.groups + 1):
        more = replace(its, hosts=hosts)
        if voyage.on_time(weighed.wanted, one, more, numbers, draws=20) >= HALF:
            return f"{said}; with {hosts} hosts that pack it would be in time"
    arrives = (outcome.first_arrival or outcome.sealed) - outcome.sealed
    return f"{said}; packing takes {outcome.sealed / DAY:.1f} days, and the way {arrives / DAY:.1f}"


def _safer(weighed: Weighed, found: Planned) -> str:
    """What would make it safer; or what keeps it from being so."""
    alone = replace(weighed.hazards, hdd_fails=0.0, ssd_fails=0.0, hdd_unreadable=0.0, ssd_unreadable=0.0)
    if odds.odds(weighed.wanted, found.chosen.geometry, alone, draws=odds.FEWEST).loss > found.most_loss:
        return ": it is carriers lost together that decide, by the numbers of how often one is"
    return _more_drives(weighed)


def _more_drives(weighed: Weighed) -> str:
    """With how many more drives one more may be lost, where those that are there do not do."""
    survive = weighed.wanted.survive
    more = replace(weighed.wanted, survive=replace(survive, drives=survive.drives + 1))
    if geometry.search(more, weighed.headroom):
        return ""
    lacking = missing.missing(more, weighed.headroom).more_drives
    if lacking is None:
        return ""
    drives = "1 more drive" if lacking == 1 else f"{lacking:,} more drives"
    return f"; with {drives} it would survive {more.survive}"


def _warnings(found: Planned) -> list[str]:
    """What people should know before they follow it, the gravest first."""
    out = [
        f"carrier {each}: drives are not ready at the stated departure, and leave when they are"
        for each in found.outcome.missed
    ]
    if found.calibration.busy > BUSY:
        out.append(
            f"other work had {found.calibration.busy:.0%} of this machine while it was measured: take the times with "
            "care, or measure again when it is idle (--calibration)"
        )
    if len(found.choices) > MOST_PLAYED:
        out.append(f"of {len(found.choices):,} geometries the times in the table are in closed form")
    corpus = found.corpus
    if corpus.skipped:
        out.append(f"{corpus.skipped:,} entries of the source cannot be carried, such as {corpus.skipped_first[0]}")
    if not corpus.samples and math.isclose(found.voyage.packed_share, 1.0):
        out.append("on paper: nothing is taken to compress (packed_share = 1)")
    guesses = sum(each.how == "placeholder" for each in found.numbers)
    unauthorised = sum(not each.authority for each in found.numbers)
    if unauthorised:
        out.append(
            f"{unauthorised} of {len(found.numbers)} numbers that were used have no authority behind them, and "
            f"{guesses} are placeholders: state your own under [numbers]"
        )
    return out
