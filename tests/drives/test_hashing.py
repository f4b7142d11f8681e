"""MD5 in a thread of its own: bytes in order, few of them waiting, and whoever gives them hears of what goes wrong."""

import hashlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealift.drives import hashing
from sealift.drives.hashing import AHEAD, Hashing


@given(st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=40)), max_size=30))
def test_each_hasher_gets_its_bytes_in_order(given_bytes):
    apart, hashers = Hashing(), [hashlib.md5() for _ in range(3)]
    for which, data in given_bytes:
        apart.update(hashers[which], data)
    apart.wait()
    for which, hasher in enumerate(hashers):
        assert hasher.digest() == hashlib.md5(b"".join(data for each, data in given_bytes if each == which)).digest()
    apart.close()
    apart.close()


class Slow:
    def __init__(self):
        self.go, self.seen = threading.Event(), 0

    def update(self, data):
        assert self.go.wait(20)
        self.seen += len(data)


def test_who_gives_more_than_may_wait_waits(monkeypatch):
    monkeypatch.setattr(hashing, "AHEAD", 100)
    apart, slow = Hashing(), Slow()
    apart.update(slow, bytes(60))
    threading.Timer(0.2, slow.go.set).start()
    apart.update(slow, bytes(60))
    assert slow.seen >= 60
    apart.wait()
    assert slow.seen == 120
    apart.close()
    assert AHEAD >= 1 << 20


def _both(apart):
    apart.update(hashlib.md5(), "no bytes")
    apart.wait()


def test_what_goes_wrong_is_told():
    apart = Hashing()
    with pytest.raises(TypeError):
        _both(apart)
    apart.close()
