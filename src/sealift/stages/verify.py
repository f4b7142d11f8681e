"""Verify: every byte of every drive against what was signed, all drives at once, one verdict.

No key is needed.

What holds of a verdict: `intact` only if every drive of every group that the seal names was read to its last
byte, in this run, in an earlier one whose files have not changed since, or on another host (--part), and
nothing was wrong; another shipment's drive is named, and takes nothing from that.
`recoverable`: something was wrong or is gone, and what is left gives every byte. `lost`:
some byte cannot be had, whatever the drives that were not seen hold, and those in the place of which one that was
rebuilt stands; with `final`, these count as lost.
`unseen`: such a byte may come with one of them; or a drive is in no mount and no part, or no host that has it gave all
of it, or it was only inspected there, or there is no seal, so that nobody can say that this is all. Where every drive
was seen whole somewhere, a location beside them that did not answer is a notice. Every fault is collected; nothing on a
drive is changed.

    survey -> a thread a drive (verify_read.py) -> join with other hosts (verify_join.py) -> verdict (verify_verdict.py)
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from sealift.errors import BadInput, Interrupted
from sealift.formats import manifest as mf
from sealift.reading.survey import refuse_others, survey
from sealift.stages import verify_bags
from sealift.stages import verify_join as join
from sealift.stages.verify_read import DriveCheck, Stopped
from sealift.stages.verify_report import MAX_FAULTS, Fault, Report, VerifyReport, VerifyState, of_ours
from sealift.stages.verify_state import State, default_path
from sealift.trade.receipt import TIME

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from sealift.drives.base import Drive
    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.reading.origin_copies import OriginCopies
    from sealift.reading.survey import Survey
    from sealift.stages.verify_join import Judged
    from sealift.stages.verify_report import Present

POLL = 0.2  # seconds between looks at the threads
FLUSH = 5.0  # seconds between writes of the state


class Progress(NamedTuple):
    """Bytes done of all that there are, over all drives and by mount; done in earlier runs counts."""

    done: int
    total: int
    drives: dict[str, int]


def verify(
    places: Sequence[str | Drive],
    *,
    allowed: AllowedSigners,
    seal: dict[str, bytes] | None = None,
    shipment: str | None = None,
    parts: Sequence[tuple[str, bytes]] = (),
    final: bool = False,
    state: str | None = None,
    remember: bool = True,
    again: bool = False,
    memory: State | None = None,
    origin: OriginCopies | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> VerifyReport:
    """Read every byte of every drive at `places` and give the verdict.

    `seal` are the files of a seal sent ahead; `parts` names and bytes of other hosts' reports; `final`: no
    more drives will come. What was found good is remembered in the file `state` (default: in the user's state
    folder) until the pass has ended, unless `remember` is false; `again` forgets it first. `origin`: copies of
    indexes, for those that no drive has. With a `memory` in its place
    this is one host's part of a pass: that its drives are another shipment's is told in the report, as with `parts`.
    Raises BadInput, Refused when the seal given does not hold, and Interrupted on Ctrl-C; the same call then goes on.
    """
    begun = time.monotonic()
    found = survey(places, allowed=allowed, seal=seal, shipment=shipment)
    if not parts and memory is None:
        refuse_others(found)
    known, reports = join.cases(found, parts)
    join.refuse_other_seals(found, reports)
    if not known and all(view.standing == "empty" for view in found.views):
        raise BadInput(
            "none of these mounts holds a drive of sealift: " + ", ".join(view.mount for view in found.views[:10]),
            hint="mount the drives, and give the folders in which their sealift/ folder is",
        )
    path = (state or default_path(found.shipment or "unknown")) if remember else None
    checks = read_drives(found, state=path, again=again, memory=memory, progress=progress)
    for check in checks:
        entry = _entry(found, check, checks)
        known[check.group.group].copies.setdefault(check.slot, []).insert(0, entry)
    if origin is not None:
        join.note_spares(known, origin)
    return assemble(
        found, checks, reports, [case.judged(final=final) for _, case in sorted(known.items())], begun, final
    )


def assemble(
    found: Survey,
    checks: list[DriveCheck],
    reports: Sequence[tuple[str, Report]],
    groups: Sequence[Judged],
    begun: float,
    final: bool,
) -> VerifyReport:
    """The report of drives that were read here (`checks`) and on other hosts (`reports`), group by group."""
    faults, omitted = _faults(found, checks, reports)
    state = _state(found, groups, reports, faults, final=final)
    return VerifyReport(
        shipment=found.shipment,
        state=state,
        signature=join.signature(found, reports),
        seal=join.seal_report(found, reports),
        groups=[each.report for each in groups],
        groups_total=join.groups_total(found, reports),
        drives_total=join.drives_total(found, reports),
        faults=faults[:MAX_FAULTS],
        faults_omitted=omitted + max(0, len(faults) - MAX_FAULTS),
        notices=_notices(found, checks, reports) + (join.not_needed(faults) if state == "intact" else []),
        bytes_read=sum(check.bytes_read for check in checks),
        bytes_resumed=sum(check.bytes_resumed for check in checks),
        read_from="cache" if any(check.from_cache for check in checks) else "medium",
        final=final,
        seconds=time.monotonic() - begun,
    )


def _entry(found: Survey, check: DriveCheck, checks: list[DriveCheck]) -> Present:
    """What is said of a drive that was read: what is wrong with it, when, and against which seal."""
    entry = join.present_checked(check, verified=True)
    if entry.unreached is not None:
        return entry
    assert check.read_at is not None, "it was read to its end"
    listed = len(check.view.problems) + len(check.faults) + len(_conflict(check, checks))
    listed = listed if join.superseded(check, checks) is None else 1
    return msgspec.structs.replace(
        entry,
        read_at=check.read_at.strftime(TIME),
        read_from="network" if entry.at is not None else "cache" if check.from_cache else "medium",
        against=found.trusted.reference.seal.blake3 if found.trusted else None,
        faults=listed + check.omitted,
    )


def read_drives(
    found: Survey,
    *,
    state: str | None,
    again: bool = False,
    memory: State | None = None,
    progress: Callable[[Progress], object] | None = None,
    only: Mapping[tuple[int, int], AbstractSet[int]] | None = None,
    beside: Collection[int] = (),
) -> list[DriveCheck]:
    """Read every drive of every trusted group to its last byte; the checks hold what was found.

    `state`: the file that remembers what was found good until the pass has ended, or None; or a `memory` in its place.
    `only`: (group, slot) -> stripes, to read these packs and nothing else. `beside`: ids of views that are passed over.
    Raises Interrupted.
    """
    checks = [
        DriveCheck(view, group, view.slot)
        for group in found.groups
        if group.trusted
        for view in group.views
        if view.slot is not None and id(view) not in beside
    ]
    if only is not None:
        for check in checks:
            check.only = only.get((check.group.group, check.slot), frozenset())
    with memory or State(state if checks else None, again=again) as remembered:
        run_checks(checks, remembered, progress)
        verify_bags.tell_mixed(checks)
        verify_bags.tell_no_files(found)
        whole = {(check.group.group, check.slot) for check in checks if check.away is None}
        if all((check.group.group, check.slot) in whole for check in checks):
            remembered.forget()  # else the pass has not ended: the same command goes on
    return checks


def run_checks(checks: Sequence[DriveCheck], memory: State, progress: Callable[[Progress], object] | None) -> None:
    """Read these side by side, a thread a drive; this one tells of progress and writes the state. Interrupted."""
    if not checks:
        return
    stop = threading.Event()
    flushed = time.monotonic()
    with ThreadPoolExecutor(max_workers=len(checks), thread_name_prefix="verify") as pool:
        threads = [pool.submit(check.run, memory, stop) for check in checks]
        try:
            pending = set(threads)
            while pending:
                done, pending = wait(pending, timeout=POLL)
                for thread in done:
                    thread.result()
                if progress is not None:
                    progress(_progress(checks))
                if time.monotonic() - flushed > FLUSH:
                    memory.flush()
                    flushed = time.monotonic()
        except BaseException as error:
            stop.set()
            wait(threads)
            memory.flush()
            if isinstance(error, KeyboardInterrupt | Stopped):
                kept = _kept(checks) if memory.path else "nothing was written so far"
                raise Interrupted(f"interrupted; {kept}", hint="run the same command again") from error
            raise


UNKEPT = "nothing that is told of files there proves that they stayed the same"


def _kept(checks: Sequence[DriveCheck]) -> str:
    """What of an interrupted pass counts in the next one."""
    unkept = [check for check in checks if check.bytes_unkept]
    if not unkept:
        return "what was found good so far is remembered"
    return f"what was found good so far is remembered, but for that of {_named(unkept)}, which is read again: {UNKEPT}"


def _named(checks: Sequence[DriveCheck]) -> str:
    return ", ".join(check.view.mount for check in checks[:5]) + (" and others" if len(checks) > 5 else "")


def _progress(checks: Sequence[DriveCheck]) -> Progress:
    return Progress(
        sum(check.bytes_done for check in checks),
        sum(check.bytes_total for check in checks),
        {check.view.mount: check.bytes_done for check in checks},
    )


def _faults(found: Survey, checks: list[DriveCheck], reports: Sequence[tuple[str, Report]]) -> tuple[list[Fault], int]:
    """Every fault, drive by drive in the order of the mounts, then those of other hosts.

    And how many were dropped.
    """
    by_view = {id(check.view): check for check in checks}
    faults: list[Fault] = []
    for view in found.views:
        check = by_view.get(id(view))
        if check is not None and (old := join.superseded(check, checks)) is not None:
            faults.append(old)
            continue
        faults += [join.fault(view, problem) for problem in view.problems]
        if check is not None:
            faults += [join.fault_at(view, each.path, each.kind, each.detail, each.block) for each in check.faults]
            faults += _conflict(check, checks)
    faults += join.part_faults(reports)
    omitted = sum(check.omitted for check in checks) + sum(report.faults_omitted for _, report in reports)
    return faults, omitted


def _rivals(check: DriveCheck, checks: list[DriveCheck]) -> list[DriveCheck]:
    """Other drives here that are in the same slot of the same group; what stands apart is not in it."""
    own = [each for each in checks if not each.view.apart]
    return [
        other
        for other in own
        if check in own and other is not check and (other.group.group, other.slot) == (check.group.group, check.slot)
    ]


def _conflict(check: DriveCheck, checks: list[DriveCheck]) -> list[Fault]:
    """A drive that shares its slot with another, and does not hold what was signed for it."""
    rivals = _rivals(check, checks)
    if not rivals or not check.damage:
        return []
    mounts = ", ".join(other.view.mount for other in rivals)
    detail = f"in the same slot as {mounts}, with other contents than were signed"
    return [join.fault_at(check.view, b"drive.json", "conflict", detail, None)]


def _state(
    found: Survey, groups: Sequence[Judged], reports: Sequence[tuple[str, Report]], faults: list[Fault], *, final: bool
) -> VerifyState:
    absent = any(each.absent for each in groups)
    unknown = join.groups_total(found, reports) > len(groups)
    if any(each.lost for each in groups) or (unknown and final):
        return "lost"
    if found.trusted is None or unknown or not all(each.verified for each in groups):
        return "unseen"
    if not final and absent:  # what was not reached beside it is a location too many, or a copy
        return "unseen"
    return "recoverable" if absent or of_ours(faults) else "intact"


def _notices(found: Survey, checks: list[DriveCheck], reports: Sequence[tuple[str, Report]]) -> list[str]:
    notices = list(found.notices)
    if found.trusted is None:
        notices.append(join.NO_SEAL)
        notices += [f"a seal on a drive does not hold: {why}" for why in found.seal_failures]
    notices += join.seal_notices(found)
    if again := [check for check in checks if check.bytes_again]:
        size, where = sum(check.bytes_again for check in again), _named(again)
        notices.append(f"{size:,} bytes of {where} were read before an interruption and again in this run: {UNKEPT}")
    for check in checks:
        rivals = _rivals(check, checks)
        good = [each for each in rivals if not each.damage and checks.index(each) < checks.index(check)]
        if good and not check.damage and join.superseded(check, checks) is join.superseded(good[0], checks) is None:
            notices.append(f"{check.view.mount} is a good copy of {check.view.name}, as is {good[0].view.mount}")
        if check.view.apart:
            continue
        serial, row = check.view.drive.serial(), check.group.manifest.drives[check.slot].serial
        if (note := check.view.rebuilt) is not None and mf.MANIFEST in check.view.small:
            notices.append(f"{check.view.mount}: says that it is {check.view.name}, rebuilt at {note.at}")
        if serial is not None and serial != row and os.path.ismount(check.view.mount):
            notices.append(f"{check.view.mount}: {check.view.name} is on medium {serial}, and was packed on {row}")
    for name, report in reports:
        inspected = [each.drive for group in report.groups for each in group.present if not each.verified]
        if inspected:
            notices.append(f"{name}: not verified there, only inspected: {', '.join(inspected[:50])}")
        notices += [f"{name}: {notice}" for notice in report.notices[:100]]
    return [join.words(notice) for notice in notices]
