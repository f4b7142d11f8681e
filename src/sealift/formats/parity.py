"""Reed-Solomon parity over GF(256), polynomial 0x11d, Cauchy matrix: raw columns in, raw columns out.

The coding itself is ISA-L's (https://github.com/intel/isa-l), called through ctypes: it gives up the GIL, writes
into buffers that are reused, and runs at 5 to 25 GB/s a core. Its library comes inside pyeclib's wheel; the
system's libisal2 serves as well. Row k+j, column i of the generator is 1 / ((k + j) xor i) (gf_gen_cauchy1_matrix); the
first k rows are the identity. Any k of the n = k+m columns give all others (MDS). A column is whatever lends its
memory, so that repair does without numpy, which takes longer to import than many drives to look at.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
import operator
import os
from typing import TYPE_CHECKING, Any

from sealift.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    import numpy as np
    from numpy.typing import NDArray

    Column: TypeAlias = memoryview | bytearray | NDArray[np.uint8]


@functools.cache
def _isal() -> ctypes.CDLL:
    for path in _candidates():
        try:
            library = ctypes.CDLL(path)
            library.ec_encode_data, library.gf_gen_cauchy1_matrix, library.gf_invert_matrix  # noqa: B018
        except (OSError, AttributeError):
            continue
        return library
    raise BadInput(
        "the erasure-coding library ISA-L is not here",
        hint="pip install pyeclib (its wheel carries it), or install the system's libisal2",
    )


def _candidates() -> Iterator[str]:
    spec = importlib.util.find_spec("pyeclib")
    if spec is not None and spec.submodule_search_locations:
        for base in spec.submodule_search_locations:
            for folder in (base, os.path.join(os.path.dirname(base), "pyeclib.libs")):
                if os.path.isdir(folder):
                    for name in sorted(os.listdir(folder)):
                        if "isal" in name and ".so" in name:
                            yield os.path.join(folder, name)
    yield "libisal.so.2"
    system = ctypes.util.find_library("isal")  # starts ldconfig, a compiler and a linker, one after the other: last
    if system:
        yield system


def _address(column: Any) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(column))


def _rows(columns: Sequence[Column]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(columns))(*map(_address, columns))


@functools.lru_cache(maxsize=64)
def _matrix(data: int, parity: int) -> list[bytes]:
    """Rows of the generator, k bytes each."""
    matrix = (ctypes.c_ubyte * ((data + parity) * data))()
    _isal().gf_gen_cauchy1_matrix(matrix, data + parity, data)
    flat = bytes(matrix)
    return [flat[start : start + data] for start in range(0, len(flat), data)]


@functools.lru_cache(maxsize=256)
def _tables(data: int, parity: int, have: tuple[int, ...], want: tuple[int, ...]) -> ctypes.Array[ctypes.c_ubyte]:
    """ISA-L's multiplication tables that give roles `want` from the k roles `have`."""
    library = _isal()
    matrix = _matrix(data, parity)
    wanted = [matrix[role] for role in want]
    if have != tuple(range(data)):
        square, inverse = _filled(matrix[role] for role in have), (ctypes.c_ubyte * (data * data))()
        if library.gf_invert_matrix(square, inverse, data) != 0:
            raise AssertionError("a Cauchy matrix has no singular minors")
        flat = bytes(inverse)
        wanted = [_multiply(row, [flat[start : start + data] for start in range(0, len(flat), data)]) for row in wanted]
    tables = (ctypes.c_ubyte * (32 * data * len(want)))()
    library.ec_init_tables(data, len(want), _filled(wanted), tables)
    return tables


def _filled(rows: Iterable[bytes]) -> ctypes.Array[ctypes.c_ubyte]:
    flat = b"".join(rows)
    return (ctypes.c_ubyte * len(flat)).from_buffer_copy(flat)


def _multiply(row: bytes, matrix: Sequence[bytes]) -> bytes:
    """A row times a matrix over GF(256), small."""
    gf_mul = _isal().gf_mul
    gf_mul.argtypes, gf_mul.restype = [ctypes.c_ubyte, ctypes.c_ubyte], ctypes.c_ubyte
    return bytes(functools.reduce(operator.xor, map(gf_mul, row, column)) for column in zip(*matrix, strict=True))


def rebuild(data: int, parity: int, have: Mapping[int, Column], want: Mapping[int, Column]) -> None:
    """Fill the columns `want` (role -> buffer) from k columns `have` (role -> bytes), all equally long.

    Encoding is the case in which `have` are the k data roles and `want` the parity roles. Buffers are contiguous, of
    bytes, writable (those that are only read, too, as ctypes lends no others), and of the same length; more than k in
    `have` is allowed, the first k by role are used. ValueError, TypeError: they are not so.
    """
    if not want:
        return
    if len(have) < data:
        raise ValueError(f"{len(have)} columns cannot give {data}")
    roles = tuple(sorted(have))[:data]
    wanted = tuple(sorted(want))
    columns = [have[role] for role in roles]
    outputs = [want[role] for role in wanted]
    length = len(outputs[0])
    if any(len(column) != length for column in [*columns, *outputs]):
        raise ValueError("columns differ in length")
    if length:
        tables = _tables(data, parity, roles, wanted)
        _isal().ec_encode_data(length, data, len(wanted), tables, _rows(columns), _rows(outputs))
