"""HttpDrive: sealift/ behind http(s)://HOST/PATH/, whoever serves it; hostile until shown otherwise, and read only.

What holds: a name is there when the host says so, and nothing else is known of what is there: HTTP has no listings, so
that what is not in the manifest does not show. Every range that is read is of the file that was opened, by its length,
ETag and time, or the read fails; a range is exactly the one that was asked for. What does not hold, or does not come in
time, is a DriveFault that names the location, and no token. Bytes may come from a cache: the host's.

What a host must do is in docs/spec/locations.md; how it is asked, in http_client.py.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from sealift.drives import http_client as client
from sealift.drives.base import SAFE_READING, Entry, Source, split
from sealift.drives.http_client import Answer, Failed, Host, Meta, host_of
from sealift.drives.object_faults import CUT, REPLACED, Trouble
from sealift.drives.ranges import Lent, Ranges, RemoteDrive, RemoteFile, Traffic
from sealift.drives.waiting import waiting
from sealift.errors import BadInput, DriveFault, FormatError
from sealift.formats.locations import MAX_TOKEN_FILE, REQUESTS, TOKEN_CHARACTERS, token_of, web
from sealift.formats.manifest import CARD, MANIFEST, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
_SHORT = 1.0  # seconds for which a location is asked at least that gave nothing before
_HUNG = 30.0  # seconds for which a host that let us wait in vain is not asked for a small file
MAX_CA = 1 << 20


class Way(NamedTuple):
    """How a location is reached: an address, what it is called, and where its token and its CA stand; never these."""

    at: str
    name: str = ""
    token_file: str = ""
    token_env: str = ""
    ca_file: str = ""
    requests: int = REQUESTS


class HttpReadFile(RemoteFile):
    """drives.base.ReadFile over a file of an HttpDrive."""

    def __init__(self, drive: HttpDrive, name: str) -> None:
        self._drive, self._name = drive, name
        self._seen: dict[str, Meta] = {}  # of the answer that came first
        self.key = drive.web.path, name, id(self)

    def look(self) -> Meta:
        """What the host says of the file, which is the one that is read from now on. DriveFault."""
        if not self._seen:
            doing = f"opening {self._name}"
            if not self._is_same(self._drive.head(self._name, doing)):
                raise self._drive.fault(doing, REPLACED)
        return self._seen["first"]

    @property
    def ranges(self) -> Ranges:
        """Of the host, in this process."""
        return self._drive.host.ranges

    @property
    def length(self) -> int:
        """In bytes."""
        return self.look().length

    @property
    def known_length(self) -> int | None:
        """None before anything of it was asked for."""
        first = self._seen.get("first")
        return None if first is None else first.length

    @property
    def stamp(self) -> tuple[int, ...]:
        """Of ETag, time and length, as the host says them."""
        return self.look().stamp

    @property
    def lasting(self) -> bool:
        """Whether it is `sealift serve` that says them: its ETags have the ctime. Others have mtime and length."""
        return self.look().lasting

    @property
    def read_from(self) -> Source:
        """Always `cache`: what the host reads from, nobody here knows."""
        return "cache"

    def fetch(self, start: int, stop: int) -> Lent:
        """Bytes start..stop-1, fewer only at the end of the file."""
        lent = Lent(stop - start)
        lent.view = lent.view[: self.fetch_into(start, lent.view)]
        return lent

    def fetch_into(self, start: int, view: memoryview) -> int:
        """The same into `view`; how many."""
        doing, stop, done = f"reading {self._name} at {start}", start + len(view), 0

        def read(answer: Answer) -> int:
            nonlocal done
            count, meta = client.range_of(answer, start + done, stop)
            if not self._is_same(meta):
                raise Failed(client.OTHER_LENGTH if meta.contradicts(self._seen["first"]) else REPLACED)
            try:
                if count and answer.readinto(view[done : done + count]) < count:
                    raise Failed(CUT, client.PATIENCE)
            finally:  # what came is not asked for again
                self._drive.traffic.add(size=answer.came)
                done += answer.came
            return done

        def rest() -> dict[str, str]:
            return {"Range": f"bytes={start + done}-{stop - 1}"}

        return self._drive.ask("GET", self._name, doing, read, rest, came=lambda: done)

    def _is_same(self, meta: Meta) -> bool:
        """Whether it is the file that was seen first."""
        return self._seen.setdefault("first", meta).is_of(meta)


class HttpDrive(RemoteDrive):
    """drives.base.Drive over HTTP, for reading. `patience`: seconds for which a request that fails is sent again."""

    def __init__(self, way: Way | str, *, patience: float = client.PATIENCE) -> None:
        self.way = Way(way) if isinstance(way, str) else way
        self.web, self._patience = web(self.way.at), patience
        self.at, self.host_name = self.way.at, self.web.origin
        self.mount = self.way.name or self.way.at
        self.traffic, self._made = Traffic(), time.monotonic()
        self._in_vain = 0  # times in a row that it was asked for as long as it is worth while
        self._hung = 0.0, client.SLOW  # until when small files are not asked for, and why
        self._host: Host | None = None
        self._secrets: tuple[str, str | None] | None = None  # token and CA, once they are needed

    def __reduce__(self) -> tuple[type[HttpDrive], tuple[Way]]:
        return HttpDrive, (self.way,)

    def __repr__(self) -> str:
        return f"HttpDrive({self.mount!r})"

    @property
    def host(self) -> Host:
        """The host, in this process. BadInput where its CA file cannot be used."""
        self._host = host_of(self._host, self.web, self._secret()[1], self.way.requests)
        return self._host

    @property
    def slow(self) -> bool:
        """As of RemoteDrive."""
        return self.host.pace.slow

    @property
    def was_slow(self) -> bool:
        """As of RemoteDrive."""
        return self.host.pace.was_slow

    @property
    def nobody(self) -> str:
        """As of RemoteDrive; it counts of all that stands in the host: who waits for one drive asks no other."""
        return self.traffic.nobody or self.host.pace.gone_since(self._made)

    @property
    def away(self) -> str:
        """As of RemoteDrive; it is so of all that stands in the host."""
        return self.host.pace.away

    def check(self) -> None:
        """BadInput where token or CA file cannot be used."""
        self._secrets = None
        self._secret()

    def _secret(self) -> tuple[str, str | None]:
        if self._secrets is None:
            self._secrets = _token(self.way), _ca(self.way)
        return self._secrets

    def ask(
        self,
        method: str,
        name: str,
        doing: str,
        read: Callable[[Answer], T],
        headers: Callable[[], dict[str, str]] = dict,
        *,
        patience: float | None = None,
        came: Callable[[], int] = int,
    ) -> T:
        """What `read` makes of the answer to a request for a file, sent as often as it is worth while; DriveFault.

        `came`: bytes that attempts have brought so far, which are not asked for again. A location that was asked in
        vain for as long as that is worth while is asked for a quarter of that next, until it gives a file.
        """
        path = f"{self.web.path}{ROOT}/{name}"
        sent = {"User-Agent": client.user_agent(), "Accept-Encoding": "identity"}
        host, seconds = self.host, patience or self._patience
        seconds = max(seconds / 4 ** min(self._in_vain, 5), min(seconds, _SHORT))

        def once() -> T:
            token = self._secret()[0]
            more = headers() | ({"Authorization": f"Bearer {token}"} if token else {})
            begun = time.monotonic()
            try:
                with host.ask(method, path, sent | more) as it:
                    return read(it)
            except Failed as failed:
                if failed.trouble in {client.NOBODY, client.UNKNOWN, client.SLOW}:
                    host.pace.gone(failed.trouble.why, begun, surely=failed.trouble != client.SLOW)
                raise

        while True:
            token = self._secret()[0]
            try:
                with waiting(f"{self.mount}: {doing}"):
                    got: T = client.patiently(once, self.traffic, seconds, came)
            except Failed as failed:
                trouble = failed.trouble
                self._in_vain += failed.patience > 0
            else:
                if method == "GET":
                    self._in_vain = 0
                return got
            if trouble is not client.TOKEN or not self._is_renewed(token):
                raise self.fault(doing, trouble)

    def _is_renewed(self, token: str) -> bool:
        """Whether there is another token by now than the one that was not taken: they expire while a run goes on."""
        if not self.way.token_file:
            return False
        try:
            fresh = _token(self.way)
        except BadInput:
            return False
        self._secrets = fresh, self._secret()[1]
        return fresh != token

    def fault(self, doing: str, trouble: Trouble) -> DriveFault:
        """What happened while `doing`, with an OSError as its cause and nothing of what the host said."""
        error = DriveFault(f"{self.mount}: {doing}: {trouble.why}; {SAFE_READING}", drive=self.mount, hint=trouble.hint)
        error.__cause__ = OSError(trouble.code, trouble.why)
        return error

    def head(self, name: str, doing: str) -> Meta:
        """What the host says of a file. DriveFault, also when there is none."""
        split(name)

        def read(answer: Answer) -> Meta:
            client.check_status(answer, 200)
            return answer.meta

        return self.ask("HEAD", name, doing, read)

    # Reading

    def exists(self) -> bool:
        """Whether the host has one of the files that say what a drive is: others cannot be asked for by no name.

        A host that does not answer is not asked for long: many locations are opened together, and the others wait.
        """
        soon = min(self._patience, client.GONE)
        return self._size(MANIFEST, soon) is not None or self._size(CARD, soon) is not None

    def read_small(self, name: str, limit: int) -> bytes | None:
        """The whole file, None when there is none.

        A host that let us wait in vain for one is not asked for another for a while: to open a shipment a dozen are
        read, and the other drives wait for it.
        """
        split(name)
        until, trouble = self._hung
        if time.monotonic() < until:
            raise self.fault(f"opening {name}", trouble)

        def read(answer: Answer) -> bytes | None:
            if answer.status in {404, 410}:
                return None
            client.check_status(answer, 200)
            size = answer.meta.length
            if size > limit:
                raise FormatError(f"{self.mount}: {name} is {size:,} bytes long; at most {limit:,} are allowed")
            data = bytearray(size)
            done = answer.readinto(memoryview(data))
            self.traffic.add(size=done)
            if done < size:
                raise Failed(CUT, client.PATIENCE)
            if client.is_page(data):
                raise Failed(client.PAGE)
            return bytes(data)

        try:
            return self.ask("GET", name, f"opening {name}", read)
        except DriveFault as fault:
            if isinstance(cause := fault.__cause__, OSError) and cause.errno == client.SLOW.code:
                self._hung = time.monotonic() + _HUNG, Trouble(client.SLOW.code, str(cause.strerror), fault.hint or "")
            raise

    def size(self, name: str) -> int | None:
        """Length in bytes, None when there is none."""
        return self._size(name)

    def _size(self, name: str, patience: float | None = None) -> int | None:
        split(name)

        def read(answer: Answer) -> int | None:
            if answer.status in {404, 410}:
                return None
            client.check_status(answer, 200)
            return answer.meta.length

        return self.ask("HEAD", name, f"looking at {name}", read, patience=patience)

    def open_read(self, name: str, *, direct: bool = False) -> HttpReadFile:
        """Open for reading; `direct` changes nothing here."""
        file = self.open_later(name)
        del direct
        file.look()
        return file

    def open_later(self, name: str) -> HttpReadFile:
        """Open without asking whether it is there: reading tells (`is_missing`)."""
        split(name)
        return HttpReadFile(self, name)

    def walk(self, limit: int) -> Iterator[Entry]:
        """Nothing: HTTP has no listings."""
        del limit
        return iter(())

    # Identity

    def filesystem(self) -> tuple[object, ...]:
        """The host: what is on one is gone with it."""
        return "http", self.web.origin

    def serial(self) -> str | None:
        """There is none that could be believed."""
        return None

    def free_bytes(self) -> int:
        """None: nothing is written there."""
        return 0

    def total_bytes(self) -> int:
        """Nobody tells."""
        return 0

    # Writing: there is none

    def lock(self) -> NoReturn:
        """BadInput."""
        raise self._read_only()

    def unlock(self) -> None:
        """Nothing is locked."""

    def create(self, name: str, *, direct: bool = False) -> Any:
        """BadInput."""
        del name, direct
        raise self._read_only()

    def sync_folder(self, name: str) -> None:
        """BadInput."""
        del name
        raise self._read_only()

    def write_small(self, name: str, data: bytes) -> None:
        """BadInput."""
        del name, data
        raise self._read_only()

    def remove(self, name: str) -> None:
        """BadInput."""
        del name
        raise self._read_only()

    def _read_only(self) -> BadInput:
        return BadInput(
            f"{self.mount} is read over {self.web.scheme}, and nothing is written there",
            hint="give a folder in which a drive is mounted",
        )


def _token(way: Way) -> str:
    """The bearer token of a location, "" where it has none; BadInput, which does not repeat it."""
    from sealift.trade.signing import read_limited

    if way.token_file:
        where, data = way.token_file, read_limited(way.token_file, MAX_TOKEN_FILE, "token file")
    elif way.token_env:
        where, data = f"${way.token_env}", os.environ.get(way.token_env, "").encode(errors="surrogateescape")
    else:
        return ""
    token = token_of(data)
    if token is None:
        what = "holds something else than tokens" if data.strip() else "is empty, or not set"
        raise BadInput(
            f"token of {way.name or way.at}: {where} {what}",
            hint=f"a line of {TOKEN_CHARACTERS} (of several lines the first one is used)",
        )
    return token


def _ca(way: Way) -> str | None:
    import ssl

    from sealift.trade.signing import read_limited

    if not way.ca_file:
        return None
    data = read_limited(way.ca_file, MAX_CA, "CA file")
    try:
        text = data.decode("ascii")
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise BadInput(f"CA file {way.ca_file}: no certificates in PEM", hint="-----BEGIN CERTIFICATE-----") from error
    return text
