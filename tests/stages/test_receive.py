"""The receipt says what the reports say, and no more: old, other, repaired and unread drives; merged in any order."""

from __future__ import annotations

import itertools
import os
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import receivings
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from sealift.drives.memory import Medium, MemoryDrive
from sealift.errors import BadInput, NotAllHere, Refused, SignatureInvalid
from sealift.formats import canonical
from sealift.formats import manifest as mf
from sealift.formats import seal as seals
from sealift.reading.trust import open_seal
from sealift.stages.inspect import inspect
from sealift.trade import receipt as r

WORLD = receivings.make()
OTHER = receivings.make(seed=42)
REPORT = WORLD.report()
AT = "2026-11-20T10:00:00Z"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
EARLY = datetime(2026, 1, 2, tzinfo=UTC)  # a day before the shipment was sealed
ALL = {f"g{group}s{slot}" for group, slots in ((0, 3), (1, 2)) for slot in range(slots)}


def told(**readings):
    """A report of all drives as of AT; by drive, fields of its reading that are otherwise, or None: it is not there."""
    report = receivings.again(REPORT)
    for group in report.groups:
        group.recoverable_bytes = 0  # what it said of all drives does not hold of fewer
        for copy in group.present:
            copy.read_at = AT
        group.present = [
            msgspec.structs.replace(copy, **readings.get(copy.drive, {}))
            for copy in group.present
            if readings.get(copy.drive, {}) is not None
        ]
    return report


def states(*reports, **how):
    return receivings.states(WORLD.weigh(*reports, now=NOW, **how).groups)


DAMAGED = {"damage": [(0, 0, 0)], "faults": 1}
LATER, EARLIER = "2026-11-20T12:00:00Z", "2026-11-19T10:00:00Z"


def test_what_verify_read_to_its_end_is_intact():
    weighed = WORLD.weigh(REPORT)
    groups, drives = receivings.states(weighed.groups)
    assert groups == {0: "intact", 1: "intact"}
    assert drives == dict.fromkeys(ALL, "intact")
    read = receivings.copies(REPORT)
    assert {d.id: d.read_at for g in weighed.groups for d in g.drives} == {name: read[name].read_at for name in ALL}
    assert [each.bytes for each in weighed.reports] == [len(msgspec.json.encode(REPORT))]
    assert weighed.why == {}


@pytest.mark.parametrize("what", ["foreign", "superseded"])
def test_what_stands_beside_drives_that_are_intact_contradicts_nothing(what):
    beside = (OTHER if what == "foreign" else WORLD).drives("g0s0")[0]
    beside.mount = "/mnt/beside"
    if what == "superseded":
        beside.medium.files[mf.SUMS] += b"x"
    report = WORLD.report([*WORLD.drives(), beside])
    assert (report.state, [fault.kind for fault in report.faults]) == ("intact", [what])
    assert receivings.states(WORLD.weigh(report).groups)[0] == {0: "intact", 1: "intact"}


def test_drives_that_were_not_seen_leave_their_group_unseen_and_other_groups_unnamed():
    assert receivings.states(WORLD.weigh(WORLD.report(WORLD.drives("g0s0", "g0s1"))).groups) == (
        {0: "unseen"}, {"g0s0": "intact", "g0s1": "intact", "g0s2": "unseen"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"verified": False}, "only looked at"),
        ({"read_at": None}, "an earlier sealift made it"),
        ({"faults": None}, "an earlier sealift made it"),
        ({"against": None}, "without a seal"),
        ({"against": "cd" * 32}, "another seal"),
        ({"read_at": "2026-11-21T00:00:01Z"}, "still to come"),
        ({"read_at": "2026-01-02T23:49:59Z"}, "before the shipment was sealed"),
    ],
)
def test_a_reading_that_does_not_count_is_none(fields, why):
    report = told(g0s1=fields)
    assert states(report)[0] == {0: "unseen", 1: "intact"}
    for final in (False, True):
        assert states(report, final=final)[1]["g0s1"] == "unseen", "it is here, so it is not lost"
        assert states(report, final=final)[0][0] == "unseen"
    assert why in WORLD.weigh(report, now=NOW).why["g0s1"]
    assert states(report, told())[1]["g0s1"] == "intact", "another report may have what counts"


def test_a_reading_against_the_seal_counts_where_two_clocks_differ_by_minutes():
    """It was read against the seal, which was there before it."""
    assert states(told(g0s1={"read_at": "2026-01-02T23:50:00Z"}))[0] == {0: "intact", 1: "intact"}


