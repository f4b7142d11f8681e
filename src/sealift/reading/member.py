"""What a shipment holds, named: a path, a pack; and a file of it as a file object.

A MemberFile holds no bytes: each call reads anew, through the shipment, and what is near is cached there.
"""

from __future__ import annotations

import io
import logging
import os
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from sealift.errors import BadInput
from sealift.formats.index import CHANGED, KINDS, SPARSE, Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sealift.reading.pack import PackContent
    from sealift.reading.shipment import Path, Shipment

log = logging.getLogger("sealift")

_TOLD = 20  # files that changed, by name


class Member(NamedTuple):
    """One path of a shipment."""

    path: str
    kind: str  # "file", "symlink", "hardlink" or "dir"
    size: int  # bytes; of a hard link those of its file when `stat` tells, else 0
    mode: int  # permission bits
    mtime_ns: int
    link: str  # target of a symbolic link; first name of a hard link's file
    blake3: str  # of a file's bytes, in hex
    rows: tuple[Row, ...]  # where it lies

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Member:
        """From the rows of one path."""
        row = rows[-1]  # the last has the digest of the whole
        digest = (row.file_blake3 or row.blake3).hex()
        path, link = os.fsdecode(row.path), os.fsdecode(row.link)
        return cls(path, KINDS[row.kind], row.size, row.mode, row.mtime, link, digest, tuple(rows))


class PackId(NamedTuple):
    """A data pack of the shipment."""

    group: int
    stripe: int
    role: int


class MemberFile(io.RawIOBase):
    """A file of a shipment: read-only, seekable, `size` bytes; each call reads anew, what is near is cached."""

    def __init__(self, shipment: Shipment, path: Path | Member) -> None:
        super().__init__()
        number, rows = shipment.located(path)
        self._shipment, self._number, self._rows = shipment, number, rows
        self.name = os.fsdecode(rows[0].path)
        self.size = rows[-1].start + rows[-1].length
        self._at = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to `offset` from start, position or end; ValueError before the start."""
        place = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence] + offset
        if place < 0:
            raise ValueError(f"no such position: {place}")
        self._at = place
        return place

    def read(self, size: int | None = -1, /) -> bytes:
        """`size` bytes, or all that are left."""
        left = max(0, self.size - self._at)
        out = io.BytesIO()  # gives what was written to it without another copy
        end = self._at + (left if size is None or size < 0 else min(size, left))
        for row, low, high in segment_parts(self._rows, self._at, end):
            content = self._content(row)
            with content.lock:
                if row.flags & SPARSE:
                    out.write(read_segment(content, row, low, high))
                else:
                    for piece in content.pieces(row.offset + low, high - low):
                        out.write(piece)
        self._at += out.tell()
        return out.getvalue()

    def _content(self, row: Row) -> PackContent:
        return self._shipment.content(PackId(self._number, row.stripe, row.role))

    readall = read

    def readinto(self, buffer: Any, /) -> int:
        """Fill `buffer`; the bytes read, fewer than its length only at the end."""
        view = memoryview(buffer).cast("B")
        done = 0
        for row, low, high in segment_parts(self._rows, self._at, self._at + len(view)):
            content = self._content(row)
            with content.lock:
                if row.flags & SPARSE:
                    view[done : done + high - low] = read_segment(content, row, low, high)
                else:
                    content.readinto(row.offset + low, view[done : done + high - low])
            done += high - low
        self._at += done
        return done


class ToldOnce:
    """Tells of files that changed while they were packed when they are read: each once, and only the first few."""

    def __init__(self) -> None:
        self._told: set[bytes] = set()
        self._lock = threading.Lock()

    def tell(self, rows: Sequence[Row]) -> None:
        """A file is read, of which these are the rows."""
        path = rows[0].path
        if not any(row.flags & CHANGED for row in rows):
            return
        with self._lock:
            if path in self._told or len(self._told) > _TOLD:
                return
            self._told.add(path)
            last = len(self._told) > _TOLD
        if last:
            log.warning("more files changed while they were packed: `sealift pack` and `sealift unpack` name all")
        else:
            log.warning(
                "%r changed while it was packed: its bytes may be of no one moment, or zeros", os.fsdecode(path)
            )


def segment_parts(rows: Sequence[Row], start: int, end: int | None) -> Iterator[tuple[Row, int, int]]:
    """The segments of a file that hold bytes start..end-1, and which of their bytes."""
    if start < 0 or (end is not None and end < start):
        raise BadInput(f"bytes {start} to {end} of {os.fsdecode(rows[0].path)!r}: no such range")
    for row in rows:
        low = max(start - row.start, 0)
        high = row.length if end is None else min(end - row.start, row.length)
        if low < high:
            yield row, low, high


def read_segment(content: PackContent, row: Row, low: int, high: int) -> bytes:
    """Bytes low..high-1 of a segment; holes as zeros."""
    if not row.flags & SPARSE:
        return content.read(row.offset + low, high - low)
    out = bytearray(high - low)
    for offset, piece in content.extents(row.offset, row.stored, row.length):
        begin, stop = max(offset, low), min(offset + len(piece), high)
        if begin < stop:
            out[begin - low : stop - low] = piece[begin - offset : stop - offset]
    return bytes(out)
