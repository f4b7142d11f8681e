"""Real shipments in folders: fresh keys, a complete declaration, packed, sealed and opened as users do.

An Origin is everything a shipment needs on the sending side, in one folder; its drives are the folders d00, d01, ...
`picture` is what a tree must be compared by: content, modes, times in ns, link structure. Nothing here is faked.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filled
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sealift.formats import age_keys, sshsig
from sealift.formats import manifest as mf
from sealift.formats import seal as seals
from sealift.reading.shipment import Shipment
from sealift.stages import unpack as unpacking
from sealift.stages.pack import run as packing
from sealift.trade import declaration as declarations
from sealift.trade import sections, template
from sealift.trade.signing import Signer

MIB = 1 << 20
OFFICER = "O. Officer"


def need(*tools: str) -> None:
    """Skip without the tools, unless CI is set: there they must be."""
    import pytest

    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"{', '.join(missing)} must be installed where CI is set")
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")


def _key(path: Path) -> Signer:
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.chmod(0o600)
    path.with_suffix(".pub").write_text(sshsig.public_key_of(key).line + "\n")
    return Signer(str(path), sshsig.public_key_of(key), key)


@dataclass
class Origin:
    """One shipment's sending side beneath `root`."""

    root: Path
    source: Path
    data: int = 2
    parity: int = 1
    groups: int = 1
    carriers: list[str] = field(default_factory=list)  # of the drives, in order; empty: a carrier a drive
    declared_drives: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.state = self.root / "state"
        self.identity, self.recipient = age_keys.generate_identity()
        (self.root / "identity").write_text(self.identity + "\n")
        self.signer = _key(self.root / "signing")
        self.officer = _key(self.root / "officer")
        self.author = _key(self.root / "author")
        self.allowed = (
            f'origin@example.com namespaces="sealift" {self.signer.public_key.line}\n'
            f'officer@example.com namespaces="sealift-release" {self.officer.public_key.line}\n'
            f'author@example.com namespaces="sealift-declaration" {self.author.public_key.line}\n'
        ).encode()
        (self.root / "allowed").write_bytes(self.allowed)
        self.mounts = [str(self.root / f"d{i:02d}") for i in range(self.n * self.groups)]
        for mount in self.mounts:
            os.makedirs(mount, exist_ok=True)
        self.declaration = self.root / "declaration.toml"
        self.declaration.write_bytes(declare(self, self.author.public_key.line))

    @property
    def n(self) -> int:
        return self.data + self.parity

    def serial(self, mount: str) -> str:
        return "SER" + os.path.basename(mount)

    def carrier(self, mount: str) -> str:
        place = self.mounts.index(mount)
        return self.carriers[place] if self.carriers else f"carrier-{place}"

    def pack_options(self, **changes: Any) -> packing.Options:
        values: dict[str, Any] = {
            "source": str(self.source),
            "to": list(self.mounts),
            "parity": self.parity,
            "recipients": [self.recipient],
            "sign_with": str(self.root / "signing"),
            "declaration": str(self.declaration),
            "state": str(self.state),
            "serials": {mount: self.serial(mount) for mount in self.mounts},
            "group_size": self.n if self.groups > 1 else None,
            "pack_size": MIB,
            "allow_same_filesystem": True,
        }
        values |= self.options | changes
        values["serials"] = {mount: self.serial(mount) for mount in values["to"]} | changes.get("serials", {})
        return packing.Options(**values)

    def pack(self, notices: list[str] | None = None, **changes: Any) -> packing.Result:
        notice = (lambda _text: None) if notices is None else notices.append
        return packing.run(self.pack_options(**changes), packing.Events(notice=notice))

    def release(self) -> tuple[bytes, bytes, bytes]:
        """The released declaration, the release and its signature."""
        raw = self.declaration.read_bytes()
        parsed = declarations.parse(raw, draft=False)
        made = filled.released(parsed, self.officer, self.author, datetime.now(UTC), officer=OFFICER)
        return raw, made.data, made.signature

    def manifests(self, mounts: list[str] | None = None) -> list[tuple[mf.Manifest, bytes]]:
        """The groups' manifests from the drives, by number."""
        found: dict[int, tuple[mf.Manifest, bytes]] = {}
        for mount in mounts or self.mounts:
            data = Path(mount, "sealift", mf.MANIFEST).read_bytes()
            record = mf.decode_manifest(data)
            found[record.group] = (record, data)
        return [found[number] for number in sorted(found)]

    def seal(self, mounts: list[str] | None = None) -> dict[str, bytes]:
        """The five files of the seal over everything that is packed."""
        raw, release, release_signature = self.release()
        groups = [
            seals.SealGroup(
                group=m.group,
                manifest=_ref(data),
                data=m.geometry.data,
                parity=m.geometry.parity,
                stripes=m.geometry.stripes,
                totals=m.totals,
                drives=[
                    seals.SealDrive(id=r.id, number=r.number, serial=r.serial, label=r.label, carrier=r.carrier)
                    for r in m.drives
                ],
            )
            for m, data in self.manifests(mounts)
        ]
        first = self.manifests(mounts)[0][0]
        seal = seals.encode_seal(
            seals.Seal(
                shipment=first.shipment,
                consignment_id=first.declaration.id,
                rehearsal=first.declaration.rehearsal,
                sealed_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                scan=first.scan,
                order=first.order,
                seed=first.seed,
                declaration=_ref(raw),
                release=_ref(release),
                release_signature=_ref(release_signature),
                groups=groups,
            )
        )
        signature = self.signer.sign(seal, mf.NAMESPACE)
        return dict(zip(mf.SEAL_FILES, (seal, signature, raw, release, release_signature), strict=True))

    def shipment(self, mounts: list[str] | None = None, seal: dict[str, bytes] | None = None) -> Shipment:
        return Shipment.open(
            mounts or self.mounts,
            identity=self.identity.encode(),
            allowed_signers=self.allowed,
            seal=seal or self.seal(),
        )

    def unpack_options(
        self, target: Path, mounts: list[str] | None = None, seal: dict[str, bytes] | None = None, **changes: Any
    ) -> unpacking.Options:
        values: dict[str, Any] = {
            "mounts": mounts or self.mounts,
            "target": str(target),
            "identities": [self.identity.encode()],
            "allowed_signers": self.allowed,
            "seal": seal or self.seal(),
            "workers": 1,
        }
        return unpacking.Options(**(values | changes))

    def unpack(
        self, target: Path, mounts: list[str] | None = None, seal: dict[str, bytes] | None = None, **changes: Any
    ) -> unpacking.Result:
        return unpacking.unpack(self.unpack_options(target, mounts, seal, **changes), unpacking.Events())

    def packs(self, mount: str) -> list[Path]:
        return sorted(path for path in Path(mount, "sealift", "packs").rglob("*") if path.is_file())


