"""The index files that the origin sends ahead beside the seal: copies of what every drive of a group carries.

    sent/0123456789abcdef.seal
    sent/members-g0000.parquet.age      index/members.parquet.age of group 0

They serve where no drive here has that file as it was signed: `sealift repair` takes them from here. What holds: a file
counts only when it has the length and the BLAKE3 that the signed manifest says. Nothing is written here.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from blake3 import blake3

from sealift.drives import locations
from sealift.errors import FormatError
from sealift.formats import manifest as mf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealift.formats.manifest import FileRef, Manifest

PATTERNS = {mf.MEMBERS_INDEX: "members-g{:04d}.parquet.age", mf.PACKS_INDEX: "packs-g{:04d}.parquet.age"}
_PIECE = 1 << 20


def name_of(group: int, name: str) -> str:
    """What an index file of a group is called beside the seal."""
    return PATTERNS[name].format(group)


class OriginCopies:
    """The copies in the folder of a seal (--seal: a file, or a folder); none without one, or where it is a drive's."""

    def __init__(self, seal: str | None = None) -> None:
        self._folder: str | None = None
        if seal is not None and not locations.is_store(seal):
            self._folder = seal if os.path.isdir(seal) else os.path.dirname(seal) or os.curdir
        self._known: dict[tuple[str, str], bool] = {}

    def path(self, group: int, name: str) -> str | None:
        """Where it would be; None for what is not sent ahead."""
        if self._folder is None or name not in PATTERNS:
            return None
        return os.path.join(self._folder, name_of(group, name))

    def has(self, record: Manifest, name: str) -> bool:
        """Whether the copy of a file is here, as it was signed: it is read to its end, once."""
        ref = record.group_file(name)
        key = (ref.blake3, name)
        if key not in self._known:
            digest = blake3()
            try:
                for piece in self.pieces(record, name):
                    digest.update(piece)
            except FormatError:
                self._known[key] = False
            else:
                self._known[key] = digest.hexdigest() == ref.blake3
        return self._known[key]

    def pieces(self, record: Manifest, name: str) -> Iterator[bytes]:
        """The copy from its beginning, unproved; FormatError where none of the signed length is there, or reads."""
        path, ref = self.path(record.group, name), record.group_file(name)
        if path is None:
            raise FormatError(f"there is no copy of {name}")
        try:
            yield from _read(path, ref)
        except OSError as error:
            raise FormatError(f"{path}: {error.strerror or error}") from error


def _read(path: str, ref: FileRef) -> Iterator[bytes]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    with open(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size != ref.bytes:
            raise FormatError(f"{path} is not a file of {ref.bytes:,} bytes")
        left = ref.bytes
        while left and (piece := file.read(min(_PIECE, left))):
            left -= len(piece)
            yield piece
