"""One writer for a prefix of a bucket, among all hosts: a marker there says who, what and since when.

    s3://BUCKET/PREFIX/.sealift-ingest-lock/000001-NONCE     canonical JSON (Marker); the highest number is the writer's

What holds: a marker has a name that nobody else gives one, and the listing is looked at again behind it: who sees
another one there, or not its own, gives up, so that of several that begin at once at most one goes on, whatever the
store knows. Its writer renews it each RENEW seconds; one that was not renewed for LEASE, by the clock of the store, is
taken over by the next number, behind which the old one is removed. One of this host is taken over at once where nobody
here holds the prefix any more (`ObjectPrefix.hold`), or where its process has ended, by whatever name it called the
store. A writer whose marker was taken over, or could not be renewed so long, ends at its next `check`. Nothing but
markers is ever removed. A prefix beneath another one is another one.
"""

from __future__ import annotations

import contextlib
import getpass
import math
import os
import re
import secrets
import socket
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from sealift.drives.base import SAFE_WRITING
from sealift.errors import Busy, FormatError, SealiftError
from sealift.formats import canonical

if TYPE_CHECKING:
    from sealift.drives.object_prefix import ObjectPrefix

PLACE = ".sealift-ingest-lock"
LEASE, RENEW = 300.0, 60.0  # seconds
TYPE = "sealift-ingest-lock-v1"
_LIMIT = 4096  # bytes of a marker
_DIGITS = 6
_NAME = re.compile(rf"(\d{{{_DIGITS}}})(-[0-9a-f]{{32}})?", re.ASCII)
_AGAIN = "wait for it to end, or stop it; what is done is noted, and the same command goes on"


class Marker(canonical.Record, frozen=True):
    """Who writes beneath the prefix; `here` is the same for all that this host's own lock keeps apart.

    `process` and `started` (clock ticks since the host's start) name a process among those of the same `processes`.
    """

    type: str
    work: str
    user: str
    host: str
    process: int
    started: int
    processes: str
    since: str  # RFC 3339, by that host's clock
    here: str
    nonce: str


class _There(NamedTuple):
    """A marker that is there: its number, its name, and when it was renewed, in seconds by the store's clock."""

    number: int
    name: str
    renewed: float


def parse(data: bytes) -> Marker:
    """FormatError for what is no marker."""
    found = canonical.decode(data, Marker, limit=_LIMIT, name="a marker")
    if found.type != TYPE:
        raise FormatError(f"a marker of type {found.type!r}")
    return found


def who(marker: Marker | None) -> str:
    """The writer in words, of what anybody may have written there."""
    if marker is None:
        return "somebody whose marker cannot be read"
    work, user, host, since = map(_clean, (marker.work, marker.user, marker.host, marker.since))
    return f"{work} by {user} on {host} (process {marker.process}, since {since})"


def _clean(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text[:80]) or "unknown"


