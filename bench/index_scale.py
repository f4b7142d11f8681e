"""Ordering a scan, and writing a group's index, table of packs and hash trees, at millions of members.

    python -m bench.index_scale --members 1e6 --members 5e6 --members 5e7 --work FOLDER

What the walk and the builders would have left behind is made up: what the walk saw, as seen.parquet, and the rows,
blocks and journal of committed stripes. Then the code of stages/pack itself orders it (`order`) and closes the group
(`index`), each in a process of its own, whose peak is compared with what `pack` announces for it (coordinator and
sort). Nothing is written to drives: that is copying, and is measured with the rest of packing.

Shapes of paths, by what they cost:
    shards   corpus/shard-00012/sample-000012345.json, packed in order of path
    hashes   3f/9c/3f9c0a...d1.jpg, 32 hexadecimal digits, packed in shuffled order: nothing to share, nothing sorted
    deep     lang/site-123/2019/07/crawl-..., 90 bytes, in order of path
One line a run: seconds, seconds a million, peak of resident memory and of its proportional share beside what was
announced, the most that lay in spilled runs, and bytes a row.
"""

# ruff: noqa: SLF001 -- what is measured lies behind doors

from __future__ import annotations

import argparse
import contextlib
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

SHAPES = ("shards", "hashes", "deep")
DATA, PARITY = 6, 2
MEAN = 13_000  # bytes a member, so that there are as many packs as such a corpus has
PACK, BLOCKS, FRAME = 1 << 30, 1 << 10, 1 << 19
BATCH = 8192


