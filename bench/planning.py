"""How long planning takes, and in what memory: `python -m bench.planning --work FOLDER`.

- `sealift plan` as people type it, at the reference scale (4.8 PB, 1.2 billion files on paper, drives of 80 TB): whole
  commands, from start to exit, measuring this machine included.
- A look at a tree of so many files (a million), warm, beside `du -s` and `find -printf %s` of the same tree: files a
  second, and the peak memory at a tenth of the files and at all of them.

Prints tables, and writes PLANNING.md beside this file. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime

HERE = os.path.dirname(os.path.abspath(__file__))
PLAN = ["plan", "--bytes", "4.8PB", "--files", "1.2e9", "--bays", "24"]
LOOK = """
import os, resource, sys, time
from sealift.stages.pack.workers import Workers, count
from sealift.stages.plan import corpus
begun = time.perf_counter()
with Workers(count(os.cpu_count() or 1)) as workers:
    found = corpus.look(sys.argv[1], workers.walk(os.fsencode(sys.argv[1]), None, None))
seconds = time.perf_counter() - begun
peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(found.files, seconds, peak)
"""


def timed(command: list[str]) -> tuple[float, float, str]:
    """Seconds, peak MiB of the process itself, and what it printed."""
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in {0, 3, 6}:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return time.perf_counter() - begun, used.ru_maxrss / 1024, printed


def plans(rounds: int) -> list[str]:
    """Rows of whole commands."""
    rows = []
    for drives, carriers, loss in itertools.product(
        (60, 84, 100), (4, 12), ("any carrier", "any carrier and 1 drive, 99.99%")
    ):
        given = ["--drives", f"{drives}x80TB:ssd", "--carriers", f"{carriers}xcourier", "--survive", loss]
        found = [timed([sys.executable, "-m", "sealift", *PLAN, *given]) for _ in range(rounds)]
        seconds, peak = statistics.median(each[0] for each in found), max(each[1] for each in found)
        rows.append(f"| {drives} | {carriers} | {loss} | {seconds:.1f} | {peak:.0f} |")
        print(rows[-1], flush=True)
    return rows


def tree(top: str, folders: int) -> None:
    """A thousand small files in each folder."""
    for number in range(folders):
        path = os.path.join(top, f"{number // 100:03d}", f"{number:05d}")
        os.makedirs(path)
        place = os.open(path, os.O_RDONLY)
        for file in range(1000):
            handle = os.open(f"{file:06d}.txt", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=place)
            os.write(handle, b"text " * (file % 40 + 1))
            os.close(handle)
        os.close(place)


def looks(work: str, folders: int, rounds: int) -> list[str]:
    """Rows of the look, and of what others take for as much."""
    rows = []
    for count in (folders // 10, folders):
        top = os.path.join(work, "planning-tree")
        shutil.rmtree(top, ignore_errors=True)
        tree(top, count)
        try:
            for name, command in (
                ("sealift plan's look", [sys.executable, "-c", LOOK, top]),
                ("du -s", ["du", "-s", top]),
                ("find -printf %s", ["find", top, "-type", "f", "-printf", "%s\\n"]),
            ):
                found = [timed(command) for _ in range(rounds + 1)][1:]  # the first one warms
                seconds, peak = statistics.median(each[0] for each in found), max(each[1] for each in found)
                if command[0] == sys.executable:  # with its processes that walk
                    peak = max(float(each[2].split()[2]) / 1024 for each in found)
                rows.append(
                    f"| {count * 1000:,} | {name} | {seconds:.2f} | {count * 1000 / seconds:,.0f} | {peak:.0f} |"
                )
                print(rows[-1], flush=True)
        finally:
            shutil.rmtree(top)
    return rows


def main() -> None:
    """Run both, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, help="a folder for the tree; in memory, for a warm walk")
    parser.add_argument("--folders", type=int, default=1000, help="of a thousand files each")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    text = [
        "# Planning",
        "",
        f"Written by `python -m bench.planning`, {datetime.now(UTC):%Y-%m-%d}; {os.cpu_count()} cores; medians.",
        "",
        "## sealift plan: 4.8 PB in 1.2 billion files, drives of 80 TB, 24 bays; the whole command",
        "",
        "| drives | carriers | to survive | s | peak, MiB |",
        "|---|---|---|---|---|",
        *plans(given.rounds),
        "",
        "60 drives do not hold 4.8 PB with any parity: the answer there is what is missing.",
        "",
        "## A look at a tree, warm",
        "",
        "| files | | s | files a second | peak, MiB |",
        "|---|---|---|---|---|",
        *looks(given.work, given.folders, given.rounds),
        "",
    ]
    with open(os.path.join(HERE, "PLANNING.md"), "w", encoding="utf-8") as file:
        file.write("\n".join(text))


if __name__ == "__main__":
    main()
