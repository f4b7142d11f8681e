"""What one host says of its drives, made of its inspect and of its reports of verify. Pure.

What holds: a drive counts as present only where inspect found it now and the caller saw it there (`seen`); it counts as
verified only where a report of verify read it in the same folder, under the same manifest. What either found damaged is
damaged. Whatever a report says of other drives is left away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from sealift.stages.verify_verdict import add_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sealift.stages.verify_report import Fault, GroupReport, InspectReport, Present, VerifyReport
    from sealift.stages.verify_verdict import Damage

Key = tuple[int, str]  # group, and the drive's id
MAX_FAULTS = 10_000  # of a host


class Verified(NamedTuple):
    """A report of verify, and when it was written."""

    report: VerifyReport
    at: str


class Merged(NamedTuple):
    """The host's report, and (group, drive, folder) -> when the drive was verified there."""

    report: InspectReport
    verified: dict[tuple[int, str, str], str]


def merge(inspected: InspectReport, verified: Sequence[Verified], seen: Mapping[str, Key]) -> Merged:
    """One report of a host; `seen` is folder -> drive, as the caller found the drives that the host serves."""
    times: dict[tuple[int, str, str], str] = {}
    groups = [_group(group, verified, seen, times) for group in inspected.groups]
    known = {(fault.mount, fault.path, fault.path_b64, fault.kind, fault.block) for fault in inspected.faults}
    faults: list[Fault] = list(inspected.faults)
    for each in verified:
        for fault in each.report.faults:
            place = (fault.mount, fault.path, fault.path_b64, fault.kind, fault.block)
            if fault.part is None and fault.mount in seen and place not in known:
                known.add(place)
                faults.append(fault)
    report = msgspec.structs.replace(
        inspected,
        groups=[group for group in groups if group.present],
        faults=faults[:MAX_FAULTS],
        faults_omitted=inspected.faults_omitted + max(0, len(faults) - MAX_FAULTS),
    )
    return Merged(report, times)


def _group(
    group: GroupReport, verified: Sequence[Verified], seen: Mapping[str, Key], times: dict[tuple[int, str, str], str]
) -> GroupReport:
    same = [
        (other, each.at)
        for each in verified
        for other in each.report.groups
        if (other.group, other.manifest) == (group.group, group.manifest)
    ]
    present, trusted = [], group.trusted
    for drive in group.present:
        if drive.part is not None or seen.get(drive.mount) != (group.group, drive.drive):
            continue
        for other, at in same:
            found = next((each for each in other.present if _is_same(each, drive)), None)
            if found is not None and found.verified and other.trusted:
                times[group.group, drive.drive, drive.mount] = at
                drive, trusted = _with(drive, found), True  # noqa: PLW2901 -- what is known of it grows
        present.append(drive)
    return msgspec.structs.replace(group, present=present, trusted=trusted)


def _is_same(one: Present, other: Present) -> bool:
    same_folder = one.mount.rstrip("/") == other.mount.rstrip("/")
    return one.part is None and same_folder and (one.drive, one.serial) == (other.drive, other.serial)


def _with(drive: Present, verified: Present) -> Present:
    runs = sorted([*drive.damage, *verified.damage])
    damage: Damage = {}
    for stripe, first, last in runs:
        add_run(damage.setdefault(stripe, []), first, last)
    both = [(stripe, first, last) for stripe, found in sorted(damage.items()) for first, last in found]
    return msgspec.structs.replace(drive, verified=True, damage=both)
