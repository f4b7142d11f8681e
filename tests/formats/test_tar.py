"""Our tar headers are what Python's tarfile and GNU tar read, for any name, time, size and link."""

import contextlib
import io
import os
import subprocess
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealift.errors import FormatError
from sealift.formats import tar

PARTS = st.binary(min_size=1, max_size=255).map(lambda b: b.replace(b"/", b"_").replace(b"\0", b"0"))
PARTS = PARTS.filter(lambda part: part not in {b".", b".."})
NAMES = st.lists(PARTS, min_size=1, max_size=6).map(b"/".join)
TIMES = st.integers(-(2**62), 2**62)
MODES = st.integers(0, 0o7777)


def walk(data):
    """Members by our own parser, over a whole archive."""
    offset, pax, found = 0, {}, []
    while data[offset : offset + 512].strip(b"\0"):
        member = tar.parse_header(data[offset : offset + 512], offset, pax)
        body = data[member.data : member.data + member.size]
        if member.kind == tar.PAX:
            pax = tar.parse_pax(body)
        else:
            found.append((member, body))
            pax = {}
        offset = member.data + member.size + tar.padding(member.size)
    return found


@settings(max_examples=150)
@given(st.lists(st.tuples(NAMES, st.binary(max_size=1500), MODES, TIMES), min_size=1, max_size=5))
def test_files_read_back_by_tarfile_and_by_us(files):
    data = b"".join(
        tar.header(name, tar.REGULAR, len(content), mode, mtime) + content + bytes(tar.padding(len(content)))
        for name, content, mode, mtime in files
    )
    data += tar.END
    ours = walk(data)
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as theirs:
        members = theirs.getmembers()
        assert len(members) == len(ours) == len(files)
        for (name, content, mode, mtime), member, (our, body) in zip(files, members, ours, strict=True):
            assert os.fsencode(member.name) == name.rstrip(b"/") == our.name
            assert theirs.extractfile(member).read() == content == body
            assert member.mode == mode == our.mode
            assert our.mtime_ns == mtime
            assert abs(member.mtime - mtime / 1e9) <= 1e-3 + abs(mtime) * 1e-15
            assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")


@settings(max_examples=80)
@given(NAMES, NAMES, TIMES, st.sampled_from([tar.SYMLINK, tar.HARDLINK]))
def test_links_read_back(name, target, mtime, kind):
    data = tar.header(name, kind, 0, 0o777, mtime, target) + tar.END
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as theirs:
        member = theirs.next()
    assert (os.fsencode(member.name), os.fsencode(member.linkname)) == (name, target)
    assert member.issym() if kind == tar.SYMLINK else member.islnk()
    ((ours, _),) = walk(data)
    assert (ours.name, ours.link, ours.kind, ours.mtime_ns) == (name, target, kind, mtime)


@given(st.integers(0, 2**62))
def test_sizes_of_any_length(size):
    block = tar.header(b"file", tar.REGULAR, size, 0o644, 0)
    with tarfile.open(fileobj=io.BytesIO(block + tar.END)) as theirs:
        assert theirs.next().size == size


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(NAMES, st.integers(0, 2**33 * 10**9)), min_size=1, max_size=4, unique_by=lambda f: f[0]))
def test_gnu_tar_extracts_names_and_times_to_the_nanosecond(tmp_path_factory, files):
    files = [
        (name, mtime)
        for name, mtime in files
        if not any(other.startswith(name + b"/") or name.startswith(other + b"/") for other, _ in files)
    ]
    target = os.fsencode(tmp_path_factory.mktemp("tar"))
    data = b"".join(tar.header(name, tar.REGULAR, 3, 0o640, mtime) + b"abc" + bytes(509) for name, mtime in files)
    subprocess.run(["tar", "-x", "-p", "-f", "-", "-C", target], input=data + tar.END, check=True, capture_output=True)
    for name, mtime in files:
        status = os.stat(target + b"/" + name)
        assert (status.st_mtime_ns, status.st_size, status.st_mode & 0o7777) == (mtime, 3, 0o640)


EXTENTS = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), max_size=30)


@settings(max_examples=15, deadline=None)
@given(EXTENTS, st.integers(0, 9000), NAMES)
def test_sparse_maps_round_trip_and_gnu_tar_makes_the_file(tmp_path_factory, gaps, tail, name):
    extents, end = [], 0
    for gap, length in gaps:  # whole blocks, as GNU tar wants them; the last may end anywhere
        extents.append((end + gap * tar.BLOCK, length * tar.BLOCK))
        end += (gap + length) * tar.BLOCK
    if extents and not tail:
        extents[-1] = (extents[-1][0], extents[-1][1] - 300)
        end -= 300
    size = end + tail
    chart = tar.sparse_map(extents, size)
    parsed, used = tar.parse_sparse_map(chart + b"data follows")
    assert used == len(chart)
    assert [extent for extent in parsed if extent[1]] == extents
    pieces = [bytes([65 + number % 26]) * length for number, (_, length) in enumerate(extents)]
    stored = len(chart) + sum(map(len, pieces))
    data = tar.sparse_header(name, stored, size, 0o600, 5) + chart + b"".join(pieces) + bytes(tar.padding(stored))
    target = os.fsencode(tmp_path_factory.mktemp("sparse"))
    subprocess.run(["tar", "-x", "-f", "-", "-C", target], input=data + tar.END, check=True, capture_output=True)
    wanted = bytearray(size)
    for (offset, length), piece in zip(extents, pieces, strict=True):
        wanted[offset : offset + length] = piece
    with open(target + b"/" + name, "rb") as file:
        assert file.read() == wanted


@settings(max_examples=300)
@given(st.binary(max_size=1200), st.data())
def test_parsers_raise_only_format_errors(noise, data):
    for parse in (tar.parse_pax, tar.parse_sparse_map):
        with contextlib.suppress(FormatError):
            parse(noise)
    block = bytearray(tar.header(b"name", tar.REGULAR, 5, 0o644, 0))
    for _ in range(data.draw(st.integers(1, 4))):
        block[data.draw(st.integers(0, 511))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):  # a checksum that holds, so that the other fields are looked at
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
    with contextlib.suppress(FormatError):
        tar.parse_header(bytes(block), 0, data.draw(st.dictionaries(st.sampled_from([b"size", b"mtime"]), st.binary())))


def test_a_sparse_map_beyond_its_limits_is_refused():
    for text in (
        b"",
        b"5\n",
        b"1\n0\n",
        b"99999999\n",
        b"2\n5\n5\n0\n5\n",
        b"-1\n",
        b"1\nx\n1\n",
        b"1\n" + b"9" * 40 + b"\n1\n",
    ):
        with pytest.raises(FormatError):
            tar.parse_sparse_map(text)
