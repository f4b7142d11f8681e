"""Pages, their code blocks, and a shell to run them in.

A block fenced as ```bash is executed by tests, all of a page in order, in one empty folder, and ```python after them;
```sh is for machines that the tests do not have (mounts, root, a network), and only its sealift commands are compared
with the code.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("changes/*.md"), *ROOT.glob("docs/**/*.md")], key=str)
TOOLS = ("age", "age-keygen", "b3sum", "zstd", "tar", "ssh-keygen")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page, *languages):
    """Contents of the page's fenced blocks of these languages, in order."""
    return [body for language, body in _FENCE.findall(page.read_text()) if language in languages]


def missing_tools():
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def environment(home):
    """The caller's, with this interpreter's sealift first, no settings of the caller's, and a home of its own."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SEALIFT_", "XDG_"))}
    return {**kept, "PATH": path, "HOME": str(home), "LC_ALL": "C.UTF-8", "TMPDIR": str(home), "COPY": str(ROOT)}


def run(script, folder):
    """The script in `folder`, by bash, stopped at the first command that fails; also within a pipeline."""
    home = folder.parent / f"{folder.name}-home"
    home.mkdir(exist_ok=True)
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=folder,
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
