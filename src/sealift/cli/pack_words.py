"""What `sealift pack` says at its end: the JSON object, and the words with what to do next."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sealift.cli import common
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sealift.stages.pack.again import Since
    from sealift.stages.pack.run import Options, Result


def answer(result: Result) -> dict[str, Any]:
    """The JSON object, and which drives come next."""
    import msgspec

    return {
        "shipment": result.config.shipment,
        "consignment_id": result.config.consignment_id,
        "in_reply_to": result.config.in_reply_to and result.config.in_reply_to.consignment_id,
        "groups": result.groups,
        "files": result.files,
        "source_bytes": result.source_bytes,
        "packed_bytes": result.packed_bytes,
        "parity_bytes": result.parity_bytes,
        "seconds": round(result.seconds, 3),
        "memory_bytes": sum(result.memory.values()),
        "read_back": result.read_back,
        "lacking": result.lacking,
        "changed": [common.path_fields(path) for path in result.changed],
        "incomplete": [{**common.path_fields(path), "reason": reason} for path, reason in result.incomplete],
        "not_read": result.not_read,
        "skipped": [{**common.path_fields(path), "reason": reason} for path, reason in result.skipped],
        "outdated": [common.path_fields(path) for path in result.outdated],
        "since_listing": result.since
        and {
            "listed_at": result.since.listed_at,
            "came": result.since.came,
            "gone": result.since.gone,
            "rewritten": result.since.rewritten,
            "paths": [{**common.path_fields(path), "what": what} for path, what in result.since.paths],
        },
        "waiting": [
            {
                "group": group,
                "missing": [{"number": p.number, "serial": p.serial, "carrier": p.carrier} for p in places],
            }
            for group, places in result.waiting
        ],
        "hosts": [msgspec.to_builtins(host) for host in result.hosts],
    }


def summarize(result: Result, options: Options) -> None:
    """What a person wants to know at the end, and what to do next."""
    say, size = common.say, common.size_text
    groups = result.groups
    say()
    say(f"shipment {result.config.shipment}, consignment {result.config.consignment_id}")
    if result.config.in_reply_to:
        say(f"return leg in reply to {result.config.in_reply_to.consignment_id}")
    for group in groups:
        say(
            f"  group {group['group']}: {group['data']}+{group['parity']} drives,"
            f" {counted(group['stripes'], 'stripe')}, {group['state']}"
            + ", taken over from its drives"
            * group["taken_over"]
        )
        for line in drive_lines(group["owed"], group["slow"], group["misread"]):
            say(f"    {line}")
    for line in common.host_lines(result.hosts, "given"):
        say(f"  {line}")
    say(
        f"{counted(result.files, 'file')}, {size(result.source_bytes)}:"
        f" {size(result.packed_bytes)} packed,"
        f" {size(result.parity_bytes)} parity, in {common.duration_text(result.seconds)}"
    )
    if result.changed:
        say(f"{counted(len(result.changed), 'file')} changed while being read, packed as read:")
        common.say_list(map(common.path_text, result.changed), len(result.changed))
    if result.incomplete:
        say(f"{counted(len(result.incomplete), 'file')} not whole, zeros stand for what could not be read:")
        common.say_list((f"{common.path_text(p)}: {reason}" for p, reason in result.incomplete), len(result.incomplete))
        say("  on the drives they are marked as changed; to have them whole, pack them as another shipment")
    if result.outdated:
        what = counted(len(result.outdated), "file")
        say(f"{what} changed since the packing that --of is about, packed as they are now:")
        common.say_list(map(common.path_text, result.outdated), len(result.outdated))
    if result.skipped:
        say(f"{counted(len(result.skipped), 'path')} skipped:")
        common.say_list((f"{common.path_text(p)}: {reason}" for p, reason in result.skipped), len(result.skipped))
    if result.since:
        _tell_since(result.since, options)
    if result.repacked and (result.skipped or result.changed or result.incomplete):
        say("  stripes had been committed and were packed again, from the source as it is now: a path named above may")
        say("  have been on the drives before as it was then, and is not any more")
    say(read_back_text(result.read_back))
    _tell_next(result, options, groups)


def _tell_next(result: Result, options: Options, groups: Sequence[Mapping[str, Any]]) -> None:
    """What is to be done now, most urgent first."""
    say = common.say
    if result.owed and not result.stalled:
        owed = [each for group in groups for each in group["owed"]]
        over = [str(group["group"]) for group in groups if len(group["owed"]) > result.config.parity]
        if over:
            say(f"{counted(len(owed), 'drive')} set aside, not signed; of group {', '.join(over)} more than")
            say(
                "  parity holds: leave the old ones mounted and given by --to, beside the new ones, for their packs are"
            )
            say("  read from there; what they do not give is packed again from the source, so keep it. next:")
        else:
            say(f"{counted(len(owed), 'drive')} set aside, not signed; the others have what rebuilds them. next:")
        for line in next_lines(owed):
            say(f"  {line}")
    elif result.waiting:
        how = (
            "have all drives of a group stand on one host" if result.placed else "attach all drives of a group at once"
        )
        signed = sum(group["state"] == "signed" for group in groups)
        say(f"{signed} of {counted(len(groups), 'group')} packed; next, {how}:")
        lines = _waiting_lines(result)
        common.say_list(lines, len(lines))
        say("then run the same command" + (" with their mounts" * (not result.placed)))
        begun = {group["group"] for group in groups if group["stripes"]}
        for number, away in result.waiting:
            if number in begun and len(away) < len(result.config.groups[number]):
                say(f"group {number} has begun, and more of its drives are away than parity holds. For one that is")
                say("  dead, add a new drive, declared in its place, to the same command:")
                say("  " + " ".join(f"--replace {place.serial}=MNT" for place in away))
    elif result.lacking and result.read_back["beyond"]:  # what is next is said below
        say(f"packed and signed, and not all there: {', '.join(result.lacking)}")
    elif result.lacking:
        say(f"packed and signed, and not all there: {', '.join(result.lacking)}. next, what is said of them above;")
        say("then the same command, which looks again")
    elif result.read_back["wrong"]:
        say("packed and signed, and read back other than written. next, with all mounts of the groups that are named:")
        say("  sealift repair MNT... --allowed-signers SIGNERS")
        say("then the same command, which reads it again")
    elif found := _sealed(result, options):
        say(f"packed and signed, and sealed: {found}. Nothing more goes into this shipment; what is new in the source")
        say("  is another one, with a declaration (`sealift declare --new`) and a --state of its own")
    else:
        say("packed and signed. next:")
        say(f"  sealift release {options.declaration} --sign-with OFFICERS_KEY ...")
        say(f"  sealift seal --state {options.state} --declaration {options.declaration} --sign-with KEY ...")
    if beyond := result.read_back["beyond"]:
        say(beyond_text(beyond))
    over = [str(group["group"]) for group in groups if group["taken_over"]]
    if over and options.read_back == "full":
        one = f"group {over[0]} was" if len(over) == 1 else f"groups {', '.join(over)} were"
        say(f"{one} taken over, and not read back as asked: `sealift verify` with all mounts reads everything")


def beyond_text(stripes: int) -> str:
    """Of so many stripes more packs read back wrong than parity holds: what that means."""
    return (
        f"of {counted(stripes, 'stripe')} more packs are wrong than parity holds. repair once: what it calls lost "
        "(exit 4) is gone from these drives, and no other try gives it back. keep the source, and pack anew, with "
        "another --state, onto drives that are empty"
    )


def _tell_since(since: Since, options: Options) -> None:
    """What is otherwise in the source than it was listed, and what to do about it."""
    say = common.say
    say(f"{options.source} was listed at {since.listed_at}, and that is what is packed; since then {since.counts}:")
    shown = since.paths[: common.SHOWN]
    for path, what in shown:
        say(f"  {common.path_text(path)}: {what}")
    if since.total > len(shown):
        names = "names all of them" if since.total == len(since.paths) else "names more"
        say(f"  and {since.total - len(shown):,} more (--json {names})")
    if since.came or since.rewritten:
        say("what came is not in this shipment, and what was rewritten is in it as it was read. To send it:")
        say("  a shipment of its own, of a folder with just that, with another declaration, --state and drives; or all")
        say("  of it anew, with another --state and drives that were emptied. Until then do not free the source")


def _sealed(result: Result, options: Options) -> str | None:
    """Where the shipment's seal lies, or was written."""
    from sealift.stages.pack.sealed import seals_of
    from sealift.stages.status import seal_known

    config = result.config
    if (path := seal_known(options.state)) and os.path.isfile(path):
        return path
    for found in seals_of(config.consignment_id, options.declaration, options.state):
        if found.shipment == config.shipment:
            return found.path
    return path and f"{path} (not there any more)"


