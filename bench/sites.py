"""Where contenders write: files that are reused in memory, or real filesystems on loop devices.

    reused   folders of tmpfs; every run writes over the files of an earlier one, so that no page is fresh.
             What the medium costs is left out; what is measured is the tool.
    xfs      XFS on loop devices over sparse files, direct I/O beneath: new files, fsync at the end of everything.

A site holds what contenders wrote last. Where memory would get short for what a run writes, with the source beside it
in the page cache, it takes the others' files away before, and brings the run's own files back (by writing zeros over
fresh pages) before the clock starts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from bench import machine

if TYPE_CHECKING:
    from collections.abc import Callable

SPARES = "spares"
_MARGIN = 3 << 30  # of memory that is left to processes and caches


class Reused:
    """Folders in memory."""

    name = "reused"

    def __init__(self, root: str, drives: int, size: int) -> None:
        """`size`: bytes of the source, which a peer's output may have too."""
        self.root, self._size = root, size
        self.mounts = [os.path.join(root, f"d{i}") for i in range(drives)]
        self.peer = os.path.join(root, "peer")
        self._lengths: dict[str, dict[str, int]] = {}  # owner -> path -> bytes
        shutil.rmtree(root, ignore_errors=True)
        for folder in (*self.mounts, self.peer):
            os.makedirs(folder, mode=0o700)

    def drives(self) -> Callable[[], None]:
        """Before sealift: what it packed last becomes spares."""

        def prepare() -> None:
            self._gather()
            self._restore("drives")

        return prepare

    def one(self, mount: str) -> Callable[[], None]:
        """Before sealift writes one drive anew: what it wrote there last becomes spares."""

        def prepare() -> None:
            self._spare(mount)

        return prepare

    def file(self, name: str) -> tuple[str, str, Callable[[], None]]:
        """A peer's output: its path, the shell's redirection to it, and what is to be done before."""
        path = os.path.join(self.peer, name)

        def prepare() -> None:
            if os.path.exists(path):
                self._lengths[name] = {path: os.path.getsize(path)}
            self._gather()
            self._restore(name)
            with open(path, "ab"):
                pass

        return path, f"1<> {path}", prepare

    def folder(self, name: str) -> tuple[str, Callable[[], None]]:
        """A peer's folder, empty and new for every run: its path and what is to be done before."""
        path = os.path.join(self.peer, name)

        def prepare() -> None:
            shutil.rmtree(path, ignore_errors=True)
            self._gather()
            self._restore(name, self._size)
            os.makedirs(path)

        return path, prepare

    def _gather(self) -> None:
        """Packs of the last run become spares, under numbers."""
        files: dict[str, int] = {}
        for mount in self.mounts:
            files |= self._spare(mount)
        if files:
            self._lengths["drives"] = files

    @staticmethod
    def _spare(mount: str) -> dict[str, int]:
        """The same for one drive; its spares and their lengths."""
        spares = os.path.join(mount, SPARES)
        os.makedirs(spares, exist_ok=True)
        for top, _, names in sorted(os.walk(os.path.join(mount, "sealift", "packs"))):
            for each in sorted(names):
                os.rename(os.path.join(top, each), os.path.join(spares, each.split(".")[0]))
        shutil.rmtree(os.path.join(mount, "sealift"), ignore_errors=True)
        return {os.path.join(spares, each): os.path.getsize(os.path.join(spares, each)) for each in os.listdir(spares)}

    def _restore(self, owner: str, new: int = 0) -> None:
        """Room for `owner`'s files, which are made again where they are gone, and for `new` bytes beside."""
        mine = self._lengths.get(owner, {})
        here = {path: length for path, length in mine.items() if os.path.exists(path)}
        need = sum(mine.values()) - sum(here.values()) + (new or (0 if mine else 2 * self._size))
        if machine.available() < need + self._size + _MARGIN:
            for other, files in self._lengths.items():
                for path in files if other != owner else ():
                    if os.path.exists(path):
                        os.unlink(path)
            for entry in os.scandir(self.peer):
                if entry.is_dir() and entry.name != owner:
                    shutil.rmtree(entry.path)
        zeros = bytes(4 << 20)
        for path, length in mine.items():
            if path not in here:
                with open(path, "wb", buffering=0) as file:
                    file.writelines(zeros[: length - start] for start in range(0, length, len(zeros)))

    def sync(self, path: str) -> str:
        """What a peer's command ends with: nothing, there is no medium."""
        del path
        return ":"

    def close(self) -> None:
        """Give the memory back."""
        shutil.rmtree(self.root, ignore_errors=True)


