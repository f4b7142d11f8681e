"""fsync of files and folders of the state: a journal that survives must not speak of files that did not."""

from __future__ import annotations

import contextlib
import os


def sync(*paths: str) -> None:
    """Make files and folders durable, in this order."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_folders(root: str, *names: str) -> str:
    """`root`/name/name..., each level durable in the one above; the path of the last."""
    path = root
    for name in names:
        below = os.path.join(path, name)
        os.makedirs(below, exist_ok=True)
        sync(path)
        path = below
    return path


def replace(path: str, data: bytes, *, mtime: int | None = None) -> None:
    """Put `data` in the place of `path`: written beside, durable, renamed; `mtime` in ns, now if None."""
    beside = path + ".part"
    try:
        with open(beside, "wb") as file:
            file.write(data)
            file.flush()
            if mtime is not None:
                os.utime(file.fileno(), ns=(mtime, mtime))
            os.fsync(file.fileno())
        os.rename(beside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise
    sync(os.path.dirname(path) or ".")
