"""What an unpack has done, noted in its target, and whether that is still there when it goes on.

What holds: a job is noted when its files are durable, with a mark by which it shows later whether they were touched
since; a lock keeps a second unpack out. What is noted is looked at before it is believed: somebody may have removed,
cut or changed files meanwhile. The mark of an unpack's job is the latest ctime of its files: one that was changed after
it is read and compared with the index, as are all where the filesystem keeps no ctime of its own.
Here also lies what is not whole yet (unpack_target.py).

What was done for some --path is noted apart from what was done for another, and goes when that is there; all of it goes
when everything is. What is known of a file that lies in several packs holds for every run.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from typing import TYPE_CHECKING, Any, Self

from blake3 import blake3

from sealift.drives import hung
from sealift.errors import BadInput, Busy
from sealift.formats.index import CHANGED, FILE, SYMLINK, Row
from sealift.stages.unpack_jobs import Done, Job
from sealift.stages.unpack_target import Target, left

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NOTE, _REMOVED, _WHOLE = ".sealift-unpack-", "removed ", "whole "
_BEGUN, _ENDED = "begun", "ended"  # a run for some --path, or without
KEPT = "another run into this place, for other paths, has not ended; what it noted here is kept for it"


def scope_of(patterns: Sequence[str]) -> str:
    """Under which name is noted what is done for some --path: it is not what there is to do for another."""
    return blake3("\0".join(sorted(patterns)).encode(errors="surrogateescape")).hexdigest(8)


class Notes:
    """Which jobs are done, in the target; a lock on it keeps a second one out. `beside`: other things may be there."""

    def __init__(
        self, target: str, shipment: str, patterns: Sequence[str], *, note: str = NOTE, beside: bool = False
    ) -> None:
        self._target = target
        self._scope, self._everything = scope_of(patterns) + " ", not patterns
        self.folder = os.path.join(target, note + shipment)
        with hung.asked(target):
            self._open(beside=beside)

    def _open(self, *, beside: bool) -> None:
        target = self._target
        try:
            os.makedirs(target, exist_ok=True)
            if not beside and os.listdir(target) and not os.path.isdir(self.folder):
                raise BadInput(
                    f"{target} is not empty",
                    hint="give an empty folder with --to; nothing there is overwritten",
                )
            self.resumed = os.path.isdir(self.folder)
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            self._path = os.path.join(self.folder, "done")
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BadInput(f"{target}: {error.strerror}", hint="--to takes a folder that you may write to") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise Busy(f"{target}: another process writes here") from None
        with open(self._path, encoding="ascii", errors="replace") as file:
            lines = [line.rstrip("\n") for line in file if line.endswith("\n")]
        self.done: dict[str, str] = {}
        self._others: set[str] = set()  # scopes of other runs that have not ended
        for line in lines:
            self._read(*line.partition(" ")[::2])
        if not self.done.keys() - self._facts():
            self.note(_BEGUN)  # so that another run leaves the folder, by which the target is known as one of ours
        self.removed = {line.removeprefix(_REMOVED) for line in self.done if line.startswith(_REMOVED)}
        self._clear()

    def _read(self, scope: str, noted: str) -> None:
        """One line, in their order."""
        job, _, mark = noted.partition("=")
        ours = scope + " " == self._scope
        if job == _ENDED:
            self._others.discard(scope)
            self.done = {each: self.done[each] for each in self._facts()} if ours else self.done
        elif job.startswith((_REMOVED, _WHOLE)) or (ours and job != _BEGUN):
            self.done[job] = mark
        if not ours and job != _ENDED:
            self._others.add(scope)

    def _facts(self) -> set[str]:
        return {job for job in self.done if job.startswith((_REMOVED, _WHOLE))}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()
        os.close(self._fd)

    def _clear(self) -> None:
        """Remove what was begun and got no name."""
        with (
            hung.asked(self._target),
            contextlib.suppress(FileNotFoundError),
        ):  # everything is there, and the notes are gone
            for folder in left(self.folder):
                shutil.rmtree(folder, ignore_errors=True)

    def note(self, job: str, mark: str = "") -> None:
        """The job's files are durable; `mark` tells them from what somebody else puts in their place."""
        with hung.asked(self._target):
            os.write(self._fd, f"{self._scope}{job}{'=' if mark else ''}{mark}\n".encode())
            os.fsync(self._fd)

    def groups_done(self, groups: Sequence[int]) -> None:
        """All of these groups is here; a later run with the drives of the others alone may end the unpack."""
        for group in groups:
            self.note(f"group {group}")
            self.done[f"group {group}"] = ""

    def has_group(self, group: int) -> bool:
        """Whether this run or an earlier one restored all of a group."""
        return f"group {group}" in self.done

    @staticmethod
    def key(path: bytes) -> str:
        """How a file is noted: names may be anything, so by digest."""
        return blake3(path).hexdigest(16)

    def drop_part(self, target: Target, path: bytes) -> None:
        """Remove a file of several segments, some of which are noted as done: the next run writes all of them."""
        self.note(_REMOVED + self.key(path))
        target.discard(target.part_name(path))

    def note_whole(self, path: bytes, ctime: int | None = None) -> None:
        """A file of several segments is durable, and about to get its own name; with `ctime`, has it since then."""
        key, mark = _WHOLE + self.key(path), "" if ctime is None else str(ctime)
        if self.done.get(key) in {None, ""} and self.done.get(key) != mark:
            self.note(key, mark)
            self.done[key] = mark

    def whole_since(self, path: bytes) -> int:
        """When a file of several segments got its name, by its ctime in ns; -1 where that is not known."""
        mark = self.done.get(_WHOLE + self.key(path), "")
        return int(mark) if mark.isdecimal() else -1

    def was_whole(self, path: bytes) -> bool:
        """Whether a file of several segments was there as a whole."""
        return _WHOLE + self.key(path) in self.done

    def removed_file(self, path: bytes) -> bool:
        """Note that such a file is gone; False if that is known."""
        key = self.key(path)
        if key in self.removed:
            return False
        self.note(_REMOVED + key)
        self.removed.add(key)
        return True

    def remove(self) -> bool:
        """Everything is there that was to be; False where another run, for other paths, has not ended, and is kept."""
        if self._others and not self._everything:
            self.note(_ENDED)
            return False
        with hung.asked(self._target):
            shutil.rmtree(self.folder, ignore_errors=True)
        return True


