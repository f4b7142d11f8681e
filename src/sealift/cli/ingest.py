"""`sealift ingest`: the destination's copy, as files or as packs, into a folder or a bucket."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common, reading
from sealift.cli import unpack as words
from sealift.errors import BadInput
from sealift.formats.sizes import counted, rate_text

if TYPE_CHECKING:
    from sealift.stages.ingest import Result as Packs
    from sealift.stages.unpack import Result as Files

_ALTERED = (
    "where a copy of a drive is not as it was signed, remove that file or object, and this command writes it anew;"
    " else "
)
_FEW = 5  # names of what stands there beside
HELP = """
Copy what the drives at MNT... hold to where the destination keeps things: as files, or with --packs as they are.

MNT is where a drive is mounted, an address (https://HOST/PATH/, s3://BUCKET/PREFIX), or a locations file. What is
missing or rotten is rebuilt from parity on the way. Nothing is written over: what is there already and is the same
counts as there, and anything else is named and left. Stopped, the same command goes on, on this host or another: what
is done is noted at the destination.

\b
  sealift ingest /mnt/d* --to s3://corpus/2026 --identity key.txt --allowed-signers signers --seal SHIPMENT.seal
                                       each file an object, checked against the signed index before it appears
  sealift ingest /mnt/d* --to s3://drives/2026 --packs --allowed-signers signers --seal SHIPMENT.seal --out in-s3.toml
                                       each drive as it is, ciphertext, without a key; in-s3.toml is then read like MNT

\b
  sealift ingest --ray auto '/mnt/d*' --to s3://drives/2026 --packs --allowed-signers signers --seal SHIPMENT.seal
                                       every host of a Ray cluster copies the drives that stand there

Into a folder, files go as `sealift unpack` puts them. Keys for a bucket are taken from AWS_ACCESS_KEY_ID and its like,
the address of a store that is not Amazon's from AWS_ENDPOINT_URL.

An ingest frees no source: verify the drives, or what --packs has made of them, and sign a receipt.

Exit 0: all there; 1: the destination did not take something (something else stands there), or failed; 2: all there, but
for what no bucket can hold, or files that had changed while they were packed; 3: all there, and some was rebuilt; 4:
something cannot be had, each is named; 6: drives are not here yet that are needed, or hosts that have them do not
answer: run again with them.
"""


@click.command("ingest", help=HELP, short_help="Copy into a folder or a bucket, as files or as packs.")
@click.argument("mounts", nargs=-1, metavar="MNT...")
@common.ray_option
@click.option("--to", "target", required=True, metavar="DIR|s3://BUCKET/PREFIX", help="Where to copy to.")
@click.option("--packs", is_flag=True, help="Copy the drives as they are: gGsS beneath --to is one drive each; no key.")
@click.option(
    "--identity",
    "identities",
    metavar="FILE",
    type=click.Path(),
    multiple=True,
    help="For files: identity that opens the shipment. May be repeated.",
)
@common.keys_option
@common.allowed_signers_option
@common.seal_option
@click.option(
    "--path",
    "patterns",
    multiple=True,
    metavar="GLOB",
    help="For files: only what matches, `*` crosses folders. May be repeated.",
)
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(),
    help="With --packs: write a locations file; what else was there is kept.",
)
@common.json_option
@click.pass_context
def ingest(
    context: click.Context,
    mounts: tuple[str, ...],
    address: str | None,
    target: str,
    packs: bool,
    identities: tuple[str, ...],
    keys: str | None,
    allowed_signers: str | None,
    seal: str | None,
    patterns: tuple[str, ...],
    out: str | None,
    as_json: bool,
) -> None:
    """Run, and show or print what came of it."""
    from sealift.drives import locations

    if locations.is_store(target) and not target.lower().startswith("s3://"):
        raise BadInput(f"--to {target}: nothing is written over HTTP", hint="give a folder, or s3://BUCKET/PREFIX")
    if address is None and not mounts:
        raise click.UsageError("MNT is missing: the folders in which drives are mounted")
    if address is not None and not packs:
        raise BadInput(
            "--ray copies packs where their drives stand, and files would take keys to the hosts of drives",
            hint="--packs with it; or files by a host that may have keys: sealift ingest LOCATIONS --keys FILE, with "
            "the locations file of the drives (`sealift fleet --out`) and what `sealift unlock` issued",
        )
    if packs and (identities or keys or patterns):
        raise BadInput("--packs copies ciphertext as it is", hint="leave --identity, --keys and --path away")
    if not packs and not identities:
        raise BadInput(
            "files are not opened without an identity", hint="--identity FILE, or --packs to copy ciphertext"
        )
    if out is not None and not packs:
        raise BadInput("--out names the drives that --packs makes", hint="leave it away")
    if out is not None and not os.path.isdir(os.path.dirname(out) or "."):
        raise BadInput(f"--out {out}: there is no such folder to write it in")
    if packs:
        context.exit(_packs(mounts, address, target, allowed_signers, seal, out, as_json=as_json))
    context.exit(_files(mounts, target, (identities, keys), allowed_signers, seal, patterns, as_json=as_json))


def _files(
    mounts: tuple[str, ...],
    target: str,
    opened: tuple[tuple[str, ...], str | None],
    allowed_signers: str | None,
    seal: str | None,
    patterns: tuple[str, ...],
    *,
    as_json: bool,
) -> int:
    from sealift.stages import unpack as stage

    options = stage.Options(
        list(mounts),
        target,
        reading.read_identities(opened[0]),
        reading.read_allowed(allowed_signers),
        reading.load_seal(seal),
        list(patterns),
        keys=opened[1],
    )
    result = words.run(options, "copying")
    if as_json:
        answer = words.answer_of(result)
        del answer["reply_signer"]
        answer["there"] = result.there
        answer["skipped"] = [{**common.path_fields(path), "reason": reason} for path, reason in result.skipped]
        answer["foreign"] = _foreign_of(result)
        common.emit(answer)
    words.tell(result, target)
    _tell_files(result)
    _tell_foreign(result, target)
    incomplete = 2 if result.changed or result.skipped else 0
    return _code(result, waits=result.waits, otherwise=incomplete)


def _tell_files(result: Files) -> None:
    if result.there:
        common.say(f"{counted(result.there, 'file')} of them {common.were(result.there)} there already")
    if result.skipped:
        common.say(f"{len(result.skipped):,} that no bucket can hold are not there:")
        lines = (f"{common.path_text(path)}: {reason}" for path, reason in result.skipped)
        common.say_list(lines, len(result.skipped))
    words.tell_refused([f"{common.path_text(path)}: {reason}" for path, reason in result.refused])


def _packs(
    mounts: tuple[str, ...],
    address: str | None,
    target: str,
    allowed_signers: str | None,
    seal: str | None,
    out: str | None,
    *,
    as_json: bool,
) -> int:
    from sealift.drives.locations import refuse_other_file
    from sealift.stages import ingest as stage
    from sealift.stages.ingest_hosts import ingest_on
    from sealift.stages.placement import place

    if out is not None:
        refuse_other_file(out)
    options = stage.Options(list(mounts), target, common.load_allowed(allowed_signers), reading.load_seal(seal))
    with common.Meter() as meter, place(address, meter.note) as hosts:
        events = common.placed_events(meter, address)
        events.notice = lambda text: meter.note(common.path_text(f"note: {text}".encode(errors="surrogateescape")))
        result = ingest_on(hosts, options, events)
    kept = stage.write_locations(out, target, result) if out is not None else None
    if as_json:
        common.emit(_answer_of(result))
    _tell_packs(result, target)
    if out is not None:
        common.say(f"wrote {out}" + (f"; what was there is {kept}" if kept else ""))
    waits = bool(result.missing_drives or result.out_of_reach)
    if not result.failed and (result.short_groups or any(host.owed for host in result.hosts)):
        return 1 if result.refused else 6
    return _code(result, waits=waits or any(host.owed for host in result.hosts), otherwise=0)


def _answer_of(result: Packs) -> dict[str, Any]:
    import msgspec

    return {
        "shipment": result.shipment,
        "drives": [{"drive": drive, "at": at} for drive, at in result.drives.items()],
        "packs": result.packs,
        "bytes": result.size,
        "there": result.there,
        "rebuilt_blocks": result.rebuilt_blocks,
        "resealed": result.resealed,
        "failed": [{"at": at, "path": path, "reason": why} for at, path, why in result.failed],
        "refused": [{"at": at, "path": path, "reason": why} for at, path, why in result.refused],
        "missing_drives": result.missing_drives,
        "short_groups": result.short_groups,
        "missing_groups": result.missing_groups,
        "ignored": words.ignored_of(result.ignored),
        "foreign": _foreign_of(result),
        "out_of_reach": result.out_of_reach,
        "hosts": msgspec.to_builtins(result.hosts),
        "seconds": round(result.seconds, 3),
    }


def _tell_packs(result: Packs, target: str) -> None:
    from sealift.stages.unpack_objects import ALTERED

    rate = (result.size) / max(result.seconds, 1e-9)
    common.say(
        f"{counted(result.packs, 'pack')}, {common.size_text(result.size)}, of"
        f" {counted(len(result.drives), 'drive')} in {target}, {common.duration_text(result.seconds)},"
        f" {rate_text(rate)}"
    )
    if result.there:
        common.say(f"{counted(result.there, 'pack')} of them {common.were(result.there)} there already")
    if result.rebuilt_blocks:
        common.say(f"{counted(result.rebuilt_blocks, 'block')} of 1 MiB rebuilt from parity")
    if result.resealed:
        drives = counted(result.resealed, "drive")
        common.say(
            f"the seal on {drives} there was superseded, and is replaced; it is kept in superseded-seals/ beside"
        )
    if result.failed:
        common.say(f"{counted(len(result.failed), 'file')} could not be had; the rest is there and checked:")
        common.say_list((f"{at}/sealift/{path}: {why}" for at, path, why in result.failed), len(result.failed))
    altered = any(why == ALTERED for _, _, why in result.refused)
    words.tell_refused([f"{at}/sealift/{path}: {why}" for at, path, why in result.refused], _ALTERED if altered else "")
    for group in result.short_groups:
        common.say(f"of group {group} too few drives are here to rebuild the others; those that are here are copied")
    if result.missing_drives:
        count = len(result.missing_drives)
        common.say(f"{counted(count, 'drive')} of these groups {common.are(count)} not here:")
        common.say_list(result.missing_drives, len(result.missing_drives))
        if (result.short_groups or result.failed) and not result.out_of_reach:
            common.say("hint: mount more of them and run the same command again; it goes on")
    if result.out_of_reach:
        common.say("what is missing takes drives of other hosts, which could not be read from where it was needed:")
        common.say_list(result.out_of_reach, len(result.out_of_reach))
        common.say("hint: run `sealift serve` there, and give the locations file beside '/mnt/d*', as to repair --ray")
    words.tell_missing(result.missing_groups, result.ignored)
    for line in common.host_lines(result.hosts, "copied"):
        common.say(line)
    _tell_foreign(result, target)


def _foreign_of(result: Files | Packs) -> dict[str, Any]:
    return {"count": result.foreign.count, "first": [common.path_fields(name) for name in result.foreign.first]}


def _tell_foreign(result: Files | Packs, target: str) -> None:
    """What stands there and is not of this; with the files of groups that are not here, of which no index says so."""
    if not result.foreign.count:
        return
    from sealift.formats.locations import scheme_of
    from sealift.stages.unpack import Result as OfFiles

    # its packs are no files of it, and without a key nobody knows its files
    whose = "the groups that are here" if result.missing_groups else "this shipment"
    of = f"files of {whose}" if isinstance(result, OfFiles) else f"of the drives of {whose}"
    count = counted(result.foreign.count, "other object" if scheme_of(target) else "other file")
    common.say(f"in {target} {common.are(result.foreign.count)} {count}, not {of}; left as they are:")
    common.say_list(map(common.path_text, result.foreign.first[:_FEW]), min(_FEW, result.foreign.count))
    if result.foreign.count > _FEW:
        common.say(f"  and {result.foreign.count - _FEW:,} more")


def _code(result: Files | Packs, *, waits: bool, otherwise: int) -> int:
    """The exit code: what asks for most is what is told; with `waits` drives may come that have what cannot be had."""
    if result.failed:
        return 6 if waits else 4
    if result.refused:
        return 1
    if result.missing_groups:
        return 6
    return otherwise or (3 if result.rebuilt_blocks else 0)  # who takes 3 for complete must not get it for less
