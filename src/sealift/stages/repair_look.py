"""What is wrong on the drives that are here: read from them, or taken from a report that says where to look.

    nothing given            every drive is read (verify)
    a report of verify       what it names is read again on the drives that are here: it may be whole by now
    a report of health       the packs that it names are read on the drives that are here

What holds: only drives of trusted groups are Seen. A report says where to read, and is old: whatever it says, names and
lengths of all files are looked at (as inspect does), and what is not there, or not as long as was signed, is read as if
it were named. What else a pack holds that no report names, nobody has read now. A folder that holds packs and nothing
else (packs that were sent again) is a place to read from: it is no drive, nothing is wrong with it, and
nothing is written there. So is a drive that was replaced while packing. A medium of the signed serial number that has
most of its packs has lost the rest, and is mended. Nothing is written here at all.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec import UNSET

from sealift.drives.ranges import RemoteDrive
from sealift.errors import BadInput
from sealift.formats import manifest as mf
from sealift.formats import typed
from sealift.formats.manifest import PACK_FILE
from sealift.reading.health import Health, read_health
from sealift.reading.survey_views import BARE
from sealift.stages import verify_join as join
from sealift.stages.repair_files import SMALL, SmallFiles
from sealift.stages.verify import read_drives
from sealift.stages.verify_bags import MIXED, ONE_FOLDER
from sealift.stages.verify_read import DriveCheck
from sealift.stages.verify_report import MAX_PART, VerifyReport, read_part
from sealift.stages.verify_state import State, default_path

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from sealift.reading.survey import DriveView, GroupView, Survey
    from sealift.stages.verify import Progress
    from sealift.stages.verify_report import Fault
    from sealift.stages.verify_verdict import Damage

    Tell = Callable[[str, int, int | None, dict[str, int]], object]

OTHERS = {"foreign", "replayed", "two-manifests", "conflict", "undeclared"}  # such a drive is not ours to write
_SECOND = "{} is the same drive, lacks less, and is mended from what this has, too"


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
    met: Damage | None = None  # what is damaged besides, where a report named another pack of the stripe

    @property
    def lacks(self) -> Damage:
        """All of it that is known to be damaged."""
        return {**self.damage, **(self.met or {})}


class _Told(NamedTuple):
    """What a report says of one drive: stripes of the packs that it names, and its faults."""

    group: GroupView
    view: DriveView
    slot: int
    stripes: set[int]
    faults: list[Fault]


class _Typed(msgspec.Struct):
    type: str


def scope_of(report: tuple[str, bytes] | None) -> str:
    """What a look covers: `all`, or what a `report` of verify or one of `health` names. BadInput for another file."""
    if report is None:
        return "all"
    name, data = report
    try:
        kind = typed.decode(data, _Typed).type if len(data) <= MAX_PART else ""
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
    *,
    whole_stripes: bool = False,
) -> list[Seen]:
    """What is wrong on the drives here, but for views whose ids are in `beside`; Interrupted.

    `whole_stripes`: where a report names a pack, those of the other drives in its stripe are read too (`Seen.met`), for
    whoever says what can be had without trying it.
    """
    if report is None:
        return _from_reading(found, state, progress, beside)
    members = [
        (group, view, view.slot)
        for group in found.groups
        if group.trusted
        for view in group.views
        if view.slot is not None and id(view) not in beside
    ]
    told = _of_health if scope_of(report) == "health" else _of_verify
    marked = [(each[1].apart, each) for each in members]
    drives, bags = ([each for bag, each in marked if bag is kind] for kind in (False, True))
    aside = [*beside, *(id(view) for _, view, _ in bags)]
    seen = _as_now(found, told(found, report, drives), progress, aside, whole_stripes=whole_stripes)
    return seen + [Seen(group, view, slot, bag_damage(group, view), [], 0, bag=True) for group, view, slot in bags]


def bag_damage(group: GroupView, view: DriveView) -> Damage:
    """What a folder of packs does not have, by names and lengths."""
    assert view.slot is not None, "a bag has a slot"
    check = DriveCheck(view, group, view.slot)
    check.check_presence()
    return check.damage


def bag_notices(bag: Seen, missing: Collection[str]) -> list[str]:
    """What is said of a folder of packs that was read; `missing`: drives that are."""
    where = bag.view.mount
    what = f"packs of {bag.view.name} and nothing else of a drive"
    lines = [f"{where} holds {what}: they are read, and nothing is written there"]
    if bag.view.name in missing and 2 * len(bag.damage) < bag.group.manifest.geometry.stripes:
        lines.append(f"{where} holds most packs of {bag.view.name}. {BARE}")
    others = {fault.path for fault in bag.faults if fault.detail.endswith(MIXED)}
    lines += [f"{where}: {MIXED}: {ONE_FOLDER}"] if others else []
    spoilt = sorted({fault.path for fault in bag.faults if fault.path and fault.path not in others})
    if spoilt:
        more = f" and {len(spoilt) - 3:,} more" if len(spoilt) > 3 else ""
        lines.append(
            f"{where}: {', '.join(spoilt[:3])}{more} came otherwise than signed, and is of no use: what is still wanted"
            " of it has to be brought again"
        )
    return lines


def _from_reading(found: Survey, state: str | State | None, progress: Tell, beside: Collection[int]) -> list[Seen]:
    def tell(now: Progress) -> None:
        progress("verify", now.done, now.total, now.drives)

    if isinstance(state, State):
        return _seen(read_drives(found, state=None, memory=state, progress=tell, beside=beside))
    path = state or default_path(found.shipment or "unknown")
    return _seen(read_drives(found, state=path, progress=tell, beside=beside))


def _of_health(
    found: Survey, given: tuple[str, bytes], drives: Sequence[tuple[GroupView, DriveView, int]]
) -> list[_Told]:
    """The packs that reading met something amiss in."""
    health = read_health(given[1], given[0])
    _same_shipment(found, given[0], health)
    stripes: dict[tuple[int, int], set[int]] = {}
    for pack in health.packs:
        group = next((each for each in found.groups if each.group == pack.group), None)
        if group is not None and pack.role < group.manifest.n and pack.stripe < group.manifest.geometry.stripes:
            slot = mf.slot_of(pack.stripe, pack.role, group.manifest.n)
            stripes.setdefault((pack.group, slot), set()).add(pack.stripe)
    return [_Told(group, view, slot, stripes.get((group.group, slot), set()), []) for group, view, slot in drives]


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
    bags = {id(check) for check in checks if check.view.apart}
    drives = [check for check in checks if id(check) not in bags]
    seen = []
    for check in checks:
        bag = id(check) in bags
        met = [join.fault_at(check.view, each.path, each.kind, each.detail, each.block) for each in check.faults]
        if bag:
            faults = met
        elif (old := _not_written(check, drives)) is not None:
            faults = [old]
        else:
            faults = [*(join.fault(check.view, problem) for problem in check.view.problems), *met]
        read = check.bytes_read
        away = check.away, check.unreached
        seen.append(Seen(check.group, check.view, check.slot, check.damage, faults, read, bag, *away))
    return seen


def _not_written(check: DriveCheck, checks: Sequence[DriveCheck]) -> Fault | None:
    """Why a drive is not written, though it belongs here: another in its slot is whole, or is mended in its place.

    Of those that lack something it is the one that lacks least, of such the signed medium. The others are read, too.
    """
    if (old := join.superseded(check, checks)) is not None:
        return old
    same = [each for each in checks if (each.group, each.slot) == (check.group, check.slot)]
    if len(same) == 1 or not check.damage:
        return None
    serial = check.group.manifest.drives[check.slot].serial

    def rank(each: DriveCheck) -> tuple[bool, int, bool]:
        far = isinstance(each.view.drive, RemoteDrive)
        return far, len(each.damage), not mf.is_medium_of(each.view.drive.serial(), serial)

    best = min(same, key=rank)
    if best is check:
        return None
    return join.fault_at(check.view, b"drive.json", "superseded", _SECOND.format(best.view.mount), None)


def unlike(seen: Seen, elsewhere: Mapping[int, Mapping[int, str]]) -> Seen:
    """The same; a damaged drive of which another stands on another host (group -> slot -> where) is in conflict."""
    other = elsewhere.get(seen.group.group, {}).get(seen.slot)
    if other is None or not seen.damage or seen.bag:
        return seen
    detail = f"in the same slot as {other}; not written"
    return seen._replace(faults=[*seen.faults, join.fault_at(seen.view, b"drive.json", "conflict", detail, None)])


def _of_verify(
    found: Survey, given: tuple[str, bytes], drives: Sequence[tuple[GroupView, DriveView, int]]
) -> list[_Told]:
    """What another run of verify said of the drives that are here."""
    name, data = given
    report = read_part(data, name)
    if not isinstance(report, VerifyReport):
        raise BadInput(
            f"{name} is no report of verify: inspect does not look into packs",
            hint="sealift verify MNT... --json > REPORT.json, of these drives",
        )
    _same_shipment(found, name, report)
    copies = {(copy.drive, copy.mount): copy for group in report.groups for copy in group.present if copy.verified}
    told = []
    for group, view, slot in drives:
        key = (view.name, view.mount)
        if key not in copies:
            raise BadInput(
                f"{name}: says nothing of {view.name} at {view.mount}",
                hint="give a report that verify made with the same mounts, or leave --report away",
            )
        faults = [fault for fault in report.faults if (fault.drive, fault.mount) == key]
        stripes = _stripes(fault.path for fault in faults) | set(join.as_damage(copies[key]))
        told.append(_Told(group, view, slot, stripes, faults))
    return told


def _stripes(paths: Iterable[str | None]) -> set[int]:
    """Stripes of the packs among these."""
    return {int(match[2]) for path in paths if path and (match := PACK_FILE.fullmatch(path))}


def _as_now(
    found: Survey, told: Sequence[_Told], progress: Tell, aside: Collection[int], *, whole_stripes: bool
) -> list[Seen]:
    """What is so now: the packs that are named, or not there as signed, are read; small files that are whole are left.

    Views whose ids are in `aside` are not looked at.
    """

    def tell(now: Progress) -> None:
        progress("verify", now.done, now.total, now.drives)

    there = [DriveCheck(each.view, each.group, each.slot) for each in told]
    with ThreadPoolExecutor(max_workers=min(32, len(there) or 1)) as pool:
        list(pool.map(DriveCheck.check_presence, there))
    named: dict[tuple[int, int], set[int]] = {}
    for each, present in zip(told, there, strict=True):
        stripes = each.stripes | set(present.damage) | _stripes(os.fsdecode(fault.path) for fault in present.faults)
        total = each.group.manifest.geometry.stripes
        named.setdefault((each.group.group, each.slot), set()).update(one for one in stripes if one < total)
    only = named
    if whole_stripes:
        of_group = {group.group: set[int]().union(*_of(group, named)) for group in found.groups}
        only = {(each.group.group, each.slot): of_group[each.group.group] for each in told}
    now = read_drives(found, state=None, progress=tell, only=only, beside=aside)
    checks = {id(check.view): check for check in now}
    return [
        _seen_now(found, each, present, checks[id(each.view)], now, named[each.group.group, each.slot])
        for each, present in zip(told, there, strict=True)
    ]


def _of(group: GroupView, named: Mapping[tuple[int, int], set[int]]) -> list[set[int]]:
    return [stripes for (number, _), stripes in named.items() if number == group.group]


def _seen_now(
    found: Survey, told: _Told, present: DriveCheck, check: DriveCheck, checks: Sequence[DriveCheck], named: set[int]
) -> Seen:
    """One drive: what the survey met, what names and lengths told (`present`), and what was read of it (`check`)."""
    view, group = told.view, told.group
    fresh = [join.fault(view, problem) for problem in view.problems]
    fresh += [
        join.fault_at(view, each.path, each.kind, each.detail, each.block)
        for each in present.faults
        if os.fsdecode(each.path) in SMALL
    ]
    packs = [join.fault_at(view, each.path, each.kind, each.detail, each.block) for each in check.faults]
    fresh += [fault for fault in packs if not fault.path or _stripes([fault.path]) <= named]
    files = SmallFiles(found, group)
    rebuilt = view.rebuilt or UNSET
    twins = any(other.group is group and other.slot == told.slot and other is not check for other in checks)
    kept = []
    for fault in told.faults:
        if fault.kind == "conflict":
            continue  # as it is now is looked at below
        if fault.kind == "superseded":
            kept += [fault] if twins else []
        elif fault.kind in OTHERS:
            kept.append(fault)
        elif not _stripes([fault.path]) and fault.path not in {each.path for each in fresh}:
            whole = fault.path in SMALL and files.is_good(view.drive, told.slot, fault.path, rebuilt)
            kept += [] if whole else [fault]
    faults = [*kept, *fresh]
    if not any(fault.kind == "superseded" for fault in kept) and (old := _not_written(check, checks)) is not None:
        faults = [old]
    return Seen(
        group,
        view,
        told.slot,
        {stripe: runs for stripe, runs in check.damage.items() if stripe in named},
        faults,
        check.bytes_read,
        away=check.away or present.away,
        unreached={**present.unreached, **check.unreached},
        met={stripe: runs for stripe, runs in check.damage.items() if stripe not in named},
    )


def beyond(found: Survey, beside: Collection[int] = ()) -> list[Fault]:
    """What is wrong with mounts that are no drive of a trusted group, but for those in `beside`."""
    members = {id(view) for group in found.groups if group.trusted for view in group.views if view.slot is not None}
    members |= set(beside)
    return [join.fault(view, problem) for view in found.views if id(view) not in members for problem in view.problems]


def met(found: Survey) -> tuple[list[Fault], list[str]]:
    """What the survey alone saw to be wrong of small files and other drives; and a line for each place without a drive.

    Such a place gave nothing, and nothing is wrong with it; no pack was looked into.
    """
    faults = [join.fault(view, problem) for view in found.views if not view.apart for problem in view.problems]
    empty = [fault for fault in faults if fault.kind == "missing" and fault.path == ""]
    lines = [f"no drive of sealift is at {fault.mount}, which gave nothing: {fault.detail}" for fault in empty]
    return [fault for fault in faults if fault not in empty], lines
