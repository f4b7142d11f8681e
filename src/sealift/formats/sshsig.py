r"""SSH signatures over whole files, as `ssh-keygen -Y sign` makes them (OpenSSH's PROTOCOL.sshsig).

What holds: `verify` returns the public key under which the signature is good for exactly these bytes in
exactly this namespace, or raises SignatureInvalid. One signature has one byte form: the armor, every
length, every integer is read strictly, so no bit of a signature file can change unnoticed. Keys:
ssh-ed25519, sk-ssh-ed25519@openssh.com, ecdsa-sha2-nistp256/384/521, and RSA of 2048 to 16384 bits signing
with rsa-sha2-256 or -512. Everything else (DSA, SHA-1, certificates) is refused.

What is not here: whether anybody trusts the key (allowed_signers.py), private key files, agents
(trade/signing.py). Pure: bytes in, records out.

    armored:  "-----BEGIN SSH SIGNATURE-----\n", base64 in lines of 70, "-----END SSH SIGNATURE-----\n"
    blob:     "SSHSIG" uint32(1) string(key) string(namespace) string("") string(hash) string(signature)
    signed:   "SSHSIG" string(namespace) string("") string(hash) string(hash(message))
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sealift.errors import KeyInvalid, SignatureInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_AGAIN = "the file or its .sig was changed, or they do not belong together: get both again from whoever signed"
MAX_ARMORED = 16 << 10  # bytes of a signature file; RSA of 16384 bits takes 6 KiB
MAX_KEY_LINE = 16 << 10  # characters of a public key line
MAX_NAMESPACE = 255
MAX_RSA_BITS, MIN_RSA_BITS = 16384, 2048

MAGIC = b"SSHSIG"
BEGIN, END = b"-----BEGIN SSH SIGNATURE-----\n", b"-----END SSH SIGNATURE-----\n"
COLUMNS = 70

ED25519, SK_ED25519, RSA = "ssh-ed25519", "sk-ssh-ed25519@openssh.com", "ssh-rsa"
_ECDSA = ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")
_RSA_256, _RSA_512 = "rsa-sha2-256", "rsa-sha2-512"
ALGORITHMS = (ED25519, SK_ED25519, *_ECDSA, RSA)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An SSH public key of one of ALGORITHMS, checked: `blob` is its wire form (RFC 4253, 6.6)."""

    blob: bytes

    def __post_init__(self) -> None:
        _verifier(self.blob)

    @property
    def algorithm(self) -> str:
        """The key's type, e.g. ssh-ed25519."""
        return _Reader(self.blob).text()

    @property
    def line(self) -> str:
        """One line without comment, as it stands in a .pub file: "ssh-ed25519 AAAA..."."""
        return f"{self.algorithm} {base64.b64encode(self.blob).decode()}"

    @property
    def fingerprint(self) -> str:
        """What `ssh-keygen -l` prints: "SHA256:" and unpadded base64."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode()
        return "SHA256:" + digest.rstrip("=")


class Prehashed(NamedTuple):
    """A message by its digests, when it is too big to hold: the signature says which of them it signed."""

    sha256: bytes
    sha512: bytes

    @classmethod
    def of(cls, chunks: Iterable[bytes]) -> Prehashed:
        """Digests of a message that comes in pieces."""
        sha256, sha512 = hashlib.sha256(), hashlib.sha512()
        for chunk in chunks:
            sha256.update(chunk)
            sha512.update(chunk)
        return cls(sha256.digest(), sha512.digest())


class Signature(NamedTuple):
    """A parsed signature blob; nothing about it is verified yet."""

    public_key: PublicKey
    namespace: str
    hash: str
    signature: bytes


def parse_public_key(text: str | bytes) -> PublicKey:
    """The key of one line "TYPE BASE64 [COMMENT]", as in a .pub file; a final newline is allowed.

    Raises KeyInvalid when it is not exactly one line, of an unknown type, or not in its one canonical form.
    """
    try:
        line = text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise KeyInvalid("the SSH public key is not UTF-8 text") from error
    line = line.removesuffix("\n").removesuffix("\r")
    fields = line.split(maxsplit=2)
    if len(line) > MAX_KEY_LINE or "\n" in line or len(fields) < 2:
        raise KeyInvalid("not an SSH public key", hint='give one line like "ssh-ed25519 AAAA... name" (a .pub file)')
    algorithm, encoded = fields[0], fields[1]
    if algorithm not in ALGORITHMS:
        raise KeyInvalid(
            f"SSH keys of type {algorithm[:64]!r} are not used", hint=f"use one of {', '.join(ALGORITHMS)}"
        )
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise KeyInvalid("the SSH public key is not valid base64") from error
    try:
        key = PublicKey(blob)
    except SignatureInvalid as error:
        raise KeyInvalid(f"SSH public key: {error}") from error
    if key.line != f"{algorithm} {encoded}":
        raise KeyInvalid("the SSH public key is not in its canonical form, or of another type than it says")
    return key


def armor(blob: bytes) -> bytes:
    """The text form ssh-keygen writes: lines of 70 characters, a final newline."""
    encoded = base64.b64encode(blob)
    lines = [encoded[i : i + COLUMNS] + b"\n" for i in range(0, len(encoded), COLUMNS)]
    return b"".join([BEGIN, *lines, END])


def dearmor(text: bytes) -> bytes:
    """The blob of an armored signature; SignatureInvalid unless it is exactly what `armor` makes of it."""
    if len(text) > MAX_ARMORED:
        raise SignatureInvalid(f"signature file is {len(text):,} bytes long; at most {MAX_ARMORED:,} are allowed")
    if not (text.startswith(BEGIN) and text.endswith(END)):
        raise SignatureInvalid("its .sig is not an SSH signature", hint=_AGAIN)
    try:
        blob = base64.b64decode(text[len(BEGIN) : -len(END)].replace(b"\n", b""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _Malformed("the signature's base64 does not decode") from error
    if armor(blob) != text:
        raise _Malformed("the signature file is not exactly as ssh-keygen writes it")
    return blob


def parse(signature: bytes) -> Signature:
    """The parts of an armored signature, read strictly; SignatureInvalid otherwise. Verifies nothing."""
    with _told():
        return _parse(signature)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Bytes of a signature that are in no form of one, said with which file that is and what to do.

    Their reader's words end up in a list of what holds a release, beside the name of the record alone.
    """
    try:
        yield
    except _Malformed as error:
        text = f"its .sig is damaged ({error}): take another copy of it, or have it signed again"
        raise SignatureInvalid(text, hint=_AGAIN) from error


