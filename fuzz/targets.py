"""What is fuzzed: one function a parser, from bytes to nothing, and the seeds it begins with.

What holds for each: whatever the bytes are, it returns, or raises an error of sealift's own (errors.py), within
5 s and 1 GiB. Anything else is a finding. Where a checksum, a MAC, a canonical form or a hash tree would keep
random bytes out, the function also mends it (`fixed`), so that what lies behind is reached.

Nothing here needs atheris: tests/fuzz runs every target over its seeds in `make test`. Others are in targets_packs.py
and targets_trade.py, those over whole drives in worlds.py. Seeds come from tests/vectors and from what the code itself
writes.
"""

from __future__ import annotations

import contextlib
import pathlib
import re
import socket
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from sealift.drives import bucket, http_client, object_lock
from sealift.drives.http import HttpDrive
from sealift.errors import BadInput, SealiftError
from sealift.formats import (
    allowed_signers,
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
)
from sealift.formats import manifest as mf
from sealift.reading import health, trust
from sealift.stages import host_index, verify_report
from sealift.stages.drives_list import DriveRow, Flag, Listing, VolumeRow
from sealift.stages.pack import bucket as bucket_source
from sealift.stages.plan import calibrate, geometry, told
from sealift.stages.plan import document as documents
from sealift.stages.serve import ranges, tokens

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


def canonical_record(data: bytes, decode: Callable[[bytes], Any]) -> None:
    """A record as it is, and in canonical form: what is taken is written the same."""

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
    canonical_record(data, mf.decode_manifest)


@target(lambda: [canonical.encode(_manifest().card(slot)) for slot in range(2)], 1 << 12)
def card(data: bytes) -> None:
    """drive.json."""
    canonical_record(data, mf.decode_card)


@target(lambda: [mf.encode_rebuilt(mf.RebuiltNote(at="2026-11-02T09:30:00Z", serial="S9"))], 1 << 12)
def rebuilt(data: bytes) -> None:
    """rebuilt.json."""
    canonical_record(data, mf.decode_rebuilt)


@cache
def sealed_files() -> dict[str, bytes]:
    """The five files of a seal that holds."""
    from worlds import origin

    return origin().seal()


def known_signers() -> allowed_signers.AllowedSigners:
    """Those of the shipment that the seeds are of."""
    from worlds import origin

    return allowed_signers.AllowedSigners.parse(origin().allowed)


def _seals() -> list[bytes]:
    record = seal.decode_seal(sealed_files()[mf.SEAL_FILES[0]])
    ref = mf.FileRef(bytes=1, blake3="ab" * 32)
    reply = mf.InReplyTo(shipment="a5" * 8, consignment_id="SL-1", seal=ref)
    home = seal.ReturnLeg(recipients=["age1"], signers=[seal.ReturnSigner(principal="a", key="ssh-ed25519 AAAA")])
    kinds = (record, msgspec.structs.replace(record, in_reply_to=reply), msgspec.structs.replace(record, return_=home))
    return [seal.encode_seal(each) for each in kinds]


@target(_seals)
def seal_record(data: bytes) -> None:
    """seal.json."""
    canonical_record(data, seal.decode_seal)


def _bundles() -> list[bytes]:
    short = [data for _, head, data in vectors("pack") if head["kind"] == "seal file"]
    return [seal.encode_bundle(sealed_files()), *short]


@target(_bundles)
def seal_bundle(data: bytes) -> None:
    """SHIPMENT.seal, and what is in it: signatures, declaration, release."""

    def strict() -> None:
        assert seal.encode_bundle(seal.decode_bundle(data)) == data

    def mended() -> None:
        # each file once in place of the right one: what only looks at digests is passed
        good = sealed_files()
        name = mf.SEAL_FILES[data[0] % 5]
        trust.open_seal(good | {name: data[1:]}, known_signers())

    each(strict, mended if data else strict)


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


bucket._PAUSE = 0.0  # a garbled page is asked for again after a while, and here none ever gets better


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
    canonical_record(data, provenance.decode)


@target(lambda: [fetch.encode_list(fetch.FetchList(shipment="5a" * 8, groups=[], packs=[], contents=[]))])
def fetch_list(data: bytes) -> None:
    """What repair --fetch-list wrote."""
    canonical_record(data, fetch.decode_list)


# -- where drives stand -----------------------------------------------------------------------------------


@target(lambda: [path.read_bytes() for path in sorted((VECTORS / "locations").iterdir())])
def locations_file(data: bytes) -> None:
    """The TOML that says where drives stand; every address in it has one form."""
    for row in locations.parse(data, "x").drive:
        if locations.scheme_of(row.at) in {"http", "https"}:
            assert locations.web(str(locations.web(row.at))) == locations.web(row.at)


def _markers() -> list[bytes]:
    said = {"work": "sealift ingest", "user": "root", "host": "dock-1", "process": 7, "since": "2026-01-01T00:00:00Z"}
    said |= {"started": 8, "processes": "p"}
    return [canonical.encode(object_lock.Marker(type=object_lock.TYPE, **said, here="x", nonce="y"))]


@target(_markers)
def ingest_lock(data: bytes) -> None:
    """What stands in a bucket and says who writes there; in words for a screen."""
    assert object_lock.who(object_lock.parse(data)).isprintable()


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
        connection = http_client._Connection(drive.web, None, drive.host.pace)
        connection.sock = http_client._Timed(ours, drive.host.pace)
        drive.host._idle[:] = [connection]
        assert len(drive.open_later("x").read_at(5, 10)) <= 10


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
    canonical_record(data, drive_tests.decode)


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


def _healths() -> list[bytes]:
    drive = health.DriveHealth(
        drive="g0s1", serial="S1", carrier="Anna", state="damaged", mount="/mnt/d1", rebuilt_blocks=3, faults=1,
        first_fault="input/output error",
    )  # fmt: skip
    met = health.Health(
        shipment="5a" * 8, rebuilt_blocks=3, drives=[drive], missing_groups=[1],
        packs=[health.PackHealth(group=0, stripe=2, role=1, blocks=3)],
        locations=[health.LocationHealth(mount="d1", host="http://a", requests=2, retries=1, bytes=1 << 20)],
    )  # fmt: skip
    return [met.encode(), health.Health().encode()]


@target(_healths)
def health_report(data: bytes) -> None:
    """What reading met, as repair takes it and ranks gather it: written again it says the same, also when summed."""
    found = health.read_health(data, "fuzz")
    assert health.read_health(found.encode(), "fuzz") == found
    summed = health.merged([found, health.read_health(data, "fuzz")])
    assert summed.good or not found.good
    with contextlib.suppress(BadInput):  # sums may go beyond what one process may say
        assert health.read_health(summed.encode(), "fuzz") == summed


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
    locations.token_of(data)
    tokens.parse(data, "fuzz")


sys.path[:0] = [str(pathlib.Path(__file__).parent), str(ROOT / "tests" / "support")]
