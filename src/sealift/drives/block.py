"""Which block devices this host has, what stands on them, and how they are: Linux, by lsblk, blkid and smartctl.

What holds: nothing is written, and nothing here waits for a device without end (apart.py): a device that does not
answer is in the list all the same, with what the kernel knows of it and what could not be had. Partitions, mappings
and arrays belong to the drives beneath them; the paths of one multipath device are one drive.

A drive is named by its serial number, as `sealift pack` has it. One that tells none is named by its path: a loop
device by that of its backing file, any other by that of its device node. Names need not be unique (two bridges of one
maker may tell the same number); whoever acts on a name looks for that.

lsblk is asked only for what the kernel has at hand, so that it reads no device; signatures are blkid's, a process a
device. What is not here: what is on a mounted filesystem (stages/drives_look.py), and every judgement.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sealift.drives import apart, medium
from sealift.errors import BadInput, FormatError
from sealift.formats import block_tools, smart
from sealift.formats.block_tools import Device, Mount, Signature

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = 10.0  # that a device has to answer
_DRIVES = {"disk", "loop", "mpath"}
_NO_DRIVES = ("zram", "ram", "fd", "sr")
_SMALL = 1 << 16
_SYS = "/sys"
_MOUNTS, _SWAPS = "/proc/self/mountinfo", "/proc/swaps"
_NOTHING = Signature(None, None, None, None, None)


class Volume(NamedTuple):
    """A drive itself, a partition of it, or a layer above: where a filesystem may be."""

    device: Device
    signature: Signature
    mounts: tuple[Mount, ...]
    swap: bool
    trouble: str | None  # why nobody knows what is there


@dataclass(frozen=True)
class Disk:
    """One drive. `volumes` begins with the drive itself; `sequence` is another after every exchange of media."""

    name: str
    device: Device
    serial: str | None
    model: str | None
    backing: str | None = None  # of a loop device
    paths: tuple[str, ...] = ()  # device nodes of a multipath device's paths
    sequence: int | None = None
    volumes: tuple[Volume, ...] = field(default=())

    @property
    def node(self) -> str:
        """The device node itself, which no link can turn elsewhere."""
        return node_of(self.device.kernel)

    @property
    def mounts(self) -> list[tuple[Volume, Mount]]:
        """Everything of it that is mounted."""
        return [(volume, mount) for volume in self.volumes for mount in volume.mounts]

    @property
    def troubles(self) -> list[str]:
        """What of it did not answer."""
        return [f"{volume.device.path}: {volume.trouble}" for volume in self.volumes if volume.trouble]


def node_of(kernel: str) -> str:
    """The device node of a kernel name."""
    return f"/dev/{kernel.replace('!', '/')}"


def discover(*, seconds: float = SECONDS) -> list[Disk]:
    """Every drive that holds anything or could, in the kernel's order. BadInput where lsblk cannot be had."""
    command = ["lsblk", "--json", "--bytes", "--output", block_tools.COLUMNS]
    (answer,) = apart.run([command], seconds=seconds, limit=block_tools.MAX_OUTPUT)
    if answer.code != 0:
        why = answer.trouble or f"exit {answer.code}"
        raise BadInput(f"lsblk: {why}", hint="install util-linux 2.33 or later; drives are found on Linux only")
    devices = block_tools.parse_lsblk(answer.output)
    mounts = block_tools.parse_mounts(_file(_MOUNTS))
    swaps = {_number_of(path) for path in block_tools.parse_swaps(_file(_SWAPS))}
    tops = [device for device in devices.values() if _is_drive(device, devices)]
    beneath = {top.kernel: [top, *_above(top, devices)] for top in tops}
    wanted = list({device.kernel: device for group in beneath.values() for device in group}.values())
    found = _signatures(wanted, seconds)
    volumes = {device.kernel: _volume(device, found[device.kernel], mounts, swaps) for device in wanted}
    return [_disk(top, devices, tuple(volumes[device.kernel] for device in beneath[top.kernel])) for top in tops]


def of_mount(disks: list[Disk], path: str) -> tuple[Disk | None, Mount | None]:
    """The drive of the filesystem mounted at `path`, and the mount.

    (None, mount): it has no drive of its own (tmpfs, a network, an array); (None, None): nothing is mounted there.
    """
    place = os.path.abspath(path)
    mounts = [mount for mount in block_tools.parse_mounts(_file(_MOUNTS)) if mount.at == place]
    if not mounts:
        return None, None
    last = mounts[-1]  # the one that hides the others
    owners = [disk for disk in disks if any(mount == last for _, mount in disk.mounts)]
    return (owners[0] if len(owners) == 1 else None), last


def other_mounts(disks: list[Disk]) -> list[Mount]:
    """Mounts that none of these drives holds, one a place: of what is in memory, on a network, or the kernel's own."""
    held = {mount.at for disk in disks for _, mount in disk.mounts}
    mounts = {mount.at: mount for mount in block_tools.parse_mounts(_file(_MOUNTS)) if mount.at not in held}
    return list(mounts.values())