def test_where_the_seal_is_from_the_future_it_is_said_whose_clock_to_look_at(tmp_path):
    """Read by a right clock, against a seal that was made by one that was a day ahead."""
    weighed = WORLD.weigh(told(), now=EARLY)
    with pytest.raises(NotAllHere) as caught:
        WORLD.receive(weighed, tmp_path, now=EARLY)
    assert "the clock where it was sealed was ahead, or this one is behind; look at both" in str(caught.value)
    assert "`sealift seal` again, which makes a new seal" in caught.value.hint


def test_a_group_whose_manifest_nobody_trusted_signed_is_unread():
    report = told()
    report.groups[1].trusted = False
    assert states(report)[0] == {0: "intact"}


def test_an_inspection_says_nothing_of_bytes():
    report = inspect(WORLD.drives(), allowed=WORLD.allowed, seal=WORLD.fleet.seal_files)
    assert WORLD.weigh(report).groups == []
    assert states(report, told(g1s0=None))[1]["g1s0"] == "unseen"


def test_a_report_of_another_shipment_or_other_manifests_is_refused():
    with pytest.raises(BadInput, match="is of shipment"):
        WORLD.weigh(OTHER.report())
    report = told()
    report.groups[0].manifest = "ef" * 32
    with pytest.raises(BadInput, match="another manifest for group 0"):
        WORLD.weigh(report)
    for name, value in (("serial", "SN-X"), ("number", 9)):
        with pytest.raises(BadInput, match="says that slot 1 of group 0"):
            WORLD.weigh(told(g0s1={name: value}))
    report = told()
    report.groups.append(msgspec.structs.replace(report.groups[0], group=7))
    with pytest.raises(BadInput, match="knows of no group 7"):
        WORLD.weigh(report)


def moved(report):
    """The missing drive of group 0 as if it had been read, as somebody would write it by hand."""
    (row,) = report.groups[0].missing
    other = report.groups[0].present[0]
    here = {name: getattr(row, name) for name in ("drive", "number", "carrier", "serial", "label")}
    report.groups[0].present.append(
        msgspec.structs.replace(other, slot=2, mount="/mnt/z", medium=None, **here)
    )  # fmt: skip
    report.groups[0].missing = []


def readable(report, count):
    report.groups[0].readable_bytes = count


@pytest.mark.parametrize(
    ("seen", "change", "why"),
    [
        (["g0s0", "g0s1"], moved, "every drive is as it was signed, and 5,120 of 5,230 bytes can be read"),
        (["g0s0", "g0s1"], lambda r: (moved(r), readable(r, 5230), setattr(r, "bytes_read", 8349)),
         "8,349 bytes were read, and the drives that were read to their end hold 8,350 at least"),
        (["g0s0", "g0s1"], lambda r: setattr(r, "bytes_read", 5229), "5,229 bytes were read, .* hold 5,230 at least"),
        (["g0s0", "g0s1"], lambda r: (moved(r), r.groups[0].missing.append(r.groups[1].missing[0])), "5,120 of 5,230"),
        (["g0s0"], lambda r: setattr(r.groups[0].missing[0], "drive", "g0s0"), "g0s0 is present, and missing"),
        (None, lambda r: setattr(r, "state", "unseen"), "it is unseen, and every drive was read"),
        (None, lambda r: setattr(r, "state", "lost"), "it is lost, and every drive was read"),
        (None, lambda r: readable(r, 5231), "more bytes can be read"),
        (None, lambda r: setattr(r.groups[0], "total_bytes", 5), "it has 5 bytes of data, and by the seal 5,230"),
    ],
)  # fmt: skip
def test_a_report_that_contradicts_itself_or_the_seal_is_refused(seen, change, why):
    report = receivings.again(WORLD.report(WORLD.drives(*seen) if seen else None))
    WORLD.weigh(report)
    change(report)
    with pytest.raises(BadInput, match=f"host0.json contradicts itself or the seal: .*{why}"):
        WORLD.weigh(report)


def test_faults_that_are_listed_and_not_counted_contradict():
    broken = WORLD.drives("g0s0", "g0s1")
    name = next(name for name in broken[0].medium.files if name.startswith("packs/"))
    data = broken[0].medium.files[name]
    broken[0].medium.files[name] = bytes([data[0] ^ 1]) + data[1:]
    report = receivings.again(WORLD.report(broken))
    copy = receivings.copies(report)["g0s0"]
    assert WORLD.weigh(report)
    copy.damage, copy.faults = [], 0
    with pytest.raises(BadInput, match="g0s0: 0 faults, and 1 are listed"):
        WORLD.weigh(report)
    report.state, report.groups[0].present[0].faults = "intact", 5
    with pytest.raises(BadInput, match="it is intact, and 1 fault is listed"):
        WORLD.weigh(report)


