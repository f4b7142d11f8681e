"""Ranges, what is fetched ahead and what is kept: over a file in memory that may be slow, fail, or be full of holes."""

import itertools
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealift.drives import ranges
from sealift.drives.ranges import AHEAD, PIECE, Lent, Ranges, RemoteFile, Traffic, Workers, pieces, read_soon
from sealift.errors import DriveFault

DATA = random.Random(5).randbytes(100_000)


class Slow(RemoteFile):
    """DATA, in a Lent; `plan(start, stop)` may wait or raise."""

    def __init__(self, threads=3):
        self.key, self._ranges = "it", Ranges(Workers(threads, "test"))
        self.plan = lambda _start, _stop: None
        self.asked = []

    ranges = property(lambda self: self._ranges)
    length = known_length = property(lambda _self: len(DATA))
    stamp = property(lambda _self: (1,))
    lasting = property(lambda _self: True)
    read_from = property(lambda _self: "cache")

    def fetch(self, start, stop):
        self.asked.append((start, stop))
        self.plan(start, stop)
        lent = Lent(stop - start)
        lent.view[:] = DATA[start:stop]
        return lent


_windows = st.lists(
    st.tuples(
        st.integers(0, len(DATA) + 10),
        st.integers(0, 40_000),
        st.sampled_from(["read", "ask", "again", "need", "make"]),
    ),
    max_size=25,
)


@settings(max_examples=200, deadline=None)
@given(_windows, st.integers(1_000, 30_000))
def test_any_order_of_asking_gives_the_files_bytes_each_once(windows, piece):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "PIECE", piece)
        patch.setattr(ranges, "WINDOW", 2 * piece)
        file = Slow()
        for start, length, how in windows:
            expected = DATA[start : start + length]
            if how == "read":
                assert file.read_at(start, length) == expected
            elif how == "need":
                file.will_need(start, length)
            elif how == "make":
                file.will_need(start, length, lambda at, view: (at, bytes(view)))
            else:
                asked = file.ask(start, length, again=how == "again")
                assert asked.wait(10)
                parts = asked.parts()
                assert b"".join(part for _, part in parts) == expected, "no gap, and nothing twice"
                assert [place for place, _ in parts] == [
                    sum(len(part) for _, part in parts[:number]) for number in range(len(parts))
                ]
                assert asked.take_made() in {None, (start, expected)}, "of these bytes, or of none"
        file.ranges.workers.close()


def test_what_is_made_of_bytes_that_came_is_had_with_exactly_these_and_once():
    file, made = Slow(), []

    def make(at, view):
        made.append((at, bytes(view), threading.current_thread()))
        return made[-1]

    def asked(start, length):
        one = file.ask(start, length)
        assert one.wait(10)
        assert b"".join(part for _, part in one.parts()) == DATA[start : start + length]
        return one.take_made()

    file.will_need(100, 5_000, make)
    assert asked(100, 4_999) is None
    assert asked(99, 5_001) is None
    assert asked(100, 5_000) is made[0]
    assert made[0][:2] == (100, DATA[100:5_100])
    assert made[0][2] is not threading.current_thread(), "by who fetched them"
    assert asked(100, 5_000) is None, "it may be large, and is not kept"
    file.will_need(len(DATA) - 10, 20, make)
    assert asked(len(DATA) - 10, 20)[1] == DATA[-10:], "cut at the end of the file"


def test_of_bytes_that_did_not_come_nothing_is_made():
    file, made = Slow(), []
    file.plan = lambda _start, _stop: (_ for _ in ()).throw(DriveFault("gone", drive="d"))
    file.will_need(0, 100, lambda at, _view: made.append(at))
    with pytest.raises(DriveFault, match="gone"):
        file.ask(0, 100).parts()
    assert not made


@given(st.integers(0, 1 << 40), st.integers(1, 9 * PIECE))
def test_pieces_are_about_equal_and_fit_the_memory(start, length):
    found = pieces(start, start + length)
    assert found[0][0] == start
    assert found[-1][1] == start + length
    assert all(one[1] == other[0] for one, other in itertools.pairwise(found))
    assert all(0 < stop - at <= ranges._LONGEST for at, stop in found)


