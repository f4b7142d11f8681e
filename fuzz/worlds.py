"""Targets over whole drives: a small shipment is packed once, then its files are changed in memory.

survey          what inspect and verify find out about drives whose files were overwritten, cut, swapped or removed
members_index   index/members.parquet, as plaintext: whoever holds a recipient's identity could have made it
packs_index     index/packs.parquet, the same
parquet         both, as bytes that need not be Parquet
journal_copy    journal.age and journal-NNNNNNN.age, as plaintext, and the whole file
"""

from __future__ import annotations

import atexit
import io
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import shipments
from targets import each, target

from sealift.drives.memory import MemoryDrive
from sealift.formats import age, age_keys, index
from sealift.formats import manifest as mf
from sealift.formats.allowed_signers import AllowedSigners
from sealift.reading.index_files import Members, open_parquet, pack_counts
from sealift.stages import inspect as inspecting
from sealift.stages import verify as verifying
from sealift.stages.pack import copies

if TYPE_CHECKING:
    from collections.abc import Sequence

SMALL = 1 << 16
"""Files on drives up to this length are changed; packs are not, but may be cut or removed."""


@cache
def origin() -> shipments.Origin:
    """One group of 2+1 drives with two dozen files, packed once."""
    folder = Path(tempfile.mkdtemp(prefix="sealift-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    source = folder / "source"
    for number in range(24):
        shipments.write(source / f"d{number % 3}/{number:02d}.txt", b"%d\n" % number * 200)
    made = shipments.Origin(folder / "origin", source, 2, 1)
    made.pack()
    return made


@cache
def _files() -> tuple[dict[str, bytes], ...]:
    """Every file beneath sealift/, by drive; the seal is on the first."""
    found = []
    for mount in origin().mounts:
        root = Path(mount, "sealift")
        found.append(
            {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
        )
    found[0].update(origin().seal())
    return tuple(found)


def _drives() -> list[MemoryDrive]:
    drives = []
    for number, files in enumerate(_files()):
        drive = MemoryDrive(f"m{number}")
        drive.medium.serial = origin().serial(origin().mounts[number])
        for name, data in files.items():
            drive.put(name, data)
        drives.append(drive)
    return drives


def look(parts: Sequence[tuple[str, bytes]] = (), drives: Sequence[MemoryDrive] | None = None) -> bytes:
    """What inspect says of drives, with and without allowed signers; as JSON."""
    report = b""
    for allowed in (None, AllowedSigners.parse(origin().allowed)):
        report = msgspec.json.encode(inspecting.inspect(drives or _drives(), allowed=allowed, parts=parts))
    return report


@cache
def report() -> bytes:
    """The report of another host, as verify --json prints it."""
    allowed = AllowedSigners.parse(origin().allowed)
    return msgspec.json.encode(verifying.verify(_drives(), allowed=allowed, remember=False))


EDIT = 8  # bytes: drive, file, what, offset (2), value, length (2); then as many bytes


@target(
    lambda: [
        bytes([0, file, what, 0, 40, 7, 0, 4, 1, 2, 3, 4]) for file in (0, 3, 5, 9) for what in range(8)
    ],
    1 << 12,
)  # fmt: skip
def survey(data: bytes) -> None:
    """Drives with files that were overwritten, cut, grown, removed, exchanged, or are no files at all."""
    drives = _drives()
    for _ in range(16):
        if len(data) < EDIT:
            break
        data = _edit(drives, data)
    look((), drives)
    allowed = AllowedSigners.parse(origin().allowed)
    verifying.verify(drives, allowed=allowed, remember=False)


def _edit(drives: list[MemoryDrive], data: bytes) -> bytes:
    """One change; what is left of the data."""
    drive = drives[data[0] % len(drives)]
    names = sorted(drive.medium.files)
    if not names:
        return b""
    name, what = names[data[1] % len(names)], data[2] % 8
    offset, value, length = int.from_bytes(data[3:5], "big"), data[5], int.from_bytes(data[6:8], "big") % 512
    text, rest = data[EDIT : EDIT + length], data[EDIT + length :]
    old = drive.medium.files[name]
    if isinstance(old, str):
        return rest
    if what == 0 and len(old) <= SMALL:
        at = offset % (len(old) + 1)
        drive.put(name, bytes(old[:at]) + text + bytes(old[at + len(text) :]))
    elif what == 1:
        drive.put(name, bytes(old[: offset % (len(old) + 1)]))
    elif what == 2:
        drive.put(name, bytes(old) + text)
    elif what == 3:
        del drive.medium.files[name]
    elif what == 4:
        drive.put(names[value % len(names)], bytes(old))
    elif what == 5:
        drive.put(name, ("folder", "link", "other")[value % 3])  # type: ignore[arg-type]
    elif what == 6:
        drive.put(text.decode("ascii", "replace").strip("/.") or "x", bytes(old))
    else:
        other = drives[value % len(drives)]
        drive.medium.files, other.medium.files = other.medium.files, drive.medium.files
    return rest


# -- what only a recipient could have made ------------------------------------------------------------------


@cache
def _plain(name: str) -> bytes:
    return age.decrypt(_files()[0][name], age_keys.parse_identities(origin().identity.encode()))


def _read_members(data: bytes) -> None:
    geometry = mf.decode_manifest(_files()[0][mf.MANIFEST]).geometry
    members = Members(lambda: open_parquet(io.BytesIO(data), "index"), geometry)  # type: ignore[arg-type]
    each(lambda: list(members.rows()), lambda: members.find(b"d1/01.txt"))


def _hostile(data: bytes, schema: pa.Schema) -> bytes:
    """A sound Parquet file whose rows, nulls, columns and types are as the data says."""
    stream = io.BytesIO(data)

    def number(size: int) -> int:
        return int.from_bytes(stream.read(size), "little")

    def value(kind: pa.DataType) -> Any:
        if pa.types.is_list(kind):
            return [number(4) for _ in range(number(1) % 8)]
        if pa.types.is_binary(kind):
            return stream.read(number(1) % 64)
        width = kind.bit_width
        raw = number(width // 8)
        return raw - (1 << width) if pa.types.is_signed_integer(kind) and raw >> (width - 1) else raw

    count, columns, fields = number(1) % 8, [], []
    for field in schema:
        how = number(1) % 16
        if how == 15:
            continue
        kind = (pa.string(), pa.int32(), pa.list_(pa.int64()), pa.float64())[how % 4] if how >= 12 else field.type
        values = [value(field.type) if kind is field.type else None for _ in range(count)]
        if how == 11 and values:
            values[-1] = None
        columns.append(pa.array(values, kind))
        fields.append(pa.field(field.name, kind))
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=pa.schema(fields)), sink, store_schema=False)
    return sink.getvalue()


def _seeded(length: int) -> list[bytes]:
    """Data by which nothing is wrong but the values; and each column in turn is."""
    return [
        bytes([2]) + bytes(length),
        *(bytes([2]) + bytes(at) + bytes([how]) * 4 for at in range(0, 200, 9) for how in (11, 13, 15)),
    ]


@target(lambda: _seeded(400), 1 << 12)
def members_index(data: bytes) -> None:
    """Rows of an index, all of them and by path: any values, nulls, columns and types."""
    _read_members(_hostile(data, index.members_schema()))


@target(lambda: _seeded(200), 1 << 12)
def packs_index(data: bytes) -> None:
    """A table of packs."""
    _read_packs(_hostile(data, index.packs_schema()))


@target(lambda: [_plain(mf.MEMBERS_INDEX), _plain(mf.PACKS_INDEX)], known=True)
def parquet(data: bytes) -> None:
    """Both index files as any bytes at all: Arrow's reader is not made for them."""
    each(lambda: _read_members(data), lambda: _read_packs(data))


def _read_packs(data: bytes) -> None:
    geometry = mf.decode_manifest(_files()[0][mf.MANIFEST]).geometry
    each(lambda: pack_counts(lambda: open_parquet(io.BytesIO(data), "table"), geometry))  # type: ignore[arg-type]


def _copies() -> list[bytes]:
    from sealift.stages.pack.journal_rows import PackRow
    from sealift.stages.pack.queue import Cursor

    row = PackRow(0, 0, 1 << 20, bytes(32), bytes(32), 1, 9, 9, 1, 1, 9, 1)
    stripe = copies.StripeCopy(0, Cursor(), [row], [], 0.5, b"rows", bytes(32), None)
    return [msgspec.msgpack.encode(record) for record in (copies.Settings(b"{}", "ab" * 32), stripe)]


@target(_copies)
def journal_copy(data: bytes) -> None:
    """A copy of the journal: as a file, and as what is in one; the recipient's key is no secret."""
    own = copies.Copies(origin().signer, [])
    sealed = age.encrypt(data, own._recipients)
    for file in (data, sealed):
        drive = MemoryDrive("m")
        drive.put(copies.SETTINGS, file)
        drive.put(copies.stripe_name(0), file)
        each(lambda d=drive: own.settings([d]), lambda d=drive: own.stripes([d]))  # type: ignore[misc]
