"""The hosts file: TOML that lists storage hosts, for `sealift fleet --hosts`.

    type = "sealift-hosts"
    version = 1

    [[host]]
    url = "https://storage-1.example:8443/"
    token_file = "storage.token"            optional; relative to the folder of this file
    ca_file = "ca.pem"                      optional; https only: the only roots that count then

What holds of a file that parses: every URL is http or https without user, query or fragment, and none is there twice; a
CA file stands beside https only; nothing in it is a token itself. Pure: paths in it are neither opened nor resolved.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta, Struct

from sealift.errors import BadInput
from sealift.formats import strict

MAX_FILE = 1 << 20
MAX_HOSTS = 1000
_HINT = 'type = "sealift-hosts", version = 1, and a [[host]] with url, token_file, ca_file for each'
_URL = re.compile(
    r"(https?)://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}))(?::([0-9]{1,5}))?"
    r"((?:/[A-Za-z0-9!_.*'()=+@:,&$~-]{1,255})*)/?",
    re.ASCII,
)
_Path = Annotated[str, Meta(min_length=1, max_length=4096)]


class HostRow(Struct, frozen=True, kw_only=True):
    """One [[host]]: where it answers, the token for it, and whose certificates count."""

    url: _Path
    token_file: _Path | Literal[""] = ""
    ca_file: _Path | Literal[""] = ""


class Hosts(Struct, frozen=True, kw_only=True):
    """The file."""

    type: Literal["sealift-hosts"]
    version: Literal[1]
    host: Annotated[list[HostRow], Meta(min_length=1, max_length=MAX_HOSTS)]


def split_url(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path (without the / at its end) of a host's URL; BadInput.

    The message repeats nothing that stands before an @: it may be a password.
    """
    found = _URL.fullmatch(url)
    parts = found[4].split("/")[1:] if found else []
    port = int(found[3] or {"http": 80, "https": 443}[found[1]]) if found else 0
    if found is None or not 1 <= port <= 65535 or any(part in {".", ".."} for part in parts):
        shown = repr(url[:200]) if "@" not in url else "a URL with an @"
        raise BadInput(
            f"{shown} is not the URL of a storage host",
            hint="https://HOST:PORT/, without user, query and fragment; a token belongs into --token-file",
        )
    return found[1], found[2].strip("[]").lower(), port, found[4]


def parse(data: bytes, name: str) -> Hosts:
    """What a hosts file says; `name` is for messages. BadInput with every problem."""
    tree, fault = strict.load(data, MAX_FILE)
    if tree is None:
        raise BadInput(f"hosts file {name}: {fault}", hint=_HINT)
    faults: list[str] = []
    values = strict.values(tree, Hosts, "", faults, lambda _kind, _error: "")
    rows: list[HostRow] = values.get("host", [])
    first: dict[tuple[str, str, int, str], int] = {}
    for number, row in enumerate(rows, start=1):
        try:
            where = split_url(row.url)
        except BadInput as error:
            faults.append(f"host[{number}].url: {error}")
            continue
        if row.ca_file and where[0] != "https":
            faults.append(f"host[{number}].ca_file: the host is not asked over https")
        if first.setdefault(where, number) != number:
            faults.append(f"host[{number}].url: host[{first[where]}] has it, too")
    if not faults and not rows:
        faults.append("host: not one [[host]] is in it")
    if faults:
        raise BadInput(f"hosts file {name}: {strict.shown(faults)}", hint=_HINT)
    return Hosts(**values)
