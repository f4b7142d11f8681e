"""docs/testing.md, as an outsider copies it: its tests run in a folder of their own, and have the package alone."""

import os
import subprocess
import sys

from doc_pages import ROOT, blocks, environment

PAGE = ROOT / "docs/testing.md"
IMPORTS, CONTRACT, SIMULATED, WHOLE = blocks(PAGE, "python")
DRIVE = "from sealift.drives.local import LocalDrive as MyDrive\n"


def outside(folder, text, *options):
    """pytest over one file of an outsider, with nothing of ours but the package."""
    (folder / "test_mine.py").write_text(text)
    (folder / "mine.py").write_text(DRIVE)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    package = os.pathsep.join(each for each in sys.path if os.path.isfile(os.path.join(each, "sealift/__init__.py")))
    given = environment(folder) | {"PYTHONPATH": package}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, check=False, timeout=280)
    return done.returncode, done.stdout


def test_the_whole_test_passes(tmp_path):
    code, printed = outside(tmp_path, WHOLE)
    assert (code, "1 passed" in printed) == (0, True), printed


def test_the_contract_is_kept_by_a_drive_that_keeps_it(tmp_path):
    code, printed = outside(tmp_path, IMPORTS + "\n\n" + CONTRACT)
    assert code == 0, printed
    assert "failed" not in printed


def test_the_example_of_the_simulator_runs():
    exec(SIMULATED, {})
