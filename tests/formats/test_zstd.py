"""Frames and seek table are what zstd and pyzstd's SeekableZstdFile read; what is not exactly a frame is refused."""

import contextlib
import io
import random
import subprocess
from array import array

import pytest
import pyzstd
from hypothesis import given, settings
from hypothesis import strategies as st

from sealift.errors import FormatError
from sealift.formats import zstd

SIZES = st.one_of(st.sampled_from([1, 2, 131_071, 131_072, 131_073, 1 << 20]), st.integers(1, 1 << 20))


def raw_frame(data):
    out = bytearray(zstd.raw_header(len(data)))
    for start in range(0, len(data), zstd.RAW_BLOCK):
        piece = data[start : start + zstd.RAW_BLOCK]
        out += zstd.block_header(len(piece), last=start + len(piece) == len(data)) + piece
    return bytes(out)


def pack(pieces):
    frames = [raw_frame(data) if raw else zstd.compress(data) for data, raw in pieces]
    table = zstd.seek_table(array("I", map(len, frames)), array("I", [len(data) for data, _ in pieces]))
    assert len(table) == zstd.seek_table_length(len(frames))
    return b"".join(frames) + table


def content(size, seed):
    return random.Random(seed).randbytes(size) if seed % 2 else (b"%d some text " % seed * size)[:size]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(SIZES, st.integers(0, 99), st.booleans()), min_size=1, max_size=5), st.integers(0, 2**32))
def test_seekable_by_others_and_decompressed_by_the_tool(parts, seed):
    pieces = [(content(size, number), raw) for size, number, raw in parts]
    plain, data = b"".join(piece for piece, _ in pieces), pack(pieces)
    done = subprocess.run(["zstd", "-d", "-c"], input=data, capture_output=True, check=True)
    assert done.stdout == plain
    rng = random.Random(seed)
    with pyzstd.SeekableZstdFile(io.BytesIO(data), "r") as file:
        for _ in range(5):
            start = rng.randrange(len(plain))
            file.seek(start)
            assert file.read(5000) == plain[start : start + 5000]


@settings(max_examples=40, deadline=None)
@given(SIZES, st.integers(0, 99))
def test_one_frame_of_exactly_that_size(size, seed):
    data = content(size, seed)
    for frame in (
        zstd.compress(data),
        raw_frame(data),
        zstd.compress_pieces([data[: size // 3], data[size // 3 :]], size),
    ):
        assert zstd.decompress(frame, size) == data
        for wrong in (size - 1, size + 1):
            with pytest.raises(FormatError):
                zstd.decompress(frame, wrong)
        with pytest.raises(FormatError):
            zstd.decompress(frame + b"x", size)
        with pytest.raises(FormatError):
            zstd.decompress(frame + frame, 2 * size)
        with pytest.raises(FormatError):
            zstd.decompress(frame[:-1], size)
    assert len(raw_frame(data)) == zstd.raw_bound(size)


def test_a_bomb_is_bounded_by_what_is_stated():
    bomb = zstd.compress(bytes(1 << 28))
    with pytest.raises(FormatError):
        zstd.decompress(bomb, 1000)


@given(st.binary(max_size=300), st.integers(0, 5000))
def test_noise_is_refused(noise, size):
    with contextlib.suppress(FormatError):
        assert len(zstd.decompress(noise, size)) == size


def test_what_is_worth_compressing():
    assert zstd.worth_compressing(memoryview(b"the same again " * 50_000))
    assert not zstd.worth_compressing(memoryview(random.Random(1).randbytes(1 << 20)))
