"""The audit bundle: every record of a shipment in one archive, with a signed index of what each file is.

    OPEN-ME.txt          how to check all of it with tar, b3sum and ssh-keygen alone
    audit.json (.sig)    Audit, canonical JSON: every other file with length, BLAKE3, what it is and of what; SSHSIG
                         over it, namespace `sealift-audit`
    B3SUMS               the digests of the others, for `b3sum --check`; audit.json has its digest
    signers              whose signatures counted for whoever made the bundle
    papers/              documents for people
    shipments/ID/        the records of consignment ID: `KINDS` has the names

A plain ustar archive of these files, in this order and then sorted by name, mode 0644, owner 0, time 0, every folder in
the header's prefix. What holds of what `decode_bundle` returns: it is byte for byte what `encode_bundle` writes; names
are those of `KINDS`, each once, so that no file can lie outside of the folder that it is unpacked into; none is longer
than its kind allows. A name alone says what a file is and of what, and the index says the same: `describe`.

Pure: bytes in, records out. What is not here: what the records say (stages/audit_judge.py). docs/spec/audit.md says the
same to the byte.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

from msgspec import Meta

from sealift.errors import FormatError
from sealift.formats import canonical
from sealift.formats.canonical import Record
from sealift.formats.manifest import FileRef, Hex32

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

NAMESPACE: Final = "sealift-audit"
MAX_BUNDLE: Final = 1 << 30  # bytes of the archive; it is held in memory
MAX_FILES: Final = 100_000
MAX_INDEX: Final = 64 << 20
MAX_SHIPMENTS: Final = 100
OPEN_ME, INDEX, INDEX_SIG, SUMS, SIGNERS = "OPEN-ME.txt", "audit.json", "audit.json.sig", "B3SUMS", "signers"
FIRST: Final = (OPEN_ME, INDEX, INDEX_SIG, SUMS)  # in the archive, in this order; the others sorted
_TAR = 512

Kind = Literal[
    "open-me", "sums", "signers", "paper", "declaration", "draft", "rules", "screening", "keys", "release", "seal",
    "sealed-declaration", "sealed-release", "manifest", "custody-event", "receipt", "source-release", "certificate",
    "erasure-log", "list", "photograph", "report", "signature", "second-signature",
]  # fmt: skip
_N = "[1-9][0-9]{0,4}"
_SEAL = f"(?P<seal>seal\\.{_N}/)"
_SMALL, _MIB = 1 << 14, 1 << 20


class Shape(NamedTuple):
    """A kind of file: its name beneath shipments/ID/ (or at the top), and the most bytes that it may have."""

    kind: Kind
    pattern: str
    longest: int
    top: bool = False


KINDS: Final = (
    Shape("open-me", r"OPEN-ME\.txt", 64 * _MIB, top=True),
    Shape("sums", "B3SUMS", 32 * _MIB, top=True),
    Shape("signers", "signers", _MIB, top=True),
    Shape("paper", r"papers/[A-Za-z0-9][A-Za-z0-9._-]{0,94}\.(pdf|csv)", 64 * _MIB, top=True),
    Shape("declaration", rf"declaration\.r{_N}\.toml", 4 * _MIB),
    Shape("draft", r"declaration\.toml", 4 * _MIB),
    Shape("rules", rf"rules\.{_N}\.toml", _MIB),
    Shape("screening", rf"screening\.{_N}\.json", 32 * _MIB),
    Shape("keys", rf"keys\.{_N}\.json", 4 * _MIB),
    Shape("release", rf"release\.{_N}\.json", _MIB),
    Shape("seal", rf"{_SEAL}seal\.json", 64 * _MIB),
    Shape("sealed-declaration", rf"{_SEAL}declaration\.toml", 4 * _MIB),
    Shape("sealed-release", rf"{_SEAL}release\.json", _MIB),
    Shape("manifest", rf"manifest\.{_N}\.json", _MIB),
    Shape("custody-event", r"custody/[0-9a-f]{64}\.json", 2 * _MIB),
    Shape("receipt", rf"receipt\.{_N}\.json", 64 * _MIB),
    Shape("source-release", rf"source-release\.{_N}\.json", 8 * _MIB),
    Shape("certificate", rf"certificate\.{_N}\.json", 256 << 10),
    Shape("erasure-log", rf"certificate\.{_N}\.log\.jsonl", 256 * _MIB),
    Shape("list", "lists/[0-9a-f]{64}", 128 * _MIB),
    Shape("photograph", "photographs/[0-9a-f]{64}", 64 * _MIB),
    Shape("report", r"reports/[0-9a-f]{64}\.json", 64 * _MIB),
    Shape("second-signature", rf"screening\.{_N}\.json\.second\.sig", _SMALL),
    Shape("signature", r"custody/[0-9a-f]{64}-[0-9a-f]{16}\.sig", _SMALL),
    Shape("signature", rf"declaration\.r{_N}\.toml\.sig", _SMALL),
    Shape("signature", rf"{_SEAL}(seal|release)\.json\.sig", _SMALL),
    Shape(
        "signature",
        rf"(screening|keys|release|manifest|receipt|source-release|certificate)\.{_N}\.json\.sig",
        _SMALL,
    ),
)
_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{2,63}"
_SHIPMENT = re.compile(rf"shipments/({_ID})/(.+)")
_TOP = [(shape, re.compile(shape.pattern)) for shape in KINDS if shape.top]
_BENEATH = [(shape, re.compile(shape.pattern)) for shape in KINDS if not shape.top]


class Described(NamedTuple):
    """What a name says: the kind, of what file or consignment it is ("": of the bundle), and how long it may be."""

    kind: Kind
    of: str
    longest: int


@functools.lru_cache(maxsize=2 * MAX_FILES)
def describe(path: str) -> Described | None:
    """What the file under a name is; None for a name that is none."""
    within = _SHIPMENT.fullmatch(path)
    rest = within[2] if within else path
    shape = next((shape for shape, known in (_BENEATH if within else _TOP) if known.fullmatch(rest)), None)
    if shape is None:
        return None
    return Described(shape.kind, _of(path, shape.kind) or (within[1] if within else ""), shape.longest)


def _of(path: str, kind: Kind) -> str:
    """The file to which a name belongs; "" where it belongs to none."""
    folder, _, name = path.rpartition("/")
    if kind == "second-signature":
        return path.removesuffix(".second.sig")
    if kind == "signature" and folder.endswith("/custody"):
        return f"{folder}/{name[:64]}.json"
    if kind == "signature":
        return path.removesuffix(".sig")
    if kind == "erasure-log":
        return path.removesuffix(".log.jsonl") + ".json"
    if kind in {"sealed-declaration", "sealed-release"}:
        return f"{folder}/seal.json"
    return ""


ConsignmentId = Annotated[str, Meta(pattern=rf"\A{_ID}\Z")]


class AuditFile(Record, frozen=True, kw_only=True):
    """One file; `kind` and `of` are what its name says."""

    path: Annotated[str, Meta(min_length=1, max_length=255)]
    bytes: Annotated[int, Meta(ge=0, le=MAX_BUNDLE)]
    blake3: Hex32
    kind: Kind
    of: Annotated[str, Meta(max_length=255)]

    @property
    def ref(self) -> FileRef:
        """Length and digest."""
        return FileRef(bytes=self.bytes, blake3=self.blake3)


class Audit(Record, frozen=True, kw_only=True):
    """The index: what whoever made the bundle signs; `files` are sorted by path, without itself and its signature."""

    type: Literal["sealift-audit"] = "sealift-audit"
    version: Literal[1] = 1
    made_at: Annotated[str, Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")]
    shipments: Annotated[list[ConsignmentId], Meta(min_length=1, max_length=MAX_SHIPMENTS)]
    files: Annotated[list[AuditFile], Meta(min_length=3, max_length=MAX_FILES)]


def encode_index(record: Audit) -> bytes:
    """Canonical bytes; what is signed. FormatError: it contradicts itself."""
    data = canonical.encode(record)
    decode_index(data)
    return data


def decode_index(data: bytes) -> Audit:
    """Parse and check an index's own consistency; FormatError otherwise. Says nothing about who signed it."""
    record = canonical.decode(data, Audit, limit=MAX_INDEX, name=INDEX)
    if record.shipments != sorted(set(record.shipments)):
        raise FormatError(f"{INDEX}: shipments are not sorted, each once")
    paths = [row.path for row in record.files]
    if paths != sorted(set(paths)):
        raise FormatError(f"{INDEX}: files are not sorted by path, each once")
    for row in record.files:
        found = describe(row.path)
        if found is None or row.path in {INDEX, INDEX_SIG}:
            raise FormatError(f"{INDEX}: there is no file {row.path[:100]!r} in a bundle")
        if (row.kind, row.of) != found[:2]:
            raise FormatError(f"{INDEX}: {row.path} is {found.kind} of {found.of!r}, and the index says otherwise")
    if record.shipments != sorted(set(shipments(paths))):
        raise FormatError(f"{INDEX}: the shipments are not those of its files")
    return record


