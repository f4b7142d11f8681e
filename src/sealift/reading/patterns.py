"""Which paths shell patterns name."""

from __future__ import annotations

import os
import re
from fnmatch import translate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def matcher(patterns: Sequence[str]) -> Any:
    """A test of paths: shell patterns over the whole path (`*` crosses `/`); a folder's name takes what is in it."""
    if not patterns:
        return lambda _path: True
    compiled = [re.compile(translate(pattern.rstrip("/"))) for pattern in patterns]
    folders = [re.compile(translate(pattern.rstrip("/") + "/*")) for pattern in patterns]

    def matches(path: bytes) -> bool:
        text = os.fsdecode(path)
        return any(pattern.match(text) for pattern in (*compiled, *folders))

    return matches
