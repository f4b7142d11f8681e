"""Voyages at random: pack, crash, go on, lose, rot, swap, repair, rebuild, verify, unpack, against a perfect model.

What happens depends on the clock (kills, builders), so no rule has a precondition: one that does not apply does
nothing. A short run in every test run; SEALIFT_MACHINE_SECONDS=3600 goes on for an hour. A voyage that fails prints,
beside Hypothesis's own steps, the script of what its drives went through.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import ClassVar

import pytest
import shipments
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from voyage_model import Files, Model

from sealift.errors import DriveFault, Lost, SealiftError
from sealift.formats import manifest as mf
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages import repair as repairing
from sealift.stages import unpack as unpacking
from sealift.stages.pack import settle
from sealift.stages.pack.journal import Journal
from sealift.stages.verify import verify
from sealift.stages.verify_report import exit_code
from sealift.testing import FleetSimulator

PACKER = str(Path(shipments.__file__).with_name("packer.py"))
EXIT_CODES = {"intact": 0, "recoverable": 3, "lost": 4, "unseen": 6}
WORKING = ("create", "write", "fsync", "rename", "read", "open", "look", "remove")

SHORT, LONG = 8, 50  # voyages

troubles = st.tuples(
    st.sampled_from(["crash", "crash", "kill", "replace"]),
    st.integers(0, 10),
    st.sampled_from(WORKING),
    st.integers(1, 40),
    st.sampled_from([errno.EIO, errno.ENOSPC, errno.ENODEV]),
    st.booleans(),
)
anywhere = st.integers(0, 1 << 30)  # taken modulo what there is


class Origin(shipments.Origin):
    """With the serial numbers of the simulator."""

    def serial(self, mount: str) -> str:
        return "SIM-" + os.path.basename(mount)[1:]


class Voyage(RuleBasedStateMachine):
    """One shipment of one group."""

    steps: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="sealift-voyage-"))
        self.patch = pytest.MonkeyPatch()
        self.patch.setenv("XDG_STATE_HOME", str(self.folder / "home"))
        self.patch.setattr(unpacking, "ProcessPoolExecutor", shipments.Inline)
        self.model: Model | None = None

    @initialize(
        geometry=st.sampled_from([(2, 1), (1, 1), (2, 2), (3, 2), (2, 0)]),
        sizes=st.lists(st.sampled_from([0, 13, 4000, 300_000, 1_100_000, 2_500_000]), min_size=1, max_size=7),
        pack_size=st.sampled_from([1 << 20, 3 << 20]),
        seed=st.integers(0, 1000),
        troubles=st.lists(troubles, max_size=3),
    )
    def leave(self, geometry, sizes, pack_size, seed, troubles):
        data, parity = geometry
        rng = random.Random(seed)
        source = self.folder / "source"
        for number, size in enumerate(sizes):
            shipments.write(source / f"d{number % 3}" / f"{number}.bin", rng.randbytes(size))
        self.fleet = FleetSimulator.on_folders(self.folder / "origin", data + parity, seed=seed)
        self.origin = Origin(
            self.folder / "origin",
            source,
            data,
            parity,
            options={"pack_size": pack_size, "accept_carrier_risk": True},
        )
        self.slots: dict[str, int] = {}  # by mount
        self.lost: list[str] = []  # mounts that may be found again
        self.unpacked = 0
        for what, place, operation, nth, code, lasting in troubles:
            if self.model is None:
                {"crash": self.crash, "kill": self.kill, "replace": self.replace}[what](
                    place, operation, nth, code, lasting=lasting
                )
        if self.model is None:
            self.count("pack")
            self.pack_once()
        assert self.model is not None, "a packing on sound drives is signed"

    def teardown(self) -> None:
        if hasattr(self, "fleet"):
            note("what happened to the fleet:\n" + self.fleet.script)
        self.clear()

    def clear(self) -> None:
        self.patch.undo()
        for folder, _, _ in os.walk(self.folder):
            os.chmod(folder, 0o700)
        shutil.rmtree(self.folder)

    def count(self, what: str) -> None:
        Voyage.steps[what] += 1
        self.fleet.comment(what)

    @staticmethod
    def fault_of(act) -> DriveFault | None:
        """What an act that may end in the fault of a drive ended in."""
        try:
            act()
        except DriveFault as fault:
            return fault
        except Lost:  # of a group that a killed run had signed, while the only drive that has something fails
            return None
        return None

    # At the origin

    def pack_once(self, **changes) -> None:
        result = self.origin.pack(open_drive=self.fleet.open, **changes)
        signed = [group["state"] for group in result.groups] == ["signed"]
        whole = signed and not result.lacking  # small files of a group that a killed run had signed are read each time
        assert result.exit_code == (0 if whole else 3)
        if whole:
            self.sign()

    def sign(self) -> None:
        """Seal, and take down what the drives hold now."""
        self.seal = self.origin.seal()
        for mount in self.fleet.mounts:
            for name, data in self.seal.items():
                self.fleet.put(mount, name, data)
        self.slots = {mount: self.slot_of(mount) for mount in self.fleet.mounts}
        by_slot = sorted(self.fleet.mounts, key=lambda mount: self.slots[mount])
        self.model = Model(self.origin.data, self.origin.parity, [self.fleet.snapshot(mount) for mount in by_slot])
        self.allowed = AllowedSigners.parse(self.origin.allowed)
        self.places: dict[bytes, set[tuple[int, int]]] = {}
        with contextlib.closing(self.origin.shipment(seal=self.seal)) as shipment:
            for group in shipment.groups.values():
                for row in group.members.rows():
                    if row.length:
                        self.places.setdefault(row.path, set()).add((row.stripe, row.role))

    def slot_of(self, mount: str) -> int:
        return mf.decode_card(self.fleet.read(mount, mf.CARD)).slot

    def crash(self, place, operation, nth, code, *, lasting):
        """A drive fails while it is packed; when it is well again, packing goes on."""
        self.count("crash")
        mount = self.fleet.mounts[place % len(self.fleet.mounts)]
        self.fleet.fail(mount, operation, code, nth=nth, lasting=lasting)
        if (fault := self.fault_of(self.pack_once)) is not None:
            assert fault.drive == mount
            assert fault.hint
            self.count("crashed")
        self.fleet.heal(mount)
        if self.model is None and self.has_lied(mount):  # it is not trusted again, whatever healed it
            self.replace(place)

    def has_lied(self, mount: str) -> bool:
        if not self.can_replace():
            return False
        with contextlib.closing(Journal(str(self.origin.state))) as journal:
            return any(o.kind == "lied" and o.serial == self.origin.serial(mount) for o in journal.owed(0).values())

    def replace(self, place, *_, **__):
        """A drive dies at the origin, whatever it has been through, and another is packed in its place."""
        if not self.can_replace():
            return
        self.count("replace")
        old = self.fleet.mounts[place % len(self.fleet.mounts)]
        new = self.fleet.replace(old)
        text = self.origin.declaration.read_text()
        self.origin.declaration.write_text(text.replace(self.origin.serial(old), self.origin.serial(new)))
        to = [mount for mount in self.origin.mounts if mount != old]
        self.origin.mounts[self.origin.mounts.index(old)] = new
        again = {"to": to, "replace": {self.origin.serial(old): new}}
        try:
            self.pack_once(**again)
        except DriveFault as fault:  # asks once for the old drive, whose packs nothing else has
            if "what was replaced may still have it" not in str(fault) or not self.is_beyond_parity():
                raise
            self.count("asked for the old drive")
            self.pack_once(**again)
        assert self.model is not None, "a packing whose dead drives are replaced is signed"

    def is_beyond_parity(self) -> bool:
        """Whether of a stripe that is committed more drives owe or spoilt their pack than parity holds."""
        with contextlib.closing(Journal(str(self.origin.state))) as journal:
            owed, wrong = journal.owed(0).values(), journal.wrong(0)
            return any(
                len({o.slot for o in owed if o.since <= stripe} | {w.slot for w in wrong if w.stripe == stripe})
                > self.origin.parity
                for stripe in range(journal.group(0).stripes)
            )

    def can_replace(self) -> bool:
        """Whether packing has begun and is not done: a kill may come after the manifest is signed."""
        if not (self.origin.state / "journal.sqlite").exists():
            return False
        with contextlib.closing(Journal(str(self.origin.state))) as journal:
            return settle.load(journal) is not None and journal.group(0).state != "signed"

    def kill(self, _place, _operation, nth, *_, **__):
        """kill -9 of a packing process, at some moment."""
        self.count("kill")
        options = self.folder / "options"
        options.write_bytes(pickle.dumps(self.origin.pack_options()))
        process = subprocess.Popen([sys.executable, PACKER, str(options)], stderr=subprocess.DEVNULL)
        try:
            process.wait(nth / 50)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    # On the way

    def mount(self, place: int) -> str:
        return self.fleet.mounts[place % len(self.fleet.mounts)]

    def now(self) -> dict[int, Files]:
        """What the drives that are here hold, by slot."""
        return {self.slots[mount]: self.fleet.snapshot(mount) for mount in self.fleet.mounts}

    def serials(self) -> dict[int, str]:
        """The serial numbers of the media that are here, by slot."""
        return {self.slots[mount]: serial for mount, serial in self.fleet.serials.items()}

    def promised(self, *before: tuple[str, Files]) -> bool:
        """Whether the drives are still such that anything is promised; else what was done to them is undone."""
        if self.fleet.mounts and self.model.is_told(self.now()):
            return True
        for mount, files in before:
            self.fleet.comment("undone:")
            self.fleet.replay(mount, files)
        return False

    @rule(
        place=anywhere,
        name=anywhere,
        pack=st.integers(0, 3),
        how=st.sampled_from(["rot", "rot", "rot_block", "rot_block", "truncate", "extend", "remove"]),
        amount=anywhere,
    )
    def damage(self, place, name, pack, how, amount):
        mount = self.mount(place)
        before = self.fleet.snapshot(mount)
        names = sorted(each for each in before if each.startswith("packs/") == (pack > 0) and before[each])
        if not names:
            return
        name = names[name % len(names)]
        size = len(before[name])
        if name == mf.MANIFEST and how == "rot":
            how = "remove"  # another manifest that parses makes it another drive: tests of survey have that
        self.count("damage")
        if how == "rot":
            self.fleet.rot(mount, name, amount % (size * 8))
        elif how == "rot_block":
            self.fleet.rot_block(mount, name, amount % -(-size // mf.BLOCK))
        elif how == "truncate":
            self.fleet.truncate(mount, name, amount % size)
        elif how == "extend":
            self.fleet.extend(mount, name, bytes(amount % 5000 + 1))
        else:
            self.fleet.remove(mount, name)
        self.promised((mount, before))

    @rule(place=anywhere, other=anywhere)
    def swap(self, place, other):
        self.count("swap")
        mount, other = self.mount(place), self.mount(other)
        if mount != other:
            self.fleet.swap(mount, other)
            self.slots[mount], self.slots[other] = self.slots[other], self.slots[mount]

    @rule(place=anywhere, other=anywhere)
    def relabel(self, place, other):
        self.count("relabel")
        mount = self.mount(place)
        before, card = self.fleet.snapshot(mount), self.model.signed[other % self.model.n][mf.CARD]
        if before.get(mf.CARD) == card:
            return
        self.fleet.relabel(mount, card)
        self.promised((mount, before))
        self.forgotten(self.now())

    @rule(place=anywhere)
    def lose(self, place):
        mount = self.mount(place)
        self.fleet.lose(mount)
        if self.promised():
            self.count("lose")
            self.lost.append(mount)
        else:
            self.fleet.find(mount)

    @rule(place=anywhere)
    def find(self, place):
        """What was lost turns up, unless it was rebuilt."""
        if not self.lost:
            return
        mount = self.lost[place % len(self.lost)]
        self.fleet.find(mount)
        if self.promised():
            self.count("find")
            self.lost.remove(mount)
        else:
            self.fleet.lose(mount)

    # At the destination

    @rule(final=st.booleans())
    def verify(self, final):
        self.count("verify")
        now = self.now()
        report = verify(self.fleet.drives, allowed=self.allowed, seal=self.seal, final=final, remember=False)
        state = self.model.state(now, self.serials(), final=final)
        assert (report.state, exit_code(report)) == (state, EXIT_CODES[state]), report.faults
        self.named(now, report)

    def named(self, now: dict[int, Files], report) -> None:
        """Every file that differs is named, and no pack that does not."""
        ids = {mf.drive_id(0, slot): slot for slot in range(self.model.n)}
        named = {(ids.get(fault.drive), fault.path) for fault in report.faults}
        differ = self.model.differs(now)
        assert differ <= named
        assert {each for each in named if each[1] and each[1].startswith("packs/")} <= differ

    @rule(place=anywhere, name=anywhere)
    def verify_with_a_bad_sector(self, place, name):
        """A pack that does not read is as bad as one that is gone, for as long as it does not."""
        mount = self.mount(place)
        packs = [
            each for each in self.fleet.names(mount) if each in self.model.files[self.slots[mount]] and "/00" in each
        ]
        if not packs:
            return
        name = packs[name % len(packs)]
        now = self.now()
        del now[self.slots[mount]][name]
        if not self.model.is_told(now):
            return
        self.count("verify with a bad sector")
        self.fleet.fail(mount, "read", lasting=True, name=name)
        report = verify(self.fleet.drives, allowed=self.allowed, seal=self.seal, final=True, remember=False)
        self.fleet.heal(mount)
        assert report.state == self.model.state(now, self.serials(), final=True)

    @rule()
    def repair(self):
        self.count("repair")
        before = self.now()
        report = repairing.repair(self.fleet.drives, allowed=self.allowed, seal=self.seal, allow_same_filesystem=True)
        after = self.now()
        self.known(before, after)
        lost = {self.model.pack(*each) for each in self.model.lost_packs(before)}
        missing, differ = len(before) < self.model.n, self.model.differs(after)
        come = self.model.state(after, self.serials(), final=False) != "lost"
        assert {(slot, name) for slot, name in differ if name in self.model.files[slot]} <= lost
        wanted = (6 if come else 4) if lost else 3 if missing or differ else 0
        assert repairing.exit_code(report) == wanted, report

    @rule(
        place=anywhere,
        operation=st.sampled_from(WORKING),
        nth=st.integers(1, 30),
        code=st.sampled_from([errno.EIO, errno.ENOSPC]),
    )
    def repair_on_a_failing_drive(self, place, operation, nth, code):
        """It may not come to an end; it harms nothing, and goes on when the drive is well."""
        self.count("repair on a failing drive")
        before = self.now()
        mount = self.mount(place)
        self.fleet.fail(mount, operation, code, nth=nth, lasting=True)
        with contextlib.suppress(SealiftError):
            repairing.repair(self.fleet.drives, allowed=self.allowed, seal=self.seal, allow_same_filesystem=True)
        self.fleet.heal(mount)
        after = self.now()
        self.known(before, after)

    @rule(place=anywhere, interrupted=st.integers(0, 60))
    def rebuild(self, place, interrupted):
        """The first of the lost drives, or one that is lost now, onto an empty one, which may fail once on the way."""
        if not self.lost:
            self.lose(place)
        if not self.lost:
            return
        lost = min(self.lost, key=lambda mount: self.slots[mount])
        slot, before = self.slots[lost], self.now()
        if self.model.lost(before):
            return
        self.count("rebuild")
        self.fleet.comment("an empty drive:")
        new = self.fleet.replace(lost)
        if interrupted % 2:
            self.fleet.fail(new, "write", nth=interrupted)
        given = {"allowed": self.allowed, "seal": self.seal}
        places = [self.fleet.open(mount) for mount in self.fleet.mounts if mount != new]
        name = mf.drive_id(0, slot)  # others may be lost, too
        reports = [repairing.repair(places, onto=[(name, self.fleet.open(new))], **given)]
        while failed := reports[-1].unwritable:
            assert [each.mount for each in failed] == [new]
            self.count("rebuild interrupted")
            reports.append(repairing.repair(places, onto=[(name, self.fleet.open(new))], **given))
        self.fleet.heal(new)
        self.lost.remove(lost)
        self.slots[new] = slot
        made = self.fleet.snapshot(new)
        assert made.keys() == {*self.model.signed[slot], mf.REBUILT}, (set(made) ^ {*self.model.signed[slot]}, reports)
        card = mf.decode_card(made[mf.CARD])
        assert card.rebuilt == mf.decode_rebuilt(made[mf.REBUILT])
        assert self.model.record.is_card(slot, card)
        self.model.files[slot][mf.CARD] = made[mf.CARD]
        assert self.model.differs({slot: made}) == set(), reports
        self.harmless(before, {slot: files for slot, files in self.now().items() if slot in before})

    def known(self, before: dict[int, Files], after: dict[int, Files]) -> None:
        """What repair left is harmless, and a drive says that it was made where that is so."""
        for slot, files in after.items():
            card = files.get(mf.CARD)
            if card not in {None, before[slot].get(mf.CARD), self.model.files[slot][mf.CARD]}:
                record = mf.decode_card(card)
                assert self.model.record.is_card(slot, record)
                if record.rebuilt:
                    assert mf.REBUILT in before[slot] or self.model.has_no_pack(slot, before[slot]), slot
                    self.model.files[slot][mf.CARD] = card
        self.harmless(before, after)
        self.forgotten(after)

    def forgotten(self, after: dict[int, Files]) -> None:
        """Whether a drive was rebuilt stands in two files of it, and in nothing that was signed: it may be lost."""
        for slot, files in after.items():
            if files.get(mf.CARD) == self.model.signed[slot][mf.CARD] and mf.REBUILT not in files:
                self.model.files[slot][mf.CARD] = files[mf.CARD]

    def harmless(self, before: dict[int, Files], after: dict[int, Files]) -> None:
        """Every file is as it was or as it was signed."""
        for slot, files in after.items():
            for name, data in files.items():
                if name == mf.REBUILT and data != before[slot].get(name):
                    assert mf.decode_rebuilt(data) == mf.decode_card(self.model.files[slot][mf.CARD]).rebuilt
                elif not name.endswith(".part"):
                    known = (
                        before[slot].get(name),
                        self.model.files[slot].get(name),
                        self.model.signed[slot].get(name),
                    )
                    assert data in known, (slot, name)
            for name in before[slot].keys() - files.keys():
                assert name.endswith(".part"), (slot, name)

    @rule()
    def unpack(self):
        self.count("unpack")
        self.unpacked += 1
        now, target = self.now(), self.folder / f"restored-{self.unpacked}"
        result = self.origin.unpack(target, mounts=self.fleet.drives, seal=self.seal)
        lost = {pack for pack in self.model.lost_packs(now) if pack[1] < self.model.data}
        failed = {path for path, _ in result.failed}
        if not lost:
            assert failed == set()
            shipments.same(self.origin.source, target)
            return
        want, have = shipments.picture(self.origin.source), shipments.picture(target)
        for path, packs in self.places.items():
            if not packs & lost:
                assert path not in failed, path
            if path not in failed:
                assert have[path] == want[path], path
            else:
                assert path not in have, path


Voyage.TestCase = None  # it is run by the functions below, which count


def sail(examples: int, *, derandomize: bool) -> None:
    run_state_machine_as_test(
        Voyage,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            derandomize=derandomize,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def asked_for_the_old_drive(nth):
    voyage = Voyage()
    try:
        crashed = ("crash", 0, "create", nth, errno.EIO, False)
        replaced = ("replace", 0, "create", 1, errno.EIO, False)
        voyage.leave(geometry=(2, 0), sizes=[0], pack_size=1 << 20, seed=0, troubles=[crashed, replaced])
        assert voyage.model is not None
        return "asked for the old drive" in voyage.fleet.script
    finally:
        voyage.clear()


def test_where_a_replaced_drive_alone_had_a_stripe_the_same_command_again_packs_it_anew():
    """Without parity it is asked for once, by design: the machine's `replace` knows it."""
    assert any(map(asked_for_the_old_drive, (9, 9, 8, 7)))  # what is the nth differs by how threads take turns


def test_voyages_end_as_the_model_says(capsys):
    seconds = float(os.environ.get("SEALIFT_MACHINE_SECONDS", "0"))
    Voyage.steps.clear()
    begun = time.monotonic()
    sail(SHORT, derandomize=True)
    while time.monotonic() - begun < seconds:
        sail(LONG, derandomize=False)
    with capsys.disabled():
        steps = ", ".join(f"{count} {what}" for what, count in Voyage.steps.most_common())
        print(f"\n{Voyage.steps.total()} steps in {time.monotonic() - begun:.0f} s: {steps}")  # noqa: T201 -- for the note of whoever ran it by hand
    assert {"pack", "verify", "repair", "unpack"} <= Voyage.steps.keys()
    assert Voyage.steps.keys() & {"damage", "relabel", "swap"}
