"""The signing key of a packing on several hosts, as a host has it that does not hold it.

What holds: the private key stays where the packing was begun. A host has a manifest signed there, which is looked at
first, and there the headers of journal copies are opened: what comes back is a signature, or the key of one such file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sealift.stages.pack.listing import Reader
from sealift.trade.signing import Signer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealift.formats import age
    from sealift.formats.age_header import Stanza
    from sealift.formats.sshsig import PublicKey
    from sealift.stages.pack.copies import CopyIdentity


@dataclass
class Away:
    """What a host does not have: the key, and what the others scanned.

    `agree` raises Refused where the digest of its scan is not that of the others; `listing` is theirs.
    """

    signer: Signer
    identity: CopyIdentity
    agree: Callable[[str], object]
    listing: Reader


@dataclass(frozen=True)
class AwaySigner(Signer):
    """A key whose signatures are asked for; what comes back is proved as of any other."""

    ask: Callable[[tuple[object, ...]], Any] | None = None

    def prove(self) -> None:
        """It was proved where it is."""

    def _signature(self, message: bytes, namespace: str) -> bytes:
        assert self.ask is not None, "made by `away`"
        signature: bytes = self.ask(("sign", message, namespace))
        return signature


class AwayIdentity:
    """The same key as it opens journal copies (copies.identity_of)."""

    def __init__(self, recipient: age.Recipient, ask: Callable[[tuple[object, ...]], Any]) -> None:
        self.recipient, self._ask = recipient, ask

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """As of age.Identity."""
        file_key: bytes | None = self._ask(("unwrap", tuple(stanzas)))
        return file_key


def away(public_key: PublicKey, recipient: age.Recipient, name: str, ask: Callable[[tuple[object, ...]], Any]) -> Away:
    """For a host: `ask` brings questions to where the key is (hosts.py)."""
    return Away(
        AwaySigner(name, public_key, ask=ask),
        AwayIdentity(recipient, ask),
        lambda digest: ask(("scan", digest)),
        Reader(lambda *question: ask(("listing", *question))),
    )
