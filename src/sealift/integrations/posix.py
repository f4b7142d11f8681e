"""A shipment in the terms of a filesystem: its errors as OSError, its paths with symbolic links followed.

    lookup     what stands at a path, as lstat has it
    resolve    the same through links of folders, and through the last one if wanted, as stat has it
    os_errors  a block in which sealift's errors leave as OSError: ENOENT, ENOTDIR, ELOOP, EIO, EACCES

What is not here: fsspec (fsspec.py) and FUSE (fuse.py), which share this.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from sealift.errors import BadInput, NotAllHere, Refused, SealiftError
from sealift.reading.shipment import Member

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealift.reading.shipment import Shipment

MAX_LINKS = 40  # followed on the way to one file; Linux allows as many


def os_error(error: SealiftError, path: str, number: int | None = None) -> OSError:
    """The OSError that says what `error` does, hint and all, about `path`."""
    text = f"{error} (hint: {error.hint})" if error.hint else str(error)
    if number is None:
        number = errno.EACCES if isinstance(error, Refused) else errno.EIO
    return OSError(number, text, path)


@contextlib.contextmanager
def os_errors(path: str) -> Iterator[None]:
    """In this block a SealiftError becomes an OSError about `path`: EACCES if something was refused, EIO otherwise."""
    try:
        yield
    except SealiftError as error:
        raise os_error(error, path) from error


def folder(path: str) -> Member:
    """A folder of which nothing is known but that something lies in it."""
    return Member(path, "dir", 0, 0o755, 0, "", "", ())


def lookup(shipment: Shipment, path: str) -> Member:
    """What stands at `path`, "" being the root; a hard link has its file's size. FileNotFoundError, OSError(EIO)."""
    if not path:
        return folder("")
    with os_errors(path):
        try:
            return shipment.stat(path)
        except (BadInput, NotAllHere) as error:  # no row has this path; a folder may be known by what is in it
            beneath = next(shipment.members(path), None)
            if beneath is None:
                raise os_error(error, path, errno.ENOENT) from error
            if beneath.path == path:  # a hard link to what is not here
                raise
            return folder(path)


def resolve(shipment: Shipment, path: str, *, follow: bool) -> Member:
    """What `path` names where folders may be links; with `follow`, what the last link points at.

    FileNotFoundError also for links that leave the shipment, NotADirectoryError, OSError(ELOOP), OSError(EIO).
    """
    try:
        member = lookup(shipment, path)
        if not (follow and member.kind == "symlink"):
            return member
    except FileNotFoundError:
        if "/" not in path:
            raise
    left, member, links = path.split("/")[::-1], folder(""), 0
    done: list[str] = []
    while left:
        part = left.pop()
        if member.kind != "dir":
            raise NotADirectoryError(errno.ENOTDIR, f"{member.path!r} is a {member.kind}, not a folder", path)
        if part in {"", "."}:
            continue
        if part == "..":
            if not done:
                raise FileNotFoundError(errno.ENOENT, "a link points out of the shipment", path)
            done.pop()
        else:
            done.append(part)
        member = lookup(shipment, "/".join(done))
        if member.kind == "symlink" and (left or follow):
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if member.link.startswith("/"):
                raise FileNotFoundError(errno.ENOENT, f"a link points out of the shipment, at {member.link!r}", path)
            done.pop()
            left += member.link.split("/")[::-1]
            member = folder("/".join(done))
    return member


def file_behind(shipment: Shipment, member: Member) -> Member:
    """The file whose bytes a member has: of a hard link its first name, else the member itself. OSError(EIO)."""
    if member.kind != "hardlink":
        return member
    with os_errors(member.path):
        return shipment.stat(member.link)
