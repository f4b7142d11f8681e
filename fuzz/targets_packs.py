"""Targets over what a pack is made of: signatures, age files and keys, hash trees, zstd frames, tar; verify's state.

What holds for each is what holds for all (targets.py). Nothing here needs atheris.
"""

from __future__ import annotations

import os
import tempfile
from functools import cache
from typing import Any

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from targets import VECTORS, each, target, vectors

from sealift.formats import (
    age,
    age_keys,
    allowed_signers,
    paged,
    sshsig,
    tar,
    zstd,
)
from sealift.formats import manifest as mf
from sealift.stages import verify_state

# -- signatures -----------------------------------------------------------------------------------------


@target(lambda: [data for _, _, data in _sshsig_files() if len(data) < 1 << 14], 1 << 14)
def sshsig_armored(data: bytes) -> None:
    """A signature file, as it is, and its content armored anew."""
    each(
        lambda: sshsig.verify(b"message", data, "sealift"),
        lambda: sshsig.verify(b"message", sshsig.armor(data), "sealift"),
        lambda: sshsig.verify(b"message", sshsig.armor(sshsig.dearmor(data)), "sealift"),
    )


def _sshsig_files() -> list[tuple[str, dict[str, str], bytes]]:
    key = Ed25519PrivateKey.from_private_bytes(b"\x42" * 32)
    signature = sshsig.sign_ed25519(b"message", key, "sealift")
    made = [("armored", {}, signature), ("blob", {}, sshsig.dearmor(signature))]
    files = [path for path in sorted((VECTORS / "sshsig").rglob("*")) if path.is_file()]
    return [*made, *((path.name, {}, path.read_bytes()) for path in files)]  # type: ignore[list-item]


def _lines() -> list[bytes]:
    key = Ed25519PrivateKey.from_private_bytes(b"\x42" * 32)
    line = sshsig.public_key_of(key).line.encode()
    times = b'a@b,*.c,!d namespaces="sealift,x",valid-after="20250101Z",valid-before="20300101000000Z" '
    return [
        b"a@b " + line,
        times + line,
        b'"quoted name" cert-authority ' + line,
        b"# comment\n\n* " + line + b" c\r\n",
    ]


@target(_lines, 1 << 13)
def signers(data: bytes) -> None:
    """An allowed signers file, asked about a signature; and a public key."""
    key = Ed25519PrivateKey.from_private_bytes(b"\x42" * 32)
    signature = sshsig.sign_ed25519(b"message", key, "sealift")

    def asked() -> None:
        parsed = allowed_signers.AllowedSigners.parse(data)
        for principal in ("a@b", None):
            each(lambda p=principal: parsed.signer(b"message", signature, "sealift", principal=p))

    each(asked, lambda: sshsig.parse_public_key(data))


# -- age --------------------------------------------------------------------------------------------------


@cache
def _identities() -> list[age.Identity]:
    texts = {value for _, head, _ in vectors("age", 1 << 20) for key, value in head.items() if key == "identity"}
    seeds = {value for _, head, _ in vectors("age", 1 << 20) for key, value in head.items() if key == "ssh seed"}
    own = [age_keys.SSHIdentity(bytes.fromhex(seed)) for seed in sorted(seeds)]
    return [*map(age_keys.parse_identity, sorted(texts)), *own]


def _age_files() -> list[bytes]:
    return [data for _, _, data in vectors("age", 1 << 14)]


@target(_age_files, 1 << 15)
def age_header(data: bytes) -> None:
    """A header: what is parsed is what is encoded; every stanza is tried by every identity."""
    header = age.parse_header(data)
    text = b"age-encryption.org/v1\n" + b"".join(stanza.encode() for stanza in header.stanzas)
    assert header.raw == text + b"--- " + age.encode_base64(header.mac).encode() + b"\n" == data[: header.length]
    each(*(lambda i=identity: i.unwrap(header.stanzas) for identity in _identities()))  # type: ignore[misc]


