"""docs/spec/locations.md against the code: the example, tables, limits, a vector for every failure, and mutations."""

import pathlib
import re
import sys

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealift.drives import http
from sealift.errors import BadInput
from sealift.formats import locations

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "spec" / "locations.md").read_text()
VECTORS = ROOT / "tests" / "vectors" / "locations"
EXAMPLE = PAGE.partition("```toml\n")[2].partition("```")[0].encode()


@pytest.mark.parametrize("name", sorted(path.name for path in VECTORS.iterdir()))
def test_a_vector(name):
    data = (VECTORS / name).read_bytes()
    expected = data.partition(b"\n")[0].decode().removeprefix("# expect: ")
    if expected == "good":
        assert locations.parse(data, name).drive
    else:
        with pytest.raises(BadInput, match=re.escape(expected)) as caught:
            locations.parse(data, name)
        assert "1 problem:" in str(caught.value) or "not " in expected or name == "empty", "one rule a vector"
        assert caught.value.hint


def test_the_vectors_are_what_the_generator_writes(tmp_path):
    sys.path.insert(0, str(VECTORS.parent))
    import make_locations

    make_locations.main(tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_bytes() for path in VECTORS.iterdir()}
    named = re.findall(r"`(\w+)`", PAGE.partition("## Vectors")[2].partition("|---|---|")[2])
    assert sorted(named) == sorted(written)


def test_the_example_says_what_the_page_says():
    found = locations.parse(EXAMPLE, "x")
    first, second, third = found.drive
    assert found.requests == locations.REQUESTS == 8
    assert (first.name, first.token_file, first.ca_file) == ("storage-1-d01", "storage-1.token", "storage-1-ca.pem")
    assert (second.at, third.at, third.name) == ("s3://corpus/g0s1", "/mnt/d03", "")


@pytest.mark.parametrize("kind", [locations.Locations, locations.DriveRow])
def test_a_table_has_the_fields_of_the_record(kind):
    section = PAGE.partition(f"\n### {kind.__name__}\n")[2].partition("\n#")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(kind.__struct_fields__)


def test_limits_are_those_of_the_page():
    told = dict(re.findall(r"^\| `(MAX_\w+)` \| (\d+) \|", PAGE, re.MULTILINE))
    assert len(told) == 7
    for name, value in told.items():
        assert int(value) == getattr(locations, name, None) or int(value) == getattr(http, name)


@pytest.mark.parametrize(
    ("given", "is_"),
    [
        ("HTTP://Host.Example", "http://host.example/"),
        ("https://host:443/a/", "https://host/a/"),
        ("http://host:443/a", "http://host:443/a/"),
        ("https://[2001:DB8::1]:8443/a/b", "https://[2001:db8::1]:8443/a/b/"),
    ],
)
def test_an_address_in_one_form(given, is_):
    assert str(locations.web(given)) == is_


@pytest.mark.parametrize("given", ["https://me:hush@host/a", "https://host/a?token=hush", "https://host/a#hush"])
def test_what_may_be_a_password_is_not_repeated(given):
    with pytest.raises(BadInput) as caught:
        locations.web(given)
    assert "hush" not in f"{caught.value}{caught.value.hint}"


_pieces = st.sampled_from(
    [
        b'at = "',
        b"[[drive]]\n",
        b'token_file = "x"\n',
        b"https://",
        b"[",
        b"]",
        b"=",
        b"\n",
        b'"',
        b"..",
        b"\xff",
        b"[[[[",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(EXAMPLE)), st.integers(0, 40), st.one_of(_pieces, st.binary(max_size=20)))
def test_an_altered_file_is_taken_or_refused(place, gone, put):
    data = EXAMPLE[:place] + put + EXAMPLE[place + gone :]
    try:
        found = locations.parse(data, "x")
    except BadInput as error:
        assert error.hint  # noqa: PT017 -- either of two ends
    else:
        assert 1 <= len(found.drive) <= locations.MAX_DRIVES
        for row in found.drive:
            if locations.scheme_of(row.at) in {"http", "https"}:
                assert locations.web(row.at).host
        assert msgspec.to_builtins(found)


def test_a_long_file_is_refused_before_it_is_parsed():
    with pytest.raises(BadInput, match="at most"):
        locations.parse(b"#" * (locations.MAX_FILE + 1), "x")


@pytest.mark.parametrize(
    ("data", "token"),
    [
        (b"a", "a"),
        (b"\n b\t\r\n\r\na\n", "b"),
        (b"x" * 4096, "x" * 4096),
        (b"a\n" * 64, "a"),
        (b"", None),
        (b" \n", None),
        (b"a b", None),
        (b"a\nb c", None),
        (b"a\n\xff", None),
        (b"a\x00", None),
        (b"a\n" + b"x" * 4097, None),
        (b"a\n" * 65, None),
    ],
)
def test_the_first_token_of_a_file_of_tokens(data, token):
    assert locations.token_of(data) == token
