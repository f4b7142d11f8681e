"""The plaintext of one data pack at random: age chunks, zstd frames, members; verified, rebuilt where needed.

A chunk that authenticates under the key of the header that the manifest binds, at its place, is the origin's
(docs/spec/threat-model.md). So bytes of a pack whose drive does not answer are rebuilt from whatever the other drives
give at the same place, for just the range that is wanted, and the chunk's tag says whether they were good. Where it
does not hold, blocks are compared with their signed hashes, rebuilt from verified ones, and tried again.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
from blake3 import blake3

from sealift.drives.base import aligned_buffer
from sealift.drives.ranges import Lent
from sealift.errors import AgeError, FormatError, Lost
from sealift.formats import age, age_header, tar, zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sealift.formats.manifest import PackRecord
    from sealift.reading.group import GroupReader
    from sealift.reading.hedge import Got
    from sealift.reading.keys import Keys

_HEAD = 4096
_TAIL = 16 << 10  # bytes at a pack's end in which most seek tables lie,
_TAIL_SOON = 128 << 10  # and those of which the drive is told meanwhile
_WINDOW = 2 << 20  # bytes of a pack read at a time when reading on (of a drive in another host, as it says),
_AHEAD = 2  # and how many more the drive is told of before: one is on its way while another one is waited for
_HEADERS = zstd.FRAME_HEADER + 3  # bytes at most between what was read of raw frames and what follows


class Buffers:
    """Memory that one pack is read with, or several that one thread reads; kept: fresh pages cost more than ciphers."""

    def __init__(self) -> None:
        self.sealed, self.plain, self.frame = memoryview(b""), memoryview(b""), bytearray()
        self.ahead: Lent | None = None  # plaintext that was made where it came, in place of `plain`
        self.holds: PackReader | None = None  # whose plaintext is there,
        self.framed: tuple[PackContent | None, int] = (None, -1)  # which raw frame of which pack,
        self.opened: tuple[PackContent | None, int, memoryview] = (
            None,
            -1,
            memoryview(b""),
        )  # and what was decompressed

    @property
    def nbytes(self) -> int:
        """Memory that this takes."""
        ahead = 0 if self.ahead is None else self.ahead.nbytes
        return len(self.sealed) + len(self.plain) + len(self.frame) + len(self.opened[2]) + ahead


def signed_header(group: GroupReader, stripe: int, role: int) -> tuple[bytes, int]:
    """Bytes that begin with the age header of a data pack, as the manifest binds it, and where its payload begins.

    From a drive, or rebuilt; 4 KiB are read as a rule. Lost, FormatError.
    """
    record = group.record(stripe, role)
    length = min(_HEAD, record.length)
    got = group.read(stripe, role, 0, memoryview(bytearray(length)))
    if got is not None and (start := _signed_start(raw := bytes(got.piece(0, length)), record)):
        if got.came == "rebuilt":
            group.count_rebuilt(stripe, role, 0, length)
        return raw, start
    for most in (length, record.length):
        good = group.verified(stripe, role, 0, min(most, age_header.MAX_HEADER + age_header.NONCE))
        if start := _signed_start(good, record):
            return good, start
    raise FormatError(f"the age header of pack {stripe}/{role} is not the one that was signed")


def _signed_start(raw: bytes, record: PackRecord) -> int:
    """Where the payload begins behind the signed header; 0 where that is not what `raw` begins with."""
    try:
        start = age_header.parse_header(raw).payload_start
    except AgeError:
        return 0
    return start if start <= len(raw) and blake3(raw[:start]).digest() == record.header else 0


class PackReader:
    """What is in age of one pack: `size` bytes, the frames and their seek table. Not safe for threads."""

    def __init__(
        self,
        group: GroupReader,
        stripe: int,
        role: int,
        keys: Keys,
        buffers: Buffers | None = None,
    ) -> None:
        self._group, self._stripe, self._role = group, stripe, role
        self._record = group.record(stripe, role)
        if not self._record.length:
            raise FormatError(f"pack {stripe}/{role} is absent")
        group.will_need(stripe, role, max(0, self._record.length - _TAIL_SOON), _TAIL_SOON)  # while the header is read
        raw, start = signed_header(group, stripe, role)
        file_key = keys.of_pack(age_header.parse_header(raw), group.manifest.group, stripe, role)
        self._start = start
        self._opener = age.Opener(age.payload_key(file_key, raw[start - age_header.NONCE : start]))
        self.size = age.plain_length(self._record.length, start)
        self._last = max(0, self.size - 1) // age.CHUNK
        self.buffers = Buffers() if buffers is None else buffers

    def read(self, start: int, end: int) -> bytes:
        """Plaintext bytes start..end-1, every chunk authenticated. Lost, FormatError."""
        if not 0 <= start <= end <= self.size:
            raise FormatError(f"pack {self._stripe}/{self._role} has {self.size} bytes, not {start} to {end}")
        if start == end:
            return b""
        first = start // age.CHUNK
        view = self.chunks(first, (end - 1) // age.CHUNK)
        return bytes(view[start - first * age.CHUNK : end - first * age.CHUNK])

    @property
    def window(self) -> int:
        """Bytes of plaintext, whole chunks, that are read at a time when reading on."""
        return max(1, (self._group.window(self._stripe, self._role) or _WINDOW) // age.SEALED_CHUNK) * age.CHUNK

    @property
    def at_hand(self) -> bool:
        """Whether what `chunks` gave last is still there."""
        return self.buffers.holds is self

    def will_need(self, start: int, end: int) -> None:
        """Plaintext start..end-1 will be asked for soon: its drive may begin to read it, and its thread to open it."""
        first, last = start // age.CHUNK, max(start, end - 1) // age.CHUNK
        at, stop = self._span(first, last)
        self._group.will_need(self._stripe, self._role, at, stop - at, self._opened)

    def _span(self, first: int, last: int) -> tuple[int, int]:
        """Where chunks `first` to `last` begin and end in the pack."""
        at = self._start + first * age.SEALED_CHUNK
        return at, min(self._start + (last + 1) * age.SEALED_CHUNK, self._record.length)

    def _opened(self, at: int, sealed: memoryview) -> Lent | None:
        """Plaintext of the chunks that begin at byte `at` of the pack; None: `chunks` shall see what is wrong."""
        first, before = divmod(at - self._start, age.SEALED_CHUNK)
        last = at + len(sealed) == self._record.length
        if before or (len(sealed) % age.SEALED_CHUNK and not last):  # a part of what was asked for, or cut short
            return None
        plain = Lent(len(sealed))
        try:
            done = self._opener.open_run(first, sealed, plain.view, last=last)
        except AgeError:
            return None
        plain.view = plain.view[:done]
        return plain

    def chunks(self, first: int, last: int) -> memoryview:
        """Plaintext of the chunks `first` to `last`, all authenticated; it lasts until the buffers are used again.

        Lost, FormatError.
        """
        at, stop = self._span(first, last)
        buffers = self.buffers
        buffers.holds = buffers.ahead = None
        if len(buffers.sealed) < stop - at:
            buffers.sealed = aligned_buffer(stop - at)  # huge pages: deciphering takes an eighth less time
        if len(buffers.plain) < (last - first + 1) * age.CHUNK:
            buffers.plain = aligned_buffer((last - first + 1) * age.CHUNK)
        sealed, plain = buffers.sealed[: stop - at], buffers.plain
        got = self._group.read(self._stripe, self._role, at, sealed)
        if got is not None and isinstance(got.made, Lent):
            buffers.holds, buffers.ahead = self, got.made
            return got.made.view
        if (done := self._open_all(got, first, stop - at, plain, last=last == self._last)) is None:
            done = self._open_each(got, first, at, stop, plain)
        if got is not None and got.came == "rebuilt":
            self._group.count_rebuilt(self._stripe, self._role, at, stop - at)
        buffers.holds = self
        return plain[:done]

    def _open_all(self, got: Got | None, first: int, length: int, plain: memoryview, *, last: bool) -> int | None:
        """Bytes of plaintext of chunks that lie in one piece and all authenticate."""
        if got is None or len(got.parts) != 1:
            return None
        try:
            return self._opener.open_run(first, got.piece(0, length), plain, last=last)
        except AgeError:
            return None

    def _open_each(self, got: Got | None, first: int, at: int, stop: int, plain: memoryview) -> int:
        """The same, each chunk that does not authenticate from verified blocks."""
        done = 0
        for index, place in enumerate(range(at, stop, age.SEALED_CHUNK), first):
            length = min(age.SEALED_CHUNK, stop - place)
            target = plain[done : done + length - age.TAG]
            try:
                if got is None:
                    raise AgeError("not read")
                self._opener.open_chunk(index, got.piece(place - at, length), target, last=index == self._last)
            except AgeError:
                good = self._group.verified(self._stripe, self._role, place, length)
                self._opener.open_chunk(index, good, target, last=index == self._last)
            done += len(target)
        return done


class PackContent:
    """The tar stream of one pack, `size` bytes, at random. Reads on in large pieces when asked in order.

    Frames are found by the pack's own seek table. Safe for threads that hold `lock`.
    """

    def __init__(self, reader: PackReader) -> None:
        self._reader, self._buffers = reader, reader.buffers
        tail = reader.read(max(0, reader.size - _TAIL), reader.size)
        length = zstd.seek_table_length(zstd.seek_table_frames(tail[-zstd.FOOTER :], reader.size))
        table = tail[-length:] if length <= len(tail) else reader.read(reader.size - length, reader.size)
        self._packed, self._raw = zstd.parse_seek_table(table, reader.size)
        self.size = int(self._raw[-1])
        self.lock = threading.Lock()
        self._base, self._window = 0, memoryview(b"")  # plaintext at hand, and where it begins
        self._ahead = -1  # where the next piece of plaintext begins if reading goes on,
        self._until = int(self._packed[-1])  # and how far it is read ahead of being asked for

    @property
    def nbytes(self) -> int:
        """Memory that this holds, about."""
        return self.least_nbytes + self._buffers.nbytes

    @property
    def least_nbytes(self) -> int:
        """And after `let_go`."""
        return self._packed.nbytes + self._raw.nbytes + 4096

    def let_go(self) -> None:
        """Give up the buffers and what they hold; key and seek table stay. For whoever holds `lock`."""
        self._reader.buffers = self._buffers = Buffers()
        self._window = memoryview(b"")

    def span(self, start: int, length: int) -> tuple[int, int]:
        """Where in the pack's plaintext bytes start..start+length-1 of the tar stream are read from; FormatError."""
        if start < 0 or start + length > self.size:
            raise FormatError("index: a member lies beyond the end of its pack")
        ends = []
        for place in (start, start + max(length, 1) - 1):
            number = int(np.searchsorted(self._raw, place, side="right")) - 1
            base, packed = int(self._raw[number]), int(self._packed[number])
            size, after = int(self._raw[number + 1]) - base, int(self._packed[number + 1])
            if after - packed == zstd.raw_bound(size):
                at = packed + zstd.FRAME_HEADER + 3 * ((place - base) // zstd.RAW_BLOCK + 1) + place - base
                ends.append((at, at + 1))
            else:
                ends.append((packed, after))
        return ends[0][0], ends[1][1]

    def load(self, start: int, end: int) -> None:
        """Have plaintext start..end-1 at hand for what is read next; Lost, FormatError."""
        self._get(start, end, on=False)

    def will_need(self, start: int, end: int) -> None:
        """Plaintext start..end-1 will be asked for soon: its drive may begin to read it."""
        self._reader.will_need(start, end)

    def _get(self, start: int, end: int, *, on: bool) -> memoryview:
        """Plaintext start..end-1 of the pack, in memory that lasts until the next call; with `on`, more is read."""
        if not (self._reader.at_hand and self._base <= start and end <= self._base + len(self._window)):
            return self._further(start, end) if on else self._anew(start // age.CHUNK, start, end)
        return self._window[start - self._base : end - self._base]

    def _further(self, start: int, end: int) -> memoryview:
        """The same where reading goes on, in windows that follow each other and are asked for before they are read.

            window before | next window           | and those that are only asked for
                     [start          end)             a piece may lie in two: what the first has of it is copied

        So no chunk is opened twice. What begins anew begins with a shorter window, and asks for less ahead.
        """
        above = self._base + len(self._window)
        goes_on = self._reader.at_hand and self._base <= start < above and not above % age.CHUNK
        rest = bytes(self._window[start - self._base :]) if goes_on else b""
        first = above // age.CHUNK if goes_on else start // age.CHUNK
        size, limit = self._reader.window, self._until
        begin = first * age.CHUNK
        until = min(max(end, begin + (size if goes_on else -(-size // (2 * age.CHUNK)) * age.CHUNK)), limit)
        self._reader.will_need(begin, max(end, until))
        for at in range(-(-until // age.CHUNK) * age.CHUNK, limit, size)[: _AHEAD if goes_on else 1]:
            self._reader.will_need(at, min(at + size, limit))
        try:
            got = self._anew(first, start + len(rest), end, until)
        except Lost:
            if until <= end:
                raise
            got = self._anew(first, start + len(rest), end)
        return memoryview(rest + bytes(got)) if rest else got

    def _anew(self, first: int, start: int, end: int, until: int = 0) -> memoryview:
        """Plaintext start..end-1 from a new window, of chunks from `first` on, to byte `until` or `end`."""
        self._base, self._window = 0, memoryview(b"")  # nothing is at hand while it is overwritten
        self._window = self._reader.chunks(first, (max(end, until) - 1) // age.CHUNK)
        self._base = first * age.CHUNK
        return self._window[start - self._base : end - self._base]

    def pieces(self, start: int, length: int) -> Iterator[memoryview]:
        """Bytes start..start+length-1 of the tar stream; each piece lasts until the next one is asked for.

        Lost, FormatError.
        """
        end = start + length
        if start < 0 or end > self.size:
            raise FormatError("index: a member lies beyond the end of its pack")
        if 0 < length <= _WINDOW:
            self._load_short(start, length)
        while start < end:
            number = int(np.searchsorted(self._raw, start, side="right")) - 1
            base, until = int(self._raw[number]), int(self._raw[number + 1])
            packed, after = int(self._packed[number]), int(self._packed[number + 1])
            stop = min(end, until)
            if after - packed == zstd.raw_bound(until - base):
                yield from self._stored(packed, until - base, start - base, stop - base)
            else:
                yield self._decompressed(number, packed, after, until - base)[start - base : stop - base]
            start = stop

    def _load_short(self, start: int, length: int) -> None:
        """Have what a short read takes at hand by one read of the drive, unless it is opened, or reading goes on."""
        place, after = self.span(start, length)
        known, number, _ = self._buffers.opened
        if known is self and self._raw[number] <= start < self._raw[number + 1]:
            place = int(self._packed[number + 1])
        goes_on = self._ahead >= 0 and 0 <= place - self._ahead <= _HEADERS
        if place < after and not goes_on:
            self._get(place, after, on=False)

    def _decompressed(self, number: int, start: int, end: int, size: int) -> memoryview:
        if self._buffers.opened[:2] != (self, number):
            frame = zstd.decompress(self._get(start, end, on=start == self._ahead), size)
            self._buffers.opened, self._ahead = (self, number, frame), end
        return self._buffers.opened[2]

    def read_until(self, place: int) -> None:
        """What is asked for next ends about at `place` of the tar stream: nothing beyond is read ahead of time."""
        number = min(int(np.searchsorted(self._raw, place)), len(self._packed) - 1)
        self._until = int(self._packed[number])

    def is_raw(self, place: int) -> bool:
        """Whether byte `place` of the tar stream lies in a raw frame, of which parts can be read. FormatError."""
        _, _, size, packed, after = self._frame_at(place)
        return after - packed == zstd.raw_bound(size)

    def _frame_at(self, place: int) -> tuple[int, int, int, int, int]:
        """Of the frame that holds byte `place`: its number, where it begins, its size, where it lies in the pack."""
        if not 0 <= place < self.size:
            raise FormatError("a member's header lies beyond the end of its pack")
        number = int(np.searchsorted(self._raw, place, side="right")) - 1
        base, until = int(self._raw[number]), int(self._raw[number + 1])
        return number, base, until - base, int(self._packed[number]), int(self._packed[number + 1])

    def frame(self, place: int) -> tuple[int, memoryview]:
        """Where the frame that holds byte `place` of the tar stream begins there, and all of it, until the next call.

        Lost, FormatError.
        """
        number, base, size, packed, after = self._frame_at(place)
        if after - packed != zstd.raw_bound(size):
            return base, self._decompressed(number, packed, after, size)
        buffers = self._buffers
        if buffers.framed != (self, number):
            buffers.framed = None, -1
            if len(buffers.frame) < size:
                buffers.frame = bytearray(zstd.FRAME)
            done = 0
            for piece in self._stored(packed, size, 0, size):
                buffers.frame[done : done + len(piece)] = piece
                done += len(piece)
            buffers.framed = self, number
        return base, memoryview(buffers.frame)[:size]

    def _stored(self, packed: int, size: int, start: int, stop: int) -> Iterator[memoryview]:
        """Bytes of a raw frame of `size` bytes, block by block as they stand there; nothing else of it is read."""
        while start < stop:
            number, skip = divmod(start, zstd.RAW_BLOCK)
            take = min(zstd.RAW_BLOCK - skip, stop - start)
            head = 0 if skip else 3 if number else 3 + zstd.FRAME_HEADER
            at = packed + zstd.FRAME_HEADER + 3 * (number + 1) + start
            piece = self._get(at - head, at + take, on=at - head == self._ahead)
            self._ahead = at + take
            if head and piece[head - 3 : head] != zstd.block_header(
                min(zstd.RAW_BLOCK, size - start), last=start + zstd.RAW_BLOCK >= size
            ):
                raise FormatError("zstd frame is as long as a raw one, and is none")
            if head > 3 and piece[: zstd.FRAME_HEADER] != zstd.raw_header(size):
                raise FormatError("zstd frame is as long as a raw one, and is none")
            yield piece[head:]
            start += take

    def read(self, start: int, length: int) -> bytes:
        """Bytes start..start+length-1 of the tar stream. Lost, FormatError."""
        out = io.BytesIO()  # gives what was written to it without another copy
        for piece in self.pieces(start, length):
            out.write(piece)
        return out.getvalue()

    def readinto(self, start: int, buffer: memoryview) -> None:
        """Fill `buffer` from `start` of the tar stream. Lost, FormatError."""
        done = 0
        for piece in self.pieces(start, len(buffer)):
            buffer[done : done + len(piece)] = piece
            done += len(piece)

    def extents(self, offset: int, stored: int, length: int) -> Iterator[tuple[int, memoryview]]:
        """The data of a sparse member of `length` bytes, of which map and extents lie at `offset` in `stored` bytes.

        Each piece with its offset in the member, to be used before the next one; holes are left out. Lost, FormatError.
        """
        head = self.read(offset, min(stored, 2 * tar.MAX_EXTENTS * 22))
        extents, used = tar.parse_sparse_map(head)
        if used + sum(size for _, size in extents) != stored or any(at + size > length for at, size in extents):
            raise FormatError("a sparse map does not fit its member")
        place = offset + used
        for at, size in extents:
            done = 0
            for piece in self.pieces(place, size):
                yield at + done, piece
                done += len(piece)
            place += size

    def read_sparse(self, offset: int, stored: int, length: int) -> bytes:
        """The same, whole: holes are zeros."""
        out = bytearray(length)
        for at, piece in self.extents(offset, stored, length):
            out[at : at + len(piece)] = piece
        return bytes(out)


class OpenPacks:
    """The packs that were read last, within `MOST` of memory. Safe for threads.

    Of all of them key and seek table are kept, which cost a key agreement and two reads of the drive; of the last few
    also the buffers, from which reading goes on.
    """

    MOST = 96 << 20
    WARM = 16

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._warm: OrderedDict[object, PackContent] = OrderedDict()
        self._cold: OrderedDict[object, PackContent] = OrderedDict()
        self._cold_nbytes = 0

    def get(self, pack: object, opened: Callable[[], PackContent]) -> PackContent:
        """The content of a pack, by `opened` where it is not open. To be used by one thread, who holds its `lock`."""
        with self._lock:
            content = self._warm.get(pack) or self._thaw(pack)
        if content is None:
            content = opened()
        with self._lock:
            self._thaw(pack)  # where another thread has opened it meanwhile, and it was let go
            self._warm[pack] = content
            self._warm.move_to_end(pack)
            self._cool()
        return content

    def _thaw(self, pack: object) -> PackContent | None:
        content = self._cold.pop(pack, None)
        if content is not None:
            self._cold_nbytes -= content.least_nbytes
        return content

    def _cool(self) -> None:
        for pack in list(self._warm)[:-1]:
            held = sum(each.nbytes for each in self._warm.values())
            if len(self._warm) <= self.WARM and held + self._cold_nbytes <= self.MOST:
                break
            content = self._warm[pack]
            if content.lock.acquire(blocking=False):  # or it is being read from
                try:
                    content.let_go()
                finally:
                    content.lock.release()
                self._cold[pack] = self._warm.pop(pack)
                self._cold_nbytes += content.least_nbytes
        while self._cold and self._cold_nbytes > self.MOST // 2:
            self._thaw(next(iter(self._cold)))
