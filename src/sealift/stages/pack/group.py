"""One group being packed: builders fill slabs, parity is coded beside them, n writers write, stripes commit in order.

    builders -> column of k slabs -> parity (m slabs) -> n writes, a thread a drive -> slabs are free again
    all packs of the stripe ended -> fsync n files -> rename -> fsync n folders -> rows, blocks -> journal

A column is slab number j of all n packs. Builders may be `depth` columns ahead of the writers, so memory is
n x slab x depth whatever the pack size. A stripe is committed while the next one is built; commits are in order.
Nothing here prints; `progress` is called from the coordinating thread.
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, NoReturn

import msgspec
import numpy as np
from blake3 import blake3

from sealift.errors import DriveFault, SealiftError
from sealift.formats import age, manifest, parity, zstd
from sealift.formats.index import Row, Rows
from sealift.formats.manifest import BLOCK
from sealift.stages.pack import units
from sealift.stages.pack.copies import StripeCopy, stripe_name
from sealift.stages.pack.durable import make_folders, sync
from sealift.stages.pack.follow import Follower
from sealift.stages.pack.journal import PackRow
from sealift.stages.pack.units import Ask, Begin, Credit, Ended, Failed, Filled, RowsReady, Setup, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealift.drives.base import Drive, PartFile
    from sealift.stages.pack.copies import Copies
    from sealift.stages.pack.journal import Journal
    from sealift.stages.pack.queue import Cursor, UnitQueue

SLAB = 4 << 20
DEPTH = 3
HEADER_ROOM = age.MAX_HEADER


class Progress(msgspec.Struct):
    """How far a group is; rates are for the caller to work out."""

    group: int
    stripe: int
    source_bytes: int
    packed_bytes: int
    members: int
    written: dict[str, int]  # mount -> bytes


class BuilderProcess:
    """One builder and the messages to it; `send` is safe from any thread."""

    def __init__(self, memory: int, locks: Sequence[int]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            theirs.set_inheritable(True)
            # a terminal's Ctrl-C is for the coordinator; a builder is born deaf to it, from its first import on
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "sealift.stages.pack.builder", str(theirs.fileno()), str(memory)],
                    pass_fds=[theirs.fileno(), memory, *locks],
                    stdin=subprocess.DEVNULL,
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self.connection = Connection(ours.detach())
        self._lock = threading.Lock()

    def send(self, message: units.ToBuilder) -> None:
        """Send; a builder that is gone shows when it is next heard."""
        with self._lock, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send_bytes(units.encoder.encode(message))

    def stop(self) -> None:
        """End the process at once; it owns nothing that outlives it."""
        self.connection.close()
        self.process.kill()
        self.process.wait()


class Fleet:
    """Builders and the shared memory of slabs, for as long as a run packs groups of one geometry."""

    def __init__(self, setup: Setup, parity_count: int, builders: int, locks: Sequence[int]) -> None:
        self.setup, self.data, self.parity = setup, setup.data, parity_count
        self.n = setup.data + parity_count
        size = self.n * setup.depth * setup.slab
        self._fd = os.memfd_create("sealift-slabs", os.MFD_CLOEXEC)
        os.ftruncate(self._fd, size)
        self._map = mmap.mmap(self._fd, size)
        self.memory = np.frombuffer(self._map, dtype=np.uint8).reshape(self.n, setup.depth, setup.slab)
        self.zeros = np.zeros(setup.slab, dtype=np.uint8)
        self.builders = [BuilderProcess(self._fd, locks) for _ in range(builders)]
        for builder in self.builders:
            builder.send(setup)

    def close(self) -> None:
        """Stop the builders and give the memory back."""
        for builder in self.builders:
            builder.stop()
        del self.memory
        with contextlib.suppress(BufferError):
            self._map.close()
        os.close(self._fd)


class StripeWriter:
    """The n packs of one stripe on their way to n drives."""

    def __init__(
        self, fleet: Fleet, drives: Sequence[Drive], writers: Sequence[ThreadPoolExecutor], stripe: int
    ) -> None:
        self._fleet, self._drives, self._writers, self._stripe = fleet, drives, writers, stripe
        self._parts: dict[int, PartFile] = {}  # by role
        self._filled: dict[int, dict[int, int]] = {}  # column -> role -> bytes
        self._ended: dict[int, int] = {}  # role -> columns
        self._next = 0  # first column that is not coded
        self._done: set[int] = set()
        self._freed = 0
        self._lock = threading.Lock()
        self._coder = ThreadPoolExecutor(1, thread_name_prefix="parity")
        self._futures: list[Future[None]] = []
        self.parity_hash = [blake3() for _ in range(fleet.parity)]
        self.parity_blocks = [bytearray() for _ in range(fleet.parity)]
        self.parity_length = 0
        self.failure: BaseException | None = None
        self.written = [0] * fleet.n  # by slot

    def filled(self, message: Filled) -> None:
        """A builder filled a slab."""
        self._filled.setdefault(message.column, {})[message.role] = message.length
        self._advance()

    def ended(self, role: int, columns: int) -> None:
        """A pack is complete after `columns` slabs."""
        self._ended[role] = columns
        self._advance()

    def _advance(self) -> None:
        while True:
            column = self._next
            lengths = self._filled.get(column, {})
            waiting = [
                role
                for role in range(self._fleet.data)
                if role not in lengths and self._ended.get(role, 1 << 62) > column
            ]
            if waiting or not lengths:
                return
            del self._filled[column]
            self._next += 1
            self._futures.append(self._coder.submit(self._code, column, lengths))

    def _code(self, column: int, lengths: dict[int, int]) -> None:
        """Parity of one column, its hashes, and the writes of all n."""
        try:
            if self.failure is not None:
                return
            fleet = self._fleet
            slot, longest = column % fleet.setup.depth, max(lengths.values())
            memory = fleet.memory
            have = {
                role: (memory[role, slot] if role in lengths else fleet.zeros)[:longest] for role in range(fleet.data)
            }
            want = {fleet.data + j: memory[fleet.data + j, slot][:longest] for j in range(fleet.parity)}
            parity.rebuild(fleet.data, fleet.parity, have, want)
            for j in range(fleet.parity):
                coded = memoryview(want[fleet.data + j])
                for start in range(0, longest, BLOCK):
                    self.parity_blocks[j] += blake3(coded[start : start + BLOCK]).digest()
                self.parity_hash[j].update(coded)
                lengths[fleet.data + j] = longest
            self.parity_length += longest
            pending = [len(lengths)]
            for role, length in lengths.items():
                place = manifest.slot_of(self._stripe, role, fleet.n)
                job = self._writers[place].submit(self._write, place, role, column, memory[role, slot], length)
                job.add_done_callback(functools.partial(self._wrote, column, pending))
        except BaseException as error:  # noqa: BLE001 -- handed to the coordinating thread
            self.failure = self.failure or error

    def _write(self, place: int, role: int, column: int, slab: parity.Column, length: int) -> None:
        if self.failure is not None:
            return
        part = self._parts.get(role)
        if part is None:
            name = manifest.pack_name(self._stripe, role, self._fleet.data)
            part = self._parts[role] = self._drives[place].create(name)
        part.write_at(column * self._fleet.setup.slab, [slab[:length].data])
        self.written[place] += length

    def _wrote(self, column: int, pending: list[int], job: Future[None]) -> None:
        error = job.exception()
        if error is not None:
            self.failure = self.failure or error
        with self._lock:
            pending[0] -= 1
            if pending[0]:
                return
            self._done.add(column)
            while self._freed in self._done:
                self._done.remove(self._freed)
                self._freed += 1
            credit = Credit(self._freed + self._fleet.setup.depth)
        for builder in self._fleet.builders:
            builder.send(credit)

    def drain(self) -> None:
        """Return when everything that was filled has been written to the drives' files (not yet synced)."""
        for future in self._futures:
            future.result()
        self._coder.shutdown()
        for writer in self._writers:
            writer.submit(int).result()
        if self.failure is not None:
            raise self.failure

    def abandon(self) -> None:
        """Give up: remove what was written."""
        self.failure = self.failure or SealiftError("abandoned")
        self._coder.shutdown()
        for writer in self._writers:
            writer.submit(int).result()
        for part in self._parts.values():
            with contextlib.suppress(DriveFault):
                part.abandon()

    def publish(self) -> None:
        """Fsync n files and rename them; then fsync n folders. All drives at once."""

        def finish(role: int, part: PartFile) -> None:
            place = manifest.slot_of(self._stripe, role, self._fleet.n)
            part.publish()
            self._drives[place].sync_folder(manifest.pack_name(self._stripe, role, self._fleet.data))

        jobs = [
            self._writers[manifest.slot_of(self._stripe, role, self._fleet.n)].submit(finish, role, part)
            for role, part in self._parts.items()
        ]
        for job in jobs:
            job.result()


