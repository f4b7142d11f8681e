"""FleetSimulator: drives that misbehave when told to, and a script of everything they were told.

Two kinds of trouble. What happens to drives at rest (lose, rot, truncate, extend, remove, swap, relabel, replay,
replace) is done at once to the bytes beneath. What happens while they work (fail, fill, slow, lie, go_away) waits in
the bay until a call meets it. `open(mount)` has the signature of LocalDrive, so whatever opens drives by mount can be
given it; over folders the mounts are paths, and other processes see the damage too, though not the faults.

What does not exist cannot misbehave: ValueError, with the choices, for an unknown mount, operation, way to lie or file,
for numbers that no drive could have, for names that lie outside of a drive or lead there by a link, and for what would
change nothing or fall on no call, as of a lost drive; so that a test cannot pass because its fault was misspelt. If
an n-th call comes, or one of a file of that name, nobody knows beforehand: `unmet` has what has not fallen yet, or not
before it was healed, and a `with` block that ends well with some left ends in ValueError. `heal` of a healthy drive,
and `go_away` of one that is away, are allowed.

Whatever is left to chance follows from `seed`, and `script` has it as it fell: the lines are calls that do the same
again (long contents shortened), with what drives did on their own as comments between. A `with` block adds the script
to an error that leaves it. What a stage must make of it all is not here.
"""

from __future__ import annotations

import errno
import math
import os
import random
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self, get_args

from sealift.formats.manifest import BLOCK, CARD, ROOT
from sealift.testing.drive import (
    Bay,
    Fault,
    FolderPlatter,
    Lie,
    MemoryPlatter,
    Operation,
    Platter,
    SimulatedDrive,
    Untruth,
)

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence


_OF_NO_FILE = {"look", "lock"}  # operations of which a call may be of no file


