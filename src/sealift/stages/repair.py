"""Repair: what is damaged or gone is made again from what is left, and proved against the signed manifest.

    survey -> look at every drive, or where a report says (repair_look.py) -> plan -> packs (rebuild.py) -> small files
    --onto: survey -> a missing drive's place -> what is there is proved -> packs -> small files, the manifest last

What holds: no key is needed; nothing is written where nothing is wrong, and nothing that the manifest does not cover;
a file appears under its name when it was proved. The answer speaks of what was looked at (`scope`) and of nothing
else. Where more is lost than parity holds, what is lost is named, all else is repaired, and nothing is harmed. What
stands in the way of a file stops that file alone, and a drive that cannot be written stops the work on that drive
alone (repair_unwritable.py). It may be stopped anywhere: the same call goes on. Drives that
belong to something else (foreign, replayed, two manifests, in conflict) are not written. What an interrupted write left
(NAME.part of a file of the drive) is sealift's own, and goes; other files that nobody signed stay. What is not here:
the fetch list (fetch.py), carrying a plan out (repair_group.py), the terminal.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sealift.drives.ranges import RemoteDrive
from sealift.errors import BadInput
from sealift.reading.origin_copies import OriginCopies
from sealift.reading.survey import survey
from sealift.stages import fetch_check
from sealift.stages import repair_far as far_away
from sealift.stages import repair_foretell as foretell
from sealift.stages import repair_look as looking
from sealift.stages import repair_onto as onto_drives
from sealift.stages import repair_plan as planning
from sealift.stages import verify_join as join
from sealift.stages.fetch import fetch_list
from sealift.stages.repair_files import SmallFiles
from sealift.stages.repair_group import GroupRepair, held
from sealift.stages.repair_plan import Elsewhere, Events, RepairReport
from sealift.stages.repair_unwritable import failing
from sealift.stages.verify_report import without_foreign

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.drives.base import Drive
    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.formats.fetch import FetchList
    from sealift.reading.survey import DriveView, GroupView, Survey
    from sealift.stages.repair_look import Seen
    from sealift.stages.repair_plan import Gaps, Plan
    from sealift.stages.verify_state import State
    from sealift.stages.verify_verdict import Damage


def repair(
    places: Sequence[str | Drive],
    *,
    allowed: AllowedSigners,
    seal: dict[str, bytes] | None = None,
    shipment: str | None = None,
    onto: Sequence[str | Drive | tuple[str, Drive]] = (),
    report: tuple[str, bytes] | None = None,
    dry_run: bool = False,
    allow_same_filesystem: bool = False,
    state: str | State | None = None,
    elsewhere: Elsewhere | None = None,
    origin: OriginCopies | None = None,
    events: Events | None = None,
) -> RepairReport:
    """Mend the drives at `places`, or with `onto` rebuild missing drives onto other media, and do nothing else.

    `onto`: MNT, or ID=MNT (of drives, a pair) to say which of several missing drives. `report`: name and bytes of what
    verify said of these drives (--json), or of what reading met (Shipment.health), so that they are not all read first.
    `allow_same_filesystem` takes any folder as MNT, for scratch use. Addresses and locations files among `places` are
    read for what the others need, and not mended. `state` as in verify, or its memory. `elsewhere`: these are one
    host's drives of several; what takes others than can be read from here is left, and not lost. `origin`: copies of
    indexes, for those that no drive has. A drive that fails when it is written is told (`unwritable`). Raises BadInput,
    Refused when a signature or the seal does not hold or fit, DriveFault when no drive can be looked at, Busy while
    somebody else writes to one of them, Interrupted.
    """
    begun = time.monotonic()
    events = events or Events()
    scope = "onto" if onto else looking.scope_of(report)
    planning.check_mounted(places, onto, dry_run=dry_run)
    targets = [planning.target(each) for each in onto]
    folders = {planning.folder_of(drive) for _, drive in targets}
    far = [] if targets else planning.far_of(places)
    if len(far) == len(places):
        far = []  # of a dry run, which may look at what it could not write
    here = [each for each in places if planning.folder_of(each) not in folders and each not in far]
    alone, elsewhere = elsewhere is None, elsewhere or Elsewhere(far)
    others = planning.beside(elsewhere, here)
    found = survey([*here, *others], allowed=allowed, seal=seal, shipment=shipment)
    planning.check_trust(found)
    beside = {id(view) for view in found.views if any(view.drive is drive for drive in others)}
    absent = {group.group: planning.gaps(group) for group in found.groups}
    answer = RepairReport(shipment=found.shipment, dry_run=dry_run, scope=scope, notices=list(found.notices))
    answer.missing = [row.id for each in absent.values() for row in each.missing]
    answer.away = far_away.of_survey(found)
    seen: list[Seen] = []
    mended: set[tuple[int, int]] = set()
    with held(() if dry_run or targets else _own(found, beside)):
        if targets:
            plans = onto_drives.place(found, absent, targets)
            onto_drives.check_targets(found, absent, plans, events, same_filesystem=allow_same_filesystem)
            _note_met(found, plans, answer)
        else:
            at_once = looking.look(found, report, state, events.progress, beside, whole_stripes=dry_run)
            seen = [looking.unlike(each, elsewhere.stands) for each in at_once]
            plans = _note_seen(found, seen, beside, answer, folders=allow_same_filesystem)
            if alone:
                _note_beyond(found, report, answer)
        for plan in plans:
            files = SmallFiles(found, plan.group, origin)
            if dry_run:
                plan.known = foretell.known(plan.group, None if targets else seen)
            GroupRepair(plan, files, answer, events, mended, beside, dry_run=dry_run).run()
    answer.missing = [each for each in answer.missing if each not in answer.rebuilt]
    for group in found.groups:
        _judge(group, absent[group.group].without(answer.rebuilt), seen, mended, answer)
        far_away.not_lost(group, elsewhere, answer)
    planning.nobodys(found, answer)
    answer.notices += fetch_check.of_folders(found, [(lost.group, lost.stripe) for lost in answer.lost])
    answer.state = state_of(answer)
    answer.seconds = time.monotonic() - begun
    return answer


def _own(found: Survey, beside: set[int]) -> list[DriveView]:
    """The drives that are mended here: those of signed groups that are what the table says, and stand here."""
    views = [view for group in found.groups if group.trusted for view in group.views]
    return [view for view in views if not (view.apart or id(view) in beside or isinstance(view.drive, RemoteDrive))]


def _note_seen(
    found: Survey, seen: Sequence[Seen], beside: set[int], answer: RepairReport, *, folders: bool
) -> list[Plan]:
    """What was found, and what is to be done about it."""
    answer.verified_bytes = sum(each.bytes_read for each in seen)
    answer.failing = failing(found, (fault for each in seen if not each.bag for fault in each.faults))
    answer.signature = join.signature(found, ())
    plans = planning.plan(found, seen, answer)
    if not folders:
        planning.refuse_folders(plans, answer)
    answer.left += looking.beyond(found, beside)
    return plans


def _note_beyond(found: Survey, report: tuple[str, bytes] | None, answer: RepairReport) -> None:
    """What nobody looked at: a seal that is not here, groups of which no drive is."""
    answer.unseen = looking.named_away(report, {group.group for group in found.groups})
    answer.notices += planning.no_seal(found)
    planning.tell_absent(planning.away(found), answer)


def _note_met(found: Survey, plans: Sequence[Plan], answer: RepairReport) -> None:
    """What is known before others are rebuilt: which these are, and what the survey alone saw to be wrong."""
    answer.onto = [row.id for plan in plans for _, row in plan.onto]
    wrong, empty = looking.met(found)
    answer.left += wrong
    answer.failing = failing(found, wrong)
    answer.notices += [*empty, *([foretell.NOT_READ] if answer.dry_run else [])]


def fetch(
    places: Sequence[str | Drive],
    *,
    allowed: AllowedSigners,
    seal: dict[str, bytes] | None = None,
    shipment: str | None = None,
    report: tuple[str, bytes] | None = None,
    state: str | None = None,
    origin: OriginCopies | None = None,
    events: Events | None = None,
) -> FetchList:
    """What must be sent again; drives that are not here count as gone. Writes nothing; parameters as `repair`.

    With a `report` every stripe of which it names a pack is read, and names and lengths of all packs are looked at: of
    what else they hold the list has the report's word, which is as old as it is.
    Lost (NotAllHere where drives are missing) where no drive has packs.bin whole: then no pack can be named; and so
    where a group's manifest is on none of its drives.
    """
    if report is not None and looking.scope_of(report) == "health":
        raise BadInput(
            f"{report[0]}: a report of health says what reading met, and a fetch list needs all that is wrong",
            hint="give a report of `sealift verify --json`, or leave --report away",
        )
    found = survey(places, allowed=allowed, seal=seal, shipment=shipment)
    planning.check_trust(found)
    fetch_check.check_known(found)
    events = events or Events()
    seen = looking.look(found, report, state, events.progress, whole_stripes=True)
    for group in found.groups:
        if group.trusted:
            fetch_check.check_listable(group, seen, origin or OriginCopies(), events)
    listed = fetch_list(found, [(each.group, each.slot, each.lacks) for each in seen])
    less = [(each.group, each.slot, {**each.lacks, **(each.unreached or {})}) for each in seen]
    far_away.check_all_given(found, seen, listed, fetch_list(found, less))
    far_away.note_rot(seen, listed, events.notice)
    folders = fetch_check.of_folders(found, [(pack.group, pack.stripe) for pack in listed.contents])
    for notice in [*folders, *fetch_check.not_listed(found)]:
        events.notice(notice)
    return listed


def exit_code(report: RepairReport) -> int:
    """0: nothing of the shipment is known to be wrong; 3: something is, all recoverable; 4: lost; 6: more must come.

    5: no drive has the signature of a manifest, or it or a whole seal does not hold; what could be mended was.
    """
    if report.signature is not None and not report.signature.ok:
        return 5
    owed = report.unseen or any(host.must_return for host in report.hosts) or _waits(report)
    if report.lost or report.short or report.gone:
        return 6 if owed or report.may_come else 4
    if owed or report.absent:
        return 6
    return 3 if _is_damaged(report) else 0


def _is_damaged(report: RepairReport) -> bool:
    wrong = without_foreign(report.left) or report.missing_here or report.unwritable or report.unreadable
    return bool(wrong or (report.dry_run and (report.repaired_files or report.removed)))


def _waits(report: RepairReport) -> bool:
    """Whether something is still wrong that drives in other hosts would mend, had they given it, or the whole seal."""
    return bool(report.waits) or any(each.detail in {far_away.OF_HOSTS, planning.NO_SEAL_HERE} for each in report.left)


def state_of(report: RepairReport) -> str:
    """The one word for it."""
    if report.lost or report.short or report.gone:
        return "lost"
    if _is_damaged(report):
        return "damaged"
    if report.unseen or report.waits or any(host.must_return for host in report.hosts):
        return "damaged"
    if report.scope == "onto":
        return "rebuilt"
    if report.absent:
        return "unseen"
    return "repaired" if report.repaired_files or report.removed else "whole"


def _judge(
    group: GroupView, gaps: Gaps, seen: Sequence[Seen], mended: set[tuple[int, int]], answer: RepairReport
) -> None:
    """What of a group cannot be had from what is here, with what was rebuilt."""
    if planning.is_short(group, gaps):
        answer.short.append(group.group)
        if group.trusted:
            answer.gone += [each for each in planning.tables_gone(group) if each not in answer.gone]
            _note_certain(group, planning.still_damaged(group, seen, mended), gaps, answer)
    elif seen and group.trusted:
        _still_lost(group, seen, gaps, mended, answer)


def _still_lost(
    group: GroupView, seen: Sequence[Seen], gaps: Gaps, mended: set[tuple[int, int]], answer: RepairReport
) -> None:
    """Name what cannot be had although nobody tried to write it: `damaged` must not say that it can be recovered.

    A drive that is not ours to write, or on which something stands in the way, has lost its packs all the same; a dry
    run has tried nothing.
    """
    damage = planning.still_damaged(group, seen, mended)
    gone = {row.slot for row in gaps.missing} - damage.keys()
    verdict = planning.judge_group(group, damage, gone)
    told = {lost.stripe for lost in answer.lost if lost.group == group.group}
    answer.lost += [planning.lost_blocks(group.manifest, lost) for lost in verdict.lost if lost.stripe not in told]
    answer.replaced += planning.replaced(group, damage, answer.lost)
    if verdict.unknown:
        answer.short.append(group.group)
    _note_certain(group, damage, gaps, answer)


def _note_certain(group: GroupView, damage: dict[int, Damage], gaps: Gaps, answer: RepairReport) -> None:
    """Whether data is lost though every drive that is not here, or stands for another medium, had all of its own."""
    come = {row.slot for row in group.manifest.drives if row in gaps.missing or row.id in answer.replaced}
    here = {slot: each for slot, each in damage.items() if slot not in come}
    if planning.judge_group(group, here, set()).lost_bytes:
        answer.certain.append(group.group)
