"""Targets over the papers of a shipment: declaration, rules, screening, keys, custody, receipts, certificates, audits.

What holds for each is what holds for all (targets.py). Nothing here needs atheris.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import zlib
from datetime import UTC, date, datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from unittest import mock

import audits
import msgspec
import receivings
import screening_lists
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace
from targets import ROOT, VECTORS, canonical_record, each, fixed, known_signers, sealed_files, target, vectors

from sealift.errors import SealiftError
from sealift.formats import (
    age,
    age_keys,
    allowed_signers,
    audit,
    canonical,
    sshsig,
    strict,
    unlock,
)
from sealift.formats import manifest as mf
from sealift.reading import keys as reading_keys
from sealift.stages import audit as audit_stage
from sealift.stages import audit_collect, receive
from sealift.trade import certificate as certificates
from sealift.trade import (
    custody,
    custody_event,
    custody_graph,
    discrepancy,
    gate,
    key_sample,
    keys,
    labels,
    lists,
    lists_csv,
    lists_detect,
    lists_us,
    lists_xml,
    matching,
    revision,
    rules,
    screener,
    screening,
    template,
    typeset,
    worksheet,
)
from sealift.trade import custody_form as custody_forms
from sealift.trade import declaration as declarations
from sealift.trade import receipt as receipts
from sealift.trade import release as releases
from sealift.trade import source_release as source_releases
from sealift.trade import unlock as unlocks
from sealift.trade.signing import Signer

if TYPE_CHECKING:
    from collections.abc import Callable


@target(
    lambda: [
        sealed_files()[mf.SEAL_FILES[2]],
        template.render(declarations.blank("SL-2026-SEEDED", date(2026, 11, 26))).encode(),
    ]
)
def declaration(data: bytes) -> None:
    """declaration.toml, as a draft and complete; written again it says the same."""
    found, faults = declarations.review(data)
    assert found is not None or faults
    with contextlib.suppress(SealiftError):
        parsed = declarations.parse(data, draft=True)
        later = revision.next_of(data, parsed, data)
        assert declarations.parse(later, draft=True).revision == parsed.revision + 1
    now = datetime(2026, 11, 26, tzinfo=UTC)
    verdict = None if found is None else gate.evaluate(found, rules.shipped(), gate.Facts(), now)
    assert verdict is None or verdict.rehearsal or not verdict.open, "nobody has looked, and it is open"
    declarations.parse(data, draft=False)


@target(lambda: [rules.shipped().raw, *(path.read_bytes() for path in sorted((VECTORS / "rules").iterdir()))])
def release_rules(data: bytes) -> None:
    """rules.toml: what differs from the rules shipped is named; what may be released by can be looked at again."""
    each(lambda: rules.kept(data))
    parsed = rules.parse(data)
    assert rules.kept(data).rules == parsed
    differs = any(rule not in rules.shipped().rules for rule in parsed.rules)
    assert parsed.changed or not differs


@target(lambda: [sealed_files()[mf.SEAL_FILES[3]]], 1 << 13)
def release(data: bytes) -> None:
    """release.json, alone and with the declaration that it is of."""
    good = sealed_files()
    canonical_record(data, releases.decode)
    each(*(lambda t=text: releases.check_release(good[mf.SEAL_FILES[2]], t, good[mf.SEAL_FILES[4]], known_signers())
           for text in (data, fixed(data))))  # fmt: skip


def _receipts() -> list[bytes]:
    ref = mf.FileRef(bytes=1, blake3="ab" * 32)
    states: list[tuple[receipts.State, receipts.State]] = [("intact", "intact"), ("rebuilt", "lost")]
    groups = [
        receipts.ReceiptGroup(
            group=number, manifest=ref, data=1, parity=1, state=state,
            drives=[
                receipts.ReceiptDrive(
                    id=mf.drive_id(number, slot), number=2 * number + slot + 1, serial=f"S{number}{slot}", state=each,
                    read_at="2026-11-20T09:00:00Z" if each == "intact" else "",
                )
                for slot, each in enumerate(["intact", last])
            ],
        )
        for number, (state, last) in enumerate(states)
    ]  # fmt: skip
    record = receipts.ReceiptRecord(
        shipment="5a" * 8, consignment_id="SL-1", rehearsal=False, declaration=ref, seal=ref,
        received_by=receipts.Receiver(name="Rui", organisation="Petrel", contact="c"), at="2026-11-20T10:00:00Z",
        reports=[ref], groups_total=2, drives_total=4, groups=groups,
    )  # fmt: skip
    return [receipts.encode(record)]


@target(_receipts)
def receipt(data: bytes) -> None:
    """receipt.json."""
    canonical_record(data, receipts.decode)


@target(lambda: [spec_example("source-release.md")])
def source_release(data: bytes) -> None:
    """source-release.json."""
    canonical_record(data, source_releases.decode)


@cache
def _arrived() -> receivings.World:
    return receivings.make(lengths=[[3, 2]])


def _arrivals() -> list[bytes]:
    world = _arrived()
    damaged = world.drives()
    damaged[0].put(mf.SUMS, b"x")
    damaged[1].put(mf.pack_name(0, mf.role_of(0, 1, 3), 2), b"x")
    drives = (world.drives(), damaged, world.drives("g0s0", "g1s1"))
    return [msgspec.json.encode(world.report(each)) for each in drives]


@cache
def _one_arrival() -> bytes:
    return _arrivals()[2]


@target(_arrivals, 1 << 14)
def received(data: bytes) -> None:
    """A report, weighed for a receipt, with one that is good or alone; the receipt, and what is told of it."""
    trusted, good = _arrived().trusted, _one_arrival()
    now = datetime(2100, 1, 1, tzinfo=UTC)
    for parts, final in (([data], False), ([data, good], True)):
        weighed = receive.weigh(trusted, [(str(at), part) for at, part in enumerate(parts)], now, final=final)
        if weighed.groups:
            record = receive.record_of(trusted, weighed, receivings.WHO, now)
            assert receipts.decode(receipts.encode(record)) == record
            found = discrepancy.compare(trusted.seal, trusted.declaration, trusted.officer, record, weighed.why)
            if found is not None:
                assert strict.unprintable(discrepancy.as_text(found).replace("\n", "")) is None
                discrepancy.form(found, {"name": "Rui", "org": "Petrel", "key": ""}, weighed.why)


def spec_example(page: str) -> bytes:
    """The first JSON that a page of the format shows."""
    text = (ROOT / "docs" / "spec" / page).read_text()
    return text.partition("```json\n")[2].partition("```")[0].encode()


def _certificates() -> list[bytes]:
    return [spec_example("certificate.md")]


@target(_certificates)
def certificate(data: bytes) -> None:
    """certificate.json, and its text for people: lines that print, whatever the fields are."""

    def shown(record: certificates.Certificate) -> certificates.Certificate:
        text = certificates.as_text(record, "x.json")
        assert strict.unprintable(text.replace("\n", "")) is None
        return record

    canonical_record(data, lambda text: shown(certificates.decode(text)))


def _custody() -> tuple[custody_event.CustodyEvent, Signer]:
    key = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
    signer = Signer("", sshsig.public_key_of(key), key)
    empty = custody_event.Checkpoint(events=0, newest=[])
    form = custody_forms.parse(_custody_forms()[1])
    now = datetime(2026, 11, 25, tzinfo=UTC)
    return custody_forms.build(form, empty, now=now, photo=lambda _: "ab" * 32, event=lambda _: "cd" * 32), signer


def _custody_forms() -> list[bytes]:
    key = sshsig.public_key_of(Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)).line
    empty = custody_forms.template("SL-2026-SEEDED", "+08:00", [["A1", "A2"], ["B1"]])
    full = re.sub(r"^key = .*$", f'key = "{key}"', empty, flags=re.MULTILINE).replace('= ""', '= "S"')
    for field, value in {"event_type": "seal", "at": "2026-11-25T14:30:00+08:00", "officer_ref": "", "paper_photo": "",
                         "seal_class": "H", "seal_checked": "intact", "condition": "good"}.items():  # fmt: skip
        full = re.sub(rf"^{field} = .*$", f'{field} = "{value}"', full, flags=re.MULTILINE)
    return [empty.encode(), full.encode()]


def _custody_seeds() -> list[bytes]:
    seal, _ = _custody()
    said = custody_event.Unlocked(
        shipment="0123456789abcdef", seal=mf.FileRef(bytes=1, blake3="ab" * 32), job="run-7", recipients=["age1q"],
        valid_until="2026-12-03T08:00:00Z", keys=9, file=mf.FileRef(bytes=2, blake3="cd" * 32),
    )  # fmt: skip
    keys = replace(seal, event_type="unlock", items=[], officer_ref="", unlock=said)
    return [custody_event.encode(each).data for each in (seal, keys)]


@target(_custody_seeds, 1 << 13)
def custody_record(data: bytes) -> None:
    """An event of custody, alone, and as an event of a log that is signed and has its digest."""
    canonical_record(data, custody_event.decode)
    good, signer = _custody()
    text = fixed(data)
    entry = custody_event.Entry(custody_event.digest_of(text), custody_event.decode(text), text)
    after = custody_event.encode(replace(good, log_checkpoint=custody_graph.newest({entry.digest: entry})))
    signed = {each.digest: [signer.sign(each.data, custody_event.NAMESPACE)] for each in (entry, after)}
    copy = custody_graph.Copy({each.digest: each for each in (entry, after)}, signed)
    now = datetime(2026, 12, 1, tzinfo=UTC)
    allowed = allowed_signers.AllowedSigners.parse(f"somebody {signer.public_key.line}\n".encode())
    found = custody.assess(copy, consignment_id=good.consignment_id, serials=["A1"], allowed=allowed, now=now)
    assert found.checkpoint.events == len(found.rows) <= 2
    custody.before_next(found)


@cache
def _job() -> age.Identity:
    return age_keys.parse_identity(age_keys.generate_identity()[0])


def _unlock_seeds() -> list[bytes]:
    archives = [zlib.decompress((VECTORS / "unlock" / name).read_bytes().partition(b"\n\n")[2])
                for name in ("archive", "groups_order", "page", "end")]  # fmt: skip
    return [*archives, archives[0][512:].partition(b"\0")[0]]


@target(_unlock_seeds, 1 << 17)
def issued_keys(data: bytes) -> None:
    """The plaintext of issued keys, all its rows; and a record, signed and sealed for the job, opened as readers do."""

    def whole(archive: bytes) -> None:
        found = unlock.layout(lambda at, count: archive[at : at + count], len(archive))
        pages = unlock.key_pages(found, lambda at, count: archive[at : at + count])
        assert len(pages.get(0, pages.count)) == 16 * found.record.keys.rows

    def opened(text: bytes) -> None:
        record = unlock.decode(text)
        rows = min(record.keys.rows, 5000)
        keys = bytes(range(16)) * rows
        table = replace(record.keys, rows=rows, issued=1, root=unlock.table_root(rows, keys).hex())
        record = replace(record, keys=table, recipients=[str(job.recipient)])
        _, signer = _custody()
        said, archive = unlock.encode(record), bytearray()
        unlock.write(record, said, signer.sign(said, unlocks.NAMESPACE), keys, archive.extend)
        allowed = allowed_signers.AllowedSigners.parse(f"somebody {signer.public_key.line}\n".encode())
        with mock.patch.object(reading_keys, "_now", return_value=unlocks.time_of(record.issued_at)):
            issued = reading_keys.IssuedKeys(age.encrypt(bytes(archive), [job.recipient]), [job], allowed)
            header = age.parse_header(age.encrypt(b"", [job.recipient]))
            each(*(lambda n=number: issued.of_pack(header, n, 0, 0) for number in range(2)))  # type: ignore[misc]
        assert issued.issued.record == record

    job = _job()
    each(lambda: whole(data), lambda: opened(fixed(data)))


@target(_custody_forms, 1 << 14)
def custody_form(data: bytes) -> None:
    """The form of an event of custody, and the event that it makes."""
    empty = custody_event.Checkpoint(events=0, newest=[])
    now = datetime(2026, 11, 25, tzinfo=UTC)
    made = custody_forms.build(custody_forms.parse(data), empty, now=now, photo=lambda _: "ab" * 32,
                               event=lambda _: "cd" * 32)  # fmt: skip
    assert custody_event.encode(made).event == made


_CODE = b"SEALIFT-CUSTODY:1:SL-2026-SEEDED:"


@target(lambda: [_CODE + b"0", _CODE + b"12:" + b"AB" * 32], 1 << 11)
def custody_checkpoint(data: bytes) -> None:
    """The text of a checkpoint's QR code; what is taken is written the same."""
    text = data.decode(errors="replace")
    assert custody_event.qr_text(*custody_event.parse_qr_text(text)) == text


