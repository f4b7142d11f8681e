"""Writing and reading age payloads: lengths, random access, damage, and what a failed write leaves."""

from __future__ import annotations

import contextlib
import copy
import gc
import io
import os
import pickle
import threading

import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealift.errors import AgeError, IdentityMismatch, KeyInvalid
from sealift.formats import age, age_header
from sealift.formats.age import CHUNK, SEALED_CHUNK, TAG, Encryptor, Opener, Reader, Writer
from sealift.formats.age_keys import generate_identity, parse_identities, parse_recipient

SECRET, PUBLIC = generate_identity()
IDENTITIES = parse_identities(SECRET.encode())
RECIPIENT = parse_recipient(PUBLIC)
NOISE = os.urandom(4 * CHUNK + 100)

# Lengths around every edge that there is, and some others.
EDGES = [n for chunks in range(4) for n in (chunks * CHUNK - 1, chunks * CHUNK, chunks * CHUNK + 1) if n >= 0]
lengths = st.one_of(st.sampled_from(EDGES), st.integers(0, 4 * CHUNK))


def noise(length, start=0):
    return NOISE[start : start + length]


def sealed(length):
    return age.encrypt(noise(length), [RECIPIENT])


def reader(data, **how):
    return Reader(lambda at, n: data[at : at + n], len(data), *([] if how else [IDENTITIES]), **how)


@settings(max_examples=40, deadline=None)
@given(lengths)
def test_what_is_encrypted_is_decrypted_and_as_long_as_was_said(length):
    data = sealed(length)
    start = age_header.parse_header(data).payload_start
    assert age.decrypt(data, IDENTITIES) == noise(length)
    assert len(data) == age.sealed_length(length, start)
    assert age.plain_length(len(data), start) == length


@settings(max_examples=200)
@given(st.one_of(lengths, st.integers(0, age.MAX_CHUNKS * CHUNK)), st.integers(0, 1000))
def test_lengths_invert(length, header):
    assert age.plain_length(age.sealed_length(length, header), header) == length


@settings(max_examples=200)
@given(
    st.integers(-10, 3 * SEALED_CHUNK)
    | st.sampled_from([SEALED_CHUNK * k + d for k in (0, 1, 2) for d in range(-17, 18)])
)
def test_a_length_that_no_file_has_is_refused(body):
    possible = any(age.sealed_length(n, 200) == body + 200 for n in range(max(0, body - 3 * TAG), body + 1))
    if possible:
        age.plain_length(200 + body, 200)
    else:
        with pytest.raises(AgeError):
            age.plain_length(200 + body, 200)


@pytest.mark.parametrize("plain", [-1, age.MAX_CHUNKS * CHUNK + 1])
def test_more_than_a_file_holds_is_refused(plain):
    with pytest.raises(AgeError):
        age.sealed_length(plain, 0)
    with pytest.raises(AgeError):
        age.plain_length(TAG * (age.MAX_CHUNKS + 1) + age.MAX_CHUNKS * CHUNK + 1, 0)


@settings(max_examples=40, deadline=None)
@given(lengths, st.lists(st.integers(0, 2 * CHUNK), max_size=12))
def test_a_writer_does_not_care_how_it_is_fed(length, cuts):
    pieces = []
    with Writer([RECIPIENT], pieces.append) as writer:
        at = 0
        for cut in [*cuts, length]:
            part = noise(max(0, min(cut, length - at)), at)
            assert writer.write(part) == len(part)
            at += len(part)
            assert writer.tell() == at
        writer.write(noise(length - at, at))
    assert age.decrypt(b"".join(pieces), IDENTITIES) == noise(length)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_range_is_that_range_of_the_whole(data):
    length = data.draw(lengths)
    file = reader(sealed(length))
    model = io.BytesIO(noise(length))
    assert file.size == length
    assert file.seekable()
    assert file.readable()
    for _ in range(data.draw(st.integers(1, 8))):
        whence = data.draw(st.sampled_from([io.SEEK_SET, io.SEEK_CUR, io.SEEK_END]))
        base = {io.SEEK_SET: 0, io.SEEK_CUR: file.tell(), io.SEEK_END: length}[whence]
        target = data.draw(st.one_of(st.sampled_from(EDGES), st.integers(0, length + 10)))
        assert file.seek(target - base, whence) == model.seek(target) == file.tell()
        count = data.draw(st.one_of(st.just(-1), st.sampled_from(EDGES), st.integers(0, 4 * CHUNK)))
        assert file.read(count) == model.read(count)
        assert file.tell() == model.tell()
        into, expected = (bytearray(b"\xaa" * 3000) for _ in range(2))
        assert file.readinto(into) == model.readinto(expected)
        assert into == expected


