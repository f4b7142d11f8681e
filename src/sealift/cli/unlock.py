"""`sealift unlock`: this shipment's pack keys for a job. Thin: stages/unlock.py reads, seals and records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common, reading
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from sealift.stages.unlock import Result, Unread

_HEAD = 4096  # bytes that are read of each file

HELP = """
Issue the keys of this shipment's packs to a job, so that compute hosts read it without the identity file.

MNT is where a drive is mounted, an address (https://HOST/PATH/, s3://BUCKET/PREFIX), or a locations file. Only the age
header of every pack and index is read, a few KiB each, and opened with --identity, which stays here. FILE holds the
keys, sealed for the job's own recipients and signed; it opens this shipment and no other. Each issue is an event in the
custody log in folder LOG: who, when, for which job and whom, until when, and the digest of FILE.

On a compute host every command that reads takes --keys FILE, with the job's identity in the place of the shipment's:

\b
  age-keygen -o job.txt                            (for the job; its public half is age1...)
  sealift unlock fleet.toml --identity key.txt --seal 5f0c1d2e3a4b5c6d.seal --allowed-signers signers \\
      --for age1... --job run-7 --hours 240 --sign-with ~/.ssh/id_ed25519 --by "Kim Keyholder" \\
      --organisation "Example Research" --custody custody/ --out run-7.keys.age
  sealift ls fleet.toml --identity job.txt --keys run-7.keys.age --seal 5f0c1d2e3a4b5c6d.seal

The allowed signers must have the key of --sign-with for sealift-unlock and sealift-custody. Keys that have expired are
refused by sealift; whoever has copied them can still read ciphertext that they have.

Exit 0: issued; 4: issued, but for packs whose header no drive of their group can give, each is named; 5: refused, also
under a seal that is superseded by one of a later revision beside it or on a drive;
6: issued for what is here, drives are named that have the others: attach them, and run again into another FILE.
"""


@click.command("unlock", help=HELP, short_help="Issue pack keys to a job; the identity stays here.")
@click.argument("mounts", nargs=-1, required=True, metavar="MNT...")
@common.identity_option
@common.allowed_signers_option
@common.seal_option
@click.option(
    "--for",
    "recipients",
    multiple=True,
    required=True,
    metavar="KEY",
    help="The job's own recipient: age1..., age1pq1..., ssh-ed25519 AAAA.... May be repeated.",
)
@click.option("--job", required=True, metavar="NAME", help="What the keys are for; it is recorded.")
@click.option("--hours", type=int, metavar="N", help="How long they are valid.  [default: 168]")
@click.option("--valid-until", metavar="TIME", help="Or until when, with its offset: 2026-12-24T18:00:00Z.")
@click.option("--sign-with", "key", required=True, metavar="KEY", type=click.Path(), help="SSH key of who issues.")
@click.option("--by", "name", required=True, metavar="NAME", help="Who issues them.")
@click.option("--organisation", required=True, metavar="NAME", help="For which organisation.")
@click.option("--custody", required=True, metavar="LOG", type=click.Path(), help="Custody log of the shipment.")
@click.option("--out", required=True, metavar="FILE", type=click.Path(), help="The issued file; not there yet.")
@common.json_option
@click.pass_context
def unlock(
    context: click.Context,
    /,
    mounts: tuple[str, ...],
    identities: tuple[str, ...],
    allowed_signers: str | None,
    seal: str | None,
    recipients: tuple[str, ...],
    key: str,
    *,
    as_json: bool,
    **given: Any,
) -> None:
    """Issue, and say what was issued."""
    from sealift.stages import unlock as stage
    from sealift.trade.signing import Signer

    options = stage.Options(
        list(mounts),
        reading.read_identities(identities),
        reading.read_allowed(allowed_signers),
        reading.load_seal(seal),
        list(recipients),
        seal_path=seal,
        **given,
    )
    signer = Signer.open(key)
    with common.Meter() as meter:
        events = stage.Events(
            progress=lambda done, total: meter.update("headers", done * _HEAD, total * _HEAD, files=done),
            notice=lambda text: meter.note(common.path_text(f"note: {text}".encode(errors="surrogateescape"))),
        )
        result = stage.issue(options, signer, events)
    _tell(options.out, result)
    if as_json:
        common.emit(answer(options.out, result, signer.public_key.fingerprint))
    context.exit(4 if result.lost else 6 if result.awaited or result.missing else 0)


def answer(out: str, result: Result, fingerprint: str) -> dict[str, Any]:
    """The JSON object."""
    record = result.record
    return {
        "shipment": record.shipment,
        "consignment_id": record.consignment_id,
        "seal_blake3": record.seal.blake3,
        "job": record.job,
        "recipients": record.recipients,
        "issued_at": record.issued_at,
        "valid_until": record.valid_until,
        "fingerprint": fingerprint,
        "file": out,
        "file_bytes": result.file.bytes,
        "file_blake3": result.file.blake3,
        "keys": record.keys.issued,
        "groups": [each.group for each in record.groups],
        "lost": [_unread(each) for each in result.lost],
        "awaited": [_unread(each) for each in result.awaited],
        "absent_drives": [
            {"drive": row.id, "serial": row.serial, "carrier": row.carrier, "group": each.group, "slot": row.slot}
            for each in result.short
            for row in each.absent
        ],
        "missing_groups": result.missing,
        "event": result.event.digest,
    }


def _unread(each: Unread) -> dict[str, Any]:
    drive, serial = (each.drive.id, each.drive.serial) if each.drive else (None, None)
    return {"file": each.file, "group": each.group, "slot": each.slot, "drive": drive, "serial": serial}


def _tell(out: str, result: Result) -> None:
    from sealift.cli import custody_words
    from sealift.stages import unlock as stage

    say = common.say
    for mount, why in result.ignored:
        say(common.path_text(f"note: {mount} is ignored: {why}".encode(errors="surrogateescape")))
    record = result.record
    say(
        f"shipment {record.shipment}: {counted(record.keys.issued, 'key')} for job {record.job}, valid until "
        f"{record.valid_until}, in {out} ({common.size_text(result.file.bytes)})"
    )
    say(f"recorded in custody as {result.event.digest[: custody_words.SHORT]}")
    custody_words.show_findings(result.shows)
    _tell_unread(
        result.lost, "whose header no drive has whole, though all drives of the group are here; no key is in it:"
    )
    _tell_unread(
        result.awaited, "whose header nothing here gives, and drives are not here that may; no key is in it yet:"
    )
    for short in result.short:
        absent = ", ".join(map(stage.named, short.absent))
        say(f"group {short.group} has {short.here} of {short.here + len(short.absent)} drives here; not here: {absent}")
    for group in result.missing:
        say(f"group {group} has no drive here, and its keys are not in it")
    lacking = [short.wanted - short.here for short in result.short]
    if result.short or result.missing:
        more = "more of them" if result.missing or max(lacking) < 1 else f"{max(lacking)} or more of them"
        say(f"hint: attach {more}, and run again with another --out")


def _tell_unread(files: list[Unread], why: str) -> None:
    if not files:
        return
    common.say(f"{counted(len(files), 'file')} {why}")
    common.say_list(map(_line, files), len(files))


def _line(each: Unread) -> str:
    from sealift.stages.unlock import named

    where = f", slot {each.slot}: {named(each.drive)}" if each.drive else ", on every drive of it"
    return f"{each.file} of group {each.group}{where}"
