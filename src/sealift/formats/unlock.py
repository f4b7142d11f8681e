"""Issued keys: the file keys of one shipment's packs and index files, for one job, in one age file.

    age file                for the job's recipients, and nobody else; its plaintext is a plain ustar archive of
    unlock.json             Unlock: of which shipment, for which job, by whom, from when and until when
    unlock.json.sig         SSHSIG over it by whoever issued them, namespace `sealift-unlock`
    keys.bin                16 bytes a file of the shipment, pages under the root that unlock.json states (paged.py)

Rows of keys.bin, group after group as unlock.json names them: the two index files, then data packs by stripe and role.
A row of zeros is no key: the pack is absent, or its header could not be read. Parity packs have no keys.

What holds: an archive that `layout` takes is, to the byte, what `write` makes of the same record, signature and keys,
but for keys.bin, of which each page is checked when it is read. A reader holds some pages, whatever the shipment's
size; a writer 16 bytes a pack. What is not here: whom to believe, and until when (trade/unlock.py), files and clocks.
docs/spec/unlock.md says the same to the byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

from msgspec import Meta

from sealift.errors import FormatError
from sealift.formats import canonical, paged, strict
from sealift.formats.age import FILE_KEY
from sealift.formats.age_header import MAX_STANZAS
from sealift.formats.canonical import Record
from sealift.formats.manifest import (
    MAX_DRIVES,
    MAX_STRIPES,
    MEMBERS_INDEX,
    PACKS_INDEX,
    Count,
    FileRef,
    Hex32,
    Name,
    ShipmentId,
    Text,
    pack_name,
)
from sealift.formats.seal import RecipientText, tar_header
from sealift.formats.sshsig import MAX_ARMORED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECORD, SIGNATURE, KEYS = "unlock.json", "unlock.json.sig", "keys.bin"
MAGIC: Final = b"SLUNLOCK"
MAX_RECORD: Final = 8 << 20  # bytes of unlock.json: 100,000 groups
MAX_ROWS: Final = 1 << 26  # files whose keys are issued at once: 1 GiB of keys, of 72 PB in packs of the default size
MAX_GROUPS: Final = 100_000
NO_KEY: Final = bytes(FILE_KEY)
INDEXES: Final = (MEMBERS_INDEX, PACKS_INDEX)
_TAR: Final = 512
_PIECE: Final = 1 << 20

Time = Annotated[str, Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")]
KeyCount = Annotated[int, Meta(ge=1, le=MAX_ROWS)]
Recipients = Annotated[list[RecipientText], Meta(min_length=1, max_length=MAX_STANZAS)]


class UnlockGroup(Record, frozen=True, kw_only=True):
    """A group whose keys are issued, and its geometry, from which the place of each key follows."""

    group: Count
    data: Annotated[int, Meta(ge=1, le=MAX_DRIVES)]
    stripes: Annotated[int, Meta(ge=0, le=MAX_STRIPES)]

    @property
    def rows(self) -> int:
        """Rows of keys.bin."""
        return len(INDEXES) + self.data * self.stripes

    def name(self, row: int) -> str:
        """The file of a row, as it is called on a drive."""
        if row < len(INDEXES):
            return INDEXES[row]
        stripe, role = divmod(row - len(INDEXES), self.data)
        return pack_name(stripe, role, self.data)


class KeyTable(Record, frozen=True, kw_only=True):
    """keys.bin: how many rows, how many of them hold a key, and the root of its pages."""

    rows: KeyCount
    issued: KeyCount
    root: Hex32


class Unlock(Record, frozen=True, kw_only=True):
    """What whoever issues keys signs; `seal` is length and digest of the shipment's seal.json."""

    type: Literal["sealift-unlock"] = "sealift-unlock"
    version: Literal[1] = 1
    shipment: ShipmentId
    consignment_id: Name
    seal: FileRef
    job: Name
    name: Name
    organisation: Text
    issued_at: Time
    valid_until: Time
    recipients: Recipients
    groups: Annotated[list[UnlockGroup], Meta(min_length=1, max_length=MAX_GROUPS)]
    keys: KeyTable


def encode(record: Unlock) -> bytes:
    """Canonical bytes; what is signed. FormatError: it contradicts itself."""
    data = canonical.encode(record)
    decode(data)
    return data


