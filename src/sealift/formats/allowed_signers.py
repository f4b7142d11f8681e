"""Who is trusted to sign what: ssh-keygen's allowed_signers file (ALLOWED SIGNERS in ssh-keygen(1)).

    officer@example.com namespaces="sealift-release" ssh-ed25519 AAAA...
    dock@example.com,*@hub.example.com valid-before="20270101Z" ssh-ed25519 AAAA...

What holds: `signer` accepts what `ssh-keygen -Y verify` accepts with the same file, key, namespace and time,
and says which rule failed otherwise. Where ssh-keygen passes over a line that it cannot read, the whole file
is refused here, with the line's number: a trust list half understood is not one. Refused for the same
reason: certificate authorities (sealift checks keys, not certificates) and times without a final Z, which
mean another instant on a host in another time zone, where the drives are going. Whose a key is, the file says as a
whole (`Person`), whatever a line allows the key, and when.

What is not here: reading the file, and the clock: the caller says at what time a key is to be judged.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

from sealift.errors import KeyInvalid, SignatureInvalid
from sealift.formats import sshsig

MAX_FILE = 1 << 20
MAX_LINES = 10_000
MAX_PATTERNS = 1024  # characters of a list of patterns

_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?(Z|UTC)?", re.ASCII | re.IGNORECASE)
_OPTION = re.compile(r'([A-Za-z-]+)(?:="([^"]*)")?')
_BLANK = re.compile(r"[ \t]+")


class Instant(Protocol):
    """A point in time; an aware datetime.datetime is one."""

    def timestamp(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        ...


class Person(NamedTuple):
    """Whose a key is: fingerprints of keys, and names, these in lower case.

    `sure` are certainly one person's: all keys of a name that stands alone on its lines, and all such names of a key.
    `may` be theirs, too: names of a list in which the key stands, and keys in whose lists one of the names stands: a
    list may be of one person or of several. A pattern names nobody.
    """

    sure: frozenset[str]
    may: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed: the principals field of the line that allowed it, its key and SHA256 fingerprint, and whose it is."""

    principal: str
    fingerprint: str
    key: sshsig.PublicKey
    person: Person


@dataclass(frozen=True, slots=True)
class Line:
    """One line: who may sign with which key, in which namespaces (None: any), and when (Unix seconds)."""

    number: int
    principals: str
    key: sshsig.PublicKey
    namespaces: str | None = None
    valid_after: int | None = None
    valid_before: int | None = None

    def objection(self, namespace: str, at: Instant | None, principal: str | None) -> str | None:
        """Why this line does not allow a signature by its key, or None when it does."""
        if principal is not None and not matches(principal, self.principals):
            return f"its key belongs to {self.principals}, not to {principal}"
        if self.namespaces is not None and not matches(namespace, self.namespaces):
            allowed = f"only in {self.namespaces!r}"
            return f"the key of {self.principals} is not allowed in namespace {namespace!r}, {allowed}"
        if self.valid_after is None and self.valid_before is None:
            return None
        if at is None:
            return f"the key of {self.principals} is valid for a time only, and no time was given to judge it by"
        seconds = at.timestamp()
        if self.valid_after is not None and seconds < self.valid_after:
            return f"the key of {self.principals} was not yet valid"
        if self.valid_before is not None and seconds > self.valid_before:
            return f"the key of {self.principals} was no longer valid"
        return None