def _ref(data: bytes) -> mf.FileRef:
    return mf.FileRef(bytes=len(data), blake3=blake3(data).hexdigest())


def declare(origin: Origin, author_key: str) -> bytes:
    """A complete declaration of the origin's drives, in the canonical form that `sealift declare` writes."""
    party = sections.Party(
        legal_name="Example Ltd",
        address="1 Example Road",
        country="DE",
        contact="dock@example.com",
        ultimate_parent="Example Holding",
        parent_hq_country="DE",
    )
    drives = [
        sections.Drive(
            serial=origin.serial(mount),
            carrier=origin.carrier(mount),
            goods=filled.GOODS.name,
            capacity_bytes=1 << 40,
            make="Maker",
            model="Model",
        )
        for mount in origin.mounts
    ]
    names = list(dict.fromkeys(drive.carrier for drive in drives))
    fields = filled.rest(
        consignment_id="SL-2026-TESTED",
        encryption=filled.encryption(origin.recipient),
        author=sections.Author(name="A. Author", email="author@example.com", public_key=author_key),
        shipper=party,
        consignee=party,
        end_user=party,
        end_use=sections.EndUse(text="tests of the software", class_="training"),
        data=sections.DataSummary(
            summary="made-up files",
            licence_basis="none needed",
            personal_data="none",
            source_bytes=1,
            important_data="no",
            us_bulk_sensitive="no",
        ),
        carriers=[sections.Carrier(name=name, contact="c@example.com", country="DE") for name in names],
        drives=drives if origin.declared_drives else [],
    )
    return template.render(sections.Content(**fields)).encode()


