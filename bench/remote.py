"""Reading a shipment over HTTP on loopback, beside the same server's raw download of the same packs.

    python -m bench.remote                  writes REMOTE.md beside this file; needs nginx and curl, and 3 GB of memory

    curl, obstore      whole packs, one after the other, and thrown away: what the server gives
    ranges             the packs' bytes as this reader asks for them, nothing opened
    streams            every pack's tar, from front to back: fetched, authenticated, decompressed
    curls, readers     curl, and streams, in as many processes at once as there are cores, each of some of the packs
    samples            every sample of every pack
    mounted            streams from the folders that nginx serves
    bare               ranges, received and deciphered by three threads of a few lines: nothing parsed or in order
    decipher           as many bytes of age's chunks, authenticated and deciphered in memory, and nothing else
    tls                curl and streams over TLS, with a bearer token

and how long it takes from nothing to the first batch of a DataLoader, from nginx and from `sealift serve`. Contenders
take turns, each in a process of its own; medians of the rounds. A shipment is open, and its packs are listed, before
the clock starts; that is in the time to the first batch. Own CPU is the contender's; all CPU is what the whole machine
was busy with meanwhile, the server's part and the kernel's with it: where all share few cores, that decides.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import queue
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.reading import once, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

HERE = Path(__file__).parent
PACK = 128 << 20
TOKEN = "bench"
TARGET = 0.8
NEAR = 1.05  # times the target: a loop that comes to less cannot do more than it does
BARE = 3  # threads: of one to four the fastest on two cores
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


# -- contenders


class Took(NamedTuple):
    """What a contender took: seconds, bytes, and seconds of CPU, its own and its children's, and all that was busy."""

    seconds: float
    size: int
    own: float
    all: float


Share = tuple[int, int]
"""Which of how many processes this is; each takes some of the packs."""
ALONE = (0, 1)


def timed(work: Callable[[], int]) -> Took:
    """What it takes to do it; `work` says of how many bytes it was."""
    own, busy, begun = _own(), _busy(), time.perf_counter()
    size = work()
    return Took(time.perf_counter() - begun, size, _own() - own, _busy() - busy)


def _own() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(each.ru_utime + each.ru_stime for each in map(resource.getrusage, kinds))


def _busy() -> float:
    """Seconds for which the machine's cores were busy since it started (/proc/stat, proc(5))."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _idle, _wait, interrupts, soft = map(int, file.readline().split()[1:8])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def at_once(function: Callable[..., Took], *arguments: Any) -> Took:
    """A contender in as many processes as there are cores; they begin together."""
    count = os.cpu_count() or 1
    context = multiprocessing.get_context("fork")
    together, out = context.Barrier(count + 1), context.SimpleQueue()

    def one(number: int) -> None:
        try:
            out.put(function(*arguments, share=(number, count), together=together.wait))
        except Exception as error:  # noqa: BLE001 -- for who waits
            together.abort()
            out.put(error)

    processes = [context.Process(target=one, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    found: list[Took] = []

    def work() -> int:
        for each in [out.get() for _ in processes]:
            if isinstance(each, Exception):
                raise each
            found.append(each)
        return sum(each.size for each in found)

    together.wait()
    took = timed(work)
    for process in processes:
        process.join()
    return took._replace(own=sum(each.own for each in found))


def curl(
    made: Path, url: str, ca: str = "", share: Share = ALONE, together: Callable[[], object] = lambda: None
) -> Took:
    """Whole packs, on one connection, to nowhere."""
    paths = packs(made)[share[0] :: share[1]]
    config = "".join(f'url = "{url}/{path.relative_to(made.parent)}"\noutput = "/dev/null"\n' for path in paths)
    command = ["curl", "--silent", "--fail", "--config", "-"]
    if ca:
        command += ["--cacert", ca, "--header", f"Authorization: Bearer {TOKEN}"]

    def work() -> int:
        subprocess.run(command, input=config.encode(), check=True)
        return sum(path.stat().st_size for path in paths)

    together()
    return timed(work)


def obstore(made: Path, url: str) -> Took:
    """Whole packs, as they come, to nowhere."""
    import obstore as library
    from obstore.store import HTTPStore

    store = HTTPStore(url, client_options={"allow_http": True})
    names = [str(path.relative_to(made.parent)) for path in packs(made)]
    return timed(
        lambda: sum(len(piece) for name in names for piece in library.get(store, name).stream(min_chunk_size=2 << 20))
    )


def ranges(made: Path, url: str) -> Took:
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


def streams(made: Path, *locations: str, share: Share = ALONE, together: Callable[[], object] = lambda: None) -> Took:
    """Every pack's tar, from front to back."""
    with opened(made, *locations) as shipment:
        listed = [each for each, _, _ in shipment.packs()][share[0] :: share[1]]
        together()
        return timed(lambda: _all(shipment, listed))


