"""The block hashes of a committed stripe, from the state folder: role after role, 32 bytes a block."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sealift.errors import FormatError
from sealift.formats.manifest import BLOCK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.stages.pack.journal_rows import PackRow

_DIGEST = 32


class StripeHashes:
    """`hashes(role, first, stop)`: the digests of those blocks of a pack. FormatError where the file is damaged."""

    def __init__(self, folder: str, stripe: int, packs: Sequence[PackRow]) -> None:
        self.lengths = [row.length for row in packs]
        self._path = os.path.join(folder, "stripes", f"{stripe:07d}.blocks")
        counts = [-(-length // BLOCK) for length in self.lengths]
        self._first = [sum(counts[:role]) for role in range(len(counts))]
        self._all = sum(counts) * _DIGEST

    def __call__(self, role: int, first: int, stop: int) -> bytes:
        """32 bytes a block."""
        try:
            with open(self._path, "rb") as file:
                if os.fstat(file.fileno()).st_size != self._all:
                    raise FormatError(f"{self._path} is damaged: its length is not that of the stripe's block hashes")
                file.seek((self._first[role] + first) * _DIGEST)
                return file.read((stop - first) * _DIGEST)
        except OSError as error:
            raise FormatError(f"{self._path} cannot be read: {error}") from error
