"""The discrepancy report: every drive under its carrier, what it means, what to do, whom to tell; the custody form."""

from datetime import UTC, datetime

import msgspec
import pytest
import receivings
from hypothesis import given, settings
from hypothesis import strategies as st

from sealift.formats import strict
from sealift.trade import custody_event, custody_form, discrepancy
from sealift.trade import receipt as r

WORLD = receivings.make(geometry=((2, 2), (1, 1)))
WHOLE = WORLD.received(WORLD.report()).record
SEALED = [drive for group in WORLD.trusted.seal.groups for drive in group.drives]
WHO = {"name": "Rui Dock", "org": "Petrel", "key": receivings.signer(WORLD.fleet, "dock").public_key.fingerprint}


def compare(record, why=(), hands=None, **declared):
    declaration = msgspec.structs.replace(WORLD.trusted.declaration, **declared)
    return discrepancy.compare(WORLD.trusted.seal, declaration, "O. Officer", record, dict(why), hands)


def told(**states):
    """A receipt; by id of drives: a state; `missing` is lost and never read, `remade` on another medium."""
    groups = []
    for group in WHOLE.groups:
        drives = [
            msgspec.structs.replace(
                drive,
                state={"missing": "lost", "remade": "rebuilt"}.get(
                    states.get(drive.id), states.get(drive.id, drive.state)
                ),
                made_on="WD-9" if states.get(drive.id) == "remade" else msgspec.UNSET,
                read_at="" if states.get(drive.id) in {"missing", "unseen"} else drive.read_at,
            )
            for drive in group.drives
        ]
        now = {drive.state for drive in drives}
        whole = sum(drive.state in r.VERIFIED for drive in drives)
        state = "intact" if now == {"intact"} else "unseen" if "unseen" in now else "rebuilt"
        state = "lost" if state == "rebuilt" and whole < group.data else state
        groups.append(msgspec.structs.replace(group, drives=drives, state=state))
    return msgspec.structs.replace(WHOLE, groups=groups)


def of(report, carrier):
    return next(each for each in report.carriers if each.carrier == carrier)


def test_where_everything_is_intact_there_is_none():
    assert compare(WHOLE) is None


def test_every_drive_is_counted_under_its_carrier():
    report = compare(told(g0s0="missing", g0s1="lost", g0s2="rebuilt", g1s0="unseen"))
    north, south = of(report, "north"), of(report, "south")
    assert (north.expected, north.missing, north.rebuilt, north.unread, north.intact) == (3, 1, 1, 1, 0)
    assert (south.expected, south.damaged, south.intact) == (3, 1, 2)
    assert [(line.drive, line.what) for line in north.drives] == [
        ("g0s0", "missing"), ("g0s2", "rebuilt"), ("g1s0", "unread"),
    ]  # fmt: skip
    assert [line.serial for line in south.drives] == [WORLD.fleet.serial(0, 1)]
    assert (north.contact, report.drives_total) == ("c@example.com", 6)


def test_a_group_that_the_receipt_does_not_speak_of_is_not_left_out():
    report = compare(msgspec.structs.replace(WHOLE, groups=WHOLE.groups[:1]))
    assert [(each.group, each.state, each.whole, each.needs) for each in report.groups] == [
        (0, "intact", 4, 0), (1, "unseen", 0, 1),
    ]  # fmt: skip
    assert {line.drive for each in report.carriers for line in each.drives} == {"g1s0", "g1s1"}


@pytest.mark.parametrize(
    ("states", "state", "words"),
    [
        ({"g0s0": "rebuilt"}, "verified", ["every drive, or what was made again of it, was read to its end"]),
        ({"g0s0": "missing"}, "recoverable", ["from 3 of 4 drives that are whole; 1 more may be lost"]),
        (
            {"g0s0": "lost", "g0s1": "missing"},
            "recoverable",
            ["from 2 of 4 drives that are whole; no other may be lost"],
        ),
        ({"g0s0": "unseen"}, "recoverable", ["from 3 of 4 drives that are whole"]),
        ({"g0s0": "unseen", "g0s1": "unseen", "g0s2": "unseen"}, "unseen", ["any 1 drive more of it would give"]),
        ({"g0s0": "missing", "g0s1": "missing", "g0s2": "lost"}, "lost", ["group 0: some data CANNOT be had"]),
    ],
)
def test_what_it_means_for_the_data(states, state, words):
    report = compare(told(**states))
    assert report.state == state
    assert len(report.means) == len(words)
    for line, wanted in zip(report.means, words, strict=True):
        assert wanted in line