class Xfs:
    """Real filesystems, one for each drive and one for the peers, on loop devices."""

    name = "xfs"

    def __init__(self, root: str, drives: int, drive_bytes: int, peer_bytes: int) -> None:
        self.root = root
        self.mounts: list[str] = []
        self._devices: list[str] = []
        self._mounted: list[str] = []
        shutil.rmtree(root, ignore_errors=True)
        os.makedirs(root, mode=0o700)
        try:
            for number in range(drives):
                self.mounts.append(self._mount(f"d{number}", drive_bytes))
            self.peer = self._mount("peer", peer_bytes)
        except BaseException:
            self.close()
            raise

    def _mount(self, name: str, size: int) -> str:
        mount, image = os.path.join(self.root, name), os.path.join(self.root, name + ".img")
        os.mkdir(mount)
        with open(image, "wb") as file:
            file.truncate(max(size, 320 << 20))
        subprocess.run(["mkfs.xfs", "-q", image], check=True, capture_output=True)
        done = subprocess.run(
            ["losetup", "--find", "--show", "--direct-io=on", image], check=True, capture_output=True, text=True
        )
        self._devices.append(done.stdout.strip())
        subprocess.run(["mount", "-t", "xfs", self._devices[-1], mount], check=True, capture_output=True)
        self._mounted.append(mount)
        return mount

    def drives(self) -> Callable[[], None]:
        """Before sealift: empty drives, nothing to be written back."""

        def prepare() -> None:
            for mount in self.mounts:
                shutil.rmtree(os.path.join(mount, "sealift"), ignore_errors=True)
            self._settle()

        return prepare

    def one(self, mount: str) -> Callable[[], None]:
        """Before sealift writes one drive anew: it is empty."""
        return lambda: shutil.rmtree(os.path.join(mount, "sealift"), ignore_errors=True)

    def file(self, name: str) -> tuple[str, str, Callable[[], None]]:
        """A peer's output, a new file for every run."""
        path = os.path.join(self.peer, name)

        def prepare() -> None:
            self._empty()

        return path, f"> {path}", prepare

    def folder(self, name: str) -> tuple[str, Callable[[], None]]:
        """A peer's folder, empty and new for every run."""
        path = os.path.join(self.peer, name)

        def prepare() -> None:
            self._empty()
            os.makedirs(path)

        return path, prepare

    def _empty(self) -> None:
        for entry in os.scandir(self.peer):
            shutil.rmtree(entry.path) if entry.is_dir() else os.unlink(entry.path)
        self._settle()

    def _settle(self) -> None:
        for mount in self._mounted:
            subprocess.run(["sync", "-f", mount], check=True)

    def sync(self, path: str) -> str:
        """What a peer's command ends with, as sealift fsyncs too."""
        return f"sync -f {os.path.dirname(path)}"

    def close(self) -> None:
        """Unmount, detach, remove; what is still busy is detached lazily."""
        while self._mounted:
            mount = self._mounted.pop()
            if subprocess.run(["umount", mount], check=False, capture_output=True).returncode:
                subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
        while self._devices:
            subprocess.run(["losetup", "-d", self._devices.pop()], check=False, capture_output=True)
        shutil.rmtree(self.root, ignore_errors=True)


def xfs_possible() -> str | None:
    """None where loop devices can be mounted here, else why not."""
    if os.geteuid() != 0:
        return "mounting loop devices needs root"
    missing = [tool for tool in ("losetup", "mkfs.xfs", "mount", "umount") if shutil.which(tool) is None]
    return f"{', '.join(missing)} not installed" if missing else None
