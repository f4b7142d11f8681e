"""`sealift release`: the officer's signature over a complete declaration. Thin: trade/ does the work."""

from __future__ import annotations

import json

import click

HELP = """
Release the declaration in FILE: the signature of a second person, without which no drive leaves.

The officer is a named person, never the author of the declaration, and signs with a key of their own; the
author's key is refused. The release is of exactly these bytes: whoever changes a party, a carrier, a
serial, or anything else, needs a new one. It is written beside FILE, as NAME.release.json and
NAME.release.json.sig; one that was there before is kept under a number.

\b
  sealift release declaration.toml --sign-with ~/.ssh/id_ed25519 --officer "O. Fficer" \\
      --reason "complete, parties known, no open question" --reference TC-2026-118

KEY is a private key file, or a .pub file whose private half is in an agent or on a hardware key.
"""


@click.command("release", help=HELP, short_help="Release a declaration: another person's signature.")
@click.argument("file", type=click.Path())
@click.option("--sign-with", "key", type=click.Path(), metavar="KEY", required=True, help="The officer's SSH key.")
@click.option("--officer", metavar="NAME", required=True, help="Who releases: a person's name.")
@click.option("--reason", metavar="TEXT", required=True, help="Why it may go, in one line.")
@click.option("--reference", metavar="REF", required=True, help="Where the decision is on file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def release(file: str, key: str, officer: str, reason: str, reference: str, *, as_json: bool) -> None:
    """Sign, and write the two files."""
    from datetime import UTC, datetime

    from sealift.trade import declaration, sheets, signing
    from sealift.trade import release as releases

    data = signing.read_limited(file, declaration.MAX_BYTES, "declaration")
    parsed = declaration.parse(data, draft=False)
    signer = signing.Signer.open(key)
    total = sheets.counted(len(parsed.drives), "drive")
    click.echo(f"{parsed.consignment_id}: {total}, {sheets.size(parsed.capacity_bytes)}", err=True)
    click.echo(f"from {parsed.shipper.legal_name} to {parsed.consignee.legal_name}", err=True)
    click.echo(f"for {parsed.end_user.legal_name}, {parsed.end_use.class_}", err=True)
    click.echo(sheets.leg_text(parsed), err=True)
    for what, keys in (("read", parsed.return_.recipients), ("signed", parsed.return_.signers)):
        for each in keys:
            click.echo(f"what comes back may be {what} by {each}", err=True)
    if parsed.rehearsal:
        click.echo(sheets.REHEARSAL, err=True)
    signed = releases.make_release(
        parsed, signer, officer=officer, reason=reason, reference=reference, now=datetime.now(UTC)
    )
    path = releases.path_beside(file)
    superseded = signing.write_pair(path, signed.data, signed.signature)
    if superseded is not None:
        click.echo(f"the release that was there is kept as {superseded}", err=True)
    click.echo(f"released by {officer} with {signer.public_key.fingerprint}: {path}", err=True)
    if as_json:
        answer = {
            "file": file,
            "release": path,
            "signature": path + ".sig",
            "superseded": superseded,
            "consignment_id": parsed.consignment_id,
            "blake3": parsed.digest,
            "rehearsal": parsed.rehearsal,
            "officer": officer,
            "fingerprint": signer.public_key.fingerprint,
            "released_at": signed.record.released_at,
        }
        click.echo(json.dumps(answer))
