"""Voyages in time: small ones by hand to the second, any by a second implementation, and what must never happen."""

import heapq
import importlib.util
import itertools
import math
from collections import defaultdict

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sealift.errors import BadInput
from sealift.stages.plan import events
from sealift.stages.plan import voyage as module
from sealift.stages.plan.defaults import defaults
from sealift.stages.plan.geometry import Carrier, Drive, Survive, Wanted, counts, drive_bytes, placement, search
from sealift.stages.plan.terms import DriveSpeed, Speeds, Terms
from sealift.stages.plan.voyage import cases, line, percentiles, seconds, simulate

quietly = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
ROUND = defaults().stated(
    b"""
hdd_write_rate = 100e3
hdd_read_rate = 200e3
hdd_erase_rate = 1e6
hand_over_hours = 1
ground_hours = 6
flight_hours = 6.5
customs_days = 2
courier_days = 4
receive_minutes_a_drive = 3
h100_gpu_hour = 2
"""
)
SPEEDS = Speeds(scan_files=100, pack_bytes=1e6, verify_bytes=1e9, start_seconds=5, inspect_seconds=7, open_seconds=2)
TERMS = Terms(source_bytes=60_000_000, files=1000, speeds=SPEEDS)
WAY = 10_800 + 23_400 + 172_800 + 10_800


def fleet(drives, carriers, *, packed, means="hand", bays=99, survive=None, size=10**9):
    return Wanted(
        drives=tuple(Drive(name=f"D{i}", capacity_bytes=size) for i in range(drives)),
        carriers=tuple(Carrier(name=name, means=means) for name in carriers),
        bays=bays,
        packed_bytes=packed,
        survive=survive or Survive(),
    )


def shape(wanted, data, parity, groups):
    return next(
        one
        for one in search(wanted, lambda _bytes, _blocks: 1)
        if (one.data, one.parity, one.groups) == (data, parity, groups)
    )


ONE = fleet(4, "ab", packed=40_000_000)  # 20 MB on each drive of 2+2, two with each carrier
GROUP = shape(ONE, 2, 2, 1)
ARRIVAL = 5 + 10 + 200 + 3600 + WAY  # start, scan, 20 MB at 100 kB/s, hand-over, the way


def simple(**changes):
    return replace(TERMS, read_back="none", **changes)


# --- by hand -----------------------------------------------------------------------------------------------


def test_a_small_voyage_to_the_second():
    out = simulate(ONE, GROUP, simple(gpus=3, lease_begins=ARRIVAL - 3600.0), ROUND)
    assert out.sealed == 215
    assert out.first_arrival == ARRIVAL
    assert out.first_batch == ARRIVAL + 180 + 7 + 2
    assert out.half == out.all == ARRIVAL + 360 + 7  # the second drive makes k
    assert out.verified == out.repaired == out.source_free == ARRIVAL + 720 + 7 + 100  # 20 MB at 200 kB/s
    assert (out.trained, out.home, out.in_time, out.missed) == (None, None, None, ())
    assert out.erased == out.source_free + 1000
    assert out.idle.first_batch == pytest.approx((3600 + 189) / 3600 * 3 * 2)
    assert out.idle.all == out.idle.half == pytest.approx((3600 + 367) / 3600 * 3 * 2)


def test_the_timeline_says_who_does_what():
    out = simulate(ONE, GROUP, simple(), ROUND)
    told = [(span.who, span.what, span.begin, span.end) for span in out.spans if span.who not in {"b", "cluster"}]
    at = 3815
    assert told == [
        ("origin", "scan", 0, 15),
        ("host 1", "pack group 0", 15, 215),
        ("a", "hand-over", 215, at),
        ("a", "ground", at, at + 10_800),
        ("a", "flight", at + 10_800, at + 34_200),
        ("a", "customs", at + 34_200, at + 207_000),
        ("a", "ground", at + 207_000, at + 217_800),
        ("a", "receive", ARRIVAL, ARRIVAL + 367),
        ("a", "verify", ARRIVAL + 187, ARRIVAL + 467),
    ]


