"""Files of fixed records that are checked page by page under a hash tree (packs.bin, blocks.bin).

The hashes of a full drive's blocks are gigabytes; a reader that needs forty of them must not read them all to
trust them. So the records lie in 16 KiB pages, the BLAKE3 digests of the pages lie in pages after them, and so
on up to a level of one page. The root, BLAKE3(header || top page), stands in the signed manifest.

    offset          bytes       what
    0               64          header (HEADER below)
    64              16,320      zeros
    16,384          body        records, the last page padded with zeros
    ...             level 1     32-byte digests of the body's pages, padded to whole pages with zeros
    ...             level 2..   digests of the pages of the level below, until a level is one page

An empty body is one page of zeros. docs/spec/drive.md has the same table. Pure: pages come through a callable.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator

from blake3 import blake3

from sealift.errors import FormatError

PAGE = 16384
DIGEST = 32
FANOUT = PAGE // DIGEST

# magic, version, record bytes, record count, page bytes, levels above the body
HEADER = struct.Struct("<8sIIQII32x")
VERSION = 1
MAX_RECORDS = 1 << 48

ReadAt = Callable[[int, int], bytes]


def _pages(size: int) -> int:
    return max(1, -(-size // PAGE))


def layout(record: int, count: int) -> list[int]:
    """Pages of each level: the body first, then the digests of the level below, up to a level of one page."""
    levels = [_pages(record * count)]
    while True:
        levels.append(_pages(levels[-1] * DIGEST))
        if levels[-1] == 1:
            return levels


def file_length(record: int, count: int) -> int:
    """Length in bytes of a file of `count` records of `record` bytes."""
    return (1 + sum(layout(record, count))) * PAGE


def write(magic: bytes, record: int, count: int, body: Iterable[bytes], emit: Callable[[bytes], object]) -> bytes:
    """Write a paged file through `emit` and return its 32-byte root.

    `body` yields the records' bytes in pieces of any length, `record * count` bytes in all. The digests of one
    level are held while it is written: 32 bytes for 16 KiB of body, 0.2% of it.
    """
    levels = layout(record, count)
    header = HEADER.pack(magic, VERSION, record, count, PAGE, len(levels) - 1)
    emit(header.ljust(PAGE, b"\0"))
    level = bytearray()
    page = b""
    total = 0
    for page in _paginate(body):
        total += len(page)
        padded = page.ljust(PAGE, b"\0")
        emit(padded)
        level += blake3(padded).digest()
    if total == 0:
        page = bytes(PAGE)
        emit(page)
        level += blake3(page).digest()
    if total != record * count:
        raise ValueError(f"{total} bytes of records, {record * count} announced")
    for pages in levels[1:]:
        upper = bytearray()
        for start in range(0, pages * PAGE, PAGE):
            page = bytes(level[start : start + PAGE]).ljust(PAGE, b"\0")
            emit(page)
            upper += blake3(page).digest()
        level = upper
    return blake3(header + page).digest()


def _paginate(body: Iterable[bytes]) -> Iterator[bytes]:
    rest = bytearray()
    for piece in body:
        rest += piece
        whole = len(rest) - len(rest) % PAGE
        for start in range(0, whole, PAGE):
            yield bytes(rest[start : start + PAGE])
        del rest[:whole]
    if rest:
        yield bytes(rest)


class PagedFile:
    """Records of a paged file, each page checked up to the root before a byte of it is used.

    `read_at(offset, length)` may lie, fail short or be slow; FormatError says that a page is not the origin's.
    Keeps at most `cache` checked pages (16 KiB each). Not safe for threads: one instance a thread.
    """

    def __init__(
        self,
        read_at: ReadAt,
        *,
        magic: bytes,
        record: int,
        count: int,
        root: bytes,
        name: str,
        cache: int = 256,
    ) -> None:
        if not 0 <= count <= MAX_RECORDS:
            raise FormatError(f"{name}: {count} records; at most {MAX_RECORDS} are allowed")
        self.record, self.count, self.name = record, count, name
        self._read_at, self._root = read_at, root
        self._levels = layout(record, count)
        self._starts = [1 + sum(self._levels[:index]) for index in range(len(self._levels))]
        self._header = HEADER.pack(magic, VERSION, record, count, PAGE, len(self._levels) - 1)
        self._cache: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._limit = cache

    @property
    def length(self) -> int:
        """Length of the whole file in bytes."""
        return file_length(self.record, self.count)

    def check_header(self) -> None:
        """Raise FormatError unless the header page on the medium is the one the root covers."""
        if self._fetch(0) != self._header.ljust(PAGE, b"\0"):
            raise FormatError(f"{self.name}: header page is damaged")

    def _fetch(self, page: int) -> bytes:
        data = self._read_at(page * PAGE, PAGE)
        if len(data) != PAGE:
            raise FormatError(f"{self.name}: page {page} is cut short")
        return bytes(data)

    def page(self, level: int, number: int) -> bytes:
        """Checked page `number` of `level` (0 is the body)."""
        key = (level, number)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        data = self._fetch(self._starts[level] + number)
        if level == len(self._levels) - 1:
            good = blake3(self._header + data).digest() == self._root
        else:
            upper, place = divmod(number, FANOUT)
            digests = self.page(level + 1, upper)
            good = blake3(data).digest() == digests[place * DIGEST : (place + 1) * DIGEST]
        if not good:
            raise FormatError(f"{self.name}: page {self._starts[level] + number} is damaged")
        self._cache[key] = data
        while len(self._cache) > self._limit:
            self._cache.popitem(last=False)
        return data

    def get(self, start: int, stop: int) -> bytes:
        """The bytes of records start..stop-1, checked."""
        if not 0 <= start <= stop <= self.count:
            raise FormatError(f"{self.name}: no records {start} to {stop}; there are {self.count}")
        first, last = start * self.record, stop * self.record
        parts = []
        for number in range(first // PAGE, -(-last // PAGE)):
            data = self.page(0, number)
            parts.append(data[max(0, first - number * PAGE) : last - number * PAGE])
        return b"".join(parts)

    def pages(self) -> Iterator[bytes]:
        """The whole file, page by page, each checked; FormatError at the first that is damaged."""
        yield self._header.ljust(PAGE, b"\0")
        for level, pages in enumerate(self._levels):
            for number in range(pages):
                yield self.page(level, number)

    def damaged_pages(self) -> Iterator[int]:
        """Read the whole file; page numbers of the file (0 is the header) that are damaged or cannot be trusted."""
        if self._fetch_or_none(0) != self._header.ljust(PAGE, b"\0"):
            yield 0
        for level in range(len(self._levels) - 1, -1, -1):
            for number in range(self._levels[level]):
                try:
                    self.page(level, number)
                except (FormatError, OSError):
                    yield self._starts[level] + number

    def _fetch_or_none(self, page: int) -> bytes | None:
        try:
            return self._fetch(page)
        except (FormatError, OSError):
            return None
