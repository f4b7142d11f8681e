"""Locations that gave less than they were asked for, while a shipment was unpacked by several processes.

What holds: `met` says what one process has met since it opened the shipment, and `places` what all of them did; a
location is in it once, by its worst state, and one that gave all in good time is not. Where nobody was there in a host,
that is so of all its drives that were waited for, whichever of them a process had asked. Other bytes than were signed
are told of the location that gave them: its host may be at fault, or its drive. Of drives that are mounted those are
here of which there are other copies; damage of the others is counted as rebuilt blocks and told by verify.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from sealift.drives.ranges import RemoteDrive

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sealift.drives.base import Drive
    from sealift.reading.group import GroupReader
    from sealift.reading.shipment import Shipment


class Met(NamedTuple):
    """What a process has met of one location."""

    faults: int  # requests that were given up; that it gave other bytes than were signed counts once
    first_fault: str
    hedged: int  # reads that other drives answered, because it was slow
    slow: bool  # it gave so slowly that it was asked for less at once
    host: str = ""  # that it stands in, of a drive in another one
    nobody: str = ""  # why nobody was there, when some read was answered by others


class Place(NamedTuple):
    """What is to be said of one location."""

    location: str  # its name in the locations file, or its address, or where it is mounted
    state: Literal["silent", "failing", "slow"]
    faults: int
    hedged_reads: int
    why: str


def met(shipment: Shipment) -> dict[str, Met]:
    """Of each location of which there is something to say."""
    found: dict[str, Met] = {}
    for group in shipment.groups.values():
        reader = group.reader
        for drives in reader.drives.values():
            for drive in drives:
                one = _met(reader, drive)
                if any(one[:4]) and (isinstance(drive, RemoteDrive) or len(drives) > 1):
                    found[drive.mount] = one
    return found


def _met(reader: GroupReader, drive: Drive) -> Met:
    fault, wrong = reader.faults.get(drive.mount), reader.wrong.get(drive.mount)
    times, why = (fault.times, fault.reason) if fault else (0, "")
    if wrong is not None:
        times, why = times + 1, f"what it gives of {wrong} is not what was signed; `sealift verify` there tells"
    elif (lacks := reader.lacks.get(drive.mount)) is not None:
        times, why = times + 1, why or f"it has no {lacks}; `sealift verify` there tells"
    hedged = reader.hedged[drive.mount]
    if not isinstance(drive, RemoteDrive):
        return Met(times, why, hedged, slow=False)
    return Met(times, why, hedged, drive.was_slow, drive.host_name, drive.nobody)


def places(silent: Iterable[tuple[str, str]], reports: Iterable[Mapping[str, Met]]) -> list[Place]:
    """Of what several processes have met, and of those that gave nothing at all: (location, why)."""
    found = {mount: Place(mount, "silent", 0, 0, why) for mount, why in silent}
    every = [dict(report) for report in reports]
    gone = {one.host: one.nobody for report in every for one in report.values() if one.nobody}
    for report in every:
        for mount, each in report.items():
            one = each
            if each.hedged and not each.faults and each.host in gone:  # it was back, or given up, before a read failed
                one = each._replace(faults=1, first_fault=f"{mount}: {gone[each.host]}")
            known = found.get(mount, Place(mount, "slow", 0, 0, ""))
            state = known.state if known.state != "slow" else "failing" if one.faults else "slow"
            faults, hedged = known.faults + one.faults, known.hedged_reads + one.hedged
            found[mount] = Place(mount, state, faults, hedged, known.why or one.first_fault)
    return [found[mount] for mount in sorted(found)]
