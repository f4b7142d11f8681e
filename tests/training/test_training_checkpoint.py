"""A checkpoint is whole, or it is not taken for one."""

import errno
import os
import shutil
import signal

import pytest
from trainings import checkpoints, curve, train

torch = pytest.importorskip("torch")

from sealift.errors import Interrupted  # noqa: E402
from sealift.training import checkpoint  # noqa: E402
from sealift.training.distributed import Ranks  # noqa: E402


@pytest.fixture
def copied(whole, tmp_path):
    """The checkpoints of the whole run, to be damaged."""
    shutil.copytree(whole[0].with_suffix("") / "checkpoints", tmp_path / "copied")
    return tmp_path / "copied"


def last(root):
    words = []
    found = checkpoint.latest(str(root), Ranks("cpu"), words.append)
    return found and os.path.basename(found), words


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def files(folder):
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())


@pytest.mark.long
def test_what_a_checkpoint_is_made_of(copied):
    assert last(copied) == ("step-00000040", [])
    names = {"health.json", "progress.json", "rng-0.pt", "run.json", "state/.metadata", "whole.json"}
    assert names < set(files(copied / "step-00000040"))


@pytest.mark.long
@pytest.mark.parametrize("damage", [cut, flip, os.remove, lambda path: path.write_bytes(b"")])
def test_torn_at_any_file_the_one_before_is_taken(copied, damage):
    good = copied.parent / "good"
    shutil.copytree(copied / "step-00000040", good)
    for name in files(good):
        damage(copied / "step-00000040" / name)
        found, words = last(copied)
        assert found == "step-00000030", name
        assert "step-00000040 is not whole" in words[0]
        shutil.copyfile(good / name, copied / "step-00000040" / name)
    assert last(copied) == ("step-00000040", [])


@pytest.mark.long
def test_a_checkpoint_under_another_name_is_none(copied):
    os.rename(copied / "step-00000040", copied / "step-00000041")
    assert last(copied)[0] == "step-00000030"


def test_none_is_whole(copied):
    for folder in copied.iterdir():
        os.remove(folder / "whole.json")
    assert last(copied)[0] is None
    assert last(copied / "nothing") == (None, [])


def test_a_full_disk_leaves_the_one_before_and_the_run_goes_on(whole, config, monkeypatch):
    """Also where a torn one lies in the way, and only one is kept."""
    path = config(model={"dropout": 0.1}, training={"keep": 1})
    real = torch.save

    def full(value, name, *more):
        if "step-00000020" in str(name):
            raise OSError(errno.ENOSPC, "No space left on device", name)
        return real(value, name, *more)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        train(path)
    monkeypatch.undo()
    assert [each.name for each in checkpoints(path)] == [".step-00000020.part", "step-00000010"]
    (path.with_suffix("") / "checkpoints/step-00000025").mkdir()
    words = []
    with pytest.raises(Interrupted):
        train(path, lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 20 else None, words=words)
    assert any("step-00000025 is not whole" in word for word in words)
    assert [each.name for each in checkpoints(path)] == ["step-00000020"], "the last whole one is not what goes"
    answer, _ = train(path)
    assert answer["resumed_from"].endswith("step-00000020")
    assert [each.name for each in checkpoints(path)] == ["step-00000040"]
    assert curve(path) == curve(whole[0])
