"""Objects of a bucket beneath one prefix, through obstore: read in ranges, written whole, never over somebody else's.

    ObjectPrefix    names beneath s3://BUCKET/PREFIX: what is there, ranges of it, what is written new
    ObjectReadFile  one object as a drives.base.ReadFile
    ObjectPartFile  one upload as a drives.base.PartFile

What holds: an object appears under its name when it is whole, and not before. It counts as published when the store
said its length and its digest (an ETag that is none is settled by reading the object once), else it is removed again.
Every range that is read is of the object that was opened, or the read fails. A call ends within some patience; what
fails then is a DriveFault that names bucket and object, and no key. What names mean is for the callers.
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
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from blake3 import blake3

from sealift.drives import object_faults as faults
from sealift.drives import uploads
from sealift.drives.base import SAFE_READING, SAFE_WRITING, Source
from sealift.drives.hashing import Hashing
from sealift.drives.object_client import PATIENCE, THREADS, Client, client_of, endpoint, fault, interruptible
from sealift.drives.ranges import Ranges, RemoteFile, Traffic
from sealift.drives.waiting import waiting
from sealift.errors import BadInput, Busy, DriveFault, FormatError
from sealift.formats.manifest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PART_SIZE = 8 << 20  # of an upload in parts; S3 allows 5 MiB to 5 GiB, and 10,000 of them
MAX_PARTS = 10_000
MAX_OBJECT = 5 << 40  # bytes; of Amazon's documentation
TOGETHER = 4  # parts of one object that are on their way at once
PAGE = 1000  # objects that a listing gives at a time
_CUT = 6  # times that a small request may fail on its way
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_IS_DIGEST = re.compile(r'"?[0-9a-f]{32}(?:-\d{1,5})?"?')  # an ETag: MD5, of parts too
_FOLDER = re.compile(r"[A-Za-z0-9!_.*'()=+@:,&$ -]{1,255}")
_TRANSIENT = {errno.ENODEV, errno.ETIMEDOUT, errno.EIO}

Put: TypeAlias = Literal["written", "there", "other"]
"""What came of writing an object anew: it was; these bytes are there already; others are, and were left."""


class Place(NamedTuple):
    """A bucket, and what stands before every name in it (may be empty)."""

    bucket: str
    prefix: str

    @property
    def root(self) -> str:
        """What stands before every name of the drive."""
        return self.beneath(ROOT)

    def beneath(self, name: str) -> str:
        """The name of an object beneath the prefix, as the bucket has it."""
        return f"{self.prefix}/{name}" if self.prefix else name

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


def _digest_of(meta: Any) -> str:
    """The ETag, which is a digest where nothing speaks against it."""
    return (meta["e_tag"] or "").strip('"')


class ObjectPrefix:
    """What lies beneath `root` of a bucket (names are without it), which messages call `shown` of `mount`.

    `patience`: seconds for which a request that fails is sent again; `requests`: ranges that are fetched at once.
    """

    mount: str
    shown: str

    def __init__(
        self,
        location: str,
        root: str | None = None,
        *,
        patience: float = PATIENCE,
        name: str = "",
        requests: int = THREADS,
    ) -> None:
        self.place, self._patience, self._requests = parse(location), patience, requests
        self.root = self.place.prefix if root is None else root
        self.shown = "it" if root is None else f"{ROOT}/"
        self.mount = name or location  # as it was given, as a folder's is
        self.traffic = Traffic()
        self._client: Client | None = None
        self._lock: weakref.finalize[..., ObjectPrefix] | None = None
        self._fd = -1

    @property
    def client(self) -> Client:
        """obstore, opened in this process when it is first needed. BadInput without obstore."""
        self._client = client_of(self._client, self.place.bucket, self.root, self._patience, self._requests)
        return self._client

    def ask(
        self, doing: str, function: Callable[..., Any], *arguments: Any, safe: str = SAFE_READING, **more: Any
    ) -> Any:
        """What `function` of obstore's returns, its exceptions as a DriveFault."""
        self.traffic.add(requests=1)
        try:
            with waiting(f"{self.mount}: {doing}"):
                return interruptible(function, *arguments, **more)
        except BaseException as error:  # noqa: BLE001 -- its own classes, of whichever copy; others are raised again
            trouble = faults.trouble_of(error)
        raise fault(self.mount, doing, trouble, safe=safe)

    def objects(self, page: int = PAGE, beneath: str | None = None) -> Iterator[list[dict[str, Any]]]:
        """The objects, or those in the folder `beneath`, so many at a time, by name.

        DriveFault; FormatError for a name that is no path.
        """
        doing, client = f"listing {self.shown}", self.client
        last, cut = None, 0
        pages = self.ask(doing, client.native.list, client.store, prefix=beneath, chunk_size=page)
        while True:
            try:
                with waiting(f"{self.mount}: {doing}"):
                    found = interruptible(next, pages, None)
            except BaseException as error:  # noqa: BLE001 -- its own classes, of whichever copy; others are raised again
                trouble = faults.trouble_of(error)
                if type(error).__name__ == "InvalidPathError":
                    raise FormatError(
                        f"{self.mount}: there are objects in {self.shown} whose names are no paths"
                    ) from None
            else:
                client.seen = True
                if found is None:
                    return
                yield found
                last, cut = found[-1]["path"], 0
                continue
            cut += 1
            if trouble not in {faults.CUT, faults.GARBLED} or cut == _CUT:  # cut, or altered, on its way
                raise fault(self.mount, doing, trouble, safe=SAFE_READING)
            time.sleep(0.1 * 2**cut)
            pages = self.ask(doing, client.native.list, client.store, prefix=beneath, chunk_size=page, offset=last)

    def _answered(self, doing: str, function: Callable[..., Any], *arguments: Any) -> tuple[Any, faults.Trouble | None]:
        """What a function of obstore's returns, or the trouble; it is asked again where that was on the way."""
        with waiting(f"{self.mount}: {doing}"):
            return self._asked(function, *arguments)

    def _asked(self, function: Callable[..., Any], *arguments: Any) -> tuple[Any, faults.Trouble | None]:
        until = time.monotonic() + self._patience
        # obstore resumes ranges that were cut, and not small answers; nor sends all again, as a removal that was reset
        for attempt in range(_CUT):
            try:
                return interruptible(function, *arguments), None
            except BaseException as error:  # noqa: BLE001 -- its own classes, of whichever copy; others are raised again
                trouble = faults.trouble_of(error)
            late = time.monotonic() > until  # of what obstore itself has sent again for as long as is worth while
            if trouble != faults.CUT and (trouble not in {faults.SILENT, faults.UNREACHED} or late):
                break
            time.sleep(0.1 * 2**attempt)
        return None, trouble

    def meta(self, name: str, doing: str, *, safe: str = SAFE_READING) -> dict[str, Any] | None:
        """Size, ETag and time of an object; None when there is none. DriveFault, also when there is no bucket."""
        client = self.client
        found, trouble = self._answered(doing, client.native.head, client.store, name)
        if trouble is not None and trouble.code == errno.ENOENT and client.seen:
            return None
        if trouble is not None and trouble.code in {errno.ENOENT, errno.EACCES}:
            # a HEAD is answered without words: what is missing, or is not allowed, only GET says
            found, trouble = self._answered(doing, lambda: client.native.get(client.store, name).meta)
        if trouble is None:
            client.seen = True
            return dict(found)
        if trouble.code == errno.ENOENT:
            return None
        raise fault(self.mount, doing, trouble, safe=safe)

    def get(self, name: str, limit: int) -> bytes | None:
        """The whole object, None when there is none. FormatError: over `limit` bytes; DriveFault."""
        client = self.client

        def read() -> tuple[int, bytes]:
            found = client.native.get(client.store, name)
            size: int = found.meta["size"]
            return size, bytes(found.bytes()) if size <= limit else b""

        doing = f"opening {name}"
        found, trouble = self._answered(doing, read)
        if trouble is None:
            if found[0] > limit:
                raise FormatError(f"{self.mount}: {name} is {found[0]:,} bytes long; at most {limit:,} are allowed")
            data: bytes = found[1]
            return data
        if trouble.code == errno.ENOENT:
            return None
        raise fault(self.mount, doing, trouble, safe=SAFE_READING)

    # Locking

    def hold(self) -> int:
        """Keep other processes of this host from writing here; again gives the same descriptor. Busy, DriveFault."""
        if self._lock is not None:
            return self._fd
        held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        name = blake3(f"{endpoint()}\0{self.place.bucket}\0{self.root}".encode()).hexdigest(length=16)
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
        return self._fd

    def let_go(self) -> None:
        """Give the lock up; again does nothing. A child that inherited it holds it until it ends."""
        if self._lock is not None:
            self._lock()
            self._lock = None

    @property
    def held(self) -> bool:
        """Whether this one holds the lock."""
        return self._lock is not None

    # Writing

    def put_new(self, name: str, data: bytes) -> Put:
        """Write an object, in one request, where there is none of its name. DriveFault.

        The store is asked for that (If-None-Match), so nobody's object is written over, whoever comes between.
        """
        with waiting(f"{self.mount}: writing {name}"):
            return self._put_new(name, data)

    def _put_new(self, name: str, data: bytes) -> Put:
        doing, client, digest = f"writing {name}", self.client, hashlib.md5(data, usedforsecurity=False)
        trouble, mode = faults.CUT, "create"
        if not client.keeps:
            if (meta := self.meta(name, doing, safe=SAFE_WRITING)) is not None:
                return "there" if self._same(name, meta, data, digest.hexdigest()) else "other"
            mode = "overwrite"
        store, patience = client.for_bytes(len(data))
        until = time.monotonic() + patience
        for attempt in range(_CUT):
            self.traffic.add(requests=1)
            try:
                answer = interruptible(client.native.put, store, name, data, mode=mode, use_multipart=False)
            except BaseException as error:  # noqa: BLE001 -- its own classes, of whichever copy; others are raised again
                trouble = faults.trouble_of(error)
                exists = type(error).__name__ == "AlreadyExistsError"
            else:
                if _digest_of(answer) == digest.hexdigest():
                    return "written"
                return self._settle(name, data, digest.hexdigest())
            if exists and (meta := self.meta(name, doing, safe=SAFE_WRITING)) is not None:
                return "there" if self._same(name, meta, data, digest.hexdigest()) else "other"
            if (not exists and trouble.code not in _TRANSIENT) or time.monotonic() > until:
                break
            time.sleep(0.1 * 2**attempt)
        raise fault(self.mount, doing, trouble, safe=SAFE_WRITING)

    def put_over(self, name: str, data: bytes) -> None:
        """Write an object of ours anew, which makes its time the store's. DriveFault."""
        client, doing = self.client, f"writing {name}"
        _, trouble = self._answered(doing, lambda: client.native.put(client.store, name, data, use_multipart=False))
        if trouble is not None:
            raise fault(self.mount, doing, trouble, safe=SAFE_WRITING)

    def learn(self, name: str) -> None:
        """Find out by an object of ours, which is the first that is written, whether If-None-Match holds. DriveFault.

        If not, it is asked what there is before, and whoever writes the same name in that moment is written over.
        """
        self.put_new(name, b"")
        self.client.keeps = self.put_new(name, b"") == "there"

    def _settle(self, name: str, data: bytes, digest: str) -> Put:
        """The store said yes to an upload, and not with the digest of what was sent."""
        doing = f"writing {name}"
        meta = self.meta(name, doing, safe=SAFE_WRITING)
        if meta is not None and self._same(name, meta, data, digest):
            return "written"
        with contextlib.suppress(Exception):  # under this name is not what belongs there
            self.client.native.delete(self.client.store, name)
        raise fault(self.mount, doing, faults.OTHERWISE, safe=SAFE_WRITING)

    def _same(self, name: str, meta: dict[str, Any], data: bytes, digest: str) -> bool:
        if meta["size"] != len(data):
            return False
        if _digest_of(meta) == digest:
            return True
        return ObjectReadFile(self, name, meta).read_at(0, len(data)) == data

    def delete(self, name: str, *, safe: str = SAFE_WRITING) -> None:
        """Remove the object, if it is there. DriveFault."""
        doing = f"removing {name}"
        _, trouble = self._answered(doing, self.client.native.delete, self.client.store, name)
        if trouble is not None and trouble.code != errno.ENOENT:
            raise fault(self.mount, doing, trouble, safe=safe)

    def end_uploads(self, name: str = "") -> int:
        """End uploads in parts of the object `name`, or of all beneath the root, that nobody finishes; how many."""
        prefix = f"{self.root}/{name}" if self.root and name else name or f"{self.root}/"
        return uploads.abort_left(self.place.bucket, prefix, endpoint(), exact=bool(name))


