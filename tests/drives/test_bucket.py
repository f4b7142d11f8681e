"""A bucket's listing is believed as far as it makes sense; objects are read by ETag, within stated patience."""

import re
import time

import pytest
from faulty_proxy import proxy
from hypothesis import given
from hypothesis import strategies as st
from listed_bucket import FOLDER, key, serving

from sealift.drives import bucket as buckets
from sealift.drives.bucket import Bucket, Listed, Replaced
from sealift.errors import BadInput, SourceFault

ENTRY = (
    "<Contents><Key>{}</Key><LastModified>2026-11-26T07:27:16.708Z</LastModified>"
    "<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>{}</Size><Owner><ID>x</ID></Owner></Contents>"
)
MTIME = 1_795_678_036_708_000_000


def listing(*entries, more=False, encoded=True, prefixes=()):
    told = f"<IsTruncated>{str(more).lower()}</IsTruncated>" + "<EncodingType>url</EncodingType>" * encoded
    common = "".join(f"<CommonPrefixes><Prefix>{each}</Prefix></CommonPrefixes>" for each in prefixes)
    return f"<ListBucketResult><Prefix>p/</Prefix>{told}{''.join(entries)}{common}</ListBucketResult>".encode()


@pytest.fixture
def keys(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9" if name == "AWS_ENDPOINT_URL" else "none")
    monkeypatch.delenv("AWS_SKIP_SIGNATURE", raising=False)


@pytest.fixture
def told(keys, monkeypatch):
    """A bucket that answers what the test says."""
    bucket, answers = Bucket("s3://bucket/p"), []
    monkeypatch.setattr(Bucket, "_answer", lambda *_: answers.pop(0))
    monkeypatch.setattr(buckets, "_PAUSE", 0.0)
    return bucket, answers


def test_a_page_has_every_key_as_bytes(told):
    bucket, answers = told
    answers.append(listing(ENTRY.format("p%2F%01%0a%ff+%2B", 5), ENTRY.format("p%2Fa%2F%2Fb", 0), more=True))
    etag = b'"d41d8cd98f00b204e9800998ecf8427e"'
    found = bucket.page(b"p/")
    assert found.objects == [Listed(b"p/\x01\n\xff +", 5, etag, MTIME), Listed(b"p/a//b", 0, etag, MTIME)]
    assert found.after == b"p/a//b"
    answers.append(listing(ENTRY.format("p/a&amp;+", 1), encoded=False, prefixes=["p/b/"]))
    found = bucket.page(b"p/", folders=True)
    assert ([each.key for each in found.objects], found.prefixes, found.after) == ([b"p/a&+"], [b"p/b/"], b"")


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>not here</html>",
        listing(ENTRY.format("elsewhere", 1)),
        listing(ENTRY.format("p%2Fb", 1), ENTRY.format("p%2Fa", 1)),
        listing(ENTRY.format("p%2Fa", 1), ENTRY.format("p%2Fa", 1)),
        listing(ENTRY.format("p%2Fa", -1)),
        listing(ENTRY.format("p%2Fa", 1 << 60)),
        listing(ENTRY.format("p%2Fa", "1" * 5000)),
        listing(ENTRY.format("p%2Fa", 1).replace("07:27", "soon")),
        listing(ENTRY.format("p%2Fa", 1).replace("Z<", "<")),
        listing(ENTRY.format("p%2Fa", 1).replace("Key>", "Keys>")),
        listing(ENTRY.format("p%2Fé", 1)),
        listing(more=True),
        listing(ENTRY.format("p%2Fa", 1), prefixes=["p%2Fa"]),
        listing(*(ENTRY.format(f"p%2F{number:05d}", 1) for number in range(1001))),
    ],
)
def test_a_listing_that_makes_no_sense_ends_the_work(told, answer):
    bucket, answers = told
    answers += [answer] * buckets._CUT
    with pytest.raises(SourceFault, match=r"^s3://bucket/p: listing 'p/': .*; what was committed before is safe"):
        bucket.page(b"p/")


def test_a_listing_goes_on_or_fails(told):
    bucket, answers = told
    answers += [listing(ENTRY.format("p%2Fa", 1), more=True)] * buckets._CUT
    with pytest.raises(SourceFault, match="out of order"):
        bucket.page(b"p/", b"p/a")


def test_a_listing_that_was_altered_on_its_way_is_asked_for_again(told):
    bucket, answers = told
    whole = listing(ENTRY.format("p%2Fa", 1), ENTRY.format("p%2Fb", 2))
    answers += [
        whole[: len(whole) // 2],
        whole.replace(b"p%2F", b"q%2F"),
        whole.replace(b"Key>", b"Kez>", 1),
        b"",
        whole,
    ]
    assert [each.key for each in bucket.page(b"p/").objects] == [b"p/a", b"p/b"]
    assert not answers


@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 20))
def test_a_mutated_listing_is_a_page_or_a_value_error(noise, at, cut):
    body = listing(ENTRY.format("p%2Fa", 1), ENTRY.format("p%2Fb", 2), more=True)
    try:
        page = buckets._parse(body[:at] + noise + body[at + cut :])
    except (ValueError, OverflowError):
        return
    assert all(isinstance(each.key, bytes) and 0 <= each.size <= buckets.MAX_SIZE for each in page.objects)


