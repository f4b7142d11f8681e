"""`sealift verify`: read every byte of every drive, and say which one to pull; no key is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sealift.cli import common
from sealift.cli.drive_lines import show_groups
from sealift.cli.gone_words import lacks_seal, of_seal
from sealift.cli.inspect import (
    ONLY_FOLDERS,
    ONLY_GONE,
    REFUSED,
    UNSIGNED,
    final_option,
    is_refused,
    load_parts,
    next_steps,
    of_signatures,
    only_empty,
    only_folders,
    only_gone,
    only_strange,
    only_unsigned,
    part_option,
    shipment_option,
    show_head,
)

if TYPE_CHECKING:
    from sealift.stages.verify_report import VerifyReport


HELP = """
Read every byte of the drives mounted at MNT..., in any order, and say what is damaged and which drive to pull.

No key is needed. Everything is compared with what the origin signed, from the medium and not from a cache, all
drives at once. It may be interrupted: the same command goes on. Nothing on a drive is changed. MNT may be
an address, too (https://HOST/PATH/, s3://BUCKET/PREFIX), or a locations file, which lists many.

\b
  sealift verify /mnt/d* --allowed-signers signers --seal SHIPMENT.seal
  sealift verify /mnt/d* --allowed-signers signers --part other.json
                                       drives in two hosts, one verdict
  sealift verify --ray auto '/mnt/d*' --allowed-signers signers --seal SHIPMENT.seal
                                       every host of a Ray cluster reads its own

Exit 0 intact; 3 damaged or short, all recoverable; 4 something is lost; 5 a signature or the seal does not hold, or the
seal is another shipment's; 6 drives are still to come (with --final they count as lost).
"""


@click.command("verify", help=HELP, short_help="Read and check every byte of every drive; no key.")
@click.argument("mounts", nargs=-1, metavar="MNT...")
@common.ray_option
@common.allowed_signers_option
@common.seal_option
@shipment_option
@part_option
@final_option
@click.option(
    "--state",
    metavar="FILE",
    type=click.Path(),
    help="Where to remember what was found good, so that the same command goes on where it was interrupted."
    "  [default: $XDG_STATE_HOME/sealift/verify/SHIPMENT]",
)
@click.option("--again", is_flag=True, help="Forget what an interrupted run found good, and begin anew.")
@common.json_option
@click.pass_context
def verify(
    context: click.Context,
    mounts: tuple[str, ...],
    address: str | None,
    allowed_signers: str | None,
    seal: str | None,
    shipment: str | None,
    parts: tuple[str, ...],
    final: bool,
    state: str | None,
    again: bool,
    as_json: bool,
) -> None:
    """Run, and show or print the report."""
    from sealift.reading.origin_copies import OriginCopies
    from sealift.reading.trust import load_seal
    from sealift.stages.placement import place
    from sealift.stages.verify_hosts import verify_on
    from sealift.stages.verify_report import exit_code, to_json

    if address is None and not mounts:
        raise click.UsageError("MNT is missing: the folders in which drives are mounted")
    with common.Meter() as meter, place(address, meter.note) as hosts:
        report = verify_on(
            hosts,
            mounts,
            allowed=common.load_allowed(allowed_signers),
            seal=None if seal is None else load_seal(seal),
            shipment=shipment,
            parts=load_parts(parts),
            final=final,
            state=state,
            again=again,
            origin=OriginCopies(seal),
            events=common.placed_events(meter, address),
        )
    if as_json:
        common.emit(to_json(report))
    else:
        with common.shown():
            _show(report)
    context.exit(exit_code(report))


_VERDICTS = {
    "intact": "intact: every drive is here, and every byte is as it was signed",
    "recoverable": "recoverable: something is damaged or gone, and everything can be recovered from what is left",
    "unseen": "unseen: not everything was seen yet",
    "lost": "LOST: some data cannot be recovered",
}


def _read_from(report: VerifyReport) -> str:
    """Past which caches it was read: no read of a store or of another host goes through the cache here."""
    here = [drive for group in report.groups for drive in group.present if drive.part is None]
    if here and all(drive.in_bucket for drive in here):
        return "from the store"
    if report.read_from == "medium":
        return "from medium and store" if any(drive.in_bucket for drive in here) else "from the medium"
    far = here and all(drive.at for drive in here)
    return "from other hosts" if far else "through the cache: no direct reads here"


def _verdict(report: VerifyReport) -> str:
    if only_unsigned(report) and report.state not in {"lost", "unseen"}:
        return UNSIGNED
    if report.state == "recoverable" and only_strange(report):
        among = "something else stands or lies among it"
        rest = "in a place that was given there is no drive" if only_empty(report) else among
        return f"recoverable: every byte is as it was signed, and {rest}"
    if report.state == "recoverable" and any(group.spare for group in report.groups):
        return "recoverable: what is damaged or gone can be had from what is left, and from what lies beside the seal"
    if only_folders(report):
        return ONLY_FOLDERS
    return ONLY_GONE if only_gone(report) else _VERDICTS[report.state]


_SEAL = "the seal that was sent ahead (--seal FILE), which names the manifests: their signature is gone"


def _show(report: VerifyReport) -> None:
    refused = is_refused(report)
    show_head(report, REFUSED if refused else _verdict(report))
    show_groups(report)
    common.show_hosts(report.hosts, "read")
    resumed = (
        f"; {common.size_text(report.bytes_resumed)} were read before the interruption" if report.bytes_resumed else ""
    )
    where = _read_from(report)
    took = common.duration_text(report.seconds)
    click.echo(f"read {common.size_text(report.bytes_read)} {where} in {took}{resumed}")
    if refused:
        if report.seal is None and lacks_seal(report.faults):
            click.echo(f"next: {common.path_text(of_seal(report.faults).encode(errors='replace'))}")
        for line in of_signatures(report):
            click.echo(f"next: {line}")
        why = {fault.kind for fault in report.faults if fault.path == "manifest.json.sig"}
        gone = report.seal is None and why == {"missing"}
        what = f"give {_SEAL}" if gone else "see whose signatures --allowed-signers names"
        unread = "" if all(group.trusted for group in report.groups) else "; what nobody trusted signed was not read"
        click.echo(f"next: {what}{unread}")
        return
    for line in next_steps(report):
        click.echo(f"next: {line}")
