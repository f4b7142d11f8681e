"""`sealift status`: where a packing stands. Thin: stages/status.py reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common
from sealift.formats.sizes import counted, rate_text

if TYPE_CHECKING:
    from sealift.stages.pack.journal_rows import Told
    from sealift.stages.status import GroupStatus, Status

HELP = """
Show where the packing in a state folder stands: every group, and which drives come next.

It needs no drive and no key, and may be asked at any time, also while packing runs.

\b
  sealift status --state /var/lib/sealift/corpus
"""


@click.command("status", help=HELP, short_help="Where packing stands, and which drives come next.")
@click.option("--state", required=True, metavar="DIR", type=click.Path(), help="The state folder given to pack.")
@common.json_option
def status(state: str, *, as_json: bool) -> None:
    """Read and show."""
    from sealift.stages.status import look

    found = look(state)
    if as_json:
        common.emit(answer(found))
    else:
        show(found)


def answer(found: Status) -> dict[str, Any]:
    """The JSON object."""
    import msgspec

    from sealift.formats.manifest import drive_id

    groups = []
    for group in found.groups:
        record = msgspec.to_builtins(group)
        places = record.pop("places")
        del record["wrong"]
        record["lost"] = group.lost
        for lacks in record["lacking"]:
            del lacks["slot"]
            lacks["packs"] = len(lacks.pop("stripes"))
        record["drives"] = [{"drive": drive_id(group.group, slot), **place} for slot, place in enumerate(places)]
        groups.append(record)
    return {
        "shipment": found.config.shipment,
        "consignment_id": found.config.consignment_id,
        "source": found.config.source,
        "running": found.running,
        "sealed": found.sealed,
        "groups": groups,
        "next": [group.group for group in found.groups if group.state != "signed"],
        "changed": len(found.told.changed),
        "incomplete": len(found.told.incomplete),
        "skipped": len(found.told.skipped),
        "later": found.later,
        "named": [
            {**common.path_fields(path), "what": what, "reason": reason}
            for what, named in (
                ("changed", [(path, None) for path in found.told.changed]),
                ("incomplete", found.told.incomplete),
                ("skipped", found.told.skipped),
            )
            for path, reason in named
        ],
        "read_back": found.read_back,
    }


def lost_text(group: GroupStatus) -> str:
    """Of which stripes more is missing or wrong than parity holds."""
    from sealift.stages.pack.presence import listed

    return (
        f"of {listed(group.lost)} more packs are missing or wrong, as far as is known, than parity holds "
        f"({group.parity}): keep the source"
    )


def _show_told(told: Told) -> None:
    """What befell members, by name."""
    for what, named in (
        ("file{} changed while being read", [(path, "") for path in told.changed]),
        ("file{} not whole, with zeros for what could not be read", told.incomplete),
        ("path{} skipped", told.skipped),
    ):
        if not named:
            continue
        click.echo(f"{len(named):,} {what.format('' if len(named) == 1 else 's')}:")
        for path, reason in named[: common.SHOWN]:
            click.echo(f"  {common.path_text(path)}{reason and ': '}{reason}")
        if (more := len(named) - common.SHOWN) > 0:
            click.echo(f"  and {more:,} more (--json names all of them)")


def show(found: Status) -> None:
    """The same for a person."""
    import msgspec

    from sealift.cli.pack_words import beyond_text, drive_lines, next_lines, wrong_text
    from sealift.stages.lacking import WRITTEN_AGAIN

    say, size = click.echo, common.size_text
    how = "packing runs" if found.running else "sealed" if found.sealed else "no packing runs"
    say(f"shipment {found.config.shipment}, consignment {found.config.consignment_id}: {how}")
    say(f"source {common.path_text(found.config.source.encode(errors='surrogateescape'))}")
    for group in found.groups:
        total = group.total_bytes
        part = f" of {size(total)} ({min(100, 100 * group.source_bytes // total)}%)" if total else ""
        rate = f", {rate_text(group.source_bytes / group.seconds)}" if group.seconds else ""
        say(
            f"  group {group.group}: {group.state}, {group.data}+{group.parity} drives,"
            f" {counted(group.stripes, 'stripe')}, {size(group.source_bytes)}{part}{rate}"
        )
        for line in drive_lines(*(msgspec.to_builtins(each) for each in (group.owed, group.slow, group.misread))):
            say(f"    {line}")
        if group.owed:
            many = len(group.owed) > group.parity
            more = f"more drives are set aside than parity holds ({group.parity}). " * many
            say(f"    {more}{group.standing}")
        if group.kept:
            say(f"    {group.kept}")
        if group.spoilt:
            say(f"    small files were not as they were signed when they were read last: {', '.join(group.spoilt)}")
        for lacks in group.lacking:
            say(f"    {lacks.text}")
        if group.lost:
            say(f"    {lost_text(group)}")
        for what in group.gone:
            again = group.gone_kept and not group.lost
            then = f". {WRITTEN_AGAIN}" if again else ": that cannot be had from them. keep the source"
            say(f"    when its drives were looked at last, {what}{then}")
    if found.read_back["found"]:
        say(f"blocks that were not as written: {wrong_text(found.read_back)}")
    _show_told(found.told)
    if found.later:
        say(
            f"{counted(found.later, 'path')} came since it was listed, or changed since, as last seen, and"
            f" {'is' if found.later == 1 else 'are'} not sent (`sealift pack` once more names them)"
        )
    waiting = [group for group in found.groups if group.state != "signed"]
    for group in waiting:
        how = "goes on with" if group.state == "packing" else "needs"
        say(f"next: group {group.group} {how} these drives:")
        for place in group.places[: common.SHOWN]:
            carrier = f", carrier {place.carrier}" if place.carrier else ""
            aside = " (set aside)" if place.serial in {each.serial for each in group.owed} else ""
            say(f"  drive {place.number}, serial {place.serial}{carrier}{aside}")
        if len(group.places) > common.SHOWN:
            say(f"  and {len(group.places) - common.SHOWN} more (--json names all of them)")
    if owed := [each for group in waiting for each in group.owed]:
        say("for those that are set aside:")
        for line in next_lines(msgspec.to_builtins(owed)):
            say(f"  {line}")
    if not waiting:
        step = "" if found.sealed else "sealift release and seal"
        if any(group.kept for group in found.groups):
            step = "put the state folder right, as it says above, and sealift pack once more"
        elif any((group.gone and not group.gone_kept) or (group.lost and group.lacking) for group in found.groups):
            step = "put back what was taken away, and sealift pack once more: it says what is still gone"
        elif any(group.gone for group in found.groups):
            step = "sealift pack once more, with all drives, which writes again what none of them had"
        elif found.read_back["wrong"] or any(group.spoilt or group.lacking for group in found.groups):
            lost = any(group.lost for group in found.groups)
            step = "sealift repair with all drives, sealift pack once more" + (
                ", which says what is still gone" if lost else ", then release and seal" if step else ""
            )
        short = any(group.lost or (group.gone and not group.gone_kept) for group in found.groups)
        less = ", and more is lost or wrong, as far as is known, than the drives give back" * short
        say(f"all groups are packed and signed{less}" + (f"; next: {step}" if step else ""))
    if found.read_back["beyond"]:
        say(beyond_text(found.read_back["beyond"]))
