"""`sealift fleet`: which drives stand where, on all storage hosts, and whether all of them together are enough."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from sealift.cli import common
from sealift.cli.inspect import final_option, shipment_option
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealift.formats.hosts import HostRow
    from sealift.stages.fleet.locations import Written
    from sealift.stages.fleet.look import FleetDrive, FleetReport

HELP = """
Ask the storage hosts at URL... (those that run `sealift serve`) which drives they have, and say what is missing and
whether all of them together are enough. No key is needed.

Which drive is which, and whose signature it bears, is judged here from what the hosts serve. That packs are there, and
that they were read, is the hosts' word: their own inspect, and the reports of verify that they were given (--report).

\b
  sealift fleet https://storage-1:8443 https://storage-2:8443 --token-file token \\
      --ca-file ca.pem --seal SHIPMENT.seal --out fleet.toml
  sealift fleet --hosts hosts.toml --seal SHIPMENT.seal

With --out it writes a locations file, which is given in place of MNT... where the shipment is read. A host that does
not answer, redirects elsewhere or says what cannot be is named, and the others are used. What such a host had in the
file that is there stays in it, and a drive at the same address keeps its name.

Exit codes are those of inspect: 0 complete; 3 not complete, but enough to recover every byte; 6 not enough yet, no
seal, or no host answers; 4 some data is lost; 5 a signature or the seal does not hold.
"""


@click.command("fleet", help=HELP, short_help="Which drives stand on which storage host; no key.")
@click.argument("urls", nargs=-1, metavar="[URL]...")
@click.option("--hosts", metavar="FILE", type=click.Path(), help="A file that lists hosts, beside those given as URL.")
@click.option("--token-file", metavar="FILE", type=click.Path(), help="The token for hosts given as URL.")
@click.option("--ca-file", metavar="FILE", type=click.Path(), help="PEM: whose certificates count for these hosts.")
@common.allowed_signers_option
@common.seal_option
@shipment_option
@final_option
@click.option("--out", metavar="FILE", type=click.Path(), help="Write the locations file; what was there is kept.")
@common.json_option
@click.pass_context
def fleet(
    context: click.Context,
    urls: tuple[str, ...],
    hosts: str | None,
    token_file: str | None,
    ca_file: str | None,
    allowed_signers: str | None,
    seal: str | None,
    shipment: str | None,
    final: bool,
    out: str | None,
    as_json: bool,
) -> None:
    """Look, and show or print."""
    import msgspec

    from sealift.drives.locations import refuse_other_file
    from sealift.errors import BadInput
    from sealift.reading.trust import load_seal
    from sealift.stages.fleet import locations
    from sealift.stages.fleet.client import HostClient
    from sealift.stages.fleet.look import exit_code, look

    rows = _rows(urls, hosts, token_file, ca_file)
    clients = {client.url: client for client in map(HostClient, rows)}
    if len(clients) < len(rows):
        raise BadInput("a host is given twice", hint="give each host once")
    if out is not None and not os.path.isdir(os.path.dirname(out) or "."):
        raise BadInput(f"--out {out}: there is no such folder to write it in")
    if out is not None:
        refuse_other_file(out)
    report = look(
        list(clients.values()),
        allowed=common.load_allowed(allowed_signers) if allowed_signers else None,
        seal=None if seal is None else load_seal(seal),
        shipment=shipment,
        final=final,
        progress=lambda text: None if as_json else common.say(text),
    )
    written = None  # before anything is shown: who reads that may have left
    if out is not None and any(drive.standing == "member" for drive in report.drives):
        written = locations.write(out, report, {url: client.row for url, client in clients.items()})
    if as_json:
        common.emit(msgspec.to_builtins(report))
    else:
        with common.shown():
            _show(report)
    if out is not None and written is None:
        common.say(f"{out} was not written: no host serves a drive of the shipment")
    elif out is not None and written is not None:
        _told(out, written)
    context.exit(exit_code(report))


def _rows(urls: tuple[str, ...], hosts: str | None, token_file: str | None, ca_file: str | None) -> list[HostRow]:
    """The hosts of the arguments and of the file, paths in it as seen from here. BadInput."""
    from msgspec.structs import replace

    from sealift.errors import BadInput
    from sealift.formats import hosts as hosts_file
    from sealift.trade.signing import read_limited

    rows = []
    for url in urls:
        if ca_file and hosts_file.split_url(url)[0] != "https":
            raise BadInput(
                f"--ca-file {ca_file} beside {url}: without TLS nothing proves whose host that is, and the token could"
                " be read on the way",
                hint="its address with https://; hosts of both kinds go into a hosts file (--hosts)",
            )
        rows.append(hosts_file.HostRow(url=url, token_file=token_file or "", ca_file=ca_file or ""))
    if hosts is not None:
        folder = os.path.dirname(hosts)
        for row in hosts_file.parse(read_limited(hosts, hosts_file.MAX_FILE, "hosts file"), hosts).host:
            token, ca = (path and os.path.join(folder, path) for path in (row.token_file, row.ca_file))
            rows.append(replace(row, token_file=token, ca_file=ca))
    if not rows:
        raise BadInput("no host given", hint="URLs of hosts that run `sealift serve`, or --hosts FILE")
    if len(rows) > hosts_file.MAX_HOSTS:
        raise BadInput(f"{len(rows):,} hosts; at most {hosts_file.MAX_HOSTS:,} are allowed")
    return rows


def _told(out: str, written: Written) -> None:
    """What the locations file has of the one that was there."""
    common.say(f"wrote {out}" + (f"; what was there is {written.kept}" if written.kept else ""))
    for url, drives in written.held.items():
        common.say(_clean(f"{url} does not answer: its {counted(drives, 'drive')} in {out} stay there as before"))
    if written.dropped:
        some = ", ".join(written.dropped[: common.SHOWN])
        common.say(
            _clean(f"no longer in {out}, for no host that was asked serves a drive of the shipment there: {some}")
        )
    if written.notice:
        common.say(_clean(f"nothing was taken over from what was there: {written.notice}"))


_VERDICTS = {
    "complete": "complete: every drive of the sealed shipment stands on a host that answers, by name and length",
    "recoverable": "recoverable: not all is as it should be, but enough to recover every byte",
    "unseen": "unseen: not enough is here yet, or nobody can say that this is all",
    "lost": "LOST: not enough is here",
}


def _show(report: FleetReport) -> None:
    refused = report.signature is not None and not report.signature.ok
    echo = click.echo
    echo("REFUSED: a signature does not hold, by the allowed signers" if refused else _VERDICTS[report.state])
    seal = report.seal
    sealed = "no seal" if seal is None else f"consignment {seal.consignment}, sealed {seal.sealed_at}"
    read = "; every byte was read, says a report of each drive" if report.verified else ""
    echo(common.path_text(f"shipment {report.shipment}: {sealed}{read}".encode()))
    for host in report.hosts:
        name = f" ({host.name})" if host.name else ""
        trouble = f": {host.trouble}" if host.trouble else ""
        echo(_clean(f"{host.url}{name}: {counted(host.drives, 'drive')}{trouble}"))
        for drive in report.drives:
            if drive.host == host.url:
                echo(_clean(f"  {_line(drive, report.drives_total)}"))
    for group in report.groups:
        sizes = (group.total_bytes, group.readable_bytes, group.recoverable_bytes)
        total, readable, able = map(common.size_text, sizes)
        shape = f"group {group.group}: {group.data} + {group.parity} drives"
        echo(f"{shape}, {total} of data, {readable} readable, {able} recoverable")
        for row in group.missing:
            who = f"{row.drive} drive {row.number} of {report.drives_total}, serial {row.serial}"
            echo(_clean(f"  {who}, {row.carrier or 'no carrier'}: NOT HERE"))
    for notice in report.notices[: common.SHOWN]:
        echo(f"note: {_clean(notice)}")
    for line in _next(report):
        echo(f"next: {line}")


def _line(drive: FleetDrive, total: int) -> str:
    if drive.standing != "member":
        what = {"elsewhere": f"of shipment {drive.shipment}", "unidentified": "not to be placed"}
        return f"{drive.name}, {drive.mount}: {what.get(drive.standing, drive.standing)}; {drive.trouble}".rstrip("; ")
    where = f"{drive.drive} drive {drive.number} of {total}, serial {drive.serial}, {drive.carrier or 'no carrier'}"
    state = (
        f"read {drive.verified}" if drive.verified else "here, not read" if drive.inspected else "served, not looked at"
    )
    if drive.damaged:
        state = f"DAMAGED, {state}"
    health = f"; {drive.health.upper()}: {drive.health_why}" if drive.health in {"doubtful", "failing"} else ""
    return f"{where}, {drive.mount}: {state}{health}" + (f"; {drive.trouble}" if drive.trouble else "")


def _clean(text: str) -> str:
    return common.path_text(text.encode(errors="replace"))


def _next(report: FleetReport) -> Iterator[str]:
    if any(host.trouble for host in report.hosts):
        yield "see to the hosts that are named, and run this again"
    if report.seal is None:
        yield "give the seal (--seal FILE)"
    elif report.state == "unseen" and not report.final:
        yield "mount what is still to come, on any host, and run this again (--final when nothing more will come)"
    if any(drive.damaged for drive in report.drives):
        yield "reading rebuilds what is damaged; `sealift repair` on its host makes a drive whole"
    if report.state in {"complete", "recoverable"} and not report.verified:
        yield "`sealift verify --json` on a host reads every byte, and its `sealift serve --report FILE` passes it on"
