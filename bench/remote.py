"""Reading a shipment over HTTP on loopback, beside the same server's raw download of the same packs.

    python -m bench.remote                  writes REMOTE.md beside this file; needs nginx and curl, and 2 GB of memory

    curl, obstore      whole packs, one after the other, and thrown away: what the server gives
    ranges             the packs' bytes as this reader asks for them, nothing opened
    streams            every pack's tar, from front to back: fetched, authenticated, decompressed
    samples            every sample of every pack
    mounted            streams from the folders that nginx serves
    tls                curl and streams over TLS, with a bearer token

and how long it takes from nothing to the first batch of a DataLoader, from nginx and from `sealift serve`. Contenders
take turns, each in a process of its own; medians of the rounds. CPU is that of the contender, without the server's:
where all share few cores it says more than the clock does.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.reading import once, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
PACK = 128 << 20
TOKEN = "bench"
TARGET = 0.8
SOON = 5.0  # seconds, to the first batch


def noise(root: Path, size: int) -> Path:
    """Files of 64 MiB that do not compress, beneath `root`."""
    source = root / "source" / "noise"
    source.mkdir(parents=True)
    for number in range(max(1, size >> 26)):
        (source / f"{number:05d}.bin").write_bytes(os.urandom(64 << 20))
    return source


def places(root: Path, made: Path, url: str, ca: str = "") -> str:
    """The locations file of a shipment's drives behind a server."""
    text = 'type = "sealift-locations"\nversion = 1\n'
    (root / "token").write_text(TOKEN)
    for drive in sorted(made.glob("d0*")):
        text += f'[[drive]]\nname = "{drive.name}"\nat = "{url}/{made.name}/{drive.name}/"\n'
        text += f'ca_file = "{ca}"\ntoken_file = "{root / "token"}"\n' if ca else ""
    path = root / ("tls.toml" if ca else "plain.toml")
    path.write_text(text)
    return str(path)


def opened(made: Path, *locations: str) -> Any:
    """The shipment, as somebody opens it who has these locations and the files of keys."""
    from sealift.reading.shipment import Shipment

    keys = {"identity": str(made / "identity"), "allowed_signers": str(made / "allowed"), "seal": str(made / "s.seal")}
    return Shipment.open(locations, **keys)


def packs(made: Path) -> list[Path]:
    """The data packs."""
    return sorted(made.glob("d0*/sealift/packs/*/*.age"))


# -- contenders: each gives seconds, bytes, and seconds of CPU of this process and its children


def timed(work: Callable[[], int]) -> tuple[float, int, float]:
    """What it takes to do it; `work` says of how many bytes it was."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    before = sum(each.ru_utime + each.ru_stime for each in map(resource.getrusage, kinds))
    begun = time.perf_counter()
    size = work()
    seconds = time.perf_counter() - begun
    return seconds, size, sum(each.ru_utime + each.ru_stime for each in map(resource.getrusage, kinds)) - before


def curl(made: Path, url: str, ca: str = "") -> tuple[float, int, float]:
    """Whole packs, on one connection, to nowhere."""
    paths = packs(made)
    config = "".join(f'url = "{url}/{path.relative_to(made.parent)}"\noutput = "/dev/null"\n' for path in paths)
    command = ["curl", "--silent", "--fail", "--config", "-"]
    if ca:
        command += ["--cacert", ca, "--header", f"Authorization: Bearer {TOKEN}"]

    def work() -> int:
        subprocess.run(command, input=config.encode(), check=True)
        return sum(path.stat().st_size for path in paths)

    return timed(work)


def obstore(made: Path, url: str) -> tuple[float, int, float]:
    """Whole packs, as they come, to nowhere."""
    import obstore as library
    from obstore.store import HTTPStore

    store = HTTPStore(url, client_options={"allow_http": True})
    names = [str(path.relative_to(made.parent)) for path in packs(made)]
    return timed(
        lambda: sum(len(piece) for name in names for piece in library.get(store, name).stream(min_chunk_size=2 << 20))
    )


def ranges(made: Path, url: str) -> tuple[float, int, float]:
    """The same bytes in windows of 2 MiB, each asked for while the one before is taken."""
    from sealift.drives.http import HttpDrive

    window = 2 << 20
    buffer = memoryview(bytearray(window))
    drives = {path: HttpDrive(f"{url}/{made.name}/{path.relative_to(made).parts[0]}/") for path in packs(made)}

    def work() -> int:
        size = 0
        for path, drive in drives.items():
            file = drive.open_read(path.relative_to(made).as_posix().partition("/sealift/")[2])
            for at in range(0, file.length, window):
                file.will_need(at + window, window)
                size += file.readinto_at(at, buffer)
        return size

    return timed(work)


def streams(made: Path, *locations: str) -> tuple[float, int, float]:
    """Every pack's tar, from front to back."""
    with opened(made, *locations) as shipment:
        return timed(lambda: _all(shipment))


