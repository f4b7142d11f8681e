"""The process on a node of a cluster in which units of work are done, one at a time, and how it is heard there.

What holds, whatever becomes of the connection to who placed the unit: it works on. What it sends is kept until who asks
says that it was heard, a question until it is answered, and its answer until the next unit begins: each can be had once
more. So no call here does anything a second time: `run` of a unit that runs waits for its end.

What is not here: Ray (placement.py), and what units do.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from sealift import __version__
from sealift.errors import Interrupted, SealiftError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealift.stages.placement import Wire

POLL = 0.3  # seconds between looks at what units say
_ENDED = 0.02  # and where one has ended, whose answer waits for the last look


class Runner:
    """In a process of a node: one unit at a time, in a thread, and its wire. Started as an actor of THREADS threads."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._unit = ""
        self._waiting = 0  # for the end of a unit: only the last who asks has to be answered
        self._end: tuple[Any, Exception | None] | None = None
        self._progress: Any = None
        self._first, self._items = 0, list[Any]()  # what is not yet known to be heard, and the first one's number
        self._asked = 0
        self._question: tuple[int, Any] | None = None
        self._reply: tuple[Any] | None = None
        self._stopped = False

    def run(self, unit: str, work: Callable[[Any, Wire], Any], given: Any) -> tuple[Any, Any, int, list[Any]]:
        """The answer of the unit or its error, and what it told and sent that is not known to be heard.

        `unit` names it: under the same name it is not done again, and its answer is the same.
        """
        with self._change:
            begins = unit != self._unit
            if begins:
                self._unit, self._end, self._progress, self._first, self._items = unit, None, None, 0, []
                self._question = self._reply = None
            self._waiting += 1
            mine = self._waiting
            self._change.notify_all()
        if begins:
            end = self._do(work, given)
            with self._change:
                self._end = end
                self._change.notify_all()
        with self._change:
            while self._end is None and self._waiting == mine:
                self._change.wait()
            answer, error = self._end or (None, None)
            if error is not None:
                raise error
            return (answer, self._progress, self._first, self._items)

    def _do(self, work: Callable[[Any, Wire], Any], given: Any) -> tuple[Any, Exception | None]:
        try:
            return work(given, self), None
        except SealiftError as error:
            return error, None
        except KeyboardInterrupt:
            return Interrupted("stopped"), None
        except Exception as error:  # noqa: BLE001 -- raised by whoever waits for the end
            return None, error

    def tell(self, progress: Any) -> None:
        """As of Wire."""
        with self._change:
            self._progress = progress
        self._go_on()

    def _go_on(self) -> None:
        if self._stopped:
            raise KeyboardInterrupt

    def send(self, item: Any) -> None:
        """As of Wire."""
        with self._change:
            self._items.append(item)

    def ask(self, question: Any) -> Any:
        """As of Wire."""
        with self._change:
            self._asked += 1
            self._question, self._reply = (self._asked, question), None
            self._change.notify_all()
            while self._reply is None:
                self._go_on()
                self._change.wait(POLL)
            (reply,) = self._reply
            self._question = None
        if isinstance(reply, SealiftError):
            raise reply
        return reply

    def look(self, unit: str, heard: int, answered: int) -> tuple[Any, int, list[Any], tuple[int, Any] | None]:
        """What was told, sent and asked since: after POLL seconds, or soon where the unit ends or asks something new.

        `heard` items of the unit have arrived, and need not be kept; `answered` is the question that was answered last.
        """
        with self._change:
            if unit != self._unit:
                self._change.wait(POLL)
            if unit != self._unit:
                return None, heard, [], None
            if heard > self._first:  # else it was asked before one that came first
                self._items = self._items[heard - self._first :]
                self._first = heard
            if self._question is None or self._question[0] == answered:
                self._change.wait(_ENDED if self._end else POLL)
            progress, self._progress = self._progress, None
            return progress, self._first, list(self._items), self._question

    def reply(self, question: int, answer: Any) -> None:
        """Answer what was asked, by its number; what came before is answered already."""
        with self._change:
            if question == self._asked:
                self._reply = (answer,)
                self._change.notify_all()

    def stop(self) -> None:
        """Have the unit stop, when it tells or asks next."""
        self._stopped = True

    @staticmethod
    def version() -> str:
        """Which sealift is installed here."""
        return __version__
