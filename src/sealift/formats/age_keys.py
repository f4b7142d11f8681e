"""Recipients and identities of age: X25519, hybrid post-quantum and ssh-ed25519, their stanzas and text forms.

Holds: the recipient types X25519 and mlkem768x25519 of the C2SP age specification (https://c2sp.org/age), and
the ssh-ed25519 type as the age tool implements it (filippo.io/age/agessh); `age1...` and `age1pq1...` recipients,
`AGE-SECRET-KEY-1...` and `AGE-SECRET-KEY-PQ-1...` identities, ssh-ed25519 public keys, unencrypted OpenSSH private
keys, and files of them.

What holds:
- Text that is not a key raises `KeyInvalid`; its message never repeats what may be a secret.
- A malformed stanza of a type that is known here raises `AgeError`; stanzas of other types are passed over.
- Points to which nothing can be encrypted safely (low order, not on the curve) are refused when parsed.

What is not here: passphrases (scrypt), plugins, ssh-rsa, and files: these take text and bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from typing import TYPE_CHECKING, ClassVar, Final, TypeVar

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from sealift.errors import AgeError, KeyInvalid
from sealift.formats.age import FILE_KEY, TAG, Identity, Recipient, hkdf
from sealift.formats.age_header import Stanza, decode_base64, encode_base64

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MAX_KEYS: Final = 128
"""Most keys of one file."""
MAX_KEY_FILE: Final = 131072
"""Longest identity or recipients file, in bytes: as many hybrid recipients as a header holds, and comments."""
MAX_KEY_TEXT: Final = 4096
"""Longest age1... or AGE-SECRET-KEY-..., in characters; a hybrid recipient has 1959."""

_X25519: Final = "X25519"
_X25519_INFO: Final = b"age-encryption.org/v1/X25519"
_SSH: Final = "ssh-ed25519"
_SSH_INFO: Final = b"age-encryption.org/v1/ssh-ed25519"
_SSH_PREFIX: Final = b"\0\0\0\x0bssh-ed25519\0\0\0\x20"  # two length-prefixed strings; the key follows
_HYBRID: Final = "mlkem768x25519"
_HYBRID_INFO: Final = b"age-encryption.org/mlkem768x25519"
_HYBRID_SUITE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
_MLKEM_PUBLIC: Final = 1184  # of a recipient's 1216 bytes; an X25519 point follows
_MLKEM_SEALED: Final = 1088  # of a stanza's 1120-byte encapsulated key; an X25519 share follows
_ZERO_NONCE: Final = bytes(12)  # every wrap key is used once
_BECH32: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_PEM: Final = b"-----BEGIN "

_Key = TypeVar("_Key")


class X25519Recipient:
    """An `age1...` recipient; `public` is its 32-byte point."""

    __slots__ = ("public",)
    post_quantum: ClassVar[bool] = False

    def __init__(self, public: bytes) -> None:
        _check_point(public)
        self.public = public

    def __str__(self) -> str:
        return _bech32_encode("age", self.public)

    def __repr__(self) -> str:
        return f"X25519Recipient({self})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, X25519Recipient) and other.public == self.public

    def __hash__(self) -> int:
        return hash((_X25519, self.public))

    def wrap(self, file_key: bytes) -> Stanza:
        """An X25519 stanza under a fresh ephemeral share."""
        ephemeral = X25519PrivateKey.generate()
        share = ephemeral.public_key().public_bytes_raw()
        shared = _exchange(ephemeral, self.public)
        wrap_key = hkdf(shared, share + self.public, _X25519_INFO)
        return Stanza(_X25519, (encode_base64(share),), _wrap(wrap_key, file_key))


class X25519Identity:
    """An `AGE-SECRET-KEY-1...` identity; `recipient` is its public side."""

    __slots__ = ("_secret", "recipient")

    def __init__(self, secret: bytes) -> None:
        self._secret = X25519PrivateKey.from_private_bytes(secret)
        self.recipient = X25519Recipient(self._secret.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"X25519Identity(for {self.recipient})"  # never the secret

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """The file key from the first X25519 stanza that opens, or None; AgeError if any is malformed."""
        mine = [_check_stanza(stanza, 1) for stanza in stanzas if stanza.type == _X25519]
        for share, body in mine:
            shared = _exchange(self._secret, share)
            wrap_key = hkdf(shared, share + self.recipient.public, _X25519_INFO)
            file_key = _unwrap(wrap_key, body)
            if file_key is not None:
                return file_key
        return None


class HybridRecipient:
    """An `age1pq1...` recipient: ML-KEM-768 with X25519 (X-Wing), safe against quantum computers as far as is known.

    `public` has 1216 bytes: the ML-KEM-768 encapsulation key, then the X25519 point. KeyInvalid if either is none.
    """

    __slots__ = ("_key", "public")
    post_quantum: ClassVar[bool] = True

    def __init__(self, public: bytes) -> None:
        if len(public) != _MLKEM_PUBLIC + 32:
            raise KeyInvalid("a hybrid recipient that does not have 1216 bytes", hint="copy the key again, whole")
        _check_point(public[_MLKEM_PUBLIC:])
        try:
            mlkem = MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC])
        except ValueError:  # a coefficient beyond the modulus (FIPS 203, section 7.2)
            raise KeyInvalid("not an ML-KEM-768 key", hint="make a new key: age-keygen -pq") from None
        except UnsupportedAlgorithm as error:
            raise _no_mlkem() from error
        self.public = public
        self._key = hpke.MLKEM768X25519PublicKey(mlkem, X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC:]))

    def __str__(self) -> str:
        return _bech32_encode("age1pq", self.public)

    def __repr__(self) -> str:
        return f"HybridRecipient({str(self)[:20]}...)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HybridRecipient) and other.public == self.public

    def __hash__(self) -> int:
        return hash((_HYBRID, self.public))

    def wrap(self, file_key: bytes) -> Stanza:
        """An mlkem768x25519 stanza under a fresh encapsulation (HPKE SealBase, RFC 9180, no associated data)."""
        sealed = _HYBRID_SUITE.encrypt(file_key, self._key, info=_HYBRID_INFO)
        return Stanza(_HYBRID, (encode_base64(sealed[: _MLKEM_SEALED + 32]),), sealed[_MLKEM_SEALED + 32 :])


class HybridIdentity:
    """An `AGE-SECRET-KEY-PQ-1...` identity: the 32-byte seed of X-Wing; `recipient` is its public side."""

    __slots__ = ("_key", "_secret", "recipient")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise KeyInvalid("a hybrid identity that does not have 32 bytes", hint="copy the key again, whole")
        expanded = hashlib.shake_256(seed).digest(96)
        try:
            mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        except UnsupportedAlgorithm as error:
            raise _no_mlkem() from error
        self._secret = X25519PrivateKey.from_private_bytes(expanded[64:])
        self._key = hpke.MLKEM768X25519PrivateKey(mlkem, self._secret)
        point = self._secret.public_key().public_bytes_raw()
        self.recipient = HybridRecipient(mlkem.public_key().public_bytes_raw() + point)

    def __repr__(self) -> str:
        return f"HybridIdentity(for {self.recipient!r})"  # never the secret

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """The file key from the first mlkem768x25519 stanza that opens, or None; AgeError if any is malformed."""
        size = _MLKEM_SEALED + 32
        mine = [_check_stanza(stanza, 1, size) for stanza in stanzas if stanza.type == _HYBRID]
        for encapsulated, body in mine:
            # HPKE refuses a shared secret of zeros too, but as it refuses a key that is not ours.
            _exchange(self._secret, encapsulated[_MLKEM_SEALED:])
            try:
                return _HYBRID_SUITE.decrypt(encapsulated + body, self._key, info=_HYBRID_INFO)
            except InvalidTag:
                continue  # ML-KEM rejects implicitly: for somebody else, or altered, shows only here
        return None


def _no_mlkem() -> KeyInvalid:
    hint = "install cryptography from its own wheels (pip install cryptography), or use an X25519 key"
    return KeyInvalid("the cryptography library here was built without ML-KEM-768", hint=hint)


class SSHRecipient:
    """An ssh-ed25519 public key as a recipient; `public` is the 32-byte Ed25519 point."""

    __slots__ = ("_point", "_tweak", "public", "tag")
    post_quantum: ClassVar[bool] = False

    def __init__(self, public: bytes) -> None:
        self.public = public
        self._point = _montgomery(public)
        _check_point(self._point)
        wire = _SSH_PREFIX + public
        self.tag = encode_base64(hashlib.sha256(wire).digest()[:4])
        self._tweak = hkdf(b"", wire, _SSH_INFO)

    def __str__(self) -> str:
        return f"{_SSH} {base64.b64encode(_SSH_PREFIX + self.public).decode()}"

    def __repr__(self) -> str:
        return f"SSHRecipient({self})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SSHRecipient) and other.public == self.public

    def __hash__(self) -> int:
        return hash((_SSH, self.public))

    def wrap(self, file_key: bytes) -> Stanza:
        """An ssh-ed25519 stanza under a fresh ephemeral share."""
        ephemeral = X25519PrivateKey.generate()
        share = ephemeral.public_key().public_bytes_raw()
        wrap_key = self.wrap_key(share, _exchange(ephemeral, self._point))
        return Stanza(_SSH, (self.tag, encode_base64(share)), _wrap(wrap_key, file_key))

    def wrap_key(self, share: bytes, shared: bytes) -> bytes:
        """The key of a stanza's body, from its ephemeral share and what the exchange gave."""
        # The tweak binds the SSH key itself: several Ed25519 keys may share one Montgomery point.
        tweaked = _exchange(X25519PrivateKey.from_private_bytes(self._tweak), shared)
        return hkdf(tweaked, share + self._point, _SSH_INFO)


