"""The listing of the source on several hosts: all pack by one, which is kept where the packing was begun.

    host: scan -> is it that of the others? -> the first to scan gives its listing to the shelf
                  no, and there is a listing on the shelf -> that one, if the source is still the same
    shelf: scan/, as a packing in one host has it

What holds: a group that was begun on a host that is lost goes on by the listing under which it was begun, though the
source has changed meanwhile, as it would in one host: what is otherwise by now is told. A source of which more is gone
or rewritten than is as it was listed is another one, and is refused. A listing appears whole. It holds plain names, and
goes to hosts that read the source themselves.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING, Any

from sealift.errors import Refused, SealiftError
from sealift.formats import typed
from sealift.stages.pack.durable import sync
from sealift.stages.pack.scan import SUMMARY, Summary, changed

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealift.stages.pack.again import Since
    from sealift.stages.pack.work import Work

_PIECE = 16 << 20
_NAME = re.compile(r"g[0-9]{7}\.parquet|summary\.json", re.ASCII)
_COMING, _OWN = ".coming", ".own"


class Shelf:
    """The listing where the packing was begun; it answers what hosts `ask`."""

    def __init__(self, state: str) -> None:
        self._whole = os.path.join(state, "scan")
        self._coming = self._whole + _COMING
        self._giver: object = None  # the first host that offered its listing in this run

    def answer(self, host: object, what: str, *given: Any) -> Any:
        """`names` of the files of the listing, none while there is none; a `piece` of one; whether a `gift` is wanted.

        `take` a piece of a gift, and `taken` when it is whole: False where it is not wanted any more.
        """
        if what == "names":
            there = os.path.exists(os.path.join(self._whole, SUMMARY))
            return sorted(filter(_NAME.fullmatch, os.listdir(self._whole))) if there else []
        if what == "piece":
            return self._piece(*given)
        try:
            return self._given(host, what, *given)
        except OSError:  # no room, say: they pack all the same
            shutil.rmtree(self._coming, ignore_errors=True)
            return False

    def _piece(self, name: str, offset: int) -> bytes:
        if not _NAME.fullmatch(name):
            raise Refused(f"{name!r} is no file of a listing")
        try:
            with open(os.path.join(self._whole, name), "rb") as file:
                file.seek(offset)
                return file.read(_PIECE)
        except OSError as error:
            raise SealiftError(
                f"the listing in {self._whole} cannot be read: {error.strerror}",
                hint="what is on the drives is safe; look at the disk of the state folder where the command was given",
            ) from error

    def _given(self, host: object, what: str, *given: Any) -> bool:
        if what == "gift":
            if self._giver is not None or os.path.exists(os.path.join(self._whole, SUMMARY)):
                return False
            self._giver = host
            shutil.rmtree(self._coming, ignore_errors=True)
            os.mkdir(self._coming, mode=0o700)
            return True
        if host != self._giver:
            return False
        if what == "take":
            name, offset, data = given
            if not _NAME.fullmatch(name):
                return False
            with open(os.path.join(self._coming, name), "ab") as file:
                if file.tell() != offset:
                    return False
                file.write(data)
            return True
        _publish(self._coming, self._whole)
        return True


class Reader:
    """The shelf, as a host that packs has it: `ask` brings a question there."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask = ask

    def give(self, folder: str) -> None:
        """Give a listing to the shelf where it has none, and no other host gives one."""
        if not self._ask("gift"):
            return
        for name in sorted(filter(_NAME.fullmatch, os.listdir(folder))):
            with open(os.path.join(folder, name), "rb") as file:
                offset = 0
                while data := file.read(_PIECE):
                    if not self._ask("take", name, offset, data):
                        return
                    offset += len(data)
        self._ask("taken")

    def fetch(self, folder: str) -> bool:
        """Put the listing of the shelf at `folder`, where nothing is; False: there is none."""
        names = self._ask("names")
        if not names:
            return False
        coming = folder + _COMING
        shutil.rmtree(coming, ignore_errors=True)
        os.mkdir(coming, mode=0o700)
        for name in names:
            with open(os.path.join(coming, name), "wb") as file:
                while len(data := self._ask("piece", name, file.tell())) == _PIECE:
                    file.write(data)
                file.write(data)
        _publish(coming, folder)
        return True


def _publish(coming: str, folder: str) -> None:
    sync(*(os.path.join(coming, name) for name in os.listdir(coming)), coming)
    shutil.rmtree(folder, ignore_errors=True)  # of a scan that was interrupted
    os.rename(coming, folder)
    sync(os.path.dirname(folder))


def agreed(work: Work, own: Summary, known: str | None) -> tuple[Summary, Since | None]:
    """The summary by which this host packs, and what is otherwise by now; `own` was scanned just now.

    `known`: the digest of the scan under which its drives were begun. Refused where the source is another one than the
    other hosts', and the next call looks again.
    """
    from sealift.stages.pack.again import since_then

    away = work.options.away
    assert away is not None, "of a host among several"
    folder = work.scan_folder
    try:
        if known not in {None, own.digest}:
            raise changed(hosts=True)
        away.agree(own.digest)
    except Refused as refusal:
        shutil.rmtree(folder + _OWN, ignore_errors=True)
        os.rename(folder, folder + _OWN)
        try:
            if not away.listing.fetch(folder):
                raise refusal from None
            with open(os.path.join(folder, SUMMARY), "rb") as file:
                summary = typed.decode(file.read(), Summary)
            if known not in {None, summary.digest}:
                raise refusal from None
            away.agree(summary.digest)
            return summary, since_then(work, summary, folder + _OWN, refusal)
        except Refused:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            shutil.rmtree(folder + _OWN, ignore_errors=True)
    away.listing.give(folder)
    return own, None
