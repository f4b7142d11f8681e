"""The names on a drive: what lies beneath sealift/ and is no file that the manifest names. Nothing is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sealift.drives.base import KIND_WORDS, PART
from sealift.errors import FormatError
from sealift.formats import manifest as mf

if TYPE_CHECKING:
    from sealift.drives.base import Drive
    from sealift.formats.manifest import Manifest
    from sealift.formats.paged import PagedFile
    from sealift.stages.verify_read import DriveCheck

MAX_UNEXPECTED = 1000  # that are named; more are counted
_FIXED = {name.encode() for name in mf.FIXED_FILES}
_FOLDERS = {b"packs", b"index", b"seal"}


def check(drive: Drive, manifest: Manifest, slot: int, packs: PagedFile, told: DriveCheck) -> None:
    """Note in `told` what does not belong to the drive of that slot. FormatError: too many files; DriveFault."""
    stripes, named = manifest.geometry.stripes, 0
    strange: set[bytes] = set()
    known = {found.path for found in told.faults if found.kind == "unexpected"}
    try:
        for entry in drive.walk(stripes + stripes // 1000 + 10_000):
            above = entry.name.rpartition(b"/")[0]
            if above in strange:
                if entry.kind == "folder":
                    strange.add(entry.name)
                continue
            if _belongs(entry.name, entry.kind, manifest, slot, packs):
                continue
            if entry.kind == "folder":
                strange.add(entry.name)
            if entry.name in known:
                continue
            named += 1
            if named <= MAX_UNEXPECTED:
                left = entry.name.endswith(PART.encode())
                what = "left by an interrupted write" if left else KIND_WORDS[entry.kind]
                told.note(entry.name, "unexpected", f"{what} that the manifest does not name")
    finally:
        if named > MAX_UNEXPECTED:
            told.note(b"", "unexpected", f"{named - MAX_UNEXPECTED:,} more that the manifest does not name")


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
