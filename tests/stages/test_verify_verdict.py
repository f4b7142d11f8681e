"""The verdict equals what a block-by-block model says; joined hosts say what one host would."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets

from sealift.errors import BadInput
from sealift.formats import manifest as mf
from sealift.stages.inspect import inspect
from sealift.stages.verify import verify
from sealift.stages.verify_report import read_part, to_json
from sealift.stages.verify_verdict import LAST, add_run, common_damage, judge

BLOCK = mf.BLOCK


# The arithmetic against a model that looks at every block of every column


@st.composite
def groups(draw):
    data, parity = draw(st.integers(1, 4)), draw(st.integers(0, 3))
    n, stripes = data + parity, draw(st.integers(1, 4))
    lengths = []
    for _ in range(stripes):
        row = [draw(st.integers(0, 4 * BLOCK)) for _ in range(data)]
        # Parity is as long as the longest; that it counts only where it has bytes must hold all the same.
        lengths.append(row + [draw(st.sampled_from([max(row), min(row)])) for _ in range(parity)])
    erased = draw(st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, stripes - 1), st.integers(0, 3))))
    gone = draw(st.sets(st.integers(0, n - 1), max_size=n))
    return data, parity, stripes, lengths, erased, gone


def model(data, parity, stripes, lengths, erased, gone):
    """Bytes erased and lost, and the lost blocks, one block of one column at a time."""
    n = data + parity
    erased_bytes = lost_bytes = 0
    lost = set()
    for stripe, block in itertools.product(range(stripes), range(4)):
        there = {role: min(lengths[stripe][role] - block * BLOCK, BLOCK) for role in range(n)}
        there = {role: size for role, size in there.items() if size > 0}
        bad = {
            role
            for role in there
            if mf.slot_of(stripe, role, n) in gone or (mf.slot_of(stripe, role, n), stripe, block) in erased
        }
        data_bad = [role for role in bad if role < data]
        good_parity = [role for role in there if role >= data and role not in bad]
        count = sum(there[role] for role in data_bad)
        erased_bytes += count
        if len(data_bad) > len(good_parity):
            lost_bytes += count
            lost |= {(stripe, role, block) for role in data_bad}
    return erased_bytes, lost_bytes, lost


@given(groups())
@settings(max_examples=200, deadline=None)
def test_the_arithmetic_is_the_models(group):
    data, parity, stripes, lengths, erased, gone = group
    damage = {}
    for slot, stripe, block in sorted(erased):
        add_run(damage.setdefault(slot, {}).setdefault(stripe, []), block, block)
    verdict = judge((data, parity, stripes), damage, gone, lambda stripe: lengths[stripe])
    listed = {(run.stripe, run.role, block) for run in verdict.lost for block in range(run.first, run.last + 1)}
    assert (verdict.erased_bytes, verdict.lost_bytes, listed) == model(*group)


_runs = st.sets(st.integers(0, 20))


@given(st.lists(st.dictionaries(st.integers(0, 2), _runs), min_size=1, max_size=3))
def test_what_is_damaged_in_every_copy(copies):
    def as_runs(blocks):
        runs = []
        for block in sorted(blocks):
            add_run(runs, block, block)
        return runs

    def as_set(damage):
        return {(stripe, block) for stripe, runs in damage.items() for a, b in runs for block in range(a, b + 1)}

    damages = [{stripe: as_runs(blocks) for stripe, blocks in copy.items() if blocks} for copy in copies]
    expected = set.intersection(*(as_set(damage) for damage in damages))
    assert as_set(common_damage(damages)) == expected


# Whole shipments


FLEET = fleets.make(
    Path("/nowhere"), seed=6, geometry=((2, 1), (1, 1)), lengths=[[BLOCK + 9, 50], [70, 80], [5, 0]], on_disk=False
)
SIZES = {0: 3, 1: 2}
DRIVES = [(group, slot) for group, n in SIZES.items() for slot in range(n)]


def run(drives, **options):
    return verify(drives, allowed=FLEET.allowed, remember=False, **options)


def expected_state(present, damaged, *, final):
    """Brute force over the columns of every group, straight from the packs that were written."""
    lost = False
    for group in FLEET.groups:
        slots = {slot for number, slot in present if number == group.number}
        lengths = [[len(pack) for pack in row] for row in group.packs]
        erased = {(slot, stripe, block) for number, slot, stripe, block in damaged if number == group.number}
        gone = set(range(group.n)) - slots if final else set()
        erased = {each for each in erased if each[0] in slots}
        lost |= model(group.data, group.parity, len(lengths), lengths, erased, gone)[1] > 0
    if lost:
        return "lost"
    if len(present) < len(DRIVES) and not final:
        return "unseen"
    return "recoverable" if len(present) < len(DRIVES) or damaged else "intact"


@st.composite
def voyages(draw):
    present = draw(st.sets(st.sampled_from(DRIVES), min_size=1))
    places = [
        (group.number, slot, stripe, block)
        for group in FLEET.groups
        for slot in range(group.n)
        if (group.number, slot) in present
        for stripe, row in enumerate(group.packs)
        for block in range(-(-len(row[mf.role_of(stripe, slot, group.n)]) // BLOCK))
    ]
    return present, draw(st.sets(st.sampled_from(places), max_size=4)) if places else set()


def mounted(present, damaged):
    drives = dict(zip(DRIVES, FLEET.memory(), strict=True))
    for number, slot, stripe, block in damaged:
        group = FLEET.groups[number]
        name = mf.pack_name(stripe, mf.role_of(stripe, slot, group.n), group.data)
        data = bytearray(drives[number, slot].medium.files[name])
        data[block * BLOCK] ^= 0x10
        drives[number, slot].put(name, bytes(data))
    return {place: drives[place] for place in sorted(present)}


@given(voyages(), st.booleans(), st.randoms())
@settings(max_examples=40, deadline=None)
def test_any_drives_with_any_damage_give_the_models_verdict(voyage, final, random):
    present, damaged = voyage
    drives = list(mounted(present, damaged).values())
    random.shuffle(drives)
    report = run(drives, final=final)
    assert report.state == expected_state(present, damaged, final=final)
    assert {(fault.drive, fault.block) for fault in report.faults} == {
        (f"g{group}s{slot}", block) for group, slot, _, block in damaged
    }
    for group in FLEET.groups:
        told = report.groups[group.number]
        slots = {slot for number, slot in present if number == group.number}
        assert [row.drive for row in told.missing] == [
            f"g{group.number}s{slot}" for slot in range(group.n) if slot not in slots
        ]
        lengths = [[len(pack) for pack in row] for row in group.packs]
        erased = {(s, t, b) for number, s, t, b in damaged if number == group.number}
        gone = set(range(group.n)) - slots
        erased_bytes, lost_bytes, _ = model(group.data, group.parity, len(lengths), lengths, erased, gone)
        assert told.total_bytes - told.readable_bytes == erased_bytes
        assert told.total_bytes - told.recoverable_bytes == lost_bytes


def essence(report):
    """What a joined report must have in common with one made in one place."""
    answer = to_json(report)
    for fault in answer["faults"]:
        for key in ("mount", "part", "detail"):
            fault.pop(key, None)
    for group in answer["groups"]:
        group.pop("readable_bytes")
        group.pop("recoverable_bytes")
        group.pop("unrecoverable")
        for drive in group["present"]:
            drive["part"] = None
            assert drive.pop("read_at")
    faults = sorted(json.dumps(fault, sort_keys=True) for fault in answer["faults"])
    return answer["state"], faults, answer["groups"], answer["signature"]["ok"], answer["groups_total"]


def report_bytes(report):
    return json.dumps(to_json(report)).encode()


@given(voyages(), st.booleans(), st.data())
@settings(max_examples=30, deadline=None)
def test_hosts_that_are_joined_say_what_one_host_would(voyage, final, data):
    present, damaged = voyage
    drives = mounted(present, damaged)
    hosts = [[], [], []]
    for place in sorted(present):
        hosts[data.draw(st.integers(0, 2))].append(drives[place])
    hosts = [host for host in hosts if host]
    whole = run(list(drives.values()), final=final)
    # Each host says what it has; the first joins the others' words, one of them joined before.
    parts = [(f"host{index}.json", report_bytes(run(host))) for index, host in enumerate(hosts[1:])]
    assert essence(run(hosts[0], parts=parts, final=final)) == essence(whole)
    if len(parts) == 2:
        joined = report_bytes(run(hosts[1], parts=parts[1:]))
        assert essence(run(hosts[0], parts=[("joined.json", joined)], final=final)) == essence(whole)


def test_bytes_of_joined_groups_are_exact_where_a_drive_of_the_group_is_here():
    drives = FLEET.memory()
    part = ("b.json", report_bytes(run(drives[1:3])))
    joined, whole = run([drives[0], *drives[3:]], parts=[part]), run(drives)
    assert [group.readable_bytes for group in joined.groups] == [group.readable_bytes for group in whole.groups]


def test_a_drive_that_was_only_inspected_elsewhere_is_not_verified():
    drives = FLEET.memory()
    part = ("b.json", json.dumps(to_json(inspect(drives[1:]))).encode())
    for final in (False, True):
        report = run(drives[:1], parts=[part], final=final)
        assert report.state == "unseen"
        assert any("only inspected" in notice for notice in report.notices)
    assert inspect(drives[:1], parts=[part]).state == "complete"


def test_a_part_whose_signature_did_not_hold_does_not_hold_here():
    drives = FLEET.memory()
    answer = to_json(run(drives[3:]))
    answer["signature"]["ok"] = False
    assert not run(drives[:3], parts=[("b.json", json.dumps(answer).encode())]).signature.ok


def test_a_good_copy_elsewhere_mends_a_bad_one_here():
    drives = mounted(DRIVES, {(0, 0, 0, 0), (0, 1, 0, 0)})
    assert run(list(drives.values())).state == "lost"
    part = ("b.json", report_bytes(run([FLEET.memory()[1]])))
    assert run(list(drives.values()), parts=[part]).state == "recoverable"


# Parts are taken strictly


def part_of(drives=None):
    return to_json(run(drives or FLEET.memory()[1:]))


def refuse(answer, words):
    with pytest.raises(BadInput, match=words):
        run(FLEET.memory()[:1], parts=[("b.json", json.dumps(answer).encode())])


def test_a_part_that_names_another_drive_than_the_manifest_is_refused():
    answer = part_of(FLEET.memory()[1:])
    for group in answer["groups"]:
        for drive in group["present"]:
            drive["serial"] += "X"
    with pytest.raises(BadInput, match="the manifest says"):
        run(FLEET.memory()[:1], parts=[("b.json", json.dumps(answer).encode())])


def test_a_part_of_another_shipment_is_refused():
    other = fleets.make(Path("/nowhere"), seed=7, lengths=[[9, 9]], on_disk=False)
    report = verify(other.memory(), allowed=other.allowed, remember=False)
    refuse(to_json(report), "is of shipment")


def test_a_part_with_another_manifest_is_refused():
    answer = part_of()
    answer["groups"][0]["manifest"] = "0" * 64
    refuse(answer, "another manifest")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("groups", 0, "present", 0, "slot"), 3),
        (("groups", 0, "present", 0, "slot"), -1),
        (("groups", 0, "present", 0, "damage"), [[0, 5, 4]]),
        (("groups", 0, "present", 0, "damage"), [[99, 0, 0]]),
        (("groups", 0, "present", 0, "damage"), [[0, 0, LAST + 1]]),
        (("groups", 0, "present", 0, "verified"), "yes"),
        (("groups", 0, "data"), 0),
        (("groups", 0, "parity"), 255),
        (("groups", 0, "stripes"), 1 << 40),
        (("state",), "fine"),
        (("type",), "sealift-other"),
        (("shipment",), "xyz"),
        (("surprise",), 1),
        (("faults",), [{"drive": "x", "block": 0, "kind": "odd"}]),
    ],
)
def test_a_part_that_contradicts_itself_is_refused(path, value):
    answer = part_of()
    place = answer
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(BadInput, match=r"b\.json"):
        run(FLEET.memory()[:1], parts=[("b.json", json.dumps(answer).encode())])


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_a_mangled_part_gives_our_errors_or_is_a_part(data):
    good = PART
    start = data.draw(st.integers(0, len(good)))
    stop = data.draw(st.integers(start, min(len(good), start + 20)))
    bad = good[:start] + data.draw(st.binary(max_size=10)) + good[stop:]
    try:
        report = read_part(bad, "b.json")
    except BadInput:
        return
    assert read_part(json.dumps(to_json(report)).encode(), "b.json") == report


PART = report_bytes(run(list(mounted(DRIVES, {(0, 0, 0, 1)}).values())[:2]))


def test_a_report_is_read_as_it_was_written():
    report = run(list(mounted(DRIVES, {(0, 0, 0, 1)}).values()))
    assert read_part(report_bytes(report), "b.json") == report
    other = inspect(FLEET.memory(), allowed=FLEET.allowed)
    assert read_part(report_bytes(other), "b.json") == other
