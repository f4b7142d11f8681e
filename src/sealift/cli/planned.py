"""`--plan shipment.toml`: the plan from its file, and its values in the place of options that were left away."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click
import msgspec

from sealift.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealift.stages.plan.document import Plan


def option(text: str) -> Callable[[Any], Any]:
    """The option itself."""
    return click.option("--plan", "plan", metavar="FILE", type=click.Path(), help=text)


def load(path: str) -> Plan:
    """The plan in a file, its source as from the file's folder; BadInput with every fault."""
    from sealift.stages.pack.source import is_store
    from sealift.stages.plan import document
    from sealift.trade.signing import read_limited

    try:
        found = document.parse(read_limited(path, document.MAX_FILE, "plan"))
    except BadInput as error:
        raise BadInput(f"{path}: {error}", hint=error.hint) from error
    if not found.source or is_store(found.source):
        return found
    folder = os.path.dirname(os.path.abspath(path))
    return msgspec.structs.replace(found, source=os.path.join(folder, found.source))


def fill(given: dict[str, Any], found: Plan) -> None:
    """Give the options that were not typed the plan's values; those that were are held against it by the stage."""
    context = click.get_current_context()
    values = {
        "source": found.source or None,
        "parity": found.parity,
        "group_size": found.size,
        "pack_size": found.pack_size,
        "order": found.order,
        "seed": found.seed,
    }
    typed = click.core.ParameterSource.COMMANDLINE
    given |= {name: value for name, value in values.items() if context.get_parameter_source(name) != typed}
