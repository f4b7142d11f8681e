"""`sealift repair`: make again what is damaged or gone, from what is left; no key is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common
from sealift.cli.inspect import shipment_option
from sealift.errors import BadInput
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from sealift.stages.repair_plan import RepairReport


HELP = """
Mend the drives mounted at MNT..., in any order, from what is left of their group; or rebuild a lost drive.

No key is needed. Every drive is read (but with --onto and --report); damaged packs are written anew beside the old
ones, each block proved against what the origin signed, and only then take their place. Nothing is written where nothing
is wrong. It may be interrupted: the same command goes on.

A report says where to read: what it names is read again, of everything else names and lengths are looked at. Whether
the rest still is as it was when the report was made, nobody has looked then; --fetch-list says so where it rests on it.

\b
  sealift repair /mnt/d* --allowed-signers signers
  sealift repair /mnt/d* --allowed-signers signers --onto /mnt/new
                                       a lost drive, onto an empty one; the others are read as far as that needs
  sealift repair /mnt/d* --allowed-signers signers --report verify.json
                                       where `sealift verify --json` has just read everything
  sealift repair /mnt/d* --allowed-signers signers --fetch-list > fetch.json
                                       more is lost than parity holds: what must be sent again
  sealift repair /mnt/d3 fleet.toml --allowed-signers signers
                                       one drive here; those of its group that stand in other hosts are read there
  sealift repair --ray auto '/mnt/d*' /etc/sealift/fleet.toml --allowed-signers signers
                                       every host of a Ray cluster mends its own, and reads the others over HTTP by the
                                       locations file that it has there

Exit 0: everything that was looked at is whole, or the lost drive is rebuilt, or the fetch list is made; 3: something is
still wrong, or another drive missing, all of it recoverable (a drive that could not be written is named; the others
were mended); 4: something is lost (all else was mended); 6: more is lost than the drives here can give, and drives are
missing that may, or stand in hosts that do not give it now (they are named); or of a group of the seal no drive is
here, though those that are may be whole; 5: a signature or the seal does not hold, or it is another shipment's.
"""


@click.command("repair", help=HELP, short_help="Make again what is damaged or gone; no key.")
@click.argument("mounts", nargs=-1, metavar="MNT...")
@common.ray_option
@common.allowed_signers_option
@common.seal_option
@shipment_option
@click.option(
    "--onto",
    metavar="[ID=]MNT",
    type=click.Path(),
    multiple=True,
    help="Rebuild a missing drive onto an empty one; ID (g0s3) says which, if several are. May be repeated.",
)
@click.option(
    "--allow-same-filesystem", is_flag=True, help="Take a folder as MNT of --onto, whatever is mounted: scratch use."
)
@click.option(
    "--report",
    metavar="FILE.json",
    type=click.Path(),
    help="What verify --json said of these mounts, or what reading met (health), instead of reading all of them first.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be read and written, and write nothing.")
@click.option(
    "--fetch-list",
    is_flag=True,
    help="Print which packs must be sent again, missing drives taken as lost, and mend nothing.",
)
@common.json_option
@click.pass_context
def repair(
    context: click.Context,
    mounts: tuple[str, ...],
    address: str | None,
    allowed_signers: str | None,
    seal: str | None,
    shipment: str | None,
    onto: tuple[str, ...],
    allow_same_filesystem: bool,
    report: str | None,
    dry_run: bool,
    fetch_list: bool,
    as_json: bool,
) -> None:
    """Run, and show or print the report."""
    from sealift.cli.repair_words import show
    from sealift.reading.origin_copies import OriginCopies
    from sealift.reading.trust import load_seal
    from sealift.stages import repair as stage
    from sealift.stages.placement import place
    from sealift.stages.repair_hosts import repair_on
    from sealift.stages.repair_plan import Events
    from sealift.stages.verify_report import MAX_PART
    from sealift.trade.signing import read_limited

    if address is None and not mounts:
        raise click.UsageError("MNT is missing: the folders in which drives are mounted")
    if fetch_list and address is not None:
        raise BadInput(
            "--fetch-list is made in one place, and --ray works in many",
            hint="sealift repair LOCATIONS --fetch-list, with the locations file of the drives (`sealift fleet --out`)",
        )
    if fetch_list and (onto or dry_run):
        raise BadInput("--fetch-list mends nothing", hint="leave --onto and --dry-run away")
    if onto and report:
        raise BadInput("--report says what to mend, --onto rebuilds another drive", hint="give one of the two")
    given: dict[str, Any] = {
        "allowed": common.load_allowed(allowed_signers),
        "seal": None if seal is None else load_seal(seal),
        "shipment": shipment,
        "report": None if report is None else (report, read_limited(report, MAX_PART, "--report")),
    }
    written: dict[str, Any] = {
        "onto": onto,
        "dry_run": dry_run,
        "allow_same_filesystem": allow_same_filesystem,
        "origin": OriginCopies(seal),
    }
    with common.Meter() as meter:
        if fetch_list:
            events = Events(
                progress=lambda what, done, total, drives: meter.update(what, done, total, drives=drives),
                notice=meter.note,
            )
            _print_list(stage.fetch(mounts, events=events, origin=written["origin"], **given), report)
            return
        with place(address, meter.note) as hosts:
            told = common.placed_events(meter, address)
            result = repair_on(hosts, mounts, events=told, **written, **given)
    if as_json:
        common.emit(answer(result))
    else:
        show(result, _refusal(mounts, onto) if dry_run else None)
    context.exit(stage.exit_code(result))


def _refusal(mounts: tuple[str, ...], onto: tuple[str, ...]) -> BadInput | None:
    """Why the same command without --dry-run would write nothing at all."""
    from sealift.stages.repair_plan import check_mounted

    try:
        check_mounted(mounts, onto, dry_run=False)
    except BadInput as error:
        return error
    return None


def _print_list(record: Any, report: str | None) -> None:
    """The list, and on what it rests: of packs that `report` does not name it has the word, and nothing was read."""
    from sealift.cli.gone_words import SENT_AGAIN
    from sealift.formats.fetch import encode_list

    click.echo(encode_list(record), nl=False)
    size = common.size_text(sum(pack.bytes for pack in record.packs))
    if record.packs:
        common.say(f"{counted(len(record.packs), 'pack')} ({size}) would make everything recoverable")
        common.say(
            "those that still are somewhere: each under its path into FOLDER/sealift/, one folder for each drive, given"
            " as mounts more"
        )
        common.say("`sealift pack --only` at the origin packs the files in them whole, which may be more than that")
        common.say(SENT_AGAIN)
    elif report is None:
        of = f"every byte of the packs of {counted(len(record.groups), 'group')}"
        common.say(f"no pack need be sent again: {of} can be recovered from what is here")
    else:
        common.say("no pack need be sent again of what was looked at")
    if report is not None:
        common.say(
            f"that rests on {common.path_text(report.encode(errors='surrogateescape'))}: the stripes that it names were"
            " read, and of all other packs names and lengths were looked at; whether these still hold what they held"
            " when it was made, nobody has looked: without --report, every byte is read"
        )


def answer(result: RepairReport) -> dict[str, Any]:
    """The JSON object."""
    import msgspec

    built: dict[str, Any] = msgspec.to_builtins(result)
    return built
