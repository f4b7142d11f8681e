"""Look at all storage hosts of a shipment: which drives stand where, and whether all of them together are enough.

    every host: its list of drives   -> of the shipment's drives, the small files: reading/survey.py judges them here
                its own inspect      -> and its reports of verify: merge.py
                                                  all hosts' -> stages/verify_join.py, and inspect's verdict

What holds: which drive is which, and whose signature it bears, is judged here, from the files that the host serves;
that packs are there and were read is the host's word, as a report that is handed over is. A host that does not answer,
answers otherwise, or says what cannot be, is named with what it did, and the others are used. Everything ends: each
answer has a limit and a deadline (client.py), and a host that is late after all is left behind.

What is not here: printing; reading a shipment.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast

import msgspec
from msgspec import Struct

from sealift.errors import BadInput, FormatError, NotAllHere
from sealift.reading.survey import MAX_MOUNTS, survey
from sealift.reading.trust import read_seal
from sealift.stages import host_index
from sealift.stages import verify_join as join
from sealift.stages.fleet.client import HostFault
from sealift.stages.fleet.merge import Verified, merge
from sealift.stages.fleet.remote import RemoteDrive
from sealift.stages.inspect import state_of
from sealift.stages.verify_report import (
    EXIT_CODES,
    MAX_FAULTS,
    Fault,
    GroupReport,
    InspectReport,
    InspectState,
    Report,
    SealReport,
    Signature,
    VerifyReport,
    read_part,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealift.drives.base import Drive
    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.reading.survey import DriveView, Survey
    from sealift.stages.fleet.client import HostClient
    from sealift.stages.fleet.merge import Key, Merged
    from sealift.stages.host_index import HostDrive, HostIndex
    from sealift.stages.verify_join import Case

INDEX_SECONDS = 60.0
INSPECT_SECONDS = 660.0
REPORT_SECONDS = 120.0
MAX_REPORT = 64 << 20
MAX_REPORTS = 16  # of a host
MAX_DRIVES = 1000  # of a host
MAX_NOTICES = 1000
_LATE = 30.0  # seconds beyond these, after which a host is left behind


class FleetDrive(Struct, frozen=True, kw_only=True):
    """One drive that a host serves: where, which, and how it is."""

    host: str  # its URL
    name: str
    url: str
    mount: str
    shipment: str | None
    standing: Literal["member", "foreign", "replayed", "unidentified", "empty", "elsewhere"]
    group: int | None  # as judged here; null unless it is a member
    slot: int | None
    drive: str | None
    number: int | None
    serial: str | None
    label: str | None
    carrier: str | None
    health: str
    health_why: str
    inspected: bool  # the host looked at its packs
    verified: str | None  # when a report of verify says that every byte was read
    damaged: bool
    trouble: str


class FleetHost(Struct, frozen=True, kw_only=True):
    """One host; `trouble`: why not all of it was used, empty where it was."""

    url: str
    name: str | None  # as it calls itself
    drives: int
    folders: int  # in which no drive is served now
    trouble: str


class FleetReport(Struct, frozen=True, kw_only=True):
    """All hosts together; `state` as of inspect."""

    type: Literal["sealift-fleet"] = "sealift-fleet"
    version: Literal[1] = 1
    shipment: str
    state: InspectState
    verified: bool  # every drive that the verdict counts was read to its last byte, by a report
    hosts: list[FleetHost]
    drives: list[FleetDrive]
    groups: list[GroupReport]
    groups_total: int
    drives_total: int
    seal: SealReport | None
    signature: Signature | None
    faults: list[Fault]
    faults_omitted: int
    notices: list[str]
    final: bool
    seconds: float


@dataclass(eq=False)
class _Heard:
    """What one host said."""

    client: HostClient
    index: HostIndex | None = None
    troubles: list[str] = field(default_factory=list)
    views: dict[str, DriveView] = field(default_factory=dict)  # name -> as it was judged
    inspected: InspectReport | None = None
    verified: list[Verified] = field(default_factory=list)
    merged: Merged | None = None

    @property
    def drives(self) -> list[HostDrive]:
        """What its list names."""
        return [] if self.index is None else self.index.drives


def look(
    clients: Sequence[HostClient],
    *,
    allowed: AllowedSigners | None = None,
    seal: dict[str, bytes] | None = None,
    shipment: str | None = None,
    final: bool = False,
    progress: Callable[[str], object] = lambda _: None,
) -> FleetReport:
    """Ask every host and judge what all of them have; parameters as of stages.inspect.inspect.

    NotAllHere: no host answers, or none has a drive of the shipment. Refused: the seal given does not hold.
    """
    begun = time.monotonic()
    hosts = [_Heard(client) for client in clients]
    progress(f"asking {len(hosts):,} {'host' if len(hosts) == 1 else 'hosts'} which drives they have")
    _each(hosts, _ask_index, INDEX_SECONDS)
    meant = _meant(hosts, seal, shipment)
    found = _survey(hosts, allowed, seal, meant)
    meant = found.shipment or meant
    progress(f"asking them how the drives of shipment {meant} are")
    _each(hosts, lambda host: _ask_reports(host, meant), INSPECT_SECONDS + REPORT_SECONDS)
    reports = _reports(hosts, found)
    for client in clients:
        client.close()
    return _judged(hosts, found, reports, meant, begun, checked=allowed is not None, final=final)


def exit_code(report: FleetReport) -> int:
    """5 when a signature does not hold, else by the state."""
    if report.signature is not None and not report.signature.ok:
        return 5
    return EXIT_CODES[report.state]


def _each(hosts: Sequence[_Heard], ask: Callable[[_Heard], None], seconds: float) -> None:
    """Ask all at once. A host that is late is told as silent, and its thread left behind."""

    def work(host: _Heard) -> None:
        try:
            ask(host)
        except HostFault as error:
            host.troubles.append(str(error))
        except (FormatError, BadInput) as error:
            host.troubles.append(f"what it says cannot be used: {error}")

    threads = [threading.Thread(target=work, args=(host,), daemon=True) for host in hosts]
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds + _LATE
    for thread, host in zip(threads, hosts, strict=True):
        thread.join(max(0.0, until - time.monotonic()))
        if thread.is_alive():
            host.client.dead = "it does not come to an end"
            host.troubles.append(host.client.dead)


def _ask_index(host: _Heard) -> None:
    host.index = host_index.decode(host.client.get("", host_index.MAX_INDEX, seconds=INDEX_SECONDS))
    host.troubles += [f"{each.mount}: {each.trouble}" for each in host.index.folders if each.trouble]


def _meant(hosts: Sequence[_Heard], seal: dict[str, bytes] | None, shipment: str | None) -> str | None:
    """The shipment that is asked about, before anything is judged; None where nobody says one. Refused."""
    if not any(host.index for host in hosts):
        raise NotAllHere(
            "no storage host answers: " + "; ".join(f"{h.client.url}: {h.troubles[0]}" for h in hosts[:10]),
            hint="see that `sealift serve` runs there, and its address, token and certificate",
        )
    if shipment is not None:
        return shipment
    if seal is not None:
        return read_seal(seal).shipment
    votes = Counter(drive.shipment for host in hosts for drive in host.drives if drive.shipment)
    return votes.most_common(1)[0][0] if votes else None


def _survey(
    hosts: Sequence[_Heard], allowed: AllowedSigners | None, seal: dict[str, bytes] | None, meant: str | None
) -> Survey:
    """Judge the small files of every drive that may be of the shipment."""
    wanted = []
    most = max(1, min(MAX_DRIVES, MAX_MOUNTS // len(hosts)))  # one host must not crowd the others out
    for host in hosts:
        theirs = [drive for drive in host.drives if meant is None or drive.shipment in {meant, None}]
        if len(theirs) > most:
            host.troubles.append(f"{len(theirs):,} drives; the first {most:,} were looked at")
        wanted += [(host, drive, RemoteDrive(host.client, drive.name)) for drive in theirs[:most]]
    if not wanted:
        raise NotAllHere(
            f"no storage host has a drive of shipment {meant}" if meant else "no storage host has a drive",
            hint="see that the drives are mounted there, in the folders that `sealift serve` was given",
        )
    # it reads, and nothing more of a drive is asked for by a survey
    places = [cast("Drive", remote) for _, _, remote in wanted]
    found = survey(places, allowed=allowed, seal=seal, shipment=meant)
    for (host, drive, _), view in zip(wanted, found.views, strict=True):
        host.views[drive.name] = view
    for host in hosts:
        if host.client.dead:
            host.troubles.append(host.client.dead)
    return found


def _ask_reports(host: _Heard, meant: str | None) -> None:
    if host.index is None or meant is None or not _members(host):
        return
    try:
        said = read_part(host.client.get(f"inspect/{meant}", MAX_REPORT, seconds=INSPECT_SECONDS), "its inspect")
        if not isinstance(said, InspectReport) or said.shipment != meant:
            raise FormatError("its inspect is of something else")
        host.inspected = said
    except (HostFault, FormatError, BadInput) as error:
        host.troubles.append(f"it does not say how its drives are: {error}")
    for row in host.index.reports[:MAX_REPORTS]:
        if row.shipment != meant:
            continue
        try:
            said = read_part(host.client.get(f"report/{row.number}", MAX_REPORT, seconds=REPORT_SECONDS), "its report")
        except (HostFault, BadInput) as error:
            host.troubles.append(f"its report of verify: {error}")
            continue
        if isinstance(said, VerifyReport) and said.shipment == meant:
            host.verified.append(Verified(said, row.at))


def _members(host: _Heard) -> dict[str, Key]:
    """Folder -> the drive that was judged to stand there."""
    return {
        drive.mount: (view.group, view.name)
        for drive in host.drives
        if (view := host.views.get(drive.name)) is not None and view.slot is not None and view.group is not None
    }


def _reports(hosts: Sequence[_Heard], found: Survey) -> list[tuple[str, Report]]:
    """The hosts' merged reports; one that contradicts what is signed is named and left away."""
    taken: list[tuple[str, Report]] = []
    for host in hosts:
        if host.inspected is None:
            continue
        merged = merge(host.inspected, host.verified, _members(host))
        try:
            join.cases(found, [(host.client.url, msgspec.json.encode(merged.report))])
        except BadInput as error:
            host.troubles.append(f"what it says of its drives cannot be: {error}")
            continue
        host.merged = merged
        taken.append((host.client.url, merged.report))
    return taken


