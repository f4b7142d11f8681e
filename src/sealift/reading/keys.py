"""Where the file key of a pack or an index file comes from: an identity that opens headers, or keys that were issued.

    IdentityKeys     whoever holds a recipient's identity opens every header with it
    IssuedKeys       a compute host has what `sealift unlock` issued for its job: the keys themselves, and no identity
                     of the shipment's

What holds of both: a key that is given has been checked against the MAC of the header that the manifest binds, so a
header that was changed is found. Of IssuedKeys: it opens only for an identity that the issuer named, only what an
allowed signer issued, and only for the seal that it was issued for; keys are read from the issued file, which stays
sealed for the job, when they are wanted; they are in this process's memory and nowhere else, in no pickle and no repr,
and none is given once they have expired. Everything that does not hold raises UnlockInvalid, IdentityMismatch or
SignatureInvalid, each with its own words. Where the keys were given by a path and have expired, what stands there now
is opened in their place: a run goes on when newer ones were issued in time.

Memory is not locked and not wiped: swap and core dumps are the host's. Safe for threads, and across a fork.
"""

from __future__ import annotations

import os
import stat
import threading
import weakref
from datetime import UTC, datetime
from itertools import accumulate
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeAlias

from sealift.errors import AgeError, BadInput, FormatError, IdentityMismatch, KeyInvalid, UnlockInvalid
from sealift.formats import age, age_header, age_keys, unlock
from sealift.trade import unlock as rules
from sealift.trade.signing import read_limited

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.formats.manifest import FileRef
    from sealift.formats.seal import Seal
    from sealift.formats.unlock import Unlock, UnlockGroup
    from sealift.trade.unlock import Issued

File: TypeAlias = str | bytes | os.PathLike[str]
"""A file: its path, or as bytes what is in it."""

ReadAt: TypeAlias = "Callable[[int, int], bytes]"
MAX_FILE = 2 << 30  # bytes of a file of issued keys; MAX_ROWS keys take 1 GiB


class Keys(Protocol):
    """What opens the files of a group."""

    def of_pack(self, header: age_header.Header, group: int, stripe: int, role: int) -> bytes:
        """The file key of a data pack, under which its header's MAC holds."""

    def of_index(self, header: age_header.Header, group: int, name: str) -> bytes:
        """The same of an index file."""


class IdentityKeys:
    """The keys that identities open. IdentityMismatch where none does, AgeError for a header that does not hold."""

    def __init__(self, identities: Sequence[age.Identity]) -> None:
        self.identities = identities

    def begin(self) -> None:
        """Nothing belongs to one process."""

    def of_pack(self, header: age_header.Header, group: int, stripe: int, role: int) -> bytes:  # noqa: ARG002 -- the header says
        """As Keys."""
        return age.unwrap(header, self.identities)

    def of_index(self, header: age_header.Header, group: int, name: str) -> bytes:  # noqa: ARG002 -- the header says
        """As Keys."""
        return age.unwrap(header, self.identities)


class IssuedKeys:
    """The keys in a file that `sealift unlock` wrote, opened with the job's identity; `issued` is what it says."""

    def __init__(self, file: File, identities: Sequence[age.Identity], allowed: AllowedSigners) -> None:
        """UnlockInvalid: changed, or no such file; for another job; untimely. IdentityMismatch, SignatureInvalid."""
        self._what = "the issued keys" if isinstance(file, bytes) else f"the issued keys in {os.fspath(file)}"
        self._file, self._identities, self._allowed = file, identities, allowed
        self._seal: tuple[FileRef, Seal] | None = None
        self._open, self._renewing = self._load(), threading.Lock()

    @property
    def issued(self) -> Issued:
        """What the file says, and who issued it."""
        return self._open.issued

    def _load(self) -> _Open:
        read_at, length, close = _source(self._file)
        try:
            reader, mine, key = self._opened(read_at, length, self._identities)
            try:
                found = unlock.layout(_random(reader), reader.size)
                issued = rules.check(found.data, found.signature, self._allowed)
            except FormatError as error:
                raise UnlockInvalid(f"{self._what} are damaged, or were changed: {error}") from error
            if str(mine.recipient) not in issued.record.recipients:
                raise UnlockInvalid(f"{self._what} were issued to other recipients, and sealed for this one by others")
            issued.refuse_untimely(_now(), self._what)
            if self._seal is not None:
                self._refuse_other(issued.record, *self._seal)
        except BaseException:
            close()
            raise
        starts = accumulate((each.rows for each in found.record.groups), initial=0)
        groups = {each.group: (start, each) for start, each in zip(starts, found.record.groups, strict=False)}
        return _Open(issued, groups, found, read_at, length, key)

    def _opened(
        self, read_at: ReadAt, length: int, identities: Sequence[age.Identity]
    ) -> tuple[age.Reader, age.Identity, bytes]:
        """The plaintext, the identity that opened it, and its file key."""
        for identity in identities:
            try:
                reader = age.Reader(read_at, length, [identity])
                return reader, identity, age.unwrap(reader.header, [identity])
            except IdentityMismatch:
                continue
            except AgeError as error:
                raise UnlockInvalid(f"{self._what} are damaged, or no such file: {error}") from error
        raise IdentityMismatch(
            f"none of the identities opens {self._what}",
            hint="--identity FILE is the job's own identity here, to whose recipient the keys were issued",
        )

    def begin(self) -> None:
        """Make anew what belongs to one process: after a fork a lock may be held by a thread that is not here."""
        self._renewing = threading.Lock()
        self._open.begin()

    def __repr__(self) -> str:
        record = self.issued.record
        return f"IssuedKeys(shipment {record.shipment}, job {record.job!r}, until {record.valid_until})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("issued keys are not pickled; open them again where they are wanted")

    def check_seal(self, ref: FileRef, seal: Seal) -> None:
        """UnlockInvalid unless the keys were issued for exactly this seal."""
        self._refuse_other(self.issued.record, ref, seal)
        self._seal = ref, seal

    def _refuse_other(self, record: Unlock, ref: FileRef, seal: Seal) -> None:
        if (record.shipment, record.seal) != (seal.shipment, ref):
            another = "another seal" if record.shipment == seal.shipment else f"shipment {record.shipment}"
            raise UnlockInvalid(
                f"{self._what} are of {another}, not of this seal of shipment {seal.shipment}",
                hint="give the keys that were issued for this shipment, or its seal",
            )
        geometry = {each.group: (each.data, each.stripes) for each in seal.groups}
        for group in record.groups:
            if geometry.get(group.group) != (group.data, group.stripes):
                raise UnlockInvalid(f"{self._what} are of another group {group.group} than the seal's")

    def of_pack(self, header: age_header.Header, group: int, stripe: int, role: int) -> bytes:
        """As Keys; UnlockInvalid where there is none for this pack, or none that opens it."""
        return self._take(header, group, lambda shape: len(unlock.INDEXES) + stripe * shape.data + role)

    def of_index(self, header: age_header.Header, group: int, name: str) -> bytes:
        """As Keys; UnlockInvalid where there is none for this file, or none that opens it."""
        return self._take(header, group, lambda _shape: unlock.INDEXES.index(name))

    def _take(self, header: age_header.Header, group: int, place: Callable[[UnlockGroup], int]) -> bytes:
        opened = self._timely()
        if group not in opened.groups:
            raise UnlockInvalid(f"{self._what} have none for group {group}: its drives were away when they were issued")
        start, shape = opened.groups[group]
        row = place(shape)
        what = f"{shape.name(row)} of group {group}"
        try:
            key = opened.key(start + row)
        except FormatError as error:
            raise UnlockInvalid(f"{self._what} are damaged, or were changed: {error}") from error
        if key == unlock.NO_KEY:
            raise UnlockInvalid(f"{self._what} have none for {what}: it could not be read when they were issued")
        try:
            age.check_mac(header, key)
        except AgeError as error:
            raise UnlockInvalid(f"{self._what}: the key for {what} does not open it") from error
        return key

    def _timely(self) -> _Open:
        """What is open; once that has expired, what stands under the same path now takes its place. UnlockInvalid."""
        now = _now()
        if now < self.issued.until or isinstance(self._file, bytes):
            self.issued.refuse_untimely(now, self._what)
            return self._open
        with self._renewing:
            if now >= self.issued.until:  # and no other thread has
                self._open = self._load()
            return self._open


