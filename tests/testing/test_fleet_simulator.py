"""What the simulator is told to do to its drives is what those above them see, no more and no less."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import subprocess
import sys
import tempfile
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealift.drives.base import errno_of
from sealift.errors import DriveFault
from sealift.testing import FleetSimulator

NAME = "packs/0000/0000000.parity"


@pytest.fixture(params=["memory", "folders"])
def fleet(request, tmp_path):
    made = FleetSimulator.in_memory(2) if request.param == "memory" else FleetSimulator.on_folders(tmp_path, 2)
    for drive in made.drives:
        drive.lock()
        drive.write_small(NAME, b"contents of " + drive.mount.encode())
        drive.unlock()
    return made


def contents(fleet, place=0):
    return fleet.drives[place].read_small(NAME, 1 << 30)


def test_drives_have_serials_and_filesystems_of_their_own(fleet):
    assert list(fleet.serials.values()) == ["SIM-00", "SIM-01"]
    assert len({drive.filesystem() for drive in fleet.drives}) == 2


def test_rot_flips_one_bit_and_twice_is_as_before(fleet):
    before = contents(fleet)
    bit = fleet.rot(fleet.mounts[0], NAME)
    rotten = contents(fleet)
    assert sum((one ^ two).bit_count() for one, two in zip(before, rotten, strict=True)) == 1
    fleet.rot(fleet.mounts[0], NAME, bit)
    assert contents(fleet) == before


def test_rot_changes_what_an_open_file_reads_only_where_a_medium_would(fleet):
    """Bytes rot beneath what is open on folders; in memory an open file is a copy. Times stay on both."""
    with fleet.drives[0].open_read(NAME) as file:
        stamp = file.stamp
    fleet.rot(fleet.mounts[0], NAME, 7)
    with fleet.drives[0].open_read(NAME) as file:
        assert file.stamp[:4] == stamp[:4]  # ctime, where there is one, cannot be put back


def test_a_rotten_block_differs_in_every_byte_and_others_in_none(fleet):
    fleet.put(fleet.mounts[0], NAME, bytes(3 << 20))
    assert fleet.rot_block(fleet.mounts[0], NAME, 1) == 1
    data = contents(fleet)
    assert data[: 1 << 20] == bytes(1 << 20) == data[2 << 20 :]
    assert 0 not in data[1 << 20 : 2 << 20]


def test_an_empty_file_does_not_rot(fleet):
    fleet.put(fleet.mounts[0], NAME, b"")
    for act in (fleet.rot, fleet.rot_block):
        with pytest.raises(ValueError, match="empty"):
            act(fleet.mounts[0], NAME)


def test_lengths_names_and_labels(fleet):
    first = fleet.mounts[0]
    fleet.extend(first, NAME, b"xyz")
    fleet.truncate(first, NAME, 3)
    fleet.relabel(first, b"{}")
    assert fleet.snapshot(first) == {NAME: b"con", "drive.json": b"{}"}
    fleet.remove(first, NAME)
    assert contents(fleet) is None


def test_swap_and_replay_exchange_everything_but_the_hardware(fleet):
    first, second = fleet.mounts
    old, serials = fleet.snapshot(first), fleet.serials
    fleet.swap(first, second)
    assert contents(fleet, 1) == old[NAME]
    fleet.put(first, "more", b"x")
    fleet.replay(first, old)
    assert fleet.snapshot(first) == old == fleet.snapshot(second)
    assert fleet.serials == serials


def test_lost_drives_are_gone_and_their_place_may_be_taken(fleet):
    first, second = fleet.mounts
    fleet.lose(first)
    assert fleet.mounts == [second]
    with pytest.raises(KeyError):
        fleet.open(first)
    new = fleet.replace(second)
    assert fleet.mounts == [new]
    assert not fleet.open(new).exists()
    assert fleet.serials == {new: "SIM-02"}
    fleet.find(first)
    assert contents(fleet) is not None


# At work


def act_on(drive, operation):
    """The smallest act that asks `operation` of a drive once, after whatever must come before."""
    drive.lock()
    part = drive.create("x")
    file = drive.open_read(NAME)
    acts = {
        "look": lambda: drive.size(NAME),
        "open": lambda: drive.open_read(NAME).close(),
        "read": lambda: file.read_at(0, 1),
        "lock": drive.lock,
        "create": lambda: drive.create("y").abandon(),
        "write": lambda: part.write_at(0, [memoryview(b"12345678")]),
        "fsync": lambda: drive.sync_folder("x"),
        "rename": part.publish,
        "remove": lambda: drive.remove(NAME),
    }
    return acts[operation], part


OPERATIONS = ["look", "open", "read", "lock", "create", "write", "fsync", "rename", "remove"]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_each_operation_fails_as_it_was_told(fleet, operation, code):
    mount = fleet.mounts[0]
    drive = fleet.open(mount)
    act, part = act_on(drive, operation)
    fleet.fail(mount, operation, code)
    with pytest.raises(DriveFault) as caught:
        act()
    assert (errno_of(caught.value), caught.value.drive) == (code, mount)
    act()
    part.abandon()
    drive.unlock()
    assert errno.errorcode[code] in fleet.script


def test_the_nth_call_fails_and_from_then_on_if_lasting(fleet):
    first, second = fleet.mounts
    fleet.fail(first, "open", nth=3)
    fleet.fail(second, "open", nth=2, lasting=True)
    told = []
    for drive in (fleet.open(first), fleet.open(second)):
        for _ in range(5):
            try:
                drive.open_read(NAME).close()
                told.append("good")
            except DriveFault:
                told.append("bad")
    assert told == ["good", "good", "bad", "good", "good", "good", "bad", "bad", "bad", "bad"]


def test_only_calls_of_the_names_that_match_are_counted(fleet):
    mount = fleet.mounts[0]
    fleet.fail(mount, "open", name="*.json")
    drive = fleet.open(mount)
    drive.open_read(NAME).close()
    with pytest.raises(DriveFault):
        drive.read_small("drive.json", 10)


def test_a_rename_that_fails_leaves_what_was_there(fleet):
    mount = fleet.mounts[0]
    drive = fleet.open(mount)
    drive.lock()
    before = contents(fleet)
    for operation in ("write", "fsync", "rename"):
        fleet.fail(mount, operation)
        with pytest.raises(DriveFault):
            drive.write_small(NAME, b"after")
        assert fleet.snapshot(mount) == {NAME: before}
    fleet.fail(mount, "fsync", nth=2)  # the folder's: it was renamed already
    with pytest.raises(DriveFault):
        drive.write_small(NAME, b"after")
    assert contents(fleet) == b"after"
    drive.unlock()


def test_a_failed_write_is_half_written(fleet):
    mount = fleet.mounts[0]
    drive = fleet.open(mount)
    drive.lock()
    part = drive.create("x")
    fleet.fail(mount, "write")
    with pytest.raises(DriveFault):
        part.write_at(0, [memoryview(b"12"), memoryview(b"345678")])
    assert fleet.read(mount, "x.part") == b"1234"
    drive.unlock()


def test_a_full_drive_takes_what_fits_and_again_after_something_went(fleet):
    mount = fleet.mounts[0]
    drive = fleet.open(mount)
    drive.lock()
    fleet.fill(mount, 10)
    assert drive.free_bytes() == 10
    drive.write_small("a", b"12345")
    part = drive.create("b")
    with pytest.raises(DriveFault, match="full") as caught:
        part.write_at(0, [memoryview(b"1234567")])
    assert errno_of(caught.value) == errno.ENOSPC
    assert fleet.read(mount, "b.part") == b"12345"
    assert drive.free_bytes() == 0
    part.abandon()
    assert drive.free_bytes() == 5
    drive.remove("a")
    assert drive.free_bytes() == 10
    fleet.heal(mount)
    drive.write_small("b", bytes(100))
    drive.unlock()


STEPS = ["write_small", "remove", "at rest", "abandon", "leave", "leave a gap", "fail and abandon", "fail and leave"]
steps = st.tuples(
    st.sampled_from([*STEPS, "go away over"]), st.sampled_from(["a", "b", "packs/0000/c"]), st.integers(0, 70)
)


def take(fleet, mount, drive, step, name, length):
    """One step of a drive's life; what does not fit, or is told to fail, raises DriveFault."""
    if step == "write_small":
        drive.write_small(name, bytes(length))
    elif step == "remove":
        drive.remove(name)
    elif step == "at rest":
        fleet.put(mount, name, os.urandom(length + 1))
        if length % 3 == 0:
            fleet.extend(mount, name, b"more")
        elif length % 3 == 1:
            fleet.truncate(mount, name, length // 2)
        else:
            fleet.remove(mount, name)
    else:
        part = drive.create(name)
        if step.startswith("fail"):
            fleet.fail(mount, "write")
        try:
            part.write_at(0, [memoryview(bytes(length))])
            part.write_at(length + 7 * (step == "leave a gap"), [memoryview(bytes(5))])
            if step == "go away over":
                fleet.go_away(mount)
        finally:
            if "leave" not in step:
                part.abandon()
            if step == "go away over" and "go_away" in fleet.script.splitlines()[-1]:
                fleet.come_back(mount)


@pytest.mark.parametrize("kind", ["memory", "folders"])
@settings(max_examples=150, deadline=None)
@given(many=st.lists(steps, max_size=25))
def test_what_is_on_a_full_drive_and_what_is_free_come_to_the_same(kind, many):
    with tempfile.TemporaryDirectory() as folder:
        fleet = FleetSimulator.in_memory(1) if kind == "memory" else FleetSimulator.on_folders(folder, 1)
        (mount,) = fleet.mounts
        fleet.fill(mount, 100)
        drive = fleet.open(mount)
        drive.lock()
        for step, name, length in many:
            with contextlib.suppress(DriveFault):
                take(fleet, mount, drive, step, name, length)
            there = sum(map(len, fleet.snapshot(mount).values()))
            assert drive.free_bytes() == max(0, 100 - there), fleet.script
        drive.unlock()


def test_a_file_that_is_written_anew_for_ever_fills_no_drive(fleet):
    mount = fleet.mounts[0]
    fleet.fill(mount, 3000)
    drive = fleet.open(mount)
    drive.lock()
    for _ in range(30):
        drive.write_small("drive.json", bytes(267))
    assert drive.free_bytes() == 3000 - 267
    drive.unlock()


def test_a_slow_drive_takes_its_time(fleet):
    mount = fleet.mounts[0]
    fleet.slow(mount, 1000)
    begun = time.monotonic()
    with fleet.open(mount).open_read(NAME) as file:
        file.read_at(0, 50)
    assert time.monotonic() - begun >= 0.05


@pytest.mark.parametrize("how", ["flip", "drop"])
def test_a_lie_is_acknowledged_and_seen_only_by_reading(fleet, how):
    mount = fleet.mounts[0]
    drive = fleet.open(mount)
    drive.lock()
    fleet.lie(mount, how, nth=2)
    truth = b"truth of some length"
    for name in ("a", "b", "c"):
        drive.write_small(name, truth)
    assert [drive.read_small(name, 100) == truth for name in ("a", "b", "c")] == [True, False, True]
    assert drive.size("b") == len(truth)
    fleet.lie(mount, how, name="*.json", nth=2)
    for name in ("a.json", "b", "c.json", "d.json"):
        drive.write_small(name, truth)
    assert [drive.read_small(name, 100) == truth for name in ("a.json", "b", "c.json", "d.json")] == [
        True,
        True,
        False,
        True,
    ]
    fleet.lie(mount, how, lasting=True)
    for name in ("a", "b"):
        drive.write_small(name, truth)
        assert drive.read_small(name, 100) != truth
    drive.unlock()


def test_a_drive_that_went_away_answers_nothing_and_keeps_what_it_had(fleet):
    mount = fleet.mounts[0]
    drive = fleet.open(mount)
    drive.lock()
    part, file = drive.create("x"), drive.open_read(NAME)
    part.write_at(0, [memoryview(b"half")])
    fleet.go_away(mount)
    for act in (
        drive.exists,
        drive.free_bytes,
        lambda: list(drive.walk(10)),
        lambda: file.read_at(0, 1),
        lambda: part.write_at(4, [memoryview(b"x")]),
        lambda: fleet.open(mount).read_small(NAME, 100),
    ):
        with pytest.raises(DriveFault, match="went away"):
            act()
    part.abandon()
    file.close()
    drive.unlock()
    fleet.come_back(mount)
    assert contents(fleet) is not None
    assert fleet.read(mount, "x.part") == b"half"


def test_counts_are_what_a_fault_counts(fleet):
    mount = fleet.mounts[0]
    before = fleet.counts(mount)
    drive = fleet.open(mount)
    drive.lock()
    drive.write_small("x", b"1")
    drive.unlock()
    grown = fleet.counts(mount) - before
    assert grown == {"lock": 1, "create": 1, "write": 1, "fsync": 2, "rename": 1}


# What would fall on nothing


NOTHING = {
    "what it holds": lambda fleet, mount: fleet.put(mount, NAME, fleet.read(mount, NAME)),
    "its own snapshot": lambda fleet, mount: fleet.replay(mount, fleet.snapshot(mount)),
    "its own label": lambda fleet, mount: [fleet.relabel(mount, b"{}") for _ in range(2)],
    "one that holds the same": lambda fleet, mount: [
        fleet.put(fleet.mounts[1], NAME, fleet.read(mount, NAME)),
        fleet.swap(mount, fleet.mounts[1]),
    ],
    "found, not lost": lambda fleet, mount: fleet.find(mount),
    "back, not away": lambda fleet, mount: fleet.come_back(mount),
    "full twice": lambda fleet, mount: [fleet.fill(mount, 5) for _ in range(2)],
    "slow twice": lambda fleet, mount: [fleet.slow(mount, 5) for _ in range(2)],
    "fill with more than there is": lambda fleet, mount: fleet.fill(mount, 10**30),
    "a lasting fault twice": lambda fleet, mount: [fleet.fail(mount, "write", lasting=True) for _ in range(2)],
    "and a later one": lambda fleet, mount: [fleet.fail(mount, "write", nth=n, lasting=True) for n in (2, 3)],
    "a lasting lie twice": lambda fleet, mount: [fleet.lie(mount, lasting=True) for _ in range(2)],
}
TO_THE_LOST = {
    "lose": lambda fleet, mount: fleet.lose(mount),
    "rot": lambda fleet, mount: fleet.rot(mount, NAME),
    "remove": lambda fleet, mount: fleet.remove(mount, NAME),
    "put": lambda fleet, mount: fleet.put(mount, "x", b"1"),
    "swap": lambda fleet, mount: fleet.swap(mount, fleet.mounts[0]),
    "swap, the other way": lambda fleet, mount: fleet.swap(fleet.mounts[0], mount),
    "relabel": lambda fleet, mount: fleet.relabel(mount, b"{}"),
    "replay": lambda fleet, mount: fleet.replay(mount, {}),
    "fail": lambda fleet, mount: fleet.fail(mount, "write"),
    "fill": lambda fleet, mount: fleet.fill(mount),
    "slow": lambda fleet, mount: fleet.slow(mount, 1),
    "lie": lambda fleet, mount: fleet.lie(mount),
    "go away": lambda fleet, mount: fleet.go_away(mount),
    "come back": lambda fleet, mount: fleet.come_back(mount),
    "heal": lambda fleet, mount: fleet.heal(mount),
}


@pytest.mark.parametrize("what", NOTHING)
def test_what_would_change_nothing_is_refused(fleet, what):
    with pytest.raises(ValueError, match=r"nothing|already"):
        NOTHING[what](fleet, fleet.mounts[0])


@pytest.mark.parametrize("what", TO_THE_LOST)
def test_nothing_is_done_to_a_lost_drive(fleet, what):
    mount = fleet.mounts[0]
    fleet.lose(mount)
    script = fleet.script
    with pytest.raises(ValueError, match="is lost"):
        TO_THE_LOST[what](fleet, mount)
    assert fleet.script == script
    fleet.find(mount)
    assert contents(fleet) == b"contents of " + mount.encode()


def test_an_empty_drive_holds_nothing(fleet):
    new = fleet.replace(fleet.mounts[0])
    assert fleet.names(new) == []
    with pytest.raises(ValueError, match="there is no file"):
        fleet.rot(new, NAME)
    fleet.put(new, NAME, b"1")
    assert fleet.snapshot(new) == {NAME: b"1"}


def test_told_twice_falls_on_two_calls(fleet):
    first, second = fleet.mounts
    drive, other = fleet.drives
    for _ in range(2):
        fleet.fail(first, "open")
        fleet.lie(second)
    for _ in range(2):
        with pytest.raises(DriveFault):
            drive.open_read(NAME)
    drive.open_read(NAME).close()
    other.lock()
    part = other.create("three")
    for offset in range(3):
        part.write_at(offset, [memoryview(b"x")])
    part.publish()
    assert [byte == ord("x") for byte in fleet.read(second, "three")] == [False, False, True]
    assert fleet.unmet == []


def test_a_healthy_drive_may_be_healed(fleet):
    fleet.heal(fleet.mounts[0])


def test_what_no_call_met_is_told_at_the_end(fleet):
    first, second = fleet.mounts
    drive = fleet.open(first)
    with pytest.raises(ValueError, match="no-such-file-ever") as caught, fleet:  # noqa: PT012 -- at its end
        fleet.fail(first, "open", name="no-such-file-ever")
        fleet.fail(first, "open", lasting=True)
        fleet.lie(second, nth=7)
        fleet.fail(second, "write", nth=9)
        fleet.heal(second)
        fleet.lie(second, "drop")
        with pytest.raises(DriveFault):
            drive.open_read(NAME)
    lines = str(caught.value).splitlines()[1:]
    assert lines == fleet.unmet
    assert [line.split("(")[0] for line in lines] == ["fleet.fail", "fleet.fail", "fleet.lie", "fleet.lie"], (
        "healed ones too"
    )


SPOILING = {
    "rot": lambda fleet, mount, name: fleet.rot(mount, name),
    "rot_block": lambda fleet, mount, name: fleet.rot_block(mount, name),
    "truncate": lambda fleet, mount, name: fleet.truncate(mount, name, 1),
    "extend": lambda fleet, mount, name: fleet.extend(mount, name, b"x"),
    "remove": lambda fleet, mount, name: fleet.remove(mount, name),
    "put": lambda fleet, mount, name: fleet.put(mount, name, b"x"),
    "relabel": lambda fleet, mount, _name: fleet.relabel(mount, b"x"),
    "replay": lambda fleet, mount, name: fleet.replay(mount, {name: b"x"}),
}


@pytest.mark.parametrize("how", SPOILING)
@pytest.mark.parametrize(
    ("name", "link"), [("drive.json", "drive.json"), ("way/x", "way"), ("a/b/way/x", "a/b/way"), ("x", "")]
)
def test_no_link_on_a_drive_is_followed(tmp_path, how, name, link):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_bytes(b"not of this fleet")
    fleet = FleetSimulator.on_folders(tmp_path / "fleet", 1)
    place = tmp_path / "fleet/d00/sealift" / link
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(outside / "x" if link == "drive.json" else outside)
    if how == "relabel" and link != "drive.json":
        name = "drive.json"
    if how != "relabel" or link in {"", "drive.json"}:
        with pytest.raises(ValueError, match=r"link is followed|there is no file"):
            SPOILING[how](fleet, fleet.mounts[0], name)
    assert fleet.names(fleet.mounts[0]) == []
    assert {each.name: each.read_bytes() for each in outside.iterdir()} == {"x": b"not of this fleet"}


# The script


def test_the_script_does_the_same_again():
    def fill(fleet):
        for drive in fleet.drives:
            drive.lock()
            drive.write_small(NAME, bytes(1000))
            drive.unlock()
        return fleet

    first = fill(FleetSimulator.in_memory(3, seed=5))
    first.rot(first.mounts[0], NAME)
    first.rot_block(first.mounts[1], NAME)
    first.swap(first.mounts[0], first.mounts[2])
    first.truncate(first.mounts[1], NAME, 10)
    first.extend(first.mounts[1], NAME, b"end")
    first.lose(first.mounts[2])
    second = fill(FleetSimulator.in_memory(3))
    exec(first.script, {"fleet": second})
    assert second.mounts == first.mounts
    assert [second.snapshot(mount) for mount in second.mounts] == [first.snapshot(mount) for mount in first.mounts]


def test_an_error_brings_the_script_along(fleet):
    def fails():
        with fleet:
            fleet.fail(fleet.mounts[0], "open", errno.EIO)
            fleet.open(fleet.mounts[0]).open_read(NAME)

    with pytest.raises(DriveFault) as caught:
        fails()
    note = "".join(caught.value.__notes__)
    assert f"fleet.fail('{fleet.mounts[0]}', 'open', 5, nth=1, lasting=False, name='*')" in note
    assert "EIO" in note


@pytest.mark.parametrize("missing", ["pytest", "hypothesis"])
def test_without_what_it_needs_the_package_says_what(missing):
    code = f"import sys; sys.modules[{missing!r}] = None\nimport sealift.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        f"sealift.testing needs {missing}, which is not installed: pip install pytest hypothesis"
    )