def redeclare(origin: Origin, *recipients: str) -> None:
    """The origin's declaration with other recipients; with none it is a draft that leaves them open."""
    parsed = declarations.parse(origin.declaration.read_bytes(), draft=True)
    fields = {name: getattr(parsed, name) for name in sections.Content.__struct_fields__}
    fields["encryption"] = filled.encryption(*recipients)
    origin.declaration.write_text(template.render(sections.Content(**fields)))


def picture(root: str | os.PathLike[str], *, without: tuple[bytes, ...] = ()) -> dict[bytes, tuple[Any, ...]]:
    """Every path beneath `root`: kind, mode, mtime in ns, content or target; all names of its inode."""
    base = os.fsencode(root)
    found: dict[bytes, tuple[Any, ...]] = {}
    names: dict[tuple[int, int], list[bytes]] = {}
    pending = [b""]
    while pending:
        folder = pending.pop()
        for entry in os.scandir(base + b"/" + folder if folder else base):
            path = folder + b"/" + entry.name if folder else entry.name
            if path in without:
                continue
            status = entry.stat(follow_symlinks=False)
            names.setdefault((status.st_dev, status.st_ino), []).append(path)
            kind = stat.S_IFMT(status.st_mode)
            if kind == stat.S_IFDIR:
                pending.append(path)
                found[path] = ("dir", stat.S_IMODE(status.st_mode), status.st_mtime_ns)
            elif kind == stat.S_IFLNK:
                found[path] = ("link", status.st_mtime_ns, os.readlink(base + b"/" + path))
            elif kind == stat.S_IFREG:
                mode = stat.S_IMODE(status.st_mode) & ~0o6000  # setuid and setgid of files are not carried
                what = (mode, status.st_mtime_ns, status.st_size, digest(base + b"/" + path))
                found[path] = ("file", *what, (status.st_dev, status.st_ino))
            else:
                found[path] = ("other", kind)
    return {
        path: (*value[:-1], tuple(sorted(names[value[-1]]))) if value[0] == "file" else value
        for path, value in found.items()
    }


def digest(path: bytes) -> str:
    hasher = blake3()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            hasher.update(piece)
    return hasher.hexdigest()


def differences(left: dict[bytes, Any], right: dict[bytes, Any]) -> list[tuple[bytes, Any, Any]]:
    """What differs between two pictures, at most ten."""
    keys = sorted(left.keys() | right.keys())
    return [(key, left.get(key), right.get(key)) for key in keys if left.get(key) != right.get(key)][:10]


def same(left: str | os.PathLike[str], right: str | os.PathLike[str], **how: Any) -> None:
    """Assert that two trees are equal in all that is promised."""
    assert differences(picture(left, **how), picture(right, **how)) == []


def write(path: str | bytes | os.PathLike[str], data: bytes = b"", mode: int = 0o644, mtime: int | None = None) -> None:
    """One file, in folders that are made if needed."""
    name = os.fsencode(path)
    os.makedirs(os.path.dirname(name), exist_ok=True)
    with open(name, "wb") as file:
        file.write(data)
    os.chmod(name, mode)
    if mtime is not None:
        os.utime(name, ns=(mtime, mtime))


