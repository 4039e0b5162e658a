"""Values and labels of a slice that are moved by a field, within what its scanner could produce."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from medvae.geometry import Box
from medvae.records import Finding, Labels, Mask
from medvae.render._contract import Scene
from medvae.render._fields import pull
from medvae.render._placement import NativeField

_CIRCLE = np.linspace(0, 2 * np.pi, 256, endpoint=False)


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


def moved_labels(
    labels: Labels, field: NativeField, padding: NDArray[np.bool_] | None
) -> tuple[Labels, int]:
    """Move findings as the pixels move; in padding, neither pixels nor masks move.

    Returns:
        The remaining findings, and how many have lost all their pixels or have left the slice.
    """
    moved = [_moved(finding, field, padding) for finding in labels]
    left = tuple(finding for finding in moved if finding is not None)
    return Labels(left), len(labels) - len(left)


def _moved(
    finding: Finding, field: NativeField, padding: NDArray[np.bool_] | None
) -> Finding | None:
    if finding.mask is None:
        box = _moved_box(finding.box, field)
        return None if box is None else replace(finding, box=box)
    mask = _moved_mask(finding.mask, field, padding)
    return None if mask is None else replace(finding, box=mask.box, mask=mask)


def _moved_mask(mask: Mask, field: NativeField, padding: NDArray[np.bool_] | None) -> Mask | None:
    """Return the moved mask: the pixels of which it covers at least half."""
    across, down = (int(u.abs().max().ceil()) + 1 for u in field.displacement)
    top, left = max(mask.row - down, 0), max(mask.column - across, 0)
    height, width = mask.crop.shape
    window = np.s_[top : mask.row + height + down, left : mask.column + width + across]
    rows, columns = field.displacement.shape[1:]
    source = mask.on((rows, columns))
    picture = torch.from_numpy(source.astype(np.float32)).to(field.displacement.device)
    displacement = field.displacement[:, window[0], window[1]]
    covered = pull(picture[None, None], displacement[None], corner=(top, left))[0, 0]
    result = (covered >= 0.5).cpu().numpy()
    if padding is not None:
        result = np.where(padding[window], source[window], result)
    found = Mask.of(result)
    return found and replace(found, row=found.row + top, column=found.column + left)


def _moved_box(box: Box, field: NativeField) -> Box | None:
    """Return the box around the moved ellipse in ``box``, clipped to the slice.

    The ellipse stands for a finding that has no mask, as the corners of a box are mostly outside
    the finding.
    """
    radii = np.array([box.width, box.height]) / 2
    outline = np.stack((np.cos(_CIRCLE), np.sin(_CIRCLE)), axis=1) * radii + box[:2] + radii
    rows, columns = field.displacement.shape[1:]
    moved = field.forward(outline).clip(0, (columns, rows))
    (left, top), (right, bottom) = moved.min(axis=0).tolist(), moved.max(axis=0).tolist()
    return Box(left, top, right, bottom) if left < right and top < bottom else None
