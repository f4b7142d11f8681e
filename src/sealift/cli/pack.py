"""`sealift pack`: fill drives from a source; the same command again resumes. Thin: stages/ works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common, pack_words, planned
from sealift.errors import BadInput, KeyInvalid

if TYPE_CHECKING:
    from sealift.cli.common import Meter
    from sealift.formats.age import Recipient
    from sealift.stages.pack.group import Progress
    from sealift.stages.pack.run import Events, Options, Result

HELP = """
Pack the folder SOURCE, or what is beneath s3://BUCKET/PREFIX, onto drives: compressed, encrypted for its
recipients, with parity, signed.

Every drive is a mounted filesystem (--to MNT, once each), or listed under whoever carries it (--carrier
NAME=MNT,MNT). Of the drives of a group, as many as --parity may be lost, late or dead, and every byte is
still there. Nothing is written before keys, declaration, drives and room have been checked. Stopped,
killed, out of power: the same command again goes on.

\b
  sealift declare --new declaration.toml
  sealift pack /data/corpus --state /var/lib/sealift/corpus --declaration declaration.toml \\
      --carrier Anna=/mnt/d0,/mnt/d1 --carrier Bo=/mnt/d2,/mnt/d3 --parity 2 \\
      --recipient age1... --sign-with ~/.ssh/id_ed25519

Of a bucket each object is a file: its key beneath PREFIX is the path, Last-Modified the time. Keys that cannot
be paths are named and skipped; an object that is replaced meanwhile is told as a file that changes is, and as
not whole where some of it was packed: zeros stand for the rest. Keys of the store come
from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, its address from AWS_ENDPOINT_URL.

A drive that fails meanwhile is set aside and named; the others go on, and exit 3 says how to put another in its
place: the same command with --replace OLD=NEW, which rebuilds on NEW what OLD had, and goes on.

With more drives than bays, declare all of them and give --group-size N: groups whose drives are attached are
packed, the others wait, and the same command with the next drives goes on (exit 6 until all are packed).

With a plan, SOURCE, parity, groups, order and carriers are the plan's, and so must the declaration's drives be
(sealift declare --new FILE --plan); what contradicts it is refused.

\b
  sealift pack --plan shipment.toml --state /var/lib/sealift/corpus --declaration declaration.toml \\
      --to /mnt/d0 --to /mnt/d1 --recipient age1... --sign-with ~/.ssh/id_ed25519

The leg home answers an outbound shipment, whose seal names for whom it is and who may sign it. It has a declaration
of its own, and takes a provenance record along, made of run.json in SOURCE or --provenance. With --network a plain
directory, or s3://BUCKET/PREFIX, takes the place of a drive, declared as one: serial NETWORK-...

\b
  sealift pack /data/run7/final --leg return --in-reply-to 0123456789abcdef.seal --allowed-signers signers \\
      --state /var/lib/sealift/home --declaration home.toml --to /mnt/d0 --to /mnt/d1 --parity 1 --sign-with KEY

Groups may be packed on many hosts at once, each where its drives stand. The declaration names all drives and carriers;
the key stays here.

\b
  sealift pack /data/corpus --ray auto --to '/mnt/d*' --state /var/lib/sealift/corpus --group-size 8 --parity 2 \\
      --declaration declaration.toml --sign-with ~/.ssh/id_ed25519

