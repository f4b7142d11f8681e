"""What the benchmark says of versions and runs: none is left out, and a page of several runs does not pass for one."""

import copy
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench import machine, report

ROOT = Path(__file__).parents[2]
RESULTS = json.loads((ROOT / "bench" / "results.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("printed", "line"),
    [
        (
            "restic 0.14.0 compiled with go1.19.8 on linux/amd64\n",
            "restic 0.14.0 compiled with go1.19.8 on linux/amd64",
        ),
        ("tar (GNU tar) 1.34\nLicense GPLv3+ <https://gnu.org/licenses/gpl.html>.\n", "tar (GNU tar) 1.34"),
        ("\x1b[1mb3sum 1.2.0\x1b[0m\n", "b3sum 1.2.0"),
        ("see https://example.com/1.2\n/usr/bin/tool 1.2: warning\ntool v3.4\n", "tool v3.4"),
        ("nothing\n", None),
    ],
)
def test_the_version_is_the_line_that_has_one(printed, line):
    assert machine.version_line(printed) == line


def test_the_page_that_is_committed_is_that_of_the_results():
    assert (ROOT / "bench" / "RESULTS.md").read_text(encoding="utf-8") == report.page(RESULTS)


def test_a_page_of_several_runs_says_so():
    results = copy.deepcopy(RESULTS)
    first, *others = results["scenarios"].values()
    for found in others:
        found.update(when="2026-01-01", sealift="0.1.0 abc", machine=results["machine"])
    first.update(when="2025-12-31", sealift="0.1.0 abc-dirty", machine=results["machine"] | {"python": "3.0"})
    results["machine"]["versions"]["restic"] = None
    head = report.page(results).partition("\n## ")[0]
    for found in results["scenarios"].values():
        assert f"{found['when']}, {found['sealift']}: " in head
    assert "restic: not recorded" in head
    assert "the tree had changes that were not committed" in head
    assert "results.json has the machine and the versions of each" in head
    del first["machine"]
    assert "no versions but sealift's were kept" in report.page(results).partition("\n## ")[0]
    first.update(when="2026-01-01", sealift="0.1.0 abc", machine=results["machine"])
    assert "All of it is of one run." in report.page(results)