def _judged(
    hosts: Sequence[_Heard],
    found: Survey,
    reports: list[tuple[str, Report]],
    meant: str | None,
    begun: float,
    *,
    checked: bool,
    final: bool,
) -> FleetReport:
    known, parts = join.cases(found, [(name, msgspec.json.encode(report)) for name, report in reports])
    faults = _faults(found, parts)
    groups = [_with_unlooked(case, found, hosts) for _, case in sorted(known.items())]
    return FleetReport(
        shipment=found.shipment or meant or "",
        state=state_of(found, list(known.values()), parts, faults, final=final),
        verified=bool(known) and all(case.verified and case.copies for case in known.values()),
        hosts=[_host(host) for host in hosts],
        drives=[_drive(host, drive) for host in hosts for drive in host.drives],
        groups=groups,
        groups_total=join.groups_total(found, parts),
        drives_total=join.drives_total(found, parts),
        seal=join.seal_report(found),
        signature=join.signature(found, parts) if checked else None,
        faults=faults[:MAX_FAULTS],
        faults_omitted=max(0, len(faults) - MAX_FAULTS) + sum(each.faults_omitted for _, each in parts),
        notices=[*_notices(found), *_alike(hosts)][:MAX_NOTICES],
        final=final,
        seconds=time.monotonic() - begun,
    )