Next: sealift release, then sealift seal. Exit 0: packed; 2: packed, but files changed or were skipped
meanwhile; 3: drives or the store failed, or of what is signed something is missing or wrong, nothing is lost; 4: that
is more than parity holds, so keep the source; 6: some groups wait for their drives.
"""


@click.command("pack", help=HELP, short_help="Pack a corpus onto drives.", no_args_is_help=True)
@click.argument("source", required=False, type=click.Path(readable=False))  # why not, is said in our words
@planned.option(
    "Follow this plan, shipment.toml: SOURCE, --parity, --group-size, --pack-size, --order, --seed, carriers."
)
@click.option(
    "--to", "to", metavar="MNT", multiple=True, type=click.Path(), help="A mounted drive to fill; see --network."
)
@click.option("--carrier", "carriers", metavar="NAME=MNT,MNT", multiple=True, help="Drives, and who carries them.")
@click.option("--serial", "serials", metavar="MNT=SERIAL", multiple=True, help="Serial of a drive that tells none.")
@click.option("--parity", type=int, metavar="M", help="Drives of a group that may be lost. Required, save --network.")
@click.option(
    "--recipient",
    "recipients",
    metavar="KEY",
    multiple=True,
    help="age1..., age1pq1..., ssh-ed25519 AAAA...; else those whom the declaration names.",
)
@click.option(
    "--recipients-file",
    "recipient_files",
    metavar="FILE",
    multiple=True,
    type=click.Path(),
    help="Recipients, one a line.",
)
@click.option(
    "--leg", type=click.Choice(["outbound", "return"]), default="outbound", show_default=True,
    help="return: weights and logs go home.",
)  # fmt: skip
@click.option("--in-reply-to", metavar="SEAL", type=click.Path(), help="Of --leg return: the outbound shipment's seal.")
@click.option(
    "--provenance", metavar="FILE", type=click.Path(), help="Of --leg return: code, config and metrics, JSON or TOML."
)
@common.allowed_signers_option
@click.option("--network", is_flag=True, help="--to is a directory or s3://BUCKET/PREFIX; no parity.")
@click.option("--sign-with", required=True, metavar="KEY", type=click.Path(), help="SSH key that signs the manifests.")
@click.option(
    "--declaration",
    required=True,
    metavar="FILE",
    type=click.Path(),
    help="The declaration; a draft will do.",
)
@click.option(
    "--state",
    required=True,
    metavar="DIR",
    type=click.Path(),
    help="Journal of this packing; not on a drive, kept until the source may be freed.",
)
@click.option("--group-size", type=int, metavar="N", help="Drives a group; without it all drives are one group.")
@click.option(
    "--pack-size",
    type=common.Size(),
    default="1GiB",
    show_default=True,
    metavar="SIZE",
    help="Length of a pack.",
)
@click.option(
    "--order", type=click.Choice(["path", "shuffled"]), default="path", show_default=True,
    help="path keeps a tree together; shuffled permutes samples over the whole shipment.",
)  # fmt: skip
@click.option("--seed", type=int, default=0, metavar="N", help="Of --order shuffled: its permutation.")
@click.option("--sample-key", metavar="REGEX", help="What members of one sample have in common in their path.")
@click.option("--shipment", metavar="ID", help="Id of the shipment, for groups packed on several hosts.")
@click.option("--allow-same-filesystem", is_flag=True, help="Take folders of one filesystem as drives: scratch use.")
@click.option("--accept-carrier-risk", is_flag=True, help="Go on though losing one carrier would lose data.")
@click.option(
    "--accept-missing", is_flag=True, help="Go on though much of the source is gone since it was listed, or fails."
)
@click.option(
    "--replace", "replaced", metavar="OLD=MNT", multiple=True, help="A new drive, at MNT, for one that failed."
)
@click.option(
    "--read-back",
    type=click.Choice(["none", "sample", "full"]),
    default="sample",
    show_default=True,
    help="How much of what was written is read again from the medium, and compared.",
)
@click.option("--only", metavar="LIST", type=click.Path(), help="Pack only what the packs of a fetch list held.")
@click.option("--of", metavar="DIR", type=click.Path(), help="With --only: state folder of the packing LIST is about.")
@click.option(
    "--notify", metavar="CMD", help="Run when a drive fails, hangs or is slow, a group is complete, packing ends."
)
@click.option("--discard-group", is_flag=True, help="Clear drives of an unfinished packing whose state is lost.")
@click.option(
    "--ray",
    "address",
    metavar="ADDRESS",
    help="Pack on the hosts of this Ray cluster (HOST:PORT, or auto): --to are folders of each host, as quoted patterns"
    " ('/mnt/d*'), SOURCE and --state paths that each has.",
)
@common.json_option
def pack(as_json: bool, address: str | None, **given: Any) -> None:
    """Pack, and say what was packed."""
    from sealift.stages.pack.workers import Workers, count

    given["plan"] = plan = planned.load(given["plan"]) if given["plan"] is not None else None
    if plan is not None:
        planned.fill(given, plan)
    if given["source"] is None:
        raise BadInput(
            "SOURCE is missing", hint="the folder that is packed, or s3://BUCKET/PREFIX; or a --plan that names it"
        )
    if given["parity"] is None:
        given["parity"] = _no_parity(network=given["network"])
    if address is not None:
        _pack_on(address, as_json=as_json, **given)
        return
    drives = {*given["to"], *common.parse_carriers(given["carriers"])}
    with Workers(count(len(drives) - given["parity"])) as workers:  # they get ready while this process imports
        from sealift.stages.pack import run as stage

        common.without_pandas()
        options = _options(**given)
        with common.Meter() as meter:
            result = stage.run(options, _events(meter), workers)
    _tell(result, options, as_json=as_json)


def _pack_on(address: str, *, as_json: bool, **given: Any) -> None:
    """On the hosts of a cluster."""
    from sealift.stages.pack.hosts import pack_on
    from sealift.stages.placement import place

    options = _options(**given)
    with common.Meter() as meter, place(address, meter.note) as hosts:
        result = pack_on(hosts, options, common.placed_events(meter, address))
    _tell(result, options, as_json=as_json)


def _tell(result: Result, options: Options, *, as_json: bool) -> None:
    if as_json:
        common.emit(pack_words.answer(result))
    pack_words.summarize(result, options)
    if result.exit_code:
        raise click.exceptions.Exit(result.exit_code)


def _no_parity(*, network: bool) -> int:
    if not network:
        raise BadInput("--parity is missing", hint="--parity M: how many drives of a group may be lost")
    return 0


def _options(
    *,
    to: tuple[str, ...],
    carriers: tuple[str, ...],
    serials: tuple[str, ...],
    recipients: tuple[str, ...],
    recipient_files: tuple[str, ...],
    replaced: tuple[str, ...],
    **rest: Any,
) -> Options:
    from sealift.stages.pack import run as stage

    if not 0 <= rest["seed"] < 1 << 62:
        raise BadInput(f"--seed {rest['seed']} is out of limits", hint="0 to 2^62 - 1")
    carried = common.parse_carriers(carriers)
    texts = [*recipients, *(str(each) for path in recipient_files for each in _recipients_of(path))]
    return stage.Options(
        to=list(dict.fromkeys([*to, *carried])),
        carriers=carried,
        serials=common.parse_serials(serials),
        recipients=list(dict.fromkeys(texts)),
        replace=_parse_replaced(replaced),
        **rest,
    )


def _parse_replaced(values: tuple[str, ...]) -> dict[str, str]:
    out: dict[str, str] = {}
    for value in values:
        old, equals, mount = value.partition("=")
        if not (equals and old and mount):
            raise BadInput(
                f"--replace {value!r} is not OLD=MNT",
                hint="--replace OLD=MNT: the serial number of the drive that failed, and the mount of the new one",
            )
        if out.get(old, mount) != mount:
            raise BadInput(
                f"--replace {value}: {old} is to be replaced by the drive at {out[old]} already",
                hint="leave one of the two away: a place takes one new drive",
            )
        out[old] = mount
    return out


def _recipients_of(path: str) -> list[Recipient]:
    from sealift.formats import age_keys
    from sealift.trade.signing import read_limited

    data = read_limited(path, age_keys.MAX_KEY_FILE, "recipients file", error=KeyInvalid)
    try:
        return age_keys.parse_recipients_file(data)
    except KeyInvalid as error:
        raise KeyInvalid(f"recipients file {path}: {error}", hint=error.hint) from error


def _events(meter: Meter) -> Events:
    from sealift.stages.pack.run import Events

    def scanning(files: int, size: int) -> None:
        meter.update("scanning", size, None, files=files)

    def packing(progress: Progress, total: int) -> None:
        meter.update(
            f"group {progress.group}",
            progress.source_bytes,
            total,
            files=progress.files,
            drives=progress.written,
        )

    def rebuilding(group: int, done: int, total: int) -> None:
        meter.update(f"rebuilding drives of group {group}", done, total)

    def reading(group: int, done: int, total: int) -> None:
        meter.update(f"reading drives of group {group} again", done, total)

    def digesting(files: int, size: int, total: int) -> None:
        meter.update("digests of the checkpoint", size, total, files=files)

    return Events(
        notice=meter.note,
        scanning=scanning,
        digesting=digesting,
        packing=packing,
        rebuilding=rebuilding,
        reading=reading,
    )
