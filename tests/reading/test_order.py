"""The order of training: whatever the ranks, the stops and the drives that come and go, each sample once."""

from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealift.errors import BadInput, NotAllHere
from sealift.reading.order import Order, Phase, State, Units, default_lanes, phase_of, read_state, readable

GROUPS = {0: 2, 1: 2}
SLOTS = {0: [0, 1, 2], 1: [0, 1, 2]}
QUIET = settings(deadline=None, max_examples=150)


def make(counts, size=50):
    count = len(counts)
    return Units(
        np.arange(1, count + 1, dtype=np.uint64) * np.uint64(7919),
        np.array(counts, np.int64),
        np.array(counts, np.int64) * size,
        np.arange(count, dtype=np.int64) % 2,
        np.arange(count, dtype=np.int64) % 3,
        {},
    )


def fresh(units, batch_size=12, lanes=6, turns=2, last="drop", present=SLOTS, window=1000, epoch=0):
    del units
    return State(
        shipment="ab" * 8, samples="files", seed=3, epoch=epoch, batch_size=batch_size, lanes=lanes, turns=turns,
        window=window, last=last, phases=[phase_of(present, GROUPS)],
    )  # fmt: skip


def samples(order, batch, rank=0, world=1):
    found = []
    for lane, start, end in order.share(batch, rank, world):
        for position in range(start, end):
            window = order.window(lane, position)
            found.append((window.unit, window.lo + int(window.permutation[position - window.start])))
    return found


def epoch(order, first=0, end=None):
    return [samples(order, batch) for batch in range(first, order.batches if end is None else end)]


counts = st.lists(st.integers(0, 40), min_size=1, max_size=14)
sizes = st.sampled_from([(12, 6), (12, 12), (12, 1), (8, 4), (6, 3), (4, 2)])


@QUIET
@given(counts, sizes, st.integers(1, 5), st.sampled_from([1, 60, 400, 10_000]))
def test_each_sample_once_and_full_batches(numbers, shape, turns, window):
    units = make(numbers)
    order = Order(units, fresh(units, *shape, turns=turns, window=window), GROUPS, GROUPS)
    batches = epoch(order)
    assert all(len(batch) == shape[0] for batch in batches)
    seen = Counter(sample for batch in batches for sample in batch)
    assert len(batches) == sum(numbers) // shape[0]
    assert max(seen.values(), default=1) == 1
    assert all(0 <= place < numbers[unit] for unit, place in seen)
    assert order.dropped == sum(numbers) - len(seen) == sum(numbers) % shape[0]


