"""`sealift keys`: each recipient opens a sample before drives leave. Thin: stages/keys.py and trade/keys.py do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common
from sealift.errors import BadInput, Refused
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.stages.keys import Result
    from sealift.trade.keys import KeysRecord, Outcome, Problem

GROUP = """
Prove, before drives leave, that each recipient can open what will be sealed for them.

Drives that nobody at the destination can open are the one loss that parity does not mend. The origin seals a sample for
each recipient's key (challenge) and sends it by network. Whoever has the key opens it (answer), with sealift or with
age alone, and sends back a small file, or reads a code out over the telephone. The origin records who passed (check).
"""

CHALLENGE = """
Seal a sample for each recipient into DIR, and record, signed, beside the declaration in FILE who must answer.

The recipients are those that the declaration names (encryption.recipients), for whom pack seals the drives. Send each
sample to whom it names. The record, NAME.keys.json, knows the codes in them by digest alone. The same command again
makes one more sample for each; those that were sent before can still be answered, for 30 days.

\b
  sealift keys challenge declaration.toml --to outbox --sign-with KEY --by "Dana Engineer"

Exit 0: written; 1: a key or a name that cannot be used; 5: the record that is there is not one to follow.
"""

ANSWER = """
Open SAMPLE with your identity, and write the answer, a small file, to be sent back.

It writes SAMPLE's name with .answer.json beside it, or --out. An identity is an age identity file, post-quantum ones
among them, or an OpenSSH key of type ed25519 without a passphrase, as for unpack. Nothing else of sealift is needed,
and neither is sealift: `age -d -i KEY SAMPLE` prints the same code, and what to do with it.

\b
  sealift keys answer Petra-Petrel.KC-20261126-0123456789AB.sample.age --identity key.txt

Exit 0: written; 4: damaged, or no sample; 5: sealed for another key.
"""

CHECK = """
Check answers, record who passed, and say what about keys still holds the release of the declaration in FILE.

An answer counts once, for the recipient whose sample it is of, for 30 days from when that was sealed. Wrong, old,
repeated and swapped ones, and those of another consignment, are refused, each with why; right ones beside them are
recorded. --spoken takes the code as it was read out, in any case, with or without its hyphens. What is recorded is
signed; without --answer, --spoken and --waive-second nothing is, and it only says how things are.

Two recipients must be different persons with a key each. Where there is only one, the person who signs may accept that
by name, with a reason.

\b
  sealift keys check declaration.toml --answer Petra.answer.json --spoken "2345-6789-..." --sign-with KEY --by "Dana"
  sealift keys check declaration.toml --waive-second "the copy is in the safe" --sign-with KEY --by "Olu Officer"
  sealift keys check declaration.toml --allowed-signers signers

