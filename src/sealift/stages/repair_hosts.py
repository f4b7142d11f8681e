"""Repair on hosts: each drive is read and mended by the host where it stands, from drives there and in other hosts.

    look everywhere (placed.py) -> a unit of repair a host (placed_pass.py) -> one answer

What holds: a drive is written by its own host alone, and what `repair` promises of it holds there. Drives of the group
in other hosts are read as anything is read in another host: over HTTP, or from a bucket, by the addresses and
locations files that are given among the places. Each host opens these itself, so that no token goes through Ray.
Where drives stand that cannot be read from a host, what would take them is left, and is not called lost. Of two drives
in one slot on two hosts, none that is damaged is written.

In one process (placement.HERE) this is `repair`, and nothing else. What is not here: --onto, which is one host's work.
"""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from sealift.errors import BadInput
from sealift.formats.manifest import drive_id
from sealift.reading.survey import survey_nothing
from sealift.stages import repair as repairing
from sealift.stages import repair_look as looking
from sealift.stages import repair_plan as planning
from sealift.stages.placed import Question, is_read, look_everywhere
from sealift.stages.placed_pass import Events, Pass
from sealift.stages.placement import HERE, Ears
from sealift.stages.repair_plan import MAX_LISTED, Elsewhere, LostBlocks, RepairReport
from sealift.stages.repair_plan import Events as OneEvents
from sealift.stages.verify import Progress
from sealift.stages.verify_hosts import meant
from sealift.stages.verify_join import words
from sealift.stages.verify_report import VerifyReport, read_part
from sealift.stages.verify_state import Relayed, State, default_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.formats.seal import Seal
    from sealift.reading.origin_copies import OriginCopies
    from sealift.stages.placed_pass import Unit
    from sealift.stages.placement import Host, Placement, Wire
    from sealift.stages.verify_state import Row

    Tell = tuple[str, int, int | None, dict[str, int]]


class _Part(NamedTuple):
    """What one host is given to mend, and what it is told of the others; `near` are drives that it was given before."""

    mounts: list[str]
    near: list[str]
    question: Question
    stands: dict[int, dict[int, str]]
    report: tuple[str, bytes] | None
    dry_run: bool
    known: list[Row]


def _mend(part: _Part, wire: Wire) -> RepairReport:
    """On a host."""
    asked = part.question
    read = [os.path.expanduser(each) for each in asked.patterns if is_read(each)]
    read += filter(os.path.isdir, part.near)
    return repairing.repair(
        part.mounts,
        allowed=asked.allowed,
        seal=asked.seal,
        shipment=asked.shipment,
        report=part.report,
        dry_run=part.dry_run,
        state=Relayed(part.known, wire.send),
        elsewhere=Elsewhere(read, part.stands),
        events=OneEvents(progress=lambda step, done, total, _: wire.tell((step, done, total or done))),
    )


def repair_on(
    place: Placement,
    places: Sequence[str],
    *,
    allowed: AllowedSigners,
    seal: dict[str, bytes] | None = None,
    shipment: str | None = None,
    onto: Sequence[str] = (),
    report: tuple[str, bytes] | None = None,
    dry_run: bool = False,
    allow_same_filesystem: bool = False,
    origin: OriginCopies | None = None,
    state: str | None = None,
    events: Events | None = None,
) -> RepairReport:
    """`repair` where the drives are; parameters and errors as there, and as of verify_on.

    On a cluster nobody looks at the copies of `origin`; addresses and paths of locations files among `places` are
    where each host reads drives of others, and BadInput is raised for `onto`. A `report` of verify must be
    verify_on's, or of one host whose mounts it names.
    """
    events = events or Events()
    if place.here:
        given: dict[str, Any] = {"allowed": allowed, "seal": seal, "shipment": shipment, "onto": onto, "report": report}
        given |= {"dry_run": dry_run, "state": state, "allow_same_filesystem": allow_same_filesystem}
        given["origin"] = origin

        def work(_: None, wire: Wire) -> RepairReport:
            told = OneEvents(lambda *now: wire.tell(now), events.notice)
            return repairing.repair(places, events=told, **given)

        ((_, answer),) = place.run(work, {HERE: None}, _Here(events))
        assert isinstance(answer, RepairReport), "here, errors are raised"
        return answer
    if onto:
        raise BadInput(
            "--onto is one host's work, and --ray places that of many",
            hint="on the host of the new drive: sealift repair LOCATIONS --onto MNT, with the locations file of the"
            " others (`sealift fleet --out`)",
        )
    begun = time.monotonic()
    scope = looking.scope_of(report)
    whole = read_part(report[1], report[0]) if report is not None and scope == "report" else None
    survey_nothing(allowed=allowed, seal=seal, shipment=shipment)
    standing = look_everywhere(place, Question(list(places), allowed, seal, shipment), events.notice)
    asked = Question(list(places), allowed, standing.seal, standing.shipment)
    with State(state or default_path(meant(asked))) as memory:

        def part(unit: Unit, known: list[Row], others: Sequence[Unit]) -> _Part:
            stands: dict[int, dict[int, str]] = {}
            for other in others:
                for stand in other.stands:
                    if stand.group is not None and stand.slot is not None:
                        stands.setdefault(stand.group, {})[stand.slot] = f"{stand.name} on {other.host.name}"
            own = report if whole is None or report is None else (report[0], _part_of(whole, unit.host))
            return _Part([stand.mount for stand in unit.stands], run.near(unit), asked, stands, own, dry_run, known)

        run = Pass(
            place, lambda: look_everywhere(place, asked, events.notice, first=False).hosts, memory, events, _mend, part
        )
        run.run(standing.hosts, standing.left_out)
        answer = _joined(run, scope)
        _tell_absent(answer, run, survey_nothing(allowed=allowed, seal=standing.seal).seal, report)
        if all(row.state == "done" for row in answer.hosts):
            memory.forget()
    answer.seconds = time.monotonic() - begun
    return answer


