"""A run that was stopped or killed, and started again, is bit by bit the run that never was."""

import importlib.util
import json
import os
import random
import re
import signal
import time

import numpy as np
import pytest
from trainings import BATCH, SAMPLES, checkpoints, curve, end, start, train

torch = pytest.importorskip("torch")

from sealift.cli import common, main  # noqa: E402
from sealift.errors import BadInput, Interrupted, SignatureInvalid  # noqa: E402
from sealift.training.config import load  # noqa: E402
from sealift.training.model import GPT  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores, on purpose
DROPOUT = {"dropout": 0.1}


def test_the_loss_falls(whole):
    losses = [loss for _, _, loss, _ in curve(whole[0])]
    assert len(losses) == 40
    assert losses[0] > 5
    assert losses[-1] < 2.5
    assert [epoch for _, epoch, _, _ in curve(whole[0])] == [step // (SAMPLES // BATCH) for step in range(40)]


def test_what_comes_out(whole):
    path, answer = whole
    final = path.with_suffix("") / "final"
    safetensors = pytest.importorskip("safetensors.torch")
    weights = safetensors.load_file(final / "model.safetensors")
    model = GPT(load(str(path)).model)
    model.load_state_dict(weights)
    assert sum(each.numel() for each in model.parameters()) == sum(each.numel() for each in weights.values())
    assert answer["step"] == 40
    assert answer["loss"] == curve(path)[-1][2]
    assert (answer["owed"], answer["owed_groups"], answer["resumed_from"]) == (0, [], None)
    assert [each.name for each in checkpoints(path)] == ["step-00000020", "step-00000030", "step-00000040"]
    assert any((path.with_suffix("") / "tensorboard").iterdir())


def test_the_run_record_is_what_a_return_leg_takes(whole):
    from sealift.stages.pack.provenance import _parse

    for folder in (whole[0].with_suffix("") / "final", checkpoints(whole[0])[0]):
        words = _parse((folder / "run.json").read_bytes(), "run.json", strict=True)
        assert words.code["name"] == "sealift.training"
        assert words.config["model"]["layers"] == 2
        assert words.metrics["loss"] > 0


def stop_at(step, number=signal.SIGTERM):
    return lambda now: os.kill(os.getpid(), number) if now == step else None


def test_stopped_at_any_step_and_resumed_at_other_workers(whole, config):
    rng = random.Random(2)
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    for workers, step in zip((2, 0, 3, 1), sorted(rng.sample(range(1, 40), 4)), strict=True):
        path = config(model=DROPOUT, data={"workers": workers})
        with pytest.raises(Interrupted, match=f"interrupted at step {step}; the same command again goes on"):
            train(path, stop_at(step, rng.choice([signal.SIGINT, signal.SIGTERM])))
        assert checkpoints(path)[-1].name == f"step-{step:08d}"
    answer, _ = train(config(model=DROPOUT))
    assert curve(path) == curve(whole[0])
    assert answer["resumed_from"].endswith(f"step-{step:08d}")
    assert answer["tokens"] == whole[1]["tokens"]
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
    again, words = train(path)
    assert (again["loss"], again["step"]) == (answer["loss"], 40)
    assert not any(word.startswith("step") for word in words)


@pytest.mark.long
def test_killed_at_random(whole, config):
    path, rng = config(model=DROPOUT, training={"checkpoint_every": 3}), random.Random()
    log, wanted = path.with_suffix("") / "log.jsonl", rng.randrange(4, 35)
    process = start(path)
    while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") >= wanted):
        time.sleep(0.005)
    time.sleep(rng.random() * 0.1)
    process.kill()
    end(process, -signal.SIGKILL)
    answer, _ = train(config(model=DROPOUT))
    assert curve(path) == curve(whole[0])
    assert answer["resumed_from"] is not None
    assert not [each for each in checkpoints(path) if each.name.startswith(".")]


@pytest.mark.long
def test_a_command_that_is_told_to_end(whole, config, monkeypatch, capsys):
    path = config(model=DROPOUT, training={"checkpoint_every": 1000})
    stop = stop_at("step 7")
    monkeypatch.setattr(common, "say", lambda text: stop(text.partition(":")[0]))
    assert main.run(["train", str(path), "--json"]) == 130
    out, err = capsys.readouterr()
    assert not out
    assert err == "sealift: interrupted at step 7; the same command again goes on\n"
    assert main.run(["train", str(path), "--json"]) == 0
    assert curve(path) == curve(whole[0])


def test_a_run_keeps_what_it_is(whole, config, tmp_path):
    path = config(training={"steps": 2})
    train(path)
    config(training={"steps": 4, "batch": 8, "lr": 0.02}, model={"layers": 3})
    with pytest.raises(BadInput, match=r"made with other model\.layers, training\.batch"):
        train(path)
    train(config(training={"steps": 4, "lr": 0.02}))
    assert [step for step, _, _, _ in curve(path)] == [1, 2, 3, 4]


def test_what_reading_refuses_training_refuses(config, port, tmp_path):
    (tmp_path / "other").write_bytes(b"")
    with pytest.raises(SignatureInvalid):
        train(config(data={"allowed_signers": str(tmp_path / "other")}))
    with pytest.raises(BadInput, match="not one batch of 400"):
        train(config(training={"batch": 400}))
    with pytest.raises(BadInput, match=r"no sample of .* batches after step 0 has text in 'jpg'"):
        train(config(data={"file": "jpg"}))


def test_a_batch_without_text_is_passed_over(config, monkeypatch):
    """Of a mixed corpus: whichever batches have none, the others train, and a stop changes nothing."""
    from sealift.training import data

    real = data.sequence

    def some(sample, settings, epoch):
        made = real(sample, settings, epoch)
        return np.full_like(made, -1) if int(sample.key[-4:]) % 2 else made

    monkeypatch.setattr(data, "sequence", some)
    options = {"data": {"workers": 0}, "training": {"batch": 2, "steps": 30}}
    whole = config("whole", **options)
    _, words = train(whole)
    assert sum("it is passed over" in line for line in words) >= 1
    stopped = config("stopped", data=options["data"], training={"batch": 2, "steps": 11})
    train(stopped)
    train(config("stopped", **options))
    assert curve(stopped) == curve(whole)


@pytest.mark.long
def test_token_files(config):
    tokens = {"file": "tok", "tokens": "uint16"}
    path = config(data=tokens, model={"vocabulary": 15})
    train(path)
    losses = [loss for _, _, loss, _ in curve(path)]
    assert 2.6 < losses[0] < 2.8  # ln 15
    assert losses[-1] < losses[0]
    with pytest.raises(BadInput, match="token 14, where the vocabulary has 14"):
        train(config("small", data=tokens, model={"vocabulary": 14}))
    with pytest.raises(BadInput, match="no whole number of uint16 tokens"):
        train(config("texts", data=tokens | {"file": "txt"}, model={"vocabulary": 65536}))


@pytest.mark.long
def test_stall_is_measured_and_nothing_is_written(config):
    path = config()
    answer, _ = train(path, measure_stall=5)
    assert set(answer["stall"]) == {"steps", "blocked", "step_seconds", "cached_step_seconds", "stall"}
    assert answer["stall"]["step_seconds"] > 0
    assert not path.with_suffix("").exists()


@pytest.mark.long
def test_the_command(config, tmp_path, capsys):
    path = config(training={"steps": 3})
    assert main.run(["train", str(path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["step"] == 3
    assert "step 3: loss" in err
    assert main.run(["train", str(path), "--measure-stall", "2"]) == 0
    assert re.search(r"stall \d+\.\d\d%: .* s a step from the drives", capsys.readouterr().err)
    form = tmp_path / "form.toml"
    assert main.run(["train", str(form), "--new", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"config": str(form)}
    for wrong in (["--new"], ["--new", "--measure-stall", "2"], []):
        assert main.run(["train", str(form), *wrong]) == 1
        assert "sealift: error: " in capsys.readouterr().err


def test_what_is_not_installed_is_named_before_anything_is_read(config, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "safetensors" else name)
    assert main.run(["train", str(config(data={"drives": ["/nowhere"]}))]) == 1
    said = capsys.readouterr().err
    assert "not installed: safetensors" in said
    assert "pip install 'sealift[train]'" in said
