"""Pages hang together: links resolve, nothing is orphaned, lists that stand twice are one."""

import os
import re

import pytest
from doc_pages import PAGES, ROOT, blocks

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def prose(page):
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page):
    """Headings as GitHub makes anchors of them."""
    heads = re.findall(r"^#+ +(.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.strip().lower().replace("`", "")).replace(" ", "-") for head in heads}


def links(page):
    return [link for link in LINK.findall(prose(page)) if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page}: {link}"
        assert not anchor or anchor in anchors(target), f"{page}: {link}"


def test_every_page_is_reached_from_the_readme():
    reached, ways = set(), [ROOT / "README.md"]
    while ways:
        page = ways.pop()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            ways += [(page.parent / link.partition("#")[0]).resolve() for link in links(page)]
    fragments = {page for page in PAGES if page.parent.name == "changes" and page.name != "README.md"}
    assert set(PAGES) - reached - fragments == set()


def test_links_are_found_at_all():
    assert "docs/getting-started.md" in links(ROOT / "README.md")


def test_packages_of_the_readme_are_those_that_ci_installs():
    after = (ROOT / "README.md").read_text().partition("<!-- packages -->")[2]
    block = re.search(r"```sh\n(.*?)```", after, re.DOTALL)[1].replace("\\\n", " ")
    ours = set(block.partition("apt-get install")[2].split())
    theirs = re.search(r"^packages=\(([^)]*)\)", (ROOT / ".ci/run").read_text(), re.MULTILINE)[1]
    assert ours == set(theirs.split())


def test_the_two_commands_of_the_readme_are_targets_of_make():
    targets = set(re.findall(r"^([\w-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wanted = {
        name
        for page in PAGES
        for block in blocks(page, "sh")
        for name in re.findall(r"(?:^|&& |sudo )make ([\w-]+)", block, re.MULTILINE)
    }
    assert {"test", "rehearse"} <= wanted <= targets


def test_ci_runs_the_tests_of_the_pages():
    assert "make test" in (ROOT / ".ci/run").read_text()
    assert os.path.isdir(ROOT / "tests/docs")


def test_the_layers_in_contributing_are_those_that_are_held():
    import tomllib

    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["type"] == "layers")
    said = re.search(r"one way: (.*?)\. ", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)[1]
    names = {name.strip().removeprefix("sealift.") for layer in layers for name in layer.split("|")}
    assert set(re.findall(r"`(\w+)`", said)) == names


def test_fragments_of_changes_have_names_that_the_rule_allows():
    names = [path.name for path in (ROOT / "changes").iterdir() if path.name != "README.md"]
    assert names
    assert all(re.fullmatch(r"\d{4}\.(added|changed|fixed|removed|security)\.md", name) for name in names), names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_are_readable_and_no_private_place_is_named(page):
    text = page.read_text()
    assert text.endswith("\n")
    assert "\n\n\n" not in re.sub(r"^```.*?^```$", "code", text, flags=re.MULTILINE | re.DOTALL)
    assert not re.search(r"/root/|TO" "DO|FIX" "ME", text)
