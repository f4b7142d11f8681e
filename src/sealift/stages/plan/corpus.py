"""What there is to carry: counted by walking it, or told on paper; and how far it compresses, from a sample.

    look      a folder: files, bytes, kinds, sizes, and a sample of what is in them
    on_paper  the same from figures that are told

What holds:
- Nothing is read but folders and the sample. Memory does not grow with the number of files.
- A file with several names counts once. Holes count as the zeros that they read as: the sample says what they come to.
- What cannot be carried is counted, and the first of it named.
- The sample is SAMPLES places, each drawn evenly over all bytes, with replacement, in the one pass of the walk, and the
  same whenever the corpus is the same: it depends on paths and sizes, not on the order of the walk. What is
  compressed at a place is what packing would put into one frame there: the file and those that follow it in its folder,
  with their headers. Its mean, with the 95% interval of the mean, is the packed share of a byte.
- The interval is of chance alone: it holds for the corpus as it is now. Plans go by its upper end.
"""

from __future__ import annotations

import bisect
import math
import os
import statistics
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from blake3 import blake3
from msgspec import Struct

from sealift.errors import BadInput
from sealift.formats import age, tar, zstd
from sealift.formats.index import DIRECTORY, FILE
from sealift.stages.pack.source import located, source_of
from sealift.stages.pack.stream import FLUSH_AT
from sealift.stages.pack.walk import FORM, KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from sealift.stages.pack.source import Reader
    from sealift.stages.pack.walk import Seen

SAMPLES = 400
FOLLOWING = 64  # files after the one that is drawn, at most, in a sample's frame
MAX_FILES = 1 << 50
MAX_BYTES = 1 << 60
_HEADERS = 1536  # of tar, for a file with pax records
_BARE = _HEADERS // 8  # what they shrink to, beside their like
_MTIME = 1_700_000_000_123_456_789  # one with a fraction of a second, as most have: it takes a pax record
_SKIPPED = 20  # that are named
_SUFFIX = 12  # bytes of a name that may be its kind

KINDS_OF_FILES = {  # kind -> suffixes; what is elsewhere is "other"
    "text": "txt md rst tex html htm xml json jsonl ndjson csv tsv log yaml yml toml",
    "code": "c h cc cpp hpp py js ts java go rs sh ipynb",
    "images": "jpg jpeg png gif bmp tif tiff webp heic avif svg dng raw",
    "video": "mp4 mkv mov avi webm mpg mpeg m4v ts2",
    "audio": "mp3 wav flac ogg opus m4a aac",
    "tables": "parquet arrow feather orc avro npy npz h5 hdf5 zarr db sqlite",
    "archives": "tar gz tgz zip zst xz bz2 7z",
}
_KIND_OF = {suffix.encode(): kind for kind, suffixes in KINDS_OF_FILES.items() for suffix in suffixes.split()}


class Kind(Struct, frozen=True, kw_only=True):
    """Files of one kind, by the ends of their names."""

    kind: str
    files: int
    bytes: int


class Corpus(Struct, frozen=True, kw_only=True):
    """What is carried. `share` is packed bytes a byte, the mean of `samples`; `low` to `high` its 95% interval."""

    source: str  # "" on paper
    files: int
    folders: int
    links: int  # symbolic links, and further names of files
    bytes: int  # of files, each once
    largest: int
    kinds: tuple[Kind, ...]  # the largest first
    sizes: tuple[int, ...]  # files of 0 bytes, of 1, of 2 to 3, of 4 to 7 ...
    share: float
    low: float
    high: float
    samples: int
    skipped: int = 0
    skipped_first: tuple[str, ...] = ()

    @property
    def packed_bytes(self) -> int:
        """Packed bytes to plan for: the upper end of the interval, and headers of what has no bytes."""
        bare = self.folders + self.links + (self.sizes[0] if self.sizes else 0)
        return math.ceil(self.bytes * self.high) + bare * _BARE + tar.BLOCK

    @property
    def members(self) -> int:
        """Rows of the index, about."""
        return self.files + self.folders + self.links


