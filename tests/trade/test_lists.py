"""Every format gives the same people; what is not whole, not well-formed or too much is refused, and said."""

import hashlib
import time

import pytest
import screening_lists as made
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st

from sealift.errors import BadInput, SealiftError
from sealift.trade import lists, lists_csv, lists_detect, lists_us, lists_xml
from sealift.trade.lists_csv import Columns

OFAC = dict(zip(("sdn.csv", "alt.csv", "add.csv"), made.ofac(), strict=True))


def ofac(files=OFAC):
    return lists_detect.read(made.given(files["sdn.csv"], "sdn.csv"), lambda name: made.given(files[name], name))


def read(data, name="list"):
    return lists_detect.read(made.given(data, name), made.no_companion)


def mapped(data=None):
    described = lists_csv.parse(made.TOML.encode())
    return lists_csv.read(made.given(data or made.mapped(), "internal.csv"), described.columns, described.encoding)


READ = {
    "csl-csv": lambda: read(made.csl_csv()),
    "csl-json": lambda: read(made.csl_json()),
    "ofac": ofac,
    "un": lambda: read(made.un()),
    "eu": lambda: read(made.eu()),
    "csv": mapped,
}


@pytest.mark.parametrize("kind", READ)
def test_every_format_gives_the_same_people(kind):
    found = READ[kind]()
    assert [file.format for file in found.files] == [kind] * (3 if kind == "ofac" else 1)
    by_name = {name: entry for entry in found.entries for name in entry.names}
    assert len(found.entries) == len(made.PEOPLE) == found.files[0].rows
    for one in made.PEOPLE:
        first = one.names[0]
        if (kind, one.kind) == ("un", "person"):  # whose names it has in parts
            first = " ".join(reversed(first.split(", ")))
        entry = by_name[first]
        assert set(one.names[1:]) <= set(entry.names)
        assert one.number in entry.entry_id
        assert entry.kind in {one.kind, "organisation" if kind in {"un", "eu"} else one.kind}
        if one.country and (kind, one.kind) != ("csl-csv", "person"):
            assert set(entry.countries) <= {one.country, made.NAMES[one.country]}
            assert entry.countries
        if one.born:
            assert one.born[:4] in entry.birth_dates[0]
    assert found.notes == ()


def test_what_the_record_says_of_a_file():
    data = made.un()
    (file,) = read(data, "consolidated.xml").files
    assert (file.name, file.bytes, file.rows) == ("consolidated.xml", len(data), 6)
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    assert file.published == "2026-11-20T00:00:01.000Z"
    assert (file.fetched, file.fetched_from) == ("2026-11-24T12:00:00Z", "stated")
    assert read(made.eu()).files[0].published.startswith("2026-11-21T17:00")
    assert read(made.csl_csv()).files[0].published is None


def test_the_file_of_2019_and_columns_to_come():
    old = read(made.csl_csv(header=[column for column in made.HEADER if column != "_id"]))
    assert old.entries[0].entry_id == "Made-up List (MUL) - Bureau of Nowhere 101"
    new = read(b"\xef\xbb\xbf" + made.csl_csv(extra=["a_column_of_2031"]).replace(b"\r\n", b"\n"))
    assert [entry.names for entry in new.entries] == [one.names for one in made.PEOPLE]


def test_ofacs_files_in_capitals_and_of_the_other_list():
    upper = {name.upper(): data for name, data in OFAC.items()}
    found = lists_detect.read(made.given(upper["SDN.CSV"], "SDN.CSV"), lambda name: made.given(upper[name], name))
    assert len(found.entries) == 6
    asked = []
    with pytest.raises(BadInput, match="known by their names"):
        lists_detect.read(made.given(OFAC["sdn.csv"], "mine.csv"), made.no_companion)
    with pytest.raises(KeyError):
        lists_detect.read(made.given(OFAC["sdn.csv"], "cons_prim.csv"), lambda name: asked.append(name) or {}[name])
    assert asked == ["cons_alt.csv"]


def test_names_stand_in_other_places_too():
    """OFAC's weak aliases are in the remarks, the UN's aliases have a script of their own."""
    remarks = OFAC["sdn.csv"].replace(b"(Linked To: NOBODY)", b"a.k.a. 'THE HERON'; alt. DOB 1962")
    first = ofac(OFAC | {"sdn.csv": remarks}).entries[0]
    assert first.names[-1] == "THE HERON"
    assert first.birth_dates == ("1961-03-04", "1962")
    native = "<NAME_ORIGINAL_SCRIPT>Зорбанофф</NAME_ORIGINAL_SCRIPT></INDIVIDUAL_ALIAS>".encode()
    names = [
        name for entry in read(made.un().replace(b"</INDIVIDUAL_ALIAS>", native, 1)).entries for name in entry.names
    ]
    assert "Зорбанофф" in names


