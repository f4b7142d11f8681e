"""A data pack as it grows: tar in zstd frames in age, into the slabs of one role.

A PackStream has one fresh age file key and nonce, makes one pack, and is thrown away. Its plaintext waits in small
buffers that are reused; a chunk is sealed straight into shared memory when more is known to follow. Where there are
more cores than builders, threads compress frames while the next ones are filled (Presses); they are laid into the pack
in the order in which they were filled, so it is no other pack for that. A Channel is the builder's side of the
messages to the coordinator (units.py).
"""

from __future__ import annotations

from array import array
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from sealift.formats import age, tar, zstd
from sealift.formats.manifest import BLOCK
from sealift.stages.pack import units
from sealift.stages.pack.units import Credit, Files, Filled, Setup, Unit, Work

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_NOISE = 4  # frames of a file that did not compress, before the next ones are sampled in one place only
FLUSH_AT = 512 << 10  # a frame of small members is closed at the first member's end from here on,
FLUSH_DENSE_AT = (
    64 << 10
)  # or from here on, after one that hardly shrank: it gains nothing by more, reading does by less
_AMPLE = 64 << 20  # bytes of room from which on it does not matter what the frames on their way come to


class Channel:
    """Messages to and from the coordinator; credits are noted as they come by."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.credit = 0

    def send(self, message: units.FromBuilder) -> None:
        """Tell the coordinator."""
        self._connection.send_bytes(units.encoder.encode(message))

    def receive(self) -> units.ToBuilder:
        """The next message; EOFError when the coordinator is gone."""
        message: units.ToBuilder = units.to_builder.decode(self._connection.recv_bytes())
        if isinstance(message, Credit):
            self.credit = message.columns
        return message

    def ask(self, role: int, room: int) -> list[Unit | Files]:
        """Units for `role`, none when its pack is to be closed."""
        self.send(units.Ask(role, room))
        while True:
            message = self.receive()
            if isinstance(message, Work):
                return message.units

    def wait_for(self, column: int) -> None:
        """Return when slab `column` may be filled."""
        while self.credit <= column:
            self.receive()


class SlabSink:
    """The slabs of one role; a block is hashed as soon as it is full, while it is in the core's cache."""

    def __init__(self, channel: Channel, memory: memoryview, setup: Setup, role: int) -> None:
        self._channel, self._setup, self._role = channel, setup, role
        first = role * setup.depth * setup.slab
        self._slabs = [memory[first + i * setup.slab : first + (i + 1) * setup.slab] for i in range(setup.depth)]
        self.column = 0
        self.fill = 0
        self.length = 0
        self.blocks = bytearray()
        self._hashed = 0  # bytes of the current slab
        self._pack = blake3()
        self._slab = self._slabs[0]
        self._entered = False

    def room(self) -> memoryview:
        """What is left of the current slab, waiting for its turn first."""
        if self.fill == self._setup.slab:
            self._close()
        if not self._entered:
            self._channel.wait_for(self.column)
            self._slab = self._slabs[self.column % self._setup.depth]
            self._entered = True
        return self._slab[self.fill :]

    def advance(self, count: int) -> None:
        """`count` bytes of `room` were filled."""
        self.fill += count
        self.length += count
        while self.fill - self._hashed >= BLOCK:
            self._hash(self._hashed + BLOCK)

    def _hash(self, end: int) -> None:
        """The next block of the slab, which ends at `end`: by itself, and as part of the pack."""
        block = self._slab[self._hashed : end]
        self.blocks += blake3(block).digest()
        self._pack.update(block)
        self._hashed = end

    def write(self, data: memoryview | bytes | bytearray) -> None:
        """Append bytes, over as many slabs as it takes."""
        data = memoryview(data)
        while data:
            room = self.room()
            count = min(len(room), len(data))
            room[:count] = data[:count]
            self.advance(count)
            data = data[count:]

    def _close(self) -> None:
        if self.fill > self._hashed:  # the pack's last block
            self._hash(self.fill)
        if self.fill < self._setup.slab:  # parity reads whole slabs; shorter packs count as zero-padded
            self._slab[self.fill :] = bytes(self._setup.slab - self.fill)
        self._channel.send(Filled(self._role, self.column, self.fill))
        self.column += 1
        self.fill = self._hashed = 0
        self._entered = False

    def finish(self) -> bytes:
        """Close the last slab and return the digest of the pack."""
        if self.fill:
            self._close()
        return self._pack.digest()


class Presses:
    """So many threads that compress beside a builder; with none it does so itself."""

    def __init__(self, threads: int) -> None:
        self.at_once = threads + 1  # frames on their way: one more, so that no thread waits for the builder
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="press") if threads else None

    def __bool__(self) -> bool:
        return self._pool is not None

    def begin(self, data: memoryview, *, certain: bool) -> Future[bytes | None]:
        """Compress, unless samples of `data` say that it is not worth it: then None. Not without threads."""
        assert self._pool is not None
        return self._pool.submit(_compressed, data, certain=certain)


