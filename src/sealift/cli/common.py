"""What commands share: options, parsers of their values, one JSON object to stdout, progress on stderr.

What holds: `emit` is the only way to stdout for a command with --json, and is called once. A path that is not
UTF-8 appears as `path_b64` in place of `path`. Progress is a bar on a terminal and a plain line every few
seconds otherwise, always on stderr; rich is imported only for the bar. What is not here: any stage.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Self

import click

from sealift.cli.hanging import Watch
from sealift.errors import BadInput, KeyInvalid
from sealift.formats.sizes import counted, parse_size, rate_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sealift.formats.age import Identity
    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.formats.seal import Seal
    from sealift.reading.trust import TrustedSeal
    from sealift.stages.placed_pass import Events
    from sealift.stages.verify import Progress
    from sealift.stages.verify_report import HostRow
    from sealift.trade.declaration import Declaration
    from sealift.trade.release import Release

_LONGEST_LINE = 600  # characters of a line of a list
_HALF = _LONGEST_LINE // 2
SHOWN = 20  # lines of a list on a screen; the rest is counted, and all of it is in the JSON
_PLAIN_EVERY, _BAR_EVERY = 5.0, 0.2  # seconds between lines, and between pictures of a bar
_WINDOW = 10.0  # seconds over which a rate is taken
_LONG = 120.0  # and over which what is left is estimated: one host that stalls is not the pace of all
_STILL = 10.0  # seconds without a byte after which nothing is estimated

# --- stdout ----------------------------------------------------------------------------------------------


class _NoPandas:
    """A finder (importlib.abc.MetaPathFinder) that finds no pandas."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        del path, target
        if name == "pandas":
            raise ModuleNotFoundError(name=name)


def without_pandas() -> None:
    """Import pyarrow, and have it ask for pandas in vain, which it does once.

    Of what it is given pyarrow asks whether it is pandas', and imports all of that, where it is installed, to know: a
    third of a second of a command's start. Who wants pandas later still gets it.
    """
    if "pandas" in sys.modules:
        return
    finder: Any = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        import pyarrow as pa

        pa.array([0]).to_numpy(zero_copy_only=False)
    finally:
        sys.meta_path.remove(finder)


def emit(answer: Mapping[str, Any]) -> None:
    """Print one JSON object to stdout."""
    with shown():
        click.echo(json.dumps(answer, ensure_ascii=False, allow_nan=False))


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """What is printed here goes to stdout, or nowhere where nobody reads it any more: the command ends as it would."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        leave_stdout()


def leave_stdout() -> None:
    """Nobody reads stdout any more: what is still in its buffer goes nowhere, quietly."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def path_fields(path: bytes) -> dict[str, str]:
    """{"path": ...}, or {"path_b64": ...} when the name is not UTF-8."""
    try:
        return {"path": path.decode()}
    except UnicodeDecodeError:
        return {"path_b64": base64.b64encode(path).decode()}


def path_text(path: bytes) -> str:
    """A path for a screen: one line, no control characters, whatever the name is."""
    text = path.decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


# --- words -----------------------------------------------------------------------------------------------


def say(text: str = "") -> None:
    """A line to stderr."""
    click.echo(text, err=True)


def say_list(lines: Iterable[str], total: int) -> None:
    """Up to SHOWN indented lines to stderr; the rest is counted. Of a very long one (a path may be) both ends."""
    for _, line in zip(range(SHOWN), lines, strict=False):
        cut = len(line) - _LONGEST_LINE
        say(f"  {line}" if cut <= 0 else f"  {line[:_HALF]}[... {cut:,} characters ...]{line[-_HALF:]}")
    if total > SHOWN:
        say(f"  and {total - SHOWN:,} more (--json names all of them)")


def size_text(count: float) -> str:
    """Bytes in a decimal unit, as drives are labelled: 15.4 TB."""
    for power, unit in ((15, "PB"), (12, "TB"), (9, "GB"), (6, "MB"), (3, "kB")):
        if count >= 10**power:
            return f"{count / 10**power:.1f} {unit}"
    return f"{int(count)} B"


def are(count: int) -> str:
    """The verb for so many."""
    return "is" if count == 1 else "are"


def were(count: int) -> str:
    """The same, of what was."""
    return "was" if count == 1 else "were"


