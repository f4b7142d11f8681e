"""Signing with key files, passphrases and agents; files limited; what was there is kept."""

import errno
import os
import shutil
import subprocess
import time

import pytest

from sealift.errors import BadInput, KeyInvalid
from sealift.formats import sshsig
from sealift.trade import signing
from sealift.trade.signing import Signer

KINDS = {"ed25519": [], "ecdsa": ["-b", "384"], "rsa": ["-b", "2048"]}


def need(*tools):
    for tool in tools:
        if shutil.which(tool) is None and not os.environ.get("CI"):
            pytest.skip(f"{tool} is not installed")


def keygen(path, kind, *options, passphrase=""):
    command = [
        "ssh-keygen",
        "-q",
        "-t",
        kind,
        "-N",
        passphrase,
        "-C",
        "c",
        *KINDS[kind],
        *options,
        "-f",
        path,
    ]
    subprocess.run(command, check=True)
    return path


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    need("ssh-keygen")
    folder = tmp_path_factory.mktemp("keys")
    for kind in KINDS:
        keygen(folder / kind, kind)
    keygen(folder / "locked", "ed25519", passphrase="secret")
    return folder


@pytest.mark.parametrize("name", [*KINDS, "ed25519.pub", "ecdsa.pub"])
def test_every_kind_of_key_file_signs(keys, name):
    signer = Signer.open(keys / name)
    signer.prove()
    signature = signer.sign(b"message", "sealift")
    assert sshsig.verify(b"message", signature, "sealift") == signer.public_key
    assert signer.public_key == signing.load_public_key(keys / (name.removesuffix(".pub") + ".pub"))


def test_old_pem_files_sign_with_the_public_half_beside_them(keys, tmp_path):
    keygen(tmp_path / "pem", "rsa", "-m", "PEM")
    Signer.open(tmp_path / "pem").prove()
    os.unlink(tmp_path / "pem.pub")
    with pytest.raises(KeyInvalid, match="there is no"):
        Signer.open(tmp_path / "pem")