def test_a_reader_fetches_no_more_than_it_needs():
    data = sealed(40 * CHUNK // 10)  # four chunks
    asked = []

    def read_at(offset, count):
        asked.append((offset, count))
        return data[offset : offset + count]

    file = Reader(read_at, len(data), IDENTITIES)
    start = file.header.payload_start
    assert asked == [(0, 4096), (start + 3 * SEALED_CHUNK, SEALED_CHUNK)]
    del asked[:]
    file.seek(CHUNK + 5)
    file.read(10)
    file.read(10)
    assert asked == [(start + SEALED_CHUNK, SEALED_CHUNK)]


def test_a_long_read_is_fetched_a_megabyte_at_a_time():
    plain = NOISE[:CHUNK] * 40
    data = age.encrypt(plain, [RECIPIENT])
    counts = []

    def read_at(offset, count):
        counts.append(count)
        return memoryview(data)[offset : offset + count]

    file = Reader(read_at, len(data), IDENTITIES)
    assert file.read() == plain
    assert max(counts) == 16 * SEALED_CHUNK
    assert sum(counts) < len(data) + 2 * SEALED_CHUNK


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([0, 1, 100, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 7]), st.data())
def test_a_flipped_bit_anywhere_is_an_error_and_never_wrong_bytes(length, data):
    good = sealed(length)
    inside = st.integers(0, len(good) - 1)
    start = age_header.parse_header(good).payload_start
    at = data.draw(inside | st.integers(0, start) | st.sampled_from([start, start + CHUNK, len(good) - 1]))
    bad = bytearray(good)
    bad[min(at, len(bad) - 1)] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((AgeError, IdentityMismatch)):
        age.decrypt(bytes(bad), IDENTITIES)
    if at >= start:
        assert_no_wrong_byte(bytes(bad), noise(length), at)


def assert_no_wrong_byte(bad, plain, at):
    """Every chunk but the damaged one still reads right, if the last one is whole."""
    try:
        file = reader(bad)
    except AgeError:
        return
    for begin in range(0, len(plain), CHUNK):
        file.seek(begin)
        into = bytearray(b"\xaa" * CHUNK)
        try:
            count = file.readinto(into)
        except AgeError:
            assert at >= file.header.payload_start + begin // CHUNK * SEALED_CHUNK
            assert not any(into[: len(plain) - begin])
            assert file.tell() == begin
        else:
            assert into[:count] == plain[begin : begin + CHUNK]


@settings(max_examples=80, deadline=None)
@given(st.sampled_from([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK]), st.data())
def test_a_truncated_file_is_refused_at_once(length, data):
    good = sealed(length)
    start = age_header.parse_header(good).payload_start
    ends = [start + k * SEALED_CHUNK + d for k in range(4) for d in (-1, 0, 1, 15, 16, 17)]
    keep = data.draw(st.integers(0, len(good) - 1) | st.sampled_from([end for end in ends if end < len(good)]))
    with pytest.raises(AgeError):
        reader(good[:keep])


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([0, 1, CHUNK - 1, CHUNK, 2 * CHUNK]), st.sampled_from([1, 15, 16, 17, SEALED_CHUNK]))
def test_an_extended_file_is_refused_at_once(length, more):
    with pytest.raises(AgeError):
        reader(sealed(length) + bytes(more))


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(4)).filter(lambda order: order != [0, 1, 2, 3]))
def test_chunks_that_changed_places_do_not_open(order):
    good = sealed(4 * CHUNK)
    start = age_header.parse_header(good).payload_start
    chunks = [good[start + i * SEALED_CHUNK :][:SEALED_CHUNK] for i in range(4)]
    with pytest.raises(AgeError):
        age.decrypt(good[:start] + b"".join(chunks[i] for i in order), IDENTITIES)


def test_a_chunk_of_another_file_of_the_same_key_holder_does_not_open():
    one, other = sealed(2 * CHUNK), sealed(2 * CHUNK)
    start = age_header.parse_header(one).payload_start
    with pytest.raises(AgeError):
        age.decrypt(one[: start + SEALED_CHUNK] + other[start + SEALED_CHUNK :], IDENTITIES)


