"""Every vector of tests/vectors/pack/ through the readers, the tools, and the writer; and the generator's output."""

# ruff: noqa: ARG002 -- stand-ins take what they do not need

from __future__ import annotations

import importlib.util
import os
import pathlib
import shutil
import subprocess
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from blake3 import blake3

from sealift.errors import FormatError, Lost
from sealift.formats import age, index, manifest, paged, parity, seal, tar, zstd
from sealift.formats.age_keys import parse_identity
from sealift.formats.index import DIRECTORY, FILE, HARDLINK, SPARSE, SYMLINK, Row
from sealift.reading.hedge import Got
from sealift.reading.keys import IdentityKeys
from sealift.reading.pack import Buffers, PackContent, PackReader
from sealift.reading.shipment import read_segment
from sealift.stages.pack import builder, units

VECTORS = pathlib.Path(__file__).parent.parent / "vectors"
NAMES = sorted(path.name for path in (VECTORS / "pack").iterdir())
_BYTES = {"path", "link", "blake3", "file_blake3"}


class Vector:
    def __init__(self, name):
        text, _, data = (VECTORS / "pack" / name).read_bytes().partition(b"\n\n")
        self.lines = [tuple(line.split(": ", 1)) for line in text.decode().split("\n")]
        for offset, length in (map(int, value.split()) for value in self.every("zeros")):
            data = data[:offset] + bytes(length) + data[offset:]
        self.data, self.kind, self.expect = data, self.one("kind"), self.one("expect")

    def every(self, key):
        return [value for name, value in self.lines if name == key]

    def one(self, key):
        (value,) = self.every(key)
        return value

    @property
    def rows(self):
        rows = []
        for text in self.every("row"):
            values = zip(Row._fields, text.split(" "), strict=True)
            rows.append(Row(*[bytes.fromhex(v.strip("-")) if n in _BYTES else int(v) for n, v in values]))
        return rows

    @property
    def frames(self):
        pairs = [text.split("/") for text in self.one("frames").split()]
        return [[int(pair[i]) for pair in pairs] for i in (0, 1)]