def test_a_locked_key_is_known_but_does_not_sign_without_its_passphrase(keys, monkeypatch):
    for variable in ("SSH_AUTH_SOCK", "SSH_ASKPASS", "DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    signer = Signer.open(keys / "locked")
    assert signer.public_key == signing.load_public_key(keys / "locked.pub")
    # the test's own terminal must not be asked
    monkeypatch.setattr(signing.subprocess, "run", in_new_session(subprocess.run))
    with pytest.raises(KeyInvalid, match="did not sign") as caught:
        signer.prove()
    assert "ssh-add" in caught.value.hint


def in_new_session(run):
    return lambda *args, **options: run(*args, **(options | {"start_new_session": True}))


def test_an_agent_signs_for_a_pub_file(keys, tmp_path, monkeypatch):
    need("ssh-agent", "ssh-add")
    socket = tmp_path / "agent"
    keygen(tmp_path / "k", "ed25519")
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        for _ in range(100):
            added = subprocess.run(["ssh-add", "-q", tmp_path / "k"], capture_output=True, check=False)
            if added.returncode == 0:
                break
            time.sleep(0.05)
        os.unlink(tmp_path / "k")
        signer = Signer.open(tmp_path / "k.pub")
        signer.prove()
        assert sshsig.verify(b"m", signer.sign(b"m", "sealift-release"), "sealift-release") == signer.public_key
    finally:
        agent.terminate()
        agent.wait(10)
    with pytest.raises(KeyInvalid, match="did not sign"):
        signer.prove()


def test_a_private_key_that_is_not_the_public_one_is_found(keys, tmp_path):
    shutil.copy(keys / "ecdsa", tmp_path / "k")
    shutil.copy(keys / "rsa.pub", tmp_path / "k.pub")
    with pytest.raises(KeyInvalid):
        Signer.open(tmp_path / "k.pub").prove()


def test_a_signature_by_another_key_or_of_something_else_is_not_passed_on(keys, monkeypatch):
    signer, other = Signer.open(keys / "ecdsa"), Signer.open(keys / "ed25519")
    monkeypatch.setattr(Signer, "_ssh_keygen", lambda _, message, namespace: other.sign(message, namespace))
    with pytest.raises(KeyInvalid, match="another key"):
        signer.prove()
    monkeypatch.setattr(Signer, "_ssh_keygen", lambda _, __, namespace: other.sign(b"else", namespace))
    with pytest.raises(KeyInvalid, match="does not verify"):
        signer.prove()


def test_a_missing_ssh_keygen_is_said(keys, monkeypatch):
    monkeypatch.setenv("PATH", "")
    Signer.open(keys / "ed25519").prove()
    with pytest.raises(KeyInvalid, match="not installed"):
        Signer.open(keys / "ecdsa").prove()


@pytest.mark.parametrize(
    "data", [b"", b"garbage", b"\xff" * 99, b"-----BEGIN OPENSSH PRIVATE KEY-----\n", b"x" * 70000]
)
def test_files_that_are_no_keys(tmp_path, data):
    (tmp_path / "k").write_bytes(data)
    with pytest.raises(KeyInvalid):
        Signer.open(tmp_path / "k")


@pytest.mark.parametrize("cut", range(0, 300, 7))
def test_cut_key_files(keys, tmp_path, cut):
    data = (keys / "locked").read_bytes()
    (tmp_path / "k").write_bytes(data[:cut] + data[cut + 5 :])
    try:
        Signer.open(tmp_path / "k")
    except KeyInvalid as error:
        assert str(error)  # noqa: PT017


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", ".", "absent", "nul\0"):
        with pytest.raises(BadInput):
            signing.read_limited(os.path.join(tmp_path, name), 10, "file")
    (tmp_path / "long").write_bytes(b"x" * 11)
    with pytest.raises(BadInput, match="longer than 10"):
        signing.read_limited(str(tmp_path / "long"), 10, "file")
    with pytest.raises(BadInput):
        signing.load_allowed_signers(tmp_path / "absent")


def test_write_new_never_replaces(tmp_path):
    path = str(tmp_path / "f")
    signing.write_new(path, b"one")
    with pytest.raises(BadInput, match="there already"):
        signing.write_new(path, b"two")
    os.symlink("nowhere", tmp_path / "link")
    with pytest.raises(BadInput, match="there already"):
        signing.write_new(str(tmp_path / "link"), b"two")
    with pytest.raises(BadInput):
        signing.write_new(str(tmp_path / "absent" / "f"), b"x")
    assert {entry.name for entry in tmp_path.iterdir()} == {"f", "link"}
    assert (tmp_path / "f").read_bytes() == b"one"


def test_write_new_is_whole_or_not_there_and_comes_after_nobody(tmp_path, monkeypatch):
    path, fsync = str(tmp_path / "f"), os.fsync

    def fails(_handle):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(BadInput, match="Input/output error"):
        signing.write_new(path, b"half")
    assert not list(tmp_path.iterdir())

    def another_came(handle):
        if not os.path.exists(path):
            (tmp_path / "f").write_bytes(b"theirs")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", another_came)
    with pytest.raises(BadInput, match="there already"):
        signing.write_new(path, b"ours")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("f", b"theirs")]


def test_write_new_does_without_hard_links(tmp_path, monkeypatch):
    def no_links(_source, _target):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    before = os.umask(0o027)
    try:
        signing.write_new(str(tmp_path / "f"), b"one")
    finally:
        os.umask(before)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("f", b"one")]
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640


def test_pairs_are_kept_under_numbers(tmp_path):
    path = str(tmp_path / "d.release.json")
    assert signing.write_pair(path, b"1", b"s1") is None
    assert signing.write_pair(path, b"2", b"s2") == str(tmp_path / "d.release.1.json")
    assert signing.write_pair(path, b"3", b"s3") == str(tmp_path / "d.release.2.json")
    held = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    assert held == {
        "d.release.json": b"3",
        "d.release.json.sig": b"s3",
        "d.release.1.json": b"1",
        "d.release.1.json.sig": b"s1",
        "d.release.2.json": b"2",
        "d.release.2.json.sig": b"s2",
    }
    with pytest.raises(BadInput):
        signing.write_pair(str(tmp_path / "absent" / "x"), b"", b"")


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_what_is_no_file_is_neither_moved_nor_replaced(tmp_path, kind):
    """As root that would be /dev/null, or /dev/stdout."""
    path = tmp_path / "there"
    os.mkfifo(tmp_path / "pipe")
    path.mkdir() if kind == "folder" else path.symlink_to("pipe") if kind == "link" else os.mkfifo(path)
    before = sorted(os.listdir(tmp_path)), path.lstat().st_ino
    for write in (
        lambda: signing.write_over(str(path), b"x"),
        lambda: signing.write_over(str(path), b"x", keep=False),
        lambda: signing.write_pair(str(path), b"x", b"y"),
    ):
        with pytest.raises(BadInput, match="nothing was changed"):
            write()
    assert (sorted(os.listdir(tmp_path)), path.lstat().st_ino) == before
