"""Members as objects of a bucket: written once, never over somebody else's, known to have arrived, resumable.

    ObjectTarget  what a worker writes with: many small objects at once, a large one in parts
    ObjectNotes   which jobs are done, as objects beneath PREFIX/.sealift-ingest-SHIPMENT/; gone when all is there
    Listed        what an earlier run wrote, and whether the store still lists it, as it was

What holds: every byte of an object was compared with the signed index before the object appeared, and the store has
said the digest of what it holds. Where something stands already under a name, it is left: it counts as there when it
holds the same bytes, which is looked at, and is named when it holds others. The notes lie in the bucket because they
are of no use without it, and any host that can go on can read them: nothing is kept on this one. Of uploads in parts
those that were begun here are noted before, so that what a killed run left is ended by the next, and nobody else's is.

A bucket has neither links, modes, times nor empty folders: every name of a file is an object of its own, a symbolic
link is named as skipped, and so is what has a name that no object can have. Memory of a worker is QUEUE and, while a
large file is written, what an upload takes.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import os
import shutil
import tempfile
from bisect import bisect_left
from collections import deque
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from blake3 import blake3

from sealift.drives import uploads
from sealift.drives.base import errno_of
from sealift.drives.locations import NOTES
from sealift.drives.object_lock import ObjectLock
from sealift.drives.object_prefix import MAX_OBJECT, MAX_PARTS, PART_SIZE, ObjectPartFile, ObjectPrefix, ObjectReadFile
from sealift.drives.ranges import Workers
from sealift.errors import DriveFault, FormatError, SealiftError, Unreached
from sealift.formats.index import CHANGED, FILE, HARDLINK, SPARSE, Row
from sealift.reading.member import PackId
from sealift.reading.patterns import matcher
from sealift.stages.unpack_jobs import Done, awaited, source_of
from sealift.stages.unpack_notes import scope_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from sealift.drives.object_prefix import Put
    from sealift.reading.pack import PackContent
    from sealift.reading.shipment import Shipment
    from sealift.stages.foreign import Foreign
    from sealift.stages.unpack_jobs import Job

LEFT = "ending them takes keys from the environment (AWS_ACCESS_KEY_ID), or a lifecycle rule of the bucket"
OTHER = "something else stands there, and was left"
ALTERED = "what stands there in its place is not as it was signed (rotten, or altered), and was left"  # of a drive
WORKERS = 16  # at most: a store has other users, too
REQUESTS = 32  # small objects that one worker has on their way
QUEUE = 64 << 20  # bytes of them
_BEGUN, _PROBE = "begun", "probe"
_LAST_PATIENCE = 5.0  # seconds, when a run ends before its time
_KEY = 1024  # bytes of an object's name, with the prefix
_AGAIN = {errno.EBADMSG, errno.EIO}  # what was lost or altered on the way: worth another try
_ONE = {errno.EFBIG, errno.ENAMETOOLONG, errno.EREMOTEIO, *_AGAIN}  # what may be one object's, and not the store's
TRIES = 3  # of an upload in parts
MANY = 8  # such faults, in one job or among packs, are the store's all the same
_ZEROS = memoryview(bytes(1 << 20))
_END: tuple[bytes | None, int, int] = (None, 0, 0)  # of a listing


class _Skip(Exception):
    """The bucket cannot hold this, whatever the store."""


class _Whole(NamedTuple):
    """One file: what it must hash to, and its bytes, which raise at their end if they do not."""

    path: bytes
    key: str
    size: int
    blake3: bytes
    changed: bool
    again: bool  # another name of a file that is counted
    pieces: Callable[[], Iterator[memoryview]]


def key_of(path: bytes, prefix: str) -> str:
    """The name of a file's object; _Skip where it can have none."""
    try:
        key = path.decode()
    except UnicodeDecodeError:
        raise _Skip("its name is not UTF-8, and those of objects are") from None
    if any(character < " " or character == "\x7f" for character in key):
        raise _Skip("its name has control characters, which stores do not take")
    if any(part in {"", ".", ".."} for part in key.split("/")):
        raise _Skip("its name is no path")
    if len(prefix.encode()) + 1 + len(path) > _KEY:
        raise _Skip(f"its name is over the {_KEY:,} bytes that an object's may have")
    if key.startswith(NOTES):
        raise _Skip("its name is that of ingest's own notes")
    return key


