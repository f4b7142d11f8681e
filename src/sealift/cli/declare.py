"""`sealift declare`: start a declaration, check it, print a carrier's sheet. Thin: trade/ does the work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common, planned
from sealift.errors import BadInput, DeclarationInvalid
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from sealift.trade.declaration import Declaration

HELP = """
Start a declaration (--new), or check one (--check).

The declaration says who ships which drives to whom, for what use, and who carries them. One shipment has
one declaration. Fill in the file that --new writes; --check names everything that is still missing at once.
Packing takes a draft. Whoever wrote the complete one signs it (--check with --sign-with); drives leave only when
another person has released it (sealift release).

\b
  sealift declare --new declaration.toml --author-key ~/.ssh/id_ed25519.pub
  sealift declare --new declaration.toml --plan shipment.toml
  sealift declare --check declaration.toml
  sealift declare --check declaration.toml --sign-with ~/.ssh/id_ed25519
  sealift declare --revise declaration.toml
  sealift declare --sheet Anna declaration.toml --allowed-signers allowed_signers

The author's signature is written beside FILE, as FILE.sig, and is of exactly these bytes: whoever changes one signs
again.

What was released is not changed any more: --revise makes of FILE a draft of the next revision, which names the
one that it supersedes and wants a release of its own. Where that one lies beside FILE, --check compares the two.