def test_ofacs_files_must_be_of_one_day():
    main, *others = (OFAC[name] for name in ("sdn.csv", "alt.csv", "add.csv"))
    fewer = main.split(b"\r\n", 1)[1]
    with pytest.raises(BadInput, match=r"alt.csv: row 1: entry 101 is not in the list; are these files of one day"):
        ofac(dict(zip(OFAC, (fewer, *others), strict=True)))
    with pytest.raises(BadInput, match="two entries have one number"):
        ofac(OFAC | {"sdn.csv": main.split(b"\r\n")[0] + b"\r\n" + main})


CSV = made.csl_csv()
REFUSED = {
    "a part of the JSON": (made.csl_json(total=17_000), "6 of 17,000 results; a part is not the list"),
    "JSON cut": (made.csl_json()[:-9], "not the JSON of the list"),
    "JSON without names": (b'{"results": [{"source": "x"}]}', "missing required field"),
    "deep JSON": (b'{"results": [], "x": ' + b"[" * 100_000, "not the JSON of the list"),
    "no entries": (made.csl_csv(people=()), "a list that clears everybody is not taken"),
    "an empty answer": (b'{"results": []}', "it has no entries"),
    "a row cut": (CSV[: len(CSV) - 9], "row 7: 2[0-9] fields, where the header has 29"),
    "a quote open": (CSV + b'id,"open', "unexpected end of data"),
    "a column twice": (CSV.replace(b",title,", b",name,", 1), "two columns of its header have one name"),
    "a huge field": (CSV.replace(b"1 Road", b"1" * 200_000), "field larger than field limit"),
    "a long name": (CSV.replace(b"VSL", b"V" * 1001), "row 3: a name of 1,001 characters; at most 1,000 are taken"),
    "a NUL": (CSV.replace(b"VSL", b"V\0L"), "a NUL at character"),
    "another encoding": (CSV.decode().replace("VSL", "VÄL").encode("latin-1", "replace"), "not UTF-8 text at byte"),
    "a web page": (b"<!DOCTYPE html><html><body>403 Forbidden", "XML with the root 'html', which is no list"),
    "XML of another kind": (b"<sdnList/>", "XML with the root 'sdnList'"),
    "something else": (b"name,country\nA,B\n", "of no format that is known"),
    "nothing": (b"", "of no format that is known"),
    "XML cut": (made.un()[:-30], "not well-formed XML"),
    "EU in another namespace": (made.eu().replace(b"fpi/fsd", b"fpi/xyz"), "its root is 'export'"),
    "UN in latin-1": (made.un().replace("Зорбанов".encode(), b"\xe9\xe8"), "not well-formed XML"),
    "an unknown encoding": (
        made.un().replace(b"UTF-8", b"no-such"),
        "is no list that is known|not XML that can be read",
    ),
    "no ids": (made.eu().replace(b"euReferenceNumber", b"x").replace(b"logicalId", b"y"), "the entry has no id"),
    "deep XML": (made.un().replace(b"<THIRD_NAME/>", b"<A>" * 40 + b"</A>" * 40, 1), "elements more than 32 deep"),
    "a long text": (made.un().replace(b"Good", b"G" * 200_000, 1), "a text of more than 131,072 characters"),
    "a long attribute": (
        made.eu().replace(b'region=""', b'region="' + b"x" * 200_000 + b'"', 1),
        "an attribute of more",
    ),
    "many elements": (
        made.un().replace(b"<THIRD_NAME/>", b"<A/>" * 100_001, 1),
        "a record of more than 100,000 elements",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_told(case):
    data, why = REFUSED[case]
    with pytest.raises(BadInput, match=why) as caught:
        read(data, "the.list")
    assert "the.list" in str(caught.value)
    assert caught.value.hint


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
ENTITIES = {
    "an external file": b'<!DOCTYPE CONSOLIDATED_LIST [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    "an external DTD": b'<!DOCTYPE CONSOLIDATED_LIST SYSTEM "http://lists.example/evil.dtd">',
    "a billion laughs": f'<!DOCTYPE CONSOLIDATED_LIST [<!ENTITY l0 "ha">{LAUGHS}]>'.encode(),
    "a parameter entity": b'<!DOCTYPE CONSOLIDATED_LIST [<!ENTITY % p SYSTEM "http://lists.example/p">%p;]>',
}


@pytest.mark.parametrize("case", ENTITIES)
@pytest.mark.parametrize("kind", ["un", "eu"])
def test_no_document_type_is_read(case, kind):
    data = {"un": made.un, "eu": made.eu}[kind]()
    declaration, root = data.split(b"\n", 1)
    name = {"un": b"CONSOLIDATED_LIST", "eu": b"export"}[kind]
    hostile = declaration + ENTITIES[case].replace(b"CONSOLIDATED_LIST", name) + root.replace(b"Igor", b"&l11;&x;", 1)
    reader = {"un": lists_xml.un, "eu": lists_xml.eu}[kind]
    begun = time.monotonic()
    for take in (read, lambda each: reader(made.given(each))):
        with pytest.raises(BadInput):
            take(hostile)
    with pytest.raises(BadInput, match="document type or an entity of its own"):
        reader(made.given(declaration + ENTITIES[case].replace(b"CONSOLIDATED_LIST", name) + root))
    assert time.monotonic() - begun < 1


def test_names_are_cleaned_and_it_is_told():
    found = read(CSV.replace(b"VSL", "V\u202eS\u200bL\x1b[2J".encode()))
    assert found.entries[1].names[1] == "VSL[2J"
    assert found.notes == ("list: control characters were taken out of 1 names",)
    nameless = read(CSV.replace("王小测".encode(), b" "))
    assert nameless.notes == ("list: 1 of 6 entries have no name to compare",)


def test_limits_of_entries_and_names(monkeypatch):
    monkeypatch.setattr(lists, "MAX_ENTRIES", 5)
    with pytest.raises(BadInput, match="row 7: more than 5 entries"):
        read(CSV)
    monkeypatch.setattr(lists, "MAX_ENTRIES", 6)
    monkeypatch.setattr(lists, "MAX_NAMES", 10)
    with pytest.raises(BadInput, match="row 7: more than 10 names"):
        read(CSV)


# -- sealift-list TOML


def test_encodings_are_stated():
    data = made.csl_csv(made.PEOPLE[:1]).decode().replace("Igor ZORBANOFF", "Игорь").encode("cp1251")
    with pytest.raises(BadInput, match="not UTF-8 text"):
        read(data)
    found = lists_detect.read(made.given(data), made.no_companion, encoding="cp1251")
    assert found.entries[0].names[2] == "Игорь"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('type = "sealift-list"', 'type = "list"', "type: must be sealift-list"),
        ('fetched = "2026-11-24"', 'fetched = "yesterday"', "fetched: 'yesterday' is no date"),
        ('fetched = "2026-11-24"', 'fetched = "0001-01-01"', "fetched: '0001-01-01' is no date"),
        ('file = "internal.csv"', 'file = "../internal.csv"', "file: "),
        ('names = ["Name", "Other names"]', "", "columns.names: missing"),
        ('separator = "/"', 'separator = ""', "columns.separator: empty"),
        ('kind = "Kind"', 'kinds = "Kind"', "columns.kinds: no such field; did you mean columns.kind"),
        ('format = "csv"', 'format = "un"', "columns: belongs to format"),
        ("version = 1", "version = 2", "version: "),
    ],
)
def test_faults_of_a_description(old, new, why):
    with pytest.raises(BadInput, match=why):
        lists_csv.parse(made.TOML.replace(old, new).encode())