def _part_of(report: Any, host: Host) -> bytes:
    """What a report of all hosts says of one, as that host would have said it."""
    name = words(host.name)
    if not isinstance(report, VerifyReport) or not report.hosts:
        return msgspec.json.encode(report)
    groups = [
        msgspec.structs.replace(
            group, present=[msgspec.structs.replace(each, part=None) for each in group.present if each.part == name]
        )
        for group in report.groups
    ]
    faults = [msgspec.structs.replace(each, part=None) for each in report.faults if each.part == name]
    return msgspec.json.encode(msgspec.structs.replace(report, groups=groups, faults=faults, hosts=[]))


class _Here(Ears):
    """Of a repair in this process."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def heard(self, host: Host, unit: int, progress: Tell, items: list[Any]) -> None:
        """As of Ears."""
        del host, unit, items
        step, done, total, drives = progress
        self._events.progress(step, Progress(done, total or 0, drives), 1)


def _tell_absent(answer: RepairReport, run: Pass, seal: Seal | None, report: tuple[str, bytes] | None) -> None:
    """Groups of which no drive stands on any host, and what of them a report names: nobody looked at it."""
    here = {stand.group for unit in run.units for stand in unit.stands if stand.group is not None}
    answer.unseen = looking.named_away(report, here)
    if seal is not None:
        planning.tell_absent([group for group in seal.groups if group.group not in here], answer)
        _settle_waits(answer, {group.group: group.parity for group in seal.groups})
    answer.state = repairing.state_of(answer)


def _settle_waits(answer: RepairReport, parity: dict[int, int]) -> None:
    """What hosts wait for from each other is lost where more of them lack a block than parity holds.

    Each has looked at its own drives, so that it is not the way to them that is at fault.
    """
    lacking, kept = [*answer.waits, *answer.lost], list[LostBlocks]()
    for each in answer.waits:
        same = [other for other in lacking if (other.group, other.stripe) == (each.group, each.stripe)]
        ends = {end for other in same for end in (other.first, other.last + 1)}
        cuts = sorted({each.first, each.last + 1, *(end for end in ends if each.first < end <= each.last)})
        for first, after in itertools.pairwise(cuts):
            part = msgspec.structs.replace(each, first=first, last=after - 1)
            roles = {other.role for other in same if other.first <= first <= other.last}
            (answer.lost if len(roles) > parity[each.group] else kept).append(part)
    answer.waits = kept


def _joined(run: Pass, scope: str) -> RepairReport:
    """The answers of all hosts as one; a mount is HOST:MNT in it."""
    done = [(unit.host, unit.answer) for unit in run.units if unit.done]
    first = done[0][1]
    joined = RepairReport(shipment=first.shipment, dry_run=first.dry_run, scope=scope, hosts=run.rows())
    here = {drive_id(*stand.drive) for unit in run.units if unit.done for stand in unit.stands if stand.drive}
    for host, answer in done:
        for name in ("repaired_files", "rebuilt_blocks", "bytes_read", "bytes_written", "verified_bytes"):
            setattr(joined, name, getattr(joined, name) + getattr(answer, name))
        for name in ("repaired", "removed", "left", "in_the_way", "unwritable", "unreadable", "failing", "away"):
            rows = [msgspec.structs.replace(each, mount=f"{host.name}:{each.mount}") for each in getattr(answer, name)]
            setattr(joined, name, [*getattr(joined, name), *rows][:MAX_LISTED])
        if joined.signature is None or joined.signature.ok:
            joined.signature = answer.signature
        joined.lost += answer.lost
        joined.waits += answer.waits
        joined.gone += [each for each in answer.gone if each not in joined.gone]
        joined.short = sorted({*joined.short, *answer.short})
        joined.certain = sorted({*joined.certain, *answer.certain})
        joined.missing += [each for each in answer.missing if each not in {*joined.missing, *here}]
        joined.replaced += [each for each in answer.replaced if each not in joined.replaced]
        joined.notices += [f"{host.name}: {notice}" for notice in answer.notices]
    joined.state = repairing.state_of(joined)
    return joined
