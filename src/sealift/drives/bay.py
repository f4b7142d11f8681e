"""Which bay a drive is in, shown by light: the enclosure's own, or the drive's activity light in a rhythm.

What holds: nothing is written to a drive, and a light that was lit here is out again when `lit` ends, however it does
(but for SIGKILL and power). Reading is done by a process of its own that ends when this one does, so that a drive which
hangs keeps nobody. The rhythm is BEAT seconds of reading all over the drive, past the cache, and BEAT of rest: a light
of activity goes on and off with it, where its neighbours flicker or rest.

What is not here: which drive is meant.
"""

from __future__ import annotations

import contextlib
import glob
import os
import random
import select
import signal
import subprocess
import time
from functools import partial
from typing import TYPE_CHECKING, Literal

from sealift.drives import apart
from sealift.drives.base import ALIGN, aligned_buffer
from sealift.errors import DriveFault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealift.drives.block import Disk

How = Literal["enclosure", "ledctl", "reading"]
BEAT = 0.8
_SYS = "/sys"
_ASKED = 20.0  # seconds that ledctl gets
_READ = 64 << 10


@contextlib.contextmanager
def lit(disk: Disk) -> Iterator[How]:
    """Show the drive's bay while inside; what shows it. DriveFault: the drive cannot even be read."""
    light = _light(disk)
    if light is not None and _write(light, b"1"):
        try:
            yield "enclosure"
        finally:
            _write(light, b"0")
        return
    if _ledctl(disk, "locate"):
        try:
            yield "ledctl"
        finally:
            _ledctl(disk, "locate_off")
        return
    with _rhythm(disk):
        yield "reading"


def _kernel_names(disk: Disk) -> list[str]:
    """Of the disk, or of the paths of a multipath device."""
    return [os.path.basename(path) for path in disk.paths] or [disk.device.kernel]


def _light(disk: Disk) -> str | None:
    """The enclosure's switch, where the kernel knows the drive's slot (SES)."""
    for name in _kernel_names(disk):
        here = glob.escape(f"{_SYS}/class/block/{name}/device")
        for found in glob.glob(f"{here}/enclosure_device:*/locate"):
            return found
        for slot in glob.glob(f"{_SYS}/class/enclosure/*/*/device/block/{glob.escape(name)}"):
            switch = os.path.join(os.path.dirname(slot), "..", "..", "locate")
            if os.path.exists(switch):
                return switch
    return None


def _write(path: str, value: bytes) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            return os.write(descriptor, value) == len(value)
        finally:
            os.close(descriptor)
    except OSError:
        return False  # not root, or a switch that the enclosure does not have


def _ledctl(disk: Disk, pattern: str) -> bool:
    program = apart.tool("ledctl")
    if disk.device.kind == "loop" or program is None:
        return False
    node = disk.paths[0] if disk.paths else disk.node
    try:
        done = subprocess.run(
            [program, f"{pattern}={node}"],
            capture_output=True, check=False, timeout=_ASKED, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


# --- the rhythm ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _rhythm(disk: Disk) -> Iterator[None]:
    """Read the drive in a rhythm while inside."""
    node = disk.paths[0] if disk.paths else disk.node
    (answer,) = apart.run([partial(_try, node)], seconds=_ASKED, limit=1 << 10)
    if why := answer.trouble or answer.output.decode(errors="replace"):
        hint = "as root: only root may read a drive itself" if os.geteuid() else None
        raise DriveFault(f"{disk.name}: {node}: {why}; its bay cannot be shown", drive=disk.name, hint=hint)
    ends, stays = os.pipe()
    reader = apart.fork()
    if not reader:
        with contextlib.suppress(BaseException):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            os.close(stays)
            _beat(_open(node), disk.device.size, ends)
        os._exit(0)
    os.close(ends)
    try:
        yield
    finally:
        os.close(stays)
        _stop(reader)


def _try(node: str, descriptor: int) -> None:
    """In a process of its own: why the drive cannot be opened, or nothing."""
    try:
        os.close(_open(node))
    except OSError as error:
        os.write(descriptor, (error.strerror or str(error)).lower().encode())


def _open(node: str) -> int:
    try:
        return os.open(node, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
    except OSError:
        return os.open(node, os.O_RDONLY | os.O_CLOEXEC)


def _beat(descriptor: int, size: int, ends: int) -> None:
    """Until `ends` is closed at its other side, which it also is when our parent is gone."""
    buffer = aligned_buffer(_READ)
    places = random.Random()  # noqa: S311 -- where the light's next read is
    last = max(0, size - _READ)
    while True:
        until = time.monotonic() + BEAT
        while time.monotonic() < until:
            offset = places.randint(0, last) // ALIGN * ALIGN
            try:
                os.preadv(descriptor, [buffer], offset)
            except OSError:
                break  # a bad sector, or a dead drive: the rest of the beat is dark
            os.posix_fadvise(descriptor, offset, _READ, os.POSIX_FADV_DONTNEED)
        if select.select([ends], [], [], BEAT)[0]:
            return


def _stop(reader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(reader, signal.SIGKILL)
    until = time.monotonic() + 1.0
    while time.monotonic() < until and os.waitpid(reader, os.WNOHANG) == (0, 0):
        time.sleep(0.005)
