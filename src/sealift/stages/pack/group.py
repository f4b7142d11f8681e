"""One group being packed: builders fill slabs, a StripeWriter codes parity and writes, stripes commit in order.

    builders -> column of k slabs -> parity (m slabs) -> n writes, a thread a drive -> slabs are free again
    all packs of the stripe ended -> fsync n files -> rename -> fsync n folders -> rows, blocks -> journal

A column is slab number j of all n packs. Builders may be `depth` columns ahead of the writers, so memory is
n x slab x depth whatever the pack size. A stripe is committed while the next one is built; commits are in order.
A drive that fails is set aside (crew.py) and the rest goes on. Read-back runs a stripe behind (readback.py).
Nothing here prints; `progress` is called from the coordinating thread.
"""

from __future__ import annotations

import contextlib
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec

from sealift.errors import SealiftError
from sealift.formats import age, age_header, index, zstd
from sealift.formats.index import Row, Rows
from sealift.formats.sizes import rate_text
from sealift.stages.pack.copies import StripeCopy, stripe_name
from sealift.stages.pack.durable import make_folders, sync
from sealift.stages.pack.follow import FILES, Follower, Packed
from sealift.stages.pack.hashes import opened
from sealift.stages.pack.journal import damaged
from sealift.stages.pack.journal_rows import PackRow, Slow
from sealift.stages.pack.readback import BUFFER
from sealift.stages.pack.stripe import StripeWriter
from sealift.stages.pack.units import Ask, Begin, Credit, Ended, Filled, RowsReady, Unit, Work
from sealift.stages.pack.workers import threads_beside
from sealift.stages.rates import Rates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from sealift.stages.pack import units
    from sealift.stages.pack.copies import Copies
    from sealift.stages.pack.crew import Crew
    from sealift.stages.pack.journal import Journal
    from sealift.stages.pack.queue import Cursor, UnitQueue
    from sealift.stages.pack.readback import ReadBack
    from sealift.stages.pack.source import Reader, Source
    from sealift.stages.pack.unread import Unread
    from sealift.stages.pack.workers import BuilderProcess, Fleet

SLAB = 4 << 20
DEPTH = 3
HEADER_ROOM = age_header.MAX_HEADER


class Progress(msgspec.Struct):
    """How far a group is; rates are for the caller to work out."""

    group: int
    stripes: int  # that are committed
    source_bytes: int
    packed_bytes: int
    members: int
    files: int
    written: dict[str, int]  # mount -> bytes


