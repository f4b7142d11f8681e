"""A bucket as a Source (source.py): keys made paths, small objects read ahead, large ones in ranges.

What holds:
- Every key beneath the prefix is a member, or named in `skipped` with the reason. Nothing is renamed: a key is carried
  under its own name, or not at all. An object of no bytes whose key ends in a slash is a folder.
- Where a key is a folder's too ("a" beside "a/b"), the one object "a" is skipped, and what is in the folder is carried.
- An object that was replaced since it was listed is read as it is now, whole or as far as it was long, and is not
  `same`; in segments it is not read at all. No member is of two versions.
- Where an ETag is an MD5, or the MD5 of the MD5s of parts whose size is known, bytes are held against it. What does not
  hold is read again; `digests.Digests` says what follows.
- Memory: WINDOW bytes of small objects for each pack, and PIECES * PIECE of a large one, and AHEAD that are hashed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections import OrderedDict, deque
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from sealift.drives.bucket import PAGE, Bucket, Listed, Replaced, strong_digest
from sealift.drives.hashing import AHEAD, Hashing
from sealift.drives.locations import NOTES
from sealift.drives.object_faults import Trouble
from sealift.drives.object_parts import PartsHasher
from sealift.drives.ranges import Workers
from sealift.errors import BadInput
from sealift.formats import typed
from sealift.formats.index import FILE
from sealift.stages.pack.digests import Digests
from sealift.stages.pack.source import File
from sealift.stages.pack.units import LARGE, Files, Unit
from sealift.stages.pack.walk import Seen, Status, columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    from sealift.stages.pack.source import Opened
    from sealift.stages.pack.spool import Spool

AT_ONCE = 32  # requests that each builder has on their way
WINDOW = 8 << 20  # bytes of small objects that were asked for and not packed yet, of a pack
_CLIENT = 32 << 20  # bytes that obstore takes, and its threads
PIECE, PIECES = 4 << 20, 4  # of a large object: bytes that are asked for at a time, and how many times ahead
_LEVELS = 2  # of folders that are listed apart, so that several processes list
_AGAIN = 3  # times that bytes are read which do not fit their ETag
_MOST_PATH, _MOST_PART = 4096, 255  # bytes of a path and of one of its parts, as Linux takes them
_FOLDER_MODE, _FILE_MODE = 0o040755, 0o100644
_OTHERWISE = Trouble(
    errno.EIO,
    "what it gave does not fit the object's ETag, and is other bytes each time",
    "run the same command again; if it stays so, look at memory and network, or ask whoever runs the store",
)


def _replaced() -> OSError:
    return OSError(errno.ESTALE, "was replaced after it was listed")


def reason_against(path: bytes) -> str | None:
    """Why a key cannot be the path of a member; None where it can."""
    if not path or len(path) > _MOST_PATH:
        return f"its key is empty, or has more than {_MOST_PATH:,} bytes"
    try:
        path.decode()
    except UnicodeDecodeError:
        return "its key is not UTF-8"
    if any(byte < 0x20 or byte == 0x7F for byte in path):
        return "its key has control characters"
    for part in path.split(b"/"):
        if not part:
            return "its key has an empty part: a slash at its beginning, or two in a row"
        if part.startswith(NOTES.encode()):
            return "it is a note of `sealift ingest` that has not ended there, and no part of what was copied"
        if part in {b".", b".."}:
            return f"its key has a part that is {part.decode()}"
        if len(part) > _MOST_PART:
            return f"its key has a part of more than {_MOST_PART} bytes"
    return None


class _Task(msgspec.Struct, array_like=True):
    """A part of the listing: what is beneath a prefix, from a key on; and objects of which may still come a folder."""

    under: bytes
    after: bytes = b""
    level: int = _LEVELS
    held: list[Listed] = []


class _Batch:
    """What a page of a listing comes to.

    `held` are objects each of which may turn out to be a folder's name, too: keys that begin with one follow it at
    once, those with a slash behind it maybe after others ("a", "a-b", "a/c"). So each held key begins with the one
    before it, and there are no more of them than a key has bytes.
    """

    def __init__(self, root: bytes, held: list[Listed]) -> None:
        self._root, self.held = root, held
        self.paths: list[bytes] = []
        self.stats: list[Status] = []
        self.tags: list[bytes] = []
        self.skipped: list[tuple[bytes, str]] = []

    def _put(self, each: Listed, mode: int) -> None:
        self.paths.append(each.key[len(self._root) :].removesuffix(b"/"))
        self.stats.append(Status(mode, each.size, each.mtime, each.size // 512 + 1))
        self.tags.append(each.etag)

    def _skip(self, each: Listed, reason: str) -> None:
        self.skipped.append((each.key[len(self._root) :], reason))

    def against(self, each: Listed) -> str | None:
        """Why an object is not carried, whatever else there is."""
        path = each.key[len(self._root) :]
        if path.endswith(b"/") and each.size:
            return "its key ends in a slash, and it has content"
        reason = reason_against(path.removesuffix(b"/"))
        return "the store tells no ETag of it" if reason is None and not each.etag else reason

    def add(self, each: Listed) -> None:
        """The next object of the listing."""
        if each.key == self._root:  # the folder that is packed
            return
        marker = each.key.endswith(b"/") and not each.size
        reason = self.against(each)
        if reason is not None:
            self._skip(each, reason)
            return
        while self.held and not (each.key.startswith(self.held[-1].key) and each.key[len(self.held[-1].key) :] < b"/"):
            last = self.held[-1]
            if each.key.startswith(last.key + b"/"):
                if marker and len(each.key) == len(last.key) + 1:
                    self._skip(each, "is a folder without anything in it, and an object has its name")
                    return
                self._skip(self.held.pop(), "is the name of a folder, too, in which there are objects")
            else:
                self._put(self.held.pop(), _FILE_MODE)
        if marker:
            self._put(each, _FOLDER_MODE)
        else:
            self.held.append(each)

    def end(self) -> None:
        """Nothing more comes."""
        for each in self.held:
            self._put(each, _FILE_MODE)
        self.held = []


class BucketSource:
    """Source over a bucket; safe for threads."""

    at_once = AT_ONCE

    def __init__(self, name: bytes, beside: dict[bytes, bytes] | None = None) -> None:
        self.name, self.beside = name, beside or {}
        self.spool: Spool | None = None
        self.bucket = Bucket(name.decode())
        self.digests = Digests(self.bucket, lambda key: reason_against(key) is None)
        self.workers = Workers(AT_ONCE, "sealift-source")

    def check(self) -> None:
        """As Source."""
        found = self.bucket.page(self.bucket.root, most=2)
        if not any(each.key != self.bucket.root for each in found.objects):
            raise BadInput(
                f"{self.bucket.name}: no object's key begins with {self.bucket.root.decode()!r}",
                hint="s3://BUCKET/PREFIX is a folder: what is packed are the keys that begin with PREFIX/",
            )

    def memory(self, packs: int) -> int:
        """As Source."""
        return _CLIENT + packs * (WINDOW + PIECES * PIECE + AHEAD)

    def reader(self) -> BucketReader:
        """As Source."""
        return BucketReader(self)

    # Listing

    def walk(
        self, stack: list[bytes], key_of: Callable[[bytes], bytes], seed: int | None, seconds: float
    ) -> Iterator[Seen]:
        """As Source: the stack is of tasks."""
        end = time.monotonic() + seconds
        while stack:
            first = stack.pop()
            task = typed.unpack(first, _Task) if first else _Task(self.bucket.root)
            batch, left = self._listed(task)
            stack += map(msgspec.msgpack.encode, left)
            if batch.paths or batch.skipped:
                yield columns(batch.paths, batch.stats, batch.skipped, key_of, seed, batch.tags)
            if time.monotonic() > end:
                return

    def _listed(self, task: _Task) -> tuple[_Batch, list[_Task]]:
        """One page of a task, and the tasks that are left of it."""
        batch = _Batch(self.bucket.root, list(task.held))
        if task.level and not task.held:
            page = self.bucket.page(task.under, folders=True)
            if len(page.prefixes) > 1 and not page.after:
                return batch, self._apart(task, batch, page.objects, page.prefixes)
        page = self.bucket.page(task.under, task.after, most=PAGE)
        for each in page.objects:
            batch.add(each)
        if page.after:
            return batch, [_Task(task.under, page.after, 0, batch.held)]
        batch.end()
        return batch, []

    def _apart(self, task: _Task, batch: _Batch, objects: list[Listed], folders: list[bytes]) -> list[_Task]:
        """The objects of a folder, and tasks for the folders in it: with each the object that has its name."""
        named = {each.key + b"/": each for each in objects if not each.key.endswith(b"/") and not batch.against(each)}
        shared = named.keys() & set(folders)
        for each in objects:
            if each.key.endswith(b"/") or each.key + b"/" not in shared:
                batch.add(each)
        batch.end()
        return [_Task(name, b"", 0, [named[name]]) if name in shared else _Task(name, b"", task.level - 1)
                for name in folders]  # fmt: skip


class _Small(NamedTuple):
    """A small object as it was read: what there is of it, its size now, and whether it is as it was listed."""

    data: memoryview
    size: int
    as_listed: bool


class BucketReader:
    """Reader over a bucket."""

    far = True

    def __init__(self, source: BucketSource) -> None:
        self._source, self._bucket = source, source.bucket
        self._waiting: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()  # path -> size and tag
        self._coming: dict[bytes, tuple[int, Future[_Small]]] = {}
        self._held = 0  # bytes of these

    # Small objects

    def ahead(self, work: Sequence[Unit | Files]) -> None:
        """As Reader."""
        for each in work:
            if isinstance(each, Files):
                for path, size, tag in zip(each.paths, each.sizes, each.tags, strict=False):
                    self._waiting[path] = size, tag
            elif each.kind == FILE and each.length <= LARGE and not each.part:
                self._waiting[each.path] = each.size, each.tag
        self._pump()

    @property
    def waits(self) -> bool:
        """As Reader."""
        return not next((coming.done() for _, coming in self._coming.values()), True)

    def _pump(self) -> None:
        while self._waiting and self._held < WINDOW:
            path, (size, tag) = self._waiting.popitem(last=False)
            if path not in self._source.beside:
                self._begin(path, size, tag)

    def _begin(self, path: bytes, size: int, tag: bytes) -> Future[_Small]:
        coming = self._source.workers.submit(partial(self._fetch, path.decode(), size, tag))
        self._coming[path] = size, coming
        self._held += size
        return coming

    def _result(self, path: bytes, size: int, tag: bytes) -> _Small:
        """The object, which may be on its way; it stays known until `_drop`."""
        _, coming = self._coming.get(path, (0, None))
        if coming is None:
            self._waiting.pop(path, None)
            coming = self._begin(path, size, tag)
        return coming.result()

    def _drop(self, path: bytes) -> None:
        size, _ = self._coming.pop(path, (0, None))
        self._held -= size
        self._pump()

    def _fetch(self, path: str, size: int, tag: bytes) -> _Small:
        """In a thread: all of an object, held against its ETag. OSError, SourceFault."""
        try:
            return self._sure(path, size, tag)
        except Replaced:
            return _now(self._bucket, path, size)

    def _sure(self, path: str, size: int, tag: bytes) -> _Small:
        """The object that was listed. Replaced."""
        seen: set[bytes] = set()
        for _ in range(_AGAIN + 1):
            got = self._bucket.whole(path, tag, size)
            digest = hashlib.md5(got.data, usedforsecurity=False).digest() if strong_digest(tag) else b""
            if self._source.digests.fits(tag, digest):
                return _Small(got.data, size, as_listed=True)
            if digest in seen:
                return _Small(got.data, size, as_listed=self._source.digests.none(path))
            seen.add(digest)
        raise self._bucket.fault(f"reading {path!r}", _OTHERWISE)

    def whole(self, path: bytes, size: int, mtime: int, tag: bytes, content: memoryview) -> bool:
        """As Reader."""
        del mtime
        if path in self._source.beside:
            return False
        try:
            found = self._result(path, size, tag)
        except OSError:
            return False
        if not found.as_listed:
            return False
        content[:] = found.data
        self._drop(path)
        return True

    # Any object

    def open(self, unit: Unit) -> Opened:
        """As Reader."""
        if unit.path in self._source.beside:
            return File(os.open(self._source.beside[unit.path], os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
        if unit.length > LARGE or unit.part:
            return _Large(self._source, unit)
        try:
            return _Held(self._result(unit.path, unit.size, unit.tag))
        finally:
            self._drop(unit.path)

    def check_name(self, path: bytes, opened: Opened) -> None:
        """As Reader: no object has another name."""

    def require(self, unit: Unit) -> None:
        """As Reader: also that it is the object that was listed, for it is about to be cut."""
        if unit.path not in self._source.beside and self._bucket.look(unit.path.decode()) != (unit.size, unit.tag):
            raise _replaced()

    def peek(self, path: bytes, tag: bytes, start: int, length: int) -> bytes:
        """As Reader."""
        try:
            return bytes(self._bucket.get(path.decode(), tag, start, start + length).data)
        except Replaced:
            raise _replaced() from None

    def link(self, path: bytes) -> bytes:
        """As Reader: there are none."""
        raise OSError(errno.EINVAL, "is no link", path)

    def clashes(self, path: bytes) -> bool:
        """As Reader."""
        return bool(self._bucket.page(self._bucket.root + path + b".part-", most=1).objects)

    def checksum(self, unit: Unit) -> Any:
        """As Reader."""
        return self._source.digests.hasher(unit.path.decode(), unit.tag, unit.size)

    def sound(self, unit: Unit, checksum: Any) -> bool:
        """As Reader."""
        whole = msgspec.structs.replace(unit, start=0, length=unit.size)
        try:
            return _sound(self._source, whole, checksum)
        except OSError:
            return False


def _now(bucket: Bucket, path: str, size: int) -> _Small:
    """An object that was replaced, as it is now: as much of it as was listed. OSError, SourceFault."""
    for _ in range(_AGAIN):
        now, tag = bucket.look(path)
        try:
            return _Small(bucket.get(path, tag, 0, min(size, now)).data, now, as_listed=False)
        except Replaced:
            continue
    raise OSError(errno.ESTALE, "is replaced time and again")


def _sound(source: BucketSource, unit: Unit, hasher: Any) -> bool:
    """Whether all bytes of an object fit its tag, as far as it says; those that do not are read again. As `_Large`."""
    path = unit.path.decode()
    if source.digests.holds(path, unit.tag, hasher):
        return True
    fresh = hasher.again() if isinstance(hasher, PartsHasher) else hashlib.md5(usedforsecurity=False)
    if _Large(source, unit).hashed(fresh) != hasher.digest():
        raise source.bucket.fault(f"reading {path!r}", _OTHERWISE)
    return source.digests.none(path, hasher)


class _Held:
    """Opened, over a small object in memory."""

    def __init__(self, small: _Small) -> None:
        self._small = small
        self.size = small.size

    def read(self, views: list[memoryview], offset: int) -> int:
        """As Opened."""
        return _spread(self._small.data[offset:], views)

    def same(self, unit: Unit) -> bool:
        """As Opened."""
        del unit
        return self._small.as_listed

    def extents(self, start: int, length: int) -> None:
        """As Opened."""
        del start, length

    def close(self) -> None:
        """As Opened."""


def _spread(data: memoryview, views: Sequence[memoryview]) -> int:
    place = 0
    for view in views:
        piece = data[place : place + len(view)]
        view[: len(piece)] = piece
        place += len(piece)
    return place


class _Large:
    """Opened, over ranges of an object that are asked for ahead of who reads them, in order."""

    def __init__(self, source: BucketSource, unit: Unit) -> None:
        self._source, self._path = source, unit.path.decode()
        self._coming: deque[tuple[int, Future[memoryview]]] = deque()  # where each begins
        self._gone = False
        self._tag, self.size = unit.tag, unit.size
        self._stop = unit.start + unit.length
        self._hasher: Any = None
        self._hashing = Hashing()
        self._place = unit.start
        self._first(unit)
        self._spool = source.spool.writer(unit) if source.spool is not None and unit.part else None
        if not unit.part and self._tag == unit.tag:
            self._hasher = source.digests.hasher(self._path, unit.tag, unit.size)

    def _first(self, unit: Unit) -> None:
        """The object that was listed, or, where it is read by nobody else, as it is now. OSError, SourceFault."""
        for attempt in range(_AGAIN + 1):
            self._next = unit.start
            self._ask()
            try:
                if self._coming:
                    self._coming[0][1].result()
            except Replaced:
                self._drop()
            else:
                return
            if unit.part:
                break
            self.size, self._tag = self._source.bucket.look(self._path)
            self._stop = min(unit.length, self.size)
            if attempt == _AGAIN:
                break
        raise _replaced()

    def _ask(self) -> None:
        while len(self._coming) < PIECES and self._next < self._stop:
            start, self._next = self._next, min(self._next + PIECE, self._stop)
            self._coming.append((start, self._source.workers.submit(partial(self._fetch, start, self._next))))

    def _fetch(self, start: int, stop: int) -> memoryview:
        got = self._source.bucket.get(self._path, self._tag, start, stop)
        if got.size != self.size:
            raise Replaced
        return got.data

    def read(self, views: list[memoryview], offset: int) -> int:
        """As Opened: from front to back."""
        if self._gone:  # told once
            return 0
        assert offset == self._place, "an object is read from front to back"
        total = 0
        for view in views:
            done = 0
            while done < len(view) and (piece := self._piece()) is not None:
                part = piece[: len(view) - done]
                view[done : done + len(part)] = part
                done += len(part)
                self._place += len(part)
                if self._hasher is not None:
                    self._hashing.update(self._hasher, part)  # which nobody writes to
                if self._spool is not None:
                    self._spool.add(part)
            total += done
        return total

    def _piece(self) -> memoryview | None:
        """Bytes from the place where reading is, None at the end. OSError where it was replaced meanwhile."""
        while self._coming:
            start, coming = self._coming[0]
            try:
                data = coming.result()
            except (Replaced, OSError) as error:
                self._gone = True
                self._drop()
                if isinstance(error, Replaced):
                    raise OSError(errno.ESTALE, "was replaced while it was read") from None
                raise
            if self._place < start + len(data):
                return data[self._place - start :]
            self._coming.popleft()
            self._ask()
        return None

    def _drop(self) -> None:
        for _, coming in self._coming:
            coming.cancel()
        self._coming.clear()

    def same(self, unit: Unit) -> bool:
        """As Opened; the bytes of a whole object are held against its ETag when all were read."""
        if self._gone or self._tag != unit.tag:
            return False
        if self._hasher is None or self._place < self._stop:
            return True
        hasher, self._hasher = self._hasher, None
        self._hashing.wait()
        return _sound(self._source, unit, hasher)

    def hashed(self, hasher: Any) -> bytes:
        """The digest of all that it gives, when it is read once more."""
        buffer, self._hasher = memoryview(bytearray(PIECE)), hasher
        while self.read([buffer], self._place):
            pass  # it is hashed there
        self._hashing.wait()
        self.close()
        digest: bytes = hasher.digest()
        return digest

    def extents(self, start: int, length: int) -> None:
        """As Opened."""
        del start, length

    def close(self) -> None:
        """As Opened."""
        self._hashing.close()
        if self._spool is not None:
            self._spool.close()
        self._drop()
