"""Loss and rates: a JSON line each in OUT/log.jsonl, and the same for TensorBoard in OUT/tensorboard, where installed.

A run that goes on from a checkpoint takes away what was logged after it: the file is the log of a run that was never
stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from sealift.training.checkpoint import put

NAME = "log.jsonl"


class Log:
    """The log of a run that stands at `step`, in `folder`; closed at the end."""

    def __init__(self, folder: str, step: int) -> None:
        self._path = os.path.join(folder, NAME)
        if os.path.exists(self._path):
            put(self._path + ".part", b"".join(_until(self._path, step)))
            os.rename(self._path + ".part", self._path)
        self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 -- open as long as the run
        self._board: Any = None
        with contextlib.suppress(ImportError):
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(os.path.join(folder, "tensorboard"), purge_step=step + 1)

    def write(self, record: dict[str, float]) -> None:
        """One line; `record` has the step."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in record.items():
                if name != "step":
                    self._board.add_scalar(name, value, int(record["step"]))

    def close(self) -> None:
        """Write what is left."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def _until(path: str, step: int) -> list[bytes]:
    """The lines up to a step; one that was cut is left out."""
    kept = []
    with open(path, "rb") as file:
        for line in file:
            with contextlib.suppress(ValueError, LookupError, TypeError):
                if line.endswith(b"\n") and json.loads(line)["step"] <= step:
                    kept.append(line)
    return kept
