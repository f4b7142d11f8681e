"""Of all hosts one writes beneath a prefix of a bucket; a killed one is taken over, by a rule that is told."""

import re
import subprocess
import threading
import time
from pathlib import Path

import ingests
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealift.drives import object_lock
from sealift.drives.object_lock import PLACE, TYPE, Marker, ObjectLock, parse
from sealift.drives.object_prefix import ObjectPrefix
from sealift.errors import Busy, FormatError
from sealift.formats import canonical

MARKER = Marker(
    type=TYPE, work="w", user="u", host="h", process=7, started=0, processes="", since="", here="", nonce="n"
)


@pytest.fixture
def to(bucket):
    return f"s3://{bucket}/some/where"


@pytest.fixture
def elsewhere(monkeypatch):
    """From here on locks are taken as on another host: another lock of this host's, of the same store."""
    place = object_lock._here
    return lambda name: monkeypatch.setattr(object_lock, "_here", lambda fd: place(fd) and name)


def begin(to, host=None):
    """As a run of its own: its hold is not that of another host."""
    bucket = ObjectPrefix(to, patience=10)
    if host is not None:
        own = ObjectPrefix(f"{to}/{host}")
        bucket.hold, bucket.let_go = own.hold, own.let_go
    return ObjectLock(bucket, "sealift ingest")


def test_another_host_is_kept_out_and_told_who_and_what_to_do(to, elsewhere):
    held = begin(to, "one")
    elsewhere("two")
    words = r"sealift ingest by .* on .* \(process \d+, since .*Z\) writes there; it was last heard of \d s ago"
    with pytest.raises(Busy, match=words) as caught:
        begin(to, "two")
    assert re.search(rf"{re.escape(f'{to}/{PLACE}/000001-')}[0-9a-f]{{32}} is removed", caught.value.hint)
    assert "elsewhere in " in caught.value.hint
    held.check()
    held.give_up()
    begin(to, "three").give_up()
    assert ingests.objects(to, notes=True) == {}


def test_what_was_killed_on_this_host_is_taken_over_at_once_and_there_alone(to, elsewhere):
    killed = begin(to, "one")
    killed._stop.set()
    killed._bucket.let_go()
    after = begin(to, "one")
    assert [name.rpartition("-")[0] for name in ingests.objects(to, notes=True)] == [f"{PLACE}/000002"]
    elsewhere("two")
    with pytest.raises(Busy):
        begin(to, "two")
    after.give_up()


def test_what_is_not_renewed_is_taken_over_and_ends(to, elsewhere, monkeypatch):
    held = begin(to, "one")
    held._stop.set()
    elsewhere("two")
    monkeypatch.setattr(object_lock, "LEASE", 0.5)
    time.sleep(1.6)  # what a store says of one object is in whole seconds
    after = begin(to, "two")
    monkeypatch.setattr(object_lock, "RENEW", 0.01)
    monkeypatch.setattr(object_lock, "LEASE", 300)
    held._stop.clear()
    held._renew()
    with pytest.raises(Busy, match="was removed, or taken over"):
        held.check()
    held.give_up()
    assert [name.rpartition("-")[0] for name in ingests.objects(to, notes=True)] == [f"{PLACE}/000002"]
    after.check()
    after.give_up()


def test_a_living_one_is_renewed_and_one_that_cannot_be_ends_before_it_is_taken_over(to, elsewhere, monkeypatch):
    monkeypatch.setattr(object_lock, "RENEW", 0.1)
    monkeypatch.setattr(object_lock, "LEASE", 1.0)
    held = begin(to, "one")
    elsewhere("two")
    time.sleep(1.5)
    with pytest.raises(Busy, match="last heard of"):
        begin(to, "two")
    held.check()
    monkeypatch.setattr(held._bucket, "put_over", lambda *_: (_ for _ in ()).throw(Busy("the store")))
    time.sleep(1.2)
    with pytest.raises(Busy, match="could not be renewed"):
        held.check()
    held.give_up()


