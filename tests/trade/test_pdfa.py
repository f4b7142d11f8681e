"""Every kind of paper is PDF/A-2b (ISO 19005-2): what a validator asks of a file, asked of each of ours.

Not a validator's whole list: colours of content streams and glyphs' widths are left to one.
"""

import io
import re

import paper_cases as cases
import pikepdf
import pytest
from paper_cases import DAY

from sealift.trade import labels, typeset

FORBIDDEN_ACTIONS = {"/Launch", "/Sound", "/Movie", "/ResetForm", "/ImportData", "/Hide", "/SetOCGState", "/Rendition",
                     "/Trans", "/GoTo3DView", "/JavaScript"}  # fmt: skip  # 6.5.1
BLENDS = {"/Normal", "/Compatible", "/Multiply", "/Screen", "/Overlay", "/Darken", "/Lighten", "/ColorDodge",
          "/ColorBurn", "/HardLight", "/SoftLight", "/Difference", "/Exclusion", "/Hue", "/Saturation", "/Color",
          "/Luminosity"}  # fmt: skip  # 6.2.9


def faults(data):
    """What of the file is not as ISO 19005-2 wants it, level B; clauses in front."""
    found = []
    if not re.match(rb"%PDF-1\.[0-7]\r?\n%[\x80-\xff]{4}", data):
        found.append("6.1.2 header")
    with pikepdf.open(io.BytesIO(data)) as pdf:
        found += [f"syntax: {each}" for each in pdf.check_pdf_syntax()]
        root = pdf.Root
        if pdf.is_encrypted or "/Encrypt" in pdf.trailer or len(pdf.trailer.get("/ID", [])) != 2:
            found.append("6.1.3 trailer")
        with pdf.open_metadata() as meta:
            if (meta.get("pdfaid:part"), meta.get("pdfaid:conformance")) != ("2", "B"):
                found.append("6.6.4 identification")
            if "/Title" in pdf.docinfo and meta.get("dc:title") != str(pdf.docinfo["/Title"]):
                found.append("6.6.2 XMP and the information dictionary")
        intents = [each for each in root.get("/OutputIntents", []) if each.S == "/GTS_PDFA1"]
        profiles = [bytes(each.DestOutputProfile.read_bytes()) for each in intents if "/DestOutputProfile" in each]
        if len(profiles) != 1 or profiles[0][36:40] != b"acsp":
            found.append("6.2.3 output intent")
        found += [f"6.1.2 catalog: {name}" for name in ("/AA", "/OpenAction", "/Requirements") if name in root]
        if "/EmbeddedFiles" in root.get("/Names", {}) or "/XFA" in root.get("/AcroForm", {}):
            found.append("6.8 embedded files")
        for thing in pdf.objects:
            found += _of(thing)
        fonts = [each for each in pdf.objects if isinstance(each, pikepdf.Dictionary) and each.get("/Type") == "/Font"]
        if not fonts:
            found.append("no fonts")
    return found


def _of(thing):
    """Of one object, a dictionary or a stream."""
    if not isinstance(thing, (pikepdf.Dictionary, pikepdf.Stream)):
        return []
    found = []
    if isinstance(thing, pikepdf.Stream):
        filters = thing.get("/Filter", [])
        filters = {str(filters)} if isinstance(filters, pikepdf.Name) else set(map(str, filters))
        if {"/F", "/FFilter"} & set(thing.keys()) or filters & {"/LZWDecode", "/Crypt"}:
            found.append(f"6.1.7 stream: {filters}")
        if thing.get("/Subtype") == "/PS" or {"/OPI", "/Ref", "/Alternates"} & set(thing.keys()):
            found.append("6.2.8, 6.2.9 XObject")
        if thing.get("/Subtype") == "/Image" and bool(thing.get("/Interpolate", False)):
            found.append("6.2.8 Interpolate")
    if thing.get("/Type") == "/Font":
        found += _font(thing)
    if str(thing.get("/S", "")) in FORBIDDEN_ACTIONS or "/JS" in thing or "/AA" in thing:
        found.append("6.5.1 action")
    if thing.get("/Type") == "/Annot" and thing.get("/Subtype") != "/Popup" and not int(thing.get("/F", 0)) & 4:
        found.append("6.3.2 annotation that does not print")
    strange = str(thing.get("/BM", "/Normal")) not in BLENDS or {"/TR", "/HTP"} & set(thing.keys())
    if thing.get("/Type") == "/ExtGState" and strange:
        found.append("6.2.5 graphics state")
    return found


def _font(font):
    kind = str(font.Subtype)
    if kind == "/Type3":
        return []
    if kind == "/Type0":
        below = font.DescendantFonts[0]
        if "/ToUnicode" not in font or str(font.Encoding) not in {"/Identity-H", "/Identity-V"}:
            return [f"6.2.11 {font.BaseFont}: its characters cannot be told"]
        if below.Subtype == "/CIDFontType2" and "/CIDToGIDMap" not in below:
            return [f"6.2.11.3.2 {font.BaseFont}: CIDToGIDMap"]
        return _embedded(below)
    return _embedded(font)


def _embedded(font):
    files = [each for each in ("/FontFile", "/FontFile2", "/FontFile3") if each in font.get("/FontDescriptor", {})]
    return [] if len(files) == 1 else [f"6.2.11.4.1 {font.BaseFont} is not embedded"]


def every_paper():
    """All kinds: drafts, released, of a rehearsal, of records; and labels."""
    made = cases.of_declaration(cases.frame(cases.full())) + cases.of_records()
    made += cases.of_declaration(cases.frame(cases.full(), final=True))
    made += cases.of_declaration(cases.frame(cases.full(rehearsal=True)))[:3]
    return made


@pytest.mark.long
def test_every_kind_of_paper_is_as_pdf_a_wants_it():
    seen = set()
    for made in every_paper():
        assert faults(typeset.typeset("paper", made.data, DAY)) == [], made.name
        seen.add(made.title)
    assert len(seen) >= 9, seen


def test_labels_are_too():
    content = cases.full()
    made = [labels.label(content, number, labels.Place(0, 0, DAY), shipment="cd072cd8be6f9f62") for number in (1, 2)]
    assert faults(labels.pdf(content, made, "", DAY, None)) == []


SHORT = cases.of_declaration(cases.frame(cases.full(4)))[1]


def _changed(change):
    with pikepdf.open(io.BytesIO(typeset.typeset("paper", SHORT.data, DAY))) as pdf:
        change(pdf)
        out = io.BytesIO()
        pdf.save(out)
        return out.getvalue()


def _fonts(pdf):
    return [each for each in pdf.objects if isinstance(each, pikepdf.Dictionary) and "/FontDescriptor" in each]


@pytest.mark.parametrize(
    ("change", "clause"),
    [
        (lambda pdf: pdf.Root.__delitem__("/OutputIntents"), "6.2.3"),
        (lambda pdf: pdf.Root.__delitem__("/Metadata"), "6.6.4"),
        (lambda pdf: _fonts(pdf)[0].__delitem__("/FontDescriptor"), "6.2.11.4.1"),
        (
            lambda pdf: pdf.Root.__setitem__("/OpenAction", pikepdf.Dictionary(S=pikepdf.Name.JavaScript, JS="1")),
            "6.1.2",
        ),
        (lambda pdf: pdf.Root.__setitem__("/AA", pikepdf.Dictionary()), "6.1.2"),
    ],
)
def test_what_is_not_so_is_found(change, clause):
    assert any(clause in each for each in faults(_changed(change)))