def test_what_was_read_at_the_least_is_no_more_than_verify_counts():
    bare = msgspec.structs.replace(receivings.again(WORLD.report(WORLD.drives("g0s0", "g0s1"))), bytes_read=5230)
    assert WORLD.weigh(bare), "the packs alone"


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 10_000, b'{"type": "sealift-health"}'])
def test_what_is_no_report_is_refused(data):
    with pytest.raises(BadInput, match="is no report"):
        WORLD.weigh(data)


def test_no_report_and_too_many_are_refused(monkeypatch):
    with pytest.raises(BadInput, match="0 reports"):
        WORLD.weigh()
    monkeypatch.setattr(r, "MAX_REPORTS", 1)
    with pytest.raises(BadInput, match="2 reports"):
        WORLD.weigh(told(), told(g0s0=None))
    assert states(told(), told())[0][0] == "intact", "the same one twice is one"


def test_a_report_against_a_seal_that_was_superseded_counts_for_nothing():
    newer = WORLD.resealed()
    weighed = WORLD.weigh(REPORT, trusted=newer)
    assert weighed.groups == []
    assert set(weighed.why) == ALL
    fresh = WORLD.report(seal=newer.files)
    assert receivings.states(WORLD.weigh(REPORT, fresh, trusted=newer).groups)[0] == {0: "intact", 1: "intact"}


# What is damaged, and what was made again


def test_damage_that_parity_gives_back_is_recovered_and_more_is_lost():
    assert states(told(g0s1=DAMAGED)) == (
        {0: "rebuilt", 1: "intact"}, dict.fromkeys(ALL, "intact") | {"g0s1": "lost"},
    )  # fmt: skip
    both = told(g0s1=DAMAGED, g0s0=DAMAGED)
    assert states(both)[0][0] == "lost"
    assert states(told(g0s1=DAMAGED, g0s0={"damage": [(1, 0, 0)], "faults": 1}))[0][0] == "rebuilt", "other stripes"


def test_a_small_file_that_is_wrong_is_no_intact_drive():
    assert states(told(g0s1={"faults": 1}))[1]["g0s1"] == "lost"
    assert states(told(g0s1={"faults": 1}))[0][0] == "rebuilt"


def test_what_was_lost_whatever_comes_is_lost_though_a_drive_is_still_to_come():
    assert states(told(g0s0=DAMAGED, g0s1=DAMAGED, g0s2=None))[0][0] == "lost"


def test_final_makes_lost_of_what_is_nowhere():
    report = told(g0s2=None, g1s1=None)
    assert states(report)[0] == {0: "unseen", 1: "unseen"}
    assert states(report, final=True) == (
        {0: "rebuilt", 1: "rebuilt"}, dict.fromkeys(ALL, "intact") | {"g0s2": "lost", "g1s1": "lost"},
    )  # fmt: skip
    assert states(told(g0s2=None, g0s1=DAMAGED), final=True)[0][0] == "lost"
    gone = told(g1s0=None, g1s1=None)
    assert states(gone)[0] == {0: "intact"}
    assert states(gone, final=True)[0] == {0: "intact", 1: "lost"}


SHORT = receivings.make(seed=43, geometry=((2, 1),), lengths=[[3000, 2000], [300, 0]])


def short(*names, damaged=("g0s0",)):
    """A report of SHORT, in whose last stripe one drive has no pack; there, packs of these drives are damaged."""
    drives = SHORT.drives(*names)
    for drive in drives:
        slot = int(drive.mount[-1])
        name = mf.pack_name(1, mf.role_of(1, slot, 3), 2)
        if drive.mount.rpartition("/")[2] in damaged:
            drive.put(name, bytes(len(drive.medium.files[name])))
    return SHORT.report(drives, final=True)


def test_who_has_the_drives_knows_how_long_packs_are():
    empty = next(slot for slot in range(3) if mf.role_of(1, slot, 3) == 1)
    here = [f"g0s{slot}" for slot in range(3) if slot != empty]
    recoverable = short(*here, damaged=here[:1])
    assert (recoverable.state, receivings.states(SHORT.weigh(recoverable, final=True).groups)[0]) == (
        "recoverable", {0: "rebuilt"},
    )  # fmt: skip
    lost = short(*here, damaged=here)
    assert (lost.state, receivings.states(SHORT.weigh(lost, final=True).groups)[0]) == ("lost", {0: "lost"})
    for copy in receivings.copies(lost).values():
        copy.read_at = "2100-01-01T00:00:00Z"
    later = datetime(2100, 1, 2, tzinfo=UTC)
    worse = SHORT.weigh(recoverable, lost, final=True, now=later)
    assert receivings.states(worse.groups)[0] == {0: "lost"}, "what was so counts no more"
    newer = short(*here, damaged=())
    for copy in receivings.copies(newer).values():
        copy.read_at = "2100-01-01T00:00:00Z"
    receivings.copies(newer)[here[0]].damage = [(0, 0, 0)]
    newer.groups[0].recoverable_bytes = 0
    rotten = SHORT.weigh(recoverable, newer, final=True, now=later)
    assert receivings.states(rotten.groups)[0] == {0: "lost"}, "stripe 0 has bytes on the drive that is gone"
    unsealed = receivings.again(recoverable)
    receivings.copies(unsealed)[here[0]].against = None
    assert receivings.states(SHORT.weigh(unsealed, final=True).groups)[0] == {0: "unseen"}
    untold = receivings.again(recoverable)
    untold.groups[0].recoverable_bytes -= 1
    assert receivings.states(SHORT.weigh(untold, final=True).groups)[0] == {0: "lost"}


