"""A Ray cluster of hosts in network namespaces: a head, on which commands are given, and storage hosts a and b.

    with started(folder) as made:
        made.hosts["b"].kill()
        stage = made.run("ingest", "~/d-*", to="/there")   # on the head, in a process of its own
        stage.wait_for("stuck", "b"); stage.result()

A stage is run by `python netcluster.py`, whose lines are JSON: what it was told, and at last what came of it. On hosts
with a file `stuck` at home units hang there (placed_work.py). A host has a home of its own, in which its drives stand.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import netns

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
    "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests/support'}",
    "RAY_memory_monitor_refresh_ms": "0",
}
SOON = {"RAY_health_check_timeout_ms": "3000", "RAY_health_check_failure_threshold": "3"}  # as the guide has them


class Stage:
    """One under way."""

    def __init__(self, started: netns.Started) -> None:
        self._started = started

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self._started.out.read_text().splitlines()]

    def wait_for(self, *words: str, seconds: float = 90) -> float:
        """Until a line begins so; seconds that it took."""
        begun = time.monotonic()
        while not any(line[0] == words[0] and all(word in line[1] for word in words[1:]) for line in self.lines()):
            assert self._started.process.poll() is None, self._started.err.read_text()
            assert time.monotonic() - begun < seconds, (words, self.lines())
            time.sleep(0.05)
        return time.monotonic() - begun

    def result(self, seconds: float = 120) -> Any:
        """What came of it; on stderr there is nothing."""
        self._started.process.wait(seconds)
        assert self._started.err.read_text() == ""
        return self.lines()[-1][1]


class Cluster:
    """Hosts by name, and what is run on the head."""

    def __init__(self, net: netns.Network, folder: Path) -> None:
        self.folder, self._logs = folder, folder / "logs"
        self._logs.mkdir()
        self.hosts = {name: net.host() for name in ("head", "a", "b")}
        self._temporary = tempfile.TemporaryDirectory(prefix="ray-")  # short, for its sockets
        for name in self.hosts:
            self.home(name).mkdir()

    @property
    def address(self) -> str:
        return f"{self.hosts['head'].address}:6379"

    def home(self, name: str) -> Path:
        return self.folder / name

    def start(self, name: str, *before: object) -> None:
        """A node, whose command may stand behind others."""
        host = self.hosts[name]
        of_head = ("--head", "--port", "6379", "--include-dashboard", "false")
        more = of_head if name == "head" else ("--address", self.address, "--resources", '{"sealift": 1}')
        settings = ENVIRONMENT | (SOON if name == "head" else {}) | {"HOME": str(self.home(name))}
        node = host.start(
            self._logs, *before, "env", *(f"{key}={value}" for key, value in settings.items()),
            Path(sys.executable).parent / "ray", "start", "--block", "--node-name", name, "--num-cpus", 1, *more,
            "--node-ip-address", host.address, "--object-store-memory", 80 << 20,
            "--temp-dir", Path(self._temporary.name, name),
        )  # fmt: skip
        until = time.monotonic() + 90
        while "Ray runtime started" not in node.out.read_text():
            assert node.process.poll() is None, node.err.read_text()
            assert time.monotonic() < until, node.err.read_text()
            time.sleep(0.1)

    def run(self, stage: str, *patterns: str, **given: Any) -> Stage:
        """Begin a stage."""
        given |= {"stage": stage, "address": self.address, "patterns": patterns}
        settings = ENVIRONMENT | {"HOME": str(self.home("head"))}
        words = ("env", *(f"{key}={value}" for key, value in settings.items()), sys.executable, __file__)
        return Stage(self.hosts["head"].start(self._logs, *words, json.dumps(given)))

    def close(self) -> None:
        for host in self.hosts.values():
            host.end()
        with contextlib.suppress(OSError):  # processes that end may still write
            self._temporary.cleanup()


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Cluster]:
    """All three, with their nodes."""
    import clusters
    import netns

    clusters.need()
    with netns.network() as net:
        made = Cluster(net, folder)
        try:
            for name in made.hosts:
                made.start(name)
            yield made
        finally:
            made.close()


def _main() -> None:
    import placed_work

    from sealift.errors import SealiftError
    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.stages import ingest, ingest_hosts, repair_hosts, verify_hosts
    from sealift.stages.placed_pass import Events
    from sealift.stages.placement import place

    given = json.loads(sys.argv[1])
    verify_hosts._read, repair_hosts._mend = placed_work.read, placed_work.mend
    ingest_hosts._copy = placed_work.copy
    stuck: set[str] = set()

    def say(what: str, text: Any) -> None:
        sys.stdout.write(json.dumps([what, text]) + "\n")
        sys.stdout.flush()

    def progress(_step: str, now: Any, _hosts: int) -> None:
        for name, done in now.drives.items():
            if name not in stuck and (done >= placed_work.STUCK or done == 1):
                stuck.add(name)
                say("stuck", name)

    allowed = AllowedSigners.parse(Path(given["allowed"]).read_bytes())
    events, patterns = Events(progress, lambda text: say("notice", text)), given["patterns"]
    try:
        with place(given["address"], lambda text: say("notice", text)) as hosts:
            if given["stage"] == "ingest":
                options = ingest.Options(patterns, given["to"], allowed, None)
                answer: Any = ingest_hosts.ingest_on(hosts, options, events)
            elif given["stage"] == "repair":
                state = os.path.expanduser("~/state")
                answer = repair_hosts.repair_on(hosts, patterns, allowed=allowed, state=state, events=events)
            else:
                state = os.path.expanduser("~/state")
                answer = verify_hosts.verify_on(hosts, patterns, allowed=allowed, state=state, events=events)
        rows = [[row.name, row.state, row.why, [name[:4] for name in row.owed]] for row in answer.hosts]
        say("result", {"state": getattr(answer, "state", None), "hosts": rows})
    except SealiftError as error:
        say("error", f"{error}\nhint: {error.hint}")


if __name__ == "__main__":
    _main()
