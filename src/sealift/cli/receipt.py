"""`sealift receipt`: the receiver's signed statement of what arrived. Thin: stages/receive.py weighs and writes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common
from sealift.cli.inspect import final_option, load_parts
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from sealift.reading.trust import TrustedSeal
    from sealift.stages.receive import Made, Weighed
    from sealift.trade.discrepancy import Discrepancy

HELP = """
Sign what arrived: from the reports of verify (REPORT..., one or several of each host), against the shipment's seal.

Writes CONSIGNMENT.receipt.json and its signature: of every drive and group whether it is intact, rebuilt, lost or
unseen. It says no more than the reports do: what verify did not read to the end, under exactly this seal, is unseen.
Send it to the origin, which keeps the source until receipts say that everything was verified.

\b
  sealift verify /mnt/d* --seal SHIPMENT.seal --json > server1.json
  sealift receipt server1.json server2.json --seal SHIPMENT.seal --allowed-signers signers \\
      --sign-with ~/.ssh/id_ed25519 --by "Rui Dock" --organisation Petrel --contact dock@petrel.example

Where not everything is intact it prints a discrepancy report, and writes the form with which `sealift handover` records
it in the custody log. When a late drive has been verified, the same command with its report, too, makes the next
receipt; the one before is kept under a number. The allowed signers name your key for namespace sealift-receipt.
A carrier signs none: who that is, the declaration's contacts say, and the custody log (--custody), which also says who
had a drive on the way that is not as it was sent.

