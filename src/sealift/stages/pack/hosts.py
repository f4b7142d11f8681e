"""Packing on the hosts of a cluster: each group on the host where its drives stand.

    look on every host -> place groups -> `run` a host, its state folder there -> fetch what was signed -> one Result

What holds: the groups of a shipment share nothing but the seal, so a host packs its own as if it were alone: from the
same source under the same path (of a bucket: with keys of its own environment), with a journal of its own and copies of
it on the drives. Drives that come to another host take their group along: it goes on after the last stripe whose
journal copy is on them. The signing key stays here (away.py), and signs nothing but manifests of this shipment's groups
for the host that has their drives. All hosts pack by one listing of the source (listing.py). What is signed is fetched
into the state folder here, which is then as that of a packing in one host: `seal` and `status` take it.

The declaration names all drives and their carriers. A group whose drives stand on several hosts waits.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from blake3 import blake3

from sealift.drives.local import nothing_mounted
from sealift.drives.locations import is_store, open_drive
from sealift.errors import BadInput, Busy, DriveFault, FormatError, Refused, SealiftError, SourceFault
from sealift.formats import age_keys, manifest, typed
from sealift.formats.sizes import counted
from sealift.stages.pack import fleet as fleets
from sealift.stages.pack import inputs, settle
from sealift.stages.pack import run as packing
from sealift.stages.pack.away import away
from sealift.stages.pack.copies import identity_of
from sealift.stages.pack.durable import sync
from sealift.stages.pack.found import load_manifest
from sealift.stages.pack.journal import Journal
from sealift.stages.pack.listing import Shelf
from sealift.stages.pack.source import located
from sealift.stages.placed import Stand, boot, dealt, everywhere, folders
from sealift.stages.placed_pass import Events, Pass, Unit
from sealift.stages.placement import why_of
from sealift.stages.verify_join import words
from sealift.stages.verify_state import State
from sealift.trade import declaration as declarations
from sealift.trade.signing import read_limited

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sealift.formats import age
    from sealift.formats.sshsig import PublicKey
    from sealift.stages.pack.copies import CopyIdentity
    from sealift.stages.pack.fleet import Deal, Place
    from sealift.stages.pack.group import Progress
    from sealift.stages.pack.journal_rows import GroupState
    from sealift.stages.pack.run import Options, Result
    from sealift.stages.pack.settle import Config
    from sealift.stages.placement import Host, Placement, Wire
    from sealift.trade.signing import Signer

_PIECE = 16 << 20
_ODD = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)
_WAIT = 10  # seconds between tries of a host whose state folder, or drive, is in use
_ALONE = {
    "carriers": "the declaration names them",
    "network": "such a drive stands nowhere",
    "only": "pack it in one host",
    "in_reply_to": "pack it in one host",
    "plan": "give what it says as options",
    "notify": "see to the end of this command instead",
    "discard_group": "discard it on the host of its drives, without --ray",
}


class _Drive(NamedTuple):
    """A folder of a host in which a drive is mounted; `begun`: it holds something of sealift's.

    Not `is_drive`: nothing is mounted there.
    """

    mount: str
    place: tuple[Any, ...]
    serial: str | None
    begun: bool
    is_drive: bool


def _look(given: tuple[Sequence[str], Mapping[str, str], bool], _wire: Wire | None) -> list[_Drive]:
    """On a host: what is mounted there. Patterns, serial numbers by mount, and whether any folder counts as a drive."""
    patterns, serials, scratch = given
    found = []
    for mount in folders(patterns):
        status = os.stat(mount)
        drive = open_drive(mount)
        try:
            serial, begun = serials.get(mount) or drive.serial(), drive.exists()
        except (DriveFault, FormatError):
            continue  # it does not answer, and is told as missing
        is_drive = scratch or begun or not nothing_mounted(mount)
        found.append(_Drive(mount, (boot(), status.st_dev, status.st_ino), serial, begun, is_drive))
    return found


class _Part(NamedTuple):
    """What a host is given to pack."""

    options: Options
    state: str
    declaration: bytes
    public_key: PublicKey
    recipient: age.Recipient


def _pack(part: _Part, wire: Wire) -> Result:
    """On a host."""
    state = os.path.expanduser(part.state)
    os.makedirs(state, mode=0o700, exist_ok=True)
    declaration = os.path.join(state, "declaration.toml")
    with open(declaration, "wb") as file:
        file.write(part.declaration)
    source = os.path.expanduser(part.options.source)
    key = away(part.public_key, part.recipient, part.options.sign_with, wire.ask)
    options = dataclasses.replace(part.options, source=source, state=state, declaration=declaration, away=key)
    before, at = [0, 0], [-1, 0]  # bytes of groups that are done, of the group that is packed; that group, its stripes

    def tell(progress: Progress, total: int) -> None:
        if progress.group != at[0]:
            before[0] += before[1]
        before[1] = progress.source_bytes
        if (now := [progress.group, progress.stripes]) != at:
            at[:] = now
            wire.send(("stripes", *now, progress.source_bytes))
        wire.tell(("pack", before[0] + progress.source_bytes, before[0] + total))

    events = packing.Events(
        notice=lambda text: wire.send(("notice", text)),
        scanning=lambda _files, size: wire.tell(("scanning", size, 0)),
        packing=tell,
        rebuilding=lambda _group, done, total: wire.tell(("rebuild", done, total)),
    )
    told = False
    while True:
        try:
            return packing.run(options, events)
        except (BadInput, SourceFault) as error:
            if is_store(source) and str(error).startswith(f"{os.fsdecode(located(source))}: "):
                error.hint = f"in the environment of that host's `ray start`, which is what counts there: {error.hint}"
            raise
        except Busy as busy:  # groups that came meanwhile wait for those that this host has at hand
            if not told:
                wire.send(("notice", f"{busy}; what has come meanwhile waits for it"))
            told = True
            for _ in range(_WAIT):
                wire.tell(("scanning", 0, 0))
                time.sleep(1.0)


def _piece(given: tuple[str, str, int], _wire: Wire) -> bytes:
    """On a host: a piece of a file beneath its state folder."""
    state, name, offset = given
    with open(os.path.join(os.path.expanduser(state), name), "rb") as file:
        file.seek(offset)
        return file.read(_PIECE)


def pack_on(place: Placement, options: Options, events: Events) -> Result:
    """`pack` on a cluster: what stands on its hosts now; options as of run, `to` being folders of each host.

    Errors as of run; NotAllHere where no host comes to its end.
    """
    begun, there = time.monotonic(), options.state
    _check(options)
    options = dataclasses.replace(options, state=os.path.expanduser(there))
    options, declaration, signer = inputs.prepared(options)
    recipients = [age_keys.parse_recipient(text) for text in options.recipients]
    identity = identity_of(signer, recipients)
    if identity is None:
        raise BadInput(
            f"{options.sign_with}: with --ray it must be an Ed25519 key file without a passphrase",
            hint="it opens the copies of the journal by which drives go on in another host",
        )
    if not declaration.drives:
        raise BadInput("the declaration names no drives", hint="with --ray it does, and carriers: [[drives]] serial =")
    deal = fleets.deal([], declaration, parity=options.parity, group_size=options.group_size or len(declaration.drives))
    options = dataclasses.replace(options, group_size=len(deal.groups[0]))
    risk = fleets.carrier_risk(deal.groups, options.parity)
    if risk and not options.accept_carrier_risk:
        raise BadInput(risk, hint="spread the drives over more carriers, raise --parity, or --accept-carrier-risk")
    with ExitStack() as stack:
        packing.lock_state(options.state, stack)
        journal = Journal(options.state)
        stack.callback(journal.close)
        config = _config(options, declaration, deal, journal)
        options = dataclasses.replace(options, shipment=config.shipment)
        raw = read_limited(options.declaration, declarations.MAX_BYTES, "declaration")
        run = _Packing(place, options, there, raw, deal, journal, signer, identity, events)
        standing = run.look(first=True)
        if standing:
            run.run(standing, run.left_out)
            run.fetch()
        return run.result(config, time.monotonic() - begun)


def _check(options: Options) -> None:
    for name, instead in _ALONE.items():
        if getattr(options, name):
            raise BadInput(f"--{name.replace('_', '-')} and --ray do not go together", hint=instead)
    if any(map(is_store, options.to)):
        raise BadInput("--to is an address, and --ray packs into folders of hosts", hint="pack it in one host")


def _config(options: Options, declaration: Any, deal: Deal, journal: Journal) -> Config:
    """The configuration, kept here as in one host; --replace has another drive in a place of it."""
    kept = journal.setting("config")
    if kept is not None and options.replace:
        before = typed.decode(kept, settle.Config)
        journal.set("config", msgspec.json.encode(msgspec.structs.replace(before, groups=deal.groups)))
    source = located(options.source) if is_store(options.source) else os.fsencode(options.source)
    return settle.settle(options, declaration, deal, source, journal, settle.load(journal), None, None)


class _Packing(Pass):
    """One packing on all hosts."""

    kept = "what is committed is safe"

    def __init__(
        self,
        place: Placement,
        options: Options,
        there: str,
        declaration: bytes,
        deal: Deal,
        journal: Journal,
        signer: Signer,
        identity: CopyIdentity,
        events: Events,
    ) -> None:
        super().__init__(place, self.look, State(None), events, _pack, self._part_of)
        self._options, self._declaration, self._deal, self._journal = options, declaration, deal, journal
        self._signer, self._identity, self._there = signer, identity, there
        self._shelf = Shelf(options.state)
        self._slots = {
            row.serial: (group, slot, row) for group, rows in enumerate(deal.groups) for slot, row in enumerate(rows)
        }
        self._missing: dict[int, list[Place]] = {}  # groups that wait, and the drives that are on no host

    # Which host packs which group

    def look(self, *, first: bool = False) -> dict[Host, list[Stand]]:
        """The drives of groups that can be packed on: all of those of a group that are anywhere are on one host."""
        asked = (self._options.to, self._options.serials, self._options.allow_same_filesystem)
        answers = everywhere(self._place, _look, dict.fromkeys(self._place.hosts(), asked))
        left_out = dict(self._place.left_out)
        found: dict[Host, list[Stand]] = {}
        begun: set[int] = set()
        for host, drives in answers:
            if not isinstance(drives, list):
                left_out[host] = drives
                self.events.notice(f"{host.name} is left out: {why_of(drives)}")
                continue
            for drive in drives:
                known = self._slots.get(drive.serial or "")
                if known is None or not drive.is_drive:
                    self._tell_unknown(host, drive, first=first)
                    continue
                group, slot, row = known
                begun |= {group} if drive.begun else set()
                name = words(f"{manifest.drive_id(group, slot)} (serial {row.serial})")
                found.setdefault(host, []).append(Stand(drive.mount, drive.place, "", group, slot, name))
        if first:
            self.left_out = left_out
            self._tell_none([host.name for host, drives in answers if isinstance(drives, list)] if not found else [])
        return self._whole(dealt(found), begun)

    def _tell_none(self, asked: Sequence[str]) -> None:
        """That none of these hosts has a drive of the declaration, while groups are still to be packed."""
        if asked and any(self._journal.group(group).state != "signed" for group in range(len(self._deal.groups))):
            names = ", ".join(sorted(asked)[:10]) + (f" and {len(asked) - 10} more" if len(asked) > 10 else "")
            count = counted(len(asked), "host")
            self.events.notice(words(f"asked {count}, on which no drive of this shipment stands: {names}"))

    def _tell_unknown(self, host: Host, drive: _Drive, *, first: bool) -> None:
        if first:
            why = f"drive {drive.serial} is not declared" if drive.serial else "it tells no serial number (--serial)"
            why = why if drive.is_drive else "nothing is mounted there"
            self.events.notice(words(f"{host.name}: {drive.mount} is left alone: {why}"))

    def _whole(self, hosts: Mapping[Host, list[Stand]], begun: set[int]) -> dict[Host, list[Stand]]:
        """What is left of it, when groups that are signed, scattered or not there are taken out."""
        where: dict[int, Counter[Host]] = {}
        _refuse_twins(hosts)
        for host, stands in hosts.items():
            for stand in stands:
                where.setdefault(stand.group or 0, Counter())[host] += 1
        ready: set[int] = set()
        for group, rows in enumerate(self._deal.groups):
            on = where.get(group, Counter())
            here = {stand.slot for stands in hosts.values() for stand in stands if stand.group == group}
            self._missing[group] = [row for slot, row in enumerate(rows) if slot not in here]
            if self._journal.group(group).state == "signed" or not on:
                continue
            if len(on) > 1:
                self.events.notice(_scattered(group, hosts))
            elif on.total() == len(rows) or group in begun:
                ready.add(group)
        kept = {host: [stand for stand in stands if stand.group in ready] for host, stands in hosts.items()}
        return {host: stands for host, stands in kept.items() if stands}

    def _part_of(self, unit: Unit, _known: list[Any], _others: Sequence[Unit]) -> _Part:
        mounts = {stand.mount: self._place_of(stand).serial for stand in unit.stands}
        replaced = {old: mount for old, mount in self._options.replace.items() if mount in mounts}
        options = dataclasses.replace(self._options, to=list(mounts), serials=mounts, replace=replaced)
        recipient = self._identity.recipient
        return _Part(options, self._state(unit.host), self._declaration, self._signer.public_key, recipient)

    def _state(self, host: Host) -> str:
        """A host's own state folder, beneath the one that was given, as that host writes it."""
        return os.path.join(self._there, f"on-{_ODD.sub('-', host.name)}")

    def _place_of(self, stand: Stand) -> Place:
        return self._deal.groups[stand.group or 0][stand.slot or 0]

    # What hosts say and ask

    def take(self, unit: Unit, item: Any) -> None:
        """As of Pass: a notice, or how many stripes of a group are committed: known, then, if the host is lost."""
        what, *said = item
        if what == "stripes":
            group, *counts = said
            if group in {stand.group for stand in unit.stands} and all(isinstance(each, int) for each in counts):
                self._journal.hear(group, *counts)
        elif what == "notice":
            self.events.notice(words(f"{unit.host.name}: {said[0]}"))

    def asked(self, host: Host, unit: int, question: Any) -> Any:
        """As of Ears: a signature, the key of a journal copy, whether a scan is that of the others, their listing."""
        what, *given = question
        if what == "sign":
            return self._sign(host, self.units[unit], *given)
        if what == "unwrap":
            return self._identity.unwrap(given[0])
        if what == "scan":
            return self._agree(host, given[0])
        if what == "listing":
            return self._shelf.answer(host, *given)
        raise Refused(f"{host.name} asks for {what!r}")

    def _sign(self, host: Host, unit: Unit, message: bytes, namespace: str) -> bytes:
        """A manifest of a group that this host packs, and no other message."""
        groups = {stand.group for stand in unit.stands}
        try:
            record = manifest.decode_manifest(message) if namespace == manifest.NAMESPACE else None
        except FormatError:
            record = None
        if record is None or record.shipment != self._options.shipment or record.group not in groups:
            raise Refused(f"{host.name} asks for a signature over what is no manifest of a group that it packs")
        rows = [(row.number, row.serial) for row in self._deal.groups[record.group]]
        if [(row.number, row.serial) for row in record.drives] != rows:
            raise Refused(f"{host.name} asks for a signature over a manifest of other drives than were dealt to it")
        return self._signer.sign(message, namespace)

    def _agree(self, host: Host, digest: str) -> None:
        known = self._journal.setting("scan")
        if known is None:
            self._journal.set("scan", digest.encode())
        elif known != digest.encode():
            raise Refused(
                f"{host.name} has scanned another source than was scanned before: {self._options.source} is not the "
                "same on all hosts, or has changed",
                hint="have the same source everywhere, as it was when packing began, of a bucket in the same store"
                " (AWS_ENDPOINT_URL); or begin with another --state",
            )

    # What was signed

    def fetch(self) -> None:
        """Bring the signed files of every group that was signed into the state folder here."""
        for place, unit in enumerate(self.units):
            own = {stand.group for stand in unit.stands}
            signed = [row["group"] for row in unit.answer.groups if row["state"] == "signed"] if unit.done else []
            try:
                for number in (each for each in signed if each in own):
                    self._fetch(unit.host, number)
                    self._journal.set_state(number, "signed")
            except SealiftError as error:  # the next run fetches it
                self.units[place] = unit._replace(answer=error)
                self.events.notice(str(error))

    def _fetch(self, host: Host, number: int) -> None:
        group = os.path.join("groups", f"{number:04d}", "closed")
        here = os.path.join(self._options.state, group)
        new = here + ".new"
        shutil.rmtree(new, ignore_errors=True)
        os.makedirs(os.path.join(new, "index"))
        for name in (manifest.MANIFEST, manifest.SIGNATURE, manifest.MEMBERS_INDEX, manifest.PACKS_INDEX):
            self._copy(host, os.path.join(group, name), os.path.join(new, name))
        with open(os.path.join(new, manifest.MANIFEST), "rb") as file:
            record = manifest.decode_manifest(file.read())
        for name, ref in ((manifest.MEMBERS_INDEX, record.members_index), (manifest.PACKS_INDEX, record.packs_index)):
            digest = blake3(max_threads=blake3.AUTO).update_mmap(os.path.join(new, name))
            if digest.hexdigest() != ref.blake3:
                raise SealiftError(
                    f"{host.name}: {name} of group {number} came otherwise than it was signed",
                    hint="the drives have it whole; run the same command again",
                )
        sync(os.path.join(new, "index"), new)
        shutil.rmtree(here, ignore_errors=True)
        os.replace(new, here)
        sync(os.path.dirname(here))

    def _copy(self, host: Host, there: str, here: str) -> None:
        with open(here, "wb") as file:
            while True:
                asked = (self._state(host), there, file.tell())
                ((_, piece),) = everywhere(self._place, _piece, {host: asked})
                if not isinstance(piece, bytes):
                    raise SealiftError(
                        f"{host.name}: {there} could not be fetched: {why_of(piece)}",
                        hint="run the same command again",
                    )
                file.write(piece)
                if len(piece) < _PIECE:
                    break
            file.flush()
            os.fsync(file.fileno())

    def result(self, config: Config, seconds: float) -> Result:
        """What all hosts have done, now and before."""
        done = [(unit.answer, {stand.group for stand in unit.stands}) for unit in self.units if unit.done]
        packed = {row["group"]: row for answer, own in done for row in answer.groups if row["group"] in own}
        waiting = [pair for answer, own in done for pair in answer.waiting if pair[0] in own]
        rows = []
        sums = [0, 0, 0, 0]
        for number, places in enumerate(self._deal.groups):
            known = self._journal.group(number)
            if (stripes := self._journal.heard(number)[0]) and known.state == "waiting":
                known = known._replace(state="packing", stripes=stripes)
            row = packed.get(number) or _row_of(known, len(places), self._options.parity)
            if known.state == "signed":
                record = load_manifest(self._options.state, number, config.shipment)[0]
                totals, row = record.totals, row | {"stripes": record.geometry.stripes, "state": "signed"}
                each = (totals.packed_bytes, totals.parity_bytes, totals.files, totals.source_bytes)
                sums = [a + b for a, b in zip(sums, each, strict=True)]
            elif number not in packed:
                waiting.append((number, self._missing.get(number, list(places))))
            rows.append(row)
        answers = [answer for answer, _ in done]
        return packing.Result(
            config=config,
            groups=rows,
            changed=sorted({path for each in answers for path in each.changed}),
            incomplete=sorted({told for each in answers for told in each.incomplete}),
            skipped=sorted({told for each in answers for told in each.skipped}),
            outdated=[],
            since=next((each.since for each in answers if each.since), None),
            waiting=sorted(waiting),
            owed=any(row["owed"] for row in rows),
            read_back=_summed([each.read_back for each in answers], self._options.read_back),
            files=sums[2],
            source_bytes=sums[3],
            packed_bytes=sums[0],
            parity_bytes=sums[1],
            seconds=seconds,
            memory={unit.host.name: sum(unit.answer.memory.values()) for unit in self.units if unit.done},
            hosts=self.rows(),
            placed=True,
            lacking=sorted({drive for each in answers for drive in each.lacking}),
            not_read=sorted({group for each in answers for group in each.not_read}),
        )


