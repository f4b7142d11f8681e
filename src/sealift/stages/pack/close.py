"""Closing a group: index, table of packs, hash trees, manifest, signature; then the same small files on n drives.

Everything is made in the state folder first and decoded again before it is published. The manifest goes to the drives
last, and to none before all have everything else and every pack that it names was seen on every drive with its length
(presence.py). When a drive fails meanwhile or lacks something, nothing is signed: the manifests are taken back, and
another drive may take its place.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, Any, BinaryIO

from blake3 import blake3
from msgspec import UNSET

from sealift.errors import FormatError
from sealift.formats import age, index, manifest, paged, sshsig
from sealift.formats.manifest import BLOCKS_MAGIC, PACK, PACKS_MAGIC, FileRef, IndexRef, Manifest, TreeRef
from sealift.stages.lacking import ENTRIES
from sealift.stages.pack import openme
from sealift.stages.pack.crew import FAULTS
from sealift.stages.pack.durable import sync
from sealift.stages.pack.fleet import remove
from sealift.stages.pack.group import stripe_file, stripe_rows
from sealift.stages.pack.hashes import opened
from sealift.stages.pack.journal import damaged
from sealift.stages.pack.presence import Presence
from sealift.stages.pack.small import SmallFiles
from sealift.stages.sorting import Sorter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from sealift.drives.base import Drive
    from sealift.stages.pack.crew import Crew
    from sealift.stages.pack.journal import Journal
    from sealift.stages.pack.openme import GroupFacts
    from sealift.trade.signing import Signer

_PIECE = 1 << 20
_PACK_ROWS = 65536
_ROW_GROUP_BYTES = 64 << 20  # of a row group at most: whoever reads it holds one in memory


def close_group(
    facts: GroupFacts,
    journal: Journal,
    folder: str,
    crew: Crew,
    recipients: Sequence[age.Recipient],
    signer: Signer,
    *,
    read_back: bool,
    in_doubt: Callable[[], bool],
) -> Manifest | None:
    """Write, sign and publish; the manifest, or None where that has to wait, and nothing is signed.

    It waits where a drive failed meanwhile, or lacks packs, and was set aside; and where one is `in_doubt`. With
    `read_back` what is written here is read again from the media (small.py).

    May be run again after a crash: it makes the same anew. DriveFault when more drives lack a stripe than parity holds.
    """
    out = os.path.join(folder, "closed")
    record, own, data, signature = _signed(facts, journal, folder, out, recipients, signer)
    absent = {(row.stripe, row.role) for row in journal.packs(facts.group) if not row.length}
    small_files = SmallFiles(crew, journal, out, read=read_back)

    def small(slot: int, drive: Drive) -> None:
        _sweep(drive, slot, record, absent)
        small_files.write(slot, drive, record, {**own[slot], manifest.SIGNATURE: signature})

    def root(slot: int, drive: Drive) -> None:
        small_files.write_one(slot, drive, manifest.MANIFEST, data)

    journal.publish(facts.group, blake3(data).hexdigest())  # so that a later run knows whose it is
    presence = Presence(crew, journal, facts.data)
    for step in (_unsign, small, presence.look, root, _remove_copies):
        crew.everywhere(record.geometry.stripes, step)
        if crew.owed or in_doubt():
            _take_back(crew)
            presence.require()
            return None
    return record


def _signed(
    facts: GroupFacts, journal: Journal, folder: str, out: str, recipients: Sequence[age.Recipient], signer: Signer
) -> tuple[Manifest, list[dict[str, bytes]], bytes, bytes]:
    """What drives get, made in `out`: the manifest, small files of each drive, the manifest as bytes, its signature."""
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(os.path.join(out, "index"))
    state = journal.group(facts.group)
    packs_ref, blocks_ref, sums = _write_tables(facts, journal, folder, out, state.stripes)
    members_ref = _write_index(
        out, manifest.MEMBERS_INDEX, recipients, lambda sink: _write_members(folder, state.stripes, sink)
    )
    table_ref = _write_index(out, manifest.PACKS_INDEX, recipients, lambda sink: _write_packs(journal, facts, sink))
    packed, parity_bytes, members, files, source_bytes = journal.totals(facts.group, facts.data)
    assert state.files_end is not None
    own, rows = _own_files(facts, state.stripes, state.files_end, sums)
    record = Manifest(
        shipment=facts.shipment,
        declaration=facts.declaration,
        in_reply_to=facts.in_reply_to or UNSET,
        group=facts.group,
        groups=facts.groups,
        drives_total=facts.drives_total,
        scan=facts.scan,
        order=facts.order,
        seed=facts.seed,
        geometry=manifest.Geometry(
            data=facts.data, parity=facts.parity, stripes=state.stripes, files_end=state.files_end
        ),
        drives=rows,
        packs=packs_ref,
        blocks=blocks_ref,
        members_index=members_ref,
        packs_index=table_ref,
        totals=manifest.Totals(
            members=members, files=files, source_bytes=source_bytes, packed_bytes=packed, parity_bytes=parity_bytes
        ),
    )
    data = manifest.encode_manifest(record)
    if manifest.decode_manifest(data) != record:
        raise FormatError("the manifest does not read back as it was written")
    signature = signer.sign(data, manifest.NAMESPACE)
    sshsig.verify(data, signature, manifest.NAMESPACE)
    for name, content in ((manifest.MANIFEST, data), (manifest.SIGNATURE, signature)):
        with open(os.path.join(out, name), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    sync(os.path.join(out, "index"), out, folder)

    return record, own, data, signature


def _own_files(
    facts: GroupFacts, stripes: int, files_end: int, sums: Sequence[bytes]
) -> tuple[list[dict[str, bytes]], list[manifest.DriveRow]]:
    """By slot: the files that are this drive's alone, and its row of the table."""
    own: list[dict[str, bytes]] = []
    rows = []
    for slot, (number, serial, label, carrier) in enumerate(facts.rows):
        text = openme.text(facts, slot, stripes, files_end).encode()
        own.append({manifest.OPEN_ME: text, manifest.SUMS: sums[slot]})
        rows.append(
            manifest.DriveRow(
                slot=slot,
                id=manifest.drive_id(facts.group, slot),
                number=number,
                serial=serial,
                label=label,
                carrier=carrier,
                open_me=_ref(text),
                sums=_ref(sums[slot]),
            )
        )
    return own, rows


