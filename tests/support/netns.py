"""Several hosts for real, on one machine: network namespaces with links between them that are cut, slowed and restored.

    with network() as net:
        one = net.host()                     # a namespace with an address of its own
        one.start(folder, "sealift", "serve", ...)   # a process in it
        one.cut(); one.restore()             # its link
        one.slow("2mbit")                    # by the kernel's token bucket
        one.kill()                           # every process in it, at once, and its link

All of it is apart from the machine's own network, and taken away at the end, whatever a test did. Needs root and
iproute2: tests skip elsewhere, and fail where CI is set.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import shipments

if TYPE_CHECKING:
    from collections.abc import Iterator

_NUMBERS = itertools.count()


def need() -> None:
    """Skip where there are no network namespaces for us; where CI is set, fail."""
    why = "needs root, for network namespaces" if os.geteuid() != 0 else None
    if why:
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    shipments.need("ip", "tc")


def _ip(*words: object) -> None:
    subprocess.run(["ip", *map(str, words)], check=True, capture_output=True, text=True)


class Started(NamedTuple):
    """A process, and the files to which it prints."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path


@dataclass
class Host:
    """A namespace: its name, and the address under which the others reach it."""

    name: str
    address: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def command(self, *words: object) -> list[str]:
        """The words as they are run in it."""
        return ["ip", "netns", "exec", self.name, *map(str, words)]

    def run(self, *words: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """A process in it, to its end."""
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=False, timeout=timeout)

    def start(self, folder: Path, *words: object) -> Started:
        """A process in it, which ends with the host; what it prints goes to files in `folder`."""
        place = folder / f"{self.name}.{len(list(folder.iterdir()))}"
        with open(f"{place}.out", "xb") as out, open(f"{place}.err", "xb") as err:
            process = subprocess.Popen(self.command(*words), stdout=out, stderr=err, start_new_session=True)
        self.processes.append(process)
        return Started(process, Path(f"{place}.out"), Path(f"{place}.err"))

    def cut(self) -> None:
        """Nothing goes in or out, and nobody is told."""
        _ip("-n", self.name, "link", "set", "up0", "down")

    def restore(self) -> None:
        """The link is as it was."""
        _ip("-n", self.name, "link", "set", "up0", "up")
        subprocess.run(["tc", "-n", self.name, "qdisc", "del", "dev", "up0", "root"], check=False, capture_output=True)

    def slow(self, rate: str) -> None:
        """What it sends goes at this rate, as tc writes it."""
        words = ["qdisc", "add", "dev", "up0", "root", "tbf", "rate", rate, "burst", "16kbit", "latency", "400ms"]
        subprocess.run(["tc", "-n", self.name, *words], check=True, capture_output=True)

    def kill(self) -> None:
        """The host is gone: its processes by SIGKILL, its link with them."""
        self.cut()
        self.end()

    def end(self) -> None:
        """Every process of it by SIGKILL."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
        self.processes.clear()


class Network:
    """A switch, in a namespace of its own, and the hosts at it."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack, self._prefix = stack, f"sl{os.getpid()}-{next(_NUMBERS)}"
        self._hub, self._count = f"{self._prefix}-hub", 0
        self._add(self._hub)
        _ip("-n", self._hub, "link", "add", "hub", "type", "bridge")
        _ip("-n", self._hub, "link", "set", "hub", "up")

    def _add(self, name: str) -> None:
        _ip("netns", "add", name)
        self._stack.callback(subprocess.run, ["ip", "netns", "del", name], check=False, capture_output=True)

    def host(self) -> Host:
        """A new one."""
        self._count += 1
        made = Host(f"{self._prefix}-h{self._count}", f"10.91.0.{self._count}")
        self._add(made.name)
        self._stack.callback(made.end)
        port = f"port{self._count}"
        _ip("-n", self._hub, "link", "add", port, "type", "veth", "peer", "name", "up0", "netns", made.name)
        _ip("-n", self._hub, "link", "set", port, "master", "hub", "up")
        _ip("-n", made.name, "address", "add", f"{made.address}/24", "dev", "up0")
        for device in ("lo", "up0"):
            _ip("-n", made.name, "link", "set", device, "up")
        return made


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """A network without a host."""
    need()
    with contextlib.ExitStack() as stack:
        yield Network(stack)
