"""An HTTP proxy on loopback that does to chosen requests what networks and stores do: fails, cuts, stalls, lies.

`plan(method, path, number)` says what happens to a request, None being nothing; `number` counts those before it with
the same method and path. Everything else goes to the real server behind it, and comes back, byte for byte.

    500 ...      that status                                slow, hang     answers late, or never
    unheard      is done, and never answered
    reset, cut   ends before, or in the middle              short, flip    half of it, or another bit
    rotten       another bit of the file itself, at its beginning
    lose         says that it has what it threw away        elsewhere URL  redirects there
    whole        all of the file for a range (200)          range          another Content-Range
    longer       says, and sends, more than was asked for   behind         sends more than it says
    unsaid       says no length                             chunks         says none, and sends in chunks
    part SIZE    says of what size parts are (HEAD with partNumber)
    encoded      says that it is compressed
    newer        another ETag each time                     dribble, head  a byte at a time: the body, or the head
    noise        no HTTP                                    rate BYTES     so many a second, all answers together
    tenfold      a Content-Range of a file ten times as long
    page, json   the same page, or words in JSON (200), whatever was asked for, as from a captive portal
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import socket
import struct
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def swallowing(every: int) -> Callable[[str, str, int], str | None]:
    """A plan: one request in so many has no answer, whichever it is."""
    numbers = itertools.count(1)
    return lambda _method, _path, _number: None if next(numbers) % every else "hang"


class Proxy:
    """A running proxy: `endpoint`, `plan` to be set, and `seen`: (method, path) of every request."""

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.plan: Callable[[str, str, int], str | None] = lambda _method, _path, _number: None
        self.seen: list[tuple[str, str]] = []
        self.count: Counter[tuple[str, str]] = Counter()
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.link = threading.Lock()  # of answers that share a rate
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def fault(self, method: str, path: str) -> str | None:
        with self.lock:
            number = self.count[method, path]
            self.count[method, path] += 1
            self.seen.append((method, path))
        return self.plan(method, path, number)

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def proxy(upstream: str) -> Iterator[Proxy]:
    """A proxy before `upstream` (http://HOST:PORT)."""
    made = Proxy(upstream)
    try:
        yield made
    finally:
        made.close()


_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><form></form></body></html>\n"
_LIES = {"tenfold", "range", "longer", "behind", "unsaid", "chunks", "encoded", "newer", "dribble", "head"}


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _cut(self) -> None:
        """Close so that the other side sees a reset."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, length: int | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def _unless_head(self, body: bytes) -> bytes:
        return b"" if self.command == "HEAD" else body

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.proxy.fault(self.command, self.path)
        with contextlib.suppress(OSError):
            if fault and fault.isdigit():
                text = b"<Error><Code>InternalError</Code></Error>"
                self._answer(int(fault), [], b"" if self.command == "HEAD" else text)
            elif fault == "slow":
                time.sleep(1.5)
                self._pass(body, None)
            elif fault == "hang":
                self.proxy.ended.wait(60)
                self._cut()
            elif fault == "reset":
                self._cut()
            elif fault and fault.startswith("elsewhere "):
                self._answer(302, [("Location", fault.partition(" ")[2])], b"")
            elif fault == "noise":
                self.connection.sendall(b"\0\xff SSH-2.0 \r\n" * 100)
                self._cut()
            elif fault == "page":
                self._answer(200, [("Content-Type", "text/html; charset=utf-8")], self._unless_head(_PAGE), len(_PAGE))
            elif fault == "json":
                said = b'{"error": "sign in first"}'
                self._answer(200, [("Content-Type", "application/json")], self._unless_head(said), len(said))
            elif fault == "lose":  # a store that says it has what it threw away
                self._answer(200, [("ETag", '"d41d8cd98f00b204e9800998ecf8427e"')], b"")
            else:
                self._pass(body, fault)

    def _pass(self, body: bytes, fault: str | None) -> None:
        upstream = http.client.HTTPConnection(self.proxy.upstream, timeout=60)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if fault != "whole" or name.lower() != "range":
                    upstream.putheader(name, value)
            upstream.endheaders()
            if fault == "cut-upload":
                upstream.send(body[: len(body) // 2])
                self._cut()
                return
            upstream.send(bytes([body[0] ^ 1]) + body[1:] if fault == "flip-upload" and body else body)
            answer = upstream.getresponse()
            data = answer.read()
            if fault == "unheard":
                self.proxy.ended.wait(60)
                self._cut()
                return
            length = int(answer.headers.get("Content-Length") or 0) if self.command == "HEAD" else len(data)
            rotten = fault == "rotten" and answer.headers.get("Content-Range", "bytes 0-").startswith("bytes 0-")
            if data and (fault == "flip" or rotten):
                data = bytes([data[0] ^ 1]) + data[1:]
            if fault == "short":
                data, length = data[: len(data) // 2], len(data) // 2
            if fault and fault.startswith("part "):
                etag = dict(answer.getheaders())["ETag"]
                told = [("ETag", etag), ("x-amz-mp-parts-count", etag.strip('"').partition("-")[2])]
                self._answer(206, told, b"", int(fault.partition(" ")[2]))
                return
            if fault and fault.startswith("rate "):
                self._answer(answer.status, answer.getheaders(), b"", length)
                self._send_at(int(fault.partition(" ")[2]), data)
                return
            if fault in _LIES:
                self._lie(fault, answer.status, answer.getheaders(), data)
                return
            if fault == "cut":
                self._answer(answer.status, answer.getheaders(), data[: len(data) // 2], length)
                self.wfile.flush()
                time.sleep(0.02)
                self._cut()
                return
            self._answer(answer.status, answer.getheaders(), data, length)
        finally:
            upstream.close()

    def _lie(self, fault: str, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        told = dict(headers)
        length = int(told.get("Content-Length", "0"))
        self.close_connection = fault not in {"tenfold", "range", "encoded", "newer", "behind"}
        if fault == "range":
            told["Content-Range"] = told.get("Content-Range", "bytes 0-1/2").replace("bytes ", "bytes 1")
        elif fault == "tenfold" and "Content-Range" in told:
            told["Content-Range"] += "0"
        elif fault == "longer":
            data, length = data + bytes(100_000), len(data) + (1 << 40)
        elif fault == "encoded":
            told["Content-Encoding"] = "gzip"
        elif fault == "newer":
            told["ETag"] = f'"{time.monotonic_ns()}"'
        told.pop("Content-Length", None)
        if fault == "chunks":
            told["Transfer-Encoding"] = "chunked"
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
        elif fault != "unsaid":
            told["Content-Length"] = str(length)
        head = f"HTTP/1.1 {status} OK\r\n" + "".join(f"{name}: {value}\r\n" for name, value in told.items()) + "\r\n"
        self._send(head.encode("latin-1"), slowly=fault == "head")
        if fault == "behind":  # what would be taken for the answer to the same request, if it came again
            data += head.encode("latin-1") + bytes(len(data))
        if self.command != "HEAD":
            self._send(data, slowly=fault == "dribble")

    def _send_at(self, rate: int, data: bytes) -> None:
        step = max(1, min(16 << 10, rate // 20))
        for place in range(0, len(data), step):
            with self.proxy.link:  # one packet at a time goes through
                if self.proxy.ended.wait(len(data[place : place + step]) / rate):
                    return
            self.wfile.write(data[place : place + step])

    def _send(self, data: bytes, *, slowly: bool) -> None:
        if not slowly:
            self.wfile.write(data)
            return
        for place in range(len(data)):
            self.wfile.write(data[place : place + 1])
            if self.proxy.ended.wait(0.1):
                return

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward  # noqa: N815 -- http.server calls these
