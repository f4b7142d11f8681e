"""Members of one pack become files in a folder: written, checked against the index, durable, then given their names.

What a file runs into is noted, and the others go on. What the destination does not take (something else stands there,
it may not be written to, it has no such names) is told apart from what the drives do not give: OSError, and
InTheWayError, are the destination's, for what reads drives raises SealiftError. What the disk refuses to all files ends
everything.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from sealift.drives.waiting import waiting
from sealift.errors import SealiftError, Unreached
from sealift.formats import index
from sealift.formats.index import CHANGED, FILE, SYMLINK, Row
from sealift.stages.unpack_jobs import Done, Job, awaited, source_of
from sealift.stages.unpack_objects import OTHER
from sealift.stages.unpack_target import InTheWayError, Target, UnsafeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealift.reading.shipment import Shipment
    from sealift.stages.unpack import Result

_TARGET_GONE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


def work(shipment: Shipment, target: Target, job: Job) -> Done:
    """Write the files of a job, make them durable, and give them their names."""
    done = Done()
    group = shipment.groups[job.group]
    content: Any = None
    trouble: SealiftError | None = None
    source = source_of(group, job.stripe, job.role)
    written: list[tuple[Row, bytes]] = []
    latest = 0  # ctime of a file of this job
    for values in job.rows:
        row = Row(*values)
        with _told_of(target, row, done):
            if row.kind == SYMLINK:
                target.symlink(row.path, row.link, row.mtime)
                done.files += 1
                continue
            if content is None and row.length:
                if trouble:
                    raise trouble.with_traceback(None)
                try:
                    with waiting(source):
                        content = group.content(job.stripe, job.role)
                except SealiftError as error:
                    trouble = error
                    raise
            if row.length == row.size:
                with target.new(row.path, row.size) as (name, fd):
                    _restore(target, fd, content, row, source)
                    target.stamp(fd, row.mode, row.mtime)
                written.append((row, name))
            else:
                with target.part(row.path, row.size) as fd:  # it stays writable until all of it is here
                    _restore(target, fd, content, row, source)
                _count(done, row)
    target.sync()
    for row, name in written:
        with _told_of(target, row, done):
            try:
                target.publish(name, row.path)
            except BaseException:
                target.discard(name)
                raise
            latest = max(latest, target.ctime(row.path))
            _count(done, row)
    if target.keeps_ctime:
        done.mark = str(latest)
    return done


def _count(done: Done, row: Row) -> None:
    done.files += row.length == row.size  # one of several segments counts when all of it is there (unpack_finish.py)
    done.size += row.length
    if row.flags & CHANGED:
        done.changed.append(row.path)


@contextlib.contextmanager
def _told_of(target: Target, row: Row, done: Done) -> Iterator[None]:
    """What one row of a job runs into is noted, unless a file with its bytes is there; SealiftError ends everything."""
    try:
        yield
    except (SealiftError, UnsafeError, OSError) as error:
        _end_if_gone(target, error)
        whole = row.kind == FILE and row.length == row.size
        if whole and target.holds(row.path, row.size, row.blake3):
            target.metadata(row.path, row.mode, row.mtime)
            done.there += 1
            _count(done, row)
        else:
            note_trouble(target, row.path, error, done)
            if isinstance(error, Unreached):
                done.unreached.append(row.path)


def note_trouble(target: Target, path: bytes, error: Exception, told: Done | Result) -> None:
    """Note what happened at a path with those that failed, or that the destination did not take.

    SealiftError where it takes nothing any more.
    """
    _end_if_gone(target, error)
    if isinstance(error, FileExistsError):
        told.refused.append((path, OTHER))
    elif isinstance(error, OSError):
        told.refused.append((path, (error.strerror or str(error)).lower()))
    else:
        (told.refused if isinstance(error, InTheWayError) else told.failed).append((path, str(error)))


def _end_if_gone(target: Target, error: Exception) -> None:
    if isinstance(error, OSError) and error.errno in _TARGET_GONE:
        raise SealiftError(
            f"{target.path}: {(error.strerror or '').lower()}; what was restored so far is safe",
            hint="make room or mend the disk, then run the same command again: it goes on",
        ) from error


def _restore(target: Target, fd: int, content: Any, row: Row, source: str) -> None:
    """One file or segment: written, hashed, checked."""
    hasher = blake3()
    if row.flags & index.SPARSE:
        at = 0
        extents = content.extents(row.offset, row.stored, row.length) if row.length else ()
        for offset, piece in awaited(extents, source):
            _hash_zeros(hasher, offset - at)
            hasher.update(piece)
            _write(target, fd, piece, row.start + offset)
            at = offset + len(piece)
        _hash_zeros(hasher, row.length - at)
    elif row.length:
        at = row.start
        for piece in awaited(content.pieces(row.offset, row.length), source):
            hasher.update(piece)
            _write(target, fd, piece, at)
            at += len(piece)
    if hasher.digest() != row.blake3:
        raise SealiftError("its contents do not match the signed index")


_ZEROS = bytes(1 << 20)


def _hash_zeros(hasher: blake3, count: int) -> None:
    while count > 0:
        hasher.update(_ZEROS[: min(count, len(_ZEROS))])
        count -= len(_ZEROS)


def _write(target: Target, fd: int, data: memoryview, offset: int) -> None:
    with target.writing:
        while data:
            count = os.pwrite(fd, data, offset)
            data, offset = data[count:], offset + count
