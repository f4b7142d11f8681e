"""Where the time of a packing goes: py-spy over all its processes, folded into a table of functions.

Own time is where a sample's innermost Python frame was; a library's time is its caller's. Waiting is left out.
"""

from __future__ import annotations

import collections
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_TOP = 18


def spy() -> str | None:
    """py-spy, from this environment or the path."""
    beside = os.path.join(os.path.dirname(sys.executable), "py-spy")
    return beside if os.path.exists(beside) else shutil.which("py-spy")


def profile(command: Sequence[str], target: str) -> str | None:
    """A table as text, or None where there is no py-spy, or it may not trace here."""
    tool = spy()
    if tool is None:
        return None
    options = ["record", "--subprocesses", "--rate", "200", "--format", "raw", "--output", target, "--nonblocking"]
    done = subprocess.run([tool, *options, "--", *command], check=False, capture_output=True, text=True)
    if done.returncode or not os.path.exists(target):
        return None
    with open(target, encoding="utf-8", errors="replace") as file:
        return table(file.read())


def table(folded: str) -> str:
    """Samples by process role and innermost frame, as text."""
    roles: collections.Counter[str] = collections.Counter()
    own: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for line in folded.splitlines():
        stack, _, number = line.rpartition(" ")
        if not number.isdigit():
            continue
        count = int(number)
        frames = [frame for frame in stack.split(";") if not frame.startswith("process ")]
        role = "builders" if any("pack/builder.py" in frame for frame in frames) else "coordinator"
        roles[role] += count
        own[role][frames[-1] if frames else "?"] += count
    total = sum(roles.values()) or 1
    lines = []
    for role, samples in roles.most_common():
        lines.append(f"{role}: {100 * samples / total:.0f}% of {total} samples")
        lines += [f"  {100 * count / samples:5.1f}%  {frame}" for frame, count in own[role].most_common(_TOP)]
    return "\n".join(lines) + "\n"
