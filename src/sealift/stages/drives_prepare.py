"""Prepare drives: an empty filesystem on each that is named, after what is on it was shown and given up by name.

What holds:

1. A drive is named by what `sealift drives` calls it, whole; nothing is guessed, and a name that two drives have is
   refused.
2. Before anything is written, everything that would be lost is shown (`survey`): partitions, filesystems with their
   labels and used bytes, and whatever of a shipment is on them, for which filesystems that are not mounted are looked
   into without a byte being written.
3. Refused, whatever is confirmed: a disk of this host itself, a drive that is mounted, swapped to or held by anything,
   one that cannot be written, one that does not answer.
4. Each drive must be confirmed by its name. What a drive holds of a shipment must be given up besides, by the
   shipment's id and the drive's (SHIPMENT/g0s1): whoever has the only copy has read what it is. The same is asked, by
   the drive's name, where nobody can see what is there.
5. All drives are looked at again, and any that is another than was shown, or holds another shipment's drive, stops all
   of it; then each once more by the one process that writes (drives/blank.py).

What is not here: words and exit codes.
"""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from sealift.drives import apart, blank, block
from sealift.errors import BadInput, DriveFault, Refused
from sealift.stages import drives_list
from sealift.stages.drives_look import Look, look_at, look_into

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.drives.blank import Filesystem
    from sealift.drives.block import Disk, Volume

_PATIENCE = 2 * 3600.0  # of mkfs, which may discard a whole drive first
_LIMIT = 1 << 16


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """What would be lost with one volume of a drive; `used_bytes` where it could be looked into."""

    row: drives_list.VolumeRow
    entries: int | None
    give_up: str | None  # what --lose must name, for what is on it


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A drive that was named: what is on it, and why it is refused."""

    disk: Disk
    losses: list[Loss]
    refusals: list[str]

    @property
    def give_up(self) -> list[str]:
        """Everything that must be given up by name."""
        return sorted({loss.give_up for loss in self.losses if loss.give_up is not None})


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a drive; `fault` is why it has no new filesystem, and `refused` that nothing was written."""

    name: str
    device: str
    filesystem: str
    uuid: str | None
    size_bytes: int
    seconds: float
    fault: str | None = None
    refused: bool = False


def survey(names: Sequence[str], *, seconds: float = block.SECONDS) -> list[Candidate]:
    """What the drives of these names hold. BadInput: no such drive, or not root."""
    if os.geteuid() != 0:
        raise BadInput("looking into drives and emptying them is root's", hint="sudo sealift ...")
    disks = block.discover(seconds=seconds)
    wanted = [_named(disks, name) for name in dict.fromkeys(names)]
    volumes = [volume for disk in wanted for volume in disk.volumes]
    looks = _looks(volumes, seconds)
    holders = _holders(wanted, seconds)
    return [_candidate(disk, disks, looks, holder) for disk, holder in zip(wanted, holders, strict=True)]


def _holders(disks: Sequence[Disk], seconds: float) -> list[str | None]:
    """What the kernel says of each when it is asked for alone."""

    def ask(disk: Disk, descriptor: int) -> None:
        os.write(descriptor, (blank.held(disk) or "").encode())

    answers = apart.run([partial(ask, disk) for disk in disks], seconds=seconds, limit=_LIMIT)
    return [answer.trouble or answer.output.decode() or None for answer in answers]


def _named(disks: Sequence[Disk], name: str) -> Disk:
    for disk in disks:
        if disk.name == name:
            return disk
    for disk in disks:
        if name in {disk.node, disk.device.path, *disk.paths}:
            raise BadInput(
                f"{name} is where a drive is found now; the drive is named {disk.name}",
                hint=f"give {disk.name}, as `sealift drives` names it: another may be at {name} after the next start",
            )
    parts = {volume.device.path: disk for disk in disks for volume in disk.volumes[1:]}
    if name in parts:
        raise BadInput(f"{name} is a part of {parts[name].name}", hint="only whole drives are emptied")
    raise BadInput(
        f"there is no drive {name}",
        hint="`sealift drives` lists them: by serial number, a loop device by its file; a name is given whole",
    )


def _looks(volumes: Sequence[Volume], seconds: float) -> dict[str, Look]:
    """By kernel name: the filesystems that are mounted, and those that are not."""
    mounted = [volume for volume in volumes if volume.mounts]
    others = [volume for volume in volumes if not volume.mounts and volume.signature.usage == "filesystem"]
    found = dict(
        zip(mounted, look_at([drives_list.best_first(v.mounts)[0] for v in mounted], seconds=seconds), strict=True)
    )
    found.update(zip(others, look_into(others, seconds=seconds), strict=True))
    return {volume.device.kernel: look for volume, look in found.items()}


def _candidate(disk: Disk, disks: Sequence[Disk], looks: dict[str, Look], holder: str | None) -> Candidate:
    losses = []
    for volume in disk.volumes:
        look = looks.get(volume.device.kernel)
        row = drives_list.volume_row(volume, {})
        if look is not None and not look.trouble:
            row = msgspec.structs.replace(
                row, used_bytes=look.used_bytes, free_bytes=look.free_bytes, entries=look.entries, sealift=look.known,
                trouble=None,
            )  # fmt: skip
        elif look is not None:
            row = msgspec.structs.replace(row, trouble=look.trouble)
        elif volume.signature.kind not in {None, "swap"}:
            row = msgspec.structs.replace(row, trouble=f"what is in {volume.signature.kind} cannot be looked at")
        elif volume is disk.volumes[0] and (why := drives_list.unseen(disk)):
            row = msgspec.structs.replace(row, trouble=why)
        if row.filesystem or row.trouble or row.kind == "part":
            entries = None if look is None or look.trouble else look.entries
            losses.append(Loss(row=row, entries=entries, give_up=_give_up(disk, row)))
    return Candidate(disk=disk, losses=losses, refusals=_refusals(disk, disks, holder))