class GroupPacker:
    """Packs one group from its journal's cursor to the end of its queue."""

    def __init__(
        self,
        fleet: Fleet,
        journal: Journal,
        folder: str,
        crew: Crew,
        *,
        reader: Reader,
        copies: Copies,
        read_back: ReadBack,
        unread: Unread | None,
        progress: Callable[[Progress], None],
        room: Callable[[int, int, int, int], None],
        between: Callable[[], None],
    ) -> None:
        """`room(stripe, members, blocks, source_bytes)` before a stripe, of what is packed so far.

        `between()` often, in this thread, to tell of faults. `unread`: where not all that is missing is accepted.
        """
        self._fleet, self._journal, self._folder, self._number = fleet, journal, folder, crew.number
        self._crew, self._copies, self._read_back = crew, copies, read_back
        self._progress, self._room, self._between = progress, room, between
        self._unread = unread
        self._rates = Rates[int]()
        self._writers = [ThreadPoolExecutor(1, thread_name_prefix=f"drive-{slot}") for slot in range(fleet.n)]
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._commit: Future[None] | None = None
        self._follower = Follower(reader, fleet.setup.spool)
        self._written = [0] * fleet.n
        self._last_shown, self._shown_stripes = 0.0, -1
        self._stripes = journal.group(crew.number).stripes
        number = crew.number
        totals = journal.totals(number, fleet.data)
        self._packed, self._members, self._files, self._source_bytes = totals[0], totals[2], totals[3], totals[4]
        self._blocks = journal.blocks(number)
        self._begun = time.monotonic()
        make_folders(folder, "stripes")

    def run(self, queue: UnitQueue) -> bool:
        """Pack until the queue is empty; every stripe is committed when this returns.

        False: a stripe is to be packed again (ReadBack.gone), and whatever came after it would be, too.
        """
        stripe = self._journal.group(self._number).stripes
        if queue.cursor.offset:
            front = queue.front()
            self._follower.resume(front, self._committed(front.path, queue.cursor.offset, stripe))
        while not queue.empty:
            self._room(stripe, self._members, self._blocks, self._source_bytes)
            if self._read_back.found:
                self._finish_commit()
                self._fleet.release()
                if not self._read_back.repair() and self._read_back.gone() is not None:
                    return False
            self._pack_stripe(stripe, queue)
            self._between()
            stripe += 1
        self._finish_commit()
        self._journal.tell(self._number, queue.skipped)
        return True

    def close(self) -> None:
        """Stop the threads; files of an uncommitted stripe stay behind under names that are replaced."""
        self._follower.close()
        with contextlib.suppress(Exception):
            self._finish_commit()
        for pool in (*self._writers, self._committer):
            pool.shutdown()

    def _finish_commit(self) -> None:
        if self._commit is not None:
            self._crew.until([self._commit])
            commit, self._commit = self._commit, None
            commit.result()

    def _pack_stripe(self, stripe: int, queue: UnitQueue) -> None:
        fleet = self._fleet
        writer = StripeWriter(fleet, self._crew, self._rates, self._writers, stripe)
        rows_path = stripe_file(self._folder, stripe, "rows")
        ended: dict[int, Ended] = {}
        try:
            with open(rows_path, "wb") as rows:
                for place, builder in enumerate(fleet.builders):
                    roles = list(range(place, fleet.data, len(fleet.builders)))
                    if roles:
                        builder.send(Begin(stripe, roles))
                        builder.send(Credit(fleet.setup.depth))
                columns: dict[int, int] = {}
                while len(ended) < fleet.data:
                    for builder, message in self._messages(writer):
                        self._handle(builder, message, writer, queue, rows, ended, columns)
                writer.drain()
                if self._unread is not None:
                    self._unread.require(self._number, stripe, list(ended.values()), queue)
                segments = self._segment_rows(ended)
                if segments:
                    _append_batch(rows, *segments)
                rows.flush()
                os.fsync(rows.fileno())
            self._finish_commit()
        except BaseException:
            self._crew.leave()
            writer.abandon()
            raise
        ended[0].skipped += queue.skipped
        queue.skipped, queue.failing, queue.unread, queue.failing_bytes = [], [], 0, 0
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
        self._between()
        return list(self._fleet.workers.hear(self._fleet.builders, 0.25))

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
                if isinstance(unit, Unit) and unit.part:
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
            self._files += message.files
            self._blocks += 2 * len(message.blocks) // 32  # an upper bound that counts parity
            self._source_bytes += message.source_bytes
            writer.ended(message.role, columns.get(message.role, 0))

    def _show(self, writer: StripeWriter) -> None:
        now = time.monotonic()
        if now - self._last_shown < 0.2 and self._shown_stripes == self._stripes:
            return
        self._last_shown, self._shown_stripes = now, self._stripes
        written = {drive.mount: self._written[slot] + writer.written[slot] for slot, drive in self._crew.working()}
        self._progress(
            Progress(
                self._number,
                self._shown_stripes,
                self._source_bytes,
                self._packed,
                self._members,
                self._files,
                written,
            )
        )

    def _segment_rows(self, ended: dict[int, Ended]) -> tuple[bytes, int] | None:
        rows = Rows()
        self._follower.settle()
        found = [
            (message, Row(*msgspec.msgpack.decode(data))) for message in ended.values() for data in message.segments
        ]
        for _, row in found:  # all of them before any file's digest, as packs end in any order
            self._follower.compare(row)
        for message, row in found:
            if row.start + row.length == row.size:
                digest, changed = self._follower.digest(row.path)
                rows.add(row._replace(file_blake3=digest, flags=row.flags | changed))
                message.changed += [row.path] if changed else []
            else:
                rows.add(row)
        return rows.encode() if len(rows) else None

    def _committed(self, path: bytes, end: int, stripes: int) -> list[Packed]:
        """The segments of the file at the front that are in committed stripes, to its byte `end`. SealiftError."""
        import pyarrow.compute as pc

        found: list[Packed] = []
        for stripe in reversed(range(stripes)):
            for batch in stripe_rows(self._folder, stripe):
                rows = batch.filter(pc.equal(batch.column("path"), path))
                found += map(Packed, *(rows.column(name).to_pylist() for name in Packed._fields))
            if found and not min(found).start:
                break
        found.sort()
        ends = [0, *(each.start + each.length for each in found)]
        if [*(each.start for each in found), end] != ends:
            raise damaged(f"what was packed of {os.fsdecode(path)!r} is not all in it")
        return found

    def _commit_stripe(
        self,
        stripe: int,
        cursor: Cursor,
        ended: list[Ended],
        writer: StripeWriter,
        seconds: float,
    ) -> None:
        fleet = self._fleet
        try:
            writer.publish()
        except BaseException:
            writer.abandon()
            raise
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
                        end.tar,
                        end.members,
                        end.samples,
                        end.source_bytes,
                        end.files,
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
                        0,
                    )
                )
            file.flush()
            os.fsync(file.fileno())
        sync(os.path.join(self._folder, "stripes"))
        self._crew.check(stripe)
        # Who fails from here on has the stripe: the drives it is on were settled when `publish` returned.
        self._copy(stripe, cursor, packs, ended, seconds)
        self._journal.commit(self._number, stripe, cursor, packs, ended, seconds)
        self._stripes = stripe + 1
        self._name_slow()
        self._read_back.start(stripe)

    def _name_slow(self) -> None:
        known = {slow.slot for slow in self._journal.slow(self._number)}
        for slot, (rate, median) in self._rates.judge().items():
            if slot not in known:
                place, mount = self._crew.places[slot], self._crew.mounts[slot]
                self._journal.note_slow(self._number, Slow(slot, place.serial, mount, rate, median))
                self._crew.note(
                    slot,
                    f"drive {self._crew.name(slot)} writes slowly: it takes {rate_text(rate)}, the median of its group "
                    f"{rate_text(median)}, and all wait for it. look at its port, cable and `dmesg`; or stop (Ctrl-C), "
                    f"and the same command with --replace {place.serial}=MNT goes on with a new drive at MNT",
                    fault=True,
                )

    def _copy(self, stripe: int, cursor: Cursor, packs: list[PackRow], ended: list[Ended], seconds: float) -> None:
        """What the journal is about to learn, on the drives; after their packs are durable, so it never lies."""
        if not self._copies.enabled:
            return
        contents = []
        for kind in ("rows", "blocks"):
            with open(stripe_file(self._folder, stripe, kind), "rb") as file:
                contents.append(file.read())
        slim = [msgspec.structs.replace(end, blocks=b"", segments=[]) for end in ended]
        files_end = self._journal.group(self._number).files_end
        owed = list(self._crew.owed.values())
        record = StripeCopy(stripe, cursor, packs, slim, seconds, contents[0], contents[1], files_end, owed)
        self._copies.write(self._crew, stripe, stripe_name(stripe), record)


