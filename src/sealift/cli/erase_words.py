"""What `sealift erase` shows to people, and its JSON; the texts of devices are one printable line each.

What holds: nothing here asks a device. What is not here: exit codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common
from sealift.cli.drives_words import clean
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.stages.erase import Erased, Plan
    from sealift.trade.certificate import Method

_OWN = {
    "overwrite": "zeros are written over every byte of it, and flushed",
    "discard": "all of it is discarded (BLKDISCARD), and read back as a whole",
}


def show_plans(plans: Sequence[Plan]) -> None:
    """What would be done to each drive, and what speaks against it."""
    for plan in plans:
        common.say(clean(f"{plan.disk.name}: {_paper(plan)}"))
        if plan.technique is not None:
            common.say(clean(f"  would be done: {plan.technique}: {_how(plan)}"))
            common.say(
                f"  would be read back: {'every byte' if plan.read_back == 'full' else 'places drawn at random'}"
            )
        if plan.told_by == "label" and not plan.objections:
            common.say(
                f"  note: nothing but your reading of its label says that this is {clean(plan.serial)}: the certificate"
                " will say escalate, and somebody else should look at the label before the drive goes anywhere"
            )
        for why in plan.doubts:
            common.say(clean(f"  note: {why}: the certificate will say escalate"))
        for path in plan.unfinished:
            common.say(clean(f"  an erasure of it was begun before, and has no certificate: {path}"))
        for why in plan.objections:
            common.say(f"  REFUSED: {clean(why)}")


def _paper(plan: Plan) -> str:
    there = any(loss.row.sealift is not None for loss in plan.candidate.losses)
    packed = "what is packed on it" if there else "what was packed on it before it was erased"
    by = "its label" if plan.told_by == "label" else packed
    label = f"serial {plan.serial} by {by}, " if plan.stated and plan.serial else ""
    if plan.named is None:
        return f"{label}no receipt names it" if plan.serial else "nobody says its serial number"
    named = plan.named
    return (
        f"{label}{named.drive.id} of shipment {named.receipt.record.shipment}; group {named.group.group} is"
        f" {named.group.state}, signed {named.receipt.record.at} by {named.receipt.principal}"
    )


def _how(plan: Plan) -> str:
    return " ".join(plan.command) if plan.command else _OWN[plan.technique or ""]


def show_dry(plans: Sequence[Plan]) -> None:
    """The end of a look without --yes."""
    if any(plan.objections for plan in plans):
        click.echo("nothing was written; not all of these drives may be erased")
        return
    words = " ".join(f"--yes {plan.disk.name}" for plan in plans)
    click.echo(clean(f"nothing was written; to erase {counted(len(plans), 'drive')}, add: {words}"))


def show_erased(erased: Sequence[Erased]) -> None:
    """What became of each."""
    for each in erased:
        if each.fault:
            click.echo(clean(f"{'REFUSED' if each.refused else 'NOT ERASED'}: {each.fault}"))
            if each.hint:
                common.say(clean(f"hint: {each.hint}"))
            click.echo(clean(f"  what was done and answered: {each.log}"))
        else:
            read = common.size_text(each.bytes_read_back)
            took = common.duration_text(each.seconds)
            click.echo(
                clean(f"{each.name}: erased in {took}, {read} read back; {each.certificate} ({each.validation})")
            )


def answer(plans: Sequence[Plan], method: Method, erased: Sequence[Erased] | None = None) -> dict[str, Any]:
    """The JSON object; `erased` is None where nothing was to be done."""
    done = {each.name: each for each in erased or ()}
    return {
        "erased": erased is not None,
        "method": method,
        "drives": [{**_planned(plan), "outcome": _outcome(done.get(plan.disk.name))} for plan in plans],
    }


def _planned(plan: Plan) -> dict[str, Any]:
    named = plan.named
    return {
        "name": plan.disk.name,
        "serial": plan.serial,
        "told_by": plan.told_by,
        "device": plan.disk.node,
        "model": plan.disk.model,
        "size_bytes": plan.disk.device.size,
        "drive": named.drive.id if named else None,
        "group_state": named.group.state if named else None,
        "technique": plan.technique,
        "command": plan.command,
        "read_back": plan.read_back,
        "unfinished": plan.unfinished,
        "doubts": plan.doubts,
        "objections": plan.objections,
    }


def _outcome(each: Erased | None) -> dict[str, Any] | None:
    if each is None:
        return None
    return {
        "certificate": each.certificate,
        "validation": each.validation,
        "log": each.log,
        "bytes_read_back": each.bytes_read_back,
        "seconds": each.seconds,
        "fault": each.fault,
        "refused": each.refused,
    }
