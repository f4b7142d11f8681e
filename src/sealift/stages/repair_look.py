"""What is wrong on the drives that are here: read from them, or taken from a report that says where to look.

    nothing given            every drive is read (verify)
    a report of verify       what it names is read again on the drives that are here: it may be whole by now
    a report of health       the packs that it names are read on the drives that are here, and nothing else

What holds: only drives of trusted groups are Seen. A folder that holds packs and nothing else (`is_bag`: packs that
were sent again) is a place to read from: it is no drive, nothing is wrong with it, and nothing is written there.
Nothing is written here at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec import UNSET

from sealift.errors import BadInput, DriveFault, FormatError
from sealift.formats import manifest as mf
from sealift.formats.manifest import PACK_FILE
from sealift.reading.health import Health, read_health
from sealift.stages import verify_join as join
from sealift.stages.repair_files import SMALL, SmallFiles
from sealift.stages.verify import read_drives
from sealift.stages.verify_read import DriveCheck
from sealift.stages.verify_report import MAX_PART, VerifyReport, read_part
from sealift.stages.verify_state import State, default_path

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from sealift.reading.survey import DriveView, GroupView, Survey
    from sealift.stages.verify import Progress
    from sealift.stages.verify_report import Fault
    from sealift.stages.verify_verdict import Damage

    Tell = Callable[[str, int, int | None, dict[str, int]], object]


class Seen(NamedTuple):
    """What was found on one drive of a trusted group, or what a folder of packs does not have."""

    group: GroupView
    view: DriveView
    slot: int
    damage: Damage
    faults: list[Fault]
    bytes_read: int
    bag: bool = False
    away: str | None = None  # why its host did not give all of it
    unreached: Damage | None = None  # what it did not give


class _Typed(msgspec.Struct):
    type: str


def scope_of(report: tuple[str, bytes] | None) -> str:
    """What a look covers: `all`, or what a `report` of verify or one of `health` names. BadInput for another file."""
    if report is None:
        return "all"
    name, data = report
    try:
        kind = msgspec.json.decode(data, type=_Typed).type if len(data) <= MAX_PART else ""
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        kind = ""
    if kind == "sealift-health":
        return "health"
    if kind in {"sealift-verify", "sealift-inspect"}:
        return "report"
    raise BadInput(
        f"{name} is neither a report of verify nor one of health",
        hint="give what `sealift verify --json` printed, or what Shipment.health() wrote",
    )


def look(
    found: Survey,
    report: tuple[str, bytes] | None,
    state: str | State | None,
    progress: Tell,
    beside: Collection[int] = (),
) -> list[Seen]:
    """What is wrong on the drives here, but for views whose ids are in `beside`; Interrupted."""
    scope = scope_of(report)
    if report is not None and scope == "health":
        return _from_health(found, report, progress, beside)
    if report is not None:
        return _from_report(found, report, progress, beside)
    return _from_reading(found, state, progress, beside)


def is_bag(view: DriveView) -> bool:
    """Whether this holds packs of a drive and none of its other files: packs that were sent again, in a folder."""
    if view.slot is None or view.small:
        return False
    try:
        return all(view.drive.size(name) is None for name in (mf.MANIFEST, *mf.OWN_FILES, *mf.GROUP_FILES))
    except (FormatError, DriveFault):
        return False


def bag_damage(group: GroupView, view: DriveView) -> Damage:
    """What a folder of packs does not have, by names and lengths."""
    assert view.slot is not None, "a bag has a slot"
    check = DriveCheck(view, group, view.slot)
    check.check_presence()
    return check.damage


def _from_reading(found: Survey, state: str | State | None, progress: Tell, beside: Collection[int]) -> list[Seen]:
    def tell(now: Progress) -> None:
        progress("verify", now.done, now.total, now.drives)

    if isinstance(state, State):
        return _seen(read_drives(found, state=None, memory=state, progress=tell, beside=beside))
    path = state or default_path(found.shipment or "unknown")
    return _seen(read_drives(found, state=path, progress=tell, beside=beside))


def _from_health(found: Survey, given: tuple[str, bytes], progress: Tell, beside: Collection[int]) -> list[Seen]:
    """The packs that reading met something amiss in, read again; what else these drives hold is not asked."""
    health = read_health(given[1], given[0])
    _same_shipment(found, given[0], health)
    only: dict[tuple[int, int], set[int]] = {}
    for pack in health.packs:
        group = next((each for each in found.groups if each.group == pack.group), None)
        if group is not None and pack.role < group.manifest.n and pack.stripe < group.manifest.geometry.stripes:
            slot = mf.slot_of(pack.stripe, pack.role, group.manifest.n)
            only.setdefault((pack.group, slot), set()).add(pack.stripe)

    def tell(now: Progress) -> None:
        progress("verify", now.done, now.total, now.drives)

    return _seen(read_drives(found, state=None, progress=tell, only=only, beside=beside))


def named_away(report: tuple[str, bytes] | None, groups: Collection[int]) -> list[str]:
    """What a report says is wrong with groups other than these: drives, or of a health report the groups."""
    if report is None:
        return []
    if scope_of(report) == "health":
        others = {pack.group for pack in read_health(report[1], report[0]).packs} - set(groups)
        return [f"group {number}" for number in sorted(others)]
    whole = read_part(report[1], report[0])
    away = [group for group in whole.groups if group.group not in groups]
    wrong = {fault.drive for fault in whole.faults if fault.kind != "unreached"}
    wrong |= {copy.drive for group in away for copy in group.present if copy.damage}
    return sorted({copy.drive for group in away for copy in group.present} & wrong)


def _same_shipment(found: Survey, name: str, report: VerifyReport | Health) -> None:
    if report.shipment != found.shipment:
        raise BadInput(
            f"{name} is of shipment {report.shipment}, and these drives are of {found.shipment}",
            hint="give the report that was made of these drives, or leave --report away",
        )


def _seen(checks: Sequence[DriveCheck]) -> list[Seen]:
    bags = {id(check) for check in checks if is_bag(check.view)}
    drives = [check for check in checks if id(check) not in bags]
    seen = []
    for check in checks:
        bag = id(check) in bags
        faults: list[Fault] = []
        if not bag and (old := join.superseded(check, drives)) is not None:
            faults = [old]
        elif not bag:
            faults += [join.fault(check.view, problem) for problem in check.view.problems]
            faults += [
                join.fault_at(check.view, each.path, each.kind, each.detail, each.block) for each in check.faults
            ]
            faults += _conflict(check, drives)
        read = check.bytes_read
        away = check.away, check.unreached
        seen.append(Seen(check.group, check.view, check.slot, check.damage, faults, read, bag, *away))
    return seen


def _conflict(check: DriveCheck, checks: Sequence[DriveCheck]) -> list[Fault]:
    """Of two drives in one slot, one that is damaged is not written: it may be something else altogether."""
    same = [each for each in checks if (each.group, each.slot) == (check.group, check.slot) and each is not check]
    if not same or not check.damage:
        return []
    mounts = ", ".join(each.view.mount for each in same)
    return [join.fault_at(check.view, b"drive.json", "conflict", f"in the same slot as {mounts}; not written", None)]


def unlike(seen: Seen, elsewhere: Mapping[int, Mapping[int, str]]) -> Seen:
    """The same; a damaged drive of which another stands on another host (group -> slot -> where) is in conflict."""
    other = elsewhere.get(seen.group.group, {}).get(seen.slot)
    if other is None or not seen.damage or seen.bag:
        return seen
    detail = f"in the same slot as {other}; not written"
    return seen._replace(faults=[*seen.faults, join.fault_at(seen.view, b"drive.json", "conflict", detail, None)])


def _from_report(found: Survey, given: tuple[str, bytes], progress: Tell, beside: Collection[int]) -> list[Seen]:
    """What another run of verify said of the drives that are here, as far as it is still so: it says where to look."""
    name, data = given
    report = read_part(data, name)
    if not isinstance(report, VerifyReport):
        raise BadInput(
            f"{name} is no report of verify: inspect does not look into packs",
            hint="sealift verify MNT... --json > REPORT.json, of these drives",
        )
    _same_shipment(found, name, report)
    copies = {(copy.drive, copy.mount): copy for group in report.groups for copy in group.present if copy.verified}
    seen = []
    for group in found.groups:
        for view in group.views if group.trusted else ():
            if view.slot is None or id(view) in beside:
                continue
            if is_bag(view):
                seen.append(Seen(group, view, view.slot, bag_damage(group, view), [], 0, bag=True))
                continue
            key = (view.name, view.mount)
            if key not in copies:
                raise BadInput(
                    f"{name}: says nothing of {view.name} at {view.mount}",
                    hint="give a report that verify made with the same mounts, or leave --report away",
                )
            faults = [fault for fault in report.faults if (fault.drive, fault.mount) == key]
            seen.append(Seen(group, view, view.slot, join.as_damage(copies[key]), faults, 0))
    return _as_now(found, seen, progress, beside)


def _as_now(found: Survey, told: Sequence[Seen], progress: Tell, beside: Collection[int]) -> list[Seen]:
    """The same with the packs that are named read again, and without small files that are whole by now."""

    def tell(now: Progress) -> None:
        progress("verify", now.done, now.total, now.drives)

    only: dict[tuple[int, int], set[int]] = {}
    for each in told:
        if not each.bag:
            only.setdefault((each.group.group, each.slot), set()).update(_named(each))
    bags = [id(each.view) for each in told if each.bag]
    checks = read_drives(found, state=None, progress=tell, only=only, beside=[*beside, *bags])
    now = {id(check.view): check for check in checks}
    seen = []
    for each in told:
        check = now.get(id(each.view))
        if check is None:
            seen.append(each)
            continue
        packs = {fault.path for fault in each.faults if fault.path and PACK_FILE.fullmatch(fault.path)}
        files = SmallFiles(found, each.group)
        rebuilt = each.view.card.rebuilt if each.view.card is not None else UNSET
        left = [
            fault
            for fault in each.faults
            if fault.path not in packs
            and not (fault.path in SMALL and files.is_good(each.view.drive, each.slot, fault.path, rebuilt))
        ]
        fresh = [join.fault_at(check.view, one.path, one.kind, one.detail, one.block) for one in check.faults]
        each = each._replace(faults=[*left, *fresh], away=check.away, unreached=check.unreached)  # noqa: PLW2901
        seen.append(each._replace(damage=check.damage, bytes_read=check.bytes_read))
    return seen


def _named(told: Seen) -> set[int]:
    """Stripes of the packs of a drive of which a report says something."""
    paths = [fault.path for fault in told.faults if fault.path]
    stripes = {int(match[2]) for path in paths if (match := PACK_FILE.fullmatch(path))} | set(told.damage)
    return {stripe for stripe in stripes if stripe < told.group.manifest.geometry.stripes}


def beyond(found: Survey, beside: Collection[int] = ()) -> list[Fault]:
    """What is wrong with mounts that are no drive of a trusted group, but for those in `beside`."""
    members = {id(view) for group in found.groups if group.trusted for view in group.views if view.slot is not None}
    members |= set(beside)
    return [join.fault(view, problem) for view in found.views if id(view) not in members for problem in view.problems]


def met(found: Survey) -> list[Fault]:
    """What the survey alone saw to be wrong: small files, and mounts that are no drive; no pack was looked into."""
    return [join.fault(view, problem) for view in found.views if not is_bag(view) for problem in view.problems]
