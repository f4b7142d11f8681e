"""Serve the drives of this host: granian over the application of app.py, until SIGTERM or Ctrl-C.

What holds: no key and no identity takes part, and it is refused to start where one lies in the environment, in a file
that is given here, or on every drive that is here. Without a token only this host itself may ask. On SIGTERM nobody new
is let in, and answers that are under way have GRACE seconds to end. Connections never take the descriptors that files
of drives need (descriptors.py).

One process, in which Python's lock is held for some 0.2 ms a CHUNK; the bytes themselves move in threads, one a
processor core in granian, and some a drive (docs/adr/0023). A host whose links are faster runs several, each for some
of the drives.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import signal
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sealift.errors import BadInput, Refused, SealiftError
from sealift.stages.serve.descriptors import QUEUE, Room
from sealift.stages.serve.places import Places, holds_identity, is_identity
from sealift.stages.serve.tokens import Tokens
from sealift.stages.verify_join import words
from sealift.trade.signing import read_limited

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sealift.stages.serve.places import Place

GRACE = 20.0  # seconds
HEADERS = 16 << 10  # bytes of a request's headers
HEADER_WAIT = 30_000  # milliseconds in which they must be here, counted from the end of the answer before
MAX_MOUNTS = 1000
_MAX_PEM = 1 << 20
_FIRST_LOOK = 10.0  # seconds
_NO_KEYS = "a storage host holds no key: take it away; nothing was served"


@dataclass
class Options:
    """What the command was given."""

    mounts: Sequence[str]
    listen: str
    token_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    reports: Sequence[str] = ()


@dataclass
class Ready:
    """What was checked: addresses and files that can be used."""

    host: str
    port: int
    scheme: str
    tokens: Tokens | None
    mounts: list[str]  # each folder once
    options: Options
    room: Room
    notes: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it listens."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}/"

    def address_of(self, drive: str) -> str:
        """Where others read the drive of that name: by this host's own name where it listens on all its addresses."""
        everywhere = ipaddress.ip_address(self.host).is_unspecified
        base = f"{self.scheme}://{words(socket.gethostname())}:{self.port}/" if everywhere else self.url
        return f"{base}{drive}/"


def check(options: Options, environment: Mapping[str, str], notice: Callable[[str], None]) -> Ready:
    """Everything that can be known before a socket is opened. BadInput, Refused."""
    _refuse_identities(options, environment)
    if len(options.mounts) > MAX_MOUNTS:
        raise BadInput(f"{len(options.mounts):,} folders; at most {MAX_MOUNTS:,} are allowed")
    mounts = _folders(options.mounts)
    from sealift.stages.serve.files import TOGETHER
    from sealift.stages.serve.host import load_report

    for number, path in enumerate(options.reports):
        load_report(path, number, 0)
    host, port = address(options.listen)
    tls = _check_tls(options)
    tokens = None if options.token_file is None else Tokens(options.token_file, notice)
    local = ipaddress.ip_address(host).is_loopback
    if tokens is None and not local:
        raise BadInput(
            f"--listen {options.listen}: without a token only this host itself may ask (127.0.0.1, ::1)",
            hint="--token-file FILE; `openssl rand -hex 32 > FILE` makes one",
        )
    room = Room(len(mounts), TOGETHER)
    ready = Ready(host, port, "https" if tls else "http", tokens, mounts, options, room)
    if room.low:
        ready.notes.append(room.low)
    if tokens is not None and not tls and not local:
        ready.notes.append("without --tls-cert the token crosses the network in the clear")
    if options.token_file is not None and os.stat(options.token_file).st_mode & 0o077:
        ready.notes.append(f"others of this host may read {options.token_file}: chmod 600")
    return ready


def _folders(mounts: Sequence[str]) -> list[str]:
    """The folders, each once, whatever it is called. BadInput where one is none.

    One that does not answer is taken: its drive is dead or slow, and the others are to be served all the same.
    """
    found: dict[str, str | None] = {}

    def look(mount: str) -> None:
        found[mount] = os.path.realpath(mount) if os.path.isdir(mount) else None

    threads = [threading.Thread(target=look, args=(mount,), daemon=True) for mount in dict.fromkeys(mounts)]
    until = time.monotonic() + _FIRST_LOOK
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    first: dict[str, str] = {}
    for mount in mounts:
        first.setdefault(found.get(mount) or mount, mount)
        if found.get(mount, mount) is None:
            raise BadInput(
                f"{words(mount)}: there is no such folder",
                hint="give the folders where drives are mounted, or will be",
            )
    return list(first.values())