def test_a_drive_that_was_mended_is_rebuilt_once_it_was_read_again():
    before, after = told(g0s1=DAMAGED | {"read_at": EARLIER}), told()
    assert states(before)[1]["g0s1"] == "lost"
    for order in ((before, after), (after, before)):
        assert states(*order) == ({0: "rebuilt", 1: "intact"}, dict.fromkeys(ALL, "intact") | {"g0s1": "rebuilt"})
    assert states(told(g0s1=DAMAGED | {"read_at": LATER}), after)[1]["g0s1"] == "lost", "it rotted since"


def test_how_each_drive_was_read_is_in_the_receipt():
    """An address is a network, whatever it gives; of two readings of one second what says least counts."""
    assert {d.read_from for g in WORLD.weigh(REPORT).groups for d in g.drives} == {"cache"}, "memory is no medium"
    far = {"read_from": "network", "at": "https://host/d1/"}

    def way(*reports, name="g0s1"):
        record = WORLD.received(*reports, now=NOW).record
        return next(drive.read_from for group in record.groups for drive in group.drives if drive.id == name)

    assert way(told(g0s1={"read_from": "medium"})) == "medium"
    assert way(told(g0s1=far)) == "network"
    assert way(told(g0s1=None), name="g0s1") is UNSET
    assert way(told(g0s1={"read_from": None})) is UNSET, "of an earlier sealift"
    for reports in itertools.permutations((told(g0s1=far), told(g0s1={"read_from": "medium"}))):
        assert way(*reports) == "network"
    assert way(told(g0s1=far), told(g0s1={"read_from": "medium", "read_at": LATER})) == "medium"
    notes = WORLD.weigh(told(g0s1=far), now=NOW).notes
    assert any(
        "g0s1 was read over the network, from https://host/d1/: verify it on its own host" in note for note in notes
    )
    notes = WORLD.weigh(told(g0s1=far | {"at": "s3://bucket/g0s1"}), now=NOW).notes
    (note,) = [each for each in notes if each.startswith("g0s1 was read")]
    assert "read in a bucket, as the copy s3://bucket/g0s1: what this says is said of the copy" in note
    assert "own host" not in note, "a bucket has none"


def test_of_two_readings_of_one_second_the_worse_counts():
    for order in ((told(), told(g0s1=DAMAGED)), (told(g0s1=DAMAGED), told())):
        assert states(*order)[1]["g0s1"] == "lost"
    for count in range(1, 6):  # whichever of the two is looked at first
        assert states(told(), told(g0s1={"faults": count}))[1]["g0s1"] == "lost"
    one, two = told(g0s1=DAMAGED), told(g0s1={"damage": [(1, 0, 0)], "faults": 1}, g0s0={"damage": [(1, 0, 0)]})
    assert states(one, two)[0][0] == "lost", "stripe 1 is damaged on two drives, as either report alone does not say"


def test_a_drive_that_was_made_again_on_another_is_rebuilt_and_the_late_original_intact():
    new = {"rebuilt": True, "mount": "/mnt/new", "read_at": LATER}
    broken, made, late = told(g0s1=DAMAGED), told(g0s1=new), told(g0s1={"mount": "/mnt/late", "read_at": LATER})
    assert states(broken, made)[1]["g0s1"] == "rebuilt"
    assert states(made, told(g0s1=None))[0][0] == "rebuilt"
    assert states(broken, made, late)[1]["g0s1"] == "intact"


