"""Every age vector through every way of reading, and the generator's output against what is committed."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import os
import pathlib
import shutil
import subprocess
import sys
from dataclasses import dataclass

import npm_age
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sealift.errors import AgeError, IdentityMismatch
from sealift.formats import age, age_header
from sealift.formats.age_keys import SSHIdentity, parse_identity

VECTORS = pathlib.Path(__file__).parent.parent / "vectors"
NAMES = sorted(path.name for path in (VECTORS / "age").iterdir())


@pytest.fixture
def age_tool():
    path = shutil.which("age")
    if path is None and "CI" not in os.environ:
        pytest.skip("the age tool is not installed")
    assert path is not None
    return path


@dataclass
class Vector:
    expect: str
    payload: str
    identities: list
    file_key: bytes
    profile: bool
    lines: list[tuple[str, str]]
    data: bytes


def load(name):
    text, _, data = (VECTORS / "age" / name).read_bytes().partition(b"\n\n")
    lines = [tuple(line.split(": ", 1)) for line in text.decode().split("\n")]
    for offset, length in (map(int, value.split()) for key, value in lines if key == "zeros"):
        data = data[:offset] + bytes(length) + data[offset:]
    identities = [parse_identity(value) for key, value in lines if key == "identity"]
    identities += [SSHIdentity(bytes.fromhex(value)) for key, value in lines if key == "ssh seed"]
    only = dict(lines)
    key = bytes.fromhex(only["file key"])
    return Vector(only["expect"], only["payload"], identities, key, "profile" in only, lines, data)


def by_stages(vector):
    """What happened, in the words of `expect`, and the plaintext given out before; chunk after chunk."""
    try:
        header = age_header.parse_header(vector.data)
        keys = [identity.unwrap(header.stanzas) for identity in vector.identities]
    except AgeError:
        return "header failure", b""
    keys = [key for key in keys if key is not None]
    if not keys:
        with pytest.raises(IdentityMismatch):
            age.unwrap(header, vector.identities)
        return "no match", b""
    try:
        key = age.unwrap(header, vector.identities)
    except AgeError:
        return "HMAC failure", b""
    released = b""
    try:
        opener = age.Opener(age.payload_key(key, vector.data[header.length : header.payload_start]))
        rest = vector.data[header.payload_start :]
        index = 0
        while True:
            sealed, rest = rest[: age.SEALED_CHUNK], rest[age.SEALED_CHUNK :]
            out = bytearray(b"\xaa" * age.CHUNK)
            length = opener.open_chunk(index, sealed, out, last=not rest)
            released += out[:length]
            if not rest:
                return "success", released
            index += 1
    except AgeError:
        return "payload failure", released


def by_reader(vector, read, **how):
    """The same for a file object; it cannot tell the failures apart."""
    released = bytearray()
    try:
        data = vector.data
        identities = () if "file_key" in how else vector.identities
        with age.Reader(lambda at, n: data[at : at + n], len(data), identities, **how) as reader:
            read(reader, released)
    except IdentityMismatch:
        return "no match", bytes(released)
    except AgeError:
        return "failure", bytes(released)
    return "success", bytes(released)


def whole(reader, released):
    released += reader.read()


def small_steps(reader, released):
    while piece := reader.read(10_007):
        released += piece


def buffered(reader, released):
    with io.BufferedReader(reader, 50_000) as file:
        while piece := file.read(33_333):
            released += piece


def from_the_end(reader, released):
    at = reader.seek(0, io.SEEK_END)
    while at > 0:
        step = min(40_000, at)
        at = reader.seek(at - step)
        released[:0] = reader.read(step)


READS = [whole, small_steps, buffered, from_the_end]


@pytest.mark.parametrize("name", NAMES)
def test_each_stage_ends_as_expected(name):
    vector = load(name)
    outcome, released = by_stages(vector)
    assert outcome == vector.expect
    assert hashlib.sha256(released).hexdigest() == vector.payload


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("name", NAMES)
def test_each_reader_gives_out_what_is_right_and_nothing_else(name, read):
    vector = load(name)
    expect = vector.expect if vector.expect in {"success", "no match"} else "failure"
    outcome, released = by_reader(vector, read)
    assert outcome == expect
    if expect == "success":
        assert hashlib.sha256(released).hexdigest() == vector.payload
        assert (outcome, released) == by_reader(vector, read, file_key=vector.file_key)
        assert age.decrypt(vector.data, vector.identities) == released
        return
    # Before a failure: part of what a streaming reader gives out, which by_stages compares with `payload`.
    streamed = by_stages(vector)[1]
    assert released in streamed or read is from_the_end


@pytest.mark.parametrize("name", NAMES)
def test_what_follows_the_grammar_is_what_is_encoded(name):
    vector = load(name)
    if vector.expect != "header failure":
        header = age_header.parse_header(vector.data)
        text = b"age-encryption.org/v1\n" + b"".join(stanza.encode() for stanza in header.stanzas)
        mac = age_header.encode_base64(header.mac).encode()
        assert header.raw == text + b"--- " + mac + b"\n" == vector.data[: header.length]


# The age tool knows hybrid identities from 1.3 on only; the npm package is asked about these.
@pytest.mark.parametrize("name", [n for n in NAMES if not load(n).profile and not n.startswith("hybrid")])
def test_the_age_tool_agrees(name, age_tool, tmp_path):
    vector = load(name)
    keys = "".join(value + "\n" for key, value in vector.lines if key == "identity")
    for seed in (value for key, value in vector.lines if key == "ssh seed"):
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
        keys += key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    (tmp_path / "key").write_text(keys)
    command = [age_tool, "-d", "-i", tmp_path / "key"]
    done = subprocess.run(command, input=vector.data, capture_output=True, check=False)
    assert (done.returncode == 0) == (vector.expect == "success")
    if vector.expect == "success":
        assert hashlib.sha256(done.stdout).hexdigest() == vector.payload


def test_the_npm_package_agrees():
    # It knows no SSH keys.
    made = {name: load(name) for name in NAMES if not load(name).profile and not name.startswith("ssh")}
    questions = [
        npm_age.decrypt([value for key, value in vector.lines if key == "identity"], vector.data)
        for vector in made.values()
    ]
    for (name, vector), answer in zip(made.items(), npm_age.ask(questions), strict=True):
        assert ("data" in answer) == (vector.expect == "success"), (name, answer)
        if vector.expect == "success":
            assert hashlib.sha256(base64.b64decode(answer["data"])).hexdigest() == vector.payload


def test_the_generator_writes_what_is_committed(tmp_path):
    spec = importlib.util.spec_from_file_location("make_age", VECTORS / "make_age.py")
    make_age = importlib.util.module_from_spec(spec)
    sys.modules["make_age"] = make_age  # dataclasses look their module up
    spec.loader.exec_module(make_age)
    make_age.main(str(tmp_path), lambda _: None)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {name: (VECTORS / "age" / name).read_bytes() for name in NAMES}


def test_there_is_a_vector_for_every_kind_of_end():
    assert {load(name).expect for name in NAMES} == {
        "success", "no match", "header failure", "HMAC failure", "payload failure",
    }  # fmt: skip
