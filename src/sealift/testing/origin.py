"""Origin: where a shipment onto simulated drives comes from, so that a test packs and seals in a few lines.

    options    what `sealift pack` is asked for: the stage itself is the test's to run (stages/pack/run.py)
    seal       what `sealift seal` gives, when all is packed
    replace    the declaration names another drive, and is released again, as people do before --replace

What holds: keys are fresh, and lie with the declaration, its release and the state in one folder. The declaration
says in every field that it is a rehearsal, as that of `sealift rehearse` does, of which it is made: these drives are
simulated, and nothing that is packed here is a shipment. What must come of it all is not here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sealift.reading.trust import load_seal
from sealift.stages import seal as sealing
from sealift.stages.pack import inputs
from sealift.stages.pack import run as packing
from sealift.stages.rehearse_scratch import Scratch, declare, measure, people, release
from sealift.trade.signing import load_allowed_signers, write_over

if TYPE_CHECKING:
    from sealift.testing.fleet import FleetSimulator

_CAPACITY = 1 << 40  # bytes, as declared; how much fits is the fleet's to say


class Origin:
    """The sending side in `folder`, a new one: `source` goes onto all drives that `fleet` has now, as one group.

    `allowed` and `identity` are what the destination has: the signers that it trusts (`signers` is the file of them),
    and the age identity that opens the packs. `mounts`: the drives as they are declared, each with its own carrier.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        source: str | os.PathLike[str],
        fleet: FleetSimulator,
        *,
        parity: int = 1,
    ) -> None:
        os.makedirs(folder)
        self._scratch = Scratch(os.fspath(folder))
        self._source, self._fleet, self._parity = os.fspath(source), fleet, parity
        self._who = people(self._scratch)
        self.signers, self.identity = self._who.signers, self._who.identity
        self.allowed = load_allowed_signers(self.signers)
        self.mounts, self._serials = fleet.mounts, fleet.serials
        self.declaration = self._scratch.place("declaration.toml")
        drives = {self._serials[mount]: f"carrier-{number}" for number, mount in enumerate(self.mounts)}
        declare(self.declaration, self._who, drives, measure(self._source), _CAPACITY)
        release(self.declaration, self._who)

    def options(self, **changes: Any) -> packing.Options:
        """To pack, or to go on; `changes` are fields of Options, such as read_back="full"."""
        given: dict[str, Any] = {
            "source": self._source,
            "to": list(self.mounts),
            "parity": self._parity,
            "recipients": [],  # those of the declaration
            "sign_with": self._who.author,
            "declaration": self.declaration,
            "state": self._scratch.place("state"),
            "pack_size": inputs.MIN_PACK,
            "allow_same_filesystem": True,
            "rehearsal": True,
            "open_drive": self._fleet.open,
        }
        return packing.Options(**(given | changes))

    def replace(self, old: str, new: str) -> None:
        """Declare the drive at `new` in the place of that at `old`: before options(replace={old: new}). ValueError."""
        self._serials |= self._fleet.serials
        for mount, choices in ((old, self.mounts), (new, set(self._fleet.mounts) - set(self.mounts))):
            if mount not in choices:
                raise ValueError(f"{mount} is not the mount of such a drive: give one of {', '.join(sorted(choices))}")
        with open(self.declaration, encoding="utf-8") as file:
            text = file.read().replace(f'"{self._serials[old]}"', f'"{self._serials[new]}"')
        write_over(self.declaration, text.encode(), keep=False)
        release(self.declaration, self._who)
        self.mounts[self.mounts.index(old)] = new

    def seal(self) -> dict[str, bytes]:
        """The files of the seal of all that is packed: the `seal` of verify, repair and Shipment.open."""
        state = self._scratch.place("state")
        made = sealing.seal(sealing.Options([state], self.declaration, self._who.author, self.signers))
        return load_seal(made.path)