A sheet shows the whole shipment, whoever carries which part, and says DRAFT until it is given the release:
with --allowed-signers the one that `sealift release` wrote beside FILE. Exit 0: done, or complete; 1: not
complete.
"""


@click.command("declare", help=HELP, short_help="Start or check the declaration of a shipment.")
@click.argument("file", type=click.Path())
@click.option("--new", "action", flag_value="new", help="Write a commented form to FILE, which must not exist.")
@click.option("--check", "action", flag_value="check", help="Name everything that FILE still wants.")
@click.option("--revise", "action", flag_value="revise", help="Begin the next revision of a released FILE.")
@click.option("--sheet", "carrier", metavar="CARRIER", help="Print this carrier's sheet.")
@click.option("--author-key", type=click.Path(), metavar="PUB", help="With --new: the author's SSH public key.")
@click.option(
    "--sign-with", "key", type=click.Path(), metavar="KEY", help="With --check: sign it; the author's SSH key."
)
@planned.option("With --new: fill in carriers, drives and size from this plan, shipment.toml.")
@click.option(
    "--allowed-signers",
    type=click.Path(),
    metavar="SIGNERS",
    envvar="SEALIFT_ALLOWED_SIGNERS",
    help="With --sheet: who may release, in ssh-keygen's format.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def declare(
    file: str,
    action: str | None,
    carrier: str | None,
    author_key: str | None,
    key: str | None,
    plan: str | None,
    allowed_signers: str | None,
    *,
    as_json: bool,
) -> None:
    """Run one of the actions."""
    if (action is None) == (carrier is None):
        raise BadInput("give one of --new, --check, --revise and --sheet CARRIER", hint="sealift declare --help")
    if author_key is not None and action != "new":
        raise BadInput("--author-key belongs to --new")
    if key is not None and action != "check":
        raise BadInput("--sign-with belongs to --check", hint="sealift declare --check FILE --sign-with KEY")
    if plan is not None and action != "new":
        raise BadInput("--plan belongs to --new", hint="sealift declare --new FILE --plan PLAN")
    if action == "new":
        answer = new(file, author_key, plan)
    elif action == "check":
        answer = check(file, key)
    elif action == "revise":
        answer = revise(file)
    else:
        answer = sheet(file, str(carrier), allowed_signers)
        if not as_json:
            click.echo(answer["sheet"], nl=False)
    if as_json:
        click.echo(json.dumps(answer))
    if action == "check" and answer["problems"]:
        raise click.exceptions.Exit(DeclarationInvalid.exit_code)


def new(file: str, author_key: str | None, plan: str | None) -> dict[str, Any]:
    """Write the form, as far as a plan fills it in; never over a file that is there."""
    from datetime import UTC, datetime

    from sealift.trade import declaration, rules, signing
    from sealift.trade.template import render

    key = signing.load_public_key(author_key).line if author_key is not None else ""
    day = datetime.now(UTC).date()
    consignment_id = declaration.new_consignment_id(day.year)
    questions = {rule.id: rule.question for rule in rules.shipped().questions}
    answer: dict[str, Any] = {"file": file, "consignment_id": consignment_id}
    nameless, suggested = 0, {}
    if plan is None:
        blank = declaration.blank(consignment_id, day, public_key=key, questions=tuple(questions))
    else:
        from sealift.stages.plan import form

        found = planned.load(plan)
        blank = form.declared(found, consignment_id, day, key, tuple(questions))
        nameless, suggested = len(found.nameless), form.suggested(found)
        answer |= {"drives": len(found.drives), "without_serial": nameless}
    signing.write_new(file, render(blank, questions, suggested).encode())
    common.say(f"wrote {file}, a draft of {consignment_id}: fill it in, then sealift declare --check {file}")
    if nameless:
        of = f"{nameless:,} of {counted(answer['drives'], 'drive')}"
        common.say(f"{of} have no serial number in {plan}, and none in {file}: fill in the same in both")
    return answer


def check(file: str, key: str | None) -> dict[str, Any]:
    """Everything that keeps `file` from being complete, said and returned; signed by the author with `key`."""
    from sealift.stages import related
    from sealift.trade import declaration, signing

    data = signing.read_limited(file, declaration.MAX_BYTES, "declaration")
    parsed, problems = declaration.review(data)
    held, unsure = ([], []) if parsed is None else _of_revisions(file, parsed)
    problems = [*problems, *held]
    for problem in problems:
        click.echo(problem, err=True)
    answer: dict[str, Any] = {"file": file, "complete": not problems, "problems": problems}
    if parsed is None:
        return answer
    answer |= {
        "consignment_id": parsed.consignment_id,
        "rehearsal": parsed.rehearsal,
        "blake3": parsed.digest,
        "drives": len(parsed.drives),
        "carriers": len(parsed.carriers),
        "capacity_bytes": parsed.capacity_bytes,
    }
    for note in [*declaration.notes(parsed), *related.unnamed(file, parsed), *unsure]:
        click.echo(f"note: {note}", err=True)
    if problems:
        click.echo(f"{file}: not complete, {len(problems)} to do", err=True)
    else:
        click.echo(f"{file}: complete; what still holds its release: sealift release --check {file}", err=True)
    if key is not None and not problems:
        answer["signature"] = sign(file, key)
    return answer


def _of_revisions(file: str, parsed: Declaration) -> tuple[list[str], list[str]]:
    """What will hold its release for what was released before; and what holds it only where nothing more lies beside.

    The folder of `file` may not have the revision before, and the officer's has.
    """
    import os

    from sealift.stages import release
    from sealift.trade import revision

    faults = [] if parsed.rehearsal else release.revision_faults(file, parsed)
    sure = parsed.revision == 1 or os.path.lexists(revision.path_of(file, parsed.revision - 1))
    return (faults, []) if sure else ([], faults)


def sign(file: str, key: str) -> str:
    """The author's signature, written beside `file`; its path."""
    from sealift.stages import release
    from sealift.trade import signing

    signer = signing.Signer.open(key)
    path = release.sign(file, signer)
    common.say(f"signed by its author, with {signer.public_key.fingerprint}: {path}")
    return path


def revise(file: str) -> dict[str, Any]:
    """The next revision, begun in `file`."""
    from sealift.stages import release

    kept, number = release.revise(file)
    common.say(f"{file} is a draft of revision {number} now; as it was, it is kept as {kept}")
    common.say("change what changes; a party or carrier that is replaced wants a row under [[replaced]]")
    return {"file": file, "revision": number, "kept": kept}


def sheet(file: str, carrier: str, allowed_signers: str | None) -> dict[str, Any]:
    """The sheet's text; a draft unless the release beside `file` holds."""
    from sealift.trade import declaration, sheets, signing

    data = signing.read_limited(file, declaration.MAX_BYTES, "declaration")
    parsed = declaration.parse(data, draft=True)
    release = common.standing_release(file, parsed, allowed_signers)
    if release is None:
        click.echo("no checked release: this sheet is a draft", err=True)
    text = sheets.sheet(parsed, carrier, release)
    return {
        "file": file,
        "consignment_id": parsed.consignment_id,
        "released": release is not None,
        "sheet": text,
    }
