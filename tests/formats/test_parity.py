"""Parity by ISA-L is what a slow GF(256) of a few lines says, and any k of n columns give all others."""

import itertools
import random

import numpy as np
import pytest

from sealift.formats import parity


def multiply(a, b):
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a & 0x100:
            a ^= 0x11D
        b >>= 1
    return product


INVERSE = {a: next(b for b in range(1, 256) if multiply(a, b) == 1) for a in range(1, 256)}
TABLE = [[multiply(a, b) for b in range(256)] for a in range(256)]


def slow(data, k, row):
    """Column k + row of the code, byte by byte: the sum of column i over (k + row) xor i."""
    out = bytearray(len(data[0]))
    for i, column in enumerate(data):
        factor = TABLE[INVERSE[(k + row) ^ i]]
        for at, byte in enumerate(column):
            out[at] ^= factor[byte]
    return bytes(out)


def columns(k, m, length, seed):
    rng = random.Random(seed)
    data = [rng.randbytes(length) for _ in range(k)]
    return data + [slow(data, k, row) for row in range(m)]


def array(data):
    return np.frombuffer(bytearray(data), dtype=np.uint8)


@pytest.mark.parametrize(("k", "m"), [(1, 1), (1, 3), (2, 1), (2, 2), (3, 2), (4, 3), (6, 2), (5, 1)])
def test_every_pattern_of_erasures(k, m):
    length = 67
    code = columns(k, m, length, k * 100 + m)
    for have in itertools.combinations(range(k + m), k):
        want = [role for role in range(k + m) if role not in have]
        out = {role: np.zeros(length, dtype=np.uint8) for role in want}
        parity.rebuild(k, m, {role: array(code[role]) for role in have}, out)
        for role in want:
            assert out[role].tobytes() == code[role], (have, role)


@pytest.mark.parametrize(("k", "m"), [(12, 4), (45, 15), (200, 55)])
def test_large_codes_at_random(k, m):
    code, rng = columns(k, m, 16, 1), random.Random(k)
    for _ in range(10):
        have = rng.sample(range(k + m), k)
        want = rng.sample([role for role in range(k + m) if role not in have], min(3, m))
        out = {role: np.zeros(16, dtype=np.uint8) for role in want}
        parity.rebuild(k, m, {role: array(code[role]) for role in have}, out)
        assert all(out[role].tobytes() == code[role] for role in want)


def test_too_few_columns_and_unequal_ones_are_refused():
    column = np.zeros(8, dtype=np.uint8)
    with pytest.raises(ValueError, match="cannot give"):
        parity.rebuild(2, 1, {0: column}, {1: column.copy()})
    with pytest.raises(ValueError, match="length"):
        parity.rebuild(2, 1, {0: column, 1: np.zeros(9, dtype=np.uint8)}, {2: column.copy()})
