"""`sealift documents`: all papers of a shipment. Thin: stages/documents.py does the work."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from sealift.stages.documents import Result

HELP = """
Write all papers of the shipment in DECLARATION to a new folder, as PDF/A.

Always: invoice, packing list, a hand-carry sheet for each carrier, end-use statement, red-flag worksheet with the
release. Where every drive comes back (customs.temporary): the general list for an ATA carnet, and the same as CSV. Of
the screening beside the declaration: its report. Every paper shows the whole shipment: all carriers, all parties, and
totals that agree to the gram and to the smallest unit of every currency.

\b
  sealift documents declaration.toml --to draft
  sealift documents declaration.toml --to papers --allowed-signers signers --seal SHIPMENT.seal
  sealift documents declaration.toml --to arrived --allowed-signers signers --seal SHIPMENT.seal \\
      --custody custody/ --receipt SL-2026-4F7K2Q.receipt.json \\
      --certificate erased/S6CANX0T000001-20261121T090210Z.certificate.json

DRAFT lies across every page until a release holds for exactly this declaration: with --allowed-signers the one that
`sealift release` wrote beside it, or that of the seal; and where a later screening, a later revision or a rule that
held when it was given speaks against it, every paper is a draft and says so. A record whose signature does not hold
makes no paper. An invoice is pro-forma, with values for customs alone; say --invoice commercial where the drives are
sold. Exit 0: written, or nothing was; 5: a record does not hold, or is of another shipment.
"""


@click.command("documents", help=HELP, short_help="All papers of a shipment, as PDF.", no_args_is_help=True)
@click.argument("declaration", type=click.Path())
@click.option("--to", required=True, metavar="DIR", type=click.Path(), help="Folder for them, which must not exist.")
@click.option(
    "--invoice",
    type=click.Choice(["pro-forma", "commercial"]),
    default="pro-forma",
    show_default=True,
    help="Whether the drives are sold (commercial) or not.",
)
@click.option("--rules", metavar="RULES", type=click.Path(), help="Rules of the release, where not those shipped.")
@common.seal_option
@click.option("--custody", metavar="LOG", type=click.Path(), help="Custody log: a form with its code for each event.")
@click.option(
    "--receipt",
    "receipts",
    multiple=True,
    metavar="FILE",
    type=click.Path(),
    help="Receipt: a certificate for each drive that was verified; with --seal a report of the others. Repeated.",
)
@click.option(
    "--certificate",
    "certificates",
    multiple=True,
    metavar="FILE",
    type=click.Path(),
    help="Certificate of an erased drive, its log beside it. Repeated.",
)
@common.allowed_signers_option
@common.json_option
def documents(declaration: str, to: str, allowed_signers: str | None, *, as_json: bool, **given: Any) -> None:
    """Make the papers, and say which."""
    from sealift.stages import documents as stage
    from sealift.trade import declaration as declarations
    from sealift.trade import signing

    data = signing.read_limited(declaration, declarations.MAX_BYTES, "declaration")
    parsed = declarations.parse(data, draft=True)
    signed = any(given[name] for name in ("seal", "custody", "receipts", "certificates"))
    allowed = common.load_allowed(allowed_signers) if signed or allowed_signers else None
    release = common.release_beside(declaration, parsed, allowed_signers)
    sources = stage.Sources(
        declaration_file=declaration,
        declaration=parsed,
        release=release,
        now=datetime.now(UTC),
        allowed=allowed,
        **given,
    )
    result = stage.documents(sources, to)
    summarize(result, to)
    if as_json:
        common.emit(answer(result, to))


def answer(result: Result, folder: str) -> dict[str, Any]:
    """The JSON object."""
    frame = result.frame
    return {
        "folder": folder,
        "consignment_id": frame.declaration.consignment_id,
        "revision": frame.declaration.revision,
        "blake3": frame.declaration.digest,
        "rehearsal": frame.declaration.rehearsal,
        "released": frame.release is not None,
        "against": list(frame.against),
        "prepared_on": frame.day.isoformat(),
        "papers": [paper._asdict() for paper in result.papers],
        "left_out": [{"paper": paper, "why": why} for paper, why in result.left_out],
        "marked_cells": result.marked,
    }


def summarize(result: Result, folder: str) -> None:
    """What a person wants to know."""
    for why in result.frame.against:
        common.say(f"the release does not stand: {why}")
    if result.frame.against:
        common.say("these papers are drafts, and say so")
    elif result.frame.release is None:
        common.say("no checked release: these papers are drafts, and say so")
    for paper, why in result.left_out:
        common.say(f"not written: {paper} ({why})")
    if result.marked:
        cells = counted(result.marked, "cell")
        common.say(f"{cells} of the CSV would have been a formula to a spreadsheet, and begin with an apostrophe")
    for written in result.papers:
        common.say(f"  {written.file}")
    named = result.frame.declaration.consignment_id
    common.say(f"wrote {folder}: {counted(len(result.papers), 'paper')} of {named}")
