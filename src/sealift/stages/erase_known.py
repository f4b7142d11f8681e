"""What is known of a medium before it is erased: by the logs beside the certificates, and by this host's own memory.

A medium that was erased carries nothing that tells what it was, and a new folder for certificates knows of no log. So
each erasure that begins is noted in the user's state folder too, in one file a boot: what tells a medium that has no
serial number (the kernel's number of it, the file of a loop device) holds no longer than that.

What holds: a note is on the disk before the first byte of a medium is written. It is no proof: whoever has the state
folder can take it away, and another host has another one. `sealift audit` compares the certificates of all folders.

What is not here: erasing; what follows from it (erase.py).
"""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from sealift.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealift.drives.block import Disk

_FIRST = 1 << 20  # bytes of a log's first line
_MEMORY = 64 << 20  # bytes that are read of this host's notes


class Before(NamedTuple):
    """An erasure that was begun; `attached`: of the medium that has not been pulled since."""

    serial: str
    told_by: str
    log: str
    attached: bool


def before(folder: str | None, disk: Disk) -> list[Before]:
    """Erasures that were begun of this medium, or of a loop device of its file, oldest first."""
    mark, found = medium_mark(disk), dict[str, tuple[str, Before]]()
    for path, begun in [*_beside(folder), *_remembered()]:
        serial = begun.get("serial")
        same = mark is not None and begun.get("medium") == mark
        if isinstance(serial, str) and (same or (disk.backing is not None and begun.get("drive") == disk.name)):
            known = Before(serial, str(begun.get("told_by")), path, attached=same)
            found.setdefault(os.path.realpath(path), (str(begun.get("at")), known))
    return [known for _, known in sorted(found.values(), key=lambda one: (one[0], one[1].log))]


def _beside(folder: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in glob.glob(os.path.join(glob.escape(folder), "*.log.jsonl")) if folder else ():
        yield path, first_line(path)


def _remembered() -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with open(_memory(), "rb") as file:
            lines = file.read(_MEMORY).splitlines()
    except OSError:
        return
    for line in lines:
        said = _decoded(line)
        if isinstance(said.get("log"), str):
            yield said["log"], said


def remember(log: str) -> None:
    """Note the erasure that a log's first line begins. BadInput: it cannot be noted."""
    path = _memory()
    said = {name: value for name, value in first_line(log).items() if name in {"at", "serial", "told_by", "medium"}}
    line = msgspec.json.encode({**said, "drive": first_line(log).get("drive"), "log": os.path.abspath(log)}) + b"\n"
    try:
        descriptor = _open(path)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _cannot(path, error) from error


def writable() -> None:
    """BadInput where nothing can be noted; asked before a log is made."""
    path = _memory()
    try:
        os.close(_open(path))
    except OSError as error:
        raise _cannot(path, error) from error


def _open(path: str) -> int:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return descriptor


def _cannot(path: str, error: OSError) -> BadInput:
    return BadInput(
        f"{path}: {(error.strerror or str(error)).lower()}; nothing was written to a drive",
        hint="which media were erased is noted there; XDG_STATE_HOME is another place for it",
    )


def _memory() -> str:
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(base, "sealift", "erased", f"{_boot() or 'boot'}.jsonl")


def medium_mark(disk: Disk) -> str | None:
    """What tells this medium from every other until it is pulled or the host boots again; None before Linux 5.15."""
    boot = _boot()
    return f"{boot}/{disk.sequence}" if boot and disk.sequence is not None else None


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(64).strip()
    except (OSError, ValueError):
        return ""


def first_line(path: str) -> dict[str, Any]:
    """The `begun` of a log; {} where it has none that can be read."""
    try:
        with open(path, "rb") as file:
            said = _decoded(file.readline(_FIRST))
    except OSError:
        return {}
    return said if said.get("what") == "begun" else {}


def begun(log: bytes) -> dict[str, Any]:
    """As `first_line`, of a log's bytes."""
    said = _decoded(log[:_FIRST].partition(b"\n")[0])
    return said if said.get("what") == "begun" else {}


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        said = msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
