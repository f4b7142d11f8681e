"""Ten seconds in which this machine packs, verifies and reads small made-up shipments: what bytes and files cost here.

What holds: the parts are those that real shipments go through (pack, seal, verify, Shipment), on scratch drives in one
folder that is gone afterwards. The bytes are noise for what does not compress, and the running interpreter's own
sources, cut to the mean size of the files asked for, for what does. The record is what was measured, as costs: core
seconds a byte and a file; `speeds` makes rates of it for a shape, a geometry and a number of cores. It can be kept
(`encode`, `decode`) and taken again.

What is in it and cannot be told apart: writing to and reading from the scratch folder. It stands for what the kernel
takes to write, so give a folder on a filesystem like that of the drives. How fast drives are is not in it: `sealift
drives test` measures them. What else is not known is in `unknown`, as sentences. Other work on the machine while it is
measured is counted, taken off, and told.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec import Struct

from sealift import __version__
from sealift.errors import BadInput, FormatError
from sealift.formats import canonical, manifest
from sealift.stages.plan.terms import Speeds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sealift.reading.shipment import Shipment
    from sealift.stages.pack.run import Result
    from sealift.stages.rehearse_scratch import People, Scratch

TYPE: Literal["sealift-calibration"] = "sealift-calibration"
MAX_RECORD = 1 << 16
MAX_DRIVES = 16  # scratch drives: their slabs are memory
AGAIN = 5.0  # seconds from which on everything is measured twice
SCANNED = 4000  # files of which the scan is measured
SMALL = 1 << 20  # a file of text is no larger, in the measurement of what a file costs
NOISE, TEXT, FILES, OF_FILES = 48 << 20, 6 << 20, 900, 12 << 20  # for every second that is given
LEAST, MOST = 0.05, 60.0  # seconds that may be given
BUSY = 0.1  # share of the cores from which on other work is told
_PIECE = 64 << 20


class Shape(Struct, frozen=True, kw_only=True):
    """A corpus, by what its packing costs: files, bytes, and the share of the bytes that does not compress."""

    files: int
    bytes: int
    incompressible: float


class Calibration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was measured; costs are core seconds, for a machine of any number of cores of this kind."""

    type: Literal["sealift-calibration"] = TYPE
    version: Literal[1] = 1
    taken: str  # UTC
    sealift: str
    processor: str
    cores: int
    medium: str  # filesystem of the scratch folder
    data: int  # of the scratch groups
    parity: int
    file_bytes: int  # mean size of the small files
    start_seconds: float  # of packing, by the clock
    scan_file: float
    noise_byte: float  # packing, scan and files left out
    text_byte: float
    text_packed: float  # bytes that a byte of the text became
    pack_file: float
    parity_byte: float  # a byte of parity: hashed and written
    code_byte: float  # a byte of data, coded; and for each parity drive
    code_parity: float
    verify_byte: float
    inspect_seconds: float  # of drives that are plugged in together, by the clock
    open_seconds: float  # from mounted drives to the first sample
    read_noise_byte: float  # in training, of the source
    read_text_byte: float
    read_file: float
    busy: float  # share of the cores that other work had meanwhile
    unknown: tuple[str, ...]

    def speeds(self, shape: Shape, *, data: int, parity: int, cores: int | None = None) -> Speeds:
        """What a host with so many cores of this kind does of a shape of corpus with k data + m parity. BadInput."""
        _check(shape, data, parity, cores)
        noise = shape.incompressible
        packed = noise + (1 - noise) * self.text_packed  # bytes for a byte of the source
        byte = noise * self.noise_byte + (1 - noise) * self.text_byte
        byte += packed * (self._parity_cost(data, parity) - self._parity_cost(self.data, self.parity))
        files = shape.files / max(shape.bytes, 1)
        count = self.cores if cores is None else cores
        return Speeds(
            scan_files=count / self.scan_file,
            pack_bytes=count / max(byte + files * self.pack_file, 1e-15),
            verify_bytes=count / self.verify_byte,
            start_seconds=self.start_seconds,
            inspect_seconds=self.inspect_seconds,
            open_seconds=self.open_seconds,
        )

    def read_bytes(self, shape: Shape, *, cores: int | None = None) -> float:
        """Bytes of the source a second that so many cores give a trainer. BadInput."""
        _check(shape, self.data, self.parity, cores)
        byte = shape.incompressible * self.read_noise_byte + (1 - shape.incompressible) * self.read_text_byte
        return (cores or self.cores) / (byte + shape.files / max(shape.bytes, 1) * self.read_file)

    def _parity_cost(self, data: int, parity: int) -> float:
        """Of a byte of data."""
        coded = self.code_byte + parity * self.code_parity if parity else 0.0
        return parity / data * self.parity_byte + coded

    def encode(self) -> bytes:
        """As a file."""
        return canonical.encode(self)


