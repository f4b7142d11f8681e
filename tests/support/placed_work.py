"""Units of work that behave as tests want, for the processes of a cluster: they are named, and imported there."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from sealift.drives.local_file import LocalPartFile
from sealift.errors import BadInput
from sealift.stages import ingest_hosts, placed, repair_hosts, verify_hosts
from sealift.stages.pack import hosts as pack_hosts
from sealift.stages.pack.journal import Journal

STUCK = 1 << 40  # bytes that a unit says it has packed when it is stuck
READ, PACK = verify_hosts._read, pack_hosts._pack  # what tests put theirs in the place of
LOOK = placed.look
COPY, SEE, MEND = ingest_hosts._copy, ingest_hosts._see, repair_hosts._mend


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


def look(question, wire):
    """As the look for drives; a host with a file `dies` at home loses its worker in it, once, and `dead` each time."""
    if (Path.home() / "dead").exists():
        os._exit(3)
    dies = Path.home() / "dies"
    if dies.exists():
        dies.unlink()
        os._exit(3)
    return LOOK(question, wire)


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


def freeze(given, wire):
    """Stops all threads of its process for so many seconds, as a host does whose link is cut."""
    pid = os.getpid()
    time.sleep(1.0)  # it is heard first: who has not begun has longer
    subprocess.run(["sh", "-c", f"(kill -STOP {pid}; sleep {given}; kill -CONT {pid}) &"], check=True)
    for _ in range(20):
        time.sleep(0.05)
        wire.tell("here")
    return "thawed"


def work_on(given, wire):
    """Sends its process and then so many numbers, 20 a second; asks at the end. That it began is noted at home."""
    with open(Path.home() / "worked", "a", encoding="ascii") as file:
        file.write("once\n")
    wire.send(os.getpid())
    for number in range(given):
        time.sleep(0.05)
        wire.send(number)
    return wire.ask("answer")


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


def pack(part, wire):
    """As pack's unit; on a host with a file `stuck` at home, it comes no further than the stripes in there say."""
    _at_home()
    stuck = Path.home() / "stuck"
    if not stuck.exists():
        return PACK(part, wire)
    left = int(stuck.read_text())
    commit = Journal.commit

    def stop(*given):
        nonlocal left
        while left <= 0:
            wire.tell(("pack", STUCK, STUCK))  # until the host dies
            time.sleep(0.05)
        left -= 1
        return commit(*given)

    Journal.commit = stop
    return PACK(part, wire)


def _at_home():
    """What is in `~/environment` was in the environment in which this host's node was started."""
    place = Path.home() / "environment"
    if place.exists():
        os.environ.update(line.split("=", 1) for line in place.read_text().splitlines())


def see(mark, wire):
    """As ingest's look at the destination, in a host's own environment."""
    _at_home()
    return SEE(mark, wire)


def copy(part, wire):
    """As ingest's unit; on a host with a file `stuck` at home, it notes no more packs than that says, and hangs."""
    _at_home()
    stuck = Path.home() / "stuck"
    if not stuck.exists():
        return COPY(part, wire)
    left = int(stuck.read_text())

    class Stopping:
        tell = staticmethod(wire.tell)

        def send(self, item):
            nonlocal left
            while item[0] == "note" and left <= 0:
                wire.tell(("copying", STUCK, STUCK))  # until the host dies
                time.sleep(0.05)
            left -= item[0] == "note"
            wire.send(item)

    return COPY(part, Stopping())


def mend(part, wire):
    """As repair's unit; on a host with a file `stuck` at home, it hangs once so many packs are mended."""
    stuck = Path.home() / "stuck"
    if not stuck.exists():
        return MEND(part, wire)
    left = int(stuck.read_text())
    publish = LocalPartFile.publish

    def stop(*given):
        nonlocal left
        while left <= 0:
            wire.tell(("rebuild", STUCK, STUCK))
            time.sleep(0.05)
        left -= 1
        return publish(*given)

    LocalPartFile.publish = stop
    return MEND(part, wire)
