"""A calibration: a small one for real, the arithmetic by hand, kept and taken again, and what is refused."""

import contextlib
import math
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sealift.errors import BadInput
from sealift.stages.plan import calibrate as module
from sealift.stages.plan.calibrate import Calibration, Shape, calibrate, decode

quietly = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
SHAPE = Shape(files=1000, bytes=10_000_000, incompressible=0.25)
FOUND = Calibration(
    taken="2026-11-25T00:00:00Z",
    sealift="0.1.0",
    processor="one",
    cores=2,
    medium="tmpfs",
    data=6,
    parity=2,
    file_bytes=10_000,
    start_seconds=0.5,
    scan_file=20e-6,
    noise_byte=2e-9,
    text_byte=4e-9,
    text_packed=0.2,
    pack_file=50e-6,
    parity_byte=0.6e-9,
    code_byte=0.02e-9,
    code_parity=0.01e-9,
    verify_byte=0.25e-9,
    inspect_seconds=0.1,
    open_seconds=0.3,
    read_noise_byte=1e-9,
    read_text_byte=2e-9,
    read_file=10e-6,
    busy=0.0,
    unknown=("how fast the drives are",),
)


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """A real one, far too short to be any good."""
    folder = tmp_path_factory.mktemp("scratch")
    said = []
    shape = Shape(files=1000, bytes=5_000_000, incompressible=0.0)
    found = calibrate(str(folder), shape, data=2, parity=1, seconds=module.LEAST, say=said.append)
    return found, folder, said


@pytest.mark.long
def test_a_real_one_measures_everything_and_leaves_nothing_behind(taken):
    found, folder, said = taken
    assert os.listdir(folder) == []
    assert any("packing" in each for each in said)
    assert (found.data, found.parity, found.file_bytes, found.cores) == (2, 1, 5000, len(os.sched_getaffinity(0)))
    for name in ("start_seconds", "scan_file", "noise_byte", "text_byte", "parity_byte", "verify_byte", "open_seconds",
                 "read_noise_byte", "read_text_byte"):  # fmt: skip
        assert 0 < getattr(found, name) < 60, name
    assert 0.05 < found.text_packed < 0.8
    assert 0 <= found.busy <= 1
    assert found.taken.endswith("Z")
    assert found.medium != "not known"
    speeds = found.speeds(SHAPE, data=20, parity=8, cores=64)
    assert all(getattr(speeds, name) > 0 for name in ("scan_files", "pack_bytes", "verify_bytes"))


@pytest.mark.long
def test_it_says_what_it_does_not_know(taken):
    found, _, _ = taken
    told = " ".join(found.unknown)
    for what in ("drives", "source", "compresses", "cores"):
        assert what in told
    assert ("idle" in told) == (found.busy > module.BUSY)


@pytest.mark.long
def test_kept_and_taken_again(taken):
    found, _, _ = taken
    assert decode(found.encode()) == found
    assert decode(FOUND.encode()) == FOUND


def test_rates_are_sums_of_costs_by_hand():
    speeds = FOUND.speeds(SHAPE, data=6, parity=2)
    byte = 0.25 * 2e-9 + 0.75 * 4e-9 + 50e-6 / 10_000
    assert speeds.pack_bytes == pytest.approx(2 / byte)
    assert speeds.scan_files == pytest.approx(100_000)
    assert speeds.verify_bytes == pytest.approx(8e9)
    assert (speeds.start_seconds, speeds.inspect_seconds, speeds.open_seconds) == (0.5, 0.1, 0.3)
    assert FOUND.speeds(SHAPE, data=6, parity=2, cores=10).pack_bytes == pytest.approx(10 / byte)
    assert FOUND.read_bytes(SHAPE) == pytest.approx(2 / (0.25 * 1e-9 + 0.75 * 2e-9 + 10e-6 / 10_000))
    assert FOUND.read_bytes(SHAPE, cores=1) == pytest.approx(FOUND.read_bytes(SHAPE) / 2)


def test_another_geometry_costs_its_parity():
    noise = Shape(files=0, bytes=10**9, incompressible=1.0)

    def core_seconds(data, parity):
        return 2 / FOUND.speeds(noise, data=data, parity=parity).pack_bytes

    at_6_2 = 2 / 6 * 0.6e-9 + 0.02e-9 + 2 * 0.01e-9
    assert core_seconds(6, 2) == pytest.approx(2e-9)
    assert core_seconds(43, 17) == pytest.approx(2e-9 - at_6_2 + 17 / 43 * 0.6e-9 + 0.02e-9 + 17 * 0.01e-9)
    assert core_seconds(6, 0) == pytest.approx(2e-9 - at_6_2)


