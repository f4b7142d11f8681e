"""`sealift drives`: which drives are here and what is on them; prepare, test and locate them. Thin: stages/drives_*."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import click

from sealift.cli import common, drives_words
from sealift.errors import BadInput

if TYPE_CHECKING:
    from sealift.drives.bay import How
    from sealift.drives.blank import Filesystem
    from sealift.drives.block import Disk

_FOREVER = 365 * 86400.0

LIST = """
List every drive of this host: what it is, how it is, what is on it, and what speaks against using it.

A drive is named by its serial number; one that tells none by its path: a loop device by that of its backing file,
any other by its device node. prepare and locate take these names. Health and temperature are smartctl's
(smartmontools; as root); what is known of a shipment is read from mounted drives, needs no key, and is what the
drive says of itself. Nothing is written, and a device that does not answer is listed as that.

\b
  sealift drives --need 20TB
  sealift drives prepare SERIAL... --yes SERIAL...    an empty filesystem on each
  sealift drives test MNT... --record drives.json     before one is trusted
  sealift drives locate SERIAL                        which bay is it in?

Exit 0, whatever the flags say.
"""

PREPARE = """
Make an empty filesystem on the whole of each drive named SERIAL, once what is on it was shown and given up.

Without --yes it shows what would be lost, and writes nothing. Disks of this host itself, and drives that are mounted
or otherwise in use, are refused whatever is said. A drive on which a shipment's drive lies wants a second word,
--lose with the shipment's id and the drive's as they are shown: it may be the only copy. The same is asked, by the
drive's name, where nobody can look. Drives are looked at again right before they are written, and one that is not
what was shown stops all.

\b
  sealift drives prepare ZL2A0001 ZL2A0002
  sealift drives prepare ZL2A0001 ZL2A0002 --yes ZL2A0001 --yes ZL2A0002

Exit 0: all have a new filesystem; 3: some failed; 5: not confirmed or refused, and nothing was written.
"""

TEST = """
Write, read back and compare a file on each drive mounted at MNT..., all of them at once as packing will.

It goes past the page cache, compares every byte, and leaves nothing behind. It says at what rate each drive wrote
and read, the longest that one call took, and what its SMART data said before and after. --record keeps it for the
plan. It needs --bytes of room, says nothing about the rest of the medium, and takes twice that over the drive's rate.

\b
  sealift drives test /mnt/d1 /mnt/d2 --record drives.json

Exit 0: all are good; 3: one lies, failed, is full or read-only, or got worse; the others were tested to the end.
"""

LOCATE = """
Show in which bay the drive named SERIAL is, until Ctrl-C.

The enclosure's own light is lit where the kernel or ledctl (package ledmon) can; elsewhere the drive is read in a
rhythm, so that its activity light goes on and off. Which of these is said. The light is out afterwards.

\b
  sealift drives locate ZL2A0001

Exit 0, also after Ctrl-C; 3: it can be neither lit nor read.
"""


@click.group(
    "drives", help=LIST, short_help="The drives of this host; prepare, test, locate.", invoke_without_command=True
)
@click.option("--need", type=common.Size(), metavar="SIZE", help="Flag drives with less room than this.")
@common.json_option
@click.pass_context
def drives(context: click.Context, need: int | None, *, as_json: bool) -> None:
    """List, unless a command follows."""
    if context.invoked_subcommand is not None:
        if need is not None or as_json:
            raise BadInput("--need and --json before a command are of the list", hint="give them after it")
        return
    from sealift.stages.drives_list import list_drives

    listing = list_drives(need=need)
    if as_json:
        common.emit(drives_words.answer(listing))
    else:
        drives_words.show_list(listing)


@drives.command("prepare", help=PREPARE, short_help="An empty filesystem on each drive named.")
@click.argument("names", nargs=-1, required=True, metavar="SERIAL...")
@click.option(
    "--filesystem",
    type=click.Choice(["xfs", "ext4"]),
    metavar="KIND",
    default="xfs",
    show_default=True,
    help="xfs or ext4.",
)
@click.option("--yes", metavar="SERIAL", multiple=True, help="That this drive may be emptied. Repeated for each.")
@click.option(
    "--lose", metavar="WHAT", multiple=True, help="What is given up besides, as it is shown. Repeated for each."
)
@common.json_option
@click.pass_context
def prepare(
    context: click.Context,
    names: tuple[str, ...],
    filesystem: Filesystem,
    yes: tuple[str, ...],
    lose: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Show, check, and do it."""
    from sealift.stages import drives_prepare as stage

    candidates = stage.survey(names)
    drives_words.show_losses(candidates)
    stage.check(candidates, yes=yes, lose=lose)
    prepared = stage.prepare(candidates, filesystem)
    if as_json:
        common.emit({"drives": drives_words.answer(prepared)})
    else:
        drives_words.show_prepared(prepared)
    context.exit(5 if any(each.refused for each in prepared) else 3 if any(each.fault for each in prepared) else 0)


@drives.command("test", help=TEST, short_help="Write, read back and compare on mounted drives.")
@click.argument("mounts", nargs=-1, required=True, metavar="MNT...")
@click.option(
    "--bytes", "size", type=common.Size(), default="4GiB", show_default=True, metavar="SIZE", help="For each drive."
)
@click.option("--record", metavar="FILE", type=click.Path(), help="Add what was measured to FILE, for the plan.")
@common.json_option
@click.pass_context
def test(context: click.Context, mounts: tuple[str, ...], size: int, record: str | None, *, as_json: bool) -> None:
    """Test, record, and show."""
    from sealift.stages import drives_test as stage

    if record is not None:
        stage.read_record(record)  # before minutes of testing
    total = 2 * len(mounts) * size
    with common.Meter() as meter:
        tested = stage.try_drives(
            mounts, size=size, progress=lambda done: meter.update("testing", sum(done.values()), total, drives=done)
        )
    if record is not None:
        stage.write_record(record, tested)
    if as_json:
        common.emit({"drives": drives_words.answer(tested), "record": record})
    else:
        drives_words.show_tested(tested)
    context.exit(3 if any(each.fault for each in tested) else 0)


@drives.command("locate", help=LOCATE, short_help="Show in which bay a drive is.")
@click.argument("name", metavar="SERIAL")
@click.option("--seconds", type=click.FloatRange(min=0.1), metavar="N", help="End by itself after so long.")
@common.json_option
def locate(name: str, seconds: float | None, *, as_json: bool) -> None:
    """Light, wait, put out."""
    from sealift.cli.stopping import Stop
    from sealift.stages.drives_locate import locate as run

    shown: list[tuple[str, str]] = []

    def hold(disk: Disk, how: How) -> None:
        shown.append((disk.name, how))
        common.say(f"{disk.name} ({disk.node}): {drives_words.HOW[how]}; Ctrl-C ends it")
        time.sleep(_FOREVER if seconds is None else seconds)

    begun = time.monotonic()
    try:
        with Stop().signals([signal.SIGINT, signal.SIGTERM, signal.SIGHUP]):
            run(name, hold)
    except KeyboardInterrupt:
        if not shown:
            raise
    for drive, how in shown:
        if as_json:
            common.emit({"drive": drive, "how": how, "seconds": round(time.monotonic() - begun, 3)})
        else:
            common.say(f"{drive} is not shown any more")
