"""`sealift mount` as users run it: a process of its own, a real FUSE mount, unmounted by a signal."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import shipments

from sealift.formats import seal as seals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


def need_fuse() -> None:
    """Skip where this kernel or machine has no FUSE; where CI is set, fuse3 must be installed."""
    import pytest

    if not os.path.exists("/dev/fuse"):
        pytest.skip("this kernel has no FUSE")
    shipments.need("fusermount3")


def is_mounted(folder: Path) -> bool:
    """Whether something is mounted there, dead or alive: os.path.ismount asks what is mounted."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return any(line.split(" ")[4] == str(folder) for line in file)


class Mount:
    """A running `sealift mount`."""

    def __init__(self, folder: Path, process: subprocess.Popen[str], log: Path) -> None:
        self.folder, self.process, self._log = folder, process, log

    def said(self) -> str:
        """What it printed so far, to stderr and stdout."""
        return self._log.read_text()

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Stop it by a signal; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)


def command(origin: shipments.Origin, *more: str, mounts: Sequence[str] | None = None) -> list[str]:
    """The command line, without --at."""
    seal = origin.root / "sent.seal"
    if not seal.exists():
        seal.write_bytes(seals.encode_bundle(origin.seal()))
    keys = ["--identity", str(origin.root / "identity"), "--allowed-signers", str(origin.root / "allowed")]
    return [sys.executable, "-m", "sealift", "mount", *(mounts or origin.mounts), *keys, "--seal", str(seal), *more]


@contextlib.contextmanager
def mounted(origin: shipments.Origin, folder: Path, *more: str, **how: Any) -> Iterator[Mount]:
    """The shipment at `folder`, which is made; afterwards it is not mounted, whatever happened."""
    folder.mkdir(parents=True)
    log = folder.with_name(folder.name + ".log")
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [*command(origin, *more, **how), "--at", str(folder)], stdout=output, stderr=output, text=True
        )
    mount = Mount(folder, process, log)
    try:
        deadline = time.monotonic() + 30
        while "unmounts" not in mount.said():
            assert process.poll() is None, mount.said()
            assert time.monotonic() < deadline, mount.said()
            time.sleep(0.02)
        yield mount
    finally:
        if process.poll() is None:
            mount.end()
        if is_mounted(folder):
            subprocess.run(["umount", "--lazy", folder], check=False)


def umount(place: object, *, lazy: bool = False) -> None:
    """Unmount; again for a while where it is busy: another test may be looking at all devices and mounts."""
    command = ["umount", *(["--lazy"] if lazy else []), str(place)]
    for _ in range(100):
        if subprocess.run(command, check=False, capture_output=True).returncode == 0:
            return
        time.sleep(0.2)
    subprocess.run(command, check=True)