def decode(record: bytes) -> Calibration:
    """A calibration that was kept; BadInput when it is none, or says what no machine can."""
    hint = "take it anew: it is ten seconds"
    try:
        found = canonical.decode(record, Calibration, limit=MAX_RECORD, name="calibration")
    except FormatError as error:
        raise BadInput(str(error), hint=hint) from error
    values = {name: getattr(found, name) for name in Calibration.__struct_fields__}
    wrong = [
        f"{name}: {value}"
        for name, value in values.items()
        if isinstance(value, (int, float))
        and not (math.isfinite(value) and value >= 0 and (value > 0 or name in _MAY_BE_ZERO))
    ]
    if wrong:
        raise BadInput(f"the calibration says what no machine can: {', '.join(wrong)}", hint=hint)
    return found


_MAY_BE_ZERO = (
    "parity",
    "pack_file",
    "read_file",
    "code_byte",
    "code_parity",
    "busy",
    "inspect_seconds",
    "start_seconds",
)


def calibrate(
    folder: str,
    shape: Shape,
    *,
    data: int = 6,
    parity: int = 2,
    seconds: float = 10.0,
    say: Callable[[str], None] = lambda _text: None,
) -> Calibration:
    """Measure this machine with scratch drives in `folder`, for about `seconds` on an idle machine.

    Small files have the mean size of those in `shape`. BadInput for a folder that cannot be used or has no room.
    """
    _check(shape, data, parity, None)
    if data + parity > MAX_DRIVES:
        raise BadInput(f"{data}+{parity} scratch drives", hint=f"at most {MAX_DRIVES}; `speeds` goes on from there")
    if not LEAST <= seconds <= MOST:
        raise BadInput(f"a calibration of {seconds!r} seconds", hint=f"{LEAST} to {MOST} seconds")
    from sealift.stages.rehearse_scratch import Scratch

    scratch = Scratch.make(folder)
    try:
        needed = int(seconds * (NOISE + TEXT + OF_FILES) * (2 + parity / data)) + (256 << 20)
        if shutil.disk_usage(scratch.path).free < needed:
            raise BadInput(
                f"{folder}: a calibration takes {needed:,} bytes", hint="a folder with more room, or less time"
            )
        return _Trial(scratch, shape, data, parity, seconds, say).measure()
    finally:
        scratch.close()


def _check(shape: Shape, data: int, parity: int, cores: int | None) -> None:
    faults = [
        f"{name}: {value!r} is not between {least:,} and {most:,}"
        for name, value, least, most in (
            ("shape.files", shape.files, 0, 1 << 62),
            ("shape.bytes", shape.bytes, 0, 1 << 62),
            ("shape.incompressible", shape.incompressible, 0, 1),
            ("data", data, 1, manifest.MAX_DRIVES),
            ("parity", parity, 0, manifest.MAX_DRIVES),
            ("cores", 1 if cores is None else cores, 1, 1 << 20),
        )
        if not least <= value <= most  # NaN is not
    ]
    if faults:
        raise BadInput(
            "a calibration is wanted for " + "; ".join(faults), hint="a shape as the scan of the corpus gives it"
        )


class _Source(NamedTuple):
    """A made-up corpus."""

    path: str
    files: int
    size: int


class _Packed(NamedTuple):
    """One small shipment."""

    state: str
    mounts: list[str]
    result: Result
    files: int
    size: int
    seconds: float  # from before the scan to the signature
    total: float
    verified: float  # the seconds of verifying it, for the first time


class _Moment(NamedTuple):
    wall: float
    own: float
    others: float


class Clock:
    """Seconds that work takes, less what other work had of the cores meanwhile."""

    def __init__(self) -> None:
        self._cores = os.sched_getaffinity(0)
        self._others = self._total = 0.0

    @property
    def busy(self) -> float:
        """Share of the cores that others had, of all that was timed."""
        return self._others / (self._total * len(self._cores)) if self._total else 0.0

    def now(self) -> _Moment:
        """The time, and the core seconds that this process and its children had, and all others."""
        own = sum(os.times()[:4])
        return _Moment(time.monotonic(), own, _core_seconds(self._cores) - own)

    def since(self, then: _Moment) -> float:
        """Seconds since then, as if nobody else had worked."""
        wall, own, others = (after - before for after, before in zip(self.now(), then, strict=True))
        others = min(max(others, 0.0), wall * len(self._cores))
        self._others += others
        self._total += wall
        return max(wall - others / len(self._cores), own / len(self._cores))