def duration_text(seconds: float) -> str:
    """Time in its two largest units: 3 d 4 h, 2 h 5 min, 42 s."""
    whole = int(seconds + 0.5)
    if seconds < 10:
        return f"{seconds:.1f} s"
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next(i for i, (value, _) in enumerate(parts) if value)
    return " ".join(f"{value} {unit}" for value, unit in parts[first : first + 2] if value)


# --- options ---------------------------------------------------------------------------------------------

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object to stdout.")
allowed_signers_option = click.option(
    "--allowed-signers",
    metavar="SIGNERS",
    type=click.Path(),
    envvar="SEALIFT_ALLOWED_SIGNERS",
    show_envvar=True,
    help="Whose signatures count: a file in ssh-keygen's allowed_signers format.",
)
identity_option = click.option(
    "--identity",
    "identities",
    metavar="FILE",
    type=click.Path(),
    multiple=True,
    required=True,
    help="Identity that opens the shipment: an age identity file or an OpenSSH key. May be repeated.",
)

ray_option = click.option(
    "--ray",
    "address",
    metavar="ADDRESS",
    help="Work on the hosts of this Ray cluster (HOST:PORT, or auto), each with the drives that stand there: MNT... are"
    " then folders of each host, as quoted patterns ('/mnt/d*'); none: all disks that are mounted there.",
)


keys_option = click.option(
    "--keys",
    metavar="FILE",
    type=click.Path(),
    help="Keys that `sealift unlock` issued to a job; --identity is the job's own then.",
)


