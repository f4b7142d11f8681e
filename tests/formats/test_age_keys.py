"""Recipients and identities: their text forms, and what is refused."""

from __future__ import annotations

import base64
import contextlib
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from sealift.errors import KeyInvalid
from sealift.formats import age_keys
from sealift.formats.age_keys import (
    SSHIdentity,
    SSHRecipient,
    X25519Identity,
    X25519Recipient,
    generate_identity,
    parse_identities,
    parse_identity,
    parse_recipient,
    parse_recipients_file,
)

# From the C2SP specification: an identity of 32 bytes of 0x42, and its recipient.
SPEC_IDENTITY = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX"
SPEC_RECIPIENT = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"

seeds = st.binary(min_size=32, max_size=32)


def openssh(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def ssh_line(public):
    wire = b"".join(len(part).to_bytes(4, "big") + part for part in (b"ssh-ed25519", public))
    return "ssh-ed25519 " + base64.b64encode(wire).decode()


def test_the_keys_of_the_specification():
    identity = parse_identity(SPEC_IDENTITY)
    assert str(identity.recipient) == SPEC_RECIPIENT
    assert identity.recipient == parse_recipient(SPEC_RECIPIENT)
    assert X25519Identity(b"\x42" * 32).recipient == identity.recipient


@settings(max_examples=50)
@given(seeds)
def test_bech32_round_trips(secret):
    text = age_keys._bech32_encode("age-secret-key-", secret)
    assert age_keys._bech32_decode(text) == ("age-secret-key-", secret)
    assert age_keys._bech32_decode(text.upper()) == ("age-secret-key-", secret)


def bech32_of_values(values):
    """A Bech32 string with a right checksum over any values."""
    check = age_keys._bech32_polymod([*age_keys._bech32_expand("age"), *values, 0, 0, 0, 0, 0, 0]) ^ 1
    values = [*values, *(check >> shift & 31 for shift in range(25, -1, -5))]
    return "age1" + "".join("qpzry9x8gf2tvdw0s3jn54khce6mua7l"[value] for value in values)


def test_stray_bits_at_the_end_of_a_key_are_refused():
    values = ["qpzry9x8gf2tvdw0s3jn54khce6mua7l".index(c) for c in SPEC_RECIPIENT[4:-6]]
    assert bech32_of_values(values) == SPEC_RECIPIENT
    # 52 values are 260 bits: 4 more than the key has. A 53rd would be a whole value too many.
    for wrong in ([*values[:-1], values[-1] | 1], [*values, 0], values[:-1], []):
        with pytest.raises(KeyInvalid):
            parse_recipient(bech32_of_values(wrong))
    for count in (1, 3, 6, 54):  # what is left over is no whole byte, and five bits or more
        with pytest.raises(KeyInvalid):
            age_keys._bech32_decode(bech32_of_values([0] * count))


def test_letters_that_only_look_like_ascii_are_refused():
    # The Kelvin sign is upper case, and its lower case is an ASCII k.
    keys = (age_keys._bech32_encode("age-secret-key-", bytes(31) + bytes([n])).upper() for n in range(256))
    key = next(key for key in keys if "K" in key[16:])
    parse_identity(key)
    with pytest.raises(KeyInvalid):
        parse_identity(key[:16] + key[16:].replace("K", "\u212a"))


def test_what_is_generated_is_parsed():
    secret, public = generate_identity()
    assert str(parse_identity(secret).recipient) == public == str(parse_recipient(public))
    assert generate_identity()[0] != secret


@settings(max_examples=300)
@given(st.sampled_from([SPEC_IDENTITY, SPEC_RECIPIENT]), st.data())
def test_a_mistyped_key_is_refused(key, data):
    at = data.draw(st.integers(0, len(key) - 1))
    letter = data.draw(st.characters(codec="utf-8") | st.sampled_from("qpzry9x8gf2tvdw0s3jn54khce6mua7l1"))
    wrong = data.draw(
        st.sampled_from([key[:at] + letter + key[at + 1 :], key[:at] + letter + key[at:], key[:at] + key[at + 1 :]])
    )
    for parse in (parse_identity, parse_recipient):
        if wrong != key:
            with pytest.raises(KeyInvalid):
                parse(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "age1",
        SPEC_RECIPIENT.upper(),
        SPEC_RECIPIENT[:20] + SPEC_RECIPIENT[20:].upper(),
        SPEC_RECIPIENT + "\n",
        " " + SPEC_RECIPIENT,
        SPEC_RECIPIENT.replace("e", "\u212f"),
        age_keys._bech32_encode("age", b"\x42" * 31),
        age_keys._bech32_encode("age", b"\x42" * 33),
        age_keys._bech32_encode("age", bytes(32)),
        age_keys._bech32_encode("age", b"\1" + bytes(31)),
        age_keys._bech32_encode("age1pq", b"\x42" * 32),
        age_keys._bech32_encode("age1tagpq", b"\x42" * 1216),
        age_keys._bech32_encode("age1tag", b"\x42" * 33),
        age_keys._bech32_encode("age-secret-key-", b"\x42" * 32),
        SPEC_IDENTITY,
        "ssh-rsa AAAAB3NzaC1yc2E=",
        "github:somebody",
    ],
)
def test_what_is_not_a_recipient_is_refused_with_a_hint(text):
    with pytest.raises(KeyInvalid) as caught:
        parse_recipient(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "",
        SPEC_RECIPIENT,
        SPEC_IDENTITY.lower(),
        SPEC_IDENTITY + " ",
        age_keys._bech32_encode("age-secret-key-", b"\x42" * 31).upper(),
        age_keys._bech32_encode("age-secret-key-pq-", b"\x42" * 31).upper(),
        age_keys._bech32_encode("age-secret-key-pq-", b"\x42" * 32),
        age_keys._bech32_encode("age-secret-key-tagpq-", b"\x42" * 32).upper(),
        age_keys._bech32_encode("age-plugin-yubikey-", b"\x42" * 32).upper(),
    ],
)
def test_what_is_not_an_identity_is_refused_with_a_hint(text):
    with pytest.raises(KeyInvalid) as caught:
        parse_identity(text)
    assert caught.value.hint


