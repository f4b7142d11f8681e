"""Reading a shipment where it stands, beside plain files and the loaders that people use: `python -m bench.reading`.

    sequential   all samples of all packs, beside the floor: deciphering and decompressing the same bytes, nothing else
    degraded     the same with one drive of 6+2 lost
    samples      samples a second through a DataLoader, beside WebDataset on its own tar files of the same samples
    random       one located member of 100 KB at a time, from the medium, beside pread of the same plain files
    stall        how long a consumer waits that asks for a share of the reader's rate

Contenders take turns, each run in a process of its own and timed there, after imports; medians and spread of the
rounds. Writes READING.md, reading.json and stall.svg beside this file.
"""

# ruff: noqa: SLF001 -- the floor is made of the parts

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import random
import shutil
import statistics
import sys
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
DATA, PARITY = 6, 2
WORKERS = 2
BATCH = 64
SMALL = 4 << 20  # packs so small that there are more of them than lanes, as in every shipment that is worth its drives


# -- corpora


def make(root: Path, kind: str, count: int) -> Path:
    """Samples: `text` of about 4 KB, `images` that are JPEG of about 100 KB, `noise` in a few large files."""
    source = root / "source" / kind
    if source.exists():
        return source
    rng = random.Random(kind)
    words = [rng.randbytes(rng.randrange(2, 9)).hex() for _ in range(4000)]
    source.mkdir(parents=True)
    for number in range(count if kind != "noise" else max(2, count // 2000)):
        path = source / f"{number // 1000:04d}" / f"{number:08d}"
        path.parent.mkdir(exist_ok=True)
        if kind == "text":
            path.with_suffix(".txt").write_text(" ".join(rng.choices(words, k=rng.randrange(200, 700))))
        elif kind == "images":
            path.with_suffix(".jpg").write_bytes(_jpeg(rng))
            path.with_suffix(".cls").write_text(str(number % 1000))
        else:
            path.with_suffix(".bin").write_bytes(rng.randbytes(200 << 20))
    return source


def _jpeg(rng: random.Random) -> bytes:
    from PIL import Image

    small = np.frombuffer(rng.randbytes(80 * 60 * 3), dtype=np.uint8).reshape(60, 80, 3)
    out = io.BytesIO()
    Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC).save(out, "JPEG", quality=93)
    return out.getvalue()


def pack(root: Path, source: Path, pack_size: int = 128 << 20) -> Path:
    """The shipment of a source, on eight folders beneath `root`."""
    import shipments

    from sealift.formats import seal

    made = root / f"{source.name}-{pack_size}"
    if not (made / "s.seal").exists():
        shutil.rmtree(made, ignore_errors=True)
        origin = shipments.Origin(made, source, DATA, PARITY, options={"pack_size": pack_size})
        origin.pack()
        (made / "s.seal").write_bytes(seal.encode_bundle(origin.seal()))
    return made


def shards(root: Path, source: Path) -> list[str]:
    """The same samples as WebDataset's tar files of about 100 MB."""
    folder = root / "shards" / source.name
    if not folder.exists():
        folder.mkdir(parents=True)
        size, number, tar = 0, 0, None
        most = min(100 << 20, sum(path.stat().st_size for path in source.rglob("*.*")) // 8)
        for path in sorted(source.rglob("*.*")):
            if tar is None or size > most:
                if tar is not None:
                    tar.close()
                tar = tarfile.open(folder / f"{number:05d}.tar", "w")  # noqa: SIM115 -- closed below
                size, number = 0, number + 1
            tar.add(path, str(path.relative_to(source)))
            size += path.stat().st_size
        if tar is not None:
            tar.close()
    return sorted(map(str, folder.glob("*.tar")))


def open_shipment(made: Path, lost: int | None = None) -> Any:
    """Without drive `lost`."""
    from sealift.reading.shipment import Shipment

    mounts = [str(path) for number, path in enumerate(sorted(made.glob("d0*"))) if number != lost]
    identity, allowed = str(made / "identity"), str(made / "allowed")
    return Shipment.open(mounts, identity=identity, allowed_signers=allowed, seal=str(made / "s.seal"))


# -- contenders: each runs in a fresh process and returns seconds


def read_samples(made: Path, lost: int | None = None) -> tuple[float, int]:
    """Every sample of every pack."""
    with open_shipment(made, lost) as shipment:
        begun, size = time.perf_counter(), 0
        for pack_id, _, _ in shipment.packs():
            for sample in shipment.samples(pack_id):
                size += sum(map(len, sample.files.values()))
        return time.perf_counter() - begun, size


def read_streams(made: Path, lost: int | None = None) -> tuple[float, int]:
    """Every pack's tar, from front to back, as a copy would take it."""
    with open_shipment(made, lost) as shipment:
        begun, size = time.perf_counter(), 0
        for pack_id, _, _ in shipment.packs():
            content = shipment.groups[pack_id.group].content(pack_id.stripe, pack_id.role)
            for piece in content.pieces(0, content.size):
                size += len(piece)
        return time.perf_counter() - begun, size


def floor(made: Path) -> tuple[float, int]:
    """Read, decipher and decompress the same frames, in memory that is used again; nothing is looked up or cut out."""
    from sealift.formats import age, manifest, zstd

    with open_shipment(made) as shipment:
        opened = []
        for pack_id, _, _ in shipment.packs():
            group = shipment.groups[pack_id.group]
            content = group.content(pack_id.stripe, pack_id.role)
            slot = manifest.slot_of(pack_id.stripe, pack_id.role, group.reader.n)
            opened.append((content, group.reader._handle(group.reader.drives[slot][0], pack_id.stripe, pack_id.role)))
        sealed, plain = memoryview(bytearray(192 << 20)), memoryview(bytearray(192 << 20))
        sealed[::4096], plain[::4096] = bytes(len(sealed[::4096])), bytes(len(plain[::4096]))
        out = memoryview(bytearray(zstd.FRAME))
        begun, size = time.perf_counter(), 0
        for content, file in opened:
            reader = content._reader
            length = reader._record.length - reader._start
            file.readinto_at(reader._start, sealed[:length])
            for number in range(reader._last + 1):
                piece = sealed[number * age.SEALED_CHUNK : min((number + 1) * age.SEALED_CHUNK, length)]
                target = plain[number * age.CHUNK : number * age.CHUNK + len(piece) - age.TAG]
                reader._opener.open_chunk(number, piece, target, last=number == reader._last)
            ends, raw = content._packed, np.diff(content._raw)
            for number, count in enumerate(raw):
                frame = plain[int(ends[number]) : int(ends[number + 1])]
                if len(frame) == zstd.raw_bound(int(count)):
                    out[: int(count)] = frame[: int(count)]  # what decompressing such a frame costs at least
                else:
                    zstd.decompress(frame, int(count))
            size += int(raw.sum())
        return time.perf_counter() - begun, size


def _decode_jpeg(data: bytes) -> Any:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)))


