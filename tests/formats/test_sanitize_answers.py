"""What nvme and hdparm answer becomes records, or an error of ours, whatever the bytes are."""

import contextlib
import struct

import pytest
import transcripts
from hypothesis import given
from hypothesis import strategies as st

from sealift.errors import FormatError
from sealift.formats import sanitize


def answers(name, word):
    return [bytes(answer.output) for words, answer, _ in transcripts.parse(transcripts.load(name)) if word in words]


def istdout(**words):
    ((_, answer, _),) = transcripts.parse("$ hdparm\n" + transcripts.identify(**words))
    return answer.output


def test_a_controller():
    found = sanitize.parse_controller(answers("nvme-block", "id-ctrl")[0])
    assert found[:3] == ("S6CANX0T000001", "MZWLR15THALA-00007", "MPK92B5Q")
    assert (found.crypto, found.block, found.overwrite) == (False, True, False)


@pytest.mark.parametrize("bit", range(3))
def test_capabilities_are_each_their_own_bit(bit):
    data = bytearray(4096)
    data[328] = 1 << bit
    found = sanitize.parse_controller(bytes(data))
    assert [found.crypto, found.block, found.overwrite] == [place == bit for place in range(3)]


def test_a_log_in_progress_and_one_that_is_complete():
    _, busy, _, done = [sanitize.parse_sanitize_log(data) for data in answers("nvme-block", "sanitize-log")]
    assert busy == (sanitize.IN_PROGRESS, 0x2000, sanitize.BLOCK, False)
    assert done == (sanitize.COMPLETED, 0xFFFF, sanitize.BLOCK, True)


@pytest.mark.parametrize("status", [5, 6, 7])
def test_a_status_of_no_specification_is_refused(status):
    with pytest.raises(FormatError, match="means nothing"):
        sanitize.parse_sanitize_log(struct.pack("<HH508x", 0, status))


@pytest.mark.parametrize("length", [0, 511, 513, 4095, 4097])
def test_answers_of_another_length_are_refused(length):
    for parse in (sanitize.parse_controller, sanitize.parse_sanitize_log):
        with pytest.raises(FormatError, match="are wanted"):
            parse(bytes(length))


def test_an_identity():
    found = sanitize.parse_identify(istdout(sanitize=0x9000, security=0x21, minutes=(45, 0x8000 | 600)))
    assert found[:3] == ("ZL2A0001", "ST20000NM007D", "SN03")
    assert (found.sanitize, found.block, found.crypto, found.overwrite) == (True, True, False, False)
    assert (found.security, found.enhanced, found.frozen, found.minutes) == (True, True, False, 90)
    assert found.enhanced_minutes == 1200


@pytest.mark.parametrize(
    ("bit", "name"), [(1, "enabled"), (2, "locked"), (3, "frozen"), (4, "expired"), (5, "enhanced")]
)
def test_security_is_each_its_own_bit_and_nothing_where_it_is_not_supported(bit, name):
    assert getattr(sanitize.parse_identify(istdout(security=1 | 1 << bit)), name)
    assert not getattr(sanitize.parse_identify(istdout(security=1 << bit)), name)


def test_a_name_in_hexadecimal_is_no_word():
    assert sanitize.parse_identify(b"/dev/abcd:\n" + istdout()).serial == "ZL2A0001"


@pytest.mark.parametrize("data", [b"", b"\n/dev/loop0:\n", istdout()[:-5], istdout() + b"0000\n"])
def test_too_few_words_or_too_many_are_refused(data):
    with pytest.raises(FormatError, match="256 are wanted"):
        sanitize.parse_identify(data)


def test_hdparm_may_not_say_more_than_it_has_to():
    with pytest.raises(FormatError, match="at most 65,536"):
        sanitize.parse_sanitize_status(bytes(sanitize.MAX_TEXT_OUTPUT + 1))


def test_a_status_in_process_and_one_that_is_complete():
    busy = sanitize.parse_sanitize_status(
        b"    State:    SD2 Sanitize operation In Process\n    Progress: 0x41c2 (25%)\n"
    )
    assert busy == ("SD2", 0x41C2, False)
    done = sanitize.parse_sanitize_status(
        b"    State:    SD0 Sanitize Idle\n    Last Sanitize Operation Completed Without Error\n"
    )
    assert done == ("SD0", 0, True)
    for text in (b"", b"SANITIZE feature set is not supported\n", b" State: SD0 x\n State: SD2 y\n"):
        with pytest.raises(FormatError, match="no state"):
            sanitize.parse_sanitize_status(text)


@given(st.binary(max_size=600), st.integers(0, 4095))
def test_any_bytes_are_a_record_or_an_error_of_ours(data, at):
    whole = bytearray(answers("nvme-block", "id-ctrl")[0])
    whole[at : at + len(data)] = data
    for parse in (sanitize.parse_sanitize_log, sanitize.parse_identify, sanitize.parse_sanitize_status):
        for each in (data, bytes(whole[:512]), istdout() + data):
            with contextlib.suppress(FormatError):
                parse(each)
    with contextlib.suppress(FormatError):
        found = sanitize.parse_controller(bytes(whole[:4096]))
        assert all(text is None or text.isprintable() for text in found[:3])
