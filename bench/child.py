"""sealift as it is benchmarked: the command line itself, with one difference that is not in its time.

    python -m bench.child SPARES pack|verify|... ARGUMENTS

With SPARES (a folder's name beside each drive's sealift/, or `-`), a pack is written over a file of an earlier run, as
a peer's output is with `1<> FILE`: pages and extents are reused. Without a spare a new file is made.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from sealift.drives import local, local_file

if TYPE_CHECKING:
    from collections.abc import Callable


def _reuse(spares: str) -> None:
    plain_open, plain_publish = os.open, local_file.LocalPartFile.publish

    def spare_open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        """A new pack's file: a spare of its drive, moved there, where there is one."""
        if flags & os.O_EXCL and dir_fd is not None and os.fsdecode(path).endswith((".age.part", ".parity.part")):
            mount = os.readlink(f"/proc/self/fd/{dir_fd}").partition("/sealift/")[0]
            folder = os.path.join(mount, spares)
            for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
                os.rename(os.path.join(folder, name), path, dst_dir_fd=dir_fd)
                return plain_open(path, flags & ~(os.O_EXCL | os.O_CREAT), dir_fd=dir_fd)
        return plain_open(path, flags, mode, dir_fd=dir_fd)

    def publish(part: Any) -> None:
        """Cut a spare that was longer to what was written."""
        if hasattr(part, "written_to"):
            os.ftruncate(part._fd, part.written_to)  # noqa: SLF001
        plain_publish(part)

    def counting(write_at: Callable[..., None]) -> Callable[..., None]:
        def write(part: Any, offset: int, buffers: Any) -> None:
            write_at(part, offset, buffers)
            end = offset + sum(map(len, buffers))
            part.written_to = max(getattr(part, "written_to", 0), end)

        return write

    class Os:
        """os, with another open: only for drives/local.py."""

        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        open = staticmethod(spare_open)

    local.os = Os()  # type: ignore[assignment, attr-defined]
    local_file.LocalPartFile.write_at = counting(local_file.LocalPartFile.write_at)  # type: ignore[method-assign]
    local_file.LocalPartFile.publish = publish  # type: ignore[method-assign, assignment]


def main() -> None:
    """Entry point."""
    if sys.argv[1] != "-":
        _reuse(sys.argv[1])
        if "repair" in sys.argv[2:3]:  # an empty drive may hold spares
            from sealift.stages import repair_onto

            repair_onto.OF_FILESYSTEMS.add(sys.argv[1])
    from sealift.cli.main import main as command

    sys.argv = ["sealift", *sys.argv[2:]]
    command()


if __name__ == "__main__":
    main()
