"""The release of the source: what it rests on, that nothing less opens it, and that no byte of it can be another."""

import contextlib
import re
from datetime import timedelta
from pathlib import Path

import fleet as fleets
import msgspec
import pytest
import receivings
from hypothesis import given, settings
from hypothesis import strategies as st

from sealift.cli import source_release as cli
from sealift.errors import BadInput, FormatError, Refused, SignatureInvalid
from sealift.formats import canonical
from sealift.formats import seal as seals
from sealift.reading.trust import open_seal
from sealift.stages import source_release as stage
from sealift.trade import declaration as declarations
from sealift.trade import receipt as r
from sealift.trade import source_release as s

SPEC = Path(__file__).parents[2] / "docs" / "spec"
WORLD = receivings.make()
WHOLE = WORLD.received(WORLD.report())
NOW = WHOLE.at + timedelta(hours=1)
ED = r.person("Ed Engineer", "Kittiwake", "ed@example.com")


def file(folder, receipt, name="a", *, by="dock", signature=None):
    """A receipt in a file, with its signature beside it."""
    data = r.encode(receipt.record if hasattr(receipt, "record") else receipt)
    path = folder / f"{name}.receipt.json"
    path.write_bytes(data)
    Path(f"{path}.sig").write_bytes(signature or receivings.signer(WORLD.fleet, by).sign(data, r.NAMESPACE))
    return str(path)


def look(*files, trusted=None, now=NOW, **more):
    return stage.look(trusted or WORLD.trusted, files, WORLD.allowed, now, **more)


def release(looked, folder, by="ed", now=NOW, allowed=WORLD.allowed):
    return stage.release(looked, ED, receivings.signer(WORLD.fleet, by), allowed, str(folder), now)


def changed(**fields):
    return msgspec.structs.replace(WHOLE.record, **fields)


def only(*groups, **fields):
    return changed(groups=[WHOLE.record.groups[number] for number in groups], **fields)


def drive_is(state, group=0, slot=1, of_group="rebuilt"):
    """The whole receipt, but for one drive."""
    groups = list(WHOLE.record.groups)
    drives = list(groups[group].drives)
    way, read_at = (msgspec.UNSET, "") if state == "unseen" else (drives[slot].read_from, drives[slot].read_at)
    drives[slot] = msgspec.structs.replace(drives[slot], state=state, read_at=read_at, read_from=way)
    groups[group] = msgspec.structs.replace(groups[group], drives=drives, state=of_group)
    return changed(groups=groups)


# --- may it be freed?


def test_a_source_of_which_not_all_was_sent_is_freed_only_where_that_is_accepted(tmp_path, capsys):
    shortfall = seals.Shortfall(skipped=41, incomplete=1, changed=0, later=0)
    short = WORLD.trusted._replace(seal=msgspec.structs.replace(WORLD.trusted.seal, shortfall=shortfall))
    looked = look(file(tmp_path, WHOLE), trusted=short)
    (why,) = looked.objections
    assert why.startswith("of the source 41 paths are not packed; 1 file is not whole")
    with pytest.raises(Refused):
        release(looked, tmp_path)
    cli._show(looked)
    cli._say(looked, None)
    told = capsys.readouterr()
    assert "NOT to be freed" in told.out
    assert "--accept-missing" in told.err
    accepted = look(file(tmp_path, WHOLE), trusted=short, accept_missing=True)
    made = release(accepted, tmp_path)
    assert made.statement.record.shortfall == shortfall
    assert not release(accepted, tmp_path).new
    cli._show(accepted)
    assert "of the source 41 paths are not packed" in capsys.readouterr().out
    assert cli.answer(accepted, made)["shortfall"] == {"skipped": 41, "incomplete": 1, "changed": 0, "later": 0}


def test_a_source_of_which_all_was_sent_is_freed_and_the_statement_says_nothing_of_it(tmp_path):
    looked = look(file(tmp_path, WHOLE), accept_missing=True)
    assert b"shortfall" not in Path(release(looked, tmp_path).path).read_bytes()