def test_a_receipt_says_of_what_was_made_again_on_which_medium_and_never_of_the_drive_itself():
    serial = receivings.copies(REPORT)["g0s1"].serial
    new = {"rebuilt": True, "mount": "/mnt/new", "read_at": LATER}

    def made_on(*reports):
        groups = WORLD.weigh(*reports, now=NOW).groups
        return [(drive.state, drive.made_on) for group in groups for drive in group.drives if drive.id == "g0s1"]

    gone, mended = told(g0s1=None), told(g0s1={"read_at": LATER})
    for medium, said in (("WD-9", "WD-9"), (None, ""), (serial, msgspec.UNSET), (serial.lower(), msgspec.UNSET)):
        on = new | {"medium": medium}
        assert made_on(gone, told(g0s1=on)) == [("rebuilt", said)], medium
        assert made_on(gone, told(g0s1=on | DAMAGED)) == [("lost", said)]
        assert made_on(told(), told(g0s1=on)) == [("intact", msgspec.UNSET)]
        assert made_on(told(g0s1=DAMAGED | {"read_at": EARLIER}), mended, told(g0s1=on)) == [("rebuilt", msgspec.UNSET)]
    hub = {name: {"medium": "HUB"} for name in ALL}
    assert made_on(told(**hub | {"g0s1": new | {"medium": "HUB"}})) == [("rebuilt", "")], "a number of all drives"


def test_a_medium_is_known_by_its_serial_number_wherever_it_is_mounted():
    on = {"medium": "WD-1"}
    before, now = told(g0s1=on), told(g0s1=DAMAGED | on | {"mount": "/mnt/elsewhere", "read_at": LATER})
    assert states(before, now)[1]["g0s1"] == "lost", "what is good no more is no second copy"
    assert states(told(), told(g0s1=DAMAGED | {"mount": "/mnt/elsewhere", "read_at": LATER}))[1]["g0s1"] == "intact"
    hub = {name: {"medium": "HUB"} for name in ALL}
    other = told(**{name: {"medium": "HUB", "mount": f"/two/{name}", "read_at": LATER} | DAMAGED for name in ALL})
    assert set(states(told(**hub), other)[1].values()) == {"intact"}, "a number of all drives is no drive's"


def test_a_drive_that_was_read_on_a_medium_of_another_number_is_noted():
    weighed = WORLD.weigh(told(g0s1={"medium": "WD-1"}), now=NOW)
    assert any("g0s1 was packed on" in note and "WD-1" in note for note in weighed.notes)
    assert any("through the cache" in note for note in weighed.notes)


def test_repair_and_what_it_made_really():
    drives = WORLD.drives()
    gone = drives.pop(1)
    drives[0].put(mf.SUMS, b"rubbish")
    before = WORLD.report(drives)
    assert receivings.states(WORLD.weigh(before).groups)[1] == {
        "g0s0": "lost", "g0s1": "unseen", "g0s2": "intact", "g1s0": "intact", "g1s1": "intact",
    }  # fmt: skip
    drives[0].put(mf.SUMS, WORLD.fleet.groups[0].files[0][mf.SUMS])
    new = MemoryDrive("/mnt/new", Medium())
    card = WORLD.fleet.groups[0].manifest.card(1)
    note = mf.RebuiltNote(at="2026-11-20T09:00:00Z", serial="WD-9")
    for name, data in gone.medium.files.items():
        new.put(name, canonical.encode(msgspec.structs.replace(card, rebuilt=note)) if name == mf.CARD else data)
    after = WORLD.report([*drives, new])
    later = datetime.now(UTC) + timedelta(hours=1)
    for copy in receivings.copies(after).values():
        copy.read_at = later.strftime(r.TIME)
    groups = WORLD.weigh(before, after, now=later).groups
    assert receivings.states(groups) == (
        {0: "rebuilt", 1: "intact"}, dict.fromkeys(ALL, "intact") | {"g0s0": "rebuilt", "g0s1": "rebuilt"},
    )  # fmt: skip
    assert [drive.remade for group in groups for drive in group.drives] == [False, True, False, False, False]


# Any order; never more


readings = st.fixed_dictionaries(
    {},
    optional={
        "verified": st.just(value=False),
        "read_at": st.sampled_from([EARLIER, LATER, None, "2026-11-22T00:00:00Z", "2026-01-01T00:00:00Z"]),
        "against": st.sampled_from([None, "cd" * 32]),
        "damage": st.lists(st.tuples(st.integers(0, 2), st.just(0), st.just(0)), max_size=2, unique=True),
        "faults": st.sampled_from([None, 0, 3]),
        "rebuilt": st.just(value=True),
        "mount": st.sampled_from(["/mnt/x", "/mnt/y"]),
        "medium": st.sampled_from(["WD-1", "WD-2"]),
    },
)
reports = st.lists(
    st.dictionaries(st.sampled_from(sorted(ALL)), st.none() | readings, max_size=5).map(lambda each: told(**each)),
    min_size=1, max_size=3,
)  # fmt: skip


