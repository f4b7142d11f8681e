"""What `sealift plan` shows: choices, the recommended one with its reasons, what each loss does, the other ways.

What holds: nothing here reckons. What is not here: pictures (stages/plan/report.py).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common
from sealift.cli.drives_words import clean
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.stages.plan.alternatives import Alternative
    from sealift.stages.plan.choose import Planned
    from sealift.stages.plan.front import Choice
    from sealift.stages.plan.geometry import Survive
    from sealift.stages.plan.terms import Outcome
    from sealift.stages.plan.told import LeftOut

ROWS = 12  # of the front
_SOME = 12  # carriers, drives that are left out


def answer(found: Planned, left_out: Sequence[LeftOut]) -> dict[str, Any]:
    """The JSON object: all that is shown, every geometry, and where every drive goes."""
    import msgspec

    from sealift.stages.plan import choose

    built = msgspec.to_builtins
    front, chosen = set(map(id, found.front)), found.chosen
    return {
        "geometry": choose.name(chosen.geometry),
        "met": found.met,
        "why": found.why,
        "survives": found.survives,
        "warnings": list(found.warnings),
        "most_loss": found.most_loss,
        "in_time": None if found.on_time is None else found.on_time >= choose.HALF,
        "on_time": found.on_time,
        "loss_by_deadline": None if found.in_time is None else found.in_time.loss,
        "corpus": {name: value for name, value in built(found.corpus).items() if name not in {"sizes", "kinds"}}
        | {"packed_bytes": found.corpus.packed_bytes, "kinds": built(found.corpus.kinds)},
        "choices": [
            {
                "geometry": choose.name(each.geometry),
                "front": id(each) in front,
                **{name: getattr(each.geometry, name) for name in ("overhead", "drives_used", "spares", "fill")},
                "loss": each.odds.loss,
                "lost_share": each.odds.share_lost,
                "exact": each.odds.exact,
                "seconds": each.seconds,
            }
            for each in found.choices
        ],
        "drives": [
            {name: getattr(each, name) for name in ("name", "serial", "capacity_bytes", "carrier", "group", "slot")}
            for each in found.plan.drives
        ],
        "losses": [
            {"what": each.what, "name": each.name, "loss": each.odds.loss, "lost_share": each.odds.share_lost}
            for each in found.single
        ],
        "times": _times(found.outcome),
        "late": {each.carrier: _times(each.outcome) for each in found.cases if each.what == "late"},
        "lost": {each.carrier: _times(each.outcome) for each in found.cases if each.what == "lost"},
        "percentiles": built(found.percentiles),
        "ways": [
            {
                "id": each.id,
                "title": each.title,
                "days_to_first_batch": each.days_to_first_batch,
                "days_to_all": each.days_to_all,
                "usd": each.usd,
                "parts": {part.what: part.usd for part in each.parts},
                "cannot": list(each.cannot),
            }
            for each in found.comparison.alternatives
        ],
        "break_even": built(found.comparison.break_even),
        "numbers": [
            {name: getattr(each, name) for name in ("name", "value", "unit", "source", "date", "how", "authority")}
            for each in found.numbers
        ],
        "left_out": [{"name": each.name, "why": each.why} for each in left_out],
    }


_TIMES = ("sealed", "first_batch", "half", "all", "verified", "repaired", "source_free", "trained", "home", "erased")


def _times(outcome: Outcome) -> dict[str, float | None]:
    idle = {f"idle_usd_{name}": getattr(outcome.idle, name) for name in ("first_batch", "half", "all")}
    return {name: getattr(outcome, name) for name in _TIMES} | idle


def show(found: Planned, left_out: Sequence[LeftOut]) -> None:
    """All of it, to stdout."""
    say = click.echo
    corpus = found.corpus
    say(
        f"{common.size_text(corpus.bytes)} in {counted(corpus.files, 'file')}"
        f" ({clean(corpus.source) or 'on paper'}); packed, {common.size_text(corpus.packed_bytes)}{_sampled(found)}"
    )
    say(f"on {_fleet(found)}; to survive {found.wanted.survive}, a loss with probability {found.most_loss:.2g} at most")
    say()
    _table(_front_rows(found))
    shown = min(ROWS, len(found.front))
    say(
        f"{shown} of {counted(len(found.front), 'choice')} that no other is better than, of"
        f" {len(found.choices):,} geometries that fit and survive; --geometry takes another"
    )
    say()
    one = found.chosen.geometry
    groups = counted(one.groups, "group")
    say(f"PLAN: {groups} of {one.data} data + {one.parity} parity drives: {clean(found.why)}.")
    say(f"{found.survives[:1].upper()}{found.survives[1:]}.")
    _deadline(found)
    say()
    _table(_loss_rows(found))
    say()
    _table(_time_rows(found))
    _idle(found)
    say()
    _table(_way_rows(found))
    _break_even(found)
    if found.comparison.closed:
        say(f"takes no new orders: {', '.join(found.comparison.closed)}")
    for line in _left(left_out):
        say(line)
    for warning in found.warnings:
        say(f"note: {clean(warning)}")


def _sampled(found: Planned) -> str:
    corpus = found.corpus
    if not corpus.samples:
        return ""
    many = counted(corpus.samples, "sample")
    return f" by {many} (x{corpus.share:.3f}, 95%: {corpus.low:.3f} to {corpus.high:.3f})"


def _fleet(found: Planned) -> str:
    sizes = Counter((each.capacity_bytes, each.kind) for each in found.plan.drives)
    kinds = {"hdd": "hard disk", "ssd": "SSD"}
    drives = ", ".join(
        f"{counted(number, kinds[kind])} of {common.size_text(size)}" for (size, kind), number in sizes.most_common(4)
    )
    with_drives: dict[int, list[str]] = {}
    for name, number in Counter(each.carrier for each in found.plan.drives).items():
        with_drives.setdefault(number, []).append(clean(name))
    carriers = "; ".join(f"{number} with {_names(names)}" for number, names in with_drives.items())
    return f"{drives}: {carriers}"


def _names(names: Sequence[str]) -> str:
    """Anna; each of Anna and Ben; each of 12 carriers."""
    if len(names) > 4:
        return f"each of {len(names)} carriers"
    return names[0] if len(names) == 1 else f"each of {', '.join(names[:-1])} and {names[-1]}"


def _front_rows(found: Planned) -> list[tuple[str, ...]]:
    from sealift.stages.plan import choose, geometry

    rows: list[tuple[str, ...]] = [
        ("", "geometry", "overhead", "drives", "spare", "survives", "loses a byte", "all data after")
    ]
    for each in _some(found.front, found.chosen):
        one = each.geometry
        rows.append(
            (
                "*" if each == found.chosen else "",
                choose.name(one),
                f"{one.overhead:.1%}",
                str(one.drives_used),
                str(one.spares),
                "; ".join(map(str, _largest(geometry.holds(found.wanted, one)))),
                rare(each.odds.loss),
                common.duration_text(each.seconds),
            )
        )
    return rows


def _largest(holds: Sequence[Survive]) -> list[Survive]:
    """Drives alone, and with the most carriers."""
    return [*holds[:1], *holds[max(1, len(holds) - 2) :]]


def _some(front: Sequence[Choice], chosen: Choice) -> list[Choice]:
    """The chosen one and others, evenly over the front by drives and odds."""
    rows = sorted(front, key=lambda each: (each.geometry.drives_used, each.odds.loss))
    if len(rows) > ROWS:
        keep = {round(at * (len(rows) - 1) / (ROWS - 1)) for at in range(ROWS)}
        rows = [each for at, each in enumerate(rows) if at in keep]
    if chosen not in rows:
        rows = sorted([*rows[:-1], chosen], key=lambda each: (each.geometry.drives_used, each.odds.loss))
    return rows


def rare(loss: float) -> str:
    """A probability as people say it: 1 shipment in 19,786."""
    if loss <= 0:
        return "never"
    if loss > 0.05:
        return f"{loss:.0%}"
    return f"1 in {1 / loss:,.0f}" if loss > 1e-9 else f"1 in {1 / loss:.0e}"


def _deadline(found: Planned) -> None:
    asked, in_time = found.voyage, found.in_time
    if asked.deadline is None or in_time is None:
        return
    from sealift.stages.plan import told
    from sealift.stages.plan.choose import HALF

    share = found.on_time or 0.0
    verdict = "in time" if share >= HALF else "NOT IN TIME"
    click.echo(
        f"By the deadline, {told.text(asked.deadline)}: {verdict} in {share:.1%} of voyages; not every byte by "
        f"then: {rare(in_time.loss)}."
    )


def _loss_rows(found: Planned) -> list[tuple[str, ...]]:
    """What the loss of each carrier leaves, those that are alike in one row; and of any drive."""
    rows: list[tuple[str, ...]] = [
        ("if this is lost", "drives", "then a byte is lost", "half of the data", "all of it")
    ]
    drives = Counter(each.carrier for each in found.plan.drives)
    cases = {each.carrier: each.outcome for each in found.cases if each.what == "lost"}
    alike: dict[tuple[str, ...], list[str]] = {}
    for each in found.single:
        if each.what == "carrier":
            case = cases.get(each.name)
            times = when(case.half if case else None), when(case.all if case else None)
            alike.setdefault((str(drives[each.name]), rare(each.odds.loss), *times), []).append(clean(each.name))
    rows += [(_names(names), *row) for row, names in alike.items()]
    of_drives = [each.odds.loss for each in found.single if each.what == "drive"]
    if of_drives:
        outcome = found.outcome
        rows.append(("any one drive", "1", f"{rare(max(of_drives))} at worst", when(outcome.half), when(outcome.all)))
    return rows


def when(seconds: float | None) -> str:
    """A time since the start of packing."""
    return "never" if seconds is None else f"after {common.duration_text(seconds)}"


def _time_rows(found: Planned) -> list[tuple[str, ...]]:
    outcome = found.outcome
    rows: list[tuple[str, ...]] = [
        ("since packing starts", "planned", *(f"{each.percent}% by" for each in found.percentiles)),
        ("packed and sealed", common.duration_text(outcome.sealed), *("" for _ in found.percentiles)),
    ]
    for title, field in (
        ("first batch", "first_batch"),
        ("half of the data", "half"),
        ("all of it", "all"),
        ("source may be freed", "source_free"),
    ):
        times = [getattr(each, field) for each in (outcome, *found.percentiles)]
        rows.append((title, *("never" if time is None else common.duration_text(time) for time in times)))
    blank = ["" for _ in found.percentiles]
    later = {"trained": outcome.trained, "weights home": outcome.home, "drives erased": outcome.erased}
    rows += [(title, common.duration_text(time), *blank) for title, time in later.items() if time is not None]
    return rows


def _idle(found: Planned) -> None:
    idle = found.outcome.idle
    if idle.all:
        until = {"the first batch": idle.first_batch, "half": idle.half, "all": idle.all}
        costs = ", ".join(f"{usd:,.0f} until {what}" for what, usd in until.items() if usd is not None)
        click.echo(f"rented servers that wait cost {costs} (USD)")


def _way_rows(found: Planned) -> list[tuple[str, ...]]:
    return [
        ("way", "first batch", "all of it", "USD", "it cannot"),
        *(
            (
                each.title,
                _days(each.days_to_first_batch),
                _days(each.days_to_all),
                f"{each.usd:,.0f}",
                "; ".join(filter(None, [each.cannot[0] if each.cannot else "", _uncounted(each)])),
            )
            for each in found.comparison.alternatives
        ),
    ]


def _uncounted(way: Alternative) -> str:
    """What its cost leaves out."""
    return "its drives are not in the cost" if "not counted" in way.note else ""


def _days(days: float | None) -> str:
    return "never" if days is None else common.duration_text(days * 86_400)


def _break_even(found: Planned) -> None:
    even = found.comparison.break_even
    parts: list[str] = []
    if even.faster_from_bytes is not None:
        parts.append(f"drives are faster than the link from {common.size_text(even.faster_from_bytes)}")
    else:
        parts.append("the link is faster at any size")
    if even.cheaper_from_bytes is not None:
        parts.append(f"drives are cheaper from {common.size_text(even.cheaper_from_bytes)}")
    if even.link_rate is not None:
        parts.append(f"a link of {even.link_rate / 1e9:,.1f} Gb/s would take as long")
    click.echo("; ".join(parts))


def _left(left_out: Sequence[LeftOut]) -> list[str]:
    lines = [f"left out: {clean(each.name)}: {clean(each.why)}" for each in left_out[:_SOME]]
    if len(left_out) > _SOME:
        lines.append(f"left out: {len(left_out) - _SOME} more (--json names all)")
    return lines


def _table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