def test_receipts_of_all_groups_open_it(tmp_path):
    looked = look(file(tmp_path, WHOLE))
    assert looked.may_be_freed
    made = release(looked, tmp_path)
    data = Path(made.path).read_bytes()
    assert s.check_source_release(data, Path(f"{made.path}.sig").read_bytes(), WORLD.allowed) == made.statement
    record = made.statement.record
    assert record.seal == WORLD.trusted.reference.seal
    (counted,) = record.receipts
    assert (counted.receipt, counted.groups) == (WHOLE.file, [0, 1])
    assert counted.fingerprint == receivings.signer(WORLD.fleet, "dock").public_key.fingerprint


def test_receipts_of_several_sites_open_it_together(tmp_path):
    looked = look(file(tmp_path, only(0)), file(tmp_path, only(1), "b", by="hub"))
    assert looked.may_be_freed
    record = release(looked, tmp_path).statement.record
    assert sorted(each.groups for each in record.receipts) == [[0], [1]]
    assert len({each.fingerprint for each in record.receipts}) == 2


@pytest.mark.parametrize(
    ("ways", "said"),
    [
        (["medium"] * 5, []),
        (
            ["network", "network", "medium", "cache", None],
            ["2 drives of them read over a network", "1 drive of them read through", "1 drive of them read in a way"],
        ),
    ],
)
def test_how_drives_were_read_is_told_and_decides_nothing(ways, said, capsys, tmp_path):
    report = receivings.again(WORLD.report())
    copies = [copy for group in report.groups for copy in group.present]
    for copy, way in zip(copies, ways, strict=True):
        copy.read_from = way
    cli._show(look(file(tmp_path, WORLD.received(report))))
    lines = capsys.readouterr().out.splitlines()[1:]
    assert "may be freed" in lines[0]
    assert len(lines) == 1 + len(said)
    assert all(any(each in line for line in lines) for each in said)


def test_the_same_again_changes_nothing_and_another_is_kept(tmp_path):
    looked = look(file(tmp_path, WHOLE))
    first = release(looked, tmp_path)
    assert not release(looked, tmp_path, now=NOW + timedelta(hours=1)).new
    both = look(file(tmp_path, WHOLE), file(tmp_path, only(1, at=NOW.strftime(r.TIME)), "b", by="hub"))
    second = release(both, tmp_path)
    assert (second.new, second.superseded) == (True, first.path.replace(".json", ".1.json"))


@pytest.mark.parametrize(
    ("record", "group", "why"),
    [
        (only(0), 1, "no receipt that holds speaks of it"),
        (only(1), 0, "no receipt that holds speaks of it"),
        (drive_is("unseen", of_group="unseen"), 0, "not all of it was read: g0s1 .* is unseen"),
        (drive_is("lost", of_group="lost"), 0, "g0s1 .* is lost"),
        (drive_is("lost"), 0, "what is lost was not made again: g0s1"),
        (drive_is("unseen"), 0, "not all of it was read"),
        (drive_is("lost", 1, 0), 1, "g1s0"),
    ],
)
def test_a_group_that_was_not_verified_holds_it(tmp_path, record, group, why):
    looked = look(file(tmp_path, record))
    assert (looked.objections, looked.may_be_freed) == ([], False)
    assert [each.group for each in looked.lacking] == [group]
    assert re.search(why, looked.lacking[0].why)
    with pytest.raises(Refused):
        release(looked, tmp_path)
    assert not list(tmp_path.glob("*source-release*"))


def test_a_drive_that_was_made_again_is_verified(tmp_path):
    assert look(file(tmp_path, drive_is("rebuilt"))).may_be_freed


def test_the_newest_receipt_of_a_group_counts_whatever_came_before(tmp_path):
    later = (WHOLE.at + timedelta(minutes=1)).strftime(r.TIME)
    worse = file(tmp_path, msgspec.structs.replace(drive_is("lost", of_group="lost"), at=later), "worse")
    whole = file(tmp_path, WHOLE)
    for order in ((worse, whole), (whole, worse)):
        assert [each.state for each in look(*order).lacking] == ["lost"]
    newest = (WHOLE.at + timedelta(minutes=2)).strftime(r.TIME)
    assert look(worse, whole, file(tmp_path, changed(at=newest), "newest")).may_be_freed


