"""docs/spec/ README, data-pack, parity and index against code and vectors: examples, tables, limits, columns, names."""

from __future__ import annotations

import pathlib
import re
import struct
from itertools import pairwise

import numpy as np
import pytest
from blake3 import blake3

from sealift.formats import age, age_header, index, manifest, parity, tar, zstd
from sealift.stages.pack import builder, queue, stream

ROOT = pathlib.Path(__file__).parents[2]
SPEC = ROOT / "docs" / "spec"
VECTORS = ROOT / "tests" / "vectors" / "pack"
PAGES = ("README.md", "data-pack.md", "parity.md", "index.md")
README, PACK, PARITY, INDEX = ((SPEC / page).read_text() for page in PAGES)


def table(text, head):
    """Rows of the table under `head`, cells stripped."""
    body = text.partition(f"\n| {head} |")[2].partition("\n\n")[0].split("\n")
    assert len(body) > 2, head
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body[2:]]


def offsets(text, head):
    """(offset, bytes, what) where a row has one number of each."""
    return [(int(row[0]), int(row[1]), row[2]) for row in table(text, head)]


def vector(name):
    text, _, data = (VECTORS / name).read_bytes().partition(b"\n\n")
    lines = [line.split(": ", 1) for line in text.decode().split("\n")]
    return {key: [value for name, value in lines if name == key] for key, _ in lines}, data


@pytest.mark.parametrize("page", [PACK, PARITY])
def test_limits_are_those_of_the_code(page):
    limits = {name.strip("`"): int(value) for name, value, _ in table(page, "limit | value | why")}
    assert len(limits) >= 2
    for name, value in limits.items():
        homes = (manifest, zstd, builder, stream, queue, tar)  # in this order: a block of tar is another one
        assert next(getattr(module, name) for module in homes if hasattr(module, name)) == value, name


def test_the_example_pack_is_the_vector():
    lines, data = vector("pack_small")
    head = age_header.parse_header(data)
    rows = offsets(PACK, "offset | bytes | what")
    assert [row[:2] for row in rows] == [
        (0, head.length),
        (head.length, age_header.NONCE),
        (head.payload_start, len(data) - head.payload_start),
    ]
    assert f"The pack has {len(data)} bytes" in PACK
    plain = age.plain_length(len(data), head.payload_start)
    assert f"{plain} bytes of plaintext and a tag" in PACK
    frames = [tuple(map(int, text.split("/"))) for text in lines["frames"][0].split()]
    rows = offsets(PACK, "offset in the plaintext | bytes | what")
    assert [row[1] for row in rows] == [*[packed for packed, _ in frames], zstd.seek_table_length(len(frames))]
    assert sum(rows[-1][:2]) == plain
    rows = offsets(PACK, "offset in the tar | bytes | what")
    assert sum(rows[-1][:2]) == sum(raw for _, raw in frames)
    for layout in (
        "offset | bytes | what",
        "offset in the plaintext | bytes | what",
        "offset in the tar | bytes | what",
    ):
        rows = offsets(PACK, layout)
        assert all(at + size == following for (at, size, _), (following, _, _) in pairwise(rows))
    row = lines["row"][0].split()
    assert f"stripe {row[7]}, role {row[8]}, offset {row[9]}, stored {row[10]}" in PACK


def test_the_header_table_is_where_the_writer_puts_things():
    text = PACK.partition("Every header is a ustar header")[2]
    rows = offsets(text, "offset | bytes | what")
    assert sum(rows[-1][:2]) == tar.BLOCK
    assert all(at + size == following for (at, size, _), (following, _, _) in pairwise(rows))
    name, folder = b"n" * 100, b"f" * 40
    block = tar.header(folder + b"/" + name, tar.HARDLINK, 0o1234567, 0o4755, 7 * 10**9, b"target")
    cells = [block[at : at + size] for at, size, _ in rows]
    assert cells[:6] == [name, b"0004755\0", b"0000000\0", b"0000000\0", b"00001234567\0", b"00000000007\0"]
    assert cells[6] == b"%06o\0 " % (sum(block) - sum(cells[6]) + 8 * 32)
    assert cells[7:9] == [b"1", b"target".ljust(100, b"\0")]
    assert cells[9:11] == [b"ustar\x0000", bytes(64)]
    assert cells[11:] == [b"0000000\0" * 2, folder.ljust(155, b"\0"), bytes(12)]
    types = {"file": tar.REGULAR, "hard link": tar.HARDLINK, "symbolic link": tar.SYMLINK, "directory": tar.DIRECTORY}
    for what, kind in types.items():
        assert f"`{kind.decode()}` {what}" in rows[7][2]