def _refuse_twins(hosts: Mapping[Host, list[Stand]]) -> None:
    """BadInput where two folders are said to hold one drive."""
    at: dict[str, list[str]] = {}
    for host, stands in hosts.items():
        for stand in stands:
            at.setdefault(stand.name, []).append(f"{host.name}:{stand.mount}")
    for name, places in sorted(at.items()):
        if len(places) > 1:
            raise BadInput(
                f"{len(places)} drives have the serial number of {name}: {words(', '.join(sorted(places)[:10]))}",
                hint="every drive has its own; --serial MNT=SERIAL is taken by every host that has a drive under MNT:"
                " mount such drives under a folder of their own on each host",
            )


def _scattered(group: int, hosts: Mapping[Host, list[Stand]]) -> str:
    """Which drives of a group stand apart from most of it."""
    own = {host: [stand for stand in stands if stand.group == group] for host, stands in hosts.items()}
    most = min((host for host in own if own[host]), key=lambda host: (-len(own[host]), host))
    names = [
        f"{stand.name} from {words(f'{host.name}:{stand.mount}')}"
        for host, stands in sorted(own.items())
        for stand in stands
        if host != most
    ]
    away = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    count = f"where {len(own[most])} of it stand" if len(own[most]) > 1 else "where one of it stands"
    return f"group {group} waits, since a group is packed on one host: move {away} to {words(most.name)}, {count}"


def _row_of(known: GroupState, n: int, parity: int) -> dict[str, Any]:
    """A group of which nobody had anything to do now, or who had is lost: as it was when it was heard of last."""
    drives = [manifest.drive_id(known.number, slot) for slot in range(n)]
    row = {"group": known.number, "drives": drives, "data": n - parity, "parity": parity}
    row |= {"stripes": known.stripes, "state": known.state, "taken_over": False}
    return row | {"owed": [], "slow": [], "misread": []}


def _summed(each: Sequence[dict[str, Any]], mode: str) -> dict[str, Any]:
    """What was read back, in this mode, on all hosts."""
    if not each:
        now = dict.fromkeys(("stripes", "blocks", "again", "found", "repaired", "packed_again"), 0)
        return {"mode": mode, "stripes_total": 0, **now, "wrong": 0, "beyond": 0, "read_from": None, "this_run": now}
    out: dict[str, Any] = {}
    for name, first in each[0].items():
        values = [one[name] for one in each]
        if isinstance(first, dict):
            out[name] = _summed(values, mode)
        elif isinstance(first, int) and not isinstance(first, bool):
            out[name] = sum(values)
        else:
            out[name] = "cache" if "cache" in values else next((value for value in values if value), first)
    return out
