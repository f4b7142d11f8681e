"""`sealift rehearse`: see the whole voyage work. Thin: stages/rehearse.py plays it.

Signals are handled here: Ctrl-C and SIGTERM end the rehearsal once, and everything it made is taken away.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common, planned
from sealift.cli.stopping import Stop
from sealift.errors import BadInput, Interrupted
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sealift.stages.rehearse import Events, Rehearsal, SceneResult
    from sealift.stages.rehearse_training import Training

NOT_HELD = 4
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

HELP = """
Play the whole voyage in small, on scratch drives that are gone afterwards.

SOURCE (default: this interpreter's own standard library) is declared as a rehearsal, packed onto sixteen drives of
four carriers, and sealed, with fresh keys. Then drives are lost, rot, are mixed up and are withheld; each time
everything is verified, restored and compared with the source, file by file: content, modes, times and links. At last a
small model is trained on the drives that are left, stopped, resumed, and its weights are carried home (this wants
`sealift[train]`, and is left out without it).

\b
  sealift rehearse
  sealift rehearse /data/sample --report rehearsal.html
  sudo sealift rehearse --loop           real XFS filesystems, on loop devices
  sealift rehearse --plan shipment.toml  the plan's groups and carriers, and the loss that it states

Nothing but the report stays behind. Exit 0: every comparison held; 4: one did not.
"""


@click.command("rehearse", help=HELP, short_help="The whole voyage in small, on scratch drives.")
@click.argument("source", required=False, type=click.Path())
@planned.option("Rehearse the geometry of this plan, shipment.toml, and the loss that it states.")
@click.option("--scratch", metavar="DIR", type=click.Path(), help="Where the scratch drives are made.")
@click.option("--loop", is_flag=True, help="XFS filesystems on loop devices instead of folders; needs root.")
@click.option("--report", metavar="FILE.html", type=click.Path(), help="Write a self-contained page with plots.")
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Which drives are lost and which bits flip.")
@click.option("--scene", "scenes", multiple=True, metavar="NAME", help="Play only this scene. May be repeated.")
@common.json_option
def rehearse(source: str | None, report: str | None, plan: str | None, *, as_json: bool, **given: Any) -> None:
    """Play, and show what came of it."""
    from sealift.stages import rehearse as stage

    if report is not None:
        _check_report(report)
    followed = None if plan is None else planned.load(plan)
    options = stage.Options(source=source, plan=followed, **{**given, "scenes": list(given["scenes"])})
    stop = Stop()
    with _stoppable(stop), common.Meter() as meter:
        result = stage.rehearse(options, _events(meter, stop))
    if report is not None:
        _write_report(report, result)
    if as_json:
        common.emit(answer(result))
    else:
        show(result)
    if report is not None:
        common.say(f"report: {report}")
    if not result.held:
        raise click.exceptions.Exit(NOT_HELD)


@contextlib.contextmanager
def _stoppable(stop: Stop) -> Iterator[None]:
    """The first signal ends the rehearsal, others do not disturb the cleaning up."""

    def once() -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        common.say("stopping; taking the scratch drives away")

    try:
        with stop.signals(_SIGNALS, once):
            yield
    except (Exception, KeyboardInterrupt):
        if stop.asked:  # a library may have made an error of its own of it
            raise Interrupted("the rehearsal was stopped; nothing is left of the scratch drives") from None
        raise


def _events(meter: common.Meter, stop: Stop) -> Events:
    from sealift.stages.rehearse import Events

    def scene(result: SceneResult) -> None:
        stop.check()
        meter.close()
        meter.note(f"  {'held' if result.held else 'DID NOT HOLD'}: {_verdict(result)}")

    def trained(result: Training) -> None:
        stop.check()
        meter.close()
        meter.note(f"  {'held' if result.held else 'DID NOT HOLD'}: {_trained(result)}")

    def step(text: str) -> None:
        stop.check()
        meter.close()
        meter.note(text)

    def progress(what: str, done: int, total: int | None, drives: Mapping[str, int] | None) -> None:
        stop.check()
        meter.update(what, done, total, drives=drives)

    return Events(
        notice=meter.note,
        step=step,
        progress=progress,
        scene=scene,
        trained=trained,
    )


def _trained(result: Training) -> str:
    return (
        f"loss {result.losses[0]:.3f} to {result.losses[-1]:.3f} in {result.steps} steps, stopped after "
        f"{result.stopped_at} and the same; {counted(result.rebuilt_blocks, 'block')} rebuilt; "
        f"{common.size_text(result.weights_bytes)} of weights came home"
    )


def _verdict(result: SceneResult) -> str:
    parts = [f"verify says {result.state}"]
    if result.faults:
        parts.append(", ".join(f"{count} {kind}" for kind, count in sorted(result.faults.items())))
    parts.append(f"{counted(result.compared_files, 'file')} restored as in the source")
    if result.absent:
        parts.append(f"{result.absent:,} known to be withheld")
    if result.rebuilt_blocks:
        parts.append(f"{counted(result.rebuilt_blocks, 'block')} rebuilt")
    return "; ".join(parts)


def answer(result: Rehearsal) -> dict[str, Any]:
    """The JSON object."""
    import msgspec

    built: dict[str, Any] = msgspec.to_builtins(result)
    return built


COLUMNS = ("scene", "verdict", "exit", "faults", "read", "verify", "rebuilt", "unpack", "files compared", "held")


def row(scene: SceneResult) -> tuple[str, ...]:
    """One row of the table."""
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(scene.faults.items())) or "none"
    return (
        scene.title,
        scene.state,
        str(scene.exit_code),
        faults,
        common.size_text(scene.bytes_read),
        common.duration_text(scene.verify_seconds),
        counted(scene.rebuilt_blocks, "block"),
        common.duration_text(scene.unpack_seconds),
        f"{scene.compared_files:,}" + (f" of {scene.compared_files + scene.absent:,}" if scene.absent else ""),
        "yes" if scene.held else "NO",
    )


def show(result: Rehearsal) -> None:
    """The table, and what did not hold."""
    say, size = click.echo, common.size_text
    rows = [COLUMNS, *map(row, result.scenes)]
    widths = [max(len(line[i]) for line in rows) for i in range(len(COLUMNS))]
    say()
    say(
        f"REHEARSAL of {result.source}: {counted(result.files, 'file')}, {size(result.source_bytes)}, on"
        f" {len(result.drives)} drives ({result.drives_are}); {size(result.packed_bytes)} packed and"
        f" {size(result.parity_bytes)} parity in {common.duration_text(result.pack_seconds)}"
    )
    say()
    for number, line in enumerate(rows if result.scenes else []):
        say("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
        if number == 0:
            say("  ".join("-" * width for width in widths))
    say()
    for scene in result.scenes:
        for check in scene.checks:
            if not check.held:
                say(f"{scene.title}: did not hold: {check.what}")
        for named in scene.named[: common.SHOWN]:
            say(f"{scene.title}: {named}")
    if result.plan is not None:
        groups = f"{result.plan.groups_played} of {counted(result.plan.groups, 'group')}"
        say(f"as planned: {groups}, {counted(result.plan.drives_played, 'drive')}; lost: {result.plan.survive}")
        for check in result.plan.checks:
            if not check.held:
                say(f"the plan: did not hold: {check.what}")
    if result.training is not None and result.training.left_out:
        say(f"training was left out: {result.training.left_out}")
    elif result.training is not None:
        say(f"{result.training.title}: {_trained(result.training)}")
        for check in result.training.checks:
            if not check.held:
                say(f"{result.training.title}: did not hold: {check.what}")
    for outlook in result.outlook:
        days = ", ".join(f"{days:,.0f} days on {hosts}" for hosts, days in outlook.days.items())
        rate = size(outlook.bytes_per_second)
        say(f"{outlook.what} 4.8 PB at {rate}/s a host, as on so little data here: {days}")
    if result.held:
        say(f"every comparison held, in {common.duration_text(result.seconds)}; nothing is left of the scratch drives")
    else:
        say(f"NOT every comparison held; the same again: --seed {result.seed}")


def _check_report(path: str) -> None:
    """Before the work, not after it: the extras are there, and the file can be written."""
    from sealift.stages.rehearse_report import require

    require()
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK) or os.path.isdir(path):
        raise BadInput(f"--report {path}: cannot be written there", hint="give a file in a folder that is yours")


def _write_report(path: str, result: Rehearsal) -> None:
    from sealift.stages.rehearse_report import page

    with open(path, "w", encoding="utf-8") as file:
        file.write(page(result))
