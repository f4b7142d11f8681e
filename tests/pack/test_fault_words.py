"""What is said of drives that fail is true when it is said: what is on them, what is safe, what is packed again."""

import errno
import os
import re
import sqlite3

import pytest
import shipments
from hypothesis import given
from hypothesis import strategies as st
from test_failing_drives import Packing, owed
from test_presence import stopped

from sealift.cli import pack_words
from sealift.cli import status as status_cli
from sealift.drives.memory import Medium, MemoryDrive
from sealift.errors import DriveFault
from sealift.formats.sizes import rate_text
from sealift.stages import rates, status
from sealift.stages.pack import crew as crews
from sealift.stages.pack import group as groups
from sealift.stages.pack import room
from sealift.stages.pack.crew import Crew, standing
from sealift.stages.pack.fleet import Place
from sealift.stages.pack.journal import Journal
from sealift.stages.pack.journal_rows import Owed, ReadBackState


def a_crew(tmp_path, stripes, n=6, parity=2):
    """A crew of a group of which some stripes are committed."""
    journal = Journal(str(tmp_path))
    journal.group(0)
    with sqlite3.connect(journal.path) as database:
        database.execute("UPDATE groups SET stripes = ?", (stripes,))
    drives = [MemoryDrive(f"/mnt/{slot}", Medium()) for slot in range(n)]
    return Crew(0, [Place(slot + 1, f"SER{slot}", "") for slot in range(n)], drives, parity, journal)


def told(crew):
    return [news.text for news in crew.news()]


def test_a_drive_that_fails_while_a_stripe_is_committed_lacks_that_stripe_in_words_and_in_the_journal(tmp_path):
    crew = a_crew(tmp_path, 18)
    crew.fail(1, 19, "is full", "full")
    (text,) = told(crew)
    assert "stripes below 18 were written to it" in text
    assert "the other 5 go on, and one more drive of group 0 may fail" in text
    assert crew.owed[1].since == 18


def test_a_full_drive_is_said_to_have_what_status_says(tmp_path):
    packing = Packing(tmp_path, size=12)
    packing.fleet.fill(packing.mounts[1], 12 << 20)
    result = packing.pack()
    (text,) = [text for text in packing.notices if "set aside" in text and "full" in text]
    assert f"stripes below {owed(result)[0]['since_stripe']} were written to it" in text


def test_the_drive_that_is_one_too_many_ends_it_and_is_not_said_to_be_the_last_that_may_fail(tmp_path):
    crew = a_crew(tmp_path, 16)
    crew.fail(0, 14, "died")
    crew.fail(1, 14, "died")
    with pytest.raises(DriveFault) as caught:
        crew.fail(2, 16, "died")
    first, second, third = told(crew)
    assert "one more drive of group 0 may fail" in first
    assert "no other drive of group 0 may fail" in second
    assert "more drives of group 0 are set aside than parity holds" in third
    assert "may fail" not in third
    said = str(caught.value)
    assert "stripes 0 to 13 can be read if no more than 2 of the group's drives are lost for good" in said
    assert "stripes 14 to 15 can be read if no other drive is lost" in said
    assert "what is lost is packed again from the source, so keep it" in said
    assert "every committed stripe is safe" not in said


@pytest.mark.parametrize(
    ("stripes", "parity", "since", "words"),
    [
        (0, 2, [0, 0, 0], ["nothing was committed yet"]),
        (5, 0, [5], ["stripes 0 to 4 can be read if none of the group's drives is lost"]),
        (5, 1, [4, 5], ["stripes 0 to 3 can be read if no more than 1", "stripe 4 can be read if no other drive"]),
        (5, 1, [2, 3], ["stripes 0 to 1", "stripe 2 can be read if no other", "stripes 3 to 4 cannot be counted on"]),
        (9, 2, [3, 5, 9], ["stripes 0 to 2", "3 to 4 can be read if no more than 1 of the drives that have", "5 to 8"]),
        (5, 1, [0, 0], ["stripes 0 to 4 cannot be counted on"]),
    ],
)
def test_what_is_committed_is_told_by_how_many_lack_it(tmp_path, stripes, parity, since, words):
    crew = a_crew(tmp_path, stripes, parity=parity)
    crew.parity = 9
    for slot, each in enumerate(since):
        crew.fail(slot, each, "died")
    crew.parity = parity
    said = crew.standing()
    assert all(word in said for word in words), said
    assert said.count("stripe") == len(words) - (not stripes)


