"""`sealift repair`: make again what is damaged or gone, from what is left; no key is needed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common
from sealift.cli.inspect import shipment_option
from sealift.errors import BadInput

if TYPE_CHECKING:
    from sealift.stages.repair_plan import RepairReport


HELP = """
Mend the drives mounted at MNT..., in any order, from what is left of their group; or rebuild a lost drive.

No key is needed. Every drive is read; damaged packs are written anew beside the old ones, each block proved against
what the origin signed, and only then take their place. Nothing is written where nothing is wrong. It may be
interrupted: the same command goes on.

\b
  sealift repair /mnt/d* --allowed-signers signers
  sealift repair /mnt/d* --allowed-signers signers --onto /mnt/new
                                       a lost drive, onto an empty one
  sealift repair /mnt/d* --allowed-signers signers --report verify.json
                                       where `sealift verify --json` has just read everything
  sealift repair /mnt/d* --allowed-signers signers --fetch-list > fetch.json
                                       more is lost than parity holds: what must be sent again

Exit 0: everything here is whole; 3: something is still wrong, all of it recoverable; 4: something is lost (all else
was mended); 6: more is lost than the drives here can give, and drives are missing that may; 5: signature or seal.
"""


@click.command("repair", help=HELP, short_help="Make again what is damaged or gone; no key.")
@click.argument("mounts", nargs=-1, required=True, metavar="MNT...")
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
    "--report",
    metavar="VERIFY.json",
    type=click.Path(),
    help="What verify --json said of these mounts, instead of reading them all again to find what is wrong.",
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
    allowed_signers: str | None,
    seal: str | None,
    shipment: str | None,
    onto: tuple[str, ...],
    report: str | None,
    dry_run: bool,
    fetch_list: bool,
    as_json: bool,
) -> None:
    """Run, and show or print the report."""
    from sealift.reading.trust import load_seal
    from sealift.stages import repair as stage
    from sealift.stages.repair_plan import Events
    from sealift.stages.verify_report import MAX_PART
    from sealift.trade.signing import read_limited

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
    with common.Meter() as meter:
        events = Events(
            progress=lambda what, done, total, drives: meter.update(what, done, total, drives=drives),
            notice=meter.note,
        )
        if fetch_list:
            _print_list(stage.fetch(mounts, events=events, **given))
            return
        result = stage.repair(mounts, onto=onto, dry_run=dry_run, events=events, **given)
    if as_json:
        common.emit(answer(result))
    else:
        _show(result)
    context.exit(stage.exit_code(result))


def _print_list(record: Any) -> None:
    from sealift.formats.fetch import encode_list

    click.echo(encode_list(record), nl=False)
    size = common.size_text(sum(pack.bytes for pack in record.packs))
    if record.packs:
        common.say(f"{common.counted(len(record.packs), 'pack')} ({size}) would make everything recoverable")
        common.say("`sealift pack --only` at the origin packs the files in them whole, which may be more than that")
    else:
        common.say("nothing need be sent again: everything can be recovered from what is here")


def answer(result: RepairReport) -> dict[str, Any]:
    """The JSON object."""
    import msgspec

    built: dict[str, Any] = msgspec.to_builtins(result)
    return built


_VERDICTS = {
    "whole": "whole: nothing is wrong, and nothing was written",
    "repaired": "repaired: everything on the drives here is as it was signed",
    "damaged": "not whole yet: all that is still wrong can be recovered",
    "lost": "LOST: more is gone than parity holds; what could be mended was, nothing else was touched",
    "missing": "more is missing than parity holds, and drives that are not here may have it; what could be mended was",
}


def _show(result: RepairReport) -> None:
    echo = click.echo
    if result.dry_run and result.repaired_files:
        echo("dry run: nothing was written")
    else:
        echo(_VERDICTS["missing" if result.state == "lost" and result.missing else result.state])
    would = "would be written" if result.dry_run else "written"
    by_drive = Counter[tuple[str, str]]()
    for each in result.repaired:
        by_drive[each.drive, each.mount] += each.bytes
    for (drive, mount), size in by_drive.items():
        files = sum((each.drive, each.mount) == (drive, mount) for each in result.repaired)
        whole = ", rebuilt whole" if drive in result.rebuilt else ""
        echo(f"  {drive} at {mount}: {common.counted(files, 'file')}, {common.size_text(size)} {would}{whole}")
    if len(result.repaired) < result.repaired_files:
        echo(f"  {result.repaired_files:,} files in all")
    for lost in result.lost[: common.SHOWN]:
        echo(f"  lost: {lost.drive} {lost.path}, blocks {lost.first} to {lost.last}")
    for fault in result.left[: common.SHOWN]:
        where = f" block {fault.block}" if fault.block is not None else ""
        text = f"  still wrong: {fault.drive} {fault.path or ''}{where}: {fault.kind}, {fault.detail}"
        echo(common.path_text(text.encode(errors="replace")))
    for many, what in ((len(result.lost), "lost"), (len(result.left), "still wrong")):
        if many > common.SHOWN:
            echo(f"  ... {many - common.SHOWN:,} more {what} (--json names them)")
    for group in result.short:
        echo(f"group {group}: so many drives are missing that what is here cannot give all of its contents")
    if result.missing:
        echo(f"missing: {', '.join(result.missing[:20])}")
    read, written = common.size_text(result.bytes_read), common.size_text(result.bytes_written)
    if result.dry_run:  # blocks are known once they are rebuilt
        if result.repaired_files:
            echo(f"repairing it would read about {read} and write {written}")
    else:
        blocks = common.counted(result.rebuilt_blocks, "block")
        echo(f"read {read} to rebuild {blocks}, {written} written, in {common.duration_text(result.seconds)}")
    _show_next(result)


def _show_next(result: RepairReport) -> None:
    if result.dry_run and result.repaired_files:
        click.echo("next: the same command without --dry-run")
    elif result.lost or result.short:
        fetch = "--fetch-list says what must be sent again"
        click.echo(f"next: mount the drives that are missing, or {fetch}" if result.missing else f"next: {fetch}")
    elif result.missing:
        click.echo("next: --onto MNT rebuilds a missing drive onto an empty one")
    elif result.state == "repaired":
        click.echo("next: sealift verify reads everything once more, from the medium")