@cache
def _audited() -> tuple[audits.Voyage, dict[str, bytes]]:
    """The leg home of a voyage in a bundle, with everything that its records want."""
    with tempfile.TemporaryDirectory() as folder:
        voyage = audits.make(folder)
        given = audit_collect.sort(voyage.papers).files
    files = {path: data for path, data in given.items() if f"/{audits.HOME}/" in path}
    files |= {audit.SIGNERS: audits.signers(), audit.OPEN_ME: b"", audit.INDEX_SIG: b""}
    return voyage, files


def _bundled(files: dict[str, bytes]) -> bytes:
    voyage, _ = _audited()
    files = files | {audit.SUMS: audit.sums(audit_stage._rows({p: files[p] for p in files if audit.describe(p)}))}
    rows = audit_stage._rows({path: data for path, data in files.items() if audit.describe(path)})
    made = voyage.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    record = audit.Audit(made_at=made, shipments=audit.shipments(files), files=rows)
    files |= {audit.INDEX: canonical.encode(record)}
    files[audit.INDEX_SIG] = audits.person("auditor").sign(files[audit.INDEX], audit.NAMESPACE)
    return b"".join(audit.encode_bundle(files))


def _bundles() -> list[bytes]:
    _, files = _audited()
    return [_bundled(files)] + [bytes([number]) + files[path] for number, path in enumerate(sorted(files))]