@given(
    st.integers(0, 9),
    st.integers(0, 4),
    st.dictionaries(st.integers(0, 6), st.integers(0, 9), max_size=6),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6)), max_size=12),
)
def test_of_each_stripe_it_is_told_how_many_drives_may_still_be_lost(stripes, parity, since, wrong):
    wrong = [each for each in wrong if each[0] < stripes]
    told = {}
    said = standing(stripes, parity, since, wrong)
    for runs, spare in re.findall(
        r"stripes? ([\d, to]+) (cannot|can be read if no more than \d|can be read if no)", said
    ):
        for first, last in re.findall(r"(\d+)(?: to (\d+))?", runs):
            for stripe in range(int(first), int(last or first) + 1):
                assert stripe not in told
                told[stripe] = -1 if spare == "cannot" else int(spare[-1]) if spare[-1].isdigit() else 0
    bad = [{slot for at, slot in wrong if at == stripe} for stripe in range(stripes)]
    lacking = [len(bad[stripe] | {slot for slot, each in since.items() if each <= stripe}) for stripe in range(stripes)]
    assert told == {stripe: max(-1, parity - count) for stripe, count in enumerate(lacking)}


def test_many_runs_of_stripes_are_counted():
    said = standing(40, 2, {}, [(stripe, 0) for stripe in range(0, 40, 2)])
    assert "stripes 1, 3, 5, 7, 9 and 15 more can be read if no more than 2 of the group's drives are lost" in said
    assert "stripes 0, 2, 4, 6, 8 and 15 more can be read if no more than 1 of the drives that have them" in said


def test_drives_that_are_still_away_are_named_with_what_hangs_on_them(tmp_path):
    packing = Packing(tmp_path)
    packing.fleet.fail(packing.mounts[0], "write", errno.EIO, nth=5, lasting=True)
    packing.fleet.fail(packing.mounts[1], "write", errno.EIO, nth=8, lasting=True)
    for _ in range(2):
        with pytest.raises(DriveFault) as caught:
            packing.pack()
        assert "can be read if no" in str(caught.value)
        assert "packed again from the source" in str(caught.value)
        packing.fleet.go_away(packing.mounts[0])
        packing.fleet.go_away(packing.mounts[1])


def test_a_stripe_that_more_drives_lack_than_parity_holds_is_not_committed(tmp_path, monkeypatch):
    """Two drives fail in the next stripe before this one is on the medium: it is on neither, and not committed."""
    packing = Packing(tmp_path)
    publish = groups.StripeWriter.publish

    def failing(self):
        if self._stripe == 1:
            self._crew._set_aside(0, 1, "failed", "died")
            self._crew._set_aside(1, 1, "failed", "died")
        publish(self)

    monkeypatch.setattr(groups.StripeWriter, "publish", failing)
    with pytest.raises(DriveFault, match="2 drives are set aside"):
        packing.pack()
    assert packing.committed() == 1


def test_one_drive_without_parity_is_set_aside_as_one(tmp_path):
    packing = Packing(tmp_path, parity=0)
    packing.fleet.fail(packing.mounts[0], "write", errno.EIO, nth=2, lasting=True)
    with pytest.raises(DriveFault, match="1 drive is set aside, and parity holds 0"):
        packing.pack(accept_carrier_risk=True)


@pytest.mark.long
def test_a_copy_that_fails_costs_no_stripe_that_is_on_all_but_m_drives(tmp_path):
    """The drive has the pack and not the journal's copy: it is set aside, and the stripe is committed as it is."""
    packing = Packing(tmp_path)
    packing.fleet.fail(packing.mounts[0], "rename", errno.EIO, name="journal-0000001.age")
    result = packing.pack()
    assert [row["since_stripe"] for row in owed(result)] == [1]
    assert packing.committed() >= 2
    assert packing.pack().exit_code == 0
    packing.ends_well()


