"""Units of work that behave as tests want, for the processes of a cluster: they are named, and imported there."""

from __future__ import annotations

import os
import time
from pathlib import Path

from sealift.errors import BadInput
from sealift.stages import verify_hosts
from sealift.stages.pack import hosts as pack_hosts

READ, PACK = verify_hosts._read, pack_hosts._pack  # what tests put theirs in the place of


class _Stuck:
    """A wire that lets so many files pass, and then holds its unit up for ever."""

    def __init__(self, wire, files):
        self._wire, self._files = wire, files

    def tell(self, progress):
        self._wire.tell(progress)

    def send(self, item):
        if self._files:
            self._files -= 1
            self._wire.send(item)
            return
        while True:
            self.tell(("verify", 1, 2))
            time.sleep(0.05)


def read(part, wire):
    """As verify's unit; on a host with a file `stuck` at home, it comes no further than the files in there say."""
    stuck = Path.home() / "stuck"
    if stuck.exists() and stuck.read_text() == "die":
        os._exit(3)
    return READ(part, _Stuck(wire, int(stuck.read_text())) if stuck.exists() else wire)


def echo(given, wire):
    """What it is given, and where it was; says `given` on the way."""
    wire.send(given)
    wire.tell(given)
    return given, os.environ["HOME"], os.getpid()


def ask(given, wire):
    """What is answered to so many questions, or the error in their place."""
    answers = []
    for number in range(given):
        try:
            answers.append(wire.ask(number))
        except BadInput as error:
            answers.append(str(error))
    return answers


def fail(given, _wire):
    """An error of sealift's, one of others, or an end."""
    if given == "sealift":
        raise BadInput("no", hint="never")
    if given == "other":
        raise ZeroDivisionError("by zero")
    os._exit(3)


def wait(_given, wire):
    """Until it is stopped."""
    while True:
        wire.tell("waiting")
        time.sleep(0.05)


def read_all(opening, _wire):
    """Every file of a shipment, as a reader on this host has it: keys of samples, and bytes by location."""
    from sealift.integrations.ray_data import _open

    with _open(opening) as shipment:
        keys = [sample.key for pack, _, _ in shipment.packs() for sample in shipment.samples(pack)]
        return keys, {each.mount: each.bytes for each in shipment.health().locations}, shipment.rebuilt_blocks


def train(given):
    """What a worker of Ray Train does: a rank's share of every batch, in its order, into a file."""
    import json

    from sealift.integrations.ray_data import _open
    from sealift.integrations.torch import ShipmentDataset

    dataset = ShipmentDataset(_open(given["opening"]), batch_size=given["batch"], seed=given["seed"])
    shares = [[sample.key for sample in batch] for batch in dataset]
    path = Path(given["out"]) / f"{dataset.rank}-of-{dataset.world_size}.json"
    path.write_text(json.dumps([os.environ["HOME"], shares]))


def sign_this(_part, wire):
    """A host that wants something else signed."""
    return wire.ask(("sign", b"I owe you a drive", "sealift"))


class _StuckPacking:
    """A wire that holds its unit up for ever once so many bytes are packed."""

    def __init__(self, wire, limit):
        self._wire, self._limit = wire, limit

    def __getattr__(self, name):
        return getattr(self._wire, name)

    def tell(self, progress):
        self._wire.tell(progress)
        while progress[0] == "pack" and progress[1] >= self._limit:
            self._wire.tell(progress)
            time.sleep(0.05)


def pack(part, wire):
    """As pack's unit; on a host with a file `stuck` at home, it comes no further than the bytes in there say."""
    stuck = Path.home() / "stuck"
    return PACK(part, _StuckPacking(wire, int(stuck.read_text())) if stuck.exists() else wire)
