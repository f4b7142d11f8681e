"""The age file format, version 1: STREAM payload, written and read at random, and the MAC of the header.

Holds: the header's MAC and the payload of the C2SP age specification
(https://c2sp.org/age), strict about all that it calls an error; a chunk-wise writer (`Encryptor`, and
`Writer` as a file object over it) and a chunk-wise reader (`Opener`, and `Reader` as a seekable file
object over it). docs/spec/age.md is the profile with its limits; tests/vectors/age/ has a vector for
every failure.

    file    = header | nonce (16 bytes) | chunk 0 | chunk 1 | ... | last chunk
    chunk i = ChaCha20-Poly1305(payload key, nonce = i (11 bytes, big endian) | last flag (1 byte), 64 KiB)

What holds:
- A file key and a payload nonce are drawn anew by every `Encryptor` and used by it alone.
- No plaintext byte is handed out that has not authenticated at its place; what a failed attempt wrote is zeroed.
- The place of the last chunk follows from the length of the whole file, and `Reader` opens that chunk
  first; so a truncated or extended file is refused before its first byte is read.
- Input that is not an age file raises `AgeError` and nothing else; misuse of a file object ValueError, as Python's.

What is not here: the grammar of a header (age_header.py), keys and stanzas (age_keys.py), passphrases (scrypt), ASCII
armor, plugins. No object here may be used by two threads at once, except `Opener`.
"""

from __future__ import annotations

