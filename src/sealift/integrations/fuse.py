"""A shipment as a folder: a read-only FUSE filesystem over `Shipment`, for every program that opens files.

What holds:
- Modes, times, symbolic and hard links (one inode, with its count of names) and names that are not UTF-8 are as at the
  source. Owners are not carried: everything belongs to whoever mounts. Files have an extended attribute, their BLAKE3.
- Nothing ever changes, so the kernel keeps what it was told and what was read, as long as it has room.
- A read that cannot be had is EIO, and one line in the log for each path. The kernel itself refuses to write: EROFS.
- Requests are served by several threads; each open file reads ahead for itself.

What is not here: the command (cli/mount.py); where bytes come from (`Shipment`). Importing this needs mfusepy and
libfuse3: BadInput where they are missing.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import hashlib
import itertools
import logging
import os
import signal
import stat
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from sealift.errors import BadInput, SealiftError
from sealift.integrations.posix import file_behind, lookup, os_errors
from sealift.reading.shipment import HARDLINK, MemberFile

os.environ.setdefault("FUSE_LIBRARY_NAME", "fuse3")  # libfuse 2, where there are both, lacks what is used here
try:
    import mfusepy
except (ImportError, OSError) as _error:
    raise BadInput(
        f"mounting needs FUSE, which is not installed: {_error}",
        hint="apt install fuse3, and pip install 'sealift[mount]'",
    ) from _error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sealift.reading.shipment import Member, Shipment

BLAKE3 = "user.sealift.blake3"
FOREVER = 10 * 365 * 86400  # seconds for which the kernel may keep what it was told
MAX_COUNTED = 5_000_000  # members up to which names of inodes are counted; beyond, every file has one name
READ_AHEAD = 4 << 20  # bytes that the kernel reads ahead, where it lets us ask for it
_KINDS = {"file": stat.S_IFREG, "hardlink": stat.S_IFREG, "symlink": stat.S_IFLNK, "dir": stat.S_IFDIR}
_BLOCK = 1 << 20
_KNOWN = 1024  # paths whose members are kept
_MAX_TOLD = 1000  # paths whose faults are logged

log = logging.getLogger("sealift")


def mount(shipment: Shipment, at: str, *, allow_other: bool = False, ready: Callable[[], None] = lambda: None) -> None:
    """Show `shipment` at the empty folder `at` until it is unmounted or SIGINT or SIGTERM comes; then return.

    `ready` is called once it can be used. BadInput when it cannot be mounted; what FUSE says of it is on stderr.
    IdentityMismatch, Lost, FormatError: the index does not open.
    """
    next(shipment.members(), None)  # refused now, and not at every call
    view = Operations(shipment, at, ready)
    options: dict[str, Any] = {
        "foreground": True,
        "ro": True,
        "fsname": "sealift",
        "subtype": "sealift",
        "use_ino": True,
        "kernel_cache": True,
        "attr_timeout": FOREVER,
        "entry_timeout": FOREVER,
        "negative_timeout": FOREVER,
        "max_idle_threads": 10,  # libfuse 3.14 complains of its own default
    }
    if allow_other:
        options |= {"allow_other": True, "default_permissions": True}
    main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGTERM, signal.SIG_DFL) if main else None  # libfuse's, where nobody else has it
    try:
        mfusepy.FUSE(view, os.path.abspath(at), encoding=sys.getfilesystemencoding(), **options)
    except RuntimeError as error:  # libfuse's exit code; once it was ready, how it ended is of no interest
        if not view.started:
            raise BadInput(
                f"could not mount at {at}: fusermount3 or the kernel refused (code {error})",
                hint="is /dev/fuse here, and fuse3 installed? Without root, --allow-other wants user_allow_other in"
                " /etc/fuse.conf; `fusermount3 -u` takes away what an earlier mount left",
            ) from error
    finally:
        if main:
            signal.signal(signal.SIGTERM, handler)


class _Handle:
    """An open file, read by one thread at a time, and in order where it is read on in order.

    The kernel asks for several pieces ahead at once, and threads come with them in any order; a frame that two pieces
    share would be decompressed twice, and nothing be read ahead. So who comes too early also reads what lies between,
    and holds it for the others.
    """

    def __init__(self, file: MemberFile) -> None:
        self.file = file
        self._lock = threading.Lock()
        self._next = self._run = 0  # where reading goes on, and after how many pieces in order
        self._held: list[tuple[int, memoryview]] = []  # pieces that were read too early, and where they begin

    def readinto(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`, all of which is in the file."""
        end = offset + len(buffer)
        with self._lock:
            for base, held in self._held:
                if base <= offset and end <= base + len(held):
                    buffer[:] = held[offset - base : end - base]
                    return
            on = self._run > 1
            if on and self._next < offset <= self._next + READ_AHEAD and self._read_on(end):
                buffer[:] = self._held[0][1][-len(buffer) :]
            else:
                self._read(offset, buffer)
                if on and self._next - READ_AHEAD <= offset < self._next:  # late, and alone
                    return
                self._run = self._run + 1 if offset == self._next else 0
                self._held = [each for each in self._held if each[0] + 2 * READ_AHEAD > offset]
            self._next = end

    def _read_on(self, end: int) -> bool:
        """Read up to `end` from where reading goes on, and hold it; False if some of that cannot be had."""
        try:
            held = self._read(self._next, memoryview(bytearray(end - self._next)))
        except SealiftError:
            return False
        self._held = [(self._next, held), *self._held[:1]]
        return True

    def _read(self, offset: int, buffer: memoryview) -> memoryview:
        self.file.seek(offset)
        self.file.readinto(buffer)
        return buffer


