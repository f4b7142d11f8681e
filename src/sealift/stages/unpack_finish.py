"""What an unpack into a folder ends with: files of several segments as a whole, hard links, then directories.

What holds: what stands whole and right in its place is looked at first, and counts, whoever brought it. Only what has
every segment is compared with the digest of the whole; what lacks one goes, and the next run writes it anew.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sealift.errors import SealiftError
from sealift.formats.index import CHANGED, DIRECTORY, FILE, HARDLINK, Row
from sealift.stages.unpack_files import note_trouble
from sealift.stages.unpack_jobs import in_order, rows_of, select
from sealift.stages.unpack_objects import OTHER
from sealift.stages.unpack_target import Target, UnsafeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from sealift.reading.shipment import Shipment
    from sealift.stages.unpack import Result
    from sealift.stages.unpack_jobs import Aliases
    from sealift.stages.unpack_notes import Notes

_NAMES_IT = "is another name of a file that the destination did not take"
_OLDER = "not all that earlier runs wrote of it is there any more: the same command again writes it anew"
_UNLIKE = "the whole file does not match the signed index, though its segments do"


def finish(
    folder: str,
    patterns: Sequence[str],
    shipment: Shipment,
    result: Result,
    notes: Notes,
    aliases: Aliases,
    standing: Mapping[str, bool],
) -> None:
    """End an unpack into `folder`; `standing` are files of several segments that were there (unpack_notes.There)."""
    target = Target(folder, os.path.basename(notes.folder))
    whole = _Whole(target, result, notes, standing)
    for group in shipment.groups.values():
        for row in rows_of(group, patterns, FILE, aliases):
            if row.file_blake3:
                whole.finish(row._replace(path=aliases.get(row.path, row.path)))
    result.failed = [each for each in result.failed if each[0] not in whole.found]
    result.refused = [each for each in result.refused if each[0] not in whole.found]
    result.unreached -= whole.found
    failed, refused = ({path for path, _ in each} for each in (result.failed, result.refused))
    for group in shipment.groups.values():
        for row in rows_of(group, patterns, HARDLINK):
            original = aliases.get(row.link, row.link)
            if original in refused:
                result.refused.append((row.path, _NAMES_IT))
            elif original != row.path:
                _hardlink(target, row._replace(link=original), failed, result)
    _directories(shipment, patterns, target, notes.folder, result)
    target.sync()
    target.close()


class _Whole:
    """Files that are written in segments: digest, mode, time and own name of each."""

    def __init__(self, target: Target, result: Result, notes: Notes, standing: Mapping[str, bool]) -> None:
        self._target, self._result, self._notes, self._standing = target, result, notes, standing
        self._missed = {path for path, _ in (*result.failed, *result.refused)}
        self.found: set[bytes] = set()  # of those that failed: all of it is there, whoever brought it

    def finish(self, row: Row) -> None:
        """What its segments were written to gets its name, or goes where it is not whole."""
        target, notes, path = self._target, self._notes, row.path
        try:
            ours = self._standing.get(notes.key(path))
            if ours is not None:
                target.discard(target.part_name(path))
                target.metadata(path, row.mode, row.mtime)
                self._result.there += not ours
                self._result.files += 1
                if row.flags & CHANGED:
                    self._result.changed.append(path)
            elif path in self._missed:
                notes.drop_part(target, path)
                if self._holds(row):
                    self.found.add(path)
            elif target.has_part(path, row.size):
                self._publish(row)
            elif not self._holds(row):
                self._result.refused.append((path, OTHER))
        except (SealiftError, UnsafeError, OSError) as error:
            note_trouble(target, path, error, self._result)

    def _publish(self, row: Row) -> None:
        target, notes, path = self._target, self._notes, row.path
        # the digest of a file that changed while it was packed may fit nothing: there is nothing to compare it with
        if not row.flags & CHANGED and target.part_digest(path) != row.file_blake3:
            anew = not notes.resumed or notes.key(path) in notes.removed  # all of it was written by this run
            notes.drop_part(target, path)
            raise SealiftError(_UNLIKE if anew else _OLDER)
        name = target.part_name(path)
        target.part_metadata(path, row.mode, row.mtime)
        notes.note_whole(path)
        try:
            target.publish(name, path)
        except FileExistsError:
            if not self._holds(row):
                raise
            target.discard(name)
            return
        if target.keeps_ctime:
            notes.note_whole(path, target.ctime(path))
        if row.flags & CHANGED:
            self._result.changed.append(path)
        self._result.files += 1

    def _holds(self, row: Row) -> bool:
        """Whether it is in its place, with the bytes that were signed; then it counts."""
        target = self._target
        if not target.holds(row.path, row.size, row.file_blake3):
            return False
        target.metadata(row.path, row.mode, row.mtime)
        self._result.there += 1
        self._result.files += 1
        return True


def _hardlink(target: Target, row: Row, failed: set[bytes], result: Result) -> None:
    if row.link in failed:
        result.failed.append((row.path, "is another name of a file that failed"))
        if row.link in result.unreached:
            result.unreached.add(row.path)
        return
    try:
        target.hardlink(row.path, row.link)
        result.files += 1
    except (UnsafeError, OSError) as error:
        note_trouble(target, row.path, error, result)


def _deepest_first(batch: pa.RecordBatch) -> pa.RecordBatch:
    """With a column by which children are sorted before their parents."""
    import pyarrow.compute as pc

    return batch.append_column("depth", pc.negate(pc.count_substring(batch.column("path"), "/")))


def _directories(shipment: Shipment, patterns: Sequence[str], target: Target, folder: str, result: Result) -> None:
    """Make the empty ones of all groups; then modes and times, children before parents."""
    for order, act in (("path", target.folder), ("depth", target.folder_metadata)):
        batches = (
            _deepest_first(batch)
            for group in shipment.groups.values()
            for batch in select(group, patterns, [DIRECTORY])
        )
        for batch in in_order(batches, (order,), folder):
            columns = (batch.column(name).to_pylist() for name in ("path", "mode", "mtime"))
            for path, mode, mtime in zip(*columns, strict=True):
                try:
                    act(path, mode, mtime)
                except (UnsafeError, OSError) as error:
                    note_trouble(target, path, error, result)
