"""Amounts, times and probabilities as a person reads them on the page of a plan. Pure.

None stands for what never happens. A probability of loss is told as "1 in N", whatever its size: digits of 1e-12 are
lost in a percentage, and nines are not read. Nothing here is rounded to certainty.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

from sealift.stages.plan.terms import DAY, HOUR, MINUTE
from sealift.stages.plan.told import text

if TYPE_CHECKING:
    from datetime import datetime

    from sealift.stages.plan.odds import Odds

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def size(count: float) -> str:
    """Bytes, in decimal units: 4.8 PB."""
    for power, unit in ((18, "EB"), (15, "PB"), (12, "TB"), (9, "GB"), (6, "MB"), (3, "kB")):
        if count >= 0.9995 * 10**power:
            return f"{_digits(count / 10**power)} {unit}"
    return f"{int(count)} B"


def _digits(value: float) -> str:
    """Three digits at least where there are as many, and no zeros after a point."""
    text = f"{value:,.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def span(seconds: float | None) -> str:
    """A time that something takes: 45 s, 12 min, 7.5 h, 6.7 days."""
    if seconds is None:
        return "never"
    if seconds < 90:
        return f"{_digits(seconds)} s"
    if seconds < 90 * MINUTE:
        return f"{_digits(seconds / MINUTE)} min"
    if seconds < 2 * DAY:
        return f"{_digits(seconds / HOUR)} h"
    return f"{_digits(seconds / DAY)} days"


def later(seconds: float | None, planned: float | None) -> str:
    """How much later than planned: +2 days; empty where it is never, or was never to be."""
    if seconds is None or planned is None:
        return ""
    if abs(seconds - planned) < 30:
        return "as planned"
    return f"{'+' if seconds > planned else '−'}{span(abs(seconds - planned))}"


def moment(start: datetime | None, seconds: float | None) -> str:
    """When that is, in UTC; empty where nobody can say."""
    if start is None or seconds is None:
        return ""
    try:
        return text(start + timedelta(seconds=seconds))
    except OverflowError:
        return ""


def one_in(loss: float) -> str:
    """A probability of loss: 1 in 19,800; from a tenth on in percent."""
    if loss <= 0:
        return "none expected"
    if loss >= 0.1:
        return f"{100 * loss:.0f}%" if loss <= 0.99 or loss == 1 else "over 99%"
    return f"1 in {many(1 / loss)}"


def many(count: float) -> str:
    """A count of which three digits are told: 19,800 or 3.4×10¹²."""
    if not math.isfinite(count):
        return "very many"
    power = max(0, math.floor(math.log10(max(count, 1))) - 2)
    rounded = round(count / 10**power) * 10**power
    if rounded < 1e9:
        return f"{rounded:,}"
    exponent = len(str(rounded)) - 1
    mantissa = _digits(rounded / 10**exponent)
    return f"{'' if mantissa == '1' else f'{mantissa}×'}10{superscript(exponent)}"


def superscript(number: int) -> str:
    """Of a power of ten."""
    return str(number).translate(_SUPERSCRIPT)


def chance(odds: Odds) -> str:
    """The probability of a loss, with what simulation knows of it."""
    if odds.exact:
        return one_in(odds.loss)
    if odds.loss <= 0:
        return f"less than {one_in(2 * odds.loss_error)}, simulated"
    return f"{one_in(odds.loss)}, simulated (±{2 * odds.loss_error:.1g})"


def percent(share: float) -> str:
    """A share, to a digit after the point where it has one."""
    return f"{100 * share:.1f}".removesuffix(".0") + "%"


def money(usd: float) -> str:
    """US dollars, short: $2.42 M."""
    for limit, unit in ((1e12, " T"), (1e9, " bn"), (1e6, " M"), (1e3, " k")):
        if usd >= 0.9995 * limit:
            return f"${_digits(usd / limit)}{unit}"
    return f"${usd:.0f}" if usd >= 1 or usd == 0 else f"${usd:.2f}"


def bits(rate: float) -> str:
    """Bits a second."""
    for limit, unit in ((1e12, "Tb/s"), (1e9, "Gb/s"), (1e6, "Mb/s"), (1e3, "kb/s")):
        if rate >= 0.9995 * limit:
            return f"{_digits(rate / limit)} {unit}"
    return f"{rate:.0f} b/s"


def exactly(value: float) -> str:
    """A number as it may be stated again in a file of numbers."""
    return f"{value:_.15g}"


def runs(numbers: list[int]) -> str:
    """Numbers in their order, those in a row together: 0 to 3, 7."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    words = [f"{a:,}" if a == b else f"{a:,} and {b:,}" if b == a + 1 else f"{a:,} to {b:,}" for a, b in parts]
    return ", ".join(words[:8]) + (f" and {len(words) - 8} more" if len(words) > 8 else "")
