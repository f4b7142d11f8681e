"""Object stores beside plain transfers of the same bytes: `python -m bench.object_stores --work FOLDER`.

    packs         `sealift ingest --packs`, beside obstore putting the drives' files as they are, as many at once
    large, small  `sealift ingest` of files of 64 MiB, or 13 kB, beside obstore putting the corpus's own files
    from-large,   `sealift pack s3://` of such objects, from start to signature, beside obstore getting them
    from-small    into nowhere
    held          both ways with one end held, as in life: each drive to so many MB/s by the kernel (blkio throttling of
                  cgroup v1, as root), or the link to the store. Beside it what that end gives alone

The server is Ceph's radosgw in memory on loopback, so it has the same processors: compare what stands in one row.
Contenders take turns, each into a bucket of its own, and everything is in the page cache, but for drives that are
held. Prints tables; those that were kept are in docs/adr/0027 and 0028. `--smoke`: once, tiny, nothing held.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import radosgw
import shipments

from bench.hosts import BLKIO, Drives
from sealift.drives.object_client import Client
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages import ingest, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20
AT_ONCE = 32  # small objects, by the plain transfer; of large ones obstore sends several parts each
FEW = 8
DATA, PARITY = 2, 1
KINDS = ("packs", "large", "small", "from-large", "from-small", "held")


class Took(NamedTuple):
    """Seconds by the clock, and of processor in this process and its children."""

    clock: float
    processor: float


@dataclass
class Bench:
    """Where it works, how much, and against which server."""

    work: Path
    size: int
    rounds: int
    store: radosgw.Store

    def corpus(self, name: str, *, small: bool) -> Path:
        """A folder with so many bytes of noise, in files of 64 MiB, or a fourth of it in files of 13 kB."""
        size, step = (self.size // 4, 13_000) if small else (self.size, 64 * MIB)
        folder = self.work / name
        for number, start in enumerate(range(0, size, step)):
            shipments.write(folder / f"{number // 1000:03d}" / f"{number:06d}.bin", os.urandom(min(step, size - start)))
        return folder

    def origin(self, name: str, source: Path, mounts: list[str] | None = None) -> shipments.Origin:
        """The sending side of a shipment of 2 + 1 drives: folders beside it, or those that are given."""
        pack = min(64 * MIB, max(MIB, self.size // 8))
        made = shipments.Origin(self.work / name, source, DATA, PARITY, options={"pack_size": pack})
        if mounts:
            made.mounts = mounts
            made.declaration.write_bytes(shipments.declare(made, made.author.public_key.line))
        return made

    def medians(self, *turns: Callable[[], Callable[[], None]]) -> list[Took]:
        """Each contender's median. A turn makes what it needs, and gives what is timed."""
        took: list[list[Took]] = [[] for _ in turns]
        for _ in range(self.rounds):
            for place, prepare in enumerate(turns):
                took[place].append(seconds(prepare()))
        return [Took(*(statistics.median(column) for column in zip(*each, strict=True))) for each in took]


def seconds(work: Callable[[], None]) -> Took:
    """What that took."""
    before, begun = os.times(), time.monotonic()
    work()
    after = os.times()
    return Took(time.monotonic() - begun, sum(after[:4]) - sum(before[:4]))


def files(folder: Path) -> list[tuple[str, Path]]:
    """Names and paths of what is in a folder."""
    return [(str(path.relative_to(folder)), path) for path in sorted(folder.rglob("*")) if path.is_file()]


def put(bucket: str, listed: list[tuple[str, Path]], threads: int, parts: int = 12) -> None:
    """Put files as they are, as whoever copies them to a bucket would; `parts` of each at once, obstore's default."""
    client = Client(bucket, "", 60, threads)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda each: client.native.put(client.store, each[0], each[1], max_concurrency=parts), listed))


def get(bucket: str, names: list[str], threads: int) -> None:
    """Get objects, in ranges as they come, and throw them away."""
    client = Client(bucket, "", 60, threads)

    def one(name: str) -> None:
        for _ in client.native.get(client.store, name).stream(min_chunk_size=4 * MIB):
            pass

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, names))


def empty(bucket: str) -> None:
    """The server keeps everything in memory."""
    client = Client(bucket, "", 60, 8)
    names = [each["path"] for page in client.native.list(client.store) for each in page]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda name: client.native.delete(client.store, name), names))


def ingest_packs(origin: shipments.Origin, bucket: str, seal: dict[str, bytes]) -> None:
    """Ingest drives as they are."""
    options = ingest.Options(origin.mounts, f"s3://{bucket}/d", AllowedSigners.parse(origin.allowed), seal)
    result = ingest.ingest(options, ingest.Events())
    if result.failed or result.refused:
        raise SystemExit(f"{result.failed} {result.refused}")


