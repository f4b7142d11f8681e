"""Writes tests/vectors/age/: age files that are right, and one for every way to be wrong.

Run it as `python tests/vectors/make_age.py`; it gives the same bytes each time, and the tests compare them
with what is in the folder. It builds files from the primitives alone and imports nothing of sealift, so
that a mistake there is not repeated here; HPKE and X-Wing are spelled out, with the draft's own names. The
manner is that of the C2SP vectors (CCTV, age/).

A vector is a text header, an empty line, and an age file. Keys of the header:

    expect      success | no match | header failure | HMAC failure | payload failure
    payload     SHA-256 of all plaintext that a streaming reader may release, also when it fails later
    identity    an X25519 or hybrid identity to try (may repeat)
    ssh seed    the 32-byte seed of an Ed25519 key to try, in hex
    file key    in hex
    profile     yes: refused by docs/spec/age.md, though the age tool may take it
    zeros       OFFSET LENGTH: put LENGTH zero bytes back at OFFSET of the file (may repeat, in order).
                The plaintext of whole chunks is chosen so that they encrypt to zeros, to keep this small
    comment     what is wrong or remarkable
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "age")
CHUNK = 65536
FILE_KEY = b"SEA LIFT VECTORS"
PAYLOAD_NONCE = hashlib.sha256(b"payload nonce").digest()[:16]
P = 2**255 - 19
ORDER_8 = 0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F


def draw(what: str) -> bytes:
    """32 bytes that stand for random ones."""
    return hashlib.sha256(b"sealift age vector: " + what.encode()).digest()


def b64(data: bytes) -> bytes:
    return base64.b64encode(data).rstrip(b"=")


def hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt, info).derive(secret)


def x25519(secret: bytes, point: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(point))


def base_point(secret: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def bech32(hrp: str, data: bytes) -> str:
    alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 5)
    values = [int(bits[i : i + 5], 2) for i in range(0, len(bits), 5)]

    def polymod(numbers: Sequence[int]) -> int:
        state = 1
        for number in numbers:
            top, state = state >> 25, (state & 0x1FFFFFF) << 5 ^ number
            for i, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
                state ^= generator * (top >> i & 1)
        return state

    expanded = [ord(c) >> 5 for c in hrp] + [0] + [ord(c) & 31 for c in hrp]
    check = polymod([*expanded, *values, *[0] * 6]) ^ 1
    return hrp + "1" + "".join(alphabet[v] for v in [*values, *(check >> 5 * (5 - i) & 31 for i in range(6))])


IDENTITY = draw("identity")
OTHER_IDENTITY = draw("another identity")
HYBRID_IDENTITY = draw("hybrid identity")
OTHER_HYBRID_IDENTITY = draw("another hybrid identity")
SSH_SEED = draw("ssh")
OTHER_SSH_SEED = draw("another ssh")


def body_lines(body: bytes) -> bytes:
    text = b64(body)
    return b"".join(text[i : i + 64] + b"\n" for i in range(0, len(text) + 1, 64))


def stanza(*args: bytes, body: bytes = b"") -> bytes:
    return b"-> " + b" ".join(args) + b"\n" + body_lines(body)


def seal_key(wrap_key: bytes, file_key: bytes) -> bytes:
    return ChaCha20Poly1305(wrap_key).encrypt(bytes(12), file_key, None)


def x25519_parts(secret: bytes = IDENTITY, file_key: bytes = FILE_KEY, what: str = "") -> tuple[bytes, bytes]:
    """Ephemeral share and body of an X25519 stanza."""
    ephemeral = draw("ephemeral " + what)
    share, public = base_point(ephemeral), base_point(secret)
    wrap_key = hkdf(x25519(ephemeral, public), share + public, b"age-encryption.org/v1/X25519")
    return share, seal_key(wrap_key, file_key)


def x25519_stanza(secret: bytes = IDENTITY, file_key: bytes = FILE_KEY, what: str = "") -> bytes:
    share, body = x25519_parts(secret, file_key, what)
    return stanza(b"X25519", b64(share), body=body)


def ssh_parts(seed: bytes = SSH_SEED, file_key: bytes = FILE_KEY) -> tuple[bytes, bytes, bytes]:
    """Tag, ephemeral share and body of an ssh-ed25519 stanza."""
    key = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    wire = b"".join(len(part).to_bytes(4, "big") + part for part in (b"ssh-ed25519", key))
    # The Montgomery point from the secret scalar, so that the formula under test is not used here.
    public = base_point(hashlib.sha512(seed).digest()[:32])
    info = b"age-encryption.org/v1/ssh-ed25519"
    ephemeral = draw("ssh ephemeral")
    share = base_point(ephemeral)
    shared = x25519(hkdf(b"", wire, info), x25519(ephemeral, public))
    body = seal_key(hkdf(shared, share + public, info), file_key)
    return hashlib.sha256(wire).digest()[:4], share, body


def ssh_stanza(seed: bytes = SSH_SEED) -> bytes:
    tag, share, body = ssh_parts(seed)
    return stanza(b"ssh-ed25519", b64(tag), b64(share), body=body)


# To HYBRID_IDENTITY. Encapsulation draws its own randomness, so what it gave once is kept here.
MLKEM_SEALED = base64.b64decode(
    "fjFRjlaTLTLNucZ39Ea14LGulw59+MVswN/juPP3ZxVp0ebUuCGXLA/StiVSddEKWY/XD5IdXasZ+d3Gr3TMDGs1P0nE5s56ug8hgjmySBwg"
    "JRjPSPkWtd+k0gBUb5AuOhTnFNl9YHtCeIpA8obt8ZU4HnqaQALWHkNbBZxxi0p/Q4PdBkL938rXOw3EzMClF25c7Z02Q4fiUthIxD5FUq86"
    "Gyulcih/yL2OTewYk/HDq3QiQNNQO+5svyrLvgvfNYojMS9rRrrd8AZa8BnXgwVbex0OV5SKvg6eSnAD0RNys7d7sG2hs1f8VrAbFtFMTUO/"
    "4lcVMMd9EJqShNjCFqQfRrxsjx6+pMhfPlA4V2zh0iv51vWHHZdfXxA7zCG4tsW7rBRxw8bUrjmrzeJn1WcDbPXN4KtZnxzxj3RlUtOYWlt1"
    "QYHDMQFOaLKh0ndUP8ily3KDQRmCFCq55NMvz700Ga7hYD6BkXmWjWdDJcCZ70tUW9jeoFT83jxFHNfVcHbMJIAizlBXtiq+6rBBNxEsO0pn"
    "mpBwLh7XnrhRrz8O+fzB7dDoUH2xRycqQbQyUUWDu79mAu4j9NthiprHcA524Pxi81P5Oy2NpMiPaHL9OGzjnr4pBxG2KOmr20iT5aCeqc17"
    "XFJ2+Y4hHPHstfvwyDtpWiomzeLL0IT3Aye1Oct0WZc1WeJjXRzo9YjmfdJixIhc+0X1o+ipcF83JJ1zIoZmf2tVGETMBT4aCpWrToOeCdLD"
    "lVjasVAGcIR6T76ERF01F60J9DCvKiZI+6o8a5OxURJpx2Jp8qyw+PdCtMPi8aSVZ8PTeoeiZ9pGe1JcPKoKLst/qb8zjhQPoHDvKl2hAb7f"
    "BcXWszgkyT3ixP7YSaK2ipfZecrvW5bFKwuTW5kPbxJoSuuyQwbIOEdJQHcctWHJMwFLXWgheYHjTiDfZlKdDzOpiutChwSY9srvIzA03iih"
    "LuPXkEDyyWGmNPOEozADXbyGtA4ehEZkhLO+HWNQAwGw3y6YJMEOtq+LPz2Jz9Tj8jfwdJ/1xqxoobdnKZ8sxE4+rs1/KkpDyE9V0glgcOwy"
    "g1us+aw21WZZmGQ98L6ZIhvCYJTiFbGVQ0VPXuIyPFr1mfDc2OUH430zeC8hNAY+d3HPag//wbtXvmP6fqx1kGWtJIcJwahWtuKvqvfhk2E7"
    "na9n3FoQ9NMcdIHXqs2ckSAokMArvZQJOGIsTrInOZf0FrpSEte9nVCvUyuRpqo/lmn+OEIfjzp1IaeSxpV9p+XrmU6QCwydM2PcakrRp/eT"
    "416HTlK7wM92pm9gHttdV8/a6kC4apbvJTQiWa3pCpMD4OKsx8SvPikrtPMod+yNBJkLueGltF5h9gQOQj/RtU/OJV9jx7zvhn2pNvCtXfCz"
    "BaDJXTvvh+8nzBr1RGEX0K4ocKiFAobu3Lm2EWb2P1mlHIs="
)


def hybrid_secret(seed: bytes) -> tuple[MLKEM768PrivateKey, bytes]:
    """The two halves of an X-Wing seed."""
    expanded = hashlib.shake_256(seed).digest(96)
    return MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), expanded[64:]


def hybrid_seal(shared: bytes, file_key: bytes) -> bytes:
    """HPKE SealBase (RFC 9180, section 5.1) of the file key, from the KEM's shared secret."""
    suite = b"HPKE" + b"\x64\x7a" + b"\0\x01" + b"\0\x03"  # MLKEM768-X25519, HKDF-SHA256, ChaCha20-Poly1305

    def labeled_extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")

    def labeled_expand(prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
        labeled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
        return hmac.digest(prk, labeled + b"\x01", "sha256")[:length]

    info_hash = labeled_extract(b"", b"info_hash", b"age-encryption.org/mlkem768x25519")
    context = b"\0" + labeled_extract(b"", b"psk_id_hash", b"") + info_hash
    secret = labeled_extract(shared, b"secret", b"")
    key, nonce = labeled_expand(secret, b"key", context, 32), labeled_expand(secret, b"base_nonce", context, 12)
    return ChaCha20Poly1305(key).encrypt(nonce, file_key, b"")


def hybrid_parts(
    file_key: bytes = FILE_KEY,
    what: str = "",
    *,
    seed: bytes = HYBRID_IDENTITY,
    sealed: bytes = MLKEM_SEALED,
    share: bytes | None = None,
) -> tuple[bytes, bytes]:
    """Encapsulated key and body of an mlkem768x25519 stanza; with `share`, its X25519 shared secret is zeros.

    `sealed` that was not encapsulated to the seed gives what the identity will find too: implicit rejection.
    """
    mlkem, x25519_secret = hybrid_secret(seed)
    public, ephemeral = base_point(x25519_secret), draw("hybrid ephemeral " + what)
    shared = bytes(32) if share is not None else x25519(ephemeral, public)
    share = base_point(ephemeral) if share is None else share
    # X-Wing's combiner (draft-connolly-cfrg-xwing-kem, section 5.3)
    combined = hashlib.sha3_256(mlkem.decapsulate(sealed) + shared + share + public + b"\\.//^\\").digest()
    return sealed + share, hybrid_seal(combined, file_key)


def hybrid_stanza(what: str = "") -> bytes:
    encapsulated, body = hybrid_parts(what=what)
    return stanza(b"mlkem768x25519", b64(encapsulated), body=body)


def mac_of(covered: bytes) -> bytes:
    return hmac.digest(hkdf(FILE_KEY, b"", b"header"), covered, "sha256")


def header(*stanzas: bytes, intro: bytes = b"age-encryption.org/v1\n") -> bytes:
    covered = intro + b"".join(stanzas) + b"---"
    return covered + b" " + b64(mac_of(covered)) + b"\n"


@dataclass
class Stream:
    """A payload: nonce and chunks."""

    data: bytes = PAYLOAD_NONCE
    plain: bytes = b""
    key: bytes = field(default_factory=lambda: hkdf(FILE_KEY, PAYLOAD_NONCE, b"payload"))
    index: int = 0

    def chunk(self, plain: bytes, *, last: bool = False, released: bool = True) -> Stream:
        """Add a chunk; not `released` if a reader must not come as far as to give it out."""
        self.data += ChaCha20Poly1305(self.key).encrypt(self.nonce(last=last), plain, None)
        self.plain += plain if released else b""
        self.index += 1
        return self

    def zeros(self, length: int = CHUNK, *, last: bool = False, released: bool = True) -> Stream:
        """Add a chunk that encrypts to zeros before its tag."""
        plain = ChaCha20Poly1305(self.key).encrypt(self.nonce(last=last), bytes(length), None)[:length]
        return self.chunk(plain, last=last, released=released)

    def raw(self, data: bytes) -> Stream:
        self.data += data
        return self

    def flip_last_bit(self) -> Stream:
        self.data = self.data[:-1] + bytes([self.data[-1] ^ 1])
        return self

    def nonce(self, *, last: bool) -> bytes:
        return self.index.to_bytes(11, "big") + bytes([last])


@dataclass
class Vector:
    expect: str
    comment: str
    head: bytes
    stream: Stream = field(default_factory=lambda: Stream().chunk(b"age", last=True))
    identities: Sequence[bytes] = (IDENTITY,)
    ssh_seeds: Sequence[bytes] = ()
    hybrid_seeds: Sequence[bytes] = ()
    profile: bool = False

    def encode(self) -> bytes:
        data = self.head + self.stream.data
        released = self.stream.plain if self.expect in {"success", "payload failure"} else b""
        gaps: list[tuple[int, int]] = []
        at = 0
        while (at := data.find(bytes(1024), at)) >= 0:
            end = at + len(data[at:]) - len(data[at:].lstrip(b"\0"))
            gaps.append((at, end - at))
            at = end
        for offset, length in reversed(gaps):
            data = data[:offset] + data[offset + length :]
        lines = [f"expect: {self.expect}", f"payload: {hashlib.sha256(released).hexdigest()}"]
        lines += [f"identity: {bech32('age-secret-key-', secret).upper()}" for secret in self.identities]
        lines += [f"identity: {bech32('age-secret-key-pq-', seed).upper()}" for seed in self.hybrid_seeds]
        lines += [f"ssh seed: {seed.hex()}" for seed in self.ssh_seeds]
        lines += [f"file key: {FILE_KEY.hex()}"]
        lines += ["profile: yes"] if self.profile else []
        lines += [f"zeros: {offset} {length}" for offset, length in gaps]
        lines += [f"comment: {self.comment}"]
        return "\n".join(lines).encode() + b"\n\n" + data


HEADER, HMAC, PAYLOAD = "header failure", "HMAC failure", "payload failure"
GOOD = header(x25519_stanza())


def vectors() -> dict[str, Vector]:
    made: dict[str, Vector] = {}
    for group in (x25519_vectors, hybrid_vectors, ssh_vectors, scrypt_vectors, header_vectors, stanza_vectors):
        made |= group()
    return made | hmac_vectors() | stream_vectors() | stream_end_vectors()


def x25519_vectors() -> dict[str, Vector]:
    share, body = x25519_parts()
    line = b64(share)

    def wrong(comment: str, *args: bytes, body: bytes = body) -> Vector:
        return Vector(HEADER, comment, header(stanza(b"X25519", *args, body=body)))

    def low_order(point: int) -> Vector:
        raw = point.to_bytes(32, "little")
        wrap_key = hkdf(bytes(32), raw + base_point(IDENTITY), b"age-encryption.org/v1/X25519")
        return wrong("the shared secret is all zeros", b64(raw), body=seal_key(wrap_key, FILE_KEY))

    stray = line[:-1] + bytes([line[-1] + 1])  # 43 characters have two spare bits, which were zero
    other = x25519_stanza(OTHER_IDENTITY, what="other")
    no_match = "no match"
    return {
        "x25519": Vector("success", "one recipient, three bytes", GOOD),
        "x25519_several": Vector("success", "the second stanza is ours", header(other, x25519_stanza())),
        "x25519_second_identity": Vector(
            "success", "the second identity fits", GOOD, identities=(OTHER_IDENTITY, IDENTITY)
        ),
        "x25519_no_match": Vector(no_match, "for somebody else", GOOD, identities=(OTHER_IDENTITY,)),
        "x25519_lowercase": Vector(no_match, "types are case-sensitive", header(stanza(b"x25519", line, body=body))),
        "x25519_bad_tag": Vector(
            no_match,
            "the body does not authenticate",
            header(stanza(b"X25519", line, body=body[:-1] + bytes([body[-1] ^ 1]))),
        ),
        "x25519_extra_argument": wrong("an argument too many", line, b"1234"),
        "x25519_missing_argument": wrong("no share"),
        "x25519_short_share": wrong("a share of 31 bytes", b64(share[:-1])),
        "x25519_long_share": wrong("a share of 33 bytes", b64(share + b"\0")),
        "x25519_padded_share": wrong("a share with padding", line + b"="),
        "x25519_not_canonical_share": wrong("stray bits after the share", stray),
        "x25519_short_body": wrong("a body of 31 bytes", line, body=body[:-1]),
        "x25519_long_file_key": wrong(
            "a file key of 24 bytes", line, body=x25519_parts(file_key=FILE_KEY + bytes(8))[1]
        ),
        "x25519_low_order_0": low_order(0),
        "x25519_low_order_1": low_order(1),
        "x25519_low_order_8": low_order(ORDER_8),
        "x25519_low_order_p": low_order(P),
        "x25519_second_malformed": Vector(
            HEADER,
            "ours is right, the next is not",
            header(x25519_stanza(), stanza(b"X25519", b"AAAA")),
            profile=True,
        ),
    }


def hybrid_vectors() -> dict[str, Vector]:
    encapsulated, body = hybrid_parts()
    line = b64(encapsulated)
    ours = hybrid_stanza()
    no_match = "no match"

    def hybrid(expect: str, comment: str, head: bytes, seed: bytes = HYBRID_IDENTITY) -> Vector:
        return Vector(expect, comment, head, identities=(), hybrid_seeds=(seed,))

    def one(expect: str, comment: str, *args: bytes, body: bytes = body) -> Vector:
        return hybrid(expect, comment, header(stanza(b"mlkem768x25519", *args, body=body)))

    def low_order(point: int) -> Vector:
        low, low_body = hybrid_parts(share=point.to_bytes(32, "little"))
        return one(HEADER, "the shared secret of its X25519 half is all zeros", b64(low), body=low_body)

    def flipped(data: bytes, at: int) -> bytes:
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    # somebody else's stanza: their ML-KEM half is bytes that were never encapsulated, which nobody can tell
    theirs, their_body = hybrid_parts(seed=OTHER_HYBRID_IDENTITY, sealed=hashlib.shake_256(b"other").digest(1088))
    other = stanza(b"mlkem768x25519", b64(theirs), body=their_body)
    stray = line[:-1] + bytes([line[-1] + 1])  # 1,494 characters have four spare bits, which were zero
    malformed = Vector(
        HEADER, "ours is right, the next is not", header(ours, stanza(b"mlkem768x25519", b"AAAA")), profile=True
    )
    malformed.identities, malformed.hybrid_seeds = (), (HYBRID_IDENTITY,)
    return {
        "hybrid": hybrid("success", "one post-quantum recipient, three bytes", header(ours)),
        "hybrid_several": hybrid("success", "the second stanza is ours", header(other, ours)),
        "hybrid_most": hybrid("success", "42, as many as a header holds", header(*[other] * 41, ours)),
        "hybrid_and_x25519": hybrid("success", "mixed: not to be written, but read", header(x25519_stanza(), ours)),
        "hybrid_no_match": hybrid(no_match, "for somebody else", header(ours), OTHER_HYBRID_IDENTITY),
        "hybrid_uppercase": hybrid(
            no_match, "types are case-sensitive", header(stanza(b"MLKEM768X25519", line, body=body))
        ),
        "hybrid_x25519_only": Vector(no_match, "an X25519 identity passes it over", header(ours)),
        "hybrid_bad_tag": one(no_match, "the body does not authenticate", line, body=flipped(body, 31)),
        "hybrid_bad_mlkem": one(no_match, "a bit of the ML-KEM half flipped", b64(flipped(encapsulated, 0)), body=body),
        "hybrid_bad_x25519": one(no_match, "a bit of the X25519 half", b64(flipped(encapsulated, 1088)), body=body),
        "hybrid_extra_argument": one(HEADER, "an argument too many", line, b"1234"),
        "hybrid_missing_argument": one(HEADER, "no encapsulated key"),
        "hybrid_short_key": one(HEADER, "an encapsulated key of 1,119 bytes", b64(encapsulated[:-1])),
        "hybrid_long_key": one(HEADER, "an encapsulated key of 1,121 bytes", b64(encapsulated + b"\0")),
        "hybrid_padded_key": one(HEADER, "an encapsulated key with padding", line + b"=="),
        "hybrid_not_canonical_key": one(HEADER, "stray bits after the encapsulated key", stray),
        "hybrid_short_body": one(HEADER, "a body of 31 bytes", line, body=body[:-1]),
        "hybrid_long_file_key": one(
            HEADER, "a file key of 24 bytes", line, body=hybrid_parts(file_key=FILE_KEY + bytes(8))[1]
        ),
        "hybrid_low_order_0": low_order(0),
        "hybrid_low_order_8": low_order(ORDER_8),
        "hybrid_second_malformed": malformed,
        "x25519_hybrid_share": Vector(HEADER, "a hybrid key as its share", header(stanza(b"X25519", line, body=body))),
    }


def ssh_vectors() -> dict[str, Vector]:
    tag, share, body = ssh_parts()

    def ssh(expect: str, comment: str, head: bytes, seed: bytes = SSH_SEED) -> Vector:
        return Vector(expect, comment, head, identities=(), ssh_seeds=(seed,))

    def wrong(comment: str, *args: bytes, body: bytes = body) -> Vector:
        return ssh(HEADER, comment, header(stanza(b"ssh-ed25519", *args, body=body)))

    return {
        "ssh": ssh("success", "one recipient, three bytes", header(ssh_stanza())),
        "ssh_and_x25519": ssh(
            "success", "the second stanza is ours", header(x25519_stanza(OTHER_IDENTITY), ssh_stanza())
        ),
        "ssh_no_match": ssh("no match", "for somebody else", header(ssh_stanza()), seed=OTHER_SSH_SEED),
        "ssh_uppercase": ssh(
            "no match",
            "types are case-sensitive",
            header(stanza(b"SSH-ED25519", b64(tag), b64(share), body=body)),
        ),
        "ssh_bad_tag": wrong(
            "named for us, but the body does not authenticate",
            b64(tag),
            b64(share),
            body=bytes([body[0] ^ 1]) + body[1:],
        ),
        "ssh_extra_argument": wrong("an argument too many", b64(tag), b64(share), b"1234"),
        "ssh_missing_argument": wrong("no share", b64(tag)),
        "ssh_short_share": wrong("a share of 31 bytes", b64(tag), b64(share[:-1])),
        "ssh_padded_share": wrong("a share with padding", b64(tag), b64(share) + b"="),
        "ssh_long_file_key": wrong(
            "a file key of 24 bytes",
            b64(tag),
            b64(share),
            body=ssh_parts(file_key=FILE_KEY + bytes(8))[2],
        ),
        "ssh_low_order": wrong("a share of low order", b64(tag), b64(bytes(32))),
    }


def scrypt_vectors() -> dict[str, Vector]:
    scrypt = stanza(b"scrypt", b64(bytes(range(16))), b"10", body=bytes(32))
    beside = "scrypt stands alone or not at all"
    return {
        "scrypt": Vector("no match", "passphrases are accepted nowhere", header(scrypt)),
        "scrypt_and_x25519": Vector(HEADER, beside, header(scrypt, x25519_stanza()), profile=True),
        "scrypt_after_x25519": Vector(HEADER, beside, header(x25519_stanza(), scrypt), profile=True),
        "scrypt_double": Vector(HEADER, beside, header(scrypt, scrypt)),
    }


def header_vectors() -> dict[str, Vector]:
    nothing = Stream(data=b"")
    ours = x25519_stanza()
    v2 = header(ours, intro=b"age-encryption.org/v1234\n")
    # 127 other stanzas and ours; 64 KiB exactly, then a byte more.
    most = header(*[stanza(b"other", str(i).encode()) for i in range(127)], ours)
    over = header(*[stanza(b"other", str(i).encode()) for i in range(128)], ours)
    spare = 65536 - len(header(stanza(b""), ours))
    longest, too_long = (header(stanza(b"x" * (spare + more)), ours) for more in (0, 1))
    assert len(longest) == 65536
    armor = b"-----BEGIN AGE ENCRYPTED FILE-----\n" + base64.b64encode(GOOD) + b"\n"
    return {
        "header_empty": Vector(HEADER, "an empty file", b"", nothing),
        "header_cut_version": Vector(HEADER, "ends in the version line", GOOD[:20], nothing),
        "header_cut_stanza": Vector(HEADER, "ends in a stanza", GOOD[:60], nothing),
        "header_cut_mac": Vector(HEADER, "ends before the last line feed", GOOD[:-1], nothing),
        "header_crlf": Vector(HEADER, "CR LF ends every line", GOOD.replace(b"\n", b"\r\n")),
        "header_space_first": Vector(HEADER, "something before the version", b" " + GOOD),
        "header_no_stanza": Vector(HEADER, "no stanza", header()),
        "header_most_stanzas": Vector("success", "128 stanzas", most),
        "header_too_many_stanzas": Vector(HEADER, "129 stanzas", over, profile=True),
        "header_longest": Vector("success", "65,536 bytes", longest),
        "header_too_long": Vector(HEADER, "65,537 bytes", too_long, profile=True),
        "version_unsupported": Vector(HEADER, "a version other than v1", v2),
        "version_crlf": Vector(HEADER, "CR in the version line", header(ours, intro=GOOD[:21] + b"\r\n")),
        "version_no_line_feed": Vector(HEADER, "a space ends the version line", header(ours, intro=GOOD[:21] + b" ")),
        "version_case": Vector(HEADER, "V1", header(ours, intro=b"age-encryption.org/V1\n")),
        "armor": Vector(HEADER, "armor is not of this profile", armor, nothing, profile=True),
    }


def stanza_vectors() -> dict[str, Vector]:
    def right(comment: str, text: bytes) -> Vector:
        return Vector("success", comment, header(text, x25519_stanza()))

    def wrong(comment: str, text: bytes) -> Vector:
        return Vector(HEADER, comment, header(text, x25519_stanza()))

    full = b"A" * 64 + b"\n"
    every = bytes(range(0x21, 0x7F))
    share, body = x25519_parts()
    spaced = b"-> X25519 " + b64(share) + b" \n" + body_lines(body)
    return {
        "stanza_unknown": right("an unknown type is passed over", stanza(b"grease", b"1", body=b"any")),
        "stanza_empty_body": right("an empty body is one empty line", b"-> empty\n\n"),
        "stanza_full_line": right("a body of 48 bytes ends with an empty line", b"-> full\n" + full + b"\n"),
        "stanza_many_lines": right("a body of 1000 bytes", stanza(b"long", body=bytes(1000))),
        "stanza_every_character": right("all visible characters", stanza(every, every)),
        "stanza_missing_body": wrong("no body line", b"-> none\n"),
        "stanza_missing_final_line": wrong("a full line, and no short one", b"-> full\n" + full),
        "stanza_two_short_lines": wrong("two short lines", b"-> two\nAAAA\nAAAA\n"),
        "stanza_empty_line_between": wrong("an empty line after a short one", b"-> two\nAAAA\n\n"),
        "stanza_long_line": wrong("a line of 68 columns", b"-> wide\n" + b"A" * 68 + b"\nAAAA\n"),
        "stanza_base64_padding": wrong("a body with padding", b"-> pad\nAA==\n"),
        "stanza_not_canonical": wrong("stray bits at the end of the body", b"-> stray\nAB\n"),
        "stanza_not_base64": wrong("a character that is not of base64", b"-> url\nAA_A\n"),
        "stanza_one_character": wrong("one character stands for no byte", b"-> one\nA\n"),
        "stanza_body_space": wrong("white space in the body", b"-> space\nAAAA AAA\n"),
        "stanza_body_cr": wrong("CR in the body", b"-> cr\nAAAA\r\n"),
        "stanza_argument_cr": wrong("CR after the arguments", b"-> cr a\r\nAAAA\n"),
        "stanza_bad_start": wrong("one dash too many", b"--> bad\nAAAA\n"),
        "stanza_no_space": wrong("no space after the arrow", b"->bad\nAAAA\n"),
        "stanza_no_arguments": wrong("an arrow alone", b"->\nAAAA\n"),
        "stanza_empty_argument": wrong("two spaces", b"-> two  spaces\nAAAA\n"),
        "stanza_leading_space": wrong("two spaces after the arrow", b"->  lead\nAAAA\n"),
        "stanza_trailing_space": Vector(HEADER, "a space after the arguments", header(spaced)),
        "stanza_tab": wrong("a tab in an argument", b"-> tab\tbed\nAAAA\n"),
        "stanza_delete": wrong("0x7f in an argument", b"-> del\x7f\nAAAA\n"),
        "stanza_not_ascii": wrong("an argument that is not ASCII", "-> é\nAAAA\n".encode()),
        "stanza_nul": wrong("a zero byte in an argument", b"-> nul\0\nAAAA\n"),
    }


def hmac_vectors() -> dict[str, Vector]:
    covered, _, line = GOOD.rpartition(b" ")
    mac = mac_of(covered)

    def wrong(comment: str, end: bytes) -> Vector:
        return Vector(HEADER, comment, covered + end)

    flipped = bytes([mac[0] ^ 1]) + mac[1:]
    added = covered.replace(b"---", stanza(b"added") + b"---") + b" " + line
    return {
        "hmac_bad": Vector(HMAC, "the MAC of another header", covered + b" " + b64(flipped) + b"\n"),
        "hmac_stanza_added": Vector(HMAC, "a stanza was put in", added),
        "hmac_missing": wrong("no MAC", b"\n"),
        "hmac_empty": wrong("an empty MAC", b" \n"),
        "hmac_no_space": wrong("no space before the MAC", line),
        "hmac_tab": wrong("a tab before the MAC", b"\t" + line),
        "hmac_two_spaces": wrong("two spaces before the MAC", b"  " + line),
        "hmac_trailing_space": wrong("a space after the MAC", b" " + line[:-1] + b" \n"),
        "hmac_cr": wrong("CR after the MAC", b" " + line[:-1] + b"\r\n"),
        "hmac_padding": wrong("a MAC with padding", b" " + line[:-1] + b"=\n"),
        "hmac_not_canonical": wrong("stray bits after the MAC", b" " + line[:-2] + bytes([line[-2] + 1]) + b"\n"),
        "hmac_short": wrong("31 bytes", b" " + b64(mac[:31]) + b"\n"),
        "hmac_long": wrong("33 bytes", b" " + b64(mac + b"\0") + b"\n"),
        "hmac_second_argument": wrong("something after the MAC", b" " + line[:-1] + b" AAAA\n"),
    }


def stream_vectors() -> dict[str, Vector]:
    def right(comment: str, stream: Stream) -> Vector:
        return Vector("success", comment, GOOD, stream)

    def wrong(comment: str, stream: Stream) -> Vector:
        return Vector(PAYLOAD, comment, GOOD, stream)

    swapped = Stream()
    first, second = (Stream(index=i).zeros(released=False).data[16:] for i in (0, 1))
    swapped.raw(second + first)
    swapped.index = 2
    changed = Stream().chunk(b"age", last=True, released=False)
    changed.data = bytes([changed.data[0] ^ 1]) + changed.data[1:]
    skipped = Stream().zeros()  # released: it is right, and stands at its place
    skipped.index = 2
    repeated = Stream().zeros()
    return {
        "stream_empty": right("no plaintext: one empty chunk", Stream().chunk(b"", last=True)),
        "stream_full_chunk": right("the last chunk is full", Stream().zeros(last=True)),
        "stream_two_chunks": right("a full chunk and a byte", Stream().zeros().chunk(b"a", last=True)),
        "stream_two_full_chunks": right("two full chunks", Stream().zeros().zeros(last=True)),
        "stream_three_chunks": right("three chunks", Stream().zeros().zeros().chunk(b"age", last=True)),
        "stream_no_nonce": wrong("nothing after the header", Stream(data=b"")),
        "stream_short_nonce": wrong("a nonce of 15 bytes", Stream(data=PAYLOAD_NONCE[:15])),
        "stream_changed_nonce": wrong("a bit of the nonce flipped", changed),
        "stream_no_chunks": wrong("no chunk", Stream()),
        "stream_bad_tag": wrong("a bit flipped", Stream().chunk(b"age", last=True, released=False).flip_last_bit()),
        "stream_bad_tag_first": wrong(
            "the first of two chunks is wrong",
            Stream().zeros(released=False).flip_last_bit().chunk(b"age", last=True, released=False),
        ),
        "stream_bad_tag_second": wrong(
            "the second of three chunks is wrong",
            Stream().zeros().zeros(released=False).flip_last_bit().chunk(b"a", last=True, released=False),
        ),
        "stream_bad_tag_last": wrong(
            "the last of two chunks is wrong",
            Stream().zeros().chunk(b"age", last=True, released=False).flip_last_bit(),
        ),
        "stream_swapped": wrong(
            "the first two of three chunks changed places", swapped.chunk(b"a", last=True, released=False)
        ),
        "stream_skipped_counter": wrong("the counter leaves out 1", skipped.chunk(b"a", last=True, released=False)),
        "stream_repeated_chunk": wrong(
            "the first chunk again", repeated.raw(repeated.data[16:]).chunk(b"a", last=True, released=False)
        ),
    }


def stream_end_vectors() -> dict[str, Vector]:
    def wrong(comment: str, stream: Stream) -> Vector:
        return Vector(PAYLOAD, comment, GOOD, stream)

    return {
        "stream_last_chunk_empty": wrong(
            "an empty chunk after a full one", Stream().zeros().chunk(b"", last=True, released=False)
        ),
        "stream_missing_tag": wrong("shorter than a tag", Stream().raw(bytes(15))),
        "stream_no_final": wrong("a short chunk that is not final", Stream().chunk(b"age", released=False)),
        "stream_no_final_full": wrong("a full chunk that is not final", Stream().zeros(released=False)),
        "stream_no_final_two": wrong("the second is not final", Stream().zeros().chunk(b"a", released=False)),
        "stream_no_final_two_full": wrong("two full chunks, none final", Stream().zeros().zeros(released=False)),
        "stream_early_final": wrong(
            "the first of two is final",
            Stream().zeros(last=True, released=False).chunk(b"a", last=True, released=False),
        ),
        "stream_early_final_alone": wrong(
            "a final chunk, and one that is not",
            Stream().zeros(last=True, released=False).chunk(b"a", released=False),
        ),
        "stream_short_chunk": wrong(
            "a short chunk before the last",
            Stream().zeros(4096, released=False).zeros(last=True, released=False),
        ),
        "stream_short_second_chunk": wrong(
            "a short second chunk before the last",
            Stream().zeros().zeros(4096, released=False).zeros(last=True, released=False),
        ),
        "stream_trailing_byte": wrong(
            "a byte after the last chunk", Stream().chunk(b"age", last=True, released=False).raw(b"\0")
        ),
        "stream_trailing_byte_full": wrong(
            "a byte after a full last chunk", Stream().zeros(last=True, released=False).raw(b"\0")
        ),
        "stream_trailing_tag": wrong(
            "16 bytes after a full last chunk", Stream().zeros(last=True, released=False).raw(bytes(16))
        ),
        "stream_trailing_long": wrong(
            "100 bytes after a full last chunk", Stream().zeros(last=True, released=False).raw(bytes(100))
        ),
    }


def main(folder: str = FOLDER, say: Callable[[str], object] = print) -> None:
    made = vectors()
    os.makedirs(folder, exist_ok=True)
    for name in sorted(set(os.listdir(folder)) - set(made)):
        os.unlink(os.path.join(folder, name))
    for name, vector in made.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(vector.encode())
    say(f"{len(made)} vectors")


if __name__ == "__main__":
    main(*sys.argv[1:2])
