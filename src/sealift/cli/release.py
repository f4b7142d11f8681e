"""`sealift release`: the gate, and the officer's signature through it. Thin: stages/release.py does the work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common
from sealift.errors import BadInput, Refused
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from sealift.stages.release import Asked, Released
    from sealift.trade.declaration import Declaration
    from sealift.trade.gate import Verdict

HELP = """
Release the declaration in FILE: the signature of a second person, without which no drive leaves.

The gate comes first. Every rule is looked at: questions that the declaration answers, and what lies beside it, the
screening (sealift screen) and the proof of the keys (sealift keys). An unanswered question, "unknown", a red flag that
nobody looked into, a hit that nobody decided, a list that is too old: each holds the release, and is named with why.
--check shows all of it and signs nothing. There is no option that goes around a rule.

The officer is a named person, never the author of the declaration, and signs with a key of their own. The release is
of exactly these bytes: whoever changes a party, a carrier, a serial, or anything else, begins a new revision (sealift
declare --revise) and needs a new release. It is written beside FILE, as NAME.release.json and NAME.release.json.sig;
one that was there before is kept under a number.

\b
  sealift release --check declaration.toml --list consolidated.csv --allowed-signers signers
  sealift release declaration.toml --sign-with ~/.ssh/id_ed25519 --officer "O. Fficer" \\
      --reason "complete, parties known, no open question" --reference TC-2026-118 \\
      --list consolidated.csv --allowed-signers signers

The rules are a file that people may read and change: --new-rules writes a copy, --rules takes it. What differs from
the rules that are shipped is named in the release and on every paper. KEY is a private key file, or a .pub file whose
private half is in an agent or on a hardware key. The allowed signers name the author (namespace sealift-declaration:
sealift declare --check FILE --sign-with KEY), the officer (sealift-release), whoever screened (sealift-screening) and
whoever recorded the keys (sealift-keys). Exit 0: released, or the gate is open; 5: held.
"""


@click.command("release", help=HELP, short_help="Release a declaration: the gate, and another person's signature.")
@click.argument("file", type=click.Path())
@click.option("--check", is_flag=True, help="Show what every rule says; sign nothing.")
@click.option("--new-rules", is_flag=True, help="Write the rules that are shipped to FILE, which must not exist.")
@click.option("--sign-with", "key", type=click.Path(), metavar="KEY", help="The officer's SSH key.")
@click.option("--officer", metavar="NAME", help="Who releases: a person's name.")
@click.option("--reason", metavar="TEXT", help="Why it may go, in one line.")
@click.option("--reference", metavar="REF", help="Where the decision is on file.")
@click.option("--rules", "rules_file", type=click.Path(), metavar="RULES", help="Rules in place of those shipped.")
@click.option(
    "--list",
    "lists",
    type=click.Path(),
    metavar="LIST",
    multiple=True,
    help="A list at hand, to screen again.",
)
@common.allowed_signers_option
@common.json_option
def release(
    file: str, *, check: bool, new_rules: bool, key: str | None, officer: str | None, reason: str | None,
    reference: str | None, rules_file: str | None, lists: tuple[str, ...], allowed_signers: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Run the gate, then sign."""
    from sealift.stages import release as stage
    from sealift.trade import declaration, signing

    given = {"--sign-with": key, "--officer": officer, "--reason": reason, "--reference": reference}
    if new_rules:
        if check or rules_file or lists or any(given.values()):
            raise BadInput("--new-rules takes FILE alone")
        write_rules(file, as_json=as_json)
        return
    if check and (named := [name for name, value in given.items() if value]):
        raise BadInput(f"--check signs nothing: leave out {', '.join(named)}")
    allowed = common.load_allowed(allowed_signers)
    if check:
        asked = stage.ask(file, allowed, rules_file=rules_file, lists=lists)
        show(file, asked.declaration, asked.verdict)
        if as_json:
            click.echo(json.dumps(checked(file, asked)))
        if not asked.verdict.open:
            raise click.exceptions.Exit(Refused.exit_code)
        return
    missing = [name for name, value in given.items() if not value]
    if key is None or officer is None or reason is None or reference is None:
        raise BadInput(f"{', '.join(missing)} missing", hint="sealift release --help")
    declaration.parse(signing.read_limited(file, declaration.MAX_BYTES, "declaration"), draft=False)
    signer = signing.Signer.open(key)
    asked = stage.ask(file, allowed, rules_file=rules_file, lists=lists)
    show(file, asked.declaration, asked.verdict)
    done = stage.release(file, asked, signer, allowed, officer=officer, reason=reason, reference=reference)
    if done.superseded is not None:
        common.say(f"the release that was there is kept as {done.superseded}")
    common.say(f"released by {officer} with {signer.public_key.fingerprint}: {done.path}")
    common.say(f"the declaration as it was released: {done.kept}")
    if as_json:
        click.echo(json.dumps(answer(file, done, signer.public_key.fingerprint)))