import hmac
import io
import os
from typing import TYPE_CHECKING, ClassVar, Final, NoReturn, Protocol, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sealift.errors import AgeError, IdentityMismatch, KeyInvalid
from sealift.formats.age_header import (
    MAC_LINE,
    MAX_HEADER,
    MAX_STANZAS,
    NONCE,
    VERSION,
    Header,
    Stanza,
    encode_base64,
    parse_header,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

CHUNK: Final = 65536  # plaintext bytes of every chunk but the last
TAG: Final = 16  # bytes that sealing adds to a chunk
SEALED_CHUNK: Final = CHUNK + TAG
FILE_KEY: Final = 16
# Limits of ours, where the specification has none (or, for chunks, a counter of 88 bits).
MAX_HYBRID: Final = 42  # recipients of type mlkem768x25519, with 1557 bytes of header each
MAX_CHUNKS: Final = 1 << 32  # 256 TiB

_FIRST_READ: Final = 4096  # holds header and nonce of some forty X25519 recipients
_SPAN: Final = 16 * SEALED_CHUNK  # sealed bytes that Reader fetches at a time: about 1 MiB

Buffer: TypeAlias = bytes | bytearray | memoryview


class Recipient(Protocol):
    """Somebody to encrypt to; those that are `post_quantum` are not mixed with others (`check_recipients`)."""

    post_quantum: ClassVar[bool]

    def wrap(self, file_key: bytes) -> Stanza:
        """A stanza, with fresh randomness, from which only this recipient gets `file_key` (16 bytes)."""


class Identity(Protocol):
    """Somebody who may be able to decrypt; `recipient` is the public side."""

    @property
    def recipient(self) -> Recipient:
        """To whom one encrypts for it."""

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """The file key (16 bytes), or None if no stanza is for this identity; AgeError if one of its type is wrong."""


def unwrap(header: Header, identities: Iterable[Identity]) -> bytes:
    """The file key, from the first of `identities` that has a stanza; the MAC of the header holds under it.

    IdentityMismatch if no stanza is for any; AgeError if the MAC is wrong, or a stanza of their types malformed.
    """
    for identity in identities:
        if (file_key := identity.unwrap(header.stanzas)) is not None:
            check_mac(header, file_key)
            return file_key
    raise IdentityMismatch("none of the identities opens this age file")


def check_mac(header: Header, file_key: bytes) -> None:
    """AgeError unless the header's MAC is that of its bytes under `file_key`."""
    if len(file_key) != FILE_KEY:
        raise AgeError(f"age: a file key has {FILE_KEY} bytes")
    # The MAC covers everything up to and including its own "---".
    if not hmac.compare_digest(_mac(file_key, header.raw[: header.length - MAC_LINE + 3]), header.mac):
        raise AgeError("age header: the MAC does not hold")


def payload_key(file_key: bytes, nonce: bytes) -> bytes:
    """The 32-byte key of the chunks, from the file key (16 bytes) and the payload nonce (16 bytes)."""
    if len(file_key) != FILE_KEY or len(nonce) != NONCE:
        raise AgeError(f"age: a file key has {FILE_KEY} bytes and a payload nonce {NONCE}")
    return hkdf(file_key, nonce, b"payload")


def hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """HKDF-SHA-256 with 32 bytes of output, the only one in the specification."""
    return HKDF(SHA256(), 32, salt, info).derive(secret)


def _mac(file_key: bytes, covered: bytes) -> bytes:
    return hmac.digest(hkdf(file_key, b"", b"header"), covered, "sha256")


def sealed_length(plain: int, header_length: int) -> int:
    """Bytes of an age file over `plain` bytes; `header_length` is len(Encryptor.header), nonce included.

    AgeError if `plain` is negative or needs more than MAX_CHUNKS chunks.
    """
    chunks = max(1, -(-plain // CHUNK))
    if plain < 0 or chunks > MAX_CHUNKS:
        raise AgeError(f"age: {plain} bytes do not fit in an age file")
    return header_length + plain + TAG * chunks


def plain_length(total: int, header_length: int) -> int:
    """Plaintext bytes of an age file of `total` bytes; `header_length` includes the payload nonce.

    The inverse of `sealed_length`; AgeError when no plaintext has that length.
    """
    whole, rest = divmod(total - header_length, SEALED_CHUNK)
    chunks = whole + (rest > 0)
    plain = total - header_length - TAG * chunks
    # A short last chunk has at least one byte beside its tag, unless the whole payload is empty.
    if chunks < 1 or 0 < rest < TAG or (rest == TAG and chunks > 1):
        raise AgeError("age: the file is cut short, or something follows its last chunk")
    if chunks > MAX_CHUNKS:
        raise AgeError("age: more chunks than a file may have")
    return plain


def check_recipients(recipients: Sequence[Recipient]) -> None:
    """KeyInvalid unless one file may be for all of `recipients`: 1 to MAX_STANZAS, hybrid ones alone, MAX_HYBRID."""
    count, hybrid = len(recipients), sum(each.post_quantum for each in recipients)
    if not 1 <= count <= MAX_STANZAS:
        raise KeyInvalid(f"1 to {MAX_STANZAS} recipients, not {count}", hint="say who shall open it (--recipient)")
    if 0 < hybrid < count:  # what one recipient's key gives away is given away, whatever the others are
        hint = "give age1pq1... recipients only (age-keygen -pq makes such keys), or none of them"
        raise KeyInvalid(f"post-quantum recipients mixed with {count - hybrid} of another type", hint=hint)
    if hybrid > MAX_HYBRID:
        raise KeyInvalid(f"more than {MAX_HYBRID} post-quantum recipients", hint="a header holds no more of them")


class Encryptor:
    """One age file being written, chunk by chunk, for all of `recipients`.

    `header` is the header and the 16-byte payload nonce: what stands before the first chunk. File key and
    nonce are drawn from os.urandom by the constructor, for this object alone: it cannot be copied or
    pickled, because two of it would seal two plaintexts under one nonce; for the same reason, make it in
    the process that seals. KeyInvalid as `check_recipients`.
    """

    __slots__ = ("_done", "_index", "_seal", "header")

    header: bytes

    def __init__(self, recipients: Sequence[Recipient]) -> None:
        check_recipients(recipients)
        file_key = os.urandom(FILE_KEY)
        nonce = os.urandom(NONCE)
        covered = VERSION + b"".join(each.wrap(file_key).encode() for each in recipients) + b"---"
        header = covered + b" " + encode_base64(_mac(file_key, covered)).encode() + b"\n"
        # A header that we would not read back is not one to put in front of a pack.
        check_mac(parse_header(header), file_key)
        self.header = header + nonce
        self._seal = ChaCha20Poly1305(payload_key(file_key, nonce)).encrypt_into
        self._index = 0
        self._done = False

    def seal_chunk(self, plain: Buffer, out: bytearray | memoryview, *, last: bool) -> int:
        """Seal the next chunk into the start of `out`; the bytes written: len(plain) + TAG.

        `plain` and `out` are contiguous byte buffers that do not overlap. `plain` has CHUNK bytes, the
        last one 1 to CHUNK, or none if it is also the first. AgeError for any other length, for an `out`
        that is too small, after the last chunk, and past MAX_CHUNKS.
        """
        length = len(plain)
        if length != CHUNK or last:
            self._check_last(length, last=last)
        if self._done or self._index == MAX_CHUNKS:
            raise AgeError("age: nothing follows the last chunk")
        room = len(out)
        if room != length + TAG:
            if room < length + TAG:
                raise AgeError(f"age: {length + TAG} bytes do not fit in a buffer of {room}")
            out = memoryview(out)[: length + TAG]
        # Done unless it succeeds: a chunk that fails half-way has used its nonce, and ends the file.
        self._done = True
        # Chunk counter and last flag, read as one number, are the nonce.
        written = self._seal((self._index << 8 | last).to_bytes(12, "big"), plain, None, out)
        self._index += 1
        self._done = last
        return written

    def _check_last(self, length: int, *, last: bool) -> None:
        if not last:
            raise AgeError(f"age: a chunk before the last has {CHUNK} bytes, not {length}")
        if length > CHUNK or (length == 0 and self._index > 0):
            raise AgeError(f"age: the last chunk has 1 to {CHUNK} bytes, not {length}")

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("an Encryptor is not copied: two would use one nonce twice")


class Writer(io.RawIOBase):
    """A writable file object that encrypts to `recipients` and passes the age file to `sink`.

    `sink` takes each piece of bytes whole, in order, or raises. `close()` seals the last chunk; a Writer
    that is left by an exception, dropped without close(), or whose sink has raised never writes one, so
    that what stands then is refused as truncated by every reader. AgeError from write() and close() after
    the sink has raised. Not to be wrapped in io.BufferedWriter, which closes it after an exception too.
    """

    def __init__(self, recipients: Sequence[Recipient], sink: Callable[[bytes], object]) -> None:
        super().__init__()
        self._encryptor = Encryptor(recipients)
        self._sink = sink
        self._plain = bytearray(CHUNK)
        self._filled = 0
        self._sealed = bytearray(SEALED_CHUNK)
        self._position = 0
        self._failed = False
        self._emit(self._encryptor.header)

    def writable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Plaintext bytes written so far."""
        return self._position

    def write(self, data: object, /) -> int:
        """Take all of `data`, any buffer of bytes; its length in bytes."""
        if self.closed:
            raise ValueError("write to a closed age file")
        with memoryview(data) as given, given.cast("B") as view:  # type: ignore[arg-type]
            at, length = 0, len(view)
            while at < length:
                # A full chunk waits for the byte after it: only then is it known not to be the last.
                if self._filled == CHUNK:
                    self._flush_chunk(last=False)
                take = min(CHUNK - self._filled, length - at)
                self._plain[self._filled : self._filled + take] = view[at : at + take]
                self._filled += take
                at += take
        self._position += length
        return length

    def close(self) -> None:
        """Seal the last chunk, unless the file was abandoned; a second call does nothing."""
        if self.closed:
            return
        try:
            self._flush_chunk(last=True)
        finally:
            super().close()

    def abandon(self) -> None:
        """Close without a last chunk: what was written stays unreadable as a file."""
        super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon() if kind is not None else self.close()

    def __del__(self) -> None:
        # io.IOBase calls close() on what is collected; that would make a whole file of half of one.
        self.abandon()

    def _flush_chunk(self, *, last: bool) -> None:
        with memoryview(self._plain) as plain, plain[: self._filled] as part:
            length = self._encryptor.seal_chunk(part, self._sealed, last=last)
        self._filled = 0
        with memoryview(self._sealed) as sealed:
            self._emit(bytes(sealed[:length]))

    def _emit(self, data: bytes) -> None:
        if self._failed:
            raise AgeError("age: an earlier write failed, so this file cannot be completed")
        self._failed = True
        self._sink(data)
        self._failed = False


class Opener:
    """Opens the chunks of one file in any order, under its payload key (32 bytes)."""

    __slots__ = ("_open",)

    def __init__(self, key: bytes) -> None:
        if len(key) != 32:
            raise AgeError("age: a payload key has 32 bytes")
        self._open = ChaCha20Poly1305(key).decrypt_into

    def open_chunk(self, index: int, sealed: Buffer, out: bytearray | memoryview, *, last: bool) -> int:
        """Open chunk `index` into the start of `out`; the bytes written: len(sealed) - TAG.

        `sealed` has SEALED_CHUNK bytes, or for the last chunk TAG + 1 to SEALED_CHUNK, or TAG if it is
        also the first. AgeError when the lengths are others or the chunk does not authenticate at this
        place; what `out` would have got is zeroed then.
        """
        length = len(sealed) - TAG
        if length != CHUNK and not (last and (0 < length < CHUNK or length == index == 0)):
            raise AgeError(f"age: chunk {index} has a length that no chunk has there")
        if not 0 <= index < MAX_CHUNKS:
            raise AgeError(f"age: there is no chunk {index}")
        if len(out) != length:
            if len(out) < length:
                raise AgeError(f"age: {length} bytes do not fit in a buffer of {len(out)}")
            out = memoryview(out)[:length]
        try:
            return self._open((index << 8 | last).to_bytes(12, "big"), sealed, None, out)
        except InvalidTag:
            # The primitive decrypts before it compares the tag.
            out[:] = bytes(length)
            raise AgeError(f"age: chunk {index} does not authenticate") from None

    def open_run(self, first: int, sealed: memoryview, out: memoryview, *, last: bool) -> int:
        """Open the chunks from `first` on that `sealed` holds without gaps, as `open_chunk`; the bytes written.

        `last`: the last of them is the file's. AgeError where one does not authenticate; those before it are open.
        """
        count = len(sealed) // SEALED_CHUNK
        if last or count * SEALED_CHUNK != len(sealed):  # the one whose length and place are special
            count = max(0, -(-len(sealed) // SEALED_CHUNK) - 1)
        index, at, done, end = first, 0, 0, first + count
        if not 0 <= first <= end <= MAX_CHUNKS or len(out) < count * CHUNK:
            raise AgeError(f"age: {count} chunks from {first} on do not fit")
        try:
            while index < end:
                nonce = (index << 8).to_bytes(12, "big")
                self._open(nonce, sealed[at : at + SEALED_CHUNK], None, out[done : done + CHUNK])
                index, at, done = index + 1, at + SEALED_CHUNK, done + CHUNK
        except InvalidTag:
            out[done : done + CHUNK] = bytes(CHUNK)
            raise AgeError(f"age: chunk {index} does not authenticate") from None
        if at < len(sealed):
            done += self.open_chunk(index, sealed[at:], out[done:], last=last)
        return done


class Reader(io.RawIOBase):
    """A seekable, read-only file object over the plaintext of an age file of `length` bytes.

    `read_at(offset, count)` returns the `count` bytes at `offset` of the file; fewer count as truncation.
    The constructor reads header and last chunk: IdentityMismatch if no identity opens it, AgeError if it
    is not an age file or not a whole one. With `file_key` (16 bytes) no identity is needed; the header's
    MAC is checked under it all the same. `size` is the plaintext's length in bytes. Reads raise AgeError
    for a chunk that does not authenticate, fill the buffer otherwise (short only at the end), and hold
    about 1 MiB.
    """

    def __init__(
        self,
        read_at: Callable[[int, int], bytes],
        length: int,
        identities: Iterable[Identity] = (),
        *,
        file_key: bytes | None = None,
    ) -> None:
        super().__init__()
        self._read_at = read_at
        self._length = length
        self.header, nonce = self._read_head()
        if file_key is None:
            file_key = unwrap(self.header, identities)
        else:
            check_mac(self.header, file_key)
        self._opener = Opener(payload_key(file_key, nonce))
        self._start = self.header.payload_start
        self.size = plain_length(length, self._start)
        self._last = max(0, self.size - 1) // CHUNK
        self._position = 0
        self._cache = bytearray(CHUNK)
        self._cached = -1
        self._open_cached(self._last, self._fetch_chunks(self._last, self._last))

    def readable(self) -> bool:
        """True, until it is closed."""
        self._check_open()
        return True

    def seekable(self) -> bool:
        """True, until it is closed."""
        self._check_open()
        return True

    def tell(self) -> int:
        """The position in the plaintext."""
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to `offset` from start, position or end; returns the new position (it may be past it)."""
        self._check_open()
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}
        if whence not in bases or bases[whence] + offset < 0:
            raise ValueError(f"no such position: {offset} from {whence}")
        self._position = bases[whence] + offset
        return self._position

    def readinto(self, buffer: object, /) -> int:
        """Fill `buffer` from the position on; the bytes read, fewer than its length only at the end."""
        self._check_open()
        with memoryview(buffer) as given, given.cast("B") as view:  # type: ignore[arg-type]
            wanted = max(0, min(len(view), self.size - self._position))
            with view[:wanted] as out:
                try:
                    self._fill(out, self._position)
                except BaseException:
                    out[:] = bytes(wanted)
                    raise
        self._position += wanted
        return wanted

    def read(self, size: int | None = -1, /) -> bytes:
        """`size` bytes from the position on, or all that are left."""
        self._check_open()
        left = max(0, self.size - self._position)
        out = bytearray(left if size is None or size < 0 else min(size, left))
        self.readinto(out)
        return bytes(out)

    readall = read

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on a closed age file")

    def _read_head(self) -> tuple[Header, bytes]:
        """Header and payload nonce; most headers are short, so few bytes are asked for first."""
        head = self._fetch(0, min(self._length, _FIRST_READ))
        mac = head.find(b"\n---")
        if len(head) < self._length and not 0 <= mac < len(head) - MAC_LINE - NONCE:
            head = self._fetch(0, min(self._length, MAX_HEADER + NONCE))
        header = parse_header(head)
        nonce = head[header.length : header.payload_start]
        if len(nonce) != NONCE:
            raise AgeError("age: the payload nonce is cut short")
        return header, nonce

    def _fetch(self, offset: int, count: int) -> bytes:
        data = self._read_at(offset, count)
        if len(data) != count:
            raise AgeError(f"age: {len(data)} bytes where {count} were to be read; the file is cut short")
        return bytes(data)

    def _fill(self, out: memoryview, position: int) -> None:
        """Fill `out` with the plaintext at `position`; all of it lies within the file."""
        at = 0
        span, first = memoryview(b""), 0
        while at < len(out):
            index, skip = divmod(position + at, CHUNK)
            if index == self._cached:
                take = min(CHUNK - skip, len(out) - at)
                out[at : at + take] = memoryview(self._cache)[skip : skip + take]
                at += take
                continue
            begin = (index - first) * SEALED_CHUNK
            if not 0 <= begin < len(span):
                final = (position + len(out) - 1) // CHUNK
                span, first, begin = self._fetch_chunks(index, final), index, 0
            sealed = span[begin : begin + SEALED_CHUNK]
            plain = len(sealed) - TAG
            if skip == 0 and len(out) - at >= plain:
                # A whole chunk goes where it is wanted, without a copy.
                at += self._opener.open_chunk(index, sealed, out[at : at + plain], last=index == self._last)
            else:
                self._open_cached(index, sealed)

    def _fetch_chunks(self, first: int, final: int) -> memoryview:
        """Sealed chunks `first` to `final`, or as many of them as are fetched at a time."""
        offset = self._start + first * SEALED_CHUNK
        end = min(self._start + (final + 1) * SEALED_CHUNK, self._length, offset + _SPAN)
        return memoryview(self._fetch(offset, end - offset))

    def _open_cached(self, index: int, sealed: Buffer) -> None:
        self._cached = -1  # so that a chunk that fails leaves no cache behind
        self._opener.open_chunk(index, sealed, self._cache, last=index == self._last)
        self._cached = index


def encrypt(data: bytes, recipients: Sequence[Recipient]) -> bytes:
    """`data` as an age file; for what fits in memory several times."""
    pieces: list[bytes] = []
    with Writer(recipients, pieces.append) as writer:
        writer.write(data)
    return b"".join(pieces)


def decrypt(data: bytes, identities: Iterable[Identity]) -> bytes:
    """The plaintext of the age file `data`; AgeError or IdentityMismatch as `Reader`."""
    with Reader(lambda offset, count: data[offset : offset + count], len(data), identities) as reader:
        return reader.read()
