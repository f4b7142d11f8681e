"""A Ray cluster whose nodes are this machine's: each has a home of its own, in which its drives stand.

Places such as `~/d*` then mean other folders on every node, as folders of other machines are. `lose` kills a node as a
power cut does: its drives stay where they are, for another to be given.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
MEMORY = 80 << 20  # bytes of a node's object store: next to nothing goes through it


def need() -> None:
    """Skip without Ray, unless CI is set: there it must be."""
    import pytest

    if importlib.util.find_spec("ray") is None:  # imported later: it reads the mode of tokens once
        if os.environ.get("CI"):
            pytest.fail("ray must be installed where CI is set")
        pytest.skip("ray is not installed")


class Cluster:
    """Nodes by name."""

    def __init__(self, base: Path, environment: dict[str, str]) -> None:
        from ray.cluster_utils import Cluster as RayCluster

        self.base, self.environment = base, environment
        self.nodes: dict[str, Any] = {}
        self._cluster = RayCluster()
        self.add("head", head=True)

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def home(self, name: str) -> Path:
        """Where a node's drives stand."""
        made = self.base / name
        made.mkdir(parents=True, exist_ok=True)
        return made

    def add(self, name: str, *, head: bool = False) -> None:
        """Start a node: a storage host, or the head, which is none."""
        given: dict[str, Any] = {
            "num_cpus": 1,
            "object_store_memory": MEMORY,
            "include_dashboard": False,
            "node_name": name,
        }
        given["env_vars"] = {"HOME": str(self.home(name))}
        given["resources"] = {} if head else {"sealift": 1}
        self.nodes[name] = self._cluster.add_node(**given)

    def lose(self, name: str) -> None:
        """Kill a node and all that runs on it."""
        self._cluster.remove_node(self.nodes.pop(name), allow_graceful=False)

    def name(self, name: str) -> str:
        """What Ray knows a node as."""
        return str(self.nodes[name].node_id)

    def clear(self) -> None:
        """Take all drives away."""
        for home in self.base.iterdir():
            for each in home.glob("d*"):
                shutil.rmtree(each)

    def close(self) -> None:
        self._cluster.shutdown()


@contextlib.contextmanager
def applied(environment: dict[str, str]) -> Iterator[None]:
    """With these variables of the environment; without them again afterwards."""
    keep = dict(os.environ)
    os.environ |= environment
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= keep


@contextlib.contextmanager
def cluster(*names: str) -> Iterator[Cluster]:
    """A cluster of these storage hosts, and this process as its driver; of a token, as a real one is.

    What belongs to it is done with its `environment` applied.
    """
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short, for its sockets
    environment = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests/support'}",
        "RAY_memory_monitor_refresh_ms": "0",  # else it ends workers when others take this machine's memory
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_timeout_ms": "5000",  # of a node that is killed it fails at once; a busy one is not dead
        "RAY_health_check_failure_threshold": "3",
        "RAY_health_check_initial_delay_ms": "500",
    }
    assert "ray" not in sys.modules, "Ray reads whether there are tokens when it is imported: import it in tests only"
    made = None
    try:
        with applied(environment):
            import ray

            made = Cluster(folder / "homes", environment)
            for name in names:
                made.add(name)
            ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
        yield made
    finally:
        with applied(environment):
            import ray

            ray.shutdown()
            if made is not None:
                made.close()
        shutil.rmtree(folder, ignore_errors=True)
