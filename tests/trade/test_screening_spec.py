"""docs/spec/screening.md says what the code does: the example, every field, every limit."""

import re
from pathlib import Path
from typing import get_args

import pytest
from screening_cases import screened

from sealift.formats import canonical
from sealift.trade import lists, lists_csv, lists_xml, matching, names, screening, worksheet

PAGE = (Path(__file__).parents[2] / "docs" / "spec" / "screening.md").read_text()


def block(language):
    return re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[1]


def test_the_example_is_a_record_of_today():
    record = screening.decode(block("json").encode())
    assert canonical.encode(record).decode() == block("json")
    today = next(party for party in screened().parties if party.party_ref == "consignee").hits[0]
    shown = record.parties[1].hits[0]
    assert (shown.score, shown.rank, shown.features, shown.why) == (today.score, today.rank, today.features, today.why)


@pytest.mark.parametrize(
    "kind",
    [screening.ScreeningRecord, screening.Party, screening.Hit, screening.Decision, screening.Features, lists.ListFile],
)
def test_every_field_is_on_the_page(kind):
    tables = PAGE.partition("## The record")[2]
    for name in kind.__struct_fields__:
        assert f"`{name}`" in tables, name


def test_limits_are_those_of_the_code():
    modules = (lists, lists_csv, lists_xml, names, screening)
    rows = re.findall(r"^\| `(MAX_\w+)` \| (\d+) \|", PAGE, re.MULTILINE)
    assert len(rows) == 11
    for name, value in rows:
        assert int(value) in {getattr(module, name, None) for module in modules}, name
    assert f"`whole` >= {matching.WHOLE:.2f} or `words` >= {matching.WORDS:.2f}" in PAGE
    assert f"wants `words` >= {matching.LONE:.2f}" in PAGE


def test_every_problem_and_format_is_explained():
    for name in (*get_args(screening.Why), *get_args(lists.Format)):
        assert f"| `{name}` |" in PAGE


def test_the_description_is_one_that_is_taken():
    described = lists_csv.parse(block("toml").encode())
    assert described.columns == lists_csv.Columns(
        id="Ref",
        names=("Name", "Other names"),
        name_parts=("Given", "Family"),
        kind="Kind",
        countries="Country",
        birth_dates="Born",
        programs="Programme",
    )
    assert set(get_args(lists_csv.Encoding)) == {
        word.strip(",") for word in re.findall(r'encoding = "(utf-8)" +# or (.*)', PAGE)[0] for word in word.split()
    }


def test_fields_of_the_worksheet_are_on_the_page():
    tail = PAGE.partition("## The worksheet")[2]
    for field in ("screening_id", "screening_blake3", "second_reviewer", "parties", "list", "entry_id", "rationale"):
        assert f"`{field}`" in tail
        assert f"\n{field} = " in worksheet.render(screened(), b"")