class Operations(mfusepy.Operations):  # type: ignore[misc]  # it has no types
    """FUSE's calls, paths as the kernel has them; OSError for what fails."""

    use_ns = True

    def __init__(self, shipment: Shipment, at: str, ready: Callable[[], None]) -> None:
        self._shipment, self._at, self._ready = shipment, os.path.realpath(at), ready
        self.started, self._folder = False, os.getcwd()
        self._lookup = functools.lru_cache(_KNOWN)(functools.partial(lookup, shipment))  # getattr, then open
        self._names = names_of_inodes(shipment)
        self._handles: dict[int, _Handle] = {}
        self._numbers = itertools.count(1)
        self._told: set[str] = set()
        self._memory = threading.local()
        self._owner = {"st_uid": os.getuid(), "st_gid": os.getgid()}

    def init_with_config(self, conn_info: Any, config_3: Any) -> None:  # noqa: ARG002 -- FUSE's signature
        """The kernel is there."""
        self.started = True
        os.chdir(self._folder)  # libfuse has gone to /, and locations may be relative
        with contextlib.suppress(OSError):  # only root may, and not everywhere
            read_further_ahead(self._at)
            conn_info.max_readahead = READ_AHEAD
        self._ready()

    @contextlib.contextmanager
    def _logged(self, path: str) -> Iterator[None]:
        try:
            with os_errors(path):
                yield
        except OSError as error:
            fault = error.errno not in {errno.ENOENT, errno.ENOTDIR}
            if fault and path not in self._told and len(self._told) < _MAX_TOLD:
                self._told.add(path)
                log.warning("%s: %s", path.encode(errors="backslashreplace").decode(), error.strerror)
            raise

    def _member(self, path: str) -> Member:
        with self._logged(path):
            return self._lookup(path[1:])

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:  # noqa: ARG002
        """What lstat tells."""
        return self._attributes(self._member(path))

    def _attributes(self, member: Member) -> dict[str, Any]:
        size = len(os.fsencode(member.link)) if member.kind == "symlink" else member.size
        first = member.link if member.kind == "hardlink" else member.path
        return self._owner | {
            "st_mode": _KINDS[member.kind] | member.mode,
            "st_ino": _inode(first),
            "st_nlink": 2 if member.kind == "dir" else 1 + self._names[first],
            "st_size": size,
            "st_blocks": (size + 511) // 512,
            "st_blksize": _BLOCK,
            "st_mtime": member.mtime_ns,
            "st_ctime": member.mtime_ns,
            "st_atime": member.mtime_ns,
        }

    def readlink(self, path: str) -> str:
        """Where a symbolic link points."""
        return self._member(path).link

    def readdir(self, path: str, fh: int) -> Iterator[tuple[str, dict[str, int], int]]:  # noqa: ARG002
        """Names in a folder, with their inodes and types."""
        with self._logged(path):
            inside = self._shipment.listdir(path[1:])
        yield from ((name, {"st_mode": stat.S_IFDIR}, 0) for name in (".", ".."))
        for member in inside:
            first = member.link if member.kind == "hardlink" else member.path
            kind = {"st_mode": _KINDS[member.kind], "st_ino": _inode(first)}
            yield member.path.rpartition("/")[2], kind, 0

    def open(self, path: str, flags: int) -> int:  # noqa: ARG002
        """A number for an open file."""
        member = self._member(path)
        with self._logged(path):
            handle = _Handle(MemberFile(self._shipment, member))
        number = next(self._numbers)
        self._handles[number] = handle
        return number

    def read(self, path: str, size: int, offset: int, fh: int) -> Any:
        """Bytes of an open file, fewer only at its end; this thread's memory until its next call."""
        handle = self._handles[fh]
        size = max(0, min(size, handle.file.size - offset))
        memory: bytearray = self._memory.__dict__.setdefault("bytes", bytearray())
        if not size:
            return b""
        if len(memory) < size:  # kept: fresh pages cost more than reading
            memory = self._memory.bytes = bytearray(size)
        with self._logged(path):
            handle.readinto(offset, memoryview(memory)[:size])
        return (ctypes.c_char * size).from_buffer(memory)

    def release(self, path: str, fh: int) -> int:  # noqa: ARG002
        """Nobody has the file open any more."""
        del self._handles[fh]
        return 0

    def statfs(self, path: str) -> dict[str, int]:  # noqa: ARG002
        """How much there is, and that nothing is free."""
        totals = [group.manifest.totals for group in self._shipment.groups.values()]
        size = sum(each.source_bytes for each in totals)
        return {
            "f_bsize": _BLOCK,
            "f_frsize": _BLOCK,
            "f_blocks": (size + _BLOCK - 1) // _BLOCK,
            "f_files": sum(each.members for each in totals),
            "f_namemax": 255,
        }

    def listxattr(self, path: str) -> list[str]:
        """The attribute that files have."""
        return [BLAKE3] if self._member(path).kind in {"file", "hardlink"} else []

    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:  # noqa: ARG002
        """The BLAKE3 of a file, in hex."""
        member = self._member(path) if name == BLAKE3 else None
        if member is None or member.kind not in {"file", "hardlink"}:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        return file_behind(self._shipment, member).blake3.encode()


def names_of_inodes(shipment: Shipment) -> Counter[str]:
    """How many further names each file has that has several, by its first name; nothing for a very large shipment.

    One pass over the indexes. `cp -a` and `du` go by it; loaders do not.
    """
    import pyarrow.compute as pc

    found: Counter[str] = Counter()
    groups = shipment.groups.values()
    if sum(group.manifest.totals.members for group in groups) > MAX_COUNTED:
        return found
    for group in groups:
        for batch in group.batches(65536):
            links = pc.filter(batch.column("link"), pc.equal(batch.column("kind"), HARDLINK))
            found.update(os.fsdecode(link) for link in links.to_pylist())
    return found


def read_further_ahead(at: str) -> None:
    """Let the kernel read READ_AHEAD bytes ahead at a mount, not 128 KiB; OSError where it does not let us."""
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            fields = line.split(b" ")
            if fields[4].decode("unicode_escape").encode("latin-1") == os.fsencode(at):
                device = fields[2].decode()
    with open(f"/sys/class/bdi/{device}/read_ahead_kb", "w", encoding="ascii") as setting:
        setting.write(str(READ_AHEAD >> 10))


def _inode(path: str) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(path), digest_size=8).digest(), "little") or 1