@target(_bundles, 1 << 17)
def audit_bundle(data: bytes) -> None:
    """An audit bundle; and, but for the first byte, one file of it under an index made anew: judged, never raised."""
    voyage, files = _audited()
    with contextlib.suppress(SealiftError):
        audit_stage.verify(data, voyage.allowed, voyage.now)
    path = sorted(files)[data[0] % len(files)] if data else audit.SIGNERS
    verified = audit_stage.verify(_bundled(files | {path: data[1:]}), voyage.allowed, voyage.now)
    assert verified.index is not None
    assert verified.signer is not None


@target(lambda: [b"Anna\nSER00001", "Jürgen 快递 شركة\n#strong[x] \\ $a$".encode()], 1 << 9)
def label(data: bytes) -> None:
    """Names on a label: typeset and made into a code, or refused."""
    carrier, _, serial = data.decode(errors="replace").partition("\n")
    if strict.unprintable(carrier + serial) is None:
        made = labels.Label((("carrier", carrier), ("serial", serial)))
        svg = typeset.qr_svg(made.text)
        sheet = {"head": serial, "note": carrier, "marks": [], "labels": [{"lines": made.lines, "code": svg}]}
        assert typeset.typeset("labels", sheet, date(2026, 11, 26)).startswith(b"%PDF-")