@dataclass(frozen=True)
class AllowedSigners:
    """A parsed allowed_signers file; `lines` in the order of the file."""

    lines: tuple[Line, ...]

    @classmethod
    def parse(cls, data: bytes) -> AllowedSigners:
        """Parse a whole file; KeyInvalid names the first line that cannot be used."""
        if len(data) > MAX_FILE:
            raise KeyInvalid(f"the allowed signers file is {len(data):,} bytes long; at most {MAX_FILE:,} are allowed")
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise KeyInvalid("the allowed signers file is not UTF-8 text") from error
        rows = text.split("\n")
        if len(rows) > MAX_LINES:
            raise KeyInvalid(f"the allowed signers file has {len(rows):,} lines; at most {MAX_LINES:,} are allowed")
        lines = []
        for number, row in enumerate(rows, start=1):
            stripped = row.removesuffix("\r").strip(" \t")
            if stripped and not stripped.startswith("#"):
                lines.append(_parse_line(number, stripped))
        return cls(tuple(lines))

    def signer(
        self,
        message: bytes | sshsig.Prehashed,
        signature: bytes,
        namespace: str,
        at: Instant | None = None,
        *,
        principal: str | None = None,
    ) -> Signer:
        """Who signed `message` in `namespace`, by the first line of the file that allows it.

        `at` is the time at which keys with valid-after or valid-before are judged; without it they are
        refused. With `principal`, only lines whose patterns match that name count (ssh-keygen's -I). Raises
        SignatureInvalid: unknown key, namespace not allowed, not valid then, or a signature over other bytes.
        """
        parsed = sshsig.parse(signature)
        key = parsed.public_key
        lines = [line for line in self.lines if line.key == key]
        if not lines:
            raise SignatureInvalid(
                f"signed by a key that is not among the allowed signers: {key.fingerprint}",
                hint="if you know from somebody you trust whose key this is, add it to the file",
            )
        objection = None
        for line in lines:
            reason = line.objection(namespace, at, principal)
            if reason is None:
                sshsig.verify_parsed(message, parsed, namespace)
                return Signer(line.principals, key.fingerprint, key, self.person(key.fingerprint))
            objection = objection or reason
        raise SignatureInvalid(f"{objection} (line {lines[0].number} of the allowed signers)")

    def allows(self, key: sshsig.PublicKey, namespace: str, at: Instant | None = None) -> bool:
        """Whether a signature by this key, made at that time, would be accepted."""
        return any(line.key == key and line.objection(namespace, at, None) is None for line in self.lines)

    def person(self, fingerprint: str) -> Person:
        """Whose the key with this fingerprint is; one that is not in the file is a person's of its own."""
        return self._persons.get(fingerprint) or Person(frozenset({fingerprint}))

    def principals(self, fingerprint: str) -> str:
        """The principals field of the first line of a key, by its fingerprint; "" for one that is not in the file."""
        return next((line.principals for line in self.lines if line.key.fingerprint == fingerprint), "")

    @cached_property
    def _persons(self) -> dict[str, Person]:
        rows = [(line.key.fingerprint, names_of(line.principals), line.principals) for line in self.lines]
        one: dict[str, set[str]] = {}  # by fingerprint or name: everything that is surely the same person's
        for fingerprint, names, field in rows:
            one.setdefault(fingerprint, {fingerprint})
            if is_one_name(field):
                few, many = sorted((one[fingerprint], one.setdefault(names[0], {names[0]})), key=len)
                if few is not many:
                    many |= few
                    one.update(dict.fromkeys(few, many))
        listed: dict[str, set[str]] = {}  # by name of a list: the keys of such lists
        may: dict[int, set[str]] = {}
        for fingerprint, names, field in rows:
            for name in () if is_one_name(field) else names:
                listed.setdefault(name, set()).add(fingerprint)
                may.setdefault(id(one[fingerprint]), set()).add(name)
        found: dict[int, Person] = {}
        for sure in one.values():
            if id(sure) not in found:
                names_too = sure | may.get(id(sure), set())
                keys = (listed[name] for name in names_too if name in listed)
                found[id(sure)] = Person(frozenset(sure), frozenset(names_too.union(*keys) - sure))
        return {fingerprint: found[id(one[fingerprint])] for fingerprint, *_ in rows}


def names_of(principals: str) -> tuple[str, ...]:
    """The plain names in a list of patterns, in lower case."""
    return tuple(name for name in principals.casefold().split(",") if name and not set(name) & set("*?!"))


def is_one_name(principals: str) -> bool:
    """The principals field is one plain name; a list or pattern of names may be several people."""
    return bool(principals) and not set(principals) & set("*?!,")


def matches(name: str, patterns: str) -> bool:
    """True if `name` matches a comma-separated list of patterns (PATTERNS in ssh_config(5)).

    `*` is any run of characters, `?` any one; a pattern after `!` that matches excludes the name, whatever
    the others say.
    """
    found = False
    for pattern in patterns.split(","):
        if pattern.startswith("!"):
            if _matches_one(name, pattern[1:]):
                return False
        elif _matches_one(name, pattern):
            found = True
    return found