NO_SUCH = [
    (lambda fleet, mount: fleet.fail(mount, "fsinc"), "no operation 'fsinc': give one of look, open, read, lock"),
    (lambda fleet, mount: fleet.fail(mount, "write", 0), "0 is no errno"),
    (lambda fleet, mount: fleet.fail(mount, "write", nth=0), "nth is 0"),
    (lambda fleet, mount: fleet.lie(mount, "flop"), "no how 'flop': give one of flip, drop"),
    (lambda fleet, mount: fleet.lie(mount, nth=0), "nth is 0"),
    (lambda fleet, mount: fleet.slow(mount, 0), "rate is 0"),
    (lambda fleet, mount: fleet.fill(mount, -1), "free is -1"),
    (lambda fleet, mount: fleet.rot(mount, "x"), f"no file 'x': give one of {NAME}"),
    (lambda fleet, mount: fleet.rot(mount, NAME, bit=24), "has 24 bits: there is no bit 24"),
    (lambda fleet, mount: fleet.rot_block(mount, "x"), "no file 'x'"),
    (lambda fleet, mount: fleet.rot_block(mount, NAME, block=1), "has 1 blocks: there is no block 1"),
    (lambda fleet, mount: fleet.truncate(mount, "x", 1), "no file 'x'"),
    (lambda fleet, mount: fleet.truncate(mount, NAME, 3), "is 3 bytes long: it cannot be cut to 3"),
    (lambda fleet, mount: fleet.extend(mount, "x"), "no file 'x'"),
    (lambda fleet, mount: fleet.remove(mount, "x"), "no file 'x'"),
    (lambda fleet, mount: fleet.swap(mount, "/mnt/x"), "no drive at '/mnt/x': give one of /mnt/d00, /mnt/d01"),
    (lambda fleet, _mount: fleet.lose("/mnt/x"), "no drive at '/mnt/x'"),
    (lambda fleet, _mount: fleet.go_away("/mnt/x"), "no drive at '/mnt/x'"),
    (lambda fleet, _mount: fleet.heal("/mnt/x"), "no drive at '/mnt/x'"),
    (lambda fleet, _mount: fleet.open("/mnt/x"), "no drive at '/mnt/x'"),
    (lambda fleet, _mount: fleet.counts("/mnt/x"), "no drive at '/mnt/x'"),
    (lambda fleet, _mount: fleet.snapshot("/mnt/x"), "no drive at '/mnt/x'"),
    (lambda fleet, _mount: fleet.read("/mnt/x", NAME), "no drive at '/mnt/x'"),
    (lambda fleet, mount: fleet.fail(mount, "write", nth=1.5), "nth is 1.5: give a whole number"),
    (lambda fleet, mount: fleet.fail(mount, "write", nth=True), "nth is True: give a whole number"),
    (lambda fleet, mount: fleet.fail(mount, "write", 5.0), "code is 5.0: give a whole number"),
    (lambda fleet, mount: fleet.fail(mount, "write", name=""), "name is ''"),
    (lambda fleet, mount: fleet.fail(mount, "open", name="/mnt/d00/*"), "name is '/mnt/d00/*'"),
    (lambda fleet, mount: fleet.lie(mount, nth=2.0), "nth is 2.0: give a whole number"),
    (lambda fleet, mount: fleet.fill(mount, 1.5), "free is 1.5: give a whole number"),
    (lambda fleet, mount: fleet.slow(mount, float("inf")), "rate is inf"),
    (lambda fleet, mount: fleet.slow(mount, "9"), "rate is '9'"),
    (lambda fleet, mount: fleet.swap(mount, mount), "cannot be exchanged with itself"),
    (lambda fleet, mount: fleet.rot(mount, NAME, bit=1.0), "bit is 1.0: give a whole number"),
    (lambda fleet, mount: fleet.rot_block(mount, NAME, block=0.0), "block is 0.0: give a whole number"),
    (lambda fleet, mount: fleet.truncate(mount, NAME, 2.0), "length is 2.0: give a whole number"),
    (lambda fleet, mount: fleet.extend(mount, NAME, 0), "more is 0: give bytes"),
    (lambda fleet, mount: fleet.extend(mount, NAME, b""), "more is empty"),
    (lambda fleet, mount: fleet.put(mount, "x", "text"), "data is 'text': give bytes"),
    (lambda fleet, mount: fleet.put(mount, "../../../escaped", b"x"), "name is '../../../escaped'"),
    (lambda fleet, mount: fleet.put(mount, "/tmp/abs", b"x"), "name is '/tmp/abs'"),
    (lambda fleet, mount: fleet.replay(mount, {"a/../../b": b"x"}), "name is 'a/../../b'"),
    (lambda fleet, mount: fleet.replay(mount, None), "files is None: give a snapshot"),
    (lambda fleet, mount: fleet.replay(mount, [NAME]), "files is ['packs"),
    (lambda fleet, mount: fleet.put(mount, "a\0b", b"x"), r"name is 'a\x00b'"),
    (lambda fleet, mount: fleet.replay(mount, {"a\0b": b"x"}), r"name is 'a\x00b'"),
    (lambda fleet, mount: fleet.fail(mount, "open", name="a\0b"), r"name is 'a\x00b'"),
    (lambda fleet, mount: fleet.relabel(mount, "{}"), "card is '{}': give bytes"),
    (lambda _fleet, _mount: FleetSimulator.in_memory(0), "the number of drives is 0: give 1 or more"),
    (lambda _fleet, _mount: FleetSimulator.in_memory(2.0), "the number of drives is 2.0: give a whole number"),
]


