"""`augment --sampler interpolate`: towards another patient, slice by slice or a whole series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made import Line, made
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from medvae.readers import open_studies
from medvae.records import Slice

pytestmark = pytest.mark.slow

Runs = dict[str, tuple[Path, list[Line]]]


@pytest.fixture(scope="module")
def real(volumes: Path) -> dict[str, tuple[str, int, Slice]]:
    """The series of each real slice, its place there, and the slice, by its key."""
    return {
        native.key: (series.key, place, native)
        for study in open_studies([volumes]).studies
        for series in study.series
        for place, native in enumerate(series.slices)
    }


@pytest.fixture(scope="module")
def runs(volumes: Path, volume_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The folders of some runs, and the lines of their manifests."""
    asked = {
        "spread": {"sampler": "gaussian", "per": "study"},
        "whole": {"sampler": "interpolate", "per": "study"},
        "alone": {"sampler": "interpolate", "per": "slice"},
    }
    folder = tmp_path_factory.mktemp("interpolate")
    return {
        name: (folder / name, made(volumes, volume_run, folder / name, render="warp", **choices))
        for name, choices in asked.items()
    }


def jumps(out: Path, lines: list[Line], real: dict[str, tuple[str, int, Slice]]) -> float:
    """Return how far changes differ from slice to slice, as a share of the changes."""
    changes: dict[tuple[str, int], NDArray[np.float64]] = {}
    for line in lines:
        if line["outcome"] == "kept":
            series, place, native = real[line["sources"][-1]]
            new = np.asarray(Image.open(out / line["files"][0])).astype(np.float64)
            # Noise, which moves along, differs from slice to slice in any case.
            changes[series, place] = gaussian_filter(new - native.pixels().values, 1.5)
    pairs = [
        (change, changes[series, place + 1])
        for (series, place), change in changes.items()
        if (series, place + 1) in changes
    ]
    assert len(pairs) > 10
    jump = np.mean([np.abs(one - other).mean() for one, other in pairs])
    return float(jump / np.mean([np.abs(one).mean() for one in changes.values()]))


def test_a_series_stays_as_smooth_as_one_that_is_drawn_from_the_spread(
    runs: Runs, real: dict[str, tuple[str, int, Slice]]
) -> None:
    found = {name: jumps(*run, real) for name, run in runs.items()}
    assert found["whole"] <= 1.2 * found["spread"]
    assert found["whole"] <= 0.9 * found["alone"]


def test_a_series_has_one_partner_of_another_patient(
    runs: Runs, real: dict[str, tuple[str, int, Slice]]
) -> None:
    _, lines = runs["whole"]
    for batch in {line["batch"] for line in lines}:
        own = [line for line in lines if line["batch"] == batch]
        (partner,) = {line["partner"] for line in own}
        assert real[partner][2].group != own[0]["groups"][0]
