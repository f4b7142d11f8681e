"""`unpack`, and `ingest` of files: members become files or objects, checked, rebuilt where needed, resumable.

    1. pack by pack, several processes: regular files and segments, symbolic links
    2. files of several segments: the digest of the whole, and their own names
    3. hard links, then modes and times of directories, deepest first

What a worker does with a pack is in unpack_files.py, what comes after the packs in unpack_finish.py.

Never writes outside the target: every name is walked component by component beneath it, no symbolic link is
followed, `..` and absolute names are refused. Only an empty folder, or one that a stopped unpack of the same shipment
left, is written to. A pack that is done is noted in TARGET/.sealift-unpack-SHIPMENT/done after a syncfs; that folder
goes when everything is there. Files of noted packs that are gone when it goes on are restored
again; what is not as it was written is looked at.

Nothing is removed or written over, also where somebody put files there between two runs: a file gets its name when it
is whole (unpack_target.py). Where something has that name already, it counts as restored if it has the right bytes,
also where no drive has them any more; anything else is left, and told as what the target did not take.

Into a bucket (s3://BUCKET/PREFIX) go the same jobs, by the same rows; what an object is, how it is known to have
arrived, and where done jobs are noted there is in unpack_objects.py.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sealift.drives.locations import is_store, refuse_on_a_drive
from sealift.errors import BadInput, SealiftError
from sealift.formats.index import FILE, HARDLINK, SYMLINK, Row
from sealift.reading.shipment import Shipment
from sealift.reading.trust import check_reply
from sealift.stages import unpack_already as already
from sealift.stages import unpack_files
from sealift.stages.foreign import Foreign
from sealift.stages.spawned import Once, QuietSpawn
from sealift.stages.undisturbed import undisturbed
from sealift.stages.unpack_finish import finish
from sealift.stages.unpack_jobs import (
    Aliases,
    Done,
    Job,
    find_aliases,
    jobs_of,
    rows_of,
    select,
)
from sealift.stages.unpack_notes import KEPT, NOTE, Notes, There
from sealift.stages.unpack_objects import LEFT, WORKERS, Listed, ObjectNotes, ObjectTarget, told
from sealift.stages.unpack_places import Met, Place, met, places
from sealift.stages.unpack_target import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sealift.formats.seal import Seal, Shortfall
    from sealift.reading.trust import TrustedSeal

_PATIENCE = 3.0  # seconds for workers to end
_ALREADY = (
    "all of it was there, restored before: every file was read and is as it was signed (a large one that changed while "
    "it was packed: by its length), and nothing was written"
)


@dataclass
class Options:
    """What `sealift unpack` was asked for; file contents, not paths, where they were read already."""

    mounts: list[str]
    target: str
    identities: list[bytes]  # contents of identity files
    allowed_signers: bytes
    seal: dict[str, bytes] | None
    patterns: list[str] = field(default_factory=list)
    workers: int = 0  # 0: one a core
    keys: str | None = None  # the file that `sealift unlock` wrote; the identities are the job's then
    outbound: TrustedSeal | None = None  # restored only if the shipment answers this one
    later: Sequence[Seal] = ()  # seals of later revisions of `outbound`, which must accept it too


@dataclass
class Events:
    """How a run tells what it does."""

    notice: Callable[[str], None] = lambda _text: None
    progress: Callable[[int, int, int], None] = lambda _files, _bytes, _total: None


@dataclass
class Result:
    """What was restored; the JSON of `sealift unpack` is made of it."""

    files: int = 0
    size: int = 0  # bytes
    rebuilt_blocks: int = 0
    failed: list[tuple[bytes, str]] = field(default_factory=list)
    unreached: set[bytes] = field(default_factory=set)  # of those that failed: no host that has them answers
    changed: list[bytes] = field(default_factory=list)
    there: int = 0  # of the files those that were there already, with these bytes
    refused: list[tuple[bytes, str]] = field(default_factory=list)  # what the target did not take, and why
    skipped: list[tuple[bytes, str]] = field(default_factory=list)  # what a bucket cannot hold, and why
    foreign: Foreign = field(
        default_factory=Foreign
    )  # what a bucket holds beside the files of the groups that are here
    missing_drives: list[str] = field(default_factory=list)  # of the groups that are here
    missing_groups: list[dict[str, Any]] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)  # mounts that give nothing, and why
    places: list[Place] = field(default_factory=list)  # in other hosts, that gave less than they were asked for
    met: dict[int, dict[str, Met]] = field(default_factory=dict)  # by process
    seconds: float = 0.0
    shortfall: Shortfall | None = None  # what of the source is not in the shipment, by its seal
    reply_signer: str | None = None  # with `outbound`: which of the signers that it accepts has signed

    @property
    def waits(self) -> bool:
        """Whether all that failed did so because no host that has it answers."""
        return all(path in self.unreached for path, _ in self.failed)


def unpack(options: Options, events: Events) -> Result:
    """Restore the shipment, or what matches the patterns, into the target folder; raises SealiftError."""
    begun = time.monotonic()
    shipment = _open(options)
    result = Result(shortfall=shipment.seal.seal.shortfall or None)
    try:
        if options.outbound is not None:
            result.reply_signer = check_reply(shipment.seal, options.outbound, options.later).principal
        result.missing_drives, result.ignored = shipment.absent, shipment.ignored
        for mount, why in result.ignored:
            events.notice(f"{mount} is ignored: {why}")
        for notice in shipment.notices:
            events.notice(notice)
        for missing in shipment.missing:
            result.missing_groups.append(
                {
                    "group": missing.group,
                    "drives": missing.drives,
                    "files": missing.files,
                    "bytes": missing.bytes,
                }
            )
        refuse_on_a_drive(options.target, shipment.drives)
        if _is_there_already(options, shipment, result, events):
            events.notice(f"{options.target}: {_ALREADY}")
        else:
            _restore(options, shipment, result, events)
    finally:
        shipment.close()
    reasons: dict[bytes, str] = {}
    for path, reason in sorted(result.failed):  # a file of several segments has failed once
        reasons.setdefault(path, reason)
    result.failed = list(reasons.items())
    result.refused = sorted(dict(reversed(result.refused)).items())
    result.changed = list(dict.fromkeys(result.changed))
    result.seconds = time.monotonic() - begun
    return result


def _is_there_already(options: Options, shipment: Shipment, result: Result, events: Events) -> bool:
    """Whether a folder that is not empty has all that is asked for, and `result` counts it; BadInput where it has not.

    Of groups that are not here nobody can say it.
    """
    target = options.target
    if is_store(target) or shipment.missing or not already.is_of_another(target, shipment.seal.seal.shipment):
        return False
    total = sum(group.manifest.totals.source_bytes for group in shipment.groups.values())
    aliases = find_aliases(shipment, options.patterns)

    def tell() -> None:
        events.progress(result.files, result.size, total)

    missed = already.first_not_there(target, options.patterns, shipment, aliases, result, tell)
    if missed is None:
        return result.files > 0
    raise BadInput(
        f"{target} is not empty, nor what an earlier unpack restored: {os.fsdecode(missed)!r} is not there as it was "
        "signed; nothing was written",
        hint="give an empty folder with --to; nothing there is overwritten",
    )


def _restore(options: Options, shipment: Shipment, result: Result, events: Events) -> None:
    """Write what is asked for into the target, or the rest of it."""
    store = is_store(options.target)
    kind = ObjectNotes if store else Notes
    with (
        told() if store else nullcontext(),
        kind(options.target, shipment.seal.seal.shipment, options.patterns) as notes,
    ):
        if notes.resumed and not store:
            _make_writable(options.target)
        total = sum(group.manifest.totals.source_bytes for group in shipment.groups.values())
        aliases = {} if store else find_aliases(shipment, options.patterns)
        standing = _restore_packs(options, shipment, notes, result, events, total, aliases)
        if isinstance(notes, ObjectNotes):
            if notes.left:
                events.notice(f"{notes.left} uploads in parts that a stopped run began are left: {LEFT}")
            _finish_objects(options, shipment, result, notes, events)
        else:
            finish(options.target, options.patterns, shipment, result, notes, aliases, standing)
        result.rebuilt_blocks += shipment.rebuilt_blocks
        result.missing_drives, result.ignored = shipment.absent, shipment.ignored  # some hosts answer late
        result.places = places(shipment.silent, [*result.met.values(), met(shipment)])
        whole = not (result.failed or result.refused)
        if whole:
            notes.groups_done(list(shipment.groups))
            result.missing_groups = [each for each in result.missing_groups if not notes.has_group(each["group"])]
        if whole and not result.missing_groups and not notes.remove():
            events.notice(KEPT)
        if options.patterns and not (result.files or result.skipped or not whole or result.missing_groups):
            raise BadInput("no member matches --path", hint="`sealift ls` lists them; `*` crosses folders")


def _make_writable(target: str) -> None:
    """Folders that an earlier run has given their modes already: its owner must write into them again."""
    pending = [target]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    mode = entry.stat(follow_symlinks=False).st_mode
                    with contextlib.suppress(PermissionError):  # somebody else's: what has no place there is told
                        if mode & 0o700 != 0o700:
                            os.chmod(entry.path, stat.S_IMODE(mode) | 0o700)
                        if os.access(entry.path, os.R_OK | os.X_OK):
                            pending.append(entry.path)


def _open(options: Options) -> Shipment:
    return Shipment.open(
        options.mounts,
        identity=options.identities,
        allowed_signers=options.allowed_signers,
        seal=options.seal,
        keys=options.keys,
    )


def _restore_packs(
    options: Options,
    shipment: Shipment,
    notes: Notes | ObjectNotes,
    result: Result,
    events: Events,
    total: int,
    aliases: Aliases,
) -> dict[str, bool]:
    """Do all jobs; into a folder, the files of several packs that stood whole in their places before (There)."""
    workers = options.workers or len(os.sched_getaffinity(0))
    if isinstance(notes, ObjectNotes):
        workers = min(workers, WORKERS)
    pool = ProcessPoolExecutor(
        workers, mp_context=QuietSpawn(), initializer=_begin_worker, initargs=(options, os.getpid(), Once())
    )
    running: dict[Future[Done], Job] = {}
    kinds = [FILE, SYMLINK]
    there: There | Listed
    if isinstance(notes, ObjectNotes):
        kinds = [FILE, HARDLINK]  # every name is an object
        there = Listed(notes, shipment, options.patterns, events.notice)
    else:
        there = There(notes, options.target, _segments(options, shipment, aliases))

    def gather(*, everything: bool) -> None:
        while running and (everything or len(running) >= 2 * workers):
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                job = running.pop(future)
                done = future.result()
                result.rebuilt_blocks += done.rebuilt
                _add(result, done)
                if not (done.failed or done.refused):
                    if not isinstance(notes, ObjectNotes):
                        notes.note(job.name, done.mark)
                    elif job.name not in notes.done:  # else the store keeps when, and where the whole job begins
                        notes.note(job.name, str(job.offset))
                events.progress(result.files, result.size, total)

    try:
        for number, group in shipment.groups.items():
            for job in jobs_of(number, group, options.patterns, notes.folder, kinds, aliases):
                if job.name in notes.done or isinstance(there, There):
                    kept, job.rows = there.sort(job)
                    _add(result, there.already(kept))
                    if not job.rows:
                        continue
                with undisturbed():  # it may start a process: half of one would complain on the terminal
                    running[pool.submit(_work, job)] = job
                gather(everything=False)
        gather(everything=True)
    except BrokenProcessPool as error:
        raise SealiftError(
            "a worker process ended before its work was done (killed, or out of memory)",
            hint="run the same command again: it goes on",
        ) from error
    except BaseException:
        with undisturbed():  # a second Ctrl-C would leave the rest to Python's end, which tells of it
            _end(pool)
        raise
    finally:
        there.close()
    if there.gone:
        events.notice(
            f"{there.gone:,} files that an earlier run had restored are gone, cut or changed: what is gone is restored "
            "again, and what stands in the place of a file is left and named"
        )
    pool.shutdown()
    return there.standing if isinstance(there, There) else {}


def _segments(options: Options, shipment: Shipment, aliases: Aliases) -> Iterator[tuple[int, Row]]:
    """Group and row of every segment of files that lie in several packs."""
    import pyarrow.compute as pc

    for number, group in shipment.groups.items():
        for batch in select(group, options.patterns, [FILE], aliases):
            segments = batch.filter(pc.less(batch.column("length"), batch.column("size")))
            for values in zip(*(column.to_pylist() for column in segments.columns), strict=True):
                row = Row(*values)
                yield number, row._replace(path=aliases.get(row.path, row.path))


def _end(pool: ProcessPoolExecutor) -> None:
    """Stop the workers now; one that a drive holds in the kernel is not waited for."""
    processes = list((pool._processes or {}).values())  # noqa: SLF001 -- 3.14 has terminate_workers()
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + _PATIENCE
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    pool.shutdown(wait=not any(process.is_alive() for process in processes), cancel_futures=True)


def _add(result: Result, done: Done) -> None:
    result.files += done.files
    result.size += done.size
    result.failed += done.failed
    result.unreached.update(done.unreached)
    result.changed += done.changed
    result.there += done.there
    result.refused += done.refused
    result.skipped += done.skipped
    if done.process:
        result.met[done.process] = done.met


# -- workers

_worker: tuple[Shipment, Target | ObjectTarget] | Exception | None = None


_PR_SET_PDEATHSIG = 1


def _begin_worker(options: Options, parent: int, once: Once) -> None:
    global _worker  # noqa: PLW0603 -- a worker process has one shipment for its life
    import ctypes
    import signal

    if os.getpid() != parent:  # a worker whose parent was killed would wait, and write, for ever
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        logging.getLogger("sealift.group").addFilter(once)
    try:
        shipment = _open(options)
        name = shipment.seal.seal.shipment
        target = ObjectTarget(options.target, name) if is_store(options.target) else Target(options.target, NOTE + name)
    except Exception as error:  # noqa: BLE001 -- the pool would print it and say that a worker has died: a job raises it
        _worker = error
    else:
        _worker = (shipment, target)


def _work(job: Job) -> Done:
    """Do one job: the unit of work, whichever process it is in."""
    assert _worker is not None
    if isinstance(_worker, Exception):
        raise _worker
    shipment, target = _worker
    before = shipment.rebuilt_blocks
    done = target.work(shipment, job) if isinstance(target, ObjectTarget) else unpack_files.work(shipment, target, job)
    done.rebuilt = shipment.rebuilt_blocks - before
    done.process, done.met = os.getpid(), met(shipment)
    return done


# -- after the packs


def _finish_objects(options: Options, shipment: Shipment, result: Result, notes: ObjectNotes, events: Events) -> None:
    """What no object can be is named; and everything else that should be there is in the store's own listing."""
    for group in shipment.groups.values():
        for row in rows_of(group, options.patterns, SYMLINK):
            result.skipped.append((row.path, "a symbolic link, and there are none in a bucket"))
    named = {path for path, _ in (*result.failed, *result.skipped, *result.refused)}
    for path, _ in notes.unlisted(shipment, options.patterns, events.notice, foreign=result.foreign):
        if path not in named:
            why = "it was written, and the store does not list it in its length: the same command looks again"
            result.refused.append((path, why))
