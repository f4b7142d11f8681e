"""Of many geometries the ones worth a look, and the one to follow, with the reason. Pure.

What is weighed: overhead, drives used, probability of loss, time. A choice is better when it is so in one of these and
worse in none. The rule that recommends is written at `recommend`; what money or goods are worth has no part in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from sealift.errors import BadInput
from sealift.formats.sizes import counted
from sealift.stages.plan.geometry import Geometry  # noqa: TC001 -- msgspec resolves the fields of records
from sealift.stages.plan.odds import Odds  # noqa: TC001

if TYPE_CHECKING:
    from collections.abc import Sequence


NEARLY = 2.0  # a probability of loss that is this many times another one is about the same: so are the hazards known


class Choice(Struct, frozen=True, kw_only=True):
    """A geometry with its odds and the time that the caller's model gives it."""

    geometry: Geometry
    odds: Odds
    seconds: float


class Recommended(Struct, frozen=True, kw_only=True):
    """The choice to follow; `met` is False when no choice is as safe as wanted, and this is the safest."""

    choice: Choice
    met: bool
    reason: str


def front(choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """The choices that no other is better than, in the order given; of equal ones all."""
    if not choices:
        return ()
    points = np.array(
        [(each.geometry.overhead, each.geometry.drives_used, each.odds.loss, each.seconds) for each in choices]
    )
    if not np.isfinite(points).all():
        raise BadInput("a geometry's odds or time is no number", hint="times are seconds, from 0")
    kept: list[int] = []
    for at in np.lexsort(points.T[::-1]).tolist():  # whoever is better comes first
        better = points[kept]
        if not ((better <= points[at]).all(axis=1) & (better < points[at]).any(axis=1)).any():
            kept.append(at)
    return tuple(choices[at] for at in sorted(kept))


def recommend(choices: Sequence[Choice], *, most_loss: float) -> Recommended:
    """The fewest drives among the choices of the front whose probability of loss is at most `most_loss`.

    Of these, those come before all others that keep a drive to spare in every group when the stated loss has happened:
    without one, what is left has to read whole, and at tens of terabytes it hardly ever does. Then the fewest bays, the
    shortest time, the least probability of loss. When no choice is that safe, the same among those that are about as
    safe as can be: a probability of loss of at most NEARLY times the least.

    All choices survive the stated loss already (geometry.py). Of a simulated probability two standard errors more are
    counted. BadInput without choices, or a wanted loss that is none.
    """
    if not 0 <= most_loss <= 1:
        raise BadInput(f"{most_loss!r} is no probability", hint="the wanted loss is a number from 0 to 1")
    if not choices:
        raise BadInput("no geometry to choose from", hint="what is missing says what would make one")
    kept = front(choices)
    safe = [each for each in kept if _safe(each, most_loss)]
    safe = [each for each in safe if spare(each)] or safe

    def rule(each: Choice) -> tuple[float, ...]:
        one = each.geometry
        return one.drives_used, one.size, each.seconds, each.odds.loss, one.parity

    if safe:
        best = min(safe, key=rule)
        return Recommended(choice=best, met=True, reason=_reason(best, choices, most_loss))
    least = min(each.odds.loss for each in kept)
    near = [each for each in kept if each.odds.loss <= NEARLY * least]
    best = min([each for each in near if spare(each)] or near, key=rule)
    return Recommended(
        choice=best,
        met=False,
        reason=f"no geometry that survives the stated loss loses bytes as rarely as wanted, with probability "
        f"{most_loss:.2g}; of {len(choices):,}, {_name(best)} takes the fewest drives of those that come nearest, with "
        f"{best.odds.loss:.2g} (the least is {least:.2g})",
    )


def spare(choice: Choice) -> bool:
    """Whether the stated loss leaves every group a drive more than it needs."""
    return choice.geometry.parity > choice.geometry.worst_loss


def _safe(choice: Choice, most_loss: float) -> bool:
    return choice.odds.loss + 2 * choice.odds.loss_error <= most_loss


def _reason(best: Choice, choices: Sequence[Choice], most_loss: float) -> str:
    safe = sum(_safe(each, most_loss) and spare(each) >= spare(best) for each in choices)
    also = " and keep a drive to spare after it" if spare(best) else ""
    if safe == 1:
        return (
            f"of {len(choices):,} that survive the stated loss, {_name(best)} alone loses some byte with probability "
            f"{most_loss:.2g} or less{also}, {best.odds.loss:.2g}; it takes {best.geometry.drives_used:,} drives"
        )
    return (
        f"of {len(choices):,} geometries that survive the stated loss, {safe:,} lose some byte with probability "
        f"{most_loss:.2g} or less{also}; of those {_name(best)} takes the fewest drives, "
        f"{best.geometry.drives_used:,}, then the fewest bays and the shortest time, and its probability is "
        f"{best.odds.loss:.2g}"
    )


def _name(choice: Choice) -> str:
    one = choice.geometry
    return f"{counted(one.groups, 'group')} of {one.data}+{one.parity}"