def samples(made: Path, *locations: str) -> tuple[float, int, float]:
    """Every sample of every pack."""
    with opened(made, *locations) as shipment:
        return timed(
            lambda: sum(
                len(data)
                for each, _, _ in shipment.packs()
                for sample in shipment.samples(each)
                for data in sample.files.values()
            )
        )


def asked(made: Path, *locations: str) -> list[tuple[str, int, int, int]]:
    """What each location was asked for, and gave, when all packs were read."""
    with opened(made, *locations) as shipment:
        _all(shipment)
        return [(each.mount, each.requests, each.retries, each.bytes) for each in shipment.health().locations]


def _all(shipment: Any) -> int:
    size = 0
    for each, _, _ in shipment.packs():
        content = shipment.groups[each.group].content(each.stripe, each.role)
        for piece in content.pieces(0, content.size):
            size += len(piece)
    return size


def first_batch(made: Path, listing: str) -> float:
    """From nothing but the files of keys to the first batch; imports are not counted."""
    from torch.utils.data import DataLoader

    from sealift.integrations.torch import ShipmentDataset

    begun = time.perf_counter()
    with opened(made, listing) as shipment:
        dataset = ShipmentDataset(shipment, batch_size=1, decode=lambda each: each.key, rank=0, world_size=1)
        loader = iter(DataLoader(dataset, batch_size=None, num_workers=2))
        next(loader)
        taken = time.perf_counter() - begun
        del loader
    return taken


def first_through_serve(made: Path, rounds: int) -> list[float]:
    """The same from a `sealift serve` in a process of its own, started before, with a token, over plain HTTP."""
    import serving

    folder = made.parent / "serve"
    folder.mkdir()
    file = serving.token_file(folder)
    with serving.serving(*sorted(made.glob("d0*")), token=serving.TOKEN, file=file) as host:
        listing = str(serving.locations_file(host, folder))
        return [once(first_batch, made, listing) for _ in range(rounds)]


