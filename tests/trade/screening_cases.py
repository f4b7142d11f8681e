"""A declaration with one party that is like an entry of the made-up lists, and what comes of screening it."""

from datetime import timedelta

import screening_lists as made
from trade_cases import OFFICER, declared, party, signer

from sealift.formats import canonical
from sealift.formats.allowed_signers import AllowedSigners
from sealift.trade import lists_detect, screener, screening, worksheet

SCREENER, SECOND = signer(7), signer(8)
LINES = "".join(
    f'{name}@example.com namespaces="sealift-screening" {who.public_key.line}\n'
    for name, who in (("screener", SCREENER), ("second", SECOND), ("officer", OFFICER))
)
ALLOWED = AllowedSigners.parse(LINES.encode())
NOW, DAY = made.NOW, timedelta(days=1)
LIKE = party("Velmarin Shiping Line", "IR", "IR")


def csl(people=made.PEOPLE, name="csl.csv", fetched=made.FETCHED):
    return lists_detect.read(made.given(made.csl_csv(people), name, fetched), made.no_companion)


def like(**changes):
    """A declaration whose consignee is like an entry; so is its parent."""
    return declared(**({"consignee": LIKE} | changes))


def screened(declaration=None, lists=None, now=NOW, before=None, **more):
    return screener.screen(
        declaration or like(), lists or [csl()], screener="S. Screener", now=now, before=before, **more
    )


def encoded(record):
    return record, canonical.encode(record)


def filled(record, *, disposition="false_positive", second="S. Econd", rationale="another firm, by its register"):
    """The worksheet with every hit decided."""
    text = worksheet.render(*encoded(record))
    apart = '["founded 2019; the entry is of 1987"]' if disposition == "false_positive" else "[]"
    for old, new in (
        ('disposition = "potential"', f'disposition = "{disposition}"'),
        ('rationale = ""', f'rationale = "{rationale}"'),
        ("differentiators = []", f"differentiators = {apart}"),
        ('second_reviewer = ""', f'second_reviewer = "{second}"'),
    ):
        text = text.replace(old, new)
    return text


def disposed(record, text=None, by="S. Screener", now=NOW):
    data = canonical.encode(record)
    decisions, reviewer = worksheet.read((text or filled(record)).encode(), record, data, by=by, now=now)
    return screener.decided(record, data, decisions, screener=by, second_reviewer=reviewer, now=now)


def checked(record, *, second=SECOND, first=SCREENER, allowed=ALLOWED):
    data = canonical.encode(record)
    signatures = [who.sign(data, screening.NAMESPACE) if who else None for who in (first, second)]
    return screening.check_screening(data, *signatures, allowed)
