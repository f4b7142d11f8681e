"""What a bucket's ETags say of the bytes of its objects, and what is to be thought of bytes that do not fit theirs."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
from typing import TYPE_CHECKING, Any

from sealift.drives.bucket import Bucket, Replaced, strong_digest
from sealift.drives.object_client import endpoint
from sealift.drives.object_parts import PartsHasher, of_parts
from sealift.stages.pack.units import LARGE

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("sealift")

_OTHERS = 16  # objects that are read to see whether ETags are digests


class Digests:
    """Whether ETags are MD5s; and what is to be thought of bytes that do not fit theirs.

    An ETag is the MD5 of an object that was put whole and that the store does not encrypt with keys of the user's. Two
    readings that agree with each other and not with the ETag: where the ETag of no other object holds, there are no
    MD5s in this store; where it says that the object is encrypted so, this one is none; else the object is damaged in
    the store. Readings that do not agree are the network's or this host's fault, and end the packing. An object in
    parts whose size nobody tells may fit none that is likely: over https:// it is believed, else it is read again.
    """

    def __init__(self, bucket: Bucket, usable: Callable[[bytes], bool]) -> None:
        self._bucket, self._usable, self._held, self._told = bucket, usable, False, False
        self._likely = False  # parts are of usual sizes, where the store does not say
        self._plain = endpoint().startswith("http://")  # nothing else shows what a network did to bytes
        self._looking = threading.Lock()
        self._others_hold: bool | None = None

    def hasher(self, path: str, tag: bytes, size: int) -> Any:
        """For all bytes of an object, put whole or in parts; None where there is nothing to hold them to."""
        if strong_digest(tag) is not None:
            return hashlib.md5(usedforsecurity=False)
        hasher = self._bucket.hasher_of(path, tag, size)
        if hasher is None:
            self._tell(path)
        return hasher

    def holds(self, path: str, tag: bytes, hasher: Any) -> bool:
        """Whether what was hashed is what the ETag says, or there is nothing to hold it against."""
        parts = of_parts(tag)
        if parts is None:
            return self.fits(tag, hasher.digest())
        if parts[0] == hasher.digest():
            self._held = True
            self._likely |= not hasher.told
            return True
        if hasher.told or self._likely or self._plain:  # what was thought of others holds: it is read again
            return False
        self._tell(path)
        return True

    def _tell(self, path: str) -> None:
        """Once: some objects are held to less than others."""
        with self._looking:
            if not self._told:
                self._told = True
                log.warning(
                    "note: %s: %r, and maybe others, are held to length and ETag alone: the store says no digest of "
                    "them, or not of what size their parts are",
                    self._bucket.name,
                    path,
                )

    def fits(self, tag: bytes, digest: bytes) -> bool:
        """Whether a digest is that of the ETag of an object that was put whole, or there is none in it."""
        wanted = strong_digest(tag)
        if wanted is None:
            return True
        if wanted == digest:
            self._held = True
            return True
        return False

    def none(self, path: str, hasher: Any = None) -> bool:
        """Of an object of which two readings agree: whether its ETag is no digest, or not of what was hashed."""
        if isinstance(hasher, PartsHasher) and not hasher.told:  # parts of another size than was thought, or of several
            self._tell(path)
            return True
        with self._looking:
            if not self._held and self._others_hold is None:
                self._others_hold = self._look(path)
        return not (self._held or self._others_hold) or self._bucket.encrypted_with_own_keys(path)

    def _look(self, path: str) -> bool:
        """Whether the ETag of some other small object beneath the prefix is its MD5."""
        root, left = self._bucket.root, _OTHERS
        for each in self._bucket.page(root).objects:
            name, wanted = each.key[len(root) :], strong_digest(each.etag)
            if wanted is None or not 0 < each.size <= LARGE or not self._usable(name) or name == path.encode():
                continue
            with contextlib.suppress(Replaced, OSError):
                data = self._bucket.whole(name.decode(), each.etag, each.size).data
                if hashlib.md5(data, usedforsecurity=False).digest() == wanted:
                    return True
            left -= 1
            if not left:
                break
        return False
