"""`sealift mount`: a shipment as a read-only folder, for programs that open files."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import click

from sealift.cli import common
from sealift.cli.reading import open_shipment
from sealift.errors import BadInput
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from sealift.reading.health import Health
    from sealift.reading.shipment import Shipment


@click.command("mount")
@click.argument("mounts", nargs=-1, required=True, metavar="MNT...")
@click.option("--at", required=True, metavar="DIR", help="Empty folder where the shipment is shown.")
@common.identity_option
@common.keys_option
@common.allowed_signers_option
@common.seal_option
@click.option(
    "--allow-other",
    is_flag=True,
    help="Other users may read it too, as the files' modes say; who mounts owns the files.",
)
@click.option(
    "--health",
    metavar="FILE",
    help="When it is unmounted, write which drives are missing or fail and what was rebuilt, for repair --report.",
)
def mount(
    mounts: tuple[str, ...],
    at: str,
    identities: tuple[str, ...],
    keys: str | None,
    allowed_signers: str | None,
    seal: str | None,
    allow_other: bool,
    health: str | None,
) -> None:
    """Show the shipment on the drives at MNT... as a read-only folder at DIR.

    MNT is where a drive is mounted, an address (https://HOST/PATH/, s3://BUCKET/PREFIX), or a locations file.
    Files are decrypted as they are read, and what is missing or rotten is rebuilt from parity on the way. It stays
    in the foreground and says a line when the folder is there; Ctrl-C, SIGTERM or `fusermount3 -u DIR` end it.
    Reading what is lost fails with an I/O error, and says here why. Nothing can be written. Files of a group of which
    no drive is here are not shown; a line says how many.

    \b
      sealift mount /mnt/* --at /data/corpus --identity key.txt \\
          --allowed-signers signers --seal 5f0c1d2e3a4b5c6d.seal

    Exit 0: it was unmounted; a summary of what was met is on stderr.
    """
    from sealift.integrations import fuse

    _check_folder(at)
    if health is not None and not os.path.isdir(os.path.dirname(health) or "."):
        raise BadInput(f"--health {health}: there is no such folder to write it in")
    shipment = open_shipment(mounts, identities, allowed_signers, seal, keys)
    try:
        fuse.mount(shipment, at, allow_other=allow_other, ready=lambda: _ready(shipment, at))
        met = shipment.health()
    finally:
        shipment.close()
    if health is not None:
        _write(health, met.encode())
    _summary(met)


def _check_folder(at: str) -> None:
    try:
        inside = os.listdir(at)
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            hint = f"an earlier mount was killed: `fusermount3 -u {at}` takes away what it left"
        else:
            hint = "--at DIR, an empty folder that is there"
        raise BadInput(f"--at {at}: {(error.strerror or str(error)).lower()}", hint=hint) from error
    if inside:
        raise BadInput(f"--at {at}: not empty, and what is in it would be hidden", hint="make an empty folder")


def _ready(shipment: Shipment, at: str) -> None:
    totals = [group.manifest.totals for group in shipment.groups.values()]
    files, size = sum(each.files for each in totals), sum(each.source_bytes for each in totals)
    for group in shipment.missing:
        hidden = f"{counted(group.files, 'file')} {common.are(group.files)}"
        common.say(f"group {group.group} has no drive here: {hidden} not shown")
    common.say(
        f"shipment {shipment.seal.seal.shipment} is at {at}: {counted(files, 'file')}, "
        f"{common.size_text(size)}; Ctrl-C unmounts"
    )


def _write(path: str, data: bytes) -> None:
    beside = f"{path}.{os.getpid()}.tmp"
    with open(beside, "wb") as file:
        file.write(data)
    os.replace(beside, path)


def _summary(met: Health) -> None:
    if met.good:
        common.say("unmounted; every drive was here, and nothing had to be rebuilt")
        return
    common.say(f"unmounted; {counted(met.rebuilt_blocks, 'block')} of 1 MiB rebuilt from parity")
    common.say_list(
        (
            f"drive {each.drive} (serial {each.serial}, {each.carrier or 'no carrier'}) is {each.state}: "
            f"{counted(each.rebuilt_blocks, 'block')} rebuilt"
            + (f", {counted(each.hedged_reads, 'read')} hedged" if each.hedged_reads else "")
            + (f", {each.first_fault}" if each.first_fault else "")
            for each in met.drives
        ),
        len(met.drives),
    )
    for group in met.missing_groups:
        common.say(f"  group {group} has no drive here")