class GroupPacker:
    """Packs one group from its journal's cursor to the end of its queue."""

    def __init__(
        self,
        fleet: Fleet,
        journal: Journal,
        folder: str,
        number: int,
        drives: Sequence[Drive],
        *,
        source: bytes,
        copies: Copies,
        progress: Callable[[Progress], None],
        room: Callable[[int, int], None],
    ) -> None:
        self._fleet, self._journal, self._folder, self._number = fleet, journal, folder, number
        self._copies = copies
        self._drives, self._source, self._progress, self._room = drives, source, progress, room
        self._writers = [ThreadPoolExecutor(1, thread_name_prefix=f"drive-{slot}") for slot in range(fleet.n)]
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._commit: Future[None] | None = None
        self._follower = Follower(source)
        self._written = [0] * fleet.n
        self._last_shown = 0.0
        totals = journal.totals(number, fleet.data)
        self._packed, self._members, self._source_bytes = totals[0], totals[2], totals[4]
        self._blocks = journal.blocks(number)
        self._begun = time.monotonic()
        make_folders(folder, "stripes")

    def run(self, queue: UnitQueue) -> None:
        """Pack until the queue is empty; every stripe is committed when this returns."""
        stripe = self._journal.group(self._number).stripes
        if queue.cursor.offset:
            self._follower.resume(queue)
        while not queue.empty:
            self._room(self._members, self._blocks)
            self._pack_stripe(stripe, queue)
            stripe += 1
        self._finish_commit()
        self._journal.tell(self._number, queue.skipped)

    def close(self) -> None:
        """Stop the threads; files of an uncommitted stripe stay behind under names that are replaced."""
        self._follower.close()
        with contextlib.suppress(Exception):
            self._finish_commit()
        for pool in (*self._writers, self._committer):
            pool.shutdown()

    def _finish_commit(self) -> None:
        if self._commit is not None:
            commit, self._commit = self._commit, None
            commit.result()

    def _pack_stripe(self, stripe: int, queue: UnitQueue) -> None:
        fleet = self._fleet
        writer = StripeWriter(fleet, self._drives, self._writers, stripe)
        rows_path = stripe_file(self._folder, stripe, "rows")
        ended: dict[int, Ended] = {}
        try:
            with open(rows_path, "wb") as rows:
                for index, builder in enumerate(fleet.builders):
                    roles = list(range(index, fleet.data, len(fleet.builders)))
                    if roles:
                        builder.send(Begin(stripe, roles))
                        builder.send(Credit(fleet.setup.depth))
                columns: dict[int, int] = {}
                while len(ended) < fleet.data:
                    for builder, message in self._messages(writer):
                        self._handle(builder, message, writer, queue, rows, ended, columns)
                writer.drain()
                segments = self._segment_rows(ended)
                if segments:
                    _append_batch(rows, *segments)
                rows.flush()
                os.fsync(rows.fileno())
            self._finish_commit()
        except BaseException:
            writer.abandon()
            raise
        ended[0].skipped += queue.skipped
        queue.skipped = []
        begun, self._begun = self._begun, time.monotonic()
        cursor = queue.cursor
        if not any(end.length for end in ended.values()):
            raise SealiftError(
                f"{os.fsdecode(queue.front().path)!r} and its other names do not fit into one pack",
                hint="begin again with a larger --pack-size",
            )
        order = [ended[role] for role in range(fleet.data)]
        for slot, count in enumerate(writer.written):
            self._written[slot] += count
        self._commit = self._committer.submit(self._commit_stripe, stripe, cursor, order, writer, self._begun - begun)

    def _messages(self, writer: StripeWriter) -> list[tuple[BuilderProcess, units.FromBuilder]]:
        """What the builders said; raises what a thread of ours ran into."""
        if writer.failure is not None:
            raise writer.failure
        if self._commit is not None and self._commit.done():
            self._finish_commit()
        ready = wait([builder.connection for builder in self._fleet.builders], timeout=0.25)
        out = []
        for builder in self._fleet.builders:
            if builder.connection in ready:
                try:
                    out.append((builder, units.from_builder.decode(builder.connection.recv_bytes())))
                except (EOFError, ConnectionResetError) as error:
                    raise SealiftError(
                        "a builder process ended before its work was done (killed, or out of memory)",
                        hint="committed stripes are safe; run the same command again to go on",
                    ) from error
        return out

    def _handle(
        self,
        builder: BuilderProcess,
        message: units.FromBuilder,
        writer: StripeWriter,
        queue: UnitQueue,
        rows: object,
        ended: dict[int, Ended],
        columns: dict[int, int],
    ) -> None:
        if isinstance(message, Ask):
            taken = queue.take(message.room)
            for unit in taken:
                if unit.part:
                    self._follower.follow(unit)
            builder.send(Work(message.role, taken))
        elif isinstance(message, Filled):
            columns[message.role] = message.column + 1
            writer.filled(message)
            self._show(writer)
        elif isinstance(message, RowsReady):
            _append_batch(rows, message.batch, message.size)
            self._members += message.count
        elif isinstance(message, Ended):
            ended[message.role] = message
            self._packed += message.length
            self._blocks += 2 * len(message.blocks) // 32  # an upper bound that counts parity
            self._source_bytes += message.source_bytes
            writer.ended(message.role, columns.get(message.role, 0))
        else:
            _fail(message)

    def _show(self, writer: StripeWriter) -> None:
        now = time.monotonic()
        if now - self._last_shown < 0.2:
            return
        self._last_shown = now
        written = {drive.mount: self._written[slot] + writer.written[slot] for slot, drive in enumerate(self._drives)}
        self._progress(
            Progress(self._number, writer._stripe, self._source_bytes, self._packed, self._members, written)  # noqa: SLF001
        )

    def _segment_rows(self, ended: dict[int, Ended]) -> tuple[bytes, int] | None:
        rows = Rows()
        for message in ended.values():
            for data in message.segments:
                row = Row(*msgspec.msgpack.decode(data))
                if row.start + row.length == row.size:
                    digest, changed = self._follower.digest(row.path)
                    row = row._replace(file_blake3=digest, flags=row.flags | changed)
                rows.add(row)
        return rows.encode() if len(rows) else None

    def _commit_stripe(
        self,
        stripe: int,
        cursor: Cursor,
        ended: list[Ended],
        writer: StripeWriter,
        seconds: float,
    ) -> None:
        fleet = self._fleet
        writer.publish()
        packs = []
        with open(stripe_file(self._folder, stripe, "blocks"), "wb") as file:
            for role, end in enumerate(ended):
                file.write(end.blocks)
                packs.append(
                    PackRow(
                        stripe,
                        role,
                        end.length,
                        end.header,
                        end.blake3,
                        len(end.blocks) // 32,
                        end.plain,
                        end.members,
                        end.samples,
                        end.source_bytes,
                        end.files,
                        end.frames_packed,
                        end.frames_raw,
                    )
                )
            for j in range(fleet.parity):
                blocks = writer.parity_blocks[j]
                file.write(blocks)
                packs.append(
                    PackRow(
                        stripe,
                        fleet.data + j,
                        writer.parity_length,
                        bytes(32),
                        writer.parity_hash[j].digest(),
                        len(blocks) // 32,
                        0,
                        0,
                        0,
                        0,
                        0,
                        b"",
                        b"",
                    )
                )
            file.flush()
            os.fsync(file.fileno())
        sync(os.path.join(self._folder, "stripes"))
        self._copy(stripe, cursor, packs, ended, seconds)
        self._journal.commit(self._number, stripe, cursor, packs, ended, seconds)

    def _copy(self, stripe: int, cursor: Cursor, packs: list[PackRow], ended: list[Ended], seconds: float) -> None:
        """What the journal is about to learn, on the drives; after their packs are durable, so it never lies."""
        if not self._copies.enabled:
            return
        contents = []
        for kind in ("rows", "blocks"):
            with open(stripe_file(self._folder, stripe, kind), "rb") as file:
                contents.append(file.read())
        slim = [
            msgspec.structs.replace(end, blocks=b"", frames_packed=b"", frames_raw=b"", segments=[]) for end in ended
        ]
        files_end = self._journal.group(self._number).files_end
        record = StripeCopy(stripe, cursor, packs, slim, seconds, contents[0], contents[1], files_end)
        self._copies.write(self._drives, stripe_name(stripe), record)


def _fail(message: Failed) -> NoReturn:
    raise SealiftError(
        f"a builder process failed: {message.reason}",
        hint="committed stripes are safe; run the same command again",
    )


def stripe_file(folder: str, stripe: int, kind: str) -> str:
    """Path of a stripe's index rows or block hashes in the state folder."""
    return os.path.join(folder, "stripes", f"{stripe:07d}.{kind}")


def _append_batch(file: object, batch: bytes, size: int) -> None:
    write = file.write  # type: ignore[attr-defined]
    write(len(batch).to_bytes(8, "little") + size.to_bytes(8, "little"))
    write(batch)


def memory_needed(n: int, builders: int, data: int) -> dict[str, int]:
    """What packing will hold at most, in bytes, by part; measured bases, exact buffers."""
    packs = -(-data // max(1, builders))
    stream = 2 * zstd.FRAME + 3 * age.CHUNK + (1 << 19)
    return {
        "slabs": n * DEPTH * SLAB,
        "builders": builders * ((56 << 20) + packs * stream),
        "coordinator": (190 << 20) + n * (1 << 20),
        "sort": 256 << 20,
    }
