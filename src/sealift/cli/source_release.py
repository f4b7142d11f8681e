"""`sealift source-release`: may the source be freed? Thin: stages/source_release.py looks, and signs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common
from sealift.errors import BadInput
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from sealift.stages.source_release import Looked, Released
    from sealift.trade.receipt import Receiver
    from sealift.trade.signing import Signer

HELP = """
Say whether the source of a shipment may be freed, by the receivers' signed receipts (RECEIPT..., of all sites).

It may not, until receipts of exactly this seal say of every drive of every group that it is intact or rebuilt. Every
receipt that is given must hold; of each group the newest counts. What is missing is named group by group, and why.

\b
  sealift source-release inbox/*.receipt.json --seal SHIPMENT.seal --allowed-signers signers
  sealift source-release inbox/*.receipt.json --seal SHIPMENT.seal --allowed-signers signers \\
      --sign-with ~/.ssh/id_ed25519 --by "Dana Engineer" --organisation Kittiwake --contact dana@kittiwake.example

With --sign-with it writes, where nothing is missing, CONSIGNMENT.source-release.json and its signature: which seal,
which receipts, who says so, when. It deletes nothing. The allowed signers name the receivers' keys for namespace
sealift-receipt, and yours for sealift-source-release.

It looks at what was released since the seal, in the folder of --declaration; where that is not given, in this folder,
that of the seal and the one above.

Exit 0: it may be freed; 6: a group is not verified yet; 5: a receipt or the seal does not hold, the origin has signed
it itself, the declaration or one released since states a legal hold, a seal of a later revision lies beside it, or the
seal says that not all of the source is in the shipment, and --accept-missing does not say that this is known.
"""


@click.command(
    "source-release", help=HELP, short_help="Whether the source may be freed, by receipts.", no_args_is_help=True
)
@click.argument("receipts", nargs=-1, required=True, metavar="RECEIPT...", type=click.Path())
@common.sealed_option
@click.option(
    "--declaration", metavar="FILE", type=click.Path(), help="The shipment's declaration; later ones lie beside it."
)
@click.option("--sign-with", metavar="KEY", type=click.Path(), help="SSH key of who says so; else nothing is written.")
@click.option("--by", metavar="NAME", help="Who signs.")
@click.option("--organisation", metavar="NAME", help="For which organisation.")
@click.option("--contact", metavar="TEXT", help="How they are reached.")
@click.option(
    "--accept-missing", is_flag=True, help="Free it though the seal says that not all of it is in the shipment."
)
@common.custody_option
@click.option("--out", default=".", show_default=True, metavar="DIR", type=click.Path(), help="Where it is written.")
@common.allowed_signers_option
@common.json_option
@click.pass_context
def source_release(
    context: click.Context,
    /,
    receipts: tuple[str, ...],
    seal: str,
    declaration: str | None,
    custody: str | None,
    allowed_signers: str | None,
    out: str,
    *,
    accept_missing: bool,
    as_json: bool,
    **who: str | None,
) -> None:
    """Look, say, and sign."""
    from datetime import UTC, datetime

    from sealift.reading.trust import load_seal, open_seal
    from sealift.stages import source_release as stage

    allowed = common.load_allowed(allowed_signers)
    signs = _who(who)
    now = datetime.now(UTC)
    trusted = open_seal(load_seal(seal), allowed)
    looked = stage.look(
        trusted, receipts, allowed, now, seal=seal, declaration=declaration, custody=custody,
        accept_missing=accept_missing,
    )  # fmt: skip
    released = None
    if looked.may_be_freed and signs is not None:
        released = stage.release(looked, *signs, allowed, out, now)
    if as_json:
        common.emit(answer(looked, released))
    else:
        with common.shown():
            _show(looked)
    _say(looked, released)
    context.exit(5 if looked.objections else 6 if looked.lacking else 0)


def _who(given: dict[str, str | None]) -> tuple[Receiver, Signer] | None:
    """Who signs, and with which key; None where nobody does. BadInput for a part of it."""
    from sealift.trade.receipt import person
    from sealift.trade.signing import Signer

    missing = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if missing:
        raise BadInput(
            f"{', '.join(missing)} is not given: who signs says who they are, and with which key",
            hint="give --sign-with, --by, --organisation and --contact, or none of them to look only",
        )
    named = {name: str(value) for name, value in given.items()}
    return person(named["by"], named["organisation"], named["contact"]), Signer.open(named["sign_with"])


def answer(looked: Looked, released: Released | None) -> dict[str, Any]:
    """The JSON object."""
    import msgspec

    from sealift.trade import source_release as records

    seal = looked.ground.seal
    counted = records.counted(looked.receipts)
    return {
        "shipment": seal.shipment,
        "consignment_id": seal.consignment_id,
        "rehearsal": seal.rehearsal,
        "may_be_freed": looked.may_be_freed,
        "objections": looked.objections,
        "shortfall": msgspec.to_builtins(seal.shortfall) if seal.shortfall else None,
        "groups_total": len(seal.groups),
        "read_from": {way or "unsaid": number for way, number in records.ways(looked.receipts).items()},
        "lacking": [each._asdict() for each in looked.lacking],
        "receipts": [
            {
                "blake3": each.receipt.blake3,
                "at": each.at,
                "received_by": each.received_by.name,
                "organisation": each.received_by.organisation,
                "fingerprint": each.fingerprint,
                "groups": each.groups,
            }
            for each in counted
        ],
        "source_release": released.path if released else None,
        "new": released.new if released else False,
        "superseded": released.superseded if released else None,
        "fingerprint": released.statement.fingerprint if released else None,
    }


def _show(looked: Looked) -> None:
    seal = looked.ground.seal
    total = counted(len(seal.groups), "group")
    if seal.rehearsal:
        click.echo("REHEARSAL: these drives are no goods")
    head = f"{seal.consignment_id}, shipment {seal.shipment}"
    if looked.may_be_freed:
        click.echo(f"{head}: the source may be freed; receipts say of all drives of {total} that they were verified")
        if seal.shortfall:
            click.echo(f"  of the source {seal.shortfall.words}: with it that is gone, as was accepted")
        _show_ways(looked)
        return
    click.echo(f"{head}: the source is NOT to be freed")
    for why in looked.objections:
        click.echo(f"  {common.path_text(why.encode(errors='replace'))}")
    for each in looked.lacking[: common.SHOWN]:
        when = f" (receipt of {each.at})" if each.at else ""
        click.echo(f"  group {each.group}: {each.why}{when}")
    if (more := len(looked.lacking) - common.SHOWN) > 0:
        click.echo(f"  and {counted(more, 'more group')} (--json names all of them)")


_WAYS = {
    "cache": "through a cache of the host where they were mounted, and not from the medium alone",
    "network": "over a network, from a host or a bucket: what these read from, the receiver does not know",
    "": "in a way that the receipt does not say",
}


def _show_ways(looked: Looked) -> None:
    """How the drives were read, where that was not from their own media: who frees the source decides by it, too."""
    from sealift.trade import source_release as records

    for way, number in records.ways(looked.receipts).items():
        if way in _WAYS:
            click.echo(f"  {counted(number, 'drive')} of them read {_WAYS[way]}")


def _say(looked: Looked, released: Released | None) -> None:
    from sealift.trade import source_release as records

    say = common.say
    if not looked.declared:
        say("no declaration of the shipment lies here, beside the seal or above: nobody has looked whether one that")
        say("  was released since states a legal hold. --declaration FILE says where it lies")
    if released is not None:
        record = released.statement.record
        say(f"{'wrote' if released.new else 'unchanged:'} {released.path} and its signature, of {record.at}")
        if released.superseded:
            say(f"the one that was there is kept as {released.superseded}")
        say("sealift deletes no source: whoever does shows this statement, and looks first for what came into it since")
        say("it was listed, which is in no shipment")
    elif looked.may_be_freed:
        say("nothing was written; with --sign-with, --by, --organisation and --contact it is said and signed")
    elif looked.objections:
        if any(why.endswith(records.ONLY_THERE) for why in looked.objections):
            say("`sealift status --state DIR` names what was not sent, or not whole. Send it as a shipment of its own,")
            say("or keep it; with --accept-missing whoever signs frees it without that, and the statement says so")
        if any(why.endswith(records.AHEAD) for why in looked.objections):
            say(
                "of a receipt that is still to come, look at this host's clock and the receiver's. If theirs was ahead,"
            )
            say("they set it, move that receipt away, verify again and sign the next one; strike this one then")
        if any(not why.endswith(records.ONLY_THERE) for why in looked.objections):
            say("take out what is not of this seal, have what is damaged sent again; a receipt that does not hold")
            say("stops all")
    else:
        say("ask the receiver for a newer receipt: late drives verified, lost ones made again by sealift repair")
