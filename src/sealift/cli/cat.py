"""`sealift cat`: one file of a shipment to stdout."""

from __future__ import annotations

import sys

import click

from sealift.cli import common
from sealift.cli.reading import open_shipment


@click.command("cat")
@click.argument("mounts", nargs=-1, required=True, metavar="MNT...")
@click.option("--path", required=True, metavar="PATH", help="The file, as `sealift ls` shows it.")
@common.identity_option
@common.keys_option
@common.allowed_signers_option
@common.seal_option
def cat(
    mounts: tuple[str, ...],
    path: str,
    identities: tuple[str, ...],
    keys: str | None,
    allowed_signers: str | None,
    seal: str | None,
) -> None:
    """Write one file of the shipment on the drives at MNT... to stdout.

    MNT is where a drive is mounted, an address (https://HOST/PATH/, s3://BUCKET/PREFIX), or a locations file.
    Every byte has authenticated at its place, or was rebuilt from parity, before it is written.

    \b
      sealift cat /mnt/* --path train/0001.txt --identity key.txt \\
          --allowed-signers signers --seal 5f0c1d2e3a4b5c6d.seal

    Exit 0; 6 when no group that is here has it, and a group of the shipment has no drive here.
    """
    shipment = open_shipment(mounts, identities, allowed_signers, seal, keys)
    try:
        for piece in shipment.pieces(path):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    finally:
        shipment.close()
