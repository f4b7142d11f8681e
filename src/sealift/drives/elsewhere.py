"""What keeps obstore from asking another host than the store: it follows redirects, and has no setting against it.

A store's session token is a header, and would go along; a put that is answered with 303 would count as done. So obstore
is given a proxy at which nobody can listen (port 0), for every host but the store's and those that its keys come from:
a redirect ends there, nothing of the request leaves this machine, and `object_faults` tells it by the address.

obstore takes what it meets there for a host that is away, and asks again until its patience ends: `redirects` is asked
first, so that it has little.

What that cannot keep off: a redirect to another port or path of the store's own host, or to a name beneath that name;
and any, where a proxy of the environment stands between, for obstore takes one proxy.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import urllib.request
from urllib.parse import quote, urlsplit

NOWHERE = "127.0.0.1:0"
_SOON = 2.0  # seconds within which a store that redirects is expected to say so

_MACHINE = ("169.254.169.254", "169.254.170.2")  # keys of the machine and of a container: this link, and no proxy's


def kept_from(bucket: str, endpoint: str, region: str) -> dict[str, str]:
    """The client options for a bucket's store; none where a proxy of the environment is for what it is to ask."""
    asked = [endpoint or f"https://s3.{region}.amazonaws.com", *_of_keys(region)]
    if not endpoint and _is("AWS_S3_EXPRESS"):
        zone = bucket.removesuffix("--x-s3").rpartition("--")[2]
        asked.append(f"https://s3express-{zone}.{region}.amazonaws.com")
    if any(_has_proxy(url) for url in asked):
        return {}
    hosts = [*(urlsplit(url).hostname or "" for url in asked), *_MACHINE]
    return {"proxy_url": f"http://{NOWHERE}", "proxy_excludes": ",".join(filter(None, hosts))}


@functools.lru_cache(maxsize=4096)
def redirects(bucket: str, endpoint: str) -> bool:
    """Whether the store answers for the bucket, asked without keys, that it is on a host from which obstore is kept.

    A request a process; what cannot be had within a moment is for obstore to wait for, and to tell.
    """
    parts = urlsplit(endpoint)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        connection = kind(parts.netloc, timeout=_SOON)
        try:
            connection.request("HEAD", f"{parts.path}/{quote(bucket)}/")
            answer = connection.getresponse()
        finally:
            connection.close()
        own, to = parts.hostname or "", urlsplit(answer.headers.get("Location") or "").hostname or ""
        follows = not to or to == own or to.endswith("." + own)
        return answer.status in {301, 302, 303, 307, 308} and not follows
    return False


def _of_keys(region: str) -> list[str]:
    """Whom obstore asks for keys, where the environment has none, and they are not the machine's."""
    get = os.environ.get
    if get("AWS_ACCESS_KEY_ID") and get("AWS_SECRET_ACCESS_KEY"):
        return []
    given = [get(name, "") for name in ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_METADATA_ENDPOINT")]
    if get("AWS_WEB_IDENTITY_TOKEN_FILE"):
        given.append(get("AWS_ENDPOINT_URL_STS") or f"https://sts.{region}.amazonaws.com")
    return list(filter(None, given))


def _is(name: str) -> bool:
    return os.environ.get(name, "").lower() in {"1", "true"}


def _has_proxy(url: str) -> bool:
    """Whether the environment names a proxy for this address."""
    parts, proxies = urlsplit(url), urllib.request.getproxies()
    return bool(proxies.get(parts.scheme) or proxies.get("all")) and not urllib.request.proxy_bypass(parts.netloc)
