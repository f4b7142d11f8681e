"""A declaration that was revised on the way: custody and audit judge each event by its own revision, and alike."""

import shutil
from datetime import UTC, datetime
from types import SimpleNamespace

import audits
import filled
import pytest
from msgspec import UNSET

from sealift.errors import BadInput
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages import audit_judge, audit_where, revisions, source_release
from sealift.stages import custody as stage
from sealift.stages import release as releasing
from sealift.trade import declaration, sections
from sealift.trade.standing import Against, Standing

OUT = "SL-2026-AUDIT1"
CARRIERS = [sections.Carrier(name=name, contact="n", country="DE") for name in ("Anna", "Bo")]
EXTRA = "".join(
    f'{name}@example.com namespaces="sealift-custody" {audits.person(name).public_key.line}\n'
    for name in ("bo", "officer")
).encode()
SERIALS = ["SN-1", "SN-2", "SN-3", "SN-4"]


def drives(*names):
    return [
        sections.Drive(serial=serial, carrier=name, goods="ssd", capacity_bytes=1 << 30, make="M", model="X")
        for serial, name in zip(SERIALS, names, strict=True)
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Revision 1 gives Anna all drives; she has the first two, when revision 2 gives the second and third to Bo."""
    begin = datetime(2026, 9, 1, 8, tzinfo=UTC)
    v = audits.Voyage(tmp_path_factory.mktemp("revised"), begin)
    v.allowed = AllowedSigners.parse(audits.signers() + EXTRA)
    path = v.declare(OUT, SERIALS, carriers=CARRIERS, drives=drives("Anna", "Anna", "Anna", "Bo"))
    v.clear(path)
    v.release(path, hours=1)
    log = v.folder / "custody"
    v.event(log, OUT, "seal", "origin", "origin", SERIALS, "", "S1", hours=2)
    v.event(log, OUT, "handover", "origin", "anna", SERIALS[:2], "S1", "S1", hours=3)
    releasing.revise(str(path))
    return v, path, log


def second(v, path):
    text = path.read_text().replace('serial = "SN-2"\ncarrier = "Anna"', 'serial = "SN-2"\ncarrier = "Bo"')
    path.write_text(text.replace('serial = "SN-3"\ncarrier = "Anna"', 'serial = "SN-3"\ncarrier = "Bo"'))
    assert path.read_text().count('carrier = "Bo"') == 3
    v.release(path, hours=6)


def copied(made, to):
    """Another folder of the same files, to do something else in."""
    v, path, log = made
    shutil.copytree(v.folder, to, dirs_exist_ok=True)
    other = audits.Voyage(to, v.begin)
    other.allowed, other.identities = v.allowed, v.identities
    return other, to / path.name, to / log.name


def by_custody(v, path, log):
    account = stage.account(stage.stand(str(log), str(path), v.allowed, v.now))
    return {(each.kind, each.events, each.serials) for each in account.open}


def by_audit(v, path, log):
    """The account that an audit of a bundle of these papers has."""
    from sealift.formats import audit as bundles
    from sealift.stages import audit_case, audit_collect, audit_origin

    files = audit_collect.sort([str(path), str(log)]).files
    judged = audit_case.Judged()
    case = audit_case.Case(OUT, files, v.allowed, v.now, judged)
    assert bundles.shipments(files) == [OUT]
    audit_origin.look(case)
    audit_judge._custody(case)
    return {(each.kind, each.events, each.serials) for each in case.account.open}, judged.findings


def agreed(v, path, log):
    found = by_custody(v, path, log)
    assert by_audit(v, path, log)[0] == found
    return found


def test_a_draft_and_a_later_release_take_nothing_from_what_went_before(made, tmp_path):
    v, path, log = copied(made, tmp_path / "a")
    assert agreed(v, path, log) == set(), "the second revision is a draft"
    assert agreed(v, path.with_name(f"{OUT}.r1.toml"), log) == set(), "by the first revision as it was kept"
    second(v, path)
    assert agreed(v, path, log) == set(), "both are released"
    late = v.event(log, OUT, "handover", "origin", "anna", SERIALS[2:3], "S1", "S1", hours=7)
    assert agreed(v, path, log) == {("carrier", (late,), ("SN-3",))}
    right = v.event(log, OUT, "handover", "anna", "bo", SERIALS[2:3], "S1", "S1", hours=8)
    assert agreed(v, path, log) == {("carrier", (late,), ("SN-3",))}, right


def test_what_is_not_beside_is_named_and_nobody_is_accused(made, tmp_path):
    v, path, log = copied(made, tmp_path / "a")
    second(v, path)
    handover = next(
        row.entry.digest
        for row in stage.account(stage.stand(str(log), str(path), v.allowed, v.now)).rows
        if row.event.event_type == "handover"
    )
    first, release = path.with_name(f"{OUT}.r1.toml"), path.with_name(f"{OUT}.release.1.json")
    rules = next(path.parent.glob(f"{OUT}.rules-*.toml"))
    for each in path.parent.glob(f"{OUT}.[0-9].toml"):
        each.unlink()  # drafts that were kept, one of the same bytes
    for gone, words in (
        (first, f"{first}, which {release} releases, is not here"),
        (release, f"a release of {first} that holds is not here"),
        (rules, ""),
    ):
        gone.rename(tmp_path / "gone")
        account = stage.account(stage.stand(str(log), str(path), v.allowed, v.now))
        found = {(each.kind, each.events, each.serials) for each in account.open}
        assert found == ({("revision", (handover,), ("SN-1", "SN-2"))} if words else set()), gone
        assert all(each.text.endswith(words) for each in account.open)
        if words:
            of_audit, told = by_audit(v, path, log)
            assert of_audit == found
            assert {each.state for each in told if "/custody/" in each.file} == {"missing"}
        (tmp_path / "gone").rename(gone)
    for each in (first, release, release.with_name(f"{release.name}.sig")):
        each.unlink()
    (only,) = agreed(v, path, log)
    assert only[0] == "revision"


@pytest.mark.parametrize("what", ["screening", "keys"])
def test_a_record_on_which_the_release_rests_and_that_is_gone_accuses_nobody(made, tmp_path, what):
    v, path, log = copied(made, tmp_path / "a")
    for each in path.parent.glob(f"{OUT}.{what}*.json"):
        each.unlink()
    account = stage.account(stage.stand(str(log), str(path), v.allowed, v.now))
    assert [each.kind for each in account.open] == ["revision"]
    assert "that the release binds" in account.open[0].text


def test_the_two_files_of_an_earlier_revision_are_enough_for_who_takes_them_along(made, tmp_path):
    v, path, log = copied(made, tmp_path / "a")
    second(v, path)
    away = tmp_path / "away"
    away.mkdir()
    for each in (path, *path.parent.glob(f"{OUT}.release*"), path.with_name(f"{OUT}.r1.toml")):
        shutil.copy(each, away)
    assert by_custody(v, away / path.name, log) == set()
    (away / f"{OUT}.r1.toml").unlink()
    assert {kind for kind, *_ in by_custody(v, away / path.name, log)} == {"revision"}


def test_drives_under_a_seal_event_without_a_release_show_in_both(tmp_path):
    v = audits.Voyage(tmp_path, datetime(2026, 9, 1, 8, tzinfo=UTC))
    path = v.declare(OUT, SERIALS, carriers=CARRIERS, drives=drives("Anna", "Anna", "Anna", "Bo"))
    log = v.folder / "custody"
    v.event(log, OUT, "seal", "origin", "anna", SERIALS[:3], "", "S1", hours=2)
    v.event(log, OUT, "seal", "origin", "origin", SERIALS[3:], "", "S2", hours=2)
    v.event(log, OUT, "arrive", "anna", "dock", SERIALS[:3], "S1", "S1", hours=4)
    kinds = {kind for kind, *_ in agreed(v, path, log)}
    assert kinds == {"unreleased", "hands"}
    _, told = by_audit(v, path, log)
    assert sum("and the shipment is not released" in each.text and each.state == "wrong" for each in told) == 2
    v.clear(path, hours=3)
    v.release(path, hours=3)
    found = agreed(v, path, log)
    assert {kind for kind, *_ in found} == {"unreleased", "hands"}, "released after they went"
    assert sum(kind == "unreleased" for kind, *_ in found) == 1


def test_what_lies_beside_is_found_by_what_it_says_and_within_limits(made, tmp_path, monkeypatch):
    path = copied(made, tmp_path / "a")[1]
    (path.parent / "notes.toml").write_text("type = 1\n")
    (path.parent / "broken.toml").write_text(path.read_text() + "\n[[")
    (path.parent / "other.toml").write_text(path.read_text().replace(OUT, "SL-2026-OTHER9"))
    (path.parent / "x.release.json").write_bytes(b"{}")
    found = {each.path.rpartition("/")[2]: each for each in revisions.others(str(path), OUT)}
    assert found.keys() >= {f"{OUT}.r1.toml", "broken.toml"}
    assert not {"notes.toml", "other.toml", path.name} & found.keys()
    assert found["broken.toml"].declaration is None
    assert "TOML" in found["broken.toml"].why
    assert [each.record.revision for each in revisions.released(str(path), OUT)] == [1]
    monkeypatch.setattr(revisions, "MAX_REVISIONS", 0)
    assert list(revisions.others(str(path), OUT)) == []
    assert list(revisions.released(str(path), OUT)) == []


def test_a_release_with_a_signature_that_does_not_hold_lets_nothing_go(made, tmp_path):
    v, path, log = copied(made, tmp_path / "a")
    signature = path.with_name(f"{OUT}.release.json.sig")
    signature.write_bytes(audits.person("author").sign(signature.with_suffix("").read_bytes(), "sealift-release"))
    found = by_custody(v, path, log)
    assert {kind for kind, *_ in found} == {"revision"}
    first = path.with_name(f"{OUT}.r1.toml")
    path.unlink()
    assert {kind for kind, *_ in by_custody(v, first, log)} == {"unreleased"}


# --- drives that went as they might not, and back


def test_what_went_before_the_release_only_the_officer_settles_and_the_audit_names_it_all_the_same(made, tmp_path):
    v, path, log = copied(made, tmp_path / "a")
    early = v.event(log, OUT, "handover", "origin", "anna", SERIALS[2:3], "S1", "S1", hours=0.5)
    back = v.event(log, OUT, "return", "anna", "origin", SERIALS[2:3], "S1", "S1", hours=4, resolves=[early])
    assert {each for each in agreed(v, path, log) if each[0] != "clock"} == {("unreleased", (early,), ("SN-3",))}, back
    (wrong,) = [each for each in by_audit(v, path, log)[1] if each.state == "wrong"]
    assert "released later" in wrong.text
    v.event(log, OUT, "discrepancy", "officer", "officer", SERIALS[2:3], "", "", hours=5, resolves=[early],
            reason="asked both, and the list of that day")  # fmt: skip
    assert {kind for kind, *_ in agreed(v, path, log)} <= {"clock"}
    (kept,) = [each for each in by_audit(v, path, log)[1] if "settled by the officer" in each.text]
    assert kept.state == "look"
    assert kept.text.endswith("; settled by the officer in event 5: asked both, and the list of that day")
    assert early in kept.file
    account = stage.account(stage.stand(str(log), str(path), v.allowed, v.now))
    assert [each.kind for each in account.findings if each.by_officer] == ["unreleased"]


def test_drives_come_back_whether_or_not_the_release_stands(made, tmp_path, monkeypatch):
    v, path, log = copied(made, tmp_path / "a")
    against = (Against("a later hit", v.at(hours=3)),)
    monkeypatch.setattr(stage.revisions, "standing", lambda *_, **__: Standing(against, ()))
    v.event(log, OUT, "return", "anna", "origin", SERIALS[:2], "S1", "S1", hours=5)
    found = {kind for kind, *_ in by_custody(v, path, log)}
    assert found == {"unreleased"}, "the handover of the third hour"
    for each in log.glob("*.json"):
        each.unlink()
    for each in log.glob("*.sig"):
        each.unlink()
    v.event(log, OUT, "seal", "origin", "origin", SERIALS, "", "S1", hours=1)
    v.event(log, OUT, "handover", "origin", "anna", SERIALS[:2], "S1", "S1", hours=2)
    v.event(log, OUT, "return", "anna", "origin", SERIALS[:2], "S1", "S1", hours=5)
    assert by_custody(v, path, log) == set()
    v.event(log, OUT, "handover", "origin", "anna", SERIALS[:2], "S1", "S1", hours=6)
    assert {kind for kind, *_ in by_custody(v, path, log)} == {"unreleased"}


def test_without_a_release_the_receivers_own_first_seal_is_no_beginning(tmp_path):
    v = audits.Voyage(tmp_path, datetime(2026, 9, 1, 8, tzinfo=UTC))
    path = v.declare(OUT, SERIALS, carriers=CARRIERS, drives=drives("Anna", "Anna", "Anna", "Bo"))
    log = v.folder / "custody"
    v.event(log, OUT, "seal", "dock", "dock", SERIALS, "", "S1", hours=2)
    assert {kind for kind, *_ in agreed(v, path, log)} == {"unreleased"}
    assert "wrong" in {each.state for each in by_audit(v, path, log)[1]}


def test_a_receipt_of_before_the_last_journey_is_not_taken_for_one_of_after_it(made, tmp_path):
    v, path, log = copied(made, tmp_path / "a")
    v.event(log, OUT, "arrive", "anna", "dock", SERIALS[:2], "S1", "S1", hours=4)
    v.event(log, OUT, "return", "dock", "origin", SERIALS[:1], "S1", "S1", hours=6)
    v.event(log, OUT, "handover", "origin", "anna", SERIALS[:1], "S1", "S1", hours=7)
    v.event(log, OUT, "handover", "anna", "dock", SERIALS[:1], "S1", "S1", hours=9)
    ground = stage.stand(str(log), str(path), v.allowed, v.now)
    came = audit_where.came(stage.account(ground), stage._terms(ground), v.allowed)
    hours = {serial: (each[0].came.event.at_utc, each[-1].came.event.at_utc) for serial, each in came.items()}
    assert hours == {"SN-1": (v.text(hours=4), v.text(hours=9)), "SN-2": (v.text(hours=4), v.text(hours=4))}

    def said(read_at, *, counts):
        drive = SimpleNamespace(serial="SN-1", read_at=v.text(**read_at), made_on=UNSET)
        record = SimpleNamespace(groups=[SimpleNamespace(drives=[drive])], at=v.text(hours=20))
        of, told = SimpleNamespace(record=record, at=v.at(hours=20)), []
        case = SimpleNamespace(say=lambda *words: told.append(words))
        audit_where._untimely(case, SimpleNamespace(path="receipt.1.json"), of, came, {"SN-1": of} if counts else {})
        return told

    assert said({"hours": 5}, counts=False) == [], "of the first journey, and a later receipt counts"
    ((_, state, text),) = said({"hours": 5}, counts=True)
    assert state == "look"
    assert text.endswith(f"they came to the site at {v.text(hours=9)}: SN-1")
    assert said({"hours": 8, "minutes": 51}, counts=True) == [], "two clocks"


@pytest.mark.parametrize("who", ["sam", "second", "author"])
def test_an_arrival_is_not_signed_by_who_screened_reviewed_or_wrote_the_declaration(made, tmp_path, who):
    v, path, log = copied(made, tmp_path / "a")
    line = f'{who}@example.com namespaces="sealift-custody" {audits.person(who).public_key.line}\n'
    v.allowed = AllowedSigners.parse(audits.signers() + EXTRA + line.encode())
    posed = v.event(log, OUT, "arrive", "anna", who, SERIALS[:2], "S1", "S1", hours=4)
    assert agreed(v, path, log) == {("names", (posed,), tuple(SERIALS[:2]))}
    account = stage.account(stage.stand(str(log), str(path), v.allowed, v.now), final=True)
    assert set(SERIALS[:2]) <= {serial for each in account.open if each.kind == "missing" for serial in each.serials}


def test_who_screened_may_take_drives_back_and_who_signed_nothing_may_not(made, tmp_path, monkeypatch):
    monkeypatch.setattr(audits, "ORIGIN", {*audits.ORIGIN, "sam", "ed"})
    for who, comes in (("sam", True), ("ed", False)):
        v, path, log = copied(made, tmp_path / who)
        line = f'{who}@example.com namespaces="sealift-custody" {audits.person(who).public_key.line}\n'
        v.allowed = AllowedSigners.parse(audits.signers() + EXTRA + line.encode())
        late = v.event(log, OUT, "handover", "origin", "anna", SERIALS[2:3], "S1", "S1", hours=0.5)
        v.event(log, OUT, "return", "anna", who, SERIALS[2:3], "S1", "S1", hours=0.6)
        found = {(kind, events == (late,)) for kind, events, _ in agreed(v, path, log) if kind != "clock"}
        assert found == {("unreleased", True)} | (set() if comes else {("unreleased", False)})


def test_drives_that_left_after_an_authorisation_had_ended_are_named_by_custody_and_audit_alike(tmp_path):
    begin = datetime(2026, 9, 1, 8, tzinfo=UTC)
    v = audits.Voyage(tmp_path, begin)
    v.allowed = AllowedSigners.parse(audits.signers() + EXTRA)
    licence = sections.Authorisation(authority="BIS", number="D1", expiry="2026-09-02", covers=["export-licence"])
    answers = [
        sections.Answer(question=each.question, answer="yes", evidence="file 7")
        if each.question == "export-licence"
        else each
        for each in filled.rest(status_as_of="2026-09-01")["answers"]
    ]
    path = v.declare(OUT, SERIALS, carriers=CARRIERS, drives=drives("Anna", "Anna", "Anna", "Bo"), answers=answers,
                     authorisations=[licence])  # fmt: skip
    v.clear(path)
    v.release(path, hours=1)
    log = v.folder / "custody"
    v.event(log, OUT, "seal", "origin", "origin", SERIALS, "", "S1", hours=2)
    v.event(log, OUT, "handover", "origin", "anna", SERIALS[:1], "S1", "S1", hours=51)  # 2 September in Honolulu
    assert agreed(v, path, log) == set()
    late = v.event(log, OUT, "handover", "origin", "anna", SERIALS[1:3], "S1", "S1", hours=53)
    assert agreed(v, path, log) == {("unreleased", (late,), ("SN-2", "SN-3"))}
    v.event(log, OUT, "arrive", "anna", "dock", SERIALS[:1], "S1", "S1", hours=80)
    assert agreed(v, path, log) == {("unreleased", (late,), ("SN-2", "SN-3"))}, "what had left goes on"
    (said,) = [each for each in by_audit(v, path, log)[1] if "BIS, D1, which opened export-licence" in each.text]
    assert (said.state, said.text.endswith("ended on 2026-09-02: SN-2, SN-3")) == ("wrong", True)


# --- legal holds that were released since the seal -------------------------------------------------------

COURT, UNSEEN = "Court, order 12", "nobody can see whether there is a legal hold"


def holding(v, path, hold, hours=6):
    path.write_text(path.read_text().replace('legal_hold = "none"', f'legal_hold = "{hold}"'))
    v.release(path, hours=hours)


def lifted(v, path):
    releasing.revise(str(path))
    path.write_text(path.read_text().replace(f'legal_hold = "{COURT}"', 'legal_hold = "none"'))
    v.release(path, hours=8)


def gone(suffix):
    return lambda _v, path: path.with_name(f"{OUT}{suffix}").unlink()


def not_here(v, path):
    for each in [path, *path.parent.glob(f"{OUT}.r2*.toml"), *path.parent.glob(f"{OUT}.[0-9].toml")]:
        each.unlink(missing_ok=True)


def broken(v, path):
    path.with_name(f"{OUT}.r3.toml").write_bytes(path.read_bytes() + b"\n= broken")


@pytest.mark.long
@pytest.mark.parametrize(
    ("hold", "more", "why"),
    [
        ("none", None, None),
        (COURT, None, f"revision 2, which RELEASE releases, states a legal hold: {COURT}"),
        (COURT, gone(".release.json.sig"), f"revision 2, which RELEASE releases, states a legal hold: {COURT}"),
        (COURT, gone(".release.json"), f"R2, which was released, states a legal hold: {COURT}"),
        (COURT, lifted, None),
        (COURT, lambda v, path: (lifted(v, path), gone(".release.json.sig")(v, path)),
         f"revision 2, which OLD releases, states a legal hold: {COURT}"),
        ("none", not_here, f"revision 2, which RELEASE releases, is not here or cannot be read: {UNSEEN}"),
        ("none", broken, f"R3 cannot be read: {UNSEEN}"),
    ],
)  # fmt: skip
def test_the_source_is_not_freed_against_a_legal_hold_that_was_released_since(made, tmp_path, monkeypatch, hold, more,
                                                                             why):  # fmt: skip
    v, path, _ = copied(made, tmp_path / "a")
    first = path.with_name(f"{OUT}.r1.toml")
    sealed = declaration.parse(first.read_bytes(), draft=False)
    text = path.read_text()
    path.write_text(text.replace('legal_hold = "none"', f'legal_hold = "{COURT}"'))
    folder = str(path.parent)
    assert revisions.held(folder, sealed, v.allowed) == ([], True), "a draft"
    path.write_text(text)
    holding(v, path, hold)
    if more:
        more(v, path)
    names = {"RELEASE": ".release.json", "OLD": ".release.2.json", "R2": ".r2.toml", "R3": ".r3.toml"}
    for name, end in names.items() if why else ():
        why = why.replace(name, str(path.with_name(f"{OUT}{end}")))
    assert revisions.held(folder, sealed, v.allowed) == ([why] if why else [], True)
    # found by the command: in the folder of the declaration, here, beside the seal or above
    trusted = SimpleNamespace(seal=SimpleNamespace(rehearsal=False, consignment_id=OUT), declaration=sealed)
    away = tmp_path / "a" / "outbox"
    away.mkdir()
    (away / "x.seal").touch()
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "empty" / "deep")
    asked = source_release._held
    assert bool(asked(trusted, v.allowed, str(away / "x.seal"), None)[0]) == bool(why)
    assert bool(asked(trusted, v.allowed, None, str(first))[0]) == bool(why)
    (tmp_path / "empty" / "x.seal").touch()
    assert asked(trusted, v.allowed, "../x.seal", None) == ([], False), "nothing lies there, which is said"
    monkeypatch.chdir(folder)
    assert bool(asked(trusted, v.allowed, str(tmp_path / "empty" / "x.seal"), None)[0]) == bool(why)
    trusted.seal.consignment_id = "SL-2026-OTHER9"
    with pytest.raises(BadInput, match=f"declares {OUT}, and the seal is of SL-2026-OTHER9"):
        asked(trusted, v.allowed, None, str(first))