def _parse(signature: bytes) -> Signature:
    reader = _Reader(dearmor(signature))
    if reader.take(len(MAGIC)) != MAGIC or reader.uint32() != 1:
        raise _Malformed("not an SSH signature of version 1")
    try:
        key = PublicKey(reader.string())
    except _Malformed:
        raise
    except SignatureInvalid as error:  # of a kind that is not taken, too: nothing is damaged then
        raise SignatureInvalid(f"the key in its .sig: {error}", hint=error.hint or _AGAIN) from error
    namespace = reader.text()
    if reader.string() != b"":
        raise _Malformed("the signature's reserved field is not empty")
    digest = reader.text()
    if digest not in {"sha256", "sha512"}:
        raise SignatureInvalid(f"the signature's message hash {digest[:32]!r} is neither sha256 nor sha512")
    value = reader.string()
    reader.end()
    return Signature(key, namespace, digest, value)


def signed_data(message: bytes | Prehashed, namespace: str, hash: str = "sha512") -> bytes:  # noqa: A002
    """What a key signs for `message` in `namespace`; `hash` is sha512 (ssh-keygen's default) or sha256."""
    encoded = namespace.encode()
    if not 0 < len(encoded) <= MAX_NAMESPACE:
        raise ValueError(f"a namespace has 1 to {MAX_NAMESPACE} bytes")
    if isinstance(message, Prehashed):
        digest = message.sha256 if hash == "sha256" else message.sha512
    else:
        digest = hashlib.new(hash, message).digest()
    return MAGIC + _string(encoded) + _string(b"") + _string(hash.encode()) + _string(digest)


def verify(message: bytes | Prehashed, signature: bytes, namespace: str) -> PublicKey:
    """The key under which the armored `signature` is good for `message` in `namespace`.

    Says nothing about whose key it is. Raises SignatureInvalid with a sentence saying which rule failed.
    """
    return verify_parsed(message, parse(signature), namespace)


def verify_parsed(message: bytes | Prehashed, parsed: Signature, namespace: str) -> PublicKey:
    """As `verify`, for a signature that `parse` has read."""
    if parsed.namespace != namespace:
        raise SignatureInvalid(f"signed for namespace {parsed.namespace[:64]!r}, not for {namespace!r}")
    with _told():
        check = _verifier(parsed.public_key.blob)
    try:
        with _told():
            check(parsed.signature, signed_data(message, namespace, parsed.hash))
    except (InvalidSignature, ValueError) as error:
        # ValueError: OpenSSL's word for numbers outside the key's range
        raise SignatureInvalid("the signature is not over these bytes", hint=_AGAIN) from error
    return parsed.public_key


def sign_ed25519(message: bytes | Prehashed, private_key: Ed25519PrivateKey, namespace: str) -> bytes:
    """The armored signature, byte for byte what `ssh-keygen -Y sign -n NAMESPACE` makes with this key."""
    value = private_key.sign(signed_data(message, namespace))
    blob = b"".join(
        [
            MAGIC,
            (1).to_bytes(4, "big"),
            _string(public_key_of(private_key).blob),
            _string(namespace.encode()),
            _string(b""),
            _string(b"sha512"),
            _string(_string(ED25519.encode()) + _string(value)),
        ]
    )
    return armor(blob)


