"""`sealift inspect`: what is here, what is not, and whether that is enough; no key is needed."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import click

from sealift.cli import common
from sealift.cli.drive_lines import (
    ALL_SAID,
    AWAY,
    BLOCKS,
    clean,
    far_of,
    is_no_drive,
    is_uncounted,
    of_several,
    show_groups,
    why_of,
)
from sealift.cli.gone_words import (
    SENT_AGAIN,
    is_nobodys,
    is_silent,
    of_failing,
    of_no_drive,
    of_nobodys,
    of_seal,
    of_signature,
    of_silent,
    of_strange,
    of_twins,
    of_unidentified,
    unidentified,
)
from sealift.cli.hanging import Watch
from sealift.reading.survey_views import BARE, SEVERAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sealift.stages.verify_report import Fault, InspectReport, Present, VerifyReport

shipment_option = click.option(
    "--shipment", metavar="ID", help="The shipment that is expected, where there is no seal to say so."
)
part_option = click.option(
    "--part",
    "parts",
    metavar="OTHER.json",
    type=click.Path(),
    multiple=True,
    help="What --json printed on another host, for the drives that stand there. May be repeated.",
)
final_option = click.option("--final", is_flag=True, help="No more drives will come: those not seen count as lost.")


HELP = """
Say what is on the drives mounted at MNT..., in any order, what is missing by name, and whether it is enough.