def shipments(paths: Iterable[str]) -> list[str]:
    """Consignments that have a file, sorted."""
    return sorted({found[1] for path in paths if (found := _SHIPMENT.fullmatch(path))})


def sums(rows: Iterable[AuditFile]) -> bytes:
    """B3SUMS over the files of an index: all but itself."""
    return "".join(f"{row.blake3}  {row.path}\n" for row in rows if row.path != SUMS).encode()


# --- the archive -----------------------------------------------------------------------------------------


def order(paths: Iterable[str]) -> list[str]:
    """Names in the order of the archive."""
    given = set(paths)
    return [path for path in FIRST if path in given] + sorted(given - set(FIRST))


def encode_bundle(files: Mapping[str, bytes]) -> Iterator[bytes]:
    """The archive, piece by piece."""
    for path in order(files):
        yield header(path, len(files[path]))
        yield files[path]
        yield bytes(-len(files[path]) % _TAR)
    yield bytes(2 * _TAR)


def header(path: str, length: int) -> bytes:
    """The ustar header of a file (POSIX.1-1988, IEEE Std 1003.1, pax interchange format)."""
    folder, _, name = path.rpartition("/")
    block = bytearray(_TAR)
    fields = (
        (0, name.encode()),
        (100, b"0000644\0"),
        (108, b"0000000\0"),
        (116, b"0000000\0"),
        (124, b"%011o\0" % length),
        (136, b"00000000000\0"),
        (148, b" " * 8),
        (156, b"0"),
        (257, b"ustar\x0000"),
        (345, folder.encode()),
    )
    for offset, value in fields:
        block[offset : offset + len(value)] = value
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def decode_bundle(data: bytes) -> dict[str, bytes]:
    """The files of an archive; FormatError unless it is byte for byte what `encode_bundle` writes."""
    if len(data) > MAX_BUNDLE:
        raise FormatError(f"the bundle is {len(data):,} bytes long; at most {MAX_BUNDLE:,} are allowed")
    files: dict[str, bytes] = {}
    last, at = "", 0
    while data[at : at + 1] != b"\0":
        where = f"after {last}" if last else "at its beginning"
        path, length = _member(data[at : at + _TAR], where)
        if path in files:
            raise FormatError(f"{path} is in the bundle twice")
        at += _TAR
        files[path] = data[at : at + length]
        end = at + length + -length % _TAR
        if len(data) < end:
            raise FormatError(f"{path}: the bundle ends within it")
        if data[at + length : end].strip(b"\0"):
            raise FormatError(f"{path}: what fills it up to 512 bytes is not zeros")
        last, at = path, end
        if len(files) > MAX_FILES:
            raise FormatError(f"more than {MAX_FILES:,} files in the bundle")
    if data[at:] != bytes(2 * _TAR):
        raise FormatError(f"the bundle does not end with two empty blocks after {last or 'nothing'}")
    if list(files) != order(files):
        raise FormatError("the files of the bundle are not in order: " + _first_out(list(files)))
    return files


