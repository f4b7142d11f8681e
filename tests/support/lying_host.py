"""A storage host that lies: it asks a real one, and changes what it answers before it passes it on."""

from __future__ import annotations

import contextlib
import http.server
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from serving import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving import Host, Said


@dataclass
class Lying:
    """Its address, and every request that it got: path and headers."""

    url: str
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@contextlib.contextmanager
def lying(host: Host, change: Callable[[str, Said, http.server.BaseHTTPRequestHandler], Said | None]):
    """`change(path, answer, handler)` gives the answer, or None where it has written to `handler.wfile` itself."""
    port = free_port()
    found = Lying(f"http://127.0.0.1:{port}/")

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            found.asked.append((self.path, dict(self.headers)))
            passed = {name: self.headers[name] for name in ("Range", "Authorization") if name in self.headers}
            answer = host.ask(self.path, self.command, **passed)
            with contextlib.suppress(OSError):
                answer = change(self.path, answer, self)
                if answer is None:
                    self.close_connection = True
                    return
                self.send_response_only(answer.status)
                for name, value in answer.headers.items():
                    if name not in {"content-length", "connection"}:
                        self.send_header(name, value)
                length = answer.headers["content-length"] if self.command == "HEAD" else str(len(answer.body))
                self.send_header("content-length", length)
                self.end_headers()
                self.wfile.write(answer.body)

        do_HEAD = do_GET  # noqa: N815 -- the same

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
