"""`sealift handover`: record an event of custody, and sign it. Thin: stages/custody.py checks and writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common
from sealift.errors import BadInput

if TYPE_CHECKING:
    from sealift.stages.custody import Ground, Recorded
    from sealift.trade.signing import Signer

HELP = """
Record what happens to drives on the way in the custody log in folder LOG: sealed, handed over, inspected by customs,
loaded, arrived, unsealed, verified, missing, given back.

Both sides sign: on the spot with a key each (--sign-with twice), or one now and the other with --countersign, on this
copy of the log or on any other. A side without a key signs on paper: --paper prints the form with the checkpoint of
the log; photograph it signed, name the photograph in the form, and record it. The first event, of type seal, makes
the folder. Everybody who carries drives takes a copy along and adds to it; no network is needed.

\b
  sealift handover custody/ --new event.toml --declaration declaration.toml
  sealift handover custody/ --event event.toml --declaration declaration.toml --sign-with anna_key --sign-with bo_key
  sealift handover custody/ --countersign 3f9c2a71b04e --declaration declaration.toml --sign-with bo_key
  sealift handover custody/ --paper event.toml --declaration declaration.toml --pdf form.pdf

Drives go on only under a release that holds (beside the declaration), whatever the type of the event by which they do;
a seal that one person puts on, or two of the origin, needs none. They leave the origin sealed (sealift seal), and from
the site go back by a return alone. What looks like a slip, another seal number, other
hands than the log knows or a release that no longer stands, is shown and not written;
--as-found writes it when it is true. The form for paper goes to stdout, and to --pdf with its code and room to sign.
Exit 0: recorded; 3: not recorded, because of what it would show; 5: refused.
"""


@click.command("handover", help=HELP, short_help="Record and sign what happens to drives on the way.")
@click.argument("log", type=click.Path())
@click.option("--new", metavar="FILE", type=click.Path(), help="Write an empty form, with every drive, to FILE.")
@click.option("--event", metavar="FILE", type=click.Path(), help="Record the event that is filled in in FILE.")
@click.option("--countersign", metavar="DIGITS", help="Sign the event whose digest begins so, as its other side.")
@click.option("--paper", metavar="FILE", type=click.Path(), help="Print the filled-in form, to be signed by hand.")
@click.option("--pdf", metavar="FILE", type=click.Path(), help="With --paper: write the form, with its code, to FILE.")
@click.option("--declaration", required=True, metavar="FILE", type=click.Path(), help="The shipment's declaration.")
@click.option(
    "--sign-with", "keys", multiple=True, metavar="KEY", type=click.Path(), help="SSH key of a side. Repeated."
)
@click.option("--seal", metavar="FILE", type=click.Path(), help="The seal; else what is noted beside the declaration.")
@click.option("--as-found", is_flag=True, help="Record it although it shows something: it is so.")
@common.allowed_signers_option
@common.json_option
@click.pass_context
def handover(
    context: click.Context,
    /,
    log: str,
    declaration: str,
    keys: tuple[str, ...],
    pdf: str | None,
    seal: str | None,
    allowed_signers: str | None,
    *,
    as_found: bool,
    as_json: bool,
    **actions: str | None,
) -> None:
    """Run one of the four actions."""
    from datetime import UTC, datetime

    from sealift.stages import custody as stage
    from sealift.trade.signing import Signer

    ((name, what),) = _one(actions)
    _check_keys(name, keys, as_found=as_found)
    if pdf is not None and name != "paper":
        raise BadInput("--pdf belongs to --paper", hint="of what is recorded: sealift documents --custody LOG")
    ground = stage.stand(log, declaration, common.load_allowed(allowed_signers), datetime.now(UTC), seal=seal)
    signers: list[Signer] = [Signer.open(key) for key in keys]
    code = 0
    if name == "new":
        answer = _new(ground, what)
    elif name == "paper":
        answer = _paper(ground, what, pdf)
    else:
        if name == "event":
            recorded = stage.record(ground, what, signers, as_found=as_found)
        else:
            recorded = stage.countersign(ground, what, signers)
        answer = _recorded(ground, recorded)
        code = 0 if recorded.written else 3
    if as_json:
        common.emit(answer)
    elif answer.get("form"):
        click.echo(answer["form"], nl=False)
    context.exit(code)


def _one(actions: dict[str, str | None]) -> list[tuple[str, str]]:
    given = [(name, value) for name, value in actions.items() if value is not None]
    if len(given) != 1:
        raise BadInput("give one of --new, --event, --countersign and --paper", hint="sealift handover --help")
    return given


def _check_keys(name: str, keys: tuple[str, ...], *, as_found: bool) -> None:
    if name in {"new", "paper"} and keys:
        raise BadInput(f"--{name} signs nothing: --sign-with belongs to --event and --countersign")
    if name in {"event", "countersign"} and not 1 <= len(keys) <= 2:
        raise BadInput(f"--{name} wants one key or two", hint="--sign-with KEY, once for each side that is here")
    if as_found and name != "event":
        raise BadInput("--as-found belongs to --event")


def _new(ground: Ground, file: str) -> dict[str, Any]:
    from sealift.stages import custody as stage
    from sealift.trade import signing

    signing.write_new(file, stage.template(ground).encode())
    common.say(f"wrote {file}: fill it in, then sealift handover {ground.log} --event {file} ...")
    drives = sum(1 for drive in ground.declaration.drives if drive.serial)
    return {"file": file, "consignment_id": ground.declaration.consignment_id, "drives": drives}


def _paper(ground: Ground, file: str, pdf: str | None) -> dict[str, Any]:
    from sealift.stages import custody as stage
    from sealift.trade import custody_sheet, papers_arrival, signing, typeset
    from sealift.trade.paper import Frame

    event = stage.draft(ground, file)
    common.say("nothing was recorded: this form is to be signed by hand, photographed, and then recorded by --event")
    common.say(f'enter it into one copy of the log alone, with at = "{event.at_utc}" in {file}: so says the paper')
    against = stage.against(ground, event)
    form = custody_sheet.form(ground.declaration, event, released=ground.released and not against)
    if pdf is not None:
        frame = Frame.of(ground.declaration, ground.release, ground.now.date(), against)
        paper = papers_arrival.custody_form(frame, event, "custody")
        signing.write_new(pdf, typeset.typeset("paper", paper.data, frame.day))
        common.say(f"wrote {pdf}")
    return {"consignment_id": ground.declaration.consignment_id, "form": form, "pdf": pdf}


def _note_age(ground: Ground, recorded: Recorded) -> None:
    """What has become too old since the release: drives that are under way go on, none leaves by it."""
    if ground.standing.ended and recorded.entry.event.moves and not recorded.leaves:
        why = "; ".join(each.text for each in ground.standing.ended)
        common.say(f"note: {why}: drives that are under way go on to where they are safe, and none leaves the origin")
    for aged in ground.standing.aged if recorded.leaves else ():
        common.say(f"note: {aged}")


def _recorded(ground: Ground, recorded: Recorded) -> dict[str, Any]:
    from sealift.cli import custody_words as words
    from sealift.trade import custody_sheet

    entry, form = recorded.entry, None
    if recorded.written:
        rows = {row.entry.digest: row for row in recorded.account.rows}
        common.say(words.row_line(rows[entry.digest]))
        words.show_findings(recorded.shows)
        if recorded.note:
            common.say(f"note: {recorded.note}")
        ended = bool(ground.standing.ended and recorded.leaves)
        form = custody_sheet.form(ground.declaration, entry, released=ground.released and not ended)
        _note_age(ground, recorded)
        if ground.standing.against and not any(each.kind == "unreleased" for each in recorded.shows):
            stood = not any(each.since is None or entry.event.at >= each.since for each in ground.standing.against)
            then = "by its time the release stood, and it does not any more" if stood else "the release does not stand"
            common.say(f"note: {then}: {'; '.join(ground.standing.why)};")
            common.say("      the form says DRAFT, and nothing further goes on by this release")
    else:
        common.say("not recorded:")
        words.show_findings(recorded.shows)
        common.say("correct the form; or, if it is so, record it with --as-found")
    return {
        "consignment_id": entry.event.consignment_id,
        "recorded": recorded.written,
        "event": entry.digest if recorded.written else None,
        "event_type": entry.event.event_type,
        "findings": [words.finding_answer(finding) for finding in recorded.shows],
        "form": form,
    }