class _Open:
    """A file of issued keys that holds: what it says, and its keys by row. Safe for threads."""

    def __init__(
        self,
        issued: Issued,
        groups: dict[int, tuple[int, UnlockGroup]],
        layout: unlock.Layout,
        read_at: ReadAt,
        length: int,
        file_key: bytes,
    ) -> None:
        self.issued, self.groups = issued, groups  # by number: its first row, and its shape
        self._layout, self._read_at, self._length, self._key = layout, read_at, length, file_key
        self.begin()

    def begin(self) -> None:
        """Make lock and pages anew."""
        self._lock = threading.Lock()
        reader = age.Reader(self._read_at, self._length, file_key=self._key)
        self._pages = unlock.key_pages(self._layout, _random(reader))

    def key(self, row: int) -> bytes:
        """The key of a row; NO_KEY where there is none. FormatError."""
        with self._lock:
            return self._pages.get(row, row + 1)


def _random(reader: age.Reader) -> ReadAt:
    """read_at over a seekable plaintext; fewer bytes at its end."""

    def read_at(offset: int, count: int) -> bytes:
        reader.seek(offset)
        return reader.read(count)

    return read_at


def _source(file: File) -> tuple[ReadAt, int, Callable[[], object]]:
    """How to read a file at random, how long it is, and how to close it; BadInput."""
    if isinstance(file, bytes):
        return (lambda offset, count: file[offset : offset + count]), len(file), lambda: None
    path = os.fspath(file)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadInput(f"issued keys {path}: {reason}") from error
    owner = _Handle()
    close = weakref.finalize(owner, os.close, handle)
    close.atexit = False
    state = os.fstat(handle)
    if not stat.S_ISREG(state.st_mode) or state.st_size > MAX_FILE:
        close()
        raise BadInput(f"issued keys {path}: not a regular file of at most {MAX_FILE:,} bytes")

    def read_at(offset: int, count: int, _owner: _Handle = owner) -> bytes:
        try:
            return os.pread(handle, count, offset)
        except OSError as error:
            raise UnlockInvalid(f"issued keys {path}: {error.strerror}") from error

    return read_at, state.st_size, close


class _Handle:
    """Whoever holds this holds a file open."""


def _now() -> datetime:
    return datetime.now(UTC)


def absolute(given: File) -> File:
    """A file as another process of this host finds it."""
    return given if isinstance(given, bytes) else os.path.abspath(given)


def contents_of(given: File, limit: int, what: str) -> bytes:
    """What is in it; BadInput as read_limited."""
    return given if isinstance(given, bytes) else read_limited(os.fspath(given), limit, what)


def identities_in(given: File, data: bytes) -> list[age.Identity]:
    """The keys in `data`, which is of a file that was `given`; KeyInvalid."""
    try:
        return age_keys.parse_identities(data)
    except KeyInvalid as error:
        where = "" if isinstance(given, bytes) else f" {os.fspath(given)}"
        raise KeyInvalid(f"identity file{where}: {error}", hint=error.hint) from error
