"""Files of drives over HTTP: GET and HEAD, one range at most, and of the conditions those that ranges need.

What holds: only names that a drive's layout has lead to a file, written as they are (nothing percent-encoded), opened
by LocalDrive beneath sealift/ with no link followed, regular files only. A body is either whole or its connection is
cut. Memory is CHUNK and what the server holds of it in flight, a response; TOGETHER responses at a time.

    400 a request with a body      404 no such drive or file        416 no such range, or several
    405 neither GET nor HEAD       412 If-Match of another file     503 the drive is gone, silent or failed; or too many

What is not here: who may ask (app.py), and which drive stands where (places.py).
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from sealift.drives.base import is_missing
from sealift.errors import DriveFault, FormatError
from sealift.formats import manifest as mf
from sealift.stages.serve import ranges
from sealift.stages.serve.places import Crowded, Exchanged, Silent
from sealift.stages.verify_join import words

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from sealift.drives.local_file import LocalReadFile
    from sealift.stages.serve.metrics import Metrics
    from sealift.stages.serve.places import Place, Places

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

CHUNK = 1 << 20  # bytes of a read; measured: with half of it four readers get a third less
TOGETHER = 256  # responses with bytes of drives; measured: a client that takes nothing costs 7 MiB
WAIT = 20.0  # seconds that a response waits for its turn
STALL = 60.0  # seconds in which a client must take CHUNK
LATER = ((b"retry-after", b"5"),)  # seconds after which it may be better


class _Told(Exception):
    """An answer without a file: its status and its words."""

    def __init__(self, status: int, text: str, *more: tuple[bytes, bytes], error: str = "") -> None:
        super().__init__(text)
        self.status, self.text, self.more, self.error = status, text, more, error


class DriveFiles:
    """The ASGI application under /DRIVE/sealift/NAME."""

    def __init__(self, places: Places, metrics: Metrics) -> None:
        self._places, self._metrics = places, metrics
        self._turns = asyncio.Semaphore(TOGETHER)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        begun = time.monotonic()
        given = scope["path_params"]
        drive = given["drive"] if self._places.knows(given["drive"]) else ""  # a label, so only what we know
        try:
            answer = await self._answer(scope, given["drive"], given["name"])
            await answer.go(receive, send, lambda status: self._metrics.answered(drive, status, _since(begun)))
        except _Told as told:
            if told.error:
                self._metrics.errors[drive, told.error] += 1
            self._metrics.answered(drive, told.status, _since(begun))
            await tell(send, told.status, told.text, *told.more)

    async def _answer(self, scope: Scope, drive: str, name: str) -> _Answer:
        headers = {key.lower(): value.decode("latin-1") for key, value in scope["headers"]}
        if scope["method"] not in {"GET", "HEAD"}:
            raise _Told(405, "GET and HEAD are what there is", (b"allow", b"GET, HEAD"))
        if headers.get(b"content-length", "0") != "0" or b"transfer-encoding" in headers:
            raise _Told(400, "a request has no body here", (b"connection", b"close"))
        if b"%" in scope["raw_path"] or not mf.is_drive_file(name):
            raise _Told(404, "a drive has no file of this name")
        try:
            async with asyncio.timeout(WAIT):
                await self._turns.acquire()
        except TimeoutError:
            raise _Told(503, "too many answers are under way", *LATER, error="busy") from None
        try:
            return await self._opened(_Wanted(scope["method"] == "HEAD", headers, name), drive)
        except BaseException:
            self._turns.release()
            raise

    async def _opened(self, wanted: _Wanted, drive: str) -> _Answer:
        for last in (False, True):
            place = self._places.find(drive)
            if place is None:
                break
            if place.seen.identity:
                raise _Told(503, "an identity or a private key lies on the drive", *LATER, error="identity")
            begun = time.monotonic()
            try:
                opened = await place.call(_begin, place, wanted)
                place.failed = "" if opened.buffer else place.failed
                self._metrics.read(drive, _since(begun))
                return _Answer(place, opened, drive, self._metrics, self._turns.release)
            except Exchanged:
                if not last:
                    await self._places.look(place)
            except Crowded:
                raise _Told(503, "this host has too many files open", *LATER, error="crowded") from None
            except Silent:
                raise _Told(503, "the drive does not answer", *LATER, error="silent") from None
            except FormatError:
                raise _Told(404, "what lies under this name is no regular file", error="no-file") from None
            except DriveFault as fault:
                if is_missing(fault):
                    raise _Told(404, "the drive has no such file") from None
                place.failed = words(str(fault))
                raise _Told(503, "the drive failed", *LATER, error="drive") from None
        if self._places.knows(drive):
            raise _Told(503, "the drive was here, and is gone", *LATER, error="gone")
        raise _Told(404, "there is no such drive here")


class _Wanted(NamedTuple):
    """What a request asks for."""

    head: bool
    headers: dict[bytes, str]
    name: str


class _Opened(NamedTuple):
    """A file, what of it is to be sent, and the first CHUNK of that; its buffer is used again for the others."""

    file: LocalReadFile
    status: int
    span: ranges.Span
    etag: str
    buffer: bytearray

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def _begin(place: Place, wanted: _Wanted) -> _Opened:
    """Open the file and read its first piece; in a thread, at once: each change of threads costs more than that."""
    file = place.open(wanted.name)
    try:
        # a reader believes it days later by its ctime, which some filesystems do not keep
        parts = file.stamp[1:] if file.lasting else file.stamp[1:-1]
        etag = '"' + "-".join(f"{part:x}" for part in parts) + '"'
        status, span = _choose(wanted, etag, file.length)
        buffer = bytearray(0 if wanted.head else min(CHUNK, span.length))
        _fill(file, buffer, span.start, len(buffer))
        return _Opened(file, status, span, etag, buffer)
    except BaseException:
        file.close()
        raise


def _choose(wanted: _Wanted, etag: str, size: int) -> tuple[int, ranges.Span]:
    """Status and span. _Told: 412, 416."""
    if wanted.headers.get(b"if-match", "*").strip() not in {etag, "*"}:
        raise _Told(412, "the file is another one now", (b"etag", etag.encode()))
    try:
        # Range is defined for GET alone, and not for a file that has become another one
        ignored = wanted.head or wanted.headers.get(b"if-range", etag).strip() != etag
        span = None if ignored else ranges.parse(wanted.headers.get(b"range"), size)
    except ranges.NotSatisfiable:
        whole = (b"content-range", b"bytes */%d" % size)
        raise _Told(416, "one range within the file, or none", whole) from None
    return (200, ranges.Span(0, size)) if span is None else (206, span)


def _fill(file: LocalReadFile, buffer: bytearray, offset: int, length: int) -> None:
    """Read `length` bytes; in a thread. DriveFault; _Told where the file has become shorter."""
    if file.readinto_at(offset, memoryview(buffer)[:length]) < length:
        raise _Told(503, "the file was cut while it was read", *LATER, error="cut")


class _Answer:
    """One file, or a span of it, on its way out."""

    def __init__(self, place: Place, opened: _Opened, drive: str, metrics: Metrics, done: Callable[[], None]) -> None:
        self._place, self._opened, self._drive, self._metrics, self._done = place, opened, drive, metrics, done

    async def go(self, receive: Receive, send: Send, begins: Callable[[int], None]) -> None:
        """Send it. A body that cannot be finished is left short: the server then cuts the connection."""
        gone = asyncio.ensure_future(_disconnected(receive))
        self._metrics.open += 1
        try:
            begins(self._opened.status)
            await send({"type": "http.response.start", "status": self._opened.status, "headers": self._headers()})
            await self._body(send, gone)
        finally:
            gone.cancel()
            self._metrics.open -= 1
            self._opened.close()
            self._done()

    async def _body(self, send: Send, gone: asyncio.Future[None]) -> None:
        _, _, (start, length), _, buffer = self._opened
        body: bytes | bytearray = buffer
        done = 0
        while True:
            done += len(body)
            more = bool(buffer) and done < length
            try:
                async with asyncio.timeout(STALL):
                    await send({"type": "http.response.body", "body": body, "more_body": more})
            except TimeoutError:
                return self._failed("stalled-client")
            if more and gone.done():
                return self._failed("client-left")
            self._metrics.sent[self._drive] += len(body)
            if not more:
                return None
            wanted, begun = min(len(buffer), length - done), time.monotonic()
            try:
                await self._place.call(_fill, self._opened.file, buffer, start + done, wanted)
            except (Silent, Crowded, DriveFault, _Told) as error:
                if isinstance(error, DriveFault):
                    self._place.failed = words(str(error))
                told = error.error if isinstance(error, _Told) else "drive"
                return self._failed({Silent: "silent", Crowded: "crowded"}.get(type(error), told))
            self._metrics.read(self._drive, _since(begun))
            # the buffer is the same each time: `send` has copied it when it returns
            body = buffer if wanted == len(buffer) else bytes(buffer[:wanted])

    def _failed(self, what: str) -> None:
        self._metrics.errors[self._drive, what] += 1

    def _headers(self) -> list[tuple[bytes, bytes]]:
        file, status, (start, length), etag, _ = self._opened
        found = [
            (b"content-type", b"application/octet-stream"),
            (b"content-length", str(length).encode()),
            (b"accept-ranges", b"bytes"),
            (b"etag", etag.encode()),
            (b"server", b"sealift"),
        ]
        if status == 206:
            found.append((b"content-range", b"bytes %d-%d/%d" % (start, start + length - 1, file.length)))
        return found


async def tell(send: Send, status: int, text: str, *more: tuple[bytes, bytes]) -> None:
    """A short answer in words."""
    body = (text + "\n").encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"server", b"sealift"),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _disconnected(receive: Receive) -> None:
    """Return when the client has left: a server's `send` to nobody returns at once, and says nothing."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _since(begun: float) -> float:
    return time.monotonic() - begun