# -- screening -------------------------------------------------------------------------------------------


def _lists() -> list[bytes]:
    made = screening_lists
    described = made.TOML.encode()
    return [made.csl_csv(), made.csl_json(), *made.ofac(), made.un(), made.eu(), made.mapped(), described]


@target(_lists)
def screening_list(data: bytes) -> None:
    """A list of restricted parties, by every reader; what is taken is clean, and can be searched."""
    given = screening_lists.given(data, "sdn.csv")
    _, aliases, addresses = (screening_lists.given(each, "beside") for each in screening_lists.ofac())
    beside = {"alt.csv": aliases, "add.csv": addresses}

    def taken(read: Callable[[], Any]) -> None:
        found = read()
        assert all(name == lists.line(name) != "" for entry in found.entries for name in entry.names)
        matching.Index(found.entries[:50]).search([name for entry in found.entries[:2] for name in entry.names[:3]])

    columns = lists_csv.Columns(names=("Name", "Other names"), id="Ref", delimiter=";", separator="/")
    each(
        lambda: taken(lambda: lists_detect.read(given, beside.__getitem__)),
        lambda: taken(lambda: lists_us.csl_csv(given)),
        lambda: taken(lambda: lists_us.ofac(given, given, given)),
        lambda: taken(lambda: lists_xml.un(given)),
        lambda: taken(lambda: lists_xml.eu(given)),
        lambda: taken(lambda: lists_csv.read(given, columns)),
        lambda: lists_csv.parse(data),
    )


