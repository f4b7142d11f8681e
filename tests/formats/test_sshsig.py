"""SSHSIG against ssh-keygen in both directions, against its vectors, and against every flipped bit."""

import base64
import hashlib
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from sealift.errors import KeyInvalid, SignatureInvalid
from sealift.formats import sshsig

VECTORS = Path(__file__).parents[1] / "vectors" / "sshsig"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
MESSAGE = b'{\n  "type": "sealift-manifest"\n}\n'
SIGNATURE = sshsig.sign_ed25519(MESSAGE, KEY, "sealift")


def need(tool):
    if shutil.which(tool) is None and not os.environ.get("CI"):
        pytest.skip(f"{tool} is not installed")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    need("ssh-keygen")
    folder = tmp_path_factory.mktemp("keys")
    kinds = {
        "ed25519": ["-t", "ed25519"],
        "ecdsa256": ["-t", "ecdsa", "-b", "256"],
        "ecdsa384": ["-t", "ecdsa", "-b", "384"],
        "ecdsa521": ["-t", "ecdsa", "-b", "521"],
        "rsa": ["-t", "rsa", "-b", "2048"],
    }
    for name, options in kinds.items():
        subprocess.run(["ssh-keygen", "-q", "-N", "", "-C", name, *options, "-f", folder / name], check=True)
    return folder


def keygen_sign(key, message, namespace, *options):
    command = ["ssh-keygen", "-q", "-Y", "sign", *options, "-n", namespace, "-f", key]
    return subprocess.run(command, input=message, capture_output=True, check=True).stdout


def keygen_verifies(folder, public_line, message, signature, namespace):
    (folder / "allowed").write_text(f"someone {public_line}\n")
    (folder / "s.sig").write_bytes(signature)
    command = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", "someone", "-n", namespace, "-s", "s.sig"]
    return subprocess.run(command, input=message, capture_output=True, cwd=folder, check=False).returncode == 0


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa256", "ecdsa384", "ecdsa521", "rsa"])
@pytest.mark.parametrize("digest", ["sha512", "sha256"])
def test_what_ssh_keygen_signs_verifies_here(keys, kind, digest):
    signature = keygen_sign(keys / kind, MESSAGE, "sealift", "-O", f"hashalg={digest}")
    key = sshsig.verify(MESSAGE, signature, "sealift")
    assert key == sshsig.parse_public_key((keys / f"{kind}.pub").read_bytes())
    printed = subprocess.run(["ssh-keygen", "-l", "-f", keys / kind], capture_output=True, check=True).stdout
    assert printed.split()[1].decode() == key.fingerprint
    assert sshsig.verify(sshsig.Prehashed.of([MESSAGE[:3], MESSAGE[3:]]), signature, "sealift") == key
    for message, namespace in ((MESSAGE + b"\n", "sealift"), (MESSAGE, "sealift-release"), (b"", "sealift")):
        with pytest.raises(SignatureInvalid):
            sshsig.verify(message, signature, namespace)


@settings(max_examples=12, deadline=None)
@given(message=st.binary(max_size=300), namespace=st.sampled_from(["sealift", "sealift-release", "x" * 99]))
def test_ed25519_is_byte_identical_to_ssh_keygen(keys, message, namespace):
    from sealift.trade.signing import Signer

    private = Signer.open(keys / "ed25519").private_key
    ours = sshsig.sign_ed25519(message, private, namespace)
    assert ours == keygen_sign(keys / "ed25519", message, namespace)
    assert keygen_verifies(keys, sshsig.public_key_of(private).line, message, ours, namespace)


