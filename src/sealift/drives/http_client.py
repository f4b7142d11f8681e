"""One host over http or https: its connections, how many requests it gets at once, how long it is waited for.

What holds:
- A request ends when its host has been silent for _SILENT seconds, whatever it does (host_pace.py says what silence
  is); where it gives bytes to others meanwhile, after _BESIDE times that. What comes slowly is waited for.
- A redirect is told, and never followed. A token goes with the requests of the location it was given for, to the origin
  of that location and nowhere else; it is in no message, no repr and no URL.
- No more of a body is read than was asked for; a connection on which more could come is closed.
- Certificates are checked against the system's roots or, where a CA file was given, against that alone.
- What fails as networks do is asked again for PATIENCE seconds; what is refused, or is a lie, is not.

Python's own http.client speaks the protocol: it needs no threads, so that a forked process can go on, it reads into the
memory it is given, and it follows nothing (docs/adr/0022). Proxies of the environment are not used.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import io
import os
import random
import re
import select
import socket
import ssl
import struct
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from sealift import __version__
from sealift.drives import certificates
from sealift.drives.host_pace import STEP, HostPace
from sealift.drives.object_faults import CUT, REPLACED, Trouble
from sealift.drives.ranges import Ranges, Traffic, Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sealift.formats.locations import Web

PATIENCE = 20.0  # seconds for which a request that failed is sent again
GONE = 3.0  # and where nobody is there at all
_CONNECT = 5.0
_SILENT = 10.0  # seconds without a byte
_BESIDE = 3  # times as long, of a request whose host gives bytes to others: they may fill the way
_OFTEN = 0.05  # seconds between bytes that are told of: TLS gives 16 KiB at a time
_FURTHER = 64 << 10  # bytes that an attempt has to bring for patience to begin anew
_IDLE = 50.0  # seconds for which a connection is kept; servers let go after 60 or so
_HEAD = 16 << 10  # bytes that are received at a time until a body begins
_LITTLE = 64 << 10  # bytes of an answer that nobody wants, which are read so that the connection can be used again
_BACKOFF, _MOST_BACKOFF = 0.1, 3.0

_AGAIN = "run the same command again; if it stays so, ask whoever runs that host"
_REACH = "see the address and the network, then run the same command again"
_IN_PLACE = "of a locations file (docs/spec/locations.md), which is given in place of an address"
_TOKEN = f"token_file or token_env {_IN_PLACE}, names the token; ask whoever runs the host for one"
_CA = f"ca_file {_IN_PLACE}, names the CA of the host; without one those that this machine trusts count"
_RANGES = "give a server that answers ranges, such as nginx or `sealift serve`"

MISSING = Trouble(errno.ENOENT, "there is no such file", "`sealift inspect` says what is missing")
ELSEWHERE = Trouble(errno.ENODEV, "it redirects to another place, which is not followed", "give that address itself")
NO_RANGES = Trouble(errno.EIO, "the host does not answer with the range that was asked for", _RANGES)
OTHER_RANGE = Trouble(errno.EIO, "the host gave another range than it was asked for", _AGAIN)
OTHER_LENGTH = Trouble(
    errno.EIO,
    "the host contradicts itself: it gives the same file two lengths",
    "see to the host, or what stands between",
)
PAGE = Trouble(
    errno.ENODEV,
    "what answers there is no drive: it sends a web page (HTML)",
    "see the address, and whether something on the way asks for a sign-in",
)
NO_LENGTH = Trouble(errno.EIO, "the host does not say how long its answer is", _RANGES)
ENCODED = Trouble(
    errno.EIO, "the host altered what it sends (Content-Encoding)", "have it serve these files as they are"
)
SLOW = Trouble(errno.ENODEV, "the host did not answer in time", _REACH)
NOBODY = Trouble(errno.ENODEV, "nobody answers at this address", _REACH)
UNKNOWN = Trouble(errno.ENODEV, "the name of the host is not known", _REACH)
NO_HTTP = Trouble(errno.EPROTO, "what answers does not speak HTTP", _REACH)
TOKEN = Trouble(errno.EACCES, "the host wants a token, or does not take this one", _TOKEN)
_BY_STATUS = {
    401: TOKEN,
    403: Trouble(errno.EACCES, "the host refuses", _TOKEN),
    404: MISSING,
    410: MISSING,
    412: REPLACED,
}
_AGAIN_AT = {408, 425, 429, 500, 502, 503, 504, 507, 508, 509}
_TIMEVAL = struct.Struct("@ll")
_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")
_NO_RANGE = re.compile(r"bytes \*/(\d{1,19})")
_WITH_CTIME = re.compile(r'"[0-9a-f]+(?:-[0-9a-f]+){3}"')  # inode, length, mtime, ctime (docs/spec/serve.md)


class Failed(Exception):
    """A request failed: why, and for how many seconds in all it is worth while to ask again."""

    def __init__(self, trouble: Trouble, patience: float = 0.0, wait: float = 0.0) -> None:
        super().__init__(trouble.why)
        self.trouble, self.patience, self.wait = trouble, patience, wait


class Meta(NamedTuple):
    """What an answer says of the whole file."""

    length: int
    etag: str
    modified: str
    server: str = ""

    def contradicts(self, other: Meta) -> bool:
        """Whether one ETag or time has two lengths: no file that was replaced."""
        marks = [(mine, its) for mine, its in zip(self[1:3], other[1:3], strict=True) if mine and its]
        return self.length != other.length and bool(marks) and all(mine == its for mine, its in marks)

    def is_of(self, other: Meta) -> bool:
        """Whether both are of one file, by what both say."""
        return self.length == other.length and all(
            not (mine and its) or mine == its for mine, its in zip(self[1:3], other[1:3], strict=True)
        )

    @property
    def stamp(self) -> tuple[int, ...]:
        """Numbers that change with it."""
        one = hashlib.blake2b(f"{self.etag}\0{self.modified}".encode(), digest_size=16).digest()
        return int.from_bytes(one[:8]), int.from_bytes(one[8:]), self.length

    @property
    def lasting(self) -> bool:
        """Whether `sealift serve` says it of a file whose ctime it knows: other hosts tell mtime and length."""
        return self.server == "sealift" and _WITH_CTIME.fullmatch(self.etag) is not None


class _Raw(io.RawIOBase):
    """What a socket receives, until its deadline; it stays open until this is closed, too."""

    def __init__(self, line: _Timed) -> None:
        super().__init__()
        self.line, self._held = line, line.socket.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        return self.line.receive(buffer)

    def close(self) -> None:
        self._held.close()
        super().close()


class _Timed:
    """A socket as http.client uses one, every operation of which ends when its host has been silent for too long."""

    def __init__(self, sock: socket.socket, pace: HostPace) -> None:
        self.socket, self._pace = sock, pace
        self._encrypted = isinstance(sock, ssl.SSLSocket)
        self._times: dict[int, float] = {}  # SO_RCVTIMEO and SO_SNDTIMEO, as they were set last
        if not self._encrypted:
            sock.settimeout(None)
        self.begin()

    def begin(self) -> None:
        """A request begins."""
        self._since, self._little = time.monotonic(), 0

    def _left(self) -> float:
        """Seconds for which nothing may come; TimeoutError."""
        quiet = time.monotonic() - self._since
        left = _SILENT - quiet
        if left <= 0:
            left = min(_SILENT - self._pace.silent(self._since), _BESIDE * _SILENT - quiet)
        if left <= 0:
            raise TimeoutError
        return left

    def _count(self, count: int) -> int:
        self._little += count
        if self._little >= STEP and time.monotonic() - self._since > _OFTEN:
            self._pace.gave(self._little)
            self.begin()
        return count

    def receive(self, buffer: Any, *, whole: bool = False) -> int:
        """What has come, or with `whole` as much as there is room for, in as few calls as can be; OSError.

        The kernel keeps the time then (`_limit`).
        """
        while True:
            left = min(self._left(), _SILENT / 4)  # so that others soon know that the host gives
            try:
                if self._encrypted:
                    self.socket.settimeout(left)
                    return self._count(self.socket.recv_into(buffer))
                self._limit(socket.SO_RCVTIMEO, left)
                return self._count(self.socket.recv_into(buffer, 0, socket.MSG_WAITALL if whole else 0))
            except (BlockingIOError, TimeoutError):
                continue  # and where it was silent for too long, _left says so

    def _limit(self, what: int, seconds: float) -> None:
        """Have the kernel end what takes longer (SO_RCVTIMEO, SO_SNDTIMEO, socket(7)).

        Python's own timeouts return with every packet, and a thread that wants the interpreter so often waits for those
        that decipher; so it does with every call that changes them.
        """
        if self._times.get(what) != seconds:
            self._times[what] = seconds
            whole, rest = divmod(int(seconds * 1e6) + 1, 1_000_000)  # 0 would wait for ever, and 10**6 is none
            self.socket.setsockopt(socket.SOL_SOCKET, what, _TIMEVAL.pack(whole, rest))

    def is_readable(self) -> bool:
        """Whether something has come that nobody asked for, or its end."""
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return True
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(0))

    def sendall(self, data: Any) -> None:
        """As of a socket."""
        left = min(self._left(), _SILENT)
        if self._encrypted:
            self.socket.settimeout(left)
            self.socket.sendall(data)
            return
        self._limit(socket.SO_SNDTIMEO, _SILENT if left > _SILENT / 2 else left)
        try:
            self.socket.sendall(data)
        except BlockingIOError:
            raise TimeoutError from None

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What it receives."""
        return io.BufferedReader(_Raw(self), _HEAD)

    def close(self) -> None:
        """As of a socket."""
        self.socket.close()