Looks at names and lengths only, so it takes seconds; `sealift verify` reads every byte. No key is needed.
MNT may be an address, too (https://HOST/PATH/, s3://BUCKET/PREFIX), or a locations file, which lists many.

\b
  sealift inspect /mnt/d* --seal SHIPMENT.seal

Of a return leg it says which shipment it answers; with --in-reply-to SEAL also whether it is the answer to that
one, signed by somebody whom it accepts, and exit 5 if it is not.

Exit 0 complete (only a seal can say that); 3 not complete, but enough to recover every byte; 6 not enough yet, or
no seal; 4 some data is lost whatever comes, or not enough is here and --final says that no more will come; 5 a
signature or the seal does not hold, or the seal is another shipment's.
"""


@click.command("inspect", help=HELP, short_help="What is here, missing, recoverable; no key.")
@click.argument("mounts", nargs=-1, required=True, metavar="MNT...")
@common.allowed_signers_option
@common.seal_option
@common.in_reply_to_option
@shipment_option
@part_option
@final_option
@common.json_option
@click.pass_context
def inspect(
    context: click.Context,
    mounts: tuple[str, ...],
    allowed_signers: str | None,
    seal: str | None,
    in_reply_to: str | None,
    shipment: str | None,
    parts: tuple[str, ...],
    final: bool,
    as_json: bool,
) -> None:
    """Run, and show or print the report."""
    from sealift.reading.origin_copies import OriginCopies
    from sealift.reading.trust import load_seal
    from sealift.stages.inspect import inspect as run
    from sealift.stages.verify_report import exit_code, to_json

    outbound, later = common.load_outbound(in_reply_to, allowed_signers)
    with Watch(common.say):
        report = run(
            mounts,
            allowed=common.load_allowed(allowed_signers) if allowed_signers else None,
            seal=None if seal is None else load_seal(seal),
            shipment=shipment,
            parts=load_parts(parts),
            final=final,
            outbound=outbound,
            later=later,
            origin=OriginCopies(seal),
        )
    if as_json:
        common.emit(to_json(report))
    else:
        with common.shown():
            _show(report)
    context.exit(exit_code(report))


def _show(report: InspectReport) -> None:
    show_head(report, REFUSED if is_refused(report) else _verdict(report))
    if report.answers is not None:
        click.echo(clean(f"answers {report.answers.consignment}, signed by {report.answers.signer}, whom it accepts"))
    show_groups(report)
    for line in next_steps(report):
        click.echo(f"next: {line}")
    if is_refused(report):
        click.echo("next: see whose signatures --allowed-signers names")


def load_parts(paths: Sequence[str], what: str = "--part") -> list[tuple[str, bytes]]:
    """Names and contents of the reports in files, given as `what`; BadInput when one cannot be read."""
    from sealift.stages.verify_report import MAX_PART
    from sealift.trade.signing import read_limited

    return [(path, read_limited(path, MAX_PART, what)) for path in paths]


_VERDICTS = {
    "complete": "complete: every drive of the sealed shipment is here, by name and length",
    "recoverable": "recoverable: not complete, but enough to recover every byte",
    "unseen": "unseen: not enough is here yet, or nobody can say that this is all",
    "lost": "LOST: not enough is here, and no more will come",
}
_STRANGE = {"foreign", "replayed"}  # a drive that is none of this shipment's as it was sealed


REFUSED = "REFUSED: a signature or the seal does not hold, by the allowed signers"
UNSIGNED = "UNSIGNED: no drive here has the signature of a manifest, which counts, since the seal that holds names it"


def _verdict(report: InspectReport) -> str:
    if only_unsigned(report) and report.state not in {"lost", "unseen"}:
        return UNSIGNED
    away = any(fault.kind == AWAY for fault in report.faults)
    if report.state == "recoverable" and not away and not any(group.missing for group in report.groups):
        return "recoverable: every drive is here, not all of it as it should be, and enough to recover every byte"
    if only_gone(report) or only_folders(report):
        return ONLY_GONE if only_gone(report) else ONLY_FOLDERS
    if report.state == "lost" and not report.final:
        return "LOST: some data cannot be recovered, whatever is still to come"
    return _VERDICTS[report.state]


def next_steps(report: InspectReport | VerifyReport) -> Iterator[str]:
    """What the one who stands there is to do; nothing where there is nothing to do."""
    from sealift.stages.verify_names import HALF
    from sealift.stages.verify_report import VerifyReport

    yield from of_signatures(report)
    strange = {fault.mount for fault in report.faults if fault.kind in _STRANGE}
    far = far_of(report)
    if of_several(report):
        yield f"give the seal of the shipment that is meant (--seal FILE): {SEVERAL}"
    for mount in sorted(strange)[: 0 if of_several(report) else common.SHOWN]:
        what = f"leave {clean(mount)} away" if mount in far else f"pull {clean(mount)}"
        yield f"{what}: it does not belong to this shipment as it was sealed"
    yield from _pull([fault for fault in report.faults if fault.kind in ALL_SAID], far, alone=not strange)
    yield from map(clean, islice(of_silent(report.faults), common.SHOWN))
    failing = list(_failing(report))
    yield from map(of_failing, failing[: common.SHOWN])
    yield from _see_to_hosts(report)
    yield from _see_there(report)
    away = {fault.mount for fault in report.faults if fault.kind == AWAY}
    yield from _see_to_files(report)
    for drive in _bare(report)[: common.SHOWN]:
        yield clean(f"{drive.mount} holds most packs of {drive.drive}. {BARE}")
    if report.state == "lost" and not away and not only_gone(report):
        yield from _sent_again(report, "if it stays so, " if failing else "")
    elif report.state == "unseen" and not report.final and _is_more_to_come(report, away):
        yield from map(clean, _replaced(report))
        if report.seal is None:
            yield clean(of_seal(report.faults))
        lost = isinstance(report, VerifyReport) and any(host.unknown for host in report.hosts)
        come = "then mount what is still not here" if lost else "mount what is still to come"
        yield f"{come} and run this again (--final when nothing more will come)"
    yield from _of_brought(report)
    yield from _of_unidentified(report)
    spoken = {id(fault) for faults in (*_unsigned(report).values(), _brought(report)) for fault in faults}
    untold = unidentified(report.faults)
    faults = [
        fault
        for fault in report.faults
        if id(fault) not in spoken
        and fault.mount not in strange | untold
        and not (is_no_drive(fault) or is_silent(fault))
        and fault.kind != AWAY
    ]
    for fault in [fault for fault in report.faults if is_no_drive(fault)][: common.SHOWN]:
        yield clean(of_no_drive(fault.mount or "", fault.detail))
    yield from map(clean, of_nobodys(report.faults))
    yield from map(clean, of_twins(fault for fault in faults if fault.kind == "conflict"))
    if any(fault.kind in {"undeclared", "two-manifests"} for fault in faults):
        yield "ask the origin about what is undeclared or signed twice, before you go on"
    yield from _of_mending(report, faults, far)
    if halves := [fault for fault in faults if fault.detail == HALF]:
        parts = f"{len(halves):,} of its parts (NAME.part)" if len(halves) > 1 else f"{clean(halves[0].path or '')}"
        yield f"an interrupted write left {parts}: `sealift repair` goes on, and removes what is left of it"
    if any(_is_unnamed(fault) for fault in faults if fault not in halves):
        yield "nobody signed what is unexpected: move it away, if it is not known to you"
    if report.state == "recoverable" and any(group.missing and BLOCKS not in group.gone for group in report.groups):
        unknown = away - {drive.mount for group in report.groups for drive in group.present}
        if unknown and sum(len(group.missing) for group in report.groups) <= len(unknown):
            yield "unpack and training do without what was not reached; nothing of it is to be repaired"
        else:
            yield "unpack and training do without what is not here; `sealift repair --onto MNT` makes it anew"


def _sent_again(report: InspectReport | VerifyReport, first: str) -> Iterator[str]:
    """How what is lost is to be had; of a group without any drive nobody here can name a pack."""
    from sealift.stages.fetch_check import ALL_LOST

    if only_folders(report):
        yield f"{first}unpack restores every file, and folders by the index: nothing need be sent again for it"
        return
    nobody = [group for group in report.groups if not group.present]
    if len(nobody) == sum(group.recoverable_bytes < group.total_bytes for group in report.groups):
        yield f"{first}unpack restores the rest; {ALL_LOST}. {SENT_AGAIN}"
        return
    yield (
        f"{first}`sealift repair --fetch-list` says what must be sent again; unpack restores the rest and names the"
        f" lost. {SENT_AGAIN}"
    )
    if nobody:
        yield ALL_LOST


def _brought(report: InspectReport | VerifyReport) -> list[Fault]:
    """What is of no use in folders to which packs were brought, and is neither damaged nor to be mended."""
    from sealift.reading.survey_views import STRANGE_PACKS
    from sealift.stages.verify_bags import MIXED, NO_FILE

    return [each for each in report.faults if each.detail in {STRANGE_PACKS, NO_FILE} or each.detail.endswith(MIXED)]


def _of_brought(report: InspectReport | VerifyReport) -> Iterator[str]:
    """How each such folder is to be brought instead."""
    from sealift.stages.verify_bags import MIXED, NO_FILE, ONE_FOLDER

    first: dict[str, Fault] = {}
    for fault in _brought(report):
        first.setdefault(fault.mount or "", fault)
    for mount, fault in islice(first.items(), common.SHOWN):
        if fault.detail.endswith(MIXED):
            yield f"{clean(mount)}: {MIXED}: {ONE_FOLDER}"
        else:
            yield clean(of_strange(mount, fault.path or "", no_file=fault.detail == NO_FILE))


def _of_unidentified(report: InspectReport | VerifyReport) -> Iterator[str]:
    """What to do with drives that nothing tells which they are."""
    missing = any(group.missing for group in report.groups)
    lost = any(group.recoverable_bytes < group.total_bytes for group in report.groups)
    for mount in sorted(unidentified(report.faults))[: common.SHOWN]:
        yield of_unidentified(clean(mount), missing=missing, lost=lost)


def _of_mending(report: InspectReport | VerifyReport, faults: Sequence[Fault], far: set[str]) -> Iterator[str]:
    """Who mends those of these faults that can be mended."""
    copies = {drive.mount for group in report.groups for drive in group.present if drive.in_bucket}
    mended = [
        fault
        for fault in faults
        if fault.kind not in _NOT_MENDED or (fault.kind == "unexpected" and not _is_unnamed(fault))
    ]
    as_they_read = report.state == "recoverable" and not any(group.spare or group.gone for group in report.groups)
    drives = [fault for fault in mended if not _is_bucket(fault.mount, copies)]
    if as_they_read and any(fault.mount not in far for fault in drives):
        yield "unpack and training rebuild what is damaged as they read; `sealift repair` makes the drives whole"
    elif as_they_read and drives:  # nothing is written there from here, and the host may be at fault
        yield (
            "unpack and training rebuild what is damaged as they read; where `sealift verify` on that host finds it, "
            "too, `sealift repair` there makes the drive whole"
        )
    if report.state == "recoverable" and any(_is_bucket(fault.mount, copies) for fault in mended):
        yield (
            "in the bucket: where a second `sealift verify` finds the same (the way to the store may be at fault, and "
            "not the objects), remove those that are not as they were signed; then `sealift ingest --packs` to the "
            "same place, from the drives or from these copies, writes what is not there; until then unpack and "
            "training rebuild it as they read"
        )


def _failing(report: InspectReport | VerifyReport) -> Iterator[str]:
    """The drives here whose medium failed, and where each is; of packs that were brought, where they lie."""
    bad = {(fault.drive, fault.mount, fault.part) for fault in report.faults if fault.did_not_read}
    for group in report.groups:
        for drive in group.present:
            if (drive.drive, drive.mount, drive.part) in bad:
                where = f"{drive.mount} ({drive.part})" if drive.part else drive.mount
                yield clean(where if drive.apart else f"{drive.drive} (serial {drive.serial}) at {where}")


def _replaced(report: InspectReport | VerifyReport) -> Iterator[str]:
    """Media in the place of which drives were rebuilt that lack something which nothing here gives."""
    for group in report.groups:
        for drive in group.present if group.recoverable_bytes < group.total_bytes else ():
            if drive.stands_in and (drive.damage or drive.lacks):
                yield (
                    f"{drive.drive} was rebuilt, and lacks what nothing here gives: the medium on which it was packed,"
                    f" serial {drive.serial}, may have it"
                )


def _see_to_files(report: InspectReport | VerifyReport) -> Iterator[str]:
    """Where to have a file that every drive of a group carries, when none here has it as it was signed."""
    from sealift.cli.gone_words import of_gone, of_spare
    from sealift.reading.origin_copies import PATTERNS, name_of

    for group in report.groups:
        for name in group.spare:
            yield of_spare(group.group, name, name_of(group.group, name))
        for name in group.gone:
            sent = name_of(group.group, name) if name in PATTERNS else ""
            yield of_gone(group.group, name, sent, missing=bool(group.missing))


def _see_to_hosts(report: InspectReport | VerifyReport) -> Iterator[str]:
    """What is to be done where a host, or the way to it, did not give what was asked for."""
    from sealift.stages.verify_report import VerifyReport

    away = [fault for fault in report.faults if fault.kind == AWAY]
    why = {fault.mount: why_of(fault).rpartition(": ")[2] for fault in reversed(away)}  # the first, as the drive's line
    if why and report.state not in {"intact", "complete"}:
        told = [f"{clean(mount)} ({clean(why[mount])})" for mount in sorted(why)[:5]]
        more = f" and {len(why) - 5:,} more" if len(why) > 5 else ""
        counts = ": what was read counts" if isinstance(report, VerifyReport) else ""
        yield f"see to the host or the way to {', '.join(told)}{more}, and run the same command again{counts}"


def _see_there(report: InspectReport | VerifyReport) -> Iterator[str]:
    """What is to be done where bytes that came from a host are not those that were signed."""
    far = sorted({d.mount for group in report.groups for d in group.present if d.damage and d.at and not d.in_bucket})
    if far:
        more = f" and {len(far) - 5:,} more" if len(far) > 5 else ""
        yield (
            f"see to the host of {', '.join(map(clean, far[:5]))}{more}: it, or the way to it, may be at fault and "
            "not the drive; `sealift verify` on that host tells"
        )


def _bare(report: InspectReport | VerifyReport) -> list[Present]:
    """Places with most packs of a drive that is missing, and with nothing else of it: it may be that one."""
    return [
        drive
        for group in report.groups
        for drive in group.present
        if drive.bag
        and any(row.drive == drive.drive for row in group.missing)
        and 2 * len({stripe for stripe, _, _ in drive.damage}) < group.stripes
    ]


def _is_more_to_come(report: InspectReport | VerifyReport, away: set[str]) -> bool:
    """Whether more drives are missing than places that do not tell which drive they are, or nobody can say."""
    here = {drive.mount for group in report.groups for drive in group.present}
    missing = sum(len(group.missing) for group in report.groups)
    untold = (away - here) | {fault.mount for fault in report.faults if is_nobodys(fault)}
    untold |= {drive.mount for drive in _bare(report)}
    return not untold or report.seal is None or missing > len(untold)


def _unsigned(report: InspectReport | VerifyReport) -> dict[int, list[Fault]]:
    """Groups of which every drive here lacks the signature, though a seal names their manifest; and those faults."""
    bad = [fault for fault in report.faults if fault.path == "manifest.json.sig"]
    return {
        group.group: [fault for fault in bad if fault.mount in {drive.mount for drive in group.present}]
        for group in report.groups
        if report.seal is not None and group.present and {d.mount for d in group.present} <= {f.mount for f in bad}
    }


def of_signatures(report: InspectReport | VerifyReport) -> Iterator[str]:
    """Of each such group what to do."""
    missing = {group.group: bool(group.missing) for group in report.groups}
    for number, faults in _unsigned(report).items():
        yield of_signature(number, missing=missing[number])
        why = {fault.detail for fault in faults}
        if len(why) == 1 and "allowed signers" in (only := min(why)):
            yield clean(f"or see whose signatures --allowed-signers names: on each of these drives it is {only}")


def is_refused(report: InspectReport | VerifyReport) -> bool:
    """Whether a signature does not hold, and more than that no drive has it."""
    return report.signature is not None and not report.signature.ok and not only_unsigned(report)


def only_unsigned(report: InspectReport | VerifyReport) -> bool:
    """Whether signatures that no drive has are all that does not hold: a seal that does names what they were over."""
    sealed = report.seal is not None and report.seal.trusted
    return sealed and report.signature is not None and not report.signature.ok and bool(_unsigned(report))


def only_strange(report: InspectReport | VerifyReport) -> bool:
    """Whether nothing is wrong with what was signed: other mounts and files are among it, and that is all."""
    strange = {fault.mount for fault in report.faults if fault.kind in _STRANGE or is_no_drive(fault)}
    strange |= unidentified(report.faults)
    whole = not any(group.missing or any(drive.damage for drive in group.present) for group in report.groups)
    return whole and all(fault.mount in strange or _is_unnamed(fault) for fault in report.faults)


def only_empty(report: InspectReport | VerifyReport) -> bool:
    """Whether nothing is wrong but that there is no drive in some of the places that were given."""
    return only_strange(report) and all(map(is_no_drive, report.faults))


ONLY_GONE = "LOST, unless a copy is found of a file that every drive of a group carried, and none here has"


def only_gone(report: InspectReport | VerifyReport) -> bool:
    """Whether that is lost and nothing else: a file that every drive carries; the packs may be whole."""
    nobodys = any(map(is_nobodys, report.faults))
    rest = [group for group in report.groups if not (is_uncounted(group) or (nobodys and not group.present))]
    enough = all(group.recoverable_bytes == group.total_bytes and not group.unrecoverable for group in rest)
    return report.state == "lost" and enough and (nobodys or any(group.gone for group in report.groups))


ONLY_FOLDERS = "LOST: no file's content; names and times of folders, which unpack has from the index"


def only_folders(report: InspectReport | VerifyReport) -> bool:
    """Whether all that is lost are packs that hold directories and no file, and the indexes are here."""
    lost = [group for group in report.groups if group.recoverable_bytes < group.total_bytes]
    known = report.groups_total == len(report.groups) and not any(group.gone for group in report.groups)
    return report.state == "lost" and bool(lost) and known and all(group.only_folders for group in lost)


def _is_bucket(mount: str, copies: set[str]) -> bool:
    return mount in copies or mount.startswith("s3://")


def _pull(faults: Sequence[Fault], far: set[str], *, alone: bool) -> Iterator[str]:
    """Which drives are not the ones that were signed, told at once: who pulls one of them is to pull the others, too.

    `alone`: no other drive is to be pulled.
    """
    mounts = list(dict.fromkeys(fault.mount for fault in faults))
    near, away = ([clean(each) for each in mounts if (each in far) == there] for there in (False, True))
    what = [f"pull {_listed(near)}"] * bool(near) + [f"leave {_listed(away)} away"] * bool(away)
    only = f", and only {'that' if len(mounts) == 1 else 'these'}" if alone else ""
    if len(mounts) == 1:
        yield from (f"{what[0]}{only}: {clean(fault.detail)}" for fault in faults)
    elif mounts:
        why = [f"{clean(fault.mount)}: {clean(fault.detail)}" for fault in faults[: common.SHOWN]]
        yield f"{', and '.join(what)}{only}; " + "; ".join(why)


def _listed(names: Sequence[str]) -> str:
    """A and B; A, B and C; of very many the first, and how many more."""
    if len(names) > common.SHOWN:
        return f"{', '.join(names[: common.SHOWN])} and {len(names) - common.SHOWN:,} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _is_unnamed(fault: Fault) -> bool:
    """Something beside what was signed, and not in its place; or a listing that came to no end."""
    return fault.kind == "unexpected" and (fault.path == "" or fault.detail.endswith("that the manifest does not name"))


_NOT_MENDED = {"unexpected", "conflict", *ALL_SAID, "undeclared", "two-manifests", *_STRANGE}


def show_head(report: InspectReport | VerifyReport, verdict: str) -> None:
    """The verdict, the seal and the signature, a line each."""
    click.echo(verdict)
    for line in of_several(report):
        click.echo(clean(line))
    seal = report.seal
    if seal is not None:
        kind = "REHEARSAL, " if seal.rehearsal else ""
        by = f"by {seal.signer}, released by {seal.officer}" if seal.trusted else "by nobody that was checked"
        kind += f"return leg in reply to {seal.in_reply_to}, " if seal.in_reply_to else ""
        line = f"shipment {report.shipment}: {kind}consignment {seal.consignment}, sealed {seal.sealed_at} {by}"
        click.echo(clean(line))
        if (newer := seal.superseded_by) is not None:
            what = (
                f"SUPERSEDED: {newer.mount} has a seal that holds, of revision {newer.revision}, in place of this one"
            )
            click.echo(clean(f"{what}: give that (--seal {newer.mount}); nothing is received or freed by this one"))
        if seal.shortfall is not None:
            click.echo(seal.shortfall.told)
    else:
        click.echo(f"shipment {report.shipment or 'unknown'}: NO SEAL, so whole groups may be missing unnoticed")
    if only_unsigned(report):
        if verdict != UNSIGNED:
            click.echo(UNSIGNED)
    elif is_refused(report):
        click.echo("SIGNATURE DOES NOT HOLD: do not trust these drives")
