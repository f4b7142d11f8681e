"""Hosts of a cluster in this process, one after the other, each with a home of its own: a placement without Ray.

Places such as `~/d*` then mean other folders on every host. A host dies where a test says: in a unit of work by its
name (`look`, `_read` ...), or before it was asked anything.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sealift.errors import NotAllHere, SealiftError
from sealift.stages.placement import Gone, Host

if TYPE_CHECKING:
    from pathlib import Path

DEAD = Gone("its node died")


class Hosts:
    here = False

    def __init__(self, base: Path, *names: str) -> None:
        self.homes = {Host(name, f"key-{name}"): base / name for name in names}
        self.left_out: dict[Host, Gone | SealiftError] = {}
        self.dies: dict[str, str] = {}  # by host: the work in which it dies; "" before any
        self.asked: list[tuple[str, str]] = []
        for home in self.homes.values():
            home.mkdir(parents=True, exist_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def home(self, name: str) -> Path:
        return next(home for host, home in self.homes.items() if host.name == name)

    def hosts(self) -> list[Host]:
        """As of Placement."""
        dead = [host for host in self.homes if self.dies.get(host.name) == ""]
        self.left_out = dict.fromkeys(dead, DEAD)
        alive = [host for host in self.homes if host not in self.left_out]
        if not alive:
            raise NotAllHere("no node of this cluster can be used")
        return sorted(alive)

    def run(self, work, units, ears):
        """As of Placement; a host that dies does nothing of that unit."""
        answers = []
        more = dict(units)
        while more:
            now, more = more, {}
            for number, (host, given) in enumerate(now.items(), len(answers)):
                answer = self._do(work, host, given, number, ears)
                ears.came(host, number, answer)
                answers.append((host, answer))
            if any(isinstance(answer, Gone) for _, answer in answers):
                more = dict(ears.more())
        return answers

    def _do(self, work, host, given, number, ears):
        self.asked.append((host.name, work.__name__))
        if self.dies.get(host.name) == work.__name__:
            return DEAD
        before = os.environ["HOME"]
        os.environ["HOME"] = str(self.homes[host])
        try:
            return work(given, _Wire(host, number, ears))
        except SealiftError as error:
            return error
        finally:
            os.environ["HOME"] = before


class _Wire:
    def __init__(self, host, number, ears):
        self._host, self._number, self._ears = host, number, ears

    def tell(self, progress):
        self._ears.heard(self._host, self._number, progress, [])

    def send(self, item):
        self._ears.heard(self._host, self._number, None, [item])

    def ask(self, question):
        return self._ears.asked(self._host, self._number, question)
