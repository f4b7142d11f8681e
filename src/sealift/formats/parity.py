"""Reed-Solomon parity over GF(256), polynomial 0x11d, Cauchy matrix: raw columns in, raw columns out.

The coding itself is ISA-L's (https://github.com/intel/isa-l), called through ctypes: it gives up the GIL, writes
into buffers that are reused, and runs at 5 to 25 GB/s a core. Its library comes inside pyeclib's wheel; the
system's libisal2 serves as well. Row k+j, column i of the generator is 1 / ((k + j) xor i) (gf_gen_cauchy1_matrix);
the first k rows are the identity. Any k of the n = k+m columns give all others (MDS).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
import os
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sealift.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Column = NDArray[np.uint8]


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


def _pointer(array: Column) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _rows(columns: Sequence[Column]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(columns))(*[column.ctypes.data for column in columns])


@functools.lru_cache(maxsize=64)
def _matrix(data: int, parity: int) -> Column:
    matrix = np.zeros((data + parity) * data, dtype=np.uint8)
    _isal().gf_gen_cauchy1_matrix(_pointer(matrix), data + parity, data)
    return matrix.reshape(data + parity, data)


@functools.lru_cache(maxsize=256)
def _tables(data: int, parity: int, have: tuple[int, ...], want: tuple[int, ...]) -> Column:
    """ISA-L's multiplication tables that give roles `want` from the k roles `have`."""
    library = _isal()
    matrix = _matrix(data, parity)
    if have == tuple(range(data)):
        coefficients = np.ascontiguousarray(matrix[list(want)])
    else:
        square = np.ascontiguousarray(matrix[list(have)])
        inverse = np.zeros_like(square)
        if library.gf_invert_matrix(_pointer(square), _pointer(inverse), data) != 0:
            raise AssertionError("a Cauchy matrix has no singular minors")
        coefficients = np.ascontiguousarray(_multiply(matrix[list(want)], inverse))
    tables = np.zeros(32 * data * len(want), dtype=np.uint8)
    library.ec_init_tables(data, len(want), _pointer(coefficients), _pointer(tables))
    return tables


def _multiply(left: Column, right: Column) -> Column:
    """Matrix product over GF(256), small."""
    out = np.zeros((left.shape[0], right.shape[1]), dtype=np.uint8)
    gf_mul = _isal().gf_mul
    gf_mul.argtypes, gf_mul.restype = [ctypes.c_ubyte, ctypes.c_ubyte], ctypes.c_ubyte
    for i in range(left.shape[0]):
        for j in range(right.shape[1]):
            total = 0
            for x in range(left.shape[1]):
                total ^= gf_mul(int(left[i, x]), int(right[x, j]))
            out[i, j] = total
    return out


def rebuild(data: int, parity: int, have: dict[int, Column], want: dict[int, Column]) -> None:
    """Fill the columns `want` (role -> buffer) from k columns `have` (role -> bytes), all equally long.

    Encoding is the case in which `have` are the k data roles and `want` the parity roles. Buffers are one-dimensional
    contiguous uint8 arrays of the same length; more than k in `have` is allowed, the first k by role are used.
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
    if any(len(column) != length or not column.flags.c_contiguous for column in [*columns, *outputs]):
        raise ValueError("columns differ in length")
    tables = _tables(data, parity, roles, wanted)
    _isal().ec_encode_data(length, data, len(wanted), _pointer(tables), _rows(columns), _rows(outputs))
