"""What `sealift drives` and its commands show to people; the texts of devices are one printable line each.

What holds: nothing here asks a device. What is not here: exit codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.formats.smart import Health
    from sealift.stages.drives_list import DriveRow, Elsewhere, Listing, VolumeRow
    from sealift.stages.drives_look import Known
    from sealift.stages.drives_prepare import Candidate, Loss, Prepared
    from sealift.stages.drives_test import Tested

HOW = {
    "enclosure": "its bay's light is lit by the enclosure",
    "ledctl": "its bay's light is lit by ledctl",
    "reading": "no enclosure can light its bay, so it is read in a rhythm: its activity light goes on and off",
}
_HEAD = ("NAME", "DEVICE", "MODEL", "SIZE", "KIND", "HEALTH", "TEMP", "FREE", "FILESYSTEM")


def answer(found: Any) -> Any:
    """Records as what JSON has."""
    import msgspec

    return msgspec.to_builtins(found)


def clean(text: str) -> str:
    """Text from a device or a drive, for a screen."""
    return common.path_text(text.encode(errors="backslashreplace"))


# --- the list --------------------------------------------------------------------------------------------


def show_list(listing: Listing) -> None:
    """A table, a line a drive, what is to be known of it beneath."""
    if not listing.drives:
        click.echo("there is no drive here")
    rows = [_cells(row) for row in listing.drives]
    widths = [max(len(cells[place]) for cells in [_HEAD, *rows]) for place in range(len(_HEAD))]
    if rows:
        click.echo(_line(_HEAD, widths))
    for row, cells in zip(listing.drives, rows, strict=True):
        click.echo(_line(cells, widths))
        for line in _beneath(row):
            click.echo(f"    {line}")
    for mount in listing.elsewhere:
        click.echo(_elsewhere(mount))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _cells(row: DriveRow) -> tuple[str, ...]:
    free = [volume.free_bytes for volume in row.volumes if volume.free_bytes is not None]
    kinds = [volume.filesystem for volume in row.volumes if volume.filesystem]
    return (
        clean(row.name),
        clean(row.device),
        clean(row.model or "-"),
        common.size_text(row.size_bytes),
        _kind(row),
        row.health.verdict if row.health.verdict != "unknown" else "not known",
        "-" if row.health.temperature is None else f"{row.health.temperature} C",
        common.size_text(max(free)) if free else "-",
        clean(", ".join(dict.fromkeys(kinds)) or "-"),
    )


def _kind(row: DriveRow) -> str:
    what = row.kind if row.kind != "disk" else "hard disk" if row.rotational else "ssd"
    return f"{what}, {row.transport}" if row.transport else what


def _beneath(row: DriveRow) -> list[str]:
    lines = []
    if row.health.verdict == "unknown" and row.kind != "loop":
        lines.append(f"health not known: {clean(row.health.why)}")
    for volume in row.volumes:
        if volume.sealift is not None:
            lines.append(f"{_where(volume)}: {_known(volume.sealift)}")
        elif volume.label:
            lines.append(f"{_where(volume)}: label {clean(volume.label)}")
    lines += [f"{flag.flag}: {clean(flag.why)}" for flag in row.flags]
    return lines


def _where(volume: VolumeRow) -> str:
    return clean(volume.mounts[-1] if volume.mounts else volume.device)


def _known(known: Known) -> str:
    if known.shipment is None:
        return f"something of sealift's that is damaged ({clean(known.why)})"
    carrier = f", carrier {known.carrier}" if known.carrier else ""
    why = f" ({known.why})" if known.why else ""
    return clean(
        f"shipment {known.shipment}, consignment {known.consignment}: {known.drive} (group {known.group}, slot"
        f" {known.slot}), drive {known.number} of {known.drives_total}, serial {known.serial}{carrier}:"
        f" {known.state}{why}"
    )


def _elsewhere(mount: Elsewhere) -> str:
    rest = f"{common.size_text(mount.free_bytes)} free" if mount.free_bytes is not None else clean(mount.trouble or "")
    known = f"; {_known(mount.sealift)}" if mount.sealift is not None else ""
    return clean(f"{mount.at}: {mount.filesystem} from {mount.source}, {rest}{known}")


# --- prepare ---------------------------------------------------------------------------------------------


def show_losses(candidates: Sequence[Candidate]) -> None:
    """What is on each drive, and would be lost."""
    for candidate in candidates:
        disk = candidate.disk
        of = ", ".join(filter(None, [disk.model, common.size_text(disk.device.size), disk.device.transport]))
        common.say(clean(f"{disk.name} ({disk.node}: {of})"))
        table = disk.volumes[0].signature.table
        parts = sum(volume.device.kind == "part" for volume in disk.volumes)
        if table or parts:
            kind = clean(table or "unknown")
            common.say(f"  would be lost: a partition table ({kind}), {counted(parts, 'partition')}")
        for loss in candidate.losses:
            for line in _loss(loss):
                common.say(f"  {line}")
        if not candidate.losses and not table:
            common.say("  nothing that blkid recognises is on it")
        for why in candidate.refusals:
            common.say(f"  REFUSED: {clean(why)}")


def _loss(loss: Loss) -> list[str]:
    row = loss.row
    parts = [row.filesystem or "nothing that blkid recognises"]
    parts += [f"label {row.label}"] if row.label else []
    parts += [f"UUID {row.uuid}"] if row.uuid else []
    if row.used_bytes is not None:
        parts.append(f"{common.size_text(row.used_bytes)} used ({row.used_bytes:,} bytes)")
    if loss.entries is not None:
        parts.append(f"{counted(loss.entries, 'name')} in its root")
    lines = [clean(f"would be lost: {row.device}, {common.size_text(row.size_bytes)}: {', '.join(parts)}")]
    if row.trouble:
        lines.append(clean(f"  WHAT IS ON IT COULD NOT BE SEEN: {row.trouble}"))
    if row.sealift is not None:
        lines.append(f"  A DRIVE OF A SHIPMENT: {_known(row.sealift)}")
    if loss.give_up is not None:
        lines.append(clean(f"  sealift drives prepare gives it up only with --lose {loss.give_up}"))
    return lines


def show_prepared(prepared: Sequence[Prepared]) -> None:
    """What became of each."""
    for each in prepared:
        if each.fault:
            click.echo(f"{'REFUSED' if each.refused else 'FAILED'}: {clean(each.fault)}")
        else:
            click.echo(clean(f"{each.name} ({each.device}): an empty {each.filesystem}, UUID {each.uuid}"))
    good = [each for each in prepared if not each.fault]
    if good:
        click.echo(f"next: mount it, mount -o noatime UUID={good[0].uuid} /mnt/d1, and sealift drives test /mnt/d1")


# --- test ------------------------------------------------------------------------------------------------


def show_tested(tested: Sequence[Tested]) -> None:
    """A line a drive, and what is wrong."""
    for each in tested:
        drive = each.drive
        name = "" if drive.name == each.mount else f" ({drive.name})"
        rates = (
            f"wrote {common.size_text(drive.write_bytes_per_second)}/s, read"
            f" {common.size_text(drive.read_bytes_per_second)}/s, longest call {drive.worst_stall:.2f} s"
        )
        verdict = "FAILED" if each.fault else "good"
        click.echo(
            clean(f"{each.mount}{name}: {verdict}: {rates}; SMART {_smart(each.smart.before, each.smart.after)}")
        )
        if each.fault:
            click.echo(f"    {clean(each.fault)}")
        elif drive.read_from == "cache":
            click.echo("    nothing can be read past a cache here, so what was read says nothing of a medium")
    bad = sum(each.fault is not None for each in tested)
    verdict = "all are good" if not bad else f"{counted(bad, 'drive')} failed"
    click.echo(f"{counted(len(tested), 'drive')} tested together: {verdict}")


def _smart(before: Health, after: Health) -> str:
    if after.verdict == "unknown":
        return f"not known: {after.why}"
    why = f" ({after.why})" if after.why else ""
    return f"{before.verdict} before, {after.verdict} after{why}"
