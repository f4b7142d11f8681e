"""Samples as headers tell them: those of the source, in the packs that were packed, as many as the table says."""

import random
from collections import Counter
from pathlib import Path

import pytest
import shipments

from sealift.errors import FormatError
from sealift.formats.samples import default_key, key_function
from sealift.reading.samples import PackSamples


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Pairs, large files, noise, files with the names of segments, holes, links."""
    root, rng = tmp_path_factory.mktemp("samples"), random.Random(5)
    for number in range(400):
        shipments.write(root / f"pairs/{number:04d}.txt", b"%d " % number * rng.randrange(2000))
        shipments.write(root / f"pairs/{number:04d}.seg.json", b"{}" * rng.randrange(50))
    for number in range(40):
        shipments.write(root / f"noise/{number}.jpg", rng.randbytes(rng.randrange(150_000)))
    shipments.write(root / "large.bin", rng.randbytes(3_500_000))
    shipments.write(root / "zeros.bin", bytes(3_500_000))
    shipments.write(root / "names/a.part-000001", b"no segment")
    shipments.write(root / ("long/" + "n" * 245), rng.randbytes(2_600_000))
    shipments.write(root / "empty", b"")
    with open(root / "holes", "wb") as file:
        file.seek(700_000)
        file.write(b"end")
    (root / "link").symlink_to("empty")
    (root / "pairs/0001.again").hardlink_to(root / "pairs/0002.txt")
    return root


def wanted(source, key_of=default_key):
    """Sample key -> name in it -> content; of an inode's names the first by path, for the others are links to it."""
    found, seen = {}, set()
    for path in sorted(source.rglob("*")):
        if path.is_symlink() or not path.is_file() or path.stat().st_ino in seen:
            continue
        name = str(path.relative_to(source)).encode()
        seen.add(path.stat().st_ino)
        found.setdefault(key_of(name).decode(), {})[name.decode()] = path.read_bytes()
    return found


@pytest.mark.parametrize("order", ["path", "shuffled"])
@pytest.mark.parametrize("sample_key", [None, r"^(.*/\d\d)"])
def test_samples_of_all_packs_are_those_of_the_source(source, tmp_path, order, sample_key):
    origin = shipments.Origin(tmp_path / "origin", source, 2, 1, options={"order": order, "sample_key": sample_key})
    origin.pack()
    with origin.shipment() as shipment:
        found = Counter()
        for pack, _, count in shipment.packs():
            samples = list(shipment.samples(pack))
            assert len(samples) == count, pack
            for sample in samples:
                assert shipment.sample(sample.pack, sample.offset) == sample
                for content in sample.files.values():
                    found[sample.key, content] += 1
        names = {path for sample in wanted(source).values() for path in sample}
        assert len(names) == sum(found.values())
        key_of = key_function(sample_key)
        assert found == Counter(
            (key, content) for key, files in wanted(source, key_of).items() for content in files.values()
        )
        packs = PackSamples(shipment)
        units = packs.units()
        rng = random.Random(1)
        for unit in range(len(units.key)):
            whole = packs.load(unit, 0, int(units.samples[unit]))
            for _ in range(6):
                lo, hi = sorted(rng.randrange(len(whole) + 1) for _ in range(2))
                assert packs.load(unit, lo, hi) == whole[lo:hi]


def test_what_a_file_is_called_in_its_sample(source, tmp_path):
    origin = shipments.Origin(tmp_path / "origin", source, 2, 1)
    origin.pack()
    with origin.shipment() as shipment:
        samples = {sample.key: sample for pack, _, _ in shipment.packs() for sample in shipment.samples(pack)}
    assert set(samples["pairs/0007"].files) == {"txt", "seg.json"}
    assert samples["empty"].files == {"": b""}
    assert samples["large"].files["bin"] == Path(source, "large.bin").read_bytes()
    assert samples["names/a"].files == {"part-000001": b"no segment"}


def test_files_that_vanish_are_not_counted(tmp_path, monkeypatch):
    """The table says what is there to be read, not what was to be packed."""
    source = tmp_path / "source"
    for number in range(300):
        shipments.write(source / f"{number:03d}.a", b"x" * 50)
        shipments.write(source / f"{number:03d}.b", b"y" * 50)
    origin = shipments.Origin(tmp_path / "origin", source, 2, 1)
    from sealift.stages.pack import run as packing

    scan = packing._scan if hasattr(packing, "_scan") else None
    assert scan is not None

    def scan_then_lose(*given, **more):
        summary = scan(*given, **more)
        for number in range(0, 300, 7):
            (source / f"{number:03d}.a").unlink()
            if number % 2:
                (source / f"{number:03d}.b").unlink()
        return summary

    monkeypatch.setattr(packing, "_scan", scan_then_lose)
    origin.pack()
    with origin.shipment() as shipment:
        for pack, _, count in shipment.packs():
            assert len(list(shipment.samples(pack))) == count


def test_a_table_that_lies_is_told(source, tmp_path):
    origin = shipments.Origin(tmp_path / "origin", source, 2, 1)
    origin.pack()
    with origin.shipment() as shipment:
        packs = PackSamples(shipment)
        unit = max(range(len(packs._samples)), key=packs._samples.__getitem__)
        right = packs._samples[unit]
        for wrong in (right - 1, right + 1):
            packs._samples[unit] = wrong
            with pytest.raises(FormatError, match="has not the"):
                packs.load(unit, 0, wrong)
