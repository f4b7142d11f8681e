"""Copying a shipment into a real S3 server beside plain uploads of the same: `python -m bench.ingest --work FOLDER`.

    packs    `sealift ingest --packs`, beside obstore putting the drives' files as they are, as many at once
    large    `sealift ingest` of large files, beside obstore putting the corpus's own files
    small    the same of files of 13 kB

The server is Ceph's radosgw in memory on loopback, so it has the same processors: compare what stands in one row.
Contenders take turns, each into a bucket of its own, and everything is in the page cache. Prints a table; the last one
that was kept is in docs/adr/0028-the-destinations-copy.md. `--smoke`: once, tiny.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import radosgw
import shipments

from sealift.drives.object_client import Client
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages import ingest, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20
AT_ONCE = 32  # small objects, by the plain upload; of large ones obstore sends several parts each
FEW = 8


def corpus(folder: Path, kind: str, size: int) -> Path:
    """So many bytes of noise, in files of 64 MiB or of 13 kB."""
    step = 13_000 if kind == "small" else 64 * MIB
    for number, start in enumerate(range(0, size, step)):
        shipments.write(folder / f"{number // 1000:03d}" / f"{number:06d}.bin", os.urandom(min(step, size - start)))
    return folder


def files(folder: Path) -> list[tuple[str, Path]]:
    """Names and paths of what is in a folder."""
    return [(str(path.relative_to(folder)), path) for path in sorted(folder.rglob("*")) if path.is_file()]


def plain(bucket: str, listed: list[tuple[str, Path]], threads: int) -> None:
    """Put files as they are, as whoever copies them to a bucket would."""
    client = Client(bucket, "", 60, threads)

    def put(each: tuple[str, Path]) -> None:
        client.native.put(client.store, each[0], each[1])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(put, listed))


def packs(origin: shipments.Origin, bucket: str, seal: dict[str, bytes]) -> None:
    """Ingest drives as they are."""
    options = ingest.Options(origin.mounts, f"s3://{bucket}/d", AllowedSigners.parse(origin.allowed), seal)
    result = ingest.ingest(options, ingest.Events())
    if result.failed or result.refused:
        raise SystemExit(f"{result.failed} {result.refused}")


def members(origin: shipments.Origin, bucket: str, seal: dict[str, bytes]) -> None:
    """Ingest files."""
    options = origin.unpack_options(Path("unused"), seal=seal, workers=0)
    options.target = f"s3://{bucket}/d"
    result = unpack.unpack(options, unpack.Events())
    if result.failed or result.refused:
        raise SystemExit(f"{result.failed} {result.refused}")


def seconds(work: Callable[[], None]) -> tuple[float, float]:
    """Of the clock, and of processor in this process and its children."""
    before, begun = os.times(), time.monotonic()
    work()
    after = os.times()
    return time.monotonic() - begun, sum(after[:4]) - sum(before[:4])


def measure(kind: str, work: Path, size: int, rounds: int, store: radosgw.Store) -> None:
    """One row of the table."""
    source = corpus(work / "source", "small" if kind == "small" else "large", size)
    origin = shipments.Origin(work / "origin", source, 2, 1, options={"pack_size": min(64 * MIB, max(MIB, size // 8))})
    origin.pack()
    seal = origin.seal()
    if kind == "packs":
        listed = [(f"{Path(mount).name}/{name}", path) for mount in origin.mounts for name, path in files(Path(mount))]
    else:
        listed = files(source)
    total = sum(path.stat().st_size for _, path in listed)
    ours = packs if kind == "packs" else members
    threads = AT_ONCE if kind == "small" else FEW
    turns: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for _ in range(rounds):
        there, here = store.make_bucket(), store.make_bucket()
        turns.append(
            (seconds(lambda: plain(there, listed, threads)), seconds(lambda: ours(origin, here, seal)))  # noqa: B023
        )
        for bucket in (there, here):
            empty(bucket)
    (plain_s, plain_cpu), (our_s, our_cpu) = (
        [statistics.median(each[place][figure] for each in turns) for figure in (0, 1)] for place in (0, 1)
    )
    print(
        f"| {kind} | {total / 1e6:,.0f} | {len(listed):,} | {total / plain_s / 1e6:,.0f} | {total / our_s / 1e6:,.0f} "
        f"| {plain_s / our_s:.2f} | {plain_cpu / total * 1e9:.1f} | {our_cpu / total * 1e9:.1f} |",
        flush=True,
    )


def empty(bucket: str) -> None:
    """The server keeps everything in memory."""
    client = Client(bucket, "", 60, 8)
    names = [each["path"] for page in client.native.list(client.store) for each in page]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda name: client.native.delete(client.store, name), names))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="a folder, else a temporary one; a tmpfs leaves the disk out")
    parser.add_argument("--only", action="append", choices=("packs", "large", "small"))
    parser.add_argument(
        "--mib", type=int, default=320, help="of large files; of small ones a fourth; the server holds 4 GiB"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="everything once, tiny")
    given = parser.parse_args()
    size, rounds = (4 * MIB, 1) if given.smoke else (given.mib * MIB, given.rounds)
    missing = [tool for tool in radosgw.TOOLS if shutil.which(tool) is None]
    if missing:
        print(f"left out: {', '.join(missing)} not installed")
        raise SystemExit(0 if given.smoke else 1)
    if given.work is not None:
        given.work.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="sealift-bench-", dir=given.work))
    try:
        with radosgw.shared(work / "s3") as store:
            os.environ.update(store.environment)
            print("| | MB | objects | plain MB/s | ingest MB/s | ratio | plain s/GB | ingest s/GB |")
            print("|---|---|---|---|---|---|---|---|")
            for kind in given.only or ("packs", "large", "small"):
                measure(kind, work / kind, size // 4 if kind == "small" else size, rounds, store)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