@cache
def _screening() -> screening.ScreeningRecord:
    found = lists_detect.read(screening_lists.given(screening_lists.csl_csv(), "csl.csv"), lambda _name: given_up())
    declared = declarations.parse(sealed_files()[mf.SEAL_FILES[2]], draft=True)
    shipper = msgspec.structs.replace(declared.shipper, legal_name="Velmarin Shiping Line", country="IR")
    like = msgspec.structs.replace(declared, shipper=shipper)
    return screener.screen(like, [found], screener="A", now=screening_lists.NOW)


def given_up() -> Any:
    """Nothing lies beside the file."""
    raise AssertionError


def _decided(text: bytes) -> screening.ScreeningRecord:
    record, now = _screening(), screening_lists.NOW
    decisions, second = worksheet.read(text, record, canonical.encode(record), by="A", now=now)
    by_hand = {"screener": "A", "second_reviewer": second, "now": now}
    return screener.decided(record, canonical.encode(record), decisions, **by_hand)  # type: ignore[arg-type]


def _worksheets() -> list[bytes]:
    empty = worksheet.render(_screening(), canonical.encode(_screening()))
    filled = empty.replace('"potential"\n', '"false_positive"\n').replace('rationale = ""', 'rationale = "b"')
    filled = filled.replace("differentiators = []", 'differentiators = ["c"]').replace(
        'reviewer = ""', 'reviewer = "D"'
    )
    return [empty.encode(), filled.encode()]


@target(_worksheets)
def screening_worksheet(data: bytes) -> None:
    """NAME.screening.toml of a screening; a record that follows it reads as it was written."""
    record = _decided(data)
    assert screening.decode(canonical.encode(record)) == record


@target(lambda: [canonical.encode(_screening()), canonical.encode(_decided(_worksheets()[1]))])
def screening_record(data: bytes) -> None:
    """screening.json, and what of it holds a release."""
    canonical_record(data, screening.decode)
    declared = declarations.parse(sealed_files()[mf.SEAL_FILES[2]], draft=True)
    record = screening.decode(fixed(data))
    nobody = screening.Checked(record, None, None)  # type: ignore[arg-type]
    screening.standing(declared, nobody, record.lists, screening_lists.NOW)
    worksheet.render(record, data)


# -- keys proved before departure ---------------------------------------------------------------------------


def _key_vectors(kind: str) -> Callable[[], list[bytes]]:
    return lambda: [data for _, head, data in vectors("keys") if head["kind"] == kind]


_PROVED = datetime(2026, 12, 1, 12, tzinfo=UTC)


@target(_key_vectors("record"))
def keys_record(data: bytes) -> None:
    """keys.json, what of it holds a release; and a code that is given beside it."""
    canonical_record(data, keys.decode)

    record = keys.decode(fixed(data))
    keys.held(record, record.consignment_id, record.holders, _PROVED)
    before = keys.Before(record, canonical.encode(record))
    code = key_sample.code_of("PETRAPETRELABCDEFGH2")
    following, _ = keys.take(before, [keys.Given("fuzz", code)], by="F", now=_PROVED)
    if following is not None:
        keys.encode(following)
    keys.encode(keys.challenge(record.consignment_id, record.holders, before, by="F", now=_PROVED)[0])


@cache
def _answered() -> tuple[bytes, bytes]:
    """A record, and the one answer to it that is right and is a vector."""
    found = {name: data for name, _, data in vectors("keys")}
    return found["record_open"], found["answer"]


@target(_key_vectors("answer"))
def key_answer(data: bytes) -> None:
    """An answer beside a record: taken only where it is, to the byte, the one that is right."""
    canonical_record(data, key_sample.decode_answer)
    text, right = _answered()

    def judge(answer: bytes) -> None:
        given = keys.Given("fuzz", key_sample.decode_answer(answer))
        record, _ = keys.take(keys.Before(keys.decode(text), text), [given], by="F", now=_PROVED)
        assert record is None or answer == right

    each(lambda: judge(data), lambda: judge(fixed(data)))


@target(lambda: _key_vectors("sample")() + _key_vectors("code")())
def key_sample_text(data: bytes) -> None:
    """What stands in a sample is what it renders to; and the same bytes as a code that was typed."""

    def text() -> None:
        sample = key_sample.parse(data)
        assert key_sample.render(sample) == data
        assert key_sample.decode_answer(canonical.encode(sample.answer)) == sample.answer

    def code() -> None:
        found = key_sample.parse_code(data.decode(errors="replace"))
        assert key_sample.parse_code(found) == found

    each(text, code)