def corpus(root: Path, seed: int = 0) -> Path:
    """A small tree with something of everything: about 6 MB, over 100 members."""
    rng = random.Random(seed)
    base = os.fsencode(root)
    for i in range(40):
        write(base + b"/text/part-%02d/doc-%03d.txt" % (i % 4, i), b"words and words %d\n" % i * rng.randrange(1, 400))
    for i in range(20):
        write(base + b"/images/%04d.jpg" % i, rng.randbytes(rng.randrange(1000, 60_000)))
        write(base + b"/images/%04d.json" % i, b'{"n": %d}' % i)
    write(base + b"/big/large.bin", rng.randbytes(3 * MIB + 12345), 0o600, 1_500_000_000_123_456_789)
    write(base + b"/big/large.bin.part-000000", b"collides")
    write(base + b"/big/\xff\xfe" + b"n" * 240, rng.randbytes(MIB + 5))
    os.link(base + b"/big/large.bin", base + b"/text/another-name.bin")
    os.link(base + b"/images/0001.jpg", base + b"/a-first-name.jpg")
    write(base + b"/odd/-rf", b"dash")
    write(base + b"/odd/new\nline", b"newline", 0o755)
    write(base + b"/odd/\x01 \xc3\x28", b"not utf-8", 0o000 if os.geteuid() == 0 else 0o400)
    write(base + b"/odd/" + b"x" * 255, b"long")
    write(base + b"/odd/before-1970", b"old", mtime=-1_234_567_890_123_456_789)
    write(base + b"/odd/empty", b"")
    os.makedirs(base + b"/empty/folder")
    deep = base + b"/deep" + b"/d" * 60
    write(deep + b"/leaf", b"leaf")
    for name, target in ((b"dangling", b"no/where"), (b"absolute", b"/etc/passwd"), (b"up", b"../../..")):
        os.symlink(target, base + b"/odd/" + name)
        os.utime(base + b"/odd/" + name, ns=(7_000_000_001, 7_000_000_001), follow_symlinks=False)
    with open(base + b"/odd/sparse", "wb") as file:
        file.seek(5 * MIB)
        file.write(b"middle")
        file.truncate(9 * MIB + 17)
    write(base + b"/sealed/readable", b"in a folder that nobody may write to")
    os.chmod(base + b"/sealed", 0o555)
    os.chmod(base + b"/empty/folder", 0o2750)
    for path in (b"/odd", b"/empty", b"/deep", b"/sealed", b"/images", b"/text", b"/big"):
        os.utime(base + path, ns=(1_600_000_000_000_000_001, 1_600_000_000_000_000_001))
    return root


class Inline:
    """Stands in for unpack's ProcessPoolExecutor: the same functions, in this process, at once."""

    def __init__(self, _workers: int, *, initializer: Any, initargs: tuple[Any, ...], **_: Any) -> None:
        self._processes: dict[int, Any] = {}
        initializer(*initargs)

    def submit(self, function: Any, *arguments: Any) -> Any:
        from concurrent.futures import Future

        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001 -- as a pool does
            future.set_exception(error)
        return future

    def shutdown(self, **_: Any) -> None:
        if unpacking._worker is not None:
            unpacking._worker[0].close()
            unpacking._worker[1].close()
            unpacking._worker = None


def forge(origin: Origin, **files: bytes) -> dict[str, bytes]:
    """Sign other indexes (plaintexts, by GROUP_FILES name with `/` and `.` as `_`) into every drive; the new seal.

    What only somebody with the signing key could do; readers must stand it all the same.
    """
    import msgspec

    from sealift.formats import age, age_header

    names = {name.replace("/", "_").replace(".", "_"): name for name in mf.GROUP_FILES}
    record = origin.manifests()[0][0]
    changes: dict[str, Any] = {}
    for key, plain in files.items():
        name = names[key]
        data = plain
        if name in {mf.MEMBERS_INDEX, mf.PACKS_INDEX}:
            data = age.encrypt(plain, [age_keys.parse_recipient(origin.recipient)])
            head = data[: age_header.parse_header(data[: age_header.MAX_HEADER]).payload_start]
            field_name = "members_index" if name == mf.MEMBERS_INDEX else "packs_index"
            ref = _ref(data)
            changes[field_name] = mf.IndexRef(bytes=ref.bytes, blake3=ref.blake3, header=blake3(head).hexdigest())
        for mount in origin.mounts:
            Path(mount, "sealift", name).write_bytes(data)
    encoded = mf.encode_manifest(msgspec.structs.replace(record, **changes))
    signature = origin.signer.sign(encoded, mf.NAMESPACE)
    for mount in origin.mounts:
        Path(mount, "sealift", mf.MANIFEST).write_bytes(encoded)
        Path(mount, "sealift", mf.SIGNATURE).write_bytes(signature)
    return origin.seal()
