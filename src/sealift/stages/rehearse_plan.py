"""What a rehearsal is laid out as: its own two groups of 6+2 over four carriers, or the geometry of a plan.

What holds of a plan's layout: every scratch drive stands for one drive of the plan, with its carrier, group and slot,
in the plan's order; and what its scenes lose is the loss that the plan states. Bytes are few, whatever the plan has.
Of a plan with more than MAX_DRIVES drives, the first groups that are no more are played, one at least.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from sealift.stages.plan.geometry import Survive
from sealift.stages.rehearse_scenes import Check, Scene, Scratched

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sealift.stages.plan.document import Plan

CARRIERS = ("Anna", "Bo", "Cem", "Dana")
MAX_DRIVES = 96  # of a plan, on scratch


class Planned(msgspec.Struct):
    """How the plan was followed; the same in the JSON."""

    drives: int  # of the plan
    groups: int
    drives_played: int
    groups_played: int
    survive: str
    left_out: list[str]  # scenes, and why
    checks: list[Check]


@dataclass(frozen=True)
class Layout:
    """Groups of data + parity drives; `carriers` of each drive, as declared; `lost` is what the scenes lose."""

    data: int
    parity: int
    groups: int
    carriers: tuple[str, ...]
    lost: Survive
    plan: Plan | None = None
    played: tuple[int, ...] = ()  # numbers of the plan's drives that stand here, in order

    @property
    def size(self) -> int:
        """N of a group."""
        return self.data + self.parity

    @property
    def count(self) -> int:
        """Drives of all groups."""
        return self.size * self.groups

    def told(self) -> list[str]:
        """What is to be known before it begins."""
        if self.plan is None:
            return []
        groups, drives = self.plan.groups, len(self.plan.drives)
        what = f"the plan: {groups} groups of {self.data}+{self.parity} drives, {drives} in all, on scratch drives"
        if self.groups < groups:
            what = (
                f"the plan has {drives} drives in {groups} groups of {self.data}+{self.parity}; the first "
                f"{self.groups} are rehearsed, {self.count} drives (at most {MAX_DRIVES}, one group at least)"
            )
        return [what, *(f"left out: {why}" for why in self._left_out().values())]

    def scenes(self, scenes: Sequence[Scene]) -> list[Scene]:
        """Those that this layout can play, told as what they lose here."""
        if self.plan is None:
            return list(scenes)
        left_out = self._left_out()
        named = {
            "carrier-lost": (f"{self.lost} lost", f"What the plan states: {self.lost} never to arrive."),
            "repaired": (f"{self.lost} lost, and repaired", "What is lost of a group is rebuilt, rot is mended."),
        }
        return [
            scene._replace(title=named[scene.name][0], story=named[scene.name][1]) if scene.name in named else scene
            for scene in scenes
            if scene.name not in left_out
        ]

    def _left_out(self) -> dict[str, str]:
        """Scenes that this geometry cannot play -> why, with their names."""
        out: dict[str, str] = {}
        if not (self.lost.carriers or self.lost.drives):
            out["carrier-lost"] = "carrier-lost, because the plan states no loss to survive"
        if self.parity < 2 or self.size < 3:
            out["rot"] = f"rot, which wants two drives of parity; the plan has {self.parity}"
        if self.groups < 2:
            out["withheld"] = "withheld, which wants two groups"
        if self.groups < 2 or "carrier-lost" in out:
            out["repaired"] = "repaired, which wants two groups and a loss to survive"
        return out

    def answer(self, drives: Sequence[Scratched], numbers: Mapping[str, int]) -> Planned | None:
        """Whether each scratch drive lies where the plan has it; `drives` are in the order in which they are declared.

        `numbers` are those of "drive i of N" that their manifests have, by the drives' ids.
        """
        plan = self.plan
        if plan is None:
            return None
        wanted = [plan.drives[number - 1] for number in self.played]
        places = [(each.group, each.slot, each.carrier) for each in drives]
        checks = [
            Check(
                "every drive has the carrier, group and slot that the plan gives it",
                places == [(each.group, each.slot, each.carrier) for each in wanted],
            ),
            Check(
                "drives are numbered in the plan's order",
                [numbers[each.drive] for each in drives] == list(range(1, len(wanted) + 1)),
            ),
        ]
        return Planned(
            len(plan.drives),
            plan.groups,
            self.count,
            self.groups,
            str(self.lost),
            list(self._left_out().values()),
            checks,
        )


def own() -> Layout:
    """The layout of a rehearsal without a plan: any carrier may be lost."""
    carriers = tuple(name for name in CARRIERS for _ in range(4))
    return Layout(6, 2, 2, carriers, Survive(carriers=1))


def of_plan(plan: Plan) -> Layout:
    """The layout of a plan, or of its first groups."""
    groups = min(plan.groups, max(1, MAX_DRIVES // plan.size))
    played = tuple(number for number, drive in enumerate(plan.drives, 1) if drive.group < groups)
    carriers = tuple(plan.drives[number - 1].carrier for number in played)
    return Layout(plan.data, plan.parity, groups, carriers, plan.survive, plan, played)
