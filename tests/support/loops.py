"""Loop devices with real filesystems, of files in a folder, and tools that print what they are told.

Everything is taken away again, whatever a test did with it. Only devices made here are touched.
"""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import shipments

from sealift.drives import apart, block

if TYPE_CHECKING:
    from collections.abc import Iterator

VECTORS = Path(__file__).parents[1] / "vectors" / "drives"
MIB = 1 << 20
SMALLEST_XFS = 320 * MIB


def need_loops() -> None:
    """Skip where there are no loop devices for us; where CI is set, fail."""
    why = None
    if os.geteuid() != 0:
        why = "needs root, for loop devices and mounts"
    elif not os.path.exists("/dev/loop-control"):
        why = "this system has no loop devices"
    if why:
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    shipments.need("losetup", "lsblk", "partx", "blkid", "mkfs.ext4", "mkfs.xfs", "mount", "umount")


def run(*words: object) -> str:
    """stdout of a command that must succeed."""
    done = subprocess.run(list(map(str, words)), check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.stdout.strip()


class Loops:
    """Loop devices of files beneath `root`."""

    def __init__(self, root: Path, stack: contextlib.ExitStack) -> None:
        self.root, self._stack = root, stack

    def image(self, name: str, size: int = 64 * MIB, *, store: Path | None = None) -> Path:
        """A file of zeros."""
        path = (store or self.root) / name
        with open(path, "xb") as file:
            file.truncate(size)
        return path

    def partitioned(self, name: str, size: int = 64 * MIB) -> Path:
        """A file with a partition table (dos) of one partition, from its second MiB on."""
        path = self.image(name, size)
        first, count = MIB // 512, size // 512 - MIB // 512
        entry = struct.pack("<B3sB3sII", 0, b"\0\0\0", 0x83, b"\0\0\0", first, count)
        with open(path, "r+b") as file:
            file.seek(446)
            file.write(entry + bytes(48) + b"\x55\xaa")
        return path

    def attach(self, image: Path, *options: str) -> str:
        """The device node of the file."""
        device = run("losetup", "--find", "--show", *options, image)
        self._stack.callback(subprocess.run, ["losetup", "-d", device], check=False, capture_output=True)
        return device

    def attach_parts(self, image: Path) -> str:
        """The same, its partitions as nodes; also where the kernel does not read this kind of table."""
        device = self.attach(image, "--partscan")
        if not os.path.exists(f"{device}p1"):
            run("partx", "--add", device)
        return device

    def drive(self, name: str, kind: str | None = None, size: int | None = None, *options: str) -> tuple[str, str]:
        """Name (the file's path) and device node of a new loop device, with a filesystem if `kind` says which."""
        image = self.image(name, size or (SMALLEST_XFS if kind == "xfs" else 64 * MIB))
        if kind is not None:
            run(f"mkfs.{kind}", "-q", *options, image)
        return str(image), self.attach(image)

    def mount(self, device: str, name: str, *options: str) -> Path:
        """Where the device is mounted now."""
        place = self.root / name
        place.mkdir(exist_ok=True)
        run("mount", *options, device, place)
        self.also_unmount(place)
        return place

    def also_unmount(self, place: Path) -> None:
        """Take this mount away, too."""
        self._stack.callback(subprocess.run, ["umount", "-l", place], check=False, capture_output=True)

    def memory(self, name: str, size: int) -> Path:
        """A folder in memory, which can be made too small for what is in it."""
        place = self.root / name
        place.mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place)
        self.also_unmount(place)
        return place


@contextlib.contextmanager
def loops(root: Path) -> Iterator[Loops]:
    """Loop devices for one test."""
    need_loops()
    with contextlib.ExitStack() as stack:
        yield Loops(root, stack)


class ToldHost:
    """A host whose lsblk, blkid and smartctl print what tests/vectors/drives has."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tools = folder / "tools"
        self.sys = folder / "sys"
        monkeypatch.setenv("PATH", f"{self.tools}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setattr(block, "_SYS", str(self.sys))
        monkeypatch.setattr(block, "_MOUNTS", str(VECTORS / "host.mountinfo"))
        monkeypatch.setattr(block, "_SWAPS", str(folder / "swaps"))

    def tell(self, name: str, *, blkid: str = "exit 2", smartctl: str = "exit 1") -> None:
        """NAME.lsblk is what there is; the others are shell scripts, of which $4 and $5 is the device."""
        script(self.tools, "lsblk", f"cat {VECTORS}/{name}.lsblk")
        script(self.tools, "blkid", blkid)
        script(self.tools, "smartctl", smartctl)

    def disks(self, name: str, **how: str) -> dict[str, block.Disk]:
        """By kernel name."""
        self.tell(name, **how)
        return {disk.device.kernel: disk for disk in block.discover(seconds=2)}


def children(process: int) -> list[int]:
    """The processes that a running one has begun."""
    with open(f"/proc/{process}/task/{process}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def is_there(process: int) -> bool:
    """Whether it runs; one that ended and that nobody waited for does not."""
    try:
        with open(f"/proc/{process}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def hide_tools(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """A host on which nothing is installed."""
    monkeypatch.setenv("PATH", str(folder / "nothing"))
    monkeypatch.setattr(apart, "_ALSO", "/nowhere")


def script(folder: Path, name: str, text: str) -> None:
    """A program `name` in `folder`: a shell script."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
