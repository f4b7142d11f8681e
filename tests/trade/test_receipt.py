"""The receipt: what it says, who signed it, and that nothing else is one."""

import contextlib
import re
from pathlib import Path

import erasures as e
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealift.errors import FormatError, SignatureInvalid
from sealift.formats import canonical
from sealift.formats.manifest import FileRef
from sealift.trade import receipt as r

SPEC = Path(__file__).parents[2] / "docs" / "spec"
DECLARED = e.declared()
RECORD = e.record(
    DECLARED,
    e.group(0, "intact", ("SER1", "SER2")),
    e.group(1, "rebuilt", ("SER3", "SER4"), {"SER3": "lost"}, first=3),
)
GOOD = r.encode(RECORD)
SIGNED = e.RECEIVER.sign(GOOD, r.NAMESPACE)


def changed(**fields):
    return msgspec.structs.replace(RECORD, **fields)


def test_it_comes_back_with_who_signed_it():
    found = r.check_receipt(GOOD, SIGNED, e.ALLOWED)
    assert found.record == RECORD
    assert (found.principal, found.fingerprint) == ("dock@example.org", e.RECEIVER.public_key.fingerprint)
    assert found.file.bytes == len(GOOD)
    assert r.is_whole(found.record)


@pytest.mark.parametrize(
    ("signature", "match"),
    [
        (e.OFFICER.sign(GOOD, r.NAMESPACE), "only in 'sealift-release'"),
        (e.OPERATOR.sign(GOOD, r.NAMESPACE), "only in 'sealift-certificate'"),
        (e.RECEIVER.sign(GOOD, "sealift-certificate"), "namespace"),
        (e.RECEIVER.sign(GOOD + b" ", r.NAMESPACE), "not over these bytes"),
        (b"", "armored|SSH"),
    ],
)
def test_a_signature_of_another_person_kind_or_text_is_refused(signature, match):
    with pytest.raises(SignatureInvalid, match=match):
        r.check_receipt(GOOD, signature, e.ALLOWED)


one, two = RECORD.groups
rebuilt_but_intact = msgspec.structs.replace(
    two, drives=[msgspec.structs.replace(drive, state="intact") for drive in two.drives]
)


lost_elsewhere = msgspec.structs.replace(
    two, drives=[msgspec.structs.replace(two.drives[0], made_on=""), two.drives[1]]
)


def with_first(group_state="intact", **fields):
    """Group 0 with another first drive."""
    first, *rest = one.drives
    return msgspec.structs.replace(one, state=group_state, drives=[msgspec.structs.replace(first, **fields), *rest])


@pytest.mark.parametrize(
    ("record", "match"),
    [
        (changed(groups=[two, one]), "not in order"),
        (changed(groups=[one, one]), "not in order"),
        (changed(groups_total=1), "more than the shipment has"),
        (changed(groups=[msgspec.structs.replace(one, data=2), two]), "do not fit its geometry"),
        (changed(groups=[msgspec.structs.replace(one, drives=one.drives[::-1]), two]), "order of their slots"),
        (changed(groups=[one, rebuilt_but_intact]), "exactly if all its drives are"),
        (changed(groups=[msgspec.structs.replace(one, state="rebuilt"), two]), "exactly if all its drives are"),
        (changed(groups=[one, e.group(1, "intact", ("ser1", "SER4"), first=3)]), "same serial"),
        (changed(groups=[one, e.group(1, "intact", ("SER3", "SER4"), first=2)]), "same number"),
        (changed(reports=[e.REF, e.REF]), "not sorted by digest"),
        (changed(reports=[FileRef(bytes=1, blake3=each * 32) for each in ("cd", "ab")]), "not sorted by digest"),
        (changed(groups=[with_first(read_at="2026-11-20T10:00:01Z")]), "read after the receipt was made"),
        (changed(groups=[with_first(read_at="2026-02-30T10:00:01Z")]), "there is no time"),
        (changed(groups=[with_first(state="lost", group_state="rebuilt", read_at="", read_from="medium")]), "says how"),
        (changed(groups=[with_first(read_at="")]), "g0s0 is intact, and when it was read says otherwise"),
        (changed(groups=[with_first(state="unseen")], reports=[e.REF]), "exactly if all its drives are"),
        (changed(groups=[with_first(group_state="unseen", state="unseen")]), "g0s0 is unseen, and when it was read"),
        (changed(groups=[with_first(group_state="rebuilt", state="rebuilt", read_at="")]), "g0s0 is rebuilt, and when"),
        (changed(groups=[with_first(made_on="WD-9")]), "g0s0 is intact, and made again on another medium"),
        (changed(groups=[one, lost_elsewhere]), "g1s0 is lost, and made again on another medium"),
        (changed(groups=[with_first("rebuilt", state="rebuilt", made_on="ser1")]), "another medium, which is itself"),
        (changed(drives_total=3), "more than the shipment has"),
        (changed(groups=[one, e.group(1, "intact", ("SER3", "SER4"), first=100)]), "beyond the drives"),
        (changed(at="2026-02-30T00:00:00Z"), "there is no time"),
        (changed(consignment_id="SL\u202e1"), "U[+]202E"),
    ],
)
def test_a_receipt_that_contradicts_itself_is_refused(record, match):
    with pytest.raises(FormatError, match=match):
        r.decode(canonical.encode(record))


def test_other_forms_of_the_same_are_refused():
    for data in (GOOD[:-1], GOOD + b"\n", GOOD.replace(b"  ", b" "), b"{}", b"", b"\xff", b"[" * 100_000):
        with pytest.raises(FormatError):
            r.decode(data)
    with pytest.raises(FormatError, match="at most"):
        r.decode(bytes(r.MAX_RECEIPT + 1))


def test_a_part_is_not_the_whole():
    assert not r.is_whole(changed(groups=[one]))
    lost = e.group(1, "lost", ("SER3", "SER4"), first=3)
    assert not r.is_whole(changed(groups=[one, lost]))


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_no_byte_can_be_another(at, byte):
    altered = GOOD[:at] + bytes([byte]) + GOOD[at + 1 :]
    with contextlib.suppress(FormatError, SignatureInvalid):
        assert r.check_receipt(altered, SIGNED, e.ALLOWED).record == RECORD
        assert altered == GOOD


# --- the specification


def test_the_specification_says_what_the_code_does():
    page = (SPEC / "receipt.md").read_text()
    shown = re.search(r"```json\n(.*?)```", page, re.DOTALL)[1].encode()
    assert canonical.encode(r.decode(shown)) == shown
    for kind in (r.ReceiptRecord, r.Receiver, r.ReceiptGroup, r.ReceiptDrive):
        section = page.partition(f"\n### {kind.__name__}\n")[2].partition("\n#")[0]
        fields = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
        assert fields == [field.encode_name for field in msgspec.structs.fields(kind)], kind.__name__
    for name, value in re.findall(r"^\| `(MAX_\w+)` \| (\d+) \|", page, re.MULTILINE):
        assert getattr(r, name) == int(value)