def on_paper(size: int, files: int, *, share: float = 1.0) -> Corpus:
    """A corpus that is only told of: `share` is packed bytes a byte, 1 where nothing compresses.

    BadInput names every fault at once.
    """
    faults = []
    if not 1 <= size <= MAX_BYTES:
        faults.append(f"{size:,} bytes: from 1 to {MAX_BYTES:,}")
    if not 1 <= files <= MAX_FILES:
        faults.append(f"{files:,} files: from 1 to {MAX_FILES:,}")
    if not 0 < share <= 2:
        faults.append(f"a packed share of {share}: more than 0, and at most 2; 1 where nothing compresses")
    if faults:
        raise BadInput("the corpus on paper does not add up: " + "; ".join(faults), hint="--bytes 4.8PB --files 1.2e9")
    with_headers = share + files * _BARE / size
    return Corpus(
        source="", files=files, folders=0, links=0, bytes=size, largest=0, kinds=(), sizes=(),
        share=with_headers, low=with_headers, high=with_headers, samples=0,
    )  # fmt: skip


class _Place(NamedTuple):
    """A file that was drawn, and those that follow it, with their sizes."""

    at: int  # the byte of the first that was drawn
    files: list[tuple[bytes, int]]


class _Draw:
    """Places drawn evenly over all bytes, each by itself, whatever the order in which files come.

    Each byte of a file may be drawn at the times of a Poisson process that the file's path begins; all files together
    are one process, whose first times are drawn evenly over all bytes (superposition), and do not depend on the order.
    """

    def __init__(self, number: int, seed: int) -> None:
        self._number, self._seed, self._salt = number, seed & 0xFFFFFFFF, seed.to_bytes(8, "little")
        self._drawn: list[tuple[float, bytes, _Place]] = []  # by time, the earliest `number`
        self._last = math.inf

    @property
    def places(self) -> list[_Place]:
        """Those that were drawn, in the order of their times."""
        return [place for _, _, place in self._drawn]

    def batch(self, paths: Sequence[bytes], sizes: NDArray[np.int64]) -> None:
        """Files, with the bytes that count."""
        if not len(paths):
            return
        keys = np.fromiter((zlib.crc32(path, self._seed) for path in paths), np.uint64, len(paths))
        first = -np.log(_unit(_mixed(keys)))
        early = np.flatnonzero((sizes > 0) & (first / np.maximum(sizes, 1) < self._last))
        for number in early.tolist():
            self._file(paths, sizes, number, float(first[number]))

    def _file(self, paths: Sequence[bytes], sizes: NDArray[np.int64], number: int, first: float) -> None:
        """All times of a file that are early enough; the first is `first` over its bytes."""
        path, size = paths[number], int(sizes[number])
        time, random = first / size, None
        files: list[tuple[bytes, int]] | None = None
        while time < self._last:
            random = random or np.random.default_rng(np.frombuffer(blake3(self._salt + path).digest(), np.uint32))
            files = files or _following(paths, sizes, number)
            at = len(self._drawn) if time > self._latest else bisect.bisect(self._drawn, (time, path))
            self._drawn.insert(at, (time, path, _Place(int(random.integers(size)), files)))
            if len(self._drawn) > self._number:
                self._drawn.pop()
            if len(self._drawn) == self._number:
                self._last = self._drawn[-1][0]
            time += float(random.exponential()) / size

    @property
    def _latest(self) -> float:
        return self._drawn[-1][0] if self._drawn else -math.inf


