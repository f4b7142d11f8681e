"""`sealift custody`: who has which drive, by the log. Thin: stages/custody.py reads, trade/custody.py judges."""

from __future__ import annotations

import click

from sealift.cli import common
from sealift.formats.sizes import counted

HELP = """
Check the custody log in folder LOG, offline, and say who has which drive since when.

Every event is compared with its digest, its place after the events that it builds upon, the signatures of both sides
and the declaration's drives. Shown are: what was altered, removed or put in from elsewhere; drives that nobody or two
people have, or that are not declared; seals that were broken or are not the one put on; hands that they were not in;
clocks that were wrong; and discrepancies that nobody has settled. Signatures by hand are said to be that. Whether
drives might go is asked of the revision that was the newest released then: revisions lie beside the declaration, with
their releases.

Carriers add to copies of the log while they are apart. --merge takes what their copies have, in any order; nothing
in LOG is changed, and two stories of one drive both stay, as a conflict. --checkpoint compares with the text of a QR
code from a paper form: it shows when the newest events were cut off.

\b
  sealift custody custody/ --declaration declaration.toml --allowed-signers signers
  sealift custody custody/ --declaration declaration.toml --merge /mnt/anna/custody --merge /mnt/bo/custody
  sealift custody custody/ --declaration declaration.toml --checkpoint SEALIFT-CUSTODY:1:SL-2026-4F7K2Q:9:...

The text of this log's checkpoint goes to stdout, for a QR code; everything else is said on stderr. Exit 0: whole;
3: something is there that people must look at; 5: a digest or a signature does not hold.
"""


@click.command("custody", help=HELP, short_help="Who has which drive: check and merge custody logs.")
@click.argument("log", type=click.Path())
@click.option("--declaration", required=True, metavar="FILE", type=click.Path(), help="The shipment's declaration.")
@click.option("--merge", multiple=True, metavar="COPY", type=click.Path(), help="Take what this copy has. Repeated.")
@click.option("--checkpoint", multiple=True, metavar="TEXT", help="A QR code's text, which LOG must hold. Repeated.")
@click.option("--drive", metavar="SERIAL", help="Show the events of this drive alone, with its seals.")
@click.option("--final", is_flag=True, help="No more will come: every declared drive must have arrived.")
@common.allowed_signers_option
@common.json_option
@click.pass_context
def custody(
    context: click.Context,
    log: str,
    declaration: str,
    merge: tuple[str, ...],
    checkpoint: tuple[str, ...],
    drive: str | None,
    allowed_signers: str | None,
    *,
    final: bool,
    as_json: bool,
) -> None:
    """Merge, assess, and show."""
    from datetime import UTC, datetime

    from sealift.cli import custody_words as words
    from sealift.errors import BadInput
    from sealift.stages import custody as stage
    from sealift.trade import custody_event

    ground = stage.stand(log, declaration, common.load_allowed(allowed_signers), datetime.now(UTC))
    account, merged = stage.take_stock(ground, merge=merge, checkpoints=checkpoint, final=final)
    try:
        text = custody_event.qr_text(account.consignment_id, account.checkpoint)
    except BadInput as error:
        common.say(f"{error}; {error.hint}")
        text = None
    if merge:
        taken = f"{counted(merged.events, 'event')} and {counted(merged.signatures, 'signature')}"
        common.say(f"taken from copies: {taken}")
    if drive is None:
        words.show_account(account)
    else:
        words.show_drive(account, drive)
    if as_json:
        common.emit(
            {
                "consignment_id": account.consignment_id,
                "whole": account.exit_code == 0,
                "merged": {"events": merged.events, "signatures": merged.signatures},
                "checkpoint": {"events": account.checkpoint.events, "newest": account.checkpoint.newest, "text": text},
                "events": [words.event_answer(row) for row in account.rows],
                "drives": [words.drive_answer(drive) for drive in account.drives],
                "findings": [words.finding_answer(finding) for finding in account.findings],
            }
        )
    elif text is not None:
        click.echo(text)
    context.exit(account.exit_code)