@pytest.mark.parametrize(
    ("changes", "sealed"),
    [
        ({"speeds": replace(SPEEDS, pack_bytes=100e3)}, 15 + 600),  # the processors are slowest
        ({"source_rate": 50e3}, 15 + 1200),  # the source is
        ({"read_back": "full"}, 15 + 200 + 100),
        ({"read_back": "sample"}, 15 + 200 + 100 / 64),
        ({"drive_speeds": {"D3": DriveSpeed(write=50e3, read=1e6)}}, 15 + 400),  # one drive is slow
        ({"hosts": 7}, 15 + 200),  # one group is not packed by two
    ],
)
def test_packing_takes_as_long_as_the_slowest_of_source_processors_and_drives(changes, sealed):
    assert simulate(ONE, GROUP, replace(simple(), **changes), ROUND).sealed == pytest.approx(sealed)


def test_groups_queue_for_hosts():
    wanted = fleet(6, "ab", packed=30_000_000)
    one = shape(wanted, 1, 1, 3)  # 10 MB on each drive: 100 s a group
    for hosts, sealed in ((1, 315), (2, 215), (3, 115), (9, 115)):
        assert simulate(wanted, one, simple(hosts=hosts), ROUND).sealed == sealed
    packed = [span for span in simulate(wanted, one, simple(hosts=2), ROUND).spans if span.what.startswith("pack")]
    assert [(span.who, span.begin) for span in packed] == [("host 1", 15), ("host 2", 15), ("host 1", 115)]


def test_hosts_share_a_source_that_does_not_keep_up_with_both():
    wanted = fleet(4, "ab", packed=20_000_000)
    one = shape(wanted, 1, 1, 2)  # 30 MB of source a group, at 300 kB/s in 100 s
    out = simulate(wanted, one, simple(hosts=2, source_rate=450e3), ROUND)
    ends = {span.what: span.end for span in out.spans if span.what.startswith("pack")}
    assert ends == {"pack group 0": 115, "pack group 1": pytest.approx(15 + 100 + 15 / 0.3)}


def test_who_waits_for_a_departure_and_who_misses_it():
    out = simulate(ONE, GROUP, simple(departures={"a": 10_000.0, "b": 3000.0}), ROUND)
    assert out.missed == ("b",)
    assert out.first_arrival == ARRIVAL
    waits = [span for span in out.spans if span.what == "waiting"]
    assert [(span.who, span.begin, span.end) for span in waits] == [("a", 3815, 10_000)]


def test_a_courier_is_on_the_way_as_long_as_couriers_are():
    wanted = fleet(4, "ab", packed=40_000_000, means="courier")
    out = simulate(wanted, shape(wanted, 2, 2, 1), simple(), ROUND)
    assert out.first_arrival == 215 + 3600 + 6 * 86_400


def test_a_late_carrier_costs_no_more_than_it_must():
    out = simulate(ONE, GROUP, simple(late={"b": 50_000.0}), ROUND)
    assert out.all == ARRIVAL + 367  # a has both drives that it takes
    assert out.verified == ARRIVAL + 50_000 + 367 + 100
    both = simulate(ONE, GROUP, simple(late={"a": 50_000.0, "b": 50_000.0}), ROUND)
    assert both.all == ARRIVAL + 50_000 + 367


def test_a_lost_carrier_costs_repair_time_and_no_byte():
    out = simulate(ONE, GROUP, simple(lost=("b",)), ROUND)
    assert out.all == ARRIVAL + 367
    assert out.verified == ARRIVAL + 467
    assert out.source_free == out.repaired == ARRIVAL + 367 + 200  # 20 MB written at 100 kB/s
    assert [span.who for span in out.spans if span.what == "rebuild group 0"] == ["cluster"]


def test_nothing_is_rebuilt_before_the_lost_carrier_is_overdue():
    out = simulate(ONE, GROUP, simple(lost=("b",), departures={"b": 100_000.0}), ROUND)
    assert out.all == ARRIVAL + 367
    assert out.repaired == 100_000 + WAY + 200


def test_more_lost_than_parity_is_never_all_and_never_frees_the_source():
    wanted = fleet(3, "abc", packed=20_000_000)
    one = shape(wanted, 2, 1, 1)
    out = simulate(wanted, one, simple(lost=("a", "c"), gpus=1), ROUND)
    assert out.first_batch is not None
    assert out.verified is not None
    assert (out.half, out.all, out.source_free, out.erased) == (None, None, None, None)  # a third can be read
    assert out.idle.all is None
    assert out.idle.first_batch == pytest.approx(189 / 3600 * 2)
    nothing = simulate(wanted, one, simple(lost=("a", "b", "c"), gpus=1, deadline=1e9), ROUND)
    assert (nothing.first_arrival, nothing.first_batch, nothing.verified, nothing.in_time) == (None, None, None, False)
    assert nothing.idle.first_batch is None