def test_a_journal_of_an_earlier_version_has_read_nothing_all_through(tmp_path):
    with sqlite3.connect(tmp_path / "journal.sqlite") as database:
        database.execute(
            "CREATE TABLE read_back (number INTEGER PRIMARY KEY, stripes INTEGER NOT NULL, blocks INTEGER NOT NULL,"
            " repaired INTEGER NOT NULL, cached INTEGER NOT NULL)"
        )
        database.execute("INSERT INTO read_back VALUES (0, 7, 70, 1, 0)")
    for _ in range(2):
        journal = Journal(str(tmp_path))
        assert journal.read_back(0) == ReadBackState(7, 70, 1, cached=False, whole=0, found=1)
        journal.note_read_back(0, 7, 10, [], cached=False, upto=8)
        journal.close()
        with sqlite3.connect(tmp_path / "journal.sqlite") as database:
            database.execute("UPDATE read_back SET stripes = 7, blocks = 70")


def test_stripes_that_are_packed_again_are_read_back_again(tmp_path):
    journal = Journal(str(tmp_path))
    journal.group(0)
    journal.note_read_back(0, 7, 80, [], cached=False, upto=8, whole=6)
    assert journal.cut_back(0, 0)
    assert journal.read_back(0) == ReadBackState(0, 80, 0, cached=False, whole=0)
    for stripe in range(9):
        journal.note_read_back(0, stripe, 10, [], cached=False, upto=stripe + 1)
    now = journal.read_back(0)
    assert (now.stripes, now.blocks, now.again) == (9, 170, 80), "what was read twice is told apart"
    journal.close()


def test_packs_that_are_there_count_no_more_once_their_names_are_used_again(tmp_path):
    """A drive lacks one pack and has the others; stripes are cut back, and packed again without it."""
    crew = a_crew(tmp_path, 9)
    crew.lack(0, 3, "1 of its 9 packs is not on it")
    crew.lack(0, 2, "another")
    assert (crew.owed[0].kind, crew.owed[0].since) == ("lacks", 2)
    journal = Journal(str(tmp_path))
    assert journal.cut_back(0, 0)
    journal.close()
    crew.reload()
    assert (crew.owed[0].kind, crew.owed[0].since) == ("failed", 0)


def test_what_helps_is_said_of_full_drives_and_of_drives_that_lie(tmp_path):
    crew = a_crew(tmp_path, 9)
    crew.fail(0, 5, "is full", "full")
    crew.fail(1, 5, "3 packs read back other than they were written", "lied")
    full, lied = told(crew)
    assert "free room on it, and the same command again; or, with a larger drive at MNT" in full
    assert "it works" not in full
    assert "it is not taken back, for it would lie again; with a new drive at MNT" in lied
    assert "again once" not in lied
    with pytest.raises(DriveFault) as caught:
        crew.fail(2, 5, "died")
    assert "free room on it; put it right (cable, bay, mount), and run the same command again" in caught.value.hint


def test_a_new_drive_that_is_too_small_is_not_said_to_work_again():
    small = Owed(0, "S", "/m", 0, "new", "is full: 6 bytes free, 19 needed for what it lacks and what comes")
    said = crews.notice(0, 6, 2, 1, small), crews.to_do([small])
    assert "with a larger drive at MNT" in said[0]
    assert "free room on it" in said[0]
    assert "works" not in said[0]
    assert said[1].startswith("free room on it, and run the same command again")


