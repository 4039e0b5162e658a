"""Known answers on real gliomas: other patients, blurred slices, copies, lesions that are gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from medvae.auditing import Pool
from medvae.auditing._features import extract, pixel_features
from medvae.auditing._findings import SetFindings
from medvae.auditing.copies import find_copies, nearest_real
from medvae.auditing.feature_classifier import tell_features_apart
from medvae.auditing.feature_comparison import compare_features
from medvae.auditing.lesion_survival import Survival, lesion_survival
from medvae.auditing.small_network import tell_apart
from medvae.render import Scene
from phantoms import needs_shared
from real_scenes import real_scenes
from scenes import changed

pytestmark = [pytest.mark.slow, needs_shared]

PATIENTS = 24
SIZE = 64


@dataclass(frozen=True)
class Real:
    series: str
    key: str
    group: str
    scene: Scene


@pytest.fixture(scope="module")
def slices() -> list[Real]:
    return [
        Real(series.key, item.key, item.group, scene)
        for series, item, scene in real_scenes(PATIENTS, SIZE)
    ]


@pytest.fixture(scope="module")
def halves(slices: list[Real]) -> tuple[list[Real], list[Real]]:
    """The slices of half of the patients, and of the others."""
    patients = np.random.default_rng(0).permutation(sorted({one.group for one in slices}))
    here = {*patients[: PATIENTS // 2]}
    return [s for s in slices if s.group in here], [s for s in slices if s.group not in here]


def picture(one: Real) -> NDArray[np.float32]:
    return one.scene.picture()


def pool(slices: list[Real], blur: float = 0, name: str = "") -> Pool:
    pictures = np.stack([picture(one) for one in slices])
    if blur:
        pictures = ndimage.gaussian_filter(pictures, (0, blur, blur))
    groups = tuple((one.group,) for one in slices)
    return Pool(
        (pictures * 255).round().astype(np.uint8), groups, tuple(name + s.key for s in slices)
    )


def wiped(scene: Scene) -> NDArray[np.float32]:
    """The slice with the level and the noise of its surroundings where its lesions are."""
    values, random = scene.values, np.random.default_rng(0)
    rows, columns = np.indices(values.shape) + 0.5
    for one in scene.labels:
        x0, y0, x1, y1 = one.box
        across, down = (2 * columns - x0 - x1) / (x1 - x0 + 4), (2 * rows - y0 - y1) / (y1 - y0 + 4)
        edge = ndimage.gaussian_filter((np.hypot(across, down) <= 1).astype(np.float32), 1)
        level = np.median(values[(edge > 0) & (edge < 0.1)])
        values = values + edge * (level + random.normal(0, 4, values.shape) - values)
    return values.astype(np.float32)


def survival(
    real: list[Real], synthetic: list[Real], change: Callable[[Scene], NDArray[np.float32]]
) -> Survival:
    findings, pictures = (SetFindings(), SetFindings()), []
    for one in real:
        findings[0].add(one.series, one.key, (one.group,), one.scene, picture(one))
    for one in synthetic:
        made = replace(one, scene=changed(one.scene, values=change(one.scene)))
        findings[1].add(one.series, f"s{one.key}", (one.group,), made.scene, picture(made))
        pictures.append(made)
    pools = pool(real), pool(pictures, name="s")
    nearest = nearest_real((pools[0].outlines, pools[1].outlines), *pools)
    return lesion_survival(*findings, nearest, 0)


def test_slices_of_other_patients_are_not_told_apart(
    halves: tuple[list[Real], list[Real]],
) -> None:
    real, others = map(pool, halves)
    features = extract(pixel_features, real), extract(pixel_features, others)
    found = tell_features_apart(real, features[0], others, features[1], 0, 3)
    print(found)
    assert found.low < 0.5 < found.high
    spaces = {"pixels": (real.outlines, others.outlines)}
    series = [one.series for one in halves[0]]
    nearest = find_copies(spaces, real, others, [None] * len(others), series, 0)
    assert nearest.excess.value <= 0.01


def test_hardly_any_features_differ_where_nothing_does(slices: list[Real]) -> None:
    """On average: neighbouring pixels differ together, or not at all."""
    whole = pool(slices)
    features = extract(pixel_features, whole)
    found = []
    for seed in range(12):
        random = np.random.default_rng(seed)
        here = {*random.permutation(sorted({one.group for one in slices}))[: PATIENTS // 2]}
        rows = np.array([one.group in here for one in slices])
        groups = [
            [of for of, row in zip(whole.groups, rows == side, strict=True) if row]
            for side in (True, False)
        ]
        found.append(compare_features(features[rows], features[~rows], *groups, seed, splits=5))
    shares = [one["differing"].value for one in found]
    print(np.round(shares, 3), np.mean(shares))
    assert np.mean(shares) < 0.02


def test_blurred_slices_are_told_apart(halves: tuple[list[Real], list[Real]]) -> None:
    real, blurred = pool(halves[0][::2]), pool(halves[0][1::2], blur=3, name="s")
    found = tell_apart(real, blurred, 0, splits=0)
    print(found)
    assert found.value > 0.95
    slightly = pool(halves[1][::2], blur=1)
    features = extract(pixel_features, real), extract(pixel_features, slightly)
    assert tell_features_apart(real, features[0], slightly, features[1], 0, 3).value > 0.95


def test_real_slices_against_themselves_are_copies(
    halves: tuple[list[Real], list[Real]],
) -> None:
    real, itself = pool(halves[0]), pool(halves[0], name="s")
    vectors = {"pixels": (real.outlines, itself.outlines)}
    series = [one.series for one in halves[0]]
    found = find_copies(vectors, real, itself, [None] * len(itself), series, 0)
    assert found.share.value == 0
    shown = np.flatnonzero(np.isfinite(found.nearness)).tolist()
    assert {found.kind_of(row) for row in shown} == {"patient"}
    names = sorted({one.group for one in halves[0]})
    following = dict(zip(names, names[1:] + names[:1], strict=True))
    renamed = Pool(itself.pictures, tuple((following[of[0]],) for of in itself.groups), itself.keys)
    found = find_copies(vectors, real, renamed, [None] * len(itself), series, 0)
    assert (found.share.value, found.share.baseline) == (1, 0)


def test_lesions_of_other_patients_survive(halves: tuple[list[Real], list[Real]]) -> None:
    found = survival(*halves, lambda scene: scene.values)
    print(found.survival, found.judged)
    assert found.survival is not None
    assert found.survival.value > 0.85
    assert found.survival.high == 1


def test_lesions_that_are_wiped_out_do_not(halves: tuple[list[Real], list[Real]]) -> None:
    """Nobody says of which slices they were made."""
    found = survival(halves[0], halves[0], wiped)
    print(found.survival, found.judged)
    assert found.survival is not None
    assert found.survival.value < 0.1
    assert found.judged["nearest"] > found.judged["visibility"]
