"""Boxes: how their sizes, positions and contrasts are distributed in the two sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from scipy import stats

from medvae.auditing._figures import clouds, histograms
from medvae.auditing._findings import SetFindings
from medvae.auditing._page import Report, figures
from medvae.auditing._patients import Estimate, halve, interval
from medvae.auditing._statistic import AuditSettings, ComparedSets, Statistic
from medvae.pages import part
from medvae.randomness import generator

__all__ = ["BoxDistributions", "BoxMeasure", "compare_boxes"]

_SPLITS = 20

_AXES = {
    "width": "width of the box, as a share of the canvas",
    "height": "height of the box, as a share of the canvas",
    "contrast-to-noise": "contrast-to-noise ratio",
}

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BoxMeasure:
    """One property of the boxes of a category in the two sets.

    Attributes:
        real, synthetic: Values of the property, one for each finding.
        difference: Kolmogorov-Smirnov statistic: the largest difference between the two cumulative
            distributions.
    """

    real: Numbers
    synthetic: Numbers
    difference: Estimate


def compare_boxes(
    real: SetFindings, synthetic: SetFindings, category: str, seed: int
) -> dict[str, BoxMeasure]:
    """Compare the boxes of a category measure by measure; return {} if either set has none.

    The measures are ``width`` and ``height`` (shares of the canvas), ``x`` and ``y`` (of the
    centre), and ``contrast-to-noise``. The baseline of a difference is that between the findings of
    different real patients.

    Args:
        real, synthetic: Findings of either set.
        category: Name of the category.
        seed: Random seed of the splits.
    """
    (groups, known), (made_groups, made) = (_measured(one, category) for one in (real, synthetic))
    if not groups or not made_groups:
        return {}
    values: dict[str, list[float]] = {name: [] for name in known}
    baselines: dict[str, list[float]] = {name: [] for name in known}
    for split in range(_SPLITS):
        halves = halve(groups, made_groups, seed, "boxes", split)
        # The two sides take turns as the real one.
        one, other = split % 2, 1 - split % 2
        sides = (halves.real[one], halves.synthetic[other], halves.real[other])
        # The difference expected by chance depends on the number of boxes.
        count = min(map(len, sides))
        random = generator(seed, "boxes", split)
        rows, made_rows, other_rows = (random.permutation(side)[:count] for side in sides)
        for name, numbers in known.items():
            values[name].append(_difference(numbers[rows], made[name][made_rows]))
            baselines[name].append(_difference(numbers[rows], numbers[other_rows]))
    return {
        name: BoxMeasure(known[name], made[name], _estimate(values[name], baselines[name]))
        for name in known
    }


def _measured(
    findings: SetFindings, category: str
) -> tuple[list[tuple[str, ...]], dict[str, Numbers]]:
    """Return the patients of the findings of a category, and their measures by name."""
    found = [
        (slice_.groups, one)
        for slice_ in findings.slices
        for one in slice_.findings
        if one.category == category
    ]
    boxes = np.array([one.box for _, one in found]).reshape(-1, 4)
    sides, centres = boxes[:, 2:] - boxes[:, :2], (boxes[:, 2:] + boxes[:, :2]) / 2
    return [groups for groups, _ in found], {
        "width": sides[:, 0],
        "height": sides[:, 1],
        "x": centres[:, 0],
        "y": centres[:, 1],
        "contrast-to-noise": np.array([one.visibility for _, one in found]),
    }


def _difference(one: Numbers, other: Numbers) -> float:
    """Return the Kolmogorov-Smirnov statistic, or NaN if one of the samples is empty."""
    one, other = one[np.isfinite(one)], other[np.isfinite(other)]
    return float(stats.ks_2samp(one, other).statistic) if len(one) and len(other) else float("nan")


def _estimate(values: list[float], baselines: list[float]) -> Estimate:
    known = [value for value in values if np.isfinite(value)]
    real = [value for value in baselines if np.isfinite(value)]
    value = float(np.mean(known)) if known else float("nan")
    return Estimate(value, *interval(values), float(np.mean(real)) if real else None)


class BoxDistributions(Statistic[Mapping[str, Mapping[str, BoxMeasure]]]):
    """Differences between the boxes of the two sets, by category and measure."""

    name = "boxes"
    title = "Do boxes have the same sizes and positions?"
    explanation = (
        "The difference is the largest one between the two cumulative distributions: 0 means that "
        "they are the same, 1 that they do not overlap."
    )
    numbers: ClassVar[Mapping[str, str]] = {
        "*.width": "Width of the boxes",
        "*.height": "Height of the boxes",
        "*.x": "Position, left to right",
        "*.y": "Position, top to bottom",
        "*.contrast-to-noise": "Contrast-to-noise ratio of the findings",
    }

    def measure(
        self, sets: ComparedSets, settings: AuditSettings
    ) -> Mapping[str, Mapping[str, BoxMeasure]] | None:
        """Compare the boxes of each category that both sets have."""
        real = sets.real.findings
        shared = sorted(real.categories & sets.synthetic.findings.categories)
        found = sets.compare(
            lambda other: {
                name: compare_boxes(real, other.findings, name, settings.seed) for name in shared
            }
        )
        return found or None

    def as_json(self, result: Mapping[str, Mapping[str, BoxMeasure]]) -> Any:
        """Return the difference of each measure by category."""
        return {
            category: {name: one.difference for name, one in measures.items()}
            for category, measures in result.items()
        }

    def section(
        self, result: Mapping[str, Mapping[str, BoxMeasure]], report: Report, sets: ComparedSets
    ) -> Iterator[Markup]:
        """Yield the table, and the distributions for each category."""
        yield from super().section(result, report, sets)
        for category, measures in result.items():
            yield part("heading", category)
            yield figures(_distributions(category, measures))


def _distributions(category: str, measures: Mapping[str, BoxMeasure]) -> Iterator[Markup]:
    for name, axis in _AXES.items():
        samples = {"real": measures[name].real, "synthetic": measures[name].synthetic}
        alternative = f"{category}: {axis}, real and synthetic"
        yield part("drawing", histograms(samples, axis).uri, alternative, "")
    x, y = measures["x"], measures["y"]
    centres = {
        "real": np.stack((x.real, 1 - y.real), axis=1),
        "synthetic": np.stack((x.synthetic, 1 - y.synthetic), axis=1),
    }
    figure = clouds(centres, "centre, left to right", "centre, bottom to top")
    alternative = f"{category}: centres of boxes on the canvas, real and synthetic"
    yield part("drawing", figure.uri, alternative, "")
