"""Strict TOML: a file that people edit, taken as a record, with every fault named at once by its path.

What holds: a value is of its field's type and within its limits, or it is left out and named; so is every key that the
record has no field for, with the field that was probably meant. Rows are counted from 1. Text is one line that prints
as it is read. What the fields must hold together is the record's own matter.
"""

from __future__ import annotations

import difflib
import functools
import re
import unicodedata
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from sealift.errors import FormatError
from sealift.formats import typed
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_LINE = 4096
MAX_KEY_DOTS = 64  # of a line: tomllib's time grows with the square of a key's parts
MAX_SHOWN = 200  # faults
_GUESSES = 20  # of a table: each costs a comparison with every field


def load(data: bytes, limit: int) -> tuple[dict[str, Any] | None, str]:
    """The TOML in a file's bytes; or None, and why not."""
    import tomllib

    if len(data) > limit:
        return None, f"the file is {len(data):,} bytes long; at most {limit:,} are allowed"
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return None, f"not UTF-8 text at byte {error.start}"
    if text.startswith("\ufeff"):
        return None, "not TOML: it begins with a byte order mark (BOM); save it as UTF-8 without one"
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > MAX_LINE:
            return None, f"line {number}: longer than {MAX_LINE} characters"
        if line.count(".") > MAX_KEY_DOTS:
            return None, f"line {number}: more than {MAX_KEY_DOTS} dots"
    try:
        return tomllib.loads(text), ""
    except (ValueError, RecursionError) as error:
        # TOMLDecodeError is a ValueError, and so is an integer of too many digits
        return None, f"not TOML: {str(error)[:200] or type(error).__name__}"


def values(
    tree: dict[str, Any], kind: type[Struct], path: str, faults: list[str], wants: Callable[[Any, str], str]
) -> dict[str, Any]:
    """Values of `kind`'s fields from a TOML table; what does not fit is left out and named in `faults`.

    `wants` may put a type's validation error in the words of who fills in the file; "" leaves it as it is.
    """
    fields = {item.encode_name: item for item in fields_of(kind)}
    odd = [key for key in tree if key not in fields]
    for at, key in enumerate(odd):
        guess = meant(key, fields, path) if at < _GUESSES else ""
        faults.append(f"{path}{short(key)}: no such field{guess}")
    found: dict[str, Any] = {}
    for key, item in fields.items():
        where = path + key
        if key not in tree:
            if item.required:
                must = wanted(item.type, "") if get_origin(item.type) is Literal else ""
                faults.append(f"{where}: missing" + (f"; {must}" if must else ""))
            continue
        value, inner, most = tree[key], item.type, None
        if get_origin(inner) is Annotated:
            inner, *notes = get_args(inner)
            most = next((note.max_length for note in notes if isinstance(note, Meta)), None)
        element = get_args(inner)[0] if get_origin(inner) in {list, tuple} else None
        if isinstance(inner, type) and issubclass(inner, Struct):
            if isinstance(value, dict):
                _put(found, item.name, _made(value, inner, where + ".", faults, wants))
            else:
                faults.append(f"{where}: must be a table, [{where}]")
        elif isinstance(element, type) and issubclass(element, Struct):
            rows = _rows(value, element, where, most, faults, wants)
            found[item.name] = tuple(rows) if get_origin(inner) is tuple else rows
        else:
            converted, fault = _convert(value, item.type, wants)
            if fault:
                faults.append(f"{where}: {fault}")
            else:
                found[item.name] = converted
    return found


