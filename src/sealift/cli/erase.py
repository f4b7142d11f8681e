"""`sealift erase`: erase drives whose data has arrived, and certify each. Thin: stages/erase.py does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common, drives_words, erase_words
from sealift.errors import BadInput, SignatureInvalid

if TYPE_CHECKING:
    from sealift.stages.erase import Plan
    from sealift.stages.erase_certify import Settings
    from sealift.trade.certificate import Method

HELP = """
Erase each drive NAME, once its data has verifiably arrived, and write a certificate for each.

NAME is what `sealift drives` shows: the serial number that the drive tells; of one that tells none, where it is found,
of a loop device its file. Such a drive is the one that the drive.json on it names; where there is none,
--serial NAME=SERIAL says what its label reads. --yes repeats NAME.

Without --yes it shows what would be done to which drive, by which command, what stands on it, and what speaks against
it; nothing is written. A drive is erased only if the receiver's signed receipt says that its group is intact or
rebuilt, and a released declaration says legal_hold = "none"; a later one that lies beside it, a draft too, must not
state a hold. Nothing goes around either. Disks of this host, mounted drives and drives on which something else stands
are refused, as by `sealift drives prepare`.

purge is the drive's own sanitize operation (nvme, hdparm). clear is zeros over every byte; --technique discard or
ata-security-erase clears in another way. A command that returned is not enough: the drive's own status must say that
it is done, and markers that were written before, at places drawn at random, must be gone. Each command and its answer
is in a log beside the certificate.

\b
  sealift erase ZL2A0001 ZL2A0002 --receipt SL-2026-X.receipt.json --declaration declaration.toml
  ... --yes ZL2A0001 --yes ZL2A0002 --key ~/.ssh/id_ed25519 --certificates erased/ \\
      --by "Dana Dock" --title "dock technician" --place Lisbon --contact dana@petrel.example

