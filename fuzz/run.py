"""Runs fuzz targets under atheris: `python fuzz/run.py [--seconds N] [TARGET ...]`, all of them without a name.

Each target runs in a process of its own, for so many seconds, from its seeds and from what earlier runs kept in
fuzz/corpus/TARGET. To instrument the code and make the seeds takes 15 to 35 s a target besides: both are told. An
input that breaks a target is left in fuzz/findings/, and the exit code is 1. Limits: 1 GiB in all, and 5 s for one
input.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
MEMORY_MIB, SECONDS_AN_INPUT = 1024, 5


def _load() -> None:
    sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "tests", "support")]


def fuzz(name: str, seconds: int) -> None:
    """Run one target in this process; never returns."""
    import atheris

    _load()
    with atheris.instrument_imports(include=["sealift", "msgspec"]):
        import targets_packs  # noqa: F401 -- enters its targets, as the next two
        import targets_trade  # noqa: F401
        import worlds  # noqa: F401
        from targets import TARGETS
    target = TARGETS[name]
    corpus = os.path.join(HERE, "corpus", name)
    os.makedirs(corpus, exist_ok=True)
    for seed in target.seeds():
        path = os.path.join(corpus, hashlib.sha256(seed).hexdigest()[:16])
        with open(path, "wb") as file:
            file.write(seed)
    findings = os.path.join(HERE, "findings", name + "-")
    os.makedirs(os.path.dirname(findings), exist_ok=True)
    options = [
        f"-max_total_time={seconds}", f"-max_len={target.longest}", f"-rss_limit_mb={MEMORY_MIB}",
        f"-timeout={SECONDS_AN_INPUT}", f"-artifact_prefix={findings}", "-print_final_stats=1", "-verbosity=1",
    ]  # fmt: skip
    target.run(b"")  # packs what it is run over, where it needs a shipment: now, and not within an input's seconds
    atheris.Setup([sys.argv[0], *options, corpus], target.run)
    atheris.Fuzz()


def main() -> int:
    """Run the targets one after the other; 1 if any was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        fuzz(given.targets[0], given.seconds)
    _load()
    import targets_packs  # noqa: F401
    import targets_trade  # noqa: F401
    import worlds  # noqa: F401
    from targets import TARGETS

    if unknown := set(given.targets) - TARGETS.keys():
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    broken = []
    for name in given.targets or [name for name, target in TARGETS.items() if not target.known]:
        begun = time.monotonic()
        command = [sys.executable, os.path.abspath(__file__), "--one", "--seconds", str(given.seconds), name]
        # libFuzzer ends without a word to Python, so what a target keeps in temporary folders goes here
        with tempfile.TemporaryDirectory(prefix="sealift-fuzz-") as folder:
            space = os.environ | {"TMPDIR": folder}
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, env=space)
        text = done.stdout.decode(errors="replace")
        stats = dict(line.removeprefix("stat::").split(":") for line in text.splitlines() if line.startswith("stat::"))
        runs, peak = (stats.get(key, "?").strip() for key in ("number_of_executed_units", "peak_rss_mb"))
        fuzzed = re.search(r"^Done \d+ runs in (\d+) second", text, re.MULTILINE)
        spent = f"{fuzzed[1]} s" if fuzzed else "?"
        verdict = "ok" if done.returncode == 0 else "BROKEN"
        print(
            f"{name:16} {verdict:6} {spent:>6} and {time.monotonic() - begun:.0f} s with its start, {runs:>9} inputs,"
            f" {peak} MiB at most",
            flush=True,
        )
        if done.returncode:
            broken.append(name)
            told = [line for line in text.splitlines() if not line.startswith(("#", "INFO", "WARNING", "stat::"))]
            print("\n".join(told[-40:]), flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
