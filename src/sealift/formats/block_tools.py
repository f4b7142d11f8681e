"""What lsblk, blkid and the kernel's tables of mounts and swap say of block devices: bytes in, records out.

What holds: whatever the bytes are, records come out or FormatError does; there are at most MAX_DEVICES of them, and
every text is one printable line of at most MAX_TEXT characters. The texts come from devices (a model, a serial number,
a label) and are as hostile as what is on them. Both forms of lsblk's JSON are read: numbers and booleans, and the
strings that versions before 2.33 print in their place.

    lsblk --json --bytes --output COLUMNS      parse_lsblk
    blkid -p -o export DEVICE                  parse_blkid
    /proc/self/mountinfo, /proc/swaps          parse_mounts, parse_swaps

What is not here: asking (drives/block.py), and what follows from the answers.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

from sealift.errors import FormatError

COLUMNS = "NAME,KNAME,PATH,MAJ:MIN,TYPE,SIZE,RO,RM,ROTA,MODEL,SERIAL,VENDOR,REV,WWN,TRAN"
MAX_DEVICES = 10_000
MAX_DEPTH = 32
MAX_TEXT = 256
MAX_PATH = 4096
MAX_OUTPUT = 16 << 20  # of lsblk: some 500 bytes a device
MAX_LINES = 100_000

_NUMBER = re.compile(r"(\d{1,9}):(\d{1,9})", re.ASCII)
_KERNEL_NAME = re.compile(r"[\w.!+@:-]{1,64}", re.ASCII)
_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


class Device(NamedTuple):
    """A row of lsblk: a disk, a partition, or a layer above. Sizes in bytes."""

    kernel: str  # sda1, dm-0: what it is called in /sys
    path: str  # /dev/sda1, /dev/mapper/data
    number: tuple[int, int]  # major, minor
    kind: str  # disk, part, loop, mpath, crypt, lvm, raid5, rom
    size: int
    read_only: bool
    removable: bool
    rotational: bool
    model: str | None
    serial: str | None
    vendor: str | None
    firmware: str | None
    wwn: str | None
    transport: str | None  # sata, sas, nvme, usb
    above: tuple[str, ...]  # kernel names of what stands on it directly


class Signature(NamedTuple):
    """What blkid finds at the start (or end) of a device; None where it finds nothing of the kind."""

    kind: str | None  # xfs, crypto_LUKS, LVM2_member
    usage: str | None  # filesystem, raid, crypto, other
    label: str | None
    uuid: str | None
    table: str | None  # of partitions: gpt, dos


class Mount(NamedTuple):
    """A line of mountinfo."""

    number: tuple[int, int]  # of the filesystem; not of its device where that is btrfs
    root: str  # what of the filesystem is shown there; "/": all of it
    at: str
    kind: str
    source: str
    read_only: bool


def text(value: Any, limit: int = MAX_TEXT) -> str | None:
    """One printable line without the padding around it; None for what is no text, or empty."""
    if not isinstance(value, str):
        return None
    line = "".join(c if c.isprintable() else "?" for c in value.strip(" \0\t\n"))[:limit]
    return line or None


def decode_object(data: bytes, name: str) -> dict[str, Any]:
    """A JSON object of whatever shape; FormatError."""
    if len(data) > MAX_OUTPUT:
        raise FormatError(f"{name} printed {len(data):,} bytes; at most {MAX_OUTPUT:,} are read")
    try:
        found = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"{name} printed what is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise FormatError(f"{name} printed JSON that is no object")
    return found


# --- lsblk -----------------------------------------------------------------------------------------------


def parse_lsblk(data: bytes) -> dict[str, Device]:
    """Every device by its kernel name, in lsblk's order; one that stands on several is there once. FormatError."""
    rows = decode_object(data, "lsblk").get("blockdevices")
    if not isinstance(rows, list):
        raise FormatError("lsblk printed no list of block devices")
    found: dict[str, Device] = {}
    pending = [(row, 0) for row in reversed(rows)]
    seen = 0
    while pending:
        row, depth = pending.pop()
        seen += 1
        if seen > MAX_DEVICES or depth > MAX_DEPTH:
            raise FormatError(f"lsblk printed more than {MAX_DEVICES:,} devices, or layers more than {MAX_DEPTH} deep")
        if not isinstance(row, dict):
            raise FormatError("lsblk printed a device that is no object")
        children = row.get("children") or []
        if not isinstance(children, list):
            raise FormatError("lsblk printed children that are no list")
        device = _device(row, tuple(_kernel_name(child) for child in children))
        found.setdefault(device.kernel, device)
        pending += [(child, depth + 1) for child in reversed(children)]
    return found


