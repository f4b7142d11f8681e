"""The application of a storage host: what stands under which address, and who may ask.

    /healthz                        200 while there is a drive to serve and a token, else 503; asked without a token
    /                               JSON: which drives stand where (stages/host_index.py)
    /inspect/SHIPMENT               JSON: what `sealift inspect` says of that shipment's drives here
    /report/NUMBER                  JSON: a report of `sealift verify` that was given, as its file stands
    /metrics                        Prometheus
    /DRIVE/sealift/NAME             a file of a drive (files.py)

What holds: nothing but /healthz answers without a token, where there are tokens, whether it is there or not; no folder
is listed; nothing redirects.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import traceback
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sealift.stages import host_index
from sealift.stages.serve.files import DriveFiles, tell
from sealift.stages.serve.host import Failed
from sealift.stages.serve.metrics import CONTENT_TYPE, Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from sealift.stages.serve.host import Host
    from sealift.stages.serve.tokens import Tokens

_SHIPMENT = re.compile(r"[0-9a-f]{16}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,4}", re.ASCII)
_JSON = "application/json"


class _Gate:
    """Lets nobody in who has no token, and turns a fault of ours into a 500 and a line for whoever runs this."""

    def __init__(self, app: ASGIApp, tokens: Tokens | None, notice: Callable[[str], None]) -> None:
        self._app, self._tokens, self._notice = app, tokens, notice

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._tokens is not None and scope["path"] != "/healthz":
            given = next((value for key, value in scope["headers"] if key.lower() == b"authorization"), None)
            if not self._tokens.accept(given):
                await tell(send, 401, "a token is wanted, or another one", (b"www-authenticate", b"Bearer"))
                return
        try:
            await self._app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the others are served
            where = traceback.extract_tb(error.__traceback__)[-1]
            self._notice(f"internal error: {type(error).__name__} at {where.name}:{where.lineno}; please report it")
            with contextlib.suppress(Exception):
                await tell(send, 500, "a fault of sealift itself")


def application(host: Host, tokens: Tokens | None, notice: Callable[[str], None]) -> ASGIApp:
    """The ASGI application; it looks at the folders while its lifespan lasts."""
    metrics = Metrics()

    async def index(_request: Request) -> Response:
        return Response(host_index.encode(await host.index()), media_type=_JSON)

    async def inspect(request: Request) -> Response:
        shipment = request.path_params["shipment"]
        if not _SHIPMENT.fullmatch(shipment):
            return PlainTextResponse("a shipment is 16 hexadecimal digits\n", 404)
        try:
            return Response(await host.inspect(shipment), media_type=_JSON)
        except Failed as why:
            return PlainTextResponse(f"{why}\n", 503, {"retry-after": "5"})

    async def report(request: Request) -> Response:
        number = request.path_params["number"]
        found = await asyncio.to_thread(host.report, int(number)) if _NUMBER.fullmatch(number) else None
        if found is None:
            return PlainTextResponse("there is no such report\n", 404)
        return Response(found.data, media_type=_JSON)

    async def show_metrics(_request: Request) -> Response:
        page = metrics.render(host.places.all_names(), host.places.with_keys())
        return Response(page, headers={"content-type": CONTENT_TYPE})

    async def healthz(_request: Request) -> Response:
        if tokens is not None and tokens.closed:
            return PlainTextResponse("the token file holds no token: nobody is let in\n", 503, {"retry-after": "5"})
        # for a load balancer; that there is an answer at all says to others that this runs
        if any(up for _, up in host.places.all_names()):
            return PlainTextResponse("ok\n")
        return PlainTextResponse("there is no drive to serve\n", 503, {"retry-after": "5"})

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        watching = asyncio.create_task(host.places.watch())
        try:
            yield
        finally:
            watching.cancel()
            host.places.close()

    app = Starlette(
        routes=[
            Route("/{drive}/sealift/{name:path}", DriveFiles(host.places, metrics)),
            Route("/", index),
            Route("/healthz", healthz),
            Route("/metrics", show_metrics),
            Route("/inspect/{shipment}", inspect),
            Route("/report/{number}", report),
        ],
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return _Gate(app, tokens, notice)
