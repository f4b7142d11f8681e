"""What stands before us: mounts in any order become groups with drives in their slots, and problems by name.

What holds of a Survey: every mount was looked at, and whatever was wrong with one is a Problem of its
DriveView, not an exception; all groups are of one shipment, the seal's or --shipment's, else that of most
drives; of several manifests for one group, one is chosen (the seal's, else a signed one, else that of most
drives) and the others are named; drive.json and the manifest beside it are claims, and the packs decide group and
slot where they contradict these (survey_slots.py); a drive with another shipment's manifest is one of these, and
damaged, where drive.json and packs say so.
Only a group whose `trusted` is true has a manifest that is signed by an allowed signer or named by a trusted
seal.

Pages of packs.bin and blocks.bin are read from whichever drive of the group has them whole (SharedPages).
Packs are not read here, except a few blocks to tell the slot; for that see stages/verify.py and
reading/group.py.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from blake3 import blake3

from sealift.drives import locations
from sealift.drives.base import SAFE_READING, reason
from sealift.drives.locations import is_being_copied
from sealift.drives.ranges import RemoteDrive
from sealift.errors import BadInput, DriveFault, FormatError, NotAllHere, SealInvalid, SignatureInvalid
from sealift.formats import manifest as mf
from sealift.formats import sshsig
from sealift.reading import survey_late, survey_mixed, survey_nobodys, survey_slots
from sealift.reading.survey_mixed import mounts, shipments
from sealift.reading.survey_seal import Checker, choose_seal, compare_seals, tell_superseded
from sealift.reading.survey_views import (
    NOT_ITS_PACKS,
    DriveView,
    GroupView,
    Problem,
    ProblemKind,
    SharedPages,
    Standing,
    Survey,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.drives.base import Drive
    from sealift.formats.allowed_signers import AllowedSigners

__all__ = [
    "DriveView",
    "GroupView",
    "Problem",
    "ProblemKind",
    "SharedPages",
    "Standing",
    "Survey",
    "refuse_others",
    "survey",
    "survey_nothing",
    "unused",
]

MAX_MOUNTS = 10_000


def survey(
    places: Sequence[str | Drive],
    *,
    allowed: AllowedSigners | None = None,
    seal: dict[str, bytes] | None = None,
    shipment: str | None = None,
    hurry: bool = False,
) -> Survey:
    """Look at every location (drives.locations: a folder, an address, a locations file) or drive; say what is here.

    `seal` are the five files of a seal that was sent ahead (trust.load_seal); without it, a seal on the
    drives serves when it holds. With `allowed` signatures are checked against it; without, only that they are
    whole. Raises BadInput for a place that is none, NotAllHere where all are in other hosts and none answers, and
    Refused when the seal given does not hold.

    With `hurry`, for whoever reads: hosts that answer late are not waited for where the others have all that is to be
    read (Survey.late; survey_late.py), and where a seal was given, only those on mounted drives are looked at, for
    whether one supersedes it.
    """
    views, notices = _open(places)
    looks = survey_late.begin(views)
    late = survey_late.wait_for_enough(looks) if hurry else []
    if not late:
        faults = [fault for each in looks if (fault := each.look.result()) is not None]
        if len(faults) == len(views) and all(isinstance(view.drive, RemoteDrive) for view in views):
            raise _of_no_answer(faults) from faults[0]
    views = [each.view for each in looks if each not in late]
    found = Survey(shipment, views, [], None, None, None, [], notices, late=late)
    _judged(found, allowed, seal, shipment, hurry=hurry)
    if late and not survey_late.is_enough(found):  # what the others said of themselves does not hold
        return survey(places, allowed=allowed, seal=seal, shipment=shipment)
    return found


def survey_nothing(
    *, allowed: AllowedSigners, seal: dict[str, bytes] | None = None, shipment: str | None = None
) -> Survey:
    """A survey in which no drive is: what others found is joined with it. Refused when the seal does not hold."""
    return _judged(Survey(shipment, [], [], None, None, None, [], []), allowed, seal, shipment)


def _judged(
    found: Survey,
    allowed: AllowedSigners | None,
    seal: dict[str, bytes] | None,
    shipment: str | None,
    *,
    hurry: bool = False,
) -> Survey:
    """Which of the views are drives of the shipment in question, and which."""
    views = found.views
    expected = shipment or _majority(views, Checker(allowed, None))
    copies = choose_seal(found, allowed, seal, expected, hurry=hurry)
    checker = Checker(allowed, found.seal)
    if found.seal is not None and shipment is not None and found.seal.shipment != shipment:
        raise SealInvalid(f"the seal is of shipment {found.seal.shipment}, not of {shipment}")
    found.shipment, found.checked = found.seal.shipment if found.seal else expected, allowed is not None
    _group(found, checker)
    if found.groups:
        found.notices += [
            f"{view.mount}: a copy that is not finished, as the notes of its ingest beside it say: the same `sealift"
            " ingest` goes on"
            for view in found.views
            if view.standing != "empty" and _is_being_copied(view)
        ]
    if hurry and seal is not None:
        tell_superseded(found, copies)
    else:
        compare_seals(found, copies)
    found.unsealed = [view for view in found.unsealed if not view.apart]
    if allowed is not None and found.trusted is not None:
        _check_serials(found)
    found.sealed = {each.shipment for each in copies.good.values()}
    found.rivals = survey_mixed.rivals(found) if seal is None and shipment is None else {}
    return found


def refuse_others(found: Survey) -> None:
    """Raise where every drive here is of another shipment than the one in question, or of a packing that is not done.

    1. Drives are here, and no group of the shipment that the seal (or --shipment) names.
    2. Each of them bears a whole manifest of another shipment: SealInvalid. Nothing is forged where signatures hold;
       the seal is merely not theirs.
    3. Or none of them bears a manifest, as while packing goes on (the last that a closing writes is the manifest, after
       its signature), or when it was lost from all of them, which a seal of their shipment tells: NotAllHere; nothing
       can be checked.
    4. Or the seal is of the shipment that drive.json says, and none bears the manifest that the seal names, nor one
       that is signed: damaged or altered on all of them: SignatureInvalid.

    Anything else (a manifest that nobody signed, a mixture) is for the caller's report to tell.
    """
    drives = [view for view in found.views if view.standing != "empty"]
    if not drives or found.groups:
        return
    if all(view.standing == "foreign" for view in drives):
        raise _of_others(found, drives)
    ours = found.trusted is not None and any(view.card and view.card.shipment == found.shipment for view in drives)
    if any(mf.MANIFEST in view.small for view in drives) or not any(view.card for view in drives):
        if ours and all(view.standing == "unidentified" for view in drives):
            raise _of_lost_manifest(found, drives)
        return
    if all(_is_being_copied(view) for view in drives):
        raise NotAllHere(
            f"{mounts(drives)}: copies that are not finished, as the notes of their ingest beside them say; nothing"
            " could be checked",
            hint="the same `sealift ingest MNT... --packs` goes on; each copy gets its manifest last",
        )
    if ours:
        raise _of_lost_manifest(found, drives)
    of = f"; drive.json says that they are of {shipments({view.card.shipment for view in drives if view.card})}"
    if found.seal is not None and all(view.card is None or view.card.shipment != found.shipment for view in drives):
        of += f", and the seal is of shipment {found.seal.shipment}"
    raise NotAllHere(
        f"there is no manifest on {mounts(drives)}: their packing was not finished, or it is gone; nothing could be"
        f" checked{of}",
        hint="at the origin, `sealift pack` again finishes them; here, mount the other drives of their group",
    )


def _is_being_copied(view: DriveView) -> bool:
    return view.card is not None and mf.MANIFEST not in view.small and is_being_copied(view.drive, view.card.shipment)


def _of_lost_manifest(found: Survey, drives: Sequence[DriveView]) -> NotAllHere | SignatureInvalid:
    """Nobody seals what was not packed to its end: each of these drives bore its manifest, and has lost it."""
    groups = sorted({view.card.group for view in drives if view.card and view.card.shipment == found.shipment})
    here = {view.card.id for view in drives if view.card}
    others = [drive.id for group in found.absent if group.group in groups for drive in group.drives]
    where = ", ".join(f"groups/{group:04d}/closed/" for group in groups[:5])
    first = "mount the other drives of the group; or " if set(others) - here else ""
    hint = (
        f"{first}put {mf.MANIFEST} and {mf.SIGNATURE} (and {mf.PACKS} and {mf.BLOCKS}, where they are gone, too) as the"
        f" origin keeps them in its state folder ({where}) into sealift/ on one of the drives of each group; then"
        " `sealift repair MNT...` proves them and puts them on the others"
    )
    each, they, are = ("", "it", "is") if len(drives) == 1 else ("each of ", "they", "are")
    if any(mf.MANIFEST in view.small for view in drives):
        return SignatureInvalid(
            f"{mf.MANIFEST} on {mounts(drives)} is not the one that the seal names, and nobody signed it: damaged, or"
            f" altered. by drive.json {they} {are} of shipment {found.shipment}; nothing could be checked",
            hint=hint,
        )
    return NotAllHere(
        f"{mf.MANIFEST} is gone from {each}{mounts(drives)}: {they} {are} of shipment {found.shipment}, and that was"
        f" sealed, so that {they} bore it; nothing could be checked",
        hint=hint,
    )


def unused(found: Survey) -> list[tuple[str, str]]:
    """Mounts that give nothing to the shipment, and why: no drive, another shipment's, or not to be placed."""
    return [(view.mount, _why(view)) for view in _unused(found)]


