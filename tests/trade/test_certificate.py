"""No certificate without the drive's own word, what was read back, a verified delivery and no legal hold."""

import contextlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import blake3
import erasures as e
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealift.errors import FormatError, Refused, SignatureInvalid
from sealift.formats import canonical
from sealift.formats.manifest import FileRef
from sealift.trade import certificate as c

SPEC = Path(__file__).parents[2] / "docs" / "spec"
LOG = b'{"at":"2026-11-21T09:00:00.000000Z","what":"begun"}\n'
SIZE = 15_360_950_534_144
RECORD = c.Certificate(
    shipment=e.SHIPMENT,
    consignment_id=e.CONSIGNMENT,
    rehearsal=False,
    media=c.Media(
        manufacturer="Samsung", model="MZWLR15THALA-00007", serial="S6CANX0T000001", serial_from="drive",
        firmware="MPK92B5Q", kind="solid state", size_bytes=SIZE,
        source=f"shipment {e.SHIPMENT}, consignment {e.CONSIGNMENT}: g0s0, drive 1 of 3",
    ),
    method="purge",
    technique="nvme-sanitize-block",
    standard="NIST SP 800-88 Rev. 2, Purge; IEEE Std 2883-2022",
    tool=c.Tool(name="nvme", version="2.3", sealift="0.1.0"),
    begun_at="2026-11-21T09:00:00Z",
    ended_at="2026-11-21T09:02:10Z",
    completion=c.Completion(
        confirmed_by="the sanitize status log",
        answer="SSTAT 1 (completed, nothing written since), SANACT 2, seen in progress",
    ),
    verification=c.Verification(
        mode="sample", places=2002, bytes=131_203_072, of_bytes=SIZE, expected="nothing of before", markers=1001
    ),
    validation="accept",
    validation_reasons=[],
    not_checked=["15,360,819,331,072 bytes outside the places that were read back", "copies in other places"],
    people=[
        c.Person(
            name="Dana Dock", title="dock technician", date="2026-11-21T09:02:10Z", place="Lisbon",
            contact="dana@example.org",
        )
    ],
    destination="back to Example Research GmbH",
    delivery_verified=c.Delivery(
        receipt=e.REF, at=e.AT, group=0, state="intact", signer="dock@example.org",
        fingerprint=e.RECEIVER.public_key.fingerprint,
    ),
    legal_hold_checked=c.HoldCheck(
        at="2026-11-21T08:59:58Z",
        declarations=[c.HoldStatement(declaration=e.REF, legal_hold="none", released=True)],
    ),
    log=FileRef(bytes=len(LOG), blake3=blake3.blake3(LOG).hexdigest()),
)  # fmt: skip
GOOD = c.encode(RECORD)
SIGNED = e.OPERATOR.sign(GOOD, c.NAMESPACE)


def changed(**fields):
    """The bytes of a record in which fields are others; `part__field` reaches into a part."""
    record = RECORD
    for name, value in fields.items():
        part, _, inner = name.partition("__")
        new = msgspec.structs.replace(getattr(record, part), **{inner: value}) if inner else value
        record = msgspec.structs.replace(record, **{part: new})
    return canonical.encode(record)


def test_it_comes_back_with_who_signed_it():
    found = c.check_certificate(GOOD, SIGNED, LOG, e.ALLOWED)
    assert (found.record, found.principal) == (RECORD, "dana@example.org")


def test_another_log_is_refused():
    with pytest.raises(Refused, match="not the one that the certificate of S6CANX0T000001 binds"):
        c.check_certificate(GOOD, SIGNED, LOG + b" ", e.ALLOWED)


