"""The ETag of an object in parts, as a real store makes it, and what can be known of its parts from it."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealift.drives.bucket import Bucket
from sealift.drives.object_parts import PartsHasher, fits, of_parts, usual

MIB = 1 << 20


@given(st.binary(min_size=1, max_size=200), st.integers(1, 50), st.lists(st.integers(1, 60), max_size=9))
def test_bytes_in_any_pieces_come_to_the_md5_of_the_parts(data, part, cuts):
    hasher, place = PartsHasher(part, told=True), 0
    for cut in [*cuts, len(data)]:
        hasher.update(memoryview(data)[place : place + cut])
        place = min(len(data), place + cut)
    parts = [data[at : at + part] for at in range(0, len(data), part)]
    assert hasher.digest() == hashlib.md5(b"".join(hashlib.md5(each).digest() for each in parts)).digest()
    assert fits(len(data), len(parts), part)
    assert hasher.again().digest() == hashlib.md5().digest()


@given(st.sampled_from([5, 8, 15, 16, 64, 7, 33]), st.integers(2, 60), st.integers(1, MIB))
def test_a_guess_fits(size, parts, last):
    total = size * MIB * (parts - 1) + last
    found = usual(total, parts)
    assert found is None or fits(total, parts, found)
    assert found is not None or size in {7, 33}


def test_odd_sizes():
    assert usual(0, 1) == 0
    assert usual(77, 1) == 77
    assert usual(7 * MIB * 40, 40) == 7 * MIB, "the only one in whole MiB"
    assert usual(1, 2) is None


@pytest.mark.parametrize("etag", [b"", b'"d41d8cd98f00b204e9800998ecf8427e"', b"d41d8cd98f00b204e9800998ecf8427e-0",
    b"d41d8cd98f00b204e9800998ecf8427e-10001", b"D41d8cd98f00b204e9800998ecf8427e-1", b"kms-2"])  # fmt: skip
def test_what_is_no_etag_of_parts(etag):
    assert of_parts(etag) is None


def test_a_store_makes_it_so(bucket, faulty):
    import obstore

    there, data = Bucket(f"s3://{bucket}/p"), bytes(range(256)) * (MIB // 256 * 11) + b"odd"
    obstore.put(there.client.store, "a", data, use_multipart=True, chunk_size=6 * MIB)
    _, etag = there.look("a")
    digest, parts = of_parts(etag)
    assert parts == 2
    assert not there.hasher_of("a", etag, len(data)).told
    faulty.plan = lambda method, path, _n: f"part {6 * MIB}" if method == "HEAD" and "partNumber=1" in path else None
    hasher = there.hasher_of("a", etag, len(data))
    hasher.update(memoryview(data))
    assert (hasher.told, hasher.digest()) == (True, digest)
    faulty.plan = lambda *_: f"part {5 * MIB}"
    assert there.hasher_of("a", etag, len(data)) is None, "which makes three parts"
    faulty.plan = lambda *_: "500"
    assert there.hasher_of("a", etag, len(data)) is None