@target(_age_files, 1 << 18)
def age_file(data: bytes) -> None:
    """A whole file read through; and the same bytes as a payload under a header whose key is known."""

    def whole(file: bytes) -> None:
        with age.Reader(lambda at, n: file[at : at + n], len(file), _identities()) as reader:
            while reader.read(40_000):
                pass
            reader.seek(max(0, reader.size // 2))
            reader.read(10)

    header = next(data for name, _, data in vectors("age") if name == "x25519")
    start = age.parse_header(header).length
    each(lambda: whole(data), lambda: whole(header[:start] + data))


@target(
    lambda: [
        *(str(key.recipient).encode() for key in _identities()),
        *(b"\0" + bytes([n]) * size for n, size in ((1, 32), (2, 32), (3, 1216), (4, 32))),
        age_keys.generate_identity()[0].encode()
        + b"\r\n# comment\n\n"
        + age_keys.generate_hybrid_identity()[0].encode(),
        _openssh(),
    ],
    1 << 13,
)
def age_text(data: bytes) -> None:
    """Recipients and identities, alone and in files; Bech32 with its checksum mended."""
    text = data.decode("utf-8", "surrogateescape")

    def again(key: Any) -> None:
        assert age_keys.parse_recipient(str(key)) == key

    def bech32(hrp: str) -> None:
        key = age_keys._bech32_encode(hrp, data[1:])
        again(age_keys.parse_recipient(key))
        age_keys.parse_identity(key.upper())

    each(
        lambda: again(age_keys.parse_recipient(text)),
        lambda: age_keys.parse_identity(text),
        lambda: age_keys.parse_identities(data),
        lambda: age_keys.parse_recipients_file(data),
        lambda: bech32(("age", "age1pq", "age-secret-key-", "age-secret-key-pq-")[data[0] % 4] if data else "age"),
    )


def _openssh() -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.from_private_bytes(b"\x42" * 32)
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


# -- data packs ---------------------------------------------------------------------------------------------


def _paged() -> list[bytes]:
    found = []
    for count in (0, 3, 600):
        pieces: list[bytes] = []
        paged.write(mf.PACKS_MAGIC, mf.PACK.size, count, iter([bytes(range(80)) * count]), pieces.append)
        found.append(count.to_bytes(2, "big") + b"".join(pieces))
    return found


@target(_paged, 1 << 17)
def paged_file(data: bytes) -> None:
    """packs.bin under the root of its own top page, so that the levels below are what is judged."""
    count, file = int.from_bytes(data[:2], "big") % 4096, data[2:]
    levels = paged.layout(mf.PACK.size, count)
    header = paged.HEADER.pack(mf.PACKS_MAGIC, paged.VERSION, mf.PACK.size, count, paged.PAGE, len(levels) - 1)
    at = sum(levels) * paged.PAGE
    root = blake3(header + file[at : at + paged.PAGE]).digest()
    opened = paged.PagedFile(
        lambda at, n: file[at : at + n], magic=mf.PACKS_MAGIC, record=mf.PACK.size, count=count, root=root, name="fuzz"
    )
    each(
        opened.check_header,
        lambda: list(opened.damaged_pages()),
        lambda: [mf.pack_at(opened, place // 3, place % 3, 3) for place in range(count)],
        lambda: list(opened.pages()),
    )


@target(lambda: [zstd.seek_table([12, 40], [100, 1 << 20]), zstd.seek_table([], [])])  # type: ignore[arg-type]
def seek_table(data: bytes) -> None:
    """The seek table of a pack whose plaintext it ends; the first two bytes say how much stands before it."""
    before, table = int.from_bytes(data[:2], "big"), data[2:]
    each(
        lambda: zstd.seek_table_frames(data[-zstd.FOOTER :], len(data)),
        lambda: zstd.parse_seek_table(data, len(data) + 52),
        lambda: zstd.parse_seek_table(table, len(table) + before),
    )


@target(
    lambda: [len(text).to_bytes(4, "big") + zstd.compress(text) for text in (b"", b"a" * 9, bytes(200_000))], 1 << 17
)
def zstd_frame(data: bytes) -> None:
    """A frame of a stated length; never more memory than that and a window."""
    size = int.from_bytes(data[:4], "big") % (zstd.FRAME + 1)
    assert len(zstd.decompress(data[4:], size)) == size


def _tars() -> list[bytes]:
    long = b"d/" * 120 + b"name"
    made = [
        tar.header(b"a/b", tar.REGULAR, 3, 0o644, 1_500_000_000) + b"abc".ljust(512, b"\0") + tar.END,
        tar.header(long, tar.SYMLINK, 0, 0o777, -5, b"t" * 300) + tar.END,
        tar.sparse_header(b"s", 1024, 1 << 40, 0o600, 1) + tar.sparse_map([(0, 5), (99, 1)], 1 << 40),
    ]
    return [*made, *(data for _, head, data in vectors("pack") if head["kind"] == "tar")]


@target(_tars, 1 << 15)
def tar_stream(data: bytes) -> None:
    """A stream of headers walked, checksums mended; pax records; a sparse map."""
    each(lambda: tar.parse_pax(data), lambda: _sparse(data), lambda: _walk(data))


def _sparse(data: bytes) -> None:
    extents, used = tar.parse_sparse_map(data)
    assert used >= 0
    assert len(extents) <= tar.MAX_EXTENTS + 1
    assert all(offset >= 0 and length >= 0 for offset, length in extents)


def _walk(data: bytes) -> None:
    at, records = 0, dict[bytes, bytes]()
    while at + tar.BLOCK <= len(data):
        block = bytearray(data[at : at + tar.BLOCK])
        block[257:262] = b"ustar"
        block[148:156] = b"%06o\0 " % (sum(block[:148]) + 256 + sum(block[156:]))
        member = tar.parse_header(bytes(block), at, records)
        assert member.size >= 0, "whoever walks would go backwards"
        records = tar.parse_pax(data[member.data : member.data + member.size]) if member.kind == tar.PAX else {}
        at = member.data + member.size + tar.padding(member.size)


def _states() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "state")
        with verify_state.State(path) as state:
            state.remember("m", "d", 0, "p", "s")
        with open(path, "rb") as file:
            return [file.read()]


@target(_states)
def resume_state(data: bytes) -> None:
    """What verify remembered, in a file that somebody wrote over."""
    with tempfile.TemporaryDirectory(prefix="sealift-fuzz-") as folder:
        path = os.path.join(folder, "state")
        with open(path, "wb") as file:
            file.write(data)
        with verify_state.State(path) as state:
            each(lambda: state.known("m", "d", 0, "p"))
            state.remember("m", "d", 1, "q", "s")
            each(state.flush, state.forget)
