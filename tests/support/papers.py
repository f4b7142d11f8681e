"""What is on a PDF, as people and machines read it: text and words by poppler, codes by zbar."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
from typing import NamedTuple

import pytest

MM = 72 / 25.4  # points
DPI = 300  # what an office printer and a scanner do


def need_readers():
    for tool, package in (("pdftotext", "poppler-utils"), ("pdftoppm", "poppler-utils"), ("zbarimg", "zbar-tools")):
        if shutil.which(tool) is None:
            if os.environ.get("CI"):
                pytest.fail(f"{tool} must be installed where CI is set: apt install {package}")
            pytest.skip(f"{tool} is not installed: apt install {package}")


class Box(NamedTuple):
    """Left, top, right, bottom; points from the top left of a page."""

    left: float
    top: float
    right: float
    bottom: float

    def holds(self, other, slack=0.0):
        return (
            self.left - slack <= other.left
            and self.top - slack <= other.top
            and self.right + slack >= other.right
            and self.bottom + slack >= other.bottom
        )

    def inked(self):
        """Of a word: what letters fill of it, without the room that a font keeps above and below."""
        high = self.bottom - self.top
        return self._replace(top=self.top + 0.25 * high, bottom=self.bottom - 0.15 * high)

    def meets(self, other, slack=0.0):
        return (
            self.left < other.right - slack
            and other.left < self.right - slack
            and self.top < other.bottom - slack
            and other.top < self.bottom - slack
        )


PAGE = Box(0, 0, 210 * MM, 297 * MM)


def place(number):
    """The box of label `number`, counted from 0, on its page: Avery L7163, 2 by 7 of 99.1 by 38.1 mm."""
    row, column = divmod(number % 14, 2)
    left, top = 4.65 + column * 101.6, 15.15 + row * 38.1
    return Box(left * MM, top * MM, (left + 99.1) * MM, (top + 38.1) * MM)


def _poppler(tool, *options):
    done = subprocess.run([tool, *options], capture_output=True, check=True, timeout=120)
    return done.stdout


def text(path):
    """The pages' texts."""
    pages = _poppler("pdftotext", "-layout", path, "-").decode().split("\f")
    return [re.sub("[\u200b\u2066-\u2069]", "", page) for page in pages[:-1]]


def inside(path, page, box):
    """What stands in a part of a page, in the order in which it was written, as one line."""
    left, top, right, bottom = map(round, box)
    at = ("-x", str(left), "-y", str(top), "-W", str(right - left), "-H", str(bottom - top))
    made = _poppler("pdftotext", "-raw", "-r", "72", "-f", str(page + 1), "-l", str(page + 1), *at, path, "-")
    return " ".join(made.decode().replace("\u200b", "").split())


def words(path, page):
    """[(box, word)] of a page, counted from 0."""
    made = _poppler("pdftotext", "-bbox", "-f", str(page + 1), "-l", str(page + 1), path, "-").decode()
    found = re.findall(r'<word xMin="(.*?)" yMin="(.*?)" xMax="(.*?)" yMax="(.*?)">(.*?)</word>', made)
    return [(Box(*map(float, box)), html.unescape(word).replace("\u200b", "")) for *box, word in found]


def picture(path, page, box):
    """A part of a page as a binary PGM: (width, height, bytes of grey)."""
    left, top, right, bottom = (round(each / 72 * DPI) for each in box)
    size = ("-x", str(left), "-y", str(top), "-W", str(right - left), "-H", str(bottom - top))
    made = _poppler("pdftoppm", "-gray", "-r", str(DPI), "-f", str(page + 1), "-l", str(page + 1), *size, path)
    head = re.match(rb"P5\s(\d+) (\d+)\s255\s", made)
    return int(head[1]), int(head[2]), bytearray(made[head.end() :])


def code(shown, folder):
    """What the only code of a picture reads as; None where none is read."""
    width, height, grey = shown
    (folder / "shown.pgm").write_bytes(b"P5\n%d %d\n255\n" % (width, height) + grey)
    done = subprocess.run(
        ["zbarimg", "--raw", "-q", "--nodbus", "-Sdisable", "-Sqrcode.enable", str(folder / "shown.pgm")],
        capture_output=True,
        check=False,
        timeout=60,
    )
    return done.stdout.decode().removesuffix("\n") if done.returncode == 0 else None
