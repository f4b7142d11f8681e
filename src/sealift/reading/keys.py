"""Where the file key of a pack or an index file comes from: an identity that opens headers, or keys that were issued.

    IdentityKeys     whoever holds a recipient's identity opens every header with it
    IssuedKeys       a compute host has what `sealift unlock` issued for its job: the keys themselves, and no identity
                     of the shipment's

What holds of both: a key that is given has been checked against the MAC of the header that the manifest binds, so a
header that was changed is found. Of IssuedKeys: it opens only for an identity that the issuer named, only what an
allowed signer issued, and only for the seal that it was issued for; keys are read from the issued file, which stays
sealed for the job, when they are wanted; they are in this process's memory and nowhere else, in no pickle and no repr,
and none is given once they have expired. Everything that does not hold raises UnlockInvalid, IdentityMismatch or
SignatureInvalid, each with its own words.

Memory is not locked and not wiped: swap and core dumps are the host's. Safe for threads, and across a fork.
"""

from __future__ import annotations

import os
import stat
import threading
import weakref
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeAlias

from sealift.errors import AgeError, BadInput, FormatError, IdentityMismatch, UnlockInvalid
from sealift.formats import age, unlock
from sealift.trade import unlock as rules

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.formats.manifest import FileRef
    from sealift.formats.paged import PagedFile
    from sealift.formats.seal import Seal
    from sealift.trade.unlock import Issued

File: TypeAlias = str | bytes | os.PathLike[str]
"""A file: its path, or as bytes what is in it."""

ReadAt: TypeAlias = "Callable[[int, int], bytes]"
MAX_FILE = 2 << 30  # bytes of a file of issued keys; MAX_ROWS keys take 1 GiB


class Keys(Protocol):
    """What opens the files of a group."""

    def of_pack(self, header: age.Header, group: int, stripe: int, role: int) -> bytes:
        """The file key of a data pack, under which its header's MAC holds."""

    def of_index(self, header: age.Header, group: int, name: str) -> bytes:
        """The same of an index file."""


class IdentityKeys:
    """The keys that identities open. IdentityMismatch where none does, AgeError for a header that does not hold."""

    def __init__(self, identities: Sequence[age.Identity]) -> None:
        self.identities = identities

    def begin(self) -> None:
        """Nothing belongs to one process."""

    def of_pack(self, header: age.Header, group: int, stripe: int, role: int) -> bytes:  # noqa: ARG002 -- the header says
        """As Keys."""
        return age.unwrap(header, self.identities)

    def of_index(self, header: age.Header, group: int, name: str) -> bytes:  # noqa: ARG002 -- the header says
        """As Keys."""
        return age.unwrap(header, self.identities)


class IssuedKeys:
    """The keys in a file that `sealift unlock` wrote, opened with the job's identity; `issued` is what it says."""

    def __init__(self, file: File, identities: Sequence[age.Identity], allowed: AllowedSigners) -> None:
        """UnlockInvalid: changed, or no such file; for another job; untimely. IdentityMismatch, SignatureInvalid."""
        self._what = "the issued keys" if isinstance(file, bytes) else f"the issued keys in {os.fspath(file)}"
        read_at, length, close = _source(file)
        try:
            reader, mine, self._key = self._opened(read_at, length, identities)
            try:
                found = unlock.layout(_random(reader), reader.size)
                self.issued: Issued = rules.check(found.data, found.signature, allowed)
            except FormatError as error:
                raise UnlockInvalid(f"{self._what} are damaged, or were changed: {error}") from error
            if str(mine.recipient) not in self.issued.record.recipients:
                raise UnlockInvalid(f"{self._what} were issued to other recipients, and sealed for this one by others")
            self.issued.refuse_untimely(datetime.now(UTC), self._what)
        except BaseException:
            close()
            raise
        self._layout, self._read_at, self._length = found, read_at, length
        self._starts: dict[int, int] = {}
        at = 0
        for group in found.record.groups:
            self._starts[group.group] = at
            at += group.rows
        self._groups = {each.group: each for each in found.record.groups}
        self.begin()

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
        self._lock = threading.Lock()
        reader = age.Reader(self._read_at, self._length, file_key=self._key)
        self._pages: PagedFile = unlock.key_pages(self._layout, _random(reader))

    def __repr__(self) -> str:
        record = self.issued.record
        return f"IssuedKeys(shipment {record.shipment}, job {record.job!r}, until {record.valid_until})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("issued keys are not pickled; open them again where they are wanted")

    def check_seal(self, ref: FileRef, seal: Seal) -> None:
        """UnlockInvalid unless the keys were issued for exactly this seal."""
        record = self.issued.record
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

    def of_pack(self, header: age.Header, group: int, stripe: int, role: int) -> bytes:
        """As Keys; UnlockInvalid where there is none for this pack, or none that opens it."""
        known = self._groups.get(group)
        return self._take(header, group, len(unlock.INDEXES) + stripe * known.data + role if known else 0)

    def of_index(self, header: age.Header, group: int, name: str) -> bytes:
        """As Keys; UnlockInvalid where there is none for this file, or none that opens it."""
        return self._take(header, group, unlock.INDEXES.index(name))

    def _take(self, header: age.Header, group: int, row: int) -> bytes:
        self.issued.refuse_untimely(datetime.now(UTC), self._what)
        known = self._groups.get(group)
        if known is None:
            raise UnlockInvalid(f"{self._what} have none for group {group}: its drives were away when they were issued")
        what, at = f"{known.name(row)} of group {group}", self._starts[group] + row
        try:
            with self._lock:
                key = self._pages.get(at, at + 1)
        except FormatError as error:
            raise UnlockInvalid(f"{self._what} are damaged, or were changed: {error}") from error
        if key == unlock.NO_KEY:
            raise UnlockInvalid(f"{self._what} have none for {what}: it could not be read when they were issued")
        try:
            age.check_mac(header, key)
        except AgeError as error:
            raise UnlockInvalid(f"{self._what}: the key for {what} does not open it") from error
        return key


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
