"""Writes tests/vectors/sshsig/: signatures that are right, and one for every way to be wrong.

Run it as `python tests/vectors/make_sshsig.py`; it gives the same bytes each time, and the tests compare them
with what is in the folder. It builds signatures from the primitives alone and imports nothing of sealift, so
that a mistake there is not repeated here.

A vector is a text header, an empty line, and an armored signature. Keys of the header:

    expect      success | refused
    namespace   the namespace to verify in
    message     the message, in hex
    key         the public key's line that verifying must give (success only)
    profile     yes: refused by docs/spec/signatures.md, though ssh-keygen may take it
    comment     what is wrong or remarkable
"""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sshsig")
MESSAGE = b'{\n  "type": "sealift-manifest"\n}\n'
NAMESPACE = b"sealift"
L = 2**252 + 27742317777372353535851937790883648493  # order of Ed25519's group


def draw(what: str) -> bytes:
    """32 bytes that stand for random ones."""
    return hashlib.sha256(b"sealift sshsig vector: " + what.encode()).digest()


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def mpint(number: int) -> bytes:
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def signed(hash_name: bytes = b"sha512", namespace: bytes = NAMESPACE, message: bytes = MESSAGE) -> bytes:
    digest = hashlib.new(hash_name.decode(), message).digest()
    return b"SSHSIG" + string(namespace) + string(b"") + string(hash_name) + string(digest)


def blob(
    key: bytes,
    signature: bytes,
    *,
    magic: bytes = b"SSHSIG",
    version: int = 1,
    namespace: bytes = NAMESPACE,
    reserved: bytes = b"",
    hash_name: bytes = b"sha512",
) -> bytes:
    fields = [string(key), string(namespace), string(reserved), string(hash_name), string(signature)]
    return magic + version.to_bytes(4, "big") + b"".join(fields)


def armor(data: bytes, columns: int = 70, end: bytes = b"\n") -> bytes:
    text = base64.b64encode(data)
    lines = [text[i : i + columns] for i in range(0, len(text), columns)]
    return end.join([b"-----BEGIN SSH SIGNATURE-----", *lines, b"-----END SSH SIGNATURE-----", b""])


# --- keys: public blob and a function from data to a signature blob -----------------------------------------

ED = Ed25519PrivateKey.from_private_bytes(draw("ed25519"))
ED_RAW = ED.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
ED_KEY = string(b"ssh-ed25519") + string(ED_RAW)
SK = b"sk-ssh-ed25519@openssh.com"
SK_KEY = string(SK) + string(ED_RAW) + string(b"ssh:")
CURVES = {
    "256": (ec.SECP256R1(), hashes.SHA256()),
    "384": (ec.SECP384R1(), hashes.SHA384()),
    "521": (ec.SECP521R1(), hashes.SHA512()),
}


def ed_sign(data: bytes) -> bytes:
    return string(b"ssh-ed25519") + string(ED.sign(data))


def sk_sign(data: bytes, flags: int = 1, said: int = 1) -> bytes:
    counter = (7).to_bytes(4, "big")
    inner = hashlib.sha256(b"ssh:").digest() + bytes([flags]) + counter + hashlib.sha256(data).digest()
    return string(SK) + string(ED.sign(inner)) + bytes([said]) + counter


def ec_private(size: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(draw("ecdsa" + size), "big"), CURVES[size][0])


def ec_key(size: str, form: PublicFormat = PublicFormat.UncompressedPoint, curve: str = "") -> bytes:
    point = ec_private(size).public_key().public_bytes(Encoding.X962, form)
    return ec_blob(size, point, curve)


def ec_blob(size: str, point: bytes, curve: str = "") -> bytes:
    names = [f"ecdsa-sha2-nistp{size}", f"nistp{curve or size}"]
    return b"".join(string(name.encode()) for name in names) + string(point)


def ec_numbers(size: str, data: bytes) -> tuple[int, int]:
    algorithm = ec.ECDSA(CURVES[size][1], deterministic_signing=True)
    return decode_dss_signature(ec_private(size).sign(data, algorithm))


