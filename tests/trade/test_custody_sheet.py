"""The paper form shows the whole shipment, the text of its code reads back from paper, and by hand is by hand."""

import shutil
import subprocess
from importlib.util import find_spec

import msgspec
import pytest
from custody_cases import DECLARATION, ID, SERIALS, item, sealed, side, under_way, unlocked
from hypothesis import given
from hypothesis import strategies as st
from trade_cases import declared

from sealift.errors import BadInput
from sealift.trade import custody_event as ev
from sealift.trade import custody_sheet, sheets


def handover():
    log = sealed()
    digest = log.record("handover", "origin", "anna", [item(SERIALS[:2], "S1")])
    return log.entries[digest]


def flat(text):
    return " ".join(text.split())


def test_a_form_shows_the_whole_shipment_and_all_carriers_whoever_carries():
    text = custody_sheet.form(DECLARATION, handover(), released=True)
    assert "4 drives by 2 carriers" in text
    assert sheets.size(DECLARATION.capacity_bytes) in text
    assert "weight 1.240 kg gross, customs value EUR 23,040.00" in text
    assert "Anna: drives 1-2" in text
    assert "Bo: drives 3-4" in text
    assert DECLARATION.digest in text
    assert "DRIVES IN THIS EVENT: 2 of 4" in text
    assert sheets.BASIS in text
    assert max(map(len, text.splitlines())) <= 110


def test_every_form_says_draft_until_released_and_rehearsal_always():
    text = custody_sheet.form(DECLARATION, handover(), released=False)
    assert text.startswith(sheets.DRAFT)
    assert text.endswith(sheets.DRAFT + "\n")
    assert sheets.DRAFT not in custody_sheet.form(DECLARATION, handover(), released=True)
    rehearsal = declared(count=4, rehearsal=True)
    assert custody_sheet.form(rehearsal, handover(), released=True).count(sheets.REHEARSAL) == 2


def test_a_form_says_everything_that_the_event_says():
    event = msgspec.structs.replace(
        handover().event, event_type="customs_inspection", officer_ref="ZA 77", inspection_opened=True,
        photo_sha256=["ab" * 32], resolves=["cd" * 32], hash_sample_result="match",
    )  # fmt: skip
    text = flat(custody_sheet.form(DECLARATION, ev.encode(event), released=True))
    said = ["customs inspection", "ZA 77; opened", "ab" * 32, "cd" * 32, "match", event.at_utc, event.local_timezone,
            event.place, event.reason, *SERIALS[:2], "before S1 (intact)", "after S1 (ISO 17712 class H)",
            event.released_by.key_fingerprint, event.received_by.key_fingerprint, "passport"]  # fmt: skip
    assert [each for each in said if each not in text] == []


def test_a_form_of_an_unlock_says_which_keys_for_whom():
    log = sealed()
    digest = log.record("unlock", "origin", "origin", [], unlock=unlocked())
    text = custody_sheet.form(DECLARATION, log.entries[digest], released=True)
    said = unlocked()
    wanted = ["KEYS ISSUED IN THIS EVENT", "4,470,300", said.shipment, said.seal.blake3, "run-7", *said.recipients,
              said.valid_until, said.file.blake3, "STATED BY"]  # fmt: skip
    assert [each for each in wanted if each not in flat(text)] == []
    assert "DRIVES IN THIS EVENT" not in text


def test_by_hand_is_by_hand():
    log = sealed()
    digest = log.record("handover", "origin", side("anna", paper=True), [item(SERIALS[:2], "S1")])
    text = custody_sheet.form(DECLARATION, log.entries[digest], released=True)
    assert text.count("signs by hand, not by key") == 1
    assert text.count("signs by key") == 1
    assert "ab" * 32 in flat(text)