other_drive = msgspec.structs.replace(
    WHOLE.record.groups[0],
    drives=[
        msgspec.structs.replace(each, serial="SN-X" if slot == 0 else each.serial)
        for slot, each in enumerate(WHOLE.record.groups[0].drives)
    ],
)
other_manifest = msgspec.structs.replace(WHOLE.record.groups[1], manifest=WHOLE.record.seal)


@pytest.mark.parametrize(
    ("record", "by", "why"),
    [
        (changed(shipment="ab" * 8), "dock", "is of shipment abab"),
        (changed(seal=WHOLE.record.declaration), "dock", "another seal"),
        (changed(consignment_id="SL-X"), "dock", "contradicts the seal"),
        (changed(rehearsal=False), "dock", "contradicts the seal"),
        (changed(declaration=WHOLE.record.seal), "dock", "contradicts the seal"),
        (changed(groups_total=3), "dock", "contradicts the seal"),
        (changed(drives_total=6), "dock", "contradicts the seal"),
        (changed(groups=[other_drive, WHOLE.record.groups[1]]), "dock", "has group 0 otherwise"),
        (changed(groups=[WHOLE.record.groups[0], other_manifest]), "dock", "has group 1 otherwise"),
        (changed(at=(NOW + timedelta(seconds=1)).strftime(r.TIME)), "dock", "still to come"),
        (WHOLE.record, "author", "the declaration's author: the origin cannot receive"),
        (WHOLE.record, "signing", "who sealed the shipment: the origin cannot receive"),
        (WHOLE.record, "officer", "who released the declaration: the origin cannot receive"),
        (WHOLE.record, "ed", "only in 'sealift-source-release'"),
        (WHOLE.record, "nobody", "not among the allowed signers"),
    ],
)
def test_a_receipt_that_does_not_hold_stops_all(tmp_path, record, by, why):
    bad = file(tmp_path, record, by=by)
    looked = look(bad)
    assert any(why in each for each in looked.objections), looked.objections
    assert [each.group for each in looked.lacking] == [0, 1], "it speaks of nothing"
    beside = look(bad, file(tmp_path, changed(received_by=ED), "good"))
    assert beside.objections
    assert beside.lacking == []
    with pytest.raises(Refused):
        release(beside, tmp_path)


@pytest.mark.parametrize(("shown", "more"), [(0, "2 more groups"), (1, "1 more group")])
def test_groups_that_are_not_shown_are_counted(tmp_path, monkeypatch, capsys, shown, more):
    monkeypatch.setattr(cli.common, "SHOWN", shown)
    cli._show(look(file(tmp_path, WHOLE.record, by="nobody")))
    assert f"  and {more} (--json names all of them)" in capsys.readouterr().out


def test_a_receipt_that_is_older_than_the_seal_does_not_count():
    drives = [msgspec.structs.replace(each, read_at="2026-01-02T00:00:00Z") for each in WHOLE.record.groups[0].drives]
    early = changed(at="2026-01-02T00:00:00Z", groups=[msgspec.structs.replace(WHOLE.record.groups[0], drives=drives)])
    data = r.encode(early)
    receipt = r.check_receipt(data, receivings.signer(WORLD.fleet, "dock").sign(data, r.NAMESPACE), WORLD.allowed)
    ground = look().ground
    assert any("is older than the seal" in each for each in s.objections(ground, [receipt], NOW))


def test_a_receipt_against_a_seal_that_was_superseded_does_not_count(tmp_path):
    looked = look(file(tmp_path, WHOLE), trusted=WORLD.resealed())
    assert any("another seal of this shipment" in each for each in looked.objections)