def write_rules(file: str, *, as_json: bool) -> None:
    """A copy of the rules that are shipped."""
    from sealift.trade import rules, signing

    found = rules.shipped()
    signing.write_new(file, found.raw)
    common.say(f"wrote {file}: {len(found.rules)} rules, edition {found.edition}")
    if as_json:
        click.echo(json.dumps({"file": file, "edition": found.edition, "rules": [rule.id for rule in found.rules]}))


def show(file: str, parsed: Declaration, verdict: Verdict) -> None:
    """What is released, and what every rule says of it; `file` is where the declaration lies."""
    from sealift.stages import related
    from sealift.trade import sheets, totals

    whole = totals.total(parsed)
    drives = counted(len(parsed.drives), "drive")
    common.say(f"{parsed.consignment_id}, revision {parsed.revision}: {drives}, {sheets.size(parsed.capacity_bytes)}")
    common.say(
        f"{totals.grams(whole.gross_grams)} gross, customs value {', '.join(totals.money(whole.customs)) or 'none'}"
    )
    common.say(f"from {parsed.shipper.legal_name} to {parsed.consignee.legal_name}")
    common.say(f"for {parsed.end_user.legal_name}, {parsed.end_use.class_}")
    common.say(sheets.leg_text(parsed))
    for holder in parsed.encryption.recipients:
        common.say(f"the drives may be opened by {holder.name} ({holder.organisation})")
    for role, said in (sheets.before(parsed, row) for row in parsed.replaced):
        common.say(f"before, {role}: {said}")
    if parsed.related_shipments:
        others = counted(len(parsed.related_shipments), "related shipment")
        common.say(f"together with {others}: {sheets.together(parsed)}")
    for what, keys in (("read", parsed.return_.recipients), ("signed", parsed.return_.signers)):
        for each in keys:
            common.say(f"what comes back may be {what} by {each}")
    if parsed.rehearsal:
        common.say(sheets.REHEARSAL)
        return
    marks = {"clear": "   ", "resolved": " ! ", "held": "HELD"}
    common.say(f"rules of {verdict.rules.edition}, BLAKE3 {verdict.rules.digest[:16]}:")
    for found in verdict.rows:
        said = f" ({found.answer})" if found.answer else ""
        why = f": {found.why}" if found.why else ""
        common.say(f"{marks[found.state]:>4} {found.rule.id}{said}{why}")
        if found.state == "held":
            common.say(f"       {found.rule.question}")
    for changed in verdict.rules.changed:
        common.say(f"not as shipped: {changed}")
    for note in related.unnamed(file, parsed):
        common.say(f"note: {note}")
    if parsed.revision == 1:
        common.say(
            f"note: whether {parsed.consignment_id} was released before is known of this folder alone; your register"
            " of releases says whether it was elsewhere"
        )
    held = len(verdict.held)
    closed = f"the gate is closed, by {counted(held, 'rule')} of {len(verdict.rows)}"
    common.say("the gate is open" if verdict.open else closed)


def rows(verdict: Verdict) -> list[dict[str, Any]]:
    """The verdict for machines."""
    return [
        {
            "rule": row.rule.id,
            "state": row.state,
            "question": row.rule.question,
            "source": row.rule.source,
            "as_of": row.rule.as_of,
            "answer": row.answer,
            "evidence": row.evidence,
            "why": row.why,
        }
        for row in verdict.rows
    ]


def checked(file: str, asked: Asked) -> dict[str, Any]:
    """The JSON object of --check."""
    verdict = asked.verdict
    return {
        "file": file,
        "consignment_id": asked.declaration.consignment_id,
        "revision": asked.declaration.revision,
        "blake3": asked.declaration.digest,
        "rehearsal": asked.declaration.rehearsal,
        "open": verdict.open,
        "held": [row.rule.id for row in verdict.held],
        "resolved": [row.rule.id for row in verdict.resolved],
        "rules": {"edition": verdict.rules.edition, "blake3": verdict.rules.digest, "changed": verdict.rules.changed},
        "rows": rows(verdict),
    }


def answer(file: str, done: Released, fingerprint: str) -> dict[str, Any]:
    """The JSON object of a release."""
    record = done.record
    return {
        "file": file,
        "release": done.path,
        "signature": done.path + ".sig",
        "declaration": done.kept,
        "superseded": done.superseded,
        "consignment_id": record.consignment_id,
        "revision": record.revision,
        "blake3": record.declaration.blake3,
        "rehearsal": record.rehearsal,
        "rules": {"edition": record.rules.edition, "blake3": record.rules.blake3, "changed": record.rules.changed},
        "resolved": record.resolved,
        "officer": record.officer,
        "fingerprint": fingerprint,
        "released_at": record.released_at,
    }
