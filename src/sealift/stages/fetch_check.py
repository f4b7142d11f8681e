"""Whether a fetch list can be made: what must be known for it, and what it says nothing of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sealift.errors import FormatError, Lost, NotAllHere
from sealift.formats import manifest as mf
from sealift.reading.origin_copies import PATTERNS, name_of
from sealift.reading.survey_nobodys import bereft
from sealift.reading.survey_views import HOW_MANIFEST, NO_MANIFEST
from sealift.stages.repair_plan import MAX_LISTED, not_here
from sealift.stages.verify_join import has_hashes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sealift.reading.origin_copies import OriginCopies
    from sealift.reading.survey import GroupView, Survey
    from sealift.stages.repair_look import Seen
    from sealift.stages.repair_plan import Events


ALL_LOST = (
    "of a group of which no drive is here no fetch list says anything: where all its drives are lost, what was in it is"
    " packed anew at the origin, from the same source"
)


def check_known(found: Survey) -> None:
    """NotAllHere where a group's drives are here and its manifest is on none: which packs they lack nobody can say."""
    for number, views in bereft(found).items():
        mounts = ", ".join(view.mount for view in views[:5]) + " and others" * (len(views) > 5)
        raise NotAllHere(
            f"{NO_MANIFEST.replace('that group', f'group {number}')}, and {mounts} say that they are of it: without it "
            "nobody can say which packs are to be sent again",
            hint=HOW_MANIFEST.format(folder=f"groups/{number:04d}/closed/"),
        )


def not_listed(found: Survey) -> list[str]:
    """Lines about groups of the shipment of which a fetch list says nothing."""
    here = {group.group for group in found.groups}
    away = not_here(set(range(min(found.groups_total, MAX_LISTED))) - here)
    return [*away, *[f"{ALL_LOST}, as a shipment of its own"] * bool(away)] + [
        f"group {group.group}: its manifest is not signed by an allowed signer, and nothing of it was looked at"
        for group in found.groups
        if not group.trusted
    ]


def of_folders(found: Survey, lost: Iterable[tuple[int, int]]) -> list[str]:
    """A line where all that is `lost`, as (group, stripe), are packs that hold directories, and no file."""
    ends = {group.group: group.manifest.geometry.files_end for group in found.groups}
    stripes = set(lost)
    if not stripes or any(stripe < ends[group] for group, stripe in stripes):
        return []
    return ["what is lost holds no file's content: names and times of folders, which unpack has from the index"]


def check_listable(group: GroupView, seen: Sequence[Seen], origin: OriginCopies, events: Events) -> None:
    """Lost or NotAllHere where the packs to be sent again cannot be named; a notice of what is lacking and no pack."""
    packs, blocks = group.open_pages()
    try:
        for _ in packs.pages():
            pass
    except FormatError as error:
        kind = NotAllHere if group.missing else Lost
        raise kind(
            f"no drive here has all of {mf.PACKS} of group {group.group}, and without it nobody can say which packs are"
            " to be sent again",
            hint="mount another drive of the group, or "
            * bool(group.missing)
            + f"put a copy as sealift/{mf.PACKS} on one of the drives: the origin keeps one in its state folder,"
            f" groups/{group.group:04d}/closed/{mf.PACKS}",
        ) from error
    finally:
        packs.close()
        blocks.close()
    if (any(each.lacks for each in seen if each.group is group) or group.missing) and not has_hashes(group):
        kind = NotAllHere if group.missing else Lost
        raise kind(
            f"no drive here has all of {mf.BLOCKS} of group {group.group}, and without it nothing that is damaged or"
            " gone is rebuilt: that file is wanted, and no pack can be said to be",
            hint=f"put a copy as sealift/{mf.BLOCKS} on one of the drives: the origin keeps one in its state folder,"
            f" groups/{group.group:04d}/closed/{mf.BLOCKS}; then `sealift repair MNT...`",
        )
    drives = [each for each in seen if each.group is group and not each.bag]
    for name in PATTERNS:
        if drives and all(any(fault.path == name for fault in each.faults) for each in drives):
            sent = name_of(group.group, name)
            where = (
                "lies beside the seal" if origin.has(group.manifest, name) else "the origin sent ahead beside the seal"
            )
            events.notice(
                f"no drive here has {name} of group {group.group}, which is no pack: {sent}, which {where}, is that"
                " file; `sealift repair --seal FILE` with it beside the seal puts it on the drives"
            )
