"""`sealift unpack`: restore the corpus, or a part of it, into an empty folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common, reading
from sealift.drives.base import reason
from sealift.errors import BadInput
from sealift.formats.sizes import counted, rate_text

if TYPE_CHECKING:
    from sealift.stages.unpack import Options, Result


@click.command()
@click.argument("mounts", nargs=-1, required=True, metavar="MNT...")
@click.option("--to", "target", required=True, metavar="DIR", help="Empty folder to restore into.")
@common.identity_option
@common.keys_option
@common.allowed_signers_option
@common.seal_option
@common.in_reply_to_option
@click.option(
    "--path",
    "patterns",
    multiple=True,
    metavar="GLOB",
    help="Only what matches, `*` crosses folders; a folder takes what is in it. May be repeated.",
)
@common.json_option
@click.pass_context
def unpack(
    context: click.Context,
    mounts: tuple[str, ...],
    target: str,
    identities: tuple[str, ...],
    keys: str | None,
    allowed_signers: str | None,
    seal: str | None,
    in_reply_to: str | None,
    patterns: tuple[str, ...],
    as_json: bool,
) -> None:
    """Restore the corpus from the drives at MNT..., in any order.

    MNT is where a drive is mounted, an address (https://HOST/PATH/, s3://BUCKET/PREFIX), or a locations file.
    Every file is checked against the signed index; what is missing or rotten is rebuilt from parity on the way.
    Modes, times, links and holes come back. Nothing is written outside DIR, and nothing in it is overwritten. Stopped,
    the same command goes on.

    \b
      sealift unpack /mnt/* --to /data/corpus --identity key.txt \\
          --allowed-signers signers --seal 5f0c1d2e3a4b5c6d.seal

    Exit 0: all there; 1: DIR did not take some files, because something else stands in their place, or it may not be
    written to, or has no such names: each is named; 2: all there, and some files had changed while they were packed;
    4: some files could not be restored, each is named; 6: drives of a whole group are not here yet, or no host answers
    that has what is missing: run again with them.
    """
    from sealift.drives.locations import is_store
    from sealift.stages import unpack as stage

    if is_store(target):
        raise BadInput(f"{target} is no folder", hint="`sealift ingest` copies into a bucket")
    outbound, later = common.load_outbound(in_reply_to, allowed_signers)
    options = stage.Options(
        list(mounts),
        target,
        reading.read_identities(identities),
        reading.read_allowed(allowed_signers),
        reading.load_seal(seal),
        list(patterns),
        keys=keys,
        outbound=outbound,
        later=later,
    )
    result = run(options, "unpacking")
    if as_json:
        common.emit(answer_of(result))
    tell(result, target)
    tell_refused([f"{common.path_text(path)}: {reason}" for path, reason in result.refused])
    context.exit(_code(result))


def _code(result: Result) -> int:
    """The exit code: what asks for most is what is told."""
    if result.failed:
        return 6 if result.waits else 4
    if result.refused:
        return 1
    return 6 if result.missing_groups else 2 if result.changed else 0


def tell_refused(lines: list[str], altered: str = "") -> None:
    """What the destination did not take; `altered` says what to do with what is its own, and went bad there."""
    if lines:
        common.say(f"{counted(len(lines), 'file')} the destination did not take:")
        common.say_list(lines, len(lines))
        common.say(
            f"hint: {altered}move away what is in the way, or give another place with --to, and run the same command"
            " again"
        )


def run(options: Options, doing: str) -> Result:
    """Unpack or ingest, with a bar that says what is done."""
    from sealift.stages import unpack as stage

    common.without_pandas()

    with common.Meter() as meter:
        events = stage.Events(
            notice=lambda text: meter.note(common.path_text(f"note: {text}".encode(errors="surrogateescape"))),
            progress=lambda files, count, total: meter.update(doing, count, total, files=files),
        )
        return stage.unpack(options, events)


def answer_of(result: Result) -> dict[str, Any]:
    """What --json prints."""
    import msgspec

    return {
        "files": result.files,
        "bytes": result.size,
        "rebuilt_blocks": result.rebuilt_blocks,
        "failed": [
            {**common.path_fields(path), "reason": reason, "unreached": path in result.unreached}
            for path, reason in result.failed
        ],
        "refused": [{**common.path_fields(path), "reason": reason} for path, reason in result.refused],
        "changed": [common.path_fields(path) for path in result.changed],
        "missing_drives": result.missing_drives,
        "missing_groups": result.missing_groups,
        "shortfall": msgspec.to_builtins(result.shortfall),
        "reply_signer": result.reply_signer,
        "ignored": ignored_of(result.ignored),
        "locations": [
            {**each._asdict(), "location": _plain(each.location), "why": _plain(each.why)} for each in result.places
        ],
        "seconds": round(result.seconds, 3),
    }


def ignored_of(ignored: list[tuple[str, str]]) -> list[dict[str, str]]:
    """Mounts that gave nothing, and why, for --json."""
    return [{"mount": _plain(mount), "why": why} for mount, why in ignored]


def _plain(text: str) -> str:
    """Text that JSON can carry."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _tell_places(result: Result) -> None:
    """Locations that gave less than they were asked for."""
    if not result.places:
        return
    made_up = "" if result.failed or result.missing_groups else ", and the rest made up for it"
    count = counted(len(result.places), "location")
    common.say(f"{count} gave not all that was asked for, as it was signed and in time{made_up}:")
    lines = []
    for each in result.places:
        slow = f"slow, {counted(each.hedged_reads, 'read')} answered by others" if each.hedged_reads else "slow"
        failed = f"failed {counted(each.faults, 'time')}"
        told = {"silent": "gave nothing", "failing": failed, "slow": slow}[each.state]
        why = reason(each.why, each.location)
        lines.append(common.path_text(f"{each.location}: {told}{why and f': {why}'}".encode(errors="surrogateescape")))
    common.say_list(lines, len(lines))


def tell(result: Result, target: str) -> None:
    """The same in words."""
    rate = result.size / max(result.seconds, 1e-9)
    common.say(
        f"{counted(result.files, 'file')}, {common.size_text(result.size)} in {target}, "
        f"{common.duration_text(result.seconds)}, {rate_text(rate)}"
    )
    if result.shortfall is not None:
        common.say(result.shortfall.told)
    if result.reply_signer is not None:
        common.say(f"the answer to the shipment of --in-reply-to, signed by {result.reply_signer}, whom it accepts")
    if result.rebuilt_blocks:
        common.say(f"{counted(result.rebuilt_blocks, 'block')} of 1 MiB rebuilt from parity")
    if result.changed:
        what = "changed while they were packed, and may be of no one moment, or have zeros in place of bytes:"
        common.say(f"{counted(len(result.changed), 'file')} {what}")
        common.say_list(map(common.path_text, result.changed), len(result.changed))
    if result.failed:
        fetch = "`sealift repair MNT... --fetch-list` says what must be sent again"
        common.say(f"{counted(len(result.failed), 'file')} could not be restored; the rest is there and checked:")
        common.say_list((f"{common.path_text(path)}: {reason}" for path, reason in result.failed), len(result.failed))
        if result.missing_drives:
            count = len(result.missing_drives)
            common.say(f"{counted(count, 'drive')} of these groups {common.are(count)} not here:")
            common.say_list(result.missing_drives, len(result.missing_drives))
            common.say(f"hint: mount more of them and run the same command again; it goes on. For lost ones {fetch}")
        elif gone := {name for name in ("packs.bin", "blocks.bin") if _is_gone(name, result)}:
            for name in sorted(gone):
                common.say(
                    f"hint: no drive here has all of {name} of a group: put a copy as sealift/{name} on one of the"
                    f" drives (the origin keeps one in its state folder, groups/GROUP/closed/{name}); `sealift repair"
                    " MNT...` proves it and puts it on the others; then run the same command again; it goes on"
                )
        else:
            common.say(
                "hint: where a drive or a host did not answer, see to it and run the same command again; it goes on. Of"
                f" what is damaged beyond parity {fetch}"
            )
    tell_missing(result.missing_groups, result.ignored)
    _tell_places(result)


def _is_gone(name: str, result: Result) -> bool:
    """Whether files could not be restored for want of a file that every drive of their group carried."""
    from sealift.reading.survey_views import NOWHERE

    return any(reason.endswith(f"{name}: {NOWHERE}") for _, reason in result.failed)


def tell_missing(groups: list[dict[str, Any]], ignored: list[tuple[str, str]]) -> None:
    """Groups of which no drive is here, or none that can be read; `ignored`: mounts that give nothing, and why."""
    from sealift.reading.survey_views import NO_MANIFEST, NOBODYS_PACKS

    bereft = any(why.endswith((NO_MANIFEST, NOBODYS_PACKS)) for _, why in ignored)
    for group in groups:
        common.say(
            f"group {group['group']} is not here: {counted(group['files'], 'file')}, "
            f"{common.size_text(group['bytes'])}; its drives:"
        )
        common.say_list(group["drives"], len(group["drives"]))
        here = ", but for those that are mounted and ignored" if bereft else ""
        common.say(f"hint: run the same command again with its drives mounted too{here}")
    if bereft:
        common.say("hint: of drives that are ignored `sealift inspect` says what they lack, and where to have it")