def turns(contenders: dict[str, tuple[Any, ...]], rounds: int) -> dict[str, dict[str, Any]]:
    """Rates of the rounds after a first one that is not counted, in bytes a second, and CPU, in seconds a GiB."""
    got: dict[str, list[tuple[float, int, float]]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, (function, *arguments) in contenders.items():
            one = once(function, *arguments)
            if number:
                got[name].append(one)
    found: dict[str, dict[str, Any]] = {}
    for name, each in got.items():
        found[name] = {
            "rates": [size / seconds for seconds, size, _ in each],
            "cpu": statistics.median(cpu / size * (1 << 30) for _, size, cpu in each),
        }
        print(f"  {name}: {_rate(found[name]):,.0f} MB/s, {found[name]['cpu']:.2f} s of CPU a GiB", flush=True)
    return found


def _rate(one: dict[str, Any]) -> float:
    return statistics.median(one["rates"]) / 1e6


def _ratio(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The median of the rounds' own ratios: what else the machine does goes on for longer than a round."""
    return statistics.median(mine / its for mine, its in zip(one["rates"], other["rates"], strict=True))


def run(root: Path, size: int, rounds: int) -> dict[str, Any]:
    """Everything, as one record."""
    from storage_host import nginx

    load = os.getloadavg()[0]
    made = pack(root, noise(root, size), PACK)
    with ExitStack() as stack:
        plain = stack.enter_context(nginx(root / "plain", root))
        locked = stack.enter_context(nginx(root / "locked", root, tls=True, token=TOKEN))
        listing, tls = places(root, made, plain.url), places(root, made, locked.url, locked.ca)
        found: dict[str, Any] = {
            "cores": os.cpu_count(),
            "load": load,
            "bytes": sum(path.stat().st_size for path in packs(made)),
            "plain": turns(
                {
                    "curl": (curl, made, plain.url),
                    "streams": (streams, made, listing),
                    "obstore": (obstore, made, plain.url),
                    "ranges": (ranges, made, plain.url),
                    "samples": (samples, made, listing),
                    "mounted": (streams, made, *map(str, sorted(made.glob("d0*")))),
                },
                rounds,
            ),
            "tls": turns({"curl": (curl, made, locked.url, locked.ca), "streams": (streams, made, tls)}, rounds),
            "first": statistics.median(once(first_batch, made, listing) for _ in range(rounds)),
            "first_serve": statistics.median(first_through_serve(made, rounds)),
            "asked": once(asked, made, listing),
        }
    return found


def lines(found: dict[str, Any]) -> Iterator[str]:
    """REMOTE.md."""
    plain, tls, first = found["plain"], found["tls"], found["first"]
    ours, curls, obstores = plain["streams"], plain["curl"], plain["obstore"]
    yield "# Reading over HTTP\n"
    yield f"Written by `python -m bench.remote`; {found['cores']} cores, which nginx and the readers share;"
    yield f"{found['bytes'] / 1e9:.2f} GB of noise, 6+2, in memory. Contenders took turns in one run: medians of their"
    yield "rates, and of the rounds' ratios. When it began, the load average of everything else on the machine was"
    yield f"{found['load']:.1f}.\n"
    yield "| | MB/s | of curl | of obstore | CPU a GiB |"
    yield "|---|---|---|---|---|"
    for name, words in _WORDS.items():
        each = plain[name]
        ratios = f"{_ratio(each, curls):.2f} | {_ratio(each, obstores):.2f}"
        yield f"| {words} | {_rate(each):,.0f} | {ratios} | {each['cpu']:.2f} s |"
    yield f"\nThe target is {TARGET} of the server's raw download, asked of streams: {_ratio(ours, curls):.2f} of"
    yield f"curl's, and {_ratio(ours, obstores):.2f} of obstore's. A reader authenticates and deciphers what they"
    yield f"throw away: {ours['cpu']:.2f} s of CPU a GiB beside {curls['cpu']:.2f} and {obstores['cpu']:.2f}, and"
    yield f"{plain['mounted']['cpu']:.2f} on mounted drives. With the server's part on the same cores, that is where"
    yield "the ratio comes from.\n"
    yield from _of_samples(_ratio(plain["samples"], curls), plain["samples"]["cpu"], ours["cpu"])
    yield f"Over TLS, with a bearer token: {_rate(tls['streams']):,.0f} MB/s beside curl's {_rate(tls['curl']):,.0f},"
    yield f"{_ratio(tls['streams'], tls['curl']):.2f} of it.\n"
    yield f"First batch of a DataLoader with two workers, from nothing: {first:.2f} s from nginx, and"
    yield f"{found['first_serve']:.2f} s from `sealift serve`, a process of its own on loopback; {SOON:.0f} s at most"
    yield "are asked for.\n"
    yield "## What each location was asked for\n"
    yield "In one reading of all packs, from `Shipment.health().locations`.\n"
    yield "| location | requests | sent again | bytes |"
    yield "|---|---|---|---|"
    for mount, requests, retries, size in found["asked"]:
        yield f"| {mount} | {requests:,} | {retries:,} | {size:,} |"


def _of_samples(ratio: float, cpu: float, streamed: float) -> Iterator[str]:
    """Whether samples come as fast as is asked of streams, and why not."""
    if ratio >= TARGET:
        yield f"Samples reach it, too: {ratio:.2f} of curl's.\n"
        return
    yield f"Samples miss it: {ratio:.2f} of curl's, {TARGET - ratio:.2f} short. Each is a Python object of its own, in"
    yield f"memory of its own ([NOTES.md](NOTES.md)): {cpu:.2f} s of CPU a GiB beside the streams' {streamed:.2f}, on"
    yield "the cores that nginx shares.\n"


_WORDS = {
    "curl": "curl, whole packs to /dev/null",
    "obstore": "obstore, whole packs, thrown away",
    "ranges": "ranges of 2 MiB, not opened",
    "streams": "streams: authenticated, decompressed",
    "samples": "samples",
    "mounted": "streams, from mounted folders",
}


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(prog="python -m bench.remote", description=__doc__.partition("\n")[0])
    parser.add_argument("--memory", default="/dev/shm", help="a tmpfs")
    parser.add_argument("--size", type=float, default=0.5, help="GiB; below 0.5 nothing is written")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    sys.path.insert(0, str(HERE.parent / "tests" / "support"))
    root = Path(tempfile.mkdtemp(prefix="sealift-bench-remote-", dir=given.memory))
    try:
        found = run(root, int(given.size * (1 << 30)), given.rounds)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    text = "\n".join(lines(found)) + "\n"
    if given.size >= 0.5:
        (HERE / "REMOTE.md").write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
