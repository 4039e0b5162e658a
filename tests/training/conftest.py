"""Pictures of a few patients, small enough to train on in a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIZE = 28


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five patients with six pictures of a bright disc each."""
    folder = tmp_path_factory.mktemp("pictures")
    rows, columns = np.mgrid[:SIZE, :SIZE]
    random = np.random.default_rng(0)
    for patient in range(5):
        (folder / f"p{patient}").mkdir()
        for index in range(6):
            y, x = random.uniform(9, 19, 2)
            disc = np.hypot(rows - y, columns - x) < random.uniform(4, 8)
            noise = random.normal(30, 8, (SIZE, SIZE))
            pixels = (disc * 150 + noise).clip(0, 255).astype("uint8")
            Image.fromarray(pixels).save(folder / f"p{patient}" / f"{index}.png")
    return folder