def _with_unlooked(case: Case, found: Survey, hosts: Sequence[_Heard]) -> GroupReport:
    """The group's report, in which drives whose packs nobody looked at are here, and give no byte."""
    report = case.report()
    view_of = {group.group: group for group in found.groups}
    for host in hosts:
        for name, view in host.views.items():
            if view.group != case.group or view.slot is None:
                continue
            if any(copy.part == host.client.url for copy in case.copies.get(view.slot, [])):
                continue
            host.troubles.append(f"{name}: nobody looked at its packs, and it is not counted")
            entry = join.present(view, view_of[case.group], view.slot, verified=False, damage={})
            report.present.append(msgspec.structs.replace(entry, part=host.client.url))
            report.missing = [row for row in report.missing if row.drive != entry.drive]
    return report


def _faults(found: Survey, parts: Sequence[tuple[str, Report]]) -> list[Fault]:
    """What was seen here, and of the hosts' reports what they alone can see: the packs."""
    faults = [join.fault(view, problem) for view in found.views for problem in view.problems]
    seen = {(fault.drive, fault.path, fault.kind) for fault in faults}
    return faults + [each for each in join.part_faults(parts) if (each.drive, each.path, each.kind) not in seen]


def _notices(found: Survey) -> list[str]:
    notices = list(found.notices)
    if found.seal is None:
        notices.append("there is no seal: whole groups may be missing, and nobody can say that this is all")
        notices += [f"a seal on a drive does not hold: {why}" for why in found.seal_failures]
    elif found.trusted is None:
        notices.append("no allowed signers were given: neither the seal nor any manifest was checked against them")
    return [join.words(notice) for notice in notices]