class ObjectReadFile(RemoteFile):
    """drives.base.ReadFile over ranges of the object that was opened; another in its place is not read."""

    def __init__(self, bucket: ObjectPrefix, name: str, meta: dict[str, Any]) -> None:
        self._bucket, self._name = bucket, name
        self._etag: str = meta["e_tag"] or "*"
        self._length: int = meta["size"]
        self.key = name, self._etag
        one = blake3(f"{bucket.place}\0{self._etag}\0{meta['version']}".encode()).digest(16)
        self._stamp = (
            int.from_bytes(one[:8]),
            int.from_bytes(one[8:]),
            self._length,
            int(meta["last_modified"].timestamp()),
        )

    @property
    def ranges(self) -> Ranges:
        """Of the store, in this process."""
        return self._bucket.client.ranges

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
    def lasting(self) -> bool:
        """Whether the ETag is of the form of a digest: a store's own, and time, tell each writing from another."""
        return _IS_DIGEST.fullmatch(self._etag) is not None

    @property
    def read_from(self) -> Source:
        """Always `medium`: this host keeps nothing of it."""
        return "medium"

    def fetch(self, start: int, stop: int) -> Any:
        """Bytes start..stop-1, as obstore has them."""
        client, doing = self._bucket.client, f"reading {self._name} at {start}"
        got = self._bucket.ask(doing, client.fetch, self._name, self._etag, start, stop)
        if len(memoryview(got)) != stop - start:
            raise fault(self._bucket.mount, doing, faults.SHORT, safe=SAFE_READING)
        self._bucket.traffic.add(size=stop - start)
        return got


