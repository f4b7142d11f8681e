"""`sealift://`: a shipment as a read-only fsspec filesystem, for every library that takes one.

    fs = fsspec.filesystem("sealift", locations=["/mnt/d1", "/mnt/d2"], identity="key.txt",
                           allowed_signers="signers", seal="0123456789abcdef.seal")
    fs.ls("train"); fs.open("train/0001.txt"); fsspec.open("sealift://train/0001.txt", **the_same_options)

What holds:
- Paths are those of `sealift ls`; `sealift://a/b`, `sealift:///a/b` and `a/b` are one.
- Whatever writes raises OSError(EROFS). What is not there is FileNotFoundError, what cannot be recovered OSError(EIO).
- A symbolic link has type "link" and `destination`; opening follows it as long as it stays in the shipment. A hard link
  is a file. Every file has its `blake3`, also as ETag, checksum and ukey: it never changes.
- Instances of one process with the same options share one `Shipment`, whatever the thread. A pickled one opens the
  shipment again where it arrives; give `identity` as a path, and the path is all that the pickle holds.
- Lists of files and of ranges (`cat`, `cat_ranges`) are read in the order in which they lie on the drives.

What is not here: where bytes come from (`Shipment`); a kernel's view (fuse.py).
"""

from __future__ import annotations

import atexit
import errno
import hashlib
import io
import os
import stat
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import WeakSet, WeakValueDictionary

from fsspec.spec import AbstractFileSystem

from sealift.errors import BadInput, SealiftError
from sealift.integrations.posix import file_behind, os_errors, resolve
from sealift.reading.shipment import MemberFile, Shipment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sealift.reading.shipment import File, Member

LET_GO = 0.5  # seconds that the end of a process waits for files which others still hold
BUFFER = 32 << 10  # bytes that a file reads ahead of small reads; larger reads pass it by
_KINDS = {"file": stat.S_IFREG, "hardlink": stat.S_IFREG, "symlink": stat.S_IFLNK, "dir": stat.S_IFDIR}
_TYPES = {"file": "file", "hardlink": "file", "symlink": "link", "dir": "directory"}
_opened: WeakValueDictionary[str, Shipment] = WeakValueDictionary()  # by a digest of the options
_files: WeakSet[SealiftFile] = WeakSet()  # that somebody holds


