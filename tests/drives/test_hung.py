"""Who was asked and has not answered is given out once for each time, and once more when it answers."""

import pytest

from sealift.drives import hung
from sealift.drives.hung import SILENCE, Silent


@pytest.fixture
def now(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(hung.time, "monotonic", lambda: now[0])
    yield now
    assert not hung.look(SILENCE)


def test_whoever_answers_within_the_time_is_not_named(now):
    with hung.asked("/a"):
        now[0] = SILENCE - 1
        assert hung.look(SILENCE) == []
        with hung.asked("/a"):
            now[0] = SILENCE
            assert hung.look(SILENCE) == [Silent("/a", SILENCE, answers=False)]
            assert hung.look(SILENCE) == [], "once"
        now[0] += 1
        assert hung.look(SILENCE) == [], "it has answered one thing, and not the other"
    assert hung.look(SILENCE) == [Silent("/a", SILENCE + 1, answers=True)]
    assert hung.look(SILENCE) == []


def test_who_has_more_patience_hears_nothing_of_what_was_given_out(now):
    with hung.asked("/a"):
        now[0] = 5
        assert hung.look(5) == [Silent("/a", 5, answers=False)]
        assert hung.look(SILENCE) == []
    now[0] = 6
    assert hung.look(SILENCE) == [Silent("/a", 6, answers=True)]


def test_others_drives_are_left_to_others(now):
    with hung.asked("/a"), hung.asked("/b"):
        now[0] = SILENCE
        assert hung.look(SILENCE, ["/a"]) == [Silent("/a", SILENCE, answers=False)]
        assert hung.look(SILENCE, ["/b", "/c"]) == [Silent("/b", SILENCE, answers=False)]
        hung.again(["/b"])
        assert hung.look(SILENCE) == [Silent("/b", SILENCE, answers=False)]
    assert hung.look(SILENCE, ["/a"]) == [Silent("/a", SILENCE, answers=True)]
    assert hung.look(SILENCE, ["/b"]) == [Silent("/b", SILENCE, answers=True)]


def test_a_drive_that_fails_has_answered(now):
    with pytest.raises(OSError, match="gone"), hung.asked("/a"):
        raise OSError("gone")
    now[0] = SILENCE
    assert hung.look(SILENCE) == []