def _core_seconds(cores: set[int]) -> float:
    """Seconds that these cores were not idle; 0 where the kernel does not tell."""
    ticks = 0
    with contextlib.suppress(OSError, ValueError), open("/proc/stat", encoding="ascii") as file:
        for line in file:
            name, *fields = line.split()
            if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
                used = list(map(int, fields[:8]))
                ticks += sum(used) - used[3] - used[4]  # idle, waiting for a device
    return ticks / os.sysconf("SC_CLK_TCK")


class _Trial:
    """The shipments of one calibration, and what came of them."""

    def __init__(
        self, scratch: Scratch, shape: Shape, data: int, parity: int, seconds: float, say: Callable[[str], None]
    ) -> None:
        from sealift.stages.rehearse_scratch import people

        self._scratch, self._data, self._parity, self._say = scratch, data, parity, say
        self._who: People = people(scratch)
        self._clock, self._again = Clock(), seconds >= AGAIN
        self._cores = len(os.sched_getaffinity(0))
        self._runs = 0
        self._seals: dict[str, dict[str, bytes]] = {}
        self._noise_bytes, self._text_bytes = int(NOISE * seconds), int(TEXT * seconds)
        mean = shape.bytes // max(shape.files, 1)
        self._mean = min(max(mean, 1), SMALL)
        self._count = max(16, min(int(FILES * seconds), int(OF_FILES * seconds) // self._mean))

    def measure(self) -> Calibration:
        """Everything, each twice where there is time; the better counts, for what disturbs only ever takes longer."""
        text, noise = _text(), os.urandom(min(_PIECE, self._noise_bytes))
        sources = {
            "least": _write(self._source("least"), "one", text, 1, 1),
            "noise": _write(self._source("noise"), "noise", noise, len(noise), -(-self._noise_bytes // len(noise))),
            "text": _write(self._source("text"), "text", text, max(1, self._text_bytes // 4), 4),
            "small": _write(self._source("small"), "small", text, self._mean, self._count),
        }
        packed = {name: self._best(name, source) for name, source in sources.items()}
        least, cores = packed["least"], self._cores
        many = _write(self._source("names"), "names", text, 1, SCANNED)  # a scan of few files is too short to be told
        scan = self._scan_file(many, sources["least"])

        def beyond(name: str) -> float:
            """Core seconds beyond the start and the scan."""
            took = packed[name].seconds - least.seconds - scan / cores * packed[name].files
            return max(took, 1e-6) * cores

        text_byte = beyond("text") / packed["text"].size
        code_byte, code_parity = self._coding()
        verify_byte, inspect = self._verify(packed["noise"], packed["small"])
        open_seconds = self._opened(packed["small"])
        reading = {name: self._read(packed[name]) for name in ("noise", "text", "small")}
        read_text = reading["text"] / packed["text"].size
        small = packed["small"]
        return Calibration(
            taken=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            sealift=__version__,
            processor=_processor(),
            cores=cores,
            medium=_filesystem(self._scratch.path),
            data=self._data,
            parity=self._parity,
            file_bytes=self._mean,
            start_seconds=least.total,
            scan_file=scan,
            noise_byte=beyond("noise") / packed["noise"].size,
            text_byte=text_byte,
            text_packed=packed["text"].result.packed_bytes / packed["text"].size,
            pack_file=max(0.0, beyond("small") - text_byte * small.size) / small.files,
            parity_byte=self._parity_byte(),
            code_byte=code_byte,
            code_parity=code_parity,
            verify_byte=verify_byte,
            inspect_seconds=inspect,
            open_seconds=open_seconds,
            read_noise_byte=reading["noise"] / packed["noise"].size,
            read_text_byte=read_text,
            read_file=max(0.0, reading["small"] - read_text * small.size) / small.files,
            busy=min(1.0, self._clock.busy),
            unknown=self._unknown(),
        )

    def _unknown(self) -> tuple[str, ...]:
        told = [
            "how fast the drives are: `sealift drives test` measures them, and without it the plan's numbers stand",
            "how fast the source gives its files: these were in the page cache",
            "how well this corpus compresses: the text here is the interpreter's own sources",
            "what changes with many more cores than here: costs are taken to be shared by all of them equally",
        ]
        if self._clock.busy > BUSY:
            told.append(f"this machine when it is idle: other work had {self._clock.busy:.0%} of it; it was taken off")
        return tuple(told)

    # --- packing

    def _source(self, name: str) -> str:
        path = self._scratch.place(f"source-{name}")
        os.mkdir(path)
        return path

    def _best(self, name: str, source: _Source) -> _Packed:
        self._say(f"packing {source.files:,} {'file' if source.files == 1 else 'files'}: {name}")
        first = self._pack(source)
        if not self._again:
            return first
        for mount in first.mounts:
            shutil.rmtree(mount)
        second = self._pack(source)
        return second._replace(
            seconds=min(first.seconds, second.seconds),
            total=min(first.total, second.total),
            verified=min(first.verified, second.verified),
        )

    def _pack(self, source: _Source) -> _Packed:
        from sealift.stages.pack import run as packing
        from sealift.stages.rehearse_scratch import Size, declare, release
        from sealift.stages.verify import verify
        from sealift.trade.signing import load_allowed_signers

        self._runs += 1
        name = f"run-{self._runs}"
        mounts = self._scratch.drives(self._data + self._parity, name=f"{name}-d")
        serials = {mount: f"CALIBRATION-{self._runs}-{at}" for at, mount in enumerate(mounts)}
        path = self._scratch.place(f"{name}.toml")
        drives = {serial: f"carrier {at}" for at, serial in enumerate(serials.values())}
        declare(path, self._who, drives, Size(source.files, source.size), 1 << 40)
        release(path, self._who)
        options = packing.Options(
            source.path, mounts, self._parity, [self._who.recipient], self._who.author, path, self._scratch.place(name),
            serials=serials, allow_same_filesystem=True, accept_carrier_risk=True, rehearsal=True,
        )  # fmt: skip
        marks: list[_Moment] = []
        begun = self._clock.now()
        result = packing.run(options, packing.Events(notice=lambda _text: marks.append(self._clock.now())))
        total = self._clock.since(begun)
        # its first notice, of the memory that it takes, comes before it scans
        seconds = self._clock.since(marks[0]) if marks else total
        begun = self._clock.now()
        verify(mounts, allowed=load_allowed_signers(self._who.signers), remember=False)
        verified = self._clock.since(begun)
        return _Packed(name, mounts, result, source.files, source.size, seconds, total, verified)

    def _scan_file(self, many: _Source, one: _Source) -> float:
        """Core seconds a file."""
        from sealift.stages.pack.scan import scan
        from sealift.stages.pack.workers import Workers

        with Workers(self._cores) as workers:

            def once(source: _Source, number: int) -> float:
                begun = self._clock.now()
                seen = workers.walk(os.fsencode(source.path), None, None)
                folder = self._scratch.place(f"scan-{source.files}-{number}")
                scan(seen, folder, weights=[1], progress=lambda _files, _bytes: None)
                return self._clock.since(begun)

            once(one, 0)  # whatever is imported is imported now
            least = min(once(one, number) for number in (1, 2))
            took = min(once(many, number) for number in (1, 2))
        return max(took - least, 1e-6) * self._cores / many.files

    def _coding(self) -> tuple[float, float]:
        """Core seconds a byte of data: once, and for each parity drive."""
        import numpy as np

        from sealift.formats import parity as codes

        slab = 1 << 20
        took = {}
        for extra in (2, 8):
            memory = np.frombuffer(os.urandom(slab) * (6 + extra), dtype=np.uint8).reshape(6 + extra, slab).copy()
            have, want = {at: memory[at] for at in range(6)}, {6 + at: memory[6 + at] for at in range(extra)}
            codes.rebuild(6, extra, have, want)

            def code(have: dict[int, object] = have, want: dict[int, object] = want, extra: int = extra) -> None:
                for _ in range(32):
                    codes.rebuild(6, extra, have, want)  # type: ignore[arg-type]

            took[extra] = _core(code) / (32 * 6 * slab)
        each = max(0.0, took[8] - took[2]) / 6
        return max(0.0, took[2] - 2 * each), each

    def _parity_byte(self) -> float:
        """Core seconds a byte: hashed by block and by pack, and written to a new file."""
        from blake3 import blake3

        slab = memoryview(os.urandom(4 << 20))
        path = self._scratch.place("parity")

        def write() -> None:
            pack = blake3()
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                for _ in range(8):
                    for start in range(0, len(slab), manifest.BLOCK):
                        blake3(slab[start : start + manifest.BLOCK]).digest()
                    pack.update(slab)
                    os.write(fd, slab)
            finally:
                os.close(fd)

        return _core(write) / (8 * len(slab))

    def _least(self, work: Callable[[], object]) -> float:
        """The shortest of three, by the clock."""

        def once() -> float:
            begun = self._clock.now()
            work()
            return self._clock.since(begun)

        return max(1e-9, min(once() for _ in range(3)))

    # --- at the destination

    def _verify(self, large: _Packed, small: _Packed) -> tuple[float, float]:
        """Core seconds a byte on drives; and what drives plugged in together take besides, by the clock.

        From two shipments that both have packs on every drive: of one that has next to none, the rest is less.
        """
        sizes = [each.result.packed_bytes + each.result.parity_bytes for each in (large, small)]
        byte = max(large.verified - small.verified, 1e-6) / max(sizes[0] - sizes[1], 1)
        return byte * self._cores, max(small.verified - byte * sizes[1], 0.0)

    def _open(self, packed: _Packed) -> Shipment:
        """A shipment as it stands; the seal is made when it is opened first."""
        from sealift.reading.shipment import Shipment
        from sealift.reading.trust import load_seal
        from sealift.stages import seal as sealing

        who, place = self._who, self._scratch.place
        if packed.state not in self._seals:
            options = sealing.Options(
                [place(packed.state)], place(f"{packed.state}.toml"), who.author, who.signers, mounts=packed.mounts
            )
            self._seals[packed.state] = load_seal(sealing.seal(options).path)
        return Shipment.open(
            packed.mounts, identity=who.identity, allowed_signers=who.signers, seal=self._seals[packed.state]
        )

    def _opened(self, packed: _Packed) -> float:
        """Seconds to the first sample."""
        self._open(packed).close()

        def first() -> None:
            with self._open(packed) as shipment:
                next(_samples(shipment))

        return self._least(first)

    def _read(self, packed: _Packed) -> float:
        """Core seconds of reading every sample, as one worker of a loader does."""
        self._say(f"reading {packed.files:,} {'file' if packed.files == 1 else 'files'}")
        with self._open(packed) as shipment:
            return _core(lambda: sum(1 for _ in _samples(shipment)), times=1)


def _samples(shipment: Shipment) -> Iterator[object]:
    for pack, _, _ in shipment.packs():
        yield from shipment.samples(pack)


def _core(work: Callable[[], object], times: int = 3) -> float:
    """Core seconds of this process, the least of some runs: waiting is none, so what else runs matters little."""

    def once() -> float:
        begun = time.process_time()
        work()
        return time.process_time() - begun

    return max(1e-9, min(once() for _ in range(times)))


def _text() -> bytes:
    """Sources of the running interpreter, one after the other."""
    from sealift.stages.rehearse_scratch import NO_LIBRARY, standard_library

    found = bytearray()
    for top, folders, names in os.walk(standard_library()):
        folders[:] = sorted(set(folders) - set(NO_LIBRARY))
        for name in sorted(names):
            if name.endswith(".py") and len(found) < _PIECE:
                with contextlib.suppress(OSError), open(os.path.join(top, name), "rb") as file:
                    found += file.read(_PIECE - len(found))
    return bytes(found) or b"no sources are installed beside this interpreter\n" * 1000


def _write(folder: str, name: str, content: bytes, size: int, count: int) -> _Source:
    """`count` files of `size` bytes, 1,000 a folder; what of `content` was taken is followed by what comes after it."""
    at = 0
    for number in range(count):
        if number % 1000 == 0:
            os.mkdir(os.path.join(folder, f"{number // 1000:04d}"))
        with open(os.path.join(folder, f"{number // 1000:04d}", f"{name}-{number:06d}"), "wb") as file:
            left = size
            while left:
                left -= (taken := file.write(content[at : at + left]))
                at = (at + taken) % len(content)
    return _Source(folder, count, size * count)


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())[:200]
    return "not known"


def _filesystem(path: str) -> str:
    """The type of the filesystem that `path` is on."""
    best, kind = "", "not known"
    with contextlib.suppress(OSError), open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
        for line in file:
            mount, found = line.split(" ")[1:3]
            if len(mount) >= len(best) and os.path.commonpath([mount, path]) == mount:
                best, kind = mount, found
    return kind
