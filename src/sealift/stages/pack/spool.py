"""Segments of objects, kept for a moment, so that what a builder fetched is hashed and not fetched again.

    builder --> state/spool/NAME --> follower (follow.py), which reads right behind and removes the name at once

- A spool is a help and never needed: a segment for which the disk has no room, or that it does not take, ends short,
  and whoever reads fetches the rest from the store.
- It leaves RESERVE free: the journal is on the same disk.
- Bytes are encrypted (ChaCha20, RFC 8439) under a key that only the processes of this run have: the state folder is no
  place for what is packed, and what was removed can be found again. Not authenticated: both sides compare BLAKE3.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

import msgspec
from blake3 import blake3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sealift.stages.pack.units import Unit

RESERVE = 1 << 30  # bytes of the disk that stay free
_LOOKED_AT = 64 << 20  # bytes between two looks at what is free; all builders together stay within RESERVE
_PIECE = 1 << 20
_NONCE = 16  # of which four bytes count blocks of 64
_PAUSE = 0.005


class Spool(msgspec.Struct, array_like=True):
    """Where segments are kept, and under which key of 32 bytes."""

    folder: str
    key: bytes

    @classmethod
    def begun(cls, state: str) -> Spool:
        """An empty one in a state folder, without what a run that was killed left there."""
        spool = cls(os.path.join(state, "spool"), os.urandom(32))
        with contextlib.suppress(OSError):  # then nothing is kept
            os.makedirs(spool.folder, 0o700, exist_ok=True)
        spool.clear()
        return spool

    def clear(self) -> None:
        """Nothing is in it: what was written of a stripe that is packed again is not taken for what comes."""
        with contextlib.suppress(OSError):
            for name in os.listdir(self.folder):
                os.unlink(os.path.join(self.folder, name))

    def remove(self) -> None:
        """With all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, unit: Unit) -> str:
        """The file of a segment."""
        return os.path.join(self.folder, f"{blake3(unit.path).hexdigest()[:32]}-{unit.start}")

    def cipher(self, nonce: bytes) -> Any:
        """What encrypts and decrypts: `update_into(data, buffer)`."""
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

        return Cipher(ChaCha20(self.key, nonce), None).encryptor()

    def writer(self, unit: Unit) -> Writer:
        """For a segment that is about to be read."""
        return Writer(self, unit)

    def read(self, unit: Unit, over: Callable[[], bool]) -> Iterator[memoryview]:
        """A segment as it comes, piece by piece, each good until the next; fewer bytes than it has where it ends short.

        `over` says that nothing more is written, of any segment.
        """
        path = self.path(unit)
        while True:
            last = over()
            with contextlib.suppress(OSError):
                file = open(path, "rb", buffering=0)  # noqa: SIM115 -- closed below
                break
            if last:
                return
            time.sleep(_PAUSE)
        with file:
            with contextlib.suppress(OSError):
                os.unlink(path)
            yield from self._pieces(file.fileno(), unit.length, over)

    def _pieces(self, fd: int, length: int, over: Callable[[], bool]) -> Iterator[memoryview]:
        cipher, place, end = None, 0, _NONCE + length
        raw, clear = memoryview(bytearray(_PIECE)), memoryview(bytearray(_PIECE))
        while place < end:
            last = over()
            wanted = _PIECE if cipher else _NONCE
            try:
                count = os.preadv(fd, [raw[: min(wanted, end - place)]], place)
                if os.fstat(fd).st_size < place + count:  # given up
                    return
            except OSError:
                return
            if cipher is None and count == _NONCE:
                cipher = self.cipher(bytes(raw[:_NONCE]))
                place = _NONCE
            elif cipher is not None and count:
                cipher.update_into(raw[:count], clear)
                place += count
                yield clear[:count]
            elif last:
                return
            else:
                time.sleep(_PAUSE)


class Writer:
    """Of one segment: `add` what was read of it, from front to back, then `close`. Nothing here raises."""

    def __init__(self, spool: Spool, unit: Unit) -> None:
        self._path, self._left, self._fd = spool.path(unit), unit.length, -1
        self._unlooked = 0  # bytes that may be written before the next look at what is free
        nonce = bytes(4) + os.urandom(_NONCE - 4)
        self._cipher, self._buffer = spool.cipher(nonce), memoryview(bytearray(_PIECE))
        with contextlib.suppress(OSError):
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            self._write(nonce)

    def add(self, data: memoryview) -> None:
        """What comes next."""
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE]
            if self._fd >= 0:
                self._cipher.update_into(piece, self._buffer)
                self._write(self._buffer[: len(piece)])
                self._left -= len(piece)

    def _write(self, data: bytes | memoryview) -> None:
        try:
            if self._unlooked <= 0:
                found = os.fstatvfs(self._fd)
                taken, self._unlooked = found.f_bavail * found.f_frsize > RESERVE, _LOOKED_AT
            else:
                taken = True
            self._unlooked -= len(data)
            taken = taken and os.write(self._fd, data) == len(data)
        except OSError:
            taken = False
        if not taken:
            self._give_up()

    def _give_up(self) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
            os.unlink(self._path)
        os.close(self._fd)
        self._fd = -1

    def close(self) -> None:
        """Short of the end it is given up, as the rest is of another version, or not to be had."""
        if self._fd >= 0 and self._left:
            self._give_up()
        elif self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
