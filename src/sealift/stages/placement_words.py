"""Why a Ray cluster cannot be joined, in a sentence and within seconds: it would try for minutes, and show a traceback.

Addresses and words are known here, and Ray is not (placement.py).
"""

from __future__ import annotations

import os
import re
import socket
from typing import cast

from sealift.errors import BadInput

_KNOCK = 5.0  # seconds for a cluster to answer at all
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # and no settings: RFC 9113, 3.4
_VERSIONS = re.compile(r"started with: *Ray: (\S+) Python: (\S+) .*started with: *Ray: (\S+) Python: (\S+)")


def knock(at: str) -> None:
    """BadInput where nobody answers, or not as Ray does: it would try for minutes."""
    host, colon, port = at.removeprefix("ray://").rpartition(":")
    if not (colon and host and port.isascii() and port.isdecimal() and len(port) < 6 and int(port) < 1 << 16):
        raise BadInput(f"{at} is no address of a cluster", hint="HOST:PORT, as `ray start --head` printed it, or auto")
    hint = (
        "`ray status` on a node says whether the cluster is up; its address is the head's, with the --port given there"
    )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _KNOCK) as knocked:
            knocked.sendall(_PREFACE)
            answer = knocked.recv(9) if not os.environ.get("RAY_USE_TLS") else _PREFACE
    except (OSError, UnicodeError) as error:  # the latter of a name that can be no host's
        why = "it did not answer" if isinstance(error, TimeoutError) else getattr(error, "strerror", "") or str(error)
        raise BadInput(f"nobody answers at {at} ({why})", hint=f"{hint}; see whether a firewall is between") from error
    if len(answer) < 4 or (answer != _PREFACE and answer[3] != 4):  # a server's first frame is its SETTINGS
        raise BadInput(f"what answers at {at} is no Ray cluster", hint=hint)


def refusal(error: Exception) -> tuple[str, str]:
    """Why Ray did not let us in, in a sentence, and what to do."""
    every, each = "", cast("BaseException | None", error)
    while each is not None and len(every) < 1 << 20:
        every, each = f"{every} {each}", each.__cause__ or each.__context__
    text = " ".join(every.split())
    if "InvalidAuthToken" in text or "no authentication token was found" in text:
        hint = "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH the file of the token with which the nodes were started"
        return "the token is missing or incorrect", hint
    if "find any running Ray instance" in text:
        return "this machine is no node of a Ray cluster", "`ray start --address=HOST:PORT` on it; or give HOST:PORT"
    if versions := _VERSIONS.search(text):
        there, here = f"Ray {versions[1]} and Python {versions[2]}", f"Ray {versions[3]} and Python {versions[4]}"
        return f"the cluster runs {there}, and this is {here}", "have the same versions on all nodes, and here"
    return words_of(error), (
        "the address of a Ray cluster of which this machine is a node (`ray start --address=...`), in Ray's and"
        " Python's same versions, with its token (RAY_AUTH_MODE=token, RAY_AUTH_TOKEN_PATH)"
    )


def words_of(error: Exception) -> str:
    """One line of at most 300 characters; of a traceback that Ray passes on as a message, what it ends with."""
    before, _, inner = str(error).partition("Traceback (most recent call last)")
    lines = inner.strip().splitlines() or [before]
    return " ".join(lines[-1].split())[:300] or type(error).__name__
