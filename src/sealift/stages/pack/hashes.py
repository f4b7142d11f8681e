"""The block hashes of a committed stripe, from the state folder: role after role, 32 bytes a block."""

from __future__ import annotations

import contextlib
import os
from typing import IO, TYPE_CHECKING

from sealift.errors import SealiftError
from sealift.formats.manifest import BLOCK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sealift.stages.pack.journal_rows import PackRow

_DIGEST = 32


class StripeHashes:
    """`hashes(role, first, stop)`: the digests of those blocks of a pack; SealiftError where the file is not whole."""

    def __init__(self, folder: str, stripe: int, packs: Sequence[PackRow]) -> None:
        self.lengths = [row.length for row in packs]
        self._path = os.path.join(folder, "stripes", f"{stripe:07d}.blocks")
        counts = [-(-length // BLOCK) for length in self.lengths]
        self._first = [sum(counts[:role]) for role in range(len(counts))]
        self._all = sum(counts) * _DIGEST

    def __call__(self, role: int, first: int, stop: int) -> bytes:
        """32 bytes a block."""
        with opened(self._path) as file:
            if os.fstat(file.fileno()).st_size != self._all:
                raise _not_whole(self._path, "its length is not that of the stripe's block hashes")
            file.seek((self._first[role] + first) * _DIGEST)
            return file.read((stop - first) * _DIGEST)


@contextlib.contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """A file of a committed stripe in the state folder; SealiftError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise _not_whole(path, (error.strerror or str(error)).lower()) from error


def _not_whole(path: str, why: str) -> SealiftError:
    return SealiftError(
        f"the state folder is damaged: {path}: {why}; what is committed is safe on the drives",
        hint="put that file back, if there is a copy of the state folder. else the same command with another, empty "
        "--state goes on from the copies of the journal that are on the drives; what is signed is taken over with "
        "--shipment ID, too (it is in drive.json on each)",
    )