class ObjectPartFile:
    """drives.base.PartFile over one upload.

    What is written first is kept, up to a part, and may be written in any order; after that a file is written from
    front to back (ValueError), where what is left out is zeros. `part_size`: bytes of a part, PART_SIZE or more.
    """

    def __init__(self, bucket: ObjectPrefix, name: str, part_size: int = PART_SIZE) -> None:
        self._bucket, self.name = bucket, name
        self._part = part_size
        self._head: bytearray | None = bytearray()
        self._writer: Any = None
        self._sent = 0
        self._digests: list[Any] = []  # of the parts, as S3 makes an ETag of them
        self._hashing = Hashing()
        self._open = True

    def write_at(self, offset: int, buffers: Sequence[memoryview]) -> None:
        """Write the buffers one after the other from `offset`."""
        assert self._open, "the file is closed"
        for each in filter(len, buffers):
            view = each.cast("B") if each.format != "B" or each.ndim != 1 else each
            if self._head is not None and offset + len(view) > self._part:
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

    def open_back(self) -> None:
        """None: a store gives nothing of an object that is not whole; the digests of its parts are compared."""

    def _skip(self, offset: int) -> None:
        zeros = bytes(min(self._part, offset - self._sent))
        while self._sent < offset:
            self._send(memoryview(zeros)[: offset - self._sent])

    def _send(self, view: memoryview) -> None:
        """On its way, in parts of self._part; the memory may be used again when this returns."""
        if not len(view):
            return
        client, doing = self._bucket.client, f"writing {self.name} at {self._sent}"
        if self._writer is None:
            self._writer = self._bucket.ask(
                doing,
                client.native.open_writer,
                client.sending,
                self.name,
                buffer_size=self._part,
                max_concurrency=max(1, TOGETHER * PART_SIZE // self._part),
                safe=SAFE_WRITING,
            )
        done = 0
        while done < len(view):
            room = self._part - self._sent % self._part
            if room == self._part:
                self._digests.append(hashlib.md5(usedforsecurity=False))
            piece = view[done : done + room]
            kept = bytes(piece)  # obstore does not copy it, and sends it later
            self._hashing.update(self._digests[-1], kept)
            self._bucket.ask(doing, self._writer.write, kept, safe=SAFE_WRITING)
            done += len(piece)
            self._sent += len(piece)

    def publish(self) -> None:
        """Complete the upload, and have the store say what it holds; it is durable then."""
        bucket, doing = self._bucket, f"publishing {self.name}"
        client = bucket.client
        if self._head is not None:
            data, self._sent = bytes(self._head), len(self._head)
            self._digests = [hashlib.md5(data, usedforsecurity=False)]
            store, _ = client.for_bytes(len(data))
            bucket.ask(doing, client.native.put, store, self.name, data, use_multipart=False, safe=SAFE_WRITING)
            etag = self._digests[0].hexdigest()
        else:
            self._hashing.wait()
            whole = hashlib.md5(b"".join(each.digest() for each in self._digests), usedforsecurity=False)
            etag = f"{whole.hexdigest()}-{len(self._digests)}"
            try:
                bucket.ask(doing, self._writer.close, safe=SAFE_WRITING)
            except DriveFault:  # the answer may be what was lost, and not the object
                meta = bucket.meta(self.name, doing, safe=SAFE_WRITING)
                if meta is None or meta["size"] != self._sent or _digest_of(meta) != etag:
                    raise
        self._writer, self._open = None, False
        self._hashing.close()
        meta = bucket.meta(self.name, doing, safe=SAFE_WRITING)
        if meta is None or meta["size"] != self._sent or not self._holds(meta, etag):
            with contextlib.suppress(Exception):  # under this name is not what belongs there
                client.native.delete(client.store, self.name)
            raise fault(bucket.mount, doing, faults.OTHERWISE, safe=SAFE_WRITING)

    def _holds(self, meta: dict[str, Any], etag: str) -> bool:
        """Whether the object is what was sent; by its ETag, or read again where ETags are no digests."""
        client = self._bucket.client
        if _digest_of(meta) == etag or not client.etags_are_digests:
            return True
        file = ObjectReadFile(self._bucket, self.name, meta)
        for number, digest in enumerate(self._digests):
            data = file.read_at(number * self._part, self._part)
            if hashlib.md5(data, usedforsecurity=False).digest() != digest.digest():
                return False
        client.etags_are_digests = False
        return True

    def abandon(self) -> None:
        """Abort the upload; never raises."""
        writer, self._writer, self._head, self._open = self._writer, None, None, False
        self._hashing.close()
        if writer is not None:
            with contextlib.suppress(Exception):
                writer.__exit__(InterruptedError, InterruptedError(), None)
