"""The hybrid post-quantum recipient: its keys, who it is mixed with, and files that pass to and from npm's package."""

from __future__ import annotations

import base64
import hashlib
import os

import npm_age
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealift.errors import AgeError, IdentityMismatch, KeyInvalid
from sealift.formats import age, age_header, age_keys
from sealift.formats.age_keys import (
    HybridIdentity,
    HybridRecipient,
    SSHIdentity,
    X25519Identity,
    generate_hybrid_identity,
    generate_identity,
    parse_identities,
    parse_identity,
    parse_recipient,
    parse_recipients_file,
)

# From the C2SP specification; of the recipient, which has 1959 characters, the SHA-256.
SPEC_IDENTITY = "AGE-SECRET-KEY-PQ-1XX76JRALNLXDMEW0CRK45QMCCH4X06SE84UN3VPM33W6HWDX0H3SK3ZQFR"
SPEC_RECIPIENT_DIGEST = "a091dd7e0ee9d62b75173dcc98441a0424baa941e66a8776e570a4ae60ff61ea"
OURS = HybridIdentity(b"\x42" * 32)


def test_the_keys_of_the_specification():
    recipient = str(parse_identity(SPEC_IDENTITY).recipient)
    assert recipient.startswith("age1pq1x34nzsvr0rxjsgdn8zgyhfe8j7ceq5r9rdelkjuh3y235jzxshfg")
    assert len(recipient) == 1959
    assert hashlib.sha256(recipient.encode()).hexdigest() == SPEC_RECIPIENT_DIGEST


def test_what_is_generated_is_parsed():
    secret, public = generate_hybrid_identity()
    assert secret.startswith("AGE-SECRET-KEY-PQ-1")
    assert str(parse_identity(secret).recipient) == public == str(parse_recipient(public))
    assert parse_identity(secret).recipient == parse_recipient(public)
    assert hash(parse_identity(secret).recipient) == hash(parse_recipient(public))
    assert generate_hybrid_identity()[0] != secret
    assert secret[20:40].lower() not in repr(parse_identity(secret)).lower()


def test_files_of_keys_hold_both_kinds():
    secret, public = generate_hybrid_identity()
    kinds = [type(key) for key in parse_identities(f"# ours\n{secret}\n{generate_identity()[0]}\n".encode())]
    assert kinds == [HybridIdentity, X25519Identity]
    longest = f"{public}\n".encode() * age.MAX_HYBRID
    assert len(parse_recipients_file(longest)) == age.MAX_HYBRID


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_mistyped_recipient_is_refused(data):
    key = str(OURS.recipient)
    at = data.draw(st.integers(0, len(key) - 1))
    letter = data.draw(st.sampled_from("qpzry9x8gf2tvdw0s3jn54khce6mua7l1Bé"))
    wrong = data.draw(st.sampled_from([key[:at] + letter + key[at + 1 :], key[:at] + key[at + 1 :], key.upper()]))
    if wrong != key:
        with pytest.raises(KeyInvalid):
            parse_recipient(wrong)


def beyond_modulus(public):
    return b"\xff\xff\xff" + public[3:]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda public: public[:-1],
        lambda public: public + b"\0",
        lambda _: b"",
        lambda public: public[:1184] + bytes(32),
        lambda public: public[:1184] + b"\1" + bytes(31),
        beyond_modulus,
    ],
)
def test_what_nothing_can_be_encrypted_to_is_refused(spoil):
    public = spoil(OURS.recipient.public)
    with pytest.raises(KeyInvalid) as caught:
        parse_recipient(age_keys._bech32_encode("age1pq", public))
    assert caught.value.hint


def test_an_endless_key_is_refused_before_it_is_decoded():
    with pytest.raises(KeyInvalid, match="4096 characters"):
        parse_recipient("age1" + "q" * 4093)


# -- who may be beside whom -----------------------------------------------------------------------

CLASSIC = [X25519Identity(b"\x42" * 32).recipient, SSHIdentity(b"\x42" * 32).recipient]


@pytest.mark.parametrize("classic", CLASSIC)
@pytest.mark.parametrize("order", [1, -1])
def test_a_post_quantum_recipient_is_mixed_with_no_other(classic, order):
    for make in (age.Encryptor, age.check_recipients, lambda some: age.encrypt(b"x", some)):
        with pytest.raises(KeyInvalid, match="mixed") as caught:
            make([OURS.recipient, classic][::order])
        assert "age1pq1" in caught.value.hint


