"""The locations file of a fleet, for whoever reads the shipment where it stands (docs/spec/locations.md).

What holds: it names the drives that were judged to be the shipment's, each by its URL, and files of tokens and of CAs,
no token. Over an earlier one it is the same file brought up to date: rows of a host that was asked and did not answer
stay, and a drive at the same address keeps its name, whoever else answers. What was there is kept beside it.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from sealift.errors import BadInput
from sealift.formats.locations import MAX_FILE, REQUESTS, DriveRow, Locations, parse, scheme_of, web
from sealift.trade.signing import read_limited, write_over

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sealift.formats.hosts import HostRow
    from sealift.stages.fleet.look import FleetDrive, FleetReport

_ODD = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)
_DRIVE = re.compile(r"(?:\A|[^A-Za-z0-9])(g[0-9]+s[0-9]+)(?:-[0-9]+)?\Z", re.ASCII)
_LONGEST = 64  # characters of a name


class Written(NamedTuple):
    """What `write` did: the new name of what was there, and what of that it took over or left out."""

    kept: str | None
    held: dict[str, int]  # URL of a host that did not answer -> its drives in the file that was there, all kept
    dropped: list[str]  # addresses of that file that stand in the new one no longer
    notice: str  # why the file that was there could not be gone by; empty where it could, or there was none


def write(path: str, report: FleetReport, rows: Mapping[str, HostRow]) -> Written:
    """Write the locations file. `rows`: what was given for each host, by its URL.

    BadInput: the file cannot be written.
    """
    before, notice = _before(path)
    old = {_address(row.at): row for row in before.drive} if before else {}
    judged = {_address(drive.url): drive for drive in report.drives}
    folder = os.path.dirname(os.path.abspath(path))
    held = _held(report, old, judged)
    members = {at: drive for at, drive in judged.items() if drive.standing == "member"}
    kept_names = {at: old[at].name for at, drive in members.items() if at in old and _still(old[at].name, drive)}
    taken = {*kept_names.values(), *(old[at].name for at in held)}
    called = _called(report)
    new: dict[str, DriveRow] = {}
    for at, drive in members.items():
        row = rows[drive.host]
        name = kept_names.get(at) or _name(called[drive.host], drive.drive or drive.name, taken)
        token, ca = (file and _seen_from(folder, file) for file in (row.token_file, row.ca_file))
        new[at] = DriveRow(name=name, at=drive.url, token_file=token, ca_file=ca)
    # in the order of the file that was there: two of them are easily compared
    order = [at for at in old if at in new or at in held] + [at for at in new if at not in old]
    data = _encode([new.get(at) or old[at] for at in order], before.requests if before else REQUESTS)
    dropped = [row.at for at, row in old.items() if at not in new and at not in held]
    return Written(write_over(path, data), dict(Counter(held.values())), dropped, notice)


def _before(path: str) -> tuple[Locations | None, str]:
    """The locations file that is there; and why what is there is none."""
    if not os.path.lexists(path):
        return None, ""
    try:
        return parse(read_limited(path, MAX_FILE, "locations file"), path), ""
    except BadInput as error:
        return None, str(error)


def _held(report: FleetReport, old: Mapping[str, DriveRow], judged: Mapping[str, FleetDrive]) -> dict[str, str]:
    """Addresses of the old file that nobody said anything about, each with the URL of its silent host."""
    held = {}
    hosts = [(_address(host.url), host) for host in report.hosts]
    for at in old:
        above = [(beneath, host) for beneath, host in hosts if at.startswith(beneath)]
        if not above:
            continue
        host, drive = max(above, key=lambda each: len(each[0]))[1], judged.get(at)
        # a host without a name gave no list of its drives; one that fell silent later could not be looked at
        if host.name is None or (host.trouble and drive is not None and drive.standing == "unidentified"):
            held[at] = host.url
    return held


def _called(report: FleetReport) -> dict[str, str]:
    """URL of a host -> what it is called: where several call themselves the same, their addresses tell them apart."""
    names = Counter(host.name for host in report.hosts)
    return {
        host.url: host.name if host.name and names[host.name] == 1 else host.url.partition("://")[2].rstrip("/")
        for host in report.hosts
    }


def _still(name: str, drive: FleetDrive) -> bool:
    """Whether a row of this name may have been of this drive: none was given, or it does not say another one."""
    says = _DRIVE.search(name)
    return bool(name) and (says is None or says[1] == drive.drive)


def _address(at: str) -> str:
    """Equal for two spellings of one address."""
    try:
        return str(web(at)) if scheme_of(at) in {"http", "https"} else at
    except BadInput:
        return at


def _encode(drives: Iterable[DriveRow], requests: int) -> bytes:
    lines = ['type = "sealift-locations"', "version = 1"]
    if requests != REQUESTS:
        lines.append(f"requests = {requests}")
    for drive in drives:
        lines += ["", "[[drive]]"]
        for key in ("name", "at", "token_file", "token_env", "ca_file"):
            if value := getattr(drive, key):
                lines.append(f"{key} = {_text(value)}")
    return ("\n".join(lines) + "\n").encode()


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
