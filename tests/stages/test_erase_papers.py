"""Whatever declaration is given to erase: a legal hold of a later one in the same folder is found, and named."""

import erasures
import filled
import pytest

from sealift.stages import erase_papers
from sealift.trade import declaration, erasure, release, template
from sealift.trade.signing import write_pair

HOLD = "Court of Lisbon, 12/2026"


@pytest.fixture
def papers(tmp_path):
    """Revision 1, as it was released, kept and received."""
    made = erasures.Papers(tmp_path, ("SER0", "SER1"))
    let_go(made, 1)
    (tmp_path / "declaration.r1.toml").write_bytes(made.declaration.read_bytes())
    return made


def revise(papers, number=2, **changes):
    papers.declare(revision=number, supersedes="ab" * 32, **changes)
    return papers.declaration


def let_go(papers, number):
    parsed = declaration.parse(papers.declaration.read_bytes(), draft=True)
    assert parsed.revision == number
    signed = filled.released(parsed, erasures.OFFICER, erasures.AUTHOR, erasures.NOW)
    write_pair(release.path_beside(str(papers.declaration)), signed.data, signed.signature)


def why(papers, *names):
    names = names or ("declaration.r1.toml",)
    found = erase_papers.load(
        [str(papers.receipt)], [str(papers.folder / each) for each in names], erasures.ALLOWED, erasures.NOW
    )
    return erasure.objection("SER0", found.receipts, found.declarations, erasures.NOW, beside=found.beside)


GIVEN = [
    ("declaration.r1.toml",),
    ("declaration.r1.toml", "declaration.toml"),
    ("declaration.toml", "declaration.r1.toml"),
]


@pytest.mark.parametrize("names", GIVEN)
@pytest.mark.parametrize("released", [False, True])
def test_a_hold_in_a_later_revision_holds_whichever_file_is_given(papers, names, released):
    assert why(papers) is None
    revise(papers, legal_hold=HOLD)
    if released:
        let_go(papers, 2)
    how = "released" if released else "not released"
    assert why(papers, *names) == f"legal hold, in {papers.declaration} (revision 2, {how}): {HOLD}"


@pytest.mark.parametrize("names", GIVEN)
def test_a_later_revision_without_a_hold_holds_nothing(papers, names):
    revise(papers)
    assert why(papers, *names) is None, "a draft"
    let_go(papers, 2)
    assert why(papers, *names) is None
    assert why(papers, "declaration.toml") is None, "the one that was received lies beside it"


@pytest.mark.parametrize("released", [False, True])
def test_what_the_receipts_bind_is_found_beside_what_was_given_by_its_digest(papers, released):
    """Whoever gives the newest revision, as the guide says: the drives were received under the one before."""
    revise(papers)
    if released:
        let_go(papers, 2)
    assert why(papers, "declaration.toml") is None
    (papers.folder / "declaration.r1.toml").rename(papers.folder / "old name.toml")
    assert why(papers, "declaration.toml") is None
    first = (papers.folder / "old name.toml").read_text()
    (papers.folder / "old name.toml").write_text(first + "\n")
    said = why(papers, "declaration.toml")
    assert "none of the declarations, nor what lies beside them, is the one that the receipts bind" in said
    assert "declaration.r1.toml; give that, too" in said


def test_what_the_receipts_bind_holds_with_its_hold(papers):
    papers.declare(legal_hold=HOLD)
    papers.receive()
    (papers.folder / "declaration.r1.toml").write_bytes(papers.declaration.read_bytes())
    revise(papers)
    let_go(papers, 2)
    assert f"declaration.r1.toml (revision 1, not released): {HOLD}" in why(papers, "declaration.toml")


def test_a_hold_is_found_under_any_name_and_a_changed_text_of_the_same_revision_too(papers):
    content = erasures.content(papers.serials, legal_hold=HOLD)
    (papers.folder / "from counsel.toml").write_text(template.render(content))
    assert f"legal hold, in {papers.folder}/from counsel.toml (revision 1, not released): {HOLD}" == why(papers)
    (papers.folder / "from counsel.toml").rename(papers.folder / "declaration.1.toml")
    assert why(papers) is None, "what writing over the draft has kept"


def test_a_hold_that_a_later_release_lifted_holds_nothing(papers):
    revise(papers, legal_hold=HOLD)
    let_go(papers, 2)
    (papers.folder / "declaration.r2.toml").write_bytes(papers.declaration.read_bytes())
    revise(papers, number=3)
    assert "declaration.r2.toml (revision 2, released)" in why(papers), "a draft lifts nothing"
    assert "declaration.r2.toml" in why(papers, "declaration.r1.toml", "declaration.toml")
    let_go(papers, 3)
    assert why(papers, "declaration.r1.toml", "declaration.toml") is None


def test_a_later_revision_that_nobody_can_read_may_state_one(papers):
    revise(papers)
    let_go(papers, 2)
    papers.declaration.unlink()
    text = f"revision 2, which {papers.folder}/declaration.release.json releases, is not here"
    assert why(papers) == f"nobody can see whether there is a legal hold: {text}"
    revise(papers, legal_hold=HOLD)
    papers.declaration.write_text(papers.declaration.read_text() + "\n[[")
    assert f"{papers.declaration} cannot be read: " in why(papers)


def test_what_lies_beside_of_other_consignments_says_nothing(papers):
    other = erasures.content(papers.serials, consignment_id="SL-2026-OTHER9", legal_hold=HOLD)
    (papers.folder / "other.toml").write_text(template.render(other))
    assert why(papers) is None


@pytest.mark.parametrize("names", GIVEN)
def test_a_later_revision_that_is_silent_about_a_hold_stops_it(papers, names):
    revise(papers, legal_hold=" ")
    said = why(papers, *names)
    assert said is not None
    assert said.startswith(f"{papers.declaration} (revision 2), a later one,")
    assert said.endswith("nobody has said that there is no legal hold")