@pytest.mark.parametrize(
    ("kinds", "words", "not_words"),
    [
        (["full"], ["free room on what is full"], ["put right", "not taken back"]),
        (["lied"], ["only a new drive helps", "attach a new drive"], ["same command again", "or attach"]),
        (["new"], ["free room", "a new, larger drive"], ["put right"]),
        (["failed", "full"], ["free room", "put right what can be", "or attach"], ["not taken back"]),
    ],
)
def test_what_is_next_goes_by_why_drives_are_set_aside(kinds, words, not_words):
    rows = [{"kind": kind, "serial": f"EX-{kind}", "reason": "is full" * (kind == "new")} for kind in kinds]
    said = " ".join(pack_words.next_lines(rows))
    assert all(word in said for word in words), said
    assert not any(word in said for word in not_words), said
    assert all(f"--replace EX-{kind}=MNT" in said for kind in kinds)


def test_status_says_that_a_full_drive_needs_room(tmp_path, capsys):
    packing = Packing(tmp_path, size=12)
    packing.fleet.fill(packing.mounts[1], 12 << 20)
    (row,) = owed(packing.pack())
    assert "needed for the next pack (" in row["reason"]  # no more than is left to be packed
    assert "beneath it" not in row["reason"]
    assert "index and hashes" in row["reason"]
    status_cli.show(status.look(str(packing.origin.state)))
    said = capsys.readouterr().out
    assert "free room on what is full, and run the same command again" in said
    assert f"--replace {row['serial']}=MNT" in said
    assert "can be read if no other drive is lost. what is lost is packed again from the source, so keep it" in said
    assert "than parity holds" not in said


def test_more_drives_that_are_full_than_parity_holds_want_room_and_status_says_what_that_means(tmp_path, capsys):
    packing = Packing(tmp_path, size=12)
    for mount in packing.mounts[1:]:
        packing.fleet.fail(mount, "write", errno.ENOSPC, nth=9, lasting=True)
    with pytest.raises(DriveFault, match="2 drives are set aside") as first:
        packing.pack()
    assert str(first.value).count("its filesystem has room: what is full is beneath it") == 2
    with pytest.raises(DriveFault) as again:
        packing.pack()
    assert "free room on" in again.value.hint
    assert "writable" not in again.value.hint
    status_cli.show(status.look(str(packing.origin.state)))
    said = capsys.readouterr().out
    assert "more drives are set aside than parity holds (1). committed is this: " in said


def test_a_rate_is_said_in_a_unit_in_which_it_is_something(tmp_path, monkeypatch):
    said = [rate_text(rate) for rate in (0, 999, 422_000, 38_000_000, 1.25e9)]
    assert said == ["0 B/s", "999 B/s", "422.0 kB/s", "38.0 MB/s", "1.25 GB/s"]
    packing = Packing(tmp_path)
    monkeypatch.setattr(rates.Rates, "judge", lambda _self: {2: (422_000, 38_000_000)})
    packing.pack()
    (text,) = [text for text in packing.notices if "writes slowly" in text]
    assert "422.0 kB/s, the median of its group 38.0 MB/s" in text
    assert f"--replace {packing.origin.serial(packing.mounts[2])}=MNT" in text


def test_the_one_drive_that_leaves_the_room_of_others_unused_is_named():
    assert "d3 has 30,000,000 bytes free, the next one 90,000,000" in room._smallest(
        {"d1": 91_000_000, "d2": 90_000_000, "d3": 30_000_000}
    )
    assert room._smallest({"d1": 91_000_000, "d2": 90_000_000}) == ""
    assert room._smallest({"d1": 91_000_000}) == ""


def test_files_that_are_packed_are_counted_as_files(tmp_path, monkeypatch):
    """And not segments of files: three files of several packs each are three, also where a packing goes on."""
    seen = []
    packing = Packing(tmp_path, size=0)
    for number in range(3):
        (packing.origin.source / f"{number}.raw").write_bytes(os.urandom(5 << 20))
    stopped(packing, monkeypatch, 5)
    options = packing.origin.pack_options(open_drive=packing.fleet.open)
    shipments.packing.run(options, shipments.packing.Events(packing=lambda progress, _total: seen.append(progress)))
    assert 0 < max(progress.files for progress in seen) <= 4
    assert max(progress.members for progress in seen) > 5, "segments"
