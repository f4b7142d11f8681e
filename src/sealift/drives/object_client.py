"""obstore for one location in one process: how it is loaded, what it is told, how long it tries.

Retries, multipart uploads and the resuming of answers that were cut are obstore's. A request of which nothing is heard
for ANSWER is sent again, and a part of an upload that did not arrive within TIMEOUT; a call ends within PATIENCE and
one of these, one that sends much within PATIENCE and two. Whoever waits longer is told (waiting.py). A process that was
forked from one that had used obstore would wait in it for ever, because its threads stay behind: such a process loads a
copy of obstore of its own (docs/adr/0018). It is kept from other hosts than the store's where that can be
(elsewhere.py). Keys come from the environment, or from where obstore finds them; they are in no message and no repr.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import re
import threading
import weakref
from concurrent.futures import Future
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from sealift.drives.elsewhere import kept_from, redirects
from sealift.drives.ranges import Ranges, Workers, settle
from sealift.drives.uploads import region_of_environment
from sealift.errors import BadInput, DriveFault

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

T = TypeVar("T")

PATIENCE = 60.0  # seconds for which a request that failed is sent again
ANSWER = 10.0  # for which a store may say nothing, before an answer or within it
TIMEOUT = 45.0  # of one request that sends much: 8 MiB at 186 kB/s; nothing tells how much of it has arrived
_WHOLE = 90.0  # of any other, with its answer
MUCH = 256 << 10  # bytes that are sent with a request
_CONNECT = 5.0
_NO_USE = 0.2  # for which a store is asked that is known to redirect
_RETRIES = 100  # PATIENCE ends them
THREADS = 8  # ranges of a drive that are fetched at once
_HOST = re.compile(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_EXTRA = "pip install 'sealift[s3]'"

_loaded: tuple[int, Any] | None = None  # the process that loaded obstore, and obstore
_loading = threading.Lock()
_clients: weakref.WeakSet[Client] = weakref.WeakSet()
_left_behind: list[object] = []  # what belongs to the process from which this one was forked, and is never closed here


def _after_fork() -> None:
    """What a client has open is its parent's: to close it here would end it there, too."""
    global _loading  # noqa: PLW0603 -- the parent's may be held by a thread that is not here
    _loading = threading.Lock()
    _left_behind.extend(_clients)


os.register_at_fork(after_in_child=_after_fork)


def native() -> Any:
    """What has obstore's functions, for this process. BadInput where it is not installed."""
    global _loaded  # noqa: PLW0603 -- one a process
    with _loading:
        if _loaded is not None and _loaded[0] == os.getpid():
            return _loaded[1]
        try:
            import obstore
        except ImportError as error:
            raise BadInput("s3:// needs obstore, which is not installed", hint=_EXTRA) from error
        module = obstore if _loaded is None else _copy(obstore)
        if _loaded is not None:
            _left_behind.append(_loaded[1])
        _loaded = os.getpid(), module
        return module


def _copy(obstore: ModuleType) -> Any:
    """Load obstore's library once more, from a copy of its file, with a runtime that nobody has used."""
    source = obstore._obstore.__file__  # noqa: SLF001 -- the file is what is needed
    name = f"sealift_obstore_{os.getpid()}._obstore"
    target = os.memfd_create("obstore", os.MFD_CLOEXEC)
    try:
        with open(source, "rb") as file:
            size, done = os.fstat(file.fileno()).st_size, 0
            while done < size:
                done += os.sendfile(target, file.fileno(), done, size - done)
        loader = importlib.machinery.ExtensionFileLoader(name, f"/proc/self/fd/{target}")
        spec = importlib.util.spec_from_file_location(name, loader.path, loader=loader)
        assert spec is not None, "a loader was given"
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    finally:
        os.close(target)
    return module


