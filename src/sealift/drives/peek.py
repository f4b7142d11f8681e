"""A filesystem that is not mounted, looked into without a byte being written to it and without anybody seeing it.

What holds: it is mounted read-only, its journal not replayed, in a mount namespace of this process alone, so that it is
gone when the process ends, however that is. Call in a process of its own (apart.py), as root: a device may hang, and
the namespace stays as it is made. What is not here: what is looked for.
"""

from __future__ import annotations

import ctypes
import os

KINDS = {  # options with which a read-only mount leaves the journal as it is
    "ext2": "",
    "ext3": "noload",
    "ext4": "noload",
    "xfs": "norecovery,nouuid",
    "btrfs": "rescue=nologreplay",
    "exfat": "",
    "vfat": "",
}
_NEWNS = 0x00020000
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REC, _PRIVATE = 1, 2, 4, 8, 1 << 14, 1 << 18


def mount(device: str, kind: str, folder: str) -> None:
    """Show the filesystem at `folder`, to this process only and until it ends. OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEWNS):
        raise _error("making a mount namespace")
    if libc.mount(b"none", b"/", None, ctypes.c_ulong(_REC | _PRIVATE), None):
        raise _error("making a mount namespace")
    flags = ctypes.c_ulong(_RDONLY | _NOSUID | _NODEV | _NOEXEC)
    options = KINDS[kind].encode() or None
    if libc.mount(os.fsencode(device), os.fsencode(folder), kind.encode(), flags, options):
        raise _error("mounting it read-only, to look")


def _error(doing: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{doing}: {os.strerror(code).lower()}")
