"""Memory stays within what was announced, whatever the source: the sum of Pss over all processes, sampled."""

import os
import subprocess
import time
from pathlib import Path

import pytest
import shipments
from listed_bucket import serving
from test_kill import packing

from sealift.stages.pack.group import memory_needed
from sealift.stages.pack.source import Source, source_of

MARGIN = 1.10


def descendants(pid: int) -> list[int]:
    found, pending = [], [pid]
    while pending:
        each = pending.pop()
        found.append(each)
        try:
            tasks = os.listdir(f"/proc/{each}/task")
            for task in tasks:
                pending += map(int, Path(f"/proc/{each}/task/{task}/children").read_text().split())
        except OSError:
            continue
    return found


def pss(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Pss:")), 0)


def peak(process: subprocess.Popen) -> tuple[int, int]:
    """The most that all processes held together, and the most of the coordinator alone, in bytes."""
    most = alone = 0
    while process.poll() is None:
        sizes = {pid: pss(pid) for pid in descendants(process.pid)}
        most, alone = max(most, sum(sizes.values())), max(alone, sizes.get(process.pid, 0))
        time.sleep(0.03)
    return most, alone


def held(origin: shipments.Origin, record_property, source: Source | None = None) -> None:
    builders = max(1, min(origin.data, len(os.sched_getaffinity(0))))
    announced = sum(memory_needed(origin.n, builders, origin.data, source=source).values())
    process = packing(origin)
    most, alone = peak(process)
    told = process.communicate()[1]
    assert (process.returncode, told) == (0, b"")
    record_property("announced", announced)
    record_property("measured", most)
    print(f"announced {announced >> 20} MiB, measured {most >> 20} MiB, coordinator {alone >> 20} MiB")  # noqa: T201 -- shown with -s
    assert most <= MARGIN * announced, (most >> 20, alone >> 20, announced >> 20)


def many_empty(source: Path, count: int, *, long_names: bool = False) -> None:
    for number in range(count):
        if number % 1000 == 0:
            folder = source / f"{number // 1000:04d}"
            folder.mkdir(parents=True)
            base = os.fsencode(folder)
        name = (b"%09d" % number + b"\xff" * 246) if long_names else b"%09d" % number
        os.close(os.open(base + b"/" + name, os.O_CREAT | os.O_WRONLY, 0o644))


def sparse(path: Path, size: int) -> None:
    with open(path, "wb") as file:
        file.truncate(size)
        for place in range(0, size, size // 7):
            file.seek(place)
            file.write(os.urandom(2 << 20))


@pytest.mark.long
def test_sixty_thousand_empty_files_and_a_sparse_file_of_2_gb(tmp_path, record_property):
    source = tmp_path / "source"
    many_empty(source, 60_000)
    sparse(source / "sparse", 2_000_000_000)
    held(shipments.Origin(tmp_path / "origin", source, 2, 1, options={"pack_size": 64 << 20}), record_property)


@pytest.mark.long
def test_text_that_threads_compress_beside_one_builder(tmp_path, record_property):
    for number in range(8):
        text = b"".join(b"%d %d\n" % (each, each * each) for each in range(number, 2_000_000, 1 + number % 2))
        shipments.write(tmp_path / f"source/{number}", text)
    origin = shipments.Origin(tmp_path / "origin", tmp_path / "source", 1, 1, options={"pack_size": 1 << 30})
    held(origin, record_property)


@pytest.mark.long
def test_a_million_empty_files(tmp_path, record_property):
    many_empty(tmp_path / "source", 1_000_000)
    origin = shipments.Origin(tmp_path / "origin", tmp_path / "source", 2, 1, options={"pack_size": 1 << 30})
    held(origin, record_property)


@pytest.mark.long
def test_names_of_255_bytes_that_are_not_utf_8(tmp_path, record_property):
    many_empty(tmp_path / "source", 300_000, long_names=True)
    origin = shipments.Origin(tmp_path / "origin", tmp_path / "source", 2, 1, options={"pack_size": 1 << 30})
    held(origin, record_property)


@pytest.mark.long
def test_a_sparse_file_of_20_gb(tmp_path, record_property):
    source = tmp_path / "source"
    source.mkdir()
    sparse(source / "sparse", 20_000_000_000)
    held(shipments.Origin(tmp_path / "origin", source, 6, 2, options={"pack_size": 1 << 30}), record_property)


@pytest.mark.long
def test_large_and_small_objects_of_a_bucket(tmp_path, bucket, record_property):
    import obstore

    source = source_of(f"s3://{bucket}/p".encode())
    store = source.bucket.client.store
    for number in range(5):
        obstore.put(store, f"large/{number}", os.urandom(24 << 20), use_multipart=False)
    for number in range(500):
        obstore.put(store, f"small/{number}", os.urandom(60_000), use_multipart=False)
    options = {"source": f"s3://{bucket}/p", "pack_size": 512 << 20}
    held(shipments.Origin(tmp_path / "origin", tmp_path, 4, 1, options=options), record_property, source)


@pytest.mark.long
def test_the_listing_of_two_million_keys(tmp_path, monkeypatch, record_property):
    """It is listed and dealt, and stopped then: none of these objects is there."""
    with serving(2_000_000) as endpoint:
        for name, value in {"ENDPOINT_URL": endpoint, "ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "y"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        origin = shipments.Origin(tmp_path / "origin", tmp_path, 2, 1, options={"source": "s3://bucket/p"})
        process = packing(origin)
        announced = sum(memory_needed(3, 2, 2, source=source_of(b"s3://bucket/p")).values())
        most = 0
        while process.poll() is None and not (origin.state / "scan" / "summary.json").exists():
            most = max(most, sum(map(pss, descendants(process.pid))))
            time.sleep(0.03)
        process.kill()
        process.communicate()
    record_property("measured", most)
    assert (origin.state / "scan" / "summary.json").exists()
    assert most <= announced, (most >> 20, announced >> 20)