def _matches_one(name: str, pattern: str) -> bool:
    """Greedy with one point of return: hostile patterns cost no more than the product of the lengths."""
    n = p = 0
    star, back = -1, 0
    while n < len(name):
        if p < len(pattern) and pattern[p] == "*":
            star, back = p, n
            p += 1
        elif p < len(pattern) and pattern[p] in ("?", name[n]):
            n, p = n + 1, p + 1
        elif star >= 0:
            back += 1
            n, p = back, star + 1
        else:
            return False
    return pattern[p:].strip("*") == ""


def _parse_line(number: int, line: str) -> Line:
    def fail(why: str, hint: str | None = None) -> KeyInvalid:
        return KeyInvalid(f"allowed signers, line {number}: {why}", hint=hint)

    principals, rest = _principals(line)
    if not principals or not rest:
        raise fail("not PRINCIPALS [OPTIONS] KEYTYPE KEY", "like: officer@example.com ssh-ed25519 AAAA...")
    if len(principals) > MAX_PATTERNS or not principals.isprintable():
        raise fail(f"principals longer than {MAX_PATTERNS} characters, or unprintable")
    options: dict[str, str] = {}
    if _BLANK.split(rest, maxsplit=1)[0] not in sshsig.ALGORITHMS:
        options, rest = _parse_options(rest, fail)
    try:
        key = sshsig.parse_public_key(rest)
    except KeyInvalid as error:
        raise fail(str(error), error.hint) from error
    after, before = (
        _parse_time(options.get("valid-after"), fail),
        _parse_time(options.get("valid-before"), fail),
    )
    if after is not None and before is not None and after > before:
        raise fail("valid-after is later than valid-before")
    return Line(number, principals, key, options.get("namespaces"), after, before)


_Fail = Callable[..., KeyInvalid]


def _principals(line: str) -> tuple[str, str]:
    """The first field, which may be quoted, and the rest of the line."""
    if line.startswith('"'):
        principals, _, rest = line[1:].partition('"')
        return principals, rest.lstrip(" \t") if rest[:1] in (" ", "\t") else ""
    principals, *rest_of = _BLANK.split(line, maxsplit=1)
    return principals, "".join(rest_of)


def _parse_options(rest: str, fail: _Fail) -> tuple[dict[str, str], str]:
    """The options at the start of `rest`, and what follows them; names are case-insensitive."""
    options: dict[str, str] = {}
    at = 0
    while True:
        found = _OPTION.match(rest, at)
        name = found[1].lower() if found else ""
        if name == "cert-authority":
            raise fail("certificate authorities are not used", "name each key that may sign on a line of its own")
        if found is None or name not in {"namespaces", "valid-after", "valid-before"} or found[2] is None:
            raise fail(
                "an option that is not understood",
                'options are namespaces="...", valid-after="..." and valid-before="..."',
            )
        if name in options or not found[2].isprintable() or not 0 < len(found[2]) <= MAX_PATTERNS:
            raise fail(f"option {name} is given twice, empty, unprintable or too long")
        options[name] = found[2]
        at = found.end()
        if rest[at : at + 1] != ",":
            break
        at += 1
    key = rest[at:].lstrip(" \t")
    if rest[at : at + 1] not in (" ", "\t") or not key:
        raise fail("no key after the options")
    return options, key


def _parse_time(text: str | None, fail: _Fail) -> int | None:
    """YYYYMMDD[HHMM[SS]]Z in Unix seconds."""
    if text is None:
        return None
    found = _TIME.fullmatch(text)
    if found is None:
        raise fail(f"{text[:32]!r} is not a time", "write YYYYMMDDZ or YYYYMMDDHHMMSSZ")
    if not found[7]:
        raise fail(
            f"time {text!r} has no Z: it would mean another instant in every time zone",
            f"write {text}Z for UTC",
        )
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    in_range = year >= 1970 and 1 <= month <= 12 and hour < 24 and minute < 60 and second < 60
    if not in_range or not 1 <= day <= calendar.monthrange(year, month)[1]:
        raise fail(f"there is no time {text!r}")
    return calendar.timegm((year, month, day, hour, minute, second))
