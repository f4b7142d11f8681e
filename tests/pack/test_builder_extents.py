"""The extents of a sparse segment are whole blocks of tar, wherever the segment begins."""

import os

import pytest

from sealift.stages.pack.source import extents as extents_of


@pytest.mark.parametrize("start", [0, 1, 511, 512, 4095, 70_001])
@pytest.mark.parametrize("length", [300_000, 299_999, 1_000_001])
def test_extents_are_whole_blocks_and_cover_the_data(tmp_path, start, length):
    path = tmp_path / "sparse"
    with open(path, "wb") as file:
        for place in (0, 40_960, 45_056, 131_072, 400_000):
            file.seek(place)
            file.write(b"d" * 1000)
        file.truncate(1_200_000)
    data = path.read_bytes()[start : start + length]
    fd = os.open(path, os.O_RDONLY)
    try:
        extents = extents_of(fd, start, length)
    finally:
        os.close(fd)
    if extents is None:
        pytest.skip("this filesystem has no holes")
    end = 0
    for number, (offset, size) in enumerate(extents):
        assert offset % 512 == 0
        assert size % 512 == 0 or number == len(extents) - 1
        assert offset > end or number == 0, "merged where they touch"
        end = offset + size
    assert end <= length
    covered = bytearray(length)
    for offset, size in extents:
        covered[offset : offset + size] = data[offset : offset + size]
    assert covered == data
