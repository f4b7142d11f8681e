"""The plaintext of one data pack at random: age chunks, zstd frames, members; verified, rebuilt where needed.

A chunk that authenticates under the key of the header that the manifest binds, at its place, is the origin's
(docs/spec/threat-model.md). One that does not is read again block by block, rebuilt from parity, and tried again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from blake3 import blake3

from sealift.errors import AgeError, FormatError, Lost
from sealift.formats import age, tar, zstd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sealift.formats.index import Row
    from sealift.reading.group import GroupReader

_HEAD = 4096
_WINDOW = 2 << 20  # sealed bytes read at a time when reading on


class PackReader:
    """zstd plaintext of one pack: `read(start, end)` in bytes of the decrypted stream. Not safe for threads."""

    def __init__(self, group: GroupReader, stripe: int, role: int, identities: Sequence[age.Identity]) -> None:
        self._group, self._stripe, self._role = group, stripe, role
        self._record = group.record(stripe, role)
        if not self._record.length:
            raise FormatError(f"pack {stripe}/{role} is absent")
        raw, start = self._header()
        header = age.parse_header(raw)
        self._start = start
        key = age.payload_key(age.unwrap(header, identities), raw[start - age.NONCE : start])
        self._opener = age.Opener(key)
        self.size = age.plain_length(self._record.length, start)
        self._last = max(0, self.size - 1) // age.CHUNK

    def _header(self) -> tuple[bytes, int]:
        """The bytes of the header whose digest the manifest binds, with the nonce."""
        length = min(_HEAD, self._record.length)
        for attempt in range(3):
            raw = self._group.fetch(self._stripe, self._role, 0, length) if attempt == 0 else None
            if attempt:
                length = self._record.length if attempt == 2 else length
                length = min(length, age.MAX_HEADER + age.NONCE)
                raw = self._group.verified(self._stripe, self._role, 0, length)
            if raw is None:
                continue
            try:
                start = age.parse_header(raw).payload_start
            except AgeError:
                continue
            if start <= len(raw) and blake3(raw[:start]).digest() == self._record.header:
                return raw, start
        raise FormatError(f"the age header of pack {self._stripe}/{self._role} is not the one that was signed")

    def read(self, start: int, end: int) -> bytes:
        """Plaintext bytes start..end-1, every chunk authenticated. Lost, FormatError."""
        if not 0 <= start <= end <= self.size:
            raise FormatError(f"pack {self._stripe}/{self._role} has {self.size} bytes, not {start} to {end}")
        if start == end:
            return b""
        first, last = start // age.CHUNK, (end - 1) // age.CHUNK
        out = bytearray((last - first + 1) * age.CHUNK)
        view = memoryview(out)
        at = self._start + first * age.SEALED_CHUNK
        stop = min(self._start + (last + 1) * age.SEALED_CHUNK, self._record.length)
        sealed = self._group.fetch(self._stripe, self._role, at, stop - at)
        for index in range(first, last + 1):
            offset = (index - first) * age.SEALED_CHUNK
            length = min(age.SEALED_CHUNK, stop - at - offset)
            target = view[(index - first) * age.CHUNK :]
            if sealed is not None:
                try:
                    self._opener.open_chunk(
                        index, memoryview(sealed)[offset : offset + length], target, last=index == self._last
                    )
                    continue
                except AgeError:
                    pass
            chunk = self._group.verified(self._stripe, self._role, at + offset, length)
            self._opener.open_chunk(index, chunk, target, last=index == self._last)
        return bytes(view[start - first * age.CHUNK : end - first * age.CHUNK])


class PackContent:
    """The tar stream of one pack, frame by frame. Reads on in large pieces when asked in order."""

    def __init__(self, reader: PackReader, packed: np.ndarray, raw: np.ndarray) -> None:
        self._reader = reader
        self._packed = np.concatenate(([0], np.cumsum(packed, dtype=np.int64)))
        self._raw = np.concatenate(([0], np.cumsum(raw, dtype=np.int64)))
        if len(packed) != len(raw) or self._packed[-1] > reader.size or (len(raw) and int(raw.max()) > zstd.FRAME):
            raise FormatError("table of packs: frames do not fit their pack")
        self._frame = (-1, b"")
        self._window = (0, b"")
        self._ahead = 0

    def _load(self, number: int) -> bytes:
        if self._frame[0] == number:
            return self._frame[1]
        start, end = int(self._packed[number]), int(self._packed[number + 1])
        base, data = self._window
        if not (base <= start and end <= base + len(data)):
            stop = end
            if number == self._frame[0] + 1:  # reading on
                ahead = int(np.searchsorted(self._packed, start + _WINDOW))
                stop = max(end, int(self._packed[min(ahead, len(self._packed) - 1)]))
            try:
                data = self._reader.read(start, stop)
            except Lost:
                stop = end
                data = self._reader.read(start, end)
            base = start
            self._window = (base, data)
        frame = zstd.decompress(
            memoryview(data)[start - base : end - base], int(self._raw[number + 1] - self._raw[number])
        )
        self._frame = (number, frame)
        return frame

    def pieces(self, start: int, length: int) -> Iterator[memoryview]:
        """Bytes start..start+length-1 of the tar stream, in pieces of at most a frame."""
        end = start + length
        if end > self._raw[-1]:
            raise FormatError("index: a member lies beyond the end of its pack")
        while start < end:
            number = int(np.searchsorted(self._raw, start, side="right")) - 1
            frame = self._load(number)
            base = int(self._raw[number])
            piece = memoryview(frame)[start - base : min(end - base, len(frame))]
            yield piece
            start += len(piece)

    def extents(self, row: Row) -> Iterator[tuple[int, memoryview]]:
        """The data of a sparse member: offset within the segment, bytes. Holes are left out."""
        head = b"".join(self.pieces(row.offset, min(row.stored, 2 * tar.MAX_EXTENTS * 22)))
        extents, used = tar.parse_sparse_map(head)
        if used + sum(length for _, length in extents) != row.stored or any(o + n > row.length for o, n in extents):
            raise FormatError(f"sparse map of {row.path!r} does not fit its member")
        at = row.offset + used
        for offset, length in extents:
            done = 0
            for piece in self.pieces(at, length):
                yield offset + done, piece
                done += len(piece)
            at += length