def test_pax_records_come_in_the_order_that_is_told():
    block = tar.header(b"p" * 101, tar.SYMLINK, 8**11, 0, 1, b"l" * 101)
    size = int(block[124:135], 8)
    keys = list(tar.parse_pax(block[tar.BLOCK : tar.BLOCK + size]))
    assert keys == [b"path", b"linkpath", b"size", b"mtime"]
    told = PACK.partition("Keys, in this order")[2].partition("The ustar fields")[0]
    assert re.findall(r"`(\w+)`", told) == [key.decode() for key in keys]
    sparse = list(tar.parse_pax(tar.sparse_header(b"s", 0, 0, 0, 0)[tar.BLOCK :][: tar.BLOCK].rstrip(b"\0")))
    assert re.findall(r"`(GNU\.sparse\.\w+)`", PACK) == [key.decode() for key in sparse]
    plain = (tar.header(b"n", tar.REGULAR, 8**11, 0, 0), tar.header(b"n", tar.REGULAR, 0, 0, 8**11 * 10**9))
    assert all(b"././@PaxHeader" in data for data in plain)
    assert f"from {8**11} s" in PACK
    assert 8**11 == 8 << 30


def test_frames_and_seek_table_are_laid_out_as_told():
    text = PACK.partition("**raw frame**")[2]
    at = [(int(row[0]), row[1]) for row in table(text, "offset | bytes | what")]
    assert at == [(0, "4"), (4, "1"), (5, "4"), (zstd.FRAME_HEADER, "3 + 131072, ...")]
    assert zstd.raw_header(77) == struct.pack("<IBI", 0xFD2FB528, 0xA0, 77)
    assert all(word in text for word in ("0xFD2FB528", "0xA0", "0x184D2A5E", "0x8F92EAB1"))
    assert zstd.block_header(5, last=True) == (5 << 3 | 1).to_bytes(3, "little")
    made = zstd.seek_table(np.array([10, 20], dtype=np.uint32), np.array([30, 40], dtype=np.uint32))
    rows = table(text.partition("seek table**")[2], "offset | bytes | what")
    assert [row[0] for row in rows] == ["0", "4", "8", "8 + 8f", "12 + 8f", "13 + 8f"]
    assert struct.unpack_from("<II", made, 0) == (0x184D2A5E, len(made) - 8)
    assert struct.unpack_from("<IIII", made, 8) == (10, 30, 20, 40)
    assert struct.unpack_from("<IBI", made, 8 + 16) == (2, 0, 0x8F92EAB1)


def test_names_of_segments_are_those_of_the_code():
    name = queue.digest_name(b"folder/file")
    assert name == b"folder/.sealift-" + blake3(b"folder/file").hexdigest()[:32].encode()
    assert "`.sealift-` and the first 16 bytes of the BLAKE3" in PACK


def test_the_parity_example_is_the_vector():
    lines, data = vector("parity_3_2")
    lengths = [int(text) for text in lines["lengths"][0].split()]
    ends = np.cumsum(lengths)
    packs = [data[end - length : end] for end, length in zip(ends, lengths, strict=True)]
    rows = table(PARITY, "role | pack | as a column, zero-padded")
    assert [bytes.fromhex(row[2]) for row in rows] == [pack.ljust(max(lengths), b"\0") for pack in packs]
    assert [row[1].strip("`").encode() for row in rows[:3]] == packs[:3]
    told = re.search(r"role 3 is \(([\d, ]+)\), role 4 is \(([\d, ]+)\)", PARITY)
    assert [list(map(int, row.split(", "))) for row in told.groups()] == [list(row) for row in parity._matrix(3, 2)[3:]]


