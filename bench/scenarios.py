"""The scenarios, each by its name: what is prepared, who takes part, what is reported.

pack-large  pack-small  pack-tiny  pack-mixed     on reused files in memory
pack-large-xfs  pack-small-xfs                    on real filesystems
verify  verify-cold                               cached; from the medium
rebuild  rebuild-xfs                              one lost drive of eight
profile                                           where the time of the slowest stage of packing goes
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import floor, machine, measure, profiling, sites, tools
from bench.tools import DATA, PARITY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.corpora import Corpus, Makers

_GEOMETRY = (DATA, PARITY)


@dataclass
class Bench:
    """What a run of benchmarks has at hand."""

    work: str
    memory: str  # a folder of a tmpfs
    makers: Makers
    kit: tools.Kit
    rounds: int
    floor_bytes: int
    pack_size: str
    say: Callable[[str], None]

    @contextlib.contextmanager
    def site(self, kind: str, corpus: Corpus, extra: int = 0) -> Iterator[sites.Reused | sites.Xfs]:
        """A site of one kind with a drive for each pack of a stripe and `extra` ones; it is gone afterwards."""
        count = DATA + PARITY + extra
        if kind == "reused":
            site: sites.Reused | sites.Xfs = sites.Reused(
                os.path.join(self.memory, "sealift-bench"), count, corpus.size
            )
        else:
            each = corpus.size // DATA + (2560 << 20) + corpus.files * 2048
            site = sites.Xfs(
                os.path.join(self.work, "xfs"), count, each, corpus.size * 17 // 10 + corpus.files * 4096 + (1 << 30)
            )
        try:
            yield site
        finally:
            site.close()


def _packing(bench: Bench, name: str, kind: str, *, copy: bool = True) -> dict[str, Any]:
    corpus = bench.makers.get(name)
    with bench.site(kind, corpus) as site:

        def before() -> None:
            machine.read_all(corpus.path)

        contenders = [
            bench.kit.pack(corpus, site, before, pack_size=bench.pack_size),
            bench.kit.pipeline(corpus, site, before),
        ]
        if copy:
            contenders.append(bench.kit.copy(corpus, site, before))
        if bench.kit.restic:
            contenders.append(bench.kit.backup(corpus, site, before))
            contenders[-1].rounds = min(bench.rounds, 2 if name == "large" else bench.rounds)
        runs = measure.interleave(contenders, bench.rounds, bench.say)
        packed = _packed(bench, site, contenders[0])
        costs = _costs(bench, corpus, site)
    least = floor.packing(costs, corpus.size, packed, _GEOMETRY)
    found = _result(f"{name} files, {kind}", corpus, runs)
    found["cache"] = "source in the page cache; " + (
        "drives on tmpfs, files of an earlier run written over (restic and cp: new files)"
        if kind == "reused"
        else "drives on XFS on loop devices with direct I/O, new files, synced within the time"
    )
    found["packed_bytes"] = packed
    found["floor"] = {
        "ns_per_byte": {part: round(cost * 1e9, 4) for part, cost in costs.items()},
        "seconds": round(least, 3),
    }
    found["efficiency"] = round(least / found["tools"][tools.SEALIFT]["median_s"], 3)
    found["efficiency_best"] = round(least / min(found["tools"][tools.SEALIFT]["seconds"]), 3)
    return found


def _packed(bench: Bench, site: sites.Reused | sites.Xfs, contender: measure.Contender) -> int:
    """Bytes of the data packs; packed once more where another contender's turn took them away."""
    if not _packs(site.mounts):
        measure.run(contender)
    del bench
    return sum(os.path.getsize(path) for path in _packs(site.mounts) if path.endswith(".age"))


def _packs(mounts: list[str]) -> list[str]:
    return sorted(
        os.path.join(top, name)
        for mount in mounts
        for top, _, names in os.walk(os.path.join(mount, "sealift", "packs"))
        for name in names
    )


