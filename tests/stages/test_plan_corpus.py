"""What a look at a source says, beside what is there and what packing makes of it."""

import math
import os
import random
from collections import Counter

import numpy as np
import pytest
import shipments

from sealift.errors import BadInput
from sealift.stages.pack.walk import walk
from sealift.stages.plan import corpus


def look(source, **options):
    return corpus.look(str(source), walk(os.fsencode(source), [b""], lambda path: path, None, 1e9), **options)


def text(rng, size):
    return b" ".join(b"%d" % rng.randrange(3000) for _ in range(size // 5))


def packed(tmp_path, source):
    """Bytes of data packs, headers of age included."""
    origin = shipments.Origin(tmp_path / "origin", source, 2, 1)
    return origin.pack().packed_bytes


@pytest.mark.long
@pytest.mark.parametrize("kind", ["text", "noise", "large", "mixed"])
def test_what_is_packed_is_what_the_sample_said(tmp_path, kind):
    rng = random.Random(kind)
    for number in range(12 if kind == "large" else 900):
        size = 3_000_000 if kind == "large" else int(rng.paretovariate(1.1) * 2000) % 200_000
        noisy = kind == "noise" or (kind != "text" and number % 3 == 0)
        content = rng.randbytes(size) if noisy else text(rng, size)
        shipments.write(tmp_path / f"source/d{number % 9}/{number:04d}.{'bin' if noisy else 'txt'}", content)
    found = look(tmp_path / "source")
    really = packed(tmp_path, tmp_path / "source")
    assert found.samples == corpus.SAMPLES
    assert found.low <= found.share <= found.high
    assert found.low * 0.97 <= really / found.bytes <= found.high * 1.03
    assert really < 1.03 * found.packed_bytes


def test_everything_is_counted_once(tmp_path):
    source = tmp_path / "source"
    sizes = [0, 1, 2, 3, 4, 5000, 1 << 20]
    for number, size in enumerate(sizes):
        shipments.write(source / f"a/{number}.JPG", bytes(size))
    shipments.write(source / "b/c/table.parquet", bytes(100))
    shipments.write(source / "noend", bytes(7))
    for number in range(3):
        (source / f"b/again{number}").hardlink_to(source / "a/5.JPG")
    (source / "link").symlink_to("nowhere")
    os.mkfifo(source / "pipe")
    found = look(source)
    assert (found.files, found.folders, found.links) == (len(sizes) + 2, 3, 1)
    assert found.bytes == sum(sizes) + 107
    assert found.largest == 1 << 20
    kinds = {each.kind: each for each in found.kinds}
    assert kinds["tables"].bytes == 100
    assert kinds["images"].files == len(sizes)
    assert sum(each.bytes for each in found.kinds) == found.bytes
    assert sum(found.sizes) == len(sizes) + 2 + 3
    assert found.sizes[:4] == (1, 1, 2, 2)
    assert found.skipped == 1
    assert found.skipped_first == ("pipe: is a fifo",)


def test_places_are_drawn_evenly_over_bytes():
    draw = corpus._Draw(4000, 3)
    sizes = [1000, 0, 3000, 500, 4000, 1500]
    for number, size in enumerate(sizes):
        draw.batch([b"%d" % number], corpus.np.array([size]))
    drawn = Counter(place.files[0][0] for place in draw.places)
    assert drawn[b"1"] == 0
    for number, size in enumerate(sizes):
        assert abs(drawn[b"%d" % number] - 4000 * size / 10_000) < 5 * (4000 * size / 10_000 + 1) ** 0.5
    first = [place.at for place in draw.places if place.files[0][0] == b"2"]
    assert 0 <= min(first) < 200
    assert 2800 < max(first) < 3000


def test_a_frame_is_of_one_folder(tmp_path):
    paths = [b"a/1", b"a/2", b"b/3"]
    assert corpus._following(paths, corpus.np.array([10, 10, 10]), 0) == [(b"a/1", 10), (b"a/2", 10)]
    assert corpus._following(paths, corpus.np.array([1 << 20, 10, 10]), 0) == [(b"a/1", 1 << 20)]


def test_what_goes_away_meanwhile_is_left_out(tmp_path):
    source = tmp_path / "source"
    for number in range(50):
        shipments.write(source / f"{number}", b"here " * 1000)
    seen = list(walk(os.fsencode(source), [b""], lambda path: path, None, 1e9))
    for number in range(49):
        (source / f"{number}").unlink()
    (source / "3").mkdir()
    (source / "4").symlink_to("/etc/passwd")
    os.mkfifo(source / "5")
    assert 0 < corpus.look(str(source), seen).samples < corpus.SAMPLES
    (source / "49").unlink()
    with pytest.raises(BadInput, match="none of the files"):
        corpus.look(str(source), seen)


@pytest.mark.parametrize(("files", "words"), [({}, "no file"), ({"a": b"", "b": b""}, "2 files, all empty")])
def test_nothing_to_carry(tmp_path, files, words):
    (tmp_path / "source").mkdir()
    for name, content in files.items():
        shipments.write(tmp_path / "source" / name, content)
    with pytest.raises(BadInput, match=words):
        look(tmp_path / "source")


def test_on_paper():
    found = corpus.on_paper(4_800_000_000_000_000, 1_200_000_000)
    assert 4.8e15 < found.packed_bytes < 4.81e15
    assert found.members == 1_200_000_000
    assert corpus.on_paper(10**12, 1000, share=0.2).packed_bytes < 0.21e12
    with pytest.raises(BadInput, match=r"0 bytes.*0 files.*share of nan"):
        corpus.on_paper(0, 0, share=float("nan"))


@pytest.mark.long
def test_the_sample_is_the_same_in_whatever_order_the_folders_come(tmp_path):
    rng = random.Random(3)
    for number in range(600):
        content = rng.randbytes(3000) if number % 3 else text(rng, int(rng.paretovariate(1.1) * 2000) % 200_000)
        shipments.write(tmp_path / f"source/d{number % 20}/{number:04d}", content)

    def looked(order):
        folders = [b"d%d" % number for number in order]
        seen = [each for folder in folders for each in walk(os.fsencode(tmp_path / "source"), [folder], bytes, None, 9)]
        return corpus.look(str(tmp_path / "source"), seen)

    assert looked(range(20)) == looked(rng.sample(range(20), 20))


def test_every_byte_is_drawn_as_often_as_any_other():
    """Of files of very different sizes each is drawn in proportion to its bytes: chi-squared over many seeds."""
    sizes = np.array([1, 10, 100, 1000, 10_000, 100_000, 100_000, 500_000])
    paths = [b"f%d" % number for number in range(len(sizes))]
    drawn = Counter()
    seeds, places = 300, 50
    for seed in range(seeds):
        draw = corpus._Draw(places, seed)
        for at in (slice(0, 3), slice(3, 8)):
            draw.batch(paths[at], sizes[at])
        assert len(draw.places) == places
        assert all(0 <= place.at < place.files[0][1] for place in draw.places)
        drawn.update(place.files[0][0] for place in draw.places)
    for path, size in zip(paths, sizes.tolist(), strict=True):
        expected = seeds * places * size / sizes.sum()
        assert abs(drawn[path] - expected) < 5 * math.sqrt(expected) + 5