@contextlib.contextmanager
def told() -> Iterator[None]:
    """What fails at the destination ends the run (exit 1), and is no fault of the shipment's drives (3)."""
    try:
        yield
    except DriveFault as error:
        raise SealiftError(str(error), hint=error.hint) from error


def is_one(error: DriveFault) -> bool:
    """Whether a fault of a store may be one object's alone."""
    return errno_of(error) in _ONE


def is_worth_a_try(error: DriveFault) -> bool:
    """Whether the same upload may get through at once."""
    return errno_of(error) in _AGAIN


class ObjectTarget:
    """Writes files as objects beneath `location`. Not for threads; several processes may share one prefix."""

    def __init__(self, location: str, shipment: str) -> None:
        self.bucket = ObjectPrefix(location)
        self._place = NOTES + shipment
        self._workers = Workers(REQUESTS, "sealift-put")
        self._asked = False

    def close(self) -> None:
        """End its threads."""
        self._workers.close()

    def work(self, shipment: Shipment, job: Job) -> Done:
        """Write the files that begin in a pack, and all names of them. SealiftError when the store fails."""
        if not self._asked:
            self.bucket.learn(f"{self._place}/{_PROBE}-{os.getpid()}")
            self._asked = True
        done, queued = Done(), 0
        coming: deque[tuple[_Whole, int, Future[Put]]] = deque()
        for values in job.rows:
            row = Row(*values)
            if row.kind == FILE and row.start:
                continue  # whoever has its first segment writes all of it
            try:
                file = self._file(shipment, job, row)
                if file.size > PART_SIZE:
                    self._count(done, file, self._upload(file))
                    continue
                data = b"".join(map(bytes, file.pieces()))
            except _Skip as error:
                done.skipped.append((row.path, str(error)))
            except DriveFault as error:
                self._judge(done, row.path, error)
            except SealiftError as error:
                done.failed.append((row.path, str(error)))
                if isinstance(error, Unreached):
                    done.unreached.append(row.path)
            else:
                coming.append((file, len(data), self._workers.submit(partial(self.bucket.put_new, file.key, data))))
                queued += len(data)
                while queued > QUEUE or len(coming) > 4 * REQUESTS:
                    queued -= self._take(done, coming)
        while coming:
            self._take(done, coming)
        return done

    def _take(self, done: Done, coming: deque[tuple[_Whole, int, Future[Put]]]) -> int:
        """Wait for the object that was sent first; its bytes."""
        file, size, put = coming.popleft()
        try:
            self._count(done, file, put.result())
        except DriveFault as error:
            self._judge(done, file.path, error)
        return size

    @staticmethod
    def _count(done: Done, file: _Whole, put: Put) -> None:
        if put == "other":
            done.refused.append((file.path, OTHER))
            return
        done.files += 1
        done.size += 0 if file.again else file.size
        done.there += put == "there"
        if file.changed:
            done.changed.append(file.path)

    @staticmethod
    def _judge(done: Done, path: bytes, error: DriveFault) -> None:
        """A fault of the store ends the run, unless it is this object's alone."""
        done.faults += 1
        if not is_one(error) or done.faults == MANY:
            raise error
        done.refused.append((path, str(error)))

    def _file(self, shipment: Shipment, job: Job, row: Row) -> _Whole:
        key = key_of(row.path, self.bucket.root)
        rows: tuple[Row, ...] = (row,)
        if row.kind == FILE and row.length == row.size:
            number = job.group
        else:
            number, rows = shipment.located(row.path)
        size = sum(each.length for each in rows)
        if size > MAX_OBJECT:
            raise _Skip(f"it is over the {MAX_OBJECT:,} bytes that an object may have")
        last = rows[-1]
        changed = bool(last.flags & CHANGED)
        digest = last.file_blake3 if len(rows) > 1 else last.blake3

        def pieces() -> Iterator[memoryview]:
            found = _segments(shipment, number, rows)
            return _checked(found, digest) if len(rows) > 1 and not changed else found

        return _Whole(row.path, key, size, digest, changed, row.kind == HARDLINK, pieces)

    def _upload(self, file: _Whole) -> Put:
        """Write a large file in parts; what is under its name already is compared first."""
        bucket, doing = self.bucket, f"writing {file.key}"
        meta = bucket.meta(file.key, doing)
        if meta is not None:
            if meta["size"] != file.size:
                return "other"
            return "there" if _digest(ObjectReadFile(bucket, file.key, meta)) == file.blake3 else "other"
        begun = f"{self._place}/{_BEGUN}/{blake3(file.path).hexdigest(16)}"
        bucket.put_new(begun, file.key.encode())
        for left in reversed(range(TRIES)):
            try:
                self._send(file)
                break
            except DriveFault as error:
                if not left or not is_worth_a_try(error):
                    raise
        bucket.end_uploads(file.key)  # obstore begins another where the answer to the first was lost
        with contextlib.suppress(DriveFault):  # the file is there, and this note goes with the others
            bucket.delete(begun)
        return "written"

    def _send(self, file: _Whole) -> None:
        step = -(-file.size // (MAX_PARTS - 1))
        part = ObjectPartFile(self.bucket, file.key, max(PART_SIZE, -(-step // (1 << 20)) << 20))
        try:
            at = 0
            for piece in file.pieces():
                part.write_at(at, [piece])
                at += len(piece)
            part.publish()
        finally:
            part.abandon()  # which does nothing to what was published


def _segments(shipment: Shipment, number: int, rows: Sequence[Row]) -> Iterator[memoryview]:
    """The bytes of a file, each segment compared with the index at its end. Lost, FormatError, SealiftError."""
    for row in rows:
        if not row.length:
            pieces: Iterable[memoryview] = ()
            lock: Any = nullcontext()
        else:
            content = shipment.content(PackId(number, row.stripe, row.role))
            source = source_of(shipment.groups[number], row.stripe, row.role)
            pieces, lock = awaited(_plain(content, row), source), content.lock
        with lock:
            yield from _checked(pieces, row.blake3)


def _plain(content: PackContent, row: Row) -> Iterator[memoryview]:
    """The bytes of a segment, holes as zeros."""
    if not row.flags & SPARSE:
        yield from content.pieces(row.offset, row.length)
        return
    at = 0
    for offset, piece in content.extents(row.offset, row.stored, row.length):
        yield from _zeros(offset - at)
        yield piece
        at = offset + len(piece)
    yield from _zeros(row.length - at)


def _zeros(count: int) -> Iterator[memoryview]:
    while count > 0:
        yield _ZEROS[: min(count, len(_ZEROS))]
        count -= len(_ZEROS)


def _checked(pieces: Iterable[memoryview], digest: bytes) -> Iterator[memoryview]:
    """The same pieces; SealiftError behind the last one where they do not hash to `digest`."""
    hasher = blake3()
    for piece in pieces:
        hasher.update(piece)
        yield piece
    if hasher.digest() != digest:
        raise SealiftError("its contents do not match the signed index")


def _digest(file: ObjectReadFile) -> bytes:
    hasher = blake3()
    buffer = memoryview(bytearray(PART_SIZE))
    for offset in range(0, file.length, PART_SIZE):
        hasher.update(buffer[: file.readinto_at(offset, buffer)])
    return hasher.digest()


# -- what was done


class ObjectNotes:
    """Which jobs are done, as small objects; a lock keeps a second ingest out of the prefix, here and on other hosts.

    `done` has the moment at which each was noted, as the store says: what it took before, it says, is what was noted.
    Opening it ends the uploads that a killed run began, but for `left` of them, where keys are not in the environment.
    `folder` is for what is sorted, on this host.
    """

    def __init__(self, target: str, shipment: str, patterns: Sequence[str], note: str = NOTES) -> None:
        self.bucket = ObjectPrefix(target)
        self.bucket.hold()
        self.folder = tempfile.mkdtemp(prefix="sealift-ingest-")
        self._lock: ObjectLock | None = None
        try:
            self._lock = ObjectLock(self.bucket, "sealift ingest")
            self._place = note + shipment
            self._scope, self._everything = f"{self._place}/{scope_of(patterns)}", not patterns
            self.done: dict[str, str] = {}
            self.offsets: dict[str, int] = {}
            self.resumed = False
            for page in self.bucket.objects(beneath=self._place):
                self.resumed = True
                for each in page:
                    if each["path"].startswith(self._scope + "/"):
                        job, _, mark = each["path"][len(self._scope) + 1 :].replace("-", " ").partition("=")
                        self.done[job] = str(written_at(each))
                        if mark.isdecimal():
                            self.offsets[job] = int(mark)
            self._end_uploads()
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object = None, *_: object) -> None:
        last = ObjectPrefix(self.bucket.mount, patience=_LAST_PATIENCE) if kind is not None else None
        try:
            if last is not None:  # workers that were ended left theirs
                with contextlib.suppress(SealiftError):
                    self._end_uploads(last)
        finally:
            if self._lock is not None:
                self._lock.give_up(last)
            shutil.rmtree(self.folder, ignore_errors=True)
            self.bucket.let_go()

    def _names(self, bucket: ObjectPrefix | None = None, folder: str = "") -> Iterator[str]:
        for page in (bucket or self.bucket).objects(beneath=self._place + folder):
            yield from (each["path"] for each in page)

    def _end_uploads(self, bucket: ObjectPrefix | None = None) -> None:
        """End what was begun and not finished here, where the keys of the environment allow it."""
        bucket = bucket or self.bucket
        begun = list(self._names(bucket, f"/{_BEGUN}"))
        self.left = len(begun) if uploads.keys_of_environment() is None else 0
        for name in [] if self.left else begun:
            key = bucket.get(name, _KEY)
            if key:
                bucket.end_uploads(key.decode(errors="replace"))
            bucket.delete(name)

    def note(self, job: str, mark: str = "") -> None:
        """The job's objects are there; when, the store says. Busy where another run has taken the prefix over."""
        assert self._lock is not None, "it was opened"
        self._lock.check()
        self.bucket.put_new(f"{self._scope}/{job.replace(' ', '-')}{'=' if mark else ''}{mark}", b"")

    def groups_done(self, groups: Sequence[int]) -> None:
        """All of these groups is here; a later run with the drives of the others alone may end the ingest."""
        for group in groups:
            self.note(f"group {group}")
            self.done[f"group {group}"] = ""

    def has_group(self, group: int) -> bool:
        """Whether this run or an earlier one copied all of a group."""
        return f"group {group}" in self.done

    def unlisted(
        self,
        shipment: Shipment,
        patterns: Sequence[str],
        notice: Callable[[str], None],
        noted: _NotedAt | None = None,
        foreign: Foreign | None = None,
    ) -> Iterator[tuple[bytes, bool]]:
        """Paths that the store does not list in their length, and True; with `noted`, of the packs of noted jobs alone.

        And False of what it says was not written before its job was noted: that may be somebody else's.
        `foreign` gets what it lists beside the files of the groups that are here. The listing and the index are both in
        order of names, and are gone through side by side.
        """
        listed = self._listed()
        key, size, at = next(listed, _END)
        matches, among = matcher(patterns), patterns if foreign is None else ()
        try:
            for path, wanted, row in _expected(shipment, among, noted, self.bucket.root):
                while key is not None and key < path:
                    if foreign is not None:
                        foreign.add(key)
                    key, size, at = next(listed, _END)
                if matches(path):
                    if key != path or (wanted is not None and size != wanted):
                        yield path, True
                    elif noted is not None and at >= noted.at(*row):
                        yield path, False
                if key == path:
                    key, size, at = next(listed, _END)
            while key is not None and foreign is not None:
                foreign.add(key)
                key, size, at = next(listed, _END)
        except FormatError as error:
            notice(f"{error}: what is there was not compared with the index once more")

    def _listed(self) -> Iterator[tuple[bytes | None, int, int]]:
        for page in self.bucket.objects():
            for each in page:
                if not each["path"].startswith(NOTES):
                    yield each["path"].encode(), each["size"], written_at(each)

    def remove(self) -> bool:
        """Everything is there that was to be; False where another run, for other paths, has not ended, and is kept."""
        self._end_uploads()
        names, ours, begun = list(self._names()), f"{self._scope}/", f"{self._place}/{_BEGUN}/"
        probes = f"{self._place}/{_PROBE}-"
        others = not self._everything and any(not name.startswith((ours, begun, probes)) for name in names)
        for name in names:
            if not others or name.startswith((ours, probes)):
                self.bucket.delete(name)
        return not others


def written_at(listed: Any) -> int:
    """When a store says that it took an object, by its own clock, in microseconds; nobody else can set that."""
    moment = listed["last_modified"]
    return int(moment.timestamp()) * 1_000_000 + int(moment.microsecond)


class _NotedAt:
    """When the jobs of rows were noted."""

    def __init__(self, notes: ObjectNotes) -> None:
        self._packs: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
        for job, moment in notes.done.items():
            parts = job.split()
            if len(parts) == 4 and all(part.isdecimal() for part in parts):
                pack = int(parts[0]), int(parts[1]), int(parts[2])
                self._packs.setdefault(pack, []).append((notes.offsets.get(job, -1), int(moment)))
        for jobs in self._packs.values():
            jobs.sort()

    def __bool__(self) -> bool:
        return bool(self._packs)

    def has(self, group: int, row: Row) -> bool:
        """Whether a job of its pack was."""
        return (group, row.stripe, row.role) in self._packs

    def at(self, group: int, row: Row) -> int:
        """When the row's job was noted; at a border between two, the earlier moment."""
        jobs = self._packs[group, row.stripe, row.role]
        if jobs[0][0] < 0:  # an earlier version did not note where a job begins
            return min(moment for _, moment in jobs)
        first = max(0, bisect_left(jobs, (row.offset,)) - 1)
        last = max(first + 1, bisect_left(jobs, (row.offset + 1,)))
        return min(moment for _, moment in jobs[first:last])


def _expected(
    shipment: Shipment, patterns: Sequence[str], noted: _NotedAt | None, prefix: str
) -> Iterator[tuple[bytes, int | None, tuple[int, Row]]]:
    """Every file that should be an object, by name, with its length where that is known without another look."""
    matches = matcher(patterns)
    for path, number, row in heapq.merge(*(_of_group(number, group) for number, group in shipment.groups.items())):
        if not matches(path) or (noted is not None and not noted.has(number, row)):
            continue
        try:
            key_of(path, prefix)
        except _Skip:
            continue
        known = row.kind == FILE and not row.flags & CHANGED and row.size <= MAX_OBJECT
        yield path, row.size if known else None, (number, row)


def _of_group(number: int, group: Any) -> Iterator[tuple[bytes, int, Row]]:
    for row in group.members.rows():
        if row.kind == HARDLINK or (row.kind == FILE and not row.start):
            yield row.path, number, row


class Listed:
    """What an earlier run wrote, by the store's own listing: names, lengths, and when.

    What was not there before its job was noted is written again: that is, compared, and left where it is another's.
    """

    def __init__(
        self, notes: ObjectNotes, shipment: Shipment, patterns: Sequence[str], notice: Callable[[str], None]
    ) -> None:
        noted = _NotedAt(notes)
        self._again = dict(notes.unlisted(shipment, patterns, notice, noted)) if noted else {}
        self._prefix = notes.bucket.root
        self.gone = 0

    def sort(self, job: Job) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        """Rows of a job that is noted as done: those whose objects are there, and those to be written again."""
        kept: list[tuple[Any, ...]] = []
        again: list[tuple[Any, ...]] = []
        for values in job.rows:
            (again if values[0] in self._again else kept).append(values)
            self.gone += self._again.get(values[0], False)
        return kept, again

    def already(self, rows: list[tuple[Any, ...]]) -> Done:
        """What rows that are there count for."""
        done = Done()
        for values in rows:
            row = Row(*values)
            if row.kind == FILE and row.start:
                continue
            try:
                key_of(row.path, self._prefix)
            except _Skip as error:
                done.skipped.append((row.path, str(error)))
                continue
            done.files += 1
            done.size += row.size
        return done

    def close(self) -> None:
        """Nothing is open."""
