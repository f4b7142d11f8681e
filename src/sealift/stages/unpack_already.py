"""Whether a folder that is not empty holds already all that an unpack would put there: then there is nothing to do.

What holds: nothing is written. Every file is read and compared with the signed index, as unpack itself would; one that
changed while it was packed, and has no digest of its own, by its length. What else lies there is not looked at. Whose
folder it is nobody knows any more: the notes of an unpack go when everything is there (unpack_notes.py).
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from sealift.formats.index import CHANGED, DIRECTORY, FILE, HARDLINK, SYMLINK, Row
from sealift.stages.unpack_jobs import rows_of
from sealift.stages.unpack_notes import NOTE
from sealift.stages.unpack_target import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealift.reading.shipment import Shipment
    from sealift.stages.unpack import Result
    from sealift.stages.unpack_jobs import Aliases

_KINDS = {FILE: stat.S_ISREG, HARDLINK: stat.S_ISREG, SYMLINK: stat.S_ISLNK, DIRECTORY: stat.S_ISDIR}


def is_of_another(target: str, shipment: str) -> bool:
    """Whether a folder is not empty, and not what a stopped unpack of the shipment left."""
    try:
        return bool(os.listdir(target)) and not os.path.isdir(os.path.join(target, NOTE + shipment))
    except OSError:
        return False  # told when it is to be written to


def first_not_there(
    target: str,
    patterns: Sequence[str],
    shipment: Shipment,
    aliases: Aliases,
    result: Result,
    tell: Callable[[], None],
) -> bytes | None:
    """The first member that is not there as it was signed; None: all are, and `result` counts them.

    Names and lengths are looked at before any file is read, so that another folder is known as one at once.
    """
    for read in (False, True):
        for group in shipment.groups.values():
            for kind in _KINDS:
                for row in rows_of(group, patterns, kind, aliases):
                    name = aliases.get(row.path, row.path)
                    if kind == HARDLINK:
                        row = row._replace(link=aliases.get(row.link, row.link))  # noqa: PLW2901
                    if not (_reads(target, name, row) if read else _stands(target, name, row)):
                        return name
                    if read and kind != DIRECTORY:
                        _count(row, name, result)
                        tell()
    return None


def _count(row: Row, name: bytes, result: Result) -> None:
    last = row.kind != FILE or row.start + row.length == row.size
    result.files += last
    result.there += last
    result.size += row.length
    result.changed += [name] if row.kind == FILE and row.flags & CHANGED else []


def _stands(target: str, name: bytes, row: Row) -> bool:
    """Whether something of that kind and length is there."""
    if not {b"", b".", b".."}.isdisjoint(name.split(b"/")):
        return False
    path = os.path.join(os.fsencode(target), name)
    try:
        status = os.lstat(path)
        if row.kind == SYMLINK and os.readlink(path) != row.link:
            return False
    except (OSError, ValueError):
        return False
    return _KINDS[row.kind](status.st_mode) and (row.kind != FILE or status.st_size == row.size)


def _reads(target: str, name: bytes, row: Row) -> bool:
    """Whether what is there has the bytes that were signed; a file of several segments is read once."""
    folder = os.fsencode(target)
    try:
        if row.kind == HARDLINK and not os.path.samefile(os.path.join(folder, name), os.path.join(folder, row.link)):
            return digest_of(os.path.join(folder, name)) == digest_of(os.path.join(folder, row.link))
        if row.kind != FILE or (row.length < row.size and (not row.file_blake3 or row.flags & CHANGED)):
            return True
        return digest_of(os.path.join(folder, name)) == (row.file_blake3 if row.length < row.size else row.blake3)
    except OSError:
        return False
