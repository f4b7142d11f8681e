"""Tar headers by hand: POSIX pax, what GNU tar restores, at a few microseconds a file.

Writes ustar headers, preceded by a pax extended header only where ustar cannot say it (long or split-proof names,
sizes from 8 GiB, mtimes with fractions, GNU.sparse 1.0 maps). Names are bytes and are kept as they are, UTF-8 or
not; GNU tar and libarchive take them literally. Owners are not carried: uid and gid are 0, names empty.
Reading (`parse_header`, `parse_pax`) is for walking packs of our own; unpack goes by the index, not by headers.

References: POSIX.1-2017 pax "ustar Interchange Format" and "pax Header Block"; GNU tar manual, "Storing Sparse
Files", PAX format version 1.0.
"""

from __future__ import annotations

import functools
from typing import NamedTuple
from zlib import adler32

from sealift.errors import FormatError

BLOCK = 512
REGULAR, HARDLINK, SYMLINK, DIRECTORY, PAX = b"0", b"1", b"2", b"5", b"x"
_MAX_OCTAL_SIZE = 8**11
_ZEROS = bytes(BLOCK)
END = bytes(2 * BLOCK)
MAX_EXTENTS = 4096


def padding(size: int) -> int:
    """Zero bytes after `size` bytes of content."""
    return -size % BLOCK


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """(prefix, name) as ustar has them, or None where they do not fit."""
    if len(name) <= 100:
        return b"", name
    if len(name) > 256:
        return None
    cut = name.find(b"/", len(name) - 101)
    if cut <= 0 or cut > 155 or cut == len(name) - 1:
        return None
    return name[:cut], name[cut + 1 :]


def _ustar(name: bytes, prefix: bytes, kind: bytes, size: int, mode: int, mtime: int, link: bytes) -> bytes:
    tail, tail_sum = _plain_tail(kind) if not link and not prefix else _tail(kind, prefix, link)
    head = b"%b%b%011o\x00%011o\x00" % (name.ljust(100, b"\0"), _owner(mode), size, mtime)
    checksum = _sum(head) + tail_sum + 256  # the field itself counts as eight spaces
    return b"%b%06o\x00 %b" % (head, checksum, tail)


@functools.lru_cache(4096)
def _owner(mode: int) -> bytes:
    """Mode, and the owners that are not carried."""
    return b"%07o\x000000000\x000000000\x00" % mode


def _tail(kind: bytes, prefix: bytes, link: bytes) -> tuple[bytes, int]:
    """What follows the checksum, and the sum of its bytes."""
    tail = b"%b%bustar\x0000%b0000000\x000000000\x00%b" % (
        kind,
        link.ljust(100, b"\0"),
        bytes(64),
        prefix.ljust(167, b"\0"),
    )
    return tail, _sum(tail[:250]) + _sum(tail[250:])


@functools.cache
def _plain_tail(kind: bytes) -> tuple[bytes, int]:
    return _tail(kind, b"", b"")


def _sum(data: bytes) -> int:
    """Sum of at most 256 bytes: the low half of their Adler-32, which wraps only beyond; 40 times as fast as sum()."""
    return (adler32(data) & 0xFFFF) - 1


@functools.lru_cache(512)
def _pax_header(size: int) -> bytes:
    return _ustar(b"././@PaxHeader", b"", PAX, size, 0o644, 0, b"")


