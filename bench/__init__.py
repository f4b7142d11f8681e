"""Benchmarks: sealift beside the best tools there are, on the same bytes in one run. `make bench`; see NOTES.md.

Commands run from bytecode, as those do that pip installed: where the environment forbids Python to keep it, each
process of a source tree would compile all that it imports, within the time that is measured.
"""

import os
import sys

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
