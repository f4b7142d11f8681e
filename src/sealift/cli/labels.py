"""`sealift labels`: a sheet of labels for the drives of a plan. Thin: stages/labels.py does the work."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common, planned
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from sealift.stages.labels import Labels
    from sealift.stages.plan.document import Plan
    from sealift.trade.declaration import Declaration

HELP = """
Print labels for the drives of PLAN (shipment.toml), 14 on a page of A4, as PDF.

A label says which drive of how many it is, the declaration's id, how large the whole shipment is, group, slot, carrier
and serial number, and by when the drive is to be read; its QR code reads as exactly the same text, line by line. It
names no customer. The sheet fits labels of 99.1 by 38.1 mm (Avery L7163): print it in full size, not "fit to page".

\b
  sealift labels shipment.toml --declaration declaration.toml --out labels.pdf
  sealift labels shipment.toml --declaration declaration.toml --state /var/lib/sealift/corpus \\
      --packed 2026-11-26 --allowed-signers signers --out labels.pdf

Labels say DRAFT until they are given the release: with --allowed-signers the one that `sealift release` wrote beside
the declaration. With --state they also have what packing has drawn: the shipment's id, and the short label that
drive.json and OPEN-ME.txt have. An SSD is to be read within 90 days of --packed, unless the plan states another
ssd_retention; a hard disk's label has no such date. It is refused while a drive has no serial number, and where plan,
declaration and packing differ in a drive.
"""


@click.command("labels", help=HELP, short_help="Print QR labels for the drives of a plan.", no_args_is_help=True)
@click.argument("plan", type=click.Path())
@click.option("--declaration", required=True, metavar="FILE", type=click.Path(), help="Declaration; a draft will do.")
@click.option("--out", required=True, metavar="PDF", type=click.Path(), help="The sheet, which must not exist.")
@click.option("--state", metavar="DIR", type=click.Path(), help="State of pack, once packing has begun.")
@click.option(
    "--packed",
    metavar="DATE",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Day on which the drives were written, such as 2026-11-26; today (UTC) if left away.",
)
@common.allowed_signers_option
@common.json_option
def labels(
    plan: str,
    declaration: str,
    out: str,
    state: str | None,
    packed: datetime | None,
    allowed_signers: str | None,
    *,
    as_json: bool,
) -> None:
    """Make the sheet, write it, and say what is on it."""
    from sealift.stages import labels as stage
    from sealift.trade import declaration as declarations
    from sealift.trade import signing

    found = planned.load(plan)
    data = signing.read_limited(declaration, declarations.MAX_BYTES, "declaration")
    declared = declarations.parse(data, draft=True)
    release = common.standing_release(declaration, declared, allowed_signers)
    day = (packed or datetime.now(UTC)).date()
    made = stage.labels(found, declared, release, packed=day, state=state)
    signing.write_new(out, made.pdf)
    if release is None:
        common.say("no checked release: these labels are drafts, and say so")
    pages = counted(made.pages, "page")
    common.say(f"wrote {out}: {counted(len(made.texts), 'label')} of {declared.consignment_id} on {pages}")
    if as_json:
        about = {"file": out, "released": release is not None, "packed": day.isoformat()}
        common.emit(about | answer(found, declared, made))


def answer(plan: Plan, declaration: Declaration, made: Labels) -> dict[str, Any]:
    """What is on the labels, for the JSON object."""
    from sealift.formats.manifest import drive_id

    rows = enumerate(zip(plan.drives, made.texts, made.read_by, strict=True), 1)
    return {
        "consignment_id": declaration.consignment_id,
        "shipment": made.shipment,
        "pages": made.pages,
        "labels": [
            {
                "number": number,
                "drive": drive_id(drive.group, drive.slot),
                "serial": drive.serial,
                "carrier": drive.carrier,
                "read_by": read_by and read_by.isoformat(),
                "text": text,
            }
            for number, (drive, text, read_by) in rows
        ],
    }
