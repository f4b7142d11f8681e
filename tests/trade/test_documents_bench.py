"""The measurement of papers runs, on a small shipment, and says what it measured."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_it_measures_from_the_plan_to_the_papers(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT))
    from bench import documents

    monkeypatch.setattr(sys, "argv", ["documents", "--drives", "6", "--carriers", "2"])
    monkeypatch.setattr(documents, "GOAL", 0.0)
    with pytest.raises(SystemExit) as ended:
        documents.main()
    assert ended.value.code is True, "the goal was missed"
    printed = capsys.readouterr().out
    assert "2 carriers" in printed
    assert "8 files" in printed
