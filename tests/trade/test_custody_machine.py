"""Carriers write on copies of a log while they are apart, and merge them: the log says what a perfect model says."""

import itertools
import os
import pathlib
import shutil
import tempfile

import msgspec
from custody_cases import ALLOWED, ID, NOW, SERIALS, Log, item, unlocked
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sealift.stages import custody_log
from sealift.trade import custody
from sealift.trade import custody_event as ev

WHO = ("origin", "anna", "bo", "dock")
COPIES = ("origin", "anna", "bo")


def assess(folder, **kwargs):
    return custody.assess(
        custody_log.read(folder), consignment_id=ID, serials=SERIALS, allowed=ALLOWED, now=NOW, **kwargs
    )


def everything(folder):
    return {path.name: path.read_bytes() for path in sorted(pathlib.Path(folder).iterdir())}


class Copies(RuleBasedStateMachine):
    """`known` is the model: by copy the events it has, and of every event what was known when it was written."""

    def __init__(self):
        super().__init__()
        self.base = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.folders = {name: os.path.join(self.base, name) for name in COPIES}
        self.known = {name: set() for name in COPIES}
        self.past, self.event = {}, {}
        self.minutes = itertools.count()

    def teardown(self):
        if self.event:
            self.merged_in_any_order()
            self.altered_or_removed()
        shutil.rmtree(self.base)

    # the model

    def of_drive(self, events, serial):
        return {each for each in events if self.event[each].moves and serial in self.event[each].serials}

    def newest(self, events):
        return {each for each in events if not any(each in self.past[other] for other in events)}

    def holders(self, events, serial):
        return sorted(self.event[each].received_by.name for each in self.newest(self.of_drive(events, serial)))

    def conflicts(self, events):
        found = set()
        for serial in SERIALS:
            for one, two in itertools.combinations(self.of_drive(events, serial), 2):
                if one not in self.past[two] and two not in self.past[one]:
                    found.add((frozenset((one, two)), serial))
        return found

    def wrong_hands(self, events):
        found = set()
        for digest in events:
            for serial in self.event[digest].serials if self.event[digest].moves else ():
                before = self.newest(self.of_drive(self.past[digest], serial))
                if before and self.event[digest].released_by not in {self.event[each].received_by for each in before}:
                    found.add((digest, serial))
        return found

    # what people do

    def write(self, copy, event_type, released, received, serials, **changes):
        folder = self.folders[copy]
        log = Log()
        said = {"unlock": unlocked()} if event_type == "unlock" else {}
        items = [item(serials, **changes)] if serials else []
        event = log.event(event_type, released, received, items, minutes=next(self.minutes), **said)
        before = ev.Checkpoint(events=0, newest=[])
        if os.path.exists(folder):
            before = custody.before_next(assess(folder))
        digest = log.add(msgspec.structs.replace(event, log_checkpoint=before))
        custody_log.add(folder, log.entries[digest], sorted(log.signatures[digest]))
        self.past[digest], self.event[digest] = set(self.known[copy]), log.entries[digest].event
        self.known[copy].add(digest)

    @initialize()
    def seal(self):
        self.write("origin", "seal", "origin", "origin", SERIALS, before="", after="S1")
        for other in COPIES[1:]:
            custody_log.merge(self.folders[other], [self.folders["origin"]], ID)
            self.known[other] |= self.known["origin"]

    @rule(
        copy=st.sampled_from(COPIES),
        serials=st.lists(st.sampled_from(SERIALS), min_size=1, max_size=3, unique=True),
        to=st.sampled_from(WHO),
        lies=st.booleans(),
        data=st.data(),
    )
    def hand_over(self, copy, serials, to, lies, data):
        holder = self.holders(self.known[copy], serials[0])[0].lower()
        released = data.draw(st.sampled_from(WHO)) if lies else holder
        if released != to:
            self.write(copy, "handover", released, to, serials)

    @rule(copy=st.sampled_from(COPIES), serial=st.sampled_from(SERIALS), who=st.sampled_from(WHO))
    def state_a_discrepancy(self, copy, serial, who):
        self.write(copy, "discrepancy", who, who, [serial])

    @rule(copy=st.sampled_from(COPIES), who=st.sampled_from(WHO))
    def issue_keys(self, copy, who):
        self.write(copy, "unlock", who, who, [])

    @rule(into=st.sampled_from(COPIES), others=st.lists(st.sampled_from(COPIES), min_size=1, max_size=3))
    def merge(self, into, others):
        custody_log.merge(self.folders[into], [self.folders[each] for each in others], ID)
        for each in others:
            self.known[into] |= self.known[each]

    @invariant()
    def says_what_the_model_says(self):
        for name in COPIES:
            if not self.known[name]:
                continue
            account, events = assess(self.folders[name]), self.known[name]
            assert {row.entry.digest for row in account.rows} == events
            assert account.checkpoint.events == len(events)
            assert set(account.checkpoint.newest) == self.newest(events)
            for drive in account.drives:
                assert sorted(held.by.name for held in drive.held) == self.holders(events, drive.serial)
            said = {(frozenset(f.events), s) for f in account.findings if f.kind == "conflict" for s in f.serials}
            assert said == self.conflicts(events)
            said = {(f.events[0], s) for f in account.findings if f.kind == "hands" for s in f.serials}
            assert said == self.wrong_hands(events)
            kinds = {finding.kind for finding in account.findings}
            assert kinds <= {"conflict", "hands", "discrepancy"}

    # at the end

    def merged_in_any_order(self):
        results = []
        for at, order in enumerate(itertools.permutations(COPIES)):
            folder = os.path.join(self.base, f"merged{at}")
            for each in order:
                custody_log.merge(folder, [self.folders[each]], ID)
            results.append(everything(folder))
        assert all(each == results[0] for each in results)

    def altered_or_removed(self):
        folder = os.path.join(self.base, "merged0")
        checkpoint = assess(folder).checkpoint
        files = everything(folder)
        for name in sorted(files, key=lambda name: ev.digest_of(name.encode()))[:8]:
            data = files[name]
            path = os.path.join(folder, name)
            digest = name[:64]
            os.unlink(path)
            account = assess(folder, checkpoints=[checkpoint])
            if name.endswith(".json"):
                assert any(digest in f.events and f.kind in {"gap", "checkpoint"} for f in account.open), name
            else:
                assert any(digest in f.events and f.kind in {"uncountersigned", "unsigned"} for f in account.open), name
            with open(path, "wb") as file:
                at = len(name) * 7 % len(data)
                file.write(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            account = assess(folder)
            assert any(digest in f.events and f.kind == "altered" for f in account.open), name
            assert account.exit_code == 5
            with open(path, "wb") as file:
                file.write(data)
        assert assess(folder, checkpoints=[checkpoint]).exit_code in {0, 3}


TestCopies = Copies.TestCase
TestCopies.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)
