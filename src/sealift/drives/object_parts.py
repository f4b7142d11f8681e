"""The ETag of an object that was put in parts: the MD5 of its parts' MD5s, a dash, and how many parts there are.

    of_parts(etag)        the MD5 and the number
    usual(size, parts)    the size of parts that makes so many, if it is one that tools use
    PartsHasher           a hasher whose digest is that MD5, for parts of one size

Amazon's S3 User Guide, "Checking object integrity", "Using part-level checksums for multipart uploads". It holds where
all parts but the last are of one size, as tools make them, and where ETags are digests at all. Pure.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

_ETAG = re.compile(rb'"?([0-9a-f]{32})-([1-9][0-9]{0,4})"?')
MOST = 10_000  # parts that an object has at most
_MIB = 1 << 20
# the AWS CLI and SDKs; rclone and obstore; s3cmd; the powers of two of whoever chooses; mc and Amazon's S3 console
_USUAL = tuple(each * _MIB for each in (8, 5, 15, 16, 32, 64, 128, 256, 512, 1024, 10, 12, 20, 25, 50, 100, 17))


def of_parts(etag: bytes) -> tuple[bytes, int] | None:
    """The MD5 and the number of parts; None for another ETag."""
    found = _ETAG.fullmatch(etag)
    if found is None or int(found[2]) > MOST:
        return None
    return bytes.fromhex(found[1].decode()), int(found[2])


def fits(size: int, parts: int, part_size: int) -> bool:
    """Whether `size` bytes make so many parts of `part_size`."""
    return part_size > 0 and (parts - 1) * part_size < size <= parts * part_size


def usual(size: int, parts: int) -> int | None:
    """The likely size of the parts, in bytes: a usual one, or the only one in whole MiB; of one part that of all."""
    if parts == 1:
        return size
    known = next((each for each in _USUAL if fits(size, parts, each)), None)
    least = (size + parts - 1) // parts
    whole = (least + _MIB - 1) // _MIB * _MIB
    if known is None and fits(size, parts, whole) and not fits(size, parts, whole + _MIB):
        return whole
    return known


class PartsHasher:
    """Of bytes in order; `told`: the store said of what size the parts are, so that another digest means something."""

    def __init__(self, part_size: int, *, told: bool) -> None:
        self.told = told
        self._part, self._room = part_size, 0
        self._hashers: list[Any] = []

    def again(self) -> PartsHasher:
        """One that has seen nothing."""
        return PartsHasher(self._part, told=self.told)

    def update(self, data: memoryview) -> None:
        """The next bytes."""
        place = 0
        while place < len(data):
            if not self._room:
                self._hashers.append(hashlib.md5(usedforsecurity=False))
                self._room = self._part
            piece = data[place : place + self._room]
            self._hashers[-1].update(piece)
            place += len(piece)
            self._room -= len(piece)

    def digest(self) -> bytes:
        """As in the ETag."""
        return hashlib.md5(b"".join(each.digest() for each in self._hashers), usedforsecurity=False).digest()
