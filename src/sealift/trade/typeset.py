"""A paper as PDF: a template of ours, and data that is only ever printed.

    papers/NAME.typ    how a paper looks, in the language of typst; common.typ is what they share
    fonts/             all fonts that they use, shipped with their licences

What holds of the bytes that `typeset` returns: they are PDF/A-2b; the same paper, data and day give the same bytes
with the same version of typst; every character of the data that is printed is there, in one of the fonts shipped. Data
reaches the template as JSON and is placed as text, so that nothing in it is taken for markup; the template reads no
other file, no package, no clock and no network.

typst and segno are the extra `papers`. What is not here: what is on a paper (labels.py), and files.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from datetime import UTC, datetime, time
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any, Literal

from sealift.errors import BadInput, SealiftError
from sealift.trade.glyphs import SCRIPTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

_HERE = files("sealift.trade")
_STANDARD: Literal["a-2b"] = "a-2b"  # ISO 19005-2: fonts embedded, so that it prints in ten years as it does today
_UNPRINTABLE = re.compile(r'the text `"(.*?)"` could not be displayed', re.DOTALL)
_PANIC = re.compile(r"panicked with: (.*)", re.DOTALL)
_SHOWN = 500
_KEPT = 12  # compilations that a result outlives in typst 0.15: ten, and some to spare
_MAX_VERSION = 21  # 101 modules and the quiet zone on 33 mm


def typeset(paper: str, data: Mapping[str, Any], day: date) -> bytes:
    """The PDF of papers/`paper`.typ with `data`, which JSON must be able to hold; `day` is when it says it was made.

    Raises BadInput where typst is not installed, where a text has a character that no font has, or where the template
    finds that something does not fit.
    """
    try:
        import typst
    except ImportError as error:
        raise _not_installed("typst") from error
    with as_file(_HERE / "papers") as papers, as_file(_HERE / "fonts") as fonts:
        try:
            pdf: bytes = typst.compile(
                str(papers / f"{paper}.typ"),
                root=str(papers),
                font_paths=typst.Fonts(
                    include_system_fonts=False, include_embedded_fonts=False, font_paths=[str(fonts)]
                ),
                sys_inputs={"data": json.dumps(data, ensure_ascii=False, allow_nan=False)},
                format="pdf",
                pdf_standards=_STANDARD,
                timestamp=datetime.combine(day, time(), UTC),
            )
        except typst.TypstError as error:
            raise _told(paper, str(error)) from error
    return pdf


def forget() -> None:
    """Let go of what typst keeps of the papers made so far: a fifth of a megabyte a row, of the last ten papers.

    It drops what ten compilations have not asked for, so these are of an empty page: 20 ms together.
    """
    try:
        import typst
    except ImportError as error:
        raise _not_installed("typst") from error
    nothing = typst.Fonts(include_system_fonts=False, include_embedded_fonts=False)
    for _ in range(_KEPT):
        typst.compile(b" ", format="svg", font_paths=nothing)


def qr_svg(text: str) -> str:
    """A QR code (ISO/IEC 18004) that reads as exactly `text`, as SVG with its quiet zone of 4 modules.

    Error correction is Q or better, so that a quarter of the code may be scratched or covered; of a text that would
    then make more than version 21, M or better: modules of less than 0.3 mm, on a label, are misread sooner than
    scratched. Text beyond ASCII is UTF-8 and says so (ECI 26), because readers that must guess guess wrong.

    Raises BadInput where segno is not installed, or where the text is longer than a code holds (2,331 bytes).
    """
    try:
        import segno
    except ImportError as error:
        raise _not_installed("segno") from error
    encoding = None if text.isascii() else "utf-8"
    code = None
    for level in ("q", "m"):
        with contextlib.suppress(segno.DataOverflowError):
            code = segno.make_qr(text, error=level, boost_error=True, encoding=encoding, eci=encoding is not None)
            if int(code.version) <= _MAX_VERSION:
                break
    if code is None:
        raise BadInput(f"{len(text):,} characters are more than a QR code holds", hint="shorten the longest name")
    svg = io.BytesIO()
    code.save(svg, kind="svg", border=4, light="white", xmldecl=False, svgclass=None, lineclass=None, omitsize=True)
    return svg.getvalue().decode()


def _not_installed(name: str) -> BadInput:
    return BadInput(f"papers are printed with {name}, which is not installed", hint="pip install 'sealift[papers]'")


def _told(paper: str, said: str) -> SealiftError:
    """The error in words of ours; what is left is a fault of the template."""
    if found := _UNPRINTABLE.search(said):
        return BadInput(
            f"{found[1][:_SHOWN]!r} cannot be printed: none of the fonts of sealift has every character of it",
            hint=f"write it in other letters: {SCRIPTS}",
        )
    if found := _PANIC.search(said):
        return BadInput(found[1].strip().strip('"')[:_SHOWN], hint="shorten the longest name")
    return SealiftError(f"the paper {paper} could not be made: {said[:_SHOWN]}", hint="please report it")