def counting(copy):
    """By the specification, rule 1."""
    window = "2026-01-03T00:00:00Z" <= (copy.read_at or "") <= "2026-11-21T00:00:00Z"
    return copy.verified and copy.against == WORLD.digest and window and copy.faults is not None


def good(copy):
    return not copy.damage and copy.faults == 0


@pytest.mark.long
@given(reports, st.booleans())
@settings(max_examples=300, deadline=None)
def test_it_never_says_more_than_the_reports(made, final):
    weighed = WORLD.weigh(*made, now=NOW, final=final)
    copies = [copy for report in made for group in report.groups for copy in group.present]
    for group in weighed.groups:
        whole = set()
        for drive in group.drives:
            mine = [copy for copy in copies if copy.drive == drive.id and counting(copy)]
            if drive.state in r.VERIFIED:
                best = [copy for copy in mine if good(copy) and copy.read_at == drive.read_at]
                assert best, "somebody read it then, to its end, against this seal, and found nothing"
                worse = [copy for copy in mine if not good(copy) and copy.read_at >= drive.read_at]
                assert not all(
                    any(bad.mount == copy.mount and bad.medium == copy.medium for bad in worse) for copy in best
                ), "and nobody found it worse on that medium since"
                whole.add(drive.id)
            if drive.state == "intact":
                assert any(good(copy) and not copy.rebuilt for copy in mine)
            if drive.state == "unseen":
                assert not mine
            if drive.state == "lost":
                assert not drive.read_at or any(not good(copy) for copy in mine)
                assert drive.read_at or final
        assert (group.state == "intact") == all(drive.state == "intact" for drive in group.drives)
        if group.state in r.VERIFIED:
            assert all(drive.state != "unseen" for drive in group.drives)
            hurt = {
                drive.id: {
                    run[0] for copy in copies if copy.drive == drive.id and counting(copy) for run in copy.damage
                }
                if drive.read_at
                else {0, 1, 2}
                for drive in group.drives
                if drive.id not in whole
            }
            per_copy = len({(copy.mount, copy.medium, copy.read_at) for copy in copies}) > len(ALL)
            assert per_copy or all(sum(s in each for each in hurt.values()) <= group.parity for s in range(3))


@given(reports, st.data())
@settings(max_examples=100, deadline=None)
def test_reports_in_any_order_give_the_same_receipt(made, data):
    parts = [receivings.part(report, f"host{number}.json") for number, report in enumerate(made)]
    shuffled = data.draw(st.permutations(parts))
    one, two = (receivings.stage.weigh(WORLD.trusted, each, NOW) for each in (parts, shuffled))
    assert one == two


@pytest.mark.long
@given(st.lists(st.integers(0, 2), min_size=5, max_size=5), st.permutations(range(3)))
@settings(max_examples=20, deadline=None)
def test_hosts_that_are_merged_on_the_way_say_what_they_say_apart(places, order):
    drives = WORLD.drives()
    hosts = [[drive for drive, place in zip(drives, places, strict=True) if place == host] for host in range(3)]
    hosts = [hosts[index] for index in order if hosts[index]]
    apart = [WORLD.report(host) for host in hosts]
    parts = [receivings.part(report, f"host{number}.json") for number, report in enumerate(apart[1:])]
    merged = WORLD.report(hosts[0], parts=parts)
    for chosen in ([*apart], [merged], [merged, *apart]):
        groups = WORLD.weigh(*chosen).groups
        assert receivings.states(groups) == ({0: "intact", 1: "intact"}, dict.fromkeys(ALL, "intact"))
    read = receivings.copies(merged)
    assert all(d.read_at == read[d.id].read_at for g in WORLD.weigh(merged).groups for d in g.drives)


# Signed, and written


def kept(folder):
    return sorted(path.name for path in folder.iterdir())


NAME = "SL-TEST-41.receipt"


def test_it_is_written_with_its_signature_and_what_its_reader_takes(tmp_path):
    made = WORLD.receive(WORLD.weigh(REPORT), tmp_path)
    assert kept(tmp_path) == [f"{NAME}.json", f"{NAME}.json.sig"]
    files = [(tmp_path / name).read_bytes() for name in kept(tmp_path)]
    found = r.check_receipt(*files, WORLD.allowed)
    assert found == made.receipt
    assert (made.new, made.superseded, r.is_whole(found.record)) == (True, None, True)
    assert found.record.seal == WORLD.trusted.reference.seal
    assert found.record.declaration == WORLD.trusted.seal.declaration
    assert (found.record.groups_total, found.record.drives_total) == (2, 5)


