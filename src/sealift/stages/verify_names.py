"""The names on a drive: what lies beneath sealift/ and is no file that the manifest names. Nothing is read."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sealift.drives.base import KIND_WORDS, MAX_DEPTH, PART
from sealift.errors import FormatError
from sealift.formats import manifest as mf

if TYPE_CHECKING:
    from sealift.drives.base import Drive, Entry
    from sealift.formats.manifest import Manifest
    from sealift.formats.paged import PagedFile
    from sealift.stages.verify_read import DriveCheck

MAX_UNEXPECTED = 1000  # that are named; more are counted
MAX_STRANGE = 10_000  # that are listed besides packs and their folders
UNNAMED = "that the manifest does not name"
HALF = f"left by an interrupted write {UNNAMED}"  # of a file of this drive: sealift's own, and repair removes it
MORE = "holds most of"  # what of a folder with more than are named begins with
_FIXED = {name.encode() for name in mf.FIXED_FILES}
_FOLDERS = {b"packs", b"index", b"seal"}


def check(drive: Drive, manifest: Manifest, slot: int, packs: PagedFile, told: DriveCheck) -> None:
    """Note in `told` what does not belong to the drive of that slot. DriveFault; FormatError: it lists no more.

    Where there is more than can be listed, the folder that is to blame is noted, and never sealift/ as such.
    """
    stripes = manifest.geometry.stripes
    limit, listed, omitted, more = stripes + stripes // 1000 + MAX_STRANGE, 0, 0, ""
    tops: dict[bytes, bytes] = {}  # strange folders, and what lies uppermost of each
    held = Counter[bytes]()  # what does not belong, by the folder in which it is
    found: dict[bytes, str] = {}
    known = {each.path for each in told.faults if each.kind == "unexpected"}
    entry: Entry | None = None
    try:
        for entry in drive.walk(limit):
            listed += 1
            above = entry.name.rpartition(b"/")[0]
            top = tops.get(above)
            if top is None and _belongs(entry.name, entry.kind, manifest, slot, packs):
                continue
            held[above if top is None else top] += 1
            if entry.kind == "folder":
                tops[entry.name] = top or entry.name
            if top is not None or entry.name in known:
                continue
            if len(found) < MAX_UNEXPECTED:
                whole = entry.name.removesuffix(PART.encode())
                half = whole != entry.name and _belongs(whole, entry.kind, manifest, slot, packs)
                found[entry.name] = HALF if half else f"{KIND_WORDS[entry.kind]} {UNNAMED}"
            else:
                omitted += 1
                more = f"{omitted:,} more"
    except FormatError:
        if entry is not None and entry.name in tops and entry.name.count(b"/") + 1 >= MAX_DEPTH:
            top = tops[entry.name]
            found[top] = f"folders in it are over {MAX_DEPTH} deep, and no more was listed: a folder {UNNAMED}"
        elif listed >= limit and held:
            more = f"at least {sum(held.values()) - len(found):,} more"
        else:
            raise
    finally:
        for name, detail in found.items():
            told.note(name, "unexpected", detail)
        if more:
            told.note(held.most_common(1)[0][0], "unexpected", f"{MORE} {more} {UNNAMED}")


def _belongs(name: bytes, kind: str, manifest: Manifest, slot: int, packs: PagedFile) -> bool:
    stripes = manifest.geometry.stripes
    if kind == "folder":
        number = name[6:] if name.startswith(b"packs/") else b""
        own = number.isdigit() and len(number) in {4, 5} and int(number) * 1000 < stripes
        return name in _FOLDERS or (own and name == b"packs/%04d" % int(number))
    if kind != "file":
        return False
    if name in _FIXED:
        return True
    match = mf.PACK_ENTRY.fullmatch(name)
    if match is None or int(match[2]) >= stripes:
        return False
    stripe = int(match[2])
    role = mf.role_of(stripe, slot, manifest.n)
    if name != mf.pack_name(stripe, role, manifest.geometry.data).encode():
        return False
    try:
        return mf.pack_at(packs, stripe, role, manifest.n).length > 0
    except FormatError:
        return True  # nobody can say
