"""What the coordinator hands to builders, and how much room it may take.

A unit is one file with all names of its inode, a segment of one, a link or a directory. Files is a run of units of the
plainest kind, in columns: they are handed out, packed and noted without an object a file. `bound` is the most bytes of
plaintext (zstd frames of tar) that a unit can become; so a unit that was handed out always fits its pack.
"""

from __future__ import annotations

from typing import Any

import msgspec
from blake3 import blake3

from sealift.formats import age, zstd
from sealift.formats.index import FILE, SYMLINK
from sealift.stages.pack.spool import Spool  # noqa: TC001 -- msgspec reads the fields
from sealift.stages.pack.walk import Seen


class Unit(msgspec.Struct, tag="unit", array_like=True):
    """One piece of work. Sizes in bytes, times in ns."""

    path: bytes
    kind: int  # index.FILE, SYMLINK or DIRECTORY
    size: int  # of the whole file, as scanned
    mode: int
    mtime: int
    start: int
    length: int  # of this segment; `size` for a whole file
    links: list[bytes]  # other names of the inode
    part: bytes  # name of this segment in the tar; empty for a whole file
    sparse: bool  # fewer blocks than bytes: ask for its holes
    tag: bytes = b""  # of an object: which version of it was scanned


class Files(msgspec.Struct, tag="files", array_like=True):
    """Small whole files, one after the other, each with one name and no holes; all lists are equally long."""

    paths: list[bytes]
    sizes: list[int]  # as scanned, as what follows
    modes: list[int]
    mtimes: list[int]
    samples: int  # that begin here
    tags: list[bytes] = []  # of objects; none for files

    def unit(self, place: int) -> Unit:
        """One of them by itself."""
        size = self.sizes[place]
        mode, mtime = self.modes[place], self.mtimes[place]
        tag = self.tags[place] if self.tags else b""
        return Unit(self.paths[place], FILE, size, mode, mtime, 0, size, [], b"", sparse=False, tag=tag)


class Ask(msgspec.Struct, tag="ask", array_like=True):
    """A builder wants units for `role`; `room` bytes of plaintext are left."""

    role: int
    room: int


class Filled(msgspec.Struct, tag="filled", array_like=True):
    """`length` bytes of slab `column` of `role` are in shared memory."""

    role: int
    column: int
    length: int


class RowsReady(msgspec.Struct, tag="rows", array_like=True):
    """A batch of index rows: encoded, and the length of its columns before compression."""

    batch: bytes
    size: int
    count: int


class Ended(msgspec.Struct, tag="ended", array_like=True):
    """A pack is complete: what packs.bin, blocks.bin and the table of packs need, and what there is to tell."""

    role: int
    length: int
    header: bytes  # BLAKE3 of age header and nonce
    blake3: bytes
    blocks: bytes  # 32 bytes a block
    plain: int
    tar: int
    members: int
    samples: int
    source_bytes: int
    files: int
    segments: list[bytes]  # index rows of segments, msgpack: the coordinator adds the digest of the file
    changed: list[bytes]
    skipped: list[tuple[bytes, str]]
    unread: int  # bytes that could not be read, for whatever reason
    failing: list[bytes]  # files of which the source's medium did not give all,
    failing_bytes: int  # and how much


class Failed(msgspec.Struct, tag="failed", array_like=True):
    """The builder cannot go on; with a hint, because the source fails."""

    reason: str
    hint: str | None = None


class Begin(msgspec.Struct, tag="begin", array_like=True):
    """A new stripe; this builder makes the packs of `roles`."""

    stripe: int
    roles: list[int]


class Work(msgspec.Struct, tag="work", array_like=True):
    """Units for `role`; none: close the pack."""

    role: int
    units: list[Unit | Files]


class Credit(msgspec.Struct, tag="credit", array_like=True):
    """Columns below `columns` may be filled."""

    columns: int


class Hold(msgspec.Struct, tag="hold", array_like=True):
    """Descriptors of locks follow, in so many messages of the socket's own."""

    messages: int


class Walk(msgspec.Struct, tag="walk", array_like=True):
    """Walk these folders of the source for a while."""

    source: bytes
    folders: list[bytes]
    seconds: float
    sample_key: str | None
    seed: int | None


class Walked(msgspec.Struct, tag="walked", array_like=True):
    """All that was seen was told; these folders were not walked."""

    folders: list[bytes]


class Setup(msgspec.Struct, tag="setup", array_like=True):
    """Constants of a builder's life; buffers are inherited."""

    source: bytes
    recipients: list[str]
    pack_size: int
    data: int
    slab: int
    depth: int
    sample_key: str | None
    threads: int  # that compress beside each builder
    beside: dict[bytes, bytes] = {}  # members that lie elsewhere than in the source: where
    spool: Spool | None = None  # of what is worth being fetched once only


FromBuilder = Ask | Filled | RowsReady | Ended | Failed | Seen | Walked
ToBuilder = Begin | Work | Credit | Setup | Hold | Walk

MOST_FDS = 250  # descriptors of one message; the system takes 253

encoder = msgspec.msgpack.Encoder()
from_builder = msgspec.msgpack.Decoder(FromBuilder)
to_builder = msgspec.msgpack.Decoder(ToBuilder)

LARGE = zstd.FRAME - 16384  # leaves room for the longest headers; a member with more content has frames of its own

# a frame: its header, a checksum that is never written, its seek-table entry, the block it may add at the edges
_FRAME_COST = 40
_TARGET = 4096 + 512  # of a symbolic link
RESERVE = 8192  # end of the archive, the last frames and the seek table's own header


def bound(unit: Unit) -> int:
    """The most plaintext that `unit` becomes, in bytes."""
    names = len(unit.path) + len(unit.part)
    content = unit.length if unit.kind == FILE else _TARGET if unit.kind == SYMLINK else 0
    more = (64 + 2 * 4096 * 22 if unit.sparse else 0) + sum(3072 + 2 * (len(link) + names) for link in unit.links)
    return int(plain_bound(names, content + more)) + _FRAME_COST * len(unit.links)


def bound_of(work: Unit | Files) -> int:
    """The same of units in columns, too."""
    if isinstance(work, Unit):
        return bound(work)
    return sum(int(plain_bound(len(path), size)) for path, size in zip(work.paths, work.sizes, strict=True))


def plain_bound(names: Any, content: Any) -> Any:
    """The same of files whose names have `names` bytes; numbers or arrays of them."""
    tar = content + 2 * names + 3072
    return tar + 3 * (tar // zstd.RAW_BLOCK + 2) + _FRAME_COST * (tar // zstd.FRAME + 3)


def capacity_of(pack_size: int, recipients: int) -> int:
    """Plaintext that an empty pack surely holds, in bytes; its age header is not made yet."""
    return (pack_size - 256 * (recipients + 1)) * age.CHUNK // age.SEALED_CHUNK - 2 * RESERVE


def digest_name(path: bytes) -> bytes:
    """The stem that stands in for a path whose segments cannot carry its own name."""
    folder, _, _ = path.rpartition(b"/")
    return (folder + b"/" if folder else b"") + b".sealift-" + blake3(path).hexdigest(16).encode()
