"""Whether a consignment is sealed already, as far as seals lie where they are made: by its declaration, or in states.

Seals are read here, and nobody is asked whose they are: a packing that another seal speaks against is not begun, for it
could not be sealed under the same declaration, and what it would take hours for is said before.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING, NamedTuple

from sealift.errors import Refused, SealiftError
from sealift.stages.pack.journal import FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST = 1000  # entries beside a state folder that are looked at


class Found(NamedTuple):
    """A seal: where it lies, and of which shipment it is."""

    path: str
    shipment: str


def seals_of(consignment: str, declaration: str, state: str) -> Iterator[Found]:
    """Those of a consignment beside the `declaration`, in the folder `state`, and in other state folders beside it."""
    from sealift.reading.trust import load_seal, read_seal

    state = os.path.realpath(state)
    for folder in dict.fromkeys([os.path.realpath(os.path.dirname(declaration)), state, *_beside(state)]):
        names: list[str] = []
        with contextlib.suppress(OSError):  # one that is not there yet
            names = sorted(name for name in os.listdir(folder) if name.endswith(".seal"))
        for path in (os.path.join(folder, name) for name in names):
            with contextlib.suppress(SealiftError):  # whatever it is, it is no seal of ours
                seal = read_seal(load_seal(path))
                if seal.consignment_id == consignment:
                    yield Found(path, seal.shipment)


def _beside(state: str) -> Iterator[str]:
    above = os.path.dirname(state)
    with contextlib.suppress(OSError), os.scandir(above) as entries:
        for entry in itertools.islice(entries, _MOST):
            if os.path.isfile(os.path.join(entry.path, FILE)):
                yield entry.path


def refuse_another(consignment: str, shipment: str, declaration: str, state: str) -> None:
    """Refused where another shipment is sealed under the consignment; `shipment` may be sealed."""
    for found in seals_of(consignment, declaration, state):
        if found.shipment != shipment:
            raise Refused(
                f"{found.path}: shipment {found.shipment} is sealed under consignment {consignment} already, and a "
                "declaration and its release are of one shipment; nothing was written to a drive",
                hint="what leaves beside it is packed under a declaration of its own (`sealift declare --new`), and "
                "each names the other (related_shipments); if that shipment never leaves, move its seal away. To go on "
                "with a packing, give its own --state",
            )
