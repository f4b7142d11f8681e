"""A builder: a process that turns units into data packs, slab by slab, in shared memory; before, it walks the source.

It holds no lock but those that it is given, writes to no drive and knows no path but the source. For every pack of
every stripe it draws a fresh age file key and nonce, which live in one PackStream and nowhere else. It serves several
packs of a stripe at once and always steps the one that is least far; so it never waits for a slab that only it can
free (group.py frees a column of slabs when every role has filled it). It ends when its parent does.

A process and not a thread: cryptography gives up the GIL on every chunk, and beside one busy Python thread the
same loop fell from 4.2 GB/s to 13 MB/s.
"""

from __future__ import annotations

import gc
import mmap
import os
import select
import socket
import sys
import threading
from collections import deque
from contextlib import closing
from itertools import repeat
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import msgspec
from blake3 import blake3

from sealift.errors import SealiftError, SourceFault
from sealift.formats import age_keys, tar, zstd
from sealift.formats.index import BATCH, CHANGED, DIRECTORY, FILE, HARDLINK, SPARSE, SYMLINK, Row, Rows
from sealift.formats.samples import COMMENT, Segment, key_function, segment_comment
from sealift.stages.pack.source import Nothing, medium_fails, source_of
from sealift.stages.pack.stream import Channel, PackStream, Presses, SlabSink
from sealift.stages.pack.units import (
    LARGE,
    MOST_FDS,
    Begin,
    Ended,
    Failed,
    Files,
    Hold,
    RowsReady,
    Setup,
    Unit,
    Walk,
    Walked,
    bound_of,
    digest_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealift.stages.pack.source import Opened, Source

_DONE = object()


class PackBuilder:
    """One pack of a stripe: asks for units, reads them, keeps the rows of the index."""

    def __init__(self, builder: Builder, stripe: int, role: int) -> None:
        self._builder, self._channel, self.role = builder, builder.channel, role
        self._stripe, self._reader = stripe, builder.source.reader()
        self.sink = SlabSink(builder.channel, builder.memory, builder.setup, role)
        self._stream = PackStream(self.sink, builder.recipients, builder.setup.pack_size, builder.presses)
        self._queue: deque[Unit | Files] = deque()
        self._next: list[Unit | Files] = []  # units that follow these
        self._current: Iterator[None] | None = None
        self._begun = False
        self._members = self._samples = self._source_bytes = self._files = 0
        self._key: bytes | None = None  # of the last file: a sample is a run of files with one key
        self._segments: list[bytes] = []
        self._changed: list[bytes] = []
        self._skipped: list[tuple[bytes, str]] = []
        self._unread = 0  # bytes
        self._failing: set[bytes] = set()  # files that the medium of the source did not give
        self._failing_bytes = 0

    @property
    def waits(self) -> bool:
        """Whether it would wait for its source, so that another one had better go on."""
        return self._reader.waits

    def step(self) -> bool:
        """A little progress, at most a few frames; False when the pack is complete."""
        if not self._queue and self._current is None:
            work = self._work()
            if not work:
                self._finish()
                return False
            if not self._begun:
                self._begun = True
                self._stream.begin()
            self._queue.extend(work)
            if self._reader.waits:
                return True
        for _ in range(64):
            if self._current is not None:
                if next(self._current, _DONE) is not _DONE:
                    break
                self._current = None
            if not self._queue:
                break
            unit = self._queue.popleft()
            if isinstance(unit, Files):
                self._current = self._files_of(unit)
                continue
            if unit.kind == FILE and unit.length <= LARGE and not (unit.part or unit.links or unit.sparse):
                self._whole(unit)
            else:
                self._current = self._run(unit)
        return True

    def _work(self) -> list[Unit | Files]:
        """Units to be packed, none when the pack is complete; from a source that is far, also those after them."""
        work, self._next = self._next, []
        if not work:
            work = self._channel.ask(self.role, self._stream.room())
            self._reader.ahead(work)
        if work and self._reader.far:  # so that it need not be waited for once in every batch
            room = self._stream.room() - sum(map(bound_of, work))
            self._next = self._channel.ask(self.role, room) if room > 0 else []
            self._reader.ahead(self._next)
        return work

    def _run(self, unit: Unit) -> Iterator[None]:
        if unit.kind == FILE:
            yield from self._file(unit)
        elif unit.kind == SYMLINK:
            self._symlink(unit)
        elif unit.kind == DIRECTORY:
            self._stream.put(tar.header(unit.path + b"/", tar.DIRECTORY, 0, unit.mode, unit.mtime))
            self._note(unit, DIRECTORY)

    def _symlink(self, unit: Unit) -> None:
        try:
            target = self._reader.link(unit.path)
        except OSError as error:
            self._skip(unit, error)
            return
        self._stream.put(tar.header(unit.path, tar.SYMLINK, 0, 0o777, unit.mtime, target))
        self._note(unit, SYMLINK, link=target)

    def _files_of(self, files: Files) -> Iterator[None]:
        """What most files are, so every call counts; what is not as it was scanned is looked at anew."""
        stream, reader, first = self._stream, self._reader, 0
        offsets: list[int] = []
        digests: list[bytes] = []
        tags = files.tags or repeat(b"")
        columns = zip(files.paths, files.sizes, files.modes, files.mtimes, tags, strict=False)
        for place, (path, size, mode, mtime, tag) in enumerate(columns):
            header = tar.header(path, tar.REGULAR, size, mode, mtime)
            head = len(header)
            end = head + size
            view = stream.reserve(end + tar.padding(size))
            content = view[head:end]
            if reader.whole(path, size, mtime, tag, content):
                view[:head] = header
                view[end:] = _ZEROS[: len(view) - end]
                offsets.append(stream.offset + head)
                digests.append(blake3(content).digest())
                stream.take(len(view))
            else:
                self._note_files(files, first, offsets, digests)
                first, offsets, digests = place + 1, [], []
                self._whole(files.unit(place))
            if place % 64 == 63:
                yield None
        self._note_files(files, first, offsets, digests)

    def _note_files(self, files: Files, first: int, offsets: list[int], digests: list[bytes]) -> None:
        if not offsets:
            return
        run = slice(first, first + len(offsets))
        sizes = files.sizes[run]
        if len(sizes) == len(files.sizes):
            self._samples += files.samples
            self._key = self._builder.key(files.paths[-1])
        else:
            for path in files.paths[run]:
                self._count_sample(path)
        self._members += len(sizes)
        self._files += len(sizes)
        self._source_bytes += sum(sizes)
        self._builder.rows.add_files(
            files.paths[run],
            sizes,
            files.modes[run],
            files.mtimes[run],
            stripe=self._stripe,
            role=self.role,
            offsets=offsets,
            digests=digests,
        )
        self._builder.rows_grew()

    def _count_sample(self, path: bytes) -> None:
        """A file begins here: with it a sample, if it is not of the one that the last file was of."""
        key = self._builder.key(path)
        self._samples += key != self._key
        self._key = key

    def _whole(self, unit: Unit) -> None:
        """A small file in one piece, with one name."""
        try:
            opened = self._reader.open(unit)
        except OSError as error:
            self._skip(unit, error)
            return
        with closing(opened):
            self._small(unit, opened, min(unit.length, opened.size), 0)

    def _file(self, unit: Unit) -> Iterator[None]:
        opened = self._open(unit)
        if opened is None:
            return
        with closing(opened):
            # a segment keeps its place and length, and what is gone of it reads as zeros; a whole file may shrink
            length = unit.length if unit.part else min(unit.length, opened.size)
            flags = 0 if opened.same(unit) else CHANGED
            if opened.size < unit.start + length:  # which a hole would hide
                flags |= self._lacks(unit, opened.size)
            packed = True
            if unit.sparse and (extents := opened.extents(unit.start, length)) is not None:
                yield from self._sparse(unit, opened, length, extents, flags)
            elif length <= LARGE:
                packed = self._small(unit, opened, length, flags)
            else:
                yield from self._large(unit, opened, length, flags)
            if packed and not isinstance(opened, Nothing):
                yield from self._links(unit, opened)

    def _open(self, unit: Unit) -> Opened | None:
        """The file, or None when it was skipped; of a segment that is gone, what reads as nothing."""
        try:
            return self._reader.open(unit)
        except OSError as error:
            self._skip(unit, error)
        return Nothing() if unit.part else None

    def _links(self, unit: Unit, opened: Opened) -> Iterator[None]:
        """The other names of the inode; of a segment, links to the segment, so that `cat` joins each name's own.

        One that is another file by now is told, and not packed as what it was.
        """
        last = unit.start + unit.length == unit.size
        plain = unit.part.startswith(unit.path + b".part-")
        suffix = unit.part[unit.part.rfind(b".part-") :]
        for link in unit.links:
            try:
                self._reader.check_name(link, opened)
            except OSError as error:
                self._skipped.append((link, _reason(error)))
                continue
            shown = (link if plain else digest_name(link)) + suffix if unit.part else link
            self._stream.put(tar.header(shown, tar.HARDLINK, 0, unit.mode, unit.mtime, unit.part or unit.path))
            if last:
                self._note(unit, HARDLINK, path=link, link=unit.path)
            yield None

    def _small(self, unit: Unit, opened: Opened, length: int, flags: int) -> bool:
        """False where it cannot be read, and is skipped."""
        stream = self._stream
        header = tar.header(unit.part or unit.path, tar.REGULAR, length, unit.mode, unit.mtime, extra=_of_what(unit))
        head, padding = len(header), tar.padding(length)
        view = stream.reserve(head + length + padding)
        view[:head] = header
        content = view[head : head + length]
        try:
            count = opened.read([content], unit.start)
        except OSError as error:
            self._skip(unit, error)
            if not unit.part:
                return False
            count = 0
            flags |= CHANGED
        if count < length:
            content[count:] = bytes(length - count)
            self._unread += length - count
            flags |= self._lacks(unit, unit.start + count)
        view[head + length :] = bytes(padding)
        if not opened.same(unit):  # as scanned, and not touched until it was read
            flags |= CHANGED
        offset = stream.offset + head
        stream.take(head + length + padding)
        digest = blake3(content).digest()
        self._note(unit, FILE, length=length, offset=offset, stored=length, flags=flags, digest=digest)
        return True

    def _large(self, unit: Unit, opened: Opened, length: int, flags: int) -> Iterator[None]:
        """Frames of exactly 1 MiB of content, which begin at multiples of 1 MiB of the segment."""
        stream = self._stream
        stream.flush()
        name = unit.part or unit.path
        stream.put(tar.header(name, tar.REGULAR, length, unit.mode, unit.mtime, extra=_of_what(unit)))
        stream.flush()
        stream.begin_large()
        offset, hasher, done = stream.offset, blake3(), 0
        while length - done >= zstd.FRAME:
            views = stream.large_views()
            flags |= self._fill_views(unit, opened, views, zstd.FRAME, unit.start + done)
            for view in views:
                hasher.update(view)
            stream.commit_large(views)
            done += zstd.FRAME
            yield None
        rest = length - done
        padding = tar.padding(length)
        if rest + padding:
            view = stream.reserve(rest + padding)
            flags |= self._fill_views(unit, opened, [view[:rest]], rest, unit.start + done)
            view[rest:] = bytes(padding)
            hasher.update(view[:rest])
            stream.take(rest + padding)
            stream.flush()
        if not opened.same(unit):
            flags |= CHANGED
        self._note(unit, FILE, length=length, offset=offset, stored=length, flags=flags, digest=hasher.digest())

    def _sparse(
        self, unit: Unit, opened: Opened, length: int, extents: list[tuple[int, int]], flags: int
    ) -> Iterator[None]:
        """A GNU.sparse 1.0 member: the map, then the extents; holes are hashed as the zeros they read as."""
        stream = self._stream
        chart = tar.sparse_map(extents, length)
        stored = len(chart) + sum(size for _, size in extents)
        stream.flush()
        name = unit.part or unit.path
        stream.put(tar.sparse_header(name, stored, length, unit.mode, unit.mtime, extra=_of_what(unit)))
        offset, hasher, place = stream.offset, blake3(), 0
        stream.put(chart)
        for start, size in extents:
            yield from _hash_zeros(hasher, start - place)
            place = start
            while place < start + size:
                piece = min(zstd.FRAME, start + size - place)
                view = stream.reserve(piece)
                flags |= self._fill_views(unit, opened, [view], piece, unit.start + place)
                hasher.update(view)
                stream.take(piece)
                place += piece
                yield None
        yield from _hash_zeros(hasher, length - place)
        stream.put(bytes(tar.padding(stored)))
        if not opened.same(unit):
            flags |= CHANGED
        self._note(
            unit,
            FILE,
            length=length,
            offset=offset,
            stored=stored,
            flags=flags | SPARSE,
            digest=hasher.digest(),
        )

    def _fill_views(self, unit: Unit, opened: Opened, views: list[memoryview], size: int, start: int) -> int:
        """Read `size` bytes at `start`; what cannot be read becomes zeros, is told, and marks the member as changed."""
        try:
            count = opened.read(views, start)
        except OSError as error:
            self._skipped.append((unit.path, f"{_reason(error)} at byte {start:,}"))
            self._count_failing(unit, error, size)
            count = 0
        else:
            if count == size:
                return 0
            self._lacks(unit, start + count)
        self._unread += size - count
        for view in views:
            if count < len(view):
                view[count:] = bytes(len(view) - count)
            count = max(0, count - len(view))
        return CHANGED

    def _lacks(self, unit: Unit, at: int) -> int:
        """Zeros stand for what could not be read from `at` on: that has a reason, as what is skipped has (Told)."""
        if not self._skipped or self._skipped[-1][0] != unit.path:
            self._skipped.append((unit.path, f"ended at byte {at:,}"))
        return CHANGED

    def _skip(self, unit: Unit, error: OSError) -> None:
        self._skipped += [(name, _reason(error)) for name in (unit.path, *unit.links)]
        self._count_failing(unit, error, unit.length)
        self._unread += 0 if unit.part else unit.length  # of a segment, zeros are counted

    def _count_failing(self, unit: Unit, error: OSError, size: int) -> None:
        if medium_fails(error):
            self._failing.add(unit.path)
            self._failing_bytes += size

    def _note(
        self,
        unit: Unit,
        kind: int,
        *,
        path: bytes = b"",
        length: int = 0,
        offset: int = 0,
        stored: int = 0,
        flags: int = 0,
        link: bytes = b"",
        digest: bytes = b"",
    ) -> None:
        whole = not unit.part or kind != FILE
        size = (length if whole else unit.size) if kind == FILE else 0
        row = Row(
            path or unit.path,
            kind,
            size,
            unit.mode,
            unit.mtime,
            unit.start if kind == FILE else 0,
            length,
            self._stripe,
            self.role,
            offset,
            stored,
            flags,
            link,
            digest,
            b"",
        )
        if kind == FILE and not unit.start:
            self._count_sample(unit.path)
        self._members += 1
        self._source_bytes += length
        self._files += kind != DIRECTORY and (whole or unit.start + unit.length >= unit.size)
        if flags & CHANGED:
            self._changed.append(unit.path)
        if whole:
            self._builder.rows.add(row)
            self._builder.rows_grew()
        else:
            self._segments.append(msgspec.msgpack.encode(row))

    def _finish(self) -> None:
        if not self._begun:  # an absent pack: length 0 and no file
            self._channel.send(Ended(self.role, 0, bytes(32), bytes(32), b"", 0, 0, 0, 0, 0, 0, [], [], [], 0, [], 0))
            return
        self._stream.finish()
        digest = self.sink.finish()
        self._builder.flush_rows()
        stream = self._stream
        self._channel.send(
            Ended(
                self.role,
                self.sink.length,
                stream.header_digest,
                digest,
                bytes(self.sink.blocks),
                stream.plain,
                stream.offset,
                self._members,
                self._samples,
                self._source_bytes,
                self._files,
                self._segments,
                self._changed,
                self._skipped,
                self._unread,
                sorted(self._failing),
                self._failing_bytes,
            )
        )


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _of_what(unit: Unit) -> tuple[tuple[bytes, bytes], ...]:
    """The pax record that tells a segment from a file of such a name."""
    return ((COMMENT, segment_comment(Segment(unit.start, unit.size, unit.path))),) if unit.part else ()


class Builder:
    """The process: several packs at a time, the least far first."""

    def __init__(self, channel: Channel, setup: Setup, memory: memoryview) -> None:
        self.channel, self.setup, self.memory = channel, setup, memory
        self.source = source_of(setup.source, setup.beside)
        self.source.spool = setup.spool
        self.source.check()
        self.recipients = [age_keys.parse_recipient(text) for text in setup.recipients]
        self.key = key_function(setup.sample_key)
        self.presses = Presses(setup.threads)
        self.rows = Rows()  # of the index, for the next batch

    def rows_grew(self) -> None:
        """Hand the batch over if it is one."""
        if len(self.rows) >= BATCH:
            self.flush_rows()

    def flush_rows(self) -> None:
        """Hand over what there is."""
        if len(self.rows):
            batch, size = self.rows.encode()
            self.channel.send(RowsReady(batch, size, len(self.rows)))
            self.rows = Rows()

    def stripe(self, begin: Begin) -> None:
        """Build the packs of one stripe."""
        gc.collect()
        packs = [PackBuilder(self, begin.stripe, role) for role in begin.roles]
        while packs:
            pack = min(packs, key=lambda pack: (pack.sink.column, pack.waits))
            if not pack.step():
                packs.remove(pack)


_ZEROS = bytes(zstd.FRAME)


def _hash_zeros(hasher: blake3, count: int) -> Iterator[None]:
    while count > 0:
        piece = min(count, len(_ZEROS))
        hasher.update(_ZEROS[:piece] if piece < len(_ZEROS) else _ZEROS)
        count -= piece
        if count % (64 << 20) < len(_ZEROS):
            yield None


def _walk(channel: Channel, work: Walk, source: Source) -> None:
    for seen in source.walk(work.folders, key_function(work.sample_key), work.seed, work.seconds):
        channel.send(seen)
    channel.send(Walked(work.folders))


def _hold(descriptor: int, messages: int) -> None:
    """Take descriptors of locks, and keep them open for as long as this process lives."""
    with socket.socket(fileno=os.dup(descriptor)) as ours:
        for _ in range(messages):
            if not socket.recv_fds(ours, 1, MOST_FDS)[0]:
                raise EOFError


def _end_with_parent(descriptor: int) -> None:
    """In a thread: end this process when its parent does, also while a store is waited for."""
    watched = select.poll()
    watched.register(descriptor, 0)  # nothing but that the other side is gone
    watched.poll()
    os._exit(0)


def main() -> None:
    """Entry point: builder CONNECTION_FD MEMORY_FD."""
    connection = Connection(int(sys.argv[1]))
    threading.Thread(target=_end_with_parent, args=(connection.fileno(),), daemon=True).start()
    shared = int(sys.argv[2])
    channel = Channel(connection)
    gc.disable()  # rows and units are many, and no cycles; see Builder.stripe
    builder: Builder | None = None
    walked: Source | None = None
    try:
        while True:
            message = channel.receive()
            if isinstance(message, Walk):
                if walked is None or walked.name != message.source:
                    walked = source_of(message.source)
                _walk(channel, message, walked)
            elif isinstance(message, Hold):
                _hold(connection.fileno(), message.messages)
            elif isinstance(message, Setup):
                builder = Builder(channel, message, memoryview(mmap.mmap(shared, os.fstat(shared).st_size)))
            elif isinstance(message, Begin) and builder is not None:
                builder.stripe(message)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(0)  # the coordinator is gone, and with it what we were building
    except SourceFault as error:
        channel.send(Failed(str(error), error.hint or ""))
    except SealiftError as error:
        channel.send(Failed(str(error)))
    except Exception as error:  # noqa: BLE001 -- the last resort of a process: tell, and end
        import traceback

        channel.send(Failed(f"{error!r}\n{traceback.format_exc()}"))


if __name__ == "__main__":
    main()
