"""Drives of several shipments at once, and nothing that says which of them is meant: who is refused, and what is told.

What holds: a drive of another shipment among ours is foreign, and harms nothing. Where more than a lone one is of
another shipment that is sealed too, which of them is meant is not for their number to say: whoever writes or gives
out names is refused, and whoever only looks says which one was taken, and why.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sealift.errors import SealInvalid
from sealift.formats.sizes import counted
from sealift.reading.survey_views import SEVERAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.reading.survey_views import DriveView, Survey


def refuse_mixed(found: Survey) -> None:
    """SealInvalid where drives of several shipments are here, and no seal was given that says which one is meant."""
    named = [view for view in found.views if view.manifest is not None and view.standing != "member"]
    names = {view.manifest.shipment for view in named if view.manifest is not None}
    _refuse(found, names | {group.manifest.shipment for group in found.groups})


def refuse_rivals(found: Survey) -> None:
    """The same where more than one of them is sealed: a lone drive of another one is merely foreign (see `rivals`)."""
    if found.rivals:
        _refuse(found, {found.shipment or "", *found.rivals})


def rivals(found: Survey) -> dict[str, int]:
    """Other shipments that are sealed as this one is, by seals on drives here that hold; of each, how many drives.

    A lone drive of one among more of ours makes none.
    """
    ours, others = _counted(found)
    if found.shipment not in found.sealed:
        return {}
    return {each: count for each, count in others.items() if each in found.sealed and (count > 1 or count >= ours)}


def told(found: Survey) -> list[str]:
    """A line, where there are rivals: which one the survey is about, why, and how to ask for another."""
    if not found.rivals:
        return []
    ours, _ = _counted(found)
    why = "most drives here are of it" if ours > max(found.rivals.values()) else "it comes first, of as many of each"
    beside = ", ".join(f"{count} of shipment {each}" for each, count in found.rivals.items())
    which = f"{SEVERAL}: this is about shipment {found.shipment}, since {why}"
    return [
        f"{which}: {counted(ours, 'drive')} of it, and {beside}; give the seal (--seal FILE) of the one that is meant"
    ]


def _counted(found: Survey) -> tuple[int, Counter[str]]:
    """Drives here that are of the shipment in question, and of each other one."""
    others = Counter(view.manifest.shipment for view in _foreign(found) if view.manifest is not None)
    return sum(len(group.views) for group in found.groups), others


def _foreign(found: Survey) -> list[DriveView]:
    return [view for view in found.views if view.manifest is not None and view.standing == "foreign"]


def _refuse(found: Survey, names: set[str]) -> None:
    if len(names) > 1:
        raise SealInvalid(
            f"these drives are of {shipments(names)}: nothing says which of them is meant",
            hint=f"give the seal of the one that is meant (--seal FILE), or leave {mounts(_foreign(found))} out",
        )


def shipments(names: set[str]) -> str:
    """These, as many as can be shown."""
    listed = sorted(names)
    more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
    return f"{'shipment' if len(listed) == 1 else 'shipments'} {', '.join(listed[:5])}{more}"


def mounts(views: Sequence[DriveView]) -> str:
    """Where these are, as many as can be shown."""
    more = f" and {len(views) - 5} more" if len(views) > 5 else ""
    return ", ".join(view.mount for view in views[:5]) + more
