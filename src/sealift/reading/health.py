"""What reading met: which drives are missing or fail, and what was rebuilt in their place. A record, and its JSON.

`sealift repair --report HEALTH.json` takes it: it then looks at the packs that are named, not at all of every drive. It
says what reading happened to touch, no more: `sealift verify` reads everything. Shipment.health() is of the process
that asks, ShipmentDataset.health() of a DataLoader's workers, too, and what `sealift train` writes of all ranks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from sealift.drives.ranges import RemoteDrive
from sealift.errors import BadInput
from sealift.formats import manifest, typed
from sealift.formats.manifest import MAX_DRIVES, MAX_STRIPES, Count, DriveId, ShipmentId

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sealift.reading.group import GroupReader
    from sealift.reading.survey_views import GroupView

MAX_HEALTH = 64 << 20
_WORST = ("slow", "damaged", "missing", "failing")
_Words = Annotated[str, Meta(max_length=8192)]


class DriveHealth(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One drive of a group that is here, of which something was amiss."""

    drive: DriveId
    serial: _Words
    carrier: _Words
    state: Literal["missing", "failing", "damaged", "slow"]
    mount: _Words = ""  # where it is, unless it is missing
    rebuilt_blocks: Count = 0  # of 1 MiB, that it should have given
    hedged_reads: Count = 0  # that parity answered, because its host was slow
    faults: Count = 0  # how often the system failed to read
    first_fault: _Words = ""


class LocationHealth(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A drive that is read over a network: what it was asked for, and gave."""

    mount: _Words  # its name in the locations file, or its address
    host: _Words  # of all that stands there the same
    requests: Count
    retries: Count  # requests that were sent again
    bytes: Count  # of its files
    silent: _Words = ""  # why it gives nothing, or nothing now; empty: it is read from

    @classmethod
    def of(cls, drive: RemoteDrive, silent: str = "") -> LocationHealth:
        """What its traffic has come to in this process."""
        drive.traffic.add()  # after a fork what the parent was given is not ours
        return cls(
            mount=drive.mount,
            host=drive.host_name,
            requests=drive.traffic.requests,
            retries=drive.traffic.retries,
            bytes=drive.traffic.bytes,
            silent=silent[:8192],
        )


class PackHealth(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A pack of which blocks were rebuilt."""

    group: Count
    stripe: Annotated[int, Meta(ge=0, lt=MAX_STRIPES)]
    role: Annotated[int, Meta(ge=0, lt=MAX_DRIVES)]
    blocks: Count


class Health(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="type", tag="sealift-health"):
    """What a Shipment met since it was opened, in one process; `merged`, in as many as `processes` says."""

    version: Literal[1] = 1
    processes: Count = 1  # whose reading is in it
    shipment: ShipmentId | None = None
    rebuilt_blocks: Count = 0
    drives: Annotated[list[DriveHealth], Meta(max_length=100_000)] = []
    packs: Annotated[list[PackHealth], Meta(max_length=200_000)] = []
    missing_groups: Annotated[list[Count], Meta(max_length=100_000)] = []
    locations: Annotated[list[LocationHealth], Meta(max_length=100_000)] = []

    @property
    def good(self) -> bool:
        """Whether every drive is here and nothing had to be rebuilt."""
        return not (self.rebuilt_blocks or self.drives or self.missing_groups)

    def encode(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode(self)


def read_health(data: bytes, name: str) -> Health:
    """What `encode` wrote; BadInput for anything else."""
    if len(data) > MAX_HEALTH:
        raise BadInput(f"{name} is longer than {MAX_HEALTH:,} bytes")
    try:
        return typed.decode(data, Health)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadInput(f"{name} is no report of health: {error}") from error


def health_of(
    shipment: str,
    views: dict[int, GroupView],
    readers: dict[int, GroupReader],
    missing: list[int],
    silent: Iterable[tuple[RemoteDrive, str]] = (),
) -> Health:
    """What these readers met, and why locations in other hosts are `silent`."""
    health = Health(shipment=shipment, missing_groups=missing)
    for number, view in sorted(views.items()):
        reader = readers[number]
        health.rebuilt_blocks += sum(reader.rebuilt.values())
        for row in view.manifest.drives:
            mounts = [each.mount for each in reader.drives.get(row.slot, ())]
            faults = [reader.faults[mount] for mount in mounts if mount in reader.faults]
            rebuilt = reader.rebuilt.get(row.id, 0)
            hedged = sum(reader.hedged[mount] for mount in mounts) + reader.early[row.id]
            if mounts and not faults and not rebuilt and not hedged:
                continue
            first = faults[0].reason if faults else _nobody(reader, row.slot) if hedged else ""
            health.drives.append(
                DriveHealth(
                    drive=row.id,
                    serial=row.serial,
                    carrier=row.carrier,
                    state="missing" if not mounts else "failing" if first else "damaged" if rebuilt else "slow",
                    mount=mounts[0] if mounts else "",
                    rebuilt_blocks=rebuilt,
                    hedged_reads=hedged,
                    faults=sum(fault.times for fault in faults),
                    first_fault=first[:8192],
                )
            )
        for (stripe, role), blocks in sorted(reader.packs.items()):
            if manifest.slot_of(stripe, role, reader.n) in reader.drives:  # what is missing cannot be mended in place
                health.packs.append(PackHealth(group=number, stripe=stripe, role=role, blocks=blocks))
        health.locations += [
            LocationHealth.of(each.drive, each.drive.away) for each in view.views if isinstance(each.drive, RemoteDrive)
        ]
    health.locations += [LocationHealth.of(drive, why) for drive, why in silent]
    return health


def _nobody(reader: GroupReader, slot: int) -> str:
    """Why parity answered for a drive whose host was not slow but gone: it may be back before a read has failed."""
    for drive in reader.drives.get(slot, ()):
        if isinstance(drive, RemoteDrive) and reader.hedged[drive.mount] and drive.nobody:
            return f"{drive.mount}: {drive.nobody}"
    return ""


def merged(reports: Iterable[Health]) -> Health:
    """One report of several of one shipment: counts are summed, and of a drive's states the worst is told."""
    made = Health(processes=0)
    drives: dict[str, DriveHealth] = {}
    packs: dict[tuple[int, int, int], PackHealth] = {}
    locations: dict[str, LocationHealth] = {}
    for report in reports:
        made.shipment = report.shipment
        made.processes += report.processes
        made.rebuilt_blocks += report.rebuilt_blocks
        made.missing_groups = sorted({*made.missing_groups, *report.missing_groups})
        for drive in report.drives:
            known = drives.setdefault(drive.drive, drive)
            if known is not drive:
                known.state = max(known.state, drive.state, key=_WORST.index)
                known.rebuilt_blocks += drive.rebuilt_blocks
                known.hedged_reads += drive.hedged_reads
                known.faults += drive.faults
                known.mount, known.first_fault = known.mount or drive.mount, known.first_fault or drive.first_fault
        for pack in report.packs:
            place = packs.setdefault((pack.group, pack.stripe, pack.role), pack)
            if place is not pack:
                place.blocks += pack.blocks
        for each in report.locations:
            location = locations.setdefault(each.mount, each)
            if location is not each:
                location.requests += each.requests
                location.retries += each.retries
                location.bytes += each.bytes
                location.silent = location.silent or each.silent
    made.drives, made.packs, made.locations = list(drives.values()), list(packs.values()), list(locations.values())
    return made