@pytest.mark.parametrize("condition", [True, False])
def test_of_many_that_begin_at_once_one_goes_on_at_most(to, elsewhere, monkeypatch, condition):
    elsewhere(None)
    if not condition:  # not every store knows If-None-Match
        put = ObjectPrefix(to).client.native.put
        over = lambda *given, **more: put(*given, **(more | {"mode": "overwrite"}))  # noqa: E731
        monkeypatch.setattr(ObjectPrefix(to).client.native, "put", over)
    monkeypatch.setattr(object_lock, "_here", str)
    got, refused = [], []

    def run(number):
        try:
            got.append(begin(to, number))
        except Busy as error:
            refused.append(error)

    threads = [threading.Thread(target=run, args=(str(number),)) for number in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(got) <= 1
    assert len(got) + len(refused) == 6
    for each in got:
        each.give_up()
    begin(to, "last").give_up()
    assert ingests.objects(to, notes=True) == {}


def test_a_process_of_this_host_that_has_ended_holds_nothing_whatever_it_called_the_store(to, elsewhere):
    """As through a proxy: the same bucket, and another lock of this host's."""
    killed = subprocess.Popen(["sleep", "60"])
    ours, began = object_lock._processes(), object_lock._stat(killed.pid).started
    fields = {each: getattr(MARKER, each) for each in MARKER.__struct_fields__}

    def holds(**changes):
        said = canonical.encode(
            Marker(**fields | {"process": killed.pid, "started": began, "processes": ours} | changes)
        )
        ObjectPrefix(to).put_new(f"{PLACE}/000041", said)
        try:
            begin(to, "one").give_up()
        except Busy:
            ObjectPrefix(to).delete(f"{PLACE}/000041")
            return True
        return False

    elsewhere("one")
    assert ours
    assert began
    assert holds(), "it lives"
    assert holds(process=1, started=object_lock._stat(1).started), "whoever's it is"
    assert not holds(started=began - 1), "its number is another's by now"
    killed.kill()
    until = time.monotonic() + 10
    while not object_lock._stat(killed.pid).ended and time.monotonic() < until:
        time.sleep(0.01)
    assert not holds(), "a zombie that nobody has reaped"
    killed.wait()
    assert not holds()
    assert holds(processes="c" * 32), "of another host, or another container"
    assert holds(processes=""), "nobody can say"
    assert holds(process=-1)
    assert not holds(process=1 << 60)


@given(st.one_of(st.binary(max_size=200), st.text().map(lambda text: canonical.encode(MARKER) + text.encode())))
def test_what_is_no_marker_is_refused(data):
    if data != canonical.encode(MARKER):
        with pytest.raises(FormatError):
            parse(data)


def test_a_marker_that_nobody_can_read_is_somebodys_until_it_is_old(to):
    ObjectPrefix(to).put_new(f"{PLACE}/000041", b"\x1b[2J")
    with pytest.raises(Busy, match="somebody whose marker cannot be read"):
        begin(to)
    ObjectPrefix(to).delete(f"{PLACE}/000041")
    said = canonical.encode(Marker(**{**{f: getattr(MARKER, f) for f in MARKER.__struct_fields__}, "host": "h\x1b[2J"}))
    ObjectPrefix(to).put_new(f"{PLACE}/000041", said)
    with pytest.raises(Busy, match="on h\\?") as caught:
        begin(to)
    assert "\x1b" not in f"{caught.value}{caught.value.hint}"


def test_the_example_of_the_spec_is_a_marker():
    page = (Path(__file__).parents[2] / "docs/spec/ingest-lock.md").read_text()
    example = page.partition("```json\n")[2].partition("```")[0]
    assert parse(example.encode()).host == "dock-1"
    fields = [
        name for line in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", line)
    ]
    assert fields == list(Marker.__struct_fields__)