def test_verification_is_no_faster_than_the_servers_there():
    slow = replace(SPEEDS, verify_bytes=100e3)
    out = simulate(ONE, GROUP, simple(speeds=slow, people=4), ROUND)
    assert out.verified == pytest.approx(ARRIVAL + 187 + 4 * 20e6 / 100e3)
    two = simulate(ONE, GROUP, simple(speeds=slow, people=4, hosts_there=2), ROUND)
    assert two.verified == pytest.approx(ARRIVAL + 187 + 4 * 20e6 / 200e3)


def test_after_the_data_came_ingest_training_the_way_home_and_erasing():
    terms = simple(ingest_rate=1e6, gpus=10, train_gpu_hours=20, return_bytes=1_000_000)
    out = simulate(ONE, GROUP, terms, ROUND)
    assert out.trained == out.all + 40 + 7200
    assert out.home == out.trained + 10 + 3600 + WAY + 187 + 5  # 1 MB written at 100 kB/s, read at 200
    assert out.erased == out.home + 1000  # 1 GB at 1 MB/s
    by_rate = simulate(ONE, GROUP, simple(train_rate=60_000.0), ROUND)
    assert by_rate.trained == by_rate.all + 1000


def test_nothing_is_erased_before_the_receipt():
    slow = replace(SPEEDS, verify_bytes=1e3)
    out = simulate(ONE, GROUP, simple(speeds=slow, gpus=10, train_gpu_hours=1), ROUND)
    assert out.trained < out.source_free == out.erased - 1000


def test_nothing_is_read_before_the_seal_which_waits_for_the_last_group():
    wanted = fleet(4, "abcd", packed=20_000_000)  # a drive each, of groups 0, 1, 0, 1
    next_door = defaults().stated(
        b"hand_over_hours=0\nground_hours=0\nflight_hours=0\ncustoms_days=0\nreceive_minutes_a_drive=1\n"
        b"hdd_write_rate=100e3\nhdd_read_rate=200e3"
    )
    out = simulate(wanted, shape(wanted, 1, 1, 2), simple(), next_door)
    assert (out.first_arrival, out.sealed) == (115, 215)  # a's drive is mounted at 182
    assert out.first_batch == 217
    assert out.half == 215
    assert out.all == 115 + 3 * 60 + 7  # b's comes to the dock third
    assert min(span.begin for span in out.spans if span.what == "verify") == 182  # verifying needs no seal


def test_of_carriers_that_arrive_together_the_drives_are_received_by_number():
    wanted = fleet(4, "abc", packed=20_000_000)  # groups 0 and 1 with a, 0 with b, 1 with c
    out = simulate(wanted, shape(wanted, 1, 1, 2), simple(hosts=2), ROUND)
    assert [(each.who, each.end - each.begin) for each in out.spans if each.what == "receive"] == [
        ("a", 367), ("b", 547), ("c", 727)
    ]  # fmt: skip
    assert out.all == out.first_arrival + 367


def test_a_deadline_is_met_or_not():
    assert simulate(ONE, GROUP, simple(deadline=ARRIVAL + 367.0), ROUND).in_time is True
    assert simulate(ONE, GROUP, simple(deadline=ARRIVAL + 366.0), ROUND).in_time is False


def test_a_carrier_that_carries_nothing_is_waited_for_by_nobody():
    wanted = replace(ONE, carriers=(Carrier(name="a", most_drives=0), *fleet(1, "bc", packed=1).carriers))
    one = shape(wanted, 2, 2, 1)
    out = simulate(wanted, one, simple(lost=("a",), departures={"c": 0.0}), ROUND)
    assert out.source_free == ARRIVAL + 720 + 7 + 100
    assert "a" not in {span.who for span in out.spans}
    assert {case.carrier for case in cases(wanted, one, simple(), ROUND)} == {"", "b", "c"}


# --- a second implementation --------------------------------------------------------------------------------


