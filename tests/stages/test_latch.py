"""Who waits at a latch goes on when all is done, and is told what failed first; one worker does one thing at a time."""

import threading
import time

import pytest

from sealift.drives.ranges import Workers
from sealift.stages.latch import Latch


@pytest.fixture
def worker():
    made = Workers(1, "worker-of-a-test")
    yield made
    made.close()


def test_in_order_and_one_at_a_time(worker):
    done, busy, latch = [], threading.Lock(), Latch(50)

    def job(number):
        assert busy.acquire(blocking=False)
        time.sleep(0.001)
        done.append(number)
        busy.release()

    for number in range(50):
        latch.put(worker, lambda number=number: job(number))
    latch.wait()
    assert done == list(range(50))


def test_who_waits_is_told_what_failed_first_when_all_is_done(worker):
    done, latch = [], Latch(4)

    def fails(text):
        done.append(text)
        raise OSError(text)

    latch.put(worker, lambda: fails("first"))
    latch.put(worker, lambda: fails("second"))
    latch.put(worker, lambda: (time.sleep(0.2), done.append("last")))
    latch.run(lambda: done.append("own"))
    with pytest.raises(OSError, match="first"):
        latch.wait()
    assert sorted(done) == ["first", "last", "own", "second"]


def test_nothing_is_waited_for_where_there_is_nothing():
    Latch(0).wait()


def test_where_no_thread_can_be_had_who_waits_is_told_and_the_next_is_done(worker, monkeypatch):
    with monkeypatch.context() as patch:

        def start(_thread):
            raise RuntimeError("can't start new thread")

        patch.setattr(threading.Thread, "start", start)
        latch = Latch(1)
        latch.put(worker, lambda: None)
        with pytest.raises(RuntimeError, match="new thread"):
            latch.wait()
    done, latch = [], Latch(1)
    latch.put(worker, lambda: done.append(1))
    latch.wait()
    assert done == [1]


def test_its_thread_ends_when_it_is_closed():
    worker, latch = Workers(1, "worker-that-ends"), Latch(1)
    worker.close()  # one that was never needed
    worker = Workers(1, "worker-that-ends")
    latch.put(worker, lambda: None)
    latch.wait()
    (thread,) = [each for each in threading.enumerate() if each.name == "worker-that-ends"]
    worker.close()
    thread.join(5)
    assert not thread.is_alive()