def _take_back(crew: Crew) -> None:
    """Manifests that were written before a drive failed or lied: the one that will be signed names another drive."""
    for drive in crew.drives:
        if drive is None:
            continue
        with contextlib.suppress(*FAULTS):  # where it stays it is true: its packs were seen before it was written
            _unsign(0, drive)


def _unsign(_slot: int, drive: Drive) -> None:
    """Take the manifest of an earlier closing away, durably, before anything that it names is written anew."""
    if drive.size(manifest.MANIFEST) is not None:
        drive.remove(manifest.MANIFEST)
        drive.sync_folder(manifest.MANIFEST)


def _remove_copies(_slot: int, drive: Drive) -> None:
    """The journal's copies, which a drive that is whole needs no more."""
    for entry in drive.walk(ENTRIES):
        if entry.kind == "file" and entry.name.startswith(b"journal") and entry.name.endswith(b".age"):
            remove(drive, os.fsdecode(entry.name))
    drive.sync_folder(manifest.MANIFEST)


def _sweep(drive: Drive, slot: int, record: Manifest, absent: set[tuple[int, int]]) -> None:
    """Remove what no journal knows: parts and packs of attempts that were never committed, or were cut back."""
    geometry, n = record.geometry, record.n
    touched: set[str] = set()
    for entry in drive.walk(ENTRIES):
        stale = entry.name.endswith(b".part")
        if found := manifest.PACK_ENTRY.fullmatch(entry.name):
            stripe = int(found[2])
            role = manifest.role_of(stripe, slot, n)
            stale = stripe >= geometry.stripes or (stripe, role) in absent
            stale = stale or entry.name != manifest.pack_name(stripe, role, geometry.data).encode()
        if stale and entry.kind == "file":
            name = os.fsdecode(entry.name)
            remove(drive, name)
            touched.add(name.rpartition("/")[0])
    for folder in touched:
        drive.sync_folder(f"{folder}/any" if folder else manifest.MANIFEST)


def _ref(data: bytes) -> FileRef:
    return FileRef(bytes=len(data), blake3=blake3(data).hexdigest())