class _Connection(http.client.HTTPConnection):
    """A connection, over TLS where there is a context."""

    sock: Any

    def __init__(self, web: Web, context: ssl.SSLContext | None, pace: HostPace) -> None:
        super().__init__(web.host, web.port)
        self._context, self._pace = context, pace
        self.last = time.monotonic()

    def open(self) -> None:
        """Connect; OSError. Where bytes of that host fill the way, it may take longer."""
        left = min(_CONNECT, _SILENT) if self._pace.silent(0.0) > _SILENT else _SILENT
        sock = socket.create_connection((self.host, self.port), left)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(left)
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            sock.close()
            raise
        self.sock = _Timed(sock, self._pace)


class Answer:
    """The head of an answer, and its body, of which no more is read than is asked for."""

    def __init__(self, response: http.client.HTTPResponse, pace: HostPace) -> None:
        self._response: Any = response  # typeshed does not know that its fp has what _Timed gave
        self._pace, self.came = pace, 0  # bytes of the body, also where it ended too early
        self.status: int = response.status
        self.headers = response.headers

    @property
    def length(self) -> int | None:
        """Of the body, as the host says; None where it says none, or sends in chunks."""
        said = "" if self._response.chunked else self.headers.get("Content-Length", "")
        return int(said) if re.fullmatch(r"\d{1,19}", said) else None

    def readinto(self, view: memoryview) -> int:
        """Fill `view` from a body whose length is known; how many bytes came. OSError, HTTPException."""
        response, left = self._response, self._response.length or 0
        view = view[:left]
        if not len(view):
            return 0
        self.came, begun = (
            response.fp.readinto(view[: len(response.fp.peek(1))]),
            time.monotonic(),
        )  # came with the head
        while self.came < len(view):
            count = response.fp.raw.line.receive(view[self.came :], whole=True)
            if not count:
                break
            self.came += count
        self._pace.took(self.came, time.monotonic() - begun)
        response.length = left - self.came
        return self.came

    @property
    def meta(self) -> Meta:
        """What it says of the file; Failed where it says no length."""
        total = self.length
        if self.status == 206:
            found = _RANGE.fullmatch(self.headers.get("Content-Range", ""))
            total = None if found is None else int(found[3])
        elif self.status == 416:
            found = _NO_RANGE.fullmatch(self.headers.get("Content-Range", ""))
            total = None if found is None else int(found[1])
        if total is None or total >= 1 << 63:
            raise Failed(NO_RANGES if self.status == 206 else NO_LENGTH)
        etag, modified = self.headers.get("ETag", "")[:256], self.headers.get("Last-Modified", "")[:64]
        return Meta(total, etag, modified, self.headers.get("Server", "")[:64])


