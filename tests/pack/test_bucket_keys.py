"""Whatever keys a bucket has: what is carried makes a tree of files, what is not is named, and nothing is both."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sealift.drives.bucket import Listed, Page
from sealift.stages.pack.bucket import BucketSource, _Batch, reason_against
from sealift.stages.pack.digests import Digests

ROOT = b"p/"
parts = st.sampled_from([b"a", b"b", b"a-", b"a0", b"a.b", b"", b".", b"..", b"\n", b"\xff", b"x" * 256])
keys = st.lists(st.lists(parts, max_size=4).map(b"/".join), unique=True, max_size=12).map(sorted)


def listed(key, size=1):
    return Listed(ROOT + key, size, b'"e"', 0)


def carried(batch):
    """path -> whether it is a folder."""
    return {path: bool(status.st_mode & 0o040000) for path, status in zip(batch.paths, batch.stats, strict=True)}


def check(found, skipped, given_keys):
    told = [path for path, _ in skipped]
    expected = {key for key, _ in given_keys if key}
    assert len(told) == len(set(told))
    markers = {path + b"/" for path, folder in found.items() if folder}
    files = {path for path, folder in found.items() if not folder}
    assert files | markers | set(told) == expected
    assert len(files) + len(markers) + len(told) == len(expected)
    for path in files:
        assert reason_against(path) is None
        assert not any(other.startswith(path + b"/") for other in found), "no file is a folder"
        assert path not in {each for each, folder in found.items() if folder}
    for key, _ in given_keys:  # what is skipped could not have been carried
        if key in told and reason_against(key) is None and not key.endswith(b"/"):
            assert any(other.startswith(key + b"/") and other != key + b"/" for other in files | markers)


@given(keys.flatmap(lambda found: st.tuples(*(st.tuples(st.just(key), st.integers(0, 1)) for key in found))))
@example(((b"a", 1), (b"a-", 1), (b"a/", 0), (b"a/b", 1)))
@example(((b"a", 1), (b"a/", 0)))
@example(((b"a", 1), (b"a-/b", 1), (b"a0", 1)))
def test_files_are_no_folders_and_every_key_is_told(found):
    batch = _Batch(ROOT, [])
    for key, size in found:
        batch.add(listed(key, size))
    batch.end()
    check(carried(batch), batch.skipped, found)


class Served:
    """A bucket of so many keys a page."""

    root, name = ROOT, "s3://made/up"

    def __init__(self, found, most):
        self.found, self.most = [listed(key, size) for key, size in found], most

    def page(self, under, after=b"", *, folders=False, most=0):
        del most
        within = [each for each in self.found if each.key.startswith(under) and each.key > after]
        if folders:
            rests = [each.key[len(under) :] for each in within]
            prefixes = sorted({under + rest.partition(b"/")[0] + b"/" for rest in rests if b"/" in rest})
            alone = [each for each, rest in zip(within, rests, strict=True) if b"/" not in rest]
            more = len(prefixes) + len(alone) > self.most
            return Page(alone[: self.most], prefixes[: self.most], b"more" if more else b"")
        page = within[: self.most]
        return Page(page, [], page[-1].key if len(within) > self.most else b"")


@given(
    keys.flatmap(lambda found: st.tuples(*(st.tuples(st.just(key), st.integers(0, 1)) for key in found))),
    st.integers(1, 5),
)
@example(((b"/x", 1), (b"b", 1), (b"", 0)), 5)
@example(((b"a", 1), (b"a/b", 1), (b"b/c", 1)), 5)
@example(((b".", 1), (b"./a", 1), (b"a/a", 1)), 5)
def test_however_it_is_cut_into_pages_and_folders(found, most):
    found = tuple(sorted(found))
    source = BucketSource.__new__(BucketSource)
    source.bucket = Served(found, most)
    stack, paths, skipped = [b""], {}, []
    for _ in range(500):
        for seen in source.walk(stack, bytes, None, -1.0):
            at = 0
            lengths = memoryview(seen.path_lengths).cast("i")
            for length, mode in zip(lengths, memoryview(seen.modes).cast("q"), strict=True):
                path = seen.paths[at : at + length]
                assert path not in paths
                paths[path] = mode >> 12 == 4
                at += length
            skipped += seen.skipped
        if not stack:
            break
    assert not stack
    check(paths, skipped, found)


@given(st.text(max_size=12) | st.sampled_from(["a/b", "日/本", "a\x7f", "a b", "~", "%2F", "a\\b", "\x80"]))
def test_what_is_carried_is_what_obstore_can_ask_for(text):
    import obstore
    from obstore.store import MemoryStore

    try:
        path = text.encode()
    except UnicodeEncodeError:
        return
    if reason_against(path) is not None:
        return
    store = MemoryStore()
    obstore.put(store, text, b"x")
    assert [each["path"] for page in obstore.list(store) for each in page] == [text]


class Known:
    """A bucket whose objects' ETags are, or are no digests."""

    root = ROOT

    def __init__(self, objects, *, own_keys=False):
        self.objects, self.own_keys, self.read = objects, own_keys, 0

    def page(self, _under):
        return Page([Listed(ROOT + key, len(data), etag, 0) for key, data, etag in self.objects], [], b"")

    def whole(self, path, _etag, _size):
        from sealift.drives.bucket import Got

        self.read += 1
        return next(Got(memoryview(data), len(data), etag) for key, data, etag in self.objects if key == path.encode())

    def encrypted_with_own_keys(self, _path):
        return self.own_keys


MD5_OF_X = b'"9dd4e461268c8034f5c8564e155c67a6"'
OTHER = b'"%b"' % (b"0" * 32)


@pytest.mark.parametrize(
    ("objects", "own_keys", "none"),
    [
        ([], False, True),
        ([(b"y", b"y", OTHER)], False, True),
        ([(b"y", b"y", OTHER), (b"x", b"x", MD5_OF_X)], False, False),
        ([(b"y", b"y", OTHER), (b"x", b"x", MD5_OF_X)], True, True),
        ([(b"x", b"x", b'"parts-3"')], False, True),
        ([(b"it", b"x", MD5_OF_X)], False, True),
    ],
)
def test_when_an_etag_is_taken_for_no_digest(objects, own_keys, none):
    bucket = Known(objects, own_keys=own_keys)
    digests = Digests(bucket, lambda name: reason_against(name) is None)
    assert [digests.none("it") for _ in range(3)] == [none] * 3
    assert bucket.read <= 2
    assert digests.fits(MD5_OF_X, bytes.fromhex(MD5_OF_X.decode().strip('"')))
    assert digests.none("it") is own_keys


def test_notes_of_an_ingest_that_has_not_ended_are_told_and_not_packed():
    batch = _Batch(ROOT, [])
    for key in (
        b".sealift-ingest-0123456789abcdef/000",
        b".sealift-ingest-lock/000001-aa",
        b".sealift",
        b"a/.sealift-ingest-x/1",
        b"a/x.sealift-ingest-x",
    ):
        batch.add(listed(key, 1))
    batch.end()
    assert sorted(carried(batch)) == [b".sealift", b"a/x.sealift-ingest-x"]
    assert {reason for _, reason in batch.skipped} == {
        "it is a note of `sealift ingest` that has not ended there, and no part of what was copied"
    }