_Rows = list[tuple[Any, ...]]


class There:
    """What an earlier run restored, or somebody brought, and whether it is there, as it should be.

    `segments`: group and row of all files that lie in several packs. Such a file may stand whole and right in its
    place: then no segment of it is written again, whichever of their packs are noted. One of which a segment is noted,
    and that is nowhere, is written anew from all of its packs. So both must be known before any of them is begun.
    """

    def __init__(self, notes: Notes, target: str, segments: Iterator[tuple[int, Row]]) -> None:
        self._notes, self._target = notes, Target(target, os.path.basename(notes.folder))
        self.gone = 0
        self.standing: dict[str, bool] = {}  # files of several packs that stand in their places; whether they are ours
        lost: dict[str, bytes] = {}
        begun: set[str] = set()
        packs = {tuple(name.split()[:3]) for name in notes.done}
        for number, row in segments if notes.resumed else ():
            key = notes.key(row.path)
            if (str(number), str(row.stripe), str(row.role)) in packs:
                begun.add(key)
            if row.file_blake3:  # once for each file
                ours = self._stands(row)
                if ours is not None:
                    self.standing[key] = ours
                elif not self._target.has_part(row.path, row.size):
                    lost[key] = row.path
        self.gone += sum(notes.removed_file(path) for key, path in lost.items() if key in begun)

    def _stands(self, row: Row) -> bool | None:
        """Whether the file in its place is ours, or somebody brought it or touched it; None where it is not right."""
        path, target, notes = row.path, self._target, self._notes
        if not target.has(path, row.size):
            return None
        # the digest of a file that changed while it was packed may fit nothing: there is nothing to compare it with
        untouched = bool(row.flags & CHANGED) or target.ctime(path) <= notes.whole_since(path)
        if untouched and notes.was_whole(path) and not target.has_part(path, row.size):
            return True
        return False if target.holds(path, row.size, row.file_blake3) else None

    def sort(self, job: Job) -> tuple[_Rows, _Rows]:
        """Rows of a job: those whose files are there, and those to be restored, for the first time or again."""
        kept: _Rows = []
        again: _Rows = []
        notes, removed, rows = self._notes, self._notes.removed, job.rows
        noted, mark = job.name in notes.done, notes.done.get(job.name, "")
        latest = int(mark) if mark.isdecimal() else -1
        for values in rows if noted or self.standing else ():
            row = Row(*values)
            if row.kind == FILE and row.length < row.size:
                key = notes.key(row.path) if removed or self.standing else ""
                whole = key in self.standing or (noted and key not in removed)
            elif noted:
                whole = self._target.is_still(row, latest)
                self.gone += not whole
            else:
                whole = False
            (kept if whole else again).append(values)
        return (kept, again) if noted or self.standing else (kept, rows)

    @staticmethod
    def already(rows: _Rows) -> Done:
        """What rows that are there count for."""
        done = Done()
        for values in rows:
            row = Row(*values)
            done.files += row.kind == SYMLINK or row.length == row.size
            done.size += row.length
        return done

    def close(self) -> None:
        """Close the target."""
        self._target.close()
