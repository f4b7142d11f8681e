"""Verify on hosts: each drive is read where it stands, and one report says what all of them come to.

    look everywhere (placed.py) -> a unit of verify a host (placed_pass.py) -> groups, judged where drives of them stand

What holds: the verdict is that of `verify` with all drives in one host, group by group from the same records. While a
drive of a host that died is owed, or may be, `final` is not believed. In one process (placement.HERE) this is
`verify`, and nothing else.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from sealift.drives import locations
from sealift.errors import BadInput
from sealift.reading.survey import survey, survey_nothing
from sealift.stages import verify as verifying
from sealift.stages import verify_join as join
from sealift.stages.placed import Question, look_everywhere
from sealift.stages.placed_pass import Events, Pass, Unit
from sealift.stages.placement import HERE, Ears
from sealift.stages.verify_report import VerifyReport, read_part
from sealift.stages.verify_state import Relayed, State, default_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.reading.origin_copies import OriginCopies
    from sealift.reading.survey import Survey
    from sealift.stages.placement import Host, Placement, Wire
    from sealift.stages.verify import Progress
    from sealift.stages.verify_join import Judged
    from sealift.stages.verify_report import HostRow
    from sealift.stages.verify_state import Row

    Parts = Sequence[tuple[str, bytes]]


class _Part(NamedTuple):
    """What one host is given to read."""

    mounts: list[str]
    question: Question
    known: list[Row]


def _read(part: _Part, wire: Wire) -> VerifyReport:
    """On a host."""
    return verifying.verify(
        part.mounts,
        allowed=part.question.allowed,
        seal=part.question.seal,
        shipment=part.question.shipment,
        memory=Relayed(part.known, wire.send),
        progress=lambda now: wire.tell(("verify", now.done, now.total)),
    )


def verify_on(
    place: Placement,
    places: Sequence[str],
    *,
    allowed: AllowedSigners,
    seal: dict[str, bytes] | None = None,
    shipment: str | None = None,
    parts: Parts = (),
    final: bool = False,
    state: str | None = None,
    again: bool = False,
    origin: OriginCopies | None = None,
    events: Events | None = None,
) -> VerifyReport:
    """`verify` where the drives are; parameters and errors as there.

    On a cluster nobody looks at the copies of `origin`; `places` are folders of each host (placed.folders; none:
    its disks), and NotAllHere is raised where no drive stands on any of them, or none of them comes to its end.
    """
    events = events or Events()
    if place.here:
        given: dict[str, Any] = {"allowed": allowed, "seal": seal, "shipment": shipment, "parts": parts, "final": final}
        given |= {"state": state, "again": again, "origin": origin}

        def work(_: None, wire: Wire) -> VerifyReport:
            return verifying.verify(places, progress=wire.tell, **given)

        ((_, answer),) = place.run(work, {HERE: None}, _Here(events))
        assert isinstance(answer, VerifyReport), "here, errors are raised"
        return answer
    begun = time.monotonic()
    check_folders(places)
    survey_nothing(allowed=allowed, seal=seal, shipment=shipment)  # a seal that does not hold is refused at once
    standing = look_everywhere(place, Question(list(places), allowed, seal, shipment), events.notice)
    asked = Question(list(places), allowed, standing.seal, standing.shipment)
    found = survey_nothing(allowed=allowed, seal=asked.seal, shipment=asked.shipment)
    join.refuse_other_seals(found, [(name, read_part(data, name)) for name, data in parts])
    with State(state or default_path(meant(asked)), again=again) as memory:

        def part(unit: Unit, known: list[Row], _others: Sequence[Unit]) -> _Part:
            return _Part([stand.mount for stand in unit.stands], asked, known)

        run = Pass(
            place, lambda: look_everywhere(place, asked, events.notice, first=False).hosts, memory, events, _read, part
        )
        run.run(standing.hosts, standing.left_out)
        report = _report(run, place, asked, parts, begun, final=final)
        if all(row.state == "done" for row in report.hosts):
            memory.forget()
    if seal is None and report.seal is not None:
        report.seal.source = "drives"
    return report


def check_folders(places: Sequence[str]) -> None:
    """BadInput for what is no folder of a host: what stands at an address is nobody's to place."""
    for each in places:
        if locations.is_store(each) or locations.is_list(each):
            raise BadInput(
                f"{each} is no folder of the hosts", hint="what stands at addresses is read from here, without --ray"
            )


