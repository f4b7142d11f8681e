"""The comparison of a rehearsal can fail: whatever is changed in the restored tree is found and named."""

import os
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealift.stages.rehearse_compare import compare, leaves


@pytest.fixture
def trees(tmp_path):
    one = tmp_path / "one"
    (one / "a" / "b").mkdir(parents=True)
    (one / "empty").mkdir()
    (one / "a" / "file").write_bytes(os.urandom(3 << 20))
    (one / "a" / "b" / "small").write_bytes(b"text")
    os.link(one / "a" / "b" / "small", one / "hard")
    os.symlink("a/file", one / "soft")
    with open(os.fsencode(one) + b"/odd\xff", "wb") as file:
        file.write(b"x")
    for top, folders, names in os.walk(one, topdown=False):
        for name in (*names, *folders, "."):
            os.utime(os.path.join(top, name), ns=(1, 10**18), follow_symlinks=False)
    two = tmp_path / "two"
    shutil.copytree(one, two, symlinks=True)
    os.unlink(two / "hard")
    os.link(two / "a" / "b" / "small", two / "hard")
    os.utime(two, ns=(1, 10**18))
    return one, two


def test_the_same_is_the_same(trees):
    result = compare(*map(str, trees))
    assert (result.differences, result.named) == (0, [])
    assert (result.files, result.leaves) == (4, 5)
    assert result.size == (3 << 20) + 2 * 4 + 1
    assert sorted(leaves(str(trees[0]))) == [b"a/b/small", b"a/file", b"hard", b"odd\xff", b"soft"]


def put(path, data):
    status = os.stat(path)
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def swap_link(two):
    os.unlink(two / "soft")
    os.symlink("a/filf", two / "soft")
    os.utime(two / "soft", ns=(1, 10**18), follow_symlinks=False)


def unshare(two):
    data = (two / "hard").read_bytes()
    os.unlink(two / "hard")
    (two / "hard").write_bytes(data)
    os.utime(two / "hard", ns=(1, 10**18))


def other_kind(two):
    os.unlink(two / "hard")
    (two / "hard").mkdir()


CHANGES = {
    "a file's mode": (lambda two: os.chmod(two / "a" / "file", 0o600), "a/file: mode 600"),
    "a folder's mode": (lambda two: os.chmod(two / "empty", 0o711), "empty: mode 711"),
    "a file's time": (lambda two: os.utime(two / "a" / "file", ns=(1, 10**18 + 1)), "a/file: mtime"),
    "a folder's time": (lambda two: os.utime(two / "empty", ns=(1, 5)), "empty: mtime"),
    "a link's time": (lambda two: os.utime(two / "soft", ns=(1, 5), follow_symlinks=False), "soft: mtime"),
    "a link's target": (swap_link, "soft: links elsewhere"),
    "a hard link": (unshare, "a/b/small: hard-linked otherwise|hard: hard-linked otherwise"),
    "a kind": (other_kind, "hard: of another kind"),
    "a missing file": (lambda two: os.unlink(two / "a" / "file"), "a/file: not restored"),
    "a missing folder": (lambda two: os.rmdir(two / "empty"), "empty: not restored"),
    "one file more": (lambda two: (two / "empty" / "more").write_bytes(b""), "more: restored, and not"),
    "a shorter file": (lambda two: put(two / "a" / "file", b"x"), "a/file: 1 bytes, not"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_found_and_named(trees, what):
    one, two = trees
    change, says = CHANGES[what]
    change(two)
    result = compare(str(one), str(two))
    assert result.differences > 0
    assert any(part in line for line in result.named for part in says.split("|")), result.named


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, (3 << 20) - 1), st.integers(1, 255))
def test_one_byte_anywhere_is_found(trees, offset, mask):
    one, two = trees
    original = (one / "a" / "file").read_bytes()
    changed = bytearray(original)
    changed[offset] ^= mask
    put(two / "a" / "file", bytes(changed))
    assert compare(str(one), str(two)).named == ["a/file: other content"]


def test_where_entries_may_be_absent_they_are_counted_and_the_rest_is_compared(trees):
    one, two = trees
    shutil.rmtree(two / "a")
    os.utime(two / "empty", ns=(1, 5))  # another group brings the times of folders
    result = compare(str(one), str(two), partial=True)
    assert (result.absent, result.leaves) == (2, 3)
    assert [line.partition(":")[0] for line in result.named] == []
    put(two / "hard", b"texx")
    assert compare(str(one), str(two), partial=True).named == ["hard: other content"]


def test_what_is_passed_over_is_not_compared(trees):
    one, two = trees
    put(two / "a" / "file", b"x")
    assert compare(str(one), str(two), passed_over={b"a/file"}).differences == 0
