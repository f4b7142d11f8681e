"""One Ray cluster for all tests of this folder: a head without drives, and storage hosts a and b."""

import clusters
import pytest

from sealift.stages.placement import place


@pytest.fixture(scope="session")
def _running():
    clusters.need()
    with clusters.cluster("a", "b") as made:
        yield made


@pytest.fixture
def cluster(_running):
    """Both hosts up, without drives."""
    _running.clear()
    with clusters.applied(_running.environment):
        for name in ("a", "b"):
            if name not in _running.nodes:
                _running.add(name)
        yield _running


@pytest.fixture(scope="session")
def hosts(_running):
    """The cluster as work is placed on it, its processes kept for the next test."""
    with place(_running.address) as there:
        yield there
