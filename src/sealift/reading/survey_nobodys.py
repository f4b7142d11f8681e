"""Drives and packs of which nothing here says whose they are: their group's manifest is on no drive that is here.

What holds: such a drive is in no group, so that nothing is written to it. What it says of itself is told, as a claim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sealift.formats import manifest as mf
from sealift.reading import survey_slots
from sealift.reading.survey_views import BY_CARD, NO_MANIFEST, NOBODYS_PACKS, STRANGE_PACKS, Problem

if TYPE_CHECKING:
    from sealift.reading.survey_views import DriveView, ProblemKind, Survey


def note_packs(found: Survey, view: DriveView) -> None:
    """One line of packs that are in no group's table, in the place of all that is not beside them.

    They have rotted, or are another shipment's, where every group is known; else nobody can say whose they are.
    """
    name = survey_slots.a_pack(view.drive)
    if name is None:
        return
    view.problems.clear()
    known = len(found.groups) >= found.groups_total
    if known and all(survey_slots.knows(group, name) for group in found.groups):
        view.note(name, "rotten", STRANGE_PACKS)
    else:
        view.note(mf.MANIFEST, "missing", NOBODYS_PACKS)


def bereft(found: Survey) -> dict[int, list[DriveView]]:
    """By group of which no drive here bears the manifest: the drives here that say that they are of it."""
    here = {group.group for group in found.groups}
    drives: dict[int, list[DriveView]] = {}
    for view in found.views:
        card = view.card
        if view.standing != "unidentified" or card is None or card.shipment != found.shipment:
            continue
        if card.group not in here and card.group < found.groups_total:
            drives.setdefault(card.group, []).append(view)
    return dict(sorted(drives.items()))


def note_drives(found: Survey) -> None:
    """Of each of those one line; and of a drive with a manifest that is here, and packs and drive.json of none here."""
    for view in (view for views in bereft(found).values() for view in views):
        assert view.card is not None, "it says so there"
        kind: ProblemKind = "rotten" if mf.MANIFEST in view.small else "missing"
        view.problems = [each for each in view.problems if each.path not in {mf.MANIFEST, mf.SIGNATURE}]
        view.problems.insert(
            0, Problem(mf.MANIFEST, kind, f"{BY_CARD}{mf.drive_id(view.card.group, view.card.slot)}: {NO_MANIFEST}")
        )
    for view in found.views:
        if view.standing == "unidentified" and view.doubted:  # the drive that it claims to be is another one
            view.problems = [Problem(mf.MANIFEST, "rotten", NOBODYS_PACKS)]
            continue
        card = view.card
        ours = any(view.small.get(mf.MANIFEST) == group.manifest_bytes for group in found.groups)
        if view.standing == "unidentified" and ours and card and card.shipment != found.shipment:
            view.standing = "foreign"
            view.problems.clear()
            view.note(mf.CARD, "foreign", f"a drive of shipment {card.shipment}, beside a manifest that is not its own")