def test_entries_of_one_id_stay_apart_in_lists_that_have_an_entry_a_row():
    """A decision is about one entry: two rows of one id are not one."""
    twice = [one._replace(number="7") for one in made.PEOPLE[:3]]
    assert [entry.entry_id for entry in read(made.csl_csv(twice)).entries] == ["id7", "id7 #2", "id7 #3"]
    without = [column for column in made.HEADER if column not in {"_id", "title"}]
    nameless = read(made.csl_csv([one._replace(number="") for one in twice], header=without))
    assert [entry.entry_id for entry in nameless.entries] == ["row 2", "row 3", "row 4"]


def test_a_csv_with_a_name_in_parts_and_a_row_for_each_alias():
    """As the UK publishes its list: a line above the header, family name last, rows of one group are one entry."""
    head = "Last Updated,24/11/2026\r\nName 6,Name 1,Name 2,Name Non-Latin Script,Group Type,Group ID,DOB\r\n"
    body = "ZORBANOV,Igor,Tarkan,,Individual,77,04/03/1961\r\nZORBANOFF,Igor,,Зорбанов,Individual,77,\r\n"
    body += "HARVEL LTD,,,,Entity,78,\r\n"
    columns = Columns(
        id="Group ID", name_parts=("Name 1", "Name 2", "Name 6"), names=("Name Non-Latin Script",), kind="Group Type",
        birth_dates="DOB", skip_lines=1,
    )  # fmt: skip
    found = lists_csv.read(made.given((head + body).encode()), columns)
    one, other = found.entries
    assert (one.entry_id, one.kind, one.birth_dates) == ("77", "person", ("04/03/1961",))
    assert one.names == ("Igor Tarkan ZORBANOV", "Igor ZORBANOFF", "Зорбанов")
    assert (other.names, other.kind) == (("HARVEL LTD",), "organisation")
    assert found.files[0].rows == 3
    with pytest.raises(BadInput, match="no more than 20 lines"):
        lists_csv.read(made.given(head.encode()), Columns(names=("Name 1",), skip_lines=20))


