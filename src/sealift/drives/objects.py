"""ObjectDrive: sealift/ beneath s3://BUCKET/PREFIX, through obstore: hostile until shown otherwise, as a folder is.

What holds of its objects is said in drives/object_prefix.py. What was begun and not finished is aborted: by `abandon`;
by `unlock`, where the answer to the beginning was lost, so that obstore began another; after a kill by the next `lock`.

What an object store has not: links and folders (a folder is there when something is in it), parts that can be seen, a
serial number, a count of free bytes (any amount fits until the store refuses), a cache on this host (all reads are from
the medium), and locks: `lock` keeps other processes of this host out, and nobody else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sealift.drives import object_faults as faults
from sealift.drives.base import MAX_DEPTH, SAFE_READING, Entry, split
from sealift.drives.object_client import PATIENCE, THREADS, endpoint, fault, native
from sealift.drives.object_prefix import PART_SIZE, TOGETHER, ObjectPartFile, ObjectPrefix, ObjectReadFile, parse
from sealift.drives.ranges import RemoteDrive
from sealift.errors import FormatError
from sealift.formats.manifest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

__all__ = ["PART_SIZE", "UPLOAD_MEMORY", "ObjectDrive", "ObjectPartFile", "ObjectReadFile", "parse"]

UPLOAD_MEMORY = 2 * (TOGETHER + 3) * PART_SIZE  # a pack is written while the one before is finished
_UNLIMITED = 1 << 62


class ObjectDrive(ObjectPrefix, RemoteDrive):
    """drives.base.Drive over a bucket. `patience`: seconds for which a request that fails is sent again.

    `name` is what messages call it, its location where there is none; `requests`, how many ranges are fetched at once.
    """

    def __init__(self, location: str, *, patience: float = PATIENCE, name: str = "", requests: int = THREADS) -> None:
        ObjectPrefix.__init__(self, location, parse(location).root, patience=patience, name=name, requests=requests)
        self._given = location, name, requests
        self.at, self.host_name = location, endpoint() or "s3://"

    def __reduce__(self) -> tuple[Callable[..., ObjectDrive], tuple[str, str, int]]:
        return _again, self._given

    def check(self) -> None:
        """BadInput without obstore."""
        native()

    def __repr__(self) -> str:
        return f"ObjectDrive({self.mount!r})"

    # Reading

    def exists(self) -> bool:
        """Whether something is there, or is about to be: there are no empty folders."""
        return self.held or next(self.objects(1), None) is not None

    def read_small(self, name: str, limit: int) -> bytes | None:
        """The whole object, None when there is none."""
        split(name)
        return self.get(name, limit)

    def meta(self, name: str, doing: str, *, safe: str = SAFE_READING) -> dict[str, Any] | None:
        """Size, ETag and time of an object; None when there is none. DriveFault, also when there is no bucket."""
        split(name)
        return super().meta(name, doing, safe=safe)

    def size(self, name: str) -> int | None:
        """Length in bytes, None when there is none."""
        found = self.meta(name, f"looking at {name}")
        return None if found is None else int(found["size"])

    def open_read(self, name: str, *, direct: bool = False) -> ObjectReadFile:
        """Open for reading; `direct` changes nothing here."""
        del direct
        found = self.meta(name, f"opening {name}")
        if found is None:
            raise fault(self.mount, f"opening {name}", faults.MISSING, safe=SAFE_READING)
        return ObjectReadFile(self, name, found)

    def open_later(self, name: str) -> ObjectReadFile:
        """As open_read."""
        return self.open_read(name)

    def walk(self, limit: int) -> Iterator[Entry]:
        """Everything beneath sealift/, folders before what is in them."""
        folders: set[str] = set()
        count = 0
        for page in self.objects():
            for each in page:
                name: str = each["path"]
                above = name.split("/")[:-1]
                places = ["/".join(above[: depth + 1]) for depth in range(len(above))]
                for place in [*places, ""]:
                    if place in folders:
                        continue
                    count += 1
                    if count > limit:
                        raise FormatError(f"{self.mount}: more than {limit:,} files and folders in {ROOT}/")
                    if place:
                        folders.add(place)
                        yield Entry(place.encode("utf-8", "surrogateescape"), "folder", 0)
                        if place.count("/") + 1 >= MAX_DEPTH:
                            raise FormatError(f"{self.mount}: folders in {ROOT}/ are over {MAX_DEPTH} deep")
                    else:
                        yield Entry(name.encode("utf-8", "surrogateescape"), "file", each["size"])

    # Identity

    def filesystem(self) -> tuple[object, ...]:
        """The bucket: what is in one is lost with it."""
        return "s3", endpoint(), self.place.bucket

    def serial(self) -> str | None:
        """There is none."""
        return None

    def free_bytes(self) -> int:
        """No store tells: as much as anybody asks for, until it refuses."""
        return _UNLIMITED

    def total_bytes(self) -> int:
        """No store tells."""
        return _UNLIMITED

    # Writing

    def lock(self) -> int:
        """Keep other processes of this host from writing here; then end uploads that a killed one left behind."""
        before = self.held
        descriptor = self.hold()
        if not before:
            self.end_uploads()
        return descriptor

    def unlock(self) -> None:
        """End uploads that nobody knows of any more, and give the lock up; again does nothing.

        A child that inherited it holds it until it ends.
        """
        if self.held:
            self.end_uploads()
        self.let_go()

    def create(self, name: str, *, direct: bool = False) -> ObjectPartFile:
        """Begin NAME; `direct` changes nothing here."""
        del direct
        assert self.held, "a drive is written only under its lock"
        split(name)
        return ObjectPartFile(self, name)

    def sync_folder(self, name: str) -> None:
        """What was published or removed is so for good."""
        split(name)

    def write_small(self, name: str, data: bytes) -> None:
        """One object, in one request."""
        part = self.create(name)
        try:
            part.write_at(0, [memoryview(data)])
            part.publish()
        except BaseException:
            part.abandon()
            raise

    def remove(self, name: str) -> None:
        """Remove the object, if it is there."""
        assert self.held, "a drive is written only under its lock"
        split(name)
        self.delete(name)


def _again(location: str, name: str, requests: int) -> ObjectDrive:
    return ObjectDrive(location, name=name, requests=requests)