def test_bytes_that_did_not_authenticate_are_wiped():
    data = sealed(CHUNK)
    header = age_header.parse_header(data)
    key = age.payload_key(age.unwrap(header, IDENTITIES), data[header.length : header.payload_start])
    chunk = bytearray(data[header.payload_start :])
    chunk[-1] ^= 1
    out = bytearray(b"\xaa" * (CHUNK + 9))
    with pytest.raises(AgeError):
        Opener(key).open_chunk(0, chunk, out, last=True)
    assert out == bytes(CHUNK) + b"\xaa" * 9


def damaged_in_chunk_1():
    bad = bytearray(sealed(3 * CHUNK))
    bad[age_header.parse_header(bad).payload_start + SEALED_CHUNK + 7] ^= 1
    return reader(bytes(bad))


def test_a_read_that_fails_half_way_leaves_nothing_of_what_it_had():
    file = damaged_in_chunk_1()
    into = bytearray(b"\xaa" * 3 * CHUNK)
    with pytest.raises(AgeError, match="chunk 1 "):
        file.readinto(into)
    assert not any(into)
    assert file.tell() == 0


@pytest.mark.parametrize("cached", [0, 2])
def test_a_chunk_that_fails_does_not_pass_for_the_one_read_before(cached):
    file = damaged_in_chunk_1()
    file.seek(cached * CHUNK + 10)
    assert file.read(10) == noise(10, cached * CHUNK + 10)
    for _ in range(2):
        file.seek(CHUNK + 10)
        with pytest.raises(AgeError):
            file.read(10)
    file.seek(cached * CHUNK + 10)
    assert file.read(10) == noise(10, cached * CHUNK + 10)


def test_one_opener_serves_many_threads():
    data = sealed(4 * CHUNK)
    header = age_header.parse_header(data)
    opener = Opener(age.payload_key(age.unwrap(header, IDENTITIES), data[header.length :][:16]))
    wrong = []

    def work(index):
        out = bytearray(CHUNK)
        for _ in range(50):
            chunk = data[header.payload_start + index * SEALED_CHUNK :][:SEALED_CHUNK]
            opener.open_chunk(index, chunk, out, last=index == 3)
            if out != noise(CHUNK, index * CHUNK):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 9])
