"""Drives leave the origin sealed, and by clocks that agree; whoever has no way to know is told that, and no more."""

import contextlib
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from test_seal_stage import Yard

from sealift.errors import BadInput, Refused
from sealift.formats import seal as seals
from sealift.formats.allowed_signers import AllowedSigners
from sealift.formats.manifest import NAMESPACE, SEAL_FILES
from sealift.reading.trust import load_seal, open_seal
from sealift.stages import departure, seal_others
from sealift.trade import clocks, release
from sealift.trade import declaration as declarations
from sealift.trade.signing import Signer


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return Yard(tmp_path_factory.mktemp("yard")).make()


@pytest.fixture
def yard(packed, tmp_path):
    shutil.copytree(packed.folder, tmp_path / "y")
    copy = Yard(tmp_path / "y")
    copy.keys = {name: (str(copy.folder / name), line) for name, (_, line) in packed.keys.items()}
    return copy


def leave(yard, *, given=None, now=None, at=None, serials=("SER0", "SER1")):
    now = now or datetime.now(UTC)
    parsed = declarations.parse(Path(yard.declaration).read_bytes(), draft=False)
    allowed = AllowedSigners.parse((yard.folder / "signers").read_bytes())
    return departure.check(yard.declaration, parsed, list(serials), at or now, given, allowed, now)


@contextlib.contextmanager
def of_origin(yard):
    """The record of a screening lies beside the declaration, as where it was released."""
    record = Path(yard.declaration.replace(".toml", ".screening.json"))
    record.write_text("{}")
    yield
    record.unlink()


def redated(yard, path, **after):
    """The seal at `path` as the same key would have signed it by a clock that is wrong."""
    files = load_seal(path)
    at = (datetime.now(UTC) + timedelta(**after)).strftime(clocks.TIME)
    data = seals.encode_seal(replace(seals.decode_seal(files[SEAL_FILES[0]]), sealed_at=at))
    signed = Signer.open(yard.keys["origin"][0]).sign(data, NAMESPACE)
    Path(path).write_bytes(seals.encode_bundle({**files, SEAL_FILES[0]: data, SEAL_FILES[1]: signed}))


def test_drives_leave_when_they_are_sealed(yard):
    assert "nobody can say" in leave(yard), "with the declaration and its release alone"
    with of_origin(yard), pytest.raises(Refused, match="not sealed yet, and SER0, SER1 would leave") as caught:
        leave(yard)
    assert "sealift seal --state" in caught.value.hint
    sealed = yard.seal(out=str(yard.folder / "elsewhere"))
    assert leave(yard) == ""
    os.unlink(departure.note_path(yard.declaration))
    assert leave(yard, given=sealed.path) == ""
    with of_origin(yard), pytest.raises(Refused):
        leave(yard)
    assert not yard.seal(out=str(yard.folder / "elsewhere")).made, "sealed already, and noted again"
    assert leave(yard) == ""
    shutil.move(sealed.path, yard.folder / "sent.away")
    assert "could not be looked at" in leave(yard), "noted, and the seal itself is elsewhere"
    with pytest.raises(Refused, match="OTHER would leave, and no seal"):
        leave(yard, given=str(yard.folder / "sent.away"), serials=["SER0", "OTHER"])


def test_the_seal_of_another_consignment_is_none(yard):
    sealed = yard.seal()
    other = Path(yard.declaration).read_bytes().replace(b"SL-2026-SEALME", b"SL-2026-OTHERS")
    Path(yard.declaration).write_bytes(other)
    with pytest.raises(BadInput, match="it is the seal of SL-2026-SEALME, not of SL-2026-OTHERS"):
        leave(yard, given=sealed.path)


@pytest.mark.parametrize(("minutes", "refused"), [(9, False), (12, True), (60 * 24 * 300, True)])
def test_a_seal_from_the_future_is_told_with_whose_clock_to_look_at_and_made_anew(yard, minutes, refused):
    sealed = yard.seal()
    redated(yard, sealed.path, minutes=minutes)
    if refused:
        with pytest.raises(Refused, match="the clock where it was sealed was ahead, or this one is behind") as caught:
            leave(yard)
        assert "run sealift seal again, which makes a new seal" in caught.value.hint
    else:
        assert leave(yard) == ""
    again = yard.seal()
    assert again.made == (again.superseded is not None) == refused
    assert leave(yard) == ""
    now = datetime.now(UTC)
    there = open_seal(load_seal(again.path), AllowedSigners.parse((yard.folder / "signers").read_bytes()))
    assert clocks.is_ahead(departure.sealed_at(there.seal), now) is False


def test_a_departure_that_is_said_to_have_been_before_the_sealing_is_refused(yard):
    yard.seal()
    now = datetime.now(UTC)
    assert leave(yard, at=now - timedelta(minutes=5)) == ""
    with pytest.raises(Refused, match=r"by the form SER0, SER1 left at .*, and they were sealed at"):
        leave(yard, at=now - timedelta(hours=1))


# --- the clock of the officer


class Release:
    """As much of a release as has a time."""

    def __init__(self, at):
        self.record = self
        self.released_at = at.strftime(clocks.TIME)


@pytest.mark.parametrize(("seconds", "outcome"), [
    (-3600, "silent"), (0, "silent"), (1, "told"), (600, "told"), (601, "refused"), (3 * 3600, "refused"),
])  # fmt: skip
def test_a_release_that_is_later_than_the_clock_that_seals(seconds, outcome):
    now = datetime(2026, 11, 26, 8, tzinfo=UTC)
    given = Release(now + timedelta(seconds=seconds))
    assert release.released_at(given) == now + timedelta(seconds=seconds)
    if outcome == "refused":
        with pytest.raises(Refused, match="the clock where it was released was ahead, or this one is behind") as caught:
            seal_others.check_clock("d.toml", given, now)
        for said in (given.released_at, "2026-11-26T08:00:00Z"):
            assert said in str(caught.value)
        assert "look at both clocks" in caught.value.hint
    else:
        told = seal_others.check_clock("d.toml", given, now)
        assert bool(told) == (outcome == "told")


def test_sealing_asks_the_clock(yard, monkeypatch):
    monkeypatch.setattr(seal_others.clocks, "SKEW", timedelta(days=-1))
    with pytest.raises(Refused, match="nothing was sealed"):
        seal_others.check_clock("d.toml", Release(datetime.now(UTC) + timedelta(seconds=5)), datetime.now(UTC))
    monkeypatch.undo()
    monkeypatch.setattr("sealift.stages.seal.check_clock", lambda *_: "two clocks")
    yard.seal()
    assert "two clocks" in yard.notices