def samples(made: Path, *locations: str) -> Took:
    """Every sample of every pack."""
    with opened(made, *locations) as shipment:
        listed = [each for each, _, _ in shipment.packs()]
        return timed(
            lambda: sum(
                len(data) for each in listed for sample in shipment.samples(each) for data in sample.files.values()
            )
        )


def bare(made: Path, url: str) -> Took:
    """The packs in ranges of some 4 MiB, deciphered where they came, by a connection and a thread each.

    Under another key, so that nothing authenticates: the arithmetic is the same, and no pack has to be opened.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    from sealift.drives.base import aligned_buffer
    from sealift.formats import age

    host, _, port = url.partition("://")[2].partition(":")
    window, cipher, nonce = (4 << 20) // age.SEALED_CHUNK * age.SEALED_CHUNK, ChaCha20Poly1305(bytes(32)), bytes(12)
    jobs: queue.SimpleQueue[tuple[Path, int, int]] = queue.SimpleQueue()
    for path in packs(made):
        for start in range(0, size := path.stat().st_size, window):
            jobs.put((path.relative_to(made.parent), start, min(start + window, size)))

    def one(_number: int) -> int:
        came, sealed, plain = 0, aligned_buffer(window), aligned_buffer(age.CHUNK)
        with socket.create_connection((host, int(port))) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                try:
                    name, start, stop = jobs.get_nowait()
                except queue.Empty:
                    return came
                sock.sendall(
                    f"GET /{name} HTTP/1.1\r\nHost: {host}\r\nRange: bytes={start}-{stop - 1}\r\n\r\n".encode()
                )
                _head, _, begun = sock.recv(4096).partition(b"\r\n\r\n")
                done, size = len(begun), stop - start
                sealed[:done] = begun
                while done < size:
                    done += sock.recv_into(sealed[done:size], 0, socket.MSG_WAITALL)
                for at in range(0, size, age.SEALED_CHUNK):
                    piece = sealed[at : min(at + age.SEALED_CHUNK, size)]
                    with suppress(InvalidTag):
                        cipher.decrypt_into(nonce, piece, None, plain[: len(piece) - age.TAG])
                came += size

    with ThreadPoolExecutor(BARE) as threads:
        return timed(lambda: sum(threads.map(one, range(BARE))))


def decipher(made: Path) -> Took:
    """Chunks of age, as many bytes as the packs have, in memory."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    from sealift.formats import age

    cipher, nonce, count = ChaCha20Poly1305(bytes(32)), bytes(12), 32  # chunks of a window of 2 MiB
    sealed = memoryview(cipher.encrypt(nonce, os.urandom(age.CHUNK), None) * count)
    out = memoryview(bytearray(age.CHUNK * count))
    size = sum(path.stat().st_size for path in packs(made))

    def work() -> int:
        for number in range(size // age.SEALED_CHUNK):
            at = number % count
            piece = sealed[at * age.SEALED_CHUNK : (at + 1) * age.SEALED_CHUNK]
            cipher.decrypt_into(nonce, piece, None, out[at * age.CHUNK : (at + 1) * age.CHUNK])
        return size

    return timed(work)


def asked(made: Path, *locations: str) -> list[tuple[str, int, int, int]]:
    """What each location was asked for, and gave, when all packs were read."""
    with opened(made, *locations) as shipment:
        _all(shipment, [each for each, _, _ in shipment.packs()])
        return [(each.mount, each.requests, each.retries, each.bytes) for each in shipment.health().locations]


def _all(shipment: Any, listed: Iterable[Any]) -> int:
    size = 0
    for each in listed:
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
    got: dict[str, list[Took]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, (function, *arguments) in contenders.items():
            one = once(function, *arguments)
            if number:
                got[name].append(one)
    found: dict[str, dict[str, Any]] = {}
    for name, each in got.items():
        found[name] = {
            "rates": [one.size / one.seconds for one in each],
            "cpu": statistics.median(one.own / one.size * (1 << 30) for one in each),
            "all": statistics.median(one.all / one.size * (1 << 30) for one in each),
        }
        cpu = f"{found[name]['cpu']:.2f} s of CPU a GiB, {found[name]['all']:.2f} in all"
        print(f"  {name}: {_rate(found[name]):,.0f} MB/s, {cpu}", flush=True)
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
                    "curls": (at_once, curl, made, plain.url),
                    "readers": (at_once, streams, made, listing),
                    "samples": (samples, made, listing),
                    "mounted": (streams, made, *map(str, sorted(made.glob("d0*")))),
                    "bare": (bare, made, plain.url),
                    "decipher": (decipher, made),
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
    yield "| | MB/s | of curl | of obstore | own CPU a GiB | all CPU a GiB |"
    yield "|---|---|---|---|---|---|"
    for name, words in _WORDS.items():
        each = plain[name]
        ratios = f"{_ratio(each, curls):.2f} | {_ratio(each, obstores):.2f}"
        yield f"| {words} | {_rate(each):,.0f} | {ratios} | {each['cpu']:.2f} s | {each['all']:.2f} s |"
    yield f"\nThe target is {TARGET} of the server's raw download, asked of streams: {_ratio(ours, curls):.2f} of"
    yield f"curl's, and {_ratio(ours, obstores):.2f} of obstore's. A reader authenticates and deciphers what they"
    yield f"throw away: {ours['cpu']:.2f} s of CPU a GiB beside {curls['cpu']:.2f} and {obstores['cpu']:.2f}, and"
    yield f"{plain['mounted']['cpu']:.2f} on mounted drives.\n"
    yield from _floor(plain, found["cores"])
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


def _floor(plain: dict[str, dict[str, Any]], cores: int) -> Iterator[str]:
    """What the ratio would be if the parts cost no more than they do alone, and kept every core busy."""
    curls, readers, cipher = plain["curl"], plain["readers"], plain["decipher"]["all"]
    seconds = (curls["all"] + cipher) / cores  # a GiB
    ratio = (1 << 30) / seconds / statistics.median(curls["rates"])
    yield f"The floor: all that curl's download keeps busy, {curls['all']:.2f} s a GiB with the server's part, and"
    yield f"{cipher:.2f} s to decipher, on {cores} cores that are never idle: {(1 << 30) / seconds / 1e6:,.0f} MB/s,"
    verdict = "" if ratio >= TARGET else ", so that nothing reaches the target here"
    yield f"{ratio:.2f} of curl's rate{verdict}. One reader comes to"
    yield f"{_rate(plain['streams']) / ((1 << 30) / seconds / 1e6):.2f} of the floor, {cores} at once to"
    yield f"{_rate(readers) / ((1 << 30) / seconds / 1e6):.2f}: {_ratio(readers, curls):.2f} of one curl's rate, and"
    yield f"{_ratio(readers, plain['curls']):.2f} of that of {cores} curls at once. A loop in Python that receives and"
    alone = _ratio(plain["bare"], curls)
    verdict = (
        "" if alone > NEAR * TARGET else ", which leaves nothing for HTTP, checks and order if the target is to be met"
    )
    yield f"deciphers, with {BARE} threads and nothing else, comes to {alone:.2f} of curl's rate{verdict};"
    yield f"streams come to {_ratio(plain['streams'], plain['bare']):.2f} of that.\n"


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
    "curls": "curl, a process a core",
    "readers": "streams, a process a core",
    "samples": "samples",
    "mounted": "streams, from mounted folders",
    "bare": f"received and deciphered by {BARE} threads, bare",
    "decipher": "deciphered in memory",
}


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(prog="python -m bench.remote", description=__doc__.partition("\n")[0])
    parser.add_argument("--memory", default="/dev/shm", help="a tmpfs")
    parser.add_argument("--size", type=float, default=1.0, help="GiB; below 1 nothing is written")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    sys.path.insert(0, str(HERE.parent / "tests" / "support"))
    root = Path(tempfile.mkdtemp(prefix="sealift-bench-remote-", dir=given.memory))
    try:
        found = run(root, int(given.size * (1 << 30)), given.rounds)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    text = "\n".join(lines(found)) + "\n"
    if given.size >= 1:
        (HERE / "REMOTE.md").write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