class ObjectLock:
    """Held from when it is made until `give_up`. Busy where another writer is alive; DriveFault. `bucket` is held.

    Finds out on the way whether the store keeps to If-None-Match (ObjectPrefix.learn).
    """

    def __init__(self, bucket: ObjectPrefix, work: str) -> None:
        self._bucket, self._nonce = bucket, secrets.token_hex(16)
        self._here, began = _here(bucket.hold()), _stat(os.getpid())
        self._processes = "" if began is None else _processes()
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._data = canonical.encode(
            Marker(
                type=TYPE, work=work, user=_user(), host=socket.gethostname(), process=os.getpid(),
                started=began.started if began else 0, processes=self._processes, since=now, here=self._here,
                nonce=self._nonce,
            )
        )  # fmt: skip
        self._lost = ""
        self._stop = threading.Event()
        self._mine = self._take()
        self._renewed = time.monotonic()
        self._thread = threading.Thread(target=self._renew, name="sealift-lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Busy where the prefix is somebody else's by now."""
        if not self._lost and time.monotonic() - self._renewed > LEASE - RENEW:
            self._lost = f"the marker {self._mine} could not be renewed for {LEASE - RENEW:.0f} s"
        if self._lost:
            raise Busy(f"{self._bucket.mount}: {self._lost}: others may write there; {SAFE_WRITING}", hint=_AGAIN)

    def give_up(self, bucket: ObjectPrefix | None = None) -> None:
        """Remove the marker; what fails then is left to LEASE. `bucket`: the same prefix, with less patience."""
        self._stop.set()
        with contextlib.suppress(SealiftError):
            if not self._lost:
                (bucket or self._bucket).delete(self._mine)

    # Taking

    def _take(self) -> str:
        """The name of our own marker, when there is no other."""
        dead = set(self._markers())
        now = self._now()
        for there in dead:
            self._refuse_living(there, now)
        number = max((each.number for each in dead), default=0) + 1
        mine = f"{PLACE}/{number:0{_DIGITS}d}-{self._nonce}"
        self._bucket.put_new(mine, self._data)
        if [each.name for each in self._markers() if each not in dead] != [mine]:
            self._bucket.delete(mine)
            raise Busy(f"{self._bucket.mount}: another run began to write there in the same moment", hint=_AGAIN)
        for name in [each.name for each in dead] + [name for name, since in self._clocks() if now - since > LEASE]:
            self._bucket.delete(name)
        return mine

    def _clocks(self) -> list[tuple[str, float]]:
        """What runs that were killed in `_now` left."""
        pages = self._bucket.objects(beneath=PLACE)
        return [
            (each["path"], each["last_modified"].timestamp())
            for page in pages
            for each in page
            if each["path"].startswith(f"{PLACE}/now-")
        ]

    def _now(self) -> float:
        """The time by the store's clock, from an object of ours, by which the store is tried, too."""
        name = f"{PLACE}/now-{self._nonce}"
        self._bucket.learn(name)
        try:
            meta = self._bucket.meta(name, f"looking at {name}")
        finally:
            self._bucket.delete(name)
        return meta["last_modified"].timestamp() if meta is not None else 0.0

    def _markers(self) -> list[_There]:
        return [
            _There(int(name[1]), each["path"], each["last_modified"].timestamp())
            for page in self._bucket.objects(beneath=PLACE)
            for each in page
            if (name := _NAME.fullmatch(each["path"].rpartition("/")[2]))
        ]

    def _refuse_living(self, there: _There, now: float) -> None:
        age, marker = now - there.renewed, None
        if age > LEASE:
            return
        with contextlib.suppress(FormatError):
            data = self._bucket.get(there.name, _LIMIT)
            if data is None:
                return  # given up meanwhile
            marker = parse(data)
        if marker is not None and (marker.here == self._here or self._has_ended(marker)):
            return
        at = "where it ran" if marker is None else f"on {_clean(marker.host)}"
        raise Busy(
            f"{self._bucket.mount}: {who(marker)} writes there; it was last heard of {max(0, age):.0f} s ago",
            hint=f"wait for it to end. If it was killed, the same command goes on: {at} at once, elsewhere in "
            f"{math.ceil(LEASE - age)} s; or as soon as {self._bucket.mount}/{there.name} is removed, by somebody who "
            "knows that it has ended",
        )

    def _has_ended(self, marker: Marker) -> bool:
        """Whether its process was one of those that we would see, and is no more."""
        if not self._processes or marker.processes != self._processes or marker.process < 1:
            return False
        try:
            os.kill(marker.process, 0)  # also of a process that /proc does not show us (hidepid)
        except (ProcessLookupError, OverflowError):
            return True
        except PermissionError:
            pass
        now = _stat(marker.process)
        return now is not None and (now.ended or now.started != marker.started)

    # Keeping

    def _renew(self) -> None:
        while not self._stop.wait(RENEW):
            with contextlib.suppress(SealiftError):
                there = self._markers()
                mine = [each.number for each in there if each.name == self._mine]
                if not mine or max(each.number for each in there) > mine[0]:
                    self._lost = f"the marker {self._mine} was removed, or taken over"
                    return
                if self._stop.is_set():
                    return
                self._bucket.put_over(self._mine, self._data)
                self._renewed = time.monotonic()


def _here(descriptor: int) -> str:
    """What only this host has while it runs, and the lock within it: boot, network namespace, name of the socket."""
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        boot = file.read()
    held = socket.socket(fileno=os.dup(descriptor))
    try:
        name: bytes = held.getsockname()
    finally:
        held.close()
    return blake3(b"\0".join([boot, os.readlink(b"/proc/self/ns/net"), name])).hexdigest(16)


def _processes() -> str:
    """The same for all processes that see each other by number, while the host runs; "" where that is not known.

    Their start counts from that of the time namespace, which may be another than the host's (time_namespaces(7)).
    """
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            return ""  # /proc is that of other processes
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            boot = file.read()
        spaces = [os.readlink(f"/proc/self/ns/{each}").encode() for each in ("pid", "time")]
    except OSError:
        return ""
    return blake3(b"\0".join([boot, *spaces])).hexdigest(16)


class _Stat(NamedTuple):
    """When a process began, in clock ticks since the host's start, and whether it is a zombie without any thread."""

    started: int
    ended: bool


def _stat(process: int) -> _Stat | None:
    """By proc_pid_stat(5); None where nobody says so."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # a name may have blanks and brackets
        return _Stat(int(fields[19]), fields[0] in (b"Z", b"X") and int(fields[17]) <= 1)
    except (OSError, IndexError, ValueError):
        return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
