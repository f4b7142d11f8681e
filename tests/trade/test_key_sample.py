"""Samples, codes and answers: one form, nothing altered is taken, and age alone opens them."""

import random

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st
from keys_cases import HOLDERS, ID, NOW, challenged, identity, opened

from sealift.errors import BadInput, FormatError, IdentityMismatch, SealiftError
from sealift.formats import age, age_header, canonical
from sealift.trade import key_sample as ks

CODE = ks.code_of("ABCDEFGHJKLMNPQR2345")
SAMPLE = ks.Sample(ID, "KC-20261126-0123456789AB", "Petra Petrel", "Petrel Compute", "2026-11-26T12:00:00Z", CODE)


@drawn(st.text(ks.ALPHABET, min_size=20, max_size=20), st.booleans(), st.sampled_from(["-", " ", "", " - "]))
def test_a_code_is_taken_however_it_is_written(secret, lower, between):
    code = ks.code_of(secret)
    text = f"code: {code.replace('-', between)} "
    assert ks.parse_code(text.lower() if lower else text) == code


def test_one_wrong_letter_and_two_swapped_are_seen():
    letters = CODE.replace("-", "")
    for at, letter in enumerate(letters):
        for other in ks.ALPHABET:
            if other != letter:
                with pytest.raises(BadInput, match="misheard"):
                    ks.parse_code(letters[:at] + other + letters[at + 1 :])
    for at in range(len(letters) - 1):
        swapped = letters[:at] + letters[at + 1] + letters[at] + letters[at + 2 :]
        if swapped != letters:
            with pytest.raises(BadInput, match="misheard"):
                ks.parse_code(swapped)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "here are 0"),
        (CODE[:-1], "here are 23"),
        (CODE + "A", "here are 25"),
        ("0" + CODE[1:], "'0'"),
        ("O" + CODE[1:], "'O'"),
        ("\u0661" + CODE[1:], "no code has"),
        ("A" * 300, "more than 200 characters"),
    ],
)
def test_what_is_no_code_is_refused_with_a_hint(text, why):
    with pytest.raises(BadInput, match=why) as caught:
        ks.parse_code(text)
    assert "read out again" in caught.value.hint


def test_codes_are_drawn_anew():
    codes = {ks.new_code() for _ in range(1000)}
    assert len(codes) == 1000
    assert all(ks.parse_code(code) == code for code in codes)
    assert {letter for code in codes for letter in code} == {*ks.ALPHABET, "-"}


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp", "Cf")), min_size=1, max_size=60).filter(
    lambda text: text == text.strip()
)


@drawn(NAMES, NAMES | st.just(""))
def test_a_sample_reads_as_it_was_rendered(name, organisation):
    sample = SAMPLE._replace(name=name, organisation=organisation)
    assert ks.parse(ks.render(sample)) == sample


@pytest.mark.parametrize(
    "sample",
    [
        SAMPLE._replace(consignment_id="x"),
        SAMPLE._replace(challenge_id="KC-1"),
        SAMPLE._replace(name=""),
        SAMPLE._replace(name=" spaced"),
        SAMPLE._replace(name="n" * 501),
        SAMPLE._replace(name="two\u2028lines"),
        SAMPLE._replace(name="turned \u202e round"),
        SAMPLE._replace(name="bell\x07"),
        SAMPLE._replace(made_at="2026-02-30T12:00:00Z"),
        SAMPLE._replace(made_at="2026-2-03T12:00:00Z"),
        SAMPLE._replace(code=CODE[:-1] + ("A" if CODE[-1] != "A" else "B")),
        SAMPLE._replace(code=CODE.lower()),
    ],
)
def test_a_sample_with_a_wrong_field_is_refused(sample):
    with pytest.raises(FormatError):
        ks.parse(ks.render(sample))


def test_other_text_in_a_sample_is_refused():
    text = ks.render(SAMPLE)
    for data in (b"", b"\xff", text[:-1], text + b"\n", text.replace(b"today", b"never"), text.replace(b"\n", b"\r\n")):
        with pytest.raises(FormatError):
            ks.parse(data)
    lines = text.split(b"\n")
    assert lines[0] == b"sealift-key-sample 1"
    with pytest.raises(FormatError, match="another version"):
        ks.parse(text.replace(b"sample 1", b"sample 2"))


def test_every_byte_of_a_sealed_sample_counts():
    data = ks.seal(SAMPLE, HOLDERS[0].recipient)
    assert ks.unseal(data, [identity(1)]) == SAMPLE
    with pytest.raises(IdentityMismatch):
        ks.unseal(data, [identity(2)])
    for at in range(len(data)):
        with pytest.raises(SealiftError):
            ks.unseal(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], [identity(1)])
        with pytest.raises(SealiftError):
            ks.unseal(data[:at], [identity(1)])


def test_what_was_sealed_by_others_is_no_sample():
    for plain in (b"", b"please pay", ks.render(SAMPLE) * 2, b"\n" * 60_000):
        with pytest.raises(FormatError):
            ks.unseal(age.encrypt(plain, [identity(1).recipient]), [identity(1)])
    with pytest.raises(FormatError, match="at most 65,536"):
        ks.unseal(age.encrypt(bytes(70_000), [identity(1).recipient]), [identity(1)])


def test_the_sample_has_one_recipient_and_the_code_is_nowhere_else():
    before, sealed = challenged()
    answers = opened(sealed)
    assert [each.name for each in answers] == ["Person 1", "Person 2"]
    for each, answer in zip(sealed, answers, strict=True):
        assert len(age_header.parse_header(each.data).stanzas) == 1
        assert answer.code.encode() not in before.data
        assert answer.challenge_id == each.challenge_id
    assert sealed[0].file == f"Person-1.{sealed[0].challenge_id}.sample.age"


def test_an_answer_in_other_bytes_is_refused():
    data = canonical.encode(SAMPLE.answer)
    assert ks.decode_answer(data) == SAMPLE.answer
    chance = random.Random(1)
    for at in range(len(data)):
        for value in {data[at] ^ 1, data[at] ^ 0x20, chance.randrange(256)} - {data[at]}:
            try:
                answer = ks.decode_answer(data[:at] + bytes([value]) + data[at + 1 :])
            except FormatError:
                continue
            assert answer != SAMPLE.answer
    for longer in (data + b" ", data[:-1], b" " + data, data + bytes(20_000)):
        with pytest.raises(FormatError):
            ks.decode_answer(longer)


def test_the_challenge_ids_are_of_the_day():
    assert ks.new_challenge_id(NOW).startswith("KC-20261126-")
    assert ks.new_challenge_id(NOW) != ks.new_challenge_id(NOW)
