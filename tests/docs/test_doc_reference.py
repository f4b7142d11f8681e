"""The reference pages say what the code does: commands and options, exit codes, JSON objects."""

import fcntl
import json
import os
import re
import sys
from types import SimpleNamespace
from typing import get_args

import click
import pytest
from doc_answers import flat, gather, merged
from doc_pages import PAGES, ROOT, blocks, missing_tools

from sealift import errors
from sealift.cli import main
from sealift.reading.survey_views import ProblemKind

REFERENCE = ROOT / "docs/reference"
sys.path.insert(0, str(ROOT / "docs"))
import make_reference  # noqa: E402 -- a script of docs/, not of the package

GROUP = click.Context(main.cli, info_name="sealift")
COMMANDS = {name: main.cli.get_command(GROUP, name) for name in main.COMMANDS}
EVERY = COMMANDS | {
    f"{name} {below}": command
    for name, group in COMMANDS.items()
    if isinstance(group, click.Group)
    for below, command in group.commands.items()
}


def rows(text, columns):
    """The cells of every table row that has so many columns, heads aside."""
    found = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    return [row for row in found if len(row) == columns and not row[0].startswith("---")]


# --- commands


def test_generated_pages_are_what_the_code_says():
    for page, wanted in make_reference.generated().items():
        assert page.read_text() == wanted, f"run .venv/bin/python docs/make_reference.py and look at {page.name}"


def test_every_command_and_option_is_on_the_page_with_its_help():
    page = (REFERENCE / "commands.md").read_text()
    for name, command in EVERY.items():
        section = page.partition(f"\n### sealift {name}\n")[2].partition("\n### ")[0]
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{name} {option.opts} has no help"
                assert all(f"`{each}`" in section for each in option.opts), (name, option.opts)


def typed(page):
    """(command, its options) of every sealift command line in the page's blocks."""
    text = "\n".join(blocks(page, "bash", "sh", "text")).replace("\\\n", " ")
    for line in text.splitlines():
        for command in re.findall(r"(?:^|[|;&(]|sudo |\b!)\s*sealift +([a-z]+\b[^|;&)]*)", line.split(" # ")[0]):
            words = command.split()
            yield (
                " ".join(words[:2]) if " ".join(words[:2]) in EVERY else words[0],
                [word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)],
            )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_that_pages_show_exist_with_these_options(page):
    for name, options in typed(page):
        assert name in EVERY, f"{page}: there is no sealift {name}"
        there = {each for option in EVERY[name].params for each in (*option.opts, *option.secondary_opts)}
        assert set(options) <= there | {"--help"}, f"{page}: sealift {name} {set(options) - there}"


def test_commands_in_pages_are_found_at_all():
    assert ("pack", "--parity") in [(name, each) for name, options in typed(ROOT / "README.md") for each in options]


# --- exit codes


def classes(base=errors.SealiftError):
    yield base
    for each in base.__subclasses__():
        if each.__module__ == "sealift.errors":
            yield from classes(each)


def test_every_error_class_is_listed_with_its_code():
    page = (REFERENCE / "exit-codes.md").read_text().partition("## By error")[2]
    listed = {row[0].strip("`"): int(row[1]) for row in rows(page, 3) if row[0] != "class"}
    assert listed == {each.__name__: each.exit_code for each in classes()}


def test_codes_are_those_of_errors_and_commands():
    page = (REFERENCE / "exit-codes.md").read_text()
    codes = {int(row[0]) for row in rows(page.partition("## By command")[0], 3) if row[0].isdigit()}
    said = {int(each) for each in re.findall(r"(?<![\w-])(\d+) [a-z]", main.EPILOG)}
    assert codes == {each.exit_code for each in classes()} | said | {main.INTERNAL}
    by_command = rows(page.partition("## By command")[2].partition("## By error")[0], 2)
    assert {row[0].strip("`") for row in by_command[1:]} == set(COMMANDS)
    listed_of = {row[0].strip("`"): row[1] for row in by_command[1:]}
    for name, command in EVERY.items():
        listed = listed_of[name.split()[0]]
        tail = (command.help or "").partition("Exit 0")[2]
        told = {int(each) for each in re.findall(r"[;,] (\d+)[ :]", tail)}
        assert told <= {int(each) for each in re.findall(r"\b\d+\b", listed)} | {1}, name


# --- JSON


