"""Geometries are checked by brute force: stated losses are enumerated and the survivors of each group counted."""

import itertools
import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sealift.errors import BadInput
from sealift.stages.pack import fleet, room
from sealift.stages.plan.geometry import (
    BLOCK,
    Carrier,
    Drive,
    Survive,
    Wanted,
    as_packed,
    counts,
    drive_bytes,
    holds,
    placement,
    search,
    worst,
)
from sealift.stages.plan.missing import missing
from sealift.trade.declaration import Declaration
from sealift.trade.sections import Drive as DeclaredDrive

TB = 10**12
MIB = 1 << 20


def headroom(group_bytes, blocks):
    return group_bytes // 50 + blocks * 20_000 + MIB


def wanted(drives=6, carriers=3, *, bays=6, size=100, packed=300, survive=(1, 0), most=None):
    """Sizes in MiB."""
    capacities = [size] * drives if isinstance(drives, int) else drives
    limits = most or [None] * carriers
    return Wanted(
        drives=tuple(Drive(name=f"D{i}", capacity_bytes=each * MIB) for i, each in enumerate(capacities)),
        carriers=tuple(Carrier(name=f"c{i}", most_drives=limit) for i, limit in enumerate(limits)),
        bays=bays,
        packed_bytes=packed * MIB,
        survive=Survive(carriers=survive[0], drives=survive[1]),
    )


sizes = st.lists(st.integers(20, 60), min_size=1, max_size=8) | st.integers(1, 9).map(lambda n: [40] * n)
limits = st.lists(st.none() | st.integers(0, 5), min_size=1, max_size=4) | st.integers(1, 4).map(lambda n: [None] * n)


@st.composite
def anything(draw):
    most = draw(limits)
    one = wanted(
        draw(sizes),
        bays=draw(st.integers(1, 6)),
        packed=draw(st.integers(1, 200)),
        survive=(draw(st.integers(0, min(2, len(most) - 1))), draw(st.integers(0, 2))),
        most=most,
    )
    return replace(one, carriers=tuple(draw(st.permutations(one.carriers))))


# --- the second implementation ---------------------------------------------------------------------------


def survives(groups, survive, data):
    """Whether `data` drives of each group are left after any stated loss; groups are lists of carriers' names."""
    carriers = sorted({name for group in groups for name in group})
    for lost in itertools.combinations(carriers, min(survive.carriers, len(carriers))):
        for group in groups:
            left = [at for at, name in enumerate(group) if name not in lost]
            for more in itertools.combinations(left, min(survive.drives, len(left))):
                if len(left) - len(more) < data:
                    return False
    return True


def deals(size, groups, most):
    """Every way to give each of `groups` groups `size` drives of carriers that take at most `most`."""
    rows = [row for row in itertools.product(range(size + 1), repeat=len(most)) if sum(row) == size]

    def further(left, limits):
        if not left:
            yield []
            return
        for row in rows:
            after = [limit if limit is None else limit - took for limit, took in zip(limits, row, strict=True)]
            if all(limit is None or limit >= 0 for limit in after):
                for rest in further(left - 1, after):
                    yield [row, *rest]

    return further(groups, list(most))


