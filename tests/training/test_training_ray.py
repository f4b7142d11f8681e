"""Two workers of Ray Train, on a cluster of this machine."""

import importlib.util
import os
import subprocess
import sys

import pytest
from trainings import curve, train

torch = pytest.importorskip("torch")
pytestmark = [  # ray is not imported here: other tests of this process import it in an environment of their own
    pytest.mark.long,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed"),
]

SCRIPT = """
import sys, ray
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
from sealift.training.ray import fit
answer = fit(sys.argv[1], workers=2)
assert answer["ranks"] == 2 and answer["step"] == 6, answer
"""


def test_ray_train_runs_the_same_loop(config):
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1", "RAY_TRAIN_V2_ENABLED": "1"}
    train(config("alone", training={"steps": 6}))
    path = config(training={"steps": 6}, data={"workers": 0})
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    losses = [loss for _, _, loss, _ in curve(path)]
    assert losses == pytest.approx([loss for _, _, loss, _ in curve(path.with_name("alone.toml"))], rel=5e-3)
