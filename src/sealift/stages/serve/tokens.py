"""Who may ask: bearer tokens from a file, one a line.

What holds: a token is compared in a time that depends on nothing but its length and the number of tokens; several serve
at once, so that one can be replaced while readers still have the other. The file is read again when it changes. One
that is gone, empty, unreadable or holds anything else revokes every token, unless it is whole within GRACE seconds:
an editor writes it in several steps. No token is ever in a message.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import time
from typing import TYPE_CHECKING

from sealift.errors import BadInput, Refused, SealiftError
from sealift.formats.locations import MAX_TOKEN_FILE, MAX_TOKENS, TOKEN_CHARACTERS, tokens_of
from sealift.stages.serve.places import is_identity
from sealift.trade.signing import read_limited

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK = 1.0  # seconds between looks at the file
GRACE = 3.0  # seconds for which the tokens of before count, while a file is being replaced
MIN_TOKEN, MAX_TOKEN = 16, 512  # long enough not to be guessed; short enough for any proxy on the way
_HINT = f"a token is one line of {MIN_TOKEN} to {MAX_TOKEN} {TOKEN_CHARACTERS}, such as `openssl rand -hex 32`"


def parse(data: bytes, name: str) -> list[bytes]:
    """Digests of the tokens in a file; BadInput, or Refused where it holds an identity instead."""
    if is_identity(data):
        raise Refused(
            f"token file {name}: it holds an identity or a private key, which no storage host may have",
            hint="take it away from this host; `openssl rand -hex 32 > FILE` makes a token",
        )
    lines = tokens_of(data)
    if not lines or not all(MIN_TOKEN <= len(line) <= MAX_TOKEN for line in lines):
        raise BadInput(f"token file {name}: not 1 to {MAX_TOKENS} tokens, one a line", hint=_HINT)
    return [hashlib.sha256(line.encode()).digest() for line in lines]


class Tokens:
    """The tokens of a file, as it is now."""

    def __init__(self, path: str, notice: Callable[[str], None] = lambda _: None) -> None:
        self._path, self._notice = path, notice
        self._stamp = _stamp(path)
        self._known = parse(read_limited(path, MAX_TOKEN_FILE, "token file"), path)
        self._looked = time.monotonic()
        self._until: float | None = None  # when no token counts any more

    @property
    def closed(self) -> bool:
        """Whether no token counts, because the file holds none."""
        self._look()
        return not self._known

    def accept(self, authorization: bytes | None) -> bool:
        """Whether this is the value of an Authorization header with a token that counts."""
        self._look()
        scheme, _, token = (authorization or b"").partition(b" ")
        given = hashlib.sha256(token.strip()).digest()
        found = False
        for known in self._known:
            found |= hmac.compare_digest(known, given)
        return found and scheme.lower() == b"bearer"

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            self._read(now)
        if self._until is not None and now >= self._until:
            self._known, self._until = [], None
            self._notice(f"token file {self._path}: no token counts any more, until it holds one")

    def _read(self, now: float) -> None:
        try:
            self._known = parse(read_limited(self._path, MAX_TOKEN_FILE, "token file"), self._path)
        except SealiftError as error:
            left = GRACE - _age(self._path)
            self._until = now + left if self._until is None else min(self._until, now + left)
            self._notice(str(error))
        else:
            self._until = None
            self._notice(f"token file {self._path}: read again")


def _stamp(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _age(path: str) -> float:
    """For how many seconds it has been as it is, or its folder without it; 0 where nobody can say."""
    for each in (path, os.path.dirname(os.path.abspath(path))):
        with contextlib.suppress(OSError):
            return max(0.0, time.time() - os.stat(each).st_ctime)
    return 0.0
