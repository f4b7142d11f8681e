"""A shipment that was received: its declaration, receipts, keys, and what `sealift erase` is given of them."""

import dataclasses
import os
from datetime import UTC, datetime
from pathlib import Path

import blake3
import filled
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import UNSET

from sealift.formats import sshsig
from sealift.formats.allowed_signers import AllowedSigners
from sealift.formats.manifest import FileRef, drive_id
from sealift.trade import declaration as d
from sealift.trade import receipt as r
from sealift.trade import release, sections, template
from sealift.trade.erasure import Declared
from sealift.trade.signing import Signer

SHIPMENT, CONSIGNMENT = "5f0c1d2e3a4b5c6d", "SL-2026-4F7K2Q"
AT = "2026-11-20T10:00:00Z"
READ_AT = "2026-11-20T09:00:00Z"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
REF = FileRef(bytes=1, blake3="ab" * 32)


def private(seed):
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


def signer(seed):
    return Signer("in memory", sshsig.public_key_of(private(seed)), private(seed))


AUTHOR, OFFICER, RECEIVER, OPERATOR = map(signer, (1, 2, 4, 5))
SIGNERS = (
    f'officer@example.com namespaces="sealift-release" {OFFICER.public_key.line}\n'
    f'dock@example.org namespaces="sealift-receipt" {RECEIVER.public_key.line}\n'
    f'author@example.com namespaces="sealift-receipt,sealift-declaration" {AUTHOR.public_key.line}\n'
    f'dana@example.org namespaces="sealift-certificate" {OPERATOR.public_key.line}\n'
)
ALLOWED = AllowedSigners.parse(SIGNERS.encode())


def party(name):
    return sections.Party(
        legal_name=name, address="Hauptstr. 1", country="DE", contact="a@example.com", ultimate_parent=name,
        parent_hq_country="DE",
    )  # fmt: skip


def content(serials=("SER1", "SER2", "SER3"), **changes):
    fields = filled.rest() | {
        "consignment_id": CONSIGNMENT,
        "author": sections.Author(name="A. Author", email="author@example.com", public_key=AUTHOR.public_key.line),
        "shipper": party("Shipper"),
        "consignee": party("Consignee"),
        "end_user": party("User"),
        "end_use": sections.EndUse(text="Training", class_="training"),
        "data": sections.DataSummary(
            summary="Text",
            licence_basis="CC BY",
            personal_data="none",
            source_bytes=1,
            important_data="no",
            us_bulk_sensitive="no",
        ),
        "carriers": [sections.Carrier(name="Anna", contact="a", country="DE")],
        "drives": [
            sections.Drive(
                serial=serial, carrier="Anna", goods="ssd", capacity_bytes=3 << 20, make="Maker", model="Model X"
            )
            for serial in serials
        ],
    }
    return sections.Content(**(fields | changes))


def declared(*, released=True, **changes):
    """A declaration as it is given to erase."""
    parsed = d.parse(template.render(content(**changes)).encode(), draft=True)
    return Declared(parsed, released_by(parsed) if released else None)


def released_by(parsed):
    signed = filled.released(parsed, OFFICER, AUTHOR, NOW)
    return release.check_release(parsed, signed.data, signed.signature, ALLOWED)


def group(number=0, state="intact", serials=("SER1", "SER2", "SER3"), states=None, parity=1, first=1, made_on=None):
    each = {serial: "intact" if state in {"intact", "rebuilt"} else state for serial in serials} | (states or {})
    if state == "rebuilt" and set(each.values()) == {"intact"}:
        each[serials[-1]] = "lost"
    drives = [
        r.ReceiptDrive(
            id=drive_id(number, slot), number=first + slot, serial=serial, state=each[serial],
            read_at=READ_AT if each[serial] in r.VERIFIED else "", made_on=(made_on or {}).get(serial, UNSET),
        )
        for slot, serial in enumerate(serials)
    ]  # fmt: skip
    return r.ReceiptGroup(
        group=number, manifest=REF, data=len(serials) - parity, parity=parity, state=state, drives=drives
    )  # fmt: skip


def record(declaration, *groups, groups_total=None, **changes):
    groups = list(groups) or [group()]
    parsed = getattr(declaration, "declaration", declaration)
    fields = {
        "shipment": SHIPMENT,
        "consignment_id": CONSIGNMENT,
        "rehearsal": False,
        "declaration": FileRef(bytes=len(parsed.raw), blake3=blake3.blake3(parsed.raw).hexdigest()),
        "seal": REF,
        "received_by": r.Receiver(name="Rui Dock", organisation="Petrel", contact="dock@example.org"),
        "at": AT,
        "reports": [REF],
        "groups_total": groups_total or len(groups),
        "drives_total": 100,
        "groups": groups,
    }
    return r.ReceiptRecord(**(fields | changes))


def received(declaration, *groups, by=RECEIVER, allowed=ALLOWED, **changes):
    """A receipt that was checked."""
    data = r.encode(record(declaration, *groups, **changes))
    return r.check_receipt(data, by.sign(data, r.NAMESPACE), allowed)


@dataclasses.dataclass
class Papers:
    """Files in a folder, and the words of the command that name them."""

    folder: Path
    serials: tuple[str, ...]

    def __post_init__(self):
        self.declaration = self.folder / "declaration.toml"
        self.receipt = self.folder / "x.receipt.json"
        self.signers = self.folder / "signers"
        self.key = self.folder / "key"
        self.certificates = self.folder / "erased"
        self.declare()
        self.receive()
        self.signers.write_text(SIGNERS)
        self.key.write_bytes(
            private(5).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
            )
        )
        self.key.chmod(0o600)

    def declare(self, **changes):
        self.declaration.write_text(template.render(content(self.serials, **changes)))

    def receive(self, *groups, by=RECEIVER, **changes):
        parsed = d.parse(self.declaration.read_bytes(), draft=True)
        whole = groups or (group(serials=self.serials, parity=0),)
        data = r.encode(record(parsed, *whole, **changes))
        self.receipt.write_bytes(data)
        Path(f"{self.receipt}.sig").write_bytes(by.sign(data, r.NAMESPACE))

    def look(self):
        """What a dry run is given."""
        return [
            "--receipt", str(self.receipt), "--declaration", str(self.declaration),
            "--allowed-signers", str(self.signers),
        ]  # fmt: skip

    def do(self, *yes):
        """What is given besides, to erase."""
        words = [
            "--key", str(self.key), "--certificates", str(self.certificates), "--by", "Dana Dock",
            "--title", "dock technician", "--place", "Lisbon", "--contact", "dana@example.org",
        ]  # fmt: skip
        for name in yes:
            words += ["--yes", name]
        return words

    def written(self, ending):
        return sorted(self.certificates.glob(f"*{ending}")) if os.path.isdir(self.certificates) else []
