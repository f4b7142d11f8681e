"""Any flipped bit of a paged file is found, by page; a record has one canonical form and no other."""

import contextlib
import json
import random
import subprocess
import sys

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from sealift.errors import FormatError
from sealift.formats import canonical, paged
from sealift.formats.canonical import Record

MAGIC = b"SLTESTS\0"


def made(record, count, seed=0):
    body, out = random.Random(seed).randbytes(record * count), bytearray()
    cut = max(1, len(body) // 3)
    root = paged.write(MAGIC, record, count, [body[:cut], body[cut : 2 * cut], body[2 * cut :]], out.extend)
    return body, out, root


def opened(data, record, count, root):
    def read_at(offset, length):
        return bytes(data[offset : offset + length])

    return paged.PagedFile(read_at, magic=MAGIC, record=record, count=count, root=root, name="test")


SHAPES = st.sampled_from(
    [(32, 0), (32, 1), (32, 512), (32, 513), (80, 300), (80, 1000), (32, 600_000), (16384, 3), (7, 9999)]
)


@settings(max_examples=60, deadline=None)
@given(SHAPES, st.data())
def test_any_flipped_bit_is_found_and_named_by_page(shape, data):
    record, count = shape
    body, file, root = made(record, count)
    assert len(file) == paged.file_length(record, count)
    place = data.draw(st.integers(0, len(file) * 8 - 1))
    file[place // 8] ^= 1 << place % 8
    damaged = list(opened(file, record, count, root).damaged_pages())
    assert place // 8 // paged.PAGE in damaged
    file[place // 8] ^= 1 << place % 8
    whole = opened(file, record, count, root)
    whole.check_header()
    assert list(whole.damaged_pages()) == []
    if count:
        start = data.draw(st.integers(0, count - 1))
        stop = data.draw(st.integers(start, min(count, start + 2000)))
        assert whole.get(start, stop) == body[start * record : stop * record]


def test_the_root_binds_magic_record_and_count():
    _, file, root = made(32, 100)
    for other in ({"magic": b"SLOTHER\0"}, {"record": 16, "count": 200}, {"count": 99}, {"root": blake3(b"").digest()}):
        values = {"magic": MAGIC, "record": 32, "count": 100, "root": root} | other
        reader = paged.PagedFile(lambda at, n: bytes(file[at : at + n]), name="test", **values)
        with pytest.raises(FormatError):
            reader.get(0, 1)


@pytest.mark.parametrize("length", [0, 1, 16_383, 16_384, 40_000])
def test_a_file_that_is_cut_short(length):
    _, file, root = made(32, 2000)
    with pytest.raises(FormatError):
        opened(file[:length], 32, 2000, root).get(1999, 2000)
    with pytest.raises(FormatError):
        opened(file, 32, 2000, root).get(5, 2001)
    with pytest.raises(FormatError):
        opened(file, 32, 1 << 60, root)


class Sample(Record, frozen=True, kw_only=True):
    name: str
    count: int
    parts: list[int]
    more: dict[str, int]


SAMPLES = st.builds(
    Sample,
    name=st.text(st.characters(exclude_categories=["Cs"])),
    count=st.integers(-(2**62), 2**62),
    parts=st.lists(st.integers(0, 9)),
    more=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 9)),
)


@given(SAMPLES, st.data())
def test_a_record_has_one_form(sample, data):
    encoded = canonical.encode(sample)
    assert canonical.decode(encoded, Sample, limit=1 << 20) == sample
    loose = json.loads(encoded)
    for other in (
        json.dumps(loose).encode(),
        json.dumps(loose, indent=2).encode(),
        json.dumps(loose | {"extra": 1}, indent=2, ensure_ascii=False).encode() + b"\n",
        b"\xef\xbb\xbf" + encoded,
        encoded[:-1],
        encoded + b"\n",
        encoded.replace(b'{\n  "name"', b'{\n  "count": 1,\n  "name"', 1),
    ):
        if other != encoded:
            with pytest.raises(FormatError):
                canonical.decode(other, Sample, limit=1 << 20)
    place = data.draw(st.integers(0, len(encoded) * 8 - 1))
    flipped = bytearray(encoded)
    flipped[place // 8] ^= 1 << place % 8
    with contextlib.suppress(FormatError):
        assert canonical.decode(bytes(flipped), Sample, limit=1 << 20) != sample


def test_the_limit_and_deep_nesting():
    encoded = canonical.encode(Sample(name="", count=0, parts=[], more={}))
    with pytest.raises(FormatError):
        canonical.decode(encoded, Sample, limit=len(encoded) - 1)
    with pytest.raises(FormatError):
        canonical.decode(b"[" * 100_000, Sample, limit=1 << 20)


_FIRST_USES = """
import sys, threading
from sealift.formats import canonical

sys.setswitchinterval(1e-6)
data = canonical.encode({"inner": [{"a": 1, "b": ""}], "other": {}, "name": "x"})
for _ in range(60):
    class Inner(canonical.Record):
        a: int
        b: str = ""
    class Outer(canonical.Record):
        inner: list[Inner]
        name: str
        other: dict[str, Inner]
    barrier = threading.Barrier(4)
    found = []
    def first():
        barrier.wait()
        found.append(canonical.decode(data, Outer, limit=1000))
    threads = [threading.Thread(target=first) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [Outer(inner=[Inner(a=1)], other={}, name="x")] * 4
"""


def test_a_record_is_decoded_for_the_first_time_by_several_threads():
    """msgspec 0.22 ends the process with SIGSEGV where two threads make its plan of one type; in its own process."""
    subprocess.run([sys.executable, "-c", _FIRST_USES], check=True, timeout=60)
