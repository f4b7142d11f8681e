"""The rehearsal itself: it holds on a sound shipment, notices one that is not, and leaves nothing behind."""

import copy
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from sealift.cli import rehearse as command
from sealift.errors import BadInput, SealiftError
from sealift.stages import rehearse as stage
from sealift.stages import rehearse_report as report
from sealift.stages import rehearse_scenes as scenes
from sealift.stages import rehearse_scratch as scratch
from sealift.stages import rehearse_training as training
from sealift.trade import declaration as declarations
from sealift.trade import release as releases


def make_corpus(folder, files):
    source = folder / "corpus"
    (source / "sub").mkdir(parents=True)
    for i in range(files):
        (source / "sub" / f"{i:03d}.bin").write_bytes(os.urandom(300_000))
    os.symlink("sub/000.bin", source / "link")
    os.link(source / "sub" / "001.bin", source / "sub" / "hard")
    os.chmod(source / "sub" / "002.bin", 0o400)
    (folder / "scratch").mkdir()
    return source


@pytest.fixture
def corpus(tmp_path):
    return make_corpus(tmp_path, 16)


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    return play(make_corpus(tmp_path_factory.mktemp("played"), 60))


def play(corpus, **more):
    options = stage.Options(str(corpus), scratch=str(corpus.parent / "scratch"), seed=7, **more)
    result = stage.rehearse(options, stage.Events())
    assert os.listdir(corpus.parent / "scratch") == []
    return result


@pytest.mark.long
def test_every_scene_holds_and_says_what_it_must(played):
    result = played
    told = {scene.name: scene for scene in result.scenes}
    assert result.held, [(s.name, c.what) for s in result.scenes for c in s.checks if not c.held]
    assert {name: (scene.state, scene.exit_code) for name, scene in told.items()} == {
        "everything": ("intact", 0), "carrier-lost": ("recoverable", 3), "rot": ("recoverable", 3),
        "foreign": ("intact", 0), "withheld": ("unseen", 6),
        "repaired": ("intact", 0),
    }  # fmt: skip
    assert len(result.drives) == 16
    assert {drive["carrier"] for drive in result.drives} == set(stage.CARRIERS)
    assert result.stripes >= 4  # several a group
    assert sorted(told["carrier-lost"].drives.values()).count("lost") == 4
    assert sorted(told["rot"].drives.values()).count("rotten") == 3
    assert set(told["rot"].faults) == {"rotten"}
    assert told["rot"].faults["rotten"] >= 3
    assert told["foreign"].faults == {"foreign": 1}
    assert told["carrier-lost"].rebuilt_blocks > 0
    assert told["rot"].rebuilt_blocks > 0
    assert told["withheld"].absent > 0
    assert told["withheld"].absent + told["withheld"].compared_files < told["everything"].compared_files + 2
    for name in ("everything", "carrier-lost", "rot", "foreign", "repaired"):
        assert told[name].compared_files == 61


@pytest.mark.long
def test_a_model_is_trained_stopped_resumed_and_its_weights_come_home(played):
    trained = played.training
    assert trained.held, [check.what for check in trained.checks if not check.held]
    assert len(trained.lost) == 4
    assert trained.losses == trained.resumed
    assert len(trained.losses) == trained.steps > trained.stopped_at > 0
    assert trained.weights_bytes > 100_000
    assert "stopped here" in report.page(played)


@pytest.mark.long
def test_without_pytorch_training_is_left_out_and_said_so(corpus, monkeypatch):
    monkeypatch.setattr(training, "missing", lambda: ["torch"])
    notices = []
    where = str(corpus.parent / "scratch")
    options = stage.Options(str(corpus), scratch=where, seed=7, scenes=["everything", "training"])
    result = stage.rehearse(options, stage.Events(notice=notices.append))
    assert result.held
    assert "sealift[train]" in result.training.left_out
    assert any("left out" in notice for notice in notices)
    assert "Left out" in report.page(result)


def test_a_trainer_that_fails_is_told_and_nothing_is_left(corpus, monkeypatch):
    monkeypatch.setattr(training, "_CONFIG", "nothing = 1\n")
    with pytest.raises(SealiftError, match="sealift train ended with 1"):
        play(corpus, scenes=["training"])
    assert os.listdir(corpus.parent / "scratch") == []


@pytest.mark.long
def test_the_page_holds_everything_and_asks_the_network_for_nothing(played):
    page = report.page(played)
    for words in ("REHEARSAL", "Every comparison held", "g0s0", "Dana", "<svg"):
        assert words in page
    assert "http" not in page.replace("http://www.w3.org/", "")
    assert "<script" not in page


def one_scene(corpus, monkeypatch, spoil):
    """Play a scene that claims that everything arrived intact, after `spoil` has had its way with the drives."""

    @contextmanager
    def spoiled(voyage):
        with scenes.SCENES[0].play(voyage) as setting:
            spoil(voyage, setting)
            yield setting

    monkeypatch.setattr(stage, "SCENES", (scenes.SCENES[0]._replace(play=spoiled),))
    result = play(corpus, scenes=["everything"])
    return result, {check.what for check in result.scenes[0].checks if not check.held}


@pytest.mark.long
def test_a_flipped_bit_that_nobody_announced_does_not_pass(corpus, monkeypatch):
    def spoil(voyage, _setting):
        paths = [scenes._pack(drive, voyage.manifests[1], 0)[2] for drive in voyage.of(1)]
        scenes._flip(next(path for path in paths if os.path.exists(path)), 1000, 4)

    result, failed = one_scene(corpus, monkeypatch, spoil)
    assert not result.held
    assert "verify says intact, exit 0" in failed
    assert "no fault is reported" in failed