def by_hand(wanted, one, terms, numbers):
    """(first batch, half, all) where every group has a host: the dock played with a heap, shares summed anew."""
    value = numbers.__getitem__
    each = drive_bytes(wanted, one)
    total = sum(each)
    places = placement(wanted, one)
    begin = terms.speeds.start_seconds + terms.files / terms.speeds.scan_files
    signed = [
        begin
        + max(
            terms.source_bytes * count / total / terms.speeds.pack_bytes,
            count / value("hdd_write_rate") + count / 64 / value("hdd_read_rate"),
        )
        for count in each
    ]
    arrivals = []
    for index, carrier in enumerate(wanted.carriers):
        mine = [place for place in places if place.carrier == carrier.name]
        if mine and carrier.name not in terms.lost:
            ready = max(signed[place.group] for place in mine) + value("hand_over_hours") * 3600
            leaves = max(ready, terms.departures.get(carrier.name, 0))
            customs = value("customs_days") * 86_400
            if carrier.means == "courier":
                takes = value("courier_days") * 86_400 + customs
            else:
                takes = (value("ground_hours") + value("flight_hours")) * 3600 + customs
            arrivals.append((leaves + takes + terms.late.get(carrier.name, 0), index, mine))
    if terms.departures or terms.late:  # who comes first by a rounding error is no matter
        times = sorted(arrival for arrival, *_ in arrivals)
        assume(all(after - before > 1e-3 for before, after in itertools.pairwise(times)))
    free = [0.0] * terms.people
    mounted = []
    for arrival, _, mine in sorted(arrivals):
        for place in mine:
            end = max(arrival, heapq.heappop(free)) + value("receive_minutes_a_drive") * 60
            heapq.heappush(free, end)
            mounted.append((max(end + terms.speeds.inspect_seconds, *signed), place.group))
    here = defaultdict(int)
    first = half = complete = None
    for time, group in sorted(mounted):
        here[group] += 1
        share = sum(each[at] / total * (1 if here[at] >= one.data else here[at] / one.size) for at in range(one.groups))
        first = time + terms.speeds.open_seconds if first is None else first
        half = time if half is None and share >= 0.5 - 1e-9 else half
        complete = time if complete is None and share >= 1 - 1e-9 else complete
    return first, half, complete


@st.composite
def voyages(draw, *, uniform=True, people=None):
    """Wanted, geometry, terms; each carrier may be by hand or a courier, late, lost, or leave at a stated time."""
    count, carriers = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    sizes = [10**9] * count if uniform else draw(st.lists(st.integers(10**8, 10**9), min_size=count, max_size=count))
    wanted = Wanted(
        drives=tuple(Drive(name=f"D{at}", capacity_bytes=size) for at, size in enumerate(sizes)),
        carriers=tuple(
            Carrier(name=f"c{at}", means=draw(st.sampled_from(["hand", "courier", "checked-bag"])))
            for at in range(carriers)
        ),
        bays=draw(st.integers(1, 12)),
        packed_bytes=draw(st.integers(1, 5 * 10**7)),
    )
    one = draw(st.sampled_from(search(wanted, lambda _bytes, _blocks: 1)))
    some = st.dictionaries(st.sampled_from([each.name for each in wanted.carriers]), st.floats(0, 1e6))
    late = draw(some)
    terms = Terms(
        source_bytes=draw(st.integers(0, 10**9)),
        files=draw(st.integers(0, 10**6)),
        speeds=replace(SPEEDS, pack_bytes=draw(st.floats(1e5, 1e7)), verify_bytes=draw(st.floats(1e4, 1e9))),
        hosts=draw(st.integers(1, 4)),
        hosts_there=draw(st.integers(1, 3)),
        people=people or draw(st.integers(1, 3)),
        source_rate=draw(st.none() | st.floats(1e4, 1e7)),
        departures=draw(some),
        late=late,
        lost=tuple(each.name for each in wanted.carriers if each.name not in late and draw(st.booleans())),
    )
    return wanted, one, terms


def approx(time):
    return None if time is None else pytest.approx(time, rel=1e-9)


def later(one, other):
    """Whether `other` is as late as `one`, or later; None is never."""
    return other is None or (one is not None and other >= one - 1e-6)


@quietly
@given(voyages(uniform=False))
def test_what_is_readable_when_agrees_with_a_second_implementation(case):
    wanted, one, terms = case
    terms = replace(terms, hosts=one.groups, source_rate=None)
    out = simulate(wanted, one, terms, ROUND)
    first, half, complete = by_hand(wanted, one, terms, ROUND)
    assert (out.first_batch, out.half, out.all) == (approx(first), approx(half), approx(complete))


