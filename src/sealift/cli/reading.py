"""What ls, cat and unpack share: keys, signers and seal from files, and the shipment they open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sealift.cli import common

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.reading.shipment import Shipment


def read_identities(paths: Sequence[str]) -> list[bytes]:
    """The contents of identity files that parse; KeyInvalid names the one that does not."""
    from sealift.formats import age_keys
    from sealift.trade.signing import read_limited

    common.load_identities(paths)
    return [read_limited(path, age_keys.MAX_KEY_FILE, "identity file") for path in paths]


def read_allowed(path: str | None) -> bytes:
    """The contents of the allowed signers file; it has parsed."""
    from sealift.formats.allowed_signers import MAX_FILE
    from sealift.trade.signing import read_limited

    common.load_allowed(path)
    assert path is not None
    return read_limited(path, MAX_FILE, "allowed signers file")


def load_seal(path: str | None) -> dict[str, bytes] | None:
    """The five files of --seal, or None where the drives' own is to serve."""
    from sealift.reading.trust import load_seal as load

    return None if path is None else load(path)


def open_shipment(
    mounts: Sequence[str], identities: Sequence[str], allowed: str | None, seal: str | None, keys: str | None
) -> Shipment:
    """The shipment on `mounts`, opened with what the options name; mounts that give nothing are told on stderr."""
    from sealift.reading.shipment import Shipment

    common.without_pandas()
    identity = read_identities(identities)
    shipment = Shipment.open(mounts, identity=identity, allowed_signers=read_allowed(allowed), seal=seal, keys=keys)
    for mount, why in shipment.ignored:
        common.say(common.path_text(f"note: {mount} is ignored: {why}".encode(errors="surrogateescape")))
    for notice in shipment.notices:
        common.say(common.path_text(f"note: {notice}".encode(errors="surrogateescape")))
    return shipment
