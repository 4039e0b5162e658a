"""Hosts of a lesion look similar around its site, and are of other patients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from grafts import Spot, body
from hypothesis import given, settings
from hypothesis import strategies as st

from medvae.intensity import Canvas
from medvae.render import MOST_HOSTS, Hosts, Scene, Vicinity, thumbnail
from scenes import changed

SPOT = Spot(y=-10, x=35, height=16, width=16)
SITE = slice(50, 66), slice(80, 96)
"""Pixels of the lesion on a body of 128 pixels."""


def of(scene: Scene, group: str) -> Scene:
    return replace(scene, slice=replace(scene.slice, key=f"slice of {group}", group=group))


def painted(rows: slice, columns: slice, level: float, **kind: float) -> Scene:
    """Return a body without lesions, with a rectangle of another level."""
    scene = body(**kind)  # type: ignore[arg-type]
    values = scene.values.copy()
    values[rows, columns] = level
    return changed(scene, values=values)


def hosts(*scenes: Scene) -> Hosts:
    small = [thumbnail(scene.picture()) for scene in scenes]
    return Hosts([scene.slice for scene in scenes], np.array(small), range(len(small)))


def differences(donor: Scene, *scenes: Scene) -> list[float]:
    vicinity = Vicinity.of(donor, 0)
    return hosts(*scenes).differences(vicinity, range(len(scenes))).tolist()


class TestDifferences:
    def test_what_lies_beside_the_lesion_counts(self) -> None:
        beside = painted(slice(44, 72), slice(98, 104), 10.0)
        alike, different = differences(body(SPOT), body(seed=1), beside)
        assert alike < 0.05 * 255 < different

    @pytest.mark.parametrize(
        "elsewhere", [SITE, (slice(50, 66), slice(20, 40)), (slice(100, 120), slice(60, 80))]
    )
    def test_what_lies_under_it_or_elsewhere_does_not(self, elsewhere: tuple[slice, slice]) -> None:
        alike, painted_over = differences(body(SPOT), body(seed=1), painted(*elsewhere, 900.0))
        assert painted_over == pytest.approx(alike, rel=0.2, abs=1)

    @pytest.mark.parametrize("level", [200.0, 300.0, 800.0])
    def test_the_level_does_not(self, level: float) -> None:
        alike, other = differences(body(SPOT), body(seed=1), body(seed=1, level=level))
        assert other == pytest.approx(alike, abs=3)

    def test_levels_in_hu_are_matched_by_adding(self) -> None:
        donor, scene = body(SPOT, absolute=True, level=40.0), body(absolute=True, level=40.0)
        scene = replace(scene, intensity=donor.intensity)
        level = 30 / (donor.intensity.high - donor.intensity.low)
        other = changed(scene, values=scene.values + 30.0)
        assert thumbnail(other.picture()).max() > thumbnail(scene.picture()).max() + 200 * level
        alike, added = differences(donor, scene, other)
        assert added == pytest.approx(alike, abs=3)

    @settings(max_examples=30, deadline=None)
    @given(
        y=st.floats(-90, 90),
        x=st.floats(-90, 90),
        side=st.floats(2, 400),
        size=st.integers(32, 256),
    )
    def test_a_lesion_may_lie_anywhere_on_any_canvas(
        self, y: float, x: float, side: float, size: int
    ) -> None:
        scene = body()
        canvas = Canvas.fit(scene.slice.shape, scene.slice.geometry, size)
        small = thumbnail(replace(scene, canvas=canvas).picture())
        box = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2]) / 192 + 0.5
        vicinity = Vicinity("a", "a", False, small, box.clip(0, 1))
        choice = Hosts([of(scene, "b").slice], small[None], [0])
        (found,) = choice.differences(vicinity, [0])
        assert found == 0


class TestChoice:
    def test_a_tenth_is_chosen_by_its_similarity(self) -> None:
        different = painted(slice(44, 72), slice(98, 104), 10.0)
        scenes = [of(body(seed=1) if row % 8 == 3 else different, str(row)) for row in range(400)]
        chosen = hosts(*scenes).similar(Vicinity.of(of(body(SPOT), "donor"), 0))
        assert len(chosen) == 40
        assert {row % 8 for row in chosen.tolist()} == {3}

    def test_a_few_are_always_chosen(self) -> None:
        scenes = [of(body(seed=row), str(row)) for row in range(MOST_HOSTS + 6)]
        chosen = hosts(*scenes).similar(Vicinity.of(of(body(SPOT), "donor"), 0))
        assert len(set(chosen.tolist())) == MOST_HOSTS

    def test_own_slices_and_those_in_other_units_are_left_out(self) -> None:
        scenes = [
            of(body(), "donor"),
            of(body(), "other"),
            of(body(absolute=True), "scanned by CT"),
        ]
        choice, donor = hosts(*scenes), of(body(SPOT), "donor")
        assert choice.similar(Vicinity.of(donor, 0)).tolist() == [1]
        assert choice.have_other(donor.slice)
        assert not hosts(scenes[0], scenes[2]).have_other(donor.slice)
        assert hosts(scenes[0], scenes[2]).similar(Vicinity.of(donor, 0)).tolist() == []

    def test_many_are_represented_by_a_random_part(self) -> None:
        scene = body()
        native, small = of(scene, "other").slice, thumbnail(scene.picture())
        choice = Hosts([native] * 20_000, small[None], [0] * 20_000)
        donor = Vicinity.of(of(body(SPOT), "donor"), 0)
        chosen, again = choice.similar(donor), choice.similar(donor)
        other = choice.similar(replace(donor, key="another slice"))
        assert len(chosen) == 410
        assert chosen.tolist() == again.tolist() != other.tolist()
        assert chosen.max() > 1000


def test_a_thumbnail_keeps_the_levels() -> None:
    picture = np.zeros((96, 96), np.float32)
    picture[:, 48:] = 1.2
    small = thumbnail(picture)
    assert small.shape == (64, 64)
    assert set(np.unique(small[:, :31])) == {0}
    assert set(np.unique(small[:, 33:])) == {255}
