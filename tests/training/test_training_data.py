"""What a sample gives, what reading processes tell, and how waiting is timed: each by itself."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
from storage_host import nginx
from trainings import WORDS, curve, train

torch = pytest.importorskip("torch")

from sealift.errors import BadInput, Busy, Lost, NotAllHere  # noqa: E402
from sealift.reading.health import DriveHealth, Health, PackHealth  # noqa: E402
from sealift.reading.samples import Sample  # noqa: E402
from sealift.reading.shipment import PackId  # noqa: E402
from sealift.training import data, stall  # noqa: E402
from sealift.training.config import load  # noqa: E402
from sealift.training.distributed import Ranks  # noqa: E402
from sealift.training.model import GPT  # noqa: E402
from sealift.training.train import rate  # noqa: E402


def sample(text, offset=512):
    return Sample("a/b", {"txt": text, "aux": b"other"}, PackId(0, 1, 0), offset)


def test_a_text_gives_each_of_its_windows_once_in_as_many_epochs(config):
    settings, text = load(str(config(model={"block": 4}))), bytes(range(18))
    parts = [tuple(data.sequence(sample(text), settings, epoch).tolist()) for epoch in range(10)]
    windows = {(0, 1, 2, 3, 4), (4, 5, 6, 7, 8), (8, 9, 10, 11, 12), (12, 13, 14, 15, 16), (16, 17, -1, -1, -1)}
    assert set(parts[:5]) == windows
    assert parts[:5] == parts[5:]
    begins = {data.sequence(sample(text, offset), settings, 0)[0] for offset in range(0, 64 * 512, 512)}
    assert len(begins) == 5, "not all texts begin at their first window"


@pytest.mark.parametrize("text", [b"", b"a", b"ab"])
def test_a_short_text_is_padded(config, text):
    made = data.sequence(sample(text), load(str(config(model={"block": 4}))), 7)
    assert made.dtype == np.int32
    assert made.tolist() == [*text, *[-1] * (5 - len(text))]


def test_which_file_of_a_sample_is_text(config):
    first = load(str(config(data={"file": ""})))
    assert bytes(data.sequence(sample(b"text"), first, 0)[:5].astype(np.uint8)) == b"other"
    none = load(str(config(data={"file": "jpg"})))
    assert set(data.sequence(sample(b"text"), none, 0).tolist()) == {-1}


def test_tokens_are_little_endian_and_of_the_vocabulary(config):
    tokens = np.array([1, 70_000, 2**31 + 5], "<u4")
    settings = load(str(config(data={"tokens": "uint32"}, model={"vocabulary": 70_001, "block": 8})))
    assert data.sequence(sample(tokens[:2].tobytes()), settings, 0)[:3].tolist() == [1, 70_000, -1]
    with pytest.raises(BadInput, match=r"'a/b': token 2147483653, where the vocabulary has 70001"):
        data.sequence(sample(tokens.tobytes()), settings, 0)


def windows_of(port, block):
    """Every window of every token file, as it should come."""
    for path in sorted((port.parent / "source").rglob("*.tok")):
        tokens = np.frombuffer(path.read_bytes(), "<u2")
        yield from (tuple(tokens[at : at + block + 1].tolist()) for at in range(0, len(tokens) - block, block))


@pytest.mark.parametrize("workers", [0, 2])
def test_every_window_of_token_files_comes_once_an_epoch(config, port, workers):
    settings = {"files": "*.tok", "tokens": "uint16", "file": "", "workers": workers}
    path = config(data=settings, model={"block": 8, "vocabulary": len(WORDS)}, training={"batch": 4})
    feed = data.Feed(load(str(path)), Ranks("cpu"), None, print)
    wanted, got = Counter(windows_of(port, 8)), Counter()
    for _ in range(wanted.total() // 4):
        got.update(map(tuple, feed.next().sequences.tolist()))
        feed.taken()
    assert feed.epoch == 0
    assert not got - wanted
    assert (wanted - got).total() == wanted.total() % 4
    feed.next()
    assert feed.epoch == 1
    feed.close()


@pytest.mark.long
def test_training_on_token_files_learns_stops_and_goes_on(config):
    settings = {"files": "*.tok", "tokens": "uint16", "file": ""}
    shape = {"block": 8, "vocabulary": len(WORDS)}
    whole, stopped = (config(name, data=settings, model=shape) for name in ("whole", "stopped"))
    train(whole)
    config("stopped", data=settings, model=shape, training={"steps": 13})
    train(stopped)
    config("stopped", data=settings, model=shape)
    train(stopped)
    assert curve(stopped) == curve(whole)
    assert curve(whole)[-1][2] < curve(whole)[0][2]


def test_token_files_of_a_larger_vocabulary_are_refused(config):
    path = config(data={"files": "*.tok", "tokens": "uint16", "file": "", "workers": 0}, model={"vocabulary": 2})
    feed = data.Feed(load(str(path)), Ranks("cpu"), None, print)
    with pytest.raises(BadInput, match="where the vocabulary has 2"):
        feed.next()
    feed.close()


def test_what_readers_send_is_no_tensor(config):
    """A long TMPDIR is too long for a socket, and a container's /dev/shm is small: tensors of readers want both."""
    feed = data.Feed(load(str(config(data={"workers": 1}))), Ranks("cpu"), None, print)
    sent = feed.next()
    assert feed.state()["phases"][-1]["batches"] == 0, "it is not taken yet"
    feed.close()
    assert isinstance(sent.sequences, np.ndarray)
    assert sent.sequences.shape == (16, 49)


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_link_gave_and_that_its_host_is_gone_is_in_the_health(config, port, tmp_path, workers):
    def until(seen):
        """Batches are read until it is so: a reading process tells once a second."""
        deadline = time.monotonic() + 60
        while not seen(feed.health()) and time.monotonic() < deadline:
            feed.next()
            feed.taken()
        return seen(feed.health())

    with nginx(tmp_path / "host", port) as host:
        settings = {"drives": [f"{host.url}/d01", f"{port}/d00", f"{port}/d02"], "workers": workers}
        feed = data.Feed(load(str(config(data=settings, training={"batch": 4}))), Ranks("cpu"), None, print)
        asked = feed.health().locations[0].requests  # to open it
        assert until(lambda health: health.processes > workers and health.locations[0].requests > asked)
        host.kill()
        assert until(lambda health: [each.mount for each in health.drives] == [f"{host.url}/d01"])
    feed.close()