class _Hashed:
    """A file that is hashed while it is written, and synced when it is closed."""

    def __init__(self, path: str) -> None:
        self._file: BinaryIO = open(path, "wb")  # noqa: SIM115 -- closed by close()
        self.hash = blake3()
        self.length = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.hash.update(data)
        self.length += len(data)

    def close(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def _write_tables(
    facts: GroupFacts, journal: Journal, folder: str, out: str, stripes: int
) -> tuple[TreeRef, TreeRef, list[bytes]]:
    """packs.bin, blocks.bin, and the B3SUMS of every drive."""
    n = facts.data + facts.parity
    sums = [bytearray() for _ in range(n)]
    first = 0

    def pack_records() -> Iterator[bytes]:
        nonlocal first
        for row in journal.packs(facts.group):
            yield PACK.pack(row.length, first, row.header, row.blake3)
            first += row.blocks
            if row.length:
                name = manifest.pack_name(row.stripe, row.role, facts.data)
                slot = manifest.slot_of(row.stripe, row.role, n)
                sums[slot] += f"{row.blake3.hex()}  {name}\n".encode()

    packs = _write_tree(os.path.join(out, manifest.PACKS), PACKS_MAGIC, PACK.size, stripes * n, pack_records())
    blocks = _write_tree(
        os.path.join(out, manifest.BLOCKS), BLOCKS_MAGIC, paged.DIGEST, first, _block_hashes(folder, stripes)
    )
    return packs, blocks, [bytes(text) for text in sums]


def _block_hashes(folder: str, stripes: int) -> Iterator[bytes]:
    for stripe in range(stripes):
        with opened(stripe_file(folder, stripe, "blocks")) as file:
            while piece := file.read(_PIECE):
                yield piece


def _write_tree(path: str, magic: bytes, record: int, count: int, body: Iterator[bytes]) -> TreeRef:
    file = _Hashed(path)
    try:
        root = paged.write(magic, record, count, body, file.write)
    except ValueError as error:
        raise damaged(error) from error
    finally:
        file.close()
    return TreeRef(bytes=file.length, blake3=file.hash.hexdigest(), records=count, root=root.hex())


def _write_index(out: str, name: str, recipients: Sequence[age.Recipient], write: Callable[[Any], None]) -> IndexRef:
    """One Parquet file in age; the digest of its header and nonce binds its place."""
    file = _Hashed(os.path.join(out, name))
    head: list[str] = []

    def sink(data: bytes) -> None:
        if not head:  # the first piece is the header with the nonce
            head.append(blake3(data).hexdigest())
        file.write(data)

    try:
        with age.Writer(recipients, sink) as writer:
            write(writer)
    finally:
        file.close()
    return IndexRef(bytes=file.length, blake3=file.hash.hexdigest(), header=head[0])


def _write_members(folder: str, stripes: int, sink: Any) -> None:
    """All rows sorted by path and start, in row groups of `index.ROWS`, or fewer where paths are long."""
    import pyarrow as pa

    schema = index.members_schema()
    pending: list[pa.RecordBatch] = []
    firsts: list[bytes] = []
    count = size = 0

    def write() -> None:
        nonlocal count, size
        firsts.append(pending[0].column("path")[0].as_py())
        writer.write_table(pa.Table.from_batches(pending, schema), row_group_size=index.ROWS)
        pending.clear()
        count = size = 0

    with Sorter(schema, ("path", "start"), folder) as sorter:
        for stripe in range(stripes):
            for batch in stripe_rows(folder, stripe):
                sorter.add(batch)
        writer = index.members_writer(sink)  # not before all rows could be read: one that is left writes when it goes
        for batch in sorter.batches():
            rest = batch
            while rest.num_rows:
                part = rest.slice(0, index.ROWS - count)
                rest = rest.slice(part.num_rows)
                pending.append(part)
                count += part.num_rows
                size += part.nbytes
                if count == index.ROWS or size >= _ROW_GROUP_BYTES:
                    write()
    if pending:
        write()
    writer.add_key_value_metadata({index.FIRSTS: index.encode_firsts(firsts)})
    writer.close()


def _write_packs(journal: Journal, facts: GroupFacts, sink: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = index.packs_schema()
    writer = pq.ParquetWriter(sink, schema, compression="zstd", store_schema=False)
    rows: list[dict[str, Any]] = []

    def flush() -> None:
        writer.write_table(pa.Table.from_pylist(rows, schema=schema))
        rows.clear()

    for row in journal.packs(facts.group):
        if row.role < facts.data:
            rows.append(
                {
                    "stripe": row.stripe,
                    "role": row.role,
                    "length": row.length,
                    "plain": row.plain,
                    "tar": row.tar,
                    "members": row.members,
                    "samples": row.samples,
                }
            )
        if len(rows) >= _PACK_ROWS:
            flush()
    flush()
    if facts.sample_key is not None:
        writer.add_key_value_metadata({index.SAMPLE_KEY: os.fsencode(facts.sample_key)})
    writer.close()
