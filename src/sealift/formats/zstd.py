"""Zstandard frames, raw frames and the seek table of a data pack.

A data pack is a sequence of frames, each of which opens alone, and the standard seekable format's table behind
them. Data that does not compress is stored in raw blocks: the frame costs 9 bytes and 3 for every 128 KiB, and a
copy; a frame that is as long as a raw one (`raw_bound`) is one, so that a part of it can be read alone.
References: RFC 8878; zstd's contrib/seekable_format/zstd_seekable_compression_format.md (version 0.1.0).
"""

from __future__ import annotations

import struct
import sys
import threading
from typing import TYPE_CHECKING, TypeAlias

from sealift.errors import FormatError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

Buffer: TypeAlias = bytes | bytearray | memoryview

FRAME = 1 << 20  # bytes of tar in the largest frame
RAW_BLOCK = 1 << 17  # RFC 8878: Block_Maximum_Size
FRAME_HEADER = 9
RAW_FRAME = FRAME_HEADER + (FRAME // RAW_BLOCK) * (3 + RAW_BLOCK)
LEVEL = 1
_MAGIC = bytes.fromhex("28b52ffd")
_RAW_HEADER = struct.Struct("<IBI")  # magic, descriptor (single segment, 4-byte content size), content size
_SKIPPABLE, _SEEKABLE = 0x184D2A5E, 0x8F92EAB1
_ENTRY = struct.Struct("<II")
_FOOTER = struct.Struct("<IBI")
FOOTER = _FOOTER.size
_SAMPLE = 8192

_OPTIONS: dict[int, int] = {
    zstd.CompressionParameter.compression_level: LEVEL,
    zstd.CompressionParameter.content_size_flag: 1,
}


class _Compressors(threading.local):
    """A thread's own: one that is shared lets one thread at a time compress."""

    def __init__(self) -> None:
        self.frame = zstd.ZstdCompressor(options=_OPTIONS)
        self.probe = zstd.ZstdCompressor(level=1)


_own = _Compressors()


def raw_bound(size: int) -> int:
    """Length of a raw frame of `size` bytes: no frame we write is longer."""
    return FRAME_HEADER + size + 3 * max(1, -(-size // RAW_BLOCK))


def raw_header(size: int) -> bytes:
    """The nine bytes before the blocks of a raw frame of `size` bytes."""
    return _RAW_HEADER.pack(0xFD2FB528, 0xA0, size)


def block_header(size: int, *, last: bool) -> bytes:
    """The three bytes before a raw block."""
    return (size << 3 | last).to_bytes(3, "little")


def compress(data: Buffer) -> bytes:
    """One frame with its content size."""
    return _own.frame.compress(data, zstd.ZstdCompressor.FLUSH_FRAME)


def compress_pieces(pieces: Sequence[Buffer], size: int) -> bytes:
    """One frame of `pieces`, `size` bytes in all."""
    compressor = _own.frame
    compressor.set_pledged_input_size(size)
    parts = [compressor.compress(piece) for piece in pieces]
    parts.append(compressor.flush(zstd.ZstdCompressor.FLUSH_FRAME))
    return b"".join(parts)


def worth_compressing(data: memoryview) -> bool:
    """Whether a sample of three windows of `data` shrinks by more than 3%."""
    size = len(data)
    if size <= 4 * _SAMPLE:
        return True
    return shrinks(data, (0, size // 2, size - _SAMPLE))


def shrinks(data: memoryview, windows: Sequence[int]) -> bool:
    """Whether the windows of 8 KiB at these offsets of `data` shrink by more than 3%, taken together."""
    probe = _own.probe
    packed = sum(len(probe.compress(data[at : at + _SAMPLE], zstd.ZstdCompressor.FLUSH_FRAME)) for at in windows)
    return shrank(packed, len(windows) * _SAMPLE)


def shrank(packed: int, size: int) -> bool:
    """Whether `size` bytes became `packed` ones at a gain of more than 3%."""
    return packed < 0.97 * size


def decompress(frame: Buffer, size: int) -> memoryview:
    """Content of exactly one frame of exactly `size` bytes; FormatError otherwise. Memory is bounded by `size`.

    By Arrow's codec, straight into memory of that size, which its pool uses again: ten times as fast over what does not
    compress as a decompressor that grows its output, and a window, in fresh pages.
    """
    import pyarrow as pa

    try:
        if bytes(frame[:4]) != _MAGIC or zstd.get_frame_size(frame) != len(frame):
            raise FormatError("zstd frame is none, or there is more than one")
        return memoryview(pa.decompress(frame, size, codec="zstd")).cast("B")
    except (zstd.ZstdError, pa.ArrowException, OSError) as error:
        raise FormatError(f"zstd frame does not hold {size} bytes that can be had: {error}") from error


def seek_table(packed: array[int], raw: array[int]) -> bytes:
    """The skippable frame that ends a data pack: compressed and decompressed length of every frame."""
    body = b"".join(map(_ENTRY.pack, packed, raw))
    size = len(body) + _FOOTER.size
    return struct.pack("<II", _SKIPPABLE, size) + body + _FOOTER.pack(len(packed), 0, _SEEKABLE)


def seek_table_length(frames: int) -> int:
    """Length in bytes of the seek table of `frames` frames."""
    return 8 + _ENTRY.size * frames + _FOOTER.size


def seek_table_frames(footer: Buffer, size: int) -> int:
    """Number of frames, from the last FOOTER bytes of a pack's `size` bytes of plaintext; FormatError."""
    if len(footer) != FOOTER:
        raise FormatError("seek table: cut short")
    frames, descriptor, magic = _FOOTER.unpack(footer)
    if magic != _SEEKABLE or descriptor:
        raise FormatError("seek table: not where it should be, or of another kind")
    if seek_table_length(frames) > size:
        raise FormatError(f"seek table: {frames} frames are more than the pack holds")
    return int(frames)


def parse_seek_table(table: Buffer, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the frames end in a pack's plaintext of `size` bytes, and in its tar; both begin with 0.

    `table` is the whole seek table. FormatError when it is none, when the frames do not reach exactly to where it
    begins, or when one holds nothing or more than FRAME bytes.
    """
    import numpy as np

    frames = seek_table_frames(memoryview(table)[-FOOTER:], size)
    if len(table) != seek_table_length(frames) or struct.unpack_from("<II", table) != (_SKIPPABLE, len(table) - 8):
        raise FormatError("seek table: its length is not that of its frames")
    entries = np.frombuffer(table, dtype="<u4", count=2 * frames, offset=8).reshape(frames, 2)
    ends = np.zeros((2, frames + 1), dtype=np.int64)
    np.cumsum(entries.T, axis=1, out=ends[:, 1:])
    if ends[0, -1] + len(table) != size:
        raise FormatError("seek table: its frames do not end where it begins")
    if frames and not 0 < int(entries[:, 1].min()) <= int(entries[:, 1].max()) <= FRAME:
        raise FormatError(f"seek table: a frame holds nothing, or more than {FRAME} bytes")
    return ends[0], ends[1]
