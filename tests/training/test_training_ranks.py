"""Several ranks under torchrun, on gloo: the batches, losses and checkpoints of one, whatever the run was before."""

import json
import os
import re
import shutil
import signal
import time

import pytest
from trainings import BATCH, SAMPLES, checkpoints, curve, end, start, train, write_config

torch = pytest.importorskip("torch")
EPOCH = SAMPLES // BATCH  # steps


@pytest.fixture(scope="module")
def alone(port, tmp_path_factory):
    """The losses of one rank, without dropout: each rank draws its own."""
    path = write_config(tmp_path_factory.mktemp("alone") / "run.toml", port, training={"steps": 3 * EPOCH})
    torch.set_num_threads(1)
    train(path)
    return curve(path)


def near(path, alone):
    """The same steps and epochs, and losses but for the order in which they were summed; how many steps there are."""
    found = curve(path)
    assert [each[:2] for each in found] == [each[:2] for each in alone[: len(found)]]
    assert [each[2] for each in found] == pytest.approx([each[2] for each in alone[: len(found)]], rel=5e-3)
    norms = [each[3] for each in alone[: len(found)]]
    assert [each[3] for each in found[:12]] == pytest.approx(norms[:12], rel=0.02)
    return len(found)


def lines(path):
    log = path.with_suffix("") / "log.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def wait_for(process, path, count):
    while process.poll() is None and lines(path) < count:
        time.sleep(0.002)


@pytest.mark.long
def test_one_rank_begins_two_go_on_another_way_twice_and_one_ends(alone, config, port, tmp_path):
    """Shards end, and are put together; DDP meets what cannot be read, on both ranks at one step; nothing is lost."""
    drives = tmp_path / "drives"
    for name in ("d00", "d01", "d02"):
        shutil.copytree(port / name, drives / name)

    def setup(**training):
        return config(training=training, data={"drives": [f"{drives}/*"], "workers": 1})

    path = setup(steps=3)
    train(path)

    setup(steps=6, parallel="fsdp", micro_batch=5)
    out, err = end(start(path, "--json", ranks=2))
    assert json.loads(out)["ranks"] == 2, "one rank prints"
    assert "goes on from step 3" in err
    assert err.count("step 4: loss") == 1, "one rank speaks"
    assert near(path, alone) == 6
    assert (checkpoints(path)[-1] / "rng-1.pt").exists()
    weights = pytest.importorskip("safetensors.torch").load_file(path.with_suffix("") / "final/model.safetensors")
    assert {each.dtype for each in weights.values()} == {torch.float32}
    assert weights["head.weight"].shape == (256, 32)

    setup(steps=3 * EPOCH, checkpoint_every=1000, micro_batch=1)
    process = start(path, "--json", ranks=2)
    wait_for(process, path, 7)
    gone = [drives / name / "sealift/packs" for name in ("d00", "d02")]
    for each in gone:
        each.rename(each.with_suffix(".gone"))
    out, err = end(process, 1)  # torchrun's own
    assert not out
    assert re.search(r"sealift: error: .*is lost: .* and parity holds 1", err)
    lost = int(re.search(r"stopped at step (\d+): \S+ is whole, and the same command goes on from it", err)[1])
    assert 7 <= lost == near(path, alone)
    assert json.loads((checkpoints(path)[-1] / "run.json").read_bytes())["metrics"]["ranks"] == 2

    for each in gone:
        each.with_suffix(".gone").rename(each)
    answer, _ = train(setup(steps=3 * EPOCH))
    assert answer["resumed_from"].endswith(f"step-{lost:08d}")
    assert near(path, alone) == 3 * EPOCH


@pytest.mark.long
def test_ranks_that_are_told_to_end_stop_at_one_step(alone, config):
    """As a scheduler does it: SIGTERM to every process of the job, readers too."""
    path = config(training={"steps": 3 * EPOCH, "checkpoint_every": 1000}, data={"workers": 1})
    process = start(path, "--json", ranks=2, start_new_session=True)
    wait_for(process, path, 3)
    os.killpg(process.pid, signal.SIGTERM)
    out, err = end(process, 1)  # torchrun's own
    assert not out
    stopped = near(path, alone)
    assert f"interrupted at step {stopped}; the same command again goes on" in err
    assert [each.name for each in checkpoints(path)] == [f"step-{stopped:08d}"]
    train(path)
    assert near(path, alone) == 3 * EPOCH