def test_a_signature_over_other_bytes_stops_all(tmp_path):
    path = file(tmp_path, WHOLE)
    Path(path).write_bytes(Path(path).read_bytes().replace(b"Rui", b"Rai"))
    assert any("not over these bytes" in each for each in look(path).objections)
    Path(path).write_bytes(b"rubbish")
    assert any("receipt.json" in each for each in look(path).objections)
    with pytest.raises(BadInput, match="No such file"):
        look(str(tmp_path / "nowhere.json"))


def test_no_receipt_at_all_names_every_group():
    assert [each.group for each in look().lacking] == [0, 1]


def test_a_legal_hold_holds_the_source(tmp_path):
    looked = look(file(tmp_path, WHOLE))
    declaration = msgspec.structs.replace(looked.ground.declaration, legal_hold="Court, order 12")
    held = looked.ground._replace(declaration=declaration)
    assert s.objections(held, [WHOLE], NOW) == ["the declaration states a legal hold: Court, order 12"]
    none = held._replace(declaration=msgspec.structs.replace(declaration, legal_hold=declarations.NO_HOLD))
    assert s.objections(none, [WHOLE], NOW) == []


def test_a_seal_of_a_later_revision_beside_it_holds_the_source(tmp_path):
    receipt = file(tmp_path, WHOLE)
    sent, later = tmp_path / "a.1.seal", tmp_path / "a.seal"
    sent.write_bytes(WORLD.fleet.bundle)
    (tmp_path / "odd.seal").write_bytes(b"rubbish")
    (tmp_path / "folder.seal").mkdir()
    assert look(receipt, seal=str(sent)).may_be_freed
    for hold, said in (("Court, order 12", ", and states a legal hold: Court, order 12"), ("none", "")):
        later.write_bytes(seals.encode_bundle(fleets.revised(WORLD.fleet, hold)))
        held = look(receipt, seal=str(sent))
        assert "".join(held.objections) == (
            f"the seal given is superseded: {later} is the seal of revision 2 of {WHOLE.record.consignment_id}{said}:"
            f" give that one (--seal {later}), and receipts against it"
        )
        with pytest.raises(Refused):
            release(held, tmp_path)
    assert look(receipt, seal=str(tmp_path)).may_be_freed, "a drive, or a folder: nothing lies beside it"
    newest = open_seal(fleets.revised(WORLD.fleet), WORLD.allowed)
    assert not any("given is superseded" in each for each in look(receipt, trusted=newest, seal=str(later)).objections)


def test_who_received_does_not_free_the_source_and_other_keys_do_not_either(tmp_path):
    looked = look(file(tmp_path, WHOLE))
    with pytest.raises(Refused, match="who received it does not free"):
        release(looked, tmp_path, by="dock")
    for by in ("nobody", "hub"):
        with pytest.raises(SignatureInvalid):
            release(looked, tmp_path, by=by)
    assert not list(tmp_path.glob("*source-release*"))


def test_too_many_receipts_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(s, "MAX_RECEIPTS", 1)
    with pytest.raises(BadInput, match="2 receipts"):
        look("a", "b")


minutes, states = st.integers(0, 3), st.sampled_from(["intact", "lost", "unseen", "rebuilt"])
drawings = st.lists(st.tuples(minutes, states, st.integers(0, 1), st.integers(0, 1)), max_size=6)


@given(drawings)
@settings(max_examples=200, deadline=None)
def test_what_is_counted_covers_every_group_exactly_or_something_is_lacking(drawn):
    receipts, said = [], {}
    for minute, state, group, slot in drawn:
        at = (WHOLE.at + timedelta(minutes=minute)).strftime(r.TIME)
        of_group = state if state in {"lost", "unseen"} else "rebuilt"
        record = WHOLE.record if state == "intact" else drive_is(state, group, slot, of_group)
        data = r.encode(msgspec.structs.replace(record, at=at, groups=[record.groups[group]]))
        signature = receivings.signer(WORLD.fleet, "dock").sign(data, r.NAMESPACE)
        receipts.append(r.check_receipt(data, signature, WORLD.allowed))
        said.setdefault((group, minute), set()).add(record.groups[group].state)
    lacking = {each.group for each in s.lacking(look().ground, receipts)}
    for group in (0, 1):
        last = max((minute for number, minute in said if number == group), default=None)
        assert (group not in lacking) == (last is not None and said[group, last] <= r.VERIFIED)
    groups = sorted(number for each in s.counted(receipts) for number in each.groups)
    assert groups == sorted({number for number, _ in said})


