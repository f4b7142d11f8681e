"""The floor: what the parts of packing cost alone, with the same cores, on the same bytes, in the same run.

One process a core does one part at a time, all processes together, on buffers that are reused:

    walk     scandir and lstat of every entry of the corpus
    read     preadv of the corpus' files, each opened and closed
    medium   where drives are read that have one: past the cache, in pieces of 8 MiB
    file     BLAKE3 of what was read
    zstd     level 1, frames of 1 MiB over the files' bytes, where a sample shrinks
    cipher   ChaCha20-Poly1305 in chunks of 64 KiB, encrypt_into
    blocks   BLAKE3 of every block and of the pack, of all n packs
    parity   m columns from k, in slabs
    write    pwrite of slabs into the files of the site, of all n packs (where there is a medium: past the cache, fsync)

Every cost is seconds a byte, of the corpus' bytes for walk, read and file, so what is paid by the file is in it.
The floor of a corpus of `size` bytes is the sum of the parts' times; efficiency is that sum over what packing took.
It is the time of one core doing one thing after the other, spread over all cores: what waits for a medium counts
like what computes, so where both overlap the efficiency can pass 1.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from sealift.drives.base import aligned_buffer
from sealift.formats import parity as codes
from sealift.formats import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BLOCK, SLAB, CHUNK = 1 << 20, 4 << 20, 65536


def _walk(sources: Sequence[str], _total: int, _targets: Sequence[str], _geometry: tuple[int, int]) -> int:
    stack, seen = [os.path.commonpath(sources) if len(sources) > 1 else os.path.dirname(sources[0])], 0
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                else:
                    seen += status.st_size
    return seen


def _zstd(sources: Sequence[str], total: int, _targets: Sequence[str], _geometry: tuple[int, int]) -> int:
    """Of bytes that are there already: reading is another part."""
    buffer, filled = memoryview(bytearray(zstd.FRAME * 16)), 0
    for path in sources:
        with open(path, "rb", buffering=0) as file:
            while filled < len(buffer) and (got := file.readinto(buffer[filled:])):
                filled += got
    frames = [buffer[at : min(at + zstd.FRAME, filled)] for at in range(0, filled, zstd.FRAME)]
    done = 0
    while done < total:
        for frame in frames:
            if zstd.worth_compressing(frame):
                zstd.compress(frame)
            done += len(frame)
    return done


def _read(sources: Sequence[str], total: int, _targets: Sequence[str], _geometry: tuple[int, int]) -> int:
    return _preadv(sources, total, memoryview(bytearray(BLOCK)), os.O_RDONLY)


def _medium(sources: Sequence[str], total: int, _targets: Sequence[str], _geometry: tuple[int, int]) -> int:
    """Past the cache, in large pieces."""
    return _preadv(sources, total, aligned_buffer(8 << 20), os.O_RDONLY | os.O_DIRECT)


def _preadv(sources: Sequence[str], total: int, buffer: memoryview, flags: int) -> int:
    done = 0
    for path in sources:
        fd = os.open(path, flags)
        offset = 0
        while done < total and (got := os.preadv(fd, [buffer], offset)):
            offset += got
            done += got
        os.close(fd)
        if done >= total:
            break
    return done


def _file(_sources: Sequence[str], total: int, _targets: Sequence[str], _geometry: tuple[int, int]) -> int:
    buffer, hasher = memoryview(bytearray(os.urandom(BLOCK))), blake3()
    for _ in range(total // BLOCK):
        hasher.update(buffer)
    return total // BLOCK * BLOCK


def _cipher(_sources: Sequence[str], total: int, _targets: Sequence[str], _geometry: tuple[int, int]) -> int:
    plain, out = memoryview(bytearray(os.urandom(BLOCK))), memoryview(bytearray(CHUNK + 16))
    seal = ChaCha20Poly1305(os.urandom(32)).encrypt_into
    for number in range(total // CHUNK):
        at = number * CHUNK % BLOCK
        seal(number.to_bytes(12, "big"), plain[at : at + CHUNK], None, out)
    return total // CHUNK * CHUNK


def _blocks(_sources: Sequence[str], total: int, _targets: Sequence[str], _geometry: tuple[int, int]) -> int:
    slab, pack = memoryview(bytearray(os.urandom(SLAB))), blake3()
    for _ in range(total // SLAB):
        for start in range(0, SLAB, BLOCK):
            blake3(slab[start : start + BLOCK]).digest()
        pack.update(slab)
    return total // SLAB * SLAB


def _parity(_sources: Sequence[str], total: int, _targets: Sequence[str], geometry: tuple[int, int]) -> int:
    data, extra = geometry
    memory = np.frombuffer(bytearray(os.urandom(SLAB) * (data + extra)), dtype=np.uint8).reshape(data + extra, SLAB)
    have, want = {i: memory[i] for i in range(data)}, {data + j: memory[data + j] for j in range(extra)}
    rounds = max(1, total // (data * SLAB))
    for _ in range(rounds):
        codes.rebuild(data, extra, have, want)
    return rounds * data * SLAB


def _write(_sources: Sequence[str], total: int, targets: Sequence[str], _geometry: tuple[int, int]) -> int:
    slab, done = aligned_buffer(SLAB), 0
    slab[:] = os.urandom(SLAB)
    files = [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT) for path in targets]
    for offset in range(0, max(SLAB, total // len(files)), SLAB):
        for fd in files:
            done += os.pwritev(fd, [slab], offset)
    for fd in files:
        os.fsync(fd)
        os.close(fd)
    return done


_PARTS: dict[str, Callable[[Sequence[str], int, Sequence[str], tuple[int, int]], int]] = {
    "walk": _walk,
    "read": _read,
    "medium": _medium,
    "file": _file,
    "zstd": _zstd,
    "cipher": _cipher,
    "blocks": _blocks,
    "parity": _parity,
    "write": _write,
}


def _worker(
    part: str,
    start: Any,
    result: Any,
    sources: Sequence[str],
    total: int,
    targets: Sequence[str],
    geometry: tuple[int, int],
) -> None:
    work = _PARTS[part]
    if part == "write":
        work(sources, total, targets, geometry)  # the files are there, and their pages
    else:
        work(sources, min(total, 2 * SLAB), targets, geometry)
    start.wait()
    begun = time.perf_counter()
    done = work(sources, total, targets, geometry)
    result.put((begun, time.perf_counter(), done))


def measure(
    sources: Sequence[str],
    total: int,
    folders: Sequence[str],
    geometry: tuple[int, int],
    parts: Sequence[str] = ("walk", "read", "file", "zstd", "cipher", "blocks", "parity", "write"),
) -> dict[str, float]:
    """Seconds a byte of each part, with one process a core, each on `total` bytes; `folders` are written to."""
    cores = len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("fork")
    found = {}
    for part in parts:
        start, result = context.Barrier(cores), context.Queue()
        workers = []
        for core in range(cores):
            targets = [os.path.join(folder, f"floor-{core}") for folder in folders[core::cores] or folders[:1]]
            job = (part, start, result, sources[core::cores] or sources, total, targets, geometry)
            workers.append(context.Process(target=_worker, args=job))
            workers[-1].start()
        answers = [result.get(timeout=600) for _ in workers]
        for worker in workers:
            worker.join()
        spent = max(end for _, end, _ in answers) - min(begun for begun, _, _ in answers)
        found[part] = spent / max(1, sum(done for _, _, done in answers))
    for folder in folders:
        for core in range(cores):
            path = os.path.join(folder, f"floor-{core}")
            if os.path.exists(path):
                os.unlink(path)
    return found


def packing(costs: dict[str, float], size: int, packed: int, geometry: tuple[int, int]) -> float:
    """Seconds that packing `size` bytes of source into `packed` bytes of data packs takes at least."""
    data, extra = geometry
    all_packs = packed * (data + extra) / data
    return (
        size * (costs["walk"] + costs["read"] + costs["file"] + costs["zstd"])
        + packed * (costs["cipher"] + costs["parity"])
        + all_packs * (costs["blocks"] + costs["write"])
    )


def verifying(costs: dict[str, float], size: int) -> float:
    """Seconds that reading `size` bytes and one BLAKE3 of them takes at least."""
    return size * (costs.get("medium", costs.get("read", 0)) + costs["file"])


def rebuilding(costs: dict[str, float], size: int, data: int) -> float:
    """Seconds that rebuilding `size` bytes of one drive takes at least.

    k survivors are read and checked, one column is computed, hashed by block, and written.
    """
    read = costs.get("medium", costs.get("read", 0))
    return size * (data * (read + costs["file"] + costs["parity"] / 2) + costs["file"] + costs["write"])