def _costs(bench: Bench, corpus: Corpus, site: sites.Reused | sites.Xfs) -> dict[str, float]:
    sources = [os.path.join(top, name) for top, _, names in os.walk(corpus.path) for name in names]
    total = min(bench.floor_bytes, max(8 << 20, corpus.size // 4))
    if site.name == "reused":
        for entry in os.scandir(site.peer):
            shutil.rmtree(entry.path) if entry.is_dir() else os.unlink(entry.path)
    return floor.measure(sources, total, site.mounts[: DATA + PARITY], _GEOMETRY)


def _result(title: str, corpus: Corpus, runs: dict[str, list[measure.Run]]) -> dict[str, Any]:
    summary = {name: measure.summarize(each, corpus.size, corpus.files) for name, each in runs.items()}
    ours = next(iter(summary))
    ratios = {
        name: round(each["median_s"] / summary[ours]["median_s"], 2) for name, each in summary.items() if name != ours
    }
    return {
        "title": title,
        "corpus": {"name": corpus.name, "files": corpus.files, "bytes": corpus.size},
        "tools": summary,
        "faster_than": ratios,
    }


# -- verify


def _verifying(bench: Bench, kind: str) -> dict[str, Any]:
    corpus = bench.makers.get("large")
    with bench.site(kind, corpus) as site:
        measure.run(bench.kit.pack(corpus, site, lambda: None, pack_size=bench.pack_size))
        packs = _packs(site.mounts)
        size = sum(map(os.path.getsize, packs))

        def before() -> None:
            for mount in site.mounts:
                (machine.read_all if kind == "reused" else machine.forget)(os.path.join(mount, "sealift"))

        contenders = [
            bench.kit.verify(site.mounts, before),
            measure.Contender("b3sum", ["b3sum", *packs], before),
            measure.Contender("b3sum, one a drive, at once", _at_once(site.mounts), before),
        ]
        runs = measure.interleave(contenders, bench.rounds, bench.say)
        total = min(bench.floor_bytes, max(8 << 20, size // 4))
        costs = floor.measure(packs, total, site.mounts, _GEOMETRY, parts=(_reading(kind), "file"))
    corpus.size, corpus.files = size, len(packs)
    found = _result(f"verify, {kind}", corpus, runs)
    least = floor.verifying(costs, size)
    found["cache"] = (
        "packs in memory (tmpfs)" if kind == "reused" else "packs on XFS, nothing of them in the page cache"
    )
    found["floor"] = {
        "ns_per_byte": {part: round(cost * 1e9, 4) for part, cost in costs.items()},
        "seconds": round(least, 3),
    }
    found["efficiency"] = round(least / found["tools"]["sealift verify"]["median_s"], 3)
    return found


def _reading(kind: str) -> str:
    """The part of the floor that reads drives."""
    return "read" if kind == "reused" else "medium"


def _at_once(mounts: list[str]) -> list[str]:
    """b3sum as one would run it over many drives: they are all read at the same time, as verify reads them."""
    folders = " ".join(shlex.quote(os.path.join(mount, "sealift", "packs")) for mount in mounts)
    return ["bash", "-c", f"for packs in {folders}; do b3sum $packs/*/* & done; wait"]


# -- rebuild


def _rebuilding(bench: Bench, kind: str) -> dict[str, Any]:
    if not tools.has_repair():
        return {"skipped": "this sealift has no repair"}
    corpus = bench.makers.get("rebuild")
    par2 = machine.par2()
    with bench.site(kind, corpus, extra=1) as site:
        group, onto = site.mounts[: DATA + PARITY], site.mounts[-1]
        folder, clear = site.folder("par2")
        clear()
        pack_size = "64MiB" if corpus.size < DATA * (1 << 30) else bench.pack_size
        measure.run(
            bench.kit.pack(corpus, site, lambda: None, pack_size=bench.pack_size if bench.makers.smoke else pack_size)
        )
        lost = sum(os.path.getsize(path) for path in _packs(group[:1]))
        contenders = [bench.kit.repair(group[1:], onto, site)]
        if par2 is not None:
            contenders.append(_par2(bench, folder, site.sync(folder + "/x"), par2, _packs(group)))
        runs = measure.interleave(contenders, bench.rounds, bench.say)
        packs = _packs(group[1:])
        total = min(bench.floor_bytes, max(8 << 20, lost))
        costs = floor.measure(packs, total, [onto], _GEOMETRY, parts=(_reading(kind), "file", "parity", "write"))
    corpus.size, corpus.files = lost, len(_by_stripe(packs))
    found = _result(f"rebuilding one lost drive of {DATA}+{PARITY}, {kind}", corpus, runs)
    least = floor.rebuilding(costs, lost, DATA)
    found["cache"] = "survivors in memory (tmpfs)" if kind == "reused" else "survivors on XFS, read past the cache"
    found["floor"] = {
        "ns_per_byte": {part: round(cost * 1e9, 4) for part, cost in costs.items()},
        "seconds": round(least, 3),
    }
    found["efficiency"] = round(least / found["tools"]["sealift repair --onto"]["median_s"], 3)
    return found


def _by_stripe(packs: list[str]) -> set[str]:
    return {os.path.basename(path).split(".")[0] for path in packs}


def _par2(bench: Bench, path: str, sync: str, par2: str, packs: list[str]) -> measure.Contender:
    """par2 over k files as long as a drive is full, with m files' worth of recovery data; one file is lost."""
    data = [each for each in packs if each.endswith(".age")]
    for number in range(DATA):
        with open(os.path.join(path, f"drive{number}"), "wb") as target:
            for pack in data[number::DATA]:
                with open(pack, "rb") as source:
                    shutil.copyfileobj(source, target, 4 << 20)
    percent = -(-100 * PARITY // DATA)
    bench.say("  par2 create (not timed)")
    create = [par2, "create", "-q", "-q", f"-r{percent}", "-n1", "set.par2", *[f"drive{n}" for n in range(DATA)]]
    subprocess.run(create, cwd=path, check=True, capture_output=True)

    def prepare() -> None:
        for name in os.listdir(path):
            if name == "drive0" or name.endswith(".1"):
                os.unlink(os.path.join(path, name))

    script = f"cd {path} && {par2} repair -q -q set.par2 && {sync}"
    return measure.Contender("par2cmdline-turbo repair", ["bash", "-c", script], prepare)


# -- profile


def _profile(bench: Bench) -> dict[str, Any]:
    """py-spy of packing on reused files, after a warm-up, for the large and the small corpus."""
    found: dict[str, Any] = {"title": "profile of packing", "tables": {}}
    for name in ("large", "small", "tiny"):
        corpus = bench.makers.get(name)
        with bench.site("reused", corpus) as site:
            contender = bench.kit.pack(
                corpus, site, functools.partial(machine.read_all, corpus.path), pack_size=bench.pack_size
            )
            measure.run(contender)
            contender.prepare()
            os.environ.update(contender.env)
            found["tables"][name] = profiling.profile(contender.command, bench.kit.path("profile.txt"))
    return found


SCENARIOS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "pack-large": lambda bench: _packing(bench, "large", "reused"),
    "pack-small": lambda bench: _packing(bench, "small", "reused"),
    "pack-tiny": lambda bench: _packing(bench, "tiny", "reused"),
    "pack-mixed": lambda bench: _packing(bench, "mixed", "reused"),
    "pack-large-xfs": lambda bench: _packing(bench, "large", "xfs"),
    "pack-small-xfs": lambda bench: _packing(bench, "small", "xfs"),
    "verify": lambda bench: _verifying(bench, "reused"),
    "verify-cold": lambda bench: _verifying(bench, "xfs"),
    "rebuild": lambda bench: _rebuilding(bench, "reused"),
    "rebuild-xfs": lambda bench: _rebuilding(bench, "xfs"),
    "profile": _profile,
}
