"""List drives: which there are, how they are, what is on them, and what speaks against using one.

What holds: every drive of this host is in the list, whatever about it could not be had, and why not is said in its
place; nothing is written. No drive is judged by anything but what the kernel, its own SMART data and its filesystems
say. Flags are facts; whether a drive with one is used is for people to say, except where `prepare` refuses.

    system       it holds this host's root, /boot, /usr, /var or /home, or is swapped to
    in-use       mounted, held by LVM, RAID, encryption or multipath, a member of such, or partitioned
    smart        its SMART data says failing, or counts what drives that fail soon count first
    too-small    less room than was asked for
    batch        at least BATCH drives here of one model, their serial numbers alike but for the last four characters:
                 they may fail together, so spread them over groups and carriers
    same-serial  another drive here tells the same serial number
    read-only    the device cannot be written
    no-answer    something of it did not answer in time, or could not be read
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

import msgspec

from sealift.drives import block
from sealift.formats.smart import Health  # noqa: TC001 -- msgspec resolves the fields of records
from sealift.stages.drives_look import Known, Look, look_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.drives.block import Disk, Volume
    from sealift.formats.block_tools import Mount

FlagName = Literal["system", "in-use", "smart", "too-small", "batch", "same-serial", "read-only", "no-answer"]
BATCH = 3
_TAIL = 4  # characters of a serial number that count drives of one batch
_SYSTEM = {"/", "/usr", "/var", "/home", "/etc", "/opt", "/root", "/nix", "/usr/local", "/var/log", "/var/lib"}
MEMBERS = {"raid", "crypto"}  # blkid's usage of what is a part of something else, or hides it
_ELSEWHERE = {"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "zfs", "btrfs", "glusterfs", "lustre", "virtiofs"}


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to be known before a drive is used."""

    flag: FlagName
    why: str


class VolumeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A drive itself, a partition, or a layer above, where something was found; sizes in bytes."""

    device: str
    kind: str  # disk, part, lvm, crypt, raid1
    size_bytes: int
    filesystem: str | None
    label: str | None
    uuid: str | None
    mounts: list[str]
    swap: bool
    used_bytes: int | None  # this and what follows: where it is mounted and answered
    free_bytes: int | None
    entries: int | None  # names in its root, lost+found left out
    sealift: Known | None
    trouble: str | None


class DriveRow(msgspec.Struct, frozen=True, kw_only=True):
    """A drive. `name` is what `prepare` and `locate` call it by."""

    name: str
    serial: str | None
    model: str | None
    firmware: str | None
    device: str
    kind: str  # disk, loop, mpath
    transport: str | None
    size_bytes: int
    rotational: bool
    removable: bool
    table: str | None  # of partitions
    health: Health
    volumes: list[VolumeRow]
    flags: list[Flag]


class Elsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """A mount that has no drive of its own here: a network, a pool."""

    at: str
    source: str
    filesystem: str
    free_bytes: int | None
    sealift: Known | None
    trouble: str | None


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """Everything."""

    drives: list[DriveRow]
    elsewhere: list[Elsewhere]


def list_drives(*, need: int | None = None, seconds: float = block.SECONDS) -> Listing:
    """All drives; with `need`, those of less room (bytes) are flagged. BadInput where lsblk cannot be had."""
    disks = block.discover(seconds=seconds)
    apart = [mount for mount in block.other_mounts(disks) if _is_storage(mount.kind)]
    mounts = list(dict.fromkeys([*(mount for disk in disks for _, mount in disk.mounts), *apart]))
    looks = dict(zip(mounts, look_at(mounts, seconds=seconds), strict=True))
    rows = [_row(disk, health, looks) for disk, health in zip(disks, block.health(disks, seconds=seconds), strict=True)]
    return Listing(drives=_flagged(rows, disks, need), elsewhere=[_elsewhere(mount, looks[mount]) for mount in apart])


def _is_storage(kind: str) -> bool:
    return kind in _ELSEWHERE or kind.startswith("fuse.")


def _elsewhere(mount: Mount, look: Look) -> Elsewhere:
    free = None if look.trouble else look.free_bytes
    return Elsewhere(
        at=plain(mount.at), source=plain(mount.source), filesystem=plain(mount.kind), free_bytes=free,
        sealift=look.known, trouble=look.trouble,
    )  # fmt: skip


def plain(name: str) -> str:
    """A path as one printable line; what is not is written as escapes."""
    whole = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in whole)


def _row(disk: Disk, health: Health, looks: dict[Mount, Look]) -> DriveRow:
    device = disk.device
    return DriveRow(
        name=disk.name,
        serial=disk.serial,
        model=disk.model,
        firmware=device.firmware,
        device=device.path,
        kind=device.kind,
        transport=device.transport,
        size_bytes=device.size,
        rotational=device.rotational,
        removable=device.removable,
        table=disk.volumes[0].signature.table,
        health=health,
        volumes=[volume_row(volume, looks) for volume in disk.volumes if _holds(volume)],
        flags=[],
    )


def _holds(volume: Volume) -> bool:
    return bool(volume.signature.kind or volume.mounts or volume.swap or volume.trouble or volume.device.kind == "part")


def volume_row(volume: Volume, looks: dict[Mount, Look]) -> VolumeRow:
    """The row of a volume, by the look at the mount that shows most of it."""
    found = [looks[mount] for mount in best_first(volume.mounts) if mount in looks]
    look = next((each for each in found if not each.trouble), found[0] if found else None)
    seen = look if look is not None and not look.trouble else None
    kinds = [mount.kind for mount in volume.mounts]
    return VolumeRow(
        device=volume.device.path,
        kind=volume.device.kind,
        size_bytes=volume.device.size,
        filesystem=volume.signature.kind or (plain(kinds[0]) if kinds else None),
        label=volume.signature.label,
        uuid=volume.signature.uuid,
        mounts=[plain(mount.at) for mount in volume.mounts],
        swap=volume.swap,
        used_bytes=seen.used_bytes if seen else None,
        free_bytes=seen.free_bytes if seen else None,
        entries=seen.entries if seen else None,
        sealift=seen.known if seen else None,
        trouble=look.trouble if look and look.trouble else None if volume.mounts else volume.trouble,
    )


def best_first(mounts: Sequence[Mount]) -> list[Mount]:
    """Those that show the whole filesystem before those that show a folder of it, or a file."""
    return sorted(mounts, key=lambda mount: mount.root != "/")


# --- flags -----------------------------------------------------------------------------------------------


def _flagged(rows: list[DriveRow], disks: list[Disk], need: int | None) -> list[DriveRow]:
    batches = Counter(batch(row.model, row.serial) for row in rows)
    serials = Counter(row.serial for row in rows)
    return [
        msgspec.structs.replace(row, flags=_flags(row, disk, need, batches, serials))
        for row, disk in zip(rows, disks, strict=True)
    ]


def _flags(
    row: DriveRow,
    disk: Disk,
    need: int | None,
    batches: Counter[tuple[str, str] | None],
    serials: Counter[str | None],
) -> list[Flag]:
    found: list[tuple[FlagName, str]] = []
    if why := system(disk):
        found.append(("system", why))
    if reasons := in_use(disk):
        found.append(("in-use", "; ".join(reasons)))
    if row.health.verdict in {"failing", "doubtful"}:
        found.append(("smart", f"{row.health.verdict}: {row.health.why}"))
    room = max([volume.free_bytes for volume in row.volumes if volume.free_bytes is not None], default=row.size_bytes)
    if need is not None and room < need:
        found.append(("too-small", f"{room:,} bytes of room, and {need:,} are needed"))
    alike = batch(row.model, row.serial)
    if alike is not None and batches[alike] >= BATCH:
        found.append(("batch", f"one of {batches[alike]} drives {alike[0]} with serial numbers {alike[1]}...."))
    if row.serial is not None and serials[row.serial] > 1:
        found.append(("same-serial", f"{serials[row.serial]} drives tell the serial number {row.serial}"))
    if disk.device.read_only:
        found.append(("read-only", "the device cannot be written"))
    found += [("no-answer", f"{each.device}: {each.trouble}") for each in row.volumes if each.trouble]
    if why := unseen(disk):
        found.append(("no-answer", why))
    return [Flag(flag=flag, why=why) for flag, why in found]


def unseen(disk: Disk) -> str | None:
    """Why nobody can say what is on it: a partition table of which the kernel shows no partition.

    It may be an empty one; or one that another kernel wrote, for sectors of another size, and drives lie behind it.
    """
    table = disk.volumes[0].signature.table if disk.volumes else None
    if table is None or any(volume.device.kind == "part" for volume in disk.volumes):
        return None
    return f"it has a partition table ({table}), and no partition of it shows: nobody can see what is there"


def batch(model: str | None, serial: str | None) -> tuple[str, str] | None:
    """What drives of one batch have in common; None where nobody can say."""
    if not model or not serial or len(serial) < 2 * _TAIL:
        return None
    return model, serial[:-_TAIL]


def system(disk: Disk) -> str | None:
    """Why it is a disk of this host itself."""
    if any(volume.swap for volume in disk.volumes):
        return "this host swaps to it"
    held = [mount.at for _, mount in disk.mounts if mount.at in _SYSTEM or f"{mount.at}/".startswith("/boot/")]
    return f"it holds {', '.join(sorted(held))} of this host" if held else None


def in_use(disk: Disk) -> list[str]:
    """Everything that uses it, or may."""
    reasons = [f"mounted at {plain(mount.at)}" for _, mount in disk.mounts]
    reasons += [f"{volume.device.path} is swapped to" for volume in disk.volumes if volume.swap]
    reasons += layers(disk)
    reasons += [f"{volume.device.path} is {volume.signature.kind}" for volume in disk.volumes if is_member(volume)]
    if parts := [volume for volume in disk.volumes if volume.device.kind == "part"]:
        reasons.append(f"holds {len(parts)} partition{'s' * (len(parts) > 1)}")
    return reasons


def layers(disk: Disk) -> list[str]:
    """What stands on it that is no partition: LVM, RAID, encryption."""
    above = [volume.device for volume in disk.volumes[1:] if volume.device.kind != "part"]
    return [f"{device.path} ({device.kind}) stands on it" for device in above]


def is_member(volume: Volume) -> bool:
    """Whether it is a part of an array, a pool or a volume group, or encrypted."""
    kind = volume.signature.kind or ""
    return volume.signature.usage in MEMBERS or kind.endswith("_member") or kind == "ceph_bluestore"
