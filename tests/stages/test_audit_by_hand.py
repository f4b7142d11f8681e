"""A side that signed by hand on paper is told as that, with whether its photograph is here; never as signed by key."""

import hashlib

import audits
import pytest
from audits import OUT
from test_audit import AT, again, read_by_other, verify, without

from sealift.stages import audit as stage
from sealift.trade import custody_event

PAPER = b"\xff\xd8 a photograph of a form that Bo signed"
SHA256 = hashlib.sha256(PAPER).hexdigest()
PHOTOGRAPH = f"{AT}photographs/{SHA256}"
BO = custody_event.Party(name="Bo", org="Consignee Bhd", id_kind="passport", paper_sha256=SHA256, key_fingerprint="")


@pytest.fixture(scope="module", autouse=True)
def _parsed_once():
    with audits.parsed_once():
        yield


@pytest.fixture(scope="module")
def voyage(tmp_path_factory):
    return audits.make(tmp_path_factory.mktemp("voyage"))


@pytest.fixture(scope="module")
def files(voyage):
    target, by = str(voyage.folder / "bundle.tar"), audits.person("auditor")
    return dict(stage.make(voyage.papers, target, by, str(voyage.signers), voyage.allowed, voyage.now).verified.files)


def carried(voyage, folder, *, hand):
    """A log in which the dock, or Bo without a key, takes the drives."""
    serials, log = [each.serial for each in voyage.seals[OUT].declaration.drives], folder / "custody"
    voyage.event(log, OUT, "seal", "origin", "origin", serials, "", "S1", hours=5)
    changes = {"received_by": BO, "by": {"origin"}} if hand else {}
    voyage.event(log, OUT, "handover", "origin", "dock", serials, "S1", "S1", hours=24, **changes)
    return {f"{AT}custody/{path.name}": path.read_bytes() for path in log.iterdir()}


def said(verified):
    """What is said to hold of custody on the way out."""
    return [each.removeprefix(f"{OUT}: ") for each in verified.holds if each.startswith(f"{OUT}: custody")]


@pytest.mark.parametrize(("photograph", "hand", "exit_code", "words"), [
    (False, False, 0, ["custody: 2 events, each signed by key by those whom it names"]),
    (True, True, 0, [
        "custody: 2 events, 2 sides signed by key, 1 by hand on paper, not by key",
        "custody: by hand on paper, not by key; the photograph is here: Bo (Consignee Bhd) in event 2",
    ]),
    (False, True, 6, [
        "custody: 2 events, 2 sides signed by key, 1 by hand on paper, not by key",
        "custody: by hand on paper, not by key; the photograph is NOT here: Bo (Consignee Bhd) in event 2",
    ]),
])  # fmt: skip
def test_sides_by_hand_are_counted_apart_and_lack_nothing_but_their_photograph(
    voyage, files, tmp_path, photograph, hand, exit_code, words
):
    rest = without(
        files, "/custody/", "photographs", "receipt", "reports", "source-release", "certificate", audits.HOME
    )
    road = carried(voyage, tmp_path, hand=hand) | ({PHOTOGRAPH: PAPER} if photograph else {})
    bundle = again(voyage, rest | road)
    verified = verify(voyage, bundle)
    assert said(verified) == words
    assert verified.exit_code == exit_code
    lacks = [(each.file, each.state) for each in verified.findings if each.state != "pending"]
    assert lacks == ([(PHOTOGRAPH, "missing")] if exit_code else [])
    code, named = read_by_other(voyage.signers, bundle, tmp_path)
    assert (code, named) == ((1, {PHOTOGRAPH}) if exit_code else (0, set())), "the other reader says the same"


def test_a_side_by_hand_is_told_also_where_people_must_look_at_the_log(voyage, files, tmp_path):
    rest = without(
        files, "/custody/", "photographs", "receipt", "reports", "source-release", "certificate", audits.HOME
    )
    road = carried(voyage, tmp_path, hand=True) | {PHOTOGRAPH: PAPER}
    serials = [each.serial for each in voyage.seals[OUT].declaration.drives]
    log = tmp_path / "custody"
    voyage.event(log, OUT, "discrepancy", "dock", "dock", serials[:1], "", "", hours=30)
    road |= {f"{AT}custody/{path.name}": path.read_bytes() for path in log.iterdir()}
    verified = verify(voyage, again(voyage, rest | road))
    assert verified.exit_code == 3
    assert said(verified) == [
        "custody: by hand on paper, not by key; the photograph is here: Bo (Consignee Bhd) in event 2"
    ]


def test_another_picture_under_its_name_is_no_photograph_of_it(voyage, files, tmp_path):
    rest = without(
        files, "/custody/", "photographs", "receipt", "reports", "source-release", "certificate", audits.HOME
    )
    verified = verify(voyage, again(voyage, rest | carried(voyage, tmp_path, hand=True) | {PHOTOGRAPH: b"another"}))
    assert verified.exit_code == 5
    assert [(each.file, each.state) for each in verified.findings if each.state != "pending"] == [(PHOTOGRAPH, "wrong")]
    assert any("the photograph is NOT here" in each for each in said(verified))