def stripe_file(folder: str, stripe: int, kind: str) -> str:
    """Path of a stripe's index rows or block hashes in the state folder."""
    return os.path.join(folder, "stripes", f"{stripe:07d}.{kind}")


def stripe_rows(folder: str, stripe: int) -> Iterator[pa.RecordBatch]:
    """A stripe's index rows, as they were committed."""
    with opened(stripe_file(folder, stripe, "rows")) as file:
        while head := file.read(16):
            length, size = int.from_bytes(head[:8], "little"), int.from_bytes(head[8:], "little")
            yield index.to_arrow(file.read(length), size)


def _append_batch(file: object, batch: bytes, size: int) -> None:
    write = file.write  # type: ignore[attr-defined]
    write(len(batch).to_bytes(8, "little") + size.to_bytes(8, "little"))
    write(batch)


def memory_needed(
    n: int, builders: int, data: int, read_back: str = "none", source: Source | None = None
) -> dict[str, int]:
    """What packing will hold at most, in bytes, by part; measured bases, exact buffers.

    Reading takes what `source` says, in each builder and, for some files, in the coordinator. Rebuilding drives takes
    as much as the slabs, and is done between stripes, when their pages were given back.
    """
    packs = -(-data // max(1, builders))
    stream = 2 * zstd.FRAME + 3 * age.CHUNK + (1 << 19)
    needed = {
        "slabs": n * DEPTH * SLAB,
        "builders": builders * ((56 << 20) + packs * stream),
        "frames": builders * threads_beside(builders) * (7 << 20),
        "coordinator": (190 << 20) + n * (1 << 20),
        "sort": 256 << 20,
        "read-back": n * BUFFER.get(read_back, 0),
    }
    if source is not None and (reading := builders * source.memory(packs)):
        needed["source"] = reading + source.memory(FILES)
    return needed