def fits(one, capacities, size, groups, data):
    """Whether the bytes fit into some grouping of some of the drives."""
    for chosen in itertools.combinations(sorted(capacities), size * groups):
        smallest = chosen[::size]  # runs: test_runs_of_similar_drives_hold_most compares with every grouping
        total = sum(each // MIB for each in smallest)
        if all(
            math.ceil(one.packed_bytes * (each // MIB) / total / data)
            + headroom(
                math.ceil(one.packed_bytes * (each // MIB) / total),
                size * math.ceil(math.ceil(one.packed_bytes * (each // MIB) / total) / data / BLOCK),
            )
            <= each
            for each in smallest
        ):
            return True
    return False


def by_hand(one):
    """Every (k, m, groups) with some deal that survives and some grouping that fits."""
    most = [carrier.most_drives for carrier in one.carriers]
    capacities = [drive.capacity_bytes for drive in one.drives]
    found = set()
    for size in range(1, min(one.bays, len(capacities)) + 1):
        for groups in range(1, len(capacities) // size + 1):
            best = None
            for deal in deals(size, groups, most):
                names = [[str(at) for at, count in enumerate(row) for _ in range(count)] for row in deal]
                data = next((k for k in range(size, 0, -1) if survives(names, one.survive, k)), 0)
                best = data if best is None else max(best, data)
            for data in range(1, (best or 0) + 1):
                if fits(one, capacities, size, groups, data):
                    found.add((data, size - data, groups))
    return found


# --- what search finds ------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(anything())
def test_every_geometry_survives_every_stated_loss(one):
    for found in search(one, headroom):
        groups = [[] for _ in range(found.groups)]
        for place in placement(one, found):
            groups[place.group].append(place.carrier)
        assert all(len(group) == found.size <= one.bays for group in groups)
        assert survives(groups, one.survive, found.data)
        assert found.worst_carrier == max(group.count(name) for group in groups for name in group)
        for loss in holds(one, found):
            assert survives(groups, loss, found.data)
            assert not survives(groups, replace(loss, drives=loss.drives + 1), found.data)
        for carrier in one.carriers:
            taken = sum(group.count(carrier.name) for group in groups)
            assert carrier.most_drives is None or taken <= carrier.most_drives


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(anything())
def test_no_geometry_is_overlooked(one):
    limited = any(carrier.most_drives is not None for carrier in one.carriers)
    assume(len(one.drives) <= 7)
    found = {(each.data, each.parity, each.groups) for each in search(one, headroom)}
    if one.survive.carriers > 1 and limited:
        assert found <= by_hand(one)  # the round rule is no more than what pack deals
    else:
        assert found == by_hand(one)


def test_two_carriers_at_their_limits_are_counted_as_pack_deals_them():
    one = wanted(8, survive=(2, 0), bays=4, packed=1, most=[3, 1, 3, 1])
    assert not [each for each in search(one, headroom) if (each.size, each.groups, each.parity) == (4, 2, 3)]
    assert (1, 3, 2) in by_hand(one)  # a deal by hand would


@settings(max_examples=100, deadline=None)
@given(anything())
def test_pack_deals_the_drives_of_a_plan_to_its_groups_and_slots(one):
    for found in search(one, headroom):
        places = placement(one, found)
        rows = [DeclaredDrive(serial=place.drive.name, carrier=place.carrier) for place in places]
        declaration = Declaration(type="sealift-declaration", version=1, drives=rows, raw=b"")
        dealt = fleet.deal([], declaration, parity=found.parity, group_size=found.size)
        assert [place.number for place in places] == list(range(1, found.drives_used + 1))
        for place in places:
            got = dealt.groups[place.group][place.slot]
            assert (got.serial, got.carrier, got.number) == (place.drive.name, place.carrier, place.number)
        assert [len(row) for row in dealt.groups] == [found.size] * found.groups


@settings(max_examples=100, deadline=None)
@given(anything())
def test_what_is_packed_fits_beside_the_headroom(one):
    for found in search(one, headroom):
        smallest = {}
        for place in placement(one, found):
            smallest[place.group] = min(smallest.get(place.group, 1 << 62), place.drive.capacity_bytes)
        each = drive_bytes(one, found)
        assert sum(each) * found.data >= one.packed_bytes
        for group, taken in enumerate(each):
            blocks = found.size * math.ceil(taken / BLOCK)
            assert taken + headroom(taken * found.data - found.data + 1, blocks) <= smallest[group]
        assert found.usable_bytes >= one.packed_bytes
        assert found.fill == one.packed_bytes / found.usable_bytes <= 1
        assert found.spares + found.drives_used == len(one.drives)
        assert found.overhead == found.parity / found.data


@settings(max_examples=100, deadline=None)
@given(anything())
def test_just_as_much_as_is_usable_can_be_packed(one):
    for found in search(one, lambda *_: MIB):
        full = replace(one, packed_bytes=found.usable_bytes)
        assert (found.data, found.parity, found.groups) in geometries(full, lambda *_: MIB)
        assert (found.data, found.parity, found.groups) not in geometries(
            replace(full, packed_bytes=found.usable_bytes + 1), lambda *_: MIB
        )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=4, max_size=6), st.integers(2, 3))
def test_runs_of_similar_drives_hold_most(capacities, size):
    groups = len(capacities) // size
    runs = sorted(capacities, reverse=True)[size - 1 : size * groups : size]
    for order in set(itertools.permutations(capacities)):
        smallest = sorted((min(order[at * size : (at + 1) * size]) for at in range(groups)), reverse=True)
        assert all(run >= other for run, other in zip(runs, smallest, strict=True))


# --- properties -------------------------------------------------------------------------------------------


def geometries(one, headroom=headroom):
    return {(each.data, each.parity, each.groups): each for each in search(one, headroom)}


@settings(max_examples=100, deadline=None)
@given(anything(), st.integers(1, 60))
def test_a_further_drive_never_takes_a_geometry_away(one, size):
    more = replace(one, drives=(*one.drives, Drive(name="more", capacity_bytes=size * MIB)))
    assert geometries(one).keys() <= geometries(more).keys()


@settings(max_examples=100, deadline=None)
@given(anything(), st.booleans())
def test_a_lesser_loss_and_more_bays_never_take_a_geometry_away(one, carriers):
    less = one.survive
    less = replace(less, carriers=max(less.carriers - 1, 0)) if carriers else replace(less, drives=0)
    assert geometries(one).keys() <= geometries(replace(one, survive=less)).keys()
    assert geometries(one).keys() <= geometries(replace(one, bays=one.bays + 1)).keys()
    assert geometries(one).keys() <= geometries(replace(one, packed_bytes=max(one.packed_bytes // 2, 1))).keys()


@settings(max_examples=100, deadline=None)
@given(anything())
def test_a_further_carrier_never_raises_what_the_loss_of_one_takes(one):
    one = replace(one, survive=Survive())
    more = geometries(replace(one, carriers=(*one.carriers, Carrier(name="more"))))
    for shape, found in geometries(one).items():
        assert more[shape].worst_carrier <= found.worst_carrier


@settings(max_examples=50, deadline=None)
@given(anything(), st.randoms())
def test_the_order_and_the_names_of_what_is_told_change_nothing_but_names(one, chance):
    drives, carriers = list(one.drives), list(one.carriers)
    chance.shuffle(drives)
    chance.shuffle(carriers)
    assert search(replace(one, drives=tuple(drives), carriers=tuple(carriers)), headroom) == search(one, headroom)


def test_the_headroom_is_what_pack_keeps_for_the_share_of_a_group():
    rule = as_packed(members=1001, packed_bytes=1000 * MIB, pack_size=64 * MIB)
    assert rule(500 * MIB, 750) == room.beside(501, 750, 64 * MIB)
    assert rule(1000 * MIB, 1500) == room.beside(1001, 1500, 64 * MIB)


def test_the_shipment_of_the_worked_example():
    drives = tuple(Drive(name=f"s{i}", capacity_bytes=80 * TB, kind="ssd") for i in range(84))
    one = Wanted(
        drives=drives,
        carriers=tuple(Carrier(name=f"c{i}") for i in range(6)),
        bays=24,
        packed_bytes=4800 * TB,
        survive=Survive(carriers=1, drives=1),
    )
    rule = as_packed(members=1_200_000_000, packed_bytes=one.packed_bytes, pack_size=1 << 30)
    found = search(one, rule)
    assert {(each.data, each.parity, each.groups) for each in found} == {(16, 5, 4), (9, 3, 7)}
    large = next(each for each in found if each.groups == 4)
    assert counts(one, large).sum(axis=0).tolist() == [14] * 6
    assert worst(counts(one, large), 1) == 4
    assert large.fill == pytest.approx(0.94, abs=0.01)


# --- what is missing --------------------------------------------------------------------------------------


@pytest.mark.long
@settings(max_examples=120, deadline=None)
@given(anything())
def test_what_is_missing_is_enough_and_no_more_than_needed(one):
    assume(not search(one, headroom))
    lack = missing(one, headroom)
    if lack.more_drives is None:
        bare = replace(one, drives=(*one.drives, *(replace(lack.drive, name=f"x{i}") for i in range(40))))
        assert not search(bare, headroom)
    else:
        more = [replace(lack.drive, name=f"x{i}") for i in range(lack.more_drives)]
        assert search(replace(one, drives=(*one.drives, *more)), headroom)
        assert not search(replace(one, drives=(*one.drives, *more[1:])), headroom)
    for bays in range(one.bays, 12):
        assert bool(search(replace(one, bays=bays), headroom)) == (lack.bays is not None and bays >= lack.bays)
    for carriers in range(one.survive.carriers + 1):
        for drives in range(8):
            loss = Survive(carriers=carriers, drives=drives)
            covered = any(carriers <= each.carriers and drives <= each.drives for each in lack.lesser)
            if covered:
                assert search(replace(one, survive=loss), headroom)
            elif all(carriers != each.carriers or drives > each.drives for each in lack.lesser):
                assert not search(replace(one, survive=loss), headroom) or any(
                    each.carriers > carriers and each.drives >= drives for each in lack.lesser
                )
    assert (lack.packed_bytes > 0) == bool(search(replace(one, packed_bytes=1), headroom))
    if lack.packed_bytes:
        assert search(replace(one, packed_bytes=lack.packed_bytes), headroom)
        assert not search(replace(one, packed_bytes=lack.packed_bytes + 1), headroom)
    assert lack.sentence(one)


def test_missing_drives_are_said_in_a_sentence():
    one = wanted(6, 3, bays=6, packed=350, survive=(1, 1))
    lack = missing(one, headroom)
    assert lack.more_drives == 6
    assert [str(each) for each in lack.lesser] == ["any carrier", "any drive"]
    assert "missing: 6 more drives of 104.9 MB; or " in lack.sentence(one)
    assert "surviving any carrier or any drive in place of any carrier and 1 drive" in lack.sentence(one)
    assert lack.sentence(one).endswith("; or 102.1 MB less to carry")


def test_the_drives_that_are_missing_are_of_the_kind_that_there_is_most_of():
    drives = [Drive(name=f"S{i}", capacity_bytes=50 * MIB, kind="ssd", model="S") for i in range(3)]
    drives += [Drive(name=f"H{i}", capacity_bytes=90 * MIB, model="H") for i in range(2)]
    one = replace(wanted(packed=400), drives=tuple(drives))
    assert missing(one, headroom).drive == Drive(name="another", capacity_bytes=50 * MIB, kind="ssd", model="S")
    even = missing(replace(one, drives=tuple(drives[1:])), headroom)
    assert even.drive == Drive(name="another", capacity_bytes=90 * MIB, model="H")  # of as many, the larger


def test_carriers_that_take_too_few_are_named_as_what_is_missing():
    one = wanted(6, bays=6, packed=250, survive=(1, 0), most=[1, 1, 1])
    assert not search(one, headroom)
    lack = missing(one, headroom)
    assert lack.more_drives is None
    assert lack.carriage == 5
    assert "carriers that take 5 drives evenly" in lack.sentence(one)


def test_no_number_of_drives_is_offered_where_each_is_too_small_for_its_headroom():
    one = wanted(2, 2, size=1, packed=50, survive=(1, 0))
    lack = missing(one, headroom)
    assert (lack.more_drives, lack.bays, lack.lesser, lack.packed_bytes) == (None, None, (), 0)
    assert "no single change is enough" in lack.sentence(one)


# --- input that cannot be planned with --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"drives": ()}, "drives: none"),
        ({"carriers": ()}, "carriers: none"),
        ({"bays": 0}, "bays: 0 is not between 1 and"),
        ({"bays": 2.5}, "bays: 2.5 is no whole number"),
        ({"bays": True}, "bays: True is no whole number"),
        ({"packed_bytes": 0}, "packed_bytes: 0 is not between"),
        ({"packed_bytes": float("nan")}, "packed_bytes: nan is no whole number"),
        ({"survive": Survive(carriers=-1)}, "survive.carriers: -1 is not between"),
        ({"survive": Survive(drives=-1)}, "survive.drives: -1 is not between"),
        ({"survive": Survive(carriers=3)}, "with 3 of 3 carriers lost, nothing is left"),
        ({"drives": (Drive(name="A", capacity_bytes=0),)}, "drives[1].capacity_bytes: 0 is not between"),
        (
            {"drives": (Drive(name="A", capacity_bytes=5), Drive(name="a", capacity_bytes=5))},
            "is that of drives[1] too",
        ),
        ({"drives": (Drive(name=" ", capacity_bytes=5),)}, "drives[1].name: empty"),
        (
            {"drives": (Drive(name="A", capacity_bytes=5, kind="tape"),)},
            "drives[1].kind: 'tape' is not one of hdd, ssd",
        ),
        ({"carriers": (Carrier(name="c"), Carrier(name="C"))}, "carriers[2].name: 'C' is that of carriers[1] too"),
        ({"carriers": (Carrier(name="c", most_drives=-1),)}, "carriers[1].most_drives: -1 is not between"),
        ({"carriers": (Carrier(name="c", means="pigeon"),)}, "carriers[1].means: 'pigeon' is not one of courier"),
    ],
)
def test_absurd_input_is_named(change, fault):
    with pytest.raises(BadInput) as caught:
        search(replace(wanted(), **change), headroom)
    assert fault in str(caught.value)
    with pytest.raises(BadInput):
        missing(replace(wanted(), **change), headroom)


def test_all_faults_are_named_at_once():
    with pytest.raises(BadInput) as caught:
        search(replace(wanted(), bays=0, packed_bytes=0, drives=()), headroom)
    assert "3 problems" in str(caught.value)
    assert {"bays", "packed_bytes", "drives"} <= {line.split(":")[0].strip() for line in str(caught.value).split("\n")}


def test_thousands_of_faults_are_counted_and_the_first_are_shown():
    drives = tuple(Drive(name=f"D{i}", capacity_bytes=0) for i in range(5000))
    with pytest.raises(BadInput) as caught:
        search(replace(wanted(), drives=drives), headroom)
    assert "5,000 problems" in str(caught.value)
    assert str(caught.value).endswith("and 4,800 more")


def test_a_loss_of_more_drives_than_there_are_is_not_survived():
    assert search(wanted(survive=(0, 100)), headroom) == ()
    assert search(wanted(4, bays=1, survive=(1, 0)), headroom) == ()  # one drive a group: no parity


def test_a_planner_is_told_no_value_of_goods():
    fields = {name for record in (Wanted, Drive, Carrier, Survive) for name in record.__struct_fields__}
    assert fields == {
        "drives", "carriers", "bays", "packed_bytes", "survive", "name", "capacity_bytes", "kind", "model",
        "most_drives", "means",
    }  # fmt: skip
