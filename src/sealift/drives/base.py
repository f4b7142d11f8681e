"""What a drive can do: the protocol that drives in folders, in object stores and in memory keep.

Every name is a path beneath `sealift/`, with `/` between components: "packs/0000/0000000.parity". Reading
never changes anything. What goes wrong comes in two kinds. FormatError: what lies under the name is no
regular file (or, above it, no folder), or longer than its limit; the drive is hostile or damaged, but it answers.
DriveFault: the operating system failed to read or write; the OSError is the fault's `__cause__` (`errno_of` gets at
it), and `drive` is the drive's `mount`. What their messages say is an implementation's own, and nothing decides by it:
they are for a person, begin with `MOUNT: ` as those of `fault` and `obstacle` do, and name the file that they are of.
Whatever takes a name raises ValueError for one that could leave sealift/ or is that of a `.part` (`split`).

A `.part` file is a file that is being written, and is never read. What is no regular file (a link, a folder, a named
pipe) sealift did not make, and so nothing here replaces or removes it: writing a file in its place fails
(`is_in_the_way`). No other policy is here: which files there must be is for the callers to say.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import stat
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, Self

from sealift.errors import DriveFault, FormatError
from sealift.formats.manifest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ALIGN = 4096  # of offsets, lengths and addresses of direct reads and writes: covers 512-byte and 4Kn media
HUGE = 2 << 20  # bytes of a huge page
PART = ".part"
MAX_DEPTH = 8  # components of the longest name that `walk` gives; ours have three

Source = Literal["medium", "cache"]
Kind = Literal["file", "folder", "link", "other"]
KIND_WORDS: dict[Kind, str] = {
    "file": "a file",
    "folder": "a folder",
    "link": "a symbolic link",
    "other": "a named pipe, a socket or a device",
}


class Entry(NamedTuple):
    """One thing beneath sealift/; `name` is its whole path beneath it, `size` is 0 unless it is a file."""

    name: bytes
    kind: Kind
    size: int


class ReadFile(Protocol):
    """An open file; safe to use from several threads at once."""

    @property
    def length(self) -> int:
        """When it was opened, in bytes."""

    @property
    def stamp(self) -> tuple[int, ...]:
        """Equal each time the same file is opened; another once it was replaced or written, by as many bytes too.

        Of a folder's files: device, inode, size, mtime, ctime.
        """

    @property
    def lasting(self) -> bool:
        """Whether, days later, an equal stamp under this name is of the same bytes.

        False where it may be told again of other ones: of a copy that was put in its place with times kept, say.
        """

    @property
    def read_from(self) -> Source:
        """`medium`: every byte so far came from beyond any cache of this host.

        `cache`: it may have come from one.
        """

    def read_at(self, offset: int, length: int) -> bytes:
        """`length` bytes at `offset`, in one call; fewer only at the end of the file, none past it. DriveFault.

        Of a file that was replaced since it was opened: its own bytes still, or DriveFault; never those of another.
        """

    def readinto_at(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; bytes read, fewer than its length only at the end of the file.

        DriveFault.
        """

    def will_need(self, offset: int, length: int) -> None:
        """These bytes will be read soon: begin to fetch them, if there is a cache to put them in; never raises."""

    def close(self) -> None:
        """Close; again does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class PartFile(Protocol):
    """A file that is being written as NAME.part; not there under its name before `publish`."""

    def write_at(self, offset: int, buffers: Sequence[memoryview]) -> None:
        """Write the buffers, as many as there are, one after the other from `offset`. DriveFault.

        In any order, over what was written too; gaps read as zeros. No bytes write nothing: the file gets no longer.
        An object store takes what is over 8 MiB from front to back: ValueError for what was sent already.
        """

    def open_back(self) -> ReadFile | None:
        """fsync, and open what was written for reading, past the caches. DriveFault.

        Writing may go on afterwards. None where nothing can be read before `publish`.
        """

    def publish(self) -> None:
        """fsync, rename over NAME, close. Durable after `Drive.sync_folder(NAME)`.

        DriveFault, also where NAME is there by now and no regular file (`is_in_the_way`): that stays as it is.
        """

    def abandon(self) -> None:
        """Close and remove NAME.part, and nothing else; again does nothing; never raises."""


class Drive(Protocol):
    """Everything beneath one sealift/ folder: of a mounted filesystem on one medium, or of an object store.

    `create`, `write_small` and `remove` need the lock: without it they write nothing and raise AssertionError, for that
    is a fault of ours and none of the drive's.
    """

    mount: str

    def exists(self) -> bool:
        """Whether there is a sealift/ folder. FormatError when the name is something else; DriveFault."""

    def read_small(self, name: str, limit: int) -> bytes | None:
        """The whole file; None when there is none.

        FormatError: no regular file, or one of more than `limit` bytes, which is not read; DriveFault.
        """

    def size(self, name: str) -> int | None:
        """Length in bytes; None when there is none. FormatError: no regular file; DriveFault."""

    def open_read(self, name: str, *, direct: bool = False) -> ReadFile:
        """Open for reading; `direct` reads beyond the caches, where there are any.

        FormatError: no regular file; DriveFault, also when there is none (`is_missing`).
        """

    def walk(self, limit: int) -> Iterator[Entry]:
        """Everything beneath sealift/, folders before what is in them, by the names as they were written.

        FormatError where there are more than `limit` entries (so many are still given), or a name has more than
        MAX_DEPTH components; DriveFault.
        """

    def filesystem(self) -> tuple[object, ...]:
        """Identity of the filesystem: equal for two mounts of one filesystem, in another process and later too."""

    def serial(self) -> str | None:
        """Serial number of the physical medium; None where there is none."""

    def free_bytes(self) -> int:
        """Bytes that we may still write; a huge number where nobody tells. DriveFault."""

    def total_bytes(self) -> int:
        """Bytes of the whole filesystem, no fewer than are free. DriveFault."""

    def lock(self) -> int:
        """Lock for writing, making sealift/ if needed; again gives the same descriptor.

        The descriptor that holds the lock, open and inheritable: what builds packs in other processes has it, so that
        orphans keep others out. Busy while another Drive on the same medium has it, of this process or another;
        DriveFault.
        """

    def unlock(self) -> None:
        """Give the lock up, for others to take; again, or before `lock`, does nothing."""

    def create(self, name: str, *, direct: bool = False) -> PartFile:
        """Begin NAME as NAME.part, in place of any leftover; makes its folders.

        `direct` writes beyond the caches what is aligned to ALIGN: offset, length and address, of memory that may be
        written. Needs the lock. DriveFault, also where NAME or NAME.part is there and no regular file, or what is
        above it no folder (`is_in_the_way`): that stays as it is.
        """

    def sync_folder(self, name: str) -> None:
        """Make renames and removals in the folder that holds `name` durable. DriveFault."""

    def write_small(self, name: str, data: bytes) -> None:
        """Write beside, fsync, rename over NAME, fsync its folder; no bytes are a file, too. Needs the lock.

        DriveFault as of `create` and `publish`.
        """

    def remove(self, name: str) -> None:
        """Remove the file; nothing happens when there is none. Durable after `sync_folder`. Needs the lock.

        DriveFault, also where it is no regular file (`is_in_the_way`): that stays as it is.
        """


def split(name: str) -> list[str]:
    """The components of a name beneath sealift/.

    ValueError for one that could leave it: that is a fault of ours.
    """
    components = name.split("/")
    if any(part in {"", ".", ".."} or "\0" in part for part in components) or name.endswith(PART):
        raise ValueError(f"{name!r} is no name of a file beneath sealift/")
    return components


def aligned_buffer(size: int) -> memoryview:
    """A zeroed buffer of `size` bytes, rounded up to ALIGN and aligned to it, as direct reads and writes want it.

    A large one lies in huge pages where the system has them: a device is then told of few large pieces of memory and
    not of one for every 4 KiB, which some take three times as long to serve (docs/adr/0014). A forked child has a copy:
    Python's own default shares such memory.
    """
    size, flags = max(ALIGN, -(-size // ALIGN) * ALIGN), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    if size <= HUGE // 2:
        return memoryview(mmap.mmap(-1, size, flags=flags))
    memory = mmap.mmap(-1, -(-size // HUGE) * HUGE + HUGE, flags=flags)
    with contextlib.suppress(OSError):  # a kernel without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    start = -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % HUGE
    return memoryview(memory)[start : start + size]


MEDIUM_FAILED = "the medium or its connection failed (input/output error)"  # what is said of EIO
_SENTENCES = {
    errno.ENOENT: ("there is no such file", "`sealift inspect` says what is missing"),
    errno.EIO: (
        MEDIUM_FAILED,
        "look at `dmesg`; check cable and bay, then run the same command again",
    ),
    errno.ENOSPC: ("the drive is full", "free some space on it and run the same command again"),
    errno.EDQUOT: (
        "the quota on the drive is used up",
        "raise the quota and run the same command again",
    ),
    errno.EROFS: (
        "the drive is mounted read-only",
        "mount it writable; if it was, its filesystem met an error: see `dmesg`",
    ),
    errno.EACCES: ("permission was denied", "run as a user who may use the drive's sealift/ folder"),
    errno.EPERM: ("permission was denied", "run as a user who may use the drive's sealift/ folder"),
    errno.EMFILE: ("this process has too many open files", "raise the limit: ulimit -n 4096"),
    errno.ENFILE: ("this system has too many open files", "raise fs.file-max"),
    errno.EFBIG: ("the filesystem cannot hold a file of this size", "choose a smaller --pack-size"),
}
_GONE = (
    "the drive went away",
    "plug it in again, mount it at the same place and run the same command again",
)
for _code in (errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN, errno.ESHUTDOWN, errno.ENOMEDIUM):
    _SENTENCES[_code] = _GONE

_IN_THE_WAY = {errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENOTEMPTY, errno.EEXIST}

_KINDS = (
    (stat.S_ISREG, "a regular file"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
)

SAFE_READING = "nothing was changed"
SAFE_WRITING = "what was committed before is safe"


def fault(mount: str, doing: str, error: OSError, *, safe: str) -> DriveFault:
    """The DriveFault for `error` while `doing`; raise it `from error`, so that errno_of finds it."""
    known = _SENTENCES.get(error.errno or 0)
    what = known[0] if known else (os.strerror(error.errno).lower() if error.errno else str(error))
    hint = known[1] if known else "look at `dmesg` for what the drive reported"
    return DriveFault(f"{mount}: {doing}: {what}; {safe}", drive=mount, hint=hint)


def reason(error: BaseException | str, mount: str) -> str:
    """What happened, without the mount that is told beside it, and what is safe all the same."""
    text = str(error).removeprefix(f"{mount}: ")
    return text.removesuffix(f"; {SAFE_WRITING}").removesuffix(f"; {SAFE_READING}")


def what_is(mode: int) -> str:
    """What st_mode says is there, in words."""
    for is_it, words in _KINDS:
        if is_it(mode):
            return words
    return "a device"


def obstacle(mount: str, path: str, what: str) -> DriveFault:
    """The DriveFault of what stands at `path` beneath sealift/, where a file or its folder is to be; `what` it is."""
    found = DriveFault(
        f"{mount}: {ROOT}/{path} is {what}, which sealift did not make and does not remove; {SAFE_WRITING}",
        drive=mount,
        hint="look at what it is and move it away yourself, then run the same command again",
    )
    found.__cause__ = FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    return found


def errno_of(error: BaseException) -> int | None:
    """The errno behind a DriveFault, or None."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return cause.errno if isinstance(cause, OSError) else None


def is_missing(error: BaseException) -> bool:
    """Whether a DriveFault of `open_read` says that there is no such file."""
    return errno_of(error) == errno.ENOENT


def is_crowded(error: BaseException) -> bool:
    """Whether a file could not be opened since this process, or its host, has too many open: no fault of a drive's."""
    return errno_of(error) in {errno.EMFILE, errno.ENFILE}


def is_in_the_way(error: BaseException) -> bool:
    """Whether writing or removing a file failed for what stands there, and not for the drive (`obstacle`).

    Something in place of the file that is no regular file, or above it something that is no folder. It is told by the
    errno: EEXIST, EISDIR, ENOTDIR, ELOOP or ENOTEMPTY.
    """
    return isinstance(error, FormatError) or errno_of(error) in _IN_THE_WAY
