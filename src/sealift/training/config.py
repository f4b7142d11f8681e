"""What a run is, read from TOML; `problems` are found all at once, and named by table and key.

Paths are as from the folder of the file. What is not here: whether the drives are there, and what is on them.
"""

from __future__ import annotations

import difflib
import glob
import os
import tomllib
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from sealift.errors import BadInput

MAX_CONFIG = 1 << 20
_Count = Annotated[int, Meta(ge=1, le=1 << 31)]
_Natural = Annotated[int, Meta(ge=0, le=1 << 31)]
_Rate = Annotated[float, Meta(ge=0, le=1e6)]
_Paths = Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1, max_length=10_000)]
_Path = Annotated[str, Meta(min_length=1)]


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """The shipment, and what of a sample is text."""

    drives: _Paths  # folders where drives are mounted, patterns such as "/mnt/*", addresses, locations files
    identity: _Paths
    allowed_signers: _Path
    keys: str = ""  # what `sealift unlock` issued; `identity` is the job's own then
    seal: str = ""  # "": the one on the drives
    tokens: Literal["bytes", "uint16", "uint32"] = "bytes"  # little-endian, where they are not bytes
    file: str = ""  # of a sample, by what its name has after the key: "txt"; "": its first by name
    files: str = ""  # a pattern of files that hold nothing but tokens: each `block` of them is a sample
    workers: Annotated[int, Meta(ge=0, le=256)] = 2  # reading processes a rank


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """The GPT."""

    layers: _Count = 6
    heads: _Count = 6
    width: _Count = 384
    block: _Count = 512  # tokens of a sequence
    vocabulary: Annotated[int, Meta(ge=2, le=1 << 31)] = 256
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """The run. `batch` is that of all ranks together, and part of what the run is; `micro_batch` is a rank's memory."""

    steps: _Count = 1000
    batch: _Count = 64  # sequences a step, of all ranks
    micro_batch: _Natural = 0  # sequences that a rank takes at a time; 0: all its share
    seed: _Natural = 1
    lr: _Rate = 1e-3
    min_lr: _Rate = 1e-4  # where the cosine ends
    warmup: _Natural = 100  # steps
    weight_decay: _Rate = 0.1
    clip: _Rate = 1.0  # the norm of the gradient; 0: as it is
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"  # auto: bf16 on a GPU that has it
    parallel: Literal["ddp", "fsdp"] = "ddp"  # of several ranks
    compile: bool = False
    checkpoint_every: _Count = 500  # steps
    keep: _Count = 3  # checkpoints
    log_every: _Count = 10  # steps


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A run: its folder, its data, its model, its training."""

    out: _Path
    data: Data
    model: Model = Model()
    training: Training = Training()

    def public(self) -> dict[str, Any]:
        """What the run's record says: all but where things lie here."""
        data = {name: getattr(self.data, name) for name in ("tokens", "file", "files", "workers")}
        return {"data": data, "model": msgspec.to_builtins(self.model), "training": msgspec.to_builtins(self.training)}

    def mounts(self) -> list[str]:
        """What of `drives` is there now, patterns expanded to folders; BadInput if there is nothing."""
        each_found = (
            [each] if _stands(each) else sorted(filter(os.path.isdir, glob.glob(each))) for each in self.data.drives
        )
        found = [path for paths in each_found for path in paths]
        if not found:
            raise BadInput(
                f"none of data.drives is here: {', '.join(self.data.drives)[:500]}",
                hint="mount drives of the shipment, or mend data.drives in the configuration",
            )
        return list(dict.fromkeys(found))


def _stands(path: str) -> bool:
    """Whether it may be opened: a folder or a locations file that is there, or what only opening tells of (s3://...)."""
    return "://" in path or os.path.exists(path)


TABLES: dict[str, Any] = {"data": Data, "model": Model, "training": Training}
FIXED = {  # a run that goes on keeps these: they are what it is
    "data": ("tokens", "file", "files"),
    "model": Model.__struct_fields__,
    "training": ("batch", "seed"),
}


def load(path: str) -> Config:
    """The configuration in a file; BadInput with every problem."""
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_CONFIG + 1)
    except OSError as error:
        raise BadInput(f"{path}: {(error.strerror or str(error)).lower()}", hint="sealift train --new FILE") from error
    return parse(raw, path)


def parse(raw: bytes, path: str) -> Config:
    """The configuration that `raw`, the content of `path`, states; BadInput with every problem."""
    if len(raw) > MAX_CONFIG:
        raise BadInput(f"{path}: longer than {MAX_CONFIG:,} bytes", hint="sealift train --new FILE writes one")
    try:
        tree = tomllib.loads(raw.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadInput(f"{path}: no TOML: {error}", hint="sealift train --new FILE writes one to fill in") from error
    problems: list[str] = []
    made = _struct(Config, {name: value for name, value in tree.items() if name not in TABLES}, "", problems)
    for table, kind in TABLES.items():
        given = tree.get(table, {})
        if isinstance(given, dict):
            made[table] = _struct(kind, given, f"{table}.", problems)
        else:
            problems.append(f"{table}: a table, [{table}]")
    if not problems:
        problems = _together(made)
    if problems:
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise BadInput("\n  ".join([f"{path}: {count}", *problems]), hint="sealift train --new FILE explains every key")
    return _placed(made, os.path.dirname(os.path.abspath(path)))


def _struct(kind: Any, given: dict[str, Any], prefix: str, problems: list[str]) -> dict[str, Any]:
    """The fields of a record that are good; what is wrong with the others is added to `problems`."""
    made: dict[str, Any] = {}
    fields = {each.name: each for each in msgspec.structs.fields(kind) if each.name not in TABLES}
    for name, value in given.items():
        if name not in fields:
            close = difflib.get_close_matches(name, [*fields, *([] if prefix else TABLES)], 1)
            problems.append(f"{prefix}{name}: no such key" + (f"; is it {prefix}{close[0]}?" if close else ""))
            continue
        try:
            made[name] = msgspec.convert(value, fields[name].type)
        except msgspec.ValidationError as error:
            problems.append(f"{prefix}{name}: {str(error)[:1].lower()}{str(error)[1:]}")
    problems += [
        f"{prefix}{each.name}: missing" for each in fields.values() if each.required and each.name not in given
    ]
    return made


def _together(made: dict[str, Any]) -> list[str]:
    """Problems between fields that are each good."""
    model, training, data = (TABLES[name](**made[name]) for name in ("model", "training", "data"))
    problems = []
    if model.width % model.heads:
        problems.append(f"model.width: {model.heads} heads do not divide {model.width}")
    if data.file and data.files:
        problems.append(f"data.file: {data.file!r} is of a sample; with data.files, every file that matches is tokens")
    if data.tokens == "bytes" and model.vocabulary != 256:
        problems.append(f'model.vocabulary: {model.vocabulary}; with data.tokens = "bytes" it is 256')
    if training.min_lr > training.lr:
        problems.append(f"training.min_lr: {training.min_lr} is over training.lr, {training.lr}")
    return problems


def _placed(made: dict[str, Any], folder: str) -> Config:
    """The record, its paths as from `folder`."""

    def place(path: str) -> str:
        return os.path.join(folder, path) if path and "://" not in path else path

    data = made["data"]
    for name in ("drives", "identity"):
        data[name] = [place(path) for path in data[name]]
    for name in ("allowed_signers", "seal", "keys"):
        data[name] = place(data.get(name, ""))
    return Config(
        out=place(made["out"]), data=Data(**data), model=Model(**made["model"]), training=Training(**made["training"])
    )
