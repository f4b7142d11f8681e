"""`sealift screen`: everybody in a declaration beside the lists. Thin: stages/screen.py and trade/ do the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common
from sealift.errors import BadInput, Refused
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sealift.stages.screen import Result
    from sealift.trade.screening import Problem, ScreeningRecord

HELP = """
Screen everybody whom the declaration names against lists that you bring, and sign what was found.

Lists are files, each got from its publisher: the US Consolidated Screening List (CSV or JSON), OFAC's sdn.csv
with alt.csv and add.csv beside it, the UN's and the EU's XML, or a TOML that says what the columns of another
CSV are. One that is more than 7 days old holds the release. Its age is what it says of itself (the UN's and the
EU's do), or the day on which you got it: --fetched, which you sign. A file's modification time says nothing.

A name that is near enough is a hit, and only a person clears it: the worksheet that is written beside the
record asks for a decision about each, with a reason; --dispose takes it, signed, and --second is the signature
of another person who looked at the decisions. Screening again takes decisions over where nothing changed, and hits
that nobody has decided about, though no list has them any more. Each record supersedes the one before, which is kept
and must stay. --check shows it, and says what still holds the release.

\b
  sealift screen declaration.toml --list csl.csv --list un.xml --fetched 2026-11-26 --sign-with KEY --by "S. Creener"
  sealift screen declaration.toml --dispose declaration.screening.toml --sign-with KEY --by "S. Creener"
  sealift screen declaration.toml --second --sign-with OTHER --by "O. Ther" --allowed-signers signers
  sealift screen declaration.toml --check --list csl.csv --list un.xml --allowed-signers signers

Exit 0: done, and nothing in it holds the release; 5: written, and something does (with --check: nothing is written).
"""


@click.command("screen", help=HELP, short_help="Screen everybody in a declaration against lists.", no_args_is_help=True)
@click.argument("file", type=click.Path())
@click.option(
    "--list",
    "lists",
    multiple=True,
    metavar="FILE",
    type=click.Path(),
    help="A list, or a TOML about one; once for each.",
)
@click.option("--fetched", metavar="DAY", help="When you got the lists, where their TOML does not say: 2026-11-26.")
@click.option("--dispose", metavar="WORKSHEET", type=click.Path(), help="Take the decisions of a worksheet.")
@click.option("--second", is_flag=True, help="Sign the decisions as the second person.")
@click.option("--check", is_flag=True, help="Say what holds the release, and whether each --list was screened.")
@click.option("--sign-with", "key", metavar="KEY", type=click.Path(), help="SSH key of the one who signs.")
@click.option("--by", metavar="NAME", help="Who signs: a person's name.")
@click.option("--out", metavar="FILE", type=click.Path(), help="The record; else NAME.screening.json beside FILE.")
@common.allowed_signers_option
@common.json_option
def screen(
    file: str, *, lists: tuple[str, ...], fetched: str | None, dispose: str | None, second: bool, check: bool,
    key: str | None, by: str | None, out: str | None, allowed_signers: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Run one of the four actions."""
    actions = [name for name, given in (("--dispose", dispose), ("--second", second), ("--check", check)) if given]
    if len(actions) > 1:
        raise BadInput(f"{' and '.join(actions)} are not given together", hint="sealift screen --help")
    action = actions[0] if actions else ""
    if lists and action in {"--dispose", "--second"}:
        raise BadInput(f"--list does not belong to {action}", hint="its lists are in the record")
    if fetched and (action or not lists):
        raise BadInput("--fetched belongs to --list: it says when you got the lists that are screened now")
    if not lists and not action:
        raise BadInput("no list to screen against", hint="--list FILE, once for each list that you have got")
    if check and (key or by):
        raise BadInput("--check signs nothing", hint="leave --sign-with and --by away")
    if not check and not (key and by):
        raise BadInput("--sign-with KEY and --by NAME are wanted: a named person signs", hint="sealift screen --help")
    if check:
        answer, held = _check(file, lists, out, allowed_signers)
    else:
        answer, held = _signed(file, lists, fetched, dispose, second, str(key), str(by), out, allowed_signers)
    if as_json:
        common.emit(answer)
    if held:
        raise click.exceptions.Exit(Refused.exit_code)


def _check(
    file: str, lists: Sequence[str], out: str | None, allowed_signers: str | None
) -> tuple[dict[str, Any], bool]:
    from sealift.stages import screen as stage

    files = [each for one in stage.load_lists(lists) for each in one.files]
    problems, record = stage.standing(file, files, common.load_allowed(allowed_signers), out=out)
    if record is not None:
        table(record)
    say_problems(problems)
    if not problems and record is not None:
        common.say(f"{record.screening_id}: nothing holds the release; valid until {record.valid_until}")
    return {"file": file, "clear": not problems, "problems": [each._asdict() for each in problems]}, bool(problems)


def _signed(
    file: str, lists: Sequence[str], fetched: str | None, dispose: str | None, second: bool, key: str, by: str,
    out: str | None, allowed_signers: str | None,
) -> tuple[dict[str, Any], bool]:  # fmt: skip
    """One of the three actions that sign."""
    from datetime import UTC, datetime

    from sealift.stages import screen as stage
    from sealift.trade import screening
    from sealift.trade.signing import Signer

    signer = Signer.open(key)
    allowed = common.load_allowed(allowed_signers) if allowed_signers or second else None
    if second:
        result = stage.second(file, signer, by=by, allowed=common.load_allowed(allowed_signers), out=out)
    elif dispose is not None:
        result = stage.dispose(file, dispose, signer, by=by, out=out, allowed=allowed)
    else:
        read = stage.load_lists(lists, fetched=_day(fetched))
        result = stage.screen(file, read, signer, by=by, out=out, allowed=allowed)
    problems = screening.record_problems(result.record, datetime.now(UTC), reviewed=second)
    problems += stage.beside(result.path, stage.load_declaration(file), allowed)
    summarize(result, by, second=second)
    say_problems(problems)
    return answer(file, result, problems), bool(problems)


def _day(text: str | None) -> datetime | None:
    """The time that --fetched says. BadInput."""
    if text is None:
        return None
    from sealift.trade.lists_csv import instant

    found = instant(text)
    if found is None:
        raise BadInput(f"--fetched {text[:40]!r}: no date", hint="a day such as 2026-11-26")
    return found


def summarize(result: Result, by: str, *, second: bool) -> None:
    """What a person wants to know: the hits, each with why, and what to do next."""
    say, record = common.say, result.record
    for note in result.notes:
        say(note)
    if not second:
        for each in record.lists:
            when = f"of {each.published}, " if each.published else ""
            when += f"fetched {each.fetched} ({each.fetched_from})"
            say(f"{each.name}: {each.rows:,} rows, {when}, sha256 {each.sha256[:16]}")
    table(record)
    done = "signed as the second" if second else "decided" if record.wants_second else "screened"
    say(f"{record.screening_id}, {record.trigger}: {counts(record)}")
    say(f"{done} by {by} with {result.fingerprint}: {result.path}")
    if result.superseded is not None:
        say(f"the record that was there is kept as {result.superseded}")
    if result.worksheet is not None:
        say(f"fill in {result.worksheet}, then: sealift screen ... --dispose {result.worksheet}")


def counts(record: ScreeningRecord) -> str:
    """How many were screened, and how many hits there are, and are open."""
    people = "1 party" if len(record.parties) == 1 else f"{len(record.parties):,} parties"
    return f"{people}, {counted(record.hits, 'hit')}, {record.open_hits:,} open"


def table(record: ScreeningRecord) -> None:
    """Every party, and beneath it the first of its hits: score, entry, names, and why."""
    say = common.say
    for party in record.parties:
        names = ", ".join((*party.query_as_typed, *party.native_script))
        say(f"{party.party_ref}: {names} ({party.country or 'no country'}): {party.disposition.replace('_', ' ')}")
        lines = []
        for hit in party.hits:
            decided = hit.decision.disposition.replace("_", " ") if hit.decision else "potential"
            listed = ", ".join(filter(None, (hit.entry_kind, *hit.entry_countries[:3])))
            lines.append(f"{hit.score:.2f}  {decided:<14}  {hit.name}{f' ({listed})' if listed else ''}")
            lines.append(f"      {hit.list}, {hit.entry_id}, {hit.source}: {hit.why}")
            if hit.decision:
                lines.append(f"      {hit.decision.by}, {hit.decision.at}: {hit.decision.rationale}")
        for line in lines[: 3 * common.SHOWN]:
            say(f"  {line}")
        if len(lines) > 3 * common.SHOWN:
            say(f"  and more of {len(party.hits):,} hits (all are in the worksheet, and in --json)")


def say_problems(problems: Sequence[Problem]) -> None:
    """What holds the release, a line each."""
    if problems:
        common.say("this holds the release:")
        common.say_list(
            (f"{each.where}: {each.reason}" if each.where else each.reason for each in problems), len(problems)
        )


def answer(file: str, result: Result, problems: Sequence[Problem]) -> dict[str, Any]:
    """The JSON object: the whole record, and where it lies."""
    import msgspec

    return {
        "file": file,
        "screening": result.path,
        "superseded": result.superseded,
        "worksheet": result.worksheet,
        "fingerprint": result.fingerprint,
        "notes": result.notes,
        "clear": not problems,
        "problems": [each._asdict() for each in problems],
        "record": msgspec.to_builtins(result.record),
    }
