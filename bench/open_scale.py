"""From drives to a first training batch at the size of a shipment that nobody has on a desk.

    python -m bench.open_scale --members 1e8 --packs 1.1e6 --work FOLDER

One pack is real: packed, encrypted and signed as ever. Around it a group is made up, 6+2, of as many packs and members
as asked: packs.bin and blocks.bin under their hash trees, both index files, the manifest, its signature and the seal.
Every pack is that one pack, by its record; those that are read are hard links to it. Then a process that has imported
what it needs opens the shipment, makes a dataset, reads a batch, and looks up paths; its resident peak is what the
system says. One JSON line.
"""

# ruff: noqa: SLF001 -- what is made up is made by the code that makes the real ones

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.index_scale import paths

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA, PARITY = 6, 2
N = DATA + PARITY
FILES = 400  # of the real pack


def make(folder: Path, members: int, packs: int) -> None:
    """A shipment in `folder`: d00 to d07, identity, allowed, s.seal."""
    import msgspec
    import shipments

    from sealift.formats import age_keys, index, manifest, paged, seal
    from sealift.stages.pack import close

    source = folder / "source"
    for number in range(FILES):
        shipments.write(source / f"{number:05d}.txt", b"sample %d\n" % number * 100)
    origin = shipments.Origin(folder, source, DATA, PARITY, options={"pack_size": 64 << 20})
    origin.pack()
    with origin.shipment() as shipment:
        reader = shipment.groups[0].reader
        counts = shipment.groups[0].counts()
        role = int(np.argmax(counts.samples[:DATA]))
        record = reader.record(0, role)
        name = manifest.pack_name(0, role, DATA)
        pack = Path(reader.drives[manifest.slot_of(0, role, N)][0].mount, "sealift", name).read_bytes()
        blocks = b"".join(reader._hash(record, number) for number in range(-(-record.length // manifest.BLOCK)))
        plain, tar, samples = (int(column[role]) for column in (counts.plain, counts.tar, counts.samples))
    stripes = packs // DATA
    each = len(blocks) // 32
    out = folder / "made"
    (out / "index").mkdir(parents=True)

    def records() -> Iterator[bytes]:
        for stripe in range(stripes):
            first = stripe * N * each
            yield b"".join(
                manifest.PACK.pack(
                    record.length, first + r * each, record.header if r < DATA else bytes(32), record.blake3
                )
                for r in range(N)
            )

    packs_ref = close._write_tree(
        str(out / manifest.PACKS), manifest.PACKS_MAGIC, manifest.PACK.size, stripes * N, records()
    )
    hashes = (blocks * 4096 for _ in range(stripes * N // 4096))
    rest = blocks * (stripes * N % 4096)
    blocks_ref = close._write_tree(
        str(out / manifest.BLOCKS), manifest.BLOCKS_MAGIC, paged.DIGEST, stripes * N * each, (*hashes, rest)
    )
    recipients = [age_keys.parse_recipient(origin.recipient)]

    def write_members(sink: Any) -> None:
        writer = index.members_writer(sink)
        firsts = []
        for first in range(0, members, index.ROWS):
            writer.write_batch(_rows(first, min(index.ROWS, members - first), stripes))
            firsts.append(paths("shards", first, 1).tobytes())
        writer.add_key_value_metadata({index.FIRSTS: index.encode_firsts(firsts)})
        writer.close()

    def write_packs(sink: Any) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        count = stripes * DATA
        places = np.arange(count)
        same = {"length": record.length, "plain": plain, "tar": tar, "members": samples, "samples": samples}
        columns = {"stripe": places // DATA, "role": places % DATA} | {k: np.full(count, v) for k, v in same.items()}
        schema = index.packs_schema()
        table = pa.table({field.name: pa.array(columns[field.name], field.type) for field in schema}, schema=schema)
        with pq.ParquetWriter(sink, schema, compression="zstd", store_schema=False) as writer:
            writer.write_table(table, row_group_size=65536)

    members_ref = close._write_index(str(out), manifest.MEMBERS_INDEX, recipients, write_members)
    table_ref = close._write_index(str(out), manifest.PACKS_INDEX, recipients, write_packs)
    old = origin.manifests()[0][0]
    made = msgspec.structs.replace(
        old,
        geometry=msgspec.structs.replace(old.geometry, stripes=stripes, files_end=stripes),
        packs=packs_ref, blocks=blocks_ref, members_index=members_ref, packs_index=table_ref,
        totals=msgspec.structs.replace(old.totals, members=members, files=members),
    )  # fmt: skip
    encoded = manifest.encode_manifest(made)
    signature = origin.signer.sign(encoded, manifest.NAMESPACE)
    for mount in origin.mounts:
        drive = Path(mount, "sealift")
        shutil.rmtree(drive / "packs", ignore_errors=True)
        for name in manifest.GROUP_FILES:
            (drive / name).unlink()
            os.link(out / name, drive / name)
        (drive / manifest.MANIFEST).write_bytes(encoded)
        (drive / manifest.SIGNATURE).write_bytes(signature)
    (folder / "pack").write_bytes(pack)
    (folder / "s.seal").write_bytes(seal.encode_bundle(origin.seal()))


def _rows(first: int, count: int, stripes: int) -> Any:
    """Rows of the index, as many as there are in order of path."""
    import pyarrow as pa

    from sealift.formats import index

    numbers = np.arange(first, first + count)
    names = paths("shards", first, count)
    digests = np.random.default_rng(first).bytes(32 * count)
    empty = pa.array([b""] * count, pa.binary())
    same = {"kind": 0, "size": 13_000, "mode": 0o644, "start": 0, "length": 13_000, "stored": 13_000, "flags": 0}
    columns: dict[str, Any] = {name: np.full(count, value) for name, value in same.items()} | {
        "mtime": 1_700_000_000_000_000_000 + numbers * 1_000_000_007,
        "stripe": numbers // 100 % stripes,
        "role": numbers % DATA,
        "offset": numbers % 100 * 13_824 + 512,
    }
    wide = names.shape[1]
    given = {
        "path": index.binary(np.full(count, wide, np.int32).tobytes(), names.tobytes()),
        "blake3": index.binary(np.full(count, 32, np.int32).tobytes(), digests),
        "link": empty,
        "file_blake3": empty,
    }
    schema = index.members_schema()
    arrays = [given.get(field.name) or pa.array(columns[field.name], field.type) for field in schema]
    return pa.record_batch(arrays, schema=schema)


def link_first(folder: Path, batch_size: int) -> None:
    """Hard links for the packs that the first batches ask for: any other could be asked for as well."""
    from sealift.formats import manifest
    from sealift.integrations.torch import ShipmentDataset
    from sealift.reading.samples import PackSamples
    from sealift.reading.shipment import Shipment

    mounts = sorted(str(path) for path in folder.glob("d0*"))
    identity, allowed, seal = (str(folder / name) for name in ("identity", "allowed", "s.seal"))
    with Shipment.open(mounts, identity=identity, allowed_signers=allowed, seal=seal) as shipment:
        dataset = ShipmentDataset(shipment, batch_size=batch_size, rank=0, world_size=1)
        packs = PackSamples(shipment)
        parts = [part for batch in range(4) for part in dataset.order.share(batch, 0, 1)]
        for lane, start, _ in parts:
            _, stripe, role = packs.pack(dataset.order.window(lane, start).unit)
            drives = {slot: drives[0].mount for slot, drives in shipment.groups[0].reader.drives.items()}
            target = Path(drives[manifest.slot_of(stripe, role, N)], "sealift", manifest.pack_name(stripe, role, DATA))
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                os.link(folder / "pack", target)


def child(folder: Path, batch_size: int) -> None:
    """What is measured, after imports; one JSON line."""
    import pyarrow.parquet  # noqa: F401 -- imports are not counted
    import torch.utils.data

    from sealift.integrations.torch import ShipmentDataset
    from sealift.reading.shipment import Shipment

    mounts = sorted(str(path) for path in folder.glob("d0*"))
    marks = {"begun": time.perf_counter()}
    identity, allowed, seal = (str(folder / name) for name in ("identity", "allowed", "s.seal"))
    shipment = Shipment.open(mounts, identity=identity, allowed_signers=allowed, seal=seal)
    marks["open"] = time.perf_counter()
    dataset = ShipmentDataset(shipment, batch_size=batch_size, rank=0, world_size=1)
    marks["dataset"] = time.perf_counter()
    batch = next(iter(torch.utils.data.DataLoader(dataset, batch_size=None)))
    marks["first batch"] = time.perf_counter()
    seconds = [time.perf_counter()]
    total = shipment.groups[0].manifest.totals.members
    for number in np.random.default_rng(1).integers(0, total, 40):
        shipment.stat(paths("shards", int(number), 1).tobytes())
        seconds.append(time.perf_counter())
    lookups = sorted(np.diff(seconds))
    listed = len(shipment.listdir("corpus/shard-0000042"))
    marks["listdir"] = time.perf_counter() - (seconds[-1] - marks["first batch"])
    times = list(marks.values())
    found = {name: round(b - a, 3) for (name, b), a in zip(list(marks.items())[1:], times, strict=False)}
    found |= {"members": total, "packs": len(shipment.groups[0].counts().length), "batch": len(batch)}
    found |= {"first lookup": round(lookups[-1], 4), "median lookup": round(lookups[len(lookups) // 2], 4)}
    found |= {"listed": listed, "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}
    print(json.dumps(found))


def main() -> None:
    """Make, and measure in another process."""
    parser = argparse.ArgumentParser(prog="python -m bench.open_scale", description=__doc__.partition("\n")[0])
    parser.add_argument("--members", type=float, default=1e6, metavar="N")
    parser.add_argument("--packs", type=float, default=1e4, metavar="N")
    parser.add_argument("--batch-size", type=int, default=256, metavar="N")
    parser.add_argument("--work", required=True, help="a folder with 60 bytes of room a member and 150 a pack")
    parser.add_argument("--keep", action="store_true", help="leave the shipment there")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
    if given.child:
        child(Path(given.child), given.batch_size)
        return
    folder = Path(tempfile.mkdtemp(prefix="open-scale-", dir=given.work))
    try:
        make(folder, int(given.members), int(given.packs))
        link_first(folder, given.batch_size)
        command = [sys.executable, "-m", "bench.open_scale", "--child", str(folder), "--work", given.work]
        subprocess.run([*command, "--batch-size", str(given.batch_size)], check=True)
    finally:
        if not given.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
