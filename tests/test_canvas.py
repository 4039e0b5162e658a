"""A native slice on the square canvas and back: pixels, masks and boxes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from medvae.geometry import Geometry, Vector
from medvae.intensity import Canvas, standard_flips

LEFT, BACK, HEAD = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
RIGHT, FRONT, FEET = (-1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0)

SPACINGS = st.floats(0.2, 6)


@st.composite
def canvases(draw: st.DrawFn, least: int = 1, most: int = 400) -> Canvas:
    sides = st.integers(least, most)
    geometry = Geometry(
        spacing=draw(st.none() | st.tuples(SPACINGS, SPACINGS)),
        along_row=draw(st.sampled_from((LEFT, RIGHT))),
        along_column=draw(st.sampled_from((BACK, FRONT))),
    )
    return Canvas.fit(draw(st.tuples(sides, sides)), geometry, draw(st.sampled_from((64, 224))))


@st.composite
def rectangles(draw: st.DrawFn, canvas: Canvas) -> tuple[int, int, int, int]:
    rows, columns = canvas.native
    x0, y0 = draw(st.integers(0, columns - 1)), draw(st.integers(0, rows - 1))
    return x0, y0, draw(st.integers(x0 + 1, columns)), draw(st.integers(y0 + 1, rows))


def filled(shape: tuple[int, int], box: tuple[int, int, int, int]) -> NDArray[np.float32]:
    x0, y0, x1, y1 = box
    image = np.zeros(shape, dtype=np.float32)
    image[y0:y1, x0:x1] = 1
    return image


def waves(shape: tuple[int, int]) -> NDArray[np.float32]:
    """A smooth image of less than two periods a side, without symmetry."""
    y, x = (np.arange(n) / n for n in shape)
    return (0.5 + 0.3 * np.sin(9 * x)[None] + 0.2 * np.cos(5 * y + 1)[:, None]).astype(np.float32)


class TestStandardFlips:
    @pytest.mark.parametrize(
        ("along_row", "along_column", "flips"),
        [
            (LEFT, BACK, (False, False)),
            (RIGHT, BACK, (False, True)),
            (LEFT, FRONT, (True, False)),
            (LEFT, FEET, (False, False)),
            (RIGHT, HEAD, (True, True)),
            (BACK, FEET, (False, False)),
            (FRONT, HEAD, (True, True)),
            ((0.9, 0.3, -0.3), (-0.3, 0.95, 0.0), (False, False)),
            (None, None, (False, False)),
        ],
    )
    def test_table(
        self, along_row: Vector | None, along_column: Vector | None, flips: tuple[bool, bool]
    ) -> None:
        assert standard_flips(Geometry(along_row=along_row, along_column=along_column)) == flips

    def test_the_patients_left_ends_up_on_the_right(self) -> None:
        canvas = Canvas.fit((8, 8), Geometry(along_row=RIGHT, along_column=BACK), size=8)
        on_canvas = canvas.image(filled((8, 8), (0, 2, 1, 3)))
        assert np.argwhere(on_canvas).tolist() == [[2, 7]]


class TestFit:
    def test_physical_proportions_are_kept(self) -> None:
        canvas = Canvas.fit((100, 200), Geometry(spacing=(3.0, 1.0)), size=224)
        assert canvas.extent == (224, 149)

    def test_pixels_are_square_where_the_spacing_is_unknown(self) -> None:
        assert Canvas.fit((256, 128), Geometry(), size=224).extent == (224, 112)

    @pytest.mark.parametrize(
        "spacing", [(1e308, 1.0), (1.0, 1e308), (1e-308, 1.0), (1.0, 1e-308), (1.0, 0.0)]
    )
    def test_a_spacing_that_cannot_be_true_is_not_believed(
        self, spacing: tuple[float, float]
    ) -> None:
        assert Canvas.fit((256, 128), Geometry(spacing=spacing), size=224).extent == (224, 112)

    @pytest.mark.parametrize("side", [1e308, 1e-308])
    def test_the_proportions_of_any_spacing_are_kept(self, side: float) -> None:
        geometry = Geometry(spacing=(side, side / 2))
        assert Canvas.fit((100, 100), geometry, size=224).extent == (224, 112)

    def test_a_sliver_does_not_vanish(self) -> None:
        canvas = Canvas.fit((1, 4000), Geometry())
        assert canvas.extent == (1, 224)
        assert canvas.image(np.ones((1, 4000), dtype=np.float32)).sum() == pytest.approx(224)

    @given(canvas=canvases())
    def test_it_fills_the_square_and_lies_in_its_middle(self, canvas: Canvas) -> None:
        assert max(canvas.extent) == canvas.size
        rows, columns = canvas.native
        ((x0, y0, x1, y1),) = canvas.boxes(np.array([[0, 0, columns, rows]], dtype=np.float64))
        assert abs(x0 - (canvas.size - x1)) < 1 + 1e-9
        assert abs(y0 - (canvas.size - y1)) < 1 + 1e-9
        assert (y1 - y0, x1 - x0) == pytest.approx(canvas.extent)


class TestImage:
    @given(canvas=canvases())
    def test_without_resizing_it_comes_back_exactly(self, canvas: Canvas) -> None:
        canvas = replace(canvas, native=canvas.extent)
        image = np.random.default_rng(1).random(canvas.native, dtype=np.float32)
        assert np.array_equal(canvas.back(canvas.image(image)), image)

    @given(canvas=canvases(least=150))
    def test_a_smooth_image_comes_back(self, canvas: Canvas) -> None:
        assume(min(canvas.extent) >= 32)
        image = waves(canvas.native)
        error = np.abs(canvas.back(canvas.image(image)) - image)
        assert error.mean() < 0.003
        assert error.max() < 0.08

    @given(canvas=canvases())
    def test_values_stay_in_their_range_and_the_border_is_0(self, canvas: Canvas) -> None:
        noise = np.random.default_rng(2).random(canvas.native) > 0.5
        image = (0.25 + 0.5 * noise).astype(np.float32)
        on_canvas = canvas.image(image)
        assert on_canvas.dtype == np.float32
        assert on_canvas.shape == (canvas.size, canvas.size)
        inside = canvas.image(np.ones(canvas.native, dtype=np.float32)) > 0
        assert not on_canvas[~inside].any()
        assert on_canvas[inside].min() >= image.min()
        assert on_canvas[inside].max() <= image.max()
        back = canvas.back(on_canvas)
        assert back.dtype == np.float32
        assert back.shape == canvas.native
        assert image.min() <= back.min() <= back.max() <= image.max()

    @pytest.mark.parametrize("method", ["image", "back", "mask"])
    def test_pixels_of_another_shape_are_refused(self, method: str) -> None:
        canvas = Canvas.fit((20, 30), Geometry(), size=64)
        with pytest.raises(ValueError, match=r"must be .* but are \(30, 20\)"):
            getattr(canvas, method)(np.zeros((30, 20), dtype=np.float32))


class TestBoxes:
    @given(
        canvas=canvases(),
        boxes=st.lists(st.tuples(*[st.floats(-10, 500)] * 4), max_size=4),
    )
    def test_they_come_back(self, canvas: Canvas, boxes: list[Any]) -> None:
        native = np.array(boxes, dtype=np.float64).reshape(-1, 4)
        kept = native.copy()
        back = canvas.boxes_back(canvas.boxes(native))
        assert back.shape == native.shape
        assert back == pytest.approx(native, abs=1e-9)
        assert np.array_equal(native, kept)

    # Enlarged more than sevenfold, the blur of a pixel's edge is wider than a canvas pixel.
    @given(canvas=canvases(least=32), data=st.data())
    def test_what_is_in_a_box_stays_in_it(self, canvas: Canvas, data: st.DataObject) -> None:
        box = data.draw(rectangles(canvas))
        ((x0, y0, x1, y1),) = canvas.boxes(np.array([box], dtype=np.float64))
        on_canvas = canvas.image(filled(canvas.native, box))
        y, x = (np.argwhere(on_canvas > 0.5 * on_canvas.max()) + 0.5).T
        assert x0 - 1 <= x.min() <= x.max() <= x1 + 1
        assert y0 - 1 <= y.min() <= y.max() <= y1 + 1

    def test_a_box_is_scaled_as_the_pixels_are(self) -> None:
        # The centre of gravity of a blurred square would show a shift of a tenth of a pixel.
        canvas = Canvas.fit((100, 75), Geometry(spacing=(1.0, 1.5)), size=224)
        box = (20, 30, 40, 60)
        ((x0, y0, x1, y1),) = canvas.boxes(np.array([box], dtype=np.float64))
        on_canvas = canvas.image(filled(canvas.native, box))
        edges = np.arange(224) + 0.5
        total = on_canvas.sum()
        assert on_canvas.sum(axis=0) @ edges / total == pytest.approx((x0 + x1) / 2, abs=0.02)
        assert on_canvas.sum(axis=1) @ edges / total == pytest.approx((y0 + y1) / 2, abs=0.02)


class TestMask:
    @given(canvas=canvases(), data=st.data())
    def test_it_fills_its_box_and_never_vanishes(self, canvas: Canvas, data: st.DataObject) -> None:
        box = data.draw(rectangles(canvas))
        mask = canvas.mask(filled(canvas.native, box) > 0)
        assert mask.dtype == np.bool_
        rows, columns = np.nonzero(mask)
        found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert found == pytest.approx(canvas.boxes(np.array([box], dtype=np.float64))[0], abs=1)

    def test_nothing_stays_nothing(self) -> None:
        canvas = Canvas.fit((50, 40), Geometry())
        assert not canvas.mask(np.zeros((50, 40), dtype=np.bool_)).any()