class Other(Ranks):
    """Rank 0 of two, of which the other says what `change` makes of what this one says."""

    def __init__(self, change):
        super().__init__("cpu")
        self.change = change

    def gather(self, value):
        return [value, self.change(value)]


def test_ranks_with_other_drives_before_them_are_refused(config):
    def fewer(value):
        return {**value, "phases": [{"here": {"0": [1]}, "batches": 0}]}

    with pytest.raises(NotAllHere, match="rank 1 has other drives"):
        data.Feed(load(str(config())), Other(fewer), None, print)


def test_drives_that_came_to_one_rank_only_are_not_read(config, port, tmp_path):
    drives = tmp_path / "drives"
    shutil.copytree(port / "d00", drives / "d00")
    settings = load(str(config(data={"drives": [f"{drives}/*"]})))
    ranks = Other(lambda value: value)
    feed = data.Feed(settings, ranks, None, print)
    shutil.copytree(port / "d01", drives / "d01")
    ranks.change = lambda value: (False, {0: {0}}) if isinstance(value, tuple) else value
    owed = feed.owed
    assert owed[0] > 0
    assert not feed._look_again()
    assert feed.owed == owed
    ranks.change = lambda value: value
    assert feed._look_again()
    assert not any(feed.owed)
    assert not feed._look_again(), "nothing more has come"
    feed.close()


@pytest.mark.long
def test_an_epoch_of_which_nothing_can_be_read_ends_the_run(config, port, tmp_path):
    """Resumed with drives of which no batch can be made: it does not turn epochs for ever."""
    drives = tmp_path / "drives"
    for name in ("d00", "d01", "d02"):
        shutil.copytree(port / name, drives / name)
    path = config(data={"drives": [f"{drives}/*"]}, training={"steps": 20, "batch": 160})
    train(path)
    for name in ("d00", "d02"):
        shutil.rmtree(drives / name)
    config(data={"drives": [f"{drives}/*"]}, training={"steps": 30, "batch": 160})
    with pytest.raises(NotAllHere, match="not one batch of 160") as caught:
        train(path)
    assert "mount more drives" in caught.value.hint


