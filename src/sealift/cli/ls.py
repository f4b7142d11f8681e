"""`sealift ls`: what a shipment holds."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime

import click

from sealift.cli import common
from sealift.cli.reading import open_shipment
from sealift.formats.sizes import counted


@click.command("ls")
@click.argument("mounts", nargs=-1, required=True, metavar="MNT...")
@common.identity_option
@common.keys_option
@common.allowed_signers_option
@common.seal_option
@click.option(
    "--path",
    "patterns",
    multiple=True,
    metavar="GLOB",
    help="Only what matches, `*` crosses folders. May be repeated.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object a line: path, size, mode, mtime, type, blake3.",
)
@click.pass_context
def ls(
    context: click.Context,
    mounts: tuple[str, ...],
    identities: tuple[str, ...],
    keys: str | None,
    allowed_signers: str | None,
    seal: str | None,
    patterns: tuple[str, ...],
    as_json: bool,
) -> None:
    """List what the shipment on the drives at MNT... holds, by path.

    MNT is where a drive is mounted, an address (https://HOST/PATH/, s3://BUCKET/PREFIX), or a locations file.
    One drive of each group is enough: every drive carries the whole group's index.

    \b
      sealift ls /mnt/d01 --identity key.txt --allowed-signers signers --seal 5f0c1d2e3a4b5c6d.seal

    Exit 0; 6 when a group of the shipment has no drive here, and so is not in the list.
    """
    from sealift.formats.index import KINDS

    shipment = open_shipment(mounts, identities, allowed_signers, seal, keys)
    try:
        for row in shipment.rows(patterns):
            if row.start + row.length != row.size and row.kind == 0:
                continue  # the last segment has the digest of the file
            digest = (row.file_blake3 or row.blake3).hex()
            if as_json:
                line = {
                    **common.path_fields(row.path),
                    "size": row.size,
                    "mode": row.mode,
                    "mtime": row.mtime / 1e9,
                    "mtime_ns": row.mtime,
                    "type": KINDS[row.kind],
                    "blake3": digest or None,
                }
                if row.link:
                    target = common.path_fields(row.link)
                    line |= {f"target{name.removeprefix('path')}": value for name, value in target.items()}
                click.echo(json.dumps(line, ensure_ascii=False))
            else:
                kind = (stat.S_IFREG, stat.S_IFLNK, stat.S_IFREG, stat.S_IFDIR)[row.kind]
                when = datetime.fromtimestamp(row.mtime // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S")
                arrow = f" -> {common.path_text(row.link)}" if row.link else ""
                click.echo(
                    f"{stat.filemode(kind | row.mode)} {row.size:>15,} {when} {common.path_text(row.path)}{arrow}"
                )
    finally:
        shipment.close()
    for group in shipment.missing:
        files = f"{counted(group.files, 'file')} {common.are(group.files)}"
        common.say(f"group {group.group} has no drive here: {files} not in this list")
    context.exit(6 if shipment.missing else 0)