Exit 0: everything is intact or rebuilt; 3: something is damaged or lost, all data can be had; 4: some data cannot; 6:
not everything was read yet, and the receipt is partial; 5: the seal does not hold, is superseded by one of a later
revision beside it or on a drive, or the key may not sign it.
"""


@click.command("receipt", help=HELP, short_help="Sign what arrived, from the reports of verify.", no_args_is_help=True)
@click.argument("reports", nargs=-1, required=True, metavar="REPORT...", type=click.Path())
@common.sealed_option
@click.option("--sign-with", required=True, metavar="KEY", type=click.Path(), help="SSH key of the receiver.")
@click.option("--by", required=True, metavar="NAME", help="Who signs.")
@click.option("--organisation", required=True, metavar="NAME", help="For which organisation.")
@click.option("--contact", required=True, metavar="TEXT", help="How they are reached.")
@common.custody_option
@final_option
@click.option("--out", default=".", show_default=True, metavar="DIR", type=click.Path(), help="Where it is written.")
@common.allowed_signers_option
@common.json_option
@click.pass_context
def receipt(
    context: click.Context, /, allowed_signers: str | None, reports: tuple[str, ...], *, as_json: bool, **given: Any
) -> None:
    """Weigh, sign, and show or print what was said."""
    from datetime import UTC, datetime

    from sealift.reading.trust import load_seal, open_seal
    from sealift.stages import origin, receive
    from sealift.stages.seal_others import check_newest
    from sealift.trade import discrepancy, signing
    from sealift.trade.receipt import person
    from sealift.trade.signing import Signer

    allowed = common.load_allowed(allowed_signers)
    receiver = person(given["by"], given["organisation"], given["contact"])
    signer = Signer.open(given["sign_with"])
    trusted = open_seal(load_seal(given["seal"]), allowed)
    check_newest(given["seal"], trusted.declaration)
    now = datetime.now(UTC)
    weighed = receive.weigh(trusted, load_parts(reports, "report"), now, final=given["final"])
    made = receive.receive(
        trusted, weighed, receiver, signer, allowed, given["out"], now, seal=given["seal"], custody=given["custody"]
    )
    record = made.receipt.record
    hands = origin.hands(trusted, given["custody"], allowed, now)
    report = discrepancy.compare(trusted.seal, trusted.declaration, trusted.officer, record, weighed.why, hands)
    who = {"name": receiver.name, "org": receiver.organisation, "key": signer.public_key.fingerprint}
    form = discrepancy.form(report, who, weighed.why) if report else None
    path = None
    if form is not None:
        path = os.path.join(os.path.dirname(made.path), f"{record.consignment_id}.discrepancy.toml")
        if made.new or not os.path.lexists(path):
            signing.write_over(path, form.encode())
    if as_json:
        common.emit(answer(trusted, weighed, made, report, path))
    else:
        with common.shown():
            _show(made, report)
    _say(made, weighed, path, given["sign_with"])
    context.exit(_code(made, report))


def _code(made: Made, report: Discrepancy | None) -> int:
    from sealift.trade.receipt import VERIFIED

    record = made.receipt.record
    if report is None:
        return 0
    if any(group.state == "lost" for group in record.groups):
        return 4
    drives = [drive for group in record.groups for drive in group.drives]
    if len(record.groups) < record.groups_total or any(drive.state == "unseen" for drive in drives):
        return 6
    return 0 if all(drive.state in VERIFIED for drive in drives) else 3


def answer(
    trusted: TrustedSeal, weighed: Weighed, made: Made, report: Discrepancy | None, form: str | None
) -> dict[str, Any]:
    """The JSON object."""
    import msgspec

    from sealift.trade.receipt import is_whole

    record = msgspec.to_builtins(made.receipt.record)
    carriers = {drive.id: drive.carrier for group in trusted.seal.groups for drive in group.drives}
    for group in record["groups"]:
        for drive in group["drives"]:
            drive["carrier"] = carriers[drive["id"]]
            drive["read_at"] = drive["read_at"] or None
            drive["read_from"] = drive.get("read_from")
            drive["made_on"] = drive.get("made_on")
            drive["why"] = weighed.why.get(drive["id"])
    return {
        "receipt": made.path,
        "new": made.new,
        "superseded": made.superseded,
        "signer": made.receipt.principal,
        "fingerprint": made.receipt.fingerprint,
        "whole": is_whole(made.receipt.record),
        "shipment": record["shipment"],
        "consignment_id": record["consignment_id"],
        "rehearsal": record["rehearsal"],
        "at": record["at"],
        "reports": [each["blake3"] for each in record["reports"]],
        "groups_total": record["groups_total"],
        "drives_total": record["drives_total"],
        "groups": record["groups"],
        "notes": weighed.notes,
        "discrepancy": msgspec.to_builtins(report) if report else None,
        "form": form,
    }


def _show(made: Made, report: Discrepancy | None) -> None:
    from sealift.trade import discrepancy

    if report is not None:
        click.echo(discrepancy.as_text(report), nl=False)
        return
    record = made.receipt.record
    if record.rehearsal:
        click.echo("REHEARSAL: these drives are no goods")
    drives = counted(record.drives_total, "drive")
    click.echo(f"{record.consignment_id}, shipment {record.shipment}: all {drives} of it intact, every byte read")
    far = sum(drive.read_from == "network" for group in record.groups for drive in group.drives)
    if far:
        click.echo(f"{counted(far, 'drive')} of them read over a network, and not where they stand; it says so")


def _say(made: Made, weighed: Weighed, form: str | None, key: str) -> None:
    record, say = made.receipt.record, common.say
    say(f"{'wrote' if made.new else 'unchanged:'} {made.path} and its signature, by {made.receipt.principal}")
    if made.superseded:
        say(f"the receipt that was there is kept as {made.superseded}")
    if len(record.groups) < record.groups_total:
        say(f"partial: it speaks of {len(record.groups)} of {record.groups_total} groups")
    common.say_list((common.path_text(note.encode()) for note in weighed.notes), len(weighed.notes))
    if form:
        say(f"to record it in the custody log: fill in the place in {form}, then")
        say(f"  sealift handover LOG --event {form} --declaration DECLARATION --sign-with {key}")
    say("send both files to the origin: it keeps the source until receipts cover everything (sealift source-release)")