def unreached(found: Survey) -> list[tuple[str, str]]:
    """Those of `unused` of which nothing is known, since their hosts, or the way there, did not give it."""
    return [
        (view.mount, _why(view)) for view in _unused(found) if view.problems and view.problems[0].kind == "unreached"
    ]


def _unused(found: Survey) -> list[DriveView]:
    used = {id(view) for group in found.groups if group.trusted for views in group.copies.values() for view in views}
    return [view for view in found.views if id(view) not in used]


def _why(view: DriveView) -> str:
    if view.problems:
        return reason(view.problems[0].detail, view.mount)
    return "its group's manifest is not signed by an allowed signer"


def _of_others(found: Survey, drives: Sequence[DriveView]) -> SealInvalid:
    names = {view.manifest.shipment for view in drives if view.manifest is not None}
    if all(view.signed for view in drives):
        said = f"are of {shipments(names)}, and their signatures hold"
    elif not found.checked:
        said = f"say that they are of {shipments(names)} (no allowed signers were given, to check it)"
    else:
        said = f"say that they are of {shipments(names)}, which nobody whose signature counts here has signed"
    by_seal = found.seal is not None
    what = "the seal is of" if by_seal else "--shipment asks for"
    give = f"the seal of {shipments(names)}" if by_seal else f"--shipment {' or '.join(sorted(names))}"
    return SealInvalid(
        f"the drives here ({mounts(drives)}) {said}; {what} shipment {found.shipment}",
        hint=f"give {give}, or mount the drives of shipment {found.shipment}",
    )


