"""Made-up names in the style of real ones, seeded: persons of several languages, and firms."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

_GIVEN = """
Ahmad Alexei Amina Ana Andrej Antonio Arash Bahram Carlos Chidi Dalia Daniel Dmitri Elena Farid Fatima Gustavo
Hamza Hana Hassan Ibrahim Igor Irina Ivan Jamal Jorge Jose Juan Karim Khalid Layla Leila Luis Mahmoud Maria
Marko Mehdi Mikhail Milan Mohamed Mustafa Natalia Nikolai Olga Omar Pavel Pedro Rashid Ravi Reza Said Samir
Sergei Soo-jin Tariq Thuy Vladimir Wei Xiaoming Yasin Yuri Yusuf Zahra Zoran
"""
_FAMILY = """
Abdullah Afanasiev Alvarez Aziz Bakri Barzani Bello Boutros Chen Cho Dang Diaz Dragovic Eze Farouk Fedorov
Fernandez Ghani Gomez Gusev Haddad Hakimi Herrera Hossein Ivanov Jankovic Kaya Khan Kim Kovac Kuznetsov Li Lopez
Mansour Markovic Mendez Morozov Mubarak Najjar Nguyen Noor Okafor Orlov Park Petrov Popov Qasim Rahimi Ramirez
Rostami Saleh Sato Shah Sidorov Sokolov Suarez Tanaka Usman Vargas Volkov Wang Yilmaz Zaman Zhang
"""
_PARTICLES = ("al-", "bin ", "de la ", "el ", "van ", "")
_TRADES = """
Agro Aviation Bank Capital Cargo Chemical Construction Electronics Energy Engineering Exchange Export Freight
General Heavy Holding Import Industrial Industries International Investment Logistics Machinery Marine Materials
Medical Metal Mining Optics Petrochemical Precision Research Science Semiconductor Shipping Steel Systems
Technology Telecom Textile Trading Transport Ventures
"""
_FORMS = ("Ltd", "Co., Ltd.", "LLC", "GmbH", "S.A.", "FZE", "JSC", "Group", "Corporation", "Pvt. Ltd.", "OOO", "")
_BEGIN = """
Ba Bel Cas Dar Del Er Fal Gal Har Il Jas Kal Kor Lan Mar Mer Nav Nor Or Pal Per Qas Ras Sar Sel Tar Tel Ur Val
Ver Yar Zar
"""
_MIDDLE = """
a ba be da di ga go ka ki la li ma mi na ni ra ri sa shi ta ti va vi
"""
_END = """
ban dan dor fan gar han kan lam len lin mar mex nar nov per ran rin sen sol tan tek tor van vik zan
"""


def person(chance: random.Random) -> str:
    """Two to four words."""
    family = chance.choice(_PARTICLES) + chance.choice(_FAMILY.split()) + chance.choice(("", "", "i", "eh", "ov"))
    given = " ".join(chance.sample(_GIVEN.split(), chance.choice((1, 1, 2))))
    return f"{family.upper()}, {given}" if chance.random() < 0.5 else f"{given} {family}"


def firm(chance: random.Random) -> str:
    """An invented word or two, trades, and as a rule a legal form."""
    own = [_word(chance) for _ in range(chance.choice((1, 1, 2)))]
    trades = chance.sample(_TRADES.split(), chance.choice((1, 2, 2, 3)))
    return " ".join([*own, *trades, chance.choice(_FORMS)]).strip()


def _word(chance: random.Random) -> str:
    middle = "".join(chance.choice(_MIDDLE.split()) for _ in range(chance.choice((0, 1, 1, 2))))
    return (chance.choice(_BEGIN.split()) + middle + chance.choice(_END.split())).capitalize()


def made(chance: random.Random, count: int) -> list[str]:
    """`count` different names, half of them persons'; sooner or later there are no more, so at most 200,000."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[person(chance) if len(found) % 2 else firm(chance)] = None
    return list(found)