def test_as_many_as_a_header_holds():
    most = [OURS.recipient] * age.MAX_HYBRID
    header = age_header.parse_header(age.Encryptor(most).header)
    assert age_header.MAX_HEADER - 1557 < header.length <= age_header.MAX_HEADER
    assert len(header.stanzas[0].encode()) == 1557
    with pytest.raises(KeyInvalid, match="42"):
        age.Encryptor([*most, OURS.recipient])


def test_encapsulations_are_fresh():
    first, second = (age_header.parse_header(age.Encryptor([OURS.recipient]).header).stanzas[0] for _ in range(2))
    assert first.args[0][:100] != second.args[0][:100]
    assert first.args[0][-40:] != second.args[0][-40:]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1119), st.integers(0, 7), st.booleans())
def test_a_flipped_bit_opens_nothing(at, bit, body):
    stanza = age_header.parse_header(age.Encryptor([OURS.recipient]).header).stanzas[0]
    parts = [bytearray(age_header.decode_base64(stanza.args[0].encode())), bytearray(stanza.body)]
    parts[body][at % len(parts[body])] ^= 1 << bit
    wrong = age_header.Stanza(stanza.type, (age_header.encode_base64(bytes(parts[0])),), bytes(parts[1]))
    # Bit 7 of the last byte too, which X25519 masks: X-Wing binds the share as it stands.
    assert OURS.unwrap([wrong]) is None


def test_a_share_of_low_order_is_an_error_and_not_a_mismatch():
    stanza = age_header.parse_header(age.Encryptor([OURS.recipient]).header).stanzas[0]
    share = age_header.decode_base64(stanza.args[0].encode())[:1088] + bytes(32)
    with pytest.raises(AgeError, match="low order"):
        OURS.unwrap([age_header.Stanza(stanza.type, (age_header.encode_base64(share),), stanza.body)])


# -- other people's code --------------------------------------------------------------------------

LENGTHS = [0, 1, 65536, 65537, 200_000]


def test_npm_opens_ours_and_we_open_npms():
    theirs = npm_age.ask([npm_age.keygen() for _ in range(2)])
    ours = [dict(zip(("identity", "recipient"), generate_hybrid_identity(), strict=True)) for _ in range(2)]
    everybody = [*theirs, *ours]
    recipients = [key["recipient"] for key in everybody]
    assert [str(parse_identity(key["identity"]).recipient) for key in everybody] == recipients
    datas = [os.urandom(length) for length in LENGTHS]
    sealed = [age.encrypt(data, [parse_recipient(text) for text in recipients]) for data in datas]
    questions = [npm_age.decrypt([key["identity"]], file) for file in sealed for key in everybody]
    questions += [npm_age.encrypt(recipients, data) for data in datas]
    answers = [base64.b64decode(answer["data"]) for answer in npm_age.ask(questions)]
    opened, made = answers[: -len(LENGTHS)], answers[-len(LENGTHS) :]
    assert opened == [data for data in datas for _ in everybody]
    for data, file, mine in zip(datas, made, sealed, strict=True):
        assert len(file) == len(mine)
        assert all(age.decrypt(file, [parse_identity(key["identity"])]) == data for key in everybody)


def test_each_refuses_what_is_for_somebody_else():
    (secret, public), (other, _) = generate_hybrid_identity(), generate_hybrid_identity()
    mine = age.encrypt(b"for one", [parse_recipient(public)])
    answers = npm_age.ask([npm_age.decrypt([other], mine), npm_age.encrypt([public], b"for one")])
    assert "error" in answers[0]
    theirs = base64.b64decode(answers[1]["data"])
    for identity in (other, generate_identity()[0]):
        with pytest.raises(IdentityMismatch):
            age.decrypt(theirs, [parse_identity(identity)])
    assert age.decrypt(theirs, [parse_identity(other), parse_identity(secret)]) == b"for one"


def test_a_recipient_survives_its_text():
    assert isinstance(parse_recipient(str(OURS.recipient)), HybridRecipient)
    assert len(str(OURS.recipient)) == 1959 < age_keys.MAX_KEY_TEXT