# --- what must hold -----------------------------------------------------------------------------------------

TIMES = ("first_batch", "half", "all", "verified", "source_free")


@quietly
@given(voyages(people=12), st.integers(1, 3))
def test_more_hosts_are_never_later(case, more):
    wanted, one, terms = case
    out, faster = (
        simulate(wanted, one, each, ROUND)
        for each in (terms, replace(terms, hosts=terms.hosts + more, hosts_there=terms.hosts_there + more))
    )
    for name in ("sealed", *TIMES):
        assert later(getattr(faster, name), getattr(out, name)), name


@quietly
@given(voyages(people=12), st.floats(1.0, 100.0))
def test_faster_parts_are_never_later(case, factor):
    wanted, one, terms = case
    speeds = replace(
        terms.speeds, pack_bytes=terms.speeds.pack_bytes * factor, verify_bytes=terms.speeds.verify_bytes * factor
    )
    rate = None if terms.source_rate is None else terms.source_rate * factor
    out = simulate(wanted, one, terms, ROUND)
    faster = simulate(wanted, one, replace(terms, speeds=speeds, source_rate=rate), ROUND)
    for name in ("sealed", *TIMES):
        assert later(getattr(faster, name), getattr(out, name)), name


@quietly
@given(voyages(people=12), st.data())
def test_a_later_carrier_is_never_earlier(case, data):
    wanted, one, terms = case
    name = data.draw(st.sampled_from([each.name for each in wanted.carriers if each.name not in terms.lost] or [""]))
    if name:
        late = dict(terms.late)
        late[name] = late.get(name, 0.0) + data.draw(st.floats(0, 1e6))
        out, delayed = (simulate(wanted, one, each, ROUND) for each in (terms, replace(terms, late=late)))
        for what in TIMES:
            assert later(getattr(out, what), getattr(delayed, what)), what


@quietly
@given(voyages(people=12), st.data())
def test_a_lost_carrier_within_parity_costs_no_byte_and_is_never_earlier(case, data):
    wanted, one, terms = case
    terms = replace(terms, lost=())
    at = data.draw(st.integers(0, len(wanted.carriers) - 1))
    name = wanted.carriers[at].name
    late = {who: time for who, time in terms.late.items() if who != name}
    out = simulate(wanted, one, replace(terms, late=late), ROUND)
    lost = simulate(wanted, one, replace(terms, late=late, lost=(name,)), ROUND)
    for what in ("first_batch", "half", "all"):
        assert later(getattr(out, what), getattr(lost, what)), what
    if counts(wanted, one)[:, at].max() <= one.parity:
        assert lost.all is not None
        assert lost.source_free is not None
        assert lost.repaired >= lost.verified
    else:
        assert lost.all is None
        assert lost.source_free is None


@quietly
@given(voyages(people=12), st.floats(1.0, 20.0))
def test_more_bytes_are_never_earlier(case, factor):
    wanted, one, terms = case
    more = replace(wanted, packed_bytes=math.ceil(wanted.packed_bytes * factor))
    out = simulate(wanted, one, terms, ROUND)
    grown = replace(terms, source_bytes=math.ceil(terms.source_bytes * factor), files=math.ceil(terms.files * factor))
    larger = simulate(more, one, grown, ROUND)
    for name in ("sealed", *TIMES):
        assert later(getattr(out, name), getattr(larger, name)), name


@quietly
@given(voyages(uniform=False))
def test_one_thing_comes_after_the_other(case):
    wanted, one, terms = case
    out = simulate(wanted, one, replace(terms, gpus=2, train_gpu_hours=3, return_bytes=5), ROUND)
    assert out == simulate(wanted, one, replace(terms, gpus=2, train_gpu_hours=3, return_bytes=5), ROUND)
    assert later(out.first_arrival, out.first_batch)
    assert later(out.first_batch and out.first_batch - SPEEDS.open_seconds, out.half)
    assert later(out.half, out.all)
    assert later(out.all, out.source_free)
    assert later(out.verified, out.repaired)
    assert later(out.all, out.trained)
    assert later(out.home, out.erased)
    assert (out.all is None) == (out.source_free is None) == (out.erased is None)
    busy = defaultdict(float)
    for span in out.spans:
        assert 0 <= span.begin < span.end
        if span.who.startswith("host"):
            assert span.begin >= busy[span.who]
            busy[span.who] = span.end


