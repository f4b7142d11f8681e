"""bench/screening.py: what is found of perturbed names is no less than the default row finds, by either way alone."""

import random
import sys
from pathlib import Path

import pytest
import screening_lists as made_lists

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench import screening as bench
from bench.names import made


@pytest.fixture(scope="module")
def measured():
    entries = [bench._entry(name) for name in made(random.Random(3), 2000)]
    return bench.rows(entries, sample=250, benign=10, seed=3)


def test_recall_is_that_of_the_default_row_at_least(measured):
    *ways, ours = measured
    assert [row.what for row in (*ways, ours)] == [*bench.WAYS, "sealift screen"]
    assert bench.below(ours, 250) == []
    default = [row for row in ways if row.what in {"max(raw, sorted) >= .85", "by words >= .80"}]
    assert len(default) == 2
    for column, got in enumerate(ours.recall):
        assert got >= max(row.recall[column] for row in default)
    assert {"shuffled", "shuffled, typo"} <= set(bench.below(ways[0], 250)), (
        "whole names alone fall short, and it is seen"
    )


def test_any_list_file_is_taken(tmp_path, monkeypatch, capsys):
    (tmp_path / "csl.csv").write_bytes(made_lists.csl_csv())
    monkeypatch.setattr(sys, "argv", ["bench.screening", str(tmp_path / "csl.csv"), "--benign", "3", "--parties", "2"])
    bench.main()
    assert capsys.readouterr().out.startswith("11 names, 2 parties")
