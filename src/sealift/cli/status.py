"""`sealift status`: where a packing stands, read from its state folder; nothing is written or kept locked.

It may be asked while a packing runs. The journal is opened read-only; whatever is wrong with it is BadInput.
What is not here: the drives, which need not be attached.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from sealift.cli import common
from sealift.errors import BadInput

if TYPE_CHECKING:
    from sealift.stages.pack.run import Config

HELP = """
Show where the packing in a state folder stands: every group, and which drives come next.

It needs no drive and no key, and may be asked at any time, also while packing runs.

\b
  sealift status --state /var/lib/sealift/corpus
"""

_MAX_SUMMARY = 256 << 20
_GROUPS = """
SELECT g.number, g.state, g.stripes, g.source_bytes, g.seconds,
       coalesce(sum(p.length) FILTER (WHERE p.role < ?1), 0),
       coalesce(sum(p.length) FILTER (WHERE p.role >= ?1), 0),
       coalesce(sum(p.files), 0)
FROM groups g LEFT JOIN packs p ON p.number = g.number GROUP BY g.number ORDER BY g.number"""


@click.command("status", help=HELP, short_help="Where packing stands, and which drives come next.")
@click.option("--state", required=True, metavar="DIR", type=click.Path(), help="The state folder given to pack.")
@common.json_option
def status(state: str, *, as_json: bool) -> None:
    """Read and show."""
    answer = look(state)
    if as_json:
        common.emit(answer)
    show(answer)


def look(state: str) -> dict[str, Any]:
    """Everything a state folder tells; BadInput when it is none."""
    path = os.path.join(state, "journal.sqlite")
    if not os.path.isfile(path):
        raise BadInput(f"{state}: no packing has begun here", hint="give the folder that pack was given as --state")
    try:
        with closing(sqlite3.connect(f"file:{quote(os.path.abspath(path))}?mode=ro", uri=True, timeout=30)) as db:
            rows = db.execute("SELECT value FROM settings WHERE name = 'config'").fetchone()
            config = _config(state, None if rows is None else bytes(rows[0]))
            data = len(config.groups[0]) - config.parity
            found = {int(row[0]): row for row in db.execute(_GROUPS, (data,))}
            told = db.execute("SELECT reason IS NULL, count(DISTINCT path) FROM told GROUP BY 1").fetchall()
    except (sqlite3.Error, TypeError) as error:
        raise BadInput(f"{path} cannot be read: {error}", hint="the drives are untouched (sealift inspect)") from error
    sizes, skipped = _scanned(state)
    sizes += [0] * len(config.groups)
    groups = [_group(number, config, found.get(number), sizes[number]) for number in range(len(config.groups))]
    counts = {bool(changed): int(count) for changed, count in told}
    return {
        "shipment": config.shipment,
        "consignment_id": config.consignment_id,
        "source": config.source,
        "running": _is_running(state),
        "sealed": os.path.isfile(os.path.join(state, f"{config.shipment}.seal")),
        "groups": groups,
        "next": [group["group"] for group in groups if group["state"] != "signed"],
        "changed": counts.get(True, 0),
        "skipped": counts.get(False, 0) + skipped,
    }


def _config(state: str, data: bytes | None) -> Config:
    import msgspec

    from sealift.stages.pack.run import Config

    if data is None:
        raise BadInput(f"{state}: a packing began here, and stopped before its first decision", hint="run pack again")
    try:
        config = msgspec.json.decode(data, type=Config)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadInput(f"{state}: the journal's configuration does not parse: {error}") from error
    if not config.groups or not 0 <= config.parity < len(config.groups[0]):
        raise BadInput(f"{state}: the journal's configuration names no drives")
    return config


def _scanned(state: str) -> tuple[list[int], int]:
    """Bytes of every group and count of skipped paths, as scanned; ([], 0) before the scan."""
    import msgspec

    try:
        with open(os.path.join(state, "scan", "summary.json"), "rb") as file:
            found = msgspec.json.decode(file.read(_MAX_SUMMARY))
        return [int(share["bytes"]) for share in found["shares"]], len(found["skipped"])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        return [], 0


def _group(number: int, config: Config, row: tuple[Any, ...] | None, total: int) -> dict[str, Any]:
    from sealift.formats.manifest import drive_id

    row = row or (number, "waiting", *[0] * 6)
    _, state, stripes, source_bytes, seconds, packed, parity, files = row
    places = config.groups[number]
    return {
        "group": number,
        "state": str(state),
        "data": len(places) - config.parity,
        "parity": config.parity,
        "stripes": int(stripes),
        "files": int(files),
        "source_bytes": int(source_bytes),
        "total_bytes": total,
        "packed_bytes": int(packed),
        "parity_bytes": int(parity),
        "seconds": round(float(seconds), 3),
        "drives": [
            {"drive": drive_id(number, slot), "number": p.number, "serial": p.serial, "carrier": p.carrier}
            for slot, p in enumerate(places)
        ],
    }


def _is_running(state: str) -> bool:
    """Whether a packing holds the state's lock; taken shared for an instant, and given back."""
    try:
        with open(os.path.join(state, "lock"), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def show(answer: dict[str, Any]) -> None:
    """The same for a person."""
    say, size, counted = common.say, common.size_text, common.counted
    how = "packing runs" if answer["running"] else "sealed" if answer["sealed"] else "no packing runs"
    say(f"shipment {answer['shipment']}, consignment {answer['consignment_id']}: {how}")
    say(f"source {answer['source']}")
    groups = answer["groups"]
    for group in groups:
        total = group["total_bytes"]
        part = f" of {size(total)}" if total else ""
        percent = f" ({min(100, 100 * group['source_bytes'] // total)}%)" if total else ""
        rate = f", {group['source_bytes'] / group['seconds'] / 1e9:.2f} GB/s" if group["seconds"] else ""
        say(
            f"  group {group['group'] + 1} of {len(groups)}: {group['state']},"
            f" {group['data']}+{group['parity']} drives, {counted(group['stripes'], 'stripe')},"
            f" {size(group['source_bytes'])}{part}{percent}{rate}"
        )
    if answer["changed"]:
        say(f"{counted(answer['changed'], 'file')} changed while being read")
    if answer["skipped"]:
        say(f"{counted(answer['skipped'], 'path')} skipped")
    for number in answer["next"]:
        group = groups[number]
        how = "goes on with" if group["state"] == "packing" else "needs"
        say(f"next: group {number + 1} {how} these drives:")
        lines = [
            f"drive {d['number']}, serial {d['serial']}" + (f", carrier {d['carrier']}" if d["carrier"] else "")
            for d in group["drives"]
        ]
        common.say_list(lines, len(lines))
    if not answer["next"]:
        say("every group is packed and signed" + ("" if answer["sealed"] else "; next: sealift release, sealift seal"))