def _mixed(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Bits well mixed: the finaliser of splitmix64 (Steele, Lea and Flood, 2014)."""
    mixed = keys + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _unit(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Numbers above 0 and up to 1."""
    return ((bits >> np.uint64(11)).astype(np.float64) + 1) / float(1 << 53)


def _following(paths: Sequence[bytes], sizes: NDArray[np.int64], number: int) -> list[tuple[bytes, int]]:
    """The file and those after it in its folder, as many as one frame has."""
    folder, total = paths[number].rpartition(b"/")[0], 0
    found: list[tuple[bytes, int]] = []
    for at in range(number, min(number + FOLLOWING, len(paths))):
        if total >= FLUSH_AT or paths[at].rpartition(b"/")[0] != folder:
            break
        found.append((paths[at], int(sizes[at])))
        total += int(sizes[at]) + _HEADERS
    return found


class _Count:
    """What was walked so far."""

    def __init__(self) -> None:
        self.files = self.folders = self.links = self.bytes = self.largest = self.skipped = 0
        self.kinds: Counter[str] = Counter()
        self.kind_bytes: Counter[str] = Counter()
        self.sizes = np.zeros(64, np.int64)
        self.skipped_first: list[str] = []
        self._parts = 0.0  # of files with several names: each name is its part of one

    def batch(self, seen: Seen) -> tuple[list[bytes], NDArray[np.int64]]:
        """Count; the paths of files, and the bytes that each counts for."""
        modes = np.frombuffer(seen.modes, np.int64) >> FORM
        kinds = np.array(KINDS)[modes]
        links = np.frombuffer(seen.links, np.uint64)
        is_file = kinds == FILE
        once = np.where(links > 1, 1.0 / np.maximum(links, 1), 1.0)[is_file]
        sizes = np.frombuffer(seen.sizes, np.int64)[is_file]
        counted = np.rint(sizes * once).astype(np.int64)
        self.folders += int((kinds == DIRECTORY).sum())
        self._parts += float(once.sum())
        self.files = round(self._parts)
        self.links += int((~is_file & (kinds != DIRECTORY)).sum())
        self.bytes += int(counted.sum())
        self.largest = max(self.largest, int(sizes.max(initial=0)))
        np.add.at(self.sizes, np.frexp(sizes.astype(np.float64))[1], 1)
        paths = _paths(seen, is_file)
        for path, size in zip(paths, counted.tolist(), strict=True):
            kind = _KIND_OF.get(path[-_SUFFIX:].rpartition(b".")[2].lower(), "other")
            self.kinds[kind] += 1
            self.kind_bytes[kind] += size
        self.skipped += len(seen.skipped)
        for path, why in seen.skipped[: max(0, _SKIPPED - len(self.skipped_first))]:
            self.skipped_first.append(f"{os.fsdecode(path)}: {why}")
        return paths, counted


def _paths(seen: Seen, wanted: NDArray[np.bool_]) -> list[bytes]:
    ends = np.cumsum(np.frombuffer(seen.path_lengths, np.int32)).tolist()
    paths, begin, found = seen.paths, 0, []
    for end, take in zip(ends, wanted.tolist(), strict=True):
        if take:
            found.append(paths[begin:end])
        begin = end
    return found


def look(
    source: str,
    seen: Iterable[Seen],
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda _files, _bytes: None,
) -> Corpus:
    """What lies beneath `source`, of which `seen` is a walk (stages/pack/workers.py); `progress` gets files and bytes.

    BadInput when there is no file, or nothing in any; SourceFault.
    """
    count, draw = _Count(), _Draw(SAMPLES, seed)
    for batch in seen:
        draw.batch(*count.batch(batch))
        progress(count.files, count.bytes)
    if not count.bytes:
        what = f"{count.files:,} files, all empty" if count.files else "no file"
        raise BadInput(f"{source}: nothing to carry: {what}", hint="SOURCE is the folder of the corpus")
    kept = source_of(located(source))
    reader = kept.reader()
    with ThreadPoolExecutor(kept.at_once) as pool:
        found = list(pool.map(lambda place: _packed_share(reader, place), draw.places))
    shares = [each for each in found if each is not None]
    if not shares:
        raise BadInput(f"{source}: none of the files that were drawn for a sample can be read", hint="run as who may")
    mean = statistics.fmean(shares)
    error = statistics.stdev(shares) / math.sqrt(len(shares)) if len(shares) > 1 else 0.0
    return Corpus(
        source=source, files=count.files, folders=count.folders, links=count.links, bytes=count.bytes,
        largest=count.largest,
        kinds=tuple(
            Kind(kind=kind, files=count.kinds[kind], bytes=size) for kind, size in count.kind_bytes.most_common()
        ),
        sizes=tuple(np.trim_zeros(count.sizes, "b").tolist()),
        share=mean, low=max(0.0, mean - 1.96 * error), high=mean + 1.96 * error, samples=len(shares),
        skipped=count.skipped, skipped_first=tuple(count.skipped_first),
    )  # fmt: skip


def _packed_share(reader: Reader, place: _Place) -> float | None:
    """Packed bytes for a byte of source, of the frame at a place; None when nothing of it can be read any more."""
    data, size = bytearray(), 0
    for number, (path, length) in enumerate(place.files):
        large = number == 0 and length > zstd.FRAME
        try:
            start = place.at // zstd.FRAME * zstd.FRAME if large else 0
            content = reader.peek(path, b"", start, zstd.FRAME)
        except OSError:
            continue
        size += len(content)
        data += content if large else tar.header(path, tar.REGULAR, len(content), 0o644, _MTIME) + content
        data += bytes(-len(data) % tar.BLOCK)
        if len(data) >= FLUSH_AT:
            break
    if not size:
        return None
    packed = zstd.raw_bound(len(data))
    if zstd.worth_compressing(memoryview(data)):
        packed = min(packed, len(zstd.compress(data)))
    return packed * age.SEALED_CHUNK / age.CHUNK / size
