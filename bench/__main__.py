"""`python -m bench`: run all scenarios, or those named, and write results.json and RESULTS.md.

After every scenario the files are written anew, with the scenarios of earlier runs that were not run again; so an
interrupted run goes on with --only, or with --missing.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import shutil
import tempfile
import time
from typing import Any

from bench import machine, report, scenarios, sites, tools
from bench.corpora import Makers

_HERE = os.path.dirname(os.path.abspath(__file__))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="sealift beside its peers, on the same bytes.")
    parser.add_argument("--work", help="folder for corpora and loop devices, kept; needs 45 GB for all scenarios")
    parser.add_argument("--memory", default="/dev/shm", help="a tmpfs for drives in memory")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", choices=[*scenarios.SCENARIOS])
    parser.add_argument("--missing", action="store_true", help="leave out scenarios that --out has already")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large-bytes", type=float, default=6.4e9, help="of the corpus of large files")
    parser.add_argument(
        "--rebuild-bytes", type=float, default=4.8e9, help="of the corpus that rebuilding is measured with"
    )
    parser.add_argument("--files", type=int, default=75_000, help="of the corpora of small files")
    parser.add_argument("--out", default=_HERE, help="folder of results.json and RESULTS.md")
    parser.add_argument("--local", action="store_true", help="corpora of what is here: no package is fetched")
    parser.add_argument("--smoke", action="store_true", help="everything once on tiny corpora; writes nothing to --out")
    return parser.parse_args()


def main() -> None:
    """Run."""
    given = _arguments()
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - begun:6.1f} s] {text}", flush=True)

    smoke = given.smoke
    work = tempfile.mkdtemp(prefix="sealift-bench-") if smoke else given.work or os.path.join(_HERE, "work")
    out = os.path.join(work, "out") if smoke else given.out
    os.makedirs(out, exist_ok=True)
    small, large, rebuild = (
        (300, 4 << 20, 4 << 20) if smoke else (given.files, int(given.large_bytes), int(given.rebuild_bytes))
    )
    bench = scenarios.Bench(
        work=work,
        memory=given.memory if os.path.isdir(given.memory) else work,
        makers=Makers(work, large, small, rebuild, smoke, say, given.local),
        kit=tools.Kit.make(os.path.join(work, "kit")),
        rounds=0 if smoke else given.rounds,
        floor_bytes=(8 << 20) if smoke else (1 << 30),
        pack_size="1MiB" if smoke else "1GiB",
        say=say,
    )
    try:
        _run(bench, given, out)
    finally:
        if smoke:
            shutil.rmtree(work, ignore_errors=True)


def _run(bench: scenarios.Bench, given: argparse.Namespace, out: str) -> None:
    path = os.path.join(out, "results.json")
    kept: dict[str, Any] = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            kept = json.load(file)["scenarios"]
    host = machine.describe(machine.par2())
    no_xfs = sites.xfs_possible()
    for name, scenario in scenarios.SCENARIOS.items():
        if (given.only and name not in given.only) or (given.missing and name in kept):
            continue
        bench.say(name)
        if no_xfs and (name.endswith("-xfs") or name == "verify-cold"):
            found: dict[str, Any] = {"skipped": no_xfs}
        else:
            found = scenario(bench)
        found["when"] = dt.datetime.now(dt.UTC).date().isoformat()
        found["sealift"] = host["versions"]["sealift"]
        found["machine"] = host  # a page may be of several runs, and the one at its top is that of the last
        kept[name] = found
        results = {"machine": host, "scenarios": {each: kept[each] for each in scenarios.SCENARIOS if each in kept}}
        _replace(path, json.dumps(results, indent=1) + "\n")
        _replace(os.path.join(out, "RESULTS.md"), report.page(results))
        if "efficiency" in found:
            bench.say(f"  {found['faster_than']}, efficiency {found['efficiency']}")
    bench.say(f"{sum('tools' in each for each in kept.values())} scenarios measured")


def _replace(path: str, text: str) -> None:
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".part", path)


if __name__ == "__main__":
    main()
