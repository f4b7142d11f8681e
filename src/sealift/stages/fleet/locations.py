"""The locations file of a fleet, for whoever reads the shipment where it stands (docs/spec/locations.md).

What holds: it names the drives that were judged to be the shipment's, each by its URL, and files of tokens and of CAs,
no token. What was there under its name is kept.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from typing import TYPE_CHECKING

from sealift.trade.signing import write_over

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sealift.formats.hosts import HostRow
    from sealift.stages.fleet.look import FleetReport

_ODD = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)
_LONGEST = 64  # characters of a name


def write(path: str, report: FleetReport, rows: Mapping[str, HostRow]) -> str | None:
    """Write the locations file; the new name of what was there. `rows`: what was given for each host, by its URL.

    BadInput: the file cannot be written.
    """
    drives = [drive for drive in report.drives if drive.standing == "member"]
    folder = os.path.dirname(os.path.abspath(path))
    names = Counter(host.name for host in report.hosts)
    taken: set[str] = set()
    lines = ['type = "sealift-locations"', "version = 1"]
    for drive in drives:
        host = next(each for each in report.hosts if each.url == drive.host)
        row = rows[drive.host]
        # where several call themselves the same, their addresses tell them apart
        called = host.name if host.name and names[host.name] == 1 else host.url.partition("://")[2].rstrip("/")
        lines += ["", "[[drive]]", f"name = {_text(_name(called, drive.drive or drive.name, taken))}"]
        lines.append(f"at = {_text(drive.url)}")
        for key, file in (("token_file", row.token_file), ("ca_file", row.ca_file)):
            if file:
                lines.append(f"{key} = {_text(_seen_from(folder, file))}")
    return write_over(path, ("\n".join(lines) + "\n").encode())


def _name(host: str, drive: str, taken: set[str]) -> str:
    """HOST-gGsS in letters that a locations file allows, not longer than that, and not given before."""
    stem = _ODD.sub("-", f"{host}-{drive}").strip("-.") or "drive"
    name = next(name for name in _candidates(stem) if name not in taken)
    taken.add(name)
    return name


def _candidates(stem: str) -> Iterator[str]:
    yield stem[-_LONGEST:]
    number = 2
    while True:
        end = f"-{number}"
        yield stem[-(_LONGEST - len(end)) :] + end
        number += 1


def _seen_from(folder: str, file: str) -> str:
    """A file's path for a locations file in `folder`: relative where it lies beneath, so that both may be copied."""
    full = os.path.abspath(file)
    inside = os.path.commonpath([folder, full]) == folder
    return os.path.relpath(full, folder) if inside else full


def _text(value: str) -> str:
    """A TOML basic string: what JSON escapes, TOML reads, and a URL or a path has nothing else."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