class SealiftFileSystem(AbstractFileSystem):  # type: ignore[misc]  # it has no types
    """A shipment, read-only; `shipment` is the Shipment beneath, for its `health()`.

    `locations` are the drives' mounts, addresses, or locations files; `identity`, `allowed_signers`, `seal` and `keys`
    as Shipment.open takes them (and SEALIFT_ALLOWED_SIGNERS serves, where no signers are given); or `shipment`, one
    that is open. `block_size` is what files buffer, in bytes. Options that fsspec or its callers add are passed over.
    Raises what Shipment.open raises.
    """

    protocol = "sealift"
    root_marker = ""

    def __init__(
        self,
        locations: str | Sequence[str] | None = None,
        identity: File | Sequence[File] | None = None,
        allowed_signers: File | None = None,
        seal: str | dict[str, bytes] | None = None,
        shipment: Shipment | None = None,
        block_size: int | None = None,
        keys: File | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.block_size = block_size
        self.shipment = shipment or _open(locations, identity, allowed_signers, seal, keys)

    @property
    def fsid(self) -> str:
        """Which shipment this is."""
        return f"sealift-{self.shipment.seal.seal.shipment}"

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        stripped = super()._strip_protocol(path)
        return stripped if isinstance(stripped, list) else stripped.lstrip("/")

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """How to make it again, for JSON; TypeError where a key itself, not its file, would be in it."""
        given = self.storage_args[1] if len(self.storage_args) > 1 else self.storage_options.get("identity")
        if any(isinstance(each, bytes) for each in (given if isinstance(given, list | tuple) else [given])):
            raise TypeError("an identity that was given as bytes is not put into JSON (hint: give its file's path)")
        made: dict[str, Any] = super().to_dict(include_password=include_password)
        return made

    # -- what is in it

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """What `ls` tells of one path; of a link itself, not of what it points at. FileNotFoundError."""
        path = self._strip_protocol(path)
        return self._info(resolve(self.shipment, path, follow=False), path)

    def _info(self, member: Member, name: str) -> dict[str, Any]:
        file = file_behind(self.shipment, member)
        target = member.link if member.kind == "symlink" else ""
        info = {
            "name": name,
            "size": len(os.fsencode(target)) if target else file.size,
            "type": _TYPES[member.kind],
            "mode": _KINDS[member.kind] | member.mode,
            "mtime": member.mtime_ns / 1e9,
            "islink": bool(target),
        }
        if target:
            info["destination"] = target
        elif member.kind != "dir":
            info["blake3"] = info["ETag"] = file.blake3
        return info

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """What is in a folder, sorted; of a file, the file. FileNotFoundError, NotADirectoryError."""
        path = self._strip_protocol(path)
        member = resolve(self.shipment, path, follow=True)
        if member.kind != "dir":
            return [self.info(path)] if detail else [path]
        with os_errors(path):
            inside = self.shipment.listdir(member.path)
        names = [_beneath(each.path, member.path, path) for each in inside]
        return [self._info(*pair) for pair in zip(inside, names, strict=True)] if detail else names

    def find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **options: Any
    ) -> list[str] | dict[str, Any]:
        """Every file beneath a path, sorted: one pass over the index where the depth has no limit."""
        if maxdepth is not None:
            limited: list[str] | dict[str, Any] = super().find(path, maxdepth, withdirs, detail, **options)
            return limited
        path = self._strip_protocol(path)
        found: dict[str, Any] = {}
        try:
            for name, member in self._beneath(path, withdirs=withdirs):
                found[name] = self._info(member, name) if detail else None
        except (FileNotFoundError, NotADirectoryError):
            pass  # as in fsspec: nothing is beneath what is not there
        return {name: found[name] for name in sorted(found)} if detail else sorted(found)

    def _beneath(self, path: str, *, withdirs: bool) -> Iterator[tuple[str, Member]]:
        root = resolve(self.shipment, path, follow=True)
        if root.kind != "dir":
            yield path, root
            return
        folders = {root.path, ""}
        if withdirs and path:
            yield path, root
        with os_errors(path):
            for member in self.shipment.members(root.path):
                if member.path == root.path:
                    continue
                above = os.path.dirname(member.path)
                while withdirs and above not in folders:  # known by what is in it only, or its row comes later
                    folders.add(above)
                    yield _beneath(above, root.path, path), resolve(self.shipment, above, follow=False)
                    above = os.path.dirname(above)
                if member.path not in folders and (withdirs or member.kind != "dir"):
                    folders |= {member.path} if member.kind == "dir" else set()
                    yield _beneath(member.path, root.path, path), member

    def exists(self, path: str, **_: Any) -> bool:
        """Whether there is something at a path; OSError(EIO) where the index does not tell."""
        try:
            self.info(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def modified(self, path: str) -> datetime:
        """The time of its last change at the source, UTC."""
        member = resolve(self.shipment, self._strip_protocol(path), follow=False)
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=member.mtime_ns // 1000)

    created = modified  # the one time that a shipment carries

    def ukey(self, path: str) -> str:
        """The BLAKE3 of a file's bytes, in hex; of what is no file, a digest of what is known of it."""
        info = self.info(path)
        key: str = info.get("blake3") or hashlib.sha256(repr(info).encode()).hexdigest()
        return key

    def checksum(self, path: str) -> int:
        """The same as a number."""
        return int(self.ukey(path), 16)

    # -- its bytes

    def _file(self, path: str) -> Member:
        member = resolve(self.shipment, self._strip_protocol(path), follow=True)
        if member.kind == "dir":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return file_behind(self.shipment, member)

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **_: Any) -> SealiftFile:
        if mode != "rb":
            _refuse(self, path)
        return SealiftFile(self, path, self._file(path), block_size or self.block_size or BUFFER)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Bytes start..end-1 of a file, counted from its end where negative; OSError."""
        member = self._file(path)
        with os_errors(path):
            return self.shipment.read(member, *_bounds(member.size, start, end))

    def cat_ranges(self, paths: list[str], starts: Any, ends: Any, on_error: str = "return", **_: Any) -> list[Any]:
        """The bytes of many ranges, each part of a pack read once; `on_error` "return": an exception in its place.

        fsspec's `max_gap` is passed over: what is near on a drive is read together anyway.
        """
        if not isinstance(paths, list):
            raise TypeError("paths must be a list")
        starts = starts if isinstance(starts, list) else [starts] * len(paths)
        ends = ends if isinstance(ends, list) else [ends] * len(paths)
        answers: list[Any] = []
        for path, start, end in zip(paths, starts, ends, strict=True):
            try:
                member = self._file(path)
                answers.append((member, *_bounds(member.size, start, end)))
            except OSError as error:
                if on_error != "return":
                    raise
                answers.append(error)
        good = [place for place, each in enumerate(answers) if isinstance(each, tuple)]
        try:
            found: list[Any] = list(self.shipment.read_many([answers[place] for place in good]))
        except SealiftError:  # which of them it was, one by one
            found = [self._or_error(paths[place], answers[place], on_error) for place in good]
        for place, data in zip(good, found, strict=True):
            answers[place] = data
        return answers

    def _or_error(self, path: str, request: tuple[Member, int, int], on_error: str) -> bytes | OSError:
        try:
            with os_errors(path):
                return self.shipment.read(*request)
        except OSError as error:
            if on_error != "return":
                raise
            return error

    def cat(self, path: Any, recursive: bool = False, on_error: str = "raise", **options: Any) -> Any:
        """The bytes of a file; of a list, a pattern or a folder (`recursive`) {path: bytes}, read as they lie."""
        paths = self.expand_path(path, recursive=recursive, **options)
        if len(paths) == 1 and not isinstance(path, list) and paths[0] == self._strip_protocol(path):
            return self.cat_file(paths[0])
        if recursive:
            paths = [each for each in paths if not self.isdir(each)]
        answers = self.cat_ranges(paths, None, None, on_error="raise" if on_error == "raise" else "return")
        pairs = zip(paths, answers, strict=True)
        return {each: data for each, data in pairs if on_error != "omit" or not isinstance(data, Exception)}


def _refuse(_: SealiftFileSystem, path: Any = "", *_args: Any, **_kwargs: Any) -> NoReturn:
    text = "a shipment is read-only (hint: write to another filesystem; what goes back is packed by `sealift pack`)"
    raise OSError(errno.EROFS, text, str(path))


for _name in (
    "copy", "cp_file", "mkdir", "makedirs", "mv", "pipe_file", "put", "put_file", "rm", "rm_file", "rmdir", "touch",
):  # fmt: skip
    setattr(SealiftFileSystem, _name, _refuse)


class _Raw(MemberFile):
    """A member's bytes, its errors those of the operating system."""

    mode = "rb"

    def __init__(self, shipment: Shipment, member: Member, path: str) -> None:
        with os_errors(path):
            super().__init__(shipment, member)
        self.name = path

    def readinto(self, buffer: Any, /) -> int:
        with os_errors(self.name):
            return super().readinto(buffer)