@quietly
@given(voyages())
def test_the_closed_form_is_the_simulation_where_nothing_queues(case):
    wanted, one, terms = case
    hand = tuple(replace(each, means="hand") for each in wanted.carriers)
    wanted = replace(wanted, carriers=hand)
    terms = replace(terms, departures={}, late={}, lost=(), source_rate=None)
    together = counts(wanted, one).all()  # every carrier waits for the last group
    out = simulate(wanted, one, terms, ROUND)
    assert seconds(wanted, one, terms, ROUND) == line(wanted, one, terms, ROUND).seconds
    if together or terms.hosts >= one.groups:
        assert seconds(wanted, one, terms, ROUND) == pytest.approx(out.all, rel=1e-9)
    else:  # who left earlier may have brought what groups can do without
        more = (one.drives_used - one.data * one.groups) * 180
        assert out.all <= seconds(wanted, one, terms, ROUND) + more + 1e-6


# --- spreads and cases --------------------------------------------------------------------------------------


def test_percentiles_are_drawn_in_order_and_the_same_again():
    known = defaults()
    found = percentiles(ONE, GROUP, TERMS, known, draws=40, percents=(10, 50, 90, 100))
    assert found == percentiles(ONE, GROUP, TERMS, known, draws=40, percents=(10, 50, 90, 100))
    assert [each.percent for each in found] == [10, 50, 90, 100]
    for name in ("first_batch", "half", "all", "source_free"):
        times = [getattr(each, name) for each in found]
        assert times == sorted(times)
        assert times[0] < times[-1]
    day = 86_400
    base = simulate(ONE, GROUP, TERMS, known).all
    assert base - day < found[0].all < base < found[-1].all < base + day  # customs: 1, 2, 3 days
    assert found != percentiles(ONE, GROUP, TERMS, known, draws=40, percents=(10, 50, 90, 100), seed=1)


def test_percentiles_are_nearest_ranks():
    known = defaults()
    streams = module.np.random.SeedSequence(0).spawn(4)
    drawn = [
        events.Voyage(ONE, GROUP, TERMS, module._Number(known, module.np.random.default_rng(stream))).run().all
        for stream in streams
    ]
    found = percentiles(ONE, GROUP, TERMS, known, draws=4, percents=(1, 25, 26, 50, 75, 99, 100))
    ranked = sorted(drawn)
    assert [each.all for each in found] == [ranked[at] for at in (0, 0, 1, 1, 2, 3, 3)]


def test_numbers_without_a_spread_are_drawn_as_they_are():
    (found,) = percentiles(ONE, GROUP, TERMS, ROUND, draws=3, percents=(50,))
    assert found.all == simulate(ONE, GROUP, TERMS, ROUND).all


def test_carriers_draw_their_customs_each_for_himself():
    wanted = fleet(2, "ab", packed=1000)
    drawn = module._Number(defaults(), module.np.random.default_rng(1))
    out = events.Voyage(wanted, shape(wanted, 2, 0, 1), TERMS, drawn).run()
    customs = [span.end - span.begin for span in out.spans if span.what == "customs"]
    assert customs[0] != customs[1]
    assert all(86_400 <= each <= 3 * 86_400 for each in customs)


def test_what_never_comes_has_no_percentiles():
    (found,) = percentiles(ONE, GROUP, replace(TERMS, lost=("a", "b")), defaults(), draws=5, percents=(50,))
    assert (found.first_batch, found.all) == (None, None)


def test_cases_are_each_carrier_late_and_each_lost():
    numbers = defaults().stated(b"late_days = 3")
    found = cases(ONE, GROUP, simple(), numbers)
    assert [(case.what, case.carrier) for case in found] == [
        ("as planned", ""), ("late", "a"), ("late", "b"), ("lost", "a"), ("lost", "b")
    ]  # fmt: skip
    planned, late, _, lost, _ = (case.outcome for case in found)
    assert planned == simulate(ONE, GROUP, simple(), numbers)
    assert late.verified == pytest.approx(planned.verified + 3 * 86_400 - 360, abs=1)
    assert lost == simulate(ONE, GROUP, simple(lost=("a",)), numbers)
    assert "late_days" in {number.name for number in numbers.used}