def _pax(records: list[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(_record(key, value) for key, value in records) if len(records) > 1 else _record(*records[0])
    return _pax_header(len(body)) + body + bytes(-len(body) % BLOCK)


def _record(key: bytes, value: bytes) -> bytes:
    base = len(key) + len(value) + 3
    length = base + len(str(base))
    if base + len(str(length)) != length:
        length = base + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def header(
    name: bytes,
    kind: bytes,
    size: int,
    mode: int,
    mtime_ns: int,
    link: bytes = b"",
    extra: tuple[tuple[bytes, bytes], ...] = (),
) -> bytes:
    """The header blocks of one member: a multiple of 512 bytes; content and padding follow.

    `size` is the length of the content that follows, in bytes; `mtime_ns` in nanoseconds since the epoch; `link`
    the target of a symbolic or hard link; `extra` further pax records, first.
    """
    seconds, fraction = divmod(mtime_ns, 1_000_000_000)
    place = _split(name)
    if (
        fraction == 0
        and place is not None
        and len(link) <= 100
        and not extra
        and 0 <= seconds < _MAX_OCTAL_SIZE
        and size < _MAX_OCTAL_SIZE
    ):
        return _ustar(place[1], place[0], kind, size, mode, seconds, link)
    records = list(extra)
    if place is None:
        records.append((b"path", name))
        place = (b"", name[:100])
    if len(link) > 100:
        records.append((b"linkpath", link))
    if size >= _MAX_OCTAL_SIZE:
        records.append((b"size", b"%d" % size))
    if fraction or not 0 <= seconds < _MAX_OCTAL_SIZE:
        records.append((b"mtime", _decimal(mtime_ns)))
    plain = _ustar(
        place[1],
        place[0],
        kind,
        min(size, _MAX_OCTAL_SIZE - 1),
        mode,
        min(max(seconds, 0), _MAX_OCTAL_SIZE - 1),
        link[:100],
    )
    return _pax(records) + plain if records else plain


def _decimal(mtime_ns: int) -> bytes:
    sign = b"-" if mtime_ns < 0 else b""
    seconds, fraction = divmod(abs(mtime_ns), 1_000_000_000)
    return (b"%b%d.%09d" % (sign, seconds, fraction)).rstrip(b"0").rstrip(b".")


def sparse_map(extents: list[tuple[int, int]], size: int) -> bytes:
    """The GNU.sparse 1.0 map that stands before the data: offsets and lengths in bytes, padded to 512."""
    entries = list(extents)
    if not entries or entries[-1][0] + entries[-1][1] < size:
        entries.append((size, 0))
    text = b"%d\n" % len(entries) + b"".join(b"%d\n%d\n" % entry for entry in entries)
    return text + bytes(padding(len(text)))


def parse_sparse_map(data: bytes) -> tuple[list[tuple[int, int]], int]:
    """Extents and the length of the map in bytes, from the beginning of a sparse member's content; FormatError."""
    lines = data.split(b"\n", 2 * (MAX_EXTENTS + 1) + 2)
    try:
        count = int(lines[0]) if lines[0].isdigit() else -1
        if not 0 <= count <= MAX_EXTENTS + 1:
            raise FormatError("sparse map: number of extents is out of limits")
        numbers = [int(line) for line in lines[1 : 2 * count + 1] if line.isdigit() and len(line) < 20]
    except ValueError as error:
        raise FormatError("sparse map does not parse") from error
    if len(numbers) != 2 * count:
        raise FormatError("sparse map is cut short")
    used = sum(len(line) + 1 for line in lines[: 2 * count + 1])
    extents = list(zip(numbers[::2], numbers[1::2], strict=True))
    end = 0
    for offset, length in extents:
        if offset < end:
            raise FormatError("sparse map: extents are not in order")
        end = offset + length
    return extents, used + padding(used)


def sparse_header(
    name: bytes, content: int, real: int, mode: int, mtime_ns: int, extra: tuple[tuple[bytes, bytes], ...] = ()
) -> bytes:
    """Header of a sparse member: `content` bytes (map and data) follow, `real` bytes is the file; `extra` as above."""
    folder, _, last = name.rpartition(b"/")
    stand_in = (folder + b"/" if folder else b"") + b"GNUSparseFile.0/" + last
    extra = (
        *extra,
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", name),
        (b"GNU.sparse.realsize", b"%d" % real),
    )
    return header(stand_in, REGULAR, content, mode, mtime_ns, extra=extra)


class Member(NamedTuple):
    """One member as a header says it; `data` is the offset of its content in the tar stream."""

    name: bytes
    kind: bytes
    size: int
    mode: int
    mtime_ns: int
    link: bytes
    data: int
    pax: dict[bytes, bytes]


def parse_header(block: bytes, offset: int, pax: dict[bytes, bytes]) -> Member:
    """One ustar header of 512 bytes at `offset`, with the pax records before it; FormatError."""
    try:
        return _parse_header(block, offset, pax)
    except ValueError as error:
        raise FormatError(f"tar header at offset {offset} has a field that is no number") from error


def _octal(field: bytes) -> int:
    """A number as we write it; int() would take signs, spaces and underscores, and a size below zero walks back."""
    if not field.isdigit():
        raise ValueError
    return int(field, 8)


def _decimal_of(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise ValueError
    return int(text)


def _parse_header(block: bytes, offset: int, pax: dict[bytes, bytes]) -> Member:
    if len(block) != BLOCK or block[257:262] != b"ustar":
        raise FormatError(f"no tar header at offset {offset}")
    if _octal(block[148:154]) != sum(block[:148]) + 256 + sum(block[156:]):
        raise FormatError(f"tar header at offset {offset} has a wrong checksum")
    prefix, name = block[345:500].rstrip(b"\0"), block[:100].rstrip(b"\0")
    name = pax.get(b"GNU.sparse.name") or pax.get(b"path") or (prefix + b"/" + name if prefix else name)
    size = _decimal_of(pax[b"size"]) if b"size" in pax else _octal(block[124:135])
    mtime = _octal(block[136:147]) * 1_000_000_000
    if b"mtime" in pax:
        whole, _, fraction = pax[b"mtime"].partition(b".")
        mtime = _decimal_of(whole.removeprefix(b"-")) * 1_000_000_000 + _decimal_of(fraction.ljust(9, b"0")[:9])
        mtime = -mtime if whole.startswith(b"-") else mtime
    link = pax.get(b"linkpath") or block[157:257].rstrip(b"\0")
    return Member(name, block[156:157], size, _octal(block[100:107]), mtime, link, offset + BLOCK, pax)


def parse_pax(body: bytes) -> dict[bytes, bytes]:
    """The records of a pax extended header; FormatError."""
    records: dict[bytes, bytes] = {}
    while body:
        digits, _, _ = body.partition(b" ")
        if not digits.isdigit() or len(digits) > 7 or not len(digits) + 3 <= int(digits) <= len(body):
            raise FormatError("pax record has a wrong length")
        line, body = body[len(digits) + 1 : int(digits)], body[int(digits) :]
        key, equals, value = line.partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise FormatError("pax record is malformed")
        records[key] = value[:-1]
    return records