def _member(block: bytes, where: str) -> tuple[str, int]:
    """Name and length of a header; FormatError unless it is the header that `header` makes of them."""
    parts = [block[345:500].rstrip(b"\0"), block[:100].rstrip(b"\0")]
    try:
        path = "/".join(part.decode("ascii") for part in parts if part)
    except UnicodeDecodeError as error:
        raise FormatError(f"the name of the file {where} is none of a bundle's") from error
    found = Described("signature", "", _SMALL) if path == INDEX_SIG else describe(path)
    if path == INDEX:
        found = Described("signature", "", MAX_INDEX)
    if found is None:
        raise FormatError(f"{path[:200]!r}, {where}: no such file belongs in a bundle")
    size = block[124:135]
    if len(size) != 11 or not all(0x30 <= byte <= 0x37 for byte in size):
        raise FormatError(f"{path}: its length in the archive is no number")
    length = int(size, 8)
    if length > found.longest:
        raise FormatError(f"{path}: {length:,} bytes long; at most {found.longest:,} are allowed")
    if header(path, length) != block:
        raise FormatError(f"{path}: its header in the archive is not in canonical form")
    return path, length


def _first_out(paths: list[str]) -> str:
    wanted = order(paths)
    return next(path for path, right in zip(paths, wanted, strict=True) if path != right)