@pytest.fixture(scope="session")
def said(tmp_path_factory):
    """What every command's --json says, by command: {path: types}."""
    if missing_tools() and not os.environ.get("CI"):
        pytest.skip(f"not installed: {', '.join(missing_tools())}")
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "answers-of-all-commands.json"
    with open(f"{shared}.lock", "w") as lock:  # a minute's work: one process does it for all
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.exists():
            answers = gather(tmp_path_factory.mktemp("answers"), ROOT / "README.md")
            shared.write_text(json.dumps(answers))
        answers = json.loads(shared.read_text())
    found = {}
    for name, objects in answers.items():
        for each in objects:
            found[name] = merged(found.get(name, {}), flat(each))
    return found


def documented(name):
    """{path: (types, is optional)} of a command's section, and of the shared one."""
    page = (REFERENCE / "json.md").read_text()
    sections = [f"## sealift {name}\n"]
    if name in {"inspect", "verify", "fleet"}:
        sections.append("## inspect and verify\n")
    found = {}
    for title in sections:
        section = page.partition("\n" + title)[2]
        assert section, f"json.md has no section {title}"
        for key, types, _ in rows(section.partition("\n## ")[0], 3):
            if key.startswith("`"):
                optional = key.endswith("?")
                found[key.strip("`?")] = SimpleNamespace(types=set(types.split(" or ")), optional=optional)
    return found


NAMES = [
    "plan --new", "plan", "drives", "drives prepare", "drives test", "drives locate", "erase",
    "declare --new", "declare --check", "declare --sheet", "documents", "labels", "screen", "screen --check", "release",
    "release --check", "release --new-rules", "declare --revise",
    "keys challenge", "keys answer", "keys check",
    "pack", "status", "seal", "source-release", "handover --new", "handover --paper", "handover", "custody", "audit",
    "inspect", "verify", "fleet", "repair", "receipt", "unlock", "ls", "unpack", "ingest", "ingest --packs",
    "train --new", "train", "train --measure-stall", "rehearse",
]  # fmt: skip
CANNOT = {  # what the shipment of this test does not bring about
    "seal": {"superseded"},
    "fleet": {"groups[].unrecoverable[]"},
    "unlock": {"missing_groups[]"},
    "inspect": {"faults[]", "groups[].present[].damage[]", "groups[].unrecoverable[]"},
}


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_objects_have_the_keys_and_types_that_the_page_says(said, name):
    if name in {"drives prepare", "drives locate", "erase"} and name not in said and not os.environ.get("CI"):
        pytest.skip("needs root, for loop devices")
    listed, seen = documented(name), dict(said[name])
    for path in [path for path, entry in listed.items() if entry.types == {"map"}]:
        assert seen.pop(path) == {"object"}
        listed.pop(path)
        seen = {key: types for key, types in seen.items() if not key.startswith(path + ".")}
    elements = {f"{path}[]" for path in seen if f"{path}[]" in seen and f"{path}[]" not in listed}
    for path, types in seen.items():
        if path in elements and types == {"object"}:
            continue
        assert path in listed, f"{name}: {path} is not on the page"
        assert types <= listed[path].types, f"{name}: {path} is {types}"
    nowhere = tuple(CANNOT.get(name, ()))
    unseen = {p for p, entry in listed.items() if not entry.optional and p not in seen and not p.startswith(nowhere)}
    assert not unseen, f"{name} never said {unseen}"


def test_every_command_with_json_has_its_section():
    with_json = {name for name, each in EVERY.items() if any("--json" in option.opts for option in each.params)}
    assert with_json == {name.partition(" --")[0] for name in NAMES}


CONTRACT = {
    "pack": "shipment groups[].group groups[].drives[] groups[].data groups[].parity groups[].stripes groups[].state"
    " files source_bytes packed_bytes parity_bytes seconds changed[].path incomplete[].path"
    " incomplete[].reason skipped[].path skipped[].reason",
    "inspect": "shipment state groups[].group groups[].parity groups[].present[].drive groups[].present[].slot"
    " groups[].present[].carrier groups[].present[].mount groups[].missing[].drive groups[].missing[].carrier"
    " groups[].missing[].serial groups[].total_bytes groups[].readable_bytes groups[].recoverable_bytes",
    "verify": "state signature.ok signature.signer faults[].drive faults[].path faults[].block faults[].kind"
    " bytes_read read_from seconds",
    "unpack": "files bytes rebuilt_blocks failed[].path failed[].reason seconds",
    "ls": "path size mode mtime type blake3",
}


@pytest.mark.parametrize("name", CONTRACT)
def test_keys_that_other_programs_rely_on_stay(name):
    assert set(CONTRACT[name].split()) <= set(documented(name))


def test_every_kind_of_fault_is_explained():
    table = (REFERENCE / "json.md").read_text().partition("<!-- kinds -->")[2].partition("\n## ")[0]
    assert [row[0].strip("`") for row in rows(table, 2)[1:]] == list(get_args(ProblemKind))