def test_a_form_before_its_event_has_the_checkpoint_of_the_log_before_it():
    log = sealed()
    event = log.event("handover", "origin", side("anna", paper=True), [item(SERIALS[:2], "S1")])
    text = custody_sheet.form(DECLARATION, event, released=True)
    assert custody_sheet.NOT_RECORDED in text
    assert ev.qr_text(ID, log.account().checkpoint) in text
    digest = log.add(event)
    text = custody_sheet.form(DECLARATION, log.entries[digest], released=True)
    assert f"Event {digest}" in text
    assert ev.qr_text(ID, log.account().checkpoint) in text


def test_a_form_that_is_not_recorded_is_told_from_every_other():
    log = sealed()
    event = log.event("handover", "origin", side("anna", paper=True), [item(SERIALS[:2], "S1")])
    mine, other = event, msgspec.structs.replace(event, reason="another one")
    assert custody_sheet.form_id(mine) != custody_sheet.form_id(other)
    text = custody_sheet.form(DECLARATION, mine, released=True)
    assert text.count(custody_sheet.form_id(mine)) == 2, "at its head and at its end"
    said = custody_sheet.about(DECLARATION, mine)
    assert said == f"handover, form {custody_sheet.form_id(mine)}, drives 1-2 of 4, to {mine.received_by.name}"
    entry = log.entries[log.add(event)]
    assert f"handover, event {entry.digest[:12]}, drives 1-2 of 4" in custody_sheet.about(DECLARATION, entry)
    long = msgspec.structs.replace(event.received_by, name="N" * 30 + " " + "M" * 400)
    strange = item(["X1", *SERIALS[:1], SERIALS[3]], "S1")
    event = msgspec.structs.replace(event, received_by=long, items=[strange])
    assert custody_sheet.about(DECLARATION, event).endswith(f"drives 1, 4 of 4 and 1 undeclared, to {'N' * 30} ...")


def test_a_checkpoint_on_paper_is_held_by_every_later_log():
    log, anna, _ = under_way()
    entry = list(anna.entries.values())[-1]
    text = custody_sheet.form(DECLARATION, entry, released=True)
    (code,) = [line.strip() for line in text.splitlines() if "SEALIFT-CUSTODY" in line]
    _, checkpoint = ev.parse_qr_text(code)
    anna.record("arrive", "anna", "dock", [item(SERIALS[:2], "S1")])
    assert anna.account(checkpoints=[checkpoint]).open == []
    assert log.account(checkpoints=[checkpoint]).open == []


def test_too_many_newest_events_have_no_code():
    event = msgspec.structs.replace(
        handover().event,
        log_checkpoint=ev.Checkpoint(events=17, newest=[f"{n:064x}" for n in range(17)]),
    )
    assert custody_sheet.form(DECLARATION, ev.encode(event), released=True), "the event itself joins them"
    with pytest.raises(BadInput, match="too many"):
        custody_sheet.form(DECLARATION, event, released=True)


DIGESTS = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=ev.MAX_SHOWN_NEWEST, unique=True)


@given(DIGESTS, st.integers(0, 900), st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{2,63}\Z"))
def test_any_text_of_a_checkpoint_reads_back(digests, more, consignment):
    checkpoint = ev.Checkpoint(events=len(digests) + more, newest=sorted(each.hex() for each in digests))
    assert ev.parse_qr_text(ev.qr_text(consignment, checkpoint)) == (consignment, checkpoint)


@pytest.mark.parametrize("newest", [1, ev.MAX_SHOWN_NEWEST])
def test_the_text_reads_back_from_a_printed_code(tmp_path, newest):
    if find_spec("segno") is None or shutil.which("zbarimg") is None:
        pytest.skip("not installed: segno, zbarimg")
    import segno

    text = ev.qr_text(ID, ev.Checkpoint(events=20, newest=[f"{n:064x}" for n in range(newest)]))
    code = segno.make(text, error="m", micro=False)
    assert code.mode == "alphanumeric"
    code.save(tmp_path / "code.png", scale=4)
    done = subprocess.run(
        ["zbarimg", "--quiet", "--raw", tmp_path / "code.png"], capture_output=True, text=True, check=True
    )
    assert done.stdout == text + "\n"
