"""Drives that lie and drives that are slow are found out while packing; a command of the user's is told of it."""

import errno
import json
import os
import shutil
import time
from pathlib import Path

import pytest
import shipments
from test_failing_drives import Packing, owed

from sealift.cli.pack_words import drive_lines, read_back_text
from sealift.errors import Lost, Refused
from sealift.formats import manifest
from sealift.stages import rates, status
from sealift.stages.pack import group as groups
from sealift.stages.pack import notify, readback
from sealift.stages.seal_known import Known
from sealift.stages.status import look
from sealift.testing import drive


@pytest.mark.parametrize("how", ["flip", "drop"])
def test_a_lie_is_found_and_repaired_before_anything_is_signed(tmp_path, how):
    packing = Packing(tmp_path)
    packing.fleet.lie(packing.mounts[1], how, nth=3)  # drive.json, the settings, then the first pack
    result = packing.pack(read_back="full")
    assert result.exit_code == 0
    assert result.read_back["repaired"] >= 1
    told = next(text for text in packing.notices if "did not read back as it was written; it is rebuilt" in text)
    assert packing.origin.serial(packing.mounts[1]) in told
    assert result.read_back["blocks"] >= sum(
        -(-len(pack.read_bytes()) // (1 << 20)) for mount in packing.mounts for pack in packing.origin.packs(mount)
    )
    packing.ends_well()


def test_sampling_reads_first_and_last_block_of_every_pack(tmp_path):
    packing = Packing(tmp_path)
    result = packing.pack()
    packs = [pack for mount in packing.mounts for pack in packing.origin.packs(mount)]
    sizes = [pack.stat().st_size for pack in packs]
    blocks, stripes = sum(min(3, -(-size // (1 << 20))) for size in sizes), result.groups[0]["stripes"]
    nothing_wrong = {"again": 0, "found": 0, "repaired": 0, "packed_again": 0}
    assert result.read_back == {
        "mode": "sample",
        "stripes": stripes,
        "stripes_total": stripes,
        "blocks": blocks,
        **nothing_wrong,
        "wrong": 0,
        "beyond": 0,
        "read_from": result.read_back["read_from"],
        "this_run": {"stripes": stripes, "blocks": blocks, **nothing_wrong},
    }
    assert f"{blocks} blocks, of a sample of {stripes} of {stripes} stripes, from" in read_back_text(result.read_back)
    assert read_back_text(result.read_back).endswith(", all right")
    assert result.read_back["read_from"] in {"medium", "cache"}


def test_nothing_is_read_back_where_that_is_asked_for(tmp_path):
    packing = Packing(tmp_path, size=2)
    told = packing.pack(read_back="none").read_back
    assert (told["mode"], told["stripes"], told["blocks"], told["read_from"]) == ("none", 0, 0, None)
    assert read_back_text(told) == "nothing was read back (--read-back none)"
    assert sum(packing.fleet.counts(mount)["read"] for mount in packing.mounts) <= 6, "only small files"


def test_a_block_that_does_not_read_is_written_anew(tmp_path):
    packing = Packing(tmp_path)
    packing.fleet.fail(packing.mounts[0], "read", errno.EIO, name="packs/*", nth=1)
    packing.fleet.fail(packing.mounts[0], "read", errno.EIO, name="packs/*", nth=1)
    result = packing.pack(read_back="full")
    assert result.exit_code == 0
    assert result.read_back["repaired"] >= 1
    packing.ends_well()


def test_a_drive_that_lies_again_and_again_is_set_aside_and_not_taken_back_by_itself(tmp_path):
    packing = Packing(tmp_path)
    liar = packing.mounts[2]
    packing.fleet.lie(liar, "flip", nth=2, lasting=True)
    result = packing.pack(read_back="full")
    assert result.exit_code == 3
    (row,) = owed(result)
    assert (row["mount"], row["since_stripe"]) == (liar, 0)
    assert "packs on it were not as they were written" in row["reason"]
    packing.unsigned()
    packing.fleet.heal(liar)
    assert packing.pack(read_back="full").exit_code == 3, "it lied before"
    assert packing.replace(liar, packing.spares[0], read_back="full").exit_code == 0
    packing.ends_well()


def test_what_was_committed_and_not_read_is_read_by_the_next_run(tmp_path, monkeypatch):
    packing = Packing(tmp_path)
    packing.fleet.lie(packing.mounts[0], "flip", nth=3)

    def stop(*_):
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(groups.GroupPacker, "_name_slow", stop)  # after the commit, before the reading
        with pytest.raises(StopError):
            packing.pack(read_back="full")
    result = packing.pack(read_back="full")
    assert result.exit_code == 0
    assert result.read_back["repaired"] >= 1
    packing.ends_well()


class StopError(Exception):
    pass


def interrupted(packing, monkeypatch, stripe, read_back):
    """Pack until `stripe` is committed, and read back up to it."""
    commit = groups.GroupPacker._name_slow

    def stop(self):
        if self._journal.group(0).stripes > stripe:
            raise StopError
        commit(self)

    with monkeypatch.context() as patch:
        patch.setattr(groups.GroupPacker, "_name_slow", stop)
        with pytest.raises(StopError):
            packing.pack(read_back=read_back)


def test_a_run_says_of_how_many_stripes_it_is_the_one_that_read_them(tmp_path, monkeypatch):
    monkeypatch.setattr(readback, "RECENT", 0)
    packing = Packing(tmp_path, size=10)
    interrupted(packing, monkeypatch, 2, "full")
    result = packing.pack(read_back="full")
    assert result.exit_code == 0
    total, now = result.groups[0]["stripes"], result.read_back["this_run"]
    assert (result.read_back["stripes"], result.read_back["stripes_total"]) == (total, total)
    assert 0 < now["stripes"] < total
    assert now["blocks"] < result.read_back["blocks"]
    text = read_back_text(result.read_back)
    assert f"of {now['stripes']} of {total} stripes" in text
    assert text.endswith(f"; earlier runs read back {total - now['stripes']} of {total} stripes")
    told = packing.pack(read_back="full").read_back
    assert (
        read_back_text(told) == f"nothing was read back by this run; earlier runs read back {total} of {total} stripes"
    )
    assert status.look(str(packing.origin.state)).read_back["stripes"] == total


def test_thousands_are_told_apart():
    now = {"blocks": 1791, "stripes": 1200, "again": 1166, "found": 0, "repaired": 0, "packed_again": 0}
    read = {"this_run": now, "stripes": 3000, "stripes_total": 4000, "wrong": 0, "read_from": "medium", "mode": "full"}
    assert read_back_text(read) == (
        "read back 1,791 blocks (1,166 of stripes that had been read before), of 1,200 of 4,000 stripes, "
        "from the media, all right; earlier runs read back 1,800 of 4,000 stripes; 1,000 stripes not read back"
    )


@pytest.mark.long
@pytest.mark.parametrize("first", ["sample", "none", "full"])
def test_what_was_only_sampled_is_read_all_through_when_that_is_asked_for(tmp_path, monkeypatch, first):
    """And, of what was read all through, the last, which is all of these."""
    packing = Packing(tmp_path, size=10)
    interrupted(packing, monkeypatch, 2, first)
    result = packing.pack(read_back="full")
    total = result.groups[0]["stripes"]
    assert result.read_back["this_run"]["stripes"] == result.read_back["stripes"] == total
    packs = [pack for mount in packing.mounts for pack in packing.origin.packs(mount)]
    blocks = sum(-(-pack.stat().st_size // (1 << 20)) for pack in packs)
    assert result.read_back["this_run"]["blocks"] == blocks


def test_packs_that_a_sample_let_pass_are_found_by_a_full_run_that_goes_on(tmp_path, monkeypatch):
    packing = Packing(tmp_path, size=10)
    interrupted(packing, monkeypatch, 2, "none")
    name = next(name for name in packing.fleet.names(packing.mounts[0]) if name.startswith("packs/"))
    packing.fleet.rot(packing.mounts[0], name)
    result = packing.pack(read_back="full")
    assert result.read_back["repaired"] == 1
    packing.ends_well()


@pytest.mark.long
@pytest.mark.parametrize("first", ["none", "sample"])
def test_a_full_run_reads_what_no_run_read_of_a_group_that_is_signed_and_tells_what_is_wrong(tmp_path, first):
    """Nothing is written to a signed group; when it is repaired, the next run finds it so."""
    packing = Packing(tmp_path)
    assert packing.pack(read_back=first).exit_code == 0
    whole = {mount: packing.fleet.snapshot(mount) for mount in packing.mounts}
    rotten, short = packing.mounts[0], packing.mounts[2]
    packs = [name for name in packing.fleet.names(rotten) if name.startswith("packs/")]
    for name in packs:
        packing.fleet.rot(rotten, name)
    gone = next(name for name in packing.fleet.names(short) if name.startswith("packs/"))
    packing.fleet.remove(short, gone)
    before = [shipments.picture(mount) for mount in packing.mounts]
    for again in (False, True):
        packing.notices.clear()
        result = packing.pack(read_back="full")
        total = result.groups[0]["stripes"]
        assert (result.exit_code, result.owed, result.groups[0]["state"]) == (3, False, "signed")
        assert result.read_back["this_run"]["stripes"] == (0 if again else total)
        told = [text for text in packing.notices if "did not read back as written" in text]
        assert len(told) == 2, "once for each drive"
        assert f"of {packs[0]} and of {len(packs) - 1} more of its packs" in told[0]
        assert packing.origin.serial(short) in told[1]
        assert gone in told[1]
        assert all("sealift repair" in text for text in told)
        assert "wrong, not rebuilt yet" in read_back_text(result.read_back)
    assert [shipments.picture(mount) for mount in packing.mounts] == before
    for mount in (rotten, short):
        packing.fleet.replay(mount, whole[mount])
    assert packing.pack(read_back="none").exit_code == 3, "as far as anybody knows"
    result = packing.pack(read_back="full")
    assert (result.exit_code, result.read_back["wrong"]) == (0, 0)
    reads = packing.fleet.counts(rotten)["read"]
    assert set(packing.pack(read_back="full").read_back["this_run"].values()) == {0}
    assert packing.fleet.counts(rotten)["read"] - reads <= 9 + len(SMALL), "only small files"
    packing.ends_well()


def test_a_signed_group_of_which_a_drive_is_away_is_not_read_back_and_that_is_said(tmp_path):
    packing = Packing(tmp_path, size=3)
    assert packing.pack(read_back="none").exit_code == 0
    shutil.rmtree(f"{packing.mounts[1]}/sealift")
    result = packing.pack(read_back="full", to=[packing.mounts[0], packing.mounts[2]], group_size=3)
    assert (result.exit_code, result.not_read) == (6, [0])
    assert any("not read back, for drives of it are not here: SERd01" in text for text in packing.notices)


def test_a_pack_that_is_gone_when_it_is_read_back_is_wrong_and_rebuilt(tmp_path, monkeypatch):
    """It does not open: every block of it counts as wrong, and none as read well."""
    packing = Packing(tmp_path)
    start = readback.ReadBack.start

    def gone(self, stripe):
        if stripe == 1:
            name = next(n for n in packing.fleet.names(packing.mounts[1]) if n.startswith("packs/0000/0000001"))
            packing.fleet.remove(packing.mounts[1], name)
        start(self, stripe)

    monkeypatch.setattr(readback.ReadBack, "start", gone)
    result = packing.pack()
    assert result.exit_code == 0
    assert result.read_back["repaired"] >= 1
    assert any("0000001" in text and "did not read back" in text for text in packing.notices)
    packing.ends_well()


def test_what_a_drive_that_is_set_aside_does_not_read_is_owed_and_not_called_rebuilt(tmp_path, monkeypatch):
    """The medium goes while a stripe is read back: what is said and what is owed is what is known of the drive."""
    packing = Packing(tmp_path)
    mount, wait = packing.mounts[1], readback.ReadBack.wait

    def gone(self):
        if self._stripe == 1 and self._jobs:
            for _, _, job in self._jobs:
                job.exception()
            self._crew.fail(1, 2, "the medium went")
        wait(self)

    packing.fleet.fail(mount, "open", errno.EIO, lasting=True, name="packs/0000/0000001.*")
    monkeypatch.setattr(readback.ReadBack, "wait", gone)
    result = packing.pack(read_back="full")
    assert result.exit_code == 3
    (row,) = owed(result)
    assert (row["mount"], row["since_stripe"]) == (mount, 1)
    (told,) = [text for text in packing.notices if "did not read back" in text]
    assert "set aside already" in told
    assert "it is rebuilt" not in told
    assert result.read_back["wrong"] >= 1
    text = read_back_text(result.read_back)
    assert "wrong, not rebuilt yet" in text
    assert "all right" not in text
    monkeypatch.undo()
    packing.fleet.heal(mount)
    result = packing.pack(read_back="full")
    assert (result.exit_code, result.read_back["wrong"]) == (0, 0)
    packing.ends_well()


def test_a_slow_drive_is_named_once_with_its_rate_beside_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(rates, "MINUTE", 0.4)
    packing = Packing(tmp_path, data=3, size=12)
    slow = packing.mounts[1]
    packing.fleet.slow(slow, 4e6)
    result = packing.pack(read_back="none", notify=f'test $SEALIFT_EVENT = end || cat >> "{tmp_path}/told"')
    (row,) = result.groups[0]["slow"]
    told = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert [(each["event"], each.get("mount")) for each in told] == [("fault", slow), ("group", None)]
    assert [each.get("signed") for each in told] == [None, True]
    assert row["mount"] == slow
    assert row["bytes_per_second"] < 4.2e6 < 2 * 4.2e6 < row["median_bytes_per_second"]
    assert len([text for text in packing.notices if "writes slowly" in text]) == 1
    (seen,) = status.look(str(packing.origin.state)).groups[0].slow
    assert (seen.mount, seen.bytes_per_second) == (slow, row["bytes_per_second"])


def test_drives_are_judged_by_the_time_they_take_and_not_by_the_time_that_passes():
    judged = rates.Rates(minute=10)
    for slot, seconds in enumerate([1.0, 1.2, 1.1, 9.9]):
        judged.add(slot, 10_000_000, seconds)
    assert judged.judge() == {}, "not a minute's worth yet"
    judged.add(3, 0, 0.2)
    assert list(judged.judge()) == [3]
    for slot in range(4):
        judged.add(slot, 10_000_000, 11.0 + slot)
    assert judged.judge() == {}, "all alike"


def test_status_tells_what_is_owed_while_nothing_runs(tmp_path):
    packing = Packing(tmp_path)
    packing.fleet.fail(packing.mounts[0], "write", errno.EIO, nth=4, lasting=True)
    result = packing.pack()
    (seen,) = status.look(str(packing.origin.state)).groups[0].owed
    told = owed(result)[0]
    assert (seen.drive, seen.serial, seen.mount, seen.since_stripe, seen.kind, seen.reason) == tuple(told.values())


def events(path: Path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_command_is_told_of_faults_groups_and_the_end(tmp_path):
    packing, heard, shown = Packing(tmp_path), tmp_path / "heard", tmp_path / "environment"
    packing.fleet.fail(packing.mounts[0], "write", errno.EIO, nth=4, lasting=True)
    packing.pack(notify=f"cat >> {heard}; echo $SEALIFT_EVENT $SEALIFT_SERIAL $SEALIFT_EXIT_CODE >> {shown}")
    told = events(heard)
    serial = packing.origin.serial(packing.mounts[0])
    assert [each["event"] for each in told] == ["fault", "group", "end"]
    assert (told[0]["serial"], told[0]["mount"], told[0]["drive"]) == (serial, packing.mounts[0], "g0s0")
    assert (told[1]["signed"], told[2]["exit_code"]) == (False, 3)
    assert told[2]["message"] == "0 of 1 group is signed"
    assert shown.read_text().splitlines() == [f"fault {serial}", "group", "end 3"]


def test_a_refusal_is_told_too(tmp_path):
    packing, heard = Packing(tmp_path, size=1), tmp_path / "heard"
    with pytest.raises(Exception, match="no drive"):
        packing.pack(to=[], notify=f"cat >> {heard}")
    (told,) = events(heard)
    assert (told["event"], told["exit_code"], "shipment" in told) == ("end", 1, False)
    shipment = packing.pack().config.shipment
    with pytest.raises(Exception, match="order"):
        packing.pack(order="shuffled", notify=f"cat >> {heard}")
    assert (events(heard)[1]["event"], events(heard)[1]["shipment"]) == ("end", shipment)


@pytest.mark.long
@pytest.mark.parametrize("command", ["exit 7", "sleep 60", "/nowhere/at/all", "kill -9 $$", "cat > /dev/full"])
def test_a_command_that_fails_or_hangs_does_no_harm(tmp_path, monkeypatch, command):
    packing = Packing(tmp_path, size=2)
    notifier = notify.Notifier
    monkeypatch.setattr("sealift.stages.pack.run.Notifier", lambda command: notifier(command, timeout=0.5))
    begun = time.monotonic()
    result = packing.pack(notify=command)
    assert time.monotonic() - begun < 20
    assert result.exit_code == 0
    assert any("--notify" in text for text in packing.notices)
    packing.ends_well()


def test_the_end_is_told_though_the_command_hangs_on_what_was_before(tmp_path):
    heard = tmp_path / "heard"
    notifier = notify.Notifier(f"cat >> {heard}; test $SEALIFT_EVENT = end || sleep 60", patience=3.5, last=3)
    notifier.tell("fault", drive="first")
    while not heard.exists() or not events(heard):
        time.sleep(0.01)
    for number in range(notify.WAITING + 3):
        notifier.tell("fault", drive=f"g0s{number}")
    notifier.tell("end", exit_code=3)
    notifier.close()
    troubles = notifier.troubles()
    assert [(each["event"], each.get("drive")) for each in events(heard)] == [("fault", "first"), ("end", None)]
    assert troubles == [
        "--notify of fault was stopped so that the end is told",
        f"{notify.WAITING + 3:,} events were not told to --notify, which was too slow",
    ]


def test_an_end_that_hangs_is_not_waited_for_for_ever(tmp_path):
    heard = tmp_path / "heard"
    notifier = notify.Notifier(f"cat >> {heard}; sleep 600", patience=6, last=3)
    notifier.tell("end", exit_code=0)
    notifier.close()
    assert notifier.troubles() == ["--notify of end was stopped as packing has ended"]
    assert [each["event"] for each in events(heard)] == ["end"]


def test_a_command_that_is_slow_and_ends_is_told_of_the_end(tmp_path):
    heard = tmp_path / "heard"
    notifier = notify.Notifier(f"cat >> {heard}; sleep 0.7", patience=31, last=30)
    for number in range(4):
        notifier.tell("fault", drive=f"g0s{number}")
    notifier.tell("end", exit_code=0)
    notifier.close()
    (text,) = notifier.troubles()
    assert "not told to --notify" in text
    assert [each["event"] for each in events(heard)][-1] == "end"


def test_what_came_of_packing_stands_where_the_telling_is_interrupted(tmp_path, monkeypatch):
    def interrupted(_notifier, say):
        raise KeyboardInterrupt

    monkeypatch.setattr(notify.Notifier, "close", interrupted)
    packing = Packing(tmp_path, size=2)
    assert packing.pack().exit_code == 0
    with pytest.raises(Exception, match="no drive"):
        packing.pack(to=[])


def test_who_is_interrupted_while_a_command_hangs_has_the_end_told_and_leaves_nothing_running(tmp_path):
    heard, said = tmp_path / "heard", []
    command = f"cat >> {heard}; test $SEALIFT_EVENT = end || {{ echo $$ > {tmp_path}/pid; sleep 600; }}"
    notifier = notify.Notifier(command, patience=60, last=30)
    notifier.tell("fault", drive="g0s0")
    notifier.tell("end", exit_code=0)

    def say(text):
        said.append(text)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        notifier.close(say)
    assert said == ["waiting for --notify, 60 s at most; Ctrl-C has only the end told"]
    assert [each["event"] for each in events(heard)] == ["fault", "end"]
    assert notifier.troubles() == ["--notify of fault was stopped so that the end is told"]
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


SMALL = [manifest.CARD, *manifest.GROUP_FILES, *manifest.OWN_FILES, manifest.SIGNATURE, manifest.MANIFEST]


def lies_about(packing, mount, name, times, monkeypatch):
    """The drive keeps other bytes of this file than it was given, so often."""
    real, left = drive.SimulatedDrive.create, [times]

    def create(self, wanted, **given):  # small files are made by it, too
        if self.mount == mount and wanted == name and left[0]:
            left[0] -= 1
            packing.fleet.lie(mount, "flip")
        return real(self, wanted, **given)

    monkeypatch.setattr(drive.SimulatedDrive, "create", create)


@pytest.mark.parametrize(
    ("packs", "blocks", "says"),
    [
        (0, 1, "1 block of its small files was"),
        (1, 1, "1 block of 1 pack was"),
        (2, 2, "2 blocks of 2 packs were"),
        (2, 3, "3 blocks of 2 packs or of its small files were"),
    ],
)
def test_what_of_a_drive_was_wrong_is_told_as_far_as_the_counts_tell(packs, blocks, says):
    row = {"drive": "g0s0", "serial": "A", "mount": "/mnt/a", "packs": packs, "blocks": blocks}
    assert says in "".join(drive_lines([], [], [row]))


def some(names, quick):
    """Each takes seconds: most of them where there is time."""
    return [each if each in quick else pytest.param(each, marks=pytest.mark.long) for each in names]


@pytest.mark.parametrize("name", some(SMALL, {manifest.CARD, manifest.MEMBERS_INDEX, manifest.MANIFEST}))
def test_a_lie_about_a_small_file_is_found_and_mended_before_anything_is_signed(tmp_path, monkeypatch, name):
    packing = Packing(tmp_path, size=2)
    lies_about(packing, packing.mounts[1], name, 1, monkeypatch)
    result = packing.pack()
    assert result.exit_code == 0
    assert any(f"{name} did not read back as it was written; it is written again" in text for text in packing.notices)
    (row,) = result.groups[0]["misread"]
    assert (row["mount"], row["packs"], row["blocks"]) == (packing.mounts[1], 0, 1)
    assert "1 block of its small files" in "".join(drive_lines([], [], [row]))
    assert (result.read_back["found"], result.read_back["repaired"], result.read_back["wrong"]) == (1, 1, 0)
    packing.ends_well()


@pytest.mark.parametrize("name", some([manifest.CARD, manifest.MEMBERS_INDEX, manifest.MANIFEST], {manifest.CARD}))
def test_a_drive_that_lies_twice_about_a_small_file_is_set_aside(tmp_path, monkeypatch, name):
    packing = Packing(tmp_path, size=2)
    liar = packing.mounts[1]
    with monkeypatch.context() as patch:
        lies_about(packing, liar, name, 2, patch)
        result = packing.pack()
    assert result.exit_code == 3
    (row,) = owed(result)
    assert (row["mount"], row["reason"]) == (liar, f"its {name} was not as it was written, twice")
    packing.unsigned()
    assert packing.replace(liar, packing.spares[0]).exit_code == 0
    packing.ends_well()


@pytest.mark.parametrize(
    "name",
    some(
        [name for name in SMALL if name not in {manifest.MANIFEST, manifest.SIGNATURE}],  # these are in every mode
        {manifest.CARD, manifest.PACKS},
    ),
)
@pytest.mark.parametrize("mode", ["none", "full"])
def test_small_files_of_a_signed_group_are_read_in_any_mode(tmp_path, name, mode):
    """What the state folder has, too, is written again; the rest is told by each run."""
    packing = Packing(tmp_path, size=2)
    assert packing.pack(read_back="none").exit_code == 0
    kept = packing.fleet.snapshot(packing.mounts[1])
    packing.fleet.rot(packing.mounts[1], name)
    alone = name in {manifest.CARD, *manifest.OWN_FILES}
    for again in (False, True):
        packing.notices.clear()
        result = packing.pack(read_back="sample" if again else mode)
        assert (result.exit_code, result.lacking) == ((3, ["g0s1"]) if alone else (0, []))
        told = (
            f"{name} did not read back as it was written. group 0 is signed"
            if alone
            else f"{name} was not as signed on 1 of its 3 drives (g0s1): written again there, from the state folder"
        )
        assert any(told in text for text in packing.notices) == (alone or not again)
        (row,) = result.groups[0]["misread"]
        assert (row["mount"], row["blocks"]) == (packing.mounts[1], 1)
    assert (packing.fleet.snapshot(packing.mounts[1]) == kept) == (not alone)


def test_more_drives_that_lie_than_parity_holds_are_replaced_with_the_old_ones_beside(tmp_path, monkeypatch):
    packing = Packing(tmp_path, size=2)
    liars = packing.mounts[:2]
    with monkeypatch.context() as patch:
        for mount in liars:
            lies_about(packing, mount, manifest.PACKS, 2, patch)
        result = packing.pack()
    assert (result.exit_code, len(owed(result))) == (3, 2)
    assert any("the mounts of the old ones given as before" in text for text in packing.notices)
    packing.unsigned()
    taken = dict(zip(liars, packing.spares, strict=False))
    for old, new in taken.items():
        packing.declare(old, new)
    replace = {packing.origin.serial(old): new for old, new in taken.items()}
    result = packing.pack(to=[*packing.mounts, *taken.values()], replace=replace)
    assert (result.exit_code, result.repacked) == (0, False)


@pytest.mark.parametrize(
    "name", some([*manifest.GROUP_FILES, manifest.SIGNATURE], {manifest.MEMBERS_INDEX, manifest.SIGNATURE})
)
def test_what_no_drive_of_a_signed_group_has_is_written_again_from_the_state(tmp_path, name):
    """As behind one bad adapter."""
    packing = Packing(tmp_path, size=2)
    assert packing.pack(read_back="none").exit_code == 0
    kept = [packing.fleet.snapshot(mount) for mount in packing.mounts]
    for mount in packing.mounts:
        packing.fleet.rot(mount, name)
    result = packing.pack(read_back="none")
    assert (result.exit_code, result.lacking) == (0, [])
    assert any(f"{name} was not as signed on 3 of its 3 drives (g0s0, " in text for text in packing.notices)
    assert [packing.fleet.snapshot(mount) for mount in packing.mounts] == kept
    assert {row["mount"] for row in result.groups[0]["misread"]} == set(packing.mounts)


def test_what_neither_drives_nor_state_have_is_gone_and_not_sealed(tmp_path):
    """The source is all that is left."""
    packing = Packing(tmp_path, size=2)
    assert packing.pack(read_back="none").exit_code == 0
    for mount in packing.mounts:
        packing.fleet.rot(mount, manifest.MEMBERS_INDEX)
    kept = packing.origin.state / "groups/0000/closed" / manifest.MEMBERS_INDEX
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1])
    for mode in ("full", "sample", "full"):
        with pytest.raises(Lost, match=r"none of its drives has index/members.*do not free the source"):
            packing.pack(read_back=mode)
        assert look(str(packing.origin.state)).groups[0].gone == [
            f"none of them had {manifest.MEMBERS_INDEX} as signed"
        ]
        with pytest.raises(Refused, match=r"none of them had index/members.*: that cannot be had from them"):
            Known([str(packing.origin.state)]).require_not_gone(0)
    kept.write_bytes(whole)
    assert packing.pack().exit_code == 0
    Known([str(packing.origin.state)]).require_not_gone(0)
