"""Numbers of rows of length 1."""

from __future__ import annotations

import numpy as np
import pytest

from resight.common.unit import plain_floats, unit_number


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64), (np.int8, np.float64)],
)
def test_compiled_loops_get_the_same_numbers_in_a_type_they_read(kind: type, expected: type) -> None:
    rows = (np.arange(24).reshape(4, 6) - 7).astype(kind)[::2, 1:]
    found = plain_floats(rows)
    assert found.dtype == expected
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, rows)


def test_a_number_is_divided_in_float64_and_rounded_once() -> None:
    numbers = np.random.default_rng(0).normal(size=2000).astype(np.float32)
    length = 3.1
    expected = (numbers.astype(np.float64) / length).astype(np.float32)
    assert (expected != numbers / np.float32(length)).any(), "otherwise float32 would do"
    np.testing.assert_array_equal([unit_number(number, length) for number in numbers], expected)
