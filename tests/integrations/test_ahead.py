"""Taking ahead changes nothing but when: items, order, errors and the end are the loader's."""

import gc
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealift.errors import BadInput
from sealift.integrations import ahead as ahead_module
from sealift.integrations.ahead import Ahead


def until(true):
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


def threads():
    return [each for each in threading.enumerate() if each.name == "sealift-ahead"]


@given(st.lists(st.integers()), st.integers(1, 5))
def test_items_are_those_of_the_loader_in_their_order(items, batches):
    assert list(Ahead(items, batches)) == items


def test_no_more_are_taken_than_may_be_held():
    taken = []

    def loader():
        for number in range(100):
            taken.append(number)
            yield number

    ahead = Ahead(loader(), 4)
    until(lambda: len(taken) == 4)
    time.sleep(0.05)
    assert len(taken) == 4
    assert next(ahead) == 0
    until(lambda: len(taken) == 5)
    time.sleep(0.05)
    assert len(taken) == 5
    ahead.close()
    assert not threads()


def test_an_error_comes_where_the_loader_raised_it_and_is_the_end():
    def loader():
        yield from range(5)
        raise OSError("the drive is gone")

    ahead = Ahead(loader(), 3)
    assert [next(ahead) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(OSError, match="the drive is gone"):
        next(ahead)
    with pytest.raises(StopIteration):
        next(ahead)


def test_the_end_is_the_end_again():
    ahead = Ahead([1])
    assert next(ahead) == 1
    for _ in range(3):
        with pytest.raises(StopIteration):
            next(ahead)


def test_a_loader_that_nobody_reads_any_more_is_let_go():
    gone = threading.Event()

    class Loader:
        def __iter__(self):
            return self

        def __next__(self):
            return 1

        def __del__(self):
            gone.set()

    ahead = Ahead(Loader(), 2)
    assert next(ahead) == 1
    del ahead
    gc.collect()
    assert gone.wait(20)
    until(lambda: not threads())


def test_close_is_the_end_and_may_come_twice():
    ahead = Ahead(iter(int, 1), 2)
    assert next(ahead) == 0
    ahead.close()
    ahead.close()
    with pytest.raises(StopIteration):
        next(ahead)


def test_who_waits_in_another_thread_is_let_go_when_it_is_closed():
    shelf = ahead_module._Shelf(1)
    shelf.close()  # when the thread has not yet asked for room
    ahead_module._take(iter([1]), shelf)
    _, end = shelf._held.get_nowait()
    assert isinstance(end, StopIteration)


def test_the_iterator_is_made_where_the_processes_are_to_be_forked():
    made = []

    class Loader:
        def __iter__(self):
            made.append(threading.current_thread())
            return iter([1])

    assert list(Ahead(Loader())) == [1]
    assert made == [threading.main_thread()]


@pytest.mark.parametrize("batches", [0, -1])
def test_nothing_ahead_is_refused(batches):
    with pytest.raises(BadInput):
        Ahead([], batches)