def test_columns_must_be_there_once():
    with pytest.raises(BadInput, match="0 columns are named 'Alias'; one is wanted"):
        lists_csv.read(made.given(made.mapped()), Columns(names=("Name", "Alias"), delimiter=";"))
    with pytest.raises(BadInput, match=r"row 2: 7 fields, where the header has 6"):
        mapped(made.mapped().replace(b"Comment;", b"", 1))


@pytest.mark.parametrize(("other", "called"), [(";", ";"), ("\t", "tab"), ("|", "|")])
def test_a_list_with_another_delimiter_is_not_taken_as_one_column(other, called):
    data = other.join(["Ref", "Name"]) + "\n" + other.join(["1", "Anna"]) + "\n"
    with pytest.raises(BadInput, match=f"all of it is one column, .* in which [{called}]+ stands 1 times"):
        lists_csv.read(made.given(data.encode()), Columns(names=("Name",)))
    with pytest.raises(BadInput, match="all of it is one column"):
        lists_csv.read(made.given(data.encode()), Columns(names=(f"Ref{other}Name",)))


@pytest.mark.parametrize(("named", "total"), [(0, 1), (0, 2), (1, 20), (80, 100)])
def test_a_list_in_which_names_are_rare_is_refused_with_the_counts(named, total):
    rows = [["Name", "Comment"], *([f"N{i}" if i < named else "", "x"] for i in range(total))]
    with pytest.raises(BadInput, match=f"{total - named} of {total} entries have no name to compare"):
        lists_csv.read(made.given(made.table(rows).encode()), Columns(names=("Name",)))
    rows = [["Name", "Comment"], *([f"N{i}" if i < named else "17", f"x{i}"] for i in range(total))]
    with pytest.raises(BadInput, match=f"{total - named} of {total} entries have no name to compare"):
        lists_csv.read(made.given(made.table(rows).encode()), Columns(names=("Name",)))
    assert lists_csv.read(made.given(made.table(rows).encode()), Columns(names=("Comment",))).entries


def test_a_list_in_which_most_are_called_alike_is_refused():
    rows = [["Name", "Kind"], *([f"Name {i}x", "n/a" if i % 3 else f"k{i}"] for i in range(60))]
    table = made.given(made.table(rows).encode())
    with pytest.raises(BadInput, match="40 of 60 entries are called 'n/a'"):
        lists_csv.read(table, Columns(names=("Kind",)))
    assert len(lists_csv.read(table, Columns(names=("Name",))).entries) == 60


# -- any bytes


READERS = [
    lambda each: lists_detect.read(
        each, lambda name: made.given(OFAC["alt.csv" if "alt" in name else "add.csv"], name)
    ),
    lists_us.csl_csv,
    lists_us.csl_json,
    lists_xml.un,
    lists_xml.eu,
    lambda each: lists_us.ofac(each, each, each),
    lambda each: lists_csv.parse(each.data),
    lambda each: lists_csv.read(each, Columns(names=("Name",), delimiter=";")),
]
SEEDS = [made.csl_csv(), made.csl_json(), OFAC["sdn.csv"], made.un(), made.eu(), made.mapped(), made.TOML.encode()]


@settings(max_examples=150, deadline=None)
@given_by(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 1 << 12), st.integers(0, 12), st.binary(max_size=12)), max_size=6),
)
def test_altered_lists_are_read_or_refused(seed, cuts):
    data = bytearray(seed)
    for at, length, put in cuts:
        data[at : at + length] = put
    for reader in READERS:
        try:
            found = reader(made.given(bytes(data), "sdn.csv"))
        except SealiftError:
            continue
        for entry in getattr(found, "entries", ()):
            assert entry.entry_id
            assert all(name == lists.line(name) and len(name) <= 1000 for name in entry.names)
