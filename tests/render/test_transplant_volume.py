"""A whole lesion in the slices of another series: one variation, all of it or nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from grafts import FIELD, Spot, areas, body, moved

from medvae.geometry import Box
from medvae.randomness import generator
from medvae.records import Category, Labels
from medvae.render._contract import Rendered, Scene
from medvae.render._ground import Ground
from medvae.render._lesion import Lesion, Refused, trace_lesions
from medvae.render._transplant import transplant_volume
from scenes import changed

RADIUS = 18.0


def ball(gap: float, shape: tuple[int, int] = (128, 128)) -> tuple[list[Scene], list[float]]:
    """The slices that show a ball about the position 100, and their positions."""
    positions = [float(p) for p in np.arange(100 - 10 * gap, 100 + 10.5 * gap, gap)]
    inside = [p for p in positions if abs(p - 100) < RADIUS]
    radii = [float(np.sqrt(RADIUS**2 - (p - 100) ** 2)) for p in inside]
    scenes = [body(Spot(height=r, width=r), shape=shape, seed=n) for n, r in enumerate(radii)]
    return [changed(s, intensity=scenes[0].intensity) for s in scenes], inside


def whole(scenes: list[Scene], positions: list[float], gap: float) -> Lesion:
    lesion = Lesion.through(scenes, [[0]] * len(scenes), positions, gap)
    assert isinstance(lesion, Lesion)
    return lesion


def hosts(count: int, shape: tuple[int, int] = (128, 128)) -> list[Ground]:
    scenes = [body(shape=shape, seed=100 + n) for n in range(count)]
    return [Ground.of(scene) for scene in scenes]


def set_in(
    lesion: Lesion,
    grounds: list[Ground],
    positions: list[float],
    at: float,
    *key: int,
    strength: float = 0.0,
) -> dict[int, Rendered]:
    result = transplant_volume(lesion, grounds, positions, at, generator(0, *key), strength)
    assert not isinstance(result, Refused), result
    return result


def every(gap: float, count: int, start: float = 0.0) -> list[float]:
    return [start + gap * n for n in range(count)]


def millilitres(results: dict[int, Rendered], gap: float) -> float:
    masks = [moved(result) for result in results.values()]
    pixel = FIELD**2 / masks[0].size
    return float(areas(masks).sum() * pixel * gap / 1000)


def test_at_its_own_positions_it_is_as_it_was() -> None:
    scenes, positions = ball(4.0)
    lesion = whole(scenes, positions, 4.0)
    grounds = hosts(len(scenes) + 4)
    series = every(4.0, len(grounds), positions[0] - 8)
    results = set_in(lesion, grounds, series, lesion.position)
    assert sorted(results) == [series.index(p) for p in positions]
    for scene, result in zip(scenes, results.values(), strict=True):
        assert result.labels == scene.labels


@pytest.mark.parametrize("gap", [1.5, 2.5, 6.0])
@pytest.mark.parametrize("shape", [(128, 128), (200, 256)])
def test_the_volume_does_not_depend_on_how_the_host_is_cut(
    gap: float, shape: tuple[int, int]
) -> None:
    lesion = whole(*ball(4.0), 4.0)
    count = int(120 / gap)
    results = set_in(lesion, hosts(count, shape), every(gap, count), 60.3)
    assert millilitres(results, gap) == pytest.approx(4 / 3 * np.pi * (RADIUS / 10) ** 3, rel=0.1)
    shown = list(results)
    assert shown == list(range(shown[0], shown[-1] + 1))
    weights = areas([moved(result) for result in results.values()])
    assert np.average(shown, weights=weights) * gap == pytest.approx(60.3, abs=1.0)


def test_the_variation_is_one() -> None:
    lesion = whole(*ball(4.0), 4.0)
    results = set_in(lesion, hosts(60), every(2.0, 60), 60.0, 3, strength=1.0)
    numbers = [result.numbers for result in results.values()]
    assert all(n == numbers[0] for n in numbers)
    assert len(results) == pytest.approx(2 * RADIUS * numbers[0]["scale"] / 2.0, abs=3)
    masks = [moved(result) for result in results.values()]
    middle = slice(len(masks) // 4, -len(masks) // 4)
    for one, other in zip(masks[middle], masks[middle][1:], strict=False):
        assert (one & other).sum() / (one | other).sum() > 0.8


def test_its_slices_may_come_in_any_order() -> None:
    scenes, positions = ball(4.0)
    grounds, series = hosts(40), every(3.0, 40)
    forwards = set_in(whole(scenes, positions, 4.0), grounds, series, 60.0, 1, strength=1.0)
    turned = whole(scenes[::-1], positions[::-1], 4.0)
    backwards = set_in(turned, grounds[::-1], series[::-1], 60.0, 1, strength=1.0)
    assert {39 - n for n in backwards} == set(forwards)
    for n, result in forwards.items():
        assert result.values.tobytes() == backwards[39 - n].values.tobytes()


def test_all_of_it_or_nothing() -> None:
    lesion = whole(*ball(4.0), 4.0)
    grounds, series = hosts(30), every(4.0, 30)
    set_in(lesion, grounds, series, 60.0)
    hole = grounds[17].scene
    values = hole.values.copy()
    values[40:100, 60:120] = 10
    grounds[17] = Ground.of(changed(hole, values=values))
    result = transplant_volume(lesion, grounds, series, 60.0, generator(0), 0.0)
    assert result == Refused("not in tissue")


def test_not_even_the_smallest_slice_may_lie_in_bone() -> None:
    lesion = whole(*ball(4.0), 4.0)
    grounds, series = hosts(30), every(4.0, 30)
    shown = sorted(set_in(lesion, grounds, series, 60.0))
    end = grounds[shown[-1]].scene
    grounds[shown[-1]] = Ground.of(changed(end, values=np.full_like(end.values, 10)))
    result = transplant_volume(lesion, grounds, series, 60.0, generator(0), 0.0)
    assert result == Refused("not in tissue")


def test_it_does_not_leave_the_series() -> None:
    lesion = whole(*ball(4.0), 4.0)
    result = transplant_volume(lesion, hosts(30), every(4.0, 30), 8.0, generator(0), 0.0)
    assert result == Refused("beyond the series")


def test_it_may_fall_between_two_slices() -> None:
    scenes, positions = ball(4.0)
    thin = whole(scenes[:1], positions[:1], 4.0)
    result = transplant_volume(thin, hosts(5), every(20.0, 5), 50.0, generator(0), 0.0)
    assert result == Refused("between the slices")


def test_one_slice_of_it_is_enough() -> None:
    scenes, positions = ball(4.0)
    thin = whole(scenes[:1], positions[:1], 4.0)
    assert list(set_in(thin, hosts(5), every(20.0, 5), 40.0)) == [2]


def test_a_series_is_of_one_kind() -> None:
    scenes, positions = ball(4.0)
    mixed = [*scenes[:2], body(Spot(), shape=(64, 64))]
    with pytest.raises(ValueError, match="one shape"):
        Lesion.through(mixed, [[0]] * 3, positions[:3], 4.0)
    grounds = [*hosts(2), *hosts(1, (64, 64))]
    with pytest.raises(ValueError, match="one shape"):
        transplant_volume(
            whole(scenes, positions, 4.0), grounds, every(4.0, 3), 4.0, generator(0), 0.0
        )


def test_a_branch_is_a_finding_of_its_own() -> None:
    trunk, left, right = (Spot(x=x, height=9, width=w) for x, w in ((30, 26), (12, 8), (48, 8)))
    scenes = [body(trunk), body(left, right), body(left, right)]
    scenes = [changed(s, intensity=scenes[0].intensity) for s in scenes]
    (traced,) = trace_lesions([scene.labels for scene in scenes])
    assert traced == {0: (0,), 1: (0, 1), 2: (0, 1)}
    lesion = Lesion.through(scenes, list(traced.values()), [0.0, 5.0, 10.0], 5.0)
    assert isinstance(lesion, Lesion)
    results = set_in(lesion, hosts(6), every(5.0, 6, -5.0), lesion.position)
    assert [len(result.labels) for result in results.values()] == [1, 2, 2]
    assert results[1].labels == scenes[0].labels
    assert results[2].labels == scenes[1].labels


def test_a_lesion_of_boxes_is_a_stack_of_ellipses() -> None:
    scenes, positions = ball(4.0)
    boxed = [
        changed(s, labels=Labels(tuple(replace(f, mask=None) for f in s.labels))) for s in scenes
    ]
    lesion = whole(boxed, positions, 4.0)
    results = set_in(lesion, hosts(30), every(4.0, 30), 60.0)
    assert all(f.mask is None for r in results.values() for f in r.labels)
    largest = max(results.values(), key=lambda r: np.ptp(r.labels.boxes[:, [0, 2]]))
    x0, _, x1, _ = largest.labels.boxes[0]
    assert (x1 - x0) * FIELD / 128 == pytest.approx(2 * RADIUS, abs=2)


class TestTracing:
    def labels(self, *spots: Spot) -> Labels:
        return body(*spots).labels

    def test_what_overlaps_is_one(self) -> None:
        near, far = Spot(x=30, height=9, width=9), Spot(x=-30, height=9, width=9)
        slices = [
            self.labels(near),
            self.labels(far, near),
            self.labels(far),
            None,
            self.labels(far),
        ]
        assert trace_lesions(slices) == [{0: (0,), 1: (1,)}, {1: (0,), 2: (0,)}, {4: (0,)}]

    def test_two_that_meet_later_are_one(self) -> None:
        left, right = (Spot(x=x, height=9, width=8) for x in (12, 48))
        slices = [self.labels(left, right), self.labels(Spot(x=30, height=9, width=26))]
        assert trace_lesions(slices) == [{0: (0, 1), 1: (0,)}]

    def test_other_categories_are_other_lesions(self) -> None:
        spot = Spot()
        other = replace(spot, category=Category("cyst"))
        traced = trace_lesions([self.labels(spot), self.labels(other)])
        assert traced == [{0: (0,)}, {1: (0,)}]

    def test_boxes_that_meet_only_at_an_edge_do_not_overlap(self) -> None:
        def boxed(x: float) -> Labels:
            (finding,) = self.labels(Spot(height=9, width=9))
            return Labels((replace(finding, mask=None, box=Box(x, 20.0, x + 10, 30.0)),))

        assert len(trace_lesions([boxed(10), boxed(20)])) == 2
        assert len(trace_lesions([boxed(10), boxed(19.5)])) == 1
