"""An outbound shipment that may be answered, and a checkpoint with which it is: real packings, real keys.

`Voyage.out` is packed and sealed by its origin, whose declaration names its own identity and the trainer's key for the
leg home. `Voyage.home` is the trainer's side: `pack` and `seal` as its options say, `read` as the origin would.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import shipments

from sealift.formats.allowed_signers import AllowedSigners
from sealift.reading import trust
from sealift.stages import seal as sealing
from sealift.trade import declaration as declarations
from sealift.trade import release as releases
from sealift.trade.signing import write_pair

if TYPE_CHECKING:
    from pathlib import Path

    from sealift.stages.pack import run as packing

OUT, HOME = "SL-2026-TESTED", "SL-2026-ANSWER"


def tensor_file(tensors: dict[str, bytes]) -> bytes:
    """A .safetensors file: length of the header, little-endian in 8 bytes, the header as JSON, the tensors' bytes."""
    header: dict[str, Any] = {}
    place = 0
    for name, data in tensors.items():
        header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [place, place + len(data)]}
        place += len(data)
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + b"".join(tensors.values())


class Voyage:
    """Both sides beneath `root`; `named` is False where the origin says nothing of the leg home."""

    def __init__(self, root: Path, *, named: bool = True, parity: int = 1) -> None:
        self.root = root
        corpus, self.checkpoint = root / "corpus", root / "checkpoint"
        for number in range(5):
            shipments.write(corpus / f"{number}.txt", b"some words\n" * 100)
        self.weights = tensor_file({"wte": os.urandom(1_500_000), "bias": bytes(300)})
        shipments.write(self.checkpoint / "model.safetensors", self.weights)
        shipments.write(self.checkpoint / "logs" / "train.log", b"step 1\nstep 2\n" * 50)
        self.words = {"code": "v1.0-3-gabcdef0", "config": {"lr": 0.001, "layers": [2, 4]}, "metrics": {"loss": 2.5}}
        shipments.write(self.checkpoint / "run.json", json.dumps({**self.words, "extra": "passed over"}).encode())
        self.out = shipments.Origin(root / "out", corpus)
        self.home = shipments.Origin(root / "home", self.checkpoint, data=1, parity=parity)
        self.signers = root / "signers"
        self.signers.write_bytes(self.out.allowed + self.home.allowed)
        if named:
            self.name(self.out.recipient)
        self.edit(self.home, self.home.recipient, self.out.recipient)
        self.edit(self.home, 'leg = "outbound"', 'leg = "return"')
        self.edit(self.home, 'in_reply_to = ""', f'in_reply_to = "{OUT}"')
        self.edit(self.home, f'consignment_id = "{OUT}"', f'consignment_id = "{HOME}"')
        self.out.pack()
        self.seal_file = self.seal(self.out).path

    def name(self, *recipients: str) -> None:
        """State the leg home in the outbound declaration."""
        signers = [f"trainer@example.com {self.home.signer.public_key.line}"]
        self.edit(self.out, "\nrecipients = []\n", f"\nrecipients = {json.dumps(recipients)}\n")
        self.edit(self.out, "\nsigners = []\n", f"\nsigners = {json.dumps(signers)}\n")

    def edit(self, origin: shipments.Origin, old: str, new: str) -> None:
        """Change an origin's declaration."""
        text = origin.declaration.read_text()
        assert old in text
        origin.declaration.write_text(text.replace(old, new))

    def revise(self, origin: shipments.Origin) -> None:
        """Begin the next revision of a declaration that was released: it supersedes these bytes."""
        raw = origin.declaration.read_bytes()
        self.edit(origin, "\nrevision = 1\n", "\nrevision = 2\n")
        self.edit(origin, '\nsupersedes = ""\n', f'\nsupersedes = "{declarations.digest(raw)}"\n')

    @property
    def allowed(self) -> AllowedSigners:
        return AllowedSigners.parse(self.signers.read_bytes())

    def release(self, origin: shipments.Origin) -> None:
        """Release a declaration as it is now."""
        _, data, signature = origin.release()
        write_pair(releases.path_beside(str(origin.declaration)), data, signature)

    def seal(self, origin: shipments.Origin, **changes: Any) -> sealing.Result:
        """Release and seal one side."""
        self.release(origin)
        values = {
            "states": [str(origin.state)],
            "declaration": str(origin.declaration),
            "sign_with": str(origin.root / "signing"),
            "allowed_signers": str(self.signers),
        }
        return sealing.seal(sealing.Options(**(values | changes)))

    def pack(self, notices: list[str] | None = None, **changes: Any) -> packing.Result:
        """Pack the checkpoint as the answer."""
        values = {
            "recipients": [],
            "leg": "return",
            "in_reply_to": self.seal_file,
            "allowed_signers": str(self.signers),
        }
        return self.home.pack(notices, **(values | changes))

    def open_seal(self, path: str) -> trust.TrustedSeal:
        return trust.open_seal(trust.load_seal(path), self.allowed)

    def read(self, path: str, seal: str, mounts: list[str] | None = None) -> bytes:
        """What `sealift cat` prints of a file of the answer, with the origin's identity."""
        command = [
            sys.executable,
            "-m",
            "sealift",
            "cat",
            *(mounts or self.home.mounts),
            "--path",
            path,
            "--seal",
            seal,
        ]
        command += ["--identity", str(self.out.root / "identity"), "--allowed-signers", str(self.signers)]
        return subprocess.run(command, check=True, capture_output=True, timeout=120).stdout

    def declared(self, origin: shipments.Origin) -> declarations.Declaration:
        return declarations.parse(origin.declaration.read_bytes(), draft=True)