def _of_no_answer(faults: Sequence[DriveFault]) -> NotAllHere:
    """That none of the locations gives anything, and why each does not, as far as they can be shown."""
    safe = f"; {SAFE_READING}"
    told = [str(fault).removesuffix(safe) for fault in faults[:5]]
    more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
    what = "" if len(faults) == 1 else f"none of {len(faults)} locations gives anything: "
    return NotAllHere(f"{what}{'; '.join(told)}{more}{safe}", hint=faults[0].hint)


def _open(places: Sequence[str | Drive]) -> tuple[list[DriveView], list[str]]:
    """Views of the places, one folder given twice only once."""
    if not places:
        raise BadInput("no mount given", hint="give the folders where drives are mounted")
    if len(places) > MAX_MOUNTS:
        raise BadInput(f"{len(places)} mounts; at most {MAX_MOUNTS} are allowed")
    views, notices, seen = [], [], dict[object, str]()
    for place in places:
        if not isinstance(place, str):
            views.append(DriveView(place.mount, place))
            continue
        drives, told = locations.open_drives(place)
        notices += told
        for drive in drives:
            key = locations.place_of(drive)
            if key in seen:
                notices.append(f"{drive.mount} is the same place as {seen[key]}; it is read once")
                continue
            seen[key] = drive.mount
            views.append(DriveView(drive.mount, drive))
    if len(views) > MAX_MOUNTS:
        raise BadInput(f"{len(views)} drives; at most {MAX_MOUNTS} are allowed")
    return views, notices


