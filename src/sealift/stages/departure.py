"""Whether drives that are to leave the origin are sealed: asked before their departure is recorded.

    note     beside a declaration that was sealed: where its seal lies (NAME.sealed); `sealift seal` writes it
    check    what is known of the seal -> Refused where drives would leave without one, or a clock is wrong; or a note

What holds: the seal is the one given, or else the one that the note names, or one that lies beside the declaration. In
the folder where the records of the release lie, the origin's, there must be one of them, with the drives in it. With
the declaration and its release alone, as carriers have them, nobody knows, and that is said.

What is not here: whether they may go at all (stages/custody.py), and which events are departures (custody_terms.py).
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
from typing import TYPE_CHECKING

from sealift.errors import BadInput, Refused, SealiftError
from sealift.reading.trust import TrustedSeal, load_seal, open_seal, sealed_at
from sealift.stages.seal_others import MAX_SEALS
from sealift.trade import clocks
from sealift.trade.signing import read_limited

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.trade.declaration import Declaration

_MAX_NOTE = 16 << 10
_NOTE = re.compile(rb"([^\n]+)\nrevision [0-9]{1,9} [0-9a-f]{64}\n\Z")
_SHOWN = 5
_HOW = "sealift seal --state DIR --declaration FILE ... does it; of what is sealed it says so, and leaves the note"


def note_path(declaration_file: str) -> str:
    """Where the note of the seal lies beside a declaration."""
    return declaration_file.removesuffix(".toml") + ".sealed"


def check(
    file: str, parsed: Declaration, serials: Sequence[str], at: datetime, given: str | None, allowed: AllowedSigners,
    now: datetime,
) -> str:  # fmt: skip
    """What is to be told of drives that left the origin at `at`; Refused where they are not sealed, as far as is known.

    `file` is the declaration's, `given` a seal that somebody names: BadInput, SealInvalid where that is none.
    """
    if given is not None:
        known, unread = [open_seal(load_seal(given), allowed)], ""
        if known[0].seal.consignment_id != parsed.consignment_id:
            raise BadInput(f"{given}: it is the seal of {known[0].seal.consignment_id}, not of {parsed.consignment_id}")
    else:
        known, unread = _beside(file, parsed, allowed)
    if known:
        _check(known, parsed.consignment_id, serials, at, now)
        return ""
    if unread or not _is_origin(file):
        return unread or "there is no seal here (--seal FILE): whether the shipment is sealed, nobody can say"
    raise Refused(
        f"the shipment is not sealed yet, and {_some(serials)} would leave: no seal lies beside {file}, and no note of"
        f" one ({os.path.basename(note_path(file))})",
        hint=f"{_HOW}; or give the seal: --seal FILE. --as-found records that they left unsealed",
    )


def _check(known: Sequence[TrustedSeal], consignment: str, serials: Sequence[str], at: datetime, now: datetime) -> None:
    sealed: dict[str, list[datetime]] = {}
    for seal in (each.seal for each in known):
        for drive in (drive for group in seal.groups for drive in group.drives):
            sealed.setdefault(drive.serial, []).append(sealed_at(seal))
    if absent := [serial for serial in serials if serial not in sealed]:
        raise Refused(
            f"{_some(absent)} would leave, and no seal of {consignment} that is here has them",
            hint=f"they are declared and released anew, and sealed: {_HOW}. --as-found records that they left unsealed",
        )
    first = max(min(sealed[serial]) for serial in serials)
    if told := clocks.seal_ahead(first, now):
        raise Refused(
            f"{told}; by this clock the drives would leave before they were sealed",
            hint="where this clock is right, set the other one and run sealift seal again, which makes a new seal;"
            " where this one is behind, set it. --as-found records it as it is",
        )
    if clocks.is_ahead(first, at):
        said, then = (each.strftime(clocks.TIME) for each in (at, first))
        raise Refused(
            f"by the form {_some(serials)} left at {said}, and they were sealed at {then}",
            hint="correct the time (at); --as-found records that they left unsealed",
        )


def _some(serials: Sequence[str]) -> str:
    return ", ".join(serials[:_SHOWN]) + (f" and {len(serials) - _SHOWN:,} more" if len(serials) > _SHOWN else "")


def _beside(file: str, parsed: Declaration, allowed: AllowedSigners) -> tuple[list[TrustedSeal], str]:
    """Seals that hold: the one that the note names, and those in the folder; why one that is noted cannot be read."""
    paths = sorted(glob.glob(os.path.join(glob.escape(os.path.dirname(file)), "*.seal")))[:MAX_SEALS]
    noted = None
    with contextlib.suppress(SealiftError):
        noted = _NOTE.match(read_limited(note_path(file), _MAX_NOTE, "note of the seal"))
    paths += [os.fsdecode(noted[1])] if noted else []
    found, unread = [], ""
    for path in paths:
        try:
            found.append(open_seal(load_seal(path), allowed))
        except SealiftError as error:
            unread = f"it is noted as sealed, and the seal could not be looked at: {error}" if noted else ""
    return [each for each in found if each.seal.consignment_id == parsed.consignment_id], unread


def _is_origin(file: str) -> bool:
    """Records that a release binds lie beside the declaration: this is where it was released."""
    stem = glob.escape(file.removesuffix(".toml"))
    return any(glob.glob(f"{stem}.{kind}*.json") for kind in ("screening", "keys"))