def endpoint() -> str:
    """Where the store is, as the environment says; empty: Amazon's."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    return next((value.rstrip("/") for name in names if (value := os.environ.get(name))), "")


def _check_endpoint() -> None:
    """BadInput for what is no address: obstore panics on some."""
    given = endpoint()
    parts = urlsplit(given)
    if given and (parts.scheme not in {"http", "https"} or not _HOST.fullmatch(parts.netloc) or parts.query):
        raise BadInput("AWS_ENDPOINT_URL is no address of a store", hint="http(s)://HOST[:PORT]")


class Client:
    """obstore's stores for everything beneath `prefix` of a bucket, in the process `pid`; safe for threads.

    `store` is for all requests but those that send MUCH, which are `sending`'s.
    """

    def __init__(self, bucket: str, prefix: str, patience: float, threads: int) -> None:
        _check_endpoint()
        self.pid, self.native = os.getpid(), native()
        _clients.add(self)
        self.etags_are_digests = True  # until an object shows otherwise (server-side encryption with keys of its own)
        self.keeps = True  # an object where a new one is to be written, as If-None-Match asks; until it shows otherwise
        self.seen = False  # the bucket: what is missing in it then is the object
        self.ranges = Ranges(Workers(threads, "sealift-s3"))
        self._kept = kept_from(bucket, endpoint(), region_of_environment())
        if self._kept and endpoint() and redirects(bucket, endpoint()):
            patience = min(patience, _NO_USE)
        answer, send = min(ANSWER, patience / 2), min(TIMEOUT, 2 * patience)
        whole = min(_WHOLE, 2 * patience)
        self.store = self._made(bucket, prefix, {"timeout": whole, "read_timeout": answer}, patience)
        self._patience = patience, patience + 2 * send
        self.sending = self._made(bucket, prefix, {"timeout": send}, self._patience[1])

    def _made(self, bucket: str, prefix: str, limits: dict[str, float], patience: float) -> Any:
        options: dict[str, Any] = {name: timedelta(seconds=value) for name, value in limits.items()}
        options["connect_timeout"] = timedelta(seconds=min(_CONNECT, patience))
        config: dict[str, Any] = {"disable_bulk_delete": True}  # not every store has it
        options |= self._kept
        if endpoint():
            config["endpoint"] = endpoint()
            options["allow_http"] = endpoint().startswith("http://")
        store = getattr(self.native, "_store", None) or self.native.store
        try:
            return store.S3Store(
                bucket,
                prefix=prefix,
                config=config,
                client_options=options,
                retry_config={
                    "max_retries": _RETRIES,
                    "retry_timeout": timedelta(seconds=patience),
                    "backoff": {
                        "init_backoff": timedelta(milliseconds=100),
                        "max_backoff": timedelta(seconds=3),
                        "base": 2,
                    },
                },
            )
        except Exception as error:  # noqa: BLE001 -- its own classes, of whichever copy
            raise BadInput(
                f"s3://{bucket}: the settings of the store cannot be used ({type(error).__name__})",
                hint="see the environment's AWS_... variables: AWS_ENDPOINT_URL is http(s)://HOST[:PORT]",
            ) from None

    def for_bytes(self, size: int) -> tuple[Any, float]:
        """The store for a request with a body of so many bytes, and the seconds within which it is tried again."""
        return (self.sending, self._patience[1]) if size > MUCH else (self.store, self._patience[0])

    def fetch(self, name: str, etag: str, start: int, stop: int) -> Any:
        """Bytes start..stop-1 of an object, if it is still the one with this ETag: a buffer. obstore's exceptions."""
        return self.native.get(self.store, name, options={"range": (start, stop), "if_match": etag}).bytes()


def interruptible(function: Callable[..., T], *arguments: Any, **more: Any) -> T:
    """What it returns; where the main thread asks, another one calls it, so that a signal ends the waiting at once.

    Python hears no signal while obstore waits for a store, which may be as long as PATIENCE.
    """
    if threading.current_thread() is not threading.main_thread():
        return function(*arguments, **more)
    coming: Future[T] = Future()
    job = partial(settle, coming, partial(function, *arguments, **more))
    try:
        threading.Thread(target=job, name="sealift-s3-call", daemon=True).start()
    except RuntimeError:  # no thread can be had
        job()
    try:
        return coming.result()
    finally:
        del coming, job  # an error that came would hold, by its traceback, what holds it, and the lock of a bucket


def client_of(known: Client | None, bucket: str, prefix: str, patience: float, threads: int = THREADS) -> Client:
    """`known`, while this is its process; else a new one."""
    if known is not None and known.pid == os.getpid():
        return known
    return Client(bucket, prefix, patience, threads)


def fault(mount: str, doing: str, trouble: Any, *, safe: str) -> DriveFault:
    """The DriveFault of a Trouble, with an OSError as its cause and nothing of what the store said."""
    error = DriveFault(f"{mount}: {doing}: {trouble.why}; {safe}", drive=mount, hint=trouble.hint)
    error.__cause__ = OSError(trouble.code, trouble.why)
    return error