def flip(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_every_flipped_bit_of_a_signature_file_is_refused():
    for bit in range(len(SIGNATURE) * 8):
        with pytest.raises(SignatureInvalid, match="sig"):
            sshsig.verify(MESSAGE, flip(SIGNATURE, bit), "sealift")


def test_a_damaged_signature_is_told_from_its_record():
    """The words reach a gate's list of what holds it, without the hint: they say which file it is, and what to do."""
    damaged = sshsig.armor(sshsig.dearmor(SIGNATURE).replace(b"ssh-ed25519", b"ssh-ed2551\xb9"))
    with pytest.raises(
        SignatureInvalid, match=r"its \.sig is damaged \(a name in the data is not ASCII\): take another"
    ):
        sshsig.parse(damaged)


@given(st.integers(0, len(MESSAGE) * 8 - 1))
def test_every_flipped_bit_of_the_message_is_refused(bit):
    with pytest.raises(SignatureInvalid, match="not over these bytes"):
        sshsig.verify(flip(MESSAGE, bit), SIGNATURE, "sealift")


@pytest.mark.parametrize("kind", ["ecdsa256", "ecdsa521", "rsa"])
def test_every_flipped_bit_of_other_kinds_is_refused(keys, kind):
    blob = sshsig.dearmor(keygen_sign(keys / kind, MESSAGE, "sealift"))
    for bit in range(0, len(blob) * 8, 3 if kind != "rsa" else 11):
        with pytest.raises(SignatureInvalid):
            sshsig.verify(MESSAGE, sshsig.armor(flip(blob, bit)), "sealift")


@given(st.binary(max_size=1500))
def test_armor_is_the_only_form(blob):
    text = sshsig.armor(blob)
    assert sshsig.dearmor(text) == blob
    assert all(len(line) <= 70 for line in text.split(b"\n"))
    for other in (text[:-1], text + b"\n", text.replace(b"\n", b"\r\n"), b" " + text):
        with pytest.raises(SignatureInvalid):
            sshsig.dearmor(other)


@given(st.data())
def test_mutated_blobs_raise_only_signature_invalid(data):
    blob = bytearray(sshsig.dearmor(SIGNATURE))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(blob)))
        blob[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    if bytes(blob) != sshsig.dearmor(SIGNATURE):
        with pytest.raises(SignatureInvalid):
            sshsig.verify(MESSAGE, sshsig.armor(bytes(blob)), "sealift")


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200)))
def test_public_keys_parse_or_are_refused(text):
    with pytest.raises(KeyInvalid):
        sshsig.parse_public_key(text)


def string(data):
    return len(data).to_bytes(4, "big") + data


def test_hardware_keys_verify_as_in_ssh_keygen(tmp_path):
    """No token here: its signature is built by PROTOCOL.u2f, and ssh-keygen is asked for its opinion."""
    need("ssh-keygen")
    kind = b"sk-ssh-ed25519@openssh.com"
    raw = KEY.public_key().public_bytes_raw()
    blob = string(kind) + string(raw) + string(b"ssh:")
    line = f"{kind.decode()} {base64.b64encode(blob).decode()}"
    signed = sshsig.signed_data(MESSAGE, "sealift")
    flags_and_counter = b"\x01" + (7).to_bytes(4, "big")
    value = KEY.sign(hashlib.sha256(b"ssh:").digest() + flags_and_counter + hashlib.sha256(signed).digest())
    outer = string(string(kind) + string(value) + flags_and_counter)
    fields = [string(blob), string(b"sealift"), string(b""), string(b"sha512"), outer]
    signature = sshsig.armor(b"SSHSIG" + (1).to_bytes(4, "big") + b"".join(fields))
    assert sshsig.verify(MESSAGE, signature, "sealift").line == line
    assert keygen_verifies(tmp_path, line, MESSAGE, signature, "sealift")
    with pytest.raises(SignatureInvalid):
        sshsig.verify(MESSAGE + b"x", signature, "sealift")


def test_short_rsa_keys_are_refused(tmp_path):
    need("ssh-keygen")
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-t", "rsa", "-b", "1024", "-f", tmp_path / "k"], check=True)
    with pytest.raises(KeyInvalid, match="1024 bits"):
        sshsig.parse_public_key((tmp_path / "k.pub").read_bytes())


NAMES = sorted(path.name for path in VECTORS.iterdir())


def read_vector(name):
    head, _, body = (VECTORS / name).read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in head.decode().split("\n"))
    return fields, bytes.fromhex(fields["message"]), body


def test_there_are_vectors():
    assert {"ed25519", "armor_columns_76", "blob_version_2", "namespace_other", "rsa_sha1"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_vectors(name):
    fields, message, signature = read_vector(name)
    if fields["expect"] == "success":
        assert sshsig.verify(message, signature, fields["namespace"]).line == fields["key"]
    else:
        with pytest.raises(SignatureInvalid):
            sshsig.verify(message, signature, fields["namespace"])


@pytest.mark.parametrize("name", [name for name in NAMES if "profile" not in read_vector(name)[0]])
def test_ssh_keygen_agrees_with_the_vectors(name, tmp_path):
    need("ssh-keygen")
    fields, message, signature = read_vector(name)
    (tmp_path / "s.sig").write_bytes(signature)
    command = ["ssh-keygen", "-Y", "check-novalidate", "-n", fields["namespace"], "-s", tmp_path / "s.sig"]
    done = subprocess.run(command, input=message, capture_output=True, check=False)
    assert (done.returncode == 0) is (fields["expect"] == "success")


def test_the_generator_writes_what_is_committed(tmp_path):
    spec = importlib.util.spec_from_file_location("make_sshsig", VECTORS.parent / "make_sshsig.py")
    make_sshsig = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_sshsig)
    make_sshsig.main(str(tmp_path))
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {name: (VECTORS / name).read_bytes() for name in NAMES}
