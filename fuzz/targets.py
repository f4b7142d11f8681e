"""What is fuzzed: one function a parser, from bytes to nothing, and the seeds it begins with.

What holds for each: whatever the bytes are, it returns, or raises an error of sealift's own (errors.py), within a
second and 512 MiB. Anything else is a finding. Where a checksum, a MAC, a canonical form or a hash tree would keep
random bytes out, the function also mends it (`fixed`), so that what lies behind is reached.

Nothing here needs atheris: tests/fuzz runs every target over its seeds in `make test`. The targets over drives are
in worlds.py. Seeds come from tests/vectors and from what the code itself writes.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import socket
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import audits
import msgspec
import receivings
import screening_lists
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from sealift.drives import bucket, http_client
from sealift.drives.http import HttpDrive
from sealift.errors import SealiftError
from sealift.formats import (
    age,
    age_keys,
    allowed_signers,
    audit,
    block_tools,
    canonical,
    drive_tests,
    fetch,
    hosts,
    locations,
    paged,
    provenance,
    sanitize,
    seal,
    smart,
    sshsig,
    strict,
    tar,
    zstd,
)
from sealift.formats import manifest as mf
from sealift.reading import trust
from sealift.stages import audit as audit_stage
from sealift.stages import audit_collect, host_index, receive, verify_report, verify_state
from sealift.stages.drives_list import DriveRow, Flag, Listing, VolumeRow
from sealift.stages.pack import bucket as bucket_source
from sealift.stages.plan import calibrate, geometry, told
from sealift.stages.plan import document as documents
from sealift.stages.serve import ranges, tokens
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
from sealift.trade.signing import Signer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = pathlib.Path(__file__).parent.parent
VECTORS = ROOT / "tests" / "vectors"


@dataclass(frozen=True)
class Target:
    """A parser: `run` takes any bytes of up to `longest`; `seeds` makes what it should take apart first."""

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    longest: int = 1 << 16
    known: bool = False
    """Broken by what is not ours to mend (README.md): run only when it is named."""


TARGETS: dict[str, Target] = {}


def target(
    seeds: Callable[[], list[bytes]], longest: int = 1 << 16, *, known: bool = False
) -> Callable[[Callable[[bytes], None]], Callable[[bytes], None]]:
    """Enter a function under its own name; an error of sealift's ends its run, and nothing else may."""

    def enter(run: Callable[[bytes], None]) -> Callable[[bytes], None]:
        def guarded(data: bytes) -> None:
            with contextlib.suppress(SealiftError):
                run(data)

        TARGETS[run.__name__] = Target(run.__name__, guarded, seeds, longest, known)
        return run

    return enter


def each(*works: Callable[[], object]) -> None:
    """All of them, though one refuses."""
    for work in works:
        with contextlib.suppress(SealiftError):
            work()


def vectors(kind: str, longest: int = 1 << 16) -> Iterator[tuple[str, dict[str, str], bytes]]:
    """Name, header (the last of a repeated key) and content of the vectors in a folder that are short enough."""
    for path in sorted((VECTORS / kind).iterdir()):
        text, _, data = path.read_bytes().partition(b"\n\n")
        lines = [line.split(": ", 1) for line in text.decode().split("\n")]
        for offset, length in (map(int, value.split()) for key, value in lines if key == "zeros"):
            data = data[:offset] + bytes(length) + data[offset:]
        if len(data) <= longest:
            yield path.name, dict(lines), data  # type: ignore[arg-type]


# -- records: one canonical form --------------------------------------------------------------------------


def fixed(data: bytes) -> bytes:
    """Any JSON in canonical form, so that a record is judged by what it says."""
    try:
        return canonical.encode(msgspec.json.decode(data))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return data


def _record(data: bytes, decode: Callable[[bytes], Any]) -> None:
    def check(text: bytes) -> None:
        assert canonical.encode(decode(text)) == text

    each(lambda: check(data), lambda: check(fixed(data)))