def _one(_context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> str | None:
    """The value of an option of which click would quietly take the last."""
    if len(values) > 1:
        raise click.BadParameter("is given more than once, and takes one value", param=parameter)
    return values[0] if values else None


seal_option = click.option(
    "--seal",
    metavar="FILE",
    type=click.Path(),
    multiple=True,  # to see that it is given twice
    callback=_one,
    help="The shipment's seal, sent ahead by the origin; else the one on a drive.",
)
sealed_option = click.option(
    "--seal",
    metavar="FILE",
    type=click.Path(),
    multiple=True,
    required=True,
    callback=_one,
    help="The shipment's seal.",
)
custody_option = click.option(
    "--custody",
    metavar="LOG",
    type=click.Path(),
    help="Custody log: whoever signed in it as a carrier signs nothing here.",
)
in_reply_to_option = click.option(
    "--in-reply-to",
    metavar="SEAL",
    type=click.Path(),
    help="Of a return leg: the outbound shipment's seal; refused unless this shipment answers it.",
)


def load_outbound(path: str | None, allowed_signers: str | None) -> tuple[TrustedSeal | None, list[Seal]]:
    """The outbound seal of --in-reply-to, if it holds, None where none is given; and those beside that supersede it."""
    if path is None:
        return None, []
    from sealift.reading.trust import load_seal, open_seal
    from sealift.stages.seal_others import later_beside

    outbound = open_seal(load_seal(path), load_allowed(allowed_signers))
    return outbound, later_beside(path, outbound.declaration)


def load_allowed(path: str | None) -> AllowedSigners:
    """The allowed signers of --allowed-signers; BadInput when none are given."""
    if not path:
        raise BadInput(
            "no allowed signers are given, so no signature can be believed",
            hint="--allowed-signers FILE, or SEALIFT_ALLOWED_SIGNERS: lines such as"
            ' "origin@example.com ssh-ed25519 AAAA...", got from somebody you trust',
        )
    from sealift.trade.signing import load_allowed_signers

    return load_allowed_signers(path)


def release_beside(file: str, declaration: Declaration, allowed_signers: str | None) -> Release | None:
    """The release beside the declaration in `file`; None where there is none, or nobody is said who may release.

    A release of an earlier revision is none of this one's. One that is there and does not hold otherwise raises
    Refused, or what is wrong with it.
    """
    from sealift.trade import release, signing

    path = release.path_beside(file)
    if allowed_signers is None or not os.path.exists(path):
        return None
    data = signing.read_limited(path, release.MAX_RELEASE, "release")
    signature = signing.read_signature(path)
    with signing.of_record(path):
        if release.decode(data).revision < declaration.revision:
            say(f"the release beside {file} is of an earlier revision")
            return None
        return release.check_release(declaration, data, signature, signing.load_allowed_signers(allowed_signers))


def standing_release(file: str, declaration: Declaration, allowed_signers: str | None) -> Release | None:
    """As `release_beside`; None, too, where that release does not stand, and then it is said why."""
    found = release_beside(file, declaration, allowed_signers)
    if found is None:
        return None
    from datetime import UTC, datetime

    from sealift.stages.standing import standing

    allowed = load_allowed(allowed_signers)
    stands = standing(file, declaration, found.record, allowed, datetime.now(UTC), principal=found.principal)
    for each in stands.why:
        say(f"the release does not stand: {each}")
    for ended in stands.ended:
        say(f"by the release no drive leaves the origin any more: {ended.text}")
    return None if stands.why_none_leaves else found


def load_identities(paths: Sequence[str]) -> list[Identity]:
    """The identities in the files of --identity; KeyInvalid names the file."""
    from sealift.formats import age_keys
    from sealift.trade.signing import read_limited

    out: list[Identity] = []
    for path in paths:
        data = read_limited(path, age_keys.MAX_KEY_FILE, "identity file", error=KeyInvalid)
        try:
            out += age_keys.parse_identities(data)
        except KeyInvalid as error:
            raise KeyInvalid(f"identity file {path}: {error}", hint=error.hint) from error
    return out


class Size(click.ParamType[int]):
    """A click type over parse_size."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes."""
        if isinstance(value, int):
            return value
        try:
            return parse_size(value)
        except BadInput as error:
            self.fail(f"{error}; {error.hint}", param, ctx)


def parse_carriers(values: Sequence[str]) -> dict[str, str]:
    """{mount: carrier} of --carrier NAME=MNT,MNT; BadInput for what is not of that form."""
    carriers: dict[str, str] = {}
    for value in values:
        name, equals, mounts = value.partition("=")
        listed = [mount for mount in mounts.split(",") if mount]
        if not (equals and name.strip() and listed):
            raise BadInput(f"--carrier {value!r}", hint="--carrier NAME=MNT,MNT: who carries these drives")
        for mount in listed:
            if carriers.get(mount, name.strip()) != name.strip():
                raise BadInput(f"{mount} is given to two carriers, {carriers[mount]} and {name.strip()}")
            carriers[mount] = name.strip()
    return carriers


def parse_serials(values: Sequence[str]) -> dict[str, str]:
    """{mount: serial} of --serial MNT=SERIAL; BadInput for what is not of that form."""
    serials: dict[str, str] = {}
    for value in values:
        mount, equals, serial = value.rpartition("=")
        if not (equals and mount and serial):
            raise BadInput(f"--serial {value!r}", hint="--serial MNT=SERIAL: the number on the drive's label")
        if serials.get(mount, serial) != serial:
            raise BadInput(f"{mount} is given two serial numbers, {serials[mount]} and {serial}")
        serials[mount] = serial
    return serials


# --- progress --------------------------------------------------------------------------------------------


class Meter:
    """Progress of something measured in bytes; `update` may be called as often as one likes.

    `drives` maps a mount to bytes so far: the rates of the slowest and the fastest are shown. Inside, drives that hang
    are named.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, terminal: bool | None = None) -> None:
        self._clock = clock
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._bar: Any = None
        self._task: Any = None
        self._what = ""
        self._shown = float("-inf")
        self._past: deque[tuple[float, int, dict[str, int]]] = deque()
        self._long: deque[tuple[float, int]] = deque()
        self._moved = float("-inf")  # when bytes last came
        self._watch = Watch(self.note)

    def __enter__(self) -> Self:
        self._watch.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._watch.__exit__(*error)
        self.close()

    def update(
        self,
        what: str,
        done: int,
        total: int | None,
        *,
        files: int | None = None,
        drives: Mapping[str, int] | None = None,
        each: str = "drive",
    ) -> None:
        """Bytes done of `total` (None: unknown); `what` names the step, and a new name begins anew.

        `drives` may be of something else than drives, which `each` says.
        """
        now = self._clock()
        if what != self._what or (self._past and done < self._past[-1][1]):
            self._past.clear()
            self._long.clear()
            begins = what != self._what
            self._what = what
            if begins and self._terminal:
                self._shown = float("-inf")
            elif begins:
                self._shown = now - _PLAIN_EVERY + 1  # a step shorter than a second says nothing
        if not self._past or now - self._past[-1][0] > 0.1:
            self._past.append((now, done, dict(drives or {})))
        while len(self._past) > 2 and now - self._past[1][0] > _WINDOW:
            self._past.popleft()
        if not self._long or now - self._long[-1][0] > 1:
            self._moved = now if not self._long or done != self._long[-1][1] else self._moved
            self._long.append((now, done))
        while len(self._long) > 2 and now - self._long[1][0] > _LONG:
            self._long.popleft()
        if now - self._shown < (_BAR_EVERY if self._terminal else _PLAIN_EVERY):
            return
        self._shown = now
        text = self._text(now, done, total, files, drives or {}, each)
        if self._terminal:
            self._draw(what, text, done, total)
        else:
            say(f"{what}: {text}")

    def _text(
        self, now: float, done: int, total: int | None, files: int | None, drives: Mapping[str, int], each: str
    ) -> str:
        begun, first, before = self._past[0]
        parts = [f"{size_text(done)} of {size_text(total)}" if total else size_text(done)]
        if files is not None:
            parts.append(counted(files, "file"))
        passed = now - begun
        if passed > 0.5:
            rate = (done - first) / passed
            parts.append(f"{rate_text(rate)}")
            rates = [(count - before.get(mount, 0)) / passed for mount, count in drives.items()]
            if rates:
                slow, fast = rate_text(min(rates)), rate_text(max(rates))
                if min(rates) > 0.95 * max(rates):  # drives of a group wait for each other
                    parts.append(f"{fast} a {each}")
                else:
                    slow = slow.removesuffix(f" {fast.partition(' ')[2]}")  # the unit once, where both have it
                    parts.append(f"{slow}-{fast} a {each}")
            if total and (left := self._left(now, done, total)) is not None:
                parts.append(f"{duration_text(left)} left")
        return ", ".join(parts)

    def _left(self, now: float, done: int, total: int) -> float | None:
        """Seconds until all is done, by the pace of the last minutes; None while nothing moves."""
        begun, first = self._long[0]
        if done <= first or now <= begun or now - self._moved > _STILL:
            return None
        return max(0, total - done) * (now - begun) / (done - first)

    def _draw(self, what: str, text: str, done: int, total: int | None) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(24),
                TaskProgressColumn(),
                TextColumn("{task.fields[text]}"),
            )
            self._bar = Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(what, text=text)
        self._bar.update(self._task, description=what, completed=done, total=total or None, text=text, refresh=True)

    def note(self, text: str) -> None:
        """A line above the bar."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            say(text)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


# --- hosts -----------------------------------------------------------------------------------------------


def placed_events(meter: Meter, address: str | None) -> Events:
    """Progress of what is done here, drive by drive, or on a cluster, host by host."""
    from sealift.stages.placed_pass import Events

    def tell(step: str, progress: Progress, hosts: int) -> None:
        what, each = (step, "drive") if address is None else (f"{step} on {counted(hosts, 'host')}", "host")
        meter.update(what, progress.done, progress.total, drives=progress.drives, each=each)

    return Events(tell, meter.note)


def show_hosts(hosts: Sequence[HostRow], done: str) -> None:
    """A line a host of a cluster: what was done there, or what is owed."""
    for line in host_lines(hosts, done):
        click.echo(line)


def _by_name(hosts: Sequence[HostRow]) -> Iterator[HostRow]:
    """One row for all that a host has done, as drives came to it in turn; what it owes stands by itself."""
    from msgspec.structs import replace

    done = [host for host in hosts if host.state == "done"]
    for name in dict.fromkeys(host.name for host in done):
        first, *more = [host for host in done if host.name == name]
        drives = dict.fromkeys(drive for host in (first, *more) for drive in host.drives)
        yield replace(first, drives=list(drives))
    yield from (host for host in hosts if host.state != "done")


def host_lines(hosts: Sequence[HostRow], done: str) -> Iterator[str]:
    """The same, as lines."""
    for host in _by_name(hosts):
        drives = counted(len(host.drives), "drive")
        if host.state == "done":
            text = f"host {host.name}: {drives} {done}"
        elif host.unknown:
            text = f"host {host.name}: {host.state.upper()} ({host.why}); it did not say which drives stand there"
        else:
            owed = ", ".join(host.owed) or "none, others have done it"
            text = f"host {host.name}: {host.state.upper()} ({host.why}), {drives}; owed: {owed}"
        yield path_text(text.encode(errors="replace"))
    if any(host.owed for host in hosts):
        yield "next: have what is owed stand on any host, and run the same command: what was done counts"
    if names := sorted({host.name for host in hosts if host.unknown}):
        who = names[0] if len(names) == 1 else f"each of {', '.join(names[:SHOWN])}"
        text = f"next: see to {who}, or have its drives stand on another host, and run the same command: what was done"
        yield path_text(f"{text} counts".encode(errors="replace"))