def test_no_name_leads_out_of_a_drive_on_a_folder(tmp_path):
    fleet = FleetSimulator.on_folders(tmp_path / "fleet", 1)
    for name in ("../escaped", "../../../escaped", str(tmp_path / "escaped"), "packs/../../../escaped"):
        with pytest.raises(ValueError, match="beneath sealift/"):
            fleet.put(fleet.mounts[0], name, b"x")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_look_and_a_lock_may_be_of_no_file(fleet):
    drive = fleet.drives[0]
    for operation, act in (("look", drive.exists), ("lock", drive.lock)):
        fleet.fail(fleet.mounts[0], operation, name="")
        with pytest.raises(DriveFault):
            act()


@pytest.mark.parametrize(("act", "why"), NO_SUCH)
def test_what_does_not_exist_is_refused_with_the_choices(act, why):
    """A misspelt fault would let a test pass that tries nothing; nothing is done then, and nothing recorded."""
    fleet = FleetSimulator.in_memory(2)
    mount = fleet.mounts[0]
    fleet.put(mount, NAME, b"abc")
    script = fleet.script
    with pytest.raises(ValueError, match=re.escape(why)):
        act(fleet, mount)
    assert (fleet.script, fleet.mounts, fleet.read(mount, NAME)) == (script, ["/mnt/d00", "/mnt/d01"], b"abc")