@cache
def _manifest() -> mf.Manifest:
    hexes = "ab" * 32
    rows = [
        mf.DriveRow(
            slot=slot, id=mf.drive_id(0, slot), number=slot + 1, serial=f"S{slot}", label=f"L{slot}", carrier="Anna",
            open_me=mf.FileRef(bytes=1, blake3=hexes), sums=mf.FileRef(bytes=1, blake3=hexes),
        )
        for slot in range(3)
    ]  # fmt: skip
    index = mf.IndexRef(bytes=1000, blake3=hexes, header=hexes)

    def tree(record: int, count: int) -> mf.TreeRef:
        return mf.TreeRef(bytes=paged.file_length(record, count), blake3=hexes, records=count, root=hexes)

    return mf.Manifest(
        shipment="5a" * 8,
        declaration=mf.DeclarationRef(id="SL-1", bytes=1, blake3=hexes, rehearsal=False),
        group=0, groups=1, drives_total=3, scan=hexes, order="path", seed=0,
        geometry=mf.Geometry(data=2, parity=1, stripes=4, files_end=3), drives=rows,
        packs=tree(mf.PACK.size, 12), blocks=tree(paged.DIGEST, 40), members_index=index, packs_index=index,
        totals=mf.Totals(members=1, files=1, source_bytes=1, packed_bytes=1, parity_bytes=1),
    )  # fmt: skip


@target(lambda: [mf.encode_manifest(_manifest())])
def manifest(data: bytes) -> None:
    """manifest.json."""
    _record(data, mf.decode_manifest)


@target(lambda: [canonical.encode(_manifest().card(slot)) for slot in range(2)], 1 << 12)
def card(data: bytes) -> None:
    """drive.json."""
    _record(data, mf.decode_card)


@cache
def _sealed() -> dict[str, bytes]:
    """The five files of a seal that holds."""
    from worlds import origin

    return origin().seal()


def _signers() -> allowed_signers.AllowedSigners:
    from worlds import origin

    return allowed_signers.AllowedSigners.parse(origin().allowed)


def _seals() -> list[bytes]:
    record = seal.decode_seal(_sealed()[mf.SEAL_FILES[0]])
    ref = mf.FileRef(bytes=1, blake3="ab" * 32)
    reply = mf.InReplyTo(shipment="a5" * 8, consignment_id="SL-1", seal=ref)
    home = seal.ReturnLeg(recipients=["age1"], signers=[seal.ReturnSigner(principal="a", key="ssh-ed25519 AAAA")])
    kinds = (record, msgspec.structs.replace(record, in_reply_to=reply), msgspec.structs.replace(record, return_=home))
    return [seal.encode_seal(each) for each in kinds]


@target(_seals)
def seal_record(data: bytes) -> None:
    """seal.json."""
    _record(data, seal.decode_seal)


def _bundles() -> list[bytes]:
    short = [data for _, head, data in vectors("pack") if head["kind"] == "seal file"]
    return [seal.encode_bundle(_sealed()), *short]


@target(_bundles)
def seal_bundle(data: bytes) -> None:
    """SHIPMENT.seal, and what is in it: signatures, declaration, release."""

    def strict() -> None:
        assert seal.encode_bundle(seal.decode_bundle(data)) == data

    def mended() -> None:
        # each file once in place of the right one: what only looks at digests is passed
        good = _sealed()
        name = mf.SEAL_FILES[data[0] % 5]
        trust.open_seal(good | {name: data[1:]}, _signers())

    each(strict, mended if data else strict)