class Host:
    """An origin in the process `pid`; safe for threads."""

    def __init__(self, web: Web, ca: str | None, requests: int) -> None:
        self.pid, self._web = os.getpid(), web
        self._context = None if web.scheme == "http" else _context(ca)
        self.pace = HostPace(web.origin, requests)
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self.ranges = Ranges(Workers(requests, f"sealift-{web.scheme}"), self.pace)
        weakref.finalize(self, _close_all, self._idle)

    @contextlib.contextmanager
    def ask(self, method: str, path: str, headers: Mapping[str, str]) -> Iterator[Answer]:
        """The answer to one request, sent once; Failed, also of what its reader meets, and of a host that is silent."""
        if not self.pace.enter(_SILENT):
            raise Failed(SLOW, PATIENCE)
        try:
            connection, response = self._sent(method, path, headers)
            self.pace.gave(0)
            usable = False
            try:
                try:
                    yield Answer(response, self.pace)
                except Failed:  # what it says, and not how it came
                    usable = _is_whole(response)
                    raise
                usable = _is_whole(response)
            finally:
                response.close()
                if usable:
                    connection.last = time.monotonic()
                    with self._lock:
                        self._idle.append(connection)
                else:
                    connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise _failed(error) from None
        finally:
            self.pace.leave()

    def _sent(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[_Connection, http.client.HTTPResponse]:
        """Send; on a connection that is open, or, where the host let go of that meanwhile, on a new one."""
        while True:
            with self._lock:
                kept = self._idle.pop() if self._idle else None
            if kept is not None and (time.monotonic() - kept.last > _IDLE or kept.sock.is_readable()):
                kept.close()  # the host has closed it, or sent what nobody had asked for
                continue
            connection = kept or _Connection(self._web, self._context, self.pace)
            try:
                if kept is None:
                    connection.open()
                connection.sock.begin()
                connection.putrequest(method, path, skip_accept_encoding=True)
                for name, value in headers.items():
                    connection.putheader(name, value)
                connection.endheaders()
                return connection, connection.getresponse()
            except (ConnectionError, ssl.SSLError):
                connection.close()
                if kept is None:
                    raise
            except BaseException:
                connection.close()
                raise


def _close_all(connections: list[_Connection]) -> None:
    while connections:
        connections.pop().close()


def _is_whole(response: http.client.HTTPResponse) -> bool:
    """Whether all of an answer was read, or the little that is left is now, and nothing more can come."""
    if response.length is not None and response.length <= _LITTLE:
        response.read()
    return response.isclosed() and not response.will_close


def _context(ca: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _failed(error: Exception) -> Failed:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = certificates.of_openssl(error)
        text = f"the host's certificate does not hold: {why}"
        return Failed(Trouble(errno.EACCES, text, certificates.hint(why, _CA)))
    if isinstance(error, TimeoutError):
        return Failed(SLOW, PATIENCE)
    if isinstance(error, socket.gaierror):
        return Failed(UNKNOWN, GONE)
    if isinstance(error, ssl.SSLError) and "WRONG_VERSION" in str(error):
        return Failed(NO_HTTP)
    if isinstance(error, ConnectionRefusedError) or (
        isinstance(error, OSError) and error.errno in {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL}
    ):
        return Failed(NOBODY, GONE)
    if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
        return Failed(Trouble(error.errno, "too many open files", "raise the limit: ulimit -n 4096"))
    if isinstance(error, http.client.IncompleteRead | OSError):
        return Failed(CUT, PATIENCE)
    return Failed(NO_HTTP)


def check_status(answer: Answer, *good: int) -> None:
    """Failed, unless the status is one of `good` and the body is as the file is."""
    status = answer.status
    if status == 200 and answer.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise Failed(PAGE)  # no file of a drive is one
    if status in good:
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Failed(ENCODED)
        return
    if 300 <= status < 400:
        raise Failed(ELSEWHERE)
    if status in _BY_STATUS:
        raise Failed(_BY_STATUS[status])
    if status == 200:
        raise Failed(NO_RANGES)
    if status >= 500 or status in _AGAIN_AT:
        why = Trouble(errno.EIO, f"the host failed ({status}), time and again", _AGAIN)
        said = answer.headers.get("Retry-After", "")
        wait = float(said) if re.fullmatch(r"\d{1,4}", said) else 0.0
        raise Failed(why, PATIENCE if status in _AGAIN_AT else 0.0, min(wait, 2 * _MOST_BACKOFF))
    raise Failed(Trouble(errno.EIO, f"the host answered with an error ({status})", _AGAIN))


def range_of(answer: Answer, start: int, stop: int) -> tuple[int, Meta]:
    """How many bytes the answer to a request for start..stop-1 holds, and what it says of the file; Failed.

    As many as were asked for, or as there are to the end of the file; none beyond it (RFC 9110, 14.4, 15.5.17). Of an
    empty file there is no range, and hosts answer with all of it.
    """
    check_status(answer, 206, 416, *((200,) if answer.length == 0 else ()))
    meta = answer.meta
    if answer.status == 200:
        return 0, meta
    if answer.status == 416:
        if meta.length > start:
            raise Failed(NO_RANGES)
        return 0, meta
    found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    assert found is not None, "meta was read from it"
    if int(found[1]) != start or int(found[2]) + 1 != min(stop, meta.length):
        raise Failed(OTHER_RANGE)
    count = min(stop, meta.length) - start
    if answer.length is None:
        raise Failed(NO_LENGTH)
    if answer.length != count:
        raise Failed(OTHER_RANGE)
    return count, meta


def patiently(attempt: Callable[[], Any], traffic: Traffic, patience: float, came: Callable[[], int]) -> Any:
    """What `attempt` returns, as often as it is worth while within `patience` seconds; Failed.

    They begin anew with every attempt that brings _FURTHER bytes, as `came` counts them.
    """
    begun, count, had = time.monotonic(), 0, came()
    while True:
        traffic.add(requests=1, retries=min(count, 1))
        try:
            return attempt()
        except Failed as failed:
            if failed.trouble in {NOBODY, UNKNOWN}:
                traffic.add(nobody=failed.trouble.why)
            if came() - had >= _FURTHER:
                begun, count, had = time.monotonic(), 0, came()
            pause = max(failed.wait, min(_MOST_BACKOFF, _BACKOFF * 2**count) * random.uniform(0.5, 1.0))  # noqa: S311
            once = failed.wait and failed.patience and not count  # it is there, and says when to come again
            if not once and time.monotonic() - begun + pause > min(patience, failed.patience):
                raise
        count += 1
        time.sleep(pause)


def is_page(data: bytes | bytearray) -> bool:
    """Whether it begins as HTML does."""
    return bytes(data[:256]).lstrip()[:14].lower().startswith((b"<!doctype html", b"<html"))


_hosts: weakref.WeakValueDictionary[tuple[str, str, int, str | None], Host] = weakref.WeakValueDictionary()
_making = threading.Lock()


def _after_fork() -> None:
    """The parent's lock may be held by a thread that is not here, and its connections are its own."""
    global _making, _hosts
    _making, _hosts = threading.Lock(), weakref.WeakValueDictionary()


os.register_at_fork(after_in_child=_after_fork)


def host_of(known: Host | None, web: Web, ca: str | None, requests: int) -> Host:
    """`known`, while this is its process; else the host of an address: one for all locations there that are open.

    It has the limit that was given first.
    """
    if known is not None and known.pid == os.getpid():
        return known
    key = web.scheme, web.host, web.port, ca
    with _making:
        host = _hosts.get(key)
        if host is None:
            host = _hosts[key] = Host(web, ca, requests)
        return host


def user_agent() -> str:
    """What requests say they are from."""
    return f"sealift/{__version__}"
