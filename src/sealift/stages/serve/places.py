"""The folders where drives are mounted, and which drive stands in each now.

What holds: a drive has its name from what it says of itself (shipment, group, slot), so that its URL stays the same in
another bay and after another start; two that say the same have different names. A name leads to a drive only while the
files that it was named by are unchanged: what was mounted over it, or exchanged for it, is found by the next request.
Nothing of a drive is held open between requests, so that it can be unmounted at any time.

Whatever fails for want of descriptors says nothing of a drive: what was seen before stands, and no identity is
overlooked for it.

A drive that hangs keeps up to THREADS threads of its own and nobody else's; what waits for it is told after PATIENCE
seconds, and whoever comes while it hangs at once.

Nothing but the names of a drive's layout is served or listed. What else lies on a drive is looked at only to find an
identity that somebody left there: a drive that comes with one has its name and is not served, nor one in which a file
of the layout holds one; another that gets one while it is served still is, for nobody can read it here. Each is told
until it is taken away.

What is not here: HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from blake3 import blake3

from sealift.drives.base import is_crowded
from sealift.drives.local import LocalDrive
from sealift.errors import DriveFault, FormatError, SealiftError
from sealift.formats import manifest as mf
from sealift.stages.drives_look import Known, Look, look
from sealift.stages.verify_join import words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from sealift.drives.local_file import LocalReadFile

POLL = 2.0  # seconds between looks at the folders
PATIENCE = 20.0  # seconds that a drive gets for one call
THREADS = 8  # of a drive
MAX_GONE = 10_000
KEYS = 60.0  # seconds between looks for identities in folders in which no file has come
_NEAR = ("", mf.ROOT, f"{mf.ROOT}/seal", f"{mf.ROOT}/index")  # folders of a mount in which they are looked for
_ENTRIES, _MAX_IDENTITY = 100, 1 << 16  # of such a folder, and bytes of a file, that are looked at
_IDENTITY = re.compile(
    rb"AGE-SECRET-KEY-(?:PQ-)?1[A-Z0-9]|AGE-PLUGIN-[A-Z0-9-]+1|-----BEGIN (?:OPENSSH|RSA|EC|DSA)? ?PRIVATE KEY-----"
)

Stamp = tuple[object, ...]
Room = Callable[[BaseException], None]  # makes room for files, given why one could not be opened


def _no_room(_why: BaseException) -> None:
    """There is none to be made."""


class Silent(Exception):
    """The drive does not answer in time."""


class Crowded(Exception):
    """This host has too many files open: nothing is known of the drive."""


class Exchanged(Exception):
    """Another drive, or none, stands where the one that is meant stood."""


class Seen(NamedTuple):
    """What a look at a folder found: a drive with its size, or why there is none to serve."""

    stamp: Stamp | None
    known: Known | None
    total_bytes: int = 0
    trouble: str = ""
    identity: bool = False  # the trouble is an identity that lies there, for which the drive is not served
    real: str = ""  # the folder without symbolic links
    left: str = ""  # an identity that came to lie there while the drive was served
    folders: Stamp = ()  # of those in which identities are looked for
    until: float = 0.0  # by time.monotonic, for how long that look stands


class Place:
    """One folder in which a drive may be mounted; `name` is the drive's, while one is there."""

    def __init__(self, mount: str, room: Room = _no_room) -> None:
        self.mount, self._room = mount, room
        self.name: str | None = None
        self.seen = Seen(None, None)
        self.late = 0  # calls that were given up and have not come back
        self.failed = ""  # what the drive's last read failed with; empty again after one that did not
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="drive")

    @property
    def wanted(self) -> str | None:
        """The name that the drive which was seen here last should have."""
        return None if self.seen.known is None else name_of(self.seen.known, self.mount)

    @property
    def served(self) -> bool:
        """Whether a drive is here, and comes without an identity."""
        return self.name is not None and not self.seen.identity

    @property
    def answers(self) -> bool:
        """Whether a drive is served and nothing hangs."""
        return self.served and not self.late

    @property
    def trouble(self) -> str:
        """What is wrong with the drive, as far as anybody has noticed."""
        hangs = "it does not answer" if self.late else ""
        why = self.seen.known.why if self.seen.known else ""
        return self.seen.trouble or hangs or self.failed or self.seen.left or why

    async def call(self, work: Callable[..., Any], *given: Any, seconds: float = PATIENCE) -> Any:
        """What `work(*given)` returns, in a thread of this drive. Silent, Crowded, and what it raises.

        Work that cannot open a file because this process has too many is done once more when there is room for it.
        """
        if self.late:
            raise Silent
        loop = asyncio.get_running_loop()
        running = self._pool.submit(_roomy, self._room, work, *given)
        waiting = asyncio.wrap_future(running)
        timer = loop.call_later(seconds, waiting.cancel)
        try:
            return await waiting
        except asyncio.CancelledError:
            if timer.when() > loop.time():
                raise  # it is the request that was cancelled
            if not running.cancelled():  # else no thread was free in all that time, and it did not even begin
                self.late += 1
                running.add_done_callback(lambda _: self._came_back(loop, running))
            raise Silent from None
        finally:
            timer.cancel()

    def _came_back(self, loop: asyncio.AbstractEventLoop, running: Future[Any]) -> None:
        """A call that was given up has ended; in its thread."""
        if running.exception() is None and hasattr(running.result(), "close"):
            running.result().close()  # a file that nobody waits for any more

        def one_less() -> None:
            self.late -= 1

        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(one_less)

    def open(self, name: str) -> LocalReadFile:
        """Open a file of the drive that is named; in a thread. Exchanged, FormatError, DriveFault."""
        try:
            drive = LocalDrive(self.mount)
            same = self.seen.stamp is not None and _stamp(drive) == self.seen.stamp
        except (SealiftError, OSError) as error:
            if is_crowded(error):
                raise
            raise Exchanged from error
        if not same:
            raise Exchanged
        return drive.open_read(name)

    def close(self) -> None:
        """Give the threads up; those that hang stay as long as the kernel keeps them."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Places:
    """All folders; looks at them every POLL seconds while `watch` runs."""

    def __init__(
        self, mounts: Sequence[str], notice: Callable[[str], None] = lambda _: None, room: Room = _no_room
    ) -> None:
        self.places = [Place(mount, room) for mount in dict.fromkeys(mounts)]
        self.gone: dict[str, str] = {}  # name -> folder, of drives that were here
        self._notice = notice
        self._looking: dict[int, asyncio.Task[None]] = {}

    def find(self, name: str) -> Place | None:
        """Where the drive of this name stands; None: nowhere now."""
        return next((place for place in self.places if place.name == name), None)

    def knows(self, name: str) -> bool:
        """Whether a drive of this name is here, or was."""
        return name in self.gone or self.find(name) is not None

    def with_keys(self) -> list[str]:
        """The drives on which an identity lies, served or not; where no drive is, the folder."""
        return sorted(each.name or words(each.mount) for each in self.places if each.seen.left or each.seen.identity)

    def all_names(self) -> list[tuple[str, bool]]:
        """Every drive that was found since the start, and whether it is served, answers, and does not fail."""
        here = {each.name: each.answers and not each.failed for each in self.places if each.name is not None}
        return sorted((here | dict.fromkeys(self.gone.keys() - here.keys(), False)).items())

    async def begin(self, seconds: float) -> None:
        """The first look at all folders, and no longer than that; names are given in the order of the folders."""
        looks = {asyncio.create_task(self._see(place)): place for place in self.places}
        _, pending = await asyncio.wait(looks, timeout=seconds)
        for late in pending:
            looks[late].seen = Seen(None, None, trouble="it does not answer")
            self._notice(f"{looks[late].mount}: it does not answer")
        self._name(self.places)

    async def watch(self) -> None:
        """Look again and again; until cancelled."""
        while True:
            done = await asyncio.gather(*(self.look(place) for place in self.places), return_exceptions=True)
            for error in done:
                if isinstance(error, Exception):
                    self._notice(f"internal error: {type(error).__name__}: {error}; please report it")
            await asyncio.sleep(POLL)

    async def look(self, place: Place) -> None:
        """Look at one folder now; whoever asks meanwhile waits for the same look."""
        key = id(place)
        if key not in self._looking:
            self._looking[key] = asyncio.create_task(self._look(place))
            self._looking[key].add_done_callback(lambda _: self._looking.pop(key, None))
        await asyncio.shield(self._looking[key])

    async def _look(self, place: Place) -> None:
        """Look at a folder, and at those with names that are wanted now: they may have changed bays."""
        await self._see(place)
        fresh = [place]
        while (holder := self._holder(fresh)) is not None:
            await self._see(holder)
            fresh.append(holder)
        self._name(fresh)

    def _holder(self, fresh: Sequence[Place]) -> Place | None:
        """A place beside `fresh` that has the name of a drive which was just seen in another one."""
        wanted = {name for each in fresh if (name := each.wanted) is not None and name != _stem(each.name)}
        return next((each for each in self.places if each not in fresh and each.name in wanted), None)

    async def _see(self, place: Place) -> None:
        try:
            seen: Seen = await place.call(look_again, place.mount, place.seen)
        except Silent:
            seen = place.seen._replace(trouble="it does not answer")
        except Crowded:
            return  # what was seen before stands
        if seen.trouble and seen.trouble != place.seen.trouble:
            self._notice(f"{place.mount}: {seen.trouble}")
        if seen.left and seen.left != place.seen.left:
            self._notice(f"{place.mount}: {seen.left}")
        refused, place.seen = place.seen.identity, seen
        if refused and place.served and _stem(place.name) == place.wanted:
            self._notice(f"{place.mount}: {place.name} is served")

    def _name(self, places: Sequence[Place]) -> None:
        """Give the drives that are here now their names: first all that have left give theirs up."""
        for place in places:
            if place.name is not None and _stem(place.name) != place.wanted:
                while len(self.gone) >= MAX_GONE:
                    self.gone.pop(next(iter(self.gone)))
                self.gone[place.name] = place.mount
                self._notice(f"{place.mount}: {place.name} is gone")
                place.name = None
        for place in places:
            if place.name is None and (wanted := place.wanted) is not None:
                taken = {other.name for other in self.places}
                names = [wanted, *(f"{wanted}.{number}" for number in range(2, len(self.places) + 2))]
                place.name = next(name for name in names if name not in taken)
                self.gone.pop(place.name, None)
                if place.served:
                    self._notice(f"{place.mount}: {place.name} is here")

    def close(self) -> None:
        """Give all threads up."""
        for place in self.places:
            place.close()


def name_of(known: Known, mount: str) -> str:
    """The name of a drive: SHIPMENT-gGsS, or one made of its folder where it cannot say."""
    if known.shipment is None or known.drive is None:
        return f"unnamed-{blake3(os.fsencode(mount)).hexdigest()[:8]}"
    return f"{known.shipment}-{known.drive}"


def _stem(name: str | None) -> str | None:
    return name and name.partition(".")[0]


# In a thread


def _roomy(room: Room, work: Callable[..., Any], *given: Any) -> Any:
    try:
        return work(*given)
    except (SealiftError, OSError) as error:
        if not is_crowded(error):
            raise
        room(error)
    try:
        return work(*given)
    except (SealiftError, OSError) as error:
        if is_crowded(error):
            raise Crowded from error
        raise


def look_again(mount: str, before: Seen) -> Seen:
    """Look at a folder; what was seen before stands while the drive's own files are the same.

    Raises nothing but what `is_crowded` tells.
    """
    try:
        drive = LocalDrive(mount)
        stamp = _stamp(drive)
        folders = tuple(_changed(os.path.join(mount, each)) for each in _NEAR)
        until, served = time.monotonic() + KEYS, stamp == before.stamp and not before.trouble
        if served and folders == before.folders and time.monotonic() < before.until:
            return before
        left = identity_on(mount)
        if served and not _is_served(left):
            why = left and f"{left} holds an identity or a private key, which no storage host may have: take it away"
            return before._replace(left=why, folders=folders, until=until)
        why = left and f"{left} holds an identity or a private key: take it away, then the drive is served"
        found = _found(mount, in_any_case=bool(left))
    except (SealiftError, OSError) as error:
        if is_crowded(error):
            raise
        return Seen(None, None, trouble=words(str(error)))
    real = os.path.realpath(mount)
    why = why or found.trouble or ""
    return Seen(stamp, found.known, found.total_bytes, why, bool(left), real=real, folders=folders, until=until)


def _found(mount: str, *, in_any_case: bool) -> Look:
    """What is mounted there; with `in_any_case` nothing where that cannot be looked at, for it is told all the same."""
    try:
        return look(mount)
    except (SealiftError, OSError) as error:
        if not in_any_case or is_crowded(error):
            raise
        return Look()


def _stamp(drive: LocalDrive) -> Stamp:
    """Changes when another drive is mounted there, or the files by which it was named are others.

    Device and inode are in a file's own stamp, and cost less to get than `Drive.filesystem`: this is for every request.
    """
    parts: list[object] = []
    for name in (mf.CARD, mf.MANIFEST, mf.SEAL_FILES[0]):
        try:
            with drive.open_read(name) as file:
                parts.append(file.stamp)
        except (FormatError, DriveFault) as error:
            if is_crowded(error):
                raise
            parts.append(None)
    return tuple(parts)


def _changed(folder: str) -> object:
    """Changes when a file comes into the folder; None: there is none."""
    try:
        status = os.lstat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _is_served(path: str) -> bool:
    """Whether a file of a mount is one that whoever has a token may read."""
    folder, _, name = path.partition("/")
    return folder == mf.ROOT and mf.is_drive_file(name)


def identity_on(mount: str) -> str:
    """The name of a small file on a drive that holds an identity or a private key, "" where there is none.

    Looks at the first _ENTRIES of each folder in _NEAR. OSError.
    """
    for near in _NEAR:
        folder = os.path.join(mount, near)
        if near and not (os.path.isdir(folder) and not os.path.islink(folder)):
            continue
        with os.scandir(folder) as entries:
            for _, entry in zip(range(_ENTRIES), entries, strict=False):
                small = (
                    entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_size <= _MAX_IDENTITY
                )
                if small and holds_identity(entry.path):
                    return words(os.path.join(near, entry.name))
    return ""


def holds_identity(path: str) -> bool:
    """Whether a small regular file holds an identity or a private key; False where it cannot be read.

    OSError where it is not the file's fault (`is_crowded`).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        if is_crowded(error):
            raise
        return False
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return regular and _IDENTITY.search(os.read(descriptor, _MAX_IDENTITY)) is not None
    except OSError:
        return False
    finally:
        os.close(descriptor)


def is_identity(data: bytes) -> bool:
    """Whether these bytes hold an identity or a private key of SSH."""
    return _IDENTITY.search(data) is not None
