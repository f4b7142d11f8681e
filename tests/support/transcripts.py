"""A drive that answers as a transcript says: recorded pairs of commands and answers, in their order.

    # a comment
    $ nvme sanitize {device} --sanact=2     the command that must come now, word for word
    > text                                  a line of its stdout; 2> of its stderr
    bytes 512                               its stdout is so many zero bytes,
    @2 0201                                 of which these, in hexadecimal, begin at byte 2; text in "quotes" also
    exit 1                                  its exit status, 0 otherwise
    medium zeros | noise                    what the command does to the medium: nothing, if it does not say

What is written, discarded and read is a medium in memory, which may lie.
"""

import os
from pathlib import Path

from sealift.drives.device import Answer
from sealift.errors import DriveFault

VECTORS = Path(__file__).parents[1] / "vectors" / "erase"


class Recorded:
    """A Device. `lies`: any of writes, discards, flushes, and reads that give what a call found in the buffer."""

    def __init__(self, transcript="", *, size=2 << 20, lies=(), fill=None):
        self.node, self.size = "/dev/recorded", size
        self.medium = bytearray(os.urandom(size) if fill is None else fill * size)
        self.lies = set(lies)
        self.pairs = parse(transcript)
        self.given = []
        self.another = None  # why it is another drive by now

    def command(self, *words, seconds, beat=None):
        assert seconds > 0
        assert self.pairs, f"nothing is recorded after {self.given}; {words} was asked"
        wanted, answer, effect = self.pairs.pop(0)
        assert list(words) == wanted
        self.given.append(wanted)
        if beat is not None:
            beat(1.0)
        if effect == "zeros":
            self.medium[:] = bytes(self.size)
        elif effect == "noise":
            self.medium[:] = os.urandom(self.size)
        return answer

    def write(self, offset, buffer):
        self._within(offset, len(buffer))
        if "writes" not in self.lies:
            self.medium[offset : offset + len(buffer)] = buffer

    def flush(self):
        pass

    def discard(self, offset, length):
        self._within(offset, length)
        if "discards" not in self.lies:
            self.medium[offset : offset + length] = bytes(length)

    def read(self, offset, buffer):
        self._within(offset, len(buffer))
        if "reads" not in self.lies:
            buffer[:] = self.medium[offset : offset + len(buffer)]

    def same(self):
        return self.another

    def _within(self, offset, length):
        if offset + length > self.size or offset % 512 or length % 512:
            raise DriveFault("beyond the drive, or not aligned", drive=self.node)


def load(name):
    return (VECTORS / f"{name}.transcript").read_text()


def parse(text):
    """[(words, answer, effect)]"""
    pairs = []
    words, out, errors, code, effect = None, b"", b"", 0, None
    for line in [*text.splitlines(), "$"]:
        kind, _, rest = line.partition(" ")
        if kind == "$":
            if words:
                pairs.append((words, Answer(code, bytes(out), errors), effect))
            words, out, errors, code, effect = rest.split(), b"", b"", 0, None
        elif kind == ">":
            out += rest.encode() + b"\n"
        elif kind == "2>":
            errors += rest.encode() + b"\n"
        elif kind == "bytes":
            out = bytearray(int(rest))
        elif kind[:1] == "@":
            value = rest[1:-1].encode() if rest[:1] == '"' else bytes.fromhex(rest)
            out[int(kind[1:]) : int(kind[1:]) + len(value)] = value
        elif kind == "exit":
            code = int(rest)
        elif kind == "medium":
            effect = rest
        else:
            assert not line.strip() or kind == "#", line
    return pairs


def identify(*, sanitize=0, security=0, minutes=(0, 0)):
    """hdparm --Istdout of a drive with these words 59, 128, 89 and 90."""
    table = [0] * 256
    table[0] = 0x0040
    table[59], table[128], table[89], table[90] = sanitize, security, minutes[0], minutes[1]
    for first, text in ((10, "ZL2A0001".ljust(20)), (23, "SN03".ljust(8)), (27, "ST20000NM007D".ljust(40))):
        for at in range(0, len(text), 2):
            table[first + at // 2] = ord(text[at]) << 8 | ord(text[at + 1])
    lines = [" ".join(f"{word:04x}" for word in table[at : at + 8]) for at in range(0, 256, 8)]
    return "".join(f"> {line}\n" for line in ["", "/dev/sdz:", *lines])