Exit 0: nothing about keys holds the release; 5: something does, or an answer was refused.
"""


@click.group("keys", help=GROUP, short_help="Prove that recipients can open what is sealed for them.")
def keys() -> None:
    """Nothing happens before the subcommand."""


@keys.command("challenge", help=CHALLENGE, short_help="Seal a sample for each recipient.", no_args_is_help=True)
@click.argument("file", type=click.Path())
@click.option("--to", "folder", required=True, metavar="DIR", type=click.Path(), help="Where the samples are written.")
@click.option("--sign-with", "key", required=True, metavar="KEY", type=click.Path(), help="SSH key of who signs.")
@click.option("--by", required=True, metavar="NAME", help="Who signs: a person's name.")
@common.allowed_signers_option
@common.json_option
def challenge(file: str, folder: str, key: str, by: str, allowed_signers: str | None, *, as_json: bool) -> None:
    """Seal, record, and say what to send to whom."""
    from sealift.stages import keys as stage
    from sealift.trade.signing import Signer

    signer = Signer.open(key)
    allowed = common.load_allowed(allowed_signers) if allowed_signers else None
    result = stage.challenge(file, folder, signer, by=by, allowed=allowed)
    _say_written(result, by, signer.public_key.fingerprint)
    for holder, _, sample in result.samples:
        common.say(f"send to {holder.words}: {sample}")
    common.say("they open it with: sealift keys answer SAMPLE --identity KEY; or: age -d -i KEY SAMPLE")
    if as_json:
        samples = [
            {**holder._asdict(), "challenge_id": challenge_id, "sample": sample}
            for holder, challenge_id, sample in result.samples
        ]
        common.emit({"file": file, **_written(result, signer.public_key.fingerprint), "samples": samples})


@keys.command("answer", help=ANSWER, short_help="Open a sample with your key.", no_args_is_help=True)
@click.argument("sample", type=click.Path())
@common.identity_option
@click.option("--out", metavar="FILE", type=click.Path(), help="The answer; else beside SAMPLE.")
@common.json_option
def answer(sample: str, identities: tuple[str, ...], out: str | None, *, as_json: bool) -> None:
    """Open, write, and say what to send back."""
    from sealift.stages import keys as stage

    answered = stage.answer(sample, common.load_identities(identities), out)
    record = answered.answer
    common.say(f"opened: your key is the right one for {record.name}, consignment {record.consignment_id}")
    common.say(f"send back {answered.path}" + (", which was there already" if answered.there else ""))
    common.say(f"or read out over the telephone: {record.code}")
    if as_json:
        fields = {name: getattr(record, name) for name in record.__struct_fields__ if name not in {"type", "version"}}
        common.emit({"sample": sample, "answer": answered.path, **fields})


@keys.command("check", help=CHECK, short_help="Check and record answers.", no_args_is_help=True)
@click.argument("file", type=click.Path())
@click.option("--answer", "answers", multiple=True, metavar="FILE", type=click.Path(), help="An answer. Repeated.")
@click.option("--spoken", multiple=True, metavar="CODE", help="A code that was read out. Repeated.")
@click.option("--waive-second", "waive", metavar="REASON", help="Accept that no two recipients are independent.")
@click.option("--sign-with", "key", metavar="KEY", type=click.Path(), help="SSH key of who signs.")
@click.option("--by", metavar="NAME", help="Who signs: a person's name.")
@common.allowed_signers_option
@common.json_option
def check(
    file: str, answers: tuple[str, ...], spoken: tuple[str, ...], waive: str | None, key: str | None, by: str | None,
    allowed_signers: str | None, *, as_json: bool,
) -> None:  # fmt: skip
    """Take what was given, and say how things are."""
    from datetime import UTC, datetime

    from sealift.stages import keys as stage
    from sealift.trade import keys as records
    from sealift.trade.signing import Signer

    signs = bool(answers or spoken or waive is not None)
    if signs != bool(key and by) or bool(key) != bool(by):
        wants = "--sign-with KEY and --by NAME belong to --answer, --spoken and --waive-second: a named person signs"
        raise BadInput(wants, hint="sealift keys check --help")
    now = datetime.now(UTC)
    if signs:
        signer = Signer.open(str(key))
        allowed = common.load_allowed(allowed_signers) if allowed_signers else None
        given = [*map(stage.load_answer, answers), *map(_heard, spoken)]
        result = stage.check(file, given, signer, by=str(by), waive=waive, allowed=allowed, now=now)
        record: KeysRecord | None = result.record
        holders = result.record.holders
        problems = records.held(result.record, result.record.consignment_id, holders, now)
        _say_outcomes(result.outcomes)
        if result.written:
            _say_written(result, str(by), signer.public_key.fingerprint)
        wrote = _written(result, signer.public_key.fingerprint)
    else:
        problems, checked = stage.standing(file, common.load_allowed(allowed_signers), now=now)
        record = checked.record if checked is not None else None
        wrote = {"keys": records.path_beside(file), "superseded": None, "fingerprint": None}
        result = None
    _say_standing(record, problems)
    outcomes = result.outcomes if result is not None else []
    if as_json:
        common.emit({"file": file, **wrote, **_standing_answer(record, problems, outcomes)})
    if problems or any(each.refused and not each.repeated for each in outcomes):
        raise click.exceptions.Exit(Refused.exit_code)


def _heard(text: str) -> Any:
    from sealift.trade import key_sample
    from sealift.trade.keys import Given

    code = key_sample.parse_code(text)
    return Given(code, code)


def _written(result: Result, fingerprint: str) -> dict[str, Any]:
    return {
        "keys": result.path,
        "superseded": result.superseded,
        "fingerprint": fingerprint if result.written else None,
    }


def _standing_answer(
    record: KeysRecord | None, problems: Sequence[Problem], outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    """The part of the JSON object that says how things are."""
    import msgspec

    rows = []
    for each in record.recipients if record is not None else ():
        proof = each.proof
        rows.append(
            {
                **each.holder._asdict(),
                "challenges": len(each.challenges),
                "proved_from": proof.made_at if proof is not None else None,
                "passed": msgspec.to_builtins(proof.passed) if proof is not None else None,
            }
        )
    return {
        "answers": [
            {
                "source": each.source,
                "name": each.holder.name if each.holder is not None else None,
                "challenge_id": each.challenge_id or None,
                "refused": each.refused or None,
                "repeated": each.repeated,
            }
            for each in outcomes
        ],
        "recipients": rows,
        "waiver": msgspec.to_builtins(record.waiver) if record is not None else None,
        "clear": not problems,
        "problems": [each._asdict() for each in problems],
    }


def _say_written(result: Result, by: str, fingerprint: str) -> None:
    common.say(f"signed by {by} with {fingerprint}: {result.path}")
    if result.superseded is not None:
        common.say(f"the record that was there is kept as {result.superseded}")
    if result.aside:
        common.say(result.aside)


def _say_outcomes(outcomes: Sequence[Outcome]) -> None:
    for each in outcomes:
        if each.repeated:
            common.say(f"not counted again: {each.source}: {each.refused}")
        elif each.refused:
            common.say(f"refused: {each.source}: {each.refused}")
        elif each.holder is not None:
            common.say(f"passed: {each.source}: {each.holder.words} opened {each.challenge_id}")


def _say_standing(record: KeysRecord | None, problems: Sequence[Problem]) -> None:
    """Each recipient with how they stand, the waiver, and what holds the release."""
    for each in record.recipients if record is not None else ():
        proof = each.proof
        if proof is None or proof.passed is None:
            common.say(f"{each.holder.words}: {counted(len(each.challenges), 'sample')}, no answer")
        else:
            how = f"recorded {proof.passed.at} by {proof.passed.by}"
            common.say(f"{each.holder.words}: opened a sample of {proof.made_at}, {how}")
    if record is not None and record.waiver is not None:
        waiver = record.waiver
        common.say(f"no two recipients are independent: {waiver.accepted_by} accepts that: {waiver.reason}")
    if problems:
        common.say("this holds the release:")
        lines = (f"{each.where}: {each.reason}" if each.where else each.reason for each in problems)
        common.say_list(lines, len(problems))
    elif record is not None:
        common.say("nothing about keys holds the release")
