"""The locations file: TOML that says where the drives of a shipment stand, and how each is reached.

What holds of a file that parses: every drive has an address of a form that sealift opens, and a name that no other has;
a token or a CA file stands only beside an address that takes it; nothing in it is a token itself. What is wrong is told
all at once, by table and key. docs/spec/locations.md has the rules. Pure: paths in it are neither opened nor resolved.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

from sealift.errors import BadInput
from sealift.formats import strict

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_FILE = 8 << 20
MAX_DRIVES = 10_000
MAX_REQUESTS = 256
REQUESTS = 8  # at once, to one host
MAX_TOKEN, MAX_TOKENS, MAX_TOKEN_FILE = 4096, 64, 1 << 16
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/=:-]{1,4096}")  # a b64token (RFC 6750, 2.1), and what others are made of
TOKEN_CHARACTERS = "letters, digits and ._~+/=:-"  # noqa: S105 -- the same, in words
_HINT = "docs/spec/locations.md explains every key; `sealift inspect FILE` then says what stands there"
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})))(?::([0-9]{1,5}))?")
_PART = re.compile(r"[A-Za-z0-9!_.*'()=+@:,&$~-]{1,255}")
_ENV = r"\ASEALIFT_TOKEN[A-Z0-9_]{0,64}\Z"  # whoever wrote the file is not to have any secret sent that is there

Name = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9._-]{1,64}\Z")]
Env = Annotated[str, Meta(pattern=_ENV)]
_Path = Annotated[str, Meta(min_length=1, max_length=4096)]


class Web(NamedTuple):
    """An address over http or https: `host` in lower case, `path` with a / before and behind."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> str:
        """Scheme, host and port, as a URL has them: what a token is for."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        plain = self.port == {"http": 80, "https": 443}[self.scheme]
        return f"{self.scheme}://{host}" + ("" if plain else f":{self.port}")

    def __str__(self) -> str:
        return self.origin + self.path


def tokens_of(data: bytes) -> list[str]:
    """The tokens of a token file, which has one a line; none where there is none, or a line is something else."""
    lines = [line.strip() for line in data.splitlines() if line.strip()]
    if len(lines) > MAX_TOKENS or not all(_TOKEN.fullmatch(line) for line in lines):
        return []
    return [line.decode() for line in lines]


def token_of(data: bytes) -> str | None:
    """The first of them, which a reader sends; None where there is none."""
    return next(iter(tokens_of(data)), None)


class DriveRow(Struct, frozen=True, kw_only=True):
    """One [[drive]]: its name, where it is, and what opens the way to it."""

    name: Name | Literal[""] = ""  # "": the address itself
    at: _Path  # https://HOST[:PORT]/PATH/, http://..., s3://BUCKET/PREFIX, or a folder in which it is mounted
    token_file: _Path | Literal[""] = ""
    token_env: Env | Literal[""] = ""
    ca_file: _Path | Literal[""] = ""


class Locations(Struct, frozen=True, kw_only=True):
    """The file: its drives, and how many requests one host gets at once."""

    type: Literal["sealift-locations"]
    version: Literal[1]
    requests: Annotated[int, Meta(ge=1, le=MAX_REQUESTS)] = REQUESTS
    drive: Annotated[list[DriveRow], Meta(max_length=MAX_DRIVES)]


def web(address: str) -> Web:
    """The parts of http(s)://HOST[:PORT]/PATH; BadInput, which repeats nothing that may be a password."""
    scheme, _, rest = address.partition("://")
    netloc, _, path = rest.partition("/")
    if "@" in netloc:
        raise BadInput(
            "a location has a user or a password before its host",
            hint="https://HOST[:PORT]/PATH; a token belongs into a file, which a locations file names",
        )
    found = _HOST.fullmatch(netloc)
    parts = path.removesuffix("/").split("/") if path.removesuffix("/") else []
    port = 0 if found is None else int(found[3] or {"http": 80, "https": 443}[scheme.lower()])
    if found is None or not 1 <= port <= 65535 or any(p in {".", ".."} or not _PART.fullmatch(p) for p in parts):
        raise BadInput(
            f"{re.split('[?#]', address)[0][:300]!r}: not of the form http(s)://HOST[:PORT]/PATH",
            hint="the path is of letters, digits and !-_.*'()=+@:,&$~, without empty parts, . and .., and nothing"
            " follows it (no ? and no #)",
        )
    host = (found[1] or found[2]).lower()
    return Web(scheme.lower(), host, port, "/" + "".join(f"{part}/" for part in parts))


def scheme_of(address: str) -> str:
    """What stands before ://, in lower case; "" of a folder."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", address)
    return "" if found is None else found[1].lower()


def parse(data: bytes, name: str) -> Locations:
    """What a locations file says; `name` is for messages. BadInput with every problem."""
    tree, fault = strict.load(data, MAX_FILE)
    if tree is None:
        raise BadInput(f"locations file {name}: {fault}", hint=_HINT)
    faults: list[str] = []
    values = strict.values(tree, Locations, "", faults, _wants)
    rows: list[DriveRow] = values.get("drive", [])
    faults += [f"drive[{number}].{each}" for number, row in enumerate(rows, start=1) for each in _wrong(row)]
    for key in ("name", "at"):
        first: dict[str, int] = {}
        for number, row in enumerate(rows, start=1):
            value = getattr(row, key)
            if value and first.setdefault(value, number) != number:
                faults.append(f"drive[{number}].{key}: drive[{first[value]}] has it, too")
    if not faults and not rows:
        faults.append("drive: not one [[drive]] is in it")
    if faults:
        raise BadInput(f"locations file {name}: {strict.shown(faults)}", hint=_HINT)
    return Locations(**values)


def encode(rows: Sequence[DriveRow]) -> bytes:
    """A locations file of these drives, as `parse` reads it."""
    lines = ['type = "sealift-locations"', "version = 1"]
    for row in rows:
        lines += ["", "[[drive]]"]
        values = {key: getattr(row, key) for key in ("name", "at", "token_file", "token_env", "ca_file")}
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items() if value]
    return ("\n".join(lines) + "\n").encode()


def _wrong(row: DriveRow) -> list[str]:
    """What of a row does not fit together."""
    scheme, found = scheme_of(row.at), []
    if scheme not in {"", "s3", "http", "https"}:
        found.append("at: neither http(s)://, s3:// nor a folder")
    elif scheme in {"http", "https"}:
        try:
            web(row.at)
        except BadInput as error:
            found.append(f"at: {error}")
    elif not scheme and row.name:
        found.append("name: a folder is called by its path")
    if row.token_file and row.token_env:
        found.append("token_env: token_file says where it is already")
    for key in ("token_file", "token_env", "ca_file"):
        wanted = {"https"} if key == "ca_file" else {"http", "https"}
        if getattr(row, key) and scheme not in wanted:
            found.append(f"{key}: only for {' and '.join(sorted(each + '://' for each in wanted))}")
    return found


def _wants(kind: object, _error: str) -> str:
    if kind == Name | Literal[""]:
        return "letters, digits and ._- , at most 64 of them"
    return "SEALIFT_TOKEN, or what begins so, such as SEALIFT_TOKEN_RACK_1" if kind == Env | Literal[""] else ""
