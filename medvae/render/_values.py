"""New values of a slice: moved by a field, and kept within what its scanner could produce."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from medvae.render._contract import Scene
from medvae.render._fields import pull
from medvae.render._placement import NativeField

__all__ = ["moved_values", "possible"]


def moved_values(scene: Scene, field: NativeField) -> NDArray[np.float32]:
    """Pull native values, ``[rows, columns]``, through a field; pixels that do not move stay exact.

    No value leaves the range of the source, and no padding is pulled in. In the padding itself,
    the result is meaningless.
    """
    displacement = field.displacement
    filled = _without_padding(scene.values, scene.padding)
    picture = torch.tensor(np.ascontiguousarray(filled), device=displacement.device)
    pulled = pull(picture[None, None], displacement[None], "bicubic")[0, 0]
    pulled = pulled.clamp(picture.min(), picture.max())
    still = (displacement == 0).all(dim=0)
    values: NDArray[np.float32] = torch.where(still, picture, pulled).cpu().numpy()
    return values


def _without_padding(
    values: NDArray[np.float32], padding: NDArray[np.bool_] | None
) -> NDArray[np.float32]:
    """Return the values with padding replaced by the nearest pixel outside it."""
    if padding is None or not padding.any() or padding.all():
        return values
    nearest = distance_transform_edt(padding, return_distances=False, return_indices=True)
    filled: NDArray[np.float32] = values[tuple(nearest)]
    return filled


def possible(values: NDArray[np.float32], source: Scene) -> NDArray[np.float32]:
    """Restore padding, and raise values that are lower than any value of the source.

    Counts are not negative, and nothing is darker than air. There is no upper bound: it would
    flatten the brightest lesions.
    """
    if source.padding is None:
        return values.clip(min=source.values.min())
    inside = source.values[~source.padding]
    if not inside.size:
        return source.values
    return np.where(source.padding, source.values, values.clip(min=inside.min()))