def ingest_files(origin: shipments.Origin, bucket: str, seal: dict[str, bytes]) -> None:
    """Ingest files."""
    options = origin.unpack_options(Path("unused"), seal=seal, workers=0)
    options.target = f"s3://{bucket}/d"
    result = unpack.unpack(options, unpack.Events())
    if result.failed or result.refused:
        raise SystemExit(f"{result.failed} {result.refused}")


def packing(origin: shipments.Origin, bucket: str) -> Callable[[], None]:
    """Packs what is in a bucket; drives and state are empty again."""
    shutil.rmtree(origin.state, ignore_errors=True)
    for mount in origin.mounts:
        shutil.rmtree(Path(mount, "sealift"), ignore_errors=True)

    def pack() -> None:
        if origin.pack(source=f"s3://{bucket}").exit_code:
            raise SystemExit("it could not be packed")

    return pack


@contextlib.contextmanager
def bucket(store: radosgw.Store) -> Iterator[str]:
    """A new one, emptied afterwards."""
    name = store.make_bucket()
    yield name
    empty(name)


def row(kind: str, total: int, count: int, plain: Took, ours: Took) -> None:
    """Print one of the first table."""
    rates = f"{total / plain.clock / 1e6:,.0f} | {total / ours.clock / 1e6:,.0f} | {plain.clock / ours.clock:.2f}"
    processor = f"{plain.processor / total * 1e9:.1f} | {ours.processor / total * 1e9:.1f}"
    print(f"| {kind} | {total / 1e6:,.0f} | {count:,} | {rates} | {processor} |", flush=True)


def into(bench: Bench, kind: str) -> None:
    """A row of ingest."""
    source = bench.corpus("source", small=kind == "small")
    origin = bench.origin("origin", source)
    origin.pack()
    seal = origin.seal()
    if kind == "packs":
        listed = [(f"{Path(mount).name}/{name}", path) for mount in origin.mounts for name, path in files(Path(mount))]
    else:
        listed = files(source)
    total, ours = sum(path.stat().st_size for _, path in listed), ingest_packs if kind == "packs" else ingest_files
    with contextlib.ExitStack() as stack:

        def plainly() -> Callable[[], None]:
            name = stack.enter_context(bucket(bench.store))
            return lambda: put(name, listed, AT_ONCE if kind == "small" else FEW)

        def sealift() -> Callable[[], None]:
            stack.close()  # what the plain one left
            name = stack.enter_context(bucket(bench.store))
            return lambda: ours(origin, name, seal)

        plain, took = bench.medians(plainly, sealift)
    row(kind, total, len(listed), plain, took)


def out_of(bench: Bench, kind: str) -> None:
    """A row of pack."""
    source = bench.corpus("source", small=kind == "from-small")
    listed, threads = files(source), AT_ONCE if kind == "from-small" else FEW
    total = sum(path.stat().st_size for _, path in listed)
    origin = bench.origin("origin", source)
    with bucket(bench.store) as name:
        put(name, listed, threads)

        def plainly() -> Callable[[], None]:
            return lambda: get(name, [key for key, _ in listed], threads)

        plain, took = bench.medians(plainly, lambda: packing(origin, name))
    row(kind, total, len(listed), plain, took)


# --- one end held