# --- the record


SHOWN = re.search(r"```json\n(.*?)```", (SPEC / "source-release.md").read_text(), re.DOTALL)[1].encode()
RECORD = s.decode(SHOWN)
SIGNED = receivings.signer(WORLD.fleet, "ed").sign(SHOWN, s.NAMESPACE)


def test_it_comes_back_with_who_signed_it():
    found = s.check_source_release(SHOWN, SIGNED, WORLD.allowed)
    assert (found.record, found.principal, found.file.bytes) == (RECORD, "ed@example.com", len(SHOWN))


@pytest.mark.parametrize("namespace", ["sealift-receipt", "sealift-release", "sealift"])
def test_a_signature_of_another_kind_is_refused(namespace):
    with pytest.raises(SignatureInvalid):
        s.check_source_release(SHOWN, receivings.signer(WORLD.fleet, "ed").sign(SHOWN, namespace), WORLD.allowed)


@pytest.mark.parametrize("principal", ["author@example.com", "officer@example.com", "origin@example.com"])
def test_a_receipt_by_a_second_key_of_somebody_of_the_origin_does_not_open_it(tmp_path, principal):
    allowed = WORLD.who("dock", principal)
    trusted = open_seal(WORLD.fleet.seal_files, allowed)
    looked = stage.look(trusted, [file(tmp_path, WHOLE)], allowed, NOW)
    assert not looked.may_be_freed
    assert "the origin cannot receive from itself" in looked.objections[0]


def test_who_received_does_not_free_with_another_of_their_keys_either(tmp_path):
    allowed = WORLD.who("ed", "dock@example.org")
    looked = look(file(tmp_path, WHOLE))
    with pytest.raises(Refused, match=r"of one person with .* does not free the source"):
        release(looked, tmp_path, allowed=allowed)
    made = release(looked, tmp_path)
    data = Path(made.path).read_bytes()
    with pytest.raises(Refused, match="does not free the source"):
        s.check_source_release(data, Path(f"{made.path}.sig").read_bytes(), allowed)


CARRIES = r"that of Otto \(north\), who carries drives of this shipment"


def test_a_carrier_by_the_custody_log_signs_no_receipt_and_no_release_of_the_source(tmp_path):
    """Whatever name they give: the allowed signers say whose the key is, and the log as what it signed."""
    weighed = WORLD.weigh(WORLD.report())
    log = WORLD.carried(tmp_path / "log", "dock")
    with pytest.raises(Refused, match=CARRIES):
        WORLD.receive(weighed, tmp_path / "out", custody=log)
    assert not (tmp_path / "out").exists()
    assert WORLD.receive(weighed, tmp_path / "out", custody=log, by="hub").new, "who carries nothing"
    looked = look(file(tmp_path, WHOLE), custody=log)
    assert "is signed by Otto (north), who carries" in looked.objections[0]
    # with another of their keys, too
    allowed = WORLD.who("ed", "dock@example.org")
    looked = stage.look(WORLD.trusted, [file(tmp_path, WHOLE, by="hub")], allowed, NOW, custody=log)
    assert looked.objections == []
    with pytest.raises(Refused, match=CARRIES):
        release(looked, tmp_path / "freed", allowed=allowed)
    looked = look(file(tmp_path, WHOLE, by="hub"), custody=log)
    assert release(looked, tmp_path / "freed").new


def test_a_carrier_is_known_by_the_address_in_the_declaration_where_no_log_is_given(tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "carriers", lambda *_: [(frozenset({"ed@example.com"}), "North")])
    looked = look(file(tmp_path, WHOLE))
    with pytest.raises(Refused, match="that of North, who carries"):
        release(looked, tmp_path)


