"""Two clocks: by how much they may differ, and what is to be said where they differ by more.

What holds: a record that another one names by its digest was there before it, whatever the times that both state. So
times prove an order only between records of which neither names the other, and a record from the future was signed
where a clock is ahead, or is read where one is behind. Pure.

What is not here: how old a list or a proof may be (rules.py), and whose word a time is.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

SKEW = timedelta(minutes=10)  # by which the clocks of two hosts may differ before it is shown
TIME = "%Y-%m-%dT%H:%M:%SZ"


def is_ahead(at: datetime, now: datetime) -> bool:
    """Whether a time that somebody states is still to come by more than two clocks may differ."""
    return at > now + SKEW


def ahead(what: str, at: datetime, now: datetime, whose: str) -> str:
    """That a time is still to come, and which clocks to look at; `whose` is the clock of whoever stated it."""
    here = now.astimezone(UTC).strftime(TIME)
    return (
        f"{what} at {at.astimezone(UTC).strftime(TIME)}, and this host's clock says {here}: {whose} was ahead, or this"
        " one is behind; look at both"
    )


def seal_ahead(sealed_at: datetime, now: datetime) -> str:
    """What is to be told of a seal from the future; "" of any other."""
    if not is_ahead(sealed_at, now):
        return ""
    return ahead("the seal says that it was made", sealed_at, now, "the clock where it was sealed")
