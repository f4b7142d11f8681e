import pytest
import shipments


def test_a_corpus_comes_back_as_it_was(tmp_path):
    source = shipments.corpus(tmp_path / "source")
    origin = shipments.Origin(tmp_path / "origin", source)
    result = origin.pack()
    assert (result.changed, result.skipped) == ([], [])
    restored = origin.unpack(tmp_path / "restored")
    assert restored.failed == []
    shipments.same(source, tmp_path / "restored")
