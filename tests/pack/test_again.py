"""What came, went or was rewritten since the source was listed is told when a packing goes on: exit 2."""

import os
import random

import pyarrow as pa
import pytest
import shipments

from sealift.cli import common, pack_words
from sealift.formats import seal as seals
from sealift.formats.index import DIRECTORY, FILE, SYMLINK
from sealift.stages.pack import again, work
from sealift.stages.sorting import Sorter


class StopError(Exception):
    pass


@pytest.fixture
def origin(tmp_path):
    source = tmp_path / "source"
    for number in range(12):
        shipments.write(source / f"f{number:02d}", os.urandom(5000))
    shipments.write(source / "dir" / "inside", b"inside")
    (source / "dir" / "z-f01").hardlink_to(source / "f01")
    (source / "link").symlink_to("f02")
    return shipments.Origin(tmp_path / "origin", source, 2, 1)


def stopped(origin, monkeypatch, **options):
    """A packing of which all is committed and nothing signed."""

    def stop(*_args, **_kwargs):
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(work, "close_group", stop)
        with pytest.raises(StopError):
            origin.pack(**options)


def change(source):
    shipments.write(source / "new", b"new")
    shipments.write(source / "newdir" / "n", b"n")
    (source / "f03").rename(source / "f03-renamed")
    (source / "f04").unlink()
    (source / "f05").write_bytes(b"another")
    os.utime(source / "f06", ns=(5, 5))
    (source / "link").unlink()
    (source / "link").write_bytes(b"a file now")
    (source / "another-name").hardlink_to(source / "f07")
    (source / "f08").chmod(0o600)


TOLD = {
    b"another-name": again.CAME,
    b"f03": again.GONE,
    b"f03-renamed": again.CAME,
    b"f04": again.GONE,
    b"f05": again.REWRITTEN,
    b"f06": again.REWRITTEN,
    b"link": again.REWRITTEN,
    b"new": again.CAME,
    b"newdir": again.CAME,
    b"newdir/n": again.CAME,
}


@pytest.mark.parametrize("order", ["path", "shuffled"])
def test_what_is_otherwise_than_listed_is_told_until_the_end(origin, monkeypatch, capsys, order):
    stopped(origin, monkeypatch, order=order)
    change(origin.source)
    for _ in range(2):  # goes on; and once more, when all is signed
        said: list[str] = []
        result = origin.pack(said, order=order)
        assert dict(result.since.paths) == TOLD
        assert (result.since.came, result.since.gone, result.since.rewritten) == (5, 2, 3)
        assert result.since.paths == sorted(result.since.paths)
        assert (result.changed, result.skipped, result.exit_code) == ([], [], 2)
        assert any("5 came, 2 went, 3 were rewritten: named at the end" in text for text in said)
        pack_words.summarize(result, origin.pack_options())
        text = capsys.readouterr().err
        assert "f03-renamed: came\n" in text
        assert "a shipment of its own" in text
        assert pack_words.answer(result)["since_listing"]["came"] == 5


def test_nothing_is_told_where_nothing_is_otherwise(origin, monkeypatch):
    stopped(origin, monkeypatch)
    os.utime(origin.source / "dir", ns=(7, 7))
    for _ in range(2):
        said: list[str] = []
        result = origin.pack(said)
        assert (result.since, result.exit_code) == (None, 0)
        assert not any("listed" in text for text in said)


def test_what_is_told_as_changed_or_skipped_is_not_told_twice(origin, monkeypatch):
    real = work.pack_groups

    def pack_groups(*args, **kwargs):
        (origin.source / "f09").write_bytes(b"changed between listing and reading")
        (origin.source / "f02").unlink()
        return real(*args, **kwargs)

    from sealift.stages.pack import run

    with monkeypatch.context() as patch:
        patch.setattr(run, "pack_groups", pack_groups)
        first = origin.pack()
    assert first.since is None
    assert first.changed == [b"f09"]
    assert [path for path, _ in first.skipped] == [b"f02"]
    second = origin.pack()
    assert second.since is None
    assert (second.changed, second.exit_code) == (first.changed, 2)


def test_a_sealed_shipment_is_not_held_against_its_source(origin):
    """It may have been freed; what is new is another shipment, as is said."""
    origin.pack()
    bundle = seals.encode_bundle(origin.seal())
    (origin.state / "0123456789abcdef.seal").write_bytes(bundle)
    (origin.source / "f04").unlink()
    result = origin.pack()
    assert pack_words._sealed(result, origin.pack_options()) is not None
    assert (result.since, result.exit_code) == (None, 0)


def test_names_that_are_told_are_bounded_and_counted(origin, monkeypatch, capsys):
    monkeypatch.setattr(again, "MOST", 30)
    stopped(origin, monkeypatch)
    for number in range(200):
        shipments.write(origin.source / f"new-{number:03d}", b"")
    (origin.source / "f00").unlink()
    since = origin.pack().since
    assert (since.came, since.gone, len(since.paths)) == (200, 1, 31)
    pack_words._tell_since(since, origin.pack_options())
    assert f"and {201 - common.SHOWN:,} more (--json names more)" in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_differences_are_those_of_two_sets(tmp_path, monkeypatch, seed, step):
    """Whichever batches the rows come in."""
    draw = random.Random(seed)
    kinds = [FILE, SYMLINK, DIRECTORY]
    sides = [{}, {}]
    for number in range(60):
        row = (draw.choice(kinds), draw.randrange(3), draw.randrange(3))
        which = draw.randrange(6)
        for side in (0, 1):
            if which != side:
                sides[side][b"p%02d" % number] = row
        if which == 5:
            sides[1][b"p%02d" % number] = (draw.choice(kinds), draw.randrange(3), draw.randrange(3))
    owed = {path: draw.randrange(2) for path in sides[0]}
    rows = sorted(
        (path, side, owed.get(path, 0) * (not side), *row) for side in (0, 1) for path, row in sides[side].items()
    )
    batches = [
        pa.record_batch([list(column) for column in zip(*rows[at : at + step], strict=True)], schema=again._SCHEMA)
        for at in range(0, len(rows), step)
    ]
    wanted = dict.fromkeys(sides[1].keys() - sides[0].keys(), again.CAME)
    wanted |= dict.fromkeys(sides[0].keys() - sides[1].keys(), again.GONE)
    for path in sides[0].keys() & sides[1].keys():
        then, now = sides[0][path], sides[1][path]
        if then[0] != now[0] or (now[0] != DIRECTORY and then != now):
            wanted[path] = again.REWRITTEN
    told = [
        (path, what, sides[0][path][1] if what != again.CAME and owed[path] else None)
        for path, what in sorted(wanted.items())
    ]
    assert list(again._differences(batches)) == told
    with Sorter(again._SCHEMA, ("path", "side"), str(tmp_path)) as sorter:
        for batch in draw.sample(batches, len(batches)):
            sorter.add(batch)
        assert list(again._differences(sorter.batches())) == told