class SealiftFile(io.BufferedReader):
    """An open file: read-only, seekable, `size` bytes; may be pickled, and is then opened again at its place."""

    def __init__(self, fs: SealiftFileSystem, path: str, member: Member, buffer: int) -> None:
        super().__init__(_Raw(fs.shipment, member, path), buffer)
        self.fs, self.path, self.size, self.blocksize = fs, path, member.size, buffer
        _files.add(self)

    def read(self, size: int | None = -1, /) -> bytes:
        """`size` bytes, or all that are left in one piece; fewer only at the end. OSError(EIO)."""
        if size is None or size < 0:
            size = max(0, self.size - self.tell())
        return super().read(size)

    def info(self) -> dict[str, Any]:
        """What the filesystem tells of it."""
        return self.fs.info(self.path)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.fs, self.path, self.blocksize, self.tell())


@atexit.register
def _let_go() -> None:
    """Gives threads of C++ a moment to let go of their files before the interpreter goes.

    pyarrow's threads drop what they have read after the caller has its rows. One that does so while Python ends cannot
    have the GIL any more, and its process, whose work is done, is aborted: "terminate called without an active
    exception" (apache/arrow#45214, #34314).
    """
    until = time.monotonic() + LET_GO
    while _files and time.monotonic() < until:
        time.sleep(0.005)


def _reopen(fs: SealiftFileSystem, path: str, buffer: int, place: int) -> SealiftFile:
    file: SealiftFile = fs.open(path, block_size=buffer)
    file.seek(place)
    return file


def _open(locations: Any, identity: Any, allowed_signers: Any, seal: Any, keys: Any) -> Shipment:
    """The shipment of these options, the one that is open if there is one."""
    given = {"locations": locations, "identity": identity}
    allowed_signers = allowed_signers or os.environ.get("SEALIFT_ALLOWED_SIGNERS")
    for name, value in {**given, "allowed_signers": allowed_signers}.items():
        if not value:
            raise BadInput(f"sealift:// has no {name}: no such storage option is given, or it is empty")
    for each in [identity] if isinstance(identity, str) else identity:
        if isinstance(each, str) and "SECRET-KEY-" in each:  # and not in a message, as the path of no file
            raise BadInput("identity is a key, as text", hint="give the path of its file, or the key as bytes")
    places = [os.fspath(locations)] if isinstance(locations, str | os.PathLike) else [os.fspath(p) for p in locations]
    key = hashlib.sha256(repr((places, identity, allowed_signers, seal, keys)).encode()).hexdigest()
    shipment = _opened.get(key)
    if shipment is None:
        try:
            shipment = Shipment.open(places, identity=identity, allowed_signers=allowed_signers, seal=seal, keys=keys)
        except SealiftError as error:
            if error.hint:
                error.add_note(f"hint: {error.hint}")
            raise
        _opened[key] = shipment
    return shipment


def _beneath(path: str, folder: str, name: str) -> str:
    """`path`, which lies beneath `folder`, as seen through a link to it of this name."""
    return path if folder == name else (name + "/" + path[len(folder) :].lstrip("/")).lstrip("/")


def _bounds(size: int, start: int | None, end: int | None) -> tuple[int, int]:
    """Where a Python slice of `size` bytes begins and ends."""
    low, high, _ = slice(start, end).indices(size)
    return low, max(low, high)
