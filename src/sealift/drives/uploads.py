"""Ending uploads in parts that nobody will finish: what a killed process began stays in the bucket, unseen and paid.

obstore neither lists such uploads nor ends those of another process, so these two requests are signed here: AWS
Signature Version 4 as Amazon's S3 API reference has it ("Authenticating Requests: Using the Authorization Header"),
tested with its example. Only keys of the environment serve for that. Where it cannot be done, nothing fails: it is
logged, and a lifecycle rule on the bucket does the same.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import logging
import os
import re
import urllib.error
import urllib.request
from datetime import UTC, datetime
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message

log = logging.getLogger("sealift")

_WITHIN = (5.0, 5.0, 10.0)  # seconds in which an answer is waited for: asked as often as that
_ROUNDS = 100  # listings of up to 1000 uploads
_ANSWER = 4 << 20  # bytes of a listing
_EMPTY = hashlib.sha256(b"").hexdigest()
_UPLOAD = re.compile(rb"<Upload>(.*?)</Upload>", re.DOTALL)


class Keys(NamedTuple):
    """What requests are signed with."""

    access: str
    secret: str
    token: str
    region: str


def keys_of_environment() -> Keys | None:
    """The keys that the environment has; None: obstore finds its own elsewhere, or signs nothing."""
    get = os.environ.get
    access, secret = get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")
    if not access or not secret or get("AWS_SKIP_SIGNATURE", "").lower() in {"1", "true"}:
        return None
    return Keys(access, secret, get("AWS_SESSION_TOKEN") or get("AWS_TOKEN") or "", region_of_environment())


def region_of_environment() -> str:
    """The region that requests are signed for."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def signed(method: str, url: str, keys: Keys, now: datetime) -> dict[str, str]:
    """The headers of a request without a body, signed; `url` has its query in order and encoded."""
    parts = urlsplit(url)
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": parts.netloc, "x-amz-content-sha256": _EMPTY, "x-amz-date": stamp}
    if keys.token:
        headers["x-amz-security-token"] = keys.token
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = "\n".join([method, parts.path or "/", parts.query, lines, names, _EMPTY])
    scope = f"{stamp[:8]}/{keys.region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{keys.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys.access}/{scope},SignedHeaders={names},Signature={signature}"
    )
    return headers


def url_of(bucket: str, name: str, endpoint: str, region: str, query: Mapping[str, str | bytes]) -> str:
    """Where an object of a bucket is, in the style that obstore uses."""
    virtual = os.environ.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "").lower() in {"1", "true"}
    base = endpoint or (
        f"https://{bucket}.s3.{region}.amazonaws.com" if virtual else f"https://s3.{region}.amazonaws.com"
    )
    path = "" if virtual else f"/{bucket}"
    if name:
        path += "/" + quote(name, safe="/-_.~")
    pairs = sorted((quote(key, safe="-_.~"), quote(value, safe="-_.~")) for key, value in query.items())
    return f"{base}{path or '/'}?" + "&".join(f"{key}={value}" for key, value in pairs)


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """A signature is for one host."""

    def redirect_request(self, *_: Any) -> None:
        """Do not go elsewhere."""


def asked(method: str, url: str, keys: Keys) -> tuple[Message, bytes]:
    """Headers and body of an answer to a small request, which may be sent twice. OSError, HTTPException."""
    for number, seconds in enumerate(_WITHIN, start=1):
        request = urllib.request.Request(url, method=method, headers=signed(method, url, keys, datetime.now(UTC)))  # noqa: S310 -- the user's own endpoint
        try:
            with urllib.request.build_opener(NoRedirects).open(request, timeout=seconds) as answer:
                return answer.headers, answer.read(_ANSWER)
        except urllib.error.HTTPError:
            raise
        except OSError:
            if number == len(_WITHIN):
                raise
    raise AssertionError("one was the last")


def _ask(method: str, url: str, keys: Keys) -> bytes:
    return asked(method, url, keys)[1]


def abort_left(bucket: str, prefix: str, endpoint: str, *, exact: bool = False) -> int:
    """End every upload beneath `prefix`, or with `exact` of that one object, where nobody else writes.

    How many there were. Never raises for the store.
    """
    keys = keys_of_environment()
    if keys is None:
        log.info("s3://%s: uploads that were left behind are not looked for without keys in the environment", bucket)
        return 0
    ended: set[tuple[str, str]] = set()
    try:
        for _ in range(_ROUNDS):
            listing = _ask("GET", url_of(bucket, "", endpoint, keys.region, {"prefix": prefix, "uploads": ""}), keys)
            found = [
                each for each in _parse(listing) if each[0].startswith(prefix) and (not exact or each[0] == prefix)
            ]
            if not set(found) - ended:
                break
            for name, upload in found:
                try:
                    _ask("DELETE", url_of(bucket, name, endpoint, keys.region, {"uploadId": upload}), keys)
                except urllib.error.HTTPError as error:
                    if error.code != 404:  # which it is when the answer to the first was lost
                        raise
                ended.add((name, upload))
    except (OSError, ValueError, HTTPException) as error:  # urllib's own are OSError
        status = f" (status {error.code})" if isinstance(error, urllib.error.HTTPError) else ""
        log.warning("s3://%s: uploads that a stopped run left behind could not be ended%s", bucket, status)
    return len(ended)


def _parse(listing: bytes) -> list[tuple[str, str]]:
    """Name and id of every upload in an answer to ListMultipartUploads."""
    out = []
    for body in _UPLOAD.findall(listing):
        name, upload = re.search(rb"<Key>(.*?)</Key>", body, re.DOTALL), re.search(rb"<UploadId>(.*?)</UploadId>", body)
        if name and upload:
            out.append((html.unescape(name[1].decode()), html.unescape(upload[1].decode())))
    return out
