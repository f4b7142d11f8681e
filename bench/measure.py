"""Running commands in turn and saying how long they took, and how much memory they held.

What holds: contenders take turns round by round, each round begins with another one, so that a machine that slows
down slows all of them. Round 0 is a warm-up: it is not counted, and peak memory is sampled in it alone, because
reading smaps costs the measured processes time. Memory is the sum of Pss over the process tree.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PERIOD = 0.1


@dataclass
class Contender:
    """One tool in one scenario. `prepare` brings files and caches into the stated state, and is not timed."""

    name: str
    command: Sequence[str]
    prepare: Callable[[], None] = lambda: None
    after: Callable[[], None] = lambda: None
    codes: frozenset[int] = frozenset({0})
    env: dict[str, str] = field(default_factory=dict)
    rounds: int | None = None  # fewer than the others, for one that is very slow


@dataclass
class Run:
    """One run: wall and CPU seconds, and peak memory in bytes where it was sampled."""

    seconds: float
    cpu: float
    memory: int = 0


class Failed(Exception):
    """A contender ended with a code that says it did not do the work."""


def run(contender: Contender, *, sample: bool = False) -> Run:
    """Run it once, in its own process group; its output goes to a file that is shown when it fails."""
    contender.prepare()
    with tempfile.TemporaryFile() as out:
        begun = time.monotonic()
        process = subprocess.Popen(
            contender.command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **contender.env},
            start_new_session=True,
        )
        peak, stop = [0], threading.Event()
        sampler = threading.Thread(target=_sample, args=(process.pid, peak, stop))
        if sample:
            sampler.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - begun
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            stop.set()
            if sample:
                sampler.join()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in contender.codes:
            out.seek(max(0, out.tell() - 4000))
            said = out.read().decode(errors="replace")
            raise Failed(
                f"{contender.name}: {' '.join(contender.command)[:300]} ended with {process.returncode}:\n{said}"
            )
    contender.after()
    return Run(seconds, usage.ru_utime + usage.ru_stime, peak[0])


def _sample(root: int, peak: list[int], stop: threading.Event) -> None:
    while not stop.is_set():
        peak[0] = max(peak[0], sum(map(_pss, tree(root))))
        stop.wait(_PERIOD)


def tree(root: int) -> list[int]:
    """The process and all its descendants, from /proc."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            children.setdefault(parent, []).append(int(name))
    found, at = [root], 0
    while at < len(found):
        found += children.get(found[at], [])
        at += 1
    return found


def _pss(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def interleave(contenders: Sequence[Contender], rounds: int, say: Callable[[str], None]) -> dict[str, list[Run]]:
    """Run all of them `rounds` times in turn, after a warm-up round that gives the memory (index 0 of each list)."""
    runs: dict[str, list[Run]] = {each.name: [] for each in contenders}
    for number in range(rounds + 1):
        first = number % len(contenders)
        for each in [*contenders[first:], *contenders[:first]]:
            if each.rounds is not None and number > each.rounds:
                continue
            done = run(each, sample=number == 0)
            runs[each.name].append(done)
            say(f"  round {number} {each.name}: {done.seconds:.2f} s, cpu {done.cpu:.2f} s")
    return runs


def summarize(runs: Sequence[Run], size: int, count: int = 0) -> dict[str, Any]:
    """Median and spread of the counted runs; rates in bytes and files a second; memory of the warm-up.

    Where there was a warm-up only (a smoke test), it is counted.
    """
    counted = list(runs[1:]) or list(runs)
    seconds = sorted(each.seconds for each in counted)
    median = statistics.median(seconds)
    return {
        "rounds": len(counted),
        "seconds": [round(each.seconds, 3) for each in counted],
        "median_s": round(median, 3),
        "spread": round((seconds[-1] - seconds[0]) / median, 3),
        "cpu_s": round(statistics.median(each.cpu for each in counted), 3),
        "bytes_per_s": round(size / median),
        "files_per_s": round(count / median) if count else None,
        "peak_memory": runs[0].memory,
    }
