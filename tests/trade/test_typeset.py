"""Papers: the same bytes for the same data, in fonts that are shipped, and nothing of the data is markup."""

import re
import subprocess
import sys
from datetime import date
from importlib.resources import files

import papers
import pytest

from sealift.errors import BadInput, SealiftError
from sealift.trade.typeset import qr_svg, typeset

DAY = date(2026, 11, 26)
FONTS = files("sealift.trade").joinpath("fonts")


def data(*lines, marks=()):
    code = qr_svg("label")
    return {"head": "head", "note": "note", "marks": list(marks), "labels": [{"lines": lines, "code": code}]}


def test_the_same_data_and_day_give_the_same_bytes():
    one = typeset("labels", data(("carrier", "Anna")), DAY)
    assert typeset("labels", data(("carrier", "Anna")), DAY) == one
    assert typeset("labels", data(("carrier", "Anna")), date(2026, 11, 27)) != one
    assert typeset("labels", data(("carrier", "Bo")), DAY) != one


def test_a_paper_is_pdf_a_2b_with_its_fonts_inside(tmp_path):
    papers.need_readers()
    every = ("carrier", "Anna Ω Ж שלום हिन्दी ไทย 快 ヤマト 한진 شركة")
    path = tmp_path / "paper.pdf"
    path.write_bytes(typeset("labels", data(every), DAY))
    assert b"<pdfaid:part>2</pdfaid:part><pdfaid:conformance>B</pdfaid:conformance>" in path.read_bytes()
    listed = subprocess.run(["pdffonts", path], capture_output=True, text=True, check=True).stdout.splitlines()[2:]
    assert all(re.search(r"\byes +yes +yes\b", line) for line in listed)  # embedded, a subset, with Unicode
    shipped = {each.name.removesuffix(".ttf") for each in FONTS.iterdir() if each.name.endswith(".ttf")}
    used = {line.split()[0].partition("+")[2] for line in listed}
    short = {name.removesuffix("-Regular") for name in shipped}
    assert {name.removesuffix("-Regular") for name in used} == short


def test_every_font_is_told_with_its_licence():
    told = FONTS.joinpath("README.md").read_text()
    for each in FONTS.iterdir():
        if each.name.endswith(".ttf"):
            assert f"`{each.name}`" in told
    assert "SIL OPEN FONT LICENSE Version 1.1" in FONTS.joinpath("OFL-1.1.txt").read_text()


@pytest.mark.parametrize(
    "hostile",
    ["#panic(1)", '#include "/etc/passwd"', "*bold* _it_ `raw` $x$ <l> @r", "\\#", "// gone", "/* gone */ x", "]#[",
     '"); #sys.inputs; ("', "= head", "- item", "https://example.com/x", "--", "~", "'quoted' \"twice\"", "\\u{41}"],
)  # fmt: skip
def test_text_is_never_markup(tmp_path, hostile):
    papers.need_readers()
    path = tmp_path / "paper.pdf"
    given = data(("carrier", hostile), ("serial", "S1")) | {"head": hostile, "note": hostile}
    path.write_bytes(typeset("labels", given, DAY))
    (text,) = papers.text(str(path))
    assert " ".join(f"carrier: {hostile} serial: S1".split()) in " ".join(text.split())
    assert text.count(hostile) == 3
    assert b"/URI" not in path.read_bytes()


def test_no_character_is_left_out():
    with pytest.raises(BadInput, match="😀") as caught:
        typeset("labels", data(("carrier", "Anna 😀")), DAY)
    assert "Latin" in caught.value.hint


def test_a_fault_of_a_template_is_an_error_of_ours():
    with pytest.raises(SealiftError, match="labels could not be made") as caught:
        typeset("labels", {"head": "only"}, DAY)
    assert not isinstance(caught.value, BadInput)


@pytest.mark.parametrize("package", ["typst", "segno"])
def test_without_the_extra_a_paper_is_refused(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BadInput, match=f"{package}, which is not installed") as caught:
        typeset("labels", data(), DAY)
    assert caught.value.hint == "pip install 'sealift[papers]'"


# --- codes


@pytest.mark.parametrize(
    "text",
    ["plain", "äöü ß", "阿里山快递有限公司", "ヤマト運輸", "شركة", "한진택배", "é", "a\nb: c\n", "x" * 900, "ü" * 300],
    ids=lambda text: text[:9],
)  # fmt: skip
def test_a_code_reads_as_exactly_its_text(tmp_path, text):
    papers.need_readers()
    given = data(("label", "x"))
    given["labels"][0]["code"] = qr_svg(text)
    path = tmp_path / "paper.pdf"
    path.write_bytes(typeset("labels", given, DAY))
    place = papers.place(0)._replace(left=papers.place(0).right - 38.1 * papers.MM)
    assert papers.code(papers.picture(str(path), 0, place), tmp_path) == text


@pytest.mark.parametrize(("length", "modules"), [(190, 65), (500, 101), (700, 101), (1100, 125)])
def test_modules_stay_as_large_as_a_label_allows(length, modules):
    assert f'viewBox="0 0 {modules + 8} {modules + 8}"' in qr_svg("x" * length)


def test_a_text_that_no_code_holds_is_refused():
    assert qr_svg("x" * 2331)
    with pytest.raises(BadInput, match="2,332 characters are more than a QR code holds"):
        qr_svg("x" * 2332)
