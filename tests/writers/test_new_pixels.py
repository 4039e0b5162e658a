"""New values on the scale of the source: what comes back exactly, and what cannot be written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from numpy.typing import NDArray
from written import MADE

from medvae.errors import WriteError
from medvae.records import Pixels
from medvae.writers import NewPixels, Scale

STORED = st.sampled_from(["uint8", "int8", "uint16", "int16"]).flatmap(
    lambda dtype: stn.arrays(dtype, stn.array_shapes(min_dims=2, max_dims=2, max_side=8))
)
SLOPES = st.floats(0.01, 20) | st.floats(-20, -0.01)


def scaled(stored: NDArray[Any], slope: float, intercept: float) -> Pixels:
    return Pixels(stored, (stored * np.float64(slope) + intercept).astype(np.float32))


@given(stored=STORED, slope=SLOPES, intercept=st.floats(-2000, 2000), data=st.data())
def test_values_on_the_scale_become_their_integers(
    stored: NDArray[Any], slope: float, intercept: float, data: st.DataObject
) -> None:
    source = scaled(stored, slope, intercept)
    order = data.draw(st.permutations(range(stored.size)))
    moved = stored.flat[order].reshape(stored.shape)
    new = NewPixels.of(source, scaled(moved, slope, intercept).values, MADE)
    assert new.stored.dtype == stored.dtype
    np.testing.assert_array_equal(new.stored, moved)


def test_what_has_not_changed_keeps_its_integer() -> None:
    # Beyond 2**24 several integers have one and the same value in float32.
    stored = np.array([[2**24 + 1, 2**24 + 3, 5]], dtype=np.int32)
    source = scaled(stored, 1, 0)
    new = NewPixels.of(source, np.where(stored == 5, np.float32(6), source.values), MADE)
    assert new.stored.tolist() == [[2**24 + 1, 2**24 + 3, 6]]


def test_new_values_are_not_rounded_but_their_integers_are() -> None:
    source = scaled(np.array([[0, 10]], dtype=np.int16), 2, -1024)
    new = NewPixels.of(source, np.array([[-1020.7, -1e6]], dtype=np.float32), MADE)
    assert new.values == pytest.approx(np.array([[-1020.7, -1e6]]))
    assert new.stored.tolist() == [[2, -(2**15)]]


@pytest.mark.parametrize(
    "source",
    [
        Pixels(np.ones((2, 2), "float32"), np.ones((2, 2), "float32")),
        Pixels(np.array([[0, 1, 2]], "uint8"), np.array([[0, 1, 4]], "float32")),
        Pixels(np.array([[0, 1, 2]], "uint8"), np.array([[7, 7, 7]], "float32")),
    ],
    ids=["float", "table", "flat table"],
)
def test_without_a_scale_the_values_are_stored(source: Pixels) -> None:
    assert Scale.of(source) is None
    new = NewPixels.of(source, source.values + 1, MADE)
    assert new.stored is new.values


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_no_number_is_not_written(wrong: float) -> None:
    source = scaled(np.zeros((2, 2), "uint8"), 1, 0)
    values = source.values.copy()
    values[0, 0] = wrong
    with pytest.raises(WriteError, match="some of the new pixels of a slice are NaN or infinite"):
        NewPixels.of(source, values, MADE)
