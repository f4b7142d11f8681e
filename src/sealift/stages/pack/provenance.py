"""The provenance record, made from the checkpoint before it is packed, and added to what the walk sees.

It is kept in the state folder and never written to the source. Its bytes and its time follow from checkpoint, outbound
seal and shipment alone, so that other hosts and a lost state come to the same scan. Every file is read once for its
digests; where the walk then finds it changed, packing is refused: a record speaks of the files beside it or of none.

The trainer's own words come from `run.json` at the top of the checkpoint ({"code": ..., "config": {...}, "metrics":
{...}}; other keys are passed over), and from --provenance FILE, JSON or TOML, which goes before. What is not here: the
record's form (formats/provenance.py).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import tomllib
from array import array
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from blake3 import blake3

from sealift.errors import BadInput
from sealift.formats import provenance as form
from sealift.formats import typed
from sealift.formats.index import FILE
from sealift.formats.samples import key_function
from sealift.stages.pack.beneath import Beneath
from sealift.stages.pack.durable import replace
from sealift.stages.pack.walk import FORM, KINDS, columns, walk
from sealift.trade.signing import read_limited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sealift.reading.trust import TrustedSeal
    from sealift.stages.pack.settle import Config
    from sealift.stages.pack.walk import Seen

RUN = "run.json"
MAX_RUN = 16 << 20
_PIECE = 1 << 20
_SHARE = 1024  # files that are given out at once
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_HINT = 'like {"code": "v1.2", "config": {...}, "metrics": {...}}; numbers are finite'


class Words(msgspec.Struct, kw_only=True):
    """What a trainer says of a run."""

    code: str | dict[str, Any] | None = None
    config: dict[str, Any] = {}
    metrics: dict[str, Any] = {}


class Stamp(NamedTuple):
    """What a file was when its digests were made: size in bytes, time in ns."""

    size: int
    mtime: int


@dataclass(frozen=True)
class Provenance:
    """What the record is made of. `words` is FILE of --provenance, or None."""

    state: str
    config: Config
    outbound: TrustedSeal
    rehearsal: bool
    words: str | None
    notice: Callable[[str], None]
    progress: Callable[[int, int, int], None]  # files, bytes, bytes of all

    @property
    def path(self) -> str:
        """Where the record is kept."""
        return os.path.join(os.path.abspath(self.state), form.MEMBER)

    @property
    def beside(self) -> dict[bytes, bytes]:
        """The member, and where it lies."""
        return {form.MEMBER.encode(): os.fsencode(self.path)}

    def added(self, seen: Callable[[], Iterable[Seen]]) -> Iterator[Seen]:
        """Make the record, then walk: what is seen, and the record as one member more. BadInput as told above."""
        source = os.fsencode(self.config.source)
        stamps = self._make(source)
        left = {path for path, stamp in stamps.items() if stamp is not None}
        for batch in seen():
            for path, stamp in _files(batch):
                left.discard(path)
                if path not in stamps or stamps[path] not in {None, stamp}:
                    raise _changed(path)
            yield batch
        if left:
            raise _changed(min(left))
        config = self.config
        seed = config.seed if config.order == "shuffled" else None
        name = form.MEMBER.encode()
        yield columns([name], [os.stat(self.path)], [], key_function(config.sample_key), seed)

    def _make(self, source: bytes) -> dict[bytes, Stamp | None]:
        """Write the record; what its files were, None for one that cannot be read, which packing tells of."""
        found = dict(each for batch in walk(source, [b""], lambda path: path, None, 1e9) for each in _files(batch))
        if os.path.lexists(os.path.join(source, form.MEMBER.encode())):
            raise BadInput(
                f"{self.config.source} has a {form.MEMBER} of its own, and a return leg brings one",
                hint="move it into a folder, or give it another name; nothing was written",
            )
        if not found or len(found) > form.MAX_SUBJECTS:
            raise BadInput(
                f"{self.config.source} holds {len(found):,} files; a return leg has 1 to {form.MAX_SUBJECTS:,}",
                hint="give the folder of the checkpoint",
            )
        words = self._words(source)
        subjects, stamps = self._subjects(source, dict(sorted(found.items())))
        config, seal = self.config, self.outbound.seal
        statement = form.Statement(
            subject=subjects,
            predicate=form.Predicate(
                shipment=config.shipment,
                consignment_id=config.consignment_id,
                rehearsal=self.rehearsal,
                in_reply_to=self.outbound.reference,
                groups=[form.GroupRef(group=each.group, manifest=each.manifest) for each in seal.groups],
                code=words.code,
                config=words.config,
                metrics=words.metrics,
            ),
        )
        data = form.encode(statement)
        form.decode(data)
        replace(self.path, data, mtime=max(stamp.mtime for stamp in found.values()))
        return stamps

    def _subjects(
        self, source: bytes, files: dict[bytes, Stamp]
    ) -> tuple[list[form.Subject], dict[bytes, Stamp | None]]:
        subjects: list[form.Subject] = []
        stamps: dict[bytes, Stamp | None] = {}
        total, done = sum(stamp.size for stamp in files.values()), 0
        paths = list(files)
        with ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)))) as pool:
            for some in (paths[at : at + _SHARE] for at in range(0, len(paths), _SHARE)):
                for path, digests in zip(some, pool.map(lambda path: _digests(source, path), some), strict=True):
                    done += files[path].size
                    self.progress(len(stamps), done, total)
                    stamps[path] = None if digests is None else files[path]
                    if digests is not None:
                        subjects.append(_subject(path, digests))
        if not subjects:
            raise BadInput(f"{self.config.source}: no file of it can be read", hint="run it as a user who may")
        return subjects, stamps

    def _words(self, source: bytes) -> Words:
        run = os.path.join(os.fsdecode(source), RUN)
        words = Words()
        if os.path.lexists(run):
            try:
                words = _parse(read_limited(run, MAX_RUN, "the run's record"), run, strict=False)
            except BadInput as error:
                self.notice(f"not in the provenance record: {error}")
        if self.words is not None:
            given = _parse(read_limited(self.words, MAX_RUN, "--provenance"), self.words, strict=True)
            words = Words(
                code=words.code if given.code is None else given.code,
                config=given.config or words.config,
                metrics=given.metrics or words.metrics,
            )
        silent = [name for name in Words.__struct_fields__ if not getattr(words, name)]
        if silent:
            self.notice(f"the provenance record says nothing of {', '.join(silent)} ({RUN}, or --provenance FILE)")
        return words


def _changed(path: bytes) -> BadInput:
    return BadInput(
        f"{os.fsdecode(path)}: changed while the provenance record was made of it; nothing was written",
        hint="pack a checkpoint that nobody writes to any more, with the same command",
    )


def _parse(data: bytes, name: str, *, strict: bool) -> Words:
    """JSON, or TOML by the name; BadInput where it is neither, or says something else."""
    try:
        tree = tomllib.loads(data.decode()) if name.endswith(".toml") else msgspec.json.decode(data)
        tree = msgspec.to_builtins(tree)
        json.dumps(tree, allow_nan=False)  # msgspec makes null of what is not finite
        tree = msgspec.json.decode(msgspec.json.encode(tree))  # as the record will have it
        if strict and isinstance(tree, dict) and (unknown := set(tree) - set(Words.__struct_fields__)):
            raise BadInput(f"{name}: {', '.join(sorted(unknown))}: no such key", hint=_HINT)
        return typed.convert(tree, Words)
    except (ValueError, OverflowError, msgspec.MsgspecError, RecursionError) as error:
        raise BadInput(f"{name}: {str(error)[:200]}", hint=_HINT) from error


def _files(seen: Seen) -> Iterator[tuple[bytes, Stamp]]:
    """The regular files of a batch."""
    numbers = [array("q", each) for each in (seen.modes, seen.sizes, seen.mtimes)]
    place = 0
    for length, mode, size, mtime in zip(array("i", seen.path_lengths), *numbers, strict=True):
        if KINDS[mode >> FORM] == FILE:
            yield seen.paths[place : place + length], Stamp(size, mtime)
        place += length


def _digests(source: bytes, path: bytes) -> form.Digests | None:
    """Both digests of a file as it is; None where it cannot be read."""
    sha256, own = hashlib.sha256(), blake3()
    with contextlib.suppress(OSError):
        with Beneath(source) as tree:
            fd = tree.open(path, _OPEN)
        try:
            while piece := os.read(fd, _PIECE):
                sha256.update(piece)
                own.update(piece)
        finally:
            os.close(fd)
        return form.Digests(sha256=sha256.hexdigest(), blake3=own.hexdigest())
    return None


def _subject(path: bytes, digests: form.Digests) -> form.Subject:
    try:
        return form.Subject(name=path.decode(), digest=digests)
    except UnicodeDecodeError:
        named = form.Annotations(path_b64=base64.b64encode(path).decode())
        return form.Subject(digest=digests, annotations=named)
