"""What inspect and verify say of each drive and mount: a line each, by group, and what is wrong there.

Words alone.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from sealift.cli import common
from sealift.cli.gone_words import is_nobodys, is_silent, unidentified
from sealift.drives.base import reason
from sealift.formats.sizes import counted
from sealift.reading.survey_views import SEVERAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sealift.stages.verify_report import Fault, GroupReport, InspectReport, Missing, Present, VerifyReport

PACKS, BLOCKS = "packs.bin", "blocks.bin"
NO_RECORD = "its record is damaged on every drive of the group that is here"  # as verify_read.py says it
AWAY = "unreached"  # its host, or the way there, does not give it: nothing is known of what it holds
ALL_SAID = {"superseded", "replaced"}  # a drive that is not the one that was signed: that is all there is to say of it


def show_groups(report: InspectReport | VerifyReport) -> None:
    """A line a drive, by group; then the mounts that are in no group, and what else is to be known."""
    shown: set[int] = set()
    for group in report.groups:
        _show_group(report, group, shown)
    rest = [fault for fault in report.faults if id(fault) not in shown]
    if rest:
        click.echo("other mounts:")
    far, several = far_of(report), of_several(report)
    for mount in dict.fromkeys(fault.mount for fault in rest):
        faults = [fault for fault in rest if fault.mount == mount]
        strange = any(fault.kind in {"foreign", "replayed"} for fault in faults)
        advice = ("LEAVE AWAY: " if mount in far else "PULL: ") if strange and not several else ""
        advice = "LEAVE AWAY: " if unidentified(faults) else advice
        click.echo(f"  {clean(mount)}: {advice}{_what(faults)}")
    if report.faults_omitted:
        click.echo(f"and {report.faults_omitted:,} more faults than can be listed")
    for notice in [each for each in report.notices if each not in several][: common.SHOWN]:
        click.echo(f"note: {clean(notice)}")


def _show_group(report: InspectReport | VerifyReport, group: GroupReport, shown: set[int]) -> None:
    total, readable = group.total_bytes, group.readable_bytes
    state = "all of it readable"
    if is_uncounted(group):
        state = f"and without {PACKS} nobody can say how much of it is whole"
    elif readable < total or group.missing:
        state = f"{common.size_text(readable)} readable, {common.size_text(group.recoverable_bytes)} recoverable"
    click.echo(f"group {group.group}: {group.data} + {group.parity} drives, {common.size_text(total)} of data, {state}")
    for drive in group.present:
        faults = [
            fault
            for fault in report.faults
            if fault.drive == drive.drive and (fault.mount == drive.mount) and fault.part == drive.part
        ]
        shown.update(id(fault) for fault in faults)
        if is_uncounted(group):
            untold = sum(_is_untold(fault) for fault in faults)
            faults = [fault for fault in faults if not _is_untold(fault)]
            grave = any(fault.kind in {"unreadable", "conflict"} for fault in faults)
            more = f"; {counted(untold, 'pack')} could not be checked" if untold else ""
            click.echo(f"  {_drive(drive, report.drives_total)}: {'PULL: ' if grave else ''}{_what(faults)}{more}")
            continue
        click.echo(f"  {_drive(drive, report.drives_total)}: {_advice(drive, faults)}")
    for row in group.missing:
        click.echo(f"  {_who(row, report.drives_total)}: NOT HERE")
    for name in group.gone:
        click.echo(clean(f"  {name}: NO DRIVE HERE HAS IT as it was signed, and every drive of this group carried it"))


def _advice(drive: Present, faults: Sequence[Fault]) -> str:
    if drive.bag:
        return f"NO GOOD: {_what(faults)}" if faults else "read" if drive.verified else "here, not read"
    if not faults:
        return "good" if drive.verified else "here, not read"
    if all(fault.kind == AWAY for fault in faults):
        return f"NOT READ: {_what(faults)}" if drive.unreached is not None else _what(faults)
    if all(fault.kind in ALL_SAID for fault in faults):
        return f"{'PULL' if drive.at is None else 'LEAVE AWAY'}: {clean(faults[0].detail)}"
    grave = drive.damage or any(fault.kind in {"unreadable", "conflict"} for fault in faults)
    if drive.in_bucket or drive.at is not None:
        return f"{'DAMAGED: ' if grave else 'mend: '}{_what(faults)}"
    return f"{'PULL: ' if grave else 'mend: '}{_what(faults)}"


def _what(faults: Iterable[Fault]) -> str:
    """Kinds with their counts, and the first place of each."""
    listed = list(faults)
    counts = Counter(fault.kind for fault in listed)
    parts = []
    for kind, count in counts.most_common():
        first = next(fault for fault in listed if fault.kind == kind)
        place = first.path if first.path is not None else f"base64 {first.path_b64}"
        place = place or "sealift/"
        block = "" if first.block is None else f" block {first.block}"
        more = f" and {count - 1:,} more" if count > 1 else ""
        told = kind == AWAY or is_no_drive(first) or is_silent(first) or is_nobodys(first)
        why = f" ({clean(why_of(first))})" if told else ""
        parts.append(f"{kind} {clean(place)}{block}{more}{why}")
    return "; ".join(parts)


def _drive(drive: Present, total: int) -> str:
    where = f"{drive.mount} ({drive.part})" if drive.part else drive.mount
    if drive.at is not None and drive.at != drive.mount:
        where += f" at {drive.at}"
    return f"{_who(drive, total)}, {clean(where)}"


def _who(drive: Present | Missing, total: int) -> str:
    """A drive as its label says it: one of all, never a part that looks like a whole."""
    carrier = drive.carrier or "no carrier"
    if getattr(drive, "bag", False):
        return clean(f"packs of {drive.drive}, and nothing else of it")
    if (own := getattr(drive, "predecessor", None)) is not None:
        return clean(f"in the place of {drive.drive}: serial {own}")
    return clean(f"{drive.drive} drive {drive.number} of {total}, serial {drive.serial}, {carrier}")


def _is_untold(fault: Fault) -> bool:
    """Whether a pack is named only because its record is gone: nothing is known to be wrong with it."""
    return fault.detail == NO_RECORD


def is_uncounted(group: GroupReport) -> bool:
    """Whether nobody can say what is whole: packs.bin is not to be had."""
    return PACKS in group.gone


def of_several(report: InspectReport | VerifyReport) -> list[str]:
    """Which of several sealed shipments this is about; nothing where that is clear."""
    return [notice for notice in report.notices if notice.startswith(SEVERAL)]


def far_of(report: InspectReport | VerifyReport) -> set[str]:
    """Those mounts that are addresses, or names for one, at which there is nothing to pull."""
    present = (drive for group in report.groups for drive in group.present)
    return {fault.mount for fault in report.faults if fault.at} | {drive.mount for drive in present if drive.at}


def is_no_drive(fault: Fault) -> bool:
    """Whether there is no drive of sealift in a place that was given."""
    return fault.kind == "missing" and fault.path == ""


def why_of(fault: Fault) -> str:
    """Why something was not reached, without what the line says besides."""
    return reason(fault.detail, fault.mount)


def clean(text: str) -> str:
    """Text from a drive, for a screen."""
    return common.path_text(text.encode(errors="replace"))
