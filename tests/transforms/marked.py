"""Pictures with a disc whose box and mask are known, and how to find it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.utils.misc import set_determinism
from numpy.typing import NDArray

from heads import head
from medvae.geometry import Box

SIDE = 128
FAR = 3000.0
"""A strength that moves pictures by several pixels: the latents of the drawn network lie close."""

AXIAL = np.diag([-0.5, -0.75, 2.0, 1.0])
"""Affine of an axial slice with x first, as MONAI has it, in standard orientation."""


def item(patient: int = 0, index: int = 1) -> dict[str, Any]:
    """Return a slice of a head with the mask, the box and the label of its lesion, rows first."""
    pixels, lesion = head(patient, index)
    box = np.array([box_of(lesion)] if lesion.any() else [], dtype=np.float32).reshape(-1, 4)
    return {
        "image": MetaTensor(pixels[None].astype(np.float32)),
        "mask": torch.from_numpy(lesion[None].astype(np.uint8)),
        "box": torch.from_numpy(box),
        "label": torch.zeros(len(box), dtype=torch.int64),
    }


def disc(row: float = 52.0, column: float = 76.0, radius: float = 22.0) -> NDArray[np.bool_]:
    """Return a disc, ``[SIDE, SIDE]``."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    found: NDArray[np.bool_] = np.hypot(rows - row, columns - column) <= radius
    return found


def body() -> NDArray[np.float32]:
    """Return a body with some structure in it, ``[SIDE, SIDE]``."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    inside = np.hypot(rows - 64, (columns - 64) * 1.1) < 58
    values = inside * (300 + 80 * np.cos(rows / 9) * np.cos(columns / 13))
    return values.astype(np.float32)


def bright(picture: Any) -> NDArray[np.bool_]:
    """Return where a picture of `body` with a disc of 2000 shows the disc."""
    shown: NDArray[np.bool_] = np.asarray(picture)[0] > 1150
    return shown


def box_of(mask: NDArray[np.bool_]) -> Box:
    """Return the box around a mask, with its first axis first."""
    first, second = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return Box(int(first[0]), int(second[0]), int(first[-1]) + 1, int(second[-1]) + 1)


@contextmanager
def determinism(seed: int) -> Iterator[None]:
    """Seed what MONAI seeds for a while."""
    set_determinism(seed)
    try:
        yield
    finally:
        set_determinism(None)