def test_the_same_again_changes_nothing_and_the_next_supersedes(tmp_path):
    part = WORLD.report(WORLD.drives("g0s0", "g0s1", "g1s0", "g1s1"))
    late = WORLD.report(WORLD.drives("g0s2"))
    first = WORLD.receive(WORLD.weigh(part), tmp_path)
    assert not r.is_whole(first.receipt.record)
    again = WORLD.receive(WORLD.weigh(part), tmp_path)
    assert (again.new, again.receipt) == (False, first.receipt)
    second = WORLD.receive(WORLD.weigh(part, late), tmp_path)
    assert second.superseded == str(tmp_path / f"{NAME}.1.json")
    assert kept(tmp_path) == [f"{NAME}.1.json", f"{NAME}.1.json.sig", f"{NAME}.json", f"{NAME}.json.sig"]
    assert r.is_whole(second.receipt.record)
    assert second.receipt.at > first.receipt.at, "made in the same second, and the later one counts"
    assert r.newest([second.receipt, first.receipt])[0][1].state == "intact"
    old = [(tmp_path / f"{NAME}.1.json{end}").read_bytes() for end in ("", ".sig")]
    assert r.check_receipt(*old, WORLD.allowed) == first.receipt


def test_what_lies_there_and_is_no_receipt_is_kept(tmp_path):
    (tmp_path / f"{NAME}.json").write_text("my notes")
    (tmp_path / f"{NAME}.json.sig").write_text("more of them")
    made = WORLD.receive(WORLD.weigh(REPORT), tmp_path)
    assert (tmp_path / f"{NAME}.1.json").read_text() == "my notes"
    assert made.superseded == str(tmp_path / f"{NAME}.1.json")


def test_a_receipt_from_the_future_is_not_superseded(tmp_path):
    WORLD.receive(WORLD.weigh(REPORT), tmp_path, now=datetime.now(UTC) + timedelta(days=1))
    before = kept(tmp_path)
    with pytest.raises(Refused, match="still to come") as caught:
        WORLD.receive(WORLD.weigh(WORLD.report(WORLD.drives("g0s0"))), tmp_path)
    assert kept(tmp_path) == before
    path = f"{tmp_path}/{NAME}.json"
    assert f"move {path} and its .sig out of the folder, verify again" in caught.value.hint
    for each in (path, f"{path}.sig"):
        os.unlink(each)
    assert WORLD.receive(WORLD.weigh(WORLD.report(WORLD.drives("g0s0"))), tmp_path).new, "as the hint says"


@pytest.mark.parametrize(
    ("by", "whose"),
    [("author", "the declaration's author"), ("signing", "who sealed"), ("officer", "who released")],
)
def test_the_origin_cannot_receive_from_itself(tmp_path, by, whose):
    with pytest.raises(Refused, match=whose):
        WORLD.receive(WORLD.weigh(REPORT), tmp_path, by=by)
    assert kept(tmp_path) == []


@pytest.mark.parametrize(
    ("person", "whose"),
    [("author", "the declaration's author"), ("signing", "who sealed"), ("officer", "who released")],
)
def test_the_origin_cannot_receive_from_itself_with_a_second_key_of_the_same_person(tmp_path, person, whose):
    principal = {"signing": "origin@example.com"}.get(person, f"{person}@example.com")
    allowed = WORLD.who("dock", principal)
    trusted = open_seal(WORLD.fleet.seal_files, allowed)
    with pytest.raises(Refused, match=whose):
        WORLD.receive(WORLD.weigh(REPORT), tmp_path, trusted=trusted, allowed=allowed)
    assert kept(tmp_path) == []


def test_who_by_a_seal_beside_it_is_of_the_origin_cannot_receive_either(tmp_path):
    """Of an older revision that another officer released: the key itself is in no record of this seal."""
    seal, older = tmp_path / "s.seal", tmp_path / "s.1.seal"
    seal.write_bytes(seals.encode_bundle(WORLD.fleet.seal_files))
    assert WORLD.receive(WORLD.weigh(REPORT), tmp_path / "a", seal=str(seal)).new
    data = WORLD.fleet.seal_files[mf.SEAL_FILES[0]]
    by_dock = receivings.signer(WORLD.fleet, "dock").sign(data, mf.NAMESPACE)
    older.write_bytes(seals.encode_bundle(WORLD.fleet.seal_files | {mf.SEAL_FILES[1]: by_dock}))
    allowed = WORLD.who("dock", "dock@example.org")
    with pytest.raises(Refused, match="who sealed"):
        WORLD.receive(WORLD.weigh(REPORT), tmp_path / "b", seal=str(seal), allowed=allowed)
    assert WORLD.receive(WORLD.weigh(REPORT), tmp_path / "b", by="hub", seal=str(seal), allowed=allowed).new


