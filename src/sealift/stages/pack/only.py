"""`pack --only LIST --of DIR`: what some packs of an earlier packing held, once more, as a shipment of its own.

LIST is a fetch list (formats/fetch.py), which names packs and no files; DIR is the state folder of the packing that
it is about, which knows what each pack held. The shipment has its own declaration, state and drives, and is packed
like any other; only its scan is narrowed to those paths, the other names of their inodes, and the folders above.
A file of which one segment is lost is packed whole.
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

from sealift.errors import BadInput
from sealift.formats import fetch, index, manifest
from sealift.trade.signing import read_limited

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_HEAD = 16


class _Known(msgspec.Struct):
    shipment: str


@dataclass(frozen=True)
class Selection:
    """The paths that are packed, and what they are of: for the configuration, and to tell."""

    paths: frozenset[bytes]
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
    record = fetch.decode_list(data)
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
    for group in record.groups:
        closed = os.path.join(state, "groups", f"{group.group:04d}", "closed", manifest.MANIFEST)
        packed = read_limited(closed, manifest.MAX_MANIFEST, f"manifest of group {group.group}")
        if blake3(packed).hexdigest() != group.manifest:
            raise BadInput(
                f"group {group.group} of {state} is not the one that {path} is about: their manifests differ",
                hint="give the state folder of the host that packed this group; each list is of one",
            )
    wanted: dict[tuple[int, int], set[int]] = {}
    for pack in record.contents:
        wanted.setdefault((pack.group, pack.stripe), set()).add(pack.role)
    paths = {each for (group, stripe), roles in wanted.items() for each in _paths(state, group, stripe, roles)}
    return Selection(frozenset(paths), record.shipment, len(record.contents), blake3(data).hexdigest())


def _shipment(state: str) -> str:
    path = os.path.join(state, "journal.sqlite")
    if not os.path.isfile(path):
        raise BadInput(f"{state}: no packing has begun here", hint="--of is the state folder of the first packing")
    try:
        with closing(sqlite3.connect(f"file:{quote(os.path.abspath(path))}?mode=ro", uri=True, timeout=30)) as db:
            row = db.execute("SELECT value FROM settings WHERE name = 'config'").fetchone()
            return msgspec.json.decode(row[0], type=_Known).shipment
    except (sqlite3.Error, msgspec.MsgspecError, TypeError) as error:
        raise BadInput(f"{path} cannot be read: {error}", hint="give another --of") from error


def _paths(state: str, group: int, stripe: int, roles: set[int]) -> Iterator[bytes]:
    """What these packs of a stripe held, from the rows that were kept when it was committed."""
    name = os.path.join(state, "groups", f"{group:04d}", "stripes", f"{stripe:07d}.rows")
    try:
        with open(name, "rb") as file:
            while head := file.read(_HEAD):
                length, size = int.from_bytes(head[:8], "little"), int.from_bytes(head[8:], "little")
                batch = index.to_arrow(file.read(length), size)
                for path, role in zip(batch.column("path").to_pylist(), batch.column("role").to_pylist(), strict=True):
                    if role in roles:
                        yield path
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


_NAMES = """
    SELECT r.path FROM read_parquet($raw) r
    WHERE (r.dev <> -1 OR r.ino <> -1) AND (r.dev, r.ino) IN
        (SELECT (s.dev, s.ino) FROM read_parquet($raw) s WHERE s.path IN (SELECT path FROM chosen))"""
_GONE = "SELECT path FROM chosen WHERE path NOT IN (SELECT path FROM read_parquet($raw))"
_KEPT = "SELECT * FROM read_parquet($raw) WHERE path IN (SELECT path FROM kept)"


def narrow(raw: str, selection: Selection, skipped: list[tuple[bytes, str]]) -> None:
    """Keep of the walk at `raw` only what is selected; what was selected and is gone is told in `skipped`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from sealift.stages.pack.scan import connect

    where, out = {"raw": raw}, raw + ".part"
    connection = connect(os.path.join(os.path.dirname(raw), "tmp"))
    connection.register("chosen", pa.table({"path": pa.array(sorted(selection.paths), pa.binary())}))
    names = {bytes(row[0]) for row in connection.sql(_NAMES, params=where).fetchall()} | selection.paths
    gone = [bytes(row[0]) for row in connection.sql(_GONE, params=where).fetchall()]
    connection.register("kept", pa.table({"path": pa.array(sorted(names | folders_above(names)), pa.binary())}))
    reader = connection.sql(_KEPT, params=where).to_arrow_reader(16384)
    with pq.ParquetWriter(out, reader.schema, compression="zstd", use_dictionary=False) as writer:
        for batch in reader:
            writer.write_batch(batch)
    connection.close()
    skipped[:] = [each for each in skipped if each[0] in selection.paths]
    told = {path for path, _ in skipped}
    skipped += [(path, "is no longer in the source") for path in gone if path not in told]
    os.rename(out, raw)