def _alike(hosts: Sequence[_Heard]) -> list[str]:
    """Hosts that call themselves the same, and drives that are shown more than once."""
    names: dict[str, list[str]] = {}
    shown: dict[Key, list[tuple[str, HostDrive]]] = {}
    for host in hosts:
        if host.index is not None:
            names.setdefault(host.index.host, []).append(host.client.url)
        for drive in host.drives:
            view = host.views.get(drive.name)
            if view is not None and view.group is not None and view.slot is not None:
                shown.setdefault((view.group, view.name), []).append((host.client.url, drive))
    notices = [
        f"{_some(urls)} call themselves {name!r}: one host with several addresses, or several of one name"
        for name, urls in names.items()
        if len(urls) > 1
    ]
    for (_, name), places in shown.items():
        if len(places) > 1:
            media = {drive.medium for _, drive in places}
            which = "a copy of it" if len(media - {None}) > 1 else "the same drive, or a copy of it"
            which = f"one drive (serial {places[0][1].medium})" if len(media) == 1 and None not in media else which
            notices.append(f"{name} is shown more than once, as {which}: {_some([u + d.name for u, d in places])}")
    return [join.words(notice) for notice in notices]


def _some(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - 5} more" if len(texts) > 5 else ""
    return ", ".join(texts[:5]) + more


def _host(host: _Heard) -> FleetHost:
    return FleetHost(
        url=host.client.url,
        name=None if host.index is None else host.index.host,
        drives=len(host.drives),
        folders=0 if host.index is None else len(host.index.folders),
        trouble=join.words("; ".join(dict.fromkeys(host.troubles[:20]))),
    )


def _drive(host: _Heard, drive: HostDrive) -> FleetDrive:
    view = host.views.get(drive.name)
    member = view is not None and view.slot is not None
    group, slot = (view.group, view.slot) if member and view is not None else (None, None)
    key = (group or 0, view.name if view is not None else "", drive.mount)
    merged = host.merged
    present = [
        each
        for part in (merged.report.groups if merged else ())
        for each in part.present
        if member and (part.group, each.drive, each.mount) == key
    ]
    trouble = drive.trouble or (view.problems[0].detail if view is not None and view.problems else "")
    return FleetDrive(
        host=host.client.url,
        name=drive.name,
        url=f"{host.client.url}{drive.name}/",
        mount=drive.mount,
        shipment=drive.shipment,
        standing=view.standing if view is not None else "elsewhere",
        group=group,
        slot=slot,
        drive=view.name if member and view is not None else None,
        number=drive.number,
        serial=drive.serial,
        label=drive.label,
        carrier=drive.carrier,
        health=drive.health,
        health_why=drive.health_why,
        inspected=bool(present),
        verified=merged.verified.get(key) if merged and member else None,
        damaged=any(each.damage for each in present),
        trouble=join.words(trouble),
    )
