"""Drives that were packed on in another host come back to one that remembers less of them: what they know counts."""

import os
import shutil
from functools import partial
from pathlib import Path

import pytest
import shipments

from sealift.formats import age_keys
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages.pack import run as packing
from sealift.stages.pack.away import Away
from sealift.stages.pack.copies import identity_of
from sealift.stages.pack.journal import Journal
from sealift.stages.pack.listing import Reader, Shelf
from sealift.stages.verify import verify

MIB = 1 << 20


def pack(origin, monkeypatch, stripes=1000):
    """Until so many stripes are committed; the notices."""
    notices, left, commit = [], [stripes], Journal.commit
    identity = identity_of(origin.signer, [age_keys.parse_recipient(origin.recipient)])
    shelf = partial(Shelf(str(origin.state.parent / "shelf")).answer, "this host")
    away = Away(origin.signer, identity, lambda _digest: None, Reader(shelf))

    def counted(*given):
        if not left[0]:
            raise KeyboardInterrupt
        commit(*given)
        left[0] -= 1

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "commit", counted)
        try:
            packing.run(origin.pack_options(away=away), packing.Events(notice=notices.append))
        except KeyboardInterrupt:
            notices.append("stopped")
    return notices


@pytest.mark.long
@pytest.mark.parametrize("signed", [False, True])
def test_a_state_that_knows_less_than_the_drives_takes_what_they_know(tmp_path, monkeypatch, signed):
    for number in range(64):
        shipments.write(tmp_path / f"source/{number:02d}.bin", os.urandom(MIB // 4))
    origin = shipments.Origin(tmp_path / "origin", tmp_path / "source", 2, 1)
    assert pack(origin, monkeypatch, 2)[-1] == "stopped"
    shutil.copytree(origin.state, tmp_path / "old")
    shutil.rmtree(origin.state)
    notices = pack(origin, monkeypatch, 1000 if signed else 5)
    assert any("the state folder had no journal; group 0 goes on after stripe" in text for text in notices)
    shutil.rmtree(origin.state)
    shutil.move(tmp_path / "old", origin.state)
    before = origin.manifests() if signed else None
    notices = pack(origin, monkeypatch)
    if signed:
        assert "group 0 is signed on its drives already" in notices
        assert origin.manifests() == before
    else:
        (text,) = [text for text in notices if "was packed on another host meanwhile; it goes on after stripe" in text]
        assert int(text.rpartition(" ")[2]) >= 4
    files = origin.seal()
    report = verify(origin.mounts, allowed=AllowedSigners.parse(origin.allowed), seal=files, remember=False)
    assert (report.state, report.faults) == ("intact", [])
    origin.unpack(Path(tmp_path / "restored"))
    assert shipments.picture(tmp_path / "restored") == shipments.picture(origin.source)