def test_a_run_of_chunks_is_those_chunks(size):
    data = sealed(size)
    header = age_header.parse_header(data)
    opener = Opener(age.payload_key(age.unwrap(header, IDENTITIES), data[header.length :][:16]))
    body = memoryview(data)[header.payload_start :]
    count = -(-len(body) // SEALED_CHUNK)
    for first in range(count):
        for stop in range(first + 1, count + 1):
            piece, last = body[first * SEALED_CHUNK : stop * SEALED_CHUNK], stop == count
            out = memoryview(bytearray(b"x" * (size + 5)))
            length = len(piece) - (stop - first) * 16
            assert opener.open_run(first, piece, out, last=last) == length
            assert out[:length] == noise(length, first * CHUNK)
            assert out[length:] == b"x" * (size + 5 - length)
            with pytest.raises(AgeError):
                opener.open_run(first, piece, out, last=not last)
            with pytest.raises(AgeError):
                opener.open_run(first + 1, piece, out, last=last)
            if length:
                with pytest.raises(AgeError):
                    opener.open_run(first, piece, out[: length - 1], last=last)
                with pytest.raises(AgeError):
                    opener.open_run(first, piece[:-1], out, last=last)
    for wrong in range(count):
        spoilt = bytearray(body)
        spoilt[wrong * SEALED_CHUNK] ^= 1
        out = memoryview(bytearray(b"x" * size))
        with pytest.raises(AgeError):
            opener.open_run(0, memoryview(spoilt), out, last=True)
        assert out[: wrong * CHUNK] == noise(min(wrong * CHUNK, size))
        after = min((wrong + 1) * CHUNK, size)
        assert out[wrong * CHUNK : after] == bytes(after - wrong * CHUNK), "nothing of what does not authenticate"
        assert out[after:] == b"x" * (size - after)


@pytest.mark.parametrize("index", [-1, 1, age.MAX_CHUNKS, 1 << 88])
def test_a_chunk_opens_at_its_place_alone(index):
    data = sealed(5)
    header = age_header.parse_header(data)
    opener = Opener(age.payload_key(age.unwrap(header, IDENTITIES), data[header.length :][:16]))
    chunk, out = data[header.payload_start :], bytearray(5)
    with pytest.raises(AgeError):
        opener.open_chunk(index, chunk, out, last=True)
    with pytest.raises(AgeError):
        opener.open_chunk(0, chunk, out, last=False)
    with pytest.raises(AgeError):
        opener.open_chunk(0, chunk, bytearray(4), last=True)
    assert opener.open_chunk(0, chunk, out, last=True) == 5
    assert out == noise(5)


# -- the writer -----------------------------------------------------------------------------------


def test_an_encryptor_draws_fresh_key_and_nonce_each_time():
    headers = [Encryptor([RECIPIENT]).header for _ in range(50)]
    assert len({header[-16:] for header in headers}) == 50
    keys = {age.unwrap(age_header.parse_header(header), IDENTITIES) for header in headers}
    assert len(keys) == 50
    assert len({age_header.parse_header(header).stanzas[0].args for header in headers}) == 50


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_an_encryptor_is_not_duplicated(duplicate):
    with pytest.raises(TypeError, match="not copied"):
        duplicate(Encryptor([RECIPIENT]))


def test_an_encryptor_takes_no_other_lengths():
    out = bytearray(2 * SEALED_CHUNK)
    encryptor = Encryptor([RECIPIENT])
    for length, last in [(0, False), (1, False), (CHUNK - 1, False), (CHUNK + 1, False), (CHUNK + 1, True)]:
        with pytest.raises(AgeError):
            encryptor.seal_chunk(noise(length), out, last=last)
    with pytest.raises(AgeError, match="do not fit"):
        encryptor.seal_chunk(noise(CHUNK), bytearray(CHUNK + 15), last=True)
    assert encryptor.seal_chunk(noise(CHUNK), out, last=False) == SEALED_CHUNK
    assert not any(out[SEALED_CHUNK:])
    first = bytes(out[:SEALED_CHUNK])
    with pytest.raises(AgeError):
        encryptor.seal_chunk(b"", out, last=True)
    assert encryptor.seal_chunk(b"end", memoryview(out)[10:], last=True) == 19
    assert age.decrypt(encryptor.header + first + out[10:29], IDENTITIES) == noise(CHUNK) + b"end"
    for last in (True, False):
        with pytest.raises(AgeError, match="nothing follows"):
            encryptor.seal_chunk(noise(CHUNK), out, last=last)


def test_a_chunk_that_failed_in_the_primitive_ends_the_file():
    encryptor = Encryptor([RECIPIENT])
    with pytest.raises(TypeError):
        encryptor.seal_chunk(noise(CHUNK), bytes(SEALED_CHUNK), last=False)  # not writable
    with pytest.raises(AgeError):
        encryptor.seal_chunk(noise(CHUNK), bytearray(SEALED_CHUNK), last=False)


def test_the_counter_is_bounded(monkeypatch):
    monkeypatch.setattr(age, "MAX_CHUNKS", 2)
    encryptor, out = Encryptor([RECIPIENT]), bytearray(SEALED_CHUNK)
    encryptor.seal_chunk(noise(CHUNK), out, last=False)
    encryptor.seal_chunk(noise(CHUNK), out, last=False)
    with pytest.raises(AgeError):
        encryptor.seal_chunk(b"a", out, last=True)


@pytest.mark.parametrize("recipients", [[], [RECIPIENT] * (age_header.MAX_STANZAS + 1)])
def test_no_recipient_and_too_many_are_refused(recipients):
    with pytest.raises(KeyInvalid):
        Encryptor(recipients)
    with pytest.raises(KeyInvalid):
        Writer(recipients, bytearray().extend)


def test_the_most_recipients_make_a_file_that_is_read():
    data = age.encrypt(b"to all", [RECIPIENT] * age_header.MAX_STANZAS)
    assert len(data) > 4096  # so that the first, short read of the header is not enough
    assert age.decrypt(data, IDENTITIES) == b"to all"


def interrupted(writer):
    with writer:
        writer.write(b"half")
        raise KeyboardInterrupt


def abandoned(writer):
    writer.write(b"half")
    writer.abandon()


def dropped(writer):
    writer.write(b"half")


@pytest.mark.parametrize("leave", [interrupted, abandoned, dropped])
@pytest.mark.parametrize("before", [0, 3 * CHUNK])
def test_a_writer_that_is_left_early_leaves_no_whole_file(leave, before):
    out = bytearray()
    writer = Writer([RECIPIENT], out.extend)
    writer.write(noise(before))
    try:
        leave(writer)
    except KeyboardInterrupt:
        assert writer.closed
    del writer
    gc.collect()
    with pytest.raises(AgeError):
        age.decrypt(bytes(out), IDENTITIES)


def test_a_sink_that_failed_once_gets_nothing_more():
    taken = []

    def sink(data):
        if len(taken) == 2:
            raise OSError("disk full")
        taken.append(data)

    writer = Writer([RECIPIENT], sink)
    with pytest.raises(OSError, match="disk full"):
        writer.write(noise(3 * CHUNK))
    taken.clear()
    with pytest.raises(AgeError):
        writer.write(noise(2 * CHUNK))
    with pytest.raises(AgeError):
        writer.close()
    assert writer.closed
    assert not taken
    writer.close()


def test_a_writer_is_an_ordinary_file_object():
    out = bytearray()
    writer = Writer([RECIPIENT], out.extend)
    assert writer.writable()
    assert not writer.readable()
    assert not writer.seekable()
    assert writer.write(memoryview(b"abcdefgh").cast("H")) == 8
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.write(b"more")
    assert age.decrypt(bytes(out), IDENTITIES) == b"abcdefgh"


def test_parquet_is_written_and_read_through_it():
    table = pyarrow.table({"n": pyarrow.array(range(300_000)), "noise": [os.urandom(9)] * 300_000})
    out = bytearray()
    with Writer([RECIPIENT], out.extend) as writer:
        pyarrow.parquet.write_table(table, writer, row_group_size=50_000)
    assert len(out) > 3 * SEALED_CHUNK
    assert pyarrow.parquet.read_table(reader(bytes(out))).equals(table)
    group = pyarrow.parquet.ParquetFile(reader(bytes(out))).read_row_group(3, ["n"])
    assert group.column("n").to_pylist() == list(range(150_000, 200_000))


# -- the reader's edges ---------------------------------------------------------------------------


def test_a_closed_reader_says_so():
    file = reader(sealed(10))
    file.close()
    for call in (file.read, file.tell, file.readable, file.seekable, file.readall, lambda: file.seek(0)):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_positions_before_the_start_are_refused():
    file = reader(sealed(10))
    with pytest.raises(ValueError, match="position"):
        file.seek(-1)
    with pytest.raises(ValueError, match="position"):
        file.seek(0, 9)
    assert file.seek(20) == 20
    assert file.read() == b""
    assert not file.writable()


def test_a_file_key_stands_for_an_identity_and_is_checked():
    data = sealed(10)
    key = age.unwrap(age_header.parse_header(data), IDENTITIES)
    assert reader(data, file_key=key).read() == noise(10)
    for wrong in (bytes(16), key[:15], key + b"\0"):
        with pytest.raises(AgeError):
            reader(data, file_key=wrong)


def test_a_file_key_does_not_excuse_a_header_that_was_changed():
    data = sealed(10)
    header = age_header.parse_header(data)
    key = age.unwrap(header, IDENTITIES)
    added = header.raw.replace(b"---", b"-> added\n\n---") + data[header.length :]
    with pytest.raises(AgeError, match="MAC"):
        reader(added, file_key=key)


@pytest.mark.parametrize("give", [lambda piece: piece[:-1], lambda piece: piece + b"\0", lambda _: b""])
def test_a_source_that_gives_too_little_or_too_much_is_refused(give):
    data = sealed(2 * CHUNK)
    tampering = False
    file = Reader(lambda at, n: give(data[at : at + n]) if tampering else data[at : at + n], len(data), IDENTITIES)
    tampering = True
    with pytest.raises(AgeError):
        file.read()
    with pytest.raises(AgeError):
        Reader(lambda at, n: give(data[at : at + n]), len(data), IDENTITIES)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_mutated_header_gives_only_our_errors(data):
    good = bytearray(age.encrypt(b"age", [RECIPIENT] * 2))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(good)))
        some = data.draw(
            st.binary(max_size=4)
            | st.sampled_from([b"\n", b" ", b"-> ", b"---", b"\r\n", b"=", b"-> X25519 A\n", b"-> scrypt\n\n"])
        )
        good[at : at + data.draw(st.integers(0, 6))] = some
    with contextlib.suppress(AgeError, IdentityMismatch):
        assert age.decrypt(bytes(good), IDENTITIES) == b"age"


@settings(max_examples=300)
@given(st.binary(max_size=300), st.sampled_from([b"", b"age-encryption.org/v1\n", b"age-encryption.org/v1\n-> "]))
def test_any_bytes_give_only_our_errors(junk, intro):
    with pytest.raises(AgeError):
        age_header.parse_header(intro + junk)
    with pytest.raises(AgeError):
        age.decrypt(intro + junk, IDENTITIES)