@pytest.mark.parametrize(
    ("states", "wanted", "unwanted"),
    [
        ({"g0s0": "rebuilt"}, ["nothing more here"], ["repair", "source", "wait"]),
        ({"g0s0": "lost", "g0s1": "rebuilt"}, ["mends"], ["nothing more here"]),
        ({"g0s0": "remade"}, ["send the receipt", "look for the declared drives"], ["nothing more", "source", "wait"]),
        ({"g0s0": "lost"}, ["mends damaged drives", "NOT to be freed"], ["--onto", "wait", "--fetch-list"]),
        ({"g0s0": "missing"}, ["--onto", "NOT to be freed"], ["wait", "--fetch-list"]),
        ({"g0s0": "unseen"}, ["wait for it", "NOT to be freed"], ["--onto", "--fetch-list"]),
        ({"g1s0": "missing", "g1s1": "missing"}, ["--fetch-list"], ["wait"]),
    ],
)
def test_what_to_do(states, wanted, unwanted):
    said = " | ".join(compare(told(**states)).todo)
    assert all(each in said for each in wanted), said
    assert not any(each in said for each in unwanted), said


def test_whom_to_tell():
    report = compare(told(g0s0="missing"))
    assert [(each.who, each.contact) for each in report.tell] == [
        ("Example Ltd", "dock@example.com"), ("A. Author", "author@example.com"), ("north", "c@example.com"),
        ("O. Officer", "who released the declaration"),
    ]  # fmt: skip
    assert WORLD.fleet.serial(0, 0) in report.tell[2].about
    assert "O. Officer" not in {each.who for each in compare(told(g0s0="lost")).tell}, "it is damaged, not gone"
    again = compare(told(g0s0="remade"))
    assert again.tell[-1] == report.tell[-1], "the goods are still gone, whatever became of what was on them"
    assert again.tell[0].about == "all of this"
    assert (of(again, "north").remade, of(again, "north").rebuilt, again.state) == (1, 0, "verified")
    assert "NOT THE DRIVE ITSELF" in discrepancy.as_text(again)
    record = told(g0s0="remade")
    broken = msgspec.structs.replace(record.groups[0].drives[0], state="lost")
    group = msgspec.structs.replace(record.groups[0], drives=[broken, *record.groups[0].drives[1:]])
    spoilt = compare(msgspec.structs.replace(record, groups=[group, *record.groups[1:]]))
    assert (of(spoilt, "north").missing, of(spoilt, "north").damaged) == (1, 0), (
        "what was made again is no drive that came"
    )


CEM = discrepancy.Hand("Cem (Gannet)", "cem@gannet.example")


@pytest.mark.parametrize(
    ("hands", "who", "about"),
    [
        (None, "north", "is not at hand here (--custody LOG)"),  # the seal may be older than who carries
        ({}, "north", "the custody log does not say"),
        ({WORLD.fleet.serial(0, 0): CEM}, "Cem (Gannet)", "drives that they had, by the custody log"),
        (
            {WORLD.fleet.serial(0, 0): CEM._replace(home=True)},
            "Cem (Gannet)",
            "drives that are with them at the origin, by the custody log",
        ),
    ],
)
def test_whoever_had_the_drive_is_told_and_not_for_whom_it_was_sealed(hands, who, about):
    """A carrier who was replaced on the way had nothing: the custody log says who did, where it is at hand."""
    report = compare(told(g0s0="missing"), hands=hands)
    people = {each.who: each for each in report.tell}
    assert {"north", "Cem (Gannet)"} & people.keys() == {who}
    assert about in people[who].about
    assert WORLD.fleet.serial(0, 0) in people[who].about
    text = discrepancy.as_text(report)
    at_home = hands is not None and any(each.home for each in hands.values())
    had = f"by the custody log Cem (Gannet){', at the origin,' if at_home else ''} had it last"
    assert (had in text) == (who != "north")
    assert "sealed for carrier north" in text


