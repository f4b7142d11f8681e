"""The header of an age file, version 1: its grammar, read and written.

Holds: what the C2SP age specification (https://c2sp.org/age) says of a header, strict about all that it calls an error;
docs/spec/age.md has the limits. Bytes that are no header raise AgeError and nothing else. What is not here: its MAC,
which wants a file key, and the payload (age.py); what stanzas mean (age_keys.py).
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from sealift.errors import AgeError

NONCE: Final = 16  # bytes of the payload nonce, between header and first chunk
MAX_HEADER: Final = 65536  # bytes, without the payload nonce
MAX_STANZAS: Final = 128  # each may cost an identity a scalar multiplication before the MAC can be checked
VERSION: Final = b"age-encryption.org/v1\n"
_COLUMNS: Final = 64
MAC_LINE: Final = 4 + 43 + 1  # "--- ", 32 bytes in base64, LF
_VCHAR: Final = re.compile(rb"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Stanza:
    """One recipient stanza: its first argument, the other arguments, and the decoded body."""

    type: str
    args: tuple[str, ...]
    body: bytes

    def encode(self) -> bytes:
        """The stanza as it stands in a header; its last line is always shorter than 64 columns."""
        text = encode_base64(self.body).encode()
        lines = [text[at : at + _COLUMNS] for at in range(0, len(text) + 1, _COLUMNS)]
        return b"-> " + " ".join((self.type, *self.args)).encode() + b"\n" + b"\n".join(lines) + b"\n"


@dataclass(frozen=True, slots=True)
class Header:
    """A header that follows the grammar; its MAC is checked by `unwrap`, once there is a file key."""

    stanzas: tuple[Stanza, ...]
    mac: bytes
    length: int  # bytes of the header, without the payload nonce that follows it
    raw: bytes

    @property
    def payload_start(self) -> int:
        """Where the first chunk stands: the bytes of header and payload nonce."""
        return self.length + NONCE


def encode_base64(data: bytes) -> str:
    """`data` in base64 without padding, as the specification uses it throughout."""
    return base64.b64encode(data).rstrip(b"=").decode()


def decode_base64(text: bytes) -> bytes:
    """The bytes that `text` stands for; AgeError unless it is their one canonical, unpadded encoding."""
    try:
        data = binascii.a2b_base64(text + b"=" * (-len(text) % 4), strict_mode=True)
    except binascii.Error:
        raise AgeError("age header: not base64") from None
    # Strict mode still lets stray bits in the last character and given padding through.
    if base64.b64encode(data).rstrip(b"=") != text:
        raise AgeError("age header: base64 that is not canonical")
    return data


def parse_header(data: bytes) -> Header:
    """The header at the start of `data`: the first bytes of a file, at most MAX_HEADER of which are read.

    AgeError where the grammar of the specification does not hold, where the header does not end within
    `data` or within MAX_HEADER, and where scrypt stands beside another stanza.
    """
    head = bytes(data[:MAX_HEADER])
    if not head.startswith(VERSION):
        raise _not_version_1(head)
    at = len(VERSION)
    stanzas: list[Stanza] = []
    while True:
        line, after = _line(head, at)
        if not line.startswith(b"-> "):
            break
        if len(stanzas) == MAX_STANZAS:
            raise AgeError(f"age header: more than {MAX_STANZAS} stanzas")
        stanza, at = _parse_stanza(head, line, after)
        stanzas.append(stanza)
    if not line.startswith(b"--- "):
        raise AgeError("age header: a line that is neither stanza nor MAC")
    mac = decode_base64(line[4:])
    if len(mac) != 32:
        raise AgeError("age header: the MAC is not 32 bytes")
    if not stanzas:
        raise AgeError("age header: no stanza")
    if len(stanzas) > 1 and any(stanza.type == "scrypt" for stanza in stanzas):
        raise AgeError("age header: scrypt beside another stanza")
    return Header(tuple(stanzas), mac, after, head[:after])


def _not_version_1(head: bytes) -> AgeError:
    if head.startswith(b"-----BEGIN AGE ENCRYPTED FILE"):
        return AgeError("age header: an armored file, which is not read here", hint="encrypt it without -a")
    if head.startswith(b"age-encryption.org/") and not head.startswith(VERSION[:-1]):
        return AgeError("age header: a version other than v1")
    if VERSION.startswith(head):
        return AgeError("age header: cut short")
    return AgeError("not an age file")


def _line(head: bytes, at: int) -> tuple[bytes, int]:
    """The line at `at` without its LF, and where the next one begins."""
    end = head.find(b"\n", at)
    if end < 0:
        raise AgeError(f"age header: cut short, or longer than {MAX_HEADER} bytes")
    return head[at:end], end + 1


def _parse_stanza(head: bytes, first: bytes, at: int) -> tuple[Stanza, int]:
    """The stanza whose argument line is `first` and whose body begins at `at`, and where it ends."""
    args = first[3:].split(b" ")
    if not all(map(_VCHAR.fullmatch, args)):
        raise AgeError("age header: stanza arguments are one or more visible characters, one space apart")
    body: list[bytes] = []
    while True:
        line, at = _line(head, at)
        if len(line) > _COLUMNS:
            raise AgeError(f"age header: a stanza's body line is longer than {_COLUMNS} columns")
        body.append(decode_base64(line))
        if len(line) < _COLUMNS:  # only the last line of a body is short, and it may be empty
            break
    name, *rest = (arg.decode("ascii") for arg in args)
    return Stanza(name, tuple(rest), b"".join(body)), at