An erase that was stopped left a log and no certificate: the same command begins anew. Exit 0: all are erased and
certified (without --yes: nothing speaks against it); 3: some failed, and have no certificate; 5: refused, or not all
confirmed, and nothing was written.
"""
_FOR_CERTIFICATE = {
    "key": "--key KEY",
    "folder": "--certificates DIR",
    "by": "--by NAME",
    "title": "--title TEXT",
    "place": "--place TEXT",
    "contact": "--contact TEXT",
}


@click.command("erase", help=HELP, short_help="Erase drives that have arrived, with a certificate each.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--receipt",
    "receipts",
    metavar="FILE",
    type=click.Path(),
    multiple=True,
    required=True,
    help="The receiver's receipt; its signature is FILE.sig. Repeated for each.",
)
@click.option(
    "--declaration",
    "declarations",
    metavar="FILE",
    type=click.Path(),
    multiple=True,
    required=True,
    help="The shipment's declaration; later ones of it as well. Repeated for each.",
)
@common.allowed_signers_option
@click.option(
    "--method",
    type=click.Choice(["clear", "purge"]),
    metavar="METHOD",
    default="purge",
    show_default=True,
    help="clear or purge.",
)
@click.option("--technique", metavar="NAME", help="Another way than the best one that reaches the method.")
@click.option(
    "--read-back",
    type=click.Choice(["sample", "full"]),
    metavar="MODE",
    default="sample",
    show_default=True,
    help="sample: places drawn at random; full: every byte, of what leaves zeros.",
)
@click.option(
    "--serial",
    "serials",
    metavar="NAME=SERIAL",
    multiple=True,
    help="What the label says, of a drive that does not tell it itself. Repeated for each.",
)
@click.option("--yes", metavar="NAME", multiple=True, help="That the drive NAME may be erased. Repeated for each.")
@click.option("--key", metavar="KEY", type=click.Path(), help="SSH key that signs the certificates.")
@click.option("--certificates", "folder", metavar="DIR", type=click.Path(), help="Where certificates and logs go.")
@click.option("--by", metavar="NAME", help="Who erases: a person's name.")
@click.option("--title", metavar="TEXT", help="What that person is.")
@click.option("--place", metavar="TEXT", help="Where it is done.")
@click.option("--contact", metavar="TEXT", help="How to reach that person.")
@click.option("--destination", metavar="TEXT", default="", help="Where the drives go next.")
@common.json_option
@click.pass_context
def erase(
    context: click.Context,
    /,
    names: tuple[str, ...],
    receipts: tuple[str, ...],
    declarations: tuple[str, ...],
    allowed_signers: str | None,
    method: Method,
    serials: tuple[str, ...],
    yes: tuple[str, ...],
    *,
    as_json: bool,
    **given: Any,
) -> None:
    """Show; and with --yes check, erase and certify."""
    from datetime import UTC, datetime

    from sealift.stages import erase as stage
    from sealift.stages import erase_papers
    from sealift.trade.certificate import NAMESPACE

    settings = _settings(method, given) if yes else None
    allowed = common.load_allowed(allowed_signers)
    papers = erase_papers.load(receipts, declarations, allowed, datetime.now(UTC))
    _known(given["technique"])
    plans = stage.survey(
        names,
        papers,
        method=method,
        technique=given["technique"],
        read_back=given["read_back"],
        serials=common.parse_serials(serials),
        folder=given["folder"],
    )
    drives_words.show_losses([plan.candidate for plan in plans])
    erase_words.show_plans(plans)
    if settings is None:
        _dry(context, plans, method, as_json=as_json)
        return
    stage.check(plans, yes=yes)
    if not allowed.allows(settings.signer.public_key, NAMESPACE, papers.now):
        raise SignatureInvalid(
            f"nothing was written: {given['key']}: the allowed signers do not accept this key for {NAMESPACE}",
            hint="nobody could check its certificates: a line of allowed signers names who may sign them",
        )
    with common.Meter() as meter:
        erased = stage.erase(
            plans,
            papers,
            settings,
            progress=lambda done, total: meter.update("erasing", sum(done.values()), sum(total.values()), drives=done),
        )
    if as_json:
        common.emit(erase_words.answer(plans, method, erased))
    else:
        erase_words.show_erased(erased)
    context.exit(5 if any(each.refused for each in erased) else 3 if any(each.fault for each in erased) else 0)


def _dry(context: click.Context, plans: list[Plan], method: Method, *, as_json: bool) -> None:
    if as_json:
        common.emit(erase_words.answer(plans, method))
    else:
        erase_words.show_dry(plans)
    context.exit(5 if any(plan.objections for plan in plans) else 0)


def _settings(method: Method, given: dict[str, Any]) -> Settings:
    """Who signs, and where the papers go; everything that is missing is named at once."""
    from sealift.formats import strict
    from sealift.stages.erase_certify import Settings, check_folder
    from sealift.trade.signing import Signer

    missing = [shown for name, shown in _FOR_CERTIFICATE.items() if not (given[name] or "").strip()]
    if missing:
        raise BadInput("a certificate needs more: " + ", ".join(missing), hint="without --yes nothing is erased")
    for name in ("by", "title", "place", "contact", "destination"):
        if strict.unprintable(given[name]) or len(given[name]) > 256:
            raise BadInput(f"--{name}: one line of printable text of at most 256 characters is wanted")
    signer = Signer.open(given["key"])
    check_folder(given["folder"])
    return Settings(
        signer=signer, folder=given["folder"], method=method, name=given["by"].strip(), title=given["title"].strip(),
        place=given["place"].strip(), contact=given["contact"].strip(), destination=given["destination"].strip(),
    )  # fmt: skip


def _known(technique: str | None) -> None:
    if technique is None:
        return
    from sealift.drives.sanitize import TECHNIQUES
    from sealift.formats.strict import meant

    if technique not in TECHNIQUES:
        hint = "one of " + ", ".join(sorted(TECHNIQUES))
        raise BadInput(f"--technique {technique}: there is none of that name{meant(technique, TECHNIQUES)}", hint=hint)
