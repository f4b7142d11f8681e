"""What `sealift pack` is given, opened and proved before anything is written: keys, declaration, source.

What holds: what contradicts itself or the declaration is refused here, with a hint; nothing is written here.
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

from sealift.errors import BadInput, KeyInvalid, Refused
from sealift.formats import age, age_keys
from sealift.formats.sizes import counted
from sealift.stages import return_leg
from sealift.stages.pack import network
from sealift.stages.pack import source as sources
from sealift.stages.pack.only import select
from sealift.stages.pack.readback import MODES
from sealift.trade import declaration as declarations
from sealift.trade import release as releases
from sealift.trade.signing import Signer, read_limited

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.reading.trust import TrustedSeal
    from sealift.stages.pack.only import Selection
    from sealift.stages.pack.run import Events, Options
    from sealift.stages.pack.source import Source

MIN_PACK, MAX_PACK, DEFAULT_PACK = 1 << 20, (4 << 30) - (1 << 20), 1 << 30


def prepared(options: Options) -> tuple[Options, declarations.Declaration, Signer]:
    """What a packing on several hosts is begun with: recipients settled, the key proved."""
    options, declaration, _ = settle_leg(options)
    return options, declaration, prove(options)[0]


def settle_leg(options: Options) -> tuple[Options, declarations.Declaration, TrustedSeal | None]:
    """The declaration, the outbound seal of a return leg, and the options with what follows from them."""
    declaration = _declaration(options)
    if os.path.lexists(releases.path_beside(options.declaration)):  # most are packed before there is one
        from sealift.stages.standing import check_beside

        check_beside(options.declaration, declaration, options.allowed_signers)
    outbound = return_leg.open_outbound(options.leg, options.in_reply_to, options.allowed_signers, declaration)
    if outbound is not None:
        options = dataclasses.replace(options, recipients=return_leg.recipients(options.recipients, outbound))
    elif options.provenance is not None:
        raise BadInput("--provenance belongs to --leg return", hint="leave it away")
    options = dataclasses.replace(options, recipients=_recipients(options.recipients, declaration))
    return network.settled(options, declaration), declaration, outbound


def without_new(options: Options) -> Options:
    """The same of the drives that were packed before: without --replace, and without the mounts of its new drives."""
    new = options.replace.values()
    return dataclasses.replace(options, to=[mount for mount in options.to if mount not in new], replace={})


def _recipients(given: Sequence[str], declaration: declarations.Declaration) -> list[str]:
    """For whom it is packed: whom the declaration names, and nobody else; a draft that names nobody leaves it open."""
    declared = [row.recipient for row in declaration.encryption.recipients if row.recipient]
    if not given or not declared:
        return list(given) or declared
    one, other = ({str(age_keys.parse_recipient(text)) for text in texts} for texts in (given, declared))
    if one != other:
        odd = min(other - one or one - other)  # whom the drives would be closed to comes first
        what = "is given and not declared" if odd in one else "is declared and not given"
        raise Refused(
            f"recipient {_short(odd)} {what} (encryption.recipients of {declaration.consignment_id})",
            hint="leave --recipient away: packs are sealed for whom the declaration names",
        )
    return list(given)


def _short(recipient: str) -> str:
    """A key that somebody finds again: a post-quantum one has 1,959 characters."""
    return recipient if len(recipient) <= 120 else f"{recipient[:48]}...{recipient[-24:]}"


def prove(options: Options) -> tuple[Signer, list[age.Recipient]]:
    """The key, which has signed something, and the recipients. BadInput, KeyInvalid."""
    if options.read_back not in MODES:
        raise BadInput(f"--read-back {options.read_back}", hint=f"one of: {', '.join(MODES)}")
    if not options.to:
        raise BadInput("no drive is given", hint="--to MNT, once for every mounted drive")
    if not MIN_PACK <= options.pack_size <= MAX_PACK:
        raise BadInput(
            f"--pack-size {options.pack_size} is out of limits",
            hint=f"{MIN_PACK} to {MAX_PACK} bytes; 1 GiB serves most",
        )
    if not options.recipients:
        raise KeyInvalid(
            "no recipient is given, and none is declared",
            hint="encryption.recipients of the declaration, or --recipient age1... (age-keygen makes one)",
        )
    recipients = [age_keys.parse_recipient(text) for text in options.recipients]
    age.check_recipients(recipients)
    signer = options.away.signer if options.away else Signer.open(options.sign_with)
    signer.prove()
    return signer, recipients


def _declaration(options: Options) -> declarations.Declaration:
    data = read_limited(options.declaration, 4 << 20, "declaration")
    declaration = declarations.parse(data, draft=True)
    if not declaration.consignment_id:
        raise BadInput(
            f"{options.declaration}: consignment_id is empty",
            hint="sealift declare --new FILE draws one; a draft will do",
        )
    if declaration.rehearsal and not options.rehearsal:
        raise Refused(
            f"{options.declaration}: declares itself a rehearsal, and a shipment is none",
            hint="set rehearsal = false; `sealift rehearse` makes its own declaration",
        )
    return declaration


def selection(options: Options, events: Events) -> Selection | None:
    """Of --only: what a list asks for of the packing that --of names. BadInput."""
    if (options.only is None) != (options.of is None):
        raise BadInput("--only and --of belong together", hint="--only LIST --of DIR: the first packing's state folder")
    if options.only is None or options.of is None:
        return None
    if os.path.realpath(options.of) == os.path.realpath(options.state):
        raise BadInput("--of and --state are the same", hint="what is packed again is a shipment with its own --state")
    only = select(options.only, options.of)
    packs, paths = counted(only.packs, "pack"), counted(len(only.paths), "path")
    events.notice(f"only what {packs} of shipment {only.shipment} held: {paths}")
    return only


def opened(options: Options) -> Source:
    """What is packed. BadInput where it is not there, or does not lie apart from what is written; SourceFault."""
    name = sources.located(options.source)
    if options.leg == "return" and sources.is_store(options.source):
        raise BadInput(
            f"{options.source}: the leg home is packed from a folder, of whose files it brings a record",
            hint="copy the checkpoint into a folder, and pack that",
        )
    sources.check_apart(name, options.state, options.to)
    source = sources.source_of(name)
    source.check()
    return source
