"""What a report of verify cannot say: reports are not signed, and the receiver who signs a receipt answers for them.

What holds: `contradiction` names the first thing in a report that the report itself, or the seal, says otherwise; it
never objects to a report as verify made it, merged or of a cluster, for verify counts every byte that it reads. One
that was altered everywhere alike is beyond it: nobody can tell, which is why a person signs. docs/spec/receipt.md has
the rules by number.

What is not here: whether a reading counts (receive.py), and what a report may be at all (verify_report.py).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sealift.formats.sizes import counted
from sealift.stages.verify_report import VerifyReport, of_ours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.formats.seal import SealGroup
    from sealift.stages.verify_report import GroupReport, Present, Report


def contradiction(report: Report, sealed: Sequence[SealGroup]) -> str | None:
    """What of it cannot be as it says, in a sentence; None: nothing shows. Groups are those of the seal."""
    rows = {each.group: each for each in sealed}
    for group in report.groups:
        if group.group in rows and (why := _group(group, rows[group.group])):
            return f"group {group.group}: {why}"
    if not isinstance(report, VerifyReport):
        return None
    return _faults(report) or _state(report, len(rows)) or _bytes(report, rows)


def _group(group: GroupReport, sealed: SealGroup) -> str | None:
    """Rules 1 to 3."""
    total = sealed.totals.packed_bytes
    if group.total_bytes != total:
        return f"it has {group.total_bytes:,} bytes of data, and by the seal {total:,}"
    if max(group.readable_bytes, group.recoverable_bytes) > total:
        return "more bytes can be read or recovered than it has"
    here = {copy.drive for copy in group.present if not copy.apart}
    if both := sorted(here & {row.drive for row in group.missing}):
        return f"{both[0]} is present, and missing"
    alone = all(copy.part is None for copy in group.present)  # of parts, nobody adds up what each could read
    if alone and _clean(group, sealed) and group.readable_bytes < total:
        return f"every drive is as it was signed, and {group.readable_bytes:,} of {total:,} bytes can be read"
    return None


def _is_clean(copy: Present) -> bool:
    return copy.verified and not copy.damage and copy.faults == 0 and not copy.apart


def _clean(group: GroupReport, sealed: SealGroup) -> bool:
    return {copy.slot for copy in group.present if _is_clean(copy)} == set(range(sealed.data + sealed.parity))


def _faults(report: VerifyReport) -> str | None:
    """Rule 4: more faults of a reading are listed than it is said to have."""
    listed = Counter((fault.drive, fault.mount, fault.part) for fault in report.faults)
    for group in report.groups:
        for copy in group.present:
            found = listed[copy.drive, copy.mount, copy.part]
            if copy.faults is not None and found > copy.faults:
                return f"{copy.drive}: {copy.faults:,} faults, and {found:,} are listed"
    return None


def _state(report: VerifyReport, groups: int) -> str | None:
    """Rule 5."""
    if report.state == "intact" and (faults := of_ours(report.faults)):
        return f"it is intact, and {counted(len(faults), 'fault')} {'is' if len(faults) == 1 else 'are'} listed"
    whole = len(report.groups) == groups and all(
        group.trusted
        and {copy.slot for copy in group.present if not copy.apart} == set(range(group.data + group.parity))
        and all(copy.verified and not copy.damage and not copy.lacks for copy in group.present)
        for group in report.groups
    )
    if whole and report.seal is not None and report.seal.trusted and report.state in {"unseen", "lost"}:
        return f"it is {report.state}, and every drive was read and has all its bytes"
    return None


def _bytes(report: VerifyReport, rows: dict[int, SealGroup]) -> str | None:
    """Rule 6: what was read by this run or those that it went on with is less than the drives hold that it read."""
    own = {None, *(host.name for host in report.hosts)}
    least = 0
    for group in report.groups:
        sealed = rows.get(group.group)
        slots = {copy.slot for copy in group.present if _is_clean(copy) and copy.part in own}
        if sealed is None or not slots:
            continue
        away = sealed.data + sealed.parity - len(slots)
        everything = sealed.totals.packed_bytes + sealed.totals.parity_bytes
        # a parity pack is as long as the longest pack of its stripe, so no drive holds more than one of parity only
        most = sealed.totals.parity_bytes // sealed.parity if sealed.parity else everything
        least += max(0, everything - away * most)
    read = report.bytes_read + report.bytes_resumed
    if read < least:
        return f"{read:,} bytes were read, and the drives that were read to their end hold {least:,} at least"
    return None
