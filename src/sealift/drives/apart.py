"""Work that a hanging device may never give back, each piece in a process of its own.

What holds: `run` ends when its time is over, whatever the pieces do. A process that waits for a device inside the
kernel cannot be killed, and neither can a program that has a thread there; so nothing that touches a device is done in
a thread of ours or waited for without end. A piece that is late is killed and left behind: where the kernel lets go of
it, it is gone. What a piece says is read up to a limit, and a piece that says more is killed.

A piece is a command (a list of words, no shell) or a function, which runs in a fork and writes to the descriptor that
it is given. Call from a process without threads: a fork has only the thread that made it.

What is not here: what is asked, and what an answer means.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

TOGETHER = 64  # pieces at a time
_CHUNK = 1 << 16
_ENDS = (signal.SIGINT, signal.SIGTERM)
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOK = 1.0  # seconds that are waited at a time
_REAP = 0.2  # seconds that a killed process gets to be gone

_ALSO = "/usr/local/sbin:/usr/sbin:/sbin"  # where tools of devices are, and people's PATH often does not reach

Job = Sequence[str] | Callable[[int], None]
Heard = Callable[[int, bytes], None]


class Answer(NamedTuple):
    """What a piece said and how it ended; `trouble` is why it has no end of its own, else None."""

    output: bytes
    code: int | None
    trouble: str | None


@dataclass
class _Piece:
    place: int
    process: int
    output: bytearray
    deadline: float
    trouble: str | None = None


def run(
    jobs: Sequence[Job],
    *,
    seconds: float,
    limit: int,
    errors: bool = False,
    heard: Heard | None = None,
    together: int = TOGETHER,
) -> list[Answer]:
    """The answers of all jobs, in their order.

    Each has `seconds` from its start; with `heard`, from the last that it said, and `heard(place, bytes)` gets what it
    says instead of the answer. `errors`: of a command what it says on stderr is taken, too.
    """
    answers: list[Answer | None] = [None] * len(jobs)
    waiting = list(range(len(jobs)))[::-1]
    with selectors.DefaultSelector() as reads:
        try:
            while waiting or reads.get_map():
                while waiting and len(reads.get_map()) < together:
                    place = waiting.pop()
                    job = jobs[place]
                    if not callable(job) and tool(job[0]) is None:
                        answers[place] = Answer(b"", None, f"{job[0]} is not installed")
                        continue
                    with _uninterrupted() as before:
                        try:
                            process, descriptor = _begin(job, before, errors=errors)
                        except OSError as error:
                            if callable(job):
                                raise
                            answers[place] = Answer(b"", None, f"{job[0]} cannot be run: {error.strerror}")
                            continue
                        piece = _Piece(place, process, bytearray(), time.monotonic() + seconds)
                        reads.register(descriptor, selectors.EVENT_READ, piece)
                for piece in _step(reads, seconds, limit, heard):
                    answers[piece.place] = Answer(bytes(piece.output), *_end(piece))
        except BaseException:
            for key in list(reads.get_map().values()):
                key.data.trouble = "it was stopped"
                _close(reads, key.fd)
                _end(key.data)
            raise
    return [answer for answer in answers if answer is not None]


def tool(name: str) -> str | None:
    """Where a program is, also where only root's PATH reaches; None: not installed."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{_ALSO}")


def fork() -> int:
    """0 in the child, whose work is one function and which ends by os._exit; the child's number in the parent."""
    with warnings.catch_warnings():
        # of threads, which are our caller's to avoid
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


@contextlib.contextmanager
def _uninterrupted() -> Iterator[set[signal.Signals]]:
    """No signal between a process that was begun and the note of it: what is not noted, nobody would end."""
    before = {signal.Signals(each) for each in signal.pthread_sigmask(signal.SIG_BLOCK, ())}
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(job: Job, mask: set[signal.Signals], *, errors: bool) -> tuple[int, int]:
    """Process, which hears the signals that `mask` leaves, and descriptor of what it says. OSError."""
    reading, writing = os.pipe()
    try:
        process = _call(job, reading, writing, mask) if callable(job) else _spawn(job, writing, mask, errors=errors)
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return process, reading


def _call(job: Callable[[int], None], reading: int, writing: int, mask: set[signal.Signals]) -> int:
    """The process of a function."""
    process = fork()
    if process:
        return process
    code = 1
    with contextlib.suppress(BaseException):
        for number in _ENDS:  # not our caller's handlers
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(reading)
        job(writing)
        code = 0
    os._exit(code)


def _spawn(job: Sequence[str], writing: int, mask: set[signal.Signals], *, errors: bool) -> int:
    """The process of a command. Not by a fork, which copies the tables of all memory: there may be many."""
    nothing = (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)
    return os.posix_spawn(
        tool(job[0]) or job[0],
        list(job),
        {**os.environ, "LC_ALL": "C", "LANG": "C"},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, writing, 1),
            (os.POSIX_SPAWN_DUP2, writing, 2) if errors else nothing,
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        ],
        setsigmask=mask,
        setsigdef=_ENDS,
    )


def _step(reads: selectors.BaseSelector, seconds: float, limit: int, heard: Heard | None) -> list[_Piece]:
    """Wait for what is said next; the pieces that are over."""
    pieces = {key.fd: key.data for key in reads.get_map().values()}
    if not pieces:
        return []
    patience = max(0.0, min(piece.deadline for piece in pieces.values()) - time.monotonic())
    patience = min(patience, _LOOK)  # a signal just before the wait does not end it, and is heard after it
    over = []
    for key, _ in reads.select(patience):
        piece: _Piece = key.data
        said = os.read(key.fd, _CHUNK)
        if said and heard is not None:
            piece.deadline = time.monotonic() + seconds
            heard(piece.place, said)
            continue
        piece.output += said
        if len(piece.output) > limit:
            piece.trouble = f"it said more than {limit:,} bytes"
            del piece.output[limit:]
        if not said or piece.trouble:
            over.append(key.fd)
    now = time.monotonic()
    for descriptor, piece in pieces.items():
        if descriptor not in over and piece.deadline <= now:
            piece.trouble = f"no answer within {seconds:g} s"
            over.append(descriptor)
    for descriptor in over:
        _close(reads, descriptor)
    return [pieces[descriptor] for descriptor in over]


def _close(reads: selectors.BaseSelector, descriptor: int) -> None:
    reads.unregister(descriptor)
    os.close(descriptor)


def _end(piece: _Piece) -> tuple[int | None, str | None]:
    """Exit code and trouble; a piece that has not ended by itself is killed, and not waited for long."""
    until = time.monotonic() + (_REAP if piece.trouble else 5.0)  # said all: its end is near
    while True:
        if piece.trouble:
            with contextlib.suppress(ProcessLookupError):
                os.kill(piece.process, signal.SIGKILL)
        process, status = os.waitpid(piece.process, os.WNOHANG)
        if process:
            code = os.waitstatus_to_exitcode(status)
            return (None, piece.trouble) if piece.trouble else (code, None if code >= 0 else f"signal {-code} ended it")
        if time.monotonic() > until:
            if piece.trouble:
                return None, piece.trouble
            piece.trouble, until = "it did not end", time.monotonic() + _REAP
        time.sleep(0.002)