def ec_sign(size: str, data: bytes) -> bytes:
    r, s = ec_numbers(size, data)
    return string(f"ecdsa-sha2-nistp{size}".encode()) + string(mpint(r) + mpint(s))


SMALL = [n for n in range(3, 2000, 2) if all(n % m for m in range(3, int(n**0.5) + 1, 2))]


def prime(what: str, bits: int) -> int:
    """The first prime that Fermat's test to four bases finds from a drawn start; p - 1 prime to 65537."""
    stream = b"".join(draw(f"{what} {i}") for i in range(bits // 256))
    number = int.from_bytes(stream, "big") | (3 << (bits - 2)) | 1
    while True:
        sieved = all(number % small for small in SMALL) and number % 65537 != 1
        if sieved and all(pow(base, number - 1, number) == 1 for base in (2, 3, 5, 7)):
            return number
        number += 2


@functools.cache
def rsa_private(bits: int) -> rsa.RSAPrivateKey:
    """A key from drawn primes."""
    p, q = prime(f"p{bits}", bits // 2), prime(f"q{bits}", bits // 2)
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    coefficient = rsa.rsa_crt_iqmp(p, q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), coefficient, public).private_key()


def rsa_key(private: rsa.RSAPrivateKey) -> bytes:
    numbers = private.public_key().public_numbers()
    return string(b"ssh-rsa") + mpint(numbers.e) + mpint(numbers.n)


def rsa_sign(private: rsa.RSAPrivateKey, data: bytes, name: str, digest: hashes.HashAlgorithm) -> bytes:
    return string(name.encode()) + string(private.sign(data, padding.PKCS1v15(), digest))


# --- vectors -------------------------------------------------------------------------------


class Vectors:
    """Collects files by name."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def add(
        self, name: str, text: bytes, comment: str, *, message: bytes = MESSAGE, key: bytes = b"", **more: str
    ) -> None:
        head = [
            "expect: success" if key else "expect: refused",
            f"namespace: {more.get('namespace', 'sealift')}",
        ]
        head.append(f"message: {message.hex()}")
        if key:
            algorithm = key[4 : 4 + int.from_bytes(key[:4], "big")].decode()
            head.append(f"key: {algorithm} {base64.b64encode(key).decode()}")
        if "profile" in more:
            head.append(f"profile: {more['profile']}")
        head.append(f"comment: {comment}")
        self.files[name] = "\n".join(head).encode() + b"\n\n" + text


def good(v: Vectors) -> None:
    v.add("ed25519", armor(blob(ED_KEY, ed_sign(signed()))), "the example of the specification", key=ED_KEY)
    sha256 = blob(ED_KEY, ed_sign(signed(b"sha256")), hash_name=b"sha256")
    v.add("ed25519_sha256", armor(sha256), "message hashed with SHA-256", key=ED_KEY)
    empty = armor(blob(ED_KEY, ed_sign(signed(message=b""))))
    v.add("ed25519_empty", empty, "the empty message", key=ED_KEY, message=b"")
    release = blob(ED_KEY, ed_sign(signed(namespace=b"sealift-release")), namespace=b"sealift-release")
    v.add("ed25519_release", armor(release), "another namespace", key=ED_KEY, namespace="sealift-release")
    v.add("sk_ed25519", armor(blob(SK_KEY, sk_sign(signed()))), "a hardware key, touched", key=SK_KEY)
    untouched = armor(blob(SK_KEY, sk_sign(signed(), 0, 0)))
    v.add(
        "sk_ed25519_untouched",
        untouched,
        "no touch: whether one was wanted is the key's own rule",
        key=SK_KEY,
    )
    for size in CURVES:
        v.add(
            f"ecdsa_{size}",
            armor(blob(ec_key(size), ec_sign(size, signed()))),
            f"NIST P-{size}",
            key=ec_key(size),
        )
    private = rsa_private(2048)
    for bits, digest in (("256", hashes.SHA256()), ("512", hashes.SHA512())):
        signature = rsa_sign(private, signed(), f"rsa-sha2-{bits}", digest)
        v.add(f"rsa_sha2_{bits}", armor(blob(rsa_key(private), signature)), "2048 bits", key=rsa_key(private))


def bad_armor(v: Vectors) -> None:
    right = blob(ED_KEY, ed_sign(signed()))
    text = armor(right)
    v.add("armor_columns_76", armor(right, 76), "lines of 76", profile="yes")
    v.add("armor_one_line", armor(right, 1000), "one line", profile="yes")
    v.add("armor_crlf", armor(right, end=b"\r\n"), "lines end in CR LF")
    v.add("armor_no_final_newline", text[:-1], "no newline at the end", profile="yes")
    v.add("armor_more_newlines", text + b"\n", "an empty line at the end", profile="yes")
    v.add("armor_text_before", b"x\n" + text, "text before")
    v.add("armor_text_after", text + b"x\n", "text after", profile="yes")
    v.add("armor_space", text.replace(b"\n", b" \n", 2), "a space at the end of a line")
    v.add("armor_pgp", text.replace(b"SSH", b"PGP"), "another kind of armor")
    v.add("armor_empty", armor(b""), "no data")
    v.add("armor_not_base64", text.replace(b"U1NI", b"U1-I"), "a character that is not base64")
    padded = armor(blob(ED_KEY, ed_sign(signed(namespace=b"sealift8")), namespace=b"sealift8"))
    at = padded.index(b"==") - 1  # the last character carries two bits, and four that must be zero
    spare = padded[:at] + bytes([padded[at] + 1]) + padded[at + 1 :]
    comment = "spare bits of the last base64 character are set"
    v.add("armor_spare_bits", spare, comment, namespace="sealift8")


def bad_blob(v: Vectors) -> None:
    ok = ed_sign(signed())
    v.add("blob_magic", armor(blob(ED_KEY, ok, magic=b"SSHSIQ")), "another magic")
    v.add("blob_version_0", armor(blob(ED_KEY, ok, version=0)), "version 0", profile="yes")
    v.add("blob_version_2", armor(blob(ED_KEY, ok, version=2)), "version 2")
    v.add("blob_reserved", armor(blob(ED_KEY, ok, reserved=b"x")), "reserved not empty", profile="yes")
    v.add("blob_hash_sha384", armor(blob(ED_KEY, ed_sign(signed(b"sha384")), hash_name=b"sha384")), "SHA-384")
    v.add("blob_hash_swapped", armor(blob(ED_KEY, ok, hash_name=b"sha256")), "says SHA-256, signed with SHA-512")
    v.add("blob_trailing", armor(blob(ED_KEY, ok) + b"\0"), "a byte after the last field")
    v.add("blob_cut", armor(blob(ED_KEY, ok)[:-1]), "the last byte missing")
    v.add("blob_length", armor(b"SSHSIG\0\0\0\1\xff\xff\xff\xff" + ED_KEY), "a length beyond the end")
    v.add("namespace_other", armor(blob(ED_KEY, ok)), "in another namespace", namespace="sealift-release")
    other = blob(ED_KEY, ok, namespace=b"sealift-release")
    v.add("namespace_forged", armor(other), "signed in one, says another", namespace="sealift-release")
    v.add("message_other", armor(blob(ED_KEY, ok)), "another message", message=MESSAGE + b"\n")


def bad_keys(v: Vectors) -> None:
    data, ok = signed(), ed_sign(signed())
    v.add("key_short", armor(blob(string(b"ssh-ed25519") + string(ED_RAW[:-1]), ok)), "31 bytes of key")
    v.add("key_trailing", armor(blob(ED_KEY + b"\0", ok)), "a byte after the key")
    v.add(
        "key_dsa",
        armor(blob(string(b"ssh-dss") + mpint(7) * 4, string(b"ssh-dss") + string(b"x" * 40))),
        "DSA",
    )
    certificate = string(b"ssh-ed25519-cert-v01@openssh.com") + ED_KEY
    v.add("key_certificate", armor(blob(certificate, ok)), "a certificate")
    v.add("key_unknown", armor(blob(string(b"ssh-\xc3\xa9") + ED_KEY, ok)), "a type that is not ASCII")
    v.add(
        "ecdsa_curve_name",
        armor(blob(ec_key("256", curve="384"), ec_sign("256", data))),
        "names another curve",
    )
    compressed = ec_key("256", PublicFormat.CompressedPoint)
    v.add("ecdsa_compressed", armor(blob(compressed, ec_sign("256", data))), "a compressed point")
    off = ec_blob("256", b"\4" + b"\1" * 64)
    v.add("ecdsa_off_curve", armor(blob(off, ec_sign("256", data))), "a point that is not on the curve")
    small = rsa_private(1024)
    signature = rsa_sign(small, data, "rsa-sha2-512", hashes.SHA512())
    v.add("rsa_1024", armor(blob(rsa_key(small), signature)), "a key of 1024 bits", profile="yes")
    numbers = rsa_private(2048).public_key().public_numbers()
    loose = string(b"ssh-rsa") + mpint(numbers.e) + string(b"\0" + numbers.n.to_bytes(257, "big"))
    signature = rsa_sign(rsa_private(2048), data, "rsa-sha2-512", hashes.SHA512())
    v.add(
        "rsa_loose_integer",
        armor(blob(loose, signature)),
        "the modulus with a zero too many",
        profile="yes",
    )


def bad_signatures(v: Vectors) -> None:
    data, ok = signed(), ed_sign(signed())
    value = ED.sign(data)
    s = int.from_bytes(value[32:], "little") + L
    unreduced = string(b"ssh-ed25519") + string(value[:32] + s.to_bytes(32, "little"))
    v.add(
        "ed25519_unreduced",
        armor(blob(ED_KEY, unreduced)),
        "S + L in place of S (RFC 8032, 5.1.7)",
        profile="yes",
    )
    v.add("ed25519_short", armor(blob(ED_KEY, string(b"ssh-ed25519") + string(value[:-1]))), "63 bytes")
    v.add("ed25519_trailing", armor(blob(ED_KEY, ok + b"\0")), "a byte after the signature")
    v.add("ed25519_type", armor(blob(ED_KEY, string(b"ssh-ed448") + string(value))), "type of another key")
    v.add("ed25519_no_hash", armor(blob(ED_KEY, ed_sign(MESSAGE))), "over the message itself")
    v.add("sk_as_plain", armor(blob(SK_KEY, ok)), "a plain signature by a hardware key")
    v.add("sk_flags", armor(blob(SK_KEY, sk_sign(data, flags=0, said=1))), "says touched, signed untouched")
    r, s = ec_numbers("256", data)
    name = string(b"ecdsa-sha2-nistp256")
    padded = string(b"\0" + r.to_bytes(33, "big")) + mpint(s)
    v.add(
        "ecdsa_padded",
        armor(blob(ec_key("256"), name + string(padded))),
        "r with a zero too many",
        profile="yes",
    )
    zero = string(b"") + mpint(s)
    v.add("ecdsa_zero", armor(blob(ec_key("256"), name + string(zero))), "r is zero")
    v.add("ecdsa_order", armor(blob(ec_key("256"), ec_sign("384", data))), "a signature of another curve")
    private = rsa_private(2048)
    sha1 = rsa_sign(private, data, "ssh-rsa", hashes.SHA1())
    v.add("rsa_sha1", armor(blob(rsa_key(private), sha1)), "SHA-1")
    said = rsa_sign(private, data, "rsa-sha2-256", hashes.SHA512())
    v.add("rsa_hash_name", armor(blob(rsa_key(private), said)), "says SHA-256, signed with SHA-512")
    short = private.sign(data, padding.PKCS1v15(), hashes.SHA512())[1:]
    v.add("rsa_short", armor(blob(rsa_key(private), string(b"rsa-sha2-512") + string(short))), "255 bytes")


def main(folder: str = FOLDER) -> None:
    vectors = Vectors()
    for part in (good, bad_armor, bad_blob, bad_keys, bad_signatures):
        part(vectors)
    os.makedirs(folder, exist_ok=True)
    for name, data in vectors.files.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)


if __name__ == "__main__":
    main(*sys.argv[1:])
