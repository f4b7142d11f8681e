"""Writes tests/vectors/pack/: data packs, parity, records and seal files that are right, and every way to be wrong.

Run it as `python tests/vectors/make_pack.py`; it gives the same bytes each time, and the tests compare them
with what is in the folder. It builds everything from docs/spec/ and the primitives, and imports nothing of sealift,
so that a mistake there is not repeated here. Frames are raw or of one repeated byte (RFC 8878), so that no version of
a compressor shows in them. File key and nonce are fixed, as no writer may have them.

A vector is a text header, an empty line, and bytes. Keys of the header:

    kind        data pack | row | sparse map | tar | paged | seal file | parity
    expect      success | refused | lost (readable only with more drives) | digest (other bytes than were signed)
    comment     what is wrong or remarkable
    zeros       OFFSET LENGTH: put LENGTH zero bytes back at OFFSET of the bytes (may repeat, in order)

    identity    of a data pack: an X25519 identity
    record      of a data pack: signed length and digest of header and nonce, as packs.bin has them
    block       of a data pack: signed BLAKE3 of its 1 MiB blocks (may repeat)
    frames      of a data pack: PACKED/RAW of every frame, as its seek table has them
    row         columns of members.parquet in their order; bytes in hex, none as -
    limits      of a row: data packs a stripe, stripes
    paged       magic in hex, bytes a record, records, root
    get         records to read of a paged file: first, last + 1
    parity      data packs, parity packs; the bytes are all n packs one after the other
    lengths     of a parity vector: of the n packs
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from blake3 import blake3

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import make_age  # noqa: E402 -- the folder of vectors is no package

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = os.path.join(HERE, "pack")
BLOCK = 1 << 20
FRAME = 1 << 20
PAGE = 16384
MTIME = 1_700_000_000_000_000_000
STRIPE, ROLE = 3, 1
FILE, SYMLINK, HARDLINK, DIRECTORY = 0, 1, 2, 3
SPARSE = 2


@dataclass
class Vector:
    kind: str
    expect: str
    comment: str
    lines: list[tuple[str, str]] = field(default_factory=list)
    data: bytes = b""
    zeros: list[tuple[int, int]] = field(default_factory=list)

    def encode(self) -> bytes:
        lines = [("kind", self.kind), ("expect", self.expect), ("comment", self.comment), *self.lines]
        lines += [("zeros", f"{at} {size}") for at, size in self.zeros]
        return "".join(f"{key}: {value}\n" for key, value in lines).encode() + b"\n" + self.data


# -- tar


def padded(data: bytes, to: int = 512) -> bytes:
    return data + bytes(-len(data) % to)


def octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def ustar(name: bytes, kind: bytes, size: int = 0, mode: int = 0o644, seconds: int = MTIME // 10**9, **more) -> bytes:
    block = bytearray(512)
    fields = (
        (0, name),
        (100, octal(mode, 8)),
        (108, octal(0, 8)),
        (116, octal(0, 8)),
        (124, octal(size, 12)),
        (136, octal(seconds, 12)),
        (148, b" " * 8),
        (156, kind),
        (157, more.get("link", b"")),
        (257, b"ustar\x0000"),
        (329, octal(0, 8)),
        (337, octal(0, 8)),
        (345, more.get("prefix", b"")),
    )
    for at, value in fields:
        block[at : at + len(value)] = value
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(*records: tuple[bytes, bytes]) -> bytes:
    body = b""
    for key, value in records:
        rest = b" " + key + b"=" + value + b"\n"
        length = len(rest)
        while length != len(b"%d" % length + rest):
            length = len(b"%d" % length + rest)
        body += b"%d" % length + rest
    return ustar(b"././@PaxHeader", b"x", len(body), seconds=0) + padded(body)


def noise(size: int) -> bytes:
    """Bytes that stand for incompressible ones."""
    out = b"".join(hashlib.sha256(b"noise %d" % i).digest() for i in range(-(-size // 32)))
    return out[:size]


def row(
    path: bytes,
    kind: int = FILE,
    content: bytes = b"",
    *,
    offset: int = 0,
    stored: int | None = None,
    **more: int | bytes,
) -> str:
    """A row of the index; what is not given is that of a whole regular file."""
    length = len(content)
    values = {
        "size": length,
        "mode": 0o644,
        "mtime": MTIME,
        "start": 0,
        "length": length,
        "stripe": STRIPE,
        "role": ROLE,
        "offset": offset,
        "stored": length if stored is None else stored,
        "flags": 0,
        "link": b"",
        "blake3": blake3(content).digest() if kind == FILE else b"",
        "file_blake3": b"",
    } | more
    every = [path, kind, *values.values()]
    return " ".join((value.hex() or "-") if isinstance(value, bytes) else str(value) for value in every)


# -- zstd


def raw_frame(data: bytes) -> bytes:
    out = struct.pack("<IBI", 0xFD2FB528, 0xA0, len(data))
    for at in range(0, len(data), 1 << 17):
        piece = data[at : at + (1 << 17)]
        out += (len(piece) << 3 | (at + len(piece) == len(data))).to_bytes(3, "little") + piece
    return out


def same_frame(byte: bytes, size: int) -> bytes:
    """A frame of one byte, repeated."""
    out = struct.pack("<IBI", 0xFD2FB528, 0xA0, size)
    for at in range(0, size, 1 << 17):
        piece = min(size - at, 1 << 17)
        out += (piece << 3 | 2 | (at + piece == size)).to_bytes(3, "little") + byte
    return out


def seek_table(frames: list[tuple[int, int]]) -> bytes:
    body = b"".join(struct.pack("<II", *frame) for frame in frames) + struct.pack("<IBI", len(frames), 0, 0x8F92EAB1)
    return struct.pack("<II", 0x184D2A5E, len(body)) + body


# -- data packs


@dataclass
class Pack:
    """A data pack in the making: frames and what each holds, rows, and what is signed of it."""

    frames: list[bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    final: bool = True
    ephemeral: str = ""
    seek: bytes | None = None  # another seek table than the frames'

    def add(self, data: bytes, frame: bytes | None = None) -> int:
        """A frame of `data`; the offset in the tar where it begins."""
        at = sum(self.sizes)
        self.frames.append(raw_frame(data) if frame is None else frame)
        self.sizes.append(len(data))
        return at

    @property
    def table(self) -> list[tuple[int, int]]:
        return [(len(frame), size) for frame, size in zip(self.frames, self.sizes, strict=True)]

    def head(self) -> bytes:
        return make_age.header(make_age.x25519_stanza(what=self.ephemeral)) + make_age.PAYLOAD_NONCE

    def file(self) -> bytes:
        plain = b"".join(self.frames) + (seek_table(self.table) if self.seek is None else self.seek)
        key = make_age.hkdf(make_age.FILE_KEY, make_age.PAYLOAD_NONCE, b"payload")
        out = self.head()
        for index, at in enumerate(range(0, len(plain), 65536)):
            last = at + 65536 >= len(plain) and self.final
            nonce = index.to_bytes(11, "big") + bytes([last])
            out += make_age.ChaCha20Poly1305(key).encrypt(nonce, plain[at : at + 65536], None)
        return out

    def vector(self, expect: str, comment: str, **signed) -> Vector:
        """`signed`: length, header, blocks where they are not those of the file; data: the file as it is."""
        file = self.file()
        data = signed.get("data", file)
        length = signed.get("length", len(file))
        blocks = [blake3(file[at : at + BLOCK]).hexdigest() for at in range(0, len(file), BLOCK)]
        lines = [
            ("identity", make_age.bech32("age-secret-key-", make_age.IDENTITY).upper()),
            ("record", f"{length} {signed.get('header', blake3(self.head()).digest()).hex()}"),
            *[("block", digest) for digest in blocks],
            ("frames", " ".join(f"{packed}/{size}" for packed, size in self.table)),
            *[("row", text) for text in self.rows],
        ]
        return Vector("data pack", expect, comment, lines, data)


HELLO = b"hello, sea!\n"


def small(content: bytes = HELLO) -> Pack:
    """One member in one frame, and the end of the archive in another."""
    pack = Pack()
    head = ustar(b"hello.txt", b"0", len(content))
    pack.add(head + padded(content))
    pack.rows.append(row(b"hello.txt", content=content, offset=len(head)))
    pack.add(bytes(1024))
    return pack


def every_member() -> Pack:
    """What a writer makes of every kind of member; the frames begin where a writer begins them."""
    pack = Pack()
    tar = bytearray()

    def put(header: bytes, path: bytes, kind: int = FILE, content: bytes = b"", **more: int | bytes) -> None:
        tar.extend(header)
        offset = len(tar) if kind == FILE else 0
        tar.extend(padded(content))
        pack.rows.append(row(path, kind, content, offset=offset, **more))

    put(ustar(b"a/hello.txt", b"0", 12), b"a/hello.txt", content=HELLO)
    tar += ustar(b"a/again.txt", b"1", link=b"a/hello.txt")
    pack.rows.append(row(b"a/again.txt", HARDLINK, link=b"a/hello.txt"))
    put(ustar(b"a/empty", b"0"), b"a/empty")
    half = MTIME + 500_000_000
    put(pax((b"mtime", b"1700000000.5")) + ustar(b"a/caf\xe9", b"0", 1), b"a/caf\xe9", content=b"!", mtime=half)
    put(ustar(b"a/link", b"2", mode=0o777, link=b"hello.txt"), b"a/link", SYMLINK, link=b"hello.txt", mode=0o777)
    name = b"n" * 150
    put(pax((b"path", name)) + ustar(name[:100], b"0", 1), name, content=b"n")
    folder, last = b"d" * 90, b"s" * 60
    put(ustar(last, b"0", 1, prefix=folder), folder + b"/" + last, content=b"s")
    old = -315_619_200_250_000_000
    put(pax((b"mtime", b"-315619200.25")) + ustar(b"a/old", b"0", 1, seconds=0), b"a/old", content=b"o", mtime=old)
    content = noise(70_000)
    put(ustar(b"a/noise", b"0", len(content)), b"a/noise", content=content)
    pack.add(bytes(tar))
    sparse_member(pack, b"a/holes", [(65536, 4096)], 131072)
    part = noise(5000)
    head = pax((b"comment", b"sealift segment 8000000 8005000 a/film")) + ustar(b"a/film.part-000001", b"0", len(part))
    tar = bytearray(head + padded(part))
    at = sum(pack.sizes) + len(head)
    pack.rows.append(row(b"a/film", content=part, offset=at, size=8_005_000, start=8_000_000, file_blake3=bytes(32)))
    # a sparse member is not followed by a new frame: what comes next may share its last one
    held = pack.frames.pop()[12:] + bytes(tar)
    pack.sizes.pop()
    pack.add(held)
    large = b"a" * (FRAME + 100)
    at = pack.add(ustar(b"a/large", b"0", len(large))) + 512
    pack.add(large[:FRAME], same_frame(b"a", FRAME))
    pack.add(padded(large[FRAME:]))
    pack.rows.append(row(b"a/large", content=large, offset=at))
    pack.add(bytes(1024))
    return pack


def sparse_map(extents: list[tuple[int, int]], size: int) -> bytes:
    if not extents or sum(extents[-1]) < size:
        extents = [*extents, (size, 0)]
    return padded(b"%d\n" % len(extents) + b"".join(b"%d\n%d\n" % extent for extent in extents))


def sparse_member(
    pack: Pack, path: bytes, extents: list[tuple[int, int]], size: int, *, chart: bytes = b"", stored: int = 0
) -> None:
    """A sparse member in a frame of its own."""
    chart = chart or sparse_map(extents, size)
    data = noise(sum(length for _, length in extents))
    whole = bytearray(size)
    done = 0
    for at, length in extents:
        whole[at : at + length] = data[done : done + length]
        done += length
    stored = stored or len(chart) + len(data)
    folder, _, last = path.rpartition(b"/")
    stand_in = (folder + b"/" if folder else b"") + b"GNUSparseFile.0/" + last
    head = pax(
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", path),
        (b"GNU.sparse.realsize", b"%d" % size),
    ) + ustar(stand_in, b"0", stored)
    at = pack.add(head + padded(chart + data)) + len(head)
    pack.rows.append(row(path, content=bytes(whole[:size]), offset=at, stored=stored, flags=SPARSE))


def folders() -> Pack:
    pack = Pack()
    pack.add(ustar(b"a/", b"5", mode=0o755) + ustar(b"a/deep/", b"5", mode=0o555) + bytes(1024))
    pack.rows += [row(b"a", DIRECTORY, mode=0o755), row(b"a/deep", DIRECTORY, mode=0o555)]
    return pack


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def data_packs() -> dict[str, Vector]:
    good = small()
    file, head = good.file(), len(good.head())
    out = {
        "pack_files": every_member().vector("success", "every kind of member, as a writer lays it out"),
        "pack_folders": folders().vector("success", "directories, as they come from stripe files_end on"),
        "pack_small": good.vector("success", "one member; what the wrong ones begin with"),
        "pack_extended": good.vector("success", "bytes after its signed length are not read", data=file + b"more"),
        "pack_bit_header": good.vector("lost", "a bit of the age header", data=flipped(file, 40)),
        "pack_bit_nonce": good.vector("lost", "a bit of the payload nonce", data=flipped(file, head - 1)),
        "pack_bit_chunk": good.vector("lost", "a bit of a chunk", data=flipped(file, head + 700)),
        "pack_bit_tag": good.vector("lost", "a bit of a chunk's tag", data=flipped(file, len(file) - 1)),
        "pack_cut": good.vector("lost", "shorter than it was signed", data=file[:-1]),
        "pack_empty": good.vector("lost", "no byte of it is left", data=b""),
        "pack_other": good.vector("lost", "a pack of the same recipient and key", data=replace_pack().file()),
        "pack_absent": good.vector("refused", "a record of length 0: there is no such pack", length=0),
        "pack_header_digest": good.vector("refused", "the signed digest is another header's", header=bytes(32)),
        "pack_no_final": replace(good, final=False).vector("refused", "its origin left out the last flag"),
        "pack_length": good.vector("refused", "no age file has this length", length=head + 15),
    }
    return out | frames() | members()


def replace_pack() -> Pack:
    return replace(small(b"other bytes\n"), ephemeral="another")


def frames() -> dict[str, Vector]:
    good = small()
    table = good.table
    (packed, size), end = table[0], table[1]

    def told(comment: str, *wrong: tuple[int, int]) -> Vector:
        return table_is(comment, seek_table(list(wrong)))

    def table_is(comment: str, seek: bytes) -> Vector:
        return replace(good, seek=seek).vector("refused", comment)

    def other(frame: bytes, comment: str, length: int = size) -> Vector:
        pack = small()
        pack.frames[0], pack.sizes[0] = frame, length
        return pack.vector("refused", comment)

    tar = ustar(b"hello.txt", b"0", len(HELLO)) + padded(HELLO)
    long, content = Pack(), b"a" * (FRAME + 1)
    long.rows.append(row(b"large", content=content, offset=long.add(ustar(b"large", b"0", len(content))) + 512))
    long.add(content, same_frame(b"a", len(content)))
    long.add(bytes(511 + 1024))
    right = seek_table(table)
    fake = Pack()
    fake.rows.append(row(b"hello.txt", content=HELLO, offset=fake.add(ustar(b"hello.txt", b"0", len(HELLO))) + 512))
    fake.add(padded(HELLO) + bytes(1024), flipped(raw_frame(padded(HELLO) + bytes(1024)), 5))
    return {
        "frames_beyond": told("frames that end after the seek table begins", (packed, size), (end[0] + 100, end[1])),
        "frames_short": told("frames that end before the seek table begins", (packed, size), (end[0] - 1, end[1])),
        "frames_empty": told("a frame that holds nothing", (packed, size), (0, 0), end),
        "seek_magic": table_is("a seek table with another number at its end", flipped(right, len(right) - 1)),
        "seek_checksums": table_is("a seek table that says it has checksums", flipped(right, len(right) - 5)),
        "seek_skippable": table_is("a seek table that is no skippable frame", flipped(right, 0)),
        "seek_length": table_is("a seek table that is longer than its frames", flipped(right, 4)),
        "seek_many": table_is("a seek table of more frames than the pack holds", flipped(right, len(right) - 6)),
        "frame_not_raw": fake.vector("refused", "a frame as long as a raw one, which is none"),
        "frames_too_long": long.vector("refused", "a frame of more than 1 MiB, as the seek table says"),
        "frames_shifted": told("a border between frames that is a byte late", (packed + 1, size), end),
        "frame_longer": told("a frame that holds more than the table says", (packed, size - 1), end),
        "frame_shorter": told("a frame that holds less than the table says", (packed, size + 1), end),
        "frame_two": other(raw_frame(tar[:512]) + raw_frame(tar[512:]), "two frames where the table has one"),
        "frame_not_zstd": other(b"\0" * 100, "no frame at all"),
        "frame_cut": other(raw_frame(tar)[:-1], "a frame without its last byte"),
        "frame_bomb": other(same_frame(b"x", 1 << 24), "a frame of 16 MiB where the table says 1 KiB"),
    }


def members() -> dict[str, Vector]:
    beyond, digest = small(), small()
    beyond.rows = [row(b"hello.txt", content=HELLO, offset=sum(beyond.sizes) - 11)]
    digest.rows = [row(b"hello.txt", content=b"hello, sea?\n", offset=512)]
    out = {
        "member_beyond": beyond.vector("refused", "content that ends after the archive"),
        "member_digest": digest.vector("digest", "other content than was signed"),
    }

    def sparse(comment: str, size: int = 8192, expect: str = "refused", **how) -> Vector:
        pack = Pack()
        sparse_member(pack, b"holes", how.pop("extents", [(4096, 10)]), size, **how)
        pack.add(bytes(1024))
        return pack.vector(expect, comment)

    return out | {
        "sparse_all_hole": sparse("no data at all", expect="success", extents=[]),
        "sparse_to_the_end": sparse("data at the end", expect="success", extents=[(0, 1), (8000, 192)]),
        "sparse_past_end": sparse("an extent that ends after the file", chart=sparse_map([(8190, 10)], 8200)),
        "sparse_stored": sparse("map and data are not as long as the member", stored=522 + 512),
        "sparse_overlap": sparse("extents that overlap", chart=padded(b"2\n0\n6\n4\n4\n")),
        "sparse_backwards": sparse("extents that go back", chart=padded(b"2\n4096\n5\n0\n5\n")),
        "sparse_no_number": sparse("a map that is no map", chart=padded(b"two\n0\n10\n")),
        "sparse_too_many": sparse("more extents than are allowed", chart=padded(b"4098\n" + b"0\n0\n" * 4098)),
        "sparse_cut": sparse("fewer extents than the map says", chart=padded(b"3\n0\n10\n")),
        "sparse_long_number": sparse("a number of more than 19 digits", chart=padded(b"1\n%020d\n10\n" % 0)),
    }


# -- rows


def rows() -> dict[str, Vector]:
    def vector(expect: str, comment: str, text: str) -> Vector:
        return Vector("row", expect, comment, [("limits", "2 10"), ("row", text)])

    def wrong(comment: str, path: bytes = b"a", kind: int = FILE, **more: int | bytes) -> Vector:
        return vector("refused", comment, row(path, kind, HELLO, **more))

    return {
        "row_file": vector("success", "a whole file", row(b"a", content=HELLO)),
        "row_last": vector("success", "the last stripe and role", row(b"a", content=HELLO, stripe=9, role=1)),
        "row_kind": wrong("a kind that is none", kind=4),
        "row_no_path": wrong("no path", path=b""),
        "row_role": wrong("a role that holds no data", role=2),
        "row_stripe": wrong("a stripe that the group does not have", stripe=10),
        "row_offset": wrong("an offset below 0", offset=-1),
        "row_stored": wrong("a stored length below 0", stored=-1),
        "row_length": wrong("a length below 0", length=-1),
        "row_start": wrong("a start below 0", start=-1),
        "row_segment": wrong("a segment that ends after its file", start=1),
        "row_digest": wrong("a digest of 31 bytes", blake3=bytes(31)),
        "row_file_digest": wrong("a digest of the file of 33 bytes", file_blake3=bytes(33)),
    }


# -- tar headers


def tars() -> dict[str, Vector]:
    good = ustar(b"hello.txt", b"0", 12)

    def wrong(comment: str, data: bytes) -> Vector:
        return Vector("tar", "refused", comment, data=data)

    def record(body: bytes) -> bytes:
        return ustar(b"././@PaxHeader", b"x", len(body), seconds=0) + padded(body) + good

    return {
        "tar_header": Vector("tar", "success", "one header", data=good),
        "tar_pax": Vector("tar", "success", "with records before it", data=pax((b"path", b"x" * 101)) + good),
        "tar_magic": wrong("another magic", good[:257] + b"nstar" + good[262:]),
        "tar_checksum": wrong("a wrong checksum", flipped(good, 3)),
        "tar_cut": wrong("a header that is cut short", good[:511]),
        "pax_length": wrong("a record that is longer than the rest", record(b"99 path=x\n")),
        "pax_short": wrong("a record that is shorter than its own length", record(b"2 path=x\n")),
        "pax_no_length": wrong("a record without a length", record(b"path=x\n")),
        "pax_no_equals": wrong("a record without a value", record(b"8 pathx\n")),
        "pax_no_line_feed": wrong("a record that does not end in a line feed", record(b"9 path=xx")),
    }


# -- packs.bin and blocks.bin


def paged(magic: bytes, record: int, body: bytes) -> tuple[bytes, bytes]:
    """The file and its root; of at most 512 pages of body."""
    header = struct.pack("<8sIIQII32x", magic, 1, record, len(body) // record, PAGE, 1)
    body = padded(body, PAGE) or bytes(PAGE)
    top = padded(b"".join(blake3(body[at : at + PAGE]).digest() for at in range(0, len(body), PAGE)), PAGE)
    return padded(header, PAGE) + body + top, blake3(header + top).digest()


def packs_body() -> bytes:
    """Two stripes of 2 + 1: a whole one, and one with an absent pack."""
    lengths = ((BLOCK + 5, BLOCK, BLOCK + 5), (7, 0, 7))
    out, first = b"", 0
    for stripe, row_of in enumerate(lengths):
        for role, length in enumerate(row_of):
            header = blake3(b"header %d %d" % (stripe, role)).digest() if role < 2 and length else bytes(32)
            out += struct.pack("<QQ32s32s", length, first, header, blake3(b"pack %d %d" % (stripe, role)).digest())
            first += -(-length // BLOCK)
    return out


def tables() -> dict[str, Vector]:
    packs, packs_root = paged(b"SLPACKS\0", 80, packs_body())
    hashes = b"".join(blake3(b"block %d" % i).digest() for i in range(600))
    blocks, blocks_root = paged(b"SLBLOCKS", 32, hashes)

    def of(data: bytes, expect: str, comment: str, magic: bytes = b"SLPACKS\0", **more: int | bytes) -> Vector:
        record = 80 if magic == b"SLPACKS\0" else 32
        count = more.get("count", 6 if record == 80 else 600)
        root = more.get("root", packs_root if record == 80 else blocks_root)
        vector = Vector(
            "paged",
            expect,
            comment,
            [
                ("paged", f"{magic.hex()} {record} {count} {root.hex()}"),
                ("get", more.get("get", f"0 {count}")),
            ],
        )
        pages, kept, at = [data[i : i + PAGE] for i in range(0, len(data), PAGE)], b"", 0
        for page in pages:  # zeros at the end of a page are left out
            short = page.rstrip(b"\0")
            kept += short
            if len(page) - len(short):
                vector.zeros.append((at + len(short), len(page) - len(short)))
            at += len(page)
        vector.data = kept
        return vector

    huge = struct.pack("<QQ32s32s", (1 << 32) + 1, 0, bytes(32), bytes(32)) + packs_body()[80:]
    huge_file, huge_root = paged(b"SLPACKS\0", 80, huge)
    return {
        "packs_bin": of(packs, "success", "packs.bin of two stripes of 2 + 1, one pack absent"),
        "packs_header": of(flipped(packs, 8), "refused", "a bit of the header page"),
        "packs_header_zeros": of(flipped(packs, 9000), "refused", "a bit of the header page's zeros"),
        "packs_body": of(flipped(packs, PAGE + 3), "refused", "a bit of a record"),
        "packs_body_zeros": of(flipped(packs, PAGE + 16000), "refused", "a bit of the body's padding"),
        "packs_top": of(flipped(packs, 2 * PAGE + 3), "refused", "a bit of the top page"),
        "packs_cut": of(packs[:-PAGE], "refused", "without its top page"),
        "packs_count": of(packs, "refused", "one record less than is signed", count=5),
        "packs_beyond": of(packs, "refused", "a record that there is not", get="5 7"),
        "packs_too_long": of(huge_file, "refused", "a pack of more than 4 GiB", root=huge_root),
        "blocks_bin": of(blocks, "success", "blocks.bin of 600 blocks, two pages", b"SLBLOCKS"),
        "blocks_second_page": of(
            flipped(blocks, 2 * PAGE + 40), "refused", "a bit of the page that is asked for", b"SLBLOCKS", get="599 600"
        ),
        "blocks_other_page": of(
            flipped(blocks, 2 * PAGE + 40),
            "success",
            "a bit of another page than is asked for",
            b"SLBLOCKS",
            get="0 512",
        ),
        "blocks_magic": of(
            packs, "refused", "packs.bin in place of blocks.bin", b"SLBLOCKS", count=15, root=packs_root
        ),
    }


# -- the seal file


NAMES = ("seal/seal.json", "seal/seal.json.sig", "seal/declaration.toml", "seal/release.json", "seal/release.json.sig")


def seals() -> dict[str, Vector]:
    def entry(name: str, data: bytes, **how: int | bytes) -> bytes:
        head = bytearray(ustar(name.encode(), b"0", how.get("size", len(data)), how.get("mode", 0o644), 0))
        head[329:345] = bytes(16)  # no device numbers: this archive is written for one reader
        head[148:156] = b" " * 8
        head[148:156] = b"%06o\0 " % sum(head)
        return bytes(head) + data + how.get("pad", bytes(-len(data) % 512))

    files = {name: f"what {name} holds\n".encode() for name in NAMES}
    parts = [entry(name, data) for name, data in files.items()]
    end = bytes(1024)
    good = b"".join(parts) + end
    first, data = NAMES[0], files[NAMES[0]]

    def wrong(comment: str, made: bytes) -> Vector:
        return Vector("seal file", "refused", comment, data=made)

    def head(made: bytes) -> bytes:
        return made + b"".join(parts[1:]) + end

    return {
        "seal_file": Vector("seal file", "success", "five files, as `tar x` takes them", data=good),
        "seal_cut": wrong("without its last byte", good[:-1]),
        "seal_no_end": wrong("without the end of the archive", good[:-1024]),
        "seal_trailing": wrong("a block after the end", good + bytes(512)),
        "seal_order": wrong("the second file first", b"".join([parts[1], parts[0], *parts[2:]]) + end),
        "seal_missing": wrong("four files", b"".join(parts[:4]) + end),
        "seal_extra": wrong("six files", b"".join([*parts, entry("seal/more", b"x")]) + end),
        "seal_mode": wrong("another mode", head(entry(first, data, mode=0o600))),
        "seal_padding": wrong("padding that is not zeros", head(entry(first, data, pad=b"x" * (-len(data) % 512)))),
        "seal_size": wrong("a size that is no octal number", head(parts[0][:124] + b"9" + parts[0][125:])),
        "seal_too_long": wrong("a file that is longer than its limit", head(entry(first, data, size=(64 << 20) + 1))),
        "seal_checksum": wrong("a wrong checksum", head(flipped(parts[0], 150))),
        "seal_empty": wrong("nothing", b""),
    }


# -- parity


def multiply(a: int, b: int) -> int:
    """Product in GF(256), polynomial x^8 + x^4 + x^3 + x^2 + 1."""
    out = 0
    while b:
        out ^= a if b & 1 else 0
        a = a << 1 ^ (0x11D if a & 0x80 else 0)
        b >>= 1
    return out


def inverse(a: int) -> int:
    return next(b for b in range(1, 256) if multiply(a, b) == 1)


def code(packs: list[bytes], count: int) -> list[bytes]:
    k, longest = len(packs), max(map(len, packs))
    columns = [pack.ljust(longest, b"\0") for pack in packs]
    out = []
    for j in range(count):
        factors = [inverse((k + j) ^ i) for i in range(k)]
        parity = bytearray(longest)
        for place in range(longest):
            for factor, column in zip(factors, columns, strict=True):
                parity[place] ^= multiply(factor, column[place])
        out.append(bytes(parity))
    return out


def parities() -> dict[str, Vector]:
    def of(comment: str, packs: list[bytes], count: int, expect: str = "success", bit: int = -1) -> Vector:
        every = packs + code(packs, count)
        data = b"".join(every)
        lines = [("parity", f"{len(packs)} {count}"), ("lengths", " ".join(str(len(pack)) for pack in every))]
        return Vector("parity", expect, comment, lines, data if bit < 0 else flipped(data, bit))

    three = [b"sail", b"lift!", b"sea"]
    return {
        "parity_3_2": of("the example of docs/spec/parity.md", three, 2),
        "parity_1_2": of("one data pack: both parity packs are multiples of it", [b"alone"], 2),
        "parity_absent": of("two of the data packs are absent", [b"only one", b"", b""], 2),
        "parity_12_4": of("as many as a usual rack has", [noise(20 + i)[i:] for i in range(12)], 4),
        "parity_bit": of("a bit of a parity pack", three, 2, "refused", 14),
    }


def vectors() -> dict[str, Vector]:
    return data_packs() | rows() | tars() | tables() | seals() | parities()


def main(folder: str = FOLDER, say: Callable[[str], object] = print) -> None:
    made = vectors()
    os.makedirs(folder, exist_ok=True)
    for name in sorted(set(os.listdir(folder)) - set(made)):
        os.unlink(os.path.join(folder, name))
    for name, vector in made.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(vector.encode())
    say(f"{len(made)} vectors")


if __name__ == "__main__":
    main(*sys.argv[1:2])
