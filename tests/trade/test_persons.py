"""Whose keys they are: by all lines of the allowed signers, whatever each allows; two of one person never make two."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trade_cases import AUTHOR, content, signer

from sealift.formats.allowed_signers import AllowedSigners, Person
from sealift.trade import persons
from sealift.trade.persons import Origin

KEYS = [signer(seed).public_key for seed in range(1, 6)]
PRINTS = [each.fingerprint for each in KEYS]


def signers(*rows):
    """Allowed signers of (principals, number of a key)."""
    return AllowedSigners.parse("".join(f'"{who}" {KEYS[key].line}\n' for who, key in rows).encode())


@pytest.mark.parametrize(("rows", "one"), [
    ([("a@x", 0), ("b@x", 1)], False),
    ([("a@x", 0), ("a@x", 1)], True),
    ([("a@x", 0), ("A@X", 1)], True),
    ([("a@x", 0), ("b@x", 0), ("b@x", 1)], True),
    ([("a@x", 0), ("b@x", 2), ("a@x", 2), ("c@x", 1), ("b@x", 1)], True),
    ([("a@x,b@x", 0), ("a@x", 1)], True),
    ([("a@x,b@x", 0), ("b@x,c@x", 1)], True),
    ([("a@x", 0), ("b@x", 1), ("a@x,b@x", 2)], False),
    ([("*@x", 0), ("a@x", 1)], False),
    ([("*@x", 0), ("*@x", 1)], False),
    ([("a@x,!b@x", 0), ("b@x", 1)], False),
    ([], False),
])  # fmt: skip
def test_the_allowed_signers_say_whose_keys_are_one_persons(rows, one):
    for order in itertools.permutations(rows[:4]):
        allowed = signers(*order, *rows[4:])
        assert persons.same(allowed.person(PRINTS[0]), allowed.person(PRINTS[1])) == one
        assert persons.same(allowed.person(PRINTS[1]), allowed.person(PRINTS[0])) == one


def test_what_a_line_allows_and_until_when_tells_nobody_apart():
    lines = f'a@x namespaces="sealift" {KEYS[0].line}\na@x valid-before="20200101Z",namespaces="other" {KEYS[1].line}\n'
    allowed = AllowedSigners.parse(lines.encode())
    assert persons.same(allowed.person(PRINTS[0]), allowed.person(PRINTS[1]))


NAMES = ["a@x", "b@x", "c@x", "d@x"]
ROWS = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 4)), max_size=12)


@given(
    ROWS, st.lists(st.tuples(st.lists(st.sampled_from(NAMES), min_size=2, max_size=3), st.integers(0, 4)), max_size=2)
)
@settings(deadline=None)
def test_one_person_is_whatever_names_and_keys_hang_together(rows, lists):
    allowed = signers(*rows, *((",".join(names), key) for names, key in lists))
    together = {each: {each} for each in (*NAMES, *PRINTS)}
    for name, key in rows:
        joined = together[name] | together[PRINTS[key]]
        together.update(dict.fromkeys(joined, joined))
    for one, two in itertools.product(PRINTS, PRINTS):
        first, second = allowed.person(one), allowed.person(two)
        assert (first.sure == second.sure) == (together[one] is together[two] or one == two)
        assert persons.same(first, second) == persons.same(second, first)
        if not lists:
            assert persons.same(first, second) == (first.sure == second.sure)
        elif first.sure == second.sure:
            assert persons.same(first, second)


def test_a_file_of_many_lines_of_one_name_is_read_at_once():
    lines = "".join(f'a@x namespaces="n{each}" {KEYS[each % 5].line}\n' for each in range(5_000))
    assert AllowedSigners.parse(lines.encode()).person(PRINTS[3]).sure == {"a@x", *PRINTS}


def test_the_author_is_known_by_key_and_address():
    parsed = content()
    assert persons.author(parsed).sure == {"author@example.com", AUTHOR.public_key.fingerprint}
    second = signers(("author@example.com", 4)).person(PRINTS[4])
    assert persons.same(second, persons.author(parsed))
    draft = content(author=type(parsed.author)())
    assert persons.author(draft) == Person(frozenset())
    assert not persons.same(second, persons.author(draft))


def test_whoever_a_record_binds_is_of_the_origin_and_as_what_they_were_first():
    allowed = signers(("a@x", 0), ("a@x", 1), ("b@x", 2), ("b@x,c@x", 3))
    origin = Origin().joined([(allowed.person(PRINTS[0]), persons.OFFICER)], [(allowed.person(PRINTS[1]), "else")])
    assert origin.whose(allowed.person(PRINTS[1])) == persons.OFFICER
    assert origin.whose(allowed.person(PRINTS[2])) == ""
    with_b = origin.joined([(allowed.person(PRINTS[2]), persons.SCREENER)])
    assert with_b.whose(allowed.person(PRINTS[3])) == persons.SCREENER, "who may be b"