def _kernel_name(row: Any) -> str:
    name = row.get("kname") or row.get("name") if isinstance(row, dict) else None
    if not isinstance(name, str) or not _KERNEL_NAME.fullmatch(name) or name in {".", ".."}:
        raise FormatError("lsblk printed a device without a name that the kernel would give")
    return name


def _device(row: dict[str, Any], above: tuple[str, ...]) -> Device:
    kernel = _kernel_name(row)
    number = _NUMBER.fullmatch(str(row.get("maj:min", "")).strip())
    if number is None:
        raise FormatError(f"lsblk printed no device number of {kernel}")
    path = row.get("path")
    if not isinstance(path, str) or not path.startswith("/dev/") or text(path, MAX_PATH) != path:
        path = f"/dev/{kernel.replace('!', '/')}"  # lsblk before 2.33 has no such column
    return Device(
        kernel=kernel,
        path=path,
        number=(int(number[1]), int(number[2])),
        kind=text(row.get("type"), 32) or "disk",  # no udev, an old kernel: what has no type is no partition
        size=_count(row.get("size")),
        read_only=_flag(row.get("ro")),
        removable=_flag(row.get("rm")),
        rotational=_flag(row.get("rota")),
        model=text(row.get("model")),
        serial=text(row.get("serial")),
        vendor=text(row.get("vendor")),
        firmware=text(row.get("rev")),
        wwn=text(row.get("wwn")),
        transport=text(row.get("tran"), 32),
        above=above,
    )


def _count(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    return value if type(value) is int and 0 <= value < 1 << 63 else 0


def _flag(value: Any) -> bool:
    return value is True or value in ("1", 1)


# --- blkid -----------------------------------------------------------------------------------------------


def parse_blkid(data: bytes) -> Signature:
    """What `blkid -p -o export` prints; nothing at all is a Signature of nothing."""
    values: dict[str, str] = {}
    for line in data[:MAX_OUTPUT].decode(errors="replace").split("\n")[:1000]:
        key, equals, value = line.partition("=")
        cleaned = text(_ESCAPE.sub(r"\1", value))
        if equals and cleaned:
            values.setdefault(key, cleaned)
    return Signature(
        values.get("TYPE"), values.get("USAGE"), values.get("LABEL"), values.get("UUID"), values.get("PTTYPE")
    )


# --- the kernel's tables ---------------------------------------------------------------------------------


def _plain(field: bytes) -> str:
    """A field in which blanks and the like stand as octal numbers; names that are not UTF-8 survive."""
    whole = _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), field)
    return whole.decode("utf-8", "surrogateescape")


def _lines(data: bytes, name: str) -> list[bytes]:
    lines = data.split(b"\n")
    if len(lines) > MAX_LINES:
        raise FormatError(f"{name} has more than {MAX_LINES:,} lines")
    return [line for line in lines if line]


def parse_mounts(data: bytes) -> list[Mount]:
    """/proc/self/mountinfo, in the order of mounting; lines that are none are left out. FormatError: too many."""
    found = []
    for line in _lines(data, "mountinfo"):
        left, _, right = line.partition(b" - ")
        fields, rest = left.split(b" "), right.split(b" ")
        number = _NUMBER.fullmatch(fields[2].decode("ascii", "replace")) if len(fields) > 5 else None
        if number is None or len(rest) < 2:
            continue
        options = {*fields[5].split(b","), *(rest[2].split(b",") if len(rest) > 2 else ())}
        where = (int(number[1]), int(number[2]))
        found.append(
            Mount(where, _plain(fields[3]), _plain(fields[4]), _plain(rest[0]), _plain(rest[1]), b"ro" in options)
        )
    return found


def parse_swaps(data: bytes) -> list[str]:
    """/proc/swaps: paths of the devices (not of files) that are swapped to. FormatError: too many lines."""
    rows = [line.split() for line in _lines(data, "swaps")[1:]]
    return [_plain(row[0]) for row in rows if len(row) >= 2 and row[1] == b"partition"]