@pytest.mark.parametrize("by", [e.RECEIVER, e.OFFICER, e.signer(9)])
def test_who_may_not_sign_certificates_signs_none(by):
    with pytest.raises(SignatureInvalid):
        c.check_certificate(GOOD, by.sign(GOOD, c.NAMESPACE), LOG, e.ALLOWED)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (changed(method="clear", technique="overwrite"), "reads back as zeros"),
        (changed(technique="overwrite", verification__expected="zeros"), "it does not purge"),
        (changed(technique="discard"), "it does not purge"),
        (changed(technique="ata-security-erase"), "it does not purge"),
        (changed(method="clear", technique="discard", verification__expected="zeros"), "every byte was read back"),
        (changed(media__serial_from="label"), "only a label says which drive it was"),
        (changed(verification__mode="full"), "reads every byte"),
        (changed(verification__of_bytes=SIZE + 512), "does not fit the drive"),
        (changed(verification__bytes=SIZE + 1), "does not fit the drive"),
        (changed(verification__bytes=0), "does not parse"),
        (changed(verification__markers=0), "does not parse"),
        (changed(verification__result="failed"), "does not parse"),
        (changed(verification__read_from="cache"), "does not parse"),
        (changed(completion__answer=""), "does not parse"),
        (changed(validation="reject"), "does not parse"),
        (changed(validation="escalate"), "exactly if there is a reason"),
        (changed(validation_reasons=["it is old"]), "exactly if there is a reason"),
        (changed(not_checked=[]), "does not parse"),
        (changed(people=[]), "does not parse"),
        (changed(technique="nvme-format"), "does not parse"),
        (changed(delivery_verified__state="lost"), "not verified"),
        (changed(delivery_verified__at="2026-11-21T09:00:01Z"), "before the delivery was verified"),
        (changed(ended_at="2026-11-21T08:59:59Z"), "ended before it began"),
        (changed(legal_hold_checked__at="2026-11-21T09:00:01Z"), "only after it had begun"),
        (
            changed(
                legal_hold_checked__declarations=[c.HoldStatement(declaration=e.REF, legal_hold="", released=True)]
            ),
            "nobody said",
        ),
        (
            changed(
                legal_hold_checked__declarations=[c.HoldStatement(declaration=e.REF, legal_hold="court", released=True)]
            ),
            "does not parse",
        ),
        (changed(destination="home\u2028"), "U[+]2028"),
    ],
)
def test_what_is_no_certificate(data, match):
    with pytest.raises(FormatError, match=match):
        c.decode(data)


@pytest.mark.parametrize("name", [field.name for field in msgspec.structs.fields(c.Certificate)])
def test_no_field_may_be_missing(name):
    values = json.loads(GOOD)
    del values[name]
    data = msgspec.json.format(msgspec.json.encode(values), indent=2) + b"\n"
    with pytest.raises(FormatError):
        c.decode(data)


def test_other_forms_of_the_same_are_refused():
    for data in (GOOD[:-1], GOOD + b"\n", GOOD.replace(b"  ", b" "), b"{}", b"", b"\xff", b"[" * 100_000):
        with pytest.raises(FormatError):
            c.decode(data)
    with pytest.raises(FormatError, match="at most"):
        c.decode(bytes(c.MAX_CERTIFICATE + 1))


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_no_byte_can_be_another(at, byte):
    altered = GOOD[:at] + bytes([byte]) + GOOD[at + 1 :]
    with contextlib.suppress(FormatError, SignatureInvalid, Refused):
        c.check_certificate(altered, SIGNED, LOG, e.ALLOWED)
        assert altered == GOOD


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_ssh_keygen_checks_it_as_its_text_says(tmp_path):
    name = "S6CANX0T000001-20261121T090000Z.certificate.json"
    (tmp_path / name).write_bytes(GOOD)
    (tmp_path / f"{name}.sig").write_bytes(SIGNED)
    (tmp_path / "SIGNERS").write_text(e.SIGNERS)
    command = re.search(r"^  (ssh-keygen .*)$", c.as_text(RECORD, name), re.MULTILINE)[1]
    command = command.replace("-I WHO", "-I dana@example.org")
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_text_says_all_that_the_record_says():
    text = " ".join(c.as_text(RECORD, "x.json").split())

    def walk(value):
        for each in value.values() if isinstance(value, dict) else value:
            if isinstance(each, (dict, list)):
                yield from walk(each)
            elif isinstance(each, str):
                yield each

    for word in walk(msgspec.to_builtins(RECORD)):
        if word not in {"sealift-certificate", "drive", "sample", "none"}:  # these in other words
            assert word in text, word
    assert "legal advice" in text
    rehearsal = c.as_text(msgspec.structs.replace(RECORD, rehearsal=True), "x.json")
    assert rehearsal.startswith("REHEARSAL")


# --- the specification


def test_the_specification_says_what_the_code_does():
    page = (SPEC / "certificate.md").read_text()
    assert re.search(r"```json\n(.*?)```", page, re.DOTALL)[1].encode() == GOOD
    parts = (
        c.Certificate, c.Media, c.Tool, c.Completion, c.Verification, c.Person, c.Delivery, c.HoldCheck,
        c.HoldStatement,
    )  # fmt: skip
    for kind in parts:
        section = page.partition(f"\n### {kind.__name__}\n")[2].partition("\n#")[0]
        fields = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
        assert fields == [field.encode_name for field in msgspec.structs.fields(kind)], kind.__name__
    for name, value in re.findall(r"^\| `(MAX_\w+)` \| (\d+) \|", page, re.MULTILINE):
        assert getattr(c, name) == int(value)
