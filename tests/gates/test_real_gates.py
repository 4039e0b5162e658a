"""Gates on real gliomas: neighbouring slices pass for one another, spoilt slices do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from medvae.gates import Calibration, Draft, Gates
from medvae.geometry import Box
from medvae.records import Finding, Labels
from medvae.render import Rendered, Scene
from phantoms import needs_shared
from real_scenes import real_scenes

pytestmark = [pytest.mark.slow, needs_shared]

PATIENTS = 24
SIZE = 128

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Real:
    series: str
    scene: Scene
    picture: Values


@pytest.fixture(scope="module")
def slices() -> list[Real]:
    return [
        Real(series.key, scene, scene.picture()) for series, _, scene in real_scenes(PATIENTS, SIZE)
    ]


@pytest.fixture(scope="module")
def gates(slices: list[Real]) -> Gates:
    calibration = Calibration()
    for real in slices:
        calibration.add(real.series, real.scene, real.picture)
    return calibration.gates()


@pytest.fixture(scope="module")
def single(slices: list[Real]) -> list[Scene]:
    """Slices with one finding that is not a mere dot."""
    scenes = [real.scene for real in slices if len(real.scene.labels) == 1]
    return [scene for scene in scenes if min(sides(scene)) >= 6]


def sides(scene: Scene) -> tuple[float, float]:
    x0, y0, x1, y1 = scene.labels.findings[0].box
    return x1 - x0, y1 - y0


def rendered(scene: Scene, values: Values, box: Box | None = None) -> Draft:
    (only,) = scene.labels
    labels = Labels((only if box is None else Finding(only.category, box),))
    values = values.astype(np.float32)
    return Draft(scene, Rendered(values, labels))


def rejected(gates: Gates, drafts: list[Draft], but: str = "") -> float:
    """Return the share that is rejected by any gate ``but`` one; print the reasons."""
    judged = [[v for v in found if v.gate != but] for found in map(gates.judge, drafts)]
    reasons = Counter(v.reason for found in judged for v in found if not v.passed)
    share = sum(not all(v.passed for v in found) for found in judged) / len(judged)
    print(f"{len(judged)} drafts, {share:.3f} rejected: {dict(reasons.most_common())}")
    return share


def ellipse(scene: Scene, margin: float = 0) -> NDArray[np.float64]:
    """1 in the ellipse in the lesion's box, enlarged by a margin, and 0 elsewhere."""
    x0, y0, x1, y1 = scene.labels.findings[0].box
    rows, columns = np.indices(scene.values.shape) + 0.5
    across = (2 * columns - x0 - x1) / (x1 - x0 + 2 * margin)
    down = (2 * rows - y0 - y1) / (y1 - y0 + 2 * margin)
    return (np.hypot(across, down) <= 1).astype(np.float64)


def edge_of(scene: Scene) -> NDArray[np.float64]:
    """The lesion and a little more, with a soft edge."""
    edge: NDArray[np.float64] = ndimage.gaussian_filter(ellipse(scene, margin=2), 1)
    return edge


def faded(scene: Scene, share: float) -> Values:
    """The slice with a share of the lesion's contrast to what is around it."""
    edge = edge_of(scene)
    level = np.median(scene.values[(edge > 0) & (edge < 0.1)])
    values: Values = scene.values + edge * (1 - share) * (level - scene.values)
    return values


def blurred(scene: Scene) -> Values:
    values: Values = ndimage.gaussian_filter(scene.values, max(2, min(sides(scene)) / 2))
    return values


def vanished(scene: Scene) -> Values:
    noise = np.random.default_rng(0).normal(0, 4, scene.values.shape)
    return faded(scene, 0) + (edge_of(scene) * noise).astype(np.float32)


def inverted(scene: Scene) -> Values:
    return faded(scene, -1)


def test_limits_are_measured(gates: Gates) -> None:
    limits = gates.limits
    print(limits)
    assert set(limits.measured) == {
        "contrast", "visibility", "similarity", "area", "distance", "change"
    }  # fmt: skip


def test_neighbours_pass_for_one_another(gates: Gates, slices: list[Real]) -> None:
    drafts = []
    for one, other in pairwise(slices):
        if one.series == other.series and len(one.scene.labels) == len(other.scene.labels) == 1:
            rendering = Rendered(other.scene.values, other.scene.labels)
            drafts.append(Draft(one.scene, rendering))
    assert rejected(gates, drafts, but="copy") < 0.2
    assert rejected(gates, drafts) == 1


def test_deformed_slices_pass(gates: Gates, single: list[Scene]) -> None:
    drafts = []
    for seed, scene in enumerate(single[::3]):
        random = np.random.default_rng(seed)
        field = ndimage.gaussian_filter(
            random.standard_normal((2, *scene.values.shape)), (0, 24, 24)
        )
        field *= 10 / np.hypot(*field).max()
        places = np.indices(scene.values.shape) + field
        values = ndimage.map_coordinates(scene.values, places, order=1, mode="nearest")
        inside = ndimage.map_coordinates(ellipse(scene), places, order=1) >= 0.5
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        box = Box(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        drafts.append(rendered(scene, values, box))
    assert rejected(gates, drafts) < 0.1


@pytest.mark.parametrize("spoil", [blurred, vanished, inverted])
def test_spoilt_lesions_are_rejected(
    gates: Gates, single: list[Scene], spoil: Callable[[Scene], Values]
) -> None:
    drafts = [rendered(scene, spoil(scene)) for scene in single[::2]]
    assert rejected(gates, drafts, but="copy") > 0.9


def test_boxes_that_are_off_by_half_are_rejected(gates: Gates, single: list[Scene]) -> None:
    drafts = []
    for index, scene in enumerate(single):
        width, height = sides(scene)
        x, y = [(width / 2, 0), (-width / 2, 0), (0, height / 2), (0, -height / 2)][index % 4]
        x0, y0, x1, y1 = scene.labels.findings[0].box
        drafts.append(rendered(scene, scene.values, Box(x0 + x, y0 + y, x1 + x, y1 + y)))
    assert rejected(gates, drafts, but="copy") > 0.9


def test_copies_are_rejected(gates: Gates, single: list[Scene], slices: list[Real]) -> None:
    random = np.random.default_rng(0)
    noise = random.normal(0, 4, single[0].values.shape)
    assert rejected(gates, [rendered(scene, scene.values) for scene in single]) == 1
    assert rejected(gates, [rendered(scene, scene.values * 1.2 + noise) for scene in single]) > 0.9
    others = [slices[index].scene for index in random.permutation(len(slices))[:300]]
    for scene, other in zip(single, others, strict=False):
        shown = other.intensity.to_model(other.values)
        judged = rendered(scene, scene.intensity.from_model(shown))
        verdicts = gates.judge(judged)
        assert "copy: distance too low" in {v.reason for v in verdicts if not v.passed}
