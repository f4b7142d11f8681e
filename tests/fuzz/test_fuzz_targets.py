"""Every fuzz target over its seeds, and over seeds that were cut and altered, without atheris: they cannot rot."""

from __future__ import annotations

import pathlib
import random
import re
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "fuzz"))

import targets_packs  # noqa: E402, F401 -- enters its targets, as the next two
import targets_trade  # noqa: E402, F401
import worlds  # noqa: E402, F401
from targets import TARGETS  # noqa: E402


def altered(seed, count):
    """Some ways in which a seed may be wrong; the same at each run."""
    chance = random.Random(len(seed))
    yield seed
    for _ in range(count):
        data = bytearray(seed)
        for _ in range(chance.randint(1, 3)):
            at = chance.randint(0, len(data))
            data[at : at + chance.randint(0, 4)] = chance.randbytes(chance.randint(0, 4))
        yield bytes(data[: chance.randint(0, len(data))] if chance.random() < 0.3 else data)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_takes_its_seeds_and_refuses_what_is_wrong(name):
    target = TARGETS[name]
    seeds = target.seeds()
    assert seeds
    assert all(len(seed) <= target.longest for seed in seeds)
    begun = time.monotonic()
    target.run(b"")
    for seed in seeds:
        for data in altered(seed, 0 if target.known else 3):
            target.run(data)
        if time.monotonic() - begun > 1:
            break


def test_the_list_of_the_readme_is_that_of_the_targets():
    named = re.findall(r"^\| `([a-z_]+)` \|", (ROOT / "fuzz" / "README.md").read_text(), re.MULTILINE)
    assert named == list(TARGETS)


@pytest.mark.parametrize("path", sorted((ROOT / "fuzz" / "found").glob("*")), ids=lambda path: path.name)
def test_what_was_found_stays_mended(path):
    begun = time.monotonic()
    TARGETS[path.name.partition("-")[0]].run(path.read_bytes())
    assert time.monotonic() - begun < 5
