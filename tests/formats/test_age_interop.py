"""Files that pass between this implementation, the age tool and pyrage, in both directions."""

from __future__ import annotations

import os
import shutil
import subprocess

import pyrage
import pytest

from sealift.errors import IdentityMismatch
from sealift.formats import age, age_header
from sealift.formats.age_keys import (
    generate_identity,
    parse_identities,
    parse_recipient,
    parse_recipients_file,
)

LENGTHS = [0, 1, 65535, 65536, 65537, 131072, 200_000]


@pytest.fixture(scope="module")
def tool():
    """Runs `age` with arguments over some input."""
    for program in ("age", "age-keygen", "ssh-keygen"):
        if shutil.which(program) is None and "CI" not in os.environ:
            pytest.skip(f"{program} is not installed")

    def run(*args, data=b"", program="age"):
        return subprocess.run([program, *args], input=data, capture_output=True, check=True).stdout

    return run


@pytest.fixture(scope="module")
def keys(tool, tmp_path_factory):
    """Identity file and recipient text of each kind, made by the real tools, and a second X25519 one."""
    folder = tmp_path_factory.mktemp("keys")
    made = {}
    for name in ("x25519", "other"):
        tool("-o", folder / name, program="age-keygen")
        made[name] = (folder / name, tool("-y", folder / name, program="age-keygen").decode().strip())
    tool("-q", "-t", "ed25519", "-N", "", "-C", "a comment", "-f", folder / "ssh", program="ssh-keygen")
    made["ssh"] = (folder / "ssh", (folder / "ssh.pub").read_text().strip())
    return made


def identities(keys, name):
    return parse_identities(keys[name][0].read_bytes())


@pytest.mark.parametrize("length", LENGTHS)
def test_age_opens_ours_and_we_open_ages(tool, keys, length):
    data = os.urandom(length)
    texts = [text for _, text in keys.values()]
    ours = age.encrypt(data, [parse_recipient(text) for text in texts])
    theirs = tool(*(arg for text in texts for arg in ("-r", text)), data=data)
    assert len(ours) == len(theirs)
    for name, (path, _) in keys.items():
        assert tool("-d", "-i", path, data=ours) == data
        assert age.decrypt(theirs, identities(keys, name)) == data


def test_one_of_ours_for_one_recipient_opens_for_no_other(tool, keys):
    for name, (path, text) in keys.items():
        ours = age.encrypt(b"for one", [parse_recipient(text)])
        assert tool("-d", "-i", path, data=ours) == b"for one"
        for other in keys.keys() - {name}:
            with pytest.raises(IdentityMismatch):
                age.decrypt(ours, identities(keys, other))
            with pytest.raises(subprocess.CalledProcessError):
                tool("-d", "-i", keys[other][0], data=ours)


def test_an_identity_we_generate_works_in_age(tool, tmp_path):
    secret, public = generate_identity()
    (tmp_path / "key").write_text(secret + "\n")
    assert tool("-y", tmp_path / "key", program="age-keygen").decode().strip() == public
    assert age.decrypt(tool("-r", public, data=b"hello"), parse_identities(secret.encode())) == b"hello"


def test_a_recipients_file_is_read_as_age_reads_it(tool, keys, tmp_path):
    text = "# us\n\n" + "".join(f"{text}\n" for _, text in keys.values())
    (tmp_path / "recipients").write_text(text)
    theirs = tool("-R", tmp_path / "recipients", data=b"hello")
    ours = age.encrypt(b"hello", parse_recipients_file(text.encode()))
    types = [[stanza.type for stanza in age_header.parse_header(data).stanzas] for data in (ours, theirs)]
    assert types[0] == types[1] == ["X25519", "X25519", "ssh-ed25519"]


@pytest.mark.parametrize("length", LENGTHS)
def test_pyrage_opens_ours_and_we_open_pyrages(keys, length):
    data = os.urandom(length)
    ours = age.encrypt(data, [parse_recipient(text) for _, text in keys.values()])
    secret = keys["x25519"][0].read_text().split("\n")[2]
    rage = (
        [pyrage.x25519.Identity.from_str(secret)],
        [pyrage.ssh.Identity.from_buffer(keys["ssh"][0].read_bytes())],
    )
    for names in rage:
        assert pyrage.decrypt(ours, names) == data
    public = [
        pyrage.x25519.Recipient.from_str(keys["x25519"][1]),
        pyrage.ssh.Recipient.from_str(keys["ssh"][1]),
    ]
    theirs = pyrage.encrypt(data, public)
    for name in ("x25519", "ssh"):
        assert age.decrypt(theirs, identities(keys, name)) == data
