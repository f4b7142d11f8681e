"""How well and how fast names are found in a list: `python -m bench.screening [LIST]...`, or made-up names without one.

Names of the list are drawn (seeded) and perturbed as a person mistypes them: one typo, two, words shuffled, shuffled
with one typo, the last word dropped. Recall is the share that is still a hit for its own entry. Hits on a benign name
are those of made-up names that are not in the list, over the whole list. Rows: Jaro-Winkler of the whole name, as it
stands or with sorted words too; by words alone; and what `sealift screen` does with both, names as they are typed.
The row of reference is the one that docs/spec/screening.md has, measured on a real list of 16,595 names. Exit 1 when
recall is below it in any column by more than chance explains: two standard errors of a share of this sample.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.names import made
from sealift.stages.screen import load_lists
from sealift.trade import matching, names
from sealift.trade.lists import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

REFERENCE = (100.0, 99.8, 100.0, 96.0, 98.8)  # percent, of max(raw, sorted) >= 0.85; 6.2 hits on a benign name
BY_WORDS = (96.2, 91.2, 99.8, 96.5, 97.8)  # of per-word >= 0.80; 2.4 hits. The default takes either
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Row(NamedTuple):
    """Percent a perturbation, and hits on a benign name."""

    what: str
    recall: tuple[float, ...]
    hits: float | None


def typo(chance: random.Random, name: str) -> str:
    """One letter or digit left out, put in, exchanged, or swapped with the next character."""
    places = [at for at, character in enumerate(name) if character.isalnum()]
    if not places:
        return name
    at, letter = chance.choice(places), chance.choice(LETTERS)
    ways = (
        name[:at] + name[at + 1 :],
        name[:at] + letter + name[at:],
        name[:at] + letter + name[at + 1 :],
        name[:at] + name[at + 1 : at + 2] + name[at] + name[at + 2 :],
    )
    return chance.choice(ways)


def shuffled(chance: random.Random, name: str) -> str:
    """The words in another order, as far as there is one."""
    words = name.split()
    chance.shuffle(words)
    return " ".join(words)


PERTURBED: dict[str, Callable[[random.Random, str], str]] = {
    "one typo": typo,
    "two typos": lambda chance, name: typo(chance, typo(chance, name)),
    "shuffled": shuffled,
    "shuffled, typo": lambda chance, name: typo(chance, shuffled(chance, name)),
    "last word dropped": lambda _, name: " ".join(name.split()[:-1]) or name,
}


class Parts(NamedTuple):
    """How near a name is to each of an index's forms, by each way alone."""

    raw: np.ndarray
    ordered: np.ndarray
    words: np.ndarray


def parts(index: matching.Index, form: str) -> Parts:
    """Similarities by each way alone."""
    raw, ordered = index.whole(form)
    return Parts(raw, np.maximum(raw, ordered), index.by_words(form))


WAYS: dict[str, tuple[Callable[[Parts], np.ndarray], float]] = {
    "whole name >= .85": (lambda found: found.raw, 0.85),
    "max(raw, sorted) >= .85": (lambda found: found.ordered, 0.85),
    "max(raw, sorted) >= .90": (lambda found: found.ordered, 0.90),
    "by words >= .80": (lambda found: found.words, 0.80),
}


def rows(entries: Sequence[Entry], sample: int, benign: int, seed: int) -> list[Row]:
    """What is measured, a row a way, the last one that of sealift."""
    chance = random.Random(seed)
    drawn = [entry.names[0] for entry in chance.sample(list(entries), min(sample, len(entries))) if entry.names]
    drawn = [name for name in drawn if names.forms(name).latin]
    recall: dict[str, list[float]] = {way: [] for way in (*WAYS, "sealift screen")}
    for perturb in PERTURBED.values():
        found = dict.fromkeys(recall, 0)
        for name in drawn:
            alone = matching.Index([_entry(name)])
            typed = perturb(chance, name)
            if forms := names.forms(typed).latin:
                near = parts(alone, forms[0])
                for way, (pick, limit) in WAYS.items():
                    found[way] += bool(pick(near).max() >= limit)
            found["sealift screen"] += bool(alone.search([typed]))
        for way, count in found.items():
            recall[way].append(100 * count / len(drawn))
    hits = _benign(entries, benign, seed)
    return [Row(way, tuple(percent), hits[way]) for way, percent in recall.items()]


def _benign(entries: Sequence[Entry], count: int, seed: int) -> dict[str, float]:
    listed = {name.casefold() for entry in entries for name in entry.names}
    asked = [name for name in made(random.Random(seed + 1), count) if name.casefold() not in listed]
    index = matching.Index(entries)
    hits = dict.fromkeys((*WAYS, "sealift screen"), 0)
    for name in asked:
        near = parts(index, names.forms(name).latin[0])
        for way, (pick, limit) in WAYS.items():
            hits[way] += int((pick(near) >= limit).sum())
        hits["sealift screen"] += len(index.search([name]))
    return {way: total / len(asked) for way, total in hits.items()}


def seconds(entries: Sequence[Entry], parties: int, seed: int) -> tuple[float, float]:
    """To prepare the list, and to search it for so many parties."""
    asked = made(random.Random(seed + 2), parties)
    names.forms.cache_clear()
    begun = time.perf_counter()
    index = matching.Index(entries)
    prepared = time.perf_counter()
    for name in asked:
        index.search([name])
    return prepared - begun, time.perf_counter() - prepared


def below(row: Row, sample: int) -> list[str]:
    """The perturbations in which fewer are found than by the reference, by more than the sample's chance explains."""
    missed = []
    for what, got, want in zip(PERTURBED, row.recall, map(max, REFERENCE, BY_WORDS), strict=True):
        error = 100 * (max(want * (100 - want), 10) / sample) ** 0.5 / 100
        missed += [what] if got < want - 2 * error else []
    return missed


def show(measured: Sequence[Row]) -> None:
    """The table, the rows of reference first."""
    print(f"| recall in percent | {' | '.join(PERTURBED)} | hits on a benign name |")
    print("|---|" + "---|" * (len(PERTURBED) + 1))
    reference = [
        Row("reference: max(raw, sorted) >= .85", REFERENCE, 6.2),
        Row("reference: per-word >= .80", BY_WORDS, 2.4),
    ]
    for row in (*reference, *measured):
        print(f"| {row.what} | {' | '.join(f'{each:.1f}' for each in row.recall)} | {row.hits:.1f} |")


def _entry(name: str) -> Entry:
    return Entry(entry_id=name, source="", kind="", names=(name,))


def main() -> int:
    """Measure, print, and say whether recall is that of the reference at least."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("lists", nargs="*", metavar="LIST", help="list files; without any, made-up names")
    parser.add_argument("--made", type=int, default=50_000, help="how many names to make up")
    parser.add_argument("--sample", type=int, default=1000, help="how many names to perturb")
    parser.add_argument("--benign", type=int, default=50, help="how many benign names to search for")
    parser.add_argument("--parties", type=int, default=30, help="how many parties to time")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    if given.lists:
        entries = [entry for each in load_lists(given.lists) for entry in each.entries]
    else:
        entries = [_entry(name) for name in made(random.Random(given.seed), given.made)]
    prepared, searched = seconds(entries, given.parties, given.seed)
    count = sum(len(entry.names) for entry in entries)
    print(f"{count:,} names, {given.parties} parties: prepared in {prepared:.2f} s, searched in {searched:.2f} s\n")
    measured = rows(entries, given.sample, given.benign, given.seed)
    show(measured)
    if missed := below(measured[-1], given.sample):
        print(f"\nrecall is below that of reference: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
