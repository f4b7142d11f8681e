"""The corpora, made on the spot from packages: real files that anybody can get again.

    large   large files that do not compress: music, a file of half of the whole, and shards of 256 MiB
    small   tens of thousands of text files, about 13 KB each: nearly all of linux-source-6.1
    tiny    the same text in files of exactly 4 KB
    mixed   documents, drawings, pictures, sound and music, as they come

Shards and the one very large file are bytes of 0ad-data through ChaCha20 under keys that are counted up: no two alike,
so that no tool gains by finding the same bytes again, or by compressing (as it stands, the game's archive shrinks by a
third). Everything lies in DIR/corpora and is kept between runs;
a corpus that was not finished is made again. With --smoke all of them are small, and made without any package.

With --local no package is fetched, for machines that reach none: large files are those of ChaCha20 alone, and texts are
the sources among the libraries of this Python (code and headers, of the same sizes), more than once where they are too
few. There is no mixed corpus then.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHARD = 256 << 20
_PIECE = 4 << 20
_SMALL = (1, 256 << 10)  # sizes of the text files taken: about 13 KB on average
_TINY = 4096
_CODE = (".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".js", ".json", ".py", ".pyi", ".rst", ".txt")
_MIXED = ("linux-doc-6.1", "openclipart-svg", "gnome-backgrounds", "sonic-pi-samples", "wesnoth-1.16-music")


@dataclass
class Corpus:
    """A folder of files to pack."""

    name: str
    path: str
    files: int
    size: int


@dataclass
class Makers:
    """Where corpora are made, and how large."""

    folder: str
    large_bytes: int
    small_files: int
    rebuild_bytes: int
    smoke: bool
    say: Callable[[str], None]
    local: bool = False

    def get(self, name: str) -> Corpus:
        """The corpus, made now if it is not there."""
        label = f"{name}-{self._measure(name)}" + ("-local" if self.local else "")
        target = os.path.join(self.folder, "corpora", label + ("-smoke" if self.smoke else ""))
        if not os.path.isdir(target):
            self.say(f"making corpus {name}")
            shutil.rmtree(target + ".part", ignore_errors=True)
            os.makedirs(target + ".part")
            if self.smoke:
                self._smoke(target + ".part", name)
            else:
                getattr(self, f"_{name}")(target + ".part")
            os.rename(target + ".part", target)
            os.sync()
        sizes = [os.lstat(path).st_size for path in _files(target)]
        return Corpus(name, target, len(sizes), sum(sizes))

    def _measure(self, name: str) -> int:
        return {"large": self.large_bytes, "rebuild": self.rebuild_bytes, "mixed": 0}.get(name, self.small_files)

    def package(self, name: str) -> str:
        """The unpacked files of a Debian package."""
        target = os.path.join(self.folder, "packages", name)
        if not os.path.isdir(target):
            self.say(f"getting package {name}")
            archives = os.path.join(self.folder, "archives")
            os.makedirs(archives, exist_ok=True)
            if not (found := [each for each in os.listdir(archives) if each.startswith(name + "_")]):
                subprocess.run(["apt-get", "download", "-qq", name], cwd=archives, check=True)
                found = [each for each in os.listdir(archives) if each.startswith(name + "_")]
            shutil.rmtree(target + ".part", ignore_errors=True)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            subprocess.run(["dpkg-deb", "-x", os.path.join(archives, found[0]), target + ".part"], check=True)
            os.rename(target + ".part", target)
        return target

    def _large(self, target: str) -> None:
        self._incompressible(target, self.large_bytes)

    def _rebuild(self, target: str) -> None:
        self._incompressible(target, self.rebuild_bytes)

    def _incompressible(self, target: str, total: int) -> None:
        size, sources = 0, [os.path.realpath(sys.executable)]
        if not self.local:
            for path in _files(self.package("wesnoth-1.16-music")):
                if path.endswith(".ogg") and size + os.path.getsize(path) <= total // 8:
                    shutil.copyfile(path, os.path.join(target, os.path.basename(path)))
                    size += os.path.getsize(path)
            sources = [path for path in _files(self.package("0ad-data")) if path.endswith(".zip")]
        size += _shard(os.path.join(target, "whole.bin"), sources, 0, total // 2)
        key = 1
        while size < total:
            path = os.path.join(target, f"shard-{key:04d}.bin")
            size += _shard(path, sources, key, min(SHARD, total - size))
            key += 1

    def _small(self, target: str) -> None:
        count = 0
        for name, data, mtime in self._texts():
            if _SMALL[0] <= len(data) < _SMALL[1]:
                _write(target, name, data, mtime)
                count += 1
                if count == self.small_files:
                    return

    def _tiny(self, target: str) -> None:
        """4 KB pieces of the same text, 64 a folder."""
        count = 0
        for _, data, mtime in self._texts():
            for start in range(0, len(data) - _TINY + 1, _TINY):
                _write(target, f"{count // 64:05d}/{count:07d}.txt", data[start : start + _TINY], mtime)
                count += 1
                if count == self.small_files:
                    return

    def _texts(self) -> Iterator[tuple[str, bytes, float]]:
        if self.local:
            yield from _code(sysconfig.get_path("purelib"))
            return
        (archive,) = [path for path in _files(self.package("linux-source-6.1")) if path.endswith(".tar.xz")]
        with subprocess.Popen(["xz", "-dc", "-T0", archive], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
                for member in tar:
                    if member.isreg() and (file := tar.extractfile(member)) is not None:
                        yield member.name, file.read(), member.mtime
            process.kill()

    def _mixed(self, target: str) -> None:
        for name in _MIXED:
            shutil.copytree(self.package(name), os.path.join(target, name), symlinks=True)

    def _smoke(self, target: str, name: str) -> None:
        source = random.Random(name)
        words = [b"%x" % source.getrandbits(24) for _ in range(2000)]
        if name in {"large", "mixed", "rebuild"}:
            for number in range(4):
                _write(target, f"noise-{number}.bin", source.randbytes(self.large_bytes // 4))
        if name not in {"large", "rebuild"}:
            for number in range(self.small_files):
                text = b" ".join(source.choices(words, k=2000 if name != "tiny" else 700))
                _write(target, f"{number // 50:03d}/{number:05d}.txt", text[:_TINY] if name == "tiny" else text)


def _code(folder: str) -> Iterator[tuple[str, bytes, float]]:
    """Again and again, beneath another folder and with a first line of its own, so that no two files are alike."""
    paths = [path for path in _files(folder) if path.endswith(_CODE) and os.path.isfile(path)]
    for turn in itertools.count() if paths else ():
        for number, path in enumerate(paths):
            with open(path, "rb") as file:
                data = (b"# %d of turn %d\n" % (number, turn) if turn else b"") + file.read()
            yield os.path.join(f"turn-{turn}", os.path.relpath(path, folder)), data, os.path.getmtime(path)


def _files(folder: str) -> Iterator[str]:
    for top, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            yield os.path.join(top, name)


def _write(folder: str, name: str, data: bytes, mtime: float | None = None) -> None:
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    if mtime is not None:
        os.utime(path, (mtime, mtime))  # as tar extracts it


def _pieces(sources: list[str]) -> Iterator[bytes]:
    while True:
        for path in sources:
            with open(path, "rb") as file:
                while piece := file.read(_PIECE):
                    yield piece


def _shard(path: str, sources: list[str], key: int, size: int) -> int:
    """`size` bytes of `sources` through ChaCha20."""
    cipher = Cipher(ChaCha20(key.to_bytes(32, "big"), bytes(16)), mode=None).encryptor()
    left = size
    with open(path, "wb") as file:
        for piece in _pieces(sources):
            left -= file.write(cipher.update(piece[:left]))
            if not left:
                return size
    raise AssertionError("pieces never end")