def public_key_of(private_key: Ed25519PrivateKey) -> PublicKey:
    """The public half of an Ed25519 key."""
    return PublicKey(_string(ED25519.encode()) + _string(private_key.public_key().public_bytes_raw()))


class _Malformed(SignatureInvalid):
    """Bytes that are in no form of a key or signature."""


class _Reader:
    """RFC 4251 data types out of bytes, strictly: SignatureInvalid when they run out or have another form."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        piece = self.data[self.at : self.at + count]
        if len(piece) != count:
            raise _Malformed("the data ends in the middle of a field")
        self.at += count
        return piece

    def uint32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.uint32())

    def text(self) -> str:
        try:
            return self.string().decode("ascii")
        except UnicodeDecodeError as error:
            raise _Malformed("a name in the data is not ASCII") from error

    def mpint(self) -> int:
        """A positive integer in its shortest form."""
        data = self.string()
        if not data or data[0] & 0x80 or (data[0] == 0 and not (len(data) > 1 and data[1] & 0x80)):
            raise _Malformed("an integer in the data is not positive and in its shortest form")
        return int.from_bytes(data, "big")

    def end(self) -> None:
        if self.at != len(self.data):
            raise _Malformed("the data goes on after its last field")


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _verifier(blob: bytes) -> Callable[[bytes, bytes], None]:
    """A check(signature, data) for the key in `blob`; it raises InvalidSignature, ValueError or ours."""
    reader = _Reader(blob)
    algorithm = reader.text()
    try:
        if algorithm == ED25519:
            check = _ed25519(reader)
        elif algorithm == SK_ED25519:
            check = _sk_ed25519(reader)
        elif algorithm in _ECDSA:
            check = _ecdsa(reader, algorithm)
        elif algorithm == RSA:
            check = _rsa(reader)
        else:
            raise SignatureInvalid(f"keys of type {algorithm[:64]!r} are not accepted")
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignatureInvalid(f"the {algorithm} key is not a valid one") from error
    reader.end()
    return check


def _named(signature: bytes, *names: str) -> tuple[str, _Reader]:
    reader = _Reader(signature)
    name = reader.text()
    if name not in names:
        raise SignatureInvalid(f"a signature of type {name[:64]!r} where {' or '.join(names)} belongs")
    return name, reader


def _ed25519(reader: _Reader) -> Callable[[bytes, bytes], None]:
    key = Ed25519PublicKey.from_public_bytes(reader.string())

    def check(signature: bytes, data: bytes) -> None:
        _, parts = _named(signature, ED25519)
        value = parts.string()
        parts.end()
        key.verify(value, data)

    return check


def _sk_ed25519(reader: _Reader) -> Callable[[bytes, bytes], None]:
    """FIDO keys sign a hash of application and data with flags and a counter (OpenSSH's PROTOCOL.u2f)."""
    key = Ed25519PublicKey.from_public_bytes(reader.string())
    application = hashlib.sha256(reader.string()).digest()

    def check(signature: bytes, data: bytes) -> None:
        _, parts = _named(signature, SK_ED25519)
        value, flags_and_counter = parts.string(), parts.take(5)
        parts.end()
        key.verify(value, application + flags_and_counter + hashlib.sha256(data).digest())

    return check


def _ecdsa(reader: _Reader, algorithm: str) -> Callable[[bytes, bytes], None]:
    # All that these two kinds of key need takes long to import, and they are rare.
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    name, curve, digest = {
        _ECDSA[0]: ("nistp256", ec.SECP256R1(), hashes.SHA256()),
        _ECDSA[1]: ("nistp384", ec.SECP384R1(), hashes.SHA384()),
        _ECDSA[2]: ("nistp521", ec.SECP521R1(), hashes.SHA512()),
    }[algorithm]
    if reader.text() != name:
        raise SignatureInvalid(f"the {algorithm} key names another curve")
    point = reader.string()
    if point[:1] != b"\x04":
        raise SignatureInvalid(f"the {algorithm} key's point is not in the uncompressed form")
    key = ec.EllipticCurvePublicKey.from_encoded_point(curve, point)

    def check(signature: bytes, data: bytes) -> None:
        _, parts = _named(signature, algorithm)
        numbers = _Reader(parts.string())
        parts.end()
        r, s = numbers.mpint(), numbers.mpint()
        numbers.end()
        key.verify(utils.encode_dss_signature(r, s), data, ec.ECDSA(digest))

    return check


def _rsa(reader: _Reader) -> Callable[[bytes, bytes], None]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    exponent, modulus = reader.mpint(), reader.mpint()
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        raise SignatureInvalid(
            f"the RSA key has {modulus.bit_length()} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are accepted"
        )
    key = rsa.RSAPublicNumbers(exponent, modulus).public_key()

    def check(signature: bytes, data: bytes) -> None:
        name, parts = _named(signature, _RSA_256, _RSA_512)
        value = parts.string()
        parts.end()
        key.verify(value, data, padding.PKCS1v15(), hashes.SHA256() if name == _RSA_256 else hashes.SHA512())

    return check