@pytest.mark.long
def test_a_restored_tree_that_differs_does_not_pass(corpus, monkeypatch):
    def spoil(_voyage, _setting):
        (corpus / "sub" / "004.bin").write_bytes(b"changed after it was packed")

    result, failed = one_scene(corpus, monkeypatch, spoil)
    assert not result.held
    assert "every restored file, mode, time and link is as in the source" in failed
    assert any(line.startswith("sub/004.bin: ") for line in result.scenes[0].named)
    assert "did not hold" in report.page(result)


def test_the_declaration_is_complete_and_says_rehearsal_everywhere(tmp_path):
    who = scratch.people(scratch.Scratch(str(tmp_path)))
    path = str(tmp_path / "declaration.toml")
    scratch.declare(path, who, {"S1": "Anna", "S2": "Bo"}, scratch.Size(5, 100), 10**9)
    with open(path, "rb") as file:
        parsed = declarations.parse(file.read(), draft=False)
    assert parsed.rehearsal
    for party in (parsed.shipper, parsed.consignee, parsed.end_user):
        assert party.legal_name.startswith("REHEARSAL")
    scratch.release(path, who)
    assert os.path.exists(releases.path_beside(path))
    assert os.stat(who.author).st_mode & 0o077 == 0


@pytest.mark.long
def test_the_page_escapes_what_comes_from_outside(played):
    result = copy.deepcopy(played)
    result.source = "<img src=x onerror=alert(1)>"
    result.scenes[0].held = False
    result.scenes[0].named = ["<b>name</b>"]
    page = report.page(result)
    assert "<img" not in page
    assert "<b>name" not in page


def test_too_little_room_is_told_before_anything_is_made(corpus, monkeypatch):
    usage = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr(stage.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(BadInput, match=r"not enough scratch space: [0-9,]+ bytes are needed, 1,048,576 are free"):
        play(corpus)
    assert os.listdir(corpus.parent / "scratch") == []


def test_what_cannot_be_rehearsed_is_bad_input(corpus, monkeypatch):
    with pytest.raises(BadInput, match="no scene 'x'"):
        play(corpus, scenes=["x"])
    with pytest.raises(BadInput, match="is no directory"):
        play(corpus / "link")
    (corpus.parent / "little").mkdir()
    with pytest.raises(BadInput, match="0 files of 0 bytes are too little"):
        play(corpus.parent / "little")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(BadInput, match="only root"):
        play(corpus, loop=True)


def test_a_report_without_its_extra_is_refused_before_the_work(corpus, monkeypatch):
    monkeypatch.setattr(report.importlib.util, "find_spec", lambda name: None if name == "matplotlib" else name)
    with pytest.raises(BadInput, match="--report needs matplotlib") as caught:
        report.require()
    assert "sealift[rehearse]" in caught.value.hint


@pytest.mark.long
@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "scene: everything"), (signal.SIGTERM, "packing")])
def test_a_stopped_rehearsal_leaves_nothing(corpus, number, word):
    place = corpus.parent / "scratch"
    child = subprocess.Popen(
        [sys.executable, "-m", "sealift", "rehearse", str(corpus), "--scratch", str(place)],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    with child:
        for line in child.stderr:
            if word in line:
                break
        time.sleep(0.3)
        child.send_signal(number)
        rest = child.stderr.read()
        assert child.wait(30) == 130, rest
    assert "nothing is left" in rest
    assert "Traceback" not in rest
    assert os.listdir(place) == []


def test_the_command_prints_one_json_object_and_writes_its_report(corpus, tmp_path):
    command = [sys.executable, "-m", "sealift", "rehearse", str(corpus), "--scratch", str(tmp_path / "scratch")]
    page = tmp_path / "report.html"
    done = subprocess.run(
        [*command, "--json", "--scene", "foreign", "--report", str(page)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["held"]
    assert answer["rehearsal"]
    assert [scene["name"] for scene in answer["scenes"]] == ["foreign"]
    assert page.read_text().startswith("<!DOCTYPE html>")


@pytest.mark.long
def test_the_table_says_what_held_and_what_did_not(played, capsys):
    command.show(played)
    text = capsys.readouterr().out
    rows = [line for line in text.splitlines() if line.endswith("  yes")]
    assert [row.split("  ")[0] for row in rows] == [scene.title for scene in played.scenes]
    assert "every comparison held" in text
    other = copy.deepcopy(played)
    other.held = other.scenes[1].held = False
    other.scenes[1].checks.append(scenes.Check("the moon is full", held=False))
    command.show(other)
    text = capsys.readouterr().out
    assert "one carrier lost: did not hold: the moon is full" in text
    assert "NOT every comparison held; the same again: --seed 7" in text


@pytest.mark.long
@pytest.mark.root
def test_real_filesystems_are_made_and_taken_away(corpus):
    if os.geteuid() != 0 or not os.path.exists("/dev/loop-control"):
        pytest.skip("needs root and loop devices")
    result = play(corpus, loop=True, scenes=["carrier-lost"])
    assert result.held, result.scenes
    assert result.drives_are == "XFS on loop devices"
    with open("/proc/mounts") as file:
        assert str(corpus.parent) not in file.read()


def test_an_interruption_of_the_cleaning_up_waits_until_it_is_done(tmp_path, monkeypatch):
    made = scratch.Scratch.make(str(tmp_path))
    os.mkdir(made.place("restored"), 0o500)
    calls = []

    def once(path):
        calls.append(path)
        if len(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(scratch, "_make_removable", once)
    with pytest.raises(KeyboardInterrupt):
        made.close()
    assert os.listdir(tmp_path) == []
    made.close()
