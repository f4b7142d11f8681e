"""Write docs/reference/commands.md, lists of docs/README.md and examples of docs/planning.md; a test compares.

    .venv/bin/python docs/make_reference.py

What holds: the same code gives the same bytes, whatever the terminal and the environment. What is not here: any
description of its own; those are the help texts of the commands.
"""

# ruff: noqa: INP001 -- a script beside the pages it writes, not a package
from __future__ import annotations

import contextlib
import inspect
import re
import shlex
import sys
from pathlib import Path

import click
from click.testing import CliRunner

from sealift.cli import main

DOCS = Path(__file__).resolve().parent
HEAD = """\
# Commands

Written by `docs/make_reference.py` from the help of each command; `sealift COMMAND --help` says the same.
Exit codes are explained in [exit-codes.md](exit-codes.md), the objects of `--json` in [json.md](json.md).

| command | does |
|---|---|
"""


def commands_page() -> str:
    """The whole of commands.md."""
    group = main.cli
    context = click.Context(group, info_name="sealift")
    rows, parts = [], []
    for section, entries in main.SECTIONS.items():
        present = [name for name in entries if name in main.COMMANDS]
        parts += [f"## {section}\n"] if present else []
        for name in present:
            command = group.get_command(context, name)
            if command is None:
                raise SystemExit(f"{name} is listed, and is not there")
            rows.append(f"| [{name}](#sealift-{name}) | {_cell(entries[name].help)} |")
            parts += _commands(command, f"sealift {name}")
    return HEAD + "\n".join(rows) + "\n\n" + "\n".join(parts)


def _commands(command: click.Command, path: str) -> list[str]:
    """The section of a command, and those of the commands beneath it."""
    sections = [_command(command, click.Context(command, info_name=path))]
    for name, below in command.commands.items() if isinstance(command, click.Group) else ():
        sections += _commands(below, f"{path} {name}")
    return sections


def _command(command: click.Command, context: click.Context) -> str:
    lines = [f"### {context.info_name}\n", "```text", _usage(command, context), "```\n", _prose(command.help or "")]
    options = [each for each in command.params if isinstance(each, click.Option)]
    lines += ["| option | |", "|---|---|"]
    for option in options:
        names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
        value = "" if option.is_flag else f" `{option.make_metavar(context)}`"
        lines.append(f"| {names}{value} | {_cell(_help(option))} |")
    return "\n".join(lines) + "\n"


def _usage(command: click.Command, context: click.Context) -> str:
    pieces = [piece for param in command.params for piece in param.get_usage_pieces(context)]
    return " ".join([context.info_name or "", "[OPTIONS]", *(piece for piece in pieces if piece != "[OPTIONS]")])


def _help(option: click.Option) -> str:
    words = [option.help or ""]
    if option.required:
        words.append("Required.")
    if option.show_default and option.default is not None:
        words.append(f"Default: `{option.default}`.")
    if option.envvar:
        words.append(f"Else the environment variable `{option.envvar}`.")
    return " ".join(words)


def _prose(text: str) -> str:
    """Help as Markdown: paragraphs, and what click keeps line by line (after backspace) as text blocks."""
    out = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if paragraph.startswith("\b"):
            out.append("```text\n" + inspect.cleandoc("\n" + paragraph.removeprefix("\b").lstrip("\n")) + "\n```\n")
        else:
            out.append(_escaped(paragraph) + "\n")
    return "\n".join(out)


def _escaped(text: str) -> str:
    return "`".join(part.replace("*", r"\*") if i % 2 == 0 else part for i, part in enumerate(text.split("`")))


def _cell(text: str) -> str:
    return _escaped(" ".join(text.split())).replace("|", r"\|")


def index_page(text: str) -> str:
    """docs/README.md with its lists of decisions and of pages of the format as the folders have them."""
    for name in ("spec", "adr"):
        pages = sorted(path for path in (DOCS / name).glob("*.md") if path.name != "README.md")
        rows = "\n".join(f"- [{_title(path)}]({name}/{path.name})" for path in pages)
        begin, end = f"<!-- {name} -->\n", f"<!-- end {name} -->"
        before, _, rest = text.partition(begin)
        text = before + begin + rows + "\n" + end + rest.partition(end)[2]
    return text


def _title(path: Path) -> str:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("# ").strip()


def planning_page(text: str) -> str:
    """docs/planning.md with what each command that it names prints, with the kept calibration of the examples."""

    def block(found: re.Match[str]) -> str:
        given = shlex.split(found[1])
        with contextlib.chdir(DOCS.parent):
            done = CliRunner().invoke(main.cli, [*given, "--calibration", "docs/examples/host.json"])
        printed = done.stdout or f"sealift: error: {done.exception}\nhint: {getattr(done.exception, 'hint', '')}\n"
        return f"<!-- sealift {found[1]} -->\n```text\n{printed}```\n"

    return re.sub(r"<!-- sealift (plan [^\n]*) -->\n```text\n(?:.*?\n)??```\n", block, text, flags=re.DOTALL)


def generated() -> dict[Path, str]:
    """Every page that is written here, and what it should hold."""
    index, planning = DOCS / "README.md", DOCS / "planning.md"
    return {
        planning: planning_page(planning.read_text(encoding="utf-8")),
        DOCS / "reference" / "commands.md": commands_page(),
        index: index_page(index.read_text(encoding="utf-8")),
    }


if __name__ == "__main__":
    for page, wanted in generated().items():
        page.write_text(wanted, encoding="utf-8")
        sys.stderr.write(f"wrote {page}\n")
