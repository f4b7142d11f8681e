"""A plain directory in the place of a drive, for what goes by network: one slot, no parity, declared like any other.

The declaration has one row for it under [[drives]], whose serial begins with NETWORK- so that no sheet shows a drive
where there is none, and a carrier: whoever runs the way. The directory is the same as a drive, and reads as one.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from sealift.errors import BadInput

if TYPE_CHECKING:
    from sealift.stages.pack.run import Options
    from sealift.trade.declaration import Declaration

PREFIX = "NETWORK-"


def settled(options: Options, declaration: Declaration) -> Options:
    """The options of --network in full; BadInput unless one directory is given, and declared as what it is."""
    if not options.network:
        return options
    hint = f'one [[drives]] row with serial = "{PREFIX}1", a carrier, and the room there as capacity_bytes'
    if len(options.to) != 1:
        raise BadInput("--network takes one directory", hint="--to DIR --network; what is to be split goes on drives")
    if options.parity:
        raise BadInput("--network has no parity", hint="leave --parity away: there is one copy, and no drive to lose")
    serials = [drive.serial for drive in declaration.drives]
    if len(serials) > 1:
        raise BadInput(f"declaration {declaration.consignment_id} names {len(serials)} drives", hint=hint)
    (mount,) = options.to
    serial = options.serials.get(mount) or next(iter(serials), "")
    if not serial.startswith(PREFIX):
        what = f"drive {serial}" if serial else "no drive yet"
        raise BadInput(f"declaration {declaration.consignment_id} names {what}, and this is a directory", hint=hint)
    return dataclasses.replace(
        options, parity=0, serials={mount: serial}, allow_same_filesystem=True, accept_carrier_risk=True
    )
