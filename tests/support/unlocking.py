"""Keys issued for a shipment in folders, as a key holder does, and what a compute host then has.

desk = Desk(origin, tmp_path / "desk")
issued = desk.issue()                     # Result; the file is desk.out
desk.open(issued)                         # a Shipment, with the job's identity and the issued keys alone
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import shipments

from sealift.formats import age_keys, canonical, paged, unlock
from sealift.formats import seal as seals
from sealift.reading.shipment import Shipment
from sealift.stages import unlock as stage
from sealift.trade import unlock as rules

if TYPE_CHECKING:
    from pathlib import Path

    from sealift.trade.signing import Signer


@dataclass
class Desk:
    """A key holder's desk in a folder: job.txt, signers, s.seal, custody/ (an empty log), and what is issued."""

    origin: shipments.Origin
    root: Path

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True)
        self.holder: Signer = shipments._key(self.root / "holder")
        self.job, self.recipient = age_keys.generate_identity()
        (self.root / "job.txt").write_text(self.job + "\n")
        line = f'holder@example.com namespaces="sealift-unlock,sealift-custody" {self.holder.public_key.line}\n'
        self.signers = self.origin.allowed + line.encode()
        (self.root / "signers").write_bytes(self.signers)
        self.seal = self.origin.seal()
        (self.root / "s.seal").write_bytes(seals.encode_bundle(self.seal))
        self.custody = self.root / "custody"
        self.custody.mkdir()
        self.out = self.root / "run-7.keys.age"

    def options(self, **changes: Any) -> stage.Options:
        values: dict[str, Any] = {
            "mounts": self.origin.mounts,
            "identities": [self.origin.identity.encode()],
            "allowed_signers": self.signers,
            "seal": self.seal,
            "recipients": [self.recipient],
            "job": "run-7",
            "name": "Kim Keyholder",
            "organisation": "Example Ltd",
            "custody": str(self.custody),
            "out": str(self.out),
        }
        return stage.Options(**(values | changes))

    def issue(self, clock: Any = None, signer: Signer | None = None, **changes: Any) -> stage.Result:
        given = {} if clock is None else {"clock": clock}
        return stage.issue(self.options(**changes), signer or self.holder, stage.Events(), **given)

    def open(self, **changes: Any) -> Shipment:
        values: dict[str, Any] = {
            "locations": self.origin.mounts,
            "identity": str(self.root / "job.txt"),
            "keys": str(self.out),
            "allowed_signers": self.signers,
            "seal": self.seal,
        }
        return Shipment.open(**(values | changes))

    def options_of(self, **changes: str) -> list[str]:
        """What a command that reads is given."""
        values = {
            "identity": str(self.root / "job.txt"),
            "keys": str(self.out),
            "allowed-signers": str(self.root / "signers"),
            "seal": str(self.root / "s.seal"),
        }
        return [word for name, value in (values | changes).items() for word in (f"--{name}", value)]

    def forge(
        self, record: unlock.Unlock, keys: bytes, signer: Signer | None = None, to: str = "", **changes: Any
    ) -> bytes:
        """Issued keys that say what they are told to, signed and sealed all the same."""
        fields = {name: getattr(record, name) for name in record.__struct_fields__} | changes
        rows = len(keys) // 16
        root = unlock.table_root(rows, keys).hex()
        fields["keys"] = unlock.KeyTable(rows=rows, issued=record.keys.issued, root=root)
        made = unlock.Unlock(**fields)
        data = canonical.encode(made)
        signature = (signer or self.holder).sign(data, rules.NAMESPACE)
        plain = bytearray()
        unlock.write(made, data, signature, keys, plain.extend)
        from sealift.formats import age

        return age.encrypt(bytes(plain), [age_keys.parse_recipient(to or self.recipient)])

    def opened(self) -> tuple[unlock.Unlock, bytes]:
        """The record and the keys of what was issued last."""
        from sealift.formats import age

        data = age.decrypt(self.out.read_bytes(), [age_keys.parse_identity(self.job)])

        def read_at(offset: int, count: int) -> bytes:
            return data[offset : offset + count]

        found = unlock.layout(read_at, len(data))
        pages: paged.PagedFile = unlock.key_pages(found, read_at)
        return found.record, pages.get(0, found.record.keys.rows)