def decode(data: bytes) -> Unlock:
    """Parse and check a record's own consistency; FormatError otherwise. Says nothing about who signed it, or when."""
    record = canonical.decode(data, Unlock, limit=MAX_RECORD, name=RECORD)
    strict.check_texts(record, RECORD)
    numbers = [each.group for each in record.groups]
    if numbers != sorted(set(numbers)):
        raise FormatError(f"{RECORD}: groups are not in order, each once")
    if record.recipients != sorted(set(record.recipients)):
        raise FormatError(f"{RECORD}: recipients are not sorted, each once")
    if record.keys.rows != sum(each.rows for each in record.groups) or record.keys.issued > record.keys.rows:
        raise FormatError(f"{RECORD}: keys are of other files than its groups have")
    if not record.issued_at < record.valid_until:
        raise FormatError(f"{RECORD}: the keys are valid until before they were issued")
    return record


def table_root(rows: int, keys: bytes | bytearray) -> bytes:
    """The root of keys.bin over `rows` keys of FILE_KEY bytes, in order."""
    return paged.write(MAGIC, FILE_KEY, rows, _pieces(keys), lambda _page: None)


def write(
    record: Unlock, data: bytes, signature: bytes, keys: bytes | bytearray, emit: Callable[[bytes], object]
) -> None:
    """The archive, in pieces through `emit`: `data` are the record's canonical bytes, `keys` its rows. ValueError."""
    for name, content in ((RECORD, data), (SIGNATURE, signature)):
        emit(tar_header(name, len(content)) + content + bytes(-len(content) % _TAR))
    emit(tar_header(KEYS, paged.file_length(FILE_KEY, record.keys.rows)))
    root = paged.write(MAGIC, FILE_KEY, record.keys.rows, _pieces(keys), emit)
    if root.hex() != record.keys.root:
        raise ValueError("the keys are others than the record states")
    emit(bytes(2 * _TAR))


def _pieces(keys: bytes | bytearray) -> Iterator[bytes]:
    return (bytes(keys[at : at + _PIECE]) for at in range(0, len(keys), _PIECE))


class Layout(NamedTuple):
    """An archive: the record, its bytes, its signature, and where keys.bin begins."""

    record: Unlock
    data: bytes
    signature: bytes
    keys_at: int


def layout(read_at: Callable[[int, int], bytes], length: int) -> Layout:
    """The archive of `length` bytes that `read_at(offset, count)` reads; FormatError unless it is as `write` makes it.

    Of keys.bin only the header is read: its pages are checked when they are (`key_pages`).
    """
    data, at = _member(read_at, 0, RECORD, MAX_RECORD)
    record = decode(data)
    signature, at = _member(read_at, at, SIGNATURE, MAX_ARMORED)
    table = paged.file_length(FILE_KEY, record.keys.rows)
    if read_at(at, _TAR) != tar_header(KEYS, table):
        raise FormatError(f"issued keys: no header where {KEYS} should begin")
    at += _TAR
    if length != at + table + 2 * _TAR or read_at(at + table, 2 * _TAR) != bytes(2 * _TAR):
        raise FormatError(f"issued keys: something else than {KEYS} follows")
    found = Layout(record, data, signature, at)
    key_pages(found, read_at).check_header()
    return found


def _member(read_at: Callable[[int, int], bytes], at: int, name: str, limit: int) -> tuple[bytes, int]:
    """A small file of the archive, and where the next one begins."""
    header = read_at(at, _TAR)
    size = header[124:135]
    if len(size) != 11 or not all(0x30 <= byte <= 0x37 for byte in size):
        raise FormatError(f"issued keys: no header where {name} should begin")
    length = int(size, 8)
    if length > limit:
        raise FormatError(f"issued keys: {name} is {length:,} bytes long; at most {limit:,} are allowed")
    data = read_at(at + _TAR, length + -length % _TAR)
    if header != tar_header(name, length) or data[length:] != bytes(-length % _TAR) or len(data) < length:
        raise FormatError(f"issued keys: {name} is not stored as it is written")
    return data[:length], at + _TAR + length + -length % _TAR


def key_pages(found: Layout, read_at: Callable[[int, int], bytes], *, cache: int = 64) -> paged.PagedFile:
    """keys.bin of an archive, page by page under its root; at most `cache` pages of 16 KiB are held."""
    return paged.PagedFile(
        lambda offset, count: read_at(found.keys_at + offset, count),
        magic=MAGIC,
        record=FILE_KEY,
        count=found.record.keys.rows,
        root=bytes.fromhex(found.record.keys.root),
        name=KEYS,
        cache=cache,
    )