class Link:
    """A relay to the server that lets so many bytes a second through, each way. All connections share them."""

    def __init__(self, upstream: str, rate: int) -> None:
        where = urlsplit(upstream)
        self._upstream, self._rate = (where.hostname, where.port), rate
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._free = [0.0, 0.0]  # when each way is free again, by the loop's clock
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, sock=self._socket)
        self._ready.set()
        await self._end.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._upstream)
        await asyncio.gather(self._carry(0, reader, back), self._carry(1, there, writer), return_exceptions=True)

    async def _carry(self, way: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            while data := await reader.read(64 << 10):
                now = self._loop.time()
                self._free[way] = max(self._free[way], now) + len(data) / self._rate
                await asyncio.sleep(self._free[way] - now)
                writer.write(data)
                await writer.drain()


@contextlib.contextmanager
def behind(link: Link) -> Iterator[None]:
    """Whoever reads the environment meets the store behind that link."""
    with link:
        before = os.environ["AWS_ENDPOINT_URL"]
        os.environ["AWS_ENDPOINT_URL"] = link.endpoint
        yield
        os.environ["AWS_ENDPOINT_URL"] = before


def read_at_once(mounts: list[str]) -> None:
    """All packs of these drives, a thread a drive, past the page cache."""

    def one(mount: str) -> None:
        for _, path in files(Path(mount, "sealift", "packs")):
            with open(path, "rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                while file.read(4 * MIB):
                    pass

    with ThreadPoolExecutor(len(mounts)) as pool:
        list(pool.map(one, mounts))


def forgotten(mounts: list[str]) -> None:
    """Nothing of these filesystems is in the page cache any more."""
    os.sync()
    for mount in mounts:
        for _, path in files(Path(mount, "sealift")):
            with open(path, "rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def held(bench: Bench, drive: int, link: int) -> None:
    """The second table: `drive` and `link` in bytes a second."""
    if os.geteuid() != 0 or not (BLKIO / "blkio.throttle.read_bps_device").exists():
        print("held: left out, needs root and the blkio controller of cgroup v1")
        return
    source = bench.corpus("source", small=False)
    listed = files(source)
    total = sum(path.stat().st_size for _, path in listed)
    print("\n| | MB | that end alone MB/s | sealift MB/s | share |\n|---|---|---|---|---|")

    def line(what: str, alone: float, took: Took) -> None:
        print(
            f"| {what} | {total / 1e6:,.0f} | {total / alone / 1e6:,.0f} | {total / took.clock / 1e6:,.0f} "
            f"| {alone / took.clock:.2f} |",
            flush=True,
        )

    home = bench.work / "held"
    home.mkdir()
    with (
        bucket(bench.store) as name,
        Drives(bench.work, home, drive, int(total * 0.7) + 200 * MIB).mounted() as mounts,
    ):
        put(name, listed, FEW)
        slow, fast = bench.origin("slow", source, mounts), bench.origin("fast", source)
        (took,) = bench.medians(lambda: packing(slow, name))
        line(f"pack, each drive takes {drive / 1e6:,.0f} MB/s", total / (DATA * drive), took)
        with behind(Link(bench.store.endpoint, link)):
            alone, took = bench.medians(
                lambda: lambda: get(name, [key for key, _ in listed], FEW),
                lambda: packing(fast, name),
            )
        line(f"pack, the link brings {link / 1e6:,.0f} MB/s", alone.clock, took)
        empty(name)
        seal, copies = slow.seal(), contextlib.ExitStack()

        def fresh() -> str:
            copies.close()
            return copies.enter_context(bucket(bench.store))

        def from_slow() -> Callable[[], None]:
            forgotten(mounts)
            there = fresh()
            return lambda: ingest_files(slow, there, seal)

        def alone_again() -> Callable[[], None]:
            forgotten(mounts)
            return lambda: read_at_once(mounts[:DATA])

        alone, took = bench.medians(alone_again, from_slow)
        line(f"ingest, each drive gives {drive / 1e6:,.0f} MB/s", alone.clock, took)
        seal = fast.seal()
        with behind(Link(bench.store.endpoint, link)):

            def plainly() -> Callable[[], None]:
                there = fresh()
                return lambda: put(there, listed, FEW, 1)  # more at once time out

            def sealift() -> Callable[[], None]:
                there = fresh()
                return lambda: ingest_files(fast, there, seal)

            alone, took = bench.medians(plainly, sealift)
        line(f"ingest, the link takes {link / 1e6:,.0f} MB/s", alone.clock, took)
        copies.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="a folder, else a temporary one; a tmpfs leaves the disk out")
    parser.add_argument("--only", action="append", choices=KINDS)
    parser.add_argument(
        "--mib", type=int, default=320, help="of large files; of small ones a fourth; the server holds 4 GiB"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--drive", type=float, default=25e6, help="held: bytes a second, of each of three drives")
    parser.add_argument("--link", type=float, default=50e6, help="held: bytes a second, each way")
    parser.add_argument("--smoke", action="store_true", help="everything once, tiny, nothing held")
    given = parser.parse_args()
    size, rounds = (4 * MIB, 1) if given.smoke else (given.mib * MIB, given.rounds)
    missing = [tool for tool in radosgw.TOOLS if shutil.which(tool) is None]
    if missing:
        print(f"left out: {', '.join(missing)} not installed")
        raise SystemExit(0 if given.smoke else 1)
    if given.work is not None:
        given.work.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="sealift-bench-", dir=given.work))
    kinds = given.only or (KINDS[:-1] if given.smoke else KINDS)
    try:
        with radosgw.shared(work / "s3") as store:
            os.environ.update(store.environment)
            if set(kinds) - {"held"}:
                print("| | MB | objects | plain MB/s | sealift MB/s | ratio | plain s/GB | sealift s/GB |")
                print("|---|---|---|---|---|---|---|---|")
            for kind in kinds:
                (work / kind).mkdir()
                bench = Bench(work / kind, size, rounds, store)
                if kind == "held":
                    held(bench, int(given.drive), int(given.link))
                else:
                    (out_of if kind.startswith("from") else into)(bench, kind)
                shutil.rmtree(work / kind)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
