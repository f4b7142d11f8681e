"""Samples as headers tell them: those of the source, in the packs that were packed, as many as the table says."""

import random
from collections import Counter
from pathlib import Path

import pytest
import shipments

from sealift.errors import FormatError
from sealift.formats.samples import default_key, key_function
from sealift.reading import samples
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


@pytest.mark.long
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
    origin.pack(accept_missing=True)
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


@pytest.mark.parametrize("order", ["path", "shuffled"])
def test_windows_in_any_order_are_the_samples_of_the_pack(source, tmp_path, order):
    origin = shipments.Origin(tmp_path / "origin", source, 2, 1, options={"order": order, "pack_size": 1 << 20})
    origin.pack()
    with origin.shipment() as shipment:
        units = PackSamples(shipment)
        whole = {pack: list(shipment.samples(pack)) for pack, _, count in shipment.packs() if count}
        windows = [
            (unit, lo, min(lo + 7, int(count)))
            for unit, count in enumerate(units.units().samples)
            for lo in range(0, int(count), 7)
        ]
        random.Random(order).shuffle(windows)
        for unit, lo, hi in windows:  # several packs in turn, with one memory
            assert units.load(unit, lo, hi) == whole[units.pack(unit)][lo:hi]


def test_readers_in_the_middle_of_a_pack_and_at_its_start_walk_each_header_about_once(tmp_path, monkeypatch):
    for number in range(600):
        shipments.write(tmp_path / f"source/{number:04d}", b"%d" % number)
    origin = shipments.Origin(tmp_path / "origin", tmp_path / "source", 1, 1)
    origin.pack()
    walked = Counter()

    def counted(*arguments, real=samples.files, **options):
        for found in real(*arguments, **options):
            walked["headers"] += 1
            yield found

    with origin.shipment() as shipment:
        units = PackSamples(shipment)
        (count,) = units.units().samples
        assert count == 600
        monkeypatch.setattr(samples, "files", counted)
        units.load(0, 500, 510)  # a lane that begins there
        assert walked["headers"] < 500 + 10 + 8
        walked.clear()
        for lo in range(0, 500, 10):
            units.load(0, lo, lo + 10)
            units.load(0, 500 + lo // 10, 501 + lo // 10)
        assert walked["headers"] < 500 + 50 * (2 + 2 + 64 / 2)


@pytest.mark.long
def test_a_pack_is_opened_once_for_all_its_windows(tmp_path, monkeypatch):
    """However many lanes read packs in turn: opening one costs a key agreement, and its headers are walked anew."""
    for number in range(80):
        shipments.write(tmp_path / f"source/{number:04d}", random.Random(number).randbytes(900_000))
    origin = shipments.Origin(tmp_path / "origin", tmp_path / "source", 2, 1, options={"pack_size": 1 << 20})
    origin.pack()
    opened = Counter()
    with origin.shipment() as shipment:
        units = PackSamples(shipment)
        group, real = shipment.groups[0], shipment.groups[0].content
        # those that share its memory; a file that was cut is read by its path
        monkeypatch.setattr(
            group, "content", lambda *place: opened.update([place[:2]][: len(place) - 2]) or real(*place)
        )
        counts = units.units().samples
        assert len(counts) > 48  # as many as were kept before
        for _ in range(2):
            for unit, count in enumerate(counts):
                units.load(unit, 0, int(count))
    assert set(opened.values()) == {1}
    assert len(opened) == len(counts)