@functools.cache
def fields_of(kind: type[Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """The fields of a type: msgspec reads its annotations anew each time, which takes 0.4 ms, and a row is a table."""
    return msgspec.structs.fields(kind)


def _rows(
    value: Any, element: type[Struct], where: str, most: int | None, faults: list[str], wants: Callable[[Any, str], str]
) -> list[Struct]:
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        faults.append(f"{where}: must be tables, [[{where}]]")
        return []
    if most is not None and len(value) > most:
        faults.append(f"{where}: {len(value):,} of them; at most {most:,} are allowed")
        return []
    rows = (_made(row, element, f"{where}[{i}].", faults, wants) for i, row in enumerate(value, start=1))
    return [row for row in rows if row is not None]


def _made(
    tree: dict[str, Any], kind: type[Struct], path: str, faults: list[str], wants: Callable[[Any, str], str]
) -> Struct | None:
    """The record of a table; None where it has no value for a field that wants one."""
    found = values(tree, kind, path, faults, wants)
    whole = all(item.name in found for item in fields_of(kind) if item.required)
    return kind(**found) if whole else None


def _put(found: dict[str, Any], name: str, value: Any) -> None:
    if value is not None:
        found[name] = value


def _convert(value: Any, kind: Any, wants: Callable[[Any, str], str]) -> tuple[Any, str]:
    if type(value).__name__ == "date":  # a day without quotes; known by name, as no format may import what has a clock
        value = value.isoformat()
    try:
        converted = typed.convert(value, kind)
    except msgspec.ValidationError as error:
        return None, wants(kind, str(error)) or wanted(kind, str(error))
    texts: list[Any] = [converted]
    if isinstance(converted, (list, tuple)):
        texts = list(converted)
    elif isinstance(converted, dict):
        texts = [*converted, *converted.values()]
    for text in texts:
        if isinstance(text, str) and (bad := unprintable(text)):
            return None, f"holds the character U+{ord(bad):04X}; one line of printable text is wanted"
    return converted, ""


def wanted(kind: Any, error: str) -> str:
    """The validator's complaint in plain words."""
    kind = next((each for each in get_args(kind) if get_origin(each) is Literal), kind)  # of Literal | None
    if get_origin(kind) is Literal:
        choices = [repr(choice) if not isinstance(choice, str) else choice for choice in get_args(kind) if choice != ""]
        return f"must be {choices[0]}" if len(choices) == 1 else f"must be one of {', '.join(choices)}"
    for python, word in (
        ("`str`", "text"),
        ("`int`", "a whole number"),
        ("`bool`", "true or false"),
        ("`float`", "a number"),
    ):
        error = error.replace(python, word)
    return (error[:1].lower() + error[1:]).split(" - at ")[0]


def shown(faults: list[str]) -> str:
    """`faults` as the end of a message: how many, and each on a line of its own, up to MAX_SHOWN."""
    count = counted(len(faults), "problem")
    lines = faults if len(faults) <= MAX_SHOWN else [*faults[:MAX_SHOWN], f"and {len(faults) - MAX_SHOWN:,} more"]
    return f"{count}:\n  " + "\n  ".join(lines)


def meant(key: str, known: Iterable[str], path: str = "") -> str:
    """What to add to a complaint about an unknown key: the known one that is nearest, if any is near."""
    near = difflib.get_close_matches(key[:64], list(known), n=1)
    return f"; did you mean {path}{near[0]}?" if near else ""


def short(key: str) -> str:
    """A key as it may be shown."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", key) else repr(key[:64])


def unprintable(text: str) -> str | None:
    """The first character that would break a line or turn the reading order of one on a printed sheet, or not be seen.

    Of the format characters, those that join letters in Arabic, Persian and Indic names stay, and signs that print.
    """
    if text.isascii() and text.isprintable():
        return None
    for character in text:
        category = unicodedata.category(character)
        if (
            category in {"Cc", "Zl", "Zp", "Cs"}
            or character in _UNSEEN
            or (category == "Cf" and character not in _KEPT)
        ):
            return character
    return None


def check_texts(record: Struct, name: str) -> None:
    """FormatError where any text of a signed record is not one line that prints as it is read."""
    pending: list[Any] = [msgspec.to_builtins(record)]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            if (bad := unprintable(value)) is not None:
                raise FormatError(f"{name}: a text holds the character U+{ord(bad):04X}")
        elif isinstance(value, dict):
            pending += [*value, *value.values()]
        elif isinstance(value, list | tuple):
            pending += value


_KEPT = frozenset(
    "\u200c\u200d\u200e\u200f\u061c\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)
_UNSEEN = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")  # blank, and of other categories