def test_an_error_never_repeats_a_secret():
    for text in (SPEC_IDENTITY[:-1] + "Q", SPEC_IDENTITY + "Q", SPEC_IDENTITY.lower()):
        for call in (lambda: parse_identities(text.encode()), lambda: parse_recipient(text)):  # noqa: B023
            with pytest.raises(KeyInvalid) as caught:
                call()
            assert "gfpyys" not in f"{caught.value} {caught.value.hint}".lower()
    identities = [parse_identity(SPEC_IDENTITY), SSHIdentity(b"\x42" * 32)]
    assert "4242" not in repr(identities)
    assert "gfpyys" not in repr(identities).lower()


# -- ssh-ed25519 ----------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_the_point_of_an_ssh_key_is_that_of_its_secret(seed):
    identity = SSHIdentity(seed)
    # The formula over the public coordinate, against the scalar multiplication of the secret one.
    assert identity.recipient._point == identity._secret.public_key().public_bytes_raw()


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_openssh_keys_are_parsed(seed):
    key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    (identity,) = parse_identities(openssh(key))
    assert parse_recipient(line) == parse_recipient(line + " a comment") == identity.recipient
    assert str(identity.recipient) == line


P = 2**255 - 19


@pytest.mark.parametrize(
    "y",
    [0, 1, P - 1, P, P + 1, 2, 7, 1 << 255, 2**255 - 1],
)
def test_what_is_no_point_for_encryption_is_refused(y):
    with pytest.raises(KeyInvalid):
        parse_recipient(ssh_line(y.to_bytes(32, "little")))


GOOD_LINE = ssh_line(ed25519.Ed25519PrivateKey.from_private_bytes(b"\x42" * 32).public_key().public_bytes_raw())


@pytest.mark.parametrize(
    "line",
    [
        "ssh-ed25519",
        "ssh-ed25519 ",
        GOOD_LINE.replace(" ", "  "),
        GOOD_LINE + "=",
        GOOD_LINE[:-1],
        GOOD_LINE[:-4],
        GOOD_LINE + "AAAA",
        GOOD_LINE.replace("AAAAC3", "AAAAC2"),
        GOOD_LINE + " one\ntwo",
        GOOD_LINE.replace("A", "é"),
        "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x21" + bytes(33)).decode(),
    ],
)
def test_a_malformed_ssh_key_is_refused(line):
    with pytest.raises(KeyInvalid) as caught:
        parse_recipient(line)
    assert caught.value.hint


def test_a_protected_ssh_key_is_refused_with_a_hint(tmp_path):
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", path], check=True)
    with pytest.raises(KeyInvalid, match="passphrase") as caught:
        parse_identities(path.read_bytes())
    assert "ssh-keygen -p" in caught.value.hint


def test_other_private_keys_are_refused():
    other = ec.generate_private_key(ec.SECP256R1())
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for data in (
        openssh(other),
        pem,
        b"-----BEGIN OPENSSH PRIVATE KEY-----\n",
        b"-----BEGIN AGE ENCRYPTED FILE-----\n",
    ):
        with pytest.raises(KeyInvalid) as caught:
            parse_identities(data)
        assert caught.value.hint


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_mutated_private_key_gives_only_our_error(data):
    wire = bytearray(
        base64.b64decode(
            b"".join(openssh(ed25519.Ed25519PrivateKey.from_private_bytes(b"\x42" * 32)).splitlines()[1:-1])
        )
    )
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(wire)))
        wire[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    text = b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + base64.b64encode(wire) + b"\n-----END OPENSSH PRIVATE KEY-----\n"
    with contextlib.suppress(KeyInvalid):
        parse_identities(text)


# -- files ----------------------------------------------------------------------------------------


def test_files_of_keys():
    text = f"# created: today\n\n{SPEC_IDENTITY}\r\n# é\n{generate_identity()[0]}".encode()
    assert [type(key) for key in parse_identities(text)] == [X25519Identity] * 2
    text = f"# all of us\n{SPEC_RECIPIENT}\n\n{GOOD_LINE} me\r\n".encode()
    assert [type(key) for key in parse_recipients_file(text)] == [X25519Recipient, SSHRecipient]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"# only a comment\n",
        b"\xff\xfe",
        b"\n\nnonsense",
        b"age-encryption.org/v1\n-> scrypt",
        f"  {SPEC_IDENTITY}".encode(),
        f"{SPEC_IDENTITY}\n".encode() * 129,
        b"#" * 131073,
        f"{SPEC_RECIPIENT}\n".encode() * 129,
    ],
)
def test_other_files_are_refused(data):
    for parse in (parse_identities, parse_recipients_file):
        with pytest.raises(KeyInvalid):
            parse(data)


def test_an_error_in_a_file_names_its_line():
    with pytest.raises(KeyInvalid, match="line 3: ") as caught:
        parse_identities(f"# one\n{SPEC_IDENTITY}\n{SPEC_RECIPIENT}\n".encode())
    assert "public half" in caught.value.hint


@settings(max_examples=200)
@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_give_only_our_error(data):
    for parse in (parse_identities, parse_recipients_file):
        with pytest.raises(KeyInvalid):
            parse(data)


def test_128_keys_are_taken():
    assert len(parse_recipients_file(f"{SPEC_RECIPIENT}\n".encode() * 128)) == 128
