"""Batches taken ahead by a thread, so that who trains does not wait while they are handed over.

    loader = DataLoader(dataset, batch_size=None, num_workers=4)
    for step, batch in enumerate(Ahead(loader), start=1):
        ...

A loader's `next` reads from a pipe, builds the batch and wakes the process that reads, all while the accelerator is
idle; and on a busy host each of these may wait for a core: milliseconds, where a step takes as many. Here a thread does
it during the step.

What holds: items are those of the loader, in their order; an error comes where the loader raised it, after all items
before it, and ends the iteration. At most `batches` items are held or on their way. The loader's iterator is made where
this one is made, so that processes are forked there, and not by the thread. After `close`, or when nobody holds it any
more, the thread ends and lets the loader's iterator go.

What is not here: state. `ShipmentDataset.state(n)` counts the batches that were trained on, so it stays right; a loader
that keeps its own state (torchdata's StatefulDataLoader) is ahead by what is held here.
"""

from __future__ import annotations

import queue
import threading
import weakref
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from sealift.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")
BATCHES = 8
_PATIENCE = 10.0  # seconds


class Ahead(Generic[T]):
    """An iterator over `loader` that is up to `batches` items ahead. BadInput when that is less than 1."""

    def __init__(self, loader: Iterable[T], batches: int = BATCHES) -> None:
        if batches < 1:
            raise BadInput(f"{batches} batches ahead", hint="1 or more; each is held in memory")
        self._shelf: _Shelf[T] = _Shelf(batches)
        self._thread = threading.Thread(
            target=_take, args=(iter(loader), self._shelf), name="sealift-ahead", daemon=True
        )
        self._thread.start()
        self._end = weakref.finalize(self, self._shelf.close)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        return self._shelf.next()

    def close(self) -> None:
        """End the thread; what it holds is dropped, and the iteration is over. A loader that hangs is left behind."""
        self._end()
        self._thread.join(_PATIENCE)


class _Shelf(Generic[T]):
    """What is held: (item, None), or at the end (None, error)."""

    def __init__(self, room: int) -> None:
        self._held: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()  # a semaphore of the interpreter's own, and faster
        for _ in range(room):
            self._room.put(None)
        self._over: BaseException | None = None
        self.closed = False

    def wait(self) -> bool:
        """Until there is room; False when nothing is wanted any more."""
        self._room.get()
        return not self.closed

    def put(self, item: Any, error: BaseException | None) -> None:
        """One more."""
        self._held.put((item, error))

    def next(self) -> T:
        """The next item, or the error that ends it all."""
        if self._over is not None or self.closed:
            raise StopIteration
        item, error = self._held.get()
        if error is not None:
            self._over = error
            raise error
        self._room.put(None)
        made: T = item
        return made

    def close(self) -> None:
        self.closed = True
        self._room.put(None)


def _take(items: Iterator[T], shelf: _Shelf[T]) -> None:
    """The thread; it knows the shelf, and not who reads from it."""
    try:
        while shelf.wait():
            shelf.put(next(items), None)
        shelf.put(None, StopIteration())  # closed: whoever waits in another thread is let go
    except BaseException as error:  # noqa: BLE001 -- StopIteration among them: it is raised where the items are read
        shelf.put(None, error)