def address(listen: str) -> tuple[str, int]:
    """IP address and port of HOST:PORT. BadInput."""
    host, colon, port = listen.rpartition(":")
    hint = "--listen HOST:PORT, such as 0.0.0.0:8443 or [::]:8443"
    if not (colon and host and port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
        raise BadInput(f"--listen {listen!r}: not of the form HOST:PORT", hint=hint)
    try:
        found = socket.getaddrinfo(host.removeprefix("[").removesuffix("]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise BadInput(f"--listen {listen!r}: {host!r} is no address of this host", hint=hint) from error
    family, _, _, _, place = found[0]
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:  # granian would share a port that another listens on
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(place)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise BadInput(f"--listen {listen}: {why}", hint="give another address or port of this host") from error
    return str(place[0]), int(port)


def _check_tls(options: Options) -> bool:
    if (options.tls_cert is None) != (options.tls_key is None):
        raise BadInput("--tls-cert and --tls-key belong together", hint="give both, or neither")
    if options.tls_cert is None or options.tls_key is None:
        return False
    for what, path in (("--tls-cert", options.tls_cert), ("--tls-key", options.tls_key)):
        read_limited(path, _MAX_PEM, what)
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.tls_cert, options.tls_key, password="")  # or it would ask a terminal
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or str(error)
        raise BadInput(
            f"--tls-cert {options.tls_cert}, --tls-key {options.tls_key}: no certificate with its key: {why}",
            hint="PEM files: the certificate with those that signed it below, and its key without a passphrase",
        ) from error
    return True


def _refuse_identities(options: Options, environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        if is_identity(value.encode(errors="surrogateescape")):
            raise Refused(f"the environment variable {name} holds an identity or a private key", hint=_NO_KEYS)
    for path in (options.token_file, options.tls_cert, *options.reports):
        if path is not None and holds_identity(path):
            raise Refused(f"{words(path)} holds an identity or a private key", hint=_NO_KEYS)
    if options.tls_key is not None and b"AGE-" in read_limited(options.tls_key, _MAX_PEM, "--tls-key"):
        raise Refused(f"--tls-key {words(options.tls_key)} holds an identity", hint=_NO_KEYS)


def serve(ready: Ready, notice: Callable[[str], None], listening: Callable[[Places], None]) -> None:
    """Serve until SIGTERM or SIGINT; `listening` is told when the first look is done and the socket is open.

    Refused: every drive that is here bears an identity. BadInput: the address cannot be had.
    """
    asyncio.run(_serve(ready, notice, listening))


async def _serve(ready: Ready, notice: Callable[[str], None], listening: Callable[[Places], None]) -> None:
    from sealift.stages.serve.app import application
    from sealift.stages.serve.host import Host

    ready.room.begin(notice)
    places = Places(ready.mounts, notice, ready.room.room)
    host = Host(words(socket.gethostname()), places, ready.options.reports)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await places.begin(_FIRST_LOOK)
        _refuse_left(places.places)
        for path, shipment in host.strays():
            notice(f"note: --report {words(path)} is of shipment {shipment}, of which no drive is here")
        server = _server(application(host, ready.tokens, notice), ready)
        serving = asyncio.ensure_future(server.serve())
        stopping = asyncio.ensure_future(stop.wait())
        watching = None
        if await _opens(ready, serving):
            watching = asyncio.ensure_future(ready.room.watch(ready.port))
            listening(places)
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if watching is not None:
            watching.cancel()
        ready.room.let_go()
        if not serving.done():
            server.stop()
            await asyncio.wait({serving}, timeout=GRACE)
        stopping.cancel()
        if serving.done() and (error := serving.exception()) is not None:
            raise BadInput(f"--listen {ready.options.listen}: {error}", hint="see what else listens there") from error
        if not stop.is_set():
            raise SealiftError("the server ended by itself", hint="start it again; nothing on a drive was changed")
    finally:
        places.close()
        ready.room.close()


async def _opens(ready: Ready, serving: asyncio.Future[Any]) -> bool:
    """Wait until somebody can connect; False where it ended before."""
    anywhere = ipaddress.ip_address(ready.host).is_unspecified
    host = ready.host if not anywhere else "::1" if ":" in ready.host else "127.0.0.1"
    while not serving.done():
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(host, ready.port)
            writer.close()
            return True
        await asyncio.sleep(0.02)
    return False


def _refuse_left(places: Sequence[Place]) -> None:
    left = [place for place in places if place.seen.identity]
    others = any(place.name or place.seen.trouble for place in places if place not in left)  # one may be late
    if left and not others:
        raise Refused(f"{words(left[0].mount)}: {left[0].seen.trouble}", hint=_NO_KEYS)


def _server(app: Any, ready: Ready) -> Any:
    from pathlib import Path

    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings
    from granian.server.embed import Server

    cert, key = ready.options.tls_cert, ready.options.tls_key
    return Server(
        app,
        address=ready.host,
        port=ready.port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,  # the windows of HTTP/2 would hold back one long answer, and many share a connection
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_WAIT, max_buffer_size=HEADERS),
        websockets=False,
        runtime_threads=min(8, os.cpu_count() or 1),
        backlog=QUEUE,
        backpressure=ready.room.connections,
        log_enabled=False,
        ssl_cert=None if cert is None else Path(cert),
        ssl_key=None if key is None else Path(key),
    )