def test_a_key_that_may_not_receive_signs_nothing(tmp_path):
    for by in ("ed", "nobody"):
        with pytest.raises(SignatureInvalid):
            WORLD.receive(WORLD.weigh(REPORT), tmp_path, by=by)
    assert kept(tmp_path) == []


def test_where_nothing_was_read_there_is_nothing_to_sign(tmp_path):
    report = inspect(WORLD.drives(), allowed=WORLD.allowed, seal=WORLD.fleet.seal_files)
    with pytest.raises(NotAllHere, match="g0s0: it was only looked at"):
        WORLD.receive(WORLD.weigh(report), tmp_path)
    assert kept(tmp_path) == []


def test_a_folder_that_is_not_there_is_made_and_one_that_cannot_be_is_told(tmp_path):
    WORLD.receive(WORLD.weigh(REPORT), tmp_path / "no" / "where")
    assert kept(tmp_path / "no" / "where")
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="not a directory; nothing was signed"):
        WORLD.receive(WORLD.weigh(REPORT), tmp_path / "file" / "where")


@pytest.mark.parametrize("bad", ["", "  ", "two\nlines", "\u202egnol", "x" * 257])
def test_who_receives_is_one_line_each(bad):
    for place in range(3):
        words = ["Rui", "Petrel", "dock"]
        words[place] = bad
        with pytest.raises(BadInput, match="one line"):
            r.person(*words)


def test_of_two_receipts_of_one_second_the_one_that_says_less_counts():
    one, two = WORLD.received(told(), now=NOW), WORLD.received(told(g0s2=None), now=NOW, by="hub")
    for order in itertools.permutations([one, two]):
        assert {number: row.state for number, (_, row) in r.newest(order).items()} == {0: "unseen", 1: "intact"}


def test_a_group_of_which_no_drive_has_the_index_is_lost_and_its_report_is_no_contradiction():
    drives = WORLD.drives()
    ids = sorted(ALL)
    for name, drive in zip(ids, drives, strict=True):
        if name.startswith("g0"):
            drive.medium.files.pop(mf.MEMBERS_INDEX)
    report = WORLD.report(drives)
    assert (report.state, report.groups[0].gone) == ("lost", [mf.MEMBERS_INDEX])
    groups, found = receivings.states(WORLD.weigh(report).groups)
    assert groups == {0: "lost", 1: "intact"}
    assert {name: state for name, state in found.items() if name.startswith("g1")} == {
        "g1s0": "intact",
        "g1s1": "intact",
    }
    one = receivings.again(report)
    one.groups[0].present[0].lacks = []
    assert receivings.states(WORLD.weigh(one).groups)[0][0] != "lost", "one drive has it"


@pytest.mark.parametrize("final", [False, True])
def test_a_drive_that_was_replaced_says_nothing_of_the_one_that_was_signed(final):
    """Of g0s2 its predecessor was read: nobody has seen the drive itself, and the report contradicts nothing."""
    old = MemoryDrive("/mnt/old", Medium(serial="SN-OLD"))
    signed = WORLD.fleet.groups[0]
    old.put(mf.CARD, canonical.encode(msgspec.structs.replace(signed.manifest.card(2), serial="SN-OLD")))
    for name, data in signed.files[2].items():
        if name.startswith("packs/"):
            old.put(name, data)
    report = WORLD.report([*WORLD.drives(*(ALL - {"g0s2"})), old], final=final)
    weighed = WORLD.weigh(report, final=final)
    drive = next(each for group in weighed.groups for each in group.drives if each.id == "g0s2")
    assert drive.state == ("lost" if final else "unseen")
    assert receivings.states(weighed.groups)[0][0] == ("rebuilt" if final else "unseen")
    if not final:
        assert "SN-OLD was read in its place" in weighed.why["g0s2"]


@pytest.mark.parametrize("final", [False, True])
def test_packs_that_were_brought_for_a_drive_say_nothing_of_it(final):
    """Nobody has seen g0s2: it is not damaged, whatever else these lack."""
    bag = MemoryDrive("/mnt/bag", Medium(serial="SN-ANYBODY'S"))
    packs = [name for name in WORLD.fleet.groups[0].files[2] if name.startswith("packs/")]
    for name in packs[: max(1, len(packs) // 2)]:
        bag.put(name, WORLD.fleet.groups[0].files[2][name])
    report = WORLD.report([*WORLD.drives(*(ALL - {"g0s2"})), bag], final=final)
    assert [each.mount for each in report.groups[0].present if each.bag] == ["/mnt/bag"]
    weighed = WORLD.weigh(report, final=final)
    drive = next(each for group in weighed.groups for each in group.drives if each.id == "g0s2")
    assert drive.state == ("lost" if final else "unseen")
    if not final:
        assert "packs of it were read that were brought for it" in weighed.why["g0s2"]
