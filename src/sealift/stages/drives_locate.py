"""Locate a drive: show its bay until told to stop.

What holds: exactly one drive has the name that is given; `lit` is told how it is shown, and `hold` decides how long.
The light is out when this ends, also by an exception. What is not here: words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sealift.drives import bay, block
from sealift.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealift.drives.bay import How
    from sealift.drives.block import Disk


def locate(name: str, hold: Callable[[Disk, How], None]) -> None:
    """Show the bay of the drive of this name while `hold` runs. BadInput: none, or several; DriveFault."""
    found = [disk for disk in block.discover() if disk.name == name or name in {disk.node, disk.device.path}]
    if not found:
        raise BadInput(f"there is no drive {name}", hint="`sealift drives` lists them")
    if len(found) > 1:
        nodes = ", ".join(disk.node for disk in found)
        raise BadInput(f"{nodes} all tell the serial number {name}", hint="give one of these device nodes instead")
    with bay.lit(found[0]) as how:
        hold(found[0], how)
