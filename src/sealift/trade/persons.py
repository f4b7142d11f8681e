"""Whether two keys are one person's, and who is of the origin or a carrier: for every rule of the house that asks.

A rule that wants two people wants two persons by the allowed signers, and not two keys: all keys of a principal are one
person's, and so are all principals of a key (`allowed_signers.Person`). Names that people type are compared besides
(people.py), and make nobody another.

What holds: `same` is symmetric, and where a list of principals leaves it open true sooner than false. Of the `Origin`
is the declaration's author, and whoever signed a record that the origin makes, where that record is at hand.
Pure. What is not here: which records are at hand (stages/origin.py, stages/audit_origin.py), and who by a declaration
sends or receives under which name (custody_roles.py).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealift.errors import KeyInvalid
from sealift.formats import sshsig
from sealift.formats.allowed_signers import Person

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sealift.trade.sections import Content

AUTHOR, OFFICER, SEALER = "the declaration's author", "who released the declaration", "who sealed the shipment"
PACKER, SCREENER, SECOND = "who packed the shipment", "who screened its parties", "who decided about hits as the second"
PROVER, FREER = "who had the keys proved", "who released the source"


def author(declaration: Content) -> Person:
    """The author, by the key and the e-mail address that the declaration states."""
    found = addresses(declaration.author.email)
    with contextlib.suppress(KeyInvalid):  # a draft may have none
        found.add(sshsig.parse_public_key(declaration.author.public_key).fingerprint)
    return Person(frozenset(found))


def addresses(text: str) -> set[str]:
    """E-mail addresses in a contact, in lower case: what the allowed signers, too, may know somebody by."""
    words = (word.strip("<>()[],;:'\"").casefold() for word in text.replace(",", " ").split())
    return {word for word in words if "@" in word}


def same(one: Person, two: Person) -> bool:
    """Nothing in the allowed signers shows that they are two people."""
    return not one.sure.isdisjoint(two.sure | two.may) or not two.sure.isdisjoint(one.may)


def carrier_of(person: Person, carriers: Iterable[tuple[frozenset[str], str]]) -> str:
    """As which carrier somebody is known; "" as none. `carriers` are keys or addresses of carriers, and whose."""
    return next((name for sure, name in carriers if not sure.isdisjoint(person.sure)), "")


@dataclass(frozen=True)
class Origin:
    """People of the origin, each with what binds them to it."""

    people: Sequence[tuple[Person, str]] = ()

    def whose(self, person: Person) -> str:
        """Who of the origin somebody is, in words; "" for nobody of it."""
        return next((words for each, words in self.people if same(each, person)), "")

    def has(self, person: Person) -> bool:
        """Whether somebody is certainly of the origin."""
        return any(not each.sure.isdisjoint(person.sure) for each, _ in self.people)

    def joined(self, *others: Iterable[tuple[Person, str]]) -> Origin:
        """With further people; each person once, as what they were first."""
        found = dict(self.people)
        for each in others:
            for person, words in each:
                found.setdefault(person, words)
        return Origin(tuple(found.items()))
