"""The return leg: what the outbound seal allows, proved before a byte is packed and again before anything is sealed.

What holds of an outbound seal that `open_outbound` returns: allowed signers vouch for it, it is of an outbound shipment
whose origin names who may answer it, and the declaration at hand is of a return leg in reply to it; an outbound
declaration gives None. What is packed is then encrypted for recipients that this seal names, and signed with a key that
it accepts; manifests bind its digest. `pack` keeps it in the state folder, where `seal` finds it.

What is not here: reading a reply (reading/trust.py), and what travels beside the checkpoint (pack/provenance.py).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sealift.errors import BadInput, Refused
from sealift.formats import age_keys, seal
from sealift.reading.trust import TrustedSeal, accepted_signers, load_seal, open_seal
from sealift.stages.pack.durable import replace
from sealift.stages.seal_others import newer_beside
from sealift.trade.homeward import accepted
from sealift.trade.signing import load_allowed_signers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.formats.manifest import Manifest
    from sealift.formats.sshsig import PublicKey
    from sealift.trade.declaration import Declaration

_KEPT = "outbound.seal"  # in the state folder


def open_outbound(
    leg: str, in_reply_to: str | None, allowed_signers: str | None, declaration: Declaration
) -> TrustedSeal | None:
    """The outbound seal of a return leg, None on an outbound leg; BadInput or Refused where the two do not fit."""
    if declaration.leg == "return" and leg != "return":
        raise BadInput(
            f"declaration {declaration.consignment_id} is of a return leg",
            hint="--leg return --in-reply-to SEAL, the seal of the outbound shipment; or set leg in the declaration",
        )
    if leg != "return":
        if in_reply_to is not None:
            raise BadInput("--in-reply-to belongs to --leg return", hint="give both, or neither")
        return None
    if in_reply_to is None:
        raise BadInput(
            "a return leg answers an outbound shipment, and none is given",
            hint="--in-reply-to SEAL: the outbound shipment's seal, as its origin sent it",
        )
    if declaration.leg != "return":
        raise Refused(
            f"declaration {declaration.consignment_id} is not of a return leg",
            hint='a return leg is declared for itself: leg = "return", in_reply_to = the outbound consignment\'s id',
        )
    if allowed_signers is None:
        raise BadInput(
            "no allowed signers are given, so the outbound seal cannot be believed",
            hint="--allowed-signers FILE, or SEALIFT_ALLOWED_SIGNERS",
        )
    outbound = open_seal(load_seal(in_reply_to), load_allowed_signers(allowed_signers))
    _check(declaration, outbound)
    return outbound


def _check(declaration: Declaration, outbound: TrustedSeal) -> None:
    answered = outbound.seal.consignment_id
    if outbound.seal.in_reply_to:
        raise Refused(
            f"{answered} is a return leg itself, and is not answered", hint="give the outbound shipment's seal"
        )
    accepted_signers(outbound)
    declared = declaration.in_reply_to or "nothing yet"
    if declared != answered:
        raise Refused(
            f"declaration {declaration.consignment_id} answers {declared}, and the seal is of {answered}",
            hint=f'give the seal of the shipment that it answers, or declare in_reply_to = "{answered}"',
        )
    if declaration.rehearsal != outbound.seal.rehearsal:
        raise Refused(
            "a rehearsal answers a rehearsal, and a shipment a shipment",
            hint="set rehearsal in the declaration as the outbound shipment's has it",
        )


def recipients(given: Sequence[str], outbound: TrustedSeal) -> list[str]:
    """For whom the leg home is packed: all whom the outbound seal names, or those of them that are given; Refused."""
    back = outbound.seal.return_
    named = list(back.recipients) if back else []
    wanted = [str(age_keys.parse_recipient(text)) for text in given]
    if others := [text for text in wanted if text not in named]:
        raise Refused(
            f"{others[0]} is no recipient of the leg home that the outbound seal names",
            hint="leave --recipient away: what comes back is for the origin's recipients, and nobody else's",
        )
    return wanted or named


def check_signer(key: PublicKey, outbound: TrustedSeal) -> None:
    """Refused unless the outbound seal accepts this key."""
    lines = accepted_signers(outbound).lines
    if key not in [line.key for line in lines]:
        raise Refused(
            f"the outbound seal of {outbound.seal.consignment_id} does not accept {key.fingerprint} on the leg home",
            hint="sign with the key of one of those whom its origin names: "
            + ", ".join(f"{line.principals} ({line.key.fingerprint})" for line in lines),
        )


def check_newest(path: str, outbound: TrustedSeal, key: PublicKey) -> None:
    """Refused where a seal beside the one at `path` supersedes it, and does not accept this key any more."""
    newer = newer_beside(path, outbound.declaration)
    if newer is None:
        return
    back = newer.declaration.return_leg
    if back is None or key not in [line.key for line in accepted(back).lines]:
        raise Refused(
            f"{newer.words}; it does not accept {key.fingerprint} on the leg home",
            hint=f"--in-reply-to {newer.path}, and the key of one of those whom it names",
        )


def keep(state: str, outbound: TrustedSeal) -> None:
    """Put the outbound seal into the state folder, durably."""
    replace(os.path.join(state, _KEPT), seal.encode_bundle(outbound.files))


def check_sealing(
    state: str, manifest: Manifest, declaration: Declaration, key: PublicKey, allowed: AllowedSigners
) -> None:
    """Before a shipment is sealed: Refused unless leg, outbound seal and key are those under which it was packed."""
    bound = manifest.in_reply_to
    if not bound:
        if declaration.leg == "return":
            raise Refused(
                "the drives were packed as an outbound shipment, and are never sealed as a return leg",
                hint="pack them again: --leg return --in-reply-to SEAL",
            )
        return
    if declaration.leg != "return":
        raise Refused(
            "the drives were packed as a return leg, and are sealed as nothing else",
            hint=f'leg = "return", in_reply_to = "{bound.consignment_id}" in the declaration',
        )
    path = os.path.join(state, _KEPT)
    if not os.path.exists(path):
        raise BadInput(
            f"{path}: the outbound seal that was kept here while packing is gone",
            hint="put the outbound shipment's seal file there, under this name",
        )
    outbound = open_seal(load_seal(path), allowed)
    if outbound.reference != bound:
        raise Refused(
            f"{path} is not the outbound seal that the drives were packed in reply to",
            hint=f"put the seal of shipment {bound.shipment} there whose seal.json has BLAKE3 {bound.seal.blake3}",
        )
    _check(declaration, outbound)
    check_signer(key, outbound)
