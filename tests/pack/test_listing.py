"""The listing on its way between hosts: it comes whole or not at all, and nothing else comes with it."""

import os

import pytest

from sealift.errors import Refused, SealiftError
from sealift.stages.pack import listing
from sealift.stages.pack.listing import Reader, Shelf

FILES = {"g0000000.parquet": os.urandom(70), "g0000001.parquet": os.urandom(40), "summary.json": b"{}"}


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(listing, "_PIECE", 20)


def folder_of(path, files=FILES):
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)
    return str(path)


def read(path):
    return {each.name: each.read_bytes() for each in path.iterdir()} if path.exists() else {}


def reader(shelf, host="a"):
    return Reader(lambda *question: shelf.answer(host, *question))


def test_the_first_gives_it_and_others_have_it(tmp_path):
    shelf = Shelf(str(tmp_path))
    assert not reader(shelf).fetch(str(tmp_path / "b"))
    reader(shelf).give(folder_of(tmp_path / "a", FILES | {"spill.tmp": b"not of the listing"}))
    assert read(tmp_path / "scan") == FILES
    (tmp_path / "b").mkdir()
    (tmp_path / "b/half").write_bytes(b"of a scan that was interrupted")
    assert reader(Shelf(str(tmp_path)), "b").fetch(str(tmp_path / "b"))
    assert read(tmp_path / "b") == FILES
    reader(Shelf(str(tmp_path)), "c").give(folder_of(tmp_path / "c", {"summary.json": b"another"}))
    assert read(tmp_path / "scan") == FILES


@pytest.mark.parametrize("asked", range(1, 10))
def test_who_is_lost_on_the_way_leaves_nothing_whole(tmp_path, asked):
    shelf, given, count = Shelf(str(tmp_path)), folder_of(tmp_path / "a"), 0

    def ask(*question):
        nonlocal count
        count += 1
        if count > asked:
            raise Refused("the host is lost")
        return shelf.answer("a", *question)

    if asked < 9:
        with pytest.raises(Refused):
            Reader(ask).give(given)
        assert not (tmp_path / "scan").exists()
        assert not reader(shelf, "b").fetch(str(tmp_path / "b"))
        reader(shelf, "b").give(given)  # in this run it is a's to give
        assert not (tmp_path / "scan").exists()
        reader(Shelf(str(tmp_path)), "b").give(given)
    else:
        Reader(ask).give(given)
    assert read(tmp_path / "scan") == FILES


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path):
    shelf = Shelf(str(tmp_path / "gone"))
    reader(shelf).give(folder_of(tmp_path / "a"))
    assert not (tmp_path / "gone").exists()


def test_a_listing_that_cannot_be_read_any_more_is_told(tmp_path):
    shelf = Shelf(str(tmp_path))
    reader(shelf).give(folder_of(tmp_path / "a"))
    (tmp_path / "scan/g0000000.parquet").unlink()
    with pytest.raises(SealiftError, match="cannot be read"):
        shelf.answer("b", "piece", "g0000000.parquet", 0)


@pytest.mark.parametrize("name", ["../journal.sqlite", "/etc/passwd", "g1.parquet", "summary.json\n", ""])
def test_no_other_file_is_read_or_written(tmp_path, name):
    shelf = Shelf(str(tmp_path))
    assert shelf.answer("a", "gift")
    assert not shelf.answer("a", "take", name, 0, b"data")
    assert not shelf.answer("a", "take", "summary.json", 7, b"not from its beginning")
    assert not shelf.answer("b", "take", "summary.json", 0, b"whose gift it is not")
    assert not shelf.answer("b", "taken")
    with pytest.raises(Refused):
        shelf.answer("a", "piece", name, 0)
    assert [each.name for each in tmp_path.iterdir()] == ["scan.coming"]
