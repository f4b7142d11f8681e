"""A small shipment in folders, straight from the formats: what tests of inspect, verify and repair stand on.

Packs are random bytes with true parity over them (nothing here is encrypted: verify never decrypts); records,
hash trees, manifests, signatures, declaration, release and seal are real. Everything follows from `seed`.
Drives are the folders ROOT/g0s0, ROOT/g0s1, ...; `make` writes them, `Fleet` knows what was written.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealift.drives.memory import Medium, MemoryDrive
from sealift.formats import canonical, paged, parity, sshsig
from sealift.formats import manifest as mf
from sealift.formats import seal as seals
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages.pack import openme
from sealift.stages.pack.openme import GroupFacts
from sealift.trade.release import DeclarationBytes, ReleaseRecord, RulesFile

if TYPE_CHECKING:
    import os
    from pathlib import Path

BLOCK = mf.BLOCK


def key(seed: int, what: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(blake3(f"{seed} {what}".encode()).digest())


def ref(data: bytes) -> mf.FileRef:
    return mf.FileRef(bytes=len(data), blake3=blake3(data).hexdigest())


@dataclass
class Group:
    number: int
    data: int
    parity: int
    packs: list[list[bytes]]  # stripe -> role -> bytes
    folders: int = 0  # of the stripes, the last that hold directories alone
    manifest: mf.Manifest | None = None
    manifest_bytes: bytes = b""
    files: list[dict[str, bytes]] = field(default_factory=list)  # slot -> name beneath sealift/ -> bytes

    @property
    def n(self) -> int:
        return self.data + self.parity

    @property
    def files_end(self) -> int:
        return len(self.packs) - self.folders


@dataclass
class Fleet:
    root: Path
    seed: int
    groups: list[Group]
    shipment: str
    signing: Ed25519PrivateKey
    officer: Ed25519PrivateKey
    allowed_bytes: bytes
    seal_files: dict[str, bytes] = field(default_factory=dict)

    @property
    def allowed(self) -> AllowedSigners:
        return AllowedSigners.parse(self.allowed_bytes)

    @property
    def bundle(self) -> bytes:
        return seals.encode_bundle(self.seal_files)

    def mount(self, group: int, slot: int) -> str:
        return str(self.root / f"g{group}s{slot}")

    @property
    def mounts(self) -> list[str]:
        return [self.mount(group.number, slot) for group in self.groups for slot in range(group.n)]

    def path(self, group: int, slot: int, name: str) -> Path:
        return self.root / f"g{group}s{slot}" / "sealift" / name

    def memory(self, *, with_seal: bool = True) -> list[MemoryDrive]:
        """The same drives in memory, in the order of `mounts`."""
        drives = []
        for group in self.groups:
            for slot, files in enumerate(group.files):
                drive = MemoryDrive(f"/mnt/g{group.number}s{slot}", Medium())
                for name, data in files.items() | (self.seal_files.items() if with_seal else set()):
                    drive.put(name, data)
                drives.append(drive)
        return drives

    def write(self, *, with_seal: bool = True) -> None:
        """Write (again) every file of every drive."""
        for group in self.groups:
            for slot, files in enumerate(group.files):
                base = self.root / f"g{group.number}s{slot}" / "sealift"
                for name, data in files.items() | (self.seal_files.items() if with_seal else set()):
                    (base / name).parent.mkdir(parents=True, exist_ok=True)
                    (base / name).write_bytes(data)

    def serial(self, group: int, slot: int) -> str:
        return f"SN-{self.shipment[:4]}-{group}-{slot}"


def make(
    root: Path,
    *,
    seed: int = 0,
    geometry: tuple[tuple[int, int], ...] = ((2, 1),),
    lengths: list[list[int]] | None = None,
    undeclared: frozenset[str] = frozenset(),
    off: frozenset[tuple[int, int, int]] = frozenset(),
    with_seal: bool = True,
    on_disk: bool = True,
    folders: int = 0,
) -> Fleet:
    """A shipment of one group for each (data, parity); `lengths` are the data packs' of each stripe.

    The last `folders` stripes of each group hold directories alone, by its manifest.

    `off`: (stripe, role, block) that are signed with a bit flipped after parity was made over them: every pack is as
    it was signed, and parity gives other bytes than that.
    """
    rng = random.Random(seed)
    shipment = rng.randbytes(8).hex()
    groups = [_group(rng, number, k, m, lengths) for number, (k, m) in enumerate(geometry)]
    for group in groups:
        group.folders = folders
    for group, (stripe, role, block) in itertools.product(groups, sorted(off)):
        pack = bytearray(group.packs[stripe][role])
        pack[block * BLOCK] ^= 1
        group.packs[stripe][role] = bytes(pack)
    signing, officer = key(seed, "signing"), key(seed, "officer")
    lines = [
        f'origin@example.com namespaces="sealift" {sshsig.public_key_of(signing).line}',
        f'officer@example.com namespaces="sealift-release" {sshsig.public_key_of(officer).line}',
        f'author@example.com namespaces="sealift-declaration" {sshsig.public_key_of(key(seed, "author")).line}',
    ]
    fleet = Fleet(root, seed, groups, shipment, signing, officer, "\n".join(lines).encode() + b"\n")
    declaration = _declaration(fleet, undeclared)
    for group in groups:
        _close(fleet, group, declaration)
    if with_seal:
        fleet.seal_files = _seal(fleet, declaration)
    if on_disk:
        fleet.write(with_seal=with_seal)
    return fleet


def _group(rng: random.Random, number: int, k: int, m: int, lengths: list[list[int]] | None) -> Group:
    rows = lengths or [[BLOCK + 100 * (role + 1) for role in range(k)], [BLOCK] * k, [300] + [0] * (k - 1)]
    stripes = []
    for row in rows:
        packs = [rng.randbytes(length) for length in (row * k)[:k]]
        longest = max(map(len, packs))
        columns = {role: bytearray(p.ljust(longest, b"\0")) for role, p in enumerate(packs)}
        wanted = {k + j: np.zeros(longest, dtype=np.uint8) for j in range(m)}
        if longest:
            parity.rebuild(k, m, columns, wanted)
        stripes.append(packs + [wanted[k + j].tobytes() for j in range(m)])
    return Group(number, k, m, stripes)


def _close(fleet: Fleet, group: Group, declaration: bytes) -> None:
    """Records, manifest, signature and small files of one group."""
    n, records, hashes = group.n, [], []
    for row in group.packs:
        for pack in row:
            digests = [blake3(pack[at : at + BLOCK]).digest() for at in range(0, len(pack), BLOCK)]
            records.append(mf.PACK.pack(len(pack), len(hashes), bytes(32), blake3(pack).digest()))
            hashes += digests
    packs_bin, blocks_bin = bytearray(), bytearray()
    packs_root = paged.write(mf.PACKS_MAGIC, mf.PACK.size, len(records), records, packs_bin.extend)
    blocks_root = paged.write(mf.BLOCKS_MAGIC, 32, len(hashes), hashes, blocks_bin.extend)
    shared = {
        mf.PACKS: bytes(packs_bin),
        mf.BLOCKS: bytes(blocks_bin),
        mf.MEMBERS_INDEX: f"members of {fleet.shipment} {group.number}".encode() * 50,
        mf.PACKS_INDEX: f"packs of {fleet.shipment} {group.number}".encode() * 50,
    }
    drives_total = sum(each.n for each in fleet.groups)
    before = sum(each.n for each in fleet.groups[: group.number])
    declared = mf.DeclarationRef(
        id=_consignment(fleet), bytes=len(declaration), blake3=blake3(declaration).hexdigest(), rehearsal=True
    )
    table = [
        (before + slot + 1, fleet.serial(group.number, slot), f"Drive {before + slot + 1} of {drives_total}", carrier)
        for slot, carrier in zip(range(n), itertools.cycle(("north", "south")))
    ]
    facts = GroupFacts(
        fleet.shipment, declared, group.number, len(fleet.groups), drives_total, "11" * 32, "path", 0,
        group.data, group.parity, table,
    )  # fmt: skip
    own = [_own_files(facts, group, slot) for slot in range(n)]
    rows = [
        mf.DriveRow(
            slot=slot,
            id=mf.drive_id(group.number, slot),
            number=number,
            serial=serial,
            label=label,
            carrier=carrier,
            open_me=ref(own[slot][mf.OPEN_ME]),
            sums=ref(own[slot][mf.SUMS]),
        )
        for slot, (number, serial, label, carrier) in enumerate(table)
    ]

    def tree(name: str, count: int, root: bytes) -> mf.TreeRef:
        whole = ref(shared[name])
        return mf.TreeRef(bytes=whole.bytes, blake3=whole.blake3, records=count, root=root.hex())

    def index(name: str) -> mf.IndexRef:
        whole = ref(shared[name])
        return mf.IndexRef(bytes=whole.bytes, blake3=whole.blake3, header="00" * 32)

    data_bytes = sum(len(p) for row in group.packs for p in row[: group.data])
    group.manifest = mf.Manifest(
        shipment=fleet.shipment,
        declaration=declared,
        group=group.number,
        groups=len(fleet.groups),
        drives_total=drives_total,
        scan="11" * 32,
        order="path",
        seed=0,
        geometry=mf.Geometry(data=group.data, parity=group.parity, stripes=len(group.packs), files_end=group.files_end),
        drives=rows,
        packs=tree(mf.PACKS, len(records), packs_root),
        blocks=tree(mf.BLOCKS, len(hashes), blocks_root),
        members_index=index(mf.MEMBERS_INDEX),
        packs_index=index(mf.PACKS_INDEX),
        totals=mf.Totals(
            members=1,
            files=1,
            source_bytes=data_bytes,
            packed_bytes=data_bytes,
            parity_bytes=sum(len(p) for row in group.packs for p in row[group.data :]),
        ),
    )
    group.manifest_bytes = mf.encode_manifest(group.manifest)
    mf.decode_manifest(group.manifest_bytes)
    signature = sshsig.sign_ed25519(group.manifest_bytes, fleet.signing, mf.NAMESPACE)
    for slot in range(n):
        packs = {
            mf.pack_name(stripe, mf.role_of(stripe, slot, n), group.data): row[mf.role_of(stripe, slot, n)]
            for stripe, row in enumerate(group.packs)
        }
        group.files.append(
            {
                mf.MANIFEST: group.manifest_bytes,
                mf.SIGNATURE: signature,
                mf.CARD: canonical.encode(group.manifest.card(slot)),
                **own[slot],
                **shared,
                **{name: pack for name, pack in packs.items() if pack},
            }
        )


def _own_files(facts: GroupFacts, group: Group, slot: int) -> dict[str, bytes]:
    lines = []
    for stripe, row in enumerate(group.packs):
        role = mf.role_of(stripe, slot, group.n)
        if row[role]:
            lines.append(f"{blake3(row[role]).hexdigest()}  {mf.pack_name(stripe, role, group.data)}\n")
    words = openme.text(facts, slot, len(group.packs), group.files_end)
    return {mf.OPEN_ME: words.encode(), mf.SUMS: "".join(lines).encode()}


def _consignment(fleet: Fleet) -> str:
    return f"SL-TEST-{fleet.seed}"


def _declaration(fleet: Fleet, undeclared: frozenset[str]) -> bytes:
    party = [
        'legal_name = "Example Ltd"',
        'address = "1 Example Road"',
        'country = "DE"',
        'contact = "dock@example.com"',
        'ultimate_parent = "Example Holding"',
        'parent_hq_country = "DE"',
    ]
    author = sshsig.public_key_of(key(fleet.seed, "author")).line
    out = [
        'type = "sealift-declaration"',
        "version = 1",
        f'consignment_id = "{_consignment(fleet)}"',
        "rehearsal = true",
        'leg = "outbound"',
        'status_as_of = "2026-01-01"',
        'retention_until = "2036-01-01"',
        'legal_hold = "none"',
        'related = "none"',
        "[author]",
        'name = "A. Author"',
        'email = "author@example.com"',
        f'public_key = "{author}"',
    ]
    for name in ("shipper", "consignee", "end_user"):
        out += [f"[{name}]", *party]
    out += ["[end_use]", 'text = "tests"', 'class = "training"']
    out += ["[data]", 'summary = "random bytes"', 'licence_basis = "none needed"', 'personal_data = "none"']
    out += ["source_bytes = 1", 'important_data = "no"', 'us_bulk_sensitive = "no"']
    out += ["[site]", 'operator = "S"', 'address = "A"', 'country = "DE"', 'access_controller = "S"']
    out += ['chips = "H100"', 'chip_eccn = "3A090.a"', "gpu_count = 8"]
    out += [
        "[encryption]",
        'scheme = "age"',
        'module = "OpenSSL"',
        'key_holder = "K"',
        'keys_travel_separately = "yes"',
    ]
    out += [f'recipients = [{{ name = "K", organisation = "O", recipient = "{_RECIPIENT}" }}]']
    out += ["[customs]", 'export_procedure = "none"', 'import_procedure = "none"', 'temporary = "no"']
    out += ['incoterm = "DAP"', 'incoterm_place = "Here"']
    out += ["[[goods]]", 'name = "ssd"', 'description = "drive"', 'kind = "ssd"', 'hs_code = "8523.51"']
    out += ['hs_version = "HS 2022"', 'hs_basis = "drive"', 'classified_by = "C"', 'origin = "KR"']
    out += ["gross_grams = 2", "net_grams = 1", 'media_value = "1.00"', 'data_value = "0.00"', 'currency = "EUR"']
    out += ['valuation_basis = "media"', 'eccn = "EAR99"', 'battery_wh = "0"']
    for name in ("north", "south"):
        out += [
            "[[carriers]]",
            f'name = "{name}"',
            'legal_name = "C"',
            'contact = "c@example.com"',
            'country = "DE"',
        ]
    for group in fleet.groups:
        for slot in range(group.n):
            serial = fleet.serial(group.number, slot)
            serial = "SN-ANOTHER-" + serial if serial in undeclared else serial
            carrier = "north" if slot % 2 == 0 else "south"
            out += [
                "[[drives]]",
                f'serial = "{serial}"',
                f'carrier = "{carrier}"',
                "capacity_bytes = 1",
                'goods = "ssd"',
            ]
            out += ['make = "M"', 'model = "D"']
    return ("\n".join(out) + "\n").encode()


_RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"  # of the age specification


def revised(fleet: Fleet, hold: str = "none") -> dict[str, bytes]:
    """The files of the seal of revision 2, of the same drives, whose declaration states `hold`."""
    before = fleet.seal_files[mf.SEAL_FILES[2]]
    digest = blake3(before).hexdigest()
    text = before.replace(b"version = 1\n", f'version = 1\nrevision = 2\nsupersedes = "{digest}"\n'.encode(), 1)
    return _seal(fleet, text.replace(b'legal_hold = "none"', f'legal_hold = "{hold}"'.encode()), 2)


def _seal(fleet: Fleet, declaration: bytes, revision: int = 1) -> dict[str, bytes]:
    record = ReleaseRecord(
        consignment_id=_consignment(fleet),
        rehearsal=True,
        revision=revision,
        rules=RulesFile(edition="2026-01-01", bytes=1, blake3="ab" * 32, changed=[]),
        resolved=[],
        screening=None,
        keys=None,
        declaration=DeclarationBytes(bytes=len(declaration), blake3=blake3(declaration).hexdigest()),
        author_signature=sshsig.sign_ed25519(declaration, key(fleet.seed, "author"), "sealift-declaration").decode(),
        officer="O. Officer",
        reason="test",
        reference="T-1",
        released_at="2026-01-02T03:04:05Z",
    )
    release = canonical.encode(record)
    release_sig = sshsig.sign_ed25519(release, fleet.officer, "sealift-release")
    groups = [
        seals.SealGroup(
            group=group.number,
            manifest=ref(group.manifest_bytes),
            data=group.data,
            parity=group.parity,
            stripes=len(group.packs),
            totals=group.manifest.totals,
            drives=[
                seals.SealDrive(id=row.id, number=row.number, serial=row.serial, label=row.label, carrier=row.carrier)
                for row in group.manifest.drives
            ],
        )
        for group in fleet.groups
    ]
    seal = seals.Seal(
        shipment=fleet.shipment,
        consignment_id=_consignment(fleet),
        rehearsal=True,
        sealed_at=datetime(2026, 1, 3, tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        scan="11" * 32,
        order="path",
        seed=0,
        declaration=ref(declaration),
        release=ref(release),
        release_signature=ref(release_sig),
        groups=groups,
    )
    data = seals.encode_seal(seal)
    signature = sshsig.sign_ed25519(data, fleet.signing, mf.NAMESPACE)
    return dict(zip(mf.SEAL_FILES, (data, signature, declaration, release, release_sig), strict=True))


def flip(path: str | os.PathLike[str], bit: int) -> None:
    """Flip one bit of a file in place; twice is as before."""
    with open(path, "r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ (1 << bit % 8)]))
