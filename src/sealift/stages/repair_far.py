"""What drives in other hosts did not give to a repair: it is theirs to give again, and not lost.

What holds: a host is named with what it did, whether what it kept back was needed or not; what only such hosts have is
`waits` of the answer, and no loss. A copy that a host gives otherwise than it was signed is of the same kind: the host,
or the way to it, may be at fault and not the drive. Nothing is read here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sealift.drives.base import reason
from sealift.drives.ranges import RemoteDrive
from sealift.errors import NotAllHere
from sealift.stages.verify_join import words
from sealift.stages.verify_report import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sealift.formats.fetch import FetchList
    from sealift.reading.survey import DriveView, GroupView, Survey
    from sealift.stages.repair_look import Seen
    from sealift.stages.repair_plan import Elsewhere, RepairReport

OF_HOSTS = "no drive here has it whole, and a host that may have it did not give it"


class Away(msgspec.Struct, frozen=True):
    """A drive in another host that did not give what was signed; `why`: what it did first."""

    drive: str  # its id, or its mount where that is not known
    mount: str
    at: str
    why: str


def of_survey(found: Survey) -> list[Away]:
    """Locations that gave no drive, or not all of its small files."""
    away = []
    for view in found.views:
        problems = [each for each in view.problems if view.slot is None or each.kind == "unreached"]
        if isinstance(view.drive, RemoteDrive) and problems and not view.apart:
            away.append(_away(view, problems[0].detail))
    return away


def of_hosts(found: Survey, hosts: Mapping[str, str]) -> list[Away]:
    """The same of `hosts` (mount -> why) from which packs or small files were to be read."""
    return [_away(view, hosts[view.mount]) for view in found.views if view.mount in hosts]


def _away(view: DriveView, why: str) -> Away:
    at = view.drive.at if isinstance(view.drive, RemoteDrive) else view.mount
    return Away(words(view.name), words(view.mount), words(at), words(reason(why, view.mount)))


def joined(told: Sequence[Away], more: Sequence[Away]) -> list[Away]:
    """Each location once, with what it did first."""
    return list({each.mount: each for each in (*more, *told)}.values())


def check_all_given(found: Survey, seen: Sequence[Seen], listed: FetchList, with_hosts: FetchList) -> None:
    """NotAllHere where hosts keep back what would make the list shorter: `with_hosts` counts that as gone."""
    silent = [_away(each.view, each.away) for each in seen if each.away is not None]
    unknown = [each for each in of_survey(found) if each.drive == each.mount]
    short = silent if with_hosts.packs != listed.packs else []
    short += unknown if listed.packs else []
    if short:
        raise NotAllHere(
            f"which packs must be sent again cannot be said now: not given by {told(short)}",
            hint="see to the host or the way to it, and run the same command again; what is lost for good is left away",
        )


def note_rot(seen: Sequence[Seen], listed: FetchList, tell: Callable[[str], object]) -> None:
    """Say of which hosts the list comes, where these give other bytes than were signed."""
    bad = [each.view for each in seen if each.damage and isinstance(each.view.drive, RemoteDrive)]
    if bad and listed.packs:
        tell(
            f"what {told([_away(view, 'other bytes than were signed') for view in bad])} is counted as damaged: see to"
            " the host or the way to it first; `sealift verify` on that host tells whether the drive is at fault"
        )


def told(away: Sequence[Away]) -> str:
    """Some of them, for a line."""
    more = f" and {len(away) - 5:,} more" if len(away) > 5 else ""
    return ", ".join(f"{each.mount} ({each.why})" for each in away[:5]) + more


def out_of_reach(group: GroupView, elsewhere: Elsewhere) -> list[str]:
    """Drives of a group that stand on other hosts, and cannot be read from here."""
    return [name for slot, name in elsewhere.stands.get(group.group, {}).items() if slot not in group.copies]


def not_lost(group: GroupView, elsewhere: Elsewhere, answer: RepairReport) -> None:
    """What cannot be had from here is not lost while drives of the group stand where they cannot be read from here."""
    there = {group.manifest.drives[slot].id for slot in elsewhere.stands.get(group.group, {})}
    answer.missing = [each for each in answer.missing if each not in there]
    away = out_of_reach(group, elsewhere)
    if not away:
        return
    mounts = {group.manifest.drives[slot].id: view.mount for slot, view in group.drives.items()}
    detail = f"takes other drives of its group, and these cannot be read from its host: {', '.join(away[:10])}"
    answer.left += [
        Fault(
            drive=each.drive, block=each.first, kind="rotten", path=each.path, detail=detail, mount=mounts[each.drive]
        )
        for each in answer.lost
        if each.group == group.group and each.drive in mounts
    ]
    answer.lost = [each for each in answer.lost if each.group != group.group]
    answer.short = [each for each in answer.short if each != group.group]
    answer.gone = [each for each in answer.gone if each.group != group.group]
