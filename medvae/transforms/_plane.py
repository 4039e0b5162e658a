"""Orientation of the two axes of an image: which one counts rows, and which way each runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from monai.data.meta_tensor import MetaTensor
from monai.data.utils import to_affine_nd
from monai.utils.enums import MetaKeys, SpaceKeys
from numpy.typing import NDArray
from torch import Tensor

from medvae.geometry import Geometry, swap_lps_ras


@dataclass(frozen=True)
class Plane:
    """The orientation of a MONAI image, ``[C, H, W]``, in the patient.

    The first two numbers of a MONAI box refer to the two spatial axes of its image in their order,
    whatever these are: rows and columns for an array, but columns and rows for most files, whose
    readers put x first. A slice has rows first, and boxes ``(x0, y0, x1, y1)``.

    Attributes:
        rows_first: Whether the first spatial axis counts the rows.
        geometry: Geometry of the slice, as far as the affine defines it.
    """

    rows_first: bool
    geometry: Geometry

    @classmethod
    def of(cls, picture: Tensor, rows_first: bool | None = None) -> Plane:
        """Return the orientation that the affine of an image defines.

        If it defines none, images that MONAI loaded from a file have columns first, and all others
        have rows first.

        Args:
            picture: Image ``[C, H, W]``.
            rows_first: Order of the axes to use instead.
        """
        loaded = _is_loaded(picture)
        steps = _steps(picture) if isinstance(picture, MetaTensor) and loaded else None
        if steps is None:
            return cls(not loaded if rows_first is None else rows_first, Geometry())
        lengths = np.linalg.norm(steps, axis=1)
        first, second = (np.abs(step).argmax() for step in steps)
        if rows_first is None:
            # In all three standard views, columns are counted along the lower-numbered axis.
            rows_first = bool(first > second)
        down, along = (0, 1) if rows_first else (1, 0)
        geometry = Geometry(
            spacing=(float(lengths[down]), float(lengths[along])),
            along_row=_direction(steps[along]),
            along_column=_direction(steps[down]),
        )
        return cls(rows_first, geometry)

    def turned(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Convert ``[..., H, W]`` to ``[..., rows, columns]``, or back."""
        return np.ascontiguousarray(pixels if self.rows_first else pixels.swapaxes(-1, -2))

    def turned_boxes(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert boxes on the image, ``[N, 4]``, to boxes on the slice, or back."""
        return boxes[:, [1, 0, 3, 2]] if self.rows_first else boxes

    def spaced(self, affine: Tensor, spacing: tuple[float, float] | None) -> Tensor:
        """Return the affine for the given spacing of rows and columns in millimetres."""
        own, new = self.geometry.spacing, affine.clone()
        if own is not None and spacing is not None:
            factors = [there / here for there, here in zip(spacing, own, strict=True)]
            for axis, factor in enumerate(factors if self.rows_first else factors[::-1]):
                new[:, axis] *= factor
        return new


def _is_loaded(picture: Tensor) -> bool:
    """Return whether MONAI loaded an image from a file: it has an affine or comes from Pillow."""
    if not isinstance(picture, MetaTensor):
        return False
    affine = picture.affine.cpu().numpy()
    return _from_pillow(picture) or not np.array_equal(affine, np.eye(len(affine)))


def _from_pillow(picture: MetaTensor) -> bool:
    """Return whether the affine is only a placeholder, as for PNG and similar files."""
    return {"width", "height"} <= picture.meta.keys()


def _steps(picture: MetaTensor) -> NDArray[np.float64] | None:
    """Return the steps between pixels along both axes in LPS, ``[2, 3]``, or None if unknown."""
    affine = to_affine_nd(3, picture.affine.cpu().double().numpy())
    if picture.meta.get(MetaKeys.SPACE, SpaceKeys.RAS) != SpaceKeys.LPS:
        affine = swap_lps_ras(affine)
    steps = affine[:3, :2].T
    known = np.isfinite(steps).all() and steps.any(axis=1).all()
    return steps if known and not _from_pillow(picture) else None


def _direction(step: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (step / np.linalg.norm(step)).tolist()
    return x, y, z
