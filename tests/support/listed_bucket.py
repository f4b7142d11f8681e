"""An S3 server that has nothing but a listing: millions of made-up keys, by ListObjectsV2. Nothing of it is stored.

    python listed_bucket.py KEYS     prints its address, and serves until its input ends

Keys are p/000/00000000.jpg and so on, FOLDER of them in a folder; each has another ETag and time.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = 100_000


def key(number: int) -> str:
    return f"p/{number // FOLDER:03d}/{number:08d}.jpg"


class _Handler(BaseHTTPRequestHandler):
    count: int
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        prefix, after = asked.get("prefix", ""), asked.get("start-after", "")
        most, entries, more = int(asked["max-keys"]), [], False
        if asked.get("delimiter") and prefix == "p/":
            folders = range(-(-self.count // FOLDER))
            entries = [f"<CommonPrefixes><Prefix>p%2F{each:03d}%2F</Prefix></CommonPrefixes>" for each in folders]
        else:
            parts = prefix.split("/")
            first = int(parts[1]) * FOLDER if len(parts) > 2 else 0
            last = min(self.count, first + FOLDER if len(parts) > 2 else self.count)
            begin = int(after.rpartition("/")[2].partition(".")[0]) + 1 if after else first
            more = begin + most < last
            entries = [_entry(number) for number in range(begin, min(begin + most, last))]
        told = f"<IsTruncated>{'true' if more else 'false'}</IsTruncated><EncodingType>url</EncodingType>"
        body = f'<?xml version="1.0"?><ListBucketResult>{told}{"".join(entries)}</ListBucketResult>'.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _entry(number: int) -> str:
    return (
        f"<Contents><Key>{key(number).replace('/', '%2F')}</Key>"
        f"<LastModified>2026-01-01T00:00:{number % 60:02d}.{number % 1000:03d}Z</LastModified>"
        f"<ETag>&quot;{number:032x}&quot;</ETag><Size>{number % 20_000}</Size></Contents>"
    )


@contextlib.contextmanager
def serving(count: int) -> Iterator[str]:
    """A server of so many keys, at the address that is given."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"count": count}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    with serving(int(sys.argv[1])) as endpoint:
        print(endpoint, flush=True)  # noqa: T201 -- whoever started it reads it
        sys.stdin.read()