def test_many_keys_are_listed_page_by_page(keys, monkeypatch):
    with serving(FOLDER + 2500) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        bucket = Bucket("s3://bucket/p")
        assert bucket.page(b"p/", folders=True).prefixes == [b"p/000/", b"p/001/"]
        found, after = [], b""
        while True:
            page = bucket.page(b"p/001/", after)
            found += [each.key.decode() for each in page.objects]
            after = page.after
            if not after:
                break
        assert found == [key(number) for number in range(FOLDER, FOLDER + 2500)]


def test_an_answer_without_end_is_left(keys, monkeypatch):
    monkeypatch.setattr(buckets, "_ANSWER", 100_000)
    with serving(1000) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        begun = time.monotonic()
        with pytest.raises(SourceFault, match="cannot be reached"):
            Bucket("s3://bucket/p", patience=0.3).page(b"p/000/")
        assert time.monotonic() - begun < 5


def test_nobody_there_is_told_within_the_patience(keys):
    bucket = Bucket("s3://bucket/p", patience=0.5)
    for doing in (lambda: bucket.page(b"p/"), lambda: bucket.get("x", b'"e"', 0, 1), lambda: bucket.look("x")):
        begun = time.monotonic()
        with pytest.raises(SourceFault, match=r"cannot be reached|nobody answers") as caught:
            doing()
        assert time.monotonic() - begun < 8
        assert "AWS_ENDPOINT_URL" in caught.value.hint
        assert "none" not in str(caught.value)


@pytest.mark.long
def test_a_store_that_fails_for_long_is_told_within_the_patience(s3, bucket, monkeypatch):
    with proxy(s3.endpoint) as faulty:
        monkeypatch.setenv("AWS_ENDPOINT_URL", faulty.endpoint)
        faulty.plan = lambda *_: "503"
        source = Bucket(f"s3://{bucket}/p", patience=0.5)
        for doing in (lambda: source.page(b"p/"), lambda: source.get("x", b'"e"', 0, 1)):
            begun = time.monotonic()
            with pytest.raises(SourceFault, match="the store failed"):
                doing()
            assert time.monotonic() - begun < 8
        assert len(faulty.seen) > 2
        faulty.plan = lambda *_: "elsewhere http://127.0.0.1:9/"
        seen = len(faulty.seen)
        with pytest.raises(SourceFault, match="redirects to another place"):
            source.page(b"p/")
        assert len(faulty.seen) == seen + 1


def test_what_a_store_swallows_is_asked_for_again_and_said_to_be_waited_for(bucket, faulty, impatient, caplog):
    obstore = pytest.importorskip("obstore")
    there = Bucket(f"s3://{bucket}/p")
    obstore.put(there.client.store, "a", b"abc")
    faulty.plan = lambda _method, _path, number: "hang" if number < 3 else None
    (listed,) = there.page(b"p/").objects
    assert there.get("a", listed.etag, 0, 3).data == b"abc"
    for doing in ("listing 'p/'", "reading 'a' at 0"):
        assert re.search(rf"still waiting after \d s: s3://{bucket}/p: {doing}", caplog.text)


def test_an_object_is_read_if_it_is_the_one(s3, bucket):
    import obstore

    source = Bucket(f"s3://{bucket}/p")
    obstore.put(source.client.store, "x", b"first")
    obstore.put(source.client.store, "empty", b"")
    size, etag = source.look("x")
    assert size == 5
    assert bytes(source.get("x", etag, 1, 3).data) == b"ir"
    assert bytes(source.get("x", etag, 3, 99).data) == b"st"
    assert source.get("empty", source.look("empty")[1], 0, 0).size == 0
    obstore.put(source.client.store, "x", b"other")
    with pytest.raises(Replaced):
        source.get("x", etag, 0, 5)
    for gone in (lambda: source.get("y", etag, 0, 1), lambda: source.look("y")):
        with pytest.raises(FileNotFoundError) as caught:
            gone()
        assert caught.value.strerror == "there is no such object"
    assert not source.encrypted_with_own_keys("x")


def test_a_store_that_passes_over_if_match_is_found_out(s3, bucket, monkeypatch):
    import obstore

    source = Bucket(f"s3://{bucket}/p")
    obstore.put(source.client.store, "x", b"first")
    _, etag = source.look("x")
    with proxy(s3.endpoint) as faulty:
        monkeypatch.setenv("AWS_ENDPOINT_URL", faulty.endpoint)
        faulty.plan = lambda *_: "newer"
        with pytest.raises(Replaced):
            Bucket(f"s3://{bucket}/p").get("x", etag, 0, 5)


def test_what_is_needed_is_said(keys, monkeypatch):
    with pytest.raises(BadInput, match="not of the form"):
        Bucket("s3://b/../c")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(BadInput, match="no keys") as caught:
        Bucket("s3://bucket")
    assert "export-credentials" in caught.value.hint
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    with serving(5) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        assert len(Bucket("s3://bucket").page(b"p/000/").objects) == 5


@pytest.mark.parametrize(
    ("etag", "digest"),
    [
        (b'"%b"' % (b"0a" * 16), b"\x0a" * 16),
        (b"0a" * 16, b"\x0a" * 16),
        (b'"%b-3"' % (b"0a" * 16), None),
        (b"*", None),
    ],
)
def test_which_etags_may_be_digests(etag, digest):
    assert buckets.strong_digest(etag) == digest