def test_who_signed_a_receipt_that_counts_no_more_does_not_free_either(tmp_path):
    later = (WHOLE.at + timedelta(minutes=1)).strftime(r.TIME)
    first = file(tmp_path, WHOLE)
    looked = look(first, file(tmp_path, changed(at=later), "b", by="hub"))
    assert [each.fingerprint for each in s.counted(looked.receipts)] == [
        receivings.signer(WORLD.fleet, "hub").public_key.fingerprint
    ]
    with pytest.raises(Refused, match="does not free the source"):
        release(looked, tmp_path, by="dock")


def test_a_record_that_a_receiver_signed_is_refused():
    dock = receivings.signer(WORLD.fleet, "dock")
    receipts = [msgspec.structs.replace(each, fingerprint=dock.public_key.fingerprint) for each in RECORD.receipts]
    data = s.encode(msgspec.structs.replace(RECORD, receipts=receipts))
    with pytest.raises(Refused, match="does not free the source"):
        s.check_source_release(data, dock.sign(data, s.NAMESPACE), WORLD.allowed)


one, two = RECORD.receipts


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"receipts": [two, one]}, "not sorted"),
        ({"receipts": [one, one]}, "not sorted"),
        ({"receipts": [one]}, "not every group"),
        ({"groups_total": 4}, "not every group"),
        ({"groups_total": 2}, "not every group"),
        ({"receipts": [one, msgspec.structs.replace(two, groups=[1, 2])]}, "not every group"),
        ({"receipts": [msgspec.structs.replace(one, groups=[2, 0]), two]}, "not in order"),
        ({"at": "2026-11-22T16:29:59Z"}, "later than the release"),
        ({"at": "2026-02-30T00:00:00Z"}, "there is no time"),
        ({"receipts": [msgspec.structs.replace(one, at="2026-02-30T00:00:00Z"), two]}, "there is no time"),
        ({"consignment_id": "SL\u202e1"}, "U[+]202E"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(fields, match):
    with pytest.raises(FormatError, match=match):
        s.decode(canonical.encode(msgspec.structs.replace(RECORD, **fields)))


def test_other_forms_of_the_same_are_refused():
    for data in (SHOWN[:-1], SHOWN + b"\n", SHOWN.replace(b"  ", b" "), b"{}", b"", b"\xff", b"[" * 100_000):
        with pytest.raises(FormatError):
            s.decode(data)
    with pytest.raises(FormatError, match="at most"):
        s.decode(bytes(s.MAX_SOURCE_RELEASE + 1))


@given(st.integers(0, len(SHOWN) - 1), st.integers(0, 255))
@settings(deadline=None)
def test_no_byte_can_be_another(at, byte):
    altered = SHOWN[:at] + bytes([byte]) + SHOWN[at + 1 :]
    with contextlib.suppress(FormatError, SignatureInvalid):
        assert s.check_source_release(altered, SIGNED, WORLD.allowed).record == RECORD
        assert altered == SHOWN


def test_as_many_groups_as_a_seal_has_fit_into_a_record():
    whole = [msgspec.structs.replace(one, groups=list(range(s.MAX_GROUPS)))]
    assert (
        len(s.encode(msgspec.structs.replace(RECORD, groups_total=s.MAX_GROUPS, receipts=whole))) < s.MAX_SOURCE_RELEASE
    )


def test_the_specification_says_what_the_code_does():
    page = (SPEC / "source-release.md").read_text()
    assert canonical.encode(RECORD) == SHOWN
    for kind in (s.SourceReleaseRecord, s.CountedReceipt):
        section = page.partition(f"\n### {kind.__name__}\n")[2].partition("\n#")[0]
        fields = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
        assert fields == [field.encode_name for field in msgspec.structs.fields(kind)], kind.__name__
    limits = re.findall(r"^\| `(MAX_\w+)` \| (\d+) \|", page, re.MULTILINE)
    assert len(limits) == 3
    for name, value in limits:
        assert getattr(s, name) == int(value)
    assert f"`{s.NAMESPACE}`" in (SPEC / "signatures.md").read_text()