@quietly
@given(st.integers(1, 200), st.integers(0, 50), st.integers(0, 50), st.integers(0, 8))
def test_more_parity_and_more_files_never_cost_less(data, parity, more, stiff):
    shape = Shape(files=10, bytes=10**6, incompressible=stiff / 8)
    rate = FOUND.speeds(shape, data=data, parity=parity).pack_bytes
    assert FOUND.speeds(shape, data=data, parity=parity + more).pack_bytes <= rate * (1 + 1e-9)
    files = replace(shape, files=10 + more)
    assert FOUND.speeds(files, data=data, parity=parity).pack_bytes <= rate * (1 + 1e-9)


def test_what_others_had_of_the_cores_is_taken_off(monkeypatch):
    clock, cores = module.Clock(), len(os.sched_getaffinity(0))
    moments = iter([module._Moment(0.0, 0.0, 0.0), module._Moment(10.0, 4.0 * cores, 5.0 * cores)])
    monkeypatch.setattr(module.Clock, "now", lambda _self: next(moments))
    begun = clock.now()
    assert clock.since(begun) == pytest.approx(5.0)
    assert clock.busy == pytest.approx(0.5)


def test_never_less_than_the_work_itself(monkeypatch):
    clock, cores = module.Clock(), len(os.sched_getaffinity(0))
    moments = iter([module._Moment(0.0, 0.0, 0.0), module._Moment(10.0, 4.0 * cores, 9.0 * cores)])
    monkeypatch.setattr(module.Clock, "now", lambda _self: next(moments))
    assert clock.since(clock.now()) == pytest.approx(4.0)


def test_made_up_files_have_the_size_asked_for(tmp_path):
    source = module._write(str(tmp_path), "x", b"abcdefg", 10, 1002)
    files = sorted(tmp_path.rglob("x-*"))
    assert (source.files, source.size, len(files)) == (1002, 10_020, 1002)
    assert files[0].read_bytes() == b"abcdefgabc"
    assert files[1].read_bytes() == b"defgabcdef"  # goes on where the one before ended
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("shape", "options", "word"),
    [
        (replace(SHAPE, incompressible=math.nan), {}, "incompressible"),
        (replace(SHAPE, incompressible=1.5), {}, "incompressible"),
        (replace(SHAPE, files=-1, bytes=-1), {}, "shape.bytes"),
        (SHAPE, {"data": 0}, "data"),
        (SHAPE, {"parity": -1}, "parity"),
        (SHAPE, {"data": 15, "parity": 2}, "15.2 scratch drives"),
        (SHAPE, {"seconds": math.nan}, "seconds"),
        (SHAPE, {"seconds": 0.0}, "seconds"),
        (SHAPE, {"seconds": 1e9}, "seconds"),
    ],
)
def test_what_nobody_can_calibrate_for_is_refused(tmp_path, shape, options, word):
    with pytest.raises(BadInput, match=word) as caught:
        calibrate(str(tmp_path), shape, **options)
    assert caught.value.hint
    assert os.listdir(tmp_path) == []


def test_every_fault_of_a_shape_is_named_at_once():
    with pytest.raises(BadInput) as caught:
        FOUND.speeds(Shape(files=-1, bytes=-1, incompressible=2.0), data=0, parity=-1, cores=0)
    for word in ("files", "bytes", "incompressible", "data", "parity", "cores"):
        assert word in str(caught.value)


def test_a_folder_without_room_or_that_is_none_is_refused(tmp_path, monkeypatch):
    with pytest.raises(BadInput):
        calibrate(str(tmp_path / "nowhere"), SHAPE)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _path: _Usage)
    with pytest.raises(BadInput, match="takes"):
        calibrate(str(tmp_path), SHAPE)
    assert os.listdir(tmp_path) == []


class _Usage:
    free = 1000


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b'"cores": 2', b'"cores": 0'),
        lambda text: text.replace(b'"scan_file": 0.00002', b'"scan_file": -1.0'),
        lambda text: text.replace(b'"busy": 0.0', b'"busy": -0.5'),
        lambda text: text.replace(b'"version": 1', b'"version": 2'),
        lambda text: text.replace(b'"cores": 2', b'"cores": 2, "more": 1'),
        lambda text: text[:-2],
        lambda _text: b"null\n",
        lambda _text: b"\xff" * (module.MAX_RECORD + 1),
    ],
)
def test_a_record_that_says_what_no_machine_can_is_refused(change):
    data = FOUND.encode()
    assert change(data) != data
    with pytest.raises(BadInput) as caught:
        decode(change(data))
    assert "anew" in caught.value.hint


@quietly
@given(st.binary(max_size=200), st.integers(0, 900))
def test_no_bytes_make_decode_fail_in_another_way(noise, at):
    data = FOUND.encode()
    with contextlib.suppress(BadInput):
        decode(data[:at] + noise + data[at + len(noise) :])