def test_the_text_says_all_of_it():
    text = discrepancy.as_text(compare(told(g0s0="missing", g0s1="lost"), {"g0s1": "two words"}.items()))
    assert "REHEARSAL" in text
    for words in (
        "carrier north: 3 drives expected", "1 did not come", "DID NOT COME", "DAMAGED, read ", "(two words)",
        "drive 1 of 6", WORLD.fleet.serial(0, 0), "what it means:", "what to do:", "whom to tell:", "not legal advice",
        "Rui Dock (Petrel), dock@example.org",
    ):  # fmt: skip
        assert words in text


def test_names_cannot_break_lines_or_turn_them():
    def turned(group):
        drives = [msgspec.structs.replace(each, carrier="\u202edna\x85x") for each in group.drives]
        return msgspec.structs.replace(group, drives=drives)

    hostile = [turned(group) for group in WORLD.trusted.seal.groups]
    seal = msgspec.structs.replace(WORLD.trusted.seal, groups=hostile)
    report = discrepancy.compare(seal, WORLD.trusted.declaration, "x", told(g0s0="missing"), {})
    assert strict.unprintable(discrepancy.as_text(report).replace("\n", "")) is None


# --- the custody form


def event_of(text):
    form = custody_form.parse(text.replace('place = ""', 'place = "dock 2"').encode())
    return custody_form.build(
        form,
        custody_event.Checkpoint(events=0, newest=[]),
        now=datetime(2026, 11, 26, tzinfo=UTC),
        photo=lambda name: name,
        event=lambda digits: digits,
    )


def test_the_form_wants_the_place_and_is_then_an_event_of_one_person():
    report = compare(told(g0s0="missing", g0s1="lost", g0s2="rebuilt"))
    text = discrepancy.form(report, WHO, {})
    with pytest.raises(Exception, match="place: empty"):
        custody_form.parse(text.encode())
    event = event_of(text)
    assert (event.event_type, event.changes_hands, event.released_by.key_fingerprint) == (
        "discrepancy", False, WHO["key"],
    )  # fmt: skip
    assert event.serials == [WORLD.fleet.serial(0, 0), WORLD.fleet.serial(0, 1)], "not what was made again"
    assert "did not come: " + WORLD.fleet.serial(0, 0) in event.reason
    assert "damaged: " + WORLD.fleet.serial(0, 1) in event.reason


def test_drives_that_are_here_and_only_unread_are_no_discrepancy():
    report = compare(told(g0s0="unseen", g0s1="unseen"), {"g0s1": "inspected"}.items())
    assert event_of(discrepancy.form(report, WHO, {"g0s1": "inspected"})).serials == [WORLD.fleet.serial(0, 0)]
    assert discrepancy.form(report, WHO, {"g0s0": "x", "g0s1": "x"}) is None
    assert discrepancy.form(compare(told(g0s0="rebuilt")), WHO, {}) is None


states = st.sampled_from(["intact", "rebuilt", "remade", "lost", "missing", "unseen"])
VERIFIED = {"intact", "rebuilt", "remade"}


@given(st.lists(states, min_size=6, max_size=6))
@settings(max_examples=150, deadline=None)
def test_whatever_came_every_drive_is_counted_once_and_every_other_than_intact_listed(drawn):
    record = told(**{drive.id: state for drive, state in zip(SEALED, drawn, strict=True)})
    report = compare(record)
    if set(drawn) == {"intact"}:
        assert report is None
        return
    assert sum(each.expected for each in report.carriers) == 6
    for each in report.carriers:
        came = each.intact + each.rebuilt + each.damaged
        assert each.expected == came + each.remade + each.missing + each.unread
        assert len(each.drives) == each.expected - each.intact
    assert strict.unprintable(discrepancy.as_text(report).replace("\n", "")) is None
    form = discrepancy.form(report, WHO, {})
    wrong = {drive.serial for drive, state in zip(SEALED, drawn, strict=True) if state not in VERIFIED}
    assert (set(event_of(form).serials) if form else set()) == wrong
    assert ("O. Officer" in {each.who for each in report.tell}) == bool({"remade", "missing", "unseen"} & set(drawn))
    free = all(state in VERIFIED for state in drawn)
    assert ("the source is NOT to be freed" in " ".join(report.todo)) != free


def test_a_form_of_very_many_drives_keeps_to_the_limits():
    many = [f"SERIAL-{number:05d}-{'x' * 50}" for number in range(custody_event.MAX_SERIALS)]
    text = custody_form.discrepancy("SL-1", [many], "r" * 10_000, WHO)
    assert len(text) < custody_form.MAX_FORM
    assert len(event_of(text).serials) == len(many)
