"""`sealift audit`: every record of a shipment in one bundle, and what a bundle holds. Thin: stages/audit.py does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from sealift.stages.audit import Verified

HELP = """
Put every record of a shipment into one bundle, or verify one: offline, with the bundle and the allowed signers alone.

PAPER is a file or a folder: a declaration (what lies beside it by its name is found by itself: revisions, releases,
screenings, keys, rules), SHIPMENT.seal, a custody log, receipts, releases of the source, certificates with their logs,
folders of drives or of pack's state (manifests), PDFs. Lists, photographs and reports of verify are taken where a
record names their digests. A record is known by what it says, whatever its name; its signatures and a seal's files by
their names beside it, and the log of an erasure by its bytes. What is of no use in a folder is left out, and so is
what else sealift wrote, such as a worksheet. The return leg's papers go in beside the others: a bundle may have
several declarations.

The bundle is a plain tar archive with a signed index, audit.json, and OPEN-ME.txt, which says how to check all of it
with tar, b3sum and ssh-keygen. SIGNERS goes into it, and lets KEY sign in namespace sealift-audit.

\b
  sealift audit declaration.toml sent/*.seal custody/ receipts/ erased/ papers/ \\
      --to SL-2026-4F7K2Q.audit.tar --sign-with ~/.ssh/id_ed25519 --allowed-signers signers
  sealift audit --verify SL-2026-4F7K2Q.audit.tar --allowed-signers signers

Verified are every digest, every signature in its namespace at the time that its record states, what records bind of
each other, and the rules of the house: released by another person than the author through an open gate, screened and
proved in time, sealed as declared, handed over after the release, received by others than the origin, freed and erased
only after the receipts. Whatever does not hold is named by file; so is every drive of which nobody says what became of
it. A shipment under way is verified too: what is not due yet is told, and is no fault.

Exit 0: everything holds; 5: something does not; 3: people must look at something; 6: a record names another that is
not here. A bundle is written in any case, and its exit code says the same.
"""


@click.command("audit", help=HELP, short_help="One bundle of every record; verified offline.", no_args_is_help=True)
@click.argument("papers", nargs=-1, metavar="[PAPER]...", type=click.Path())
@click.option("--to", metavar="BUNDLE", type=click.Path(), help="Write the bundle here; nothing may be there.")
@click.option("--sign-with", metavar="KEY", type=click.Path(), help="SSH key of who makes the bundle.")
@click.option("--verify", metavar="BUNDLE", type=click.Path(), help="Verify this bundle.")
@common.allowed_signers_option
@common.json_option
@click.pass_context
def audit(
    context: click.Context,
    papers: tuple[str, ...],
    to: str | None,
    sign_with: str | None,
    verify: str | None,
    allowed_signers: str | None,
    *,
    as_json: bool,
) -> None:
    """Make or verify, and say what was found."""
    from datetime import UTC, datetime

    from sealift.stages import audit as stage
    from sealift.trade.signing import Signer

    if (verify is None) == (to is None) or (verify is not None and (papers or sign_with)):
        raise click.UsageError("PAPER... --to BUNDLE --sign-with KEY makes one, --verify BUNDLE alone verifies one")
    allowed, now = common.load_allowed(allowed_signers), datetime.now(UTC)
    if verify is not None:
        verified = stage.verify_file(verify, allowed, now)
        more: dict[str, Any] = {"bundle": verify}
    else:
        if to is None or sign_with is None or not papers:
            raise click.UsageError("a bundle is made of PAPER..., and wants --to BUNDLE and --sign-with KEY")
        made = stage.make(papers, to, Signer.open(sign_with), str(allowed_signers), allowed, now)
        verified = made.verified
        more = {"bundle": made.path, "bytes": made.bytes, "blake3": made.blake3, "left_out": made.left_out}
        more["damaged"] = made.damaged
        if made.damaged:
            common.say(f"{counted(len(made.damaged), 'file')} damaged before they came here:")
            common.say_list(made.damaged, len(made.damaged))
        if made.left_out:
            common.say(f"{counted(made.left_out_total, 'file')} left out:")
            common.say_list(made.left_out, made.left_out_total)
    if as_json:
        common.emit(more | answer(verified))
    summarize(verified)
    if verify is None:
        common.say(f"written: {more['bundle']}, {common.size_text(more['bytes'])}, BLAKE3 {more['blake3']}")
    context.exit(verified.exit_code)


def answer(verified: Verified) -> dict[str, Any]:
    """The JSON object of what was verified."""
    index, signer = verified.index, verified.signer
    return {
        "made_at": index.made_at if index else None,
        "signed_by": signer.principal if signer else None,
        "fingerprint": signer.fingerprint if signer else None,
        "shipments": index.shipments if index else [],
        "files": len(verified.files),
        "whole": verified.exit_code == 0,
        "holds": verified.holds,
        "findings": [finding._asdict() for finding in verified.findings],
    }


_WORDS = (
    ("wrong", "DOES NOT HOLD"),
    ("look", "to be looked at"),
    ("missing", "named by a record, and not here"),
    ("pending", "not here yet, and no fault"),
)


def summarize(verified: Verified) -> None:
    """What holds, and then what does not, by file."""
    index, signer = verified.index, verified.signer
    if index is not None and signer is not None:
        who = f"{signer.principal} ({signer.fingerprint})"
        common.say(f"{counted(len(verified.files), 'file')}, put together at {index.made_at} by {who}")
    for line in verified.holds:
        common.say(f"  {line}")
    for state, words in _WORDS:
        found = verified.of(state)  # type: ignore[arg-type]
        if found:
            common.say(f"{words}:")
            common.say_list((f"{each.file}: {each.text}" for each in found), len(found))
    if verified.exit_code == 0:
        common.say("everything that is here holds")
