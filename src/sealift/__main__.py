"""The console script, and `python -m sealift`: who presses Ctrl-C while Python still imports gets no traceback."""

from __future__ import annotations

import os
import signal
from typing import NoReturn


def main() -> NoReturn:
    """Run one command and exit with its code; it has signal handlers of its own."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(130))
    from sealift.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