def test_the_arithmetic_of_the_example_holds():
    def times(a, b):
        out = 0
        while b:
            out ^= a if b & 1 else 0
            a = a << 1 ^ (0x11D if a & 0x80 else 0)
            b >>= 1
        return out

    assert times(244, 0x73) ^ times(142, 0x6C) ^ times(1, 0x73) == 0xDA ^ 0x36 ^ 0x73 == 0x9F
    assert times(167, 0x21) == 0xFE
    assert (0x9F ^ times(142, 0x6C), 0xA4 ^ times(167, 0x6C)) == (0xA9, 0xB8)
    assert (times(244, 0x73) ^ 0x73, times(71, 0x73) ^ times(122, 0x73)) == (0xA9, 0xB8)
    for words in ("0xda ⊕ 0x36 ⊕ 0x73 = 0x9f", "167·0x21 = 0xfe", "142·0x6c = 0xa9", "167·0x6c = 0xb8"):
        assert words in PARITY
    for k, m in ((3, 2), (12, 4), (43, 17), (128, 127)):
        matrix = parity._matrix(k, m)
        assert matrix[:k] == [bytes(row) for row in np.eye(k, dtype=np.uint8)]
        for j in range(m):
            for i in range(k):
                assert times(matrix[k + j][i], (k + j) ^ i) == 1


def test_roles_turn_as_the_table_says():
    rows = table(PARITY, "stripe | slot 0 | slot 1 | slot 2 | slot 3 | slot 4")
    for stripe, *roles in ([int(cell) for cell in row] for row in rows):
        assert roles == [manifest.role_of(stripe, slot, 5) for slot in range(5)]
        assert [manifest.slot_of(stripe, role, 5) for role in roles] == list(range(5))
    assert manifest.pack_name(1234, 2, 2) == "packs/0001/0001234.parity"


TYPES = {"binary": "binary", "list of uint32": "list<element: uint32>"}


@pytest.mark.parametrize(
    ("part", "schema"),
    [("## members.parquet", index.members_schema), ("## packs.parquet", index.packs_schema)],
)
def test_columns_are_those_of_the_code(part, schema):
    rows = table(INDEX.partition(part)[2], "column | type | what")
    told = [(row[0].strip("`"), row[1]) for row in rows]
    fields = [(f.name, str(f.type).replace("item", "element")) for f in schema()]
    assert [(name, TYPES.get(kind, kind)) for name, kind in told] == fields


def test_kinds_flags_and_row_groups_are_those_of_the_code():
    assert "0 file, 1 symbolic link, 2 hard link, 3 directory" in INDEX
    assert (index.FILE, index.SYMLINK, index.HARDLINK, index.DIRECTORY) == (0, 1, 2, 3)
    assert f"{index.CHANGED} CHANGED" in INDEX
    assert f"{index.SPARSE} SPARSE" in INDEX
    assert f"row groups of {index.ROWS} rows" in INDEX
    assert f"more than {index.ROW_GROUP} rows" in INDEX


def test_the_example_rows_are_those_of_the_vector():
    lines, _ = vector("pack_files")
    rows = {bytes.fromhex(text.split()[0]): text.split() for text in lines["row"]}
    shown = table(INDEX, "column | `a/hello.txt` | `a/film`")
    assert [row[0].strip("`") for row in shown] == list(index.Row._fields)
    for place, path in ((1, b"a/hello.txt"), (2, b"a/film")):
        for cell, value in zip(shown[1:12], rows[path][1:12], strict=True):
            assert cell[place].split()[0] == value
        assert shown[0][place] == f"`{path.decode()}`"
    assert rows[b"a/hello.txt"][13].startswith(shown[13][1].rstrip("."))
    assert [rows[path][14] == "-" for path in (b"a/hello.txt", b"a/film")] == [True, False]


def test_every_vector_is_named_and_every_one_named_exists():
    names = {path.name for path in VECTORS.iterdir()}
    prefixes = {name.split("_")[0] + "_" for name in names}
    words = {word for page in (README, PACK, PARITY, INDEX) for word in re.findall(r"`([a-z0-9_]+)`", page)}
    columns = {*index.Row._fields, *(field.name for field in index.packs_schema())}
    named = {word for word in words if any(word.startswith(p) for p in prefixes)} - columns
    assert named == names


def test_the_drive_of_the_readme_has_the_names_of_the_code():
    tree = README.partition("```\n")[2].partition("```")[0]
    for name in (
        manifest.MANIFEST, manifest.SIGNATURE, manifest.CARD, *manifest.OWN_FILES, *manifest.GROUP_FILES,
        *manifest.SEAL_FILES, manifest.pack_name(0, 0, 2), manifest.pack_name(1, 2, 2),
    ):  # fmt: skip
        assert name in tree.split()


def test_links_lead_somewhere():
    pages = [*SPEC.iterdir(), *(ROOT / "docs" / "adr").iterdir()]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
