"""Sets of drawn slices: each patient has an anatomy, and each slice varies it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medvae.auditing import Pool


def pool(
    patients: Iterable[int], slices: int = 6, size: int = 32, blur: float = 0, name: str = ""
) -> Pool:
    """Draw some slices of each patient; blurred ones, if asked for, are the same but for that."""
    pictures, groups, keys = [], [], []
    for patient in patients:
        random = np.random.default_rng(patient)
        anatomy = smooth(random, size, 5)
        for number in range(slices):
            level = 0.5 + 0.15 * anatomy + 0.1 * smooth(random, size, 3)
            level += random.normal(0, 0.08, (size, size))
            if blur:
                level = ndimage.gaussian_filter(level, blur)
            pictures.append((255 * level.clip(0, 1)).round().astype(np.uint8))
            groups.append((f"patient {patient}",))
            keys.append(f"{name}{patient:03}.{number:02}")
    return Pool(np.stack(pictures), tuple(groups), tuple(keys))


def smooth(random: np.random.Generator, size: int, width: float) -> NDArray[np.float64]:
    field = ndimage.gaussian_filter(random.standard_normal((size, size)), width, mode="wrap")
    found: NDArray[np.float64] = field / field.std()
    return found
