"""A directory or s3://BUCKET/PREFIX in the place of a drive, for what goes by network: declared like any other.

One slot, no parity.
The declaration has one row for it under [[drives]], whose serial begins with NETWORK- so that no sheet shows a drive
where there is none, and a carrier: whoever runs the way. The directory is the same as a drive, and reads as one.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from sealift.drives import locations
from sealift.errors import BadInput

if TYPE_CHECKING:
    from sealift.stages.pack.run import Options
    from sealift.trade.declaration import Declaration

PREFIX = "NETWORK-"


def settled(options: Options, declaration: Declaration) -> Options:
    """The options of --network in full; BadInput unless one place is given, and declared as what it is."""
    stores = [mount for mount in options.to if locations.is_store(mount)]
    if not options.network:
        if stores:
            raise BadInput(
                f"{stores[0]} is no drive that somebody carries",
                hint="--to s3://BUCKET/PREFIX --network, declared as what goes by network; nothing was written",
            )
        return options
    hint = f'one [[drives]] row with serial = "{PREFIX}1", a carrier, and the room there as capacity_bytes'
    if len(options.to) != 1:
        raise BadInput(
            "--network takes one directory, or one s3:// location",
            hint="--to DIR --network; what is to be split goes on drives",
        )
    if options.parity:
        raise BadInput("--network has no parity", hint="leave --parity away: there is one copy, and no drive to lose")
    serials = [drive.serial for drive in declaration.drives]
    if len(serials) > 1:
        raise BadInput(f"declaration {declaration.consignment_id} names {len(serials)} drives", hint=hint)
    (mount,) = options.to
    serial = options.serials.get(mount) or next(iter(serials), "")
    if not serial.startswith(PREFIX):
        what = f"drive {serial}" if serial else "no drive yet"
        raise BadInput(f"declaration {declaration.consignment_id} names {what}, and {mount} goes by network", hint=hint)
    return dataclasses.replace(
        options, parity=0, serials={mount: serial}, allow_same_filesystem=True, accept_carrier_risk=True
    )
