"""A packing in a process of its own, to be killed: python packer.py OPTIONS, which is a pickle of run.Options."""

import pickle
import sys
from pathlib import Path

from sealift.errors import SealiftError
from sealift.stages.pack import run

if __name__ == "__main__":
    options = pickle.loads(Path(sys.argv[1]).read_bytes())
    try:
        run.run(options, run.Events())
    except SealiftError as error:
        sys.exit(f"{type(error).__name__}: {error}")
