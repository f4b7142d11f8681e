"""What lies on the drives of a group, held against the journal before a byte is written: nothing signed is replaced.

    signed here         a drive with another manifest than was signed here is named, and one that was replaced
    signed there only   on all drives, of just the packs that the journal knows, or of any where it knows none: taken
                        over as it is, where this packing's own key signed it and it is of this very source
    otherwise           a manifest that this journal did not make, or a seal: refused; so are stripes that a later
                        run committed, which the state was put back from before

A crash leaves up to one stripe more on the drives than the journal knows, and, while a group is closed, manifests on
some of them. These are made anew: the journal noted each before it went to a drive; where the journal was lost, too,
the copies of it that go last, from drives that all have the manifest, are still beside it. What a later run committed
is told by the journal's copies on the drives (copies.py), or, where there are none, by its packs.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from blake3 import blake3

from sealift.drives.base import PART, reason
from sealift.errors import BadInput, DriveFault, FormatError, Refused, SignatureInvalid
from sealift.formats import manifest, paged, sshsig
from sealift.stages.lacking import is_emptied, lacking
from sealift.stages.pack import fleet as fleets
from sealift.stages.pack import settle
from sealift.stages.pack.copies import SETTINGS, stripe_name
from sealift.stages.pack.crew import FAULTS
from sealift.stages.pack.durable import sync
from sealift.stages.pack.hashes import StripeHashes
from sealift.stages.pack.journal_rows import Lacks, Medium
from sealift.stages.pack.presence import pack_lengths
from sealift.trade.signing import read_limited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from sealift.drives.base import Drive, Entry
    from sealift.formats.manifest import Manifest
    from sealift.formats.sshsig import PublicKey
    from sealift.stages.pack.fleet import Attached
    from sealift.stages.pack.journal import Journal
    from sealift.stages.pack.settle import Config
    from sealift.stages.pack.work import Work

T = TypeVar("T")

_NOTHING = "nothing is on it"
_MAX_SIGNATURE = 1 << 20
_PIECE = 1 << 20
_FEW = 100_000  # entries
_BACK = "put the newer state folder back"


def load_manifest(state: str, group: int, shipment: str | None = None) -> tuple[Manifest, bytes, bytes]:
    """A signed group's manifest, its bytes and its signature, from the state folder.

    BadInput where these are not there, SignatureInvalid unless they hold, Refused where they are of another group, or
    shipment where that is given: drives are measured by them.
    """
    folder = closed_folder(state, group)
    text = f"the state folder has not what group {group} was signed with: {folder}"
    hint = (
        f"its drives are untouched. copy {manifest.MANIFEST} and {manifest.SIGNATURE} from sealift/ of one of them to "
        "there, once `sealift verify` says that they hold"
    )
    try:
        data = read_limited(os.path.join(folder, manifest.MANIFEST), manifest.MAX_MANIFEST, "manifest")
        signature = read_limited(os.path.join(folder, manifest.SIGNATURE), _MAX_SIGNATURE, "signature")
        record = manifest.decode_manifest(data)
    except (BadInput, FormatError) as error:
        raise BadInput(f"{text}: {error}", hint=hint) from error
    try:
        sshsig.verify(data, signature, manifest.NAMESPACE)
    except (SignatureInvalid, FormatError) as error:
        raise SignatureInvalid(f"{text}: {error}", hint=hint) from error
    if record.group != group or shipment not in {None, record.shipment}:
        raise Refused(
            f"the state folder is not as it was: what lies in {folder} is another group's manifest, of group "
            f"{record.group} of shipment {record.shipment}; nothing was written",
            hint="its drives are untouched, and are not to be changed. put the folders beneath "
            f"{os.path.dirname(os.path.dirname(folder))} back in their places; or the same `sealift pack` command with "
            f"another, empty --state and --shipment {shipment or record.shipment} takes over what is signed on them",
        )
    return record, data, signature


def manifest_here(work: Work, group: int) -> tuple[Manifest, bytes, bytes]:
    """As `load_manifest`, of the shipment that is packed."""
    return load_manifest(work.options.state, group, work.config.shipment)


def closed_folder(state: str, group: int) -> str:
    """Where a state folder keeps what a group was closed with."""
    return os.path.join(state, "groups", f"{group:04d}", "closed")


def is_as_signed(path: str, reference: manifest.FileRef) -> bool:
    """Whether a file of this host is there, and is the one that was signed: it is read to its end."""
    try:
        if os.path.getsize(path) != reference.bytes:
            return False
        with open(path, "rb") as file:
            hasher = blake3()
            while piece := file.read(_PIECE):
                hasher.update(piece)
    except OSError:
        return False
    return hasher.hexdigest() == reference.blake3


def check_signed(work: Work, group: int) -> None:
    """Refused where a drive of a group that is signed here bears another manifest; a notice where it bears none.

    BadInput where another drive of the shipment, or one that was replaced, is given in place of the one that has the
    slot. Packs are looked for when everything else is done (signed.py).
    """
    record, data, _ = manifest_here(work, group)
    bare, others = [], list[BadInput | Refused]()
    for slot, each in enumerate(work.deal.slots(group)):
        if each is None:
            continue
        _check_not_replaced(work, each)
        try:
            _check_is_itself(work, each, group, slot)
            there = fleets.manifest_of(each)
            if there not in {None, data}:
                raise _of_another_manifest(work, each, group)
        except (BadInput, Refused) as error:  # it is another one, or counts for nothing until it is repaired
            why = str(error).removeprefix(f"{each.mount}: ").removesuffix("; nothing was written")
            stripes = list(range(record.geometry.stripes))
            work.journal.note_lacks(group, Lacks(slot, each.serial, each.mount, stripes, why))
            others.append(error)
        except FAULTS as error:
            work.events.notice(f"{error}. group {group} is signed; `sealift verify` says what its drives hold")
        else:
            if there is None and not is_emptied(each.drive):  # one that is, is told where its packs are looked for
                bare.append(each)
    if others:
        told = "; ".join(str(error).removesuffix("; nothing was written") for error in others)
        raise type(others[0])(f"{told}; nothing was written", hint=others[0].hint)
    for each in bare:
        what = f"drive {each.serial} of group {group}, which is signed, has no {manifest.MANIFEST}"
        how = f"{closed_folder(work.options.state, group)} has it, and with all drives of the group here it is written"
        work.events.notice(f"{each.mount}: {what}. {how} again")


def _of_another_manifest(work: Work, each: Attached, group: int) -> Refused:
    return Refused(
        f"{each.mount}: drive {each.serial} bears another manifest than the one with which group {group} was "
        "signed in this state folder: damaged, or of another packing; nothing was written",
        hint="where it is damaged, `sealift repair` with all mounts of the group takes it from another drive; "
        f"where it is on all of them, copy {manifest.MANIFEST} and {manifest.SIGNATURE} from "
        f"{closed_folder(work.options.state, group)} into {manifest.ROOT}/ on one of them first. if it is "
        "of another packing (`sealift verify` says so), seal from that one's state folder",
    )


def _check_is_itself(work: Work, each: Attached, group: int, slot: int) -> None:
    """BadInput where a drive says that it is another of the shipment."""
    if (card := _claim(work, each)) is not None:
        fleets.check_place(each, card, group, slot, signed=work.journal.group(group).state == "signed")


def _check_not_replaced(work: Work, each: Attached) -> None:
    """BadInput where a drive was replaced by the one it is given as: of that one, which is away, nothing is known."""
    replaced, card = settle.replaced(work.journal), _claim(work, each)
    if (
        card is not None
        and card.serial != each.serial
        and replaced.get(card.serial) is not None
        and settle.successor(replaced, card.serial) == each.serial
    ):
        raise BadInput(
            f"{each.mount}: says that it is drive {card.serial}, which was replaced by {each.serial}, and that one is "
            "not here; nothing was written",
            hint=f"attach drive {each.serial} in its place; what was replaced does not leave",
        )


def _claim(work: Work, each: Attached) -> manifest.DriveCard | None:
    """drive.json of a drive of this shipment; None of another one, and where nothing is to be had."""
    try:
        data = each.drive.read_small(manifest.CARD, manifest.MAX_CARD) if each.drive.exists() else None
        card = None if data is None else manifest.decode_card(data)
    except FAULTS:
        return None  # told where it is looked at for what it holds
    return card if card is not None and card.shipment == work.config.shipment else None


def signed_there(work: Work, group: int) -> bool:
    """Whether a group that this journal does not know as signed is, on all of its drives, and is to be taken over.

    Refused where another key signed it, or where only some of the drives bear it as it was signed, and nothing of it is
    known here.
    """
    journal, config = work.journal, work.config
    drives, known = work.deal.slots(group), journal.group(group)
    if known.state == "signed":
        return False
    again = work.options.away is not None  # signed on another host meanwhile: this one's journal may know a part
    begun = known.stripes or journal.owed(group)
    there = [None if each is None else _signed_on(each, config.shipment, group) for each in drives]
    whole = [each for each in there if each is not None and each.key is not None]
    if not whole or any(each is None for each in there):
        return False
    data, key, _ = whole[0]
    if len(whole) < len(drives) or any(each.data != data for each in whole):
        if not begun:
            raise _not_as_it_is(work, group, there, data)
        return False
    if begun and not again and not _is_whole(manifest.decode_manifest(data), journal, config, drives):
        return False
    if key != work.signer.public_key:
        raise Refused(
            f"group {group} is signed on its drives, and not by the key of --sign-with: it is of another packing, and "
            "says nothing of this source. nothing was written",
            hint="sign with the key that signed it, or give the state folder of the packing that did; if it is none of "
            "yours, attach other drives",
        )
    return True


class _Signed(NamedTuple):
    """A manifest as a drive bears it, and the key that signed it: None where it does not hold, and why not."""

    data: bytes
    key: PublicKey | None
    why: str = ""


def _signed_on(each: Attached, shipment: str, group: int) -> _Signed:
    """What a drive bears as the manifest of this group."""
    if is_emptied(each.drive):
        return _Signed(b"", None, _NOTHING)
    try:
        data = fleets.manifest_of(each)
        if data is None:
            return _Signed(b"", None, f"it has no {manifest.MANIFEST}")
        record = manifest.decode_manifest(data)
        if (record.shipment, record.group) != (shipment, group):
            return _Signed(data, None, f"its {manifest.MANIFEST} is of group {record.group} of {record.shipment}")
        signature = each.drive.read_small(manifest.SIGNATURE, _MAX_SIGNATURE)
        if signature is None:
            return _Signed(data, None, f"it has no {manifest.SIGNATURE}")
        return _Signed(data, sshsig.verify(data, signature, manifest.NAMESPACE))
    except (SignatureInvalid, FormatError) as error:
        return _Signed(b"", None, f"its {manifest.MANIFEST} is damaged, or its signature: {error}")
    except DriveFault as error:
        return _Signed(b"", None, reason(error, each.mount))


def _not_as_it_is(work: Work, group: int, there: Sequence[_Signed | None], data: bytes) -> Refused:
    """What to raise where some drives bear a signed group, and others keep it from being taken over."""
    empty, serials = [], {row.slot: row.serial for row in manifest.decode_manifest(data).drives}
    told, others = [], 0
    for slot, (each, one) in enumerate(zip(work.deal.slots(group), there, strict=True)):
        if each is None or one is None or (one.key is not None and one.data == data):
            continue
        is_empty = one.why == _NOTHING
        others += not is_empty
        if is_empty:
            empty.append(each)
        why = one.why or f"its {manifest.MANIFEST} is another one than theirs, and signed, too"
        told.append(f"drive {manifest.drive_id(group, slot)} (serial {each.serial}, {each.mount}): {why}")
    how = "`sealift repair` with all mounts of the group mends what a drive lacks"
    if empty:
        onto = " ".join(f"--onto {each.mount}" for each in empty)
        how = f"`sealift repair` of the others with `{onto}` makes {'it' if len(empty) == 1 else 'them'} anew"
        how += ", and mends what another lacks" * bool(others)
    new = any(each.serial not in serials.values() for each in empty)
    return Refused(
        f"group {group} is signed on its drives, and is taken over only as all of them have it: {'; '.join(told)}. "
        "nothing was written",
        hint=f"{how}; then run the same command again" + f". in place of a dead one: {fleets.MADE_ANEW}" * new,
    )


def adopt(work: Work, group: int) -> None:
    """Take a group that is `signed_there` for what it is; Refused where it is not of the source as it was scanned."""
    state = work.options.state
    (first, *_) = work.deal.drives(group)
    data = fleets.manifest_of(first)
    record = manifest.decode_manifest(data or b"")
    if record.scan != work.summary.digest:
        if settle.load(work.journal) is None:  # looked at again, by the same command
            shutil.rmtree(work.scan_folder, ignore_errors=True)
        raise Refused(
            f"group {group} is signed on its drives, and was packed from something else than "
            f"{os.fsdecode(work.source.name)} as it is now. nothing was written",
            hint="give the source as it was when it was packed, or the state folder of the packing that signed it; "
            "what is to be packed anew gets other drives and a new --state, without --shipment",
        )
    closed = closed_folder(state, group)
    os.makedirs(os.path.join(closed, "index"), exist_ok=True)
    for name in (manifest.MANIFEST, manifest.SIGNATURE, manifest.MEMBERS_INDEX, manifest.PACKS_INDEX):
        _keep(first.drive, name, closed)
    with suppress(*FAULTS):  # it tells which packs there should be, when the drives that are here do not
        _keep(first.drive, manifest.PACKS, closed)
    sync(os.path.join(closed, "index"), closed, os.path.dirname(closed))
    work.journal.set_state(group, "signed")


def _keep(drive: Drive, name: str, folder: str) -> None:
    with drive.open_read(name) as source, open(os.path.join(folder, name), "wb") as target:
        target.writelines(source.read_at(offset, 1 << 20) for offset in range(0, source.length, 1 << 20))
        target.flush()
        os.fsync(target.fileno())


def _is_whole(record: Manifest, journal: Journal, config: Config, drives: Sequence[Attached | None]) -> bool:
    """Whether a group was closed to the end with just the packs and drives that the journal has.

    The copies of the journal go last: where one is left, closing was interrupted, and is done again.
    """
    serials = [place.serial for place in config.groups[record.group]]
    if journal.owed(record.group) or [row.serial for row in record.drives] != serials:
        return False
    try:
        if any(each is not None and each.drive.size(SETTINGS) is not None for each in drives):
            return False
    except FAULTS:
        return False
    return record.packs.root == _packs_root(journal, record.group, record.n, journal.group(record.group).stripes)


def check_unsigned(work: Work, group: int, fresh: AbstractSet[int]) -> None:
    """Refused where a drive of a group that is to be packed on bears what this journal does not know.

    `fresh`: slots that get another drive now. A drive that fails is told of when it is written.
    """
    for slot, each in enumerate(work.deal.slots(group)):
        if each is not None:
            try:
                _check_drive(work, group, slot, each, fresh)
            except FAULTS:
                continue


def _check_drive(work: Work, group: int, slot: int, each: Attached, fresh: AbstractSet[int]) -> None:
    drive, journal = each.drive, work.journal
    try:
        data = drive.read_small(manifest.CARD, manifest.MAX_CARD) if drive.exists() else None
        card = None if data is None else manifest.decode_card(data)
    except FormatError:
        card = None
    if card is None and (slot in fresh or not journal.group(group).stripes):
        return  # told by check_contents
    if card is not None and card.shipment != work.config.shipment:
        return
    there = fleets.manifest_of(each)
    if there is not None and not _is_ours(there, work, group, drive):
        raise _refused(work, group, slot, each, "bears a signed manifest that this state folder does not know")
    if any(drive.size(name) is not None for name in manifest.SEAL_FILES):
        raise _refused(work, group, slot, each, "bears a seal, and this state folder says that its group is not signed")
    if slot in fresh or slot in journal.owed(group):
        return  # what was on it before it was set aside counts for nothing
    stripes = journal.group(group).stripes
    if work.options.discard_group and not stripes:
        return  # it is given up (check_contents)
    if work.copies.enabled:
        ahead, name = stripes + 1, stripe_name(stripes + 1)
    else:
        ahead, n = max(stripes + 1, journal.reached(group) + 1), len(work.deal.groups[group])
        name = manifest.pack_name(ahead, manifest.role_of(ahead, slot, n), work.data)
    if drive.size(name) is not None:
        raise Refused(
            f"{each.mount}: drive {manifest.drive_id(group, slot)} (serial {each.serial}) has stripe {ahead} of group "
            f"{group}, and this state folder knows {stripes} stripes: it is older than the drives. nothing was written",
            hint=f"{_BACK}. if it is lost, "
            + (
                "the same command with an empty --state goes on from the copies of its journal that are on the drives"
                if work.copies.enabled
                else "pack the group anew: an empty --state, and --discard-group"
            ),
        )


def _refused(work: Work, group: int, slot: int, each: Attached, what: str) -> Refused:
    return Refused(
        f"{each.mount}: drive {manifest.drive_id(group, slot)} (serial {each.serial}) {what}: the state folder is "
        "older than the drives, or another one. nothing was written, and what is signed is never replaced",
        hint=f"{_BACK}; if it is lost, attach all drives of the group and run the same command with an empty --state "
        f"and --shipment {work.config.shipment}: groups that are signed on their drives are taken over as they are (a "
        f"drive that lacks its manifest gets it by `sealift repair` of all of them). before that, {fleets.MADE_ANEW}",
    )


def _is_ours(data: bytes, work: Work, group: int, drive: Drive) -> bool:
    """Whether a manifest was made from this journal, and closing was interrupted before it was on all drives.

    It was noted before; or, where the journal was brought back from its copies, it is of the very packs that it knows,
    and the copies are still beside it: they go only when every drive has the manifest. Then it may be sealed by now.
    """
    journal = work.journal
    if journal.published(group, blake3(data).hexdigest()):
        return True
    if not work.copies.enabled or drive.size(SETTINGS) is None:
        return False
    try:
        record = manifest.decode_manifest(data)
    except FormatError:
        return False
    if (record.shipment, record.group) != (work.config.shipment, group):
        return False
    stripes = journal.group(group).stripes
    return stripes > 0 and record.packs.root == _packs_root(journal, group, len(work.deal.groups[group]), stripes)


def check_contents(work: Work, group: int, new: Mapping[int, str]) -> None:
    """BadInput where a drive of a group holds what is not ours, or where drives hold nothing, and should.

    One of a group that has begun may also fail to answer. `new`: by slot of a new drive, serial of the one before it.
    """
    slots = work.deal.slots(group)
    emptied = [
        each
        for slot, each in enumerate(slots)
        if each is not None and _is_emptied(work, group, slot, each, new.get(slot))
    ]
    fleets.check_emptied(emptied)


def _is_emptied(work: Work, group: int, slot: int, each: Attached, old: str | None) -> bool:
    """Whether a drive holds nothing, and should, and is not set aside yet. BadInput as check_contents.

    `old`: serial of the drive in whose place this one is new; None where it is not.
    """
    journal, notice, fresh = work.journal, work.events.notice, old is not None
    owed = journal.owed(group).get(slot)
    try:
        if work.options.discard_group and not (fresh or journal.group(group).stripes) and fleets.is_discarded(each):
            work.given_up.append(each)
            return False
        if not fleets.check_contents(each, work.config.shipment, group, slot):
            if fresh or journal.group(group).state == "waiting":
                raise fleets.nameless(each, group, slot, old)
            _know_by_packs(work, group, slot, each)
            return False
        if not fresh:
            _check_is_itself(work, each, group, slot)
        begun = owed.kind != "new" if owed else journal.group(group).stripes > 0
        if begun and not fresh and each.drive.size(manifest.CARD) is None:
            if owed is None:
                return True
            empty = f"{each.mount}: nothing of drive {each.serial} is here (not mounted, or emptied)"
            notice(f"{empty}; it stays set aside. {fleets.fill_anew([each])}")
            work.deal.emptied[each.serial] = work.deal.attached.pop(each.serial)
    except DriveFault as error:
        if journal.group(group).state == "waiting" or old not in {None, each.serial}:
            raise  # a new drive that fails before it has its place does not get it
        work.leave(group, slot, error)
    return False


def _know_by_packs(work: Work, group: int, slot: int, each: Attached) -> None:
    """A drive whose drive.json is gone or spoilt is taken for itself by its packs, which get that file again.

    So is one of a group of which nothing is committed, if nothing whole is on it. One that has not all of the packs
    that are counted on is set aside, and only read: nothing is written over what may be somebody else's.
    """
    journal, n, owed = work.journal, len(work.deal.groups[group]), work.journal.owed(group).get(slot)
    lengths = pack_lengths(journal, group, n)[slot][: owed.since if owed else None]
    begun = journal.group(group).stripes > 0
    try:
        each.drive.size(manifest.CARD)  # FormatError: no file
        found = lacking(each.drive, slot, n, work.data, lengths) if begun else None
        missing = found.text if found else _unlike(work, group, slot, each, lengths)
        if not begun and all(_is_unfinished(entry) for entry in each.drive.walk(_FEW)):
            missing = ""
        if missing:
            raise DriveFault(f"{each.mount}: its {manifest.CARD} cannot be read, and {missing}", drive=each.mount)
    except FAULTS as error:
        work.leave(group, slot, error, readable=True)
        work.events.notice(
            f"{each.mount}: if that is drive {each.serial} all the same, it is filled anew with --replace "
            f"{each.serial}={each.mount}, once what is in its sealift/ was moved away"
        )
        return
    if all(known.serial != each.serial for known in journal.doubted(group)):  # a run that did not get on counted it
        journal.note_small(group, slot, Medium(each.serial, each.mount))
    text = (
        f"drive {manifest.drive_id(group, slot)} (serial {each.serial}, {each.mount}): {manifest.CARD} is not as it was"
    )
    why = "all its packs are there" if begun else "nothing is committed yet"
    then = f"written; {why}, so it gets that file again when packing goes on"
    work.tell("fault", f"{text} {then}", group, slot, each.mount)


def _is_unfinished(entry: Entry) -> bool:
    """Whether this is what packing leaves on a drive before its first stripe is whole: of no worth to anybody."""
    whole = entry.name.removesuffix(PART.encode())
    if entry.kind == "file" and whole not in {manifest.CARD.encode(), SETTINGS.encode()}:
        return entry.name != whole and manifest.PACK_ENTRY.fullmatch(whole) is not None
    return entry.kind in {"file", "folder"}


def may_go_on(work: Work, group: int) -> bool:
    """Whether a group is packed on with the drives that are here: all, or, once it has begun, all but m.

    A group of which nothing is committed waits for all of its drives, and so does one of which none is here; and on a
    cluster, where another host may have the others.
    """
    deal = work.deal
    if not deal.missing(group):
        return True
    begun = work.journal.group(group).stripes > 0 and work.options.away is None
    return begun and bool(deal.drives(group)) and len(deal.away(group)) <= work.config.parity


def set_aside_absent(work: Work, group: int) -> None:
    """Drives of a group that goes on and that are not here are owed from now on."""
    missing = {place.serial for place in work.deal.missing(group)}
    for slot, place in enumerate(work.deal.groups[group]):
        if place.serial in missing:
            work.leave(group, slot, "it is not here")


def on_drives(
    work: Work, group: int, record: Manifest, look: Callable[[Attached, int], T]
) -> list[tuple[Attached, int, T]]:
    """What `look` says of each drive of a signed group that is attached, by its slot in the manifest; all at once."""
    slots = {row.serial: row.slot for row in record.drives}
    here = [(each, slots[each.serial]) for each in work.deal.drives(group) if each.serial in slots]
    with ThreadPoolExecutor(max_workers=min(32, len(here) or 1)) as pool:
        said = list(pool.map(lambda which: look(*which), here))
    return [(each, slot, one) for (each, slot), one in zip(here, said, strict=True)]


def _unlike(work: Work, group: int, slot: int, each: Attached, lengths: Sequence[int]) -> str:
    """Why its packs do not tell that a drive is itself, or nothing: names and lengths are those of any full pack.

    The first block of its first and last one is held against what was written. FAULTS.
    """
    there = [stripe for stripe, length in enumerate(lengths) if length]
    if not there:
        return "no packs are counted on that would tell which it is"
    n, folder = len(work.deal.groups[group]), os.path.join(work.options.state, "groups", f"{group:04d}")
    for stripe in {there[0], there[-1]}:
        role = manifest.role_of(stripe, slot, n)
        hashes = StripeHashes(folder, stripe, work.journal.stripe(group, stripe))
        with each.drive.open_read(manifest.pack_name(stripe, role, work.data)) as file:
            block = file.read_at(0, min(manifest.BLOCK, lengths[stripe]))
        if blake3(block).digest() == hashes(role, 0, 1):
            return ""
    return "its first and its last pack begin otherwise than they were written"


def _packs_root(journal: Journal, group: int, n: int, stripes: int) -> str | None:
    """The root that packs.bin has of what the journal knows: a manifest that bears it is of these packs, no others."""
    first = 0

    def records() -> Iterator[bytes]:
        nonlocal first
        for row in journal.packs(group):
            yield manifest.PACK.pack(row.length, first, row.header, row.blake3)
            first += row.blocks

    try:
        return paged.write(manifest.PACKS_MAGIC, manifest.PACK.size, stripes * n, records(), lambda _data: None).hex()
    except ValueError:  # fewer packs than stripes have: no manifest is of these
        return None