class FleetSimulator:
    """A fleet, by mount. Make one with `in_memory` or `on_folders`."""

    def __init__(self, name: Callable[[int], str], platter: Callable[[str], Platter], n: int, seed: int) -> None:
        self._name, self._platter = name, platter
        self._random = random.Random(seed)  # noqa: S311 -- to be repeated, not to be secret
        self._bays: dict[str, Bay] = {}
        self._lost: set[str] = set()
        self._lines: list[str] = []
        self._lock = threading.Lock()
        _whole("the number of drives", n, 1)
        for _ in range(n):
            self._add()

    @classmethod
    def in_memory(cls, n: int, *, seed: int = 0) -> Self:
        """`n` empty drives in memory, mounted at /mnt/d00, /mnt/d01, ..."""
        return cls("/mnt/d{:02d}".format, lambda _mount: MemoryPlatter(), n, seed)

    @classmethod
    def on_folders(cls, root: str | os.PathLike[str], n: int, *, seed: int = 0) -> Self:
        """`n` drives on the folders d00, d01, ... of `root`, made if needed; what they hold stays."""
        return cls(lambda number: os.path.join(root, f"d{number:02d}"), FolderPlatter, n, seed)

    # What there is

    @property
    def unmet(self) -> list[str]:
        """The lines of the script that told a drive to fail or to lie, and fell on no call yet, or before `heal`."""
        told: list[Fault | Untruth] = []
        for bay in self._bays.values():
            told += [*bay.healed, *bay.faults, *bay.lies]
        return [each.words for each in told if not each.fell]

    @property
    def mounts(self) -> list[str]:
        """The mounts of all drives that are not lost, in the order in which they came."""
        return [mount for mount in self._bays if mount not in self._lost]

    @property
    def drives(self) -> list[SimulatedDrive]:
        """A drive for each of `mounts`, freshly opened."""
        return [self.open(mount) for mount in self.mounts]

    @property
    def serials(self) -> dict[str, str]:
        """Serial numbers by mount."""
        return {mount: self._bays[mount].serial for mount in self.mounts}

    @property
    def script(self) -> str:
        """What was done to the fleet, as calls, and what it did, as comments."""
        return "\n".join(self._lines)

    def open(self, mount: str) -> SimulatedDrive:
        """The drive that is mounted there, as LocalDrive(mount) would open it. KeyError when it is lost."""
        self._known(mount)
        if mount in self._lost:
            raise KeyError(mount)
        return SimulatedDrive(self._bays[mount])

    def counts(self, mount: str) -> Counter[str]:
        """How often each operation was asked of the drive: what an n-th fault counts."""
        return self._bay(mount).counts.copy()

    def names(self, mount: str) -> list[str]:
        """Every file beneath sealift/, half-written ones too."""
        return self._bay(mount).platter.names()

    def read(self, mount: str, name: str) -> bytes:
        """A file's bytes, past the drive. KeyError."""
        return self._bay(mount).platter.read(_inside(name))

    def snapshot(self, mount: str) -> dict[str, bytes]:
        """All files: what `replay` brings back."""
        return {name: self.read(mount, name) for name in self.names(mount)}

    # At rest

    def _held(self, mount: str, name: str) -> bytes:
        """What a file holds that is to be spoilt; ValueError, with the names that there are, where there is none."""
        self._here(mount)
        _one_of("file", name, self.names(mount), f"{mount}: ")
        return self.read(mount, name)

    def lose(self, mount: str) -> None:
        """Gone for good; `find` is a miracle that tests are allowed."""
        self._here(mount)
        self._note("lose", mount)
        self._lost.add(mount)

    def find(self, mount: str) -> None:
        """Back, as it was lost."""
        self._known(mount)
        if mount not in self._lost:
            raise ValueError(f"{mount} is not lost: there is nothing to find")
        self._note("find", mount)
        self._lost.discard(mount)

    def replace(self, mount: str) -> str:
        """Lose a drive, or one that is lost, and attach an empty one; the new mount."""
        self._note("replace", mount)
        self._lost.add(mount)
        return self._add()

    def rot(self, mount: str, name: str, bit: int | None = None) -> int:
        """Flip one bit of a file, any without `bit`; which. ValueError where there is no such file or bit."""
        data = bytearray(self._held(mount, name))
        if not data:
            raise ValueError(f"{mount}: {name} is empty: there is nothing to rot")
        bit = self._random.randrange(len(data) * 8) if bit is None else _whole("bit", bit)
        if not 0 <= bit < len(data) * 8:
            raise ValueError(f"{mount}: {name} has {len(data) * 8} bits: there is no bit {bit}")
        self._note("rot", mount, name, bit=bit)
        data[bit // 8] ^= 1 << bit % 8
        self._bays[mount].put(name, bytes(data))
        return bit

    def rot_block(self, mount: str, name: str, block: int | None = None) -> int:
        """Fill one block (1 MiB) of a file with other bytes, any without `block`; which."""
        data = bytearray(self._held(mount, name))
        if not data:
            raise ValueError(f"{mount}: {name} is empty: there is nothing to rot")
        block = self._random.randrange(-(-len(data) // BLOCK)) if block is None else _whole("block", block)
        if not 0 <= block * BLOCK < len(data):
            raise ValueError(f"{mount}: {name} has {-(-len(data) // BLOCK)} blocks: there is no block {block}")
        self._note("rot_block", mount, name, block=block)
        start, end = block * BLOCK, min((block + 1) * BLOCK, len(data))
        data[start:end] = bytes(byte ^ 0xA5 for byte in data[start:end])
        self._bays[mount].put(name, bytes(data))
        return block

    def truncate(self, mount: str, name: str, length: int) -> None:
        """Cut a file to `length` bytes. ValueError where it is no longer than that."""
        data = self._held(mount, name)
        if not 0 <= _whole("length", length) < len(data):
            raise ValueError(f"{mount}: {name} is {len(data)} bytes long: it cannot be cut to {length!r}")
        self._note("truncate", mount, name, length)
        self._bays[mount].put(name, data[:length])

    def extend(self, mount: str, name: str, more: bytes = b"\0") -> None:
        """Append to a file."""
        data = self._held(mount, name)
        if not _bytes("more", more):
            raise ValueError("more is empty: the file would stay as long as it is")
        self._note("extend", mount, name, more)
        self._bays[mount].put(name, data + more)

    def remove(self, mount: str, name: str) -> None:
        """Take a file away."""
        self._held(mount, name)
        self._note("remove", mount, name)
        self._bays[mount].take(name)

    def put(self, mount: str, name: str, data: bytes) -> None:
        """Put anything under any name beneath sealift/. ValueError where that is what the file holds."""
        _inside(name)
        _bytes("data", data)
        self._change(mount, {name: data})
        self._bays[mount].put(name, data)
        self._note("put", mount, name, data)

    def swap(self, mount: str, other: str) -> None:
        """Exchange what two drives hold; serial numbers stay with the hardware."""
        self._here(other)
        if mount == other:
            raise ValueError(f"{mount} cannot be exchanged with itself: give two drives")
        self._change(mount, self.snapshot(other), all_of_it=True)
        held = self.snapshot(mount)
        self._fill_with(self._bays[mount], self.snapshot(other))
        self._fill_with(self._bays[other], held)
        self._note("swap", mount, other)

    def relabel(self, mount: str, card: bytes) -> None:
        """Let the drive claim in its drive.json to be another."""
        _bytes("card", card)
        self._change(mount, {CARD: card})
        self._bays[mount].put(CARD, card)
        self._note("relabel", mount, card)

    def replay(self, mount: str, files: Mapping[str, bytes]) -> None:
        """Put a drive of an older shipment, a `snapshot`, in place of what is here."""
        if not isinstance(files, Mapping):
            raise ValueError(f"files is {files!r}: give a snapshot, bytes by name")  # noqa: TRY004 -- as below
        for name, data in files.items():
            _bytes(_inside(name), data)
        self._change(mount, files, all_of_it=True)
        self._fill_with(self._bays[mount], files)
        self._note("replay", mount, f"<{len(files)} files>")

    def _change(self, mount: str, files: Mapping[str, bytes], *, all_of_it: bool = False) -> None:
        """ValueError where a drive holds these files already; with `all_of_it` these and no others."""
        self._here(mount)
        there = set(self.names(mount))
        same = all(name in there and self.read(mount, name) == data for name, data in files.items())
        if same and (not all_of_it or there == set(files)):
            raise ValueError(f"{mount} holds that already: nothing would change")

    # At work

    def fail(
        self,
        mount: str,
        operation: Operation,
        code: int = errno.EIO,
        *,
        nth: int = 1,
        lasting: bool = False,
        name: str = "*",
    ) -> None:
        """Let the `nth` next call of an operation fail, and all after it if `lasting`.

        look (exists, size, walk, free_bytes), open, read, lock, create, write, fsync (publish, sync_folder),
        rename (publish), remove. `name`: a pattern, of the files to count; where a call is of none, which may be a look
        or a lock, it is "". Told twice, one call fails and then the next.
        """
        _one_of("operation", operation, get_args(Operation))
        if _whole("code", code) not in errno.errorcode:
            raise ValueError(f"{code!r} is no errno: give errno.EIO, errno.ENOSPC or another of that module")
        _whole("nth", nth, 1)
        if name or operation not in _OF_NO_FILE:
            _inside(name)
        self._here(mount)
        what, faults = (operation, code, name), self._bays[mount].faults
        if lasting:
            _not_yet(mount, nth, [each for each in faults if (each.operation, each.code, each.pattern) == what])
        words = self._note("fail", mount, operation, code, nth=nth, lasting=lasting, name=name)
        faults.append(Fault(operation, code, nth, lasting, name, words))

    def fill(self, mount: str, free: int = 0) -> None:
        """Leave `free` bytes on the drive; then it is full (ENOSPC, after what fits)."""
        _whole("free", free, 0)
        bay = self._here(mount)
        self._anew(mount, "free", bay.free, free)
        there = bay.platter.open(mount).free_bytes()
        if free >= there:
            raise ValueError(f"{mount} has {there} bytes free: leaving {free} on it would change nothing")
        self._note("fill", mount, free)
        self._bays[mount].free = free

    def slow(self, mount: str, rate: float) -> None:
        """Let reads and writes take as long as they do at `rate` bytes a second."""
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
            raise ValueError(f"rate is {rate!r} bytes a second: give a number over 0")
        self._anew(mount, "rate", self._here(mount).rate, rate)
        self._note("slow", mount, rate)
        self._bays[mount].rate = rate

    def lie(self, mount: str, how: Lie = "flip", *, nth: int = 1, lasting: bool = False, name: str = "*") -> None:
        """Acknowledge the `nth` next write and keep other bytes: one bit flipped, or zeros (`drop`).

        `name`: a pattern, of the files whose writes count. Told twice, it is one write and then the next.
        """
        _one_of("how", how, get_args(Lie))
        _whole("nth", nth, 1)
        _inside(name)
        self._here(mount)
        lies = self._bays[mount].lies
        if lasting:
            _not_yet(mount, nth, [each for each in lies if (each.how, each.pattern) == (how, name)])
        words = self._note("lie", mount, how, nth=nth, lasting=lasting, name=name)
        lies.append(Untruth(nth, how, lasting, name, words))

    def go_away(self, mount: str) -> None:
        """ENODEV for every call from now on, of files that are open too, until `come_back`."""
        self._here(mount)
        self._note("go_away", mount)
        self._bays[mount].gone = True

    def come_back(self, mount: str) -> None:
        """Plugged in again, with what it had."""
        if not self._here(mount).gone:
            raise ValueError(f"{mount} is not away: there is nothing to come back")
        self._note("come_back", mount)
        self._bays[mount].gone = False

    def heal(self, mount: str) -> None:
        """From now on the drive does what it is asked; what it holds stays.

        A fault or a lie that had met no call stays `unmet`: healed too early, it would hide that it was misspelt.
        """
        bay = self._here(mount)
        self._note("heal", mount)
        bay.healed += [each for each in bay.faults if not each.fell]
        bay.healed += [each for each in bay.lies if not each.fell]
        bay.faults.clear()
        bay.lies.clear()
        bay.free = bay.rate = None
        bay.gone = False

    # The script

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None and self._lines:
            error.add_note("what happened to the fleet:\n" + self.script)
        if error is None and (unmet := self.unmet):
            raise ValueError("no call met what the fleet was told (see nth= and name=):\n" + "\n".join(unmet))

    def _note(self, action: str, mount: str, *arguments: object, **options: object) -> str:
        """One line, as a call, and that line; ValueError where no such drive ever was."""
        self._known(mount)
        words = [_words(each) for each in (mount, *arguments)] + [
            f"{name}={_words(each)}" for name, each in options.items()
        ]
        line = f"fleet.{action}({', '.join(words)})"
        with self._lock:
            self._lines.append(line)
        return line

    def _known(self, mount: str) -> None:
        _one_of("drive at", mount, list(self._bays))

    def _bay(self, mount: str) -> Bay:
        """ValueError where no such drive ever was."""
        self._known(mount)
        return self._bays[mount]

    def _here(self, mount: str) -> Bay:
        """ValueError where it is lost, or never was: nothing that is done to it would be seen."""
        bay = self._bay(mount)
        if mount in self._lost:
            raise ValueError(f"{mount} is lost: nobody could tell what happens to it; `find` it first")
        return bay

    @staticmethod
    def _anew(mount: str, what: str, now: float | None, told: float) -> None:
        if now == told:
            raise ValueError(f"{mount}: {what} is {told!r} already: nothing would change")

    def comment(self, text: str) -> None:
        """A line of the script that does nothing: what a test did beside, or what a drive did."""
        with self._lock:
            self._lines.append(f"# {text}")

    def _add(self) -> str:
        number = len(self._bays)
        mount = self._name(number)
        self._bays[mount] = Bay(mount, f"SIM-{number:02d}", self._platter(mount), self.comment)
        return mount

    @staticmethod
    def _fill_with(bay: Bay, files: Mapping[str, bytes]) -> None:
        for name in bay.platter.names():
            bay.take(name)
        for name, data in files.items():
            bay.put(name, data)


def _not_yet(mount: str, nth: int, before: Sequence[Fault | Untruth]) -> None:
    """ValueError where one of these lasts from the `nth` next call on: what is told anew would fall on none."""
    if any(each.lasting and each.nth <= nth for each in before):
        raise ValueError(f"{mount} was told that already, and it lasts: nothing would change")


def _one_of(what: str, value: object, choices: Sequence[object], where: str = "") -> None:
    if value not in choices:
        listed = ", ".join(map(str, choices[:20])) + (" and more" if len(choices) > 20 else "")
        raise ValueError(f"{where}there is no {what} {value!r}: give one of {listed}")


def _whole(what: str, value: int, least: int | None = None) -> int:
    """A whole number, no less than `least`; a float or a bool would pass for one in Python, and count wrong."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{what} is {value!r}: give a whole number")  # noqa: TRY004 -- one error for what is misspelt
    if least is not None and value < least:
        raise ValueError(f"{what} is {value!r}: give {least} or more")
    return value


def _bytes(what: str, value: bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError(f"{what} is {value!r}: give bytes")  # noqa: TRY004 -- as above
    return value


def _inside(name: str) -> str:
    """A name beneath sealift/, or a pattern of such: nothing else is on a drive."""
    if not isinstance(name, str) or not name or "\0" in name or not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise ValueError(f"name is {name!r}: give one beneath {ROOT}/, as manifest.json or packs/0000/0000000.parity")
    return name


def _words(value: object) -> str:
    if isinstance(value, bytes) and len(value) > 64:
        return f"<{len(value)} bytes>"
    return repr(value)