# --- what no voyage can be made of ---------------------------------------------------------------------------


def test_every_fault_is_named_at_once():
    terms = Terms(
        source_bytes=-1,
        files=True,
        speeds=replace(SPEEDS, pack_bytes=math.nan, verify_bytes=0.0, open_seconds=-1.0, scan_files="fast"),
        hosts=0,
        hosts_there=0,
        people=0,
        source_rate=-5.0,
        read_back="twice",
        drive_speeds={"D0": DriveSpeed(write=0.0, read=math.inf), "X": DriveSpeed(write=1.0, read=1.0)},
        departures={"a": -1.0, "z": 1.0},
        late={"a": math.nan},
        lost=("a", "y"),
        lease_begins=-1.0,
        gpus=0,
        gpu="abacus",
        train_gpu_hours=5.0,
        ingest_rate=0.0,
        return_bytes=-1,
        deadline=-86_400.0,
    )
    with pytest.raises(BadInput) as caught:
        simulate(ONE, GROUP, terms, ROUND)
    for what in (
        "source_bytes", "files", "speeds.pack_bytes", "speeds.verify_bytes", "speeds.open_seconds", "speeds.scan_files",
        "hosts:", "hosts_there", "people", "source_rate", "read_back", "drive_speeds[D0].write",
        "drive_speeds[D0].read", "drive_speeds[X]: no such drive", "departures[a]", "departures[z]: no such carrier",
        "late[a]", "lost: no carrier 'y'", "'a' cannot be late as well", "lease_begins", "gpus", "gpu:", "ingest_rate",
        "return_bytes", "deadline: -86400 s from the start of packing is in the past",
    ):  # fmt: skip
        assert what in str(caught.value), what
    assert caught.value.hint


@pytest.mark.parametrize(
    "changes",
    [{"train_rate": 1.0, "train_gpu_hours": 1.0, "gpus": 1}, {"train_gpu_hours": 1.0}, {"train_rate": math.nan}],
)
def test_training_is_told_in_one_way(changes):
    with pytest.raises(BadInput):
        simulate(ONE, GROUP, simple(**changes), ROUND)


@pytest.mark.parametrize("given", [{"draws": 0}, {"draws": 10**9}, {"percents": (0,)}, {"percents": (50, 101)}])
def test_draws_and_percentiles_have_bounds(given):
    with pytest.raises(BadInput):
        percentiles(ONE, GROUP, TERMS, ROUND, **given)


def test_a_geometry_of_other_drives_is_refused():
    with pytest.raises(BadInput, match="geometry: 4 drives, and 3"):
        simulate(replace(ONE, drives=ONE.drives[:3]), GROUP, TERMS, ROUND)


def test_without_simpy_the_closed_form_is_there_and_the_simulation_says_what_to_install(monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "simpy" else there(name))
    assert seconds(ONE, GROUP, TERMS, ROUND) > 0
    with pytest.raises(BadInput, match="not installed") as caught:
        simulate(ONE, GROUP, TERMS, ROUND)
    assert "sealift[plan]" in caught.value.hint


@pytest.mark.parametrize("source_bytes", [0, 1])
def test_next_to_nothing_is_carried_too(source_bytes):
    wanted = fleet(1, "a", packed=1)
    out = simulate(wanted, shape(wanted, 1, 0, 1), replace(TERMS, source_bytes=source_bytes, files=0), ROUND)
    assert out.all == pytest.approx(5 + 3600 + WAY + 187, abs=0.001)


def test_the_reference_fleet_takes_a_blink():
    wanted = fleet(100, [f"c{at:02}" for at in range(12)], packed=4_800 * 10**12, size=80 * 10**12, bays=24)
    one = next(each for each in search(wanted, lambda _bytes, _blocks: 10**12) if each.groups > 4 and each.parity)
    terms = replace(TERMS, source_bytes=4_800 * 10**12, files=1_200_000_000, hosts=4)
    steps = []
    plain = events.simpy.Environment.step

    def counted(env):
        steps.append(1)
        plain(env)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events.simpy.Environment, "step", counted)
        assert simulate(wanted, one, terms, defaults()).all
    assert len(steps) < 5_000  # about 4 us each; a clock would judge the machine
