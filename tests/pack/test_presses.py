"""Frames that threads compress beside a builder: the same tar, in order, and never more than there is room for."""

import functools
import random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealift.formats import age, zstd
from sealift.formats.age_keys import generate_identity, parse_identity, parse_recipient
from sealift.stages.pack import stream
from sealift.stages.pack.stream import PackStream, Presses
from sealift.stages.pack.units import plain_bound

SECRET, PUBLIC = generate_identity()
PRESSES = Presses(2)


class Sink:
    """A pack in memory; it has no slab that a chunk could be sealed into."""

    def __init__(self):
        self.data = bytearray()

    def write(self, data):
        self.data += data

    def room(self):
        return memoryview(b"")


@functools.cache
def content(size, kind, seed):
    rng = random.Random(seed)
    if kind == "noise":
        return rng.randbytes(size)
    words = b" ".join(b"%d" % rng.randrange(3000) for _ in range(2000))
    return (words * (size // len(words) + 1))[:size]


def put_large(pack, data):
    pack.flush()
    pack.begin_large()
    rest = len(data) % zstd.FRAME
    for start in range(0, len(data) - rest, zstd.FRAME):
        at = start
        views = pack.large_views()
        for view in views:
            view[:] = data[at : at + len(view)]
            at += len(view)
        pack.commit_large(views)
    pack.put(data[len(data) - rest :])
    pack.flush()


def packed(members, presses, pack_size=256 << 20):
    """What a pack of these members holds, its tar, and what the stream says of it."""
    sink = Sink()
    pack = PackStream(sink, [parse_recipient(PUBLIC)], pack_size, presses)
    pack.begin()
    for size, kind, seed in members:
        data = content(size, kind, seed)
        if size < zstd.FRAME:
            pack.put(data)
        else:
            put_large(pack, data)
    pack.finish()
    plain = age.decrypt(bytes(sink.data), [parse_identity(SECRET)])
    tar, at = bytearray(), 0
    for length, size in zip(pack.packed, pack.raw, strict=True):
        tar += zstd.decompress(plain[at : at + length], size)
        at += length
    assert plain[at:] == zstd.seek_table(pack.packed, pack.raw)
    return SimpleNamespace(tar=bytes(tar), offset=pack.offset)


SIZES = st.one_of(st.integers(1, 2000), st.integers(10_000, 400_000), st.integers(1 << 20, 3 << 20))
MEMBERS = st.lists(st.tuples(SIZES, st.sampled_from(["text", "noise"]), st.integers(0, 99)), min_size=1, max_size=12)


@settings(max_examples=40)
@given(MEMBERS)
def test_threads_make_the_tar_that_a_builder_alone_makes(members):
    alone, beside = packed(members, Presses(0)), packed(members, PRESSES)
    expected = b"".join(content(*member) for member in members)
    assert alone.tar[: len(expected)] == expected
    assert beside.tar == alone.tar
    assert beside.offset == alone.offset


def filled(members, presses, pack_size=4 << 20):
    """A pack that takes of these members, over and over, what surely fits; how many, and its length."""
    sink, count = Sink(), 0
    pack = PackStream(sink, [parse_recipient(PUBLIC)], pack_size, presses)
    pack.begin()
    while plain_bound(0, (member := members[count % len(members)])[0]) <= pack.room():
        data = content(*member)
        if len(data) < zstd.FRAME:
            pack.put(data)
        else:
            put_large(pack, data)
        count += 1
    pack.finish()
    return count, len(sink.data)


@pytest.mark.parametrize("ample", [0, 64 << 20])
@given(members=MEMBERS)
@settings(max_examples=20)
def test_what_is_told_to_be_left_is_left(ample, members):
    members = [each for each in members if each[0] > 9999] or [(300_000, "text", 1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "_AMPLE", ample)
        _, length = filled(members, PRESSES)
    assert length <= 4 << 20


def test_a_pack_is_as_full_as_one_that_the_builder_makes_alone():
    members = [(50_000 + 1000 * seed, "text", seed) for seed in range(40)]
    (alone, length), (beside, other) = filled(members, Presses(0)), filled(members, PRESSES)
    assert beside == alone
    assert other == length
