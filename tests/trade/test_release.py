"""A release is of exactly one declaration, by an allowed second person; any flipped bit is refused."""

from datetime import UTC, datetime, timedelta, timezone

import filled
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trade_cases import ALLOWED, AUTHOR, OFFICER, STRANGER, content, declared

from sealift.errors import BadInput, DeclarationInvalid, Refused, SealiftError, SignatureInvalid
from sealift.formats import canonical
from sealift.formats.allowed_signers import AllowedSigners
from sealift.trade import declaration as d
from sealift.trade import release, sections, template

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
WORDS = {"officer": "O. Fficer", "reason": "complete, parties known", "reference": "TC-2026-118"}
COMPLETE = declared()
SIGNED = filled.released(COMPLETE, OFFICER, AUTHOR, NOW, **WORDS)
WRITER = f"writer@example.com {AUTHOR.public_key.line}\n"


def make(declaration=COMPLETE, signer=OFFICER, now=NOW, **changes):
    return filled.released(declaration, signer, AUTHOR, now, **(WORDS | changes))


def test_a_release_holds_for_its_declaration():
    for declaration in (COMPLETE, COMPLETE.raw):
        checked = release.check_release(declaration, SIGNED.data, SIGNED.signature, ALLOWED)
        assert checked.record == SIGNED.record
        assert checked.principal == "officer@example.com"
        assert checked.fingerprint == OFFICER.public_key.fingerprint
        assert checked.declaration_digest == COMPLETE.digest


def test_times_are_written_in_utc():
    there = NOW.astimezone(timezone(timedelta(hours=8)))
    assert make(now=there).record.released_at == "2026-11-23T12:00:00Z"


