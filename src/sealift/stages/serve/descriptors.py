"""How many of this process's descriptors connections may have, so that files of drives can always be opened.

What holds: connections are let in until the process has as many files open as its soft limit allows; that limit is set
so far below the hard one that a file which cannot be opened for it can be opened at once when it has been raised
(`room`), and by then nobody new is let in. When enough connections have ended, the limit is lowered and newcomers are
let in again. So no number of connections takes a drive away, and none keeps others out once it has ended.

Why the limit and not a count: granian counts a connection over TLS when its handshake is done, and the others nowhere.
While there is no descriptor for the next one it does not look at the handshakes under way either, so that those which
have ended stay, their sockets in CLOSE-WAIT, for as long as nobody raises the limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import resource
import socket
import stat
import struct
import threading
from typing import TYPE_CHECKING

from sealift.drives.base import errno_of
from sealift.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECTIONS = 4096
QUEUE = 256  # connections that the kernel has for us and we have not taken: they come in after the door is shut
FEWEST = 64  # connections with which it still starts
_OURS = 64  # descriptors of the server itself: its loop, its threads, commands that it runs
_A_DRIVE = 8  # folders and files that are open while a drive is looked at
_LOOK = 0.25  # seconds between looks at how many there are
_SLACK = 32  # descriptors that must be free below the limit before newcomers are let in again
_ATTACH, _DETACH = 26, 27  # SO_ATTACH_FILTER, SO_DETACH_FILTER of Linux's asm-generic/socket.h
_NOTHING = struct.pack("=HBBI", 0x06, 0, 0, 0)  # one instruction of BPF: take no byte of any packet


class Room:
    """The limit of this process; `room` may be called in any thread, the others in the event loop's.

    `files` is how many files of drives may be open at a time. BadInput: there is not even room for a few connections.
    """

    def __init__(self, drives: int, files: int) -> None:
        self._notice: Callable[[str], None] = lambda _: None
        self._hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self._kept = QUEUE + files + _A_DRIVE * drives
        wanted = CONNECTIONS + _OURS + self._kept
        most = wanted if self._hard == resource.RLIM_INFINITY else min(self._hard, wanted)
        self.connections = most - _OURS - self._kept
        self.wanted = wanted
        if self.connections < FEWEST:
            raise BadInput(
                f"this process may have {self._hard:,} files open, too few to serve {drives:,} drives; "
                "nothing was served",
                hint=f"raise the limit to {wanted:,}: LimitNOFILE= of systemd, or ulimit -Hn; or give fewer drives",
            )
        self._top = most
        self._soft = _OURS + self.connections
        self._full = False
        self._listener: socket.socket | None = None
        self._lock = threading.Lock()

    @property
    def low(self) -> str:
        """What to say of a limit under which fewer connections than CONNECTIONS can be had; "" for another."""
        if self.connections >= CONNECTIONS:
            return ""
        return (
            f"at most {self.connections:,} connections at a time, for this process may have only {self._hard:,} "
            f"files open: LimitNOFILE= of systemd or ulimit -Hn, {self.wanted:,} or more, gives {CONNECTIONS:,}"
        )

    def begin(self, notice: Callable[[str], None]) -> None:
        """Set the limit."""
        self._notice = notice
        self._limit(self._soft)

    async def watch(self, port: int) -> None:
        """Look whether there is room for who comes in at a port, again and again; until cancelled."""
        self._listener = _listener_on(port)
        while True:
            self.look()
            await asyncio.sleep(_LOOK)

    def look(self) -> None:
        """Shut the door where the limit is met, and open it again where there is room."""
        try:
            used = len(os.listdir("/proc/self/fd"))
        except OSError as error:
            self.room(error)
            return
        with self._lock:
            if self._full and used <= self._soft - _SLACK:
                self._door(shut=False)
                self._limit(self._soft)
                self._full = False
                self._notice("there is room for connections again")

    def room(self, why: BaseException) -> None:
        """Make room for files that could not be opened: raise the limit, let nobody in until connections have ended."""
        if errno_of(why) != errno.EMFILE:
            return  # it is not this process that has too many
        with self._lock:
            if self._full:
                return
            self._full = True
            self._door(shut=True)
            self._limit(self._top)
        self._notice(f"no more connections are let in until some have ended: {self.connections:,} and more are open")

    def let_go(self) -> None:
        """Of the listening socket: a server that stops has closed its own, and nobody is to come in by this one."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def close(self) -> None:
        """Leave the limit where nothing meets it."""
        self.let_go()
        self._limit(self._hard)

    def _limit(self, soft: int) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, self._hard))

    def _door(self, *, shut: bool) -> None:
        """Have the kernel drop what comes to the listening socket, or not; who is dropped tries again by itself."""
        if self._listener is None:
            return
        code = ctypes.create_string_buffer(_NOTHING)
        option = (_ATTACH, struct.pack("@HP", 1, ctypes.addressof(code))) if shut else (_DETACH, bytes(4))
        with contextlib.suppress(OSError):  # a kernel without filters: those in its queue are all that is limited
            self._listener.setsockopt(socket.SOL_SOCKET, *option)


def _listener_on(port: int) -> socket.socket | None:
    """A descriptor of our own for the socket of this process that listens on a port; None: nothing does."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                found = socket.socket(fileno=os.dup(int(name)))
                if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and found.getsockname()[1] == port:
                    return found
                found.close()
    return None