def ours(made: Path, kind: str, decode: bool) -> tuple[float, int]:
    """Samples through ShipmentDataset and a DataLoader; only their sizes come back from the workers."""
    from torch.utils.data import DataLoader

    from sealift.integrations.torch import ShipmentDataset

    name = {"text": "txt", "images": "jpg"}[kind]

    def look(sample: Any) -> int:
        data = sample.files[name]
        return len(_decode_jpeg(data) if kind == "images" else data.decode().split()) if decode else len(data)

    with open_shipment(made) as shipment:
        dataset = ShipmentDataset(shipment, batch_size=BATCH, decode=look, rank=0, world_size=1)
        loader = DataLoader(dataset, batch_size=None, num_workers=WORKERS, prefetch_factor=4)
        begun = time.perf_counter()
        count = sum(len(batch) for batch in loader)
        return time.perf_counter() - begun, count


def theirs(tars: list[str], kind: str, decode: bool) -> tuple[float, int]:
    """The same samples through WebDataset, which shuffles shards and a buffer, too."""
    import webdataset as wds
    from torch.utils.data import DataLoader

    name = {"text": "txt", "images": "jpg"}[kind]

    def look(sample: dict[str, bytes]) -> int:
        data = sample[name]
        return len(_decode_jpeg(data) if kind == "images" else data.decode().split()) if decode else len(data)

    dataset = (
        wds.WebDataset(tars, shardshuffle=100, empty_check=False)
        .shuffle(1000)
        .map(look)
        .batched(BATCH, collation_fn=list)
    )
    loader = DataLoader(dataset, batch_size=None, num_workers=WORKERS, prefetch_factor=4)
    begun = time.perf_counter()
    count = sum(len(batch) for batch in loader)
    return time.perf_counter() - begun, count