def flip(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(st.integers(0, len(SIGNED.data) * 8 - 1))
def test_any_flipped_bit_of_the_record_is_refused(bit):
    with pytest.raises(SealiftError):
        release.check_release(COMPLETE, flip(SIGNED.data, bit), SIGNED.signature, ALLOWED)


@given(st.integers(0, len(SIGNED.signature) * 8 - 1))
def test_any_flipped_bit_of_the_signature_is_refused(bit):
    with pytest.raises(SignatureInvalid):
        release.check_release(COMPLETE, SIGNED.data, flip(SIGNED.signature, bit), ALLOWED)


@given(st.integers(0, len(COMPLETE.raw) * 8 - 1))
def test_any_flipped_bit_of_the_declaration_is_refused(bit):
    with pytest.raises((Refused, DeclarationInvalid)):
        release.check_release(flip(COMPLETE.raw, bit), SIGNED.data, SIGNED.signature, ALLOWED)


@pytest.mark.parametrize(
    "changes",
    [
        {"shipper": msgspec.structs.replace(COMPLETE.shipper, legal_name="Somebody Else")},
        {"carriers": [*COMPLETE.carriers[:1], msgspec.structs.replace(COMPLETE.carriers[1], contact="new")]},
        {"drives": [*COMPLETE.drives[:-1], msgspec.structs.replace(COMPLETE.drives[-1], serial="SWAPPED")]},
    ],
)
def test_a_change_of_party_carrier_or_serial_needs_a_new_release(changes):
    changed = d.parse(template.render(content(**changes)).encode(), draft=False)
    with pytest.raises(Refused, match="not of this declaration"):
        release.check_release(changed, SIGNED.data, SIGNED.signature, ALLOWED)
    again = make(changed)
    assert release.check_release(changed, again.data, again.signature, ALLOWED)


def test_the_authors_own_key_is_refused():
    with pytest.raises(Refused, match="own key"):
        make(signer=AUTHOR)
    record = canonical.encode(SIGNED.record)
    anybody = AllowedSigners.parse(f"x@example.com {AUTHOR.public_key.line}".encode())
    with pytest.raises(Refused, match="own key"):
        release.check_release(COMPLETE, record, AUTHOR.sign(record, release.NAMESPACE), anybody)


@pytest.mark.parametrize("name", ["A. Author", " a.  AUTHOR "])
def test_the_authors_name_is_refused(name):
    with pytest.raises(Refused, match="author's name"):
        make(officer=name)


def test_a_release_holds_only_with_the_signature_of_the_declared_author():
    for signer, why in ((STRANGER, "not among the allowed signers"), (OFFICER, "names another key")):
        allowed = AllowedSigners.parse(f"{WRITER}o {OFFICER.public_key.line}".encode())
        changed = msgspec.structs.replace(
            SIGNED.record, author_signature=signer.sign(COMPLETE.raw, release.AUTHOR_NAMESPACE).decode()
        )
        data = canonical.encode(changed)
        with pytest.raises((SignatureInvalid, Refused), match=why):
            release.check_release(COMPLETE, data, OFFICER.sign(data, release.NAMESPACE), allowed)


def test_one_person_under_two_keys_is_refused():
    lines = f"writer@example.com,boss@example.com {AUTHOR.public_key.line}\nboss@example.com {OFFICER.public_key.line}"
    with pytest.raises(Refused, match="the author's: boss"):
        release.check_release(COMPLETE, SIGNED.data, SIGNED.signature, AllowedSigners.parse(lines.encode()))


def test_another_key_of_the_author_is_refused():
    allowed = AllowedSigners.parse(f"{WRITER}boss@example.com,Author@example.com {OFFICER.public_key.line}".encode())
    with pytest.raises(Refused, match="the author's"):
        release.check_release(COMPLETE, SIGNED.data, SIGNED.signature, allowed)


def test_strangers_and_other_namespaces_are_refused():
    signed = make(signer=STRANGER)
    with pytest.raises(SignatureInvalid, match="not among the allowed signers"):
        release.check_release(COMPLETE, signed.data, signed.signature, ALLOWED)
    with pytest.raises(SignatureInvalid, match="namespace"):
        release.check_release(COMPLETE, SIGNED.data, OFFICER.sign(SIGNED.data, "sealift"), ALLOWED)
    elsewhere = AllowedSigners.parse(f'o namespaces="sealift" {OFFICER.public_key.line}'.encode())
    with pytest.raises(SignatureInvalid, match="not allowed in namespace"):
        release.check_release(COMPLETE, SIGNED.data, SIGNED.signature, elsewhere)


def test_keys_are_judged_at_the_time_of_the_release():
    line = OFFICER.public_key.line
    for option, good in (("before", "20261201Z"), ("after", "20261101Z")):
        allowed = AllowedSigners.parse(f'{WRITER}o valid-{option}="{good}" {line}'.encode())
        assert release.check_release(COMPLETE, SIGNED.data, SIGNED.signature, allowed)
    for option, bad, why in (("before", "20261101Z", "no longer"), ("after", "20261201Z", "not yet")):
        allowed = AllowedSigners.parse(f'{WRITER}o valid-{option}="{bad}" {line}'.encode())
        with pytest.raises(SignatureInvalid, match=why):
            release.check_release(COMPLETE, SIGNED.data, SIGNED.signature, allowed)


def test_incomplete_declarations_are_not_released():
    draft = d.parse(template.render(content(end_user=sections.Party(), leg="")).encode(), draft=True)
    with pytest.raises(Refused, match=r"end_user\.legal_name"):
        make(draft)
    with pytest.raises(DeclarationInvalid):
        release.check_release(draft.raw, SIGNED.data, SIGNED.signature, ALLOWED)


@pytest.mark.parametrize("name", ["officer", "reason", "reference"])
@pytest.mark.parametrize("text", ["", "  ", "a\nb", "x" * 501, "a\u202eb", "\x00"])
def test_officer_reason_and_reference_are_one_line_each(name, text):
    with pytest.raises(BadInput) as caught:
        make(**{name: text})
    assert "regex" not in str(caught.value)
    assert "one line of" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"version": 1', b'"version": 2'),
        (b"sealift-release", b"sealift-receipt"),
        (b"2026-11-23", b"2026-13-23"),
        (b"false", b"true"),
        (b'"SL-2026-4F7K2Q"', b'"SL-2026-4F7K2X"'),
        (b'"reason"', b'"value": 1,\n  "reason"'),
        (b"  ", b" "),
        (b"O. Fficer", "O. \u202eFficer".encode()),
    ],
)
def test_signed_records_of_another_kind_or_form_are_refused(old, new):
    data = SIGNED.data.replace(old, new)
    assert data != SIGNED.data
    with pytest.raises(SealiftError):
        release.check_release(COMPLETE, data, OFFICER.sign(data, release.NAMESPACE), ALLOWED)


def test_a_rehearsal_shows_in_its_release():
    rehearsal = declared(rehearsal=True)
    signed = make(rehearsal)
    assert signed.record.rehearsal
    assert b'"rehearsal": true' in signed.data
