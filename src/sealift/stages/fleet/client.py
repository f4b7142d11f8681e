"""Asking one storage host over HTTP: GET and HEAD, each with a limit and a deadline.

What holds: no redirect is followed, so that a token goes to the host that was named and nowhere else; no proxy of the
environment is used; an answer longer than its limit is not read to its end; a call ends within its seconds, however
slowly the host speaks; a host that did not answer once, or is always late, is not asked again. What goes wrong is a
HostFault, in words that repeat no token.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from sealift.drives import certificates
from sealift.errors import BadInput
from sealift.formats.hosts import split_url
from sealift.formats.locations import MAX_TOKEN_FILE, token_of
from sealift.trade.signing import read_limited

if TYPE_CHECKING:
    from sealift.formats.hosts import HostRow

SECONDS = 20.0  # for an answer of a few bytes
PATIENCE = 120.0  # seconds beyond the first of each such answer, over all of them
_SILENCE = 10.0  # seconds between two bytes
_PIECE = 256 << 10
_IDLE = 8  # connections that are kept


class HostFault(Exception):
    """The host does not give what it was asked for; the message says why. `status` is that of HTTP, 0: no answer."""

    def __init__(self, why: str, status: int = 0) -> None:
        super().__init__(why)
        self.status = status


class Answer(NamedTuple):
    """Status, length as it says (None: it does not), and body."""

    status: int
    length: int | None
    body: bytes


class HostClient:
    """One host; safe for threads."""

    def __init__(self, row: HostRow) -> None:
        self.row = row
        self._scheme, self.host, self._port, self._path = split_url(row.url)
        self._token = _token(row.token_file) if row.token_file else None
        self._context = _context(row.ca_file) if self._scheme == "https" else None
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self.dead = ""  # why it is not asked any more
        self._waited = 0.0

    @property
    def url(self) -> str:
        """Its address, with / at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self._scheme}://{host}:{self._port}{self._path}/"

    def get(self, path: str, limit: int, *, seconds: float = SECONDS) -> bytes:
        """The whole answer under `path`. HostFault, also where it is longer than `limit` bytes."""
        answer = self.ask("GET", path, limit, seconds=seconds)
        if answer.status != 200:
            raise HostFault(f"it answers {answer.status}", answer.status)
        return answer.body

    def ask(
        self, method: str, path: str, limit: int, *, span: tuple[int, int] | None = None, seconds: float = SECONDS
    ) -> Answer:
        """One answer, of status 200, 206 or 404; `span` is the first byte and the last that are wanted. HostFault."""
        if self.dead:
            raise HostFault(self.dead)
        begun = time.monotonic()
        until = begun + seconds
        for again in (True, False):
            connection, used = self._take()
            try:
                answer = self._ask(connection, method, path, limit, span, until)
                if seconds == SECONDS:
                    self._wait(time.monotonic() - begun - 1)
                return answer
            except HostFault:
                connection.close()
                raise
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                if used and again and not isinstance(error, TimeoutError):
                    self.close()  # the host had closed it meanwhile, and the others that were idle with it
                    continue
                self.dead = _why(error, self._scheme)
                raise HostFault(self.dead) from error
        raise AssertionError("the second try ends it")

    def _wait(self, seconds: float) -> None:
        """A host that answers, and each time so late that thousands of answers would take days, is left as well."""
        with self._lock:
            self._waited += max(0.0, seconds)
        if self._waited > PATIENCE:
            self.dead = "it is too slow"

    def _take(self) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            if self._idle:
                return self._idle.pop(), True
        return http.client.HTTPConnection(self.host, self._port), False

    def _socket(self) -> socket.socket:
        """A new connection, its TLS not begun."""
        made = socket.create_connection((self.host, self._port), timeout=_SILENCE)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is None:
            return made
        return self._context.wrap_socket(made, server_hostname=self.host, do_handshake_on_connect=False)

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        limit: int,
        span: tuple[int, int] | None,
        until: float,
    ) -> Answer:
        headers = {"Accept-Encoding": "identity"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        if span is not None:
            headers["Range"] = f"bytes={span[0]}-{span[1]}"
        sock = connection.sock or self._socket()
        # Whatever it sends, at whatever pace, the socket is shut when the time is over, and every wait on it ends.
        guard = threading.Timer(max(0.0, until - time.monotonic()), _shut, (sock,))
        guard.daemon = True
        guard.start()
        try:
            if connection.sock is None and isinstance(sock, ssl.SSLSocket):
                sock.do_handshake()
            connection.sock = sock
            connection.request(method, f"{self._path}/{path}", headers=headers)
            response = connection.getresponse()
            told = response.getheader("Content-Length", "")
            length = int(told) if told.isascii() and told.isdecimal() and len(told) < 20 else None
            answer = Answer(response.status, length, b"")
            _judge(response, span)
            # of HEAD there is nothing to read, and reading it frees the connection
            body = response.read() if method == "HEAD" else _body(response, limit)
            if time.monotonic() > until:
                raise TimeoutError
        except (OSError, http.client.HTTPException, ValueError) as error:
            if time.monotonic() > until:
                raise TimeoutError from error  # it was shut by the guard
            raise
        finally:
            guard.cancel()
            if connection.sock is None:
                sock.close()
        if response.will_close:
            connection.close()
        else:
            with self._lock:
                if len(self._idle) < _IDLE:
                    self._idle.append(connection)
        return answer._replace(body=body)

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()


def _judge(response: http.client.HTTPResponse, span: tuple[int, int] | None) -> None:
    """HostFault unless the answer is one that can be used."""
    status = response.status
    if status in {401, 403}:
        raise HostFault("it does not take the token: wrong, expired, or none was given", status)
    if 300 <= status < 400:
        raise HostFault("it redirects elsewhere, which is not followed", status)
    if status not in {200, 206, 404}:
        raise HostFault(f"it answers {status}", status)
    if span is not None and status == 200:
        raise HostFault("it gives the whole file where a part was asked for", status)
    if span is not None and status == 206:
        found = re.fullmatch(r"bytes ([0-9]{1,19})-([0-9]{1,19})/[0-9*]{1,19}", response.getheader("Content-Range", ""))
        if found is None or int(found[1]) != span[0] or int(found[2]) > span[1]:
            raise HostFault("it gives another range than was asked for", status)


def _body(response: http.client.HTTPResponse, limit: int) -> bytes:
    if response.length is not None and response.length > limit:
        raise HostFault(f"its answer has {response.length:,} bytes; at most {limit:,} are allowed")
    pieces, size = [], 0
    while piece := response.read(min(_PIECE, limit + 1 - size)):
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise HostFault(f"its answer has more than {limit:,} bytes")
    return b"".join(pieces)


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # of TLS, too, without its goodbye


def _token(path: str) -> str:
    """The first token of a token file; BadInput."""
    token = token_of(read_limited(path, MAX_TOKEN_FILE, "token file"))
    if token is None:
        raise BadInput(
            f"token file {path}: it holds something else than tokens, one a line",
            hint="the file that the host was started with (--token-file), or one of its lines",
        )
    return token


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ValueError) as error:
        raise BadInput(f"CA file {ca_file}: no certificates in PEM", hint="--ca-file FILE") from error


def _why(error: Exception, scheme: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not hold: {certificates.of_openssl(error)}"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, http.client.RemoteDisconnected | ConnectionResetError):
        return "it closes the connection"
    if isinstance(error, OSError):
        return (error.strerror or str(error) or type(error).__name__)[:200].lower()
    if scheme == "http":
        return "what answers does not speak HTTP, as where it speaks TLS: then its address begins with https://"
    return "what answers does not speak HTTP as it should"
