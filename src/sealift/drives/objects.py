"""ObjectDrive: sealift/ beneath s3://BUCKET/PREFIX, through obstore: hostile until shown otherwise, as a folder is.

What holds: an object appears under its name when it is whole, and not before; what was begun and not finished is
aborted, by `abandon` or, after a kill, by the next `lock`. It counts as published when the store said its length and
its digest (an ETag that is none is settled by reading the object once), else it is removed again. Every range that is
read is of the object that was opened, or the read fails. A call ends within some patience; what fails then is a
DriveFault that names bucket and object, and no key.

What an object store has not: links and folders (a folder is there when something is in it), parts that can be seen, a
serial number, a count of free bytes (any amount fits until the store refuses), a cache on this host (all reads are from
the medium), and locks: `lock` keeps other processes of this host out, and nobody else.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import socket
import time
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from blake3 import blake3

from sealift.drives import object_faults as faults
from sealift.drives import uploads
from sealift.drives.base import MAX_DEPTH, SAFE_READING, SAFE_WRITING, Entry, Source, split
from sealift.drives.object_client import PATIENCE, THREADS, Client, client_of, endpoint, fault, native
from sealift.drives.ranges import Ranges, RemoteDrive, RemoteFile, Traffic
from sealift.errors import BadInput, Busy, DriveFault, FormatError
from sealift.formats.manifest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PART_SIZE = 8 << 20  # of an upload in parts; S3 allows 5 MiB to 5 GiB, and 10,000 of them
_TOGETHER = 4  # parts of one object that are on their way at once
UPLOAD_MEMORY = 2 * (_TOGETHER + 2) * PART_SIZE  # a pack is written while the one before is finished
_UNLIMITED = 1 << 62
_CUT = 6  # times that a small answer may be cut
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_FOLDER = re.compile(r"[A-Za-z0-9!_.*'()=+@:,&$ -]{1,255}")
_PAGE = 1000  # objects that a listing gives at a time


class Place(NamedTuple):
    """A bucket, and what stands before every name in it (may be empty)."""

    bucket: str
    prefix: str

    @property
    def root(self) -> str:
        """What stands before every name of the drive."""
        return f"{self.prefix}/{ROOT}" if self.prefix else ROOT

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}" if self.prefix else f"s3://{self.bucket}"


def parse(location: str) -> Place:
    """The place that s3://BUCKET/PREFIX names; BadInput, which repeats nothing that may be a key."""
    bucket, _, prefix = location[len("s3://") :].partition("/")
    if "@" in bucket:
        raise BadInput(
            "an s3:// location has a user or a key before its bucket",
            hint="s3://BUCKET/PREFIX; keys belong into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    prefix = prefix.removesuffix("/")
    parts = prefix.split("/") if prefix else []
    if not _BUCKET.fullmatch(bucket) or any(part in {".", ".."} or not _FOLDER.fullmatch(part) for part in parts):
        raise BadInput(
            f"{location}: not of the form s3://BUCKET/PREFIX",
            hint="the prefix is of letters, digits and !-_.*'()=+@:,&$, without empty parts, . and ..",
        )
    return Place(bucket, prefix)


def _digest_of(meta: dict[str, Any]) -> str:
    """The ETag, which is a digest where nothing speaks against it."""
    return (meta["e_tag"] or "").strip('"')


class ObjectReadFile(RemoteFile):
    """drives.base.ReadFile over ranges of the object that was opened; another in its place is not read."""

    def __init__(self, drive: ObjectDrive, name: str, meta: dict[str, Any]) -> None:
        self._drive, self._name = drive, name
        self._etag: str = meta["e_tag"] or "*"
        self._length: int = meta["size"]
        self.key = name, self._etag
        one = blake3(f"{drive.place}\0{self._etag}\0{meta['version']}".encode()).digest(16)
        self._stamp = (
            int.from_bytes(one[:8]),
            int.from_bytes(one[8:]),
            self._length,
            int(meta["last_modified"].timestamp()),
        )

    @property
    def ranges(self) -> Ranges:
        """Of the store, in this process."""
        return self._drive.client.ranges

    @property
    def length(self) -> int:
        """In bytes."""
        return self._length

    @property
    def known_length(self) -> int:
        """In bytes."""
        return self._length

    @property
    def stamp(self) -> tuple[int, ...]:
        """Of ETag, version, time and length."""
        return self._stamp

    @property
    def read_from(self) -> Source:
        """Always `medium`: this host keeps nothing of it."""
        return "medium"

    def fetch(self, start: int, stop: int) -> Any:
        """Bytes start..stop-1, as obstore has them."""
        client, doing = self._drive.client, f"reading {self._name} at {start}"
        got = self._drive.ask(doing, client.fetch, self._name, self._etag, start, stop)
        if len(memoryview(got)) != stop - start:
            raise fault(self._drive.mount, doing, faults.SHORT, safe=SAFE_READING)
        self._drive.traffic.add(size=stop - start)
        return got


class ObjectPartFile:
    """drives.base.PartFile over one upload.

    What is written first is kept, up to PART_SIZE, and may be written in any order; after that a file is written from
    front to back (ValueError), where what is left out is zeros.
    """

    def __init__(self, drive: ObjectDrive, name: str) -> None:
        self._drive, self.name = drive, name
        self._head: bytearray | None = bytearray()
        self._writer: Any = None
        self._sent = 0
        self._digests: list[Any] = []  # of the parts, as S3 makes an ETag of them
        self._open = True

    def write_at(self, offset: int, buffers: Sequence[memoryview]) -> None:
        """Write the buffers one after the other from `offset`."""
        assert self._open, "the file is closed"
        for each in filter(len, buffers):
            view = each.cast("B") if each.format != "B" or each.ndim != 1 else each
            if self._head is not None and offset + len(view) > PART_SIZE:
                head, self._head = self._head, None
                self._send(memoryview(head))
            if self._head is not None:
                self._head.extend(bytes(max(0, offset - len(self._head))))
                self._head[offset : offset + len(view)] = view
            else:
                if offset < self._sent:
                    raise ValueError(f"{self.name}: byte {offset} is written again, and was sent")
                self._skip(offset)
                self._send(view)
            offset += len(view)

    def _skip(self, offset: int) -> None:
        zeros = bytes(min(PART_SIZE, offset - self._sent))
        while self._sent < offset:
            self._send(memoryview(zeros)[: offset - self._sent])

    def _send(self, view: memoryview) -> None:
        """On its way, in parts of PART_SIZE; the memory may be used again when this returns."""
        if not len(view):
            return
        client, doing = self._drive.client, f"writing {self.name} at {self._sent}"
        if self._writer is None:
            self._writer = self._drive.ask(
                doing,
                client.native.open_writer,
                client.store,
                self.name,
                buffer_size=PART_SIZE,
                max_concurrency=_TOGETHER,
                safe=SAFE_WRITING,
            )
        done = 0
        while done < len(view):
            room = PART_SIZE - self._sent % PART_SIZE
            if room == PART_SIZE:
                self._digests.append(hashlib.md5(usedforsecurity=False))
            piece = view[done : done + room]
            self._digests[-1].update(piece)
            kept = bytes(piece)  # obstore does not copy it, and sends it later
            self._drive.ask(doing, self._writer.write, kept, safe=SAFE_WRITING)
            done += len(piece)
            self._sent += len(piece)

    def publish(self) -> None:
        """Complete the upload, and have the store say what it holds; it is durable then."""
        drive, doing = self._drive, f"publishing {self.name}"
        client = drive.client
        if self._head is not None:
            data, self._sent = bytes(self._head), len(self._head)
            self._digests = [hashlib.md5(data, usedforsecurity=False)]
            drive.ask(doing, client.native.put, client.store, self.name, data, use_multipart=False, safe=SAFE_WRITING)
            etag = self._digests[0].hexdigest()
        else:
            whole = hashlib.md5(b"".join(each.digest() for each in self._digests), usedforsecurity=False)
            etag = f"{whole.hexdigest()}-{len(self._digests)}"
            try:
                drive.ask(doing, self._writer.close, safe=SAFE_WRITING)
            except DriveFault:  # the answer may be what was lost, and not the object
                meta = drive.meta(self.name, doing, safe=SAFE_WRITING)
                if meta is None or meta["size"] != self._sent or _digest_of(meta) != etag:
                    raise
        self._writer, self._open = None, False
        meta = drive.meta(self.name, doing, safe=SAFE_WRITING)
        if meta is None or meta["size"] != self._sent or not self._holds(meta, etag):
            with contextlib.suppress(Exception):  # under this name is not what belongs there
                client.native.delete(client.store, self.name)
            raise fault(drive.mount, doing, faults.OTHERWISE, safe=SAFE_WRITING)

    def _holds(self, meta: dict[str, Any], etag: str) -> bool:
        """Whether the object is what was sent; by its ETag, or read again where ETags are no digests."""
        client = self._drive.client
        if _digest_of(meta) == etag or not client.etags_are_digests:
            return True
        file = ObjectReadFile(self._drive, self.name, meta)
        for number, digest in enumerate(self._digests):
            data = file.read_at(number * PART_SIZE, PART_SIZE)
            if hashlib.md5(data, usedforsecurity=False).digest() != digest.digest():
                return False
        client.etags_are_digests = False
        return True

    def abandon(self) -> None:
        """Abort the upload; never raises."""
        writer, self._writer, self._head, self._open = self._writer, None, None, False
        if writer is not None:
            with contextlib.suppress(Exception):
                writer.__exit__(InterruptedError, InterruptedError(), None)


class ObjectDrive(RemoteDrive):
    """drives.base.Drive over a bucket. `patience`: seconds for which a request that fails is sent again.

    `name` is what messages call it, its location where there is none; `requests`, how many ranges are fetched at once.
    """

    def __init__(self, location: str, *, patience: float = PATIENCE, name: str = "", requests: int = THREADS) -> None:
        self.place, self._patience = parse(location), patience
        self._given = location, name, requests
        self.at, self.host_name = location, endpoint() or "s3://"
        self.mount = name or location  # as it was given, as a folder's is
        self.traffic = Traffic()
        self._client: Client | None = None
        self._lock: weakref.finalize[..., ObjectDrive] | None = None
        self._fd = -1

    def __reduce__(self) -> tuple[Callable[..., ObjectDrive], tuple[str, str, int]]:
        return _again, self._given

    def check(self) -> None:
        """BadInput without obstore."""
        native()

    def __repr__(self) -> str:
        return f"ObjectDrive({self.mount!r})"

    @property
    def client(self) -> Client:
        """obstore, opened in this process when it is first needed. BadInput without obstore."""
        place = self.place
        self._client = client_of(self._client, place.bucket, place.root, self._patience, self._given[2])
        return self._client

    def ask(
        self, doing: str, function: Callable[..., Any], *arguments: Any, safe: str = SAFE_READING, **more: Any
    ) -> Any:
        """What `function` of obstore's returns, its exceptions as a DriveFault."""
        self.traffic.add(requests=1)
        try:
            return function(*arguments, **more)
        except BaseException as error:  # noqa: BLE001 -- its own classes, of whichever copy; others are raised again
            trouble = faults.trouble_of(error)
        raise fault(self.mount, doing, trouble, safe=safe)

    # Reading

    def exists(self) -> bool:
        """Whether something is there, or is about to be: there are no empty folders."""
        return self._lock is not None or next(self._objects(1), None) is not None

    def _objects(self, page: int) -> Iterator[list[dict[str, Any]]]:
        """The objects, so many at a time, by name. DriveFault; FormatError for a name that is no path."""
        doing, client = f"listing {ROOT}/", self.client
        last, cut = None, 0
        pages = self.ask(doing, client.native.list, client.store, chunk_size=page)
        while True:
            try:
                found = next(pages, None)
            except BaseException as error:  # noqa: BLE001 -- its own classes, of whichever copy; others are raised again
                trouble = faults.trouble_of(error)
                if type(error).__name__ == "InvalidPathError":
                    raise FormatError(f"{self.mount}: there are objects in {ROOT}/ whose names are no paths") from None
            else:
                if found is None:
                    return
                yield found
                last, cut = found[-1]["path"], 0
                continue
            cut += 1
            if trouble != faults.CUT or cut == _CUT:
                raise fault(self.mount, doing, trouble, safe=SAFE_READING)
            time.sleep(0.1 * 2**cut)
            pages = self.ask(doing, client.native.list, client.store, chunk_size=page, offset=last)

    def _answered(self, function: Callable[..., Any], *arguments: Any) -> tuple[Any, faults.Trouble | None]:
        """What a function of obstore's returns, or the trouble; one whose answer was cut is asked again."""
        for attempt in range(_CUT):  # obstore resumes ranges that were cut, and not small answers
            try:
                return function(*arguments), None
            except BaseException as error:  # noqa: BLE001 -- its own classes, of whichever copy; others are raised again
                trouble = faults.trouble_of(error)
            if trouble != faults.CUT:
                break
            time.sleep(0.1 * 2**attempt)
        return None, trouble

    def meta(self, name: str, doing: str, *, safe: str = SAFE_READING) -> dict[str, Any] | None:
        """Size, ETag and time of an object; None when there is none. DriveFault, also when there is no bucket."""
        split(name)
        client = self.client
        found, trouble = self._answered(client.native.head, client.store, name)
        if trouble is not None and trouble.code in {errno.ENOENT, errno.EACCES}:
            # a HEAD is answered without words: what is missing, or is not allowed, only GET says
            found, trouble = self._answered(lambda: client.native.get(client.store, name).meta)
        if trouble is None:
            return dict(found)
        if trouble.code == errno.ENOENT:
            return None
        raise fault(self.mount, doing, trouble, safe=safe)

    def read_small(self, name: str, limit: int) -> bytes | None:
        """The whole object, None when there is none."""
        split(name)
        client = self.client

        def read() -> tuple[int, bytes]:
            found = client.native.get(client.store, name)
            size: int = found.meta["size"]
            return size, bytes(found.bytes()) if size <= limit else b""

        found, trouble = self._answered(read)
        if trouble is None:
            if found[0] > limit:
                raise FormatError(f"{self.mount}: {name} is {found[0]:,} bytes long; at most {limit:,} are allowed")
            data: bytes = found[1]
            return data
        if trouble.code == errno.ENOENT:
            return None
        raise fault(self.mount, f"opening {name}", trouble, safe=SAFE_READING)

    def size(self, name: str) -> int | None:
        """Length in bytes, None when there is none."""
        found = self.meta(name, f"looking at {name}")
        return None if found is None else int(found["size"])

    def open_read(self, name: str, *, direct: bool = False) -> ObjectReadFile:
        """Open for reading; `direct` changes nothing here."""
        del direct
        found = self.meta(name, f"opening {name}")
        if found is None:
            raise fault(self.mount, f"opening {name}", faults.MISSING, safe=SAFE_READING)
        return ObjectReadFile(self, name, found)

    def open_later(self, name: str) -> ObjectReadFile:
        """As open_read."""
        return self.open_read(name)

    def walk(self, limit: int) -> Iterator[Entry]:
        """Everything beneath sealift/, folders before what is in them."""
        folders: set[str] = set()
        count = 0
        for page in self._objects(_PAGE):
            for each in page:
                name: str = each["path"]
                above = name.split("/")[:-1]
                places = ["/".join(above[: depth + 1]) for depth in range(len(above))]
                for place in [*places, ""]:
                    if place in folders:
                        continue
                    count += 1
                    if count > limit:
                        raise FormatError(f"{self.mount}: more than {limit:,} files and folders in {ROOT}/")
                    if place:
                        folders.add(place)
                        yield Entry(place.encode("utf-8", "surrogateescape"), "folder", 0)
                        if place.count("/") + 1 >= MAX_DEPTH:
                            raise FormatError(f"{self.mount}: folders in {ROOT}/ are over {MAX_DEPTH} deep")
                    else:
                        yield Entry(name.encode("utf-8", "surrogateescape"), "file", each["size"])

    # Identity

    def filesystem(self) -> tuple[object, ...]:
        """The bucket: what is in one is lost with it."""
        return "s3", endpoint(), self.place.bucket

    def serial(self) -> str | None:
        """There is none."""
        return None

    def free_bytes(self) -> int:
        """No store tells: as much as anybody asks for, until it refuses."""
        return _UNLIMITED

    def total_bytes(self) -> int:
        """No store tells."""
        return _UNLIMITED

    # Writing

    def lock(self) -> int:
        """Keep other processes of this host from writing here; then end uploads that a killed one left behind."""
        if self._lock is not None:
            return self._fd
        held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        name = blake3(f"{endpoint()}\0{self.place.bucket}\0{self.place.root}".encode()).hexdigest(length=16)
        try:
            held.bind(f"\0sealift/s3/{name}")  # a name in no filesystem, which goes with its last holder
        except OSError as error:
            held.close()
            if error.errno != errno.EADDRINUSE:
                raise fault(self.mount, "locking", faults.of_host(error), safe=SAFE_WRITING) from error
            raise Busy(f"{self.mount}: another process of this host works on it") from error
        held.set_inheritable(True)
        self._fd = held.detach()
        self._lock = weakref.finalize(self, os.close, self._fd)
        uploads.abort_left(self.place.bucket, f"{self.place.root}/", endpoint())
        return self._fd

    def unlock(self) -> None:
        """Give the lock up; again does nothing. A child that inherited it holds it until it ends."""
        if self._lock is not None:
            self._lock()
            self._lock = None

    def create(self, name: str, *, direct: bool = False) -> ObjectPartFile:
        """Begin NAME; `direct` changes nothing here."""
        del direct
        assert self._lock is not None, "a drive is written only under its lock"
        split(name)
        return ObjectPartFile(self, name)

    def sync_folder(self, name: str) -> None:
        """What was published or removed is so for good."""
        split(name)

    def write_small(self, name: str, data: bytes) -> None:
        """One object, in one request."""
        part = self.create(name)
        try:
            part.write_at(0, [memoryview(data)])
            part.publish()
        except BaseException:
            part.abandon()
            raise

    def remove(self, name: str) -> None:
        """Remove the object, if it is there."""
        assert self._lock is not None, "a drive is written only under its lock"
        split(name)
        _, trouble = self._answered(self.client.native.delete, self.client.store, name)
        if trouble is not None and trouble.code != errno.ENOENT:
            raise fault(self.mount, f"removing {name}", trouble, safe=SAFE_WRITING)


def _again(location: str, name: str, requests: int) -> ObjectDrive:
    return ObjectDrive(location, name=name, requests=requests)
