"""allowed_signers against `ssh-keygen -Y verify`: the same lines accept and refuse; others are named."""

import os
import shutil
import subprocess
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sealift.errors import KeyInvalid, SignatureInvalid
from sealift.formats import sshsig
from sealift.formats.allowed_signers import AllowedSigners, matches

KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([i]) * 32) for i in (1, 2))
LINE, OTHER_LINE = (sshsig.public_key_of(key).line for key in (KEY, OTHER))
MESSAGE = b"message\n"
SIGNATURE = sshsig.sign_ed25519(MESSAGE, KEY, "sealift")
AT = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


def ours(text, principal="a@x", at=AT):
    try:
        AllowedSigners.parse(text.encode()).signer(MESSAGE, SIGNATURE, "sealift", at, principal=principal)
    except (SignatureInvalid, KeyInvalid):
        return False
    return True


def theirs(folder, text, principal="a@x"):
    (folder / "allowed").write_text(text)
    (folder / "s.sig").write_bytes(SIGNATURE)
    at = AT.strftime("verify-time=%Y%m%d%H%M%SZ")
    who = ["-f", "allowed", "-I", principal, "-n", "sealift", "-s", "s.sig"]
    command = ["ssh-keygen", "-Y", "verify", "-O", at, *who]
    return subprocess.run(command, input=MESSAGE, capture_output=True, cwd=folder, check=False).returncode == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    if shutil.which("ssh-keygen") is None and not os.environ.get("CI"):
        pytest.skip("ssh-keygen is not installed")
    return tmp_path_factory.mktemp("allowed")


CASES = {
    f"a@x {LINE}": True,
    f"a@x\t{LINE} a comment": True,
    f"  a@x   {LINE}\n": True,
    f"# comment\n\n   # another\na@x {LINE}\n": True,
    f'"a@x" {LINE}': True,
    f"b@x,a@x {LINE}": True,
    f"*@x {LINE}": True,
    f"?@x {LINE}": True,
    f"*@x,!a@x {LINE}": False,
    f"!a@x,*@x {LINE}": False,
    f"*@x,!b@x {LINE}": True,
    f"b@x {LINE}": False,
    f"A@X {LINE}": False,
    f"a@x {OTHER_LINE}": False,
    f"a@x {OTHER_LINE}\na@x {LINE}": True,
    f'a@x namespaces="sealift" {LINE}': True,
    f'a@x NameSpaces="sealift" {LINE}': True,
    f'a@x namespaces="sealift-release" {LINE}': False,
    f'a@x namespaces="other,sea*" {LINE}': True,
    f'a@x namespaces="!sealift,*" {LINE}': False,
    f'a@x namespaces="sealift-*" {LINE}': False,
    f'a@x namespaces="other" {LINE}\na@x namespaces="sealift" {LINE}': True,
    f"a@x namespaces=sealift {LINE}": False,
    f'a@x namespaces="" {LINE}': False,
    f'a@x namespaces="sealift", {LINE}': False,
    f'a@x namespaces="sealift",namespaces="sealift" {LINE}': False,
    f'a@x valid-after="20260601Z" {LINE}': True,
    f'a@x valid-after="202606011200Z" {LINE}': True,
    f'a@x valid-after="20260601120001Z" {LINE}': False,
    f'a@x valid-before="20260601120000Z" {LINE}': True,
    f'a@x valid-before="202606011159utc" {LINE}': False,
    f'a@x valid-before="20260601Z" {LINE}': False,
    f'a@x namespaces="sealift",valid-after="20260101Z",valid-before="20270101Z" {LINE}': True,
    f'a@x valid-after="20270101Z",valid-before="20260101Z" {LINE}': False,
    f'a@x valid-after="20261301Z" {LINE}': False,
    f"a@x valid-after=20250101Z {LINE}": False,
    f"a@x no-such-option {LINE}": False,
    f"a@x cert-authority {LINE}": False,
    f"{LINE}": False,
    "a@x": False,
    "": False,
}


@pytest.mark.parametrize(("text", "accepted"), CASES.items())
def test_same_verdict_as_ssh_keygen(folder, text, accepted):
    assert theirs(folder, text) is accepted
    assert ours(text) is accepted


PATTERNS = st.text("ab*?!,", min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(patterns=PATTERNS, name=st.text("ab", min_size=1, max_size=5))
@example("a*b*a", "abba")
def test_patterns_as_in_ssh_keygen(folder, patterns, name):
    assert matches(name, patterns) is theirs(folder, f"{patterns} {LINE}", name)


def test_hostile_patterns_cost_little():
    assert not matches("a" * 255, "*a" * 500 + "b")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"a@x cert-authority {LINE}", "certificate authorities are not used"),
        (f"# first\nok {LINE}\na@x {LINE[:-4]}", "line 3"),
        (f'a@x valid-after="20260601" {LINE}', "has no Z"),
        ("a@x ssh-dss AAAA", "line 1"),
        (f"a@x verify-required {LINE}", "an option that is not understood"),
        (f"a@x {LINE}\0", "line 1"),
        ("a@x\n" * 10_001, "lines"),
        ("#" * ((1 << 20) + 1), "bytes long"),
    ],
)
def test_a_file_that_is_not_wholly_understood_is_refused(text, why):
    with pytest.raises(KeyInvalid, match=why):
        AllowedSigners.parse(text.encode())


@given(st.one_of(st.binary(max_size=200), st.text(max_size=99).map(lambda t: (f"a {t} " + LINE).encode())))
def test_any_bytes_parse_or_are_key_invalid(data):
    try:
        AllowedSigners.parse(data)
    except KeyInvalid as error:
        assert str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "at", "why"),
    [
        (f"a@x {OTHER_LINE}", AT, "not among the allowed signers: SHA256:"),
        (f'a@x namespaces="sealift-seal" {LINE}', AT, "not allowed in namespace 'sealift'"),
        (f'a@x valid-after="20270101Z" {LINE}', AT, "not yet valid"),
        (f'a@x valid-before="20250101Z" {LINE}', AT, "no longer valid"),
        (f'a@x valid-before="20270101Z" {LINE}', None, "no time was given"),
    ],
)
def test_refusals_say_which_rule_failed(text, at, why):
    with pytest.raises(SignatureInvalid, match=why):
        AllowedSigners.parse(text.encode()).signer(MESSAGE, SIGNATURE, "sealift", at)


def test_signature_over_other_bytes_is_refused():
    allowed = AllowedSigners.parse(f"a@x {LINE}".encode())
    with pytest.raises(SignatureInvalid, match="not over these bytes"):
        allowed.signer(MESSAGE + b"!", SIGNATURE, "sealift")
    with pytest.raises(SignatureInvalid, match="for namespace 'sealift', not for 'sealift-release'"):
        allowed.signer(MESSAGE, SIGNATURE, "sealift-release")


def test_a_key_on_several_lines_counts_by_the_first_that_allows_it():
    text = f'first namespaces="other" {LINE}\nsecond,*@x {LINE}\nthird {LINE}\n'
    signer = AllowedSigners.parse(text.encode()).signer(MESSAGE, SIGNATURE, "sealift")
    assert signer.principal == "second,*@x"
    assert signer.key.line == LINE