def paths(shape: str, first: int, count: int) -> np.ndarray:
    """`count` paths of equal length from number `first` on, as an array of bytes (count, length)."""
    numbers = np.arange(first, first + count, dtype=np.uint64)
    if shape == "hashes":  # a bijection of 64 bits twice over: no two alike, no order left
        mixed = np.stack([_mix(numbers), _mix(numbers ^ np.uint64(0xABCDEF))], axis=1).view(np.uint8).reshape(count, 16)
        nibbles = np.empty((count, 32), dtype=np.uint8)
        nibbles[:, 0::2], nibbles[:, 1::2] = mixed >> 4, mixed & 15
        hexes = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)[nibbles]
        return _joined(count, hexes[:, :2], b"/", hexes[:, 2:4], b"/", hexes, b".jpg")
    if shape == "shards":
        return _joined(count, b"corpus/shard-", (numbers // 1000, 7), b"/sample-", (numbers, 11), b".json")
    site, rest = numbers // 5000, numbers % 5000
    middle = (b"/20", (rest // 1000 + 10, 2), b"/", (rest // 100 % 10, 2), b"/crawl-of-the-web-segment-")
    return _joined(count, b"lang-en/site-", (site, 7), *middle, (rest // 10, 6), b"/document-", (rest, 8), b".warc.txt")


def _mix(numbers: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):
            numbers = (numbers ^ numbers >> np.uint64(30)) * np.uint64(factor)
        return numbers ^ numbers >> np.uint64(31)


def _joined(count: int, *parts: Any) -> np.ndarray:
    columns = []
    for part in parts:
        if isinstance(part, bytes):
            columns.append(np.broadcast_to(np.frombuffer(part, dtype=np.uint8), (count, len(part))))
        elif isinstance(part, tuple):
            numbers, digits = part
            places = 10 ** np.arange(digits - 1, -1, -1, dtype=np.uint64)
            columns.append((numbers[:, None] // places % 10 + 48).astype(np.uint8))
        else:
            columns.append(part)
    return np.concatenate(columns, axis=1)


def _sizes(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.integers(0, 2 * MEAN, count, dtype=np.int64)


# -- what the walk leaves -------------------------------------------------------------------------


def make_scan(folder: str, shape: str, members: int) -> None:
    """What the walk saw, as Parquet, batch by batch."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(1)
    writer: Any = None
    ints = ("kind", "size", "mode", "mtime", "sparse", "dev", "ino")
    for first in range(0, members, 16384):
        count = min(16384, members - first)
        text = paths(shape, first, count)
        # a sample's key is its path up to the first dot of the name
        cut = text.shape[1] - text[0].tobytes()[::-1].index(b".") - 1 if shape != "deep" else text.shape[1] - 9
        values = dict.fromkeys(ints, np.zeros(count, dtype=np.int64)) | {
            "size": _sizes(rng, count),
            "mode": np.full(count, 0o644, dtype=np.int64),
            "mtime": rng.integers(1 << 60, 1 << 60 | 1 << 50, count, dtype=np.int64),
            "dev": np.full(count, -1, dtype=np.int64),
            "ino": np.full(count, -1, dtype=np.int64),
        }
        ranks = (
            np.zeros(count, dtype=np.uint64) if shape != "hashes" else rng.integers(0, 1 << 63, count).view(np.uint64)
        )
        columns = [_binary(pa, text), _binary(pa, text[:, :cut]), *[pa.array(values[name]) for name in ints]]
        tags = pa.array([b""] * count, pa.binary())  # files have none
        table = pa.record_batch([*columns, pa.array(ranks), tags], names=["path", "key", *ints, "rank", "tag"])
        writer = writer or pq.ParquetWriter(
            os.path.join(folder, "seen.parquet"), table.schema, compression="zstd", use_dictionary=False
        )
        writer.write_batch(table)
    writer.close()


def _binary(pa: Any, text: np.ndarray) -> Any:
    count, length = text.shape
    offsets = np.arange(0, (count + 1) * length, length, dtype=np.int32)
    return pa.Array.from_buffers(pa.binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(text.tobytes())])


# -- what builders leave --------------------------------------------------------------------------


def make_state(folder: str, shape: str, members: int) -> None:
    """Rows and blocks of every stripe, and a journal, as after the last commit of a packing."""
    from sealift.stages.pack.group import _append_batch, stripe_file
    from sealift.stages.pack.journal import Journal
    from sealift.stages.pack.journal_rows import PackRow
    from sealift.stages.pack.queue import Cursor

    os.makedirs(os.path.join(folder, "stripes"))
    rng = np.random.default_rng(2)
    journal = Journal(folder)
    journal.group(0)
    each = max(1, PACK // MEAN)
    stripes = -(-members // (each * DATA))
    for stripe in range(stripes):
        begin = stripe * each * DATA
        here = min(each * DATA, members - begin)
        with open(stripe_file(folder, stripe, "rows"), "wb") as file:
            for first in range(begin, begin + here, BATCH):
                batch, size = _rows(rng, shape, first, min(BATCH, begin + here - first), stripe)
                _append_batch(file, batch, size)
        with open(stripe_file(folder, stripe, "blocks"), "wb") as file:
            file.write(rng.bytes(32 * BLOCKS * (DATA + PARITY)))
        rows = [
            PackRow(
                stripe, role, PACK, rng.bytes(32), rng.bytes(32), BLOCKS, PACK, PACK, here // DATA, here // DATA,
                here * MEAN // DATA, here // DATA,
            )
            for role in range(DATA + PARITY)
        ]  # fmt: skip
        journal.commit(0, stripe, Cursor(), rows, [], 0.0)
    journal.set_files_end(0, stripes)
    journal.close()


def _rows(rng: np.random.Generator, shape: str, first: int, count: int, stripe: int) -> tuple[bytes, int]:
    """A batch as `index.Rows.encode` makes it."""
    import msgspec

    from sealift.formats import zstd
    from sealift.formats.index import Row

    text = paths(shape, first, count)
    sizes = _sizes(rng, count)
    integers = dict.fromkeys(("kind", "start", "flags"), np.zeros(count, dtype=np.int64)) | {
        "size": sizes, "length": sizes, "stored": sizes, "offset": np.cumsum(sizes + 1536),
        "mode": np.full(count, 0o644, dtype=np.int64), "stripe": np.full(count, stripe, dtype=np.int64),
        "role": np.full(count, first // BATCH % DATA, dtype=np.int64),
        "mtime": rng.integers(1 << 60, 1 << 60 | 1 << 50, count, dtype=np.int64),
    }  # fmt: skip
    none = (bytes(4 * count), b"")
    texts = {
        "path": (np.full(count, text.shape[1], dtype=np.int32).tobytes(), text.tobytes()),
        "blake3": (np.full(count, 32, dtype=np.int32).tobytes(), rng.bytes(32 * count)),
    }
    columns = {name: integers[name].tobytes() if name in integers else texts.get(name, none) for name in Row._fields}
    plain = msgspec.msgpack.encode(columns)
    return zstd.compress(plain), len(plain)


# -- stages, each in a process of its own ---------------------------------------------------------


def run_order(folder: str) -> dict[str, Any]:
    """Order and deal the scan in `folder` to two groups."""
    import pyarrow.parquet as pq

    from sealift.stages.pack.order import arrange

    begun = time.monotonic()
    with pq.ParquetFile(os.path.join(folder, "seen.parquet"), pre_buffer=False) as seen:
        shares, _ = arrange(seen.iter_batches(16384), folder, [1, 1])
    return {"seconds": time.monotonic() - begun, "rows": sum(share.members for share in shares), "parts": {}}


def run_index(folder: str) -> dict[str, Any]:
    """Everything that closing the group in `folder` writes before anything goes to a drive."""
    from sealift.formats import age_keys, manifest
    from sealift.stages.pack import close
    from sealift.stages.pack.journal import Journal

    out = os.path.join(folder, "closed")
    os.makedirs(os.path.join(out, "index"))
    journal = Journal(folder)
    stripes = journal.group(0).stripes
    facts: Any = argparse.Namespace(group=0, data=DATA, parity=PARITY)
    recipients = [age_keys.parse_recipient(age_keys.generate_identity()[1])]
    parts: dict[str, float] = {}

    def timed(name: str, work: Any) -> Any:
        begun = time.monotonic()
        done = work()
        parts[name] = time.monotonic() - begun
        return done

    def members(sink: Any) -> None:
        close._write_members(folder, stripes, sink)

    def table(sink: Any) -> None:
        close._write_packs(journal, facts, sink)

    timed("trees", lambda: close._write_tables(facts, journal, folder, out, stripes))
    index = timed("members", lambda: close._write_index(out, manifest.MEMBERS_INDEX, recipients, members))
    packs = timed("packs", lambda: close._write_index(out, manifest.PACKS_INDEX, recipients, table))
    rows = journal.totals(0, DATA)[2]
    journal.close()
    return {"seconds": sum(parts.values()), "rows": rows, "parts": parts, "bytes": index.bytes + packs.bytes}


STAGES = {"order": (make_scan, run_order), "index": (make_state, run_index)}


def _child(stage: str, folder: str) -> None:
    done = STAGES[stage][1](folder)
    with open("/proc/self/status", encoding="ascii") as file:
        done["rss"] = next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))
    print(json.dumps(done))


def _sampled(process: subprocess.Popen[bytes], folder: str) -> Iterator[tuple[int, int]]:
    """Proportional memory of the process and bytes that it spilled, twice a second."""
    while process.poll() is None:
        try:
            with open(f"/proc/{process.pid}/smaps_rollup", encoding="ascii") as file:
                share = next(int(line.split()[1]) << 10 for line in file if line.startswith("Pss:"))
        except (OSError, StopIteration):
            share = 0
        spill = 0
        for each in glob.glob(f"/proc/{process.pid}/fd/*"):  # runs have no names
            with contextlib.suppress(OSError):
                if folder in (name := os.readlink(each)) and name.endswith("(deleted)"):
                    spill += os.stat(each).st_blocks * 512
        yield share, spill
        time.sleep(0.5)


def measure(stage: str, shape: str, members: int, work: str) -> dict[str, Any]:
    """Make the input of a stage, run it, and say what it took; leaves nothing behind."""
    from sealift.stages.pack.group import memory_needed

    folder = tempfile.mkdtemp(prefix="index-scale-", dir=work)
    try:
        STAGES[stage][0](folder, shape, members)
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.index_scale", "--child", stage, "--work", folder], stdout=subprocess.PIPE
        )
        share, spill = (max(values) for values in zip(*_sampled(process, folder), strict=True))
        assert process.stdout is not None
        done = json.loads(process.stdout.read())
        if process.wait() or done["rows"] < members - DATA * (members // (PACK // MEAN) + 1):
            raise SystemExit(f"{stage} of {members} {shape} failed")
    finally:
        shutil.rmtree(folder)
    announced = memory_needed(DATA + PARITY, os.cpu_count() or 1, DATA)
    done |= {"stage": stage, "shape": shape, "members": members, "pss": share, "spill": spill}
    return done | {"announced": announced["coordinator"] + announced["sort"]}


def _line(done: dict[str, Any]) -> str:
    mib = {name: done[name] >> 20 for name in ("rss", "pss", "announced", "spill")}
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in done["parts"].items())
    row = f", {done['bytes'] / done['members']:.1f} bytes a row" if "bytes" in done else ""
    return (
        f"{done['stage']:6} {done['shape']:7} {done['members']:>11,}: {done['seconds']:8.1f} s, "
        f"{done['seconds'] * 1e6 / done['members']:6.2f} s a million; peak {mib['rss']} MiB resident, {mib['pss']} "
        f"share, {mib['announced']} announced; spill {mib['spill']} MiB{row}{f' ({parts})' if parts else ''}"
    )


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(prog="python -m bench.index_scale", description="Scan and index at scale.")
    parser.add_argument("--members", action="append", type=float, default=[], metavar="N")
    parser.add_argument("--shape", action="append", default=[], choices=SHAPES)
    parser.add_argument("--stage", action="append", default=[], choices=[*STAGES])
    parser.add_argument("--work", required=True, help="a folder with 400 bytes of room a member")
    parser.add_argument("--json", metavar="FILE", help="append one object a run")
    parser.add_argument("--child", choices=[*STAGES], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        _child(given.child, given.work)
        return
    for members in given.members or [1e6]:
        for shape in given.shape or SHAPES:
            for stage in given.stage or STAGES:
                done = measure(stage, shape, int(members), given.work)
                print(_line(done), flush=True)
                if given.json:
                    with open(given.json, "a", encoding="ascii") as file:
                        file.write(json.dumps(done) + "\n")


if __name__ == "__main__":
    main()