@QUIET
@given(counts, sizes, st.integers(1, 4))
def test_padding_gives_everything_and_repeats_only_to_fill_the_last_batch(numbers, shape, turns):
    units = make(numbers)
    order = Order(units, fresh(units, *shape, turns=turns, last="pad"), GROUPS, GROUPS)
    seen = Counter(sample for batch in epoch(order) for sample in batch)
    assert len(seen) == sum(numbers)
    assert sum(seen.values()) == -(-sum(numbers) // shape[0]) * shape[0]
    assert order.dropped == 0


@QUIET
@given(counts, sizes, st.integers(1, 4), st.data())
def test_a_batch_is_the_same_set_at_any_number_of_ranks(numbers, shape, turns, data):
    units = make(numbers)
    order = Order(units, fresh(units, *shape, turns=turns), GROUPS, GROUPS)
    world = data.draw(st.sampled_from([n for n in range(1, shape[0] + 1) if shape[0] % n == 0]))
    for batch in range(order.batches):
        parts = [samples(order, batch, rank, world) for rank in range(world)]
        assert {len(part) for part in parts} == {shape[0] // world}
        assert list(chain(*parts)) == samples(order, batch)


@QUIET
@given(
    st.lists(st.integers(0, 40), min_size=2, max_size=12),
    sizes,
    st.integers(1, 3),
    st.lists(
        st.tuples(st.integers(0, 6), st.sets(st.integers(0, 2)), st.sets(st.integers(0, 2))), min_size=1, max_size=4
    ),
)
def test_drives_come_and_go_and_nothing_is_read_twice_or_left_out(numbers, shape, turns, plan):
    units = make(numbers)
    state, seen = None, Counter()
    for stop, first, second in plan:
        phase = phase_of({0: sorted(first), 1: sorted(second)}, GROUPS)
        if state is None:
            state = fresh(units, *shape, turns=turns, window=300)
            state = read_state({**state.encode(), "phases": [{"here": phase.here}]})
        else:
            state = read_state({**state.encode(), "phases": [*state.encode()["phases"], {"here": phase.here}]})
        order = Order(units, state, GROUPS, GROUPS)
        here = readable(units, phase, GROUPS)
        done = min(stop, order.batches)
        for batch in epoch(order, 0, done):
            assert all(here[unit] for unit, _ in batch)
            seen.update(batch)
        state = state.at(done)
        owed = sum(int(count) for count, good in zip(numbers, here, strict=True) if not good)
        assert order.owed.total <= owed
    order = Order(units, read_state({**state.encode(), "phases": [*state.encode()["phases"], {}]}), GROUPS, GROUPS)
    for batch in epoch(order):
        seen.update(batch)
    assert order.owed.total == 0
    assert max(seen.values(), default=1) == 1
    assert sum(seen.values()) + order.dropped == sum(numbers)


def test_epochs_and_seeds_differ_and_repeat():
    units = make([30] * 12)
    one, same, other = (Order(units, fresh(units, epoch=number), GROUPS, GROUPS) for number in (0, 0, 1))
    assert epoch(one) == epoch(same) != epoch(other)
    assert sorted(chain(*epoch(one))) == sorted(chain(*epoch(other)))


def test_the_order_is_what_it_was():
    """These numbers are those of checkpoints that exist: what changes them breaks exact resume."""
    units = make([5, 0, 9, 4, 7, 3])
    order = Order(units, fresh(units, 4, 2, turns=2, window=150), GROUPS, GROUPS)
    assert epoch(order)[:3] == EXPECTED


EXPECTED = [[(2, 1), (2, 0), (4, 1), (4, 0)], [(0, 0), (0, 1), (5, 1), (5, 2)], [(2, 2), (2, 4), (4, 3), (4, 2)]]


def test_a_stop_anywhere_goes_on_with_the_next_batch():
    units = make([17, 3, 40, 8, 25])
    whole = epoch(Order(units, fresh(units), GROUPS, GROUPS))
    for stop in range(len(whole) + 1):
        state = read_state(fresh(units).at(stop).encode())
        assert epoch(Order(units, state, GROUPS, GROUPS), stop) == whole[stop:]


def test_what_is_left_out_does_not_move_what_stands_around_it():
    units = make([20] * 9)
    full = epoch(Order(units, fresh(units, 6, 1, 1), GROUPS, GROUPS))
    less = epoch(Order(units, fresh(units, 6, 1, 1, present={0: SLOTS[0]}), GROUPS, GROUPS))
    kept = list(dict.fromkeys(unit for batch in full for unit, _ in batch if unit % 2 == 0))
    assert list(dict.fromkeys(unit for batch in less for unit, _ in batch)) == kept


@pytest.mark.parametrize(("batch_size", "lanes"), [(512, 32), (24, 24), (48, 24), (7, 7), (1, 1), (37, 1), (2400, 32)])
def test_default_lanes(batch_size, lanes):
    assert default_lanes(batch_size) == lanes


def test_what_cannot_be_is_refused():
    units = make([20, 20])
    with pytest.raises(BadInput, match="lanes"):
        Order(units, fresh(units, 12, 5), GROUPS, GROUPS)
    with pytest.raises(BadInput, match="ranks"):
        Order(units, fresh(units), GROUPS, GROUPS).share(0, 0, 5)
    with pytest.raises(BadInput, match="batches were read"):
        Order(units, fresh(units).at(99), GROUPS, GROUPS)
    with pytest.raises(NotAllHere, match="group 1 was read before"):
        Order(units, fresh(units), GROUPS, [0])
    for wrong in ({}, {**fresh(units).encode(), "version": 2}, {**fresh(units).encode(), "phases": []}):
        with pytest.raises(BadInput, match="none of sealift's"):
            read_state(wrong)
    assert phase_of({0: [1]}, GROUPS) == Phase({"0": [1], "1": []})
