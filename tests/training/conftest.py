"""What arrives for the tests of training, and a run that was never stopped."""

import sys

import pytest
from trainings import make_port, train, write_config


@pytest.fixture(scope="session")
def port(tmp_path_factory):
    """The folder of what arrived."""
    return make_port(tmp_path_factory.mktemp("port"))


@pytest.fixture(autouse=True)
def one_thread(request):
    """The same sums in the same order, however many cores there are and whatever else they do."""
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)


@pytest.fixture
def config(tmp_path, port):
    """Writes a configuration of the port's drives: config(name="run", data={...}, ...)."""
    return lambda name="run", **changes: write_config(tmp_path / f"{name}.toml", port, **changes)


@pytest.fixture(scope="session")
def whole(port, tmp_path_factory):
    """The configuration of a run that was never stopped, and what it answered."""
    path = write_config(tmp_path_factory.mktemp("whole") / "run.toml", port, model={"dropout": 0.1})
    import torch

    torch.set_num_threads(1)
    return path, train(path)[0]