def meant(asked: Question) -> str:
    """The shipment in question; "unknown" where nobody says one."""
    return survey_nothing(allowed=asked.allowed, seal=asked.seal, shipment=asked.shipment).shipment or "unknown"


class _Here(Ears):
    """Of a pass in this process."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def heard(self, host: Host, unit: int, progress: Progress, items: list[Any]) -> None:
        """As of Ears."""
        del host, unit, items
        self._events.progress("verify", progress, 1)


def _report(run: Pass, place: Placement, asked: Question, parts: Parts, begun: float, *, final: bool) -> VerifyReport:
    """What all hosts found, and what the `parts` of others say, as one."""
    rows = run.rows()
    final = final and not any(row.must_return for row in rows)
    read: list[tuple[Unit, VerifyReport]] = [(unit, unit.answer) for unit in run.units if unit.done]
    found = survey_nothing(allowed=asked.allowed, seal=asked.seal, shipment=asked.shipment)
    every = _fitting(found, [(join.words(unit.host.name), msgspec.json.encode(each)) for unit, each in read], rows)
    every += parts
    known, reports = join.cases(found, every)
    judged = {number: case.judged(final=final) for number, case in known.items()}
    judged |= _judged(run, place, asked, every, final=final)
    report = verifying.assemble(found, [], reports, [judged[number] for number in sorted(judged)], begun, final)
    report.hosts = rows
    report.bytes_read = sum(each.bytes_read for _, each in read)
    report.bytes_resumed = sum(each.bytes_resumed for _, each in read)
    report.read_from = "cache" if any(each.read_from == "cache" for _, each in read) else "medium"
    signed = next((each.signature for _, each in read if each.signature.signer), report.signature)
    report.signature = msgspec.structs.replace(signed, ok=report.signature.ok)
    return report


def _fitting(found: Survey, parts: Parts, rows: list[HostRow]) -> list[tuple[str, bytes]]:
    """The reports that go with the seal and with each other; of others it is told that they do not."""
    fitting: list[tuple[str, bytes]] = []
    for part in parts:
        try:
            join.cases(found, [*fitting, part])
        except BadInput as error:
            row = next(row for row in rows if row.state == "done" and row.name == part[0])
            row.state, row.why = "failed", join.words(f"what stands there does not go with the others: {error}")
            row.owed = row.drives
        else:
            fitting.append(part)
    return fitting


class _Case(NamedTuple):
    """What a host is to judge: these groups, by its drives' records and all reports."""

    mounts: list[str]
    question: Question
    parts: Parts
    groups: set[int]
    final: bool


def _judged(run: Pass, place: Placement, asked: Question, parts: Parts, *, final: bool) -> dict[int, Judged]:
    """Every group as that host judges it that has most drives of it: it knows the lengths of their packs.

    What a host does not answer that is lost by now, is left to the reports, which know no lengths.
    """
    best: dict[int, tuple[int, Unit]] = {}
    for unit in run.units:
        for group, count in Counter(stand.group for stand in unit.stands).items():
            if unit.done and group is not None and count > best.get(group, (0, unit))[0]:
                best[group] = count, unit
    bare = [(name, msgspec.json.encode(msgspec.json.decode(data) | {"faults": []})) for name, data in parts]
    cases: dict[Host, _Case] = {}
    for group, (_, unit) in best.items():
        case = cases.setdefault(unit.host, _Case([], asked, bare, set(), final))
        case.mounts.extend(stand.mount for stand in unit.stands if stand.mount not in case.mounts)
        case.groups.add(group)
    answers = place.run(_judge, cases, Ears())
    return {each.report.group: each for _, answer in answers if isinstance(answer, list) for each in answer}


def _judge(case: _Case, _wire: Wire) -> list[Judged]:
    """On a host: no pack is read."""
    asked = case.question
    found = survey(case.mounts, allowed=asked.allowed, seal=asked.seal, shipment=asked.shipment)
    known, _ = join.cases(found, case.parts)
    return [each.judged(final=case.final) for number, each in known.items() if number in case.groups]
