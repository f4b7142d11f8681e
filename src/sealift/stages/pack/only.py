"""`pack --only LIST --of DIR`: what some packs of an earlier packing held, once more, as a shipment of its own.

LIST is a fetch list (formats/fetch.py), which names packs and no files; DIR is the state folder of the packing that
it is about, which knows what each pack held. The shipment has its own declaration, state and drives, and is packed
like any other; only its scan is narrowed to those paths, the other names of their inodes, and the folders above.
A file of which one segment is lost is packed whole; one that has changed since is packed as it is now, and told.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
from blake3 import blake3

from sealift.errors import BadInput, FormatError
from sealift.formats import fetch, index, manifest, typed
from sealift.trade.signing import read_limited

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa

_HEAD = 16


class _Known(msgspec.Struct):
    shipment: str


@dataclass(frozen=True)
class Selection:
    """The paths that are packed, and what they are of: for the configuration, and to tell."""

    paths: dict[bytes, tuple[int, int] | None]  # with size and mtime (ns) of a file when it was packed first
    shipment: str
    packs: int
    digest: str

    @property
    def binding(self) -> str:
        """What a packing of this selection must not change while it goes on."""
        return f"{self.shipment} {self.digest}"


def select(path: str, state: str) -> Selection:
    """What the packs of the list at `path` held; BadInput unless it is about the packing of `state`, all signed."""
    data = read_limited(path, fetch.MAX_LIST, "fetch list")
    try:
        record = fetch.decode_list(data, f"fetch list {path}")
    except FormatError as error:
        unwritten = "the command that was to write it has failed: have it written by `sealift repair --fetch-list`"
        altered = (
            "give it byte for byte as `sealift repair --fetch-list` wrote it, and edit nothing in it: sent in the text "
            "of a mail its line ends may have changed, as an attachment they do not"
        )
        text = f"{error}. it is not as it was written" if data else str(error)
        raise BadInput(text, hint=altered if data else unwritten) from error
    shipment = _shipment(state)
    if shipment != record.shipment:
        raise BadInput(
            f"{path} is about shipment {record.shipment}, {state} packed {shipment}",
            hint="--of is the state folder of the packing that the list is about",
        )
    if not record.contents:
        raise BadInput(
            f"{path}: no contents are lost",
            hint="the packs that it lists are to be brought as they are: late drives, or copies of them",
        )
    manifests = {}
    for group in record.groups:
        closed = os.path.join(state, "groups", f"{group.group:04d}", "closed", manifest.MANIFEST)
        packed = read_limited(closed, manifest.MAX_MANIFEST, f"manifest of group {group.group}")
        if blake3(packed).hexdigest() != group.manifest:
            raise BadInput(
                f"group {group.group} of {state} is not the one that {path} is about: their manifests differ",
                hint="give the state folder of the host that packed this group; each list is of one",
            )
        manifests[group.group] = manifest.decode_manifest(packed)
    for pack in record.contents:
        if not _is_of(pack, manifests[pack.group]):
            raise BadInput(
                f"{path}: stripe {pack.stripe}, role {pack.role} of group {pack.group} is no data pack of it that is "
                f"called {pack.path} and lies on drive {pack.drive}; nothing was written",
                hint="the list was changed by hand, or is damaged: have it written again by `sealift repair "
                "--fetch-list`",
            )
    wanted: dict[tuple[int, int], set[int]] = {}
    for pack in record.contents:
        wanted.setdefault((pack.group, pack.stripe), set()).add(pack.role)
    paths = {path: as_was for at, roles in wanted.items() for path, as_was in _paths(state, *at, roles)}
    return Selection(paths, record.shipment, len(record.contents), blake3(data).hexdigest())


def _is_of(pack: fetch.FetchPack, group: manifest.Manifest) -> bool:
    """Whether there is such a data pack in a group, under this name and on this drive."""
    geometry = group.geometry
    if pack.role >= geometry.data or pack.stripe >= geometry.stripes or not pack.bytes:
        return False
    row = group.drives[manifest.slot_of(pack.stripe, pack.role, group.n)]
    return (pack.path, pack.drive) == (manifest.pack_name(pack.stripe, pack.role, geometry.data), row.id)


def _shipment(state: str) -> str:
    path = os.path.join(state, "journal.sqlite")
    if not os.path.isfile(path):
        raise BadInput(f"{state}: no packing has begun here", hint="--of is the state folder of the first packing")
    try:
        with closing(sqlite3.connect(f"file:{quote(os.path.abspath(path))}?mode=ro", uri=True, timeout=30)) as db:
            row = db.execute("SELECT value FROM settings WHERE name = 'config'").fetchone()
            if row is None:
                raise BadInput(
                    f"{state}: nothing was packed here, what began was refused",
                    hint="--of is the state folder of the first packing",
                )
            return typed.decode(row[0], _Known).shipment
    except (sqlite3.Error, msgspec.MsgspecError, TypeError) as error:
        raise BadInput(f"{path} cannot be read: {error}", hint="give another --of") from error


def _paths(state: str, group: int, stripe: int, roles: set[int]) -> Iterator[tuple[bytes, tuple[int, int] | None]]:
    """What these packs of a stripe held, from the rows that were kept when it was committed."""
    names = ("path", "role", "kind", "size", "mtime")
    name = os.path.join(state, "groups", f"{group:04d}", "stripes", f"{stripe:07d}.rows")
    try:
        with open(name, "rb") as file:
            while head := file.read(_HEAD):
                length, size = int.from_bytes(head[:8], "little"), int.from_bytes(head[8:], "little")
                batch = index.to_arrow(file.read(length), size)
                for path, role, kind, length, mtime in zip(
                    *(batch.column(each).to_pylist() for each in names), strict=True
                ):
                    if role in roles:
                        yield path, (length, mtime) if kind == index.FILE else None
    except OSError as error:
        raise BadInput(
            f"{state} does not know what stripe {stripe} of group {group} held: {error}",
            hint="a state folder that took a signed group over from its drives knows only its index",
        ) from error


def folders_above(paths: Iterable[bytes]) -> set[bytes]:
    """Every folder above these paths."""
    found: set[bytes] = set()
    for path in paths:
        above = path.rpartition(b"/")[0]
        while above and above not in found:
            found.add(above)
            above = above.rpartition(b"/")[0]
    return found


def _outdated(rows: pa.RecordBatch, selection: Selection) -> Iterator[bytes]:
    columns = (rows.column(each).to_pylist() for each in ("path", "kind", "size", "mtime"))
    for path, kind, length, mtime in zip(*columns, strict=True):
        as_was = selection.paths[path]
        if as_was is not None and (kind, length, mtime) != (index.FILE, *as_was):
            yield path


def narrow(
    seen: Iterable[pa.RecordBatch],
    spool: str,
    selection: Selection,
    skipped: list[tuple[bytes, str]],
    outdated: list[bytes],
) -> Iterator[pa.RecordBatch]:
    """Of what the walk saw only what is selected.

    What was selected and is gone is told in `skipped`; what is not what it was, by size or mtime, in `outdated`.
    The rows are kept in the Parquet file `spool` meanwhile: what else is a name of a selected inode, and which folders
    are above, is known when all have been seen.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from sealift.stages.pack.order import SEEN

    chosen = pa.array(sorted(selection.paths), pa.binary())
    found: set[bytes] = set()
    inodes: set[tuple[int, int]] = set()
    names: set[bytes] = set()

    def inodes_of(batch: pa.RecordBatch) -> list[tuple[int, int]]:
        return list(zip(batch.column("dev").to_pylist(), batch.column("ino").to_pylist(), strict=True))

    with pq.ParquetWriter(spool, SEEN, compression="zstd", use_dictionary=False) as writer:
        for batch in seen:
            writer.write_batch(batch)
            rows = batch.filter(pc.is_in(batch.column("path"), chosen))
            found.update(rows.column("path").to_pylist())
            outdated += _outdated(rows, selection)
            inodes.update(inodes_of(rows))
    inodes.discard((-1, -1))
    with pq.ParquetFile(spool, pre_buffer=False) as file:
        for batch in file.iter_batches():
            paths = batch.column("path").to_pylist()
            names.update(path for path, inode in zip(paths, inodes_of(batch), strict=True) if inode in inodes)
        names |= found
        kept = pa.array(sorted(names | folders_above(names | selection.paths.keys())), pa.binary())
        for batch in file.iter_batches():
            yield batch.filter(pc.is_in(batch.column("path"), kept))
    os.unlink(spool)
    skipped[:] = [each for each in skipped if each[0] in selection.paths]
    told = {path for path, _ in skipped}
    gone = sorted(selection.paths.keys() - found - told)
    skipped += [(path, "is no longer in the source") for path in gone]