def health(disks: list[Disk], *, seconds: float = SECONDS) -> list[smart.Health]:
    """What each drive says of its own health, in the order of `disks`."""
    asked = [disk for disk in disks if disk.device.kind != "loop"]
    nodes = {disk.node: disk.paths[0] if disk.paths else disk.node for disk in asked}
    commands = [["smartctl", "--json=c", "--info", "--health", "--attributes", node] for node in nodes.values()]
    answers = dict(zip(nodes, apart.run(commands, seconds=seconds, limit=smart.MAX_SMART), strict=True))
    return [
        _health(answers[disk.node]) if disk.node in answers else smart.unknown("a loop device has none")
        for disk in disks
    ]


def _health(answer: apart.Answer) -> smart.Health:
    if answer.trouble:
        return smart.unknown(f"smartctl: {answer.trouble}" if "installed" not in answer.trouble else answer.trouble)
    try:
        return smart.parse(answer.output)
    except FormatError as error:
        return smart.unknown(str(error))


# --- from devices to drives ------------------------------------------------------------------------------


def _is_drive(device: Device, devices: dict[str, Device]) -> bool:
    if device.kind not in _DRIVES or device.size == 0 or device.kernel.startswith(_NO_DRIVES):
        return False
    return not any(devices[name].kind == "mpath" for name in device.above)  # a path of one


def _above(device: Device, devices: dict[str, Device]) -> list[Device]:
    """Everything that stands on it, each once, what is nearer first."""
    found: dict[str, Device] = {}
    pending = list(device.above)
    while pending:
        name = pending.pop(0)
        if name not in found and name != device.kernel:
            found[name] = devices[name]
            pending += devices[name].above
    return list(found.values())


def _signatures(devices: list[Device], seconds: float) -> dict[str, tuple[Signature, str | None]]:
    """By kernel name: what blkid finds, and why it could not look."""
    commands = [["blkid", "-p", "-o", "export", device.path] for device in devices]
    answers = apart.run(commands, seconds=seconds, limit=_SMALL, errors=True)
    found = {}
    for device, answer in zip(devices, answers, strict=True):
        signature, trouble = _NOTHING, answer.trouble
        if answer.code == 0:
            signature = block_tools.parse_blkid(answer.output)
        elif answer.code == 8:
            trouble = "several filesystems seem to be on it"
        elif answer.code is not None and (answer.code != 2 or answer.output.strip()):  # 2 in silence: nothing is there
            words = block_tools.text(" ".join(answer.output.decode(errors="replace").split()))
            trouble = words if words and words.startswith("blkid: ") else f"blkid: {words or f'exit {answer.code}'}"
        found[device.kernel] = (signature, trouble)
    return found


def _volume(
    device: Device, found: tuple[Signature, str | None], mounts: list[Mount], swaps: set[tuple[int, int] | None]
) -> Volume:
    here = tuple(mount for mount in mounts if device.number in (mount.number, _source(mount)))
    return Volume(device, found[0], here, device.number in swaps, found[1])


def _source(mount: Mount) -> tuple[int, int] | None:
    """The device of a filesystem that has a number of its own, as btrfs has; only names in /dev are looked at."""
    return _number_of(mount.source) if mount.number[0] == 0 and mount.source.startswith("/dev/") else None


def _number_of(path: str) -> tuple[int, int] | None:
    with contextlib.suppress(OSError, ValueError):
        status = os.stat(path)
        if stat.S_ISBLK(status.st_mode):
            return os.major(status.st_rdev), os.minor(status.st_rdev)
    return None


def _disk(top: Device, devices: dict[str, Device], volumes: tuple[Volume, ...]) -> Disk:
    paths = [device for device in devices.values() if top.kernel in device.above] if top.kind == "mpath" else []
    first = paths[0] if paths else top
    serial = None if top.kind == "loop" else medium.serial_of(f"{_SYS}/class/block/{first.kernel}", first.serial or "")
    backing = backing_of(top.kernel) if top.kind == "loop" else None
    return Disk(
        name=serial or backing or node_of(top.kernel),
        device=top,
        serial=serial,
        model=_model(first),
        backing=backing,
        paths=tuple(path.path for path in paths),
        sequence=_sequence(top),
        volumes=volumes,
    )


def _model(device: Device) -> str | None:
    vendor = device.vendor if device.vendor not in {None, "ATA", "0x1af4"} else None
    if vendor and device.model and not device.model.startswith(vendor):
        return f"{vendor} {device.model}"
    return device.model


def backing_of(kernel: str) -> str | None:
    """Path of the file behind a loop device, as one printable line."""
    found = _file(f"{_SYS}/class/block/{kernel}/loop/backing_file").rstrip(b"\n").decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in found) or None


def same_file(disk: Disk, disks: Sequence[Disk]) -> list[str]:
    """Device nodes of the other loop devices that stand on the same file, by whatever name it was attached."""
    mine = _file_number(disk)
    return [other.node for other in disks if other is not disk and mine is not None and _file_number(other) == mine]


def _file_number(disk: Disk) -> tuple[int, int] | None:
    with contextlib.suppress(OSError, ValueError):
        if disk.backing is not None:
            status = os.stat(disk.backing)
            return status.st_dev, status.st_ino
    return None


def _sequence(device: Device) -> int | None:
    found = _file(f"{_SYS}/class/block/{device.kernel}/diskseq").strip()
    return int(found) if found.isdigit() and len(found) < 20 else None  # Linux 5.15 and later


def _file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(block_tools.MAX_OUTPUT)
    except OSError:
        return b""
