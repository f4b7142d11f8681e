"""What tests of `sealift ingest` share: a small shipment, what a bucket holds, and what it should hold of a corpus."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sealift.drives.object_prefix import ObjectPrefix
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages import ingest, unpack

if TYPE_CHECKING:
    import shipments


def objects(location: str, *, notes: bool = False) -> dict[str, bytes]:
    """Every object beneath s3://BUCKET/PREFIX: name to what is in it; ingest's own notes only if asked for."""
    bucket = ObjectPrefix(location, patience=10)
    names = [each["path"] for page in bucket.objects() for each in page]
    names = [name for name in names if notes or not name.startswith(".sealift-")]
    with ThreadPoolExecutor(16) as pool:
        return dict(zip(names, pool.map(lambda name: bucket.get(name, 1 << 32) or b"", names), strict=True))


def stamps(location: str) -> dict[str, Any]:
    """Names and when each object was written."""
    return {each["path"]: each["last_modified"] for page in ObjectPrefix(location).objects() for each in page}


def expected(source: Path, *, without: set[bytes] = frozenset()) -> dict[str, bytes]:
    """What files of a corpus should be in a bucket: all that have names that objects can have, links left out."""
    found = {}
    for name in (os.fsencode(path) for path in source.rglob("*") if path.is_file() and not path.is_symlink()):
        path = os.path.relpath(name, os.fsencode(source))
        if path in without:
            continue
        with open(name, "rb") as file:
            found[path.decode()] = file.read()
    return found


def into(origin: shipments.Origin, location: str, mounts: list[str] | None = None, **changes: Any) -> unpack.Options:
    """Options of an ingest of files."""
    options = origin.unpack_options(Path("unused"), mounts, **changes)
    options.target = location
    return options


def packs(origin: shipments.Origin, to: str, mounts: list[str] | None = None, **how: Any) -> ingest.Result:
    """An ingest of packs; without `seal`, the one on the drives serves."""
    seal = how.pop("seal", None)
    options = ingest.Options(mounts or origin.mounts, to, AllowedSigners.parse(origin.allowed), seal)
    return ingest.ingest(options, ingest.Events(**how))


def start(folder: Path, what: str, options: Any) -> subprocess.Popen[bytes]:
    """An ingest in a process of its own, to be killed: `what` is `packs` or `files`."""
    path = folder / f"options-{time.monotonic_ns()}"
    path.write_bytes(pickle.dumps((what, options)))
    return subprocess.Popen([sys.executable, __file__, str(path)], stderr=subprocess.PIPE, start_new_session=True)


def kill(process: subprocess.Popen[bytes], location: str, after: float) -> bool:
    """Kill it and its workers so many seconds after it has written more; whether it still ran."""
    bucket = ObjectPrefix(location)
    before = sum(len(page) for page in bucket.objects())
    while process.poll() is None and sum(len(page) for page in bucket.objects()) <= before:
        time.sleep(0.02)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    said = process.communicate()[1]
    assert process.returncode == 0, said
    return False


def _main() -> None:
    what, options = pickle.loads(Path(sys.argv[1]).read_bytes())
    if what == "packs":
        ingest.ingest(options, ingest.Events())
    else:
        unpack.unpack(options, unpack.Events())


if __name__ == "__main__":
    _main()