def forget(folder: Path) -> None:
    """Nothing of these files in the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def random_reads(made: Path, source: Path, count: int) -> dict[str, float]:
    """Median seconds of a located member from the medium, of the same plain file, and of looking its path up.

    `open`: the pack was read from before, so that its key and seek table are known; `closed`: they are read, too.
    """
    from sealift.reading.pack import OpenPacks
    from sealift.reading.shipment import PackId

    rng = random.Random(2)
    paths = rng.sample(sorted(source.rglob("*.jpg")), count)
    with open_shipment(made) as shipment:
        names = [str(path.relative_to(source)) for path in paths]
        lookups, members = [], []
        for name in names:
            begun = time.perf_counter()
            members.append(shipment.stat(name))
            lookups.append(time.perf_counter() - begun)
        times: dict[str, list[float]] = {"open": [], "closed": [], "plain": []}
        for path, member in zip(paths, members, strict=True):
            _forget_one(path)
            number, (row,) = shipment.located(member)
            for state in ("closed", "open"):
                shipment._open = OpenPacks()
                if state == "open":
                    content = shipment.content(PackId(number, row.stripe, row.role))
                    place = rng.randrange(max(1, content.size - (1 << 20)))
                    content.read(place, min(row.length, content.size - place))
                forget(made)
                begun = time.perf_counter()
                data = shipment.read(member)
                times[state].append(time.perf_counter() - begun)
            begun = time.perf_counter()
            fd = os.open(path, os.O_RDONLY)
            plain = os.pread(fd, os.fstat(fd).st_size, 0)
            os.close(fd)
            times["plain"].append(time.perf_counter() - begun)
            assert data == plain
    return {name: statistics.median(each) for name, each in {**times, "lookup": lookups}.items()}


def _forget_one(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


class Cached:
    """As many batches as a shipment gives, at hand in each worker: what the loader itself costs."""

    def __init__(self, batches: int) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return self._batches

    def __getitem__(self, number: int) -> list[int]:
        if number >= self._batches:
            raise IndexError(number)
        return [100_000 + place for place in range(BATCH)]


def stall(made: Path, share: float, rate: float, how: str) -> float:
    """The share of its time for which a consumer waits that takes `share` of `rate` samples a second.

    After 20 batches. `how`: "waits" for what a loader takes ahead (Ahead); "bare", for the loader itself; "cached", as
    "waits" with batches at hand: what is left is the loader's own.
    """
    from torch.utils.data import DataLoader

    from sealift.integrations.ahead import Ahead
    from sealift.integrations.torch import ShipmentDataset

    with open_shipment(made) as shipment:
        dataset: Any = ShipmentDataset(
            shipment, batch_size=BATCH, decode=lambda sample: len(sample.files["jpg"]), rank=0, world_size=1
        )
        if how == "cached":
            dataset = Cached(len(dataset))
        made_ahead = DataLoader(dataset, batch_size=None, num_workers=WORKERS, prefetch_factor=8)
        loader = iter(made_ahead) if how == "bare" else Ahead(made_ahead)
        step = BATCH / (rate * share)
        waited = total = 0.0
        for number in range(len(dataset)):
            begun = time.perf_counter()
            next(loader)
            got = time.perf_counter()
            time.sleep(max(0.0, step - (got - begun)))
            if number >= 20:
                waited += got - begun
                total += time.perf_counter() - begun
        return waited / max(total, 1e-9)


# -- turns


def _apply(out: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        out.put(function(*arguments))
    except Exception as error:  # noqa: BLE001 -- the parent would wait for ever
        out.put(error)


def once(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run it in a process of its own."""
    context = multiprocessing.get_context("fork")
    out = context.Queue()
    process = context.Process(target=_apply, args=(out, function, arguments))
    process.start()
    answer = out.get(timeout=600)
    process.join()
    if isinstance(answer, Exception):
        raise answer
    return answer


