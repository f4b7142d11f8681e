"""Types of ours are decoded by threads that come to them at the same time."""

import re
import subprocess
import sys
from pathlib import Path

import sealift

SCRIPT = """
import sys, threading
from sealift.formats import manifest, typed
from sealift.stages import host_index
sys.setswitchinterval(1e-6)
index = host_index.encode(host_index.HostIndex(host="s", at="2026-11-26T04:00:00Z", drives=[], folders=[], reports=[]))
ready, good = threading.Barrier(8), []
def decode():
    ready.wait()
    good.append(host_index.decode(index))
threads = [threading.Thread(target=decode) for _ in range(8)]
for each in threads: each.start()
for each in threads: each.join()
print(len(good))
"""


def test_a_type_that_many_threads_meet_at_once_does_not_crash():
    """It did in one run of three."""
    for _ in range(6):
        done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "8", "")


def test_nothing_else_makes_objects_of_types():
    """But what is made when a module is imported, which one thread does, or from an option's own type."""
    raw = re.compile(
        r"msgspec\.(json|msgpack)\.decode\([^\n]*type=|msgspec\.convert\(|^ +.*msgspec\.\w+\.Decoder\(", re.MULTILINE
    )
    root = Path(sealift.__file__).parent
    found = {str(path.relative_to(root)) for path in root.rglob("*.py") if raw.search(path.read_text())}
    assert found == {"formats/typed.py", "training/config.py"}
