"""The same run as workers of Ray Train: thin, since the loop joins the process group that Ray has set up.

    from sealift.training.ray import fit
    answer = fit("run.toml", workers=16, gpus=True)

Ray places the workers and starts them again when one dies; the run then goes on from its last whole checkpoint, so that
Ray keeps none of its own. Every host sees the drives, the keys and OUT under the paths of the configuration.
"""

from __future__ import annotations

import json
import logging
import os
from typing import Any

from sealift.errors import BadInput, SealiftError
from sealift.training.config import load

log = logging.getLogger("sealift")
_ANSWER = ".answer.json"


def fit(path: str, *, workers: int, gpus: bool = False, failures: int = 3) -> dict[str, Any]:
    """Train the configuration in `path` with so many workers, a GPU each if `gpus`; what `train` answers.

    Workers that die are started again `failures` times. BadInput where ray is not installed; SealiftError with what a
    worker raised.
    """
    try:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
    except ImportError as error:
        raise BadInput("not installed: ray", hint="pip install 'sealift[train]' 'ray[train]'") from error
    config = load(path)
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"path": os.path.abspath(path)},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus),
        run_config=RunConfig(
            name="ray", storage_path=os.path.abspath(config.out), failure_config=FailureConfig(max_failures=failures)
        ),
    )
    try:
        trainer.fit()
    except Exception as error:
        raise SealiftError(
            f"Ray Train ended: {type(error).__name__}: {' '.join(str(error).split())[:500]}",
            hint="its workers say more; what was saved is safe, and the same call goes on",
        ) from error
    with open(os.path.join(config.out, _ANSWER), "rb") as file:
        answer: dict[str, Any] = json.load(file)
    return answer


def _worker(given: dict[str, str]) -> None:
    """What each worker runs."""
    from sealift.training.checkpoint import put
    from sealift.training.train import train

    config = load(given["path"])
    answer = train(config, log.info)
    if answer is not None:
        put(os.path.join(config.out, _ANSWER), json.dumps(answer).encode())