def turns(contenders: dict[str, tuple[Any, ...]], rounds: int) -> dict[str, dict[str, Any]]:
    """Medians of the rounds after a first one that is not counted; contenders alternate."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    amount: dict[str, int] = {}
    names = list(contenders)
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            function, *arguments = contenders[name]
            taken, amount[name] = once(function, *arguments)
            if number or not rounds:
                seconds[name].append(taken)
    found = {}
    for name, each in seconds.items():
        median = statistics.median(each)
        spread = (max(each) - min(each)) / median
        found[name] = {"seconds": median, "rate": amount[name] / median, "spread": spread}
        print(f"  {name}: {median:.3f} s, {amount[name] / median:,.0f} a second, spread {spread:.0%}", flush=True)
    return found


def run(root: Path, medium: Path, scale: float, rounds: int) -> dict[str, Any]:
    """Everything, as one record."""
    found: dict[str, Any] = {"cores": os.cpu_count(), "sequential": {}, "samples": {}}
    counts = {"text": int(180_000 * scale), "images": int(24_000 * scale), "noise": int(10_000 * scale)}
    for kind, count in counts.items():
        source = make(medium, kind, max(count, 200))
        made = pack(root, source)
        print(f"sequential {kind}", flush=True)
        found["sequential"][kind] = turns(
            {
                "floor": (floor, made),
                "streams": (read_streams, made),
                "samples": (read_samples, made),
                "streams, one drive lost": (read_streams, made, 2),
                "samples, one drive lost": (read_samples, made, 2),
            },
            rounds,
        )
        if kind == "noise":
            continue
        many = pack(root, source, SMALL)
        tars = shards(root, source)
        for decode in (False, True):
            print(f"samples of {kind}, {'decoded' if decode else 'as they are'}", flush=True)
            contenders = {"sealift": (ours, many, kind, decode), "WebDataset": (theirs, tars, kind, decode)}
            found["samples"][f"{kind}{', decoded' if decode else ''}"] = turns(contenders, rounds)
    made, many = pack(root, make(medium, "images", 0)), pack(root, make(medium, "images", 0), SMALL)
    on_disk = medium / "shipment"
    if not on_disk.exists():
        shutil.copytree(made, on_disk)
    found["random"] = once(random_reads, on_disk, medium / "source" / "images", min(150, counts["images"] // 2))
    print(f"random {found['random']}", flush=True)
    rate = found["samples"]["images"]["sealift"]["rate"]
    shares = [0.25, 0.4, 0.55, 0.7, 0.85, 1.0]
    found["stall"] = {}
    for share in shares:
        found["stall"][str(share)] = {
            how: statistics.median(once(stall, many, share, rate, how) for _ in range(rounds)) for how in _LABELS
        }
    print(f"stall {found['stall']}", flush=True)
    return found


def lines(found: dict[str, Any]) -> Iterator[str]:
    """READING.md."""
    yield "# Reading where it stands\n"
    yield f"Written by `python -m bench.reading`; {found['cores']} cores. Ratios hold for what took turns in one run."
    yield "\n## From front to back\n"
    yield "Shipments in memory (tmpfs), 6+2. The floor deciphers and decompresses the same bytes into used memory.\n"
    yield "| | floor MB/s | streams | samples | streams, one drive lost | samples, one drive lost |"
    yield "|---|---|---|---|---|---|"
    for kind, each in found["sequential"].items():
        base = each["floor"]["seconds"]
        cells = [f"{base / each[name]['seconds']:.2f}" for name in ("streams", "samples")]
        cells += [
            f"{each[name]['seconds'] / each[name + ', one drive lost']['seconds']:.2f}"
            for name in ("streams", "samples")
        ]
        yield f"| {kind} | {each['floor']['rate'] / 1e6:,.0f} | {' | '.join(cells)} |"
    yield "\nStreams and samples as a share of the floor; with a drive lost, as a share of themselves without.\n"
    yield "## Samples a second\n"
    yield f"A DataLoader with {WORKERS} workers; WebDataset reads its own tar files, also in memory. Packs have 4 MiB,"
    yield "so that there are more of them than lanes, as in a real shipment.\n"
    yield "| | sealift | WebDataset | ratio |"
    yield "|---|---|---|---|"
    for kind, each in found["samples"].items():
        one, other = each["sealift"]["rate"], each["WebDataset"]["rate"]
        yield f"| {kind} | {one:,.0f} | {other:,.0f} | {one / other:.2f}x |"
    rates = found["random"]
    yield "\n## One member at random, from the medium\n"
    yield "Nothing of it in the page cache; medians. Of a pack that was read before, key and seek table are known.\n"
    yield "| located member of 100 KB | of a pack not read before | the same plain file | ratios | looking a path up |"
    yield "|---|---|---|---|---|"
    ratios = [rates[name] / rates["plain"] for name in ("open", "closed")]
    cells = [f"{rates[name] * 1e3:.2f} ms" for name in ("open", "closed", "plain", "lookup")]
    yield f"| {' | '.join(cells[:3])} | {ratios[0]:.1f}, {ratios[1]:.1f} | {cells[3]} |"
    yield "\n## Stall\n"
    yield "A consumer that asks for a share of the reader's rate waits for this share of its time (stall.svg); and"
    yield "beside it the same loader bare, without Ahead, and with Ahead where every batch is at hand in its workers.\n"
    yield "| asked for | " + " | ".join(f"{float(share):.0%}" for share in found["stall"]) + " |"
    yield "|---|" + "---|" * len(found["stall"])
    for name, words in _LABELS.items():
        yield f"| {words} | " + " | ".join(f"{each[name]:.2%}" for each in found["stall"].values()) + " |"


_LABELS = {"waits": "read from the shipment", "bare": "the same, without Ahead", "cached": "batches at hand"}


def plot(found: dict[str, Any], path: Path) -> None:
    """The curve of stalls."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "sealift"
    figure, axes = plt.subplots(figsize=(6, 3.2))
    for name, style in (("waits", "o-"), ("bare", ".:"), ("cached", "x--")):
        waits = [100 * each[name] for each in found["stall"].values()]
        axes.plot([100 * float(share) for share in found["stall"]], waits, style, label=_LABELS[name])
    axes.legend(frameon=False)
    axes.set_xlabel("asked for, % of the reader's rate")
    axes.set_ylabel("waits, % of its time")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(prog="python -m bench.reading", description=__doc__.partition("\n")[0])
    parser.add_argument("--memory", default="/dev/shm", help="a tmpfs, 10 GB")
    parser.add_argument("--work", required=True, help="a folder on a disk, 8 GB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the corpora; below 1 nothing is written")
    given = parser.parse_args()
    sys.path.insert(0, str(HERE.parent / "tests" / "support"))
    root = Path(given.memory) / "sealift-bench-reading"
    medium = Path(given.work) / f"reading-{given.scale}"
    medium.mkdir(parents=True, exist_ok=True)
    try:
        found = run(root, medium, given.scale, given.rounds)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if given.scale >= 1:
        (HERE / "reading.json").write_text(json.dumps(found, indent=1) + "\n")
        (HERE / "READING.md").write_text("\n".join(lines(found)) + "\n")
        plot(found, HERE / "stall.svg")
    else:
        print("\n".join(lines(found)))


if __name__ == "__main__":
    main()
