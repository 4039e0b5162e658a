"""Fields on a grid and on native pixels: nothing folds, and there is a way back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from deformed import canvases, pairs, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from medvae.intensity import Canvas
from medvae.render._fields import exponential, jacobian, pull, smooth
from medvae.render._placement import NativeField, Placement, without_folds
from medvae.render._registration import GRID, on_grid, velocity

CPU = torch.device("cpu")
SEEDS = st.integers(0, 10**6)
UNHURRIED = settings(deadline=None, max_examples=30)


def random_velocity(seed: int, strength: float, sigma: float = 3) -> Tensor:
    """Return a velocity ``[2, GRID, GRID]`` whose greatest component is ``strength`` cells."""
    rough = torch.from_numpy(np.random.default_rng(seed).standard_normal((1, 2, GRID, GRID)))
    found = smooth(rough.float(), sigma)[0]
    return found * (strength / found.abs().max())


def areas_of_triangles(field: Tensor) -> NDArray[np.float64]:
    """Return the areas that ``p + field(p)`` gives the four triangles of each cell of pixels.

    Of a cell whose sides have length 1, each has an area of a half. Below 0 it is turned over.
    """
    rows, columns = field.shape[1:]
    here = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)))
    x, y = here + field.numpy().astype(np.float64)
    corners = [np.s_[:-1, :-1], np.s_[:-1, 1:], np.s_[1:, 1:], np.s_[1:, :-1]]
    areas = []
    for i in range(4):
        a, b, c = (corners[(i + step) % 4] for step in (0, 1, 2))
        areas.append((x[b] - x[a]) * (y[c] - y[a]) - (x[c] - x[a]) * (y[b] - y[a]))
    return np.stack(areas) / 2


class TestPull:
    def test_values_come_from_where_the_field_points(self) -> None:
        source = torch.arange(48.0).reshape(1, 1, 6, 8)
        field = torch.stack((torch.full((6, 8), 2.0), torch.full((6, 8), 1.0)))[None]
        pulled = pull(source, field)
        assert pulled[0, 0, :5, :6].numpy() == pytest.approx(source[0, 0, 1:, 2:].numpy(), abs=1e-4)

    def test_the_border_goes_on(self) -> None:
        source = torch.arange(5.0).reshape(1, 1, 1, 5)
        field = torch.tensor([10.0, 0.0])[:, None, None].expand(2, 1, 5)[None]
        assert (pull(source, field) == 4).all()

    @UNHURRIED
    @given(seed=SEEDS)
    def test_a_window_is_a_part_of_the_whole(self, seed: int) -> None:
        source, field = picture(seed, 40, 2), 4 * picture(seed + 1, 80, 3).reshape(1, 4, 40, 40)
        whole = pull(source, field[:, :2])
        window = pull(source, field[:, :2, 7:20, 11:30], corner=(7, 11))
        assert window.numpy() == pytest.approx(whole[:, :, 7:20, 11:30].numpy(), abs=1e-5)


class TestSmooth:
    def test_a_constant_stays(self) -> None:
        assert smooth(torch.full((1, 2, 9, 7), 3.0), 1.3).numpy() == pytest.approx(3.0)

    def test_it_is_a_gaussian(self) -> None:
        point = torch.zeros(1, 1, 31, 31)
        point[..., 15, 15] = 1
        blurred = smooth(point, 2.0)[0, 0]
        assert float(blurred.sum()) == pytest.approx(1, abs=1e-5)
        assert float(blurred[15, 17] / blurred[15, 15]) == pytest.approx(np.exp(-0.5), rel=1e-3)
        assert torch.equal(blurred, blurred.T)


class TestExponential:
    def test_rest_stays_at_rest(self) -> None:
        assert not exponential(torch.zeros(1, 2, 9, 9)).any()

    def test_a_constant_velocity_is_a_shift(self) -> None:
        shift = torch.tensor([3.0, -2.0])[:, None, None].expand(2, 20, 20)[None]
        assert exponential(shift).numpy() == pytest.approx(shift.numpy(), abs=1e-5)

    @UNHURRIED
    @given(seed=SEEDS, strength=st.floats(0, 6))
    def test_the_opposite_velocity_leads_back(self, seed: int, strength: float) -> None:
        flow = random_velocity(seed, strength, sigma=4)[None]
        there, back = exponential(flow), exponential(-flow)
        off = (there + pull(back, there))[..., 8:-8, 8:-8]
        assert off.abs().max() < 0.12

    @UNHURRIED
    @given(seed=SEEDS, strength=st.floats(0, 6))
    def test_nothing_folds(self, seed: int, strength: float) -> None:
        field = exponential(random_velocity(seed, strength, sigma=4)[None])[0]
        assert areas_of_triangles(field).min() > 0


class TestJacobian:
    @UNHURRIED
    @given(matrix=st.lists(st.floats(-2, 2), min_size=4, max_size=4))
    def test_of_an_affine_map(self, matrix: list[float]) -> None:
        a, b, c, d = matrix
        y, x = torch.meshgrid(torch.arange(6.0), torch.arange(5.0), indexing="ij")
        found = jacobian(torch.stack((a * x + b * y, c * x + d * y)))[:, :-1, :-1]
        assert found.numpy() == pytest.approx((1 + a) * (1 + d) - b * c, abs=1e-4)

    @UNHURRIED
    @given(seed=SEEDS, strength=st.floats(0, 2))
    def test_it_sees_every_fold(self, seed: int, strength: float) -> None:
        field = strength * torch.from_numpy(np.random.default_rng(seed).random((2, 12, 15)))
        areas, found = areas_of_triangles(field), jacobian(field)[:, :-1, :-1]
        assert float(found.min()) == pytest.approx(2 * areas.min(), abs=1e-5)
        assert float(found.max()) == pytest.approx(2 * areas.max(), abs=1e-5)


class TestNativeField:
    @UNHURRIED
    @given(pair=pairs(128), canvas=canvases())
    def test_nothing_folds_whatever_the_pictures(
        self, pair: tuple[Tensor, Tensor], canvas: Canvas
    ) -> None:
        flow = velocity(on_grid(pair[0]), on_grid(pair[1]), [canvas])[0]
        field, _ = without_folds(flow, Placement.of(canvas, CPU))
        least = areas_of_triangles(field.displacement).min()
        assert 0 < field.jacobian[0] <= 2 * least + 1e-4

    @UNHURRIED
    @given(seed=SEEDS, canvas=canvases())
    def test_what_folds_is_weakened_until_it_does_not(self, seed: int, canvas: Canvas) -> None:
        rough = random_velocity(seed, 20, sigma=0.8)
        field, weakened = without_folds(rough, Placement.of(canvas, CPU))
        assert weakened > 0
        assert areas_of_triangles(field.displacement).min() > 0
        again, as_often = without_folds(rough, Placement.of(canvas, CPU))
        assert as_often == weakened
        assert torch.equal(again.displacement, field.displacement)

    @UNHURRIED
    @given(pair=pairs(128, least=1), canvas=canvases())
    def test_the_slice_is_mapped_onto_itself(
        self, pair: tuple[Tensor, Tensor], canvas: Canvas
    ) -> None:
        flow = velocity(on_grid(pair[0]), on_grid(pair[1]), [canvas])[0]
        field = without_folds(flow, Placement.of(canvas, CPU))[0]
        rows, columns = canvas.native
        corners = np.array([[0, 0], [columns, 0], [0, rows], [columns, rows]], dtype=np.float64)
        assert field.forward(corners) == pytest.approx(corners, abs=0.5)
        across, down = field.displacement.numpy()
        x, y = np.arange(columns) + 0.5 + across, np.arange(rows)[:, None] + 0.5 + down
        assert 0 < x.min() <= x.max() < columns
        assert 0 < y.min() <= y.max() < rows

    @UNHURRIED
    @given(pair=pairs(128, least=1), canvas=canvases(), seed=SEEDS)
    def test_a_point_that_is_moved_is_pulled_from_where_it_was(
        self, pair: tuple[Tensor, Tensor], canvas: Canvas, seed: int
    ) -> None:
        flow = velocity(on_grid(pair[0]), on_grid(pair[1]), [canvas])[0]
        field = without_folds(flow, Placement.of(canvas, CPU))[0]
        rows, columns = canvas.native
        share = np.random.default_rng(seed).uniform(0.05, 0.95, (50, 2))
        points = share * (columns, rows)
        moved = field.forward(points)
        places = torch.from_numpy(moved * 2 / (columns, rows) - 1).float()[None, None]
        back = torch.nn.functional.grid_sample(
            field.displacement[None], places, padding_mode="border", align_corners=False
        )
        assert moved + back[0, :, 0].T.numpy() == pytest.approx(points, abs=0.02)

    def test_a_cell_is_as_many_native_pixels_as_it_covers(self) -> None:
        canvas = Canvas((100, 50), (112, 224), 224, flip_rows=False, flip_columns=True)
        one_cell = torch.ones(2, GRID, GRID)
        across, down = Placement.of(canvas, CPU).field(one_cell)
        assert across.numpy() == pytest.approx(-50 / 56)
        assert down.numpy() == pytest.approx(100 / 28)

    @UNHURRIED
    @given(canvas=canvases())
    def test_a_picture_lies_where_the_canvas_has_it(self, canvas: Canvas) -> None:
        smooth_one = picture(3, canvas.size, canvas.size / 8)
        native = Placement.of(canvas, CPU).picture(on_grid(smooth_one)[0])[0]
        expected = canvas.back(smooth_one[0, 0].numpy())
        assert native.numpy() == pytest.approx(expected, abs=0.06)

    def test_rest_leaves_points_where_they_are(self) -> None:
        placement = Placement.of(Canvas((30, 40), (96, 128), 128), CPU)
        points = np.array([[0.0, 0.0], [12.5, 7.25], [40.0, 30.0]])
        field = NativeField(torch.zeros(2, GRID, GRID), placement)
        assert np.array_equal(field.forward(points), points)
        assert field.jacobian == (1, 1)


class TestVelocity:
    def test_no_item_depends_on_the_others(self) -> None:
        canvases = [Canvas((64, 64), (64, 64), 64), Canvas((40, 64), (40, 64), 64, True)] * 4
        before = torch.cat([picture(seed, 64, 4) for seed in range(8)])
        after = torch.cat([picture(seed, 64, 4) for seed in range(8, 16)])
        together = velocity(on_grid(before), on_grid(after), canvases)
        for i, canvas in enumerate(canvases):
            one = slice(i, i + 1)
            alone = velocity(on_grid(before[one]), on_grid(after[one]), [canvas])
            assert torch.equal(together[one], alone)

    def test_equal_pictures_give_rest_beside_others_that_move(self) -> None:
        before = torch.cat([picture(1, 64, 4), picture(2, 64, 4)])
        after = torch.cat([picture(1, 64, 4), picture(3, 64, 4)])
        found = velocity(on_grid(before), on_grid(after), [Canvas((64, 64), (64, 64), 64)] * 2)
        assert not found[0].any()
        assert found[1].any()
