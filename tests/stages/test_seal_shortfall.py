"""The seal says how much of the source is not in the shipment: who frees the source has to know."""

import os
import shutil
import subprocess
from contextlib import closing

import msgspec
import pytest
import shipments
from msgspec import UNSET
from msgspec.structs import replace
from test_seal_stage import Yard

from sealift.cli import status as status_cli
from sealift.cli import verify as verify_cli
from sealift.errors import BadInput, FormatError
from sealift.formats import seal as seals
from sealift.formats.seal import Shortfall
from sealift.stages import verify
from sealift.stages.pack import run as packing
from sealift.stages.pack.journal import LATER, Journal
from sealift.stages.status import look


class Changing(Yard):
    """A yard whose corpus has files of all kinds, and changes between the scan and the first byte that is read."""

    def __init__(self, folder, monkeypatch, change):
        super().__init__(folder)
        self._patch, self._change = monkeypatch, change

    def pack(self, mounts, state, **more):
        source = self.folder / "corpus"
        for name in ("shrinks", "grows"):
            shipments.write(source / "folder" / name, os.urandom(40_000))
        shipments.write(source / "cut", os.urandom(1_500_000))
        (source / "link").symlink_to("cut")
        (source / "another").hardlink_to(source / "000.txt")
        os.mkfifo(source / "fifo")
        subprocess.run(["cp", "-a", source, self.folder / "before"], check=True)
        real = packing.scan

        def scan(*arguments, **named):
            found = real(*arguments, **named)
            self._change(source)
            return found

        with self._patch.context() as patch:
            patch.setattr(packing, "scan", scan)
            return super().pack(mounts, state, accept_missing=True, **more)


def spoil(source):
    for name in ("001.txt", "002.txt", "link"):
        (source / name).unlink()
    os.truncate(source / "cut", 500)
    os.truncate(source / "folder" / "shrinks", 500)
    with open(source / "folder" / "grows", "ab") as file:
        file.write(b"more")


@pytest.fixture
def yard(tmp_path, monkeypatch):
    (tmp_path / "yard").mkdir()
    return Changing(tmp_path / "yard", monkeypatch, spoil).make()


def test_what_was_not_packed_is_counted_and_told(yard):
    sealed = yard.seal()
    assert sealed.seal.shortfall == Shortfall(skipped=3, incomplete=1, changed=2, later=0)
    (told,) = [notice for notice in yard.notices if "of the source" in notice]
    assert told.startswith(
        "of the source 3 paths are not packed; 1 file is not whole, with zeros for what could not be read; 2 files "
        "changed meanwhile and are packed as read"
    )


def test_the_destination_is_told_how_much_it_will_not_find(yard, capsys):
    yard.seal(*yard.mounts)
    report = verify.verify(yard.mounts, allowed=yard.allowed)
    assert report.seal.shortfall == Shortfall(skipped=3, incomplete=1, changed=2, later=0)
    assert report.state == "intact"
    verify_cli._show(report)
    assert "of the source, the origin says, 3 paths are not packed; 1 file is not whole" in capsys.readouterr().out


def test_status_names_all_of_it(yard, capsys):
    status_cli.show(look(yard.state))
    text = capsys.readouterr().out
    for name in (
        "001.txt: no such file",
        "002.txt: no such file",
        "link: no such file",
        "cut: ended at byte",
    ):
        assert name in text
    named = status_cli.answer(look(yard.state))["named"]
    assert sorted((each["path"], each["what"]) for each in named) == [
        ("001.txt", "skipped"),
        ("002.txt", "skipped"),
        ("cut", "incomplete"),
        ("fifo", "skipped"),
        ("folder/grows", "changed"),
        ("folder/shrinks", "changed"),
        ("link", "skipped"),
    ]


def test_of_groups_that_the_state_did_not_pack_their_manifests_say_how_much_was_skipped(yard):
    """The state was lost, and the source is as it was again; that files are not whole nobody knows any more."""
    shipment = look(yard.state).config.shipment
    shutil.rmtree(yard.state)
    shutil.rmtree(yard.folder / "corpus")
    (yard.folder / "before").rename(yard.folder / "corpus")
    assert all(group["taken_over"] for group in Yard.pack(yard, yard.mounts, yard.state, shipment=shipment).groups)
    assert yard.seal().seal.shortfall == Shortfall(skipped=3, incomplete=0, changed=0, later=0)


def test_a_summary_that_does_not_fit_the_manifests_is_none(yard):
    path = f"{yard.state}/scan/summary.json"
    with open(path, "rb") as file:
        summary = msgspec.json.decode(file.read())
    with open(path, "wb") as file:
        file.write(msgspec.json.encode(summary | {"shares": summary["shares"][:1]}))
    assert yard.seal().seal.shortfall.skipped == 3, "by the journal"


def test_a_journal_that_says_nonsense_of_what_came_is_bad_input(yard):
    with closing(Journal(yard.state)) as journal:
        journal.set(LATER, b"many")
    with pytest.raises(BadInput):
        look(yard.state)


def test_of_a_source_that_stays_as_it_is_nothing_lacks(tmp_path, monkeypatch):
    (tmp_path / "yard").mkdir()
    whole = Changing(tmp_path / "yard", monkeypatch, lambda _source: None).make()
    sealed = whole.seal()
    assert sealed.seal.shortfall is UNSET
    assert not [notice for notice in whole.notices if "of the source" in notice]
    with pytest.raises(FormatError, match="shortfall of nothing"):
        seals.decode_seal(
            seals.encode_seal(replace(sealed.seal, shortfall=Shortfall(skipped=0, incomplete=0, changed=0, later=0)))
        )
