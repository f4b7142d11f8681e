"""Copies of the journal on the drives of an unfinished group, so that a lost state folder costs nothing.

    journal.age            settings of the packing and the digest of its scan
    journal-0000012.age    what the journal learnt when stripe 12 was committed

Written to every drive of the group after its packs are durable, in age for the shipment's recipients and for the
key that signs, because the origin holds no other: with that key, the same command on an empty state folder and the
same source finds its way back. They hold names of the source, so never in the clear; they go when the group is
signed. A signing key that is no plain Ed25519 file (an agent, a token) cannot decrypt: then there are no copies.

Where the shipment's recipients are post-quantum, a copy is for no X25519 or SSH key: the signing key's seed gives a
hybrid identity then, which opens the copies (docs/adr/0011).
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Protocol

import msgspec

from sealift.errors import DriveFault, FormatError, IdentityMismatch
from sealift.formats import age, age_header, age_keys, manifest, typed
from sealift.stages.pack.crew import FAULTS
from sealift.stages.pack.durable import make_folders
from sealift.stages.pack.journal_rows import Owed, PackRow  # noqa: TC001 -- msgspec reads the annotations
from sealift.stages.pack.queue import Cursor  # noqa: TC001
from sealift.stages.pack.units import Ended  # noqa: TC001

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealift.drives.base import Drive
    from sealift.stages.pack.crew import Crew
    from sealift.stages.pack.fleet import Attached
    from sealift.stages.pack.journal import Journal
    from sealift.trade.signing import Signer

SETTINGS = "journal.age"
RESTORED = "restored"  # of the journal: all that it knows is from copies, and the source was not looked at since
HYBRID_INFO = b"sealift journal copies, mlkem768x25519"
MAX_SETTINGS, MAX_STRIPE = 16 << 20, 1 << 30


class Settings(msgspec.Struct, array_like=True):
    """What a packing is: its configuration as the journal has it, and the digest of its scan."""

    config: bytes
    scan: str


class StripeCopy(msgspec.Struct, array_like=True):
    """What a commit tells the journal."""

    stripe: int
    cursor: Cursor
    packs: list[PackRow]
    ended: list[Ended]
    seconds: float
    rows: bytes
    blocks: bytes
    files_end: int | None
    owed: list[Owed] = []  # drives that lack something, when this stripe was committed


def stripe_name(stripe: int) -> str:
    """The file of one stripe, beneath sealift/."""
    return f"journal-{stripe:07d}.age"


class CopyIdentity(age.Identity, Protocol):
    """An identity that opens copies; they are made for its `recipient`, too."""

    @property
    def recipient(self) -> age.Recipient:
        """Its public side."""


def identity_of(signer: Signer, recipients: Sequence[age.Recipient]) -> CopyIdentity | None:
    """The signing key as an identity; None where it cannot decrypt."""
    if signer.private_key is None:
        return None
    seed = signer.private_key.private_bytes_raw()
    if any(each.post_quantum for each in recipients):
        # From the seed, not the scalar: the scalar is what a quantum computer gets from the public key.
        return age_keys.HybridIdentity(age.hkdf(seed, b"", HYBRID_INFO))
    return age_keys.SSHIdentity(seed)


class Copies:
    """Writes and reads copies under one signing key; `enabled` is False where the key cannot decrypt.

    `identity` stands for a key that is on another host.
    """

    def __init__(
        self, signer: Signer, recipients: Sequence[age.Recipient], identity: CopyIdentity | None = None
    ) -> None:
        self._identity = identity or identity_of(signer, recipients)
        self.enabled = self._identity is not None
        self._recipients = list(recipients)
        if self._identity is None:
            return
        hybrid = any(each.post_quantum for each in recipients)
        if len(recipients) == (age.MAX_HYBRID if hybrid else age_header.MAX_STANZAS):
            self._recipients.clear()  # a header holds no more of them: the copy is for the signing key alone
        if self._identity.recipient not in self._recipients:
            self._recipients.append(self._identity.recipient)

    def write(self, crew: Crew, stripe: int, name: str, record: Settings | StripeCopy) -> None:
        """The same ciphertext to every drive, durable when this returns; a drive that fails owes `stripe`."""
        if not self.enabled:
            return
        data = age.encrypt(msgspec.msgpack.encode(record), self._recipients)

        def write(slot: int, drive: Drive) -> None:
            with crew.asked(slot):
                drive.write_small(name, data)

        crew.everywhere(stripe, write)

    def forget(self, crew: Crew, first: int, stop: int) -> None:
        """Remove the copies of stripes that are to be packed again, durably, before the journal forgets them."""
        if not self.enabled:
            return
        for slot, drive in enumerate(crew.drives):
            try:
                if drive is not None and slot not in crew.unwritable and drive.exists():
                    for stripe in range(first, stop + 1):  # that of the stripe that a crash kept from the journal, too
                        drive.remove(stripe_name(stripe))
                    drive.sync_folder(stripe_name(first))
            except FAULTS as error:
                crew.fail(slot, first, error)

    def prune(self, drive: Drive, since: int, stripes: int) -> None:
        """Remove the copies that a drive which comes back has of stripes from `since` on, of which `stripes` there are.

        They were written before it was set aside, and some of these stripes were perhaps packed again since. FAULTS.
        """
        if not self.enabled:
            return
        stripe = since
        while (there := drive.size(stripe_name(stripe)) is not None) or stripe < stripes:
            if there:
                drive.remove(stripe_name(stripe))
            stripe += 1
        drive.sync_folder(stripe_name(since))

    def _read(self, drives: Sequence[Drive], name: str, kind: type, limit: int) -> object:
        """From the first drive whose copy opens; None if none does."""
        if self._identity is None:
            return None
        for drive in drives:
            try:
                data = drive.read_small(name, limit)
                if data is not None:
                    return typed.unpack(age.decrypt(data, [self._identity]), kind)
            except (
                IdentityMismatch,
                DriveFault,
                FormatError,
                msgspec.MsgspecError,
                UnicodeDecodeError,
                RecursionError,
            ):
                continue
        return None

    def settings(self, drives: Sequence[Drive]) -> Settings | None:
        """The settings of the unfinished packing on these drives, if there is one under this key."""
        found = self._read(drives, SETTINGS, Settings, MAX_SETTINGS)
        return found if isinstance(found, Settings) else None

    def stripes(self, drives: Sequence[Drive]) -> list[StripeCopy]:
        """Every committed stripe of a group, in order, as far as there is no gap."""
        found: list[StripeCopy] = []
        while isinstance(copy := self._read(drives, stripe_name(len(found)), StripeCopy, MAX_STRIPE), StripeCopy):
            found.append(copy)
        return found


def restore(
    copies: Copies, attached: Sequence[Attached], state: str, journal: Journal, notice: Callable[[str], None]
) -> str | None:
    """Bring back a lost journal from the attached drives; the digest its scan must have, or None."""
    by_group: dict[int, list[Drive]] = {}
    for each in attached:
        with contextlib.suppress(DriveFault, FormatError):
            data = each.drive.read_small(manifest.CARD, manifest.MAX_CARD) if each.drive.exists() else None
            if data is not None and each.drive.size(manifest.MANIFEST) is None:
                by_group.setdefault(manifest.decode_card(data).group, []).append(each.drive)
    settings = copies.settings([drive for drives in by_group.values() for drive in drives])
    if settings is None:
        return None
    journal.set(RESTORED, b"yes")
    for group, drives in by_group.items():
        found = copies.stripes(drives)
        _bring_back(found, state, journal, group)
        notice(
            f"the state folder had no journal; group {group} goes on after stripe {len(found)}, from its drives' copies"
        )
    journal.set("scan", settings.scan.encode())  # what is refused now is refused next time, too
    journal.set("config", settings.config)
    return settings.scan


def catch_up(copies: Copies, attached: Sequence[Attached], state: str, journal: Journal, group: int) -> int:
    """Take from a group's drives what they know and this journal does not: it was packed on elsewhere meanwhile.

    The stripes that are known then; 0 where the journal knew all of them. What it knows is the beginning of that.
    """
    stripes, drives = journal.group(group).stripes, [each.drive for each in attached]

    def has_more(drive: Drive) -> bool:
        with contextlib.suppress(DriveFault, FormatError):
            return drive.exists() and drive.size(stripe_name(stripes)) is not None
        return False

    if not any(map(has_more, drives)):
        return 0
    found = copies.stripes(drives)
    if len(found) <= stripes:
        return 0
    journal.cut_back(group, 0)
    for slot in journal.owed(group):
        journal.restored(group, slot)
    _bring_back(found, state, journal, group)
    return len(found)


def _bring_back(found: Sequence[StripeCopy], state: str, journal: Journal, group: int) -> None:
    """The stripes of a group into a journal that knows none of them."""
    from sealift.stages.pack.group import stripe_file

    folder = make_folders(state, "groups", f"{group:04d}")
    make_folders(folder, "stripes")
    journal.group(group)
    for owed in found[-1].owed if found else []:
        journal.owe(group, owed)
    for copy in found:
        for kind, data in (("rows", copy.rows), ("blocks", copy.blocks)):
            with open(stripe_file(folder, copy.stripe, kind), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        if copy.files_end is not None:
            journal.set_files_end(group, copy.files_end)
        journal.commit(group, copy.stripe, copy.cursor, copy.packs, copy.ended, copy.seconds)
    if found:
        journal.set_state(group, "packing")