class SSHIdentity:
    """An Ed25519 OpenSSH private key as an identity; `recipient` is its public side."""

    __slots__ = ("_secret", "recipient")

    def __init__(self, seed: bytes) -> None:
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        self._secret = X25519PrivateKey.from_private_bytes(hashlib.sha512(seed).digest()[:32])
        self.recipient = SSHRecipient(public)

    def __repr__(self) -> str:
        return f"SSHIdentity(for {self.recipient})"  # never the secret

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """The file key from the ssh-ed25519 stanza with this key's tag, or None.

        AgeError if any ssh-ed25519 stanza is malformed, or the one with this key's tag does not open.
        """
        mine = [(*_check_stanza(stanza, 2), stanza.args[0]) for stanza in stanzas if stanza.type == _SSH]
        for share, body, tag in mine:
            if tag != self.recipient.tag:
                continue
            wrap_key = self.recipient.wrap_key(share, _exchange(self._secret, share))
            file_key = _unwrap(wrap_key, body)
            if file_key is None:
                raise AgeError("age header: the ssh-ed25519 stanza for this key does not open")
            return file_key
        return None


def _check_stanza(stanza: Stanza, args: int, size: int = 32) -> tuple[bytes, bytes]:
    """Ephemeral share (the last argument, `size` bytes) and body (32 bytes) of a stanza with `args` arguments."""
    if len(stanza.args) != args:
        raise AgeError(f"age header: a stanza of type {stanza.type} has {args + 1} arguments")
    share = decode_base64(stanza.args[-1].encode())
    # A body of another length is refused before it is decrypted: partitioning oracles live there.
    if len(share) != size or len(stanza.body) != FILE_KEY + TAG:
        raise AgeError(f"age header: a stanza of type {stanza.type} has a share of {size} bytes and a body of 32")
    return share, stanza.body


