"""What drives say of their health, as smartctl prints it: odd devices, and any bytes at all."""

import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_block_tools import VALUES, altered

from sealift.errors import FormatError
from sealift.formats import smart

VECTORS = pathlib.Path(__file__).parents[1] / "vectors" / "drives"
ANSWERS = {path.stem: path.read_bytes() for path in sorted(VECTORS.glob("*.smartctl"))}
SEEDS = [("smartctl", data) for data in ANSWERS.values()]


@pytest.mark.parametrize(
    ("name", "verdict", "why", "temperature", "hours"),
    [
        ("sata-good", "good", "", 34, 412),
        (
            "sata-failing",
            "failing",
            "the drive says of itself that it is failing: Reallocated_Sector_Ct",
            25,
            65592,
        ),
        ("sas-grown-defects", "doubtful", "56 grown defects", 34, 43549),
        ("megaraid-sas", "good", "", 31, None),
        ("nvme-media-errors", "doubtful", "7 media errors", 35, 12798),
        ("nvme-warning", "failing", "the drive says of itself that it is failing", 41, 31002),
        (
            "usb-bridge-unknown",
            "unknown",
            "smartctl: Unknown USB bridge [0x152d:0xa586 (0x114)]",
            None,
            None,
        ),
        ("virtio", "unknown", "smartctl: Unable to detect device type", None, None),
        ("not-permitted", "unknown", "smartctl: Smartctl open device: /dev/sda failed: Permission denied", None, None),
    ],
)
def test_what_devices_say(name, verdict, why, temperature, hours):
    found = smart.parse(ANSWERS[name])
    assert (found.verdict, found.why, found.temperature, found.hours) == (verdict, why, temperature, hours)


def test_every_recorded_answer_is_tested():
    marks = test_what_devices_say.pytestmark[0]
    assert {case[0] for case in marks.args[1]} == set(ANSWERS)


def test_counts_and_wear():
    assert smart.parse(ANSWERS["sata-failing"]).counts == {
        "reallocated": 1975, "pending": 8, "uncorrectable": 0, "crc_errors": 0,
    }  # fmt: skip
    assert smart.parse(ANSWERS["sas-grown-defects"]).counts == {"grown_defects": 56, "uncorrected": 0}
    assert smart.parse(ANSWERS["nvme-warning"]).used_percent == 131


def changed(name, **more):
    return smart.parse(json.dumps({**json.loads(ANSWERS[name]), **more}).encode())


def test_a_critical_warning_counts_though_the_drive_says_that_it_passed():
    log = json.loads(ANSWERS["nvme-media-errors"])["nvme_smart_health_information_log"] | {"critical_warning": 1}
    found = changed("nvme-media-errors", nvme_smart_health_information_log=log)
    assert (found.verdict, found.why) == ("failing", "the drive gives a critical warning (0x01)")


def test_a_limit_that_is_crossed_now_counts_though_the_drive_says_that_it_passed():
    found = changed("sata-failing", smart_status={"passed": True}, smartctl={"exit_status": 0x10})
    assert (found.verdict, found.why) == ("failing", "the drive crosses a limit of its own: Reallocated_Sector_Ct")


def test_a_drive_that_is_worn_out_is_doubtful():
    log = json.loads(ANSWERS["nvme-media-errors"])["nvme_smart_health_information_log"]
    found = changed(
        "nvme-media-errors", nvme_smart_health_information_log={**log, "media_errors": 0, "percentage_used": 100}
    )
    assert (found.verdict, found.why) == ("doubtful", "100% of its life of writing is used")


def test_a_smartctl_that_could_not_open_says_nothing_of_health():
    assert changed("virtio", smartctl={"exit_status": 0x0A}).verdict == "unknown"


def test_numbers_that_no_drive_has_are_left_out():
    found = changed("sata-good", temperature={"current": 70000}, power_on_time={"hours": -1})
    assert (found.temperature, found.hours) == (None, None)


def test_too_long_an_answer_is_refused():
    with pytest.raises(FormatError, match="at most"):
        smart.parse(b" " * (smart.MAX_SMART + 1))


@given(altered(SEEDS))
def test_any_bytes_are_a_health_or_an_error_of_ours(case):
    try:
        found = smart.parse(case[1])
    except FormatError:
        return
    assert found.why or found.verdict == "good"
    assert found.why.isprintable()


@given(st.sampled_from(sorted(ANSWERS)), st.data())
def test_any_value_in_any_place(name, data):
    answer = json.loads(ANSWERS[name])
    place = data.draw(st.sampled_from(sorted(answer)))
    inner = answer[place]
    if isinstance(inner, dict) and inner and data.draw(st.booleans()):
        inner[data.draw(st.sampled_from(sorted(inner)))] = data.draw(VALUES)
    else:
        answer[place] = data.draw(VALUES)
    try:
        found = smart.parse(json.dumps(answer).encode())
    except FormatError:
        return
    assert found.why or found.verdict == "good"
