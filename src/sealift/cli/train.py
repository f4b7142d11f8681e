"""`sealift train`: the reference trainer on a shipment where it stands. Thin: training/ does the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sealift.cli import common
from sealift.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping

HELP = """
Train a small GPT on the drives as they stand, without unpacking: CONFIG says on which, how, and where to.

Bytes are authenticated as they are read; what up to m lost drives of a group held is rebuilt on the way. A
checkpoint is whole, or not there. SIGINT and SIGTERM write one and end; the same command again goes on from
the last: model, optimiser, random numbers, and place in the shipment, exactly, also at another number of
ranks or workers. At the end OUT/final has model.safetensors, run.json and health.json, to be carried home by
sealift pack --leg return.

\b
  sealift train --new run.toml        a form with every key explained
  sealift train run.toml
  torchrun --nproc-per-node 8 -m sealift train run.toml

Exit 0: all steps are done; 4: something cannot be read, and the last step before it is saved; 5: seal,
signature or identity; 6: more drives needed; 130: interrupted, the same command goes on.
"""


@click.command("train", help=HELP, short_help="Train on the drives as they stand.")
@click.argument("config", type=click.Path())
@click.option("--new", is_flag=True, help="Write a commented form to CONFIG, which must not exist.")
@click.option(
    "--measure-stall",
    type=click.IntRange(1, 1_000_000),
    metavar="STEPS",
    help="Write nothing; time so many steps from the drives, and on batches held in memory: what waiting costs.",
)
@common.json_option
def train(config: str, measure_stall: int | None, *, new: bool, as_json: bool) -> None:
    """Write the form, or train."""
    if new:
        if measure_stall is not None:
            raise BadInput("--new and --measure-stall are two different things", hint="sealift train --help")
        answer: Mapping[str, Any] | None = write_form(config)
    else:
        from sealift.training.config import load

        settings = load(config)
        need()
        from sealift.training.train import train as run

        answer = run(settings, common.say, measure_stall=measure_stall)
        if answer is not None and not as_json:
            tell(answer)
    if as_json and answer is not None:
        common.emit(answer)


def write_form(path: str) -> dict[str, Any]:
    """Write the form; never over a file that is there."""
    from sealift.trade.signing import write_new
    from sealift.training.template import TEMPLATE

    write_new(path, TEMPLATE.encode())
    common.say(f"wrote {path}: say where drives, identity, signers and seal are, then sealift train {path}")
    return {"config": path}


def need() -> None:
    """What training needs beyond sealift itself: BadInput before anything is read, not an ImportError at the end."""
    from importlib.util import find_spec

    missing = [name for name in ("torch", "safetensors") if find_spec(name) is None]
    if missing:
        raise BadInput(f"not installed: {', '.join(missing)}", hint="pip install 'sealift[train]'")


def tell(answer: Mapping[str, Any]) -> None:
    """What came out that the log did not say."""
    if "stall" in answer:
        stall = answer["stall"]
        common.say(
            f"stall {stall['stall']:.2%}: {stall['step_seconds']:.4f} s a step from the drives, "
            f"{stall['cached_step_seconds']:.4f} s on batches in memory; blocked for {stall['blocked']:.2%} of a step"
        )
        return
    if answer["health"]["drives"]:
        common.say(f"health: {answer['final']}/health.json, for sealift repair --report")
