"""The form of an event: what is filled in is what is recorded, and every fault is named at once."""

import contextlib
import tomllib
from datetime import datetime, timedelta, timezone

import pytest
from custody_cases import ID, PEOPLE, SERIALS
from hypothesis import given, settings
from hypothesis import strategies as st

from sealift.errors import BadInput, SealiftError
from sealift.trade import custody_event as ev
from sealift.trade import custody_form as forms

NOW = datetime(2026, 11, 25, 14, 30, 59, 999, tzinfo=timezone(timedelta(hours=8)))
EMPTY = ev.Checkpoint(events=0, newest=[])
TEMPLATE = forms.template(ID, "+08:00", [SERIALS[:2], SERIALS[2:]])
KEY = PEOPLE["origin"].public_key
FILLED = {
    "event_type": "seal",
    "place": "packing room",
    "reason": "closed",
    "name": "O. Rigin",
    "org": "Example",
    "id_kind": "staff card",
    "key": f"{KEY.line} a comment",
    "seal_after": "S1",
    "seal_class": "H",
    "seal_checked": "no_seal",
    "condition": "good",
}


def filled(**changes):
    lines = []
    for line in TEMPLATE.splitlines():
        name = line.partition(" = ")[0]
        value = (FILLED | changes).get(name)
        lines.append(line if value is None else f"{name} = {value if isinstance(value, list) else repr(value)}")
    return "\n".join(lines).encode()


def made(data, **kwargs):
    given_ = {"photo": lambda name: f"{len(name):064x}", "event": lambda digits: digits.ljust(64, "0")}
    return forms.build(forms.parse(data), EMPTY, now=NOW, **(given_ | kwargs))


def test_what_is_filled_in_is_what_is_recorded():
    event = made(filled(photos=["b.jpg", "other.jpg", "a.jpg"], resolves=["bbbbbbbb", "aaaaaaaa"]))
    assert ev.encode(event).event == event
    assert event.at_utc == "2026-11-25T06:30:59Z"
    assert event.released_by == event.received_by
    assert event.released_by == ev.Party(
        name="O. Rigin", org="Example", id_kind="staff card", key_fingerprint=KEY.fingerprint, paper_sha256=""
    )
    assert event.serials == SERIALS
    assert event.photo_sha256 == [f"{5:064x}", f"{9:064x}"]
    assert event.resolves == ["a" * 8 + "0" * 56, "b" * 8 + "0" * 56]
    assert made(filled(key=KEY.fingerprint)).released_by == event.released_by


@pytest.mark.parametrize(
    ("at", "utc"),
    [
        ("2026-11-25T14:30:00+08:00", "2026-11-25T06:30:00Z"),
        ("2026-11-25T00:00:00-03:30", "2026-11-25T03:30:00Z"),
        ("2026-11-25T06:30:00Z", "2026-11-25T06:30:00Z"),
    ],
)
def test_times_are_recorded_in_utc(at, utc):
    assert made(filled(at=at)).at_utc == utc


def test_the_empty_form_is_toml_that_names_all_drives_and_no_seal():
    tree = tomllib.loads(TEMPLATE)
    assert [item["serials"] for item in tree["items"]] == [SERIALS[:2], SERIALS[2:]]
    assert {item["seal_before"] + item["seal_after"] for item in tree["items"]} == {""}
    with pytest.raises(BadInput) as caught:
        forms.parse(TEMPLATE.encode())
    named = {line.strip().partition(":")[0] for line in str(caught.value).splitlines()[1:]}
    sides = {f"{side}.{name}" for side in ("released_by", "received_by") for name in ("name", "org", "id_kind")}
    rows = {f"items[{row}].{name}" for row in (1, 2) for name in ("seal_checked", "condition")}
    assert named == sides | rows | {"place", "reason"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key": "ssh-ed25519 AAAA"}, "released_by.key"),
        ({"key": ""}, "either a key or the photograph"),
        ({"paper_photo": "x.jpg"}, "and not both"),
        ({"event_type": "handover"}, "to another person"),
        ({"event_type": "sold"}, "must be one of seal, handover"),
        ({"event_type": "unlock"}, "must be one of seal, handover"),
        ({"seal_checked": "intact"}, "no_seal is for drives without a seal before"),
        ({"local_timezone": "here, now"}, "must be a time zone"),
        ({"local_timezone": "Europe/Lisboa"}, "no time zone Europe/Lisboa"),
        ({"local_timezone": "/etc/passwd"}, "no time zone"),
        ({"local_timezone": "America"}, "no time zone"),
        ({"local_timezone": "+24:00"}, "no time zone"),
        ({"consignment_id": "x"}, "consignment_id"),
        ({"seal_after": "S\u00e9"}, "must be a seal's number"),
        ({"serials": ["A B"]}, "must be a serial number"),
        ({"serials": []}, "serials"),
        ({"place": "x" * 501}, "place"),
    ],
)
def test_faults_are_named(changes, words):
    with pytest.raises(BadInput, match=words.replace("(", r"\(")):
        made(filled(**changes))


def test_a_form_without_items_or_too_long_or_no_toml_is_refused():
    whole = filled()
    for data, words in (
        (whole.partition(b"[[items]]")[0], "items: missing"),
        (whole.partition(b"[[items]]")[0].replace(b"[released_by]", b"items = []\n[released_by]"), "items: none"),
        (b"#" * (forms.MAX_FORM + 1), "at most"),
        (b"\xff", "not UTF-8"),
        (b"=", "not TOML"),
    ):
        with pytest.raises(BadInput, match=words):
            forms.parse(data)


@given(st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=6), st.integers(0, 6)), min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_any_mutation_is_an_event_or_an_error_of_ours(cuts):
    data = bytearray(filled())
    for at, new, gone in cuts:
        data[at : at + gone] = new
    with contextlib.suppress(SealiftError):
        event = made(bytes(data))
        assert ev.encode(event).event == event