def _majority(views: Sequence[DriveView], checker: Checker) -> str | None:
    """The shipment of most drives; those with a signature that holds outvote all others."""
    for signed in (True, False):
        voters = [view for view in views if view.manifest and checker.own(view)[0] == signed]
        votes = Counter(view.manifest.shipment for view in voters if view.manifest)
        sure = Counter(view.card.shipment for view in voters if view.card)  # of equal ones, that of more drive.json
        if votes:
            return max(votes, key=lambda each: (votes[each], sure[each]))
    return next((view.card.shipment for view in views if view.card), None)


def _group(found: Survey, checker: Checker) -> None:
    """Choose a manifest for each group, and put every drive into its group and slot."""
    sealed = {} if found.seal is None else {each.group: each.manifest.blake3 for each in found.seal.groups}
    candidates: dict[int, dict[str, list[DriveView]]] = {}
    for view in found.views:
        manifest = view.manifest
        if manifest is None:
            continue
        view.signed = found.checked and checker.own(view)[0]
        if manifest.shipment != found.shipment:
            if checker.whole(view):
                view.standing = "foreign"  # unless its packs say otherwise (_take_back)
            continue
        digest = blake3(view.small[mf.MANIFEST]).hexdigest()
        candidates.setdefault(manifest.group, {}).setdefault(digest, []).append(view)
    for number, by_digest in sorted(candidates.items()):
        ranks = {digest: _rank(views, sealed.get(number) == digest, checker) for digest, views in by_digest.items()}
        chosen = max(by_digest, key=lambda digest: (ranks[digest], digest))
        in_seal, signed, _ = ranks[chosen]
        if sealed and not in_seal:
            continue  # none of them is what was sealed: each is named in _note_small_files
        first = by_digest[chosen][0]
        assert first.manifest is not None, "candidates have manifests"
        signers = [checker.own(view)[1] for view in by_digest[chosen] if checker.own(view)[0]]
        found.groups.append(
            GroupView(
                number,
                chosen,
                first.manifest,
                first.small[mf.MANIFEST],
                trusted=(signed and checker.allowed is not None) or (in_seal and found.trusted is not None),
                signer=signers[0] if signers else None,
            )
        )
    _place(found, checker, sealed=bool(sealed))


def _rank(views: list[DriveView], sealed: bool, checker: Checker) -> tuple[bool, bool, int]:
    """How much speaks for a manifest: the seal, a signature, the number of drives that bear it."""
    return sealed, any(checker.own(view)[0] for view in views), len(views)


def _place(found: Survey, checker: Checker, *, sealed: bool) -> None:
    """Put drives with their group's manifest first.

    The pages they share then tell where the others belong, and those whose packs are not of the group whose manifest
    lies beside them.
    """
    by_digest = {group.digest: group for group in found.groups}
    open_cases, others = list[DriveView](), list[DriveView]()
    for view in found.views:
        if view.standing in {"empty", "foreign"}:
            continue
        data = view.small.get(mf.MANIFEST)
        group = by_digest.get(blake3(data).hexdigest()) if data is not None else None
        if group is None:
            open_cases.append(view)
        else:
            view.standing, view.group = "member", group.group
            group.views.append(view)
    for group in found.groups:
        group.__post_init__()  # pages over all copies that are known by now
        far = [view for view in group.views if isinstance(view.drive, RemoteDrive)]
        with ThreadPoolExecutor(max_workers=min(32, len(far) or 1)) as pool:
            places = dict(zip(map(id, far), pool.map(partial(survey_late.find, group), far), strict=True))
        for view in group.views:
            place = places.get(id(view)) or survey_slots.find(
                view.drive, view.card, group.manifest, group.packs, group.blocks
            )
            view.slot = place.slot
            of_another = place.slot is None and view.card is not None and view.card.group != group.group
            if place.strange or of_another:  # with the group's manifest, and not of the group
                others.append(view)
            elif not place.by_packs and (place.unsure or place.blind):  # nor known to be
                open_cases.append(view)
    for view in [*open_cases, *others]:
        group, slot = _group_of(found, view)
        if group is not None or view in others:
            _put(found, view, group, slot)
        if group is None and not view.small and all(each.kind == "missing" for each in view.problems):
            survey_nobodys.note_packs(found, view)
    for view in [view for view in [*open_cases, *others] if view.doubted and _is_another_there(found, view)]:
        _put(found, view, None, None)
    chosen = {group.manifest_bytes: group.group for group in found.groups}
    found.groups = [group for group in found.groups if group.views]
    for view in found.views:
        if view.standing == "foreign":
            _take_back(found, view)
    order = {id(view): index for index, view in enumerate(found.views)}
    for group in found.groups:
        group.views.sort(key=lambda view: order[id(view)])
        group.packs.close()
        group.blocks.close()
        group.__post_init__()
        group.signature = _signature(group, checker)
    for view in found.views:
        if view.standing not in {"empty", "foreign"}:
            _note_small_files(found, view, checker, chosen, sealed=sealed)
            _note_rebuilt(view)
            _note_predecessor(found, view)
    survey_nobodys.note_drives(found)
    for group in found.groups:
        for view in group.views:
            if survey_slots.is_bag(view, group):
                view.bag = True
                view.problems = [each for each in view.problems if each.kind != "missing"]


