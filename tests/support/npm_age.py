"""The npm package age-encryption, to hold ours to; pinned in tests/interop, installed there by `npm ci`."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import shutil
import subprocess
from typing import Any

import pytest

FOLDER = pathlib.Path(__file__).parent.parent / "interop"


def keygen() -> dict[str, Any]:
    return {"do": "keygen"}


def encrypt(recipients: list[str], data: bytes) -> dict[str, Any]:
    return {"do": "encrypt", "recipients": recipients, "data": base64.b64encode(data).decode()}


def decrypt(identities: list[str], data: bytes) -> dict[str, Any]:
    return {"do": "decrypt", "identities": identities, "data": base64.b64encode(data).decode()}


def ask(questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The package's answers, in order; skips the test where it is not installed, unless CI is set."""
    installed = shutil.which("node") and (FOLDER / "node_modules" / "age-encryption").is_dir()
    if not installed and "CI" not in os.environ:
        pytest.skip("node or its package age-encryption is not here (npm ci --prefix tests/interop)")
    command = ["node", str(FOLDER / "age.mjs")]
    done = subprocess.run(command, input=json.dumps(questions).encode(), capture_output=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]