def _give_up(disk: Disk, row: drives_list.VolumeRow) -> str | None:
    known = row.sealift
    if known is not None and known.shipment is not None:
        return f"{known.shipment}/{known.drive}"
    return disk.name if known is not None or row.trouble else None


def _refusals(disk: Disk, disks: Sequence[Disk], holder: str | None) -> list[str]:
    found = []
    if why := drives_list.system(disk):
        found.append(f"a disk of this host itself: {why}")
    found += [f"{volume.device.path} is mounted at {drives_list.plain(mount.at)}" for volume, mount in disk.mounts]
    found += drives_list.layers(disk)
    if disk.device.read_only:
        found.append("the device is read-only")
    others = [other.node for other in disks if other.name == disk.name and other is not disk]
    if twins := block.same_file(disk, disks):
        found.append(f"it and {', '.join(twins)} stand on one file: they are one medium")
    elif others:
        found.append(f"{', '.join(others)} tells the same serial number, so nobody can say which one is meant")
    found += [trouble for trouble in disk.troubles if "no answer" in trouble]
    return found or ([holder] if holder else [])


# --- what was said ---------------------------------------------------------------------------------------


def check(candidates: Sequence[Candidate], *, yes: Sequence[str], lose: Sequence[str]) -> None:
    """Refused unless every drive may be prepared and was confirmed; BadInput for a word that fits nothing here."""
    names = {candidate.disk.name for candidate in candidates}
    tokens = {token for candidate in candidates for token in candidate.give_up}
    if unknown := [word for word in yes if word not in names]:
        raise BadInput(f"--yes {unknown[0]}: no drive of that name is to be prepared", hint="--yes repeats a name")
    if unknown := [word for word in lose if word not in tokens]:
        raise BadInput(
            f"--lose {unknown[0]}: nothing of that name is on these drives",
            hint="read again what is shown; it may be another drive than you think",
        )
    refused = [f"{each.disk.name}: {why}" for each in candidates for why in each.refusals]
    if refused:
        raise Refused(
            "\n  ".join(["nothing was written; these drives cannot be prepared:", *refused]),
            hint="umount what is only mounted; `sealift drives` says what else holds a drive",
        )
    asked = [f"--yes {name}" for name in sorted(names - {*yes})] + [
        f"--lose {word}" for word in sorted(tokens - {*lose})
    ]
    if asked:
        shipment = " --lose gives up what cannot be made again from here." if tokens - {*lose} else ""
        raise Refused(
            "nothing was written: what is shown would be lost, and that was not confirmed",
            hint=f"if it may be lost, the same command with {' '.join(asked)}.{shipment}",
        )


# --- doing it --------------------------------------------------------------------------------------------


def prepare(
    candidates: Sequence[Candidate], filesystem: Filesystem, *, seconds: float = block.SECONDS
) -> list[Prepared]:
    """Make the filesystems, all drives at once. Refused, and nothing written to any, where one is not as it was shown.

    Call after `check`.
    """
    tool = blank.MKFS[filesystem][0]
    if apart.tool(tool) is None:
        raise BadInput(f"{tool} is not installed; nothing was written", hint="install xfsprogs or e2fsprogs")
    disks = look_again(candidates, seconds=seconds)
    begun = time.monotonic()
    jobs = [partial(_make, disk, filesystem) for disk in disks]
    answers = apart.run(jobs, seconds=_PATIENCE, limit=_LIMIT)
    took = time.monotonic() - begun
    out = []
    for disk, answer in zip(disks, answers, strict=True):
        said = {"fault": f"{disk.name}: {answer.trouble or 'it ended without a word'}"}
        if answer.output and not answer.trouble:
            said = msgspec.json.decode(answer.output)
        out.append(
            Prepared(
                name=disk.name, device=disk.node, filesystem=filesystem, uuid=said.get("uuid"),
                size_bytes=disk.device.size, seconds=took, fault=said.get("fault"), refused="refused" in said,
            )
        )  # fmt: skip
    return out


def _make(disk: Disk, filesystem: Filesystem, descriptor: int) -> None:
    """In a process of its own."""
    try:
        said = {"uuid": blank.make(disk, filesystem)}
    except Refused as error:
        said = {"fault": str(error), "refused": "yes"}
    except DriveFault as error:
        said = {"fault": str(error)}
    os.write(descriptor, msgspec.json.encode(said))


def look_again(candidates: Sequence[Candidate], *, seconds: float = block.SECONDS) -> list[Disk]:
    """The same drives as they are found now, right before they are written. Refused where one is another by now."""
    now = survey([candidate.disk.name for candidate in candidates], seconds=seconds)
    changed = []
    for before, after in zip(candidates, now, strict=True):
        changed += [f"{after.disk.name}: {why}" for why in after.refusals]
        if _identity(before.disk) != _identity(after.disk):
            changed.append(f"{before.disk.name} is not the drive that was shown: it was changed in between")
        if before.give_up != after.give_up:
            changed.append(f"{before.disk.name} does not hold what was shown")
    if changed:
        raise Refused(
            "\n  ".join(["nothing was written; since the drives were shown, something changed:", *changed]),
            hint="look at `sealift drives` again",
        )
    return [after.disk for after in now]


def _identity(disk: Disk) -> tuple[object, ...]:
    """All that must not change; the device's number may, where a drive is found at another."""
    return disk.name, disk.serial, disk.model, disk.backing, disk.device.kind, disk.device.size, disk.sequence