def _compressed(data: memoryview, *, certain: bool) -> bytes | None:
    return zstd.compress(data) if certain or zstd.worth_compressing(data) else None


class _Pressed(NamedTuple):
    """A frame on its way: its tar, and what is made of it; `large`: of a member that has frames of its own."""

    data: memoryview
    frame: Future[bytes | None]
    large: bool


class PackStream:
    """tar in zstd frames in age, into a sink. One fresh file key; one pack; then it is thrown away."""

    def __init__(self, sink: SlabSink, recipients: list[age.Recipient], pack_size: int, presses: Presses) -> None:
        self._sink, self._presses = sink, presses
        self._age = age.Encryptor(recipients)
        self.header_digest = blake3(self._age.header).digest()
        self._capacity = age.plain_length(pack_size, len(self._age.header))
        self._pressed: deque[_Pressed] = deque()
        self._spare: list[memoryview] = []  # of FRAME bytes
        self._small = self._buffer()  # tar of small members, until a frame is full
        self._fill = 0
        self._plain = bytearray(age.CHUNK + zstd.RAW_FRAME + age.CHUNK)  # zstd frames, until they are chunks of age
        self._plain_view = memoryview(self._plain)
        self._held = 0
        self._chunk = bytearray(age.SEALED_CHUNK)
        self._shrank = False  # the last frame of small members: the next one is taken to be like it,
        self._flush_at = FLUSH_AT  # and closed when it is as large as suits that
        self._noisy = 0  # frames of the current large member that did not compress, one after the other; below 0: did
        self.plain = 0  # bytes of zstd so far
        self.offset = 0  # bytes of tar so far
        self.packed = array("I")
        self.raw = array("I")

    def begin(self) -> None:
        """Write the age header: there will be a pack."""
        self._sink.write(self._age.header)

    def room(self) -> int:
        """Bytes of plaintext that are surely left; near the end exactly what is known of all frames so far."""
        coming = sum(zstd.raw_bound(len(each.data)) for each in self._pressed)
        frames = len(self.raw) + len(self._pressed)
        room = (
            self._capacity
            - self.plain
            - coming
            - zstd.raw_bound(self._fill)
            - units.RESERVE
            - zstd.seek_table_length(frames + 8)
        )
        if self._pressed and room < _AMPLE:
            self._settle()
            return self.room()
        return room

    # -- tar

    def reserve(self, size: int) -> memoryview:
        """`size` bytes (at most FRAME) of the current frame, for the caller to fill; then `take(size)`."""
        if self._fill + size > zstd.FRAME or self._fill >= self._flush_at:
            self.flush()
        return self._small[self._fill : self._fill + size]

    def take(self, size: int) -> None:
        """`size` bytes of what `reserve` gave are tar now."""
        self._fill += size
        self.offset += size

    def put(self, data: bytes) -> None:
        """Small bytes of tar: headers, padding."""
        for start in range(0, len(data), zstd.FRAME):
            piece = data[start : start + zstd.FRAME]
            self.reserve(len(piece))[:] = piece
            self.take(len(piece))

    def flush(self) -> None:
        """Close the current frame; the next member begins a new one."""
        if not self._fill:
            return
        data, self._fill = self._small[: self._fill], 0
        if self._presses:
            self._press(data, certain=self._shrank)
            self._small = self._buffer()
        else:
            self._lay(data, _compressed(data, certain=self._shrank))

    def _lay(self, data: memoryview, frame: bytes | None) -> None:
        """A frame of small members, as it is or as it was compressed."""
        size = len(data)
        if frame is not None:
            self._shrank = zstd.shrank(len(frame), size)
            self._flush_at = FLUSH_DENSE_AT if 8 * len(frame) > 7 * size else FLUSH_AT
        self._put_frame(data, frame)

    # -- zstd

    def _buffer(self) -> memoryview:
        """FRAME bytes that are free."""
        return self._spare.pop() if self._spare else memoryview(bytearray(zstd.FRAME))

    def _press(self, data: memoryview, *, certain: bool, large: bool = False) -> None:
        """Have a frame compressed, beside those before it; `data` is of a buffer that is free again when it is laid."""
        while self._pressed and (len(self._pressed) >= self._presses.at_once or self._pressed[0].frame.done()):
            self._lay_first()
        self._pressed.append(_Pressed(data, self._presses.begin(data, certain=certain), large))

    def _lay_first(self) -> None:
        data, future, large = self._pressed.popleft()
        (self._lay_large if large else self._lay)(data, future.result())
        self._spare.append(memoryview(data.obj))

    def _settle(self) -> None:
        """Lay all frames that are on their way."""
        while self._pressed:
            self._lay_first()

    def _put_frame(self, data: memoryview, frame: bytes | None) -> None:
        size, start = len(data), 0
        if frame is not None and len(frame) < zstd.raw_bound(size):
            self._emit(frame, size)
            return
        for view in self._raw_views(size):
            view[:] = data[start : start + len(view)]
            start += len(view)
        self._commit_raw(size)

    def _raw_views(self, size: int) -> list[memoryview]:
        """Where the content of a raw frame of `size` bytes goes: read it straight there, then `_commit_raw`."""
        at = self._held + zstd.FRAME_HEADER
        views = []
        for start in range(0, size, zstd.RAW_BLOCK):
            length = min(zstd.RAW_BLOCK, size - start)
            views.append(self._plain_view[at + 3 : at + 3 + length])
            at += 3 + length
        return views

    def _commit_raw(self, size: int) -> None:
        """The frame laid out by _raw_views as it is, in raw blocks."""
        plain, at = self._plain, self._held
        plain[at : at + zstd.FRAME_HEADER] = zstd.raw_header(size)
        at += zstd.FRAME_HEADER
        for start in range(0, size, zstd.RAW_BLOCK):
            length = min(zstd.RAW_BLOCK, size - start)
            plain[at : at + 3] = zstd.block_header(length, last=start + length == size)
            at += 3 + length
        self._note(at - self._held, size)
        self._held = at
        self._seal()

    def begin_large(self) -> None:
        """Frames of another file follow: whether they compress is not known."""
        self._noisy = 0

    def _worth_compressing(self, views: list[memoryview]) -> bool:
        """As two views of the frame suggest; after some frames that were noise, as one window of a view that moves on.

        The samples of a frame cost as much as BLAKE3 of all of it; after a frame that shrank none are taken.
        """
        if self._noisy < 0:
            return True
        self._noisy += 1
        if self._noisy > _NOISE and not zstd.shrinks(views[self._noisy % len(views)], (0,)):
            return False
        return zstd.worth_compressing(views[len(views) // 2]) or zstd.worth_compressing(views[0])

    def large_views(self) -> list[memoryview]:
        """Where the next FRAME bytes of a large member go; then `commit_large`. No frame is larger."""
        if self._presses and self._noisy < 0:  # to be compressed, like the one before
            return [self._buffer()]
        self._settle()
        return self._raw_views(zstd.FRAME)

    def commit_large(self, views: list[memoryview]) -> None:
        """The frame in `views` (from large_views), compressed where that helps."""
        size = zstd.FRAME
        self.offset += size
        if views[0].obj is not self._plain:
            self._press(views[0], certain=True, large=True)
            return
        if self._worth_compressing(views):
            frame = zstd.compress_pieces(views, size)
            self._noisy = -1 if zstd.shrank(len(frame), size) else 0
            if len(frame) < zstd.raw_bound(size):
                self._emit(frame, size)
                return
        self._commit_raw(size)

    def _lay_large(self, data: memoryview, frame: bytes | None) -> None:
        """A frame that was taken to shrink."""
        if frame is None or not zstd.shrank(len(frame), len(data)):
            self._noisy = 0
        self._put_frame(data, frame)

    def _emit(self, frame: bytes, size: int) -> None:
        self._note(len(frame), size)
        self._plain[self._held : self._held + len(frame)] = frame
        self._held += len(frame)
        self._seal()

    def _note(self, packed: int, size: int) -> None:
        self.packed.append(packed)
        self.raw.append(size)
        self.plain += packed

    # -- age

    def _seal(self) -> None:
        """Seal all whole chunks but the last bytes: a chunk is sealed when more is known to follow."""
        start, held, plain, sink, seal = 0, self._held, self._plain_view, self._sink, self._age.seal_chunk
        while held - start > age.CHUNK:
            chunk = plain[start : start + age.CHUNK]
            room = sink.room()
            if len(room) >= age.SEALED_CHUNK:
                sink.advance(seal(chunk, room, last=False))
            else:
                seal(chunk, self._chunk, last=False)
                sink.write(self._chunk)
            start += age.CHUNK
        if start:
            plain[: held - start] = plain[start:held]
            self._held = held - start

    def finish(self) -> None:
        """End of the archive, seek table, last chunk."""
        self.put(tar.END)
        self.flush()
        self._settle()
        table = zstd.seek_table(self.packed, self.raw)
        self.plain += len(table)
        for start in range(0, len(table), zstd.FRAME):
            piece = table[start : start + zstd.FRAME]
            self._plain[self._held : self._held + len(piece)] = piece
            self._held += len(piece)
            self._seal()
        count = self._age.seal_chunk(self._plain_view[: self._held], self._chunk, last=True)
        self._sink.write(memoryview(self._chunk)[:count])