def _group_of(found: Survey, view: DriveView) -> tuple[GroupView | None, int | None]:
    """Group and slot of a drive with another manifest or none, or with packs of another group: its packs decide.

    Where none of them is known, its other files do: in doubt while they may be packs of another group, one that is not
    here or that nobody can tell, and where they do not read.
    """
    places: dict[int, survey_slots.Place] = {}
    for group in found.groups:
        packs, blocks = group.open_pages(also=view)  # any copy will do, as it is proved
        strict = view.small.get(mf.MANIFEST) != group.manifest_bytes
        place = survey_slots.find(view.drive, view.card, group.manifest, packs, blocks, strict=strict)
        packs.close()
        blocks.close()
        if place.by_packs and not place.strange:
            return group, place.slot
        places[group.group] = place
    claimed = view.card.group if view.card is not None else None
    for group in sorted(found.groups, key=lambda each: (not places[each.group].by_packs, each.group != claimed)):
        place = places[group.group]
        if place.slot is not None:
            others = [each for number, each in places.items() if number != group.group]
            others_may = len(found.groups) < found.groups_total or any(each.unsure or each.by_packs for each in others)
            view.doubted = place.blind or ((place.strange or place.unsure) and others_may)
            return group, place.slot
    return None, None


def _is_another_there(found: Survey, view: DriveView) -> bool:
    """Whether the drive whose slot it claims is here, and is known by more than claims."""
    return any(
        each.slot == view.slot and not each.doubted
        for group in found.groups
        if group.group == view.group
        for each in group.views
        if each is not view
    )


def _put(found: Survey, view: DriveView, group: GroupView | None, slot: int | None) -> None:
    """Into a group, and out of the one whose manifest it bears."""
    for each in found.groups:
        if view in each.views:
            each.views.remove(view)
    view.standing, view.group, view.slot = "unidentified", None, None
    if group is not None:
        view.standing, view.group, view.slot = "member", group.group, slot
        group.views.append(view)


def _take_back(found: Survey, view: DriveView) -> None:
    """A drive with another shipment's manifest is one of ours where drive.json and packs are; else it is foreign."""
    for group in found.groups:
        slot = survey_slots.slot_of_claimed(view.drive, view.card, group.manifest, group.packs, group.blocks)
        if slot is not None:
            _put(found, view, group, slot)
            return
    assert view.manifest is not None, "it bears a manifest"
    view.note(mf.MANIFEST, "foreign", f"a drive of shipment {view.manifest.shipment}")


def _signature(group: GroupView, checker: Checker) -> bytes | None:
    """The first signature on a drive of the group that holds over its manifest."""
    signatures = (view.small.get(mf.SIGNATURE) for view in group.views)
    return next((each for each in signatures if checker(group.manifest_bytes, each)[0]), None)


