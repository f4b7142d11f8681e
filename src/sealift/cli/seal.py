"""`sealift seal`: close a shipment. Thin: stages/seal.py checks and writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from sealift.stages.seal import Result

HELP = """
Close a shipment: bind all its manifests and its released declaration under one signature.

The seal is one small file, SHIPMENT.seal, to be sent ahead by network; without it nobody can say that a shipment is
complete, and nothing is unpacked. The indexes are put beside it. Drives that are still attached (MNT..., or
s3://BUCKET/PREFIX) get a copy.

It is refused while a group is not packed, while the declaration is not complete or not released by another person
than its author, while that release does not stand (a later revision was released or sealed, a later screening has a
hit that nobody has decided, a rule held when it was given), while the packed drives are not exactly the declared
ones, when a drive given here lacks packs, is a copy of another one, has small files that are not as they were signed
(they are read from the medium) or the seal of a later revision (all are looked at before one is written), when more
of a stripe than parity holds was missing or wrong, or a small file was on none of a group's drives, when these were
looked at last, by pack or seal, given here or not, and when another shipment was sealed under the same consignment
(a seal in --out, in --state or beside the declaration). Groups that were packed on several hosts are sealed together:
--state once for each. A return leg is sealed only with a key that the seal which it answers accepts.

\b
  sealift seal --state /var/lib/sealift/corpus --declaration declaration.toml \\
      --sign-with ~/.ssh/id_ed25519 --allowed-signers signers --out ~/outbox /mnt/d*

The allowed signers name the keys of the origin (namespace sealift) and of the officer (namespace sealift-release),
as the destination will. Sealing the same again changes nothing. Exit 0: sealed; 5: refused; 6: groups are missing.
"""


@click.command("seal", help=HELP, short_help="Close a shipment under its released declaration.", no_args_is_help=True)
@click.argument("mounts", nargs=-1, metavar="[MNT]...", type=click.Path())
@click.option(
    "--state",
    "states",
    required=True,
    multiple=True,
    metavar="DIR",
    type=click.Path(),
    help="State of pack; once a host.",
)
@click.option("--declaration", required=True, metavar="FILE", type=click.Path(), help="The released declaration.")
@click.option("--release", metavar="FILE", type=click.Path(), help="Its release; else the one beside it.")
@click.option("--sign-with", required=True, metavar="KEY", type=click.Path(), help="SSH key of the origin.")
@click.option("--out", metavar="DIR", type=click.Path(), help="Where the seal is written; else the state folder.")
@common.allowed_signers_option
@common.json_option
def seal(allowed_signers: str | None, *, as_json: bool, **given: Any) -> None:
    """Seal, and say what was sealed."""
    from sealift.stages import seal as stage

    common.load_allowed(allowed_signers)
    states, mounts = given.pop("states"), given.pop("mounts")
    options = stage.Options(states=list(states), mounts=list(mounts), allowed_signers=str(allowed_signers), **given)
    with common.Meter() as meter:
        result = stage.seal(
            options,
            meter.note,
            lambda done, total, drives: meter.update("reading small files", done, total, drives=drives),
        )
    if as_json:
        common.emit(answer(result))
    summarize(result)


def answer(result: Result) -> dict[str, Any]:
    """The JSON object."""
    record = result.seal
    return {
        "shipment": record.shipment,
        "consignment_id": record.consignment_id,
        "rehearsal": record.rehearsal,
        "in_reply_to": record.in_reply_to.consignment_id if record.in_reply_to else None,
        "seal": result.path,
        "sealed_at": record.sealed_at,
        "new": result.made,
        "superseded": result.superseded,
        "groups": len(record.groups),
        "drives_total": sum(len(group.drives) for group in record.groups),
        "officer": result.release.record.officer,
        "released_at": result.release.record.released_at,
        "fingerprint": result.signer,
        "indexes": result.indexes,
        "drives": [{"mount": mount, "drive": drive, "written": written} for mount, drive, written in result.drives],
    }


def summarize(result: Result) -> None:
    """What a person wants to know, and what to do next."""
    say = common.say
    record = result.seal
    drives = sum(len(group.drives) for group in record.groups)
    if record.rehearsal:
        say("REHEARSAL: these drives are not goods and do not leave")
    how = "sealed" if result.made else "was sealed already, with the same content"
    say(
        f"shipment {record.shipment}, consignment {record.consignment_id}: {counted(len(record.groups), 'group')},"
        f" {counted(drives, 'drive')}, {how} at {record.sealed_at}"
    )
    if record.in_reply_to:
        say(f"return leg in reply to {record.in_reply_to.consignment_id}")
    elif not record.return_:
        say("it names nobody for a leg home: fill in [return], release and seal again if something is to come back")
    say(f"released by {result.release.record.officer}, reference {result.release.record.reference}")
    say(f"send ahead: {result.path}, and the {counted(len(result.indexes), 'index file')} beside it")
    written = sum(one for *_, one in result.drives)
    if result.drives:
        say(f"{counted(len(result.drives), 'attached drive')} with the seal, {written} written now")
    if len(result.drives) < drives:
        say(f"{counted(drives - len(result.drives), 'drive')} not attached: the file serves for them")
