"""An unpack in a process of its own, to be killed: python unpacker.py OPTIONS, a pickle of unpack.Options."""

import pickle
import sys
from pathlib import Path

from sealift.errors import SealiftError
from sealift.stages import unpack

if __name__ == "__main__":
    options = pickle.loads(Path(sys.argv[1]).read_bytes())
    try:
        unpack.unpack(options, unpack.Events())
    except SealiftError as error:
        sys.exit(f"{type(error).__name__}: {error}")