def test_what_fails_ahead_is_asked_for_again_and_told_to_who_reads():
    file = Slow()

    def fail(*_):
        raise DriveFault("it failed", drive="x")

    file.plan = fail
    file.will_need(0, 100)
    time.sleep(0.1)
    with pytest.raises(DriveFault, match="it failed"):
        file.ask(0, 100).into(memoryview(bytearray(100)))
    file.plan = lambda *_: None
    assert file.read_at(0, 100) == DATA[:100]


def test_a_range_for_which_room_was_made_is_fetched_by_who_reads_it():
    file, go = Slow(threads=1), threading.Event()
    file.plan = lambda *_: go.wait(10)
    first = [file.ask(number * 100, 100) for number in range(AHEAD + 10)]
    assert len(file.ranges._ahead) == AHEAD
    go.set()
    for number, asked in enumerate(first):
        buffer = bytearray(100)
        assert asked.into(memoryview(buffer)) == 100
        assert buffer == DATA[number * 100 : number * 100 + 100]


def test_one_that_hangs_holds_up_no_other_job():
    """As long as there may be another thread: jobs are given to threads, never queued behind one."""
    workers, go = Workers(4, "test"), threading.Event()
    for _ in range(50):
        assert workers.submit(lambda: 7).result(10) == 7
    stuck = [workers.submit(lambda: go.wait(20)) for _ in range(3)]
    begun = time.monotonic()
    for _ in range(50):
        assert workers.submit(lambda: 7).result(10) == 7
    assert time.monotonic() - begun < 5
    go.set()
    assert all(each.result(10) for each in stuck)
    workers.close()


def test_workers_end_when_their_ranges_are_let_go():
    def mine():
        return [each for each in threading.enumerate() if each.name == "ends"]

    made = Ranges(Workers(3, "ends"))
    for _ in range(10):
        made.workers.submit(lambda: time.sleep(0.01)).result()
    assert mine()
    del made
    deadline = time.monotonic() + 5
    while mine() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not mine()


def test_read_soon_waits_so_long_and_no_longer():
    file, go = Slow(), threading.Event()
    file.plan = lambda *_: go.wait(10)
    assert read_soon(file, 0, 10, 0.05) is None
    go.set()
    assert file.ask(0, 10).wait(5)
    assert read_soon(file, 0, 10, 5) == DATA[:10]
    assert read_soon(file, len(DATA) - 3, 10, 5) == DATA[-3:]


def test_a_host_that_was_waited_for_in_vain_is_not_at_once_waited_for_again(monkeypatch):
    file, go = Slow(), threading.Event()
    file.plan = lambda *_: go.wait(10)
    assert not file.ranges.is_slow
    assert read_soon(file, 0, 10, 0.05) is None
    assert file.ranges.is_slow
    begun = time.monotonic()
    assert read_soon(file, 20, 10, 5) is None
    assert time.monotonic() - begun < 1
    go.set()
    file.ask(20, 10).wait(5)
    assert read_soon(file, 20, 10, 0) == DATA[20:30], "what has come is taken"
    assert not file.ranges.is_slow
    monkeypatch.setattr(ranges, "_SLOW_FOR", 0.0)
    file.ranges.was_slow(slow=True)
    assert not file.ranges.is_slow, "for a while"


def test_memory_is_used_again_when_nobody_holds_it():
    ranges._spare.clear()
    one = Lent(10)
    memory = one._memory
    kept = one.view
    del one
    assert any(each is memory for each in ranges._spare)  # a thread of an earlier test may give some back, too
    lent = [Lent(20) for _ in range(len(ranges._spare))]
    assert any(each._memory is memory for each in lent)
    del kept


def test_traffic_is_counted_by_many_threads():
    traffic = Traffic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: traffic.add(requests=1, size=3), range(2000)))
    assert (traffic.requests, traffic.bytes) == (2000, 6000)