def _exchange(secret: X25519PrivateKey, point: bytes) -> bytes:
    try:
        return secret.exchange(X25519PublicKey.from_public_bytes(point))
    except ValueError:  # the shared secret is all zeros
        raise AgeError("age header: a share of low order") from None


def _wrap(key: bytes, file_key: bytes) -> bytes:
    return ChaCha20Poly1305(key).encrypt(_ZERO_NONCE, file_key, None)


def _unwrap(key: bytes, body: bytes) -> bytes | None:
    try:
        return ChaCha20Poly1305(key).decrypt(_ZERO_NONCE, body, None)
    except InvalidTag:
        return None


# -- points ---------------------------------------------------------------------------------------

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P


def _check_point(public: bytes) -> None:
    """KeyInvalid if nothing can be encrypted to this Montgomery point."""
    if len(public) != 32:
        raise KeyInvalid("a public key that does not have 32 bytes", hint="copy the key again, whole")
    try:
        _exchange(X25519PrivateKey.from_private_bytes(bytes(32)), public)
    except AgeError:
        raise KeyInvalid("a public key of low order", hint="everybody could decrypt; make a new key") from None


def _montgomery(public: bytes) -> bytes:
    """The X25519 point of an Ed25519 public key, u = (1 + y) / (1 - y) (RFC 7748, section 4.1).

    A public coordinate is mapped; no secret comes near this arithmetic. KeyInvalid if there is no such
    point: an SSH key line has no checksum, and what is encrypted to a mistyped one is lost.
    """
    y = int.from_bytes(public, "little") & ((1 << 255) - 1)
    x2 = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    if y in {0, 1} or y >= _P or pow(x2, (_P - 1) // 2, _P) not in {0, 1}:
        raise KeyInvalid("not a point on the Ed25519 curve", hint="compare the line with the .pub file")
    return ((1 + y) * pow(1 - y, -1, _P) % _P).to_bytes(32, "little")


# -- text forms -----------------------------------------------------------------------------------


def generate_identity() -> tuple[str, str]:
    """A fresh X25519 identity and its recipient: ("AGE-SECRET-KEY-1...", "age1...")."""
    secret = os.urandom(32)
    return _bech32_encode("age-secret-key-", secret).upper(), str(X25519Identity(secret).recipient)


def generate_hybrid_identity() -> tuple[str, str]:
    """A fresh post-quantum identity and its recipient: ("AGE-SECRET-KEY-PQ-1...", "age1pq1...")."""
    seed = os.urandom(32)
    return _bech32_encode("age-secret-key-pq-", seed).upper(), str(HybridIdentity(seed).recipient)


def parse_recipient(text: str) -> Recipient:
    """The recipient of `age1...`, `age1pq1...` or `ssh-ed25519 AAAA... comment`; KeyInvalid if it is none."""
    if text.startswith(_SSH + " "):
        return _parse_ssh_public(text)
    if text.upper().startswith("AGE-SECRET-KEY-"):
        raise KeyInvalid("an identity where a recipient belongs", hint="give its public half: age-keygen -y FILE")
    if text.startswith("age1"):
        hrp, public = _bech32_decode(text)
        if hrp == "age1pq":
            return HybridRecipient(public)
        if hrp != "age" or len(public) != 32:
            hint = "age1..., age1pq1... and ssh-ed25519 keys are supported, plugins and others are not"
            raise KeyInvalid("not an X25519 or hybrid recipient", hint=hint)
        return X25519Recipient(public)
    raise KeyInvalid("not a recipient", hint="a recipient is age1... or a line ssh-ed25519 AAAA...")


def parse_identity(text: str) -> Identity:
    """The identity of `AGE-SECRET-KEY-1...` or `AGE-SECRET-KEY-PQ-1...`; KeyInvalid if it is none."""
    if text.startswith(("AGE-SECRET-KEY-1", "AGE-SECRET-KEY-PQ-1")):
        hrp, secret = _bech32_decode(text)
        if hrp == "age-secret-key-" and len(secret) == 32:
            return X25519Identity(secret)
        if hrp == "age-secret-key-pq-":
            return HybridIdentity(secret)
    if text.startswith(("AGE-SECRET-KEY-", "AGE-PLUGIN-")):
        hint = "AGE-SECRET-KEY-1... and AGE-SECRET-KEY-PQ-1... are supported, plugins are not"
        raise KeyInvalid("not an X25519 or hybrid identity", hint=hint)
    hint = "an identity is a line AGE-SECRET-KEY-1... or AGE-SECRET-KEY-PQ-1..., or an OpenSSH private key file"
    if text.startswith(("age1", "ssh-")):
        hint = "this is a recipient, the public half; " + hint
    raise KeyInvalid("not an identity", hint=hint)


def parse_recipients_file(data: bytes) -> list[Recipient]:
    """The recipients of a file: one a line, blank lines and # comments between; KeyInvalid if it has none."""
    return _parse_lines(data, parse_recipient, "a recipient")


def parse_identities(data: bytes) -> list[Identity]:
    """The identities of an identity file, or of an OpenSSH private key; KeyInvalid if there is none.

    An identity file has a line AGE-SECRET-KEY-... an identity, blank lines and # comments between.
    """
    if len(data) <= MAX_KEY_FILE and data.startswith(_PEM):
        return [_parse_ssh_private(data)]
    if data.startswith(b"age-encryption.org/"):
        raise KeyInvalid("an encrypted identity file", hint="decrypt it first: age -d FILE")
    return _parse_lines(data, parse_identity, "an identity")


def _parse_lines(data: bytes, parse: Callable[[str], _Key], what: str) -> list[_Key]:
    hint = f"a text file of up to {MAX_KEYS} lines with {what} each, blank lines and # comments"
    if len(data) > MAX_KEY_FILE:
        raise KeyInvalid(f"longer than {MAX_KEY_FILE} bytes", hint=hint)
    keys: list[_Key] = []
    for number, raw in enumerate(data.split(b"\n"), 1):
        line = raw.removesuffix(b"\r")  # these files are edited by hand, on any system
        if not line or line.startswith(b"#"):
            continue
        if len(keys) == MAX_KEYS:
            raise KeyInvalid(f"more than {MAX_KEYS} lines with {what}", hint=hint)
        try:
            keys.append(parse(line.decode()))
        except UnicodeDecodeError:
            raise KeyInvalid(f"line {number}: not text", hint=hint) from None
        except KeyInvalid as error:
            raise KeyInvalid(f"line {number}: {error}", hint=error.hint) from None
    if not keys:
        raise KeyInvalid(f"no line with {what} in this file", hint=hint)
    return keys


def _parse_ssh_public(text: str) -> SSHRecipient:
    try:
        wire = binascii.a2b_base64(text.split(" ", 2)[1].encode(), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise KeyInvalid("an ssh-ed25519 key that is not base64", hint="give one line of a .pub file") from None
    recipient = SSHRecipient(wire.removeprefix(_SSH_PREFIX)) if len(wire) == len(_SSH_PREFIX) + 32 else None
    # The text that is given back names the same key: nothing was passed over.
    if recipient is None or str(recipient).split(" ")[1] != text.split(" ", 2)[1] or "\n" in text:
        raise KeyInvalid("not an ssh-ed25519 public key", hint="give one line of a .pub file")
    return recipient


def _parse_ssh_private(data: bytes) -> SSHIdentity:
    hint = "an unencrypted ssh-ed25519 key in OpenSSH's own format is supported"
    if data.startswith(b"-----BEGIN AGE ENCRYPTED FILE"):
        raise KeyInvalid("an encrypted identity file", hint="decrypt it first: age -d FILE")
    if not data.startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----"):
        raise KeyInvalid("not an OpenSSH private key", hint=hint)
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    try:
        key = load_ssh_private_key(data, None)
    except TypeError:  # how the library says that a passphrase is missing
        hint = "use an age identity instead (age-keygen), or a copy without passphrase: ssh-keygen -p -N ''"
        raise KeyInvalid("this SSH key is protected by a passphrase", hint=hint) from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyInvalid("not an OpenSSH private key that can be read", hint=hint) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyInvalid("an SSH key of another type than ssh-ed25519", hint=hint)
    return SSHIdentity(key.private_bytes_raw())


def _bech32_polymod(values: Iterable[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            if top >> bit & 1:
                check ^= generator
    return check


def _bech32_expand(hrp: str) -> list[int]:
    return [ord(c) >> 5 for c in hrp] + [0] + [ord(c) & 31 for c in hrp]


def _bech32_encode(hrp: str, data: bytes) -> str:
    """Bech32 (BIP 173) of `data`, lower case."""
    bits = len(data) * 8
    padded = int.from_bytes(data, "big") << -bits % 5
    values = [padded >> shift & 31 for shift in range(bits + -bits % 5 - 5, -1, -5)]
    check = _bech32_polymod([*_bech32_expand(hrp), *values, 0, 0, 0, 0, 0, 0]) ^ 1
    values += [check >> shift & 31 for shift in range(25, -1, -5)]
    return f"{hrp}1{''.join(_BECH32[value] for value in values)}"


def _bech32_decode(text: str) -> tuple[str, bytes]:
    """Prefix (lower case) and data of a Bech32 string, which is all upper or all lower case."""
    if len(text) > MAX_KEY_TEXT:
        raise KeyInvalid(f"a key of more than {MAX_KEY_TEXT} characters", hint="copy the key again, alone in its line")
    lower = text.lower()
    hrp, one, tail = lower.rpartition("1")
    # Not ASCII first: some letters beyond it have an ASCII lower case.
    if not text.isascii() or text not in {lower, text.upper()} or not (hrp and one) or not set(tail) <= set(_BECH32):
        raise KeyInvalid("not a Bech32 string", hint="copy the key again, whole")
    values = [_BECH32.index(c) for c in tail]
    if len(values) < 6 or _bech32_polymod([*_bech32_expand(hrp), *values]) != 1:
        raise KeyInvalid("the checksum of this key is wrong", hint="copy the key again, whole")
    del values[-6:]
    number = 0
    for value in values:
        number = number << 5 | value
    spare = len(values) * 5 % 8
    if spare >= 5 or number & ((1 << spare) - 1):
        raise KeyInvalid("a Bech32 string with stray bits at its end")
    return hrp, (number >> spare).to_bytes(len(values) * 5 // 8, "big")