def _note_small_files(
    found: Survey, view: DriveView, checker: Checker, chosen: dict[bytes, int], *, sealed: bool
) -> None:
    """What is wrong with manifest.json, its signature and drive.json, now that group and slot are known.

    `chosen`: the manifests of the groups, and which groups these are.
    """
    group = next((each for each in found.groups if view in each.views), None)
    data, signature = view.small.get(mf.MANIFEST), view.small.get(mf.SIGNATURE)
    own = checker.own(view)
    stands = group is not None and data == group.manifest_bytes
    others = None if stands or data is None else chosen.get(data)
    replaced = view.manifest is not None and view.manifest.shipment != found.shipment and checker.whole(view)
    if data is not None and not stands:
        if view.manifest is None:
            view.note(mf.MANIFEST, "non-canonical", "does not parse, or is not in canonical form")
        elif replaced or others is not None:
            whose = f"of shipment {view.manifest.shipment}" if others is None else f"of group {others}"
            whose += NOT_ITS_PACKS if group is None else f", and the packs are those of {view.name}"
            view.note(mf.MANIFEST, "rotten", f"it is the manifest {whose}")
            view.note(mf.SIGNATURE, "rotten", f"it is over the manifest {whose}")
        elif not own[0]:
            view.note(mf.MANIFEST, "unsigned", own[2])
        elif sealed:
            view.standing = "member" if group else "replayed"
            view.note(mf.MANIFEST, "replayed", "signed, but not the manifest that the seal names for its group")
        else:
            view.note(mf.MANIFEST, "two-manifests", "signed, but another manifest of this group is on other drives")
    if signature is not None and not own[0] and not replaced and others is None:
        over = group.manifest_bytes if group else data
        holds, _, why = checker(over, signature)
        if not holds and (group is not None or not _parses(signature)):
            view.note(mf.SIGNATURE, "unsigned", why)
    if mf.CARD not in view.small:
        return
    if view.card is None:
        view.note(mf.CARD, "non-canonical", "does not parse, or is not in canonical form")
    elif group is not None and view.slot is not None and not group.manifest.is_card(view.slot, view.card):
        row = group.manifest.drives[view.slot].id
        view.note(mf.CARD, "rotten", f"says {view.card.id}; by the signed table and its packs this is {row}")


def _note_rebuilt(view: DriveView) -> None:
    """Whether the drive was rebuilt, by drive.json, or by rebuilt.json where that says nothing."""
    if view.card is not None and view.card.rebuilt:
        view.rebuilt = view.card.rebuilt
        return
    if isinstance(view.drive, RemoteDrive) or view.group is None:
        return  # `verify` on its own host tells
    try:
        data = view.drive.read_small(mf.REBUILT, mf.MAX_CARD)
        view.rebuilt = None if data is None else mf.decode_rebuilt(data)
    except FormatError:  # it is there, and nobody wrote it but a rebuild
        view.rebuilt = mf.RebuiltNote(at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), serial="")
    except DriveFault:
        return
    if view.rebuilt is not None and view.card is not None:
        view.note(mf.CARD, "rotten", f"{mf.REBUILT} says that this drive was rebuilt, and {mf.CARD} does not")


def _note_predecessor(found: Survey, view: DriveView) -> None:
    """Whether this is the drive that was replaced while packing, by the one that has its slot in the signed table.

    It says so in drive.json, which is the one true thing on it, and then that is all that is said of it. A drive that
    bears what was signed with the other serial number, or tells that one itself, is the signed one: its drive.json is
    only spoilt.
    """
    own = view.card.group if view.card is not None and view.card.shipment == found.shipment else None
    group = next((each for each in found.groups if each.group == (own if view.group is None else view.group)), None)
    if group is None or view.card is None or not group.manifest.is_replaced(view.card):
        return
    row = group.manifest.drives[view.card.slot]
    twice = any(problem.kind in {"replayed", "two-manifests"} for problem in view.problems)
    if twice or view.slot not in {None, row.slot} or view.small.get(mf.MANIFEST) == group.manifest_bytes:
        return
    if view.drive.serial() == row.serial or survey_slots.has_open_me(view.drive, row):
        return
    view.predecessor = view.card.serial
    said = f"says that it is drive {view.card.serial}, and {row.id} was signed as {row.serial}"
    view.problems.clear()
    view.note(mf.CARD, "replaced", f"{said}: it may be the drive that was replaced by that one")


def _parses(signature: bytes) -> bool:
    try:
        sshsig.parse(signature)
    except SignatureInvalid:
        return False
    return True


def _check_serials(found: Survey) -> None:
    """Every drive must be one that the sealed declaration names."""
    assert found.trusted is not None, "only under a seal that holds"
    declared = {drive.serial for drive in found.trusted.declaration.drives}
    for group in found.groups:
        for slot, views in group.copies.items():
            serial = group.manifest.drives[slot].serial
            if serial not in declared:
                for view in views:
                    view.note(mf.MANIFEST, "undeclared", f"the declaration names no drive with serial {serial}")