@target(
    lambda: [
        _sealed()[mf.SEAL_FILES[2]],
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


@target(lambda: [rules.shipped().raw])
def release_rules(data: bytes) -> None:
    """rules.toml: what differs from the rules shipped is named."""
    parsed = rules.parse(data)
    differs = any(rule not in rules.shipped().rules for rule in parsed.rules)
    assert parsed.changed or not differs


def _plans() -> list[bytes]:
    """Two groups of 2+1 over three carriers, with and without what may be left away."""
    drives = tuple(geometry.Drive(name=f"D{number}", capacity_bytes=8 << 40) for number in range(6))
    carriers = tuple(geometry.Carrier(name=name) for name in ("Anna", "Bo", "Cem"))
    wanted = geometry.Wanted(
        drives=drives, carriers=carriers, bays=3, packed_bytes=1 << 40, survive=geometry.Survive(carriers=1)
    )
    found = geometry.search(wanted, lambda _bytes, _blocks: 1 << 20)
    chosen = next(each for each in found if (each.data, each.parity, each.groups) == (2, 1, 2))
    plain = documents.draft(wanted, chosen, size=1 << 40, files=1000, pack_size=1 << 30)
    forecast = documents.Forecast(why="as many as fit", loss_probability=1e-6, hours_to_all=99.5)
    known = {drive.name: documents.Known(9 << 40, f"S{drive.name}", "Maker") for drive in drives}
    full = documents.draft(
        wanted, chosen, source="/data", size=1 << 40, files=1000, pack_size=1 << 30, order="shuffled", seed=7,
        known=known, numbers={"courier_lost": 0.01}, forecast=forecast,
    )  # fmt: skip
    return [documents.render(plain).encode(), documents.render(full).encode()]


@target(_plans)
def plan(data: bytes) -> None:
    """shipment.toml; written again it says the same."""
    found = documents.parse(data)
    assert documents.parse(documents.render(found).encode()) == found


def _voyages() -> list[bytes]:
    form = told.form().encode()
    lines = form.split(b"\n")
    filled = b"\n".join(line.removeprefix(b"# ") if b" = " in line or b"[[" in line else line for line in lines)
    words = ["any carrier and 2 drives, 99.99%", "60x80TB:ssd", "anna:hand, ben,4xcourier", "2026-12-20T08:00+01:00"]
    return [form, filled, *(each.encode() for each in words)]


@target(_voyages)
def voyage(data: bytes) -> None:
    """voyage.toml, what it tells of drives, and the words of options."""
    text = data.decode(errors="replace")
    each(*(lambda parse=parse: parse(text) for parse in (told.loss, told.drives, told.carriers, told.moment)))
    found = told.parse(data)
    rows = tuple(replace(row, count=min(row.count, 20)) for row in found.drives[:20])
    for drive in told.fleet(rows):
        assert 0 < drive.capacity < 1 << 80
    told.ready(replace(found, drives=rows), now=datetime(2026, 12, 1, tzinfo=UTC))


def _listings() -> list[bytes]:
    volume = VolumeRow(
        device="/dev/sda", kind="disk", size_bytes=9, filesystem="xfs", label=None, uuid=None, mounts=["/mnt/d"],
        swap=False, used_bytes=0, free_bytes=8, entries=0, sealift=None, trouble=None,
    )  # fmt: skip
    row = DriveRow(
        name="S1", serial="S1", model="M", firmware=None, device="/dev/sda", kind="disk", transport=None, size_bytes=9,
        rotational=True, removable=False, table=None, health=smart.unknown("why"), volumes=[volume],
        flags=[Flag(flag="batch", why="why")],
    )  # fmt: skip
    return [msgspec.json.encode(Listing(drives=[row, row], elsewhere=[]))]


@target(_listings)
def listing(data: bytes) -> None:
    """The JSON of `sealift drives --json`, as a plan takes it."""
    taken, left = told.listing(data)
    assert all(drive.why for drive in left)
    told.fleet(taken)


class _Answering(bucket.Bucket):
    """A bucket that answers anything."""

    def __init__(self, answer: bytes) -> None:
        self.name, self._given = "s3://bucket/p", answer

    def _answer(self, *_: object) -> bytes:
        return self._given


def _pages() -> list[bytes]:
    entry = (
        b"<Contents><Key>p%2Fa%2Fb</Key><LastModified>2026-11-26T07:27:16.708Z</LastModified>"
        b"<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>1</Size></Contents>"
    )
    told = b"<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
    common = b"<CommonPrefixes><Prefix>p%2Fc%2F</Prefix></CommonPrefixes>"
    return [b"<ListBucketResult>" + told + entry + rest + b"</ListBucketResult>" for rest in (b"", common)]


@target(_pages)
def bucket_page(data: bytes) -> None:
    """A page of the listing of a bucket that is packed, and what is carried of it."""
    page = _Answering(data).page(b"p/")
    batch = bucket_source._Batch(b"p/", [])
    for each in page.objects:
        batch.add(each)
    batch.end()
    assert len(batch.paths) + len(batch.skipped) <= len(page.objects)
    assert all(bucket_source.reason_against(path) is None for path in batch.paths)


@target(lambda: [(ROOT / "docs" / "examples" / "host.json").read_bytes()])
def calibration(data: bytes) -> None:
    """A kept calibration, and what is reckoned with it."""
    found = calibrate.decode(data)
    found.speeds(calibrate.Shape(files=10**9, bytes=10**15, incompressible=0.5), data=16, parity=5)


@target(lambda: [_sealed()[mf.SEAL_FILES[3]]], 1 << 13)
def release(data: bytes) -> None:
    """release.json, alone and with the declaration that it is of."""
    good = _sealed()
    _record(data, releases.decode)
    each(*(lambda t=text: releases.check_release(good[mf.SEAL_FILES[2]], t, good[mf.SEAL_FILES[4]], _signers())
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
    _record(data, receipts.decode)


@target(lambda: [spec_example("source-release.md")])
def source_release(data: bytes) -> None:
    """source-release.json."""
    _record(data, source_releases.decode)


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

    _record(data, lambda text: shown(certificates.decode(text)))


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


@target(lambda: [custody_event.encode(_custody()[0]).data], 1 << 13)
def custody_record(data: bytes) -> None:
    """An event of custody, alone, and as an event of a log that is signed and has its digest."""
    _record(data, custody_event.decode)
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


def _records() -> list[bytes]:
    hexes = "ab" * 32
    ref = mf.FileRef(bytes=1, blake3=hexes)
    digest = provenance.Digests(sha256=hexes, blake3=hexes)
    subjects = [
        provenance.Subject(name="model.safetensors", digest=digest),
        provenance.Subject(digest=digest, annotations=provenance.Annotations(path_b64="/w==")),
    ]
    predicate = provenance.Predicate(
        shipment="5a" * 8, consignment_id="SL-2", rehearsal=False, groups=[provenance.GroupRef(group=0, manifest=ref)],
        in_reply_to=mf.InReplyTo(shipment="a5" * 8, consignment_id="SL-1", seal=ref),
        code="v1", config={"lr": 0.001, "layers": [1, 2]}, metrics={"loss": 2.5},
    )  # fmt: skip
    return [provenance.encode(provenance.Statement(subject=subjects, predicate=predicate))]


@target(_records)
def provenance_record(data: bytes) -> None:
    """provenance.json."""
    _record(data, provenance.decode)


@target(lambda: [b"Anna\nSER00001", "Jürgen 快递 شركة\n#strong[x] \\ $a$".encode()], 1 << 9)
def label(data: bytes) -> None:
    """Names on a label: typeset and made into a code, or refused."""
    carrier, _, serial = data.decode(errors="replace").partition("\n")
    if strict.unprintable(carrier + serial) is None:
        made = labels.Label((("carrier", carrier), ("serial", serial)))
        svg = typeset.qr_svg(made.text)
        sheet = {"head": serial, "note": carrier, "marks": [], "labels": [{"lines": made.lines, "code": svg}]}
        assert typeset.typeset("labels", sheet, date(2026, 11, 26)).startswith(b"%PDF-")


@target(lambda: [fetch.encode_list(fetch.FetchList(shipment="5a" * 8, groups=[], packs=[], contents=[]))])
def fetch_list(data: bytes) -> None:
    """What repair --fetch-list wrote."""
    _record(data, fetch.decode_list)


# -- where drives stand -----------------------------------------------------------------------------------


@target(lambda: [path.read_bytes() for path in sorted((VECTORS / "locations").iterdir())])
def locations_file(data: bytes) -> None:
    """The TOML that says where drives stand; every address in it has one form."""
    for row in locations.parse(data, "x").drive:
        if locations.scheme_of(row.at) in {"http", "https"}:
            assert locations.web(str(locations.web(row.at))) == locations.web(row.at)


def _answers_of_a_host() -> list[bytes]:
    good = (
        b'HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\nContent-Range: bytes 5-14/100\r\nETag: "1"\r\n\r\n'
        b"0123456789"
    )
    return [
        good,
        good.replace(b"206", b"416").replace(b"5-14/100", b"*/5"),
        good.replace(b"Content-Length: 10", b"Transfer-Encoding: chunked"),
        good.replace(b"Content-Range", b"Location"),
        b"HTTP/1.1 503 x\r\nRetry-After: 1\r\n\r\n",
    ]


@target(_answers_of_a_host, 1 << 15)
def http_answer(data: bytes) -> None:
    """What a storage host answers to a request for ten bytes: as many at most, or a fault."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        drive = HttpDrive("http://127.0.0.1:1/d", patience=0)
        connection = http_client._Connection(drive.web, None)
        connection.sock = http_client._Timed(ours)
        drive.host._idle[:] = [connection]
        assert len(drive.open_later("x").read_at(5, 10)) <= 10


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
    declared = declarations.parse(_sealed()[mf.SEAL_FILES[2]], draft=True)
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
    _record(data, screening.decode)
    declared = declarations.parse(_sealed()[mf.SEAL_FILES[2]], draft=True)
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
    _record(data, keys.decode)

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
    _record(data, key_sample.decode_answer)
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


# -- signatures -----------------------------------------------------------------------------------------


@target(lambda: [data for _, _, data in _sshsig_files() if len(data) < 1 << 14], 1 << 14)
def sshsig_armored(data: bytes) -> None:
    """A signature file, as it is, and its content armored anew."""
    each(
        lambda: sshsig.verify(b"message", data, "sealift"),
        lambda: sshsig.verify(b"message", sshsig.armor(data), "sealift"),
        lambda: sshsig.verify(b"message", sshsig.armor(sshsig.dearmor(data)), "sealift"),
    )


def _sshsig_files() -> list[tuple[str, dict[str, str], bytes]]:
    key = Ed25519PrivateKey.from_private_bytes(b"\x42" * 32)
    signature = sshsig.sign_ed25519(b"message", key, "sealift")
    made = [("armored", {}, signature), ("blob", {}, sshsig.dearmor(signature))]
    files = [path for path in sorted((VECTORS / "sshsig").rglob("*")) if path.is_file()]
    return [*made, *((path.name, {}, path.read_bytes()) for path in files)]  # type: ignore[list-item]


def _lines() -> list[bytes]:
    key = Ed25519PrivateKey.from_private_bytes(b"\x42" * 32)
    line = sshsig.public_key_of(key).line.encode()
    times = b'a@b,*.c,!d namespaces="sealift,x",valid-after="20250101Z",valid-before="20300101000000Z" '
    return [
        b"a@b " + line,
        times + line,
        b'"quoted name" cert-authority ' + line,
        b"# comment\n\n* " + line + b" c\r\n",
    ]


@target(_lines, 1 << 13)
def signers(data: bytes) -> None:
    """An allowed signers file, asked about a signature; and a public key."""
    key = Ed25519PrivateKey.from_private_bytes(b"\x42" * 32)
    signature = sshsig.sign_ed25519(b"message", key, "sealift")

    def asked() -> None:
        parsed = allowed_signers.AllowedSigners.parse(data)
        for principal in ("a@b", None):
            each(lambda p=principal: parsed.signer(b"message", signature, "sealift", principal=p))

    each(asked, lambda: sshsig.parse_public_key(data))


# -- age --------------------------------------------------------------------------------------------------


@cache
def _identities() -> list[age.Identity]:
    texts = {value for _, head, _ in vectors("age", 1 << 20) for key, value in head.items() if key == "identity"}
    seeds = {value for _, head, _ in vectors("age", 1 << 20) for key, value in head.items() if key == "ssh seed"}
    own = [age_keys.SSHIdentity(bytes.fromhex(seed)) for seed in sorted(seeds)]
    return [*map(age_keys.parse_identity, sorted(texts)), *own]


def _age_files() -> list[bytes]:
    return [data for _, _, data in vectors("age", 1 << 14)]


@target(_age_files, 1 << 15)
def age_header(data: bytes) -> None:
    """A header: what is parsed is what is encoded; every stanza is tried by every identity."""
    header = age.parse_header(data)
    text = b"age-encryption.org/v1\n" + b"".join(stanza.encode() for stanza in header.stanzas)
    assert header.raw == text + b"--- " + age.encode_base64(header.mac).encode() + b"\n" == data[: header.length]
    each(*(lambda i=identity: i.unwrap(header.stanzas) for identity in _identities()))  # type: ignore[misc]


@target(_age_files, 1 << 18)
def age_file(data: bytes) -> None:
    """A whole file read through; and the same bytes as a payload under a header whose key is known."""

    def whole(file: bytes) -> None:
        with age.Reader(lambda at, n: file[at : at + n], len(file), _identities()) as reader:
            while reader.read(40_000):
                pass
            reader.seek(max(0, reader.size // 2))
            reader.read(10)

    header = next(data for name, _, data in vectors("age") if name == "x25519")
    start = age.parse_header(header).length
    each(lambda: whole(data), lambda: whole(header[:start] + data))


@target(
    lambda: [
        *(str(key.recipient).encode() for key in _identities()),
        *(b"\0" + bytes([n]) * size for n, size in ((1, 32), (2, 32), (3, 1216), (4, 32))),
        age_keys.generate_identity()[0].encode()
        + b"\r\n# comment\n\n"
        + age_keys.generate_hybrid_identity()[0].encode(),
        _openssh(),
    ],
    1 << 13,
)
def age_text(data: bytes) -> None:
    """Recipients and identities, alone and in files; Bech32 with its checksum mended."""
    text = data.decode("utf-8", "surrogateescape")

    def again(key: Any) -> None:
        assert age_keys.parse_recipient(str(key)) == key

    def bech32(hrp: str) -> None:
        key = age_keys._bech32_encode(hrp, data[1:])
        again(age_keys.parse_recipient(key))
        age_keys.parse_identity(key.upper())

    each(
        lambda: again(age_keys.parse_recipient(text)),
        lambda: age_keys.parse_identity(text),
        lambda: age_keys.parse_identities(data),
        lambda: age_keys.parse_recipients_file(data),
        lambda: bech32(("age", "age1pq", "age-secret-key-", "age-secret-key-pq-")[data[0] % 4] if data else "age"),
    )


def _openssh() -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.from_private_bytes(b"\x42" * 32)
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


# -- data packs ---------------------------------------------------------------------------------------------


def _paged() -> list[bytes]:
    found = []
    for count in (0, 3, 600):
        pieces: list[bytes] = []
        paged.write(mf.PACKS_MAGIC, mf.PACK.size, count, iter([bytes(range(80)) * count]), pieces.append)
        found.append(count.to_bytes(2, "big") + b"".join(pieces))
    return found


@target(_paged, 1 << 17)
def paged_file(data: bytes) -> None:
    """packs.bin under the root of its own top page, so that the levels below are what is judged."""
    count, file = int.from_bytes(data[:2], "big") % 4096, data[2:]
    levels = paged.layout(mf.PACK.size, count)
    header = paged.HEADER.pack(mf.PACKS_MAGIC, paged.VERSION, mf.PACK.size, count, paged.PAGE, len(levels) - 1)
    at = sum(levels) * paged.PAGE
    root = blake3(header + file[at : at + paged.PAGE]).digest()
    opened = paged.PagedFile(
        lambda at, n: file[at : at + n], magic=mf.PACKS_MAGIC, record=mf.PACK.size, count=count, root=root, name="fuzz"
    )
    each(
        opened.check_header,
        lambda: list(opened.damaged_pages()),
        lambda: [mf.pack_at(opened, place // 3, place % 3, 3) for place in range(count)],
        lambda: list(opened.pages()),
    )


@target(lambda: [zstd.seek_table([12, 40], [100, 1 << 20]), zstd.seek_table([], [])])  # type: ignore[arg-type]
def seek_table(data: bytes) -> None:
    """The seek table of a pack whose plaintext it ends; the first two bytes say how much stands before it."""
    before, table = int.from_bytes(data[:2], "big"), data[2:]
    each(
        lambda: zstd.seek_table_frames(data[-zstd.FOOTER :], len(data)),
        lambda: zstd.parse_seek_table(data, len(data) + 52),
        lambda: zstd.parse_seek_table(table, len(table) + before),
    )


@target(
    lambda: [len(text).to_bytes(4, "big") + zstd.compress(text) for text in (b"", b"a" * 9, bytes(200_000))], 1 << 17
)
def zstd_frame(data: bytes) -> None:
    """A frame of a stated length; never more memory than that and a window."""
    size = int.from_bytes(data[:4], "big") % (zstd.FRAME + 1)
    assert len(zstd.decompress(data[4:], size)) == size


def _tars() -> list[bytes]:
    long = b"d/" * 120 + b"name"
    made = [
        tar.header(b"a/b", tar.REGULAR, 3, 0o644, 1_500_000_000) + b"abc".ljust(512, b"\0") + tar.END,
        tar.header(long, tar.SYMLINK, 0, 0o777, -5, b"t" * 300) + tar.END,
        tar.sparse_header(b"s", 1024, 1 << 40, 0o600, 1) + tar.sparse_map([(0, 5), (99, 1)], 1 << 40),
    ]
    return [*made, *(data for _, head, data in vectors("pack") if head["kind"] == "tar")]


@target(_tars, 1 << 15)
def tar_stream(data: bytes) -> None:
    """A stream of headers walked, checksums mended; pax records; a sparse map."""
    each(lambda: tar.parse_pax(data), lambda: _sparse(data), lambda: _walk(data))


def _sparse(data: bytes) -> None:
    extents, used = tar.parse_sparse_map(data)
    assert used >= 0
    assert len(extents) <= tar.MAX_EXTENTS + 1
    assert all(offset >= 0 and length >= 0 for offset, length in extents)


def _walk(data: bytes) -> None:
    at, records = 0, dict[bytes, bytes]()
    while at + tar.BLOCK <= len(data):
        block = bytearray(data[at : at + tar.BLOCK])
        block[257:262] = b"ustar"
        block[148:156] = b"%06o\0 " % (sum(block[:148]) + 256 + sum(block[156:]))
        member = tar.parse_header(bytes(block), at, records)
        assert member.size >= 0, "whoever walks would go backwards"
        records = tar.parse_pax(data[member.data : member.data + member.size]) if member.kind == tar.PAX else {}
        at = member.data + member.size + tar.padding(member.size)


# -- what tools say of drives ---------------------------------------------------------------------------------


def _told(*kinds: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((VECTORS / "drives").iterdir()) if path.suffix[1:] in kinds]


@target(lambda: _told("lsblk"))
def lsblk_answer(data: bytes) -> None:
    """JSON of lsblk: whatever it names as standing on a device is a device, and paths stay in /dev."""
    found = block_tools.parse_lsblk(data)
    assert all(device.path.startswith("/dev/") and 0 <= device.size < 1 << 63 for device in found.values())
    assert {name for device in found.values() for name in device.above} <= found.keys()


@target(lambda: _told("blkid", "mountinfo", "swaps"), 1 << 14)
def block_tables(data: bytes) -> None:
    """What blkid exports, and the kernel's tables of mounts and swap."""
    signature = block_tools.parse_blkid(data)
    assert all(value is None or (value.isprintable() and len(value) <= block_tools.MAX_TEXT) for value in signature)
    each(lambda: block_tools.parse_mounts(data), lambda: block_tools.parse_swaps(data))


@target(lambda: _told("smartctl"))
def smart_answer(data: bytes) -> None:
    """JSON of smartctl: no verdict but `good` without a reason, and that on one printable line."""
    found = smart.parse(data)
    assert found.why.isprintable()
    assert found.why or found.verdict == "good"


def _answers() -> list[bytes]:
    page = bytearray(sanitize.CONTROLLER_BYTES)
    page[4:24], page[328:332] = b"S6CANX0T000001      ", b"\x07\0\0\0"
    log = b"\xff\xff\x01\x01\x02".ljust(sanitize.LOG_BYTES, b"\0")
    words = b"\n/dev/sdz:\n" + b"\n".join([b" ".join([b"f001"] * 8)] * 32) + b"\n"
    status = b"    State:    SD2 Sanitize operation In Process\n    Progress: 0x41c2 (25%)\n"
    return [bytes(page), log, words, status]


@target(_answers)
def sanitize_answer(data: bytes) -> None:
    """What nvme and hdparm say of a drive's own erasing: texts of one printable line, and progress within bounds."""

    def texts(found: sanitize.Controller | sanitize.Identity) -> None:
        assert all(text is None or text.isprintable() for text in found[:3])

    def bounds(progress: int) -> None:
        assert 0 <= progress < sanitize.WHOLE

    each(
        lambda: texts(sanitize.parse_controller(data)),
        lambda: texts(sanitize.parse_identify(data)),
        lambda: bounds(sanitize.parse_sanitize_log(data).progress),
        lambda: bounds(sanitize.parse_sanitize_status(data).progress),
    )


def _tests() -> list[bytes]:
    drive = drive_tests.TestedDrive(
        name="ZL2A0001", serial="ZL2A0001", model="M", size=1 << 44, rotational=True, filesystem="xfs",
        at="2026-11-25T12:00:00Z", together=2, bytes=1 << 32, write_bytes_per_second=250_000_000,
        read_bytes_per_second=251_000_000, worst_stall=0.25, read_from="medium", fault="",
    )  # fmt: skip
    return [drive_tests.encode(drive_tests.DriveTests(drives=drives)) for drives in ([], [drive])]


@target(_tests)
def drive_tests_record(data: bytes) -> None:
    """What drives test --record kept."""
    _record(data, drive_tests.decode)


# -- what other hosts and earlier runs left ------------------------------------------------------------------


def _reports() -> list[bytes]:
    from worlds import report

    return [report()]


@target(_reports)
def part_report(data: bytes) -> None:
    """Verify --part: another host's report, added to what is here."""
    from worlds import look

    verify_report.read_part(data, "fuzz")
    look([("fuzz", data)])


def _indexes() -> list[bytes]:
    drive = host_index.HostDrive(
        name="5a5a5a5a5a5a5a5a-g0s1", mount="/mnt/d1", state="sealed", shipment="5a" * 8, consignment="SL-1",
        group=0, slot=1, drive="g0s1", number=2, drives_total=3, serial="S1", label="L1", carrier="Anna",
        medium=None, total_bytes=1 << 44, health="good", health_why="", trouble="",
    )  # fmt: skip
    report = host_index.HostReport(number=0, at="2026-11-26T04:00:00Z", shipment=None, state="intact")
    folder = host_index.HostFolder(mount="/mnt/d2", trouble="it does not answer")
    index = host_index.HostIndex(
        host="storage-1", at="2026-11-26T04:00:00Z", drives=[drive], folders=[folder], reports=[report]
    )
    return [host_index.encode(index), host_index.encode(replace(index, drives=[], folders=[], reports=[]))]


@target(_indexes)
def storage_host(data: bytes) -> None:
    """What a storage host says of its drives: written again it says the same, and its names are paths of one part."""
    found = host_index.decode(data)
    assert host_index.decode(host_index.encode(found)) == found
    assert all(re.fullmatch(r"[0-9a-z.-]+", drive.name) for drive in found.drives)


def _hosts() -> list[bytes]:
    page = (ROOT / "docs" / "spec" / "hosts.md").read_text()
    return [page.partition("```toml\n")[2].partition("```")[0].encode()]


@target(_hosts, 1 << 13)
def hosts_file(data: bytes) -> None:
    """The hosts file: whatever it lists has a scheme that is asked, a host and a port."""
    for row in hosts.parse(data, "fuzz").host:
        scheme, host, port, _ = hosts.split_url(row.url)
        assert scheme in {"http", "https"}
        assert host
        assert 0 < port < 1 << 16


@target(
    lambda: [b"bytes=0-9", b"bytes=-5", b"Bytes = 7-", b"lines=1-2", b"a" * 40 + b"\n" + b"b" * 64 + b"=="], 1 << 10
)
def request_headers(data: bytes) -> None:
    """A Range header, which never asks for more than the file; and a file of tokens."""
    text = data.decode("latin-1")
    for size in (0, 1, 1000, 1 << 40):
        with contextlib.suppress(ranges.NotSatisfiable):
            span = ranges.parse(text, size)
            assert span is None or (0 <= span.start < size and 0 < span.length <= size - span.start)
    tokens.parse(data, "fuzz")


def _states() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "state")
        with verify_state.State(path) as state:
            state.remember("m", "d", 0, "p", "s")
        with open(path, "rb") as file:
            return [file.read()]


@target(_states)
def resume_state(data: bytes) -> None:
    """What verify remembered, in a file that somebody wrote over."""
    with tempfile.TemporaryDirectory(prefix="sealift-fuzz-") as folder:
        path = os.path.join(folder, "state")
        with open(path, "wb") as file:
            file.write(data)
        with verify_state.State(path) as state:
            each(lambda: state.known("m", "d", 0, "p"))
            state.remember("m", "d", 1, "q", "s")
            each(state.flush, state.forget)


sys.path[:0] = [str(pathlib.Path(__file__).parent), str(ROOT / "tests" / "support")]