def test_two_runs_into_one_folder(config):
    path = config(training={"steps": 1})
    train(path)
    script = (
        "import fcntl, sys; it = open(sys.argv[1], 'r+'); fcntl.lockf(it, fcntl.LOCK_EX); print(1, flush=1); input()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    other = subprocess.Popen([sys.executable, "-c", script, path.with_suffix("") / ".lock"], **pipes)
    try:
        other.stdout.readline()
        with pytest.raises(Busy, match="another process trains"):
            train(path)
    finally:
        other.kill()
        other.communicate()
    train(path)


def drive(name, state, rebuilt=0, faults=0, mount=""):
    return DriveHealth(
        drive=name, serial="S", carrier="", state=state, mount=mount, rebuilt_blocks=rebuilt, faults=faults
    )


def test_reports_of_several_processes_are_one():
    made = data.merged([
        Health(shipment="ab" * 8, rebuilt_blocks=2, drives=[drive("g0s0", "damaged", 2)], missing_groups=[3]),
        Health(
            shipment="ab" * 8,
            rebuilt_blocks=5,
            drives=[drive("g0s0", "failing", 1, 4, "/mnt/a"), drive("g0s1", "missing", 4)],
            packs=[PackHealth(group=0, stripe=1, role=0, blocks=1)],
            missing_groups=[1, 3],
        ),
        Health(shipment="ab" * 8, packs=[PackHealth(group=0, stripe=1, role=0, blocks=2)]),
    ])  # fmt: skip
    assert made.rebuilt_blocks == 7
    assert made.missing_groups == [1, 3]
    assert [(d.drive, d.state, d.rebuilt_blocks, d.faults, d.mount) for d in made.drives] == [
        ("g0s0", "failing", 3, 4, "/mnt/a"),
        ("g0s1", "missing", 4, 0, ""),
    ]
    assert [(p.stripe, p.blocks) for p in made.packs] == [(1, 3)]


def test_stall_is_what_the_drives_cost_over_cached_batches(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(stall.time, "monotonic", lambda: now[0])
    asked = []

    def passes(seconds):
        now[0] += seconds

    def batch():
        asked.append(len(asked))
        passes(1.0 if len(asked) > stall.WARM else 50.0)  # what begins slowly does not count
        return len(asked)

    found = stall.measure(batch, lambda _batch: passes(2.5), lambda: passes(0.5), 10, Ranks("cpu"))
    assert found == {"steps": 10, "blocked": 0.25, "step_seconds": 4.0, "cached_step_seconds": 3.0, "stall": 0.25}
    assert len(asked) == stall.WARM + 10


def test_the_slowest_rank_counts():
    class Two(Ranks):
        def gather(self, value):
            return [value, (0.5, 2.0)]

    own = stall.Stall()
    for _ in range(stall.WARM):
        own.step(9.0, 10.0)
    assert own.slowest(Ranks("cpu")) == (0.0, 0.0)
    own.step(1.0, 4.0)
    assert own.slowest(Ranks("cpu")) == (0.25, 4.0)
    assert own.slowest(Two("cpu")) == (0.5, 2.0)


def test_the_rate_rises_and_falls(config):
    settings = load(str(config(training={"lr": 1.0, "min_lr": 0.2, "warmup": 4, "steps": 10})))
    rates = [rate(step, settings) for step in range(11)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert all(one > other for one, other in itertools.pairwise(rates[4:]))
    assert rates[7] == pytest.approx(0.6)
    assert rates[10] == pytest.approx(0.2)


def test_the_model_sees_no_token_ahead_and_sums_what_is_there(config):
    torch.manual_seed(0)
    model = GPT(load(str(config())).model)
    sequences = torch.randint(0, 256, (3, 49), dtype=torch.int32)
    whole = model(sequences).item()
    assert whole == pytest.approx(3 * 48 * np.log(256), rel=0.01)
    short = sequences.clone()
    short[:, 25:] = -1
    other = sequences.clone()
    other[:, 25:] = 7
    cut = other[:, :25]
    assert model(short).item() == pytest.approx(model(cut).item(), rel=1e-5), "padding weighs nothing"
    assert sum(model(each[None]).item() for each in sequences) == pytest.approx(whole, rel=1e-5)


@pytest.mark.long
def test_a_reading_process_that_is_killed_is_told(config, monkeypatch):
    """As the kernel does it when memory runs out."""
    path = config(data={"workers": 1}, training={"checkpoint_every": 1000})
    real = data.sequence

    def sequence(given, settings, epoch):
        if epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(given, settings, epoch)

    monkeypatch.setattr(data, "sequence", sequence)
    with pytest.raises(data.SealiftError, match="a reading process ended: DataLoader worker"):
        train(path)
    monkeypatch.undo()
    assert len(curve(path)) == 20
    answer, _ = train(path)
    assert answer["resumed_from"].endswith("step-00000020")


def test_an_error_of_a_rank_is_that_of_all(monkeypatch):
    ranks = Ranks("cpu")
    with pytest.raises(KeyError), ranks.together():
        raise KeyError
    ranks.group = "gloo"
    monkeypatch.setattr(ranks, "total", lambda *_values: [1])
    for theirs, words in ((Lost("gone", hint="h"), "rank 1: gone"), ("KeyError(3)", r"rank 1 failed: KeyError\(3\)")):
        monkeypatch.setattr(ranks, "gather", lambda _value, theirs=theirs: [None, theirs])
        with pytest.raises(data.SealiftError, match=words) as caught, ranks.together():
            pass
        assert caught.value.hint