def next_lines(owed: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to do about drives that are set aside, by why they are."""
    from sealift.stages.pack.crew import no_room

    kinds = {"full" if no_room(each["kind"], each["reason"]) else each["kind"] for each in owed}
    lines = []
    if "full" in kinds:
        lines.append("free room on what is full, and run the same command again;")
    if kinds - {"full", "lied"}:
        lines.append("put right what can be, and run the same command again;")
    if "lied" in kinds:
        lines.append("what read back other than it was written is not taken back: only a new drive helps;")
    new = "new, larger" if "full" in kinds else "new"
    return [
        *lines,
        ("" if kinds == {"lied"} else "or ")
        + f"attach a {new} drive in place of each one, declare its serial number in place",
        "of the old one, and run the same command with",
        " ".join(f"--replace {each['serial']}=MNT" for each in owed) + "     (MNT: where the new drive is)",
    ]


def drive_lines(
    owed: Sequence[Mapping[str, Any]], slow: Sequence[Mapping[str, Any]], misread: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What there is to say of the drives of a group that are set aside, are slow, or gave other bytes than written."""
    lines = [f"set aside: {_which(each)}, from stripe {each['since_stripe']} on: {each['reason']}" for each in owed]
    for each in slow:
        rate, median = common.size_text(each["bytes_per_second"]), common.size_text(each["median_bytes_per_second"])
        lines.append(f"slow: {_which(each)}: writes {rate}/s, the median of its group {median}/s")
    for each in misread:
        blocks = counted(each["blocks"], "block")
        of = counted(each["packs"], "pack") if each["packs"] else "its small files"
        if each["blocks"] > each["packs"] > 0:  # each of these packs has one block at least: what more there is, either
            of += " or of its small files"
        were = "was" if each["blocks"] == 1 else "were"
        advice = (
            "it was replaced, and does not leave"
            if each.get("replaced")
            else "look at `dmesg`, its cable and port, and run `sealift verify` before it leaves: more may be wrong"
        )
        lines.append(f"wrong: {_which(each)}: {blocks} of {of} {were} not there as written; {advice}")
    return lines


def _which(drive: Mapping[str, Any]) -> str:
    """A drive by id, serial and mount: that of one which was never here is empty."""
    where = f", {drive['mount']}" if drive["mount"] else ""
    return f"drive {drive['drive']}, serial {drive['serial']}{where}"


def read_back_text(read_back: Mapping[str, Any]) -> str:
    """What was read again, by this run and by those before it."""
    now, total = read_back["this_run"], read_back["stripes_total"]
    stripes, wrong, came = read_back["stripes"], read_back["wrong"], _came(now)
    if now["blocks"]:
        where = "the media" if read_back["read_from"] == "medium" else "a cache: not all drives have a medium beneath"
        how = "a sample of " if read_back["mode"] == "sample" else ""
        rest = "packs that were rebuilt or in doubt"
        of = f"{how}{now['stripes']:,} of {counted(total, 'stripe')}" if now["stripes"] else rest
        many = counted(now["blocks"], "block")
        if now["again"]:
            many += f" ({now['again']:,} of stripes that had been read before)"
        text = f"read back {many}, of {of}, from {where}"
        text += "" if now["found"] or came or wrong else ", all right"
    else:
        text = "nothing was read back" + (" (--read-back none)" if read_back["mode"] == "none" else " by this run")
    text += "".join(f", {each}" for each in came)
    if stripes > now["stripes"]:
        text += f"; earlier runs read back {stripes - now['stripes']:,} of {counted(total, 'stripe')}"
    if now["blocks"] and total > stripes:
        text += f"; {counted(total - stripes, 'stripe')} not read back"
    return text + (f"; {_left(wrong)}" if wrong else "")


def wrong_text(read_back: Mapping[str, Any]) -> str:
    """What came, in all runs, of blocks that were not as they were written."""
    return ", ".join(_came(read_back) + ([_left(read_back["wrong"])] if read_back["wrong"] else []))


def _came(read: Mapping[str, Any]) -> list[str]:
    """Of an account of wrong blocks, those that are right by now."""
    repaired, again = read["repaired"], read["packed_again"]
    told = [f"{counted(repaired, 'block')} repaired"] if repaired else []
    return told + ([f"{counted(again, 'wrong block')} in stripes that were packed again"] if again else [])


def _left(wrong: int) -> str:
    return f"{counted(wrong, 'block')} wrong, not rebuilt yet"


def _waiting_lines(result: Result) -> list[str]:
    lines = []
    for group, missing in result.waiting:
        away = {p.serial for p in missing}
        for p in result.config.groups[group]:
            carrier = f", carrier {p.carrier}" if p.carrier else ""
            here = " (attached: leave it)" if p.serial not in away and not result.placed else ""
            lines.append(f"group {group}: drive {p.number}, serial {p.serial}{carrier}{here}")
    return lines