class OneDrive:
    """What PackReader asks of a group: one pack, its signed record and blocks, and no parity."""

    manifest = SimpleNamespace(group=0)

    def __init__(self, vector):
        length, header = vector.one("record").split()
        self._data, self._blocks = vector.data, vector.every("block")
        self.signed = manifest.PackRecord(int(length), 0, bytes.fromhex(header), bytes(32))

    def record(self, stripe, role):
        return self.signed

    def read(self, stripe, role, offset, buffer):
        data = self._data[offset : offset + len(buffer)]
        return Got("drive", [(0, memoryview(data))]) if len(data) == len(buffer) else None

    def window(self, stripe, role):
        return None

    def will_need(self, stripe, role, offset, length, make=None):
        pass

    def verified(self, stripe, role, offset, length):
        for number in range(offset // manifest.BLOCK, -(-(offset + length) // manifest.BLOCK)):
            at = number * manifest.BLOCK
            block = self._data[at : min(at + manifest.BLOCK, self.signed.length)]
            if blake3(block).hexdigest() != self._blocks[number]:
                raise Lost(f"block {number}")
        return self._data[offset : offset + length]


class Plain:
    """What PackContent asks of a PackReader, of plaintext that is known."""

    at_hand, window = True, 2 << 20

    def __init__(self, plain):
        self.plain, self.size, self.buffers = plain, len(plain), Buffers()

    def read(self, start, end):
        return self.plain[start:end]

    def chunks(self, first, last):
        return memoryview(self.plain)[first * age.CHUNK : (last + 1) * age.CHUNK]

    def will_need(self, start, end):
        pass


def content_of(vector):
    keys = IdentityKeys([parse_identity(text) for text in vector.every("identity")])
    return PackContent(PackReader(OneDrive(vector), 3, 1, keys))


def read_pack(vector):
    content = content_of(vector)
    for row in vector.rows:
        index.check_row(row, 2, 10)
        if row.kind == FILE and blake3(read_segment(content, row, 0, row.length)).digest() != row.blake3:
            return "digest"
    assert content.size == sum(vector.frames[1])
    return "success"


def read_row(vector):
    (row,) = vector.rows
    index.check_row(row, *map(int, vector.one("limits").split()))
    return "success"


def walk(data):
    """Members of a tar stream by the headers alone."""
    at, records = 0, {}
    while at < len(data) and data[at : at + 1024] != tar.END[: len(data) - at]:
        member = tar.parse_header(data[at : at + 512], at, records)
        if member.kind == tar.PAX:
            records = tar.parse_pax(data[member.data : member.data + member.size])
        else:
            records = {}
            yield member
        at = member.data + member.size + tar.padding(member.size)


def read_tar(vector):
    assert [member.data for member in walk(vector.data)][-1:] == [len(vector.data)]
    return "success"


def read_paged(vector):
    magic, record, count, root = vector.one("paged").split()
    file = paged.PagedFile(
        lambda at, n: vector.data[at : at + n],
        magic=bytes.fromhex(magic),
        record=int(record),
        count=int(count),
        root=bytes.fromhex(root),
        name="vector",
    )
    if vector.every("get") == [f"0 {count}"]:
        file.check_header()
        if any(True for _ in file.damaged_pages()):
            return "refused"
    first, last = map(int, vector.one("get").split())
    data = file.get(first, last)
    assert len(data) == (last - first) * int(record)
    if bytes.fromhex(magic) == manifest.PACKS_MAGIC:
        for place in range(first, last):
            manifest.pack_at(file, place // 3, place % 3, 3)
    return "success"


def read_seal(vector):
    assert tuple(seal.decode_bundle(vector.data)) == manifest.SEAL_FILES
    return "success"


def read_parity(vector):
    """Every choice of k packs gives all others, each cut to its length."""
    data, count = map(int, vector.one("parity").split())
    lengths = [int(text) for text in vector.one("lengths").split()]
    ends = np.cumsum(lengths)
    packs = [vector.data[end - length : end] for end, length in zip(ends, lengths, strict=True)]
    columns = [bytearray(pack.ljust(max(lengths), b"\0")) for pack in packs]
    choices = list(combinations(range(data + count), data))
    for have in choices[:: max(1, len(choices) // 100)]:
        want = {role: np.empty(max(lengths), dtype=np.uint8) for role in range(data + count) if role not in have}
        parity.rebuild(data, count, {role: columns[role] for role in have}, want)
        if any(want[role].tobytes()[: lengths[role]] != packs[role] for role in want):
            return "refused"
    return "success"


READERS = {
    "data pack": read_pack,
    "row": read_row,
    "tar": read_tar,
    "paged": read_paged,
    "seal file": read_seal,
    "parity": read_parity,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_vector_comes_out_as_it_says(name):
    vector = Vector(name)
    try:
        outcome = READERS[vector.kind](vector)
    except Lost:
        outcome = "lost"
    except FormatError:
        outcome = "refused"
    assert outcome == vector.expect


@pytest.fixture
def unpacked(tmp_path, request):
    """The pack opened by age, zstd and tar alone."""
    vector = Vector(request.param)
    missing = [tool for tool in ("age", "zstd", "tar") if shutil.which(tool) is None]
    if missing and "CI" not in os.environ:
        pytest.skip(f"not installed: {missing}")
    (tmp_path / "key").write_text(vector.one("identity"))
    (tmp_path / "out").mkdir()
    data = subprocess.run(["age", "-d", "-i", tmp_path / "key"], input=vector.data, capture_output=True, check=True)
    data = subprocess.run(["zstd", "-d"], input=data.stdout, capture_output=True, check=True)
    command = ["tar", "-x", "-p", "-f", "-", "-C", tmp_path / "out"]
    subprocess.run(command, input=data.stdout, capture_output=True, check=True)
    return vector, os.fsencode(tmp_path / "out")


@pytest.mark.parametrize("unpacked", ["pack_files", "pack_folders", "pack_small", "sparse_all_hole"], indirect=True)
def test_standard_tools_take_out_what_the_rows_say(unpacked):
    vector, folder = unpacked
    for row in vector.rows:
        path = folder + b"/" + (row.path + b".part-000001" if row.start else row.path)
        status = os.lstat(path)
        if row.kind == FILE:
            assert blake3(pathlib.Path(os.fsdecode(path)).read_bytes()).digest() == row.blake3
        if row.kind == SYMLINK:
            assert os.readlink(path) == row.link
        elif row.kind == HARDLINK:
            assert os.path.samefile(path, folder + b"/" + row.link)
        else:
            assert status.st_mode & 0o7777 == row.mode
        assert status.st_mtime_ns == row.mtime


def test_the_rows_of_the_vector_are_what_its_headers_say():
    vector = Vector("pack_files")
    content = content_of(vector)
    stream = content.read(0, content.size)
    found = {member.name: member for member in walk(stream)}
    assert len(found) == len(vector.rows)
    for row in vector.rows:
        member = found[row.path + b".part-000001" if row.start else row.path]
        assert (member.mode, member.mtime_ns, member.link) == (row.mode, row.mtime, row.link)
        if row.kind == FILE:
            assert (member.data, member.size) == (row.offset, row.stored)


class Silence:
    """A coordinator that gives credit and asks nothing."""

    credit = 1 << 30

    def __init__(self, work):
        self.work, self.sent = work, []

    def send(self, message):
        self.sent.append(message)

    def wait_for(self, column):
        pass

    def ask(self, role, room):
        return self.work.pop(0) if self.work else []


def build(source, work, threads):
    """The pack that a builder makes of `work`, what it tells, and an identity that opens it."""
    identity = Vector("pack_small").one("identity")
    recipient = parse_identity(identity).recipient
    channel = Silence([work])
    setup = units.Setup(os.fsencode(source), [str(recipient)], 8 << 20, 2, 4 << 20, 3, None, threads)
    memory = memoryview(bytearray(2 * 3 * (4 << 20)))
    process = builder.Builder(channel, setup, memory)
    pack = builder.PackBuilder(process, 3, 1)
    while pack.step():
        pass
    ended = next(message for message in channel.sent if isinstance(message, units.Ended))
    first = 1 * setup.depth * setup.slab
    return memory[first : first + ended.length].tobytes(), ended, identity


def unit(row, vector_rows):
    links = [other.path for other in vector_rows if other.kind == HARDLINK and other.link == row.path]
    part = row.path + b".part-000001" if row.start else b""
    size = row.size if row.kind == FILE else 0
    sparse = bool(row.flags & SPARSE)
    return units.Unit(row.path, row.kind, size, row.mode, row.mtime, row.start, row.length, links, part, sparse)


def lay_out(vector, source):
    """The tree that the vector was made of."""
    content = content_of(vector)
    folders = []
    for row in vector.rows:
        path = os.fsencode(source) + b"/" + row.path
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if row.kind == DIRECTORY:
            os.makedirs(path, exist_ok=True)
            folders.append(row)
        elif row.kind == SYMLINK:
            os.symlink(row.link, path)
        elif row.kind == HARDLINK:
            os.link(os.fsencode(source) + b"/" + row.link, path)
        else:
            with open(path, "wb") as file:
                file.truncate(row.size)
                file.seek(row.start)
                if not row.flags & SPARSE:
                    file.write(content.read(row.offset, row.length))
                for at, piece in content.extents(row.offset, row.stored, row.length) if row.flags & SPARSE else ():
                    file.seek(row.start + at)
                    file.write(piece)
            os.chmod(path, row.mode)
            os.utime(path, ns=(row.mtime, row.mtime))


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("name", ["pack_files", "pack_folders"])
def test_the_builder_writes_the_tar_and_the_frames_of_the_vector(name, threads, tmp_path):
    vector = Vector(name)
    lay_out(vector, tmp_path)
    work = [unit(row, vector.rows) for row in vector.rows if row.kind != HARDLINK]
    file, ended, identity = build(tmp_path, work, threads)
    plain = age.decrypt(file, [parse_identity(identity)])
    footer = plain[-zstd.FOOTER :]
    table = plain[-zstd.seek_table_length(zstd.seek_table_frames(footer, len(plain))) :]
    packed, raw = (np.diff(ends) for ends in zstd.parse_seek_table(table, len(plain)))
    assert raw.tolist() == vector.frames[1]
    assert table == zstd.seek_table(packed, raw)
    assert len(plain) == ended.plain
    theirs, ours = PackContent(Plain(plain)), content_of(vector)
    assert theirs.size == ours.size
    assert theirs.read(0, theirs.size) == ours.read(0, ours.size)


def test_the_generator_writes_what_is_committed(tmp_path):
    spec = importlib.util.spec_from_file_location("make_pack", VECTORS / "make_pack.py")
    make_pack = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "make_pack", make_pack)
        patch.syspath_prepend(str(VECTORS))
        spec.loader.exec_module(make_pack)
    make_pack.main(str(tmp_path), lambda _: None)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {name: (VECTORS / "pack" / name).read_bytes() for name in NAMES}


def test_there_is_a_vector_for_every_kind_of_end():
    assert {Vector(name).expect for name in NAMES} == {"success", "refused", "lost", "digest"}
    assert {Vector(name).kind for name in NAMES} == set(READERS)
