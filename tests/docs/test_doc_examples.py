"""What the pages tell people to type is typed here, word for word."""

import os
import re
import shutil
import sys
from importlib.util import find_spec

import pytest
from doc_pages import ROOT, blocks, missing_tools, run

OPEN = ROOT / "docs/open-a-drive-without-sealift.md"
CUSTODY = ROOT / "docs/guides/custody.md"
TRAINING = ROOT / "docs/guides/training.md"
HOME = ROOT / "docs/the-leg-home.md"


@pytest.fixture(scope="session")
def voyage(tmp_path_factory):
    """The folder in which the README's example ran to its end, and what it printed."""
    if missing_tools() and not os.environ.get("CI"):
        pytest.skip(f"not installed: {', '.join(missing_tools())}")
    folder = tmp_path_factory.mktemp("voyage")
    done = run("".join(blocks(ROOT / "README.md", "bash")), folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_the_example_of_the_readme_ends_with_the_same_corpus(voyage):
    folder, printed = voyage
    assert printed.splitlines()[-1] == "the same, without Bo"
    assert (folder / "restored/picture.raw").read_bytes() == (folder / "corpus/picture.raw").read_bytes()


def test_the_example_of_the_readme_has_more_than_one_stripe_and_a_file_in_segments(voyage):
    folder, _ = voyage
    assert len(list((folder / "drives/a").glob("sealift/packs/*/*"))) > 2


@pytest.fixture
def all_arrived(voyage, tmp_path):
    """A copy of the voyage's folder, in which Bo has come too and nothing is restored."""
    folder = tmp_path / "arrived"
    shutil.copytree(voyage[0], folder)
    shutil.rmtree(folder / "restored")
    for late in (folder / "late").iterdir():
        late.rename(folder / "drives" / late.name)
    return folder


@pytest.mark.long
def test_the_guide_to_custody_goes_on_from_the_seal(tmp_path):
    if missing_tools() and not os.environ.get("CI"):
        pytest.skip(f"not installed: {', '.join(missing_tools())}")
    folder = tmp_path / "custody"
    folder.mkdir()
    readme = "".join(blocks(ROOT / "README.md", "bash")).partition("mkdir late")[0]
    script = readme + "".join(blocks(CUSTODY, "bash"))
    done = run(script + "\nsealift custody custody --declaration declaration.toml --final || test $? -eq 3\n", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "taken from copies: 1 event and 2 signatures" in done.stderr
    assert "Tove Dock (Petrel Compute) since" in done.stderr
    assert "to look at:\n  missing: EXAMPLE-3 EXAMPLE-4: have not arrived\n" in done.stderr
    assert done.stderr.count("to look at") == 1, "before --final nothing is"


def tree(folder):
    """Every entry: its mode and time, and a file's content."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        state = path.lstat()
        content = path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = (state.st_mode, state.st_mtime_ns, content)
    return found


def test_a_drive_opens_with_standard_tools_alone(all_arrived):
    hide = 'sealift() { echo "the page is for people without sealift" >&2; return 99; }\n'
    done = run(hide + "".join(blocks(OPEN, "bash")), all_arrived)
    assert done.returncode == 0, done.stdout + done.stderr
    restored, corpus = tree(all_arrived / "restored"), tree(all_arrived / "corpus")
    restored.pop("."), corpus.pop(".")  # the target's own folder is the reader's
    assert restored == corpus


def test_the_leg_home_goes_on_from_the_readme(all_arrived):
    done = run("".join(blocks(HOME, "bash")), all_arrived)
    assert done.returncode == 0, done.stdout + done.stderr
    for said in (
        "Shipment SL-2026-ANSWER, return leg in reply to SL-2026-EXAMPLE",
        "answers SL-2026-EXAMPLE, signed by tove@petrel.example",
        '"loss": 2.5',
    ):
        assert said in done.stdout


@pytest.mark.long
def test_the_guide_to_training_goes_on_from_the_readme_while_bo_is_away(voyage, tmp_path):
    if find_spec("torch") is None and not os.environ.get("CI"):
        pytest.skip("torch is not installed")
    folder = tmp_path / "training"
    shutil.copytree(voyage[0], folder)
    (folder / "notebook.py").write_text("".join(blocks(TRAINING, "python")))
    done = run("".join(blocks(TRAINING, "bash")) + f"\n{sys.executable} notebook.py", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^8 texts; the first: b'", done.stdout, re.MULTILINE)
    assert '"resumed_from": "' in done.stdout
    assert "checkpoints/step-00000020" in done.stdout
    assert "model.safetensors" in done.stdout
    assert re.search(r"drive g0s\d \(serial EXAMPLE-[34]\) is not here; ", done.stderr)
    assert re.search(r"^stall \d", done.stderr, re.MULTILINE)
    assert len("".join(blocks(TRAINING, "python")).split("\n\n")[-1].splitlines()) <= 10


@pytest.mark.parametrize("name", ["manifest.json", "packs/0000/0000000.tar.zst.age", "packs.bin"])
def test_the_checks_of_the_page_fail_when_a_byte_is_flipped(all_arrived, name):
    damaged = all_arrived / "drives/a/sealift" / name
    damaged.chmod(0o600)
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    done = run("".join(blocks(OPEN, "bash")), all_arrived)
    assert done.returncode != 0, done.stdout
