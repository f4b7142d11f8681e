"""What rests on a seal that was superseded when it was signed is found, and what was signed before is not accused."""

import re
import shutil
from pathlib import Path

import audits
import fleet as fleets
import msgspec
import pytest
from audits import HOME, OUT

from sealift.formats import canonical
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages import audit as stage
from sealift.trade import audit as trade
from sealift.trade import signing

READER = Path(__file__).parents[1] / "interop" / "audit_reader.py"
FREED, ERASED = f"shipments/{OUT}/source-release.1.json", f"shipments/{OUT}/certificate.1.json"
FIRST, SECOND = f"shipments/{OUT}/receipt.1.json", f"shipments/{OUT}/receipt.2.json"
ANSWER = f"shipments/{HOME}/seal.1/seal.json"
TRAINER = audits.person("trainer").public_key.line


@pytest.fixture(scope="module", autouse=True)
def _parsed_once():
    with audits.parsed_once():
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Received at 60 and 100 hours, freed at 120, answered at 142, erased at 200; all under revision 2, sealed at 4."""
    return audits.make(tmp_path_factory.mktemp("voyage"))


@pytest.fixture
def voyage(whole, tmp_path):
    shutil.copytree(whole.folder, tmp_path / "v")
    copy = audits.Voyage(tmp_path / "v", whole.begin)
    copy.seals = dict(whole.seals)
    return copy


def looked(voyage):
    """What is found by file, but for what is only not there yet; and all that was."""
    target, by = str(voyage.folder.parent / "bundle.tar"), audits.person("auditor")
    verified = stage.make(voyage.papers, target, by, str(voyage.signers), voyage.allowed, voyage.now).verified
    found = {}
    for each in verified.findings:
        if each.state != "pending":
            found.setdefault(each.file, []).append(f"{each.state}: {each.text}")
    return {path: " | ".join(texts) for path, texts in found.items()}, verified


def same(text):
    return text + "\n"


def held(text):
    assert 'legal_hold = "none"' in text
    return text.replace('legal_hold = "none"', 'legal_hold = "Court of Lisbon, order 12/2026"')


def lifted(text):
    return text.replace('legal_hold = "Court of Lisbon, order 12/2026"', 'legal_hold = "none"')


def other_signer(text):
    assert TRAINER in text
    return text.replace(f"trainer@example.com {TRAINER}", f"other@example.com {audits.person('other').public_key.line}")


def other_recipient(text):
    """One fewer: that the answer is for him, too, nobody wants any more."""
    head, between, back = text.partition("\n[return]\n")
    gone = f'  "{audits.filled.RECIPIENTS[1]}",\n'
    assert gone in back
    return head + between + back.replace(gone, "")


def nobody(text):
    head, between, back = text.partition("\n[return]\n")
    return head + between + re.sub(r"(?m)^(recipients|signers) = \[[^]]*\]$", r"\1 = []", back, count=2)


def one_more_signer(text):
    more = f'"other@example.com {audits.person("other").public_key.line}"'
    return text.replace(f'"trainer@example.com {TRAINER}"', f'"trainer@example.com {TRAINER}", {more}')


HELD = "legal hold, in revision 3: Court of Lisbon, order 12/2026"
RESTS = "of the seal of revision 2, which that of revision 3, made at"
CASES = {
    # what revision 3 changes, when it was released and sealed (hours; None: never), and what is to be found
    "sealed after all of it": (same, 150, 211, {}),
    "sealed after the source was freed": (same, 130, 131, {}),
    "sealed before the source was freed": (same, 105, 106, {FREED: "wrong: it rests on the seal of revision 2"}),
    "sealed in the second in which it was freed": (same, 105, 120, {}),
    "sealed before it was received": (
        same, 85, 86,
        {SECOND: f"look: it is {RESTS}", FREED: "wrong: it rests on", ERASED: f"receipt that is {RESTS}"},
    ),
    "released and not sealed": (same, 30, None, {}),
    "held, and sealed, before it was freed": (held, 105, 106, {FREED: f"wrong: {HELD}", ERASED: HELD}),
    "held before it was freed, and not sealed": (held, 105, None, {FREED: "wrong: legal hold", ERASED: HELD}),
    "held after it was freed": (held, 130, 131, {ERASED: HELD}),
    "another signer of the leg home": (other_signer, 130, 141, {ANSWER: "does not accept who signed it, trainer@"}),
    "another signer of the leg home, after the answer": (other_signer, 130, 143, {}),
    "another recipient of the leg home": (other_recipient, 130, 141, {ANSWER: "does not name age1"}),
    "one more signer of the leg home": (one_more_signer, 130, 141, {}),
    "no leg home any more": (nobody, 130, 141, {ANSWER: "names nobody who may answer"}),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_what_rests_on_a_superseded_seal_is_found_and_nothing_else(voyage, tmp_path, name):
    edit, released, sealed, wanted = CASES[name]
    voyage.revise(OUT, edit, hours=released)
    if sealed is not None:
        voyage.seal_again(OUT, hours=sealed)
    found, verified = looked(voyage)
    assert set(found) == set(wanted), found
    for path, text in wanted.items():
        assert text in found[path]
    states = {each.partition(":")[0] for text in found.values() for each in text.split(" | ")}
    assert verified.exit_code == (5 if "wrong" in states else 3 if states else 0)


def test_a_hold_that_was_lifted_in_time_holds_nothing_up(voyage):
    voyage.revise(OUT, held, hours=105)
    voyage.revise(OUT, lifted, hours=110)
    assert looked(voyage)[0] == {}


def test_what_was_received_under_a_superseded_seal_is_received_again_under_the_newer(voyage):
    """The receiver did not know of it yet; nobody is accused once what it speaks of was verified against that."""
    voyage.revise(OUT, same, hours=85)
    voyage.seal_again(OUT, hours=86)
    for path in voyage.folder.glob(f"{OUT}.source-release.json*"):
        path.unlink()
    found, _ = looked(voyage)
    assert set(found) == {SECOND, ERASED}
    (voyage.folder.parent / "bundle.tar").unlink()
    states = {"g0s0": "intact", "g0s1": "intact", "g0s2": "intact", "g1s0": "intact", "g1s1": "intact"}
    again = voyage.receive(OUT, states, "third.receipt.json", hours=110)
    voyage.free(OUT, [again], hours=120)
    assert looked(voyage)[0] == {}


def test_drives_are_missed_that_no_receipt_under_any_seal_has_seen(voyage):
    """The receipt that has seen the second group is away; of the first group, one of before the newer seal is there."""
    voyage.revise(OUT, same, hours=130)
    voyage.seal_again(OUT, hours=131)
    for pattern in ("receipts/second*", f"{OUT}.source-release.json*", "erased/*"):
        for path in voyage.folder.glob(pattern):
            path.unlink()
    _, verified = looked(voyage)
    pending = {each.text for each in verified.findings if "neither received nor" in each.text}
    serial = voyage.seals[OUT].seal.groups[1].drives[0].serial  # of the other one there is a discrepancy
    assert pending == {f"drive {serial} is declared, and neither received nor said to be missing"}


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    ["sealed before the source was freed", "held before it was freed, and not sealed", "sealed after all of it"],
)
def test_a_program_that_is_not_ours_says_the_same(voyage, tmp_path, name):
    from test_audit import read_by_other

    edit, released, sealed, wanted = CASES[name]
    voyage.revise(OUT, edit, hours=released)
    if sealed is not None:
        voyage.seal_again(OUT, hours=sealed)
    _, verified = looked(voyage)
    code, told = read_by_other(voyage.signers, dict(verified.files), tmp_path)
    assert told == {path for path, text in wanted.items()}
    assert code == bool(wanted)


@pytest.mark.long
@pytest.mark.parametrize("told", [True, False])
def test_manifests_of_a_key_that_was_replaced_hold_for_everybody(voyage, tmp_path, told):
    """By our reader, by the one that is not ours, and by OPEN-ME.txt: at the time that the newer seal says."""
    from test_audit import follow, read_by_other

    ended, begun = (voyage.at(hours=each).strftime("%Y%m%d%H%M%SZ") for each in (150, 151))
    old, new = (audits.person(name).public_key.line for name in ("origin", "origin2"))
    lines = [each for each in voyage.signers.read_text().splitlines() if not each.startswith("origin@")]
    lines += [f'origin@example.com valid-before="{ended}" {old}', f'origin@example.com valid-after="{begun}" {new}']
    voyage.signers.write_text("\n".join(lines) + "\n")
    voyage.allowed = AllowedSigners.parse(voyage.signers.read_bytes())
    voyage.revise(OUT, same, hours=151)
    first = voyage.seals[OUT].seal.sealed_at
    second = voyage.seal_again(OUT, sealed_by="origin2", first=first if told else msgspec.UNSET, hours=152)
    found, verified = looked(voyage)
    assert found == {}
    done = follow(dict(verified.files), tmp_path / "x")
    assert (done.returncode, done.stdout) == (0, "")
    assert (read_by_other(voyage.signers, dict(verified.files), tmp_path) == (0, set())) == told
    alone = {f"shipments/{OUT}/seal.1/seal.json": second.files["seal/seal.json"]}
    at = first if told else second.seal.sealed_at
    assert trade.sealed_times(alone) == {each.manifest.blake3: at for each in second.seal.groups}


# --- a release that does not stand any more


def stopped(folder, begin, *events):
    """Drives that went to Anna, and of whose consignee a later screening says that it may be on a list."""
    out = fleets.make(folder / "nowhere", seed=7, geometry=((2, 1),), lengths=[[300]], on_disk=False, with_seal=False)
    serials = [out.serial(0, slot) for slot in range(3)]
    voyage = audits.Voyage(folder, begin)
    path = voyage.declare(OUT, serials)
    voyage.clear(path)
    voyage.release(path, hours=1)
    voyage.seal(path, out.groups, hours=4)
    log = folder / "custody"
    voyage.event(log, OUT, "seal", "origin", "origin", serials, "", "S1", hours=5)
    for kind, one, other, count, hours, *by in events:
        signed = {"by": by} if by else {}
        voyage.event(log, OUT, kind, one, other, serials[:count], "S1", "S1", hours=hours, **signed)
    how, bound = trade.SIGNED["screening"], folder / f"{OUT}.screening.json"
    record = how.decode(bound.read_bytes())
    parties = tuple(
        msgspec.structs.replace(each, hits=hits, disposition="potential" if hits else each.disposition)
        for each in record.parties
        for hits in [tuple(msgspec.structs.replace(hit, decision=None) for hit in each.hits)]
    )
    later = msgspec.structs.replace(record, at=voyage.text(hours=30), parties=parties, supersedes=None)
    data = canonical.encode(later)
    signing.write_pair(str(folder / f"{OUT}.screening.9.json"), data, audits.person("sam").sign(data, how.namespace))
    return voyage


LEFT, BACK = ("handover", "origin", "anna", 3, 24), ("return", "anna", "origin", 3, 40)


@pytest.mark.long
@pytest.mark.parametrize(("events", "exit_code"), [
    ([LEFT, BACK], 0),
    ([LEFT, ("handover", "anna", "origin", 3, 40)], 0),
    ([LEFT, (*BACK[:3], 2, 40)], 3),  # one is not back yet
    ([LEFT, (*BACK, "anna")], 3),  # nobody of the origin has signed that they are
    ([LEFT], 3),
    ([], 3),  # whoever has them must not let them go
    ([LEFT, BACK, ("handover", "origin", "anna", 3, 50)], 5),  # and they went on again
])  # fmt: skip
def test_a_shipment_that_was_stopped_and_brought_back_is_nothing_to_look_at(whole, tmp_path, events, exit_code):
    voyage = stopped(tmp_path / "v", whole.begin, *events)
    found, verified = looked(voyage)
    assert verified.exit_code == exit_code, found
    told = [each for each in verified.holds if "stopped, and every drive is back at the origin" in each]
    assert len(told) == (exit_code == 0)
    assert any("the release does not stand" in text for text in found.values()) == (exit_code != 0)


@pytest.mark.parametrize(("state", "told"), [("lost", True), ("rebuilt", False)])
def test_a_certificate_of_a_drive_that_never_came_is_to_be_looked_at(voyage, state, told):
    """It says nothing of that itself: the receipts on which it rests do."""
    for each in ("receipts", "erased"):
        shutil.rmtree(voyage.folder / each)
    for path in voyage.folder.glob(f"{OUT}.source-release.json*"):
        path.unlink()
    every = {"g0s0": "intact", "g0s1": "intact", "g0s2": "intact", "g1s0": "intact", "g1s1": state}
    receipt = voyage.receive(OUT, every, "only.receipt.json", hours=100)
    serial = voyage.seals[OUT].declaration.drives[-1].serial
    voyage.erase(OUT, serial, receipt, 1, "rebuilt", hours=200)
    found, _ = looked(voyage)
    assert (f"look: {serial} was erased, and by the receipt of" in found.get(ERASED, "")) == told, found
    assert "wrong" not in found.get(ERASED, "")
